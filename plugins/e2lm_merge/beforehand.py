"""Will the average of a run's checkpoints beat the last one? Said before it is merged, from averages scored earlier.

At a constant rate the weights wander about their path, and a loss has a part that an average of K of them takes away.
What it costs is that older checkpoints are further back. Both are read off the run itself: where an average was scored,

    spread = Σ wᵢLᵢ − L(average)        what averaging takes away from the mean loss of the checkpoints averaged
    lag    = Σ wᵢLᵢ − L(last)           what those are worse than the last one

and the gain over the last is spread − lag. The lag of a window is known without merging it; its spread is taken to be
what it was. Neither says anything of a run without averages, so nothing is promised there. Shape suffixes: R rows of a
table, K checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.interval import student_quantile
from e2lm.merge_strategy import MergeStrategy, TrajectoryMerge, parse_merge_spec
from e2lm.plugin_manager import plugin_manager
from e2lm.scaling_predictor import Forecast, LossTable, ScalingPredictor

#: Averages that must have been scored before one is forecast, and how many of the last say what comes.
FEWEST_AVERAGES, LAST_AVERAGES = 3, 5
#: Rows are of one model where its parameters, and of one checkpoint where its tokens, differ by no more.
SAME = 0.01


@dataclass(frozen=True, slots=True)
class ScoredAverage:
    """One average of a run where it was scored: at ``tokens``, with what it took away and what it cost."""

    tokens: float
    loss: float
    spread: float
    lag: float

    @property
    def gain(self) -> float:
        """How much lower its loss is than that of the run's own checkpoint there."""
        return self.spread - self.lag


@dataclass(frozen=True)
class AveragedRun:
    """A run, the losses of its checkpoints by tokens, and those of its averages by how these were made."""

    name: str
    params: float
    losses: Mapping[float, float]
    averages: Mapping[str, Mapping[float, float]]

    def weighed(self, spec: str, tokens: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights and losses of the checkpoints that an average at ``tokens`` takes."""
        strategy, parameters = _strategy(spec)
        known = [at for at in sorted(self.losses) if at <= tokens * (1 + SAME)]
        weights_K = np.array(strategy.weigh([round(at) for at in known], parameters))
        return weights_K, np.array([self.losses[at] for at in known])

    def lag(self, spec: str, tokens: float) -> float:
        """What the checkpoints of an average are worse than the last of them, by its weights."""
        weights_K, loss_K = self.weighed(spec, tokens)
        return float(weights_K @ loss_K - loss_K[-1])

    def scored(self, spec: str) -> list[ScoredAverage]:
        """Every average of this kind that was scored where it holds more than one checkpoint."""
        found = []
        for tokens, loss in sorted(self.averages[spec].items()):
            weights_K, loss_K = self.weighed(spec, tokens)
            if np.count_nonzero(weights_K) > 1:
                mean = float(weights_K @ loss_K)
                found.append(ScoredAverage(tokens, loss, mean - loss, mean - float(loss_K[-1])))
        return found


def _strategy(spec: str) -> tuple[TrajectoryMerge, dict[str, float | bool | str]]:
    name, given = parse_merge_spec(spec)
    found = plugin_manager().find("e2lm_register_merge_strategies", MergeStrategy, name, "merge strategy")
    if not isinstance(found, TrajectoryMerge):
        raise UserError(f"{spec}: {name!r} does not average along a run")
    parameters = {**found.defaults, **given}
    if float(parameters.get("min_interval", 0)):
        raise UserError(f"{spec}: min_interval counts steps, and a table of losses has tokens alone")
    return found, parameters


def averaged_runs(table: LossTable) -> list[AveragedRun]:
    """The runs of ``table`` of which it has averages too, named as ``e2lm eval --merge`` names them."""
    rows: dict[str, dict[float, float]] = {}
    params: dict[str, float] = {}
    for name, size, tokens, loss in zip(table.series_R, table.params_R, table.tokens_R, table.loss_R, strict=True):
        rows.setdefault(name, {})[float(tokens)] = float(loss)
        params[name] = float(size)
    averages: dict[str, dict[str, dict[float, float]]] = {}
    for name, losses in rows.items():
        for one in re.finditer(r"\+", name):
            run, spec = name[: one.start()], name[one.end() :]
            if run in rows:
                averages.setdefault(run, {})[spec] = losses
    return [AveragedRun(name, params[name], rows[name], found) for name, found in averages.items()]


def foretold(run: AveragedRun, spec: str, tokens: float) -> Forecast:
    """The loss of the average ``spec`` at ``tokens``, from those scored before; :class:`UserError` for too few."""
    before = [one for one in run.scored(spec) if one.tokens < tokens * (1 - SAME)][-LAST_AVERAGES:]
    if len(before) < FEWEST_AVERAGES:
        raise UserError(
            f"{run.name}: {spec} was scored at {len(before)} earlier checkpoints, and {FEWEST_AVERAGES} are needed to "
            "say beforehand what it will bring; score it now instead: e2lm eval RUN --merge"
        )
    spreads = np.array([one.spread for one in before])
    last = run.losses[min(run.losses, key=lambda at: abs(at - tokens))]
    value = last + run.lag(spec, tokens) - float(spreads.mean())
    error = float(spreads.std(ddof=1)) * np.sqrt(1 + 1 / len(spreads))
    half = float(student_quantile(len(spreads) - 1)) * error
    method = f"{spec}: its spread as at {len(spreads)} earlier checkpoints (Student's t), its lag as measured"
    return Forecast(value, value - half, value + half, method=method)


@dataclass(frozen=True, slots=True)
class AveragedLosses:
    """What is forecast of the runs of one table."""

    runs: tuple[AveragedRun, ...]

    def predict(self, params: float, tokens: float) -> Forecast:
        """The loss of the average that did best so far, at a checkpoint of the run; observed where it was scored."""
        run = self._run(params, tokens)
        spec = max(sorted(run.averages), key=lambda one: _earlier_gain(run, one, tokens))
        for at, loss in run.averages[spec].items():
            if abs(at / tokens - 1) <= SAME:
                return Forecast(loss, loss, loss, method=f"{spec}: scored")
        return foretold(run, spec, tokens)

    def _run(self, params: float, tokens: float) -> AveragedRun:
        for run in self.runs:
            here = min(abs(at / tokens - 1) for at in run.losses)
            if abs(run.params / params - 1) <= SAME and here <= SAME:
                return run
        raise UserError(
            f"N={params:.3g}, D={tokens:.3g}: no run with averages has a checkpoint there; e2lm eval RUN --merge "
            "wma:window=5 scores averages beside a run"
        )


def _earlier_gain(run: AveragedRun, spec: str, tokens: float) -> float:
    before = [one.gain for one in run.scored(spec) if one.tokens < tokens * (1 - SAME)][-LAST_AVERAGES:]
    return float(np.mean(before)) if before else -np.inf


def _fitted(table: LossTable, rng: np.random.Generator) -> AveragedLosses:
    del rng
    found = averaged_runs(table)
    if not found:
        raise UserError(
            "table: no run has averages beside it; e2lm eval RUN --merge wma:window=5 scores them, as RUN+wma:window=5"
        )
    return AveragedLosses(tuple(found))


def merge_predictor() -> ScalingPredictor:
    """The predictor behind ``predict decide --merge``."""
    return ScalingPredictor(
        "merge",
        "An average of a run's checkpoints at one of them, from averages scored earlier.",
        _fitted,
        source="spread and lag of an average: docs/merging.md",
        is_narrow=True,
    )
