"""Random merge configs through mergekit and through e2lm: equal, refused with a reason, or a difference to mend.

    python benchmarks/merge_fuzz.py --configs 1000            # with mergekit 0.1.5 in the environment
    python benchmarks/merge_fuzz.py --configs 50 --seed 7 --show

Tiny models of eight families; every method that both sides have, in slices or whole, with gradients, filters, anchors
and merge keys of YAML, weights of zero, scales and weights beside a source, slices of one layer, output types. Both
sides get the same text. What is drawn at random (DARE, DELLA) is drawn here for both sides out of the differences
themselves, so that they drop the same. A method is asked for the parameters that were in fewest equal results so far;
which there are is read from mergekit, and what this file does not know is told. Spherical means that lie outside of
the tolerance are held against mergekit in float64: where they equal that, it is mergekit's own rounding in float32.
Two families have a vocabulary for every model; their embeddings are compared token by token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

LAYERS = 3
SHAPE: dict[str, Any] = {
    "vocab_size": 48, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 32, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
GPT2 = {"vocab_size": 48, "n_positions": 32, "n_embd": 16, "n_layer": LAYERS, "n_head": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SHAPE, "mistral": SHAPE, "qwen2": SHAPE, "qwen3": SHAPE, "gemma2": SHAPE, "olmo2": SHAPE, "gpt2": GPT2,
    "phi3": SHAPE,
}  # fmt: skip

#: Method: (least and most models beside the base, whether it has a base, numbers of a model, numbers of all).
Numbers = dict[str, tuple[float, float]]
WEIGHT: Numbers = {"weight": (-0.5, 1.5)}
DENSITY: Numbers = {**WEIGHT, "density": (0.05, 1.0)}
DELTAS: Numbers = {"lambda": (0.2, 1.5)}
#: Density with and less epsilon has to lie between 0 and 1.
RANKED: Numbers = {"weight": (0.1, 1.5), "density": (0.3, 0.7), "epsilon": (0.02, 0.28)}
ON_DELTAS = ("normalize", "int8_mask", "rescale")
METHODS: dict[str, tuple[int, int, bool, Numbers, Numbers, tuple[str, ...]]] = {
    "linear": (1, 3, False, WEIGHT, {}, ("normalize",)),
    "slerp": (1, 1, True, {}, {"t": (0, 1)}, ()),
    "nuslerp": (2, 2, False, {"weight": (0.1, 1.5)}, {}, ("nuslerp_row_wise", "nuslerp_flatten")),
    "multislerp": (2, 3, False, {"weight": (0.1, 1.5)}, {"eps": (1e-9, 1e-7)}, ("normalize_weights",)),
    "karcher": (2, 3, False, {}, {"max_iter": (1, 20), "tol": (1e-6, 1e-3)}, ()),
    "task_arithmetic": (1, 3, True, WEIGHT, DELTAS, ("normalize", "int8_mask")),
    "ties": (1, 3, True, DENSITY, DELTAS, ON_DELTAS),
    "breadcrumbs": (1, 3, True, {**DENSITY, "gamma": (0.01, 0.05)}, DELTAS, ON_DELTAS),
    "breadcrumbs_ties": (1, 3, True, {**DENSITY, "gamma": (0.01, 0.05)}, DELTAS, ON_DELTAS),
    "dare_linear": (1, 3, True, DENSITY, DELTAS, ON_DELTAS),
    "dare_ties": (1, 3, True, DENSITY, DELTAS, ON_DELTAS),
    "della": (1, 3, True, RANKED, DELTAS, ON_DELTAS),
    "della_linear": (1, 3, True, RANKED, DELTAS, ON_DELTAS),
    "sce": (2, 3, True, {}, {"select_topk": (0.1, 1.0)}, ("int8_mask",)),
    "model_stock": (2, 3, True, {}, {}, ("filter_wise",)),
    "nearswap": (1, 1, True, {}, {"t": (0.0001, 0.05)}, ()),
    "passthrough": (1, 1, False, {"scale": (0.2, 1.5)}, {}, ()),
    "arcee_fusion": (1, 1, True, {}, {}, ()),
    "ram": (1, 3, True, {}, {"epsilon": (1e-6, 0.02)}, ()),
    "ramplus_tl": (1, 3, True, {}, {"r": (0, 1), "alpha": (0, 1), "epsilon": (1e-3, 0.02)}, ()),
}
#: What mergekit reads and makes no use of, and we refuse: docs/coming-from-mergekit.md.
REFUSED = (("task_arithmetic", "density"), ("task_arithmetic", "rescale"))
#: Numbers that mergekit demands.
DEMANDED = ("weight", "t")
#: Outcomes of configs that were compared number by number.
EQUAL = ("equal bits", "within the last place", "within the last place of mergekit in float64")
#: What mergekit computes in float32 and we in float64.
SPHERICAL = ("slerp", "nuslerp", "multislerp", "karcher", "model_stock")
WHOLE_NUMBERS = ("max_iter",)
#: Models with tokenizers, and with vocabularies that differ, by what they are made of.
WORDED = {"llama-words": "llama", "gpt2-words": "gpt2"}
SPECIAL = ("<s>", "</s>", "<pad>")
VOCABULARIES = {
    "base": (*SPECIAL, *(f"w{n}" for n in range(40))),
    "a": (*SPECIAL, *(f"w{n}" for n in range(44, 4, -1))),
    "b": (*SPECIAL, *(f"w{n}" for n in range(30))),
    "c": (*SPECIAL, *(f"w{n}" for n in range(40))),
}
#: Added to the vocabulary of b; c has rows for more tokens than it knows.
ADDED, ROWS_OF_C = "<tool>", 48
#: What does not depend on the order of rows, which mergekit leaves to chance for the tokens of a union.
BY_TOKEN = ("linear", "slerp", "task_arithmetic", "ties", "karcher", "sce", "passthrough", "arcee_fusion", "ram")
PARTS = ("mlp", "attn", "norm", "embed", "layers.1.", "h.1.", "q_proj", "weight", "nowhere")

TOLERANCE = 2.4e-7
#: How often every parameter of every method has to be in equal results.
LEAST = 20
#: One place more or less of bfloat16, where the last float32 place decides.
HALF_TOLERANCE = {torch.bfloat16: 2**-7, torch.float16: 2**-10}
HALVES = ("bfloat16", "float16")


def write_models(root: Path) -> None:
    """A base and three fine-tunes of every family."""
    import transformers

    for name, shape in FAMILIES.items():
        config = transformers.AutoConfig.for_model(name, **shape)
        _write_family(root / name, lambda part, config=config: transformers.AutoModelForCausalLM.from_config(config))
    for name, family in WORDED.items():

        def made(part: str, family: str = family) -> Any:
            rows = ROWS_OF_C if part == "c" else len(VOCABULARIES[part]) + (part == "b")
            config = transformers.AutoConfig.for_model(family, **{**FAMILIES[family], "vocab_size": rows})
            return transformers.AutoModelForCausalLM.from_config(config)

        _write_family(root / name, made)
        for part in VOCABULARIES:
            _write_tokenizer(root / name / part, part)


def _write_family(folder: Path, made: Callable[[str], Any]) -> None:
    for index, part in enumerate(("base", "a", "b", "c")):
        model = made(part)
        torch.manual_seed(0)
        base = {key: torch.randn_like(one) * 0.05 for key, one in model.named_parameters()}
        torch.manual_seed(index + 1)
        with torch.no_grad():
            for key, one in model.named_parameters():
                one.copy_(base[key] + (0.01 * torch.randn_like(one) if index else 0))
        model.save_pretrained(folder / part)


def _write_tokenizer(folder: Path, part: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: place for place, word in enumerate(VOCABULARIES[part])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    whole = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<pad>"
    )
    if part == "b":
        whole.add_special_tokens({"additional_special_tokens": [ADDED]})
    whole.save_pretrained(folder)


class Generator:
    """Configs that mergekit takes, by a seed."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.wanted = ""

    def config(self, method: str, wanted: str = "") -> dict[str, Any]:
        """One config for ``method``, with the parameter ``wanted`` where that can be."""
        self.wanted = wanted
        draw = self.random
        least, most, has_base, own, shared, switches = METHODS[method]
        worded = method in BY_TOKEN and draw.random() < 0.35
        family = draw.choice(list(WORDED if worded else FAMILIES))
        count = draw.randint(least, most)
        models = [str(self.root / family / part) for part in draw.sample(("a", "b", "c"), count)]
        base = str(self.root / family / "base")
        with_base = has_base or (method in ("nuslerp", "multislerp") and draw.random() < 0.4)
        data: dict[str, Any] = {"merge_method": method}
        if with_base:
            data["base_model"] = base
        data |= self._inputs(models, base if with_base else None, own, method)
        data["parameters"] = {**self._fallback(own, shared), **self._numbers(shared, 0.7)}
        data["parameters"] |= {name: draw.random() < 0.5 for name in switches if draw.random() < 0.4 or name == wanted}
        if draw.random() < 0.3:
            data["dtype"] = draw.choice(("float32", "bfloat16"))
        if draw.random() < 0.3:
            data["out_dtype"] = draw.choice(("float32", "bfloat16", "float16"))
        if worded:
            data |= self._vocabulary([*models, base] if with_base else models, with_base)
        return {name: value for name, value in data.items() if value != {}}

    def _vocabulary(self, models: list[str], with_base: bool) -> dict[str, Any]:
        draw = self.random
        # Without a base mergekit takes one model by chance.
        source = draw.choice(("union", "base", *models)) if with_base else draw.choice(models)
        if draw.random() < 0.4:
            return {"tokenizer_source": source}
        tokens = {}
        for token in draw.sample((*VOCABULARIES["a"][3:], ADDED, "<new>"), draw.randint(0, 3)):
            model = draw.choice(models)
            known = VOCABULARIES[Path(model).name]
            row: dict[str, Any] = {"kind": "model_token", "model": model}
            row |= {"token": draw.choice(known)} if draw.random() < 0.5 else {"token_id": draw.randrange(len(known))}
            sources = [row, {"kind": "zero"}, *([model] if token in known else [])]
            tokens[token] = {"source": draw.choice(sources)} | ({"force": True} if draw.random() < 0.4 else {})
        found: dict[str, Any] = {"source": source, **({"tokens": tokens} if tokens else {})}
        if draw.random() < 0.3:
            found["pad_to_multiple_of"] = draw.choice((8, 64))
        return {"tokenizer": found}

    def _fallback(self, own: Numbers, shared: Numbers) -> dict[str, Any]:
        """What mergekit demands for every tensor."""
        return {name: self._scalar(*bounds) for name, bounds in {**own, **shared}.items() if name in DEMANDED}

    def _inputs(self, models: list[str], base: str | None, own: Numbers, method: str) -> dict[str, Any]:
        draw = self.random
        if draw.random() < 0.5:
            entries = [self._entry({"model": one}, own) for one in models]
            if base is not None and draw.random() < 0.5:
                entries.insert(draw.randint(0, len(entries)), {"model": base})
            return {"models": entries}
        slices = []
        for _ in range(draw.randint(1, 3)):
            begin = draw.randint(0, LAYERS - 1)
            end = draw.randint(begin + 1, LAYERS) if draw.random() < 0.7 else begin + 1
            inside = models if method != "passthrough" else [draw.choice(models)]
            sources = [self._entry({"model": one, "layer_range": [begin, end]}, own) for one in inside]
            if base is not None:
                sources.insert(draw.randint(0, len(sources)), {"model": base, "layer_range": [begin, end]})
            entry: dict[str, Any] = {"sources": sources}
            if draw.random() < 0.2 and own:
                entry["parameters"] = self._numbers(own, 0.7)
            slices.append(entry)
        return {"slices": slices}

    def _entry(self, entry: dict[str, Any], own: Numbers) -> dict[str, Any]:
        numbers = self._numbers(own, 0.6)
        return {**entry, "parameters": numbers} if numbers else entry

    def _numbers(self, bounds: Numbers, chance: float) -> dict[str, Any]:
        return {
            name: self._whole(*own) if name in WHOLE_NUMBERS else self._setting(*own)
            for name, own in bounds.items()
            if self.random.random() < chance or name == self.wanted
        }

    def _whole(self, low: float, high: float) -> int:
        return self.random.randint(int(low), int(high))

    def _setting(self, low: float, high: float) -> Any:
        draw = self.random
        kind = draw.random()
        if kind < 0.45:
            return self._scalar(low, high)
        if kind < 0.7:
            return [self._scalar(low, high) for _ in range(draw.randint(1, 4))]
        filters = [{"filter": draw.choice(PARTS), "value": self._inner(low, high)} for _ in range(draw.randint(1, 3))]
        if draw.random() < 0.7:
            filters.append({"value": self._inner(low, high)})
        return filters[0] if len(filters) == 1 and draw.random() < 0.5 else filters

    def _inner(self, low: float, high: float) -> Any:
        if self.random.random() < 0.3:
            return [self._scalar(low, high) for _ in range(2)]
        return self._scalar(low, high)

    def _scalar(self, low: float, high: float) -> Any:
        draw = self.random
        if low <= 0 and draw.random() < 0.15:
            return 0
        value = float(f"{draw.uniform(low, high):.3g}")
        return f"{value:.3e}".replace("e-0", "e-").replace("e+0", "e") if draw.random() < 0.05 else value

    def text(self, data: dict[str, Any]) -> str:
        """YAML of ``data``, sometimes with an anchor that is merged into another mapping."""
        found = yaml.safe_dump(data, sort_keys=False, default_flow_style=None)
        entries = data.get("models")
        if entries and len(entries) > 1 and all("parameters" in one for one in entries) and self.random.random() < 0.5:
            listed = "".join(
                f"- model: {one['model']}\n  parameters: {'&p ' if index == 0 else ''}"
                + (
                    json.dumps(one["parameters"])
                    if index == 0
                    else f"{{<<: *p, {json.dumps(one['parameters'])[1:-1]}}}"
                )
                + "\n"
                for index, one in enumerate(entries)
            )
            rest = {name: value for name, value in data.items() if name != "models"}
            found = yaml.safe_dump(rest, sort_keys=False, default_flow_style=None) + "models:\n" + listed
        return found


