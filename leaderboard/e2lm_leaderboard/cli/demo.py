"""``e2lm leaderboard demo``: a season in a box, with five submissions of which three are scored and two refused."""

from __future__ import annotations

import io
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from e2lm.errors import UserError

if TYPE_CHECKING:
    from e2lm_leaderboard.season.demo import DemoSubmission
    from e2lm_leaderboard.season.season import Season

TITLE = "A season in a box"


def configure_demo(parser: ArgumentParser) -> None:
    """Arguments of ``demo``."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo-season"), help="folder (default: ./demo-season); resumes there"
    )
    parser.add_argument("--demo", type=Path, metavar="DIR", help="finished 'e2lm demo' whose corpus and tasks to use")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")


def run_demo(arguments: Namespace) -> int:
    """Open, submit, run, rank, export, verify."""
    from e2lm_leaderboard.season.demo import demo_season, demo_submissions, train_series
    from e2lm_leaderboard.season.season import SEASON_FILE, Season
    from e2lm_leaderboard.store.database import database_url

    out: Path = arguments.out
    source: Path = arguments.demo or out / "models"
    if arguments.dry_run:
        print(f"would open a season in {out}: four small models to train, five submissions to run")
        return 0
    if arguments.demo is None:
        _make_corpus(source)
    if not (source / "runs").is_dir():
        raise UserError(f"--demo {source}: no folder 'runs' in it; give the folder of a finished 'e2lm demo'")
    submissions = demo_submissions(source / "tasks")
    print("training the organiser's models: three sizes on text, one on shuffled words ...", flush=True)
    train_series(source, out / "training", out / "series")
    if not (out / SEASON_FILE).exists():
        demo_season(TITLE, out / "series").write(out)
    season = Season.read(out)
    return _season(out, season, database_url(season.database or str(out)), submissions)


def _make_corpus(folder: Path) -> None:
    """The quick demo: text, and a benchmark from the part of it that was held out."""
    from e2lm.command_line import run_command

    if (folder / "report.html").is_file():
        return
    print("collecting text and making a benchmark from it (e2lm demo --quick) ...", flush=True)
    with redirect_stdout(io.StringIO()):
        run_command(["demo", "--quick", "--out", str(folder)])


def _season(out: Path, season: Season, url: str, submissions: Sequence[DemoSubmission]) -> int:
    from e2lm_leaderboard.bundle.intake import take_in
    from e2lm_leaderboard.cli.organiser import print_table
    from e2lm_leaderboard.season.run import SeasonRun
    from e2lm_leaderboard.season.season import SALT_KEY, utc_now
    from e2lm_leaderboard.store.store import Store
    from e2lm_leaderboard.web.export import export_season

    store = Store(url)
    try:
        if store.setting(SALT_KEY) is None:
            store.set_setting(SALT_KEY, "the demo's salt is no secret")
        for one in submissions:
            take_in(store, season.rules, one.bundle.packed(), one.team, utc_now())
        SeasonRun(out, season, store).run()
        print_table(store, season, private=False)
        export_season(store, season, out / "site", utc_now())
        problems = store.verify()
    finally:
        store.close()
    print("\n".join(problems) or "every row agrees with the log")
    print(f"page: {out / 'site' / 'index.html'}; or: e2lm leaderboard serve {out}")
    return 1 if problems else 0
