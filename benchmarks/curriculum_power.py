"""A planted effect and none: ``python benchmarks/curriculum_power.py TEXT... [--seeds 5] [--tokens 200000]``.

Half of the corpus is made useless by putting the words of each paragraph into random order. A curriculum that draws
65 % of its text from the clean half instead of 50 % (30 % cleaner text) must be found better, and its exposure-matched
shuffle must explain it, since it is a re-weighting. The effect is measured on clean passages alone. Shuffle against
shuffle, with the same seeds of weights and other orders, must show no detectable difference.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from e2lm.command_line import run_command

#: Share of clean text that vanilla and the planted curriculum see.
CLEAN_VANILLA, CLEAN_PLANTED = 0.5, 0.65
PARAGRAPH_END = re.compile(r"\n\s*\n")


def write_corpus(files: list[Path], folder: Path) -> list[str]:
    """Paragraphs in turn into ``clean.txt`` and, words in random order, ``shuffled.txt``; a tenth into ``test.txt``."""
    rng = np.random.default_rng(0)
    parts: dict[str, list[str]] = {"clean": [], "shuffled": [], "test": []}
    for file in files:
        for number, paragraph in enumerate(PARAGRAPH_END.split(file.read_text(encoding="utf-8"))):
            words = paragraph.split()
            if number % 10 == 0:
                parts["test"].append(paragraph)
            elif number % 2:
                parts["shuffled"].append(" ".join(words[at] for at in rng.permutation(len(words))))
            else:
                parts["clean"].append(paragraph)
    for name, paragraphs in parts.items():
        (folder / f"{name}.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    return [str(folder / f"{name}.txt") for name in ("clean", "shuffled")]


def compared(corpus: list[str], out: Path, curriculum: Any, arms: list[str], options: argparse.Namespace) -> Any:
    """What ``e2lm train`` prints for the comparison."""
    config = {
        "corpus": corpus,
        "out": str(out),
        "sizes": ["1x64"],
        "vocabulary": 1000,
        "sequence_length": 64,
        "batch_size": 16,
        "tokens": options.tokens,
        "schedule": options.schedule,
        "checkpoints": 5,
        "held_out": 0.02,
        "jobs": options.jobs,
        "curriculum": curriculum,
        "compare": {"arms": arms, "seeds": options.seeds, "schedules": ["configured"], "held_out_tokens": 256},
    }
    file = out.parent / f"{out.name}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        run_command(["train", str(file), "--json"])
        # Judged by clean text that is no part of the corpus.
        for run in out.glob("*-s*"):
            shutil.copyfile(out.parent / "test.txt", run / "held_out.txt")
        run_command(["train", "compare", str(out), "--out", str(out), "--held-out-tokens", "20000", "--json"])
    return json.loads((out / "comparison.json").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--schedule", default="cosine", help="a decaying rate leaves less noise between seeds")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    planted = {"mixture": [{"start": 0.0, "weights": [CLEAN_PLANTED, 1 - CLEAN_PLANTED]}]}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        corpus = write_corpus(options.text, folder)
        arms = ["vanilla", "curriculum", "exposure-matched"]
        real = compared(corpus, folder / "planted", planted, arms, options)
        none = compared(corpus, folder / "none", "shuffle", ["vanilla", "exposure-matched"], options)
    print("planted: 30 % cleaner text")
    for effect in real["effects"]:
        report(effect)
    print(f"  {real['explanations'][0]['sentence']}")
    print("nothing planted: shuffle under another order")
    report(none["effects"][0])


def report(effect: dict[str, Any]) -> None:
    """One line per arm."""
    final = effect["final"]
    interval = f"{final['value']:+.4f} [{final['low']:+.4f}, {final['high']:+.4f}] bits per byte"
    print(f"  {effect['arm']}: {final['verdict']}, {interval}, p {final['p_holm']:.2g}")
    print(f"    detectable {final['detectable']:.4f}; over the run: {effect['course']['sentence']}")


if __name__ == "__main__":
    main()
