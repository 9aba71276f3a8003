"""Whether an average will beat the last checkpoint is said beforehand where averages were scored, else refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2lm import UserError
from e2lm.command_line import main
from e2lm.scaling_predictor import LossTable
from e2lm_merge.beforehand import averaged_runs, foretold, merge_predictor

TOKENS = np.arange(1, 21) * 1e8
SIZE = 1e8


def run_losses(spread: float = 0.05, jitter: float = 0.0) -> tuple[np.ndarray, dict[str, dict[int, float]]]:
    """A falling curve, and averages of 3 and 5 checkpoints that take ``spread`` away from the mean of theirs."""
    loss_K = 2.5 + 60 / (TOKENS / 1e6) ** 0.9
    noise = np.random.default_rng(0).normal(scale=jitter, size=20)
    averages: dict[str, dict[int, float]] = {}
    for window in (3, 5):
        means = {place: float(loss_K[place - window + 1 : place + 1].mean()) for place in range(window - 1, 20)}
        averages[f"lawa:window={window}"] = {place: mean - spread + noise[place] for place, mean in means.items()}
    return loss_K, averages


def table(loss_K: np.ndarray, averages: dict[str, dict[int, float]], scored: Sequence[int]) -> LossTable:
    rows = [("run", TOKENS[place], loss) for place, loss in enumerate(loss_K)]
    rows += [
        (f"run+{spec}", TOKENS[place], losses[place])
        for spec, losses in averages.items() for place in scored if place in losses
    ]  # fmt: skip
    names, tokens, losses = zip(*rows, strict=True)
    return LossTable(np.full(len(rows), SIZE), np.array(tokens), np.array(losses), tuple(names))


def test_spread_and_lag_add_up_to_the_gain_that_was_scored() -> None:
    loss_K, averages = run_losses()
    (run,) = averaged_runs(table(loss_K, averages, range(20)))
    for spec, losses in averages.items():
        for one in run.scored(spec):
            place = round(one.tokens / 1e8) - 1
            assert one.gain == pytest.approx(loss_K[place] - losses[place])
            assert one.spread == pytest.approx(0.05)


@pytest.mark.parametrize("spread", [0.05, 0.0005])
def test_an_average_that_nobody_scored_is_foretold_from_those_before(spread: float) -> None:
    loss_K, averages = run_losses(spread, jitter=spread / 10)
    (run,) = averaged_runs(table(loss_K, averages, range(10)))
    for spec, losses in averages.items():
        found = foretold(run, spec, TOKENS[-1])
        assert found.low is not None
        assert found.high is not None
        assert found.low < losses[19] < found.high
        # A large spread beats the last checkpoint, a small one does not make up for the lag.
        assert (found.high < loss_K[-1]) == (spread == 0.05)
        assert (found.low > loss_K[-1]) == (spread == 0.0005)


def test_of_several_averages_the_one_that_did_best_before_is_taken_and_what_was_scored_is_no_forecast() -> None:
    loss_K, averages = run_losses()
    averages["lawa:window=5"] = {place: loss + 0.1 for place, loss in averages["lawa:window=5"].items()}
    fitted = merge_predictor().fitted(table(loss_K, averages, range(20)), np.random.default_rng(0))
    found = fitted.predict(SIZE, TOKENS[-1])
    assert found.value == found.low == found.high == pytest.approx(averages["lawa:window=3"][19])
    assert found.method == "lawa:window=3: scored"


def test_nothing_is_promised_where_nothing_was_scored() -> None:
    loss_K, averages = run_losses()
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="no run has averages beside it; e2lm eval RUN --merge"):
        merge_predictor().fitted(table(loss_K, averages, []), rng)
    with pytest.raises(UserError, match="was scored at 2 earlier checkpoints, and 3 are needed"):
        merge_predictor().fitted(table(loss_K, averages, [8, 9]), rng).predict(SIZE, TOKENS[-1])
    with pytest.raises(UserError, match="no run with averages has a checkpoint there"):
        merge_predictor().fitted(table(loss_K, averages, range(9)), rng).predict(2 * SIZE, TOKENS[-1])
    steps = {f"{spec},min_interval=100": losses for spec, losses in averages.items()}
    with pytest.raises(UserError, match="min_interval counts steps"):
        merge_predictor().fitted(table(loss_K, steps, range(9)), rng).predict(SIZE, TOKENS[-1])


def written(tmp_path: Path, found: LossTable) -> Path:
    file = tmp_path / "runs.csv"
    rng = np.random.default_rng(1)
    with open(file, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["N", "D", "L", "S"])
        writer.writerows(zip(found.params_R, found.tokens_R, found.loss_R, found.series_R, strict=True))
        for index, size in enumerate((1e7, 2e7, 4e7, 8e7) * 2):
            tokens = size * (20 if index < 4 else 60)
            loss = 2.5 + 60 / (tokens / 1e6) ** 0.9 + 20 / size**0.3 + rng.normal(scale=0.003)
            writer.writerow([size, tokens, loss, f"small{index}"])
    return file


@pytest.mark.parametrize("spread", [0.2, 0.0005])
def test_decide_weighs_merging_instead_of_annealing(spread: float, tmp_path: Path, capsys: Any) -> None:
    loss_K, averages = run_losses(spread, jitter=spread / 20)
    file = written(tmp_path, table(loss_K, averages, range(10)))
    command = [
        "predict", "decide", "--data", str(file), "--columns", "N=N,D=D,L=L,S=S", "--budget-tokens", "2e8", "--json",
        "--cost-per-flop", "1e-12", "--value-per-point", "1", "--current", f"N={SIZE},D={TOKENS[-1]}",
    ]  # fmt: skip
    assert main(command) == 0
    without = json.loads(capsys.readouterr().out)
    assert "merge" not in {one["name"] for one in without["options"]}
    assert {one["what"] for one in without["left_out"]} == {f"run+{spec}" for spec in averages}
    page = tmp_path / "page.html"
    assert main([*command, "--merge", "--page", str(page)]) == 0
    report = json.loads(capsys.readouterr().out)
    options = {one["name"]: one for one in report["options"]}
    assert options["merge"]["cost"] == options["merge"]["training_flops"] == 0
    # Averages are no rows of the fit: the other forecasts stay as they were.
    for one in without["options"]:
        assert options[one["name"]]["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert (report["leaning"] == "merge") == (spread == 0.2)
    assert ("Recommendation: merge the checkpoints" in page.read_text()) == (spread == 0.2)


def test_where_no_average_was_scored_the_option_is_refused_with_what_to_do(tmp_path: Path, capsys: Any) -> None:
    loss_K, averages = run_losses()
    file = written(tmp_path, table(loss_K, averages, []))
    command = ["predict", "decide", "--data", str(file), "--columns", "N=N,D=D,L=L,S=S", "--budget-tokens", "2e8"]
    assert main([*command, "--cost-per-flop", "1e-12", "--value-per-point", "1", "--merge"]) == 2
    assert "e2lm eval RUN --merge wma:window=5 scores them" in capsys.readouterr().err
