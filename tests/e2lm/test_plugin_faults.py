"""The fault matrix: whatever a plugin does wrong in use, the exit code is that of the others, and so is what they say.

Kinds down, faults across; each cell runs a command that asks plugins of that kind, with the broken one and without it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from e2lm import ItemMetric
from e2lm.command_line import main
from e2lm.item_metric import ItemChoices, MetricFailedError
from e2lm.plugin_call import PluginFaultError, asked

FAULTS = {
    "raises": "raise RuntimeError('on purpose')",
    "ends the process": "raise SystemExit(3)",
    "runs out of memory": "raise MemoryError('on purpose')",
    "finds no file": "raise FileNotFoundError(2, 'no such file', 'x')",
    "refuses": "from e2lm import UserError; raise UserError('of the plugin')",
    "gives nothing": "return None",
    "gives a text": "return 'text'",
    "gives no number": "return float('nan')",
    "gives another shape": "return np.ones(2)",
    "gives an empty list": "return []",
    "prints": "print('hello'); return GOOD",
    "mutates": "mutated(given[0]); return GOOD",
    "lacks a library": "import a_library_that_nobody_has",
    "speaks 日本語": "raise ValueError('壊れています\\n二行目')",
}

HEAD = """
import numpy as np
from e2lm import {noun}, hookimpl
{more}

def mutated(one):
    for name in getattr(type(one), "__dataclass_fields__", ()):
        value = getattr(one, name)
        if isinstance(value, np.ndarray) and value.size:
            value[...] = 0

def broken(*given):
    GOOD = {good}
    {body}

@hookimpl
def {hook}():
    return [{made}]
