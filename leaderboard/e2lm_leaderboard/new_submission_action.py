"""``e2lm leaderboard new-submission DIR``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="new folder for the bundle")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


def run(arguments: Namespace) -> int:
    """Write the sample."""
    from e2lm_leaderboard.new_submission import sample_files, write_sample

    if arguments.dry_run:
        print(f"would write {', '.join(sorted(sample_files()))} into {arguments.folder}")
        return 0
    names = write_sample(arguments.folder)
    print(f"{arguments.folder}: {', '.join(names)}")
    print(f"next: e2lm leaderboard check {arguments.folder}")
    return 0
