"""The revisions of a repository on the Hub, with a hash of the weights of each, known without downloading them.

The list is written beside the downloads, so that a finished evaluation can be repeated offline.
Which of our files are the same as those of a revision is told by hash, too, without a transfer.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha1, sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from e2lm.atomic_file import write_json
from e2lm.errors import UserError, one_line
from e2lm.noun import Noun
from e2lm.series import SERIES_FILE, Series
from e2lm.step_name import step_of
from e2lm.weights import CONFIG_FILE, read_config
from e2lm_adapters.checkpoints.identity import is_input

T = TypeVar("T")

#: Requests at a time; the Hub allows some 3 per second to anonymous users, so more would only wait.
REQUESTS_AT_A_TIME = 4
WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")


class HubFolder(Noun):
    """A folder of a revision with weights in it: their files, and a hash over names and contents of these."""

    name: str
    weights_sha256: str
    files: tuple[str, ...]
    bytes: Annotated[int, Field(ge=0)] = 0

    @property
    def safetensors(self) -> tuple[str, ...]:
        """Those files that are safetensors."""
        return tuple(one for one in self.files if one.endswith(".safetensors"))


class HubRevision(Noun):
    """A branch or tag: its commit, and a hash over the names and contents of its files of weights.

    ``folders`` are those with weights in them; None where a listing of before does not know.
    ``inputs`` are name and hash of configuration, tokenizer and what else counts; None in older lists too.
    """

    name: str
    commit: str
    weights_sha256: str
    safetensors: bool
    bytes: Annotated[int, Field(ge=0)] = 0
    folders: tuple[HubFolder, ...] | None = None
    inputs: tuple[tuple[str, str], ...] | None = None

    def folder(self, name: str) -> HubFolder | None:
        """What is known of the folder ``name``."""
        return next((one for one in self.folders or () if one.name == name), None)

    def inputs_of(self, folder: str) -> tuple[tuple[str, str], ...]:
        """``inputs`` of a model in ``folder``: what lies there or, for all folders, at the root."""
        places = [(path.rpartition("/"), tag) for path, tag in self.inputs or ()]
        return tuple((f"{place}/{name}", tag) for (place, _, name), tag in places if place in ("", folder))


class HubListing(Noun):
    """What is known of the repository ``repo``; ``described`` is the ``series.json`` of its main branch ``main``."""

    schema_version: Literal[1] = 1
    repo: str
    revisions: tuple[HubRevision, ...]
    params: int | None = None
    params_non_embedding: int | None = None
    params_active: int | None = None
    count_version: int = 1
    main: str | None = None
    described: Series | None = None


#: By what rule parameters were counted; raised when the same weights count as others.
COUNT_VERSION = 2
#: What a listing counted by an earlier rule does not tell.
UNCOUNTED: dict[str, Any] = {"params": None, "params_non_embedding": None, "params_active": None}


def listing_path(cache: Path, repo: str) -> Path:
    """Where the list is kept."""
    return cache / f"{repo.replace('/', '--')}.json"


def hub_listing(repo: str, wanted: Callable[[str], bool], cache: Path) -> HubListing:
    """The revisions of ``repo`` whose names are ``wanted``: from the Hub, offline from what was seen of it before."""
    from huggingface_hub.constants import is_offline_mode

    path = listing_path(cache, repo)
    before = HubListing.from_json_file(path) if path.is_file() else None
    if before is not None and before.count_version < COUNT_VERSION:
        before = before.model_copy(update=UNCOUNTED)
    if is_offline_mode():
        found = _with_cached(before or HubListing(repo=repo, revisions=()))
        if not found.revisions:
            raise UserError(
                f"{repo}: no such folder, and no network (HF_HUB_OFFLINE is set) to look for it on the Hub; nothing of "
                "it is cached"
            )
        return found.model_copy(update={"revisions": tuple(one for one in found.revisions if wanted(one.name))})
    refs = asked(repo, lambda: hub().list_repo_refs(repo))
    commits = {ref.name: str(ref.target_commit) for ref in (*refs.tags, *refs.branches)}
    known = {
        (one.name, one.commit): one
        for one in (before.revisions if before else ())
        if one.inputs is not None and (one.folders is not None or step_of(one.name) is not None)
    }
    names = sorted(name for name in commits if wanted(name))
    with ThreadPoolExecutor(REQUESTS_AT_A_TIME, thread_name_prefix="e2lm-hub") as pool:
        revisions = list(
            pool.map(lambda name: known.get((name, commits[name])) or _asked_revision(repo, name, commits[name]), names)
        )
    seen = {one.name: one for one in (*(before.revisions if before else ()), *revisions) if one.name in commits}
    counts = {name: getattr(before, name, None) for name in UNCOUNTED}
    if counts["params"] is None and revisions:
        counts = _asked_params(repo, revisions[-1])
    main = commits.get("main")
    if main is None or before is None or before.main != main:
        described = None if main is None else _asked_description(repo, main)
    else:
        described = before.described
    listing = HubListing(
        repo=repo,
        revisions=tuple(seen.values()),
        count_version=COUNT_VERSION,
        main=main,
        described=described,
    ).model_copy(update=counts)
    write_json(path, listing.model_dump(mode="json"))
    return listing.model_copy(update={"revisions": tuple(revisions)})


def hub() -> Any:
    """The Hub's interface; ``HF_ENDPOINT`` may name a mirror."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def asked(what: str, question: Callable[[], T]) -> T:
    """The Hub's answer; a :class:`UserError` of one line where there is none."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return question()
    except GatedRepoError as error:
        raise UserError(f"{what}: gated; accept its terms on the Hub, then `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{what}: no such folder, and no such repository on the Hub (or a private one)") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{what}: no such revision on the Hub") from error
    except UserError:
        raise
    except Exception as error:  # the client's own kinds, httpx's, and the system's
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{what}: the Hub does not answer ({one_line(error):.200}); the same command goes on later"
        ) from error


def weights_address(files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over name and content hash of every file of weights; safetensors alone where there are any."""
    pairs = sorted((name, tag) for name, tag in files if name.endswith(WEIGHT_SUFFIXES))
    safe = [pair for pair in pairs if "safetensors" in pair[0]]
    return sha256("\n".join(f"{name} {tag}" for name, tag in safe or pairs).encode()).hexdigest()


