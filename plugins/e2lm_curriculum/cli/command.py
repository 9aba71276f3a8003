"""``e2lm train``: from text to a ladder of models with all their checkpoints."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.command import Command
from e2lm.errors import UserError, one_line

if TYPE_CHECKING:
    from e2lm_curriculum.config.training import TrainingConfig

#: Bytes per weight on disk.
FLOAT32_BYTES = 4

HELP = "Train a ladder of small language models and keep checkpoints."

#: First words that are no config, and the functions that take the words after them.
SUB_COMMANDS = {
    "export": "e2lm_curriculum.cli.export:run_export",
    "plan": "e2lm_curriculum.cli.plan:run_plan",
    "compare": "e2lm_curriculum.cli.compare:run_compare",
}


#: A configuration with this section trains the arms of a comparison.
COMPARISON_SECTION = "compare"


class TrainParser(ArgumentParser):
    """Mistakes on the command line are one line, exit code 2."""

    def error(self, message: str) -> Any:
        """Raise instead of printing the usage."""
        raise UserError(f"{self.prog}: {one_line(message)} (see {self.prog} --help)")


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", help="YAML file with the fields below; options given besides it win")
    parser.add_argument(
        "--corpus", nargs="+", metavar="FILE", help="text (documents end at <|endoftext|> lines) or .jsonl"
    )
    parser.add_argument("--out", metavar="DIR", help="where everything goes; the same command goes on there")
    parser.add_argument(
        "--sizes", help="comma-separated: 50k,140k,360k,780k,3m,10m,30m,100m or LAYERSxWIDTH such as 4x128"
    )
    parser.add_argument("--tokens", type=int, help="tokens per model (1_000_000)")
    parser.add_argument("--batch-size", type=int, help="sequences per step (16)")
    parser.add_argument("--sequence-length", type=int, help="tokens per sequence (256)")
    parser.add_argument("--vocabulary", type=int, help="entries of the tokenizer, at most (4096)")
    parser.add_argument("--learning-rate", type=float, help="highest learning rate (3e-3)")
    parser.add_argument("--schedule", help="constant (default), cosine, linear or wsd, each after a warm-up")
    parser.add_argument("--warmup", type=float, help="share of the steps with rising learning rate (0.1)")
    parser.add_argument("--seed", type=int, help="of weights, order and split (0)")
    parser.add_argument("--checkpoints", type=int, help="checkpoints after step 0, log-spaced (10)")
    parser.add_argument("--checkpoint-grid", help="log (default), tokens, or babylm (1M, 2M .. 10M, 20M .. words)")
    parser.add_argument("--checkpoint-tokens", type=int, help="tokens between checkpoints of grid tokens (100_000)")
    parser.add_argument("--word-unit", type=int, help="words that grid babylm takes for a million (1_000_000)")
    parser.add_argument("--held-out", type=float, help="share of the corpus never trained on (0.1)")
    parser.add_argument("--curriculum", help="what is seen when (shuffle); e2lm train plan lists the names")
    parser.add_argument("--family", help="llama (default) or roberta, which learns from masked tokens")
    parser.add_argument("--precision", help="auto (default: bfloat16 autocast on a GPU), float32 or bfloat16")
    parser.add_argument("--jobs", type=int, help="sizes trained at once, sharing the cores (1)")
    parser.add_argument("--loader-workers", type=int, help="processes that read ahead (0)")
    parser.add_argument("--resume-interval-s", type=float, help="seconds of work a kill may cost (30)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained; write nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(arguments: Namespace) -> int:
    from e2lm_curriculum.train.locks import is_main
    from e2lm_curriculum.train.run import check, train

    data, source = chosen_data(arguments)
    if COMPARISON_SECTION in data:
        from e2lm_curriculum.cli.compare import train_and_compare

        return train_and_compare(data, source, arguments.dry_run, arguments.json)
    config = chosen_config(arguments)
    if arguments.dry_run:
        config.model_sizes  # noqa: B018  an unknown size is an error before anything is printed
        check(config)
        _print(planned(config), arguments.json)
        return 0
    train(config, quiet=arguments.json)
    if is_main():
        _print(trained(config), arguments.json)
    return 0


def chosen_config(arguments: Namespace) -> TrainingConfig:
    """The configuration file, if one was given, with the options over it; a :class:`UserError` names file and field."""
    from e2lm_curriculum.config.training import TrainingConfig

    return TrainingConfig.from_data(*chosen_data(arguments))


def chosen_data(arguments: Namespace) -> tuple[dict[str, Any], str]:
    """The fields of the configuration file with the options over them, and what to call them in errors."""
    from e2lm_curriculum.config.training import TrainingConfig, config_data

    given: dict[str, Any] = {
        name: value
        for name, value in vars(arguments).items()
        if name in TrainingConfig.model_fields and value is not None
    }
    if isinstance(given.get("sizes"), str):
        given["sizes"] = [size.strip() for size in given["sizes"].split(",")]
    data = config_data(Path(arguments.config)) if arguments.config else {}
    return {**data, **given}, arguments.config or "e2lm train"


def planned(config: TrainingConfig) -> dict[str, Any]:
    """What a run of ``config`` would do."""
    from e2lm_curriculum.train.size_run import SizeRun

    rows = []
    for size in config.model_sizes:
        run = SizeRun(config, size)
        params = run.params(config.vocabulary)
        rows.append(
            {
                "name": size.name,
                "folder": str(run.folder),
                "params": params,
                "params_non_embedding": run.params_non_embedding,
                "head_dimension": size.head_dimension,
                "tokens": config.budget.tokens,
                "steps": config.budget.steps,
                "checkpoints": list(run.grid),
                "disk_bytes": len(run.grid) * FLOAT32_BYTES * params,
                "finished": run.is_finished,
            }
        )
    curriculum = config.model_dump(mode="json")["curriculum"]
    return {"out": config.out, "curriculum": curriculum, "series": rows}


def trained(config: TrainingConfig) -> dict[str, Any]:
    """What a finished run of ``config`` left on disk."""
    from e2lm_curriculum.corpus.prepared import HELD_OUT_FILE, PreparedCorpus
    from e2lm_curriculum.train.size_run import SizeRun

    prepared = PreparedCorpus.read(config.out_folder)
    assert prepared is not None
    report = planned(config)
    for row, size in zip(report["series"], config.model_sizes, strict=True):
        run = SizeRun(config, size)
        row["params"] = run.params(prepared.vocabulary)
        row["wall_s"] = run.wall_s
    report["held_out"] = str(config.out_folder / HELD_OUT_FILE)
    report["corpus"] = prepared.model_dump(mode="json")
    return report


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=1))
        return
    print(f"{'size':<8} {'params':>12} {'non-embedding':>14} {'tokens':>14} {'checkpoints':>12} {'wall s':>8}  folder")
    for row in report["series"]:
        wall = f"{row['wall_s']:.1f}" if "wall_s" in row else ("done" if row["finished"] else "-")
        print(
            f"{row['name']:<8} {row['params']:>12,} {row['params_non_embedding']:>14,} {row['tokens']:>14,} "
            f"{len(row['checkpoints']):>12} {wall:>8}  {row['folder']}"
        )
    if "held_out" in report:
        print(f"held-out text: {report['held_out']}")


def run_train_command(arguments: Namespace) -> int:
    """Run the sub-command that the first word names; anything else is a config or an option."""
    words: list[str] = arguments.rest
    if words and words[0] in SUB_COMMANDS:
        module, function = SUB_COMMANDS[words[0]].split(":")
        return int(getattr(import_module(module), function)(words[1:]))
    parser = TrainParser(
        prog="e2lm train",
        description=f"{HELP} Also: " + ", ".join(f"e2lm train {name} --help" for name in SUB_COMMANDS) + ".",
        allow_abbrev=False,
    )
    _configure(parser)
    return _run(parser.parse_args(words))


TRAIN_COMMAND = Command("train", HELP, lambda parser: None, run_train_command, takes_rest=True)
