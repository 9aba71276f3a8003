"""The lines that the documentation shows for each trainer do what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from e2lm.command_line import main


def shown_lines(repository: Path) -> list[str]:
    text = (repository / "docs" / "curriculum.md").read_text(encoding="utf-8")
    section = text[text.index("## In a trainer of your own") : text.index("## Comparing:")]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_shown_lines_train(
    repository: Path, corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    online = {"difficulty": "length", "mode": "pool", "online": {"kind": "self-perplexity", "segments": 2}}
    Path("online.yml").write_text(json.dumps(online), encoding="utf-8")
    words = ["--corpus", str(corpus_file), "--steps", "4", "--batch", "2", "--sequence-length", "16"]
    for curriculum, out in (("sequence-length-warm-up", "PLAN"), ("online.yml", "ONLINE")):
        assert main(["train", "plan", *words, "--curriculum", curriculum, "--out", out]) == 0
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=4096, **shape))
    shown = []
    model.register_forward_pre_hook(
        lambda _, args, given: shown.append(list(given["input_ids"].shape)), with_kwargs=True
    )
    told = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    names: dict[str, Any] = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    names |= {"DataLoader": DataLoader, "Trainer": Trainer}
    names["TrainingArguments"] = lambda out, **given: TrainingArguments(out, **given, **told)
    blocks = shown_lines(repository)
    assert len(blocks) == 4
    for block in blocks:
        assert len(block.splitlines()) <= 5
        exec(block, names)
    assert sum(rows * length for rows, length in shown[:4]) == 4 * 2 * 16
    assert shown[:4] == shown[4:8] != [[2, 16]] * 4
    assert names["online"].planned.indices_SB.min() >= 0
