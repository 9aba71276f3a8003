"""The checks of a submission: the server's own, and what ``e2lm leaderboard check`` runs on a desk.

Nothing of a bundle is executed here. Templates are rendered within the fences of
:mod:`e2lm_leaderboard.bundle.template`; functions are looked up by name in the text of their
file and run later, in the sandbox.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from e2lm.errors import nearest_names
from e2lm.noun import Noun
from e2lm_leaderboard.bundle.bundle import Bundle, Finding, Findings, archive_bundle, read_bundle
from e2lm_leaderboard.bundle.items import ItemError, ItemMaker, TaskItem
from e2lm_leaderboard.bundle.official_archive import METADATA
from e2lm_leaderboard.bundle.rows import RowError, data_rows
from e2lm_leaderboard.bundle.rules import check_items
from e2lm_leaderboard.bundle.task_file import (
    KNOWN_CLASS,
    SUBMISSION_FILE,
    Submission,
    TaskFile,
    YamlError,
    beside,
    function_place,
    parsed_yaml,
    without_ignored,
)
from e2lm_leaderboard.season.season import SeasonRules

N = TypeVar("N", bound=Noun)


@dataclass(frozen=True, slots=True)
class CheckedTask:
    """One task file of a bundle; ``items`` is None where functions must run in the sandbox first."""

    file: str
    task: TaskFile
    data_file: str
    items: tuple[TaskItem, ...] | None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What became of the checks; ``submission`` is None where it cannot be told. ``remark`` refuses nothing."""

    content_id: str
    findings: tuple[Finding, ...]
    submission: Submission | None = None
    tasks: tuple[CheckedTask, ...] = ()
    bundle: Bundle = field(default_factory=Bundle)
    remark: str = ""

    @property
    def accepted(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "accepted": self.accepted,
            "id": self.content_id,
            "name": None if self.submission is None else self.submission.name,
            "tasks": [
                {"file": one.file, "task": one.task.task, "items": None if one.items is None else len(one.items)}
                for one in self.tasks
            ],
            "findings": [finding.as_json() for finding in self.findings],
            "remark": self.remark,
        }


def check_path(path: Path, rules: SeasonRules) -> CheckReport:
    """The report on the folder or archive at ``path``."""
    findings = Findings()
    return _checked(read_bundle(path, rules.limits, findings), rules, findings)


def check_archive(data: bytes, rules: SeasonRules) -> CheckReport:
    """The report on the bytes of an archive."""
    findings = Findings()
    return _checked(archive_bundle(data, rules.limits, findings), rules, findings)


def _checked(bundle: Bundle, rules: SeasonRules, findings: Findings) -> CheckReport:
    if not bundle.files:
        if not len(findings):
            findings.add("files", SUBMISSION_FILE, "", "an empty bundle", "a bundle with files", "see new-submission")
        return CheckReport(bundle.content_id, tuple(findings.listed()))
    submission = _noun(bundle, SUBMISSION_FILE, Submission, rules, findings)
    tasks: list[CheckedTask] = []
    if submission is not None:
        _check_submission(submission, bundle, rules, findings)
        names: dict[str, str] = {}
        for file in submission.tasks[: rules.max_tasks]:
            task = _checked_task(bundle, file, submission, rules, findings)
            if task is None:
                continue
            if task.task.task in names:
                what = f"the task name {task.task.task!r}, which {names[task.task.task]} has too"
                findings.add("task", file, "task", what, "a name of its own", "rename one of the two")
            names[task.task.task] = file
            tasks.append(task)
    remark = _remark([name for one in tasks for name in one.ignored])
    return CheckReport(bundle.content_id, tuple(findings.listed()), submission, tuple(tasks), bundle, remark)


def _remark(ignored: Sequence[str]) -> str:
    """One sentence for all that task files say and nobody asks of."""
    names = ", ".join(dict.fromkeys(ignored))
    return f"ignored, for it changes nothing that is asked: {names}" if names else ""


def _noun(bundle: Bundle, file: str, model: type[N], rules: SeasonRules, findings: Findings) -> N | None:
    """The YAML ``file`` as ``model``; every field at fault is noted."""
    data = _data(bundle, file, rules, findings)
    return None if data is None else _as_noun(data, file, model, findings)


def _data(bundle: Bundle, file: str, rules: SeasonRules, findings: Findings) -> dict[str, Any] | None:
    """Keys and values of the YAML ``file``."""
    if file not in bundle.files:
        remedy = f"add it. {nearest_names(file, bundle.files)}"
        if METADATA in bundle.files:
            remedy = "if this is an entry of 2025, e2lm leaderboard import makes a bundle of it"
        findings.add("files", file, "", "no such file in the bundle", "this file", remedy)
        return None
    return _parsed(file, bundle.files[file], rules, findings)


