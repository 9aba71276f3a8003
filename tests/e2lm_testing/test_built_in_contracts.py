"""What ships with e2lm keeps to the contracts that strangers' plugins are held to."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Any

from e2lm import (
    CheckpointFormat,
    Curriculum,
    ItemMetric,
    Judge,
    MergeStrategy,
    ScalingPredictor,
    SignalScore,
    TaskSuite,
)
from e2lm.plugin_manager import plugin_manager
from e2lm_testing import (
    CheckpointFormatContract,
    CurriculumContract,
    JudgeContract,
    MergeContract,
    MetricContract,
    PredictorContract,
    SignalScoreContract,
    TaskContract,
)
from tests.e2lm_adapters.checkpoints.layouts import GIVEN, SAMPLES

#: Hook -> type of what it registers, contract, the contract's attribute.
CONTRACTS: dict[str, tuple[type[Any], type[Any], str]] = {
    "e2lm_register_signal_scores": (SignalScore, SignalScoreContract, "signal_score"),
    "e2lm_register_metrics": (ItemMetric, MetricContract, "metric"),
    "e2lm_register_scaling_predictors": (ScalingPredictor, PredictorContract, "predictor"),
    "e2lm_register_curricula": (Curriculum, CurriculumContract, "curriculum"),
    "e2lm_register_merge_strategies": (MergeStrategy, MergeContract, "merge_strategy"),
    "e2lm_register_tasks": (TaskSuite, TaskContract, "task_suite"),
    "e2lm_register_judges": (Judge, JudgeContract, "judge"),
    "e2lm_register_checkpoint_formats": (CheckpointFormat, CheckpointFormatContract, "checkpoint_format"),
}

OURS = distribution("e2lm").name


#: One forecast of these takes half a minute on a busy core; tests/e2lm_scaling looks at their numbers.
COSTLY_FITS = ("Test_predictor_skaling", "Test_predictor_average")
#: It forecasts averages of runs in the table, and says so of any other table: tests/e2lm_merge/test_beforehand.py.
OF_AVERAGES = "Test_predictor_merge"
CHECK_OF_DRAWS = "test_its_draws_are_the_same_twice_and_as_many_for_every_model"
CHECK_OF_FITS = "test_it_forecasts_with_an_interval_or_a_reason_twice_the_same_and_changes_nothing"


def _not_asked(title: str) -> tuple[str, ...]:
    if title == OF_AVERAGES:
        return (CHECK_OF_FITS, CHECK_OF_DRAWS)
    return (CHECK_OF_FITS,) if title in COSTLY_FITS else ()


def contract_classes() -> dict[str, type[Any]]:
    """One test class per built-in object, named after it."""
    classes = {}
    for hook, (kind, contract, attribute) in CONTRACTS.items():
        for name, claims in plugin_manager().registered(hook, kind).items():
            if claims[0].plugin.distribution == OURS:
                title = f"Test_{attribute}_{name}"
                left_out = dict.fromkeys(_not_asked(title))
                more = {"sample": SAMPLES[name], "given": GIVEN.get(name, {})} if kind is CheckpointFormat else {}
                classes[title] = type(title, (contract,), {attribute: claims[0].item, **left_out, **more})
    return classes


CLASSES = contract_classes()
globals().update(CLASSES)


def test_every_kind_of_plugin_has_built_in_objects_that_are_held_to_its_contract() -> None:
    contracts = {klass.__mro__[1] for klass in CLASSES.values()}
    assert hasattr(PredictorContract, CHECK_OF_FITS)
    assert contracts == {contract for _, contract, _ in CONTRACTS.values()}
