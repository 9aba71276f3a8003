"""What Trainer is told: optimiser, schedule, and silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.utils import logging

from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.train.locks import process_count
from e2lm_curriculum.train.resume import KEPT_STATES

#: Usual in pretraining since GPT-3 (Brown et al. 2020, appendix B).
ADAM_BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
MAX_GRADIENT_NORM = 1.0

#: The last fifth of training (Haegele et al. 2024, arXiv 2405.18392, section 4).
WSD_DECAY_FRACTION = 0.2

#: ``linear`` is what CLIMB trained with.
SCHEDULE_OF_TRAINER = {
    "constant": "constant_with_warmup",
    "cosine": "cosine",
    "linear": "linear",
    "wsd": "warmup_stable_decay",
}


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


def training_arguments(config: TrainingConfig, state_folder: Path, parts_rest: bool = False) -> TrainingArguments:
    """What Trainer is told: the recipe, and silence; with ``parts_rest`` some weights rest in some steps."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        # Attention and embedding gradients add in any order otherwise, and no two runs are alike.
        torch.use_deterministic_algorithms(True, warn_only=True)
    decay = {"num_decay_steps": max(1, round(WSD_DECAY_FRACTION * config.budget.steps))}
    arguments = TrainingArguments(
        output_dir=str(state_folder),
        max_steps=config.budget.steps,
        per_device_train_batch_size=config.batch_size // process_count(),
        ddp_find_unused_parameters=parts_rest,
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
        dataloader_num_workers=config.loader_workers,
        disable_tqdm=True,
        report_to="none",
    )
    if on_gpu:
        # With several in sight Trainer would multiply the batch, and the plan would no longer be what is trained.
        arguments._n_gpu = 1
    return arguments
