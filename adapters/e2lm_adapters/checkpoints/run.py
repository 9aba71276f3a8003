"""What lies in the folder of a run: every piece with its step, format and state, and the series that can be read of it.

A piece is *finished* when its trainer's own mark says so where there is one (``.metadata``, ``latest``,
``latest_checkpointed_iteration.txt``), else when every file that belongs to it is there, has a readable header and the
length that this header claims, and does not grow. Nothing is passed over in silence: a sub-folder or file of weights is
a piece, or named among what is ignored.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from e2lm.checkpoint import Checkpoint
from e2lm.checkpoint_format import CheckpointFormat, FoundCheckpoint
from e2lm.errors import UserError, no_such, one_line
from e2lm.kind import imported
from e2lm.parameter_count import ParameterCount
from e2lm.plugin_call import PluginFaultError, asked
from e2lm.plugin_manager import plugin_manager
from e2lm.run_record import LeftOut
from e2lm.series import SERIES_FILE, Series
from e2lm.step_name import INSIDE_CHECKPOINT, count_of, is_unfinished_name, step_in_path, step_of
from e2lm.weights import SHARD_INDEX, SINGLE_FILE, read_config
from e2lm_adapters.checkpoints.piece import NO_COUNT, Given, RunListing, RunPiece, has_companion, lacking_companions
from e2lm_adapters.checkpoints.settling import settled
from e2lm_adapters.checkpoints.source import Arrangement, CheckpointSource

log = logging.getLogger("e2lm")

#: Folders that hold the checkpoints of the run they lie in.
PLAIN_FOLDERS = frozenset({"checkpoint", "checkpoints", "ckpt", "ckpts", "hf", "hf_ckpt", "hf_ckpts", "weights"})
WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".distcp", ".gguf", ".nemo", ".npz"})


# -- which format a place is of -------------------------------------------------------------------------------------


def formats() -> list[CheckpointFormat]:
    """The formats of all plugins."""
    return plugin_manager().all("e2lm_register_checkpoint_formats", CheckpointFormat, "checkpoint format")


def recognised(place: Path, known: Sequence[CheckpointFormat]) -> tuple[Path, CheckpointFormat, FoundCheckpoint] | None:
    """What lies at ``place``, or in the ``model`` or ``hf`` inside it: what can be read first, then what is whole."""
    best: tuple[int, Path, CheckpointFormat, FoundCheckpoint] | None = None
    for where in _places(place):
        for format in known:
            found = _looked(format, where)
            if found is not None:
                rank = 2 * bool(found.unfinished) + (bool(found.convert) and not format.write)
                if best is None or rank < best[0]:
                    best = (rank, where, format, found)
    return None if best is None else best[1:]


def _looked(format: CheckpointFormat, where: Path) -> FoundCheckpoint | None:
    try:
        found: object = asked(format.look, where)  # which may be of any kind
    except PluginFaultError as error:  # it costs the piece
        return FoundCheckpoint((), unfinished=f"the format {format.name!r} cannot read it ({error!s:.120})")
    if found is None or isinstance(found, FoundCheckpoint):
        return found
    gave = f"it gave {found!r:.60}, no FoundCheckpoint"
    return FoundCheckpoint((), unfinished=f"the format {format.name!r} cannot read it ({gave})")


def _places(place: Path) -> Iterator[Path]:
    yield place
    if place.is_dir():
        inner = [one for one in sorted(place.iterdir()) if one.name.lower() in INSIDE_CHECKPOINT and one.is_dir()]
        for one in inner:
            yield one
            yield from (two for two in sorted(one.iterdir()) if two.name.lower() in INSIDE_CHECKPOINT and two.is_dir())


# -- what a folder holds --------------------------------------------------------------------------------------------


def run_listings(folder: Path, given: Given, source: CheckpointSource) -> list[RunListing]:
    """The runs in ``folder``: itself, or each of its sub-folders that has checkpoints."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: {no_such(folder, 'folder')}; give the folder of a training run, or a folder of such"
        )
    if given.config is not None and not has_companion(given.config, "config.json"):
        raise UserError(f"--config {given.config}: no config.json there; give the folder of a model of the same family")
    known = formats()
    whole = _listing(folder, known, given, source)
    if whole.described is not None or whole.has_checkpoints:
        return [whole]
    inside = [_listing(one, known, given, source) for one in _subfolders(folder) if recognised(one, known) is None]
    runs = [one for one in inside if one.described is not None or one.has_checkpoints]
    if not runs:
        single = recognised(folder, known)
        return [whole if single is None else settled(_alone(folder, known, single, given, source), given)]
    if len(runs) == 1 and runs[0].run.name.lower() in PLAIN_FOLDERS:
        beside = [one for one in whole.ignored if one.what != runs[0].run.name]
        return [replace(runs[0], run=folder, ignored=(*beside, *runs[0].ignored))]
    names = {one.run.name for one in runs}
    beside = [one for one in whole.ignored if one.what not in names]
    return [replace(runs[0], ignored=(*runs[0].ignored, *beside)), *runs[1:]]


