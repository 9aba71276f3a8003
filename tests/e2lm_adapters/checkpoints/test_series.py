"""Checkpoints from a Hub that runs on this machine, asked by the real client."""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm.results import read_scores
from e2lm.series import Series
from e2lm.weights import SHARD_INDEX, SINGLE_FILE, read_weight_index
from e2lm_adapters.checkpoints.listing import listing_path
from e2lm_adapters.checkpoints.series import hub_series
from e2lm_adapters.checkpoints.source import CheckpointSource
from tests.e2lm_adapters.conftest import STEPS, Run, no_model_is_built
from tests.e2lm_adapters.fake_hub import FakeHub
from tests.families.architectures import model, write_checkpoint

REPO = "lab/tiny-run"


@pytest.fixture
def hub(tiny_series: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """``lab/tiny-run`` with the checkpoints of the shared run as revisions."""
    revisions = {f"step{step}": tiny_series / f"checkpoint-{step}" for step in STEPS}
    server = FakeHub({REPO: {"main": tiny_series / "checkpoint-30", **revisions}})
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    yield server
    server.close()


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("e2lm: error:")]
    assert "Traceback" not in err
    return line


# -- series -------------------------------------------------------------------------------------------------------


def test_a_repository_is_a_series_of_its_revisions(hub: FakeHub, tiny_series: Path, tmp_path: Path) -> None:
    (series,) = hub_series(REPO, CheckpointSource(tmp_path / "cache"), 1024)
    described = Series.read(tiny_series)
    assert series.name == "tiny-run"
    assert [point.step for point in series.checkpoints] == list(STEPS)
    assert [point.location for point in series.checkpoints] == [f"{REPO}@step{step}" for step in STEPS]
    assert (series.params, series.params_non_embedding) == (described.params, described.params_non_embedding)
    assert hub.downloads() == []


def test_of_a_mixture_of_experts_the_hub_tells_what_a_token_passes_through(hub: FakeHub, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "run" / "checkpoint-10", model("olmoe"))
    hub.repos["lab/experts"] = {"step10": folder}
    (series,) = hub_series("lab/experts", CheckpointSource(tmp_path / "cache"))
    local = Series.read(tmp_path / "run")
    assert series.params_active == local.params_active is not None
    assert series.flops(1.0) == local.flops(1.0)
    assert hub.downloads() == []


def test_a_listing_that_was_counted_by_an_earlier_rule_is_counted_again(hub: FakeHub, tmp_path: Path) -> None:
    source = CheckpointSource(tmp_path / "cache")
    (right,) = hub_series(REPO, source)
    path = listing_path(source.cache, REPO)
    old = json.loads(path.read_text(encoding="utf-8"))
    del old["count_version"], old["params_active"]
    path.write_text(json.dumps(old | {"params": 5, "params_non_embedding": 5}), encoding="utf-8")
    (again,) = hub_series(REPO, CheckpointSource(tmp_path / "cache"))
    assert (again.params, again.params_non_embedding) == (right.params, right.params_non_embedding)


def test_stages_that_count_their_own_steps_are_series_of_their_own(hub: FakeHub, tmp_path: Path) -> None:
    folder = hub.repos[REPO]["main"]
    names = ["stage1-step10-tokens1B", "stage1-step20-tokens2B", "stage2-step10-tokens1B", "main"]
    hub.repos["lab/olmo"] = dict.fromkeys(names, folder)
    source = CheckpointSource(tmp_path / "cache")
    first, second = hub_series("lab/olmo", source)
    assert (first.name, second.name) == ("olmo-stage1", "olmo-stage2")
    assert [point.tokens for point in first.checkpoints] == [10**9, 2 * 10**9]
    exact = hub_series("lab/olmo", source, tokens_per_step=4e6)[0]
    assert exact.tokens_at(exact.checkpoints[0]) == 4e7
    (chosen,) = hub_series("lab/olmo@stage1-*", source)
    assert chosen == first


def test_one_step_under_two_names_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.repos["lab/double"] = dict.fromkeys(["step10", "step010"], hub.repos[REPO]["main"])
    with pytest.raises(UserError, match="step 10 is there twice"):
        hub_series("lab/double", CheckpointSource(tmp_path / "cache"))


