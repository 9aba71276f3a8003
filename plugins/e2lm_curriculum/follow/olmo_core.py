"""A plan for OLMo-core: its corpus as a row of tokens, and the file of instances in the order they are shown.

OLMo-core takes batches one after the other from ``global_indices``, shares each between its ranks, and goes on from
``batches_processed`` after a kill. Here that file is the plan, which may name an instance often or never.

Format: olmo_core.data.data_loader.NumpyFSLDataLoader (Ai2, ai2-olmo-core 3.0).

Shape suffixes: N draws.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from e2lm.errors import UserError
from e2lm_curriculum.corpus.tokenizer import TOKENS_FILE
from e2lm_curriculum.follow.plan import FollowedPlan
from e2lm_curriculum.plan.file import read_array

OLMO_FOLDER = "olmo_core"

#: Raw numbers without a header, whatever its ending says.
CORPUS_FILE = "corpus.npy"
INDICES_FILE = "global_indices.npy"


def write_olmo_core(plan: FollowedPlan, folder: Path) -> None:
    """Write the corpus and its order into ``folder``; of a plan of scores the order alone."""
    np.asarray(plan.plan.indices_SB).reshape(-1).astype(np.uint32).tofile(folder / INDICES_FILE)
    if plan.record.tokens:
        tokens_K = read_array(plan.folder / TOKENS_FILE)
        tokens_K[: plan.record.examples * plan.record.sequence_length].tofile(folder / CORPUS_FILE)


def planned_loader(folder: Path | str, dataset: Any, **options: Any) -> Any:
    """A ``NumpyFSLDataLoader`` of ``dataset`` that shows the plan in ``folder`` as its first and only epoch.

    ``dataset`` is a ``NumpyFSLDataset`` of ``PLAN/olmo_core/corpus.npy``, or of the instances that were scored. A
    :class:`UserError` where it has other instances, or a batch has another size than the plan's steps.
    """
    from olmo_core.data.data_loader import NumpyFSLDataLoader

    plan = FollowedPlan.read(folder)
    record = plan.record
    batch_tokens = record.batch_size * record.sequence_length
    found = (dataset.sequence_length, len(dataset), options.get("global_batch_size"))
    if found != (record.sequence_length, record.examples, batch_tokens):
        raise UserError(
            f"{folder}: planned for sequences of {record.sequence_length}, {record.examples} instances and "
            f"global_batch_size={batch_tokens} tokens, found {found[0]}, {found[1]} and {found[2]}"
        )

    class PlannedLoader(NumpyFSLDataLoader):  # type: ignore[misc]
        """Reads the plan where the original makes an order of its own."""

        total_size = plan.draws

        @property
        def _global_indices_file(self) -> Path:
            if self.epoch != 1:
                raise UserError(f"{folder}: paces {plan.steps} steps, epoch {self.epoch} has no plan")
            return plan.folder / OLMO_FOLDER / INDICES_FILE

    return PlannedLoader(dataset, **options)
