"""``e2lm watch --log-to wandb:RUN_ID | tensorboard:DIR | trackio:PROJECT``: scores beside the training's own curves.

They stand on the training's step axis, whenever they come: a late checkpoint is a point at its step. What has been
logged is noted in ``OUT/trackers``, so that nothing is logged twice; a dashboard that fails costs a line, and is told
with the next checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from e2lm import __version__
from e2lm.errors import UserError, nearest_names
from e2lm.plugin_manager import PluginRecord, plugin_manager
from e2lm.series import Series
from e2lm_adapters.trackers.run import OpenRun, TrackedPoint, TrackerRun
from e2lm_adapters.trackers.tracker import SeriesTracker

#: The step of training by the name that transformers' Trainer gives it in Weights & Biases.
TRAINING_STEP = "train/global_step"


def opener_of(text: str) -> tuple[str, OpenRun]:
    """Name and opener of the dashboard that ``--log-to`` names; a :class:`UserError` for one that there is not."""
    kind, _, place = text.partition(":")
    if kind not in OPENERS:
        raise UserError(f"--log-to {text}: unknown dashboard {kind!r}. {nearest_names(kind, OPENERS)}")
    if not place:
        raise UserError(f"--log-to {text}: expected {kind}:{PLACES[kind]}, that of the training")
    if find_spec(kind) is None:
        raise UserError(f"--log-to {kind}: not installed; pip install 'e2lm[{kind}]'")
    return f"training-{kind}", OPENERS[kind](place)


@contextmanager
def dashboards(named: Sequence[tuple[str, OpenRun]], out: Path) -> Iterator[None]:
    """What is evaluated within the block is logged to these; one that failed before is tried again."""
    with ExitStack() as stack:
        for name, opener in named:
            tracker = SeriesTracker(name, lambda opener=opener: opener, out)  # type: ignore[misc]
            plugin_manager().register(tracker, PluginRecord(f"log-to-{name}", "e2lm", __version__))
            stack.callback(plugin_manager().unregister, tracker)
            stack.callback(tracker.close)
        yield


def _tensorboard(place: str) -> OpenRun:
    """A run ``e2lm`` of its own below the training's folder: TensorBoard shows both on one axis."""

    def opened(out: Path, series: Series, run_id: str) -> TrackerRun:
        from e2lm_adapters.trackers.tensorboard import TensorBoardRun

        return TensorBoardRun(out, series, run_id, Path(place) / "e2lm" / series.name)

    return opened


class TrainingWandbRun:
    """The training's run, written to beside the trainer (wandb's shared mode)."""

    def __init__(self, run_id: str, out: Path) -> None:
        import wandb

        settings = wandb.Settings(mode="shared", x_primary=False, x_label="e2lm", silent=True, console="off")
        project = os.environ.get("WANDB_PROJECT")
        self._run: Any = wandb.init(id=run_id, project=project, dir=str(out), settings=settings)

    def log(self, point: TrackedPoint, repeated: bool) -> None:
        """Log the point at the training's step."""
        self._run.log({TRAINING_STEP: point.step, **{f"e2lm/{name}": value for name, value in point.values.items()}})

    def close(self) -> None:
        """Wait for the upload."""
        self._run.finish()


def _wandb(place: str) -> OpenRun:
    return lambda out, series, run_id: TrainingWandbRun(place, out)


def _trackio(place: str) -> OpenRun:
    """A run of the training's project that is called as the series is; the training's own, where it is called so."""

    def opened(out: Path, series: Series, run_id: str) -> TrackerRun:
        from e2lm_adapters.trackers.trackio import TrackioRun

        return TrackioRun(out, series, run_id, project=place, name=series.name)

    return opened


OPENERS = {"wandb": _wandb, "tensorboard": _tensorboard, "trackio": _trackio}
PLACES = {"wandb": "RUN_ID", "tensorboard": "DIR", "trackio": "PROJECT"}
