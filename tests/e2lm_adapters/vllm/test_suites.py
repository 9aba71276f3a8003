"""Every suite through e2lm-vllm says what it says through e2lm-hf. Skipped where vLLM is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2lm_adapters.vllm.test_series import FLOAT32_DIFFERENCE, started, write_llama
from tests.e2lm_tasks.suite_data import (
    LIMIT,
    SUITES,
    assert_alike,
    suite_manager,
    write_built_suites,
    write_hub_data,
    write_pair_data,
)

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (make test-vllm brings it)"),
    # Raised inside vLLM and what it imports:
    pytest.mark.filterwarnings("ignore::UserWarning:(?!e2lm).*", "ignore::SyntaxWarning", "ignore::ImportWarning"),
]

#: Room for every prompt: vLLM cuts texts that are too long elsewhere than transformers (docs/vllm.md).
CONTEXT = 2048


@pytest.mark.slow
def test_every_suite_scores_alike_through_vllm_and_transformers(
    tmp_path: Path, tiny_tokenizer_files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-likelihoods of float32 and every metric within 1e-4, greedy flags equal: the tolerance of docs/vllm.md."""
    from lm_eval import simple_evaluate

    from e2lm_adapters.scoring.hf import E2lmHf

    for write, folder in ((write_hub_data, "data"), (write_pair_data, "data"), (write_built_suites, "built")):
        (tmp_path / folder).mkdir(exist_ok=True)
        write(tmp_path / folder)
    monkeypatch.setenv("E2LM_DATA", str(tmp_path / "data"))
    model = tmp_path / "model"
    write_llama(model, 7, tiny_tokenizer_files, max_position_embeddings=CONTEXT)
    manager = suite_manager(tmp_path / "built")

    def evaluated(lm: Any) -> dict[str, Any]:
        found: dict[str, Any] = simple_evaluate(
            model=lm, tasks=list(SUITES), task_manager=manager, limit=LIMIT, bootstrap_iters=0
        )
        return found

    expected = evaluated(E2lmHf(str(model), device="cpu", dtype="float32", batch_size=8))
    engine = started(model)
    try:
        found = evaluated(engine)
    finally:
        engine.close()
    assert len(found["samples"]) > 40
    assert_alike(expected, found, FLOAT32_DIFFERENCE)
