"""The parts of a plan that are no order: sequence lengths, objectives, mask rates and vocabulary by step.

Shape suffixes: S optimiser steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import ObjectiveSpan
from e2lm.errors import UserError
from e2lm_curriculum.config.curriculum import LengthStage, MaskRate, ObjectiveStage
from e2lm_curriculum.plan.pacing import step_fractions


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


def stage_of_step(starts: Sequence[float], steps: int) -> NDArray[np.int64]:
    """Which of the stages that begin at ``starts`` (shares of the tokens, rising from 0) each step belongs to."""
    return np.searchsorted(np.asarray(starts), step_fractions(steps), side="right") - 1
