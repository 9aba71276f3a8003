"""What a job may not call and how much it may use, against their tables; whether that holds, `test_sandbox` tries."""

from __future__ import annotations

import re
from pathlib import Path

from e2lm_leaderboard.sandbox.sandbox import SandboxLimits
from e2lm_leaderboard.sandbox.seccomp import DENIED

#: Calls that are refused, as arch/x86/entry/syscalls/syscall_64.tbl of Linux numbers them, for good.
SYSTEM_CALLS = """
101 ptrace  103 syslog  135 personality  155 pivot_root  161 chroot  163 acct  164 settimeofday  165 mount
166 umount2  167 swapon  168 swapoff  169 reboot  175 init_module  176 delete_module  179 quotactl  246 kexec_load
248 add_key  249 request_key  250 keyctl  272 unshare  298 perf_event_open  300 fanotify_init  303 name_to_handle_at
304 open_by_handle_at  308 setns  310 process_vm_readv  311 process_vm_writev  312 kcmp  313 finit_module
320 kexec_file_load  321 bpf  323 userfaultfd  425 io_uring_setup  426 io_uring_enter  427 io_uring_register
428 open_tree  429 move_mount  430 fsopen  431 fsconfig  432 fsmount  442 mount_setattr
"""


def test_the_numbers_of_refused_calls_are_those_of_linux() -> None:
    words = SYSTEM_CALLS.split()
    assert dict(zip(words[1::2], map(int, words[::2]), strict=True)) == DENIED
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if header.is_file():
        known = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text(encoding="utf-8")))
        assert {name: int(known[name]) for name in DENIED if name in known} == {
            name: number for name, number in DENIED.items() if name in known
        }


def test_a_job_may_use_what_the_documentation_says() -> None:
    mib = 2**20
    assert SandboxLimits() == SandboxLimits(
        memory_bytes=1024 * mib, cpu_s=60, wall_s=120.0, processes=64, disk_bytes=32 * mib, output_bytes=96 * mib
    )
