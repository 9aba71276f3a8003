"""What Trainer is told: optimiser, learning rates (of heads too, within the one optimiser), and silence.

One optimiser for all weights means one clipping of gradients and one moment at which everything is stepped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from e2lm.curriculum import ObjectiveSpan, TrainingBudget
from e2lm_curriculum.config.training import RunConfig
from e2lm_curriculum.model.objective import HEADS
from e2lm_curriculum.train.locks import process_count
from e2lm_curriculum.train.resume import KEPT_STATES

#: Usual in pretraining since GPT-3 (Brown et al. 2020, appendix B).
ADAM_BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
MAX_GRADIENT_NORM = 1.0

#: The last fifth of training (Haegele et al. 2024, arXiv 2405.18392, section 4).
WSD_DECAY_FRACTION = 0.2

#: ``linear`` is what CLIMB trained with.
SCHEDULE_OF_TRAINER = {
    "constant": "constant_with_warmup",
    "cosine": "cosine",
    "linear": "linear",
    "wsd": "warmup_stable_decay",
}


@contextmanager
def silence() -> Iterator[None]:
    """No bars of transformers' own, one for every state it saves; and no warning that a tied head is stored once."""
    drawn, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if drawn:
            logging.enable_progress_bar()


def training_arguments(
    run: RunConfig, budget: TrainingBudget, state_folder: Path, parts_rest: bool = False
) -> TrainingArguments:
    """What Trainer is told: the recipe, and silence; with ``parts_rest`` some weights rest in some steps."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        # Attention and embedding gradients add in any order otherwise, and no two runs are alike.
        torch.use_deterministic_algorithms(True, warn_only=True)
    decay = {"num_decay_steps": max(1, round(WSD_DECAY_FRACTION * budget.steps))}
    arguments = TrainingArguments(
        output_dir=str(state_folder),
        max_steps=budget.steps,
        per_device_train_batch_size=budget.batch_size // process_count(),
        ddp_find_unused_parameters=parts_rest,
        train_sampling_strategy="sequential",
        learning_rate=run.learning_rate,
        lr_scheduler_type=SCHEDULE_OF_TRAINER[run.schedule],
        lr_scheduler_kwargs=decay if run.schedule == "wsd" else {},
        warmup_steps=round(run.warmup * budget.steps),
        optim="adamw_torch_fused",
        adam_beta1=ADAM_BETAS[0],
        adam_beta2=ADAM_BETAS[1],
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRADIENT_NORM,
        bf16=run.precision == "bfloat16" or (run.precision == "auto" and on_gpu),
        use_cpu=not on_gpu,
        seed=run.seed,
        save_strategy="no",
        save_total_limit=KEPT_STATES,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        dataloader_num_workers=run.loader_workers,
        disable_tqdm=True,
        report_to="none",
    )
    if on_gpu:
        # With several in sight Trainer would multiply the batch, and the plan would no longer be what is trained.
        arguments._n_gpu = 1
    return arguments


#: CLIMB's heads: AdamW at 1e-3, linear decay, a tenth of the objective's steps of warm-up.
HEAD_LEARNING_RATE = 1e-3
HEAD_WARM_UP = 0.1


def head_rate(span: ObjectiveSpan, step: int) -> float:
    """The share of the highest learning rate at optimiser step ``step``: up, then down to 0, within the span.

    >>> [round(head_rate(ObjectiveSpan(10, 30, "pos-all"), step), 2) for step in (9, 10, 11, 12, 21, 30)]
    [0.0, 0.0, 0.5, 1.0, 0.5, 0.0]
    """
    steps = span.end_step - span.start_step
    place = step - span.start_step
    if not 0 <= place <= steps:
        return 0.0
    warm_up = max(1, round(HEAD_WARM_UP * steps))
    if place < warm_up:
        return place / warm_up
    return (steps - place) / max(1, steps - warm_up)


def add_head_groups(trainer: Trainer, model: Any, spans: Sequence[ObjectiveSpan], steps: int) -> None:
    """Make the trainer's optimiser and schedule with a group for every head of ``model``; nothing without heads."""
    heads = getattr(model, HEADS, None)
    if not heads:
        return
    heads.requires_grad_(False)
    optimizer = trainer.create_optimizer()
    heads.requires_grad_(True)
    rates: list[Callable[[int], float]] = []
    for span in spans:
        if span.objective in heads:
            optimizer.add_param_group(
                {"params": list(heads[span.objective].parameters()), "lr": HEAD_LEARNING_RATE, "weight_decay": 0.0}
            )
            rates.append(partial(head_rate, span))
    scheduler = trainer.create_scheduler(steps, optimizer)
    scheduler.lr_lambdas[-len(rates) :] = rates
    for group, rate in zip(optimizer.param_groups[-len(rates) :], rates, strict=True):
        group["lr"] = HEAD_LEARNING_RATE * rate(0)
    # Trainer drops a schedule that it made itself.
    trainer._created_lr_scheduler = False
