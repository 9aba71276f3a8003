"""Samples of a live evaluation equal those read from the files that lm-eval's writer left of it, whatever the task."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from e2lm.errors import NotFiniteError
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.results import read_lm_eval_samples, read_scores
from e2lm.results.lm_eval import sample_files
from e2lm.results.lm_eval_items import ItemSamples, LiveTask, LoggedTask, item_samples, logged_records, logged_samples
from e2lm.samples import Samples

ITEMS = 24
#: What becomes of an item whose label is no choice.
NO_CHOICE = "count as wrong in accuracies, as in lm-eval, and nowhere else: the right answer is none of the choices"
COLUMNS = ("loglik_IC", "there_IC", "bytes_IC", "chars_IC", "tokens_IC", "gold_I", "gold_IC")

CODE = """\
import datasets
import numpy as np

def load(**_):
    rng = np.random.default_rng(1)
    rows = []
    for i in range({items}):
        gold = int(rng.integers(0, 3))
        rows.append({{
            "question": f"Of what is naïve {{i}} made?",
            "choices": [f"tin {{i}}", "gold é leaf", f"a piece\\u2028of wood {{i}} %"],
            "digits": [str(4 + (i + shift) % 5) for shift in range(3)],
            "spaced": [" a", " be", " sea"],
            "ragged": ["one", "two", "three", "four"][: 2 + i % 3],
            "gold": gold, "few": gold % 2, "label": "ABC"[gold],
            "golds": [gold, (gold + 1) % 3] if i % 4 == 0 else [gold],
            "beyond": 7 if i == 3 else gold,
            "bad": int(i == 3),
            "gappy": [f"tin {{i}}", "" if i == 3 else "gold é leaf", "wood"],
            "answer": str(1 + gold % 2), "ending": f"fell é {{i}}", "page": f"Page {{i}}. All of it.",
        }})
    return {{"test": datasets.Dataset.from_list(rows)}}

