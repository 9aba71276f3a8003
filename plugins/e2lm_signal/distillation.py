"""Distilling a benchmark: fewer items, more signal, measured on models that had no say in the choice.

The models are split at random in halves, many times. On one half the items are chosen, on the other half the chosen
items are compared with all items and with random items of the same number. Nothing is ever reported on models that
helped to choose. The list that is handed out is chosen on all models; its worth is that of the procedure, as measured.

* SNR: range over models of the mean of the last checkpoints, over the mean standard deviation of those checkpoints
  (Signal and Noise, n as in :mod:`e2lm_signal.signal_and_noise`).
* SQ: mean official score over models, at the official checkpoints where there are enough.
* signal_quality: mean over models, ties and order only.
* DA at T: decision accuracy of the order at T tokens against the target order (ties one half).

Every way to choose sees the values of some models only, turned so that more is better, and gives one number per item;
the items with the highest are kept. What it is worth is measured on other models.

Shape suffixes: M series, K checkpoints, I items, R residuals (series x checkpoints).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm import UserError
from e2lm.arrays import Values
from e2lm.errors import nearest_names
from e2lm.interval import percentile_interval
from e2lm.progress import progress_bar
from e2lm_signal.decisions import decision_accuracy
from e2lm_signal.item_table import ItemTable
from e2lm_signal.official_score import official_selection_K, official_sq_D
from e2lm_signal.signal_and_noise import last_count, late_snr
from e2lm_signal.signal_quality import concordance_D

ItemValues = NDArray[np.float32]
Method = Callable[[ItemValues, int], NDArray[np.float64]]

#: Late values are means over this share of the checkpoints.
LATE_SHARE = 0.3
#: Frank-Wolfe steps of group-snr; the choice is stable from about 30 on.
STEPS = 60


def _late_MI(values_MKI: ItemValues) -> ItemValues:
    count = max(1, round(LATE_SHARE * values_MKI.shape[1]))
    return np.asarray(values_MKI[:, -count:].mean(axis=1))


def _noise_RI(values_MKI: ItemValues) -> ItemValues:
    """Changes between neighbouring checkpoints, scaled to the noise of one: ``(y_k - y_{k-1}) / sqrt 2``."""
    changes_MKI = np.diff(values_MKI, axis=1)
    return np.asarray(changes_MKI.reshape(-1, values_MKI.shape[2]) / np.float32(np.sqrt(2.0)))


def _ratio(above: ItemValues, below: ItemValues) -> NDArray[np.float64]:
    """0 where both are 0, so that items that never change come last."""
    return np.asarray(above / np.maximum(below, np.finfo(np.float32).tiny), dtype=np.float64)


def item_snr_I(values_MKI: ItemValues, keep: int) -> NDArray[np.float64]:
    """Spread of the models' late values over the noise between checkpoints, each item by itself."""
    return _ratio(_late_MI(values_MKI).std(axis=0, ddof=1), np.sqrt((_noise_RI(values_MKI) ** 2).mean(axis=0)))


def slope_I(values_MKI: ItemValues, keep: int) -> NDArray[np.float64]:
    """Mean over models of the slope against log position, over its standard error between models."""
    position_K = np.log1p(np.arange(values_MKI.shape[1], dtype=np.float32))
    position_K -= position_K.mean()
    slope_MI = np.einsum("k,mki->mi", position_K, values_MKI) / (position_K**2).sum()
    error_I = slope_MI.std(axis=0, ddof=1) / np.sqrt(len(slope_MI))
    return _ratio(slope_MI.mean(axis=0), error_I)


def discrimination_I(values_MKI: ItemValues, keep: int) -> NDArray[np.float64]:
    """Correlation, over models, of the item's late value with the mean of all other items."""
    late_MI = _late_MI(values_MKI).astype(np.float64)
    items = late_MI.shape[1]
    rest_MI = (late_MI.sum(axis=1, keepdims=True) - late_MI) / (items - 1)
    late_MI = late_MI - late_MI.mean(axis=0)
    rest_MI = rest_MI - rest_MI.mean(axis=0)
    norm_I = np.sqrt((late_MI**2).sum(axis=0) * (rest_MI**2).sum(axis=0))
    return np.asarray((late_MI * rest_MI).sum(axis=0) / np.maximum(norm_I, np.finfo(float).tiny))


