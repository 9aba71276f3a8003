"""Where the weights of a checkpoint come from: a local folder, pickles turned into safetensors, or the Hub.

The folder of fetched checkpoints never holds more than a given number of them. A checkpoint in use is locked (``flock``
on its folder, which ends with the process however it ends), so several processes may share the folder. What no one uses
is deleted, the longest unused first, before another one comes in.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2lm.atomic_file import write_json
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.kind import imported
from e2lm.pickled_weights import is_pickled, pickled_files
from e2lm.weights import SHARD_INDEX, SINGLE_FILE, WeightIndex, read_weight_index, tensors_in
from e2lm_adapters.checkpoints.identity import input_files
from e2lm_adapters.checkpoints.listing import (
    CHECKPOINT_FILES,
    LEFT_OUT,
    HubListing,
    HubRevision,
    asked,
    hub,
    hub_listing,
)
from e2lm_adapters.checkpoints.pickled import COMPANIONS, write_as_safetensors
from e2lm_adapters.scoring.swap import CheckedWeights, checked_weights, seen_weights

#: Written last: the checkpoint is whole, and every number in it has been seen to be finite.
WHOLE_MARK = ".e2lm-whole"


class HubCache:
    """At most ``keep`` checkpoints below ``folder``, apart from those that other processes use at the moment."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = max(keep, 1)
        self._held: dict[Path, int] = {}
        self._guard = threading.Lock()

    def place(self, name: str) -> Path:
        """The folder of the checkpoint ``name``, whether it is there or not."""
        return self._folder / name

    def is_whole(self, name: str) -> bool:
        """Whether the checkpoint is there, complete and checked."""
        return (self.place(name) / WHOLE_MARK).is_file()

    def fetched(self, name: str, fetch: Callable[[Path], object]) -> Path:
        """The folder of the checkpoint ``name``; ``fetch`` fills it, or goes on where a killed run stopped."""
        with self._guard:
            place = self.place(name)
            while len(self._held) >= self._keep and place not in self._held:
                os.close(self._held.pop(next(iter(self._held))))
            self._held[place] = self._held.pop(place) if place in self._held else _locked(place)
            os.utime(place)
            self._evict(place)
            if not self.is_whole(name):
                fetch(place)
                (place / WHOLE_MARK).touch()
            return place

    def release(self) -> None:
        """Nothing is in use by this process any more."""
        with self._guard:
            while self._held:
                os.close(self._held.popitem()[1])

    def _evict(self, newest: Path) -> None:
        others = [one for one in self._folder.iterdir() if one.is_dir() and one != newest]
        others.sort(key=lambda one: one.stat().st_mtime, reverse=True)
        for surplus in others[self._keep - 1 :]:
            if surplus not in self._held:
                _remove_unless_used(surplus)


def _locked(place: Path) -> int:
    """Descriptor of the folder with a shared lock on it; made anew where another process is just deleting it."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            if place.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _remove_unless_used(place: Path) -> None:
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (place / WHOLE_MARK).unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


#: What a tokenizer consists of, and what belongs to a config.json.
_COMPANIONS = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model"),
    *("*.tiktoken", "chat_template*", "*.jinja"),
    *("config.json", "generation_config.json"),
)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How a folder that transformers loads is made of what lies at ``place``, whose weights are in ``files``.

    ``write`` is the function of a checkpoint format; where it is empty, the files are linked, and what of config.json
    and tokenizer is not beside them is taken from ``companions``.
    """

    place: Path
    files: tuple[Path, ...]
    write: str = ""
    config: Path | None = None
    base: Path | None = None
    companions: tuple[Path, ...] = ()

    def made_in(self, folder: Path) -> None:
        """Write the folder."""
        if self.write:
            imported(self.write, f"the format of {self.place}")(self.place, folder, self.config, self.base)
            return
        for file in self.files:
            (folder / file.name).unlink(missing_ok=True)
            (folder / file.name).symlink_to(file.resolve())
        _write_index(self.files, folder)
        for source in (self.place, *self.companions):  # the first that has a file gives it
            _copied(source, folder)

    def lent(self) -> dict[str, Path]:
        """What of config.json and tokenizer comes from ``companions``, by name."""
        found: dict[str, Path] = {}
        for file in (file for one in self.companions for file in _companions_in(one)):
            if file.is_file() and not (self.place / file.name).exists():
                found.setdefault(file.name, file)
        return found

    def address(self) -> str:
        """SHA-256 over everything that the folder is made of, and of what is linked over its place as well.

        A link into a run that has been moved would else be found again, and lead nowhere or into another run.
        """
        digest = sha256(f"{self.write}\0{self.base}".encode())
        given = (self.place, self.config, self.base, *self.companions)
        folders = [one for one in given if one is not None and one.is_dir()]
        beside = [file for one in folders for name in COMPANIONS for file in sorted(one.glob(name))]
        base = () if self.base is None else read_weight_index(self.base).files
        for file in (*self.files, *beside, *base):
            linked = not self.write and file in self.files
            digest.update(str(file.resolve() if linked else file.name).encode() + b"\0")
            with open(file, "rb") as handle:
                while block := handle.read(1 << 22):
                    digest.update(block)
        return digest.hexdigest()


