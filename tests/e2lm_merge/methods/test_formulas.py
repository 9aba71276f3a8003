"""Every merge method on three models and on four, against its formula worked out in float64.

Formulas are those of the papers, in numpy and nothing of ours. Models and weights are multiples of powers of two, so
that the sums whose signs decide are exact in either precision, and equal magnitudes occur. Shape suffixes: M models,
N numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import polar

from e2lm.merge_strategy import ScoredMerge, TrajectoryMerge
from e2lm_merge.plan.merge_plan import find_strategy
from e2lm_merge.plugin import e2lm_register_merge_strategies

Array = NDArray[np.float64]
MergeArrays = Callable[..., Array]

#: Not the first layer, so that a scale by layers shows.
LAYER, LAYERS = 2, 5


@dataclass(frozen=True)
class Merge:
    """What goes into a merge; ``masks`` are what random methods kept, looked up one model at a time."""

    models: list[Array]
    base: Array | None
    weights: list[float]
    parameters: dict[str, Any] = field(default_factory=dict)
    own: list[dict[str, float]] = field(default_factory=list)
    masks: list[Array] = field(default_factory=list)

    @property
    def deltas(self) -> list[Array]:
        assert self.base is not None
        return [model - self.base for model in self.models]

    def get(self, name: str, default: Any) -> Any:
        return self.parameters.get(name, default)

    def moved(self, change: Array) -> Array:
        """θ₀ + λ·change."""
        assert self.base is not None
        return self.base + self.get("lambda", 1.0) * change


def weighted(parts: Sequence[Array], weights: Sequence[float]) -> Array:
    return np.sum([weight * part for part, weight in zip(parts, weights, strict=True)], axis=0)


# weighted sums


def linear(merge: Merge) -> Array:
    total = weighted(merge.models, merge.weights)
    return total / sum(merge.weights) if merge.get("normalize", True) else total


def task_arithmetic(merge: Merge) -> Array:
    total = weighted(merge.deltas, merge.weights)
    return merge.moved(total / sum(merge.weights) if merge.get("normalize", False) else total)


def lines(merge: Merge) -> Array:
    factor = merge.get("alpha", 0.3) + merge.get("beta", 0.7) * LAYER / (LAYERS - 1)
    assert merge.base is not None
    return merge.base + factor * (task_arithmetic(merge) - merge.base)


def consensus(merge: Merge) -> Array:
    parts = [weight * delta for weight, delta in zip(merge.weights, merge.deltas, strict=True)]
    total = np.sum(parts, axis=0)
    users = sum((np.abs(part) > merge.get("mask_lambda", 0.4) * np.abs(total - part)).astype(int) for part in parts)
    return merge.moved(np.where(users >= merge.get("agreement", 2), total, 0.0))


def ram(merge: Merge) -> Array:
    deltas = np.array(merge.deltas)
    changed = np.abs(deltas) > merge.get("epsilon", 1e-5)
    count = changed.sum(axis=0)
    own, shared = ((changed & one).reshape(len(deltas), -1).sum(axis=1) for one in (count == 1, count > 1))
    ratio = np.minimum(shared / np.maximum(own, 1e-5), merge.get("alpha", 0.2))
    factors = (1 + merge.get("r", 0.0) * ratio).reshape(-1, *[1] * (deltas.ndim - 1))
    assert merge.base is not None
    return merge.base + (deltas * changed * np.where(count == 1, factors, 1 / np.maximum(count, 1))).sum(axis=0)


def arcee_fusion(merge: Merge) -> Array:
    assert merge.base is not None
    (model,) = merge.models

    def shares(rows: Array) -> Array:
        return np.exp(rows) / np.exp(rows).sum(axis=-1, keepdims=True) + 1e-8

    parted = (shares(model) * np.log(shares(model) / shares(merge.base))).sum(axis=-1, keepdims=True)
    scores = np.abs(model - merge.base) * parted
    low, median, high = (np.sort(scores, axis=None)[int(q * (scores.size - 1))] for q in (0.25, 0.5, 0.75))
    cut = median + 1.5 * (high - low)
    taken = np.where(scores >= cut, model, merge.base)
    return np.where(np.isclose(scores, cut, rtol=1e-4, atol=1e-9) & (model != merge.base), np.nan, taken)


def nearswap(merge: Merge) -> Array:
    assert merge.base is not None
    (near,) = merge.models
    share = np.clip(merge.get("t", 0.001) / np.maximum(np.abs(merge.base - near), 1e-6), 0, 1)
    return (1 - share) * merge.base + share * near


def passthrough(merge: Merge) -> Array:
    return merge.get("scale", 1.0) * merge.models[0]


# on the sphere


def arc(left: Array, right: Array, t: float, axis: int | None, straight: float) -> Array:
    """Shoemake's interpolation along ``axis``; linear where |cos| is above ``straight``."""

    def inner(one: Array, other: Array) -> Array:
        return np.asarray(np.sum(one * other, axis=axis, keepdims=True))

    cosine = np.clip(inner(left, right) / np.sqrt(inner(left, left) * inner(right, right)), -1, 1)
    angle = np.arccos(cosine)
    flat = np.abs(cosine) > straight
    curved = (np.sin((1 - t) * angle) * left + np.sin(t * angle) * right) / np.where(flat, 1.0, np.sin(angle))
    return np.where(flat, (1 - t) * left + t * right, curved)


