"""The official scores of the competition's own file."""

import json
from pathlib import Path

import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm.plugin_manager import RESTRICT_VARIABLE, plugin_manager

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "signal"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not here")

ORACLE_COLUMN = {
    "e2lmc_monotonicity": "official_monotonicity",
    "e2lmc_autocorrelation": "official_autocorr",
    "e2lmc_sq": "official_sq",
}


@pytest.fixture(autouse=True)
def only_this_plugin(monkeypatch):
    monkeypatch.setenv(RESTRICT_VARIABLE, "signal")
    plugin_manager.cache_clear()
    yield
    plugin_manager.cache_clear()


def report(capsys, *arguments):
    names = ("--scores", *ORACLE_COLUMN)
    assert main(["signal", str(DATA / "e2lmc_scores.json"), "--json", *names, *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_mmlu_var_gives_the_published_scores_and_mean(capsys):
    found = report(capsys, "--tasks", "mmluvar", "--series", "*arch1")
    values = {row["series"]: row["scores"]["e2lmc_sq"]["value"] for row in found["rows"]}
    assert values == pytest.approx(
        {"dense-500m-arch1": 0.93542, "dense-1b-arch1": 0.98144, "dense-3b-arch1": 0.96007}, abs=5e-6
    )
    assert found["means"][0]["scores"]["e2lmc_sq"]["value"] == pytest.approx(0.95898, abs=5e-6)


def test_every_series_without_ties_equals_the_oracle_to_six_digits(capsys):
    oracle = pd.read_csv(DATA / "e2lm_sq_oracle.csv").set_index(["model", "benchmark"])
    rows = report(capsys)["rows"]
    assert len(rows) == len(oracle) == 144
    compared = 0
    for row in rows:
        expected = oracle.loc[(row["series"], row["task"])]
        assert row["n"] == expected["n"] == 14
        if expected["n_unique"] < expected["n"]:
            continue
        compared += 1
        for name, column in ORACLE_COLUMN.items():
            assert row["scores"][name]["value"] == pytest.approx(expected[column], abs=1e-6)
    assert compared == 70


def test_a_series_with_ties_names_the_tie_rule(capsys):
    oracle = pd.read_csv(DATA / "e2lm_sq_oracle.csv").set_index(["model", "benchmark"])
    for row in report(capsys)["rows"]:
        expected = oracle.loc[(row["series"], row["task"])]
        reason = row["scores"]["e2lmc_sq"]["reason"]
        assert (reason is not None and "stable sort" in reason) == (expected["n_unique"] < expected["n"])
