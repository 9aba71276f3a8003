"""Merges that score: held-out splits, greedy soup, Hi-Merging on real weights, sweeps, and lm-eval's own command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from e2lm import UserError
from e2lm.command_line import main
from e2lm_merge.output.in_memory import load_tensors, merged_model, merged_tensors
from e2lm_merge.output.lm_eval_model import recipe_of_arguments
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.search.greedy_soup import greedy_soup
from e2lm_merge.search.items import (
    HeldOutItem,
    ItemScorer,
    encode_items,
    interval_of,
    load_tokenizer,
    read_items,
    split_items,
)
from e2lm_merge.search.layers import LayerMix, LayerProber, Share

Models = Callable[..., list[str]]
WORDS = [f"w{index}" for index in range(36)]


def write_tokenizer(folder: str) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["<s>", "</s>", "<unk>", *WORDS])}
    raw = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)


def write_items(path: Path, seed: int, count: int = 24) -> str:
    rng = np.random.default_rng(seed)
    with open(path, "w") as handle:
        for _ in range(count):
            words = [WORDS[index] for index in rng.integers(0, 36, size=8)]
            handle.write(json.dumps({"context": " ".join(words[:5]), "continuation": " " + " ".join(words[5:])}) + "\n")
    return str(path)


@pytest.fixture
def scored_models(models: Models, tmp_path: Path) -> tuple[list[str], list[str]]:
    folders = models(2, step=0.3)
    for folder in folders:
        write_tokenizer(folder)
    return folders, [write_items(tmp_path / f"items{index}.jsonl", index) for index in range(2)]


# held-out items


@settings(deadline=None)
@given(
    texts=st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=60, unique=True), share=st.floats(0.05, 0.95)
)
def test_halves_are_disjoint_complete_and_blind_to_order(texts: list[str], share: float) -> None:
    items = [HeldOutItem("", text) for text in texts]
    split = split_items(items, share)
    assert split.selection
    assert split.report
    assert not set(split.selection) & set(split.report)
    assert set(split.selection) | set(split.report) == set(items)
    assert split_items(items[::-1], share) == split


def test_an_item_given_twice_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "i.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "a"}\n{"text": "b"}\n')
    assert [item.continuation for item in read_items(path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a"}\n', "1 items; at least 2"),
        ('{"txt": "a"}\n', "i.jsonl:1: unknown field 'txt'. Did you mean 'text'"),
        ('{"text": ""}\n', "i.jsonl:1: field 'continuation'"),
        ("[1]\n", "i.jsonl:1: found list"),
        ("{\n", "i.jsonl:1: not valid JSON"),
    ],
)
def test_items_that_are_none_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "i.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        read_items(tmp_path / "i.jsonl")


# models in memory


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


def test_scores_are_log_likelihoods_per_byte(scored_models: tuple[list[str], list[str]]) -> None:
    folders, (items, _) = scored_models
    plan = plan_merge(recipe_from_data({"merge_method": "linear", "models": [{"model": folders[0]}]}, "t"))
    model = merged_model(plan)
    tokenizer = load_tokenizer(Path(folders[0]))
    listed = read_items(Path(items))[:5]
    encoded = encode_items(listed, tokenizer, 64)
    together = ItemScorer(encoded, batch_size=5)(model)
    for index, item in enumerate(listed):
        ids = torch.tensor([tokenizer.encode(item.context + item.continuation, add_special_tokens=False)])
        with torch.inference_mode():
            logs = torch.log_softmax(model(ids).logits[0].float(), -1)
        expected = sum(float(logs[place - 1, int(ids[0, place])]) for place in range(5, 8)) / item.bytes
        assert together[index] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(ItemScorer(encoded, batch_size=2)(model), together, rtol=1e-5)


def test_a_continuation_that_does_not_fit_is_refused_and_a_context_is_cut(models: Models) -> None:
    folder = models(1)[0]
    write_tokenizer(folder)
    tokenizer = load_tokenizer(Path(folder))
    long = " ".join(WORDS[:10])
    (cut,) = encode_items([HeldOutItem(long, " w1 w2")], tokenizer, 6)
    assert (len(cut.ids), cut.scored) == (6, 2)
    with pytest.raises(UserError, match="10 tokens to score, and the model takes 6"):
        encode_items([HeldOutItem("w1", long)], tokenizer, 6)


# greedy soup


@settings(deadline=None)
@given(values=st.lists(st.integers(-5, 5), min_size=2, max_size=6))
def test_a_greedy_soup_never_scores_below_its_best_model(values: list[int]) -> None:
    soup = greedy_soup(len(values), lambda members: sum(values[one] for one in members) / len(members))
    assert soup.score == max(values)
    assert soup.evaluations == 2 * len(values) - 1
    assert {values[one] for one in soup.members} == {max(values)}


def test_what_is_reported_has_the_95_percent_interval_of_a_mean() -> None:
    values_I = np.random.default_rng(0).normal(size=40)
    reported = interval_of(values_I)
    half = 1.959964 * values_I.std(ddof=1) / np.sqrt(40)
    assert reported == pytest.approx(
        {"mean": values_I.mean(), "low": values_I.mean() - half, "high": values_I.mean() + half}
    )


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


# Hi-Merging on real weights


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_the_prober_holds_what_a_merge_from_scratch_gives(
    scope: str, scored_models: tuple[list[str], list[str]]
) -> None:
    (base, *tunes), _ = scored_models
    data = {
        "merge_method": "prune_scale",
        "base_model": base,
        "models": [{"model": one} for one in tunes],
        "parameters": {"trim_scope": scope},
    }
    plan = plan_merge(recipe_from_data(data, "t"))
    prober = LayerProber(plan, [])
    mix = LayerMix.of_layers(2, (Share(0.3, 0.5), Share(0.2, 1.0)))
    for wanted in (mix, mix.without_layer(1), mix.only_layer(0), mix.base(), mix):
        prober.bring_to(wanted)
    expected = merged_tensors(
        plan_merge(
            recipe_from_data(
                {
                    **data,
                    "models": [
                        {"model": tunes[0], "parameters": {"density": 0.3, "weight": 0.5}},
                        {"model": tunes[1], "parameters": {"density": 0.2, "weight": 1.0}},
                    ],
                },
                "t",
            )
        )
    )
    own = prober.model.state_dict()
    assert all(torch.equal(own[name], expected[name]) for name in expected)
    prober.bring_to(mix.base())
    stored = load_file(f"{base}/model.safetensors")
    assert all(torch.equal(own[name], stored[name]) for name in stored)


@pytest.mark.parametrize("parameters", [{}, {"trim_scope": "global", "combine": "average", "recompute": True}])
def test_the_command_runs_hi_merging_whole(
    parameters: dict[str, Any],
    scored_models: tuple[list[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (base, *tunes), items = scored_models
    config = tmp_path / "hi.yml"
    data = {
        "merge_method": "hi_merging",
        "base_model": base,
        "models": [{"model": one, "parameters": {"density": 0.5, "weight": 0.8}} for one in tunes],
        "parameters": {"z": 0.0, **parameters},
        "score": {"items": items},
    }
    config.write_text(json.dumps(data))
    assert main(["merge", str(config), str(tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "evaluations" in said
    assert main(["merge", str(config), str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    details = report["selection"]
    assert details["evaluations"] <= report["cost"]["worst_case_total"]
    assert sorted(row["layer"] for row in details["layers"]) == [0, 1]
    assert [row["task_of"] for row in details["reported"]] == tunes
    stored = load_file(tmp_path / "out" / "model.safetensors")
    record = json.loads((tmp_path / "out" / "merge.json").read_text())
    again = merged_tensors(plan_merge(recipe_from_data(record["recipe"], "t")))
    assert all(torch.equal(stored[name], again[name]) for name in stored)


def test_hi_merging_needs_items_for_every_model(scored_models: tuple[list[str], list[str]], tmp_path: Path) -> None:
    (base, *tunes), items = scored_models
    config = tmp_path / "hi.yml"
    data = {
        "merge_method": "hi_merging",
        "base_model": base,
        "models": [{"model": one} for one in tunes],
        "score": {"items": items[:1]},
    }
    config.write_text(json.dumps(data))
    assert main(["merge", str(config), str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


# sweeps


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
    tmp_path: Path, tiny_tensors: Any, write_model: Any, capsys: pytest.CaptureFixture[str]
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


# lm-eval


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
            words = [WORDS[index] for index in rng.integers(0, 36, size=8)]
            handle.write(json.dumps({"context": " ".join(words[:5]), "choices": words[5:], "gold": 1}) + "\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "toy.yaml").write_text(TASK.format(data=tmp_path / "docs.jsonl"))
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path / "tasks"))

    def scored(model: Any) -> list[Any]:
        result = lm_eval.simple_evaluate(
            model=model, tasks=["e2lm_merge_toy"], task_manager=manager, log_samples=True, bootstrap_iters=0
        )
        return [sample["filtered_resps"] for sample in result["samples"]["e2lm_merge_toy"]]

    in_memory = E2lmMerge(strategy="ties:density=0.5", models=";".join(tunes), base_model=base, batch_size=4)
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


def test_the_plugin_imports_without_torch_and_registers_its_model() -> None:
    code = (
        "import sys, time\n"
        "import e2lm_merge.plugin as plugin\n"
        "assert 'torch' not in sys.modules\n"
        "assert len(plugin.e2lm_register_merge_strategies()) > 20\n"
        "assert 'torch' not in sys.modules\n"
        "print([one.target for one in plugin.e2lm_register_models()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert done.stdout.strip() == "['e2lm_merge.evaluation_model:E2lmMerge']"


def test_a_plain_merge_needs_no_torch(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    config = tmp_path / "m.yml"
    config.write_text(json.dumps({"merge_method": "linear", "models": [{"model": one} for one in folders]}))
    code = (
        "import sys\n"
        "from e2lm.command_line import main\n"
        f"assert main(['merge', {str(config)!r}, {str(tmp_path / 'out')!r}, '--quiet']) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "out" / "model.safetensors").is_file()
