"""Reads a Scores table from whatever people have: Parquet, CSV, lm-eval output, the competition's JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from e2lm.errors import UserError
from e2lm.results.collection import collected
from e2lm.results.competition import competition_rows
from e2lm.results.formats import foreign_results, known_formats, nothing_there, results_below, results_in_file
from e2lm.results.result import Notes, Reading
from e2lm.results.table_file import TABLES, is_table
from e2lm.results.tables import loaded_json, read_table, without_duplicates
from e2lm.run_record import RECORD_FILE, LeftOut, RunRecord
from e2lm.samples import Samples, read_samples
from e2lm.scores import Scores, ScoreSource

__all__ = ["Reading", "ScoreSource", "read_all_samples", "read_lm_eval_samples", "read_scores"]

PLAIN = Reading()
#: Lines of JSON, which are a table where its columns are named, else results of some program.
LINES = (".jsonl", ".ndjson")


def read_scores(path: Path, reading: Reading = PLAIN) -> ScoreSource:
    """The Scores at ``path``: a Parquet or CSV table, the competition's JSON, an ``e2lm eval`` or lm-eval folder."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a Scores table, an lm-eval output folder or a JSON")
    if path.is_dir() and not reading.columns:
        return _read_folder(path, reading)
    if path.is_file() and is_table(path) and (reading.columns or not path.name.lower().endswith(LINES)):
        return read_table(path, reading)
    if reading.columns:
        raise UserError(f"--columns: {path} is no table; only the columns of one ({', '.join(TABLES)}) can be named")
    if path.suffix.lower() in (".json", *LINES):
        return _read_json(path, reading)
    results = results_in_file(path, reading, notes := Notes())
    if results is None:
        raise UserError(f"{path}: unknown kind of file; expected {', '.join(TABLES)}, .json or a folder")
    return collected(results, "lm-eval", reading, notes)


def _read_folder(path: Path, reading: Reading) -> ScoreSource:
    for name in ("scores.parquet", "scores.csv"):
        if (path / name).is_file():
            source = read_table(path / name, reading)
            said, left_out = _not_read_beside(path, name)
            return replace(
                source,
                notes=(*source.notes, *said, *_left_out_of(path)),
                left_out=(*source.left_out, *left_out),
            )
    results = results_below(path, reading, notes := Notes())
    if results is None:
        raise nothing_there(path)
    return collected(results, "lm-eval", reading, notes)


def _not_read_beside(folder: Path, table: str) -> tuple[list[str], list[LeftOut]]:
    """That a table is read alone, where results lie beside it that ``e2lm eval`` did not write."""
    if not (others := foreign_results(folder)):
        return [], []
    why = f"{table} of that folder is read alone"
    left_out = [LeftOut(what=one.name, why=why, file=str(one)) for one in others]
    shown = ", ".join(str(one.relative_to(folder)) for one in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return [f"{folder}: {table} is read alone; not read are {shown}{more}"], left_out


def read_lm_eval_samples(path: Path, reading: Reading = PLAIN) -> list[Samples]:
    """The Samples in lm-eval's output below ``path``, of each checkpoint and task the newest; none is no error."""
    results = results_below(path, reading, notes := Notes()) or []
    return list(collected(results, "lm-eval", reading, notes).samples)


def read_all_samples(path: Path, reading: Reading = PLAIN) -> tuple[list[Samples], tuple[str, ...]]:
    """The Samples at ``path``, of ``e2lm eval`` (Parquet) or logged by lm-eval, and what is to be said of them.

    A :class:`UserError` where there are none.
    """
    is_folder = path.is_dir()
    if (not is_folder and path.suffix.lower() != ".json") or (is_folder and any(path.rglob("*.parquet"))):
        return read_samples(path), _logged_beside(path) if is_folder else ()
    if is_folder:
        source = collected(results_below(path, reading, notes := Notes()) or [], "lm-eval", reading, notes)
    else:
        source = _read_json(path, reading)
    if source.samples:
        return list(source.samples), source.notes
    why = f" ({'; '.join(source.notes[:3])})" if source.notes else ""
    raise UserError(
        f"{path}: no Samples there; expected Parquet files of 'e2lm eval', or samples_*.jsonl beside results_*.json, "
        f"as lm-eval writes them with --log_samples{why}"
    )


def _logged_beside(folder: Path) -> tuple[str, ...]:
    """That Samples in Parquet are read alone, where others lie beside them that ``e2lm eval`` did not write."""
    others = [one for one in foreign_results(folder) if any(True for _ in one.parent.glob("samples_*.jsonl"))]
    if not others:
        return ()
    said = f"{folder}: Parquet is read alone; what lm-eval logged is not, with {others[0]}"
    return (said if len(others) == 1 else f"{said} and {len(others) - 1} more",)


def _left_out_of(path: Path) -> list[str]:
    """What the evaluation that wrote the table could not use, and what it noted, by its run record."""
    try:
        record = RunRecord.from_json_file(path / RECORD_FILE)
        return [str(one) for one in (*record.left_out, *record.notes)]
    except UserError:  # a table of somebody else's, beside no record or another
        return []


def _read_json(path: Path, reading: Reading) -> ScoreSource:
    results = results_in_file(path, reading, notes := Notes())
    if results:
        return collected(results, "lm-eval", reading, notes)
    data = loaded_json(path)
    if isinstance(data, dict) and isinstance(data.get("data"), dict):
        own, said = competition_rows(data, path)
        return without_duplicates(Scores.from_rows(own), "e2lmc", path, said)
    raise UserError(
        f"{path}: neither lm-eval results (key 'results') nor the competition's scores (key 'data'), nor of another "
        f"known format ({', '.join(one.name for one in known_formats())})"
    )
