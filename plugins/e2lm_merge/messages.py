"""The sentences of the page of conflicts, in English; a translation is the third argument of its ``Catalogue``."""

from __future__ import annotations

from e2lm.messages import Catalogue

say = Catalogue(
    "e2lm_merge",
    {
        "heading": "Where do these models conflict?",
        "answer": (
            "Of {layers} {layers:plural layer|layers}, {severe} conflict severely (one difference was kept), {partial} "
            "in part (a difference was pruned), and {none} not by more than {z:g} standard {z:plural error|errors}."
        ),
        "after": "On {items} {items:plural item|items} of {task} that took no part in this, the merge is {words}.",
        "better": "better than the fine-tune alone by {gain:.4f} ({low:.4f} to {high:.4f})",
        "worse": "worse than the fine-tune alone by {loss:.4f} ({low:.4f} to {high:.4f})",
        "open": "not told from the fine-tune alone ({low:+.4f} to {high:+.4f})",
        "conflict_title": "γ: what a layer gives alone, less in the merge",
        "layer": "layer",
        "conflict_axis": "γ ({unit})",
        "conflict_description": "γ of every layer and task, with 95 % intervals over items",
        "no_conflict": "no conflict",
        "bands": "Bands are 95 % intervals, paired by item. Above 0 a task suffers from other models in that layer.",
        "contribution_title": "What a layer gives its task, as it was compared",
        "contribution_axis": "contribution",
        "layers": "Layers, in the order in which they were settled",
        "order": "settled",
        "what": "conflict",
        "gamma_of": "γ of {task}",
        "changed": "changed",
        "nothing": "nothing",
        "with_error": "{gamma:+.5f} [± {half:.5f}]",
        "case.severe": "severe",
        "case.partial": "partial",
        "case.none": "none",
        "reported": "On items that selected nothing",
        "task": "task of",
        "base": "base",
        "own": "fine-tune",
        "merged": "merge",
        "difference": "merge less fine-tune",
        "value": "{mean:.4f} [{low:.4f}, {high:.4f}]",
        "made": "{evaluations} evaluations; scores are {unit}. e2lm merge {config}.",
    },
)
