"""``e2lm hub push`` and ``e2lm hub pull``: runs and scores to the Hub and back."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.command import Command
from e2lm.errors import UserError

if TYPE_CHECKING:
    from e2lm_adapters.checkpoints.pull import Pull

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
DATASET = "datasets/"


def _configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    push = actions.add_parser("push", help="a run as revisions, or scores as a data set", allow_abbrev=False)
    push.add_argument("source", type=Path, metavar="SOURCE", help="folder of a run, or of an evaluation")
    push.add_argument("repo", metavar="OWNER/NAME", help="made if it is not there")
    push.add_argument("--scores", type=Path, metavar="OUT", help="scores of the run, for its card")
    push.add_argument("--private", action="store_true", help="make a private repository")
    pull = actions.add_parser("pull", help="a run or scores into a folder", allow_abbrev=False)
    pull.add_argument("repo", metavar="OWNER/NAME", help="owner/name[@revision,...] or datasets/owner/name")
    pull.add_argument("folder", type=Path, metavar="DIR", help="where it is written; the same folder resumes")
    pull.add_argument("--tokens-per-step", type=float, metavar="N", help="where the repository does not say")
    for one in (push, pull):
        one.add_argument("--dry-run", action="store_true", help="say what would be transferred, and stop")
        one.add_argument("--quiet", action="store_true", help="no progress bar, no report")
        one.add_argument("--json", action="store_true", help="print what was transferred as JSON")


def _run(arguments: Namespace) -> int:
    report = _push(arguments) if arguments.action == "push" else _pull(arguments)
    if arguments.json:
        print(json.dumps(report))
    elif not arguments.quiet:
        for line in _lines(report, arguments):
            print(line)
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


def _lines(report: dict[str, Any], arguments: Namespace) -> list[str]:
    would = "would transfer" if arguments.dry_run else "transferred"
    lines = [
        f"{one['revision']}: {len(one['files'])} files, {one['bytes'] / 1e6:,.1f} MB"
        for one in report["revisions"]
        if one["files"] or one["deleted"]
    ]
    total = sum(one["bytes"] for one in report["revisions"])
    place = report["url"] if arguments.action == "push" else report["folder"]
    return [*lines, f"{would} {total / 1e6:,.1f} MB, {len(report['revisions'])} revisions in all: {place}"]


HUB_COMMAND = Command("hub", "Push runs and scores to the Hugging Face Hub, and pull them.", _configure, _run)
