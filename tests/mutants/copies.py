"""Copies of the tree, in which tests run: nothing is ever planted in the working tree."""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from tests.mutants import recording

DIGESTED = (".py", ".c", ".toml", ".yaml", ".json", ".jsonl")

ROOTS = ("plugins", "adapters", "leaderboard", ".")


def tree_files(root: Path) -> list[str]:
    """What git knows of the tree, and what it would take; without git, whatever lies in the folders of the code."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = listed.stdout.split("\0")
    else:
        folders = ("plugins", "adapters", "leaderboard", "e2lm_tasks", "tests", "docs")
        names = [str(file.relative_to(root)) for folder in folders for file in (root / folder).rglob("*")]
        names = [*(name for name in names if "__pycache__" not in name), "pyproject.toml"]
    return sorted({name for name in names if name and (root / name).is_file()})


def tree_digest(root: Path) -> str:
    """A hash of the tree's code and tests, these ones aside: results of another tree say nothing about this one."""
    digest = sha256()
    for name in tree_files(root):
        if name.endswith(DIGESTED) and not name.startswith(("docs/", "benchmarks/", "tests/mutants/")):
            digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Ended:
    """How tests ended: the exit code of pytest (none after the time limit) and what it reported, line by line."""

    code: int | None
    told: list[dict[str, object]] = field(default_factory=list)
    output: str = ""

    @property
    def failed(self) -> list[str]:
        """Tests that failed, in the order they ran."""
        return [str(one["test"]) for one in self.told if one.get("outcome") == "failed"]

    @property
    def passed(self) -> set[str]:
        """Tests that passed in whole."""
        return {str(one["test"]) for one in self.told if one.get("outcome") == "passed"} - set(self.failed)


class StoppedError(RuntimeError):
    """Tests were asked for in a copy that is on its way out."""


@dataclass
class TreeCopy:
    """A copy of the tree in a folder of its own, in which one run of tests goes on at a time."""

    folder: Path
    started: subprocess.Popen[bytes] | None = None
    stopped: bool = False

    @classmethod
    def of(cls, root: Path, folder: Path) -> TreeCopy:
        """Copied and compiled; the compiled files are compared by content, so a planted line always counts."""
        for name in tree_files(root):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target)
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        for package in (*ROOTS[:-1], "e2lm_tasks", "tests"):
            compileall.compile_dir(str(folder / package), quiet=2, invalidation_mode=mode)
        return cls(folder)

    @contextmanager
    def holding(self, name: str, text: str) -> Iterator[None]:
        """One file has another text for a while."""
        file = self.folder / name
        before = file.read_bytes()
        file.write_text(text, encoding="utf-8")
        try:
            yield
        finally:
            file.write_bytes(before)

    def test(self, first: Sequence[str], whole: Sequence[str], limit_s: float, *, stop: bool) -> Ended:
        """Run the tests ``first`` that are there, then all others of the files and folders ``whole``.

        Same seeds every time, one thread, and at the limit everything that was started is killed.
        """
        if self.stopped:
            raise StoppedError
        report = self.folder / "mutants-report.jsonl"
        report.unlink(missing_ok=True)
        files = dict.fromkeys([*(test.partition("::")[0] for test in first), *whole])
        targets = [target for target in files if (self.folder / target).exists()]
        if not targets:
            return Ended(0)
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "tests.mutants.recording"]
        command += ["-p", "no:cacheprovider", "--hypothesis-seed=0", *(["-x"] if stop else []), *targets]
        output = self.folder / "mutants-output.txt"
        with output.open("wb") as stream:
            self.started = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(report, first, whole),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = self.started.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _kill_group(self.started)
        if self.stopped:
            raise StoppedError
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        return Ended(code, [json.loads(line) for line in lines], output.read_text(encoding="utf-8", errors="replace"))

    def stop(self) -> None:
        """End the tests that run, and begin no others."""
        self.stopped = True
        if self.started is not None:
            _kill_group(self.started)

    def _environment(self, report: Path, first: Sequence[str], whole: Sequence[str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("E2LM_", "PYTEST"))}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return {
            **kept,
            **threads,
            "PYTHONPATH": os.pathsep.join(str(self.folder / root) for root in ROOTS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            recording.REPORT: str(report),
            recording.FIRST: json.dumps(list(first)),
            recording.WHOLE: json.dumps(list(whole)),
        }


def _kill_group(started: subprocess.Popen[bytes]) -> None:
    """End what the tests started and left behind."""
    try:
        os.killpg(started.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    started.wait()
