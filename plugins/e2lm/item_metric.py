"""A per-item metric, computed from stored log-likelihoods after the fact.

Shape suffixes: I items, C choices (padded: ``there_IC`` tells which are real).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import NotFiniteError, UserError
from e2lm.kind import checked_name, lock_arrays


def require_finite(loglik: NDArray[np.float64], where: Callable[[int], str] = "request {}".format) -> None:
    """A :class:`NotFiniteError` that says ``where(index)`` the first NaN or infinity is; ``loglik`` has one axis.

    >>> require_finite(np.array([-1.0, -2.0]))
    """
    bad = np.flatnonzero(~np.isfinite(loglik))
    if len(bad):
        raise NotFiniteError(
            f"the model gives a log-likelihood of {loglik[bad[0]]} ({where(int(bad[0]))}): weights damaged, or half "
            "precision too narrow? dtype=float32 tells"
        )


@dataclass(frozen=True, slots=True)
class ItemChoices:
    """The choices of the items of one task, in the order of the task.

    ``loglik_IC`` is in nats, summed over the tokens of the choice, NaN where padded. Lengths never count the leading
    delimiter, as in lm-eval, and are -1 where padded or unknown. ``gold_I`` is the index of the true choice.
    The arrays are read-only: many metrics see the same choices. Raises :class:`NotFiniteError` for a log-likelihood
    that is NaN or infinite, :class:`UserError` where the true choice is none of the item's.
    """

    loglik_IC: NDArray[np.float64]
    there_IC: NDArray[np.bool_]
    bytes_IC: NDArray[np.int64]
    chars_IC: NDArray[np.int64]
    tokens_IC: NDArray[np.int64]
    gold_I: NDArray[np.int64]

    def __post_init__(self) -> None:
        item_R, choice_R = np.nonzero(self.there_IC)
        require_finite(self.loglik_IC[item_R, choice_R], lambda row: f"item {item_R[row]}, choice {choice_R[row]}")
        is_gold_IC = np.arange(self.there_IC.shape[1]) == self.gold_I[:, None]
        without = np.flatnonzero(~(is_gold_IC & self.there_IC).any(axis=1))
        if len(without):
            gold = self.gold_I[without[0]]
            raise UserError(f"item {without[0]}: choice {gold} is said to be the true one, and the item has none such")
        lock_arrays(self, "loglik_IC", "there_IC", "bytes_IC", "chars_IC", "tokens_IC", "gold_I")

    def __len__(self) -> int:
        return len(self.gold_I)

    def of_gold(self, values_IC: NDArray[np.float64]) -> NDArray[np.float64]:
        """The column of the true choice, one value per item."""
        return values_IC[np.arange(len(self.gold_I)), self.gold_I]

    def without_gold(self, values_IC: NDArray[np.float64]) -> NDArray[np.float64]:
        """A copy with NaN at the true choice and at padding: the wrong choices."""
        wrong_IC = np.where(self.there_IC, values_IC, np.nan)
        wrong_IC[np.arange(len(self.gold_I)), self.gold_I] = np.nan
        return wrong_IC

    @property
    def gold_loglik_I(self) -> NDArray[np.float64]:
        """Log-likelihood of the true choice, nats."""
        return self.of_gold(self.loglik_IC)


@dataclass(frozen=True, slots=True)
class ItemMetric:
    """``per_item(choices)`` gives one number per item, shape I; a task's value is the mean over its items.

    ``min_choices`` is the least number of choices for which the metric means something. ``chance(n_choices)`` is
    what guessing gets, where guessing is defined.
    """

    name: str
    description: str
    per_item: Callable[[ItemChoices], NDArray[np.float64]]
    higher_is_better: bool = True
    min_choices: int = 2
    unit: str = ""
    source: str = ""
    chance: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None

    def __post_init__(self) -> None:
        checked_name(self.name, "item metric")
