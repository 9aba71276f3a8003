"""A repository on the Hub, whose revisions are the checkpoints of a run, as Series."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError, nearest_names
from e2lm.series import Series
from e2lm.step_name import NamedStep, count_of, step_in_path, step_of
from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoints.listing import HubFolder, HubListing, HubRevision, hub_listing
from e2lm_adapters.checkpoints.piece import RunListing, RunPiece
from e2lm_adapters.checkpoints.source import CheckpointSource
from e2lm_adapters.checkpoints.upload import MAIN

#: ``owner/name`` or ``owner/name@revision,revision``; revisions may hold ``*``.
REFERENCE = re.compile(r"(?:hf://)?(?P<repo>\w[\w.-]*/[\w.-]+)(?:@(?P<revisions>[^@]+))?")


def is_hub_reference(reference: str) -> bool:
    """Whether ``reference`` may be a repository; a local folder of that name goes first.

    >>> is_hub_reference("EleutherAI/pythia-70m@step1000,step*0000")
    True
    >>> is_hub_reference("/runs/mine")
    False
    """
    return REFERENCE.fullmatch(reference) is not None and not Path(reference).exists()


@dataclass(frozen=True, slots=True)
class HubPoint:
    """A revision, or a folder of one, that stands for a checkpoint, and where in training its name says it is."""

    revision: str
    subfolder: str | None
    named: NamedStep
    counts: str
    weights_sha256: str
    safetensors: bool

    @property
    def name(self) -> str:
        """For people."""
        return self.revision if self.subfolder is None else f"{self.revision}/{self.subfolder}"


def hub_series(reference: str, source: CheckpointSource, tokens_per_step: float | None = None) -> list[Series]:
    """One Series for each track of training (``stage1-step...``, ``stage2-step...``) among the revisions.

    Revisions that name no step (``main``) are left out. Where none names one, the folders of ``main`` do, else whatever
    the names count. What the ``series.json`` of the main branch says of them holds; else tokens come from names such as
    ``step1000-tokens4B``, which are rounded. ``tokens_per_step`` replaces both.
    """
    repo, listing, points = _hub_points(reference, source)
    tracks: dict[str, dict[int, HubPoint]] = {}
    for point in points:
        there = tracks.setdefault(point.named.track, {})
        if point.named.step in there:
            raise UserError(
                f"{repo}: step {point.named.step} is there twice: {there[point.named.step].name} and {point.name}; "
                "name one"
            )
        there[point.named.step] = point
    params, without_embedding, active = listing.params, listing.params_non_embedding, listing.params_active
    if params is None or without_embedding is None:
        counted = read_weight_index(source.folder(_checkpoint(repo, points[0]))).parameters()
        params, without_embedding = counted.params, counted.params_non_embedding
        active = counted.params_active if counted.is_mixture else None
    short = repo.rpartition("/")[2]
    found = [
        Series(
            name=f"{short}-{track}" if track else short,
            params=params,
            params_non_embedding=without_embedding,
            params_active=active,
            checkpoints=tuple(_checkpoint(repo, point) for _, point in sorted(there.items())),
        )
        for track, there in sorted(tracks.items())
    ]
    told = [_as_described(one, listing.described) for one in found]
    return [_counted(one, tokens_per_step) for one in told] if tokens_per_step else told


def hub_listings(reference: str, source: CheckpointSource) -> list[RunListing]:
    """The revisions, or folders, of a repository as pieces of a run; those with the same weights say so."""
    repo, listing, points = _hub_points(reference, source)
    first: dict[str, HubPoint] = {}
    pieces = []
    for point in sorted(points, key=lambda one: (one.named.track, one.named.step)):
        same = first.setdefault(point.weights_sha256, point)
        needs = "" if point.safetensors or source.allow_pickle else "--allow-pickle, which reads pickled weights"
        pieces.append(
            RunPiece(
                Path(_checkpoint(repo, point).location),
                point.name,
                "safetensors" if point.safetensors else "pickle",
                "needs" if needs else "ready" if same is point else "same-bytes",
                why=needs or (same.name if same is not point else ""),
                step=point.named.step,
                track=point.named.track,
                tokens=point.named.tokens,
                params=listing.params,
                params_non_embedding=listing.params_non_embedding,
            )
        )
    return [RunListing(Path(repo), tuple(pieces))]


def _hub_points(reference: str, source: CheckpointSource) -> tuple[str, HubListing, list[HubPoint]]:
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise UserError(f"{reference!r}: expected owner/name or owner/name@revision,...")
    repo, patterns = match["repo"], [one.strip() for one in (match["revisions"] or "*").split(",")]

    def is_meant(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    listing = hub_listing(repo, lambda name: step_of(name) is not None and is_meant(name), source.cache)
    points = [point for one in listing.revisions for point in _named_point(one)]
    if not points:
        listing, points = _other_points(repo, is_meant, source)
    source.note(listing)
    for of in sorted({point.counts for point in points} - {"steps"}):
        print(f"{repo}: no name tells a step; {of} are taken for steps", file=sys.stderr)
    if not points:
        what = ", ".join(patterns)
        raise UserError(
            f"{repo}: no revision that names a step (step1000, stage1-step1000-tokens4B) matches {what}, and no folder "
            "of the main branch names one"
        )
    _require_match(reference, patterns, [point.revision for point in points] if match["revisions"] else ["*"])
    return repo, listing, points


def _other_points(
    repo: str, is_meant: Callable[[str], bool], source: CheckpointSource
) -> tuple[HubListing, list[HubPoint]]:
    """Folders of ``main`` (or of the one revision that was named), else revisions whose names count something else."""
    listing = hub_listing(
        repo, lambda name: is_meant(name) and (name == MAIN or count_of(name) is not None), source.cache
    )
    whole = [one for one in listing.revisions if one.name == MAIN]
    points = [point for one in whole for folder in one.folders or () for point in _folder_point(one, folder)]
    if points:
        return listing, points
    counted = [(one, count_of(one.name)) for one in listing.revisions]
    units = {count.of for _, count in counted if count is not None}
    return listing, [
        HubPoint(one.name, None, NamedStep("", count.count), count.of, one.weights_sha256, one.safetensors)
        for one, count in counted
        if count is not None and len(units) == 1
    ]


def _named_point(revision: HubRevision) -> list[HubPoint]:
    named = step_of(revision.name)
    return (
        []
        if named is None
        else [HubPoint(revision.name, None, named, "steps", revision.weights_sha256, revision.safetensors)]
    )


def _folder_point(revision: HubRevision, folder: HubFolder) -> list[HubPoint]:
    named = step_in_path(folder.name)
    if named is None:
        return []
    return [HubPoint(revision.name, folder.name, named[1], "steps", folder.weights_sha256, bool(folder.safetensors))]


def _checkpoint(repo: str, point: HubPoint) -> Checkpoint:
    named = point.named
    return Checkpoint(
        step=named.step, tokens=named.tokens, repo=repo, revision=point.revision, subfolder=point.subfolder
    )


def _as_described(series: Series, described: Series | None) -> Series:
    """``series`` with what its makers say of it, where that is about these revisions."""
    if described is None:
        return series
    known = {(point.step, point.revision, point.subfolder): point.tokens for point in described.checkpoints}
    own = [(point.step, point.revision, point.subfolder) for point in series.checkpoints]
    if any(key not in known for key in own):
        return series
    points = tuple(
        point.model_copy(update={"tokens": known[key]}) for point, key in zip(series.checkpoints, own, strict=True)
    )
    return described.model_copy(update={"checkpoints": points})


def _counted(series: Series, tokens_per_step: float) -> Series:
    points = tuple(point.model_copy(update={"tokens": None}) for point in series.checkpoints)
    return series.model_copy(update={"tokens_per_step": tokens_per_step, "checkpoints": points})


def _require_match(reference: str, patterns: list[str], names: list[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"{reference}: no revision {pattern!r}. {nearest_names(pattern, names)}")
