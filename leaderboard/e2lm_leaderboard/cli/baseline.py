"""``e2lm leaderboard baseline``: the organiser enters benchmarks to be beaten, such as ones that know nothing."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.command_line import EXIT_OK
from e2lm.errors import UserError
from e2lm_leaderboard.cli.organiser import add_season_argument, opened

if TYPE_CHECKING:
    from e2lm_leaderboard.bundle.bundle import Bundle
    from e2lm_leaderboard.season.season import SeasonRules


def configure_baseline(parser: ArgumentParser) -> None:
    """Arguments of ``baseline``."""
    add_season_argument(parser)
    parser.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE", help="others than the seven house cheats")
    parser.add_argument("--dry-run", action="store_true", help="say what would be entered, and stop")


def run_baseline(arguments: Namespace) -> int:
    """Enter them; ``run`` scores them."""
    from e2lm_leaderboard.bundle.check import check_archive
    from e2lm_leaderboard.season.house import HOUSE
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.store.store import Incoming
    from e2lm_leaderboard.web.guard import new_token, token_hash

    with opened(arguments.season) as (season, store):
        for bundle in _given(arguments.bundles, season.rules) or _house().values():
            archive = bundle.packed()
            report = check_archive(archive, season.rules)
            if report.submission is None or not report.accepted:
                raise UserError(f"baseline: {report.findings[0].sentence}")
            name, title = report.submission.name, report.submission.title
            team = name if name.startswith(f"{HOUSE}-") else f"{HOUSE}-{name}"
            is_new = team not in store.teams()
            if not arguments.dry_run:
                if is_new:
                    store.add_team(team, token_hash(new_token()), HOUSE, utc_now())
                _, is_new = store.submit(Incoming(report.content_id, archive, name, title, team), 1000, utc_now())
            print(f"{name}: {'is there already' if not is_new else 'would wait' if arguments.dry_run else 'waits'}")
    return EXIT_OK


def _given(paths: list[Path], rules: SeasonRules) -> list[Bundle]:
    """Bundles of the organiser's own."""
    from e2lm_leaderboard.bundle.bundle import Findings, read_bundle

    found = []
    for path in paths:
        findings = Findings()
        found.append(read_bundle(path, rules.limits, findings))
        if len(findings):
            raise UserError(f"{path}: {findings.listed()[0].sentence}")
    return found


def _house() -> dict[str, Bundle]:
    """The seven of the house, made of the sample."""
    from e2lm_leaderboard.cli.entrant import sample_files
    from e2lm_leaderboard.season.house import house_bundles

    rows: list[dict[str, Any]] = [json.loads(line) for line in sample_files()["counting.jsonl"].splitlines()]
    ending = "The number of {thing} that {person} has now is"
    return house_bundles([{**row, "ask": f"{row['story']} {ending.format(**row)}"} for row in rows])
