"""Seeds that are added until it is decided: the error rate is that of one report, and the plan cannot be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from e2lm.errors import UserError
from e2lm_curriculum.compare import analysis as module
from e2lm_curriculum.compare.analysis import Analysis, analysed
from e2lm_curriculum.compare.difference import Difference
from e2lm_curriculum.compare.looks import (
    JSON_FILE,
    LOOKS_FILE,
    Looked,
    Looks,
    PlannedLook,
    keep_to_looks,
    looks_of,
    planned_looks,
    runs_of_look,
    undecided,
)
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.verdict import ALPHA, NO_DIFFERENCE
from e2lm_curriculum.config.comparison import HELD_OUT, ComparisonConfig
from tests.e2lm_curriculum.compare.conftest import MakeRun

PLAN = planned_looks(4, 16)


@given(st.integers(3, 40), st.integers(1, 200))
def test_looks_rise_from_the_first_seeds_to_the_most_and_share_one_level(seeds: int, more: int) -> None:
    looks = planned_looks(seeds, seeds + more)
    counts = [look.seeds for look in looks]
    assert (counts[0], counts[-1]) == (seeds, seeds + more)
    assert counts == sorted(set(counts))
    assert sum(look.share for look in looks) == pytest.approx(1.0)


def at_look(rng_values: dict[tuple[str, str], Any], look: PlannedLook, share: float) -> Analysis:
    values = {cell: one[: look.seeds] for cell, one in rng_values.items()}
    return analysed(
        [Measure(HELD_OUT, "", True, (1.0, 2.0), values, {"cosine": tuple(range(look.seeds))})], 0.8, 0, share
    )


def stopped(rng: np.random.Generator, planted: float = 0.0, planned: bool = True) -> tuple[bool, int]:
    """Whether a comparison says that something differs, and after how many seeds it stopped."""
    whole = {(arm, "cosine"): rng.normal(size=(16, 2, 3)) for arm in ("vanilla", "curriculum")}
    whole["curriculum", "cosine"] = whole["curriculum", "cosine"] + planted
    for look in PLAN:
        found = at_look(whole, look, look.share if planned else 1.0)
        if not undecided(found, {}):
            break
    (effect,) = found.effects
    return effect.final.word != NO_DIFFERENCE or effect.course.first_tokens is not None, look.seeds


@pytest.fixture
def few_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 2)


@pytest.mark.usefixtures("few_redraws")
def test_planned_looks_claim_as_rarely_as_one_and_unplanned_ones_more_often() -> None:
    rng = np.random.default_rng(1)
    assert np.mean([stopped(rng)[0] for _ in range(120)]) <= 0.06
    assert np.mean([stopped(rng, planned=False)[0] for _ in range(120)]) > 0.06


@pytest.mark.usefixtures("few_redraws")
def test_an_effect_is_found_with_fewer_seeds_the_larger_it_is() -> None:
    rng = np.random.default_rng(2)
    small, large = ([stopped(rng, planted) for _ in range(25)] for planted in (0.9, 3.0))
    assert np.mean([claimed for claimed, _ in small]) >= 0.8
    assert all(claimed for claimed, _ in large)
    assert np.mean([seeds for _, seeds in large]) < np.mean([seeds for _, seeds in small]) < 16


@pytest.mark.usefixtures("few_redraws")
def test_p_values_and_intervals_of_a_look_are_those_of_its_share() -> None:
    rng = np.random.default_rng(3)
    whole = {(arm, "cosine"): rng.normal(size=(16, 2, 1)) for arm in ("vanilla", "curriculum")}
    alone, shared = (at_look(whole, PLAN[1], share).effects[0] for share in (1.0, 0.25))
    assert shared.final.p_holm == pytest.approx(min(1.0, 4 * alone.final.p_holm))
    assert shared.final.level == pytest.approx(alone.final.level / 4)
    d_S = (whole["curriculum", "cosine"] - whole["vanilla", "cosine"])[: PLAN[1].seeds, -1, 0]
    wide = stats.ttest_1samp(d_S, 0.0).confidence_interval(1 - ALPHA / 4)
    assert (shared.final.difference.low, shared.final.difference.high) == pytest.approx(tuple(wide))


@pytest.mark.usefixtures("few_redraws")
def test_it_is_decided_too_where_no_difference_that_matters_is_left() -> None:
    rng = np.random.default_rng(4)
    whole = {(arm, "cosine"): rng.normal(size=(16, 2, 1)) for arm in ("vanilla", "curriculum")}
    looks = Looks(looks=PLAN, smallest={HELD_OUT: 1.0})
    found = at_look(whole, PLAN[-1], PLAN[-1].share)
    final: Difference = found.effects[0].final.difference
    # Two one-sided tests at the level of the verdict.
    reach = abs(final.value) + stats.t.isf(found.effects[0].final.level, final.df) * final.stderr
    assert undecided(found, {}) == ["cosine"]
    assert undecided(found, {HELD_OUT: reach * 1.001}) == []
    assert undecided(found, {HELD_OUT: reach * 0.999}) == ["cosine"]
    assert undecided(found, {"another": 100.0}) == ["cosine"]
    looked = Looked.at(4, looks.model_copy(update={"smallest": {HELD_OUT: reach * 1.001}}), found)
    assert (looked.undecided, looked.within[0][:2]) == ((), (HELD_OUT, "cosine"))


def test_a_plan_is_written_before_the_first_run_and_held(tmp_path: Path) -> None:
    plan = Looks(looks=PLAN, smallest={HELD_OUT: 0.1})
    keep_to_looks(tmp_path, plan)
    keep_to_looks(tmp_path, plan)
    assert looks_of([tmp_path]) == looks_of([tmp_path / "vanilla-cosine-s0"]) == plan
    for other in (None, Looks(looks=PLAN[:3], smallest=plan.smallest), Looks(looks=PLAN, smallest={})):
        with pytest.raises(UserError, match=r"looks\.json: this comparison was begun with other looks"):
            keep_to_looks(tmp_path, other)


def test_a_plan_that_is_made_after_a_look_is_refused(tmp_path: Path) -> None:
    keep_to_looks(tmp_path, None)
    assert looks_of([tmp_path]) is None
    (tmp_path / JSON_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="was looked at already"):
        keep_to_looks(tmp_path, Looks(looks=PLAN, smallest={}))
    assert not (tmp_path / LOOKS_FILE).exists()


def test_seeds_between_two_looks_are_no_part_of_either(made_run: MakeRun) -> None:
    plan, scores = np.arange(8).reshape(4, 2), np.arange(8.0)
    runs = [made_run(arm, seed, plan, scores) for arm in ("vanilla", "curriculum") for seed in range(6)]
    looks = planned_looks(3, 8)
    assert [look.seeds for look in looks] == [3, 5, 8]
    found, number = runs_of_look(runs, looks)
    assert (sorted({run.seed for run in found}), len(found), number) == ([0, 1, 2, 3, 4], 10, 2)
    found, number = runs_of_look(runs, looks, 3)
    assert (sorted({run.seed for run in found}), number) == ([0, 1, 2], 1)
    # A seed counts once every arm has it.
    with pytest.raises(
        UserError, match="2 seeds are finished in every arm; the first look at this comparison is planned"
    ):
        runs_of_look([run for run in runs if run.arm == "vanilla" or run.seed < 2], looks)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"seeds": 5, "most_seeds": 5}, "found 5, not more than the 5 of seeds"),
        ({"smallest": {HELD_OUT: 0.1}}, "give most_seeds too"),
        ({"most_seeds": 9, "arms": ["vanilla", "anti"]}, "add arm curriculum"),
        ({"most_seeds": 9, "smallest": {"held-out": 0.1}}, "no measure 'held-out'. Did you mean 'held-out text'"),
        ({"most_seeds": 9, "smallest": {HELD_OUT: 0.0}}, "greater than 0"),
    ],
)
def test_a_plan_that_cannot_decide_anything_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ComparisonConfig.from_data(section, "section")
