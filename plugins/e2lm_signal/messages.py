"""The sentences of reports and of the page of charts; Japanese stands in ``messages_ja``."""

from __future__ import annotations

from e2lm.messages import Catalogue
from e2lm_signal.messages_ja import JAPANESE

say = Catalogue(
    "e2lm_signal",
    {
        "heading": "Early signal of {name}",
        # -- first lines of tables
        "decides_best": (
            "{task} by {metric} decides best: {value:.0%} [{low:.0%}, {high:.0%}] of the pairs of {series} series are "
            "early in the order of {end}; {others} {others:plural other|others} cannot be told apart from it"
        ),
        "nothing_decides": (
            "No task x metric is sure to decide better than a coin toss; {task} by {metric} is first: {value:.0%} "
            "[{low:.0%}, {high:.0%}] of the pairs of {series} series are early in the order of {end}"
        ),
        "the_end": "the end of training",
        "large_models": "the large models",
        "outliers_found": (
            "{series}, step {step}, does not fit into its run: {way}, {score:.1f} standard deviations; {others} "
            "{others:plural other does|others do} not either"
        ),
        "no_outlier": (
            "No outlier: none of {looked} {looked:plural checkpoint|checkpoints} is beyond {alarm} standard deviations"
        ),
        "nothing_looked_at": "No checkpoint could be held against its run",
        "too_good": "too good",
        "too_bad": "too bad",
        "how_to_read": (
            "Bands are central 90 % intervals of the items. The grey band is where one checkpoint of a model that "
            "learns nothing would lie: chance, or the first value, and the noise of a checkpoint. Tasks stand in "
            "order of their early decisions, the best first. Rest on a point to read it; choose a name in a legend to "
            "hide it."
        ),
        "ordering_shows": (
            "Ordering over time shows the {shown} task x metric with the best early decisions; left out, and in the "
            "tables below: {names:list}."
        ),
        "curves_show_best": (
            "Curves are drawn of the {shown} task x metric with the best early decisions; left out, and in the tables "
            "below: {names:list}."
        ),
        "curves_show_first": (
            "Curves are drawn of the first {shown} task x metric, for early decisions cannot be compared here; left "
            "out, and in the table below: {names:list}."
        ),
        "more_names": "{count} more",
        "point": "{series}, step {step}: {value} {ends}",
        "point_in_order": "{name}, step {step} ({share:.0%}): {value:.0%} of pairs in order",
        "point_of_decisions": "{name}: decision accuracy {value:.3f}, SNR {snr:.1f}",
        # -- tables below the charts
        "numbers": "Numbers",
        "task": "task",
        "metric": "metric",
        "series": "series",
        "group": "group",
        "checkpoints": "checkpoints",
        "first_value": "first",
        "last_value": "last",
        "undefined": "undefined",
        # -- curves
        "curves": "{task}: {metric}",
        "curves_of_some": "{task}: {metric} ({left_out} series not shown)",
        "billion_tokens": "billion tokens",
        "million_tokens": "million tokens",
        "step": "step",
        "chance": "chance",
        "null_band": "null band",
        # -- ordering over time, decisions
        "ordering": "Ordering over time",
        "ordering_of_some": "Ordering over time ({left_out} not shown)",
        "ordering_description": "Share of pairs of series whose order is the final one, over the run",
        "share_of_run": "% of the run",
        "pairs_in_order": "pairs in final order",
        "coin_toss": "coin toss",
        "decisions": "Signal-to-noise against early decisions",
        "decisions_description": "Signal-to-noise ratio and decision accuracy of every task and metric",
        "snr": "SNR",
        "decision_accuracy": "decision accuracy",
        # -- the verdict of a report
        "use_by_decisions": (
            "Use {task} by {metric}: at {early:.0%} of the run it has {value:.0%} {ends} of the pairs of {series} "
            "series in their final order."
        ),
        "no_use_by_decisions": (
            "No task x metric is sure to order the series better than a coin would; {task} by {metric} is first: at "
            "{early:.0%} of the run it has {value:.0%} {ends} of the pairs of {series} series in their final order."
        ),
        "no_interval": "(no interval)",
        "how_early": "From {share:.0%} of the run on, at least {settled:.0%} of the pairs stay in it.",
        "as_good": "{count} more may be as good, as far as these series tell: {names}.",
        "coin_tosses": (
            "{count} of {total} task x metric order the series no better than a coin would, as far as these series "
            "tell: {names}."
        ),
        "use_by_quality": (
            "{task} by {metric} rises most clearly: signal_quality {value:.2f} of 1; {sure} of {series} series rise "
            "more surely than noise would (p < .05)."
        ),
        "nothing_rises": (
            "No task x metric rises over all series; {task} by {metric} falls least: signal_quality {value:.2f}, of -1 "
            "to 1; {sure} of {series} series rise more surely than noise would (p < .05)."
        ),
        "nothing_surely_rises": "That may be noise: do not choose a benchmark by it.",
        "no_decisions": (
            "Whether it picks the winner early cannot be told from {series} series; {least} are needed for an interval."
        ),
        "first_by_score": "First by {name}: {task} by {metric}.",
        "nothing_defined": "{name} is undefined everywhere; the reasons stand below.",
        "over_all_series": "Over all series, the best first:",
        "every_curve": "Every series, in that order:",
        "rows_not_shown": "... {left_out} more rows: --full shows all, --json too",
        "reasons_not_shown": "... {left_out} more reasons: --full shows all, --json too",
    },
    {"ja": JAPANESE},
)
