"""What trainers leave is listed piece by piece: its step, its state, and nothing is passed over in silence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from e2lm import Series, UserError
from e2lm.command_line import main
from e2lm.weights import SINGLE_FILE
from e2lm_adapters.checkpoints import run as room
from e2lm_adapters.checkpoints import settling
from e2lm_adapters.checkpoints.piece import Given, RunListing, RunPiece
from e2lm_adapters.checkpoints.run import run_listings, series_of
from e2lm_adapters.checkpoints.source import CheckpointSource
from tests.e2lm_adapters.checkpoints.layouts import (
    SAMPLES,
    companions,
    tiny_config,
    write_composer,
    write_dcp,
    write_deepspeed,
    write_hf,
    write_lightning,
    write_litgpt,
    write_lora,
    write_megatron,
    write_nanogpt,
    write_nanotron,
    write_neox,
    write_olmo,
    write_pickled,
)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a test are always fresh; only the test about that waits for them."""
    monkeypatch.setattr(settling, "LOOK_AGAIN_S", 0.0)


def listed(run: Path, **options: Any) -> RunListing:
    with TemporaryDirectory() as cache:
        (listing,) = run_listings(run, Given(**options), CheckpointSource(Path(cache)))
    return listing


def states(run: Path, **options: Any) -> dict[str, tuple[int | None, str]]:
    return {one.name: (one.step, one.state) for one in listed(run, **options).pieces}


def only(run: Path, **options: Any) -> RunPiece:
    (piece,) = listed(run, **options).pieces
    return piece


def hf_run(run: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        write_hf(run / name, seed)
    return run


#: Names of folders that transformers loads -> their steps; what the step counts where it is none.
READ: list[tuple[tuple[str, ...], list[int], str]] = [
    (("checkpoint-500", "checkpoint-1000"), [500, 1000], "steps"),
    (("step0-unsharded", "step1000-unsharded"), [0, 1000], "steps"),
    (("step0-unsharded-hf", "step1000-unsharded-hf"), [0, 1000], "steps"),
    (("checkpoint-100-merged",), [100], "steps"),
    (("epoch_1", "epoch_2"), [1, 2], "epochs"),
    (("ckpt-1000",), [1000], "steps"),
    (("checkpoint_1000",), [1000], "steps"),
    (("model_step_1000",), [1000], "steps"),
    (("step_1000",), [1000], "steps"),
    (("hf_ckpt/step1000",), [1000], "steps"),
    (("checkpoint/step-500", "checkpoint/step-1000"), [500, 1000], "steps"),
    (("global_step1000",), [1000], "steps"),
    (("checkpoint-1000/model",), [1000], "steps"),
    (("chck_1M", "chck_10M"), [1_000_000, 10_000_000], "words"),
    (("1000", "2000"), [1000, 2000], "numbers"),
    (("epoch=0-step=100",), [100], "steps"),
    (("step1000-tokens4B",), [1000], "steps"),
    (("stage1-step1000-tokens4B",), [1000], "steps"),
]


@pytest.mark.parametrize(("names", "steps", "counts"), READ)
def test_folders_that_transformers_loads_are_read_whatever_their_names(
    names: tuple[str, ...], steps: list[int], counts: str, tmp_path: Path
) -> None:
    listing = listed(hf_run(tmp_path / "wide", *names))
    assert [(one.step, one.state, one.counts) for one in listing.pieces] == [(step, "ready", counts) for step in steps]
    assert (counts == "steps") == (listing.notes() == [])
    (series,) = series_of(listing, CheckpointSource(tmp_path / "cache"))
    assert series.name == ("wide-stage1" if names[0].startswith("stage1") else "wide")
    assert [point.step for point in series.checkpoints] == steps


#: Format -> what its converter is called by.
CONVERTED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "composer": (write_composer, "scripts/inference/convert_composer_to_hf.py --composer_path"),
    "deepspeed": (write_deepspeed, "zero_to_fp32.py"),
    "litgpt": (write_litgpt, "litgpt convert_from_litgpt"),
    "megatron": (write_megatron, "convert_checkpoints.py export --hf-model"),
    "nanotron": (write_nanotron, "convert_nanotron_to_hf.py --checkpoint_path="),
    "neox": (write_neox, "tools/ckpts/convert_neox_to_hf.py --input_dir"),
    "olmo": (write_olmo, "scripts/convert_olmo_to_hf_new.py --input_dir"),
    "torch-dcp": (write_dcp, "scripts/checkpoint_conversion/convert_to_hf.py"),
    "pickle": (write_pickled, "save_pretrained"),
}


