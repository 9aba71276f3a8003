"""Stored forms and the way to float32 and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm_merge.numbers.formats import Narrower, all_finite, empty_bytes, widen, widen_apart


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), pairs=st.integers(0, 40))
def test_numbers_taken_apart_and_put_together_again_are_the_same(seed: int, pairs: int) -> None:

    rng = np.random.default_rng(seed)
    stored = empty_bytes(4 * pairs)
    stored.view(np.uint16)[:] = rng.integers(0, 2**16, 2 * pairs)
    plain, apart = np.empty(2 * pairs, np.float32), np.empty(2 * pairs, np.float32)
    widen(stored, "BF16", plain)
    widen_apart(stored, apart)
    np.testing.assert_array_equal(apart[:pairs].view(np.uint32), plain[0::2].view(np.uint32))
    np.testing.assert_array_equal(apart[pairs:].view(np.uint32), plain[1::2].view(np.uint32))
    factor = np.float32(1.1)
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(plain, factor, out=plain)
        np.multiply(apart, factor, out=apart)
    in_order, together = Narrower("BF16"), Narrower("BF16")
    expected = in_order.narrow(plain, "t").copy()
    np.testing.assert_array_equal(together.narrow(apart, "t", apart=True), expected)
    assert in_order.finite == together.finite == bool(np.isfinite(plain).all() and all_finite(expected, "BF16"))


@pytest.mark.parametrize("kind", ["BF16", "F16", "F32"])
def test_no_nan_is_lost_by_rounding(kind: str) -> None:

    # All bits set: adding half of the last kept place would carry it over into a zero.
    numbers = np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32)
    numbers.view(np.uint32)[2] = 0x7FFFFFFF
    narrower = Narrower(kind)
    stored = narrower.narrow(numbers, "t")
    assert not narrower.finite
    assert not all_finite(stored, kind)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 4097])
def test_memory_starts_at_a_cache_line_and_is_as_long_as_asked(count: int) -> None:
    kept = [empty_bytes(count) for _ in range(20)]
    assert {len(one) for one in kept} == {count}
    assert {one.ctypes.data % 64 for one in kept if count} <= {0}
