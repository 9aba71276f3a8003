"""Runs a script of others where it sees nothing, reaches nobody, uses little; what overruns is killed and told.

bubblewrap, started as an unprivileged user with an empty environment: own namespaces for users, processes, network,
mounts; a read-only ``/usr`` and the job; one small writable ``/tmp`` in memory; no capability; a seccomp filter; limits
on memory, CPU, processes, files and time. The script's standard output is all that comes out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from e2lm.errors import E2LMError
from e2lm_leaderboard.sandbox.seccomp import seccomp_program

#: Debian's nobody.
NOBODY = 65534
MIB = 1 << 20

#: Interpreters that an unprivileged user can reach; one under a private home is not.
INTERPRETERS = ("/usr/bin/python3", "/usr/local/bin/python3")
SCRIPT = "run.py"


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a job may use; ``wall_s`` is real time."""

    memory_bytes: int = 1024 * MIB
    cpu_s: int = 60
    wall_s: float = 120.0
    processes: int = 64
    disk_bytes: int = 32 * MIB
    output_bytes: int = 96 * MIB


class SandboxError(E2LMError):
    """Why a job gave nothing."""


@dataclass(frozen=True, slots=True)
class SandboxRun:
    """What came out of a job."""

    code: int
    output: bytes
    errors: str


@dataclass(frozen=True, slots=True)
class Libraries:
    """Installed packages that a job may read: the interpreter that they were built for, and ``folders`` of them.

    ``shown`` is all that the job can see of this machine for it, at the same place.
    """

    python: str
    folders: tuple[str, ...]
    shown: tuple[str, ...]


def installed_libraries() -> Libraries:
    """The packages of this Python; a :class:`SandboxError` where the user of the sandbox could not read them."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = os.path.realpath(sys.executable)
    pythons = [one for one in (f"/usr/bin/{version}", f"/usr/local/bin/{version}", own) if _is_reachable(one)]
    if not pythons:
        raise SandboxError(
            f"no {version} that an unprivileged user can reach; install it, or work as another than root"
        )
    python, shown = pythons[0], [] if pythons[0] != own or own.startswith("/usr/") else [sys.base_prefix]
    folders = tuple(one for one in map(os.path.realpath, filter(_holds_packages, sys.path)) if _is_reachable(one))
    return Libraries(python, folders, tuple(dict.fromkeys([*shown, *folders])))


def _holds_packages(folder: str) -> bool:
    """Whether packages are installed there, or lie there as ours in a checkout; where one works is no such folder."""
    parts = Path(folder).parts
    return "site-packages" in parts or "dist-packages" in parts or any(Path(folder or "/").glob("e2lm*/__init__.py"))


def _is_reachable(path: str) -> bool:
    """Whether the user that jobs run as can read it."""
    place = Path(path)
    if not place.exists():
        return False
    return os.geteuid() != 0 or all(one.stat().st_mode & 0o005 == 0o005 for one in (place, *place.parents))


def missing_part() -> str | None:
    """What the sandbox needs and this machine lacks; None where all is there."""
    for program in ("bwrap", "prlimit"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: apt-get install bubblewrap util-linux)"
    if not any(Path(one).exists() for one in INTERPRETERS):
        return f"no Python outside private folders; expected {' or '.join(INTERPRETERS)}"
    return None


def run_in_sandbox(files: Mapping[str, bytes], limits: SandboxLimits, arguments: tuple[str, ...] = ()) -> SandboxRun:
    """Run ``files['run.py']`` with ``files`` in its folder ``/job``; raises :class:`SandboxError` beyond the limits."""
    with _started(files, limits, arguments, subprocess.DEVNULL) as process:
        return _watched(process, limits)


def answered_lines(
    files: Mapping[str, bytes],
    limits: SandboxLimits,
    questions: Iterable[bytes],
    arguments: tuple[str, ...] = (),
    libraries: Libraries | None = None,
) -> Iterator[bytes]:
    """The lines that the script answers to ``questions``; each is sent only once the one before was answered."""
    with (
        _started(files, limits, arguments, subprocess.PIPE, libraries) as process,
        _Watch(process, limits.wall_s) as watch,
    ):
        for question in questions:
            line = _answered(process, question, limits)
            if not line.endswith(b"\n"):
                if len(line) >= limits.output_bytes:
                    raise SandboxError(f"it gave more than {limits.output_bytes // MIB} MiB")
                process.kill()
                why = watch.why_it_ended()
                watch.require_in_time()
                raise SandboxError(why)
            yield line


def _answered(process: subprocess.Popen[bytes], question: bytes, limits: SandboxLimits) -> bytes:
    """The line that answers ``question``; cut short where the script ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(question + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        with suppress(BrokenPipeError):
            process.stdin.close()  # what waits to be written would be tried again later
        return b""
    return process.stdout.readline(limits.output_bytes)


@contextmanager
def _started(
    files: Mapping[str, bytes],
    limits: SandboxLimits,
    arguments: tuple[str, ...],
    stdin: int,
    libraries: Libraries | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """The script, running; killed, and its folder removed, at the end of the block."""
    missing = missing_part()
    if missing is not None:
        raise SandboxError(missing)
    folder = Path(tempfile.mkdtemp(prefix="e2lm-job-"))
    try:
        folder.chmod(0o755)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with _process(folder, limits, arguments, stdin, libraries) as process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _process(
    job: Path, limits: SandboxLimits, arguments: tuple[str, ...], stdin: int, libraries: Libraries | None
) -> subprocess.Popen[bytes]:
    program = seccomp_program()
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, program or b"")
        os.close(write_end)
        command = [*_limited(limits), *_bwrap(job, limits, read_end if program else None, libraries), *arguments]
        as_root = os.geteuid() == 0
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            pass_fds=(read_end,),
            start_new_session=True,
            user=NOBODY if as_root else None,
            group=NOBODY if as_root else None,
            extra_groups=[] if as_root else None,
        )
    finally:
        os.close(read_end)


