"""What ``e2lm.NAME(...)`` gives from Python is what its command prints with ``--json``."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import e2lm
from e2lm import Scores, UserError
from e2lm.answer import Answer
from e2lm.command_line import main
from e2lm.plugin_manager import plugin_manager
from e2lm.scores import ScoreRow
from e2lm.verb import Verb
from e2lm_testing.verb_contract import VerbContract
from tests.e2lm_adapters.conftest import write_task

LEVELS = {
    "acc": lambda step, run: 0.3 + 0.01 * step * (run + 1),
    "margin": lambda step, run: 0.1 + 0.02 * step * (run + 1),
    "loss": lambda step, run: 2.0 + 1.5 * step ** (-0.3 - 0.1 * run),
}
LAW = "N=params,D=tokens,L=loss"
#: Of the clock, and of where a table at hand was put.
NOT_COMPARED = ("wall_s",)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tiny_series: Path) -> Path:
    """The folder of an evaluation of a tiny series, made by the verb."""
    tasks = tmp_path_factory.mktemp("verbs") / "tasks"
    write_task(tasks, "small", items=12)
    found = e2lm.evaluate(
        tiny_series, ["small"], out=tasks.parent / "out", include_path=tasks, device="cpu", quiet=True
    )
    assert found.code == 0
    return tasks.parent / "out"


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of three runs by two metrics that rise and one that falls."""
    rng = np.random.default_rng(3)
    rows = [
        ScoreRow(
            series=f"run-{name}", params=1000 * (name + 1), step=step, tokens=1000 * step, flops=None, task="arc",
            metric=metric, value=float(level(step, name) + rng.normal(0, 0.005)), stderr=0.01, n=500,
        )
        for name in range(3) for metric, level in LEVELS.items() for step in range(1, 13)
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("curves")
    Scores.from_rows(rows).write(folder)
    return folder


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Losses of a ladder by a known law."""
    rows = [
        {"params": n, "tokens": d, "loss": 1.7 + 400 / n**0.34 + 410 / d**0.28}
        for n in (1e7, 3e7, 1e8, 3e8) for d in (1e9, 3e9, 1e10)
    ]  # fmt: skip
    file = tmp_path_factory.mktemp("losses") / "losses.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def told(words: list[object], capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    assert code in (0, 1)
    return json.loads(capsys.readouterr().out)


def without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_clock(item) for key, item in value.items() if key not in NOT_COMPARED}
    return [without_clock(item) for item in value] if isinstance(value, list) else value


Call = Callable[["Inputs"], Answer]


class Inputs:
    """What verbs are called with, and what is typed for it."""

    def __init__(self, curves: Path, losses: Path, out: Path, run: Path) -> None:
        self.curves, self.losses, self.out, self.run = curves, losses, out, run
        self.samples, self.tasks = out / "samples", out.parent / "tasks"
        self.data = ["--data", losses, "--columns", LAW]
        self.flight = {"params": 1e7, "flops": 6e16}


@pytest.fixture
def inputs(curves: Path, losses: Path, out: Path, tiny_series: Path) -> Inputs:
    return Inputs(curves, losses, out, tiny_series)


#: Of every verb: what is called, and what is typed.
CASES: dict[str, tuple[Call, Callable[[Inputs], list[object]]]] = {
    "read": (lambda at: e2lm.read(at.curves), lambda at: ["results", at.curves]),
    "signal": (
        lambda at: e2lm.signal(at.curves, scores=["sn_snr", "e2lmc_sq"]),
        lambda at: ["signal", at.curves, "--scores", "sn_snr", "e2lmc_sq"],
    ),
    "compare": (
        lambda at: e2lm.compare(at.curves, seed=3, early=0.25),
        lambda at: ["signal", "compare", at.curves, "--seed", "3", "--early", "0.25"],
    ),
    "outliers": (
        lambda at: e2lm.outliers(at.curves, top=2),
        lambda at: ["signal", "outliers", at.curves, "--top", "2"],
    ),
    "noise": (
        lambda at: e2lm.noise(at.samples, metric="acc"),
        lambda at: ["signal", "noise", at.samples, "--metric", "acc"],
    ),
    "versus": (
        lambda at: e2lm.versus(f"{at.curves}@run-0", f"{at.curves}@run-1", metrics="acc"),
        lambda at: ["signal", "versus", f"{at.curves}@run-0", f"{at.curves}@run-1", "--metrics", "acc"],
    ),
    "fit": (
        lambda at: e2lm.fit(at.losses, columns=LAW, model="chinchilla", bootstrap=20),
        lambda at: ["predict", "fit", *at.data, "--model", "chinchilla", "--bootstrap", "20"],
    ),
    "forecast": (
        lambda at: e2lm.forecast(at.losses, 1e9, 2e10, columns=LAW),
        lambda at: ["predict", "fit", *at.data, "--at", "N=1e9,D=2e10"],
    ),
    "backtest": (
        lambda at: e2lm.backtest(at.losses, columns=LAW, models="chinchilla"),
        lambda at: ["predict", "backtest", *at.data, "--models", "chinchilla"],
    ),
    "plan": (
        lambda at: e2lm.plan(at.losses, columns=LAW, model="chinchilla", bootstrap=10, flops="1e21"),
        lambda at: ["predict", "plan", *at.data, "--model", "chinchilla", "--bootstrap", "10", "--flops", "1e21"],
    ),
    "translate": (
        lambda at: e2lm.translate(at.losses, at.losses, columns=LAW, to_columns=LAW),
        lambda at: ["predict", "translate", *at.data, "--to", at.losses, "--to-columns", LAW],
    ),
    "curve": (
        lambda at: e2lm.curve(at.curves, series="run-2", task="arc", metric="loss", to=20_000),
        lambda at: ["predict", "curve", "--data", at.curves, "--series", "run-2", "--task", "arc", "--metric", "loss",
                    "--to", "20k"],
    ),
    "evaluate": (
        lambda at: e2lm.evaluate([at.run], "small", out=at.out, include_path=at.tasks, device="cpu", quiet=True),
        lambda at: ["eval", at.run, "--tasks", "small", "--out", at.out, "--include-path", at.tasks, "--device", "cpu"],
    ),
    "watch": (
        lambda at: e2lm.watch(at.run, "small", out=at.out, include_path=at.tasks, device="cpu", once=True, quiet=True),
        lambda at: ["watch", at.run, "--tasks", "small", "--out", at.out, "--include-path", at.tasks, "--once",
                    "--device", "cpu"],
    ),
    "demo": (
        lambda at: e2lm.demo(at.tasks.parent / "demo", quick=True, dry_run=True),
        lambda at: ["demo", "--quick", "--out", at.tasks.parent / "demo", "--dry-run"],
    ),
}  # fmt: skip
#: These write a folder: each has a test of its own below.
WRITING = {"build_tasks", "distil", "decide", "merge", "train"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_verb_gives_what_its_command_prints(name: str, inputs: Inputs, capsys: pytest.CaptureFixture[str]) -> None:
    call, words = CASES[name]
    found = call(inputs)
    assert without_clock(found.json()) == without_clock(told(words(inputs), capsys))
    assert found.json()
    assert len(str(found)) > 20 or name in ("evaluate", "watch")  # asked to be quiet
    assert len(found.to_frame()) >= 1
    assert found._repr_html_()


def test_every_verb_of_ours_is_held_here() -> None:
    assert set(plugin_manager().registered("e2lm_register_verbs", Verb)) == set(CASES) | WRITING


@pytest.mark.parametrize("name", sorted({*CASES, *WRITING}))
class TestContract(VerbContract):
    """The contract that a stranger's verb keeps to as well."""

    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        type(self).verb = name


def test_a_merge_a_training_and_a_decision_are_those_of_their_commands(
    inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = sorted(inputs.run.glob("checkpoint-*"))[-2:]
    config = tmp_path / "merge.yml"
    models = [{"model": str(step), "parameters": {"weight": 0.5}} for step in steps]
    config.write_text(yaml.safe_dump({"merge_method": "linear", "models": models}), encoding="utf-8")
    planned = told(["merge", config, tmp_path / "merged", "--dry-run"], capsys)
    assert e2lm.merge(config, tmp_path / "merged", dry_run=True).json() == planned
    merged = e2lm.merge(config, tmp_path / "merged", quiet=True)
    assert merged.json() == {**planned, "dry_run": False, "resumed_tensors": 0, "wall_s": merged.json()["wall_s"]}

    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"Sentence {number} says a few words." for number in range(400)), encoding="utf-8")
    typed = ["train", "--corpus", text, "--out", tmp_path / "runs", "--sizes", "50k", "--dry-run"]
    assert e2lm.train(corpus=[text], out=tmp_path / "runs", sizes="50k", dry_run=True).json() == told(typed, capsys)

    current = "N=1e8,D=3e9"
    words = [
        "predict",
        "decide",
        *inputs.data,
        "--current",
        current,
        "--budget-flops",
        "1e20",
        "--cost-per-flop",
        "1e-16",
    ]
    words += ["--value-per-point", "9"]
    money = {"current": current, "budget_flops": 1e20, "cost_per_flop": 1e-16, "value_per_point": 9}
    found = e2lm.decide(inputs.losses, columns=LAW, **money)
    assert found.json() == told(words, capsys)


