"""Runs and scores go to a Hub on this machine through the real client, and come back byte by byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file, save_file

from e2lm.command_line import main
from e2lm.results import read_scores
from e2lm.series import Series
from e2lm.weights import SINGLE_FILE
from e2lm_adapters.checkpoints.card import MOST_ROWS, model_card
from e2lm_adapters.checkpoints.upload import CARD_MARK
from tests.e2lm_adapters.conftest import STEPS, Run
from tests.e2lm_adapters.writable_hub import WritableHub

REPO = "lab/pushed"
SCORES = "datasets/lab/scores"


@pytest.fixture
def hub(online: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a service of its own, which is not imitated here
    server = WritableHub(tmp_path / "server")
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    yield server
    server.close()


def hub_command(*arguments: object) -> int:
    return main(["hub", *map(str, arguments)])


def pushed(source: Path, *options: object, repo: str = REPO) -> int:
    return hub_command("push", source, repo, "--quiet", *options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert "Traceback" not in err
    (line,) = err.splitlines()
    return line


def changed(checkpoint: Path) -> None:
    weights = load_file(checkpoint / SINGLE_FILE)
    save_file({name: 2 * one for name, one in weights.items()}, checkpoint / SINGLE_FILE, metadata={"format": "pt"})


# -- there and back -----------------------------------------------------------------------------------------------


def test_a_run_comes_back_byte_by_byte_and_scores_the_same_from_everywhere(
    hub: WritableHub, tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    assert pushed(tiny_series) == 0
    assert set(hub.repos[REPO]) == {"main", *(f"step{step}" for step in STEPS)}
    back = tmp_path / "back"
    assert hub_command("pull", REPO, back, "--quiet") == 0
    assert contents(back) == contents(tiny_series)
    scored = [
        (tiny_series, tmp_path / "first"),
        (back, tmp_path / "second"),
        (REPO, tmp_path / "third"),
    ]
    for run, out in scored:
        assert evaluate(run, "--quiet", "--limit", 6, "--hub-cache", tmp_path / "cache", out=out) == 0
    first, *others = [(out / "scores.csv").read_bytes() for _, out in scored]
    assert others == [first, first]
    assert b"tiny-run,139584.0,30,30720.0" in first


def test_main_can_be_loaded_by_transformers_and_names_the_checkpoints(hub: WritableHub, tiny_series: Path) -> None:
    assert pushed(tiny_series) == 0
    files = hub.files(REPO)
    newest = contents(tiny_series / "checkpoint-30")
    assert {name: files[name] for name in newest} == newest
    described = Series.from_data(json.loads(files["series.json"]), "series.json")
    assert [(one.step, one.tokens, one.location) for one in described.checkpoints] == [
        (step, step * 1024, f"{REPO}@step{step}") for step in STEPS
    ]
    # A branch begins empty: no card, no weights of main.
    assert set(hub.files(REPO, "step10")) == {".gitattributes", *contents(tiny_series / "checkpoint-10")}


def test_scores_go_as_a_data_set_and_come_back(
    hub: WritableHub, tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    out = tmp_path / "out"
    assert evaluate(tiny_series, "--quiet", "--limit", 6) == 0
    assert pushed(out, "--private", repo="lab/scores") == 0
    assert hub.private == {SCORES: True}
    files = hub.files(SCORES)
    results = {str(one.relative_to(out)): one.read_bytes() for one in out.rglob("results_*.json")}
    assert len(results) == len(STEPS)
    kept = {name: (out / name).read_bytes() for name in ("scores.parquet", "scores.csv", "run.json")} | results
    assert {name: text for name, text in files.items() if name not in (".gitattributes", "README.md")} == kept
    back = tmp_path / "back"
    assert hub_command("pull", SCORES, back, "--quiet") == 0
    assert contents(back) == kept
    assert read_scores(back).scores.frame.equals(read_scores(out).scores.frame)
    assert "Scores of tiny-run" in files["README.md"].decode()


# -- only what is missing -----------------------------------------------------------------------------------------


def test_a_push_that_has_nothing_new_sends_nothing(hub: WritableHub, run_folder: Path) -> None:
    assert pushed(run_folder) == 0
    assert len(hub.commits) == len(STEPS) + 1
    assert len(hub.uploaded) == len(STEPS)  # the newest weights are on main too, and went up once
    before = len(hub.commits)
    assert pushed(run_folder) == 0
    assert len(hub.commits) == before
    changed(run_folder / "checkpoint-10")
    assert pushed(run_folder) == 0
    assert hub.commits[before:] == [(REPO, "step10", [SINGLE_FILE])]
    assert len(hub.uploaded) == len(STEPS) + 1


def test_a_push_that_was_cut_off_goes_on_with_the_revision_it_was_at(
    hub: WritableHub, tiny_series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(method: str, path: str) -> None:
        if path.endswith("/commit/step20"):
            hub.refuses = 500

    hub.on_request = cut
    assert pushed(tiny_series) == 2
    assert "the same command goes on later" in one_line(capsys)
    assert [revision for _, revision, _ in hub.commits] == ["step0", "step10"]
    hub.on_request, hub.refuses = (lambda method, path: None), None
    sent = list(hub.uploaded)
    assert pushed(tiny_series) == 0
    assert [revision for _, revision, _ in hub.commits] == ["step0", "step10", "step20", "step30", "main"]
    assert len(sent) == 3
    assert hub.uploaded[: len(sent)] == sent
    assert len(set(hub.uploaded)) == len(hub.uploaded) == len(STEPS)


def test_new_checkpoints_are_added_and_weights_of_another_layout_go(hub: WritableHub, run_folder: Path) -> None:
    described = json.loads((run_folder / "series.json").read_text(encoding="utf-8"))
    early = {**described, "checkpoints": described["checkpoints"][:2]}
    (run_folder / "series.json").write_text(json.dumps(early), encoding="utf-8")
    assert pushed(run_folder) == 0
    assert set(hub.repos[REPO]) == {"main", "step0", "step10"}
    (run_folder / "series.json").write_text(json.dumps(described), encoding="utf-8")
    (hub.repos[REPO]["step0"] / "model-00001-of-00002.safetensors").write_bytes(b"old")
    assert pushed(run_folder) == 0
    assert set(hub.repos[REPO]) == {"main", *(f"step{step}" for step in STEPS)}
    assert (REPO, "step0", ["-model-00001-of-00002.safetensors"]) in hub.commits
    assert set(hub.files(REPO, "step20")) == {".gitattributes", *contents(run_folder / "checkpoint-20")}


def test_a_pull_fetches_what_is_missing_and_joins_what_was_pulled_before(
    hub: WritableHub, tiny_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pushed(tiny_series) == 0
    back = tmp_path / "back"
    assert hub_command("pull", f"{REPO}@step10", back, "--quiet") == 0
    assert [point.step for point in Series.read(back).checkpoints] == [10]
    (back / "checkpoint-10" / SINGLE_FILE).unlink()
    hub.requests.clear()
    assert hub_command("pull", REPO, back, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [len(one["files"]) for one in report["revisions"]][1] == 1
    assert len(hub.downloads()) == len(STEPS)
    assert contents(back) == contents(tiny_series)
    hub.requests.clear()
    assert hub_command("pull", REPO, back, "--quiet") == 0
    assert hub.downloads() == []
    assert not [one for one in tmp_path.rglob(".partial-*") if "server" not in one.parts]


def test_a_pull_that_broke_off_leaves_no_half_checkpoint(
    hub: WritableHub, tiny_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pushed(tiny_series) == 0
    hub.cuts = {SINGLE_FILE: (1000, 10_000)}
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 512)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    back = tmp_path / "back"
    assert hub_command("pull", REPO, back, "--quiet") == 2
    assert not list(back.glob("checkpoint-*"))
    hub.cuts = {}
    assert hub_command("pull", REPO, back, "--quiet") == 0
    assert contents(back) == contents(tiny_series)


def test_a_dry_run_says_what_would_go_and_changes_nothing(
    hub: WritableHub, tiny_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hub_command("push", tiny_series, REPO, "--dry-run", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["revision"] for one in report["revisions"]] == [*(f"step{step}" for step in STEPS), "main"]
    assert report["revisions"][0]["files"] == sorted(contents(tiny_series / "checkpoint-0"))
    assert report["url"] == f"{hub.endpoint}/{REPO}"
    assert hub.repos == {}
    assert {method for method, _, _ in hub.requests} == {"GET"}
    assert pushed(tiny_series) == 0
    assert hub_command("push", tiny_series, REPO, "--dry-run") == 0
    assert "would transfer 0.0 MB, 5 revisions" in capsys.readouterr().out
    assert hub_command("pull", REPO, tmp_path / "back", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["series"] == ["tiny-run"]
    assert not (tmp_path / "back").exists()


# -- the card -----------------------------------------------------------------------------------------------------


def test_the_card_has_the_curve_and_the_metadata_that_the_hub_reads(
    hub: WritableHub, tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    assert evaluate(tiny_series, "--quiet", "--limit", 6) == 0
    assert pushed(tiny_series, "--scores", tmp_path / "out") == 0
    text = hub.files(REPO)["README.md"].decode()
    table = read_scores(tmp_path / "out").scores.frame.set_index(["metric", "step"])
    card = ModelCard(text)
    assert card.data.library_name == "transformers"
    assert card.data.model_name == "tiny-run"
    found = {one.metric_type: one for one in card.data.eval_results}
    assert set(found) == {"acc", "acc_norm", "acc_bytes", "bits_per_byte"}
    for metric, one in found.items():
        row = table.loc[(metric, 30)]
        assert (one.dataset_name, one.task_type) == ("small", "text-generation")
        assert one.metric_value == pytest.approx(row["value"], abs=1e-6)
        assert (one.metric_args["step"], one.metric_args["n"]) == (30, 6)
        assert one.metric_args["stderr"] == pytest.approx(row["stderr"], abs=1e-6)
    for step in STEPS:
        row = table.loc[("acc_norm", step)]
        assert f"| {step} | {step * 1024:,} | {row['value']:.4g} ± {row['stderr']:.2g} |" in text
    assert "| training tokens | 30,720 |" in text
    assert "| parameters | 139,584 |" in text


def test_a_card_of_somebodys_own_is_left_alone(hub: WritableHub, tiny_series: Path) -> None:
    assert pushed(tiny_series) == 0
    card = hub.repos[REPO]["main"] / "README.md"
    ours = card.read_text(encoding="utf-8")
    card.write_text(f"{ours}more", encoding="utf-8")
    assert pushed(tiny_series) == 0
    assert card.read_text(encoding="utf-8") == ours
    own = ours.replace(CARD_MARK, "My own words.")
    card.write_text(own, encoding="utf-8")
    assert pushed(tiny_series) == 0
    assert card.read_text(encoding="utf-8") == own


def test_a_long_run_has_a_short_card_with_both_ends(tiny_series: Path) -> None:
    series = Series.read(tiny_series)
    points = tuple(series.checkpoints[0].model_copy(update={"step": step, "tokens": None}) for step in range(500))
    text = model_card(series.model_copy(update={"checkpoints": points, "tokens_per_step": None}), REPO, None)
    lines = [line for line in text.splitlines() if line.startswith("| `step")]
    assert len(lines) == MOST_ROWS
    assert lines[0].startswith("| `step0` | 0 | not known |")
    assert lines[-1].startswith("| `step499` |")


# -- mistakes -----------------------------------------------------------------------------------------------------


def test_pickles_never_go_up(hub: WritableHub, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("optimizer.pt", "training_args.bin", "pytorch_model.bin"):
        torch.save({}, run_folder / "checkpoint-20" / name)
    assert pushed(run_folder) == 0
    assert not [
        name for revision in hub.repos[REPO] for name in hub.files(REPO, revision) if name.endswith((".pt", ".bin"))
    ]
    (run_folder / "checkpoint-20" / SINGLE_FILE).unlink()
    hub.requests.clear()
    assert pushed(run_folder) == 2
    assert "only safetensors are pushed" in one_line(capsys)
    assert hub.requests == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_may_not_write_is_one_line(
    status: int, hub: WritableHub, tiny_series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refuses = status
    assert pushed(tiny_series) == 2
    assert f"{REPO}: the Hub refuses" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("push", "RUN", "pushed"), ("'pushed': expected owner/name",)),
        (("push", "RUN", "datasets/lab/x"), ("is a run, and goes to a model repository",)),
        (("push", "EMPTY", REPO), ("the series is empty",)),
        (("push", "RUN", REPO, "--scores", "TABLE"), ("no scores of the series 'tiny-run'; there are other",)),
        (("push", "BOTH", REPO), ("holds 2 runs (one, two); push them one by one",)),
        (("pull", "lab/nothing", "DIR"), ("no such repository on the Hub",)),
        (("pull", "datasets/lab/nothing", "DIR"), ("no such repository on the Hub",)),
        (("pull", "datasets/nothing", "DIR"), ("expected datasets/owner/name",)),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...],
    parts: tuple[str, ...],
    hub: WritableHub,
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"RUN": run_folder, "EMPTY": tmp_path / "empty", "BOTH": tmp_path / "both", "DIR": tmp_path / "dir"}
    places["EMPTY"].mkdir()
    for name in ("one", "two"):
        shutil.copytree(run_folder, places["BOTH"] / name)
    places["TABLE"] = tmp_path / "table.csv"
    places["TABLE"].write_text("series,step,task,metric,value\nother,1,a,acc,0.5\n", encoding="utf-8")
    assert hub_command(*(places.get(one, one) for one in arguments)) == 2
    line = one_line(capsys)
    assert all(part in line for part in parts), line
    assert hub.repos == {}
    assert not (tmp_path / "dir").exists()


def test_what_is_there_with_other_contents_is_not_overwritten(
    hub: WritableHub, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pushed(run_folder) == 0
    changed(run_folder / "checkpoint-0")
    before = contents(run_folder)
    assert hub_command("pull", REPO, run_folder, "--quiet") == 2
    assert "is there with other contents" in one_line(capsys)
    assert contents(run_folder) == before


def test_without_a_network_or_a_token_nothing_is_tried(
    hub: WritableHub,
    tiny_series: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert pushed(tiny_series) == 2
    assert "not logged in to the Hub: `hf auth login`" in one_line(capsys)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for arguments in (("push", tiny_series, REPO), ("pull", REPO, tmp_path / "x"), ("pull", SCORES, tmp_path / "x")):
        assert hub_command(*arguments) == 2
        assert "no network (HF_HUB_OFFLINE is set)" in one_line(capsys)
    assert hub.requests == []


def test_a_series_file_of_somebody_else_is_ignored(hub: WritableHub, tiny_series: Path, tmp_path: Path) -> None:
    from e2lm_adapters.checkpoints.series import hub_series
    from e2lm_adapters.checkpoints.source import CheckpointSource

    assert pushed(tiny_series) == 0
    others: list[Any] = [{"series": "of books"}, []]
    for number, text in enumerate([*map(json.dumps, others), "{"]):
        (hub.repos[REPO]["main"] / "series.json").write_text(text, encoding="utf-8")
        (series,) = hub_series(REPO, CheckpointSource(tmp_path / f"cache{number}"))
        assert (series.name, series.checkpoints[1].tokens) == ("pushed", None)
