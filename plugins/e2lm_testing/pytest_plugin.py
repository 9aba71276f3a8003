"""Fixtures for authors of plugins: ``pytest_plugins = ("e2lm_testing.pytest_plugin",)``. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2lm.plugin_manager import PluginManager


@pytest.fixture
def plugin_manager() -> PluginManager:
    """A manager without any plugin: register your own in it, and nothing that is installed interferes."""
    from e2lm.plugin_manager import PluginManager

    return PluginManager()


@pytest.fixture(scope="session")
def tiny_tokenizer_files() -> dict[str, str]:
    """Name and text of the files of a byte-level BPE tokenizer with 512 entries."""
    from e2lm_testing.tiny_checkpoint import tokenizer_files

    return dict(tokenizer_files())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder: Llama of 2 layers, width 64, float32, vocabulary 512, context 256, with its tokenizer.

    Shared by the whole session: read it, never write into it.
    """
    from e2lm_testing.tiny_checkpoint import write_tiny_llama

    folder = tmp_path_factory.mktemp("tiny_model") / "model"
    write_tiny_llama(folder, 1)
    return folder


@pytest.fixture(scope="session")
def tiny_series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with ``series.json`` and four checkpoints (steps 0, 10, 20, 30) of different weights.

    Shared by the whole session: read it, never write into it.
    """
    from e2lm_testing.tiny_checkpoint import write_tiny_series

    run = tmp_path_factory.mktemp("tiny_series") / "tiny-run"
    write_tiny_series(run)
    return run
