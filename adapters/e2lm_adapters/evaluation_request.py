"""What is to be evaluated, as a whole and checkpoint by checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.series import Series
from e2lm_adapters.evaluation_store import adapter_label
from e2lm_adapters.merged_series import MergedSeries
from e2lm_adapters.weight_swap import CheckedWeights

#: Raised when the same model and task could come out with other numbers: units of earlier versions are done again.
SCORING_VERSION = "1"


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What ``e2lm eval`` was asked for; the series of ``merged`` are among ``series``."""

    series: tuple[Series, ...]
    tasks: tuple[str, ...]
    out: Path
    model: str = "e2lm-hf"
    model_arguments: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    num_fewshot: int | None = None
    include_paths: tuple[Path, ...] = ()
    metrics: tuple[str, ...] | None = None
    batch_size: int | str = 1
    device: str | None = None
    write_lm_eval_files: bool = True
    jobs: int = 1
    quiet: bool = False
    merged: tuple[MergedSeries, ...] = ()

    @property
    def adapter(self) -> str:
        """The way of scoring as text: whatever of it can change a number."""
        settings = {**self.model_arguments, "num_fewshot": self.num_fewshot}
        return adapter_label(self.model, SCORING_VERSION, settings)

    def merge_of(self, series: Series) -> MergedSeries | None:
        """How ``series`` is made of a run; None for a run itself."""
        return next((one for one in self.merged if one.series.name == series.name), None)


@dataclass(frozen=True, slots=True)
class Work:
    """A checkpoint and which of its tasks are still to be done."""

    series: Series
    checkpoint: Checkpoint
    weights: CheckedWeights
    missing: tuple[str, ...]


def local_folder(checkpoint: Checkpoint) -> Path:
    """Where the checkpoint is on this machine."""
    if checkpoint.folder is None:
        raise UserError(
            f"{checkpoint.location}: checkpoints on the Hub are not read yet; download them and give the folder"
        )
    return checkpoint.folder
