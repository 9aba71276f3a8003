from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from e2lm import hookimpl
from e2lm.atomic_file import partial_prefix
from e2lm.plugin_manager import PluginRecord, plugin_manager
from e2lm.results import read_scores
from e2lm.samples import read_samples
from e2lm.weights import SINGLE_FILE
from e2lm_adapters.eval.store import EvaluationStore
from tests.e2lm_adapters.conftest import ITEMS, ROOT, STEPS, Run, no_model_is_built, write_task


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


# -- what comes out -----------------------------------------------------------------------------------------------


def test_every_checkpoint_gets_the_scores_that_stock_lm_eval_gives_it(
    tiny_series: Path, task_folder: Path, tmp_path: Path, evaluate: Run
) -> None:
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    assert evaluate(tiny_series, "--quiet") == 0
    manager = TaskManager(include_path=str(task_folder), include_defaults=False)
    found = read_scores(tmp_path / "out").scores.frame.set_index(["metric", "step"])["value"]
    samples = {one.step: one for one in read_samples(tmp_path / "out" / "samples")}
    assert sorted(samples) == list(STEPS)
    for step in STEPS:
        stock = HFLM(str(tiny_series / f"checkpoint-{step}"), device="cpu", dtype="float32", batch_size=8)
        results = simple_evaluate(stock, tasks=["small"], task_manager=manager, bootstrap_iters=0)
        for metric in ("acc", "acc_norm", "acc_bytes"):
            assert found[metric, step] == results["results"]["small"][f"{metric},none"]
        logged = sorted(results["samples"]["small"], key=lambda item: item["doc_id"])
        expected = [[answer[0] for answer in item["filtered_resps"]] for item in logged]
        np.testing.assert_allclose(samples[step].choices.loglik_IC, expected, rtol=0, atol=1e-4)
        flags = [[answer[1] for answer in item["filtered_resps"]] for item in logged]
        np.testing.assert_array_equal(samples[step].greedy_IC, flags)


def test_files_of_lm_eval_and_the_table_tell_the_same(tiny_series: Path, tmp_path: Path, evaluate: Run) -> None:
    assert evaluate(tiny_series, "--quiet") == 0
    out = tmp_path / "out"
    table = read_scores(out).scores.frame
    assert set(table["n"]) == {ITEMS}
    np.testing.assert_array_equal(table["tokens"], table["step"] * 1024.0)
    assert {"acc", "acc_norm", "correct_prob", "margin"} <= set(table["metric"])
    key = ["series", "task", "metric", "step"]
    as_csv = read_scores(out / "scores.csv").scores.frame
    np.testing.assert_array_equal(as_csv["value"], table["value"])
    for name in ("scores.parquet", "scores.csv"):
        (out / name).unlink()
    source = read_scores(out)
    assert source.layout == "lm-eval"
    both = source.scores.frame.merge(table, on=key, suffixes=("", "_table"))
    assert set(both["step"]) == set(STEPS)
    assert {"acc", "acc_norm", "acc_bytes"} <= set(both["metric"])
    np.testing.assert_allclose(both["value"], both["value_table"], rtol=1e-12, atol=1e-12)
    for step in STEPS:
        place = out / "tiny-run" / f"checkpoint-{step}"
        (samples,) = place.glob("samples_small_*.jsonl")
        lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        assert sorted(line["doc_id"] for line in lines) == list(range(ITEMS))
        assert len(list(place.glob("results_*.json"))) == 1


def test_what_was_run_is_recorded_beside_the_result(tiny_series: Path, tmp_path: Path, evaluate: Run) -> None:
    assert evaluate(tiny_series, "--quiet", "--limit", 3) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert record["command"] == "eval"
    assert record["finished"] is True
    assert record["config"]["limit"] == 3
    assert {f"weights:tiny-run:{step}" for step in STEPS} | {"task:small"} == set(record["hashes"])
    assert {"torch", "transformers", "lm_eval"} <= set(record["versions"])


def test_json_prints_the_table(
    tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tiny_series, "--json", "--limit", 4, "--metrics", "margin") == 0
    rows = json.loads(capsys.readouterr().out)["scores"]
    assert "margin" in {row["metric"] for row in rows}
    assert {row["n"] for row in rows} == {4}
    assert all(math.isfinite(row["value"]) for row in rows if row["metric"] == "margin")


