"""From what a configuration says to a curriculum: its order, and all that is set by step.

Shape suffixes: X examples, S optimiser steps, B examples per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Indices, Reals
from e2lm.curriculum import Curriculum, ObjectiveSpan, Plan, SegmentPlanner, TrainingBudget
from e2lm.errors import UserError, nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm_curriculum.plan.mixture import mixture_order
from e2lm_curriculum.plan.modes import MODES
from e2lm_curriculum.plan.online import segment_planner
from e2lm_curriculum.plan.pacing import step_fractions
from e2lm_curriculum.plan.setting import CurriculumSetting, LengthStage, MaskRate, ObjectiveStage

#: Name of a curriculum that a config writes out.
CONFIGURED = "configured"


@dataclass(frozen=True, slots=True)
class SettingPlanner:
    """The plan of a :class:`CurriculumSetting`, as a function of scores, budget and randomness."""

    setting: CurriculumSetting

    def __call__(self, scores_X: Reals, budget: TrainingBudget, rng: np.random.Generator) -> Plan:
        """Order first: the other parts take nothing from ``rng``."""
        return self.with_order(self._order(scores_X, budget, rng), budget)

    def with_order(self, indices_SB: Indices, budget: TrainingBudget) -> Plan:
        """``indices_SB`` with all that is set by step."""
        setting, steps = self.setting, budget.steps
        lengths_S = None
        if setting.sequence_lengths:
            lengths_S = planned_lengths(setting.sequence_lengths, steps, budget.sequence_length)
        vocabulary = setting.vocabulary
        return Plan(
            indices_SB,
            sequence_lengths_S=lengths_S,
            objectives=planned_objectives(setting.objectives, steps),
            mask_rates_S=None if setting.mask_rate is None else planned_mask_rates(setting.mask_rate, steps),
            vocabulary_shares_S=None if vocabulary is None else vocabulary.pacing.share(step_fractions(steps)),
            vocabulary_map="" if vocabulary is None else vocabulary.map,
        )

    def _order(self, scores_X: Reals, budget: TrainingBudget, rng: np.random.Generator) -> Indices:
        setting = self.setting
        if setting.mixture:
            return mixture_order(scores_X, budget, setting.mixture, rng)
        return MODES[setting.mode](scores_X, budget, setting, rng)


def built_curriculum(setting: CurriculumSetting, name: str, description: str, source: str = "") -> Curriculum:
    """The curriculum that ``setting`` describes, under ``name``."""
    planner = SettingPlanner(setting)
    next_segment: SegmentPlanner | None = None
    if setting.online is not None:
        next_segment = segment_planner(setting.online, planner)
    return Curriculum(
        name=name,
        description=description,
        plan=planner,
        source=source,
        difficulty="file" if needs_files(setting) else setting.difficulty,
        next_segment=next_segment,
        segments=1 if setting.online is None else setting.online.segments,
        needs_masks=bool(setting.objectives or setting.vocabulary),
    )


def needs_files(setting: CurriculumSetting) -> bool:
    """Whether the scores are the numbers of the corpus files."""
    return bool(setting.mixture) or (setting.online is not None and setting.online.kind == "skill-it")


def chosen_curriculum(wanted: str | CurriculumSetting) -> Curriculum:
    """What field ``curriculum`` of a config stands for: a registered name, or a setting.

    A :class:`UserError` offers the nearest names of one that is unknown.
    """
    if isinstance(wanted, CurriculumSetting):
        return built_curriculum(wanted, CONFIGURED, "As the config says.")
    known = plugin_manager().registered("e2lm_register_curricula", Curriculum)
    if wanted not in known:
        raise UserError(f"field 'curriculum': unknown curriculum {wanted!r}. {nearest_names(wanted, known)}")
    found: Curriculum = plugin_manager().find("e2lm_register_curricula", Curriculum, wanted, "curriculum")
    return found


# -- what is set by step ---------------------------------------------------------------------------------------------


def planned_lengths(stages: Sequence[LengthStage], steps: int, sequence_length: int) -> NDArray[np.int64]:
    """Tokens per sequence of each step; each must divide ``sequence_length``, so that no token is lost.

    >>> planned_lengths([LengthStage(start=0.0, length=0.5), LengthStage(start=0.75, length=1.0)], 4, 8).tolist()
    [4, 4, 4, 8]
    """
    lengths_S = np.empty(steps, dtype=np.int64)
    for stage in stages:
        length = round(stage.length * sequence_length)
        if length < 2 or sequence_length % length:
            raise UserError(
                f"field 'curriculum.sequence_lengths': {stage.length} of sequence_length={sequence_length} is {length} "
                "tokens; it must divide sequence_length and be at least 2"
            )
        lengths_S[round(stage.start * steps) :] = length
    return lengths_S


def planned_objectives(stages: Sequence[ObjectiveStage], steps: int) -> tuple[ObjectiveSpan, ...]:
    """Spans with whole steps; a border that two stages share falls on the same step, none is left out or doubled.

    >>> planned_objectives([ObjectiveStage(objective="clm", end=0.25), ObjectiveStage(objective="mlm", start=0.25)], 8)
    (ObjectiveSpan(start_step=0, end_step=2, objective='clm'), ObjectiveSpan(start_step=2, end_step=8, objective='mlm'))
    """
    spans = [ObjectiveSpan(round(one.start * steps), round(one.end * steps), one.objective) for one in stages]
    return tuple(span for span in spans if span.start_step < span.end_step)


def planned_mask_rates(rate: MaskRate, steps: int) -> NDArray[np.float64]:
    """Linear in tokens.

    >>> planned_mask_rates(MaskRate(start=0.3, end=0.15), 4).round(3).tolist()
    [0.3, 0.25, 0.2, 0.15]
    """
    return np.linspace(rate.start, rate.end, steps)
