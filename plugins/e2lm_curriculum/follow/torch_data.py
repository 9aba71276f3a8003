"""A plan for torch's DataLoader and transformers' Trainer: examples in its order, its steps, its batches.

Entry n of the data set is draw n of the plan, and all that a batch holds follows from the numbers of its draws. So any
loader that reads in order shows the plan: with processes that read ahead, in several ranks, after a kill.

Shape suffixes: B examples, T tokens per example, P pieces, L tokens per piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from e2lm.curriculum import Plan
from e2lm.errors import UserError
from e2lm_curriculum.corpus.special_tokens import SpecialTokens
from e2lm_curriculum.corpus.tokenizer import TAGS_FILE, TOKENIZER_FILE
from e2lm_curriculum.follow.plan import FollowedPlan, own_examples, steps_set
from e2lm_curriculum.train.batch import Draw, PlannedBatch

NO_TAGS = "vocabulary by pos needs parts of speech; plan a .jsonl corpus with 'words' and 'tags', and use its examples"

#: What a model of one's own can be trained on: the objective of its own head.
OwnObjective = Literal["clm", "mlm"]

#: Turns items of one's own data set into a batch, as ``transformers.DataCollator`` does.
Collate = Callable[[list[Any]], dict[str, Any]]


class Order(Protocol):
    """A plan, known beforehand or made while it trains."""

    @property
    def draws(self) -> int:
        """Examples shown in the whole training."""

    def example(self, number: int) -> int:
        """The example that draw ``number`` shows."""


class PlannedItem(NamedTuple):
    """Draw ``number`` of the plan; ``own``, and tags where there are any, are of examples that came with it."""

    number: int
    item: Any
    tags_T: NDArray[np.int8] | None = None
    own: bool = False


class PlannedExamples(Dataset[PlannedItem]):
    """Examples in the order of ``plan``, one for every draw: ``examples`` of one's own, or those that came with it."""

    def __init__(self, plan: FollowedPlan, examples: Sequence[Any] | None = None, order: Order | None = None) -> None:
        self.order = plan if order is None else order
        self._tags_XT: NDArray[np.int8] | None = None
        self._is_own = examples is None
        self._examples: Any = examples
        if examples is None:
            self._examples, self._tags_XT = own_examples(plan.folder, plan.record)
        elif len(examples) != plan.record.examples:
            raise UserError(
                f"{plan.folder}: planned for {plan.record.examples} examples, found {len(examples)}; give those "
                "that were scored, in the order of the scores"
            )

    def __len__(self) -> int:
        return self.order.draws

    def __getitem__(self, number: int) -> PlannedItem:
        if not 0 <= number < len(self):
            raise IndexError(number)
        example = self.order.example(number)
        tags_T = None if self._tags_XT is None else self._tags_XT[example]
        return PlannedItem(number, self._examples[example], tags_T, self._is_own)


class PlannedSteps(Sampler[list[int]]):
    """A batch sampler: the draws of every step from ``start_step`` on, those of this ``rank`` out of ``processes``.

    With ``micro_batches`` a step comes in so many batches, for accumulated gradients. To go on after a kill give the
    number of steps that were made.
    """

    def __init__(
        self, plan: FollowedPlan, start_step: int = 0, rank: int = 0, processes: int = 1, micro_batches: int = 1
    ) -> None:
        if plan.batch_size % (processes * micro_batches):
            raise UserError(
                f"{plan.folder}: a step has {plan.batch_size} examples, which {processes} processes x {micro_batches} "
                "micro-batches cannot share alike"
            )
        if not 0 <= start_step <= plan.steps or not 0 <= rank < processes:
            raise UserError(
                f"start_step {start_step}, rank {rank}: the plan has {plan.steps} steps, for {processes} processes"
            )
        self._numbers = range(start_step * micro_batches, plan.steps * micro_batches)
        self._size = plan.batch_size // (processes * micro_batches)
        self._rank, self._processes = rank, processes

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[list[int]]:
        for number in self._numbers:
            first = (number * self._processes + self._rank) * self._size
            yield list(range(first, first + self._size))


