"""Sweeps: one table with intervals, the best confirmed on other items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import sem

from e2lm.command_line import main
from e2lm_merge.cli.sweep import _row


def test_a_row_has_the_95_percent_intervals_of_its_mean_and_of_its_paired_gain() -> None:
    rng = np.random.default_rng(0)
    hard_I = rng.normal(size=50)
    own_I, best_I = hard_I + 0.3 + 0.1 * rng.normal(size=50), hard_I
    row = _row("ties", {"density": 0.5}, own_I, best_I)
    half, of_gain = 1.959964 * float(sem(own_I)), 1.959964 * float(sem(own_I - best_I))
    assert (row["low"], row["high"]) == pytest.approx((own_I.mean() - half, own_I.mean() + half))
    gain = (own_I - best_I).mean()
    assert (row["gain_low"], row["gain_high"]) == pytest.approx((gain - of_gain, gain + of_gain))
    assert of_gain < half / 3
    assert (row["density"], row["n"]) == (0.5, 50)


def test_a_sweep_gives_one_table_with_intervals_and_confirms_on_other_items(
    scored_models: tuple[list[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (base, *tunes), items = scored_models
    config = tmp_path / "s.yml"
    data = {
        "merge_method": "ties",
        "base_model": base,
        "models": [{"model": one} for one in tunes],
        "score": {"items": items},
    }
    config.write_text(json.dumps(data))
    grid = ["--grid", "density=0.3,0.9", "--grid", "lambda=0.5,1.0"]
    assert main(["merge", "sweep", str(config), *grid, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out) == {"candidates": 4, "evaluations": 9, "dry_run": True}
    table = tmp_path / "table.csv"
    assert main(["merge", "sweep", str(config), *grid, "--json", "--out", str(table)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["rows"]) == 3 + 4
    assert all(row["low"] <= row["value"] <= row["high"] for row in result["rows"])
    assert [row["gain"] for row in result["rows"] if row["merge"] == result["best_unmerged"]] == [0.0]
    assert result["items"]["selection"] + result["items"]["report"] == 48
    assert result["reported"]["n"] == result["items"]["report"]
    assert table.read_text().splitlines()[0].startswith("merge,density,lambda,value,low,high")
    assert main(["merge", "sweep", str(config), "--grid", "density=0.3"]) == 0
    assert "items kept apart" in capsys.readouterr().out


def test_a_sweep_runs_over_windows_of_a_run(
    tmp_path: Path,
    tiny_tensors: Any,
    write_model: Any,
    capsys: pytest.CaptureFixture[str],
    write_tokenizer: Any,
    write_items: Any,
) -> None:
    for step in (10, 20, 30):
        folder = write_model(tmp_path / "run" / f"checkpoint-{step}", tiny_tensors(step))
        write_tokenizer(str(folder))
    items = write_items(tmp_path / "i.jsonl", 3)
    config = tmp_path / "s.yml"
    config.write_text(json.dumps({"merge_method": "lawa", "series": "run", "score": {"items": ["i.jsonl"]}}))
    assert Path(items).is_file()
    assert main(["merge", "sweep", str(config), "--grid", "window=1,2,3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["best_unmerged"] == "checkpoint-30"
    values = {row.get("window"): row["value"] for row in result["rows"]}
    assert values[1.0] == pytest.approx(values[None])


@pytest.mark.parametrize("grid", ["densty=0.3", "density", "density=0.3,1.7"])
def test_a_grid_that_is_none_is_refused(
    grid: str, scored_models: tuple[list[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (base, *tunes), items = scored_models
    config = tmp_path / "s.yml"
    data = {"merge_method": "ties", "base_model": base, "models": [{"model": tunes[0]}], "score": {"items": items}}
    config.write_text(json.dumps(data))
    assert main(["merge", "sweep", str(config), "--grid", grid]) == 2
    assert "densi" in capsys.readouterr().err


def test_a_swept_number_counts_whatever_stands_beside_sources_and_slices(models: Any) -> None:
    from e2lm_merge.cli.sweep import candidates
    from e2lm_merge.plan.merge_plan import find_strategy, plan_merge
    from e2lm_merge.plan.recipe import recipe_from_data

    base, one = models(1)
    source = {"model": one, "layer_range": [0, 2], "parameters": {"weight": 0.9}}
    given = {"model": base, "layer_range": [0, 2]}
    data = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "slices": [{"sources": [given, source], "parameters": {"weight": 0.8}}],
    }
    listed = candidates(recipe_from_data(data, "test"), find_strategy("task_arithmetic"), {"weight": [0.1, 0.2]})
    weights = [plan_merge(candidate.recipe).merges[0].weights for candidate in listed]
    assert weights == [(0.1,), (0.2,)]