def gold(doc): return doc["gold"]
def gold_text(doc): return doc["choices"][doc["gold"]]
def gold_digits(doc): return doc["digits"][doc["gold"]]
def which(doc): return int(doc["answer"]) - 1
def contexts(doc): return [f"The cat {{doc['question']}}", f"The dog {{doc['question']}}"]
def three(doc): return [*contexts(doc), f"The cow {{doc['question']}}"]
def ending(doc): return doc["ending"]
def only_mine(doc, results): return {{"mine": float(results[doc["gold"]][0])}}
def upside_down(doc, results): return {{"acc": float(np.argmin([one[0] for one in results]) == doc["gold"])}}
"""


def metrics(*names: str, aggregation: str = "mean") -> str:
    each = (f"{{metric: {name}, aggregation: {aggregation}, higher_is_better: true}}" for name in names)
    return f"[{', '.join(each)}]"


ACC = metrics("acc", "acc_norm")
ASKED_AGAIN = metrics("acc", "acc_mutual_info")
WINO = {"doc_to_choice": "!function kinds.contexts", "doc_to_target": "!function kinds.ending"}
WINO_3 = {**WINO, "doc_to_choice": "!function kinds.three"}
#: By name: what differs from a plain multiple choice.
KINDS: dict[str, dict[str, str]] = {
    "index": {},
    "index_template": {"doc_to_target": '"{{gold}}"'},
    "index_function": {"doc_to_target": "!function kinds.gold"},
    "text_template": {"doc_to_target": '"{{choices[gold]}}"'},
    "text_function": {"doc_to_target": "!function kinds.gold_text"},
    "letters": {"doc_to_choice": "[A, B, C]", "doc_to_target": "label"},
    "digits_index": {"doc_to_choice": "digits"},
    "digits_text": {"doc_to_choice": "digits", "doc_to_target": "!function kinds.gold_digits"},
    "fixed": {"doc_to_target": "1"},
    "ragged": {"doc_to_choice": "ragged", "doc_to_target": "few"},
    "no_delimiter": {"target_delimiter": '""'},
    "line_delimiter": {"target_delimiter": '"\\n"'},
    "spaced": {"doc_to_choice": "spaced"},
    "few_shots": {"num_fewshot": "2", "fewshot_split": "test"},
    "asked_again": {"metric_list": ASKED_AGAIN},
    "several": {"doc_to_target": "golds"},
    "several_template": {"doc_to_target": '"{{golds}}"'},
    "beyond": {"doc_to_target": "beyond"},
    "no_such_text": {"doc_to_target": "\"{{ 'none of these' if bad else choices[gold] }}\""},
    "empty": {"doc_to_choice": "gappy"},
    "own_metric": {"process_results": "!function kinds.only_mine", "metric_list": metrics("mine")},
    "own_accuracy": {"process_results": "!function kinds.upside_down", "metric_list": metrics("acc")},
    "contexts_field": {**WINO, "doc_to_text": "few"},
    "contexts_template": {**WINO, "doc_to_text": '"{{few}}"'},
    "contexts_function": {**WINO, "doc_to_text": "!function kinds.which"},
    "contexts_asked_again": {**WINO, "doc_to_text": "few", "metric_list": ASKED_AGAIN},
    "three_contexts": {**WINO_3, "doc_to_text": "gold"},
    "three_contexts_function": {
        **WINO,
        "doc_to_text": "!function kinds.gold",
        "doc_to_choice": "!function kinds.three",
    },
    "one_text": {
        "output_type": "loglikelihood",
        "doc_to_target": '" {{ending}}"',
        "metric_list": metrics("acc"),
    },
    "whole_text": {
        "output_type": "loglikelihood_rolling",
        "doc_to_target": "page",
        "metric_list": metrics("word_perplexity", aggregation="weighted_perplexity"),
    },
    "generation": {
        "output_type": "generate_until",
        "doc_to_target": "ending",
        "metric_list": metrics("exact_match"),
        "generation_kwargs": "{until: [x], max_gen_toks: 3, do_sample: false}",
    },
}
WITHOUT_CHOICES = ("whole_text", "generation")
#: What the files do not tell, so that only the live evaluation has Samples.
UNTOLD = ("three_contexts_function",)


def task_yaml(name: str) -> str:
    plain = {
        "output_type": "multiple_choice",
        "doc_to_text": '"{{question}}"',
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": ACC,
    }
    settings = plain | KINDS[name]
    if settings["output_type"] != "multiple_choice":
        del settings["doc_to_choice"]
    lines = [f"{key}: {value}" for key, value in settings.items()]
    head = [f"task: {name}", "custom_dataset: !function kinds.load", "test_split: test", "metadata: {version: 1.0}"]
    return "\n".join([*head, *lines]) + "\n"


class HashedModel(LM):
    """A model whose log-likelihood of a continuation is a fixed function of the texts."""

    def __init__(self, spoilt: float | None = None) -> None:
        super().__init__()
        self.spoilt = spoilt

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        values = [_hashed("\0".join(one.args)) for one in requests]
        if self.spoilt is not None:
            values[len(values) // 2] = self.spoilt
        return [(value, value > -2.0) for value in values]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        values = [_hashed(one.args[0]) for one in requests]
        return values if self.spoilt is None else [self.spoilt, *values[1:]]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return ["fell" for _ in requests]


def _hashed(text: str) -> float:
    return -int.from_bytes(sha256(text.encode()).digest()[:6], "big") / 2**44


def evaluated(folder: Path, names: list[str], model: LM) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """lm-eval's results with all records, the live tasks, and the folder that its writer filled."""
    tasks, out = folder / "tasks", folder / "out" / "checkpoint-7"
    tasks.mkdir()
    (tasks / "kinds.py").write_text(CODE.format(items=ITEMS), encoding="utf-8")
    for name in names:
        (tasks / f"{name}.yaml").write_text(task_yaml(name), encoding="utf-8")
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    with np.errstate(divide="ignore"):  # lm-eval divides by the length of an empty choice
        results = simple_evaluate(model, tasks=list(names), task_manager=manager, bootstrap_iters=0, log_samples=True)
    live = manager.load(list(names))["tasks"]
    again = json.loads(json.dumps(results["samples"], default=str))  # the writer changes what it is given
    tracker = EvaluationTracker(output_path=str(out))
    logged = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=logged)
    for name in names:
        tracker.save_results_samples(task_name=name, samples=logged[name])
    return again, live, folder / "out"


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], Path]:
    return evaluated(tmp_path_factory.mktemp("kinds"), list(KINDS), HashedModel())


def live_samples(every_kind: tuple[dict[str, Any], dict[str, Any], Path], name: str) -> ItemSamples:
    records, tasks, _ = every_kind
    return item_samples("out", 7, name, LiveTask(tasks[name]), records[name])


def file_samples(every_kind: tuple[dict[str, Any], dict[str, Any], Path], name: str) -> ItemSamples:
    (results,) = every_kind[2].rglob("results_*.json")
    data = json.loads(results.read_bytes())
    file = sample_files(results, data)[name]
    return logged_samples(file, logged_records(file), name, data["configs"][name], "out", 7)


def assert_same(left: Samples, right: Samples) -> None:
    assert (left.series, left.step, left.task) == (right.series, right.step, right.task)
    np.testing.assert_array_equal(left.doc_ids_I, right.doc_ids_I)
    np.testing.assert_array_equal(left.greedy_IC, right.greedy_IC)
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(left.choices, column), getattr(right.choices, column))


@pytest.mark.parametrize("name", [name for name in KINDS if name not in UNTOLD])
def test_live_and_logged_samples_are_the_same(
    every_kind: tuple[dict[str, Any], dict[str, Any], Path], name: str
) -> None:
    live, logged = live_samples(every_kind, name), file_samples(every_kind, name)
    assert live.left_out == logged.left_out
    assert (live.samples is None) == (logged.samples is None) == (name in (*WITHOUT_CHOICES, "own_accuracy"))
    if live.samples is not None and logged.samples is not None:
        assert_same(live.samples, logged.samples)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in (*WITHOUT_CHOICES, "own_metric", "one_text")])
