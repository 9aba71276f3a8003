"""``e2lm leaderboard rank SEASON``: the table."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from e2lm_leaderboard.cli.open_season import add_season_argument

if TYPE_CHECKING:
    from e2lm_leaderboard.ranking.ranking import RankedEntry
    from e2lm_leaderboard.season.season import Season
    from e2lm_leaderboard.store.store import Result, Store


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    add_season_argument(parser)
    parser.add_argument("--private", action="store_true", help="by private scores, before the season's end too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> int:
    """Print it."""
    from e2lm_leaderboard.cli.open_season import opened
    from e2lm_leaderboard.ranking.table import season_table, table_records
    from e2lm_leaderboard.season.season import utc_now

    with opened(arguments.season) as (season, store):
        if not arguments.json:
            print_table(store, season, arguments.private)
            return 0
        table = season_table(store, season, utc_now(), arguments.private)
        print(json.dumps({"split": table.split, "head": table.head, "ranking": table_records(table)}, indent=1))
    return 0


def print_table(store: Store, season: Season, private: bool) -> None:
    """The table, and below it what has no place in it."""
    from e2lm_leaderboard.ranking.table import missing_numbers, season_table
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.store.tables import State

    table = season_table(store, season, utc_now(), private)
    print(f"{season.title}: {season.ranking_score}, {table.split} scores, 90 % intervals")
    for row in table.rows:
        print(_line(row))
        print(f"{'':>6}{'  '.join(_other(table.other(row.entry.id, name)) for name in season.other_scores)}")
    for name, reasons in missing_numbers(table, table.rows).items():
        print(*(f"{name}: {reason} ({names})" for reason, names in reasons.items()), sep="\n")
    for entry in store.entries():
        if entry.state != State.SCORED:
            print(f"{entry.state:>9}  {entry.name} of {entry.team}  {entry.reason}")


def _other(result: Result) -> str:
    if result.value is None:
        return f"{result.score} -"
    interval = "no interval" if result.low is None else f"[{result.low:.3f}, {result.high:.3f}]"
    return f"{result.score} {result.value:.3f} {interval}"


def _line(row: RankedEntry) -> str:
    result = row.result
    if result.value is None:
        return f"{'-':>4}  {row.entry.name:<28} {row.entry.team:<16} undefined: {result.reason}"
    interval = "no interval" if result.low is None else f"[{result.low:.3f}, {result.high:.3f}]"
    return f"{row.rank:>4}  {row.entry.name:<28} {row.entry.team:<16} {result.value:.3f} {interval}  try {row.tries}"
