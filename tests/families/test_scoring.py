"""A fixed 40 families: scored as lm-eval scores them, whatever the way, and none crashes."""

from __future__ import annotations

import pytest

from tests.families.architectures import ARCHITECTURES, FAST
from tests.families.scoring import Precision, series_of


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", FAST)
def test_a_trained_model_that_follows_one_without_opinions_is_scored_as_by_lm_eval(
    name: str, precision: Precision
) -> None:
    # Other batch sizes of stock scoring tell its spread, which is asked for in half precision alone.
    found = series_of(name, precision, ("zero head", "trained"), (1,) if precision == "float32" else (1, 7))
    for one in found:
        assert one.holds, one
    sight = ARCHITECTURES[name].sight
    assert (sight == "full") == (not found[-1].stock_way)
