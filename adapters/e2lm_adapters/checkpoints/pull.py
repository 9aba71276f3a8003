"""``e2lm hub pull``: a run from the Hub as a folder, or a data set of scores; each file arrives whole, byte by byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2lm.atomic_file import PARTIAL_MARK, sync_folder
from e2lm.errors import UserError
from e2lm.progress import progress_bar
from e2lm.series import SERIES_FILE, Series
from e2lm_adapters.checkpoints.listing import RemoteFile, RepoKind, asked, hub, matching, remote_files, require_network
from e2lm_adapters.checkpoints.series import hub_series
from e2lm_adapters.checkpoints.source import CheckpointSource
from e2lm_adapters.checkpoints.upload import CARD, MAIN

#: Written last, so that a folder with it is whole.
SCORES_TABLE = "scores.parquet"


@dataclass(frozen=True, slots=True)
class Piece:
    """Files of one revision that belong into ``folder``; ``missing`` are not there yet."""

    repo: str
    kind: RepoKind
    revision: str
    folder: Path
    files: dict[str, RemoteFile]
    missing: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """What is still to be fetched."""
        return sum(self.files[name].size for name in self.missing)


@dataclass(frozen=True, slots=True)
class Pull:
    """What is to be in the folder: pieces, and the series they make up, each with its own folder."""

    pieces: tuple[Piece, ...]
    series: tuple[tuple[Path, Series], ...] = ()


def pull_of_run(reference: str, folder: Path, source: CheckpointSource, tokens_per_step: float | None = None) -> Pull:
    """What of ``owner/name[@revision,...]`` is missing in ``folder``; asks for names and hashes only."""
    require_network(reference)
    tracks = hub_series(reference, source, tokens_per_step)
    pieces, described = [], []
    for one in tracks:
        place = folder if len(tracks) == 1 else folder / one.name
        located = []
        for point in one.checkpoints:
            own = place / point.label
            pieces.append(_piece(str(point.repo), "model", source.commit(point), own))
            located.append(point.model_copy(update={"path": str(own.resolve()), "repo": None, "revision": None}))
        described.append((place, _with_those_there(place, one.model_copy(update={"checkpoints": tuple(located)}))))
    return Pull(tuple(pieces), tuple(described))


def pull_of_scores(repo: str, folder: Path) -> Pull:
    """What of the data set ``repo`` is missing in ``folder``."""
    require_network(repo)
    return Pull((_piece(repo, "dataset", MAIN, folder),))


def pulled(pull: Pull, *, quiet: bool) -> None:
    """Fetch what is missing. A checkpoint comes into place when it is whole; a killed pull goes on within the file."""
    with progress_bar(len(pull.pieces), "revisions", "pulling", quiet) as bar:
        for piece in pull.pieces:
            _fetch(piece)
            bar.update()
    for folder, series in pull.series:
        series.write(folder)


def _with_those_there(folder: Path, series: Series) -> Series:
    """``series`` and the checkpoints that were pulled before."""
    if not (folder / SERIES_FILE).is_file():
        return series
    there = Series.read(folder)
    if there.name != series.name:
        raise UserError(f"{folder}: holds the run {there.name!r} already; take another folder for {series.name!r}")
    points = {point.step: point for point in (*there.checkpoints, *series.checkpoints)}
    return series.model_copy(update={"checkpoints": tuple(points[step] for step in sorted(points))})


def _piece(repo: str, kind: RepoKind, revision: str, folder: Path) -> Piece:
    every = remote_files(repo, kind, revision)
    if kind == "model":
        names = matching(every)
    else:
        names = [name for name in every if name != CARD and not name.startswith(".")]
        if SCORES_TABLE not in names:
            raise UserError(f"datasets/{repo}: holds no {SCORES_TABLE}; e2lm hub pull takes what e2lm hub push wrote")
    for name in names:
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise UserError(f"{repo}@{revision}: refuses to write outside the folder: {name!r}")
    files = {name: every[name] for name in names}
    missing = []
    for name, remote in files.items():
        own = folder / name
        if not own.is_file():
            missing.append(name)
        elif not remote.is_same(own):
            raise UserError(f"{own}: is there with other contents than {repo}@{revision}; take another folder")
    return Piece(repo, kind, revision, folder, files, tuple(missing))


def _fetch(piece: Piece) -> None:
    if not piece.missing:
        return
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    partial = piece.folder.parent / f"{PARTIAL_MARK}pull-{piece.folder.name}"
    partial.mkdir(parents=True, exist_ok=True)
    asked(
        f"{piece.repo}@{piece.revision}",
        lambda: hub().snapshot_download(
            piece.repo,
            revision=piece.revision,
            repo_type=piece.kind,
            local_dir=partial,
            allow_patterns=list(piece.missing),
        ),
    )
    for name in piece.missing:
        if not piece.files[name].is_same(partial / name):
            (partial / name).unlink()
            raise UserError(
                f"{piece.repo}@{piece.revision}: {name} came with another hash; the same command tries again"
            )
    shutil.rmtree(partial / ".cache", ignore_errors=True)  # the client's notes
    if piece.kind == "model" and not piece.folder.exists():
        os.replace(partial, piece.folder)
    else:
        _move(partial, piece.folder, sorted(piece.missing, key=lambda name: name == SCORES_TABLE))
        shutil.rmtree(partial)
    sync_folder(piece.folder.parent)


def _move(partial: Path, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial / name, folder / name)
