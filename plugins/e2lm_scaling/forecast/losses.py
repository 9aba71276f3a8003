"""Reads losses from whatever people have; rows without a number in a wanted column are left out here, with a line.

Shape suffix: R rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from e2lm.argument import number_of
from e2lm.errors import UserError, nearest_names, no_such
from e2lm.interval import percentile_interval
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import FEWEST_PARAMS, FEWEST_TOKENS, TOKENS_PER_PARAM, checked, subset, table_of
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
#: What C may be counted in (``--compute-unit``), in FLOPs.
COMPUTE_UNITS = {
    "FLOP": 1.0, "MFLOP": 1e6, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18, "ZFLOP": 1e21,
    "PF-days": 8.64e19,
}  # fmt: skip
#: C / (6 N D) outside of the first is told, outside of the second refused.
USUAL_COMPUTE_RATIO, POSSIBLE_COMPUTE_RATIO = (0.6, 1.7), (0.15, 7.0)
#: Runs of equal N and D whose losses differ by more (largest over smallest, median over the sizes) are no seeds.
SEED_SPREAD = 1.02
#: Pairs of runs of which one has no fewer parameters and tokens and so much more compute.
CLEARLY_LARGER = 1.5
FEWEST_PAIRS = 6
#: Rows among which pairs are looked for, evenly spaced; pairs grow with their square.
ROWS_COMPARED = 2000
#: Share of those pairs in which the larger run's loss is higher, from where L is no loss.
RISING_SHARE = 0.6
#: A larger run with so much more loss contradicts a smaller one; told from this share of the pairs.
CONTRADICTION, CONTRADICTED_SHARE = 1.2, 0.02
#: Numbers of tokens per size from where they may be checkpoints of one run.
CHECKPOINTS_PER_SIZE = 4
#: What stands for no number in a table.
MISSING = ("", "-", "nan", "none", "null", "n/a", "na")


@dataclass(frozen=True, slots=True)
class LossSource:
    """The table, where it came from, and what one should know about it before believing a fit.

    ``with_averages`` is the table with the averages of runs that ``e2lm eval --merge`` scores beside them, None where
    there are none: an average is no trained model, and no row of ``table``.
    """

    table: LossTable
    source: str
    warnings: tuple[str, ...] = ()
    unique_R: Array | None = None
    left_out: tuple[Mapping[str, str], ...] = ()
    with_averages: LossTable | None = None


@dataclass(frozen=True, slots=True)
class Units:
    """What the columns are counted in: FLOPs per unit of C, tokens per unit of D."""

    flops: float = 1.0
    tokens: float = 1.0


def read_losses(
    path: Path, columns: str | None = None, task: str | None = None, metric: str | None = None,
    units: Units | None = None, is_score: bool = False, by_unique: bool = False,
) -> LossSource:  # fmt: skip
    """The losses in ``path``; a :class:`UserError` names file, column and row of the first thing that is wrong.

    ``is_score``: L may rise with compute (an accuracy), and nothing is done that only losses allow. ``by_unique``: runs
    that differ in their unique tokens alone are different runs, for a law that knows of repetition.
    """
    found = _from_scores(path, task, metric) if columns is None else _from_columns(path, columns, units or Units())
    found = _without_averages(found)
    if is_score:
        return found
    check_falls(found.table, found.source)
    if by_unique and found.unique_R is not None:
        return _one_per_size(found, found.unique_R)
    found = replace(found, warnings=(*found.warnings, *_repeat_warnings(found.table, found.unique_R)))
    found = _one_per_size(found)
    return replace(found, warnings=(*found.warnings, *_contradictions(found.table)))


def averaged_run(name: str, series: Collection[str]) -> str | None:
    """Which of ``series`` the one called ``name`` is an average of, as ``e2lm eval --merge`` names these.

    >>> averaged_run("run+wma:window=5", {"run", "run+wma:window=5"}), averaged_run("a+b", {"a+b"})
    ('run', None)
    """
    parts = [name[: one.start()] for one in re.finditer(r"\+", name)]
    return next((part for part in parts if part in series), None)


def _without_averages(source: LossSource) -> LossSource:
    """Averages of runs set aside: their losses lie below those of the models that were trained."""
    every = set(source.table.series_R)
    of = {name: averaged_run(name, every) for name in sorted(every)}
    if not any(of.values()):
        return source
    keep_R = np.array([of[name] is None for name in source.table.series_R])
    left_out = [
        {
            "what": name,
            "why": f"averages of {run}, which nobody trained (decide --merge)",
            "file": source.source,
        }
        for name, run in of.items()
        if run is not None
    ]
    unique_R = None if source.unique_R is None else source.unique_R[keep_R]
    return replace(
        source, table=subset(source.table, keep_R), unique_R=unique_R, left_out=(*source.left_out, *left_out),
        with_averages=source.table,
    )  # fmt: skip


# -- a table with named columns -----------------------------------------------------------------------------------


def _named_cells(path: Path, text: str) -> tuple[pd.DataFrame, dict[str, str], dict[str, pd.Series]]:
    """The table, what each letter of ``--columns`` is called in it, and the cells of each letter."""
    from e2lm.results.table_file import SKIP, named_columns, read_frame

    if not path.is_file():
        raise UserError(f"{path}: {no_such(path, 'file')}; --columns needs a CSV, Parquet or JSON-lines table")
    texts = re.split(r",(?=[A-Za-z]+=)", text)
    _check_letters(texts, (*LETTERS, SKIP), text, path)
    frame = read_frame(path)
    named = named_columns(texts, LETTERS, frame, path)
    names = {letter: "+".join(parts) for letter, parts in named.mapping.items()} | named.constants
    return frame.drop(columns=named.skipped), names, named.cells(frame)


def _check_letters(texts: Sequence[str], known: Sequence[str], text: str, path: Path) -> None:
    letters = [part.partition("=") for part in texts]
    for (letter, equals, _), part in zip(letters, texts, strict=True):
        if not equals or letter not in known:
            raise UserError(
                f"--columns {text!r}: {part!r} is not understood; write N=...,D=...,L=... with letters "
                + ", ".join(f"{key} ({meaning})" for key, meaning in LETTERS.items())
            )
    given = {letter for letter, *_ in letters}
    if "L" not in given:
        raise UserError(f"--columns {text!r}: L (the loss) is missing; add L=<column of {path.name}>")
    if len({"N", "D", "C"} & given) < 2:
        raise UserError(f"--columns {text!r}: two of N, D and C are needed (the third is from C = 6 N D)")


def _numbers(cells: pd.Series, name: str, letter: str, path: Path) -> Array:
    read = [_number(value, letter) for value in cells]
    bad = next((row for row, number in enumerate(read) if number is None), None)
    if bad is not None:
        raise UserError(
            f"{path}: {name} is {str(cells.iloc[bad])!r} in row {bad + 1}; a number is expected"
            + (", with a decimal point" if letter == "L" else ", such as 7e9, 7B or 7,000,000,000")
        )
    return np.array(read, dtype=np.float64)


def _number(value: object, letter: str) -> float | None:
    """What a cell says, NaN where it is empty, None where it is no number; a comma in a loss could be either mark."""
    text = str(value).strip()
    if text.lower() in MISSING:
        return float("nan")
    try:
        return float(text) if letter == "L" else number_of(text)
    except ValueError:
        return None


def _from_columns(path: Path, columns: str, units: Units) -> LossSource:
    frame, names, cells = _named_cells(path, columns)
    source = str(path)
    found = {letter: _numbers(cells[letter], name, letter, path) for letter, name in names.items() if letter in "NDCLU"}
    keep_R, left_out = _usable(found, names, source)
    if not keep_R.any():
        raise UserError(f"{source}: no row has all of {', '.join(names[letter] for letter in found)}")
    frame, found = frame[keep_R], {letter: values_R[keep_R] for letter, values_R in found.items()}
    for letter, factor in (("C", units.flops), ("D", units.tokens), ("U", units.tokens)):
        if letter in found:
            found[letter] = found[letter] * factor
    if "C" in found and float(np.nanmedian(found["C"])) < FEWEST_FLOPS:
        raise UserError(
            f"{source}: C ({names['C']}) has median {np.nanmedian(found['C']):g}; that looks like PF-days or a count "
            "of 1e18; give C in FLOPs (1 PF-day is 8.64e19), or say --compute-unit"
        )
    warnings: list[str] = []
    with np.errstate(all="ignore"):  # zeros are named by the check of the table
        params_R = found["N"] if "N" in found else found["C"] / FLOPS_PER_PARAMETER_TOKEN / found["D"]
        tokens_R = found["D"] if "D" in found else found["C"] / FLOPS_PER_PARAMETER_TOKEN / params_R
        ratio_R = found["C"] / (FLOPS_PER_PARAMETER_TOKEN * params_R * tokens_R) if "C" in found else np.ones(1)
    if {"N", "D", "C"} <= set(found):
        warnings += [*_level_warnings(float(np.median(ratio_R)), names, source), *_count_warnings(ratio_R, "N")]
    elif "C" in found:
        _check_compute(found, params_R, tokens_R, names, source)
    series = tuple(str(name) for name in cells["S"][keep_R]) if "S" in names else None
    loss_R = found["L"]
    if re.search("ppl|perplexit", names["L"], re.IGNORECASE) and (loss_R > 0).all():
        loss_R = np.log(loss_R)
        warnings.append(f"{names['L']} is taken for perplexities: L is their natural logarithm, in nats")
    table = checked(table_of(params_R, tokens_R, loss_R, series), source)
    warnings += _tokenizer_warnings(frame, names.get("V"), cells.get("V"))
    warnings += checkpoint_warnings(table, named=series is not None)
    return LossSource(table, source, tuple(warnings), found.get("U"), tuple(left_out))


def _usable(
    found: Mapping[str, Array], names: Mapping[str, str], source: str
) -> tuple[NDArray[np.bool_], list[dict[str, str]]]:
    """Rows in which nothing is missing and training has begun, and a line for each of the others."""
    rows = len(found["L"])
    keep_R, left_out = np.ones(rows, dtype=bool), []
    for row in range(rows):
        missing = [names[letter] for letter, values_R in found.items() if not np.isfinite(values_R[row])]
        start = [names[letter] for letter in "DC" if letter in found and found[letter][row] == 0]
        why = f"{', '.join(missing)} is no number" if missing else f"{start[0]} is 0" if start else ""
        if why:
            keep_R[row] = False
            left_out.append({"what": f"row {row + 1}", "why": why, "file": source})
    return keep_R, left_out


def _named_factor(ratio: float) -> str:
    """What a constant factor between C and 6 N D may come from, in words."""
    for name, flops in COMPUTE_UNITS.items():
        if flops > 1 and 1 / 3 < ratio * flops < 3:
            return f"C looks like {name}; say --compute-unit {name}"
    if ratio > POSSIBLE_COMPUTE_RATIO[1]:
        return (
            f"D may be counted in sequences of about {ratio:.3g} tokens (say --sequence-length), or N in another unit"
        )
    return "N may be all parameters of a mixture of experts (give the active ones), or C in another unit"


def _level_warnings(ratio: float, names: Mapping[str, str], source: str) -> list[str]:
    low, high = POSSIBLE_COMPUTE_RATIO
    what = f"C ({names['C']}) is {ratio:.3g} x 6 N D"
    if not low <= ratio <= high:
        raise UserError(f"{source}: {what}, where about 1 is right: {_named_factor(ratio)}")
    if USUAL_COMPUTE_RATIO[0] <= ratio <= USUAL_COMPUTE_RATIO[1]:
        return []
    return [
        f"{what}, where about 1 is usual: N without embeddings or attention (C is larger), active experts only, or a "
        "forward pass alone (a third)? Budgets and prices here count 6 N D"
    ]


def _check_compute(
    found: Mapping[str, Array], params_R: Array, tokens_R: Array, names: Mapping[str, str], source: str
) -> None:
    """Where N or D follows from C alone, an impossible one is blamed on C."""
    with np.errstate(all="ignore"):
        counts = {"D": float(np.median(tokens_R)), "N": float(np.median(params_R))}
        per_param = float(np.median(tokens_R / params_R))
    derived = "D" if "D" not in found else "N"
    fewest = {"D": FEWEST_TOKENS, "N": FEWEST_PARAMS}
    if min(counts[one] / fewest[one] for one in counts if one != derived) < 1:
        return  # the check of the table names what was given
    possible = counts[derived] >= fewest[derived]
    if possible and TOKENS_PER_PARAM[0] <= per_param <= TOKENS_PER_PARAM[1]:
        return
    other = "N" if derived == "D" else "D"
    raise UserError(
        f"{source}: {derived} = C / (6 {other}) has median {counts[derived]:.3g}, which cannot be: is C "
        f"({names['C']}) in FLOPs, or in {', '.join(name for name in COMPUTE_UNITS if name != 'FLOP')} (say "
        f"--compute-unit), and {other} ({names[other]}) a plain count?"
    )


# -- what losses of trained models do -----------------------------------------------------------------------------


def _larger_pairs(table: LossTable) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows (small, large) of which the second has no fewer parameters and tokens and clearly more compute."""
    looked_at = slice(None, None, -(-len(table.loss_R) // ROWS_COMPARED))
    n_R, d_R = table.params_R[looked_at], table.tokens_R[looked_at]
    more_RR = (n_R[None] >= n_R[:, None]) & (d_R[None] >= d_R[:, None])
    small, large = np.nonzero(more_RR & (n_R * d_R >= CLEARLY_LARGER * (n_R * d_R)[:, None]))
    rows_R = np.arange(len(table.loss_R))[looked_at]
    return rows_R[small], rows_R[large]


def check_falls(table: LossTable, source: str) -> None:
    """Raise a :class:`UserError` where L rises with compute, as an accuracy does and no loss."""
    small, large = _larger_pairs(table)
    if len(small) < FEWEST_PAIRS:
        return
    rising = float(np.mean(table.loss_R[large] > table.loss_R[small]))
    if rising > RISING_SHARE:
        raise UserError(
            f"{source}: L rises with compute (in {rising:.0%} of {len(small)} pairs of a smaller and a larger run): it "
            "is no loss; give a loss, an error rate (1 - accuracy), or use predict translate --link accuracy"
        )


def _contradictions(table: LossTable) -> list[str]:
    small, large = _larger_pairs(table)
    ratio = table.loss_R[large] / table.loss_R[small]
    bad = ratio > CONTRADICTION
    if len(small) < FEWEST_PAIRS or bad.mean() <= CONTRADICTED_SHARE:
        return []
    return [
        f"in {int(bad.sum())} of {len(small)} pairs the larger run has a loss up to {ratio.max():.2f} times as high: "
        "rows that diverged, bits mixed with nats (1.44 times), or losses of several tokenizers or data sets?"
    ]


def _one_per_size(source: LossSource, unique_R: Array | None = None) -> LossSource:
    """Rows that repeat each other once; of a sweep of hyperparameters the best run of every N and D, and a word.

    With ``unique_R``, the best run of every N, D and unique tokens.
    """
    table = source.table
    unique_R = np.zeros_like(table.loss_R) if unique_R is None else unique_R
    rows_R = np.stack([table.params_R, table.tokens_R, unique_R, table.loss_R], axis=1)
    first_R = np.unique(rows_R, axis=0, return_index=True)[1]
    left_out = [*source.left_out]
    if len(first_R) < len(rows_R):
        repeated = sorted(set(range(len(rows_R))) - set(first_R.tolist()))
        left_out += [
            {"what": f"row {row + 1} of those read", "why": "it repeats another row", "file": source.source}
            for row in repeated
        ]
    keep = np.sort(first_R)
    size_R = np.unique(rows_R[keep, :3], axis=0, return_inverse=True)[1].ravel()
    losses = [table.loss_R[keep][size_R == size] for size in range(int(size_R.max()) + 1)]
    spreads = [float(one.max() / one.min()) for one in losses if len(one) > 1]
    warnings = [*source.warnings]
    if spreads and float(np.median(spreads)) > SEED_SPREAD:
        best = [int(keep[size_R == size][np.argmin(one)]) for size, one in enumerate(losses)]
        warnings.append(
            f"{len(keep)} rows share {len(losses)} pairs of N and D and differ by up to {max(spreads) - 1:.0%}: a "
            "sweep, not seeds, so the best run of every pair is taken"
        )
        keep = np.sort(np.array(best))
    mask_R = np.isin(np.arange(len(rows_R)), keep)
    kept_R = None if source.unique_R is None else source.unique_R[mask_R]
    return replace(
        source, table=subset(table, mask_R), warnings=tuple(warnings), unique_R=kept_R, left_out=tuple(left_out)
    )


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


def _tokenizer_warnings(frame: pd.DataFrame, name: str | None, cells: pd.Series | None) -> list[str]:
    known = name or next((one for one in ("tokenizer", "vocab_size", "vocab") if one in frame.columns), None)
    if known is None:
        return []
    count = (frame[known] if cells is None else cells[frame.index]).nunique()
    if count < 2:
        return []
    return [
        f"{known} has {count} values: losses per token of different tokenizers are not comparable; "
        "give L in bits per byte"
    ]


def checkpoint_warnings(table: LossTable, named: bool) -> list[str]:
    """Says so where rows are checkpoints on the way, whose learning rate has not come down."""
    if not named:
        return _unnamed_checkpoints(table)
    distinct = len(set(table.series_R))
    if distinct == len(table.series_R):
        return []
    return [
        f"{len(table.series_R)} rows belong to {distinct} series: checkpoints before the end have not been annealed "
        "and their losses lie above those of finished runs of the same D; prefer final checkpoints (or `predict curve`)"
    ]


def _unnamed_checkpoints(table: LossTable) -> list[str]:
    counts = [len(set(table.tokens_R[table.params_R == params])) for params in np.unique(table.params_R)]
    if len(counts) < 2 or float(np.median(counts)) < CHECKPOINTS_PER_SIZE:
        return []
    return [
        f"every size has {float(np.median(counts)):.0f} numbers of tokens: if they are checkpoints of one run, all but "
        "the last have not been annealed and lie above finished runs; name the runs with S=..., or give final ones"
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
    from e2lm.results import Reading, read_scores

    read = read_scores(path, Reading(apart=True))
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
    broken_R = ~np.isfinite(frame["value"].to_numpy(dtype=np.float64))
    left_out = tuple(
        {"what": f"{one.series}, step {one.step}", "why": f"{metric} is {one.value:g}", "file": str(path)}
        for one in frame[broken_R].itertuples()
    )
    frame = frame[~broken_R]
    value_R = frame["value"].to_numpy(dtype=np.float64)
    loss_R = np.log(value_R) if metric in PERPLEXITIES else value_R
    params_R, tokens_R = frame["params"].to_numpy(dtype=np.float64), frame["tokens"].to_numpy(dtype=np.float64)
    table = checked(table_of(params_R, tokens_R, loss_R, tuple(frame["series"])), str(path))
    warnings = [*read.notes, *checkpoint_warnings(table, named=True)]
    flops_R = frame["flops"].to_numpy(dtype=np.float64)
    warnings += _count_warnings(flops_R / (FLOPS_PER_PARAMETER_TOKEN * params_R * tokens_R), "params")
    return LossSource(table, f"{path} ({task}, {metric})", tuple(warnings), left_out=left_out)


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
