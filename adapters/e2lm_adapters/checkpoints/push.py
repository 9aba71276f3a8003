"""``e2lm hub push``: a run as one revision per checkpoint, or the scores of an evaluation as a data set."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm.atomic_file import is_partial
from e2lm.errors import UserError
from e2lm.progress import progress_bar
from e2lm.results import read_scores
from e2lm.scores import Scores
from e2lm.series import SERIES_FILE, Series, series_folders
from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoints.card import model_card, scores_card
from e2lm_adapters.checkpoints.listing import RepoKind, matching, require_network
from e2lm_adapters.checkpoints.upload import CARD, MAIN, Contents, HubRepository, RevisionChange

#: The tables of an evaluation, and what was run; lm-eval's results stand beside them.
SCORE_FILES = ("scores.parquet", "scores.csv", "run.json")


@dataclass(frozen=True, slots=True)
class Push:
    """What is to be on the Hub: contents by revision, ``main`` last."""

    kind: RepoKind
    revisions: dict[str, Contents]


@dataclass(frozen=True, slots=True)
class PushReport:
    """What was, or would be, changed."""

    kind: RepoKind
    url: str
    changes: tuple[RevisionChange, ...]


def push_of(source: Path, repo: str, scores: Path | None) -> Push:
    """What ``source`` (a run folder, or the output of ``e2lm eval``) is on the Hub; reads everything it checks."""
    if (source / "scores.parquet").is_file():
        if scores is not None:
            raise UserError(f"--scores: {source} holds scores itself; give it with the folder of a run")
        return Push("dataset", {MAIN: _score_contents(source, repo)})
    folders = series_folders(source)
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise UserError(f"{source}: holds {len(folders)} runs ({names}); push them one by one, each to its repository")
    series = Series.read(folders[0])
    return Push("model", dict(_series_contents(series, repo, _own_scores(series, scores))))


def pushed(push: Push, repo: str, *, private: bool, dry_run: bool, quiet: bool) -> PushReport:
    """Bring the repository to what ``push`` says; a revision that is there already costs its hashes only."""
    require_network(repo)
    place = HubRepository(repo, push.kind)
    changes = []
    if not dry_run:
        place.create(private)
    with progress_bar(len(push.revisions), "revisions", "pushing", quiet) as bar:
        for revision, contents in push.revisions.items():
            change = place.change(revision, contents, keep_own_card=True)
            if not dry_run:
                place.commit(change, f"{revision}: written by e2lm hub push")
            changes.append(change)
            bar.update()
    return PushReport(push.kind, place.url, tuple(changes))


def _own_scores(series: Series, scores: Path | None) -> Scores | None:
    if scores is None:
        return None
    every = read_scores(scores).scores
    own = every.where(series=series.name)
    if not len(own):
        there = ", ".join(sorted(set(every.frame["series"]))[:8])
        raise UserError(f"--scores {scores}: no scores of the series {series.name!r}; there are {there}")
    return own


def _series_contents(series: Series, repo: str, scores: Scores | None) -> Iterator[tuple[str, Contents]]:
    """Checkpoints as they are on disk; ``main`` has the newest one, ``series.json`` and the card."""
    newest: Contents = {}
    for point in series.checkpoints:
        folder = point.folder
        if folder is None:
            raise UserError(f"{point.location}: is on the Hub already; push a run whose checkpoints are folders")
        try:
            index = read_weight_index(folder)
        except UserError as error:
            raise UserError(f"{error}; only safetensors are pushed") from error
        names = [one.name for one in folder.iterdir() if one.is_file() and not is_partial(Path(one.name))]
        newest = {name: folder / name for name in matching(names)}
        lost = next((file.name for file in index.files if file.name not in newest), None)
        if lost is not None:
            raise UserError(
                f"{folder}: the weights in {lost!r} would be left out by name; call them model*.safetensors"
            )
        yield f"step{point.step}", newest
    yield MAIN, {**newest, SERIES_FILE: _described(series, repo), CARD: model_card(series, repo, scores).encode()}


def _described(series: Series, repo: str) -> bytes:
    """``series.json`` as anyone can evaluate it: each checkpoint a revision."""
    points = tuple(
        point.model_copy(update={"path": None, "repo": repo, "revision": f"step{point.step}"})
        for point in series.checkpoints
    )
    data: dict[str, Any] = series.model_copy(update={"checkpoints": points}).model_dump(mode="json")
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _score_contents(source: Path, repo: str) -> Contents:
    scores = read_scores(source).scores
    found: dict[str, Path | bytes] = {name: source / name for name in SCORE_FILES if (source / name).is_file()}
    for file in sorted(source.rglob("results_*.json")):
        relative = file.relative_to(source)
        if not is_partial(relative):
            found[relative.as_posix()] = file
    return {**found, CARD: scores_card(scores, repo).encode()}


def logged_in() -> bool:
    """Whether there is a token to write with; ``HF_TOKEN`` counts."""
    from huggingface_hub import get_token

    return bool(os.environ.get("HF_TOKEN") or get_token())
