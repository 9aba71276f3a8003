"""Which checkpoints of a run are finished: by the trainer's own mark, else by files that are whole and hold still.

A checkpoint is scored when ``e2lm checkpoints`` calls it ready, and nothing in its folder (weights, optimizer, state)
changed its size or time between two looks. Beside the marks that ``e2lm checkpoints`` knows (``.metadata``,
``latest``, ``latest_checkpointed_iteration.txt``, an index whose shards are all there, headers and lengths of
safetensors), a folder of transformers' Trainer is finished once it has ``trainer_state.json``, which is written last.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from e2lm.errors import UserError, one_line
from e2lm.series import Series
from e2lm_adapters.checkpoints.formats.transformers_folder import TRAINER_STATE
from e2lm_adapters.checkpoints.identity import is_input
from e2lm_adapters.checkpoints.piece import Given, RunListing, RunPiece
from e2lm_adapters.checkpoints.run import run_listings, series_of
from e2lm_adapters.checkpoints.series import hub_series, is_hub_reference
from e2lm_adapters.checkpoints.source import CheckpointSource

#: Name, size and time of every file of a checkpoint.
FileStamps = tuple[tuple[str, int, int], ...]

#: What the Trainer of transformers leaves beside weights: where one is, its ``trainer_state.json`` comes last.
TRAINER_LEFT = ("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state*.pth")
ALL_GONE = "no checkpoint is there any more: all were deleted at once, or what was mounted there is away"
#: What lacks files that another checkpoint has is waited for until nothing in it has changed for so long.
YOUNG_S = 60.0
#: Why a checkpoint is waited for that is whole as it seems.
ONCE_MORE = "looked at once more: its files must hold still"


@dataclass(frozen=True, slots=True)
class Finished:
    """A checkpoint that can be scored: a series that holds it alone, how people know it, and its files."""

    label: str
    series: Series
    stamp: FileStamps
    place: Path | None = None

    @property
    def step(self) -> int:
        """Of its only checkpoint."""
        return self.series.checkpoints[0].step


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a RUN at once.

    ``waiting`` says by label why a checkpoint is not finished, ``present`` has the steps of all (-1: unknown).
    ``names`` are the series of RUN, ``newest`` their newest folders; ``newest_s`` is when a file of any changed last,
    by its own time or where this watch saw it, 0 where none is. ``trouble`` says why nothing could be seen.
    """

    finished: tuple[Finished, ...] = ()
    waiting: Mapping[str, str] = field(default_factory=dict)
    present: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    newest: Mapping[str, Path] = field(default_factory=dict)
    newest_s: float = 0.0
    trouble: str = ""