def test_tasks_are_built_as_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pydoc_data.topics

    prose = tmp_path / "prose.txt"
    prose.write_text("\n\n".join(pydoc_data.topics.topics.values()), encoding="utf-8")
    typed = ["tasks", "build", "--corpus", prose, "--out", tmp_path / "tasks", "--items", "100", "--dry-run"]
    made = e2lm.build_tasks(prose, tmp_path / "tasks", items=100, dry_run=True)
    assert made.json() == told(typed, capsys)


def test_scores_and_tables_at_hand_are_taken_as_files_are(curves: Path, losses: Path) -> None:
    from e2lm.results import read_scores

    at_hand = read_scores(curves).scores
    assert e2lm.signal(at_hand, scores="sn_snr").json() == e2lm.signal(curves, scores="sn_snr").json()
    first = e2lm.fit(pd.read_csv(losses), columns=LAW, bootstrap=0).json()
    second = e2lm.fit(losses, columns=LAW, bootstrap=0).json()
    assert {**first, "data": None} == {**second, "data": None}
    assert "<svg" in str(e2lm.signal(curves, scores="sn_snr").plot())
    assert "<svg" in str(e2lm.signal(at_hand, scores="sn_snr").plot())  # the folder it was read from is gone


def test_a_mistake_from_python_is_one_line_that_names_the_nearest(curves: Path) -> None:
    with pytest.raises(UserError, match=r"e2lm signal: there is no 'score' here\. Did you mean 'scores'"):
        e2lm.signal(curves, score="sn_snr")
    with pytest.raises(AttributeError, match="no attribute 'signl'"):
        _ = e2lm.signl


def test_packages_do_not_call_each_other_by_words(repository: Path) -> None:
    found = set()
    for root in ("plugins", "adapters", "leaderboard", "e2lm_tasks"):
        for file in (repository / root).rglob("*.py"):
            calls = (node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.Call))
            if any(isinstance(one.func, ast.Name) and one.func.id == "run_command" for one in calls):
                found.add(file.relative_to(repository).as_posix())
    assert found == {"plugins/e2lm/command_line.py"}
