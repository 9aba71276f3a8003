"""Each checkpoint reaches a tracker once, whatever happens, and a tracker costs the evaluation nothing."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2lm.command_line import main
from e2lm.plugin_manager import plugin_manager
from e2lm.results import read_scores
from e2lm.scores import ScoreRow
from e2lm_adapters.trackers import tracker as series_tracker
from e2lm_adapters.trackers.run import TrackedPoint
from e2lm_adapters.trackers.tracker import ledger_path
from tests.e2lm_adapters.conftest import ROOT, STEPS, Run, no_model_is_built, write_task

OPTIONS = ("--quiet", "--limit", 4, "--metrics", "margin")


class Logbook:
    """A tracker that remembers what it was told, and breaks when it is told to."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str]] = []
        self.points: list[tuple[str, TrackedPoint, bool]] = []
        self.closed = 0
        self.breaks_at: int | None = None

    def __call__(self, out: Path, series: Any, run_id: str) -> Any:
        """Open a run; only the newest is open at a time."""
        self.opened.append((series.name, run_id))
        return self

    def log(self, point: TrackedPoint, repeated: bool) -> None:
        if len(self.points) == self.breaks_at:
            raise ConnectionError("no route\n to host")
        self.points.append((self.opened[-1][1], point, repeated))

    def close(self) -> None:
        self.closed += 1

    @property
    def steps(self) -> list[int]:
        return [point.step for _, point, _ in self.points]


@pytest.fixture
def logbook(monkeypatch: pytest.MonkeyPatch) -> Logbook:
    book = Logbook()
    monkeypatch.setitem(series_tracker.TRACKERS, "json", lambda: book)  # named as a module that is installed
    return book


def expected_values(out: Path) -> dict[str, dict[int, float]]:
    """What a tracker has to be told: by ``task/metric`` and ``task/metric_stderr``, by step."""
    found: dict[str, dict[int, float]] = {}
    for row in read_scores(out).scores.rows():
        for name, value in ((row.metric, row.value), (f"{row.metric}_stderr", row.stderr)):
            if math.isfinite(value):
                found.setdefault(f"{row.task}/{name}", {})[row.step] = value
    assert "small/margin" in found
    assert "small/acc_stderr" in found
    return found


def warned(text: str) -> list[str]:
    assert "Traceback" not in text
    return [line for line in text.splitlines() if line.startswith("e2lm: warning:")]


def test_a_tracker_is_told_every_value_of_every_checkpoint_with_step_and_tokens(
    tiny_series: Path, tmp_path: Path, evaluate: Run, logbook: Logbook
) -> None:
    before = list(plugin_manager().records)
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "json") == 0
    assert [(point.number, point.step, point.tokens) for _, point, _ in logbook.points] == [
        (number, step, step * 1024) for number, step in enumerate(STEPS)
    ]
    told: dict[str, dict[int, float]] = {}
    for _, point, repeated in logbook.points:
        assert not repeated
        for name, value in point.values.items():
            told.setdefault(name, {})[point.step] = value
    assert told == expected_values(tmp_path / "out")
    assert (len(logbook.opened), logbook.closed) == (1, 1)
    assert plugin_manager().records == before


def test_a_resumed_evaluation_goes_on_with_the_run_and_tells_nothing_twice(
    run_folder: Path, task_folder: Path, evaluate: Run, logbook: Logbook, tmp_path: Path
) -> None:
    (run_folder / "series.json").unlink()
    late = tmp_path / "checkpoint-30"
    (run_folder / "checkpoint-30").rename(late)
    options = (*OPTIONS, "--tokens-per-step", 1024, "--log-to", "json")
    assert evaluate(run_folder, *options) == 0
    late.rename(run_folder / "checkpoint-30")
    assert evaluate(run_folder, *options) == 0
    assert logbook.steps == list(STEPS)
    assert evaluate(run_folder, *options) == 0
    assert logbook.steps == list(STEPS)
    write_task(task_folder, "second", seed=9)
    assert evaluate(run_folder, *options, tasks="small,second") == 0
    added = logbook.points[len(STEPS) :]
    assert [point.step for _, point, _ in added] == list(STEPS)
    assert {name.partition("/")[0] for _, point, _ in added for name in point.values} == {"second"}
    assert [point.number for _, point, _ in logbook.points] == list(range(2 * len(STEPS)))
    assert len({run_id for _, run_id in logbook.opened}) == 1