def test_the_right_choices_are_those_that_lm_eval_counts(
    every_kind: tuple[dict[str, Any], dict[str, Any], Path], name: str
) -> None:
    samples = live_samples(every_kind, name).samples
    if samples is None:
        assert name == "own_accuracy"
        return
    accuracy = plugin_manager().find("e2lm_register_metrics", ItemMetric, "acc", "metric").per_item(samples.choices)
    logged = {record["doc_id"]: record["acc"] for record in every_kind[0][name]}
    assert accuracy.tolist() == [logged[doc_id] for doc_id in samples.doc_ids_I.tolist()]
    assert 0 < accuracy.mean() < 1


@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith("contexts") or "context" in name])
def test_where_contexts_are_the_choices_the_ending_is_what_is_scored(
    every_kind: tuple[dict[str, Any], dict[str, Any], Path], name: str
) -> None:
    samples = live_samples(every_kind, name).samples
    assert samples is not None
    endings = [f"fell é {doc_id}" for doc_id in samples.doc_ids_I.tolist()]
    width = 3 if "three" in name else 2
    assert samples.choices.bytes_IC.tolist() == [[len(ending.encode())] * width for ending in endings]
    assert samples.choices.chars_IC.tolist() == [[len(ending)] * width for ending in endings]


def test_what_is_left_out_is_said(every_kind: tuple[dict[str, Any], dict[str, Any], Path]) -> None:
    said = {
        "beyond": f"1 of 24 items {NO_CHOICE} (doc_id 3)",
        "no_such_text": f"1 of 24 items {NO_CHOICE} (doc_id 3)",
        "empty": "1 of 24 items in no metric per character, byte or token but accuracies: a choice is empty (doc_id 3)",
        "own_accuracy": "lm-eval counts other choices as right than the task names: no item metrics",
    }
    for name, line in said.items():
        assert live_samples(every_kind, name).left_out == (line,)
    assert live_samples(every_kind, "several").left_out == ()
    untold = file_samples(every_kind, "three_contexts_function")
    assert untold.samples is None
    assert untold.left_out == (
        "24 of 24 items without item metrics, which choice is right is not logged (doc_id 0, 1, 2 ...)",
    )


def test_a_folder_is_read_with_a_note_for_each_thing_that_could_not_be_used(
    every_kind: tuple[dict[str, Any], dict[str, Any], Path],
) -> None:
    folder = every_kind[2]
    there = {one.task for one in read_lm_eval_samples(folder)}
    assert there == {*KINDS} - {*WITHOUT_CHOICES, *UNTOLD, "own_accuracy"}
    source = read_scores(folder)
    noted = {note.partition(":")[0] for note in source.notes}
    assert noted == {"beyond", "no_such_text", "empty", "own_accuracy", *UNTOLD}
    rows = {(row.task, row.metric): row for row in source.scores.rows()}
    assert rows["several", "acc"].n == ITEMS
    assert rows["several", "margin"].n == ITEMS
    assert rows["beyond", "acc_ties_half"].n == ITEMS
    assert rows["beyond", "margin"].n == ITEMS - 1
    assert rows["empty", "margin"].n == ITEMS
    assert rows["empty", "margin_per_byte"].n == ITEMS - 1
    assert all(np.isfinite(row.value) for row in rows.values())
    assert ("own_accuracy", "margin") not in rows


@pytest.mark.parametrize("name", [name for name in KINDS if name not in UNTOLD])
def test_logs_of_releases_before_0_4_3_are_the_same_too(
    every_kind: tuple[dict[str, Any], dict[str, Any], Path], name: str
) -> None:
    records, tasks, _ = every_kind  # numbers as numbers, arguments as a list, targets as they are
    config = {key: value for key, value in tasks[name].dump_config().items() if not callable(value)}
    old = item_samples("out", 7, name, LoggedTask(config, records[name]), records[name])
    live = live_samples(every_kind, name)
    assert old.left_out == live.left_out
    assert (old.samples is None) == (live.samples is None)
    if old.samples is not None and live.samples is not None:
        assert_same(old.samples, live.samples)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # lm-eval goes on with it
@pytest.mark.parametrize("spoilt", [float("nan"), float("-inf"), float("inf")])
@pytest.mark.parametrize("name", ["index", "one_text", "whole_text", "contexts_field", "asked_again"])
def test_a_number_that_is_not_finite_is_refused_by_both(name: str, spoilt: float, tmp_path: Path) -> None:
    spoilt_kind = evaluated(tmp_path, [name], HashedModel(spoilt))
    for read in (live_samples, file_samples):
        with pytest.raises(NotFiniteError, match=rf"a log-likelihood of {spoilt} \(doc_id \d+\)"):
            read(spoilt_kind, name)
    source = read_scores(spoilt_kind[2])
    assert not len(source.scores)
    assert "log-likelihood" in source.notes[0]
    assert f"the scores of {name} there are left out" in source.notes[0]
