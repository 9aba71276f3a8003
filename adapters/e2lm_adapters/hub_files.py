"""Files of one revision on the Hub, and which of ours are the same: told by hash, without a transfer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha1, sha256
from pathlib import Path
from typing import Literal

from e2lm.errors import UserError
from e2lm_adapters.hub_listing import asked, hub

RepoKind = Literal["model", "dataset"]

#: A block of a file that is hashed.
BLOCK_BYTES = 1 << 22
#: What a checkpoint consists of: weights as safetensors, configuration, tokenizer. Nothing pickled.
CHECKPOINT_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja")
#: Copies for other frameworks and of other layouts, and the state of the training program.
LEFT_OUT = ("original/*", "onnx/*", "consolidated*", "*training_args*", "*optimizer*")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the Hub: ``sha256`` for a large one, else the hash of its git blob."""

    sha256: str | None
    blob: str
    size: int

    def is_same(self, content: Path | bytes) -> bool:
        """Whether ``content`` has the same bytes."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if size != self.size:
            return False
        digest = sha256() if self.sha256 is not None else sha1(b"blob %d\0" % size)
        if isinstance(content, bytes):
            digest.update(content)
        else:
            with open(content, "rb") as handle:
                while block := handle.read(BLOCK_BYTES):
                    digest.update(block)
        return digest.hexdigest() == (self.sha256 or self.blob)


def remote_files(repo: str, kind: RepoKind, revision: str) -> dict[str, RemoteFile]:
    """Everything in ``revision`` (a branch or a commit), by path."""
    tree = asked(
        f"{repo}@{revision}",
        lambda: list(hub().list_repo_tree(repo, revision=revision, recursive=True, repo_type=kind)),
    )
    return {
        entry.path: RemoteFile(None if entry.lfs is None else entry.lfs.sha256, entry.blob_id, entry.size)
        for entry in tree
        if hasattr(entry, "blob_id")
    }


def matching(names: Iterable[str], patterns: Iterable[str] = CHECKPOINT_FILES) -> list[str]:
    """Those of ``names`` that a checkpoint consists of, in order.

    >>> matching(["model.safetensors", "optimizer.pt", "config.json", "training_args.bin", "onnx/config.json"])
    ['config.json', 'model.safetensors']
    """

    def is_any(name: str, wanted: Iterable[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in wanted)

    return sorted(name for name in names if is_any(name, patterns) and not is_any(name, LEFT_OUT))


def require_network(what: str) -> None:
    """A :class:`UserError` where ``HF_HUB_OFFLINE`` is set."""
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        raise UserError(f"{what}: no network (HF_HUB_OFFLINE is set); unset it to reach the Hub")
