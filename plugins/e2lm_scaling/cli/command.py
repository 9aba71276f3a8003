"""``e2lm predict``: forecasts, from fits to decisions."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib import import_module

from e2lm.command import Command

#: action -> (module that configures and runs it, what it does).
ACTIONS = {
    "fit": ("e2lm_scaling.cli.fit", "fit a scaling law to losses of trained models"),
    "backtest": ("e2lm_scaling.cli.backtest", "hold out the largest runs and see which law predicts them"),
    "plan": ("e2lm_scaling.cli.plan", "the best N and D for a budget, with intervals and constraints"),
    "curve": ("e2lm_scaling.cli.curve", "where a run ends, from its first checkpoints; which of two wins"),
    "decide": ("e2lm_scaling.cli.decide", "continue, stop, or move the budget, with the chance of regret"),
    "translate": ("e2lm_scaling.cli.translate", "from the loss on one corpus or test to the loss on another"),
}


def _configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (module, description) in ACTIONS.items():
        action = actions.add_parser(name, help=description, description=description, allow_abbrev=False)
        import_module(module).configure(action)


def _run(arguments: Namespace) -> int:
    module, _ = ACTIONS[arguments.action]
    code: int = import_module(module).run(arguments)
    return code


PREDICT_COMMAND = Command(
    "predict", "forecast the big run from small ones: fit, backtest, plan, translate, curve, decide", _configure, _run
)
