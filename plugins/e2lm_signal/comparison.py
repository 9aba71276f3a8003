"""Which task x metric decides best early: ranked by decision accuracy, with groups that the data cannot tell apart.

Two questions. *In time*: does the order of the series early in the run match their order at its end? *In scale*
(DataDecide): does the order of recipes among small models match the order among large ones?

Intervals and differences come from redrawing series (or recipes): the same redraw for every task x metric, so that
differences are paired. Sorted by decision accuracy, the best opens a group; a task x metric joins the group of the one
that opened it while the 90 % interval of their difference holds 0.

Shape suffixes: M series or recipes, K checkpoints, D draws.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from e2lm import Curve, UserError
from e2lm.arrays import Values
from e2lm.interval import Interval, normal_interval, redrawn_counts_DI
from e2lm_signal.curves import common_grid
from e2lm_signal.decisions import FINAL_CHECKPOINTS, LEAST_REDRAWN, accuracy_interval, agreement_MM
from e2lm_signal.item_noise import DRAWS
from e2lm_signal.signal_and_noise import late_snr


@dataclass(frozen=True, slots=True)
class Contender:
    """One task x metric and the agreement of its early order with the target order, per pair of series."""

    task: str
    metric: str
    names_M: tuple[str, ...]
    agreement: Values
    snr: float
    #: In scale: how many runs there are, small and large; more than recipes where seeds are averaged.
    runs: tuple[int, int] | None = None

    @property
    def value(self) -> float:
        """Decision accuracy."""
        first, second = np.triu_indices(len(self.agreement), 1)
        return float(self.agreement[first, second].mean())


@dataclass(frozen=True, slots=True)
class Ranked:
    """A contender with its interval (all there is below 4 series) and the group it belongs to, 1 for the best."""

    contender: Contender
    low: float
    high: float
    group: int


def contender_in_time(curves: Sequence[Curve], target: Sequence[Curve], early_share: float) -> Contender | str:
    """Order at ``early_share`` of the run against the order of the target's last checkpoints, or why there is none."""
    grid, goal = common_grid(curves), common_grid(target)
    if isinstance(grid, str) or isinstance(goal, str):
        return grid if isinstance(grid, str) else str(goal)
    if grid.series_M != goal.series_M:
        return f"the target has other series ({len(goal.series_M)}) than {grid.series_M[0]} ... ({len(grid.series_M)})"
    early = int(np.searchsorted(grid.share_K, early_share - 1e-9))
    if early >= grid.values_MK.shape[1] - 1:
        return f"no checkpoint at {early_share:.0%} of the run before the last"
    final_M = goal.values_MK[:, -min(FINAL_CHECKPOINTS, goal.values_MK.shape[1]) :].mean(axis=1)
    agreement = agreement_MM(grid.values_MK[:, early], final_M)
    return Contender(curves[0].task, curves[0].metric, grid.series_M, agreement, late_snr(grid.values_MK))


@dataclass(frozen=True, slots=True)
class Scales:
    """Small and large series, by patterns in which ``*`` is the recipe and ``{seed}`` is averaged over.

    One pattern with ``{size}`` stands for two: its smallest size against its largest.
    """

    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            _expression(pattern)
        if len(self.patterns) > 2 or (len(self.patterns) == 1) != ("{size}" in self.patterns[0]):
            given = " ".join(map(repr, self.patterns))
            raise UserError(
                f"--scales: {given}: give SMALL LARGE, or one pattern with {{size}}, e.g. '*-{{size}}-{{seed}}'"
            )

    def sides(self, series: Iterable[str]) -> tuple[str, str]:
        """The patterns of small and of large series, sizes put in from those of ``series`` that fit."""
        if len(self.patterns) == 2:
            return self.patterns[0], self.patterns[1]
        found = {match["size"] for name in series if (match := _expression(self.patterns[0]).fullmatch(name))}
        sizes = sorted(found, key=_amount)
        if len(sizes) < 2:
            raise UserError(f"--scales: {self.patterns[0]!r} fits series of {len(sizes)} sizes; 2 at least are needed")
        small, large = (self.patterns[0].replace("{size}", size) for size in (sizes[0], sizes[-1]))
        return small, large


