"""What a curriculum takes and gives.

Shape suffixes: X examples, T tokens per example, S optimiser steps, B examples per step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Indices, Reals
from e2lm.errors import E2LMError
from e2lm.kind import checked_name

#: Rows hashed or counted at once: a memory-mapped plan is never held as a whole.
INDICES_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class TrainingBudget:
    """How much is trained: ``steps`` optimiser steps of ``batch_size`` examples of ``sequence_length`` tokens."""

    steps: int
    batch_size: int
    sequence_length: int

    @property
    def tokens(self) -> int:
        """Tokens seen in the whole run."""
        return self.steps * self.batch_size * self.sequence_length

    @property
    def draws(self) -> int:
        """Examples drawn in the whole run."""
        return self.steps * self.batch_size


@dataclass(frozen=True, slots=True)
class ObjectiveSpan:
    """Steps ``start_step`` (included) to ``end_step`` (not included) train on ``objective``.

    Objectives: ``clm`` (next token), ``mlm`` (masked tokens), ``pos-all``, ``pos-noun-verb``, ``pos-noun-verb-adj``
    (tags of masked tokens). Where spans overlap their losses are added, at the price of one forward pass each.
    """

    start_step: int
    end_step: int
    objective: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is seen at every step, decided before training starts: a pure function of its inputs.

    ``indices_SB`` are the examples and may be memory-mapped. All else is optional: ``sequence_lengths_S`` cuts each
    example of that step into pieces of so many tokens (the tokens per step stay the same), ``objectives`` says what is
    predicted (nothing: the model's own objective throughout), ``mask_rates_S`` is the share of tokens that ``mlm``
    masks, and ``vocabulary_shares_S`` the share in [0, 1] of the vocabulary that may be seen, in the order that
    ``vocabulary_map`` names (``token-id``, ``pos``, ``pos-and-token-id``).
    """

    indices_SB: Indices
    sequence_lengths_S: NDArray[np.int64] | None = None
    objectives: tuple[ObjectiveSpan, ...] = ()
    mask_rates_S: NDArray[np.float64] | None = None
    vocabulary_shares_S: NDArray[np.float64] | None = None
    vocabulary_map: str = ""

    def __post_init__(self) -> None:
        for name in ("sequence_lengths_S", "mask_rates_S", "vocabulary_shares_S"):
            array_S = getattr(self, name)
            if array_S is not None and array_S.shape != (self.steps,):
                raise E2LMError(f"plan: {name} has shape {array_S.shape}, expected one number for each step")
        if (self.vocabulary_shares_S is None) != (not self.vocabulary_map):
            raise E2LMError("plan: vocabulary_shares_S and vocabulary_map belong together")

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return int(self.indices_SB.shape[0])

    @property
    def hash(self) -> str:
        """SHA-256 over all that is planned: two plans with one hash train the same way."""
        digest = sha256(repr(self.indices_SB.shape).encode())
        for part_N in _parts(self.indices_SB):
            digest.update(part_N.astype("<i8").tobytes())
        for name, dtype in (("sequence_lengths_S", "<i8"), ("mask_rates_S", "<f8"), ("vocabulary_shares_S", "<f8")):
            array_S = getattr(self, name)
            if array_S is not None:
                digest.update(name.encode() + array_S.astype(dtype).tobytes())
        if self.objectives or self.vocabulary_map:
            spans = [[span.start_step, span.end_step, span.objective] for span in self.objectives]
            digest.update(json.dumps([spans, self.vocabulary_map]).encode())
        return digest.hexdigest()

    def exposure(self, examples: int) -> NDArray[np.int64]:
        """How often each of ``examples`` examples is seen.

        >>> Plan(np.array([[0, 2], [2, 2]])).exposure(4).tolist()
        [1, 0, 3, 0]
        """
        counts_X = np.zeros(examples, dtype=np.int64)
        for part_N in _parts(self.indices_SB):
            counts_X += np.bincount(part_N, minlength=examples)
        return counts_X

    def objectives_at(self, step: int) -> tuple[str, ...]:
        """The objectives of optimiser step ``step`` (the first is 0), in the order of their spans."""
        return tuple(span.objective for span in self.objectives if span.start_step <= step < span.end_step)

    @property
    def forward_passes(self) -> int:
        """Forward and backward passes of a whole batch: one per step and active objective."""
        if not self.objectives:
            return self.steps
        return sum(span.end_step - span.start_step for span in self.objectives)


def _parts(indices_SB: Indices) -> Sequence[Indices]:
    flat_N = indices_SB.reshape(-1)
    return [flat_N[start : start + INDICES_AT_ONCE] for start in range(0, len(flat_N), INDICES_AT_ONCE)]


