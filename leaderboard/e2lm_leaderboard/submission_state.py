"""The states of a submission: nothing just disappears, and every way out of the queue says why."""

from __future__ import annotations

from enum import StrEnum

from e2lm.errors import E2LMError


class State(StrEnum):
    """Where a submission is on its way."""

    QUEUED = "queued"
    CHECKING = "checking"
    RUNNING = "running"
    SCORED = "scored"
    REFUSED = "refused"


#: A run that was killed starts over from ``checking``; a scored submission may be scored again by new rules.
NEXT = {
    State.QUEUED: {State.CHECKING, State.REFUSED},
    State.CHECKING: {State.CHECKING, State.RUNNING, State.REFUSED},
    State.RUNNING: {State.CHECKING, State.RUNNING, State.SCORED, State.REFUSED},
    State.SCORED: {State.CHECKING, State.SCORED},
    State.REFUSED: {State.CHECKING},
}


def require_move(old: str, new: str) -> None:
    """Raise :class:`E2LMError` where ``new`` does not follow ``old``.

    >>> require_move("queued", "checking")
    """
    if State(new) not in NEXT[State(old)]:
        allowed = ", ".join(sorted(NEXT[State(old)]))
        raise E2LMError(f"a submission that is {old} cannot become {new}; what may follow: {allowed}")
