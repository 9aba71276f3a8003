from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.errors import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm.scores import ScoreRow, Scores
from e2lm_demo.findings import LADDER, LOSS_METRIC, LOSS_TASK, RECIPE_RUNS, found, pairs_right

TOKENS = (0.0, 1e5, 2e5, 5e5, 1e6)
PARAMS = {"clean-140k": 2e5, "clean-360k": 4e5}
RANKS = {run: rank for rank, runs in enumerate(RECIPE_RUNS.values()) for run in runs}
SIGNAL = {"rows": [{"series": "clean-1", "task": "t", "metric": "acc", "scores": {"e2lmc_sq": {"value": 0.5}}}]}


def scores_of(accuracy, stderr=0.001, seeds=0.002):
    """``accuracy(rank, step)`` of each recipe, 0 the best; the second seed of the clean one is higher by ``seeds``."""
    rows = []
    for run in dict.fromkeys([*RANKS, *LADDER]):
        for step, tokens in enumerate(TOKENS):
            common = {"series": run, "step": step, "params": PARAMS.get(run, 1e5), "tokens": tokens, "n": 100}
            loss = 2.0 + 0.1 * RANKS.get(run, 0) - 0.1 * step - 1e-6 * PARAMS.get(run, 1e5)
            rows.append(ScoreRow(task=LOSS_TASK, metric=LOSS_METRIC, value=loss, **common))
            value = accuracy(RANKS.get(run, 0), step) + (seeds if run == "clean-2" else 0.0)
            rows.append(ScoreRow(task="t", metric="acc", value=value, stderr=stderr, **common))
    return Scores.from_rows(rows)


def only_finding(accuracy, **changes):
    (finding,) = found(scores_of(accuracy, **changes), SIGNAL, seed=0).findings
    return finding


def told_of(finding):
    return {(pair.better, pair.worse): (pair.share, pair.is_right) for pair in finding.pairs}


def test_a_task_that_orders_models_as_their_loss_is_right_at_once():
    findings = found(scores_of(lambda rank, step: 0.5 - 0.1 * rank), SIGNAL, seed=0)

    (finding,) = findings.findings
    assert findings.true_order == ("clean", "third", "two-thirds")
    assert (finding.early_right, finding.early_high, finding.settled_tokens) == (1.0, 1.0, 0.0)
    assert finding.early_low <= 0.5  # three recipes, each there once, promise nothing of others
    assert finding.scores == {"e2lmc_sq": 0.5}
    assert finding.share_of_all == 0.0
    assert set(told_of(finding).values()) == {(0.0, True)}


def test_a_task_that_is_right_at_the_end_only_settles_there():
    finding = only_finding(lambda rank, step: 0.3 - (0.1 if step == 4 else -0.1) * rank)

    assert finding.settled_tokens == 1e6
    assert finding.early_right == 0.0
    assert finding.told == ()  # one checkpoint is too few
    longer = only_finding(lambda rank, step: 0.3 - (0.1 if step >= 3 else -0.1) * rank)
    assert longer.share_of_all == 0.5


def test_what_one_checkpoint_says_and_the_end_takes_back_is_not_told():
    """One lucky checkpoint was once the headline: 100 %, of a curve that never settled."""
    finding = only_finding(lambda rank, step: 0.3 - (0.1 * rank if step == 1 else 0.0))
    assert finding.early_right == 1.0
    assert finding.told == ()
    assert set(told_of(finding).values()) == {(None, None)}


def test_the_wrong_order_is_told_as_wrong():
    finding = only_finding(lambda rank, step: 0.3 + 0.1 * rank)
    assert set(told_of(finding).values()) == {(0.0, False)}


def test_a_difference_within_two_seeds_or_within_the_items_is_not_told():
    def apart(rank, step):
        return 0.5 - 0.05 * rank

    assert len(only_finding(apart).told) == 3
    assert only_finding(apart, seeds=0.2).told == ()
    assert only_finding(apart, stderr=0.05).told == ()


def test_the_same_seed_gives_the_same_interval():
    noisy = scores_of(lambda rank, step: 0.3 + 0.0005 * rank)

    assert found(noisy, SIGNAL, seed=3) == found(noisy, SIGNAL, seed=3)


def of_all_redraws(agreement):
    """Shares of pairs right of every redraw of the recipes and one that agrees half of the time."""
    models = len(agreement)
    padded = np.full((models + 1, models + 1), 0.5)
    padded[:models, :models] = agreement
    shares = []
    for chosen in product(range(models + 1), repeat=models + 1):
        pairs = [padded[a, b] for i, a in enumerate(chosen) for b in chosen[:i] if a != b]
        shares.append(np.mean(pairs) if pairs else 0.5)
    return shares


@pytest.mark.parametrize(("slope", "right"), [(-0.1, 1.0), (0.1, 0.0)])
def test_the_interval_is_that_of_redrawn_recipes_where_items_leave_no_doubt(slope, right):
    finding = only_finding(lambda rank, step: 0.4 + slope * rank)
    low, high = np.quantile(of_all_redraws(np.full((3, 3), right)), (0.05, 0.95))
    assert (finding.early_low, finding.early_high) == pytest.approx((low, high), abs=0.01)


