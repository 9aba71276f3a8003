"""A byte-level BPE tokenizer trained on the corpus, its files, and the corpus as one row of its tokens.

Shape suffixes: K tokens, X examples, T tokens per example, R runs of documents.
"""

from __future__ import annotations

import re
import shutil
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import write_json, write_text
from e2lm.curriculum import TrainingText
from e2lm_curriculum.corpus.reader import END_OF_TEXT, NO_TAG_NUMBER, Passage, token_tags

PADDING = "<|pad|>"
MASK = "<|mask|>"
UNKNOWN = "<|unk|>"

#: Identifiers follow the order in which special tokens are given to the trainer.
END_OF_TEXT_ID = 0
PADDING_ID = 1

#: Only in tokenizers of runs that mask or restrict the vocabulary; a byte-level tokenizer never needs the latter.
MASK_ID = 2
UNKNOWN_ID = 3

#: Identifiers below this are special where masks are.
FIRST_TEXT_ID = 4

TOKENIZER_FILE = "tokenizer.json"
TOKENS_FILE = "tokens.npy"
TAGS_FILE = "tags.npy"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"


def trained_tokenizer(documents: Iterable[str], vocabulary: int, masks: bool = False) -> Any:
    """A ``tokenizers.Tokenizer`` with at most ``vocabulary`` entries (fewer if the text offers fewer pairs).

    With ``masks`` there is a mask token and an unknown token too.

    Every byte is in it, so any text can be written and comes back as it was (Wang et al. 2020, arXiv 1909.03341). The
    result depends on the documents only, not on their order.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, PADDING, *([MASK, UNKNOWN] if masks else [])],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((piece for text in documents for piece in safe_pieces(text)), trainer)
    # Control strings that stand in a text are text.
    tokenizer.encode_special_tokens = True
    return tokenizer


def write_tokenizer(tokenizer: Any, folder: Path, sequence_length: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` into ``folder``, for transformers 4 and 5 and vLLM.

    The class is named ``PreTrainedTokenizerFast``: transformers 5 would write ``TokenizersBackend``, which transformers
    4.57 and the vLLM releases that use it refuse. The end of a text is also the beginning of the next, as in training.
    """
    write_text(folder / TOKENIZER_FILE, tokenizer.to_str(pretty=False))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": PADDING,
        "model_max_length": sequence_length,
        "clean_up_tokenization_spaces": False,
    }
    if tokenizer.token_to_id(MASK) is not None:
        config |= {"mask_token": MASK, "unk_token": UNKNOWN}
    write_json(folder / TOKENIZER_CONFIG_FILE, config)


#: Characters encoded at once: enough to keep every core busy, few enough to bound memory.
CHARACTERS_AT_ONCE = 1 << 20

#: A longer text is encoded in pieces: the encoder wants 200 bytes a byte.
PIECE_CHARACTERS = 1 << 16

#: A blank or the end of a line between two characters that are neither: no token reaches over the place before it.
_SAFE_PLACE = re.compile(r"(?<=\S)[ \n](?=\S)")


def safe_pieces(text: str) -> Iterator[str]:
    """``text`` in pieces of about ``PIECE_CHARACTERS`` that have, one after the other, the tokens of the whole.

    Where no safe place comes for as long again it is cut anywhere.
    """
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        found = _SAFE_PLACE.search(text, start + PIECE_CHARACTERS, start + 2 * PIECE_CHARACTERS + 1)
        if found is None and len(text) - start <= 2 * PIECE_CHARACTERS:
            break
        end = start + PIECE_CHARACTERS if found is None else found.start()
        yield text[start:end]
        start = end
    yield text[start:]


@dataclass(frozen=True, slots=True)
class PackedCorpus:
    """All training documents as one row of tokens, memory-mapped, and the tag of each if there are any.

    Run r, of documents of one source and score, ends before token ``ends_R[r]``. ``files_R`` are places in the list of
    corpus files or of sources, ``scores_R`` is None where documents have no scores.
    """

    tokens_K: NDArray[np.unsignedinteger[Any]]
    ends_R: NDArray[np.int64]
    files_R: NDArray[np.int64]
    tags_K: NDArray[np.int8] | None = None
    scores_R: NDArray[np.float64] | None = None


class _Runs:
    """Grows by one run wherever source or score change."""

    def __init__(self) -> None:
        self._ends, self._files, self._scores = array("q"), array("H"), array("d")
        self._has_scores = False

    def add(self, passage: Passage, tokens: int) -> None:
        """Count the tokens of ``passage``."""
        score = 0.0 if passage.score is None else passage.score
        self._has_scores |= passage.score is not None
        end = tokens + (self._ends[-1] if self._ends else 0)
        if self._ends and self._files[-1] == passage.file and self._scores[-1] == score:
            self._ends[-1] = end
            return
        self._ends.append(end)
        self._files.append(passage.file)
        self._scores.append(score)

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64] | None]:
        """Ends, sources and, where there are any, scores."""
        scores_R = np.array(self._scores, dtype=np.float64) if self._has_scores else None
        return np.array(self._ends, dtype=np.int64), np.array(self._files, dtype=np.int64), scores_R


