"""The null control: what the ranking score gives when the true answers are redrawn over the same log-likelihoods.

No model is asked again. A benchmark whose curve rises whatever the answers are has no part above its null. Answers are
redrawn in four ways, and the highest null counts: with equal chances; and by dealing out anew which *place*, which
*length* and which *commonness* among its choices the truth of an item has. The last three keep what an entry favours:
where the truth is always the longest choice, every redrawn truth is that too, and nothing lies above the null.

Source of the idea: permutation tests (Fisher 1935, The Design of Experiments, section 21), conditional on a feature.

Shape suffixes: I items, C choices, K checkpoints, D draws.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, Samples, ScoreValue, SignalScore
from e2lm.interval import percentile_interval
from e2lm.signal_score import SeriesRoles
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.messages import say
from e2lm_leaderboard.ranking.ranking import ABOVE_NULL, ANSWER_SHARE, NULL_SCORE
from e2lm_leaderboard.season.curves import with_items
from e2lm_leaderboard.season.scores import submission_results
from e2lm_leaderboard.store.store import Result

#: Draws of each way.
DRAWS = 20
WAYS = ("any", "place", "length", "commonness")
WORD = re.compile(r"\w+")

#: One number per item and possible truth, NaN where an item has no such choice.
ValuesByTruth = Callable[[Samples], NDArray[np.float64]]
CurveKey = tuple[str, str]


def values_by_truth(values: Callable[[Samples], NDArray[np.float64]]) -> ValuesByTruth:
    """What a metric gives were each of the choices the true one."""

    def by_truth(samples: Samples) -> NDArray[np.float64]:
        there_IC = samples.choices.there_IC
        columns = [values(with_truth(samples, place)) for place in range(there_IC.shape[1])]
        return np.where(there_IC, np.stack(columns, axis=1), np.nan)

    return by_truth


def with_truth(samples: Samples, place: int) -> Samples:
    """The same log-likelihoods, choice ``place`` being true of every item that has so many."""
    choices = samples.choices
    gold_I = np.where(choices.there_IC[:, place], place, choices.gold_I)
    gold_IC = np.arange(choices.there_IC.shape[1]) == gold_I[:, None]
    return replace(samples, choices=replace(choices, gold_I=gold_I, gold_IC=gold_IC))


@dataclass(frozen=True, slots=True)
class NullCurves:
    """The curves of an entry, and per task and series what every checkpoint gives for every truth: ``values_KIC``."""

    curves: Mapping[CurveKey, Curve]
    values: Mapping[CurveKey, NDArray[np.float64]]
    items: Mapping[str, Sequence[TaskItem]]

    @classmethod
    def of(
        cls,
        curves: Sequence[Curve],
        samples: Sequence[Samples],
        by_truth: ValuesByTruth,
        items: Mapping[str, Sequence[TaskItem]],
    ) -> NullCurves:
        """Of whole curves, over all items and checkpoints."""
        grouped: dict[CurveKey, list[Samples]] = {}
        for one in samples:
            grouped.setdefault((one.task, one.series), []).append(one)
        values = {
            key: np.stack([by_truth(one) for one in sorted(group, key=lambda one: one.step)])
            for key, group in grouped.items()
        }
        return cls({(one.task, one.series): one for one in curves}, values, items)

    def redrawn(self, gold_of: Mapping[str, NDArray[np.int64]]) -> list[Curve]:
        """The curves under other truths, by task."""
        found = []
        for key, curve in self.curves.items():
            gold_I = gold_of[key[0]]
            items_KI = np.take_along_axis(self.values[key], gold_I[None, :, None], axis=2)[..., 0]
            found.append(with_items(curve, items_KI))
        return found


@dataclass(frozen=True, slots=True)
class NullDraws:
    """Values of the score under redrawn truths, by way: over all series (under ``""``) and for each."""

    values: Mapping[str, Sequence[Mapping[str, float]]]

    def highest(self) -> tuple[str, Sequence[Mapping[str, float]]] | None:
        """The way whose mean over all series is highest, with its draws; None where no draw gave a number."""
        means = {way: float(np.mean([one[""] for one in draws])) for way, draws in self.values.items() if draws}
        if not means:
            return None
        way = max(means, key=lambda name: means[name])
        return way, self.values[way]


def null_results(
    split: str,
    null: NullCurves,
    chosen: Callable[[Curve], Curve],
    score: SignalScore,
    seed: int,
    roles: SeriesRoles,
) -> list[Result]:
    """The part of ``score`` above its null, its null, and the share of it that depends on the answers.

    ``chosen`` cuts a curve to the items and checkpoints of the split. All undefined, with the reason, where no curve
    moves: what never moves has no rank.
    """
    still = without_still_curves(score)
    curves = [chosen(curve) for curve in null.curves.values()]
    scored = [curve for curve in curves if not roles.is_control(curve.series)]
    if scored and all(np.ptp(curve.values_K) == 0 for curve in scored):
        return _undefined(split, say("never_moves"))
    real = {one.series: one for one in submission_results(split, curves, [still], seed, roles=roles)}
    if "" not in real or real[""].value is None:
        return _undefined(split, real[""].reason if "" in real else say("no_curve"))
    found = null_draws(null, chosen, still, seed, roles).highest()
    if found is None:
        return _undefined(split, say("no_null"))
    return _told(split, real, *found)


def _undefined(split: str, reason: str) -> list[Result]:
    return [Result(split, name, "", None, reason=reason) for name in (ABOVE_NULL, NULL_SCORE, ANSWER_SHARE)]


def without_still_curves(score: SignalScore) -> SignalScore:
    """The score, but nothing for a curve that never moves: an official formula gives 1 for one of ties alone."""
    if score.scope == "family":
        return score

    def scored(curve: Curve, rng: np.random.Generator) -> ScoreValue:
        if len(curve.values_K) and np.ptp(curve.values_K) == 0:
            return ScoreValue(0.0, 0.0, 0.0, reason=say("never_moves"))
        found: ScoreValue = score.score(curve, rng)
        return found

    if (value := score.value) is None:
        return replace(score, score=scored)
    alone = value

    def moving(curve: Curve) -> float | None:
        return 0.0 if len(curve.values_K) and np.ptp(curve.values_K) == 0 else alone(curve)

    return replace(score, score=scored, value=moving)


def null_draws(
    null: NullCurves, chosen: Callable[[Curve], Curve], score: SignalScore, seed: int, roles: SeriesRoles
) -> NullDraws:
    """The score under :data:`DRAWS` redrawn truths of each way."""
    ranks = {task: _ranks(items) for task, items in null.items.items()}
    points = PointScore.of(score, roles, [chosen(curve) for curve in null.curves.values()])
    values: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number, way in enumerate(WAYS):
        for draw in range(DRAWS):
            rng = np.random.default_rng([seed, number, draw])
            gold_of = {task: _redrawn_gold(one, way, rng) for task, one in ranks.items()}
            found = points.values([chosen(curve) for curve in null.redrawn(gold_of)], rng)
            if found is not None:
                values[way].append(found)
    return NullDraws(values)


@dataclass(frozen=True, slots=True)
class PointScore:
    """The values of a score over many curves, without interval and p-value where that can be had.

    The items behind a curve are left away where the score needs none.
    """

    score: SignalScore
    sees_control: bool
    needs_items: bool
    roles: SeriesRoles

    @classmethod
    def of(cls, score: SignalScore, roles: SeriesRoles, curves: Sequence[Curve]) -> PointScore:
        """Whether it needs the items is asked of the entry's own ``curves``: the same numbers without them say no."""
        known = score if score.under is None else score.under(roles)
        whole = cls(known, score.under is not None, True, roles)
        if known.value is not None:
            return whole
        lean = replace(whole, needs_items=False)
        rng_of = np.random.default_rng
        return lean if whole.values(curves, rng_of(0)) == lean.values(curves, rng_of(0)) else whole

    def values(self, curves: Sequence[Curve], rng: np.random.Generator) -> dict[str, float] | None:
        """The score over all series (under ``""``) and of each; None where it is undefined."""
        seen = list(curves) if self.needs_items else [replace(curve, items_KI=None) for curve in curves]
        scored = [curve for curve in seen if not self.roles.is_control(curve.series)]
        groups: dict[str, list[float | None]] = {}
        if self.score.scope == "family":
            for task in sorted({curve.task for curve in scored}):
                family = [curve for curve in (seen if self.sees_control else scored) if curve.task == task]
                groups.setdefault("", []).append(self._value(family, rng))
            return _means(groups)
        for curve in scored:
            groups.setdefault(curve.series, []).append(self._value(curve, rng))
        means = _means(groups)
        return None if not means else {"": float(np.mean(list(means.values()))), **means}

    def _value(self, given: Curve | Sequence[Curve], rng: np.random.Generator) -> float | None:
        return self.score.score(given, rng).value if self.score.value is None else self.score.value(given)


