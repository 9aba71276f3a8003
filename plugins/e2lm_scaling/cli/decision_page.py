"""The page for who signs a decision: one sentence, three stages, the curve with its fan, what would change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from e2lm.chart import CATEGORIES, Chart, Line, Mark
from e2lm.messages import Html
from e2lm.page import Page, figures, note, section, strong, table
from e2lm_scaling.amounts import counted, money
from e2lm_scaling.forecast.decide import UNTRAINED
from e2lm_scaling.forecast.gates import (
    Stage,
    along,
    break_even,
    spender,
    stages,
    tokens_before,
    training_flops,
    turns,
)
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.messages import say

if TYPE_CHECKING:
    from e2lm_scaling.forecast.decide import Decision, Option, Question, Valued

#: Points of a fan.
FAN_POINTS = 16
#: Share of a new model's tokens at which its fan begins.
FAN_START = 0.1
SAME_SIZE = 0.01
#: Words that a page explains.
EXPLAINED = ("loss", "point", "parameters", "tokens", "interval", "gain", "half")


@dataclass(frozen=True, slots=True)
class Paper:
    """What a page is made of: the decision, the currency, and the hardware (days are shown where it is known)."""

    question: Question
    found: Decision
    data: str
    model: str
    currency: str = ""
    flops_per_day: float | None = None

    def money(self, amount: float) -> str:
        """An amount in the currency of the page."""
        return money(amount, self.currency)

    def html(self) -> str:
        """The page as the text of a file."""
        parts = [
            *_recommended(self), section(say("page_stages")), *_stages(self), section(say("page_run")), *_run(self),
            section(say("page_turns")), *_turns(self), section(say("page_wrong")), *_wrong(self),
            section(say("page_words")), *_words(self),
        ]  # fmt: skip
        return Page(say("page_heading"), parts, language=say.language).html()


def _recommended(paper: Paper) -> list[str]:
    found, best = paper.found, paper.found.chosen
    told = {"best": best.option.words, "share": best.best_probability}
    told |= {"cost": paper.money(best.option.cost), "gain": paper.money(best.gain)}
    if not found.decided:
        sentence = say("recommend_undecided", second=found.valued[1].option.words, **told)
    elif best.option.name in UNTRAINED:
        rival = spender(found)
        told = {"rival": rival.option.words, "gain": paper.money(rival.gain), "share": told["share"]}
        is_merge = best.option.name == "merge"
        sentence = say("recommend_merge", **told) if is_merge else say("recommend_stop", **told)
    else:
        sentence = say("recommend_spend", **told)
    return [Html(f"<p>{strong(sentence)}</p>"), *_tested(paper)]


def _tested(paper: Paper) -> list[str]:
    one = paper.found.experiment
    if one is None:
        return [say("no_experiment")]
    return [say("page_experiment", cost=paper.money(one.cost), worth=paper.money(one.value))]


# -- the three stages -------------------------------------------------------------------------------------------------


def _stages(paper: Paper) -> list[str]:
    option = spender(paper.found).option
    shown = stages(paper.question, paper.found)
    rows = [_stage(paper, one, before) for one, before in zip(shown, (None, *shown), strict=False)]
    head = [say.word("stage", name) for name in ("name", "opens", "done", "cost", "expected")]
    lead = say("stages_lead", option=option.words)
    return [lead, table(say("page_stages"), head, rows, numbers={3}), note(say("stages_note"))]


def _stage(paper: Paper, stage: Stage, before: Stage | None) -> list[str]:
    expected, ends = stage.forecast, (stage.forecast.low, stage.forecast.high)
    if ends[0] is None or ends[1] is None:
        loss = say("loss_alone", loss=expected.value)
    else:
        loss = say("loss_between", loss=expected.value, low=ends[0], high=ends[1])
    done = say("model_done", params=counted(stage.params), tokens=counted(stage.tokens))
    name = say.word("stage", stage.name)
    return [name, _opens(paper, before), done, paper.money(stage.cost), loss]


def _opens(paper: Paper, before: Stage | None) -> str:
    if before is None:
        return _proof_opens(paper)
    if before.opens_next is None or before.opens_next <= 0:
        return say("opens_never")
    return say("opens_below", loss=before.opens_next, tokens=counted(before.tokens))


def _proof_opens(paper: Paper) -> str:
    one = paper.found.experiment
    if one is None:
        return say("opens_now")
    return say("opens_for", cost=paper.money(one.cost), worth=paper.money(one.value))


# -- the run ----------------------------------------------------------------------------------------------------------


def _run(paper: Paper) -> list[str]:
    question, option = paper.question, spender(paper.found).option
    lines = [_seen(question)]
    going_on = [one.option for one in paper.found.valued if one.option.kind == "continue"]
    if going_on:
        farthest = max(going_on, key=lambda one: one.tokens)
        lines.append(_fan(question, farthest, say("fan_continue", params=counted(farthest.params)), CATEGORIES[1]))
    if option.kind != "continue":
        lines.append(_fan(question, option, say("fan_new", params=counted(option.params)), CATEGORIES[2]))
    even = break_even(question, option)
    lowest = min(min(line.low or line.y) for line in lines)
    marks = (Mark(say("even_mark", loss=even), even),) if even > 0.9 * lowest else ()
    title = say("run_title", params=counted(question.current[0]), loss=question.observed)
    chart = Chart(title, say("tokens_axis"), say("loss"), lines, marks, log_x=True)
    even_words = say("even", option=option.words, loss=even) if even > 0 else say("even_never", option=option.words)
    return [figures([chart]), even_words]


def _seen(question: Question) -> Line:
    """The checkpoints of the run so far: rows of its size, of its series where the table names one."""
    runs, (params, tokens) = question.table, question.current
    same_R = (np.abs(np.log(runs.params_R / params)) < SAME_SIZE) & (runs.tokens_R <= tokens * (1 + SAME_SIZE))
    series_R = np.array(runs.series_R)
    last = int(np.argmax(np.where(same_R, runs.tokens_R, -np.inf)))
    rows = np.flatnonzero(same_R & (series_R == series_R[last]))
    rows = rows[np.argsort(runs.tokens_R[rows])]
    return Line(say("seen"), [float(x) for x in runs.tokens_R[rows]], [float(y) for y in runs.loss_R[rows]])


def _fan(question: Question, option: Option, label: str, color: str) -> Line:
    """The forecast from now, or from a tenth of a new model's tokens, to its end."""
    start = tokens_before(question, option) or FAN_START * option.tokens
    at = np.geomspace(start * (1 + 1e-6), option.tokens, FAN_POINTS)
    ahead = [along(question, option, float(tokens)) for tokens in at]
    low = [one.value if one.low is None else one.low for one in ahead]
    high = [one.value if one.high is None else one.high for one in ahead]
    return Line(label, at.tolist(), [one.value for one in ahead], low, high, color, points=False, dashed=True)


