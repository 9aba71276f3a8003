"""The door to lm-eval's own tests of its models: what it is given, and the tokenizer that they spell out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2lm_adapters.lm_eval.own_model_tests import main, write_tokenizer


@pytest.mark.parametrize("arguments", [[], ["nowhere"]])
def test_without_a_checkout_a_line_says_where_to_get_one(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "test_huggingface.py" in line
    assert "git clone" in line


@pytest.mark.parametrize("begins", [False, True])
def test_the_stand_in_gives_the_tokens_that_lm_evals_tests_spell_out(begins: bool, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path, begins)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    first = [tokenizer.bos_token_id] if begins else []
    assert tokenizer.encode("foo bar") == [*first, 12110, 2534]
    assert tokenizer.encode("bar foo") == [*first, 2009, 17374]
    assert tokenizer.decode([12110, 2534]) == "foo bar"
    assert tokenizer.decode(tokenizer.encode("Ünïcode, 3\n", add_special_tokens=False)) == "Ünïcode, 3\n"
