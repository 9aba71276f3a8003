"""Files and folders that are there whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

#: Marks what a killed command may leave behind; such names are never read, and may be deleted once nobody writes them.
PARTIAL_MARK = ".partial-"
#: The machine that writes it, its process, and when that one began.
_WRITER = re.compile(re.escape(PARTIAL_MARK) + r"([0-9a-f]{8})\.(\d+)\.(\d+)-")
#: Whether a process of another machine lives cannot be asked; nothing is written for longer.
_WRITTEN_ELSEWHERE_S = 24 * 3600.0
#: States of a process that was killed and that its parent has not asked for yet.
_ENDED = ("Z", "X")


def partial_prefix() -> str:
    """How names of what this process writes begin, so that others leave it alone while it lives."""
    return f"{PARTIAL_MARK}{_this_machine()}.{os.getpid()}.{_began(os.getpid())}-"


def _this_machine() -> str:
    return sha256(platform.node().encode()).hexdigest()[:8]


def _partial_twin(path: Path) -> Path:
    return path.with_name(f"{partial_prefix()}{uuid4().hex[:12]}-{path.name}")


def remove_leftovers(folder: Path) -> None:
    """Delete what dead processes left half-written in ``folder``, at any depth; what a live one writes stays."""
    for root, folders, files in os.walk(folder):
        for name in [one for one in folders if one.startswith(PARTIAL_MARK)]:
            folders.remove(name)
            if not _is_being_written(Path(root, name)):
                shutil.rmtree(Path(root, name), ignore_errors=True)
        for name in (one for one in files if one.startswith(PARTIAL_MARK)):
            if not _is_being_written(Path(root, name)):
                Path(root, name).unlink(missing_ok=True)


def _is_being_written(partial: Path) -> bool:
    writer = _WRITER.match(partial.name)
    if writer is None:
        return False
    machine, process, began = writer.groups()
    if machine == _this_machine():
        return _began(int(process)) == int(began)
    try:
        return time() - partial.stat().st_mtime < _WRITTEN_ELSEWHERE_S
    except OSError:
        return False


def _began(process: int) -> int:
    """When a process began, in the system's ticks; 0 where it does not tell, -1 if none of that number lives.

    A number is used again, in a container that starts anew at once.
    """
    if Path("/proc/self/stat").exists():
        try:
            state, *others = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            return -1 if state in _ENDED else int(others[18])
        except (OSError, ValueError, IndexError):
            return -1
    try:
        os.kill(process, 0)
    except PermissionError:  # it lives, and is somebody else's
        return 0
    except (OSError, OverflowError):
        return -1
    return 0


def is_partial(path: Path) -> bool:
    """Whether ``path`` is, or lies in, what a killed command left behind.

    >>> is_partial(Path("out/.partial-0a-checkpoint-10/results.json"))
    True
    """
    return any(map(is_partial_name, path.parts))


def is_partial_name(name: str) -> bool:
    """Whether a file or folder called ``name`` is what a killed command left behind."""
    return name.startswith(PARTIAL_MARK)


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Errors of the system name ``path``, where they name nothing or the temporary twin that nobody knows of."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or PARTIAL_MARK in os.fsdecode(error.filename)):
            error.filename, error.filename2 = str(path), None
        raise


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of ``path`` when the block ends without an error."""
    partial = _partial_twin(path)
    with errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with open(partial, "rb") as written:
                os.fsync(written.fileno())
            os.replace(partial, path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


#: Of ``linux/fcntl.h`` and ``linux/fs.h``.
_CURRENT_FOLDER, _EXCHANGE = -100, 2


def _exchanged(first: Path, second: Path) -> bool:
    """Whether the two folders swapped places in one step; False where the system cannot (Linux can, on most disks).

    Two renames would leave a moment without any folder, and a process killed then would leave none.
    """
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return bool(rename(_CURRENT_FOLDER, os.fsencode(first), _CURRENT_FOLDER, os.fsencode(second), _EXCHANGE) == 0)


#: From so many files on, all of the disk at once is sooner written than one file after the other.
MANY_FILES = 200


def _sync_files(written: Sequence[Path], folder: Path) -> None:
    """Have the disk keep these files, all in ``folder``."""
    if len(written) >= MANY_FILES and _disk_synced(folder):
        return
    for path in written:
        with open(path, "rb") as handle:
            os.fsync(handle.fileno())


def _disk_synced(folder: Path) -> bool:
    """Whether the disk that holds the folder could be written out as a whole (Linux can, ``syncfs``)."""
    import ctypes

    try:
        sync = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError, TypeError):
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        return bool(sync(handle) == 0)
    finally:
        os.close(handle)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of ``path`` (which is removed) when the block ends without an error."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where a folder is to be written", str(path))
    partial = _partial_twin(path)
    with errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        try:
            yield partial
            _sync_files([one for one in sorted(partial.rglob("*")) if one.is_file()], partial)
            _take_place(partial, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _take_place(partial: Path, path: Path) -> None:
    if not path.exists():
        os.replace(partial, path)
    elif not _exchanged(partial, path):
        retired = _partial_twin(path)
        os.replace(path, retired)
        os.replace(partial, path)
        shutil.rmtree(retired)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON with sorted keys, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")
