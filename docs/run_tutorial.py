"""Runs the commands of the tutorial, as they stand there, and says how long each took.

    python docs/run_tutorial.py [FOLDER] [--quick]

FOLDER is where they run (default: a new one). ``--quick`` trains on less text with fewer items: the same commands,
other numbers.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE = Path(__file__).with_name("tutorial.md")
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)

#: What --quick changes; each must stand in the tutorial.
SMALLER = {
    "--tokens 1_000_000": "--tokens 40_000",
    "--checkpoint-tokens 100_000": "--checkpoint-tokens 8_000",
    "--items 200": "--items 100",
    "$4 > 100000": "$4 > 0",
    "999424": "40960",
}


def blocks(page: str, quick: bool = False) -> list[str]:
    """The blocks of commands in the page, in order."""
    found = BLOCK.findall(page)
    if quick:
        for large, small in SMALLER.items():
            if not any(large in block for block in found):
                raise SystemExit(f"{PAGE.name} no longer says {large!r}; adapt SMALLER")
            found = [block.replace(large, small) for block in found]
    return found


def run(block: str, folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of one block; ends the program with its exit code if it fails."""
    # `e2lm` and `python` are those of this interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env={**os.environ, "PATH": path}, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        print(f"exit code {done.returncode}:\n{block}", file=sys.stderr)
        raise SystemExit(done.returncode)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu_s


def main() -> None:
    """Run every block in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="e2lm-tutorial-"))
    folder.mkdir(parents=True, exist_ok=True)
    total_wall_s = total_cpu_s = 0.0
    for block in blocks(PAGE.read_text(encoding="utf-8"), arguments.quick):
        print(f"\n$ {block.strip()}", flush=True)
        wall_s, cpu_s = run(block, folder)
        print(f"# {wall_s:.0f} s, {cpu_s:.0f} CPU s", flush=True)
        total_wall_s, total_cpu_s = total_wall_s + wall_s, total_cpu_s + cpu_s
    print(f"\n{folder}: all done in {total_wall_s / 60:.1f} minutes, {total_cpu_s:.0f} CPU s")


if __name__ == "__main__":
    main()
