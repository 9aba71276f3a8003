"""What tasks were made of when they were loaded: later commands can tell without lm-eval that all is as it was.

While tasks are loaded every file that is read and every folder that is listed is noted (Python's audit events); beside
them stand the files of their code, their data files and Arrow files, and all YAML and Python files of the folders that
lm-eval searches. Where the network was asked nothing is remembered: there the answer may change. Any doubt means that
tasks are loaded again, which costs seconds and is always right.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, source_from_cache
from pathlib import Path
from typing import Any

from e2lm.noun import Noun
from e2lm_adapters.checkpoints.identity import content_hash
from e2lm_adapters.lm_eval.registration import task_folders
from e2lm_adapters.lm_eval.task_code import LM_EVAL_TASKS, code_of, is_library, task_callables

#: A file changed again within this time may keep its stamps: the clock of a file system ticks slowly.
RACY_S = 2.0
#: Of a larger file that is as young as that nothing is remembered.
MAX_RACY_BYTES = 1 << 26
#: Beside what the code uses, their versions say which tasks these are, and what they do.
PACKAGES = ("lm_eval", "datasets", "transformers", "tokenizers")
SEARCHED = (".yaml", ".yml", ".py")
NO_FILES = ("/proc/", "/sys/", "/dev/")
#: What is opened by the way and says nothing: locks, and what others are writing.
PASSING = (".lock", ".incomplete", ".tmp")
#: Variables of these change which data are found.
VARIABLES = ("HF_", "TRANSFORMERS_", "LM_EVAL", "LMEVAL", "E2LM_", "XDG_CACHE", "HOME", "PYTHONPATH")

#: Size, time of change in ns, time of status change in ns, inode.
Stamp = tuple[int, int, int, int]


class SourceFile(Noun):
    """A file as it was: by its stamp, and by its content where it was too young for that."""

    stamp: Stamp
    sha256: str = ""


class Sources(Noun):
    """Everything a set of tasks was made of: files, listed folders, searched trees, versions of packages."""

    files: dict[str, SourceFile]
    folders: dict[str, str]
    trees: dict[str, str]
    packages: dict[str, str]

    def are_unchanged(self) -> bool:
        """Whether all of it is as it was."""
        try:
            return (
                all(_version(name) == found for name, found in self.packages.items())
                and all(_is_unchanged(Path(name), found) for name, found in self.files.items())
                and all(_listing(Path(name)) == found for name, found in self.folders.items())
                and all(_tree(Path(name)) == found for name, found in self.trees.items())
            )
        except OSError:
            return False


def stamp_of(file: Path) -> Stamp:
    """What changes when ``file`` does; a status change cannot be set back."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def is_racy(stamp: Stamp, now_s: float) -> bool:
    """Whether the file is so young that it could change again without another stamp."""
    return max(stamp[1], stamp[2]) / 1e9 > now_s - RACY_S


def _is_unchanged(file: Path, found: SourceFile) -> bool:
    return stamp_of(file) == found.stamp and (not found.sha256 or content_hash(file) == found.sha256)


class OpenedFiles:
    """Files read, folders listed and whether the network was asked, while it watches."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.asked_network = False

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take down one of Python's audit events."""
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, str | bytes) and not _writes(mode, flags):
                self.files.add(_absolute(path))
        elif event in ("os.listdir", "os.scandir"):
            if isinstance(arguments[0], str | bytes):
                self.folders.add(_absolute(arguments[0]))
        elif event in ("socket.connect", "socket.getaddrinfo") and isinstance(arguments[-1], tuple | str):
            self.asked_network |= event == "socket.getaddrinfo" or isinstance(arguments[-1], tuple)


def _absolute(path: str | bytes) -> str:
    return str(Path(os.fsdecode(path)).absolute())


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


_watching: list[OpenedFiles] = []
_hooked: list[bool] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching:
        _watching[-1].note(event, arguments)


@contextmanager
def opened_files() -> Iterator[OpenedFiles]:
    """Watches this process until the block ends."""
    if not _hooked:
        sys.addaudithook(_audit)  # for the life of the process
        _hooked.append(True)
    watch = OpenedFiles()
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.remove(watch)


