"""Plans are the ones that they were: a run on disk goes on only with the very plan that it began with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from e2lm.curriculum import Curriculum, ObjectiveSpan, Plan, TrainingBudget
from e2lm.errors import E2LMError
from e2lm_curriculum.plan.arms import ARMS, arm_plan
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.draws import SHUFFLE
from e2lm_curriculum.plan.file import read_plan, write_plan
from e2lm_curriculum.plan.preset import preset_curricula

BUDGET = TrainingBudget(60, 4, 32)
FILES_X = np.repeat([0.0, 1.0, 2.0], 40)
SCORES_X = FILES_X + np.tile(np.arange(40.0) / 100.0, 3)

#: First digits of the hash of each curriculum's plan, as at the time of writing (numpy 2).
HASHES = {
    "shuffle": "3b332ba651aa",
    "climb-spoken-first-linear": "77c588230169",
    "climb-grammatical-first-linear": "77c588230169",
    "climb-ngram-linear": "77c588230169",
    "climb-perplexity-linear": "77c588230169",
    "climb-random-perplexity-linear": "77c588230169",
    "climb-vocabulary-token-ids-linear": "c93407fe324f",
    "climb-vocabulary-pos-tags-linear": "5ba8bb09987f",
    "climb-vocabulary-pos-tags-and-token-ids-linear": "0206ee13c3e5",
    "climb-spoken-first-log": "86c3ad643232",
    "climb-grammatical-first-log": "86c3ad643232",
    "climb-ngram-log": "86c3ad643232",
    "climb-perplexity-log": "86c3ad643232",
    "climb-random-perplexity-log": "86c3ad643232",
    "climb-vocabulary-token-ids-log": "f18e5d948c31",
    "climb-vocabulary-pos-tags-log": "1f60c7b6b3a4",
    "climb-vocabulary-pos-tags-and-token-ids-log": "cf4df78bb00a",
    "climb-objective-base-mlm": "c40a695135d7",
    "climb-objective-pos-nv-mlm": "7315bdbcb4a0",
    "climb-objective-pos-all-mlm": "c7e915c4a812",
    "climb-objective-multitask-pos-nv-mlm-0": "dfe26279320c",
    "climb-objective-multitask-pos-all-mlm": "52d213d81c7e",
    "climb-objective-multitask-pos-all-mlm-0": "bbd011bc8aa3",
    "climb-objective-multitask-pos-nv-all-mlm": "0c6548b90fea",
    "climb-objective-multitask-pos-nv-all-mlm-0": "6339cff590eb",
    "length-competence": "232efe44b681",
    "rarity-competence": "232efe44b681",
    "compression-warm-up": "1b857fa54a0d",
    "readability-warm-up": "1b857fa54a0d",
    "ngram-staged": "99e466b223d2",
    "ngram-full-coverage": "e95b11eb6684",
    "ngram-grouped": "da74a87304e0",
    "sequence-length-warm-up": "7fffdfad1768",
    "mask-rate-decay": "74de22aec5e1",
    "antlm": "85658c7c8351",
    "clm-then-mlm": "4bf871ad051a",
    "stratified": "245dafe3f7f9",
    "skill-it": "3b332ba651aa",
}

#: The same for the arms of climb-ngram-log.
HASHES_OF_ARMS = {
    "vanilla": "3b332ba651aa",
    "curriculum": "86c3ad643232",
    "exposure-matched": "439047a28f18",
    "anti": "914bb132393c",
    "random-pacing": "8715227af700",
}

CURRICULA = {one.name: one for one in (SHUFFLE, *preset_curricula())}


@pytest.mark.parametrize("name", HASHES)
def test_the_plan_of_a_named_curriculum_is_the_one_that_it_was(name: str) -> None:
    curriculum = CURRICULA[name]
    scores_X = FILES_X if curriculum.difficulty in {"file", ""} else SCORES_X
    assert curriculum.plan(scores_X, BUDGET, np.random.default_rng(3)).hash[:12] == HASHES[name]


@pytest.mark.parametrize("arm", ARMS)
def test_the_plan_of_an_arm_is_the_one_that_it_was(arm: str) -> None:
    curriculum = chosen_curriculum("climb-ngram-log")
    plan = arm_plan(arm, curriculum, SCORES_X, BUDGET, np.random.default_rng(3))  # type: ignore[arg-type]
    assert plan.hash[:12] == HASHES_OF_ARMS[arm]


def test_every_named_curriculum_has_a_hash_here() -> None:
    assert set(CURRICULA) == set(HASHES)


def test_all_that_a_plan_sets_is_in_its_hash() -> None:
    indices_SB = np.arange(8).reshape(4, 2)
    plans = [
        Plan(indices_SB),
        Plan(indices_SB[::-1]),
        Plan(indices_SB.reshape(2, 4)),
        Plan(indices_SB, sequence_lengths_S=np.full(4, 8)),
        Plan(indices_SB, mask_rates_S=np.full(4, 0.15)),
        Plan(indices_SB, objectives=(ObjectiveSpan(0, 4, "mlm"),)),
        Plan(indices_SB, objectives=(ObjectiveSpan(0, 3, "mlm"),)),
        Plan(indices_SB, vocabulary_shares_S=np.full(4, 0.5), vocabulary_map="pos"),
        Plan(indices_SB, vocabulary_shares_S=np.full(4, 0.5), vocabulary_map="token-id"),
    ]
    assert len({plan.hash for plan in plans}) == len(plans)
    assert Plan(indices_SB.astype(np.int32)).hash == plans[0].hash
    with pytest.raises(E2LMError, match="one number for each step"):
        Plan(indices_SB, mask_rates_S=np.full(3, 0.15))


@pytest.mark.parametrize("curriculum", preset_curricula(), ids=lambda one: one.name)
def test_every_preset_makes_a_plan_that_reads_back_as_it_was(curriculum: Curriculum, tmp_path: Path) -> None:
    scores_X = np.repeat([0.0, 1.0, 2.0], 20)
    first, again = (curriculum.plan(scores_X, BUDGET, np.random.default_rng(3)) for _ in range(2))
    assert first.hash == again.hash
    assert first.indices_SB.shape == (60, 4)
    write_plan(first, tmp_path)
    assert read_plan(tmp_path).hash == first.hash
