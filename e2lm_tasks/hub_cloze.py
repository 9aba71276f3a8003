"""The base class of tasks whose data is on the Hub, with local files of the same schema in its place where wanted.

``E2LM_DATA=DIR`` names a folder that holds ``OWNER--DATASET/[NAME/]SPLIT.jsonl`` (or ``.parquet``); then nothing is
fetched. Options are texts, not letters: letters say nothing before some 1e10 tokens (docs/signal.md).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from e2lm import UserError
from e2lm.errors import one_line
from e2lm_tasks.local_task import DATA_VARIABLE, read_rows
from e2lm_tasks.multiple_choice import MultipleChoice

SUFFIXES = (".jsonl", ".parquet")


class HubCloze(MultipleChoice):
    """A multiple-choice task that reads ``dataset_path`` from the Hub, or below ``E2LM_DATA`` where that is set."""

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Fill ``self.dataset``; called by lm-eval."""
        root = os.environ.get(DATA_VARIABLE)
        if root:
            folder = data_folder(Path(root), str(self.config.dataset_path), self.config.dataset_name)
            self.dataset = {split: _split(folder, split) for split in self._splits()}
            return
        try:
            super().download(dataset_kwargs, **kwargs)
        except OSError as error:
            place = data_folder(Path("DIR"), str(self.config.dataset_path), self.config.dataset_name)
            raise UserError(
                f"task {self.config.task!r}: {self.config.dataset_path} cannot be fetched ({one_line(error)}); "
                f"or put {place}/{next(iter(self._splits()))}.jsonl there and set {DATA_VARIABLE}=DIR"
            ) from error

    def _splits(self) -> dict[str, None]:
        wanted = [self.config.test_split or self.config.validation_split, self.config.fewshot_split]
        return dict.fromkeys(split for split in wanted if split is not None)


def data_folder(root: Path, dataset_path: str, dataset_name: str | None) -> Path:
    """Where the local files of a dataset of the Hub are looked for.

    >>> data_folder(Path("data"), "cais/mmlu", "anatomy").as_posix()
    'data/cais--mmlu/anatomy'
    """
    folder = root / dataset_path.replace("/", "--")
    return folder / dataset_name if dataset_name else folder


def _split(folder: Path, split: str) -> Any:
    from datasets import Dataset

    for suffix in SUFFIXES:
        file = folder / f"{split}{suffix}"
        if file.is_file():
            return Dataset.from_list(read_rows(file)) if suffix == ".jsonl" else Dataset.from_parquet(str(file))
    raise UserError(f"{folder}: holds no {split}.jsonl or {split}.parquet; {DATA_VARIABLE} says where to look")


def hellaswag_docs(dataset: Any) -> Any:
    """HellaSwag's items as prompt, endings and the number of the true one, cleaned as its authors' scripts do.

    The WikiHow part holds ``[title]`` and ``[step]`` marks, which are no language.
    """

    def cleaned(doc: dict[str, Any]) -> dict[str, Any]:
        beginning = f"{doc['activity_label']}: {doc['ctx_a']} {str(doc['ctx_b']).capitalize()}"
        endings = [_without_marks(ending) for ending in doc["endings"]]
        return {"query": _without_marks(beginning), "choices": endings, "gold": int(doc["label"])}

    return dataset.map(cleaned)


def _without_marks(text: str) -> str:
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
