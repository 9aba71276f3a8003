"""What a step had seen, against the plan read token by token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from e2lm.command_line import main
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.plan.file import read_plan
from e2lm_curriculum.train import seen as module
from e2lm_curriculum.train.seen import SeenText

LENGTH = 32


@pytest.fixture
def run(trained: TrainingConfig) -> Path:
    return trained.run.out_folder / "1x16"


def shown_by(run: Path, step: int) -> tuple[list[str], list[list[int]]]:
    """The text of every example, and the examples of every step up to ``step``."""
    tokenizer = Tokenizer.from_file(str(run.parent / ".prepared" / "tokenizer.json"))
    tokens_K = np.load(run.parent / ".prepared" / "tokens.npy")
    blocks_XT = tokens_K[: len(tokens_K) // LENGTH * LENGTH].reshape(-1, LENGTH)
    texts = [tokenizer.decode(row_T.tolist(), skip_special_tokens=False) for row_T in blocks_XT]
    return texts, read_plan(run.parent / ".prepared").indices_SB[:step].tolist()


@pytest.mark.parametrize("step", [1, 20, 60])
def test_counts_are_those_of_the_plan(run: Path, step: int) -> None:
    texts, steps = shown_by(run, step)
    distinct = {example for row in steps for example in row}
    found = SeenText(run, step)
    assert (found.examples, found.examples_seen, found.tokens) == (len(texts), len(distinct), step * 4 * LENGTH)
    seen, documents = found.documents()
    tokens_K = np.load(run.parent / ".prepared" / "tokens.npy")
    owner_K = np.cumsum(tokens_K == 0) - 1
    of_examples = {int(one) for example in distinct for one in owner_K[example * LENGTH : (example + 1) * LENGTH]}
    assert (seen, documents) == (len(of_examples), int((tokens_K == 0).sum()))


@pytest.mark.parametrize("at_once", [100, 1 << 22])
def test_a_text_was_first_seen_where_the_plan_first_shows_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", at_once)
    texts, steps = shown_by(run, 40)
    found = SeenText(run, 40)
    for example in (steps[0][0], steps[30][2], 5):
        words = texts[example].split("<|endoftext|>")[-1].split(" ")
        query = " ".join(words[-5:-1])
        holders = [place for place, text in enumerate(texts) if query in text]
        firsts = [number for number, row in enumerate(steps, start=1) if set(row) & set(holders)]
        result = found.query(query)
        assert result.places >= len(holders) >= 1
        if result.places == sum(text.count(query) for text in texts):  # none over a border
            assert result.first_step == (firsts[0] if firsts else None)
            grid = sorted(int(one.name.split("-")[1]) for one in run.glob("checkpoint-*"))
            after = [step for step in grid if firsts and step >= firsts[0]]
            assert result.first_checkpoint == (after[0] if after else None)


def test_a_text_over_the_border_of_examples_is_seen_when_both_are(run: Path) -> None:
    texts, steps = shown_by(run, 60)
    for example in range(len(texts) - 1):
        left, right = texts[example].rsplit(" ", 1)[-1], texts[example + 1][:12]
        query = left + right
        if "<|" in query or "\ufffd" in query or sum(query in text for text in texts):
            continue
        result = SeenText(run, 60).query(query)
        first = [next((n for n, row in enumerate(steps, 1) if one in row), None) for one in (example, example + 1)]
        if result.places == 1:
            both = None if None in first else max(one for one in first if one is not None)
            assert result.first_step == both
            return
    pytest.fail("no such text")


def test_the_command_tells_held_out_and_strange_text_from_what_was_seen(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = (run.parent / "held_out.txt").read_text(encoding="utf-8")[:120].splitlines()[0]
    (tmp_path / "items.txt").write_text(f"{held}\nno such text anywhere\n", encoding="utf-8")
    assert main(["train", "seen", str(run), "--step", "60", "--queries", str(tmp_path / "items.txt"), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["queries"]
    assert first["held_out"]
    assert (second["places"], second["first_step"], second["held_out"]) == (0, None, False)
    assert main(["train", "seen", str(run), "--query", "no such text anywhere"]) == 0
    assert "not in the training text" in capsys.readouterr().out
    assert main(["train", "seen", str(run), "--step", "61"]) == 2
    assert "has checkpoints up to step 60" in capsys.readouterr().err
