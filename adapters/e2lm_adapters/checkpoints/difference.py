"""In what two checkpoints of a series differ beside their weights, and which tokenizer belongs to one.

Where they differ in anything of that, weights alone do not make one model the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoints.identity import has_tokenizer, input_files, is_of_tokenizer

#: Entries of configurations that say where a file came from and by what it was written.
SILENT_ENTRIES = frozenset(
    {
        "_name_or_path",
        "name_or_path",
        "transformers_version",
        "_commit_hash",
        "_from_model_config",
        "special_tokens_map_file",
    }
)
#: The type of the weights under its two names.
TYPE_ENTRIES = ("dtype", "torch_dtype")


def tokenizer_place(folder: Path) -> Path | None:
    """``folder``, or the one above it where trainers leave the tokenizer once for all checkpoints; None: neither."""
    return next((place for place in (folder, folder.parent) if has_tokenizer(place)), None)


def difference(first: Path, other: Path, arguments: Mapping[str, Any]) -> str:
    """What of ``other`` beside its weights makes another model of it than of ``first``; nothing, if that is so.

    What ``arguments`` of the model settle (``tokenizer``, ``dtype``) is no difference.
    """
    for folder in (first, other):
        if not folder.is_dir():
            return f"{folder} is gone"
    ours, theirs = _files(first), _files(other)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) == theirs.get(name) or (is_of_tokenizer(name) and arguments.get("tokenizer")):
            continue
        if name not in ours or name not in theirs:
            missing, there = (first, other) if name not in ours else (other, first)
            return f"{name} is in {there.name} and not in {missing.name}"
        if not name.endswith(".json"):
            return f"{name} is another than in {first.name}"
        silent = SILENT_ENTRIES | (set(TYPE_ENTRIES) if _settled(arguments) else set())
        if entry := _differing_entry(_found(first, name), _found(other, name), silent):
            return f"{entry} in {name} is another than in {first.name}"
    if not _settled(arguments) and _stored_type(first) != _stored_type(other):
        return f"weights of type {_stored_type(other)}, in {first.name} {_stored_type(first)}"
    return ""


def _files(folder: Path) -> dict[str, str]:
    """By name, wherever the file lies."""
    return {name.removeprefix("../"): found for name, found in input_files(folder)}


def _found(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_file() else folder.parent / name


def _settled(arguments: Mapping[str, Any]) -> bool:
    return arguments.get("dtype", "auto") not in ("auto", None)


def _differing_entry(first: Path, other: Path, silent: frozenset[str] | set[str]) -> str:
    """The first entry of two JSON files in which they differ; the whole of them where they are no objects."""
    ours, theirs = entries(first), entries(other)
    if ours is None or theirs is None:
        return "something"
    names = sorted((ours.keys() | theirs.keys()) - silent)
    return next((name for name in names if ours.get(name) != theirs.get(name)), "")


def entries(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file, the type of numbers under its present name; None where there is no such thing."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if "torch_dtype" in found:  # as it was called before transformers 4.56
        found.setdefault("dtype", found.pop("torch_dtype"))
    return found


def _stored_type(folder: Path) -> str:
    """What ``dtype=auto`` comes to where the configuration names no type: that of the first number with a point."""
    config = entries(folder / "config.json") or {}
    if config.get("dtype"):
        return str(config["dtype"])
    tensors = read_weight_index(folder).tensors.values()
    return next((tensor.dtype for tensor in tensors if tensor.dtype.startswith(("F", "BF"))), "")
