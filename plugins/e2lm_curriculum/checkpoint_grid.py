"""At which steps a checkpoint is kept."""

from __future__ import annotations

import math

#: The first kept step after step 0 comes at this share of training: two decades of tokens.
FIRST_FRACTION = 0.01


def checkpoint_steps(steps: int, count: int) -> tuple[int, ...]:
    """Step 0 and ``count`` further steps, log-spaced, the last one being ``steps``; fewer if there are not so many.

    >>> checkpoint_steps(244, 6)
    (0, 2, 6, 15, 39, 97, 244)
    >>> checkpoint_steps(3, 10)
    (0, 1, 2, 3)
    """
    count = min(count, steps)
    first = max(1.0, FIRST_FRACTION * steps)
    chosen = [0]
    for position in range(1, count + 1):
        fraction = 1.0 if count == 1 else (position - 1) / (count - 1)
        exact = math.exp(math.log(first) + fraction * (math.log(steps) - math.log(first)))
        chosen.append(min(max(chosen[-1] + 1, round(exact)), steps - (count - position)))
    return tuple(chosen)
