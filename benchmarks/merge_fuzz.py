"""Random merge configs through mergekit and through e2lm: equal, refused with a reason, or a difference to mend.

    python benchmarks/merge_fuzz.py --configs 1000            # with mergekit 0.1.5 in the environment
    python benchmarks/merge_fuzz.py --configs 50 --seed 7 --show

Tiny models of eight families; every method that both sides have, in slices or whole, with gradients, filters, anchors
and merge keys of YAML, weights of zero, scales and weights beside a source, slices of one layer, output types. Both
sides get the same text. What is drawn at random on either side (DARE, DELLA) is compared where nothing is dropped, else
by names, shapes and types alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
METHODS: dict[str, tuple[int, int, bool, Numbers, Numbers, tuple[str, ...]]] = {
    "linear": (1, 3, False, WEIGHT, {}, ("normalize",)),
    "slerp": (1, 1, True, {}, {"t": (0, 1)}, ()),
    "nuslerp": (2, 2, False, {"weight": (0.1, 1.5)}, {}, ("nuslerp_row_wise", "nuslerp_flatten")),
    "multislerp": (2, 3, False, {"weight": (0.1, 1.5)}, {}, ("normalize_weights",)),
    "karcher": (2, 3, False, {}, {}, ()),
    "task_arithmetic": (1, 3, True, WEIGHT, DELTAS, ("normalize", "int8_mask")),
    "ties": (1, 3, True, DENSITY, DELTAS, ("normalize", "int8_mask", "rescale")),
    "breadcrumbs": (1, 3, True, {**DENSITY, "gamma": (0.01, 0.05)}, DELTAS, ("normalize", "int8_mask")),
    "breadcrumbs_ties": (1, 3, True, {**DENSITY, "gamma": (0.01, 0.05)}, DELTAS, ("normalize", "int8_mask")),
    "dare_linear": (1, 2, True, DENSITY, DELTAS, ("normalize", "rescale")),
    "dare_ties": (1, 2, True, DENSITY, DELTAS, ("normalize", "rescale", "int8_mask")),
    "della": (1, 2, True, {"weight": (0.1, 1.5)}, DELTAS, ("normalize", "rescale")),
    "della_linear": (1, 2, True, {"weight": (0.1, 1.5)}, DELTAS, ("normalize", "rescale")),
    "sce": (2, 3, True, {}, {"select_topk": (0.1, 1.0)}, ("int8_mask",)),
    "model_stock": (2, 3, True, {}, {}, ("filter_wise",)),
    "nearswap": (1, 1, True, {}, {"t": (0.0001, 0.05)}, ()),
    "passthrough": (1, 1, False, {"scale": (0.2, 1.5)}, {}, ()),
}
#: Numbers that mergekit demands.
DEMANDED = ("weight", "t")
DRAWN = ("dare_linear", "dare_ties", "della", "della_linear")
PARTS = ("mlp", "attn", "norm", "embed", "layers.1.", "h.1.", "q_proj", "weight", "nowhere")

TOLERANCE = 2.4e-7
#: Where weights are not divided by their sum, mergekit's float32 norms, dots and sines grow with it; ours are float64.
LOUD = 4.0
#: One place more or less of bfloat16, where the last float32 place decides.
HALF_TOLERANCE = {torch.bfloat16: 2**-7, torch.float16: 2**-10}


def write_models(root: Path) -> None:
    """A base and three fine-tunes of every family."""
    import transformers

    for name, shape in FAMILIES.items():
        config = transformers.AutoConfig.for_model(name, **shape)
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        base = {key: torch.randn_like(one) * 0.05 for key, one in model.named_parameters()}
        for index, part in enumerate(("base", "a", "b", "c")):
            torch.manual_seed(index + 1)
            with torch.no_grad():
                for key, one in model.named_parameters():
                    one.copy_(base[key] + (0.01 * torch.randn_like(one) if index else 0))
            model.save_pretrained(root / name / part)


class Generator:
    """Configs that mergekit takes, by a seed."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)

    def config(self, method: str) -> dict[str, Any]:
        """One config for ``method``."""
        draw = self.random
        least, most, has_base, own, shared, switches = METHODS[method]
        family = draw.choice(list(FAMILIES))
        count = draw.randint(least, most)
        models = [str(self.root / family / part) for part in draw.sample(("a", "b", "c"), count)]
        base = str(self.root / family / "base")
        with_base = has_base or (method in ("nuslerp", "multislerp") and draw.random() < 0.4)
        data: dict[str, Any] = {"merge_method": method}
        if with_base:
            data["base_model"] = base
        data |= self._inputs(models, base if with_base else None, own, method)
        data["parameters"] = {**self._fallback(own, shared), **self._numbers(shared, 0.7)}
        data["parameters"] |= {name: draw.random() < 0.5 for name in switches if draw.random() < 0.4}
        if draw.random() < 0.3:
            data["dtype"] = draw.choice(("float32", "bfloat16"))
        if draw.random() < 0.3:
            data["out_dtype"] = draw.choice(("float32", "bfloat16", "float16"))
        return {name: value for name, value in data.items() if value != {}}

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
        return {name: self._setting(*own) for name, own in bounds.items() if self.random.random() < chance}

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
        value = round(draw.uniform(low, high), 3)
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


