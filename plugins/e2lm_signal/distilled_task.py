"""A distilled benchmark as files: an lm-eval task, the ids of its items, and its card.

::

    OUT/<task>_distilled.yaml    includes the base task and keeps the chosen documents (only with a base task)
    OUT/kept_documents.py        the function that keeps them
    OUT/items.json               {"<task>": [document ids]}: also what ``lm_eval run --samples`` takes
    OUT/card.json, card.md       what was measured, on held-out models
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm import UserError
from e2lm.atomic_file import write_json, write_text
from e2lm.errors import nearest_names

KEPT_DOCUMENTS = '''"""Keeps the documents listed in items.json."""

import json
from pathlib import Path

IDS = next(iter(json.loads((Path(__file__).parent / "items.json").read_text(encoding="utf-8")).values()))
#: Documents of the split that was distilled; other splits (few-shot examples) stay whole.
DOCUMENTS = {documents}


def keep(dataset):
    """The chosen documents of the evaluated split."""
    return dataset.select(IDS) if len(dataset) == DOCUMENTS else dataset
'''


@dataclass(frozen=True, slots=True)
class DistilledTask:
    """Which documents of ``task`` are kept, out of ``documents``; ``base_task`` is its name in lm-eval, if known."""

    task: str
    base_task: str | None
    doc_ids: list[int]
    documents: int


def write_task(folder: Path, task: DistilledTask, card: dict[str, Any], dry_run: bool) -> list[str]:
    """Write the files, each whole or not at all; returns their names."""
    from e2lm_signal.distil_run import as_text

    base = task.base_task or task.task
    name = f"{base}_distilled"
    texts = {"card.md": f"# {name}\n\n```\n{as_text(card)}\n```\n"}
    if task.base_task is not None:
        texts[f"{name}.yaml"] = (
            f"include: {json.dumps(str(base_yaml(task.base_task)))}\ntask: {name}\n"
            "process_docs: !function kept_documents.keep\nmetadata:\n  version: 1\n"
        )
        texts["kept_documents.py"] = KEPT_DOCUMENTS.format(documents=task.documents)
    names = sorted([*texts, "items.json", "card.json"])
    if not dry_run:
        write_json(folder / "items.json", {base: task.doc_ids})
        write_json(folder / "card.json", card)
        for file, text in texts.items():
            write_text(folder / file, text)
    return [str(folder / file) for file in names]


def base_yaml(base_task: str) -> Path:
    """The YAML file of a task that lm-eval knows, which the distilled one includes."""
    from lm_eval.tasks import TaskManager

    index = TaskManager().task_index
    if base_task not in index:
        raise UserError(f"--base-task: lm-eval knows no task {base_task!r}. {nearest_names(base_task, index)}")
    entry = index[base_task]
    if "process_docs" in (entry.cfg or {}):
        raise UserError(
            f"--base-task: {base_task!r} changes its documents itself (process_docs), so ids cannot be mapped; leave "
            "out --base-task and use items.json with lm_eval run --samples"
        )
    return Path(entry.yaml_path)