def slerp(merge: Merge) -> Array:
    assert merge.base is not None
    return arc(merge.base, merge.models[0], merge.get("t", 0.5), None, 0.9995)


def nuslerp(merge: Merge) -> Array:
    left, right = merge.models if merge.base is None else merge.deltas
    rows = merge.get("nuslerp_row_wise", False)
    axis = None if merge.get("nuslerp_flatten", True) else 0 if rows else -1
    met = arc(left, right, merge.weights[1] / sum(merge.weights), axis, 1 - 1e-12)
    return met if merge.base is None else merge.base + met


def multislerp(merge: Merge) -> Array:
    vectors = merge.models if merge.base is None else merge.deltas
    weights = np.array(merge.weights)
    if merge.get("normalize_weights", True):
        weights = weights / weights.sum()
    norms = [float(np.linalg.norm(one)) for one in vectors]
    units = [one / norm for one, norm in zip(vectors, norms, strict=True)]
    mean = weighted(units, weights)
    mean = mean / np.linalg.norm(mean)
    tangent = weighted([unit - np.vdot(unit, mean) * mean for unit in units], weights)
    length = float(np.linalg.norm(tangent))
    met = (math.cos(length) * mean + math.sin(length) * tangent / length) * float(np.dot(weights, norms))
    return met if merge.base is None else merge.base + met


def karcher(merge: Merge) -> Array:
    norms = [float(np.linalg.norm(one)) for one in merge.models]
    units = [one / norm for one, norm in zip(merge.models, norms, strict=True)]
    mean = np.mean(units, axis=0)
    mean = mean / np.linalg.norm(mean)
    for _ in range(int(merge.get("max_iter", 10))):
        logs = []
        for unit in units:
            cosine = float(np.clip(np.vdot(mean, unit), -1, 1))
            angle = math.acos(cosine)
            logs.append((unit - cosine * mean) * (angle / math.sin(angle)))
        step = np.mean(logs, axis=0)
        length = float(np.linalg.norm(step))
        if length < merge.get("tol", 1e-5):
            break
        mean = math.cos(length) * mean + math.sin(length) * step / length
        mean = mean / np.linalg.norm(mean)
    return mean * float(np.mean(norms))


# trimming and dropping


def largest_first(values: Array) -> list[int]:
    """Places by falling magnitude, of equal ones the lower first."""
    flat = np.abs(values).ravel()
    return sorted(range(flat.size), key=lambda place: (-flat[place], place))


