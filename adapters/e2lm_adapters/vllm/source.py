"""Where the files of ``pretrained=...,revision=...,subfolder=...`` are."""

from __future__ import annotations

from pathlib import Path

from e2lm.errors import UserError, one_line

#: What an evaluation reads of a repository: no pickles, no optimizer states.
WANTED_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py", "*.tiktoken")


def checkpoint_folder(pretrained: str, revision: str | None, subfolder: str | None) -> Path:
    """The local folder of a checkpoint; a Hub name is downloaded, or taken from the Hub's cache when offline."""
    root = Path(pretrained)
    if not root.is_dir():
        if root.is_absolute() or pretrained.startswith((".", "~")):
            raise UserError(f"pretrained={pretrained}: no such folder")
        root = _downloaded(pretrained, revision, subfolder)
    folder = root / subfolder if subfolder else root
    if not (folder / "config.json").is_file():
        near = sorted(path.parent.name for path in root.glob("*/config.json"))[:5]
        hint = f"; subfolder= may be one of {', '.join(near)}" if near else ""
        raise UserError(f"{folder}: no config.json, so no checkpoint{hint}")
    return folder


def _downloaded(repo: str, revision: str | None, subfolder: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # A subfolder may hold the weights only; the tokenizer is then in the folder above.
    patterns = list(WANTED_FILES)
    if subfolder:
        patterns = [f"{subfolder}/{one}" for one in WANTED_FILES] + [
            one for one in WANTED_FILES if one != "*.safetensors"
        ]
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        where = f"{repo}@{revision}" if revision else repo
        raise UserError(
            f"pretrained={where}: neither a folder nor a model on the Hub that can be read ({one_line(error)[:200]})"
        ) from error
