"""How often a report claims what is not there, and finds what is: ``python benchmarks/curriculum_claims.py``.

Reports of four arms against vanilla, two learning rates and three measures, five seeds, as a section ``compare:`` makes
them by default; scores are drawn, all else is what ``e2lm train compare`` does. Vanilla and the weights of a seed are
shared, checkpoints of a run and items go together; items respond all alike, or unequally and with heavy tails. First
nothing differs, and any sentence that says something does is counted. Then the curriculum differs at one learning rate
on one measure by what the report itself would call detectable, and the verdict there is looked at. Last, a comparison
that adds seeds until it is decided, on one measure. Intervals: Clopper and Pearson, 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import beta

from e2lm.arrays import Values
from e2lm_curriculum.compare import analysis
from e2lm_curriculum.compare.analysis import Analysis, analysed
from e2lm_curriculum.compare.looks import PlannedLook, planned_looks, undecided
from e2lm_curriculum.compare.measures import Measure
from e2lm_curriculum.compare.verdict import ALPHA, NO_DIFFERENCE, detectable_difference
from e2lm_curriculum.config.comparison import HELD_OUT
from e2lm_curriculum.plan.arms import ARMS, CURRICULUM, VANILLA

SCHEDULES = ("cosine", "constant")
SEEDS, ITEMS, MEASURES, TOKENS = 5, 20, 3, (1.0, 2.0, 3.0, 4.0)

#: Standard deviations of drawn scores: of the seeds' weights, of a run, of a checkpoint, of an item in it.
OF_SEED, OF_RUN, OF_CHECKPOINT, OF_ITEM = 0.05, 0.03, 0.02, 0.05


def drawn(
    rng: np.random.Generator, seeds: int, arms: Sequence[str], schedules: Sequence[str], heavy: bool
) -> dict[tuple[str, str], Values]:
    """Scores [S, K, I] of every arm and schedule on one measure; no arm differs from another but by chance."""
    item_I = rng.normal(0, 1, ITEMS)
    response_I = np.exp(rng.normal(0, 0.8, ITEMS)) if heavy else np.ones(ITEMS)
    found = {}
    for schedule in schedules:
        of_seed_S11 = rng.normal(0, OF_SEED, (seeds, 1, 1))
        for arm in arms:
            shape = (seeds, len(TOKENS), ITEMS)
            own = rng.normal(0, OF_RUN, (seeds, 1, 1)) + rng.normal(0, OF_CHECKPOINT, (seeds, len(TOKENS), 1))
            noise = rng.standard_t(4, shape) if heavy else rng.normal(0, 1, shape)
            found[arm, schedule] = item_I + of_seed_S11 + (own + OF_ITEM * noise) * response_I
    return found


def measures_of(values: Sequence[dict[tuple[str, str], Values]]) -> list[Measure]:
    """What is drawn as the measures of a comparison."""
    names = [HELD_OUT, *(f"task {number}" for number in range(1, len(values)))]
    seeds = {schedule: tuple(range(len(one))) for (_, schedule), one in values[0].items()}
    return [Measure(name, "", True, TOKENS, one, seeds) for name, one in zip(names, values, strict=True)]


def claims_anything(found: Analysis) -> bool:
    """Whether any sentence of the report says that something differs, fades, or is explained."""
    return any(one.final.word != NO_DIFFERENCE or one.course.first_tokens is not None for one in found.effects) or any(
        one.total.word != NO_DIFFERENCE or "cancel" in one.sentence for _, _, one in found.explanations
    )


def detectable(seeds: int, share_of_level: float) -> float:
    """The true difference at the end that a test at this part of the 5 % sees in 80 of 100 experiments."""
    variance = 2 * (OF_RUN**2 + OF_CHECKPOINT**2 + OF_ITEM**2 / ITEMS) / seeds
    return detectable_difference(math.sqrt(variance), seeds - 1, ALPHA * share_of_level)


def share(counted: Sequence[bool]) -> dict[str, float]:
    """The share of those that are true, with its interval."""
    true, count = int(np.sum(counted)), len(counted)
    low = float(beta.ppf(0.025, true, count - true + 1)) if true else 0.0
    high = float(beta.ppf(0.975, true + 1, count - true)) if true < count else 1.0
    return {"share": round(true / count, 4), "low": round(low, 4), "high": round(high, 4), "of": count}


def reports(draws: int, heavy: bool, planted: float, seed: int) -> Iterator[Analysis]:
    """``draws`` reports; the curriculum differs by ``planted`` on the first measure at the first learning rate."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        values = [drawn(rng, SEEDS, ARMS, SCHEDULES, heavy) for _ in range(MEASURES)]
        values[0][CURRICULUM, SCHEDULES[0]] += planted
        yield analysed(measures_of(values), 0.8)


def planned(draws: int, looks: Sequence[PlannedLook], planted: float, seed: int) -> tuple[list[bool], list[int]]:
    """Whether comparisons that add seeds until decided say that the curriculum differs, and with how many seeds."""
    rng = np.random.default_rng(seed)
    words, used = [], []
    for _ in range(draws):
        whole = drawn(rng, looks[-1].seeds, (VANILLA, CURRICULUM), SCHEDULES[:1], heavy=False)
        whole[CURRICULUM, SCHEDULES[0]] += planted
        for look in looks:
            part = {cell: one[: look.seeds] for cell, one in whole.items()}
            found = analysed(measures_of([part]), 0.8, share=look.share)
            if not undecided(found, {}):
                break
        words.append(claims_anything(found))
        used.append(look.seeds)
    return words, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    analysis.DRAWS = 2  # of the interval of tokens to a threshold, which claims nothing
    began = time.process_time()
    found: dict[str, object] = {}
    for name, heavy in (("items alike", False), ("items unequal, heavy tails", True)):
        none = [claims_anything(one) for one in reports(options.draws, heavy, 0.0, options.seed)]
        found[f"any claim where nothing differs, {name}"] = share(none)
    effect = detectable(SEEDS, analysis.PART_OF_QUESTION / (MEASURES * len(SCHEDULES)))
    real = list(reports(options.draws, False, effect, options.seed + 1))
    seen = [one.of_arm(CURRICULUM, SCHEDULES[0])[0].final.word == "better" for one in real]
    found[f"planted difference of {effect:.3f} found among 120 questions"] = share(seen)
    looks = planned_looks(5, 20)
    for name, size in (("nothing differs", 0.0), ("that difference", effect), ("half of it", effect / 2)):
        words, used = planned(options.draws, looks, size, options.seed + 2)
        found[f"seeds added until decided, {name}: claims"] = {**share(words), "mean seeds": float(np.mean(used))}
    found["cpu_s"] = round(time.process_time() - began, 1)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
