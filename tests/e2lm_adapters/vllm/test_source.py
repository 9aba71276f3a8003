from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from e2lm import UserError
from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoints.difference import tokenizer_place
from e2lm_adapters.vllm.source import checkpoint_folder
from tests.e2lm_adapters.conftest import Run, no_model_is_built


@pytest.fixture
def hub_cache(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache with one repository: revision ``step10``, weights in ``sub``, the tokenizer above it."""
    repo = tmp_path / "hub" / "models--org--name"
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = repo / "snapshots" / commit
    shutil.copytree(tiny_llama, place / "sub")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (place / "sub" / name).rename(place / name)
    (repo / "refs").mkdir()
    (repo / "refs" / "step10").write_text(commit, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return place


def test_a_folder_is_itself_and_a_subfolder_lies_within_it(tiny_series: Path) -> None:
    assert checkpoint_folder(str(tiny_series), None, "checkpoint-10") == tiny_series / "checkpoint-10"
    assert checkpoint_folder(str(tiny_series / "checkpoint-20"), "ignored", None) == tiny_series / "checkpoint-20"
    assert tokenizer_place(tiny_series / "checkpoint-10") == tiny_series / "checkpoint-10"


def test_a_revision_and_a_subfolder_are_found_in_the_hubs_cache_without_a_network(hub_cache: Path) -> None:
    folder = checkpoint_folder("org/name", "step10", "sub")
    assert folder == hub_cache / "sub"
    assert tokenizer_place(folder) == hub_cache


def test_what_is_not_there_is_one_line(hub_cache: Path, tiny_series: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pretrained=org/name@step20: neither a folder nor a model on the Hub"):
        checkpoint_folder("org/name", "step20", None)
    with pytest.raises(UserError, match="no such folder"):
        checkpoint_folder(str(tmp_path / "nowhere"), None, None)
    with pytest.raises(UserError, match=r"no config.json, so no checkpoint; subfolder= may be one of checkpoint-0, "):
        checkpoint_folder(str(tiny_series), None, None)
    with pytest.raises(UserError, match=r"checkpoint-99: no config.json"):
        checkpoint_folder(str(tiny_series), None, "checkpoint-99")


# -- in e2lm eval, with a stand-in for the engine -----------------------------------------------------------------


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
@pytest.mark.parametrize(("model", "told"), [("e2lm-vllm", "pip install e2lm[vllm]"), ("vllm", "--model e2lm-vllm")])
def test_without_vllm_the_command_says_in_one_line_what_to_do(
    model: str, told: str, tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.modules.pop("e2lm_adapters.vllm.model", None)
    assert evaluate(tiny_series, "--quiet", "--model", model) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("e2lm: error: --model")
    assert told in line
    assert not (tmp_path / "out").exists()


def test_a_model_that_loads_checkpoints_itself_is_given_their_folders_and_closed(
    tiny_series: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from e2lm.live_weights import WeightSwapper
    from e2lm.results import read_scores
    from e2lm_adapters.eval import evaluator as checkpoint_evaluator
    from e2lm_adapters.scoring.hf import E2lmHf
    from e2lm_adapters.scoring.swap import stored_tensors

    assert evaluate(tiny_series, "--quiet", "--limit", 6, out=tmp_path / "plain") == 0
    seen: list[object] = []

    class Loading(E2lmHf):
        def load_checkpoint(self, folder: Path) -> None:
            seen.append(folder.name)
            index = read_weight_index(folder)
            WeightSwapper(self.model, index).swap(dict(stored_tensors(index)))

        def close(self) -> None:
            seen.append("closed")

    def built(_: object, folder: Path) -> Loading:
        return Loading(str(folder), device="cpu", dtype="float32", show_progress=False)

    monkeypatch.setattr(checkpoint_evaluator, "_built_model", built)
    assert evaluate(tiny_series, "--quiet", "--limit", 6) == 0
    assert seen == ["checkpoint-10", "checkpoint-20", "checkpoint-30", "closed"]
    tables = [read_scores(tmp_path / place).scores.frame for place in ("plain", "out")]
    assert tables[0].equals(tables[1])
    # and nothing is built where nothing is left to do
    no_model_is_built(monkeypatch)
    assert evaluate(tiny_series, "--quiet", "--limit", 6) == 0
