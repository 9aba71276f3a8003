"""``e2lm predict``: forecasts, from fits to decisions."""

from __future__ import annotations

from e2lm.command import Action, Command


def _action(module: str, help: str) -> Action:
    """The action that ``module`` configures and runs."""
    return Action(help, f"{module}:configure", f"{module}:run")


PREDICT_COMMAND = Command.with_actions(
    "predict",
    "forecast the big run from small ones: fit, backtest, plan, translate, curve, decide, published",
    {
        "fit": _action("e2lm_scaling.cli.fit", "fit a scaling law to losses of trained models"),
        "backtest": _action("e2lm_scaling.cli.backtest", "hold out the largest runs and see which law predicts them"),
        "plan": _action("e2lm_scaling.cli.plan", "the best N and D for a budget, with intervals and constraints"),
        "curve": _action("e2lm_scaling.cli.curve", "where a run ends, from its first checkpoints; which of two wins"),
        "decide": _action("e2lm_scaling.cli.decide", "continue, stop, or move the budget, with the chance of regret"),
        "translate": _action(
            "e2lm_scaling.cli.translate", "from the loss on one corpus or test to the loss on another"
        ),
        "published": _action("e2lm_scaling.cli.published", "the fits that papers print, at a model or budget"),
    },
)
