"""The page of a submission tells what is public, and nothing of hidden checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from e2lm import Curve, Samples, SeriesRoles
from e2lm.item_metric import ItemChoices
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.season.curves import with_items
from e2lm_leaderboard.season.scores import details

ITEMS = 4
SHAPE = (ITEMS, 2)


def samples(series: str, step: int, loglik: float) -> Samples:
    full, there = np.full(SHAPE, 1), np.ones(SHAPE, dtype=np.bool_)
    choices = ItemChoices(np.full(SHAPE, loglik), there, full, full, full, np.zeros(ITEMS, dtype=np.int64))
    return Samples(series, step, "lb_0", np.arange(ITEMS), choices, there)


def curve(series: str) -> Curve:
    """Three checkpoints of which the last is hidden."""
    empty = np.zeros(3)
    whole = Curve(series, "lb_0", "acc", np.arange(3), np.arange(3) * 1e6, empty, empty, empty.astype(np.int64))
    return with_items(whole, np.ones((3, ITEMS))).until(1e6)


def test_samples_come_from_public_checkpoints_of_series_that_are_no_control() -> None:
    told = details(
        ["mine"],
        ["lb_0"],
        [curve("a"), curve("web")],
        [tuple(TaskItem(f"context {k}", ("x", "y"), 0, k) for k in range(ITEMS))],
        [np.array([True, False, True, False])],
        [samples(series, step, -10.0 * step - (series == "web")) for series in ("a", "web") for step in range(3)],
        "",
        SeriesRoles(("web",)),
        "no code was run",
    )
    assert [sample["series"] for sample in told["samples"]] == ["a", "a"]
    assert [answer["step"] for answer in told["samples"][0]["answers"]] == [0, 1]
    assert [(one["series"], one["control"], one["steps"]) for one in told["curves"]] == [
        ("a", False, [0, 1]),
        ("web", True, [0, 1]),
    ]
    assert "-20" not in json.dumps(told)
    assert replace(curve("a"), series="b").until(None).steps_K.tolist() == [0, 1]


def test_curves_have_the_90_percent_band_of_their_items() -> None:
    items_KI = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    told = details(["mine"], ["lb_0"], [with_items(curve("a"), items_KI)], [()], [np.zeros(0, np.bool_)], [], "",
                   SeriesRoles(), "")  # fmt: skip
    stderr_K = items_KI.std(axis=1, ddof=1) / np.sqrt(4)
    (shown,) = told["curves"]
    assert shown["low"] == pytest.approx(items_KI.mean(axis=1) - 1.6448536 * stderr_K, abs=1e-6)
    assert shown["high"] == pytest.approx(items_KI.mean(axis=1) + 1.6448536 * stderr_K, abs=1e-6)
