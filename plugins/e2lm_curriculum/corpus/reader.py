"""Text on disk as passages, and which of them are held out.

Parts of speech of a corpus: as its lines give them, and as tokens carry them.

Shape suffixes: K tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError, nearest_names, one_line

#: The universal tag set (Petrov, Das and McDonald 2012) in CLIMB's order, content words first.
TAGS = ("NOUN", "VERB", "ADJ", "ADV", "PRON", "DET", "ADP", "NUM", "CONJ", "PRT", ".", "X")
TAG_NUMBERS = {tag: number for number, tag in enumerate(TAGS)}

#: CLIMB's scale of a pacing over tags: at 1 the last of them is in.
LAST_TAG = len(TAGS) - 1

#: In the bytes of a text: a character of no word, and a text without tags.
NO_TAG = 255
NO_TAG_NUMBER = -1


def tagged_text(data: dict[str, Any], source: str) -> tuple[str, bytes]:
    """The words joined by blanks, and for each character the tag of its word.

    ``data`` has ``words`` and ``tags``, lists of the same length; a :class:`UserError` names ``source`` and what is
    wrong. The blank before a word belongs to the word, as in byte-level tokens.

    >>> tagged_text({"words": ["A", "cat"], "tags": ["DET", "NOUN"]}, "f")[1].hex()
    '0500000000'
    """
    words, tags = data["words"], data.get("tags")
    if not _is_strings(words) or not _is_strings(tags) or len(words) != len(tags):
        raise UserError(f"{source}: fields 'words' and 'tags': expected two lists of strings of the same length")
    for tag in tags:
        if tag not in TAG_NUMBERS:
            raise UserError(f"{source}: field 'tags': unknown tag {tag!r}. {nearest_names(tag, TAGS)}")
    parts = [word if place == 0 else f" {word}" for place, word in enumerate(words)]
    marks = [bytes([TAG_NUMBERS[tag]]) * len(part) for part, tag in zip(parts, tags, strict=True)]
    return "".join(parts), b"".join(marks)


def _is_strings(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def token_tags(offsets_K: Sequence[tuple[int, int]], tags: bytes) -> NDArray[np.int8]:
    """The tag of each token, that of its last character; -1 in a text without tags."""
    if not tags:
        return np.full(len(offsets_K), NO_TAG_NUMBER, dtype=np.int8)
    last_K = np.array([max(start, end - 1) for start, end in offsets_K], dtype=np.int64)
    return np.frombuffer(tags, dtype=np.uint8)[np.minimum(last_K, len(tags) - 1)].astype(np.int8)


#: A line that holds only this ends a document in a plain text file; also the token between documents.
END_OF_TEXT = "<|endoftext|>"

#: A file without such lines is one document; it is held out in runs of paragraphs at least this long, about a page.
PASSAGE_CHARACTERS = 2_000

_DOCUMENT_END = re.compile(rf"^{re.escape(END_OF_TEXT)}[ \t]*$", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True, slots=True)
class Passage:
    """Text that is held out, or not, as a whole; ``follows`` if it goes on where the passage before it ends.

    ``file`` is its place in the list of corpus files. ``tags`` holds a byte for each character, the part of speech of
    the word it belongs to (:mod:`e2lm_curriculum.corpus.reader`), or nothing.
    """

    text: str
    follows: bool = False
    file: int = 0
    tags: bytes = b""


@dataclass(frozen=True, slots=True)
class SplitCorpus:
    """Documents to train on, and passages never trained on; the file and the tags of each training document."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]
    training_files: tuple[int, ...] = ()
    training_tags: tuple[bytes, ...] = ()