class WatchedRun:
    """A RUN that is looked at again and again; two looks at least lie behind a checkpoint that is finished."""

    def __init__(self, run: str, given: Given, source: CheckpointSource, tokens_per_step: float | None = None) -> None:
        self.run = run
        self._given = given
        self._source = source
        self._tokens_per_step = tokens_per_step
        self._stamps: dict[str, FileStamps] = {}
        self._changed_s: float | None = None

    def anew(self) -> WatchedRun:
        """The same RUN for another who looks, at times of their own."""
        return WatchedRun(self.run, self._given, self._source, self._tokens_per_step)

    def look(self) -> Look:
        """What is there now; a folder that is not there, or vanishes under the look, is ``trouble`` and no error."""
        try:
            return self._on_hub() if is_hub_reference(self.run) else self._on_disk()
        except (UserError, OSError) as error:
            if str(error).startswith("--"):  # an option of the user's
                raise
            return Look(trouble=one_line(error))

    def _on_hub(self) -> Look:
        found = [
            Finished(f"{one.name} step {point.step}", one.model_copy(update={"checkpoints": (point,)}), ())
            for one in hub_series(self.run, self._source, self._tokens_per_step)
            for point in one.checkpoints
        ]
        names = tuple(dict.fromkeys(one.series.name for one in found))
        return Look(tuple(found), present={one.label: one.step for one in found}, names=names)

    def _on_disk(self) -> Look:
        listings = run_listings(Path(self.run), self._given, self._source)
        if self._stamps and not any(listing.pieces for listing in listings):
            return Look(trouble=f"{self.run}: {ALL_GONE}")
        before, self._stamps = self._stamps, {}
        finished: list[Finished] = []
        waiting: dict[str, str] = {}
        for listing in listings:
            still = [piece for piece in listing.pieces if not self._judged(listing, piece, before, waiting)]
            finished += self._as_series(replace(listing, pieces=tuple(still)))
        finished.sort(key=lambda one: (one.series.name, one.step))
        pieces = [(listing, piece) for listing in listings for piece in listing.pieces]
        present = {_label(listing, piece): -1 if piece.step is None else piece.step for listing, piece in pieces}
        newest = {one.series.name: one.place for one in finished if one.place is not None}
        names = tuple(dict.fromkeys(one.series.name for one in finished)) or (Path(self.run).resolve().name,)
        return Look(tuple(finished), waiting, present, names, newest, self._newest_s(before))

    def _newest_s(self, before: Mapping[str, FileStamps]) -> float:
        """A copy keeps the times of its source, and another machine's clock may be wrong: what was seen counts too."""
        if self._changed_s is None:
            self._changed_s = 0.0
        elif before != self._stamps:
            self._changed_s = time.time()
        times = [time_ns for stamp in self._stamps.values() for _, _, time_ns in stamp]
        return max(min(max(times, default=0) / 1e9, time.time()), self._changed_s)

    def _judged(
        self, listing: RunListing, piece: RunPiece, before: Mapping[str, FileStamps], waiting: dict[str, str]
    ) -> bool:
        """Whether ``piece`` is waited for, with why in ``waiting``."""
        label = _label(listing, piece)
        stamp = self._stamps[label] = _stamp(piece.place)
        why = "" if piece.is_readable else piece.told
        if not why and piece.format == "hub":
            return False
        why = why or _lacks_mark(piece, listing.pieces) or _lacks_files(piece, listing.pieces, stamp)
        if not why and before.get(label) != stamp:
            why = ONCE_MORE
        if why:
            waiting[label] = why
        return bool(why)

    def _as_series(self, listing: RunListing) -> list[Finished]:
        if not listing.pieces:
            return []
        by_place = {str(piece.place.resolve()): piece for piece in listing.pieces}
        found = []
        for series in series_of(listing, self._source, self._tokens_per_step):
            for point in series.checkpoints:
                alone = series.model_copy(update={"checkpoints": (point,)})
                piece = by_place.get(str(point.path))
                if piece is None:  # a series.json may list checkpoints of the Hub
                    found.append(Finished(f"{series.name} step {point.step}", alone, ()))
                else:
                    label = _label(listing, piece)
                    found.append(Finished(label, alone, self._stamps[label], piece.place))
        return found


def _label(listing: RunListing, piece: RunPiece) -> str:
    return f"{listing.run.resolve().name}/{piece.name}"


def _stamp(place: Path) -> FileStamps:
    files = [place] if place.is_file() else sorted(one for one in place.rglob("*") if one.is_file())
    told = ((file, file.stat()) for file in files)
    return tuple(
        (file.name if file == place else str(file.relative_to(place)), s.st_size, s.st_mtime_ns) for file, s in told
    )


def _lacks_mark(piece: RunPiece, pieces: Sequence[RunPiece]) -> str:
    """Why a folder of transformers' Trainer is not finished; empty for what another trainer left."""
    if not piece.name.startswith("checkpoint-") or not piece.place.is_dir() or _has_mark(piece):
        return ""
    own = any(file for name in TRAINER_LEFT for file in piece.place.glob(name))
    if own:
        return f"no {TRAINER_STATE} yet, which the Trainer writes last"
    other = next((one.name for one in pieces if one.place.is_dir() and _has_mark(one)), None)
    return "" if other is None else f"no {TRAINER_STATE} yet, which the Trainer writes last ({other} has it)"


def _lacks_files(piece: RunPiece, pieces: Sequence[RunPiece], stamp: FileStamps) -> str:
    """Why a folder that changed just now may still get files: another checkpoint has more of those that are read."""
    changed_s = max((time_ns for _, _, time_ns in stamp), default=0) / 1e9
    if not piece.place.is_dir() or time.time() - changed_s > YOUNG_S:
        return ""
    own = _read_files(piece)
    others = (one for one in pieces if one.place.is_dir() and one.is_readable and _read_files(one) > own)
    return next((f"fewer files than {one.name} has, and new" for one in others), "")


def _read_files(piece: RunPiece) -> set[str]:
    return {file.name for file in piece.place.iterdir() if is_input(file.name)}


def _has_mark(piece: RunPiece) -> bool:
    return (piece.place / TRAINER_STATE).is_file()
