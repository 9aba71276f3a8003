"""Fails ``e2lm train``, ``compare`` and ``export`` in every way that a machine does, and looks at what they leave.

A cell is a command and a fault: killed (SIGKILL at any point of it), its training process or a loader of it killed, a
disk that is full from the start or becomes so, each file of its state truncated, a folder that cannot be written, 0 and
2 loader workers, 1 and 2 processes of ``torchrun``. A cell is green where the command ends in time, leaves no process
behind, prints no traceback, gives exit code 0, 2 or 3 (or dies of the signal) with one line of reason, and where the
same command, once the fault is gone, exits with 0 and leaves what an undisturbed one left, bit for bit. After a
truncated file it may also refuse with a line that names what is damaged, but never end with 0 and another result.

``--cells`` takes a part of them (a regular expression), ``--kills`` how many moments. ``--forks`` starts no
interpreter for a command and what it starts, but forks this process, which has torch in memory: the same process tree
for a tenth of the CPU time (what ``torchrun`` starts is started as it is). A full disk and a folder that is read-only
for root want the right to mount; without it these cells are skipped and named. Exit code 1 where one is red. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NoReturn

import psutil

DEADLINE_S = 400.0
#: What a command leaves alive must notice within this.
ENDED_WITHIN_S = 20.0

#: 300 steps of 4 x 32 tokens.
SIZES = "sizes: [1x16]\ntokens: {tokens}\nbatch_size: 4\nsequence_length: 32\nvocabulary: 400\ncheckpoints: 3\n"
#: Two arms of three seeds.
COMPARE = "compare: {seeds: 3, arms: [vanilla, curriculum], schedules: [configured], held_out_tokens: 2000}\n"
CURRICULUM = "curriculum: {difficulty: unigram-perplexity, mode: pool}\n"
GRID = "checkpoint_grid: babylm\nword_unit: 200\n"
#: Hundreds of states, so that there is always one to go on from.
STATES = "resume_interval_s: 0\n"

#: What is not the result: clocks, paths, what a killed run goes on from.
NO_RESULT = re.compile(r"(^|/)(\.lock|run\.json|report\.html|\.resume/.*|prepared\.json)$")


@dataclass
class Ended:
    """How a command ended."""

    code: int
    said: str
    wall_s: float
    hung: bool = False
    orphans: list[str] = field(default_factory=list)

    def faults(self, codes: Sequence[int]) -> list[str]:
        """What is wrong with it, whatever happened to it."""
        found = ["hung"] if self.hung else []
        found += [f"left behind: {one}" for one in self.orphans]
        if "Traceback (most recent call last)" in self.said:
            found.append(f"traceback ({[line for line in self.said.splitlines() if line.strip()][-1][:200]})")
        found += [f"exit code {self.code}"] if self.code not in codes else []
        if self.code in (2, 3) and not self.said.strip():
            found.append("no reason given")
        return found


def take_in_orphans() -> None:
    """Let what outlives its parent become a child of this process, so that nothing escapes its eyes (Linux)."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


#: Of ``linux/prctl.h``.
_SET_CHILD_SUBREAPER = 36


