"""What a task of lm-eval is known by: its requests, documents and settings, and the code that judges answers.

Code is told file by file: the file of every function and class that the task holds, and every file that these import,
as far as it belongs to no installed package. Comments and layout do not count. An installed package counts by its
version, e2lm by the versions of its scoring and Samples; tasks inside lm-eval count by their files.
"""

from __future__ import annotations

import ast
import functools
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

#: Raised when tasks whose choices are contexts, or that have several right answers, come out as other Samples.
SAMPLES_VERSION = 2
#: Settings that say where documents come from and how a task is listed: documents themselves are a part.
NO_SETTINGS = ("task_alias", "tag", "group", "dataset_path", "dataset_name", "dataset_kwargs", "metadata")
#: Of ``metadata``: where the YAML lies.
NO_METADATA = ("config_source",)
#: Packages of ours that count by :data:`SAMPLES_VERSION` and the version of scoring.
OURS = ("e2lm", "e2lm_adapters")
#: Of this environment, of the user (``pip install --user``), and of environments that this one borrows from.
LIBRARIES = tuple(
    dict.fromkeys(
        (
            *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            *(folder for folder in sys.path if folder.endswith(("/site-packages", "/dist-packages"))),
        )
    )
)
LM_EVAL_TASKS = "/lm_eval/tasks/"


def task_parts(task: Any) -> dict[str, str]:
    """Name of a part -> hash, of a task whose requests have been built."""
    return {
        "requests": _requests_hash(task),
        "documents": _documents_hash(task),
        "settings": hash_of(_settings(task)),
        **code_of(task_callables(task)).parts,
    }


# -- what is asked ------------------------------------------------------------------------------------------------


def _requests_hash(task: Any) -> str:
    """Over every request and its target."""
    digest = sha256(str(task.task_name).encode())
    for instance in task.instances:
        target = task.doc_to_target(instance.doc) if hasattr(task, "doc_to_target") else ""
        # surrogatepass: damaged text must not stop the evaluation of a benchmark that has it
        text = repr(_plain((instance.request_type, instance.args, target)))
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _documents_hash(task: Any) -> str:
    """Over every document once: what judges an answer may look at more of it than was asked."""
    digest, before = sha256(), None
    for instance in task.instances:
        if instance.doc is not before:
            digest.update(repr(_plain(instance.doc)).encode("utf-8", "surrogatepass"))
        before = instance.doc
    return digest.hexdigest()


def _settings(task: Any) -> Any:
    config = getattr(task, "config", None)
    told = {name: value for name, value in _entries(config).items() if name not in NO_SETTINGS}
    metadata = {
        name: value for name, value in _entries(_entries(config).get("metadata")).items() if name not in NO_METADATA
    }
    several = getattr(task, "multiple_input", False) or getattr(task, "multiple_target", False)
    return [_plain(told), _plain(metadata), SAMPLES_VERSION if several else 1]


def _entries(value: Any) -> dict[str, Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name, None) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): one for name, one in value.items()}
    return {}


def _plain(value: Any) -> Any:
    """``value`` as something whose ``repr`` is the same in every process."""
    if value is None or isinstance(value, str | bytes | bool | int | float | complex):
        return value
    if isinstance(value, type) or callable(value):
        return f"callable {getattr(value, '__qualname__', type(value).__qualname__)}"
    if entries := _entries(value):
        return sorted((name, _plain(one)) for name, one in entries.items())
    if isinstance(value, list | tuple | set | frozenset):
        plain = [_plain(one) for one in value]
        return sorted(plain, key=repr) if isinstance(value, set | frozenset) else plain
    return [type(value).__qualname__, *_inner(value)]


def _inner(value: Any) -> list[Any]:
    """What makes one array, picture or other object another than the next."""
    if hasattr(value, "tobytes"):
        kind = [str(getattr(value, name, "")) for name in ("dtype", "shape", "mode", "size")]
        return [kind, sha256(value.tobytes()).hexdigest()]
    return [_plain(getattr(value, "__dict__", None) or str(value))]


def hash_of(value: Any) -> str:
    """SHA-256 of what JSON makes of ``value``."""
    return sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


# -- the code -----------------------------------------------------------------------------------------------------


def task_callables(task: Any) -> Iterator[Any]:
    """Every function and class that can have a say: of the task's class, its settings, metrics, filters, sampler."""
    yield type(task)
    held = ("config", "_metric_fn_list", "_aggregation_list", "_metric_fn_kwargs", "_filters", "sampler", "fewshot_cfg")
    for name in held:
        yield from _inside(getattr(task, name, None))


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, type) or callable(value):
        yield value
    elif entries := _entries(value):
        for one in entries.values():
            yield from _inside(one)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _inside(one)
    elif type(value).__module__ not in ("builtins", "random"):
        yield type(value)


