from __future__ import annotations

from pathlib import Path

import pytest

from e2lm.checkpoint import Checkpoint
from e2lm_adapters.checkpoints.source import Arrangement, CheckpointSource, HubCache


def there(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


def fill(place: Path) -> None:
    (place / "weights").write_text("w", encoding="utf-8")


def test_the_longest_unused_goes_first_and_before_the_new_one_comes(tmp_path: Path) -> None:
    cache = HubCache(tmp_path, keep=2)
    for name in ("a", "b"):
        cache.fetched(name, fill)
    seen: list[set[str]] = []
    cache.fetched("c", lambda place: seen.append(there(tmp_path)))
    assert seen == [{"b", "c"}]


def test_what_another_process_uses_stays(tmp_path: Path) -> None:
    other = HubCache(tmp_path, keep=1)
    other.fetched("in use", fill)
    cache = HubCache(tmp_path, keep=1)
    cache.fetched("a", fill)
    cache.fetched("b", fill)
    assert there(tmp_path) == {"in use", "b"}
    other.release()
    cache.fetched("c", fill)
    assert there(tmp_path) == {"c"}


def test_what_is_whole_is_not_fetched_again_and_what_broke_off_is(tmp_path: Path) -> None:
    fetched: list[str] = []

    def breaks(place: Path) -> None:
        fill(place)
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError):
        HubCache(tmp_path, keep=2).fetched("a", breaks)
    for _ in range(2):
        HubCache(tmp_path, keep=2).fetched("a", lambda place: fetched.append(place.name))
    assert fetched == ["a"]


def test_half_a_checkpoint_counts_too(tmp_path: Path) -> None:
    for name in ("half", "other half"):
        (tmp_path / name).mkdir()
    HubCache(tmp_path, keep=2).fetched("a", fill)
    assert len(there(tmp_path)) == 2


def test_a_run_that_was_moved_is_not_read_through_links_to_what_lies_in_its_old_place(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    def first_number(place: Path) -> float:
        source = CheckpointSource(tmp_path / "cache")
        source.arrange(place, Arrangement(place, (place / "model.safetensors",)))
        folder = source.folder(Checkpoint(step=10, path=str(place)))
        return float(load_file(folder / "model.safetensors")["weight"][0])

    old, new = tmp_path / "old" / "checkpoint-10", tmp_path / "new" / "checkpoint-10"
    old.mkdir(parents=True)
    save_file({"weight": torch.full((4,), 1.0)}, old / "model.safetensors")
    assert first_number(old) == 1.0
    old.parent.rename(new.parent)
    assert first_number(new) == 1.0
    old.mkdir(parents=True)
    save_file({"weight": torch.full((4,), 2.0)}, old / "model.safetensors")
    assert (first_number(new), first_number(old)) == (1.0, 2.0)
