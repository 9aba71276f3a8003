"""One live lm-eval model for all checkpoints of a series: what is new of each, weights or more, comes into it.

Where only the weights are new they are swapped in place. Where configuration, tokenizer, generation settings or type
are others than before, the model is built anew from the folder, as lm-eval builds it, and the reason is told.
"""

from __future__ import annotations

import errno
import gc
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.checkpoint import Checkpoint
from e2lm.errors import E2LMError, UserError, one_line
from e2lm.live_weights import SwapRefusedError, WeightSwapper
from e2lm.weights import SHARD_INDEX, read_weight_index
from e2lm_adapters.checkpoints.difference import difference, entries, tokenizer_place
from e2lm_adapters.checkpoints.identity import TOKENIZERS
from e2lm_adapters.checkpoints.source import CheckpointSource
from e2lm_adapters.scoring.swap import ReadAhead, UnloadableCheckpointError, UnusableCheckpointError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

#: Of system calls: no checkpoint's own.
MACHINE_ERRORS = (errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO)

#: Arguments of lm-eval's hf with which the live model is more than the stored weights, or elsewhere than in memory.
MORE_THAN_WEIGHTS = (
    "peft",
    "delta",
    "autogptq",
    "gptqmodel",
    "gguf_file",
    "load_in_4bit",
    "load_in_8bit",
    "quantization_config",
    "tp_plan",
)


class LiveModel:
    """``lm`` holds the checkpoint that was brought last; ``build`` makes an lm-eval model of a folder.

    ``is_merged``: the tensors are averages that no folder holds.
    """

    def __init__(
        self,
        build: Callable[[Path], Any],
        source: CheckpointSource,
        arguments: Mapping[str, Any],
        is_merged: bool,
    ) -> None:
        self._build = build
        self._source = source
        self._arguments = arguments
        self._is_merged = is_merged
        self._always = next((f"--model-args {name}" for name in MORE_THAN_WEIGHTS if arguments.get(name)), "")
        self._swapper: WeightSwapper | None = None
        #: From this folder the live model differs in its weights at most. Always that of the last checkpoint: an
        #: earlier one may have been fetched, or arranged, and be gone by now.
        self._like: Path | None = None
        self._brought: Checkpoint | None = None
        self.lm: Any = None
        #: That and why the model was built anew for the present checkpoint; empty where weights were swapped.
        self.built_anew = ""

    def bring(self, checkpoint: Checkpoint, reader: ReadAhead) -> None:
        """Make ``lm`` that of ``checkpoint``; an :class:`UnusableCheckpointError` where that cannot be."""
        if checkpoint == self._brought:
            return
        self._brought = None
        if self._takes_folders and not self._is_merged:
            self._tell(self._load_by_engine(checkpoint, reader))
        else:
            self._tell(self._load(checkpoint, reader))
        self._brought = checkpoint

    def needs_tensors(self, checkpoint: Checkpoint) -> bool:
        """Whether reading ahead is of use: a folder at hand that an engine or a new model reads itself is not."""
        if self._is_merged or not self._source.is_at_hand(checkpoint):
            return True
        try:
            return not (self._takes_folders or self._why_built_anew(self._source.folder(checkpoint)))
        except (UserError, OSError):  # what is wrong with it is told when its turn comes
            return True

    def close(self) -> None:
        """Give back what the model holds outside this process."""
        if hasattr(self.lm, "close"):
            self.lm.close()

    # -- ways to load ----------------------------------------------------------------------------------------------

    @property
    def _takes_folders(self) -> bool:
        """An engine with a format of its own takes whole folders, and tensors where there is no folder: merges."""
        return hasattr(self.lm, "load_checkpoint")

    def _load_by_engine(self, checkpoint: Checkpoint, reader: ReadAhead) -> str:
        if not self._source.is_at_hand(checkpoint):
            reader.take(checkpoint)  # waits until it has been fetched
        folder = self._source.folder(checkpoint)
        require_loadable(folder, self._arguments)
        self.lm.load_checkpoint(folder)  # what it says of the checkpoint is an error of its own
        return ""  # it decides, and tells, by itself

    def _tell(self, why: str) -> None:
        """One line for each kind of reason; which checkpoints it was for is in the run record."""
        own, engines = f"the model was built anew: {why}" if why else "", str(getattr(self.lm, "built_anew", ""))
        told = "; ".join(filter(None, (own, engines)))
        if why and told != self.built_anew:
            log.warning("%s: the model is built anew: %s", self._like, why)
        self.built_anew = told

    def _load(self, checkpoint: Checkpoint, reader: ReadAhead) -> str:
        """Why the model was built anew; nothing where it was not, or is the first."""
        wanted = self._is_merged or (self.lm is not None and self.needs_tensors(checkpoint))
        tensors = reader.take(checkpoint) if wanted else None
        folder = self._source.folder(checkpoint)
        why = "" if self.lm is None else self._why_built_anew(folder)
        if self.lm is not None and not why:
            why = self._why_not_swapped(tensors, folder)
            if not why:
                self._like = folder
                return ""
        was_there = self.lm is not None
        self._build_from(folder)
        if self._is_merged and (refused := self._why_not_swapped(tensors, folder)):
            raise UserError(f"--merge: {refused}")
        return why if was_there else ""

    def _why_not_swapped(self, tensors: Mapping[str, torch.Tensor] | None, folder: Path) -> str:
        """Swap; why that cannot be, or nothing."""
        if self._takes_folders:
            self.lm.swap(tensors)
            return ""
        if self._swapper is None or tensors is None:
            return self._always or "there are no tensors to swap"
        try:
            self._swapper.swap(tensors, folder)
        except SwapRefusedError as error:
            return str(error)
        except UserError as error:
            raise UnusableCheckpointError(str(error)) from error
        return ""

    def _build_from(self, folder: Path) -> None:
        require_loadable(folder, self._arguments)
        self._release()
        self.lm = self._build(folder)
        self._like = folder
        if "quantization_config" in (entries(folder / "config.json") or {}):
            self._always = self._always or "stored weights are quantized, so they are not those of the live model"
        if self._takes_folders or self._always:
            return
        try:
            self._swapper = WeightSwapper(self.lm.model, read_weight_index(folder))
        except SwapRefusedError as error:
            self._always = str(error)
        except UserError as error:
            self._release()
            raise UnusableCheckpointError(str(error)) from error

    def _release(self) -> None:
        """The old model goes before the new one comes."""
        was_there = self.lm is not None
        self.close()
        self.lm = self._swapper = self._like = None
        if was_there:
            gc.unfreeze()  # what was there when the search for garbage was paused is looked at again
            gc.collect()
            if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
                sys.modules["torch"].cuda.empty_cache()

    # -- what is new -----------------------------------------------------------------------------------------------

    def _why_built_anew(self, folder: Path) -> str:
        if self._always:
            return self._always
        if self._like is None or folder == self._like:
            return ""
        return difference(self._like, folder, self._arguments)


