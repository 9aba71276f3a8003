"""The hooks that plugins implement. Three kinds, stated in the first word of each docstring.

*Register* hooks return an iterable of typed, frozen objects and are called once per process, one implementation at a
time: if one raises, that plugin is marked as failed and the others go on. *Notify* hooks return nothing; if one
raises, a warning names the plugin and work goes on. An implementation may leave out arguments it does not need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from e2lm.checkpoint import Checkpoint
    from e2lm.checkpoint_format import CheckpointFormat
    from e2lm.command import Command
    from e2lm.curriculum import Curriculum
    from e2lm.evaluation_model import EvaluationModel
    from e2lm.item_metric import ItemMetric
    from e2lm.judge import Judge
    from e2lm.merge_strategy import MergeStrategy
    from e2lm.results.result_format import ResultFormat
    from e2lm.scaling_predictor import ScalingPredictor
    from e2lm.scores import Scores
    from e2lm.series import Series
    from e2lm.signal_score import SignalScore
    from e2lm.task_suite import TaskSuite
    from e2lm.verb import Verb
    from e2lm.verdict import RunVerdict

#: Raised by one when a hook is removed or an argument changes its meaning; new optional arguments do not raise it.
HOOK_API = 1
#: The oldest that is understood still, and the release of e2lm that brought each.
OLDEST_HOOK_API = 1
RELEASE_OF = {1: "0.1"}
PROJECT = "e2lm"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def e2lm_register_tasks() -> Iterable[TaskSuite]:
    """Register folders of lm-eval tasks. Called when lm-eval builds its task index.

    >>> from pathlib import Path
    >>> from e2lm import TaskSuite, hookimpl
    >>> @hookimpl
    ... def e2lm_register_tasks():
    ...     return [TaskSuite("my-tasks", Path("."), "Tasks about my field.")]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_models() -> Iterable[EvaluationModel]:
    """Register classes for ``lm_eval run --model NAME``. Called when lm-eval fills its model registry.

    >>> from e2lm import EvaluationModel, hookimpl
    >>> @hookimpl
    ... def e2lm_register_models():
    ...     return [EvaluationModel("my-model", "my_package.my_module:MyModel", "My model.")]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_metrics() -> Iterable[ItemMetric]:
    """Register per-item metrics of multiple-choice tasks. Called when Samples become Scores.

    A metric is computed from stored log-likelihoods, so adding one never means evaluating again; tasks of our base
    class report it inside lm-eval too.

    >>> from e2lm import ItemMetric, hookimpl
    >>> @hookimpl
    ... def e2lm_register_metrics():
    ...     return [ItemMetric("gold_loglik", "Log-likelihood of the true choice.", lambda c: c.gold_loglik_I)]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_curricula() -> Iterable[Curriculum]:
    """Register orders of training examples. Called by ``e2lm train``.

    >>> from e2lm import Curriculum, hookimpl
    >>> from e2lm.curriculum import Plan
    >>> @hookimpl
    ... def e2lm_register_curricula():
    ...     def plan(scores_X, budget, rng):
    ...         return Plan(rng.integers(len(scores_X), size=(budget.steps, budget.batch_size)))
    ...     return [Curriculum("with-replacement", "Every example drawn uniformly.", plan)]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_merge_strategies() -> Iterable[MergeStrategy]:
    """Register ways to merge the tensors of several models. Called by ``e2lm merge``.

    >>> from e2lm import MergeStrategy, hookimpl
    >>> @hookimpl
    ... def e2lm_register_merge_strategies():
    ...     return [MergeStrategy("first", "The first model as it is.", lambda group: group.tensors[0])]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_scaling_predictors() -> Iterable[ScalingPredictor]:
    """Register ways to forecast a big run from small ones. Called by ``e2lm predict`` and ``e2lm demo``.

    Every action of ``predict`` takes one by its name and prints the interval that it gives; ``curve`` and ``translate``
    take only those that declare it. e2lm's own laws and baselines come the same way.

    >>> from e2lm import Forecast, ScalingPredictor, hookimpl
    >>> class Best:
    ...     def __init__(self, table):
    ...         self.loss = float(table.loss_R.min())
    ...     def predict(self, params, tokens):
    ...         return Forecast(self.loss, reason="a constant has no interval")
    >>> @hookimpl
    ... def e2lm_register_scaling_predictors():
    ...     return [ScalingPredictor("best-so-far", "The lowest loss seen.", lambda table, rng: Best(table))]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_signal_scores() -> Iterable[SignalScore]:
    """Register scores of early signal. Called by ``e2lm signal`` and by the leaderboard.

    >>> from e2lm import ScoreValue, SignalScore, hookimpl
    >>> @hookimpl
    ... def e2lm_register_signal_scores():
    ...     gain = lambda curve, rng: ScoreValue(float(curve.values_K[-1] - curve.values_K[0]))
    ...     return [SignalScore("gain", "Last value minus first.", gain)]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_judges() -> Iterable[Judge]:
    """Register judges of what benchmark items are about. Called by the leaderboard.

    >>> from e2lm import Judge, hookimpl
    >>> @hookimpl
    ... def e2lm_register_judges():
    ...     return [Judge("atoms", "Speaks of atoms.", lambda texts: [float("atom" in text) for text in texts])]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_checkpoint_formats() -> Iterable[CheckpointFormat]:
    """Register layouts that trainers leave. Called by ``e2lm checkpoints`` and ``e2lm eval`` for a run's folder.

    Each place in a run is shown to every format; one that can be read goes before one that needs a converter.

    >>> from e2lm import CheckpointFormat, hookimpl
    >>> from e2lm.checkpoint_format import FoundCheckpoint
    >>> def look(place):
    ...     file = place / "weights.npz"
    ...     return FoundCheckpoint((file,), convert=f"my-convert {place}") if file.is_file() else None
    >>> @hookimpl
    ... def e2lm_register_checkpoint_formats():
    ...     return [CheckpointFormat("my-trainer", "What my trainer leaves.", look)]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_result_formats() -> Iterable[ResultFormat]:
    """Register files of results that a program writes. Called by whatever reads results that are not ours.

    A file is shown to the formats of plugins before ours, by its name, and read by the first that knows it.

    >>> from e2lm import ResultFormat, hookimpl
    >>> from e2lm.results.result import TaskResult
    >>> from e2lm.scores import ScoreRow
    >>> def read(file):
    ...     if not isinstance(file.data, dict) or "my_accuracy" not in file.data:
    ...         return None
    ...     row = ScoreRow("run", file.data["step"], "arc", "acc", file.data["my_accuracy"])
    ...     return [TaskResult((row,), "arc", "run", row.step, file.path, about={"shots": "5"})]
    >>> @hookimpl
    ... def e2lm_register_result_formats():
    ...     return [ResultFormat("my-harness", "Results of my harness.", read, patterns=("mine-*.json",))]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_commands() -> Iterable[Command]:
    """Register sub-commands of ``e2lm``. Called once at the start of the command.

    >>> from e2lm import Command, hookimpl
    >>> @hookimpl
    ... def e2lm_register_commands():
    ...     return [Command("hello", "Say hello.", lambda parser: None, lambda arguments: print("hello") or 0)]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_register_verbs() -> Iterable[Verb]:
    """Register what one can do from Python. Called when a verb is looked up or listed.

    >>> from e2lm import Verb, hookimpl
    >>> @hookimpl
    ... def e2lm_register_verbs():
    ...     return [Verb("total", "(numbers, /)", "The sum, rounded once.", "math:fsum")]

    .. versionadded:: 0.1
    """
    raise AssertionError("a specification is never called")


