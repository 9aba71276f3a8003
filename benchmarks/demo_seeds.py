"""Over many seeds: in how many does ``e2lm demo --quick`` tell, and is it true of the planted order?

Run ``python benchmarks/demo_seeds.py [--seeds N] [--out DIR]``, about a minute a seed on two quiet cores; a killed run
goes on. A demo tells where some task and metric tells at least one recipe from another, and is true where nothing that
is told is against the planted order, which it is too where it says that it cannot tell.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path


def findings(seed: int, out: Path) -> dict[str, object]:
    """What the demo of this seed found; its models are not kept."""
    kept, folder = out / f"{seed}.json", out / str(seed)
    if not kept.is_file():
        command = ["e2lm", "demo", "--quick", "--seed", str(seed), "--out", str(folder), "--json"]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        kept.write_text(found.stdout, encoding="utf-8")
        shutil.rmtree(folder)
    read: dict[str, object] = json.loads(kept.read_text(encoding="utf-8"))
    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("demo-seeds"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tells = true = 0
    for seed in range(arguments.seeds):
        found = findings(seed, arguments.out)
        told, right = int(str(found["told"])), int(str(found["told_rightly"]))
        tells, true = tells + (told > 0), true + (told == right)
        print(f"seed {seed}: {told} pairs told, {right} rightly", flush=True)
    print(f"of {arguments.seeds} seeds {tells} tell and {true} are true")


if __name__ == "__main__":
    main()
