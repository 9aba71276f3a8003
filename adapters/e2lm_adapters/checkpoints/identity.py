"""What of a checkpoint's folder can change a number beside its weights: which files, and a hash of each.

Configuration, tokenizer, chat template, generation settings and the model's own code; not what a trainer leaves for
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

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
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
BESIDE_TOKENIZERS = (*TOKENIZERS, "special_tokens_map.json", "added_tokens.json", "merges.txt", "chat_template.jinja")
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
    found = _inputs(folder)
    if not any(file.name in TOKENIZERS for file in found):
        found += [file for name in BESIDE_TOKENIZERS if (file := folder.parent / name).is_file()]
    return tuple((_name(file, folder), hash_of(file)) for file in found)


def _inputs(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if is_input(file.name) and file.is_file()]


def _name(file: Path, folder: Path) -> str:
    return file.name if file.parent == folder else f"../{file.name}"
