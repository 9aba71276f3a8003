"""The written merge: the same bytes whatever happens on the way, whole or not there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm import UserError
from e2lm_merge.numbers import blocks as block_walk
from e2lm_merge.output import folder as merge_folder
from e2lm_merge.output.folder import merge_to_folder
from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.output.journal import FinishedTensor, MergeJournal
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data

Models = Callable[..., list[str]]


def data(folders: list[str], method: str = "dare_ties", **parameters: Any) -> dict[str, Any]:
    base, *rest = folders
    defaults = {"density": 0.5} if method != "linear" else {}
    return {
        "merge_method": method,
        "base_model": base,
        "models": [{"model": folder} for folder in rest],
        "parameters": {**defaults, **parameters},
    }


def write(recipe: dict[str, Any], output: Path, **options: Any) -> Path:
    merge_to_folder(plan_merge(recipe_from_data(recipe, "t")), output, **options)
    return output


def digest(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "della", "breadcrumbs", "slerp"])
def test_bits_do_not_depend_on_threads_or_on_writing(method: str, models: Models, tmp_path: Path) -> None:
    folders = models(1 if method == "slerp" else 3)
    recipe = data(folders, method)
    if method == "slerp":
        recipe["parameters"] = {"t": 0.3}
    one = digest(write(recipe, tmp_path / "one", threads=1))
    assert digest(write(recipe, tmp_path / "four", threads=4)) == one
    in_memory = merged_tensors(plan_merge(recipe_from_data(recipe, "t")), threads=3)
    stored = load_file(tmp_path / "one" / "model.safetensors")
    assert stored.keys() == in_memory.keys()
    assert all(torch.equal(stored[name], in_memory[name]) for name in stored)


@pytest.mark.parametrize("method", ["linear", "ties", "breadcrumbs", "consensus"])
def test_bits_do_not_depend_on_the_size_of_blocks_where_numbers_are_merged_one_by_one(
    method: str, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = data(models(3), method)
    if method == "consensus":
        recipe["parameters"] = {}
    whole = merged_tensors(plan_merge(recipe_from_data(recipe, "t")))
    monkeypatch.setattr(block_walk, "BLOCK_NUMBERS", 96)
    pieces = merged_tensors(plan_merge(recipe_from_data(recipe, "t")))
    assert all(torch.equal(whole[name], pieces[name]) for name in whole)


def shard(folder: str, count: int) -> None:
    """Split a model's file in ``count``."""
    path = Path(folder)
    tensors = load_file(path / "model.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for index in range(count):
        file = f"model-{index + 1:05d}-of-{count:05d}.safetensors"
        part = {name: tensors[name] for name in names[index::count]}
        save_file(part, path / file)
        weight_map.update(dict.fromkeys(part, file))
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (path / "model.safetensors").unlink()


def test_shards_in_change_nothing_and_shards_out_hold_the_same(models: Models, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folders = models(2)
    recipe = data(folders, "ties")
    single = write(recipe, tmp_path / "single")
    for count, folder in enumerate(folders, start=2):
        shard(folder, count)
    from_shards = write(recipe, tmp_path / "from-shards")
    names = ("model.safetensors", "config.json")
    assert all(digest(single)[name] == digest(from_shards)[name] for name in names)
    sharded = write(recipe, tmp_path / "sharded", shard_bytes=8000)
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    stored = load_file(single / "model.safetensors")
    assert index["weight_map"].keys() == stored.keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in stored.values())
    assert len(set(index["weight_map"].values())) > 3
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(sharded / file)[name], stored[name])
    ids = torch.arange(12).view(1, 12)
    with torch.inference_mode():
        one = AutoModelForCausalLM.from_pretrained(single)(ids).logits
        two = AutoModelForCausalLM.from_pretrained(sharded)(ids).logits
    assert torch.equal(one, two)
    assert bool(torch.isfinite(one).all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("method", ["linear", "ties"])
def test_a_number_that_is_none_stops_the_merge_and_leaves_nothing(
    bad: float, method: str, models: Models, tmp_path: Path
) -> None:
    folders = models(2)
    path = Path(folders[2]) / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 3] = bad
    save_file(tensors, path)
    recipe = data(folders, method)
    with pytest.raises(UserError, match=r"ft2: tensor 'model.layers.1.mlp.up_proj.weight' holds NaN or infinity"):
        write(recipe, tmp_path / "o" / "out")
    assert not list((tmp_path / "o").iterdir())
    allowed = write({**recipe, "allow_nonfinite": True}, tmp_path / "o" / "out")
    assert (allowed / "model.safetensors").is_file()


