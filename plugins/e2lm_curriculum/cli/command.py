"""``e2lm train`` and its actions: plan, compare, export, seen."""

from __future__ import annotations

from pathlib import Path

from e2lm.argument import AMOUNT, COUNT, COUNT_OR_NONE, PORTION, Number, Several, Whole, folder_to_write
from e2lm.command import Action, Command, CommandParser

#: What every generator of random numbers of the training takes.
SEED_OF_TRAINING = Whole(0, 2**31 - 1)

#: More of them would not fit into any memory.
MADE_UP = Whole(1, 10**9)


def _common(parser: CommandParser, dry_run: str) -> None:
    parser.add_argument("--dry-run", action="store_true", help=dry_run)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _fields(parser: CommandParser) -> None:
    parser.add_argument("--text-field", help="the field or column of a record that holds its text (text)")
    parser.add_argument(
        "--source-field", help="one that says where it is from: mixtures are over its values, not files"
    )
    parser.add_argument("--score-field", help="one with a number, for difficulty document-score")


def _train(parser: CommandParser) -> None:
    parser.add_argument("config", nargs="?", help="YAML file with the fields below; options given besides it win")
    parser.add_argument(
        *("--corpus",),
        nargs="+",
        metavar="FILE",
        help="text (documents end at <|endoftext|> lines) or .jsonl, .json, .parquet, also .gz and .zst; or "
        "hub:OWNER/NAME[@REVISION][:CONFIG[:SPLIT]], a data set of the Hub",
    )
    _fields(parser)
    parser.add_argument(
        "--out", type=folder_to_write, metavar="DIR", help="where everything goes; the same command goes on there"
    )
    parser.add_argument(
        "--sizes",
        action=Several,
        nargs=None,
        default=None,
        metavar="A,B",
        help="50k,140k,360k,780k,3m,10m,30m,100m or LAYERSxWIDTH such as 4x128",
    )
    parser.add_argument("--tokens", type=COUNT, help="tokens per model (1_000_000)")
    parser.add_argument("--batch-size", type=COUNT, help="sequences per step (16)")
    parser.add_argument("--sequence-length", type=COUNT, help="tokens per sequence (256)")
    parser.add_argument("--vocabulary", type=COUNT, help="entries of the tokenizer, at most (4096)")
    parser.add_argument("--learning-rate", type=AMOUNT, help="highest learning rate (3e-3)")
    parser.add_argument("--schedule", help="constant (default), cosine, linear or wsd, each after a warm-up")
    parser.add_argument(
        "--warmup", type=Number(least=0, below=1), help="share of the steps with rising learning rate (0.1)"
    )
    parser.add_argument("--seed", type=SEED_OF_TRAINING, help="of weights, order and split (0)")
    parser.add_argument("--checkpoints", type=COUNT, help="checkpoints after step 0, log-spaced (10)")
    parser.add_argument("--checkpoint-grid", help="log (default), tokens, or babylm (1M, 2M .. 10M, 20M .. words)")
    parser.add_argument("--checkpoint-tokens", type=COUNT, help="tokens between checkpoints of grid tokens (100_000)")
    parser.add_argument("--word-unit", type=COUNT, help="words that grid babylm takes for a million (1_000_000)")
    parser.add_argument("--held-out", type=Number(least=0, below=1), help="share of the corpus never trained on (0.1)")
    parser.add_argument("--curriculum", help="what is seen when (shuffle); e2lm train plan lists the names")
    parser.add_argument("--family", help="llama (default) or roberta, which learns from masked tokens")
    parser.add_argument("--precision", help="auto (default: bfloat16 autocast on a GPU), float32 or bfloat16")
    parser.add_argument("--jobs", type=COUNT, help="sizes trained at once, sharing the cores (1)")
    parser.add_argument("--loader-workers", type=COUNT_OR_NONE, help="processes that read ahead (0)")
    parser.add_argument("--resume-interval-s", type=Number(least=0), help="seconds of work a kill may cost (30)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    _common(parser, "say what would be trained; write nothing")


def _plan(parser: CommandParser) -> None:
    parser.add_argument("config", nargs="?", help="YAML file of e2lm train; options given besides it win")
    parser.add_argument("--corpus", nargs="+", metavar="FILE", help="text to score and plan, as for e2lm train")
    _fields(parser)
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="a number for each example, .npy or one on each line"
    )
    parser.add_argument("--curriculum", help="name of a curriculum, or a YAML file that writes one out")
    parser.add_argument("--samples", type=MADE_UP, help="made-up examples (20000)")
    parser.add_argument("--steps", type=MADE_UP, help="optimiser steps (20000; with --scores once through them)")
    parser.add_argument("--batch", type=MADE_UP, help="examples per step (8; of a corpus 16)")
    parser.add_argument("--sequence-length", type=COUNT, help="tokens per example (128; of a corpus 256)")
    parser.add_argument("--seed", type=SEED_OF_TRAINING, help="of the order (0)")
    parser.add_argument(
        "--show", action="store_true", help="exposure by difficulty, schedules, number of examples seen"
    )
    parser.add_argument(
        "--out", type=folder_to_write, metavar="DIR", help="write the plan there; of a corpus with tokens and tokenizer"
    )
    parser.add_argument(
        "--format",
        action=Several,
        nargs=None,
        metavar="A,B",
        help="also write index files for these trainers into --out: megatron, olmo_core",
    )
    _common(parser, "write nothing")


