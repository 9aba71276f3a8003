"""Greedy soup: models best first, each kept where the mean of those kept does not score lower with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
