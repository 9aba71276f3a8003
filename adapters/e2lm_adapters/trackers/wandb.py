"""Scores as a Weights & Biases run per series; project ``WANDB_PROJECT`` (default e2lm), files in ``OUT/wandb``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError
from e2lm.series import Series

if TYPE_CHECKING:
    from e2lm_adapters.trackers.run import TrackedPoint

PROJECT = "e2lm"
#: How long the first answer of the server and the last upload are waited for; the evaluation waits with them.
ANSWER_S = 30.0
UPLOAD_S = 120.0


class WandbRun:
    """``step`` and ``tokens`` are logged with every point, and either can be chosen as x.

    wandb's own counter is the point's number: the server drops a number that it has seen, so nothing counts twice.
    """

    def __init__(self, out: Path, series: Series, run_id: str) -> None:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            x_save_requirements=False,
            x_disable_stats=True,
            finish_timeout=UPLOAD_S,
            finish_timeout_raises=True,
            **({} if "WANDB_INIT_TIMEOUT" in os.environ else {"init_timeout": ANSWER_S}),
        )
        # Asked here, for wandb.init would ask the person at the terminal, and wait.
        if wandb.setup(settings).settings.mode == "online" and not wandb.login(prompt=False):
            raise UserError("not logged in; `wandb login`, or WANDB_MODE=offline")
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id,
            name=series.name,
            dir=str(out),
            resume="allow",
            reinit="create_new",
            config={
                "series": series.name,
                "params": series.params,
                "params_non_embedding": series.params_non_embedding,
                "tokens_per_step": series.tokens_per_step,
                "data": series.data,
            },
            settings=settings,
        )
        for x in ("step", "tokens"):
            self._run.define_metric(x, hidden=True)
        known = any(point.tokens is not None for point in series.checkpoints) or series.tokens_per_step is not None
        self._run.define_metric("*", step_metric="tokens" if known else "step")

    def log(self, point: TrackedPoint, repeated: bool) -> None:
        """Hand the point to wandb's own process, which outlives this one."""
        x = {"step": point.step} if point.tokens is None else {"step": point.step, "tokens": point.tokens}
        self._run.log({**x, **point.values}, step=point.number)

    def close(self) -> None:
        """Wait until everything has been uploaded, or written where wandb is offline."""
        self._run.finish()
