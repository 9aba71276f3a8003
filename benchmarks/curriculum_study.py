"""Do today's curricula beat shuffling, and at which learning rates? ``python benchmarks/curriculum_study.py TEXT...``

Two curricula against vanilla at equal FLOPs, each with its exposure-matched shuffle and its reverse, seeds added by
plan until it is decided: at one learning rate that decays in the last fifth of training. Then vanilla and curriculum
alone at every other learning rate, a tiny one among them, with and without decay; and everything once more for the
average of the last fourth of its checkpoints. Beside them shuffle against shuffle (A/A). ``--design`` says what would
be trained and how large a difference that would see, and trains nothing; ``--smoke`` runs all of it far too small to
mean anything. Runs that are there are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file, save_file

from e2lm import Series
from e2lm.command_line import run_command
from e2lm_curriculum.compare.analysis import PART_OF_COURSE, PART_OF_QUESTION
from e2lm_curriculum.compare.looks import planned_looks
from e2lm_curriculum.compare.verdict import ALPHA, NO_DIFFERENCE, detectable_difference

#: Easy text for a fifth of the tokens, then random order (Beyond Random Sampling 2025, arXiv 2506.11300); and every
#: epoch everything once, easy first, as orders are that gain with moderate decay and averaging (arXiv 2511.18903).
CURRICULA = ("compression-warm-up", "ngram-full-coverage")

#: The first is the one of the main comparison; the last is tiny.
RATES = (3e-3, 1e-2, 3e-4)
SCHEDULES = ("wsd", "constant")
MAIN_ARMS, OTHER_ARMS = ("vanilla", "curriculum", "exposure-matched", "anti"), ("vanilla", "curriculum")

#: Standard deviation between seeds of the difference in bits per byte: 2^.5 times that of vanilla in
#: docs/studies/children-first.json (0.027), as if the weights that a pair begins with took nothing away.
SD_OF_DIFFERENCE = 0.038


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    size: str = "140k"
    vocabulary: int = 2048
    sequence_length: int = 128
    batch_size: int = 16
    tokens: int = 800 * 16 * 128
    seeds: int = 8
    most_seeds: int = 16
    held_out_tokens: int = 20_000
    checkpoints: int = 20
    rates: tuple[float, ...] = RATES
    curricula: tuple[str, ...] = CURRICULA


SMOKE = Scale("1x16", 400, 32, 4, 20 * 4 * 32, 3, 4, 1_000, 4, RATES[::2], CURRICULA[:1])


@dataclass(frozen=True)
class Cell:
    """One comparison: a curriculum at a learning rate and with a schedule; ``arms`` beside which vanilla stands."""

    curriculum: str
    rate: float
    schedule: str
    arms: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.curriculum}-{self.rate:g}-{self.schedule}"


def cells(scale: Scale) -> Iterator[Cell]:
    """All comparisons, the main ones first; the last is of shuffle with itself."""
    for curriculum in scale.curricula:
        for rate in scale.rates:
            for schedule in SCHEDULES:
                is_main = (rate, schedule) == (RATES[0], SCHEDULES[0])
                yield Cell(curriculum, rate, schedule, MAIN_ARMS if is_main else OTHER_ARMS)
    yield Cell("shuffle", RATES[0], SCHEDULES[0], ("vanilla", "exposure-matched"))


def compared(cell: Cell, scale: Scale, corpus: Sequence[str], out: Path) -> Path:
    """The folder of a comparison whose arms are trained."""
    section: dict[str, Any] = {"arms": list(cell.arms), "schedules": ["configured"], "seeds": scale.seeds}
    section["held_out_tokens"] = scale.held_out_tokens
    if cell.arms == MAIN_ARMS:
        section["most_seeds"] = scale.most_seeds
    config = {
        "corpus": list(corpus),
        "out": str(out / cell.name),
        "sizes": [scale.size],
        "vocabulary": scale.vocabulary,
        "sequence_length": scale.sequence_length,
        "batch_size": scale.batch_size,
        "tokens": scale.tokens,
        "learning_rate": cell.rate,
        "schedule": cell.schedule,
        "checkpoint_grid": "tokens",
        "checkpoint_tokens": scale.tokens // scale.checkpoints,
        "curriculum": cell.curriculum,
        "compare": section,
    }
    file = out / f"{cell.name}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    quietly("train", str(file), "--json", "--quiet")
    return out / cell.name


def averaged(folder: Path, scale: Scale) -> Path:
    """The same comparison with the mean of the last checkpoints in the place of the last one."""
    place = folder.with_name(f"{folder.name}-averaged")
    if not (place / "comparison.json").is_file():
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(
            folder, place, ignore=shutil.ignore_patterns("held_out-*.npz", "comparison.json", "report.html")
        )
        for file in place.glob("*/*/series.json"):
            points = sorted(Series.read(file.parent).checkpoints, key=lambda one: one.step)
            last = [
                file.parent / str(one.path) / "model.safetensors" for one in points[-max(2, scale.checkpoints // 4) :]
            ]
            weights = [load_file(one) for one in last]
            mean = {name: np.mean([one[name] for one in weights], axis=0) for name in weights[0]}
            save_file(mean, last[-1], metadata={"format": "pt"})
        words = ["--held-out-tokens", str(scale.held_out_tokens), "--out", str(place), "--json", "--quiet"]
        quietly("train", "compare", str(place), *words)
    return place


def quietly(*words: str) -> None:
    """A command of e2lm, without what it prints; SystemExit where it fails."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        code = run_command(list(words))
    if code:
        raise SystemExit(code)


