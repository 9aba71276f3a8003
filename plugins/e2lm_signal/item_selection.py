"""Ways to choose the items of a benchmark that carry its signal.

Every method sees the values of some models only, turned so that more is better, and gives one number per item; the
items with the highest are kept. What it is worth is measured on other models (:mod:`e2lm_signal.distillation`).

Shape suffixes: M series, K checkpoints, I items, R residuals (series x checkpoints).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from e2lm import UserError
from e2lm.errors import nearest_names

Values = NDArray[np.float32]
Method = Callable[[Values, int], NDArray[np.float64]]

#: Late values are means over this share of the checkpoints.
LATE_SHARE = 0.3
#: Frank-Wolfe steps of group-snr; the choice is stable from about 30 on.
STEPS = 60


def _late_MI(values_MKI: Values) -> Values:
    count = max(1, round(LATE_SHARE * values_MKI.shape[1]))
    return np.asarray(values_MKI[:, -count:].mean(axis=1))


def _noise_RI(values_MKI: Values) -> Values:
    """Changes between neighbouring checkpoints, scaled to the noise of one: ``(y_k - y_{k-1}) / sqrt 2``."""
    changes_MKI = np.diff(values_MKI, axis=1)
    return np.asarray(changes_MKI.reshape(-1, values_MKI.shape[2]) / np.float32(np.sqrt(2.0)))


def _ratio(above: Values, below: Values) -> NDArray[np.float64]:
    """0 where both are 0, so that items that never change come last."""
    return np.asarray(above / np.maximum(below, np.finfo(np.float32).tiny), dtype=np.float64)


def item_snr_I(values_MKI: Values, keep: int) -> NDArray[np.float64]:
    """Spread of the models' late values over the noise between checkpoints, each item by itself."""
    return _ratio(_late_MI(values_MKI).std(axis=0, ddof=1), np.sqrt((_noise_RI(values_MKI) ** 2).mean(axis=0)))


def slope_I(values_MKI: Values, keep: int) -> NDArray[np.float64]:
    """Mean over models of the slope against log position, over its standard error between models."""
    position_K = np.log1p(np.arange(values_MKI.shape[1], dtype=np.float32))
    position_K -= position_K.mean()
    slope_MI = np.einsum("k,mki->mi", position_K, values_MKI) / (position_K**2).sum()
    error_I = slope_MI.std(axis=0, ddof=1) / np.sqrt(len(slope_MI))
    return _ratio(slope_MI.mean(axis=0), error_I)


def discrimination_I(values_MKI: Values, keep: int) -> NDArray[np.float64]:
    """Correlation, over models, of the item's late value with the mean of all other items."""
    late_MI = _late_MI(values_MKI).astype(np.float64)
    items = late_MI.shape[1]
    rest_MI = (late_MI.sum(axis=1, keepdims=True) - late_MI) / (items - 1)
    late_MI = late_MI - late_MI.mean(axis=0)
    rest_MI = rest_MI - rest_MI.mean(axis=0)
    norm_I = np.sqrt((late_MI**2).sum(axis=0) * (rest_MI**2).sum(axis=0))
    return np.asarray((late_MI * rest_MI).sum(axis=0) / np.maximum(norm_I, np.finfo(float).tiny))


def group_snr_I(values_MKI: Values, keep: int) -> NDArray[np.float64]:
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


def _share_of_variance(parts_RI: Values, whole_R: Values) -> NDArray[np.float64]:
    """Half the gradient of ``log sum(whole^2)`` in the weights; 0 where the whole is constant."""
    squared = float(whole_R @ whole_R)
    if squared == 0:
        return np.zeros(parts_RI.shape[1])
    return np.asarray(parts_RI.T @ whole_R / squared, dtype=np.float64)


def irt_discrimination_I(values_MKI: Values, keep: int) -> NDArray[np.float64]:
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


METHODS: dict[str, Method] = {
    "group-snr": group_snr_I,
    "item-snr": item_snr_I,
    "slope": slope_I,
    "discrimination": discrimination_I,
    "irt": irt_discrimination_I,
}


def chosen_items(values_MKI: Values, keep: int, method: str) -> NDArray[np.int64]:
    """The indices of the ``keep`` best items, rising."""
    if method not in METHODS:
        raise UserError(f"--method: unknown method {method!r}. {nearest_names(method, METHODS)}")
    worth_I = METHODS[method](values_MKI, keep)
    return np.sort(np.argsort(-worth_I, kind="stable")[:keep])