def _as_noun(data: dict[str, Any], file: str, model: type[N], findings: Findings) -> N | None:
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        _explain(error, file, model, findings)
        return None
    except ValueError as error:  # a whole number of more digits than Python converts, half of a surrogate pair
        findings.add("yaml", file, "", str(error)[:80], "plain YAML", "correct this value")
        return None


def _parsed(file: str, raw: bytes, rules: SeasonRules, findings: Findings) -> dict[str, Any] | None:
    """Keys and values of a YAML file."""
    if len(raw) > rules.limits.yaml_bytes:
        allowed = f"at most {rules.limits.yaml_bytes:,}"
        findings.add("yaml", file, "", f"{len(raw):,} bytes", allowed, "move data into a .jsonl file")
        return None
    try:
        data = parsed_yaml(raw.decode("utf-8"))
    except UnicodeDecodeError:
        findings.add("yaml", file, "", "bytes that are not UTF-8", "UTF-8", "save it as UTF-8")
        return None
    except YamlError as error:
        place = "" if error.line is None else f"line {error.line}"
        findings.add("yaml", file, place, str(error), "plain YAML", "correct this line")
        return None
    if not isinstance(data, dict):
        findings.add("yaml", file, "", type(data).__name__, "keys and values", "see new-submission")
        return None
    return data


def submission_of(bundle: Bundle, rules: SeasonRules, findings: Findings) -> Submission | None:
    """What the bundle says of itself, which is all that is looked at when it arrives."""
    return _noun(bundle, SUBMISSION_FILE, Submission, rules, findings)


#: What lm-eval makes prompts of, and a bundle holds made.
BAKED_IN = frozenset(
    {"num_fewshot", "fewshot_split", "fewshot_config", "fewshot_delimiter", "include", "gen_prefix", "dataset_path"}
)


def _explain(error: ValidationError, file: str, model: type[Noun], findings: Findings) -> None:
    known = [field.alias or name for name, field in model.model_fields.items()]
    fields: dict[str, tuple[str, str, str]] = {}
    for one in error.errors(include_url=False):
        # A field of several allowed types has one error for each: the first names the field, which is enough.
        name = str(one["loc"][0]) if one["loc"] else ""
        if name in fields:
            continue
        if name in BAKED_IN:
            remedy = "e2lm leaderboard import makes a bundle whose prompts hold the examples"
            fields[name] = (repr(one["input"]), "prompts as they are asked", remedy)
        elif one["type"] == "extra_forbidden":
            fields[name] = ("an unknown field", f"only {', '.join(known)}", nearest_names(name, known))
        elif one["type"] == "missing":
            fields[name] = ("nothing", "a value", f"add {name}:")
        else:
            fields[name] = (repr(one["input"]), one["msg"], "correct the value")
    for name, (found, expected, fix) in fields.items():
        findings.add("fields", file, name, found, expected, fix)


def _check_submission(submission: Submission, bundle: Bundle, rules: SeasonRules, findings: Findings) -> None:
    if submission.language not in rules.languages:
        allowed = f"one of {', '.join(rules.languages)}"
        findings.add("language", SUBMISSION_FILE, "language", submission.language, allowed, "see the season's rules")
    if len(submission.tasks) > rules.max_tasks:
        found = f"{len(submission.tasks)} tasks"
        findings.add("tasks", SUBMISSION_FILE, "tasks", found, f"at most {rules.max_tasks}", "leave some out")
    if len(set(submission.tasks)) < len(submission.tasks):
        findings.add("tasks", SUBMISSION_FILE, "tasks", "a file twice", "each file once", "leave one out")
    code = [name for name in bundle.files if name.endswith(".py")]
    if code and submission.tier == "declarative":
        fix = "set tier: code, or leave the code out"
        findings.add("tier", code[0], "tier", "Python code in a declarative submission", "no code", fix)
    if submission.tier == "code" and not rules.code_allowed:
        findings.add("tier", SUBMISSION_FILE, "tier", "code", "declarative in this season", "use templates only")
    _check_metric_function(submission, bundle, rules, findings)
    for name in code:
        if len(bundle.files[name]) > rules.limits.code_bytes:
            allowed = f"at most {rules.limits.code_bytes:,} bytes"
            found = f"{len(bundle.files[name]):,} bytes"
            findings.add("code", name, "", found, allowed, "move data into a .jsonl file")