def rows(cell: Cell, folder: Path, is_averaged: bool) -> Iterator[dict[str, Any]]:
    """What a comparison says of each of its arms at the end, on held-out text."""
    found = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    for effect in found["effects"]:
        told = {name: effect["final"][name] for name in ("verdict", "value", "low", "high", "p_holm", "detectable")}
        place = {"curriculum": cell.curriculum, "rate": cell.rate, "schedule": cell.schedule, "averaged": is_averaged}
        yield {**place, "arm": effect["arm"], "seeds": found["power"]["seeds"], **told}


def stability(found: Sequence[dict[str, Any]], curriculum: str) -> dict[str, Any]:
    """Over which learning rates, decays and averages the sign of the effect stays that of the main comparison.

    ``tiny_rate_foretold`` is whether that at the tiny learning rate is the same. Nothing where there is no winner.
    """
    own = [row for row in found if row["curriculum"] == curriculum and row["arm"] == "curriculum"]
    main = next(row for row in own if (row["rate"], row["schedule"], row["averaged"]) == (RATES[0], "wsd", False))
    if main["verdict"] == NO_DIFFERENCE:
        return {"curriculum": curriculum, "main_verdict": main["verdict"], "settings": len(own)}
    same = [row for row in own if math.copysign(1, row["value"]) == math.copysign(1, main["value"])]
    tiny = [row for row in own if row["rate"] == RATES[-1]]
    return {
        "curriculum": curriculum,
        "main_verdict": main["verdict"],
        "settings": len(own),
        "same_sign": len(same),
        "rates_with_the_same_sign_throughout": [
            rate
            for rate in dict.fromkeys(row["rate"] for row in own)
            if all(row in same for row in own if row["rate"] == rate)
        ],
        "tiny_rate_foretold": all(row in same for row in tiny),
    }


def design(scale: Scale) -> dict[str, Any]:
    """What is trained, and the smallest difference in bits per byte that is seen in 80 of 100 such studies."""
    own = list(cells(scale))
    most = [len(cell.arms) * (scale.most_seeds if cell.arms == MAIN_ARMS else scale.seeds) for cell in own]
    looks = planned_looks(scale.seeds, scale.most_seeds)
    seen = {
        f"main comparison, look after {look.seeds} seeds": detectable_difference(
            SD_OF_DIFFERENCE / math.sqrt(look.seeds), look.seeds - 1, ALPHA * look.share * PART_OF_QUESTION
        )
        for look in looks
    }
    others = ALPHA * PART_OF_QUESTION / (PART_OF_QUESTION + PART_OF_COURSE)
    seen[f"every other comparison, {scale.seeds} seeds"] = detectable_difference(
        SD_OF_DIFFERENCE / math.sqrt(scale.seeds), scale.seeds - 1, others
    )
    return {
        "comparisons": len(own),
        "runs_at_least": sum(len(cell.arms) * scale.seeds for cell in own),
        "runs_at_most": sum(most),
        "tokens_of_a_run": scale.tokens,
        "sd_of_difference": SD_OF_DIFFERENCE,
        "detectable_bits_per_byte": {name: round(value, 4) for name, value in seen.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("curriculum-study"))
    parser.add_argument("--design", action="store_true", help="train nothing")
    parser.add_argument("--smoke", action="store_true", help="far too small to mean anything")
    options = parser.parse_args()
    scale = SMOKE if options.smoke else Scale()
    answer: dict[str, Any] = {"design": design(scale)}
    if not options.design:
        options.out.mkdir(parents=True, exist_ok=True)
        answer["effects"] = found = []
        for cell in cells(scale):
            folder = compared(cell, scale, options.text, options.out)
            found += rows(cell, folder, is_averaged=False)
            found += rows(cell, averaged(folder, scale), is_averaged=True)
        answer["stability"] = [stability(found, one) for one in scale.curricula]
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
