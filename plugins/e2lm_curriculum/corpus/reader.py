"""Text on disk as a stream of passages: documents where a file marks them, else pages of paragraphs or of lines.

Parts of speech of a corpus: as its lines give them, and as tokens carry them.

Shape suffixes: K tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO, TypeGuard

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError, nearest_names
from e2lm_curriculum.corpus.files import TAGGED_FIELDS, TEXT_FIELD, RecordFields, file_kind, opened_text, records

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

#: A plain text without such lines is one document; it is held out in pages of at least so many characters.
PASSAGE_CHARACTERS = 2_000

#: In a short file pages are shorter: about so many are as much as is held out; but none is shorter than a few lines.
PAGES_HELD_OUT = 4
LEAST_PAGE_CHARACTERS = 80

#: A longer line is cut, so that memory is bounded whatever the text.
LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Passage:
    """Text that is held out, or not, as a whole; ``joint`` is what stands between it and the passage that it continues.

    Without a joint it begins a document. ``file`` is its place in the list of corpus files, or of the sources that
    records name. ``tags`` holds a byte for each character, the part of speech of the word it belongs to, or nothing.
    ``is_cut`` tells that it begins inside a line that was too long. ``score`` is what its record says of it.
    """

    text: str
    joint: str = ""
    file: int = 0
    tags: bytes = b""
    is_cut: bool = False
    score: float | None = None

    @property
    def follows(self) -> bool:
        """Whether it goes on where the passage before it ends."""
        return bool(self.joint)


class TextSources:
    """What a corpus is divided into: its files or, where ``source_field`` is one of a record's, what that says."""

    def __init__(self, files: Sequence[Path], source_field: str | None = None) -> None:
        self.source_field = source_field
        #: As they are printed. Of records: in the order in which they first appear, known once all were read.
        self.names: list[str] = [] if source_field else [file.name for file in files]
        self._files = files
        self._numbers: dict[str, int] = {}

    @property
    def stems(self) -> tuple[str, ...]:
        """The same, files without their last suffix."""
        return tuple(self.names) if self.source_field else tuple(file.stem for file in self._files)

    def number(self, position: int, source: str | None) -> int:
        """The number of a document of the file at ``position`` whose record names ``source``."""
        if self.source_field is None:
            return position
        name = self._files[position].stem if source is None else source
        if name not in self._numbers:
            if len(self.names) >= MOST_SOURCES:
                raise UserError(
                    f"field 'source_field': {self.source_field!r} has more than {MOST_SOURCES:,} different values; "
                    "name a field that many documents share"
                )
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]


#: Each gives a share of its own to the held-out text.
MOST_SOURCES = 10_000


def read_passages(
    files: Sequence[Path],
    held_out: float = 0.0,
    fields: RecordFields = RecordFields(),  # noqa: B008  (frozen)
    sources: TextSources | None = None,
) -> Iterator[Passage]:
    """The passages of all files in order; a :class:`UserError` names a file that is missing, empty or no UTF-8.

    JSON lines, JSON arrays and tables have one document per record, in its field for text, or in ``words`` and
    ``tags``. In any other file documents end at lines that hold only ``<|endoftext|>``; a file without such a line is
    one document, cut into pages at blank lines or, where there are none, at the ends of lines. The share to be
    ``held_out`` makes pages of a short file shorter.
    """
    sources = sources or TextSources(files)
    for position, file in enumerate(files):
        is_empty = True
        for passage, source in _passages_of(file, held_out, fields):
            if passage.text.strip():
                is_empty = False
                yield replace(passage, file=sources.number(position, source))
        if is_empty:
            raise UserError(f"{file}: no text in it; remove it from --corpus")


def _passages_of(file: Path, held_out: float, fields: RecordFields) -> Iterator[tuple[Passage, str | None]]:
    """Each passage, and the source that its record names."""
    if file_kind(file) != "text":
        for record in records(file, fields):
            yield _document(record.place, record.data, fields), _source(record.place, record.data, fields)
        return
    if fields.score is not None:
        raise UserError(
            f"{file}: plain text has no field {fields.score!r}; score_field needs records (.jsonl, .parquet)"
        )
    yield from ((passage, None) for passage in _plain_passages(file, held_out))


def _plain_passages(file: Path, held_out: float) -> Iterator[Passage]:
    characters = _unmarked_characters(file)
    with opened_text(file) as handle:
        if characters is None:
            yield from _documents(_lines(handle))
            return
        share = int(characters * held_out / PAGES_HELD_OUT)
        page = min(PASSAGE_CHARACTERS, max(LEAST_PAGE_CHARACTERS, share)) if held_out else PASSAGE_CHARACTERS
        yield from _pages(_lines(handle), page)


