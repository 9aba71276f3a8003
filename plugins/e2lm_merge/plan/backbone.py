"""What of a model is its backbone, and what its head: models with different heads merge in the former alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from e2lm.errors import UserError
from e2lm_merge.numbers.blocks import TensorMerge
from e2lm_merge.numbers.stored import OpenFiles
from e2lm_merge.plan.source import EmbeddingTie, ModelSource, decided_tie


@dataclass(frozen=True, slots=True)
class Heads:
    """Tensors outside the backbone: ``ignored`` those of all models, ``taken`` what the output has of ``donor``'s."""

    donor: ModelSource
    ignored: frozenset[str]
    taken: tuple[str, ...]

    def merges(self, files: OpenFiles, strategy: Any, output_type: str | None, seed: int) -> list[TensorMerge]:
        """The donor's heads as they are; ``strategy`` is the one that passes a tensor through."""
        found = []
        for name in self.taken:
            numbers = self.donor.numbers(name, files)
            parameters: tuple[Mapping[str, Any], ...] = ({"scale": 1.0},)
            kind = output_type or ("F32" if numbers.dtype == "F64" else numbers.dtype)
            found.append(
                TensorMerge(
                    name, numbers.shape, kind, strategy.settled({}), (numbers,), None, (1.0,),
                    model_parameters=parameters, seed=seed,
                )
            )  # fmt: skip
        return found


def heads_beside_backbone(models: Sequence[ModelSource], donor: ModelSource) -> Heads:
    """The heads of ``models``: what is stored outside of the part that holds the layers, such as ``model.``.

    A :class:`UserError` where that part has no name of its own, or the donor is none of the models.
    """
    if donor not in models:
        raise UserError(
            f"donor: {donor.label!r} is not merged, and its heads would be taken; name one of the models as the donor"
        )
    stack = donor.main_stack
    prefix = "" if stack is None else stack.partition(".")[0]
    inside = {name.partition(".")[0] for name in donor.stacks}
    if not prefix or inside != {prefix} or stack == prefix:
        found = ", ".join(sorted(donor.stacks)) or "no layers"
        raise UserError(
            f"backbone_only: {donor.label} holds {found}, and what its backbone is cannot be told from that; expected "
            "one part that holds all layers, such as model.layers"
        )
    outside = {
        model.label: {name for name in model.index.tensors if not name.startswith(f"{prefix}.")} for model in models
    }
    every = frozenset[str]().union(*outside.values())
    # A tied head that is stored all the same would keep the embedding as it was.
    tied = {donor.tied_pair[0]} if donor.is_tied and donor.tied_pair is not None else set()
    return Heads(donor, every, tuple(sorted(outside[donor.label] - tied)))


def tie_beside(heads: Heads, wanted: str | None) -> EmbeddingTie:
    """The tie of the output, which is the donor's: no head is merged. :class:`UserError` where another is wanted."""
    if wanted is not None:
        raise UserError("tied_embeddings: with backbone_only heads are the donor's, tied as they are there; remove it")
    own = decided_tie([heads.donor], None)
    return EmbeddingTie(own.flag, own.pair, ignored=heads.ignored)
