"""Brings one revision of a repository on the Hub to given contents: what is missing goes up, in one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from e2lm.errors import UserError, one_line
from e2lm_adapters.checkpoints.listing import RemoteFile, RepoKind, asked, hub, matching, remote_files

T = TypeVar("T")

MAIN = "main"
#: Weights that are not among the new ones would be loaded beside them.
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
CARD = "README.md"
#: A card that carries it is ours to replace.
CARD_MARK = "<!-- Written by e2lm hub push, which replaces it. Delete this line to keep your own text. -->"

Contents = Mapping[str, Path | bytes]


@dataclass(frozen=True, slots=True)
class RevisionChange:
    """What makes ``revision`` hold the contents: files to add (or replace) and weights to delete."""

    revision: str
    added: Contents
    deleted: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Size of what is added; what the Hub has under another name is not sent again."""
        return sum(one.stat().st_size if isinstance(one, Path) else len(one) for one in self.added.values())

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.added or self.deleted)


class HubRepository:
    """``repo`` on the Hub, which may not be there yet."""

    def __init__(self, repo: str, kind: RepoKind) -> None:
        self.repo = repo
        self.kind = kind
        self._branches = self._asked_branches()

    @property
    def is_there(self) -> bool:
        """Whether the repository exists and may be read."""
        return self._branches is not None

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"{hub().endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"

    def change(self, revision: str, contents: Contents, *, keep_own_card: bool = False) -> RevisionChange:
        """What is missing in ``revision``; asks for hashes only. With ``keep_own_card`` a card not ours stays."""
        there: dict[str, RemoteFile] = {}
        if self._branches is not None and revision in self._branches:
            there = remote_files(self.repo, self.kind, revision)
        added = {name: one for name, one in contents.items() if name not in there or not there[name].is_same(one)}
        if keep_own_card and CARD in added and CARD in there and not self._is_ours(revision):
            del added[CARD]
        stale = [name for name in matching(there, WEIGHTS) if name not in contents]
        return RevisionChange(revision, added, tuple(stale))

    def create(self, private: bool) -> None:
        """Make the repository, unless it is there."""
        if self._branches is None:
            self._sent(lambda: hub().create_repo(self.repo, repo_type=self.kind, private=private, exist_ok=True))
            self._branches = {MAIN}

    def commit(self, change: RevisionChange, message: str) -> None:
        """Do ``change`` in one commit, on a branch that begins empty if it is not there."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not change.is_needed:
            return
        assert self._branches is not None
        disable_progress_bars()
        if change.revision not in self._branches:
            first = self._sent(lambda: hub().list_repo_commits(self.repo, repo_type=self.kind))[-1].commit_id
            self._sent(
                lambda: hub().create_branch(
                    self.repo, branch=change.revision, revision=first, repo_type=self.kind, exist_ok=True
                )
            )
            self._branches.add(change.revision)
        operations = [
            *(
                CommitOperationAdd(name, one if isinstance(one, bytes) else str(one))
                for name, one in change.added.items()
            ),
            *(CommitOperationDelete(name) for name in change.deleted),
        ]
        self._sent(
            lambda: hub().create_commit(
                self.repo, operations, commit_message=message, revision=change.revision, repo_type=self.kind
            )
        )

    def _is_ours(self, revision: str) -> bool:
        """Whether the card there may be replaced; the one line that a new repository begins with may."""
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            path = asked(
                f"{self.repo}@{revision}",
                lambda: hub().hf_hub_download(
                    self.repo, CARD, revision=revision, repo_type=self.kind, local_dir=folder
                ),
            )
            return CARD_MARK in Path(path).read_text(encoding="utf-8", errors="replace")

    def _asked_branches(self) -> set[str] | None:
        from huggingface_hub.errors import RepositoryNotFoundError

        def question() -> set[str] | None:
            try:
                return {one.name for one in hub().list_repo_refs(self.repo, repo_type=self.kind).branches}
            except RepositoryNotFoundError:
                return None

        return asked(self.repo, question)

    def _sent(self, action: Callable[[], T]) -> T:
        from huggingface_hub.errors import HfHubHTTPError

        def tried() -> T:
            try:
                return action()
            except HfHubHTTPError as error:
                if error.response.status_code in (401, 403):
                    raise UserError(
                        f"{self.repo}: the Hub refuses ({one_line(error):.160}); `hf auth login` with a token that "
                        "may write there"
                    ) from error
                raise

        return asked(self.repo, tried)
