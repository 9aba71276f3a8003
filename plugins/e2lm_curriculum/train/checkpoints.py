"""Checkpoint folders that lm-eval, transformers and vLLM load as they are, and the series that lists them."""

from __future__ import annotations

import shutil
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

from e2lm.atomic_file import whole_folder
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.series import Series
from e2lm.weights import SINGLE_FILE
from e2lm_curriculum.model.objective import HEADS
from e2lm_curriculum.train.prepared import PreparedCorpus, tokenizer_files

if TYPE_CHECKING:
    from e2lm_curriculum.model.family import TrainedModel
    from e2lm_curriculum.train.model_run import ModelRun


def checkpoint_folder(run: Path, step: int) -> Path:
    """``checkpoint-<step>`` of the run in folder ``run``."""
    return run / f"checkpoint-{step}"


def write_checkpoint(model: TrainedModel, out: Path, run: Path, step: int) -> None:
    """Write the model and its tokenizer whole or not at all; a :class:`UserError` if the weights are not finite.

    A folder that is there already is left alone: a run that goes on writes the same bytes again.
    """
    place = checkpoint_folder(run, step)
    if place.is_dir():
        return
    published = {name: one for name, one in model.named_parameters() if not name.startswith(HEADS)}
    for name, tensor in published.items():
        if not tensor.isfinite().all():
            raise UserError(f"{run}: training diverged: {name} is not finite at step {step}; lower learning_rate")
    from safetensors.torch import save_file

    # Parameters come out once each, so the tied head is not stored twice.
    tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in published.items()}
    config = copy(model.config)
    config.architectures = [model.saved_architecture]
    if hasattr(config, "use_cache"):
        config.use_cache = True  # Trainer turns it off in the model it trains
    with whole_folder(place) as folder:
        save_file(tensors, folder / SINGLE_FILE, metadata={"format": "pt"})
        config.save_pretrained(folder)
        if hasattr(model, "generation_config"):
            model.generation_config.save_pretrained(folder)
        for file in tokenizer_files(out):
            shutil.copyfile(file, folder / file.name)


def write_series(run: ModelRun, prepared: PreparedCorpus) -> Series:
    """``series.json`` with those checkpoints of the run's grid that are there."""
    tokens_per_step = run.budget.batch_size * run.budget.sequence_length
    checkpoints = tuple(
        Checkpoint(step=step, tokens=step * tokens_per_step, path=f"checkpoint-{step}")
        for step in run.grid
        if checkpoint_folder(run.folder, step).is_dir()
    )
    series = Series(
        name=run.name,
        params=run.params(prepared.vocabulary),
        params_non_embedding=run.params_non_embedding,
        tokens_per_step=tokens_per_step,
        data=f"sha256:{prepared.data_hash}",
        checkpoints=checkpoints,
    )
    series.write(run.folder)
    return series