def _expression(pattern: str) -> re.Pattern[str]:
    """What a pattern matches: ``recipe``, and ``seed`` where it has ``{seed}`` (or a second ``*``), ``size``."""
    parts = re.split(r"(\*|\{seed\}|\{size\})", pattern)
    if parts.count("*") == 2 and "{seed}" not in parts:  # '*-150M-seed*': the second is the seed
        parts[len(parts) - 1 - parts[::-1].index("*")] = "{seed}"
    if parts.count("*") != 1 or parts.count("{seed}") > 1 or parts.count("{size}") > 1:
        raise UserError(
            f"--scales: {pattern!r} must hold one *, which stands for the recipe, for example '*-150M'; seeds that are "
            "averaged are {seed}, '*-150M-{seed}'"
        )
    groups = {"*": "(?P<recipe>.*)", "{seed}": "(?P<seed>[^-_/]+)", "{size}": "(?P<size>[^-_/]+)"}
    return re.compile("".join(groups.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _amount(size: str) -> tuple[float, str]:
    """``150M`` as 1.5e8, so that sizes are sorted by what they say."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMbBtT]?)", size)
    scale = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
    return (float(match[1]) * scale[match[2].lower()] if match else float("inf"), size)


def contender_in_scale(curves: Sequence[Curve], target: Sequence[Curve], small: str, large: str) -> Contender | str:
    """Order of recipes at the end of the small models against that at the end of the large ones, seeds averaged."""
    small_by, large_by = recipes(curves, small), recipes(target, large)
    shared = sorted(set(small_by) & set(large_by))
    if len(shared) < 2:
        return f"{len(shared)} recipes are in both {small!r} and {large!r}; at least 2 are needed"
    sides = ([by_recipe[recipe] for recipe in shared] for by_recipe in (small_by, large_by))
    small_R, large_R = sides
    ends = [np.asarray([np.mean([_end(curve) for curve in seeds]) for seeds in side]) for side in (small_R, large_R)]
    runs = (sum(map(len, small_R)), sum(map(len, large_R)))
    agreement = agreement_MM(ends[0], ends[1])
    return Contender(curves[0].task, curves[0].metric, tuple(shared), agreement, _snr_over_seeds(small_R), runs)


def _snr_over_seeds(curves_R: Sequence[Sequence[Curve]]) -> float:
    """Of the means over seeds; NaN where the runs share no checkpoints."""
    grid = common_grid([curve for seeds in curves_R for curve in seeds])
    if isinstance(grid, str):
        return float("nan")
    ends = np.cumsum([len(seeds) for seeds in curves_R])[:-1]
    return late_snr(np.stack([part_SK.mean(axis=0) for part_SK in np.split(grid.values_MK, ends)]))


def recipes(curves: Sequence[Curve], pattern: str) -> dict[str, list[Curve]]:
    """Recipe -> its curves, one per seed: the recipe is what ``*`` stands for in ``pattern``.

    >>> from e2lm_signal.curves import curve_of_values
    >>> list(recipes([curve_of_values([1.0], series="web-150M")], "*-150M"))
    ['web']
    >>> two = [curve_of_values([1.0], series=f"web-150M-{seed}") for seed in (0, 1)]
    >>> len(recipes(two, "*-150M-{seed}")["web"])
    2
    """
    expression = _expression(pattern)
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        if (match := expression.fullmatch(curve.series)) is not None:
            found.setdefault(match["recipe"], []).append(curve)
    return found


def _end(curve: Curve) -> float:
    sign = 1.0 if curve.higher_is_better else -1.0
    return sign * float(np.mean(curve.values_K[-min(FINAL_CHECKPOINTS, len(curve.values_K)) :]))


def ranked(contenders: Iterable[Contender], rng: np.random.Generator) -> list[Ranked]:
    """Best first, grouped."""
    ordered = sorted(contenders, key=lambda one: (-one.value, one.task, one.metric))
    names = sorted({name for one in ordered for name in one.names_M})
    counts_DM = redrawn_counts_DI(len(names), DRAWS, rng).astype(np.float64)
    draws = [_redrawn_D(one, names, counts_DM) if len(one.names_M) >= LEAST_REDRAWN else None for one in ordered]
    found: list[Ranked] = []
    opener = 0
    group = 1
    for index, one in enumerate(ordered):
        if index > 0 and _told_apart(ordered[opener], one, draws[opener], draws[index]):
            opener, group = index, group + 1
        interval = Interval(0.0, 1.0) if draws[index] is None else accuracy_interval(one.value, one.agreement, rng)
        low, high = interval
        found.append(Ranked(one, low, high, group))
    return found


def after_choice(ranking: Sequence[Ranked], rng: np.random.Generator) -> float | None:
    """The decision accuracy of the first, less what is won by picking the highest of all; None below 4 series.

    In redrawn series the highest is picked again and lies above what it measured by the price of having looked (Efron's
    optimism of the bootstrap, Journal of the American Statistical Association 78 (1983), 316).
    """
    contenders = [one.contender for one in ranking]
    if not contenders or any(len(one.names_M) < LEAST_REDRAWN for one in contenders):
        return None
    names = sorted({name for one in contenders for name in one.names_M})
    counts_DM = redrawn_counts_DI(len(names), DRAWS, rng).astype(np.float64)
    draws_CD = np.nan_to_num(np.stack([_redrawn_D(one, names, counts_DM) for one in contenders]), nan=0.5)
    measured_C = np.asarray([one.value for one in contenders])
    optimism = float((draws_CD.max(axis=0) - measured_C[draws_CD.argmax(axis=0)]).mean())
    return float(np.clip(measured_C[0] - max(0.0, optimism), 0.0, 1.0))


def _redrawn_D(one: Contender, names: Sequence[str], counts_DM: Values) -> Values:
    """Decision accuracy of every redraw; a series paired with its own copy does not count. NaN where none is left."""
    own_DM = counts_DM[:, [names.index(name) for name in one.names_M]]
    agreement = one.agreement - np.diag(np.diag(one.agreement))
    pairs_D = own_DM.sum(axis=1) ** 2 - (own_DM**2).sum(axis=1)
    kept_D = ((own_DM @ agreement) * own_DM).sum(axis=1)
    return np.where(pairs_D > 0, kept_D / np.maximum(pairs_D, 1.0), np.nan)


def _told_apart(best: Contender, one: Contender, best_D: Values | None, one_D: Values | None) -> bool:
    if best_D is None or one_D is None:
        return False
    return normal_interval(best.value - one.value, float(np.nanstd(best_D - one_D))).low > 0
