"""Models of several families, requests of the kinds that tasks make, and a small task on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance

from e2lm.command_line import main

ROOT = Path(__file__).resolve().parents[2]
WORDS = " ".join(topics[name] for name in sorted(topics)).split()
ITEMS = 24
#: Of the shared run ``tiny_series``.
STEPS = (0, 10, 20, 30)
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

#: From lm-eval 0.5 on a request must say whose it is.
NAMES_ITS_TASK = any(
    field.name == "task_name" and field.init and field.default is MISSING for field in fields(Instance)
)

Pair = tuple[str, str]
Run = Callable[..., int]


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
    named: dict[str, Any] = {"task_name": "", "doc_id": 0} if NAMES_ITS_TASK else {}
    if NAMES_ITS_TASK and kind == "loglikelihood_rolling":
        arguments = [("", *one) for one in arguments]
    return [Instance(request_type=kind, doc={}, arguments=one, idx=0, **named) for one in arguments]  # type: ignore[arg-type]


def scored(lm: Any, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    answers = lm.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    return np.array([loglik for loglik, _ in answers]), np.array([greedy for _, greedy in answers])


@pytest.fixture(scope="session")
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


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


@pytest.fixture
def run_folder(tiny_series: Path, tmp_path: Path) -> Path:
    """A run that a test may change; weights are copied, so the shared run stays as it is."""
    folder = tmp_path / "tiny-run"
    shutil.copytree(tiny_series, folder)
    return folder


@pytest.fixture
def evaluate(task_folder: Path, tmp_path: Path) -> Run:
    """Runs ``e2lm eval`` in this process on the task ``small`` and gives its exit code."""

    def run(*options: object, tasks: str = "small", out: Path = tmp_path / "out") -> int:
        arguments = ["eval", "--tasks", tasks, "--out", out, "--include-path", task_folder]
        return main([*map(str, arguments), "--device", "cpu", "--model-args", "dtype=float32", *map(str, options)])

    return run


def no_model(*_: object, **__: object) -> None:
    raise AssertionError("a model was built although nothing was left to do")


def no_model_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2lm_adapters.eval.evaluator._built_model", no_model)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Hub may be asked; what its client keeps stays in the folder of the test."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
