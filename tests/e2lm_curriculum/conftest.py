"""A small real corpus: docstrings of the standard library, read with ast; and one run that many tests look at."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.train.ladder import train

CORPUS_CHARACTERS = 150_000


def library_docstrings() -> list[str]:
    documents: list[str] = []
    characters = 0
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text is not None and len(text) > 200:
                    documents.append(text)
                    characters += len(text)
        if characters > CORPUS_CHARACTERS:
            break
    return documents


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small lose time to a second thread, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Scores of difficulties go into a cache of this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return library_docstrings()


@pytest.fixture(scope="session")
def corpus_file(documents: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("corpus") / "docstrings.txt"
    file.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    return file


def minuscule_settings(corpus_file: Path, out: Path) -> dict[str, object]:
    """60 steps of 4 x 32 tokens with a model of 16 numbers per token."""
    return {
        "corpus": (str(corpus_file),),
        "out": str(out),
        "sizes": ("1x16", "2x16"),
        "tokens": 60 * 4 * 32,
        "batch_size": 4,
        "sequence_length": 32,
        "vocabulary": 400,
        "learning_rate": 0.01,
        "checkpoints": 6,
    }


def command_words(config: TrainingConfig) -> list[str]:
    """What is typed after ``e2lm`` to train as ``config`` says."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in config.effective().items() if name != "corpus"]
    words = ["train", "--corpus", *config.data.corpus, "--out", config.run.out, "--sizes", ",".join(config.model.sizes)]
    return [*words, "--jobs", str(config.run.jobs), *options]


@pytest.fixture(scope="session")
def trained(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """The configuration of a run that is finished."""
    config = TrainingConfig.from_data(
        minuscule_settings(corpus_file, tmp_path_factory.mktemp("trained") / "out"), "test"
    )
    train(config, quiet=True)
    return config


def comparison_settings(corpus_file: Path, out: Path) -> dict[str, Any]:
    """Nine runs of 30 steps, three arms of three seeds."""
    return {
        "corpus": [str(corpus_file)],
        "out": str(out),
        "sizes": ["1x16"],
        "tokens": 30 * 4 * 32,
        "batch_size": 4,
        "sequence_length": 32,
        "vocabulary": 400,
        "learning_rate": 0.01,
        "schedule": "cosine",
        "checkpoints": 3,
        "curriculum": {"difficulty": "unigram-perplexity", "mode": "pool"},
        "compare": {
            "seeds": 3,
            "arms": ["vanilla", "curriculum", "exposure-matched"],
            "schedules": ["configured"],
            "held_out_tokens": 4_000,
        },
    }