def _subfolders(folder: Path) -> list[Path]:
    return [one for one in sorted(folder.iterdir()) if one.is_dir() and not one.name.startswith(".")]


def _listing(run: Path, known: Sequence[CheckpointFormat], given: Given, source: CheckpointSource) -> RunListing:
    if (run / SERIES_FILE).is_file():
        return _described_listing(run, known, given, source)
    pieces, ignored = [], []
    for child in sorted(run.iterdir()):
        piece = _piece(run, child, known, given, source)
        if piece is not None:
            pieces.append(piece)
        elif child.is_dir() or child.suffix in WEIGHT_SUFFIXES:
            ignored.append(LeftOut(what=child.name, why=_why_ignored(child), file=str(child)))
    return settled(RunListing(run, tuple(pieces), tuple(ignored)), given)


def _why_ignored(child: Path) -> str:
    if child.is_symlink():
        return f"a link to {child.readlink()}"
    if child.name.startswith("."):
        return "hidden, as unfinished work is"
    return "holds no weights that are known" if child.is_dir() else "no checkpoint by itself"


def _piece(
    run: Path, child: Path, known: Sequence[CheckpointFormat], given: Given, source: CheckpointSource
) -> RunPiece | None:
    if child.name.startswith(".") or (child.is_symlink() and child.resolve().parent == run.resolve()):
        return None
    found = recognised(child, known)
    if found is None:
        named = step_of(child.name) if child.is_dir() else None
        if named is None or (named.track and not is_unfinished_name(child.name)):
            return None
        return RunPiece(child, child.name, "", "unfinished", "no weights are there yet", step=named.step)
    return _stepped(child, _judged(run, child, found, given, source), found[2])


def _stepped(child: Path, piece: RunPiece, found: FoundCheckpoint) -> RunPiece:
    """``piece`` with the step that its name tells, else its files, else the count in its name."""
    if is_unfinished_name(child.name):
        return replace(piece, state="unfinished", why="its name is that of unfinished work", command="")
    named, count = step_of(child.name), count_of(child.name)
    tokens = found.tokens if found.tokens is not None or named is None else named.tokens
    if named is not None:
        return replace(piece, step=named.step, track=named.track, tokens=tokens)
    if found.step is not None and (count is not None or child.is_file()):
        return replace(piece, step=found.step, tokens=tokens)
    if count is not None:
        return replace(piece, step=count.count, counts=count.of, tokens=tokens)
    return replace(piece, tokens=tokens)


def _judged(
    run: Path,
    child: Path,
    recognition: tuple[Path, CheckpointFormat, FoundCheckpoint],
    given: Given,
    source: CheckpointSource,
) -> RunPiece:
    """The piece by itself: whether it can be read, with what, or what is missing."""
    where, format, found = recognition
    piece = RunPiece(
        where,
        child.name,
        format.name,
        "ready",
        command=found.convert,
        params=found.params,
        params_non_embedding=found.params_non_embedding,
        files=found.files,
    )
    if found.unfinished:
        return replace(piece, state="unfinished", why=found.unfinished)
    if not format.write:
        return replace(piece, state="convert") if found.convert else _with_companions(run, piece, given)
    try:
        arrangement = _arrangement(where, format, found, given, source)
    except UserError as error:
        return replace(piece, state="convert" if found.convert else "needs", why=str(error))
    return replace(piece, arrangement=arrangement, command="")


