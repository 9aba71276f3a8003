from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm_curriculum.corpus import tokenizer as module
from e2lm_curriculum.corpus.reader import Passage
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
    if text:
        assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_documents_are_packed_with_an_end_of_text_before_each(tmp_path: Path) -> None:
    tokens_K = packed_corpus(TOKENIZER, [Passage("the cat"), Passage("the dog")], tmp_path).tokens_K
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
def test_tokens_are_stored_in_two_bytes_where_all_of_the_vocabulary_fits(
    size: int, dtype: type, tmp_path: Path
) -> None:
    packed = packed_corpus(LargeTokenizer(size), [Passage("a"), Passage("b", file=3)], tmp_path)
    assert packed.tokens_K.dtype == dtype
    assert packed.tokens_K.tolist() == [END_OF_TEXT_ID, size - 1] * 2
    assert (packed.ends_R.tolist(), packed.files_R.tolist()) == ([2, 4], [0, 3])
    assert packed_corpus(LargeTokenizer(size), [Passage("a")], tmp_path).ends_R.tolist() == [2]


def test_the_corpus_is_examples_of_one_length_each_of_the_file_that_most_of_it_is_from() -> None:
    packed = PackedCorpus(np.arange(11, dtype=np.uint16), np.array([5, 11]), np.array([0, 1]))
    text = training_text(packed, TOKENIZER, 4, ("one", "two"))
    assert text.blocks_XT.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert (text.sources_X.tolist(), text.source_names, text.vocabulary) == (
        [0, 1],
        ("one", "two"),
        TOKENIZER.get_vocab_size(),
    )
    assert text.tags_XT is None


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["the cat", "a", " ", "  ", "\n", "\n\n", "'s", "。", "猫", ".", " 3", "\t"]), max_size=60)
)
def test_pieces_have_the_tokens_of_the_whole(parts: list[str]) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE_CHARACTERS", 5)
        pieces = list(module.safe_pieces(text))
    assert "".join(pieces) == text
    if all(piece[:1] in " \n" for piece in pieces[1:]):
        ids = [one for piece in pieces for one in TOKENIZER.encode(piece, add_special_tokens=False).ids]
        assert ids == TOKENIZER.encode(text, add_special_tokens=False).ids


def test_control_strings_in_a_text_stay_text(tmp_path: Path) -> None:
    text = "the <|endoftext|> the <|pad|> cat"
    tokens_K = packed_corpus(TOKENIZER, [Passage(text)], tmp_path).tokens_K
    assert tokens_K[0] == END_OF_TEXT_ID
    assert not {END_OF_TEXT_ID, PADDING_ID} & set(tokens_K[1:].tolist())
    assert TOKENIZER.decode(tokens_K[1:].tolist()) == text


def test_pages_of_a_document_are_packed_as_the_document_and_pieces_keep_their_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_CHARACTERS", 4)
    pages = [Passage("the cat sat"), Passage("on the mat", joint="\n\n"), Passage("the log")]
    whole = [END_OF_TEXT_ID, *TOKENIZER.encode("the cat sat\n\non the mat").ids, END_OF_TEXT_ID]
    assert packed_corpus(TOKENIZER, pages, tmp_path).tokens_K.tolist() == whole + TOKENIZER.encode("the log").ids
    tagged = packed_corpus(TOKENIZER, [Passage("the cat sat", tags=b"\5" * 3 + b"\0" * 4 + b"\1" * 4)], tmp_path)
    assert tagged.tags_K is not None
    assert tagged.tags_K[0] == -1
    assert [tag for tag, before in zip(tagged.tags_K[1:], tagged.tags_K, strict=False) if tag != before] == [5, 0, 1]