def keeping(values: Array, places: Sequence[int]) -> Array:
    kept = np.zeros(values.size)
    kept[list(places)] = values.ravel()[list(places)]
    return kept.reshape(values.shape)


def trimmed(merge: Merge) -> list[Array]:
    """The top density share of every δᵢ; with ``global`` all that equal the last too, as in the authors' code."""
    found = []
    for delta, own in zip(merge.deltas, merge.own, strict=True):
        count = max(1, int(own["density"] * delta.size))
        order = largest_first(delta)
        if merge.get("trim_scope", "tensor") == "global":
            least = abs(delta.ravel()[order[count - 1]])
            count = int(np.count_nonzero(np.abs(delta) >= least))
        found.append(same_sum(merge, delta, keeping(delta, order[:count])))
    return found


def without_outliers(merge: Merge) -> list[Array]:
    found = []
    for delta, own in zip(merge.deltas, merge.own, strict=True):
        kept = int(own["density"] * delta.size)
        dropped = min(int(own["gamma"] * delta.size), delta.size - kept)
        found.append(same_sum(merge, delta, keeping(delta, largest_first(delta)[dropped : dropped + kept])))
    return found


def same_sum(merge: Merge, before: Array, after: Array) -> Array:
    """``after`` with the sum of magnitudes of ``before``, where ``rescale`` asks for it."""
    total = np.abs(after).sum()
    return after * (np.abs(before).sum() / total) if merge.get("rescale", False) and total > 0 else after


def dropped(merge: Merge) -> list[Array]:
    found = []
    for delta, mask, own in zip(merge.deltas, merge.masks, merge.own, strict=True):
        kept = delta * mask
        if merge.get("rescale", True) and merge.get("rescale_norm", "l1") == "inverse":
            kept = kept / own["density"]
        elif merge.get("rescale", True) and kept.any():
            kept = kept * (np.abs(delta).sum() / np.abs(kept).sum())
        found.append(kept)
    return found


def summed(merge: Merge, parts: Sequence[Array], normalize: bool) -> Array:
    total = weighted(parts, merge.weights)
    return merge.moved(total / sum(merge.weights) if normalize else total)


def elected(merge: Merge, parts: Sequence[Array], normalize: bool) -> Array:
    """Sum over the models with the sign of Σ wᵢδᵢ, + at zero; NaN where rescaled sums are zero but for rounding."""
    pieces_MN = np.stack([weight * part for part, weight in zip(parts, merge.weights, strict=True)])
    total = pieces_MN.sum(axis=0)
    sign = np.where(total >= 0, 1.0, -1.0)
    agree_MN = pieces_MN * sign > 0
    weight_M1 = np.array(merge.weights).reshape(-1, *([1] * total.ndim))
    agreed = np.where(agree_MN, pieces_MN, 0).sum(axis=0)
    divisor = np.where(agree_MN, weight_M1, 0).sum(axis=0)
    mixed = np.divide(agreed, divisor, out=np.zeros_like(agreed), where=divisor != 0) if normalize else agreed
    unsure = (np.abs(total) < 1e-6 * np.abs(pieces_MN).max()) & agree_MN.any(axis=0)
    exact = not merge.get("rescale", bool(merge.masks))
    return np.where(unsure & (not exact), np.nan, merge.moved(mixed))


def ties(merge: Merge) -> Array:
    return elected(merge, trimmed(merge), merge.get("normalize", True))


def prune_scale(merge: Merge) -> Array:
    return summed(merge, trimmed(merge), False)


def breadcrumbs(merge: Merge) -> Array:
    return summed(merge, without_outliers(merge), merge.get("normalize", False))


def breadcrumbs_ties(merge: Merge) -> Array:
    return elected(merge, without_outliers(merge), merge.get("normalize", False))


