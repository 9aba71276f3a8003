"""The sentences of the demo's report, in English; a translation is the third argument of its ``Catalogue``."""

from __future__ import annotations

from e2lm.messages import Catalogue

_RIGHT = "{right:.0%} (90 % interval {range:ends .0%})"

say = Catalogue(
    "e2lm_demo",
    {
        "heading": "Which benchmark told the truth early?",
        # -- the answer
        "trained": (
            "{count} language {count:plural model was|models were} trained. At the end, text they never saw orders "
            "them {order} (lowest loss first)."
        ),
        "nothing_early": (
            "After {tokens:short} tokens no task told that order better than guessing: the nearest, {name}, ordered "
            + _RIGHT
            + " of the pairs of models that way."
        ),
        "best_early": (
            "After {tokens:short} tokens, {name} already ordered " + _RIGHT + " of the pairs of models that way."
        ),
        "best_early_beside_accuracy": (
            "After {tokens:short} tokens, {name} already ordered " + _RIGHT + " of the pairs of models that way; "
            "accuracy on the same answers, {accuracy:.0%} (90 % interval {accuracy_range:ends .0%})."
        ),
        "first_of_many": (
            "That is the first of {curves} {curves:plural curve|curves} that were looked at, of models trained once "
            "each: other models, or another seed, may order otherwise. At the last checkpoint it orders {last:.0%} of "
            "the pairs rightly; {settled}."
        ),
        "settles": "from {tokens:short} tokens on it has ordered all of them",
        "never_settles": "its order never settles",
        "blind": "No better than guessing then: {tasks:list}.",
        "task_by_metric": "{task} by {metric}",
        # -- every task and metric
        "every_task": "Every task and metric",
        "every_task_note": (
            "Pairs right: share of pairs of models ordered as their final held-out loss orders them, after "
            "{tokens:short} tokens, ties one half, with a 90 % interval of other items and other models. Settled: from "
            "how many tokens "
            "on every checkpoint orders all pairs rightly. Signal scores: mean over the models."
        ),
        "task": "task",
        "metric": "metric",
        "chance": "chance",
        "largest_last": "largest model, last",
        "right_early": "pairs right early",
        "right_last": "pairs right last",
        "settled_at": "settled at",
        "never": "never",
        "undefined": "undefined",
        # -- the largest model's loss
        "prediction": "The largest model's loss, predicted from the smaller ones",
        "no_law": "No law could be fitted: {reasons}",
        "law_forecast": ("The {name} law forecast {forecast} bits per byte; {truth:.3f} came out ({error:+.1%})."),
        "law_and_baseline": (
            "The {name} law forecast {forecast} bits per byte; {truth:.3f} came out ({error:+.1%}). The best of the "
            "baselines, {baseline}, said {said:.3f} ({baseline_error:+.1%})."
        ),
        "predictor": "predictor",
        "kind": "kind",
        "kind.baseline": "baseline",
        "kind.law": "law",
        "forecast": "forecast",
        "interval": "90 % interval",
        "came_out": "came out",
        "error": "error",
        # -- charts
        "training_tokens": "training tokens (log scale)",
        "probability": "probability",
        "nats_per_byte": "nats per byte",
        "loss_chart": "held-out text: bits per byte",
        "loss_axis": "bits per byte (lower is better)",
        "forecast_of": "forecast ({name})",
        "metric.acc": "accuracy",
        "metric.norm_correct_prob": "probability of the truth among the choices",
        "metric.gold_minus_mean_wrong_per_byte": "log-likelihood, truth minus mean of the wrong, per byte",
        "metric.bits_per_byte": "bits per byte",
        "all_curves": "All curves",
        "all_curves_note": ("Bands: 90 % interval from the items of the task (mean ± {quantile:.3f} standard errors)."),
        # -- how it was made
        "how_made": "How it was made",
        "made": "One command: e2lm demo. Time: {steps:list} ({seconds:.0f} s in all). {packages:list}.",
    },
)
