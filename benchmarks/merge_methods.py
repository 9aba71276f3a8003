"""Which merge method is worth it? Fine-tunes of one tiny base on three kinds of text, every method, several seeds.

    python benchmarks/merge_methods.py --base FILE ... --task FILE FILE FILE --out runs/methods [--seeds 5] [--json]

One base model is trained on the texts of ``--base``, then for every seed one fine-tune on the first nine tenths of each
``--task``. Each method merges the three fine-tunes of a seed; those with a scale of their own get it from two values,
by items of the last tenth that take no part in what is reported, so that none is held back by a default. Printed is how
much of the three fine-tunes' own gains over the base (bits per byte, mean over tasks) one merged model keeps, and the
difference from task arithmetic, paired by seed, with 95 % intervals over seeds (Student's t). Finished models are not
trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from e2lm import MergeStrategy, Series, hookimpl
from e2lm.merge_strategy import ScoredMerge
from e2lm.plugin_manager import plugin_manager
from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.plan.merge_plan import find_strategy, plan_merge
from e2lm_merge.plan.recipe import Recipe, recipe_from_data
from e2lm_merge.search.items import HeldOutItem, encode_items, load_tokenizer

BASE = ["--sizes", "3x48", "--tokens", "300000", "--sequence-length", "128", "--batch-size", "8", "--vocabulary", "512",
        "--checkpoints", "2", "--schedule", "cosine"]  # fmt: skip
STEPS, BATCH, LENGTH, RATE = 60, 8, 128, 2e-3

#: Held-out text per item, short enough for 128 positions, and items per task: half select a scale, half report.
ITEM_BYTES, ITEMS = 120, 64

#: Of differences that are added, and of sums that are scaled as a whole.
WEIGHTS, LAMBDAS = (0.4, 0.7), {"iso_c": (0.6, 1.0), "tsv_m": (0.6, 1.0), "pcb": (0.6, 1.0), "wudi_closed": (0.6, 1.0),
                                "cart": (1.2, 2.0)}  # fmt: skip
BAR = "task_arithmetic"

#: Methods whose scale is their models' ``weight``, with what else is set: sparse ones at the densities of their papers.
WEIGHED: Mapping[str, Mapping[str, Any]] = {
    "task_arithmetic": {}, "lines": {}, "consensus": {}, "ties": {"density": 0.2, "normalize": False},
    "prune_scale": {"density": 0.1}, "breadcrumbs": {"density": 0.9}, "breadcrumbs_ties": {"density": 0.9},
    "dare_linear": {"density": 0.5, "rescale_norm": "inverse"}, "dare_ties": {"density": 0.5},
    "della_linear": {"density": 0.5}, "della": {"density": 0.5, "normalize": False},
}  # fmt: skip
#: Methods without a scale.
UNSCALED: Mapping[str, Mapping[str, Any]] = {
    "linear": {}, "multislerp": {}, "karcher": {}, "model_stock": {}, "sce": {}, "ram": {}, "ramplus_tl": {},
    "greedy_soup": {}, "hi_merging": {},
}  # fmt: skip
#: Two models at a time: no merge of three.
OF_TWO = ("slerp", "nuslerp", "nearswap", "arcee_fusion", "passthrough")


# -- candidates of 2025 papers, not shipped unless they clear the bar ------------------------------------------------


def wudi_closed(group: Any) -> torch.Tensor:
    """WUDI (arXiv 2503.08099) by its normal equations: the δ that disturbs no δᵢ's own inputs, taken from its rows."""
    deltas = [tensor - group.base for tensor in group.tensors]
    if group.base.dim() != 2 or "embed" in group.name or "head" in group.name:
        return group.base + group.parameters["lambda"] * sum(deltas)
    grams = [delta.T @ delta / delta.norm().clamp(min=1e-12) ** 2 for delta in deltas]
    total = sum(grams) + 1e-4 * torch.eye(group.base.shape[1])
    found = torch.linalg.solve(total, sum(delta @ gram for delta, gram in zip(deltas, grams, strict=True)).T).T
    return group.base + group.parameters["lambda"] * found


def cart(group: Any) -> torch.Tensor:
    """CART (arXiv 2412.12153): low-rank parts of the differences from the models' mean, added to the mean."""
    mean = torch.stack(group.tensors).mean(dim=0)
    centred = [tensor - mean for tensor in group.tensors]
    if group.base.dim() == 2:
        rank = max(1, math.ceil(0.08 * min(group.base.shape)))
        parts = [torch.linalg.svd(one, full_matrices=False) for one in centred]
        centred = [(u[:, :rank] * s[:rank]) @ v[:rank] for u, s, v in parts]
    return mean + group.parameters["lambda"] * sum(centred)


