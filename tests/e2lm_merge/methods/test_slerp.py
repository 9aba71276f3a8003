"""Interpolation on the sphere: exact ends, symmetry, norms, and what has no angle."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm_merge.methods.slerp import karcher_coefficients, multislerp_coefficients, slerp_coefficients

MergeOne = Callable[..., torch.Tensor]
Gaussian = Callable[..., torch.Tensor]
ULP = 2.0**-23
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("strategy", ["slerp", "nuslerp", "multislerp", "karcher"])
def test_spherical_merges_of_copies_are_the_copy_to_two_ulp(
    strategy: str, merge_one: MergeOne, gaussian: Gaussian
) -> None:
    x = gaussian(3, 64)
    merged = merge_one("slerp", [x], x, t=0.3) if strategy == "slerp" else merge_one(strategy, [x, x])
    torch.testing.assert_close(merged, x, rtol=2 * ULP, atol=1e-9)


def test_slerp_ends_are_bit_exact(merge_one: MergeOne, gaussian: Gaussian) -> None:
    a, b = gaussian(1, 33), gaussian(2, 33)
    assert torch.equal(merge_one("slerp", [b], a, t=0.0), a)
    assert torch.equal(merge_one("slerp", [b], a, t=1.0), b)


@quick
@given(seed=seeds, t=st.floats(0.01, 0.99))
def test_slerp_is_symmetric_and_its_norm_lies_between(
    merge_one: MergeOne, seed: int, t: float, gaussian: Gaussian
) -> None:
    a, b = gaussian(seed, 40), 2 * gaussian(seed + 1, 40)
    forth, back = merge_one("slerp", [b], a, t=t), merge_one("slerp", [a], b, t=1 - t)
    torch.testing.assert_close(forth, back, rtol=1e-5, atol=1e-6)
    unit_a, unit_b = a / a.norm(), b / b.norm()
    assert abs(float(merge_one("slerp", [unit_b], unit_a, t=t).norm()) - 1) < 1e-5


def test_slerp_of_collinear_antipodal_and_zero_vectors_is_lerp(merge_one: MergeOne, gaussian: Gaussian) -> None:
    a = gaussian(1, 16)
    for b in (3 * a, -a, torch.zeros(16)):
        torch.testing.assert_close(merge_one("slerp", [b], a, t=0.25), 0.75 * a + 0.25 * b, rtol=1e-6, atol=1e-7)


def test_karcher_of_two_is_the_middle_of_the_arc(merge_one: MergeOne) -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    expected = torch.full((2,), math.sqrt(0.5))
    for merged in (merge_one("karcher", [a, b]), merge_one("nuslerp", [a, b])):
        torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-6)


def test_nuslerp_by_rows_and_columns_interpolates_each_alone(merge_one: MergeOne, gaussian: Gaussian) -> None:
    a, b = gaussian(1, 5, 7), gaussian(2, 5, 7)
    rows = merge_one("nuslerp", [a, b], nuslerp_flatten=False)
    one = merge_one("nuslerp", [a[2], b[2]])
    torch.testing.assert_close(rows[2], one, rtol=1e-5, atol=1e-6)
    columns = merge_one("nuslerp", [a, b], nuslerp_flatten=False, nuslerp_row_wise=True)
    torch.testing.assert_close(columns[:, 3], merge_one("nuslerp", [a[:, 3], b[:, 3]]), rtol=1e-5, atol=1e-6)


def test_slerp_is_on_the_arc_up_to_its_bound_and_on_the_line_beyond_it() -> None:
    for angle in (0.03, 0.5, 2.0):
        gram = np.array([[4.0, 6 * math.cos(angle)], [6 * math.cos(angle), 9.0]])
        arc = (math.sin(0.75 * angle) / math.sin(angle), math.sin(0.25 * angle) / math.sin(angle))
        expected = (0.75, 0.25) if angle == 0.03 else arc
        assert slerp_coefficients(gram, 0.25) == pytest.approx(expected, rel=1e-12)
        assert slerp_coefficients(gram, 0.25, 1 - 1e-12) == pytest.approx(arc, rel=1e-6)
    for gram in (np.diag([4.0, 0.0]), np.diag([0.0, 9.0])):
        assert slerp_coefficients(gram, 0.25) == (0.75, 0.25)
    assert [slerp_coefficients(np.eye(2), t) for t in (0.0, 1.0)] == [(1.0, 0.0), (0.0, 1.0)]


def test_two_vectors_are_collinear_above_the_bound_and_not_at_it() -> None:
    """As mergekit: at the bound the arc is still taken; 60 degrees apart, a quarter of the way."""
    gram = np.array([[1.0, 0.5], [0.5, 1.0]])
    arc = [np.sin(np.pi / 4) / np.sin(np.pi / 3), np.sin(np.pi / 12) / np.sin(np.pi / 3)]
    assert slerp_coefficients(gram, 0.25, collinear=0.5) == pytest.approx(arc)
    assert slerp_coefficients(gram, 0.25, collinear=0.49) == (0.75, 0.25)


def test_models_without_a_direction_have_no_mean_on_the_sphere() -> None:
    # Norms up to tol: what is left of such tensors is nothing, as in mergekit, and not their sum.
    tiny_MX = np.array([[3e-6, 0.0], [0.0, 4e-6]])
    assert karcher_coefficients(tiny_MX @ tiny_MX.T, max_iter=10, tol=1e-5).tolist() == [0.0, 0.0]
    # One that has a direction is the mean of directions, at the mean of the norms.
    large_MX = np.array([[3e-6, 0.0], [0.0, 2.0]])
    found = karcher_coefficients(large_MX @ large_MX.T, max_iter=10, tol=1e-5) @ large_MX
    np.testing.assert_allclose(found, [0.0, (2.0 + 3e-6) / 2], rtol=1e-12)


def test_two_models_that_cancel_out_are_averaged_and_three_are_refused() -> None:
    opposite_MX = np.array([[1.0, 2.0], [-1.0, -2.0]])
    weights = multislerp_coefficients(opposite_MX @ opposite_MX.T, [0.5, 0.5], 1e-8, "here")
    assert weights.tolist() == [0.5, 0.5]
    corners_MX = np.array([[1.0, 0.0], [-0.5, math.sqrt(0.75)], [-0.5, -math.sqrt(0.75)]])
    with pytest.raises(UserError, match="here: the models cancel out on the sphere"):
        multislerp_coefficients(corners_MX @ corners_MX.T, [1 / 3] * 3, 1e-8, "here")
