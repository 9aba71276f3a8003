"""The files of a distilled benchmark: lm-eval tasks that keep the chosen documents, the ids, and the card.

::

    OUT/<task>_distilled.yaml    includes the base task and keeps the chosen documents; one per task of a group
    OUT/<group>.yaml             the group, weighed by its items (only of a group)
    OUT/kept_documents.py        the functions that keep them, and that score a metric lm-eval has not
    OUT/items.json               {"<task>": [document ids]}: also what ``lm_eval run --samples`` takes
    OUT/card.json, card.md       what was measured, on held-out models

A function keeps documents of the split that was evaluated, by its name; few-shot examples of another split stay whole.
Where it finds fewer documents than the ids speak of it raises: a benchmark that is quietly another one is worse than
none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from e2lm import UserError
from e2lm.atomic_file import write_json, write_text
from e2lm.errors import nearest_names
from e2lm.results.tables import loaded_json

KEPT_DOCUMENTS = '''"""Keeps the documents listed in items.json, of the split that was distilled."""

import json
from pathlib import Path

IDS = json.loads((Path(__file__).parent / "items.json").read_text(encoding="utf-8"))


def kept(dataset, task, split):
    """The chosen documents of ``split``; other splits (few-shot examples) stay whole."""
    if dataset.split is not None and str(dataset.split).partition("[")[0] != split:
        return dataset
    if len(dataset) <= max(IDS[task]):
        raise ValueError(f"{task}: {len(dataset)} documents, but document {max(IDS[task])} is to be kept: other data")
    return dataset.select(IDS[task])
'''
FUNCTION = '''

def {function}(dataset):
    """The chosen documents of {task}."""
    return kept(dataset, {task!r}, {split!r})
'''
#: What lm-eval's own ``likelihood`` hands to an aggregation: per item the right choice and all log-likelihoods.
AGGREGATIONS = {
    "gold_minus_mean_wrong": '''

def gold_minus_mean_wrong(items):
    """Mean over items of the log-likelihood of the right choice minus the mean of the others."""
    return sum(
        logliks[gold] - (sum(logliks) - logliks[gold]) / (len(logliks) - 1) for gold, logliks in items
    ) / len(items)
''',
    "margin": '''

def margin(items):
    """Mean over items of the log-likelihood of the right choice minus the best of the others."""
    return sum(
        logliks[gold] - max(one for place, one in enumerate(logliks) if place != gold) for gold, logliks in items
    ) / len(items)
''',
}
#: Metrics of multiple choice that lm-eval itself reports.
OF_LM_EVAL = ("acc", "acc_norm")
SPLITS = ("test_split", "validation_split", "training_split")


@dataclass(frozen=True, slots=True)
class DistilledTask:
    """Which documents of ``task`` are kept; ``base_task`` is its name in lm-eval, if the task is to be written."""

    task: str
    base_task: str | None
    doc_ids: list[int]

    @property
    def name(self) -> str:
        """Of the distilled task."""
        return f"{self.base_task or self.task}_distilled"


@dataclass(frozen=True, slots=True)
class DistilledBenchmark:
    """One task, or the tasks of ``group``; ``metric`` is what it was distilled by, ``shots`` how it was evaluated."""

    tasks: Sequence[DistilledTask]
    metric: str
    group: str | None = None
    shots: int | None = None

    @property
    def name(self) -> str:
        """Of the group, or of the one task."""
        return self.group or self.tasks[0].name


def write_benchmark(
    folder: Path, benchmark: DistilledBenchmark, card: Mapping[str, Any], text: str, include: str | None = None
) -> None:
    """Write the files, each whole or not at all; ``include`` is where base tasks are that lm-eval does not bring."""
    texts = _texts(benchmark, text, include)
    write_json(folder / "items.json", {one.base_task or one.task: one.doc_ids for one in benchmark.tasks})
    write_json(folder / "card.json", dict(card))
    for file, content in texts.items():
        write_text(folder / file, content)


def files_of(folder: Path, benchmark: DistilledBenchmark, include: str | None = None) -> list[str]:
    """The names of the files that :func:`write_benchmark` writes."""
    return [str(folder / file) for file in sorted([*_texts(benchmark, "", include), "items.json", "card.json"])]


def _texts(benchmark: DistilledBenchmark, card: str, include: str | None) -> dict[str, str]:
    texts = {"card.md": f"# {benchmark.name}\n\n```\n{card}\n```\n"}
    written = [one for one in benchmark.tasks if one.base_task is not None]
    functions = KEPT_DOCUMENTS
    for index, one in enumerate(written):
        base = str(one.base_task)
        function = f"keep_{index}_{re.sub(r'[^0-9A-Za-z]+', '_', base)}"
        config, file = base_task(base, include)
        texts[f"{one.name}.yaml"] = _task_yaml(benchmark, one, file, function)
        functions += FUNCTION.format(function=function, task=base, split=evaluated_split(base, config))
    if written:
        texts["kept_documents.py"] = functions + AGGREGATIONS.get(benchmark.metric, "")
    if benchmark.group is not None and written:
        texts[f"{benchmark.group}.yaml"] = _group_yaml(benchmark)
    return texts


def _task_yaml(benchmark: DistilledBenchmark, task: DistilledTask, base_file: Path, function: str) -> str:
    lines = [
        f"include: {json.dumps(str(base_file))}",
        f"task: {task.name}",
        f"task_alias: {json.dumps(task.name)}",
        # Else it would run whenever the tag of the base task is asked for.
        "tag: null",
        f"process_docs: !function kept_documents.{function}",
    ]
    if benchmark.shots is not None:
        lines.append(f"num_fewshot: {benchmark.shots}")
    if benchmark.metric in AGGREGATIONS:
        lines += [
            "metric_list:",
            "  - metric: likelihood",
            f"    aggregation: !function kept_documents.{benchmark.metric}",
            "    higher_is_better: true",
        ]
    return "\n".join([*lines, "metadata:", "  version: 1", ""])


def reported_metric(metric: str) -> str | None:
    """What lm-eval calls ``metric`` in the results of a distilled task; None where it has no such metric.

    >>> reported_metric("gold_minus_mean_wrong"), reported_metric("acc"), reported_metric("bits_per_byte")
    ('likelihood,none', 'acc,none', None)
    """
    if metric in AGGREGATIONS:
        return "likelihood,none"
    return f"{metric},none" if metric in OF_LM_EVAL else None


def _group_yaml(benchmark: DistilledBenchmark) -> str:
    metric = (reported_metric(benchmark.metric) or "acc,none").partition(",")[0]
    tasks = "".join(f"  - {one.name}\n" for one in benchmark.tasks)
    return (
        f"group: {benchmark.group}\ntask:\n{tasks}aggregate_metric_list:\n  - metric: {metric}\n"
        "    weight_by_size: true\nmetadata:\n  version: 1\n"
    )


@cache
def _index(include: str | None, with_defaults: bool) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    return dict(TaskManager(include_path=include, include_defaults=with_defaults).task_index)


def base_task(name: str, include: str | None = None) -> tuple[dict[str, Any], Path]:
    """Configuration and YAML file of a task that lm-eval knows, which the distilled one includes."""
    # lm-eval's own 15,000 files take half a minute to read: only where the task is not among the user's.
    own = _index(include, False) if include else {}
    index = own if name in own else _index(include, True)
    if name not in index:
        raise UserError(
            f"--base-task: lm-eval knows no task {name!r}. {nearest_names(name, index)} "
            "--include-path names a folder of tasks of your own"
        )
    entry = index[name]
    if entry.yaml_path is None or "task" not in (entry.cfg or {}):
        raise UserError(f"--base-task: {name!r} is a group or a tag of lm-eval; name tasks")
    if "process_docs" in entry.cfg:
        raise UserError(
            f"--base-task: {name!r} changes its documents itself (process_docs), so ids cannot be mapped; leave "
            "out --base-task and use items.json with lm_eval run --samples"
        )
    return dict(entry.cfg), Path(entry.yaml_path).resolve()


def evaluated_split(name: str, config: Mapping[str, Any]) -> str:
    """The split whose documents lm-eval evaluates: test, else validation, else training."""
    found = next((str(config[key]) for key in SPLITS if config.get(key)), None)
    if found is None:
        raise UserError(f"--base-task: {name!r} names no split, so its documents cannot be kept by their ids")
    return found


def other_examples(benchmark: DistilledBenchmark, include: str | None = None) -> list[str]:
    """A line for each reason why tasks show other few-shot examples than were logged, with the first such task."""
    found: dict[str, list[str]] = {}
    for one in benchmark.tasks:
        if one.base_task is not None:
            config, _ = base_task(one.base_task, include)
            shots = benchmark.shots if benchmark.shots is not None else config.get("num_fewshot") or 0
            if shots and (why := _why_other(config, evaluated_split(one.base_task, config))):
                found.setdefault(why, []).append(one.task)
    told = "{} of {} tasks ({}{}) show other examples than were logged: {}"
    return [
        told.format(len(tasks), len(benchmark.tasks), tasks[0], ", ..." * (len(tasks) > 1), why)
        for why, tasks in found.items()
    ]


def _why_other(config: Mapping[str, Any], evaluated: str) -> str:
    """Why few-shot examples change with the documents that are left; empty where they do not."""
    how = config.get("fewshot_config") if isinstance(config.get("fewshot_config"), dict) else {}
    named = [(how or {}).get("split"), *(config.get(key) for key in ("fewshot_split", *reversed(SPLITS)))]
    if not (how or {}).get("samples") and next((one for one in named if one), None) == evaluated:
        return "they are taken from the items themselves, and only the chosen ones are left"
    if (how or {}).get("sampler") != "first_n":
        return "they are drawn item by item, and there are fewer items; fewshot_config.sampler: first_n would not"
    return ""


def logged_shots(path: Path, tasks: Sequence[str]) -> int | None:
    """How many examples lm-eval showed when it logged the samples below ``path``; None where its results do not say.

    A :class:`UserError` where tasks or files differ: a group has one number.
    """
    found: dict[int, str] = {}
    for file in sorted(path.rglob("*results*.json")) if path.is_dir() else ():
        shots = _shots_by_task(file)
        found |= {int(shots[task]): f"{task} in {file}" for task in tasks if isinstance(shots.get(task), int)}
    if len(found) > 1:
        told = ", ".join(f"{count} ({where})" for count, where in sorted(found.items()))
        raise UserError(f"the samples were logged with different numbers of examples: {told}; give --num-fewshot")
    return next(iter(found), None)


def _shots_by_task(file: Path) -> dict[str, Any]:
    """What lm-eval's results say of it; nothing of a file that is none, or damaged: that is told where it is read."""
    try:
        data = loaded_json(file)
    except UserError:
        return {}
    shots = data.get("n-shot") if isinstance(data, dict) else None
    return shots if isinstance(shots, dict) else {}