def _document(place: str, data: Any, fields: RecordFields) -> Passage:
    score = _score(place, data, fields.score)
    field = fields.text
    if isinstance(data, dict) and field == TEXT_FIELD and TAGGED_FIELDS[0] in data:
        words, tags = tagged_text(data, place)
        return Passage(words, tags=tags, score=score)
    text = data if isinstance(data, str) else data.get(field) if isinstance(data, dict) else None
    if isinstance(data, dict) and field not in data:
        known = nearest_names(field, [name for name, value in data.items() if isinstance(value, str)])
        raise UserError(f"{place}: expected an object with field {field!r}; text_field names another. {known}")
    if not isinstance(text, str):
        raise UserError(f"{place}: field {field!r}: found {text!r:.40}; expected a string")
    return Passage(text, score=score)


def _score(place: str, data: Any, field: str | None) -> float | None:
    if field is None:
        return None
    found = data.get(field) if isinstance(data, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise UserError(f"{place}: field {field!r} (score_field): found {found!r:.40}; expected a finite number")
    return float(found)


def _source(place: str, data: Any, fields: RecordFields) -> str | None:
    if fields.source is None:
        return None
    found = data.get(fields.source) if isinstance(data, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise UserError(f"{place}: field {fields.source!r} (source_field): found {found!r:.40}; expected a name")
    return str(found)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line without its end; ``is_whole`` tells that it had one, or was the last."""

    text: str
    is_whole: bool = True


def _lines(handle: TextIO) -> Iterator[_Line]:
    """The lines of a text, those that are too long in parts, cut at a blank where there is one."""
    carried = ""
    while (found := handle.readline(LONGEST_LINE - len(carried))) or carried:
        line, carried = carried + found, ""
        if line.endswith("\n"):
            yield _Line(line[:-1])
        elif len(line) < LONGEST_LINE:
            yield _Line(line)
        else:
            place = line.rfind(" ", LONGEST_LINE // 2) + 1 or LONGEST_LINE
            yield _Line(line[:place].rstrip(" "), is_whole=False)
            carried = line[place:]


def _unmarked_characters(file: Path) -> int | None:
    """Characters of a text that marks no documents; None of one that does."""
    characters = 0
    with opened_text(file) as handle:
        for line in _lines(handle):
            if _is_mark(line):
                return None
            characters += len(line.text) + 1
    return characters


def _is_mark(line: _Line) -> bool:
    return line.text.startswith(END_OF_TEXT) and line.text.rstrip(" \t") == END_OF_TEXT


def _documents(lines: Iterable[_Line]) -> Iterator[Passage]:
    """What lies between marks; a line that was too long begins a document of its own at every cut."""
    parts: list[str] = []
    is_cut = False
    for line in lines:
        if not _is_mark(line):
            parts.append(line.text)
            if line.is_whole:
                continue
        yield Passage("\n".join(parts).strip("\n"), is_cut=is_cut)
        parts, is_cut = [], not line.is_whole
    yield Passage("\n".join(parts).strip("\n"), is_cut=is_cut)


def _pages(lines: Iterable[_Line], page: int) -> Iterator[Passage]:
    """Runs of paragraphs of at least ``page`` characters; of lines where there is no blank one, or none for long.

    White space between paragraphs is one blank line, whatever it was.
    """
    found = _Page()
    is_after_blank = False
    for line in lines:
        if not line.text.strip():
            is_after_blank = found.characters > 0
            continue
        text, joint = (line.text.lstrip(), "\n\n") if is_after_blank else (line.text, "\n")
        is_after_blank = False
        if found.is_full(page, joint):
            yield found.passage
            found = _Page(joint)
        found.add(text, joint)
        if not line.is_whole:
            yield found.passage
            found = _Page(is_cut=True)
    if found.characters:
        yield found.passage


class _Page:
    """A page in the making."""

    def __init__(self, joint: str = "", is_cut: bool = False) -> None:
        self._joint, self._is_cut = joint, is_cut
        self._parts: list[str] = []
        self._has_blank = False
        self.characters = 0

    def is_full(self, page: int, joint: str) -> bool:
        """Whether it ends here: best at a blank line, at any line where it has none or is twice as long."""
        at_blank = joint == "\n\n"
        return self.characters >= page and (at_blank or not self._has_blank or self.characters >= 2 * page)

    def add(self, text: str, joint: str) -> None:
        """Put a line below the others."""
        if self._parts:
            self._parts.append(joint)
            self._has_blank |= joint == "\n\n"
            self.characters += joint == "\n"
        self._parts.append(text)
        self.characters += len(text)

    @property
    def passage(self) -> Passage:
        """What is on it."""
        return Passage("".join(self._parts), self._joint, is_cut=self._is_cut)
