"""e2lm: which of these runs, recipes or benchmarks will win, and how early can one know it?

Importing this package costs a few milliseconds: every public name below is loaded when it is first used, so neither
torch nor pydantic is imported before something needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2lm.checkpoint import Checkpoint as Checkpoint
    from e2lm.checkpoint_format import CheckpointFormat as CheckpointFormat
    from e2lm.command import Command as Command
    from e2lm.curriculum import Curriculum as Curriculum
    from e2lm.errors import E2LMError as E2LMError
    from e2lm.errors import UserError as UserError
    from e2lm.evaluation_model import EvaluationModel as EvaluationModel
    from e2lm.hookspecs import HOOK_API as HOOK_API
    from e2lm.hookspecs import hookimpl as hookimpl
    from e2lm.item_metric import ItemMetric as ItemMetric
    from e2lm.judge import Judge as Judge
    from e2lm.merge_strategy import MergeStrategy as MergeStrategy
    from e2lm.results.result_format import ResultFormat as ResultFormat
    from e2lm.samples import Samples as Samples
    from e2lm.scaling_predictor import Forecast as Forecast
    from e2lm.scaling_predictor import ScalingPredictor as ScalingPredictor
    from e2lm.scores import Scores as Scores
    from e2lm.series import Series as Series
    from e2lm.signal_score import Curve as Curve
    from e2lm.signal_score import ScoreValue as ScoreValue
    from e2lm.signal_score import SeriesRoles as SeriesRoles
    from e2lm.signal_score import SignalScore as SignalScore
    from e2lm.task_suite import TaskSuite as TaskSuite
    from e2lm.verb import Verb as Verb

__version__ = "0.1.0"

_HOME_OF_NAME = {
    "Checkpoint": "e2lm.checkpoint",
    "CheckpointFormat": "e2lm.checkpoint_format",
    "Command": "e2lm.command",
    "Curriculum": "e2lm.curriculum",
    "Curve": "e2lm.signal_score",
    "E2LMError": "e2lm.errors",
    "EvaluationModel": "e2lm.evaluation_model",
    "Forecast": "e2lm.scaling_predictor",
    "HOOK_API": "e2lm.hookspecs",
    "ItemMetric": "e2lm.item_metric",
    "Judge": "e2lm.judge",
    "MergeStrategy": "e2lm.merge_strategy",
    "ResultFormat": "e2lm.results.result_format",
    "Samples": "e2lm.samples",
    "ScalingPredictor": "e2lm.scaling_predictor",
    "ScoreValue": "e2lm.signal_score",
    "Scores": "e2lm.scores",
    "Series": "e2lm.series",
    "SeriesRoles": "e2lm.signal_score",
    "SignalScore": "e2lm.signal_score",
    "TaskSuite": "e2lm.task_suite",
    "UserError": "e2lm.errors",
    "Verb": "e2lm.verb",
    "hookimpl": "e2lm.hookspecs",
}

__all__ = [
    "HOOK_API",
    "Checkpoint",
    "CheckpointFormat",
    "Command",
    "Curriculum",
    "Curve",
    "E2LMError",
    "EvaluationModel",
    "Forecast",
    "ItemMetric",
    "Judge",
    "MergeStrategy",
    "ResultFormat",
    "Samples",
    "ScalingPredictor",
    "ScoreValue",
    "Scores",
    "Series",
    "SeriesRoles",
    "SignalScore",
    "TaskSuite",
    "UserError",
    "Verb",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF_NAME:
        return getattr(import_module(_HOME_OF_NAME[name]), name)
    found = _verbs().get(name) if _may_be_verb(name) else None
    if found is None:
        raise AttributeError(f"module 'e2lm' has no attribute {name!r}")
    return found


def _may_be_verb(name: str) -> bool:
    """Whether plugins are to be asked for ``name``: it is public, and no module of ours."""
    from importlib.util import find_spec

    return name.isidentifier() and not name.startswith("_") and find_spec(f"e2lm.{name}") is None


def _verbs() -> dict[str, Any]:
    """What one can do, by name: ``e2lm.signal(...)``; plugins bring it (``e2lm_register_verbs``)."""
    found: dict[str, Any] = import_module("e2lm.plugin_manager").plugin_manager().verbs()
    return found


def __dir__() -> list[str]:
    return [*__all__, *_verbs()]
