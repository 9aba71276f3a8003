"""What keeps transformers' Trainer to a plan: a callback that looks at its arguments before the first step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from e2lm.errors import UserError
from e2lm_curriculum.follow.plan import FollowedPlan
from e2lm_curriculum.follow.torch_data import PlannedExamples


class PlanGuard(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Refuses to train past, besides or in another order than ``plan``; its hash goes into every checkpoint."""

    def __init__(self, plan: FollowedPlan | str) -> None:
        self._plan = FollowedPlan.read(plan) if isinstance(plan, str) else plan

    def state(self) -> dict[str, Any]:
        """What Trainer writes into ``trainer_state.json``."""
        return {"args": {"plan": str(self._plan.folder)}, "attributes": {"plan_hash": self._plan.record.hash}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by Trainer before its first step; a :class:`UserError` says what to change."""
        require_followed(args, state, kwargs.get("train_dataloader"), self._plan.steps, self._plan.batch_size)
        trained = _saved_hash(state)
        if state.global_step and trained not in (None, self._plan.record.hash):
            raise UserError(
                f"{self._plan.folder}: the checkpoint was trained by another plan ({trained}); go on with that one"
            )


def require_followed(args: Any, state: Any, loader: Any, steps: int, batch_size: int) -> None:
    """A :class:`UserError` unless what Trainer is about to do shows ``steps`` steps of ``batch_size`` in order."""
    if args.train_sampling_strategy != "sequential":
        raise UserError(
            f"TrainingArguments: train_sampling_strategy={args.train_sampling_strategy!r} makes an order of its own; "
            "give 'sequential', the data set has the order of the plan"
        )
    shown = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    if args.accelerator_config.split_batches:
        shown //= args.world_size
    if shown != batch_size:
        raise UserError(
            f"TrainingArguments: a step shows {args.train_batch_size} x {args.gradient_accumulation_steps} accumulated "
            f"x {args.world_size} processes = {shown} examples, the plan {batch_size}; change "
            "per_device_train_batch_size, or write the plan with --batch"
        )
    if state.max_steps != steps:
        raise UserError(
            f"TrainingArguments: {state.max_steps} steps, the plan paces {steps}; give max_steps={steps}, or write the "
            "plan with --steps"
        )
    if args.ignore_data_skip:
        raise UserError("TrainingArguments: ignore_data_skip=True shows the beginning of the plan again; leave it out")
    if loader is not None and not isinstance(loader.dataset, PlannedExamples):
        raise UserError("Trainer: train_dataset is not PlannedExamples(plan); the guard cannot tell what is shown")


def _saved_hash(state: Any) -> str | None:
    saved = (state.stateful_callbacks or {}).get(PlanGuard.__name__)
    first = saved[0] if isinstance(saved, list) else saved
    return None if not first else first["attributes"]["plan_hash"]
