"""A merge in memory is the merge on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from e2lm import UserError
from e2lm.command_line import main
from e2lm_merge.output.in_memory import merged_model, merged_tensors, model_with
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.search.layers import LayerMix, LayerProber, Share
from e2lm_testing.tiny_checkpoint import tokenizer_files
from tests.families.architectures import model, write_checkpoint
from tests.families.swapping import differing


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
    plan = plan_merge(recipe_from_data({"merge_method": "linear", "models": [{"model": folders[0]}]}, "t"))
    tensors = merged_tensors(plan)
    with pytest.raises(UserError, match="tensor 'x' has no place in "):
        model_with(plan.config, plan.donor.folder, {**tensors, "x": torch.zeros(1)})
    with pytest.raises(UserError, match=r"parameter 'model\.norm\.weight' of the model"):
        model_with(
            plan.config, plan.donor.folder, {name: tensors[name] for name in tensors if "model.norm" not in name}
        )


@pytest.fixture
def tuned(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """A base and two models tuned from it, of the family that the test names, with their tokenizer."""
    base = model(request.param)
    folders = [write_checkpoint(tmp_path / "base", base, tokenizer_files())]
    for number in (1, 2):
        with torch.no_grad():
            for parameter in base.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
        folders.append(write_checkpoint(tmp_path / f"tuned-{number}", base, tokenizer_files()))
    return [str(folder) for folder in folders]


FAMILIES = ["gpt_neox", "qwen3_moe", "deepseek_v3", "mixtral", "gpt2"]


@pytest.mark.parametrize("tuned", FAMILIES, indirect=True)
def test_every_family_is_in_memory_what_it_is_on_disk(tuned: list[str], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from e2lm_merge.output.folder import merge_to_folder

    data = {"merge_method": "linear", "models": [{"model": one} for one in tuned]}
    plan = plan_merge(recipe_from_data(data, "t"))
    merge_to_folder(plan, tmp_path / "out")
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert differing(merged_model(plan), written) == []


@pytest.mark.parametrize("tuned", ["gpt_neox", "qwen3_moe"], indirect=True)
def test_a_model_brought_from_mix_to_mix_is_the_one_that_is_made_for_the_mix(tuned: list[str]) -> None:
    base, *others = tuned
    data = {"merge_method": "prune_scale", "base_model": base, "models": [{"model": one} for one in others]}
    plan = plan_merge(recipe_from_data(data, "t"))
    whole = LayerMix.of_layers(2, [Share(0.5, 0.7), Share(1.0, 0.3)])
    moved, straight = LayerProber(plan, []), LayerProber(plan, [])
    for mix in (whole, whole.without_layer(1), whole.only_layer(0), whole.only_model(1)):
        moved.bring_to(mix)
    straight.bring_to(whole.only_model(1))
    assert differing(moved.model, straight.model) == []
    moved.bring_to(whole.base())
    assert differing(moved.model, LayerProber(plan, []).model) == []


@pytest.mark.parametrize("tuned", ["gpt_neox", "qwen3_moe"], indirect=True)
def test_a_sweep_takes_every_family(tuned: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"context": f"the {word} of", "continuation": f" a {word}"} for word in ["one", "two", "three", "four"]]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    recipe = {
        "merge_method": "linear",
        "models": [{"model": one} for one in tuned],
        "score": {"items": ["items.jsonl"]},
    }
    (tmp_path / "sweep.yml").write_text(json.dumps(recipe), encoding="utf-8")
    assert main(["merge", "sweep", str(tmp_path / "sweep.yml"), "--grid", "normalize=true", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 4