def test_several_runs_are_evaluated_into_one_table(
    run_folder: Path, tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    other = tmp_path / "other"
    run_folder.rename(other)
    described = json.loads((other / "series.json").read_text(encoding="utf-8"))
    (other / "series.json").write_text(json.dumps({**described, "name": "other"}), encoding="utf-8")
    assert evaluate(tiny_series, other, "--quiet", "--limit", 4) == 0
    table = read_scores(tmp_path / "out").scores.frame
    assert set(table["series"]) == {"tiny-run", "other"}
    values = table.pivot_table(index=["metric", "step"], columns="series", values="value")
    np.testing.assert_array_equal(values["tiny-run"], values["other"])


def test_item_metrics_are_the_same_whether_lm_eval_or_samples_give_them(
    tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    assert evaluate(tiny_series, "--quiet") == 0
    table = read_scores(tmp_path / "out").scores.frame.set_index(["metric", "step"])
    for one in read_samples(tmp_path / "out" / "samples"):
        wrong = one.choices.without_gold(one.choices.loglik_IC)
        margin_I = one.choices.gold_loglik_I - np.nanmax(wrong, axis=1)
        row = table.loc[("margin", one.step)]
        assert row["value"] == pytest.approx(margin_I.mean(), rel=1e-9)
        assert row["stderr"] == pytest.approx(margin_I.std(ddof=1) / math.sqrt(ITEMS), rel=1e-9)


# -- nothing twice ------------------------------------------------------------------------------------------------


def test_a_finished_evaluation_is_not_done_again(
    tiny_series: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(tiny_series, "--quiet") == 0
    before = everything_below(tmp_path / "out")
    no_model_is_built(monkeypatch)
    assert evaluate(tiny_series, "--quiet") == 0
    after = everything_below(tmp_path / "out")
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} <= {"run.json"}


def evaluated_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    """Filled with step and tasks of every checkpoint that is really scored."""
    from e2lm_adapters.eval.evaluator import CheckpointEvaluator

    scored: list[tuple[int, tuple[str, ...]]] = []
    evaluate_one = CheckpointEvaluator.evaluate

    def counted(self: Any, piece: Any, *rest: Any) -> None:
        scored.append((piece.checkpoint.step, piece.missing))
        evaluate_one(self, piece, *rest)

    monkeypatch.setattr(CheckpointEvaluator, "evaluate", counted)
    return scored


def test_only_the_checkpoint_whose_weights_changed_is_scored_again(
    run_folder: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(run_folder, "--quiet") == 0
    before = read_scores(tmp_path / "out").scores.frame
    file = run_folder / "checkpoint-20" / SINGLE_FILE
    save_file({name: tensor * 1.5 for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    scored = evaluated_steps(monkeypatch)
    assert evaluate(run_folder, "--quiet") == 0
    assert scored == [(20, ("small",))]
    after = read_scores(tmp_path / "out").scores.frame
    assert set(before["step"][before["value"] != after["value"]]) == {20}


def test_only_the_task_that_changed_is_scored_again(
    tiny_series: Path, task_folder: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(task_folder, "second", seed=9)
    assert evaluate(tiny_series, "--quiet", tasks="small,second") == 0
    write_task(task_folder, "second", seed=10)
    scored = evaluated_steps(monkeypatch)
    assert evaluate(tiny_series, "--quiet", tasks="small,second") == 0
    assert scored == [(step, ("second",)) for step in STEPS]


def test_a_new_checkpoint_is_added_to_what_is_there(
    run_folder: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_folder / "series.json").unlink()
    late = tmp_path / "checkpoint-30"
    (run_folder / "checkpoint-30").rename(late)
    assert evaluate(run_folder, "--quiet", "--tokens-per-step", 1024) == 0
    late.rename(run_folder / "checkpoint-30")
    scored = evaluated_steps(monkeypatch)
    assert evaluate(run_folder, "--quiet", "--tokens-per-step", 1024) == 0
    assert scored == [(30, ("small",))]
    assert set(read_scores(tmp_path / "out").scores.frame["step"]) == set(STEPS)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_bytes_of_a_straight_run(
    tiny_series: Path, task_folder: Path, tmp_path: Path, evaluate: Run
) -> None:
    assert evaluate(tiny_series, "--quiet", out=tmp_path / "straight") == 0
    expected = (tmp_path / "straight" / "scores.csv").read_bytes()
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "e2lm", "eval", str(tiny_series), "--tasks", "small", "--out", str(out)]
    command += ["--include-path", str(task_folder), "--device", "cpu", "--model-args", "dtype=float32", "--quiet"]
    rng = np.random.default_rng()
    wanted = int(rng.integers(0, len(STEPS)))
    delay_s = float(rng.uniform(0, 0.05))
    running = subprocess.Popen(command, cwd=ROOT, env=os.environ)
    while running.poll() is None and len(list(out.glob("units/*/*.json"))) < wanted:
        time.sleep(0.001)
    time.sleep(delay_s)
    running.send_signal(signal.SIGKILL)
    running.wait()
    told = f"killed after {wanted} checkpoints and {delay_s:.4f} s"
    assert evaluate(tiny_series, "--quiet", out=out) == 0, told
    assert (out / "scores.csv").read_bytes() == expected, told
    assert not [file for file in out.rglob("*") if ".partial-" in file.name], told


def test_what_a_worker_that_died_on_the_way_was_writing_is_gone_when_the_command_ends(
    tiny_series: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = EvaluationStore.keep
    left = f"{partial_prefix().rpartition('.')[0]}.1-checkpoint-10.parquet"  # a process of our number, long ago

    def kept(store: EvaluationStore, units: Any) -> None:
        keep(store, units)
        (store.folder / "samples" / "tiny-run" / left).touch()

    monkeypatch.setattr(EvaluationStore, "keep", kept)
    assert evaluate(tiny_series, "--quiet") == 0
    assert not [file for file in (tmp_path / "out").rglob("*") if ".partial-" in file.name]


# -- plugins ------------------------------------------------------------------------------------------------------


class Watcher:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    @hookimpl
    def e2lm_after_checkpoint_scored(self, series: Any, checkpoint: Any, scores: Any) -> None:
        self.seen.append((series.name, checkpoint.step, len(scores)))


class Breaker:
    @hookimpl
    def e2lm_after_checkpoint_scored(self, checkpoint: Any) -> None:
        raise RuntimeError(f"no room for {checkpoint.step}")


@pytest.fixture
def registered() -> Any:
    """Registers a plugin for one test."""
    manager = plugin_manager()
    added: list[tuple[object, PluginRecord]] = []

    def register(plugin: object, name: str) -> None:
        record = PluginRecord(name=name, distribution="tests", version="1")
        manager.register(plugin, record)
        added.append((plugin, record))

    yield register
    for plugin, record in added:
        manager._pluggy.unregister(plugin)
        manager.records.remove(record)


def test_plugins_hear_of_every_checkpoint_once(tiny_series: Path, evaluate: Run, registered: Any) -> None:
    watcher = Watcher()
    registered(watcher, "watcher")
    assert evaluate(tiny_series, "--quiet", "--limit", 4) == 0
    assert [(name, step) for name, step, _ in watcher.seen] == [("tiny-run", step) for step in STEPS]
    assert len({count for _, _, count in watcher.seen}) == 1
    assert evaluate(tiny_series, "--quiet", "--limit", 4) == 0
    assert len(watcher.seen) == len(STEPS)


def test_a_plugin_that_raises_costs_a_warning_only(
    tiny_series: Path, tmp_path: Path, evaluate: Run, registered: Any
) -> None:
    registered(Breaker(), "breaker")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert evaluate(tiny_series, "--quiet", "--limit", 4) == 0
    told = [str(one.message) for one in caught if "'breaker'" in str(one.message)]
    assert [message.rsplit(maxsplit=1)[-1] for message in told] == [str(step) for step in STEPS]
    assert "failed in e2lm_after_checkpoint_scored: RuntimeError: no room for 0" in told[0]
    assert set(read_scores(tmp_path / "out").scores.frame["step"]) == set(STEPS)
