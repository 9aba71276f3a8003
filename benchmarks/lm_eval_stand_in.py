"""Stand-in data of the fields that a task of lm-eval reads: by its templates and functions, then by trying.

Fields and their shapes are read from Jinja templates and from the source of the task's functions (subscripts, loops,
literals). What that leaves open, which of the values a label takes and how choices are written, is tried: lm-eval
itself says what it can build requests of, and whose answer is a choice.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from jinja2 import Environment, nodes

ENGLISH = (
    "the of and to a in is it that was for on with as at by river garden mountain village winter summer teacher "
    "letter stone silver bridge forest island market painter window engine signal harvest doctor travel music"
)
WORDS = ENGLISH.split()
Row = Callable[[random.Random], dict[str, Any]]
PATHS = ("doc_to_text", "doc_to_choice", "doc_to_target", "process_docs", "description", "custom_dataset")
#: Step in a path that stands for any element of a list.
ELEMENT = 0
Path_ = tuple[str | int, ...]
LISTS = ("choices", "targets", "options", "endings", "answers", "candidates", "alternatives", "completions", "classes")
LABELS = ("label", "answer", "gold", "target", "correct", "key", "solution", "idx", "index", "ra", "cop", "right")
#: What a label may be, the commonest first.
OF_LABEL = (
    "place", "letter", "literal", "digit1", "digit0", "place1", "same", "small", "bool", "onehot", "places",
    "letters", "text",
)  # fmt: skip
OF_LIST = ("four", "sames", "two", "three", "five", "labelled", "dicts", "repr", "json", "lines", "ten")
OF_TEXT = (
    "text",
    "four",
    "blank",
    "place",
    "literal",
    "letter",
    "texts",
    "labelled",
    "digit0",
    "empty",
    "number",
    "repr",
    "marked",
)
TRIES = 50
#: Of the rows, must have one right choice.
LEAST_SHARE = 0.9


def text(rng: random.Random, words: int = 9) -> str:
    """Drawn English, more or less."""
    return " ".join(rng.choices(WORDS, k=words))


@dataclass
class Evidence:
    """Paths that are read, and literals that something is compared with or looked up by."""

    paths: set[Path_] = field(default_factory=set)
    literals: list[str] = field(default_factory=list)
    groups: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, path: Path_) -> None:
        """Note a path and all that leads to it."""
        if path and isinstance(path[0], str):
            self.paths.add(path)

    def group(self, values: list[Any]) -> None:
        """Note words that stand side by side: what a label may be."""
        if len(values) > 1 and all(isinstance(one, str) for one in values):
            self.groups.append(tuple(values))


# -- reading templates ----------------------------------------------------------------------------------------------


def read_template(template: str, found: Evidence) -> None:
    """What a Jinja template reads."""
    tree = Environment().parse(template)
    loops: dict[str, Path_] = {}
    for loop in tree.find_all(nodes.For):
        place = _jinja_path(loop.iter, loops)
        if isinstance(loop.target, nodes.Name):
            loops[loop.target.name] = (*place, ELEMENT) if place else ()
    for kind in (nodes.Getattr, nodes.Getitem, nodes.Name):
        for one in tree.find_all(kind):
            path = _jinja_path(one, loops)
            if path and path[0] not in GLOBALS:
                found.add(path)
    found.literals += [str(one.value) for one in tree.find_all(nodes.Const) if isinstance(one.value, str)]
    for many in tree.find_all(nodes.List):
        found.group([one.value for one in many.items if isinstance(one, nodes.Const)])
    for many in tree.find_all(nodes.Dict):
        found.group([one.key.value for one in many.items if isinstance(one.key, nodes.Const)])


#: Methods of texts, lists and mappings, which templates call; no fields.
METHOD_NAMES = (
    "strip index split lower upper replace format capitalize title join keys values items startswith endswith rstrip "
    "lstrip find get append count removeprefix removesuffix pop insert extend encode copy"
)
METHODS = frozenset(METHOD_NAMES.split())


#: What Jinja itself knows by name.
GLOBALS = frozenset(("range", "loop", "dict", "namespace", "cycler", "joiner", "lipsum"))


def _jinja_path(node: Any, loops: Mapping[str, Path_]) -> Path_ | None:
    if isinstance(node, nodes.Name):
        return loops.get(node.name, (node.name,) if node.ctx == "load" else None)
    if isinstance(node, nodes.Getattr):
        above = _jinja_path(node.node, loops)
        return above if above is None or node.attr in METHODS else (*above, node.attr)
    if isinstance(node, nodes.Getitem):
        above = _jinja_path(node.node, loops)
        if above is None:
            return None
        key = node.arg.value if isinstance(node.arg, nodes.Const) else ELEMENT
        return (*above, key if isinstance(key, str) else ELEMENT)
    if isinstance(node, nodes.Filter) and node.node is not None:
        return _jinja_path(node.node, loops)
    return None


# -- reading functions ----------------------------------------------------------------------------------------------


def read_function(named: str, found: Evidence) -> None:
    """What a function ``/folder/module.name`` reads of a document, with all of its module that it names."""
    module, _, name = named.rpartition(".")
    file = Path(f"{module}.py")
    if not file.is_file():
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    known: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            known[node.name] = node
        elif isinstance(node, ast.Assign):
            known |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
    if name not in known:  # made at import: `process_anatomy` of one function and a list of subjects
        found.literals.append(name.partition("_")[2])
        _read_tree(tree, found)
    pending, seen = [name], set()
    while pending:
        one = pending.pop()
        if one in seen or one not in known:
            continue
        seen.add(one)
        pending += [node.id for node in ast.walk(known[one]) if isinstance(node, ast.Name)]
        _read_tree(known[one], found)


DOCUMENTS = frozenset(("doc", "example", "x", "row", "item", "sample", "line", "d", "ex", "entry", "instance", "datum"))


def _read_tree(tree: ast.AST, found: Evidence) -> None:
    loops: dict[str, Path_] = {}
    firsts = [
        node.args.args[0].arg
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.Lambda) and node.args.args
    ]
    roots = DOCUMENTS | {one for one in firsts if one not in ("dataset", "docs", "ds", "self")}
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension):
            _bind(node.target, node.iter, loops, roots)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            path = _python_path(node.value, loops, roots)
            if path:
                loops[node.targets[0].id] = path
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript | ast.Call) and (path := _python_path(node, loops, roots)):
            found.add(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 30:
            found.literals.append(node.value)
        parts = node.keys if isinstance(node, ast.Dict) else node.elts if isinstance(node, ast.List | ast.Tuple) else []
        found.group([one.value for one in parts if isinstance(one, ast.Constant)])


def _bind(target: ast.AST, source: ast.AST, loops: dict[str, Path_], roots: frozenset[str]) -> None:
    if isinstance(source, ast.Call) and isinstance(source.func, ast.Name) and isinstance(target, ast.Tuple):
        parts = source.args if source.func.id == "zip" else [ast.Constant(0), *source.args]
        for one, part in zip(target.elts, parts, strict=False):
            _bind(one, part, loops, roots)
        return
    path = _python_path(source, loops, roots)
    if path and isinstance(target, ast.Name):
        loops[target.id] = (*path, ELEMENT)


def _python_path(node: ast.AST, loops: Mapping[str, Path_], roots: frozenset[str]) -> Path_ | None:
    if isinstance(node, ast.Name):
        return loops.get(node.id, () if node.id in roots else None)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        above = _python_path(node.func.value, loops, roots)
        is_get = node.func.attr == "get" and isinstance(node.args[0], ast.Constant)
        return (*above, str(node.args[0].value)) if above is not None and is_get else above
    above = _python_path(node.value, loops, roots) if isinstance(node, ast.Subscript) else None
    if above is None or not isinstance(node, ast.Subscript):
        return None
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return (*above, node.slice.value)
    return (*above, ELEMENT) if above else None


def evidence_of(config: Mapping[str, Any]) -> Evidence:
    """What the task's configuration reads of a document."""
    found = Evidence()
    for key in PATHS:
        given = config.get(key)
        texts = given if isinstance(given, list) else [given]
        for one in texts:
            if not isinstance(one, str):
                continue
            if one.startswith("/"):
                read_function(one, found)
            elif "{" in one:
                read_template(one, found)
            elif key != "description" and not isinstance(given, list) and re.fullmatch(r"[\w ]+", one):
                found.add((one,))
            if isinstance(given, list):
                found.literals.append(one)
    return found


