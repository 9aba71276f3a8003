from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm_curriculum.corpus.reader import SplitCorpus
from e2lm_curriculum.corpus.tokenizer import (
    END_OF_TEXT_ID,
    PADDING_ID,
    PackedCorpus,
    packed_corpus,
    trained_tokenizer,
    training_text,
)

TOKENIZER = trained_tokenizer(["the cat sat on the mat", "the dog sat on the log"] * 20, 300)


def test_the_tokenizer_is_deterministic_whatever_the_order_of_documents(documents: list[str]) -> None:
    first = trained_tokenizer(documents, 600).to_str()
    assert trained_tokenizer(documents, 600).to_str() == first
    assert trained_tokenizer(documents[::-1], 600).to_str() == first


def test_it_has_the_vocabulary_and_special_tokens_asked_for(documents: list[str]) -> None:
    tokenizer = trained_tokenizer(documents, 600)
    assert tokenizer.get_vocab_size() == 600
    assert tokenizer.token_to_id("<|endoftext|>") == END_OF_TEXT_ID
    assert tokenizer.token_to_id("<|pad|>") == PADDING_ID


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    if "<|" not in text:
        assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_documents_are_packed_with_an_end_of_text_before_each() -> None:
    tokens_K = packed_corpus(TOKENIZER, SplitCorpus(("the cat", "the dog"), ())).tokens_K
    cat, dog = (TOKENIZER.encode(text).ids for text in ("the cat", "the dog"))
    assert tokens_K.tolist() == [END_OF_TEXT_ID, *cat, END_OF_TEXT_ID, *dog]


class LargeTokenizer:
    """Says of any document that it is the last entry of its vocabulary."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_vocab_size(self) -> int:
        return self.size

    def encode_batch_fast(self, documents: list[str], add_special_tokens: bool) -> list[SimpleNamespace]:
        assert not add_special_tokens
        return [SimpleNamespace(ids=[self.size - 1]) for _ in documents]


@pytest.mark.parametrize(("size", "dtype"), [(1 << 16, np.uint16), ((1 << 16) + 1, np.uint32), (300, np.uint16)])
def test_tokens_are_stored_in_two_bytes_where_all_of_the_vocabulary_fits(size: int, dtype: type) -> None:
    packed = packed_corpus(LargeTokenizer(size), SplitCorpus(("a", "b"), (), training_files=(0, 3)))
    assert packed.tokens_K.dtype == dtype
    assert packed.tokens_K.tolist() == [END_OF_TEXT_ID, size - 1] * 2
    assert packed.files_K.tolist() == [0, 0, 3, 3]
    assert packed_corpus(LargeTokenizer(size), SplitCorpus(("a",), ())).files_K.tolist() == [0, 0]


def test_the_corpus_is_examples_of_one_length_each_of_the_file_that_most_of_it_is_from() -> None:
    packed = PackedCorpus(np.arange(11, dtype=np.uint16), np.array([0] * 5 + [1] * 6, np.uint16), None)
    text = training_text(packed, TOKENIZER, 4, ("one", "two"))
    assert text.blocks_XT.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert (text.sources_X.tolist(), text.source_names, text.vocabulary) == (
        [0, 1],
        ("one", "two"),
        TOKENIZER.get_vocab_size(),
    )
    assert text.tags_XT is None
