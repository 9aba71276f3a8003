"""The sentences of the view; Japanese stands in ``messages_ja``."""

from __future__ import annotations

from e2lm.messages import Catalogue
from e2lm_view.messages_ja import JAPANESE

say = Catalogue(
    "e2lm_view",
    {
        # -- the answer
        "sentence": "{text}.",
        "then": "; ",
        "lead": ("{run} leads on {count} of {tasks} {tasks:plural task|tasks} beyond the interval ({names:list})"),
        "lead_more": "{run} on {count} ({names:list})",
        "lead_rest": "on the other {count} no lead is beyond it",
        "lead_none": (
            "No run leads beyond the interval on any of {tasks} {tasks:plural task|tasks}; nearest is {run} on {task}, "
            "by {difference} ± {half}"
        ),
        "alone": (
            "{run} is above chance beyond the interval on {count} of {tasks} {tasks:plural task|tasks}{names} after "
            "{at}"
        ),
        "alone_no_chance": (
            "{run} has been scored on {tasks} {tasks:plural task|tasks} after {at}; no chance level is known"
        ),
        "named": " ({names:list})",
        "compared_at": (
            "Compared {at}, each task by one metric; 90 % intervals from items drawn again, wide enough for all "
            "{comparisons} {comparisons:plural comparison|comparisons} together. Another seed of the training may "
            "order otherwise."
        ),
        "at_last_shared": "at the last checkpoint that the runs share (by {axis}, task by task)",
        "at_own_last": (
            "at each run's own last checkpoint for {count} {count:plural task|tasks} ({names:list}), where the runs "
            "share none, else at the last that they share"
        ),
        "chance_note": "90 % intervals from items drawn again, wide enough for all {comparisons} tasks together.",
        "tokens": "tokens",
        "steps": "steps",
        "after_tokens": "{count:short} tokens",
        "after_steps": "{count:,.0f} steps",
        "nothing": "There is no score in the table yet.",
        # -- the table
        "heading": "e2lm view",
        "task": "task",
        "score": "{value:.3f} ± {half:.3f}",
        "chance": "chance",
        "leads": "leads",
        "beyond": "beyond",
        "not_beyond": "not beyond",
        "scores_table": "Last comparable score of every run",
        "verdicts_table": "Verdicts",
        "verdict.time": "time",
        "verdict.rule": "rule",
        "verdict.series": "run",
        "verdict.step": "step",
        "verdict.value": "value",
        "verdict.threshold": "threshold",
        "verdict.state": "state",
        "unread_verdicts": "{count} {count:plural line|lines} of verdicts.jsonl cannot be read",
        "curves_title": "{task}: {metric}",
        # -- what the script says
        "ui.axis": "axis",
        "ui.step": "steps",
        "ui.token": "tokens",
        "ui.flop": "FLOPs",
        "ui.log": "log",
        "ui.smooth": "smoothing",
        "ui.bands": "90 % intervals",
        "ui.fan": "forecast",
        "ui.metric": "metric",
        "ui.task": "task",
        "ui.filter": "find a task",
        "ui.chance": "chance",
        "ui.no_fan": "no forecast: {why}",
        "ui.fan_by": "forecast: {name}, 90 %",
        "ui.items": "Items",
        "ui.search": "search items",
        "ui.all": "all",
        "ui.turned_right": "turned right",
        "ui.turned_wrong": "turned wrong",
        "ui.never_moves": "never moves",
        "ui.wavers": "wavers",
        "ui.item": "item",
        "ui.shown": "{shown} of {count} items",
        "ui.more": "more",
        "ui.no_text": "its text was not logged",
        "ui.no_items": (
            "There are no items of this task here: --samples {task} puts them into the page, --serve shows all."
        ),
        "ui.gold": "right",
        "ui.loglik": "log-likelihood of each choice, by training step",
        "ui.sum": (
            "An item is right where its true choice has the highest log-likelihood (ties: the first). Turned: wrong in "
            "most of the first quarter of the checkpoints and right in most of the last, or the other way round."
        ),
        "ui.keys": (
            "Keys: j k task, m metric, a axis, s S smoothing, b intervals, f forecast, l log, 1-9 runs, / search, "
            "n p item."
        ),
        "ui.gone": "the server has ended; this is what was seen last",
    },
    {"ja": JAPANESE},
)
