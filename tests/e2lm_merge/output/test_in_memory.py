"""A merge in memory is the merge on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from e2lm import UserError
from e2lm_merge.output.in_memory import load_tensors, merged_model
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data


def test_a_model_in_memory_is_the_model_on_disk(scored_models: tuple[list[str], list[str]], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from e2lm_merge.output.folder import merge_to_folder

    (base, *tunes), _ = scored_models
    data = {"merge_method": "ties", "base_model": base, "models": [{"model": one} for one in tunes]}
    plan = plan_merge(recipe_from_data(data, "t"))
    merge_to_folder(plan, tmp_path / "out")
    ids = torch.arange(3, 20).view(1, 17)
    with torch.inference_mode():
        here = merged_model(plan)(ids).logits
        there = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(ids).logits
    assert torch.equal(here, there)


def test_tensors_that_are_not_the_models_are_named(scored_models: tuple[list[str], list[str]]) -> None:
    folders, _ = scored_models
    model = merged_model(
        plan_merge(recipe_from_data({"merge_method": "linear", "models": [{"model": folders[0]}]}, "t"))
    )
    with pytest.raises(UserError, match="the model has no tensor 'x'"):
        load_tensors(model, {"x": torch.zeros(1)})
    with pytest.raises(UserError, match="of the model is not in the merge"):
        load_tensors(model, {"model.norm.weight": torch.zeros(16)})