def _watched(process: subprocess.Popen[bytes], limits: SandboxLimits) -> SandboxRun:
    """Output and errors, read within bounds; whoever exceeds one is killed with all its children."""
    with _Watch(process, limits.wall_s) as watch:
        output = _bounded(process, process.stdout, limits.output_bytes)
        code = process.wait()
    watch.require_in_time()
    if len(output) > limits.output_bytes:
        raise SandboxError(f"it gave more than {limits.output_bytes // MIB} MiB")
    return SandboxRun(code, output, watch.errors)


class _Watch:
    """Reads within bounds what a process says of its errors; kills it after ``wall_s`` or at the end of the block."""

    def __init__(self, process: subprocess.Popen[bytes], wall_s: float) -> None:
        self.errors, self.is_late = "", False
        self._process, self._wall_s = process, wall_s
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._clock = threading.Timer(wall_s, self._end)

    def __enter__(self) -> _Watch:
        self._reader.start()
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.cancel()
        self._process.kill()
        self._reader.join()

    def _end(self) -> None:
        self.is_late = True
        self._process.kill()

    def _read(self) -> None:
        self.errors = _bounded(self._process, self._process.stderr, 64 * 1024).decode("utf-8", "replace")

    def require_in_time(self) -> None:
        """Raise where time was up."""
        if self.is_late:
            raise SandboxError(f"it took more than {self._wall_s:g} s")

    def why_it_ended(self) -> str:
        """The last line of its errors, which of a traceback tells what happened."""
        code = self._process.wait()
        self._reader.join()
        return (self.errors.strip().splitlines() or [f"it ended with code {code}"])[-1][:300]


def _bounded(process: subprocess.Popen[bytes], stream: object, limit: int) -> bytes:
    parts, size = [], 0
    while size <= limit:
        part = os.read(stream.fileno(), 1 << 16)  # type: ignore[attr-defined]
        if not part:
            break
        parts.append(part)
        size += len(part)
    if size > limit:
        process.kill()
    return b"".join(parts)


def _limited(limits: SandboxLimits) -> list[str]:
    """The limits, set by a program of its own: between fork and exec Python code is not safe with threads."""
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    return [
        str(shutil.which("prlimit")),
        f"--as={limits.memory_bytes}",
        f"--cpu={limits.cpu_s}",
        f"--nproc={_processes_of(user) + limits.processes}",
        f"--fsize={limits.disk_bytes}",
        "--nofile=256",
        "--core=0",
    ]


def _processes_of(user: int) -> int:
    """Threads of ``user`` now: the kernel counts them all against the limit."""
    count = 0
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                if path.stat().st_uid == user:
                    count += sum(1 for _ in (path / "task").iterdir())
            except OSError:
                continue
    return count


def _bwrap(job: Path, limits: SandboxLimits, seccomp: int | None, libraries: Libraries | None) -> list[str]:
    python = next(one for one in INTERPRETERS if Path(one).exists()) if libraries is None else libraries.python
    command = [
        str(shutil.which("bwrap")),
        "--size",
        str(limits.disk_bytes),
        "--tmpfs",
        "/tmp",
        "--ro-bind",
        "/usr",
        "/usr",
    ]
    for name in ("bin", "lib", "lib64", "lib32"):
        path = Path("/") / name
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            command += ["--ro-bind", str(path), str(path)]
    for folder in () if libraries is None else libraries.shown:
        command += ["--ro-bind", folder, folder]
    command += ["--ro-bind", str(job), "/job", "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    command += ["--remount-ro", "/", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"]
    command += ["--new-session", "--cap-drop", "ALL", "--hostname", "sandbox", "--chdir", "/tmp"]
    if seccomp is not None:
        command += ["--seccomp", str(seccomp)]
    return [*command, python, "-I", "-B", f"/job/{SCRIPT}"]
