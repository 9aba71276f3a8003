"""``e2lm leaderboard init SEASON``: open a season."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from e2lm.errors import UserError
from e2lm_leaderboard.cli.open_season import add_season_argument


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    add_season_argument(parser)
    parser.add_argument("--title", default="A season of benchmarks", help="title of the pages")
    parser.add_argument("--series", action="append", default=[], metavar="RUN", help="run to evaluate on; repeatable")
    parser.add_argument(
        "--control", action="append", default=[], metavar="PATTERN",
        help="names of evaluated series that the others must beat, e.g. 'web*', for e2lmc_cs; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--public-tokens", type=float, metavar="N", help="later checkpoints are hidden until the end, e.g. 2.06e11"
    )
    parser.add_argument("--database", metavar="URL", help="PostgreSQL URL (default: SQLite in SEASON)")
    parser.add_argument("--ends-at", metavar="TIME", help="when private scores are shown: 2026-12-31T23:59:59+00:00")
    parser.add_argument(
        "--team", action="append", default=[], metavar="NAME", help="team that gets a token; repeatable"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


def run(arguments: Namespace) -> int:
    """Write ``season.json``, create the database, hand out tokens."""
    from e2lm_leaderboard.season.season import SEASON_FILE, Season

    path: Path = arguments.season
    series = [str(Path(one).resolve()) if Path(one).exists() else one for one in arguments.series]
    season = Season.from_data(
        {
            "title": arguments.title,
            "series": series,
            "control": arguments.control,
            "public_tokens": arguments.public_tokens,
            "database": arguments.database,
            "ends_at": arguments.ends_at,
        },
        "init",
    )
    exists = (path / SEASON_FILE).exists()
    if exists and not arguments.team:
        raise UserError(f"{path / SEASON_FILE}: is there already; edit it, or add teams with --team NAME")
    if arguments.dry_run:
        print(f"would {'add teams to' if exists else 'open a season in'} {path}")
        return 0
    if not exists:
        path.mkdir(parents=True, exist_ok=True)
        season.write(path)
    for name, token in _teams(path, arguments.team).items():
        print(f"{name}: {token}")
    print(f"{path / SEASON_FILE}: rules and series can be edited there")
    return 0


def _teams(path: Path, names: list[str]) -> dict[str, str]:
    """New tokens by team; the organiser gets one when the season is opened."""
    from e2lm.kind import checked_name
    from e2lm_leaderboard.cli.open_season import opened
    from e2lm_leaderboard.season.season import SALT_KEY, new_salt, utc_now
    from e2lm_leaderboard.web.guard import new_token, token_hash

    tokens = {}
    with opened(path) as (_, store):
        roles = dict.fromkeys(names, "team")
        if store.setting(SALT_KEY) is None:
            store.set_setting(SALT_KEY, new_salt())
            roles["organiser"] = "organiser"
        for name, role in roles.items():
            token = new_token()
            store.add_team(checked_name(name, "team"), token_hash(token), role, utc_now())
            tokens[name] = token
    return tokens
