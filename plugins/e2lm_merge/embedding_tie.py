"""Whether input embedding and output head are one tensor in the output, and what is read where models differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from e2lm.errors import UserError
from e2lm_merge.model_source import ModelSource


@dataclass(frozen=True, slots=True)
class EmbeddingTie:
    """``flag`` is the output's ``tie_word_embeddings``, None where the models have no embedding we know.

    ``ignored`` are tensors that are not written, ``added`` such that the first model may lack; ``pair`` is the head's
    and the embedding's name.
    """

    flag: bool | None = None
    pair: tuple[str, str] | None = None
    ignored: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()

    def stored_name(self, name: str, model: ModelSource) -> str:
        """Under which name ``model`` stores the output tensor ``name``: a tied model's head is its embedding."""
        if self.pair is not None and name == self.pair[0] and name not in model.index.tensors:
            return self.pair[1]
        return name


def decided_tie(models: Sequence[ModelSource], wanted: str | None) -> EmbeddingTie:
    """The tie of the output; a :class:`UserError` where models differ and the recipe does not choose."""
    pair = models[0].tied_pair
    if pair is None:
        return EmbeddingTie()
    tied = [model.is_tied for model in models]
    if wanted is None and len(set(tied)) > 1:
        one, other = models[tied.index(True)].label, models[tied.index(False)].label
        raise UserError(
            f"{one} ties input embedding and output head, {other} does not; say tied_embeddings: untie (both are "
            "written, the tied model's embedding counts as its head) or tie (the embedding alone is merged)"
        )
    tie = tied[0] if wanted is None else wanted == "tie"
    head = frozenset({pair[0]})
    if tie:
        return EmbeddingTie(True, pair, ignored=head)
    if any(tied):
        return EmbeddingTie(False, pair, added=head)
    has_head = pair[0] in models[0].index.tensors
    return EmbeddingTie(False if has_head else None, pair)
