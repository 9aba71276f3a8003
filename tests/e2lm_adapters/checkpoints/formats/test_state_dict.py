"""State dicts of trainers become the very model that was trained, or are refused in one line."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

from e2lm import UserError
from e2lm.weights import SINGLE_FILE
from e2lm_adapters.checkpoints.formats.distributed import distributed_shapes, distributed_tensors, why_pieces_missing
from e2lm_adapters.checkpoints.formats.state_dict import (
    check_file,
    check_nanogpt,
    family_names,
    write_distributed,
    write_file,
    write_nanogpt,
)
from e2lm_adapters.checkpoints.formats.torch_file import inspected, shapes_in, why_not_whole
from tests.e2lm_adapters.checkpoints.layouts import (
    NANO,
    nano_weights,
    tiny_config,
    write_dcp,
    write_gpt2_config,
    write_lightning,
    write_state_dict,
)
from tests.e2lm_adapters.checkpoints.layouts import (
    write_nanogpt as write_nano_sample,
)


@pytest.mark.parametrize(
    ("sample", "write"),
    [(write_lightning, write_file), (write_state_dict, write_file), (write_dcp, write_distributed)],
)
def test_the_weights_come_out_as_they_were_under_the_names_of_the_family(
    sample: Callable[[Path], Path], write: Callable[..., None], tmp_path: Path
) -> None:
    place, config = sample(tmp_path / "checkpoint-20"), tiny_config(tmp_path / "config")
    write(place, tmp_path / "out", config, None)
    expected, found = load_file(config / SINGLE_FILE), load_file(tmp_path / "out" / SINGLE_FILE)
    assert {name: one.numpy().tobytes() for name, one in found.items()} == {
        name: one.numpy().tobytes() for name, one in expected.items()
    }
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def nano_logits_BTV(weights: dict[str, torch.Tensor], ids_BT: torch.Tensor) -> torch.Tensor:
    """The forward pass of nanoGPT's model.py, written out."""
    wide, heads = NANO["n_embd"], NANO["n_head"]
    length = ids_BT.shape[1]
    x = weights["transformer.wte.weight"][ids_BT] + weights["transformer.wpe.weight"][:length]
    for layer in range(NANO["n_layer"]):
        own = {name.split(f".h.{layer}.")[1]: one for name, one in weights.items() if f".h.{layer}." in name}
        y = functional.layer_norm(x, (wide,), own["ln_1.weight"], None, 1e-5)
        parts = (y @ own["attn.c_attn.weight"].T).split(wide, dim=2)
        q, k, v = (one.view(1, length, heads, wide // heads).transpose(1, 2) for one in parts)
        mixed = (
            functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(1, length, wide)
        )
        x = x + mixed @ own["attn.c_proj.weight"].T
        y = functional.layer_norm(x, (wide,), own["ln_2.weight"], None, 1e-5)
        x = x + functional.gelu(y @ own["mlp.c_fc.weight"].T) @ own["mlp.c_proj.weight"].T
    x = functional.layer_norm(x, (wide,), weights["transformer.ln_f.weight"], None, 1e-5)
    return x @ weights["lm_head.weight"].T


def test_a_model_of_nanogpt_says_the_same_in_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    place, config = write_nano_sample(tmp_path / "checkpoint-20"), write_gpt2_config(tmp_path / "config")
    write_nanogpt(place, tmp_path / "out", config, None)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    ids_BT = torch.randint(0, 512, (1, 20), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model(ids_BT).logits, nano_logits_BTV(nano_weights(), ids_BT), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation_function": "gelu_new"}, "exact GELU"),
        ({"n_head": 2}, "n_head=4"),
        ({"n_layer": 3}, "n_layer=2"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-5, found 1e-06"),
        ({"n_positions": 64}, r"wpe.weight' has shape \[32, 16\], .* \[64, 16\]"),
    ],
)
def test_a_config_that_is_not_of_this_nanogpt_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    place, config = write_nano_sample(tmp_path / "checkpoint-20"), write_gpt2_config(tmp_path / "config", **change)
    with pytest.raises(UserError, match=said):
        check_nanogpt(place, None, config, None)


FAMILY = {"model.a.weight": (2, 3), "model.b.weight": (3,), "head.weight": (2, 3)}
TIED = {"head.weight": "model.a.weight"}
BEFORE = st.lists(st.sampled_from(["module.", "model.", "_forward_module.", "_orig_mod.", "state_dict."]), max_size=3)


@given(BEFORE.map("".join), st.booleans(), st.booleans())
def test_any_prefix_of_wrappers_comes_off_and_names_stay_apart(prefix: str, compiled: bool, stores_head: bool) -> None:
    wanted = {name: shape for name, shape in FAMILY.items() if stores_head or name != "head.weight"}
    middle = "model._fsdp_wrapped_module." if compiled else "model."
    stored = {prefix + name.replace("model.", middle, 1): shape for name, shape in wanted.items()}
    stored["optimizer.step"] = (1,)
    found = family_names(stored, FAMILY, TIED, "x.ckpt")
    assert set(found.values()) == set(wanted)
    assert all(name.replace(middle, "model.", 1).endswith(to) for name, to in found.items())


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"a.model.weight": (2, 3)}, "no tensor for 'model.a.weight'"),
        ({"module.model.a.weight": (2, 3)}, "no tensor for 'model.b.weight'"),
        ({"m.model.a.weight": (2, 3), "model.b.weight": (3,)}, "no tensor for 'model.a.weight'"),
        ({"model.a.weight": (3, 2), "model.b.weight": (3,)}, r"shape \[3, 2\]"),
        ({f"net.{name}": shape for name, shape in {**FAMILY, "model.c.weight": (1,)}.items()}, "'net.model.c.weight'"),
        ({**FAMILY, "model.c.weight": (1,)}, "'model.c.weight' is none of the model"),
        ({f"_orig_mod.{name}": shape for name, shape in {**FAMILY, "more": (9,)}.items()}, "'_orig_mod.more' is none"),
        (
            {name.replace("model.", "model._orig_mod."): (2, 3) for name in ("model.a.weight", "model.z.weight")}
            | {"model.b.weight": (3,)},
            "'model._orig_mod.z.weight' is none",
        ),
    ],
)
def test_what_does_not_fit_is_named(stored: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        family_names(stored, FAMILY, TIED, "x.ckpt")


def test_two_ends_that_the_family_shares_must_be_one(tmp_path: Path) -> None:
    place, config = write_nano_sample(tmp_path / "checkpoint-20"), write_gpt2_config(tmp_path / "config")
    check_nanogpt(place, None, config, None)
    stored = torch.load(place, weights_only=True)
    stored["model"]["_orig_mod.lm_head.weight"] = stored["model"]["_orig_mod.lm_head.weight"] * 2
    torch.save(stored, place)
    for check in (check_nanogpt, write_nanogpt):
        with pytest.raises(UserError, match=r"hold different numbers, and by config\.json the model"):
            check(place, tmp_path / "out", config, None)  # type: ignore[arg-type]


class Evil:
    """Writes a file where somebody unpickles it as pickles are."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.file), "w")


def test_a_file_that_would_run_code_runs_none_when_looked_at_and_is_refused_when_read(tmp_path: Path) -> None:
    file, mark = tmp_path / "model.pth", tmp_path / "ran"
    torch.save({"a": torch.ones(2, 3), "evil": Evil(mark)}, file)
    assert shapes_in(inspected(file)) == {"a": (2, 3)}
    with pytest.raises(UserError, match="weights_only"):
        check_file(file, None, tiny_config(tmp_path / "config"), None)
    assert not mark.exists()
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp" / ".metadata").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(UserError, match="not the table"):
        distributed_shapes(tmp_path / "dcp")
    assert not mark.exists()


@given(st.data())
@settings(max_examples=15)
def test_shapes_are_those_that_torch_loads(data: st.DataObject) -> None:
    shapes = data.draw(st.dictionaries(st.text(min_size=1, max_size=5), st.lists(st.integers(0, 4), max_size=3)))
    kinds = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.int64]))
    stored = {name: torch.nn.Parameter(torch.zeros(shape, dtype=kinds), False) for name, shape in shapes.items()}
    stream = io.BytesIO()
    torch.save({"model": stored, "iter_num": 3}, stream)
    with zipfile.ZipFile(stream) as archive:
        assert any(name.endswith("data.pkl") for name in archive.namelist())
    file = Path(data.draw(st.just("x.pt")))
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        place = Path(folder) / file
        place.write_bytes(stream.getvalue())
        found = inspected(place)
        assert found["iter_num"] == 3
        assert shapes_in(found["model"]) == {name: tuple(shape) for name, shape in shapes.items()}
        place.write_bytes(stream.getvalue()[: data.draw(st.integers(1, len(stream.getvalue()) - 23))])
        assert why_not_whole(place)


def test_pieces_of_a_distributed_checkpoint_are_put_together_as_torch_does(tmp_path: Path) -> None:
    """Two ranks' shards of one tensor, written as torch writes them, and a table that says where they are."""
    place = write_dcp(tmp_path / "checkpoint-20")
    shapes = distributed_shapes(place)
    expected = load_file(tmp_path / "dcp-model" / SINGLE_FILE)
    assert {name.removeprefix("model."): shape for name, shape in shapes.items() if name.startswith("model.model")} == {
        name: tuple(one.shape) for name, one in expected.items() if name.startswith("model.")
    }
    found = distributed_tensors(place, [f"model.{name}" for name in expected])
    assert all(torch.equal(found[f"model.{name}"], one) for name, one in expected.items())
    assert why_pieces_missing(place) == ""
    shard = next(place.glob("*.distcp"))
    shard.write_bytes(shard.read_bytes()[:-200])
    assert "cut short" in why_pieces_missing(place)
    shard.unlink()
    assert "is missing" in why_pieces_missing(place)
    (place / ".metadata").unlink()
    assert ".metadata" in why_pieces_missing(place)


def _save_as_rank(rank: int, place: Path, port: int) -> None:
    """Save half of a tensor as one of two ranks of FSDP does."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    whole = torch.arange(15, dtype=torch.float32).reshape(5, 3)
    dcp.save({"model": {"w": distribute_tensor(whole, mesh, [Shard(0)])}}, checkpoint_id=place)
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_tensor_in_shards_of_two_ranks_is_put_together(tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_save_as_rank, (tmp_path / "dcp", port), nprocs=2)  # type: ignore[no-untyped-call]
    found = distributed_tensors(tmp_path / "dcp", ["model.w"])["model.w"]
    assert torch.equal(found, torch.arange(15, dtype=torch.float32).reshape(5, 3))
