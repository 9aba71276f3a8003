"""Files of text as people have them: plain, compressed, JSON, Parquet, data sets of the Hub; as text, or as records.

What kind a file is, its first bytes tell, then its name. Never more is in memory than one record, of tables a few rows.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TextIO

from e2lm.errors import UserError, nearest_names, one_line
from e2lm_curriculum.corpus.hub import HUB, is_data_set, opened_data_set

FileKind = Literal["text", "lines", "array", "table"]

KNOWN_FILES = f".txt, .jsonl, .json, .parquet, each but the last also as .gz or .zst; {HUB}OWNER/NAME is of the Hub"
COMPRESSED = (".gz", ".zst")

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PARQUET_MAGIC = b"PAR1"

#: Rows of a table at once.
ROWS_AT_ONCE = 256

#: The field of a record that holds its text, where nothing else is said.
TEXT_FIELD = "text"

#: Instead of it, what holds words and their parts of speech.
TAGGED_FIELDS = ("words", "tags")


@dataclass(frozen=True, slots=True)
class RecordFields:
    """Which fields of a record hold its text and, where they are asked for, where it is from and how it is rated."""

    text: str = TEXT_FIELD
    source: str | None = None
    score: str | None = None

    def columns(self, names: Sequence[str], place: str) -> list[str]:
        """Those of a table with the columns ``names``; a :class:`UserError` for one that is missing."""
        is_tagged = self.text == TEXT_FIELD and self.text not in names and set(TAGGED_FIELDS) <= set(names)
        of_text = TAGGED_FIELDS if is_tagged else (self.text,)
        wanted = [*of_text, *(one for one in (self.source, self.score) if one is not None)]
        for one in wanted:
            if one not in names:
                option = "text_field" if one == self.text else "source_field" if one == self.source else "score_field"
                raise UserError(f"{place}: no column {one!r}; field {option!r} names one. {nearest_names(one, names)}")
        return list(dict.fromkeys(wanted))


READ_AT_ONCE = 1 << 20


class TextRecord(NamedTuple):
    """One document as its file has it: a text, or fields by name; ``place`` is what an error calls it."""

    place: str
    data: Any


def file_kind(file: Path) -> FileKind:
    """What is in ``file``: text, JSON lines, a JSON array, or a table (Parquet, or a data set of the Hub).

    What is named ``.json`` is often lines (C4, Dolma): its first character tells.
    """
    if is_data_set(file) or _first_bytes(file) == PARQUET_MAGIC:
        return "table"
    suffix = Path(file.name.removesuffix(file.suffix)).suffix if file.suffix.lower() in COMPRESSED else file.suffix
    kinds: dict[str, FileKind] = {".jsonl": "lines", ".ndjson": "lines", ".json": "array", ".parquet": "table"}
    kind = kinds.get(suffix.lower(), "text")
    return "lines" if kind == "array" and _first_character(file) == "{" else kind


def _first_character(file: Path) -> str:
    with opened_text(file) as text:
        return _after_blanks(text)[:1]


def _after_blanks(text: TextIO) -> str:
    """Some of what comes next, from the first character on that is no white space; nothing at the end."""
    while found := text.read(READ_AT_ONCE):
        if found := found.lstrip():
            return found
    return ""


@contextmanager
def opened_text(file: Path) -> Iterator[TextIO]:
    """``file`` as text: decompressed, without a byte order mark, all ends of lines alike.

    A :class:`UserError` names a file that is missing, a folder, damaged or no UTF-8, also while it is read.
    """
    try:
        with _opened(file) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline=None) as text:
            yield text
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {_first_bad_byte(file)}; convert it first") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{file}: damaged or cut off ({one_line(error)}); get it again") from error
    except OSError as error:
        if error.errno is not None:
            raise
        # Arrow's, of what it decompresses.
        raise UserError(f"{file}: damaged or cut off ({one_line(error)}); get it again") from error


def records(file: Path, fields: RecordFields) -> Iterator[TextRecord]:
    """The records of a file that is no plain text; a table is asked for the columns of ``fields`` alone."""
    match file_kind(file):
        case "lines":
            yield from _json_lines(file)
        case "array":
            yield from _json_array(file)
        case _ if is_data_set(file):
            yield from _data_set_rows(file, fields)
        case _:
            yield from _parquet_rows(file, fields)


def _json_lines(file: Path) -> Iterator[TextRecord]:
    with opened_text(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield TextRecord(f"{file}:{number}", _parsed(line, f"{file}:{number}"))


def _json_array(file: Path) -> Iterator[TextRecord]:
    """One after the other: the array is never in memory as a whole."""
    place = 0
    with opened_text(file) as text:
        for place, one in enumerate(_elements(text, str(file)), start=1):
            yield TextRecord(f"{file}: document {place}", one)


def _elements(text: TextIO, place: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    waiting, at, is_end = _after_blanks(text), 1, False
    if not waiting.startswith("["):
        raise UserError(f"{place}: expected a JSON array of documents, or an object on each line")
    while True:
        at = _BETWEEN.match(waiting, at).end()  # type: ignore[union-attr]
        if waiting[at : at + 1] == "]":
            if waiting[at + 1 :].strip() or _after_blanks(text):
                raise UserError(f"{place}: a JSON array, and more after it; expected one array, or an object a line")
            return
        try:
            found, end = decoder.raw_decode(waiting, at)
        except json.JSONDecodeError as error:
            if is_end:
                raise UserError(f"{place}: a JSON array that is damaged or cut off ({one_line(error)})") from error
            # As much again as is there already, so that a long document is not looked through again and again.
            more = text.read(max(READ_AT_ONCE, len(waiting) - at))
            waiting, at, is_end = waiting[at:] + more, 0, not more
            continue
        yield found
        at = end


#: What stands between the elements of an array.
_BETWEEN = re.compile(r"[\s,]*")


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: expected an object with field 'text' ({one_line(error)})") from error


def _parquet_rows(file: Path, fields: RecordFields) -> Iterator[TextRecord]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as table:
            columns = fields.columns(table.schema_arrow.names, str(file))
            yield from _rows(file, table.iter_batches(ROWS_AT_ONCE, columns=columns))
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{file}: damaged, no Parquet table ({one_line(error)})") from error


def _data_set_rows(file: Path, fields: RecordFields) -> Iterator[TextRecord]:
    found = opened_data_set(file)
    chosen = found.select_columns(fields.columns(found.column_names, str(file)))
    yield from _rows(file, chosen.with_format("arrow").iter(ROWS_AT_ONCE))


def record_hash(file: Path, fields: RecordFields) -> str:
    """SHA-256 of what a data set has in ``fields``, row by row: of the text itself, whatever it was downloaded as."""
    digest = sha256()
    for record in _data_set_rows(file, fields):
        digest.update(json.dumps(record.data, ensure_ascii=False, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _rows(file: Path, batches: Iterable[Any]) -> Iterator[TextRecord]:
    row = 0
    for batch in batches:
        for data in batch.to_pylist():
            row += 1
            yield TextRecord(f"{file}: row {row}", data)


def _first_bytes(file: Path, count: int = 4) -> bytes:
    try:
        with open(file, "rb") as handle:
            return handle.read(count)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; --corpus takes text files ({KNOWN_FILES})") from error
    except IsADirectoryError as error:
        raise UserError(f"{file}: a folder; --corpus takes text files ({KNOWN_FILES})") from error


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    first = _first_bytes(file)
    if first.startswith(GZIP_MAGIC):
        with gzip.open(file, "rb") as handle:
            yield io.BufferedReader(handle, READ_AT_ONCE)
    elif first == ZSTD_MAGIC:
        import pyarrow

        with pyarrow.input_stream(str(file), compression="zstd") as handle:
            yield handle
    else:
        with open(file, "rb") as handle:
            yield handle


def _first_bad_byte(file: Path) -> int:
    """The place of the first byte that is no UTF-8, in the decompressed text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with _opened(file) as raw:
        while found := raw.read(READ_AT_ONCE):
            waiting = len(decoder.getstate()[0])
            try:
                decoder.decode(found)
            except UnicodeDecodeError as error:
                return read - waiting + error.start
            read += len(found)
    return read - len(decoder.getstate()[0])
