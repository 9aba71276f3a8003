"""``e2lm leaderboard run SEASON``: check, evaluate and score whatever waits."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from e2lm_leaderboard.cli.open_season import add_season_argument


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    add_season_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="list what waits, and stop")


def run(arguments: Namespace) -> int:
    """Work through the queue."""
    from e2lm_leaderboard.cli.open_season import opened
    from e2lm_leaderboard.season.run import SeasonRun
    from e2lm_leaderboard.store.tables import State

    with opened(arguments.season) as (season, store):
        if arguments.dry_run:
            for entry in store.entries(State.QUEUED, State.CHECKING, State.RUNNING):
                print(f"{entry.name} ({entry.id[:12]}) of {entry.team}: {entry.state}")
            return 0
        count = SeasonRun(arguments.season, season, store).run()
        print(f"{count} submissions done; next: e2lm leaderboard rank {arguments.season}")
    return 0
