"""Science alignment of a submission: what its season's judge says of its items, with an interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from e2lm import Judge
from e2lm_leaderboard.pair_test import Z_90
from e2lm_leaderboard.similarity import item_text
from e2lm_leaderboard.store import Result
from e2lm_leaderboard.task_items import TaskItem

SCORE = "alignment"


def alignment_result(split: str, items: Sequence[TaskItem], judge: Judge) -> Result:
    """The mean over items; its 90 % interval is for the mean over items of this kind, the judge taken as right."""
    if not items:
        return Result(split, SCORE, "", None, reason="no items")
    judged = np.asarray(judge.judge([item_text(item) for item in items]), dtype=np.float64)
    reason = f"judge {judge.name}"
    if judged.shape != (len(items),) or not np.isfinite(judged).all() or judged.min() < 0 or judged.max() > 1:
        return Result(split, SCORE, "", None, reason=f"{reason} gave something else than a number in [0, 1] per item")
    value = float(judged.mean())
    if len(judged) < 2:
        return Result(split, SCORE, "", value, reason=f"{reason}; no interval: a single item")
    half = Z_90 * float(judged.std(ddof=1)) / len(judged) ** 0.5
    return Result(split, SCORE, "", value, max(0.0, value - half), min(1.0, value + half), None, reason)
