"""``e2lm leaderboard export SEASON OUT``: the pages as files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from e2lm.errors import UserError
from e2lm_leaderboard.cli.open_season import add_season_argument


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    add_season_argument(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the pages; replaced as a whole")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


def run(arguments: Namespace) -> int:
    """Export."""
    from e2lm_leaderboard.cli.open_season import opened
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.web.export import export_season

    out: Path = arguments.out
    if out.exists() and not (out / "ranking.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something that is no export; give a new folder")
    with opened(arguments.season) as (season, store):
        if arguments.dry_run:
            print(f"would write the pages of {len(store.entries())} submissions into {out}")
            return 0
        count = export_season(store, season, out, utc_now(), quiet=False)
    print(f"{count} pages: {out}/index.html")
    return 0