class _Walk:
    """Goes from callables to their files, and on to what these import."""

    def __init__(self) -> None:
        self.files: dict[Path, str] = {}
        self.packages: set[str] = set()
        self.bound: list[str] = []
        self._seen: set[int] = set()

    def callable(self, value: Any) -> None:
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, functools.partial):
            self.callable(value.func)
            self._bound((*value.args, *value.keywords.values()))
        elif isinstance(value, MethodType):
            self.callable(value.__func__)
            self.callable(type(value.__self__) if not isinstance(value.__self__, type) else value.__self__)
        elif isinstance(value, type):
            for one in value.__mro__:
                self._module(one.__module__, None)
        elif isinstance(value, FunctionType):
            self._function(value)
        else:
            self.callable(type(value))

    def _function(self, function: FunctionType) -> None:
        file = Path(function.__code__.co_filename)
        self._module(function.__module__ or "", file)
        if not file.is_file():  # made by exec: there is no file to read
            self.bound.append(repr((function.__code__.co_code, _plain(function.__code__.co_consts))))
        self._bound([*(function.__defaults__ or ()), *(_content(cell) for cell in function.__closure__ or ())])
        if wrapped := getattr(function, "__wrapped__", None):
            self.callable(wrapped)

    def _bound(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, type) or callable(value):
                self.callable(value)
            elif not isinstance(value, ModuleType):
                self.bound.append(repr(_plain(value)))

    def _module(self, name: str, file: Path | None) -> None:
        if name.partition(".")[0] in OURS:
            return
        loaded = getattr(sys.modules.get(name), "__file__", None)
        place = file if file is not None and file.is_file() else Path(loaded) if loaded else None
        if place is None or place.suffix != ".py":
            self.packages.add(name.partition(".")[0])
        elif is_library(place):
            self.packages.add(_package_of(place))
        elif place.resolve() not in self.files:
            self._file(place.resolve(), name)

    def _file(self, file: Path, name: str) -> None:
        source = file.read_bytes()
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):  # of another Python: beside what is used
            self.files[file] = sha256(source).hexdigest()
            return
        self.files[file] = sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).hexdigest()
        for imported in _imports(tree, name, file):
            self._imported(imported, file)

    def _imported(self, name: str, importer: Path) -> None:
        """A module, or what stands in one, by its dotted name."""
        top = name.partition(".")[0]
        if top in OURS:
            return
        beside = importer.parent.joinpath(*name.split(".")).with_suffix(".py")
        files = [beside] if beside.is_file() else _files_on_the_way(name)
        if not files:
            self.packages.add(top)
        for file in files:
            self._module(name, file)


def _files_on_the_way(name: str) -> list[Path]:
    """The files that importing ``name`` runs, found without importing: packages, then the module."""
    top, *inner = name.split(".")
    try:
        spec = getattr(sys.modules.get(top), "__spec__", None) or find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return []
    files = [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    for part in inner:
        inside = [folder / part for folder in folders]
        files += [file for one in inside for file in (one.with_suffix(".py"), one / "__init__.py") if file.is_file()]
        folders = [one for one in inside if one.is_dir()]
    return files


@dataclass(frozen=True, slots=True)
class Code:
    """Where code lies, ``code FILE`` -> hash and ``package NAME`` -> version of it, and what these packages came in."""

    files: tuple[Path, ...]
    parts: dict[str, str]
    distributions: tuple[str, ...]


def code_of(roots: Iterable[Any]) -> Code:
    """The code behind functions and classes."""
    walk = _Walk()
    for root in roots:
        walk.callable(root)
    by_name: dict[str, list[str]] = {}
    for file, found in walk.files.items():
        by_name.setdefault(file.name, []).append(found)
    parts = {f"code {name}": hash_of(sorted(found)) for name, found in sorted(by_name.items())}
    if walk.bound:
        parts["arguments of functions"] = hash_of(sorted(walk.bound))
    brought = {package: _distributed(package) for package in sorted(walk.packages)}
    told = {
        f"package {package}": " ".join(f"{one} {version(one)}" for one in names)
        for package, names in brought.items()
        if names
    }
    return Code(tuple(walk.files), parts | told, tuple(one for names in brought.values() for one in names))


def is_library(file: Path) -> bool:
    """Whether ``file`` belongs to an installed package or to Python; lm-eval's own tasks do not, people mend them."""
    text = str(file.resolve())
    return any(text.startswith(f"{folder}/") for folder in LIBRARIES) and LM_EVAL_TASKS not in text


def _package_of(file: Path) -> str:
    text = str(file.resolve())
    root = max((folder for folder in LIBRARIES if text.startswith(f"{folder}/")), key=len)
    return Path(text).relative_to(root).parts[0].removesuffix(".py")


def _distributed(package: str) -> list[str]:
    """What brings ``package``; nothing for Python's own, and for lm-eval, which has a part of its own."""
    return [name for name in sorted(set(_distributions().get(package, ()))) if name not in ("lm_eval", "lm-eval")]


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return None


def _imports(tree: ast.Module, name: str, file: Path) -> Iterator[str]:
    """Dotted names of what ``tree`` imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*own[: len(own) - node.level + 1], *([base] if base else [])])
            yield from (f"{base}.{one.name}" if base else one.name for one in node.names)


__all__ = ["SAMPLES_VERSION", "Code", "code_of", "hash_of", "is_library", "task_callables", "task_parts"]
