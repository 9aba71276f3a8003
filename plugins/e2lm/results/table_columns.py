"""A table of scores with columns of its own: which of them are series, step, task, metric and value.

``--columns series=model+shots task=task metric=metric value=value`` says so; ``+`` joins columns with ``/``, of
``value`` it names several metrics, ``task='arc'`` is the same in every row, ``skip=COLUMN+COLUMN`` leaves out. Without
it the columns of a Scores table are taken as they are, and these names are understood where theirs is missing:
``model`` or ``run`` for series, ``iteration``, ``checkpoint``, ``train/global_step`` or, last, wandb's own ``_step``
for step, ``benchmark`` for task, ``score`` for value. Columns that tell rows of one series apart (``suite``, ``shots``,
a seed or text that varies) become part of its name. A wide table is unfolded: each of its other number columns is a
metric, ``X_stderr`` the standard error of ``X``. Exports of Weights & Biases are such tables: a chart has a column
``RUN - METRIC`` for each run, with ``__MIN`` and ``__MAX`` beside it, a history one for each metric, whose path tells
the task (``eval/downstream/arc_easy_acc``); so have DataDecide's tables (allenai/DataDecide, ``params`` such as
``150M``) and those of OLMo-ladder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pandas as pd

from e2lm.argument import number_of
from e2lm.errors import UserError
from e2lm.results.table_file import NO_NUMBER, Mapping, joined_columns, named_columns, number_in, read_frame
from e2lm.scores import ALL_COLUMNS, COLUMNS, Scores, ScoreSource, key_columns
from e2lm.step_name import step_of

#: Column of a Scores table -> other names it goes by, best first.
ALIASES = {
    "series": ("model", "run", "model_name", "experiment"),
    "params": ("n_params", "num_params"),
    "step": (
        *("iteration", "global_step", "training_step", "train/global_step", "trainer/global_step"),
        *("_step", "checkpoint", "iter"),
    ),
    "tokens": ("training_tokens", "tokens_seen", "total_tokens", "throughput/total_tokens", "num_tokens"),
    "flops": ("compute",),
    "task": ("benchmark", "dataset"),
    "value": ("score",),
    "stderr": ("std_err", "standard_error"),
    "n": ("n_items", "n_samples", "num_instances"),
}
#: Columns that split a series, most general first; they come before its name, others after it.
SPLITTING = ("suite",)
SPLITTING_AFTER = ("shots", "num_fewshot", "n_shot", "fewshot", "seed")
#: Number columns that are no metrics: they count, or tell when.
NO_METRICS = frozenset({"_step", "_timestamp", "_runtime", "epoch", "learning_rate", "lr", "index", ""})
#: Endings of names of metrics behind a task: ``arc_easy_acc_norm``.
_METRIC = re.compile(
    r"(?P<task>.+?)_(?P<metric>acc(?:uracy)?(?:_(?:norm|raw|bytes|per_\w+|uncond))?|length_normalized_accuracy|bpb|f1|em"
    r"|exact_match|(?:soft|ce)_loss|log_soft_loss|ppl|loss)"
)
#: The least of what counts.
LEAST = {"n": 0, "step": 0, "tokens": 0, "flops": 0, "params": 0, "stderr": 0}
#: No share is larger, though rounding or noise added to it may lift it over 1; what is, is in percent.
MOST_SHARE = 1.5
#: Names of standard errors as metrics, and of what is a share of items.
_ERROR_NAMES = r".*[_ .](?:stderr|std_err|standard_error)"
_SHARES = r"acc(?:uracy)?(?:[_,].*)?|length_normalized_accuracy|exact_match(?:[_,].*)?|em"
_STEMS = ("eval", "val", "test", "downstream", "downstream_bpb", "metrics")
_CHART = re.compile(r"(?P<run>.+) - (?P<metric>.+?)(?P<band>__M(?:IN|AX))?")


def read_mapped_table(path: Path, columns: Sequence[str] = ()) -> ScoreSource:
    """The Scores in a table; notes say how its columns were read and what became of repeated rows."""
    frame = read_frame(path)
    is_written_by_us = not columns and list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    notes: list[str] = []
    if columns or not set(frame.columns) <= set(ALL_COLUMNS) or not _is_whole(frame):
        frame = _long_of_chart(frame, notes) if not columns else frame
        named = named_columns(columns, COLUMNS, frame, path)
        frame, wanted = frame.drop(columns=named.skipped), named.mapping
        mapping = {**wanted, **_recognised(frame, wanted)}
        told = ", ".join(f"{name} = {' / '.join(parts)}" for name, parts in mapping.items() if [name] != parts)
        if told:
            notes.append(f"{path}: columns read as {told}")
        frame = _mapped(frame, mapping, named.constants, path, notes)
    frame = _numbers(frame, path, notes)
    if len(frame) and not is_written_by_us:
        frame = _without_blanks(frame)
        frame = _in_shares(_of_metrics(_possible(frame, path), path, notes), path, notes)
    scores = Scores.from_frame(frame, str(path))
    if scores.duplicate_keys():
        scores, note = _merged(scores, path)
        notes.append(note)
    return ScoreSource(scores, "table", tuple(notes))


def _is_whole(frame: pd.DataFrame) -> bool:
    return {"series", "task", "metric", "value"} <= set(frame.columns)


# -- what the columns are -----------------------------------------------------------------------------------------


def _recognised(frame: pd.DataFrame, wanted: Mapping) -> Mapping:
    """The columns whose names tell what they are, but those that the user named."""
    used = {column for parts in wanted.values() for column in parts}
    by_name = {column.lower(): column for column in reversed(frame.columns) if column not in used}
    mapping: Mapping = {}
    for name in COLUMNS:
        known = [by_name[alias] for alias in (name, *ALIASES.get(name, ())) if alias in by_name]
        if name not in wanted and known and known[0] not in used:
            mapping[name] = [known[0]]
            used.add(known[0])
    if "series" not in wanted:
        before = [column for column in SPLITTING if column in frame.columns]
        after = [one for one in SPLITTING_AFTER if one in frame.columns and one not in used]
        after = [one for one in after if one != "seed" or frame[one].astype(str).nunique() > 1]
        steps = frame[mapping["step"][0]] if "step" in mapping else None
        texts = [one for one in _varying_texts(frame, used) if one not in (*before, *after)]
        texts = [one for one in texts if steps is None or not _names_steps(frame[one], steps)]
        parts = [*before, *mapping.get("series", []), *texts, *_sizes(frame, mapping, texts), *after]
        if parts:
            mapping["series"] = parts
    return mapping


def _varying_texts(frame: pd.DataFrame, used: set[str]) -> list[str]:
    """Columns of text that nobody named and that differ between rows: they tell rows apart."""
    if "metric" not in used and "Metric" in frame.columns:
        return []
    rest = [column for column in frame.columns if column not in used and not _is_number(frame[column])]
    return [column for column in rest if frame[column].astype(str).nunique() > 1]


def _names_steps(column: pd.Series, steps: pd.Series) -> bool:
    """Whether a column of text, of revisions say, says in other words which step a row is of."""
    pairs = pd.DataFrame({"name": column.astype(str), "step": steps.astype(str)}).drop_duplicates()
    found = [(step_of(name), step) for name, step in pairs.itertuples(index=False) if name not in ("main", "")]
    return bool(found) and all(named and not named.track and str(named.step) == step for named, step in found)


def _sizes(frame: pd.DataFrame, mapping: Mapping, texts: Sequence[str]) -> list[str]:
    """The column of parameters, where it is what tells series apart beside ``texts``."""
    column = mapping.get("params", [""])[0]
    is_needed = column and "series" not in mapping and frame[column].astype(str).nunique() > 1
    return [column] if is_needed or (texts and column and not _is_number(frame[column])) else []


def _is_number(column: pd.Series) -> bool:
    """Whether every cell that is not empty is a number, and some are."""
    if not pd.api.types.is_object_dtype(column.dtype) and not pd.api.types.is_string_dtype(column.dtype):
        return bool(pd.api.types.is_numeric_dtype(column.dtype)) and not pd.api.types.is_bool_dtype(column.dtype)
    there = column[column.notna() & (column.astype(str).str.strip() != "")]
    return bool(len(there)) and bool(pd.to_numeric(there, errors="coerce").notna().all() or _are_nan(there))


def _are_nan(there: pd.Series) -> bool:
    """Numbers among which some are written as not a number."""
    plain = there[~there.astype(str).str.strip().str.lower().isin(("nan", "inf", "-inf", "infinity", "-infinity"))]
    return bool(len(plain)) and bool(pd.to_numeric(plain, errors="coerce").notna().all())


# -- from their table to a Scores table ---------------------------------------------------------------------------


def _mapped(
    frame: pd.DataFrame, mapping: Mapping, constants: dict[str, str], path: Path, notes: list[str]
) -> pd.DataFrame:
    values = mapping.pop("value", [])
    named = pd.DataFrame({name: joined_columns(frame, parts) for name, parts in mapping.items()}, index=frame.index)
    for name, told in constants.items():
        named[name] = told
    used = {column for parts in (*mapping.values(), values) for column in parts}
    if not values:
        candidates = [one for one in frame.columns if one not in used and one.lower() not in NO_METRICS]
        values = [one for one in candidates if _is_number(frame[one]) and not _error_of(one, frame)]
    if "series" not in named:
        named["series"] = path.name.partition(".")[0]
        notes.append(f"{path}: no column names the series; {named['series'].iloc[0] if len(named) else ''!r} stands in")
    errors = {_error_column(one, frame) for one in values} - {None}
    if "step" not in named or not values:
        missing = [f"column {name!r} is missing" for name in ("step", "task") if name not in named]
        lacking = " and ".join(missing[:1] + ["no column of numbers is left to be the value"] * (not values))
        found = ", ".join(map(str, frame.columns))[:200]
        raise UserError(f"{path}: {lacking}; found {found}; --columns step=COLUMN value=COLUMN says which they are")
    left = [one for one in frame.columns if one not in used and one not in values and one not in errors]
    if left:
        notes.append(f"columns left out: {', '.join(left)}")
    return _unfolded(frame, named, values, notes)


def _unfolded(frame: pd.DataFrame, named: pd.DataFrame, values: list[str], notes: list[str]) -> pd.DataFrame:
    """One row per value, for each of the columns ``values``."""
    meant = tasks_and_metrics(values) if "task" not in named else {one: ("", one) for one in values}
    parts = []
    for column in values:
        task, metric = meant[column]
        part = named.assign(value=frame[column])
        if "metric" not in named:
            part["metric"] = metric
        elif len(values) > 1:
            part["metric"] = named["metric"].astype(str) + f" {metric}"
        if task:
            part["task"] = task
        error = _error_column(column, frame)
        if error is not None:
            part["stderr"] = frame[error]
        parts.append(part[_there(frame[column])])
    if "metric" not in named:
        notes.append(f"columns taken as values: {', '.join(values)}")
    return pd.concat(parts, ignore_index=True)


def _there(column: pd.Series) -> pd.Series:
    """Which cells hold something: what is logged now and then leaves the others empty."""
    return column.notna() & (column.astype(str).str.strip() != "")


def _error_column(column: str, frame: pd.DataFrame) -> str | None:
    """The column with the standard errors of ``column``."""
    return next((f"{column}{ending}" for ending in ("_stderr", "_se") if f"{column}{ending}" in frame.columns), None)


def _error_of(column: str, frame: pd.DataFrame) -> bool:
    """Whether ``column`` holds standard errors of another, or the range of a chart's line."""
    return any(column.endswith(end) and column.removesuffix(end) in frame.columns for end in ("_stderr", "_se")) or (
        column.endswith(("__MIN", "__MAX"))
    )


