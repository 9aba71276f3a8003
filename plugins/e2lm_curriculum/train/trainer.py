"""Trains one model of the ladder with transformers' Trainer, from wherever an earlier process stopped."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_model
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from e2lm.curriculum import Plan
from e2lm.weights import SINGLE_FILE
from e2lm_curriculum.corpus.special_tokens import SpecialTokens
from e2lm_curriculum.model.family import MAKERS, OWN_OBJECTIVE, TrainedModel
from e2lm_curriculum.train.batch import PlannedBatch, PlannedDataset, causal_batch
from e2lm_curriculum.train.callback import Report, SeriesCallback
from e2lm_curriculum.train.checkpoints import checkpoint_folder, write_checkpoint, write_series
from e2lm_curriculum.train.locks import is_main, shared_folder, wait_for_all
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.online import RunSegments
from e2lm_curriculum.train.prepared import PreparedCorpus
from e2lm_curriculum.train.recipe import add_head_groups, silence, training_arguments
from e2lm_curriculum.train.resume import (
    discard_states,
    newest_state,
    resume_folder,
    state_step,
    sweep_partials,
    sweep_states,
)


def train_model(run: ModelRun, prepared: PreparedCorpus, report: Report) -> None:
    """Train to the end, from where an earlier process stopped; ``report(steps)`` is called with every step's number.

    Under ``accelerate launch`` every process calls this; each takes its part of every batch, and one of them writes.
    On one device and number of threads the weights at every checkpoint are bit for bit those of a run that was never
    interrupted.
    """
    with shared_folder(run.folder):
        if run.is_finished:
            report(run.budget.steps)
            return
        if is_main():
            sweep_partials(run.folder)
        started = time.monotonic()
        wall_before_s = run.wall_s
        if not checkpoint_folder(run.folder, run.budget.steps).is_dir():
            _train(run, prepared, report, wall_before_s)
        wait_for_all()
        if is_main():
            write_series(run, prepared)
            run.write_record(prepared, wall_before_s + time.monotonic() - started, finished=True)
            discard_states(run.folder)
        wait_for_all()
        report(run.budget.steps)


def _train(run: ModelRun, prepared: PreparedCorpus, report: Report, wall_before_s: float) -> None:
    segments = RunSegments.of(run)
    model = fresh_model(run, prepared, segments.template)
    callback = SeriesCallback(run, prepared, model, segments, report, wall_before_s)
    if is_main():
        write_checkpoint(model, run.out, run.folder, 0)
        callback.save_record()
        if left_out := sweep_states(run.folder):  # before the others look
            callback.save_record(left_out)
    wait_for_all()
    report(state_step(newest_state(run.folder)))
    for start, end in segments.spans:
        state = newest_state(run.folder)
        if state_step(state) >= end and end < run.budget.steps:
            continue
        segments.check_state(state)
        if not segments.is_planned(start) and is_main():
            load_state(model, state)
            segments.plan(start, prepared, model)
        wait_for_all()
        callback.stop_at(end)
        trainer = _trainer(run, prepared, model, segments, end, callback)
        with silence(), warnings.catch_warnings():
            # Trainer reads its own pickled states, written here; nothing a user could act on.
            warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate)(\.|$)")
            trainer.train(resume_from_checkpoint=None if state is None else str(state))


def _trainer(
    run: ModelRun,
    prepared: PreparedCorpus,
    model: TrainedModel,
    segments: RunSegments,
    end: int,
    callback: SeriesCallback,
) -> Trainer:
    plan, budget = segments.template, run.budget
    data = PlannedDataset.read(run.out, budget.sequence_length, segments.indices_until(end), budget.draws)
    states = resume_folder(run.folder)
    trainer = Trainer(
        model=model,
        args=training_arguments(run.config.run, budget, states, parts_rest=bool(plan.objectives)),
        train_dataset=data,
        data_collator=batch_maker(run, prepared, plan),
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    add_head_groups(trainer, model, plan.objectives, budget.steps)
    return trainer


def fresh_model(run: ModelRun, prepared: PreparedCorpus, plan: Plan) -> TrainedModel:
    """The model before its first step, with the heads that ``plan`` needs."""
    objectives = tuple(dict.fromkeys(span.objective for span in plan.objectives))
    make, length = MAKERS[run.config.model.family], run.budget.sequence_length
    return make(run.size, prepared.vocabulary, length, run.config.run.seed_of_weights, objectives)


def batch_maker(run: ModelRun, prepared: PreparedCorpus, plan: Plan) -> Any:
    """What turns draws into batches: without objectives, lengths and limits the plain causal way, which is fastest."""
    own = OWN_OBJECTIVE[run.config.model.family]
    is_plain = own == "clm" and not plan.objectives and plan.sequence_lengths_S is None
    if is_plain and plan.vocabulary_shares_S is None:
        return causal_batch
    settings = replace(plan, indices_SB=np.empty((plan.steps, 0), dtype=np.int64))
    return PlannedBatch(
        settings, own, SpecialTokens.own(prepared.vocabulary), run.budget.batch_size, run.config.run.seed_of_order
    )


def load_state(model: TrainedModel, state: Path | None) -> None:
    """Give ``model`` the weights of ``state``; without one it is as new."""
    if state is not None:
        load_model(model, state / SINGLE_FILE)
