"""Which items belong to a benchmark by what their documents say: `--where 'type=mcq*' 'details.level=L[123]'`.

lm-eval logs the document of every item beside what the model said of it; Samples of `e2lm eval` hold none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from e2lm import UserError
from e2lm.errors import nearest_names
from e2lm.results.lm_eval import sample_files
from e2lm.results.lm_eval_items import logged_records
from e2lm.results.tables import loaded_json
from e2lm_signal.item_table import ItemTable

#: Task -> document id -> document.
Documents = Mapping[str, Mapping[int, Any]]


def logged_documents(path: Path, tasks: Sequence[str]) -> Documents:
    """The documents of ``tasks`` as lm-eval logged them below ``path``; a :class:`UserError` where it did not."""
    found: dict[str, dict[int, Any]] = {}
    for file in sorted(path.rglob("*.json")) if path.is_dir() else ():
        if len(found) == len(tasks):
            break
        for task, samples in _samples_of(file).items():
            if task in tasks and task not in found:
                found[task] = {int(one["doc_id"]): one.get("doc") for one in logged_records(samples)}
    if lacking := [task for task in tasks if task not in found]:
        raise UserError(
            f"--where: {path} has no documents of {lacking[0]}; only what lm-eval logs with --log_samples holds them"
        )
    return found


def _samples_of(file: Path) -> dict[str, Path]:
    try:
        data = loaded_json(file)
    except UserError:  # said where results are read
        return {}
    return sample_files(file, data) if isinstance(data, dict) and isinstance(data.get("configs"), dict) else {}


def values_at(document: Any, field: str) -> Iterator[str]:
    """What the document says at ``field``, a name or ``name.name``; each element of a list.

    >>> list(values_at({"details": {"level": "L1"}, "tags": ["a", "b"]}, "details.level"))
    ['L1']
    >>> list(values_at({"details": {"level": "L1"}, "tags": ["a", "b"]}, "tags"))
    ['a', 'b']
    """
    for name in field.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    if document is not None:
        yield from map(str, document if isinstance(document, list) else [document])


@dataclass(frozen=True, slots=True)
class Conditions:
    """Field -> patterns: an item is kept where every field says something that matches one of its patterns."""

    by_field: Mapping[str, tuple[str, ...]]

    @classmethod
    def parsed(cls, texts: Sequence[str]) -> Conditions:
        """Of ``FIELD=PATTERN``; several of one field are either the one or the other."""
        by_field: dict[str, tuple[str, ...]] = {}
        for text in texts:
            field, equals, pattern = text.partition("=")
            if not equals or not field:
                raise UserError(f"--where: found {text!r}; FIELD=PATTERN is expected, for example 'type=mcq*'")
            by_field[field] = (*by_field.get(field, ()), pattern)
        return cls(by_field)

    def holds(self, document: Any) -> bool:
        """Whether an item of this document is kept."""
        return all(
            any(fnmatchcase(value, pattern) for value in values_at(document, field) for pattern in patterns)
            for field, patterns in self.by_field.items()
        )

    def kept(self, tables: Sequence[ItemTable], documents: Documents, notes: list[str]) -> list[ItemTable]:
        """The tables with the items that the conditions leave, and a note of how many; without those left empty."""
        self._require_fields(documents)
        kept = []
        for table in tables:
            held_I = np.array([self.holds(documents[table.task].get(int(one))) for one in table.doc_ids_I])
            notes.append(f"{table.task}: --where leaves {int(held_I.sum())} of {len(held_I)} items")
            if held_I.any():
                ids_I, values_MKI = table.doc_ids_I[held_I], table.values_MKI[:, :, held_I]
                kept.append(replace(table, doc_ids_I=ids_I, values_MKI=values_MKI))
        if not kept:
            raise UserError(f"--where: no item of {', '.join(documents)} is left; {self}")
        return kept

    def _require_fields(self, documents: Documents) -> None:
        every = [one for own in documents.values() for one in own.values()]
        for field in self.by_field:
            if not any(True for one in every for _ in values_at(one, field)):
                known = {str(name) for one in every if isinstance(one, dict) for name in one}
                raise UserError(f"--where: no document has a field {field!r}. {nearest_names(field, known)}")

    def __str__(self) -> str:
        return "asked for " + " ".join(f"{field}={one}" for field, own in self.by_field.items() for one in own)
