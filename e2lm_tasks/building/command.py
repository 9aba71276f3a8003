"""``e2lm tasks``: list suites, or build one; that nobody trained on the text is up to whoever gives it."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from e2lm import E2LMError, TaskSuite, UserError
from e2lm.answer import Answer
from e2lm.argument import COUNT, SEED, folder_to_write
from e2lm.atomic_file import whole_folder
from e2lm.kind import checked_name
from e2lm.plugin_manager import plugin_manager
from e2lm_tasks.building.families import EARLY, LADDER, SuiteFamily, domain_family
from e2lm_tasks.building.prose import WordFrequency, prose_of, read_corpus
from e2lm_tasks.building.suite_files import CARD
from e2lm_tasks.building.text_suite import Suite, build_suite

DEFAULT_ITEMS = 400


def configure_list(parser: ArgumentParser) -> None:
    """Arguments of ``e2lm tasks list``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def configure_build(parser: ArgumentParser) -> None:
    """Arguments of ``e2lm tasks build``."""
    material = parser.add_mutually_exclusive_group(required=True)
    material.add_argument("--corpus", nargs="+", type=Path, metavar="FILE", help="UTF-8 text files")
    material.add_argument("--facts", action="store_true", help="the tables of plain facts that come with e2lm")
    parser.add_argument("--out", required=True, type=folder_to_write, metavar="DIR", help="the folder to write")
    parser.add_argument("--ladder", action="store_true", help="the developmental ladder instead (with --corpus)")
    parser.add_argument("--domain", action="store_true", help="vocabulary, facts and inferences of these documents")
    background = "how everybody writes, for --domain (default: Python's documentation)"
    parser.add_argument("--background", nargs="+", type=Path, metavar="FILE", help=background)
    items = f"items per task ({DEFAULT_ITEMS}); with --corpus"
    parser.add_argument("--items", type=COUNT, metavar="N", help=items)
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="seed of every random choice (%(default)s)")
    parser.add_argument("--name", help="name of the group of tasks (by kind, e2lm_early); with --corpus")
    parser.add_argument("--dry-run", action="store_true", help="do everything but write")
    parser.add_argument("--json", action="store_true", help="print the card as JSON")


def configure_ladder(parser: ArgumentParser) -> None:
    """Arguments of ``e2lm tasks ladder``."""
    parser.add_argument("scores", type=Path, metavar="SCORES", help="what e2lm eval wrote for the tasks of the ladder")
    parser.add_argument("--name", default=LADDER.name, help="name of the group of tasks (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_ladder(arguments: Namespace) -> Answer:
    """At which checkpoint each rung turns on."""
    from e2lm.results import read_scores
    from e2lm_tasks.building.ladder import ladder_report, ladder_text, shown_by_runs

    rungs = ladder_report(read_scores(arguments.scores).scores, arguments.name)
    found = {"rungs": [rung.as_json() for rung in rungs], "p_over_runs": shown_by_runs(rungs)}
    return Answer(found, lambda: ladder_text(rungs), rows="rungs")


def run_list(arguments: Namespace) -> Answer:
    """The suites of all plugins."""
    suites: list[TaskSuite] = plugin_manager().all("e2lm_register_tasks", TaskSuite, "task suite")
    rows = [{"name": one.name, "folder": str(one.folder), "description": one.description} for one in suites]
    lines = [f"{suite.name}  {suite.folder}\n    {suite.description}" for suite in suites]
    return Answer({"suites": rows}, lambda: "\n".join(lines), rows="suites")


def run_build(arguments: Namespace) -> Answer:
    """The card of a suite, which is written unless it is there already."""
    _check_free(arguments.out)
    suite = _suite(arguments)
    state = _state(arguments.out, suite)
    if state != "unchanged" and not arguments.dry_run:
        _write(arguments.out, suite)
    written = state != "unchanged" and not arguments.dry_run
    found = {"folder": str(arguments.out), "written": written} | suite.card
    return Answer(found, lambda: _summary(suite, arguments.out, state, arguments.dry_run))


def _suite(arguments: Namespace) -> Suite:
    if arguments.facts:
        from e2lm_tasks.building.science_facts import build_science_facts

        for option in ("items", "name", "ladder", "domain", "background"):
            if getattr(arguments, option):
                raise UserError(f"--{option} goes with --corpus; the suite of facts has its own items and name")
        return build_science_facts(arguments.seed)
    family = _family(arguments)
    name = family.name if arguments.name is None else arguments.name
    try:
        checked_name(name, "task group")
    except E2LMError as error:
        raise UserError(f"--name: {error}") from error
    items = DEFAULT_ITEMS if arguments.items is None else arguments.items
    return build_suite(read_corpus(arguments.corpus), arguments.seed, items, name, arguments.json, family)


def _family(arguments: Namespace) -> SuiteFamily:
    if arguments.background and not arguments.domain:
        raise UserError("--background goes with --domain")
    if arguments.ladder and arguments.domain:
        raise UserError("--ladder and --domain are two suites; build one after the other")
    if arguments.domain:
        texts = [text.text for text in read_corpus(arguments.background)] if arguments.background else _documentation()
        return domain_family(WordFrequency.of(prose_of(texts)))
    return LADDER if arguments.ladder else EARLY


def _documentation() -> list[str]:
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


def _check_free(folder: Path) -> None:
    """A suite may take the place of an older one, but of nothing else."""
    if folder.is_file():
        raise UserError(f"--out: {folder} is a file; give a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        tasks = json.loads((folder / CARD).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--out: {folder} is not empty and holds no suite of tasks; give a new folder") from error
    foreign = sorted({entry.name for entry in folder.iterdir()} - set(tasks) - {CARD, "__pycache__"})
    if foreign:
        raise UserError(f"--out: {folder} also holds {foreign[0]!r}, which would be lost; give a new folder")


def _state(folder: Path, suite: Suite) -> str:
    if not folder.is_dir() or not any(folder.iterdir()):
        return "new"
    same = all(
        (folder / name).is_file() and (folder / name).read_bytes() == text.encode("utf-8")
        for name, text in suite.files.items()
    )
    return "unchanged" if same else "replaced"


def _write(folder: Path, suite: Suite) -> None:
    with whole_folder(folder.absolute()) as partial:
        for name, text in suite.files.items():
            (partial / name).write_text(text, encoding="utf-8", newline="\n")


def _summary(suite: Suite, folder: Path, state: str, dry_run: bool) -> str:
    card: dict[str, Any] = suite.card
    lines = [f"{'task':<28} {'items':>6} {'chance':>7}  best trivial baseline (95 % interval)"]
    for name, task in card["tasks"].items():
        best, value = max(task["baselines"].items(), key=lambda pair: pair[1]["value"])
        chance = "-" if task["chance"] is None else f"{task['chance']:.3f}"
        shown = f"{best} {value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
        lines.append(f"{name:<28} {task['items']:>6} {chance:>7}  {shown}")
    total_bytes = sum(len(text.encode("utf-8")) for text in suite.files.values())
    if dry_run:
        lines.append(f"dry run: {len(suite.files)} files, {total_bytes:,} bytes would be in {folder} ({state})")
    elif state == "unchanged":
        lines.append(f"{folder} holds these very tasks already")
    else:
        lines.append(f"wrote {len(suite.files)} files, {total_bytes:,} bytes")
        lines.append(
            f"next: lm_eval run --model hf --model_args pretrained=MODEL --include_path {folder} --tasks {card['name']}"
        )
    return "\n".join(lines)
