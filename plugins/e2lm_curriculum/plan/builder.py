"""From what a config says to a curriculum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from e2lm.curriculum import Curriculum, Plan, Scores, SegmentPlanner, TrainingBudget
from e2lm.errors import UserError, nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm_curriculum.config.curriculum import CurriculumSetting
from e2lm_curriculum.plan.mixture import mixture_order
from e2lm_curriculum.plan.modes import MODES, ModeOptions
from e2lm_curriculum.plan.pacing import step_fractions
from e2lm_curriculum.plan.schedule import planned_lengths, planned_mask_rates, planned_objectives

#: Name of a curriculum that a config writes out.
CONFIGURED = "configured"


@dataclass(frozen=True, slots=True)
class SettingPlanner:
    """The plan of a :class:`CurriculumSetting`, as a function of scores, budget and randomness."""

    setting: CurriculumSetting

    def __call__(self, scores_X: Scores, budget: TrainingBudget, rng: np.random.Generator) -> Plan:
        """Order first: the other parts take nothing from ``rng``."""
        return self.with_order(self._order(scores_X, budget, rng), budget)

    def with_order(self, indices_SB: Any, budget: TrainingBudget) -> Plan:
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

    def _order(self, scores_X: Scores, budget: TrainingBudget, rng: np.random.Generator) -> Any:
        setting = self.setting
        if setting.mixture:
            return mixture_order(scores_X, budget, setting.mixture, rng)
        options = ModeOptions(setting.pacing, setting.stages, setting.share)
        mode = "random" if setting.online is not None and not setting.difficulty else setting.mode
        return MODES[mode](scores_X, budget, options, rng)


def built_curriculum(setting: CurriculumSetting, name: str, description: str, source: str = "") -> Curriculum:
    """The curriculum that ``setting`` describes, under ``name``."""
    planner = SettingPlanner(setting)
    next_segment: SegmentPlanner | None = None
    if setting.online is not None:
        from e2lm_curriculum.plan.online import segment_planner

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