@dataclass(frozen=True)
class Made:
    """Merged tensors, and the output's tokens by number where the config speaks of them."""

    tensors: dict[str, torch.Tensor]
    tokens: tuple[str, ...] | None = None

    def in_order_of(self, other: Made) -> Made:
        """The same with the rows of the embeddings in the order of ``other``'s tokens, where both have the same."""
        if self.tokens is None or other.tokens is None or set(self.tokens) != set(other.tokens):
            return self
        place = {token: index for index, token in enumerate(self.tokens)}
        order = [place[token] for token in other.tokens]
        return Made(
            {
                name: torch.cat((one[order], one[len(order) :])) if any(end in name for end in EMBEDDINGS) else one
                for name, one in self.tensors.items()
            },
            other.tokens,
        )


EMBEDDINGS = ("embed_tokens.", "wte.", "lm_head.")


def by_mergekit(text: str, wide: bool = False) -> Made:
    """The merged tensors as mergekit makes them; ``wide`` has it compute in float64."""
    from mergekit.architecture import get_architecture_info
    from mergekit.config import MergeConfiguration
    from mergekit.graph import Executor
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import _model_out_config
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner
    from mergekit.tokenizer import TokenizerInfo

    options = MergeOptions(quiet=True, random_seed=0)
    # Arithmetic in bfloat16 is left out on purpose: e2lm's docs say that dtype is the output's type alone.
    data = yaml.safe_load(text)
    if data.get("dtype") in HALVES:
        data["dtype"], data["out_dtype"] = "float32", data.get("out_dtype", data["dtype"])
    if wide:
        data["dtype"], data["out_dtype"] = "float64", data.get("out_dtype", "float32")
    config = MergeConfiguration.model_validate(data)
    architecture = get_architecture_info(config, options)
    LoaderCache().setup(options=options)
    out = _model_out_config(config, architecture)
    planner = MergePlanner(config, architecture, options=options, out_model_config=out)
    planner._plan()
    weights = {id(task): weight for weight, task in planner._tensors}
    kept = [task for _, task in planner._tensors]
    found, tokens = {}, None
    asked = [*kept, *([planner._tokenizer_task] if planner._tokenizer_task else [])]
    for task, value in Executor(targets=asked, math_device="cpu", storage_device="cpu").run(quiet=True):
        if isinstance(value, TokenizerInfo):
            words = value.tokenizer.get_vocab()
            tokens = tuple(sorted(words, key=words.__getitem__))
        elif value is not None:
            kind = weights[id(task)].force_dtype or config.out_dtype
            found[weights[id(task)].name] = value if kind is None else value.to(getattr(torch, kind))
    return Made(found, tokens)


