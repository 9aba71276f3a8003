"""A curriculum that is planned while it trains, as a callback of transformers' Trainer; its state is in the checkpoint.

A part is planned ``ahead_steps`` before its first step: loaders have read that far ahead, and what they read is shown.
The order lies in a file that every process of this machine and every process that loads reads.

Shape suffixes: S optimiser steps, B examples per step, X examples, Q asked examples, T tokens, V vocabulary.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from e2lm.arrays import Indices
from e2lm.atomic_file import whole_file
from e2lm.curriculum import Plan, Segment, TrainingBudget
from e2lm.errors import UserError
from e2lm_curriculum.follow.plan import FollowedPlan, own_examples, plan_record
from e2lm_curriculum.follow.torch_data import PlannedExamples, tokens_of
from e2lm_curriculum.follow.trainer import require_followed
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import read_array, read_plan
from e2lm_curriculum.train.locks import is_main, wait_for_all
from e2lm_curriculum.train.prepared import SCORES_FILE, order_generator

#: Of a draw that is not planned yet.
UNKNOWN_EXAMPLE = -1

#: What PyTorch's loader reads ahead for each of its processes, unless told otherwise.
PREFETCH = 2

#: Losses in nats per token of examples, by the model as it is.
Losses = Callable[[Any, Sequence[Any]], NDArray[np.float64]]


class OnlineCurriculum(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Plans the parts of an online curriculum as Trainer gets to them, from ``folder`` of ``e2lm train plan --out``.

    ``order_file`` is where the order is kept while it trains. ``examples`` are one's own, else those of the plan;
    ``losses`` asks the model, else next-token losses. Give it to Trainer as a callback and ``plan`` and itself to
    :class:`PlannedExamples`.
    """

    def __init__(
        self,
        folder: Path | str,
        order_file: Path | str,
        examples: Sequence[Any] | None = None,
        losses: Losses | None = None,
        ahead_steps: int = 1,
    ) -> None:
        folder = Path(folder)
        self.record = plan_record(folder)
        self._curriculum = chosen_curriculum(self.record.curriculum)
        if self._curriculum.next_segment is None:
            raise UserError(f"{folder}: {self._curriculum.name} is known beforehand; read it with FollowedPlan")
        self.plan = FollowedPlan(folder, read_plan(folder), self.record)
        self._scores_X = read_array(folder / SCORES_FILE)
        self._examples = own_examples(folder, self.record)[0] if examples is None else examples
        self._losses = causal_losses if losses is None else losses
        self._ahead = ahead_steps
        self._file = Path(order_file)
        self._map_SB: NDArray[np.int64] | None = None
        self._states: dict[int, dict[str, Any]] = {}
        self._spans = self._curriculum.spans(self.record.steps)
        if ahead_steps < 1 or ahead_steps > self._spans[0][1]:
            raise UserError(f"ahead_steps: found {ahead_steps}; parts have {self._spans[0][1]} steps, give 1 to that")

    def data(self, examples: Sequence[Any] | None = None) -> PlannedExamples:
        """The data set for Trainer, of the plan's examples or of one's own."""
        return PlannedExamples(self.plan, examples, self)

    # -- the order, for the data set ------------------------------------------------------------------------------

    @property
    def draws(self) -> int:
        """Examples shown in the whole training."""
        return self.record.steps * self.record.batch_size

    def example(self, number: int) -> int:
        """The example that draw ``number`` shows; a :class:`UserError` where a loader reads further than is planned."""
        if self._map_SB is None:
            self._map_SB = self._order_SB("r")
        example = int(self._map_SB[divmod(number, self.record.batch_size)])
        if example == UNKNOWN_EXAMPLE:
            raise UserError(
                f"step {number // self.record.batch_size + 1} is read before it is planned; give a larger ahead_steps "
                f"({self._ahead}) or fewer dataloader_num_workers"
            )
        return example

    def __getstate__(self) -> dict[str, Any]:
        """Processes that load open the file themselves."""
        return {**self.__dict__, "_map_SB": None}

    def _order_SB(self, mode: Any) -> NDArray[np.int64]:
        shape = (self.record.steps, self.record.batch_size)
        return np.memmap(self._file, dtype=np.int64, mode=mode, shape=shape)

    # -- what Trainer calls ---------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What Trainer writes into ``trainer_state.json``: all that is planned, and the curriculum's own state."""
        known = max((end for start, end in self._spans if start in self._states), default=0)
        order = (
            zlib.compress(np.ascontiguousarray(self._order_SB("r")[:known], dtype="<i4").tobytes()) if known else b""
        )
        kept = {str(start): one for start, one in self._states.items()}
        return {"args": {}, "attributes": {"order": base64.b64encode(order).decode(), "states": kept}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Checks Trainer's arguments, then takes up the checkpoint's order, or plans the first part."""
        require_followed(args, state, kwargs.get("train_dataloader"), self.record.steps, self.record.batch_size)
        self._require_ahead(args)
        if is_main():
            self._take_up(state)
        self._map_SB = None  # another file lies there now
        wait_for_all()
        self._plan_until(state.global_step, kwargs.get("model"))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Plans the part that begins ``ahead_steps`` from here, if one does."""
        self._plan_until(state.global_step, kwargs.get("model"))

    def _require_ahead(self, args: Any) -> None:
        if args.restore_callback_states_from_checkpoint:
            raise UserError(
                "TrainingArguments: restore_callback_states_from_checkpoint makes another callback; leave it out, the "
                "order is taken up without it"
            )
        batches = args.dataloader_num_workers * (args.dataloader_prefetch_factor or PREFETCH)
        needed = 1 + -(-batches // args.gradient_accumulation_steps)
        if self._ahead < needed:
            raise UserError(
                f"ahead_steps: found {self._ahead}, but {args.dataloader_num_workers} processes read {needed} steps "
                f"ahead; give ahead_steps={needed} (the order is then that of another plan)"
            )

    def _take_up(self, state: Any) -> None:
        order_SB = np.full((self.record.steps, self.record.batch_size), UNKNOWN_EXAMPLE, dtype=np.int64)
        self._states = {}
        if state.global_step:
            saved = (state.stateful_callbacks or {}).get(type(self).__name__)
            if not saved:
                raise UserError("the checkpoint has no order of an online curriculum; begin anew, or with its own plan")
            kept = saved["attributes"]
            rows = np.frombuffer(zlib.decompress(base64.b64decode(kept["order"])), dtype="<i4")
            order_SB.reshape(-1)[: len(rows)] = rows
            self._states = {int(start): one for start, one in kept["states"].items()}
        with whole_file(self._file) as partial_file:
            order_SB.tofile(partial_file)

    def _plan_until(self, step: int, model: Any) -> None:
        for start, end in self._spans:
            is_due = start <= step + self._ahead
            if is_due and is_main() and start not in self._states:
                self._plan(start, end, model)
            if start and start == step + self._ahead:
                wait_for_all()
        if step == 0:
            wait_for_all()

    def _plan(self, start: int, end: int, model: Any) -> None:
        before = [one for one in self._states if one < start]
        record = self.record
        budget = TrainingBudget(record.steps, record.batch_size, record.sequence_length)
        rng = order_generator(record.seed, start)
        state = self._states[max(before)] if before else {}
        ask = partial(self._asked, model)
        segment = Segment(start, end, self._scores_X, budget, rng, state, ask)
        self._order_SB("r+")[start:end], self._states[start] = self._curriculum.planned_segment(segment)

    def _asked(self, model: Any, indices: Indices) -> NDArray[np.float64]:
        return self._losses(model, [self._examples[int(one)] for one in indices])

    @property
    def planned(self) -> Plan:
        """What was shown, once training is done."""
        return Plan(np.array(self._order_SB("r")))


#: Examples asked for at once.
ASKED_AT_ONCE = 16


def causal_losses(model: Any, examples: Sequence[Any]) -> NDArray[np.float64]:
    """The mean loss in nats per token of each example under a causal model, as it is now and without dropout."""
    import torch
    from torch.nn.functional import cross_entropy

    was_training, losses = model.training, []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(examples), ASKED_AT_ONCE):
            rows = [tokens_of(one) for one in examples[start : start + ASKED_AT_ONCE]]
            ids_BT = torch.from_numpy(np.stack(rows).astype(np.int64)).to(model.device)
            logits_BTV = model(input_ids=ids_BT, use_cache=False).logits.float()
            part_BT = cross_entropy(logits_BTV[:, :-1].transpose(1, 2), ids_BT[:, 1:], reduction="none")
            losses.append(part_BT.mean(dim=1).double().cpu().numpy())
    model.train(was_training)
    return np.concatenate(losses)
