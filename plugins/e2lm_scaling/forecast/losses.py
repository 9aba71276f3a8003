"""Reads losses of trained models from whatever people have: a table with named columns, Scores, lm-eval folders.

Shape suffix: R rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from e2lm.errors import UserError, nearest_names, one_line
from e2lm.interval import percentile_interval
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import checked, table_of
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.laws.objective import Array

if TYPE_CHECKING:
    import pandas as pd

#: What ``--columns`` may name: letter -> meaning.
LETTERS = {
    "N": "parameters",
    "D": "training tokens",
    "C": "training FLOPs",
    "L": "loss",
    "S": "series (which run)",
    "U": "unique tokens",
    "V": "tokenizer or vocabulary",
}
PERPLEXITIES = ("byte_perplexity", "word_perplexity", "perplexity")
#: Metrics of a Scores table that are losses: lower is better, and a law with a floor fits.
LOSS_METRICS = ("loss", "bits_per_byte", "bpb", "nll", "cross_entropy", "gold_loss", *PERPLEXITIES)
#: A loss law takes up to four epochs as fresh data (Muennighoff et al. 2023, arXiv 2305.16264).
HARMLESS_EPOCHS = 4.0
#: Compute per 6 N D that attention, head and embeddings explain; beyond, N is counted in two ways.
COMPUTE_RATIO_SPREAD = 1.25
#: A median below is no count of FLOPs; 1 PF-day is 8.64e19.
FEWEST_FLOPS = 1e9


@dataclass(frozen=True, slots=True)
class LossSource:
    """The table, where it came from, and what one should know about it before believing a fit."""

    table: LossTable
    source: str
    warnings: tuple[str, ...] = ()
    unique_R: Array | None = None


def read_losses(
    path: Path, columns: str | None = None, task: str | None = None, metric: str | None = None
) -> LossSource:
    """The losses in ``path``; a :class:`UserError` names file, column and row of the first thing that is wrong."""
    if columns is not None:
        return _from_columns(path, _column_names(columns, path))
    return _from_scores(path, task, metric)


# -- a table with named columns -----------------------------------------------------------------------------------


def _column_names(text: str, path: Path) -> dict[str, str]:
    parts = re.split(r",(?=[A-Za-z]+=)", text)
    names: dict[str, str] = {}
    for part in parts:
        letter, equals, column = part.partition("=")
        if not equals or letter not in LETTERS:
            raise UserError(
                f"--columns {text!r}: {part!r} is not understood; write N=...,D=...,L=... with letters "
                + ", ".join(f"{key} ({meaning})" for key, meaning in LETTERS.items())
            )
        names[letter] = column
    if "L" not in names:
        raise UserError(f"--columns {text!r}: L (the loss) is missing; add L=<column of {path.name}>")
    if len({"N", "D", "C"} & set(names)) < 2:
        raise UserError(f"--columns {text!r}: two of N, D and C are needed (the third is from C = 6 N D)")
    return names


def _read_frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise UserError(f"{path}: no such file; --columns needs a CSV, Parquet or JSON-lines table")
    suffixes = "".join(path.suffixes).lower()
    try:
        if suffixes.endswith(".parquet"):
            return pd.read_parquet(path)
        if suffixes.endswith((".jsonl", ".ndjson")):
            return pd.read_json(path, lines=True)
        return pd.read_csv(path)
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file
        raise UserError(f"{path}: cannot be read as a table ({one_line(error)})") from error


def _numbers(frame: pd.DataFrame, column: str, letter: str, path: Path) -> Array:
    import pandas as pd

    if column not in frame.columns:
        raise UserError(
            f"{path}: column {column!r} ({letter}, {LETTERS[letter]}) is missing. "
            + nearest_names(column, [str(name) for name in frame.columns])
        )
    numbers = pd.to_numeric(frame[column], errors="coerce")
    bad = np.flatnonzero(numbers.isna().to_numpy() & frame[column].notna().to_numpy())
    if len(bad):
        raise UserError(f"{path}: {column} is {frame[column].iloc[bad[0]]!r} in row {bad[0] + 1}; a number is expected")
    result: Array = numbers.to_numpy(dtype=np.float64)
    return result


def _from_columns(path: Path, names: dict[str, str]) -> LossSource:
    frame = _read_frame(path)
    source = str(path)
    found = {letter: _numbers(frame, column, letter, path) for letter, column in names.items() if letter in "NDCLU"}
    if "C" in found and float(np.nanmedian(found["C"])) < FEWEST_FLOPS:
        raise UserError(
            f"{source}: C ({names['C']}) has median {np.nanmedian(found['C']):g}; that looks like PF-days or a count "
            "of 1e18; give C in FLOPs (1 PF-day is 8.64e19)"
        )
    warnings: list[str] = []
    with np.errstate(all="ignore"):  # zeros and NaN are named by the check of the table
        params_R = found["N"] if "N" in found else found["C"] / FLOPS_PER_PARAMETER_TOKEN / found["D"]
        tokens_R = found["D"] if "D" in found else found["C"] / FLOPS_PER_PARAMETER_TOKEN / params_R
        if {"N", "D", "C"} <= set(found):
            warnings += _count_warnings(found["C"] / (FLOPS_PER_PARAMETER_TOKEN * params_R * tokens_R), "N")
    series = tuple(str(name) for name in frame[names["S"]]) if "S" in names and names["S"] in frame.columns else None
    if "S" in names and series is None:
        raise UserError(f"{source}: column {names['S']!r} (S) is missing. {nearest_names(names['S'], frame.columns)}")
    table = checked(table_of(params_R, tokens_R, found["L"], series), source)
    warnings += _tokenizer_warnings(frame, names)
    warnings += checkpoint_warnings(table, named=series is not None)
    warnings += _repeat_warnings(table, found.get("U"))
    return LossSource(table, source, tuple(warnings), found.get("U"))


def _count_warnings(ratio_R: Array, what: str) -> list[str]:
    usable_R = ratio_R[np.isfinite(ratio_R)]
    if not len(usable_R):
        return []
    low, high = percentile_interval(usable_R)
    if high / low <= COMPUTE_RATIO_SPREAD:
        return []
    return [
        f"C / (6 N D) runs from {low:.2f} to {high:.2f}: {what} seems to be counted with embeddings in some rows and "
        "without in others (or C with attention); use one count for all"
    ]


def _tokenizer_warnings(frame: pd.DataFrame, names: dict[str, str]) -> list[str]:
    column = names.get("V") or next((c for c in ("tokenizer", "vocab_size", "vocab") if c in frame.columns), None)
    if column is None or column not in frame.columns or frame[column].nunique() < 2:
        return []
    return [
        f"{column} has {frame[column].nunique()} values: losses per token of different tokenizers are not comparable; "
        "give L in bits per byte"
    ]


def checkpoint_warnings(table: LossTable, named: bool) -> list[str]:
    """Says so where rows are checkpoints on the way, whose learning rate has not come down."""
    if not named:
        return []
    distinct = len(set(table.series_R))
    if distinct == len(table.series_R):
        return []
    return [
        f"{len(table.series_R)} rows belong to {distinct} series: checkpoints before the end have not been annealed "
        "and their losses lie above those of finished runs of the same D; prefer final checkpoints (or `predict curve`)"
    ]


def _repeat_warnings(table: LossTable, unique_R: Array | None) -> list[str]:
    if unique_R is None:
        return []
    epochs_R = table.tokens_R / unique_R
    many = int((epochs_R > HARMLESS_EPOCHS).sum())
    if not many:
        return []
    return [
        f"{many} rows repeat their data more than {HARMLESS_EPOCHS:.0f} times (up to {epochs_R.max():.3g} epochs); a "
        "law of N and D takes them as fresh data and will be too optimistic; leave them out"
    ]


# -- Scores and lm-eval folders -----------------------------------------------------------------------------------


def _from_scores(path: Path, task: str | None, metric: str | None) -> LossSource:
    from e2lm.results import read_scores

    read = read_scores(path)
    frame = read.scores.frame
    metric = _chosen_metric(frame, metric, path)
    frame = frame[frame["metric"] == metric]
    tasks = sorted(set(frame["task"]))
    if task is None and len(tasks) > 1:
        raise UserError(f"{path}: {len(tasks)} tasks have {metric!r}; choose one with --task: {', '.join(tasks[:12])}")
    task = tasks[0] if task is None else task
    if task not in tasks:
        raise UserError(f"{path}: task {task!r} has no {metric!r}. {nearest_names(task, tasks)}")
    frame = frame[(frame["task"] == task) & (frame["step"] > 0)]
    for column, meaning in (("params", "parameters (N)"), ("tokens", "training tokens (D)")):
        if frame[column].isna().any():
            series = frame["series"][frame[column].isna()].iloc[0]
            raise UserError(
                f"{path}: series {series!r} has no {column}; a law needs {meaning}; evaluate with a series.json "
                "that says tokens_per_step, or add the column"
            )
    value_R = frame["value"].to_numpy(dtype=np.float64)
    loss_R = np.log(value_R) if metric in PERPLEXITIES else value_R
    params_R, tokens_R = frame["params"].to_numpy(dtype=np.float64), frame["tokens"].to_numpy(dtype=np.float64)
    table = checked(table_of(params_R, tokens_R, loss_R, tuple(frame["series"])), str(path))
    warnings = [*read.notes, *checkpoint_warnings(table, named=True)]
    flops_R = frame["flops"].to_numpy(dtype=np.float64)
    warnings += _count_warnings(flops_R / (FLOPS_PER_PARAMETER_TOKEN * params_R * tokens_R), "params")
    return LossSource(table, f"{path} ({task}, {metric})", tuple(warnings))


def is_loss(metric: str) -> bool:
    """Whether lower is better: ``bits_per_byte`` or, as lm-eval writes it, ``bits_per_byte,none``.

    >>> is_loss("bits_per_byte,none"), is_loss("acc")
    (True, False)
    """
    return metric.split(",", maxsplit=1)[0] in LOSS_METRICS


def _chosen_metric(frame: pd.DataFrame, metric: str | None, path: Path) -> str:
    metrics = sorted(set(frame["metric"]))
    if metric is not None:
        if metric not in metrics:
            raise UserError(f"{path}: no metric {metric!r}. {nearest_names(metric, metrics)}")
        return metric
    losses = [name for name in metrics if is_loss(name)]
    if len(losses) == 1:
        return str(losses[0])
    offered = ", ".join(losses or metrics[:12])
    raise UserError(f"{path}: choose the metric that is a loss with --metric; this table has {offered}")