# -- shapes ---------------------------------------------------------------------------------------------------------

#: A leaf's kind, or the shapes below a name, or the shape of the elements of a list.
Shape = Any


def shapes_of(found: Evidence) -> dict[str, Shape]:
    """The shape of each field, as far as its use tells."""
    tree: dict[Any, Any] = {}
    for path in sorted(found.paths, key=str):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    return {str(name): _shape(str(name), below) for name, below in tree.items() if isinstance(name, str)}


def _shape(name: str, below: Mapping[Any, Any]) -> Shape:
    named = {key: value for key, value in below.items() if isinstance(key, str)}
    if {"label", "text"} <= set(named):
        return "labelled"
    if named:
        return {key: _shape(key, value) for key, value in named.items()}
    inside = below.get(ELEMENT)
    if inside and {"label", "text"} <= set(inside):
        return "dicts"
    if inside and any(isinstance(key, str) for key in inside):
        return [_shape(name, inside)]
    return "four" if inside is not None else _leaf(name)


def _leaf(name: str) -> str:
    """What a field that is read whole holds, by its name."""
    low = name.lower()
    is_one_of_many = re.search(r"\d$|[_ ][a-e]$|[A-E]$", name) is not None
    if not is_one_of_many and any(word in low for word in LISTS):
        return "four"
    return "place" if not is_one_of_many and any(word in low for word in LABELS) else "text"


