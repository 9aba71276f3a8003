"""What of a checkpoint's folder can change a number: weights, seen in one pass, and which other files.

Configuration, tokenizer, chat template, generation settings and the model's own code; not what a trainer leaves for
itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np

from e2lm.weights import StoredTensor, WeightIndex

#: Files that transformers may read when it loads a model or a tokenizer.
READ_FILES = (
    "*.json", "*.jinja", "*.py", "*.model", "*.tiktoken", "*.vocab", "*.bpe", "*.spm", "vocab*.txt", "merges*.txt",
)  # fmt: skip
#: Of those, what trainers and uploaders leave: it says nothing of the model.
LEFT_BY_TRAINERS = (
    "trainer_state.json", "*.index.json", "*results*.json", "training_args*.json", "series.json",
    "optimizer*", "scheduler*",
)  # fmt: skip
#: Any of these makes a folder one with a tokenizer.
TOKENIZERS = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt",
    "*.tiktoken",
)  # fmt: skip
#: All that the tokens of a text, or the text of a chat, depend on.
TOKENIZER_FILES = (
    *TOKENIZERS, "special_tokens_map.json", "added_tokens.json", "merges.txt", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip
#: Defaults of sampling: read where text is generated, and nowhere else.
GENERATION_FILE = "generation_config.json"
BLOCK_BYTES = 1 << 22

#: Name of the file and its hash.
InputFiles = tuple[tuple[str, str], ...]


def is_input(name: str) -> bool:
    """Whether a file of this name can change a number.

    >>> [is_input(name) for name in ("config.json", "trainer_state.json", "merges.txt", "optimizer.pt")]
    [True, False, True, False]
    """
    matches = any(fnmatchcase(name, pattern) for pattern in READ_FILES)
    return matches and not any(fnmatchcase(name, pattern) for pattern in LEFT_BY_TRAINERS)


def is_of_tokenizer(name: str) -> bool:
    """Whether a file of this name is part of a tokenizer, or of how it writes a chat."""
    return any(fnmatchcase(name, pattern) for pattern in TOKENIZER_FILES)


def has_tokenizer(folder: Path) -> bool:
    """Whether a file that makes a tokenizer lies in ``folder``."""
    return any(file.is_file() for pattern in TOKENIZERS for file in folder.glob(pattern))


def content_hash(file: Path) -> str:
    """SHA-256 of the bytes of ``file``."""
    digest = sha256()
    with open(file, "rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def input_files(folder: Path, hash_of: Callable[[Path], str] = content_hash) -> InputFiles:
    """Every file in ``folder`` that can change a number, weights apart, in order of name.

    Where the folder has no tokenizer, that of the folder above, which trainers leave there once for all checkpoints.
    """
    if not folder.is_dir():  # a file of weights that a format of its own is read by
        return ()
    found = _inputs(folder)
    if not has_tokenizer(folder):
        above = (file for pattern in TOKENIZER_FILES for file in sorted(folder.parent.glob(pattern)))
        found += [file for file in above if file.is_file()]
    return tuple((_name(file, folder), hash_of(file)) for file in found)


def _inputs(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if is_input(file.name) and file.is_file()]


def _name(file: Path, folder: Path) -> str:
    return file.name if file.parent == folder else f"../{file.name}"


#: By safetensors' name of a type: bytes of a number, and its bits that are all set in NaN and infinity alone.
_EXPONENTS = {"F64": (8, 0x7FF0 << 48), "F32": (4, 0x7F80 << 16), "F16": (2, 0x7C00), "BF16": (2, 0x7F80)}
#: Types in which every pattern of bits is a number.
_WHOLE = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")


def seen_bytes(index: WeightIndex) -> tuple[str, str] | None:
    """In one pass over the files: the hash of the weights, and what is not finite in them (empty where all is).

    The hash is that of :func:`e2lm.weights.weights_hash`. None where a type of numbers (eight bits and fewer) has to be
    asked of torch, or tensors lie over one another.
    """
    if any(tensor.dtype not in (*_EXPONENTS, *_WHOLE) for tensor in index.tensors.values()):
        return None
    digest, told = sha256(), ""
    for file in index.files:
        digest.update(file.name.encode() + b"\0")
        stored = sorted(
            ((name, one) for name, one in index.tensors.items() if one.file == file), key=lambda pair: pair[1].start
        )
        if any(after.start < before.end for (_, before), (_, after) in pairwise(stored)):
            return None
        bad = _read_once(file, stored, digest.update)
        told = told or bad
    return digest.hexdigest(), f"{index.folder}: {told}" if told else ""


def _read_once(file: Path, stored: Sequence[tuple[str, StoredTensor]], see: Callable[[bytes], object]) -> str:
    """Hand every byte of ``file`` to ``see``; says which tensor is the first with NaN or infinity."""
    told = ""
    with open(file, "rb") as handle:
        for name, tensor in stored:
            see(handle.read(tensor.start - handle.tell()))
            bad = 0
            while block := handle.read(min(BLOCK_BYTES, tensor.end - handle.tell())):
                see(block)
                bad += _not_finite(block, tensor.dtype)
            if bad and not told:
                count = math.prod(tensor.shape)
                told = f"tensor {name!r} holds {bad} NaN or infinite of {count} numbers"
        while block := handle.read(BLOCK_BYTES):
            see(block)
    return told


def _not_finite(block: bytes, dtype: str) -> int:
    if dtype in _WHOLE:
        return 0
    width, exponent = _EXPONENTS[dtype]
    bits_N = np.frombuffer(block, dtype=f"<u{width}")
    return int(np.count_nonzero((bits_N & bits_N.dtype.type(exponent)) == exponent))