"""

KINDS: dict[str, dict[str, str]] = {
    "signal score": {
        "noun": "ScoreValue, SignalScore", "more": "", "good": "ScoreValue(0.5, 0.4, 0.6)",
        "hook": "e2lm_register_signal_scores", "made": 'SignalScore("broken", "Broken.", broken)',
    },
    "signal score of a family": {
        "noun": "ScoreValue, SignalScore", "more": "", "good": "ScoreValue(0.5, 0.4, 0.6)",
        "hook": "e2lm_register_signal_scores", "made": 'SignalScore("broken", "Broken.", broken, scope="family")',
    },
    "predictor": {
        "noun": "ScalingPredictor", "more": "", "good": "None",
        "hook": "e2lm_register_scaling_predictors", "made": 'ScalingPredictor("broken", "Broken.", broken)',
    },
    "predictor that fits": {
        "noun": "ScalingPredictor",
        "more": "class Fit:\n    def __init__(self, *given):\n        pass\n\n    def predict(self, *given):\n"
        "        return broken(*given)",
        "good": "None", "hook": "e2lm_register_scaling_predictors",
        "made": 'ScalingPredictor("broken", "Broken.", Fit)',
    },
    "checkpoint format": {
        "noun": "CheckpointFormat", "more": "", "good": "None",
        "hook": "e2lm_register_checkpoint_formats", "made": 'CheckpointFormat("broken", "Broken.", broken)',
    },
    "result format": {
        "noun": "hookspecs", "more": "from e2lm.results.result_format import ResultFormat", "good": "None",
        "hook": "e2lm_register_result_formats", "made": 'ResultFormat("broken", "Broken.", broken)',
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_series: Path) -> Path:
    """Scores, losses, results of lm-eval and a run."""
    folder = tmp_path_factory.mktemp("faults")
    rows = [(run, step, "arc", "acc", 0.2 + 0.01 * gain * step, 500) for run, gain in (("a", 1), ("b", 2))
            for step in range(1, 8)]  # fmt: skip
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value", "n"]).to_csv(
        folder / "scores.csv", index=False
    )
    losses = [{"params": n, "tokens": d, "loss": 1.7 + 400 / n**0.34 + 410 / d**0.28}
              for n in (1e7, 3e7, 1e8, 3e8) for d in (1e9, 3e9, 1e10)]  # fmt: skip
    pd.DataFrame(losses).to_csv(folder / "losses.csv", index=False)
    (folder / "results").mkdir()
    (folder / "results" / "results_2025-01-01T00-00-00.json").write_text(
        json.dumps(
            {
                "results": {"arc": {"acc,none": 0.5}},
                "n-shot": {"arc": 0},
                "versions": {"arc": 1},
                "config": {"model_args": "pretrained=a/b,revision=step10"},
                "configs": {},
            }
        )
    )
    (folder / "run").symlink_to(tiny_series)
    return folder


def words(kind: str, folder: Path, is_asked: bool) -> list[str]:
    more = ["broken"] if is_asked else []
    if kind.startswith("signal"):
        return ["signal", str(folder / "scores.csv"), "--scores", "e2lmc_sq", *more, "--json"]
    if kind.startswith("predictor"):
        asked_for = ["--models", "chinchilla-tied", *more]
        data = ["--data", str(folder / "losses.csv"), "--columns", "N=params,D=tokens,L=loss"]
        return ["predict", "backtest", *data, *asked_for, "--json"]
    return ["checkpoints", str(folder / "run"), "--json"] if kind == "checkpoint format" else [
        "results", str(folder / "results"), "--json"
    ]  # fmt: skip


def of_others(value: Any) -> Any:
    """The report without what the broken plugin says, or is said of."""
    if isinstance(value, dict):
        return {name: of_others(one) for name, one in value.items() if name not in ("broken", "left_out", "notes")}
    if isinstance(value, list):
        return [of_others(one) for one in value if not (isinstance(one, dict) and one.get("model") == "broken")]
    return value


_baselines: dict[str, tuple[int, Any]] = {}


def run(line: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(line)
    return code, of_others(json.loads(capsys.readouterr().out))


#: A format that gives an empty list says that the file is its own: the test after the matrix.
CELLS = [
    (kind, fault) for kind in KINDS for fault in FAULTS if (kind, fault) != ("result format", "gives an empty list")
]


@pytest.mark.parametrize(("kind", "fault"), CELLS)
def test_a_fault_of_one_plugin_changes_nothing_of_the_others(
    kind: str, fault: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken_plugin.py"
    file.write_text(HEAD.format(**KINDS[kind], body=FAULTS[fault]), encoding="utf-8")
    if kind not in _baselines:
        _baselines[kind] = run(words(kind, folder, False), capsys)
    assert _baselines[kind][0] == 0
    assert run(["--plugin", str(file), *words(kind, folder, True)], capsys) == _baselines[kind]


def test_a_format_that_claims_a_file_and_finds_nothing_in_it_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken_plugin.py"
    file.write_text(HEAD.format(**KINDS["result format"], body="return []"), encoding="utf-8")
    assert main(["--plugin", str(file), "results", str(folder / "results"), "--json"]) == 0
    assert "the result format 'broken' says that nothing is in it" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["raises", "ends the process", "refuses", "gives a text", "gives another shape"])
def test_an_item_metric_that_fails_is_one_error_of_its_own(kind: str) -> None:
    space: dict[str, Any] = {"np": np, "GOOD": None, "given": ()}
    exec(f"def broken(*given):\n    {FAULTS[kind]}", space)
    grid = np.ones((3, 2), dtype=np.int64)
    choices = ItemChoices(-np.ones((3, 2)), grid > 0, grid, grid, grid, np.zeros(3, np.int64))
    broken: Callable[[ItemChoices], Any] = space["broken"]
    with pytest.raises(MetricFailedError, match="item metric 'broken'"):
        ItemMetric("broken", "Broken.", broken).values(choices)


def test_ctrl_c_is_the_users_and_not_a_fault() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(interrupted)
    with pytest.raises(PluginFaultError, match=r"^it raised SystemExit: 3$"):
        asked(exit, 3)


def test_a_plugin_that_ends_the_process_in_somebody_elses_command_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "leaves.py"
    file.write_text(
        "from e2lm import Curriculum, hookimpl\n\ndef plan(scores_X, budget, rng):\n    raise SystemExit(0)\n\n"
        "@hookimpl\ndef e2lm_register_curricula():\n    return [Curriculum('leaves', 'Leaves.', plan)]\n",
        encoding="utf-8",
    )
    line = ["train", "plan", "--curriculum", "leaves", "--samples", "100", "--steps", "5", "--show"]
    assert main(["--plugin", str(file), *line]) == 1
    assert "raised SystemExit: 0; this is a fault of the plugin" in capsys.readouterr().err


#: Kinds of which a command uses the one that it was asked for: what is made of it, and a right answer.
ALONE: dict[str, tuple[str, str, str]] = {
    "merge of tensors": (
        "merge_strategies", 'MergeStrategy("broken", "Broken.", lambda group: broken(group))', "given[0].tensors[0]",
    ),
    "merge of blocks": (
        "merge_strategies", 'MergeStrategy("broken", "Broken.", lambda group: broken(group), scope="element")',
        "given[0].tensors[0]",
    ),
    "merge by a sum": (
        "merge_strategies", 'WeightedSum("broken", "Broken.", combine=lambda group, products: broken(group))',
        "Combination((0.5, 0.5))",
    ),
    "merge by another": (
        "merge_strategies", 'SwitchedMerge("broken", "Broken.", choose=lambda parameters: broken(parameters))',
        'MergeStrategy("first", "First.", lambda group: group.tensors[0])',
    ),
    "curriculum": (
        "curricula", 'Curriculum("broken", "Broken.", lambda *given: broken(*given))',
        "Plan(np.zeros((given[1].steps, given[1].batch_size), dtype=np.int64))",
    ),
    "difficulty": (
        "curricula",
        'Curriculum("broken", "Broken.", lambda _, budget, rng: Plan(rng.integers(1, size=(budget.steps, '
        'budget.batch_size))), difficulty=Difficulty("broken", "Broken.", lambda text: broken(text)))',
        "np.zeros(len(given[0].blocks_XT))",
    ),
}  # fmt: skip

#: What such a kind gets wrong in its own way, beside :data:`FAULTS`.
OWN_FAULTS = {
    "merge of tensors": {"gives NaN": 'return given[0].tensors[0] * float("nan")'},
    "merge of blocks": {"gives infinity": "return given[0].tensors[0] / 0 * 0 + 1 / (given[0].tensors[0] * 0)"},
    "merge by a sum": {"gives one coefficient of two": "return Combination((1.0,))"},
    "curriculum": {
        "plans too few steps": "return Plan(np.zeros((given[1].steps - 1, given[1].batch_size), dtype=np.int64))",
        "plans too many examples": "return Plan(np.zeros((given[1].steps, given[1].batch_size + 1), dtype=np.int64))",
        "plans what is not there": "return Plan(np.full((given[1].steps, given[1].batch_size), 10**6))",
        "plans what comes before the first": "return Plan(np.full((given[1].steps, given[1].batch_size), -1))",
        "plans halves": "return Plan(np.full((given[1].steps, given[1].batch_size), 0.5))",
        "writes into the scores": "given[0][:] = 0; return GOOD",
    },
    "difficulty": {
        "gives NaN": "return np.full(len(given[0].blocks_XT), np.nan)",
        "gives one too few": "return np.zeros(len(given[0].blocks_XT) - 1)",
        "gives texts": "return np.array(['hard'] * len(given[0].blocks_XT))",
    },
}
#: Here a print is no harm, and a merge may overwrite the tensors that it was given.
HARMLESS = {("prints", kind) for kind in ALONE} | {("mutates", kind) for kind in ALONE}

ALONE_HEAD = """
import numpy as np
from e2lm import Curriculum, hookimpl
from e2lm.curriculum import Difficulty, Plan
from e2lm.merge_strategy import Combination, MergeStrategy, SwitchedMerge, WeightedSum

