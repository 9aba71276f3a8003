"""What every per-item metric keeps to.

Shape suffixes: I items, C choices.
"""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

import numpy as np

from e2lm.item_metric import ItemChoices, ItemMetric
from e2lm_testing.contract import check_described, own_randomness_only, resolved


def sample_choices(items: int = 6, choices: int = 4) -> ItemChoices:
    """Items of which every second has one choice less than the others."""
    rng = np.random.default_rng([items, choices])
    there_IC = np.ones((items, choices), dtype=np.bool_)
    there_IC[1::2, -1] = False
    length_IC = np.where(there_IC, rng.integers(1, 30, (items, choices)), -1)
    return ItemChoices(
        loglik_IC=np.where(there_IC, -rng.gamma(3.0, 4.0, (items, choices)), np.nan),
        there_IC=there_IC,
        bytes_IC=length_IC,
        chars_IC=length_IC.copy(),
        tokens_IC=np.where(there_IC, (length_IC + 3) // 4, -1),
        gold_I=np.zeros(items, dtype=np.int64),
    )


class MetricContract:
    """Subclass it and set ``metric`` to an :class:`ItemMetric`, or to the name of an installed one."""

    metric: ClassVar[ItemMetric | str]

    @property
    def _metric(self) -> ItemMetric:
        return resolved(self.metric, "e2lm_register_metrics", ItemMetric, "item metric")

    def test_it_says_what_it_is(self) -> None:
        check_described(self._metric.name, self._metric.description)

    def test_it_gives_one_finite_number_per_item(self) -> None:
        values_I = self._metric.per_item(sample_choices())
        assert np.shape(values_I) == (6,)
        assert np.isfinite(values_I).all()

    def test_an_item_has_the_same_value_alone_as_among_others(self) -> None:
        values_I = self._metric.per_item(sample_choices())
        for item in range(6):
            np.testing.assert_allclose(self._metric.per_item(_only(item)), values_I[item : item + 1], rtol=1e-12)

    def test_no_item_gives_no_number(self) -> None:
        assert np.shape(self._metric.per_item(sample_choices(items=0))) == (0,)

    def test_it_draws_from_nothing_and_changes_nothing(self) -> None:
        choices = sample_choices()
        before = [getattr(choices, field.name).tobytes() for field in fields(choices)]
        with own_randomness_only():
            first, second = self._metric.per_item(choices), self._metric.per_item(choices)
        np.testing.assert_array_equal(first, second)
        assert [getattr(choices, field.name).tobytes() for field in fields(choices)] == before

    def test_guessing_is_a_share_where_it_is_defined(self) -> None:
        if self._metric.chance is not None:
            chance_I = self._metric.chance(np.array([2, 4]))
            assert np.shape(chance_I) == (2,)


def _only(item: int) -> ItemChoices:
    every = sample_choices()
    return ItemChoices(**{field.name: getattr(every, field.name)[item : item + 1] for field in fields(every)})