def test_items_that_cannot_tell_recipes_apart_widen_the_interval_and_it_holds_its_estimate():
    sure, unsure = (only_finding(lambda rank, step: 0.3 - 0.01 * rank, stderr=stderr) for stderr in (0.0001, 0.05))
    assert unsure.early_low < sure.early_low <= sure.early_right == 1.0 == unsure.early_high


STRANGERS = """
from e2lm import Forecast, ScalingPredictor, hookimpl
from types import SimpleNamespace

def fit(table, rng):
    return SimpleNamespace(predict=lambda params, tokens: Forecast(1.5, 0.75, 3.0, method="mine"))

@hookimpl
def e2lm_register_scaling_predictors():
    broken = ScalingPredictor("broken", "Raises.", lambda table, rng: 1 / 0)
    return [ScalingPredictor("wide", "Half to double.", fit), broken]
"""


def test_a_strangers_predictor_is_shown_with_its_own_interval_and_a_broken_one_costs_itself(tmp_path):
    (tmp_path / "wide.py").write_text(STRANGERS, encoding="utf-8")
    with plugin_manager().with_files([tmp_path / "wide.py"]):
        findings = found(scores_of(lambda rank, step: 0.5), SIGNAL, seed=0)
    results = {one.name: one for one in findings.predictors}
    assert (results["wide"].forecast.low, results["wide"].forecast.high) == (0.75, 3.0)
    assert (results["broken"].forecast, "ZeroDivisionError" in results["broken"].why_not) == (None, True)
    assert list(results)[:4] == ["chinchilla-tied", "chinchilla", "persistence", "log-linear"]
    assert {"average", "single-scale"} < set(results)
    assert not {"power-d", "multi-power"} & set(results)
    # Of the largest clean one, at its end.
    assert [one.truth for one in findings.predictors] == pytest.approx([1.2] * len(findings.predictors))


def test_scores_without_held_out_loss_or_without_a_run_are_refused():
    scores = scores_of(lambda rank, step: 0.5)
    with pytest.raises(UserError, match="bits_per_byte"):
        found(scores.where(task="t"), SIGNAL, seed=0)
    kept = [row for row in scores.rows() if row.series != "third"]
    with pytest.raises(UserError, match="no bits_per_byte of third; delete the folder"):
        found(Scores.from_rows(kept), SIGNAL, seed=0)


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6, unique=True))
def test_pairs_right_is_one_for_the_true_order_and_zero_for_its_reverse(losses):
    truth_M = np.array(losses)

    assert pairs_right(-truth_M, truth_M) == 1.0
    assert pairs_right(truth_M, truth_M) == 0.0
    assert pairs_right(np.zeros_like(truth_M), truth_M) == 0.5


def test_early_is_the_first_checkpoint_from_a_tenth_of_the_recipes_training_on():
    assert found(scores_of(lambda rank, step: 0.5), SIGNAL, seed=0).early_tokens == 1e5
    longer = [ScoreRow("clean-360k", 9, LOSS_TASK, LOSS_METRIC, 1.3, params=4e5, tokens=2e6, n=100)]
    others = Scores.from_rows([*scores_of(lambda rank, step: 0.5).rows(), *longer])
    assert found(others, SIGNAL, seed=0).early_tokens == 1e5


def test_what_is_shown_of_a_task_is_the_first_seeds_last_value_and_the_mean_score_over_models():
    values = {"clean-1": 0.1, "third": 0.2, "clean-360k": 0.9}
    rows = [
        {"series": name, "task": "t", "metric": "acc", "scores": {"e2lmc_sq": {"value": value}}}
        for name, value in values.items()
    ]
    others = [{"series": "clean-1", "task": "t", "metric": "other", "scores": {"e2lmc_sq": {"value": 5.0}}}]
    scores = scores_of(lambda rank, step: 0.5 - 0.1 * rank + 0.01 * step)
    (finding,) = found(scores, {"rows": rows + others}, 0).findings
    assert (finding.last_value, finding.last_stderr, finding.last_right) == pytest.approx((0.54, 0.001, 1.0))
    assert finding.scores == pytest.approx({"e2lmc_sq": 0.4})
    assert finding.seeds_apart == pytest.approx(0.002)


def test_the_forecast_is_of_the_held_out_loss_whatever_else_is_measured_there_or_called_so():
    """Another metric of the held-out text, and a metric of the same name on a task, say something else."""
    scores = scores_of(lambda rank, step: 0.5 - 0.1 * rank)
    odd = [
        ScoreRow(task=task, metric=metric, value=7.0, series=run, step=9, params=1e5, tokens=2e6, n=100)
        for run in RANKS
        for task, metric in ((LOSS_TASK, "another"), ("another", LOSS_METRIC))
    ]
    more = found(Scores.from_rows([*scores.rows(), *odd]), SIGNAL, seed=0)
    plain = found(scores, SIGNAL, seed=0)
    assert (more.predictors, more.early_tokens) == (plain.predictors, plain.early_tokens)
