"""The sentences of a comparison of curricula (report, terminal); Japanese stands in ``messages_ja``."""

from __future__ import annotations

from e2lm.messages import Catalogue
from e2lm_curriculum.messages_ja import JAPANESE

_POWER = (
    "Power: with {seeds} seeds per arm an unpaired comparison sees {sd:.2f} standard deviations between seeds in 80 "
    "of 100 experiments."
)
_REWEIGHTING = (
    "the exposure-matched shuffle, the same examples as often in random order, is {word} too and makes {share:.0%} of "
    "the effect; for the rest no effect of order is detectable (one of {detectable:.3g} would have been)."
)

say = Catalogue(
    "e2lm_curriculum",
    {
        "heading": "Does the curriculum beat shuffling?",
        # -- verdicts
        "verdict": "{arm} against vanilla, learning rate {schedule}: {word} ({parts}).",
        "no_vanilla": "no baseline, no claim: there is no vanilla arm; curves are shown, nothing is claimed.",
        "schedule_without": "no baseline, no claim: schedule {schedule} has no vanilla arm or no other.",
        "verdict.better": "better",
        "verdict.worse": "worse",
        "verdict.mixed": "mixed",
        "verdict.no detectable difference": "no detectable difference",
        "power": _POWER,
        "power_of_this": _POWER + " This one, paired, sees {seen:list}.",
        "sees": "{detectable:.3g} on {measure} ({schedule})",
        # -- several looks
        "sequential": (
            "Seeds are added until it is decided; this is look {look}, planned were looks after {counts:list} seeds. "
            "p-values and 95 % intervals hold over all looks: where nothing differs, at most 5 of 100 such comparisons "
            "claim anything, whenever they stop."
        ),
        "decided": "Decided with {seeds} seeds.",
        "undecided": "Not decided with {seeds} seeds (learning rate {schedules:list}).",
        "within": (
            "On {measure} ({schedule}) any difference is smaller than {smallest:g}, the least that would matter."
        ),
        "looked_before": (
            "This comparison was looked at before, with {before:list} seeds: where nothing differs, up to {percent} of "
            "100 that are looked at so often claim something. most_seeds plans such looks, and 5 of 100 remain."
        ),
        # -- names of columns
        "arm": "arm",
        "learning_rate": "learning rate",
        "measure": "measure",
        "verdict_head": "verdict",
        "at_end": "at the end [95 %]",
        "mean_over_training": "mean over training [95 %]",
        "measure.held-out text": "held-out text",
        "unit.accuracy": "accuracy",
        "unit.bits per byte": "bits per byte",
        "unit.pseudo-bits per byte": "pseudo-bits per byte",
        "baseline.constant": "constant",
        "baseline.unigram": "unigram",
        # -- against vanilla
        "against_vanilla": "Against vanilla",
        "against_vanilla_note": (
            "Paired by seed and item; p-values are Holm-adjusted over all that this report claims, every arm, learning "
            "rate, measure and checkpoint: where nothing differs, at most 5 of 100 such reports claim anything. "
            "Detectable: the smallest true difference seen in at least 80 of 100 such experiments."
        ),
        "difference_at_end": "difference at the end [95 %]",
        "p_holm": "p (Holm)",
        "detectable": "detectable",
        "tokens_to_score": "tokens to vanilla's late score",
        "over_run": "over the run",
        "not_reached": "not reached: above {limit:.2f}x",
        "reached": "{ratio:.2f}x [{low}, {high}]",
        "above": "above {limit:.2f}",
        "never_detectable": "no detectable difference at any checkpoint",
        "fades": "{word} from {tokens:short} tokens on, fades by {end:short} tokens",
        "turns": "{word} from {tokens:short} tokens on, {last} at the end",
        "lasts": "{word} from {tokens:short} tokens on, lasts to the end",
        # -- re-weighting or order
        "why": "Re-weighting or order?",
        "why_note": "The exposure-matched arm sees the examples of the curriculum exactly as often, in random order.",
        "curriculum_minus_vanilla": "curriculum - vanilla",
        "reweighting_alone": "re-weighting alone",
        "order_alone": "order alone",
        "what_explains": "what explains it",
        "no_effect": "There is no detectable effect to explain.",
        "cancel": "Re-weighting alone is {reweighting}, order alone is {order}: they cancel each other.",
        "reweighting_explains_it": "Re-weighting explains it: " + _REWEIGHTING,
        "reweighting_explains_a_part": "Re-weighting explains a part of it: " + _REWEIGHTING,
        "order_explains": (
            "Order explains it: the exposure-matched shuffle shows no detectable difference from vanilla, and the "
            "curriculum is {word} than that shuffle."
        ),
        "both": "{reweighting}; {order}.",
        "reweighting.better": "Re-weighting is better than vanilla ({share:.0%} of the effect)",
        "reweighting.worse": "Re-weighting is worse than vanilla ({share:.0%} of the effect)",
        "reweighting.no detectable difference": (
            "Re-weighting is not detectably different from vanilla ({share:.0%} of the effect)"
        ),
        "order.better": "order is better than the exposure-matched shuffle",
        "order.worse": "order is worse than the exposure-matched shuffle",
        "order.no detectable difference": "order is not detectably different from the exposure-matched shuffle",
        # -- scores and cost
        "scores": "Scores",
        "higher_is_better": "{measure}: {unit}, higher is better, {items} {items:plural item|items}",
        "lower_is_better": "{measure}: {unit}, lower is better, {items} {items:plural item|items}",
        "step_0": "step 0",
        "sd_between_seeds": "sd between seeds",
        "cost": "Cost",
        "tokens": "tokens",
        "different_tokens": "different tokens",
        "epochs": "epochs",
        "flops": "FLOPs",
        "wall_time": "wall time",
        "scoring": "scoring (CPU)",
        # -- charts
        "over_training": "Over training",
        "over_training_note": "Bands: 95 % intervals, Student's t over seeds; for differences, over seeds and items.",
        "curve_title": "{measure} (learning rate {schedule})",
        "training_tokens": "training tokens (log scale)",
        "difference_title": "{measure}: arm minus vanilla ({schedule})",
        "above_is_better": "{unit}; above 0 is better",
        "below_is_better": "{unit}; below 0 is better",
        "difference_description": "{measure} against vanilla up to {tokens:short} tokens",
        "exposure": "Which examples were seen how often",
        "exposure_note": (
            "Tenths of the corpus by the difficulty of the curriculum, easiest first; 1 is what uniform sampling gives."
        ),
        "exposure_title": "exposure by difficulty",
        "exposure_across": "tenth of the examples, easiest first",
        "exposure_up": "times uniform",
        # -- how it was made
        "how_made": "How it was made",
        "made": (
            "{runs} {runs:plural run|runs} of {params:,} parameters ({without_embedding:,} without the embedding). "
            "{versions:list}"
        ),
        "cite": "To cite this report",
        "citation": (
            "e2lm {version}, e2lm train compare: {curriculum} against shuffling, {runs} {runs:plural run|runs} of "
            "{params:,} parameters on {tokens:,} tokens of {corpus:list} (SHA-256 of the tokens {data})."
        ),
        # -- in the terminal
        "text_scores": "{interval}  sd between seeds {sd:.4f}",
        "text_against": (
            "against vanilla, paired by seed (95 %, seeds x items; p after Holm over all that this report claims)"
        ),
        "text_difference": "final difference {interval}, p {p:.2g}; detectable {detectable:.3g}",
        "text_mean": "mean over training {interval}",
        "text_tokens": "tokens to vanilla's score at {goal:short}: {reached}",
        "text_course": "over the run: {course}",
        "text_cost": "cost of one run (mean over seeds)",
        "text_cost_of": (
            "{tokens:short} tokens, {different:short} of them different, {flops:.3g} FLOPs, {seconds:.0f} s"
        ),
    },
    {"ja": JAPANESE},
)
