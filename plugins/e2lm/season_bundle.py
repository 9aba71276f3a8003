"""Asked items as a bundle for a season of `e2lm leaderboard`: one task, few-shot examples written into its prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from e2lm.asked_items import AskedItem
from e2lm.atomic_file import write_text
from e2lm.errors import UserError


def bundle_files(
    name: str, items: Sequence[AskedItem], metric: str, license_name: str, language: str = "en"
) -> dict[str, str]:
    """The files of the bundle. The prompts are those of lm-eval to the byte, and so are the choices."""
    unknown = [item for item in items if item.gold is None]
    if unknown:
        raise UserError(f"{unknown[0].task}: item {unknown[0].doc_id}: its answer is no choice; correct doc_to_target")
    task = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    delimiter = shared_delimiter(items) or ""
    rows = [
        {"context": one.context, "choices": [text.removeprefix(delimiter) for text in one.choices], "gold": one.gold}
        for one in items
    ]
    submission = {
        "schema_version": 1,
        "name": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"),
        "title": name,
        "description": f"{name}: {len(items)} items, exported from lm-eval with the examples that stand before them.",
        "language": language,
        "license": license_name,
        "tier": "declarative",
        "metric": metric,
        "tasks": [f"{task}.yaml"],
    }
    description = {
        "task": task,
        "output_type": "multiple_choice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": f"{task}.jsonl"},
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "context",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": delimiter,
    }
    return {
        "submission.yaml": _yaml(submission),
        f"{task}.yaml": _yaml(description),
        f"{task}.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    }


#: Of a bundle, in characters.
LONGEST_DELIMITER = 16


def shared_delimiter(items: Sequence[AskedItem]) -> str | None:
    """What stands before every choice and counts in no length; None where items differ, or a bundle takes none so long.

    The choices of a bundle then hold it, and lengths, by which log-likelihoods are divided, count it.

    >>> shared_delimiter([AskedItem("a", 0, "", "", (" x",), 0, " ")])
    ' '
    """
    found = {one.delimiter for one in items}
    return found.pop() if len(found) == 1 and len(max(found, key=len)) <= LONGEST_DELIMITER else None


def _yaml(values: dict[str, object]) -> str:
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def write_bundle(folder: Path, files: dict[str, str]) -> None:
    """Write the files, each whole or not at all."""
    for name, text in files.items():
        write_text(folder / name, text)
