"""Which step, tokens and stage of training a name stands for: the one rule. A new scheme: here.

Names of checkpoint folders, of revisions and sub-folders on the Hub, of result files, of a trainer's states, and what a
command line says after ``@`` are read by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

#: Between the parts of a name. ``/`` is there for branches such as ``run1/step1000``.
_BETWEEN = r"[-_./]"
#: The word and the number: ``checkpoint-500``, ``iter_0002000``, ``global_step1000``, ``step=1000``, ``step-16k``.
_STEP = (
    r"(?:(?:global[-_]?)?step|iter(?:ation)?)[-_=]?0*(?P<step>[0-9]{1,18})(?P<thousand>k)?"
    r"|(?:checkpoint|ckpt)[-_=]?0*(?P<saved>[0-9]{1,18})"
)
#: ``tokens4B``, ``token-2.5B``: rounded by whoever wrote the name.
_TOKENS = r"tokens?[-_=]?(?P<tokens>[0-9]{1,18}(?:\.[0-9]{1,9})?)(?P<unit>[kmbt]?)"
#: What may follow without changing which step it is: another form of the same weights, a file's ending, a measured
#: value (``val_loss=2.31``), a bare amount (``step-50K-105b``: tokens or parameters, so nothing is read from it).
_FORM = (
    r"unsharded|hf|merged|model|ckpt|pth?|bin|safetensors|gguf|nemo"
    r"|\w+=[0-9]+(?:\.[0-9]+)?|[0-9]{1,18}(?:\.[0-9]{1,9})?[mbt]"
)

_NAME = re.compile(
    rf"(?:(?P<before>.+?){_BETWEEN})??(?:{_STEP})(?:[-_]{_TOKENS})?(?:{_BETWEEN}(?:{_FORM}))*", re.IGNORECASE
)
_STEP_INSIDE = re.compile(rf"(?:^|{_BETWEEN})(?:{_STEP})(?![0-9])", re.IGNORECASE)
#: MosaicML Composer counts batches, one an optimizer step: ``ep0-ba1000``, ``ep0-ba1000-rank0``.
_COMPOSER = re.compile(r"ep[0-9]+-ba0*(?P<step>[0-9]{1,18})(?:-rank[0-9]+)?(?:\.pt)?", re.IGNORECASE)
#: What stands before the step and counts nothing anew: the epoch, through which Lightning and transformers count
#: on, and measured values.
_EPOCH, _VALUE = (
    re.compile(rf"(?:^|(?<={_BETWEEN})){what}(?:{_BETWEEN}|$)", re.IGNORECASE)
    for what in (r"ep(?:och)?[-_=]?[0-9]+", r"[a-z]+(?:_[a-z]+)*=[0-9]+(?:\.[0-9]+)?")
)
_PLAIN_WORDS = frozenset({"checkpoint", "checkpoints", "ckpt", "hf", "model", "weights"})
#: A track that is no name of a run, but of a part of one (OLMo, SmolLM3).
_STAGE = re.compile(r"(?:stage|phase)[-_]?[0-9]", re.IGNORECASE)
#: Trainers write under such names and rename at the end, so what bears one is not whole.
_UNFINISHED = re.compile(rf"(?:^|{_BETWEEN})(?:tmp|temp|partial|incomplete)(?:{_BETWEEN}|$)", re.IGNORECASE)

#: Names whose number counts something else than steps, and what: BabyLM's ``chck_10M`` are words.
_COUNTS = {
    "epochs": re.compile(r"epochs?[-_=]?0*(?P<count>[0-9]{1,18})(?P<unit>)", re.IGNORECASE),
    "samples": re.compile(r"samples?[-_=]?0*(?P<count>[0-9]{1,18})(?P<unit>)", re.IGNORECASE),
    "words": re.compile(r"chck[-_]0*(?P<count>[0-9]{1,18})(?P<unit>[kmb]?)", re.IGNORECASE),
    "tokens": re.compile(r"tokens?[-_=]?0*(?P<count>[0-9]{1,18})(?P<unit>[kmbt]?)", re.IGNORECASE),
    "numbers": re.compile(r"0*(?P<count>[0-9]{1,18})(?P<unit>)"),
}

UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}

#: Folders inside that of a checkpoint, in which some trainers put the weights: ``checkpoint-500/model``.
INSIDE_CHECKPOINT = frozenset({"actor", "hf", "hf_ckpt", "huggingface", "model", "policy", "unsharded", "weights"})


@dataclass(frozen=True, slots=True)
class NamedStep:
    """``track`` is what stands before the step (a stage of training that counts its own steps), often empty.

    ``tokens`` is None where the name does not tell, else as the name has them, so rounded.
    """

    track: str
    step: int
    tokens: int | None = None


def step_of(name: str) -> NamedStep | None:
    """Where in training the checkpoint called ``name`` is; None where the name does not say so, or says two things.

    ``name`` is that of one folder, file, branch or tag. Numbers that may count something else are no steps: bare ones,
    epochs, samples, words. So are names of what is not whole yet (``tmp-checkpoint-500``).

    >>> step_of("checkpoint-500"), step_of("global_step1000")
    (NamedStep(track='', step=500, tokens=None), NamedStep(track='', step=1000, tokens=None))
    >>> step_of("stage1-step1000-tokens4B")
    NamedStep(track='stage1', step=1000, tokens=4000000000)
    >>> step_of("epoch=1-step=500.ckpt")
    NamedStep(track='', step=500, tokens=None)
    >>> [step_of(name) for name in ("main", "epoch-3", "2000", "checkpoint-10-step-20", "tmp-checkpoint-500")]
    [None, None, None, None, None]
    """
    if match := _COMPOSER.fullmatch(name):
        return NamedStep("", int(match["step"]))
    match = _NAME.fullmatch(name)
    if match is None or _UNFINISHED.search(name) or len(_STEP_INSIDE.findall(name)) > 1:
        return None
    step = int(match["step"] or match["saved"]) * (1000 if match["thousand"] else 1)
    tokens = None if match["tokens"] is None else round(float(match["tokens"]) * UNITS[match["unit"].upper()])
    return NamedStep(_track(match["before"] or ""), step, tokens)


@dataclass(frozen=True, slots=True)
class NamedCount:
    """A number in a name that is no step: ``of`` says what it counts (``"epochs"``, ``"words"``, ``"numbers"`` ...)."""

    count: int
    of: str


def count_of(name: str) -> NamedCount | None:
    """What a name counts that tells no step, for runs none of whose names do; whoever reads it as a step says so.

    >>> count_of("epoch_3"), count_of("chck_10M"), count_of("0001000")
    (NamedCount(count=3, of='epochs'), NamedCount(count=10000000, of='words'), NamedCount(count=1000, of='numbers'))
    >>> count_of("checkpoint-500") is None
    True
    """
    for of, pattern in _COUNTS.items():
        if match := pattern.fullmatch(name):
            return NamedCount(int(match["count"]) * UNITS[match["unit"].upper()], of)
    return None


#: A bare amount, as revisions of one repository may be called; as the name of a model it would be its size.
_AMOUNT = re.compile(r"0*(?P<count>[0-9]{1,9})(?P<unit>[kmbt])", re.IGNORECASE)


def amount_of(revision: str) -> NamedCount | None:
    """The amount, of tokens most likely, that a revision or sub-folder of a repository is called after.

    >>> amount_of("2B"), amount_of("main") is None
    (NamedCount(count=2000000000, of='amounts'), True)
    """
    match = _AMOUNT.fullmatch(revision)
    return None if match is None else NamedCount(int(match["count"]) * UNITS[match["unit"].upper()], "amounts")


def is_unfinished_name(name: str) -> bool:
    """Whether a trainer gives such names to what it has not finished: ``tmp-checkpoint-500``.

    >>> is_unfinished_name("tmp-checkpoint-500"), is_unfinished_name("checkpoint-500")
    (True, False)
    """
    return _UNFINISHED.search(name) is not None


def _track(before: str) -> str:
    track = _VALUE.sub("", _EPOCH.sub("", before)).strip("-_./").replace("/", "-")
    return "" if track.lower() in _PLAIN_WORDS else track


def step_at_start(name: str) -> NamedStep | None:
    """The step with which the name of a file of results begins: ``step1000_arc_easy``; None for two steps or none.

    >>> step_at_start("step1000_arc_easy")
    NamedStep(track='', step=1000, tokens=None)
    >>> step_at_start("checkpoint_10_step_20") is None
    True
    """
    parts = name.split("_")
    for count in range(len(parts), 0, -1):
        found = step_of("_".join(parts[:count]))
        if found is not None:
            return None if _STEP_INSIDE.search("_".join(parts[count:])) else found
    return None


def step_in_path(path: str) -> tuple[str, NamedStep] | None:
    """The name of the run that the checkpoint at ``path`` is of (``""`` for none), and its step; None without one.

    The last name of ``path`` tells, or that of the folder whose ``model`` (``hf``, ``weights`` ...) the last one is.

    >>> step_in_path("iter2/runs/wide/checkpoint-500")
    ('wide', NamedStep(track='', step=500, tokens=None))
    >>> [step_in_path(path)[0] for path in ("wide/global_step1000/hf", "org/wide-step10", "wide/stage1-step10")]
    ['wide', 'wide', 'wide-stage1']
    >>> step_in_path("step1000/tiny") is None
    True
    """
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    while len(parts) > 1 and parts[-1].lower() in INSIDE_CHECKPOINT:
        parts.pop()
    found = step_of(parts[-1]) if parts else None
    if found is None:
        return None
    while parts and step_of(parts[-1]) == found:  # DeepSpeed: checkpoint-1000/global_step1000
        parts.pop()
    run = parts[-1] if parts else ""
    if not found.track:
        return run, found
    return (f"{run}-{found.track}" if run and _STAGE.match(found.track) else found.track), found
