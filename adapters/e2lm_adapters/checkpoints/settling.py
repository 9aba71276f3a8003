"""What the pieces of a run are beside each other: still growing, lacking what others have, of another shape, twice.

A file that changed just now is looked at again, and one that grows is being written.
"""

from __future__ import annotations

import filecmp
import time
from dataclasses import replace
from pathlib import Path

from e2lm.errors import UserError
from e2lm.step_name import step_of
from e2lm.weights import WeightIndex, other_shape, read_weight_index
from e2lm_adapters.checkpoints.piece import NO_COUNT, Given, RunListing, RunPiece, has_companion, lacking_companions

#: A file that changed within this time is looked at once more, after a while.
FRESH_S, LOOK_AGAIN_S = 2.0, 0.4


def settled(listing: RunListing, given: Given) -> RunListing:
    """``listing`` with the states that only a look at all pieces tells."""
    pieces = _complete(_still(list(listing.pieces)), given)
    if listing.described is None:
        pieces = _one_count(pieces)
    pieces = _once_each(_of_one_model(_same_bytes(pieces)))
    pieces.sort(key=lambda one: (one.track, one.step is None, one.step or 0, one.name))
    return replace(listing, pieces=tuple(pieces))


def _still(pieces: list[RunPiece]) -> list[RunPiece]:
    """Files that changed just now are looked at again: one that grows is being written."""
    now = time.time()
    fresh = {
        file: _state(file)
        for piece in pieces
        if piece.state == "ready"
        for file in piece.files
        if abs(now - _state(file)[1]) < FRESH_S
    }
    if fresh:
        time.sleep(LOOK_AGAIN_S)
    growing = {file for file, before in fresh.items() if _state(file) != before}
    return [
        replace(one, state="unfinished", why="is being written just now") if growing & set(one.files) else one
        for one in pieces
    ]


def _state(file: Path) -> tuple[int, float]:
    try:
        there = file.stat()
    except OSError:
        return -1, 0.0
    return there.st_size, there.st_mtime


def _complete(pieces: list[RunPiece], given: Given) -> list[RunPiece]:
    """A folder without config.json or tokenizer is unfinished where others have them, else it needs them."""
    found = []
    for piece in pieces:
        lacking = _lacking(piece, given)
        if lacking:
            other = next((one.name for one in pieces if one.format == piece.format and not _lacking(one, given)), None)
            has = "" if other is None else f" ({other} has it)"
            why = f"--config DIR, a folder with {lacking}: there is none beside the weights{has}"
            if other is None:
                piece = replace(piece, state="needs", why=why)
            else:
                piece = replace(
                    piece, state="unfinished", why=f"no {lacking} beside the weights{has}; --config gives one"
                )
        found.append(piece)
    return found


def _lacking(piece: RunPiece, given: Given) -> str:
    if piece.format != "safetensors" or piece.state != "ready":
        return ""
    taken = piece.arrangement.companions if piece.arrangement else ()
    lacking = [what for what in lacking_companions(piece.place) if not any(has_companion(one, what) for one in taken)]
    if given.tokenizer and "tokenizer" in lacking:
        lacking.remove("tokenizer")
    return " and ".join(lacking)


def _one_count(pieces: list[RunPiece]) -> list[RunPiece]:
    """Where a name tells a step, those that count something else have none; plain names go before those of a track."""
    has_steps = any(one.step is not None and one.counts == "steps" for one in pieces)
    has_plain = any(one.step is not None and not one.track and one.is_readable for one in pieces)
    units = sorted({one.counts for one in pieces if one.step is not None})
    found = []
    for one in pieces:
        if one.step is not None and one.counts not in ("steps", NO_COUNT) and (has_steps or len(units) > 1):
            one = replace(one, state="no-step", why=f"its name counts {one.counts}, those of others something else")
            one = replace(one, step=None, counts="steps")
        elif one.step is None and one.state not in ("unfinished",):
            one = replace(one, state="no-step", why="neither its name nor its trainer tells one; give it alone as RUN")
        elif one.track and has_plain and one.is_readable:
            one = replace(one, state="no-step", why=f"it is of {one.track!r}, others are of the run itself")
        found.append(one)
    return found


