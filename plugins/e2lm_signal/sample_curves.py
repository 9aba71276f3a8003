"""Gives curves the per-item values behind them, where ``e2lm eval`` left Samples beside the scores.

Shape suffixes: K checkpoints, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from e2lm import Curve, ItemMetric, Samples
from e2lm.samples import SAMPLES_FOLDER, read_samples
from e2lm_signal.item_table import sample_chance


@dataclass(frozen=True, slots=True)
class SampleIndex:
    """The Samples of an evaluation by series, task and step."""

    by_key: dict[tuple[str, str, int], Samples]

    @classmethod
    def beside(cls, path: Path) -> SampleIndex | None:
        """The Samples of the evaluation whose scores are at ``path`` (its folder, or a table in it), if any.

        Without those of ``e2lm eval`` they are the ones that lm-eval has logged in the folder.
        """
        folder = (path if path.is_dir() else path.parent) / SAMPLES_FOLDER
        if folder.is_dir() and any(folder.rglob("*.parquet")):
            found = read_samples(folder)
        else:
            from e2lm.score_files import read_lm_eval_samples

            found = read_lm_eval_samples(path) if path.is_dir() else []
        return cls({(one.series, one.task, one.step): one for one in found}) if found else None

    def with_items(self, curves: Sequence[Curve], metrics: Sequence[ItemMetric]) -> list[Curve]:
        """The curves with ``items_KI`` and chance level where every checkpoint has Samples of the same items."""
        return [self._with_items(curve, metrics) for curve in curves]

    def _with_items(self, curve: Curve, metrics: Sequence[ItemMetric]) -> Curve:
        metric = next((one for one in metrics if one.name == curve.metric), None)
        found = [self.by_key.get((curve.series, curve.task, int(step))) for step in curve.steps_K]
        samples = [one for one in found if one is not None]
        if metric is None or not samples or len(samples) < len(found):
            return curve
        if any(not np.array_equal(one.doc_ids_I, samples[0].doc_ids_I) for one in samples):
            return curve
        chance = curve.chance if curve.chance is not None else sample_chance(metric, samples[0])
        items_KI = np.stack([metric.per_item(one.choices) for one in samples])
        if not np.allclose(items_KI.mean(axis=1), curve.values_K, atol=1e-6, equal_nan=True):
            return replace(curve, chance=chance)  # the scores were not computed from these items
        return replace(curve, items_KI=items_KI, chance=chance)