def _means(groups: Mapping[str, Sequence[float | None]]) -> dict[str, float] | None:
    means = {}
    for name, values in groups.items():
        known = [one for one in values if one is not None and math.isfinite(one)]
        if len(known) < len(values):
            return None
        means[name] = float(np.mean(known))
    return means


@dataclass(frozen=True, slots=True)
class _Ranks:
    """Of every item the number of choices, which is true, and by way the places of its choices in order."""

    counts_I: NDArray[np.int64]
    gold_I: NDArray[np.int64]
    orders: Mapping[str, Sequence[Sequence[int]]]


def _ranks(items: Sequence[TaskItem]) -> _Ranks:
    common = Counter(
        word for item in items for text in (item.context, *item.choices) for word in WORD.findall(text.casefold())
    )
    order_of: dict[str, Callable[[str], float]] = {"length": len, "commonness": lambda text: _commonness(text, common)}
    orders: dict[str, list[Sequence[int]]] = {"place": [range(len(item.choices)) for item in items]}
    for way, measure in order_of.items():
        orders[way] = [_order([measure(choice) for choice in item.choices]) for item in items]
    counts_I = np.array([len(item.choices) for item in items], dtype=np.int64)
    return _Ranks(counts_I, np.array([item.gold for item in items], dtype=np.int64), orders)


