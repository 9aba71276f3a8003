"""Configs of `benchmarks/merge_fuzz.py` with what mergekit 0.1.5 made of them: tests that need no mergekit.

Every method that both sides have and that draws nothing, with gradients, filters, slices and YAML anchors as drawn.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import read_recipe

CORPUS = json.loads((Path(__file__).parent / "mergekit_corpus.json").read_text())


@pytest.fixture
def root(tmp_path: Path, tiny_tensors: Any, write_model: Any) -> Path:
    """A base and three fine-tunes, as they were when the corpus was made."""
    folder = tmp_path / "corpus"
    base = tiny_tensors(0, layers=3)
    write_model(folder / "tiny" / "base", base)
    for index, name in enumerate("abc", start=1):
        other = tiny_tensors(index, layers=3)
        write_model(folder / "tiny" / name, {key: one + 0.05 * (other[key] - 0.5) for key, one in base.items()})
    return folder


@pytest.mark.parametrize("entry", CORPUS, ids=[f"{place}-{one['method']}" for place, one in enumerate(CORPUS)])
def test_a_config_means_what_it_means_to_mergekit(entry: dict[str, Any], root: Path, tmp_path: Path) -> None:
    config = tmp_path / "m.yml"
    config.write_text(entry["config"].replace("ROOT", str(root)))
    merged = merged_tensors(plan_merge(read_recipe(config)), 1)
    for name, (total, norm) in entry["sum_and_norm"].items():
        assert float(merged[name].double().norm()) == pytest.approx(norm, rel=2e-6, abs=2e-6), name
        assert float(merged[name].double().sum()) == pytest.approx(total, rel=2e-6, abs=2e-4), name


def test_the_corpus_holds_every_method_in_several_forms() -> None:
    assert len(Counter(one["method"] for one in CORPUS)) == 13
    text = "".join(one["config"] for one in CORPUS)
    assert all(part in text for part in ("layer_range", "filter", "<<: *p", "base_model", "lambda", "[0"))
