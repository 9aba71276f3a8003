"""What lm-eval 0.4.0 and later leave on disk: which files are results, of what, and which samples belong to them.

========================  =============================  ==============================================
lm-eval                   results                        samples
========================  =============================  ==============================================
0.4.0 to 0.4.2            ``DIR/results.json``, or any   ``DIR/<model_args>_<task>.jsonl``, which is one
                          ``FILE.json`` that was asked   JSON list; numbers are numbers, ``arguments``
                          for                            a list
0.4.3 to 0.4.13, main     ``DIR/<model>/results_<date>   ``samples_<task>_<date>.jsonl`` beside it, one
                          .json``, or ``NAME_<date>      object per line; numbers are strings,
                          .json``                        ``arguments`` an object
========================  =============================  ==============================================
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from e2lm.atomic_file import is_partial
from e2lm.errors import NotFiniteError, UserError
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.results.lm_eval_items import logged_records, logged_samples
from e2lm.results.tables import loaded_json
from e2lm.samples import Samples
from e2lm.scores import ScoreRow, scored_samples
from e2lm.step_name import NamedStep, step_at_start, step_in_path

#: Keys that results of every version have, and hardly another JSON file.
RESULT_KEYS = ("results", "configs", "versions")
DATED = "results_"
#: ``--output_path NAME.json`` gives ``NAME_<date>.json`` from 0.4.9 on.
NAMED_AND_DATED = re.compile(r".*_(\d{4}-\d\d-\d\dT[\d.-]+)")
#: Model arguments that say where the weights are: adapters before the model that they change.
PLACES = ("peft", "delta", "pretrained", "model", "path")


def result_files(root: Path) -> list[Path]:
    """lm-eval's results below ``root``, those of one folder in order of date."""
    there = [file for file in sorted(root.rglob("*.json")) if not is_partial(file.relative_to(root))]
    dated = [file for file in there if file.name.startswith(DATED)]
    others = [file for file in there if file.name == "results.json" or NAMED_AND_DATED.fullmatch(file.stem)]
    found = [file for file in others if file not in dated and _is_results(file)] + dated
    return found or [file for file in there if _is_results(file)]


def _is_results(file: Path) -> bool:
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError, OSError):
        return False
    return isinstance(data, dict) and all(isinstance(data.get(key), dict) for key in RESULT_KEYS)


def sample_files(results: Path, data: dict[str, Any]) -> dict[str, Path]:
    """The samples that were logged with ``results`` (its contents are ``data``), by task."""
    tasks = [str(task) for task in data.get("configs") or {}]
    match = NAMED_AND_DATED.fullmatch(results.stem)
    if match or results.name.startswith(DATED):
        date = match[1] if match else results.stem.removeprefix(DATED)
        named = {task: results.with_name(f"samples_{task}_{date}.jsonl") for task in tasks}
    else:
        arguments = re.sub("/|=", "__", str(data.get("config", {}).get("model_args", "")))
        named = {task: results.with_name(f"{arguments}_{task}.jsonl") for task in tasks}
    return {task: file for task, file in named.items() if file.is_file()}


@dataclass(frozen=True, slots=True)
class Subject:
    """The checkpoint that results are of; ``model`` is what the file calls it, ``""`` where ``e2lm`` wrote it.

    ``step`` is 0 where no name tells one for certain, and ``has_step`` false.
    """

    series: str
    step: int
    tokens: float
    model: str
    has_step: bool = True

    def may_be(self, other: Subject) -> bool:
        """Whether both files may be about one model: one path may be relative and the other not."""
        one, two = f"/{self.model}", f"/{other.model}"
        return "" in (self.model, other.model) or one.endswith(two) or two.endswith(one)


def subject_of(data: dict[str, Any], file: Path, root: Path) -> Subject:
    """What the results in ``file`` (below ``root``) are of, by the model's arguments, else by the names around it."""
    described = data.get("e2lm") or {}
    if "series" in described and "step" in described:
        return Subject(str(described["series"]), int(described["step"]), _number(described.get("tokens")), "")
    arguments = _model_arguments(data)
    place = next((arguments[name] for name in PLACES if arguments.get(name)), str(data.get("model_name") or ""))
    inside = [arguments[name] for name in ("revision", "subfolder", "gguf_file") if arguments.get(name)]
    model = "@".join([posixpath.normpath(place) if place else "", *inside])
    short = PurePosixPath(place).name
    for text in inside:
        if (found := step_in_path(text)) is not None:
            return _subject(f"{short}-{found[0]}" if found[0] else short, found[1], model)
    if (found := step_in_path(place) or _around(file, root)) is not None:
        return _subject(found[0] or short or root.name, found[1], model)
    return Subject(short or root.name, 0, math.nan, model, has_step=False)


def _subject(series: str, named: NamedStep, model: str) -> Subject:
    return Subject(series or "series", named.step, math.nan if named.tokens is None else float(named.tokens), model)


def _model_arguments(data: dict[str, Any]) -> dict[str, str]:
    config = data.get("config") or {}
    arguments = config.get("model_args") or {}
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    revision = {} if config.get("model_revision") in (None, "", "main") else {"revision": config["model_revision"]}
    return {str(name): str(value) for name, value in {**revision, **arguments}.items()}


def _around(file: Path, root: Path) -> tuple[str, NamedStep] | None:
    """What the name of the file says, else the nearest folder below ``root`` that says something."""
    dated = NAMED_AND_DATED.fullmatch(file.stem)
    own = file.stem[: dated.start(1)].rstrip("_").removesuffix("results").rstrip("_") if dated else file.stem
    if (named := step_at_start(own)) is not None:
        return named.track, named
    folder = file.parent.relative_to(root).as_posix() if file.is_relative_to(root) else file.parent.name
    parts = folder.replace("__", "/").split("/")  # lm-eval writes runs/a/checkpoint-5 as runs__a__checkpoint-5
    paths = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((found for path in paths if (found := step_in_path(path)) is not None), None)


