"""Writes docs/hooks.md from plugins/e2lm/hookspecs.py: signature, docstring, example, and what a hook returns.

python docs/hook_reference.py
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import e2lm
from e2lm import hookspecs
from e2lm.checkpoint import Checkpoint
from e2lm.checkpoint_format import FoundCheckpoint
from e2lm.curriculum import ObjectiveSpan, Plan, Segment, TrainingBudget, TrainingText
from e2lm.item_metric import ItemChoices
from e2lm.merge_strategy import Combination, TensorBlocks, TensorGroup
from e2lm.results.result import TaskResult
from e2lm.results.result_format import ResultFile
from e2lm.scaling_predictor import Forecast, LossTable, UnfinishedRun
from e2lm.scores import ScoreRow, Scores
from e2lm.series import Series
from e2lm.signal_score import Curve, ScoreValue, SeriesRoles
from e2lm.verdict import RunVerdict

PAGE = Path(__file__).with_name("hooks.md")

HEAD = f"""\
# Hooks

<!-- Written by docs/hook_reference.py from plugins/e2lm/hookspecs.py: change it there. -->

A plugin implements one or more of these functions, marked `@hookimpl`; [plugins](plugins.md) says how to write, test
and install one. Hook API {hookspecs.HOOK_API}: the number rises when a hook goes or an argument changes its meaning.

{{introduction}}

| hook | in short |
|---|---|
{{table}}

