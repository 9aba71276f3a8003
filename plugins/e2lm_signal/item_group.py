"""Several tasks as one benchmark: the items of 57 subjects side by side, and which task each of them is of.

Shape suffixes: M series, K checkpoints, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm import UserError
from e2lm_signal.item_table import ItemTable


@dataclass(frozen=True, slots=True)
class ItemGroup:
    """``table`` holds the items of all ``tasks``, in their order; ``task_I`` is the position of each item's task."""

    table: ItemTable
    tasks: tuple[str, ...]
    task_I: NDArray[np.int64]

    def kept_by_task(self, items_I: NDArray[np.int64]) -> dict[str, list[int]]:
        """The document ids of the items at the positions ``items_I``, by task; without tasks of which none is kept."""
        kept: dict[str, list[int]] = {}
        for item in sorted(items_I.tolist()):
            kept.setdefault(self.tasks[self.task_I[item]], []).append(int(self.table.doc_ids_I[item]))
        return kept


def single(table: ItemTable) -> ItemGroup:
    """The group of one task."""
    return ItemGroup(table, (table.task,), np.zeros(table.shape[2], dtype=np.int64))


def joined(tables: Sequence[ItemTable], name: str) -> tuple[ItemGroup, list[str]]:
    """All tables as one benchmark called ``name`` and what that left out; every item counts alike.

    A :class:`UserError` where the tasks are not of the same series, or share fewer than two checkpoints.
    """
    first = tables[0]
    for table in tables:
        if table.series_M != first.series_M:
            odd = sorted(set(table.series_M) ^ set(first.series_M))
            raise UserError(
                f"--group: {table.task} and {first.task} are not of the same series ({', '.join(odd[:3])}); evaluate "
                "all series on all tasks, or leave some out"
            )
    steps = sorted(set.intersection(*(set(table.steps_K.tolist()) for table in tables)))
    if len(steps) < 2:
        raise UserError(f"--group: the {len(tables)} tasks share {len(steps)} checkpoints; at least 2 are needed")
    notes = [
        f"{table.task}: {len(table.steps_K) - len(steps)} checkpoints that other tasks lack are left out"
        for table in tables
        if len(table.steps_K) > len(steps)
    ]
    tokens = dict(zip(first.steps_K.tolist(), first.tokens_K.tolist(), strict=True))
    chances = {table.chance for table in tables}
    table = ItemTable(
        task=name,
        metric=first.metric,
        series_M=first.series_M,
        steps_K=np.asarray(steps, dtype=np.int64),
        tokens_K=np.asarray([tokens[step] for step in steps]),
        doc_ids_I=np.concatenate([one.doc_ids_I for one in tables]),
        values_MKI=np.concatenate([one.values_MKI[:, np.isin(one.steps_K, steps)] for one in tables], axis=2),
        higher_is_better=first.higher_is_better,
        chance=first.chance if len(chances) == 1 else _mean_chance(tables),
        left_out=sum(one.left_out for one in tables),
    )
    task_I = np.repeat(np.arange(len(tables)), [one.shape[2] for one in tables])
    return ItemGroup(table, tuple(one.task for one in tables), task_I), notes


def _mean_chance(tables: Sequence[ItemTable]) -> float | None:
    """Of all items alike; None where it is unknown of some."""
    known = [(table.chance, table.shape[2]) for table in tables if table.chance is not None]
    if len(known) < len(tables):
        return None
    return float(np.average([chance for chance, _ in known], weights=[items for _, items in known]))
