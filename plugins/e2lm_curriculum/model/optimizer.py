"""Heads of part-of-speech objectives learn at a rate of their own, within the one optimiser of the model.

One optimiser means one clipping of gradients and one moment at which everything is stepped.

Names that readers of checkpoints need without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from transformers import Trainer

from e2lm.curriculum import ObjectiveSpan

#: The part of a model that is trained and not published: heads of part-of-speech objectives.
HEADS = "objective_heads"


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
