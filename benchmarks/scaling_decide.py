"""Replays ``e2lm predict decide`` on public runs: choose at 5 % of the budget, compare with hindsight.

* recipes: six corpora x 20 losses of the loss-to-loss sweep; per corpus seven runs (4 % of the compute of the big run)
  choose between each pair of corpora at 1e21 FLOPs.
* models: OLMo ladder, eight tasks and C4; runs that together cost at most 5 % of both candidates choose between
  two (N, D) of about equal compute.

Prints the share of right choices, the Brier score of the stated probabilities beside always-persist (the one that is
ahead stays ahead, for certain) and single-scale ranking (the same with the 80 % that DataDecide found), and a
reliability table; ``--plot FILE.svg`` draws the reliability of all choices together.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from scaling_splits import DATA, LADDER_TASKS, ladder_curve, ladder_tokens
from scipy.stats import beta

from e2lm.atomic_file import write_text
from e2lm.chart import CATEGORIES, Chart, Line, svg
from e2lm_scaling.forecast.comparison import compare_models, compare_recipes, matched_differences
from e2lm_scaling.forecast.predictors import AVERAGE
from e2lm_scaling.forecast.table import flops_of, subset, table_of

BUDGET_SHARE = 0.05
#: Pairs of these corpora set the two constants of ``compare_recipes``; all other pairs were looked at afterwards.
CHOSEN_CORPORA = ("fineweb-100b", "fineweb-edu-100b", "proof-pile-2", "slimpajama-chunk1")
#: Decision accuracy of ranking at one small scale (Magnusson et al. 2025, arXiv 2504.11393).
SINGLE_SCALE = 0.8


def recipe_choices(folder: Path = DATA):
    """(group, stated probability of the first, single-scale sign, truth) of every pair and loss."""
    sweep = pd.read_csv(folder / "loss_to_loss/sweep.csv")
    big = pd.read_csv(folder / "loss_to_loss/extrapolation.csv").set_index("data")
    names = pd.read_csv(folder / "loss_to_loss/opt_params_data.csv")["loss_name"].unique()
    losses = [name for name in names if name.startswith("eval/")]
    target = float(big["iso_flop"].iloc[0])
    few = {}
    for corpus, rows in sweep.groupby("data"):
        chosen = rows.loc[((np.log(rows["data_ratio"] / 20)) ** 2).groupby(rows["iso_flop"]).idxmin()]
        chosen = chosen.sort_values("iso_flop")
        few[corpus] = chosen[chosen["iso_flop"].cumsum() <= BUDGET_SHARE * target]
    for loss in losses:
        tables = {corpus: table_of(rows["params"], rows["tokens"], rows[loss]) for corpus, rows in few.items()}
        for first, second in combinations(sorted(tables), 2):
            found = compare_recipes(tables[first], tables[second], target)
            # Ranking at one scale, at its best: the scale is one that both have.
            ahead = matched_differences(tables[first], tables[second])[1][-1] < 0
            truth = bool(big.loc[first, loss] < big.loc[second, loss])
            group = "recipes, chosen on" if {first, second} <= set(CHOSEN_CORPORA) else "recipes, others"
            yield group, found.first_is_better, bool(ahead), truth


def ladder_table(folder: Path, task: str):
    rows = []
    sizes = {"190M": 190354176, "370M": 371262464, "760M": 758220288, "1B": 1279395840, "3B": 3169537280}
    runs = folder / "olmo_ladder/data/ladder-runs"
    for path in sorted(runs.glob("*xC.csv")):
        frame = pd.read_csv(path)
        rows.append(
            (sizes[path.name.split("-")[0]], ladder_tokens(frame), float(ladder_curve(frame, task)[-5:].mean()))
        )
    for name, params in (("peteish7_eval_anneal.csv", 6887575552), ("peteish13_eval_final.csv", 13202396160)):
        frame = pd.read_csv(runs / name)
        rows.append((params, ladder_tokens(frame), float(ladder_curve(frame, task)[-5:].mean())))
    return table_of(*(np.array(column, dtype=float) for column in zip(*rows, strict=True)))


def model_choices(folder: Path = DATA):
    for task in LADDER_TASKS:
        table = ladder_table(folder, task)
        flops = flops_of(table)
        order = np.argsort(flops)
        for i, j in combinations(order, 2):
            near = abs(np.log(flops[i] / flops[j])) < np.log(2.6) and table.params_R[i] != table.params_R[j]
            if not near:
                continue
            cheap = order[np.cumsum(flops[order]) <= BUDGET_SHARE * (flops[i] + flops[j])]
            if len(cheap) < 8:
                continue
            train = subset(table, np.isin(np.arange(len(flops)), cheap))
            pair = [(float(table.params_R[k]), float(table.tokens_R[k])) for k in (i, j)]
            found = compare_models(AVERAGE.fitted(train, np.random.default_rng(0)), *pair)
            # Persisting means that whoever spends more compute stays ahead.
            yield "models", found.first_is_better, bool(flops[i] > flops[j]), bool(table.loss_R[i] < table.loss_R[j])


def judged(choices):
    stated, ahead, truth = (np.array(column, dtype=float) for column in zip(*choices, strict=True))
    single = np.where(ahead == 1, SINGLE_SCALE, 1 - SINGLE_SCALE)
    bins = np.clip((np.maximum(stated, 1 - stated) * 10).astype(int), 5, 9)
    right = (stated > 0.5) == (truth == 1)
    reliability = [
        {"stated": float(np.maximum(stated, 1 - stated)[bins == one].mean()), "right": float(right[bins == one].mean()),
         "choices": int((bins == one).sum())}
        for one in range(5, 10) if (bins == one).any()
    ]  # fmt: skip
    return {
        "choices": len(truth),
        "right": float(right.mean()),
        "right_single_scale": float(np.mean(ahead == truth)),
        "mean_stated": float(np.maximum(stated, 1 - stated).mean()),
        "brier": float(np.mean((stated - truth) ** 2)),
        "brier_always_persist": float(np.mean((ahead - truth) ** 2)),
        "brier_single_scale": float(np.mean((single - truth) ** 2)),
        "reliability": reliability,
    }


def replay(folder: Path = DATA):
    """Results by group, and of all choices."""
    every = [*recipe_choices(folder), *model_choices(folder)]
    groups = {}
    for group, *choice in every:
        groups.setdefault(group, []).append(choice)
        groups.setdefault("all", []).append(choice)
    return {group: judged(choices) for group, choices in groups.items()}


def reliability_chart(row):
    """Stated probability against the share that was right, with 90 % intervals (Jeffreys) and counts."""
    bins = row["reliability"]
    right = np.array([round(one["right"] * one["choices"]) for one in bins])
    count = np.array([one["choices"] for one in bins])
    low, high = (beta.ppf(share, right + 0.5, count - right + 0.5) for share in (0.05, 0.95))
    stated = [one["stated"] for one in bins]
    counts = ", ".join(f"{one['stated']:.2f}: {one['choices']}" for one in bins)
    return Chart(
        "Stated and observed: choices at 5 % of the budget",
        f"probability stated (choices: {counts})",
        "share that was right",
        [
            Line("stated = observed", [0.5, 1.0], [0.5, 1.0], color=CATEGORIES[1], points=False, dashed=True),
            Line(
                f"{row['choices']} choices with 90 % interval", stated, [one["right"] for one in bins],
                low.tolist(), high.tolist(),
            ),
        ],
        description=f"Reliability of decide: of {row['choices']} choices {row['right']:.1%} were right where "
        f"{row['mean_stated']:.1%} was stated; Brier {row['brier']:.3f}",
        width=560,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw stated against observed")
    arguments = parser.parse_args()
    report = replay()
    if arguments.plot:
        write_text(arguments.plot, svg(reliability_chart(report["all"]), standalone=True) + "\n")
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for group, row in report.items():
        print(
            f"{group}: {row['right']:.1%} of {row['choices']} right (single scale {row['right_single_scale']:.1%}), "
            f"stated {row['mean_stated']:.1%}; Brier {row['brier']:.3f} (always-persist "
            f"{row['brier_always_persist']:.3f}, single-scale {row['brier_single_scale']:.3f})"
        )
        print("   " + "  ".join(f"{b['stated']:.2f}->{b['right']:.2f} ({b['choices']})" for b in row["reliability"]))


if __name__ == "__main__":
    main()
