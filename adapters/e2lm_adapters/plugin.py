"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable

from e2lm import CheckpointFormat, Command, EvaluationModel, Verb, hookimpl


@hookimpl
def e2lm_register_models() -> Iterable[EvaluationModel]:
    """``e2lm-hf``, ``e2lm-vllm`` and ``e2lm-mlm``."""
    return [
        EvaluationModel(
            "e2lm-hf",
            "e2lm_adapters.hf_model:E2lmHf",
            "lm-eval's hf model with shared prefixes computed once; weights can be swapped.",
        ),
        EvaluationModel(
            "e2lm-vllm",
            "e2lm_adapters.vllm_model:E2lmVllm",
            "lm-eval's vllm model with shared contexts computed once; one engine for a whole series.",
        ),
        EvaluationModel(
            "e2lm-mlm",
            "e2lm_adapters.mlm_model:E2lmMlm",
            "Masked language models (BERT, RoBERTa) by pseudo-log-likelihood.",
        ),
    ]


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm eval``, ``e2lm watch``, ``e2lm checkpoints``, ``e2lm hub`` and ``e2lm lm-eval``."""
    from e2lm_adapters.checkpoints.command import HUB_COMMAND
    from e2lm_adapters.checkpoints.run_command import CHECKPOINTS_COMMAND
    from e2lm_adapters.eval.command import EVAL_COMMAND
    from e2lm_adapters.lm_eval.command import LM_EVAL_COMMAND
    from e2lm_adapters.watch.command import WATCH_COMMAND

    return [EVAL_COMMAND, WATCH_COMMAND, CHECKPOINTS_COMMAND, HUB_COMMAND, LM_EVAL_COMMAND]


@hookimpl
def e2lm_register_checkpoint_formats() -> Iterable[CheckpointFormat]:
    """What transformers loads, LoRA adapters, state dicts, and trainers whose own converter is named."""
    from e2lm_adapters.checkpoints.formats.lora import LORA
    from e2lm_adapters.checkpoints.formats.state_dict import STATE_DICTS
    from e2lm_adapters.checkpoints.formats.trainers import TRAINERS
    from e2lm_adapters.checkpoints.formats.transformers_folder import PICKLE, SAFETENSORS

    return [SAFETENSORS, PICKLE, LORA, *STATE_DICTS, *TRAINERS]


@hookimpl
def e2lm_register_verbs() -> Iterable[Verb]:
    """What ``e2lm.evaluate(...)`` and ``e2lm.watch(...)`` do from Python."""
    return [
        Verb(
            "evaluate",
            "(runs, tasks, *, out, **options)",
            "Evaluate every checkpoint of runs.",
            "e2lm_adapters.eval.verb:evaluate",
        ),
        Verb(
            "watch",
            "(runs, tasks, *, out, **options)",
            "Score checkpoints of live runs as they come, judge rules.",
            "e2lm_adapters.eval.verb:watch",
        ),
    ]
