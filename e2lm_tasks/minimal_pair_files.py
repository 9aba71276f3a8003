"""Reads minimal pairs from the files their authors publish: BLiMP's JSON lines and Zorro's text files.

BLiMP: Warstadt et al. 2020 (TACL 8, 377), CC-BY 4.0, github.com/alexwarstadt/blimp. Zorro: Huebner et al. 2021 (CoNLL),
MIT, github.com/phueb/Zorro. No data come with this package.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm import UserError
from e2lm.errors import one_line
from e2lm_tasks.local_task import DATA_VARIABLE

HUB_BLIMP = "nyu-mll/blimp"
FILTERED_FILE = "babylm_filtered_pair_ids.json"
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """``number`` is the pair's place in its paradigm, which a filter names."""

    paradigm: str
    phenomenon: str
    number: int
    good: str
    bad: str


def read_pairs(suite: str, folder: str | None, source: str) -> list[MinimalPair]:
    """The pairs of ``suite`` (``blimp``, ``blimp-babylm`` or ``zorro``) from ``folder``.

    Without ``folder`` it is ``blimp`` or ``zorro`` in the folder that E2LM_DATA names; without that, BLiMP comes from
    the Hub. A :class:`UserError` that begins with ``source`` says what is missing and where it is looked for.
    """
    if suite not in READERS:
        raise UserError(f"{source}: metadata field 'suite': found {suite!r}; allowed are {', '.join(READERS)}")
    base = suite.partition("-")[0]
    place = Path(folder) if folder else _data_folder(base)
    if place is None:
        return _hub_pairs(suite, source)
    if not place.is_dir():
        raise UserError(
            f"{source}: no folder {place}; set {DATA_VARIABLE} to a folder that holds {base}/, or metadata.folder"
        )
    pairs = list(READERS[suite](place, source))
    if not pairs:
        raise UserError(f"{source}: no minimal pairs in {place}; {EXPECTED[base]}")
    return pairs


def _data_folder(base: str) -> Path | None:
    data = os.environ.get(DATA_VARIABLE)
    return Path(data) / base if data else None


# -- BLiMP ----------------------------------------------------------------------------------------------------------


def _blimp_rows(folder: Path, source: str) -> Iterator[Mapping[str, Any]]:
    files = sorted(folder.glob("*.jsonl")) or sorted((folder / "data").glob("*.jsonl"))
    # The repository also holds summaries as JSON lines; paradigms are those with sentences.
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            row = _json_row(line, f"{source}: {file}:{number}")
            if row and "sentence_good" in row:
                yield row
    for archive in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(archive) as opened:
            for name in sorted(opened.namelist()):
                if name.endswith(".jsonl") and not name.startswith("__MACOSX"):
                    for number, line in enumerate(opened.read(name).decode("utf-8").splitlines(), start=1):
                        row = _json_row(line, f"{source}: {archive}: {name}:{number}")
                        if row:
                            yield row


def _json_row(line: str, where: str) -> Mapping[str, Any]:
    if not line.strip():
        return {}
    try:
        row: Mapping[str, Any] = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({one_line(error)})") from error
    return row


def _blimp_pair(row: Mapping[str, Any], source: str) -> MinimalPair:
    try:
        number = int(row["pairID"] if "pairID" in row else row["pair_id"])
        return MinimalPair(row["UID"], row["linguistics_term"], number, row["sentence_good"], row["sentence_bad"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{source}: a BLiMP row lacks field {error}; expected the fields of BLiMP's JSON lines"
        ) from error


def _blimp(folder: Path, source: str) -> Iterator[MinimalPair]:
    for row in _blimp_rows(folder, source):
        yield _blimp_pair(row, source)


def _blimp_filtered(folder: Path, source: str) -> Iterator[MinimalPair]:
    yield from _kept(_blimp(folder, source), folder / FILTERED_FILE, source)


def _kept(pairs: Iterator[MinimalPair], file: Path, source: str) -> Iterator[MinimalPair]:
    """The pairs whose numbers the file lists for their paradigm: what the BabyLM challenge evaluates on."""
    if not file.is_file():
        raise UserError(
            f"{source}: no {file}; it maps each paradigm to the numbers of the pairs whose words are in BabyLM's corpus"
        )
    numbers = {paradigm: frozenset(listed) for paradigm, listed in json.loads(file.read_text("utf-8")).items()}
    for pair in pairs:
        if pair.number in numbers.get(pair.paradigm, frozenset()):
            yield pair


def _hub_pairs(suite: str, source: str) -> list[MinimalPair]:
    if suite != "blimp" or os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0"):
        base = suite.partition("-")[0]
        raise UserError(
            f"{source}: set {DATA_VARIABLE} to a folder that holds {base}/ ({EXPECTED[base]}), or metadata.folder"
        )
    from datasets import get_dataset_config_names, load_dataset

    pairs = []
    for paradigm in get_dataset_config_names(HUB_BLIMP):
        pairs += [_blimp_pair(row, HUB_BLIMP) for row in load_dataset(HUB_BLIMP, paradigm, split="train")]
    return pairs


# -- Zorro ----------------------------------------------------------------------------------------------------------


def _zorro(folder: Path, source: str) -> Iterator[MinimalPair]:
    """Files ``<phenomenon>-<paradigm>.txt``: odd lines are ungrammatical, even ones grammatical."""
    for file in sorted(folder.rglob("*-*.txt")):
        lines = file.read_text(encoding="utf-8").splitlines()
        if len(lines) % 2:
            raise UserError(f"{source}: {file}: {len(lines)} lines; a Zorro file has an even number")
        phenomenon = file.stem.partition("-")[0] if file.stem.count("-") == 1 else file.stem.rpartition("-")[0]
        for number, (bad, good) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
            yield MinimalPair(file.stem, phenomenon, number, good, bad)


READERS: Mapping[str, Callable[[Path, str], Iterator[MinimalPair]]] = {
    "blimp": _blimp,
    "blimp-babylm": _blimp_filtered,
    "zorro": _zorro,
}
EXPECTED = {
    "blimp": "BLiMP.zip or its *.jsonl files, from github.com/alexwarstadt/blimp",
    "zorro": "sentences/babyberta/*.txt, from github.com/phueb/Zorro",
}
