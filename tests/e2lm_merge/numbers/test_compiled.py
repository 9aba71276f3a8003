"""Compiled sums: the bits of numpy for any numbers, and numpy where anything is amiss."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm.merge_strategy import Combination, MergeStrategy
from e2lm_merge.numbers import blocks as block_walk
from e2lm_merge.numbers import compiled as compiled_sums
from e2lm_merge.numbers import tensor_merge as weighted_sum
from e2lm_merge.numbers.blocks import BlockWalk, TensorMerge, Workspace
from e2lm_merge.numbers.combination import LONG_NUMBERS, STRETCH
from e2lm_merge.numbers.compiled import CompiledSums, StoredBlock
from e2lm_merge.numbers.formats import FLOAT_BYTES, Bytes, empty_bytes
from e2lm_merge.numbers.sign_and_rank import elected_total_, rank_mask
from e2lm_merge.numbers.tensor_merge import merge_tensor
from e2lm_merge.output.folder import merge_to_folder
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")

KINDS = ("F32", "BF16", "F16")

#: Zero, subnormals, one, the largest number, infinity, NaN that signals, NaN with every bit: upper halves of float32.
SPECIAL_HALVES = (
    0x0000,
    0x8000,
    0x0001,
    0x8001,
    0x007F,
    0x3F80,
    0xBF80,
    0x7F7F,
    0xFF7F,
    0x7F80,
    0xFF80,
    0x7F81,
    0xFFFF,
)
SPECIAL_SHARES = (1.0, -1.0, 0.0, 0.5, 1e-40, 3e38, 1e300, 0.3)


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> CompiledSums:
    """The functions, freshly compiled."""
    library = tmp_path_factory.mktemp("library") / "weighted_sums.so"
    compiled_sums.compile_to(library)
    found = compiled_sums._loaded(library)
    assert found is not None
    return found


class StoredNumbers:
    """Bytes in memory as one tensor of one model."""

    def __init__(self, label: str, dtype: str, stored: Bytes) -> None:
        self.label, self.dtype, self.stored = label, dtype, stored
        self.shape = (len(stored) // FLOAT_BYTES[dtype],)

    def read(self, start: int, into: Bytes) -> None:
        into[:] = self.stored[start : start + len(into)]


def any_bits(rng: np.random.Generator, kind: str, count: int, wild: bool) -> Bytes:
    """Numbers near one, or with ``wild`` every bit pattern, special ones above all."""
    stored = empty_bytes(count * FLOAT_BYTES[kind])
    if not wild:
        numbers = rng.standard_normal(count).astype(np.float32)
        bits = numbers.view(np.uint32)
        if kind == "F16":
            stored.view(np.float16)[:] = numbers
        else:
            stored.view(np.uint32 if kind == "F32" else np.uint16)[:] = bits if kind == "F32" else bits >> 16
        return stored
    stored[:] = rng.integers(0, 256, len(stored), dtype=np.uint8)
    if kind == "BF16":
        special = rng.random(count) < 0.3
        stored.view(np.uint16)[special] = rng.choice(SPECIAL_HALVES, int(special.sum()))
    elif kind == "F32":
        special = rng.random(count) < 0.3
        halves = rng.choice(SPECIAL_HALVES, int(special.sum())).astype(np.uint32) << np.uint32(16)
        stored.view(np.uint32)[special] = halves | rng.integers(0, 2, int(special.sum()), dtype=np.uint32)
    return stored


def merge_of(
    kinds: Sequence[str], stored: Sequence[Bytes], out_kind: str, how: Combination, based: bool, lax: bool
) -> Any:
    sources = [
        StoredNumbers(f"m{place}", kind, one) for place, (kind, one) in enumerate(zip(kinds, stored, strict=True))
    ]
    return TensorMerge(
        name="x",
        shape=sources[0].shape,
        dtype=out_kind,
        strategy=MergeStrategy("given", "The sum given.", scope="sum", combine=lambda group, products: how),
        sources=tuple(sources[: len(sources) - based]),
        base=sources[-1] if based else None,
        weights=(1.0,) * (len(sources) - based),
        allow_nonfinite=lax,
    )


def outcome(merge: TensorMerge, workspace: Workspace) -> tuple[bytes, tuple[str, ...]] | str:
    """The merged bytes with the checksums of the inputs, or the line that a user sees."""
    found = empty_bytes(merge.nbytes)

    def sink(start: int, bytes_: Bytes) -> None:
        found[start : start + len(bytes_)] = bytes_

    try:
        with np.errstate(all="ignore"):
            checksums = merge_tensor(merge, workspace, sink)
    except UserError as error:
        return str(error)
    return found.tobytes(), checksums


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kinds=st.one_of(
        st.sampled_from(KINDS).flatmap(lambda kind: st.lists(st.just(kind), min_size=1, max_size=4)),
        st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    ),
    out_kind=st.sampled_from(KINDS),
    form=st.sampled_from(["sum", "mean", "deltas"]),
    shares=st.lists(st.one_of(st.sampled_from(SPECIAL_SHARES), st.floats(-2, 2)), min_size=5, max_size=5),
    based=st.booleans(),
    count=st.sampled_from([1, 2, 7, 96, 2047, 2048, 2049, 5001]),
    block=st.sampled_from([96, 2048, 1 << 18]),
    wild=st.booleans(),
    lax=st.booleans(),
)
@example(1, ["BF16"] * 3, "BF16", "mean", [0.5, 0.3, 0.2, 0, 0], False, 5001, 1 << 18, False, False)
@example(1, ["F32"] * 3, "F32", "sum", [1, 1, 1, 0, 0], False, 5001, 96, True, True)
@example(1, ["BF16"] * 3, "F32", "deltas", [1, 0, 1, 0, 0], True, 2049, 2048, True, True)
def test_bits_checksums_and_errors_are_those_of_numpy(
    sums: CompiledSums,
    seed: int,
    kinds: list[str],
    out_kind: str,
    form: Any,
    shares: list[float],
    based: bool,
    count: int,
    block: int,
    wild: bool,
    lax: bool,
) -> None:
    rng = np.random.default_rng(seed)
    based = len(kinds) > 1 and (based or form == "deltas")
    form = "sum" if form == "deltas" and not based else form
    how = Combination(tuple(shares[: len(kinds) - based]), shares[-1] if based and form != "deltas" else 0.0, form)
    stored = [any_bits(rng, kind, count, wild) for kind in kinds]
    merge = merge_of(kinds, stored, out_kind, how, based, lax)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_walk, "BLOCK_NUMBERS", block)
        assert outcome(merge, Workspace(sums)) == outcome(merge, Workspace())


def test_a_sum_of_finite_bfloat16_is_never_left_to_numpy(sums: CompiledSums) -> None:
    rng = np.random.default_rng(0)
    blocks = [StoredBlock(any_bits(rng, "BF16", 5000, wild=False), "BF16") for _ in range(3)]
    out = StoredBlock(empty_bytes(10_000), "BF16")
    assert sums.combined(blocks, 3, Combination((0.2, 0.3, 0.5), form="mean"), out)
    blocks[1].bytes_.view(np.uint16)[4999] = 0x7F80
    assert not sums.combined(blocks, 3, Combination((0.2, 0.3, 0.5), form="mean"), out)


@pytest.mark.parametrize("kind", ["BF16", "F32", "F16"])
@pytest.mark.parametrize("deltas", [False, True])
@pytest.mark.parametrize("beyond", [0, 1, STRETCH + 5])
def test_inner_products_are_those_of_numpy(sums: CompiledSums, kind: str, deltas: bool, beyond: int) -> None:
    rng = np.random.default_rng(beyond)
    stored = [any_bits(rng, kind, LONG_NUMBERS + beyond, wild=False) for _ in range(3)]
    merge = merge_of([kind] * 3, stored, kind, Combination((1.0, 1.0)), True, False)
    compiled = weighted_sum._inner_products(BlockWalk(merge, Workspace(sums)), deltas).matrix
    plain = weighted_sum._inner_products(BlockWalk(merge, Workspace()), deltas).matrix
    assert compiled.shape == ((2, 2) if deltas else (3, 3))
    np.testing.assert_array_equal(compiled, plain)


@pytest.mark.parametrize("method", ["linear", "slerp", "task_arithmetic", "karcher", "model_stock", "della"])
def test_a_folder_is_the_same_with_and_without_a_compiler(
    method: str, models: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    base, *rest = models(1 if method == "slerp" else 3, dtype=torch.bfloat16)
    recipe: dict[str, Any] = {
        "merge_method": method,
        "models": [{"model": folder} for folder in rest],
        "base_model": base,
    }
    if method in ("linear", "karcher"):
        del recipe["base_model"]
    if method == "della":
        recipe["parameters"] = {"density": 0.5}
    plan = plan_merge(recipe_from_data(recipe, "t"))
    found = {}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled_sums, "COMPILED_FROM", 1)
    for switch, threads in (("0", 1), ("1", 1), ("1", 3)):
        monkeypatch.setenv("E2LM_COMPILED_SUMS", switch)
        output = tmp_path / f"{switch}-{threads}"
        merge_to_folder(plan, output, threads)
        found[switch, threads] = {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(output.iterdir())}
        assert compiled_sums.library_file().is_file() == (switch == "1")
    assert len({str(digests) for digests in found.values()}) == 1


def test_nothing_is_compiled_for_a_small_merge_or_when_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiled_sums.compiled_sums(compiled_sums.COMPILED_FROM - 1) is None
    monkeypatch.setenv("E2LM_COMPILED_SUMS", "0")
    assert compiled_sums.compiled_sums(10**12) is None
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("E2LM_COMPILED_SUMS")
    assert compiled_sums.compiled_sums(10**12) is not None
    # What is there is used for small merges too.
    assert compiled_sums.compiled_sums(1) is not None


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.sampled_from([1, 7, 2048, 2049, 5000]),
    shares=st.lists(st.sampled_from(SPECIAL_SHARES).map(lambda share: min(share, 3e38)), min_size=1, max_size=4),
    normalize=st.booleans(),
    wild=st.booleans(),
)
def test_totals_with_the_elected_sign_are_those_of_numpy(
    sums: CompiledSums, seed: int, count: int, shares: list[float], normalize: bool, wild: bool
) -> None:
    rng = np.random.default_rng(seed)
    deltas = [any_bits(rng, "F32", count, wild).view(np.float32) for _ in shares]
    for delta_N in deltas:
        delta_N[rng.random(count) < 0.5] = 0
    found = sums.elected_total(deltas, shares, normalize)
    expected_N = elected_total_([delta_N.copy() for delta_N in deltas], shares, normalize)
    assert (found is None) == (not np.isfinite(expected_N).all())
    if found is not None:
        np.testing.assert_array_equal(found.view(np.uint32), expected_N.view(np.uint32))


@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.one_of(st.integers(2, 70), st.sampled_from([2047, 2048, 2049, 4100])),
    rows=st.integers(1, 4),
    kinds=st.integers(1, 2**31 - 1),
    limits=st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2, unique=True).map(sorted),
)
@example(seed=0, columns=2, rows=1, kinds=1, limits=[0, 1])
@example(seed=0, columns=70, rows=4, kinds=3, limits=[0, 2**32 - 1])
def test_masks_by_rank_are_those_of_numpy(
    sums: CompiledSums, seed: int, columns: int, rows: int, kinds: int, limits: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    words_N = rng.integers(0, 2**32, rows * columns, dtype=np.uint32)
    near = rng.random(rows * columns) < 0.5
    words_N[near] = rng.integers(limits[0], limits[1] + 1, int(near.sum()), dtype=np.uint32)
    magnitudes_N = rng.integers(0, kinds, rows * columns, dtype=np.int32)
    ordered_N = np.sort(magnitudes_N.reshape(rows, columns), axis=1).reshape(-1)
    low, high = limits
    expected_N = rank_mask(words_N, magnitudes_N, ordered_N, columns, low, high)
    np.testing.assert_array_equal(sums.rank_mask(words_N, magnitudes_N, ordered_N, columns, low, high), expected_N)
    assert np.all(expected_N[words_N < low])
    assert not np.any(expected_N[words_N >= high])


@pytest.mark.parametrize(
    "compiler", ["a-compiler-that-is-not-there", "false", "true", "cc -x nonsense", "cc 'unclosed"]
)
def test_without_a_compiler_that_works_numpy_does_it(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    assert compiled_sums.compiled_sums(10**12) is None
    assert not list(tmp_path.rglob("*.so"))


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled_sums.compiled_sums(10**12) is None


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(bits >> 16 & 1u)", "1u"),  # halfway cases away from zero
        ("number_at(pivot, kind, start + i) + total[i]", "number_at(pivot, kind, start + i) + total[i] * 1.0000001f"),
        ("(rows[0] + rows[1]) + (rows[2] + rows[3])", "rows[0] + (rows[1] + (rows[2] + rows[3]))"),
        ("? rank + 1 : 0", "? rank : 0"),
        ("sign[i] >= 0 ?", "sign[i] > 0 ?"),
        ("divisor[i] += agreeing > 0 ? weight : 0", "divisor[i] += weight"),
    ],
)
def test_a_library_that_does_not_give_the_bits_of_numpy_is_not_used(
    right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = compiled_sums.SOURCE_FILE.read_text()
    assert right in text
    changed = tmp_path / "weighted_sums.c"
    changed.write_text(text.replace(right, wrong))
    monkeypatch.setattr(compiled_sums, "SOURCE_FILE", changed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert compiled_sums.compiled_sums(10**12) is None
    assert compiled_sums.library_file().is_file()


def test_a_library_that_others_may_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled_sums.compile_to(compiled_sums.library_file())
    compiled_sums.library_file().chmod(0o777)
    assert compiled_sums.compiled_sums(10**12) is None
    compiled_sums.library_file().write_bytes(b"not a library")
    compiled_sums.library_file().chmod(0o700)
    assert compiled_sums.compiled_sums(10**12) is None