def group_snr_I(values_MKI: ItemValues, keep: int) -> NDArray[np.float64]:
    """How long an item stays in the set of ``keep`` items whose *mean* has the highest signal-to-noise ratio.

    Noise that items share does not average out, so items are chosen together: maximise
    ``log var_m(S w) - log mean_r(N w)^2`` over weights w that are at most 1/keep and sum to 1 (S late values centred
    over models, N noise), by Frank-Wolfe (Naval Research Logistics 3 (1956), 95): each step moves towards the ``keep``
    items of steepest gain, by 2/(t + 3).
    """
    late_MI, noise_RI = _late_MI(values_MKI), _noise_RI(values_MKI)
    signal_MI = late_MI - late_MI.mean(axis=0)
    items = values_MKI.shape[2]
    weight_I = np.full(items, 1.0 / items, dtype=np.float32)
    for step in range(STEPS):
        signal_M, noise_R = signal_MI @ weight_I, noise_RI @ weight_I
        gain_I = _share_of_variance(signal_MI, signal_M) - _share_of_variance(noise_RI, noise_R)
        corner_I = np.zeros(items, dtype=np.float32)
        corner_I[np.argsort(-gain_I, kind="stable")[:keep]] = 1.0 / keep
        rate = np.float32(2.0 / (step + 3))
        weight_I = (1 - rate) * weight_I + rate * corner_I
    return weight_I.astype(np.float64)


def _share_of_variance(parts_RI: ItemValues, whole_R: ItemValues) -> NDArray[np.float64]:
    """Half the gradient of ``log sum(whole^2)`` in the weights; 0 where the whole is constant."""
    squared = float(whole_R @ whole_R)
    if squared == 0:
        return np.zeros(parts_RI.shape[1])
    return np.asarray(parts_RI.T @ whole_R / squared, dtype=np.float64)


def irt_discrimination_I(values_MKI: ItemValues, keep: int) -> NDArray[np.float64]:
    """Discrimination of the two-parameter logistic model over (model, late checkpoint) pairs; needs 0/1 values."""
    if not np.isin(values_MKI, (0.0, 1.0)).all():
        raise UserError("--method irt: item values must be 0 or 1; use --metric acc")
    try:
        from girth import twopl_mml
    except ImportError as error:
        raise UserError("--method irt needs the package girth: pip install e2lm[irt]") from error
    late_MKI = values_MKI[:, -max(1, round(LATE_SHARE * values_MKI.shape[1])) :]
    answers_IR = late_MKI.reshape(-1, values_MKI.shape[2]).T.astype(int)
    mixed_I = (answers_IR.min(axis=1) == 0) & (answers_IR.max(axis=1) == 1)
    found_I = np.zeros(len(answers_IR))
    found_I[mixed_I] = twopl_mml(answers_IR[mixed_I])["Discrimination"]
    return found_I


def easiest_I(values_MKI: ItemValues, keep: int) -> NDArray[np.float64]:
    """Mean over models of the late value: what the models have learned already, as the winner of 2025 chose items."""
    return np.asarray(_late_MI(values_MKI).mean(axis=0), dtype=np.float64)


def _rises_I(values_MKI: ItemValues) -> NDArray[np.bool_]:
    """Whether a straight line against the checkpoints rises, in the mean over models (Noor, second in 2025)."""
    position_K = np.arange(values_MKI.shape[1], dtype=np.float64)
    mean_KI = values_MKI.mean(axis=0, dtype=np.float64)
    return np.asarray((position_K - position_K.mean()) @ mean_KI > 0)


METHODS: dict[str, Method] = {
    "group-snr": group_snr_I,
    "item-snr": item_snr_I,
    "slope": slope_I,
    "discrimination": discrimination_I,
    "irt": irt_discrimination_I,
    "easiest": easiest_I,
}
#: Nothing is chosen by what models answered.
ALL = "all"
#: Ways that say of each item by itself whether it is kept, whatever their number comes to.
COUNTED: dict[str, Callable[[ItemValues], NDArray[np.bool_]]] = {
    "rising": _rises_I,
    ALL: lambda values_MKI: np.ones(values_MKI.shape[2], dtype=np.bool_),
}
#: Share of the items that the other ways keep, where nobody says.
USUAL_SHARE = 0.2


def chosen_items(values_MKI: ItemValues, keep: int | None, method: str) -> NDArray[np.int64]:
    """The indices of the ``keep`` best items, rising; None for the ways that count themselves."""
    if keep is None:
        return _counted_items(values_MKI, method)
    if method not in METHODS:
        raise UserError(f"--method: unknown method {method!r}. {nearest_names(method, METHODS)}")
    worth_I = METHODS[method](values_MKI, keep)
    return np.sort(np.argsort(-worth_I, kind="stable")[:keep])


def _counted_items(values_MKI: ItemValues, method: str) -> NDArray[np.int64]:
    kept = np.flatnonzero(COUNTED[method](values_MKI))
    if len(kept) < LEAST_KEPT:
        raise UserError(f"--method {method}: {len(kept)} of {values_MKI.shape[2]} items would be kept; take another")
    return kept


