"""A per-item metric, computed from stored log-likelihoods after the fact.

Shape suffixes: I items, C choices (padded: ``there_IC`` tells which are real).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import NotFiniteError, UserError
from e2lm.kind import checked_name, lock_arrays
from e2lm.plugin_call import PluginFaultError, asked


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
    delimiter, as in lm-eval, and are -1 where padded or unknown. ``gold_IC`` marks the right choices: one of most
    items, several of some, none where the label is no choice. ``gold_I`` is the index of the first, -1 where there is
    none; without ``gold_IC`` that one alone is right.
    The arrays are read-only: many metrics see the same choices. Raises :class:`NotFiniteError` for a log-likelihood
    that is NaN or infinite, :class:`UserError` where a right choice is none of the item's.
    """

    loglik_IC: NDArray[np.float64]
    there_IC: NDArray[np.bool_]
    bytes_IC: NDArray[np.int64]
    chars_IC: NDArray[np.int64]
    tokens_IC: NDArray[np.int64]
    gold_I: NDArray[np.int64]
    gold_IC: NDArray[np.bool_] = None  # type: ignore[assignment] # filled below: an array ever after

    def __post_init__(self) -> None:
        item_R, choice_R = np.nonzero(self.there_IC)
        require_finite(self.loglik_IC[item_R, choice_R], lambda row: f"item {item_R[row]}, choice {choice_R[row]}")
        first_IC = np.arange(self.there_IC.shape[1]) == self.gold_I[:, None]
        alone = self.gold_IC is None
        if alone:
            object.__setattr__(self, "gold_IC", first_IC & self.there_IC)
        wrong = np.flatnonzero(self._first_right_I() != np.where(alone & (self.gold_I == -1), -2, self.gold_I))
        if len(wrong):
            gold = self.gold_I[wrong[0]]
            raise UserError(f"item {wrong[0]}: choice {gold} is said to be the true one, and the item has none such")
        lock_arrays(self, "loglik_IC", "there_IC", "bytes_IC", "chars_IC", "tokens_IC", "gold_I", "gold_IC")

    def _first_right_I(self) -> NDArray[np.int64]:
        """The index of the first right choice, -1 where there is none, -3 where one is none of the item's."""
        beyond_I = (self.gold_IC & ~self.there_IC).any(axis=1)
        first_I = np.where(self.gold_IC, np.arange(self.gold_IC.shape[1]), self.gold_IC.shape[1])
        first_I = first_I.min(axis=1, initial=self.gold_IC.shape[1])
        return np.where(beyond_I, -3, np.where(first_I == self.gold_IC.shape[1], -1, first_I))

    def __len__(self) -> int:
        return len(self.gold_I)

    @property
    def has_one_gold_I(self) -> NDArray[np.bool_]:
        """Items with exactly one right choice."""
        return np.asarray(self.gold_IC.sum(axis=1) == 1)

    @property
    def has_empty_I(self) -> NDArray[np.bool_]:
        """Items with a choice of no characters: it has no log-likelihood per character, byte or token."""
        return np.asarray((self.there_IC & ((self.chars_IC == 0) | (self.bytes_IC == 0))).any(axis=1))

    @property
    def is_plain_I(self) -> NDArray[np.bool_]:
        """Items with one right choice and none that is empty: every metric should know them."""
        return self.has_one_gold_I & ~self.has_empty_I

    def of_items(self, wanted_I: NDArray[np.bool_]) -> ItemChoices:
        """The choices of some of the items."""
        return ItemChoices(**{field.name: getattr(self, field.name)[wanted_I] for field in fields(self)})

    @property
    def choices_per_gold_I(self) -> NDArray[np.float64]:
        """Choices that an item has for each right one: guessing finds a right one once in so many, inf for never."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.there_IC.sum(axis=1) / self.gold_IC.sum(axis=1))

    def of_gold(self, values_IC: NDArray[np.float64]) -> NDArray[np.float64]:
        """The column of the true choice, one value per item: the highest of several, NaN where there is none."""
        of_right_IC = np.where(self.gold_IC, values_IC, -np.inf)
        highest_I = of_right_IC.max(axis=1, initial=-np.inf)
        # A value that is NaN is that of its choice, not of the next best one.
        lacks_I = ~self.gold_IC.any(axis=1) | (self.gold_IC & np.isnan(values_IC)).any(axis=1)
        return np.asarray(np.where(lacks_I, np.nan, highest_I))

    def without_gold(self, values_IC: NDArray[np.float64]) -> NDArray[np.float64]:
        """A copy with NaN at the true choices and at padding: the wrong choices."""
        return np.asarray(np.where(self.there_IC & ~self.gold_IC, values_IC, np.nan))

    @property
    def gold_loglik_I(self) -> NDArray[np.float64]:
        """Log-likelihood of the true choice, nats."""
        return self.of_gold(self.loglik_IC)


class MetricFailedError(UserError):
    """An item metric that raises, or that does not give one number per item: it costs its own column."""


@dataclass(frozen=True, slots=True)
class ItemMetric:
    """``per_item(choices)`` gives one number per item, shape I; a task's value is the mean over its items.

    ``min_choices`` is the least number of choices for which the metric means something. ``chance(n_choices)`` is
    what guessing gets, where guessing is defined. A metric of ``any_golds`` knows items with several right choices, and
    with none; another is asked about those with one alone.
    """

    name: str
    description: str
    per_item: Callable[[ItemChoices], NDArray[np.float64]]
    higher_is_better: bool = True
    min_choices: int = 2
    unit: str = ""
    source: str = ""
    chance: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None
    any_golds: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "item metric")

    def values(self, choices: ItemChoices) -> NDArray[np.float64]:
        """One number per item, shape I, NaN for the items that the metric does not know.

        Raises :class:`MetricFailedError` where the metric raises, or gives anything else.
        """
        known_I = choices.has_one_gold_I
        if self.any_golds or known_I.all():
            return self._checked(self.per_item, choices, len(choices))
        values_I = np.full(len(choices), np.nan)
        values_I[known_I] = self._checked(self.per_item, choices.of_items(known_I), int(known_I.sum()))
        return values_I

    def _checked(self, function: Callable[[Any], Any], given: Any, items: int) -> NDArray[np.float64]:
        """What ``function``, a plugin's, gives; a :class:`MetricFailedError` if it raises or is not of shape I."""
        try:
            values_I = asked(lambda: np.asarray(function(given), dtype=np.float64))
        except PluginFaultError as error:
            raise MetricFailedError(f"item metric {self.name!r} failed ({error})") from error.__cause__
        if values_I.shape != (items,):
            raise MetricFailedError(
                f"item metric {self.name!r} gave shape {values_I.shape} for {items} items; it gives one number per item"
            )
        return values_I

    def counted_values(self, choices: ItemChoices) -> NDArray[np.float64]:
        """What the metric's mean is over: all items but those without it for their label or an empty choice."""
        values_I = self.values(choices)
        return values_I[~np.isnan(values_I) | choices.is_plain_I]

    def guessed(self, choices: ItemChoices) -> float | None:
        """What guessing gets on average on these items; None where that is not defined."""
        if self.chance is None or not len(choices):
            return None
        if choices.has_one_gold_I.all():
            return float(np.mean(self._chance_I(self.chance, choices.there_IC.sum(axis=1))))
        if not self.any_golds:
            return self.guessed(choices.of_items(choices.has_one_gold_I))
        return float(np.mean(self._chance_I(self.chance, choices.choices_per_gold_I)))

    def _chance_I(self, chance: Callable[[NDArray[Any]], Any], choices_I: NDArray[Any]) -> NDArray[np.float64]:
        """One number for all items is one for each."""
        return self._checked(lambda given: np.broadcast_to(chance(given), given.shape), choices_I, len(choices_I))