def test_every_series_is_a_run_of_its_own_wherever_the_work_is_done(
    run_folder: Path, tiny_series: Path, tmp_path: Path, evaluate: Run, logbook: Logbook
) -> None:
    other = tmp_path / "other"
    run_folder.rename(other)
    described = json.loads((other / "series.json").read_text(encoding="utf-8"))
    (other / "series.json").write_text(json.dumps({**described, "name": "other"}), encoding="utf-8")
    assert evaluate(tiny_series, other, *OPTIONS, "--log-to", "json", "--jobs", 2) == 0
    names = {run_id: name for name, run_id in logbook.opened}
    assert sorted(names.values()) == ["other", "tiny-run"]
    told = sorted((names[run_id], point.step) for run_id, point, _ in logbook.points)
    assert told == [(name, step) for name in ("other", "tiny-run") for step in STEPS]


def test_what_was_scored_without_a_tracker_is_told_later_without_scoring(
    tiny_series: Path, evaluate: Run, logbook: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(tiny_series, *OPTIONS) == 0
    assert logbook.points == []
    no_model_is_built(monkeypatch)
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "json") == 0
    assert logbook.steps == list(STEPS)


def test_a_point_begun_by_a_process_that_died_is_told_again_under_its_number(
    tiny_series: Path, tmp_path: Path, evaluate: Run, logbook: Logbook
) -> None:
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "json") == 0
    path = ledger_path(tmp_path / "out", "json")
    ledger = json.loads(path.read_text(encoding="utf-8"))
    ledger["runs"]["tiny-run"]["points"][2]["finished"] = False
    path.write_text(json.dumps(ledger), encoding="utf-8")
    first = logbook.points[2][1]
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "json") == 0
    assert logbook.points[len(STEPS) :] == [(logbook.opened[0][1], first, True)]


def test_a_tracker_that_fails_costs_one_line_and_is_told_the_rest_next_time(
    tiny_series: Path, tmp_path: Path, evaluate: Run, logbook: Logbook, capsys: pytest.CaptureFixture[str]
) -> None:
    logbook.breaks_at = 1
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "json") == 0
    (line,) = warned(capsys.readouterr().err)
    assert "--log-to json: ConnectionError: no route to host" in line
    assert set(read_scores(tmp_path / "out").scores.frame["step"]) == set(STEPS)
    assert logbook.steps == [0]
    logbook.breaks_at = None
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "json") == 0
    assert logbook.steps == list(STEPS)
    # Whether it had come is not known at this end, so the tracker hears that it may have.
    assert [repeated for _, _, repeated in logbook.points] == [False, True, False, False]
    assert warned(capsys.readouterr().err) == []


