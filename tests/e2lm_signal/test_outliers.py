import json

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main


@pytest.fixture
def scores_csv(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for series in ("good", "broken"):
        for task in range(8):
            curve = 0.25 + 0.1 * np.log1p(np.arange(20)) + 0.005 * rng.normal(size=20)
            if series == "broken":
                curve[7] = curve[19]  # the last checkpoint was uploaded in its place
            rows += [(series, 1000 * k, f"task{task}", "acc", value) for k, value in enumerate(curve)]
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    return path


def test_a_checkpoint_that_holds_the_final_weights_comes_first_and_alone(capsys, scores_csv):
    assert main(["signal", "outliers", str(scores_csv), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["checkpoints"]
    assert (found[0]["series"], found[0]["step"], found[0]["curves"]) == ("broken", 7000, 8)
    assert found[0]["score"] > 4.5
    assert [one["outlier"] for one in found].count(True) == 1


def test_the_text_says_which_way_it_is_off(capsys, scores_csv):
    assert main(["signal", "outliers", str(scores_csv), "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert "outlier: too good" in out
    assert "beyond 4.5 standard deviations" in out


def test_fast_learning_is_no_outlier(capsys, tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        ("run", 2**k, f"task{task}", "acc", 1 / (1 + np.exp(-3.0 * (k - 7))) + 0.01 * rng.normal())
        for task in range(8)
        for k in range(15)
    ]
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    assert main(["signal", "outliers", str(path), "--json"]) == 0
    assert not any(one["outlier"] for one in json.loads(capsys.readouterr().out)["checkpoints"])
