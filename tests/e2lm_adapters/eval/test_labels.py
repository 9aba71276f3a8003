"""Labels of every kind, by the command: what lm-eval counts is what the table says, and what is left out is said."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2lm.results import read_scores
from e2lm.samples import read_samples

ITEMS = 12
WORDS = ["a cat", "two dogs", "né", "the third animal"]
#: By task: what its YAML says beside the common lines, and how an item differs from the common one.
CHOICES = {"doc_to_text": '"{{question}}"', "doc_to_choice": "choices"}
TASKS: dict[str, dict[str, str]] = {
    "beyond": {**CHOICES, "doc_to_target": "beyond"},
    "unknown": {**CHOICES, "doc_to_target": "unknown"},
    "several": {**CHOICES, "doc_to_target": "several"},
    "empty": {**CHOICES, "doc_to_choice": "gappy", "doc_to_target": "gold"},
    "endings": {"doc_to_text": "which", "doc_to_choice": "starts", "doc_to_target": "ending"},
}
METRICS = ("acc", "acc_norm")


def item(number: int) -> dict[str, Any]:
    gold, odd = number % 4, number in (3, 7)
    return {
        "question": f"Which of them is animal {number}?",
        "choices": WORDS,
        "gold": gold,
        "beyond": 7 if odd else gold,
        "unknown": "a fish" if odd else WORDS[gold],
        "several": [gold, (gold + 1) % 4] if odd else [gold],
        "gappy": ["" if odd and place == 2 else word for place, word in enumerate(WORDS)],
        "which": number % 2,
        "starts": [f"Animal {number} saw a cat, and then", f"Number {number} saw two dogs, for a long while, and then"],
        "ending": f"né fell {number}.",
    }


@pytest.fixture(scope="module")
def scored(tiny_series: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the command left, and what it said."""
    folder = tmp_path_factory.mktemp("labels")
    tasks = folder / "tasks"
    tasks.mkdir()
    rows = "".join(json.dumps(item(number)) + "\n" for number in range(ITEMS))
    (tasks / "items.jsonl").write_text(rows, encoding="utf-8")
    for name, settings in TASKS.items():
        lines = [f"{key}: {value}" for key, value in settings.items()]
        lines += [f"task: {name}", "dataset_path: json", "test_split: test", "output_type: multiple_choice"]
        lines += [f"dataset_kwargs: {{data_files: {{test: {tasks / 'items.jsonl'}}}}}", "num_fewshot: 0"]
        listed = ", ".join(f"{{metric: {one}, aggregation: mean, higher_is_better: true}}" for one in METRICS)
        lines += [f"metric_list: [{listed}]", "metadata: {version: 1.0}"]
        (tasks / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "e2lm", "eval", tiny_series, "--tasks", ",".join(TASKS), "--include-path", tasks]
    command += ["--out", folder / "out", "--quiet", "--device", "cpu", "--model-args", "dtype=float32"]
    environment = {**os.environ, "HF_HOME": str(folder / "hf"), "PYTHONWARNINGS": "default::RuntimeWarning"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "out", done.stdout + done.stderr


def logged(out: Path, task: str, step: int) -> list[dict[str, Any]]:
    (file,) = out.glob(f"*/checkpoint-{step}/samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def rows_of(out: Path, task: str, step: int) -> dict[str, Any]:
    return {
        row.metric: row for row in read_scores(out / "scores.csv").scores.rows() if (row.task, row.step) == (task, step)
    }


def test_one_bad_label_costs_no_item_and_counts_as_lm_eval_counts_it(scored: tuple[Path, str]) -> None:
    out, _ = scored
    for task in ("beyond", "unknown"):
        rows = rows_of(out, task, 30)
        assert rows["acc"].value == sum(one["acc"] for one in logged(out, task, 30)) / ITEMS
        assert (rows["acc_ties_half"].n, rows["margin"].n) == (ITEMS, ITEMS - 2)
        assert rows["acc_ties_half"].value == pytest.approx(rows["acc"].value)
        assert all(math.isfinite(row.value) for row in rows.values())
        assert rows["acc_ties_half"].chance == pytest.approx((ITEMS - 2) / ITEMS / 4)


def test_several_right_answers_count_alike_in_every_metric(scored: tuple[Path, str]) -> None:
    out, _ = scored
    rows = rows_of(out, "several", 30)
    own = logged(out, "several", 30)
    assert rows["acc_ties_half"].value == pytest.approx(sum(one["acc"] for one in own) / ITEMS)
    margins = []
    for one in own:
        logliks, golds = [float(answer[0]) for answer in one["filtered_resps"]], one["doc"]["several"]
        margins.append(max(logliks[gold] for gold in golds) - max(set(logliks) - {logliks[gold] for gold in golds}))
        assert (margins[-1] > 0) == one["acc"]
    assert rows["margin"].value == pytest.approx(sum(margins) / ITEMS)


def test_where_contexts_are_chosen_bits_are_those_of_the_ending(scored: tuple[Path, str]) -> None:
    out, _ = scored
    costs = [
        -float(one["filtered_resps"][one["doc"]["which"]][0]) / math.log(2) / len(one["doc"]["ending"].encode())
        for one in logged(out, "endings", 30)
    ]
    assert rows_of(out, "endings", 30)["bits_per_byte"].value == pytest.approx(sum(costs) / ITEMS)


def test_an_empty_choice_makes_nothing_infinite(scored: tuple[Path, str]) -> None:
    out, said = scored
    rows = rows_of(out, "empty", 30)
    assert all(math.isfinite(row.value) for row in rows.values())
    assert (rows["gold_minus_mean_wrong"].n, rows["gold_minus_mean_wrong_per_byte"].n) == (ITEMS, ITEMS - 2)
    assert rows["acc_bytes"].n == ITEMS
    assert "RuntimeWarning" not in said


def test_what_is_left_out_is_said_once_and_recorded(scored: tuple[Path, str]) -> None:
    out, said = scored
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    found = {one["what"]: one["why"] for one in record["left_out"]}
    assert set(found) == {"beyond", "unknown", "empty"}
    for task, line in found.items():
        assert line.startswith("2 of 12 items")
        assert line.endswith("(doc_id 3, 7)")
        assert said.count(f"{task}: {line}") == 1
    assert all(len(one) == ITEMS for one in read_samples(out / "samples"))
