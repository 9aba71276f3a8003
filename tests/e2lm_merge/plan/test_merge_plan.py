"""Mistakes are named before a number is read, and configs mean what mergekit's mean."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from e2lm import UserError
from e2lm.command_line import main
from e2lm_merge.numbers.blocks import TensorMerge
from e2lm_merge.output.folder import merge_to_folder
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import read_recipe, recipe_from_data

Models = Callable[..., list[str]]
MergeRecipe = Callable[..., dict[str, torch.Tensor]]


def plan(**data: Any) -> Any:
    return plan_merge(recipe_from_data(data, "test.yml"))


def linear(folders: list[str], **more: Any) -> dict[str, Any]:
    return {"merge_method": "linear", "models": [{"model": folder} for folder in folders], **more}


# 17 unknown keys and ranges


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merge_methud": "x"}, "unknown field 'merge_methud'. Did you mean 'merge_method'"),
        ({"merge_method": "tise"}, "unknown merge strategy .* 'tise'. Did you mean 'ties'"),
        ({"parameters": {"densty": 0.5}}, "unknown parameter 'densty' of 'ties'. Did you mean 'density'"),
        ({"parameters": {"density": 1.7}}, r"density: found 1.7; allowed is \(0, 1\]"),
        ({"parameters": {"density": -3}}, r"density: found -3; allowed is \(0, 1\]"),
        ({"parameters": {"density": [0.5, 1.5]}}, r"density: found 1.5; allowed is \(0, 1\]"),
        ({"parameters": {"density": True}}, "density: found True; expected a finite number"),
        ({"parameters": {"density": float("nan")}}, "density"),
        ({"parameters": {"normalize": 2}}, "normalize: found 2; expected true or false"),
        ({"parameters": {"normalize": [0.0, 1.0]}}, r"normalize: found the list \[0.0, 1.0\]; expected true or false"),
        ({"base_model": {"path": "x"}}, "base_model: found no model; a model is a text"),
        ({"base_model": {"model": "x", "override_architecture": "y"}}, "found the field 'override_architecture'"),
        ({"base_model": {"model": {"path": "x", "at": 1}}}, "base_model.model: found .*; expected a text, or path and"),
        ({"parameters": {"trim_scope": "globel"}}, "Did you mean 'global'"),
        (
            {"merge_method": "linear", "base_model": None, "parameters": {"weight": 0}},
            "tensor '.*': the weights of all models are zero",
        ),
        ({"parameters": {"weight": {"a": 1}}}, "parameters.weight: found {'a': 1}"),
        ({"parameters": {"weight": [{"filtr": "mlp", "value": 1}]}}, "unknown field 'filtr'"),
        ({"dtype": "float64"}, "field 'dtype'"),
        ({"tokenizer_source": "union"}, "base: no tokenizer that can be loaded"),
        ({"tokenizer_source": "base", "tokenizer": {}}, "tokenizer_source and tokenizer say the same"),
        ({"tokenizer": {"tokens": {"w": {"sorce": "zero"}}}}, "sorce"),
        ({"modules": {}}, "'modules' of mergekit is not supported"),
        ({"name": "first"}, "'name' of mergekit is not supported; .*folder on the command line"),
        ({"base_model": None}, "base_model: missing; 'ties'"),
        ({"base_model": "/nowhere"}, "model '/nowhere': no such folder"),
        ({"donor": "other"}, "donor: 'other' is none of the models"),
        ({"models": []}, "exactly one of models, slices and series"),
        ({"steps": [1]}, "steps choose among the checkpoints of a series"),
        ({"seed": -1}, "field 'seed'"),
    ],
)
def test_a_mistake_in_the_config_is_one_line_that_names_the_field(
    change: dict[str, Any], message: str, models: Models
) -> None:
    base, *rest = models(2)
    data = {
        "merge_method": "ties",
        "base_model": base,
        "models": [{"model": folder} for folder in rest],
        **change,
    }
    with pytest.raises(UserError, match=message) as error:
        plan(**{key: value for key, value in data.items() if value is not None})
    assert "\n" not in str(error.value)


def test_a_file_of_several_merges_says_how_they_are_run(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text("merge_method: linear\nname: first\n---\nmerge_method: ties\n")
    with pytest.raises(UserError, match=r"m.yml: several documents; write each merge into a file of its own") as error:
        read_recipe(tmp_path / "m.yml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merge_method": "tiez"}, "merge.yml: unknown merge strategy (merge_method) 'tiez'. Did you mean 'ties'?"),
        ({"base_model": None}, "merge.yml: base_model: missing; 'ties' needs a base model; name it: base_model: MODEL"),
        ({"parameters": {"density": 1.5}}, "merge.yml: parameters.density: found 1.5; allowed is (0, 1]"),
        (
            {"models": [{"model": "ft1"}, {"model": "wide"}]},
            "merge.yml: tensor 'lm_head.weight': wide has shape [40, 17], ft1 has [40, 16]: the sizes differ; merge "
            "models of one architecture",
        ),
        (
            {"models": [{"model": "ft1"}, {"model": "extra"}]},
            "merge.yml: extra: tensor 'adapter' is extra; ft1 lacks it (1 such); merge models of one architecture",
        ),
        (
            {"models": [{"model": "ft1", "weight": 0.5}]},
            "merge.yml: models.0: unknown field 'weight'; a model has the fields model and parameters, and numbers "
            "belong under the latter: parameters: {weight: 0.5}",
        ),
    ],
)
def test_a_strangers_mistake_is_one_line_and_leaves_nothing(
    change: dict[str, Any],
    message: str,
    models: Models,
    tmp_path: Path,
    tiny_tensors: Any,
    write_model: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models(2)
    tensors = tiny_tensors(1)
    write_model(tmp_path / "extra", {**tensors, "adapter": torch.ones(3)})
    write_model(tmp_path / "wide", {**tensors, "lm_head.weight": torch.ones(40, 17)})
    data = {"merge_method": "ties", "base_model": "base", "models": [{"model": "ft1"}, {"model": "ft2"}], **change}
    (tmp_path / "merge.yml").write_text(
        yaml.safe_dump({key: value for key, value in data.items() if value is not None})
    )
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["merge", "merge.yml", "out"]) == 2
    assert capsys.readouterr() == ("", f"e2lm: error: {message}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_numbers_too_large_for_the_output_are_one_line_without_a_warning(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    weighted = [{"model": folder, "parameters": {"weight": 1e39}} for folder in folders]
    recipe = {"merge_method": "linear", "models": weighted, "parameters": {"normalize": False}, "out_dtype": "bfloat16"}
    with pytest.raises(UserError, match="the merged numbers are too large for BF16; lower weights"):
        merge_to_folder(plan(**recipe), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_shared_parameter_at_one_model_and_any_at_the_base_are_errors(models: Models) -> None:
    base, one, two = models(2)
    with pytest.raises(UserError, match="'normalize' belongs to the merge as a whole"):
        plan(
            merge_method="ties",
            base_model=base,
            models=[{"model": one, "parameters": {"normalize": True}}, {"model": two}],
        )
    with pytest.raises(UserError, match="the base model takes no parameters"):
        plan(
            merge_method="ties", base_model=base, models=[{"model": base, "parameters": {"weight": 1}}, {"model": one}]
        )


def test_yaml_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text("merge_method: linear\nmerge_method: ties\n")
    with pytest.raises(UserError, match="given twice"):
        read_recipe(tmp_path / "m.yml")


def test_configs_as_older_versions_of_mergekit_wrote_them_down_are_read(models: Models) -> None:
    base, one, two = models(2)
    old = {
        "merge_method": "ties",
        "base_model": {"model": {"path": base}},
        "slices": [
            {
                "sources": [
                    {"model": {"model": {"path": folder}}, "layer_range": [0, 2], "parameters": {"weight": 0.5}}
                    for folder in (one, two)
                ]
            }
        ],
        "parameters": {"normalize": 0.0, "int8_mask": 1.0},
    }
    plan = plan_merge(recipe_from_data(old, "test"))
    assert {merge.parameters["normalize"] for merge in plan.merges} == {False}
    assert [model.label for model in plan.models] == [one, two, base]
    lora = {"model": {"path": "m", "revision": "v1"}, "lora": {"path": "a"}}
    tokens = {"model": {"source": {"kind": "model_token", "model": lora, "token": "model"}}}
    data = {"merge_method": "linear", "models": [{"model": lora}], "tokenizer": {"tokens": tokens}}
    recipe = recipe_from_data(data, "test")
    assert recipe.models[0].model == "m@v1+a"
    assert recipe.vocabulary is not None
    assert recipe.vocabulary.tokens["model"].model_label == "m@v1+a"


def test_a_model_that_is_merged_twice_is_told(models: Models, tmp_path: Path) -> None:
    _, one, two = models(2)
    copy = shutil.copytree(one, tmp_path / "copy")
    data = {"merge_method": "linear", "models": [{"model": one}, {"model": two}, {"model": str(copy)}]}
    found = plan_merge(recipe_from_data(data, "test")).findings
    assert [(finding.check, finding.severity, finding.model) for finding in found] == [
        ("duplicate", "warning", str(copy))
    ]
    assert f"same weights as {one}" in found[0].message
    neighbours = [{"model": one, "layer_range": [first, first + 1]} for first in (0, 1)]
    plan = plan_merge(recipe_from_data({"merge_method": "linear", "slices": [{"sources": neighbours}]}, "test"))
    assert plan.findings == ()


def test_the_base_listed_among_the_models_counts_once(models: Models, merge_recipe: MergeRecipe) -> None:
    base, one, two = models(2)
    data = {"merge_method": "task_arithmetic", "base_model": base, "parameters": {"weight": 0.5}}
    listed = merge_recipe({**data, "models": [{"model": base}, {"model": one}, {"model": two}]})
    plain = merge_recipe({**data, "models": [{"model": one}, {"model": two}]})
    assert all(torch.equal(listed[name], plain[name]) for name in plain)


# gradients, filters, slices


def _in_order(merge: TensorMerge, *labels: str) -> tuple[float, ...]:
    """The weights of a merge by model."""
    weights = dict(zip((source.label for source in merge.sources), merge.weights, strict=True))
    return tuple(weights[label] for label in labels)


def test_gradients_run_over_layers_and_filters_over_names(models: Models) -> None:
    _, one, two = models(2)
    made = plan(
        merge_method="linear",
        parameters={"normalize": False},
        models=[
            {"model": one, "parameters": {"weight": [0.0, 1.0]}},
            {"model": two, "parameters": {"weight": [{"filter": "mlp", "value": 0.25}, {"value": 0.75}]}},
        ],
    )
    weights = {merge.name: _in_order(merge, one, two) for merge in made.merges}
    assert weights["model.layers.0.mlp.up_proj.weight"] == (0.0, 0.25)
    assert weights["model.layers.1.mlp.up_proj.weight"] == (1.0, 0.25)
    assert weights["model.layers.1.self_attn.q_proj.weight"] == (1.0, 0.75)
    # Outside the layers the first anchor counts, as in mergekit.
    assert weights["lm_head.weight"] == (0.0, 0.75)


def test_one_layer_takes_the_last_anchor_and_what_lies_outside_the_first(models: Models) -> None:
    base, one = models(1)
    sources = [{"model": base}, {"model": one, "parameters": {"weight": [1.0, 0.0]}}]
    made = plan(
        merge_method="task_arithmetic",
        base_model=base,
        slices=[{"sources": [{**source, "layer_range": [i, i + 1]} for source in sources]} for i in range(2)],
    )
    weights = {merge.name: merge.weights for merge in made.merges}
    assert weights["model.layers.0.mlp.up_proj.weight"] == weights["model.layers.1.mlp.up_proj.weight"] == (0.0,)
    assert weights["model.embed_tokens.weight"] == weights["lm_head.weight"] == (1.0,)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_ties", "della", "breadcrumbs", "consensus"])
def test_differences_that_all_count_nothing_leave_the_base(
    method: str, models: Models, merge_recipe: MergeRecipe
) -> None:
    base, one, two = models(2)
    stored = load_file(f"{base}/model.safetensors")
    own: dict[str, Any] = {"weight": [{"filter": "mlp", "value": 0.5}, {"value": 0}]}
    own |= {} if method in ("task_arithmetic", "consensus") else {"density": 0.5}
    listed = [{"model": folder, "parameters": own} for folder in (one, two)]
    merged = merge_recipe({"merge_method": method, "base_model": base, "models": listed})
    assert not torch.equal(merged["model.layers.0.mlp.up_proj.weight"], stored["model.layers.0.mlp.up_proj.weight"])
    assert torch.equal(merged["lm_head.weight"], stored["lm_head.weight"])


def test_a_filter_beside_a_source_is_matched_with_the_sources_own_tensor(models: Models) -> None:
    _, one, two = models(2)
    weight = [{"filter": "layers.1.", "value": 0.9}, {"value": 0.1}]
    sources = [
        {"model": one, "layer_range": [1, 2], "parameters": {"weight": weight}},
        {"model": two, "layer_range": [0, 1]},
    ]
    made = plan(merge_method="linear", slices=[{"sources": sources}])
    (merge,) = [one for one in made.merges if one.name == "model.layers.0.mlp.up_proj.weight"]
    assert _in_order(merge, one, two) == (0.9, 1.0)


def test_scale_stands_beside_a_source_a_slice_or_all(models: Models, merge_recipe: MergeRecipe) -> None:
    _, one = models(1)
    stored = load_file(f"{one}/model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    beside = {"scale": {"filter": "up_proj", "value": 0.5}}
    source = {"model": one, "layer_range": [0, 2]}
    for given in (
        {"slices": [{"sources": [{**source, "parameters": beside}]}]},
        {"slices": [{"sources": [source], "parameters": beside}]},
        {"slices": [{"sources": [source]}], "parameters": beside},
    ):
        merged = merge_recipe({"merge_method": "passthrough", **given})
        assert torch.equal(merged["model.layers.1.mlp.up_proj.weight"], stored * 0.5)


def test_a_slice_without_layers_brings_the_head(models: Models, merge_recipe: MergeRecipe) -> None:
    _, one, two = models(2)
    slices = [
        {"sources": [{"model": one, "layer_range": [0, 2]}]},
        {"sources": [{"model": two, "layer_range": [0, 0]}]},
    ]
    merged = merge_recipe({"merge_method": "passthrough", "slices": slices})
    assert torch.equal(merged["lm_head.weight"], load_file(f"{two}/model.safetensors")["lm_head.weight"])
    with pytest.raises(UserError, match="no slice has a layer"):
        plan(merge_method="passthrough", slices=slices[1:])


def test_a_slice_may_have_a_base_of_its_own(models: Models, merge_recipe: MergeRecipe) -> None:
    base, one = models(1)
    sources = [{"model": folder, "layer_range": [0, 2]} for folder in (base, one)]
    data = {"merge_method": "ties", "base_model": base, "slices": [{"sources": sources}]}
    expected = merge_recipe(data)
    del data["base_model"]
    merged = merge_recipe({**data, "slices": [{"base_model": base, "sources": sources}]})
    assert all(torch.equal(merged[name], expected[name]) for name in expected)
    with pytest.raises(UserError, match=r"slices.0.residual_weight: it has no effect"):
        plan(**data | {"slices": [{"residual_weight": 0.5, "sources": sources}]})


def test_a_base_beside_a_method_without_one_is_one_more_model_where_it_has_a_weight(models: Models) -> None:
    base, one, two = models(2)
    made = plan(**linear([one, two], base_model=base, parameters={"weight": 0.5}))
    assert _in_order(made.merges[0], one, two, base) == (0.5, 0.5, 0.5)
    karcher = plan(**linear([one, two], base_model=base) | {"merge_method": "karcher"})
    assert len(karcher.merges[0].sources) == 3
    assert len(plan(**linear([one, two, base], base_model=base)).merges[0].sources) == 3
    # mergekit finds no weight for the base here, and stops.
    alone = plan(**linear([one, two], base_model=base))
    assert (len(alone.merges[0].sources), alone.donor.label) == (2, base)


def test_a_strategy_without_weights_takes_ones_and_says_how_another_would(models: Models) -> None:
    base, one, two = models(2)
    data = {"merge_method": "model_stock", "base_model": base, "models": [{"model": one}, {"model": two}]}
    data["models"][0]["parameters"] = {"weight": 1}
    assert plan(**data).merges[0].weights == (1.0, 1.0)
    data["models"][0]["parameters"] = {"weight": 0.5}
    with pytest.raises(
        UserError, match=r"models.0.parameters.weight: found 0.5, but to 'model_stock' all models count"
    ):
        plan(**data)


def test_yaml_merges_mappings_and_its_own_keys_count_before_them(tmp_path: Path) -> None:
    path = tmp_path / "m.yml"
    path.write_text(
        "merge_method: linear\nmodels:\n- model: a\n  parameters: &p {weight: 0.5}\n"
        "- model: b\n  parameters: {<<: *p}\n- model: c\n  parameters:\n    weight: 0.9\n    <<: *p\n"
    )
    weights = [entry.parameters["weight"] for entry in read_recipe(path).models]
    assert weights == [0.5, 0.5, 0.9]


def test_weights_that_cancel_are_found_before_a_number_is_read(models: Models) -> None:
    _, one, two = models(2)
    data = linear([one, two])
    for entry, weight in zip(data["models"], (1, -1), strict=True):
        entry["parameters"] = {"weight": [{"filter": "model.norm", "value": weight}, {"value": 0.5}]}
    with pytest.raises(UserError, match=r"tensor 'model.norm.weight': the weights .* add up to zero"):
        plan(**data)


def test_embeddings_before_the_layers_come_from_the_first_slice(tmp_path: Path, write_model: Any) -> None:
    names = (
        "transformer.word_embeddings.weight",
        "transformer.word_embeddings_layernorm.weight",
        "transformer.ln_f.weight",
    )
    folders = []
    for index in range(2):
        tensors = {name: torch.full((4, 4), float(index)) for name in names}
        tensors["transformer.h.0.mlp.weight"] = torch.full((4, 4), float(index))
        folders.append(str(write_model(tmp_path / f"m{index}", tensors, num_hidden_layers=1)))
    slices = [{"sources": [{"model": folder, "layer_range": [0, 1]}]} for folder in folders]
    made = {merge.name: merge.sources[0].label for merge in plan(merge_method="passthrough", slices=slices).merges}
    assert [made[name] for name in names] == [folders[0], folders[0], folders[1]]


def test_slices_stack_layers_of_several_models(models: Models, merge_recipe: MergeRecipe) -> None:
    _, one, two = models(2)
    data = {
        "merge_method": "passthrough",
        "slices": [
            {"sources": [{"model": one, "layer_range": [0, 2]}]},
            {"sources": [{"model": two, "layer_range": [1, 2]}]},
        ],
    }
    merged = merge_recipe(data)
    first, second = (load_file(f"{folder}/model.safetensors") for folder in (one, two))
    name = "mlp.up_proj.weight"
    assert torch.equal(merged[f"model.layers.2.{name}"], second[f"model.layers.1.{name}"])
    assert torch.equal(merged[f"model.layers.1.{name}"], first[f"model.layers.1.{name}"])
    assert torch.equal(merged["model.embed_tokens.weight"], first["model.embed_tokens.weight"])
    assert torch.equal(merged["lm_head.weight"], second["lm_head.weight"])
    assert plan_merge(recipe_from_data(data, "t")).config["num_hidden_layers"] == 3


def test_slices_of_unequal_length_or_beyond_the_model_are_errors(models: Models) -> None:
    _, one, two = models(2)
    with pytest.raises(UserError, match="layer ranges of one length"):
        plan(
            merge_method="linear",
            slices=[{"sources": [{"model": one, "layer_range": [0, 2]}, {"model": two, "layer_range": [0, 1]}]}],
        )
    with pytest.raises(UserError, match="has 2 layers"):
        plan(merge_method="passthrough", slices=[{"sources": [{"model": one, "layer_range": [0, 3]}]}])


# 15 tensors that do not fit


def _changed(folder: str, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = Path(folder) / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), "ft2: tensor 'model.norm.weight' is missing"),
        (lambda t: t.update(extra=torch.zeros(3)), "ft2: tensor 'extra' is extra"),
        (
            lambda t: t.update({"model.embed_tokens.weight": torch.zeros(41, 16)}),
            r"'model.embed_tokens.weight': .*ft2 has shape \[41, 16\].* vocabularies differ",
        ),
        (lambda t: t.update({"model.norm.weight": torch.zeros(17)}), r"ft2 has shape \[17\].*sizes differ"),
        (
            lambda t: t.update({"model.norm.weight": torch.zeros(16).to(torch.float8_e4m3fn)}),
            "ft2: tensor 'model.norm.weight' is stored as F8_E4M3",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named_before_any_is_merged(
    change: Callable[[dict[str, torch.Tensor]], Any], message: str, models: Models
) -> None:
    folders = models(2)
    _changed(folders[2], change)
    with pytest.raises(UserError, match=message):
        plan(**linear(folders[1:]))


# 13 types


@pytest.mark.parametrize("kinds", [("float32",), ("bfloat16",), ("float16",), ("bfloat16", "float32")])
def test_output_type_is_that_of_the_inputs_or_float32_or_as_asked(
    kinds: tuple[str, ...], tmp_path: Path, tiny_tensors: Any, write_model: Any, merge_recipe: MergeRecipe
) -> None:
    folders = []
    for index, kind in enumerate((kinds * 2)[:2]):
        tensors = tiny_tensors(index, dtype=getattr(torch, kind))
        folders.append(str(write_model(tmp_path / f"m{index}", tensors, torch_dtype=kind)))
    expected = torch.float32 if len(set(kinds)) > 1 else getattr(torch, kinds[0])
    merged = merge_recipe(linear(folders))
    assert {tensor.dtype for tensor in merged.values()} == {expected}
    for asked in ("float32", "bfloat16", "float16"):
        made = merge_recipe(linear(folders, out_dtype=asked))
        assert {tensor.dtype for tensor in made.values()} == {getattr(torch, asked)}
        assert plan(**linear(folders, out_dtype=asked)).config["torch_dtype"] == asked
    # Sixteen-bit inputs are added in float32 and rounded once.
    name = "model.layers.0.mlp.up_proj.weight"
    wide = [load_file(f"{folder}/model.safetensors")[name].float() for folder in folders]
    torch.testing.assert_close(merged[name].float(), ((wide[0] + wide[1]) / 2).to(expected).float(), rtol=0, atol=2e-7)


def test_rounding_to_bfloat16_is_that_of_torch_for_every_float(merge_one: Any) -> None:
    import numpy as np

    from e2lm_merge.numbers.formats import Narrower, all_finite, widen

    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    numbers = bits.view(torch.float32)
    narrow = Narrower("BF16").narrow(numbers.numpy(), "t").view(np.int16)
    expected = numbers.to(torch.bfloat16)
    numeric = ~torch.isnan(numbers)
    assert torch.equal(torch.from_numpy(narrow.copy()).view(torch.bfloat16)[numeric], expected[numeric])
    assert bool(torch.isnan(torch.from_numpy(narrow.copy()).view(torch.bfloat16)[~numeric]).all())
    back = np.empty(200_000, dtype=np.float32)
    widen(narrow.view(np.uint8), "BF16", back)
    assert np.array_equal(back[numeric.numpy()], expected.float().numpy()[numeric.numpy()])
    for kind, bad in (("BF16", 0x7F80), ("BF16", 0xFF81), ("F16", 0x7C00), ("F16", 0xFE00)):
        stored = np.array([0x1234, bad], dtype=np.uint16)
        assert not all_finite(stored.view(np.uint8), kind)
        assert all_finite(stored[:1].view(np.uint8), kind)
    assert merge_one("linear", [torch.zeros(0)]).numel() == 0


def test_whole_numbers_are_copied_where_equal_and_refused_where_not(
    tmp_path: Path, tiny_tensors: Any, write_model: Any, merge_recipe: MergeRecipe
) -> None:
    folders = []
    for index in range(2):
        tensors = {**tiny_tensors(index), "counter": torch.tensor([7, 8])}
        folders.append(str(write_model(tmp_path / f"m{index}", tensors)))
    assert merge_recipe(linear(folders))["counter"].tolist() == [7, 8]
    _changed(folders[1], lambda tensors: tensors.update(counter=torch.tensor([7, 9])))
    with pytest.raises(UserError, match=r"'counter' .* differs between .*m0 and .*m1"):
        merge_recipe(linear(folders))


def test_float16_that_cannot_hold_a_number_is_an_error(
    tmp_path: Path, tiny_tensors: Any, write_model: Any, merge_recipe: MergeRecipe
) -> None:
    tensors = {**tiny_tensors(0), "model.norm.weight": torch.full((16,), 1e6)}
    folder = str(write_model(tmp_path / "m", tensors))
    with pytest.raises(UserError, match=r"'model.norm.weight'.*does not fit into float16"):
        merge_recipe(linear([folder], out_dtype="float16"))


# 14 ties of embeddings


def test_tied_models_stay_tied(tmp_path: Path, tiny_tensors: Any, write_model: Any) -> None:
    folders = [
        str(write_model(tmp_path / f"m{i}", tiny_tensors(i, tied=True), tie_word_embeddings=True)) for i in range(2)
    ]
    made = plan(**linear(folders))
    assert made.config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in {merge.name for merge in made.merges}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_tied_with_untied_needs_a_choice_that_flag_and_tensors_follow(
    order: tuple[int, int], tmp_path: Path, tiny_tensors: Any, write_model: Any, merge_recipe: MergeRecipe
) -> None:
    both = [
        str(write_model(tmp_path / "tied", tiny_tensors(0, tied=True), tie_word_embeddings=True)),
        str(write_model(tmp_path / "untied", tiny_tensors(1))),
    ]
    folders = [both[index] for index in order]
    with pytest.raises(UserError, match=r"tied_embeddings: untie .* or tie"):
        plan(**linear(folders))
    tie = plan(**linear(folders, tied_embeddings="tie"))
    assert tie.config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in {merge.name for merge in tie.merges}
    assert plan(**linear(folders, tied_embeddings="untie")).config["tie_word_embeddings"] is False
    merged = merge_recipe(linear(folders, tied_embeddings="untie"))
    tied, untied = (load_file(f"{folder}/model.safetensors") for folder in both)
    expected = (tied["model.embed_tokens.weight"] + untied["lm_head.weight"]) / 2
    torch.testing.assert_close(merged["lm_head.weight"], expected, rtol=0, atol=1e-7)


# 20 the donor


def test_the_donor_is_the_base_else_the_first_listed_whatever_the_hash_seed(models: Models, tmp_path: Path) -> None:
    base, one, two = models(2)
    assert plan(**linear([two, one])).donor.label == two
    assert plan(merge_method="ties", base_model=base, models=[{"model": one}]).donor.label == base
    assert plan(**linear([two, one], donor=one)).donor.label == one
    config = tmp_path / "m.yml"
    config.write_text(json.dumps(linear([two, one])))
    command = [sys.executable, "-m", "e2lm", "merge", str(config), str(tmp_path / "out"), "--dry-run", "--json"]
    seen = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(seen) == 1
    assert json.loads(seen.pop())["donor"] == two


def test_a_step_of_a_run_and_a_series_are_models(tmp_path: Path, tiny_tensors: Any, write_model: Any) -> None:
    for step in (10, 20, 30):
        write_model(tmp_path / "run" / f"checkpoint-{step}", tiny_tensors(step))
    made = plan(**linear([f"{tmp_path}/run@10", f"{tmp_path}/run@checkpoint-30"]))
    assert [model.folder.name for model in made.models] == ["checkpoint-10", "checkpoint-30"]
    lawa = plan(merge_method="lawa", series=str(tmp_path / "run"), parameters={"window": 2})
    assert lawa.steps == (20, 30)
    assert lawa.merges[0].weights == (0.5, 0.5)
    with pytest.raises(UserError, match=r"no local checkpoint at step '15'.*10, 20, 30"):
        plan(**linear([f"{tmp_path}/run@15"]))
    with pytest.raises(UserError, match="no checkpoint at step 15"):
        plan(merge_method="lawa", series=str(tmp_path / "run"), steps=[15])
