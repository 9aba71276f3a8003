"""``e2lm leaderboard rank SEASON``: the table."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from e2lm_leaderboard.open_season import add_season_argument

if TYPE_CHECKING:
    from e2lm_leaderboard.ranking import RankedEntry


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    add_season_argument(parser)
    parser.add_argument("--private", action="store_true", help="by private scores, before the season's end too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> int:
    """Print it."""
    from e2lm_leaderboard.open_season import opened
    from e2lm_leaderboard.season import utc_now
    from e2lm_leaderboard.season_table import season_table
    from e2lm_leaderboard.submission_state import State
    from e2lm_leaderboard.table_files import table_records

    with opened(arguments.season) as (season, store):
        table = season_table(store, season, utc_now(), arguments.private)
        others = [entry for entry in store.entries() if entry.state != State.SCORED]
    if arguments.json:
        print(json.dumps({"split": table.split, "head": table.head, "ranking": table_records(table)}, indent=1))
        return 0
    print(f"{season.title}: {season.ranking_score}, {table.split} scores, 90 % intervals")
    for row in table.rows:
        print(_line(row))
    for entry in others:
        print(f"{entry.state:>9}  {entry.name} of {entry.team}  {entry.reason}")
    return 0


def _line(row: RankedEntry) -> str:
    result = row.result
    if result.value is None:
        return f"{'-':>4}  {row.entry.name:<28} {row.entry.team:<16} undefined: {result.reason}"
    interval = "no interval" if result.low is None else f"[{result.low:.3f}, {result.high:.3f}]"
    return f"{row.rank:>4}  {row.entry.name:<28} {row.entry.team:<16} {result.value:.3f} {interval}  try {row.tries}"
