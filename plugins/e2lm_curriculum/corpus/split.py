"""Which passages of a corpus are held out: of every file its share, decided by the hash of each passage's text.

Shape suffixes: P passages, U different passages.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm_curriculum.corpus.reader import Passage

#: What is held out may be so many times the share that was asked for, or one part in as many of it; else it is refused.
MOST = 1.5

#: What gives all passages of a corpus in order, each time it is called.
Passages = Callable[[], Iterator[Passage]]


class HeldOutShare(Noun):
    """What one corpus file gave: all its characters, and those of them that are held out."""

    file: str
    characters: int
    held_out_characters: int

    @property
    def share(self) -> float:
        """Held-out characters over all of them.

        >>> HeldOutShare(file="a", characters=10, held_out_characters=1).share
        0.1
        """
        return self.held_out_characters / self.characters


@dataclass(frozen=True, slots=True)
class CorpusSplit:
    """A corpus with a mark on every passage that is never trained on; it is read anew each time it is asked for.

    ``cut_lines`` counts, by file, the places at which a line was cut because it was too long.
    """

    passages: Passages
    held_P: NDArray[np.bool_]
    shares: tuple[HeldOutShare, ...]
    cut_lines: tuple[int, ...]

    def training(self) -> Iterator[Passage]:
        """Passages to train on; one that follows a held-out passage begins a document."""
        after_held = True
        for passage, held in self._marked():
            if not held:
                yield replace(passage, joint="") if after_held else passage
            after_held = held

    def held_out(self) -> Iterator[Passage]:
        """Passages never trained on."""
        return (passage for passage, held in self._marked() if held)

    def _marked(self) -> Iterator[tuple[Passage, bool]]:
        try:
            yield from zip(self.passages(), self.held_P.tolist(), strict=True)
        except ValueError as error:
            raise UserError("field 'corpus': a file changed while it was read; start again") from error


def split_corpus(passages: Passages, names: Sequence[str], held_out: float, seed: int) -> CorpusSplit:
    """Hold out ``held_out`` of the characters of every file of ``names``, passages by a seeded hash of their text.

    ``names`` are looked at after all passages: those of sources are not known before.

    A file that is too short to give its share in whole passages is taken together with the others that are. Equal
    passages have equal hashes, so a text is never on both sides, wherever it stands and whatever the order. A
    :class:`UserError` says where no choice of passages comes near the share (within a factor of 1.5).
    """
    keys, sizes, files = array("Q"), array("q"), array("H")
    cut_lines: Counter[int] = Counter()
    for passage in passages():
        keys.append(int.from_bytes(sha256(f"{seed}\0{passage.text}".encode()).digest()[:8], "big"))
        sizes.append(len(passage.text))
        files.append(passage.file)
        cut_lines[passage.file] += passage.is_cut
    keys_P, sizes_P, files_P = np.asarray(keys), np.asarray(sizes), np.asarray(files)
    held_P = is_among(keys_P, np.unique(_held_keys(keys_P, sizes_P, files_P, names, held_out)))
    all_F = np.bincount(files_P, weights=sizes_P, minlength=len(names))
    held_F = np.bincount(files_P[held_P], weights=sizes_P[held_P], minlength=len(names))
    shares = tuple(
        HeldOutShare(file=name, characters=int(whole), held_out_characters=int(held))
        for name, whole, held in zip(names, all_F, held_F, strict=True)
    )
    _require_share(held_F.sum(), all_F.sum(), held_out, len(names))
    return CorpusSplit(passages, held_P, shares, tuple(cut_lines[file] for file in range(len(names))))


def _held_keys(
    keys_P: NDArray[np.uint64],
    sizes_P: NDArray[np.int64],
    files_P: NDArray[np.uint16],
    names: Sequence[str],
    held_out: float,
) -> NDArray[np.uint64]:
    if not held_out:
        return np.empty(0, dtype=np.uint64)
    chosen, short = [], []
    for file in range(len(names)):
        of_file_P = files_P == file
        found = chosen_keys(keys_P[of_file_P], sizes_P[of_file_P], held_out)
        if found is None:
            short.append(file)
        else:
            chosen.append(found)
    if short:
        of_short_P = np.isin(files_P, short)
        found = chosen_keys(keys_P[of_short_P], sizes_P[of_short_P], held_out)
        if found is None:
            raise _too_coarse([names[file] for file in short], sizes_P[of_short_P], held_out)
        chosen.append(found)
    return np.concatenate(chosen)


def _too_coarse(names: Sequence[str], sizes_P: NDArray[np.int64], held_out: float) -> UserError:
    shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more files"
    return UserError(
        f"field 'held_out': {held_out} of {shown} cannot be held out in whole documents: {len(sizes_P)} of them, the "
        f"shortest {sizes_P.min() / sizes_P.sum():.0%} of the text; add text, cut it into more documents, or ask for "
        "another share (0 holds out nothing)"
    )


def chosen_keys(keys_P: NDArray[np.uint64], sizes_P: NDArray[np.int64], share: float) -> NDArray[np.uint64] | None:
    """The keys of passages that have ``share`` of all characters, the first by their order; None where none come near.

    A passage that would take them beyond 1.5 times the share is passed over.

    >>> chosen_keys(np.arange(4, dtype=np.uint64), np.array([5, 90, 5, 10]), 0.1)
    array([0, 2], dtype=uint64)
    """
    # As np.unique with the sum of each, which would take twice the memory.
    order_P = np.argsort(keys_P)
    keys_P, sizes_P = keys_P[order_P], sizes_P[order_P]
    del order_P
    starts_U = np.flatnonzero(np.r_[True, keys_P[1:] != keys_P[:-1]]) if len(keys_P) else np.empty(0, dtype=np.int64)
    keys_U, sizes_U = keys_P[starts_U], np.add.reduceat(sizes_P, starts_U) if len(keys_P) else sizes_P
    del keys_P, sizes_P
    goal = share * sizes_U.sum()
    reached_U = np.cumsum(sizes_U)
    first = int(np.searchsorted(reached_U, goal))
    if first < len(keys_U) and reached_U[first] <= MOST * goal:
        return keys_U[: first + 1] if first + 1 < len(keys_U) else None
    taken = list(range(first))
    characters = float(sizes_U[:first].sum())
    for place in range(first, len(keys_U)):
        if characters >= goal:
            break
        if characters + sizes_U[place] <= MOST * goal:
            taken.append(place)
            characters += sizes_U[place]
    return keys_U[taken] if characters >= goal / MOST and len(taken) < len(keys_U) else None


#: Passages looked at together.
PASSAGES_AT_ONCE = 1 << 20


def is_among(keys_P: NDArray[np.uint64], keys_U: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each of ``keys_P`` is one of ``keys_U``, which rise; in little memory.

    >>> is_among(np.array([3, 1, 9, 2], dtype=np.uint64), np.array([1, 3], dtype=np.uint64)).tolist()
    [True, True, False, False]
    """
    found_P = np.zeros(len(keys_P), dtype=bool)
    for start in range(0, len(keys_P) if len(keys_U) else 0, PASSAGES_AT_ONCE):
        part = keys_P[start : start + PASSAGES_AT_ONCE]
        places = np.minimum(np.searchsorted(keys_U, part), len(keys_U) - 1)
        found_P[start : start + PASSAGES_AT_ONCE] = keys_U[places] == part
    return found_P


def _require_share(held: float, characters: float, held_out: float, files: int) -> None:
    """A text that stands in several files is held out in all of them, which can make it too much."""
    if held > MOST * held_out * characters:
        raise UserError(
            f"field 'held_out': {held / characters:.0%} of the corpus would be held out, asked for are {held_out:.0%}: "
            f"much of its text stands in it several times ({files} files); remove copies"
        )
