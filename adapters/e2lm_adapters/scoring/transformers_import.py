"""Imports transformers without what costs time and is not needed.

transformers 5.19 imports ``sklearn.metrics``, and scipy with it, for one helper of assisted generation
(``generation/candidate_generator.py``). That is one CPU second of every process, a tenth of a short evaluation. The
helper still works: scikit-learn is imported when it is called.

Importing torch and transformers makes some million objects that stay; looking for garbage among them costs another
0.9 of 5 CPU seconds.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GENERATOR_MODULE = "transformers.generation.candidate_generator"


@contextmanager
def collection_paused() -> Iterator[None]:
    """No search for garbage within the block, nor later among what was made until its end: it is there to stay.

    Whoever had switched the search off before keeps it off.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


def import_transformers_lightly() -> None:
    """Import what every causal model of transformers needs. Does nothing where it has been imported already."""
    if GENERATOR_MODULE in sys.modules:
        return
    from transformers import utils

    really_available = utils.is_sklearn_available
    importing = True

    def available() -> bool:
        return not importing and bool(really_available())

    utils.is_sklearn_available = available
    try:
        generator: Any = importlib.import_module(GENERATOR_MODULE)
    except ImportError:  # a transformers that keeps it elsewhere; it will be imported, or not, as that version likes
        return
    finally:
        importing = False
        utils.is_sklearn_available = really_available
    if not hasattr(generator, "roc_curve"):
        generator.roc_curve = _roc_curve


def _roc_curve(*arguments: Any, **options: Any) -> Any:
    return importlib.import_module("sklearn.metrics").roc_curve(*arguments, **options)