@hookimpl
def e2lm_register_merge_strategies() -> list[MergeStrategy]:
    """Both."""
    facts: dict[str, Any] = {"needs_base": True, "defaults": {"lambda": 1.0}}
    return [
        MergeStrategy("wudi_closed", "WUDI by normal equations.", wudi_closed, **facts),
        MergeStrategy("cart", "Centred differences of low rank.", cart, **facts),
    ]


# -- models ---------------------------------------------------------------------------------------------------------


def base_model(texts: Sequence[Path], out: Path) -> Path:
    """The folder of the base, trained by ``e2lm train``."""
    command = [sys.executable, "-m", "e2lm", "train", "--corpus", *map(str, texts), "--out", str(out / "base")]
    subprocess.run([*command, *BASE], check=True, stdout=subprocess.DEVNULL)
    folder = Series.read(next(path.parent for path in (out / "base").glob("*/series.json"))).checkpoints[-1].folder
    assert folder is not None
    return folder


def split(text: Path) -> tuple[str, str]:
    """What is trained on, and the last tenth."""
    whole = text.read_text(encoding="utf-8")
    return whole[: len(whole) * 9 // 10], whole[len(whole) * 9 // 10 :]


@cache
def training_tokens(base: Path, text: Path) -> torch.Tensor:
    """The first nine tenths of a text as the base reads it."""
    return torch.tensor(load_tokenizer(base).encode(split(text)[0], add_special_tokens=False))


def fine_tuned(base: Path, text: Path, seed: int, out: Path) -> Path:
    """The folder of a fine-tune; what it sees, and in which order, is the seed's."""
    from transformers import AutoModelForCausalLM

    folder = out / f"{text.parent.name}-{text.stem}-{seed}"
    if (folder / "done").is_file():
        return folder
    tokens_N = training_tokens(base, text)
    drawn = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 8) * (1 - step / STEPS)
        starts = torch.randint(len(tokens_N) - LENGTH, (BATCH,), generator=drawn)
        ids_BT = torch.stack([tokens_N[start : start + LENGTH] for start in starts])
        model(input_ids=ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    shutil.copytree(base, folder, dirs_exist_ok=True)
    model.save_pretrained(folder)
    (folder / "done").touch()
    return folder


def items_of(text: Path) -> list[HeldOutItem]:
    """Pieces of the last tenth, spread over it: every other one selects, the rest report."""
    held_out = split(text)[1]
    starts = np.linspace(0, len(held_out) - ITEM_BYTES, ITEMS).astype(int)
    return [HeldOutItem("", held_out[start : start + ITEM_BYTES]) for start in starts]


class Tasks:
    """Bits per byte of a merge on every task, by the items that select or by those that report."""

    def __init__(self, texts: Sequence[Path], base: Path, out: Path) -> None:
        from transformers import AutoModelForCausalLM

        tokenizer, self.files = load_tokenizer(base), []
        self.model = AutoModelForCausalLM.from_pretrained(base).eval()
        self.batches: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[], []]
        for text in texts:
            items = items_of(text)
            encoded = encode_items(items, tokenizer, LENGTH)
            for half in (0, 1):
                ids_BT = torch.zeros(len(encoded[half::2]), LENGTH, dtype=torch.long)
                share_BT = torch.zeros(ids_BT.shape)
                for row, one in enumerate(encoded[half::2]):
                    ids_BT[row, : len(one.ids)] = torch.tensor(one.ids)
                    # Nats of a token as bits per byte of its item, one item as good as another.
                    begin, weight = len(one.ids) - one.scored, 1 / (one.bytes * math.log(2) * len(ids_BT))
                    share_BT[row, begin : len(one.ids)] = weight
                longest = int(share_BT.nonzero()[:, 1].max()) + 1
                self.batches[half].append((ids_BT[:, :longest], share_BT[:, 1:longest]))
            file = out / f"{text.parent.name}-{text.stem}.jsonl"
            file.write_text("".join(json.dumps({"text": item.continuation}) + "\n" for item in items[0::2]))
            self.files.append(str(file))

    def bits(self, recipe: Recipe, report: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One number per task; lower is better. What stands behind an item is not seen by its tokens."""
        tensors = merged_tensors(plan_merge(recipe), 1)
        self.model.load_state_dict(tensors, strict=False)
        assert set(tensors) <= set(self.model.state_dict())
        found = []
        with torch.inference_mode():
            for ids_BT, share_BT in self.batches[report]:
                logits_BTV = self.model(input_ids=ids_BT).logits[:, :-1]
                nats_BT = torch.nn.functional.cross_entropy(
                    logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="none"
                ).view_as(share_BT)
                found.append(float((nats_BT * share_BT).sum()))
        return np.array(found)


# -- methods --------------------------------------------------------------------------------------------------------


def recipes(method: str, base: Path, tunes: Sequence[Path], tasks: Tasks) -> list[tuple[float | None, Recipe]]:
    """Scale and recipe of everything that is tried of a method."""
    data: dict[str, Any] = {"merge_method": method, "models": [{"model": str(tune)} for tune in tunes]}
    if find_strategy(method).needs_base:
        data["base_model"] = str(base)
    if method in UNSCALED:
        if isinstance(find_strategy(method), ScoredMerge):
            data["score"] = {"items": tasks.files}
        return [(None, recipe_from_data({**data, "parameters": dict(UNSCALED[method])}, method))]
    name, more, scales = "weight", WEIGHED.get(method, {}), WEIGHTS
    if method in LAMBDAS:
        name, scales = "lambda", LAMBDAS[method]
    return [(scale, recipe_from_data({**data, "parameters": {**more, name: scale}}, method)) for scale in scales]


def kept(method: str, base: Path, tunes: Sequence[Path], tasks: Tasks) -> tuple[float | None, Any]:
    """The scale that the selecting items like best, and the bits per byte of the other items under it."""
    tried = []
    for scale, recipe in recipes(method, base, tunes, tasks):
        strategy = find_strategy(method)
        if isinstance(strategy, ScoredMerge):
            found, _ = strategy.search(recipe.model_dump(mode="json"), base).run(True)
            recipe = recipe_from_data(dict(found), method)
        tried.append((float(tasks.bits(recipe, report=False).mean()), scale, recipe))
    _, scale, recipe = min(tried, key=lambda one: one[0])
    return scale, tasks.bits(recipe, report=True)


def interval(values_S: Sequence[float]) -> dict[str, float]:
    """Mean over seeds with its 95 % interval."""
    values = np.array(values_S)
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def seed_row(base: Path, texts: Sequence[Path], seed: int, tasks: Tasks, out: Path) -> dict[str, Any]:
    """Every method of one seed: the share of the fine-tunes' own gains that one merged model keeps."""
    file = out / f"seed-{seed}.json"
    if file.is_file():
        return dict(json.loads(file.read_text()))
    tunes = [fine_tuned(base, text, seed, out) for text in texts]

    def bits(folder: Path) -> Any:
        recipe = recipe_from_data({"merge_method": "passthrough", "models": [{"model": str(folder)}]}, "one")
        return tasks.bits(recipe, report=True)

    before, own = bits(base), np.array([bits(tune)[task] for task, tune in enumerate(tunes)])
    gain = float((before - own).mean())
    found: dict[str, Any] = {"seed": seed, "base": before.tolist(), "own": own.tolist(), "methods": {}}
    for method in (*WEIGHED, *LAMBDAS, *UNSCALED):
        scale, after = kept(method, base, tunes, tasks)
        found["methods"][method] = {"scale": scale, "kept": float((before - after).mean()) / gain}
    file.write_text(json.dumps(found))
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line per method, the best first."""
    found = []
    for method in rows[0]["methods"]:
        share = [row["methods"][method]["kept"] for row in rows]
        over = [row["methods"][method]["kept"] - row["methods"][BAR]["kept"] for row in rows]
        scales = [row["methods"][method]["scale"] for row in rows]
        found.append(
            {"method": method, "kept": interval(share), "over_task_arithmetic": interval(over), "scales": scales}
        )
    return sorted(found, key=lambda one: -one["kept"]["mean"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, nargs="+", required=True)
    parser.add_argument("--task", type=Path, nargs=3, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plugin_manager().load_file(Path(__file__))
    options.out.mkdir(parents=True, exist_ok=True)
    base = base_model(options.base, options.out)
    tasks = Tasks(options.task, base, options.out)
    rows = [seed_row(base, options.task, seed, tasks, options.out) for seed in range(options.seeds)]
    found = table(rows)
    if options.json:
        print(json.dumps({"unit": "share of the fine-tunes' own gains", "seeds": rows, "table": found}, indent=1))
        return 0
    for one in found:
        share, over = one["kept"], one["over_task_arithmetic"]
        print(
            f"{one['method']:<17} keeps {share['mean']:6.1%} [{share['low']:6.1%}, {share['high']:6.1%}]  over "
            f"{BAR} {over['mean']:+6.1%} [{over['low']:+6.1%}, {over['high']:+6.1%}]  scales {one['scales']}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
