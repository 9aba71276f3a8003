"""Merge strategies of a stranger's plugin, of every kind and written in the older way too, through the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from e2lm.command_line import main

PLUGIN = '''
import torch
from e2lm import MergeStrategy, hookimpl
from e2lm.merge_strategy import CandidateSearch, Combination, ElementwiseMerge, MergeParameter, ScoredMerge

def middle(group):
    return torch.stack(group.tensors).median(dim=0).values

def halves(group, products):
    return Combination((0.5, 0.25, 0.25))

def by_largest(group):
    return group.tensors[0] * (group.found / group.found)

def rows(group):
    assert group.tensors[0].ndim == 2
    return group.tensors[1]

def look(blocks, found_in_all):
    assert found_in_all == 39
    return max(float(block.tensors[0].abs().max()) for block in blocks)

def search(config, near):
    best = {**config, "merge_method": "linear", "models": config["models"][1:2], "score": None}
    return CandidateSearch({"worst_case_total": 7}, lambda quiet: (best, {"taken": "the second"}))

@hookimpl
def e2lm_register_merge_strategies():
    return [
        MergeStrategy("whole", "Median.", middle),
        MergeStrategy("element", "Median.", middle, scope="element", defaults={"unused": 0.5}),
        MergeStrategy("looks", "The first.", by_largest, scope="element", look=look, look_at_all=lambda all: len(all)),
        MergeStrategy("rows", "The second.", rows, scope="row"),
        MergeStrategy("sum", "Halves.", combine=halves, scope="sum"),
        MergeStrategy("switch", "Either.", rows, combine=halves, defaults={"flat": True},
                      scope=lambda parameters: "sum" if parameters["flat"] else "row"),
        MergeStrategy("along", "Newest.", lambda group: sum(w * t for w, t in zip(group.weights, group.tensors)),
                      weigh=lambda steps, parameters: (0.0,) * (len(steps) - 1) + (1.0,),
                      along=lambda series, parameters: iter(())),
        ScoredMerge("second", "The second.", search),
    ]
'''  # fmt: skip


def middle(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(tensors).median(dim=0).values


def halves(tensors: list[torch.Tensor]) -> torch.Tensor:
    return 0.5 * tensors[0] + 0.25 * tensors[1] + 0.25 * tensors[2]


EXPECTED: list[tuple[str, dict[str, Any], Callable[[list[torch.Tensor]], torch.Tensor]]] = [
    ("whole", {}, middle),
    ("element", {"unused": 0.2}, middle),
    ("looks", {}, lambda tensors: tensors[0]),
    ("rows", {}, lambda tensors: tensors[1]),
    ("sum", {}, halves),
    ("switch", {}, halves),
    ("switch", {"flat": False}, lambda tensors: tensors[1]),
    ("along", {}, lambda tensors: tensors[2]),
    ("second", {}, lambda tensors: tensors[1]),
]


@pytest.mark.parametrize(("name", "parameters", "expected"), EXPECTED)
def test_a_strategy_of_every_kind_works_in_the_command(
    name: str,
    parameters: dict[str, Any],
    expected: Callable[[list[torch.Tensor]], torch.Tensor],
    models: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, *tunes = models(3, layers=4)
    (tmp_path / "mine.py").write_text(PLUGIN)
    config = {"merge_method": name, "models": [{"model": one} for one in tunes], "parameters": parameters}
    (tmp_path / "m.yml").write_text(json.dumps(config))
    command = ["--plugin", str(tmp_path / "mine.py"), "merge", str(tmp_path / "m.yml"), str(tmp_path / "out"), "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    merged = load_file(tmp_path / "out" / "model.safetensors")
    inputs = [load_file(f"{folder}/model.safetensors") for folder in tunes]
    for tensor, found in merged.items():
        torch.testing.assert_close(found, expected([one[tensor] for one in inputs]), rtol=1e-6, atol=1e-7)
    if name == "second":
        assert (report["cost"], report["selection"]) == ({"worst_case_total": 7}, {"taken": "the second"})
        assert report["models"] == tunes[1:2]
