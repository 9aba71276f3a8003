"""``e2lm train compare RUNS``: what the arms of a comparison came to; and the same at the end of their training."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from e2lm.answer import Answer
from e2lm.atomic_file import write_json, write_text
from e2lm.plugin_manager import plugin_manager
from e2lm_curriculum.compare.analysis import analysed
from e2lm_curriculum.compare.costs import arm_costs, exposure_by_decile
from e2lm_curriculum.compare.held_out import HeldOutPassages, score_held_out
from e2lm_curriculum.compare.looks import JSON_FILE, Looked, Looks, looks_of, runs_of_look
from e2lm_curriculum.compare.measures import SCORES_FOLDER, Measure, held_out_measure, task_measures
from e2lm_curriculum.compare.report import report_html
from e2lm_curriculum.compare.results import as_json, as_text, looks_before, made_of
from e2lm_curriculum.compare.runs import FinishedRun, finished_runs, require_comparable, unfinished_count
from e2lm_curriculum.compare.study import Study, check_study, train_study
from e2lm_curriculum.train.locks import require_alone

REPORT_FILE = "report.html"

#: Of vanilla's tokens, where nothing else is said.
THRESHOLD = 0.8


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What is measured, and how; ``seeds`` are those of the look that is taken, else the last that is reached."""

    held_out_tokens: int = 40_000
    threshold: float = THRESHOLD
    jobs: int = 1
    quiet: bool = False
    scores: Path | None = None
    seeds: int | None = None

    def command(self, folders: Sequence[Path]) -> list[str]:
        """What is typed to have the same report of ``folders``."""
        words = ["e2lm", "train", "compare", *map(str, folders), "--held-out-tokens", str(self.held_out_tokens)]
        if self.threshold != THRESHOLD:
            words += ["--threshold", str(self.threshold)]
        return words if self.scores is None else [*words, "--scores", str(self.scores)]


def run_compare(arguments: Namespace) -> Answer:
    """The comparison of the runs in the folders that were given."""
    require_alone("e2lm train compare")
    quiet = arguments.quiet or arguments.json
    options = CompareOptions(arguments.held_out_tokens, arguments.threshold, arguments.jobs, quiet, arguments.scores)
    looks = looks_of(arguments.runs)
    return compared(arguments.runs, options, None if arguments.dry_run else arguments.out, looks)


def compared(folders: Sequence[Path], options: CompareOptions, out: Path | None, looks: Looks | None) -> Answer:
    """What the runs in ``folders`` say of each other; the report is written if ``out`` is given.

    With ``looks`` these are the runs of the last one that is reached.
    """
    runs = finished_runs(folders)
    require_comparable(runs)
    if unfinished := unfinished_count(folders):
        print(f"note: {unfinished} runs are not finished and left out", file=sys.stderr)
    number, share = 1, 1.0
    if looks is not None:
        runs, number = runs_of_look(runs, looks.looks, options.seeds)
        share = looks.looks[number - 1].share
    analysis = analysed(
        _measures(runs, options, options.scores or folders[0] / SCORES_FOLDER), options.threshold, share=share
    )
    curriculum = next((run.curriculum for run in runs if run.arm != "vanilla"), runs[0].curriculum)
    looked = None if looks is None else Looked.at(number, looks, analysis)
    exposure, costs = exposure_by_decile(runs), arm_costs(runs)
    found = as_json(analysis, costs, exposure, curriculum, looked)
    found["made"] = made_of(runs, options.command(folders), curriculum)
    if looks is None:
        found["looks_before"] = looks_before((out or folders[0]) / JSON_FILE, found)
    if out is not None:
        write_json(out / JSON_FILE, found)
        write_text(out / REPORT_FILE, report_html(analysis, costs, exposure, found, runs))
    last = "" if out is None else f"\n\nreport: {out / REPORT_FILE}"
    return Answer(found, lambda: as_text(analysis, costs, found) + last)


def _measures(runs: Sequence[FinishedRun], options: CompareOptions, scores: Path) -> list[Measure]:
    text = HeldOutPassages.of(runs[0], options.held_out_tokens)
    score_held_out(runs, text, options.jobs, options.quiet)
    found = [held_out_measure(runs, text)]
    return found + task_measures(runs, scores) if options.scores is not None or scores.is_dir() else found


def train_and_compare(data: dict[str, Any], source: str, dry_run: bool, quiet: bool) -> Answer:
    """Train every arm, score the tasks, and write the report into the comparison's folder; each only where missing.

    Where looks are planned, with the seeds of one after the other until it is decided.
    """
    require_alone("a comparison")
    study = Study.from_data(data, source)
    if dry_run:
        check_study(study)
        return _planned(study if study.section.most_seeds is None else study.with_seeds(study.section.most_seeds))
    if study.looks is None:
        return _trained_and_compared(study, quiet)
    for look in study.looks.looks:
        answer = _trained_and_compared(study.with_seeds(look.seeds), quiet)
        if answer.data["sequential"]["decided"]:
            break
        if not quiet:
            print(f"note: not decided with {look.seeds} seeds", file=sys.stderr)
    return answer


def _trained_and_compared(study: Study, quiet: bool) -> Answer:
    train_study(study, quiet=quiet)
    section = study.section
    if section.tasks:
        score_tasks(study, quiet=quiet)
    options = CompareOptions(section.held_out_tokens, section.threshold, study.training.run.jobs, quiet=quiet)
    if study.looks is not None:
        # Where it was killed later on, seeds of a later look are there already.
        options = replace(options, seeds=section.seeds)
    return compared([study.folder], options, study.folder, study.looks)


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
        | ({} if study.looks is None else {"look": study.looks.number_of(run.seed)})
        for run in study.runs
    ]
    lines = [f"{row['folder']}: {row['tokens']:,} tokens, {_state(row)}" for row in rows]
    return Answer({"out": str(study.folder), "runs": rows}, lambda: "\n".join(lines), rows="runs")


def _state(row: dict[str, Any]) -> str:
    if row["finished"]:
        return "finished"
    return "to train" if row.get("look", 1) == 1 else f"to train unless it is decided before look {row['look']}"


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