def mutated(one):
    for tensor in getattr(one, "tensors", ()):
        tensor.zero_()

def broken(*given):
    GOOD = {good}
    {body}

@hookimpl
def e2lm_register_{hook}():
    return [{made}]
"""


@pytest.mark.parametrize(
    ("kind", "fault"), [(kind, fault) for kind in ALONE for fault in {**FAULTS, **OWN_FAULTS.get(kind, {})}]
)
def test_a_fault_of_what_was_asked_for_ends_the_command_in_a_line_that_names_it(
    kind: str, fault: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hook, made, good = ALONE[kind]
    body = {**FAULTS, **OWN_FAULTS.get(kind, {})}[fault]
    file, out = tmp_path / "broken_plugin.py", tmp_path / "out"
    file.write_text(ALONE_HEAD.format(hook=hook, made=made, good=good, body=body), encoding="utf-8")
    steps = sorted((folder / "run").glob("checkpoint-*"))[-2:]
    config = tmp_path / "merge.yml"
    config.write_text(json.dumps({"merge_method": "broken", "models": [{"model": str(one)} for one in steps]}))
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Sentence {number} says a few words." for number in range(300)), encoding="utf-8")
    more = ["--samples", "100"] if kind == "curriculum" else ["--corpus", str(text)]
    plan = ["train", "plan", "--curriculum", "broken", "--steps", "5", *more]
    code = main(["--plugin", str(file), *(["merge", str(config), str(out)] if "merge" in kind else plan), "--json"])
    told = capsys.readouterr()
    if (fault, kind) in HARMLESS:
        assert code == 0
        assert json.loads(told.out)
        return
    assert code == (2 if fault == "refuses" or (fault in ("gives NaN", "gives infinity") and "merge" in kind) else 1)
    last = told.err.splitlines()[-1]
    assert last.startswith("e2lm: error: ")
    assert "broken" in last or fault == "refuses"
    assert not out.exists()
    assert told.out == ""
