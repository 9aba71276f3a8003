"""What is set by step, at its borders."""

from __future__ import annotations

import numpy as np
import pytest

from e2lm import UserError
from e2lm.curriculum import ObjectiveSpan, TrainingBudget
from e2lm_curriculum.plan.builder import chosen_curriculum, planned_lengths, planned_mask_rates, planned_objectives
from e2lm_curriculum.plan.setting import CurriculumSetting, LengthStage, MaskRate, ObjectiveStage


def length(share: float, start: float = 0.0) -> LengthStage:
    return LengthStage(start=start, length=share)


def test_a_sequence_length_divides_the_whole_and_has_two_tokens_at_least() -> None:
    assert planned_lengths([length(0.25), length(1.0, 0.5)], 4, 8).tolist() == [2, 2, 8, 8]
    for share in (0.125, 0.375):
        with pytest.raises(UserError, match="it must divide sequence_length and be at least 2"):
            planned_lengths([length(share)], 4, 8)


def test_objectives_meet_at_whole_steps_and_one_of_no_step_is_left_out() -> None:
    stages = [("clm", 0.0, 0.3), ("mlm", 0.3, 1.0), ("pos-all", 0.0, 0.04)]
    planned = planned_objectives(
        [ObjectiveStage.from_data({"objective": one, "start": low, "end": high}, "t") for one, low, high in stages], 10
    )
    assert planned == (ObjectiveSpan(0, 3, "clm"), ObjectiveSpan(3, 10, "mlm"))


def test_mask_rates_go_from_the_first_step_to_the_last_in_equal_steps() -> None:
    assert planned_mask_rates(MaskRate(start=0.3, end=0.15), 6) == pytest.approx([0.3, 0.27, 0.24, 0.21, 0.18, 0.15])


def test_a_vocabulary_grows_by_its_pacing() -> None:
    pacing = {"kind": "linear", "start": 0.0, "end": 1.0, "starting_share": 0.2}
    setting = CurriculumSetting.from_data({"vocabulary": {"map": "pos", "pacing": pacing}}, "t")
    plan = chosen_curriculum(setting).plan(np.zeros(9), TrainingBudget(4, 2, 8), np.random.default_rng(0))
    assert plan.vocabulary_map == "pos"
    assert plan.vocabulary_shares_S == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert chosen_curriculum(setting).needs_masks
