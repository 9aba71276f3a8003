"""A piece of a run: one checkpoint or what is left of one, and the list of all that lie in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from e2lm.run_record import LeftOut
from e2lm.series import Series
from e2lm_adapters.checkpoints.identity import has_tokenizer
from e2lm_adapters.checkpoints.source import Arrangement

#: What the step of a model counts of which none is known.
NO_COUNT = "nothing"


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave beside the run: a folder with config.json and tokenizer, a base, whether pickles are read."""

    config: Path | None = None
    base: str | None = None
    allow_pickle: bool = False
    tokenizer: bool = False


@dataclass(frozen=True, slots=True)
class RunPiece:
    """A checkpoint, or what is left of one.

    ``state`` is ready, unfinished, duplicate, convert, needs, other model, or no-step. ``why`` says more for people;
    ``command`` is what converts it; ``counts`` what ``step`` counts.
    """

    place: Path
    name: str
    format: str
    state: str
    why: str = ""
    command: str = ""
    step: int | None = None
    track: str = ""
    counts: str = "steps"
    tokens: int | None = None
    params: int | None = None
    params_non_embedding: int | None = None
    files: tuple[Path, ...] = ()
    arrangement: Arrangement | None = None

    @property
    def is_readable(self) -> bool:
        """Whether it can be scored."""
        return self.state in ("ready", "same-bytes")

    @property
    def told(self) -> str:
        """Its state in words."""
        words = {"ready": "ready", "same-bytes": "duplicate of " + self.why, "duplicate": "duplicate of " + self.why}
        if self.state in words:
            return words[self.state]
        first = {"convert": "", "needs": "needs ", "no-step": "no step: "}.get(self.state, f"{self.state}: ")
        command = f"convert: {self.command}" if self.command else ""
        return f"{first}{'; '.join(part for part in (self.why, command) if part)}"

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        state = "duplicate" if self.state == "same-bytes" else self.state
        return {
            "name": self.name,
            "path": str(self.place),
            "step": self.step,
            "counts": self.counts,
            "track": self.track,
            "tokens": self.tokens,
            "format": self.format,
            "params": self.params,
            "params_non_embedding": self.params_non_embedding,
            "state": state,
            "why": self.why,
            "command": self.command or None,
            "duplicate_of": self.why if state == "duplicate" else None,
        }


@dataclass(frozen=True, slots=True)
class RunListing:
    """The pieces of a run in order of step, and what was passed over with the reason."""

    run: Path
    pieces: tuple[RunPiece, ...]
    ignored: tuple[LeftOut, ...] = ()
    described: Series | None = None

    @property
    def has_checkpoints(self) -> bool:
        """Whether any piece tells where in training it is."""
        return any(piece.step is not None for piece in self.pieces)

    def left_out(self) -> list[LeftOut]:
        """What an evaluation of this run does without, and why."""
        pieces = [piece for piece in self.pieces if not piece.is_readable]
        return [
            LeftOut(what=f"{self.run.resolve().name}/{one.name}", why=one.told, file=str(one.place)) for one in pieces
        ]

    def notes(self) -> list[str]:
        """What whoever reads the steps has to know: that they count something else, that bytes are the same."""
        read = [piece for piece in self.pieces if piece.is_readable]
        counted = sorted({piece.counts for piece in read} - {"steps"})
        told = [
            f"{self.run}: no step is known of it; 0 is written"
            if what == NO_COUNT
            else f"{self.run}: no name tells a step; {what} are taken for steps"
            for what in counted
        ]
        lent = sorted({str(one) for piece in read if piece.arrangement for one in piece.arrangement.companions})
        told += [f"{self.run}: config.json or tokenizer is not beside the weights; {one} has it" for one in lent]
        same = [piece for piece in read if piece.state == "same-bytes"]
        return told + [f"{self.run}: {one.name} has the same bytes as {one.why}" for one in same]


def lacking_companions(place: Path) -> list[str]:
    """Those of ``config.json`` and ``tokenizer`` that do not lie beside the weights."""
    return [what for what in ("config.json", "tokenizer") if not has_companion(place, what)]


def has_companion(folder: Path, what: str) -> bool:
    """Whether ``folder`` has a ``config.json``, or any file of a ``tokenizer``."""
    return has_tokenizer(folder) if what == "tokenizer" else (folder / what).is_file()
