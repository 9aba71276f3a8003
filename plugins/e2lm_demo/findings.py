"""What the demo found: which task and metric told the better recipe from the worse one, and how early.

Shape suffixes: M models, R recipes, K checkpoints, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from e2lm.errors import UserError, one_line
from e2lm.interval import percentile_interval, redrawn_counts_DI
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.scaling_predictor import Forecast, LossTable, ScalingPredictor
from e2lm.scores import Scores
from e2lm_demo.recipes import CLEAN, RECIPES
from e2lm_demo.steps import GROUP, METRICS, SIGNAL_SCORES, WHOLE
from e2lm_demo.told_apart import PairTold, RecipeCurves, pairs_told, seeds_apart

LOSS_TASK = "e2lm_early_heldout"
LOSS_METRIC = "bits_per_byte"
#: "Early": the first checkpoint after this share of the training.
EARLY_SHARE = 0.1
DRAWS = 2_000
#: Checkpoints before this share of training are left out of the forecast: the warm-up is no part of any scaling law.
FORECAST_FROM_SHARE = 0.05
#: Predictors that are shown first; whatever else is registered follows.
FIRST_PREDICTORS = ("chinchilla-tied", "chinchilla", "persistence", "log-linear")


@dataclass(frozen=True, slots=True)
class TaskFinding:
    """One task x metric. ``pairs`` are when it tells which recipe from which; ``seeds_apart`` is the largest difference
    of the two seeds of the clean recipe.

    ``early_right`` is the share of pairs of recipes in planted order at ``early_tokens``, with a 90 % interval of items
    and of recipes that might have been there instead; ``settled_tokens`` from when on all are.
    """

    task: str
    metric: str
    chance: float | None
    last_value: float
    last_stderr: float
    early_right: float
    early_low: float
    early_high: float
    last_right: float
    settled_tokens: float | None
    scores: Mapping[str, float | None]
    seeds_apart: float
    pairs: tuple[PairTold, ...]

    @property
    def told(self) -> tuple[PairTold, ...]:
        """Pairs that it tells apart."""
        return tuple(pair for pair in self.pairs if pair.share is not None)

    @property
    def share_of_all(self) -> float | None:
        """Of the run, from which on it tells all pairs apart; None where it never does."""
        shares = [pair.share for pair in self.pairs if pair.share is not None]
        return max(shares) if len(shares) == len(self.pairs) else None


@dataclass(frozen=True, slots=True)
class PredictorResult:
    """A forecast of the largest model's loss from the smaller ones, beside what came out."""

    name: str
    is_baseline: bool
    forecast: Forecast | None
    why_not: str | None
    truth: float

    @property
    def error(self) -> float | None:
        """Relative error of the forecast."""
        return None if self.forecast is None else self.forecast.value / self.truth - 1


@dataclass(frozen=True, slots=True)
class DemoFindings:
    """Everything the report shows; ``true_order`` is the planted order of the recipes, best first."""

    models: tuple[str, ...]
    params_M: tuple[float, ...]
    early_tokens: float
    true_order: tuple[str, ...]
    findings: tuple[TaskFinding, ...]
    predictors: tuple[PredictorResult, ...]

    @property
    def comparisons(self) -> int:
        """How many pairs were looked at, all tasks and metrics together."""
        return sum(len(finding.pairs) for finding in self.findings)

    @property
    def claims(self) -> tuple[PairTold, ...]:
        """All that is told, by whichever task and metric."""
        return tuple(pair for finding in self.findings for pair in finding.told)


#: Runs of each recipe, best recipe first; what else was trained is for the forecast.
RECIPE_RUNS = {
    recipe.name: tuple(run.name for run in WHOLE.runs if run.recipe == recipe.name and run.size == WHOLE.sizes[0])
    for recipe in RECIPES
}
#: One of each size, smallest first.
LADDER = (RECIPE_RUNS[CLEAN][0], *(run.name for run in WHOLE.runs if run.size != WHOLE.sizes[0]))


