"""`e2lm compete`: check an entry of the 2025 competition, export it for its organisers or for a season of one's own."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2lm import UserError
from e2lm.argument import file_to_write, folder_to_write
from e2lm.asked_items import AskedItem
from e2lm.atomic_file import whole_file
from e2lm.command_line import EXIT_CHECK_FAILED, EXIT_OK
from e2lm.season_bundle import bundle_files, write_bundle
from e2lm_tasks.compete.entry import TASKS_FOLDER, CompetitionEntry, entry_of
from e2lm_tasks.compete.items import entry_items
from e2lm_tasks.compete.patch import METADATA, PATCH, submission_zip
from e2lm_tasks.compete.rules import RuleFinding, item_findings, metric_findings, token_counter

DEFAULT_METRIC = "acc,none"
#: What no machine checks.
REMINDERS = (
    "not checked: alignment with science, which the organisers had judged by a language model on 50 items",
    "not checked: that it runs on a T4; try e2lm eval on one checkpoint there",
)


def _source(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the YAML of your tasks")
    parser.add_argument("--task", required=True, metavar="NAME", help="the task, group or tag that is the entry")


def _of_metric(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--metric", default=DEFAULT_METRIC, help=f"as lm-eval's results name it (default: {DEFAULT_METRIC})"
    )


def configure_check(parser: ArgumentParser) -> None:
    """Arguments of ``check``."""
    _source(parser)
    _of_metric(parser)
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="a tokenizer.json (default: 3.5 bytes a token)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def configure_export(parser: ArgumentParser) -> None:
    """Arguments of ``export``."""
    _source(parser)
    _of_metric(parser)
    parser.add_argument("--out", type=file_to_write, default=Path("submission.zip"), metavar="FILE", help="the archive")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, write nothing")


def configure_bundle(parser: ArgumentParser) -> None:
    """Arguments of ``bundle``."""
    _source(parser)
    parser.add_argument("--metric", default="acc_norm", help="item metric of the season (default: acc_norm)")
    parser.add_argument("--license", required=True, help="of the items, such as CC-BY-4.0")
    parser.add_argument("--out", required=True, type=folder_to_write, metavar="DIR", help="folder of the bundle")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, write nothing")


def run_check(arguments: Namespace) -> int:
    """Print what breaks a rule; exit code 1 where something does."""
    entry = entry_of(arguments.folder, arguments.task)
    count = token_counter(arguments.tokenizer)
    findings = metric_findings(entry, arguments.metric)
    items, unread = _items(arguments)
    findings += [] if unread else item_findings(items, count)
    refused = any(one.level == "refused" for one in findings)
    left_out = [{"what": "items", "why": unread, "file": str(arguments.folder)}] if unread else []
    if arguments.json:
        told = [asdict(one) for one in findings]
        print(json.dumps({"accepted": not refused, "items": len(items), "findings": told, "left_out": left_out}))
    else:
        print(_as_text(entry, items, findings, unread, refused))
    return EXIT_CHECK_FAILED if refused else EXIT_OK


def _items(arguments: Namespace) -> tuple[list[AskedItem], str]:
    """The items, or why they cannot be looked at here."""
    try:
        return entry_items(arguments.folder, arguments.task), ""
    except UserError as error:
        return [], str(error)


def _as_text(
    entry: CompetitionEntry, items: list[AskedItem], findings: list[RuleFinding], unread: str, refused: bool
) -> str:
    lines = [str(one) for one in findings]
    lines.append(f"items were not looked at: {unread}" if unread else f"{len(items)} items looked at")
    lines += REMINDERS
    verdict = "refused" if refused else "nothing breaks a rule that was checked"
    return "\n".join([*lines, f"{entry.name}: {len(entry.tasks)} tasks: {verdict}"])


def run_export(arguments: Namespace) -> int:
    """Write ``submission.zip``."""
    entry = entry_of(arguments.folder, arguments.task)
    for finding in metric_findings(entry, arguments.metric):
        raise UserError(str(finding))
    archive = submission_zip(entry, arguments.metric)
    said = f"{arguments.out}: {PATCH} with {len(entry.files)} files below {TASKS_FOLDER}/{entry.name}, and {METADATA}"
    if arguments.dry_run:
        print(f"would write {said}")
        return EXIT_OK
    with whole_file(arguments.out) as partial:
        Path(partial).write_bytes(archive)
    print(f"wrote {said}")
    print(f"{METADATA}: hf_token is empty; fill it in yourself if your data on the Hub is private")
    return EXIT_OK


def run_bundle(arguments: Namespace) -> int:
    """Write a bundle for a season of `e2lm leaderboard`."""
    entry_of(arguments.folder, arguments.task)
    items = entry_items(arguments.folder, arguments.task)
    files: dict[str, Any] = bundle_files(arguments.task, items, arguments.metric, arguments.license)
    names = ", ".join(sorted(files))
    if arguments.dry_run:
        print(f"would write {names} into {arguments.out}")
        return EXIT_OK
    write_bundle(arguments.out, files)
    print(f"{arguments.out}: {names} ({len(items)} items)")
    print(f"next: e2lm leaderboard check {arguments.out}")
    return EXIT_OK
