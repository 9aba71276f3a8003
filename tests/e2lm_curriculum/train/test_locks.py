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
from e2lm_curriculum.train.ladder import require_trainable, train
from tests.e2lm_curriculum.conftest import command_words

LAUNCH = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "e2lm"]


def small(trained: TrainingConfig, out: Path) -> TrainingConfig:
    changes = {"sizes": ("1x16",), "tokens": 10 * 4 * 32, "checkpoints": 2, "curriculum": "climb-ngram-linear"}
    return trained.changed(**changes, out=str(out))


@pytest.mark.slow
def test_two_processes_follow_the_plan_of_one(trained: TrainingConfig, tmp_path: Path) -> None:
    alone, together = (small(trained, tmp_path / name) for name in ("alone", "together"))
    train(alone, quiet=True)
    command = [sys.executable, *LAUNCH, *command_words(together)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    folders = [one.run.out_folder / "1x16" for one in (alone, together)]
    records = [RunRecord.from_json_file(folder / "run.json") for folder in folders]
    assert records[0].hashes == records[1].hashes
    assert records[1].finished
    # The mean of two halves is the mean of the whole but for the order of additions.
    weights = [load_file(folder / "checkpoint-10" / "model.safetensors") for folder in folders]
    for name, tensor in weights[0].items():
        assert np.abs(tensor.numpy() - weights[1][name].numpy()).max() < 1e-4, name


def test_a_batch_that_cannot_be_shared_and_jobs_beside_a_launcher_are_refused(
    trained: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(trained, tmp_path / "out")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="4 sequences cannot be shared by 3 processes"):
        require_trainable(config)
    with pytest.raises(UserError, match="field 'jobs'"):
        require_trainable(config.changed(jobs=2))
