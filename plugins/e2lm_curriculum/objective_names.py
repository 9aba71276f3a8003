"""Names that readers of checkpoints need without torch."""

from __future__ import annotations

#: The part of a model that is trained and not published: heads of part-of-speech objectives.
HEADS = "objective_heads"
