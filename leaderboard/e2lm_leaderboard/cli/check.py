"""``e2lm leaderboard check DIR``: exit code 0 where the bundle is accepted, 1 where it is refused."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from e2lm.command_line import EXIT_CHECK_FAILED, EXIT_OK

if TYPE_CHECKING:
    from e2lm_leaderboard.season.season import SeasonRules


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("bundle", type=Path, metavar="DIR", help="folder or zip archive of a submission")
    parser.add_argument("--rules", type=Path, metavar="FILE", help="the season's rules (JSON; default: the built-in)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def rules_from(path: Path | None) -> SeasonRules:
    """The rules in ``path``, or the defaults."""
    from e2lm_leaderboard.season.season import SeasonRules

    return SeasonRules() if path is None else SeasonRules.from_json_file(path)


def run(arguments: Namespace) -> int:
    """Check and tell."""
    from e2lm_leaderboard.bundle.check import check_path

    report = check_path(arguments.bundle, rules_from(arguments.rules))
    if arguments.json:
        print(json.dumps(report.as_json(), indent=1))
    elif report.accepted:
        counts = ", ".join(
            f"{task.task.task} ({'items come from code' if task.items is None else f'{len(task.items)} items'})"
            for task in report.tasks
        )
        print(f"accepted: {counts}")
    else:
        for finding in report.findings:
            print(finding.sentence)
        print(f"refused: {len(report.findings)} findings")
    return EXIT_OK if report.accepted else EXIT_CHECK_FAILED