def test_an_output_that_appears_during_the_merge_is_untouched(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = merge_folder._sync

    def synced(work: Path) -> None:
        plain(work)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("kept")

    monkeypatch.setattr(merge_folder, "_sync", synced)
    with pytest.raises(UserError, match="out: exists already; a merge never overwrites"):
        write(data(models(2), "linear"), tmp_path / "out")
    assert digest(tmp_path / "out").keys() == {"mine"}
    assert not list(tmp_path.glob(".partial-*"))


def test_what_killed_merges_of_other_plans_left_goes_once_the_folder_is_there(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    stop_after(data(folders, density=0.3), tmp_path / "out", tensors=3)
    stop_after(data(folders, density=0.4), tmp_path / "another-out", tensors=3)
    assert len(list(tmp_path.glob(".partial-merge-*"))) == 2
    write(data(folders), tmp_path / "out")
    (left,) = tmp_path.glob(".partial-merge-*")
    assert left.name.endswith("-another-out")


def test_a_merge_of_another_plan_that_still_runs_keeps_its_folder(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    stop_after(data(folders, density=0.3), tmp_path / "out", tensors=3)
    (running,) = tmp_path.glob(".partial-merge-*")
    with merge_folder._locked(running, tmp_path / "out"):
        write(data(folders), tmp_path / "out")
        assert (running / "model.safetensors").is_file()


def test_an_output_that_exists_is_refused_and_untouched(models: Models, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        write(data(models(2)), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


def test_provenance_names_inputs_by_what_was_read_and_is_the_same_twice(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    one, two = write(data(folders), tmp_path / "a"), write(data(folders), tmp_path / "b")
    assert digest(one) == digest(two)
    record = json.loads((one / "merge.json").read_text())
    assert [entry["model"] for entry in record["inputs"]] == [folders[1], folders[2], folders[0]]
    assert len({entry["xxh3_128"] for entry in record["inputs"]}) == 3
    assert record["recipe"]["merge_method"] == "dare_ties"
    assert record["versions"]["torch"]


def test_a_donors_tokenizer_is_copied_and_a_strangers_file_is_not(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    for folder in folders:
        (Path(folder) / "tokenizer.json").write_text(json.dumps({"of": folder}))
        (Path(folder) / "optimizer.pt").write_text("x")
    out = write(data(folders), tmp_path / "out")
    assert json.loads((out / "tokenizer.json").read_text()) == {"of": folders[0]}
    assert sorted(file.name for file in out.iterdir()) == [
        "config.json", "merge.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip


def test_the_journal_forgives_a_torn_last_line(tmp_path: Path) -> None:
    with MergeJournal(tmp_path) as journal:
        journal.add(FinishedTensor("a", "1", ("2",)))
    with open(journal.path, "ab") as handle:
        handle.write(b'["b", "3"')
    assert journal.read() == {"a": FinishedTensor("a", "1", ("2",))}


def test_a_tensor_whose_bytes_were_lost_is_merged_again(models: Models, tmp_path: Path) -> None:
    recipe = data(models(2))
    whole = digest(write(recipe, tmp_path / "whole"))
    stop_after(recipe, tmp_path / "out", tensors=5)
    (work,) = tmp_path.glob(".partial-merge-*-out")
    with open(work / "model.safetensors", "r+b") as handle:
        handle.seek(-5000, os.SEEK_END)
        handle.write(b"\0" * 5000)
    assert digest(write(recipe, tmp_path / "out")) == whole


def stop_after(recipe: dict[str, Any], output: Path, tensors: int) -> None:
    """Die, as by a kill, when so many tensors are done."""
    code = (
        "import json, os, signal, sys\n"
        "from pathlib import Path\n"
        "from e2lm_merge.output import journal\n"
        "from e2lm_merge.output.folder import merge_to_folder\n"
        "from e2lm_merge.plan.merge_plan import plan_merge\n"
        "from e2lm_merge.plan.recipe import recipe_from_data\n"
        "count, add = 0, journal.MergeJournal.add\n"
        "def counted(self, finished):\n"
        "    global count\n"
        "    add(self, finished)\n"
        "    count += 1\n"
        "    if count == int(sys.argv[3]):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "journal.MergeJournal.add = counted\n"
        "merge_to_folder(plan_merge(recipe_from_data(json.loads(sys.argv[1]), 't')), Path(sys.argv[2]), threads=2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(recipe), str(output), str(tensors)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("method", ["dare_ties", "linear"])
def test_a_merge_killed_after_any_tensor_goes_on_to_the_same_bytes(method: str, models: Models, tmp_path: Path) -> None:
    recipe = data(models(2), method)
    whole = digest(write(recipe, tmp_path / "whole"))
    chance = random.Random(5)
    for attempt in range(3):
        output = tmp_path / f"out{attempt}"
        stop_after(recipe, output, chance.randint(1, 20))
        assert not output.exists()
        assert not list(tmp_path.glob(f"out{attempt}/**/model.safetensors"))
        outcome = merge_to_folder(plan_merge(recipe_from_data(recipe, "t")), output)
        assert outcome.resumed >= 1
        assert digest(output) == whole
        assert not list(tmp_path.glob(f".partial-merge-*-out{attempt}"))


def test_a_command_killed_at_a_random_moment_leaves_nothing_or_everything(models: Models, tmp_path: Path) -> None:
    recipe = data(models(3), "ties")
    config = tmp_path / "m.yml"
    config.write_text(json.dumps(recipe))
    whole = digest(write(recipe, tmp_path / "whole"))
    chance = random.Random(11)
    output = tmp_path / "out"
    command = [sys.executable, "-m", "e2lm", "merge", str(config), str(output), "--quiet"]
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.3, 2.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if output.exists():
            break
    else:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert digest(output) == whole


def test_another_config_does_not_take_up_a_killed_merge(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    stop_after(data(folders), tmp_path / "out", tensors=4)
    outcome = merge_to_folder(plan_merge(recipe_from_data(data(folders, density=0.6), "t")), tmp_path / "out")
    assert outcome.resumed == 0
    assert digest(tmp_path / "out") == digest(write(data(folders, density=0.6), tmp_path / "fresh"))


def test_changed_inputs_do_not_take_up_a_killed_merge(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    stop_after(data(folders), tmp_path / "out", tensors=4)
    path = Path(folders[1]) / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, path)
    outcome = merge_to_folder(plan_merge(recipe_from_data(data(folders), "t")), tmp_path / "out")
    assert outcome.resumed == 0


def test_a_full_disk_is_seen_before_it_is_full(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(UserError, match="make room"):
        write(data(models(2)), tmp_path / "o" / "out")
    assert not list((tmp_path / "o").iterdir())
