"""A repository on the Hub, whose revisions are the checkpoints of a run, as Series."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError, nearest_names
from e2lm.series import Series
from e2lm.step_name import NamedStep, step_of
from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoints.listing import hub_listing
from e2lm_adapters.checkpoints.source import CheckpointSource

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


def hub_series(reference: str, source: CheckpointSource, tokens_per_step: float | None = None) -> list[Series]:
    """One Series for each track of training (``stage1-step...``, ``stage2-step...``) among the revisions.

    Revisions that name no step (``main``) are left out. What the ``series.json`` of the main branch says of them holds;
    else tokens come from names such as ``step1000-tokens4B``, which are rounded. ``tokens_per_step`` replaces both.
    """
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise UserError(f"{reference!r}: expected owner/name or owner/name@revision,...")
    repo, patterns = match["repo"], [one.strip() for one in (match["revisions"] or "*").split(",")]

    def wanted(name: str) -> bool:
        return step_of(name) is not None and any(fnmatchcase(name, pattern) for pattern in patterns)

    listing = hub_listing(repo, wanted, source.cache)
    source.note(listing)
    names = [revision.name for revision in listing.revisions]
    if not names:
        what = ", ".join(patterns)
        raise UserError(f"{repo}: no revision that names a step (step1000, stage1-step1000-tokens4B) matches {what}")
    _require_match(reference, patterns, names)
    tracks: dict[str, dict[int, tuple[str, NamedStep]]] = {}
    for name in names:
        point = step_of(name)
        assert point is not None
        there = tracks.setdefault(point.track, {})
        if point.step in there:
            raise UserError(f"{repo}: step {point.step} is there twice: {there[point.step][0]} and {name}; name one")
        there[point.step] = (name, point)
    params, without_embedding = listing.params, listing.params_non_embedding
    if params is None or without_embedding is None:
        index = read_weight_index(source.folder(Checkpoint(step=0, repo=repo, revision=names[0])))
        params, without_embedding = index.params, index.params_non_embedding
    short = repo.rpartition("/")[2]
    found = [
        Series(
            name=f"{short}-{track}" if track else short,
            params=params,
            params_non_embedding=without_embedding,
            checkpoints=tuple(
                Checkpoint(step=step, tokens=point.tokens, repo=repo, revision=name)
                for step, (name, point) in sorted(there.items())
            ),
        )
        for track, there in sorted(tracks.items())
    ]
    told = [_as_described(one, listing.described) for one in found]
    return [_counted(one, tokens_per_step) for one in told] if tokens_per_step else told


def _as_described(series: Series, described: Series | None) -> Series:
    """``series`` with what its makers say of it, where that is about these revisions."""
    if described is None:
        return series
    known = {(point.step, point.revision): point.tokens for point in described.checkpoints}
    if any((point.step, point.revision) not in known for point in series.checkpoints):
        return series
    points = tuple(
        point.model_copy(update={"tokens": known[point.step, point.revision]}) for point in series.checkpoints
    )
    return described.model_copy(update={"checkpoints": points})


def _counted(series: Series, tokens_per_step: float) -> Series:
    points = tuple(point.model_copy(update={"tokens": None}) for point in series.checkpoints)
    return series.model_copy(update={"tokens_per_step": tokens_per_step, "checkpoints": points})


def _require_match(reference: str, patterns: list[str], names: list[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"{reference}: no revision {pattern!r}. {nearest_names(pattern, names)}")
