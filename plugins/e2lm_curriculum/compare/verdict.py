"""From differences to words: better, worse, or none that this comparison could have seen; why, and whether it lasts.

What it could have seen is the smallest true difference that is found in 80 of 100 such experiments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2lm.interval import normal_quantile, student_quantile
from e2lm_curriculum.compare.difference import Difference, holm
from e2lm_curriculum.messages import say

#: Two-sided level and power throughout.
ALPHA = 0.05
POWER = 0.8


def power_of(difference: float, stderr: float, df: float, alpha: float = ALPHA) -> float:
    """Chance that a two-sided t test on ``df`` degrees of freedom sees a true ``difference`` with this error.

    The non-central t distribution as a mean over the chi-square variate W below the fraction: with the difference
    c in standard errors, P(T > t) = E Phi(c - t sqrt(W / df)).

    >>> round(power_of(0.0, 1.0, 4.0), 3)
    0.05
    """
    from scipy.special import ndtr

    if stderr <= 0.0:
        return 1.0 if difference else alpha
    centre = abs(difference) / stderr
    root_Q, weight_Q = _chi_nodes(df)
    edge_Q = float(student_quantile(df, 1 - alpha)) * root_Q
    return float(weight_Q @ (ndtr(centre - edge_Q) + ndtr(-centre - edge_Q)))


@lru_cache(maxsize=64)
def _chi_nodes(df: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of sqrt(W / df) and their weights, by Gauss-Legendre over the quantiles of W."""
    from scipy.special import gammaincinv

    node_Q, weight_Q = _nodes()
    return np.sqrt(2.0 * gammaincinv(df / 2, (node_Q + 1) / 2) / df), weight_Q / 2


@cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    node_Q, weight_Q = np.polynomial.legendre.leggauss(NODES)
    return node_Q, weight_Q


#: The error is below 1e-6 from two degrees of freedom on.
NODES = 400

#: Standard errors from 0 beyond which nobody asks for an effect.
FAR = 1e4


