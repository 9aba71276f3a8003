"""The suites on data of the Hub, run on small files of the same schema that are written here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from e2lm import UserError
from e2lm_adapters.scoring.hf import E2lmHf
from e2lm_tasks.building.hub_files import FOLDER, MMLU, SCIKNOWEVAL, files, tasks_by_group
from tests.e2lm_tasks.suite_data import ITEMS, mmlu, write_hub_data

#: Largest difference of float32 log-likelihoods summed in another order.
FLOAT32_DIFFERENCE = 1e-4

Row = dict[str, Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_hub_data(root)
    return root


@pytest.fixture
def manager(data: Path, monkeypatch: pytest.MonkeyPatch) -> TaskManager:
    monkeypatch.setenv("E2LM_DATA", str(data))
    return TaskManager(include_path=str(FOLDER), include_defaults=False)


def test_the_shipped_files_are_what_the_specification_gives() -> None:
    shipped = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir() if file.name != "README.md"}
    assert shipped == files()


def test_mmlu_has_its_57_subjects_and_every_task_is_on_the_card() -> None:
    assert sum(map(len, MMLU.values())) == len({subject for category in MMLU.values() for subject in category}) == 57
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{group}`" in card for group in tasks_by_group())
    assert len(SCIKNOWEVAL) == 4


def logliks(results: Row) -> dict[str, list[tuple[float, bool]]]:
    return {
        task: [(float(answer), greedy) for sample in samples for ((answer, greedy),) in sample["resps"]]
        for task, samples in results["samples"].items()
    }


@pytest.mark.slow
def test_all_suites_run_offline_and_score_alike_through_stock_hf_and_ours(
    manager: TaskManager, tiny_llama: Path
) -> None:
    groups = [group for group in tasks_by_group() if group != "e2lm_mmlu_cloze"]
    names = [*groups, "e2lm_mmlu_cloze_anatomy", "e2lm_mmlu_cloze_virology"]
    found = []
    for model in (HFLM, E2lmHf):
        lm = model(str(tiny_llama), device="cpu", dtype="float32", batch_size=8, max_length=256)
        found.append(simple_evaluate(model=lm, tasks=names, task_manager=manager, bootstrap_iters=0))
    stock, ours = (logliks(results) for results in found)
    assert set(stock) == set(ours)
    assert len(stock) == 12 + 1 + 4 + 2 + 5 + 2
    for task, answers in stock.items():
        assert len(answers) == ITEMS * (2 if task == "e2lm_piqa" else 4)
        for (theirs, their_greedy), (own, own_greedy) in zip(answers, ours[task], strict=True):
            assert abs(theirs - own) <= FLOAT32_DIFFERENCE
            assert their_greedy == own_greedy
    for results in found:
        assert {"acc,none", "gold_minus_mean_wrong,none"} <= set(results["groups"]["e2lm_noor"])
        for task in stock:
            assert {
                "acc,none",
                "acc_norm,none",
                "gold_minus_mean_wrong,none",
                "gold_minus_mean_wrong_stderr,none",
            } <= set(results["results"][task]), task


def test_prompts_are_those_of_the_competition(manager: TaskManager) -> None:
    task = manager.load("e2lm_mmlu_cloze_anatomy")["tasks"]["e2lm_mmlu_cloze_anatomy"]
    task.set_fewshot_seed(1234)
    task.build_all_requests(limit=1, rank=0, world_size=1)
    context, continuation = task.instances[0].args
    examples = "".join(f"Question: What is {i}?\nAnswer: {mmlu(i)['choices'][i % 4]}\n\n" for i in range(5))
    assert (
        context
        == f"The following are questions (with answers) about anatomy.\n\n{examples}Question: What is 0?\nAnswer:"
    )
    assert continuation == " a0"


def test_hellaswag_is_cleaned_of_its_marks(manager: TaskManager) -> None:
    task = manager.load("e2lm_hellaswag")["tasks"]["e2lm_hellaswag"]
    (first, *_) = task.validation_docs() if not task.has_test_docs() else task.test_docs()
    assert first["query"] == "Cooking: He cuts. Then He"
    assert first["choices"][0] == "stirs 0"


def test_a_missing_local_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2LM_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"allenai--sciq: holds no test\.jsonl or test\.parquet; E2LM_DATA"):
        TaskManager(include_path=str(FOLDER), include_defaults=False).load("e2lm_sciq")


def test_without_a_network_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("E2LM_DATA", raising=False)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"put DIR/baber--piqa/validation\.jsonl there and set E2LM_DATA=DIR"):
        TaskManager(include_path=str(FOLDER), include_defaults=False).load("e2lm_piqa")


@pytest.mark.slow
def test_lm_eval_validates_every_group() -> None:
    command = [sys.executable, "-m", "lm_eval", "validate", "--tasks", ",".join(tasks_by_group())]
    done = subprocess.run(
        [*command, "--include_path", str(FOLDER)],
        env={**os.environ, "E2LM_AUTOLOAD": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
