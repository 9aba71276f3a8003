"""The organiser's series of the demo: three sizes trained on text, and one trained on its words in no order.

The latter is what the others must beat: a benchmark that it does as well on asks for words, not for sentences.
"""

from __future__ import annotations

import io
import json
import random
from contextlib import redirect_stdout
from pathlib import Path

from e2lm.atomic_file import write_text
from e2lm.command_line import run_command
from e2lm.errors import E2LMError, UserError
from e2lm.series import Series
from e2lm_leaderboard.season import Season

SIZES, CONTROL_SIZE = "50k,140k,360k", "360k"
CONTROL = "shuffled"
#: 13 checkpoints with step 0: nine are early, which is one more than the official score needs, three of the later four
#: are public, and the last is hidden.
TOKENS, CHECKPOINT_TOKENS = 240_000, 20_000
EARLY_TOKENS, PUBLIC_TOKENS = 170_000.0, 230_000.0
#: Enough for a control model that sees 240,000 tokens.
CONTROL_BYTES = 2_000_000


def demo_season(title: str, series: Path) -> Season:
    """The season over the series in ``series``."""
    return Season(
        title=title,
        series=(str(series.resolve()),),
        public_share=0.5,
        public_tokens=PUBLIC_TOKENS,
        early_tokens=EARLY_TOKENS,
        control=(f"{CONTROL}-*",),
    )


def train_series(source: Path, work: Path, series: Path) -> None:
    """Train on the corpus of the finished ``e2lm demo`` in ``source``; what is finished already is not done again."""
    corpus = _corpus(source)
    _train(corpus, work / "text", SIZES)
    shuffled = work / "shuffled.txt"
    if not shuffled.is_file():
        write_text(shuffled, shuffled_words(corpus, random.Random(0)))
    _train([shuffled], work / CONTROL, CONTROL_SIZE)
    for size in SIZES.split(","):
        Series.read(work / "text" / size).write(_made(series / size))
    control = Series.read(work / CONTROL / CONTROL_SIZE)
    name = f"{CONTROL}-{CONTROL_SIZE}"
    control.model_copy(update={"name": name}).write(_made(series / name))


def _corpus(source: Path) -> list[Path]:
    """The files that the models of ``source`` were trained on: their held-out part is what the tasks were made of."""
    record = source / "runs" / "run.json"
    try:
        files = [Path(one) for one in json.loads(record.read_text(encoding="utf-8"))["config"]["corpus"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{record}: cannot be read; give the folder of a finished 'e2lm demo'") from error
    beside = source / "corpus"  # where the demo keeps its own, whatever folder it was started from
    found = [file if file.is_file() else beside / file.name for file in files]
    for file in found:
        if not file.is_file():
            raise UserError(f"{record}: the corpus file {file.name} is gone; give another finished 'e2lm demo'")
    return found


def shuffled_words(corpus: list[Path], rng: random.Random) -> str:
    """The words of each paragraph in an order drawn by ``rng``, up to :data:`CONTROL_BYTES`."""
    text = "\n\n".join(file.read_text(encoding="utf-8") for file in corpus)
    paragraphs = []
    for paragraph in text[:CONTROL_BYTES].split("\n\n"):
        words = paragraph.split()
        rng.shuffle(words)
        paragraphs.append(" ".join(words))
    return "\n\n".join(paragraphs) + "\n"


def _train(corpus: list[Path], out: Path, sizes: str) -> None:
    arguments = ["train", "--corpus", *map(str, corpus), "--out", str(out), "--sizes", sizes, "--json"]
    arguments += ["--tokens", str(TOKENS), "--checkpoint-grid", "tokens"]
    arguments += ["--checkpoint-tokens", str(CHECKPOINT_TOKENS), "--jobs", "2"]
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = run_command(arguments)
    if code != 0:
        raise E2LMError(f"e2lm train ended with exit code {code}: {printed.getvalue().strip()[:500]}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
