"""``e2lm train plan``: what a curriculum would show, before anything is trained.

Shape suffixes: X examples, S steps, D tenths of the examples by difficulty.

How often each tenth of the examples, by difficulty, was seen in an arm.

Shape suffixes: D tenths, X examples.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_folder
from e2lm.curriculum import Curriculum, Plan, TrainingBudget
from e2lm.errors import UserError
from e2lm_curriculum.cli.command import TrainParser
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.corpus.prepared import PREPARED_FOLDER, SCORES_FILE
from e2lm_curriculum.train.online_record import trained_plan

#: A synthetic sample n has difficulty n: all that matters is that no two are alike.
SYNTHETIC = "synthetic ranking: sample n is the n-th easiest"

PARTS = 10


def run_plan(words: Sequence[str]) -> int:
    """Run ``e2lm train plan``."""
    arguments = _parser().parse_args(list(words))
    if arguments.curriculum is None and arguments.config is None:
        return _list(arguments.json)
    curriculum, scores_X, budget, seed, origin = _asked_for(arguments)
    plan = curriculum.plan(scores_X, budget, _rng(seed))
    report: dict[str, Any] = {"curriculum": curriculum.name, "hash": plan.hash}
    report |= {"steps": budget.steps, "batch": budget.batch_size, "samples": len(scores_X), "seed": seed}
    report["difficulty"] = origin
    if arguments.show:
        report |= shown(plan, scores_X)
    if arguments.out and not arguments.dry_run:
        _write(plan, Path(arguments.out))
    _print(report, arguments.json)
    return 0


def _parser() -> TrainParser:
    parser = TrainParser(
        prog="e2lm train plan",
        description="Show what a curriculum would show when. With a CONFIG its corpus is scored; without one a corpus "
        f"is made up ({SYNTHETIC}). Without either the known curricula are listed.",
        allow_abbrev=False,
    )
    parser.add_argument("config", nargs="?", help="YAML file of e2lm train, whose corpus was prepared by a run")
    parser.add_argument("--curriculum", help="name of a curriculum")
    parser.add_argument("--samples", type=int, default=20_000, help="made-up examples (20000)")
    parser.add_argument("--steps", type=int, default=20_000, help="optimiser steps (20000)")
    parser.add_argument("--batch", type=int, default=8, help="examples per step (8)")
    parser.add_argument("--sequence-length", type=int, default=128, help="tokens per example (128)")
    parser.add_argument("--seed", type=int, default=0, help="of the order (0)")
    parser.add_argument(
        "--show", action="store_true", help="exposure by difficulty, schedules, number of examples seen"
    )
    parser.add_argument("--out", metavar="DIR", help="write the plan there")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _rng(seed: int) -> np.random.Generator:
    from e2lm_curriculum.corpus.prepared import ORDER_STREAM

    return np.random.default_rng([seed, ORDER_STREAM])


def _asked_for(arguments: Namespace) -> tuple[Curriculum, NDArray[Any], TrainingBudget, int, str]:
    from e2lm_curriculum.plan.builder import chosen_curriculum

    if arguments.config is not None:
        return _of_run(arguments)
    for name in ("samples", "steps", "batch", "sequence_length"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name.replace('_', '-')}: found {getattr(arguments, name)}; it must be at least 1")
    if arguments.seed < 0:
        raise UserError(f"--seed: found {arguments.seed}; it must be at least 0")
    budget = TrainingBudget(arguments.steps, arguments.batch, arguments.sequence_length)
    scores_X = np.arange(arguments.samples, dtype=np.float32)
    return chosen_curriculum(arguments.curriculum), scores_X, budget, arguments.seed, SYNTHETIC


def _of_run(arguments: Namespace) -> tuple[Curriculum, NDArray[Any], TrainingBudget, int, str]:
    from e2lm_curriculum.config.training import TrainingConfig, config_data
    from e2lm_curriculum.corpus.prepared import PREPARED_FOLDER, SCORES_FILE, PreparedCorpus
    from e2lm_curriculum.plan.builder import chosen_curriculum

    config = TrainingConfig.from_data(config_data(Path(arguments.config)), arguments.config)
    prepared = PreparedCorpus.read(config.out_folder)
    if prepared is None:
        raise UserError(f"{config.out}: no prepared corpus; e2lm train {arguments.config} makes one")
    scores_X = np.load(config.out_folder / PREPARED_FOLDER / SCORES_FILE)
    origin = prepared.difficulty or "none"
    return chosen_curriculum(config.curriculum), scores_X, config.budget, config.seed_of_order, origin


def shown(plan: Plan, scores_X: NDArray[Any]) -> dict[str, Any]:
    """How often each tenth of the examples, easiest first, is seen for once that uniform sampling would show it.

    Examples with equal scores share what they are shown alike.
    """
    counts_X = plan.exposure(len(scores_X))
    ratios_D = exposure_by_part(counts_X, scores_X)
    distinct = int((counts_X > 0).sum())
    found: dict[str, Any] = {
        "exposure_by_decile": [round(float(ratio), 4) for ratio in ratios_D],
        "distinct_examples": distinct,
        "forward_passes": plan.forward_passes,
    }
    if plan.objectives:
        found["objectives"] = [[span.objective, span.start_step, span.end_step] for span in plan.objectives]
    for name in ("sequence_lengths_S", "mask_rates_S", "vocabulary_shares_S"):
        array_S = getattr(plan, name)
        if array_S is not None:
            places = np.linspace(0, plan.steps - 1, PARTS + 1).round().astype(int)
            found[name.removesuffix("_S") + "_at_tenths"] = [round(float(one), 4) for one in array_S[places]]
    return found


def exposure_by_part(counts_X: NDArray[np.int64], scores_X: NDArray[Any], parts: int = PARTS) -> NDArray[np.float64]:
    """The draws of each of ``parts`` equal parts, by rising score, over what uniform sampling gives it.

    >>> exposure_by_part(np.array([3, 1]), np.array([0.0, 1.0]), parts=2).tolist()
    [1.5, 0.5]
    """
    from e2lm_curriculum.plan.ranking import ranking

    ranked = ranking(scores_X)
    starts_G = ranked.groups()
    draws_G = np.add.reduceat(counts_X[ranked.order_X], starts_G[:-1])
    # Draws up to a place: linear inside a run of equal scores.
    places = np.linspace(0, len(scores_X), parts + 1)
    drawn = np.interp(places, starts_G, np.concatenate([[0], np.cumsum(draws_G)]))
    return np.asarray(np.diff(drawn) / np.diff(places) * len(scores_X) / counts_X.sum())


def _write(plan: Plan, out: Path) -> None:
    from e2lm_curriculum.plan.file import write_plan

    if out.exists():
        raise UserError(f"--out: {out} is there already; give a new folder")
    with whole_folder(out) as folder:
        write_plan(plan, folder)


def _list(as_json: bool) -> int:
    from e2lm.plugin_manager import plugin_manager

    found: list[Curriculum] = plugin_manager().all("e2lm_register_curricula", Curriculum, "curriculum")
    rows = [{"name": one.name, "description": one.description, "source": one.source} for one in found]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    for row in rows:
        print(f"{row['name']:<45} {row['description']}")
    return 0


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=1))
        return
    for name, value in report.items():
        print(f"{name:<30} {value}")


def exposure_by_decile(runs: Sequence[FinishedRun]) -> dict[tuple[str, str], list[float]]:
    """Per arm and schedule the draws of each tenth over what uniform sampling gives it, mean over seeds.

    Tenths are by the curriculum's difficulty in every arm, easiest first; examples of equal difficulty share alike.
    """
    ratios: dict[tuple[str, str], list[np.ndarray]] = {}
    for run in runs:
        folder = run.folder / PREPARED_FOLDER
        scores_X = np.load(folder / SCORES_FILE)
        counts_X = trained_plan(folder, run.series_folder).exposure(len(scores_X))
        ratios.setdefault(run.cell, []).append(exposure_by_part(counts_X, scores_X))
    return {cell: [float(ratio) for ratio in np.mean(rows, axis=0)] for cell, rows in ratios.items()}


def unique_examples(run: FinishedRun) -> int:
    """How many different examples were seen."""
    plan = trained_plan(run.folder / PREPARED_FOLDER, run.series_folder)
    return int((plan.exposure(run.prepared.examples) > 0).sum())
