"""Runs of Weights & Biases on disk, ``wandb/run-DATE-ID``: the history in ``run-ID.wandb``, and the summary.

``files/wandb-summary.json`` has the last values only; it is read where wandb is not installed, whose message ``Record``
(``wandb_internal.proto``) the history consists of, in LevelDB's log format. wandb counts calls of ``log`` as ``_step``:
where trainers log their own step, that one counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.results.lm_eval import number_or_nan
from e2lm.results.result import TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.results.table_columns import ALIASES, NO_METRICS, tasks_and_metrics
from e2lm.scores import ScoreRow

SUMMARY, HISTORY = "wandb-summary.json", "run-*.wandb"
_RUN = re.compile(r"(?:offline-)?run-(?P<date>\d{8}_\d{6})-(?P<id>.+)")
_TEXTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
#: LevelDB's log format: bytes of a block, of the header of a piece (and of wandb's, of the file), and types of pieces.
_BLOCK, _HEADER = 32768, 7
_WHOLE, _FIRST, _MIDDLE, _LAST = range(1, 5)
LoggedRow = Mapping[str, Any]


def read_wandb_run(file: ResultFile) -> list[TaskResult] | None:
    """One result for each task and step of the history, or of the summary."""
    if file.path.name != SUMMARY:
        return _results(file, list(_history(file)), file.path.parent.name)
    run = file.path.parent.parent
    if not isinstance(file.data, dict):
        return None
    if _record_type() is not None and any(True for _ in run.glob(HISTORY)):
        file.notes.count("a summary of Weights & Biases is not read beside the history of its run")
        file.notes.leave_out(file.path.name, "the history beside it is read", file.path)
        return []
    file.notes.count("summaries of Weights & Biases have the last values of a run only")
    return _results(file, [dict(_flat(file.data))], run.name)


def _results(file: ResultFile, rows: list[LoggedRow], run: str) -> list[TaskResult]:
    step = next((one for one in ALIASES["step"] if any(one in row for row in rows)), None)
    if step is None:
        raise UserError(f"{file.path}: no value there has a step ({', '.join(ALIASES['step'][:4])} ...)")
    if step != "_step":
        file.notes.count(f"runs of Weights & Biases: steps are {step}, not wandb's own count")
    tokens = next((one for one in ALIASES["tokens"] if any(one in row for row in rows)), "")
    meant = tasks_and_metrics(_metrics(rows, step, tokens))
    match = _RUN.fullmatch(run)
    series, when = (match["id"], match["date"]) if match else (file.path.parent.name, "")
    found = []
    for row in rows:
        if not (values := {name: number for name in meant if (number := _number(row.get(name))) is not None}):
            continue
        at = row.get(step)
        if not isinstance(at, int | float) or at != int(at) or at < 0:
            file.notes.count(f"{file.path}: values were logged without {step}; left out")
            file.notes.leave_out(f"{len(values)} values of {', '.join(values)}"[:200], f"no {step}", file.path)
            continue
        by_task: dict[str, list[ScoreRow]] = {}
        for name, value in values.items():
            task, metric = meant[name]
            known = number_or_nan(row.get(tokens))
            by_task.setdefault(task, []).append(ScoreRow(series, int(at), task, metric, value, tokens=known))
        found += [
            TaskResult(tuple(told), task, series, int(at), file.path, {"harness": "wandb"}, when=when)
            for task, told in by_task.items()
        ]
    return found


def _metrics(rows: list[LoggedRow], step: str, tokens: str) -> list[str]:
    """Names of what was measured, which neither counts nor tells when."""
    names = dict.fromkeys(
        name for row in rows for name in row if not name.startswith("_") and name not in (step, tokens)
    )
    return [name for name in names if name.rpartition("/")[2] not in NO_METRICS]


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return _TEXTS.get(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Values of objects in objects, by ``a.b``, as wandb calls them; without pictures, tables and other media."""
    for name, value in values.items():
        if not isinstance(value, dict):
            yield above + name, value
        elif "_type" not in value and not name.startswith("_"):
            yield from _flat(value, f"{above}{name}.")


def _record_type() -> Any:
    """The message of wandb that a record is; None where wandb is not installed."""
    try:
        from wandb.proto.wandb_internal_pb2 import Record
    except ImportError:
        return None
    return Record


def _history(file: ResultFile) -> Iterator[LoggedRow]:
    if (record := _record_type()) is None:
        raise UserError(
            f"{file.path}: what a record of the history is, wandb tells, which is not installed; pip install wandb, or "
            "export the chart or the history as CSV"
        )
    try:
        for data in _records(file):
            told = record.FromString(data)
            if told.WhichOneof("record_type") == "history":
                names = ((".".join(one.nested_key) or one.key, json.loads(one.value_json)) for one in told.history.item)
                yield dict(_flat(dict(names)))
    except UserError:
        raise
    except Exception as error:  # protobuf raises many kinds for a damaged file
        raise UserError(f"{file.path}: cannot be read as a run of wandb ({one_line(error)})") from error


def _records(file: ResultFile) -> Iterator[bytes]:
    """The records in LevelDB's log format, behind wandb's own header: pieces in blocks, with CRC, length and type."""
    data, position, whole = file.content, _HEADER, b""
    if data[:4] != b":W&B":
        raise UserError(f"{file.path}: not a run of wandb (it begins with {data[:4]!r})")
    while position + _HEADER <= len(data):
        if (rest := _BLOCK - position % _BLOCK) < _HEADER:
            position += rest
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        end = position + _HEADER + length
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or length + _HEADER > rest:
            raise UserError(f"{file.path}: damaged at byte {position}")
        if end > len(data):
            break
        whole, position = whole + data[position + _HEADER : end], end
        if kind in (_WHOLE, _LAST):
            yield whole
            whole = b""
    if whole or position < len(data):  # of a run that goes on, or was killed
        file.notes.say(f"{file.path}: ends in the middle of a record; what lies before it is read")


WANDB = ResultFormat("wandb", "Runs of Weights & Biases on disk.", read_wandb_run, patterns=(), own=(HISTORY, SUMMARY))