def alive() -> list[psutil.Process]:
    """All that was started, however indirectly, and is alive."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Forked:
    """A fork of this process that calls ``what``, to its parent as a ``subprocess.Popen``.

    It has a pipe for each of ``pipes``, by number; of the others it has those of its parent.
    """

    is_wanted = False

    def __init__(
        self, what: Callable[[], int], environment: dict[str, str], pipes: Sequence[int], session: bool
    ) -> None:
        ends = {number: os.pipe() if number else os.pipe()[::-1] for number in pipes}  # ours, its
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            for number, (_, its) in ends.items():
                os.dup2(its, number)
            os.closerange(3, _DESCRIPTORS)
            if session:
                os.setsid()
            os.environ.update(environment)
            modes = enumerate(("r", "w", "w"))
            sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode, closefd=False) for number, mode in modes)
            self._end_with(what)
        for _, its in ends.values():
            os.close(its)
        files = {number: os.fdopen(ours, "r" if number else "w", 1) for number, (ours, _) in ends.items()}
        self.stdin, self.stdout, self.stderr = (files.get(number) for number in range(3))

    @staticmethod
    def _end_with(what: Callable[[], int]) -> NoReturn:
        code = 1
        try:
            code = what()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):
                    stream.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, once it has one."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        """SIGKILL, if it is alive."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = DEADLINE_S) -> int:
        """The exit code; subprocess.TimeoutExpired where there is none in time."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("e2lm", timeout)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Nothing, and what it said, which is short enough for a pipe."""
        self.wait(timeout)
        assert self.stderr is not None
        said = b""
        with self.stderr as stream, contextlib.suppress(BlockingIOError):
            os.set_blocking(stream.fileno(), False)  # an orphan may hold it
            while found := os.read(stream.fileno(), _AT_ONCE):
                said += found
        return "", said.decode(errors="replace")


_DESCRIPTORS = 1024
_AT_ONCE = 65_536


def forked_command(words: Sequence[str]) -> int:
    """What ``e2lm`` with ``words`` does; the processes that it starts are forks too."""
    from e2lm.command_line import main
    from e2lm_curriculum.compare import held_out
    from e2lm_curriculum.train import processes

    def training_process(command: Sequence[str], *, env: dict[str, str], start_new_session: bool, **_: Any) -> Forked:
        assert list(command[1:]) == ["-m", processes.__name__]
        return Forked(processes.work, env, (0, 1), start_new_session)

    vars(processes)["subprocess"] = SimpleNamespace(Popen=training_process, PIPE=subprocess.PIPE)
    vars(held_out)["get_context"] = lambda _: get_context("fork")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return main(list(words))


Running = subprocess.Popen[str] | Forked


def started(words: Sequence[str], environment: dict[str, str]) -> Running:
    """The command ``words``, started."""
    if Forked.is_wanted and list(words[1:3]) == ["-m", "e2lm"]:
        return Forked(lambda: forked_command(words[3:]), environment, (2,), session=False)
    nothing = subprocess.DEVNULL
    return subprocess.Popen(list(words), env=environment, stdout=nothing, stderr=subprocess.PIPE, text=True)


