"""docs/house.md is what the code says of itself, and its walks go one way."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def house(repository: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("house_map", repository / "docs" / "house_map.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["house_map"] = module  # its dataclass looks itself up there
    specification.loader.exec_module(module)
    return module


def names(walk: tuple[tuple[str, str], ...]) -> list[str]:
    return [name.removeprefix("⇢") for name, _ in walk]


def test_the_page_is_what_the_first_lines_say(house: ModuleType) -> None:
    assert house.PAGE.read_text(encoding="utf-8") == house.page(), "run python docs/house_map.py"


def test_every_file_and_every_room_says_in_one_line_what_it_hides(house: ModuleType) -> None:
    silent = [name for name, module in house.modules().items() if len(module.first_line) < 15]
    assert len(house.modules()) > 300
    assert silent == []


def test_every_file_has_its_line_and_every_room_its_heading(house: ModuleType) -> None:
    page = house.page()
    for name, module in house.modules().items():
        if module.path.name == "__init__.py":
            assert f"## {name.replace('.', '/')}" in page
        else:
            assert f"| `{module.path.name}` |" in page


def test_every_step_of_a_walk_is_imported_by_one_before_it_or_stands_behind_a_hook(house: ModuleType) -> None:
    assert len(house.WALKS) == 4
    for title, walk in house.WALKS.items():
        steps = names(walk)
        assert set(steps) <= set(house.modules()), title
        for place, (name, _) in enumerate(walk[1:], 1):
            before = [house.modules()[step].imports for step in steps[:place]]
            assert name.startswith("⇢") or any(name in imports for imports in before), f"{title}: {name}"


def test_no_step_of_a_walk_climbs_back_to_the_door_it_began_at(house: ModuleType) -> None:
    for title, walk in house.WALKS.items():
        behind_a_door = [name for name, _ in walk[1:] if not name.startswith("⇢")]
        assert [name for name in behind_a_door if walk[0][0] in house.modules()[name].imports] == [], title
