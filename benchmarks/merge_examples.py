"""mergekit's own example configs through mergekit and through e2lm, on small models of the same structure.

    python benchmarks/merge_examples.py MERGEKIT/examples     # with mergekit 0.1.5 in the environment

The configs are read from a checkout of mergekit, and every model that they name is a stand-in: of its family and its
depth, a few numbers wide. Stored in float32 both tools have to agree. Stored in float16, mergekit computes in the
config's ``dtype``, where e2lm computes in float32; of the numbers that are then further apart than roundings can bring
them each has to be one of several of equal magnitude at the edge of the density, of which each of the two keeps others,
or one whose elected sign rounding decides, or one where e2lm is with mergekit in float32 and mergekit in ``dtype`` is
not. Ends with 1 where anything else differs.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from merge_side_by_side import EQUAL, SHAPE, Made, Tally, by_e2lm, by_mergekit, compare, write_family

#: Stand-ins by what a model's name holds: its family and depth.
STRUCTURES = {"istral": ("mistral", 32), "": ("llama", 40)}
PARTS = ("base", "a", "b", "c")
#: Roundings on the way of a number, each of a place of it; of LEAST where it is the difference of larger ones.
ROUNDINGS, LEAST = 4, 0.05


@dataclass(frozen=True)
class AsStored:
    """Numbers of a merge in 16 bits: in all, further apart than rounding, of those tied, and as in float32 here."""

    numbers: int
    apart: int
    tied: int
    exact_here: int
    unexplained: int


def stand_ins(data: dict[str, Any], root: Path, kind: str) -> dict[str, str]:
    """A stand-in's folder for every model that ``data`` names, written where it is not there."""
    import transformers

    entries = [*data.get("models", ()), *(one for entry in data.get("slices", ()) for one in entry["sources"])]
    base = data.get("base_model")
    others = list(dict.fromkeys(one["model"] for one in entries if one["model"] != base))
    named = ([base] if base else []) + others
    family, depth = next(one for part, one in STRUCTURES.items() if any(part in name for name in named))
    folder = root / f"{family}-{kind}"
    if not folder.is_dir():
        config = transformers.AutoConfig.for_model(family, **{**SHAPE, "num_hidden_layers": depth})
        write_family(
            folder, lambda part: transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, kind))
        )
    places = [str(folder / part) for part in (PARTS if base else PARTS[1:])]
    return dict(zip(named, places, strict=False))


def placed(value: Any, folders: dict[str, str]) -> Any:
    """``value`` with the stand-ins in the places of the models."""
    if isinstance(value, dict):
        return {
            key: folders.get(one, one) if key in ("model", "base_model") else placed(one, folders)
            for key, one in value.items()
        }
    return [placed(one, folders) for one in value] if isinstance(value, list) else value


def as_stored(text: str) -> AsStored:
    """Mergekit as it is beside e2lm and beside itself in float32, number by number."""
    theirs, exact, ours = by_mergekit(text, halved=True), by_mergekit(text), by_e2lm(text)
    tied = equal_magnitudes(text)
    counts = torch.zeros(5, dtype=torch.int64)
    for name, one in ours.tensors.items():
        is_apart = _apart(one, theirs.tensors[name])
        is_tied = is_apart & tied.tensors.get(name, torch.zeros(one.shape, dtype=torch.bool))
        is_exact = is_apart & ~is_tied & ~_apart(one, exact.tensors[name])
        unexplained = is_apart & ~is_tied & ~is_exact
        counts += torch.tensor([one.numel(), *(int(each.sum()) for each in (is_apart, is_tied, is_exact, unexplained))])
    return AsStored(*counts.tolist())


def _apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    place = torch.finfo(one.dtype).eps
    return (one.double() - other.double()).abs() > ROUNDINGS * place * one.double().abs().clamp_min(LEAST)


def equal_magnitudes(text: str) -> Made:
    """By tensor: which numbers are at the edge of the density with others of their magnitude, or of no clear sign."""
    from e2lm_merge.plan.merge_plan import plan_merge
    from e2lm_merge.plan.recipe import recipe_from_data

    plan = plan_merge(recipe_from_data(yaml.safe_load(text), "example"))
    found = {}
    for merge in plan.merges:
        if merge.base is None or "density" not in merge.model_parameters[0]:
            continue
        base = _numbers(merge.base)
        deltas = [_numbers(one) - base for one in merge.sources]
        tied = torch.zeros(merge.shape, dtype=torch.bool).reshape(-1)
        kept = []
        for delta, own in zip(deltas, merge.model_parameters, strict=True):
            count = max(1, int(own["density"] * delta.numel()))
            edge = delta.abs().sort(descending=True).values[count - 1]
            if int((delta.abs() >= edge).sum()) > count:
                tied |= delta.abs() == edge
            kept.append(torch.where(delta.abs() >= edge, delta, torch.zeros_like(delta)).double())
        weighted = torch.stack([weight * one for weight, one in zip(merge.weights, kept, strict=True)])
        unsigned = weighted.abs().sum(0)
        tied |= weighted.sum(0).abs() <= 2**-9 * unsigned
        found[merge.name] = tied.reshape(merge.shape)
    plan.files.close()
    return Made(found)


def _numbers(stored: Any) -> torch.Tensor:
    memory = torch.empty(stored.shape, dtype=torch.float16)
    stored.read(0, memory.reshape(-1).view(torch.uint8).numpy())
    return memory.reshape(-1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", type=Path, help="folder of example configs: examples/ of a checkout of mergekit")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for file in sorted(options.examples.glob("*.yml")):
            data = yaml.safe_load(file.read_text(encoding="utf-8"))

            def text(kind: str, data: dict[str, Any] = data) -> str:
                return yaml.safe_dump(placed(data, stand_ins(data, Path(temporary), kind)), sort_keys=False)

            outcome, half = compare(text("float32"), Tally()), as_stored(text("float16"))
            failed += outcome not in EQUAL or half.unexplained > 0
            print(
                f"{file.stem} ({data['merge_method']}): stored in float32 {outcome}; stored in float16 and computed by "
                f"mergekit in {data['dtype']} {half.apart} of {half.numbers} numbers are further apart than roundings: "
                f"{half.tied} of equal magnitudes, in {half.exact_here} e2lm is with mergekit in float32, "
                f"{half.unexplained} otherwise",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
