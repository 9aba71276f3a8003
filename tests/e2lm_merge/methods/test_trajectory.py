"""Averages along a run: weights, the theorem behind WSM, and the whole curve in one pass."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from e2lm import Series, UserError
from e2lm.merge_strategy import MergedCheckpoint, TrajectoryMerge, Value, parse_merge_spec
from e2lm_merge.methods import trajectory
from e2lm_merge.methods.trajectory import (
    DECAY_CURVES,
    exponential_weights,
    rising_weights,
    taken_steps,
    trajectory_strategies,
    trajectory_weights,
    uniform_weights,
    window_of,
    wsm_weights,
)
from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.plan.merge_plan import find_strategy, plan_merge
from e2lm_merge.plan.recipe import recipe_from_data

NAMES = [one.name for one in trajectory_strategies()]
Run = Callable[..., Path]


def merged_checkpoints(series: Series, name: str, parameters: Mapping[str, Value]) -> Iterator[MergedCheckpoint]:
    strategy = find_strategy(name)
    assert isinstance(strategy, TrajectoryMerge)
    return strategy.along(series, parameters)


@pytest.fixture
def run(tmp_path: Path, tiny_tensors: Any, write_model: Any) -> Run:
    def make(steps: list[int], dtype: torch.dtype = torch.float32) -> Path:
        for step in steps:
            write_model(tmp_path / "run" / f"checkpoint-{step}", tiny_tensors(step, dtype=dtype))
        return tmp_path / "run"

    return make


# 11 WSM


@pytest.mark.parametrize("curve", list(DECAY_CURVES))
@pytest.mark.parametrize("count", [2, 3, 10])
def test_wsm_equals_decayed_sgd(curve: str, count: int) -> None:
    rng = np.random.default_rng(count)
    updates = rng.standard_normal((count - 1, 50))
    checkpoints = np.concatenate([np.zeros((1, 50)), np.cumsum(updates, axis=0)]) + rng.standard_normal(50)
    merged = np.array(wsm_weights(count, {"curve": curve})) @ checkpoints
    decay = np.array([DECAY_CURVES[curve](step / count) for step in range(1, count)])
    trained = checkpoints[0] + decay @ updates
    np.testing.assert_allclose(merged, trained, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(points=st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_wsm_weights_add_up_to_one_and_are_negative_only_where_the_curve_rises(points: list[float]) -> None:
    weights = wsm_weights(len(points) + 1, {"curve": "/".join(map(repr, points))})
    assert abs(sum(weights) - 1) < 1e-12
    falls = all(left >= right for left, right in itertools.pairwise(points))
    assert (min(weights) >= 0) == falls


def test_wsm_of_a_constant_is_the_last_and_of_a_line_the_mean() -> None:
    assert wsm_weights(5, {"curve": "constant"}) == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(wsm_weights(5, {"curve": "linear"}), [0.2] * 5, atol=1e-15)
    cosine = wsm_weights(10, {"curve": "cosine"})
    np.testing.assert_allclose(cosine[:5], [0.025, 0.071, 0.111, 0.139, 0.155], atol=6e-4)
    with pytest.raises(UserError, match="Did you mean 'cosine'"):
        wsm_weights(5, {"curve": "cosin"})
    with pytest.raises(UserError, match="5 checkpoints need 4 numbers, found 2"):
        wsm_weights(5, {"curve": "0.5/0.2"})


@settings(deadline=None)
@given(points=st.lists(st.floats(0, 1), min_size=1, max_size=9), data=st.data())
def test_where_a_run_is_shorter_than_its_curve_the_last_stretches_are_decayed_by_the_last_numbers(
    points: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(points) + 1))
    checkpoints = np.random.default_rng(count).standard_normal(count).cumsum()
    curve = "/".join(map(repr, points))
    merged = np.array(wsm_weights(count, {"curve": curve, "window": len(points) + 1})) @ checkpoints
    decay = points[len(points) + 1 - count :]
    np.testing.assert_allclose(merged, checkpoints[0] + np.dot(decay, np.diff(checkpoints)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("curve", "window", "said"),
    [
        ("0.9/0.5/0.1", 3, "3 numbers are for 4 checkpoints, window is 3; set window to 4 or give 2 numbers"),
        ("0.9/0.5/0.1", 10, "5 checkpoints need 4 numbers, found 3 in '0.9/0.5/0.1'; set window to 4 or give more"),
        ("0.9/nan/0.1", 4, "found '0.9/nan/0.1'; expected numbers"),
        ("0.9//0.1", 4, "found '0.9//0.1'"),
    ],
)
def test_a_curve_that_does_not_fit_its_window_says_what_would(curve: str, window: int, said: str, run: Run) -> None:
    series = Series.read(run([10, 20, 30, 40, 50]))
    strategy = find_strategy("wsm")
    assert strategy.weigh is not None
    parameters = {**strategy.defaults, "curve": curve, "window": float(window)}
    with pytest.raises(UserError, match=re.escape(said)):
        strategy.weigh([one.step for one in series.checkpoints], parameters)


def test_a_curve_given_in_numbers_goes_along_a_run_from_its_first_checkpoint(run: Run) -> None:
    folder = run([10, 20, 30, 40, 50])
    given_numbers = {"curve": "0.75/0.5/0.25", "window": 4.0}
    curve = dict(merged_checkpoints(Series.read(folder), "wsm", given_numbers))
    assert list(curve) == [10, 20, 30, 40, 50]
    named = dict(merged_checkpoints(Series.read(folder), "wsm", {"curve": "linear", "window": 4.0}))
    first = {"merge_method": "wsm", "series": str(folder), "steps": [10, 20], "parameters": given_numbers}
    expected = merged_tensors(plan_merge(recipe_from_data(first, "t")))
    for key, tensor in expected.items():
        # The numbers are the linear curve of a full window; before, 0.25 decays the one stretch there is.
        torch.testing.assert_close(curve[50][key], named[50][key], rtol=0, atol=0)
        torch.testing.assert_close(curve[20][key], 0.75 * curve[10][key] + 0.25 * read_one(folder, 20, key))
        torch.testing.assert_close(curve[20][key], tensor)


def test_a_curve_of_one_number_is_a_curve_and_a_list_is_told_how_it_is_written(run: Run) -> None:
    folder = run([10, 20])
    recipe = {"merge_method": "wsm", "series": str(folder), "parameters": {"curve": 0.25}}
    merged = merged_tensors(plan_merge(recipe_from_data(recipe, "t")))
    key = "lm_head.weight"
    torch.testing.assert_close(merged[key], 0.75 * read_one(folder, 10, key) + 0.25 * read_one(folder, 20, key))
    recipe["parameters"] = {"curve": [0.9, 0.5]}
    with pytest.raises(UserError, match=r"curve: found the list \[0.9, 0.5\]; expected one text, such as '1-sqrt'"):
        plan_merge(recipe_from_data(recipe, "t"))
    recipe["parameters"] = {"curve": True}
    with pytest.raises(UserError, match="curve: found True"):
        plan_merge(recipe_from_data(recipe, "t"))


def read_one(folder: Path, step: int, key: str) -> torch.Tensor:
    return load_file(folder / f"checkpoint-{step}" / "model.safetensors")[key]


# 12 EMA and LAWA


@settings(deadline=None)
@given(alpha=st.floats(0.01, 1.0), values=st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_ema_recursion_is_its_closed_form(alpha: float, values: list[float]) -> None:
    mean = values[0]
    for value in values[1:]:
        mean = alpha * value + (1 - alpha) * mean
    weights = exponential_weights(len(values), {"alpha": alpha})
    assert abs(sum(weights) - 1) < 1e-12
    assert abs(float(np.dot(weights, values)) - mean) < 1e-10


def test_a_window_of_one_is_the_last_checkpoint_and_wma_rises() -> None:
    assert uniform_weights(1, {}) == rising_weights(1, {}) == [1.0]
    np.testing.assert_allclose(rising_weights(4, {}), [0.1, 0.2, 0.3, 0.4])


def test_windows_end_where_they_should() -> None:
    steps = [0, 10, 20, 25, 30, 100]
    free = {"window": 3, "min_interval": 0, "fraction": 1.0}
    assert window_of(steps, free) == [25, 30, 100]
    assert taken_steps(steps, {**free, "min_interval": 10}) == [0, 10, 20, 30, 100]
    assert window_of(steps, {**free, "window": 0, "fraction": 0.8}) == [20, 25, 30, 100]
    assert window_of(steps, {**free, "window": 0}) == steps


# the curve


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_curve_ends_in_the_merge_of_the_run_at_every_step(name: str, dtype: torch.dtype, run: Run) -> None:
    folder = run([10, 20, 30, 40, 50, 60], dtype)
    series = Series.read(folder)
    parameters = {"window": 3.0}
    curve = list(merged_checkpoints(series, name, parameters))
    assert [step for step, _ in curve] == [10, 20, 30, 40, 50, 60]
    for step, tensors in curve:
        data = {
            "merge_method": name,
            "series": str(folder),
            "steps": [one for one in (10, 20, 30, 40, 50, 60) if one <= step],
            "parameters": parameters,
        }
        expected = merged_tensors(plan_merge(recipe_from_data(data, "t")))
        assert tensors.keys() == expected.keys()
        for key, tensor in tensors.items():
            assert tensor.dtype == dtype
            # Sums in float64 and in float32 may round to neighbours, which lie up to 2**-7 apart in bfloat16.
            room = 2.0**-7 if dtype == torch.bfloat16 else 2.0**-22
            torch.testing.assert_close(tensor, expected[key], rtol=room, atol=1e-7)


@pytest.mark.parametrize("spec", ["lawa:window=2", "wsm:window=3,curve=linear", "ema:alpha=0.3", "swa"])
def test_every_checkpoint_is_read_once(spec: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run([1, 2, 3, 4, 5])
    read: list[str] = []
    plain = trajectory.read_tensors

    def counted(model: Any) -> Any:
        read.append(model.label)
        return plain(model)

    monkeypatch.setattr(trajectory, "read_tensors", counted)
    name, parameters = parse_merge_spec(spec)
    assert len(list(merged_checkpoints(Series.read(folder), name, parameters))) == 5
    assert read == [f"checkpoint-{step}" for step in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("parameters", [{}, {"fraction": 0.5}, {"window": 2.0, "fraction": 0.5}, {"alpha": 0.6}])
def test_an_exponential_average_is_over_the_window_and_the_last_part_of_training_alone(
    parameters: dict[str, Value], run: Run, tiny_tensors: Any
) -> None:
    steps = [10, 20, 30, 40]
    curve = dict(merged_checkpoints(Series.read(run(steps)), "ema", parameters))
    alpha, oldest = float(parameters.get("alpha", 0.2)), (1 - float(parameters.get("fraction", 1.0)))
    for step, tensors in curve.items():
        taken = [one for one in steps if oldest * step <= one <= step][-int(float(parameters.get("window", 9))) :]
        expected = tiny_tensors(taken[0])["model.norm.weight"]
        for one in taken[1:]:
            expected = alpha * tiny_tensors(one)["model.norm.weight"] + (1 - alpha) * expected
        torch.testing.assert_close(tensors["model.norm.weight"], expected, rtol=1e-6, atol=1e-7)


def test_a_sliding_mean_equals_the_mean_of_the_window(run: Run, tiny_tensors: Any) -> None:
    folder = run([1, 2, 3, 4, 5, 6, 7])
    key = "model.layers.0.mlp.up_proj.weight"
    checkpoints = {step: tiny_tensors(step)[key].double() for step in range(1, 8)}
    for step, tensors in merged_checkpoints(Series.read(folder), "lawa", {"window": 3.0}):
        window = [checkpoints[one] for one in range(max(1, step - 2), step + 1)]
        expected = torch.stack(window).mean(0).float()
        torch.testing.assert_close(tensors[key], expected, rtol=1e-7, atol=1e-9)


def test_checkpoints_too_close_are_left_out_of_the_curve(run: Run) -> None:
    folder = run([10, 11, 20, 30])
    curve = merged_checkpoints(Series.read(folder), "lawa", {"min_interval": 5.0})
    assert [step for step, _ in curve] == [10, 20, 30]


def test_mistakes_along_a_run_are_named(run: Run, write_model: Any, tiny_tensors: Any) -> None:
    folder = run([1, 2])
    series = Series.read(folder)
    assert not isinstance("linear", TrajectoryMerge)
    with pytest.raises(UserError, match=r"unknown parameter 'windo' of 'lawa'. Did you mean 'window'"):
        list(merged_checkpoints(series, "lawa", {"windo": 3.0}))
    with pytest.raises(UserError, match=r"fraction: found 2; allowed is \(0, 1\]"):
        list(merged_checkpoints(series, "lawa", {"fraction": 2.0}))
    tensors = tiny_tensors(3)
    tensors["model.norm.weight"] = torch.ones(17)
    write_model(folder / "checkpoint-3", tensors)
    with pytest.raises(UserError, match=r"checkpoint-3: tensor 'model.norm.weight' has shape"):
        list(merged_checkpoints(Series.read(folder), "lawa", {}))
    tensors["model.norm.weight"] = torch.full((16,), float("nan"))
    write_model(folder / "checkpoint-3", tensors)
    with pytest.raises(UserError, match=r"checkpoint-3: tensor 'model.norm.weight' holds NaN"):
        list(merged_checkpoints(Series.read(folder), "lawa", {}))


@pytest.mark.parametrize("text", ["wsm:window", "wsm:=3", "wsm:window=3,window=4"])
def test_a_spec_that_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UserError, match="wsm"):
        parse_merge_spec(text)


def test_a_decay_over_uneven_steps_follows_the_steps() -> None:
    """Training by a rate that falls along the steps ends where the average does."""
    steps = [100, 200, 400, 800, 1200]
    for over, before, after in (("within", 0, 0), ("steps", 50, 200)):
        begin, length = steps[0] - before, steps[-1] - steps[0] + before + after
        weights = wsm_weights(5, {"curve": "linear", "over": over}, steps)
        updates = np.random.default_rng(0).normal(size=steps[-1] - steps[0])
        constant = {step: updates[: step - steps[0]].sum() for step in steps}
        # The mean rate of each stretch, as the merge has one weight per stretch.
        rates = 1 - (np.arange(steps[0], steps[-1]) + 0.5 - begin) / length
        decayed = 0.0
        for left, right in itertools.pairwise(steps):
            inside = slice(left - steps[0], right - steps[0])
            decayed += updates[inside].sum() * rates[inside].mean()
        merged = sum(weight * constant[step] for weight, step in zip(weights, steps, strict=True))
        assert merged == pytest.approx(decayed, abs=1e-12)


def test_along_even_steps_the_curve_is_that_of_the_paper_and_along_uneven_ones_by_choice() -> None:
    parameters = {"window": 5.0, "min_interval": 0.0, "fraction": 1.0, "curve": "linear"}
    even, uneven = [100, 200, 300, 400, 500], [100, 200, 400, 800, 1200]
    np.testing.assert_allclose(trajectory_weights(wsm_weights, even, parameters), [0.2] * 5, atol=1e-15)
    by_count = trajectory_weights(wsm_weights, uneven, {**parameters, "over": "checkpoints"})
    np.testing.assert_allclose(by_count, [0.2] * 5, atol=1e-15)
    by_steps = trajectory_weights(wsm_weights, uneven, parameters)
    np.testing.assert_allclose(by_steps, np.array([100, 150, 300, 400, 400]) / 1350, atol=1e-15)
    within = trajectory_weights(wsm_weights, uneven, {**parameters, "over": "within"})
    np.testing.assert_allclose(within, [1 / 22, 3 / 22, 6 / 22, 8 / 22, 4 / 22], atol=1e-15)


# along training, in steps or tokens

UNEVEN = [100, 200, 400, 800, 1200]


def test_a_mean_along_training_is_that_of_all_its_steps_each_taken_from_the_nearest_checkpoint() -> None:
    steps = np.arange(50, 1400) + 0.5
    nearest = np.abs(steps[:, None] - np.array(UNEVEN)).argmin(axis=1)
    shares = np.bincount(nearest) / len(steps)
    for name in ("lawa", "sma", "swa"):
        weights = weights_along(name, UNEVEN, over="steps")
        np.testing.assert_allclose(weights, shares, atol=1e-3)
        assert weights == pytest.approx(weights_along("wsm", UNEVEN, curve="linear", window=5.0))
    assert weights_along("lawa", UNEVEN) == (0.2,) * 5


def test_a_rising_mean_counts_a_part_of_training_by_its_length_and_by_where_it_ends() -> None:
    expected = np.diff([50, 150, 300, 600, 1000, 1400]) * (np.array([150, 300, 600, 1000, 1400]) - 50)
    weights = weights_along("wma", UNEVEN, over="steps")
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-12)
    assert weights_along("wma", UNEVEN)[0] == pytest.approx(1 / 15)


def test_an_exponential_mean_forgets_by_the_length_of_a_stretch() -> None:
    mean, expected = 1100 / 4, np.array([1.0])
    for stretch in np.diff(UNEVEN):
        kept = 0.7 ** (stretch / mean)
        expected = np.append(kept * expected, 1 - kept)
    np.testing.assert_allclose(weights_along("ema", UNEVEN, over="steps", alpha=0.3), expected, rtol=1e-12)


def weights_along(name: str, places: list[int], **parameters: Value) -> tuple[float, ...]:
    strategy = find_strategy(name)
    assert isinstance(strategy, TrajectoryMerge)
    return strategy.weigh(places, {**strategy.defaults, **parameters})


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_at_even_places_have_the_weights_of_the_paper(name: str) -> None:
    even = [1000, 2000, 3000, 4000, 5000]
    for over in ("steps", "tokens"):
        along = weights_along(name, even, over=over)
        np.testing.assert_allclose(along, weights_along(name, even, over="checkpoints"), rtol=1e-12)


def with_tokens(folder: Path, tokens: Mapping[int, int | None]) -> Series:
    """The run with so many tokens at its steps, as its series.json says."""
    found = Series.read(folder)
    told = tuple(one.model_copy(update={"tokens": tokens[one.step]}) for one in found.checkpoints)
    series = found.model_copy(update={"checkpoints": told})
    series.write(folder)
    return Series.read(folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_that_grew_is_weighed_by_tokens_to_a_folder_and_along_the_run(
    name: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from e2lm.command_line import main

    steps, tokens = [10, 20, 30, 40, 50], [100, 200, 400, 800, 1200]
    folder = run(steps)
    series = with_tokens(folder, dict(zip(steps, tokens, strict=True)))
    config = tmp_path / "m.yml"
    parameters: dict[str, Value] = {"window": 4.0, "over": "tokens"}
    config.write_text(f"{{merge_method: {name}, series: '{folder}', parameters: {{window: 4, over: tokens}}}}")
    assert main(["merge", str(config), str(tmp_path / "out"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    *_, (step, along) = merged_checkpoints(series, name, parameters)
    weights = weights_along(name, tokens, **parameters)
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert step == 50
    for key in ("lm_head.weight", "model.norm.weight"):
        expected = sum(weight * read_one(folder, one, key).double() for weight, one in zip(weights, steps, strict=True))
        assert isinstance(expected, torch.Tensor)
        torch.testing.assert_close(along[key], expected.float(), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(written[key], along[key], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "over", "tokens", "said"),
    [
        ("lawa", "checkpoints", None, "steps 20 to 100, which lie unevenly; over: steps weighs them by steps"),
        (
            "ema",
            "checkpoints",
            [10, 20, 30, 60, 90],
            "steps 10 to 100, which lie unevenly; over: tokens weighs",
        ),
        ("wsm", "steps", [10, 40, 90, 190, 990], "are of unequal tokens; over: tokens weighs them by these"),
        ("wsm", "steps", None, None),
        ("lawa", "steps", None, None),
        ("sma", "checkpoints", [10, 20, 30, 40, 50], None),
    ],
)
def test_weights_that_do_not_know_how_checkpoints_lie_are_told(
    name: str, over: str, tokens: list[int] | None, said: str | None, run: Run, tmp_path: Path, capsys: Any
) -> None:
    from e2lm.command_line import main

    steps = [10, 20, 40, 60, 100]
    folder = run(steps)
    with_tokens(folder, dict(zip(steps, tokens or [None] * 5, strict=True)))
    config = tmp_path / "m.yml"
    window = 4 if name == "lawa" else 0
    config.write_text(f"{{merge_method: {name}, series: '{folder}', parameters: {{over: {over}, window: {window}}}}}")
    assert main(["merge", str(config), str(tmp_path / "out"), "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert said in told if said else told == ""
    config.write_text(f"{{merge_method: {name}, series: '{folder}', parameters: {{over: tokens}}}}")
    assert main(["merge", str(config), str(tmp_path / "out"), "--dry-run"]) == (2 if tokens is None else 0)
    assert (tokens is None) == ("over is tokens, and not every checkpoint says" in capsys.readouterr().err)
