"""A byte-level BPE tokenizer trained on the corpus, its files, and the corpus as one row of its tokens.

Shape suffixes: K tokens, X examples, T tokens per example, F corpus files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import write_json, write_text
from e2lm.curriculum import TrainingText
from e2lm_curriculum.corpus.reader import END_OF_TEXT, NO_TAG_NUMBER, SplitCorpus, token_tags

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
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"


def trained_tokenizer(documents: Sequence[str], vocabulary: int, masks: bool = False) -> Any:
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
    tokenizer.train_from_iterator(documents, trainer, length=len(documents))
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


def training_text(packed: PackedCorpus, tokenizer: Any, length: int, names: tuple[str, ...]) -> TrainingText:
    """The packed corpus as difficulties see it: examples of ``length`` tokens from the corpus files ``names``."""
    examples = len(packed.tokens_K) // length
    cut = slice(0, examples * length)
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