def by_mergekit(text: str) -> dict[str, torch.Tensor]:
    """The merged tensors as mergekit makes them."""
    from mergekit.architecture import get_architecture_info
    from mergekit.config import MergeConfiguration
    from mergekit.graph import Executor
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import _model_out_config
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner

    options = MergeOptions(quiet=True, random_seed=0)
    # Arithmetic in bfloat16 is left out on purpose: e2lm's docs say that dtype is the output's type alone.
    data = yaml.safe_load(text)
    if data.get("dtype") == "bfloat16":
        data["dtype"], data["out_dtype"] = "float32", data.get("out_dtype", "bfloat16")
    config = MergeConfiguration.model_validate(data)
    architecture = get_architecture_info(config, options)
    LoaderCache().setup(options=options)
    out = _model_out_config(config, architecture)
    planner = MergePlanner(config, architecture, options=options, out_model_config=out)
    planner._plan()
    weights = {id(task): weight for weight, task in planner._tensors}
    kept = [task for _, task in planner._tensors]
    found = {}
    for task, value in Executor(targets=kept, math_device="cpu", storage_device="cpu").run(quiet=True):
        if value is not None:
            kind = weights[id(task)].force_dtype or config.out_dtype
            found[weights[id(task)].name] = value if kind is None else value.to(getattr(torch, kind))
    return found


def by_e2lm(text: str) -> dict[str, torch.Tensor]:
    """The merged tensors as e2lm makes them."""
    from e2lm_merge.output.in_memory import merged_tensors
    from e2lm_merge.plan.merge_plan import plan_merge
    from e2lm_merge.plan.recipe import read_recipe

    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(text)
        file.flush()
        return merged_tensors(plan_merge(read_recipe(Path(file.name))), 1)


@dataclass
class Tally:
    """What became of the configs, and which settings of mergekit's were in those that came out equal."""

    outcomes: Counter[str] = field(default_factory=Counter)
    methods: dict[str, Counter[str]] = field(default_factory=dict)
    settings: Counter[str] = field(default_factory=Counter)
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
    return _compared(theirs, ours, yaml.safe_load(text), tally)


def _tried(make: Callable[[str], dict[str, torch.Tensor]], text: str) -> dict[str, torch.Tensor] | str:
    try:
        return make(text)
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")


def _compared(
    theirs: Mapping[str, torch.Tensor], ours: Mapping[str, torch.Tensor], data: dict[str, Any], tally: Tally
) -> str:
    if set(theirs) != set(ours):
        return f"DIFFER: tensors {sorted(set(theirs) ^ set(ours))[:3]}"
    drawn = data["merge_method"] in DRAWN and not _is_dense(data)
    equal = True
    for name, one in theirs.items():
        other = ours[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"DIFFER: {name} is {one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)}"
        if drawn:
            continue
        scale = max(1.0, float(one.double().abs().max())) if one.numel() else 1.0
        scale *= LOUD if data["merge_method"] == "multislerp" else 1.0
        off = float((one.double() - other.double()).abs().max()) / scale if one.numel() else 0.0
        if not off <= HALF_TOLERANCE.get(one.dtype, TOLERANCE):
            return f"DIFFER: {name} by {off:.3g}"
        tally.worst = max(tally.worst, off if one.dtype == torch.float32 else 0.0)
        equal &= torch.equal(one, other)
    return "drawn at random" if drawn else "equal bits" if equal else "within the last place"


def _is_dense(data: dict[str, Any]) -> bool:
    """Whether no density stands anywhere, so that nothing is dropped."""
    return "density" not in json.dumps(data)


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
    """So many configs, one method after the other."""
    tally = Tally()
    for number in range(configs):
        method = methods[number % len(methods)]
        maker = Generator(root, seed * 1_000_003 + number)
        text = maker.text(maker.config(method))
        outcome = compare(text, tally)
        kind = outcome.partition(":")[0]
        tally.outcomes[kind] += 1
        tally.methods.setdefault(method, Counter())[kind] += 1
        if kind in ("equal bits", "within the last place"):
            tally.settings.update(set(settings_of(yaml.safe_load(text))))
        if kind in ("DIFFER", "refused", "refused by mergekit alone"):
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
        if not (root / "phi3" / "c").is_dir():
            write_models(root)
        tally = run(root, options.configs, options.seed, options.methods.split(","), options.show)
    print(json.dumps({"outcomes": tally.outcomes, "worst_float32": tally.worst, "methods": tally.methods}, indent=1))
    rare = {name: count for name, count in sorted(tally.settings.items()) if count < 20}
    print(f"settings of equal configs, below 20: {rare}")
    if options.out is not None:
        options.out.write_text(json.dumps({"found": tally.found, "settings": tally.settings}, indent=1))
    return 1 if tally.outcomes["DIFFER"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
