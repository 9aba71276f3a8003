"""The item metric that a bundle may bring: a function of the log-likelihoods of one item, run in the sandbox.

It sees numbers, never texts: per choice the log-likelihood, bytes, characters and tokens, and which choice is true. It
must be a function of that item alone. A function that could look at others could put checkpoints in order and draw
itself a perfect curve, so items of all checkpoints and series are mixed, handed over a few at a time, the next only
after an answer, and all of it twice, in two processes and two orders that nobody can foresee: whatever depends on
anything but the item gives two numbers for one, and is refused.

What remains: code can hold a table of what public checkpoints say. Hence its size is limited, and hidden checkpoints
decide.

Shape suffixes: N items of all checkpoints, I items of one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm import Samples
from e2lm.errors import one_line
from e2lm_leaderboard.sandbox.sandbox import SCRIPT, SandboxError, SandboxLimits, answered_lines

#: Items handed over at once: so few that two orders never put the same ones together.
ITEMS_AT_ONCE = 64
#: A season of 6 series, 60 checkpoints and 15,000 items takes a metric of a few lines 4 minutes.
LIMITS = SandboxLimits(cpu_s=900, wall_s=1800.0)

SampleKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class MetricCode:
    """The function ``function`` in ``file``, with the text of that file: nothing else of the bundle goes along."""

    file: str
    function: str
    source: bytes


def metric_values(
    code: MetricCode, samples: Sequence[Samples], limits: SandboxLimits = LIMITS
) -> Mapping[SampleKey, NDArray[np.float64]]:
    """One number per item, by task, series and step; raises :class:`SandboxError` where the code gives no such."""
    items = [item for one in samples for item in _items(one)]
    rng = np.random.default_rng()  # no seed: whoever knows the order could cheat, and honest code does not notice it
    first_N, second_N = (_asked(code, items, rng.permutation(len(items)), limits) for _ in range(2))
    differing = np.flatnonzero(first_N != second_N)
    if len(differing):
        raise SandboxError(
            f"{code.function} gave {len(differing)} of {len(items)} items another number when they came in another "
            "order; a metric must depend on the item alone"
        )
    ends = np.cumsum([len(one) for one in samples])[:-1]
    parts = np.split(first_N, ends)
    return {(one.task, one.series, one.step): part for one, part in zip(samples, parts, strict=True)}


def _items(samples: Samples) -> Iterator[dict[str, Any]]:
    choices = samples.choices
    for place, there in enumerate(choices.there_IC):
        yield {
            "loglik": choices.loglik_IC[place][there].tolist(),
            "bytes": choices.bytes_IC[place][there].tolist(),
            "chars": choices.chars_IC[place][there].tolist(),
            "tokens": choices.tokens_IC[place][there].tolist(),
            "gold": int(choices.gold_I[place]),
        }


def _asked(
    code: MetricCode, items: Sequence[dict[str, Any]], order_N: NDArray[np.int64], limits: SandboxLimits
) -> NDArray[np.float64]:
    """The numbers of ``items``, which are asked for in ``order_N``."""
    values_N = np.full(len(items), np.nan)
    batches = [order_N[start : start + ITEMS_AT_ONCE] for start in range(0, len(items), ITEMS_AT_ONCE)]
    job = {
        SCRIPT: (files("e2lm_leaderboard.sandbox") / "metric_runner.py").read_bytes(),
        f"code/{code.file}": code.source,
    }
    questions = (json.dumps([items[place] for place in batch.tolist()]).encode() for batch in batches)
    answers = answered_lines(job, limits, questions, (code.file, code.function))
    for batch, line in zip(batches, answers, strict=True):
        values_N[batch] = _numbers(code, line, len(batch))
    return values_N


def _numbers(code: MetricCode, line: bytes, count: int) -> list[float]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SandboxError(f"{code.function} gave something else than numbers: {one_line(error)[:100]}") from error
    if not isinstance(found, list) or len(found) != count:
        raise SandboxError(f"{code.function} gave something else than {count} numbers for {count} items")
    for one in found:
        if isinstance(one, bool) or not isinstance(one, int | float) or not _is_finite(one):
            raise SandboxError(f"{code.function} gave {repr(one)[:60]}; expected is a finite number per item")
    return [float(one) for one in found]


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:  # a whole number beyond all floats
        return False
