"""``e2lm leaderboard verify SEASON``: does every row agree with the log? 0 yes, 1 no."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from e2lm.command_line import EXIT_CHECK_FAILED, EXIT_OK
from e2lm_leaderboard.cli.open_season import add_season_argument


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    add_season_argument(parser)
    parser.add_argument("--head", metavar="HASH", help="hash that the log must have reached (from a page or export)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> int:
    """Verify and tell."""
    from e2lm_leaderboard.cli.open_season import opened

    with opened(arguments.season) as (_, store):
        problems = store.verify()
        head = store.head()
        if arguments.head and not store.has_hash(arguments.head):
            problems.append(f"audit: no row has the hash {arguments.head}; the log was cut or written anew")
    if arguments.json:
        print(json.dumps({"problems": problems, "rows": head.seq, "head": head.hash}, indent=1))
    else:
        print("\n".join(problems) or f"{head.seq} log rows agree with the database; head {head.hash}")
    return EXIT_CHECK_FAILED if problems else EXIT_OK
