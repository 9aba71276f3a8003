"""Per-item values of several series at common checkpoints, and the files they are read from.

Curves get the per-item values behind them where ``e2lm eval`` left Samples beside the scores.

Shape suffixes: M series, K checkpoints, I items.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ItemMetric, Samples, UserError
from e2lm.errors import nearest_names, one_line
from e2lm.interval import mean_stderrs_K
from e2lm.item_metric import MetricFailedError
from e2lm.results import read_all_samples
from e2lm.results.direction import direction_of_name
from e2lm.samples import SAMPLES_FOLDER, read_samples
from e2lm.scores import ScoreSource
from e2lm_signal.curves import usual_chance

#: The array of a ``.npz`` file that holds the values is the one whose name is not among these.
AXIS_ARRAYS = ("models", "series", "steps", "tokens", "doc_ids")


@dataclass(frozen=True, slots=True)
class ItemTable:
    """``values_MKI`` in the metric's own direction; items without a finite value somewhere have been left out."""

    task: str
    metric: str
    series_M: tuple[str, ...]
    steps_K: NDArray[np.int64]
    tokens_K: NDArray[np.float64]
    doc_ids_I: NDArray[np.int64]
    values_MKI: NDArray[np.float32]
    higher_is_better: bool
    chance: float | None = None
    left_out: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Series, checkpoints, items."""
        first, second, third = self.values_MKI.shape
        return first, second, third

    @property
    def rising_MKI(self) -> NDArray[np.float32]:
        """The values turned so that more is better."""
        return self.values_MKI if self.higher_is_better else -self.values_MKI

    def curves(self) -> list[Curve]:
        """One curve per series, with its per-item values."""
        items = self.shape[2]
        return [
            Curve(
                series=name,
                task=self.task,
                metric=self.metric,
                steps_K=self.steps_K,
                tokens_K=self.tokens_K,
                values_K=self.values_MKI[m].mean(axis=1, dtype=np.float64),
                stderr_K=mean_stderrs_K(self.values_MKI[m]),
                n_items_K=np.full(len(self.steps_K), items),
                chance=self.chance,
                higher_is_better=self.higher_is_better,
                items_KI=self.values_MKI[m].astype(np.float64),
            )
            for m, name in enumerate(self.series_M)
        ]


def read_item_tables(
    path: Path,
    metrics: Sequence[ItemMetric],
    metric: str,
    tokens_per_step: float | None = None,
    notes: list[str] | None = None,
) -> list[ItemTable]:
    """One table per task: from Samples (``metric`` says what to compute of them), or from a ``.npz`` file.

    What is to be said of the Samples is put to ``notes``.

    A ``.npz`` holds one array [series, checkpoints, items] named after its metric (``loss``, ``acc``, ...), and
    ``models`` and ``steps`` with the names of the first two axes.
    """
    return tables_by_metric(path, metrics, [metric], tokens_per_step, notes)[metric]


def tables_by_metric(
    path: Path,
    metrics: Sequence[ItemMetric],
    wanted: Sequence[str],
    tokens_per_step: float | None = None,
    notes: list[str] | None = None,
    tasks: Sequence[str] = (),
) -> dict[str, list[ItemTable]]:
    """As :func:`read_item_tables`, of several metrics from one reading of the Samples; a ``.npz`` has its own alone.

    ``tasks``: patterns of names; without any all tasks are taken.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give Samples (a folder or Parquet) or a .npz of item values")
    if path.suffix == ".npz":
        if tasks:
            raise UserError(f"--tasks: {path} holds one task; leave it out, or give Samples")
        return {wanted[0]: [_from_npz(path, tokens_per_step)]}
    known = {one.name: one for one in metrics}
    for name in wanted:
        if name not in known:
            raise UserError(f"unknown item metric {name!r}. {nearest_names(name, known)}")
    found, said = read_all_samples(path)
    by_task: dict[str, list[Samples]] = {}
    for samples in found:
        by_task.setdefault(samples.task, []).append(samples)
    told = [] if notes is None else notes
    told += said
    members = [(task, by_task[task]) for task in _matching(sorted(by_task), tasks)]
    return {
        name: [
            # what is to be said of the Samples is said once
            _from_samples(task, own, known[name], tokens_per_step, told if name == wanted[0] else [])
            for task, own in members
        ]
        for name in wanted
    }


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"--tasks: no task {pattern!r} in the Samples. {nearest_names(pattern, names)}")
    return [name for name in names if not patterns or any(fnmatchcase(name, one) for one in patterns)]


def _from_npz(path: Path, tokens_per_step: float | None) -> ItemTable:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as .npz ({one_line(error)})") from error
    names = [name for name in arrays if name not in AXIS_ARRAYS]
    series = arrays.get("models", arrays.get("series"))
    if len(names) != 1 or series is None or "steps" not in arrays:
        raise UserError(
            f"{path}: found arrays {', '.join(arrays)}; expected one of values, named after its metric, plus "
            "models and steps"
        )
    values_MKI = arrays[names[0]].astype(np.float32)
    expected = (len(series), len(arrays["steps"]))
    if values_MKI.ndim != 3 or values_MKI.shape[:2] != expected:
        raise UserError(f"{path}: {names[0]} has shape {values_MKI.shape}; expected {expected} + (items,)")
    steps_K = arrays["steps"].astype(np.int64)
    tokens_K = arrays.get("tokens", steps_K * (np.nan if tokens_per_step is None else tokens_per_step))
    doc_ids_I = arrays.get("doc_ids", np.arange(values_MKI.shape[2])).astype(np.int64)
    task = path.stem.removesuffix(f"_{names[0]}").removesuffix(f"_gold_{names[0]}")
    return _complete(
        ItemTable(
            task=task,
            metric=names[0],
            series_M=tuple(str(name) for name in series),
            steps_K=steps_K,
            tokens_K=np.asarray(tokens_K, dtype=np.float64),
            doc_ids_I=doc_ids_I,
            values_MKI=values_MKI,
            higher_is_better=direction_of_name(names[0]) is not False,
        )
    )


