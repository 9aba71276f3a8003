"""What lm-eval's results tell of the model and of how a task was evaluated: fields of a result's ``about``.

The checkpoints of a curve share nearly all of it, so what was worked out for one is kept for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from e2lm.results.subject import Subject

#: Arguments that say where the weights are: adapters before the model that they change.
PLACES = ("peft", "delta", "pretrained", "model", "path")
#: Those that say which of the weights there.
INSIDE = ("revision", "subfolder", "gguf_file")
#: Those that change numbers, beside ``dtype``; what only says where or how fast is none of them.
SETTINGS = (
    *("load_in_8bit", "load_in_4bit", "bnb_4bit_quant_type", "quantization", "autogptq", "gptqmodel"),
    *("add_bos_token", "prefix_token_id", "max_length", "max_model_len", "softmax_dtype", "enable_thinking"),
)
#: Stands for what a file does not mention, where None is an answer.
_UNSAID = "(unsaid)"
_EMPTY = ("", "None")
_KEPT = 4096
Facts = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ModelArguments:
    """What ``--model_args`` say: where the weights are and which of them, and what of it changes numbers.

    ``base`` is the model that adapters at ``place`` change.
    """

    place: str
    inside: tuple[str, ...]
    base: str
    dtype: str
    settings: str
    is_told: bool


def model_arguments(data: Mapping[str, Any]) -> ModelArguments:
    """``--model_args`` as they were given, with ``model_revision``, and without the main branch."""
    config = data.get("config") or {}
    told = config.get("model_args") or ""
    if not isinstance(told, str):
        told = tuple((str(name), str(value)) for name, value in told.items())
    return _arguments(told, str(config.get("model_revision") or ""))


@lru_cache(_KEPT)
def _arguments(told: str | tuple[tuple[str, str], ...], revision: str) -> ModelArguments:
    if isinstance(told, str):
        told = tuple((name, value) for name, _, value in (one.partition("=") for one in told.split(",") if told))
    found = {} if revision in ("", "main") else {"revision": revision}
    found.update(told)
    told_of = {name: value for name, value in found.items() if (name, value) != ("revision", "main")}
    return ModelArguments(
        place=next((told_of[name] for name in PLACES if told_of.get(name)), ""),
        inside=tuple(told_of[name] for name in INSIDE if told_of.get(name)),
        base=told_of.get("pretrained", "") if told_of.get("peft") or told_of.get("delta") else "",
        dtype=told_of.get("dtype", ""),
        settings=",".join(f"{name}={told_of[name]}" for name in SETTINGS if name in told_of),
        is_told=bool(told_of),
    )


ModelFacts = tuple[str, str, ModelArguments, str, str, str]


def model_facts(data: Mapping[str, Any], arguments: ModelArguments, subject: Subject) -> ModelFacts:
    """What is known of the model and of how it was run, as :func:`about_task` takes it."""
    config = data.get("config") or {}
    run = str(config.get("model_dtype")), str(config.get("model")), str(data.get("lm_eval_version"))
    return (subject.model, subject.revision, arguments, *run)


def about_task(model: ModelFacts, data: Mapping[str, Any], task: str) -> Mapping[str, str]:
    """What is known of the model and of how ``task`` was evaluated; the same object for all who tell the same."""
    if (facts := _facts(data, task)) is None:
        return {**_model_about(model), **protocol(data, task)}
    try:
        return _about(model, facts)
    except TypeError:  # a list or an object where others write a number or text
        return {**_model_about(model), **_protocol(facts)}


@lru_cache(_KEPT)
def _about(model: ModelFacts, facts: Facts) -> dict[str, str]:
    return {**_model_about(model), **_protocol(facts)}


def _model_about(facts: ModelFacts) -> dict[str, str]:
    model, revision, arguments, dtype, backend, version = facts
    known = dtype if dtype not in _EMPTY else arguments.dtype
    told = {
        "model": "+".join(filter(None, [model, arguments.base])),
        "revision": revision,
        "dtype": known.removeprefix("torch."),
        "settings": arguments.settings,
        "backend": "" if backend in _EMPTY else backend,
        "harness": "lm-eval",
        "harness_version": "" if version in _EMPTY else version,
    }
    if arguments.is_told:  # what they do not say is lm-eval's default, which differs from what they may say elsewhere
        defaults = {"revision": "none", "dtype": "auto", "settings": "none"}
        told = {name: value or defaults.get(name, "") for name, value in told.items()}
    return {name: value for name, value in told.items() if value}


def protocol(data: Mapping[str, Any], task: str) -> dict[str, str]:
    """What is known of how ``task`` was evaluated; of a group, what all its tasks share."""
    if (facts := _facts(data, task)) is not None:
        return _protocol(facts)
    first, *others = [protocol(data, one) for one in _members(data, task)]
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


def _members(data: Mapping[str, Any], group: str) -> list[str]:
    return [str(one) for one in (data.get("group_subtasks") or {}).get(group) or () if one != group]


def _facts(data: Mapping[str, Any], task: str) -> Facts | None:
    """What the file has of how ``task`` was evaluated; None for a group, of which its tasks tell."""
    configs = data.get("configs") or {}
    if task not in configs and _members(data, task):
        return None
    config, counted = data.get("config") or {}, (data.get("n-samples") or {}).get(task) or {}
    return (
        _shots(data, config, configs.get(task) or {}, task),
        (data.get("versions") or {}).get(task),
        (data.get("task_hashes") or {}).get(task),
        counted.get("original"),
        counted.get("effective"),
        config.get("limit", _UNSAID),
        data.get("chat_template", _UNSAID),
        bool(data.get("fewshot_as_multiturn")),
        data.get("system_instruction", _UNSAID),
        _text(config["gen_kwargs"]) if "gen_kwargs" in config else _UNSAID,
    )


def _shots(data: Mapping[str, Any], config: Mapping[str, Any], own: Mapping[str, Any], task: str) -> Any:
    counts = data.get("n-shot") or {}
    if task in counts:
        return counts[task]
    return own["num_fewshot"] if own.get("num_fewshot") is not None else config.get("num_fewshot")


def _protocol(facts: Facts) -> dict[str, str]:
    shots, version, task_hash, original, effective, limit, template, multiturn, system, gen_kwargs = facts
    told = {"shots": _text(shots), "version": _text(version), "hash": _text(task_hash)[:12]}
    if original and effective:
        told |= {"items": _text(original), "limit": _text(effective) if effective < original else "none"}
    elif limit != _UNSAID:
        told["limit"] = "none" if limit is None else _text(limit)
    if template != _UNSAID:
        told["chat_template"] = _short_hash(template) + (" as several turns" if multiturn and template else "")
    if system != _UNSAID:
        told["system_prompt"] = _short_hash(system)
    if gen_kwargs != _UNSAID:
        told["gen_kwargs"] = gen_kwargs or "none"
    return {name: value for name, value in told.items() if value}


def _short_hash(text: object) -> str:
    return sha256(str(text).encode()).hexdigest()[:8] if text else "none"


def _text(value: object) -> str:
    """``1`` and ``1.0`` are one version.

    >>> _text(1.0), _text(5), _text(None), _text("Yaml")
    ('1', '5', '', 'Yaml')
    """
    if value is None or value == "":
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
