"""A seccomp filter that answers EPERM to the system calls a task has no use for and an attacker has.

Classic BPF over ``struct seccomp_data`` (Linux, ``include/uapi/linux/seccomp.h``); numbers are those of x86-64. On
other machines there is no filter, and bubblewrap's namespaces and the dropped capabilities stand alone.
"""

from __future__ import annotations

import platform
import struct

AUDIT_ARCH_X86_64 = 0xC000003E
#: System calls of the x32 ABI begin here; it would be a way around the numbers below.
X32_BIT = 0x40000000

ALLOW = 0x7FFF0000
KILL = 0x80000000
EPERM = 0x00050000 | 1
ENOSYS = 0x00050000 | 38

LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCH_AT, ARGUMENT_AT = 0, 4, 16

CLONE, CLONE3 = 56, 435
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME.
NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x80

DENIED = {
    "ptrace": 101,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "pivot_root": 155,
    "chroot": 161,
    "acct": 163,
    "settimeofday": 164,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "unshare": 272,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "mount_setattr": 442,
    "kexec_load": 246,
    "syslog": 103,
    "personality": 135,
}


def seccomp_program() -> bytes | None:
    """The filter for ``bwrap --seccomp``; None on machines whose numbers are not known here."""
    if platform.machine() != "x86_64":
        return None
    program = [
        _step(LOAD, ARCH_AT),
        _step(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER_AT),
        _step(JUMP_GREATER_EQUAL, X32_BIT, 0, 1),
        _step(RETURN, EPERM),
        _step(JUMP_EQUAL, CLONE3, 0, 1),
        _step(RETURN, ENOSYS),  # the C library then uses clone, whose flags can be looked at
    ]
    for number in sorted(DENIED.values()):
        program += [_step(JUMP_EQUAL, number, 0, 1), _step(RETURN, EPERM)]
    program += [
        _step(JUMP_EQUAL, CLONE, 0, 3),
        _step(LOAD, ARGUMENT_AT),
        _step(JUMP_SET, NEW_NAMESPACES, 0, 1),
        _step(RETURN, EPERM),
        _step(RETURN, ALLOW),
    ]
    return b"".join(program)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
