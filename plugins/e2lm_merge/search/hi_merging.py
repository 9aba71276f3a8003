"""Hi-Merging: contributions of layers, conflicts between models, and what is done about them.

Fu et al. 2025, ACL 2025 long.1588 (arXiv 2506.12379). With P_m the score of task m, θ_F the base, θ_m the pruned and
scaled model m, θ_G the first merge, and x either of the last two:

    α = P_m(θ_x) − P_m(θ_x − δ_x^l)        deletion impact of layer l
    β = P_m(θ_F + δ_x^l) − P_m(θ_F)        addition impact
    c_{m,x} = α + β,  γ_m = c_{m,m} − c_{m,G},  Γ = Σ γ_m; layers in descending Γ

The paper leaves several things open; each is an option of :class:`HiOptions`. Shape suffixes: I items of a task, L
layers, M models (each with its task).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from e2lm.interval import mean_stderr
from e2lm_merge.search.layers import LayerMix, Share

Scores = NDArray[np.float64]
#: Per-item scores of task m under a mix, higher is better; the same items in the same order every time.
TaskScore = Callable[[int, LayerMix], Scores]
Case = Literal["severe", "partial", "none"]

#: A gain smaller than this in absolute value is no unit to measure contributions in.
TINY_GAIN = 1e-12


@dataclass(frozen=True, slots=True)
class HiOptions:
    """What the paper does not settle, with what we take.

    combine: whether θ_G and the result add the models' differences or average them (the authors' scripts do both).
    partial_target: ``harmful`` prunes the difference that makes another task suffer, ``harmed`` the sufferer's own.
    layer_density_of: the second pruning keeps its share of what was ``kept`` by the first, or of the ``whole`` tensor.
    contribution_unit: contributions of tasks in different metrics compare as shares of their ``gain`` over the base.
    recompute: γ of the layers left is taken anew after each change (iterative reading), or once.
    z: a γ up to z standard errors is no conflict. layer_factor: "half" of the model-wise density and scale.
    """

    combine: Literal["sum", "average"] = "sum"
    partial_target: Literal["harmful", "harmed"] = "harmful"
    layer_density_of: Literal["kept", "whole"] = "kept"
    contribution_unit: Literal["gain", "raw"] = "gain"
    recompute: bool = False
    z: float = 1.0
    layer_factor: float = 0.5


@dataclass(frozen=True, slots=True)
class LayerVerdict:
    """What was found and done at one layer; ``error`` is the paired standard error of γ over items."""

    layer: int
    gamma: tuple[float, ...]
    error: tuple[float, ...]
    total: float
    contribution: tuple[float, ...]
    case: Case
    changed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HiOutcome:
    """The final mix, the verdicts in the order of processing, and how many evaluations it took."""

    mix: LayerMix
    verdicts: tuple[LayerVerdict, ...]
    evaluations: int


def hi_cost(layers: int, models: int, recompute: bool, search: bool) -> dict[str, int]:
    """Evaluations of one task's selection items that Hi-Merging needs, known before it starts.

    >>> hi_cost(28, 2, recompute=False, search=True)
    {'search': 200, 'references': 6, 'probes': 224, 'worst_case_total': 430}

    With more than two models, a partial conflict costs up to ``models`` − 1 more per suffering task, which the worst
    case counts.
    """
    probes = 4 * layers * models
    again = sum((1 + 2 * left) * models for left in range(layers)) if recompute else 0
    culprits = layers * (models // 2) * ((models + 1) // 2) + layers * models if models > 2 else 0
    found = {"search": 100 * models if search else 0, "references": 3 * models, "probes": probes}
    return {**found, "worst_case_total": sum(found.values()) + again + culprits}


@dataclass(slots=True)
class _Contributions:
    """Per-item contributions c of one layer, under the own model and under the merge, by task."""

    own: list[Scores] = field(default_factory=list)
    merged: list[Scores] = field(default_factory=list)


class HiMerging:
    """Runs the second stage: from pruned and scaled models to a mix without conflicts."""

    def __init__(self, score: TaskScore, shares_M: Sequence[Share], layers: int, options: HiOptions) -> None:
        self._score = score
        self.layers = layers
        self.models = len(shares_M)
        self.options = options
        self.evaluations = 0
        whole = LayerMix.of_layers(layers, shares_M)
        self.whole = whole
        self.first = whole if options.combine == "sum" else whole.scaled(1 / self.models)

    def score(self, task: int, mix: LayerMix) -> Scores:
        """One evaluation."""
        self.evaluations += 1
        return self._score(task, mix)

    def run(self) -> HiOutcome:
        """Probe every layer, then settle conflicts in descending Γ."""
        tasks = range(self.models)
        base = [self.score(task, self.whole.base()) for task in tasks]
        own = [self.score(task, self.whole.only_model(task)) for task in tasks]
        gains = [float((own[task] - base[task]).mean()) for task in tasks]
        merged = self.first
        found = {layer: _Contributions() for layer in range(self.layers)}
        for task in tasks:
            alone = self.whole.only_model(task)
            for layer in range(self.layers):
                found[layer].own.append(self._contribution(task, alone, layer, own[task], base[task]))
        self._probe_merge(found, merged, base, list(found))
        verdicts: list[LayerVerdict] = []
        left = list(range(self.layers))
        while left:
            layer = max(left, key=lambda one: (_total_gamma(found[one]), -one))
            left.remove(layer)
            verdict, changed = self._settled(layer, found[layer], gains, merged)
            verdicts.append(verdict)
            if changed != merged:
                merged = changed
                if self.options.recompute and left:
                    self._probe_merge(found, merged, base, left)
        return HiOutcome(merged, tuple(verdicts), self.evaluations)

    def _contribution(self, task: int, mix: LayerMix, layer: int, whole_I: Scores, base_I: Scores) -> Scores:
        """C = α + β of one layer, per item."""
        deletion_I = whole_I - self.score(task, mix.without_layer(layer))
        addition_I = self.score(task, mix.only_layer(layer)) - base_I
        return deletion_I + addition_I

    def _probe_merge(
        self, found: dict[int, _Contributions], merged: LayerMix, base: list[Scores], layers: Sequence[int]
    ) -> None:
        for layer in layers:
            found[layer].merged = []
        for task in range(self.models):
            whole_I = self.score(task, merged)
            for layer in layers:
                found[layer].merged.append(self._contribution(task, merged, layer, whole_I, base[task]))

    def _settled(
        self, layer: int, found: _Contributions, gains: Sequence[float], merged: LayerMix
    ) -> tuple[LayerVerdict, LayerMix]:
        gammas = [own_I - merged_I for own_I, merged_I in zip(found.own, found.merged, strict=True)]
        means = tuple(float(gamma_I.mean()) for gamma_I in gammas)
        errors = tuple(paired_error(gamma_I) for gamma_I in gammas)
        contribution = tuple(
            self._in_unit(float(own_I.mean()), gain) for own_I, gain in zip(found.own, gains, strict=True)
        )
        suffering = [
            task
            for task, (mean, error) in enumerate(zip(means, errors, strict=True))
            if mean > 0 and mean > self.options.z * error
        ]
        shares = list(merged.shares[layer])
        case: Case = "severe" if len(suffering) == self.models else "partial" if suffering else "none"
        if case == "severe":
            kept = int(np.argmax(contribution))
            changed = [task for task in range(self.models) if task != kept]
            for model in changed:
                shares[model] = shares[model].nothing
        else:
            changed = self._targets(layer, suffering, merged) if suffering else []
            for model in changed:
                shares[model] = self._pruned(model, shares[model])
        verdict = LayerVerdict(layer, means, errors, sum(means), contribution, case, tuple(changed))
        return verdict, merged.with_layer(layer, shares) if changed else merged

    def _in_unit(self, contribution: float, gain: float) -> float:
        if self.options.contribution_unit == "raw" or abs(gain) < TINY_GAIN:
            return contribution
        return contribution / abs(gain)

    def _targets(self, layer: int, suffering: Sequence[int], merged: LayerMix) -> list[int]:
        """Which models' differences are pruned at a partial conflict."""
        if self.options.partial_target == "harmed":
            return list(suffering)
        others = [model for model in range(self.models) if model not in suffering]
        if self.models == 2:
            return others
        before = sum(float(self.score(task, merged).mean()) for task in suffering)
        return [
            model
            for model in others
            if sum(float(self.score(task, _without(merged, layer, model)).mean()) for task in suffering) > before
        ]

    def _pruned(self, model: int, share: Share) -> Share:
        """Pruned and scaled again with ``layer_factor`` of the model-wise density and scale."""
        first = self.whole.shares[0][model]
        factor = self.options.layer_factor
        density = factor * first.density
        if self.options.layer_density_of == "kept":
            density *= first.density
        return Share(density, share.weight * factor * first.weight)


def _without(mix: LayerMix, layer: int, model: int) -> LayerMix:
    shares = list(mix.shares[layer])
    shares[model] = shares[model].nothing
    return mix.with_layer(layer, shares)


def _total_gamma(found: _Contributions) -> float:
    return sum(float((own_I - merged_I).mean()) for own_I, merged_I in zip(found.own, found.merged, strict=True))


def paired_error(differences_I: Scores) -> float:
    """Standard error of the mean of paired differences: what the paired bootstrap tends to; infinite for one item."""
    return mean_stderr(differences_I) if len(differences_I) > 1 else float("inf")


def verdict_table(verdicts: Sequence[LayerVerdict], models: Sequence[str]) -> list[dict[str, Any]]:
    """The verdicts as rows of a table."""
    return [
        {
            "layer": one.layer,
            "case": one.case,
            "gamma_total": one.total,
            "gamma": dict(zip(models, one.gamma, strict=True)),
            "standard_error": dict(zip(models, one.error, strict=True)),
            "contribution": dict(zip(models, one.contribution, strict=True)),
            "changed": [models[index] for index in one.changed],
        }
        for one in verdicts
    ]
