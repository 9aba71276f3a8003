"""Evaluates tasks on the organiser's series through ``e2lm eval``, and reads back what it left."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from e2lm.command_line import run_command
from e2lm.errors import E2LMError
from e2lm.samples import SAMPLES_FOLDER, Samples, read_samples
from e2lm.score_files import read_scores
from e2lm_leaderboard.item_curves import RunFacts
from e2lm_leaderboard.season import Season


def evaluate(season: Season, tasks: Sequence[str], task_folder: Path, out: Path) -> None:
    """Run ``e2lm eval``; what is done already is not done again."""
    arguments = ["eval", *season.series, "--tasks", ",".join(tasks), "--include-path", str(task_folder)]
    arguments += ["--out", str(out), "--model", season.model, "--quiet", "--no-lm-eval-files", *season.eval_options]
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = run_command(arguments)
    if code != 0:
        raise E2LMError(f"e2lm eval ended with exit code {code}: {printed.getvalue().strip()[:500]}")


def evaluated_samples(out: Path, tasks: Sequence[str]) -> list[Samples]:
    """The Samples of ``tasks``."""
    wanted = set(tasks)
    return [one for one in read_samples(out / SAMPLES_FOLDER) if one.task in wanted]


def run_facts(out: Path) -> dict[str, RunFacts]:
    """Size and tokens of every series, from the Scores table of the evaluation."""
    frame = read_scores(out).scores.frame
    facts = {}
    for series, rows in frame.groupby("series", sort=True):
        tokens = {int(step): float(count) for step, count in zip(rows["step"], rows["tokens"], strict=True)}
        facts[str(series)] = RunFacts(float(rows["params"].iloc[0]), tokens)
    return facts