# -- evaluation ---------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_same_files_in_a_folder_and_the_cache_stays_small(
    hub: FakeHub, tiny_series: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from e2lm_adapters.eval.evaluator import CheckpointEvaluator

    cache = tmp_path / "cache"
    held: list[int] = []
    seen: list[str] = []
    hub.on_request = lambda method, path: held.append(len([one for one in cache.glob("*--*") if one.is_dir()]))
    score = CheckpointEvaluator.evaluate

    def watched(self: Any, piece: Any, following: Any, reader: Any) -> None:
        score(self, piece, following, reader)
        seen.append(piece.checkpoint.revision)
        if following is not None:
            reader._next[1].result()  # what was begun in the background comes without anyone asking for it
            assert len(hub.downloads()) == len(seen) + 1

    monkeypatch.setattr(CheckpointEvaluator, "evaluate", watched)
    common = ("--quiet", "--tokens-per-step", 1024)
    assert evaluate(REPO, *common, "--hub-cache", cache) == 0
    monkeypatch.setattr(CheckpointEvaluator, "evaluate", score)
    assert seen == [f"step{step}" for step in STEPS]
    assert hub.downloads() == [hub.commit(REPO, f"step{step}") for step in STEPS]
    assert max(held) == 2
    assert evaluate(tiny_series, *common, out=tmp_path / "local") == 0
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (tmp_path / "local" / "scores.csv").read_bytes()
    # Again: nothing is fetched, and no network is needed, although two of four checkpoints are gone.
    before = len(hub.requests)
    go_offline(monkeypatch)
    no_model_is_built(monkeypatch)
    assert evaluate(REPO, *common, "--hub-cache", cache) == 0
    assert len(hub.requests) == before


