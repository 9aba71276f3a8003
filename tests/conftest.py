"""What every test may use: one thread, no network, the fixtures of the testing kit, and the real data where it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch, tokenizers and the Hub are imported: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
from hypothesis import settings

# A busy machine makes any example slow now and then; that is no failure.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

#: Its fixtures are ours too: a tiny model, a tiny series, a plugin manager without plugins.
pytest_plugins = ("e2lm_testing.pytest_plugin",)


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """The variables above come too late where a plugin of pytest has imported torch already."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_llama(tiny_model: Path) -> Path:
    """A checkpoint folder: Llama of 2 layers, width 64, float32, vocabulary 512, context 256, with its tokenizer."""
    return tiny_model
