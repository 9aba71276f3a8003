"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from e2lm import hookimpl

if TYPE_CHECKING:
    from e2lm import Command, EvaluationModel, MergeStrategy


@hookimpl
def e2lm_register_merge_strategies() -> Iterable[MergeStrategy]:
    """Every built-in strategy."""
    from e2lm_merge.methods.built_in import built_in_strategies

    return built_in_strategies()


@hookimpl
def e2lm_register_models() -> Iterable[EvaluationModel]:
    """``lm_eval run --model e2lm-merge``."""
    from e2lm import EvaluationModel

    return [
        EvaluationModel(
            "e2lm-merge", "e2lm_merge.evaluation_model:E2lmMerge", "Merge in memory and evaluate; nothing is written."
        )
    ]


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm merge``."""
    from e2lm import Command

    def configure(parser: object) -> None:
        del parser

    def run(arguments: object) -> int:
        from e2lm_merge.cli.command import run_merge_command

        return run_merge_command(arguments.rest)  # type: ignore[attr-defined]

    return [Command("merge", "Merge checkpoints or fine-tunes; sweep over merges.", configure, run, takes_rest=True)]