def _compare(parser: CommandParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a comparison, or of runs")
    parser.add_argument("--scores", type=Path, metavar="DIR", help="what e2lm eval wrote (RUN/scores)")
    parser.add_argument("--held-out-tokens", type=COUNT, default=40_000, help="held-out text to score (40000)")
    parser.add_argument("--threshold", type=PORTION, default=0.8, help="vanilla's goal, a share of its tokens (0.8)")
    parser.add_argument("--jobs", type=COUNT, default=1, help="processes that score held-out text (1)")
    parser.add_argument(
        "--out", type=folder_to_write, metavar="DIR", help="write report.html and comparison.json there"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    _common(parser, "write no report")


def _export(parser: CommandParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of one size, with its series.json")
    parser.add_argument("out", type=folder_to_write, metavar="OUT", help="new folder")
    parser.add_argument("--word-unit", type=COUNT, default=1_000_000, help="words taken for a million (1_000_000)")
    _common(parser, "say what would be copied; write nothing")


def _seen(parser: CommandParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of one size, with its series.json")
    parser.add_argument("--step", type=COUNT_OR_NONE, help="up to which optimiser step (the last)")
    parser.add_argument("--query", action="append", metavar="TEXT", help="text to look for; may be given several times")
    parser.add_argument("--queries", type=Path, metavar="FILE", help="texts to look for, one on each line")
    parser.add_argument("--json", action="store_true", help="print JSON")


_ACTIONS = {
    "plan": Action(
        "Show, or write for another trainer, what a curriculum would show when; nothing is trained. With a CONFIG or "
        "--corpus the text is scored, with --scores it is already; without them a corpus is made up (sample n is the "
        "n-th easiest). Without anything the known curricula are listed.",
        _plan,
        "e2lm_curriculum.cli.plan:run_plan",
    ),
    "compare": Action(
        "Compare trained arms: curves, differences from vanilla with intervals, verdicts. RUN is the folder of a "
        "comparison, or folders of single runs with the same corpus, size and budget under several seeds.",
        _compare,
        "e2lm_curriculum.cli.compare:run_compare",
    ),
    "export": Action(
        "Copy the checkpoints of a trained size that lie on BabyLM's grid of words to OUT/chck_<n>M.",
        _export,
        "e2lm_curriculum.cli.export:run_export",
    ),
    "seen": Action(
        "Say what a model had been shown by a step, and which step and checkpoint saw a text first: examples, "
        "documents and passages, from the plan of the run. Nothing is loaded but its tokens.",
        _seen,
        "e2lm_curriculum.cli.seen:run_seen",
    ),
}

HELP = "Train a ladder of small language models and keep checkpoints."

TRAIN_COMMAND = Command.with_actions(
    "train", HELP, _ACTIONS, default=Action(HELP, _train, "e2lm_curriculum.cli.train:run_train")
)
