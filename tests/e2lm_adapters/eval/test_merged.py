from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from e2lm import Series, UserError
from e2lm.command_line import main
from e2lm.results import read_scores
from e2lm.samples import read_samples
from e2lm_adapters.eval.merged import merged_series
from tests.e2lm_adapters.conftest import STEPS, Run, no_model_is_built

SPEC = "wma:window=3"


def logliks(out: Path, series: str) -> dict[int, np.ndarray]:
    return {one.step: one.choices.loglik_IC for one in read_samples(out / "samples" / series)}


def written_merges(run: Path, folder: Path) -> Path:
    """The same averages by ``e2lm merge``, one folder per step, as a run."""
    for count, step in enumerate(STEPS, start=1):
        recipe = {"merge_method": "wma", "series": str(run), "steps": list(STEPS[:count]), "parameters": {"window": 3}}
        config = folder.parent / f"{step}.yml"
        config.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        assert main(["merge", str(config), str(folder / f"checkpoint-{step}"), "--quiet"]) == 0
        for beside in (run / f"checkpoint-{step}").iterdir():
            if not (folder / f"checkpoint-{step}" / beside.name).exists():
                shutil.copy(beside, folder / f"checkpoint-{step}" / beside.name)
    return folder


def test_an_averaged_run_scores_as_its_written_merges_do(
    tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tiny_series, "--merge", SPEC, "--quiet") == 0
    (tmp_path / "written").mkdir()
    written = written_merges(tiny_series, tmp_path / "written")
    assert evaluate(written, "--quiet", out=tmp_path / "apart") == 0
    ours = logliks(tmp_path / "out", f"tiny-run+{SPEC}")
    theirs = logliks(tmp_path / "apart", "written")
    assert sorted(ours) == sorted(theirs) == list(STEPS)
    for step in STEPS:
        np.testing.assert_allclose(ours[step], theirs[step], rtol=0, atol=1e-4)
    # The average is none of the run's own checkpoints, but for the first, where there is nothing to average.
    raw = logliks(tmp_path / "out", "tiny-run")
    np.testing.assert_allclose(ours[STEPS[0]], raw[STEPS[0]], rtol=0, atol=1e-4)
    assert np.abs(ours[STEPS[-1]] - raw[STEPS[-1]]).max() > 1e-2


def test_the_averaged_run_stands_beside_the_run_in_the_table(tiny_series: Path, tmp_path: Path, evaluate: Run) -> None:
    assert evaluate(tiny_series, "--merge", SPEC, "--merge", "lawa:window=2", "--quiet") == 0
    frame = read_scores(tmp_path / "out").scores.frame
    assert set(frame["series"]) == {"tiny-run", f"tiny-run+{SPEC}", "tiny-run+lawa:window=2"}
    assert frame.groupby("series")["step"].unique().map(sorted).tolist() == [list(STEPS)] * 3
    results = next((tmp_path / "out" / f"tiny-run+{SPEC}" / "checkpoint-30").glob("results_*.json"))
    assert json.loads(results.read_text())["config"]["model_args"]["pretrained"].endswith(f"merged by {SPEC}")


