"""``e2lm demo``: from text to a report, offline, in minutes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer, finite
from e2lm.argument import Whole, folder_to_write
from e2lm.command import Command
from e2lm.errors import UserError

if TYPE_CHECKING:
    from e2lm_demo.findings import DemoFindings

REPORT = "report.html"
PICTURE = "picture.svg"


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=folder_to_write, default=Path("demo"), help="folder of the demo (default: ./demo); resumes there"
    )
    parser.add_argument("--corpus", type=Path, nargs="+", default=[], metavar="FILE", help="your own text, UTF-8")
    parser.add_argument("--quick", action="store_true", help="much less of everything, in about a minute")
    parser.add_argument("--seed", type=Whole(0, 2**31 - 1), default=0, help="seed of everything (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")


def _run(arguments: Namespace) -> Answer:
    from e2lm_demo.steps import QUICK, WHOLE, DemoFolders

    size = QUICK if arguments.quick else WHOLE
    for file in arguments.corpus:
        if not file.is_file():
            raise UserError(f"--corpus {file}: no such file")
    folders = DemoFolders(arguments.out)
    if arguments.dry_run:
        return _dry_run(arguments, size)
    findings = _whole_way(folders, size, arguments)
    report = folders.root / REPORT
    data = {**finite(_as_json(findings)), "report": str(report)}
    return Answer(data, lambda: f"{_table(findings)}\n\nreport: {report}", rows="findings")


def _whole_way(folders: Any, size: Any, arguments: Namespace) -> DemoFindings:
    from e2lm.atomic_file import write_text
    from e2lm.results import read_scores
    from e2lm.run_record import RunRecord, recorded_versions
    from e2lm_demo.findings import found
    from e2lm_demo.report import picture_svg, report_html
    from e2lm_demo.steps import StepClock, run_steps

    clock = StepClock(quiet=arguments.json)
    if not arguments.json:
        print(f"e2lm demo: which benchmark tells the better recipe, and how early? ({folders.root})")
    signal = run_steps(folders, size, arguments.corpus, arguments.seed, clock)
    scores = read_scores(folders.results).scores
    findings = found(scores, signal, arguments.seed)
    versions = recorded_versions()
    write_text(folders.root / REPORT, report_html(findings, scores, versions, clock.wall_s))
    write_text(folders.root / PICTURE, picture_svg(findings, scores))
    config = {"quick": arguments.quick, "corpus": [str(file) for file in arguments.corpus]}
    RunRecord(
        command="demo",
        config=config,
        versions=versions,
        seeds={"demo": arguments.seed},
        wall_s=sum(clock.wall_s.values()),
        finished=True,
    ).write(folders.root)
    return findings


def _dry_run(arguments: Namespace, size: Any) -> Answer:
    plan = {
        "out": str(arguments.out),
        "sizes": list(size.sizes),
        "runs": [run.name for run in size.runs],
        "tokens": size.tokens,
        "checkpoints": size.checkpoints,
        "items": size.items,
        "corpus": [str(file) for file in arguments.corpus] or "docstrings of installed packages",
    }
    return Answer(plan, lambda: "\n".join(f"{key}: {value}" for key, value in plan.items()), indent=None)


def _table(findings: DemoFindings) -> str:
    from e2lm_demo.report import answer, planted, prediction_sentence, table_columns, when

    columns = table_columns(findings.findings)
    pairs = [f"{pair.better} or {pair.worse}" for pair in findings.findings[0].pairs]
    header = f"{'task':<13} {'metric':<31}" + "".join(f" {pair:>20}" for pair in pairs)
    lines = [f"\n{planted(findings)}\n\n{answer(findings)}\n", header + "".join(f" {name:>14}" for name in columns)]
    for finding in findings.findings:
        values = [finding.scores.get(name) for name in columns]
        told = "".join(f" {when(pair):>20}" for pair in finding.pairs)
        tail = "".join(f" {'undefined' if value is None else f'{value:.3f}':>14}" for value in values)
        lines.append(f"{finding.task.removeprefix('e2lm_early_'):<13} {finding.metric:<31}{told}{tail}")
    return "\n".join([*lines, f"\n{prediction_sentence(findings.predictors)}"])


def _as_json(findings: DemoFindings) -> dict[str, Any]:
    from dataclasses import asdict

    data = asdict(findings)
    for one in data["predictors"]:
        if one["forecast"] is not None:
            one["forecast"].pop("draws_S")
    data["told"] = len(findings.claims)
    data["told_rightly"] = sum(pair.is_right is True for pair in findings.claims)
    return data


DEMO_COMMAND = Command("demo", "Train recipes whose order is known, and see what tells it, offline.", _configure, _run)
