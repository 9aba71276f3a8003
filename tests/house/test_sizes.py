"""Files stay short enough to read, are named after nouns, and say nothing about the machine they were written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

LONGEST_FILE_LINES = 600

NO_NOUNS = frozenset({"util", "utils", "helper", "helpers", "misc", "common", "tools", "stuff"})

#: Folders of one machine. Assembled, so that this file does not find itself.
MACHINE_PATHS = re.compile("|".join(rf"(?<![\w.~-])/{name}/" for name in ("work", "root", "tmp/bash" + "_jobs", "opt")))


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[Path]:
    """Every file that git knows and that is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [repository / name for name in listed.stdout.split("\0") if name and (repository / name).is_file()]


def test_no_python_file_is_longer_than_600_lines(tracked: list[Path], repository: Path) -> None:
    lines = {
        str(file.relative_to(repository)): len(file.read_text(encoding="utf-8").splitlines())
        for file in tracked
        if file.suffix == ".py"
    }
    assert len(lines) > 100
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE_LINES} == {}


def test_no_module_is_named_after_nothing(tracked: list[Path], repository: Path) -> None:
    named = [
        str(file.relative_to(repository))
        for file in tracked
        if file.suffix == ".py" and NO_NOUNS & {file.stem, *file.relative_to(repository).parent.parts}
    ]
    assert named == []


def test_no_tracked_file_names_a_path_of_one_machine(tracked: list[Path], repository: Path) -> None:
    found = []
    for file in tracked:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{file.relative_to(repository)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), 1)
            if MACHINE_PATHS.search(line)
        ]
    assert found == []


@pytest.mark.parametrize("text", ["see " + "/ro" + "ot/x", '"' + "/o" + 'pt/venv"', "cd " + "/wo" + "rk/main"])
def test_a_path_of_one_machine_is_recognised(text: str) -> None:
    assert MACHINE_PATHS.search(text)


@pytest.mark.parametrize(
    "text", ["https://example.org/wo" + "rk/x", "~/wo" + "rk/x", "home/ro" + "ot/x", "its/o" + "pt/in"]
)
def test_other_paths_are_left_alone(text: str) -> None:
    assert not MACHINE_PATHS.search(text)