def test_finished_averages_are_not_done_again_and_new_ones_are_added(
    tiny_series: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(tiny_series, "--quiet") == 0
    before = logliks(tmp_path / "out", "tiny-run")
    assert evaluate(tiny_series, "--merge", SPEC, "--quiet") == 0
    for step, values in logliks(tmp_path / "out", "tiny-run").items():
        np.testing.assert_array_equal(values, before[step])
    with monkeypatch.context() as patch:
        no_model_is_built(patch)
        assert evaluate(tiny_series, "--merge", SPEC, "--quiet") == 0
    # A killed run left the last average undone: it alone is done again.
    units = sorted((tmp_path / "out" / "units" / f"tiny-run+{SPEC}").iterdir())
    whole = logliks(tmp_path / "out", f"tiny-run+{SPEC}")
    next(unit for unit in units if unit.name.startswith("30-")).unlink()
    assert evaluate(tiny_series, "--merge", SPEC, "--quiet") == 0
    assert sorted((tmp_path / "out" / "units" / f"tiny-run+{SPEC}").iterdir()) == units
    np.testing.assert_array_equal(logliks(tmp_path / "out", f"tiny-run+{SPEC}")[30], whole[30])


def test_processes_share_the_averages(tiny_series: Path, tmp_path: Path, evaluate: Run) -> None:
    assert evaluate(tiny_series, "--merge", SPEC, "--quiet") == 0
    assert evaluate(tiny_series, "--merge", SPEC, "--quiet", "--jobs", "2", out=tmp_path / "shared") == 0
    whole = logliks(tmp_path / "out", f"tiny-run+{SPEC}")
    for step, values in logliks(tmp_path / "shared", f"tiny-run+{SPEC}").items():
        np.testing.assert_allclose(values, whole[step], rtol=0, atol=1e-5)


def test_an_average_is_named_by_its_inputs_and_its_parameters(tiny_series: Path) -> None:
    from e2lm.weights import read_weight_index
    from e2lm_adapters.scoring.swap import CheckedWeights

    run = Series.read(tiny_series)
    checked = {
        point.step: CheckedWeights(read_weight_index(Path(str(point.path))), f"hash {point.step}")
        for point in run.checkpoints
    }
    hashes = {step: one.sha256 for step, one in merged_series(run, "lawa:window=2").weights(checked).items()}
    assert len(set(hashes.values())) == len(STEPS)
    other = {step: one.sha256 for step, one in merged_series(run, "lawa:window=3").weights(checked).items()}
    assert all(hashes[step] != other[step] for step in STEPS)
    # What lies outside the window does not count, what lies inside does.
    changed = {**checked, STEPS[0]: CheckedWeights(checked[STEPS[0]].index, "another")}
    after = {step: one.sha256 for step, one in merged_series(run, "lawa:window=2").weights(changed).items()}
    assert [step for step in STEPS if after[step] != hashes[step]] == [STEPS[0], STEPS[1]]


def test_checkpoints_nearer_than_the_interval_are_left_out(tiny_series: Path) -> None:
    merged = merged_series(Series.read(tiny_series), "lawa:window=2,min_interval=15")
    assert [point.step for point in merged.series.checkpoints] == [0, 20]
    assert [step for step, _ in merged.walk(30)] == [0, 20]


def test_averages_that_count_uneven_checkpoints_say_so_and_follow_tokens_where_asked(
    tiny_series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Series.read(tiny_series)
    tokens = [100 * 4**place for place in range(len(STEPS))]
    points = [one.model_copy(update={"tokens": many}) for one, many in zip(found.checkpoints, tokens, strict=True)]
    run = found.model_copy(update={"checkpoints": tuple(points)})
    merged_series(run, "lawa:window=3")
    assert "tiny-run: lawa counts the checkpoints of steps" in capsys.readouterr().err
    merged = merged_series(run, "lawa:window=3,over=tokens")
    assert [step for step, _ in merged.walk(30)] == list(STEPS)
    assert capsys.readouterr().err == ""


def test_a_curve_longer_than_the_run_so_far_is_no_mistake(tiny_series: Path, tmp_path: Path, evaluate: Run) -> None:
    spec = "wsm:window=4,curve=0.9/0.5/0.1"
    assert evaluate(tiny_series, "--merge", spec, "--quiet") == 0
    scored = logliks(tmp_path / "out", f"tiny-run+{spec.replace('/', '_')}")
    assert sorted(scored) == list(STEPS)
    raw = logliks(tmp_path / "out", "tiny-run")
    np.testing.assert_allclose(scored[STEPS[0]], raw[STEPS[0]], rtol=0, atol=1e-4)
    assert np.abs(scored[STEPS[1]] - raw[STEPS[1]]).max() > 1e-4


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("wms:window=3", "Did you mean 'wsm'"),
        ("wsm:windw=3", "windw"),
        ("ties", "does not average along a run"),
        ("wsm:window", "is not key=value"),
        ("wsm:window=-1", "window"),
        ("wsm:window=3,curve=0.9/0.5/0.1", "3 numbers are for 4 checkpoints, window is 3"),
        ("wsm:curve=0.5", "need 2 numbers, found 1 in '0.5'; set window to 2"),
    ],
)
def test_a_mistaken_merge_is_one_line_before_anything_is_written(
    tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str], spec: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        merged_series(Series.read(tiny_series), spec)
    assert evaluate(tiny_series, "--merge", spec) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_lists_the_averaged_run(tiny_series: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tiny_series, "--merge", SPEC, "--dry-run", "--json") == 0
    names = [one["name"] for one in json.loads(capsys.readouterr().out)["series"]]
    assert names == ["tiny-run", f"tiny-run+{SPEC}"]
