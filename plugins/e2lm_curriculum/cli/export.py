"""``e2lm train export``: checkpoints under the names that BabyLM's evaluation reads."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

from e2lm.atomic_file import whole_folder
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError, one_line
from e2lm.series import Series
from e2lm.weights import read_weight_index
from e2lm_curriculum.config.training import BABYLM_UNIT
from e2lm_curriculum.train.checkpoint_grid import babylm_words, nearest_step
from e2lm_curriculum.train.locks import require_alone
from e2lm_curriculum.train.prepared import PreparedCorpus


def run_export(options: Namespace) -> int:
    """Copy the checkpoints on BabyLM's grid."""
    require_alone("e2lm train export")
    run, out = options.run, options.out
    if out.exists():
        raise UserError(f"OUT: {out} is there already; give a new folder")
    names = exported_names(run, options.word_unit)
    for checkpoint in names.values():
        _require_whole(_folder_of(checkpoint))
    if not options.dry_run:
        with whole_folder(out) as folder:
            for name, checkpoint in names.items():
                shutil.copytree(_folder_of(checkpoint), folder / name)
    rows = [{"name": name, "step": one.step, "tokens": one.tokens} for name, one in names.items()]
    _print(rows, options.json)
    return 0


def exported_names(run: Path, unit: int = BABYLM_UNIT) -> dict[str, Checkpoint]:
    """The checkpoint of each BabyLM name, in order: the one at the step nearest to that number of words.

    A :class:`UserError` if the words of the corpus are not known or no checkpoint lies on the grid.
    """
    if unit < 1:
        raise UserError(f"--word-unit: found {unit}; it must be at least 1")
    series = Series.read(run)
    prepared = PreparedCorpus.read(run.parent)
    if prepared is None or prepared.words_per_token is None:
        raise UserError(
            f"{run}: no prepared corpus beside it says how many words its tokens are; give a folder of e2lm train"
        )
    tokens_per_step = series.tokens_per_step
    by_step = {checkpoint.step: checkpoint for checkpoint in series.checkpoints}
    last = series.checkpoints[-1]
    assert tokens_per_step is not None
    seen = (last.step + 0.5) * tokens_per_step * prepared.words_per_token
    names: dict[str, Checkpoint] = {}
    for number in babylm_words(seen, unit):
        step = nearest_step(number / prepared.words_per_token, tokens_per_step)
        if step > 0 and step in by_step:
            names[f"chck_{number // unit}M"] = by_step[step]
    if not names:
        raise UserError(
            f"{run}: no checkpoint at a number of words of BabyLM's; train with checkpoint_grid: babylm, "
            f"or lower --word-unit ({unit})"
        )
    return names


def _folder_of(checkpoint: Checkpoint) -> Path:
    if checkpoint.path is None:
        raise UserError(f"checkpoint {checkpoint.step} is not on this disk")
    return Path(checkpoint.path)


def _require_whole(folder: Path) -> None:
    """A :class:`UserError` that names a file of the checkpoint that is damaged: a copy of it would be published."""
    read_weight_index(folder)
    for file in sorted(folder.glob("*.json")):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                f"{file}: damaged, no JSON ({one_line(error)}); train this size again into another --out"
            ) from error


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']:<12} step {row['step']:>8}  {row['tokens']:>14,} tokens")