def run(words: Sequence[str], disturb: Callable[[Running], None] | None = None) -> Ended:
    """The command ``words``, with whatever ``disturb`` does to it; nothing of it is alive afterwards."""
    began = time.monotonic()
    process = started(words, {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
    if disturb is not None:
        disturb(process)
    hung, said = False, ""
    try:
        _, said = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        hung = True
    wall_s = time.monotonic() - began
    assert process.returncode is not None
    return Ended(process.returncode, said, wall_s, hung, ended_orphans())


def ended_orphans() -> list[str]:
    """What is still there after a while, and is killed now."""
    deadline = time.monotonic() + ENDED_WITHIN_S
    while (left := alive()) and time.monotonic() < deadline:
        time.sleep(0.02)
    orphans = []
    for one in left:
        with contextlib.suppress(psutil.Error):  # it ended just now
            orphans.append(" ".join(one.cmdline())[:80])
            one.kill()
    while alive():
        time.sleep(0.02)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return orphans


# -- what is there before, and after ----------------------------------------------------------------------------------

Disturb = Callable[[Running, Path], None]
COMMANDS = ("train", "compare", "export")


@dataclass
class Bench:
    """Where everything lies: text, what each command leaves undisturbed, and a run that was killed with two states."""

    folder: Path
    #: How long each command takes undisturbed.
    wall_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(0)
        words = ["".join(rng.choice("etaoinshrdlu") for _ in range(rng.randint(1, 8))) for _ in range(300)]
        lines = (" ".join(rng.choice(words) for _ in range(12)) for _ in range(900))
        (self.folder / "text.txt").write_text("\n<|endoftext|>\n".join(lines), encoding="utf-8")

    def words(self, command: str, out: Path, *more: str) -> list[str]:
        """What is typed for ``command`` to write into ``out``."""
        e2lm = ["-m", "e2lm", "train"]
        if command == "export":
            return [*e2lm, "export", str(self.folder / "train" / "1x16"), str(out), "--word-unit", "200"]
        of_command = CURRICULUM + COMPARE if command == "compare" else GRID + STATES
        sizes = SIZES.format(tokens=40 * 128 if command == "compare" else 300 * 128)
        config = self.folder / f"{command}.yaml"
        config.write_text(f"corpus: ['{self.folder / 'text.txt'}']\nout: {out}\n{sizes}{of_command}", encoding="utf-8")
        return [*e2lm, str(config), "--quiet", *more]

    def ended(self, command: str, out: Path, disturb: Disturb | None = None, *more: str) -> Ended:
        """``command`` into ``out``, disturbed."""
        words = [sys.executable, *self.words(command, out, *more)]
        return run(words, None if disturb is None else lambda process: disturb(process, out))

    def undisturbed(self, command: str) -> Path:
        """What ``command`` leaves; made once."""
        out = self.folder / command
        if command == "export":
            self.undisturbed("train")
        if not out.exists():
            ended = self.ended(command, out)
            if ended.code:
                raise SystemExit(f"undisturbed {command}: {ended.said}")
            self.wall_s[command] = ended.wall_s
        return out

    def killed(self) -> Path:
        """A run of train that was killed with two states; made once."""
        out = self.folder / "killed"
        while len(list(out.glob("1x16/.resume/*/complete"))) < 2:
            shutil.rmtree(out, ignore_errors=True)
            self.ended("train", out, kill_with_states)
        return out


def result(out: Path) -> dict[str, str]:
    """The hash of every file that is a result of the command; of a comparison what it says, but for clocks."""
    found = {}
    for file in sorted(file for file in out.rglob("*") if file.is_file()):
        name = str(file.relative_to(out))
        content = file.read_bytes()
        if file.name == "comparison.json":
            told = json.loads(content)
            content = repr([told[key] for key in sorted(told) if key not in ("made", "costs", "arms")]).encode()
        if not NO_RESULT.search(name):
            found[name] = sha256(content).hexdigest()
    return found


def differences(out: Path, expected: Path) -> list[str]:
    """What the command left otherwise than an undisturbed one."""
    found, wanted = result(out), result(expected)
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    return [f"{len(names)} files otherwise than undisturbed ({names[0]})"] if names else []


# -- faults -----------------------------------------------------------------------------------------------------------


def kill_with_states(process: Running, out: Path) -> None:
    """Kill the command once there are two states to go on from."""
    while process.poll() is None and len(list(out.glob("*/.resume/*/complete"))) < 2:
        time.sleep(0.01)
    process.kill()


def kill_after(wait_s: float) -> Disturb:
    """Kill the command after ``wait_s``."""

    def disturb(process: Running, out: Path) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        process.kill()

    return disturb


def kill_child(depth: int) -> Disturb:
    """Kill the first process that is ``depth`` below the command, once training goes on."""

    def disturb(process: Running, out: Path) -> None:
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                found = [psutil.Process(process.pid)]
                for _ in range(depth):
                    found = [child for one in found for child in one.children()]
                if found and any(out.rglob("checkpoint-0")):
                    found[0].kill()
                    return
            time.sleep(0.02)

    return disturb


def fill_disk(process: Running, out: Path) -> None:
    """Write the disk of ``out`` full once training goes on."""
    while process.poll() is None and not any(out.rglob("checkpoint-0")):
        time.sleep(0.01)
    with contextlib.suppress(OSError), open(out.parent / "filler", "wb") as filler:
        while True:
            filler.write(b"0" * 4096)
            filler.flush()


@contextlib.contextmanager
def disk(place: Path, size: str, *options: str) -> Iterator[bool]:
    """A disk of its own at ``place``; False where mounting is not allowed."""
    place.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(place)]
    allowed = subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield allowed
    finally:
        if allowed:
            subprocess.run(["umount", "-l", str(place)], check=False)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


# -- cells ------------------------------------------------------------------------------------------------------------

SKIPPED = "skipped: mounting is not allowed here"


def disturbed_then_again(bench: Bench, command: str, disturb: Disturb, codes: Sequence[int], *more: str) -> list[str]:
    """The command disturbed, then again into the same folder."""
    expected, out = bench.undisturbed(command), bench.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    found = bench.ended(command, out, disturb, *more).faults(codes)
    if command == "export" and out.exists():
        return found + differences(out, expected)
    return found + again(bench, command, out, expected, *more)


def again(bench: Bench, command: str, out: Path, expected: Path, *more: str) -> list[str]:
    """What is wrong when the command is typed again into ``out``, and with what is there then."""
    ended = bench.ended(command, out, None, *more)
    return [f"again: {one}" for one in ended.faults([0])] + differences(out, expected)


def killed_at(bench: Bench, command: str, share: float, *more: str) -> list[str]:
    """The command killed after this share of the time that it takes."""
    bench.undisturbed(command)
    kill = kill_after(share * bench.wall_s[command])
    return disturbed_then_again(bench, command, kill, [0, -signal.SIGKILL], *more)


def full_from_the_start(bench: Bench, command: str, size: str) -> list[str]:
    """On a disk of ``size``, then on the same with room."""
    expected, place = bench.undisturbed(command), bench.folder / "disk"
    with disk(place, size) as allowed:
        if not allowed:
            return [SKIPPED]
        found = bench.ended(command, place / "out").faults([0, 3])
        remount(place, "size=200m")
        if command == "export":
            shutil.rmtree(place / "out", ignore_errors=True)
        return found + again(bench, command, place / "out", expected)


def full_while_it_runs(bench: Bench, command: str) -> list[str]:
    """On a disk that somebody else writes full."""
    expected, place = bench.undisturbed(command), bench.folder / "disk"
    with disk(place, "64m") as allowed:
        if not allowed:
            return [SKIPPED]
        found = bench.ended(command, place / "out", fill_disk).faults([3])
        (place / "filler").unlink()
        return found + again(bench, command, place / "out", expected)


def read_only(bench: Bench, command: str) -> list[str]:
    """Into a folder that cannot be written, then into the same that can."""
    expected, place = bench.undisturbed(command), bench.folder / "disk"
    with disk(place, "200m") as allowed:
        if not allowed:
            return [SKIPPED]
        remount(place, "ro")
        found = bench.ended(command, place / "out").faults([2, 3])
        remount(place, "rw")
        return found + again(bench, command, place / "out", expected)


def truncated(bench: Bench, command: str, name: str) -> list[str]:
    """One file of what is there cut to its half, then the command: the right result, or a line of what is damaged."""
    start = bench.killed() if command == "train" else bench.undisturbed("train" if command == "export" else command)
    expected, copy = bench.undisturbed(command), bench.folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(start, copy)
    os.truncate(copy / name, (copy / name).stat().st_size // 2)
    if command != "export":
        ended, out = bench.ended(command, copy), copy
    else:
        out = bench.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        words = [str(copy / "1x16") if word.endswith("train/1x16") else word for word in bench.words(command, out)]
        ended = run([sys.executable, *words])
    found = ended.faults([0, 2, 3])
    return found + differences(out, expected) if ended.code == 0 else found


def together(bench: Bench, command: str, processes: int) -> list[str]:
    """Under ``torchrun``: train shares the work, the others run as they are with one process and refuse more."""
    out = bench.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    ended = run([sys.executable, *launch, *bench.words(command, out)])
    if command == "train" or processes == 1:
        found = ended.faults([0])
        same = set(result(out)) == set(result(bench.undisturbed(command)))
        return found if same else [*found, "other files than undisturbed"]
    found = [one for one in ended.faults([1, 2]) if not one.startswith("traceback")]
    if OWN_TRACEBACK.search(ended.said):
        found.append("traceback")  # of ours: the launcher ends with one of its own
    return found if "found 2 of torchrun" in ended.said and not out.exists() else [*found, "not refused in a line"]


OWN_TRACEBACK = re.compile(r'File "[^"]*e2lm')


def state_files(start: Path, command: str) -> list[str]:
    """The files that the command goes on from, or reads."""
    files = (str(file.relative_to(start)) for file in sorted(start.rglob("*")) if file.is_file())
    kept = [name for name in files if not name.endswith((".lock", "report.html", "comparison.json"))]
    if command == "compare":  # runs are alike: the first of each arm
        first = sorted({name.split("/")[0] for name in kept if "/" in name})
        kept = [name for name in kept if name.split("/")[0] in (first[0], first[-1])]
    return [name for name in kept if command != "train" or "/checkpoint-" not in name or ".resume" in name]


Cell = tuple[str, Callable[[], list[str]]]


def cells(bench: Bench, kills: int, chance: random.Random) -> Iterator[Cell]:
    """Every cell of the matrix, by name."""
    for command in COMMANDS:
        yield from _killed_cells(bench, command, kills, chance)
        for size in ("1m", "2m", "4m"):
            yield f"{command} full disk {size}", lambda c=command, s=size: full_from_the_start(bench, c, s)
        if command != "export":
            yield f"{command} disk becomes full", lambda c=command: full_while_it_runs(bench, c)
        yield f"{command} read-only", lambda c=command: read_only(bench, c)
        for processes in (1, 2):
            yield f"{command} torchrun {processes}", lambda c=command, n=processes: together(bench, c, n)
        yield f"{command} truncated", lambda c=command: _all_truncated(bench, c)


def _killed_cells(bench: Bench, command: str, kills: int, chance: random.Random) -> Iterator[Cell]:
    for workers in (0, 2) if command != "export" else (0,):
        more = (f"--loader-workers={workers}",) if command != "export" else ()
        for number in range(kills):
            share = chance.random()
            yield (
                f"{command} killed {number + 1}, {workers} loader workers",
                lambda s=share, m=more: killed_at(bench, command, s, *m),
            )
        if command != "export":
            for depth, name in enumerate(("training process", "loader")[: 2 if workers else 1], start=1):
                yield (
                    f"{command} {name} killed, {workers} loader workers",
                    lambda d=depth, m=more: disturbed_then_again(bench, command, kill_child(d), [0, 3], *m),
                )


def _all_truncated(bench: Bench, command: str) -> list[str]:
    start = bench.killed() if command == "train" else bench.undisturbed("train" if command == "export" else command)
    found = []
    for name in state_files(start, command):
        found += [f"{name}: {one}" for one in truncated(bench, command, name)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="", help="only those whose name this matches")
    parser.add_argument("--kills", type=int, default=5, help="moments at which each command is killed (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--forks", action="store_true", help="commands as forks of this process: quicker")
    arguments = parser.parse_args()
    if arguments.forks:
        for name in ("e2lm.command_line", "e2lm_curriculum.train.trainer", "e2lm_curriculum.compare.held_out"):
            import_module(name)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not follow into forks
        Forked.is_wanted = True
    red = 0
    take_in_orphans()
    with TemporaryDirectory(prefix="e2lm-failures-") as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        for name, look in cells(Bench(Path(folder)), arguments.kills, random.Random(arguments.seed)):
            if re.search(arguments.cells, name):
                started = time.monotonic()
                found = look()
                red += bool(found) and found != [SKIPPED]
                said = "; ".join(found) or "green"
                print(f"{name:<55} {time.monotonic() - started:6.1f} s  {said}", flush=True)
    print(f"{red} cells are red")
    return int(red > 0)


if __name__ == "__main__":
    raise SystemExit(main())