def _from_samples(
    task: str, members: Sequence[Samples], metric: ItemMetric, tokens_per_step: float | None, notes: list[str]
) -> ItemTable:
    by_series: dict[str, dict[int, Samples]] = {}
    for samples in members:
        by_series.setdefault(samples.series, {})[samples.step] = samples
    steps = sorted(set.intersection(*(set(by_step) for by_step in by_series.values())))
    if len(steps) < 2:
        raise UserError(f"Samples of task {task!r}: the series share {len(steps)} checkpoints; at least 2 are needed")
    unused = sum(len(by_step) - len(steps) for by_step in by_series.values())
    if unused:
        notes.append(f"{task}: {unused} checkpoints of single series are not used; {len(steps)} are common to all")
    first = next(iter(by_series.values()))[steps[0]]
    for name, by_step in by_series.items():
        for step in steps:
            if not np.array_equal(by_step[step].doc_ids_I, first.doc_ids_I):
                raise UserError(
                    f"Samples of task {task!r}: series {name!r} at step {step} has other items than "
                    f"{first.series!r} at step {first.step}; evaluate all on the same items"
                )
    values_MKI = np.stack(
        [np.stack([metric.values(by_step[step].choices) for step in steps]) for by_step in by_series.values()]
    ).astype(np.float32)
    return _complete(
        ItemTable(
            task=task,
            metric=metric.name,
            series_M=tuple(by_series),
            steps_K=np.asarray(steps, dtype=np.int64),
            tokens_K=np.asarray(steps) * (np.nan if tokens_per_step is None else tokens_per_step),
            doc_ids_I=first.doc_ids_I,
            values_MKI=values_MKI,
            higher_is_better=metric.higher_is_better,
            chance=sample_chance(metric, first),
        )
    )


def sample_chance(metric: ItemMetric, samples: Samples) -> float | None:
    """What guessing gets on these items; None where the metric has no chance level."""
    return metric.guessed(samples.choices)


def _complete(table: ItemTable) -> ItemTable:
    """Without the items that lack a finite value somewhere."""
    complete_I = np.isfinite(table.values_MKI).all(axis=(0, 1))
    if not complete_I.any():
        raise UserError(f"task {table.task!r}, metric {table.metric!r}: no item has a finite value at every checkpoint")
    if complete_I.all():
        return table
    return ItemTable(
        table.task,
        table.metric,
        table.series_M,
        table.steps_K,
        table.tokens_K,
        table.doc_ids_I[complete_I],
        table.values_MKI[:, :, complete_I],
        table.higher_is_better,
        table.chance,
        int((~complete_I).sum()),
    )


@dataclass(frozen=True, slots=True)
class SampleIndex:
    """The Samples of an evaluation by series, task and step."""

    by_key: dict[tuple[str, str, int], Samples]

    @classmethod
    def beside(cls, path: Path, source: ScoreSource) -> SampleIndex | None:
        """The Samples of the evaluation whose scores are at ``path`` (its folder, or a table in it), if any.

        Without those of ``e2lm eval`` they are the ones that ``source`` was read with.
        """
        folder = (path if path.is_dir() else path.parent) / SAMPLES_FOLDER
        found: Sequence[Samples] = source.samples
        if not found and source.layout == "table" and folder.is_dir() and any(folder.rglob("*.parquet")):
            found = read_samples(folder)
        return cls({(one.series, one.task, one.step): one for one in found}) if found else None

    def with_items(self, curves: Sequence[Curve], metrics: Sequence[ItemMetric]) -> list[Curve]:
        """The curves with ``items_KI`` and chance level where every checkpoint has Samples of the same items."""
        return [self._with_items(curve, metrics) for curve in curves]

    def _with_items(self, curve: Curve, metrics: Sequence[ItemMetric]) -> Curve:
        metric = next((one for one in metrics if one.name == curve.metric), None)
        found = [self.by_key.get((curve.series, curve.task, int(step))) for step in curve.steps_K]
        samples = [one for one in found if one is not None]
        if metric is None or not samples or len(samples) < len(found):
            return curve
        if any(not np.array_equal(one.doc_ids_I, samples[0].doc_ids_I) for one in samples):
            return curve
        try:
            told = None if curve.chance == usual_chance(curve.task, curve.metric) else curve.chance
            guessed = sample_chance(metric, samples[0])
            chance = told if told is not None else curve.chance if guessed is None else guessed
            items_KI = np.stack([metric.values(one.choices) for one in samples])
        except MetricFailedError as error:
            warnings.warn(f"task {curve.task!r}: {error}; its curve is taken without items", stacklevel=2)
            return curve
        # Those that no mean is over: undefined at every checkpoint, for their label or an empty choice.
        items_KI = items_KI[:, ~np.isnan(items_KI).all(axis=0) | samples[0].choices.is_plain_I]
        if not np.allclose(items_KI.mean(axis=1), curve.values_K, atol=1e-6, equal_nan=True):
            return replace(curve, chance=chance)  # the scores were not computed from these items
        return replace(curve, items_KI=items_KI, chance=chance)
