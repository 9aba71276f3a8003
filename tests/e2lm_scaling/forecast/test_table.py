from __future__ import annotations

import numpy as np
import pytest

from e2lm import UserError
from e2lm_scaling.forecast.table import checked, table_of

ROWS = 5


def of_medians(params: float, tokens: float, loss: float) -> None:
    checked(table_of(*(np.full(ROWS, value) for value in (params, tokens, loss))))


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ((1e8, 1e5, 3.0), (1e8, 0.999e5, 3.0), "D looks like millions or billions of tokens"),
        ((1e5, 1e12, 3.0), (1e5, 1.001e12, 3.0), "N looks like millions or billions of parameters"),
        ((1e4, 1e4, 3.0), (1e4, 0.999e4, 3.0), "give D in tokens"),
        ((1e4, 1e5, 3.0), (0.999e4, 1e5, 3.0), "give N in parameters"),
        ((1e8, 1e10, 12.5), (1e8, 1e10, 12.6), "is it a perplexity"),
    ],
)
def test_a_table_is_refused_from_where_its_units_cannot_be_right(good, bad, said):
    of_medians(*good)
    with pytest.raises(UserError, match=said):
        of_medians(*bad)
