"""Planning while a model trains: the segments of its run, and the loss of single examples that planners ask for.

A curriculum that is planned beforehand has one segment. The plan of a segment is written before it is trained, and its
state goes into every state to resume from, so a killed run goes on with the very segments that it had.

Shape suffixes: X examples, S optimiser steps, B examples per step (or at once), Q asked examples, T tokens per example,
V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from e2lm.arrays import Indices
from e2lm.atomic_file import whole_folder, write_json
from e2lm.curriculum import Curriculum, Plan, Segment
from e2lm.errors import UserError
from e2lm_curriculum.config.training import Family
from e2lm_curriculum.model.family import TrainedModel
from e2lm_curriculum.model.loss import passes_of, pseudo_nats_B
from e2lm_curriculum.plan.arms import reversed_scores
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import read_array, read_object, read_plan, write_plan
from e2lm_curriculum.train.batch import example_blocks
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import PREPARED_FOLDER, SCORES_FILE, PreparedCorpus, order_generator
from e2lm_curriculum.train.resume import state_step
from e2lm_curriculum.train.segments import STATE_FILE, is_online, planned_segments, segment_folder, segment_state

#: In each state to resume from: the segments that led to it.
SEGMENTS_FILE = "curriculum.json"


@dataclass(frozen=True, slots=True)
class RunSegments:
    """``spans`` are the steps of each segment; ``template`` is the plan made beforehand."""

    run: ModelRun
    curriculum: Curriculum
    template: Plan
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, run: ModelRun) -> RunSegments:
        """The segments of ``run``, whose corpus is prepared."""
        curriculum = chosen_curriculum(run.config.data.curriculum)
        template = read_plan(run.out / PREPARED_FOLDER)
        steps = run.budget.steps
        spans = curriculum.spans(steps) if is_online(run.config.data) else ((0, steps),)
        return cls(run, curriculum, template, spans)

    @property
    def is_online(self) -> bool:
        """Whether its order is planned while it trains."""
        return is_online(self.run.config.data)

    def is_planned(self, start: int) -> bool:
        """Whether the segment that begins at ``start`` needs no more planning."""
        return not self.is_online or (segment_folder(self.run.folder, start) / STATE_FILE).is_file()

    def indices_until(self, end: int) -> Indices:
        """The examples of the steps before ``end``."""
        if not self.is_online:
            return self.template.indices_SB
        starts = [start for start, _ in self.spans if start < end]
        return np.concatenate([read_plan(segment_folder(self.run.folder, start)).indices_SB for start in starts])

    def plan(self, start: int, prepared: PreparedCorpus, model: TrainedModel) -> None:
        """Plan the segment that begins at ``start`` with ``model`` as it is then, and write it."""
        data, end = self.run.config.data, dict(self.spans)[start]
        before = [one for one, _ in self.spans if one < start]
        state = segment_state(segment_folder(self.run.folder, before[-1]))["state"] if before else {}
        scores_X = read_array(self.run.out / PREPARED_FOLDER / SCORES_FILE)
        is_anti = data.arm == "anti"
        blocks_XT = example_blocks(self.run.out, data.sequence_length)
        probe = Probe(blocks_XT, prepared.vocabulary, self.run.config.model.family, model)
        indices_SB, next_state = self.curriculum.planned_segment(
            Segment(
                start,
                end,
                reversed_scores(scores_X) if is_anti and self.curriculum.difficulty != "file" else scores_X,
                data.budget,
                order_generator(self.run.config.run.seed_of_order, start),
                state,
                (lambda indices: -probe(indices)) if is_anti else probe,
            )
        )
        plan = Plan(indices_SB)
        with whole_folder(segment_folder(self.run.folder, start)) as folder:
            write_plan(plan, folder)
            found = {"hash": plan.hash, "probed_tokens": probe.tokens, "state": next_state}
            write_json(folder / STATE_FILE, found)

    def write_state(self, folder: Path, step: int) -> None:
        """Put the segments that led to ``step`` into the state to resume from in ``folder``."""
        if self.is_online:
            write_json(folder / SEGMENTS_FILE, self._until(step))

    def check_state(self, state: Path | None) -> None:
        """A :class:`UserError` if the state to resume from was reached by other segments than those in the folder."""
        if state is None or not self.is_online:
            return
        if read_object(state / SEGMENTS_FILE) != self._until(state_step(state)):
            raise UserError(f"{self.run.folder}: the segments of the curriculum were changed; train into another --out")

    def _until(self, step: int) -> dict[str, Any]:
        folders = {int(one.name.removeprefix("segment-")): one for one in planned_segments(self.run.folder)}
        return {str(start): segment_state(folder) for start, folder in sorted(folders.items()) if start < step}


#: Logits held at once, in numbers: 128 MiB of float32.
LOGITS_AT_ONCE = 1 << 25


class Probe:
    """``probe(indices)`` is the loss in nats per token; ``tokens`` counts what went through the model."""

    def __init__(self, blocks_XT: NDArray[Any], vocabulary: int, family: Family, model: TrainedModel) -> None:
        self._blocks_XT = blocks_XT
        self._model = model
        self._is_masked = family == "roberta"
        self._at_once = max(1, LOGITS_AT_ONCE // (vocabulary * blocks_XT.shape[1]))
        self.tokens = 0

    def __call__(self, indices: Indices) -> NDArray[np.float64]:
        """A causal model is asked for each token after those before it, a masked one for each among all others.

        (The latter up to what shares its mask: :mod:`e2lm_curriculum.model.loss`.)
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
