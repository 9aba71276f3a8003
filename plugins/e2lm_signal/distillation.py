"""Distilling a benchmark: fewer items, more signal, measured on models that had no say in the choice.

The models are split at random in halves, many times. On one half the items are chosen, on the other half the chosen
items are compared with all items and with random items of the same number. Nothing is ever reported on models that
helped to choose. The list that is handed out is chosen on all models; its worth is that of the procedure, as measured.

* SNR: range over models of the mean of the last checkpoints, over the mean standard deviation of those checkpoints
  (Signal and Noise, n as in :mod:`e2lm_signal.signal_and_noise`).
* SQ: mean official score over models. * signal_quality: mean over models, ties and order only.
* DA at T: decision accuracy of the order at T tokens against the target order (ties one half).

Shape suffixes: M series, K checkpoints, I items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm import UserError
from e2lm.progress import progress_bar
from e2lm_signal.concordance import concordance_D, pairs_of
from e2lm_signal.decision_accuracy import decision_accuracy
from e2lm_signal.item_selection import chosen_items
from e2lm_signal.item_table import ItemTable
from e2lm_signal.official_score import signal_quality_D
from e2lm_signal.signal_and_noise import last_count

Values = NDArray[np.float64]

#: Two models to choose on and two to order are the least that can be split.
LEAST_MODELS = 4
ARMS = ("all", "random", "chosen")


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
    """``measures``: name -> arm (all, random, chosen) -> spread over splits; every number from held-out models."""

    measures: dict[str, dict[str, Spread]]
    gains: dict[str, Spread]
    repeats: int
    chosen_on: int
    tested_on: int
    overlap: float


def measured(
    values_MKI: NDArray[np.float32], target_M: Values, early: Mapping[str, int], positions_K: Values
) -> dict[str, float]:
    """The measures of the mean over the given items, more is better."""
    mean_MK = values_MKI.mean(axis=2, dtype=np.float64)
    late_MK = mean_MK[:, -last_count(mean_MK.shape[1]) :]
    noise = float(late_MK.std(axis=1, ddof=1).mean())
    found = {
        "SNR": float(np.ptp(late_MK.mean(axis=1))) / noise if noise > 0 else float("nan"),
        "SQ": float(np.mean(signal_quality_D(mean_MK))),
        "signal_quality": float(concordance_D(mean_MK, pairs_of(positions_K, None))[0].mean()),
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
    return measured(values_MKI, target.values_M[tested], early, positions_of(table))


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
    keep: float,
    method: str,
    target: Target,
    early: Mapping[str, int],
    repeats: int,
    rng: np.random.Generator,
    quiet: bool = True,
) -> HeldOutReport:
    """What choosing ``keep`` of the items by ``method`` gains, over random halves of the models."""
    models, _, items = table.shape
    count = kept_count(items, keep)
    if models < LEAST_MODELS:
        raise UserError(
            f"refused to report an in-sample number: {models} models cannot be split into some to choose the items on "
            f"and others to test them on; give at least {LEAST_MODELS}"
        )
    found: list[dict[str, dict[str, float]]] = []
    picks: list[NDArray[np.int64]] = []
    with progress_bar(repeats, "splits", "distil", quiet=quiet) as bar:
        for _ in range(repeats):
            order = rng.permutation(models)
            chosen_on, tested_on = order[: models // 2].tolist(), order[models // 2 :].tolist()
            pick = chosen_items(table.rising_MKI[chosen_on], count, method)
            arms = {"all": np.arange(items), "random": np.sort(rng.permutation(items)[:count]), "chosen": pick}
            found.append(
                {name: held_out_measures(table, arm, chosen_on, tested_on, target, early) for name, arm in arms.items()}
            )
            picks.append(pick)
            bar.update()
    measures = {name: {arm: _spread([one[arm][name] for one in found]) for arm in ARMS} for name in found[0]["all"]}
    gains = {name: _spread([one["chosen"][name] - one["random"][name] for one in found]) for name in found[0]["all"]}
    return HeldOutReport(measures, gains, repeats, models // 2, models - models // 2, _overlap(picks))


def kept_count(items: int, keep: float) -> int:
    """The number of items that the share ``keep`` stands for, at least 2."""
    if not 0 < keep < 1:
        raise UserError(f"--keep: found {keep:g}; a share of the items between 0 and 1 is expected, for example 0.2")
    return max(2, round(keep * items))


def _spread(values: Sequence[float]) -> Spread:
    low, high = np.nanquantile(values, (0.05, 0.95))
    return Spread(float(np.nanmean(values)), float(low), float(high))


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
