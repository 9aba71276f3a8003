"""``e2lm hub push`` and ``e2lm hub pull``: runs and scores to the Hub and back."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.argument import AMOUNT, folder_to_write
from e2lm.command import Action, Command
from e2lm.errors import UserError

if TYPE_CHECKING:
    from e2lm_adapters.checkpoints.pull import Pull

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
DATASET = "datasets/"


def _configure_push(parser: ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder of a run, or of an evaluation")
    parser.add_argument("repo", metavar="OWNER/NAME", help="made if it is not there")
    parser.add_argument("--scores", type=Path, metavar="OUT", help="scores of the run, for its card")
    parser.add_argument("--private", action="store_true", help="make a private repository")
    _configure_both(parser)


def _configure_pull(parser: ArgumentParser) -> None:
    parser.add_argument("repo", metavar="OWNER/NAME", help="owner/name[@revision,...] or datasets/owner/name")
    parser.add_argument(
        "folder", type=folder_to_write, metavar="DIR", help="where it is written; the same folder resumes"
    )
    parser.add_argument("--tokens-per-step", type=AMOUNT, metavar="N", help="where the repository does not say")
    _configure_both(parser)


def _configure_both(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be transferred, and stop")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no report")
    parser.add_argument("--json", action="store_true", help="print what was transferred as JSON")


def _run_push(arguments: Namespace) -> int:
    report = _push(arguments)
    return _told(report, arguments, report["url"])


def _run_pull(arguments: Namespace) -> int:
    report = _pull(arguments)
    return _told(report, arguments, report["folder"])


def _told(report: dict[str, Any], arguments: Namespace, place: str) -> int:
    if arguments.json:
        print(json.dumps(report))
    elif not arguments.quiet:
        print(*_lines(report, "would transfer" if arguments.dry_run else "transferred", place), sep="\n")
    return 0


def _push(arguments: Namespace) -> dict[str, Any]:
    from e2lm_adapters.checkpoints.push import logged_in, push_of, pushed

    repo = arguments.repo.removeprefix(DATASET)
    if REPOSITORY.fullmatch(repo) is None:
        raise UserError(f"{arguments.repo!r}: expected owner/name, the repository on the Hub")
    push = push_of(arguments.source, repo, arguments.scores)
    if push.kind == "model" and arguments.repo.startswith(DATASET):
        raise UserError(f"{arguments.source}: is a run, and goes to a model repository; leave out {DATASET!r}")
    if not arguments.dry_run and not logged_in():
        raise UserError("not logged in to the Hub: `hf auth login`, or set HF_TOKEN")
    report = pushed(
        push, repo, private=arguments.private, dry_run=arguments.dry_run, quiet=arguments.quiet or arguments.json
    )
    return {
        "url": report.url,
        "kind": report.kind,
        "dry_run": arguments.dry_run,
        "revisions": [
            {"revision": one.revision, "files": sorted(one.added), "deleted": list(one.deleted), "bytes": one.bytes}
            for one in report.changes
        ],
    }


def _pull(arguments: Namespace) -> dict[str, Any]:
    from e2lm_adapters.checkpoints.pull import pulled

    pull = _wanted(arguments)
    if not arguments.dry_run:
        pulled(pull, quiet=arguments.quiet or arguments.json)
    return {
        "folder": str(arguments.folder),
        "dry_run": arguments.dry_run,
        "series": [one.name for _, one in pull.series],
        "revisions": [
            {"revision": one.folder.name, "files": list(one.missing), "deleted": [], "bytes": one.bytes}
            for one in pull.pieces
        ],
    }


def _wanted(arguments: Namespace) -> Pull:
    from e2lm_adapters.checkpoints.pull import pull_of_run, pull_of_scores
    from e2lm_adapters.checkpoints.source import CheckpointSource

    if arguments.repo.startswith(DATASET):
        repo = arguments.repo.removeprefix(DATASET)
        if REPOSITORY.fullmatch(repo) is None:
            raise UserError(f"{arguments.repo!r}: expected datasets/owner/name")
        return pull_of_scores(repo, arguments.folder)
    return pull_of_run(arguments.repo, arguments.folder, CheckpointSource(), arguments.tokens_per_step)


def _lines(report: dict[str, Any], done: str, place: str) -> list[str]:
    lines = [
        f"{one['revision']}: {len(one['files'])} files, {one['bytes'] / 1e6:,.1f} MB"
        for one in report["revisions"]
        if one["files"] or one["deleted"]
    ]
    total = sum(one["bytes"] for one in report["revisions"])
    return [*lines, f"{done} {total / 1e6:,.1f} MB, {len(report['revisions'])} revisions in all: {place}"]


HUB_COMMAND = Command.with_actions(
    "hub",
    "Push runs and scores to the Hugging Face Hub, and pull them.",
    {
        "push": Action("a run as revisions, or scores as a data set", _configure_push, _run_push),
        "pull": Action("a run or scores into a folder", _configure_pull, _run_pull),
    },
)