def by_e2lm(text: str) -> Made:
    """The merged tensors as e2lm makes them."""
    from e2lm_merge.output.in_memory import merged_tensors
    from e2lm_merge.plan.merge_plan import plan_merge
    from e2lm_merge.plan.recipe import read_recipe

    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(text)
        file.flush()
        plan = plan_merge(read_recipe(Path(file.name)))
        return Made(merged_tensors(plan, 1), None if plan.vocabulary is None else plan.vocabulary.tokens)


@dataclass
class Tally:
    """What became of the configs, and which settings of mergekit's were in those that came out equal."""

    outcomes: Counter[str] = field(default_factory=Counter)
    methods: dict[str, Counter[str]] = field(default_factory=dict)
    settings: Counter[str] = field(default_factory=Counter)
    asked: dict[str, Counter[str]] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0
    found: list[dict[str, str]] = field(default_factory=list)


def compare(text: str, tally: Tally) -> str:
    """The outcome of one config."""
    made = [_tried(by_mergekit, text), _tried(by_e2lm, text)]
    theirs, ours = made
    if isinstance(theirs, str):
        return "refused by both" if isinstance(ours, str) else f"refused by mergekit alone: {theirs[:70]}"
    if isinstance(ours, str):
        return f"refused: {ours.rpartition(': ')[2][:90]}"
    found = _compared(theirs, ours, tally)
    if found.startswith("DIFFER") and yaml.safe_load(text)["merge_method"] in SPHERICAL:
        exact = _tried(lambda again: by_mergekit(again, wide=True), text)
        if not isinstance(exact, str) and not _compared(exact, ours, Tally()).startswith("DIFFER"):
            return f"within the last place of mergekit in float64: {found}"
    return found