class PlannedCollator:
    """Makes a batch of draws of :class:`PlannedExamples` as the plan has it: ``input_ids`` and ``labels`` (-100: none).

    ``tokenizer`` is the one of the examples, of transformers; without it that of the plan. ``objective`` is what the
    model at hand learns: ``clm`` or ``mlm``. ``collate`` makes the batch instead, from one's own items, where the plan
    sets no more than the order. What the plan asks and this way cannot give is a :class:`UserError`.
    """

    def __init__(
        self,
        plan: FollowedPlan,
        tokenizer: Any = None,
        objective: OwnObjective = "clm",
        collate: Collate | None = None,
    ) -> None:
        _require_own_objective(plan.plan, objective)
        self._folder, self._length, self._collate = plan.folder, plan.record.sequence_length, collate
        if collate is not None and (sets := steps_set(plan.plan)):
            raise UserError(f"{plan.folder}: sets {sets[0]} by step, which collate= would not do; leave it out")
        self._is_plain = objective == "clm" and not steps_set(plan.plan)
        self._vocabulary = None if tokenizer is None else tokenizer.get_vocab()
        self._make = None if self._is_plain or collate is not None else self._maker(plan, tokenizer, objective)

    def _maker(self, plan: FollowedPlan, tokenizer: Any, objective: OwnObjective) -> PlannedBatch:
        self._needs_tags = plan.plan.vocabulary_map.startswith("pos")
        if self._needs_tags and not (plan.folder / TAGS_FILE).is_file():
            raise UserError(f"{plan.folder}: {NO_TAGS}")
        ids = SpecialTokens.of(_plan_tokenizer(plan) if tokenizer is None else tokenizer)
        if objective == "mlm":
            _ = ids.needed_mask
        if plan.plan.vocabulary_map:
            _ = ids.needed_unknown
        settings = _without_examples(plan.plan)
        return PlannedBatch(settings, objective, ids, plan.batch_size, plan.record.seed)

    def __call__(self, draws: list[PlannedItem]) -> dict[str, Any]:
        """The batch of ``draws``, which follow each other in the plan."""
        self._check(draws)
        if self._collate is not None:
            return self._collate([draw.item for draw in draws])
        rows = [tokens_of(draw.item) for draw in draws]
        if {len(row) for row in rows} != {self._length}:
            raise UserError(
                f"{self._folder}: examples have {self._length} tokens, found {sorted({len(row) for row in rows})[:3]}; "
                "give collate=, which pads, or examples of that length"
            )
        if self._make is None:
            input_ids_BT = torch.from_numpy(np.stack(rows).astype(np.int64))
            return {"input_ids": input_ids_BT, "labels": input_ids_BT.clone()}
        if self._needs_tags and draws[0].tags_T is None:
            raise UserError(f"{self._folder}: {NO_TAGS}")
        # One by one, so that a mask is that of its draw whoever shares the batch.
        parts = [self._make([Draw(draw.number, row, draw.tags_T)]) for draw, row in zip(draws, rows, strict=True)]
        return {name: torch.cat([part[name] for part in parts]) for name in ("input_ids", "labels")}

    def _check(self, draws: list[PlannedItem]) -> None:
        if not all(isinstance(draw, PlannedItem) for draw in draws):
            raise UserError("PlannedCollator takes entries of PlannedExamples: give that as the data set")
        numbers = [draw.number for draw in draws]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise UserError(
                f"{self._folder}: draws {numbers[:4]} came together, so the loader does not read in order; no shuffle, "
                "and train_sampling_strategy='sequential' for transformers' Trainer"
            )
        if draws[0].own and self._vocabulary is not None and self._vocabulary != self._own_vocabulary():
            raise UserError(
                f"{self._folder}: its examples are tokens of its own tokenizer, not of the one given; leave tokenizer= "
                "out, or give examples of your own"
            )
        self._vocabulary = None if draws[0].own else self._vocabulary

    def _own_vocabulary(self) -> dict[str, int]:
        from tokenizers import Tokenizer

        found: dict[str, int] = Tokenizer.from_file(str(self._folder / TOKENIZER_FILE)).get_vocab()
        return found


def tokens_of(item: Any) -> NDArray[Any]:
    """The tokens of an item: a row of them, or a mapping with ``input_ids``."""
    return np.asarray(item["input_ids"] if hasattr(item, "keys") else item)


def _without_examples(plan: Plan) -> Plan:
    return Plan(
        np.empty((plan.steps, 0), dtype=np.int64),
        plan.sequence_lengths_S,
        plan.objectives,
        plan.mask_rates_S,
        plan.vocabulary_shares_S,
        plan.vocabulary_map,
    )


def _require_own_objective(plan: Plan, objective: OwnObjective) -> None:
    others = sorted({span.objective for span in plan.objectives} - {objective})
    if others:
        raise UserError(
            f"the plan trains {others[0]}, which takes heads or attention of its own; a model of yours learns "
            f"{objective} alone: train this one with e2lm train"
        )
    if plan.mask_rates_S is not None and objective != "mlm":
        raise UserError(
            "the plan sets the share of masked tokens, but objective='clm' masks none; give objective='mlm'"
        )


def _plan_tokenizer(plan: FollowedPlan) -> Any:
    if not plan.record.tokens:
        raise UserError(f"{plan.folder}: has no tokenizer of its own; give tokenizer=, that of your examples")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(plan.folder)