def drop_linear(merge: Merge) -> Array:
    return summed(merge, dropped(merge), merge.get("normalize", False))


def dare_ties(merge: Merge) -> Array:
    return elected(merge, dropped(merge), merge.get("normalize", False))


def della(merge: Merge) -> Array:
    return elected(merge, dropped(merge), merge.get("normalize", True))


# angles, variances, spectra


def model_stock(merge: Merge) -> Array:
    assert merge.base is not None
    axis = -1 if merge.get("filter_wise", False) else None

    def inner(one: Array, other: Array) -> Array:
        return np.asarray(np.sum(one * other, axis=axis, keepdims=True))

    pairs = list(itertools.combinations(merge.deltas, 2))
    cosine = sum(inner(a, b) / np.sqrt(inner(a, a) * inner(b, b)) for a, b in pairs) / len(pairs)
    count = len(merge.models)
    share = count * cosine / (1 + (count - 1) * cosine)
    return share * np.mean(merge.models, axis=0) + (1 - share) * merge.base


def sce(merge: Merge) -> Array:
    assert merge.base is not None
    deltas_MN = np.stack(merge.deltas)
    varying = deltas_MN.var(axis=0)
    if merge.get("select_topk", 1.0) < 1:
        count = int(np.count_nonzero(varying) * merge.get("select_topk", 1.0))
        chosen = keeping(np.ones_like(varying), largest_first(varying)[:count])
        deltas_MN = deltas_MN * chosen
    energy_M = np.square(deltas_MN).reshape(len(deltas_MN), -1).mean(axis=1)
    shares_M = energy_M / energy_M.sum() if energy_M.any() else np.full(len(energy_M), 1 / len(energy_M))
    sign = np.where(deltas_MN.sum(axis=0) >= 0, 1.0, -1.0)
    agree_MN = deltas_MN * sign > 0
    shares_M1 = shares_M.reshape(-1, *([1] * varying.ndim))
    divisor = np.where(agree_MN, shares_M1, 0).sum(axis=0)
    total = np.where(agree_MN, shares_M1 * deltas_MN, 0).sum(axis=0)
    return merge.base + np.divide(total, divisor, out=np.zeros_like(total), where=divisor > 0)


def iso_c(merge: Merge) -> Array:
    total = np.sum(merge.deltas, axis=0)
    directions, _ = polar(total)
    return merge.moved(np.linalg.svd(total, compute_uv=False).mean() * directions)


