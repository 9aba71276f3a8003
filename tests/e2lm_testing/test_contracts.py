"""A contract is worth what it catches: each of these objects breaks one promise, and is caught at it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2lm import (
    Curriculum,
    E2LMError,
    Forecast,
    ItemMetric,
    Judge,
    MergeStrategy,
    ScalingPredictor,
    ScoreValue,
    SeriesRoles,
    SignalScore,
    TaskSuite,
    UserError,
    Verb,
    hookimpl,
)
from e2lm.curriculum import Plan
from e2lm.merge_strategy import Combination
from e2lm_testing import (
    CurriculumContract,
    JudgeContract,
    MergeContract,
    MetricContract,
    PredictorContract,
    SignalScoreContract,
    TaskContract,
    VerbContract,
)
from e2lm_testing import contract as contract_module


def broken_checks(contract: type[Any], attribute: str, thing: object, **parameters: str) -> set[str]:
    """The checks of ``contract`` that ``thing`` fails; checks with a parameter run for the given value of it."""
    subject = type("TestThing", (contract,), {attribute: thing})()
    failed = set()
    for name in (name for name in dir(contract) if name.startswith("test_")):
        check = getattr(subject, name)
        wanted = check.__code__.co_varnames[1 : check.__code__.co_argcount]
        if not set(wanted) <= set(parameters):
            continue
        try:
            check(**{one: parameters[one] for one in wanted})
        except pytest.skip.Exception:
            raise
        except Exception:
            failed.add(name)
    return failed


def score_that(action: Callable[[Any, Any], ScoreValue], description: str = "A score.") -> SignalScore:
    return SignalScore("thing", description, action)


def last(curve: Any) -> float:
    return float(curve.values_K[-1])


def write_into(curve: Any) -> ScoreValue:
    curve.values_K.flags.writeable = True
    curve.values_K[0] = 7.0
    return ScoreValue(1.0)


BAD_SCORES = {
    "no description": (score_that(lambda c, rng: ScoreValue(1.0), ""), "test_it_says_what_it_is"),
    "a bare number": (score_that(lambda c, rng: 1.0), "test_its_value_can_be_believed"),  # type: ignore[arg-type,return-value]
    "None without a reason": (score_that(lambda c, rng: ScoreValue(None)), "test_its_value_can_be_believed"),
    "an interval upside down": (
        score_that(lambda c, rng: ScoreValue(1.0, low=2.0, high=0.0)),
        "test_its_value_can_be_believed",
    ),
    "a p-value of 2": (score_that(lambda c, rng: ScoreValue(1.0, p=2.0)), "test_its_value_can_be_believed"),
    "Python's own randomness": (
        score_that(lambda c, rng: ScoreValue(random.random())),
        "test_the_same_input_and_seed_give_the_same_value",
    ),
    "a seed for everybody": (
        score_that(lambda c, rng: np.random.seed(0) or ScoreValue(1.0)),  # type: ignore[func-returns-value]
        "test_it_draws_only_from_the_generator_it_is_given",
    ),
    "writing into its input": (score_that(lambda c, rng: write_into(c)), "test_it_leaves_its_input_as_it_was"),
}


@pytest.mark.parametrize("fault", BAD_SCORES)
def test_a_signal_score_is_caught_at(fault: str) -> None:
    score, check = BAD_SCORES[fault]
    assert check in broken_checks(SignalScoreContract, "signal_score", score)


def test_a_signal_score_that_cannot_take_one_checkpoint_is_caught() -> None:
    score = score_that(lambda curve, rng: ScoreValue(float(curve.values_K[1])))
    (check,) = broken_checks(SignalScoreContract, "signal_score", score, fault="one checkpoint")
    assert check == "test_a_degenerate_curve_gets_a_value_or_a_reason"


def test_a_signal_score_that_is_another_under_roles_is_caught() -> None:
    good = score_that(lambda curve, rng: ScoreValue(1.0, reason="a constant"))
    other = SignalScore("other", "Another.", good.score)
    for under in (lambda roles: other, lambda roles: 1.0):
        score = SignalScore("thing", "A score.", good.score, under=under)  # type: ignore[arg-type]
        assert broken_checks(SignalScoreContract, "signal_score", score, roles=SeriesRoles()) == {  # type: ignore[arg-type]
            "test_under_roles_it_is_the_same_score_of_other_curves"
        }


def test_a_good_signal_score_of_a_curve_and_one_of_a_family_break_nothing() -> None:
    good = score_that(lambda curve, rng: ScoreValue(last(curve), reason="no interval"))
    assert broken_checks(SignalScoreContract, "signal_score", good, fault="one checkpoint") == set()
    family = SignalScore("thing", "Mean.", lambda c, rng: ScoreValue(float(np.mean([*map(last, c)]))), scope="family")
    assert broken_checks(SignalScoreContract, "signal_score", family, fault="a constant") == set()


@pytest.mark.parametrize(
    ("per_item", "check"),
    [
        (lambda c: c.gold_loglik_I.mean(), "test_it_gives_one_finite_number_per_item"),
        (lambda c: c.gold_loglik_I - c.gold_loglik_I.mean(), "test_an_item_has_the_same_value_alone_as_among_others"),
        (lambda c: c.gold_loglik_I + random.random(), "test_it_draws_from_nothing_and_changes_nothing"),
        (lambda c: c.gold_loglik_I if len(c) > 0 else None, "test_no_item_gives_no_number"),
    ],
)
def test_a_metric_is_caught(per_item: Any, check: str) -> None:
    assert check in broken_checks(MetricContract, "metric", ItemMetric("thing", "A metric.", per_item))
    good = ItemMetric("thing", "Log-likelihood.", lambda c: c.gold_loglik_I)
    assert broken_checks(MetricContract, "metric", good) == set()


def wavering(texts: Any) -> list[float]:
    return [random.random() for _ in texts]


BAD_JUDGES = {
    "a number too few": (lambda texts: [0.5] * (len(texts) - 1), "test_it_gives_one_number_between_0_and_1_per_text"),
    "a percentage": (lambda texts: [50.0 for _ in texts], "test_it_gives_one_number_between_0_and_1_per_text"),
    "NaN": (lambda texts: [float("nan") for _ in texts], "test_it_gives_one_number_between_0_and_1_per_text"),
    "a word": (lambda texts: ["0.5" for _ in texts], "test_it_gives_one_number_between_0_and_1_per_text"),
    "a share of no words": (lambda texts: [1 / len(text.split()) for text in texts], "test_an_odd_text_gets_a_number"),
    "its mood": (wavering, "test_the_same_texts_get_the_same_numbers"),
    "ranks": (
        lambda texts: [sorted(texts).index(text) / len(texts) for text in texts],
        "test_a_text_is_judged_alike_alone_and_in_any_order",
    ),
    "sorting its input": (
        lambda texts: [0.5 for _ in (texts.sort() if isinstance(texts, list) else None, *texts)][1:],
        "test_it_leaves_the_texts_as_they_were",
    ),
}


@pytest.mark.parametrize("fault", BAD_JUDGES)
def test_a_judge_is_caught_at(fault: str) -> None:
    judge, check = BAD_JUDGES[fault]
    assert check in broken_checks(JudgeContract, "judge", Judge("thing", "A judge.", judge), oddity="white space")


A_FUNCTION = "test_its_target_is_a_function_that_says_what_it_does"
ITS_PARAMETERS = "test_its_signature_has_the_parameters_of_its_target"
BAD_VERBS = {
    "another name of a parameter": ("(text, *, width)", "textwrap:dedent", ITS_PARAMETERS),
    "a star that is missing": ("(text, width, kwargs)", "textwrap:wrap", ITS_PARAMETERS),
    "no function": ("()", "math:pi", A_FUNCTION),
    "no such function": ("()", "math:tau_", A_FUNCTION),
    "no docstring": ("(action, description)", f"{__name__}:score_that", A_FUNCTION),
}


@pytest.mark.parametrize("fault", BAD_VERBS)
def test_a_verb_is_caught_at(fault: str) -> None:
    signature, target, check = BAD_VERBS[fault]
    assert check in broken_checks(VerbContract, "verb", Verb("thing", signature, "A verb.", target))


def test_a_good_verb_breaks_nothing() -> None:
    good = Verb("thing", "(text, width=70, **kwargs)", "Wrapped lines.", "textwrap:wrap")
    assert broken_checks(VerbContract, "verb", good) == set()
    assert broken_checks(VerbContract, "verb", Verb("thing", good.signature, "Two\nlines.", good.target)) == {
        "test_it_says_what_it_is"
    }


def test_a_good_judge_breaks_nothing_and_one_without_its_service_is_skipped() -> None:
    good = Judge("thing", "Speaks of energy.", lambda texts: [float("energy" in text) for text in texts])
    assert broken_checks(JudgeContract, "judge", good, oddity="nothing") == set()

    def refuse(texts: Any) -> list[float]:
        raise UserError("no service; set ITS_URL")

    subject = type("TestThing", (JudgeContract,), {"judge": Judge("thing", "Asks.", refuse)})()
    with pytest.raises(pytest.skip.Exception, match="set ITS_URL"):
        subject.test_no_text_gives_no_number()


class Constant:
    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast

    def predict(self, params: float, tokens: float) -> Forecast:
        return self.forecast


@pytest.mark.parametrize(
    "forecast", [Forecast(3.0), Forecast(float("nan"), reason="r"), Forecast(-1.0, reason="r"), Forecast(3.0, 4.0, 5.0)]
)
def test_a_predictor_with_an_impossible_forecast_is_caught(forecast: Forecast) -> None:
    predictor = ScalingPredictor("thing", "A constant.", lambda table, rng: Constant(forecast))
    assert broken_checks(PredictorContract, "predictor", predictor)


def test_a_predictor_that_cannot_take_an_empty_table_is_caught_and_one_that_refuses_it_is_not() -> None:
    def careless(table: Any, rng: Any) -> Constant:
        return Constant(Forecast(float(table.loss_R.min()), reason="a constant"))

    def careful(table: Any, rng: Any) -> Constant:
        if not len(table.loss_R):
            raise UserError("table: no rows; give one")
        return careless(table, rng)

    bad, good = (ScalingPredictor("thing", "Lowest loss.", fit) for fit in (careless, careful))
    assert broken_checks(PredictorContract, "predictor", bad, fault="no row") == {
        "test_a_degenerate_table_gets_a_forecast_or_a_refusal_of_one_line"
    }
    assert broken_checks(PredictorContract, "predictor", good, fault="no row") == set()


@pytest.mark.parametrize(
    "plan",
    [
        lambda scores_X, budget, rng: Plan(np.zeros((1, 1), dtype=int)),
        lambda scores_X, budget, rng: Plan(np.full((budget.steps, budget.batch_size), len(scores_X))),
        lambda scores_X, budget, rng: Plan(np.zeros((budget.steps, budget.batch_size))),
        lambda scores_X, budget, rng: Plan(np.random.randint(9, size=(budget.steps, budget.batch_size))),
        lambda scores_X, budget, rng: scores_X.sort() or Plan(np.zeros((budget.steps, budget.batch_size), int)),
        lambda scores_X, budget, rng: np.zeros((budget.steps, budget.batch_size), int),
    ],
)
def test_a_curriculum_is_caught(plan: Any) -> None:
    assert broken_checks(CurriculumContract, "curriculum", Curriculum("thing", "An order.", plan))


def test_a_good_curriculum_breaks_nothing() -> None:
    good = Curriculum(
        "thing", "Any.", lambda scores_X, b, rng: Plan(rng.integers(len(scores_X), size=(b.steps, b.batch_size)))
    )
    assert broken_checks(CurriculumContract, "curriculum", good, fault="one example") == set()


def halves(group: Any) -> Any:
    return group.tensors[0].half()[:1]


def unseeded(group: Any) -> Any:
    import torch

    return group.tensors[0] + torch.randn(group.tensors[0].shape)


def greedy_parameters(group: Any) -> Any:
    group.parameters["seen"] = True
    return group.tensors[0]


def by_the_spread(group: Any) -> Any:
    return group.tensors[0] / (group.tensors[0] - group.tensors[1])


@pytest.mark.parametrize("merge", [halves, unseeded, greedy_parameters, lambda group: 1.0])
def test_a_merge_strategy_is_caught(merge: Any) -> None:
    strategy = MergeStrategy("thing", "A merge.", merge)
    assert broken_checks(MergeContract, "merge_strategy", strategy, kind="a matrix")


def test_a_merge_strategy_that_divides_by_nothing_is_caught_only_where_there_is_nothing() -> None:
    strategy = MergeStrategy("thing", "A merge.", by_the_spread, inputs=(2, None))
    assert broken_checks(MergeContract, "merge_strategy", strategy, kind="a matrix") == set()
    assert broken_checks(MergeContract, "merge_strategy", strategy, values="all models alike") == {
        "test_degenerate_tensors_give_finite_numbers_or_a_refusal_of_one_line"
    }


def test_a_combination_with_a_coefficient_too_few_is_caught() -> None:
    strategy = MergeStrategy("thing", "A sum.", combine=lambda group, products: Combination((1.0,)), scope="sum")
    assert broken_checks(MergeContract, "merge_strategy", strategy, kind="a matrix")


TASK = """\
task: {task}
class: !function e2lm_tasks.multiple_choice.MultipleChoice
output_type: multiple_choice
test_split: test
dataset_kwargs: {{data_files: items.jsonl}}
doc_to_text: text
doc_to_choice: choices
doc_to_target: gold
"""


@pytest.mark.parametrize(
    ("item", "caught"),
    [
        ('{"text": "The sky is", "choices": ["blue", "green"], "gold": 0}', False),
        ('{"text": "The sky is", "choices": ["blue", "blue"], "gold": 0}', True),
        ('{"text": "The sky is", "choices": ["blue", "green"], "gold": 5}', True),
    ],
)
def test_a_task_suite_is_caught_at_choices_that_are_none(item: str, caught: bool, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(TASK.format(task="kit_one"), encoding="utf-8")
    (tmp_path / "items.jsonl").write_text(item + "\n", encoding="utf-8")
    suite = TaskSuite("thing", tmp_path, "A suite.")
    assert bool(broken_checks(TaskContract, "task_suite", suite)) == caught


def test_an_empty_task_suite_is_caught_and_one_without_data_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    subject = type("TestThing", (TaskContract,), {"task_suite": TaskSuite("thing", tmp_path / "empty", "Empty.")})()
    with pytest.raises(AssertionError, match="no task in"):
        subject.test_lm_eval_finds_tasks_in_its_folder()
    (tmp_path / "one.yaml").write_text(TASK.format(task="kit_two"), encoding="utf-8")
    subject = type("TestThing", (TaskContract,), {"task_suite": TaskSuite("thing", tmp_path, "No data.")})()
    with pytest.raises(pytest.skip.Exception, match=r"for any of 1 tasks; .*items\.jsonl"):
        subject.test_every_task_has_items_and_every_item_a_request()


def test_a_name_stands_for_the_installed_object_and_an_unknown_one_offers_the_nearest() -> None:
    class TestOfficial(SignalScoreContract):
        signal_score = "e2lmc_sq"

    assert TestOfficial()._score.name == "e2lmc_sq"

    class TestMisspelt(SignalScoreContract):
        signal_score = "e2lmc_qs"

    with pytest.raises(UserError, match=r"unknown signal score 'e2lmc_qs'\. Did you mean"):
        TestMisspelt().test_it_says_what_it_is()

    class TestWrong(SignalScoreContract):
        signal_score = 7  # type: ignore[assignment]

    with pytest.raises(E2LMError, match="set its attribute to a signal score"):
        TestWrong().test_it_says_what_it_is()


@pytest.mark.parametrize("text", ["", "first\nsecond"])
def test_a_refusal_that_is_not_one_line_is_caught(text: str) -> None:
    def refuse() -> None:
        raise UserError(text)

    with pytest.raises(AssertionError):
        contract_module.outcome(refuse)


def test_the_manager_fixture_holds_nothing_until_a_plugin_is_registered(plugin_manager) -> None:
    from e2lm.plugin_manager import PluginRecord

    class Mine:
        @hookimpl
        def e2lm_register_metrics(self):
            return [ItemMetric("mine", "Mine.", lambda c: c.gold_loglik_I)]

    assert plugin_manager.records == []
    plugin_manager.register(Mine(), PluginRecord("mine", "mine", "1"))
    assert set(plugin_manager.registered("e2lm_register_metrics", ItemMetric)) == {"mine"}


def test_what_pytest_loads_at_its_start_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = ("numpy", "torch", "pydantic", "pandas", "transformers")
    code = f"import sys, e2lm_testing.pytest_plugin\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
