"""The training loss of a run as a table: what one draws, hands on, or forecasts the end from. Imports no torch."""

from __future__ import annotations

import csv
from pathlib import Path

from e2lm.atomic_file import whole_file

LOSS_FILE = "training_loss.csv"
COLUMNS = ("step", "tokens", "loss", "learning_rate")

#: At most about so many rows, whatever the steps.
ROWS = 1000


class TrainingLossFile:
    """``training_loss.csv`` in the folder ``run``: the mean loss of the steps since the row before, in nats.

    It is the loss on what is shown, summed over objectives: under a curriculum it falls and rises with the text too.
    """

    def __init__(self, run: Path, steps: int, tokens_per_step: int) -> None:
        self._file = run / LOSS_FILE
        self._tokens_per_step = tokens_per_step
        #: Steps between rows.
        self.every_steps = max(1, steps // ROWS)

    def begin(self, step: int) -> None:
        """Drop what an earlier process wrote of steps after ``step``: they are made again. Without a file begin one."""
        rows: list[list[str]] = []
        if self._file.is_file():
            with open(self._file, encoding="utf-8", newline="") as handle:
                rows = [row for row in csv.reader(handle) if len(row) == len(COLUMNS) and row[0].isdigit()]
        with whole_file(self._file) as partial, open(partial, "w", encoding="utf-8", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerows([COLUMNS, *(row for row in rows if int(row[0]) <= step)])

    def add(self, step: int, loss: float, learning_rate: float) -> None:
        """A row, on disk at once."""
        with open(self._file, "a", encoding="utf-8", newline="") as handle:
            row = (step, step * self._tokens_per_step, loss, learning_rate)
            csv.writer(handle, lineterminator="\n").writerow(row)