def tsv_m(merge: Merge) -> Array:
    kept = max(1, min(merge.models[0].shape) // len(merge.models))
    parts = [np.linalg.svd(delta, full_matrices=False) for delta in merge.deltas]
    lefts, _ = polar(np.concatenate([left[:, :kept] for left, _, _ in parts], axis=1))
    rights, _ = polar(np.concatenate([right[:kept] for _, _, right in parts], axis=0))
    return merge.moved(lefts @ np.diag(np.concatenate([values[:kept] for _, values, _ in parts])) @ rights)


def pcb(merge: Merge) -> Array:
    deltas_MN = np.stack([delta.ravel() for delta in merge.deltas])
    count = deltas_MN.shape[1]

    def unit(values_MN: Array) -> Array:
        low, high = values_MN.min(axis=1, keepdims=True), values_MN.max(axis=1, keepdims=True)
        return (values_MN - low) / np.where(high > low, high - low, 1.0)

    # Below 10,000 numbers the outliers are the one largest, which becomes as large as the next.
    magnitudes_MN = np.minimum(np.abs(deltas_MN), np.sort(np.abs(deltas_MN), axis=1)[:, [-2]])
    own_MN = np.exp(len(deltas_MN) * unit(magnitudes_MN) ** 2)
    scores_MN = own_MN * np.tanh(deltas_MN * deltas_MN.sum(axis=0))
    ordered_MN = np.sort(scores_MN, axis=1)
    least = ordered_MN[:, [min(count - 1, int(count * (1 - merge.get("ratio", 0.1))))]]
    most = ordered_MN[:, [count - 1]]
    shares_MN = unit(np.clip(scores_MN, least, most))
    total = (np.sign(deltas_MN) * magnitudes_MN * shares_MN).sum(axis=0)
    mixed = np.divide(total, shares_MN.sum(axis=0), out=np.zeros(count), where=shares_MN.sum(axis=0) > 0)
    return merge.moved(mixed.reshape(merge.models[0].shape))


# along a run: the models are its checkpoints, and the weights follow from the window

#: Steps some of which lie just an interval apart, or just at the window's oldest.
STEPS = (100, 250, 300, 500)


def window_places(merge: Merge, checkpoints: int) -> list[int]:
    """Which checkpoints are averaged at the last one that is far enough from the one taken before it."""
    steps = STEPS[: len(merge.models)]
    far_apart: list[int] = []
    for place, step in enumerate(steps):
        if not far_apart or step - steps[far_apart[-1]] >= merge.get("min_interval", 0):
            far_apart.append(place)
    taken = int(merge.get("window", checkpoints)) or len(steps)
    first = (1 - merge.get("fraction", 1.0)) * steps[far_apart[-1]]
    return [place for place in far_apart[-taken:] if steps[place] >= first]


def window(merge: Merge, checkpoints: int) -> list[Array]:
    """Those checkpoints."""
    return [merge.models[place] for place in window_places(merge, checkpoints)]


def mean_of(checkpoints: int) -> Callable[[Merge], Array]:
    return lambda merge: np.asarray(np.mean(window(merge, checkpoints), axis=0))


def wma(merge: Merge) -> Array:
    taken = window(merge, 5)
    return weighted(taken, range(1, len(taken) + 1)) / (len(taken) * (len(taken) + 1) / 2)


def ema(merge: Merge) -> Array:
    first, *others = window(merge, 0)
    for other in others:
        first = (1 - merge.get("alpha", 0.2)) * first + merge.get("alpha", 0.2) * other
    return first


CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "1-sqrt": lambda x: 1 - math.sqrt(x),
    "cosine": lambda x: 0.5 + 0.5 * math.cos(math.pi * x),
    "square": lambda x: (1 - x) ** 2,
    "constant": lambda x: 1.0,
}


def wsm(merge: Merge) -> Array:
    """What training would have come to, had the steps between checkpoints decayed by the curve (theorem 3.1).

    The decay begins half a stretch before the oldest and ends half a stretch after the newest; each stretch of training
    is decayed by what the curve says at its middle.
    """
    places = window_places(merge, 10)
    curve = CURVES[merge.get("curve", "1-sqrt")]
    decayed = merge.models[places[0]].copy()
    if len(places) == 1:
        return decayed
    steps = [STEPS[place] for place in places]
    begin = steps[0] - (steps[1] - steps[0]) / 2
    end = steps[-1] + (steps[-1] - steps[-2]) / 2
    for before, after in itertools.pairwise(places):
        middle = (STEPS[before] + STEPS[after]) / 2
        decayed += curve((middle - begin) / (end - begin)) * (merge.models[after] - merge.models[before])
    return decayed


#: How often a method may be tried with other parameters, and how far float32 may be from float64 (relative to 1).
@dataclass(frozen=True)
class Method:
    reckoned: Callable[[Merge], Array]
    parameters: dict[str, st.SearchStrategy[Any]] = field(default_factory=dict)
    own: dict[str, st.SearchStrategy[float]] = field(default_factory=dict)
    models: int = 3
    base: tuple[bool, ...] = (True,)
    tolerance: float = 2e-6
    grid: float = 2.0**-7


