"""``e2lm train compare RUNS``: what the arms of a comparison came to; and the same at the end of their training."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.atomic_file import write_json, write_text
from e2lm.errors import UserError
from e2lm_curriculum.cli.command import TrainParser

if TYPE_CHECKING:
    from e2lm_curriculum.config.comparison import Comparison

REPORT_FILE = "report.html"
JSON_FILE = "comparison.json"


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What is measured, and how."""

    held_out_tokens: int = 40_000
    threshold: float = 0.8
    jobs: int = 1
    quiet: bool = False


def run_compare(words: Sequence[str]) -> int:
    """Run ``e2lm train compare``."""
    arguments = _parser().parse_args(list(words))
    if not 0 < arguments.threshold <= 1:
        raise UserError(f"--threshold: found {arguments.threshold:g}; a share of the training in (0, 1] is expected")
    for name in ("held_out_tokens", "jobs"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name.replace('_', '-')}: found {getattr(arguments, name)}; it must be at least 1")
    options = CompareOptions(arguments.held_out_tokens, arguments.threshold, arguments.jobs, quiet=arguments.json)
    if arguments.out is not None and arguments.out.is_file():
        raise UserError(f"--out: {arguments.out} is a file; give a folder")
    compared(arguments.runs, options, arguments.scores, None if arguments.dry_run else arguments.out, arguments.json)
    return 0


def _parser() -> TrainParser:
    parser = TrainParser(
        prog="e2lm train compare",
        description="Compare trained arms: curves, differences from vanilla with intervals, verdicts. RUN is the "
        "folder of a comparison, or folders of single runs with the same corpus, size and budget under several seeds.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a comparison, or of runs")
    parser.add_argument("--scores", type=Path, metavar="DIR", help="what e2lm eval wrote (RUN/scores)")
    parser.add_argument("--held-out-tokens", type=int, default=40_000, help="held-out text to score (40000)")
    parser.add_argument("--threshold", type=float, default=0.8, help="vanilla's goal, a share of its tokens (0.8)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that score held-out text (1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"write {REPORT_FILE} and {JSON_FILE} there")
    parser.add_argument("--dry-run", action="store_true", help="write no report")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def compared(
    folders: Sequence[Path], options: CompareOptions, scores: Path | None, out: Path | None, print_json: bool
) -> dict[str, Any]:
    """Analyse the runs in ``folders``, print the result, and write the report if ``out`` is given."""
    from e2lm_curriculum.cli.plan import exposure_by_decile
    from e2lm_curriculum.compare.analysis import analysed
    from e2lm_curriculum.compare.held_out import HeldOutText, score_held_out
    from e2lm_curriculum.compare.measures import SCORES_FOLDER, held_out_measure, task_measures
    from e2lm_curriculum.compare.report import report_html
    from e2lm_curriculum.compare.results import as_json, as_text
    from e2lm_curriculum.compare.runs import finished_runs, require_comparable, unfinished_count
    from e2lm_curriculum.model.flops import arm_costs

    runs = finished_runs(folders)
    require_comparable(runs)
    if unfinished := unfinished_count(folders):
        print(f"note: {unfinished} runs are not finished and left out", file=sys.stderr)
    text = HeldOutText.of(runs[0], options.held_out_tokens)
    score_held_out(runs, text, options.jobs, options.quiet)
    measures = [held_out_measure(runs, text)]
    place = scores or folders[0] / SCORES_FOLDER
    if scores is not None or place.is_dir():
        measures += task_measures(runs, place)
    analysis = analysed(measures, options.threshold)
    exposure, costs = exposure_by_decile(runs), arm_costs(runs)
    curriculum = next((run.curriculum for run in runs if run.arm != "vanilla"), runs[0].curriculum)
    found = as_json(analysis, costs, exposure, curriculum)
    if out is not None:
        write_json(out / JSON_FILE, found)
        write_text(out / REPORT_FILE, report_html(analysis, costs, exposure, found, runs))
    print(json.dumps(found, indent=1) if print_json else as_text(analysis, costs))
    if out is not None and not print_json:
        print(f"\nreport: {out / REPORT_FILE}")
    return found


def train_and_compare(data: dict[str, Any], source: str, dry_run: bool, as_json: bool) -> int:
    """Train every arm, score the tasks, and write the report into the comparison's folder; each only where missing."""
    from e2lm_curriculum.compare.training import check_comparison, train_comparison
    from e2lm_curriculum.config.comparison import Comparison

    comparison = Comparison.from_data(data, source)
    check_comparison(comparison)
    if dry_run:
        _print_plan(comparison, as_json)
        return 0
    train_comparison(comparison, quiet=as_json)
    section = comparison.section
    if section.tasks:
        score_tasks(comparison, quiet=as_json)
    options = CompareOptions(section.held_out_tokens, section.threshold, comparison.training.jobs, quiet=as_json)
    compared([comparison.folder], options, None, comparison.folder, as_json)
    return 0


def _print_plan(comparison: Comparison, as_json: bool) -> None:
    rows = [
        {
            "arm": run.arm,
            "schedule": run.schedule,
            "seed": run.seed,
            "folder": str(run.size_run.folder),
            "tokens": run.config.budget.tokens,
            "finished": run.size_run.is_finished,
        }
        for run in comparison.runs
    ]
    if as_json:
        print(json.dumps({"out": str(comparison.folder), "runs": rows}, indent=1))
        return
    for row in rows:
        state = "finished" if row["finished"] else "to train"
        print(f"{row['folder']}: {row['tokens']:,} tokens, {state}")


def score_tasks(comparison: Comparison, quiet: bool) -> None:
    """``e2lm eval`` over every run; it scores what is missing."""
    import io
    from contextlib import redirect_stdout

    from e2lm.command_line import run_command
    from e2lm_curriculum.compare.measures import SCORES_FOLDER

    section, training = comparison.section, comparison.training
    words = ["eval", *(str(run.size_run.folder) for run in comparison.runs), "--tasks", ",".join(section.tasks)]
    words += ["--out", str(comparison.folder / SCORES_FOLDER), "--jobs", str(training.jobs), "--no-lm-eval-files"]
    if training.family == "roberta":
        words += ["--model", "e2lm-mlm"]
    if section.items is not None:
        words += ["--limit", str(section.items)]
    if quiet:
        words += ["--quiet"]
    with redirect_stdout(io.StringIO()):
        run_command(words)
