"""``e2lm eval`` scores what a trainer has finished, in any layout that can be read, and says what it leaves out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm.weights import SHARD_INDEX, SINGLE_FILE
from e2lm_adapters.checkpoints.formats.lora import write_merged
from tests.e2lm_adapters.checkpoints.layouts import write_lora
from tests.e2lm_adapters.conftest import STEPS, Run


def damaged_shard(run: Path) -> None:
    folder = run / "checkpoint-20"
    weights = load_file(folder / SINGLE_FILE)
    (folder / SINGLE_FILE).unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    save_file(weights, folder / names[0], metadata={"format": "pt"})
    places = {name: names[index % 2] for index, name in enumerate(weights)}
    (folder / SHARD_INDEX).write_text(json.dumps({"weight_map": places}), encoding="utf-8")


def cut_short(run: Path) -> None:
    file = run / "checkpoint-20" / SINGLE_FILE
    file.write_bytes(file.read_bytes()[:-100])


def only_a_pickle(run: Path) -> None:
    torch.save({"model.norm.weight": torch.ones(64)}, run / "checkpoint-20" / "pytorch_model.bin")
    (run / "checkpoint-20" / SINGLE_FILE).unlink()


def no_weights(run: Path) -> None:
    (run / "checkpoint-20" / SINGLE_FILE).unlink()


def no_config(run: Path) -> None:
    (run / "checkpoint-20" / "config.json").unlink()


def missing(run: Path) -> None:
    shutil.rmtree(run / "checkpoint-20")


def undescribed(run: Path) -> None:
    """Known by the names of its folders alone."""
    (run / "series.json").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damaged_shard, "model-00002-of-00002.safetensors is missing"),
        (cut_short, "cut short"),
        (only_a_pickle, "--allow-pickle"),
        (no_weights, "no weights"),
        (no_config, "no config.json"),
        (missing, "missing"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_costs_itself_and_is_named(
    damage: Callable[[Path], None],
    said: str,
    run_folder: Path,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(run_folder)
    assert evaluate(run_folder, "--json", "--limit", 2) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert {row["step"] for row in report["scores"]} == set(STEPS) - {20}
    (left_out,) = report["left_out"]
    assert "checkpoint-20" in left_out["what"]
    assert said in left_out["why"]
    assert "left out: tiny-run/checkpoint-20" in captured.err
    assert json.loads((tmp_path / "out" / "run.json").read_text())["left_out"] == [left_out]


def test_a_run_of_which_nothing_can_be_read_is_one_line_with_the_list(
    run_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in STEPS:
        (run_folder / f"checkpoint-{step}" / SINGLE_FILE).unlink()
    assert evaluate(run_folder) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("e2lm: error:")]
    assert all(f"tiny-run/checkpoint-{step}: unfinished" in line for step in STEPS)
    assert not (tmp_path / "out").exists()


def scores_of(out: Path) -> dict[int, float]:
    from e2lm.results import read_scores

    frame = read_scores(out).scores.frame
    own = frame[frame["metric"] == "gold_loglik"] if "gold_loglik" in set(frame["metric"]) else frame
    return {int(row.step): float(row.value) for row in own.itertuples()}


def test_tokenizers_one_level_up_give_the_same_scores(run_folder: Path, tmp_path: Path, evaluate: Run) -> None:
    assert evaluate(run_folder, "--limit", 4, out=tmp_path / "before") == 0
    undescribed(run_folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(run_folder / "checkpoint-0" / name, run_folder)
        for step in STEPS:
            (run_folder / f"checkpoint-{step}" / name).unlink()
    assert evaluate(run_folder, "--limit", 4, "--hub-cache", tmp_path / "cache") == 0
    assert scores_of(tmp_path / "out") == scores_of(tmp_path / "before")


def test_a_config_that_is_lent_counts(run_folder: Path, tmp_path: Path, evaluate: Run) -> None:
    lent, options = tmp_path / "lent", ("--limit", 4, "--hub-cache", tmp_path / "cache", "--config", tmp_path / "lent")
    undescribed(run_folder)
    lent.mkdir()
    shutil.copy(run_folder / "checkpoint-0" / "config.json", lent)
    for step in STEPS:
        (run_folder / f"checkpoint-{step}" / "config.json").unlink()
    assert evaluate(run_folder, *options) == 0
    before = scores_of(tmp_path / "out")
    settings = json.loads((lent / "config.json").read_text())
    (lent / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.5}), encoding="utf-8")
    assert evaluate(run_folder, *options) == 0
    assert evaluate(run_folder, *options, out=tmp_path / "anew") == 0
    assert scores_of(tmp_path / "out") == scores_of(tmp_path / "anew") != before


def test_adapters_score_as_the_models_they_make(tiny_model: Path, tmp_path: Path, evaluate: Run) -> None:
    run, merged = tmp_path / "tuned", tmp_path / "merged" / "tuned"
    for step, alpha in ((10, 1), (20, 8)):
        place = write_lora(run / f"checkpoint-{step}")
        told = json.loads((place / "adapter_config.json").read_text())
        (place / "adapter_config.json").write_text(json.dumps({**told, "lora_alpha": alpha}), encoding="utf-8")
        write_merged(place, merged / f"checkpoint-{step}", None, tiny_model)
    cache = ("--hub-cache", tmp_path / "cache", "--limit", 4)
    assert evaluate(run, "--base", tiny_model, *cache) == 0
    assert evaluate(merged, *cache, out=tmp_path / "expected") == 0
    found, expected = scores_of(tmp_path / "out"), scores_of(tmp_path / "expected")
    assert list(found) == [10, 20]
    np.testing.assert_array_equal(list(found.values()), list(expected.values()))
    assert len(set(found.values())) == 2


def test_checkpoints_of_lightning_score_as_the_models_in_them(
    run_folder: Path, tiny_model: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    lightning = tmp_path / "lightning"
    lightning.mkdir()
    for step in STEPS:
        weights = load_file(run_folder / f"checkpoint-{step}" / SINGLE_FILE)
        state = {f"model._orig_mod.{name}": one for name, one in weights.items()}
        torch.save({"state_dict": state, "global_step": step}, lightning / f"epoch=0-step={step}.ckpt")
    options = ("--hub-cache", tmp_path / "cache", "--limit", 4)
    assert evaluate(lightning, *options) == 2
    assert "--config DIR" in capsys.readouterr().err
    assert evaluate(lightning, "--config", tiny_model, *options) == 0
    undescribed(run_folder)
    assert evaluate(run_folder, *options, out=tmp_path / "expected") == 0
    assert scores_of(tmp_path / "out") == scores_of(tmp_path / "expected")