def tasks_and_metrics(columns: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Task and metric by column, as its path or its ending tells; whole paths where two would be called the same.

    >>> list(tasks_and_metrics(["eval/downstream/arc_easy_acc", "eval/c4/CrossEntropyLoss", "loss"]).values())
    [('arc_easy', 'acc'), ('c4', 'CrossEntropyLoss'), ('run', 'loss')]
    """
    short = {column: _task_and_metric(column) for column in columns}
    called = list(short.values())
    return {
        column: one if called.count(one) == 1 else (column.rpartition("/")[0] or column, one[1])
        for column, one in short.items()
    }


def _task_and_metric(column: str) -> tuple[str, str]:
    above, _, last = column.rpartition("/")
    if match := _METRIC.fullmatch(last):
        return match["task"], match["metric"]
    parts = [one for one in above.split("/") if one and one not in _STEMS]
    return "/".join(parts) or above or "run", last


def _long_of_chart(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """A chart of Weights & Biases with a column for each run as a table with a column ``series``."""
    lines = {column: match for column in frame.columns if (match := _CHART.fullmatch(column))}
    rest = [column for column in frame.columns if column not in lines]
    if not lines or len(rest) != 1:
        return frame
    by_run: dict[str, pd.DataFrame] = {}
    bands = 0
    for column, match in lines.items():
        bands += match["band"] is not None
        if match["band"] is None:
            table = by_run.setdefault(match["run"], frame[rest].assign(series=match["run"]))
            table[match["metric"]] = frame[column]
    notes.append(f"a chart of Weights & Biases: {len(by_run)} runs; {bands} columns __MIN and __MAX are left out")
    return pd.concat(by_run.values(), ignore_index=True)


def _numbers(frame: pd.DataFrame, path: Path, notes: list[str]) -> pd.DataFrame:
    """Number columns as numbers; sizes such as ``150M`` are read, what else ``params`` says is no size and said."""
    changed = {}
    for name, kind in ALL_COLUMNS.items():
        if name not in frame or kind == "str":
            continue
        if name in ("params", "params_active"):
            changed[name] = _amounts(frame[name], path, notes)
        elif not pd.api.types.is_numeric_dtype(frame[name].dtype):
            cells = frame[name].tolist()
            known = {cell: number_in(cell, name, path) for cell in dict.fromkeys(cells)}
            changed[name] = [known[cell] for cell in cells]
    texts = {name: frame[name].astype(str) for name in ("series", "task", "metric") if name in frame}
    return frame.assign(**changed, **texts)


# -- what the numbers may be --------------------------------------------------------------------------------------


def _without_blanks(frame: pd.DataFrame) -> pd.DataFrame:
    """Names without the blanks around them that a spreadsheet leaves."""
    return frame.assign(**{name: frame[name].str.strip() for name in ("series", "task", "metric") if name in frame})


def _possible(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """``frame``; a :class:`UserError` for a count that cannot be: an unknown one is an empty cell."""
    for name, least in LEAST.items():
        lowest = frame[name].min() if name in frame else least
        if lowest < least:
            raise UserError(
                f"{path}: column {name!r} holds {lowest:g}; {least} is the least that there may be, and a cell "
                "without a number says that it is not known"
            )
    return frame


def _of_metrics(frame: pd.DataFrame, path: Path, notes: list[str]) -> pd.DataFrame:
    """The rows that are scores: a standard error with a row of its own is none."""
    if "metric" not in frame:
        return frame
    is_error = frame["metric"].str.partition(",")[0].str.fullmatch(_ERROR_NAMES)
    if is_error.any():
        names = ", ".join(sorted(set(frame["metric"][is_error])))
        notes.append(f"{path}: {int(is_error.sum())} rows of {names} left out: standard errors, no scores")
    return frame[~is_error]


def _in_shares(frame: pd.DataFrame, path: Path, notes: list[str]) -> pd.DataFrame:
    """Accuracies that are written in percent as shares; a :class:`UserError` where series of one task differ in it."""
    if not {"series", "task", "metric", "value"} <= set(frame.columns):
        return frame
    is_share = frame["metric"].str.fullmatch(_SHARES) & frame["value"].abs().lt(math.inf)
    by_curve = frame[is_share].groupby(["task", "metric", "series"], sort=False)["value"]
    tops: dict[tuple[str, str], dict[str, float]] = {}
    simulated = set()
    for (key, top), least in zip(by_curve.max().items(), by_curve.min(), strict=True):
        task, metric, series = map(str, cast("tuple[str, str, str]", key))
        tops.setdefault((task, metric), {})[series] = float(top)
        if least < 0:
            simulated.add((task, metric))  # with noise that no share has, and no percentage either
    percent = {one: found for one, found in tops.items() if max(found.values()) > MOST_SHARE and one not in simulated}
    if not percent:
        return frame
    for (task, metric), found in percent.items():
        low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
        if found[high] > 100:
            raise UserError(
                f"{path}: an accuracy of {found[high]:g}; 0 to 1, or 0 to 100 in percent, is what there may be"
            )
        if found[low] <= MOST_SHARE:
            raise UserError(
                f"{path}: {metric} of {task} is at most {found[low]:g} in series {low!r} and {found[high]:g} in "
                f"{high!r}: shares beside percent; write all alike"
            )
    keys = pd.MultiIndex.from_frame(frame[["task", "metric"]])
    in_percent = is_share & pd.Series(keys.isin(list(percent)), index=frame.index)
    most = max(max(found.values()) for found in percent.values())
    names = ", ".join(sorted({metric for _, metric in percent}))
    notes.append(f"{path}: {names}: up to {most:g}, taken as percent and divided by 100")
    scaled = {one: frame[one].where(~in_percent, frame[one] / 100) for one in ("value", "stderr") if one in frame}
    return frame.assign(**scaled)


def _amounts(column: pd.Series, path: Path, notes: list[str]) -> list[float]:
    """``150M`` as 150e6, numbers as they are; NaN for what is no amount, which is said."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(float).tolist()
    found, unread = [], set()
    for cell in column:
        text = "" if cell is None else str(cell).strip()
        try:
            found.append(number_of(text))
        except ValueError:
            found.append(float("nan"))
            if text.lower() not in NO_NUMBER:
                unread.add(text)
    if unread:
        notes.append(f"{path}: params {', '.join(sorted(unread)[:3])} are no numbers; unknown")
    return found


def _merged(scores: Scores, path: Path) -> tuple[Scores, str]:
    """One row per key by the mean of repeated values, and how far they disagreed."""
    key = key_columns(scores.frame)
    spread = scores.frame.groupby(key)["value"].agg(["size", "min", "max"])
    repeated = spread[spread["size"] > 1]
    differing = int((repeated["min"] != repeated["max"]).sum())
    note = (
        f"{path}: {len(repeated)} keys ({', '.join(key)}) have {int(repeated['size'].sum())} rows; "
        f"{len(repeated) - differing} agree exactly, {differing} differ (by up to "
        f"{float((repeated['max'] - repeated['min']).max()):.3g}); the mean of each key is used"
    )
    return scores.mean_of_duplicates(), note
