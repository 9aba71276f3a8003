"""``e2lm leaderboard demo``: a season in a box, with five submissions of which three are scored and two refused.

Three sizes are trained on text, and one on its words in no order, which the others must beat: a benchmark that it does
as well on asks for words, not for sentences. The submissions: good, noisy, letter-format, a copy, a hostile one.
"""

from __future__ import annotations

import io
import json
import random
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import e2lm
from e2lm.argument import folder_to_write
from e2lm.atomic_file import write_text
from e2lm.errors import UserError
from e2lm.series import Series

if TYPE_CHECKING:
    from e2lm_leaderboard.bundle.bundle import Bundle
    from e2lm_leaderboard.season.season import Season

TITLE = "A season in a box"
SIZES, CONTROL_SIZE = "50k,140k,360k", "360k"
CONTROL = "shuffled"
#: 13 checkpoints with step 0: nine are early, which is one more than the official score needs, three of the later four
#: are public, and the last is hidden.
TOKENS, CHECKPOINT_TOKENS = 240_000, 20_000
EARLY_TOKENS, PUBLIC_TOKENS = 170_000.0, 230_000.0
#: Enough for a control model that sees 240,000 tokens.
CONTROL_BYTES = 2_000_000


def configure_demo(parser: ArgumentParser) -> None:
    """Arguments of ``demo``."""
    parser.add_argument(
        "--out",
        type=folder_to_write,
        default=Path("demo-season"),
        help="folder (default: ./demo-season); resumes there",
    )
    parser.add_argument("--demo", type=Path, metavar="DIR", help="finished 'e2lm demo' whose corpus and tasks to use")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")


def run_demo(arguments: Namespace) -> int:
    """Open, submit, run, rank, export, verify."""
    from e2lm_leaderboard.season.season import SEASON_FILE, Season
    from e2lm_leaderboard.store.database import database_url

    out: Path = arguments.out
    source: Path = arguments.demo or out / "models"
    if arguments.dry_run:
        print(f"would open a season in {out}: four small models to train, five submissions to run")
        return 0
    if arguments.demo is None:
        _make_corpus(source)
    if not (source / "runs").is_dir():
        raise UserError(f"--demo {source}: no folder 'runs' in it; give the folder of a finished 'e2lm demo'")
    submissions = demo_submissions(source / "tasks")
    print("training the organiser's models: three sizes on text, one on shuffled words ...", flush=True)
    train_series(source, out / "training", out / "series")
    if not (out / SEASON_FILE).exists():
        demo_season(TITLE, out / "series").write(out)
    season = Season.read(out)
    return _season(out, season, database_url(season.database or str(out)), submissions)


def _make_corpus(folder: Path) -> None:
    """The quick demo: text, and a benchmark from the part of it that was held out."""
    if (folder / "report.html").is_file():
        return
    print("collecting text and making a benchmark from it (e2lm demo --quick) ...", flush=True)
    with redirect_stdout(io.StringIO()):
        e2lm.demo(folder, quick=True)


def _season(out: Path, season: Season, url: str, submissions: Sequence[DemoSubmission]) -> int:
    from e2lm_leaderboard.bundle.intake import take_in
    from e2lm_leaderboard.cli.organiser import print_table
    from e2lm_leaderboard.season.run import SeasonRun
    from e2lm_leaderboard.season.season import SALT_KEY, utc_now
    from e2lm_leaderboard.season.signature import season_signer
    from e2lm_leaderboard.store.store import Store
    from e2lm_leaderboard.web.export import export_season

    store = Store(url)
    try:
        if store.setting(SALT_KEY) is None:
            store.set_setting(SALT_KEY, "the demo's salt is no secret")
        for one in submissions:
            take_in(store, season.rules, one.bundle.packed(), one.team, utc_now())
        SeasonRun(out, season, store).run()
        print_table(store, season, private=False)
        export_season(store, season, out / "site", utc_now(), signer=season_signer(out, store, utc_now()))
        problems = store.verify()
    finally:
        store.close()
    print("\n".join(problems) or "every row agrees with the log")
    print(f"page: {out / 'site' / 'index.html'}; or: e2lm leaderboard serve {out}")
    return 1 if problems else 0


