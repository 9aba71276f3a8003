"""The sentences of the page of charts; in English, translations as the third argument of ``Catalogue``."""

from __future__ import annotations

from e2lm.messages import Catalogue

say = Catalogue(
    "e2lm_signal",
    {
        "heading": "Early signal of {name}",
        "how_to_read": (
            "Bands are central 90 % intervals of the items. The grey band is where one checkpoint of a model that "
            "learns nothing would lie: chance, or the first value, and the noise of a checkpoint."
        ),
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
    },
)
