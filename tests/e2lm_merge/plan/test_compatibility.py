"""Models of equal shapes that are not one architecture are found before a number is read, and sound pairs pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm import UserError
from e2lm.command_line import main
from e2lm_merge.plan.compatibility import compare_models
from e2lm_merge.plan.merge_plan import MergeCheck, check_merge, plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.plan.source import open_model

Models = Callable[..., list[str]]
WORDS = {f"w{index}": index for index in range(38)}
TOKENIZER: dict[str, Any] = {
    "model": {"type": "WordLevel", "vocab": WORDS},
    "added_tokens": [{"id": 38, "content": "<reserved_0>"}, {"id": 39, "content": "<reserved_1>"}],
}


def _written(folder: str, change: dict[str, Any], tokenizer: dict[str, Any] | None, template: str | None) -> None:
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: value for name, value in config.items() if value != "absent"}))
    if tokenizer is not None:
        (Path(folder) / "tokenizer.json").write_text(json.dumps(tokenizer))
    if template is not None:
        (Path(folder) / "chat_template.jinja").write_text(template)


def checked(folders: list[str], **fields: Any) -> MergeCheck:
    """What `e2lm merge check` finds of their mean."""
    data = {"merge_method": "linear", "models": [{"model": one} for one in folders], **fields}
    return check_merge(recipe_from_data(data, "test"))


SWAPPED = {**TOKENIZER, "model": {"type": "WordLevel", "vocab": {**WORDS, "w3": 4, "w4": 3}}}
UNIGRAM: dict[str, Any] = {"model": {"type": "Unigram", "vocab": [[word, -1.0] for word in WORDS]}}
UNIGRAM_SWAPPED = {"model": {"type": "Unigram", "vocab": [[word, -1.0] for word in ["w1", "w0", *list(WORDS)[2:]]]}}
YARN = {"type": "yarn", "factor": 4.0}
EDGE = ({}, TOKENIZER, None)


@pytest.mark.parametrize(
    ("check", "one", "other"),
    [
        ("architecture", EDGE, ({"model_type": "mistral"}, TOKENIZER, None)),
        ("architecture", EDGE, ({"model_type": "qwen2"}, TOKENIZER, None)),
        ("heads", EDGE, ({"num_attention_heads": 4}, TOKENIZER, None)),
        ("heads", EDGE, ({"num_key_value_heads": 1}, TOKENIZER, None)),
        ("heads", EDGE, ({"num_key_value_heads": 1, "head_dim": 16}, TOKENIZER, None)),
        ("heads", EDGE, ({"head_dim": 16}, TOKENIZER, None)),
        ("rope", EDGE, ({"rope_theta": 500000.0}, TOKENIZER, None)),
        ("rope", EDGE, ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, TOKENIZER, None)),
        ("rope", EDGE, ({"rope_scaling": YARN}, TOKENIZER, None)),
        ("rope", ({"rope_scaling": {**YARN, "factor": 2.0}}, None, None), ({"rope_scaling": YARN}, None, None)),
        ("rope", EDGE, ({"partial_rotary_factor": 0.5}, TOKENIZER, None)),
        ("activation", EDGE, ({"hidden_act": "gelu"}, TOKENIZER, None)),
        ("layers", EDGE, ({"layer_types": ["full_attention", "sliding_attention"]}, TOKENIZER, None)),
        ("layers", ({"no_rope_layers": [1, 0]}, None, None), ({"no_rope_layers": [0, 1]}, None, None)),
        ("architecture", EDGE, ({"use_parallel_residual": True}, TOKENIZER, None)),
        ("experts", ({"num_experts_per_tok": 2}, None, None), ({"num_experts_per_tok": 1}, None, None)),
        ("experts", ({"norm_topk_prob": False}, None, None), ({"norm_topk_prob": True}, None, None)),
        ("scales", EDGE, ({"embedding_multiplier": 12.0}, TOKENIZER, None)),
        ("scales", EDGE, ({"final_logit_softcapping": 30.0}, TOKENIZER, None)),
        ("scales", ({"query_pre_attn_scalar": 8}, None, None), ({"query_pre_attn_scalar": 16}, None, None)),
        ("quantisation", EDGE, ({"quantization_config": {"quant_method": "fp8"}}, TOKENIZER, None)),
        ("depth", EDGE, ({"num_hidden_layers": 3}, TOKENIZER, None)),
        ("vocabulary", EDGE, ({"vocab_size": 41}, TOKENIZER, None)),
        ("vocabulary", EDGE, ({}, SWAPPED, None)),
        ("vocabulary", ({}, UNIGRAM, None), ({}, UNIGRAM_SWAPPED, None)),
    ],
)
def test_what_leaves_a_merge_without_a_meaning_is_an_error_that_can_be_allowed(
    check: str, one: Any, other: Any, models: Models
) -> None:
    _, first, second = models(2)
    _written(first, *one)
    _written(second, *other)
    found = checked([first, second])
    assert {finding.check for finding in found.findings if finding.severity == "error"} == {check}
    assert all(finding.model == second for finding in found.findings)
    data = {"merge_method": "linear", "models": [{"model": first}, {"model": second}]}
    with pytest.raises(UserError, match=rf"{second}: .*--allow {check}") as error:
        plan_merge(recipe_from_data(data, "test"))
    assert "\n" not in str(error.value)
    made = plan_merge(recipe_from_data({**data, "allow": [check]}, "test"))
    assert {finding.severity for finding in made.findings} == {"warning"}


@pytest.mark.parametrize(
    ("one", "other", "warned"),
    [
        (EDGE, EDGE, []),
        (EDGE, ({"rope_theta": 10000.0}, TOKENIZER, None), []),
        (EDGE, ({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}, TOKENIZER, None), []),
        (({"rope_theta": 10000}, None, None), ({"rope_theta": 10000.0}, None, None), []),
        (EDGE, ({"rope_scaling": None}, TOKENIZER, None), []),
        (({"rope_scaling": YARN}, None, None), ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, None, None), []),
        (EDGE, ({"head_dim": 8}, TOKENIZER, None), []),
        (({"num_key_value_heads": "absent"}, None, None), ({"num_key_value_heads": 2}, None, None), []),
        (({"hidden_act": "absent"}, None, None), ({"hidden_act": "silu"}, None, None), []),
        (EDGE, ({"torch_dtype": "absent", "dtype": "float32"}, TOKENIZER, None), []),
        (EDGE, ({"transformers_version": "4.31.0", "_name_or_path": "a/b"}, TOKENIZER, None), []),
        (EDGE, ({"use_cache": False, "attention_dropout": 0.1}, TOKENIZER, None), []),
        (EDGE, ({"pretraining_tp": 2, "initializer_range": 0.1}, TOKENIZER, None), []),
        (EDGE, ({"architectures": ["LlamaModel"]}, TOKENIZER, None), []),
        (EDGE, ({"quantization_config": None}, TOKENIZER, None), []),
        (EDGE, ({"attention_bias": False, "mlp_bias": False}, TOKENIZER, None), []),
        (EDGE, ({}, None, None), []),
        (EDGE, ({}, {**TOKENIZER, "padding": {"strategy": "BatchLongest"}}, None), []),
        (EDGE, ({}, {**TOKENIZER, "added_tokens": TOKENIZER["added_tokens"][:1]}, None), []),
        (({}, UNIGRAM, None), ({}, {**UNIGRAM, "truncation": None}, None), []),
        (({}, None, "{{ x }}"), ({}, None, "{{ x }}\n"), []),
        (({}, None, None), ({}, TOKENIZER, None), ["tokenizer"]),
        (EDGE, ({"rms_norm_eps": 1e-5}, TOKENIZER, None), ["norms"]),
        (EDGE, ({"max_position_embeddings": 128}, TOKENIZER, None), ["config"]),
        (EDGE, ({}, {**TOKENIZER, "added_tokens": [{"id": 38, "content": "<|im_start|>"}]}, None), ["vocabulary"]),
        (({}, None, "{{ x }}"), ({}, None, "{{ y }}"), ["chat_template"]),
    ],
)
def test_a_sound_pair_passes_and_what_may_matter_is_a_warning(
    one: Any, other: Any, warned: list[str], models: Models
) -> None:
    _, first, second = models(2)
    _written(first, *one)
    _written(second, *other)
    found = checked([first, second])
    assert [(finding.check, finding.severity) for finding in found.findings] == [(name, "warning") for name in warned]


def test_the_check_finds_what_only_the_tensors_tell(models: Models) -> None:
    _, one, two = models(2)
    for folder, count in ((one, 7), (two, 8)):
        tensors = load_file(f"{folder}/model.safetensors")
        save_file({**tensors, "counter": torch.tensor([count])}, f"{folder}/model.safetensors")
    (finding,) = checked([one, two]).findings
    assert (finding.check, finding.severity) == ("tensors", "error")
    assert "'counter' (I64) differs" in finding.message


def test_check_and_dry_run_say_it_and_nothing_is_written(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, one, two = models(2)
    _written(two, {"num_attention_heads": 4}, None, None)
    config, out = tmp_path / "m.yml", tmp_path / "out"
    config.write_text(f"merge_method: linear\nmodels: [{{model: {one}}}, {{model: {two}}}]\n")
    assert main(["merge", "check", str(config)]) == 1
    told = capsys.readouterr().out
    assert "num_attention_heads is 4, that of" in told
    assert "[heads]" in told
    assert main(["merge", "check", str(config), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [row["heads"] for row in report["models"]] == [2, 4]
    assert {finding["check"] for finding in report["findings"]} == {"heads"}
    for dry in ([], ["--dry-run"]):
        assert main(["merge", str(config), str(out), *dry]) == 2
        assert "--allow heads" in capsys.readouterr().err
        assert not out.exists()
    assert main(["merge", "check", str(config), "--allow", "heads"]) == 0
    capsys.readouterr()
    assert main(["merge", str(config), str(out), "--allow", "heads", "--json"]) == 0
    told_twice = capsys.readouterr()
    assert "e2lm: warning: " in told_twice.err
    assert any("num_attention_heads" in one for one in json.loads(told_twice.out)["warnings"])
    assert main(["merge", "check", str(config), "--allow", "head"]) == 2
    assert "Did you mean 'heads'" in capsys.readouterr().err


def test_a_dry_run_finds_whole_numbers_that_differ(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, one, two = models(2)
    for folder, count in ((one, 7), (two, 8)):
        tensors = load_file(f"{folder}/model.safetensors")
        save_file({**tensors, "counter": torch.tensor([count])}, f"{folder}/model.safetensors")
    config = tmp_path / "m.yml"
    config.write_text(f"merge_method: linear\nmodels: [{{model: {one}}}, {{model: {two}}}]\n")
    assert main(["merge", str(config), str(tmp_path / "out"), "--dry-run"]) == 2
    assert "whole numbers are not averaged" in capsys.readouterr().err


def by_token(first: str, second: str) -> list[tuple[str, str]]:
    """What is found of the second beside the first where rows are found by their tokens."""
    one, two = open_model(first), open_model(second)
    return [(finding.check, finding.severity) for finding in compare_models([one, two], one, by_token=True)]


OTHERS = {**TOKENIZER, "model": {"type": "WordLevel", "vocab": {f"v{index}": index for index in range(38)}}}
SOME = {f"{'w' if index < 25 else 'v'}{index}": index for index in range(38)}


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (EDGE, EDGE, []),
        (EDGE, ({}, SWAPPED, None), []),
        (EDGE, ({}, {**TOKENIZER, "model": {"type": "WordLevel", "vocab": SOME}}, None), []),
        (EDGE, ({}, OTHERS, None), [("vocabulary", "error"), *[("special_tokens", "warning")] * 2]),
        (EDGE, ({}, {**TOKENIZER, **UNIGRAM}, None), [("vocabulary", "warning")]),
        (EDGE, ({}, None, None), [("vocabulary", "warning")]),
        (EDGE, ({"vocab_size": 41}, TOKENIZER, None), [("vocabulary", "error")]),
        (EDGE, ({"vocab_size": 39}, TOKENIZER, None), []),
        (({"eos_token_id": 3}, TOKENIZER, None), ({"eos_token_id": 4}, SWAPPED, None), []),
        (({"eos_token_id": 3}, TOKENIZER, None), ({"eos_token_id": [4, 5]}, TOKENIZER, None),
         [("special_tokens", "warning")]),
        (({}, TOKENIZER, "{{ x }}"), ({}, SWAPPED, "{{ y }}"), [("chat_template", "warning")]),
    ],
)  # fmt: skip
def test_rows_found_by_their_tokens_mend_an_order_and_not_tokens_of_other_texts(
    one: Any, other: Any, found: list[tuple[str, str]], models: Models
) -> None:
    _, first, second = models(2)
    _written(first, *one)
    _written(second, *other)
    assert by_token(first, second) == found


def test_a_model_without_a_tokenizer_whose_rows_are_not_the_bases_is_an_error(models: Models) -> None:
    _, first, second = models(2)
    _written(first, {}, TOKENIZER, None)
    tensors = load_file(f"{second}/model.safetensors")
    cut = {name: one[:39].clone() if len(one) == 40 else one for name, one in tensors.items()}
    save_file(cut, f"{second}/model.safetensors")
    _written(second, {"vocab_size": 39}, None, None)
    assert by_token(first, second) == [("vocabulary", "error")]


def test_a_recipe_that_names_a_tokenizer_is_still_held_against_its_models(models: Models) -> None:
    _, first, second = models(2)
    _written(first, {}, TOKENIZER, None)
    _written(second, {}, OTHERS, None)
    found = checked([first, second], tokenizer_source="base").findings
    assert [finding.check for finding in found if finding.severity == "error"] == ["vocabulary"]
    assert "of 38 tokens" in found[0].message
