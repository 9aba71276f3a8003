"""The base class of rolling log-likelihood tasks, with a standard error beside lm-eval's own numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lm_eval.api.registry import get_aggregation

from e2lm_tasks.local_task import LocalTask

PASSAGE_METRIC = "passage_bits_per_byte"


class HeldOutText(LocalTask):
    """A task of ``output_type: loglikelihood_rolling``.

    lm-eval's ``bits_per_byte`` pools all bytes and has no standard error; ``passage_bits_per_byte`` beside it is the
    mean over passages of bits per byte, with one.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._aggregation_list.setdefault(PASSAGE_METRIC, get_aggregation("mean"))
        self._higher_is_better.setdefault(PASSAGE_METRIC, False)

    def process_results(self, doc: dict[str, Any], results: Sequence[float]) -> dict[str, Any]:
        """lm-eval's metrics of one passage and its bits per byte."""
        values: dict[str, Any] = super().process_results(doc, results)
        (loglik,) = results
        values[PASSAGE_METRIC] = bits_per_byte(loglik, str(self.doc_to_target(doc)))
        return values


def bits_per_byte(loglik: float, text: str) -> float:
    """``-loglik / (ln 2 * bytes)`` of ``text`` in UTF-8; ``loglik`` in nats (Gao et al. 2020, The Pile, section 3.1).

    >>> bits_per_byte(-8 * math.log(2), "abcd")
    2.0
    """
    return -loglik / (math.log(2) * len(text.encode("utf-8")))
