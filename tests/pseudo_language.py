"""A language in which every sentence stands in brackets: a word outside of them came past the catalogues."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape

from e2lm import messages
from e2lm.messages import Catalogue, speaking

TAG = "qps"
WORD = re.compile(r"[^\W\d_]{2,}")


@contextmanager
def pseudo_language(*catalogues: Catalogue) -> Iterator[None]:
    """Every one of ``catalogues``, and the core's, speaks it inside the block."""
    known = [messages.say, *catalogues]
    for one in known:
        translated = Catalogue(one.package, one.english, {TAG: {key: f"⟦{text}⟧" for key, text in one.english.items()}})
        one._said[TAG] = translated._said[TAG]
    try:
        with speaking(TAG):
            yield
    finally:
        for one in known:
            del one._said[TAG]


def words_outside(page: str) -> set[str]:
    """Words that a person reads, or hears, and that no catalogue said."""
    assert f'<html lang="{TAG}">' in page
    heard = " ".join(re.findall(r'(?:aria-label|title|alt|placeholder)="([^"]*)"', page))
    shown = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    text = re.sub(r"<(?!/?(?:code|strong|a|span)\b)[^>]*>", " | ", shown) + heard
    text = unescape(re.sub(r"<[^>]*>", "", text))
    while (shorter := re.sub(r"⟦[^⟦⟧]*⟧", " ", text)) != text:
        text = shorter
    return set(WORD.findall(text))