def test_a_damaged_ledger_is_one_line_too(
    tiny_series: Path, tmp_path: Path, evaluate: Run, logbook: Logbook, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ledger_path(tmp_path / "out", "json")
    path.parent.mkdir(parents=True)
    path.write_text('{"runs"', encoding="utf-8")
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "json") == 0
    (line,) = warned(capsys.readouterr().err)
    assert str(path) in line
    assert "not valid JSON" in line
    assert logbook.points == []


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ("tensorbord", ("unknown tracker 'tensorbord'", "Did you mean 'tensorboard'?")),
        ("json,wandb", ("--log-to wandb: not installed", "pip install 'e2lm[wandb]'")),
        (",", ("--log-to: no name given",)),
    ],
)
def test_a_tracker_that_is_not_there_is_named_before_any_work(
    names: str,
    parts: tuple[str, ...],
    tiny_series: Path,
    tmp_path: Path,
    evaluate: Run,
    logbook: Logbook,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = series_tracker.find_spec
    monkeypatch.setattr(series_tracker, "find_spec", lambda name: None if name == "wandb" else there(name))
    assert evaluate(tiny_series, *OPTIONS, "--log-to", names) == 2
    err = capsys.readouterr().err
    assert all(part in err for part in parts), err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_every_tracker_has_an_extra_of_its_name(repository: Path) -> None:
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in series_tracker.TRACKERS:
        assert any(one.startswith(name) for one in project["optional-dependencies"][name])


def test_the_tracker_of_a_stranger_hears_of_every_checkpoint(
    tiny_series: Path, task_folder: Path, tmp_path: Path, repository: Path
) -> None:
    page = (repository / "docs" / "trackers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "chat.py").write_text(code, encoding="utf-8")
    command = ["--plugin", tmp_path / "chat.py", "eval", tiny_series, "--tasks", "small", "--out", tmp_path / "out"]
    command += ["--include-path", task_folder, "--device", "cpu", "--quiet", "--limit", 4]
    done = subprocess.run(
        [sys.executable, "-m", "e2lm", *map(str, command)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "chat.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split()[:2] for line in told] == [["tiny-run", str(step)] for step in STEPS]


# -- TensorBoard ---------------------------------------------------------------------------------------------------


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows for the run in ``folder``."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_shows_every_score_over_steps_and_over_tokens(
    tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "out"
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "tensorboard") == 0
    assert [one.name for one in (out / "tensorboard").iterdir()] == ["tiny-run"]
    expected: dict[str, list[tuple[int, float]]] = {}
    for name, values in expected_values(out).items():
        expected[name] = [(step, pytest.approx(value, rel=1e-6)) for step, value in sorted(values.items())]
        expected[f"by_tokens/{name}"] = [(step * 1024, value) for step, value in expected[name]]
    assert scalars(out / "tensorboard" / "tiny-run") == expected
    # A process that died after writing a point and before noting it leaves nothing twice.
    path = ledger_path(out, "tensorboard")
    path.write_text(path.read_text(encoding="utf-8").replace('"finished": true', '"finished": false'), encoding="utf-8")
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "tensorboard") == 0
    assert scalars(out / "tensorboard" / "tiny-run") == expected


@pytest.mark.slow
def test_a_run_killed_at_any_moment_leaves_every_point_once(
    tiny_series: Path, task_folder: Path, tmp_path: Path, evaluate: Run
) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "out"
    options = ["--quiet", "--limit", "4", "--log-to", "tensorboard"]
    command = [sys.executable, "-m", "e2lm", "eval", str(tiny_series), "--tasks", "small", "--out", str(out)]
    command += ["--include-path", str(task_folder), "--device", "cpu", "--model-args", "dtype=float32", *options]
    rng = np.random.default_rng()
    wanted, delay_s = int(rng.integers(0, len(STEPS))), float(rng.uniform(0, 0.05))
    running = subprocess.Popen(command, cwd=ROOT, env=os.environ)
    while running.poll() is None and len(list(out.glob("tensorboard/*/events*"))) < wanted:
        time.sleep(0.001)
    time.sleep(delay_s)
    running.send_signal(signal.SIGKILL)
    running.wait()
    told = f"killed after {wanted} points and {delay_s:.4f} s"
    assert evaluate(tiny_series, *options) == 0, told
    shown = scalars(out / "tensorboard" / "tiny-run")
    for name, values in expected_values(out).items():
        expected = [(step, pytest.approx(value, rel=1e-6)) for step, value in sorted(values.items())]
        assert sorted(shown[name]) == expected, told


# -- Weights & Biases ----------------------------------------------------------------------------------------------

LEVELDB_BLOCK = 32768
LEVELDB_HEADER = 7


def wandb_records(file: Path) -> Iterator[Any]:
    """Records of an offline run: a header of 7 bytes, then LevelDB's log format (CRC 4, length 2, type 1)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, whole = file.read_bytes(), 7, b""
    while position + LEVELDB_HEADER <= len(data):
        if LEVELDB_BLOCK - position % LEVELDB_BLOCK < LEVELDB_HEADER:
            position += LEVELDB_BLOCK - position % LEVELDB_BLOCK
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        whole += data[position + LEVELDB_HEADER : position + LEVELDB_HEADER + length]
        position += LEVELDB_HEADER + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(whole)
            whole = b""


def wandb_history(file: Path) -> list[dict[str, Any]]:
    rows = [record.history for record in wandb_records(file) if record.HasField("history")]
    return [{".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item} for row in rows]


@pytest.fixture
def wandb_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it reads its settings once per process
    for variable in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    wandb.teardown()


def wandb_files(out: Path) -> list[Path]:
    return sorted(one for one in out.glob("wandb/offline-run-*/run-*.wandb"))


@pytest.mark.slow
def test_wandb_gets_one_run_with_steps_and_tokens_that_is_continued(
    run_folder: Path, tmp_path: Path, evaluate: Run, wandb_offline: None
) -> None:
    (run_folder / "series.json").unlink()
    late = tmp_path / "checkpoint-30"
    (run_folder / "checkpoint-30").rename(late)
    options = (*OPTIONS, "--tokens-per-step", 1024, "--log-to", "wandb")
    assert evaluate(run_folder, *options) == 0
    late.rename(run_folder / "checkpoint-30")
    assert evaluate(run_folder, *options) == 0
    assert evaluate(run_folder, *options) == 0
    first, second = wandb_files(tmp_path / "out")
    assert first.name == second.name
    rows = wandb_history(first) + wandb_history(second)
    assert [(row["_step"], row["step"], row["tokens"]) for row in rows] == [
        (number, step, step * 1024) for number, step in enumerate(STEPS)
    ]
    for name, values in expected_values(tmp_path / "out").items():
        assert {row["step"]: row[name] for row in rows if name in row} == values
    (run,) = (record.run for record in wandb_records(first) if record.HasField("run"))
    assert (run.display_name, run.project) == ("tiny-run", "e2lm")
    metrics = {record.metric.glob_name: record.metric.step_metric for record in wandb_records(first)}
    assert metrics["*"] == "tokens"


@pytest.mark.slow
@pytest.mark.parametrize(("key", "told"), [("", "not logged in; `wandb login`"), ("a" * 40, "--log-to wandb: ")])
def test_without_a_network_or_a_login_wandb_costs_one_line(
    key: str,
    told: str,
    tiny_series: Path,
    tmp_path: Path,
    evaluate: Run,
    wandb_offline: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    assert evaluate(tiny_series, *OPTIONS, "--log-to", "wandb") == 0
    (line,) = warned(capfd.readouterr().err)
    assert told in line
    assert set(read_scores(tmp_path / "out").scores.frame["step"]) == set(STEPS)


# -- Trackio -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trackio_gets_one_run_per_series_and_nothing_twice(
    tiny_series: Path, task_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trackio")
    out = tmp_path / "out"
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "TRACKIO_PROJECT": "here"}
    environment.pop("TRACKIO_SPACE_ID", None)

    def ran(*command: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert warned(done.stderr) == []
        return done.stdout

    command = ["-m", "e2lm", "eval", tiny_series, "--tasks", "small", "--out", out, "--include-path", task_folder]
    command += ["--device", "cpu", *OPTIONS, "--log-to", "trackio"]
    assert ran(*command) == ""
    path = ledger_path(out, "trackio")
    path.write_text(path.read_text(encoding="utf-8").replace('"finished": true', '"finished": false'), encoding="utf-8")
    ran(*command)
    shown = ran(
        "-c",
        "import json; from trackio.sqlite_storage import SQLiteStorage as store\n"
        "(run,) = store.get_runs('here')\nprint(json.dumps([run, store.get_logs('here', run)]))",
    )
    name, logs = json.loads(shown)
    assert name.startswith("tiny-run-")
    assert [(one["step"], one["tokens"]) for one in logs] == [(step, step * 1024) for step in STEPS]
    for metric, values in expected_values(out).items():
        assert {one["step"]: one[metric] for one in logs if metric in one} == values


def test_a_dry_run_logs_nothing(tiny_series: Path, tmp_path: Path, evaluate: Run, logbook: Logbook) -> None:
    assert evaluate(tiny_series, "--dry-run", "--json", "--log-to", "json") == 0
    assert logbook.opened == []
    assert main(["eval", str(tiny_series), "--tasks", "x", "--out", str(tmp_path), "--log-to", "nothing"]) == 2


def test_a_single_score_without_error_or_tokens_is_a_point_too() -> None:
    row = ScoreRow("run", 500, "task", "acc", 0.25)
    assert series_tracker._point(3, [row]) == TrackedPoint(3, 500, None, {"task/acc": 0.25})
    known = ScoreRow("run", 500, "task", "acc", 0.25, stderr=0.01, tokens=1e6 + 0.4)
    values = {"task/acc": 0.25, "task/acc_stderr": 0.01}
    assert series_tracker._point(0, [known]) == TrackedPoint(0, 500, 1_000_000, values)
