from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.samples import Samples
from e2lm_adapters.eval.samples import samples_of
from e2lm_adapters.scoring.hf import E2lmHf
from tests.e2lm_adapters.conftest import ITEMS, write_task

#: Choices are contexts here, as in Winogrande.
BLANKS = """\
task: blanks
output_type: multiple_choice
custom_dataset: !function blanks.load
test_split: test
num_fewshot: 0
doc_to_text: "{{gold}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{ending}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
BLANKS_CODE = """\
import datasets
def load(**_):
    rows = [{"gold": i % 2, "choices": [f"The dog {i} was", f"A cat {i} is"], "ending": "gone now"} for i in range(6)]
    return {"test": datasets.Dataset.from_list(rows)}
"""


@pytest.fixture(scope="module")
def evaluated(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """lm-eval's results, the task and the model."""
    folder = tmp_path_factory.mktemp("tasks")
    write_task(folder)
    lm = E2lmHf(str(tiny_llama), device="cpu", dtype="float32", show_progress=False)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results = simple_evaluate(lm, tasks=["small"], task_manager=manager, bootstrap_iters=0)
    return results, manager.load(["small"])["tasks"]["small"], lm


def samples(evaluated: tuple[Any, Any, Any]) -> Samples:
    results, task, lm = evaluated
    made = samples_of("run", 3, task, results["samples"]["small"], lm.continuation_tokens_of)
    assert made is not None
    return made


@pytest.mark.parametrize("metric", ["acc", "acc_norm", "acc_bytes"])
def test_metrics_from_samples_are_those_of_lm_eval(metric: str, evaluated: tuple[Any, Any, Any]) -> None:
    own = plugin_manager().find("e2lm_register_metrics", ItemMetric, metric, "metric")
    per_item = own.per_item(samples(evaluated).choices)
    logged = sorted(evaluated[0]["samples"]["small"], key=lambda item: item["doc_id"])
    assert per_item.tolist() == [item[metric] for item in logged]
    assert np.mean(per_item) == pytest.approx(evaluated[0]["results"]["small"][f"{metric},none"], abs=1e-12)


def test_samples_hold_every_choice_of_every_item(evaluated: tuple[Any, Any, Any]) -> None:
    made, lm = samples(evaluated), evaluated[2]
    assert (made.series, made.step, made.task, len(made)) == ("run", 3, "small", ITEMS)
    assert made.choices.there_IC.shape == (ITEMS, 4)
    assert made.choices.there_IC.all()
    for item in evaluated[0]["samples"]["small"]:
        row = int(np.flatnonzero(made.doc_ids_I == item["doc_id"])[0])
        choices = item["doc"]["choices"]
        assert made.choices.chars_IC[row].tolist() == [len(choice) for choice in choices]
        assert made.choices.bytes_IC[row].tolist() == [len(choice.encode()) for choice in choices]
        assert made.choices.gold_I[row] == item["doc"]["gold"]
        assert made.choices.loglik_IC[row].tolist() == [answer[0] for answer in item["filtered_resps"]]
        tokens = [len(lm.tokenizer.encode(a + b)) - len(lm.tokenizer.encode(a)) for a, b in item["arguments"]]
        assert made.choices.tokens_IC[row].tolist() == tokens


def test_samples_written_and_read_again_by_lm_eval_are_the_same(evaluated: tuple[Any, Any, Any]) -> None:
    results, task, _ = evaluated
    as_text = json.loads(json.dumps(results["samples"]["small"], default=str))
    for item in as_text:  # lm-eval writes numbers and flags as text
        item["filtered_resps"] = [[[str(value) for value in answer]] for answer in item["filtered_resps"]]
    again = samples_of("run", 3, task, as_text, None)
    first = samples(evaluated)
    assert again is not None
    np.testing.assert_array_equal(again.choices.loglik_IC, first.choices.loglik_IC)
    np.testing.assert_array_equal(again.greedy_IC, first.greedy_IC)
    assert (again.choices.tokens_IC == -1).all()


def test_tasks_whose_choices_are_contexts_give_samples_too(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "blanks.yaml").write_text(BLANKS, encoding="utf-8")
    (tmp_path / "blanks.py").write_text(BLANKS_CODE, encoding="utf-8")
    lm = E2lmHf(str(tiny_llama), device="cpu", dtype="float32", show_progress=False)
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    results = simple_evaluate(lm, tasks=["blanks"], task_manager=manager, bootstrap_iters=0)
    made = samples_of("run", 0, manager.load(["blanks"])["tasks"]["blanks"], results["samples"]["blanks"], None)
    assert made is not None
    assert made.choices.gold_I.tolist() == [0, 1, 0, 1, 0, 1]
    picked = np.argmax(made.choices.loglik_IC, axis=1) == made.choices.gold_I
    assert picked.mean() == results["results"]["blanks"]["acc,none"]


def test_generation_has_no_samples(evaluated: tuple[Any, Any, Any]) -> None:
    class Generation:
        OUTPUT_TYPE = "generate_until"

    assert samples_of("run", 0, Generation(), evaluated[0]["samples"]["small"], None) is None