def found(scores: Scores, signal: Mapping[str, Any], seed: int) -> DemoFindings:
    """The findings in ``scores``; truth is the planted order of the recipes."""
    frame = scores.frame
    loss = frame[(frame["task"] == LOSS_TASK) & (frame["metric"] == LOSS_METRIC)]
    if loss.empty:
        raise UserError(f"the scores hold no {LOSS_METRIC} of {LOSS_TASK}")
    last = loss.sort_values("step").groupby("series").last()
    models = tuple(run.name for run in WHOLE.runs)
    if missing := [name for name in models if name not in last.index]:
        raise UserError(f"the scores hold no {LOSS_METRIC} of {', '.join(missing)}; delete the folder and start again")
    tokens_K = np.sort(loss[loss["series"] == models[0]]["tokens"].unique())
    early = float(tokens_K[tokens_K >= EARLY_SHARE * tokens_K[-1]][0])
    rng = np.random.default_rng(seed)
    asked = frame["metric"].isin(METRICS) & ~frame["task"].isin([LOSS_TASK, GROUP])  # a mean over tasks is no task
    pairs = frame[asked][["task", "metric"]].drop_duplicates()
    wanted = [
        (task, metric)
        for task, metric in sorted(map(tuple, pairs.to_numpy()), key=_order)
        if not frame[(frame["task"] == task) & (frame["metric"] == metric)]["tokens"].isna().any()
    ]
    comparisons = len(wanted) * len(list(combinations(RECIPES, 2)))
    findings = [_finding(frame, task, metric, early, signal, rng, comparisons) for task, metric in wanted]
    return DemoFindings(
        models=models,
        params_M=tuple(float(value) for value in last["params"].loc[list(models)]),
        early_tokens=early,
        true_order=tuple(RECIPE_RUNS),
        findings=tuple(sorted(findings, key=_best_first)),
        predictors=tuple(_predictions(loss, LADDER, rng)),
    )


def _order(pair: Sequence[str]) -> tuple[str, int]:
    return pair[0], METRICS.index(pair[1])


def _best_first(finding: TaskFinding) -> tuple[int, float, str, str]:
    """Who tells most pairs, then who tells them first."""
    told = [pair.share for pair in finding.told if pair.share is not None]
    return -len(told), max(told, default=math.inf), finding.task, finding.metric


def _grid(frame: pd.DataFrame, models: Sequence[str], column: str) -> NDArray[np.float64]:
    """``column`` as a table [M, K]."""
    table = frame.pivot_table(index="series", columns="tokens", values=column, dropna=False)
    grid: NDArray[np.float64] = table.loc[list(models)].to_numpy(dtype=np.float64)
    return grid