def _arrangement(
    where: Path, format: CheckpointFormat, found: FoundCheckpoint, given: Given, source: CheckpointSource
) -> Arrangement:
    """How the piece is written anew; a :class:`UserError` where something is needed for it, or does not fit."""
    if "allow_pickle" in format.needs and not given.allow_pickle:
        raise UserError("--allow-pickle, which reads pickled weights")
    if "config" in format.needs and given.config is None:
        raise UserError("--config DIR, the config.json and tokenizer of its family")
    base = None
    if "base" in format.needs:
        named = given.base or found.base
        if not named:
            raise UserError("--base, the model that it changes")
        base = source.base_folder(named, where)
    config = given.config
    if format.check:
        check = imported(format.check, f"checkpoint format {format.name!r}")
        try:
            check(where, None, config, base)
        except UserError:
            raise
        except Exception as error:  # settings of a kind that nobody expects: they cost the piece
            told = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"the format {format.name!r} cannot read it ({told:.160})") from error
    return Arrangement(where, found.files, format.write, config, base)


def _with_companions(run: Path, piece: RunPiece, given: Given) -> RunPiece:
    """``piece``, together with the folders that have the config.json or tokenizer it lacks."""
    above = [piece.place.parent, *(one for one in piece.place.parent.parents if one.is_relative_to(run))]
    lacking = lacking_companions(piece.place)
    where = [one for one in ([given.config] if given.config else [*above[:2]]) if one is not None]
    taken = [next((one for one in where if has_companion(one, what)), None) for what in lacking]
    numbered = not any((piece.place / name).is_file() for name in (SINGLE_FILE, SHARD_INDEX))
    if not numbered and not any(taken):
        return piece
    folders = tuple(dict.fromkeys(one for one in taken if one is not None))
    return replace(piece, arrangement=Arrangement(piece.place, piece.files, "", None, None, folders))


def _alone(
    folder: Path,
    known: Sequence[CheckpointFormat],
    single: tuple[Path, CheckpointFormat, FoundCheckpoint],
    given: Given,
    source: CheckpointSource,
) -> RunListing:
    """A folder that is one checkpoint: a series of one, at the step that its name or its trainer tells, else at 0."""
    place = folder.resolve()
    piece = _stepped(place, _judged(folder, place, single, given, source), single[2])
    if piece.step is None:
        piece = replace(piece, step=single[2].step or 0, counts="steps" if single[2].step is not None else NO_COUNT)
    children = [one for one in sorted(folder.iterdir()) if one.is_dir()]
    ignored = [LeftOut(what=one.name, why=_why_ignored(one), file=str(one)) for one in children if one != single[0]]
    return RunListing(folder, (replace(piece, name=place.name),), tuple(ignored))


def _described_listing(
    run: Path, known: Sequence[CheckpointFormat], given: Given, source: CheckpointSource
) -> RunListing:
    """What ``series.json`` lists, as far as it is there; other sub-folders are ignored by name."""
    series = Series.from_json_file(run / SERIES_FILE)
    pieces = [_described_piece(run, point, known, given, source) for point in series.checkpoints]
    own = {piece.place.resolve() for piece in pieces}
    rest = [one for one in sorted(run.iterdir()) if (one.is_dir() or one.suffix in WEIGHT_SUFFIXES)]
    ignored = [
        LeftOut(what=one.name, why=f"not listed in {SERIES_FILE}", file=str(one))
        for one in rest
        if not any(place.is_relative_to(one.resolve()) for place in own)
    ]
    return settled(RunListing(run, tuple(pieces), tuple(ignored), series), given)


def _described_piece(
    run: Path, point: Checkpoint, known: Sequence[CheckpointFormat], given: Given, source: CheckpointSource
) -> RunPiece:
    if point.path is None:
        if point.repo is None:
            raise UserError(f"{run / SERIES_FILE}: checkpoint at step {point.step} has neither path nor repo")
        return RunPiece(Path(point.location), point.location, "hub", "ready", step=point.step, tokens=point.tokens)
    place = (run / point.path).resolve()
    if not place.exists():
        why = f"listed in {SERIES_FILE}, and the folder is missing"
        return RunPiece(place, point.path, "", "unfinished", why, step=point.step, tokens=point.tokens)
    found = recognised(place, known)
    if found is None:
        why = "no weights are there yet"
        return RunPiece(place, place.name, "", "unfinished", why, step=point.step, tokens=point.tokens)
    return replace(_judged(run, place, found, given, source), step=point.step, tokens=point.tokens)


