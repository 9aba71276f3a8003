"""What a model had been shown by a step: examples, documents, passages of text; from the plan, without the model.

Shape suffixes: K tokens, X examples, N draws, Q queries, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.series import Series
from e2lm_curriculum.corpus.tokenizer import END_OF_TEXT_ID, TOKENIZER_FILE, TOKENS_AT_ONCE, TOKENS_FILE
from e2lm_curriculum.plan.file import read_array, read_plan
from e2lm_curriculum.train.prepared import HELD_OUT_FILE, PREPARED_FOLDER, PreparedCorpus
from e2lm_curriculum.train.segments import trained_plan

#: In no text of UTF-8, so that no passage reaches over the end of a document.
NO_TEXT = b"\xff"


@dataclass(frozen=True, slots=True)
class TextPlace:
    """Where a query stands in the training text: its first and its last example."""

    first_example: int
    last_example: int


@dataclass(frozen=True, slots=True)
class QuerySeen:
    """One text: how often it stands in the training text, how many of these places had been shown, and since when.

    A place is shown once all of its examples are; ``first_step`` is the step that did it first, ``first_checkpoint``
    the first kept one after it. ``times_shown`` adds up over places. ``held_out`` tells that the held-out text has it.
    """

    query: str
    places: int
    places_seen: int
    times_shown: int
    first_step: int | None
    first_checkpoint: int | None
    held_out: bool


class SeenText:
    """What the run in folder ``run`` (of one size) was shown in its first ``step`` steps."""

    def __init__(self, run: Path, step: int | None) -> None:
        self._out = run.parent
        self._prepared = PreparedCorpus.of(self._out)
        plan = trained_plan(self._out / PREPARED_FOLDER, run)
        beforehand = read_plan(self._out / PREPARED_FOLDER)
        self._checkpoints = sorted(one.step for one in Series.read(run).checkpoints)
        last = self._checkpoints[-1]
        self.step = last if step is None else step
        if not 0 <= self.step <= last:
            raise UserError(f"--step: found {step}; {run} has checkpoints up to step {last}")
        #: Whether a curriculum of the vocabulary showed some tokens as unknown, so less was seen than told.
        self.is_limited = beforehand.vocabulary_shares_S is not None
        drawn_N = np.asarray(plan.indices_SB[: self.step]).reshape(-1)
        self.draws = len(drawn_N)
        self._times_X = np.bincount(drawn_N, minlength=self.examples)
        #: The step that showed an example first, 0 where none did.
        self._first_X = np.zeros(self.examples, dtype=np.int64)
        shown, places = np.unique(drawn_N, return_index=True)
        self._first_X[shown] = places // plan.indices_SB.shape[1] + 1

    @property
    def examples(self) -> int:
        """Examples of the corpus."""
        return self._prepared.examples

    @property
    def examples_seen(self) -> int:
        """Those that were shown at least once."""
        return int((self._times_X > 0).sum())

    @property
    def tokens(self) -> int:
        """Tokens shown, repeated ones as often as they were."""
        return self.draws * self._prepared.sequence_length

    def documents(self) -> tuple[int, int]:
        """Documents of which at least a part was shown, and all of them."""
        starts = np.flatnonzero(self._tokens_K == END_OF_TEXT_ID)
        if not len(starts):
            return 0, 0
        first = starts // self._prepared.sequence_length
        last = (np.append(starts[1:], len(self._tokens_K)) - 1) // self._prepared.sequence_length
        shown_X = np.concatenate([[0], np.cumsum(self._times_X > 0)])
        return int(
            (shown_X[np.minimum(last + 1, self.examples)] > shown_X[np.minimum(first, self.examples)]).sum()
        ), len(starts)

    def queries(self, texts: Sequence[str]) -> list[QuerySeen]:
        """Whether, and since when, the model had been shown each text, letter by letter as it is written.

        The training text is read through once for all of them. A :class:`UserError` for a text that is empty.
        """
        if "" in texts:
            raise UserError("--query: found an empty text; give what to look for")
        places_Q: list[list[TextPlace]] = [[] for _ in texts]
        for number, place in self._places([text.encode() for text in texts]):
            places_Q[number].append(place)
        held_out = (self._out / HELD_OUT_FILE).read_text(encoding="utf-8")
        return [self._seen(text, places, text in held_out) for text, places in zip(texts, places_Q, strict=True)]

    def _seen(self, text: str, places: Sequence[TextPlace], held_out: bool) -> QuerySeen:
        first_steps, times = [], 0
        for one in places:
            of_place = slice(one.first_example, one.last_example + 1)
            if self._first_X[of_place].all() and one.last_example < self.examples:
                first_steps.append(int(self._first_X[of_place].max()))
                times += int(self._times_X[of_place].min())
        first = min(first_steps, default=None)
        after = [step for step in self._checkpoints if first is not None and step >= first]
        return QuerySeen(text, len(places), len(first_steps), times, first, min(after, default=None), held_out)

    def _places(self, texts: Sequence[bytes]) -> Iterator[tuple[int, TextPlace]]:
        """Every place of each text, by its tokens, part by part with an overlap in which a place may lie."""
        length = self._prepared.sequence_length
        total = len(self._tokens_K)
        overlap = max(map(len, texts), default=0)
        for start in range(0, total, TOKENS_AT_ONCE):
            part_K = np.asarray(self._tokens_K[start : start + TOKENS_AT_ONCE + overlap])
            ends_K = np.cumsum(self._lengths_V[part_K])
            joined = b"".join([self._bytes_V[token] for token in part_K.tolist()])
            for number, text in enumerate(texts):
                for place in _all_places(joined, text):
                    first = int(np.searchsorted(ends_K, place, side="right"))
                    last = int(np.searchsorted(ends_K, place + len(text) - 1, side="right"))
                    if first < TOKENS_AT_ONCE:  # else it is found again in the next part
                        yield number, TextPlace((start + first) // length, (start + last) // length)

    @cached_property
    def _tokens_K(self) -> NDArray[Any]:
        return read_array(self._out / PREPARED_FOLDER / TOKENS_FILE)

    @cached_property
    def _bytes_V(self) -> list[bytes]:
        """The bytes of every token."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._out / PREPARED_FOLDER / TOKENIZER_FILE))
        special = set(tokenizer.get_added_tokens_decoder())
        letters = _byte_of_letter()
        return [
            NO_TEXT if number in special else bytes(letters[one] for one in str(tokenizer.id_to_token(number)))
            for number in range(tokenizer.get_vocab_size())
        ]

    @cached_property
    def _lengths_V(self) -> NDArray[np.int64]:
        return np.array([len(one) for one in self._bytes_V])


def _all_places(joined: bytes, text: bytes) -> Iterator[int]:
    """Where ``text`` begins, overlapping ones too.

    >>> list(_all_places(b"aaba", b"a"))
    [0, 1, 3]
    """
    place = joined.find(text)
    while place >= 0:
        yield place
        place = joined.find(text, place + 1)


def _byte_of_letter() -> dict[str, int]:
    """How byte-level tokenizers write a byte as a letter: printable ones as they are, the others from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}
