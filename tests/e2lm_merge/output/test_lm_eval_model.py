"""``--model e2lm-merge`` scores the merge as lm-eval scores the written one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from e2lm import UserError
from e2lm_merge.output.lm_eval_model import recipe_of_arguments
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data

TASK = """
task: e2lm_merge_toy
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list:
  - metric: acc
"""


def test_model_args_say_what_a_config_says(tmp_path: Path) -> None:
    recipe = recipe_of_arguments(None, "ties:density=0.5+lambda=0.9", "a;b", {"base_model": "c"})
    assert recipe.merge_method == "ties"
    assert recipe.parameters == {"density": 0.5, "lambda": 0.9}
    assert [entry.model for entry in recipe.models] == ["a", "b"]
    with pytest.raises(UserError, match="either config"):
        recipe_of_arguments(None, None, "a", {})
    (tmp_path / "m.yml").write_text("merge_method: linear\nmodels: [{model: a}]\n")
    assert recipe_of_arguments(str(tmp_path / "m.yml"), None, None, {}).merge_method == "linear"
    with pytest.raises(UserError, match="stands in the config already"):
        recipe_of_arguments(str(tmp_path / "m.yml"), None, "a", {})


def test_lm_eval_scores_the_merge_as_it_scores_the_written_one(
    scored_models: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    from e2lm_merge.output.folder import merge_to_folder
    from e2lm_merge.output.lm_eval_model import E2lmMerge

    (base, *tunes), _ = scored_models
    rng = np.random.default_rng(0)
    with open(tmp_path / "docs.jsonl", "w") as handle:
        for _ in range(12):
            words = [f"w{index}" for index in rng.integers(0, 36, size=8)]
            handle.write(json.dumps({"context": " ".join(words[:5]), "choices": words[5:], "gold": 1}) + "\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "toy.yaml").write_text(TASK.format(data=tmp_path / "docs.jsonl"))
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path / "tasks"))

    def scored(model: Any) -> list[Any]:
        result = lm_eval.simple_evaluate(
            model=model, tasks=["e2lm_merge_toy"], task_manager=manager, log_samples=True, bootstrap_iters=0
        )
        return [sample["filtered_resps"] for sample in result["samples"]["e2lm_merge_toy"]]

    in_memory = E2lmMerge(
        strategy="ties:density=0.5", models=";".join(tunes), base_model=base, batch_size=4, device="cuda:0"
    )
    data = {
        "merge_method": "ties",
        "base_model": base,
        "models": [{"model": one} for one in tunes],
        "parameters": {"density": 0.5},
    }
    merge_to_folder(plan_merge(recipe_from_data(data, "t")), tmp_path / "out")
    from lm_eval.models.huggingface import HFLM

    assert scored(in_memory) == scored(HFLM(pretrained=str(tmp_path / "out"), batch_size=4, device="cpu"))
    info = in_memory.get_model_info()
    assert info["merge_recipe"]["merge_method"] == "ties"
    assert info["merge_models"] == [*tunes, base]


@pytest.mark.parametrize("asked", [None, "cpu", "cuda:99", "mps", "xpu:0"])
def test_a_device_that_is_not_there_is_no_hindrance(asked: str | None) -> None:
    from e2lm_merge.output.lm_eval_model import usable_device

    assert usable_device(asked) == ("cuda" if torch.cuda.is_available() and asked != "cpu" else "cpu")
