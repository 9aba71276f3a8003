"""Rows of groups are lm-eval's own numbers to the last bit, also where tasks were done in another run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.group import Group
from lm_eval.config.group import AggMetricConfig

from e2lm.results import read_scores
from e2lm.scores import ScoreRow
from e2lm_adapters.eval.rows import group_rows
from e2lm_adapters.eval.store import StockMetric, Unit
from e2lm_adapters.lm_eval.tasks import _group_facts
from tests.e2lm_adapters.conftest import Run, write_task
from tests.e2lm_adapters.eval.test_not_finite import overflow

GROUP = """\
group: both
task: [small, {{group: inner, task: [second, third], aggregate_metric_list: [{{metric: acc, weight_by_size: false}}]}}]
aggregate_metric_list:
  - {{metric: acc, weight_by_size: {by_size}}}
  - {{metric: acc_norm, weight_by_size: true, filter_list: none}}
metadata: {{version: 1}}
"""


@pytest.fixture
def grouped(task_folder: Path) -> Path:
    """``both``: three tasks of different sizes, two of them in a group of their own."""
    write_task(task_folder, "second", seed=9, items=7)
    write_task(task_folder, "third", seed=10, items=31)
    (task_folder / "both.yaml").write_text(GROUP.format(by_size="true"), encoding="utf-8")
    return task_folder


def told_by_lm_eval(out: Path) -> dict[tuple[int, str, str], tuple[float, float]]:
    """(step, group, metric) -> value and standard error, from the files of results."""
    found = {}
    for file in sorted(out.rglob("results_*.json")):
        data = json.loads(file.read_text(encoding="utf-8"))
        for group, values in data.get("groups", {}).items():
            for key, value in values.items():
                metric, comma, name = key.partition(",")
                if comma and not metric.endswith("_stderr"):
                    stderr = values[f"{metric}_stderr,{name}"]
                    found[data["e2lm"]["step"], group, metric] = (value, stderr)
    return found


def in_the_table(out: Path) -> dict[tuple[int, str, str], tuple[float, float]]:
    rows = read_scores(out).scores.rows()
    groups = [row for row in rows if row.task not in ("small", "second", "third")]
    return {(row.step, row.task, row.metric): (row.value, row.stderr) for row in groups}


def test_a_group_has_the_numbers_of_lm_evals_own_file_however_its_tasks_were_done(
    tiny_series: Path, grouped: Path, tmp_path: Path, evaluate: Run
) -> None:
    options = ("--quiet", "--tasks-per-unit", 1)
    assert evaluate(tiny_series, "--quiet", tasks="both") == 0
    expected = told_by_lm_eval(tmp_path / "out")
    assert {group for _, group, _ in expected} == {"both", "both::inner"}
    assert in_the_table(tmp_path / "out") == expected
    # Some of the tasks in an earlier run: lm-eval's file of the second has no group at all.
    later = tmp_path / "later"
    assert evaluate(tiny_series, *options, tasks="third,small", out=later) == 0
    assert in_the_table(later) == {}
    assert evaluate(tiny_series, *options, tasks="both", out=later) == 0
    found = in_the_table(later)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([*found.values()], [expected[key] for key in found], rtol=1e-12)
    assert {row.n for row in read_scores(later).scores.rows() if row.task == "both"} == {24 + 7 + 31}


def test_a_group_with_a_task_that_is_not_finite_has_no_row_and_is_named(
    run_folder: Path, grouped: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    overflow(run_folder / "checkpoint-20")
    assert evaluate(run_folder, "--quiet", tasks="both") == 0
    assert {step for step, _, _ in in_the_table(tmp_path / "out")} == {0, 10, 30}
    assert "left out: tiny-run step 20" in capsys.readouterr().err


class _Leaf:
    def __init__(self, name: str) -> None:
        self.task_name = name


class _Leaves(Group):
    """A group of lm-eval whose tasks are names."""

    def get_all_tasks(self, recursive: bool = True) -> list[Any]:
        return [_Leaf(name) for name in self.names]


def drawn(rng: np.random.Generator) -> tuple[Any, dict[str, Any], dict[str, tuple[Unit, list[ScoreRow]]]]:
    """A group of lm-eval, its tasks' results as lm-eval has them, and the same as units and rows."""
    names = [f"task{number}" for number in range(int(rng.integers(1, 6)))]
    results: dict[str, Any] = {}
    units = {}
    for name in names:
        n = int(rng.integers(1, 500))
        metrics = [one for one in ("acc,none", "acc,strict", "exact,none", "f1,loose") if rng.random() < 0.7]
        values = {one: float(rng.random()) for one in metrics}
        stderrs: dict[str, Any] = {one: float(rng.random()) / 10 if rng.random() < 0.9 else "N/A" for one in metrics}
        results[name] = {"sample_len": n, **values}
        results[name] |= {one.replace(",", "_stderr,"): stderrs[one] for one in metrics}
        stock = [
            StockMetric(
                metric=one.removesuffix(",none"),
                value=values[one],
                stderr=None if stderrs[one] == "N/A" else stderrs[one],
            )
            for one in metrics
        ]
        unit = Unit(
            series="s",
            step=1,
            task=name,
            weights_sha256="",
            task_sha256="",
            adapter="",
            n=n,
            stock_metrics=tuple(stock),
        )
        rows = [
            ScoreRow("s", 1, name, one.metric, one.value, stderr=math.nan if one.stderr is None else one.stderr, n=n)
            for one in stock
        ]
        units[name] = (unit, rows)
    asked = [
        AggMetricConfig(
            metric=str(rng.choice(["acc", "exact", "f1"])),
            filter_list=[None, ["none"], ["strict", "none"], "loose"][int(rng.integers(0, 4))],
            weight_by_size=bool(rng.integers(0, 2)),
        )
        for _ in range(int(rng.integers(1, 3)))
    ]
    group = _Leaves(name="group", aggregate_metric_list=asked)
    group.names = names
    return group, results, units


