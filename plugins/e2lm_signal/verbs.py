"""``e2lm.signal(...)`` and its like from Python: each answers as the action of that name does at the terminal."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm import Verb
from e2lm.answer import Answer
from e2lm.verb import path_of
from e2lm_signal.cli.command import RESULTS_COMMAND, SIGNAL_COMMAND

if TYPE_CHECKING:
    from e2lm.verb import Data


def _answer(action: str | None, results: Data, options: dict[str, Any]) -> Answer:
    with path_of(results) as path:
        return SIGNAL_COMMAND.answer({"path": path, **options}, action)


def read(path: str | PathLike[str], **options: Any) -> Answer:
    """Every result below ``path``, with what is known of it: ``to_frame()`` is the Scores table."""
    return RESULTS_COMMAND.answer({"path": Path(path), **options})


def signal(results: Data, **options: Any) -> Answer:
    """Every score of every curve, and means over the series."""
    return _answer(None, results, options)


def compare(results: Data, **options: Any) -> Answer:
    """Task x metric, the best at early decisions first."""
    return _answer("compare", results, options)


def outliers(results: Data, **options: Any) -> Answer:
    """The checkpoints that fit worst into their series."""
    return _answer("outliers", results, options)


def noise(samples: str | PathLike[str], **options: Any) -> Answer:
    """Where the noise of each task comes from."""
    return _answer("noise", samples, options)


def distil(samples: str | PathLike[str], **options: Any) -> Answer:
    """The items that carry signal, by held-out models."""
    return _answer("distil", samples, options)


def versus(first: str | PathLike[str], second: str | PathLike[str], **options: Any) -> Answer:
    """The difference of two checkpoints or runs on every task x metric that both have."""
    return SIGNAL_COMMAND.answer({"first": first, "second": second, **options}, "versus")


def verbs() -> list[Verb]:
    """The verbs of this plugin; options are those of the action, with ``_`` for ``-``."""
    of_results = "(results, **options)"
    of_samples = "(samples, **options)"
    return [
        Verb("read", "(path, **options)", "Results of any kind, with what they are about.", f"{__name__}:read"),
        Verb("signal", of_results, "Does a benchmark say anything early?", f"{__name__}:signal"),
        Verb("compare", of_results, "Which task x metric decides best early on?", f"{__name__}:compare"),
        Verb("outliers", of_results, "Checkpoints that do not fit into their series.", f"{__name__}:outliers"),
        Verb("noise", of_samples, "Where does the noise come from?", f"{__name__}:noise"),
        Verb("distil", of_samples, "Choose the items that carry signal.", f"{__name__}:distil"),
        Verb("versus", "(first, second, **options)", "Two checkpoints on the same items.", f"{__name__}:versus"),
    ]
