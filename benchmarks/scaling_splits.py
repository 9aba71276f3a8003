"""Leave-largest-out splits of public losses: what the intervals of ``e2lm predict`` were chosen and judged on.

Each split trains on small runs and holds out larger ones of the same corpus. ``CHOSEN_ON`` names the corpora that the
interval method was chosen on; every other corpus was looked at afterwards only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import flops_of, subset, table_of

DATA = Path(__file__).parents[1] / ".." / "shared/data/scaling"
CHOSEN_ON = ("chinchilla", "gadre", "gemstones", "fineweb-100b", "starcoder", "ladder-c4", "ladder-hellaswag")


@dataclass(frozen=True, slots=True)
class Split:
    """Small runs to learn from, larger ones to predict."""

    name: str
    corpus: str
    train: LossTable
    held: LossTable


def cut(name: str, corpus: str, table: LossTable, below: float, above: float) -> Split:
    flops_R = flops_of(table)
    return Split(name, corpus, subset(table, flops_R < below), subset(table, flops_R >= above))


def chinchilla(folder: Path) -> Iterator[Split]:
    frame = pd.read_csv(folder / "chinchilla_epoch/svg_extracted_data.csv")
    frame = frame[frame["loss"] < frame["loss"].nlargest(5).min()]
    params, flops = frame["Model Size"].to_numpy(), frame["Training FLOP"].to_numpy()
    table = table_of(params, flops / 6 / params, frame["loss"].to_numpy())
    yield cut("chinchilla 1e21", "chinchilla", table, 1e21, 1e21)
    yield cut("chinchilla 1e20", "chinchilla", table, 1e20, 1e21)


def gadre(folder: Path) -> Iterator[Split]:
    frame = pd.read_csv(folder / "gadre/gadre_104_models.csv")
    for dataset in ("c4_original", "rpj", "rw_original"):
        rows = frame[frame["dataset"] == dataset]
        small = rows["model"].str.startswith("d=").to_numpy()
        table = table_of(rows["N"], rows["D"], rows["loss_c4_val"])
        yield Split(f"gadre {dataset}", "gadre", subset(table, small), subset(table, ~small))


def gemstones(folder: Path) -> Iterator[Split]:
    frame = pd.read_json(folder / "gemstones/wandb_df_for_fitting_cool_end.jsonl", lines=True)
    table = table_of(
        frame["params_active_precise"], frame["tokens"], frame["final_loss"], tuple(frame["run_name"].astype(str))
    )
    yield cut("gemstones 1e20", "gemstones", table, 1e20, 4e20)
    yield cut("gemstones 3e19", "gemstones", table, 3e19, 3e20)


def repeated(folder: Path) -> Iterator[Split]:
    frame = pd.read_csv(folder / "datablations/c4_runs_from_parametric_fit_notebook.csv")
    frame = frame[frame["epochs"] <= 1.0]
    yield cut(
        "datablations 5e20", "datablations", table_of(frame["params"], frame["tokens"], frame["val_loss"]), 5e20, 5e20
    )


def loss_to_loss(folder: Path) -> Iterator[Split]:
    sweep = pd.read_csv(folder / "loss_to_loss/sweep.csv")
    big = pd.read_csv(folder / "loss_to_loss/extrapolation.csv")
    for corpus, rows in sweep.groupby("data"):
        table = table_of(rows["params"], rows["tokens"], rows["val_loss"])
        target = big[big["data"] == corpus]
        held = table_of(target["params"], target["tokens"], target["val_loss"])
        yield Split(f"{corpus} 20x", str(corpus), table, held)
        budget = rows["iso_flop"].to_numpy()
        yield Split(f"{corpus} 5x", str(corpus), subset(table, budget <= 1e19), subset(table, budget > 4e19))


MMLU = {"stem": 0.215, "humanities": 0.335, "social_sciences": 0.219, "other": 0.231}
LADDER_TASKS = (
    "c4", "mmlu", "hellaswag_val", "arc_challenge_test", "arc_easy_test", "piqa_val", "csqa_val", "socialiqa_val",
    "openbookqa_test",
)  # fmt: skip


def ladder_curve(frame: pd.DataFrame, task: str) -> np.ndarray:
    if task == "c4":
        return frame["eval/c4_en-validation/CrossEntropyLoss"].to_numpy()
    if task == "mmlu":
        return sum(w * frame[f"eval/downstream_bpb/mmlu_{p}_test_rc_5shot_bpb"].to_numpy() for p, w in MMLU.items())
    return frame[f"eval/downstream_bpb/{task}_rc_5shot_bpb"].to_numpy()


def ladder_tokens(frame: pd.DataFrame) -> float:
    if "throughput/total_tokens" in frame:
        return float(frame["throughput/total_tokens"].iloc[-1])
    return float(frame["_step"].iloc[-1] * frame["batch_size_in_tokens"].iloc[-1])


def ladder(folder: Path) -> Iterator[Split]:
    runs = folder / "olmo_ladder/data/ladder-runs"
    configs = json.loads((folder / "olmo_ladder/configs/final.json").read_text())
    for task in LADDER_TASKS:
        train, held = [], []
        for config in configs.values():
            for path in config["paths"]:
                frame = pd.read_csv(runs / Path(path).name)
                row = (config["n"], ladder_tokens(frame), float(ladder_curve(frame, task)[-5:].mean()))
                (train if config["mode"] == "train" else held).append(row)
        corpus = f"ladder-{task.split('_')[0] if not task.startswith('arc') else task.removesuffix('_test')}"
        tables = [table_of(*(np.array(column) for column in zip(*rows, strict=True))) for rows in (train, held)]
        yield Split(f"{corpus} 7B 13B", corpus, *tables)


def splits(folder: Path = DATA) -> list[Split]:
    """Every split whose data are present."""
    found: list[Split] = []
    for source in (chinchilla, gadre, gemstones, repeated, loss_to_loss, ladder):
        try:
            found += list(source(folder))
        except FileNotFoundError:
            continue
    return found
