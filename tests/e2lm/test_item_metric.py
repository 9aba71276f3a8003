"""The columns that metrics are made of; and the rule for names, which all registered objects share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2lm import Command, Curriculum, E2LMError, EvaluationModel, ItemMetric, TaskSuite
from e2lm.errors import NotFiniteError, UserError
from e2lm.item_metric import ItemChoices


@pytest.fixture
def choices() -> ItemChoices:
    lengths_IC = np.array([[1, 2, 3], [4, 5, -1]])
    return ItemChoices(
        loglik_IC=np.array([[-1.0, -2.0, -3.0], [-4.0, -5.0, np.nan]]),
        there_IC=np.array([[True, True, True], [True, True, False]]),
        bytes_IC=lengths_IC,
        chars_IC=lengths_IC,
        tokens_IC=lengths_IC,
        gold_I=np.array([2, 0]),
    )


def test_the_gold_column_is_that_of_the_true_choice(choices: ItemChoices) -> None:
    assert len(choices) == 2
    assert choices.gold_loglik_I.tolist() == [-3.0, -4.0]
    assert choices.of_gold(choices.bytes_IC.astype(float)).tolist() == [3.0, 4.0]


def test_without_gold_leaves_the_wrong_choices_and_the_original_as_it_was(choices: ItemChoices) -> None:
    before_IC = choices.loglik_IC.copy()
    wrong_IC = choices.without_gold(choices.loglik_IC)
    np.testing.assert_array_equal(wrong_IC, [[-1.0, -2.0, np.nan], [np.nan, -5.0, np.nan]])
    np.testing.assert_array_equal(choices.loglik_IC, before_IC)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("item", "choice"), [(0, 0), (0, 2), (1, 1)])
def test_choices_whose_log_likelihood_is_not_finite_are_refused(
    choices: ItemChoices, value: float, item: int, choice: int
) -> None:
    spoilt_IC = choices.loglik_IC.copy()
    spoilt_IC[item, choice] = value
    with pytest.raises(NotFiniteError, match=rf"log-likelihood of {value} \(item {item}, choice {choice}\)"):
        replace(choices, loglik_IC=spoilt_IC)


@pytest.mark.parametrize("gold", [-1, 2, 3])
def test_a_true_choice_that_the_item_does_not_have_is_refused(choices: ItemChoices, gold: int) -> None:
    with pytest.raises(UserError, match=f"item 1: choice {gold} is said to be the true one"):
        replace(choices, gold_I=np.array([0, gold]), gold_IC=None)


def marked(choices: ItemChoices, *golds: tuple[int, ...]) -> ItemChoices:
    gold_IC = np.array([[choice in own for choice in range(3)] for own in golds])
    return replace(choices, gold_I=np.array([min(own, default=-1) for own in golds]), gold_IC=gold_IC)


def test_of_several_right_choices_the_best_speaks_for_the_item_and_none_is_a_wrong_one(choices: ItemChoices) -> None:
    several = marked(choices, (1, 2), (0,))
    assert several.gold_loglik_I.tolist() == [-2.0, -4.0]
    wrong_IC = several.without_gold(several.loglik_IC)
    np.testing.assert_array_equal(wrong_IC, [[-1.0, np.nan, np.nan], [np.nan, -5.0, np.nan]])
    assert several.has_one_gold_I.tolist() == [False, True]
    assert several.choices_per_gold_I.tolist() == [1.5, 2.0]


def test_an_item_without_a_right_choice_has_no_value_of_it_and_all_its_choices_are_wrong(choices: ItemChoices) -> None:
    none = marked(choices, (2,), ())
    np.testing.assert_array_equal(none.gold_loglik_I, [-3.0, np.nan])
    np.testing.assert_array_equal(none.without_gold(none.loglik_IC)[1], [-4.0, -5.0, np.nan])


@pytest.mark.parametrize(("gold", "golds"), [(0, (1, 2)), (1, ()), (-1, (0,)), (1, (1, 2))])
def test_right_choices_that_contradict_each_other_or_are_padding_are_refused(
    choices: ItemChoices, gold: int, golds: tuple[int, ...]
) -> None:
    gold_IC = np.array([[True, False, False], [choice in golds for choice in range(3)]])
    with pytest.raises(UserError, match="item 1: choice"):
        replace(choices, gold_I=np.array([0, gold]), gold_IC=gold_IC)


def test_a_metric_of_one_right_choice_is_not_asked_about_other_items(choices: ItemChoices) -> None:
    asked: list[int] = []

    def first_gold(one: ItemChoices) -> np.ndarray:
        asked.append(len(one))
        return one.gold_I.astype(float)

    mixed = marked(choices, (0, 1), (1,))
    plain = ItemMetric("first", "d", first_gold, chance=lambda n: 1.0 / n)
    np.testing.assert_array_equal(plain.values(mixed), [np.nan, 1.0])
    assert asked == [1]
    assert plain.counted_values(mixed).tolist() == [1.0]
    assert plain.guessed(mixed) == 0.5
    knowing = replace(plain, any_golds=True)
    assert knowing.values(mixed).tolist() == [0.0, 1.0]
    assert knowing.guessed(mixed) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert knowing.guessed(marked(choices, (), (1,))) == pytest.approx((0 + 1 / 2) / 2)


@pytest.mark.parametrize("name", ["", "Upper", "with space", "-first", "ümlaut", "a/b", None, 3])
def test_a_name_against_the_rule_is_refused_for_every_kind(name: str, tmp_path: Path) -> None:
    makers = [
        lambda: ItemMetric(name, "d", lambda c: c.gold_loglik_I),
        lambda: Command(name, "d", lambda p: None, lambda a: 0),
        lambda: Curriculum(name, "d", lambda s, b, r: None),  # type: ignore[arg-type,return-value]
        lambda: EvaluationModel(name, "module:Class", "d"),
        lambda: TaskSuite(name, tmp_path, "d"),
    ]
    for make in makers:
        with pytest.raises(E2LMError, match="is not allowed: use lower-case letters"):
            make()


@pytest.mark.parametrize("target", ["module", "module:", ":Class", ""])
def test_the_target_of_a_model_must_name_module_and_class(target: str) -> None:
    with pytest.raises(E2LMError, match="is not of the form 'module:Class'"):
        EvaluationModel("model", target, "d")


def test_a_task_suite_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(E2LMError, match="does not exist"):
        TaskSuite("suite", tmp_path / "nowhere", "d")
