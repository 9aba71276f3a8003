"""What authors of plugins test with: a contract per kind of plugin, and fixtures in ``e2lm_testing.pytest_plugin``.

Subclass a contract, set its one attribute, and pytest runs the checks::

    from e2lm_testing import SignalScoreContract

    class TestGain(SignalScoreContract):
        signal_score = "gain"
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2lm_testing.checkpoint_format_contract import CheckpointFormatContract as CheckpointFormatContract
    from e2lm_testing.curriculum_contract import CurriculumContract as CurriculumContract
    from e2lm_testing.judge_contract import JudgeContract as JudgeContract
    from e2lm_testing.merge_contract import MergeContract as MergeContract
    from e2lm_testing.metric_contract import MetricContract as MetricContract
    from e2lm_testing.predictor_contract import PredictorContract as PredictorContract
    from e2lm_testing.result_format_contract import ResultFormatContract as ResultFormatContract
    from e2lm_testing.signal_score_contract import SignalScoreContract as SignalScoreContract
    from e2lm_testing.task_contract import TaskContract as TaskContract
    from e2lm_testing.verb_contract import VerbContract as VerbContract

_HOME_OF_NAME = {
    "CheckpointFormatContract": "e2lm_testing.checkpoint_format_contract",
    "CurriculumContract": "e2lm_testing.curriculum_contract",
    "JudgeContract": "e2lm_testing.judge_contract",
    "MergeContract": "e2lm_testing.merge_contract",
    "MetricContract": "e2lm_testing.metric_contract",
    "PredictorContract": "e2lm_testing.predictor_contract",
    "ResultFormatContract": "e2lm_testing.result_format_contract",
    "SignalScoreContract": "e2lm_testing.signal_score_contract",
    "TaskContract": "e2lm_testing.task_contract",
    "VerbContract": "e2lm_testing.verb_contract",
}

__all__ = [
    "CheckpointFormatContract",
    "CurriculumContract",
    "JudgeContract",
    "MergeContract",
    "MetricContract",
    "PredictorContract",
    "ResultFormatContract",
    "SignalScoreContract",
    "TaskContract",
    "VerbContract",
]

# What an assertion of a contract compared is shown as in tests of one's own.
pytest.register_assert_rewrite("e2lm_testing.contract", *_HOME_OF_NAME.values())


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF_NAME:
        raise AttributeError(f"module 'e2lm_testing' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF_NAME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
