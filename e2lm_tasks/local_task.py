"""An lm-eval task whose data lies beside its YAML, so that a folder of tasks can be copied anywhere and read offline.

lm-eval 0.4.13 resolves a relative ``data_files`` against the current directory, and the ways around it
(``!function`` paths, ``custom_dataset``) put Python code into the folder. This class needs neither: the folder holds
data only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lm_eval.api.task import ConfigurableTask

from e2lm import UserError
from e2lm.errors import one_line

DATA_KEY = "data_files"


class LocalTask(ConfigurableTask):  # type: ignore[misc]
    """A task that reads ``dataset_kwargs: {data_files: NAME.jsonl}`` from the folder of its YAML as split ``test``.

    A YAML with a ``dataset_path`` is loaded as lm-eval does it.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        # lm-eval hands over the key that named this class, and its own TaskConfig refuses it.
        super().__init__(config={key: value for key, value in (config or {}).items() if key != "class"})

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Fill ``self.dataset``; called by lm-eval."""
        if self.config.dataset_path is not None or self.config.custom_dataset is not None:
            super().download(dataset_kwargs, **kwargs)
            return
        from datasets import Dataset

        self.dataset = {"test": Dataset.from_list(read_rows(self._data_file(dataset_kwargs or {})))}

    def _data_file(self, dataset_kwargs: dict[str, Any]) -> Path:
        source = str((self.config.metadata or {}).get("config_source", "inline"))
        name = dataset_kwargs.get(DATA_KEY)
        if source == "inline" or not isinstance(name, str):
            raise UserError(
                f"task {self.config.task!r} ({source}): set dataset_kwargs: {{{DATA_KEY}: NAME.jsonl}}, "
                "a file beside the YAML, or a dataset_path"
            )
        folder = Path(source).resolve().parent
        file = (folder / name).resolve()
        if not file.is_relative_to(folder):
            raise UserError(f"{source}: {DATA_KEY} {name!r} lies outside the folder of the YAML; move it there")
        return file


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; a :class:`UserError` names the line that is none."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; the task's data must lie beside its YAML") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 ({one_line(error)})") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{file}:{number}: not valid JSON ({one_line(error)})") from error
        if not isinstance(row, dict):
            raise UserError(f"{file}:{number}: found {type(row).__name__}; each line must be a JSON object")
        rows.append(row)
    if not rows:
        raise UserError(f"{file}: holds no items")
    return rows


#: Names a folder: ``OWNER--DATASET/[NAME/]SPLIT.jsonl`` for the suites of the Hub, ``blimp`` and ``zorro`` for those.
DATA_VARIABLE = "E2LM_DATA"
