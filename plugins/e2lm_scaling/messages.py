"""The sentences of forecasts and decisions (pages, terminal), English; translations: third of ``Catalogue``."""

from __future__ import annotations

from e2lm.messages import Catalogue

say = Catalogue(
    "e2lm_scaling",
    {
        "page": "e2lm predict {action}",
        "interval_and_method": "{low:.4f} to {high:.4f}; {method}",
        "interval": "{low:.4f} to {high:.4f}",
        "no_interval": "no interval: {reason}",
        # -- drawings of fits, backtests and plans
        "training_flops": "training FLOPs (6 N D)",
        "loss": "loss",
        "log_size": "log10 N",
        "data_and_fit": "{name}: data and fit",
        "residuals": "residuals",
        "residual_axis": "predicted / observed - 1 (%)",
        "backtest_axis": "predicted / observed - 1 on held-out runs (%); grey: mean 90 % interval",
        "baseline": "{name} (baseline)",
        "held_out": "runs with {by} above {threshold:.3g} held out",
        "budget": "{flops:.1e} FLOPs",
        "budget_of_plan": "{flops:.1e} FLOPs (plan)",
        "size_axis": "N (parameters)",
        "isoflops": "isoFLOP curves; grey: interval of N*",
        # -- the end of a run
        "step": "step",
        "tokens": "tokens",
        "value": "value",
        "forecast_key": "forecast {value:.4g}",
        "end_title": "{series}: {value:.4g} at the end",
        "end_title_with_interval": "{series}: {value:.4g} ({low:.4g} to {high:.4g}) at the end",
        "above_title": "{series} ends above {against} with probability {probability:.0%}",
        "above": (
            "{series} ends above {against} with probability {probability:.0%} (difference now {difference:+.4g}, at "
            "the end +- {stderr:.2g}; {checkpoints} {checkpoints:plural checkpoint|checkpoints}; {method})"
        ),
        "above_method": ("the difference persists and wanders as much as it has so far; slopes are not extrapolated"),
        "end": "{series}: {last_value:.4f} at {last:.4g}, {value:.4f} at {end:.4g}",
        "end_with_interval": (
            "{series}: {last_value:.4f} at {last:.4g}, {value:.4f} ({low:.4f} to {high:.4f}) at {end:.4g}"
        ),
        # -- from one loss to another
        "below_floor": "it lies at or below the floor E_from = {floor:.4g} of the translation; use --floors zero",
        "link_title": "from the first loss to the second",
        "first_loss": "first loss",
        "second_loss": "second loss",
        "accuracy": "accuracy",
        "law_key": "law, 90 % interval",
        "pairs_key": "pairs",
        "pairs": "{first} -> {second}: {pairs} {pairs:plural pair|pairs} with equal N and D",
        "sigmoid": "accuracy = {top:.4g} - {height:.4g} / (1 + exp(-{steepness:.4g} (L_0 - {midpoint:.4g})))",
        "power": "L_1 = {factor:.4g} (L_0 - {floor_from:.4g})^{exponent:.4g} + {floor_to:.4g}   R2 {r_squared:.4f}",
        "error_of_loss": "error on the lowest losses, held out: {error:.2%} of the loss",
        "error_of_accuracy": "error on the lowest losses, held out: {error:.2%}",
        "of_model": "N={params:.3g}, D={tokens:.3g}: {translated}",
        "translated": "{first:.4f} -> {second:.4f} ({interval})",
        # -- decisions
        "trillion": "{count:.3g} trillion",
        "billion": "{count:.3g} billion",
        "million": "{count:.3g} million",
        "option_stop": "stop here",
        "option_continue": "continue the run of {params} parameters to {tokens} tokens",
        "option_larger": "start a larger model of {params} parameters on {tokens} tokens",
        "option_smaller": "start a smaller model of {params} parameters on {tokens} tokens",
        "option_data": "train on {name} instead: {params} parameters from scratch on {tokens} tokens",
        "observed": "observed",
        "forecast_from": "{predictor} of {rows} rows",
        "carried_on": "its loss now, {loss:.4f}, carried on by {predictor}",
        "carried_on_method": (
            "the loss now times the forecast ratio; error as of public runs replayed from half to the end"
        ),
        "matched_runs": "{before}; matched runs of {name}",
        "experiment": "a run of {flops} FLOPs ({share:.1%} of the budget) in the manner of '{option}'",
        "decided": "Do this: {best}.",
        "undecided": (
            "The data cannot decide. Leaning: {best}; but '{second}' may be as good ({share:.0%} against "
            "{second_share:.0%})."
        ),
        "gain": (
            "Expected gain over stopping, after cost: {gain} (90 % interval {low} to {high}). Chance "
            "that another option would have been better: {regret:.0%}, expected loss by that: {expected}."
        ),
        "option": (
            "- {name}: {words}; cost {cost}, loss {loss:.4f} ({low:.4f} to {high:.4f}), gain {gain}; best "
            "with probability {share:.0%}; from {origin}."
        ),
        "no_experiment": "No small experiment is worth its cost: its result would rarely change the choice.",
        "cheapest_experiment": "Cheapest way to know better: {words}; cost {cost}, worth {worth}.",
        "assumptions": (
            "A point is 0.01 of loss, worth {point} each; budget {flops} FLOPs; losses are those of {model} "
            "on {data}, with its intervals: {method}."
        ),
        "independent_errors": (
            "The errors of its forecasts are taken as independent, for {model} gives no draws: what two options have "
            "in common does not cancel."
        ),
        "no_method": "it does not say how it made them",
        "gain_axis": "gain over stopping, after cost (90 % interval)",
        "worth": "what it is worth",
        "best_axis": "probability of being best",
        "how_sure": "how sure",
    },
)