shares = st.floats(0.05, 1.0)
switch = st.booleans()
factor = st.floats(-1.5, 1.5)
scaled = {"lambda": factor, "normalize": switch}
trims = {"rescale": switch, **scaled}
density = {"density": shares}
crumbs = {"density": st.floats(0.05, 0.95), "gamma": st.floats(0, 0.3)}
drops = {"rescale": switch, "rescale_norm": st.sampled_from(["l1", "inverse"]), **scaled}
ranked = {"density": st.floats(0.4, 0.6), "epsilon": st.floats(0.0, 0.35)}
windows = {"window": st.integers(0, 4).map(float), "min_interval": st.sampled_from([0.0, 50.0, 150.0, 160.0]),
           "fraction": st.sampled_from([0.3, 0.5, 0.7, 1.0])}  # fmt: skip

METHODS = {
    "linear": Method(linear, {"normalize": switch}, base=(False,)),
    "passthrough": Method(passthrough, {"scale": factor}, models=1, base=(False,)),
    "nearswap": Method(nearswap, {"t": st.floats(0.0, 0.2)}, models=1),
    "task_arithmetic": Method(task_arithmetic, scaled),
    "lines": Method(lines, {"alpha": factor, "beta": factor, **scaled}),
    "consensus": Method(
        consensus,
        {
            "agreement": st.integers(0, 4).map(float),
            "mask_lambda": st.integers(0, 24).map(lambda sixteenths: sixteenths / 16),
            "lambda": factor,
        },
    ),
    "slerp": Method(slerp, {"t": st.floats(0, 1)}, models=1),
    "nuslerp": Method(
        nuslerp, {"nuslerp_flatten": switch, "nuslerp_row_wise": switch}, models=2, base=(True, False), tolerance=1e-5
    ),
    "multislerp": Method(multislerp, {"normalize_weights": switch}, base=(True, False), tolerance=1e-5),
    "karcher": Method(
        karcher, {"max_iter": st.integers(1, 20).map(float), "tol": st.floats(1e-7, 1e-2)}, base=(False,)
    ),
    "ties": Method(ties, {"trim_scope": st.sampled_from(["tensor", "global"]), **trims}, density),
    "prune_scale": Method(
        prune_scale,
        {"trim_scope": st.sampled_from(["tensor", "global"]), "rescale": switch, "lambda": factor},
        density,
        tolerance=1e-5,
    ),
    "breadcrumbs": Method(breadcrumbs, trims, crumbs, tolerance=1e-5),
    "breadcrumbs_ties": Method(breadcrumbs_ties, trims, crumbs, tolerance=1e-5),
    "dare_linear": Method(drop_linear, drops, {"density": st.floats(0.2, 1.0)}, tolerance=1e-5),
    "dare_ties": Method(dare_ties, drops, {"density": st.floats(0.2, 1.0)}, tolerance=1e-5),
    "della_linear": Method(drop_linear, drops, ranked, tolerance=1e-5),
    "della": Method(della, drops, ranked, tolerance=1e-5),
    "model_stock": Method(model_stock, {"filter_wise": switch}, tolerance=2e-4),
    # Variances that are equal but for rounding would have no order.
    "sce": Method(sce, {"select_topk": shares}, grid=2.0**-18),
    "ram": Method(ram, {"epsilon": st.floats(1e-3, 0.4)}),
    "ramplus_tl": Method(
        lambda merge: ram(replace(merge, parameters={"r": 0.1, **merge.parameters})),
        {"epsilon": st.floats(1e-3, 0.4), "r": st.floats(0.2, 2), "alpha": st.floats(0.1, 4)},
    ),
    "arcee_fusion": Method(arcee_fusion, models=1),
    "iso_c": Method(iso_c, {"lambda": factor}, tolerance=1e-4),
    "tsv_m": Method(tsv_m, {"lambda": factor}, tolerance=1e-4),
    "pcb": Method(pcb, {"ratio": shares, "lambda": factor}, tolerance=2e-5),
    "lawa": Method(mean_of(5), windows, base=(False,)),
    "sma": Method(mean_of(10), windows, base=(False,)),
    "wma": Method(wma, windows, base=(False,)),
    "ema": Method(ema, {"alpha": st.floats(0.01, 1.0), **windows}, base=(False,)),
    "swa": Method(mean_of(0), windows, base=(False,)),
    "wsm": Method(wsm, {"curve": st.sampled_from(sorted(CURVES)), **windows}, base=(False,)),
}
RANDOM = ("dare_linear", "dare_ties", "della_linear", "della")
LABELS = ("mild", "bold", "apex", "deep")

