from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from e2lm import UserError
from e2lm.run_record import RunRecord
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.train.run import check, train

LAUNCH = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "e2lm", "train"]


def small(trained: TrainingConfig, out: Path) -> TrainingConfig:
    changes = {"sizes": ("1x16",), "tokens": 10 * 4 * 32, "checkpoints": 2, "curriculum": "climb-ngram-linear"}
    return trained.model_copy(update={**changes, "out": str(out)})


@pytest.mark.slow
def test_two_processes_follow_the_plan_of_one(trained: TrainingConfig, tmp_path: Path) -> None:
    alone, together = (small(trained, tmp_path / name) for name in ("alone", "together"))
    train(alone, quiet=True)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in together.effective().items() if name != "corpus"]
    command = [sys.executable, *LAUNCH, "--corpus", *together.corpus, "--out", together.out, "--sizes=1x16", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    records = [RunRecord.from_json_file(Path(one.out) / "1x16" / "run.json") for one in (alone, together)]
    assert records[0].hashes == records[1].hashes
    assert records[1].finished
    # The mean of two halves is the mean of the whole but for the order of additions.
    weights = [load_file(Path(one.out) / "1x16" / "checkpoint-10" / "model.safetensors") for one in (alone, together)]
    for name, tensor in weights[0].items():
        assert np.abs(tensor.numpy() - weights[1][name].numpy()).max() < 1e-4, name


def test_a_batch_that_cannot_be_shared_and_jobs_beside_a_launcher_are_refused(
    trained: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(trained, tmp_path / "out")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="4 sequences cannot be shared by 3 processes"):
        check(config)
    with pytest.raises(UserError, match="field 'jobs'"):
        check(config.model_copy(update={"jobs": 2}))
