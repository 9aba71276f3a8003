"""Our formats of result files keep to the contract of plugins', and the contract catches what breaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2lm import ResultFormat
from e2lm.results.formats import BUILT_IN
from e2lm.results.result import TaskResult
from e2lm.scores import ScoreRow
from e2lm_testing import ResultFormatContract
from tests.e2lm_testing.test_contracts import broken_checks


def lighteval(folder: Path) -> Path:
    general = {"model_name": "org/tiny-step10", "max_samples": None}
    results = {"lighteval|arc:easy|5": {"acc": 0.25, "acc_stderr": 0.01}}
    path = folder / "results_2025-08-01T00-00-00.json"
    path.write_text(json.dumps({"config_general": general, "results": results}))
    return path


def olmes(folder: Path) -> Path:
    path = folder / "task-000-arc_easy-metrics.json"
    model = {"model": "tiny", "revision": "step10"}
    path.write_text(json.dumps({"task_name": "arc", "model_config": model, "metrics": {"acc": 0.25}}))
    return path


def trainer_state(folder: Path) -> Path:
    path = folder / "trainer_state.json"
    history = [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.5}]
    path.write_text(json.dumps({"global_step": 20, "log_history": history}))
    return path


def lm_eval(folder: Path) -> Path:
    path = folder / "results_2025-08-01T00-00-00.json"
    arguments = "pretrained=org/tiny,revision=step10"
    data = {"results": {"arc": {"acc,none": 0.25, "acc_stderr,none": 0.01}}, "versions": {"arc": 1}}
    path.write_text(json.dumps({**data, "config": {"model_args": arguments}}))
    return path


def bloom(folder: Path) -> Path:
    path = folder / "tr11_lm-eval_global_step10_2022-07-13-11-29-13.json"
    axb = {"task_name": "axb", "prompt_name": "exam"}
    path.write_text(json.dumps({"results": [{**axb, "acc": 0.25, "acc_stderr": 0.01}, {**axb, "f1": 0.5}]}))
    return path


def events(folder: Path) -> Path:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    path = folder / "events.out.tfevents.1700000000.host"
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in (("eval/arc/acc", 0.25), ("loss", 2.0))]
    with path.open("wb") as handle:
        writer = RecordWriter(handle)
        for event in (
            Event(wall_time=1.0, file_version="brain.Event:2"),
            Event(step=10, summary=Summary(value=values)),
        ):
            writer.write(event.SerializeToString())
        writer.flush()
    return path


def wandb(folder: Path) -> Path:
    path = folder / "run-20250801_120000-ab12" / "files" / "wandb-summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"_step": 10, "_runtime": 1.5, "eval/arc_acc": 0.25, "loss": 2.0}))
    return path


SAMPLES: dict[str, tuple[Callable[[Path], Path], dict[tuple[str, str], float]]] = {
    "lighteval": (lighteval, {("arc:easy", "acc"): 0.25}),
    "olmes": (olmes, {("arc", "acc"): 0.25}),
    "trainer-state": (trainer_state, {("train", "loss"): 1.5}),
    "bloom": (bloom, {("axb", "acc"): 0.25, ("axb", "f1"): 0.5}),
    "tensorboard": (events, {("eval/arc", "acc"): 0.25, ("run", "loss"): 2.0}),
    "wandb": (wandb, {("arc", "acc"): 0.25, ("run", "loss"): 2.0}),
    "lm-eval": (lm_eval, {("arc", "acc"): 0.25}),
}

for one in BUILT_IN:
    if one.name in SAMPLES:
        facts = {"result_format": one, "sample": staticmethod(SAMPLES[one.name][0]), "values": SAMPLES[one.name][1]}
        globals()[f"Test_{one.name}"] = type(f"Test_{one.name}", (ResultFormatContract,), facts)


def test_every_format_of_ours_has_a_sample() -> None:
    assert {one.name for one in BUILT_IN} == set(SAMPLES)


def mine(folder: Path) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps({"mine": {"arc": 0.25, "piqa": 0.5}}))
    return path


def read_mine(file: Any) -> list[TaskResult] | None:
    if not file.has_keys("mine"):
        return None
    rows = [ScoreRow("run", 10, task, "acc", value) for task, value in file.data["mine"].items()]
    return [TaskResult((row,), row.task, "run", 10, file.path, about={"shots": "5"}) for row in rows]


def broken(tmp_path: Path, read: Callable[[Any], Any], **changes: Any) -> set[str]:
    how = {"sample": staticmethod(mine), "values": {("arc", "acc"): 0.25, ("piqa", "acc"): 0.5}}
    contract = type("Contract", (ResultFormatContract,), how)
    mine_format = ResultFormat("mine", "Mine.", read, **{"patterns": ("mine*.json",), **changes})
    return broken_checks(contract, "result_format", mine_format, tmp_path=tmp_path, other="settings", share=0.6)  # type: ignore[arg-type]


def test_a_good_format_breaks_nothing(tmp_path: Path) -> None:
    assert broken(tmp_path, read_mine) == set()


def every(change: Callable[[TaskResult], TaskResult]) -> Callable[[Any], Any]:
    return lambda file: None if (found := read_mine(file)) is None else [change(one) for one in found]


def on_arc(one: TaskResult) -> TaskResult:
    return replace(one, task="arc", rows=(replace(one.rows[0], task="arc"),))


def unchecked(file: Any) -> Any:
    return json.loads(file.path.read_text()) and read_mine(file)


OF_ONE = "test_a_result_and_its_rows_are_of_one_series_task_and_step"


@pytest.mark.parametrize(
    ("read", "changes", "check"),
    [
        (lambda file: (read_mine(file) or [])[:1], {}, "test_every_value_of_its_file_comes_out_once_and_no_other"),
        (lambda file: file.data["mine"] and read_mine(file), {}, "test_a_file_of_somebody_else_is_none_of_its"),
        (unchecked, {}, "test_part_of_a_file_raises_one_line_or_nothing"),
        (every(on_arc), {}, "test_no_two_values_have_one_place"),
        (every(lambda one: replace(one, about={"shots": 5})), {}, OF_ONE),
        (every(lambda one: replace(one, step=20)), {}, OF_ONE),
        (read_mine, {"patterns": ("*",)}, "test_it_is_shown_its_own_files_by_their_names_and_not_all_files"),
    ],
)  # fmt: skip
def test_a_format_is_caught(read: Any, changes: dict[str, Any], check: str, tmp_path: Path) -> None:
    assert check in broken(tmp_path, read, **changes)
