"""Every family merged and scored in each of the four ways that there are, which have to agree.

To disk (``e2lm merge``, read by ``from_pretrained``), in memory inside lm-eval (``--model e2lm-merge``), along a run
(``e2lm eval RUN --merge``), and among other candidates (``e2lm merge sweep``): one mean of two checkpoints, one number.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.families.architectures import CONTEXT, model, write_checkpoint
from tests.families.scoring import scored, tokenizer

#: Nats by which a sum of log-probabilities may differ where batches are others.
NATS = 1e-4
QUESTIONS = (("w7 w8 w9", ("w5 w6", "w11")), ("w300 w2", ("w400 w17", "w8")), ("w12 w13 w14 w15", ("w9", "w5 w6 w7")))
TASK = {
    "task": "small", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "d.jsonl"}},
    "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{q}}", "doc_to_choice": "{{c}}",
    "doc_to_target": "{{a}}", "metric_list": [{"metric": "acc"}],
}  # fmt: skip
SPEC = "sma:window=2"


@dataclass(frozen=True)
class MergeResult:
    """How a family came out: ``fault`` is empty, or says which way failed and how."""

    name: str
    fault: str

    def __str__(self) -> str:
        return f"{self.name:20s} {self.fault or 'scored alike from disk, in memory, along a run and in a sweep'}"


def merged(name: str, folder: Path) -> MergeResult:
    """Two checkpoints of ``name`` are written into ``folder``, and their mean is scored in every way."""
    for step in (1, 2):
        place = write_checkpoint(folder / "run" / f"checkpoint-{step}00", model(name, seed=step))
        _write_tokenizer(place)
    models = [{"model": str(folder / "run" / f"checkpoint-{step}00")} for step in (1, 2)]
    config = _written(folder / "m.yml", {"merge_method": "linear", "models": models})
    pairs = [(question, f" {choice}") for question, choices in QUESTIONS for choice in choices]
    try:
        disk_R = _from_disk(config, folder / "out", pairs)
        faults = {
            "in memory": _far(_in_memory(config, pairs), disk_R),
            "along a run": _far(_along_the_run(folder), disk_R),
            "in a sweep": _far(_in_a_sweep(models, folder, pairs), _per_byte(pairs, disk_R)),
        }
    except Exception as error:
        return MergeResult(name, f"{type(error).__name__}: {error}"[:300])
    return MergeResult(name, "; ".join(f"{way}: {fault}" for way, fault in faults.items() if fault))


def _write_tokenizer(folder: Path) -> None:
    """Words, or bytes where transformers reads a family's tokenizer.json as byte-level BPE whatever it is (Qwen 2)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer().save_pretrained(folder)
    if AutoTokenizer.from_pretrained(folder).encode("w7 w8"):
        return
    known = {"<end>": 0, **{byte: 1 + place for place, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}}
    inner = Tokenizer(models.BPE(vocab=known, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>").save_pretrained(folder)


def _written(file: Path, data: dict[str, Any]) -> Path:
    file.write_text(json.dumps(data), encoding="utf-8")
    return file


def _command(*arguments: object) -> str:
    from e2lm.command_line import main

    told, failed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(failed):
        code = main([str(one) for one in arguments])
    if code:
        raise RuntimeError(f"e2lm {arguments[0]} {arguments[1]} ends with {code}: {failed.getvalue()[-200:]}")
    return told.getvalue()


def _far(found_R: np.ndarray, wanted_R: np.ndarray) -> str:
    if found_R.shape != wanted_R.shape:
        return f"{found_R.shape} numbers instead of {wanted_R.shape}"
    off = float(np.abs(found_R - wanted_R).max())
    return "" if off <= NATS else f"{off:.3g} nats off"


def _from_disk(config: Path, out: Path, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    from lm_eval.models.huggingface import HFLM

    _command("merge", config, out, "--quiet")
    return scored(HFLM(str(out), device="cpu", dtype="float32", max_length=CONTEXT), pairs)[0]


def _in_memory(config: Path, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    from e2lm_merge.output.lm_eval_model import E2lmMerge

    return scored(E2lmMerge(config=str(config), device="cpu", max_length=CONTEXT), pairs)[0]


def _along_the_run(folder: Path) -> np.ndarray:
    from e2lm.samples import read_samples

    data = folder / "d.jsonl"
    data.write_text("".join(json.dumps({"q": q, "c": list(c), "a": 0}) + "\n" for q, c in QUESTIONS))
    task = {**TASK, "dataset_kwargs": {"data_files": {"test": str(data)}}}
    _written(folder / "small.yaml", task)
    options = ("--include-path", folder, "--device", "cpu", "--model-args", "dtype=float32", "--quiet")
    _command("eval", folder / "run", "--merge", SPEC, "--tasks", "small", "--out", folder / "scores", *options)
    last = max(read_samples(folder / "scores" / "samples" / f"run+{SPEC}"), key=lambda one: one.step)
    return np.asarray(last.choices.loglik_IC).reshape(-1)


def _in_a_sweep(models: list[dict[str, str]], folder: Path, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    lines = [json.dumps({"context": context, "continuation": continuation}) for context, continuation in pairs]
    (folder / "items.jsonl").write_text("\n".join(lines))
    score = {"items": [str(folder / "items.jsonl")]}
    config = _written(folder / "s.yml", {"merge_method": "linear", "models": models, "score": score})
    told = json.loads(_command("merge", "sweep", config, "--grid", "normalize=true", "--json"))
    return np.array([row["value"] for row in told["rows"] if row["merge"] == "linear"])


def _per_byte(pairs: Sequence[tuple[str, str]], loglik_R: np.ndarray) -> np.ndarray:
    """The mean over the items that select, as a sweep tells it."""
    from e2lm_merge.search.items import HeldOutItem, split_items

    items = [HeldOutItem(*pair) for pair in pairs]
    chosen = split_items(items, 0.5).selection
    values = [loglik / item.bytes for item, loglik in zip(items, loglik_R, strict=True) if item in chosen]
    return np.array([np.mean(values)])


def study(names: Sequence[str]) -> int:
    """How many of ``names`` are scored alike in every way, each told as it comes."""
    passed = 0
    for name in names:
        with TemporaryDirectory() as folder:
            result = merged(name, Path(folder))
        print(result, flush=True)
        passed += not result.fault
    return passed
