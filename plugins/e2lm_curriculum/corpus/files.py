"""Files of text as people have them: plain, compressed, JSON, Parquet; opened as text, or read as records, bit by bit.

What kind a file is, its first bytes tell, then its name. Never more is in memory than one record.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TextIO

from e2lm.errors import UserError, nearest_names, one_line

FileKind = Literal["text", "lines", "array", "parquet"]

KNOWN_FILES = ".txt, .jsonl, .json, .parquet, each but the last also as .gz or .zst"
COMPRESSED = (".gz", ".zst")

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PARQUET_MAGIC = b"PAR1"

#: A JSON array is read as a whole; a longer one wants to be lines.
LARGEST_ARRAY_BYTES = 1 << 28

#: Rows of a Parquet file at once.
ROWS_AT_ONCE = 256

READ_AT_ONCE = 1 << 20


class TextRecord(NamedTuple):
    """One document as its file has it: a text, or fields by name; ``place`` is what an error calls it."""

    place: str
    data: Any


def file_kind(file: Path) -> FileKind:
    """What is in ``file``: text, JSON lines, a JSON array, or a Parquet table."""
    if _first_bytes(file) == PARQUET_MAGIC:
        return "parquet"
    suffix = Path(file.name.removesuffix(file.suffix)).suffix if file.suffix in COMPRESSED else file.suffix
    kinds: dict[str, FileKind] = {".jsonl": "lines", ".ndjson": "lines", ".json": "array", ".parquet": "parquet"}
    return kinds.get(suffix.lower(), "text")


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


def records(file: Path, field: str) -> Iterator[TextRecord]:
    """The records of a file that is no plain text; ``field`` is the column that a Parquet table is asked for."""
    match file_kind(file):
        case "lines":
            yield from _json_lines(file)
        case "array":
            yield from _json_array(file)
        case _:
            yield from _parquet_rows(file, field)


def _json_lines(file: Path) -> Iterator[TextRecord]:
    with opened_text(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield TextRecord(f"{file}:{number}", _parsed(line, f"{file}:{number}"))


def _json_array(file: Path) -> Iterator[TextRecord]:
    if file.is_file() and file.stat().st_size > LARGEST_ARRAY_BYTES:
        raise UserError(f"{file}: a JSON array of over {LARGEST_ARRAY_BYTES >> 20} MB; write it as lines (.jsonl)")
    with opened_text(file) as text:
        data = _parsed(text.read(), str(file))
    if not isinstance(data, list):
        raise UserError(f"{file}: expected a JSON array of documents, found {type(data).__name__}")
    yield from (TextRecord(f"{file}: document {place}", one) for place, one in enumerate(data, start=1))


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: expected an object with field 'text' ({one_line(error)})") from error


def _parquet_rows(file: Path, field: str) -> Iterator[TextRecord]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as table:
            names = table.schema_arrow.names
            if field not in names:
                raise UserError(
                    f"{file}: no column {field!r}; field 'text_field' names one. {nearest_names(field, names)}"
                )
            row = 0
            for batch in table.iter_batches(ROWS_AT_ONCE, columns=[field]):
                for value in batch.column(0).to_pylist():
                    row += 1
                    yield TextRecord(f"{file}: row {row}", {field: value})
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{file}: damaged, no Parquet table ({one_line(error)})") from error


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
        with _zstandard(file) as handle:
            yield handle
    else:
        with open(file, "rb") as handle:
            yield handle


def _zstandard(file: Path) -> BinaryIO:
    try:
        import zstandard
    except ImportError as error:
        raise UserError(
            f"{file}: compressed with Zstandard; pip install 'e2lm[zst]', or decompress it first"
        ) from error
    found: BinaryIO = zstandard.open(file, "rb")
    return found


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