def fetched(hub: FakeHub, name: str) -> list[str | None]:
    """The range of every fetch of the file ``name``."""
    return [wanted for method, path, wanted in hub.requests if method == "GET" and path.endswith(f"/{name}")]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries again at once, and keeps what came in small pieces."""
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))


def test_a_connection_that_broke_goes_on_within_the_file(hub: FakeHub, tmp_path: Path, impatient: None) -> None:
    source = CheckpointSource(tmp_path / "cache")
    (series,) = hub_series(f"{REPO}@step10", source)
    hub.requests.clear()
    hub.cuts = {SINGLE_FILE: (40_000, 1)}
    folder = source.folder(series.checkpoints[0])
    first, second = fetched(hub, SINGLE_FILE)
    assert first is None
    assert second is not None
    assert 36_000 <= int(second.removeprefix("bytes=").rstrip("-")) <= 40_000
    assert (folder / SINGLE_FILE).read_bytes() == (hub.repos[REPO]["step10"] / SINGLE_FILE).read_bytes()


def test_shards_that_came_before_a_download_stopped_are_not_fetched_again(
    hub: FakeHub, run_folder: Path, tmp_path: Path, impatient: None
) -> None:
    shards = sharded(run_folder / "checkpoint-10")
    hub.repos["lab/big"] = {"step10": run_folder / "checkpoint-10"}
    source = CheckpointSource(tmp_path / "cache")
    (series,) = hub_series("lab/big", source)
    hub.cuts = {shards[1]: (0, 1000)}
    with pytest.raises(UserError, match="the same command goes on"):
        source.folder(series.checkpoints[0])
    source.release()
    hub.cuts = {}
    hub.requests.clear()
    again = CheckpointSource(tmp_path / "cache")
    hub_series("lab/big", again)
    folder = again.folder(series.checkpoints[0])
    assert [len(fetched(hub, shard)) for shard in shards] == [0, 1]
    assert read_weight_index(folder).shapes == read_weight_index(run_folder / "checkpoint-10").shapes
    assert not list(folder.rglob("*.incomplete"))


def sharded(checkpoint: Path) -> list[str]:
    """Splits the weights of ``checkpoint`` into two files; gives their names."""
    weights = load_file(checkpoint / SINGLE_FILE)
    (checkpoint / SINGLE_FILE).unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    places = {name: names[index % 2] for index, name in enumerate(sorted(weights))}
    for shard in names:
        own = {name: tensor for name, tensor in weights.items() if places[name] == shard}
        save_file(own, checkpoint / shard, metadata={"format": "pt"})
    (checkpoint / SHARD_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    return names


def test_a_series_file_may_name_checkpoints_on_the_hub(
    hub: FakeHub, tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    described = json.loads((tiny_series / "series.json").read_text(encoding="utf-8"))
    described["checkpoints"] = [{"step": step, "repo": REPO, "revision": f"step{step}"} for step in STEPS[:2]]
    run = tmp_path / "described"
    run.mkdir()
    (run / "series.json").write_text(json.dumps(described), encoding="utf-8")
    assert evaluate(run, "--quiet", "--hub-cache", tmp_path / "cache", "--limit", 4) == 0
    assert len(hub.downloads()) == 2


def test_what_the_hubs_own_client_has_cached_needs_no_network(
    hub: FakeHub, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    for revision in ("step10", "step30"):
        HfApi(endpoint=hub.endpoint).snapshot_download(REPO, revision=revision, cache_dir=tmp_path / "hf" / "hub")
    go_offline(monkeypatch)
    hub.requests.clear()
    assert evaluate(REPO, "--json", "--limit", 4, "--hub-cache", tmp_path / "cache") == 0
    units = [json.loads(file.read_text(encoding="utf-8")) for file in (tmp_path / "out" / "units").rglob("*.json")]
    assert sorted(unit["step"] for unit in units) == [10, 30]
    assert hub.requests == []
    assert not list((tmp_path / "cache").glob("*"))


def test_another_process_takes_the_commits_that_were_seen_here(hub: FakeHub, tmp_path: Path) -> None:
    source = CheckpointSource(tmp_path / "cache")
    (series,) = hub_series(f"{REPO}@step10", source)
    sent = pickle.loads(pickle.dumps(source))
    hub.requests.clear()
    assert sent.weights(series.checkpoints[0]) == source.weights(series.checkpoints[0])
    assert hub.requests == []


@pytest.mark.parametrize("spoilt", [0, 10])
def test_a_fetched_checkpoint_that_is_not_finite_costs_itself(
    spoilt: int, hub: FakeHub, tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(tiny_series / f"checkpoint-{spoilt}", bad)
    weights = load_file(bad / SINGLE_FILE)
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, bad / SINGLE_FILE, metadata={"format": "pt"})
    hub.repos[REPO] = {f"step{step}": tiny_series / f"checkpoint-{step}" for step in (0, 10)} | {f"step{spoilt}": bad}
    for _ in range(2):
        assert evaluate(REPO, "--quiet", "--hub-cache", tmp_path / "cache") == 0
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert line.startswith(f"left out: tiny-run step {spoilt}: ")
        assert "'model.norm.weight' holds 1 NaN" in line
        assert line.endswith(f"({REPO}@step{spoilt})")
        assert set(read_scores(tmp_path / "out").scores.frame["step"]) == {10 - spoilt}


# -- mistakes -----------------------------------------------------------------------------------------------------


def test_offline_with_a_name_of_which_nothing_is_cached_is_one_line(
    hub: FakeHub, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go_offline(monkeypatch)
    assert evaluate(REPO, "--quiet", "--hub-cache", tmp_path / "cache") == 2
    line = one_line(capsys)
    assert f"{REPO}: no such folder, and no network" in line
    assert hub.requests == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("lab/nothing", ("lab/nothing", "no such repository on the Hub")),
        (f"{REPO}@main", ("no revision that names a step",)),
        (f"{REPO}@step10,step15", ("no revision 'step15'", "'step10'")),
    ],
)
def test_a_wrong_name_is_one_line(
    reference: str,
    parts: tuple[str, ...],
    hub: FakeHub,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(reference, "--quiet", "--hub-cache", tmp_path / "cache") == 2
    line = one_line(capsys)
    assert all(part in line for part in parts), line
    assert not (tmp_path / "out").exists()


def test_a_dry_run_downloads_no_weights(
    hub: FakeHub, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(REPO, "--dry-run", "--json", "--hub-cache", tmp_path / "cache") == 0
    assert json.loads(capsys.readouterr().out)["series"][0]["checkpoints"] == list(STEPS)
    assert hub.downloads() == []


# -- pickles ------------------------------------------------------------------------------------------------------


def pickled(checkpoint: Path) -> None:
    torch.save(load_file(checkpoint / SINGLE_FILE), checkpoint / "pytorch_model.bin")
    (checkpoint / SINGLE_FILE).unlink()


def test_pickles_give_the_same_scores_where_they_are_allowed(
    run_folder: Path, tiny_series: Path, tmp_path: Path, evaluate: Run, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch)
    for step in STEPS:
        pickled(run_folder / f"checkpoint-{step}")
    (run_folder / "series.json").unlink()
    common = ("--quiet", "--tokens-per-step", 1024)
    assert evaluate(run_folder, *common, "--allow-pickle", "--hub-cache", tmp_path / "cache") == 0
    assert evaluate(tiny_series, *common, out=tmp_path / "safe") == 0
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (tmp_path / "safe" / "scores.csv").read_bytes()
    assert len([one for one in (tmp_path / "cache").iterdir() if one.is_dir()]) == 2
    assert sorted(file.name for file in (run_folder / "checkpoint-0").glob("*model*")) == ["pytorch_model.bin"]


class Deed:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_refused(
    run_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in STEPS:
        pickled(run_folder / f"checkpoint-{step}")
    torch.save({"model.norm.weight": Deed(tmp_path / "done")}, run_folder / "checkpoint-0" / "pytorch_model.bin")
    assert evaluate(run_folder, "--quiet", "--allow-pickle", "--hub-cache", tmp_path / "cache") == 2
    assert "pytorch_model.bin: refused" in one_line(capsys)
    assert not (tmp_path / "done").exists()


def test_pickles_on_the_hub_need_the_flag(
    hub: FakeHub, run_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in STEPS[:2]:
        pickled(run_folder / f"checkpoint-{step}")
    hub.repos[REPO] = {f"step{step}": run_folder / f"checkpoint-{step}" for step in STEPS[:2]}
    options = ("--quiet", "--limit", 4, "--hub-cache", tmp_path / "cache")
    assert evaluate(REPO, *options) == 2
    assert "--allow-pickle" in one_line(capsys)
    assert hub.downloads("pytorch_model.bin") == []
    assert evaluate(REPO, *options, "--allow-pickle") == 0
    assert len(hub.downloads("pytorch_model.bin")) == 2
    described = hub_series(REPO, CheckpointSource(tmp_path / "cache", allow_pickle=True))[0]
    assert described.params == read_weight_index(run_folder / "checkpoint-30").params


def test_the_command_tells_how_to_name_a_repository(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    assert "owner/name" in capsys.readouterr().out


# -- folders of a revision ------------------------------------------------------------------------------------------

FOLDERS = {10: "iter_0000010", 20: "iter_0000020"}


@pytest.fixture
def folders(hub: FakeHub, tiny_series: Path, tmp_path: Path) -> str:
    """A repository whose main branch holds a folder for each checkpoint, and the tokenizer at its root."""
    main = tmp_path / "main"
    for step, name in FOLDERS.items():
        shutil.copytree(tiny_series / f"checkpoint-{step}", main / name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.move(main / name / file, main / file)
    (main / "README.md").write_text("A model.", encoding="utf-8")
    hub.repos["lab/dense"] = {"main": main}
    return "lab/dense"


def test_folders_of_the_main_branch_are_checkpoints_where_no_revision_is_one(
    folders: str, hub: FakeHub, tiny_series: Path, tmp_path: Path
) -> None:
    (series,) = hub_series(folders, CheckpointSource(tmp_path / "cache"), 1024)
    described = Series.read(tiny_series)
    assert [(point.step, point.subfolder) for point in series.checkpoints] == list(FOLDERS.items())
    assert (series.params, series.params_non_embedding) == (described.params, described.params_non_embedding)
    assert hub.downloads() == []


def test_folders_of_a_repository_score_as_those_on_disk(
    folders: str, tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    options = ("--quiet", "--limit", 4, "--tokens-per-step", 1024)
    assert evaluate(folders, *options, "--hub-cache", tmp_path / "cache") == 0
    run = tmp_path / "dense"
    for step in FOLDERS:
        shutil.copytree(tiny_series / f"checkpoint-{step}", run / f"checkpoint-{step}")
    assert evaluate(run, *options, out=tmp_path / "local") == 0
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (tmp_path / "local" / "scores.csv").read_bytes()


def test_another_folder_changes_nothing_about_the_address_of_the_others(
    folders: str, hub: FakeHub, tiny_series: Path, tmp_path: Path
) -> None:
    def addresses(cache: str) -> dict[int, str]:
        source = CheckpointSource(tmp_path / cache)
        (series,) = hub_series(folders, source)
        return {point.step: source.weights(point).sha256 for point in series.checkpoints}

    before = addresses("first")
    shutil.copytree(tiny_series / "checkpoint-30", hub.repos[folders]["main"] / "iter_0000030")
    after = addresses("second")
    assert len(set(after.values())) == 3
    assert {step: after[step] for step in before} == before


def test_revisions_that_count_words_are_read_where_none_names_a_step(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = hub.repos[REPO]["main"]
    hub.repos["lab/baby"] = {"main": folder, **{f"chck_{count}M": folder for count in (1, 2, 10)}}
    (series,) = hub_series("lab/baby", CheckpointSource(tmp_path / "cache"))
    assert [point.step for point in series.checkpoints] == [1_000_000, 2_000_000, 10_000_000]
    assert "words are taken for steps" in capsys.readouterr().err


def test_the_list_of_a_repository_names_revisions_of_the_same_weights(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos[REPO]["step40"] = hub.repos[REPO]["step30"]
    assert main(["checkpoints", REPO, "--hub-cache", str(tmp_path / "cache"), "--json"]) == 0
    (listing,) = json.loads(capsys.readouterr().out)["runs"]
    told = [(one["step"], one["state"], one["duplicate_of"]) for one in listing["checkpoints"]]
    assert told == [(step, "ready", None) for step in STEPS] + [(40, "duplicate", "step30")]
    assert hub.downloads() == []
