"""A series in one engine of a real vLLM, on the CPU. Skipped where vLLM is not installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2lm import Checkpoint, Series, UserError, hookimpl
from e2lm.command_line import main
from e2lm.plugin_manager import PluginRecord, plugin_manager
from e2lm.results import read_scores
from e2lm.samples import read_samples
from tests.e2lm_adapters.conftest import ROOT, instances, pairs_of_items, words, write_task

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (make test-vllm brings it)"),
    # Raised inside vLLM and what it imports:
    pytest.mark.filterwarnings("ignore::UserWarning:(?!e2lm).*", "ignore::SyntaxWarning", "ignore::ImportWarning"),
]

STEPS = (0, 10, 20, 30, 40)
CONTEXT = 256
#: vLLM's attention on CPUs wants heads of at least 32.
MODEL: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "initializer_range": 0.1,
}
#: Enough for everything here; vLLM writes zeros to all of it at every start.
CACHE_BYTES = 1 << 26
#: Largest difference in nats to lm-eval's ``hf`` in float32.
FLOAT32_DIFFERENCE = 1e-4


def write_llama(folder: Path, seed: int, tokenizer_files: dict[str, str], **special: Any) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    state = torch.get_rng_state()
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**{**MODEL, **special})).save_pretrained(folder)
    torch.set_rng_state(state)
    for name, text in tokenizer_files.items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_files: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("vllm") / "run"
    for step in STEPS:
        write_llama(folder / f"checkpoint-{step}", 200 + step, tiny_tokenizer_files)
    points = tuple(Checkpoint(step=step, tokens=step * 1024, path=f"checkpoint-{step}") for step in STEPS)
    Series(
        name="run", params=110_000, params_non_embedding=45_000, tokens_per_step=1024, data="docs", checkpoints=points
    ).write(folder)
    return folder


@pytest.fixture(scope="module")
def engine(run: Path) -> Iterator[Any]:
    """A live model that every test may swap weights into."""
    lm = started(run / "checkpoint-0")
    yield lm
    lm.close()


def started(folder: Path, **options: Any) -> Any:
    from e2lm_adapters.vllm.model import E2lmVllm

    defaults = {"dtype": "float32", "show_progress": False, "kv_cache_memory_bytes": CACHE_BYTES}
    return E2lmVllm(str(folder), **{**defaults, **options})


def scored_pairs() -> list[tuple[str, str]]:
    """Items alone and behind worked examples; one text is the context of another, and one prompt comes twice."""
    rng = np.random.default_rng(3)
    pairs = pairs_of_items(1, 12, (20, 40)) + pairs_of_items(2, 12, before=words(rng, 30) + "\n\n")
    context, continuation = pairs[0]
    pairs += [
        (context + continuation, " " + words(rng, 2)),
        (context[: len(context) // 2], context[len(context) // 2 :]),
    ]
    return [*pairs, pairs[5], ("", words(rng, 3))]


def everything(lm: Any) -> dict[str, Any]:
    """Log-likelihoods, whole texts and generations."""
    rng = np.random.default_rng(4)
    settings = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False}
    # Long enough for full cache blocks: what an engine remembers of old weights would show here.
    prompts = [(words(rng, 40), settings) for _ in range(8)]
    return {
        "pairs": lm.loglikelihood(instances("loglikelihood", scored_pairs()), disable_tqdm=True),
        "texts": lm.loglikelihood_rolling(
            instances("loglikelihood_rolling", [(words(rng, 150),), (words(rng, 9),)]), disable_tqdm=True
        ),
        "generated": lm.generate_until(instances("generate_until", prompts), disable_tqdm=True),
    }


@pytest.fixture(scope="module")
def fresh(run: Path) -> list[dict[str, Any]]:
    """What fresh engines say, one per checkpoint."""
    found = []
    for step in STEPS:
        lm = started(run / f"checkpoint-{step}")
        found.append(everything(lm))
        lm.close()
    return found


# -- one engine for a series --------------------------------------------------------------------------------------


def test_one_engine_says_of_every_checkpoint_exactly_what_a_fresh_one_says(
    run: Path, fresh: list[dict[str, Any]], engine: Any
) -> None:
    # forwards and back again: the first checkpoint must come out as before
    for index in [*range(len(STEPS)), 0]:
        engine.load_checkpoint(run / f"checkpoint-{STEPS[index]}")
        assert everything(engine) == fresh[index]
    assert len({str(one) for one in fresh}) == len(STEPS)
    assert (engine.loadings.in_place, engine.loadings.fresh) == (len(STEPS) + 1, 0)
    assert engine.comparison.largest_difference <= FLOAT32_DIFFERENCE


def test_log_likelihoods_and_greedy_flags_are_those_of_stock_hf(run: Path, fresh: list[dict[str, Any]]) -> None:
    from lm_eval.models.huggingface import HFLM

    stock = HFLM(str(run / "checkpoint-20"), device="cpu", dtype="float32", batch_size=1)
    stock.logits_cache = False
    theirs = stock.loglikelihood(instances("loglikelihood", scored_pairs()), disable_tqdm=True)
    ours = fresh[2]["pairs"]
    np.testing.assert_allclose([one[0] for one in ours], [one[0] for one in theirs], rtol=0, atol=FLOAT32_DIFFERENCE)
    assert [one[1] for one in ours] == [one[1] for one in theirs]


def test_a_greedy_continuation_is_flagged_and_one_that_ends_otherwise_is_not(run: Path, engine: Any) -> None:
    from e2lm_adapters.scoring.prefix_tree import TokenRequest

    engine.load_checkpoint(run / "checkpoint-10")
    context = tuple(range(40, 110))
    continuation: tuple[int, ...] = ()
    for _ in range(4):
        continuation += (engine.engine.warm([context + continuation])[0],)
    requests = [TokenRequest(context, continuation[:length]) for length in (1, 2, 3, 4)]
    requests += [TokenRequest(context, (*continuation[:2], continuation[2] ^ 1))]
    answers = engine._loglikelihood_tokens([(None, list(one.context), list(one.continuation)) for one in requests])
    assert [greedy for _, greedy in answers] == [True, True, True, True, False]


def test_contexts_are_shared_and_the_cache_is_read(run: Path, engine: Any) -> None:
    from e2lm_adapters.scoring.prefix_tree import TokenRequest
    from e2lm_adapters.vllm.scoring import Way

    engine.load_checkpoint(run / "checkpoint-0")
    requests = engine._encoder.pairs(scored_pairs())
    # contexts that others share, cut in the middle: their second halves come from the cache
    halves = [one.context for one in requests[:8:4]]
    requests = requests + [TokenRequest(one[: len(one) // 2], one[len(one) // 2 :]) for one in halves]
    scoring = engine._scoring(Way.RANKS)
    shared = scoring.answers(requests, lambda _: None)
    plain = engine._scoring(Way.PLAIN).answers(requests, lambda _: None)
    np.testing.assert_allclose([one[0] for one in shared], [one[0] for one in plain], rtol=0, atol=FLOAT32_DIFFERENCE)
    assert scoring.report.warmed >= 12
    assert len(halves) <= scoring.report.rescored < 0.2 * scoring.report.prompts


def test_where_the_ways_disagree_scoring_stays_plain_and_says_why(
    run: Path, engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from e2lm_adapters.vllm import engine as vllm_engine
    from e2lm_adapters.vllm.scoring import PromptScore, Way

    original = vllm_engine.prompt_score

    def wrong(output: Any, request: Any, way: Way) -> PromptScore:
        score = original(output, request, way)
        if way is Way.PLAIN:
            return score
        return PromptScore(tuple(one - 0.5 for one in score.logprobs_T or ()), score.greedy, score.cached_tokens)

    # What was right before is looked at again: with the weights of the moment it may show what it hid.
    engine.load_checkpoint(run / "checkpoint-10")
    engine.loglikelihood(instances("loglikelihood", scored_pairs()), disable_tqdm=True)
    monkeypatch.setattr(vllm_engine, "prompt_score", wrong)
    for name, value in (("_way", Way.RANKS), ("_why_plain", None)):
        monkeypatch.setattr(engine, name, value)
    engine.load_checkpoint(run / "checkpoint-0")
    found = engine.loglikelihood(instances("loglikelihood", scored_pairs()), disable_tqdm=True)
    assert engine._way is Way.PLAIN
    why = "scored plainly: shared contexts differ from plain scoring by"
    assert f"e2lm-vllm: {why}" in caplog.text
    assert engine.fallbacks[-1].startswith(why)
    monkeypatch.undo()
    again = engine.loglikelihood(instances("loglikelihood", scored_pairs()), disable_tqdm=True)
    np.testing.assert_allclose([one[0] for one in found], [one[0] for one in again], rtol=0, atol=FLOAT32_DIFFERENCE)


def test_a_request_that_cannot_be_scored_costs_itself(
    run: Path, engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine.load_checkpoint(run / "checkpoint-0")
    pairs = [*scored_pairs()[:4], ("a context", ""), ("a context", " word" * 400)]
    with pytest.raises(UserError, match="a request without tokens cannot be scored"):
        engine.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    monkeypatch.setattr(engine, "raises_if_not_finite", False)
    answers = engine.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert answers[4:] == [(-np.inf, False)] * 2
    assert engine.continuation_tokens_of(pairs)[4:] == [0, 0]
    assert "e2lm-vllm cannot score 2 of 6 requests: a request without tokens" in caplog.text
    alone = engine.loglikelihood(instances("loglikelihood", pairs[:4]), disable_tqdm=True)
    np.testing.assert_allclose(
        [one for one, _ in answers[:4]], [one for one, _ in alone], rtol=0, atol=FLOAT32_DIFFERENCE
    )


# -- weights that no file holds -----------------------------------------------------------------------------------


def test_weights_in_memory_are_scored_as_a_checkpoint_that_holds_them(run: Path, engine: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    first, second = (load_file(run / f"checkpoint-{step}" / "model.safetensors") for step in (10, 20))
    average = {name: (tensor + second[name]) / 2 for name, tensor in first.items()}
    written = tmp_path / "average"
    shutil.copytree(run / "checkpoint-10", written)
    save_file(average, written / "model.safetensors", metadata={"format": "pt"})
    engine.swap(average)
    in_memory = everything(engine)
    engine.load_checkpoint(run / "checkpoint-0")
    engine.load_checkpoint(written)
    assert everything(engine) == in_memory


def test_weights_of_another_model_are_refused_and_change_nothing(
    run: Path, fresh: list[dict[str, Any]], engine: Any, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    engine.load_checkpoint(run / "checkpoint-30")
    weights = load_file(run / "checkpoint-0" / "model.safetensors")
    with pytest.raises(UserError, match=r"'model.norm.weight' has shape \[32\], the model \[64\]"):
        engine.swap({**weights, "model.norm.weight": torch.ones(32)})
    with pytest.raises(UserError, match="'odd' is extra"):
        engine.swap({**weights, "odd": torch.ones(1)})
    folder = tmp_path / "other"
    shutil.copytree(run / "checkpoint-0", folder)
    save_file({**weights, "model.norm.weight": torch.ones(32)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"'model.norm.weight' has shape \[32\]"):
        engine.load_checkpoint(folder)
    assert everything(engine) == fresh[3]


def test_a_tensor_that_no_file_holds_any_more_is_heard_of_though_vllm_logs_nothing(
    run: Path, engine: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    from e2lm_adapters.vllm.engine import SwapFailedError

    engine.load_checkpoint(run / "checkpoint-0")
    folder = tmp_path / "less"
    shutil.copytree(run / "checkpoint-0", folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SwapFailedError, match=r"vLLM warned when it replaced the weights .*RMSNorm: Failed to load"):
        engine.engine.load_folder(folder)
    assert "Failed to load" not in "".join(capfd.readouterr())
    engine.load_checkpoint(run / "checkpoint-0")


def test_before_training_all_tokens_are_alike_and_the_first_is_the_greedy_one(
    run: Path, tmp_path: Path, engine: Any
) -> None:
    from safetensors.torch import load_file, save_file

    from e2lm_adapters.scoring.prefix_tree import TokenRequest
    from e2lm_adapters.vllm.scoring import Way

    zero = tmp_path / "checkpoint-0"
    shutil.copytree(run / "checkpoint-0", zero)
    weights = load_file(zero / "model.safetensors")
    weights["lm_head.weight"][:] = 0
    save_file(weights, zero / "model.safetensors", metadata={"format": "pt"})
    engine.load_checkpoint(zero)
    context = tuple(range(40, 80))
    requests = [TokenRequest(context, tokens) for tokens in ((0,), (0, 0), (0, 7), (7,), (511, 0))]
    for way in (Way.PLAIN, Way.RANKS):
        answers = engine._scoring(way).answers(requests, lambda _: None)
        assert [greedy for _, greedy in answers] == [True, True, False, False, False], way
    truth = engine._transformers.truth(zero, requests)
    assert list(truth.greedy) == [True, True, False, False, False]
    engine.load_checkpoint(run / "checkpoint-0")


def test_verify_holds_answers_against_transformers_and_not_against_the_engine_itself(
    run: Path, engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine.load_checkpoint(run / "checkpoint-0")
    monkeypatch.setattr(engine, "_verify", 6)
    requests = instances("loglikelihood", scored_pairs())
    engine.loglikelihood(requests, disable_tqdm=True)
    assert engine.comparison.largest_difference <= FLOAT32_DIFFERENCE
    assert engine.failed_verifications == []
    # weights that were exchanged behind its back: both ways of the engine agree, and both are wrong
    engine.engine.load_folder(run / "checkpoint-20")
    monkeypatch.setattr(engine.engine, "folder", run / "checkpoint-0")
    with pytest.raises(UserError, match=r"verify: .*vLLM computes otherwise than transformers"):
        engine.loglikelihood(requests, disable_tqdm=True)
    monkeypatch.setattr(engine, "raises_if_not_finite", False)
    engine.loglikelihood(requests, disable_tqdm=True)
    assert len(engine.failed_verifications) == 2
    assert engine.failed_verifications[0].largest_difference > 0.1
    monkeypatch.undo()
    engine.failed_verifications.clear()
    engine.load_checkpoint(run / "checkpoint-0")


# Engines of their own: when one of several in a process ends, vLLM (0.32) takes the groups of workers of all away.


def test_where_vllm_kept_the_old_weights_a_fresh_engine_is_started(
    run: Path, fresh: list[dict[str, Any]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = started(run / "checkpoint-0")
    everything(lm)
    monkeypatch.setattr(lm.model, "collective_rpc", lambda *_, **__: None)
    lm.load_checkpoint(run / "checkpoint-40")
    assert everything(lm) == fresh[4]
    lm.close()
    assert "replaced in place, its weights answer otherwise than in transformers" in caplog.text
    assert (lm.loadings.in_place, lm.loadings.fresh) == (0, 1)
    assert lm.fallbacks == lm.loadings.notes


def test_another_rope_needs_another_engine_and_so_does_another_type(
    run: Path, fresh: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    half = tmp_path / "checkpoint-60"
    shutil.copytree(run / "checkpoint-40", half)
    weights = {name: one.to(torch.bfloat16) for name, one in load_file(half / "model.safetensors").items()}
    save_file(weights, half / "model.safetensors", metadata={"format": "pt"})
    changed(half / "config.json", dtype="bfloat16")
    longer = tmp_path / "checkpoint-50"
    shutil.copytree(half, longer)
    changed(longer / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    lm = started(run / "checkpoint-40", dtype="auto")
    assert "stored in float32, but vLLM computes it in bfloat16; dtype=float32 computes it as it is" in caplog.text
    before = everything(lm)
    lm.load_checkpoint(half)
    assert "dtype in config.json is another than in checkpoint-40" in lm.loadings.notes[0]
    assert everything(lm)["generated"] == before["generated"]
    lm.load_checkpoint(longer)
    assert any("rope_parameters in config.json is another" in note for note in lm.loadings.notes)
    assert everything(lm)["pairs"] != before["pairs"]
    assert lm.loadings.fresh == 2
    lm.close()


def changed(path: Path, **entries: object) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**found, **entries}), encoding="utf-8")


def test_a_checkpoint_with_another_tokenizer_is_read_with_its_own(
    run: Path, fresh: list[dict[str, Any]], tmp_path: Path
) -> None:
    from lm_eval.models.huggingface import HFLM

    other = tmp_path / "checkpoint-50"
    shutil.copytree(run / "checkpoint-10", other)
    text = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    # every text now begins with token 0
    text["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    (other / "tokenizer.json").write_text(json.dumps(text), encoding="utf-8")
    lm = started(run / "checkpoint-0")
    assert everything(lm) == fresh[0]
    lm.load_checkpoint(other)
    assert lm.loadings.notes == [
        "scored in a fresh engine: checkpoint-50: post_processor in tokenizer.json is another than in checkpoint-0"
    ]
    ours = everything(lm)["pairs"]
    stock = HFLM(str(other), device="cpu", dtype="float32", batch_size=1)
    stock.logits_cache = False
    theirs = stock.loglikelihood(instances("loglikelihood", scored_pairs()), disable_tqdm=True)
    np.testing.assert_allclose([one[0] for one in ours], [one[0] for one in theirs], rtol=0, atol=FLOAT32_DIFFERENCE)
    # and back, in another engine again
    lm.load_checkpoint(run / "checkpoint-10")
    assert everything(lm) == fresh[1]
    lm.close()


# -- the commands -------------------------------------------------------------------------------------------------


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., int]:
    """Runs ``e2lm eval --model e2lm-vllm`` in this process."""
    write_task(tmp_path / "tasks")

    def run(*options: object, model: str = "e2lm-vllm", extra: str = "", out: Path = tmp_path / "out") -> int:
        arguments = ["eval", "--tasks", "small", "--include-path", tmp_path / "tasks", "--out", out, "--quiet"]
        cache = f",kv_cache_memory_bytes={CACHE_BYTES}" if model == "e2lm-vllm" else ""
        arguments += ["--model", model, "--model-args", f"dtype=float32{cache}{extra}", "--device", "cpu"]
        return main([*map(str, arguments), *map(str, options)])

    return run


def test_the_command_gives_the_scores_that_e2lm_hf_gives(
    run: Path, tmp_path: Path, evaluate: Callable[..., int]
) -> None:
    assert evaluate(run) == 0
    assert evaluate(run, model="e2lm-hf", out=tmp_path / "hf") == 0
    ours, theirs = ({one.step: one for one in read_samples(tmp_path / place / "samples")} for place in ("out", "hf"))
    assert sorted(ours) == list(STEPS)
    for step in STEPS:
        np.testing.assert_allclose(
            ours[step].choices.loglik_IC, theirs[step].choices.loglik_IC, rtol=0, atol=FLOAT32_DIFFERENCE
        )
        np.testing.assert_array_equal(ours[step].greedy_IC, theirs[step].greedy_IC)
    tables = [
        read_scores(tmp_path / place).scores.frame.set_index(["metric", "step"])["value"] for place in ("out", "hf")
    ]
    for metric in ("acc", "acc_norm", "acc_bytes"):
        assert tables[0][metric].to_dict() == tables[1][metric].to_dict()


def without_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("own_process", [False, True], ids=["in this process", "in a process of its own"])
def test_a_checkpoint_that_lacks_a_weight_costs_itself_first_or_later(
    own_process: bool, run: Path, tmp_path: Path, evaluate: Callable[..., int], tiny_tokenizer_files: dict[str, str]
) -> None:
    lacking = tmp_path / "run"
    for step in (0, 10, 20, 30):
        shutil.copytree(run / f"checkpoint-{step}", lacking / f"checkpoint-{step}")
    for step in (0, 20):
        without_a_weight(lacking / f"checkpoint-{step}")
    # The engine is started afresh for this one, and does not come up.
    changed(lacking / "checkpoint-20" / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    assert evaluate(lacking, extra=f",engine_process={own_process}") == 0
    left_out = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["left_out"]
    assert [one["what"] for one in left_out] == ["run step 0", "run step 20"]
    assert all("no tensor is stored for the parameter 'model.norm.weight'" in one["why"] for one in left_out)
    ours = {one.step: one for one in read_samples(tmp_path / "out" / "samples")}
    assert sorted(ours) == [10, 30]
    assert evaluate(run, out=tmp_path / "whole") == 0
    whole = {one.step: one for one in read_samples(tmp_path / "whole" / "samples")}
    for step, samples in ours.items():
        np.testing.assert_array_equal(samples.choices.loglik_IC, whole[step].choices.loglik_IC)


def test_that_and_why_contexts_are_not_shared_is_in_the_record_of_every_checkpoint(
    run: Path, tmp_path: Path, evaluate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(run, extra=",enable_prefix_caching=False") == 0
    notes = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["notes"]
    assert [(one["what"], one["why"]) for one in notes] == [
        ("run, steps 0, 10, 20, 30 ... 40", "scored plainly: the prefix cache is off")
    ]
    assert "scored plainly: the prefix cache is off" in capsys.readouterr().err


class Killer:
    """Kills the engine's process after some checkpoints."""

    def __init__(self, steps: Sequence[int]) -> None:
        self.steps = steps
        self.killed: list[int] = []

    @hookimpl
    def e2lm_after_checkpoint_scored(self, checkpoint: Any) -> None:
        import psutil

        if checkpoint.step in self.steps:
            children = psutil.Process().children(recursive=True)
            (engine,) = [child for child in children if "EngineCore" in " ".join([child.name(), *child.cmdline()])]
            os.kill(engine.pid, signal.SIGKILL)
            engine.wait()
            self.killed.append(checkpoint.step)