#: Items of a benchmark, at least.
LEAST_KEPT = 2
#: Two models to choose on and two to order are the least that can be split.
LEAST_MODELS = 4
#: Checkpoints that items are chosen from, at least.
LEAST_CHOSEN_FROM = 4
#: Ways to choose that take one line each: what a better one must beat.
BASELINES = ("item-snr", "slope")


@dataclass(frozen=True, slots=True)
class Target:
    """The truth that early decisions are held against: one value per series of the table, more is better."""

    values_M: Values
    label: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean over the random splits, and the range of the middle 90 % of them."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class HeldOutReport:
    """``measures``: name -> arm (all, random, chosen, baselines) -> spread over splits; all from held-out models.

    ``tested``: the held-out models of every split.
    """

    measures: dict[str, dict[str, Spread]]
    gains: dict[str, Spread]
    repeats: int
    chosen_on: int
    tested_on: int
    overlap: float
    tested: tuple[tuple[int, ...], ...] = ()


def measured(
    values_MKI: NDArray[np.float32],
    target_M: Values,
    early: Mapping[str, int],
    positions_K: Values,
    official_K: NDArray[np.bool_],
) -> dict[str, float]:
    """The measures of the mean over the given items, more is better; SQ at the checkpoints ``official_K``."""
    mean_MK = values_MKI.mean(axis=2, dtype=np.float64)
    found = {
        "SNR": late_snr(mean_MK),
        "SQ": float(np.mean(official_sq_D(mean_MK[:, official_K]))),
        "signal_quality": float(concordance_D(mean_MK, positions_K).mean()),
    }
    for label, at in early.items():
        found[f"DA at {label}"] = decision_accuracy(mean_MK[:, at], target_M)
    return found


def held_out_measures(
    table: ItemTable,
    items_I: NDArray[np.int64],
    chosen_on: Sequence[int],
    tested_on: Sequence[int],
    target: Target,
    early: Mapping[str, int],
) -> dict[str, float]:
    """The measures of ``items_I`` on the series ``tested_on``; refused where one of them helped to choose the items."""
    shared = sorted(set(chosen_on) & set(tested_on))
    if shared:
        names = ", ".join(table.series_M[m] for m in shared[:3])
        raise UserError(
            f"refused to report an in-sample number: {names} helped to choose the items; test on other models"
        )
    tested = np.asarray(tested_on, dtype=np.int64)
    values_MKI = table.rising_MKI[tested][:, :, items_I]
    official_K, _ = official_selection_K(table.steps_K, table.tokens_K)
    return measured(values_MKI, target.values_M[tested], early, positions_of(table), official_K)


def positions_of(table: ItemTable) -> Values:
    """Tokens, or steps where tokens are unknown."""
    return table.tokens_K if np.isfinite(table.tokens_K).all() else table.steps_K.astype(np.float64)


def own_target(table: ItemTable) -> Target:
    """The order of the last checkpoints of the whole benchmark itself."""
    count = last_count(table.shape[1])
    values_M = table.rising_MKI[:, -count:].mean(axis=(1, 2), dtype=np.float64)
    return Target(values_M, f"mean {table.metric} over all items and the last {count} checkpoints")


def distilled(
    table: ItemTable,
    keep: float | None,
    method: str,
    target: Target,
    early: Mapping[str, int],
    repeats: int,
    rng: np.random.Generator,
    quiet: bool = True,
    choose_until: float = 1.0,
) -> HeldOutReport:
    """What choosing ``keep`` of the items by ``method`` gains, over random halves of the models.

    ``choose_until``: the items are chosen from this share of the run, and measured over all of it. By :data:`ALL` no
    model chooses, and every one is held out.
    """
    models, _, items = table.shape
    count = kept_count(items, keep, method)
    choosing = 0 if method == ALL else models // 2
    if method != ALL and models < LEAST_MODELS:
        raise UserError(
            f"refused to report an in-sample number: {models} models cannot be split into some to choose the items on "
            f"and others to test them on; give at least {LEAST_MODELS}"
        )
    found: list[dict[str, dict[str, float]]] = []
    picks: list[NDArray[np.int64]] = []
    tested: list[tuple[int, ...]] = []
    with progress_bar(repeats, "splits", "distil", quiet=quiet) as bar:
        for _ in range(repeats):
            order = rng.permutation(models)
            chosen_on, tested_on = order[:choosing].tolist(), order[choosing:].tolist()
            arms = _arms(chosen_from(table, choose_until)[chosen_on], count, method, rng)
            found.append(
                {name: held_out_measures(table, arm, chosen_on, tested_on, target, early) for name, arm in arms.items()}
            )
            picks.append(arms["chosen"])
            tested.append(tuple(tested_on))
            bar.update()
    measures = {name: {arm: _spread([one[arm][name] for one in found]) for arm in found[0]} for name in found[0]["all"]}
    gains = {name: _spread([one["chosen"][name] - one["random"][name] for one in found]) for name in found[0]["all"]}
    overlap = _overlap(picks)
    return HeldOutReport(measures, gains, repeats, choosing, models - choosing, overlap, tuple(tested))


