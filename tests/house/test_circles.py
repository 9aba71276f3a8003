"""No product module imports itself by way of others: not lazily, not for types only, not by a named target."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.house.test_import_rules import imported_names, package_folders


def imports(tree: ast.AST, modules: Collection[str]) -> Iterator[str]:
    """What a module may import of ``modules``; of ``from e2lm import errors`` the module that is meant."""
    names = [name for _, name in imported_names(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            meant = [f"{node.module}.{alias.name}" for alias in node.names]
            names += meant
            if set(meant) <= set(modules):
                names.remove(node.module)
    return (name for name in names if name in modules)


def import_graph(root: Path) -> dict[str, set[str]]:
    """Product module -> the product modules that it imports, wherever in its code and on whatever condition."""
    files = {
        ".".join(file.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__"): file
        for folder in package_folders(root).values()
        for file in sorted(folder.rglob("*.py"))
    }
    return {
        name: set(imports(ast.parse(file.read_text(encoding="utf-8")), files)) - {name} for name, file in files.items()
    }


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle in the order in which they import each other, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]
    return []


def test_no_product_module_imports_itself_by_way_of_others(repository: Path) -> None:
    graph = import_graph(repository)
    assert len(graph) > 200
    assert circle(graph) == []


@pytest.mark.parametrize(
    "back",
    [
        "from e2lm_merge.first import f",
        "from e2lm_merge import first",
        "import e2lm_merge.first",
        "def g():\n    from e2lm_merge.first import f",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from e2lm_merge.first import f",
        "from importlib import import_module\nimport_module('e2lm_merge.first')",
        "ACTION = 'e2lm_merge.first:f'",
    ],
)
def test_a_planted_circle_is_found(tmp_path: Path, back: str) -> None:
    folder = tmp_path / "plugins" / "e2lm_merge"
    folder.mkdir(parents=True)
    for name, source in {
        "__init__": "",
        "first": "from e2lm_merge.second import g",
        "second": "def g():\n    import e2lm_merge.third",
        "third": back,
        "apart": "from e2lm_merge import first, third",
    }.items():
        (folder / f"{name}.py").write_text(f"{source}\n", encoding="utf-8")
    found = circle(import_graph(tmp_path))
    assert {"e2lm_merge.first", "e2lm_merge.second", "e2lm_merge.third"} == set(found)
    (start,) = (place for place, name in enumerate(found[:-1]) if name == "e2lm_merge.first")
    ring = [*found[start:-1], *found[:start]]
    assert ring == ["e2lm_merge.first", "e2lm_merge.second", "e2lm_merge.third"]
    (folder / "third.py").write_text("NAME = 'e2lm_merge.first'\n", encoding="utf-8")
    assert circle(import_graph(tmp_path)) == []