#: Weights that are exact in binary, and unequal more often than not.
weights_of_four = st.tuples(*[st.integers(1, 32).map(lambda sixteenths: sixteenths / 16)] * 4)
shapes = st.tuples(st.integers(4, 9), st.integers(3, 9))
examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def kept_by(merge_arrays: MergeArrays, name: str, merge: Merge) -> list[Array]:
    """What a random method keeps of every model when it is merged alone, not rescaled."""
    found = []
    for delta, own, label in zip(merge.deltas, merge.own, LABELS, strict=False):
        # A delta of zero would not show whether it was kept; which are kept goes by rank alone.
        alone = np.where(delta == 0, 2.0**-20, delta)
        kept = merge_arrays(
            name, [alone], np.zeros(delta.shape), [1.0], [label], model_parameters=[own], rescale=False, normalize=False
        )
        found.append((kept != 0).astype(np.float64))
    return found


def ours(merge_arrays: MergeArrays, name: str, merge: Merge) -> Array:
    strategy = find_strategy(name)
    weights: Sequence[float] = merge.weights
    if isinstance(strategy, TrajectoryMerge):
        weights = strategy.weigh(STEPS[: len(merge.models)], {**strategy.defaults, **merge.parameters})
    return merge_arrays(
        name, merge.models, merge.base, weights, LABELS[: len(merge.models)], model_parameters=merge.own,
        layer=LAYER, layers=LAYERS, **merge.parameters,
    )  # fmt: skip


def compare(found: Array, expected: Array, tolerance: float) -> None:
    sure = ~np.isnan(expected)
    assert sure.mean() > 0.5
    scale = max(1.0, float(np.abs(expected[sure]).max()))
    np.testing.assert_allclose(found[sure], expected[sure], rtol=0, atol=tolerance * scale)


def test_every_method_is_reckoned_and_those_for_fewer_models_refuse_three() -> None:
    merging = [one for one in e2lm_register_merge_strategies() if not isinstance(one, ScoredMerge)]
    assert {one.name for one in merging} == set(METHODS)
    for strategy in merging:
        assert strategy.inputs[1] in (None, METHODS[strategy.name].models)
        assert (True in METHODS[strategy.name].base) == (strategy.needs_base or strategy.takes_base)


@pytest.mark.parametrize("name", METHODS)
@examples
@given(data=st.data(), seed=st.integers(0, 2**31), shape=shapes, weights=weights_of_four)
def test_a_method_gives_what_its_formula_gives(
    name: str,
    data: st.DataObject,
    seed: int,
    shape: tuple[int, int],
    weights: tuple[float, ...],
    drawn_models: Any,
    merge_arrays: MergeArrays,
) -> None:
    method = METHODS[name]
    # Of three models there are as many pairs as models, so four are tried as well.
    count = data.draw(st.sampled_from([3, 4])) if method.models == 3 else method.models
    models, base = drawn_models(seed, shape, count, method.grid)
    merge = Merge(
        models,
        base if data.draw(st.sampled_from(method.base)) else None,
        list(weights[:count]),
        data.draw(st.fixed_dictionaries({}, optional=method.parameters)),
        [data.draw(st.fixed_dictionaries(method.own)) for _ in models],
    )
    if name in RANDOM:
        merge.masks.extend(kept_by(merge_arrays, name, merge))
    compare(ours(merge_arrays, name, merge), method.reckoned(merge), method.tolerance)
