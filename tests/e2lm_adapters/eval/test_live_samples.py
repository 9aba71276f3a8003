from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.results.lm_eval_items import LiveTask, item_samples
from e2lm.samples import Samples
from e2lm_adapters.scoring.hf import E2lmHf
from tests.e2lm_adapters.conftest import ITEMS, write_task


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
    records = results["samples"]["small"]
    made = item_samples("run", 3, "small", LiveTask(task), records, lm.continuation_tokens_of).samples
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