@pytest.mark.parametrize("format", CONVERTED)
def test_what_another_program_converts_says_which_and_how(format: str, tmp_path: Path) -> None:
    write, command = CONVERTED[format]
    place = write(tmp_path / "wide" / "checkpoint-20")
    piece = next(one for one in listed(tmp_path / "wide").pieces if one.name == place.name)
    assert (piece.format, piece.state, piece.step) == (format, "convert", 20)
    assert command in piece.command
    assert str(place) in piece.command or str(place.parent) in piece.command
    assert piece.told.endswith(piece.command)


def test_deepspeeds_own_script_and_tag_are_in_the_command(tmp_path: Path) -> None:
    place = write_deepspeed(tmp_path / "checkpoint-20")
    command = only(tmp_path).command
    assert command == (f"python {place}/zero_to_fp32.py {place} {place}-hf --safe_serialization --tag global_step20")


@pytest.mark.parametrize("write", [write_lightning, write_nanogpt])
def test_a_file_is_a_checkpoint_that_needs_a_config(write: Callable[[Path], Path], tmp_path: Path) -> None:
    place = write(tmp_path / "wide" / "checkpoint-20")
    piece = next(one for one in listed(tmp_path / "wide").pieces if one.name == place.name)
    assert (piece.step, piece.state) == (20, "needs")
    assert "--config DIR" in piece.why


def test_weights_in_numbered_shards_without_an_index_are_read_with_a_config(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "step-500")
    (run / "step-500" / SINGLE_FILE).rename(run / "step-500" / "model-00001-of-00001.safetensors")
    assert states(run) == {"step-500": (500, "ready")}
    for name in ("config.json", "tokenizer.json"):
        (run / "step-500" / name).unlink()
    assert states(run) == {"step-500": (500, "needs")}
    (tmp_path / "config").mkdir()
    companions(tmp_path / "config")
    assert states(run, config=tmp_path / "config") == {"step-500": (500, "ready")}
    (run / "step-500" / "model-00001-of-00001.safetensors").rename(
        run / "step-500" / "model-00001-of-00002.safetensors"
    )
    assert states(run, config=tmp_path / "config") == {"step-500": (500, "unfinished")}


