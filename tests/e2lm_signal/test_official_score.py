import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import Curve
from e2lm_signal.curves import curve_of_values
from e2lm_signal.official_score import official_scores

SCORES = {score.name: score for score in official_scores()}
RNG = np.random.default_rng(0)


def curve(values, higher_is_better=True):
    n = len(values)
    unknown = np.full(n, np.nan)
    return Curve(
        "run", "task", "acc", np.arange(n), unknown, np.asarray(values, float), unknown, np.zeros(n, np.int64),
        higher_is_better=higher_is_better,
    )  # fmt: skip


def score(name, values, **options):
    return SCORES[name].score(curve(values, **options), RNG)


def notebook_sq(y):
    """The published notebook, with its argsort made stable."""
    n = len(y)
    rank = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    d = np.arange(n) - rank
    mono = max(0, 1 - 6 * np.sum(d**2) / (n * (n**2 - 1)))
    ac = np.mean([abs(np.corrcoef(y[k:], y[:-k])[0, 1]) for k in range(1, n // 4)])
    return mono, ac, (mono + ac) / 2


def test_a_rising_line_scores_one():
    assert score("e2lmc_sq", range(14)).value == pytest.approx(1.0)


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=60, unique=True))
def test_all_three_equal_the_notebook_on_curves_without_ties(values):
    y = np.round(np.asarray(values), 6)
    if len(np.unique(y)) < len(y):
        return
    mono, ac, sq = notebook_sq(y)
    assert score("e2lmc_monotonicity", y).value == pytest.approx(mono)
    assert score("e2lmc_autocorrelation", y).value == pytest.approx(ac)
    assert score("e2lmc_sq", y).value == pytest.approx(sq)


def test_known_defects_are_kept_falling_lines_score_one_half():
    assert score("e2lmc_sq", range(14, 0, -1)).value == pytest.approx(0.5)


def test_a_constant_curve_has_no_sq_and_says_why():
    value = score("e2lmc_sq", [0.25] * 14)
    assert value.value is None
    assert value.reason is not None
    assert "constant" in value.reason


def test_fewer_than_eight_checkpoints_have_no_lag():
    value = score("e2lmc_sq", range(7))
    assert value.value is None
    assert value.reason is not None
    assert "8" in value.reason
    assert score("e2lmc_monotonicity", range(7)).value == 1.0


def test_a_value_that_is_not_a_number_is_named_by_its_step():
    values = [0.1, 0.2, float("nan"), 0.4, 0.5, 0.6, 0.7, 0.8]
    value = score("e2lmc_monotonicity", values)
    assert value.value is None
    assert value.reason == "the value at step 2 is not a number"


def test_equal_values_are_ranked_in_order_of_step_and_the_rule_is_named():
    value = score("e2lmc_monotonicity", [1, 1, 2, 3])
    assert value.value == 1.0
    assert value.reason is not None
    assert "stable" in value.reason


def test_a_falling_loss_is_progress():
    assert score("e2lmc_sq", range(14, 0, -1), higher_is_better=False).value == pytest.approx(1.0)


def run_of_27(**changes):
    """Every 2,000th step to 54,000, as the public checkpoints go; the odd ones are noise."""
    steps = np.arange(2000, 56000, 2000)
    values = np.where(steps % 4000 == 0, 0.2 + steps / 1e6, 0.5 - steps / 1e6)
    return curve_of_values(values, steps_K=steps, **changes)


def test_of_any_curve_the_official_checkpoints_are_scored_and_named():
    value = SCORES["e2lmc_sq"].score(run_of_27(), RNG)
    assert value.value == pytest.approx(1.0)
    assert "13 of 27 checkpoints" in value.reason
    assert official_scores(selects=False)[2].score(run_of_27(), RNG).value < 0.6


def test_tokens_say_where_the_official_checkpoints_end_and_steps_where_they_are_unknown():
    known = run_of_27(tokens_K=np.arange(2000, 56000, 2000) * 206e9 / 40000)
    assert "10 of 27 checkpoints" in SCORES["e2lmc_sq"].score(known, RNG).reason
    steps = np.arange(4000, 68000, 4000)
    longer = curve_of_values(np.arange(16.0) ** 2, steps_K=steps)
    assert "14 of 16 checkpoints" in SCORES["e2lmc_sq"].score(longer, RNG).reason


def test_a_run_without_the_official_checkpoints_is_scored_at_all_of_its_own_and_says_so():
    value = score("e2lmc_sq", range(14))
    assert value.value == 1.0
    assert "all 14 checkpoints, not the competition's" in value.reason


def test_the_14_official_checkpoints_need_no_remark():
    curve = curve_of_values(np.arange(14.0), steps_K=np.arange(4000, 60000, 4000))
    assert SCORES["e2lmc_sq"].score(curve, RNG).reason is None
