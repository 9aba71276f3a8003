"""The sentences of forecasts and decisions (pages, terminal); Japanese stands in ``messages_ja``."""

from __future__ import annotations

from e2lm.messages import Catalogue
from e2lm_scaling.messages_ja import JAPANESE

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
        "below_pairs": "{translated}; below every pair of the data, the lowest of which is {lowest:.4f}",
        # -- decisions
        "trillion": "{count:.3g} trillion",
        "billion": "{count:.3g} billion",
        "million": "{count:.3g} million",
        "hundred_million": "{count:,g} hundred million",
        "ten_thousand": "{count:,g} ten thousand",
        "option_stop": "stop here",
        "option_merge": "merge the checkpoints there are, instead of annealing",
        "merged_from": "averages of the run, {method}; good as long as the learning rate has not come down",
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
        # -- the page for who signs
        "page_heading": "Continue, stop, or move the budget?",
        "recommend_spend": (
            "Recommendation: {best}. It costs {cost}, is expected to be worth {gain} more than stopping after that "
            "cost, and is the best of the options below with {share:.0%} probability."
        ),
        "recommend_stop": (
            "Recommendation: stop here. The best way to spend more, to {rival}, is expected to bring {gain} after its "
            "cost; stopping is the best of the options below with {share:.0%} probability."
        ),
        "recommend_merge": (
            "Recommendation: merge the checkpoints there are. The best way to spend more, to {rival}, is expected to "
            "bring {gain} after its cost; merging is the best of the options below with {share:.0%} probability."
        ),
        "recommend_undecided": (
            "Recommendation: do not sign yet, for the runs so far cannot tell. First in expectation is to {best} (cost "
            "{cost}, expected to be worth {gain} after that; best with {share:.0%} probability), but to {second} may "
            "be as good."
        ),
        "page_experiment": (
            "A small test comes first: it costs {cost} and is worth {worth}, for it may change this recommendation."
        ),
        "page_stages": "In three stages",
        "stages_lead": (
            "The money for the plan to {option} is let go in three parts; each is opened by a measured loss."
        ),
        "stages_note": (
            "A stage that does not open ends the plan, and the later money is saved. Losses are those of training "
            "that is wound down at that point; before it is wound down a run lies a little higher."
        ),
        "stage.name": "stage",
        "stage.opens": "opens",
        "model_done": "a model of {params} parameters on {tokens} tokens",
        "stage.done": "what is done",
        "stage.cost": "cost of this stage",
        "stage.expected": "expected loss at its end (90 % range)",
        "stage.proof": "1. proof of concept",
        "stage.limited": "2. limited: the first half",
        "stage.full": "3. full: the rest",
        "opens_now": "not needed: no small run is worth its cost; as a rehearsal, a hundredth of the plan",
        "opens_for": "now: its result is worth {worth}, it costs {cost}",
        "opens_below": "when the loss is at most {loss:.4f} after {tokens} tokens",
        "opens_never": "never: no loss would earn the cost",
        "loss_alone": "{loss:.4f}",
        "loss_between": "{loss:.4f} [{low:.4f}, {high:.4f}]",
        "amounts_between": "{low} to {high}",
        "share": "{share:.0%}",
        "days": "{days:,.1f}",
        "page_run": "The run so far, and where it is going",
        "run_title": "Loss of the run of {params} parameters, now {loss:.4f}; shaded: 90 % range",
        "tokens_axis": "tokens",
        "seen": "measured",
        "fan_continue": "this run of {params} goes on",
        "fan_new": "a new model of {params}",
        "even_mark": "earns its cost: {loss:.4f}",
        "even": "To {option} earns its cost where it ends at a loss of {loss:.4f} or less.",
        "even_never": "No loss would make it earn its cost to {option}.",
        "page_turns": "What would change this",
        "turn_now": "A point, which is 0.01 of loss, was said to be worth {value}. All else unchanged:",
        "turn_less": (
            "Worth {value} or less a point, or with computing at {factor:.3g} times its price or more, the first in "
            "expectation would be to {best}."
        ),
        "turn_more": (
            "Worth {value} or more a point, or with computing at {factor:.3g} times its price or less, the first in "
            "expectation would be to {best}."
        ),
        "no_turn": "Neither a hundredth nor a hundredfold of that value would change what is first in expectation.",
        "not_judged": "Not judged: {what}; {why}.",
        "not_forecast": (
            "Not among the options, since nothing forecasts them from such a table: winding down the learning rate now "
            "('e2lm predict curve --schedule' forecasts it from the run's own curve), and averaging checkpoints "
            "instead of winding down ('e2lm merge' makes the average, and 'e2lm eval' measures it)."
        ),
        "page_wrong": "What it costs to be wrong",
        "wrong": (
            "With {share:.0%} probability another option turns out better; over everything that may happen, choosing "
            "as recommended loses {regret} on average against knowing in advance."
        ),
        "page_options": "Options",
        "head.option": "option",
        "head.option_cost": "cost",
        "head.loss_at_end": "loss at its end (90 % range)",
        "head.gain_after": "gain over stopping, after cost",
        "head.gain_ends": "in nine cases of ten",
        "head.best_share": "best with probability",
        "head.days": "days of training",
        "head.serving": "of the cost, serving",
        "page_words": "What the words mean",
        "page_made": (
            "The budget is {budget}, which trains the current model on {tokens} tokens; a point is worth {value}. The "
            "forecasts are those of the method '{model}' from {rows} rows of {data}; the ranges are as wide as such "
            "forecasts were wrong on larger runs that had been held back."
        ),
        "word_head": "word",
        "meaning_head": "meaning",
        "word.loss": "loss",
        "meaning.loss": "how badly the model predicts text that it has not seen; lower is better",
        "word.point": "point",
        "meaning.point": "0.01 of loss",
        "word.parameters": "parameters",
        "meaning.parameters": "the numbers that a model is made of: its size",
        "word.tokens": "tokens",
        "meaning.tokens": "pieces of words; how much text a model is trained on",
        "word.interval": "90 % range",
        "meaning.interval": "where the number ends up in nine cases of ten",
        "word.gain": "gain over stopping",
        "meaning.gain": "points of loss saved against stopping now, times the value of a point, less the cost",
        "word.half": "first half",
        "meaning.half": "half of the tokens that the plan still pays for",
    },
    {"ja": JAPANESE},
)
