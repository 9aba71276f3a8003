"""Reads a Scores table from whatever people have: Parquet, CSV, lm-eval output, the competition's JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from e2lm.errors import UserError
from e2lm.results.competition import competition_rows
from e2lm.results.lm_eval import Notes, lm_eval_rows, lm_eval_run, lm_eval_runs, read_lm_eval_samples
from e2lm.results.tables import loaded_json, read_table, without_duplicates
from e2lm.run_record import RECORD_FILE, RunRecord
from e2lm.scores import ScoreRow, Scores, ScoreSource

__all__ = ["ScoreSource", "read_lm_eval_samples", "read_scores"]


def read_scores(path: Path) -> ScoreSource:
    """The Scores at ``path``: a Parquet or CSV table, the competition's JSON, an ``e2lm eval`` or lm-eval folder."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a Scores table, an lm-eval output folder or a JSON")
    if path.is_dir():
        return _read_folder(path)
    suffixes = "".join(path.suffixes).lower()
    if suffixes.endswith(".parquet"):
        return read_table(path, "parquet")
    if suffixes.endswith((".csv", ".csv.gz")):
        return read_table(path, "csv")
    if suffixes.endswith(".json"):
        return _read_json(path)
    raise UserError(f"{path}: unknown kind of file; expected .parquet, .csv, .csv.gz, .json or a folder")


def _read_folder(path: Path) -> ScoreSource:
    for name in ("scores.parquet", "scores.csv"):
        if (path / name).is_file():
            source = read_table(path / name, "parquet" if name.endswith("parquet") else "csv")
            return replace(source, notes=(*source.notes, *_left_out_of(path)))
    rows: dict[tuple[str, str, str, int], ScoreRow] = {}
    repeated, runs, notes = 0, [], Notes()
    for run in lm_eval_runs(path, notes):
        runs.append(run.subject)
        for row in lm_eval_rows(run, notes):
            key = (row.series, row.task, row.metric, row.step)
            repeated += key in rows
            rows[key] = row
    if not runs:
        raise UserError(f"{path}: no scores.parquet, scores.csv or results_*.json (lm-eval's output) below it")
    if repeated:
        notes.say(f"{path}: {repeated} values were evaluated more than once; the newest are used")
    stepless = sorted({one.series for one in runs if not one.has_step})
    if len(stepless) > 1:
        shown = ", ".join(stepless[:3])
        notes.say(f"{path}: {len(stepless)} models name no step ({shown} ...); each is a series of its own at step 0")
    return ScoreSource(Scores.from_rows(rows.values()), "lm-eval", notes.lines())


def _left_out_of(path: Path) -> list[str]:
    """What the evaluation that wrote the table could not use, and what it noted, by its run record."""
    try:
        record = RunRecord.from_json_file(path / RECORD_FILE)
        return [str(one) for one in (*record.left_out, *record.notes)]
    except UserError:  # a table of somebody else's, beside no record or another
        return []


def _read_json(path: Path) -> ScoreSource:
    data = loaded_json(path)
    if isinstance(data, dict) and isinstance(data.get("results"), dict):
        rows = lm_eval_rows(lm_eval_run(path, path.parent), notes := Notes())
        return ScoreSource(Scores.from_rows(rows), "lm-eval", notes.lines())
    if isinstance(data, dict) and isinstance(data.get("data"), dict):
        own, said = competition_rows(data, path)
        return without_duplicates(Scores.from_rows(own), "e2lmc", path, said)
    raise UserError(f"{path}: neither lm-eval results (key 'results') nor the competition's scores (key 'data')")
