"""Rows of a data file, one at a time, each within limits: JSONL here, Parquet in a process of its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from tempfile import TemporaryFile
from threading import Timer
from typing import Any

from e2lm.errors import one_line
from e2lm_leaderboard.season.season import SeasonRules

MAX_VALUE_DEPTH = 8

#: Reading Parquet takes pyarrow, whose decoders are C++: a file made to crash or to swell them costs a child only.
PARQUET_READER = """
import io, json, resource, sys
limit, rows, row_bytes, total = map(int, sys.argv[1:5])
resource.setrlimit(resource.RLIMIT_CPU, (3, 3))
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import pyarrow as pa
import pyarrow.parquet as pq
pa.set_cpu_count(1); pa.set_io_thread_count(1)
file = pq.ParquetFile(io.BytesIO(sys.stdin.buffer.read()))
if file.metadata.num_rows > rows:
    sys.exit(f"{file.metadata.num_rows} rows, allowed are {rows}")
declared = sum(file.metadata.row_group(k).total_byte_size for k in range(file.metadata.num_row_groups))
if declared > total:
    sys.exit(f"{declared} bytes declared, allowed are {total}")
out, left = sys.stdout, total
for batch in file.iter_batches(batch_size=16, use_threads=False):
    if batch.nbytes > 16 * row_bytes * 4:
        sys.exit("a row that is too large")
    for row in batch.to_pylist():
        line = json.dumps(row, allow_nan=True) + "\\n"
        left -= len(line)
        if len(line) > row_bytes + 1:
            sys.exit(f"a row of {len(line) - 1} bytes, allowed are {row_bytes}")
        if left < 0:
            sys.exit(f"more than {total} bytes of rows")
        out.write(line)
"""
PARQUET_DATA_BYTES = 400 << 20
#: The limit on CPU, 3 s, ends whoever works too long; this one whoever waits, with room for a busy machine and for what
#: is made of the rows meanwhile.
PARQUET_WALL_S = 120.0


class RowError(Exception):
    """Why a row, or the file from there on, is refused; ``line`` counts from 1."""

    def __init__(self, line: int | None, found: str, expected: str = "a JSON object per line") -> None:
        super().__init__(found)
        self.line, self.found, self.expected = line, found, expected


def data_rows(name: str, data: bytes, rules: SeasonRules) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and fields of each row; stops with a :class:`RowError` at the first that is none."""
    if name.endswith(".parquet"):
        lines: Iterator[bytes] = _parquet_lines(data, rules)
    elif name.endswith(".jsonl"):
        lines = _lines(data)
    else:
        raise RowError(None, "data of this kind", "a .jsonl or .parquet file")
    for number, line in enumerate(lines, start=1):
        if len(line) > rules.limits.row_bytes:
            raise RowError(number, f"{len(line):,} bytes", f"at most {rules.limits.row_bytes:,} bytes per row")
        if stripped := line.strip():
            yield number, _row(stripped, number)


def _lines(data: bytes) -> Iterator[bytes]:
    """The lines without their ends, one at a time."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield data[start:end]
        start = end + 1


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_twins)
    except UnicodeDecodeError as error:
        raise RowError(number, "bytes that are not UTF-8", "UTF-8") from error
    except RecursionError as error:
        raise RowError(number, "values nested too deeply", f"at most {MAX_VALUE_DEPTH} levels") from error
    except ValueError as error:
        raise RowError(number, one_line(error)[:160]) from error
    if not isinstance(row, dict):
        raise RowError(number, f"{type(row).__name__} instead of an object")
    problem = _value_problem(row, 0)
    if problem is not None:
        raise RowError(number, problem, "texts, finite numbers, lists and objects")
    return row


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("an object with one key twice")
    return row


def _value_problem(value: Any, depth: int) -> str | None:
    if depth > MAX_VALUE_DEPTH:
        return f"values nested more than {MAX_VALUE_DEPTH} levels"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        return "half of a surrogate pair"
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((problem for child in children if (problem := _value_problem(child, depth + 1))), None)


def _parquet_lines(data: bytes, rules: SeasonRules) -> Iterator[bytes]:
    """The rows as JSON, as the reader writes them: what it could write is bounded, and never held here as a whole."""
    if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        raise RowError(None, "no Parquet file", "a Parquet file")
    limits = [PARQUET_DATA_BYTES, rules.max_items, rules.limits.row_bytes, rules.limits.total_bytes]
    command = [sys.executable, "-I", "-c", PARQUET_READER, *map(str, limits)]
    with TemporaryFile() as source, TemporaryFile() as said:
        source.write(data)
        source.seek(0)
        process = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=said, env={})
        timer = Timer(PARQUET_WALL_S, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                yield line[:-1]
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.communicate()
        if code != 0:
            said.seek(0)
            why = one_line(said.read().decode("utf-8", "replace")).rpartition(": ")[2][:120]
            raise RowError(None, f"it cannot be read ({why or 'the reader died'})", "a Parquet file of rows")