def _asked_revision(repo: str, name: str, commit: str) -> HubRevision:
    tree = asked(f"{repo}@{name}", lambda: list(hub().list_repo_tree(repo, revision=commit, recursive=True)))
    files = [entry for entry in tree if hasattr(entry, "blob_id")]
    tags = [(file.path, file.lfs.sha256 if file.lfs is not None else file.blob_id) for file in files]
    return _revision(name, commit, tags, {file.path: file.size for file in files})


def _revision(name: str, commit: str, tags: list[tuple[str, str]], sizes: Mapping[str, int]) -> HubRevision:
    safe = any(path.endswith(".safetensors") for path, _ in tags)
    return HubRevision(
        name=name,
        commit=commit,
        weights_sha256=weights_address(tags),
        inputs=tuple(sorted((path, tag) for path, tag in tags if is_input(path.rpartition("/")[2]))),
        safetensors=safe,
        bytes=_weight_bytes(sizes),
        folders=_folders(tags, sizes),
    )


def _folders(tags: list[tuple[str, str]], sizes: Mapping[str, int]) -> tuple[HubFolder, ...]:
    inside: dict[str, list[tuple[str, str]]] = {}
    for path, tag in tags:
        folder, _, file = path.rpartition("/")
        if folder and file.endswith(WEIGHT_SUFFIXES):
            inside.setdefault(folder, []).append((file, tag))
    return tuple(
        HubFolder(
            name=folder,
            weights_sha256=weights_address(files),
            files=tuple(sorted(file for file, _ in files)),
            bytes=_weight_bytes({file: sizes[f"{folder}/{file}"] for file, _ in files}),
        )
        for folder, files in sorted(inside.items())
    )


