"""Scores: the long table that everything downstream reads."""

from __future__ import annotations

import math
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from e2lm.atomic_file import whole_file
from e2lm.errors import UserError, nearest_names
from e2lm.interval import mean_stderr
from e2lm.item_metric import ItemMetric, MetricFailedError
from e2lm.run_record import LeftOut
from e2lm.samples import Samples

#: Column -> pandas type. ``tokens``, ``flops``, ``params`` and ``stderr`` are NaN where unknown; ``n`` (items) is 0.
COLUMNS = {
    "series": "str",
    "params": "float64",
    "step": "int64",
    "tokens": "float64",
    "flops": "float64",
    "task": "str",
    "metric": "str",
    "value": "float64",
    "stderr": "float64",
    "n": "int64",
}
REQUIRED = ("series", "step", "task", "metric", "value")
#: Column -> pandas type of what a table has only where something is known of it: what guessing gets, parameters that
#: one token passes through (of a mixture of experts), and JSON text that tells rows apart that the others do not.
OPTIONAL_COLUMNS = {"chance": "float64", "params_active": "float64", "key": "str"}
ALL_COLUMNS = {**COLUMNS, **OPTIONAL_COLUMNS}
KEY = ["series", "task", "metric", "step"]


Layout = Literal["table", "lm-eval", "e2lmc"]


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One value of one metric of one task at one checkpoint."""

    series: str
    step: int
    task: str
    metric: str
    value: float
    params: float = math.nan
    tokens: float = math.nan
    flops: float = math.nan
    stderr: float = math.nan
    n: int = 0
    chance: float = math.nan
    params_active: float = math.nan
    key: str = ""


def scored_samples(
    samples: Samples, metrics: Iterable[ItemMetric], like: ScoreRow, reported: Container[str] = ()
) -> list[ScoreRow]:
    """One row for each of ``metrics`` that the choices allow: the mean over the items, the rest as in ``like``.

    Those that were ``reported`` already are left out, and those undefined on every item: of tokens, say, where nobody
    knows how many a choice has; one that fails is left out with a warning. Items whose label is no choice, or with an
    empty choice, do not count where a metric is undefined on them.
    """
    if not len(samples):
        return []
    least = int(samples.choices.there_IC.sum(axis=1).min())
    rows = []
    for metric in metrics:
        if metric.name in reported or least < metric.min_choices:
            continue
        try:
            values_I = metric.counted_values(samples.choices)
        except MetricFailedError as error:
            _warn(samples.task, error, "has no row")
            continue
        if not np.isnan(values_I).all():
            value, stderr = float(np.mean(values_I)), mean_stderr(values_I)
            guessed = chance_of(metric, samples)
            rows.append(replace(like, metric=metric.name, value=value, stderr=stderr, n=len(values_I), chance=guessed))
    return rows


def chance_of(metric: ItemMetric, samples: Samples) -> float:
    """What guessing gets by ``metric`` on the items of ``samples``; NaN where guessing is not defined."""
    try:
        guessed = metric.guessed(samples.choices)
    except MetricFailedError as error:
        _warn(samples.task, error, "has no chance level")
        return math.nan
    return math.nan if guessed is None else guessed


def _warn(task: str, error: MetricFailedError, what: str) -> None:
    warnings.warn(f"task {task!r}: {error}; it {what}", stacklevel=3)


@dataclass(frozen=True, slots=True)
class Scores:
    """The table, sorted by series, task, metric and step, at most one row per such key.

    Columns of :data:`OPTIONAL_COLUMNS` are there where something is known of them.

    >>> scores = Scores.from_rows([ScoreRow("run", 10, "arc", "acc", 0.3), ScoreRow("run", 0, "arc", "acc", 0.25)])
    >>> [float(value) for value in scores.frame["value"]]
    [0.25, 0.3]
    """

    frame: pd.DataFrame

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def from_rows(cls, rows: Iterable[ScoreRow]) -> Self:
        """The table of ``rows``."""
        listed = list(rows)
        return cls.from_columns({column: [getattr(row, column) for row in listed] for column in ALL_COLUMNS})

    @classmethod
    def from_columns(cls, columns: dict[str, list[Any]]) -> Self:
        """The table of ``columns``, all of :data:`ALL_COLUMNS`, without the optional ones of which nothing is known."""
        unknown = [name for name in OPTIONAL_COLUMNS if not _says_something(columns[name])]
        for name in unknown:
            columns = {column: values for column, values in columns.items() if column != name}
        return cls.from_frame(pd.DataFrame(columns), "rows")

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, source: str) -> Self:
        """Checked and sorted; a :class:`UserError` names ``source`` and the column at fault."""
        missing = [column for column in REQUIRED if column not in frame.columns]
        if missing:
            raise UserError(
                f"{source}: column {missing[0]!r} is missing; a Scores table has {', '.join(COLUMNS)}; "
                f"found {', '.join(map(str, frame.columns))[:200]}"
            )
        unknown = [str(column) for column in frame.columns if column not in ALL_COLUMNS]
        if unknown:
            raise UserError(f"{source}: unknown column {unknown[0]!r}. {nearest_names(unknown[0], ALL_COLUMNS)}")
        kinds = {**COLUMNS, **{name: kind for name, kind in OPTIONAL_COLUMNS.items() if name in frame}}
        defaults = {"n": 0}
        complete = {column: frame[column] if column in frame else defaults.get(column, math.nan) for column in kinds}
        for column in ("series", "task", "metric"):
            if len(frame) and (frame[column].isna() | (frame[column] == "")).any():
                raise UserError(f"{source}: column {column!r} has empty cells; every row needs a {column}")
        try:
            table = pd.DataFrame(complete, index=frame.index)
            table["n"] = table["n"].fillna(0)
            if "key" in table:
                table["key"] = table["key"].fillna("")
            for column in ("step", "n"):
                _refuse_fractions(table[column])
            table = table.astype({name: kind for name, kind in kinds.items() if table[name].dtype != kind})
        except (ValueError, TypeError, OverflowError) as error:
            raise UserError(f"{source}: {error}; series, task and metric are text, the rest numbers") from error
        table = table.sort_values(key_columns(table), kind="stable", ignore_index=True)
        return cls(table)

    def duplicate_keys(self) -> int:
        """Rows beyond the first of their series, task, metric and step (and ``key``)."""
        return int(self.frame.duplicated(key_columns(self.frame)).sum())

    def mean_of_duplicates(self) -> Self:
        """One row per key: the mean value of rows that share one (stderr and n of the first)."""
        if not self.duplicate_keys():
            return self
        key = key_columns(self.frame)
        grouped = self.frame.groupby(key, sort=True, as_index=False)
        table = grouped.agg(
            {column: "mean" if column == "value" else "first" for column in self.frame if column not in key}
        )
        columns = [str(column) for column in self.frame]
        return type(self)(table[columns].astype({name: ALL_COLUMNS[name] for name in columns}))

    def where(self, **wanted: str | Sequence[str]) -> Self:
        """The rows whose columns equal the given value or are among the given values."""
        mask = pd.Series(True, index=self.frame.index)
        for column, value in wanted.items():
            mask &= self.frame[column].isin([value] if isinstance(value, str) else list(value))
        return type(self)(self.frame[mask].reset_index(drop=True))

    def rows(self) -> Iterator[ScoreRow]:
        """Every row as a typed object."""
        for record in self.frame.to_dict("records"):
            yield ScoreRow(**{str(key): value for key, value in record.items()})

    def with_rows_of(self, other: Scores) -> Self:
        """Both tables in one."""
        if not len(other):
            return self
        if not len(self):
            return type(self)(other.frame)
        return type(self).from_frame(pd.concat([self.frame, other.frame], ignore_index=True), "scores")

    def write(self, folder: Path, stem: str = "scores") -> tuple[Path, Path]:
        """Write ``scores.parquet`` and ``scores.csv`` into ``folder``, each whole or not at all."""
        parquet, csv = folder / f"{stem}.parquet", folder / f"{stem}.csv"
        with whole_file(parquet) as partial:
            self.frame.to_parquet(partial, index=False)
        with whole_file(csv) as partial:
            self.frame.to_csv(partial, index=False, lineterminator="\n")
        return parquet, csv

    def records(self) -> list[dict[str, Any]]:
        """Rows as plain JSON values, NaN as None."""
        records = self.frame.to_dict("records")
        return [
            {
                str(key): None if isinstance(value, float) and math.isnan(value) else value
                for key, value in record.items()
            }
            for record in records
        ]


def key_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of which no two rows share all values."""
    return [*KEY, "key"] if "key" in frame else KEY


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """Scores and the layout they came in; ``notes`` say what was done to them on the way.

    ``directions`` is whether more is better by task and metric, as far as the source says; ``samples`` are the items
    behind the scores, where they lie beside them.
    """

    scores: Scores
    layout: Layout
    notes: tuple[str, ...] = ()
    directions: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    samples: tuple[Samples, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def _says_something(cells: list[Any]) -> bool:
    return not pd.isna(np.array([one for one in cells if one != ""], dtype=object)).all()


def _refuse_fractions(column: pd.Series[Any]) -> None:
    """Raise for 1.5, which pandas would cut to 1 without a word."""
    if pd.api.types.is_float_dtype(column.dtype) and (column % 1 > 0).any():
        raise ValueError(f"column {column.name!r} holds {column[column % 1 > 0].iloc[0]}, a whole number is expected")
