"""Random merge configs through mergekit and through e2lm: equal, refused with a reason, or a difference to mend.

    python benchmarks/merge_fuzz.py --configs 1000            # with mergekit 0.1.5 in the environment
    python benchmarks/merge_fuzz.py --configs 50 --seed 7 --show

Tiny models of eight families; every method that both sides have, in slices or whole, with gradients, filters, anchors
and merge keys of YAML, weights of zero, scales and weights beside a source, slices of one layer, layers merged with
others than their own like, output types. Both sides get the same text. What is drawn at random (DARE, DELLA) is drawn
here for both sides out of the differences themselves, so that they drop the same. A method is asked for the parameters
that were in fewest equal results so far, and every config for the key that was; which there are is read from mergekit's
own schema, and a table of all of them is printed. Results that lie outside of the tolerance are held against
mergekit in float64: where they equal that, it is mergekit's own rounding in float32. Two families have a vocabulary for
every model; their embeddings are compared token by token. One config in a hundred is a file of two documents, which
only ``mergekit-multi`` takes.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from merge_side_by_side import (
    ADDED,
    EQUAL,
    FAMILIES,
    HALVES,
    LAYERS,
    VOCABULARIES,
    WORDED,
    SameDraws,
    Tally,
    compare,
    write_models,
)

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
#: Keys of mergekit's schema that are refused on purpose: docs/coming-from-mergekit.md.
REFUSED_KEYS = (
    "MergeConfiguration.modules",
    "MergeConfiguration.chat_template",
    "OutputSliceDefinition.residual_weight",
)
#: How often methods have a base that need none.
MAY_HAVE_BASE = {"nuslerp": 0.4, "multislerp": 0.4, "linear": 0.2, "karcher": 0.2}
#: Numbers that mergekit demands.
DEMANDED = ("weight", "t")
WHOLE_NUMBERS = ("max_iter",)
#: What does not depend on the order of rows, which mergekit leaves to chance for the tokens of a union.
BY_TOKEN = ("linear", "slerp", "task_arithmetic", "ties", "karcher", "sce", "passthrough", "arcee_fusion", "ram")
#: Whose masks hang on every bit of what they are drawn for: not together with rows that are means, rounded otherwise,
#: so of other tokenizers only with the base's, of which every row is there.
AT_RANDOM = ("dare_linear", "dare_ties", "della", "della_linear")
PARTS = ("mlp", "attn", "norm", "embed", "layers.1.", "h.1.", "q_proj", "weight", "nowhere")

#: How often every parameter of every method has to be in equal results.
LEAST = 20


class Generator:
    """Configs that mergekit takes, by a seed."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.wanted = self.key = ""

    def config(self, method: str, wanted: str = "", key: str = "") -> dict[str, Any]:
        """One config for ``method``, with the parameter ``wanted`` and the key ``key`` where that can be."""
        self.wanted, self.key = wanted, key
        draw = self.random
        least, most, has_base, own, shared, switches = METHODS[method]
        worded = draw.random() < (0.9 if "oken" in key or key.startswith("Zero") else 0.2)
        family = draw.choice(list(WORDED if worded else FAMILIES))
        count = draw.randint(least, most)
        models = [str(self.root / family / part) for part in draw.sample(("a", "b", "c"), count)]
        base = str(self.root / family / "base")
        with_base = has_base or draw.random() < MAY_HAVE_BASE.get(method, 0)
        data: dict[str, Any] = {"merge_method": method}
        if with_base:
            data["base_model"] = base
        data |= self._inputs(models, base if with_base else None, own, method)
        data["parameters"] = {**self._fallback(own, shared), **self._numbers(shared, 0.7)}
        data["parameters"] |= {name: draw.random() < 0.5 for name in switches if draw.random() < 0.4 or name == wanted}
        if self._is_drawn(0.3, "dtype"):
            data["dtype"] = draw.choice(("float32", *HALVES))
        if self._is_drawn(0.3, "out_dtype"):
            data["out_dtype"] = draw.choice(("float32", *HALVES))
        if worded and method in AT_RANDOM:
            data["tokenizer_source"] = "base"
        elif worded:
            data |= self._vocabulary([*models, base] if with_base else models, with_base, method in BY_TOKEN)
        if with_base and "slices" in data and not worded and self._is_drawn(0.2, "OutputSliceDefinition.base_model"):
            data["slices"] = [{"base_model": base, **one} for one in data["slices"]]
            if draw.random() < 0.5:
                del data["base_model"]
        return {name: value for name, value in data.items() if value != {}}

    def _is_drawn(self, chance: float, key: str) -> bool:
        """True so often, and oftener where ``key`` is looked for."""
        return self.random.random() < (max(chance, 0.8) if self.key.endswith(key) else chance)

    def _vocabulary(self, models: list[str], with_base: bool, by_token: bool) -> dict[str, Any]:
        draw = self.random
        # Without a base mergekit takes one model by chance.
        source = draw.choice(("base", *(("union",) if by_token else ()), *models)) if with_base else draw.choice(models)
        if self._is_drawn(0.3, "tokenizer_source"):
            return {"tokenizer_source": source}
        tokens = {}
        # New tokens on top of the base's tokenizer make mergekit stop (KeyError).
        names = (
            *VOCABULARIES["base" if source == "base" else "a"][3:],
            *((ADDED, "<new>") if source != "base" else ()),
        )
        for token in draw.sample(names, draw.randint(1, 4)):
            tokens[token] = {"source": self._row(token, models)}
            if self._is_drawn(0.4, "force"):
                tokens[token]["force"] = draw.random() < 0.8
        found: dict[str, Any] = {"source": source, **({"tokens": tokens} if self._is_drawn(0.7, "tokens") else {})}
        if self._is_drawn(0.3, "pad_to_multiple_of"):
            found["pad_to_multiple_of"] = draw.choice((8, 64))
        return {"tokenizer": found}

    def _row(self, token: str, models: list[str]) -> Any:
        """Where the row of ``token`` is from."""
        draw = self.random
        if not self.key.startswith("Model") and draw.random() < (0.9 if self.key.startswith("Zero") else 0.3):
            return {"kind": "zero"}
        model = draw.choice(models)
        known = VOCABULARIES[Path(model).name]
        if token in known and not self.key.startswith("Model") and draw.random() < 0.4:
            return model
        row: dict[str, Any] = {"kind": "model_token", "model": model}
        by_number = self._is_drawn(0.5, "token_id") and not self.key.endswith(".token")
        return row | ({"token_id": draw.randrange(len(known))} if by_number else {"token": draw.choice(known)})

    def _fallback(self, own: Numbers, shared: Numbers) -> dict[str, Any]:
        """What mergekit demands for every tensor."""
        return {name: self._scalar(*bounds) for name, bounds in {**own, **shared}.items() if name in DEMANDED}

    def _inputs(self, models: list[str], base: str | None, own: Numbers, method: str) -> dict[str, Any]:
        draw = self.random
        if not self._is_drawn(0.5, "layer_range") and not self.key.startswith(("OutputSlice", "InputSlice")):
            entries = [self._entry({"model": one}, own) for one in models]
            if base is not None and draw.random() < 0.5:
                entries.insert(draw.randint(0, len(entries)), {"model": base})
            return {"models": entries}
        return {"slices": [self._slice(models, base, own, method) for _ in range(draw.randint(1, 3))]}

    def _slice(self, models: list[str], base: str | None, own: Numbers, method: str) -> dict[str, Any]:
        draw = self.random
        begin = draw.randint(0, LAYERS - 1)
        end = draw.randint(begin + 1, LAYERS) if draw.random() < 0.7 else begin + 1
        inside = models if method != "passthrough" else [draw.choice(models)]
        # Layers beside others: of one depth mostly, as in configs that merge neighbours.
        shift = [draw.choice((0, draw.randint(-begin, LAYERS - end))) if draw.random() < 0.3 else 0 for _ in inside]
        sources = [
            self._entry({"model": one, "layer_range": [begin + by, end + by]}, own)
            for one, by in zip(inside, shift, strict=True)
        ]
        if base is not None:
            sources.insert(draw.randint(0, len(sources)), {"model": base, "layer_range": [begin, end]})
        entry: dict[str, Any] = {"sources": sources}
        if own and self._is_drawn(0.2, "OutputSliceDefinition.parameters"):
            entry["parameters"] = self._numbers(own, 0.7)
        return entry

    def _entry(self, entry: dict[str, Any], own: Numbers) -> dict[str, Any]:
        numbers = self._numbers(own, 0.9 if self.key.startswith("Input") else 0.6)
        return {**entry, "parameters": numbers} if numbers else entry

    def _numbers(self, bounds: Numbers, chance: float) -> dict[str, Any]:
        return {
            name: self._whole(*own) if name in WHOLE_NUMBERS else self._setting(*own, whole=name in DEMANDED)
            for name, own in bounds.items()
            if self.random.random() < chance or name == self.wanted
        }

    def _whole(self, low: float, high: float) -> int:
        return self.random.randint(int(low), int(high))

    def _setting(self, low: float, high: float, whole: bool = False) -> Any:
        """A number, a gradient or filters; with ``whole`` every tensor gets one, as where mergekit demands it."""
        draw = self.random
        kind = draw.random() if not self.key.startswith("Conditional") else draw.uniform(0.3, 1)
        if kind < 0.4:
            return self._scalar(low, high)
        if kind < 0.65:
            return [self._scalar(low, high) for _ in range(draw.randint(1, 4))]
        filters = [{"filter": draw.choice(PARTS), "value": self._inner(low, high)} for _ in range(draw.randint(1, 3))]
        if whole or draw.random() < 0.7:
            filters.append({"value": self._inner(low, high)})
        return filters[0] if len(filters) == 1 and draw.random() < 0.5 else filters

    def _inner(self, low: float, high: float) -> Any:
        if self.random.random() < 0.3:
            return [self._scalar(low, high) for _ in range(2)]
        return self._scalar(low, high)

    def _scalar(self, low: float, high: float) -> Any:
        draw = self.random
        if low <= 0 and draw.random() < 0.15:
            return draw.choice((0, 0, 0.0))
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
        return f"{found}---\n{found}" if self.random.random() < 0.01 else found


