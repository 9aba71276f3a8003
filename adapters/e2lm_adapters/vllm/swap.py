"""Brings an engine from one checkpoint to the next: in place where that is proven to be right, else as a fresh engine.

Three proofs, all against transformers on the same weights: of the engine as it started; of the way weights are
replaced (once, with weights in which every number is another); of every checkpoint after it was loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from e2lm.errors import E2LMError, one_line
from e2lm_adapters.vllm.engine import SwapFailedError, VllmEngine
from e2lm_adapters.vllm.proof import Distance, distance, disturbed_copy, proof_prompts
from e2lm_adapters.vllm.scoring import Way
from e2lm_adapters.vllm.truth import Transformers, UnprovableError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Loadings:
    """How the checkpoints of a series came into the engine, and what is to be told of it."""

    in_place: int = 0
    fresh: int = 0
    #: Of the checkpoint of the moment: why its engine was started afresh, where vLLM is not what transformers is.
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """For people."""
        return f"{self.in_place} checkpoints in place, {self.fresh} in fresh engines"


class ProvenSwaps:
    """The one who decides. ``why_not`` says from the start why nothing can be compared (None: it can)."""

    def __init__(self, engine: VllmEngine, transformers: Transformers, why_not: str | None) -> None:
        self._engine = engine
        self._transformers = transformers
        self._why_not_compared = why_not
        self._why_fresh = why_not
        self._is_proven_way = False
        self._start_is_due = why_not is None
        self._lines: set[str] = set()
        #: Every note of every checkpoint so far.
        self.fallbacks: list[str] = []
        #: Of the last comparison with transformers.
        self.distance: Distance | None = None
        self.loadings = Loadings()

    # -- proofs --------------------------------------------------------------------------------------------------

    def prove_start(self) -> None:
        """Compare an engine that has just been started; where it differs, say so: these are vLLM's own numbers."""
        if not self._start_is_due:
            return
        self._start_is_due = False
        try:
            found = self._distance(self._engine.folder)
        except UnprovableError as error:
            self._cannot_compare(error)
            return
        if not found.is_exact:
            self.note(f"vLLM's own numbers, in a fresh engine, are off those of transformers: {found}")
        if not found.agrees:
            self._why_fresh = "where vLLM's own numbers are not those of transformers, no swap can be proven"

    def _prove_way(self) -> None:
        """Replace the weights by disturbed ones; whatever happens, these do not stay in the engine."""
        with TemporaryDirectory(prefix="e2lm-proof-") as place:
            try:
                disturbed_copy(self._engine.folder, Path(place))
                self._engine.load_folder(Path(place))
                found = self._distance(Path(place))
            except (UnprovableError, SwapFailedError) as error:
                self._why_fresh = f"replacing weights in place cannot be proven ({one_line(error)})"
                return
        if not found.agrees:
            self._why_fresh = f"replaced in place, its weights answer otherwise than in transformers: {found}"
        self._is_proven_way = True

    def _distance(self, folder: Path) -> Distance:
        """How far the engine is from transformers with the weights in ``folder``."""
        prompts, dtype = proof_prompts(self._engine.vocabulary), self._engine.dtype
        half = str(dtype).removeprefix("torch.") if dtype.itemsize < 4 else None
        truth = self._transformers.truth(folder, prompts, half)
        try:
            scores = self._engine.score(prompts, Way.PLAIN)
        except E2LMError:
            raise
        except Exception as error:  # an engine whose weights were replaced may be in any state
            raise SwapFailedError(f"the engine fails ({type(error).__name__}: {one_line(error)[:200]})") from error
        self.distance = distance(truth, [score.logprobs_T or () for score in scores])
        return self.distance

    # -- the next checkpoint -------------------------------------------------------------------------------------

    def load(self, folder: Path) -> None:
        """Go on with the weights in ``folder``, which differ from those before in nothing but their numbers."""
        self.prove_start()
        self.loadings.notes.clear()
        if self._why_fresh is None and not self._is_proven_way:
            self._prove_way()
        if self._why_fresh is None:
            try:
                self._engine.load_folder(folder)
                found = self._distance(folder)
            except (UnprovableError, SwapFailedError) as error:
                self._replace(folder, one_line(error))
                return
            if found.agrees:
                self.loadings.in_place += 1
                return
            self._why_fresh = f"replaced in place, {folder.name} answers otherwise than in transformers: {found}"
        self._replace(folder, self._why_fresh)

    def _replace(self, folder: Path, why: str) -> None:
        self.load_fresh(why, partial(self._engine.replace, folder))

    def load_fresh(self, why: str, start: Callable[[], object]) -> None:
        """Let ``start`` begin afresh with another checkpoint, and prove it if anything can be."""
        self.loadings.notes.clear()
        self.loadings.fresh += 1
        self.note(f"scored in a fresh engine: {why}")
        start()
        self._start_is_due = self._why_not_compared is None
        self.prove_start()

    def anew(self) -> None:
        """Another configuration: what was proven of replacing weights has to be proven again."""
        self._is_proven_way, self._why_fresh = False, self._why_not_compared

    def _cannot_compare(self, error: UnprovableError) -> None:
        line = f"nothing to compare vLLM with: {one_line(error)}"
        if self.distance is None:  # else it is this checkpoint's own trouble
            self._why_fresh = self._why_not_compared = line
        self.note(line)

    def note(self, line: str) -> None:
        """Keep ``line`` about the checkpoint of the moment; it is logged once in a series."""
        self.loadings.notes.append(line)
        self.fallbacks.append(line)
        if line not in self._lines:
            self._lines.add(line)
            log.warning("e2lm-vllm: %s", line)


__all__ = ["Loadings", "ProvenSwaps"]
