"""Merges that score candidates first: greedy soup and Hi-Merging, from recipe to written folder and report.

Greedy soup: models best first, each kept where the mean of those kept does not score lower with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm.errors import UserError
from e2lm.interval import normal_interval
from e2lm.progress import progress_bar
from e2lm_merge.output.in_memory import merged_model
from e2lm_merge.plan.parameters import LAYER_PART, Place, parameter_book, resolved
from e2lm_merge.plan.plan import MergePlan, find_strategy, plan_merge
from e2lm_merge.plan.recipe import Recipe, RecipeModel, RecipeScore
from e2lm_merge.search.hi_merging import HiMerging, HiOptions, HiOutcome, hi_cost, paired_error, verdict_table
from e2lm_merge.search.items import (
    HeldOutSplit,
    ItemScorer,
    encode_items,
    load_tokenizer,
    mean_and_error,
    read_items,
    split_items,
)
from e2lm_merge.search.layers import OUTSIDE, LayerMix, LayerProber, Share

#: The score of the mean of some models, by their indices; higher is better.
SoupScore = Callable[[tuple[int, ...]], float]


@dataclass(frozen=True, slots=True)
class GreedySoup:
    """The models kept, in the order in which they were taken, with every score on the way."""

    members: tuple[int, ...]
    score: float
    single_scores: tuple[float, ...]
    evaluations: int


def greedy_soup(count: int, score: SoupScore) -> GreedySoup:
    """The greedy soup of ``count`` models (Wortsman et al. 2022, recipe 1), in 2·count − 1 evaluations.

    >>> values = {(0,): 1.0, (1,): 3.0, (2,): 2.0, (1, 2): 3.5, (0, 1, 2): 3.0}
    >>> greedy_soup(3, lambda members: values[tuple(sorted(members))]).members
    (1, 2)
    """
    singles = tuple(score((index,)) for index in range(count))
    order = sorted(range(count), key=lambda index: (-singles[index], index))
    members: tuple[int, ...] = (order[0],)
    best = singles[order[0]]
    for index in order[1:]:
        candidate = (*members, index)
        value = score(candidate)
        if value >= best:
            members, best = candidate, value
    return GreedySoup(members, best, singles, 2 * count - 1)


UNIT = "nats per byte, higher is better"

#: The grid of model-wise densities and scales: 0.1 to 1.0, as in the paper.
SEARCH_GRID = tuple(round(0.1 * index, 1) for index in range(1, 11))

#: Tokens per item where the model's config does not say how many positions it has.
DEFAULT_POSITIONS = 2048


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scorers of the selection items and of the report items, one per task."""

    selection: tuple[ItemScorer, ...]
    report: tuple[ItemScorer, ...]
    counts: tuple[tuple[int, int], ...]


def score_field(recipe: Recipe) -> RecipeScore:
    """The recipe's ``score``; a :class:`UserError` where it is missing."""
    if recipe.score is None:
        raise UserError(
            f"score: missing; {recipe.merge_method!r} scores candidates: give score: {{items: [FILE.jsonl]}}"
        )
    return recipe.score


def build_scoring(score: RecipeScore, plan: MergePlan, near: Path | None, pooled: bool) -> Scoring:
    """Scorers for every items file, or for all of them in one."""
    tokenizer = load_tokenizer(plan.donor.folder)
    positions = int(plan.donor.config.get("max_position_embeddings", DEFAULT_POSITIONS))
    files = [_found_file(name, near) for name in score.items]
    lists = [read_items(file) for file in files]
    if pooled:
        lists = [[item for items in lists for item in items]]
    splits = [split_items(items, score.selection_share, score.limit) for items in lists]

    def scorer(split: HeldOutSplit, report: bool) -> ItemScorer:
        items = split.report if report else split.selection
        return ItemScorer(encode_items(items, tokenizer, positions), score.batch_size, score.device)

    return Scoring(
        tuple(scorer(split, False) for split in splits),
        tuple(scorer(split, True) for split in splits),
        tuple((len(split.selection), len(split.report)) for split in splits),
    )


def _found_file(name: str, near: Path | None) -> Path:
    beside = None if near is None else near / name
    return beside if beside is not None and beside.is_file() and not Path(name).is_file() else Path(name)


def run_scored(recipe: Recipe, options: argparse.Namespace) -> int:
    """The command's part: say what it costs, score, merge, report."""
    from e2lm_merge.cli.command import merge_recipe

    near = options.config.parent
    score_field(recipe)
    if recipe.merge_method == "hi_merging":
        cost, settled, report = plan_hi_merging(recipe, near)
    elif recipe.merge_method == "greedy_soup":
        cost, settled, report = plan_greedy_soup(recipe, near)
    else:
        raise UserError(f"merge_method {recipe.merge_method!r} needs a score, and no way to score it is built in")
    if not options.json:
        print(f"{recipe.merge_method}: at most {cost['worst_case_total']} evaluations of the selection items")
    if options.dry_run:
        if options.json:
            print(json.dumps({"strategy": recipe.merge_method, "cost": cost, "dry_run": True}, indent=1))
        return 0
    final, details = report(settled, options.quiet or options.json)
    return merge_recipe(final, options, {"strategy": recipe.merge_method, "cost": cost, "selection": details})


def _linear(recipe: Recipe, members: Sequence[str]) -> Recipe:
    models = tuple(RecipeModel(model=member) for member in members)
    changed: dict[str, Any] = {"merge_method": "linear", "models": models, "parameters": {}, "score": None}
    return recipe.model_copy(update=changed)


