from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from e2lm import ItemMetric
from e2lm.hookspecs import hookimpl
from e2lm.plugin_manager import PluginManager, PluginRecord
from e2lm_tasks import multiple_choice

CHOICES = ["alpha", "be", "gamma ray", "délta"]


class FixedModel(LM):
    """A model whose log-likelihood of a continuation is a fixed function of its text."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(loglik_of(continuation), False) for _, continuation in (one.args for one in requests)]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return [loglik_of(one.args[0]) for one in requests]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError


def loglik_of(text: str) -> float:
    return -float(sum(text.encode()) % 97) - len(text) / 7


def gold_loglik(choices: Any) -> Any:
    return choices.gold_loglik_I


def broken(choices: Any) -> Any:
    raise ZeroDivisionError("no such thing")


METRICS = [
    ItemMetric("gold_loglik", "Log-likelihood of the truth.", gold_loglik),
    ItemMetric("surprise", "Its negative.", lambda choices: -choices.gold_loglik_I, higher_is_better=False),
    ItemMetric("acc", "Not lm-eval's.", lambda choices: np.full(len(choices), 7.0)),
    ItemMetric("acc_bytes", "Not lm-eval's.", lambda choices: np.full(len(choices), 7.0)),
    ItemMetric("of_nine", "Wants nine choices.", gold_loglik, min_choices=9),
    ItemMetric("per_token", "Wants token counts.", lambda choices: np.where(choices.tokens_IC > 0, 1.0, np.nan)[:, 0]),
]


class Plugin:
    def __init__(self, metrics: list[ItemMetric]) -> None:
        self.metrics = metrics

    @hookimpl
    def e2lm_register_metrics(self) -> list[ItemMetric]:
        return self.metrics


def use_metrics(monkeypatch: pytest.MonkeyPatch, metrics: list[ItemMetric]) -> None:
    manager = PluginManager()
    manager.register(Plugin(metrics), PluginRecord("probe", "probe", "0"))
    monkeypatch.setattr(multiple_choice, "plugin_manager", lambda: manager)


def task_folder(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "probe.yaml").write_text(
        "task: probe\nclass: !function e2lm_tasks.multiple_choice.MultipleChoice\n"
        "dataset_kwargs: {data_files: data.jsonl}\noutput_type: multiple_choice\ntest_split: test\n"
        "doc_to_text: context\ndoc_to_choice: choices\ndoc_to_target: gold\nmetadata: {version: 1.0}\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n",
        encoding="utf-8",
    )
    return folder


def evaluated(folder: Path, task: str = "probe") -> dict[str, Any]:
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results: dict[str, Any] = simple_evaluate(model=FixedModel(), tasks=[task], task_manager=manager)
    return results


ROWS = [{"context": f"Text {number}", "choices": CHOICES, "gold": number % 4} for number in range(8)]


def test_registered_metrics_come_with_mean_stderr_and_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_metrics(monkeypatch, METRICS)
    results = evaluated(task_folder(tmp_path, ROWS))
    values = [loglik_of(f" {CHOICES[row['gold']]}") for row in ROWS]
    probe = results["results"]["probe"]
    assert probe["gold_loglik,none"] == pytest.approx(np.mean(values))
    assert probe["gold_loglik_stderr,none"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(8))
    assert results["higher_is_better"]["probe"]["gold_loglik"] is True
    assert results["higher_is_better"]["probe"]["surprise"] is False


def test_lm_evals_own_names_keep_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_metrics(monkeypatch, METRICS)
    probe = evaluated(task_folder(tmp_path, ROWS))["results"]["probe"]
    logliks = [loglik_of(f" {choice}") for choice in CHOICES]
    per_byte = [loglik / len(choice.encode()) for loglik, choice in zip(logliks, CHOICES, strict=True)]
    assert probe["acc,none"] == np.mean([row["gold"] == np.argmax(logliks) for row in ROWS])
    assert probe["acc_bytes,none"] == np.mean([row["gold"] == np.argmax(per_byte) for row in ROWS])


def test_metrics_that_cannot_be_computed_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_metrics(monkeypatch, METRICS)
    probe = evaluated(task_folder(tmp_path, ROWS))["results"]["probe"]
    assert not [key for key in probe if key.startswith(("of_nine", "per_token"))]


def test_a_metric_that_raises_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_metrics(monkeypatch, [ItemMetric("broken", "Raises.", broken), *METRICS])
    with pytest.warns(
        UserWarning,
        match="task 'probe': item metric 'broken' failed \\(it raised ZeroDivisionError: no such thing\\); it is NaN",
    ) as caught:
        probe = evaluated(task_folder(tmp_path, ROWS))["results"]["probe"]
    assert len([one for one in caught if "'broken'" in str(one.message)]) == 1
    assert math.isnan(probe["broken,none"])
    assert math.isfinite(probe["gold_loglik,none"])


def test_an_item_with_a_number_that_is_not_finite_is_not_left_out_of_a_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_metrics(monkeypatch, METRICS)
    spoilt = {**ROWS[3], "choices": ["NaN", *CHOICES[1:]]}
    folder = task_folder(tmp_path, [*ROWS[:3], spoilt, *ROWS[4:]])
    model = FixedModel()
    answered = model.loglikelihood
    model.loglikelihood = lambda requests: [  # type: ignore[method-assign]
        (math.nan, False) if one.args[1] == " NaN" else answered([one])[0] for one in requests
    ]
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    probe = simple_evaluate(model=model, tasks=["probe"], task_manager=manager)["results"]["probe"]
    assert math.isnan(probe["gold_loglik,none"])
    assert math.isnan(probe["surprise,none"])
    assert "of_nine,none" not in probe


def test_without_plugins_lm_evals_metrics_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_metrics(monkeypatch, [])
    assert "acc,none" in evaluated(task_folder(tmp_path, ROWS))["results"]["probe"]


def test_true_choices_given_as_text_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_metrics(monkeypatch, METRICS)
    rows = [{**row, "gold": CHOICES[row["gold"]]} for row in ROWS]
    as_text = evaluated(task_folder(tmp_path, rows))["results"]["probe"]
    as_index = evaluated(task_folder(tmp_path, ROWS))["results"]["probe"]
    assert as_text["gold_loglik,none"] == as_index["gold_loglik,none"]


def test_unconditional_requests_of_mutual_information_are_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_metrics(monkeypatch, METRICS)
    folder = task_folder(tmp_path, ROWS)
    yaml = folder / "probe.yaml"
    yaml.write_text(yaml.read_text().replace("metric: acc,", "metric: acc_mutual_info,"))
    probe = evaluated(folder)["results"]["probe"]
    assert probe["gold_loglik,none"] == pytest.approx(np.mean([loglik_of(f" {choice}") for choice in CHOICES]))
    assert "acc_mutual_info,none" in probe


def test_choices_in_the_prompt_are_measured_by_what_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = ItemMetric("gold_bytes", "Bytes scored.", lambda choices: choices.of_gold(choices.bytes_IC * 1.0))
    use_metrics(monkeypatch, [lengths])
    rows = [{"context": index % 2, "choices": ["He ran.", "She ran away."], "gold": "fast"} for index in range(4)]
    probe = evaluated(task_folder(tmp_path, rows))["results"]["probe"]
    assert probe["gold_bytes,none"] == len("fast")


def test_installed_metrics_reach_a_task_without_warnings(suite_folder: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = evaluated(suite_folder, "probe_cloze")
    assert not [one for one in caught if "item metric" in str(one.message)]
    values = results["results"]["probe_cloze"]
    assert {"acc,none", "acc_norm,none", "acc_bytes,none"} <= set(values)
    assert not [key for key, value in values.items() if isinstance(value, float) and math.isnan(value)]
