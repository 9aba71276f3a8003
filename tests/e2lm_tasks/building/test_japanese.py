"""Japanese text, which has no blanks between words, gives the early suite, or a line that says what is missing."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from e2lm import UserError
from e2lm import words as module
from e2lm.command_line import main
from e2lm_tasks.building.families import LADDER
from e2lm_tasks.building.prose import CorpusText, prose_of
from e2lm_tasks.building.text_suite import Suite, build_suite

#: Runs of one script, hiragana by twos: what a segmenter does in the main, without its dictionary.
RUNS = re.compile(r"[\u4e00-\u9fff々]+|[\u30a1-\u30faー]+|[\u3041-\u3096]{1,2}|\w+|.", re.DOTALL)

NOUNS = [first + second for first in "電気水火風石金木土光音熱" for second in "力量路器板線面管"]
VERBS = ["調べる", "運ぶ", "比べる", "集める", "並べる", "記録する", "測る", "確かめる"]
WHEN = ["朝の会議のあとで", "新しい工場では", "雨の降る日には", "担当者が休む前に", "次の検査までに"]


@pytest.fixture(autouse=True)
def segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "japanese_segmenter", lambda: ("runs 1", RUNS.findall))


@pytest.fixture(scope="module")
def text() -> str:
    rng = random.Random(0)
    paragraphs = []
    for _ in range(160):
        sentences = []
        for _ in range(5):
            one, two, three, four = rng.sample(NOUNS, 4)
            quoted = f"「{three}もある。」と聞いてから、" if rng.random() < 0.2 else ""
            sentences.append(
                f"{rng.choice(WHEN)}、{quoted}{one}と{two}の違いを{three}で{rng.choice(VERBS)}のは{four}です。"
            )
        paragraphs.append("".join(sentences))
    return "\n\n".join(paragraphs)


@pytest.fixture
def suite(text: str) -> Suite:
    return build_suite([CorpusText.of("ja.txt", text)], 0, 100, "ja")


def rows(suite: Suite, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in suite.files[f"{name}.jsonl"].splitlines()]


def test_every_task_of_the_early_suite_has_its_items_written_without_blanks(suite: Suite, text: str) -> None:
    for name in ("continuation", "shuffled", "swapped", "cloze", "copying"):
        assert 'target_delimiter: ""' in suite.files[f"ja_{name}.yaml"]
        found = rows(suite, name)
        assert len(found) == 100
        for row in found:
            written = [str(row["context"]), *map(str, row["choices"])]  # type: ignore[call-overload]
            assert not any(" " in one or "\u00a0" in one for one in written)
            assert len(set(written[1:])) == 4
    assert len(rows(suite, "heldout")) == 100


def test_the_true_choice_is_what_the_text_says(suite: Suite, text: str) -> None:
    """And in the cloze no wrong one is; a sentence ends in its verb, so that the last noun is asked for."""
    for name in ("shuffled", "swapped", "cloze", "continuation"):
        for row in rows(suite, name):
            choices = [str(row["context"])[-12:] + choice for choice in row["choices"]]  # type: ignore[attr-defined]
            assert choices[row["gold"]] in text  # type: ignore[call-overload]
    assert {row["choices"][0][2:] for row in rows(suite, "cloze")} == {"です。"}  # type: ignore[index]


def test_sentences_end_at_their_marks_but_not_inside_quotes() -> None:
    first, second = "水力の量を調べるのは電力の人です。", "「石板もある。」と聞いてから、火力を比べるのは私です。"
    prose = prose_of([f"{first}{second}\n次の文"])
    assert [prose.written(one.text) for one in prose.sentences] == [first, second]


def test_lines_broken_anywhere_are_joined_without_a_blank_and_written_blanks_stay() -> None:
    prose = prose_of(["検査の結果は GPU の温度と\n電力の量から計算する。" * 2 + "つぎの行は見出しです\n"])
    assert {prose.written(one.text) for one in prose.sentences} == {"検査の結果は GPU の温度と電力の量から計算する。"}


def test_without_a_segmenter_one_line_says_what_to_install(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "japanese_segmenter", lambda: None)
    (tmp_path / "ja.txt").write_text(text, encoding="utf-8")
    assert main(["tasks", "build", "--corpus", str(tmp_path / "ja.txt"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "the corpus is in Japanese" in line
    assert "pip install 'e2lm[ja]'" in line
    assert not (tmp_path / "out").exists()


def test_other_suites_and_other_scripts_without_blanks_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="of Japanese text build the early suite"):
        build_suite([CorpusText.of("ja.txt", text)], 0, 100, "ja", family=LADDER)
    with pytest.raises(UserError, match=r"without blanks between words .* no segmenter is known"):
        build_suite([CorpusText.of("zh.txt", "我们测量水的重量和石头的长度。" * 20)], 0, 100, "zh")


def test_the_same_text_and_seed_give_the_same_bytes(text: str, suite: Suite) -> None:
    assert build_suite([CorpusText.of("ja.txt", text)], 0, 100, "ja").files == suite.files
