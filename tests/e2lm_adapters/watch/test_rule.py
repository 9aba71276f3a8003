"""The grammar of rules: what it takes, and what it says to what is not grammar."""

from __future__ import annotations

import pytest

from e2lm import UserError
from e2lm_adapters.watch.rule import FORMS, WatchRule, parsed


def test_every_form_that_is_offered_is_one() -> None:
    assert [parsed(one, "stop").kind for one in FORMS] == [
        "loss", "below", "score", "loss spike", "nan", "duplicate checkpoint", "stalled",
    ]  # fmt: skip


def test_a_rule_says_what_was_written() -> None:
    assert parsed(" P( loss at 20B > 2.9 )  > .95", "stop") == WatchRule(
        "P( loss at 20B > 2.9 ) > .95", "stop", "loss", 0.95, ">", 2e10, 2.9
    )
    below = parsed("P(ends below runs/a b, runs/c on arc_easy) > .9", "stop")
    assert (below.baselines, below.task, below.threshold) == (("runs/a b", "runs/c"), "arc_easy", 0.9)
    score = parsed("signal_quality(sciq, acc_norm) < .5", "alert")
    assert (score.score, score.task, score.metric, score.sign, score.threshold) == (
        "signal_quality", "sciq", "acc_norm", "<", 0.5,
    )  # fmt: skip
    assert parsed("stalled 30min", "alert").threshold == 1800


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lose spike", "unknown word 'lose'. Did you mean 'loss'?"),
        ("P(end below runs/on on sciq) > .9", "unknown word 'end'. Did you mean 'ends'?"),
        ("stalled 6 hours", "unknown unit 'hours'. Known: d, h, min, s."),
        ("stalled 0h", "expected more than 0"),
        ("P(loss at 2e10 > 2.9) > 95", "found > 95, expected a probability of .5 or more, below 1"),
        ("P(loss at 2e10 > 2.9) > nan", "'nan' is no number"),
        ("P(loss at many > 2.9) > .9", "'many' is no number"),
        ("signal_qualty(sciq) < .5", "Did you mean 'signal_quality'"),
        ("monday", "no rule; write one of: P(loss at"),
        ("", "no rule; write one of: P(loss at"),
    ],
)
def test_what_is_no_rule_is_told_with_the_nearest_word(text: str, told: str) -> None:
    with pytest.raises(UserError, match=r"^--alert-if ") as error:
        parsed(text, "alert")
    assert told in str(error.value)