@dataclass(frozen=True, slots=True)
class TrainingText:
    """The corpus as a difficulty sees it; arrays may be memory-mapped.

    ``sources_X`` is the corpus file that most of an example's tokens come from, ``source_names`` the files' names
    without folder and suffix; where documents name their sources, those. ``tags_XT`` is the part of speech of each
    token (its place in the universal tag set, -1 where there is none), None for a corpus without tags. ``decode`` gives
    the text of one row of tokens. ``document_scores_X`` is the mean over an example's tokens of the score that their
    documents carry, None where they carry none.
    """

    blocks_XT: NDArray[np.integer[Any]]
    vocabulary: int
    sources_X: NDArray[np.integer[Any]]
    source_names: tuple[str, ...]
    decode: Callable[[NDArray[np.integer[Any]]], str]
    tags_XT: NDArray[np.int8] | None = None
    document_scores_X: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Difficulty:
    """A named difficulty: ``score(text)`` gives one number per example, larger for harder.

    ``version`` is part of the key under which scores are stored: raise it when the numbers change.
    """

    name: str
    description: str
    score: Callable[[TrainingText], NDArray[np.float64]]
    source: str = ""
    version: int = 1

    def __post_init__(self) -> None:
        checked_name(self.name, "difficulty")


@dataclass(frozen=True, slots=True)
class Segment:
    """What an online curriculum knows when the steps from ``start_step`` to ``end_step`` are to be planned.

    ``state`` is what it gave back for the segment before (empty at first). ``probe(indices)`` is the loss in nats per
    token of the model as it is now on each of these examples; its cost is counted as training.
    """

    start_step: int
    end_step: int
    scores_X: Reals
    budget: TrainingBudget
    rng: np.random.Generator
    state: Mapping[str, Any]
    probe: Callable[[Indices], NDArray[np.float64]]


#: Gives the examples (steps, examples per step) of a segment and the JSON-ready state to hand to the next segment.
SegmentPlanner = Callable[[Segment], tuple[Indices, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Curriculum:
    """A named order: ``plan(scores_X, budget, rng)`` gives the :class:`Plan`.

    ``scores_X`` is the difficulty of each example, larger for harder, as ``difficulty`` (a name that the curriculum
    plugin knows, or a :class:`Difficulty` of your own) gives it; all zero without one. With ``next_segment`` the order
    is planned in ``segments`` equal parts while the model trains; all else in ``plan`` is known beforehand.
    """

    name: str
    description: str
    plan: Callable[[Reals, TrainingBudget, np.random.Generator], Plan]
    source: str = ""
    difficulty: str | Difficulty = ""
    next_segment: SegmentPlanner | None = None
    segments: int = 1
    #: Whether it plans objectives or a vocabulary: the tokenizer then has a mask and an unknown token.
    needs_masks: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "curriculum")

    def planned(self, scores_X: Reals, budget: TrainingBudget, rng: np.random.Generator) -> Plan:
        """What ``plan`` gives, looked at; it cannot write into ``scores_X``.

        An :class:`E2LMError` for what is no plan of this budget over as many examples as there are scores.

        >>> late = Curriculum("late", "Too few steps.", lambda scores_X, budget, rng: Plan(np.zeros((1, 2), np.int64)))
        >>> late.planned(np.zeros(5), TrainingBudget(3, 2, 8), np.random.default_rng(0))
        Traceback (most recent call last):
        ...
        e2lm.errors.E2LMError: curriculum 'late' planned examples of shape (1, 2), expected (3, 2); tell its authors
        """
        found = self.plan(_read_only(scores_X), budget, rng)
        if not isinstance(found, Plan):
            raise E2LMError(f"curriculum {self.name!r} gave {found!r:.60}, expected a Plan; tell its authors")
        self._check_draws(found.indices_SB, (budget.steps, budget.batch_size), len(scores_X))
        return found

    def spans(self, steps: int) -> tuple[tuple[int, int], ...]:
        """The first step of each segment and the one after its last, of a training of ``steps`` steps.

        >>> Curriculum("online", "In three.", lambda *given: Plan(given[0]), segments=3).spans(10)
        ((0, 3), (3, 6), (6, 10))
        """
        count = min(steps, self.segments)
        return tuple(pairwise(steps * number // count for number in range(count + 1)))

    def planned_segment(self, segment: Segment) -> tuple[Indices, dict[str, Any]]:
        """The same of ``next_segment``."""
        assert self.next_segment is not None
        found = self.next_segment(replace(segment, scores_X=_read_only(segment.scores_X)))
        match found:
            case (indices_SB, dict() as state):
                shape = (segment.end_step - segment.start_step, segment.budget.batch_size)
                self._check_draws(indices_SB, shape, len(segment.scores_X))
                return indices_SB, state
        raise E2LMError(
            f"curriculum {self.name!r} gave {found!r:.60}, expected examples and the state for the next segment; "
            "tell its authors"
        )

    def _check_draws(self, indices_SB: Any, shape: tuple[int, int], examples: int) -> None:
        if not isinstance(indices_SB, np.ndarray) or not np.issubdtype(indices_SB.dtype, np.integer):
            raise E2LMError(f"curriculum {self.name!r}: its examples are no array of whole numbers; tell its authors")
        if indices_SB.shape != shape:
            raise E2LMError(
                f"curriculum {self.name!r} planned examples of shape {indices_SB.shape}, expected {shape}; "
                "tell its authors"
            )
        for part_N in _parts(indices_SB):
            if part_N.min() < 0 or part_N.max() >= examples:
                raise E2LMError(
                    f"curriculum {self.name!r} planned an example outside 0..{examples - 1}; tell its authors"
                )


def _read_only(scores_X: Reals) -> Reals:
    view_X = scores_X.view()
    view_X.flags.writeable = False
    return view_X