def _arms(
    seen_MKI: ItemValues, count: int | None, method: str, rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Name -> items: all, as many random ones as are chosen, the chosen, and as many by the ways that are one line."""
    items = seen_MKI.shape[2]
    pick = chosen_items(seen_MKI, count, method)
    arms = {"all": np.arange(items), "random": np.sort(rng.permutation(items)[: len(pick)]), "chosen": pick}
    rivals = () if method == ALL else [name for name in BASELINES if name != method]
    return arms | {name: chosen_items(seen_MKI, len(pick), name) for name in rivals}


def chosen_from(table: ItemTable, share: float) -> NDArray[np.float32]:
    """What items are chosen from: the checkpoints of this share of the run, 4 of them at least."""
    if not 0 < share <= 1:
        raise UserError(f"--choose-until: found {share:g}; a share of the run above 0 and up to 1 is expected")
    positions_K = positions_of(table)
    count = int((positions_K <= share * positions_K[-1] + 1e-9).sum())
    if count < min(LEAST_CHOSEN_FROM, len(positions_K)):
        raise UserError(
            f"--choose-until: {count} checkpoints lie in the first {share:.0%} of the run of {table.task}; at least "
            f"{LEAST_CHOSEN_FROM} are needed to choose items by"
        )
    return np.asarray(table.rising_MKI[:, :count])


def whole_measures(
    values_MK: Values, tested: Sequence[Sequence[int]], target: Target, early: Mapping[str, int]
) -> dict[str, Spread]:
    """SNR and decision accuracy of a curve per series, such as another metric of all items, on the held-out models."""
    found: dict[str, list[float]] = {}
    for models in tested:
        at_M = np.asarray(models, dtype=np.int64)
        found.setdefault("SNR", []).append(late_snr(values_MK[at_M]))
        for label, at in early.items():
            accuracy = decision_accuracy(values_MK[at_M, at], target.values_M[at_M])
            found.setdefault(f"DA at {label}", []).append(accuracy)
    return {name: _spread(values) for name, values in found.items()}


def kept_count(items: int, keep: float | None, method: str) -> int | None:
    """The number of items that the share ``keep`` stands for, at least 2; None for a way that counts itself."""
    if method not in METHODS | COUNTED:
        raise UserError(f"--method: unknown method {method!r}. {nearest_names(method, METHODS | COUNTED)}")
    if method in COUNTED:
        if keep is not None:
            raise UserError(f"--keep: --method {method} says itself which items are kept; leave out one of the two")
        return None
    share = USUAL_SHARE if keep is None else keep
    if not 0 < share < 1:
        raise UserError(f"--keep: found {share:g}; a share of the items between 0 and 1 is expected, for example 0.2")
    return max(LEAST_KEPT, round(share * items))


def _spread(values: Sequence[float]) -> Spread:
    known = np.asarray([value for value in values if np.isfinite(value)])
    mean = float(known.mean()) if len(known) else float("nan")
    return Spread(mean, *percentile_interval(known))


def _overlap(picks: Sequence[NDArray[np.int64]]) -> float:
    """Mean share of items that two choices on different halves have in common."""
    pairs = [(a, b) for a in range(len(picks)) for b in range(a)]
    if not pairs:
        return float("nan")
    return float(np.mean([len(np.intersect1d(picks[a], picks[b])) / len(picks[a]) for a, b in pairs]))


def early_checkpoints(table: ItemTable, tokens: Sequence[float]) -> dict[str, int]:
    """Label -> index of the checkpoint nearest to each number of tokens; at 10 % of the run where none is given."""
    positions_K = positions_of(table)
    if not tokens:
        return {"10% of the run": int(np.searchsorted(positions_K, 0.1 * positions_K[-1] - 1e-9))}
    if not np.isfinite(table.tokens_K).all():
        raise UserError("--early-tokens: the tokens of the checkpoints are unknown; give --tokens-per-step too")
    return {f"{amount / 1e9:g}B tokens": int(np.argmin(np.abs(positions_K - amount))) for amount in tokens}
