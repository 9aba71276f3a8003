"""The model of a run: the family that the config names, with the heads that its plan needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from e2lm_curriculum.llama import TrainedLlama, new_llama
from e2lm_curriculum.roberta import TrainedRoberta, new_roberta

if TYPE_CHECKING:
    from e2lm.curriculum import Plan
    from e2lm_curriculum.model_size import ModelSize
    from e2lm_curriculum.training_config import TrainingConfig

TrainedModel: TypeAlias = TrainedLlama | TrainedRoberta

#: What each family learns where the plan does not say otherwise.
OWN_OBJECTIVE = {"llama": "clm", "roberta": "mlm"}


def new_model(config: TrainingConfig, size: ModelSize, vocabulary: int, plan: Plan) -> TrainedModel:
    """A fresh model; its weights depend on family, shape and seed only."""
    make = new_roberta if config.family == "roberta" else new_llama
    objectives = tuple(dict.fromkeys(span.objective for span in plan.objectives))
    return make(size, vocabulary, config.sequence_length, config.seed_of_weights, objectives)
