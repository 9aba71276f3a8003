"""With ``backbone_only`` models of different heads merge in what they share, and the head is the donor's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from e2lm.command_line import main

WriteModel = Callable[..., Path]
TinyTensors = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture
def headed(tmp_path: Path, write_model: WriteModel, tiny_tensors: TinyTensors) -> Callable[..., str]:
    """Writes a model with these tensors in the place of its head."""

    def make(name: str, seed: int, head: dict[str, torch.Tensor], prefix: str = "model.", **config: Any) -> str:
        tensors = {
            f"{prefix}{one.removeprefix('model.')}": tensor for one, tensor in tiny_tensors(seed, tied=True).items()
        }
        folder = write_model(tmp_path / name, {**tensors, **head}, **config)
        said = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**said, "num_hidden_layers": 2}))
        return str(folder)

    return make


def scores(rows: int, seed: int) -> dict[str, torch.Tensor]:
    return {"score.weight": torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))}


def language(seed: int) -> dict[str, torch.Tensor]:
    return {"lm_head.weight": torch.randn(40, 16, generator=torch.Generator().manual_seed(seed))}


def run(tmp_path: Path, data: dict[str, Any]) -> tuple[int, dict[str, torch.Tensor], dict[str, Any]]:
    """Exit code of the command, tensors and config of what it wrote."""
    config, out = tmp_path / "m.yml", tmp_path / "out"
    config.write_text(json.dumps(data))
    code = main(["merge", str(config), str(out), "--quiet"])
    if code:
        return code, {}, {}
    return code, load_file(out / "model.safetensors"), json.loads((out / "config.json").read_text())


@pytest.mark.parametrize("trim", ["tensor", "global"])
@pytest.mark.parametrize("donor", [0, 1, 2])
def test_the_backbone_is_that_of_models_without_heads_and_the_head_is_the_donors(
    donor: int, trim: str, headed: Callable[..., str], tmp_path: Path
) -> None:
    heads = [language(7), scores(3, 1), scores(5, 2)]
    names = ["LlamaForCausalLM", "LlamaForSequenceClassification", "LlamaForSequenceClassification"]
    folders = [
        headed(f"m{index}", index, head, architectures=[name], num_labels=len(next(iter(head.values()))))
        for index, (head, name) in enumerate(zip(heads, names, strict=True))
    ]
    bare = [headed(f"bare{index}", index, {}, tie_word_embeddings=True) for index in range(3)]

    def ties(models: list[str], **more: Any) -> dict[str, Any]:
        entries = [{"model": one, "parameters": {"density": 0.4}} for one in models[1:]]
        shared = {"merge_method": "ties", "base_model": models[0], "models": entries}
        return {**shared, "parameters": {"trim_scope": trim}, **more}

    code, found, config = run(tmp_path, ties(folders, backbone_only=True, donor=folders[donor]))
    assert code == 0
    assert config["architectures"] == [names[donor]]
    assert config["num_labels"] == len(next(iter(heads[donor].values())))
    (head,) = heads[donor]
    assert torch.equal(found.pop(head), heads[donor][head])
    (tmp_path / "bare").mkdir()
    _, expected, _ = run(tmp_path / "bare", ties(bare))
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    record = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert record["recipe"]["backbone_only"] is True


def test_without_the_option_heads_that_differ_are_an_error_that_names_it(
    headed: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [{"model": headed("a", 0, language(7))}, {"model": headed("b", 1, scores(3, 1))}]
    code, _, _ = run(tmp_path, {"merge_method": "linear", "models": models})
    assert code == 2
    assert "backbone_only: true" in capsys.readouterr().err


def test_a_tied_donor_has_its_merged_embedding_as_head(headed: Callable[..., str], tmp_path: Path) -> None:
    tied = headed("tied", 0, {}, tie_word_embeddings=True)
    embedding = load_file(f"{tied}/model.safetensors")["model.embed_tokens.weight"]
    stored = headed("stored", 0, {"lm_head.weight": embedding}, tie_word_embeddings=True)
    other = headed("other", 1, scores(3, 1))
    for first in (tied, stored):
        data = {"merge_method": "linear", "models": [{"model": first}, {"model": other}], "backbone_only": True}
        out = tmp_path / Path(first).name / "run"
        out.mkdir()
        code, found, config = run(out, data)
        assert (code, config["tie_word_embeddings"]) == (0, True)
        assert "lm_head.weight" not in found
        assert not torch.equal(found["model.embed_tokens.weight"], embedding)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tied_embeddings": "untie"}, "heads are the donor's, tied as they are there"),
        ({"tokenizer_source": "union"}, "backbone_only takes the heads of the donor as they are"),
        ({"merge_method": "hi_merging", "score": {"items": ["a", "b"]}}, "scores need one head"),
    ],
)
def test_what_does_not_go_with_it_is_one_line(
    fields: dict[str, Any], message: str, headed: Callable[..., str], tmp_path: Path, capsys: Any
) -> None:
    models = [{"model": headed("a", 0, language(7))}, {"model": headed("b", 1, scores(3, 1))}]
    data = {"merge_method": "linear", "models": models, "backbone_only": True, **fields}
    assert run(tmp_path, data)[0] == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_model_whose_backbone_has_no_name_is_refused(headed: Callable[..., str], tmp_path: Path, capsys: Any) -> None:
    models = [{"model": headed(name, seed, {}, prefix="")} for seed, name in enumerate("ab")]
    assert run(tmp_path, {"merge_method": "linear", "models": models, "backbone_only": True})[0] == 2
    assert "what its backbone is cannot be told from that" in capsys.readouterr().err