def value_of(shape: Shape, rng: random.Random, told: dict[str, Any], literals: Mapping[str, list[str]]) -> Any:
    """A value of a shape; ``told`` is what this row has drawn: how many choices, which is right, their texts."""
    if isinstance(shape, dict):
        return {name: value_of(one, rng, told, literals) for name, one in shape.items()}
    if isinstance(shape, str) and shape.startswith("="):
        return shape[1:]
    if isinstance(shape, str) and shape.startswith("@"):
        return rng.choice(literals[shape])
    if isinstance(shape, list):
        rows = []
        for place in range(4):
            rows.append(value_of(shape[0], rng, {**told, "right": place}, literals))
        return rows
    return KINDS[shape](rng, told, literals[""])


def _choices(rng: random.Random, told: dict[str, Any], count: int) -> list[str]:
    chosen = [f"{text(rng, 3)} {number}" for number in rng.sample(range(100), count)]
    told.setdefault("texts", chosen)
    told["right"] %= count
    return chosen


Kind = Callable[[random.Random, dict[str, Any], list[str]], Any]


def _labelled(rng: random.Random, told: dict[str, Any]) -> dict[str, list[str]]:
    return {"text": _choices(rng, told, 4), "label": list("ABCD")}


KINDS: Mapping[str, Kind] = {
    "text": lambda rng, told, _: text(rng, 9),
    "texts": lambda rng, told, _: [text(rng), text(rng)],
    "empty": lambda rng, told, _: "",
    "blank": lambda rng, told, _: f"{text(rng, 5)} _ {text(rng, 5)}",
    "marked": lambda rng, told, _: f"{text(rng, 5)} ___ {text(rng, 5)}",
    "number": lambda rng, told, _: rng.randrange(100) / 10,
    "place": lambda rng, told, _: told["right"],
    "small": lambda rng, told, _: told["right"] % 2,
    "three1": lambda rng, told, _: str(told["right"] % 3 + 1),
    "scores": lambda rng, told, _: {letter: int(k == told["right"]) for k, letter in enumerate("ABCD")},
    "labelled5": lambda rng, told, _: {"text": _choices(rng, told, 5), "label": list("ABCDE")},
    "small1": lambda rng, told, _: told["right"] % 2 + 1,
    "place1": lambda rng, told, _: told["right"] + 1,
    "letter": lambda rng, told, _: "ABCD"[told["right"] % 4],
    "letters": lambda rng, told, _: "abcd"[told["right"] % 4],
    "digit1": lambda rng, told, _: str(told["right"] + 1),
    "digit0": lambda rng, told, _: str(told["right"]),
    "bool": lambda rng, told, _: told["right"] % 2 == 0,
    "onehot": lambda rng, told, _: [int(one == told["right"]) for one in range(4)],
    "places": lambda rng, told, _: [told["right"]],
    "literal": lambda rng, told, literals: rng.choice(literals) if literals else "",
    "same": lambda rng, told, _: told.get("texts", ["?"])[told["right"] % len(told.get("texts", "?"))],
    "sames": lambda rng, told, _: told.get("texts", ["?"])[told["right"] % len(told.get("texts", "?")) :][:1],
    "two": lambda rng, told, _: _choices(rng, told, 2),
    "three": lambda rng, told, _: _choices(rng, told, 3),
    "four": lambda rng, told, _: _choices(rng, told, 4),
    "five": lambda rng, told, _: _choices(rng, told, 5),
    "ten": lambda rng, told, _: _choices(rng, told, 10),
    "abc": lambda rng, told, _: list("ABC"),
    "labelled": lambda rng, told, _: _labelled(rng, told),
    "dicts": lambda rng, told, _: [
        {"text": one, "label": letter} for one, letter in zip(_choices(rng, told, 4), "ABCD", strict=True)
    ],
    "repr": lambda rng, told, _: repr(_choices(rng, told, 4)),
    "json": lambda rng, told, _: json.dumps(_choices(rng, told, 4)),
    "lines": lambda rng, told, _: "\n".join(_choices(rng, told, 4)),
}