@pytest.mark.parametrize("seed", range(60))
def test_groups_are_weighted_as_lm_eval_weighs_them(seed: int) -> None:
    group, results, units = drawn(np.random.default_rng(seed))
    theirs = group.aggregate(results)
    ours = {row.metric: row for row in group_rows(_group_facts("group", group), units)}
    expected = {
        key.removesuffix(",none"): (value, theirs[key.replace(",", "_stderr,")])
        for key, value in theirs.items()
        if "," in key and "_stderr" not in key
    }
    assert ours.keys() == expected.keys()
    for metric, (value, stderr) in expected.items():
        assert ours[metric].value == value
        assert ours[metric].stderr == stderr or (math.isnan(ours[metric].stderr) and stderr in ("N/A", math.nan))


def test_chance_stands_beside_what_guessing_is_defined_for(
    tiny_series: Path, grouped: Path, tmp_path: Path, evaluate: Run
) -> None:
    assert evaluate(tiny_series, "--quiet", "--limit", 5, tasks="both") == 0
    chance = {(row.task, row.metric): row.chance for row in read_scores(tmp_path / "out").scores.rows()}
    for name in ("acc", "acc_norm", "acc_bytes", "acc_ties_half"):
        assert chance["small", name] == 0.25
    assert chance["both", "acc"] == 0.25
    assert math.isnan(chance["small", "bits_per_byte"])


def test_chance_counts_every_right_answer_of_an_item(
    tiny_series: Path, task_folder: Path, tmp_path: Path, evaluate: Run
) -> None:
    file = task_folder / "small.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows[1]["gold"] = [0, 2]
    rows[1]["choices"] = rows[1]["choices"][:3]
    text = "".join(
        json.dumps({**row, "gold": row["gold"] if isinstance(row["gold"], list) else [row["gold"]]}) + "\n"
        for row in rows
    )
    file.write_text(text, encoding="utf-8")
    assert evaluate(tiny_series, "--quiet", "--limit", 5) == 0
    chance = {row.metric: row.chance for row in read_scores(tmp_path / "out").scores.rows()}
    assert chance["acc"] == pytest.approx((2 / 3 + 4 * 1 / 4) / 5)
