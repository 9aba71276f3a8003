"""Training documents as one row of tokens.

Shape suffixes: K tokens, X examples, T tokens per example, F corpus files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import TrainingText
from e2lm_curriculum.corpus import SplitCorpus
from e2lm_curriculum.corpus_tags import NO_TAG_NUMBER, token_tags
from e2lm_curriculum.tokenizer import END_OF_TEXT_ID
from e2lm_curriculum.training_config import TrainingConfig

#: Documents encoded at once: enough to keep every core busy, few enough to bound memory.
DOCUMENTS_PER_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class PackedCorpus:
    """All training documents as one row of tokens, with the corpus file and, if there are any, the tag of each."""

    tokens_K: NDArray[np.unsignedinteger[Any]]
    files_K: NDArray[np.uint16]
    tags_K: NDArray[np.int8] | None


def packed_corpus(tokenizer: Any, split: SplitCorpus) -> PackedCorpus:
    """All documents in order, an end-of-text token before each."""
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    documents = split.training
    files = split.training_files or (0,) * len(documents)
    tags = split.training_tags if any(split.training_tags) else ()
    token_parts: list[NDArray[Any]] = []
    tag_parts: list[NDArray[np.int8]] = []
    for start in range(0, len(documents), DOCUMENTS_PER_BATCH):
        batch = list(documents[start : start + DOCUMENTS_PER_BATCH])
        # Offsets, which the fast way leaves out, tell which word a token belongs to.
        encode = tokenizer.encode_batch if tags else tokenizer.encode_batch_fast
        for place, encoding in enumerate(encode(batch, add_special_tokens=False), start=start):
            token_parts.append(np.array([END_OF_TEXT_ID, *encoding.ids], dtype=dtype))
            if tags:
                tag_parts.append(np.append(np.int8(NO_TAG_NUMBER), token_tags(encoding.offsets, tags[place])))
    lengths = [len(part) for part in token_parts]
    return PackedCorpus(
        tokens_K=np.concatenate(token_parts) if token_parts else np.empty(0, dtype=dtype),
        files_K=np.repeat(np.asarray(files, dtype=np.uint16), lengths),
        tags_K=np.concatenate(tag_parts) if tag_parts else None,
    )


def training_text(config: TrainingConfig, packed: PackedCorpus, tokenizer: Any) -> TrainingText:
    """The packed corpus as difficulties see it."""
    length = config.sequence_length
    examples = len(packed.tokens_K) // length
    cut = slice(0, examples * length)
    names = tuple(file.stem for file in config.corpus_files)
    return TrainingText(
        blocks_XT=packed.tokens_K[cut].reshape(examples, length),
        vocabulary=tokenizer.get_vocab_size(),
        sources_X=most_frequent(packed.files_K[cut].reshape(examples, length), len(names)),
        source_names=names,
        decode=lambda row_T: str(tokenizer.decode(row_T.tolist())),
        tags_XT=None if packed.tags_K is None else packed.tags_K[cut].reshape(examples, length),
    )


def most_frequent(files_XT: NDArray[np.unsignedinteger[Any]], files: int) -> NDArray[np.int64]:
    """The most frequent number of each row, the smallest of equal ones.

    >>> most_frequent(np.array([[0, 1, 1], [2, 0, 1]]), 3).tolist()
    [1, 0]
    """
    rows_XT = np.arange(len(files_XT))[:, None] * files + files_XT.astype(np.int64)
    counts_XF = np.bincount(rows_XT.reshape(-1), minlength=len(files_XT) * files).reshape(len(files_XT), files)
    return np.asarray(counts_XF.argmax(axis=1))
