"""What every judge of items keeps to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import pytest

from e2lm.errors import UserError
from e2lm.judge import Judge
from e2lm_testing.contract import check_described, outcome, own_randomness_only, resolved

#: A prompt and its true answer each, as a judge gets them.
TEXTS = (
    "Which particle carries a negative charge? The electron",
    "The band played until the last guest had gone home",
    "What is 7 times 8? 56",
)
#: What items of strangers may hold.
ODD_TEXTS = {
    "nothing": "",
    "white space": " \n\t ",
    "no letter": "1 + 1 = 2 ?!",
    "another script": "\N{GREEK SMALL LETTER ALPHA}\N{CJK UNIFIED IDEOGRAPH-6C34}\N{MICROSCOPE}",
    "a control character": "a\x00b",
    "two thousand words": "energy " * 2000,
    "a template": "{{ cycler.__init__ }} %s {0}",
}


class JudgeContract:
    """Subclass it and set ``judge`` to a :class:`Judge`, or to the name of an installed one.

    Set ``depends_on_company`` where a text may be judged otherwise among other texts. A judge that refuses with a
    one-line :class:`UserError`, as one without its service does, is skipped where numbers are looked at.
    """

    judge: ClassVar[Judge | str]
    depends_on_company: ClassVar[bool] = False

    @property
    def _judge(self) -> Judge:
        return resolved(self.judge, "e2lm_register_judges", Judge, "judge")

    def _judged(self, texts: Sequence[str]) -> list[float]:
        numbers = outcome(lambda: list(self._judge.judge(texts)))
        if isinstance(numbers, UserError):
            pytest.skip(f"the judge refuses: {numbers}")
        check_numbers(numbers, len(texts))
        return [float(number) for number in numbers]

    def test_it_says_what_it_is(self) -> None:
        check_described(self._judge.name, self._judge.description)

    def test_it_gives_one_number_between_0_and_1_per_text(self) -> None:
        self._judged(TEXTS)
        self._judged(TEXTS[:1])

    def test_no_text_gives_no_number(self) -> None:
        assert self._judged(()) == []

    @pytest.mark.parametrize("oddity", ODD_TEXTS)
    def test_an_odd_text_gets_a_number(self, oddity: str) -> None:
        self._judged((ODD_TEXTS[oddity],))

    def test_the_same_texts_get_the_same_numbers(self) -> None:
        with own_randomness_only():
            first, second = self._judged(TEXTS), self._judged(TEXTS)
        assert first == second, "who enters again must not be judged otherwise"

    def test_a_text_is_judged_alike_alone_and_in_any_order(self) -> None:
        if self.depends_on_company:
            pytest.skip("the judge says that company matters to it")
        together = self._judged(TEXTS)
        assert [self._judged((text,))[0] for text in TEXTS] == together
        assert self._judged(TEXTS[::-1]) == together[::-1]

    def test_it_leaves_the_texts_as_they_were(self) -> None:
        texts = list(TEXTS)
        self._judged(texts)
        assert texts == list(TEXTS)


def check_numbers(numbers: Sequence[object], count: int) -> None:
    """One finite number in [0, 1] per text."""
    assert len(numbers) == count, f"{len(numbers)} numbers for {count} texts"
    for number in numbers:
        assert not isinstance(number, bool | str | bytes), f"{number!r} is no number"
        value = float(number)  # type: ignore[arg-type]
        assert math.isfinite(value), f"{number!r} is not finite"
        assert 0.0 <= value <= 1.0, f"{number!r} is not in [0, 1]"
