"""``e2lm train compare RUNS``: what the arms of a comparison came to; and the same at the end of their training."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm.answer import Answer
from e2lm.atomic_file import write_json, write_text
from e2lm.plugin_manager import plugin_manager
from e2lm_curriculum.compare.analysis import analysed
from e2lm_curriculum.compare.costs import arm_costs, exposure_by_decile
from e2lm_curriculum.compare.held_out import HeldOutPassages, score_held_out
from e2lm_curriculum.compare.measures import SCORES_FOLDER, held_out_measure, task_measures
from e2lm_curriculum.compare.report import report_html
from e2lm_curriculum.compare.results import as_json, as_text, made_of
from e2lm_curriculum.compare.runs import finished_runs, require_comparable, unfinished_count
from e2lm_curriculum.compare.study import Study, check_study, train_study
from e2lm_curriculum.train.locks import require_alone

REPORT_FILE = "report.html"
JSON_FILE = "comparison.json"


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What is measured, and how."""

    held_out_tokens: int = 40_000
    threshold: float = 0.8
    jobs: int = 1
    quiet: bool = False


def run_compare(arguments: Namespace) -> Answer:
    """The comparison of the runs in the folders that were given."""
    require_alone("e2lm train compare")
    quiet = arguments.quiet or arguments.json
    options = CompareOptions(arguments.held_out_tokens, arguments.threshold, arguments.jobs, quiet)
    return compared(arguments.runs, options, arguments.scores, None if arguments.dry_run else arguments.out)


def compared(folders: Sequence[Path], options: CompareOptions, scores: Path | None, out: Path | None) -> Answer:
    """What the runs in ``folders`` say of each other; the report is written if ``out`` is given."""
    runs = finished_runs(folders)
    require_comparable(runs)
    if unfinished := unfinished_count(folders):
        print(f"note: {unfinished} runs are not finished and left out", file=sys.stderr)
    text = HeldOutPassages.of(runs[0], options.held_out_tokens)
    score_held_out(runs, text, options.jobs, options.quiet)
    measures = [held_out_measure(runs, text)]
    place = scores or folders[0] / SCORES_FOLDER
    if scores is not None or place.is_dir():
        measures += task_measures(runs, place)
    analysis = analysed(measures, options.threshold)
    exposure, costs = exposure_by_decile(runs), arm_costs(runs)
    curriculum = next((run.curriculum for run in runs if run.arm != "vanilla"), runs[0].curriculum)
    command = ["e2lm", "train", "compare", *map(str, folders), "--held-out-tokens", str(options.held_out_tokens)]
    found = as_json(analysis, costs, exposure, curriculum) | {"made": made_of(runs, command)}
    if out is not None:
        write_json(out / JSON_FILE, found)
        write_text(out / REPORT_FILE, report_html(analysis, costs, exposure, found, runs))
    last = "" if out is None else f"\n\nreport: {out / REPORT_FILE}"
    return Answer(found, lambda: as_text(analysis, costs) + last)


def train_and_compare(data: dict[str, Any], source: str, dry_run: bool, quiet: bool) -> Answer:
    """Train every arm, score the tasks, and write the report into the comparison's folder; each only where missing."""
    require_alone("a comparison")
    study = Study.from_data(data, source)
    if dry_run:
        check_study(study)
        return _planned(study)
    train_study(study, quiet=quiet)
    section = study.section
    if section.tasks:
        score_tasks(study, quiet=quiet)
    options = CompareOptions(section.held_out_tokens, section.threshold, study.training.run.jobs, quiet=quiet)
    return compared([study.folder], options, None, study.folder)


def _planned(study: Study) -> Answer:
    rows = [
        {
            "arm": run.arm,
            "schedule": run.schedule,
            "seed": run.seed,
            "folder": str(run.training.folder),
            "tokens": run.training.budget.tokens,
            "finished": run.training.is_finished,
        }
        for run in study.runs
    ]
    lines = [
        f"{row['folder']}: {row['tokens']:,} tokens, {'finished' if row['finished'] else 'to train'}" for row in rows
    ]
    return Answer({"out": str(study.folder), "runs": rows}, lambda: "\n".join(lines), rows="runs")


def score_tasks(study: Study, quiet: bool) -> None:
    """``e2lm eval`` over every run; it scores what is missing."""
    section, training = study.section, study.training
    plugin_manager().verb("evaluate")(
        [run.training.folder for run in study.runs],
        section.tasks,
        out=study.folder / SCORES_FOLDER,
        jobs=training.run.jobs,
        no_lm_eval_files=True,
        model="e2lm-mlm" if training.model.family == "roberta" else None,
        limit=section.items,
        quiet=quiet,
    )
