"""Inside every worker of the engine: replaces weights, mends what vLLM leaves behind, tells what it complained of.

vLLM (0.32) packs some weights for CPUs while it loads them and leaves two of these packed copies as they were when it
loads again (RFC 48312): the output head where it is tied to the embeddings, and the experts of a mixture. Both have a
step of vLLM's own that packs them, which is called again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: What ``worker_extension_cls`` is told, and the method it adds.
EXTENSION = "e2lm_adapters.vllm.worker.ListeningWorker"
RELOAD = "reload_weights_and_listen"

#: Of vLLM's warnings, those that say that a weight is not what the file says.
_SERIOUS = re.compile(r"fail|missing|unexpected|mismatch|not (been )?(loaded|found|initiali[sz]ed)", re.IGNORECASE)
_NOTHING_STORED = re.compile(r"^(\w+): Failed to load weights$")


class ListeningWorker:
    """Becomes a base class of vLLM's own worker."""

    def reload_weights_and_listen(self, weights_path: str) -> list[str]:
        """Replace the weights by those in the folder ``weights_path``; the serious warnings vLLM gave meanwhile."""
        worker: Any = self
        with heard_warnings() as told:
            worker.reload_weights(weights_path=weights_path)
        model = worker.get_model()
        pack_again(model)
        without_own = classes_without_own(model)
        return [line for line in told if not _is_about(line, without_own)]


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """The serious warnings of vLLM's loggers within the block, however quiet they are to people."""
    told: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = record.getMessage()
            if _SERIOUS.search(line):
                told.append(line)

    logger, ear = logging.getLogger("vllm"), Ear(logging.WARNING)
    level = logger.level
    logger.addHandler(ear)
    # Its other handlers have a level of their own, so nothing more is printed.
    logger.setLevel(min(level or logging.WARNING, logging.WARNING))
    try:
        yield told
    finally:
        logger.setLevel(level)
        logger.removeHandler(ear)


def pack_again(model: Any) -> None:
    """Let vLLM pack again what it keeps packed beside, or in place of, the weights of ``model``; on CPUs only."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        weight = getattr(module, "weight", None)
        # Linear layers give their own weight away when they pack it, so a reload packs the new one by itself.
        if hasattr(module, "cpu_linear") and weight is not None and weight.numel():
            _process(method, module)
        _process(getattr(getattr(method, "moe_kernel", None), "fused_experts", None), module)


def _process(packer: Any, module: Any) -> None:
    if hasattr(packer, "process_weights_after_loading"):
        packer.process_weights_after_loading(module)


def classes_without_own(model: Any) -> frozenset[str]:
    """Names of classes whose modules store nothing of their own: a tied output head, a table of rotations."""
    users: dict[int, int] = {}
    stored: dict[str, list[int]] = {}
    for module in model.modules():
        tables = [table for name, table in module.named_buffers(recurse=False) if _is_stored(module, name)]
        places = {tensor.data_ptr() for tensor in [*module.parameters(recurse=False), *tables]}
        stored.setdefault(type(module).__name__, []).extend(places)
        for place in places:
            users[place] = users.get(place, 0) + 1
    return frozenset(name for name, places in stored.items() if all(users[place] > 1 for place in places))


def _is_stored(module: Any, buffer: str) -> bool:
    return buffer not in module._non_persistent_buffers_set


def _is_about(line: str, classes: frozenset[str]) -> bool:
    found = _NOTHING_STORED.match(line)
    return found is not None and found[1] in classes
