"""The ranking as records, JSON, CSV and Parquet: the same rows in every form, and the same bytes for the same rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from e2lm_leaderboard.ranking import RankedEntry
from e2lm_leaderboard.season_table import SeasonTable
from e2lm_leaderboard.store import Result

COLUMNS = (
    *("rank", "name", "title", "team", "value", "low", "high", "split", "score", "reason", "tries"),
    *("number", "received_at", "id"),
)
TEXTS = frozenset({"name", "title", "team", "split", "score", "reason", "received_at", "id"})
NUMBER_PARTS = ("value", "low", "high", "reason")
#: A spreadsheet takes a cell that begins so for a formula.
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")


def table_records(table: SeasonTable, rows: Sequence[RankedEntry] | None = None) -> list[dict[str, Any]]:
    """One record per row, of all rows or of some; ``scores`` holds the numbers beside the one that ranks."""
    return [
        {
            "rank": row.rank,
            "name": row.entry.name,
            "title": row.entry.title,
            "team": row.entry.team,
            "value": row.result.value,
            "low": row.result.low,
            "high": row.result.high,
            "split": row.result.split,
            "score": row.result.score,
            "reason": row.result.reason,
            "tries": row.tries,
            "number": row.entry.number,
            "received_at": row.entry.received_at,
            "id": row.entry.id,
            "scores": {name: _number(table.other(row.entry.id, name)) for name in table.season.other_scores},
        }
        for row in (table.rows if rows is None else rows)
    ]


def _number(result: Result) -> dict[str, Any]:
    return {"value": result.value, "low": result.low, "high": result.high, "reason": result.reason}


def _flat_records(table: SeasonTable) -> list[dict[str, Any]]:
    """Records whose other scores are columns of their own: NAME, NAME_low, NAME_high, NAME_reason."""
    flat = []
    for record in table_records(table):
        scores = record.pop("scores")
        for name, number in scores.items():
            record |= {_column(name, part): value for part, value in number.items()}
        flat.append(record)
    return flat


def _column(score: str, part: str) -> str:
    return score if part == "value" else f"{score}_{part}"


def columns(table: SeasonTable) -> list[str]:
    """Names of the columns of CSV and Parquet."""
    return [*COLUMNS, *(_column(name, part) for name in table.season.other_scores for part in NUMBER_PARTS)]


def table_csv(table: SeasonTable) -> str:
    """The table as CSV; text that a spreadsheet would run is quoted with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = columns(table)
    writer.writerow(names)
    for record in _flat_records(table):
        writer.writerow([_cell(record[name]) for name in names])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_MARKS) else value


def table_parquet(table: SeasonTable) -> bytes:
    """The table as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    integers = {"rank", "tries", "number"}
    texts = {name for name in columns(table) if name in TEXTS or name.endswith("_reason")}
    schema = pa.schema(
        [
            (name, pa.int64() if name in integers else pa.string() if name in texts else pa.float64())
            for name in columns(table)
        ]
    )
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_flat_records(table), schema=schema), out)
    return out.getvalue()
