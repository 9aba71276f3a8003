"""Each checkpoint of a series comes with its own configuration, tokenizer and type, as if it were scored alone."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm.checkpoint import Checkpoint
from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm.samples import read_samples
from e2lm.weights import SHARD_INDEX, SINGLE_FILE
from e2lm_adapters.checkpoints.difference import difference
from e2lm_adapters.checkpoints.source import CheckpointSource
from e2lm_adapters.eval.loading import LiveModel, require_loadable
from e2lm_adapters.scoring.swap import ReadAhead, UnusableCheckpointError
from e2lm_testing.tiny_checkpoint import tokenizer_files
from tests.e2lm_adapters.conftest import write_task
from tests.families.architectures import model, write_checkpoint

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    write_task(folder, items=6)
    return folder


@pytest.fixture
def run(tmp_path: Path, tiny_series: Path) -> Path:
    """The first two checkpoints of a run, in float32."""
    folder = tmp_path / "run"
    for step in (0, 10):
        shutil.copytree(tiny_series / f"checkpoint-{step}", folder / f"checkpoint-{step}")
    return folder


def evaluated(run: Path, out: Path, tasks: Path, *options: str) -> int:
    given = ["eval", run, "--tasks", "small", "--out", out, "--include-path", tasks, "--device", "cpu", "--quiet"]
    return main([*map(str, given), *options])


def logliks(out: Path, run: str, step: int) -> Any:
    file = out / "samples" / run / "small" / f"checkpoint-{step}.parquet"
    return np.concatenate([one.choices.loglik_IC.ravel() for one in read_samples(file)])


def alone(checkpoint: Path, out: Path, tasks: Path, *options: str) -> Any:
    """What stock lm-eval makes of one checkpoint by itself."""
    folder = out.parent / "alone" / "run"
    shutil.copytree(checkpoint, folder / checkpoint.name)
    for file in checkpoint.parent.glob("tok*.json"):
        shutil.copy(file, folder)
    assert evaluated(folder, out, tasks, "--model", "hf", *options) == 0
    return logliks(out, "run", int(checkpoint.name.partition("-")[2]))


def record(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "run.json").read_text(encoding="utf-8")))


def configured(**entries: Any) -> Change:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, **entries}), encoding="utf-8")

    return change


def another_rope_base(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["rope_parameters"]["rope_theta"] = 500.0
    configured(rope_parameters=config["rope_parameters"])(folder)


def a_tokenizer_that_begins_with_a_token(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    begin = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def in_bfloat16(folder: Path) -> None:
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(folder / SINGLE_FILE).items()}
    save_file(tensors, folder / SINGLE_FILE, metadata={"format": "pt"})
    configured(dtype="bfloat16")(folder)


@pytest.mark.parametrize(
    ("step", "change", "reason"),
    [
        (10, another_rope_base, "rope_parameters in config.json is another than in checkpoint-0"),
        (10, configured(rms_norm_eps=0.1, hidden_act="gelu"), "hidden_act in config.json"),
        (10, a_tokenizer_that_begins_with_a_token, "post_processor in tokenizer.json"),
        (0, in_bfloat16, "dtype in config.json"),
    ],
    ids=["rope", "activation", "tokenizer", "dtype"],
)
def test_a_checkpoint_is_scored_with_all_that_is_its_own(
    step: int,
    change: Change,
    reason: str,
    run: Path,
    tasks: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(run / f"checkpoint-{step}")
    with caplog.at_level(logging.WARNING):
        assert evaluated(run, tmp_path / "out", tasks, "--json") == 0
    (note,) = record(tmp_path / "out")["notes"]
    assert note == json.loads(capsys.readouterr().out)["notes"][0]
    assert note["what"] == "run, step 10"
    assert note["why"].startswith(f"the model was built anew: {reason}")
    built = [one.getMessage() for one in caplog.records if "built anew" in one.getMessage()]
    assert len(built) == 1
    assert reason in built[0]
    ours = logliks(tmp_path / "out", "run", 10)
    np.testing.assert_allclose(ours, alone(run / "checkpoint-10", tmp_path / "stock", tasks), rtol=0, atol=1e-4)


def test_where_the_first_checkpoints_are_no_more_at_hand_the_next_ones_are_still_swapped(
    run: Path, tasks: Path, tmp_path: Path
) -> None:
    for step in (20, 30, 40):
        shutil.copytree(run / "checkpoint-10", run / f"checkpoint-{step}")
    another_rope_base(run / "checkpoint-40")
    for file in (run / "checkpoint-0").glob("tok*.json"):
        shutil.copy(file, run)
    for file in run.glob("checkpoint-*/tok*.json"):
        file.unlink()  # so that each is put together, and no more than two are kept
    assert evaluated(run, tmp_path / "out", tasks, "--hub-cache", str(tmp_path / "cache")) == 0
    built = [(one["what"], one["why"]) for one in record(tmp_path / "out")["notes"] if "built anew" in one["why"]]
    assert [what for what, _ in built] == ["run, step 40"]
    assert "rope_parameters in config.json is another" in built[0][1]
    np.testing.assert_array_equal(logliks(tmp_path / "out", "run", 10), logliks(tmp_path / "out", "run", 30))


def test_what_says_only_where_files_come_from_changes_nothing(
    run: Path, tasks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configured(_name_or_path="elsewhere", transformers_version="4.40.0")(run / "checkpoint-10")
    (run / "checkpoint-10" / "trainer_state.json").write_text("{}", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert evaluated(run, tmp_path / "out", tasks) == 0
    assert "built anew" not in caplog.text


def test_a_type_or_tokenizer_that_was_asked_for_is_that_of_all(
    run: Path, tasks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_bfloat16(run / "checkpoint-0")
    a_tokenizer_that_begins_with_a_token(run / "checkpoint-10")
    options = ("--model-args", f"dtype=float32,tokenizer={run / 'checkpoint-0'}")
    with caplog.at_level(logging.WARNING):
        assert evaluated(run, tmp_path / "out", tasks, *options) == 0
    assert "built anew" not in caplog.text
    ours = logliks(tmp_path / "out", "run", 10)
    stock = alone(run / "checkpoint-10", tmp_path / "stock", tasks, *options)
    np.testing.assert_allclose(ours, stock, rtol=0, atol=1e-4)


def test_a_tokenizer_one_folder_up_is_that_of_every_checkpoint(run: Path, tasks: Path, tmp_path: Path) -> None:
    expected = alone(run / "checkpoint-10", tmp_path / "stock", tasks)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(run / "checkpoint-0" / name, run / name)
        for step in (0, 10):
            (run / f"checkpoint-{step}" / name).unlink()
    assert evaluated(run, tmp_path / "out", tasks) == 0
    np.testing.assert_allclose(logliks(tmp_path / "out", "run", 10), expected, rtol=0, atol=1e-4)


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def with_half_a_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "lla', encoding="utf-8")


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tok*"):
        file.unlink()


def without_a_weight(folder: Path) -> None:
    tensors = load_file(folder / SINGLE_FILE)
    del tensors["model.norm.weight"]
    save_file(tensors, folder / SINGLE_FILE, metadata={"format": "pt"})


def with_an_index_that_says_nothing_more(folder: Path) -> None:
    """Two shards, and an index of which transformers would raise a ``KeyError``."""
    tensors, names = load_file(folder / SINGLE_FILE), {}
    (folder / SINGLE_FILE).unlink()
    for number, part in enumerate((sorted(tensors)[:5], sorted(tensors)[5:]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        names |= dict.fromkeys(part, file)
    (folder / SHARD_INDEX).write_text(json.dumps({"weight_map": names}), encoding="utf-8")


def test_an_index_of_shards_without_metadata_costs_its_checkpoint_where_a_model_is_built_of_it(
    run: Path, tasks: Path, tmp_path: Path
) -> None:
    with_an_index_that_says_nothing_more(run / "checkpoint-0")
    assert evaluated(run, tmp_path / "out", tasks) == 0
    (left_out,) = record(tmp_path / "out")["left_out"]
    assert left_out["what"] == "run step 0"
    assert 'has no "metadata"' in left_out["why"]
    assert len(logliks(tmp_path / "out", "run", 10)) > 0


@pytest.mark.parametrize("step", [0, 10])
@pytest.mark.parametrize(
    ("change", "what", "why"),
    [
        (without_config, "run/checkpoint-", "no config.json beside the weights (checkpoint-"),
        (with_half_a_config, "run step ", "config.json: no JSON with a model_type"),
        (without_tokenizer, "run/checkpoint-", "no tokenizer beside the weights (checkpoint-"),
        (without_a_weight, "run step ", "no tensor is stored for the parameter 'model.norm.weight'"),
    ],
)
def test_a_checkpoint_that_cannot_be_loaded_costs_itself(
    step: int,
    change: Change,
    what: str,
    why: str,
    run: Path,
    tasks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(run / f"checkpoint-{step}")
    assert evaluated(run, tmp_path / "out", tasks) == 0
    (left_out,) = record(tmp_path / "out")["left_out"]
    assert left_out["what"] == f"{what}{step}"
    assert why in left_out["why"]
    assert len(logliks(tmp_path / "out", "run", 10 - step)) > 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_config, "no config.json, so no model"),
        (with_half_a_config, "config.json: no JSON with a model_type"),
        (without_tokenizer, "no tokenizer (tokenizer.json, tokenizer_config.json, tokenizer.model, ...)"),
    ],
)
def test_a_folder_without_what_a_model_needs_is_refused_before_a_model_is_built(
    change: Change, why: str, run: Path
) -> None:
    require_loadable(run / "checkpoint-10", {})
    change(run / "checkpoint-10")
    with pytest.raises(UnusableCheckpointError, match=re.escape(why)):
        require_loadable(run / "checkpoint-10", {})


@pytest.mark.parametrize("steps", [(0, 10), (0,), (10,)], ids=["all", "the first", "the last"])
@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "llama"])
def test_masks_and_angles_of_former_releases_are_left_alone(
    name: str, steps: tuple[int, ...], tasks: Path, tmp_path: Path
) -> None:
    former = {
        "gpt_neox": {
            "gpt_neox.layers.1.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8),
            "gpt_neox.layers.1.attention.masked_bias": torch.tensor(float("-inf"), dtype=torch.float16),
            "gpt_neox.layers.1.attention.rotary_emb.inv_freq": torch.rand(2),
        },
        "gpt2": {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8)},
        "llama": {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.rand(8)},
    }
    run = tmp_path / "run"
    for step in (0, 10):
        folder = run / f"checkpoint-{step}"
        write_checkpoint(folder, model(name, seed=step), tokenizer_files())
        more = former[name] if step in steps else {}
        save_file({**load_file(folder / SINGLE_FILE), **more}, folder / SINGLE_FILE, metadata={"format": "pt"})
    assert evaluated(run, tmp_path / "out", tasks) == 0
    assert record(tmp_path / "out")["left_out"] == []
    ours = logliks(tmp_path / "out", "run", 10)
    np.testing.assert_allclose(ours, alone(run / "checkpoint-10", tmp_path / "stock", tasks), rtol=0, atol=1e-4)


@pytest.mark.parametrize("step", [0, 10])
def test_a_checkpoint_saved_without_the_prefix_of_its_model_is_one_of_the_series(
    step: int, tasks: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for one in (0, 10):
        write_checkpoint(run / f"checkpoint-{one}", model("gpt2", seed=one), tokenizer_files())
    file = run / f"checkpoint-{step}" / SINGLE_FILE
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    assert evaluated(run, tmp_path / "out", tasks) == 0
    ours = logliks(tmp_path / "out", "run", 10)
    np.testing.assert_allclose(ours, alone(run / "checkpoint-10", tmp_path / "stock", tasks), rtol=0, atol=1e-4)


@pytest.mark.parametrize("place", ["attention.masked_bias", "attention.dense.bias"])
def test_what_is_not_finite_counts_where_it_is_read(place: str, tasks: Path, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "run" / "checkpoint-5", model("gpt_neox"), tokenizer_files())
    tensors = {**load_file(folder / SINGLE_FILE), f"gpt_neox.layers.0.{place}": torch.full((64,), float("inf"))}
    save_file(tensors, folder / SINGLE_FILE, metadata={"format": "pt"})
    assert evaluated(tmp_path / "run", tmp_path / "out", tasks) == (2 if place.endswith("dense.bias") else 0)
    found = [one["why"] for one in record(tmp_path / "out")["left_out"]]
    assert len(found) == (place == "attention.dense.bias")


class Engine:
    """A model with a format of its own: takes folders, and tensors where there is no folder."""

    def __init__(self, seen: list[object]) -> None:
        self.load_checkpoint: Callable[[Path], None] = seen.append
        self.swap = seen.append


class Reader(ReadAhead):
    """Gives the step instead of tensors."""

    def _read(self, place: Any) -> dict[str, Any]:
        return {"step": place.step}


@pytest.mark.parametrize("is_merged", [False, True])
def test_an_engine_with_a_format_of_its_own_gets_folders_or_the_merge(is_merged: bool, run: Path) -> None:
    seen: list[object] = []
    points = [Checkpoint(step=step, path=str(run / f"checkpoint-{step}")) for step in (0, 10)]
    live = LiveModel(lambda folder: Engine(seen), CheckpointSource(), {}, is_merged)
    with Reader() as reader:
        for point in points:
            live.bring(point, reader)
            live.bring(point, reader)
    # What is not merged is in the engine from its beginning.
    assert seen == ([{"step": 0}, {"step": 10}] if is_merged else [points[1].folder])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_config, "no config.json"),
        (with_half_a_config, "no JSON with a model_type"),
        (without_tokenizer, "no tokenizer"),
    ],
)
def test_a_checkpoint_that_an_engine_cannot_load_costs_itself(change: Change, why: str, run: Path) -> None:
    change(run / "checkpoint-10")
    shutil.copytree(run / "checkpoint-0", run / "checkpoint-20")
    points = [Checkpoint(step=step, path=str(run / f"checkpoint-{step}")) for step in (0, 10, 20)]
    seen: list[object] = []
    live = LiveModel(lambda folder: Engine(seen), CheckpointSource(), {}, False)
    with Reader() as reader:
        live.bring(points[0], reader)
        with pytest.raises(UnusableCheckpointError, match=f"checkpoint-10.*{why}"):
            live.bring(points[1], reader)
        live.bring(points[2], reader)
    assert seen == [points[2].folder]


def test_an_engine_that_fails_for_good_ends_the_series(run: Path) -> None:
    engine = Engine([])

    def died(folder: Path) -> None:
        raise UserError("the engine died 2 times")

    engine.load_checkpoint = died
    points = [Checkpoint(step=step, path=str(run / f"checkpoint-{step}")) for step in (0, 10)]
    live = LiveModel(lambda folder: engine, CheckpointSource(), {}, False)
    with Reader() as reader:
        live.bring(points[0], reader)
        with pytest.raises(UserError, match="died 2 times") as caught:
            live.bring(points[1], reader)
    assert not isinstance(caught.value, UnusableCheckpointError)


def test_a_merge_that_comes_with_another_configuration_gets_an_engine_of_its_own(run: Path) -> None:
    another_rope_base(run / "checkpoint-10")
    seen: list[object] = []
    points = [Checkpoint(step=step, path=str(run / f"checkpoint-{step}")) for step in (0, 10)]
    live = LiveModel(lambda folder: seen.append(folder) or Engine(seen), CheckpointSource(), {}, is_merged=True)
    with Reader() as reader:
        for point in points:
            live.bring(point, reader)
    assert seen == [points[0].folder, {"step": 0}, points[1].folder, {"step": 10}]
    assert live.built_anew.startswith("the model was built anew: rope_parameters in config.json")


def test_a_folder_that_is_gone_is_told_when_its_turn_comes(run: Path) -> None:
    shutil.copytree(run / "checkpoint-10", run / "other")
    assert difference(run / "checkpoint-0", run / "other", {}) == ""
    shutil.rmtree(run / "other")
    assert difference(run / "checkpoint-0", run / "other", {}) == f"{run / 'other'} is gone"


@pytest.mark.parametrize("name", ["gpt_neox", "olmoe"])
def test_an_average_along_a_run_is_the_average_on_disk_in_every_family(name: str, tasks: Path, tmp_path: Path) -> None:
    run, mean = tmp_path / "run", tmp_path / "mean" / "checkpoint-10"
    for step in (0, 10):
        write_checkpoint(run / f"checkpoint-{step}", model(name, seed=step), tokenizer_files())
    assert evaluated(run, tmp_path / "out", tasks, "--merge", "lawa:window=2") == 0
    shutil.copytree(run / "checkpoint-10", mean)
    first, second = (load_file(run / f"checkpoint-{step}" / SINGLE_FILE) for step in (0, 10))
    save_file({key: (first[key] + second[key]) / 2 for key in first}, mean / SINGLE_FILE, metadata={"format": "pt"})
    ours = logliks(tmp_path / "out", "run+lawa:window=2", 10)
    np.testing.assert_allclose(ours, alone(mean, tmp_path / "stock", tasks), rtol=0, atol=1e-4)


def with_half_a_tokenizer(checkpoint: Path) -> None:
    file = checkpoint / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8")[:200], encoding="utf-8")


QUANTIZED = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}
#: What makes transformers raise, each in its own way, and what is told of it.
UNLOADABLE: tuple[tuple[Change, str], ...] = (
    (with_half_a_tokenizer, "JSONDecodeError"),
    (configured(vocab_size=99), "its config.json asks for other shapes than its tensors have"),
    (configured(rope_parameters={"rope_type": "nonsense", "rope_theta": 1.0}), "KeyError"),
    (configured(num_attention_heads=7), "not a multiple"),
    (configured(model_type="of-tomorrow"), "of-tomorrow"),
    (configured(quantization_config=QUANTIZED), "requires optimum"),
)


@pytest.mark.filterwarnings("ignore::UserWarning")  # transformers warns of a quantization that it then refuses
def test_a_checkpoint_of_which_transformers_makes_no_model_costs_itself_wherever_it_stands(
    tiny_series: Path, tmp_path: Path, tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    good = {len(UNLOADABLE) // 2: 10, len(UNLOADABLE) + 1: 30}
    bad = [step for step in range(len(UNLOADABLE) + 2) if step not in good]
    for step in (*bad, *good):
        shutil.copytree(tiny_series / f"checkpoint-{good.get(step, 20)}", run / f"checkpoint-{step}")
    for step, (change, _) in zip(bad, UNLOADABLE, strict=True):
        change(run / f"checkpoint-{step}")
    assert evaluated(run, out, tasks) == 0
    told = capsys.readouterr().err
    assert "Traceback" not in told
    lines = [line for line in told.splitlines() if line.startswith("left out:")]
    for line, step, (_, why) in zip(lines, bad, UNLOADABLE, strict=True):
        assert line.startswith(f"left out: run step {step}: ")
        assert "cannot be loaded" in line
        assert why in line
    for step, like in good.items():
        expected = alone(tiny_series / f"checkpoint-{like}", tmp_path / f"alone-{step}", tasks)
        np.testing.assert_allclose(logliks(out, "run", step), expected, rtol=0, atol=1e-4)
    for step in bad:
        shutil.rmtree(run / f"checkpoint-{step}")
        shutil.copytree(tiny_series / "checkpoint-20", run / f"checkpoint-{step}")
    assert evaluated(run, out, tasks) == 0
    assert "left out" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_where_all_fail_alike_the_command_ends_at_the_second(
    run: Path, tmp_path: Path, tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (20, 30):
        shutil.copytree(run / "checkpoint-0", run / f"checkpoint-{step}")
    for step in (0, 10, 20, 30):
        configured(quantization_config=QUANTIZED)(run / f"checkpoint-{step}")
    assert evaluated(run, tmp_path / "out", tasks) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("e2lm: error:")]
    assert "checkpoint-0: cannot be loaded (ImportError" in line
    assert len(list((tmp_path / "out" / "units").rglob("*.json"))) == 2


def quantized_to_eight_bits(plain: Path, folder: Path) -> None:
    """``folder`` is ``plain`` with linear layers in eight bits and a scale; ``plain`` becomes what that stands for."""
    shutil.copytree(plain, folder)
    configured(quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})(folder)
    stored, meant = load_file(plain / SINGLE_FILE), {}
    for name in [name for name in stored if "proj.weight" in name]:
        scale = stored[name].abs().max() / 448
        stored[name] = (stored[name] / scale).to(torch.float8_e4m3fn)
        meant[name] = stored[name].float() * scale
        stored[f"{name}_scale_inv"] = scale.reshape(1, 1)
    save_file(stored, folder / SINGLE_FILE, metadata={"format": "pt"})
    save_file({**load_file(plain / SINGLE_FILE), **meant}, plain / SINGLE_FILE, metadata={"format": "pt"})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantized_checkpoints_are_scored_as_what_their_numbers_stand_for(
    run: Path, tmp_path: Path, tasks: Path
) -> None:
    for step in (0, 10):
        quantized_to_eight_bits(run / f"checkpoint-{step}", tmp_path / "eight" / f"checkpoint-{step}")
    assert evaluated(tmp_path / "eight", tmp_path / "out", tasks) == 0
    assert evaluated(run, tmp_path / "plain", tasks) == 0
    for step in (0, 10):
        expected = logliks(tmp_path / "plain", "run", step)
        np.testing.assert_allclose(logliks(tmp_path / "out", "eight", step), expected, rtol=0, atol=1e-4)
    (note,) = record(tmp_path / "out")["notes"]
    assert "step 10" in note["what"]
    assert "quantized" in note["why"]
