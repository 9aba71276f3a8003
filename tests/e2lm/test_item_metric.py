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
        replace(choices, gold_I=np.array([0, gold]))


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