def demo_season(title: str, series: Path) -> Season:
    """The season over the series in ``series``."""
    from e2lm_leaderboard.season.season import Season

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
    """The clean recipe of ``source``, which holds none of the text that the tasks were made of; of a demo that trained
    no recipes, the files that its models were trained on: their held-out part is what the tasks were made of.
    """
    recipe = source / "recipes" / "clean.txt"
    if recipe.is_file():
        return [recipe]
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
    e2lm.train(
        corpus=list(map(str, corpus)), out=out, sizes=sizes, tokens=TOKENS, checkpoint_grid="tokens",
        checkpoint_tokens=CHECKPOINT_TOKENS, jobs=2, quiet=True,
    )  # fmt: skip


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


#: Of the suite that ``e2lm demo`` builds: sentences against shuffled ones, last words, sentences with swapped words.
GOOD_DATA, NOISY_DATA, LETTER_DATA = "shuffled.jsonl", "cloze.jsonl", "swapped.jsonl"

SUBMISSION = """\
schema_version: 1
name: {name}
title: {title}
description: {title}.
language: en
license: Apache-2.0
tier: declarative
metric: {metric}
tasks: [{name}.yaml]
"""

PLAIN = {"doc_to_text": "context", "doc_to_choice": "choices", "doc_to_target": "gold", "target_delimiter": ""}
SPACED = {**PLAIN, "target_delimiter": " "}
LETTERS = {
    "doc_to_text": "Which of these is written by a person?"
    "{% for choice in choices %}\n{{ ['A', 'B', 'C', 'D'][loop.index0] }}. {{ choice }}{% endfor %}\nAnswer:",
    "doc_to_choice": ["A", "B", "C", "D"],
    "doc_to_target": "gold",
    "target_delimiter": " ",
}
HOSTILE = {**SPACED, "doc_to_text": "{{ cycler.__init__.__globals__.os.popen('cat ~/.ssh/id_rsa').read() }}"}


@dataclass(frozen=True, slots=True)
class DemoSubmission:
    """A bundle and who sends it."""

    team: str
    bundle: Bundle


def demo_submissions(tasks: Path) -> list[DemoSubmission]:
    """The five, made from the data of the suite in ``tasks``."""
    good, noisy, swapped = (_data(tasks / name) for name in (GOOD_DATA, NOISY_DATA, LETTER_DATA))
    return [
        _submission("astra", "sentences", "Real sentences against shuffled ones", "norm_correct_prob", PLAIN, good),
        _submission("borealis", "last-words", "The last word of a sentence, right or wrong", "acc", SPACED, noisy),
        _submission("cygnus", "letters", "Real or swapped, asked by letter", "acc", LETTERS, swapped),
        _submission("draco", "my-own-idea", "Somebody else's sentences under a new name", "acc", PLAIN, good),
        _submission("eridanus", "trojan", "A template that would run a shell", "acc", HOSTILE, noisy),
    ]


def _data(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of a finished 'e2lm demo'")
    return path.read_bytes()


def _submission(
    team: str, name: str, title: str, metric: str, fields: Mapping[str, object], data: bytes
) -> DemoSubmission:
    from e2lm_leaderboard.bundle.bundle import Bundle

    task = {
        "task": name.replace("-", "_"),
        "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": f"{name}.jsonl"},
        "test_split": "test",
        **fields,
    }
    files = {
        "submission.yaml": SUBMISSION.format(name=name, title=title, metric=metric).encode(),
        f"{name}.yaml": "".join(f"{key}: {json.dumps(value)}\n" for key, value in task.items()).encode(),
        f"{name}.jsonl": data,
    }
    return DemoSubmission(team, Bundle(files))
