"""The text that tasks are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from e2lm import UserError


@dataclass(frozen=True, slots=True)
class CorpusText:
    """One text and what identifies it; ``name`` is the file name without its folder."""

    name: str
    text: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, name: str, text: str) -> CorpusText:
        """``text`` under ``name``.

        >>> CorpusText.of("a.txt", "abc").size_bytes
        3
        """
        raw = text.encode("utf-8")
        return cls(name, text, len(raw), sha256(raw).hexdigest())


def read_corpus(files: Sequence[Path]) -> list[CorpusText]:
    """The texts of UTF-8 files; a :class:`UserError` names the one that cannot be used."""
    texts: list[CorpusText] = []
    for file in files:
        text = _read(file)
        twin = next((other for other in texts if other.sha256 == text.sha256), None)
        if twin is not None:
            raise UserError(f"--corpus: {file} holds the same text as {twin.name}; give each text once")
        texts.append(text)
    return texts


def _read(file: Path) -> CorpusText:
    if file.is_dir():
        raise UserError(f"--corpus: {file} is a folder; give text files, for example {file}/*.txt")
    if not file.is_file():
        raise UserError(f"--corpus: {file}: no such file")
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"--corpus: {file} cannot be read ({error.strerror})") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"--corpus: {file} is not UTF-8 (byte {error.start} is 0x{raw[error.start]:02x}); convert it first"
        ) from error
    if not text.strip():
        raise UserError(f"--corpus: {file} is empty")
    return CorpusText(file.name, text, len(raw), sha256(raw).hexdigest())
