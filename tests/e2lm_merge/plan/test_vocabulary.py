"""Models of different vocabularies are merged token by token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm_merge.numbers.formats import Bytes
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import TokenRule, recipe_from_data
from e2lm_merge.plan.vocabulary import OutputVocabulary

SPECIAL = ["<s>", "</s>", "<unk>"]
WORDS = [f"w{index}" for index in range(37)]
#: The same tokens under other numbers; two that the first model lacks, in the place of two that it has.
TURNED = ["<unk>", *WORDS[::-1], "<s>", "</s>"]
OTHER = [*SPECIAL, *WORDS[:35], "new0", "new1"]


def write_words(folder: Path, words: Sequence[str], added: Sequence[str] = ()) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    whole = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    whole.add_tokens(list(added))
    whole.save_pretrained(str(folder))


@pytest.fixture
def folders(tmp_path: Path, tiny_tensors: Any, write_model: Any) -> dict[str, Path]:
    """A model, the same with its tokens in another order, and one that knows other tokens."""
    tensors = tiny_tensors(0)
    words = [*SPECIAL, *WORDS]
    order = [words.index(word) for word in TURNED]
    turned = {name: one[order] if len(one) == 40 else one for name, one in tensors.items()}
    found = {
        "one": write_model(tmp_path / "one", tensors, bos_token_id=0, eos_token_id=1),
        "turned": write_model(tmp_path / "turned", turned, bos_token_id=38, eos_token_id=39),
        "other": write_model(tmp_path / "other", tiny_tensors(1)),
    }
    for name, known in (("one", words), ("turned", TURNED), ("other", OTHER)):
        write_words(found[name], known)
    return found


def merged(folder: Path, **data: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[str]]:
    """Tensors, config and tokens of a merge by the command."""
    config, out = folder / "m.yml", folder / "out"
    config.write_text(yaml.safe_dump(data))
    assert main(["merge", str(config), str(out), "--quiet"]) == 0
    words = json.loads((out / "tokenizer.json").read_text())
    known = {**words["model"]["vocab"], **{one["content"]: one["id"] for one in words["added_tokens"]}}
    tokens = sorted(known, key=known.__getitem__)
    return load_file(out / "model.safetensors"), json.loads((out / "config.json").read_text()), tokens


def models_of(folders: dict[str, Path], *names: str) -> list[dict[str, Any]]:
    return [{"model": str(folders[name])} for name in names]


@pytest.mark.parametrize(("source", "like"), [("base", "one"), ("union", "one"), ("turned", "turned")])
def test_a_model_and_itself_with_its_tokens_in_another_order_merge_to_it(
    source: str, like: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    found, config, tokens = merged(
        tmp_path, merge_method="linear", base_model=str(folders["one"]), models=models_of(folders, "one", "turned"),
        tokenizer_source=str(folders.get(source, source)),
    )  # fmt: skip
    expected = load_file(folders[like] / "model.safetensors")
    assert all(torch.equal(found[name], one) for name, one in expected.items())
    assert tokens == ([*SPECIAL, *WORDS] if like == "one" else TURNED)
    assert [config[f"{name}_token_id"] for name in ("bos", "eos")] == [tokens.index(one) for one in ("<s>", "</s>")]


def test_without_a_word_on_tokens_the_same_models_are_refused(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.yml").write_text(
        yaml.safe_dump({"merge_method": "linear", "models": models_of(folders, "one", "turned")})
    )
    assert main(["merge", str(tmp_path / "m.yml"), str(tmp_path / "out"), "--quiet"]) == 2
    assert "the rows of the embeddings stand for other texts" in capsys.readouterr().err


def test_a_union_has_every_token_and_takes_the_row_of_who_knows_it(folders: dict[str, Path], tmp_path: Path) -> None:
    one, other = (load_file(folders[name] / "model.safetensors") for name in ("one", "other"))
    found, config, tokens = merged(
        tmp_path, merge_method="linear", models=models_of(folders, "one", "other"), tokenizer_source="union"
    )
    assert tokens == [*SPECIAL, *WORDS, "new0", "new1"]
    assert config["vocab_size"] == 42
    name = "lm_head.weight"
    torch.testing.assert_close(found[name][5], (one[name][5] + other[name][5]) / 2)
    assert torch.equal(found[name][39], one[name][39])  # w36: the other model has new1 in this place
    assert torch.equal(found[name][41], other[name][39])
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(tmp_path / "out")("w3 new1 w36")["input_ids"]
    assert ids == [6, 41, 39]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out")(torch.tensor([ids])).logits.shape == (1, 3, 42)


def test_rules_decide_for_single_tokens(folders: dict[str, Path], tmp_path: Path) -> None:
    other = load_file(folders["other"] / "model.safetensors")["lm_head.weight"]
    label = str(folders["other"])
    rules = {
        "w0": {"source": {"kind": "model_token", "model": label, "token": "new1"}, "force": True},
        "w36": {"source": {"kind": "zero"}},
        "<tool>": {"source": {"kind": "model_token", "model": label, "token_id": 7}},
    }
    found, config, tokens = merged(
        tmp_path, merge_method="task_arithmetic", base_model=str(folders["one"]), models=models_of(folders, "other"),
        tokenizer={"source": "base", "tokens": rules, "pad_to_multiple_of": 8},
    )  # fmt: skip
    head = found["lm_head.weight"]
    torch.testing.assert_close(head[3], other[39])
    # The base knows w36, the other takes zeros there: base + (0 - base).
    torch.testing.assert_close(head[tokens.index("w36")], torch.zeros(16))
    torch.testing.assert_close(head[tokens.index("<tool>")], other[7])
    assert (len(tokens), config["vocab_size"], len(head)) == (41, 48, 48)
    torch.testing.assert_close(head[41:], head[:41].mean(dim=0).expand(7, 16))


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"tokenizer_source": "/nowhere"}, "model '/nowhere': no such folder"),
        ({"tokenizer": {"tokens": {"w0": {"source": "TURNED"}}}}, "token 'w0': .*turned is none of the models"),
        (
            {"tokenizer": {"tokens": {"w0": {"source": {"kind": "model_token", "model": "OTHER", "token_id": 40}}}}},
            "token 'w0': .*other has no token 40 in its 40 rows",
        ),
        ({"tokenizer": {"tokens": {"w36": {"source": "OTHER", "force": True}}}}, "'w36': .*other does not know it"),
        ({"tokenizer": {"tokens": {"new1": {"force": False}}}}, "'new1': not all models know it, so it needs a source"),
        ({"tokenizer": {"tokens": {"w0": {"source": {"kind": "model_token", "model": "OTHER"}}}}}, "token or token_id"),
    ],
)
def test_a_mistake_about_tokens_is_one_line(
    vocabulary: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    text = json.dumps({"merge_method": "linear", "models": models_of(folders, "one", "other"), **vocabulary})
    for name in ("turned", "other"):
        text = text.replace(name.upper(), str(folders[name]))
    with pytest.raises(UserError, match=message) as error:
        plan_merge(recipe_from_data(json.loads(text), "m.yml"))
    assert "\n" not in str(error.value)


# -- rows --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """An embedding in memory."""

    label: str
    rows: Any
    dtype: str = "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.rows.shape)

    def read(self, start: int, into: Bytes) -> None:
        into[:] = self.rows.view(np.uint8).reshape(-1)[start : start + len(into)]


def test_any_part_of_an_embedding_is_read_as_if_it_were_stored_so() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(12, 5)).astype(np.float32) for _ in range(2))
    places = {"a": np.array([3, 4, 5, -1, -1, 0, -1, 11]), "b": np.array([7, -1, 2, -1, 9, 1, -1, 10])}
    rules = {6: (TokenRule.model_validate({"source": "b"}), 8)}
    vocabulary = OutputVocabulary(None, None, tuple("abcdefgh"), 11, places, rules)
    stored = {"a": Rows("a", a), "b": Rows("b", b)}
    tokens = np.stack([a[3], a[4], a[5], np.zeros(5, np.float32), b[9], a[0], b[8], a[11]])
    expected = np.concatenate([tokens, np.tile(tokens.mean(axis=0, dtype=np.float64).astype(np.float32), (3, 1))])
    whole = expected.view(np.uint8).reshape(-1)
    found = vocabulary.numbers("a", stored)
    assert found.shape == (11, 5)
    for start, end in [(0, 220), (0, 4), (36, 44), (52, 124), (100, 168), (156, 220), (164, 200), (200, 220), (8, 8)]:
        into = np.empty(end - start, dtype=np.uint8)
        found.read(start, into)
        assert np.array_equal(into, whole[start:end]), (start, end)


def test_a_row_that_a_model_lacks_is_the_bases_or_else_the_mean_of_those_that_have_it() -> None:
    stored = {
        name: Rows(name, np.full((3, 2), value, dtype=np.float32)) for name, value in zip("abc", (1, 2, 6), strict=True)
    }
    places = {"a": np.array([-1]), "b": np.array([1]), "c": np.array([2])}
    for base, value in ((None, 4.0), ("b", 2.0), ("a", 4.0)):
        read = np.empty(8, dtype=np.uint8)
        OutputVocabulary(None, None, ("x",), 1, places, {}, base).numbers("a", stored).read(0, read)
        assert read.view(np.float32).tolist() == [value, value]


def test_embeddings_of_several_types_are_read_in_float32() -> None:
    half = np.array([[1.5, 2.5]], dtype=np.float16)
    stored = {"a": Rows("a", half, "F16"), "b": Rows("b", np.array([[0.1, 0.2]], dtype=np.float32))}
    numbers = OutputVocabulary(None, None, ("x",), 1, {"a": np.array([0]), "b": np.array([0])}).numbers("a", stored)
    read = np.empty(8, dtype=np.uint8)
    numbers.read(0, read)
    assert (numbers.dtype, read.view(np.float32).tolist()) == ("F32", [1.5, 2.5])


def test_a_tensor_by_token_that_is_not_known_as_one_is_refused_where_rows_move(folders: dict[str, Path]) -> None:
    for name in ("one", "turned"):
        file = folders[name] / "model.safetensors"
        save_file({**load_file(file), "model.embed_tokens_per_layer.weight": torch.zeros(40, 6)}, file)
    data = {"merge_method": "linear", "tokenizer_source": "base"}
    with pytest.raises(UserError, match=r"embed_tokens_per_layer.weight' of shape \[40, 6\].*merge without tokenizer"):
        plan_merge(recipe_from_data({**data, "models": models_of(folders, "one", "turned")}, "test"))
    plan_merge(recipe_from_data({**data, "models": models_of(folders, "one", "one")}, "test"))


def test_a_tensor_that_has_as_many_rows_as_tokens_by_chance_is_not_taken_for_one_by_token(
    folders: dict[str, Path], write_model: Any
) -> None:
    gate = {"model.layers.0.gate": torch.zeros(40, 6)}
    for name in ("one", "turned", "other"):
        tensors = load_file(folders[name] / "model.safetensors")
        if name == "other":
            longer = {part: torch.cat([one, one[:2]]) for part, one in tensors.items() if len(one) == 40}
            write_model(folders[name], {**tensors, **longer, **gate}, vocab_size=42)
            write_words(folders[name], [*OTHER, "new2", "new3"])
        else:
            save_file({**tensors, **gate}, folders[name] / "model.safetensors")
    data = {"merge_method": "linear", "tokenizer_source": "base", "models": models_of(folders, "one", "turned")}
    with pytest.raises(UserError, match=r"layers.0.gate' of shape \[40, 6\]"):
        plan_merge(recipe_from_data(data, "test"))
    plan_merge(recipe_from_data({**data, "models": models_of(folders, "one", "turned", "other")}, "test"))
