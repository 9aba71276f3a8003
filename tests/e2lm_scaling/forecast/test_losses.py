"""What a table of losses is warned about."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from e2lm_scaling.forecast.losses import read_losses


@pytest.mark.parametrize(("odd_rows", "warned"), [(4, False), (8, True)])
def test_parameters_seem_to_be_counted_in_two_ways_where_the_middle_90_percent_differ(odd_rows, warned, tmp_path):
    rng = np.random.default_rng(0)
    params, tokens = 10 ** rng.uniform(7, 9, 100), 10 ** rng.uniform(9, 11, 100)
    flops = 6 * params * tokens
    flops[:odd_rows] *= 1.5
    frame = pd.DataFrame({"N": params, "D": tokens, "C": flops, "L": 1.7 + 400 / params**0.34 + 1000 / tokens**0.34})
    frame.to_csv(tmp_path / "runs.csv", index=False)
    found = read_losses(tmp_path / "runs.csv", "N=N,D=D,C=C,L=L")
    assert any(one.startswith("C / (6 N D) runs from 1.00 to 1.50") for one in found.warnings) is warned
