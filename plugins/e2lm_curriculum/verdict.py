"""From differences to words: better, worse or no detectable difference; what explains an effect; when it fades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from e2lm_curriculum.comparison_difference import Difference, holm
from e2lm_curriculum.power import ALPHA, detectable_difference, median_unbiased

Word = Literal["better", "worse", "no detectable difference"]
NO_DIFFERENCE: Word = "no detectable difference"

#: From this share of an effect on re-weighting is said to explain it, below to explain a part of it.
MOST = 0.75


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one measure says about an arm against vanilla. ``p_holm`` is adjusted for all measures of that arm.

    ``detectable`` is the smallest true difference this experiment would have seen in at least 80 of 100 repetitions,
    at the level of Holm's first and strictest step. It is an estimate: as often too large as too small.
    """

    word: Word
    difference: Difference
    p_holm: float
    detectable: float


def verdicts(differences: Sequence[Difference], higher_is_better: Sequence[bool]) -> list[Verdict]:
    """One verdict per measure. The chance that any of them is wrong where nothing differs is 5 %.

    >>> clear, vague = Difference(1.0, 0.9, 1.1, 1e-6, 0.05, 4.0), Difference(0.1, -1.0, 1.2, 0.8, 0.4, 4.0)
    >>> [verdict.word for verdict in verdicts([clear, vague], [False, True])]
    ['worse', 'no detectable difference']
    """
    adjusted = holm([one.p for one in differences])
    return [
        Verdict(word(one, p, higher), one, p, _detectable(one, len(differences)))
        for one, p, higher in zip(differences, adjusted, higher_is_better, strict=True)
    ]


def _detectable(difference: Difference, measures: int) -> float:
    stderr = median_unbiased(difference.stderr, difference.df)
    return detectable_difference(stderr, difference.df, ALPHA / measures)


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
        from e2lm.svg_chart import short

        if self.first_tokens is None:
            return "no detectable difference at any checkpoint"
        began = f"{self.first_word} from {short(self.first_tokens)} tokens on"
        if self.fades_by_tokens is not None:
            return f"{began}, fades by {short(self.fades_by_tokens)} tokens"
        if self.last_word != self.first_word:
            return f"{began}, {self.last_word} at the end"
        return f"{began}, lasts to the end"


def course(tokens_K: Sequence[float], differences_K: Sequence[Difference], higher_is_better: bool) -> Course:
    """The course of an effect over checkpoints, Holm over those after step 0.

    >>> early, late = Difference(1.0, 0.9, 1.1, 1e-6, 0.05, 4.0), Difference(0.1, -1.0, 1.2, 0.8, 0.4, 4.0)
    >>> course([10.0, 100.0], [early, late], True).sentence
    'better from 10 tokens on, fades by 100 tokens'
    """
    trained = [(tokens, one) for tokens, one in zip(tokens_K, differences_K, strict=True) if tokens > 0]
    adjusted = holm([one.p for _, one in trained])
    words = [word(one, p, higher_is_better) for (_, one), p in zip(trained, adjusted, strict=True)]
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
        if self.total.word == NO_DIFFERENCE:
            if NO_DIFFERENCE not in {self.reweighting.word, self.order.word}:
                return (
                    f"Re-weighting alone is {self.reweighting.word}, order alone is {self.order.word}: "
                    "they cancel each other."
                )
            return "There is no detectable effect to explain."
        share = self.reweighting.difference.value / self.total.difference.value
        if self.reweighting.word == self.total.word and self.order.word == NO_DIFFERENCE:
            how_much = "it" if share >= MOST else "a part of it"
            return (
                f"Re-weighting explains {how_much}: the exposure-matched shuffle, the same examples as often in random "
                f"order, is {self.reweighting.word} too and makes {share:.0%} of the effect; for the rest no effect of "
                f"order is detectable (one of {self.order.detectable:.3g} would have been)."
            )
        if self.order.word == self.total.word and self.reweighting.word == NO_DIFFERENCE:
            return (
                f"Order explains it: the exposure-matched shuffle shows no detectable difference from vanilla, and the "
                f"curriculum is {self.order.word} than that shuffle."
            )
        return (
            f"Re-weighting is {_than(self.reweighting.word)} vanilla ({share:.0%} of the effect); order is "
            f"{_than(self.order.word)} the exposure-matched shuffle."
        )


def _than(one: Word) -> str:
    return "not detectably different from" if one == NO_DIFFERENCE else f"{one} than"


def explanation(total: Difference, reweighting: Difference, order: Difference, higher_is_better: bool) -> Explanation:
    """One measure taken apart: the whole judged at 5 %, its two parts with Holm over both."""
    (whole,) = verdicts([total], [higher_is_better])
    return Explanation(whole, *verdicts([reweighting, order], [higher_is_better] * 2))
