"""The grammar of ``--stop-if`` and ``--alert-if``.

::

    P(loss at TOKENS > NUMBER) > SHARE       where the loss of the run will end, by a forecast (also <)
    P(ends below RUN[,RUN] on TASK) > SHARE  paired on the items of TASK; two RUNs are seeds of one baseline
    SCORE(TASK[, METRIC]) < NUMBER           a signal score of any plugin (also >): signal_quality(sciq) < .5
    loss spike                               the logged loss jumps
    nan                                      a weight, score or logged loss that is NaN or infinite
    duplicate checkpoint                     the weights of another step, byte for byte
    stalled DURATION                         nothing new in the folder for 90s, 30min, 6h, 2d
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from e2lm.argument import number_of
from e2lm.errors import UserError, nearest_names

VerdictState = Literal["stop", "alert"]
RuleKind = Literal["loss", "below", "score", "loss spike", "nan", "duplicate checkpoint", "stalled"]

FORMS = (
    "P(loss at 2e10 > 2.9) > .95",
    "P(ends below runs/baseline on hellaswag) > .95",
    "signal_quality(sciq) < .5",
    "loss spike",
    "nan",
    "duplicate checkpoint",
    "stalled 6h",
)
PLAIN: tuple[RuleKind, ...] = ("loss spike", "nan", "duplicate checkpoint")
WORDS = ("loss", "spike", "nan", "duplicate", "checkpoint", "stalled", "ends", "below", "on", "at", "P")
UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

_PROBABILITY = re.compile(r"P\s*\((?P<event>.*)\)\s*>\s*(?P<share>[^\s>]+)")
_LOSS = re.compile(r"loss\s+at\s+(?P<tokens>\S+)\s*(?P<sign>[<>])\s*(?P<loss>\S+)")
_BELOW = re.compile(r"ends\s+below\s+(?P<runs>.+?)\s+on\s+(?P<task>\S+)")
_SCORE = re.compile(
    r"(?P<score>[\w.-]+)\s*\((?P<task>[^(),]+)(,(?P<metric>[^(),]+))?\)\s*(?P<sign>[<>])\s*(?P<number>\S+)"
)
_STALLED = re.compile(r"stalled\s+(?P<number>[\d.]+)\s*(?P<unit>[a-z]+)")


@dataclass(frozen=True, slots=True)
class WatchRule:
    """One condition as it was written, ``text``, and what it says; ``threshold`` is a share, a number, or seconds."""

    text: str
    state: VerdictState
    kind: RuleKind
    threshold: float = 0.0
    sign: str = ">"
    tokens: float = 0.0
    loss: float = 0.0
    task: str = ""
    metric: str = ""
    score: str = ""
    baselines: tuple[str, ...] = ()


def parsed(text: str, state: VerdictState) -> WatchRule:
    """The rule that ``text`` says; a :class:`UserError` with the nearest word for what is not grammar.

    >>> parsed("P(loss at 2e10 > 2.9) > .95", "stop").tokens
    20000000000.0
    >>> parsed("lose spike", "alert")
    Traceback (most recent call last):
    ...
    e2lm.errors.UserError: --alert-if 'lose spike': unknown word 'lose'. Did you mean 'loss'?
    """
    option, said = f"--{state}-if {text!r}", " ".join(text.split())
    for kind in PLAIN:
        if said == kind:
            return WatchRule(said, state, kind)
    if found := _STALLED.fullmatch(said):
        return WatchRule(said, state, "stalled", _seconds(option, found["number"], found["unit"]))
    if found := _PROBABILITY.fullmatch(said):
        return _of_probability(option, said, state, found["event"].strip(), _share(option, found["share"]))
    if found := _SCORE.fullmatch(said):
        _require_score(option, found["score"])
        threshold = _number(option, found["number"])
        task, metric = found["task"].strip(), (found["metric"] or "").strip()
        return WatchRule(said, state, "score", threshold, found["sign"], task=task, metric=metric, score=found["score"])
    raise _not_grammar(option, said)


def _of_probability(option: str, said: str, state: VerdictState, event: str, share: float) -> WatchRule:
    if found := _LOSS.fullmatch(event):
        tokens, loss = _number(option, found["tokens"]), _number(option, found["loss"])
        if tokens <= 0 or loss <= 0:
            raise UserError(f"{option}: tokens and loss must be above 0")
        return WatchRule(said, state, "loss", share, found["sign"], tokens, loss)
    if found := _BELOW.fullmatch(event):
        runs = tuple(one.strip() for one in found["runs"].split(",") if one.strip())
        return WatchRule(said, state, "below", share, task=found["task"], baselines=runs)
    raise _not_grammar(option, said)


def _number(option: str, text: str) -> float:
    try:
        found = number_of(text)
    except ValueError:
        found = float("nan")
    if not abs(found) < float("inf"):
        raise UserError(f"{option}: {text!r} is no number")
    return found


def _share(option: str, text: str) -> float:
    share = _number(option, text)
    if not 0.5 <= share < 1:
        raise UserError(f"{option}: found > {text}, expected a probability of .5 or more, below 1")
    return share


def _seconds(option: str, number: str, unit: str) -> float:
    if unit not in UNITS_S:
        raise UserError(f"{option}: unknown unit {unit!r}. {nearest_names(unit, UNITS_S)}")
    seconds = _number(option, number) * UNITS_S[unit]
    if seconds <= 0:
        raise UserError(f"{option}: found {number}{unit}, expected more than 0")
    return seconds


def _require_score(option: str, name: str) -> None:
    from e2lm.plugin_manager import plugin_manager
    from e2lm.signal_score import SignalScore

    try:
        found = plugin_manager().find("e2lm_register_signal_scores", SignalScore, name, "signal score")
    except UserError as error:
        raise UserError(f"{option}: {error}") from error
    if found.scope != "curve":
        raise UserError(f"{option}: {name} compares several runs; a rule is about one: take a score of single curves")


def _not_grammar(option: str, said: str) -> UserError:
    for word in re.findall(r"[A-Za-z]+", re.sub(r"\bbelow\s.+\son\s.*", "below on", said)):
        told = nearest_names(word, WORDS, count=1)
        if word not in WORDS and told.startswith("Did"):
            return UserError(f"{option}: unknown word {word!r}. {told}")
    return UserError(f"{option}: no rule; write one of: {'; '.join(FORMS)}")
