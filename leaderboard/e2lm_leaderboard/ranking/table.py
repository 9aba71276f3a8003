"""The ranking of a season as it may be shown: by published scores until the end, by private ones after it.

As records, JSON, CSV and Parquet: the same rows in every form, and the same bytes for the same rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from e2lm_leaderboard.messages import say
from e2lm_leaderboard.ranking.ranking import RankedEntry, published_results, ranked, rounded
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.store import Entry, Result, Store

#: Rows that lack a number for one reason and are named; the others are counted.
NAMED_ROWS = 5


@dataclass(frozen=True, slots=True)
class SeasonTable:
    """Rows in order; ``split`` says from which numbers, ``head`` which state of the log they come from.

    ``results`` holds the numbers over all series by id and score, as they are stored.
    """

    season: Season
    split: str
    rows: Sequence[RankedEntry]
    head: str
    version: int
    results: Mapping[str, Mapping[str, Result]]

    def row(self, key: str) -> RankedEntry | None:
        """The row of a submission."""
        return next((row for row in self.rows if row.entry.id == key), None)

    def other(self, key: str, score: str) -> Result:
        """A number of a submission beside the one that ranks, as it may be shown; undefined with the reason."""
        found = self.results.get(key, {}).get(score)
        if found is None:
            return Result(self.split, score, "", None, reason="not computed: it was scored before the season asked")
        return found if self.split == "private" else _coarse(found, self.season.ladder_step)


def season_table(store: Store, season: Season, now: datetime, private: bool = False) -> SeasonTable:
    """The table; ``private`` shows the organiser the private scores before the end."""
    head = store.head()
    entries = store.entries()
    if private or season.is_over(now):
        split, results = "private", store.overall("private", season.all_scores)
        found = _of_score(results, season.ranking_score)
    else:
        split, results = "published", store.overall("public", season.all_scores)
        found = published_results(entries, _of_score(results, season.ranking_score), season.ladder_step)
    return SeasonTable(season, split, ranked(entries, found), head.hash, head.seq, results)


def _of_score(results: Mapping[str, Mapping[str, Result]], score: str) -> dict[str, Result]:
    return {key: by_score[score] for key, by_score in results.items() if score in by_score}


def visible_results(table: SeasonTable, store: Store, entry: Entry) -> list[Result]:
    """All numbers of a submission that may be shown: before the end, public ones by the ladder's value only.

    Other scores of the public split and per-series numbers come from the same items, so they are rounded to the step.
    """
    if table.split == "private":
        return [result for _, result in store.results("private", entry.id)]
    row = table.row(entry.id)
    shown = [] if row is None else [row.result]
    step = table.season.ladder_step
    for _, result in store.results("public", entry.id):
        if not result.series and result.score == table.season.ranking_score:
            continue
        shown.append(_coarse(result, step))
    return shown


def _coarse(result: Result, step: float) -> Result:
    def coarse(value: float | None) -> float | None:
        return None if value is None else rounded(value, step)

    return Result(
        result.split,
        result.score,
        result.series,
        coarse(result.value),
        coarse(result.low),
        coarse(result.high),
        None,
        result.reason,
    )


def missing_numbers(table: SeasonTable, rows: Sequence[RankedEntry]) -> dict[str, dict[str, str]]:
    """By score and reason, the rows that lack the number or its interval: ``all``, or their names."""
    missing: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        numbers = [row.result, *(table.other(row.entry.id, name) for name in table.season.other_scores)]
        for one in numbers:
            if one.value is None or one.low is None:
                missing.setdefault(one.score, {}).setdefault(one.reason, []).append(row.entry.name)
    return {
        score: {reason: _named(names, len(rows)) for reason, names in reasons.items()}
        for score, reasons in missing.items()
    }


def _named(names: Sequence[str], count: int) -> str:
    if len(names) == count > 1:
        return say("all")
    rest = len(names) - NAMED_ROWS
    return say("some_and_more", names=names[:NAMED_ROWS], rest=rest) if rest > 0 else ", ".join(names)


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
