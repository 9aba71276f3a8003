"""Small evaluations on disk: three runs, two tasks, items that turn right, a loss, verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from e2lm.item_metric import ItemChoices
from e2lm.samples import Samples
from e2lm.scores import ScoreRow, Scores

RUNS = ("run-a", "run-b", "run-c")
STEPS = tuple(range(100, 900, 100))
#: Item 0 of the task "told" turns right in run-a, item 1 turns wrong, item 2 is always right, item 3 never.
MARKS = {0: "00001111", 1: "11110000", 2: "11111111", 3: "00000000"}


def samples(run: str, step: int, task: str = "told") -> Samples:
    """Four items of three choices, the first of which is right."""
    place = STEPS.index(step)
    loglik_IC = np.full((4, 3), -3.0)
    for item, marks in MARKS.items():
        loglik_IC[item, 0] = -1.0 if marks[place] == "1" else -5.0
    lengths_IC = np.full((4, 3), 4)
    gold_IC = np.zeros((4, 3), dtype=np.bool_)
    gold_IC[:, 0] = True
    choices = ItemChoices(
        loglik_IC=loglik_IC,
        there_IC=np.ones((4, 3), dtype=np.bool_),
        bytes_IC=lengths_IC,
        chars_IC=lengths_IC,
        tokens_IC=lengths_IC,
        gold_I=np.zeros(4, dtype=np.int64),
        gold_IC=gold_IC,
    )
    return Samples(run, step, task, np.arange(4), choices, np.zeros((4, 3), dtype=np.bool_))


def row(run: str, step: int, task: str, metric: str, value: float, stderr: float = 0.01, **given: float) -> ScoreRow:
    """A row of a run of a million parameters that sees a thousand tokens per step."""
    tokens = step * 1e3
    known = {"params": 1e6, "tokens": tokens, "flops": 6e6 * tokens, "n": 400, **given}
    return ScoreRow(run, step, task, metric, value, stderr=stderr, **known)  # type: ignore[arg-type]


def write_evaluation(out: Path) -> None:
    """What ``e2lm eval`` would leave: run-a leads on "told" beyond the interval, nobody on "close"."""
    rows = []
    for number, run in enumerate(RUNS):
        for place, step in enumerate(STEPS):
            rise = 0.25 + 0.02 * place
            rows.append(row(run, step, "told", "acc", rise + (0.2 if number == 0 else 0.0), chance=0.25))
            rows.append(row(run, step, "told", "bits_per_byte", 2.0 - rise))
            rows.append(row(run, step, "close", "acc", rise + 0.001 * number, chance=0.25))
            rows.append(row(run, step, "held_out", "loss", 2.5 + 30.0 / (step * 1e3) ** 0.4 + 0.001 * number, 0.05))
            samples(run, step).write(out / "samples" / run / "told" / f"checkpoint-{step}.parquet")
    Scores.from_rows(rows).write(out)
    folder = out / "run-a" / f"checkpoint-{STEPS[-1]}"
    folder.mkdir(parents=True)
    lines = [
        {
            "doc_id": item,
            "arguments": {
                f"gen_args_{c}": {"arg_0": f"Question {item} <b>?", "arg_1": f" answer {c}"} for c in range(3)
            },
        }
        for item in MARKS
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "samples_told_2026-01-01T00-00-00.jsonl").write_text(text, encoding="utf-8")
    verdict = {
        "schema_version": 1,
        "time": "2026-01-01T00:00:00Z",
        "rule": "loss spike",
        "series": "run-b",
        "step": 300,
        "value": 3.5,
        "threshold": 3.0,
        "state": "alert",
        "inputs_sha256": "0" * 64,
    }
    (out / "verdicts.jsonl").write_text(json.dumps(verdict) + "\nno verdict\n", encoding="utf-8")
