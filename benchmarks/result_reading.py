"""Speed of reading a folder of results against ``json.loads`` of the same bytes, and that all files tell one score.

Run ``python benchmarks/result_reading.py [--repeats N]``. The folder has the layout of ``tatami-galaxy/e2lm-cruise``
(an entry of 2025): 1,429 files of lm-eval 0.4.9, one for each of 143 checkpoints of two Pythia models in five tasks,
9 kB each, most of it a description of the machine; its numbers are made up. CPU seconds of this process, both sides in
turn, the least of all repeats: what else the machine does only adds to them. ``json.loads`` keeps what it gives, as a
reader has to.

The same numbers as files, as the notebook's JSON and as CSV must give the same official score, or it ends with 1.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

from e2lm import Scores
from e2lm.results import read_scores
from e2lm_signal.curves import curve_groups
from e2lm_signal.official_score import official_sq_D

SIZES, STEPS = ("410m", "1b"), range(1000, 144000, 1000)
TASKS = ("mmlu_easy", "mmlu_hs_cloze", "mmlu_adv_cloze", "mmlu_letter", "mmlu_full_text")
FILES = 1429
MACHINE = "\n".join(f"Vulnerability {number}:   Mitigation; barriers and pointer sanitization" for number in range(90))


def results(size: str, task: str, step: int, value: float) -> dict[str, Any]:
    """What lm-eval 0.4.9 writes of one task at one checkpoint."""
    place, revision = f"EleutherAI/pythia-{size}", f"step{step}"
    config = {
        "task": task, "dataset_path": "somebody/mmlu", "dataset_name": "all", "dataset_kwargs": {},
        "test_split": "test", "doc_to_text": "{{question.strip()}}\nAnswer:", "doc_to_target": "{{answer}}",
        "unsafe_code": False, "doc_to_choice": "{{choices}}", "description": "", "target_delimiter": " ",
        "fewshot_delimiter": "\n\n", "num_fewshot": 0, "output_type": "multiple_choice", "repeats": 1,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "should_decontaminate": False,
        "metadata": {"version": 1.0, "pretrained": place, "revision": revision, "dtype": "float"},
    }  # fmt: skip
    return {
        "results": {task: {"alias": task, "acc,none": value, "acc_stderr,none": 0.0231}},
        "group_subtasks": {task: []}, "configs": {task: config}, "versions": {task: 1.0}, "n-shot": {task: 0},
        "higher_is_better": {task: {"acc": True}}, "n-samples": {task: {"original": 380, "effective": 380}},
        "config": {
            "model": "hf", "model_args": f"pretrained={place},revision={revision},dtype=float",
            "model_num_parameters": 1011781632, "model_dtype": "torch.float32", "model_revision": revision,
            "model_sha": f"{step:040x}", "batch_size": "8", "batch_sizes": [], "device": "cuda:0", "use_cache": None,
            "limit": None, "bootstrap_iters": 100000, "gen_kwargs": None, "random_seed": 0, "numpy_seed": 1234,
            "torch_seed": 1234, "fewshot_seed": 1234,
        },
        "git_hash": "65e62291", "date": 1753691266.5 + step, "pretty_env_info": MACHINE,
        "transformers_version": "4.53.1", "lm_eval_version": "0.4.9", "upper_git_hash": None,
        "tokenizer_pad_token": ["<|endoftext|>", "0"], "tokenizer_eos_token": ["<|endoftext|>", "0"],
        "tokenizer_bos_token": ["<|endoftext|>", "0"], "eot_token_id": 0, "max_length": 2048, "task_hashes": {},
        "model_source": "hf", "model_name": place, "model_name_sanitized": place.replace("/", "__"),
        "system_instruction": None, "system_instruction_sha": None, "fewshot_as_multiturn": False,
        "chat_template": None, "chat_template_sha": None, "start_time": 7.5, "end_time": 80.5,
        "total_evaluation_time_seconds": "72.9",
    }  # fmt: skip


def write_files(root: Path) -> None:
    """The folder, with 1,429 files."""
    rng = random.Random(2025)
    names = [(size, task, step) for size in SIZES for task in TASKS for step in STEPS][:FILES]
    for number, (size, task, step) in enumerate(names):
        value = 0.25 + 0.02 * (1 + TASKS.index(task)) * math.log1p(step / 1000) + rng.gauss(0, 0.01)
        folder = root / f"results_pythia_{size}_{task}" / f"EleutherAI__pythia-{size}"
        folder.mkdir(parents=True, exist_ok=True)
        day, second = divmod(79 * number, 86400)
        clock = f"2025-07-{28 + day:02d}T{second // 3600:02d}-{second // 60 % 60:02d}-{second % 60:02d}.605624"
        (folder / f"results_{clock}.json").write_text(json.dumps(results(size, task, step, value), indent=2))


def as_notebook(scores: Scores) -> dict[str, Any]:
    """The scores as the JSON of the competition's notebook; its metric has no name."""
    told: dict[str, Any] = {}
    for (series, task), rows in scores.frame.groupby(["series", "task"]):
        columns = told.setdefault(str(series), {"iteration": rows["step"].tolist()})
        columns[str(task)] = rows["value"].tolist() + [None] * (len(columns["iteration"]) - len(rows))
    return {"data": told}


def official(scores: Scores) -> dict[tuple[str, str], float]:
    """The official score of every curve, by series and task."""
    curves = [curve for group in curve_groups(scores, ()) for curve in group]
    return {(one.series, one.task): float(official_sq_D(one.values_K[None])[0]) for one in curves}


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process that ``work`` takes."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(prefix="e2lm-results-") as folder:
        root = Path(folder) / "entry"
        write_files(root)
        contents = [path.read_bytes() for path in sorted(root.rglob("*.json"))]
        by_json, by_reader = [], []
        for _ in range(repeats):
            by_json.append(cpu_s(lambda: [json.loads(one) for one in contents]))
            by_reader.append(cpu_s(lambda: read_scores(root)))
        read = read_scores(root).scores
        print(f"{len(contents)} files, {sum(map(len, contents)) / 1e6:.1f} MB, {len(read)} values")
        ratio = min(by_reader) / min(by_json)
        low, middle, high = quantiles((ours / theirs for ours, theirs in zip(by_reader, by_json, strict=True)), n=4)
        print(
            f"json.loads {min(by_json):.4f} CPU s, read_scores {min(by_reader):.4f}: {ratio:.2f}x; one after the other "
            f"{middle:.2f}x (middle half {low:.2f} to {high:.2f})"
        )
        (Path(folder) / "notebook.json").write_text(json.dumps(as_notebook(read)))
        read.frame.to_csv(Path(folder) / "table.csv", index=False)
        scores = [official(one) for one in (read, *(read_scores(Path(folder) / name).scores for name in OTHERS))]
    equal = scores[0] == scores[1] == scores[2]
    print(
        f"official score of {len(scores[0])} curves from files, notebook JSON and CSV: {'equal' if equal else 'DIFFER'}"
    )
    return 0 if equal else 1


OTHERS = ("notebook.json", "table.csv")

if __name__ == "__main__":
    sys.exit(main())