# -- before a model is built --------------------------------------------------------------------------------------


def require_loadable(folder: Path, arguments: Mapping[str, Any]) -> None:
    """An :class:`UnusableCheckpointError` where ``folder`` lacks a configuration, or a tokenizer here and above."""
    file = folder / "config.json"
    if not file.is_file():
        raise UnusableCheckpointError(f"{folder}: no config.json, so no model; copy it from another checkpoint")
    if "model_type" not in (entries(file) or {}):
        raise UnusableCheckpointError(f"{file}: no JSON with a model_type; copy it from another checkpoint")
    index = folder / SHARD_INDEX
    if index.is_file() and "metadata" not in (entries(index) or {}):
        raise UnusableCheckpointError(f'{index}: has no "metadata", which transformers asks for; add "metadata": {{}}')
    if not arguments.get("tokenizer") and tokenizer_place(folder) is None:
        raise UnusableCheckpointError(
            f"{folder}: no tokenizer ({', '.join(TOKENIZERS[:3])}, ...), and none in the folder above; copy it there, "
            "or name one with --model-args tokenizer=FOLDER"
        )


def built(
    folder: Path,
    build: Callable[[dict[str, Any]], Any],
    arguments: Mapping[str, Any],
    own_errors: tuple[type[Exception], ...] = (OSError, ValueError, ImportError),
) -> Any:
    """What ``build`` makes of ``arguments`` for the checkpoint in ``folder``.

    ``own_errors`` are its own: an :class:`UnloadableCheckpointError` in one line. What the machine lacks is not.
    """
    given = {**arguments, "pretrained": str(folder)}
    place = tokenizer_place(folder)
    if not given.get("tokenizer") and place not in (None, folder):
        given["tokenizer"] = str(place)
    try:
        return build(given)
    except (E2LMError, MemoryError):
        raise
    except own_errors as error:
        told = f"{type(error).__name__}: {one_line(error)}"
        if "out of memory" in told.lower() or (isinstance(error, OSError) and error.errno in MACHINE_ERRORS):
            raise
        if "ignore_mismatched_sizes" in told:  # what transformers logged before is more than a line
            told = "its config.json asks for other shapes than its tensors have"
        message = f"{folder}: cannot be loaded ({told[:240]})"
        raise UnloadableCheckpointError(message, told.replace(str(folder), "")) from error
