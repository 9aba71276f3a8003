"""``e2lm signal export``: scores of one model as ``.eval_results/*.yaml``, which its page on the Hub shows.

Schema: https://github.com/huggingface/hub-docs/blob/main/eval_results.yaml, as huggingface_hub 1.3 and later write it
(``EvalResultEntry``): a list of ``{dataset: {id, task_id}, value, date, source, notes}``. A leaderboard of the Hub puts
values of one ``task_id`` beside each other, so no two that were measured in different ways are given the same.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from e2lm import UserError
from e2lm.atomic_file import write_text
from e2lm.errors import nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm.scores import ScoreRow
from e2lm_signal.cli.input import read_input

FOLDER = ".eval_results"
DEFAULT_TASK_ID = "default"
#: What of a key says how a value was measured.
PROTOCOL = ("shots", "limit", "chat_template", "version", "dtype", "harness", "harness_version")


@dataclass(frozen=True, slots=True)
class Published:
    """A benchmark of the Hub: the id of its dataset, and of a task in it."""

    dataset: str
    task_id: str


def run_export(arguments: Namespace) -> int:
    """Write the files; returns the exit code."""
    arguments.all_checkpoints = True  # a selection is for scores of curves
    mapping = parsed_datasets(arguments.dataset)
    source = read_input(arguments, plugin_manager())
    rows = _of_one_model(list(source.scores.rows()), arguments.step)
    files = entry_files(rows, mapping, arguments.source_url)
    for note in source.notes:
        print(f"note: {note}")
    folder = Path(arguments.out) / FOLDER
    left_out = sorted({row.task for row in rows if published(row.task, mapping) is None})
    if left_out:
        print(f"note: no --dataset names a benchmark for: {', '.join(left_out)}; left out")
    for name, text in files.items():
        if not arguments.dry_run:
            write_text(folder / name, text)
        print(f"{'would write' if arguments.dry_run else 'wrote'} {folder / name}")
    return 0


def parsed_datasets(texts: Sequence[str]) -> dict[str, Published]:
    """``["mmlu*=cais/mmlu:default"]`` by the pattern of tasks.

    >>> parsed_datasets(["gpqa=Idavidrein/gpqa:gpqa_diamond"])
    {'gpqa': Published(dataset='Idavidrein/gpqa', task_id='gpqa_diamond')}
    """
    found = {}
    for text in texts:
        pattern, equals, place = text.partition("=")
        dataset, _, task_id = place.partition(":")
        owner, slash, name = dataset.partition("/")
        if not (pattern and equals and owner and slash and name):
            raise UserError(f"--dataset: {text!r} is not TASK=OWNER/DATASET or TASK=OWNER/DATASET:TASK_ID")
        found[pattern] = Published(dataset, task_id or DEFAULT_TASK_ID)
    return found


def published(task: str, mapping: Mapping[str, Published]) -> Published | None:
    """The benchmark that the first fitting pattern names."""
    return next((place for pattern, place in mapping.items() if fnmatchcase(task, pattern)), None)


def _of_one_model(rows: Sequence[ScoreRow], step: int | None) -> list[ScoreRow]:
    """The rows of the wanted step, else of the last; a :class:`UserError` where they are of several series."""
    series = sorted({row.series for row in rows})
    if len(series) > 1:
        raise UserError(f"a model repository is of one model: choose with --series. {nearest_names('', series)}")
    steps = sorted({row.step for row in rows})
    wanted = steps[-1] if step is None else step
    if wanted not in steps:
        raise UserError(f"--step: no checkpoint at step {step}; there are {', '.join(map(str, steps[-5:]))}")
    return [row for row in rows if row.step == wanted]


def entry_files(rows: Sequence[ScoreRow], mapping: Mapping[str, Published], source_url: str | None) -> dict[str, str]:
    """Names and texts of the files, one per task.

    Raises :class:`UserError` where two values, of other tasks, metrics or ways to evaluate, would have one ``task_id``.
    """
    taken: dict[Published, ScoreRow] = {}
    files = {}
    for row in rows:
        place = published(row.task, mapping)
        if place is None:
            continue
        other = taken.setdefault(place, row)
        if other is not row:
            raise UserError(
                f"{place.dataset}:{place.task_id} would have two values: {_described(other)} and {_described(row)}; "
                "choose with --tasks and --metrics, or give them different ids with --dataset"
            )
        files[f"{_file_name(row.task)}.yaml"] = _text(row, place, source_url)
    if not files:
        tasks = sorted({row.task for row in rows})
        raise UserError(f"--dataset: no pattern fits a task. {nearest_names(next(iter(mapping), ''), tasks)}")
    return files


def _text(row: ScoreRow, place: Published, source_url: str | None) -> str:
    entry: dict[str, Any] = {"dataset": {"id": place.dataset, "task_id": place.task_id}, "value": row.value}
    if source_url:
        entry["source"] = {"url": source_url}
    entry["notes"] = _described(row)
    return str(yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=1000))


def _described(row: ScoreRow) -> str:
    """How the value was measured, as far as that is known."""
    about = json.loads(row.key) if row.key else {}
    told = [f"{name.replace('_', ' ')} {about[name]}" for name in PROTOCOL if about.get(name)]
    stderr = [f"standard error {row.stderr:.4g}"] if row.stderr == row.stderr else []
    return ", ".join([f"{row.task} by {row.metric}", f"step {row.step}", *told, *stderr])


def _file_name(task: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in task)
