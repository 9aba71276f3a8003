"""Trains one model of the ladder with transformers' Trainer; the only module that knows Trainer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from e2lm_curriculum.checkpoint_writer import checkpoint_folder, write_checkpoint, write_series
from e2lm_curriculum.folder_lock import folder_lock
from e2lm_curriculum.llama import TrainedLlama, new_llama
from e2lm_curriculum.planned_dataset import PlannedDataset, causal_batch
from e2lm_curriculum.prepared_corpus import PreparedCorpus
from e2lm_curriculum.resume_state import (
    KEPT_STATES,
    discard_states,
    mark_complete,
    newest_state,
    resume_folder,
    step_of,
    sweep_partials,
)
from e2lm_curriculum.size_run import SizeRun
from e2lm_curriculum.training_config import TrainingConfig

#: Usual in pretraining since GPT-3 (Brown et al. 2020, appendix B).
ADAM_BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
MAX_GRADIENT_NORM = 1.0

#: The last fifth of training (Haegele et al. 2024, arXiv 2405.18392, section 4).
WSD_DECAY_FRACTION = 0.2

SCHEDULE_OF_TRAINER = {"constant": "constant_with_warmup", "cosine": "cosine", "wsd": "warmup_stable_decay"}

#: Saving may take at most one part in this many of the time, whatever the interval asked for.
SAVE_SHARE = 20

Report = Callable[[int], None]


def train_size(run: SizeRun, prepared: PreparedCorpus, report: Report) -> None:
    """Train to the end, from where an earlier process stopped; ``report(steps)`` is called with every step's number.

    On one device and number of threads the weights at every checkpoint are bit for bit those of a run that was never
    interrupted.
    """
    with folder_lock(run.folder):
        if run.is_finished:
            report(run.config.budget.steps)
            return
        sweep_partials(run.folder)
        started = time.monotonic()
        wall_before_s = run.wall_s
        if not checkpoint_folder(run.folder, run.config.budget.steps).is_dir():
            _train(run, prepared, report, wall_before_s)
        write_series(run, prepared, run.grid)
        run.write_record(prepared, wall_before_s + time.monotonic() - started, finished=True)
        discard_states(run.folder)
        report(run.config.budget.steps)


def _train(run: SizeRun, prepared: PreparedCorpus, report: Report, wall_before_s: float) -> None:
    config = run.config
    model = new_llama(run.size, prepared.vocabulary, config.sequence_length, config.seed_of_weights)
    state = newest_state(run.folder)
    write_checkpoint(model, config.out_folder, run.folder, 0)
    callback = SeriesCallback(run, prepared, model, report, wall_before_s)
    callback.save_record()
    trainer = Trainer(
        model=model,
        args=training_arguments(config, resume_folder(run.folder)),
        train_dataset=PlannedDataset.read(config.out_folder, config.sequence_length),
        data_collator=causal_batch,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    report(step_of(state))
    with silence(), warnings.catch_warnings():
        # Trainer reads its own pickled states, written here; nothing a user could act on.
        warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate)(\.|$)")
        trainer.train(resume_from_checkpoint=None if state is None else str(state))


@contextmanager
def silence() -> Iterator[None]:
    """No bars of transformers' own, one for every state it saves; and no warning that a tied head is stored once."""
    drawn, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if drawn:
            logging.enable_progress_bar()


def training_arguments(config: TrainingConfig, state_folder: Path) -> TrainingArguments:
    """What Trainer is told: the recipe, and silence."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        # Attention and embedding gradients add in any order otherwise, and no two runs are alike.
        torch.use_deterministic_algorithms(True, warn_only=True)
    decay = {"num_decay_steps": max(1, round(WSD_DECAY_FRACTION * config.budget.steps))}
    arguments = TrainingArguments(
        output_dir=str(state_folder),
        max_steps=config.budget.steps,
        per_device_train_batch_size=config.batch_size,
        train_sampling_strategy="sequential",
        learning_rate=config.learning_rate,
        lr_scheduler_type=SCHEDULE_OF_TRAINER[config.schedule],
        lr_scheduler_kwargs=decay if config.schedule == "wsd" else {},
        warmup_steps=config.warmup_steps,
        optim="adamw_torch_fused",
        adam_beta1=ADAM_BETAS[0],
        adam_beta2=ADAM_BETAS[1],
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRADIENT_NORM,
        bf16=config.precision == "bfloat16" or (config.precision == "auto" and on_gpu),
        use_cpu=not on_gpu,
        seed=config.seed,
        save_strategy="no",
        save_total_limit=KEPT_STATES,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        disable_tqdm=True,
        report_to="none",
    )
    if on_gpu:
        # With several in sight Trainer would multiply the batch, and the plan would no longer be what is trained.
        arguments._n_gpu = 1
    return arguments


class SeriesCallback(TrainerCallback):  # type: ignore[misc]
    """Keeps the checkpoints of the grid, asks for a state to resume from now and then, reports every step."""

    def __init__(
        self, run: SizeRun, prepared: PreparedCorpus, model: TrainedLlama, report: Report, wall_before_s: float
    ) -> None:
        self._run = run
        self._prepared = prepared
        self._model = model
        self._report = report
        self._grid = frozenset(run.grid)
        self._started = time.monotonic() - wall_before_s
        self._saved = time.monotonic()
        self._save_asked = 0.0
        self._save_took_s = 0.0

    def save_record(self) -> None:
        """Write ``run.json`` and ``series.json`` as they stand."""
        write_series(self._run, self._prepared, self._run.grid)
        self._run.write_record(self._prepared, time.monotonic() - self._started, finished=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by Trainer after every optimiser step."""
        step = state.global_step
        if step in self._grid:
            write_checkpoint(self._model, self._run.config.out_folder, self._run.folder, step)
            self.save_record()
        interval_s = max(self._run.config.resume_interval_s, SAVE_SHARE * self._save_took_s)
        if step < state.max_steps and time.monotonic() - self._saved >= interval_s:
            control.should_save = True
            self._save_asked = time.monotonic()
        self._report(step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by Trainer after it wrote its state."""
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self._saved = time.monotonic()
        self._save_took_s = self._saved - self._save_asked
        self._run.write_record(self._prepared, self._saved - self._started, finished=False)