def _order(measures: Sequence[float]) -> list[int]:
    return sorted(range(len(measures)), key=lambda place: (measures[place], place))


def _commonness(text: str, common: Mapping[str, int]) -> float:
    """The mean logarithm of how often the words stand in the entry."""
    words = WORD.findall(text.casefold())
    return float(np.mean([math.log(common[word]) for word in words])) if words else 0.0


def _redrawn_gold(ranks: _Ranks, way: str, rng: np.random.Generator) -> NDArray[np.int64]:
    """A truth per item: any choice, or the one at a rank that another item of as many choices has its truth at."""
    if way == "any":
        return rng.integers(ranks.counts_I)
    order = ranks.orders[way]
    gold_I = ranks.gold_I.copy()
    rank_I = np.array([order[place].index(gold) for place, gold in enumerate(gold_I.tolist())], dtype=np.int64)
    for count in np.unique(ranks.counts_I):
        same = np.flatnonzero(ranks.counts_I == count)
        for place, rank in zip(same.tolist(), rng.permutation(rank_I[same]).tolist(), strict=True):
            gold_I[place] = order[place][rank]
    return gold_I


def _told(split: str, real: Mapping[str, Result], way: str, draws: Sequence[Mapping[str, float]]) -> list[Result]:
    reason = say("null_of", way=say.word("way", way), draws=len(draws))
    above = {series: _above(split, one, [draw[series] for draw in draws]) for series, one in real.items()}
    whole, of_all = real[""], above[""]
    null_D = np.array([draw[""] for draw in draws])
    null = Result(split, NULL_SCORE, "", float(null_D.mean()), *percentile_interval(null_D), None, reason)
    return [*above.values(), null, _share(split, whole, of_all)]


def _above(split: str, real: Result, draws: Sequence[float]) -> Result:
    """Real minus null; the half-widths of both add as independent ones do.

    A null below 0 counts as 0: a part of the score is never more than the score, and so are the ends of its interval.
    """
    if real.value is None:
        return Result(split, ABOVE_NULL, real.series, None, reason=real.reason)
    null_D = np.array(draws)
    mean, (q05, q95) = float(null_D.mean()), percentile_interval(null_D)
    value, p = real.value - max(mean, 0.0), (1 + int((null_D >= real.value).sum())) / (1 + len(draws))
    if real.low is None or real.high is None:
        return Result(split, ABOVE_NULL, real.series, value, None, None, p, real.reason)
    low = value - math.hypot(real.value - real.low, q95 - mean)
    high = min(value + math.hypot(real.high - real.value, mean - q05), max(real.high, value))
    return Result(split, ABOVE_NULL, real.series, value, low, high, p, real.reason)


def _share(split: str, real: Result, above: Result) -> Result:
    """How much of the score depends on the answers, from 0 to 1."""
    value, of_all = real.value or 0.0, above.value or 0.0

    def share(part: float | None) -> float | None:
        return None if part is None else min(1.0, max(0.0, part / value)) if value > 0 else 0.0

    return Result(split, ANSWER_SHARE, "", share(of_all), share(above.low), share(above.high))
