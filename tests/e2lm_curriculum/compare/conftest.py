"""Runs as ``e2lm train`` leaves them, made by hand: everything but weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from e2lm.checkpoint import Checkpoint
from e2lm.curriculum import Plan
from e2lm.run_record import RunRecord
from e2lm.series import Series
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.plan.file import write_plan
from e2lm_curriculum.train.prepared import PreparedCorpus

#: Steps with a checkpoint, 100 tokens each.
STEPS = (0, 1, 4)

MakeRun = Callable[..., FinishedRun]


@pytest.fixture
def made_run(tmp_path: Path) -> MakeRun:
    """Makes one run: what it drew, what it cost, and the difficulty of the examples."""

    def make(
        arm: str,
        seed: int,
        indices_SB: NDArray[np.int64],
        scores_X: NDArray[np.float64],
        *,
        schedule: str = "cosine",
        steps: tuple[int, ...] = STEPS,
        wall_s: float | None = 1.0,
        flops: float = 100.0,
        config: dict[str, Any] | None = None,
        **prepared: Any,
    ) -> FinishedRun:
        out = tmp_path / f"{arm}-{schedule}-s{seed}"
        (out / ".prepared").mkdir(parents=True)
        (out / "1x16").mkdir()
        np.save(out / ".prepared" / "scores.npy", scores_X)
        write_plan(Plan(indices_SB), out / ".prepared")
        checkpoints = tuple(Checkpoint(step=step, tokens=100 * step, path=f"checkpoint-{step}") for step in steps)
        series = Series(name=out.name, params=10, params_non_embedding=5, checkpoints=checkpoints)
        record = RunRecord(command="train", config=config or {}, versions={}, wall_s=wall_s, flops=flops)
        corpus = {"vocabulary": 8, "tokens": 800, "sequence_length": 50, "examples": len(scores_X)}
        corpus |= {"training_characters": 1, "held_out_characters": 1}
        hashes = {"data_hash": "d", "tokenizer_hash": "t", "plan_hash": "p"}
        described = PreparedCorpus.model_validate({**corpus, **hashes, **prepared})
        return FinishedRun(out, arm, schedule, seed, "made", out / "1x16", series, record, described)

    return make