def mergekits_parameters() -> dict[str, list[str]]:
    """Every method that mergekit has, with the names of its parameters."""
    from mergekit.merge_methods.registry import registered_methods

    return {one.spec.name: [parameter.name for parameter in one.spec.parameters] for one in registered_methods()}


def schema_keys() -> list[str]:
    """Every key of mergekit's configs beside the parameters, as "Class.key"; without those that are refused."""
    from mergekit.config import (
        ConditionalParameter,
        InputModelDefinition,
        InputSliceDefinition,
        MergeConfiguration,
        OutputSliceDefinition,
    )
    from mergekit.tokenizer.config import ModelTokenEmbedding, TokenEmbeddingConfig, TokenizerConfig, ZeroEmbedding

    every = (
        MergeConfiguration, OutputSliceDefinition, InputSliceDefinition, InputModelDefinition, ConditionalParameter,
        TokenizerConfig, TokenEmbeddingConfig, ModelTokenEmbedding, ZeroEmbedding,
    )  # fmt: skip
    found = [f"{one.__name__}.{name}" for one in every for name in one.model_fields]
    return [key for key in found if key not in REFUSED_KEYS]


def keys_of(data: Any) -> Iterator[str]:
    """The same of one config, as mergekit reads it."""
    from mergekit.config import MergeConfiguration

    yield from _given(MergeConfiguration.model_validate(data))


