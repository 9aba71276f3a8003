"""At which steps a checkpoint is kept: log-spaced, every so many tokens, or at BabyLM's numbers of words."""

from __future__ import annotations

import math

from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.config.training import BABYLM_UNIT, RunConfig

#: The first kept step after step 0 comes at this share of training: two decades of tokens.
FIRST_FRACTION = 0.01

#: Only where the corpus is not prepared yet: about what a vocabulary of 4,096 gives for English prose.
ASSUMED_WORDS_PER_TOKEN = 0.7


def kept_steps(run: RunConfig, budget: TrainingBudget, words_per_token: float | None) -> tuple[int, ...]:
    """The steps at which ``run`` keeps a checkpoint, 0 and the last among them; words only matter to BabyLM's grid."""
    tokens_per_step = budget.tokens // budget.steps
    if run.checkpoint_grid == "log":
        return log_steps(budget.steps, run.checkpoints)
    if run.checkpoint_grid == "tokens":
        return token_steps(budget.steps, tokens_per_step, run.checkpoint_tokens)
    return word_steps(budget.steps, tokens_per_step, words_per_token or ASSUMED_WORDS_PER_TOKEN, run.word_unit)


def log_steps(steps: int, count: int) -> tuple[int, ...]:
    """Step 0 and ``count`` further steps, log-spaced, the last one being ``steps``; fewer if there are not so many.

    >>> log_steps(244, 6)
    (0, 2, 6, 15, 39, 97, 244)
    >>> log_steps(3, 10)
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


def token_steps(steps: int, tokens_per_step: int, every_tokens: int) -> tuple[int, ...]:
    """Step 0, the steps nearest to each multiple of ``every_tokens``, and the last.

    >>> token_steps(10, 100, 250)
    (0, 2, 5, 8, 10)
    """
    count = steps * tokens_per_step // every_tokens
    wanted = [nearest_step(number * every_tokens, tokens_per_step) for number in range(1, count + 1)]
    return tuple(sorted({0, steps, *(step for step in wanted if 0 < step <= steps)}))


def nearest_step(tokens: float, tokens_per_step: float) -> int:
    """The step at which most nearly ``tokens`` have been seen; of two equally near the even one."""
    return round(tokens / tokens_per_step)


def babylm_words(words: float, unit: int = BABYLM_UNIT) -> tuple[int, ...]:
    """Numbers of words, up to ``words``, at which BabyLM wants checkpoints.

    Every million up to ten, every ten up to a hundred, every hundred up to a thousand (BabyLM 2025, evaluation
    pipeline). ``unit`` stands for the million.

    >>> babylm_words(35e6)[-5:]
    (8000000, 9000000, 10000000, 20000000, 30000000)
    """
    found = [factor * decade for decade in (1, 10, 100) for factor in range(1, 11)]
    return tuple(sorted({number * unit for number in found if number * unit <= words}))


def word_steps(steps: int, tokens_per_step: int, words_per_token: float, unit: int = BABYLM_UNIT) -> tuple[int, ...]:
    """Step 0, the steps nearest to BabyLM's numbers of words, and the last.

    >>> word_steps(20, 1_000_000, 0.5)
    (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
    """
    words = babylm_words(steps * tokens_per_step * words_per_token, unit)
    wanted = {nearest_step(number / words_per_token, tokens_per_step) for number in words}
    return tuple(sorted({0, steps, *(step for step in wanted if 0 < step <= steps)}))
