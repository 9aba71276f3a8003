"""What every curriculum keeps to.

Shape suffixes: X examples, S optimiser steps, B examples per step.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from e2lm.arrays import Reals
from e2lm.curriculum import Curriculum, Difficulty, Plan, Segment, TrainingBudget, TrainingText
from e2lm.errors import UserError
from e2lm_testing.contract import check_described, outcome, own_randomness_only, resolved

SEED = 20
BUDGET = TrainingBudget(steps=24, batch_size=4, sequence_length=16)

#: Segments that an online curriculum is asked for, at most.
SEGMENTS = 4

#: The difficulty that is the number of the corpus file an example comes from.
FILE_DIFFICULTY = "file"


@dataclass(frozen=True, slots=True)
class Corpus:
    """How many examples there are, and how much is trained."""

    examples: int
    budget: TrainingBudget = BUDGET
    all_alike: bool = False


DEGENERATE_CORPORA = {
    "one example": Corpus(1),
    "fewer examples than a batch": Corpus(3),
    "many more examples than draws": Corpus(2_000),
    "examples of one difficulty": Corpus(60, all_alike=True),
    "one step": Corpus(60, TrainingBudget(1, 4, 16)),
    "batches of one": Corpus(60, TrainingBudget(24, 1, 16)),
}


class CurriculumContract:
    """Subclass it and set ``curriculum`` to a :class:`Curriculum`, or to the name of an installed one."""

    curriculum: ClassVar[Curriculum | str]

    @property
    def _curriculum(self) -> Curriculum:
        return resolved(self.curriculum, "e2lm_register_curricula", Curriculum, "curriculum")

    def _scores(self, corpus: Corpus) -> Reals:
        """Difficulties as the trainer hands them over: read-only, since several curricula may share them."""
        rng = np.random.default_rng(corpus.examples)
        scores_X: NDArray[np.float64] = rng.gamma(2.0, 3.0, corpus.examples)
        if self._curriculum.difficulty == FILE_DIFFICULTY:
            scores_X = (np.arange(corpus.examples) * 3 // corpus.examples).astype(np.float64)
        if corpus.all_alike or not self._curriculum.difficulty:
            scores_X = np.zeros(corpus.examples)
        scores_X.flags.writeable = False
        return scores_X

    def _plan(self, corpus: Corpus) -> Plan:
        plan = self._curriculum.plan(self._scores(corpus), corpus.budget, np.random.default_rng(SEED))
        assert isinstance(plan, Plan), f"returned {plan!r}; expected a Plan"
        return plan

    def test_it_says_what_it_is(self) -> None:
        check_described(self._curriculum.name, self._curriculum.description)

    def test_it_plans_every_step_with_examples_that_there_are(self) -> None:
        check_plan(self._plan(Corpus(60)), Corpus(60))

    def test_the_same_input_and_seed_give_the_same_plan(self) -> None:
        assert self._plan(Corpus(60)).hash == self._plan(Corpus(60)).hash

    def test_it_draws_only_from_the_generator_it_is_given(self) -> None:
        with own_randomness_only():
            self._plan(Corpus(60))

    @pytest.mark.parametrize("fault", DEGENERATE_CORPORA)
    def test_a_degenerate_corpus_gets_a_plan_or_a_refusal_of_one_line(self, fault: str) -> None:
        corpus = DEGENERATE_CORPORA[fault]
        found = outcome(lambda: self._plan(corpus))
        if not isinstance(found, UserError):
            check_plan(found, corpus)

    def test_it_plans_its_segments_one_after_the_other_where_it_has_some(self) -> None:
        if self._curriculum.next_segment is not None:
            assert self._segmented() == self._segmented()

    def _segmented(self) -> list[bytes]:
        curriculum = self._curriculum
        assert curriculum.next_segment is not None
        scores_X, rng = self._scores(Corpus(60)), np.random.default_rng(SEED)
        bounds = np.linspace(0, BUDGET.steps, min(curriculum.segments, SEGMENTS) + 1).astype(int).tolist()
        state: dict[str, Any] = {}
        drawn = []
        for start, end in pairwise(bounds):
            segment = Segment(start, end, scores_X, BUDGET, rng, state, sample_loss)
            indices_SB, state = curriculum.next_segment(segment)
            check_draws(indices_SB, (end - start, BUDGET.batch_size), 60)
            state = json.loads(json.dumps(state))
            drawn.append(indices_SB.tobytes())
        return drawn

    def test_a_difficulty_of_its_own_gives_every_example_a_number(self) -> None:
        difficulty = self._curriculum.difficulty
        if isinstance(difficulty, Difficulty):
            scores_X = difficulty.score(sample_text())
            assert scores_X.shape == (12,)
            assert np.isfinite(scores_X).all()
            np.testing.assert_array_equal(difficulty.score(sample_text()), scores_X)


def sample_loss(indices: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """The loss in nats per token that a model in training might have on these examples."""
    return 5.0 - 0.01 * indices.astype(np.float64)


def sample_text() -> TrainingText:
    """Twelve examples of sixteen tokens from two files."""
    blocks_XT = np.random.default_rng(SEED).integers(0, 30, (12, 16))
    blocks_XT.flags.writeable = False
    return TrainingText(
        blocks_XT,
        vocabulary=30,
        sources_X=np.arange(12) // 6,
        source_names=("first", "second"),
        decode=lambda tokens: " ".join(f"word{token}" for token in tokens),
    )


def check_plan(plan: Plan, corpus: Corpus) -> None:
    """Shape, type and range of what is drawn, and of what is set by step."""
    budget = corpus.budget
    check_draws(plan.indices_SB, (budget.steps, budget.batch_size), corpus.examples)
    for span in plan.objectives:
        assert 0 <= span.start_step <= span.end_step <= budget.steps
    if plan.mask_rates_S is not None:
        assert ((plan.mask_rates_S >= 0) & (plan.mask_rates_S <= 1)).all()
    if plan.vocabulary_shares_S is not None:
        assert ((plan.vocabulary_shares_S >= 0) & (plan.vocabulary_shares_S <= 1)).all()


def check_draws(indices_SB: NDArray[Any], shape: tuple[int, int], examples: int) -> None:
    """One example that there is for every place of every step."""
    assert indices_SB.shape == shape, f"indices_SB has shape {indices_SB.shape}, expected {shape}"
    assert np.issubdtype(indices_SB.dtype, np.integer), "indices_SB must hold whole numbers"
    assert indices_SB.min() >= 0
    assert indices_SB.max() < examples, f"there are {examples} examples only"