def packed_corpus(tokenizer: Any, passages: Iterable[Passage], folder: Path) -> PackedCorpus:
    """All passages in order, an end-of-text token before each document, written to ``tokens.npy`` (``tags.npy``).

    Memory does not grow with the corpus, but by 18 bytes for each document with a source or score of its own.
    """
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    runs = _Runs()
    with _Row(folder / TOKENS_FILE, dtype) as tokens, _Row(folder / TAGS_FILE, np.int8) as tags:
        for batch in _batches(_pieces(passages)):
            # Offsets, which the fast way leaves out, tell which word a token belongs to.
            encode = tokenizer.encode_batch if any(piece.tags for piece in batch) else tokenizer.encode_batch_fast
            texts = [piece.joint + piece.text for piece in batch]
            for piece, encoding in zip(batch, encode(texts, add_special_tokens=False), strict=True):
                start = [] if piece.follows or piece.is_cut else [END_OF_TEXT_ID]
                tokens.add([*start, *encoding.ids])
                runs.add(piece, len(start) + len(encoding.ids))
                untagged = [NO_TAG_NUMBER] * len(start)
                tags.add([*untagged, *token_tags(encoding.offsets if piece.tags else encoding.ids, piece.tags)])
                tags.is_wanted |= bool(piece.tags)
    ends_R, files_R, scores_R = runs.arrays()
    return PackedCorpus(tokens.array(), ends_R, files_R, tags.array() if tags.is_wanted else None, scores_R)


def _pieces(passages: Iterable[Passage]) -> Iterator[Passage]:
    """Passages in pieces short enough to encode; here ``is_cut`` is a piece inside a passage."""
    for passage in passages:
        place = 0
        for number, text in enumerate(safe_pieces(passage.text)):
            tags = passage.tags[place : place + len(text)]
            joint = "" if number else passage.joint
            yield replace(passage, text=text, joint=joint, tags=tags, is_cut=number > 0)
            place += len(text)


def _batches(pieces: Iterable[Passage]) -> Iterator[list[Passage]]:
    batch: list[Passage] = []
    characters = 0
    for piece in pieces:
        batch.append(piece)
        characters += len(piece.text)
        if characters >= CHARACTERS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _Row:
    """Numbers written one after the other: a ``.npy`` file of one dimension, whose length is known at the end."""

    def __init__(self, file: Path, dtype: Any) -> None:
        self._file = file
        self._raw = file.with_suffix(".raw")
        self._dtype = np.dtype(dtype)
        self._count = 0
        self.is_wanted = dtype != np.int8

    def __enter__(self) -> _Row:
        self._handle = open(self._raw, "wb")
        return self

    def add(self, numbers: Any) -> None:
        """Write ``numbers`` after those before."""
        self._handle.write(np.asarray(numbers, dtype=self._dtype).tobytes())

    def __exit__(self, *_: object) -> None:
        self._count = self._handle.tell() // self._dtype.itemsize
        self._handle.close()
        if self.is_wanted:
            with open(self._file, "wb") as handle, open(self._raw, "rb") as raw:
                header = {
                    "descr": np.lib.format.dtype_to_descr(self._dtype),
                    "fortran_order": False,
                    "shape": (self._count,),
                }
                np.lib.format.write_array_header_1_0(handle, header)
                shutil.copyfileobj(raw, handle)
        self._raw.unlink()

    def array(self) -> NDArray[Any]:
        """What was written, memory-mapped."""
        return np.asarray(np.load(self._file, mmap_mode="r" if self._count else None))


#: Tokens looked at together where each is asked which file it is from.
TOKENS_AT_ONCE = 1 << 22


def training_text(packed: PackedCorpus, tokenizer: Any, length: int, names: tuple[str, ...]) -> TrainingText:
    """The packed corpus as difficulties see it: examples of ``length`` tokens from the corpus files ``names``."""
    examples = len(packed.tokens_K) // length
    cut = slice(0, examples * length)
    sources_X, scores_X = _origins(packed, examples, length, len(names))
    return TrainingText(
        blocks_XT=packed.tokens_K[cut].reshape(examples, length),
        vocabulary=tokenizer.get_vocab_size(),
        sources_X=sources_X,
        source_names=names,
        decode=lambda row_T: str(tokenizer.decode(row_T.tolist())),
        tags_XT=None if packed.tags_K is None else packed.tags_K[cut].reshape(examples, length),
        document_scores_X=scores_X,
    )


def _origins(
    packed: PackedCorpus, examples: int, length: int, files: int
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """The file that most tokens of each example are from, and the mean over its tokens of their documents' scores."""
    sources_X = np.empty(examples, dtype=np.int64)
    scores_X = None if packed.scores_R is None else np.empty(examples)
    rows = max(1, TOKENS_AT_ONCE // max(length, files))
    for start in range(0, examples, rows):
        end = min(start + rows, examples)
        places_K = np.arange(start * length, end * length)
        runs_XT = np.searchsorted(packed.ends_R, places_K, side="right").reshape(end - start, length)
        sources_X[start:end] = most_frequent(packed.files_R[runs_XT], files)
        if scores_X is not None and packed.scores_R is not None:
            scores_X[start:end] = packed.scores_R[runs_XT].mean(axis=1)
    return sources_X, scores_X


def most_frequent(files_XT: NDArray[np.integer[Any]], files: int) -> NDArray[np.int64]:
    """The most frequent number of each row, the smallest of equal ones.

    >>> most_frequent(np.array([[0, 1, 1], [2, 0, 1]]), 3).tolist()
    [1, 0]
    """
    rows_XT = np.arange(len(files_XT))[:, None] * files + files_XT.astype(np.int64)
    counts_XF = np.bincount(rows_XT.reshape(-1), minlength=len(files_XT) * files).reshape(len(files_XT), files)
    return np.asarray(counts_XF.argmax(axis=1))
