"""Every method with three models of different weights, against its formula written out in float64.

Two models hide much: their mean is their median, their pairs are one, and the sign of a sum is that of the larger.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from e2lm import MergeStrategy
from e2lm.merge_strategy import TrajectoryMerge
from e2lm.plugin_manager import plugin_manager
from e2lm_merge.plan.merge_plan import find_strategy

Array = NDArray[np.float64]
#: From base, models M × (tensor) and weights M to the merged tensor.
Formula = Callable[[Array, Array, Array], Array]

SHAPE = (6, 10)
WEIGHTS = (0.5, 0.3, 0.4)


@pytest.fixture(scope="module")
def three() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    base = rng.normal(size=SHAPE).astype(np.float32).astype(np.float64)
    models = base + np.array([1.0, 0.6, 1.5])[:, None, None] * rng.normal(size=(3, *SHAPE)) + 0.4
    return base, models.astype(np.float32).astype(np.float64)


def on_deltas(formula: Callable[[Array, Array], Array]) -> Formula:
    return lambda base, models, weights: base + formula(models - base, weights[:, None, None])


def top(delta: Array, count: int) -> Array:
    """``delta`` with all but its ``count`` largest magnitudes set to zero."""
    return np.where(np.abs(delta) >= np.sort(np.abs(delta), axis=None)[-count], delta, 0.0)


def top_of_each(deltas: Array, share: float) -> Array:
    return np.array([top(delta, int(share * delta.size)) for delta in deltas])


def without_ends(deltas: Array, density: float, gamma: float) -> Array:
    kept, outliers = int(density * deltas[0].size), int(gamma * deltas[0].size)
    return np.array([top(delta, kept + outliers) - top(delta, outliers) for delta in deltas])


def elected(deltas: Array, weights: Array, mean: bool) -> Array:
    sign = np.where((weights * deltas).sum(axis=0) >= 0, 1.0, -1.0)
    agrees = deltas * sign > 0
    summed = (weights * deltas * agrees).sum(axis=0)
    return summed / np.maximum((weights * agrees).sum(axis=0), 1e-12) if mean else summed


def consensus(deltas: Array, weights: Array) -> Array:
    weighted = weights * deltas
    useful = np.abs(weighted) > 0.4 * np.abs(weighted.sum(axis=0) - weighted)
    return weighted.sum(axis=0) * (useful.sum(axis=0) >= 2)


def stock(deltas: Array) -> Array:
    """Along the last axis."""
    units = deltas / np.linalg.norm(deltas, axis=-1, keepdims=True)
    cosine = np.mean([(units[i] * units[j]).sum(axis=-1) for i, j in ((0, 1), (0, 2), (1, 2))], axis=0)
    return (3 * cosine / (1 + 2 * cosine))[..., None] * deltas.mean(axis=0)


def sce(deltas: Array, share: float) -> Array:
    variance = deltas.var(axis=0)
    chosen = np.where(variance >= np.sort(variance, axis=None)[-int(share * variance.size)], 1.0, 0.0)
    kept = deltas * chosen
    energies = (kept**2).mean(axis=(1, 2))
    sign = np.where(kept.sum(axis=0) >= 0, 1.0, -1.0)
    agrees = kept * sign > 0
    shares = (energies / energies.sum())[:, None, None]
    return (shares * kept * agrees).sum(axis=0) / np.maximum((shares * agrees).sum(axis=0), 1e-6)


def ram(deltas: Array, epsilon: float, factors: Array | float = 1.0) -> Array:
    changed = np.abs(deltas) > epsilon
    count = changed.sum(axis=0)
    kept = deltas * changed
    return (kept * np.where(count == 1, factors, 1 / np.maximum(count, 1))).sum(axis=0)


def ramplus(deltas: Array, epsilon: float, most: float) -> Array:
    changed = np.abs(deltas) > epsilon
    own, shared = ((changed & one).sum(axis=(1, 2)) for one in (changed.sum(0) == 1, changed.sum(0) > 1))
    return ram(deltas, epsilon, (1 + 0.5 * np.minimum(shared / own, most))[:, None, None])


def unit(rows: Array) -> Array:
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    return (rows - low) / (high - low)


def pcb(deltas: Array, ratio: float) -> Array:
    """With fewer than 10,000 numbers only the largest magnitude is clipped, to the one below it."""
    flat = deltas.reshape(3, -1)
    sizes = np.minimum(np.abs(flat), np.sort(np.abs(flat), axis=1)[:, -2:-1])
    scores = np.exp(3 * unit(sizes) ** 2) * np.tanh(flat * flat.sum(axis=0))
    floor = np.sort(scores, axis=1)[:, int(flat.shape[1] * (1 - ratio))][:, None]
    scores = unit(np.maximum(scores, floor))
    mixed = (np.sign(flat) * sizes * scores).sum(axis=0) / np.maximum(scores.sum(axis=0), 1e-12)
    return mixed.reshape(SHAPE)


def iso_c(deltas: Array) -> Array:
    left, values, right = np.linalg.svd(deltas.sum(axis=0), full_matrices=False)
    return values.mean() * left @ right


def tsv_m(deltas: Array) -> Array:
    parts = [np.linalg.svd(delta, full_matrices=False) for delta in deltas]
    kept = min(SHAPE) // 3

    def nearest_orthogonal(matrix: Array) -> Array:
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        return left @ right

    lefts = nearest_orthogonal(np.concatenate([left[:, :kept] for left, _, _ in parts], axis=1))
    rights = nearest_orthogonal(np.concatenate([right[:kept] for _, _, right in parts]))
    return lefts @ np.diag(np.concatenate([values[:kept] for _, values, _ in parts])) @ rights


def multislerp(base: Array, models: Array, weights: Array) -> Array:
    del base
    norms = np.linalg.norm(models, axis=(1, 2), keepdims=True)
    units, shares = models / norms, (weights / weights.sum())[:, None, None]
    mean = (shares * units).sum(axis=0)
    mean /= np.linalg.norm(mean)
    tangent = (shares * (units - (units * mean).sum(axis=(1, 2), keepdims=True) * mean)).sum(axis=0)
    length = np.linalg.norm(tangent)
    return (np.cos(length) * mean + np.sin(length) * tangent / length) * (shares * norms).sum()


def karcher(base: Array, models: Array, weights: Array) -> Array:
    """Fixed point of the mean of logarithms, by many small steps."""
    del base, weights
    norms = np.linalg.norm(models, axis=(1, 2), keepdims=True)
    units = models / norms
    mean = units[0]
    for _ in range(2000):
        cosines = (units * mean).sum(axis=(1, 2), keepdims=True)
        towards = (np.arccos(cosines) / np.sqrt(1 - cosines**2) * (units - cosines * mean)).mean(axis=0)
        mean = mean + 0.1 * towards
        mean /= np.linalg.norm(mean)
    return mean * norms.mean()


def weighted(*coefficients: float) -> Formula:
    return lambda base, models, weights: np.tensordot(np.array(coefficients), models, axes=1)


W = np.array(WEIGHTS)
ROOTS = np.sqrt([1 / 3, 2 / 3])

#: Strategy, its parameters, and its formula.
CASES: list[tuple[str, dict[str, Any], Formula]] = [
    ("linear", {}, weighted(*(W / W.sum()))),
    ("linear", {"normalize": False}, weighted(*W)),
    ("task_arithmetic", {}, on_deltas(lambda d, w: (w * d).sum(axis=0))),
    ("task_arithmetic", {"normalize": True, "lambda": 0.7}, on_deltas(lambda d, w: 0.7 * (w * d).sum(0) / w.sum())),
    ("lines", {}, on_deltas(lambda d, w: 0.3 * (w * d).sum(axis=0))),
    ("consensus", {}, on_deltas(consensus)),
    ("ties", {"density": 0.4}, on_deltas(lambda d, w: elected(top_of_each(d, 0.4), w, True))),
    ("ties", {"density": 0.4, "normalize": False}, on_deltas(lambda d, w: elected(top_of_each(d, 0.4), w, False))),
    ("prune_scale", {"density": 0.3}, on_deltas(lambda d, w: (w * top_of_each(d, 0.3)).sum(axis=0))),
    ("breadcrumbs", {"density": 0.5, "gamma": 0.1}, on_deltas(lambda d, w: (w * without_ends(d, 0.5, 0.1)).sum(0))),
    (
        *("breadcrumbs_ties", {"density": 0.5, "gamma": 0.1}),
        on_deltas(lambda d, w: elected(without_ends(d, 0.5, 0.1), w, False)),
    ),
    ("dare_linear", {}, on_deltas(lambda d, w: (w * d).sum(axis=0))),
    ("dare_ties", {}, on_deltas(lambda d, w: elected(d, w, False))),
    ("della_linear", {}, on_deltas(lambda d, w: (w * d).sum(axis=0))),
    ("della", {}, on_deltas(lambda d, w: elected(d, w, True))),
    ("model_stock", {}, on_deltas(lambda d, w: stock(d.reshape(3, 1, -1)).reshape(SHAPE))),
    ("model_stock", {"filter_wise": True}, on_deltas(lambda d, w: stock(d))),
    ("sce", {}, on_deltas(lambda d, w: sce(d, 1.0))),
    ("sce", {"select_topk": 0.4}, on_deltas(lambda d, w: sce(d, 0.4))),
    ("ram", {}, on_deltas(lambda d, w: d.mean(axis=0))),
    ("ram", {"epsilon": 0.8}, on_deltas(lambda d, w: ram(d, 0.8))),
    ("ramplus_tl", {"epsilon": 0.8, "r": 0.5, "alpha": 1.2}, on_deltas(lambda d, w: ramplus(d, 0.8, 1.2))),
    ("ramplus_tl", {"epsilon": 0.8, "r": 0.5, "alpha": 9.0}, on_deltas(lambda d, w: ramplus(d, 0.8, 9.0))),
    ("pcb", {"ratio": 0.3}, on_deltas(lambda d, w: pcb(d, 0.3))),
    ("iso_c", {"lambda": 0.5}, on_deltas(lambda d, w: 0.5 * iso_c(d))),
    ("tsv_m", {}, on_deltas(lambda d, w: tsv_m(d))),
    ("multislerp", {}, multislerp),
    ("karcher", {"max_iter": 100.0, "tol": 1e-9}, karcher),
    *((name, {}, weighted(1 / 3, 1 / 3, 1 / 3)) for name in ("lawa", "sma", "swa")),
    ("wma", {}, weighted(1 / 6, 2 / 6, 3 / 6)),
    ("ema", {}, weighted(0.64, 0.16, 0.2)),
    ("wsm", {}, weighted(ROOTS[0], ROOTS[1] - ROOTS[0], 1 - ROOTS[1])),
]


def ours() -> list[MergeStrategy]:
    found = plugin_manager().registered("e2lm_register_merge_strategies", MergeStrategy)
    return [entry.item for entries in found.values() for entry in entries if entry.plugin.distribution == "e2lm"]


@pytest.mark.parametrize(("name", "parameters", "formula"), CASES, ids=[f"{one[0]}-{one[1]}" for one in CASES])
def test_three_models_are_merged_as_the_formula_says(
    name: str, parameters: dict[str, Any], formula: Formula, three: Any, merge_one: Any
) -> None:
    base, models = three
    tensors = [torch.tensor(model, dtype=torch.float32) for model in models]
    strategy = find_strategy(name)
    given = torch.tensor(base, dtype=torch.float32) if strategy.needs_base else None
    weights = WEIGHTS if "weight" in strategy.model_parameters else None
    if isinstance(strategy, TrajectoryMerge):
        weights = strategy.weigh([100, 200, 300], strategy.defaults)
    merged = merge_one(name, tensors, given, weights, **parameters)
    assert merged.numpy() == pytest.approx(formula(base, models, W), rel=2e-4, abs=2e-5)


def test_every_method_that_takes_three_models_is_tried_with_three() -> None:
    """Those that score on the way are tried with three in the tests of their searches."""
    takes_three = {one.name for one in ours() if (one.inputs[1] or 3) >= 3}
    assert takes_three - {name for name, _, _ in CASES} == {"greedy_soup", "hi_merging"}


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties", "della_linear", "della"])
def test_of_three_models_each_drops_its_own_numbers_and_is_scaled_back(name: str, merge_one: Any) -> None:
    """Deltas of 1, 10 and 100 everywhere, so that a sum says whose numbers are in it."""
    tensors = [torch.full((40, 50), size) for size in (1.0, 10.0, 100.0)]
    merged = merge_one(
        name, tensors, torch.zeros(40, 50), WEIGHTS, density=0.6, rescale_norm="inverse", normalize=False
    )
    terms = W * np.array([1.0, 10.0, 100.0]) / 0.6
    sums = {
        members: terms[list(members)].sum() for count in range(4) for members in itertools.combinations(range(3), count)
    }
    counts = {
        members: int(np.isclose(merged.numpy(), total, rtol=1e-5, atol=1e-6).sum()) for members, total in sums.items()
    }
    assert sum(counts.values()) == 2000
    # Equal magnitudes share the highest rank of DELLA, so all are kept with density + epsilon.
    kept = 0.75 if name.startswith("della") else 0.6
    for members, count in counts.items():
        expected = kept ** len(members) * (1 - kept) ** (3 - len(members))
        assert count / 2000 == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 2000))


#: Values that a config may leave out, as the sources or mergekit 0.1.5 have them.
DEFAULTS: dict[str, dict[str, Any]] = {
    "linear": {"normalize": True, "weight": 1.0},
    "slerp": {"t": 0.5},
    "nearswap": {"t": 0.001},
    "passthrough": {"scale": 1.0},
    "task_arithmetic": {"normalize": False, "lambda": 1.0, "weight": 1.0},
    "lines": {"alpha": 0.3, "beta": 0.7, "normalize": False, "lambda": 1.0},
    "consensus": {"agreement": 2.0, "mask_lambda": 0.4, "lambda": 1.0},
    "ties": {"normalize": True, "trim_scope": "tensor", "rescale": False, "lambda": 1.0, "density": 1.0},
    "prune_scale": {"trim_scope": "tensor", "rescale": False, "lambda": 1.0, "density": 1.0},
    "breadcrumbs": {"normalize": False, "rescale": False, "density": 1.0, "gamma": 0.01},
    "breadcrumbs_ties": {"normalize": False, "rescale": False, "density": 1.0, "gamma": 0.01},
    "dare_linear": {"normalize": False, "rescale": True, "rescale_norm": "l1", "density": 1.0},
    "dare_ties": {"normalize": False, "rescale": True, "rescale_norm": "l1", "density": 1.0},
    "della_linear": {"normalize": False, "rescale": True, "density": 1.0, "epsilon": 0.15},
    "della": {"normalize": True, "rescale": True, "density": 1.0, "epsilon": 0.15},
    "model_stock": {"filter_wise": False},
    "nuslerp": {"nuslerp_flatten": True, "nuslerp_row_wise": False, "weight": 1.0},
    "multislerp": {"normalize_weights": True, "eps": 1e-8, "weight": 1.0},
    "karcher": {"max_iter": 10.0, "tol": 1e-5},
    "sce": {"select_topk": 1.0},
    "ram": {"epsilon": 1e-5},
    "ramplus_tl": {"r": 0.1, "alpha": 0.2, "epsilon": 1e-5},
    "arcee_fusion": {},
    "pcb": {"ratio": 0.1, "lambda": 1.0},
    "iso_c": {"lambda": 1.0},
    "tsv_m": {"lambda": 1.0},
    "lawa": {"window": 5, "min_interval": 0.0, "fraction": 1.0},
    "sma": {"window": 10, "min_interval": 0.0, "fraction": 1.0},
    "wma": {"window": 5, "min_interval": 0.0, "fraction": 1.0},
    "ema": {"window": 0, "min_interval": 0.0, "fraction": 1.0, "alpha": 0.2},
    "swa": {"window": 0, "min_interval": 0.0, "fraction": 1.0},
    "wsm": {"window": 10, "min_interval": 0.0, "fraction": 1.0, "curve": "1-sqrt"},
    "hi_merging": {"density": 0.1, "weight": 0.9, "z": 1.0, "layer_factor": 0.5},
    "greedy_soup": {},
}


def test_values_that_are_left_out_are_those_of_the_table() -> None:
    assert {one.name for one in ours()} == set(DEFAULTS)
    for one in ours():
        settled = {**one.defaults, **one.model_defaults}
        assert {key: settled[key] for key in DEFAULTS[one.name]} == DEFAULTS[one.name], one.name