@dataclass(frozen=True, slots=True)
class LmEvalRun:
    """One file of results: what it holds, and of what."""

    file: Path
    data: dict[str, Any]
    subject: Subject


def lm_eval_runs(root: Path, notes: Notes) -> Iterator[LmEvalRun]:
    """Every file of results below ``root``, those of one folder in order of date, the newest last.

    A damaged one costs itself. Raises :class:`UserError` where two models would become one checkpoint of one series,
    and where no file can be read.
    """
    seen: dict[tuple[str, int], LmEvalRun] = {}
    damaged: list[UserError] = []
    for file in result_files(root):
        try:
            run = lm_eval_run(file, root)
        except UserError as error:
            damaged.append(error)
            notes.say(f"{error}; left out")
            continue
        other = seen.setdefault((run.subject.series, run.subject.step), run)
        if not run.subject.may_be(other.subject):
            raise UserError(
                f"{file}: {run.subject.model!r} and {other.subject.model!r} ({other.file}) would both be step "
                f"{run.subject.step} of series {run.subject.series!r}; let names tell runs and steps apart "
                "(RUN/step1000), or read the files from folders of their own"
            )
        yield run
    if damaged and not seen:
        raise damaged[0]


def lm_eval_run(file: Path, root: Path) -> LmEvalRun:
    """The results in ``file``, which lies below ``root``."""
    data = loaded_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("results"), dict):
        raise UserError(f"{file}: not lm-eval results (no key 'results')")
    return LmEvalRun(file, data, subject_of(data, file, root))


def lm_eval_rows(run: LmEvalRun, notes: Notes) -> list[ScoreRow]:
    """What the results say, and item metrics of the samples logged with them.

    Values of a task whose log-likelihoods are not finite are left out: lm-eval takes NaN for the likeliest choice.
    """
    logged = _logged(run, notes)
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric") if logged else []
    rows: list[ScoreRow] = []
    for task, values in run.data["results"].items():
        own = logged.get(str(task))
        if own is not None and own.is_damaged:
            continue
        like = _row_like(run, str(task), own)
        reported = [
            replace(like, metric=metric, value=value, stderr=stderr)
            for metric, value, stderr in reported_values(values)
        ]
        rows += reported
        if own is not None and own.samples is not None:
            there = {row.metric for row in reported}
            rows += scored_samples(own.samples, metrics, like, there)
    return rows


def _row_like(run: LmEvalRun, task: str, logged: _Logged | None) -> ScoreRow:
    """A row without metric and value."""
    described, config = run.data.get("e2lm") or {}, run.data.get("config") or {}
    counted = (run.data.get("n-samples") or {}).get(task) or {}
    return ScoreRow(
        series=run.subject.series,
        step=run.subject.step,
        task=task,
        metric="",
        value=math.nan,
        params=float(described.get("params") or config.get("model_num_parameters") or math.nan),
        tokens=run.subject.tokens,
        flops=_number(described.get("flops")),
        # Before 0.4.3 only the samples tell how many there were.
        n=int(counted.get("effective") or (0 if logged is None else logged.count)),
    )


def reported_values(values: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Name, value and standard error (NaN for none) of every metric in lm-eval's results of one task.

    A filter is part of the name, unless it is lm-eval's ``none``.

    >>> list(reported_values({"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.1, "exact,strict": 1}))
    [('acc', 0.5, 0.1), ('exact,strict', 1.0, nan)]
    """
    for key, value in values.items():
        metric, comma, filter_name = str(key).partition(",")
        if not comma or metric.endswith("_stderr") or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        stderr = _number(values.get(f"{metric}_stderr,{filter_name}"))
        yield metric if filter_name == "none" else f"{metric},{filter_name}", float(value), stderr


def read_lm_eval_samples(path: Path) -> list[Samples]:
    """The Samples in lm-eval's output below ``path``, of each checkpoint and task the newest; none is no error."""
    found: dict[tuple[str, str, int], Samples] = {}
    for run in lm_eval_runs(path, notes := Notes()):
        for one in _logged(run, notes).values():
            if one.samples is not None:
                found[one.samples.series, one.samples.task, one.samples.step] = one.samples
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Logged:
    """What was logged of the items of one task."""

    samples: Samples | None
    count: int
    is_damaged: bool = False


def _logged(run: LmEvalRun, notes: Notes) -> dict[str, _Logged]:
    """By task; a file that cannot be read costs itself."""
    found = {}
    for task, file in sample_files(run.file, run.data).items():
        try:
            records = logged_records(file)
            read = logged_samples(file, records, task, run.data["configs"][task], run.subject.series, run.subject.step)
        except NotFiniteError as error:
            notes.say(f"{file}: {error}; the scores of {task} there are left out")
            found[task] = _Logged(None, 0, is_damaged=True)
        except UserError as error:
            notes.say(f"{error}; no item metrics of {task}")
        else:
            found[task] = _Logged(read.samples, len(records))
            for line in read.left_out:
                notes.count(f"{task}: {line}")
    return found


class Notes:
    """What was left out, each thing said once."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()

    def say(self, line: str) -> None:
        """Tell ``line``."""
        self._files.setdefault(line, 0)

    def count(self, line: str) -> None:
        """Tell ``line``, and of how many files it is true."""
        self._files[line] += 1

    def lines(self) -> tuple[str, ...]:
        """All of it, in order."""
        return tuple(f"{line}, in {count} files" if count > 1 else line for line, count in self._files.items())


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
