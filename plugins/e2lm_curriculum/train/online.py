"""The segments of a run: one for a curriculum that is planned beforehand, several for one that watches the model.

The plan of a segment is written before it is trained, and its state goes into every state to resume from, so a killed
run goes on with the very segments that it had.

Shape suffixes: X examples, S optimiser steps, B examples per step.

The loss of a model on single examples, as online curricula ask for it.

Shape suffixes: Q asked examples, B examples at once, T tokens per example, V vocabulary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from e2lm.atomic_file import whole_folder, write_json
from e2lm.curriculum import Curriculum, Indices, Plan, Segment
from e2lm.errors import E2LMError, UserError
from e2lm_curriculum.config.training import TrainingConfig, reversed_scores
from e2lm_curriculum.corpus.prepared import ORDER_STREAM, PREPARED_FOLDER, SCORES_FILE, PreparedCorpus
from e2lm_curriculum.model.family import TrainedModel
from e2lm_curriculum.model.loss import passes_of, pseudo_nats_B
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import read_plan, write_plan
from e2lm_curriculum.train.batch import example_blocks
from e2lm_curriculum.train.online_record import STATE_FILE, planned_segments, segment_folder, segment_state
from e2lm_curriculum.train.size_run import SizeRun

if TYPE_CHECKING:
    from e2lm_curriculum.corpus.prepared import PreparedCorpus
    from e2lm_curriculum.model.family import TrainedModel


#: In each state to resume from: the segments that led to it.
SEGMENTS_FILE = "curriculum.json"

#: Arms that mean something while an order is planned by watching the model.
ONLINE_ARMS = (None, "curriculum", "anti")


@dataclass(frozen=True, slots=True)
class RunSegments:
    """``spans`` are the steps of each segment; ``template`` is the plan made beforehand."""

    run: SizeRun
    curriculum: Curriculum
    template: Plan
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, run: SizeRun) -> RunSegments:
        """The segments of ``run``, whose corpus is prepared."""
        curriculum = chosen_curriculum(run.config.curriculum)
        template = read_plan(run.config.out_folder / PREPARED_FOLDER)
        steps = run.config.budget.steps
        count = min(steps, curriculum.segments) if is_online(run) else 1
        borders = [steps * number // count for number in range(count + 1)]
        return cls(run, curriculum, template, tuple(pairwise(borders)))

    def is_planned(self, start: int) -> bool:
        """Whether the segment that begins at ``start`` needs no more planning."""
        return not is_online(self.run) or (segment_folder(self.run.folder, start) / STATE_FILE).is_file()

    def indices_until(self, end: int) -> Indices:
        """The examples of the steps before ``end``."""
        if not is_online(self.run):
            return self.template.indices_SB
        starts = [start for start, _ in self.spans if start < end]
        return np.concatenate([read_plan(segment_folder(self.run.folder, start)).indices_SB for start in starts])

    def plan(self, start: int, prepared: PreparedCorpus, model: TrainedModel) -> None:
        """Plan the segment that begins at ``start`` with ``model`` as it is then, and write it."""
        config, budget = self.run.config, self.run.config.budget
        end = dict(self.spans)[start]
        before = [one for one, _ in self.spans if one < start]
        state = segment_state(segment_folder(self.run.folder, before[-1]))["state"] if before else {}
        scores_X = np.load(config.out_folder / PREPARED_FOLDER / SCORES_FILE)
        is_anti = config.arm == "anti"
        probe = Probe(config, prepared, model)
        assert self.curriculum.next_segment is not None
        indices_SB, next_state = self.curriculum.next_segment(
            Segment(
                start,
                end,
                reversed_scores(scores_X) if is_anti and self.curriculum.difficulty != "file" else scores_X,
                budget,
                np.random.default_rng([config.seed_of_order, ORDER_STREAM, start]),
                state,
                (lambda indices: -probe(indices)) if is_anti else probe,
            )
        )
        self._check(indices_SB, start, end, prepared.examples)
        plan = Plan(indices_SB)
        with whole_folder(segment_folder(self.run.folder, start)) as folder:
            write_plan(plan, folder)
            found = {"hash": plan.hash, "probed_tokens": probe.tokens, "state": next_state}
            write_json(folder / STATE_FILE, found)

    def _check(self, indices_SB: Indices, start: int, end: int, examples: int) -> None:
        expected = (end - start, self.run.config.batch_size)
        if indices_SB.shape != expected or indices_SB.min() < 0 or indices_SB.max() >= examples:
            raise E2LMError(
                f"curriculum {self.curriculum.name!r} planned shape {indices_SB.shape} for steps {start} to {end}, "
                f"expected {expected} with examples 0..{examples - 1}"
            )

    def write_state(self, folder: Path, step: int) -> None:
        """Put the segments that led to ``step`` into the state to resume from in ``folder``."""
        if is_online(self.run):
            write_json(folder / SEGMENTS_FILE, self._until(step))

    def check_state(self, state: Path | None) -> None:
        """A :class:`UserError` if the state to resume from was reached by other segments than those in the folder."""
        if state is None or not is_online(self.run):
            return
        step = int(state.name.removeprefix("checkpoint-"))
        if json.loads((state / SEGMENTS_FILE).read_text(encoding="utf-8")) != self._until(step):
            raise UserError(f"{self.run.folder}: the segments of the curriculum were changed; train into another --out")

    def _until(self, step: int) -> dict[str, Any]:
        folders = {int(one.name.removeprefix("segment-")): one for one in planned_segments(self.run.folder)}
        return {str(start): segment_state(folder) for start, folder in sorted(folders.items()) if start < step}


def is_online(run: SizeRun) -> bool:
    """Whether the order is planned while the model trains; a :class:`UserError` for an arm that cannot be."""
    if chosen_curriculum(run.config.curriculum).next_segment is None or run.config.arm == "vanilla":
        return False
    if run.config.arm not in ONLINE_ARMS:
        raise UserError(
            f"field 'arm': {run.config.arm} needs an order that is known beforehand; {run.config.curriculum} is "
            "planned while it trains: leave this arm out"
        )
    return True


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
