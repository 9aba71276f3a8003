"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from e2lm.hookspecs import hookimpl

if TYPE_CHECKING:
    from e2lm import Command, ItemMetric, SignalScore, Verb


@hookimpl
def e2lm_register_metrics() -> Iterable[ItemMetric]:
    """Per-item metrics of multiple choice."""
    from e2lm_signal.item_metrics import item_metrics

    return item_metrics()


@hookimpl
def e2lm_register_signal_scores() -> Iterable[SignalScore]:
    """Scores of early signal."""
    from e2lm_signal.signal_scores import signal_scores

    return signal_scores()


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm signal`` and ``e2lm results``."""
    from e2lm_signal.cli.command import RESULTS_COMMAND, SIGNAL_COMMAND

    return [SIGNAL_COMMAND, RESULTS_COMMAND]


@hookimpl
def e2lm_register_verbs() -> Iterable[Verb]:
    """What ``e2lm.NAME(...)`` does from Python."""
    from e2lm_signal.verbs import verbs

    return verbs()
