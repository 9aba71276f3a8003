"""Which way a metric is better is what its file says, then what it is registered as, then what such names mean."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from e2lm import ItemMetric, UserError
from e2lm.results.direction import Directions, direction_of_name

LOSSES = (
    *("eval_loss", "val_loss", "c4_loss", "CrossEntropyLoss", "cross_entropy", "wer", "ter", "ppl_token", "loss"),
    *("eval/c4_en-validation/CrossEntropyLoss", "bits_per_byte_corr", "bpb", "word_perplexity", "brier_score", "nll"),
    *("pct_stereotype", "amb_bias_score_Age", "my_error_rate", "mean_gold_loss", "trainLoss", "RMSE"),
)
GAINS = ("acc", "acc_norm", "exact_match", "f1", "rougeL_acc", "loss_acc", "norm_correct_prob", "gold_loglik", "pass@1")


@pytest.mark.parametrize("name", LOSSES)
def test_less_is_better_of_losses_and_errors_whatever_they_are_called(name: str) -> None:
    assert direction_of_name(name) is False


@pytest.mark.parametrize("name", GAINS)
def test_more_is_better_of_accuracies_and_probabilities(name: str) -> None:
    assert direction_of_name(name) is True


def test_every_metric_of_lm_evals_tasks_of_which_less_is_better_is_known_by_its_name() -> None:
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    told = re.compile(r"metric: *[\"']?(\w+)[\"']?\s*\n(?:\s+\w+:[^\n]*\n)*?\s+higher_is_better: *[fF]alse")
    names: set[str] = set()
    for file in (Path(spec.origin).parent / "tasks").rglob("*.yaml"):
        names |= set(told.findall(file.read_text("utf-8")))
    # One task calls a loss "score"; only its own file can tell.
    unknown = {name for name in names if direction_of_name(name) is not False}
    assert len(names) > 30
    assert unknown <= {"score"}


def test_the_user_goes_before_the_file_and_the_file_before_names() -> None:
    ways = Directions({("tox", "brier"): False, ("odd", "acc"): False}, (), lower=("mystery",), higher=("wer*",))
    assert ways.known("tox", "brier,none") is False
    assert ways.known("odd", "acc") is False
    assert ways.known("even", "acc") is True
    assert ways.known("tox", "mystery") is False
    assert ways.known("tox", "wer") is True
    assert ways.known("tox", "other") is None
    assert ways.is_higher_better("tox", "other")


def test_a_registered_metric_goes_before_its_name() -> None:
    loss = ItemMetric("accuracy_of_losing", "Less is better.", lambda one: one.gold_loglik_I, higher_is_better=False)
    assert Directions({}, (loss,)).known("t", "accuracy_of_losing") is False


def test_names_that_fit_nothing_or_both_are_refused() -> None:
    with pytest.raises(UserError, match=r"--lower: no metric 'los' in the scores. Did you mean 'loss'"):
        Directions(lower=("los",)).checked(["loss"])
    with pytest.raises(UserError, match="both name metric 'loss'"):
        Directions(lower=("loss",), higher=("l*",)).checked(["loss"])
