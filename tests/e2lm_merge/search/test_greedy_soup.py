"""Greedy soup never scores below its best model, from function to command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from e2lm import UserError
from e2lm.command_line import main
from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.search.greedy_soup import greedy_soup


@settings(deadline=None)
@given(values=st.lists(st.integers(-5, 5), min_size=2, max_size=6))
def test_a_greedy_soup_never_scores_below_its_best_model(values: list[int]) -> None:
    soup = greedy_soup(len(values), lambda members: sum(values[one] for one in members) / len(members))
    assert soup.score == max(values)
    assert soup.evaluations == 2 * len(values) - 1
    assert {values[one] for one in soup.members} == {max(values)}


def test_the_command_makes_a_greedy_soup(
    scored_models: tuple[list[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders, items = scored_models
    config = tmp_path / "soup.yml"
    data = {
        "merge_method": "greedy_soup",
        "models": [{"model": one} for one in folders],
        "score": {"items": items, "limit": 8},
    }
    config.write_text(json.dumps(data))
    assert main(["merge", str(config), str(tmp_path / "out"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["worst_case_total"] == 5
    assert not (tmp_path / "out").exists()
    assert main(["merge", str(config), str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    members = report["selection"]["members"]
    assert report["selection"]["items"]["selection"] <= 8
    low, high = (report["selection"]["reported"][end] for end in ("low", "high"))
    assert low < report["selection"]["reported"]["mean"] < high
    expected = merged_tensors(
        plan_merge(recipe_from_data({"merge_method": "linear", "models": [{"model": one} for one in members]}, "t"))
    )
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(stored[name], expected[name]) for name in stored)


def test_a_score_that_is_missing_is_asked_for(scored_models: tuple[list[str], list[str]], tmp_path: Path) -> None:
    folders, _ = scored_models
    (tmp_path / "m.yml").write_text(
        json.dumps({"merge_method": "greedy_soup", "models": [{"model": one} for one in folders]})
    )
    assert main(["merge", str(tmp_path / "m.yml"), str(tmp_path / "out")]) == 2
    with pytest.raises(UserError, match="needs the field score"):
        plan_merge(recipe_from_data({"merge_method": "greedy_soup", "models": [{"model": folders[0]}]}, "t"))
