"""The ranking as records, JSON, CSV and Parquet: the same rows in every form, and the same bytes for the same rows."""

from __future__ import annotations

import csv
import io
from typing import Any

from e2lm_leaderboard.season_table import SeasonTable

COLUMNS = (
    *("rank", "name", "title", "team", "value", "low", "high", "split", "score", "reason", "tries"),
    *("number", "received_at", "id"),
)
#: A spreadsheet takes a cell that begins so for a formula.
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")


def table_records(table: SeasonTable) -> list[dict[str, Any]]:
    """One record per row."""
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
        }
        for row in table.rows
    ]


def table_csv(table: SeasonTable) -> str:
    """The table as CSV; text that a spreadsheet would run is quoted with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in table_records(table):
        writer.writerow([_cell(record[column]) for column in COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_MARKS) else value


def table_parquet(table: SeasonTable) -> bytes:
    """The table as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    integers, numbers = {"rank", "tries", "number"}, {"value", "low", "high"}
    schema = pa.schema(
        [
            (name, pa.int64() if name in integers else pa.float64() if name in numbers else pa.string())
            for name in COLUMNS
        ]
    )
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(table_records(table), schema=schema), out)
    return out.getvalue()