# -- what would change it, and what it costs to be wrong --------------------------------------------------------------


def _turns(paper: Paper) -> list[str]:
    told = []
    for one in turns(paper.question, paper.found):
        less = one.price_factor > 1
        value = paper.money(one.value_per_point)
        values = {"value": value, "factor": one.price_factor, "best": one.option.words}
        told.append(say("turn_less", **values) if less else say("turn_more", **values))
    if not told:
        told.append(say("no_turn"))
    now = say("turn_now", value=paper.money(paper.question.value_per_point))
    lost = [say("not_judged", what=what, why=why) for what, why in paper.found.left_out.items()]
    return [now, *told, *lost, say("not_forecast")]


def _wrong(paper: Paper) -> list[str]:
    found = paper.found
    told = {"share": found.regret_probability, "regret": paper.money(found.expected_regret)}
    names = ["option", "option_cost", "loss_at_end", "gain_after", "gain_ends", "best_share"]
    with_days = paper.flops_per_day is not None
    serving = paper.question.limits.inference_tokens > 0
    names += ["days"] * with_days + ["serving"] * serving
    rows = [_judged(paper, one, with_days, serving) for one in found.valued]
    shown = table(
        say("page_options"), [say.word("head", name) for name in names], rows, numbers=set(range(1, len(names)))
    )
    return [say("wrong", **told), shown]


def _judged(paper: Paper, one: Valued, with_days: bool, serving: bool) -> list[str]:
    low, high = (paper.money(end) for end in one.gain_interval)
    cells = [
        one.option.words, paper.money(one.option.cost),
        say("loss_between", loss=one.loss, low=one.loss_interval.low, high=one.loss_interval.high),
        paper.money(one.gain), say("amounts_between", low=low, high=high), say("share", share=one.best_probability),
    ]  # fmt: skip
    flops = training_flops(paper.question, one.option)
    if with_days and paper.flops_per_day:
        cells.append(say("days", days=flops / paper.flops_per_day))
    if serving:
        rest = one.option.cost - flops * paper.question.cost_per_flop
        cells.append(paper.money(max(rest, 0.0)))
    return cells


def _words(paper: Paper) -> list[str]:
    question = paper.question
    budget = paper.money(question.flops * question.cost_per_flop)
    tokens = counted(question.flops / FLOPS_PER_PARAMETER_TOKEN / question.current[0])
    made = say(
        "page_made", budget=budget, tokens=tokens, value=paper.money(question.value_per_point), data=paper.data,
        rows=len(question.table.loss_R), model=paper.model,
    )  # fmt: skip
    rows = [[say.word("word", name), say.word("meaning", name)] for name in EXPLAINED]
    return [made, table(say("page_words"), [say("word_head"), say("meaning_head")], rows)]
