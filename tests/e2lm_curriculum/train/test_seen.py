"""What a step had seen, against the plan read token by token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from e2lm.checkpoint import Checkpoint
from e2lm.command_line import main
from e2lm.series import Series
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.plan.file import read_plan
from e2lm_curriculum.train import seen as module
from e2lm_curriculum.train.prepared import prepare
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
        result = found.queries([query])[0]
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
        result = SeenText(run, 60).queries([query])[0]
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


STRANGE = [
    "猫が寝た。🐈‍⬛ nap\r\n",
    "caf\u00e9 \u0928\u092e\u0938\u094d\u0924\u0947 ",
    "aaaaa ",
    "a <|endoftext|> inside ",
    "the end of the cat\n",
]


@pytest.fixture(scope="module")
def strange_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan over text of several scripts, marks inside of lines and passages that come again; nothing is trained."""
    folder = tmp_path_factory.mktemp("strange")
    rng = np.random.default_rng(0)
    documents = ["".join(rng.choice(STRANGE, 12)) + f"no. {number}" for number in range(120)]
    (folder / "c.txt").write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8", newline="")
    fields = {"corpus": [str(folder / "c.txt")], "out": str(folder / "out"), "sizes": ["1x16"], "sequence_length": 16}
    prepare(TrainingConfig.from_data({**fields, "batch_size": 4, "tokens": 16 * 4 * 60, "vocabulary": 300}, "test"))
    points = tuple(Checkpoint(step=step, tokens=64 * step, path=f"checkpoint-{step}") for step in (0, 7, 25, 60))
    for point in points:
        (folder / "out" / "1x16" / str(point.path)).mkdir(parents=True)
    Series(name="1x16", params=2, params_non_embedding=1, checkpoints=points).write(folder / "out" / "1x16")
    return folder / "out" / "1x16"


def reckoned(run: Path, step: int, query: str) -> tuple[int, int, int, int | None, int | None]:
    """The same from the documents and the offsets of their tokens, without what the package knows of bytes."""
    tokenizer = Tokenizer.from_file(str(run.parent / ".prepared" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # a mark inside of a line is text
    marked = (run.parent / "held_out.txt").read_text(encoding="utf-8")
    places, start = [], 0
    for document in (run.parent.parent / "c.txt").read_text(encoding="utf-8").split("\n<|endoftext|>\n"):
        if document in marked:
            continue
        offsets = tokenizer.encode(document, add_special_tokens=False).offsets
        for at in range(len(document)):
            if document.startswith(query, at):
                own = [n for n, (low, high) in enumerate(offsets) if low < at + len(query) and high > at]
                places.append(((start + 1 + own[0]) // 16, (start + 1 + own[-1]) // 16))
        start += 1 + len(offsets)
    steps = read_plan(run.parent / ".prepared").indices_SB[:step].tolist()
    shown = {x: [number for number, row in enumerate(steps, 1) for one in row if one == x] for x in range(start // 16)}
    spans = [[shown.get(x, []) for x in range(low, high + 1)] for low, high in places]
    first = [max(min(one) for one in span) for span in spans if all(span)]
    times = sum(min(map(len, span)) for span in spans)
    checkpoint = min((one for one in (7, 25, 60) if first and one >= min(first)), default=None)
    return len(places), len(first), times, min(first, default=None), checkpoint


@pytest.mark.parametrize("step", [7, 60])
def test_every_text_was_seen_where_documents_and_offsets_say_so(
    strange_run: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 500)
    rng = np.random.default_rng(step)
    text = (strange_run.parent.parent / "c.txt").read_text(encoding="utf-8")
    starts, lengths = rng.integers(0, len(text) - 30, 25), rng.integers(1, 30, 25)
    queries = [text[at : at + length] for at, length in zip(starts, lengths, strict=True)] + [
        "aa",
        "aaa",
        "猫",
        "<|endoftext|> in",
        "no. 7",
        "nowhere",
    ]
    found = SeenText(strange_run, step).queries(queries)
    for one in found:
        told = (one.places, one.places_seen, one.times_shown, one.first_step, one.first_checkpoint)
        assert told == reckoned(strange_run, step, one.query), one.query
    assert sum(one.places_seen > 0 for one in found) > 12
    assert {one.places for one in found} >= {0}
