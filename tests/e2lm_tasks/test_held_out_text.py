from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager


class TwoBitModel(LM):
    """A model that spends two bits on each byte and ten more on each passage."""

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return [-math.log(2) * (2 * len(one.args[0].encode()) + 10) for one in requests]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError

    def generate_until(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError


def test_bits_per_byte_is_pooled_and_per_passage(suite_folder: Path, rows_of: dict[str, list[dict[str, Any]]]) -> None:
    manager = TaskManager(include_path=str(suite_folder), include_defaults=False)
    results = simple_evaluate(model=TwoBitModel(), tasks=["probe_heldout"], task_manager=manager)
    lengths = np.array([len(row["text"].encode()) for row in rows_of["heldout"]])
    found = results["results"]["probe_heldout"]
    assert found["bits_per_byte,none"] == pytest.approx(2 + 10 * len(lengths) / lengths.sum())
    assert found["passage_bits_per_byte,none"] == pytest.approx(np.mean(2 + 10 / lengths))
    stderr = np.std(10 / lengths, ddof=1) / math.sqrt(len(lengths))
    assert found["passage_bits_per_byte_stderr,none"] == pytest.approx(stderr)
    assert results["higher_is_better"]["probe_heldout"]["passage_bits_per_byte"] is False