@hookspec
def e2lm_before_series_scored(series: Series, tasks: list[str]) -> None:
    """Notify that the evaluation of ``series`` on ``tasks`` starts. Called once per series.

    .. versionadded:: 0.1
    """


@hookspec
def e2lm_after_checkpoint_scored(series: Series, checkpoint: Checkpoint, scores: Scores) -> None:
    """Notify that ``checkpoint`` has been scored; ``scores`` holds its rows only. Called once per checkpoint.

    >>> from e2lm import hookimpl
    >>> @hookimpl
    ... def e2lm_after_checkpoint_scored(checkpoint, scores):
    ...     print(checkpoint.step, len(scores))

    .. versionadded:: 0.1
    """


@hookspec
def e2lm_after_series_scored(series: Series, scores: Scores) -> None:
    """Notify that every checkpoint of ``series`` has been scored. Called once per series.

    .. versionadded:: 0.1
    """


@hookspec
def e2lm_on_verdict(verdict: RunVerdict) -> None:
    """Notify that a rule of ``e2lm watch`` holds: a stop or an alert. Called once per verdict, after it is on disk.

    >>> from e2lm import hookimpl
    >>> @hookimpl
    ... def e2lm_on_verdict(verdict):
    ...     print(verdict.state, verdict.series, verdict.rule)

    .. versionadded:: 0.1
    """
