"""Every suite, shipped or built, runs offline, scores alike through stock ``hf`` and ours, and passes ``validate``."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM

from e2lm import TaskSuite
from e2lm.plugin_manager import plugin_manager
from e2lm_adapters.scoring.hf import E2lmHf
from tests.e2lm_tasks.suite_data import (
    LIMIT,
    OTHER_SUBJECTS,
    SUITES,
    assert_alike,
    suite_manager,
    write_built_suites,
    write_hub_data,
    write_pair_data,
)

#: Largest difference of float32 log-likelihoods summed in another order, nats.
FLOAT32_DIFFERENCE = 1e-4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_hub_data(root)
    write_pair_data(root)
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    write_built_suites(root)
    return root


@pytest.fixture
def manager(data: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("E2LM_DATA", str(data))
    return suite_manager(built)


@pytest.fixture(scope="module")
def stock(data: Path, built: Path, tiny_llama: Path) -> dict[str, Any]:
    """What lm-eval's own ``hf`` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("E2LM_DATA", str(data))
        return evaluated(HFLM, tiny_llama, suite_manager(built))


def evaluated(model: Any, folder: Path, manager: Any) -> dict[str, Any]:
    lm = model(str(folder), device="cpu", dtype="float32", batch_size=8, max_length=256)
    found: dict[str, Any] = simple_evaluate(
        model=lm, tasks=list(SUITES), task_manager=manager, limit=LIMIT, bootstrap_iters=0
    )
    return found


def test_no_task_of_a_registered_suite_is_left_out(stock: dict[str, Any]) -> None:
    registered = plugin_manager().all("e2lm_register_tasks", TaskSuite, "task suite")
    own = [suite.folder for suite in registered if suite.name.startswith("e2lm-")]
    assert len(own) == 4
    names = set()
    for file in (one for folder in own for one in folder.glob("*.yaml")):
        loader = type("Loader", (yaml.SafeLoader,), {})
        loader.add_multi_constructor("!function", lambda *_: None)
        described = yaml.load(file.read_text(encoding="utf-8"), loader)
        names |= {described["task"]} if isinstance(described.get("task"), str) else set()
    assert len(names) > 80
    assert names - OTHER_SUBJECTS <= set(stock["samples"])
    assert {"e2lm_ladder_agreement", "e2lm_domain_facts", "e2lm_early_heldout"} <= set(stock["samples"])


@pytest.mark.slow
def test_ours_scores_every_suite_as_stock_hf_does(stock: dict[str, Any], manager: Any, tiny_llama: Path) -> None:
    assert_alike(stock, evaluated(E2lmHf, tiny_llama, manager), FLOAT32_DIFFERENCE)


@pytest.mark.parametrize("change", ["loglik", "greedy", "metric", "task"])
def test_a_difference_is_noticed(change: str, stock: dict[str, Any]) -> None:
    other = deepcopy({key: stock[key] for key in ("samples", "results")})
    assert_alike(stock, other, FLOAT32_DIFFERENCE)
    sample = other["samples"]["e2lm_sciq"][1]
    ((loglik, greedy),) = sample["resps"][2]
    if change == "loglik":
        sample["resps"][2] = [(loglik + 2 * FLOAT32_DIFFERENCE, greedy)]
    elif change == "greedy":
        sample["resps"][2] = [(loglik, not greedy)]
    elif change == "metric":
        other["results"]["e2lm_early_heldout"]["bits_per_byte,none"] += 2 * FLOAT32_DIFFERENCE
    else:
        del other["samples"]["e2lm_zorro"]
    with pytest.raises(AssertionError):
        assert_alike(stock, other, FLOAT32_DIFFERENCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "groups"),
    [
        ("early", "e2lm_early"),
        ("science_facts", "e2lm_science_facts"),
        ("minimal_pairs", "e2lm_blimp,e2lm_blimp_babylm,e2lm_zorro"),
        ("BUILT", "e2lm_ladder,e2lm_domain"),
    ],
)
def test_lm_eval_validates_it(folder: str, groups: str, data: Path, built: Path, repository: Path) -> None:
    place = built if folder == "BUILT" else repository / "e2lm_tasks" / folder
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", "validate", "--tasks", groups, "--include_path", str(place)],
        env={**os.environ, "E2LM_AUTOLOAD": "0", "E2LM_DATA": str(data)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
