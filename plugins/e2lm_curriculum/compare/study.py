"""The arms of a comparison, trained: from a configuration with a section ``compare`` to all its runs.

Goes on where a killed one stopped. The corpus is prepared once: the runs share tokens and scores, each has its plan.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.atomic_file import whole_file, whole_folder, write_json
from e2lm.curriculum import TrainingBudget
from e2lm.errors import UserError
from e2lm.run_record import RECORD_FILE, RunRecord
from e2lm_curriculum.compare.looks import Looks, keep_to_looks, planned_looks
from e2lm_curriculum.config.comparison import COMPARISON_SECTION, ComparisonConfig
from e2lm_curriculum.config.training import DataConfig, TrainingConfig
from e2lm_curriculum.plan.arms import VANILLA, Arm
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import PLAN_FILE, SCHEDULE_FILE, read_array, write_plan
from e2lm_curriculum.plan.setting import CurriculumSetting
from e2lm_curriculum.train.ladder import corpus_hashes, prepare_once, require_trainable, train_unfinished
from e2lm_curriculum.train.locks import folder_lock
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import (
    DESCRIPTION_FILE,
    HELD_OUT_FILE,
    PREPARED_FOLDER,
    SCORES_FILE,
    PreparedCorpus,
    corpus_curriculum,
    planned_order,
)
from e2lm_curriculum.train.resume import sweep_partials

#: Keeps the seeds of orders apart from those of weights.
ORDER_SEED_OFFSET = 1_000_003

#: In a prepared folder, what is not shared by the runs of a study.
OF_ONE_RUN = frozenset({PLAN_FILE, SCHEDULE_FILE, DESCRIPTION_FILE})

#: Fields of the training that the arms set.
SET_BY_ARMS = ("arm", "init_seed", "order_seed", "label")


@dataclass(frozen=True, slots=True)
class ArmRun:
    """One arm with one learning rate schedule and one seed."""

    arm: Arm
    schedule: str
    seed: int
    training: ModelRun


@dataclass(frozen=True, slots=True)
class Study:
    """A training and what is compared under it. ``runs`` are in order of seeds within a schedule.

    When some seeds are finished they are so in every arm. ``looks`` are planned where seeds are added until it is
    decided.
    """

    training: TrainingConfig
    section: ComparisonConfig
    runs: tuple[ArmRun, ...]
    looks: Looks | None

    @classmethod
    def from_data(cls, data: dict[str, Any], source: str) -> Study:
        """What a configuration file says; a :class:`UserError` names file and field."""
        rest = {name: value for name, value in data.items() if name != COMPARISON_SECTION}
        training = TrainingConfig.from_data(rest, source)
        section = ComparisonConfig.from_data(
            data[COMPARISON_SECTION] or {}, f"{source}: section '{COMPARISON_SECTION}'"
        )
        if len(training.model.sizes) != 1:
            sizes = ", ".join(training.model.sizes)
            raise UserError(f"{source}: field 'sizes': found {sizes}; a comparison trains one size, give one")
        for field in SET_BY_ARMS:
            if training.fields[field] is not None:
                raise UserError(
                    f"{source}: field {field!r}: set by the arms of section '{COMPARISON_SECTION}'; leave it out"
                )
        looks = None
        if section.most_seeds is not None:
            looks = Looks(looks=planned_looks(section.seeds, section.most_seeds), smallest=section.smallest)
        return cls(training, section, tuple(_arm_runs(training, section)), looks)

    def with_seeds(self, seeds: int) -> Study:
        """The same with so many seeds in every arm."""
        section = self.section.model_copy(update={"seeds": seeds})
        return replace(self, section=section, runs=tuple(_arm_runs(self.training, section)))

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.training.run.out_folder


def _arm_runs(training: TrainingConfig, section: ComparisonConfig) -> list[ArmRun]:
    own = training.run.schedule
    schedules = dict.fromkeys(own if one == "configured" else one for one in section.schedules)
    tokens = dict.fromkeys(section.arms, equal_cost_tokens(training.data)) | {VANILLA: training.data.tokens}
    return [
        _arm_run(training, arm, schedule, seed, tokens[arm])
        for schedule in schedules
        for seed in range(section.seeds)
        for arm in section.arms
    ]


def _arm_run(training: TrainingConfig, arm: Arm, schedule: str, seed: int, tokens: int) -> ArmRun:
    name = f"{arm}-{schedule}-s{seed}"
    config = training.changed(
        out=str(training.run.out_folder / name),
        tokens=tokens,
        schedule=schedule,
        arm=arm,
        init_seed=training.run.seed + seed,
        order_seed=training.run.seed + ORDER_SEED_OFFSET + seed,
        label=name,
    )
    return ArmRun(arm, schedule, seed, ModelRun(config, config.model.ladder[0]))


# -- arms of equal cost ---------------------------------------------------------------------------------------------


def equal_cost_tokens(data: DataConfig) -> int:
    """Training tokens with which the curriculum of ``data`` costs what plain training on ``data.tokens`` does.

    A step on two objectives takes two forward and backward passes, so it counts twice.
    """
    budget = data.budget
    steps = budget.steps
    for _ in range(_ROUNDS):
        passes = _forward_passes(data, steps)
        if abs(passes - budget.steps) <= _PASSES_OFF:
            break
        steps = max(1, round(steps * budget.steps / passes))
    return steps * budget.batch_size * budget.sequence_length


#: The share of doubled steps can change with the number of steps; a few rounds settle it.
_ROUNDS = 5
_PASSES_OFF = 1


def _forward_passes(data: DataConfig, steps: int) -> int:
    budget = TrainingBudget(steps, data.batch_size, data.sequence_length)
    # The number of passes does not depend on which examples are drawn; mixtures want some of every corpus file.
    files = len(data.corpus)
    scores_X = np.arange(max(data.batch_size, files), dtype=np.float64) % files
    wanted = data.curriculum
    if isinstance(wanted, CurriculumSetting):
        wanted = wanted.model_copy(update={"mixture": ()})
    return chosen_curriculum(wanted).planned(scores_X, budget, np.random.default_rng(0)).forward_passes


# -- training -------------------------------------------------------------------------------------------------------


def train_study(study: Study, quiet: bool = False) -> None:
    """Train what is not yet trained. A folder with other settings in it is a :class:`UserError` that names the field.

    Nothing is written before everything that can be known to be wrong has been looked at.
    """
    runs = [run.training for run in study.runs]
    check_study(study)
    with folder_lock(study.folder):
        keep_to_looks(study.folder, study.looks)
        prepare_all(runs)
        train_unfinished(runs, study.training.run.jobs, f"train {len(runs)} runs", quiet)


def check_study(study: Study) -> None:
    """Raise a :class:`UserError` for what can be known to be wrong before anything is written."""
    hashes = corpus_hashes(study.training.data)
    for run in study.runs:
        require_trainable(run.training.config, hashes)


def prepare_all(runs: Sequence[ModelRun]) -> None:
    """Prepare the corpus for the first run and share it with the others, which need a plan only."""
    prepare_once(runs[0].config)
    for run in runs[1:]:
        if not (run.out / RECORD_FILE).is_file():
            _prepare_like(runs[0], run)
    require_same_corpus(runs)


def _prepare_like(first: ModelRun, run: ModelRun) -> None:
    source, data = first.out / PREPARED_FOLDER, run.config.data
    sweep_partials(run.out)
    with whole_folder(run.out / PREPARED_FOLDER) as folder:
        for file in sorted(source.iterdir()):
            if file.name not in OF_ONE_RUN:
                _share(file, folder / file.name)
        scores_X = np.asarray(read_array(source / SCORES_FILE))
        of_first = PreparedCorpus.from_json_file(source / DESCRIPTION_FILE)
        curriculum = corpus_curriculum(data, of_first.sources)
        plan = planned_order(data, curriculum, scores_X, run.config.run.seed_of_order)
        write_plan(plan, folder)
        prepared = of_first.model_copy(update={"plan_hash": plan.hash, "forward_passes": plan.forward_passes})
        write_json(folder / DESCRIPTION_FILE, prepared.model_dump(mode="json"))
    with whole_file(run.out / HELD_OUT_FILE) as partial:
        shutil.copyfile(first.out / HELD_OUT_FILE, partial)
    record = RunRecord.from_json_file(first.out / RECORD_FILE)
    record.model_copy(update={"config": run.config.effective()}).write(run.out)


def _share(file: Path, copy: Path) -> None:
    """A second name for the file, or a copy where the file system has no such thing."""
    try:
        os.link(file, copy)
    except OSError:
        shutil.copyfile(file, copy)


def require_same_corpus(runs: Sequence[ModelRun]) -> None:
    """A :class:`UserError` unless every run reads the same tokens through the same tokenizer."""
    first = PreparedCorpus.of(runs[0].out)
    for run in runs:
        prepared = PreparedCorpus.of(run.out)
        for field in ("data_hash", "tokenizer_hash"):
            if getattr(prepared, field) != getattr(first, field):
                raise UserError(
                    f"{run.out}: {field} differs from that of {runs[0].name}: the arms would read different text; "
                    "train all of them into a new --out"
                )