def _of_one_model(pieces: list[RunPiece]) -> list[RunPiece]:
    """What has not the shapes that most of its track have, of two not those of the earlier, is another model."""
    indexes = {id(one): index for one in pieces if (index := _index(one)) is not None}
    for track in {one.track for one in pieces}:
        own = [one for one in pieces if one.track == track and id(one) in indexes]
        kinds: list[list[RunPiece]] = []
        for one in own:
            alike = (kind for kind in kinds if not other_shape(indexes[id(kind[0])], indexes[id(one)]))
            kind = next(alike, None)
            kinds.append([one]) if kind is None else kind.append(one)
        most = max(kinds, key=len, default=[])
        for one in (one for kind in kinds if kind is not most for one in kind):
            why = other_shape(indexes[id(most[0])], indexes[id(one)])
            pieces = [replace(two, state="other model", why=why) if two is one else two for two in pieces]
    return pieces


def _index(piece: RunPiece) -> WeightIndex | None:
    """Of a piece that is read as it lies there."""
    is_plain = piece.is_readable and piece.format == "safetensors" and piece.step is not None
    try:
        return read_weight_index(piece.place) if is_plain else None
    except UserError:
        return None


def _same_bytes(pieces: list[RunPiece]) -> list[RunPiece]:
    """Later pieces with the very bytes of an earlier one say so."""
    first: dict[tuple[object, ...], list[RunPiece]] = {}
    found = []
    for piece in sorted(pieces, key=lambda one: (one.step is None, one.step or 0, one.name)):
        if piece.state == "ready" and piece.files:
            alike = first.setdefault(_fingerprint(piece), [])
            same = next((one for one in alike if _are_same(one, piece)), None)
            if same is None:
                alike.append(piece)
            else:
                piece = replace(piece, state="same-bytes", why=same.name)
        found.append(piece)
    return found


def _fingerprint(piece: RunPiece) -> tuple[object, ...]:
    """Sizes, and a few bytes out of the middle and the end, in which different weights differ."""
    parts: list[object] = [piece.format, piece.track]
    for file in piece.files:
        size = file.stat().st_size
        with open(file, "rb") as handle:
            for at in (size // 3, size // 2, size - 4096):
                handle.seek(max(at, 0))
                parts.append(handle.read(4096))
        parts.append((file.name if piece.place.is_dir() else file.suffix, size))
    return tuple(parts)


def _are_same(one: RunPiece, other: RunPiece) -> bool:
    pairs = list(zip(one.files, other.files, strict=True))
    pairs += [(one.place / name, other.place / name) for name in ("config.json",) if one.place.is_dir()]
    return all(a.is_file() == b.is_file() and (not a.is_file() or filecmp.cmp(a, b, shallow=False)) for a, b in pairs)


def _once_each(pieces: list[RunPiece]) -> list[RunPiece]:
    """One piece for each step: what can be read goes before what must be converted; of two that differ none is read."""
    groups: dict[tuple[str, int | None], list[RunPiece]] = {}
    for one in pieces:
        groups.setdefault((one.track, one.step), []).append(one)
    found: list[RunPiece] = []
    for (_, step), group in groups.items():
        found += group if step is None or len(group) == 1 else _one_of(group)
    return found


def _one_of(group: list[RunPiece]) -> list[RunPiece]:
    names = {one.name for one in group if one.is_readable}
    own = [one for one in group if one.is_readable and not (one.state == "same-bytes" and one.why in names)]
    told = [one for one in own if step_of(one.name) is not None]
    if not own:
        return group
    if len(own) > 1 and len(told) != 1:
        both = " and ".join(one.name for one in own)
        why = f"step {own[0].step} is there twice: {both}; give each a folder of its own"
        return [replace(one, state="no-step", why=why) if one.is_readable else one for one in group]
    kept = told[0] if told else own[0]
    return [_beside(kept, one, own) for one in group]


def _beside(kept: RunPiece, one: RunPiece, own: list[RunPiece]) -> RunPiece:
    """What ``one`` is where ``kept`` is read for their step; Lightning's ``last.ckpt`` only has the step inside."""
    if one is kept or one.state in ("unfinished", "no-step"):
        return one
    if one in own:
        return replace(one, state="no-step", why=f"it is at step {one.step} as {kept.name} is, whose name tells it")
    return replace(one, state="duplicate", why=kept.name)