def test_a_killed_engine_is_started_again_once_and_the_second_death_keeps_what_was_done(
    run: Path, tmp_path: Path, evaluate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(run, out=tmp_path / "whole") == 0
    killer = Killer((0, 20))
    manager = plugin_manager()
    record = PluginRecord(name="killer", distribution="tests", version="1")
    manager.register(killer, record)
    try:
        code = evaluate(run, extra=",engine_process=True")
    finally:
        manager._pluggy.unregister(killer)
        manager.records.remove(record)
    assert killer.killed == [0, 20]
    assert code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("e2lm: error:")]
    assert "died 2 times" in line
    assert "what was finished is kept, the same command goes on" in line
    whole, kept = ({one.step: one for one in read_samples(tmp_path / place / "samples")} for place in ("whole", "out"))
    assert sorted(kept) == [0, 10, 20]
    for step, samples in kept.items():
        np.testing.assert_array_equal(samples.choices.loglik_IC, whole[step].choices.loglik_IC)


def test_a_model_that_vllm_cannot_run_is_one_line(
    tiny_series: Path, evaluate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tiny_series) == 2  # heads of 16
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("e2lm: error:")]
    assert "vLLM cannot run this model (RuntimeError: Unsupported CPU attention configuration: head_dim=16" in line


def test_arguments_that_cannot_be_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        started(tmp_path / "nowhere")
    with pytest.raises(UserError, match="keeps one engine"):
        started(run / "checkpoint-0", data_parallel_size=2)
    with pytest.raises(UserError, match="several workers need processes of their own"):
        started(run / "checkpoint-0", tensor_parallel_size=2, engine_process=False)
    with pytest.raises(UserError, match="does not start"):
        started(run / "checkpoint-0", max_model_len=100_000)
    with pytest.raises(UserError, match=r"does not start.*no_such_option"):
        started(run / "checkpoint-0", no_such_option=1)


def test_the_stock_command_takes_a_subfolder(run: Path, tmp_path: Path) -> None:
    write_task(tmp_path / "tasks")
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "e2lm-vllm", "--tasks", "small", "--limit", "6"]
    command += ["--model_args", f"pretrained={run},subfolder=checkpoint-30,dtype=float32,verify=5"]
    command += ["--include_path", str(tmp_path / "tasks"), "--output_path", str(tmp_path / "out"), "--log_samples"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "e2lm-vllm verify" in done.stderr
    (samples,) = (tmp_path / "out").rglob("samples_small_*.jsonl")
    found = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    assert len(found) == 6
    from lm_eval.models.huggingface import HFLM

    stock = HFLM(str(run / "checkpoint-30"), device="cpu", dtype="float32", batch_size=1)
    pairs = [(given["arg_0"], given["arg_1"]) for item in found for given in item["arguments"].values()]
    theirs = [one[0] for one in stock.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)]
    ours = [float(response[0][0]) for item in found for response in item["resps"]]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=FLOAT32_DIFFERENCE)