def _write_index(files: Sequence[Path], folder: Path) -> None:
    """An index for shards that came without one."""
    if len(files) == 1 and files[0].name == SINGLE_FILE:
        return
    names = {name: file.name for file in files for name in tensors_in(file)}
    write_json(folder / SHARD_INDEX, {"metadata": {}, "weight_map": names})


def _companions_in(folder: Path) -> Iterator[Path]:
    return (file for pattern in _COMPANIONS for file in sorted(folder.glob(pattern)))


def _copied(source: Path, folder: Path) -> None:
    for file in _companions_in(source):
        if file.is_file() and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)


#: The present checkpoint and the next one.
KEEP = 2
DOWNLOADED_PICKLES = ("pytorch_model*.bin",)


class CheckpointSource:
    """Gives each checkpoint as a local folder of safetensors.

    ``cache`` holds at most ``keep`` checkpoints that had to be fetched; ``allow_pickle`` lets pickles be read.
    """

    def __init__(self, cache: Path | None = None, keep: int = KEEP, allow_pickle: bool = False) -> None:
        self.cache = _default_cache() if cache is None else cache.absolute()
        self.keep = keep
        self.allow_pickle = allow_pickle
        self._fetched = HubCache(self.cache, keep)
        self._listings: dict[str, dict[str, HubRevision]] = {}
        self._arranged: dict[str, Arrangement] = {}
        self._addresses: dict[str, str] = {}
        self._guard = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the same cache and holds checkpoints of its own; it asks the Hub nothing again."""
        known = {"_listings": self._listings, "_arranged": self._arranged, "_addresses": self._addresses}
        return CheckpointSource, (self.cache, self.keep, self.allow_pickle), known

    def is_at_hand(self, checkpoint: Checkpoint) -> bool:
        """Whether the checkpoint is a local folder that can be read as it is."""
        folder = checkpoint.folder
        if folder is None or str(folder) in self._arranged:
            return False
        return not (self.allow_pickle and is_pickled(folder))

    def arrange(self, place: Path, arrangement: Arrangement) -> None:
        """Read the checkpoint at ``place`` as ``arrangement`` says from now on."""
        self._arranged[str(place.resolve())] = arrangement

    def lent_files(self, folder: Path) -> dict[str, Path]:
        """What is read with the weights that lie in ``folder`` as they are, and lies somewhere else, by name."""
        return self._arranged[str(folder)].lent() if self._is_linked(folder) else {}

    def base_folder(self, named: str, adapter: Path) -> Path:
        """The folder of the model that an adapter changes: a path, also one beside it, or ``owner/name[@revision]``."""
        repo, _, revision = named.partition("@")
        for place in (Path(one) / name for name in (named, repo) for one in ("", adapter, adapter.parent)):
            if place.is_dir():
                return place.resolve()
        if repo.count("/") != 1:
            raise UserError(f"--base DIR, the model that it changes: {named!r} is not there")
        try:
            return self.folder(Checkpoint(step=0, repo=repo, revision=revision or None))
        except UserError as error:
            raise UserError(f"--base DIR, the model that it changes ({named}): {error}") from error

    def folder(self, checkpoint: Checkpoint) -> Path:
        """A local folder with the weights as safetensors; fetches them first where need be, which takes its time.

        What is fetched has been checked: every number in it is finite.
        """
        folder = checkpoint.folder
        if folder is not None:
            if self.is_at_hand(checkpoint):
                return folder
            arrangement = self._arranged.get(str(folder))
            if arrangement is not None:
                name = f"made--{self._address(folder)[:32]}"
                return self._fetched.fetched(name, lambda place: _made(arrangement, place))
            beside = repr((str(folder), input_files(folder)))
            name = f"pickle--{sha256(beside.encode()).hexdigest()[:20]}--{self.weights(checkpoint).sha256[:12]}"
            return self._fetched.fetched(name, lambda place: _converted(folder, place))
        inside = checkpoint.subfolder or "."
        revision = self._revision(checkpoint)
        own = self._in_hub_cache(checkpoint, revision)
        if own is not None:
            return own / inside
        name = "--".join([*str(checkpoint.repo).split("/"), revision.commit, *(checkpoint.subfolder or "").split("/")])
        return (
            self._fetched.fetched(name.rstrip("-"), lambda place: self._downloaded(checkpoint, revision, place))
            / inside
        )

    def weights(self, checkpoint: Checkpoint) -> CheckedWeights:
        """The content address of a checkpoint. One at hand is read and looked at, another is not fetched for it."""
        folder = checkpoint.folder
        if folder is None:
            revision, inside = self._revision(checkpoint), checkpoint.subfolder or ""
            known = revision.folder(inside)
            found = f"{revision.weights_sha256} {inside}".strip() if known is None else known.weights_sha256
            sha = sha256(f"hub {found}".encode()).hexdigest()
            return CheckedWeights(None, sha, files=revision.inputs_of(inside))
        if self.is_at_hand(checkpoint) or self._is_linked(folder):
            return seen_weights(folder)
        if str(folder) in self._arranged:
            return CheckedWeights(None, self._address(folder))
        digest = sha256(b"pickle")
        for file in pickled_files(folder):
            with open(file, "rb") as handle:
                while block := handle.read(1 << 22):
                    digest.update(block)
        return CheckedWeights(None, digest.hexdigest())

    def pickle_index(self, folder: Path) -> WeightIndex:
        """What is stored in the newest checkpoint of a run; pickles are turned into safetensors for it, if allowed."""
        if self._is_linked(folder):
            return read_weight_index(folder)
        if str(folder) in self._arranged or (self.allow_pickle and is_pickled(folder)):
            folder = self.folder(Checkpoint(step=0, path=str(folder)))
        return read_weight_index(folder)

    def _is_linked(self, folder: Path) -> bool:
        """Whether the weights lie there as they are, and only what belongs beside them is somewhere else."""
        return str(folder) in self._arranged and not self._arranged[str(folder)].write

    def _address(self, folder: Path) -> str:
        key = str(folder)
        if key not in self._addresses:
            self._addresses[key] = self._arranged[key].address()
        return self._addresses[key]

    def commit(self, checkpoint: Checkpoint) -> str:
        """The commit on the Hub that the checkpoint's revision stands for."""
        return self._revision(checkpoint).commit

    def note(self, listing: HubListing) -> None:
        """Remember what the Hub said of a repository."""
        self._listings.setdefault(listing.repo, {}).update({one.name: one for one in listing.revisions})

    def release(self) -> None:
        """Nothing that was fetched is needed any more; it stays until its room is wanted."""
        self._fetched.release()

    def _revision(self, checkpoint: Checkpoint) -> HubRevision:
        repo, name = str(checkpoint.repo), checkpoint.revision or "main"
        with self._guard:
            if name not in self._listings.get(repo, {}):
                self.note(hub_listing(repo, lambda one: one == name, self.cache))
            if name not in self._listings[repo]:
                raise UserError(f"{checkpoint.location}: no such revision")
            return self._listings[repo][name]

    def _in_hub_cache(self, checkpoint: Checkpoint, revision: HubRevision) -> Path | None:
        """The folder in the Hub's own cache, if the user has the checkpoint there already."""
        from huggingface_hub.constants import HF_HUB_CACHE

        snapshots = Path(HF_HUB_CACHE) / f"models--{str(checkpoint.repo).replace('/', '--')}" / "snapshots"
        place = snapshots / revision.commit
        try:
            checked_weights(place / (checkpoint.subfolder or "."))
        except (UserError, OSError):
            return None
        return place if (place / (checkpoint.subfolder or ".") / "config.json").is_file() else None

    def _downloaded(self, checkpoint: Checkpoint, revision: HubRevision, place: Path) -> None:
        from huggingface_hub.constants import is_offline_mode
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if is_offline_mode():
            raise UserError(f"{checkpoint.location}: not downloaded yet, and no network (HF_HUB_OFFLINE is set)")
        if not revision.safetensors and not self.allow_pickle:
            raise UserError(
                f"{checkpoint.location}: only pickled weights, which can run code; --allow-pickle reads them anyway"
            )
        disable_progress_bars()
        inside = f"{checkpoint.subfolder}/" if checkpoint.subfolder else ""
        patterns = CHECKPOINT_FILES if revision.safetensors else (*CHECKPOINT_FILES, *DOWNLOADED_PICKLES)
        asked(
            checkpoint.location,
            lambda: hub().snapshot_download(
                checkpoint.repo,
                revision=revision.commit,
                local_dir=place,
                allow_patterns=[*(inside + pattern for pattern in patterns), *(_COMPANIONS if inside else ())],
                ignore_patterns=list(LEFT_OUT),
            ),
        )
        shutil.rmtree(place / ".cache", ignore_errors=True)  # the client's notes and pieces of broken downloads
        folder = place / (checkpoint.subfolder or ".")
        if inside:  # what the folders share may lie at the root
            _copied(place, folder)
        if is_pickled(folder):
            _converted(folder, folder)
            for pickle in pickled_files(folder):
                pickle.unlink()
        else:
            checked_weights(folder)


def _made(arrangement: Arrangement, place: Path) -> None:
    arrangement.made_in(place)
    checked_weights(place)


def _converted(folder: Path, place: Path) -> None:
    write_as_safetensors(folder, place)
    checked_weights(place)


def _default_cache() -> Path:
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "e2lm"
