"""The law of repeated data fitted to tables with unique tokens: ``e2lm predict fit --law muennighoff``."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm_scaling.forecast.table import table_of
from e2lm_scaling.laws.repeated_data import MUENNIGHOFF, fit_repeated, repeated_table

PLANTED = replace(MUENNIGHOFF, tokens_decay=9.0, params_decay=3.0)


def runs(epochs: tuple[float, float] = (1.0, 60.0), noise: float = 0.0, rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    params, unique = 10 ** rng.uniform(7.5, 9.8, rows), 10 ** rng.uniform(8, 10.5, rows)
    tokens = unique * np.exp(rng.uniform(*np.log(epochs), rows))
    loss = PLANTED.loss(params, tokens, unique) * np.exp(noise * rng.normal(size=rows))
    return pd.DataFrame({"N": params, "D": tokens, "U": unique, "L": loss})


def fit(frame: pd.DataFrame):
    found = fit_repeated(repeated_table(table_of(frame.N, frame.D, frame.L), frame.U.to_numpy()))
    assert found is not None
    return found


@pytest.fixture
def predicted(tmp_path, capsys):
    def run(frame: pd.DataFrame, *options: str, columns: str = "N=N,D=D,U=U,L=L") -> tuple[int, str, str]:
        frame.to_csv(tmp_path / "runs.csv", index=False)
        data = ("--data", str(tmp_path / "runs.csv"), "--columns", columns, "--law", "muennighoff")
        code = main(["predict", "fit", *data, "--bootstrap", "0", *options])
        return code, *capsys.readouterr()

    return run


def test_planted_constants_come_out_of_exact_losses_and_nearly_so_out_of_noisy_ones():
    found = fit(runs())
    assert found.law.constants == pytest.approx(PLANTED.constants, rel=1e-6)
    assert found.undetermined == ()
    noisy = fit(runs(noise=0.003)).law
    assert noisy.tokens_decay == pytest.approx(9.0, rel=0.15)
    assert noisy.exponent == pytest.approx(PLANTED.exponent, rel=0.03)


def test_a_half_life_that_no_run_speaks_of_is_named():
    few = runs(epochs=(1.0, 1.3), noise=0.002)
    assert "R_D*" in fit(few).undetermined
    small = runs(rows=80)
    small = small[PLANTED.optimal_params(small.U.to_numpy()) > small.N]
    assert fit(small).undetermined == ("R_N*",)


@pytest.mark.parametrize("epochs", [(1.0, 1.0), (4.0, 4.0)])
def test_runs_of_one_number_of_epochs_are_refused(epochs):
    with pytest.raises(UserError, match=rf"sees its data {epochs[0]:g} times .* add runs of other numbers of epochs"):
        fit(runs(epochs=epochs))


def test_the_command_forecasts_repeated_runs_and_the_interval_holds_what_the_planted_law_says(predicted):
    code, out, _ = predicted(runs(noise=0.003), "--at", "N=1e10,D=1e12,U=5e10", "--bootstrap", "4", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["stderr"]["R_D*"] > 0
    assert report["range"]["epochs"][1] > 10
    truth = float(PLANTED.loss(np.array([1e10]), np.array([1e12]), np.array([5e10]))[0])
    assert report["forecast"]["epochs"] == pytest.approx(20)
    assert report["forecast"]["low"] < truth < report["forecast"]["high"]


def test_without_unique_tokens_the_law_is_refused_with_what_to_add(predicted):
    code, out, err = predicted(runs(), columns="N=N,D=D,L=L")
    assert (code, out) == (2, "")
    assert "--columns U=..." in err
    assert err.count("\n") == 1


def test_runs_that_differ_in_their_unique_tokens_alone_are_no_sweep(predicted):
    frame = runs(rows=40)
    again = frame.assign(U=frame.U / 20)
    again["L"] = PLANTED.loss(again.N.to_numpy(), again.D.to_numpy(), again.U.to_numpy())
    both = pd.concat([frame, again, frame[:3]])
    report = json.loads(predicted(both, "--json")[1])
    assert report["rows"] == 80
    assert len(report["left_out"]) == 3
    assert report["warnings"] == []
    assert report["params"]["R_D*"] == pytest.approx(9.0, rel=1e-4)


def test_unique_tokens_stay_with_their_runs_where_the_largest_losses_are_dropped(predicted):
    frame = runs(rows=40)
    frame.loc[[3, 17], "L"] = 11.0
    report = json.loads(predicted(frame, "--drop-largest-loss", "2", "--json")[1])
    assert report["rows"] == 38
    assert report["params"]["R_D*"] == pytest.approx(9.0, rel=1e-4)
