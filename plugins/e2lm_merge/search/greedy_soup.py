"""Greedy soup: models best first, each kept where the mean of those kept does not score lower with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm.errors import UserError
from e2lm.merge_strategy import CandidateSearch, MergeStrategy, ScoredMerge
from e2lm.progress import progress_bar
from e2lm_merge.plan.merge_plan import find_strategy, plan_merge
from e2lm_merge.plan.parameters import parameter_book
from e2lm_merge.plan.recipe import Recipe, RecipeModel, recipe_from_data
from e2lm_merge.search.items import UNIT, build_scoring, interval_of, paired_interval, score_field

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


def search_greedy_soup(config: Mapping[str, Any], near: Path) -> CandidateSearch:
    """The soup of the models in ``config``; comes to a ``linear`` merge of those kept."""
    recipe = recipe_from_data(config, "config")
    labels = [entry.model for entry in recipe.models]
    for entry in recipe.models:
        parameter_book(entry.parameters, f"models ({entry.model})", find_strategy("greedy_soup"), of_model=True)
    if len(labels) < 2:
        raise UserError(f"'greedy_soup' chooses among 2 or more models, found {len(labels)}")
    score_field(recipe)
    plan_merge(_mean_of(recipe, labels), near)
    evaluations = 2 * len(labels) - 1
    cost = {"selection": evaluations, "report": 2, "worst_case_total": evaluations}
    return CandidateSearch(cost, lambda quiet: _run(recipe, labels, near, quiet))


def _mean_of(recipe: Recipe, members: Sequence[str]) -> Recipe:
    models = tuple(RecipeModel(model=member) for member in members)
    changed: dict[str, Any] = {"merge_method": "linear", "models": models, "parameters": {}, "score": None}
    return recipe.model_copy(update=changed)


def _run(recipe: Recipe, labels: Sequence[str], near: Path, quiet: bool) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from e2lm_merge.output.in_memory import merged_model

    field = score_field(recipe)
    scoring = build_scoring(field, plan_merge(_mean_of(recipe, labels), near), near, pooled=True)
    selection, report = scoring.selection[0], scoring.report[0]

    def model_of(members: Sequence[str]) -> Any:
        return merged_model(plan_merge(_mean_of(recipe, members), near)).to(field.device)

    with progress_bar(2 * len(labels) - 1, "evaluations", "greedy soup", quiet) as bar:

        def score(members: tuple[int, ...]) -> float:
            values_I = selection(model_of([labels[one] for one in members]))
            bar.update()
            return float(values_I.mean())

        soup = greedy_soup(len(labels), score)
    members = [labels[one] for one in soup.members]
    best_single = labels[max(range(len(labels)), key=lambda one: soup.single_scores[one])]
    merged_I, single_I = report(model_of(members)), report(model_of([best_single]))
    return _mean_of(recipe, members).model_dump(mode="json"), {
        "members": members,
        "selection_scores": dict(zip(labels, soup.single_scores, strict=True)),
        "unit": UNIT,
        "reported": interval_of(merged_I),
        "reported_gain_over_best_single": paired_interval(merged_I - single_I),
        "items": {"selection": scoring.counts[0][0], "report": scoring.counts[0][1]},
    }


def greedy_soup_strategies() -> list[MergeStrategy]:
    """greedy_soup."""
    return [
        ScoredMerge(
            "greedy_soup",
            "Mean of the models that help: best first, each kept if the mean's score does not drop.",
            search_greedy_soup,
            formula="(1/|S|) Σ θᵢ over S, grown greedily by held-out score",
            source="Wortsman et al. 2022 (model soups), arXiv 2203.05482, recipe 1",
            inputs=(2, None),
        )
    ]