def row_of(shapes: Mapping[str, Shape], literals: Mapping[str, list[str]]) -> Row:
    """Draws rows of the shapes; lists of choices first, so that a label may name one of them."""
    order = sorted(shapes, key=lambda name: shapes[name] in (*OF_LABEL, "sames"))

    def drawn(rng: random.Random) -> dict[str, Any]:
        told: dict[str, Any] = {"right": rng.randrange(4)}
        values = {name: value_of(shapes[name], rng, told, literals) for name in order}
        return {name: values[name] for name in shapes}

    return drawn


# -- trying ---------------------------------------------------------------------------------------------------------


def alternatives(shapes: Mapping[str, Shape]) -> Iterator[dict[str, Shape]]:
    """The shapes with one leaf changed, labels first: what they are is what names tell least of."""
    for name, shape in sorted(shapes.items(), key=lambda one: one[1] != "place"):
        for other in _others(shape, name):
            yield {**shapes, name: other}


def _others(shape: Shape, name: str) -> Iterator[Shape]:
    if isinstance(shape, dict):
        yield from alternatives(shape)
        return
    if isinstance(shape, list):
        for other in _others(shape[0], name):
            yield [other]
        return
    order = OF_LABEL if shape in OF_LABEL else OF_LIST + OF_LABEL if shape in OF_LIST else OF_TEXT
    yield from (one for one in dict.fromkeys((*order, *OF_LIST, *OF_LABEL)) if one != shape)


@dataclass(frozen=True)
class Tried:
    """How far lm-eval came: the share of items with one right choice, or what it said."""

    share: float
    said: str = ""


@dataclass(frozen=True)
class Trial:
    """A task, and how rows are tried on it: ``load`` makes it of the data at hand, ``golds`` says what is right."""

    config: Mapping[str, Any]
    load: Callable[[], Any]
    golds: Callable[[Any], list[int | None]]
    splits: tuple[str, ...]


def tried(trial: Trial, row: Row) -> Tried:
    """Whether lm-eval builds requests of rows, and their answers are choices."""
    rows = [row(random.Random(number)) for number in range(9)]
    real = datasets.load_dataset
    datasets.load_dataset = Served(dict.fromkeys(trial.splits, rows)).load
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            golds = trial.golds(trial.load())
    except Exception as error:  # whatever lm-eval or the task's code raises
        if type(error).__name__ == "AskingError":  # requests were built; the import will say it too
            return Tried(1.0, str(error))
        return Tried(-1.0, f"{type(error).__name__}: {error}"[:300])
    finally:
        datasets.load_dataset = real
    if len(golds) < 3:
        return Tried(-0.5, f"{len(golds)} items of 9 rows")
    share = sum(one is not None for one in golds) / len(golds)
    # A label that is the same for all items was hardly understood, where it is read of the document.
    is_read = not str(trial.config.get("doc_to_target")).isdigit()
    return Tried(share / 2 if is_read and len(set(golds)) == 1 else share, f"golds {golds}")


