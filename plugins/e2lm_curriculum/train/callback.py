"""What happens between the steps of a run: checkpoints, states to go on from, reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from e2lm.run_record import LeftOut
from e2lm_curriculum.model.family import TrainedModel
from e2lm_curriculum.train.checkpoints import write_checkpoint, write_series
from e2lm_curriculum.train.locks import is_main, process_count, wait_for_all
from e2lm_curriculum.train.loss_log import TrainingLossFile
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.online import RunSegments
from e2lm_curriculum.train.prepared import PreparedCorpus
from e2lm_curriculum.train.resume import mark_complete

#: Saving may take at most one part in this many of the time, whatever the interval asked for.
SAVE_SHARE = 20

#: States that several processes save in a run.
STATES_OF_A_GROUP = 20

Report = Callable[[int], None]


class SeriesCallback(TrainerCallback):  # type: ignore[misc]
    """Keeps the checkpoints of the grid, asks for a state to resume from now and then, reports every step."""

    def __init__(
        self,
        run: ModelRun,
        prepared: PreparedCorpus,
        model: TrainedModel,
        segments: RunSegments,
        report: Report,
        wall_before_s: float,
    ) -> None:
        self._run = run
        self._prepared = prepared
        self._model = model
        self._segments = segments
        self._stop_step = run.budget.steps
        self._report = report
        self._grid = frozenset(run.grid)
        self._losses = TrainingLossFile(run.folder, run.budget.steps, run.budget.tokens // run.budget.steps)
        self._started = time.monotonic() - wall_before_s
        self._saved = time.monotonic()
        self._save_asked = 0.0
        self._save_took_s = 0.0

    def stop_at(self, step: int) -> None:
        """Save a state after ``step`` and end this call of ``train``: what comes next is not planned yet."""
        self._stop_step = step

    def save_record(self, left_out: tuple[LeftOut, ...] = ()) -> None:
        """Write ``run.json`` and ``series.json`` as they stand."""
        write_series(self._run, self._prepared)
        self._run.write_record(self._prepared, time.monotonic() - self._started, finished=False, left_out=left_out)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by Trainer before its first step, or the first after the state that it goes on from."""
        if is_main():
            self._losses.begin(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Called by Trainer with the mean loss of the steps since it was last asked for it."""
        if is_main() and logs is not None and "loss" in logs:
            self._losses.add(state.global_step, logs["loss"], logs["learning_rate"])

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by Trainer after every optimiser step."""
        step = state.global_step
        if step in self._grid and is_main():
            write_checkpoint(self._model, self._run.out, self._run.folder, step)
            self.save_record()
        is_end = step == self._stop_step and step < state.max_steps
        # States are saved with a row, so that a run that goes on writes the rows of a straight one.
        has_row = step % self._losses.every_steps == 0
        control.should_log = has_row or step == self._stop_step
        control.should_training_stop = control.should_training_stop or is_end
        if is_end or (has_row and step < state.max_steps and self._is_due(step, state.max_steps)):
            control.should_save = True
            self._save_asked = time.monotonic()
        self._report(step)

    def _is_due(self, step: int, steps: int) -> bool:
        if process_count() > 1:
            # Clocks differ; every process must decide alike.
            rows = max(1, steps // STATES_OF_A_GROUP // self._losses.every_steps)
            return step % (rows * self._losses.every_steps) == 0
        interval_s = max(self._run.config.run.resume_interval_s, SAVE_SHARE * self._save_took_s)
        return time.monotonic() - self._saved >= interval_s

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by Trainer after it wrote its state."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        wait_for_all()
        if is_main():
            self._segments.write_state(folder, state.global_step)
            mark_complete(folder)
        self._saved = time.monotonic()
        self._save_took_s = self._saved - self._save_asked
        if is_main():
            self._run.write_record(self._prepared, self._saved - self._started, finished=False)
