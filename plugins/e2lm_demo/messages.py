"""The sentences of the demo's report; Japanese stands in ``messages_ja``."""

from __future__ import annotations

from e2lm.messages import Catalogue
from e2lm_demo.messages_ja import JAPANESE

say = Catalogue(
    "e2lm_demo",
    {
        "heading": "Which benchmark told the better recipe, and how early?",
        # -- the answer
        "planted": (
            "{count} small language models were trained. Their recipes differ in one thing, so that it is known which "
            "is better, best first: {order}. The first was trained twice, under two seeds."
        ),
        "recipe.clean": "text as it was written (clean)",
        "recipe.third": "the same with a third of the words of each paragraph out of order (third)",
        "recipe.two-thirds": "with two thirds of them (two-thirds)",
        "told_all": (
            "The task {name} told all three apart from {share:.0%} of the run on, at every checkpoint: beyond one and "
            "a half times what two seeds ever differ by, and beyond the items at the price of {comparisons} "
            "comparisons."
        ),
        "told_some": (
            "No task and metric told all three apart. The task {name} told {pairs:list}, to the end: beyond one and a "
            "half times what two seeds ever differ by, and beyond the items at the price of {comparisons} comparisons."
        ),
        "told_none": (
            "No task and metric told any recipe from another, beyond one and a half times what two seeds ever differ "
            "by and beyond the items at the price of {comparisons} comparisons: from these runs nobody can tell."
        ),
        "pair_from": "{better} from {worse} from {share:.0%} of the run on",
        "accuracy_all": "Accuracy on the same answers told all three apart from {share:.0%} of the run on.",
        "accuracy_some": "Accuracy on the same answers told {pairs:list}, and not all three.",
        "accuracy_none": "Accuracy on the same answers told none of them apart.",
        "saves": (
            "The best one, {best}, it told from both others from {share:.0%} on: whoever stops those there saves "
            "{saved:.0%} of the compute of training all three to the end."
        ),
        "all_true": "Of {claims} {claims:plural pair|pairs} told by any task and metric, all are in the planted order.",
        "some_untrue": (
            "Of {claims} {claims:plural pair|pairs} told by any task and metric, {wrong} {wrong:plural is|are} against "
            "the planted order: marked in the table."
        ),
        "blind": "What nobody could tell: {tasks:list} told no recipe from another, by any metric, at any time.",
        "task_by_metric": "{task} by {metric}",
        # -- every task and metric
        "every_task": "Every task and metric",
        "every_task_note": (
            "From which share of the run on a task and metric tells the better recipe from the worse at every "
            "checkpoint. Told: they differ by more than 1.5 times the largest difference of two seeds, and by more "
            "than the items explain, two-sided .05 divided by {comparisons} comparisons (as if each recipe had items "
            "of its own, which overstates). Two seeds allow no test: by seeds alone, two recipes that are one would "
            "pass in 2 or fewer of 100 comparisons, or in 14 if seeds drift apart like random walks. Signal scores: "
            "mean over the models."
        ),
        "task": "task",
        "metric": "metric",
        "pair": "{better} or {worse}",
        "from": "from {share:.0%}",
        "from_wrongly": "from {share:.0%}, the wrong way",
        "never": "never",
        "seeds_apart": "two seeds differ by up to",
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
        "share_of_run": "share of the run",
        "at_share": "{name}, {share:.0%} of the run: {value:.3f} ± {half:.3f}",
        "at_share_alone": "{name}, {share:.0%} of the run: {value:.3f}",
        "at_tokens": "{name}, {tokens:short} tokens: {value:.3f}",
        "told_from_here": "told from here on",
        "chance": "chance",
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
    {"ja": JAPANESE},
)
