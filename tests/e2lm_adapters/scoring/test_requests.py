"""Requests are encoded without a warning that is not true of them."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from e2lm_adapters.scoring.requests import RequestEncoder, without_false_alarm

CONTEXT = 4


@pytest.fixture
def tokenizer() -> Any:
    plain = Tokenizer(models.WordLevel({"end": 0, "word": 1}, unk_token="word"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="end", model_max_length=CONTEXT)


def test_a_text_longer_than_the_context_is_cut_into_windows_without_a_warning(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lm = SimpleNamespace(tokenizer=tokenizer, tok_encode=tokenizer.encode, prefix_token_id=0)
    logger = logging.getLogger("transformers.tokenization_utils_base")
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.WARNING, logger.name)  # another test may have asked transformers to say less
    try:
        encoder = RequestEncoder(lm, CONTEXT)
        encoder.texts([("a b c d e f g h i",)])
        assert encoder.windows_of("a b c d e f g h i") == 3
        assert caplog.text == ""
        tokenizer.deprecation_warnings.clear()
        tokenizer.encode("a b c d e f g h i")
        assert "Token indices sequence length is longer" in caplog.text  # as it was
    finally:
        logger.removeHandler(caplog.handler)


def test_what_has_no_such_tokenizer_is_left_as_it_is() -> None:
    without_false_alarm(SimpleNamespace())
    without_false_alarm(SimpleNamespace(tokenizer=SimpleNamespace(deprecation_warnings=None)))