def detectable_difference(stderr: float, df: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """The true difference that a t test with this standard error sees with probability ``power``.

    >>> round(detectable_difference(1.0, 1e6), 2)  # z_.975 + z_.8
    2.8
    """
    from scipy.optimize import brentq

    if stderr <= 0.0:
        return 0.0
    high = 1.0
    while power_of(high, 1.0, df, alpha) < power:
        high *= 2.0
        if high > FAR:
            return math.inf
    return stderr * float(brentq(lambda centre: power_of(centre, 1.0, df, alpha) - power, 0.0, high, xtol=1e-6))


def median_unbiased(stderr: float, df: float) -> float:
    """``stderr`` made larger so that it is as often above the true one as below.

    Standard errors from few seeds are mostly too small: with 5 seeds the median one is 0.92 of the true.

    >>> round(median_unbiased(1.0, 4.0), 3)
    1.092
    """
    from scipy.special import gammaincinv

    return stderr * math.sqrt(df / (2.0 * float(gammaincinv(df / 2, 0.5))))


def detectable_in_sd(seeds: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Detectable difference of two unpaired arms of ``seeds`` each, in standard deviations between seeds.

    >>> [round(detectable_in_sd(seeds), 2) for seeds in (3, 5, 8, 10)]
    [3.07, 2.02, 1.51, 1.32]
    """
    return detectable_difference(math.sqrt(2 / seeds), 2 * (seeds - 1), alpha, power)


def seeds_needed(sd: float, difference: float) -> int:
    """Seeds per arm that see ``difference`` where seeds differ by ``sd``; unpaired, normal approximation.

    ``2 (z_.975 + z_.8)^2 (sd / difference)^2``; the first factor is 15.7.

    >>> seeds_needed(0.8, 1.0), seeds_needed(0.5, 1.0), seeds_needed(0.8, 0.5)
    (11, 4, 41)
    """
    quantiles = normal_quantile(1 - ALPHA) + normal_quantile(2 * POWER - 1)
    return math.ceil(2 * (quantiles * sd / difference) ** 2)


Word = Literal["better", "worse", "no detectable difference"]
NO_DIFFERENCE: Word = "no detectable difference"

#: From this share of an effect on re-weighting is said to explain it, below to explain a part of it.
MOST = 0.75


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one measure says about an arm against vanilla. ``p_holm`` is adjusted for all that is asked beside it.

    ``level`` is its part of the 5 % at Holm's first and strictest step.
    """

    word: Word
    difference: Difference
    p_holm: float
    level: float

    @property
    def detectable(self) -> float:
        """The smallest true difference that this experiment would have seen in at least 80 of 100 repetitions.

        An estimate: as often too large as too small.
        """
        stderr = median_unbiased(self.difference.stderr, self.difference.df)
        return detectable_difference(stderr, self.difference.df, self.level)


def verdicts(differences: Sequence[Difference], higher_is_better: Sequence[bool]) -> list[Verdict]:
    """One verdict per measure. The chance that any of them is wrong where nothing differs is 5 %.

    >>> clear, vague = Difference(1.0, 0.9, 1.1, 1e-6, 0.05, 4.0), Difference(0.1, -1.0, 1.2, 0.8, 0.4, 4.0)
    >>> [verdict.word for verdict in verdicts([clear, vague], [False, True])]
    ['worse', 'no detectable difference']
    """
    adjusted = holm([one.p for one in differences])
    return [
        Verdict(word(one, p, higher), one, p, ALPHA / len(differences))
        for one, p, higher in zip(differences, adjusted, higher_is_better, strict=True)
    ]


def word(difference: Difference, p: float, higher_is_better: bool) -> Word:
    """The verdict in a word."""
    if p >= ALPHA:
        return NO_DIFFERENCE
    return "better" if (difference.value > 0) == higher_is_better else "worse"


def whole_word(words: Sequence[Word]) -> str:
    """The verdict over all measures.

    >>> whole_word(["better", "no detectable difference"]), whole_word(["better", "worse"])
    ('better', 'mixed')
    """
    found = {one for one in words if one != NO_DIFFERENCE}
    if not found:
        return NO_DIFFERENCE
    return found.pop() if len(found) == 1 else "mixed"


# -- over the run ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Course:
    """How an effect went: the first checkpoint at which it is detectable, and from which on no more.

    ``first_word`` says in which direction it began; ``last_word`` what holds at the end.
    """

    first_tokens: float | None
    first_word: Word
    fades_by_tokens: float | None
    last_word: Word

    @property
    def sentence(self) -> str:
        """In words."""
        if self.first_tokens is None:
            return say("never_detectable")
        began = {"word": say.word("verdict", self.first_word), "tokens": self.first_tokens}
        if self.fades_by_tokens is not None:
            return say("fades", end=self.fades_by_tokens, **began)
        if self.last_word != self.first_word:
            return say("turns", last=say.word("verdict", self.last_word), **began)
        return say("lasts", **began)


def course(
    tokens_K: Sequence[float],
    differences_K: Sequence[Difference],
    higher_is_better: bool,
    p_holm_K: Sequence[float],
) -> Course:
    """The course of an effect over the checkpoints after step 0, by the p-values that the verdict at the end has too.

    ``p_holm_K`` are adjusted for all that is asked, so that the last word of a course cannot contradict the verdict.

    >>> early, late = Difference(1.0, 0.9, 1.1, 1e-6, 0.05, 4.0), Difference(0.1, -1.0, 1.2, 0.8, 0.4, 4.0)
    >>> course([10.0, 100.0], [early, late], True, holm([early.p, late.p])).sentence
    'better from 10 tokens on, fades by 100 tokens'
    """
    trained = [(tokens, one, p) for tokens, one, p in zip(tokens_K, differences_K, p_holm_K, strict=True) if tokens > 0]
    words = [word(one, p, higher_is_better) for _, one, p in trained]
    seen = [place for place, one in enumerate(words) if one != NO_DIFFERENCE]
    if not seen:
        return Course(None, NO_DIFFERENCE, None, NO_DIFFERENCE)
    last = seen[-1]
    fades = trained[last + 1][0] if last + 1 < len(words) else None
    return Course(trained[seen[0]][0], words[seen[0]], fades, words[-1])


# -- why ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Explanation:
    """The effect of a curriculum taken apart by its exposure-matched shuffle.

    ``reweighting`` is exposure-matched minus vanilla (which examples how often), ``order`` is curriculum minus
    exposure-matched (when). They add up to ``total``.
    """

    total: Verdict
    reweighting: Verdict
    order: Verdict

    @property
    def sentence(self) -> str:
        """What explains the effect, in words."""
        order, reweighting = self.order.word, self.reweighting.word
        if self.total.word == NO_DIFFERENCE:
            if NO_DIFFERENCE in {reweighting, order}:
                return say("no_effect")
            return say("cancel", reweighting=say.word("verdict", reweighting), order=say.word("verdict", order))
        share = self.reweighting.difference.value / self.total.difference.value
        word = say.word("verdict", self.total.word)
        if reweighting == self.total.word and order == NO_DIFFERENCE:
            key = "reweighting_explains_it" if share >= MOST else "reweighting_explains_a_part"
            return say(key, word=word, share=share, detectable=self.order.detectable)
        if order == self.total.word and reweighting == NO_DIFFERENCE:
            return say("order_explains", word=word)
        parts = {"reweighting": say.word("reweighting", reweighting, share=share), "order": say.word("order", order)}
        return say("both", **parts)


def explanation(total: Difference, reweighting: Difference, order: Difference, higher_is_better: bool) -> Explanation:
    """One measure taken apart: the whole judged at 5 %, its two parts with Holm over both."""
    (whole,) = verdicts([total], [higher_is_better])
    return Explanation(whole, *verdicts([reweighting, order], [higher_is_better] * 2))
