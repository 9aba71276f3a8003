"""What a unit is known by: everything that can change one of its numbers, part by part, and how two of them differ.

Part by part, so that a unit which no longer fits can be told by what changed. In it: weights, files of the checkpoint
(:mod:`e2lm_adapters.checkpoints.identity`), requests, documents, settings and code of the task
(:mod:`e2lm_adapters.lm_eval.task_code`), the model with its arguments and the files these name, lm-eval (version and
content), transformers and tokenizers (version, commit). Not in it: torch and the device, which change last bits and no
definition; the run record has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from e2lm_adapters.checkpoints.identity import GENERATION_FILE, InputFiles, content_hash, is_input

#: Name of a part -> its text or hash.
Parts = dict[str, str]

#: Distributions that define what a number is.
DEFINING = ("transformers", "tokenizers")
#: Of a folder that an argument names: an adapter, say.
WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth")
#: Of lm-eval: what asks, answers, filters and aggregates. Tasks are known by their own parts.
LM_EVAL_SOURCES = (
    "*.py",
    "api/**/*.py",
    "config/**/*.py",
    "filters/**/*.py",
    "models/huggingface.py",
    "models/utils*.py",
)


def unit_key(parts: Mapping[str, str]) -> str:
    """40 hexadecimal digits that name the unit."""
    return sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()[:40]


def unit_parts(
    weights_sha256: str, files: InputFiles, task: Mapping[str, str], surroundings: Mapping[str, str], generates: bool
) -> Parts:
    """All parts of one unit; ``surroundings`` are those that every unit of a command shares."""
    own = {f"file {name}": found for name, found in files if generates or name != GENERATION_FILE}
    return {"weights": weights_sha256, **own, **task, **surroundings}


def surroundings(model: str, adapter: str, model_arguments: Mapping[str, Any]) -> Parts:
    """The parts that are the same for all checkpoints and tasks of a command."""
    named = {name: _version(name) for name in (*DEFINING, *(("vllm",) if "vllm" in model else ()))}
    files = {f"argument {name}": found for name, value in model_arguments.items() if (found := _files_of(name, value))}
    return {"model": adapter, "lm_eval": f"{_version('lm_eval')} {_lm_eval_content()}", **named, **files}


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """What tells the two apart, in words, shortest first.

    >>> differing({"weights": "a", "file config.json": "b", "lm_eval": "1 x"}, {"weights": "a", "lm_eval": "2 x"})
    ['config.json', 'lm_eval 1 instead of 2']
    """
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return sorted(
        (_told(name, ours.get(name, ""), theirs.get(name, "")) for name in names), key=lambda one: (len(one), one)
    )


def _told(name: str, ours: str, theirs: str) -> str:
    kind, _, what = name.partition(" ")
    if kind in ("file", "code"):
        return what
    before, now = (one.partition(" ")[0] or "unknown" for one in (ours, theirs))
    if kind in ("lm_eval", "vllm", *DEFINING) and before != now:
        return f"{kind} {before} instead of {now}"
    return {"argument": f"what --model-args {what} names", "lm_eval": "the code of lm-eval"}.get(kind, name)


def _version(name: str) -> str:
    """The version, and of a distribution installed from a repository the commit."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return "unknown"
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id", "")
    return f"{found.version}+{commit}" if commit else found.version


def _lm_eval_content() -> str:
    """A hash over the files of lm-eval that make a number: an installed checkout changes under one version."""
    spec = find_spec("lm_eval")
    folder = Path(((spec and spec.submodule_search_locations) or ["."])[0])
    files = [file for pattern in LM_EVAL_SOURCES for file in sorted(folder.glob(pattern))]
    return _hash_over(folder, files)[:16]


def _files_of(name: str, value: object) -> str:
    """A hash over the file or folder that a model argument names; empty where it names none."""
    place = Path(value) if isinstance(value, str) and value else None
    if place is None or not place.exists():
        return ""
    if place.is_file():
        return _hash_over(place.parent, [place])
    weights = () if name == "tokenizer" else WEIGHT_FILES
    files = (file for file in sorted(place.rglob("*")) if file.is_file())
    return _hash_over(place, [file for file in files if is_input(file.name) or file.suffix in weights])


def _hash_over(root: Path, files: Iterable[Path]) -> str:
    digest = sha256()
    for file in files:
        digest.update(f"{file.relative_to(root)} {content_hash(file)}\n".encode())
    return digest.hexdigest()