def _given(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _given(inner)
    for name in getattr(value, "model_fields_set", ()):
        yield f"{type(value).__name__}.{name}"
        yield from _given(getattr(value, name))


#: What a config may have, by a pattern that finds it in its text.
TRAITS = {
    "an anchor that is merged": r"<<: \*p", "a number as text": r"\de-\d", "a filter": "filter",
    "a filter without a list": ": {filter", "a 0": ": 0[,} ]", "a 0 in a gradient": r"[\[ ]0[,\]]",
}  # fmt: skip


def traits_of(text: str, data: dict[str, Any]) -> Iterator[str]:
    """Forms that keys do not tell: anchors, slices of one layer, layers that are merged with others than their like."""
    flat = text.replace("\n", " ").replace('"', "")
    yield from (name for name, part in TRAITS.items() if re.search(part, flat))
    for entry in data.get("slices", ()):
        ranges = {tuple(one["layer_range"]) for one in entry["sources"]}
        if len(ranges) > 1:
            yield "layers beside others"
        if any(end - begin == 1 for begin, end in ranges):
            yield "a slice of one layer"
            if any(_has_gradient(one) for one in (entry, data, *entry["sources"])):
                yield "a slice of one layer under a gradient"
    forms = _forms(data.get("parameters"))
    for entry in (*data.get("models", ()), *data.get("slices", ())):
        forms |= _forms(entry.get("parameters"))
    yield from forms


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _names(inner)


def _has_gradient(entry: dict[str, Any]) -> bool:
    return any(isinstance(one, list) and not isinstance(one[0], dict) for one in entry.get("parameters", {}).values())


def _forms(parameters: dict[str, Any] | None) -> set[str]:
    found = set()
    for name, value in (parameters or {}).items():
        form = type(value).__name__
        if isinstance(value, list):
            form = "filters" if isinstance(value[0], dict) else "gradient"
        found.add(f"{name}: {'true' if value is True else 'false' if value is False else form}")
    return found


def run(root: Path, configs: int, seed: int, methods: list[str], show: bool, out: Path | None) -> Tally:
    """So many configs, each of the method and with the parameter that fewest equal results had so far.

    ``out`` is written every few configs, and a run of before goes on where it ended.
    """
    tally = Tally.from_data(json.loads(out.read_text())) if out is not None and out.is_file() else Tally()
    schema, keys = mergekits_parameters(), schema_keys()
    for method in methods:
        names = ("(any)", *(name for name in schema.get(method, ()) if (method, name) not in REFUSED))
        tally.asked[method] = Counter(dict.fromkeys(names, 0) | tally.asked.get(method, {}))
    for number in range(sum(tally.outcomes.values()), configs):
        lacking = {one: min(tally.asked[one].values()) >= LEAST for one in methods}
        method = min(methods, key=lambda one: (lacking[one], tally.tries[one]))
        tally.tries[method] += 1
        wanted = min(tally.asked[method], key=lambda one: tally.asked[method][one])
        key = min(keys, key=lambda one: (tally.keys[one], tally.looked_for[one]))
        tally.looked_for[key] += 1
        maker = Generator(root, seed * 1_000_003 + number)
        text = maker.text(maker.config(method, wanted, key))
        outcome = compare(text, tally)
        kind = outcome.partition(":")[0]
        tally.outcomes[kind] += 1
        tally.methods.setdefault(method, Counter())[kind] += 1
        if kind in EQUAL:
            data = yaml.safe_load(text)
            given = set(keys_of(data))
            tally.keys.update(given)
            tally.traits.update(set(traits_of(text, data)))
            named = set(_names(data))
            tally.asked[method].update(["(any)", *(one for one in tally.asked[method] if one in named)])
        if kind not in (*EQUAL, "refused by both"):
            tally.found.append({"number": str(number), "method": method, "outcome": outcome, "config": text})
            if show:
                print(f"--- {number} {method}: {outcome}\n{text if kind == 'DIFFER' else ''}", flush=True)
        if out is not None and (number % 10 == 9 or number == configs - 1):
            out.write_text(json.dumps(tally.as_data(), indent=1))
    return tally


def tell(tally: Tally) -> None:
    """Outcomes in all and by method, and how often every parameter, key and form was in an equal result."""
    print(f"outcomes: {dict(tally.outcomes)}; largest difference in float32 {tally.worst:.3g}")
    for method, counts in tally.asked.items():
        told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        print(f"  {method}: {dict(tally.methods.get(method, {}))}; {told}")
    for key in schema_keys():
        print(f"  {key}: {tally.keys[key]}")
    for name, count in sorted(tally.traits.items()):
        print(f"  {name}: {count}")
    few = [key for key in schema_keys() if tally.keys[key] < LEAST]
    few += [f"{one}.{name}" for one, counts in tally.asked.items() for name, n in counts.items() if n < LEAST]
    print(f"keys and parameters in fewer than {LEAST} equal results: {few}")
    print(f"methods of mergekit that are not drawn: {sorted(set(mergekits_parameters()) - set(METHODS))}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--models", type=Path, default=None, help="folder of the tiny models; kept if given")
    parser.add_argument("--show", action="store_true", help="print what differs as it is found")
    parser.add_argument("--out", type=Path, default=None, help="JSON with everything; an unfinished run goes on")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = options.models or Path(temporary)
        if not (root / "gpt2-words" / "c" / "tokenizer.json").is_file():
            write_models(root)
        SameDraws()
        tally = run(root, options.configs, options.seed, options.methods.split(","), options.show, options.out)
    tell(tally)
    return 1 if tally.outcomes["DIFFER"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
