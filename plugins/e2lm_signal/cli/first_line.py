"""The line above a table: what to use, or which checkpoint does not fit, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from e2lm_signal.comparison import Ranked
from e2lm_signal.messages import say
from e2lm_signal.outliers import ALARM, Outlier

#: Decision accuracy of who tosses a coin for each pair.
COIN_TOSS = 0.5


def decides_best(ranking: Sequence[Ranked]) -> str:
    """Which task and metric to use; none, where the interval of the first holds a coin toss."""
    first = ranking[0]
    facts = {
        "task": first.contender.task,
        "metric": first.contender.metric,
        "value": first.contender.value,
        "low": first.low,
        "high": first.high,
        "series": len(first.contender.names_M),
        "end": say("the_end" if first.contender.runs is None else "large_models"),
    }
    if first.low <= COIN_TOSS:
        return say("nothing_decides", **facts)
    return say("decides_best", **facts, others=sum(one.group == first.group for one in ranking) - 1)


def fits_worst(found: Sequence[Outlier]) -> str:
    """The checkpoint that is furthest off, the others as a number; or that none is."""
    alarms = [one for one in found if one.is_alarm]
    if not alarms:
        return say("no_outlier", looked=len(found), alarm=ALARM) if found else say("nothing_looked_at")
    worst, others = alarms[0], len(alarms) - 1
    facts = {"series": worst.series, "step": worst.step, "score": abs(worst.score), "others": others}
    return say("outliers_found", way=way_off(worst), **facts)


def way_off(one: Outlier) -> str:
    """Too good or too bad."""
    return say("too_good" if one.score > 0 else "too_bad")