def _weight_bytes(sizes: Mapping[str, int]) -> int:
    return sum(size for path, size in sizes.items() if path.endswith(WEIGHT_SUFFIXES))


def _asked_params(repo: str, revision: HubRevision) -> dict[str, int | None]:
    """Parameters by name in the listing, from headers of safetensors files and config.json; pickles do not tell."""
    if not revision.safetensors:
        return UNCOUNTED
    from e2lm.weights import StoredTensor, WeightIndex

    what = f"{repo}@{revision.name}"
    folder = next((one for one in revision.folders or () if one.safetensors), None)
    headers = asked(what, lambda: _headers(repo, revision.commit, folder))
    tensors = {
        name: StoredTensor(Path(file), str(info.dtype), tuple(info.shape), 0, 0)
        for file, header in headers.items()
        for name, info in header.tensors.items()
    }
    place = "" if any("/" not in file for file in headers) or folder is None else f"{folder.name}/"
    config = asked(what, lambda: _config(repo, revision.commit, f"{place}{CONFIG_FILE}"))
    counted = WeightIndex(Path(what), (), tensors).parameters(config)
    return {
        "params": counted.params,
        "params_non_embedding": counted.params_non_embedding,
        "params_active": counted.params_active if counted.is_mixture else None,
    }


def _config(repo: str, commit: str, name: str) -> dict[str, Any]:
    """The ``config.json`` of a revision; empty where it has none."""
    from huggingface_hub.errors import EntryNotFoundError

    with TemporaryDirectory() as folder:
        try:
            return read_config(Path(hub().hf_hub_download(repo, name, revision=commit, local_dir=folder)).parent)
        except EntryNotFoundError:
            return {}


def _headers(repo: str, commit: str, folder: HubFolder | None) -> Mapping[str, Any]:
    """The headers of the weights of a revision, or of those in a folder of it where it has none at its root."""
    from huggingface_hub.errors import NotASafetensorsRepoError

    try:
        found: Mapping[str, Any] = hub().get_safetensors_metadata(repo, revision=commit).files_metadata
    except NotASafetensorsRepoError:
        if folder is None:
            raise
        names = [f"{folder.name}/{name}" for name in folder.safetensors]
        found = {name: hub().parse_safetensors_file_metadata(repo, name, revision=commit) for name in names}
    return found


def _asked_description(repo: str, commit: str) -> Series | None:
    """The ``series.json`` of the repository; None where it has none, or one of somebody else's making."""
    from huggingface_hub.errors import EntryNotFoundError

    def question() -> Series | None:
        with TemporaryDirectory() as folder:
            try:
                return Series.from_json_file(
                    Path(hub().hf_hub_download(repo, SERIES_FILE, revision=commit, local_dir=folder))
                )
            except (EntryNotFoundError, UserError):
                return None

    return asked(repo, question)


def _with_cached(listing: HubListing) -> HubListing:
    """``listing`` with what the Hub's own cache holds of the repository under the name of a branch or tag."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = [one for one in scan_cache_dir(HF_HUB_CACHE).repos if one.repo_id == listing.repo]
    except CacheNotFound:
        repos = []
    revisions = [
        _revision(name, one.commit_hash, *_cached_files(one))
        for found in repos
        for one in found.revisions
        for name in sorted(one.refs)
    ]
    known = {one.name for one in listing.revisions}
    new = tuple(one for one in revisions if one.name not in known)
    return listing.model_copy(update={"revisions": (*listing.revisions, *new)})


def _cached_files(revision: Any) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Path and hash, and path and size, of every file that the client has of a revision."""
    paths = {str(file.file_path.relative_to(revision.snapshot_path)): file for file in revision.files}
    tags = [(path, Path(file.blob_path).name) for path, file in paths.items()]
    return tags, {path: file.size_on_disk for path, file in paths.items()}


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
