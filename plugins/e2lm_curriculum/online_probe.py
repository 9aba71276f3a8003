"""The loss of a model on single examples, as online curricula ask for it.

Shape suffixes: Q asked examples, B examples at once, T tokens per example, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from e2lm.curriculum import Indices
from e2lm_curriculum.model_family import TrainedModel
from e2lm_curriculum.planned_dataset import example_blocks
from e2lm_curriculum.prepared_corpus import PreparedCorpus
from e2lm_curriculum.pseudo_loss import passes_of, pseudo_nats_B
from e2lm_curriculum.training_config import TrainingConfig

#: Logits held at once, in numbers: 128 MiB of float32.
LOGITS_AT_ONCE = 1 << 25


class Probe:
    """``probe(indices)`` is the loss in nats per token; ``tokens`` counts what went through the model."""

    def __init__(self, config: TrainingConfig, prepared: PreparedCorpus, model: TrainedModel) -> None:
        self._blocks_XT = example_blocks(config.out_folder, config.sequence_length)
        self._model = model
        self._is_masked = config.family == "roberta"
        self._at_once = max(1, LOGITS_AT_ONCE // (prepared.vocabulary * config.sequence_length))
        self.tokens = 0

    def __call__(self, indices: Indices) -> NDArray[np.float64]:
        """A causal model is asked for each token after those before it, a masked one for each among all others.

        (The latter up to what shares its mask: :mod:`e2lm_curriculum.pseudo_loss`.)
        """
        was_training = self._model.training
        self._model.eval()
        losses_Q = np.empty(len(indices))
        with torch.no_grad():
            for start in range(0, len(indices), self._at_once):
                rows = np.asarray(indices[start : start + self._at_once])
                ids_BT = torch.from_numpy(self._blocks_XT[rows].astype(np.int64)).to(self._model.device)
                losses_B = self._masked(ids_BT) if self._is_masked else self._causal(ids_BT)
                losses_Q[start : start + len(rows)] = losses_B.double().cpu().numpy()
        self._model.train(was_training)
        return losses_Q

    def _causal(self, ids_BT: torch.Tensor) -> torch.Tensor:
        self.tokens += ids_BT.numel()
        logits_BTV = self._model(input_ids=ids_BT, use_cache=False).logits.float()
        losses_BT = cross_entropy(logits_BTV[:, :-1].transpose(1, 2), ids_BT[:, 1:], reduction="none")
        return losses_BT.mean(dim=1)

    def _masked(self, ids_BT: torch.Tensor) -> torch.Tensor:
        self.tokens += passes_of(ids_BT.shape[1]) * ids_BT.numel()
        return pseudo_nats_B(self._model, ids_BT) / ids_BT.shape[1]