def read_passages(files: Sequence[Path]) -> list[Passage]:
    """The passages of all files in order; a :class:`UserError` names a file that is missing, empty or no UTF-8.

    ``*.jsonl`` has one document per line, in field ``text``, or in ``words`` and ``tags``. In any other file documents
    end at lines that hold only ``<|endoftext|>``; a file without such a line is one document, cut into passages at
    blank lines.
    """
    passages: list[Passage] = []
    for number, file in enumerate(files):
        text = _read_text(file)
        if file.suffix == ".jsonl":
            found = [passage for passage in _json_documents(file, text) if passage.text.strip()]
        elif _DOCUMENT_END.search(text):
            found = [Passage(part.strip("\n")) for part in _DOCUMENT_END.split(text) if part.strip()]
        else:
            found = _cut_at_paragraphs(text)
        if not found:
            raise UserError(f"{file}: no text in it; remove it from --corpus")
        passages += [replace(passage, file=number) for passage in found]
    return passages


def split_corpus(passages: Sequence[Passage], held_out: float, seed: int) -> SplitCorpus:
    """The smallest set of passages, in order of a seeded hash of their text, that has ``held_out`` of all characters.

    Equal passages have equal hashes, so a text is never on both sides, wherever it stands and whatever its order.
    """
    keys = [sha256(f"{seed}\0{passage.text}".encode()).digest() for passage in passages]
    goal = held_out * sum(len(passage.text) for passage in passages)
    chosen: set[bytes] = set()
    characters = 0
    for key, passage in sorted(zip(keys, passages, strict=True), key=lambda pair: pair[0]):
        if characters >= goal and key not in chosen:
            break
        chosen.add(key)
        characters += len(passage.text)
    if len(chosen) == len(set(keys)):
        raise UserError(
            f"field 'held_out': {held_out} of {len(set(keys))} different passages leaves none to train on; "
            "lower held_out or add text to the corpus"
        )
    held = tuple(passage.text for passage, key in zip(passages, keys, strict=True) if key in chosen)
    documents = list(_joined(passages, [key in chosen for key in keys]))
    return SplitCorpus(
        training=tuple(document.text for document in documents),
        held_out=held,
        training_files=tuple(document.file for document in documents),
        training_tags=tuple(document.tags for document in documents),
    )


def _joined(passages: Sequence[Passage], held: Sequence[bool]) -> Iterator[Passage]:
    """Training documents: passages that follow each other are one, a held-out passage ends it."""
    document: list[Passage] = []
    for passage, is_held in zip(passages, held, strict=True):
        if document and (is_held or not passage.follows):
            yield _one(document)
            document = []
        if not is_held:
            document.append(passage)
    if document:
        yield _one(document)


def _one(parts: Sequence[Passage]) -> Passage:
    """Only passages without tags follow each other."""
    return replace(parts[0], text="\n\n".join(part.text for part in parts))


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; --corpus takes text files (.txt, .jsonl)") from error
    except IsADirectoryError as error:
        raise UserError(f"{file}: a folder; --corpus takes text files (.txt, .jsonl)") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}; convert it first") from error


def _json_documents(file: Path, text: str) -> Iterator[Passage]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            if isinstance(data, dict) and "words" in data:
                words, tags = tagged_text(data, f"{file}:{number}")
                yield Passage(words, tags=tags)
                continue
            document = data["text"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{file}:{number}: expected an object with field 'text' ({one_line(error)})") from error
        if not isinstance(document, str):
            raise UserError(f"{file}:{number}: field 'text': found {document!r:.40}; expected a string")
        yield Passage(document)


def _cut_at_paragraphs(text: str) -> list[Passage]:
    texts: list[str] = []
    paragraphs: list[str] = []
    length = 0
    for paragraph in _PARAGRAPH_END.split(text):
        paragraph = paragraph.strip("\n")
        if not paragraph.strip():
            continue
        paragraphs.append(paragraph)
        length += len(paragraph)
        if length >= PASSAGE_CHARACTERS:
            texts.append("\n\n".join(paragraphs))
            paragraphs, length = [], 0
    if paragraphs:
        texts.append("\n\n".join(paragraphs))
    return [Passage(text, follows=position > 0) for position, text in enumerate(texts)]
