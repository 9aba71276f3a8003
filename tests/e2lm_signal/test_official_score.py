import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import Curve
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
