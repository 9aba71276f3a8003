"""What every checkpoint format keeps to."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from shutil import copytree, rmtree
from typing import ClassVar

import pytest

from e2lm.checkpoint_format import CheckpointFormat, FoundCheckpoint
from e2lm.errors import UserError
from e2lm.kind import imported
from e2lm.weights import read_weight_index
from e2lm_testing.contract import check_described, outcome, own_randomness_only, resolved
from e2lm_testing.tiny_checkpoint import write_tiny_llama


class CheckpointFormatContract:
    """Subclass it, set ``checkpoint_format`` to a :class:`CheckpointFormat` or the name of an installed one, and
    ``sample`` to a function that writes a whole checkpoint of it at a new place (a folder or a file) and returns that.

    ``given`` are the ``config`` and ``base`` that writing it needs, functions of a folder that they may be written to.
    """

    checkpoint_format: ClassVar[CheckpointFormat | str]
    sample: ClassVar[Callable[[Path], Path]]
    given: ClassVar[dict[str, Callable[[Path], Path]]] = {}

    @property
    def _format(self) -> CheckpointFormat:
        return resolved(
            self.checkpoint_format, "e2lm_register_checkpoint_formats", CheckpointFormat, "checkpoint format"
        )

    def _sample(self, folder: Path) -> Path:
        return type(self).sample(folder / "checkpoint-20")

    def _found(self, place: Path) -> FoundCheckpoint:
        found = self._format.look(place)
        assert found is not None, f"the sample at {place} is not known by its own format"
        return found

    def test_it_says_what_it_is(self) -> None:
        check_described(self._format.name, self._format.description)

    def test_it_knows_its_own_and_that_it_is_whole(self, tmp_path: Path) -> None:
        place = self._sample(tmp_path)
        found = self._found(place)
        assert not found.unfinished, f"the sample is said to be unfinished: {found.unfinished}"
        assert found.files, "which files hold the weights?"
        assert all(file.is_file() for file in found.files)
        if not self._format.write and found.convert:
            assert place.name in found.convert or place.parent.name in found.convert, "the command names no place"
            assert "\n" not in found.convert

    def test_an_empty_folder_a_missing_place_and_another_file_are_none_of_its(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
        for name in ("empty", "notes.txt", "missing"):
            assert self._format.look(tmp_path / name) is None, f"{name} is taken for a checkpoint"

    def test_looking_changes_nothing_and_gives_the_same_twice(self, tmp_path: Path) -> None:
        place = self._sample(tmp_path)
        before = _contents(tmp_path)
        with own_randomness_only():
            assert self._format.look(place) == self._format.look(place)
        assert _contents(tmp_path) == before

    def test_half_of_any_file_of_weights_raises_nothing(self, tmp_path: Path) -> None:
        for number in range(len(self._found(self._sample(tmp_path)).files)):
            if tmp_path.exists():
                rmtree(tmp_path)
            tmp_path.mkdir()
            place = self._sample(tmp_path)
            file = self._found(place).files[number]
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            assert isinstance(self._format.look(place), FoundCheckpoint | None)

    def test_what_it_writes_is_a_folder_of_safetensors(self, tmp_path: Path) -> None:
        if not self._format.write:
            pytest.skip("it is read as it is, or converted by another program")
        place = self._sample(tmp_path)
        given = {name: make(tmp_path / name) for name, make in self.given.items()}
        arguments = (given.get("config"), given.get("base"))
        (tmp_path / "written").mkdir()
        if self._format.check:
            imported(self._format.check, self._format.name)(place, None, *arguments)
        imported(self._format.write, self._format.name)(place, tmp_path / "written", *arguments)
        assert read_weight_index(tmp_path / "written").params > 0

    def test_what_it_needs_and_does_not_get_is_said_in_one_line(self, tmp_path: Path) -> None:
        if not self._format.check or not set(self._format.needs) & {"config", "base"}:
            pytest.skip("it needs nothing")
        place = self._sample(tmp_path)
        check = imported(self._format.check, self._format.name)
        assert isinstance(outcome(lambda: check(place, None, None, None)), UserError)

    def test_its_own_is_known_under_another_path(self, tmp_path: Path) -> None:
        place = self._sample(tmp_path)
        if place.is_dir():
            copytree(place, tmp_path / "again" / place.name)
            again = self._found(tmp_path / "again" / place.name)
            assert [file.name for file in again.files] == [file.name for file in self._found(place).files]


def tiny_folder(place: Path) -> Path:
    """A tiny Llama with tokenizer at ``place``: what a format is given as ``config`` or ``base``."""
    write_tiny_llama(place, 1)
    return place


def _contents(folder: Path) -> dict[str, str]:
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    return {str(one.relative_to(folder)): sha256(one.read_bytes()).hexdigest() for one in files}
