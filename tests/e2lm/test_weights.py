"""The header of a safetensors file is read as it is, and anything else is a mistake that names the file."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from e2lm import UserError
from e2lm.weights import SHARD_INDEX, SINGLE_FILE, read_weight_index, weights_hash

TENSORS = {
    "model.embed_tokens.weight": np.arange(6, dtype=np.float32).reshape(3, 2),
    "model.layers.0.mlp.weight": np.arange(8, dtype=np.float16).reshape(2, 4),
    "scalar": np.array(7.0, dtype=np.float64),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "lm_head.weight": np.ones((3, 2), dtype=np.float32),
}


def with_header(header: Any, payload: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + payload


def index_of(content: bytes) -> Any:
    """The index of a checkpoint whose one file holds ``content``, or the text of the mistake."""
    with TemporaryDirectory() as name:
        (Path(name) / SINGLE_FILE).write_bytes(content)
        try:
            return read_weight_index(Path(name))
        except UserError as error:
            return str(error)


def test_names_shapes_types_and_bytes_are_those_of_the_safetensors_library(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / SINGLE_FILE, metadata={"format": "pt"})
    index = read_weight_index(tmp_path)
    assert index.shapes == {name: array.shape for name, array in TENSORS.items()}
    assert index.tensors["model.layers.0.mlp.weight"].dtype == "F16"
    raw = (tmp_path / SINGLE_FILE).read_bytes()
    for name, array in load_file(tmp_path / SINGLE_FILE).items():
        stored = index.tensors[name]
        assert raw[stored.start : stored.end] == array.tobytes()
    assert index.params == 6 + 8 + 1 + 0 + 6
    assert index.params_non_embedding == 8 + 1


@pytest.mark.parametrize(
    ("name", "embedding"),
    [
        ("transformer.wte.weight", True),
        ("transformer.wpe.weight", True),
        ("gpt_neox.embed_in.weight", True),
        ("embed_out.weight", True),
        ("roberta.embeddings.word_embeddings.weight", True),
        ("model.layers.0.self_attn.q_proj.weight", False),
        ("model.my_lm_head_probe.weight", False),
    ],
)
def test_embeddings_are_told_by_a_whole_part_of_the_name(tmp_path: Path, name: str, embedding: bool) -> None:
    save_file({name: np.ones(5, np.float32), "other": np.ones(2, np.float32)}, tmp_path / SINGLE_FILE)
    assert read_weight_index(tmp_path).params_non_embedding == (2 if embedding else 7)


def write_shards(folder: Path, tensors: dict[str, dict[str, np.ndarray[Any, Any]]], index: Any = None) -> None:
    for file, content in tensors.items():
        save_file(content, folder / file)
    mapped = {name: file for file, content in tensors.items() for name in content}
    (folder / SHARD_INDEX).write_text(json.dumps({"weight_map": mapped} if index is None else index), encoding="utf-8")


def test_shards_are_read_together(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a.safetensors": {"x": np.ones(2)}, "b.safetensors": {"y": np.ones((3, 3))}})
    index = read_weight_index(tmp_path)
    assert [file.name for file in index.files] == ["a.safetensors", "b.safetensors"]
    assert index.shapes == {"x": (2,), "y": (3, 3)}


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a.safetensors": {"x": np.ones(2)}, "b.safetensors": {"y": np.ones(3)}})
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"shard b\.safetensors is missing \(2 are listed"):
        read_weight_index(tmp_path)


def test_a_tensor_in_two_shards_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a.safetensors": {"x": np.ones(2)}, "b.safetensors": {"x": np.ones(3)}})
    (tmp_path / SHARD_INDEX).write_text(
        json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"b\.safetensors: tensor 'x' is also in a\.safetensors"):
        read_weight_index(tmp_path)


@pytest.mark.parametrize("place", ["../outside.safetensors", "deep/inside.safetensors", "/etc/passwd", ""])
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (tmp_path / "outside.safetensors").write_bytes(b"")
    write_shards(folder, {}, {"weight_map": {"x": place}})
    with pytest.raises(UserError, match="lies outside the checkpoint folder"):
        read_weight_index(folder)


@pytest.mark.parametrize(
    "index", [[], {}, {"weight_map": []}, {"weight_map": {"x": []}}, {"weight_map": {"x": 1, "y": "a"}}]
)
def test_what_is_no_shard_index_is_refused(tmp_path: Path, index: Any) -> None:
    write_shards(tmp_path, {}, index)
    with pytest.raises(UserError, match="not a shard index"):
        read_weight_index(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_damaged_shard_index_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SHARD_INDEX).write_bytes(content)
    with pytest.raises(UserError, match="not a shard index"):
        read_weight_index(tmp_path)


def test_a_folder_without_weights_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights; expected model\.safetensors or"):
        read_weight_index(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"only pytorch_model\.bin was found, and pickled weights can run code"):
        read_weight_index(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json is missing beside model-00001-of-00002"):
        read_weight_index(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 7, 8, 20])
def test_a_file_that_is_cut_in_its_header_is_a_mistake(tmp_path: Path, kept: int) -> None:
    save_file(TENSORS, tmp_path / SINGLE_FILE)
    raw = (tmp_path / SINGLE_FILE).read_bytes()
    assert "damaged" in index_of(raw[:kept])


def test_a_file_that_is_cut_in_its_numbers_is_a_mistake(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / SINGLE_FILE)
    raw = (tmp_path / SINGLE_FILE).read_bytes()
    assert f"cut short, {len(raw) - 1} of {len(raw)} bytes are there" in index_of(raw[:-1])


def test_a_file_without_tensors_is_a_mistake() -> None:
    assert "holds no tensors" in index_of(with_header({"__metadata__": {"format": "pt"}}))


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"x": 1},
        {"x": {}},
        {"x": ENTRY | {"shape": 3}},
        {"x": ENTRY | {"shape": [-2]}},
        {"x": ENTRY | {"shape": [float("inf")]}},
        {"x": ENTRY | {"data_offsets": []}},
        {"x": ENTRY | {"data_offsets": [8, 0]}},
        {"x": ENTRY | {"data_offsets": [-8, 0]}},
        {"x": ENTRY | {"data_offsets": [0, None]}},
        b"\xff\xff",
        b"[" * 100_000,
    ],
)
def test_a_header_that_means_nothing_is_a_mistake(header: Any) -> None:
    said = index_of(with_header(header, b"\0" * 8))
    assert isinstance(said, str)
    assert SINGLE_FILE in said


@given(st.binary(max_size=300))
def test_random_bytes_are_a_mistake_of_the_user(content: bytes) -> None:
    assert isinstance(index_of(content), str)


@given(st.binary(max_size=300))
def test_random_bytes_in_the_header_are_a_mistake_of_the_user(header: bytes) -> None:
    assert isinstance(index_of(with_header(header)), str)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.text(max_size=5),
        ANYTHING
        | st.fixed_dictionaries(
            {"dtype": ANYTHING, "shape": st.lists(ANYTHING) | ANYTHING, "data_offsets": st.lists(ANYTHING) | ANYTHING}
        ),
        max_size=3,
    )
)
def test_any_json_in_the_header_is_an_index_within_the_file_or_a_mistake_of_the_user(header: dict[str, Any]) -> None:
    content = with_header(header, b"\0" * 64)
    index = index_of(content)
    if not isinstance(index, str):
        assert all(0 <= tensor.start <= tensor.end <= len(content) for tensor in index.tensors.values())
        assert index.params >= 0


def test_the_hash_tells_bytes_apart_and_not_places(tmp_path: Path) -> None:
    hashes = []
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        (tmp_path / name).mkdir()
        save_file({"x": np.full(3, value)}, tmp_path / name / SINGLE_FILE)
        hashes.append(weights_hash(read_weight_index(tmp_path / name)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_later_save_in_one_file_beside_older_shards_is_what_is_read_as_by_from_pretrained(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model-00001-of-00001.safetensors")
    mapped = dict.fromkeys(TENSORS, "model-00001-of-00001.safetensors")
    (tmp_path / SHARD_INDEX).write_text(json.dumps({"weight_map": mapped}), encoding="utf-8")
    assert [file.name for file in read_weight_index(tmp_path).files] == ["model-00001-of-00001.safetensors"]
    save_file(TENSORS, tmp_path / SINGLE_FILE)
    assert [file.name for file in read_weight_index(tmp_path).files] == [SINGLE_FILE]
