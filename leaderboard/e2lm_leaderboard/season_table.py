"""The ranking of a season as it may be shown: by published scores until the end, by private ones after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from e2lm_leaderboard.ladder import published_results
from e2lm_leaderboard.ranking import RankedEntry, ranked
from e2lm_leaderboard.season import Season
from e2lm_leaderboard.store import Entry, Result, Store


@dataclass(frozen=True, slots=True)
class SeasonTable:
    """Rows in order; ``split`` says from which numbers, ``head`` which state of the log they come from."""

    season: Season
    split: str
    rows: Sequence[RankedEntry]
    head: str
    version: int

    def row(self, key: str) -> RankedEntry | None:
        """The row of a submission."""
        return next((row for row in self.rows if row.entry.id == key), None)


def season_table(store: Store, season: Season, now: datetime, private: bool = False) -> SeasonTable:
    """The table; ``private`` shows the organiser the private scores before the end."""
    head = store.head()
    entries = store.entries()
    if private or season.is_over(now):
        split, found = "private", _overall(store, "private", season.ranking_score)
    else:
        public = _overall(store, "public", season.ranking_score)
        split, found = "published", published_results(entries, public, season.ladder_step)
    return SeasonTable(season, split, ranked(entries, found), head.hash, head.seq)


def _overall(store: Store, split: str, score: str) -> dict[str, Result]:
    return {key: result for key, result in store.results(split, score=score) if not result.series}


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
    from e2lm_leaderboard.ladder import rounded

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
