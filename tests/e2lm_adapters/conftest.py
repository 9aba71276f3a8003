"""Models of several families, requests of the kinds that tasks make, and a small task on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance

ROOT = Path(__file__).resolve().parents[2]
WORDS = " ".join(topics[name] for name in sorted(topics)).split()
ITEMS = 24
TASK_YAML = """\
class: !function e2lm_tasks.multiple_choice.MultipleChoice
output_type: multiple_choice
test_split: test
num_fewshot: 0
doc_to_text: "{{context}}"
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: acc_bytes, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""

Pair = tuple[str, str]


def words(rng: np.random.Generator, count: int) -> str:
    start = int(rng.integers(0, len(WORDS) - count))
    return " ".join(WORDS[start : start + count])


def pairs_of_items(seed: int, items: int, context_words: tuple[int, int] = (5, 25), before: str = "") -> list[Pair]:
    """Each item: a context and four choices of a few words; ``before`` stands in front of every context."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(items):
        context = before + words(rng, int(rng.integers(*context_words)))
        pairs += [(context, " " + words(rng, int(rng.integers(1, 6)))) for _ in range(4)]
    return pairs


def instances(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=one, idx=0) for one in arguments]  # type: ignore[arg-type]


def scored(lm: Any, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    answers = lm.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    return np.array([loglik for loglik, _ in answers]), np.array([greedy for _, greedy in answers])


@pytest.fixture(scope="session")
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


@pytest.fixture(scope="session")
def run_e2lm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``e2lm ...`` in a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "e2lm", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            cwd=ROOT,
        )

    return run


def write_task(folder: Path, name: str = "small", seed: int = 5, items: int = ITEMS) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "context": words(rng, int(rng.integers(5, 30))),
            "choices": [words(rng, int(rng.integers(1, 6))) for _ in range(4)],
            "gold": int(rng.integers(0, 4)),
        }
        for _ in range(items)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / f"{name}.yaml").write_text(
        f"task: {name}\ndataset_kwargs: {{data_files: {name}.jsonl}}\n" + TASK_YAML, encoding="utf-8"
    )


@pytest.fixture
def task_folder(tmp_path: Path) -> Path:
    """A folder with the task ``small``: 24 items of four choices."""
    write_task(tmp_path / "tasks")
    return tmp_path / "tasks"
