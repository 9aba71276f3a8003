"""A series is what its folder says, in order of step, and comes back as it was written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import save_file

from e2lm import Checkpoint, Series, UserError
from e2lm.series import series_folders

NAMES = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="/\0"), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))


def write_weights(folder: Path, rows: int = 3) -> None:
    """A checkpoint of ``2 * rows`` embedding numbers and 4 others."""
    folder.mkdir(parents=True)
    tensors = {"model.embed_tokens.weight": np.ones((rows, 2), np.float32), "model.norm.weight": np.ones(4, np.float32)}
    save_file(tensors, folder / "model.safetensors")


@st.composite
def described(draw: st.DrawFn) -> Series:
    steps = sorted(draw(st.sets(st.integers(0, 10**9), min_size=1, max_size=6)))
    tokens = st.none() | st.integers(0, 10**15)
    places: list[dict[str, Any]] = [
        draw(
            st.fixed_dictionaries({"path": st.just(f"checkpoint-{step}"), "tokens": tokens})
            | st.fixed_dictionaries({"repo": st.just("org/name"), "revision": st.just(f"step{step}"), "tokens": tokens})
        )
        for step in steps
    ]
    return Series(
        name=draw(NAMES),
        params=draw(st.integers(1, 10**12)),
        params_non_embedding=draw(st.integers(0, 10**12)),
        tokens_per_step=draw(st.none() | st.floats(0, 1e9, exclude_min=True)),
        data=draw(st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)),
        checkpoints=tuple(Checkpoint(step=step, **place) for step, place in zip(steps, places, strict=True)),
    )


@given(described())
def test_a_series_comes_back_as_it_was_written_with_absolute_paths(series: Series) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        located = []
        for checkpoint in series.checkpoints:
            if checkpoint.path is not None:
                (folder / checkpoint.path).mkdir()
                checkpoint = checkpoint.model_copy(update={"path": str(folder / checkpoint.path)})
            located.append(checkpoint)
        expected = series.model_copy(update={"checkpoints": tuple(located)})
        series.write(folder)
        assert Series.read(folder) == expected
        first = (folder / "series.json").read_bytes()
        expected.write(folder)
        assert (folder / "series.json").read_bytes() == first


@pytest.mark.parametrize("pattern", ["checkpoint-{}", "iter_{:07}", "step{}", "step_{}", "step-{}"])
def test_a_folder_without_a_description_is_read_by_its_names_in_order_of_step(tmp_path: Path, pattern: str) -> None:
    run = tmp_path / "my-run"
    for step in (100, 20, 3):
        write_weights(run / pattern.format(step))
    (run / "logs").mkdir()
    (run / "checkpoint-final").mkdir()
    (run / ".partial-0011-checkpoint-500").mkdir()
    (run / "checkpoint-7").write_text("a file, not a folder", encoding="utf-8")
    series = Series.read(run)
    assert series.name == "my-run"
    assert [checkpoint.step for checkpoint in series.checkpoints] == [3, 20, 100]
    assert [Path(checkpoint.path or "").name for checkpoint in series.checkpoints] == [
        pattern.format(step) for step in (3, 20, 100)
    ]
    assert (series.params, series.params_non_embedding) == (10, 4)
    assert series.tokens_per_step is None
    assert math.isnan(series.tokens_at(series.checkpoints[0]))


def test_tokens_come_from_the_checkpoint_else_from_the_step(tmp_path: Path) -> None:
    write_weights(tmp_path / "checkpoint-10")
    series = Series.read(tmp_path, tokens_per_step=64)
    assert series.tokens_at(series.checkpoints[0]) == 640.0
    assert series.tokens_at(Checkpoint(step=10, tokens=5)) == 5.0


def test_flops_are_six_per_parameter_outside_embeddings_and_token() -> None:
    series = Series(name="s", params=10, params_non_embedding=7, checkpoints=())
    assert series.flops(1000) == 6 * 7 * 1000


def test_two_folders_of_one_step_are_a_mistake(tmp_path: Path) -> None:
    write_weights(tmp_path / "checkpoint-10")
    write_weights(tmp_path / "iter_0010")
    with pytest.raises(UserError, match="step 10 is there twice: checkpoint-10 and iter_0010"):
        Series.read(tmp_path)


@pytest.mark.parametrize("steps", [(2, 1), (1, 1)])
def test_steps_must_rise(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="steps must rise strictly"):
        Series(name="s", params=1, params_non_embedding=1, checkpoints=tuple(Checkpoint(step=s) for s in steps))


@pytest.mark.parametrize("name", [".", "..", "", "a/b", "a\0b"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Series(name=name, params=1, params_non_embedding=1, checkpoints=())


def test_a_missing_folder_and_an_empty_series_are_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        Series.read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="the series is empty; expected sub-folders named checkpoint-<step>"):
        Series.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoints": []}, "the series is empty"),
        ({"checkpoints": [{"step": 1}]}, "checkpoint at step 1 has neither path nor repo"),
        ({"checkpoints": [{"step": 1, "path": "gone"}]}, "step 1: folder .*gone is missing"),
        ({"checkpoints": [{"step": 2, "repo": "a"}, {"step": 1, "repo": "a"}]}, "steps must rise strictly"),
        ({"params": 0}, "field 'params': found 0"),
        ({"tokens_per_step": -1.0}, "field 'tokens_per_step': found -1.0"),
        ({"schema_version": 2}, "field 'schema_version': found 2"),
        ({"parms": 1}, "unknown field 'parms'. Did you mean 'params'"),
        ({"name": ".."}, "field 'name': found '..'"),
    ],
)
def test_a_faulty_description_is_a_mistake_that_names_the_file(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    good = {"name": "s", "params": 1, "params_non_embedding": 1, "checkpoints": [{"step": 1, "repo": "a"}]}
    (tmp_path / "series.json").write_text(json.dumps(good | change), encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        Series.read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_series_folders_are_the_run_itself_or_the_runs_inside(tmp_path: Path) -> None:
    for run in ("b", "a"):
        write_weights(tmp_path / run / "checkpoint-1")
    (tmp_path / "notes").mkdir()
    assert series_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert series_folders(tmp_path / "a") == [tmp_path / "a"]
    assert series_folders(tmp_path / "notes") == [tmp_path / "notes"]
    with pytest.raises(UserError, match="no such folder"):
        series_folders(tmp_path / "nowhere")


def test_the_tiny_series_is_read_as_it_was_written(tiny_series: Path) -> None:
    series = Series.read(tiny_series)
    assert [series.tokens_at(checkpoint) for checkpoint in series.checkpoints] == [0, 10240, 20480, 30720]
    assert all(checkpoint.folder is not None and checkpoint.folder.is_dir() for checkpoint in series.checkpoints)
