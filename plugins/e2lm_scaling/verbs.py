"""``e2lm.fit(...)``, ``e2lm.decide(...)`` and their like from Python: each answers as ``e2lm predict`` does."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from e2lm import Verb
from e2lm.answer import Answer
from e2lm.verb import path_of
from e2lm_scaling.cli.command import PREDICT_COMMAND

if TYPE_CHECKING:
    from e2lm.verb import Data


def _answer(action: str, data: Data, options: dict[str, Any]) -> Answer:
    with path_of(data) as path:
        return PREDICT_COMMAND.answer({"data": path, **options}, action)


def fit(data: Data, **options: Any) -> Answer:
    """A scaling law, or the average of several, fitted to losses of trained models."""
    return _answer("fit", data, options)


def forecast(data: Data, params: float, tokens: float, **options: Any) -> Answer:
    """What :func:`fit` says with the loss of a model of ``params`` trained on ``tokens`` beside it: ``forecast``."""
    return _answer("fit", data, {"at": f"N={params!r},D={tokens!r}", **options})


def backtest(data: Data, **options: Any) -> Answer:
    """The largest runs held out: which law foresees them."""
    return _answer("backtest", data, options)


def plan(data: Data, **options: Any) -> Answer:
    """The best size and tokens for a budget."""
    return _answer("plan", data, options)


def curve(data: Data, **options: Any) -> Answer:
    """Where a run ends, from its first checkpoints; which of two wins."""
    return _answer("curve", data, options)


def translate(data: Data, to: str | PathLike[str], **options: Any) -> Answer:
    """From the loss on one corpus or test to the loss on another."""
    return _answer("translate", data, {"to": to, **options})


def decide(data: Data, **options: Any) -> Answer:
    """Continue, stop, or move the budget."""
    return _answer("decide", data, options)


def verbs() -> list[Verb]:
    """The verbs of this plugin; options are those of the action, with ``_`` for ``-``."""
    of_data = "(data, **options)"
    return [
        Verb("fit", of_data, "Fit a scaling law.", f"{__name__}:fit"),
        Verb("forecast", "(data, params, tokens, **options)", "The loss of a big run.", f"{__name__}:forecast"),
        Verb("backtest", of_data, "Which law foresees the largest runs?", f"{__name__}:backtest"),
        Verb("plan", of_data, "The best size and tokens for a budget.", f"{__name__}:plan"),
        Verb("curve", of_data, "Where a run ends, from its first checkpoints.", f"{__name__}:curve"),
        Verb("translate", "(data, to, **options)", "From one loss to another.", f"{__name__}:translate"),
        Verb("decide", of_data, "Continue, stop, or move the budget.", f"{__name__}:decide"),
    ]
