"""A byte-level BPE tokenizer trained on the corpus, in the files that transformers 4 and 5 and vLLM read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2lm.atomic_file import write_json, write_text
from e2lm_curriculum.corpus.reader import END_OF_TEXT

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
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` into ``folder``.

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