def sources_of(
    tasks: Iterable[Any], roots: Iterable[Any], opened: OpenedFiles, include_paths: Sequence[Path], began_s: float
) -> Sources | None:
    """What ``tasks`` and the code behind ``roots`` were made of; None where that cannot be told for certain."""
    if opened.asked_network:
        return None
    listed = list(tasks)
    code = code_of([*(one for task in listed for one in task_callables(task)), *roots])
    data = [file for task in listed for file in _data_of(task)]
    names = {str(file) for file in (*code.files, *data)} | {found for name in opened.files if (found := _source(name))}
    trees = searched_folders(include_paths, any(LM_EVAL_TASKS in name for name in opened.files))
    files = {}
    for name in sorted(names):
        known = _remembered(Path(name), began_s)
        if known is None:
            return None
        files[name] = known
    folders = [name for name in sorted(opened.folders) if _is_told_by_listing(name)]
    return Sources(
        files=files,
        folders={name: _listing(Path(name)) for name in folders if Path(name).is_dir()},
        trees={str(root): _tree(root) for root in trees},
        packages={name: _version(name) for name in (*PACKAGES, *code.distributions)},
    )


def searched_folders(include_paths: Sequence[Path], with_lm_eval: bool) -> list[Path]:
    """Where lm-eval looks for tasks."""
    own = [*task_folders(), *(path.resolve() for path in include_paths)]
    spec = find_spec("lm_eval") if with_lm_eval else None
    return [*own, *(Path(place) / "tasks" for place in (spec.submodule_search_locations or [] if spec else []))]


def surroundings_key(*asked: object) -> str:
    """A hash of what was asked for, and of everything around it that could change which tasks that means."""
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith(VARIABLES))
    return sha256(
        repr((asked, str(Path.cwd()), variables, sys.version, sys.path, _version("lm_eval"))).encode()
    ).hexdigest()


def _source(name: str) -> str | None:
    """The file that counts where ``name`` was opened; None where it does not: libraries count by their versions."""
    if name.startswith(NO_FILES) or name.endswith(PASSING):
        return None
    if name.endswith(".pyc"):
        try:
            name = source_from_cache(name)
        except ValueError:
            return None
    file = Path(name)
    return name if file.is_file() and not is_library(file) and LM_EVAL_TASKS not in name else None


def _remembered(file: Path, began_s: float) -> SourceFile | None:
    stamp = stamp_of(file)
    if not is_racy(stamp, began_s):
        return SourceFile(stamp=stamp)
    return None if stamp[0] > MAX_RACY_BYTES else SourceFile(stamp=stamp, sha256=content_hash(file))


def _is_told_by_listing(name: str) -> bool:
    """Not the folders of caches, where locks come and go, nor those of libraries and of lm-eval's tasks."""
    caches = [os.environ.get(one) for one in ("HF_HOME", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_MODULES_CACHE")]
    known = [*(one for one in caches if one), str(Path.home() / ".cache"), *NO_FILES]
    inside = any(f"{name}/".startswith(f"{one.rstrip('/')}/") for one in known)
    return not (inside or LM_EVAL_TASKS in f"{name}/" or is_library(Path(name) / "x"))


def _listing(folder: Path) -> str:
    names = sorted(one.name for one in folder.iterdir() if one.name != "__pycache__" and not one.name.endswith(PASSING))
    return sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def _tree(root: Path) -> str:
    """A hash over the stamps of all YAML and Python files below ``root``."""
    lines: list[str] = []
    folders = [str(root)]
    while folders:
        try:
            entries = os.scandir(folders.pop())
        except NotADirectoryError:
            continue
        for entry in entries:  # lm-eval has fifteen thousand: every call counts
            if entry.name.endswith(SEARCHED) and not entry.is_dir():
                at = entry.stat()
                lines.append(f"{entry.path} {at.st_size} {at.st_mtime_ns} {at.st_ctime_ns} {at.st_ino}")
            elif entry.is_dir() and entry.name not in ("__pycache__", ".git", ".ipynb_checkpoints"):
                folders.append(entry.path)
    return sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def _data_of(task: Any) -> Iterator[Path]:
    """Data files that the settings name, and the Arrow files of the datasets that were read."""
    config = getattr(task, "config", None)
    for name in ("dataset_path", "dataset_name", "dataset_kwargs"):
        yield from _named_files(getattr(config, name, None))
    dataset = getattr(task, "dataset", None)
    for split in dataset.values() if isinstance(dataset, dict) else [dataset]:
        yield from (Path(one["filename"]) for one in getattr(split, "cache_files", None) or ())


def _named_files(value: Any) -> Iterator[Path]:
    if isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _named_files(one)
    elif isinstance(value, str) and value and len(value) < 4096:
        place = Path(value)
        if place.is_file():
            yield place.absolute()
        elif place.is_dir():
            yield from (file.absolute() for file in sorted(place.rglob("*")) if file.is_file())
        elif any(letter in value for letter in "*?["):
            root = Path(place.anchor)
            pattern = str(place.relative_to(root)) if place.anchor else value
            yield from (file.absolute() for file in sorted(root.glob(pattern)) if file.is_file())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