def test_tokens_that_the_trainer_noted_go_before_those_in_names(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "step10-tokens1B", "step20-tokens1B", "step30")
    for name, seen in (("step10-tokens1B", 123), ("step30", 0)):
        state = {"global_step": 10, "num_input_tokens_seen": seen}
        (run / name / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    assert [one.tokens for one in listed(run).pieces] == [123, 10**9, None]


def test_a_step_in_an_epochs_trainer_state_goes_before_the_epoch(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "epoch_1", "epoch_2")
    for epoch in (1, 2):
        (run / f"epoch_{epoch}" / "trainer_state.json").write_text(f'{{"global_step": {epoch * 70}}}', encoding="utf-8")
    assert states(run) == {"epoch_1": (70, "ready"), "epoch_2": (140, "ready")}


def cut_short(place: Path) -> None:
    file = place / SINGLE_FILE
    file.write_bytes(file.read_bytes()[:-5])


def half_a_header(place: Path) -> None:
    (place / SINGLE_FILE).write_bytes((place / SINGLE_FILE).read_bytes()[:20])


def no_weights(place: Path) -> None:
    (place / SINGLE_FILE).unlink()


def no_config(place: Path) -> None:
    (place / "config.json").unlink()


def no_tokenizer(place: Path) -> None:
    (place / "tokenizer.json").unlink()


def lost_shard(place: Path) -> None:
    (place / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": SINGLE_FILE, "b": "model-00002-of-00002.safetensors"}}), encoding="utf-8"
    )


def named_tmp(place: Path) -> None:
    place.rename(place.with_name(f"tmp-{place.name}"))


@pytest.mark.parametrize(
    "damage", [cut_short, half_a_header, no_weights, no_config, no_tokenizer, lost_shard, named_tmp]
)
def test_a_checkpoint_that_is_being_written_is_unfinished_and_costs_itself(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10", "checkpoint-20", "checkpoint-30")
    damage(run / "checkpoint-20")
    listing = listed(run)
    assert {one.step for one in listing.pieces if one.state == "ready"} == {10, 30}
    (left_out,) = listing.left_out()
    assert "unfinished" in left_out.why
    assert "checkpoint-20" in left_out.what


@pytest.mark.parametrize("format", ["deepspeed", "neox", "megatron", "litgpt", "olmo", "composer", "torch-dcp", "lora"])
def test_half_a_file_of_any_trainer_is_unfinished(format: str, tmp_path: Path) -> None:
    run = tmp_path / "wide"
    place = SAMPLES[format](run / "checkpoint-20")
    piece = next(one for one in listed(run).pieces if one.name == place.name)
    file = max(piece.files, key=lambda one: (one.suffix != ".json", one.stat().st_size))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert next(one.state for one in listed(run).pieces if one.name == place.name) == "unfinished"


@pytest.mark.parametrize(
    ("write", "marker", "before"),
    [
        (write_megatron, "latest_checkpointed_iteration.txt", "10"),
        (write_neox, "latest", "global_step10"),
        (write_nanotron, "latest.txt", "10"),
    ],
)
def test_a_checkpoint_behind_the_mark_of_its_trainer_is_unfinished(
    write: Callable[[Path], Path], marker: str, before: str, tmp_path: Path
) -> None:
    write(tmp_path / "checkpoint-20")
    (tmp_path / marker).write_text(before, encoding="utf-8")
    assert (only(tmp_path).step, only(tmp_path).state) == (20, "unfinished")
    (tmp_path / marker).write_text(before.replace("10", "20"), encoding="utf-8")
    assert only(tmp_path).state == "convert"


def test_a_file_that_grows_while_one_looks_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10", "checkpoint-20")

    def grow(_: float) -> None:
        with open(run / "checkpoint-20" / SINGLE_FILE, "ab") as handle:
            handle.write(b"more")

    monkeypatch.setattr(settling.time, "sleep", grow)
    assert states(run) == {"checkpoint-10": (10, "ready"), "checkpoint-20": (20, "unfinished")}


def test_config_and_tokenizer_one_level_up_are_taken_from_there(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10", "checkpoint-20")
    shutil.copy(run / "checkpoint-10" / "tokenizer.json", run)
    for step in (10, 20):
        (run / f"checkpoint-{step}" / "tokenizer.json").unlink()
    listing, source = listed(run), CheckpointSource(tmp_path / "cache")
    assert [one.state for one in listing.pieces] == ["ready", "ready"]
    (series,) = series_of(listing, source)
    folder = source.folder(series.checkpoints[0])
    assert (folder / "tokenizer.json").read_bytes() == (run / "tokenizer.json").read_bytes()
    assert (folder / SINGLE_FILE).read_bytes() == (run / "checkpoint-10" / SINGLE_FILE).read_bytes()
    assert not (run / "checkpoint-10" / "tokenizer.json").exists()


def test_the_same_bytes_at_two_steps_are_named_and_read(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-1", "checkpoint-2")
    shutil.copytree(run / "checkpoint-1", run / "checkpoint-3")
    listing = listed(run)
    assert [one.told for one in listing.pieces] == ["ready", "ready", "duplicate of checkpoint-1"]
    assert listing.left_out() == []
    assert listing.pieces[2].as_json()["duplicate_of"] == "checkpoint-1"
    assert "checkpoint-3 has the same bytes as checkpoint-1" in listing.notes()[0]
    changed = json.dumps({"model_type": "llama", "rope_theta": 5.0})
    (run / "checkpoint-3" / "config.json").write_text(changed, encoding="utf-8")
    assert [one.state for one in listed(run).pieces] == ["ready"] * 3


def test_of_two_forms_of_one_step_the_readable_one_is_read(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "step1000-unsharded-hf")
    write_olmo(run / "step1000-unsharded")
    shutil.copytree(run / "step1000-unsharded-hf", run / "step1000-hf")
    told = {one.name: one.told for one in listed(run).pieces}
    assert sorted(told.values()) == ["duplicate of step1000-hf", "duplicate of step1000-hf", "ready"]


def test_a_last_checkpoint_that_has_its_step_inside_gives_way_to_the_one_whose_name_tells_it(tmp_path: Path) -> None:
    place = write_lightning(tmp_path / "checkpoint-20")
    shutil.copy(place, place.with_name("last.ckpt"))
    found = states(tmp_path, config=tiny_config(tmp_path.parent / "config"))
    assert found[place.name] == (20, "ready")
    assert found["last.ckpt"] == (20, "duplicate")
    weights = torch.load(place, weights_only=True)
    torch.save({**weights, "epoch": 1}, place.with_name("last.ckpt"))
    found = states(tmp_path, config=tmp_path.parent / "config")
    assert (found[place.name], found["last.ckpt"]) == ((20, "ready"), (20, "no-step"))


def test_files_that_are_no_checkpoint_are_ignored_by_name(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10")
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", "old.gguf"):
        (run / name).write_bytes(b"x")
    listing = listed(run)
    assert {one.what for one in listing.ignored} == {"optimizer.pt", "scheduler.pt", "training_args.bin", "old.gguf"}
    assert listing.left_out() == []


def test_two_different_models_of_one_step_are_both_left_out(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10", "iter_0010", "checkpoint-20")
    listing = listed(run)
    assert [one.name for one in listing.pieces if one.is_readable] == ["checkpoint-20"]
    assert all("step 10 is there twice: checkpoint-10 and iter_0010" in one.why for one in listing.left_out())


def test_a_single_model_is_a_series_of_one(tmp_path: Path) -> None:
    write_hf(tmp_path / "final")
    assert states(tmp_path / "final") == {"final": (0, "ready")}
    assert "no step is known" in listed(tmp_path / "final").notes()[0]
    (tmp_path / "final" / "trainer_state.json").write_text('{"global_step": 70}', encoding="utf-8")
    assert (only(tmp_path / "final").step, listed(tmp_path / "final").notes()) == (70, [])
    write_hf(tmp_path / "checkpoint-500")
    assert only(tmp_path / "checkpoint-500").step == 500


def test_the_model_beside_its_checkpoints_is_ignored_by_name(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10", "final")
    shutil.copy(run / "final" / SINGLE_FILE, run)
    (run / "logs").mkdir()
    listing = listed(run)
    assert {one.name: one.state for one in listing.pieces} == {"checkpoint-10": "ready", "final": "no-step"}
    assert {one.what for one in listing.ignored} == {"logs", SINGLE_FILE}


def test_tracks_become_series_as_on_the_hub(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "stage1-step10", "stage1-step20", "stage2-step10")
    found = series_of(listed(run), CheckpointSource(tmp_path / "cache"))
    assert [(one.name, [point.step for point in one.checkpoints]) for one in found] == [
        ("wide-stage1", [10, 20]),
        ("wide-stage2", [10]),
    ]


def test_several_runs_in_a_folder_are_several(tmp_path: Path) -> None:
    hf_run(tmp_path / "a", "checkpoint-10")
    hf_run(tmp_path / "b", "checkpoint-10", "checkpoint-20")
    with TemporaryDirectory() as cache:
        found = run_listings(tmp_path, Given(), CheckpointSource(Path(cache)))
    assert [(one.run.name, len(one.pieces)) for one in found] == [("a", 1), ("b", 2)]


def test_a_described_run_is_what_it_lists(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "first", "second", "other")
    points = [{"step": step, "path": name, "tokens": 7} for step, name in ((1, "first"), (2, "second"), (3, "gone"))]
    described = {"name": "mine", "params": 10, "params_non_embedding": 4, "checkpoints": points}
    (run / "series.json").write_text(json.dumps(described), encoding="utf-8")
    listing = listed(run)
    assert [(one.step, one.state, one.tokens) for one in listing.pieces] == [
        (1, "ready", 7),
        (2, "ready", 7),
        (3, "unfinished", 7),
    ]
    assert [one.what for one in listing.ignored] == ["other"]
    (series,) = series_of(listing, CheckpointSource(tmp_path / "cache"))
    assert (series.name, len(series.checkpoints)) == ("mine", 2)


@pytest.mark.parametrize("given_by", ["option", "settings"])
def test_adapters_over_a_base_are_a_series(given_by: str, tmp_path: Path) -> None:
    base, run = tiny_config(tmp_path / "base"), tmp_path / "tuned"
    for step in (10, 20):
        place = write_lora(run / f"checkpoint-{step}")
        settings_file = place / "adapter_config.json"
        told = json.loads(settings_file.read_text())
        named = {"r": 2, "lora_alpha": 4 * step, "base_model_name_or_path": str(base) if given_by == "settings" else ""}
        settings_file.write_text(json.dumps({**told, **named}), encoding="utf-8")
    assert given_by == "settings" or {one.state for one in listed(run).pieces} == {"convert"}
    source = CheckpointSource(tmp_path / "cache", keep=4)
    (listing,) = run_listings(run, Given(base=str(base) if given_by == "option" else None), source)
    (series,) = series_of(listing, source)
    folders = [source.folder(point) for point in series.checkpoints]
    assert len({(one / SINGLE_FILE).read_bytes() for one in folders}) == 2
    assert len({source.weights(point).sha256 for point in series.checkpoints}) == 2
    assert series.params > 100_000


@pytest.mark.parametrize("odd", [{"lora_alpha": None}, {"alpha_pattern": ["q_proj"]}, {"rank_pattern": {"(": 2}}])
def test_settings_of_an_adapter_that_are_none_cost_that_adapter(odd: dict[str, object], tmp_path: Path) -> None:
    base, run = tiny_config(tmp_path / "base"), tmp_path / "tuned"
    for step in (10, 20):
        write_lora(run / f"checkpoint-{step}")
    file = run / "checkpoint-20" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **odd}), encoding="utf-8")
    (listing,) = run_listings(run, Given(base=str(base)), CheckpointSource(tmp_path / "cache"))
    assert [one.state for one in listing.pieces] == ["ready", "convert"]
    assert "the format 'lora' cannot read it" in listing.pieces[1].why


# -- nothing disappears ---------------------------------------------------------------------------------------------

FORMS = sorted(set(SAMPLES) - {"lora", "lightning", "nanogpt", "torch-dcp", "state-dict"})
NOISE = ["logs", "wandb", "final", ".hidden", "best", "tmp-checkpoint-7", "notes.txt", "optimizer.pt", "old.bin"]


@given(
    st.lists(st.tuples(st.sampled_from(FORMS), st.integers(0, 10**6)), max_size=4, unique_by=lambda one: one[1]),
    st.sets(st.sampled_from(NOISE)),
    st.sampled_from(["checkpoint-{}", "step{}", "iter_{:07}", "global_step{}"]),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_no_piece_of_any_run_disappears_and_steps_are_those_that_were_planted(
    planted: list[tuple[str, int]], noise: set[str], pattern: str, data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        run = Path(name) / "wide"
        run.mkdir()
        expected = {plant(run, form, step, pattern): step for form, step in planted}
        for one in noise:
            make_noise(run / one)
        broken = data.draw(st.sets(st.sampled_from(sorted(expected)))) if expected else set()
        for one in broken:
            break_a_file(run / one)
        pieces: dict[str, RunPiece] = {}
        told: set[str] = set()
        for listing in run_listings(run, Given(), CheckpointSource(Path(name) / "cache")):
            pieces |= {one.name: one for one in listing.pieces}
            told |= {one.what for one in listing.ignored} | {one.name for one in listing.pieces}
        there = {one.name for one in run.iterdir() if one.is_dir() or one.suffix in room.WEIGHT_SUFFIXES}
        assert there - told == set()
        assert {name: pieces[name].step for name in expected} == expected
        assert {name for name in expected if pieces[name].state == "ready"} & broken == set()


def plant(run: Path, form: str, step: int, pattern: str) -> str:
    """Write a checkpoint of ``form``; its name in the run."""
    with TemporaryDirectory() as name:
        made = SAMPLES[form](Path(name) / "checkpoint-20")
        names = {"composer": f"ep0-ba{step}-rank0.pt", "nanotron": str(step), "megatron": f"iter_{step:07}"}
        own = names.get(form, f"global_step{step}" if form == "neox" else pattern.format(step))
        shutil.move(made, run / own)
        return own


def make_noise(place: Path) -> None:
    if place.suffix:
        place.write_bytes(b"noise")
    else:
        place.mkdir()
        (place / "events.txt").write_text("noise", encoding="utf-8")


def break_a_file(place: Path) -> None:
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.suffix in room.WEIGHT_SUFFIXES]
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


# -- the command ----------------------------------------------------------------------------------------------------


def e2lm(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "e2lm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_the_command_tells_people_and_programs(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10", "checkpoint-20")
    write_litgpt(run / "step-30")
    cut_short(run / "checkpoint-20")
    done = e2lm("checkpoints", run)
    assert (done.returncode, done.stderr) == (0, "")
    assert "litgpt convert_pretrained_checkpoint" in done.stdout
    assert "unfinished: model.safetensors: cut short" in done.stdout
    (listing,) = json.loads(e2lm("checkpoints", run, "--json").stdout)["runs"]
    assert [(one["step"], one["state"], one["format"]) for one in listing["checkpoints"]] == [
        (10, "ready", "safetensors"),
        (20, "unfinished", "safetensors"),
        (30, "convert", "litgpt"),
    ]


MERGE = "{{merge_method: linear, models: [{{model: {run}@10}}, {{model: {run}@20}}], parameters: {{weight: 0.5}}}}"


def test_what_is_written_is_a_run_that_every_command_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, run, out = tiny_config(tmp_path / "base"), tmp_path / "tuned", tmp_path / "plain"
    for step in (10, 20):
        write_lora(run / f"checkpoint-{step}")
    write_litgpt(run / "step-30")
    config, merged = tmp_path / "merge.yaml", str(tmp_path / "merged")
    config.write_text(MERGE.format(run=run), encoding="utf-8")
    for refused in (["hub", "push", str(run), "owner/name", "--dry-run"], ["merge", str(config), merged]):
        assert main(refused) == 2
        assert "`e2lm checkpoints RUN --write DIR`" in capsys.readouterr().err
    wanted = ["--base", base, "--write", out, "--hub-cache", tmp_path / "cache", "--json"]
    assert main(["checkpoints", str(run), *map(str, wanted)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["written"] == [{"series": "tuned", "folder": str(out), "checkpoints": 2}]
    assert [one["state"] for one in told["runs"][0]["checkpoints"]] == ["ready", "duplicate", "convert"]
    shutil.rmtree(run)
    shutil.rmtree(tmp_path / "cache")
    series = Series.read(out)
    assert [(one.step, one.path) for one in series.checkpoints] == [
        (step, str(out / f"checkpoint-{step}")) for step in (10, 20)
    ]
    config.write_text(MERGE.format(run=out), encoding="utf-8")
    assert main(["merge", str(config), merged]) == 0
    assert {one.state for one in listed(out).pieces} == {"ready", "same-bytes"}


def test_nothing_is_written_into_the_run_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10")
    assert main(["checkpoints", str(run), "--write", str(run / "plain")]) == 2
    assert "lies in the run" in capsys.readouterr().err
    assert [one.name for one in run.iterdir()] == ["checkpoint-10"]


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10")
    write_litgpt(run / "step-30")
    code = (
        f"import sys; from e2lm.command_line import main; code = main(['checkpoints', {str(run)!r}]); "
        "sys.exit(code or ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_config_that_is_none_is_one_line(tmp_path: Path) -> None:
    run = hf_run(tmp_path / "wide", "checkpoint-10")
    with pytest.raises(UserError, match=r"no config\.json there"):
        listed(run, config=tmp_path / "nowhere.yaml")


def test_a_folder_without_checkpoints_is_one_line(tmp_path: Path) -> None:
    done = e2lm("checkpoints", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def reshaped(place: Path, size: int) -> None:
    tensors = {"model.norm.weight": np.full(size, 1, np.float32), "model.embed_tokens.weight": np.arange(6.0)}
    save_file(tensors, place / SINGLE_FILE, metadata={"format": "pt"})


@pytest.mark.parametrize(("odd", "expected"), [((1,), {1}), ((0, 1), {0, 1}), ((0, 2, 3), {1}), ((0,), {0})])
def test_what_has_other_shapes_than_most_is_another_model(
    odd: tuple[int, ...], expected: set[int], tmp_path: Path
) -> None:
    run = hf_run(tmp_path, *(f"checkpoint-{step}" for step in range(5 if len(odd) < 3 else 4)))
    for step in odd:
        reshaped(run / f"checkpoint-{step}", 7)
    found = listed(run)
    assert {one.step for one in found.pieces if one.state == "other model"} == expected
    assert all("'model.norm.weight'" in line.why for line in found.left_out())
    (series,) = series_of(found, CheckpointSource(tmp_path / "cache"))
    assert {point.step for point in series.checkpoints} | expected == {one.step for one in found.pieces}
    assert series.params == 6 + (7 if len(odd) == 3 else 4)


def test_of_two_models_the_earlier_is_the_run(tmp_path: Path) -> None:
    run = hf_run(tmp_path, "checkpoint-10", "checkpoint-20")
    reshaped(run / "checkpoint-20", 7)
    assert states(run) == {"checkpoint-10": (10, "ready"), "checkpoint-20": (20, "other model")}
    assert main(["checkpoints", str(run), "--json"]) == 0
