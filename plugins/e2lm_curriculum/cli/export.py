"""``e2lm train export``: checkpoints under the names that BabyLM's evaluation reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2lm.atomic_file import whole_folder
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.series import Series
from e2lm_curriculum.cli.command import TrainParser
from e2lm_curriculum.config.training import BABYLM_UNIT, babylm_words, nearest_step
from e2lm_curriculum.corpus.prepared import PreparedCorpus


def run_export(words: Sequence[str]) -> int:
    """Run ``e2lm train export``."""
    parser = TrainParser(
        prog="e2lm train export",
        description="Copy the checkpoints of a trained size that lie on BabyLM's grid of words to OUT/chck_<n>M.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of one size, with its series.json")
    parser.add_argument("out", metavar="OUT", help="new folder")
    parser.add_argument("--word-unit", type=int, default=BABYLM_UNIT, help="words taken for a million (1_000_000)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be copied; write nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(list(words))
    run, out = Path(options.run), Path(options.out)
    if out.exists():
        raise UserError(f"OUT: {out} is there already; give a new folder")
    names = exported_names(run, options.word_unit)
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


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']:<12} step {row['step']:>8}  {row['tokens']:>14,} tokens")