class Served:
    """Stands for ``datasets.load_dataset``: the same rows whatever is asked."""

    def __init__(self, rows: Mapping[str, list[dict[str, Any]]]) -> None:
        self.rows = rows
        self.asked: set[tuple[str, str | None]] = set()

    def load(
        self, path: Any = None, name: Any = None, *, split: str | None = None, data_files: Any = None, **_: Any
    ) -> Any:
        """The rows of all splits, or of one."""
        if path == "json" and isinstance(data_files, dict):  # data of the Hub by address
            path = "/".join(str(next(iter(data_files.values()))).split("/")[3:5])
        self.asked.add((str(path), name))
        made = datasets.DatasetDict({one: datasets.Dataset.from_list(rows) for one, rows in self.rows.items()})
        return made if split is None else made[split]

    def write(self, folder: Path) -> None:
        """The rows as files, for `--data`."""
        for path, name in self.asked:
            place = folder / path / (name or "")
            place.mkdir(parents=True, exist_ok=True)
            for split, rows in self.rows.items():
                (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


MISSING = re.compile(r"KeyError: '([^']+)'|UndefinedError: '([^']+)' is undefined|no attribute '([^']+)'")


def said_by(config: Mapping[str, Any], found: Evidence) -> dict[str, list[str]]:
    """The words that a label may be: those that the task chooses among, else all it names."""
    said = [one for one in dict.fromkeys(found.literals) if one.strip()] or ["yes"]
    choice = config.get("doc_to_choice")
    groups = {f"@{n}": list(one) for n, one in enumerate(dict.fromkeys(found.groups)) if n < MOST_GROUPS}
    return {"": [str(one) for one in choice] if isinstance(choice, list) else said, "=": said, **groups}


MOST_GROUPS = 6


def found_row(trial: Trial) -> tuple[Row | None, str]:
    """A row that lm-eval takes, or what it said of the nearest."""
    found = evidence_of(trial.config)
    literals = said_by(trial.config, found)
    shapes = shapes_of(found)
    outcome, left = tried(trial, row_of(shapes, literals)), itertools.count()
    while outcome.share < 1.0:
        missing = MISSING.search(outcome.said)
        name = next((one for one in missing.groups() if one), "") if missing else ""
        if name and name not in shapes and name not in METHODS and outcome.share < 0:
            shapes = {**shapes, name: _shape(name, {})}
            outcome = tried(trial, row_of(shapes, literals))
            continue
        hinted = [(tried(trial, row_of(other, literals)), other) for other in _hinted(shapes, outcome.said)]
        further = next((one for one in hinted if not one[0].said.startswith(outcome.said[:30])), None)
        if further is not None and next(left) < TRIES:
            outcome, shapes = further
            continue
        better = _better(trial, outcome, shapes, literals, left)
        if better is None:
            break
        outcome, shapes = better
    if outcome.share >= LEAST_SHARE:
        return row_of(shapes, literals), str(shapes)
    return None, f"{outcome.said} with {shapes}"


#: What is said where the task's code left no document.
EMPTY = re.compile(r"size 0|^[012] items|out of bounds|list index out of range|StopIteration|No such|zero")


def _constants(shapes: Mapping[str, Shape], literals: list[str]) -> Iterator[dict[str, Shape]]:
    """The shapes with one text that is the same for all: documents are often chosen by such."""
    for one in literals[:25]:
        for name, shape in shapes.items():
            if shape == "text" and one not in shapes:
                yield {**shapes, name: f"={one}"}


def _together(shapes: Mapping[str, Shape], literals: Mapping[str, list[str]]) -> Iterator[dict[str, Shape]]:
    """The shapes with all labels changed alike, then each to words that stand side by side."""
    labels = [name for name, shape in shapes.items() if shape == "place"]
    if len(labels) > 1:
        yield from ({**shapes, **dict.fromkeys(labels, other)} for other in ("letter", "text", "literal", "digit1"))
    for name in labels:
        yield from ({**shapes, name: group} for group in literals if group.startswith("@"))


#: What is said where a list of choices is read from a text.
OF_WRITTEN = {
    "'list' object has no attribute": "text",
    "malformed node": "repr",
    "JSON object must be": "json",
    "no attribute 'split'": "lines",
}


def _hinted(shapes: Mapping[str, Shape], said: str) -> Iterator[dict[str, Shape]]:
    """The shapes with one list, or all of them, written as what was said asks."""
    kind = next((kind for words, kind in OF_WRITTEN.items() if words in said), None)
    lists = [name for name, shape in shapes.items() if shape in OF_LIST] if kind else []
    yield from ({**shapes, name: kind} for name in lists)
    if len(lists) > 1:
        yield {**shapes, **dict.fromkeys(lists, kind)}


def _better(
    trial: Trial, before: Tried, start: dict[str, Shape], literals: Mapping[str, list[str]], left: Iterator[int]
) -> tuple[Tried, dict[str, Shape]] | None:
    """The first change, or two changes, after which more items have an answer."""
    kept, seen, near = None, {before.said}, []
    first = [*_together(start, literals), *(_constants(start, literals["="]) if EMPTY.search(before.said) else ())]
    for shapes in itertools.chain(first, alternatives(start)):
        if next(left) > TRIES:
            return kept
        outcome = tried(trial, row_of(shapes, literals))
        if outcome.share >= 1.0:
            return outcome, shapes
        if outcome.share > max(before.share, kept[0].share if kept else -1.0):
            kept = (outcome, shapes)
        if outcome.share < 0 and outcome.said not in seen:  # another error: perhaps a step further
            seen.add(outcome.said)
            near.append(shapes)
    if kept is not None:
        return kept
    for shapes in itertools.chain.from_iterable(map(alternatives, near[:12])):
        if next(left) > TRIES:
            return None
        outcome = tried(trial, row_of(shapes, literals))
        if outcome.share > before.share:
            return outcome, shapes
    return None