def plan_greedy_soup(recipe: Recipe, near: Path | None) -> tuple[dict[str, int], Recipe, Any]:
    """Cost, checked recipe, and what runs the soup."""
    labels = [entry.model for entry in recipe.models]
    for entry in recipe.models:
        parameter_book(entry.parameters, f"models ({entry.model})", find_strategy("greedy_soup"), of_model=True)
    if len(labels) < 2:
        raise UserError(f"'greedy_soup' chooses among 2 or more models, found {len(labels)}")
    plan = plan_merge(_linear(recipe, labels), near)

    def run(settled: Recipe, quiet: bool) -> tuple[Recipe, dict[str, Any]]:
        scoring = build_scoring(score_field(settled), plan, near, pooled=True)
        selection, report = scoring.selection[0], scoring.report[0]
        with progress_bar(2 * len(labels) - 1, "evaluations", "greedy soup", quiet) as bar:

            def score(members: tuple[int, ...]) -> float:
                model = merged_model(plan_merge(_linear(settled, [labels[one] for one in members]), near))
                bar.update()
                return float(selection(model.to(score_field(settled).device)).mean())

            soup = greedy_soup(len(labels), score)
        final = _linear(settled, [labels[one] for one in soup.members])
        best_single = labels[max(range(len(labels)), key=lambda one: soup.single_scores[one])]
        merged_I = report(merged_model(plan_merge(final, near)))
        single_I = report(merged_model(plan_merge(_linear(settled, [best_single]), near)))
        gain, error = float((merged_I - single_I).mean()), paired_error(merged_I - single_I)
        return final, {
            "members": [labels[one] for one in soup.members],
            "selection_scores": dict(zip(labels, soup.single_scores, strict=True)),
            "unit": UNIT,
            "reported": _interval(mean_and_error(merged_I)),
            "reported_gain_over_best_single": _interval((gain, error)),
            "items": {"selection": scoring.counts[0][0], "report": scoring.counts[0][1]},
        }

    evaluations = 2 * len(labels) - 1
    return {"selection": evaluations, "report": 2, "worst_case_total": evaluations}, recipe, run


#: Of the intervals of what is reported.
CONFIDENCE = 0.95


def _interval(mean_error: tuple[float, float]) -> dict[str, float]:
    low, high = normal_interval(*mean_error, CONFIDENCE)
    return {"mean": mean_error[0], "low": low, "high": high}


def plan_hi_merging(recipe: Recipe, near: Path | None) -> tuple[dict[str, int], Recipe, Any]:
    """Cost, checked recipe, and what runs Hi-Merging."""
    strategy = find_strategy("hi_merging")
    top = parameter_book(recipe.parameters, "parameters", strategy, of_model=False)
    shared = resolved(strategy.defaults, [top], Place("", 0.0))
    entries = [entry for entry in recipe.models if entry.model != recipe.base_model]
    shares = []
    for entry in entries:
        book = parameter_book(entry.parameters, f"models ({entry.model})", strategy, of_model=True)
        own = resolved(strategy.model_defaults, [book, top], Place("", 0.0))
        shares.append(Share(float(own["density"]), float(own["weight"])))
    score = score_field(recipe)
    if len(score.items) != len(entries) or len(entries) < 2:
        raise UserError(
            f"score.items: Hi-Merging needs 2 or more models and one items file for each, in order; found "
            f"{len(entries)} models and {len(score.items)} files"
        )
    if len({entry.model for entry in entries}) != len(entries):
        raise UserError("models: a model is listed twice; Hi-Merging settles conflicts between different ones")
    search = bool(shared.pop("search"))
    scope = shared.pop("trim_scope")
    options = HiOptions(**shared)  # type: ignore[arg-type]
    first = recipe.model_copy(
        update={
            "merge_method": "prune_scale",
            "models": tuple(RecipeModel(model=entry.model) for entry in entries),
            "parameters": {"trim_scope": scope},
            "score": None,
        }
    )
    plan = plan_merge(first, near)
    layers = max((merge.layer for merge in plan.merges if merge.layer is not None), default=-1) + 1
    if layers == 0:
        raise UserError(f"{plan.donor.label}: no layers were found in the tensors' names; Hi-Merging works by layers")
    cost = hi_cost(layers, len(entries), options.recompute, search)

    def run(settled: Recipe, quiet: bool) -> tuple[Recipe, dict[str, Any]]:
        scoring = build_scoring(score_field(settled), plan, near, pooled=False)
        prober = LayerProber(plan, scoring.selection, score.device)
        with progress_bar(cost["worst_case_total"], "evaluations", "Hi-Merging", quiet) as bar:

            def counted(task: int, mix: LayerMix) -> Any:
                bar.update()
                return prober.score(task, mix)

            chosen = _searched(counted, shares, layers) if search else shares
            outcome = HiMerging(counted, chosen, layers, options).run()
        final = hi_recipe(plan, outcome.mix)
        return final, _hi_report(outcome, prober, scoring, [entry.model for entry in entries])

    return cost, recipe, run


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
                **{name: _interval(mean_and_error(values_I)) for name, values_I in values.items()},
                "merged_minus_own_model": _interval((float(gain_I.mean()), paired_error(gain_I))),
                "items": {"selection": scoring.counts[task][0], "report": scoring.counts[task][1]},
            }
        )
    return {
        "unit": UNIT,
        "evaluations": outcome.evaluations,
        "layers": verdict_table(outcome.verdicts, labels),
        "reported": rows,
    }
