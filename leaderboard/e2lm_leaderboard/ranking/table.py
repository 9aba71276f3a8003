"""The ranking of a season as it may be shown: by published scores until the end, by private ones after it.

As records, JSON, CSV and Parquet: the same rows in every form, and the same bytes for the same rows.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from e2lm_leaderboard.messages import say
from e2lm_leaderboard.ranking.ranking import (
    ABOVE_NULL,
    ANSWER_SHARE,
    NULL_SCORE,
    RankedEntry,
    published_results,
    ranked,
    rounded,
    with_house,
)
from e2lm_leaderboard.ranking.removal import AXES, REMOVAL, RemovalShares, removal_shares, removal_split
from e2lm_leaderboard.season.house import HOUSE
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.season.signature import SignedHead, Signer
from e2lm_leaderboard.store.store import CLOSED_KEY, Entry, Result, Store
from e2lm_leaderboard.store.tables import OUT

#: Rows that lack a number for one reason and are named; the others are counted.
NAMED_ROWS = 5
#: Entries of a team that compete in the end.
FINALS = 2
NULL_CONTROL = (ABOVE_NULL, NULL_SCORE, ANSWER_SHARE)


@dataclass(frozen=True, slots=True)
class SeasonTable:
    """Rows in order, one a team; ``split`` says from which numbers, ``head`` which state of the log they come from.

    ``results`` holds the numbers over all series by id and score, as they are stored; ``shown`` by id what may be shown
    of the score that ranks, of entries beside the rows too, ``tries`` which try of its team an entry was, ``removal``
    how little would have to be left out for its rank to be another; ``has_null`` says whether any had a null control,
    ``entered`` how many submissions a team has sent.
    """

    season: Season
    split: str
    rows: Sequence[RankedEntry]
    head: str
    version: int
    results: Mapping[str, Mapping[str, Result]]
    shown: Mapping[str, Result]
    places: Mapping[str, int]
    tries: Mapping[str, int]
    removal: Mapping[str, RemovalShares]
    has_null: bool
    entered: Mapping[str, int]
    signed: SignedHead | None

    def row(self, key: str) -> RankedEntry | None:
        """The row of a submission."""
        place = self.places.get(key)
        return None if place is None else self.rows[place]

    def tells_numbers_of(self, key: str) -> bool:
        """Whether numbers of a submission may be shown: before the end, of those alone that beat their team's best."""
        return self.split == "private" or (key in self.shown and self.shown[key].value is not None)

    def other(self, key: str, score: str) -> Result:
        """A number of a submission beside the one that ranks, as it may be shown; undefined with the reason."""
        found = self.results.get(key, {}).get(score)
        if found is None:
            return Result(self.split, score, "", None, reason="not computed: it was scored before the season asked")
        return found if self.split == "private" else _coarse(found, self.season.ladder_step)


def season_table(
    store: Store, season: Season, now: datetime, private: bool = False, signer: Signer | None = None
) -> SeasonTable:
    """The table; ``private`` shows the organiser the private scores before the end, ``signer`` signs its head.

    Entries that are out of the competition, or arrived after its end, have no row.
    """
    head = store.head()
    everything = store.entries()
    entries = [one for one in everything if one.state not in OUT and not season.is_late(one.received_at)]
    teams = store.teams()
    house = {name for name, (role, _) in teams.items() if role == HOUSE}
    is_private = private or is_over(store, season, now)
    public = store.overall("public", (*season.all_scores, *NULL_CONTROL))
    results = store.overall("private", (*season.all_scores, *NULL_CONTROL)) if is_private else public
    shown = published = published_results(entries, ranking_results(public, season), season.ladder_step)
    if is_private:
        numbers = ranking_results(results, season)
        finals = _finals(entries, published or numbers, teams)
        shown = {one.id: numbers[one.id] for one in entries if one.id in numbers}
        rows = [
            replace(row, tries=sum(one.team == row.entry.team and one.id in shown for one in entries))
            for row in _ranked_with_house(entries, {key: shown[key] for key in finals if key in shown}, house)
        ]
    else:
        rows = _ranked_with_house(entries, shown, house)
    places = {row.entry.id: place for place, row in enumerate(rows)}
    split = "private" if is_private else "published"
    shifts = store.overall(removal_split("private" if is_private else "public"), (REMOVAL,))
    removal = removal_shares(rows, shifts, None if is_private else season.ladder_step)
    tries = _own_tries(entries, shown)
    signed = None if signer is None else signer.signed(head.seq, head.hash)
    entered = dict(Counter(entry.team for entry in everything))
    has_null = any(ABOVE_NULL in by_score for by_score in results.values())
    return SeasonTable(
        season, split, rows, head.hash, head.seq, results, shown, places, tries, removal, has_null, entered, signed
    )


def _ranked_with_house(
    entries: Sequence[Entry], results: Mapping[str, Result], house: Collection[str]
) -> list[RankedEntry]:
    """The rows of teams by rank, then those of the house."""
    own = ranked([one for one in entries if one.team not in house], results)
    return with_house(own, ranked([one for one in entries if one.team in house], results))


