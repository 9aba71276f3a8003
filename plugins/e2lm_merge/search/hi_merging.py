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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from e2lm.arrays import Values
from e2lm.errors import UserError
from e2lm.merge_strategy import WEIGHT, CandidateSearch, MergeParameter, MergeStrategy, ScoredMerge
from e2lm.progress import progress_bar
from e2lm_merge.plan.merge_plan import MergePlan, find_strategy, plan_merge
from e2lm_merge.plan.parameters import LAYER_PART, Place, parameter_book, resolved
from e2lm_merge.plan.recipe import Recipe, RecipeModel, recipe_from_data
from e2lm_merge.search.items import (
    UNIT,
    Scoring,
    build_scoring,
    interval_of,
    paired_error,
    paired_interval,
    score_field,
)
from e2lm_merge.search.layers import OUTSIDE, LayerMix, LayerProber, Share

#: Per-item scores of task m under a mix, higher is better; the same items in the same order every time.
TaskScore = Callable[[int, LayerMix], Values]
Case = Literal["severe", "partial", "none"]

#: A gain smaller than this in absolute value is no unit to measure contributions in.
TINY_GAIN = 1e-12


@dataclass(frozen=True, slots=True)
class HiOptions:
    """What the paper does not settle, with what we take.

    combine: whether θ_G and the result add the models' differences or average them (the authors' scripts do both).
    partial_target: ``harmful`` prunes the difference that makes another task suffer, ``harmed`` the sufferer's own.
    layer_density_of: the second pruning keeps its share of the ``whole`` tensor, as the paper's p is a share of the
    difference's parameters (5 % where the first keeps 10 %), or of what was ``kept`` by the first (0.5 %).
    contribution_unit: contributions of tasks in different metrics compare as shares of their ``gain`` over the base.
    recompute: γ of the layers left is taken anew after each change (iterative reading), or once.
    z: a γ up to z standard errors is no conflict. layer_factor: "half" of the model-wise density and scale.
    """

    combine: Literal["sum", "average"] = "sum"
    partial_target: Literal["harmful", "harmed"] = "harmful"
    layer_density_of: Literal["kept", "whole"] = "whole"
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

    own: list[Values] = field(default_factory=list)
    merged: list[Values] = field(default_factory=list)


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

    def score(self, task: int, mix: LayerMix) -> Values:
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

    def _contribution(self, task: int, mix: LayerMix, layer: int, whole_I: Values, base_I: Values) -> Values:
        """C = α + β of one layer, per item."""
        deletion_I = whole_I - self.score(task, mix.without_layer(layer))
        addition_I = self.score(task, mix.only_layer(layer)) - base_I
        return deletion_I + addition_I

    def _probe_merge(
        self, found: dict[int, _Contributions], merged: LayerMix, base: list[Values], layers: Sequence[int]
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


#: The grid of model-wise densities and scales: 0.1 to 1.0, as in the paper.
SEARCH_GRID = tuple(round(0.1 * index, 1) for index in range(1, 11))


def search_hi_merging(config: Mapping[str, Any], near: Path) -> CandidateSearch:
    """The conflicts of the models in ``config``, layer by layer; comes to a ``prune_scale`` merge by layers."""
    recipe = recipe_from_data(config, "config")
    if recipe.backbone_only:
        raise UserError("backbone_only: Hi-Merging scores merges, and scores need one head; merge models with one head")
    shares, shared = _settings(recipe)
    scope, search = shared.pop("trim_scope"), bool(shared.pop("search"))
    options = HiOptions(**shared)
    models = tuple(RecipeModel(model=entry.model) for entry in _fine_tunes(recipe))
    changed = {"merge_method": "prune_scale", "models": models, "parameters": {"trim_scope": scope}, "score": None}
    plan = plan_merge(recipe.model_copy(update=changed), near)
    layers = max((merge.layer for merge in plan.merges if merge.layer is not None), default=-1) + 1
    if layers == 0:
        raise UserError(f"{plan.donor.label}: no layers were found in the tensors' names; Hi-Merging works by layers")
    cost = hi_cost(layers, len(models), options.recompute, search)

    def run(quiet: bool) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        scoring = build_scoring(score_field(recipe), plan, near, pooled=False)
        prober = LayerProber(plan, scoring.selection, score_field(recipe).device)
        with progress_bar(cost["worst_case_total"], "evaluations", "Hi-Merging", quiet) as bar:

            def counted(task: int, mix: LayerMix) -> Any:
                bar.update()
                return prober.score(task, mix)

            chosen = _searched(counted, shares, layers) if search else shares
            outcome = HiMerging(counted, chosen, layers, options).run()
        report = {"z": options.z, **_hi_report(outcome, prober, scoring, [entry.model for entry in models])}
        return hi_recipe(plan, outcome.mix).model_dump(mode="json"), report

    return CandidateSearch(cost, run)


def _fine_tunes(recipe: Recipe) -> list[RecipeModel]:
    """The models but the base; a :class:`UserError` where they or their items are too few or stand twice."""
    score = score_field(recipe)
    entries = [entry for entry in recipe.models if entry.model != recipe.base_model]
    if len(score.items) != len(entries) or len(entries) < 2:
        raise UserError(
            f"score.items: Hi-Merging needs 2 or more models and one items file for each, in order; found "
            f"{len(entries)} models and {len(score.items)} files"
        )
    if len({entry.model for entry in entries}) != len(entries):
        raise UserError("models: a model is listed twice; Hi-Merging settles conflicts between different ones")
    return entries


def _settings(recipe: Recipe) -> tuple[list[Share], dict[str, Any]]:
    """Density and weight of every model, and the parameters that all share."""
    strategy = find_strategy("hi_merging")
    top = parameter_book(recipe.parameters, "parameters", strategy, of_model=False)
    shares = []
    for entry in _fine_tunes(recipe):
        book = parameter_book(entry.parameters, f"models ({entry.model})", strategy, of_model=True)
        own = resolved(strategy.model_defaults, [book, top], Place("", 0.0))
        shares.append(Share(float(own["density"]), float(own[WEIGHT])))
    return shares, dict(resolved(strategy.defaults, [top], Place("", 0.0)))


def _searched(score: Any, shares: Sequence[Share], layers: int) -> list[Share]:
    """Stage 1: for every model the density and weight of the grid that score best on its own selection items."""
    found = []
    for model in range(len(shares)):
        best: tuple[float, Share] | None = None
        for density in SEARCH_GRID:
            for weight in SEARCH_GRID:
                share = Share(density, weight)
                tried = [share if other == model else one.nothing for other, one in enumerate(shares)]
                value = float(score(model, LayerMix.of_layers(layers, tried)).mean())
                if best is None or value > best[0]:
                    best = (value, share)
        assert best is not None
        found.append(best[1])
    return found


def hi_recipe(plan: MergePlan, mix: LayerMix) -> Recipe:
    """The ``prune_scale`` recipe that makes ``mix``: filters by layer for every model's density and weight."""
    prefixes = {}
    for merge in plan.merges:
        match = LAYER_PART.search(merge.name)
        if match is not None and merge.layer is not None:
            prefixes[merge.layer] = merge.name[: match.end()]
    models = []
    for index, entry in enumerate(plan.recipe.models):
        settings: dict[str, Any] = {}
        for name in ("density", "weight"):
            by_layer = [
                {"filter": prefixes[layer], "value": getattr(shares[index], name)}
                for layer, shares in sorted(mix.shares.items())
                if layer in prefixes
            ]
            settings[name] = [*by_layer, {"value": getattr(mix.shares[OUTSIDE][index], name)}]
        models.append(RecipeModel(model=entry.model, parameters=settings))
    return plan.recipe.model_copy(update={"models": tuple(models)})


def _hi_report(outcome: HiOutcome, prober: LayerProber, scoring: Scoring, labels: Sequence[str]) -> dict[str, Any]:
    """Verdicts, and on items that took no part in them: base, own model and merge, with intervals."""
    rows = []
    for task, label in enumerate(labels):
        scorer = scoring.report[task]
        values = {}
        for name, mix in (("base", outcome.mix.base()), ("own_model", None), ("merged", outcome.mix)):
            whole = LayerMix.of_layers(
                prober.layers, [Share(1.0, 1.0 if index == task else 0.0) for index in range(len(labels))]
            )
            prober.bring_to(whole if mix is None else mix)
            values[name] = scorer(prober.model)
        gain_I = values["merged"] - values["own_model"]
        rows.append(
            {
                "task_of": label,
                **{name: interval_of(values_I) for name, values_I in values.items()},
                "merged_minus_own_model": paired_interval(gain_I),
                "items": {"selection": scoring.counts[task][0], "report": scoring.counts[task][1]},
            }
        )
    return {
        "unit": UNIT,
        "evaluations": outcome.evaluations,
        "layers": verdict_table(outcome.verdicts, labels),
        "reported": rows,
    }


def hi_merging_strategies() -> list[MergeStrategy]:
    """hi_merging."""
    return [
        ScoredMerge(
            "hi_merging",
            "Prune and scale every model's differences, then settle conflicts between models layer by layer.",
            search_hi_merging,
            needs_base=True,
            formula="θ₀ + Σ s·TopK_p(δᵢ), p and s lowered or a δᵢ dropped where layers conflict",
            source="Fu et al. 2025 (Hi-Merging), ACL 2025 long.1588, arXiv 2506.12379",
            inputs=(2, None),
            parameters={
                "trim_scope": MergeParameter("tensor", choices=("tensor", "global")),
                "combine": MergeParameter("sum", choices=("sum", "average")),
                "partial_target": MergeParameter("harmful", choices=("harmful", "harmed")),
                "layer_density_of": MergeParameter("whole", choices=("kept", "whole")),
                "contribution_unit": MergeParameter("gain", choices=("gain", "raw")),
                "recompute": MergeParameter(False),
                "z": MergeParameter(1.0),
                "layer_factor": MergeParameter(0.5),
                "search": MergeParameter(False),
            },
            model_parameters={"density": MergeParameter(0.1, "(0, 1]"), WEIGHT: MergeParameter(0.9)},
        )
    ]
