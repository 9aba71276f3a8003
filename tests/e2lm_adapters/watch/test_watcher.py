"""Beside a run that is being written, resumed and cleaned up, the table comes out as an evaluation would have it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm.results import read_scores
from e2lm.scores import ScoreRow, Scores
from e2lm_adapters.checkpoints.piece import Given
from e2lm_adapters.checkpoints.source import CheckpointSource
from e2lm_adapters.eval.series import Evaluation
from e2lm_adapters.lm_eval.tasks import load_tasks
from e2lm_adapters.watch.finished import WatchedRun
from e2lm_adapters.watch.watcher import Watcher
from tests.e2lm_adapters.conftest import ROOT, STEPS, Run

OPTIONS = ("--limit", "4", "--metrics", "margin", "--device", "cpu", "--model-args", "dtype=float32")


@pytest.fixture
def watch(task_folder: Path, tmp_path: Path) -> Run:
    """Runs ``e2lm watch`` in this process and gives its exit code."""

    def run(*options: object, tasks: str = "small", out: Path = tmp_path / "watched") -> int:
        arguments = ["watch", "--tasks", tasks, "--out", out, "--include-path", task_folder, "--every", 0.05]
        return main([*map(str, arguments), *OPTIONS, *map(str, options)])

    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Scores without a model, where what is scored is not the matter; gives the steps of every pass."""
    passes: list[list[int]] = []

    def scorer(arguments: Any, source: Any) -> Any:
        def score(series: Any) -> Evaluation:
            found = {row.step: row for row in read_scores(out).scores.rows()} if (out / "scores.csv").is_file() else {}
            passes.append([point.step for point in series[0].checkpoints])
            found |= {step: ScoreRow(series[0].name, step, "small", "acc", 0.5) for step in passes[-1]}
            Scores.from_rows(found.values()).write(out)
            return Evaluation(Scores.from_rows(found.values()), ())

        out = arguments.out
        return score

    monkeypatch.setattr("e2lm_adapters.watch.watcher.scorer", scorer)
    monkeypatch.setattr("e2lm_adapters.watch.command._check", lambda arguments: None)
    return passes


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """The folder of a run of which nothing is there yet."""
    (tmp_path / "tiny-run").mkdir()
    return tmp_path / "tiny-run"


def appear(run: Path, source: Path, step: int, files: tuple[str, ...] = ()) -> Path:
    """A checkpoint of the shared run, or some of its files, in ``run``."""
    place = run / f"checkpoint-{step}"
    place.mkdir(exist_ok=True)
    for file in sorted((source / f"checkpoint-{step}").iterdir()):
        if not files or file.name in files:
            shutil.copy(file, place / file.name)
    return place


def table(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "scores.parquet")


def steps(out: Path) -> list[int]:
    return sorted(set(table(out)["step"]))


def record(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "watch.json").read_text(encoding="utf-8"))
    return read


