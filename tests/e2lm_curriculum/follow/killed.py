from __future__ import annotations

from typing import Any

from transformers import TrainerCallback


class Killed(TrainerCallback):  # type: ignore[misc]
    """Ends the training after ``step`` steps, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            raise KeyboardInterrupt
