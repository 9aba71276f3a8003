"""The YAML of lm-eval tasks as text: read with its functions by name, its includes merged in, and written again.

lm-eval (0.4.9 to 0.4.13) merges an included file under the one that includes it, and looks for the module of
``!function module.name`` beside the file that says it; :func:`merged_task` does the same without importing anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from e2lm import UserError
from e2lm.errors import one_line


class FunctionName(str):
    """``module.name`` of a ``!function``."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """Plain YAML, and functions as their names."""


class _Dumper(yaml.SafeDumper):
    """Plain YAML, and names of functions as ``!function``."""

    def ignore_aliases(self, data: Any) -> bool:
        """Everything is written out."""
        return True


_Loader.add_constructor("!function", lambda loader, node: FunctionName(str(node.value)))
_Dumper.add_representer(FunctionName, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


@dataclass(frozen=True, slots=True)
class MergedTask:
    """A task, group or tag file with what it includes; ``modules``: module name -> the folder it is looked for in."""

    file: Path
    config: dict[str, Any]
    modules: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the task or the group."""
        return str(self.config.get("group") or self.config.get("task"))

    @property
    def is_group(self) -> bool:
        """Whether it names tasks rather than being one."""
        return "group" in self.config or isinstance(self.config.get("task"), list)


def read_yaml(file: Path) -> dict[str, Any]:
    """Keys and values of the file; a :class:`UserError` where it holds none."""
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read as YAML ({one_line(error)})") from error
    if not isinstance(data, dict):
        raise UserError(f"{file}: holds {type(data).__name__}; a task is keys and values")
    return {str(key): value for key, value in data.items()}


def merged_task(file: Path, seen: tuple[Path, ...] = ()) -> MergedTask:
    """The file with its includes, the nearest winning; a :class:`UserError` where an include is missing or a circle."""
    place = file.resolve()
    if place in seen:
        raise UserError(f"{file}: includes itself by way of {seen[-1].name}")
    own = read_yaml(file)
    includes = own.pop("include", [])
    config: dict[str, Any] = {}
    modules: dict[str, Path] = {}
    for include in includes if isinstance(includes, list) else [includes]:
        target = place.parent / str(include)  # an absolute path stays what it is
        if not target.is_file():
            raise UserError(f"{file}: include: no file {include!r} there; copy it beside the task")
        base = merged_task(target, (*seen, place))
        config |= {key: value for key, value in base.config.items() if key != "task_list"}
        modules |= base.modules
    own_modules = {name.rpartition(".")[0]: place.parent for name in functions_of(own)}
    for module, folder in own_modules.items():
        if modules.get(module, folder) != folder:
            raise UserError(
                f"{file}: module {module!r} lies here and beside a file that it includes; rename one of the two"
            )
    return MergedTask(file, config | own, modules | own_modules)


def functions_of(value: Any) -> list[FunctionName]:
    """All functions that a configuration names.

    >>> functions_of({"a": [FunctionName("utils.f")], "b": "utils.g"})
    ['utils.f']
    """
    if isinstance(value, FunctionName):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [name for part in parts for name in functions_of(part)]


def yaml_text(config: dict[str, Any]) -> str:
    """The configuration as the text of a file, keys in their order."""
    return str(yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))
