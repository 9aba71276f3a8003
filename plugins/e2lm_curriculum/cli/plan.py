"""``e2lm train plan``: what a curriculum would show, before anything is trained.

Shape suffixes: X examples, S steps, D tenths of the examples by difficulty.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_folder
from e2lm.curriculum import Curriculum, Plan, TrainingBudget
from e2lm.errors import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm_curriculum.config.training import TrainingConfig, config_data
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import write_plan
from e2lm_curriculum.plan.ranking import PARTS, exposure_by_part
from e2lm_curriculum.train.prepared import PREPARED_FOLDER, SCORES_FILE, PreparedCorpus, order_generator

#: A made-up sample n has difficulty n: all that matters is that no two are alike.
SYNTHETIC = "synthetic ranking: sample n is the n-th easiest"


def run_plan(arguments: Namespace) -> int:
    """Show what a curriculum would show, or list those that there are."""
    if arguments.curriculum is None and arguments.config is None:
        return _list(arguments.json)
    curriculum, scores_X, budget, seed, origin = _asked_for(arguments)
    plan = curriculum.plan(scores_X, budget, order_generator(seed))
    report: dict[str, Any] = {"curriculum": curriculum.name, "hash": plan.hash}
    report |= {"steps": budget.steps, "batch": budget.batch_size, "samples": len(scores_X), "seed": seed}
    report["difficulty"] = origin
    if arguments.show:
        report |= shown(plan, scores_X)
    if arguments.out and not arguments.dry_run:
        _write(plan, Path(arguments.out))
    _print(report, arguments.json)
    return 0


def _asked_for(arguments: Namespace) -> tuple[Curriculum, NDArray[Any], TrainingBudget, int, str]:
    if arguments.config is not None:
        return _of_run(arguments)
    budget = TrainingBudget(arguments.steps, arguments.batch, arguments.sequence_length)
    scores_X = np.arange(arguments.samples, dtype=np.float32)
    return chosen_curriculum(arguments.curriculum), scores_X, budget, arguments.seed, SYNTHETIC


def _of_run(arguments: Namespace) -> tuple[Curriculum, NDArray[Any], TrainingBudget, int, str]:
    config = TrainingConfig.from_data(config_data(Path(arguments.config)), arguments.config)
    prepared = PreparedCorpus.read(config.run.out_folder)
    if prepared is None:
        raise UserError(f"{config.run.out}: no prepared corpus; e2lm train {arguments.config} makes one")
    scores_X = np.load(config.run.out_folder / PREPARED_FOLDER / SCORES_FILE)
    curriculum = chosen_curriculum(config.data.curriculum)
    return curriculum, scores_X, config.data.budget, config.run.seed_of_order, prepared.difficulty or "none"


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


def _write(plan: Plan, out: Path) -> None:
    if out.exists():
        raise UserError(f"--out: {out} is there already; give a new folder")
    with whole_folder(out) as folder:
        write_plan(plan, folder)


def _list(as_json: bool) -> int:
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
