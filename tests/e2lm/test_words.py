from __future__ import annotations

import numpy as np
import pytest

from e2lm import UserError
from e2lm import words as module
from e2lm.curriculum import TrainingText
from e2lm.words import ScriptCount, blank_words, sentence_count, words
from e2lm_curriculum.difficulty.measures import sentence_length, unreadability, word_rarity

SHORT = "猫は魚が好きだ。犬は肉が好きだ。"
LONG = "雨の降る朝に駅まで歩いていた少年は、昨日の夜に母が話してくれた古い物語のことをずっと考えていた。"


def text_of(*parts: str) -> TrainingText:
    rows = np.arange(len(parts))[:, None]
    return TrainingText(rows, 400, np.zeros(len(parts), int), ("a",), lambda row_T: parts[int(row_T[0])])


@pytest.fixture
def two_characters_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(run: str) -> list[str]:
        return [run[place : place + 2] for place in range(0, len(run), 2)]

    monkeypatch.setattr(module, "japanese_segmenter", lambda: ("stub 1", cut))


@pytest.fixture
def no_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "japanese_segmenter", lambda: None)


@pytest.mark.usefixtures("no_segmenter")
@pytest.mark.parametrize("score", [sentence_length, word_rarity])
@pytest.mark.parametrize(
    ("text", "message"),
    [(SHORT, r"Japanese.*e2lm\[ja\]"), ("我喜欢猫。", "no segmenter is known"), ("ฉันรักแมว", "no segmenter")],
)
def test_text_without_blanks_is_refused_and_the_way_out_named(score: object, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message + ".*compression"):
        score(text_of(text, text))  # type: ignore[operator]


@pytest.mark.usefixtures("two_characters_a_word")
def test_with_a_segmenter_long_japanese_sentences_are_harder_than_short_ones() -> None:
    scores_X = sentence_length(text_of(SHORT, LONG, "A cat sat. A dog ran."))
    assert scores_X.tolist() == [4.0, 24.0, 3.0]
    with pytest.raises(UserError, match="no segmenter is known"):
        sentence_length(text_of("我喜欢猫。" * 3))  # a segmenter of Japanese is none of Chinese


@pytest.mark.usefixtures("no_segmenter")
def test_a_few_foreign_words_change_nothing() -> None:
    english = "The city of Kyoto is old, and many people go there every spring to see the flowers. " * 3
    assert sentence_length(text_of(english + "It is written 京都.")).tolist() == [13.75]


@pytest.mark.parametrize("text", [SHORT, "Кошка сидит на окне и смотрит на улицу."])
def test_the_flesch_formula_is_for_latin_letters(text: str) -> None:
    with pytest.raises(UserError, match="not Latin"):
        unreadability(text_of(text))


def test_sentences_end_by_their_script() -> None:
    assert sentence_count(SHORT) == 2
    assert sentence_count("Is it? Yes. मैं घर गया। वह सोया।") == 4
    assert sentence_count("3.5 percent of v1.2") == 1


@pytest.mark.usefixtures("two_characters_a_word")
def test_words_of_both_kinds_are_counted() -> None:
    assert words("Tokyo は日本 です") == ["tokyo", "は日", "本", "です"]
    assert blank_words("Tokyo は日本 , です") == 5


@pytest.mark.usefixtures("no_segmenter")
def test_what_the_share_is_of_is_letters() -> None:
    count = ScriptCount()
    count.add("1234 5678 ... 90")
    assert count.lacks_words is None
    count.add("猫")
    assert count.lacks_words is not None
