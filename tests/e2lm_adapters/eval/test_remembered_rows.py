"""Rows are taken from the table as long as nothing that they were made of has changed, and made again at any doubt."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from e2lm import ItemMetric, hookimpl
from e2lm.plugin_manager import PluginRecord, plugin_manager
from e2lm.samples import Samples
from e2lm_adapters.eval import remembered_rows
from e2lm_adapters.eval.store import EvaluationStore, Unit
from e2lm_adapters.lm_eval import sources
from tests.e2lm_adapters.conftest import STEPS, Run


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps whose Samples were read; files count as old at once."""
    steps: list[int] = []
    samples = EvaluationStore.samples

    def noted(self: EvaluationStore, unit: Unit) -> Samples | None:
        steps.append(unit.step)
        return samples(self, unit)

    monkeypatch.setattr(EvaluationStore, "samples", noted)
    monkeypatch.setattr(sources, "RACY_S", -1.0)
    monkeypatch.setattr(remembered_rows, "BEGAN_S", time.time() + 3600)
    return steps


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the source of our metrics."""
    file = tmp_path / "item_metrics.py"
    file.write_text("accuracy = 1\n", encoding="utf-8")
    monkeypatch.setattr(remembered_rows, "_own_code", lambda: [file])
    return file


@contextmanager
def strange_plugin(values: Callable[[int], np.ndarray]) -> Iterator[None]:
    """A plugin of others with a metric."""

    class Plugin:
        @hookimpl
        def e2lm_register_metrics(self) -> list[ItemMetric]:
            return [ItemMetric("strange", "Of others.", lambda choices: values(len(choices)))]

    plugin = Plugin()
    plugin_manager().register(plugin, PluginRecord("strange", "others", "1"))
    try:
        yield
    finally:
        plugin_manager().unregister(plugin)


def test_a_finished_command_reads_no_samples_until_something_has_changed(
    tiny_series: Path, tmp_path: Path, evaluate: Run, read: list[int], code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    table = out / "scores.parquet"

    def run(*options: object) -> list[int]:
        read.clear()
        assert evaluate(tiny_series, "--quiet", *options) == 0
        return sorted(read)

    assert run() == list(STEPS)
    right = table.read_bytes()
    samples = sorted((out / "units").rglob("*.parquet"))

    def source_of_a_metric() -> None:
        code.write_text("accuracy = 2\n", encoding="utf-8")

    def source_with_its_time_set_back() -> None:
        before = code.stat()
        code.write_text("accuracy = 3\n", encoding="utf-8")
        os.utime(code, ns=(before.st_atime_ns, before.st_mtime_ns))

    def table_by_hand() -> None:
        frame = pd.read_parquet(table)
        frame["value"] = 0.5
        frame.to_parquet(table, index=False)

    def version_of_numpy() -> None:
        monkeypatch.setattr(np, "__version__", "another")

    for change in (source_of_a_metric, source_with_its_time_set_back, table_by_hand, version_of_numpy):
        assert run() == [], change.__name__
        assert table.read_bytes() == right
        time.sleep(0.02)
        change()
        assert run() == list(STEPS), change.__name__
        assert table.read_bytes() == right
    assert run() == []
    samples[0].touch()
    assert len(run()) == 1
    assert run() == []
    assert run("--metrics", "margin") == list(STEPS)
    assert table.read_bytes() != right
    assert run("--metrics", "margin") == []
    assert run() == list(STEPS)
    assert table.read_bytes() == right
    assert run() == []


def test_a_metric_of_others_is_asked_every_time(
    tiny_series: Path, tmp_path: Path, evaluate: Run, read: list[int]
) -> None:
    for value in (1.0, 2.0):  # what it reads beside its code has changed
        with strange_plugin(lambda items, value=value: np.full(items, value)):  # type: ignore[misc]
            assert evaluate(tiny_series, "--quiet") == 0
        frame = pd.read_parquet(tmp_path / "out" / "scores.parquet")
        assert set(frame[frame["metric"] == "strange"]["value"]) == {value}
    read.clear()
    assert evaluate(tiny_series, "--quiet") == 0
    assert read, "the table had rows of a plugin that is gone"
    assert "strange" not in set(pd.read_parquet(tmp_path / "out" / "scores.parquet")["metric"])


@pytest.mark.usefixtures("read")
def test_code_younger_than_this_process_is_not_trusted(
    tiny_series: Path, evaluate: Run, read: list[int], code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_rows, "BEGAN_S", time.time() - 60)
    code.touch()
    for _ in range(2):
        read.clear()
        assert evaluate(tiny_series, "--quiet") == 0
        assert read