# -- as series ------------------------------------------------------------------------------------------------------


def series_of(listing: RunListing, source: CheckpointSource, tokens_per_step: float | None = None) -> list[Series]:
    """The series of the pieces that can be read, one for each track; ``source`` learns how to read them."""
    tracks: dict[str, list[RunPiece]] = {}
    for piece in listing.pieces:
        if piece.is_readable:
            tracks.setdefault(piece.track, []).append(piece)
            if piece.arrangement is not None:
                source.arrange(piece.place, piece.arrangement)
    found = [_series(listing, track, pieces, source) for track, pieces in sorted(tracks.items())]
    if tokens_per_step is None:
        return found
    return [_counted(one, tokens_per_step, listing.described is None) for one in found]


def read_runs(
    folder: Path, given: Given, source: CheckpointSource, tokens_per_step: float | None = None
) -> tuple[list[Series], list[LeftOut]]:
    """The series in ``folder`` of all that can be read, and what cannot; a :class:`UserError` for an empty folder."""
    found: list[Series] = []
    left_out: list[LeftOut] = []
    for listing in run_listings(folder, given, source):
        if not listing.pieces:
            raise UserError(_empty(listing))
        for note in listing.notes():
            print(note, file=sys.stderr)
        found += series_of(listing, source, tokens_per_step)
        left_out += listing.left_out()
    return found, left_out


def _empty(listing: RunListing) -> str:
    shown = ", ".join(one.what for one in listing.ignored[:3]) + (" ..." if len(listing.ignored) > 3 else "")
    return (
        f"{listing.run}: the series is empty; expected sub-folders named checkpoint-<step>, iter_<step> or step<step>, "
        f"or a {SERIES_FILE} that lists some" + (f"; not known: {shown}" if shown else "")
    )


def _counted(series: Series, tokens_per_step: float, anew: bool) -> Series:
    points = series.checkpoints
    if anew:
        points = tuple(point.model_copy(update={"tokens": None}) for point in points)
    return series.model_copy(update={"tokens_per_step": tokens_per_step, "checkpoints": points})


def _series(listing: RunListing, track: str, pieces: list[RunPiece], source: CheckpointSource) -> Series:
    if listing.described is not None:
        points = {point.step: point for point in listing.described.checkpoints}
        kept = tuple(_located(listing.run, points[piece.step], piece) for piece in pieces if piece.step is not None)
        return listing.described.model_copy(update={"checkpoints": kept})
    points_found = tuple(
        Checkpoint(step=piece.step or 0, tokens=piece.tokens, path=str(piece.place.resolve())) for piece in pieces
    )
    counted = _parameters(points_found[-1], pieces[-1], source)
    run = listing.run.resolve()
    named = step_in_path(str(run / pieces[-1].name)) if track else None
    return Series(
        name=named[0] if named is not None else run.name,
        params=counted.params,
        params_non_embedding=counted.params_non_embedding,
        params_active=counted.params_active if counted.is_mixture else None,
        checkpoints=points_found,
    )


def _parameters(newest: Checkpoint, piece: RunPiece, source: CheckpointSource) -> ParameterCount:
    """What the newest checkpoint trains, told with the config.json that it is read with."""
    index = source.pickle_index(newest.folder or piece.place)
    lent = piece.arrangement.companions if piece.arrangement else ()
    folders = [one for one in (index.folder, *lent) if has_companion(one, "config.json")]
    counted = index.parameters(read_config(folders[0]) if folders else None)
    for line in counted.assumed:
        log.warning("%s: %s", piece.place, line)
    return counted


def _located(run: Path, point: Checkpoint, piece: RunPiece) -> Checkpoint:
    return point if point.path is None else point.model_copy(update={"path": str(piece.place.resolve())})
