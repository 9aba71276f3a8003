"""Inner parts of lm-eval we lean on, asked for before use: a release that lacks one costs it alone, with a line."""

from __future__ import annotations

import importlib
import logging
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from typing import Any

log = logging.getLogger("e2lm")

#: The group by which releases after 0.4.13 find models themselves.
MODEL_GROUP = "lm_eval.models"
#: Where such a release would read entry points.
READERS = ("lm_eval.api.registry", "lm_eval.models")


def inner_part(*places: str, without: str) -> Any | None:
    """The first of ``places`` ("module:attribute.attribute") that this lm-eval has.

    None where it has none of them: a line then says, once, what becomes of that (``without``).

    >>> inner_part("lm_eval.nowhere:thing", "json:dumps", without="nothing is written").__name__
    'dumps'
    """
    for place in places:
        module, _, path = place.partition(":")
        found = _attribute(module, path)
        if found is not None:
            return found
    say_once(f"lm-eval {release()} has no {places[0].replace(':', '.')}: {without}")
    return None


def _attribute(module: str, path: str) -> Any | None:
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return None
    return found


@cache
def say_once(line: str) -> None:
    """Log a line, however often it is asked for."""
    log.warning(line)


def release() -> str:
    """The version of the installed lm-eval."""
    try:
        return version("lm_eval")
    except PackageNotFoundError:
        return "of an unknown version"


def whole_text_answers(totals: list[float]) -> list[Any]:
    """Log-likelihoods of whole texts as this lm-eval takes them: 0.5 wants (log-likelihood, greedy), greedy unsaid."""
    return [(total, False) for total in totals] if find_spec("lm_eval.scorers") is not None else list(totals)


def models_read_by_lm_eval() -> frozenset[str]:
    """Names of models that this lm-eval finds by their entry points; none where it reads no entry points."""
    reads = find_spec("lm_eval.plugins") is not None or any(_attribute(one, "entry_points") for one in READERS)
    return frozenset(point.name for point in entry_points(group=MODEL_GROUP)) if reads else frozenset()
