"""The signal scores of this plugin."""

from __future__ import annotations

from e2lm import SignalScore

from e2lm_signal.official_score import official_scores


def signal_scores() -> list[SignalScore]:
    """Every built-in score of early signal, in the order of the report."""
    return official_scores()
