"""What was seen saves reading and decides nothing: any doubt, damage or race means that files are read again."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from e2lm_adapters.eval.memory import SEEN_FILE, Memory
from e2lm_adapters.lm_eval import sources
from e2lm_adapters.lm_eval.tasks import TaskIdentities


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is old enough to be known by its stamps."""
    made = tmp_path / "model.safetensors"
    made.write_bytes(b"weights")
    return made


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old at once."""
    monkeypatch.setattr(sources, "RACY_S", -1.0)


def looked(memory: Memory, file: Path, answer: tuple[str, str] = ("hash", "")) -> bool:
    """Whether the file had to be looked at."""
    asked = []

    def look() -> tuple[str, str]:
        asked.append(1)
        return answer

    assert memory.weights([file], look) == answer
    return bool(asked)


def seen(folder: Path, file: Path) -> None:
    memory = Memory(folder)
    assert looked(memory, file)
    memory.file_hash(file)
    memory.write()


@pytest.mark.usefixtures("patient")
def test_what_was_seen_is_not_read_again(tmp_path: Path, file: Path) -> None:
    seen(tmp_path, file)
    assert not looked(Memory(tmp_path), file)


@pytest.mark.usefixtures("patient")
def test_what_is_not_finite_is_remembered_with_the_hash(tmp_path: Path, file: Path) -> None:
    memory = Memory(tmp_path)
    assert looked(memory, file, ("hash", "tensor holds 1 NaN"))
    memory.write()
    assert not looked(Memory(tmp_path), file, ("hash", "tensor holds 1 NaN"))


def rewritten(file: Path) -> None:
    file.write_bytes(b"WEIGHTS")


def rewritten_with_its_time_set_back(file: Path) -> None:
    before = file.stat()
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_with_its_time_set_back(file: Path) -> None:
    before, other = file.stat(), file.with_name("other")
    other.write_bytes(b"WEIGHTS")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("change", [rewritten, rewritten_with_its_time_set_back, replaced_with_its_time_set_back])
def test_a_file_that_changed_is_read_again(change: object, tmp_path: Path, file: Path) -> None:
    seen(tmp_path, file)
    before = Memory(tmp_path).file_hash(file)
    time.sleep(0.02)
    assert callable(change)
    change(file)
    assert looked(Memory(tmp_path), file)
    assert Memory(tmp_path).file_hash(file) != before


def test_a_file_younger_than_the_ticks_of_a_clock_is_not_trusted(tmp_path: Path, file: Path) -> None:
    seen(tmp_path, file)
    assert looked(Memory(tmp_path), file)


@pytest.mark.usefixtures("patient")
def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path: Path, file: Path) -> None:
    memory = Memory(tmp_path)

    def look() -> tuple[str, str]:
        file.write_bytes(b"longer weights")
        return "hash", ""

    memory.weights([file], look)
    memory.write()
    assert looked(Memory(tmp_path), file)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("cut", [0, 1, 40, -2, None])
def test_a_damaged_memory_is_none(cut: int | None, tmp_path: Path, file: Path) -> None:
    seen(tmp_path, file)
    place = tmp_path / SEEN_FILE
    text = place.read_text(encoding="utf-8")
    place.write_text(text.replace('"hash"', '"hush"') if cut is None else text[:cut], encoding="utf-8")
    assert looked(Memory(tmp_path), file)
    seen(tmp_path, file)
    assert not looked(Memory(tmp_path), file)


@pytest.mark.usefixtures("patient")
def test_two_commands_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}" / "model.safetensors" for number in range(8)]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(b"weights")
    threads = [threading.Thread(target=seen, args=(tmp_path, file)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = [not looked(Memory(tmp_path), file) for file in files]
    assert any(known)  # what one of them lost is looked at again
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".partial-")]


def test_tasks_of_unknown_origin_are_forgotten(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.see_tasks("key", TaskIdentities({"small": {"requests": "a"}}), {}, None)
    memory.write()
    assert Memory(tmp_path).tasks("key") is None