def pairs_right(values_M: NDArray[np.float64], truth_M: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of pairs that ``values_M`` (higher is better, last axis M) orders as ``truth_M`` (lower is better) does.

    Ties count one half: decision accuracy of DataDecide (Magnusson et al. 2025, section 3) with ties.

    >>> pairs_right(np.array([0.3, 0.2, 0.2]), np.array([1.0, 2.0, 3.0])).item()
    0.8333333333333334
    """
    right = [
        0.5 * (1 + np.sign(values_M[..., a] - values_M[..., b]) * np.sign(truth_M[b] - truth_M[a]))
        for a, b in combinations(range(len(truth_M)), 2)
    ]
    mean: NDArray[np.float64] = np.mean(right, axis=0)
    return mean


def _finding(
    frame: pd.DataFrame,
    task: str,
    metric: str,
    early: float,
    signal: Mapping[str, Any],
    rng: np.random.Generator,
    comparisons: int,
) -> TaskFinding:
    rows = frame[(frame["task"] == task) & (frame["metric"] == metric)]
    recipes = [
        RecipeCurves(name, _grid(rows, runs, "value"), _grid(rows, runs, "stderr"))
        for name, runs in RECIPE_RUNS.items()
    ]
    tokens_K = np.sort(rows[rows["series"] == RECIPE_RUNS[CLEAN][0]]["tokens"].unique())
    values_RK = np.stack([one.mean_K for one in recipes])
    truth_R = np.arange(float(len(recipes)))
    at = int(np.flatnonzero(tokens_K == early)[0])
    right_K = np.array([float(pairs_right(values_RK[:, k], truth_R)) for k in range(len(tokens_K))])
    stderr_R = np.sqrt([one.item_variance_K[at] for one in recipes])
    noise_DR = rng.standard_normal((DRAWS, len(recipes))) * stderr_R
    drawn_D = _pairs_right_of_others(values_RK[:, at] + noise_DR, truth_R, rng)
    right = float(right_K[at])
    low, high = percentile_interval(drawn_D).holding(right)
    return TaskFinding(
        task=task,
        metric=metric,
        chance=_chance(metric, rows),
        last_value=float(recipes[0].values_SK[0, -1]),
        last_stderr=float(recipes[0].stderr_SK[0, -1]),
        early_right=right,
        early_low=low,
        early_high=high,
        last_right=float(right_K[-1]),
        settled_tokens=_settled(right_K, tokens_K),
        scores=_mean_scores(signal, task, metric),
        seeds_apart=seeds_apart(recipes[0].values_SK),
        pairs=pairs_told(recipes, tokens_K / tokens_K[-1], comparisons),
    )


def _pairs_right_of_others(
    drawn_DM: NDArray[np.float64], truth_M: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Share of pairs right in redrawn models: another draw of models of this kind, each trained once.

    One imagined model that is ordered rightly with each other one half of the time is redrawn along: without it, models
    that are all ordered rightly would promise the same of all others. Redraws of a single model say one half.
    """
    draws, models = drawn_DM.shape
    count_DM = redrawn_counts_DI(models + 1, draws, rng).astype(np.float64)
    right_D, weight_D = np.zeros(draws), np.zeros(draws)
    for a, b in combinations(range(models + 1), 2):
        pair_D = count_DM[:, a] * count_DM[:, b]
        agreement_D = np.full(draws, 0.5) if b == models else pairs_right(drawn_DM[:, [a, b]], truth_M[[a, b]])
        right_D, weight_D = right_D + pair_D * agreement_D, weight_D + pair_D
    return np.where(weight_D > 0, right_D / np.maximum(weight_D, 1.0), 0.5)


def _settled(right_K: NDArray[np.float64], tokens_K: NDArray[np.float64]) -> float | None:
    """Tokens from which on every checkpoint orders all pairs rightly; None if the last one does not."""
    wrong = np.flatnonzero(right_K < 1)
    if not len(wrong):
        return float(tokens_K[0])
    return None if wrong[-1] == len(tokens_K) - 1 else float(tokens_K[wrong[-1] + 1])


def _chance(metric: str, rows: pd.DataFrame) -> float | None:
    """What guessing gets with the four choices every task of the family has."""
    known = plugin_manager().registered("e2lm_register_metrics", ItemMetric).get(metric)
    if rows.empty or known is None or known[0].item.chance is None:
        return None
    return float(known[0].item.chance(np.array([4]))[0])


def _mean_scores(signal: Mapping[str, Any], task: str, metric: str) -> dict[str, float | None]:
    """Mean over the models of each signal score; None where it is undefined for any."""
    names: dict[str, list[float | None]] = {}
    for row in signal["rows"]:
        if row["task"] == task and row["metric"] == metric and row["series"] is not None:
            for name, score in row["scores"].items():
                names.setdefault(name, []).append(score["value"])
    return {
        name: None if any(value is None for value in names[name]) else float(np.mean([v or 0.0 for v in names[name]]))
        for name in SIGNAL_SCORES
        if name in names
    }


def _predictions(loss: pd.DataFrame, models: tuple[str, ...], rng: np.random.Generator) -> list[PredictorResult]:
    """Forecasts of the largest model's final loss from the checkpoints of the smaller ones."""
    largest = loss[loss["series"] == models[-1]].sort_values("step").iloc[-1]
    start = FORECAST_FROM_SHARE * float(largest["tokens"])
    small = loss[loss["series"].isin(models[:-1]) & (loss["tokens"] >= start)]
    table = LossTable(
        params_R=small["params"].to_numpy(dtype=np.float64),
        tokens_R=small["tokens"].to_numpy(dtype=np.float64),
        loss_R=small["value"].to_numpy(dtype=np.float64),
        series_R=tuple(small["series"]),
    )
    target = float(largest["params"]), float(largest["tokens"])
    return [_predicted(predictor, table, target, float(largest["value"]), rng) for predictor in _predictors()]


def _predictors() -> list[ScalingPredictor]:
    """Every registered predictor of a table of losses, the first ones first."""
    registered = plugin_manager().registered("e2lm_register_scaling_predictors", ScalingPredictor)
    known: list[ScalingPredictor] = [claims[0].item for claims in registered.values() if len(claims) == 1]
    whole = {one.name: one for one in known if one.fit is not None and not one.is_narrow}
    first = [whole.pop(name) for name in FIRST_PREDICTORS if name in whole]
    return [*first, *whole.values()]


def _predicted(
    predictor: ScalingPredictor, table: LossTable, target: tuple[float, float], truth: float, rng: np.random.Generator
) -> PredictorResult:
    """What ``predictor`` says of the model ``target``; one that fails costs itself only."""
    forecast, why_not = None, None
    try:
        forecast = replace(predictor.fitted(table, rng).predict(*target), draws_S=None)
    except UserError as error:
        why_not = str(error)
    except Exception as error:  # a stranger's code
        why_not = f"it raised {type(error).__name__}: {one_line(error)}"
    return PredictorResult(predictor.name, predictor.is_baseline, forecast, why_not, truth)