def test_once_leaves_the_bytes_of_an_evaluation(tiny_series: Path, tmp_path: Path, watch: Run, evaluate: Run) -> None:
    assert evaluate(tiny_series, "--quiet", "--limit", 4, "--metrics", "margin") == 0
    assert watch(tiny_series, "--once", "--pin") == 0
    for name in (
        "scores.parquet",
        "scores.csv",
        *(f"samples/tiny-run/small/checkpoint-{step}.parquet" for step in STEPS),
    ):
        assert (tmp_path / "watched" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    assert not list((tmp_path / "watched" / "pinned").glob("*/*"))
    assert record(tmp_path / "watched") == {"schema_version": 1, "unscored": {}, "left_out": []}


@pytest.mark.usefixtures("quick")
def test_an_unfinished_checkpoint_is_waited_for_and_scored_when_it_is_whole(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    appear(live, tiny_series, 0)
    place = appear(live, tiny_series, 10, ("config.json",))
    assert watch(live, "--once") == 0
    assert steps(tmp_path / "watched") == [0]
    whole = (tiny_series / "checkpoint-10" / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(whole[:5000])
    appear(live, tiny_series, 10, tuple(one.name for one in place.parent.glob("*/tokenizer*")))
    assert watch(live, "--once") == 0
    assert "waiting for tiny-run/checkpoint-10: unfinished: " in capsys.readouterr().err
    assert steps(tmp_path / "watched") == [0]
    assert "cut short" in record(tmp_path / "watched")["unscored"]["tiny-run/checkpoint-10"]["why"]
    appear(live, tiny_series, 10)
    assert watch(live, "--once") == 0
    assert steps(tmp_path / "watched") == [0, 10]
    assert record(tmp_path / "watched")["unscored"] == {}


@pytest.mark.usefixtures("quick")
def test_a_new_checkpoint_with_fewer_files_than_another_is_waited_for_while_it_is_new(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run
) -> None:
    appear(live, tiny_series, 0)
    place = appear(live, tiny_series, 10)
    (place / "tokenizer_config.json").unlink()
    assert watch(live, "--once") == 0
    assert steps(tmp_path / "watched") == [0]
    assert "checkpoint-0 has" in record(tmp_path / "watched")["unscored"]["tiny-run/checkpoint-10"]["why"]
    for file in place.iterdir():
        os.utime(file, (time.time() - 120, time.time() - 120))
    assert watch(live, "--once") == 0
    assert steps(tmp_path / "watched") == [0, 10]


@pytest.mark.usefixtures("quick")
def test_a_folder_of_the_trainer_is_finished_with_its_state(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run
) -> None:
    place = appear(live, tiny_series, 10)
    (place / "optimizer.pt").write_bytes(b"0" * 10)
    assert watch(live, "--once") == 0
    assert not (tmp_path / "watched" / "scores.csv").exists()
    assert "trainer_state.json" in record(tmp_path / "watched")["unscored"]["tiny-run/checkpoint-10"]["why"]
    (place / "trainer_state.json").write_text('{"global_step": 10}', encoding="utf-8")
    assert watch(live, "--once") == 0
    assert steps(tmp_path / "watched") == [10]


@pytest.mark.usefixtures("quick")
def test_what_the_trainer_deletes_stays_in_the_table_or_is_listed_as_missed(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    appear(live, tiny_series, 0)
    appear(live, tiny_series, 10, ("config.json",))
    assert watch(live, "--once") == 0
    shutil.rmtree(live / "checkpoint-0")
    shutil.rmtree(live / "checkpoint-10")
    appear(live, tiny_series, 20)
    assert watch(live, "--once") == 0
    assert steps(tmp_path / "watched") == [0, 20]
    (missed,) = record(tmp_path / "watched")["left_out"]
    assert missed["what"] == "tiny-run/checkpoint-10"
    assert "missed: tiny-run/checkpoint-10: deleted before it was scored" in capsys.readouterr().out
    appear(live, tiny_series, 10)  # trained again
    assert watch(live, "--once") == 0
    assert record(tmp_path / "watched")["left_out"] == []
    assert steps(tmp_path / "watched") == [0, 10, 20]


@pytest.mark.usefixtures("quick")
def test_what_comes_and_goes_while_another_is_scored_is_held_and_comes_into_the_table(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    appear(live, tiny_series, 0)
    scored, busy = Watcher._scored, []

    def slowly(self: Watcher, new: Any, beside: Any) -> None:
        if not busy:
            busy.append(appear(live, tiny_series, 10))
            until((tmp_path / "watched" / "pinned" / "tiny-run" / "10" / "series.json").is_file, 60)
            shutil.rmtree(busy[0])
        scored(self, new, beside)

    monkeypatch.setattr(Watcher, "_scored", slowly)
    monkeypatch.setattr("e2lm_adapters.checkpoints.settling.FRESH_S", 0.0)
    assert watch(live, "--once", "--pin") == 0
    assert steps(tmp_path / "watched") == [0, 10]
    assert record(tmp_path / "watched")["left_out"] == []
    assert not list((tmp_path / "watched" / "pinned").glob("*/*"))


def test_what_is_finished_is_held_while_tasks_are_loaded_and_let_go_where_they_are_a_mistake(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(arguments: Any) -> None:
        until((tmp_path / "watched" / "pinned" / "tiny-run" / "0" / "series.json").is_file, 60)
        raise UserError("--tasks: no such task")

    appear(live, tiny_series, 0)
    monkeypatch.setattr("e2lm_adapters.watch.command._check", check)
    monkeypatch.setattr("e2lm_adapters.checkpoints.settling.FRESH_S", 0.0)
    assert watch(live, "--once", "--pin") == 2
    assert not (tmp_path / "watched").exists()


def test_a_checkpoint_that_fails_costs_itself_and_is_tried_again_when_it_changes(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    appear(live, tiny_series, 0)
    place = appear(live, tiny_series, 10)
    (place / "config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}', encoding="utf-8")
    assert watch(live, "--once") == 0
    assert "tiny-run/checkpoint-10" in capsys.readouterr().out + json.dumps(record(tmp_path / "watched"))
    assert steps(tmp_path / "watched") == [0]
    appear(live, tiny_series, 10)
    assert watch(live, "--once") == 0
    assert steps(tmp_path / "watched") == [0, 10]


def without_metadata(place: Path) -> Path:
    """Its weights as a shard of an index that transformers does not take."""
    (place / "model.safetensors").rename(place / "model-00001-of-00001.safetensors")
    with safe_open(place / "model-00001-of-00001.safetensors", "np") as file:
        names = dict.fromkeys(file.keys(), "model-00001-of-00001.safetensors")
    index = place / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    return index


def test_a_checkpoint_that_cannot_be_loaded_is_no_nan_and_is_scored_once_it_is_mended(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    index = without_metadata(appear(live, tiny_series, 0))  # the first is what the model is built of
    appear(live, tiny_series, 10)
    assert watch(live, "--once", "--pin", "--stop-if", "nan") == 0
    told = capsys.readouterr().out
    assert "tiny-run step 10: in the table" in told
    assert "not scored: tiny-run/checkpoint-0: " in told
    assert 'has no "metadata"' in record(tmp_path / "watched")["unscored"]["tiny-run/checkpoint-0"]["why"]
    index.write_text(json.dumps({"metadata": {}, **json.loads(index.read_text())}), encoding="utf-8")
    assert watch(live, "--once", "--stop-if", "nan") == 0
    assert steps(tmp_path / "watched") == [0, 10]
    assert record(tmp_path / "watched")["unscored"] == {}


def test_a_checkpoint_with_nan_stops_and_is_listed_with_why_also_when_it_is_gone(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    place = appear(live, tiny_series, 10)
    weights = load_file(place / "model.safetensors")
    next(iter(weights.values())).flat[0] = np.nan
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    assert watch(live, "--once", "--stop-if", "nan") == 10
    assert "in the table" not in capsys.readouterr().out
    shutil.rmtree(place)
    appear(live, tiny_series, 20)
    assert watch(live, "--once") == 0
    (missed,) = record(tmp_path / "watched")["left_out"]
    assert missed["what"] == "tiny-run/checkpoint-10"
    assert "NaN" in missed["why"]
    assert steps(tmp_path / "watched") == [20]


@pytest.mark.usefixtures("quick")
def test_a_standing_watch_waits_for_the_folder_and_ends_when_nothing_is_new(
    tiny_series: Path, tmp_path: Path, watch: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "tiny-run"
    waits = iter([run.mkdir, lambda: appear(run, tiny_series, 0), lambda: appear(run, tiny_series, 10)])

    def wait(self: Any, seconds: float) -> None:
        next(waits, lambda: time.sleep(0.05))()

    monkeypatch.setattr("e2lm_adapters.watch.watcher.Watcher._wait", wait)
    assert watch(run, "--until-idle", 3) == 0
    told = capsys.readouterr()
    assert told.err.count("no such folder") == 1
    assert [line for line in told.out.splitlines() if "in the table" in line]
    assert steps(tmp_path / "watched") == [0, 10]


@pytest.mark.parametrize("once", [True, False])
def test_a_full_disk_is_one_line_and_a_standing_watch_tries_again(
    once: bool,
    quick: list[list[int]],
    live: Path,
    tiny_series: Path,
    tmp_path: Path,
    watch: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    appear(live, tiny_series, 0)
    write, calls = Scores.write, []

    def full(self: Scores, folder: Path, stem: str = "scores") -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / "scores.csv"))
        return write(self, folder, stem)

    monkeypatch.setattr(Scores, "write", full)
    code = watch(live, "--once" if once else "--until-idle=0.3")
    assert capsys.readouterr().err.count("No space left on device") == 1
    assert code == (3 if once else 0)
    assert (tmp_path / "watched" / "scores.csv").is_file() != once


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--model", "e2lm-fh"), "--model: unknown model 'e2lm-fh'. Did you mean 'e2lm-hf'"),
        (("--config", "nowhere"), "no config.json there"),
    ],
)
def test_mistakes_are_told_before_the_first_checkpoint_comes(
    options: tuple[str, str], told: str, live: Path, watch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(live, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in error


def test_tasks_are_loaded_once_for_all_passes(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []

    def load(*arguments: Any) -> Any:
        loads.append(1)
        return load_tasks(*arguments)

    def wait(self: Any, seconds: float) -> None:
        if (tmp_path / "watched" / "scores.csv").is_file() and not (live / "checkpoint-10").exists():
            appear(live, tiny_series, 10)

    monkeypatch.setattr("e2lm_adapters.eval.known.load_tasks", load)
    monkeypatch.setattr("e2lm_adapters.watch.watcher.Watcher._wait", wait)
    monkeypatch.setattr("e2lm_adapters.checkpoints.settling.FRESH_S", 0.0)
    appear(live, tiny_series, 0)
    assert watch(live, "--until-idle", 1, "--quiet") == 0
    assert steps(tmp_path / "watched") == [0, 10]
    assert len(loads) == 2  # before the first checkpoint came, to see mistakes, and for the first of all passes


def test_a_copy_that_keeps_old_times_is_a_change_and_a_clock_that_is_ahead_stalls_nothing_for_ever(
    live: Path, tiny_series: Path
) -> None:
    run, day_s = WatchedRun(str(live), Given(), CheckpointSource()), 24 * 3600
    for step, at_s, idle_s in ((0, time.time() - 3 * day_s, 3 * day_s), (10, time.time() - 2 * day_s, 0)):
        for file in appear(live, tiny_series, step).iterdir():
            os.utime(file, (at_s, at_s))
        assert time.time() - run.look().newest_s == pytest.approx(idle_s, abs=3600)
    os.utime(file, (time.time() + day_s, time.time() + day_s))
    assert run.look().newest_s <= time.time()


@pytest.mark.usefixtures("quick")
def test_a_mount_that_goes_away_takes_no_checkpoint_with_it(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        for place in live.iterdir():
            place.rename(tmp_path / place.name)

    def back() -> None:
        assert record(tmp_path / "watched")["left_out"] == []
        for place in tmp_path.glob("checkpoint-*"):
            place.rename(live / place.name)

    acts = iter([away, back])
    monkeypatch.setattr(
        "e2lm_adapters.watch.watcher.Watcher._wait", lambda *known: next(acts, lambda: time.sleep(0.05))()
    )
    appear(live, tiny_series, 0)
    appear(live, tiny_series, 10, ("config.json",))
    assert watch(live, "--until-idle", 1) == 0
    told = capsys.readouterr()
    assert told.err.count("no checkpoint is there any more") == 1
    assert "missed" not in told.out
    assert list(record(tmp_path / "watched")["unscored"]) == ["tiny-run/checkpoint-10"]
    assert steps(tmp_path / "watched") == [0]


def test_a_mount_that_goes_away_while_a_checkpoint_is_scored_costs_a_look_and_no_checkpoint(
    quick: list[list[int]], live: Path, tiny_series: Path, tmp_path: Path, watch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, place = Scores.write, appear(live, tiny_series, 0)
    scores = iter([FileNotFoundError(errno.ENOENT, "gone"), OSError(errno.ESTALE, "Stale file handle")])

    def fail_at_first(self: Scores, folder: Path, stem: str = "scores") -> Any:
        error = next(scores, None)
        if error is None:
            return write(self, folder, stem)
        if isinstance(error, FileNotFoundError):
            place.rename(tmp_path / "away")
        raise error

    def wait(self: Any, seconds: float) -> None:
        if (tmp_path / "away").exists():
            (tmp_path / "away").rename(place)
        time.sleep(0.05)

    monkeypatch.setattr(Scores, "write", fail_at_first)
    monkeypatch.setattr("e2lm_adapters.watch.watcher.Watcher._wait", wait)
    assert watch(live, "--until-idle", 1) == 0
    assert steps(tmp_path / "watched") == [0]
    assert len(quick) == 3


def test_a_run_that_is_not_there_is_a_mistake_with_once(
    tmp_path: Path, watch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(tmp_path / "nothing", "--once") == 2
    assert "no such folder" in capsys.readouterr().err


def until(condition: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_killed_while_it_scores_it_goes_on_from_what_it_pinned(
    live: Path, tiny_series: Path, task_folder: Path, tmp_path: Path, watch: Run, evaluate: Run, capsys: Any
) -> None:
    """The trainer deletes the checkpoint between the kill and the next watch."""
    appear(live, tiny_series, 10)
    out = tmp_path / "watched"
    command = [sys.executable, "-m", "e2lm", "watch", str(live), "--tasks", "small", "--out", str(out), "--pin"]
    watcher = subprocess.Popen([*command, "--include-path", str(task_folder), "--every", "0.1", *OPTIONS], cwd=ROOT)
    try:
        until((out / "pinned" / "tiny-run" / "10" / "series.json").is_file)
    finally:
        watcher.kill()
        watcher.wait()
    shutil.rmtree(live / "checkpoint-10")
    appear(live, tiny_series, 20, ("config.json",))
    assert watch(live, "--once", "--pin") == 0
    assert "missed" not in capsys.readouterr().out
    assert record(out)["left_out"] == []
    assert not list((out / "pinned").glob("*/*"))
    assert evaluate(tiny_series, "--quiet", "--limit", 4, "--metrics", "margin") == 0
    expected = table(tmp_path / "out")
    own = expected[expected["step"] == 10].reset_index(drop=True)
    names = ["series", "step", "task", "metric", "value", "stderr", "n"]  # the shared run has a series.json as well
    pd.testing.assert_frame_equal(table(out)[names], own[names], check_exact=True)


def test_a_signal_ends_a_standing_watch_and_leaves_nothing_running(
    live: Path, tiny_series: Path, task_folder: Path, tmp_path: Path
) -> None:
    appear(live, tiny_series, 0)
    out = tmp_path / "watched"
    command = [sys.executable, "-m", "e2lm", "watch", str(live), "--tasks", "small", "--out", str(out)]
    watcher = subprocess.Popen(
        [*command, "--include-path", str(task_folder), "--every", "30", *OPTIONS],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until((out / "scores.csv").is_file)
        time.sleep(0.3)  # it waits now
        watcher.send_signal(signal.SIGTERM)
        _, told = watcher.communicate(timeout=20)
    finally:
        watcher.kill()
    assert watcher.returncode == 0
    assert "ended by SIGTERM; the same command goes on" in told
    with pytest.raises(ProcessLookupError):
        os.killpg(watcher.pid, 0)


def log_loss(place: Path, *losses: float) -> None:
    history = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    text = json.dumps({"global_step": len(losses), "log_history": history})
    (place / "trainer_state.json").write_text(text, encoding="utf-8")


def verdicts(out: Path) -> list[tuple[str, int]]:
    lines = (out / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    return [(one["state"], one["step"]) for one in map(json.loads, lines)]


@pytest.mark.usefixtures("quick")
def test_exit_codes_tell_a_stop_before_an_alert_and_an_alert_once(
    live: Path, tiny_series: Path, tmp_path: Path, watch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    place = appear(live, tiny_series, 10)
    log_loss(place, 3.0, 2.9)
    assert watch(live, "--once", "--alert-if", "nan", "--stop-if", "nan") == 0
    log_loss(place, 3.0, 2.9, float("nan"))
    assert watch(live, "--once", "--alert-if", "nan") == 11
    assert watch(live, "--once", "--alert-if", "nan") == 0  # told
    capsys.readouterr()
    assert watch(live, "--once", "--json", "--alert-if", "nan", "--stop-if", "nan") == 10
    (told,) = json.loads(capsys.readouterr().out)["verdicts"]
    assert (told["state"], told["step"], told["rule"], told["series"]) == ("stop", 3, "nan", "tiny-run")
    assert watch(live, "--once", "--stop-if", "nan") == 10  # a stop stays one
    assert verdicts(tmp_path / "watched") == [("alert", 3), ("stop", 3)]


@pytest.mark.usefixtures("quick")
def test_a_standing_watch_goes_on_after_an_alert_and_ends_with_a_stop_where_asked(
    live: Path, tiny_series: Path, watch: Run, plugin_events: list[str]
) -> None:
    log_loss(appear(live, tiny_series, 10), 3.0, float("inf"))
    assert watch(live, "--until-idle", 0.2, "--alert-if", "nan") == 11
    began_s = time.monotonic()
    assert watch(live, "--until-idle", 60, "--stop-if", "nan", "--exit-on-stop") == 10
    assert time.monotonic() - began_s < 30
    assert plugin_events == ["alert nan", "stop nan"]


@pytest.fixture
def plugin_events() -> Any:
    """What a plugin hears of verdicts."""
    from e2lm import hookimpl
    from e2lm.plugin_manager import PluginRecord, plugin_manager

    events: list[str] = []

    class Heard:
        @hookimpl
        def e2lm_on_verdict(self, verdict: Any) -> None:
            events.append(f"{verdict.state} {verdict.rule}")

    heard = Heard()
    plugin_manager().register(heard, PluginRecord("heard", "heard", "1"))
    yield events
    plugin_manager().unregister(heard)
