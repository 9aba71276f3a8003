"""Fourteen attacks, run inside the sandbox: each tries, and tells whether it got through. Standard library only.

``plan.json`` says what there is to reach: ``secret`` (in the environment of the service), ``hidden`` (a file),
``outside`` (a path to write), ``port`` (a listener on loopback), ``victim`` (a process), ``mark`` (of the daemon).
"""

import ctypes
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, PTRACE_ATTACH, SYS_KEYCTL, SYS_BPF = 0x10000000, 16, 250, 321
FORKS, DISK_BYTES, MEMORY_BYTES = 2000, 1 << 30, 8 << 30
#: More than these would be more than the limits allow.
MANY_FORKS, MUCH_DISK = 200, 256 << 20


def own_environment(plan):  # type: ignore[no-untyped-def]
    """The secret in one's own environment."""
    return plan["secret"] in str(dict(os.environ))


def parent_environment(plan):  # type: ignore[no-untyped-def]
    """The secret in the environment of any process one can see."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if plan["secret"].encode() in (process / "environ").read_bytes():
                    return True
            except OSError:
                continue
    return False


def signal_parent(plan):  # type: ignore[no-untyped-def]
    """A signal to the service."""
    try:
        os.kill(plan["victim"], signal.SIGUSR1)
    except OSError:
        return False
    # Where numbers are those of another namespace, that may have been a process of one's own: the host knows.
    return None


def read_hidden(plan):  # type: ignore[no-untyped-def]
    """The hidden items."""
    with open(plan["hidden"], encoding="utf-8") as handle:
        return bool(handle.read())


def write_outside(plan):  # type: ignore[no-untyped-def]
    """A file outside."""
    with open(plan["outside"], "w", encoding="utf-8") as handle:
        handle.write("was here")


def connect_loopback(plan):  # type: ignore[no-untyped-def]
    """The database of the service."""
    with socket.create_connection(("127.0.0.1", plan["port"]), timeout=2):
        return True


def unshare(plan):  # type: ignore[no-untyped-def]
    """A user namespace, from which much can be mounted."""
    return LIBC.unshare(CLONE_NEWUSER) == 0


def ptrace(plan):  # type: ignore[no-untyped-def]
    """Another process, looked into."""
    return LIBC.ptrace(PTRACE_ATTACH, 1, None, None) == 0


def keyctl(plan):  # type: ignore[no-untyped-def]
    """The session's keyring, shared across containers."""
    return LIBC.syscall(SYS_KEYCTL, 0, -3, 1) >= 0


def bpf(plan):  # type: ignore[no-untyped-def]
    """A program in the kernel."""
    return LIBC.syscall(SYS_BPF, 0, ctypes.create_string_buffer(128), 128) >= 0


def fork_bomb(plan):  # type: ignore[no-untyped-def]
    """Two thousand processes."""
    children = []
    try:
        for _ in range(FORKS):
            child = os.fork()
            if child == 0:
                time.sleep(30)
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children) > MANY_FORKS


def disk_fill(plan):  # type: ignore[no-untyped-def]
    """A gigabyte of files, wherever they can be."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    written, block = 0, b"x" * (4 << 20)
    for folder in ("/tmp", "/dev/shm", "/dev", "/job", "/var/tmp", "/run"):
        for number in range(64):
            try:
                with open(f"{folder}/fill{number}", "wb", buffering=0) as handle:
                    while written < DISK_BYTES:
                        written += handle.write(block)
            except OSError:
                continue
    return written > MUCH_DISK


def memory(plan):  # type: ignore[no-untyped-def]
    """Eight gibibytes."""
    try:
        taken = bytearray(MEMORY_BYTES)
    except MemoryError:
        return False
    return len(taken) == MEMORY_BYTES


def daemon(plan):  # type: ignore[no-untyped-def]
    """A process that outlives the job; the host looks for its mark."""
    if os.fork() == 0:
        os.setsid()
        for stream in (0, 1, 2):
            os.close(stream)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", plan["mark"]])


ATTACKS = (
    *(own_environment, parent_environment, signal_parent, read_hidden, write_outside, connect_loopback, unshare),
    *(ptrace, keyctl, bpf, fork_bomb, disk_fill, memory, daemon),
)


def main() -> None:
    """Try them all; true: got through, false: stopped, null: the host must look."""
    with open("/job/plan.json", encoding="utf-8") as handle:
        plan = json.load(handle)
    told = {}
    for attack in ATTACKS:
        try:
            told[attack.__name__] = attack(plan)  # type: ignore[no-untyped-call]
        except Exception:
            told[attack.__name__] = False
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