What these functions, and the functions in what they return, are handed and give back stands at [the end](#objects).
"""

#: What a plugin's functions are handed, and what they give back, by what they are for.
OBJECTS: dict[str, tuple[type, ...]] = {
    "Item metrics": (ItemChoices,),
    "Curricula": (TrainingBudget, TrainingText, Segment, Plan, ObjectiveSpan),
    "Merge strategies": (TensorGroup, TensorBlocks, Combination),
    "Predictors": (LossTable, UnfinishedRun, Forecast),
    "Signal scores": (Curve, SeriesRoles, ScoreValue),
    "Formats of checkpoints and results": (FoundCheckpoint, ResultFile, TaskResult),
    "Listeners": (Series, Checkpoint, Scores, ScoreRow, RunVerdict),
}

OBJECTS_HEAD = """
## Objects

What is handed over and given back. Arrays that are handed over are read-only. The last letters of a name are the
shape: `values_K` has a value for each of K checkpoints. Fields are added at the end and with a default; none goes or
changes its meaning without a new hook API.
"""

#: Markup of docstrings, and what stands for it in Markdown.
MARKUP = (
    (re.compile(r":\w+:`~?(?:e2lm\.)?(?:\w+\.)*([\w.]+)`"), r"`\1`"),
    (re.compile(r"``(.+?)``"), r"`\1`"),
    (re.compile(r"^\.\. versionadded:: (\S+)$", re.MULTILINE), r"Since \1."),
)
RETURNED = re.compile(r"Iterable\[(\w+)\]")


def hooks() -> list[Callable[..., Any]]:
    """Every hook specification, in the order of the file."""
    return [value for name, value in vars(hookspecs).items() if name.startswith("e2lm_") and inspect.isfunction(value)]


def markdown(docstring: str) -> str:
    """The docstring as Markdown.

    >>> markdown("Gives a :class:`e2lm.series.Series`, ``run``.")
    'Gives a `Series`, `run`.'
    """
    for pattern, replacement in MARKUP:
        docstring = pattern.sub(replacement, docstring)
    return docstring


def reference() -> str:
    """The page."""
    found = hooks()
    introduction = markdown(inspect.getdoc(hookspecs) or "").partition("\n\n")[2]
    table = "\n".join(f"| [`{hook.__name__}`](#{hook.__name__}) | {_in_short(hook)} |" for hook in found)
    objects = "".join(f"\n### {title}\n" + "".join(map(_object, kinds)) for title, kinds in OBJECTS.items())
    return HEAD.format(introduction=introduction, table=table) + "".join(map(_section, found)) + OBJECTS_HEAD + objects


def _object(kind: type) -> str:
    """A type with its docstring, fields and what else can be asked of it."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    notes = _notes(kind)
    fields = [
        (one.target.id, ast.unparse(one.annotation), notes.get(one.target.id, ""))
        for one in body.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and not one.target.id.startswith("_")
    ]
    asked = [
        (f"{one.name}{'' if _is_property(one) else '(...)'}", ast.unparse(one.returns or ast.Constant(None)), said)
        for one in body.body
        if isinstance(one, ast.FunctionDef) and not one.name.startswith("_") and (said := _first_line(one))
    ]
    rows = "\n".join(_cells(*one) for one in (*fields, *asked))
    table = f"\n| | type | |\n|---|---|---|\n{rows}\n" if rows else ""
    return f"\n**`{kind.__name__}`** (`{kind.__module__}`)\n\n{_prose(inspect.getdoc(kind) or '')}\n{table}"


def _cells(name: str, told: str, note: str) -> str:
    told = told.replace("|", r"\|")
    return f"| `{name}` | `{told}` | {markdown(note)} |"


def _is_property(function: ast.FunctionDef) -> bool:
    return any(getattr(one, "id", "") in ("property", "cached_property") for one in function.decorator_list)


def _first_line(function: ast.FunctionDef) -> str:
    return (ast.get_docstring(function) or "").partition("\n\n")[0].replace("\n", " ")


def _notes(kind: type) -> dict[str, str]:
    """The comments ``#:`` above fields."""
    found: dict[str, str] = {}
    pending: list[str] = []
    for line in map(str.strip, inspect.getsource(kind).splitlines()):
        if line.startswith("#:"):
            pending.append(line.removeprefix("#:").strip())
            continue
        if pending and (field := re.match(r"(\w+):", line)):
            found[field[1]] = " ".join(pending)
        pending = []
    return found


def _in_short(hook: Callable[..., Any]) -> str:
    return markdown((inspect.getdoc(hook) or "").partition("\n")[0])


def _section(hook: Callable[..., Any]) -> str:
    docstring = inspect.getdoc(hook) or ""
    text, example = _prose(docstring), _example(docstring)
    parts = [f"\n## {hook.__name__}", _code(f"def {hook.__name__}{inspect.signature(hook)}".replace("'", "")), text]
    parts += [_code(example)] if example else []
    parts += list(_returned(hook))
    return "\n\n".join(parts) + "\n"


def _prose(docstring: str) -> str:
    """The docstring without its example."""
    kept = [line for line in docstring.splitlines() if not line.startswith((">>> ", "... "))]
    return re.sub(r"\n{3,}", "\n\n", markdown("\n".join(kept))).strip()


def _example(docstring: str) -> str:
    return "".join(example.source for example in doctest.DocTestParser().get_examples(docstring)).strip()


def _returned(hook: Callable[..., Any]) -> Iterator[str]:
    """What the objects hold that a register hook returns."""
    match = RETURNED.fullmatch(str(hook.__annotations__.get("return", "")))
    if match is None:
        return
    kind = getattr(e2lm, match[1])
    yield f"Returns objects of `{match[1]}`:"
    yield _code(_call(kind, list(_parameters(kind))))
    yield markdown(inspect.getdoc(kind) or "")
    shared = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    for below in _kinds_below(kind):
        own = [parameter for parameter in _parameters(below) if parameter.name not in shared]
        yield _code(_call(below, own, f"    {', '.join(shared)},"))
        yield markdown(inspect.getdoc(below) or "")


def _kinds_below(kind: type) -> Iterator[type]:
    """The types of objects that are a ``kind`` as well, where it comes in several; not those of plugins, if loaded."""
    for below in kind.__subclasses__():
        if below.__module__ == kind.__module__:
            yield from list(_kinds_below(below)) or [below]


def _parameters(kind: Any) -> Iterator[inspect.Parameter]:
    """What making a ``kind`` takes."""
    made_by = kind.__init__ if "__init__" in vars(kind) else kind.__new__
    _, *parameters = inspect.signature(made_by).parameters.values()
    yield from (one for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD)


def _call(kind: type, parameters: list[inspect.Parameter], shared: str = "") -> str:
    fields = []
    for parameter in parameters:
        empty = parameter.default is inspect.Parameter.empty
        default = "" if empty else " = ..." if "factory" in repr(parameter.default) else f" = {parameter.default!r}"
        fields.append(f"    {parameter.name}: {parameter.annotation!s}{default},")
    return "\n".join([f"{kind.__name__}(", *([shared] if shared else []), *fields, ")"])


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
