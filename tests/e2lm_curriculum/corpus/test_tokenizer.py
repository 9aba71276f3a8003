from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm_curriculum.corpus.reader import SplitCorpus
from e2lm_curriculum.corpus.tokenizer import END_OF_TEXT_ID, PADDING_ID, trained_tokenizer
from e2lm_curriculum.train.prepared import packed_corpus

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
