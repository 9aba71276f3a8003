"""Files and folders are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2lm import atomic_file
from e2lm.atomic_file import (
    MANY_FILES,
    PARTIAL_MARK,
    is_partial,
    partial_prefix,
    remove_leftovers,
    whole_file,
    whole_folder,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with whole_file(target) as partial:
        partial.write_text("new", encoding="utf-8")
        assert not target.exists()
        assert partial.parent == target.parent
        assert is_partial(partial)
    assert target.read_text(encoding="utf-8") == "new"
    assert names(target.parent) == ["file.txt"]


def test_a_block_that_fails_leaves_the_file_before_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old", encoding="utf-8")

    def fail() -> None:
        with whole_file(target) as partial:
            partial.write_text("half", encoding="utf-8")
            raise RuntimeError("no luck")

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_takes_the_place_of_the_one_before(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "folder"
    if there:
        target.mkdir()
        (target / "old.txt").write_text("old", encoding="utf-8")
    with whole_folder(target) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "new.txt").write_text("new", encoding="utf-8")
        assert target.exists() == there
    assert names(tmp_path) == ["folder"]
    assert names(target) == ["sub"]
    assert (target / "sub" / "new.txt").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("can_sync_disk", [True, False])
def test_many_files_are_kept_by_one_call_or_where_there_is_none_each_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_sync_disk: bool
) -> None:
    synced: list[Path] = []
    calls = iter(range(10**6))
    monkeypatch.setattr(atomic_file, "_disk_synced", lambda folder: synced.append(folder) or can_sync_disk)
    monkeypatch.setattr(atomic_file.os, "fsync", lambda _: next(calls))
    with whole_folder(tmp_path / "site") as partial:
        for number in range(MANY_FILES):
            (partial / str(number)).touch()
    assert len(synced) == 1
    assert next(calls) == 1 + MANY_FILES * (not can_sync_disk), "and one of the folder around it"
    assert len(names(tmp_path / "site")) == MANY_FILES


def test_a_disk_is_written_out_as_a_whole_or_that_is_said(tmp_path: Path) -> None:
    assert atomic_file._disk_synced(tmp_path) in (True, False)
    assert sys.platform != "linux" or atomic_file._disk_synced(tmp_path)


def test_a_folder_that_is_replaced_is_there_at_every_moment(tmp_path: Path) -> None:
    if not _can_exchange(tmp_path):
        pytest.skip("this file system cannot swap two folders in one step")
    look = "import os, sys\nwhile True:\n    os.stat(sys.argv[1])\n"
    with whole_folder(tmp_path / "site") as partial:
        (partial / "index.html").touch()
    with subprocess.Popen([sys.executable, "-c", look, str(tmp_path / "site")], stderr=subprocess.DEVNULL) as reader:
        for _ in range(300):
            with whole_folder(tmp_path / "site") as partial:
                (partial / "index.html").touch()
        assert reader.poll() is None, "it was gone for a moment"
        reader.kill()
    assert names(tmp_path) == ["site"]


def _can_exchange(folder: Path) -> bool:
    from e2lm.atomic_file import _exchanged

    (folder / "a").mkdir()
    (folder / "b").mkdir()
    can = _exchanged(folder / "a", folder / "b")
    (folder / "a").rmdir()
    (folder / "b").rmdir()
    return can


def test_a_folder_whose_block_fails_leaves_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old.txt").write_text("old", encoding="utf-8")

    def fail() -> None:
        with whole_folder(target) as partial:
            (partial / "new.txt").write_text("half", encoding="utf-8")
            raise RuntimeError("no luck")

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == ["folder"]
    assert names(target) == ["old.txt"]


def test_a_folder_never_replaces_a_file(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.write_text("precious", encoding="utf-8")

    def attempt() -> None:
        with whole_folder(target) as partial:
            (partial / "new.txt").write_text("new", encoding="utf-8")

    with pytest.raises(NotADirectoryError):
        attempt()
    assert target.read_text(encoding="utf-8") == "precious"
    assert names(tmp_path) == ["taken"]


def test_a_killed_process_leaves_the_old_file_and_only_marked_litter(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old", encoding="utf-8")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom e2lm.atomic_file import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(target)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_text(encoding="utf-8") == "old"
    litter = [path for path in tmp_path.iterdir() if path != target]
    assert len(litter) == 1
    assert litter[0].name.startswith(PARTIAL_MARK)


def test_what_a_live_process_writes_stays_and_what_a_dead_one_left_goes(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(timeout=60)
    mine = partial_prefix()
    theirs = mine.replace(f".{os.getpid()}.", f".{dead.pid}.")
    before = f"{mine.rpartition('.')[0]}.1-"  # the same number, another process: as in a container that starts anew
    elsewhere = f"{PARTIAL_MARK}00000000.1.1-"
    left = tmp_path / "run" / f"{theirs}folder"
    left.mkdir()
    (left / "weights").touch()
    long_ago = tmp_path / f"{elsewhere}old.json"
    for file in (
        *(tmp_path / f"{prefix}file.json" for prefix in (mine, theirs, before, elsewhere, PARTIAL_MARK)),
        long_ago,
    ):
        file.touch()
    os.utime(long_ago, (1.0, 1.0))
    remove_leftovers(tmp_path)
    assert sorted(names(tmp_path)) == sorted([f"{mine}file.json", f"{elsewhere}file.json", "run"])
    assert not left.exists()


def test_a_killed_process_that_nobody_has_waited_for_writes_no_more(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom e2lm.atomic_file import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as partial:\n"
        "    partial.touch()\n    print('written', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file.txt")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        remove_leftovers(tmp_path)
        assert len(names(tmp_path)) == 1
        writer.kill()
        os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)  # it stays in the table of processes
        remove_leftovers(tmp_path)
        assert names(tmp_path) == []


def test_text_is_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "Grüße\n→\n")
    assert (tmp_path / "file.txt").read_bytes() == "Grüße\n→\n".encode()


def test_json_is_the_same_bytes_for_the_same_value_in_any_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "a": "ü"})
    write_json(tmp_path / "b.json", {"a": "ü", "b": [1, 2.5, None]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"a": "ü", "b": [1, 2.5, None]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_has_no_word_for_is_refused_and_nothing_is_written(tmp_path: Path, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", {"a": value})
    assert names(tmp_path) == []


def test_a_new_file_has_the_usual_rights(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "x")
    before = os.umask(0)
    os.umask(before)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o666 & ~before


@pytest.mark.parametrize("kind", [whole_file, whole_folder])
def test_a_full_disk_names_what_was_to_be_written_and_not_its_twin(tmp_path: Path, kind) -> None:
    def fill() -> None:
        with kind(tmp_path / "out") as partial:
            raise OSError(errno.ENOSPC, "No space left on device", *([str(partial)] if kind is whole_folder else []))

    with pytest.raises(OSError, match="No space") as raised:
        fill()
    assert raised.value.filename == str(tmp_path / "out")
    assert names(tmp_path) == []


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    def read_another() -> None:
        with whole_file(tmp_path / "out"):
            (tmp_path / "another").read_bytes()

    with pytest.raises(FileNotFoundError) as raised:
        read_another()
    assert raised.value.filename == str(tmp_path / "another")
