"""``e2lm leaderboard import``: a task of lm-eval, or an entry of the competition of 2025, becomes a bundle of data."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Sequence
from pathlib import Path

from e2lm.argument import COUNT_OR_NONE, folder_to_write
from e2lm.asked_items import AskedItem
from e2lm.command_line import EXIT_CHECK_FAILED, EXIT_OK
from e2lm.errors import UserError, nearest_names, no_such
from e2lm.run_record import Note

#: Metrics of lm-eval and of the competition's entries, and what they are called here where that differs.
NAMES_HERE = {"likelihood": "gold_minus_mean_wrong"}
DEFAULT_METRIC = "acc_norm"
#: Items left out that are told one by one.
TOLD = 5


def configure_import(parser: ArgumentParser) -> None:
    """Arguments of ``import``."""
    parser.add_argument(
        "source", type=Path, metavar="SOURCE", help="folder or file of lm-eval tasks, or submission.zip"
    )
    parser.add_argument("--task", metavar="NAME", help="the task, group or tag (default: that of submission.zip)")
    parser.add_argument("--out", required=True, type=folder_to_write, metavar="DIR", help="folder of the bundle")
    parser.add_argument("--license", required=True, help="of the items, such as CC-BY-4.0")
    parser.add_argument("--language", default="en", help="of the items (default: en)")
    parser.add_argument("--metric", help="item metric of the season (default: the task's first that is one)")
    parser.add_argument(
        "--num-fewshot", type=COUNT_OR_NONE, metavar="N", help="examples before an item (default: what the task says)"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="stands in for the Hub: OWNER/NAME/SPLIT.jsonl")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, write nothing")


def run_import(arguments: Namespace) -> int:
    """Write the bundle, then check it; exit code 1 where the built-in rules refuse it."""
    from e2lm.season_bundle import bundle_files, write_bundle
    from e2lm_leaderboard.bundle.bundle import Bundle
    from e2lm_leaderboard.bundle.check import check_archive
    from e2lm_leaderboard.sandbox.lm_eval_import import data_of, imported, source_of
    from e2lm_leaderboard.season.season import SeasonRules

    if arguments.data is not None and not arguments.data.is_dir():
        raise UserError(f"--data: {arguments.data}: {no_such(arguments.data, 'folder')}")
    source = source_of(arguments.source, arguments.task)
    found = imported(source, data_of(arguments.data), arguments.num_fewshot)
    metric = _metric(arguments.metric, [source.metric, *found.metrics])
    written = bundle_files(source.task, found.items, metric, arguments.license, arguments.language)
    if not arguments.dry_run:
        write_bundle(arguments.out, written)
    archive = Bundle({name: text.encode() for name, text in written.items()}).packed()
    report = check_archive(archive, SeasonRules())
    own = [] if arguments.metric is not None else [source.metric, *found.metrics]
    notes = remarks(source.task, found.items, own, metric, found.by_code)
    notes += [
        Note(what=f"num_fewshot of {name}", why="its file says 0, which lm-eval keeps whatever is asked for", file=name)
        for name in found.without_examples[:TOLD]
    ]
    left_out = [one.model_dump(mode="json") for one in found.left_out]
    if arguments.json:
        told = {"items": len(found.items), "metric": metric, "files": sorted(written), "left_out": left_out}
        told["notes"] = [one.model_dump(mode="json") for one in notes]
        print(json.dumps({**told, "accepted": report.accepted, "findings": report.as_json()["findings"]}, indent=1))
    else:
        lines = [str(one) for one in notes]
        lines += [str(one) for one in found.left_out[:TOLD]]
        lines += [f"and {len(found.left_out) - TOLD} more left out"] * (len(found.left_out) > TOLD)
        verb = "would write" if arguments.dry_run else "wrote"
        lines.append(
            f"{arguments.out}: {verb} {', '.join(sorted(written))} ({len(found.items)} items, metric {metric})"
        )
        lines += [finding.sentence for finding in report.findings]
        lines.append("accepted by the built-in rules" if report.accepted else f"{len(report.findings)} findings")
        print("\n".join(lines))
    return EXIT_OK if report.accepted else EXIT_CHECK_FAILED


def remarks(
    name: str, items: Sequence[AskedItem], own: Sequence[str], metric: str, by_code: Sequence[str] = ()
) -> list[Note]:
    """In what the bundle's numbers are not lm-eval's: another metric, code that scores, delimiters that differ."""
    from e2lm.season_bundle import shared_delimiter

    told = []
    named = [one for one in own if one]
    if named and metric not in [NAMES_HERE.get(one, one) for one in named]:
        why = f"none of them is an item metric here; the bundle is scored by {metric} (--metric NAME for another)"
        told.append(Note(what=f"metrics {', '.join(named)}", why=why, file=name))
    if by_code:
        why = "its code (process_results) is not run; in the bundle the one right choice is that of doc_to_target"
        told.append(Note(what=f"scoring of {', '.join(by_code[:TOLD])}", why=why, file=name))
    if shared_delimiter(items) is None:
        delimiters = ", ".join(map(repr, sorted({one.delimiter for one in items})))
        why = "there are several, or it is long: lengths of choices, which acc_norm divides by, count it"
        told.append(Note(what=f"target_delimiter {delimiters}", why=why, file=name))
    return told


def _metric(asked: str | None, named: Sequence[str]) -> str:
    """The item metric that the bundle is scored by."""
    from e2lm import ItemMetric
    from e2lm.plugin_manager import plugin_manager

    known: Collection[str] = plugin_manager().registered("e2lm_register_metrics", ItemMetric)
    if asked is not None:
        if asked not in known:
            raise UserError(f"--metric: no item metric {asked!r} here. {nearest_names(asked, known)}")
        return asked
    here = [NAMES_HERE.get(name, name) for name in named if name]
    return next((name for name in here if name in known), DEFAULT_METRIC)