def _tried(make: Callable[[str], Made], text: str) -> Made | str:
    try:
        return make(text)
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")


def _compared(made: Made, own: Made, tally: Tally) -> str:
    if set(made.tokens or ()) != set(own.tokens or ()):
        return f"DIFFER: tokens {sorted(set(made.tokens or ()) ^ set(own.tokens or ()))[:3]}"
    theirs, ours = made.in_order_of(own).tensors, own.tensors
    if set(theirs) != set(ours):
        return f"DIFFER: tensors {sorted(set(theirs) ^ set(ours))[:3]}"
    equal = True
    for name, one in theirs.items():
        other = ours[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"DIFFER: {name} is {one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)}"
        scale = max(1.0, float(one.double().abs().max())) if one.numel() else 1.0
        off = float((one.double() - other.double()).abs().max()) / scale if one.numel() else 0.0
        if not off <= HALF_TOLERANCE.get(one.dtype, TOLERANCE):
            return f"DIFFER: {name} by {off:.3g}"
        tally.worst = max(tally.worst, off if one.dtype == torch.float32 else 0.0)
        equal &= torch.equal(one, other)
    return "equal bits" if equal else "within the last place"


class _SameDraws:
    """Random words out of the magnitudes they are drawn for: of equal differences both sides drop the same."""

    def __init__(self) -> None:
        import mergekit.sparsify

        import e2lm_merge.methods.dare

        for name in ("bernoulli", "della_magprune"):
            setattr(mergekit.sparsify, name, self._noting(getattr(mergekit.sparsify, name)))
        torch.bernoulli = self._drawn  # type: ignore[assignment]
        e2lm_merge.methods.dare.random_words = lambda group, index, count: _words(group.tensors[index])
        self.now = torch.empty(0)

    def _noting(self, sparsified: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def noted(tensor: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
            self.now = tensor
            return sparsified(tensor, *more, **named)

        return noted

    def _drawn(self, chances: torch.Tensor) -> torch.Tensor:
        from e2lm_merge.methods.dare import word_limits

        limits = word_limits(chances.double().reshape(-1).numpy())
        return torch.from_numpy(_words(self.now) < limits).to(chances.dtype).reshape(chances.shape)


def _words(numbers: torch.Tensor) -> Any:
    magnitudes = numbers.detach().abs().reshape(-1).contiguous().numpy()
    seed = int.from_bytes(hashlib.sha256(magnitudes.tobytes()).digest())
    words = np.random.SFC64(np.random.SeedSequence(seed)).random_raw((len(magnitudes) + 1) // 2)
    return words.view(np.uint32)[: len(magnitudes)]


def mergekits_parameters() -> dict[str, list[str]]:
    """Every method that mergekit has, with the names of its parameters."""
    from mergekit.merge_methods.registry import registered_methods

    return {one.spec.name: [parameter.name for parameter in one.spec.parameters] for one in registered_methods()}


def settings_of(value: Any) -> Iterator[str]:
    """Every key of a config, and of which form its value is."""
    if isinstance(value, dict):
        for name, inner in value.items():
            form = type(inner).__name__
            if isinstance(inner, list) and inner:
                form = "filters" if isinstance(inner[0], dict) else "gradient"
            yield f"{name}:{form}"
            yield from settings_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from settings_of(inner)


def run(root: Path, configs: int, seed: int, methods: list[str], show: bool) -> Tally:
    """So many configs, each of the method and with the parameter that fewest equal results had so far."""
    tally = Tally()
    schema = mergekits_parameters()
    for method in methods:
        tally.asked[method] = Counter(
            dict.fromkeys(("(any)", *(name for name in schema.get(method, ()) if (method, name) not in REFUSED)), 0)
        )
    for number in range(configs):
        method = min(methods, key=lambda one: (min(tally.asked[one].values()) >= LEAST, tally.tries[one]))
        tally.tries[method] += 1
        wanted = min(tally.asked[method], key=lambda one: tally.asked[method][one])
        maker = Generator(root, seed * 1_000_003 + number)
        text = maker.text(maker.config(method, wanted))
        outcome = compare(text, tally)
        kind = outcome.partition(":")[0]
        tally.outcomes[kind] += 1
        tally.methods.setdefault(method, Counter())[kind] += 1
        if kind in EQUAL:
            found = set(settings_of(yaml.safe_load(text)))
            tally.settings.update(found)
            named = {one.partition(":")[0] for one in found}
            tally.asked[method].update(["(any)", *(one for one in tally.asked[method] if one in named)])
        if kind not in (*EQUAL, "refused by both"):
            tally.found.append({"number": str(number), "method": method, "outcome": outcome, "config": text})
            if show:
                print(f"--- {number} {method}: {outcome}\n{text if kind == 'DIFFER' else ''}", flush=True)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--models", type=Path, default=None, help="folder of the tiny models; kept if given")
    parser.add_argument("--show", action="store_true", help="print what differs as it is found")
    parser.add_argument("--out", type=Path, default=None, help="JSON with everything")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = options.models or Path(temporary)
        if not (root / "gpt2-words" / "c" / "tokenizer.json").is_file():
            write_models(root)
        _SameDraws()
        tally = run(root, options.configs, options.seed, options.methods.split(","), options.show)
    print(json.dumps({"outcomes": tally.outcomes, "worst_float32": tally.worst, "methods": tally.methods}, indent=1))
    rare = {name: count for name, count in sorted(tally.settings.items()) if count < LEAST}
    print(f"settings of equal configs, below {LEAST}: {rare}")
    few = {method: {name: count for name, count in one.items() if count < LEAST} for method, one in tally.asked.items()}
    print(f"parameters of mergekit's methods in equal configs, below {LEAST}: { {k: v for k, v in few.items() if v} }")
    print(f"methods of mergekit that are not drawn: {sorted(set(mergekits_parameters()) - set(METHODS))}")
    if options.out is not None:
        options.out.write_text(json.dumps({"found": tally.found, "settings": tally.settings}, indent=1))
    return 1 if tally.outcomes["DIFFER"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
