"""Good, broken and hostile entries, workers killed: the benchmark of it, made small."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "leaderboard_queue.py"


def test_every_good_entry_is_scored_once_and_every_other_refused_with_its_reason_though_workers_are_killed() -> None:
    command = [sys.executable, str(BENCHMARK), *("--each", "4", "--workers", "2", "--kills", "2")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert re.search(r"^good: 4 of 4 scored$", found.stdout, re.MULTILINE), found.stdout
    assert "2 of 2 kills" in found.stdout
    assert "scored more than once: 0" in found.stdout