def _own_tries(entries: Sequence[Entry], shown: Mapping[str, Result]) -> dict[str, int]:
    """Which try of its team each scored submission was."""
    counts: dict[str, int] = {}
    found = {}
    for entry in entries:
        if entry.id in shown:
            counts[entry.team] = found[entry.id] = counts.get(entry.team, 0) + 1
    return found


def is_over(store: Store, season: Season, now: datetime) -> bool:
    """Whether private scores may be shown: by the season's times, or because the organiser closed it."""
    return season.is_over(now) or store.setting(CLOSED_KEY) is not None


def ranking_results(results: Mapping[str, Mapping[str, Result]], season: Season) -> dict[str, Result]:
    """The number that ranks: the part above the null, or the plain score where there was no null control."""
    found = {}
    for key, by_score in results.items():
        if (result := by_score.get(ABOVE_NULL, by_score.get(season.ranking_score))) is not None:
            found[key] = result
    return found


def _finals(
    entries: Sequence[Entry], published: Mapping[str, Result], teams: Mapping[str, tuple[str, Sequence[str]]]
) -> set[str]:
    """Who competes in the end: what a team picked; else its last two that were its best; else its last two."""
    improved: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    picked: dict[str, list[str]] = {}
    for entry in entries:
        found = published.get(entry.id)
        if entry.id in teams.get(entry.team, ("", ()))[1]:
            picked.setdefault(entry.team, []).append(entry.id)
        if found is not None:
            (others if found.value is None else improved).setdefault(entry.team, []).append(entry.id)
    chosen = {**others, **improved, **picked}
    return {key for keys in chosen.values() for key in keys[-FINALS:]}


class Numbers(Protocol):
    """Where numbers of a submission are found: the store, or what was read of it for many at once."""

    def results(self, split: str, key: str) -> list[tuple[str, Result]]:
        """Ids and numbers of a split."""

    def details(self, key: str) -> dict[str, Any]:
        """What a page shows beside them."""


def visible_results(table: SeasonTable, store: Numbers, entry: Entry) -> list[Result]:
    """All numbers of a submission that may be shown: before the end, public ones by the ladder's value only.

    Other scores of the public split and per-series numbers come from the same items, so they are rounded to the step,
    and shown of an entry that beat its team's best alone.
    """
    if table.split == "private":
        return [result for _, result in store.results("private", entry.id)]
    own = table.shown.get(entry.id)
    if own is None or own.value is None:
        return [] if own is None else [own]
    shown = [own]
    for _, result in store.results("public", entry.id):
        if not result.series and result.score == own.score:
            continue
        shown.append(_coarse(result, table.season.ladder_step))
    return shown


def _coarse(result: Result, step: float) -> Result:
    def coarse(value: float | None) -> float | None:
        return None if value is None else rounded(value, step)

    low, value, high = coarse(result.low), coarse(result.value), coarse(result.high)
    return Result(result.split, result.score, result.series, value, low, high, None, result.reason)


def other_scores(table: SeasonTable) -> tuple[str, ...]:
    """The numbers beside the one that ranks: the null control where there was one, then the scores of the season."""
    return (ANSWER_SHARE, NULL_SCORE, *table.season.all_scores) if table.has_null else table.season.other_scores


def missing_numbers(table: SeasonTable, rows: Sequence[RankedEntry]) -> dict[str, dict[str, str]]:
    """By score and reason, the rows that lack the number or its interval: ``all``, or their names."""
    missing: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        numbers = [row.result, *(table.other(row.entry.id, name) for name in other_scores(table))]
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


def head_record(table: SeasonTable) -> dict[str, Any]:
    """Which state of the log a table comes from, signed or not."""
    signed = table.signed
    names = {"key": None, "signature": None} if signed is None else {"key": signed.key, "signature": signed.signature}
    return {"split": table.split, "rows": table.version, "head": table.head, **names}


COLUMNS = (
    *("rank", "name", "title", "team", "value", "low", "high", "split", "score", "reason", "tries"),
    *("number", "received_at", "id", "flag", "rank_best", "rank_worst"),
    *("removal_items", "removal_checkpoints", "removal_series"),
)
TEXTS = frozenset({"name", "title", "team", "split", "score", "reason", "received_at", "id", "flag"})
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
            "flag": row.flag,
            "rank_best": None if row.ranks is None else row.ranks[0],
            "rank_worst": None if row.ranks is None else row.ranks[1],
            **_removal(table, row),
            "scores": {name: _number(table.other(row.entry.id, name)) for name in other_scores(table)},
        }
        for row in (table.rows if rows is None else rows)
    ]


def _removal(table: SeasonTable, row: RankedEntry) -> dict[str, float | None]:
    shares = table.removal.get(row.entry.id)
    return {f"{REMOVAL}_{axis}": None if shares is None else shares.by_axis.get(axis) for axis in AXES}


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
    return [*COLUMNS, *(_column(name, part) for name in other_scores(table) for part in NUMBER_PARTS)]


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

    integers = {"rank", "tries", "number", "rank_best", "rank_worst"}
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