def _check_metric_function(submission: Submission, bundle: Bundle, rules: SeasonRules, findings: Findings) -> None:
    target, field = submission.metric_function, "metric_function"
    if target is None:
        return
    file, function = function_place(target)
    if submission.tier == "declarative":
        fix = "set tier: code, or name an installed metric"
        findings.add("tier", SUBMISSION_FILE, field, target, "no code in a declarative submission", fix)
    elif _has_function(bundle, SUBMISSION_FILE, field, file, function, findings):
        size, allowed = len(bundle.files[file]), rules.metric_code_bytes
        if size > allowed:
            findings.add("code", file, "", f"{size:,} bytes", f"at most {allowed:,} for a metric", "make it shorter")


def _has_function(bundle: Bundle, file: str, field: str, code_file: str, function: str, findings: Findings) -> bool:
    """Whether there is such a function, by the text of its file."""
    if code_file not in bundle.files:
        found = f"the function {function}, but no {code_file}"
        findings.add("files", file, field, found, "a function of the bundle", f"add {code_file}")
        return False
    if not re.search(rb"^def " + function.encode() + rb"\(", bundle.files[code_file], re.MULTILINE):
        found = f"no 'def {function}(' in {code_file}"
        findings.add("code", file, field, found, "a function of this name", "correct the name")
        return False
    return True


def _checked_task(
    bundle: Bundle, file: str, submission: Submission, rules: SeasonRules, findings: Findings
) -> CheckedTask | None:
    data = _data(bundle, file, rules, findings)
    if data is None:
        return None
    kept, ignored = without_ignored(data)
    task = _as_noun(kept, file, TaskFile, findings)
    if task is None:
        return None
    data_file = beside(file, task.data_file)
    if task.task_class is not None and task.task_class.target != KNOWN_CLASS:
        found = f"the class {task.task_class.target}"
        findings.add("task", file, "class", found, f"{KNOWN_CLASS} or none", "leave the line out")
    _check_functions(bundle, file, task, submission, findings)
    if data_file not in bundle.files:
        close = nearest_names(data_file, (name for name in bundle.files if name.endswith((".jsonl", ".parquet"))))
        found = f"the data file {data_file!r}, which is not in the bundle"
        findings.add("files", file, "dataset_kwargs", found, "a data file of the bundle", f"add it. {close}")
        return None
    if task.functions:
        _check_rows_only(data_file, bundle.files[data_file], rules, findings)
        return CheckedTask(file, task, data_file, None, ignored)
    items = items_of(file, task, data_file, bundle, rules, findings)
    if items is None:
        return None
    check_items(data_file, items, rules, submission.language, findings)
    return CheckedTask(file, task, data_file, tuple(items), ignored)


def _check_functions(bundle: Bundle, file: str, task: TaskFile, submission: Submission, findings: Findings) -> None:
    for name, reference in task.functions.items():
        code_file = beside(file, reference.file)
        if submission.tier == "declarative":
            fix = "set tier: code, or use a template"
            findings.add("tier", file, name, f"!function {reference.target}", "templates only", fix)
        else:
            _has_function(bundle, file, name, code_file, reference.function, findings)


def _check_rows_only(data_file: str, data: bytes, rules: SeasonRules, findings: Findings) -> None:
    try:
        count = sum(1 for _ in data_rows(data_file, data, rules))
    except RowError as error:
        _note_row(data_file, error, findings)
        return
    if count > rules.max_items:
        findings.add("item-count", data_file, "", f"{count} rows", f"at most {rules.max_items}", "leave some out")


def items_of(
    file: str,
    task: TaskFile,
    data_file: str,
    bundle: Bundle,
    rules: SeasonRules,
    findings: Findings,
    answers: Mapping[int, dict[str, Any]] | None = None,
) -> list[TaskItem] | None:
    """The items of a task, or None with the reason among the findings."""
    items: list[TaskItem] = []
    chars = 0
    try:
        maker = ItemMaker(task)
        for item in maker.items(data_rows(data_file, bundle.files[data_file], rules), answers):
            items.append(item)
            chars += len(item.context) + sum(map(len, item.choices))
            if chars > rules.limits.total_bytes:
                found, allowed = f"more than {rules.limits.total_bytes:,} characters of items", "as many in all"
                findings.add("size", file, "", found, allowed, "shorten the templates, or leave items out")
                return None
            if len(items) > rules.max_items:
                break
    except RowError as error:
        _note_row(data_file, error, findings)
        return None
    except ItemError as error:
        place = f"{error.field} (row {len(items) + 1} of {data_file})"
        findings.add("items", file, place, error.found, error.expected, "correct the template or the row")
        return None
    return items


def _note_row(data_file: str, error: RowError, findings: Findings) -> None:
    place = "" if error.line is None else f"line {error.line}"
    findings.add("data", data_file, place, error.found, error.expected, "correct the data")
