"""Numbers that others published or that were computed independently, on their data; skipped where it is absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import table_of, without_largest_losses
from e2lm_scaling.laws.downstream import TaskChain, fit_accuracy_law, fit_error_law, smoothed
from e2lm_scaling.laws.fit import bootstrap, fit, fitted, refitted
from e2lm_scaling.laws.law import LAWS
from e2lm_scaling.laws.objective import Objective
from e2lm_scaling.laws.published import published_fit
from e2lm_scaling.laws.repeated_data import MUENNIGHOFF, refit_decays
from e2lm_scaling.laws.schedule import MultiPowerLaw, RateSchedule
from e2lm_scaling.laws.solver import solve

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "scaling"


def found(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no data at {path}")
    return path


# -- Chinchilla points --------------------------------------------------------------------------------------------


def chinchilla_points(drop: int) -> LossTable:
    frame = pd.read_csv(found("chinchilla_epoch/svg_extracted_data.csv"))
    params, flops = frame["Model Size"].to_numpy(), frame["Training FLOP"].to_numpy()
    return without_largest_losses(table_of(params, flops / 6 / params, frame["loss"].to_numpy()), drop)


def test_huber_optimum_of_240_points():
    best = fit(chinchilla_points(5))
    assert best.value <= 0.00101827402 + 1e-9
    assert best.params["A"] == pytest.approx(477.83, rel=1e-3)
    assert best.params["B"] == pytest.approx(2143.4, rel=1e-3)
    assert best.params["E"] == pytest.approx(1.81722, abs=1e-4)
    assert best.params["alpha"] == pytest.approx(0.34731, abs=1e-4)
    assert best.params["beta"] == pytest.approx(0.36717, abs=1e-4)


def test_l1_optimum_of_240_points_is_what_besiroglu_printed():
    best = fit(chinchilla_points(5), objective=Objective("l1"))
    assert best.params["A"] == pytest.approx(482.01, rel=5e-4)
    assert best.params["B"] == pytest.approx(2085.43, rel=1e-3)
    assert best.params["E"] == pytest.approx(1.81686, abs=1e-4)
    assert best.params["alpha"] == pytest.approx(0.34781, abs=1e-4)
    assert best.params["beta"] == pytest.approx(0.36585, abs=1e-4)


def test_a_start_at_hoffmanns_parameters_reaches_the_optimum():
    table = chinchilla_points(5)
    law = LAWS["chinchilla"]
    rows = law.rows(table.params_R, table.tokens_R, table.loss_R)
    start = law.reduced(published_fit("hoffmann").theta_1T)
    solution = solve(law, rows, start, np.ones((1, len(table.loss_R))), Objective())
    assert solution.converged_B[0]
    assert solution.value_B[0] <= 0.00101827402 + 1e-9


def test_bootstrap_standard_errors_of_240_points():
    draws = bootstrap(fit(chinchilla_points(5)), 4000, np.random.default_rng(0))
    assert draws.converged_share > 0.99
    wanted = {"E": 0.0257, "alpha": 0.0151, "beta": 0.0206}
    assert {name: draws.stderr[name] for name in wanted} == pytest.approx(wanted, rel=0.10)
    assert np.std(draws.params_exponent_B) == pytest.approx(0.020, rel=0.10)
    assert draws.stderr["A"] == pytest.approx(125, rel=0.15)


def test_optimum_of_all_245_points():
    best = fit(chinchilla_points(0))
    wanted = {"A": 495.7, "B": 12846, "E": 1.8913, "alpha": 0.3493, "beta": 0.4531}
    assert best.params == pytest.approx(wanted, rel=0.01)


# -- repeated data, over-training ---------------------------------------------------------------------------------


def test_repeated_data_half_lives_refit_no_worse_than_the_published_optimum():
    frame = pd.read_csv(found("datablations/c4_182_runs_used_for_RD_RN_fit.csv"))
    columns = [frame[name].to_numpy(dtype=float) for name in ("params", "tokens", "unique_tokens", "val_loss")]
    residual = np.log(MUENNIGHOFF.loss(*columns[:3])) - np.log(columns[3])
    published = float(Objective().value(residual).sum())
    _, value = refit_decays(MUENNIGHOFF, *columns)
    assert published == pytest.approx(0.0158259, abs=1e-6)
    assert value <= 0.0158260
    assert value <= 0.0158074 + 1e-7


def test_gadre_over_training_law_and_mean_error():
    frame = pd.read_csv(found("gadre/gadre_104_models.csv"))
    rpj = frame[frame["dataset"] == "rpj"]
    small = rpj[rpj["model"].str.startswith("d=")]
    train = pd.concat([
        small[small["cc_mult"] == 1],
        small[(small["cc_mult"] == 16) & (small["model"] == "d=96_l=8_h=4")],
    ])  # fmt: skip
    table = table_of(train["N"], train["D"], train["loss_c4_val"])
    best = fit(table, "chinchilla-tied", Objective("mse", space="loss"))
    exponent = -best.params["alpha"]
    assert best.params["A"] == pytest.approx(166.21, abs=0.01)
    assert best.params["B"] / 6 ** (exponent / 2) == pytest.approx(366.69, abs=0.02)
    assert exponent == pytest.approx(-0.27285, abs=1e-5)
    assert best.params["E"] == pytest.approx(1.83665, abs=1e-5)
    targets = [
        rpj[rpj["model"] == "open_lm_7b"].iloc[0],
        rpj[rpj["model"] == "open_lm_1b"].sort_values("cc_mult").iloc[-1],
    ]
    predicted = [float(best.loss(target["N"], target["D"])) for target in targets]
    errors = [100 * abs(p / t["loss_c4_val"] - 1) for p, t in zip(predicted, targets, strict=True)]
    assert errors == pytest.approx([0.7320, 0.7103], abs=0.01)
    with_1b = pd.concat([train, rpj[(rpj["model"] == "open_lm_1b") & (rpj["cc_mult"] == 1)]])
    law = fit_error_law(with_1b["loss_c4_val"].to_numpy(), with_1b["err_avg17"].to_numpy())
    tasks = [
        100 * abs(float(law.error(np.array(p))) / t["err_avg17"] - 1) for p, t in zip(predicted, targets, strict=True)
    ]
    assert tasks == pytest.approx([0.0464, 3.6365], abs=0.01)


# -- OLMo ladder --------------------------------------------------------------------------------------------------

#: MMLU's parts by their number of questions, as the ladder weights them.
MMLU = {"stem": 0.215, "humanities": 0.335, "social_sciences": 0.219, "other": 0.231}
#: task, chance, bits per byte and accuracy predicted for the 13B model.
LADDER = [
    ("mmlu", 0.25, 0.7502, 0.5127),
    ("hellaswag_val", 0.25, 0.6532, 0.8530),
    ("arc_challenge_test", 0.25, 0.7833, 0.5267),
    ("arc_easy_test", 0.25, 0.5931, 0.7724),
    ("piqa_val", 0.5, 0.8748, 0.8208),
    ("csqa_val", 0.2, 0.6617, 0.7761),
    ("socialiqa_val", 1 / 3, 0.9916, 0.5995),
    ("openbookqa_test", 0.25, 1.2750, 0.4486),
]
TARGET_PARAMS, TARGET_TOKENS = 13202396160, 5000088518656


def ladder_column(frame: pd.DataFrame, task: str, group: str, suffix: str) -> np.ndarray:
    if task != "mmlu":
        return frame[f"eval/{group}/{task}_rc_5shot_{suffix}"].to_numpy()
    parts = [w * frame[f"eval/{group}/mmlu_{part}_test_rc_5shot_{suffix}"] for part, w in MMLU.items()]
    return sum(part.to_numpy() for part in parts)


def ladder_chain(task: str, chance: float) -> TaskChain:
    folder = found("olmo_ladder")
    configs = json.loads((folder / "configs/final.json").read_text())
    params, tokens, bits, x, y = [], [], [], [], []
    for config in configs.values():
        if config["mode"] != "train":
            continue
        for path in config["paths"]:
            frame = pd.read_csv(folder / "data/ladder-runs" / Path(path).name)
            curve = ladder_column(frame, task, "downstream_bpb", "bpb")
            params.append(config["n"])
            tokens.append(float(int(frame["throughput/total_tokens"].iloc[-1])))
            bits.append(curve[-5:].mean())
            skip = int(np.ceil(0.1 * len(curve)))
            x.append(smoothed(curve[skip:]))
            y.append(smoothed(ladder_column(frame, task, "downstream", "len_norm")[skip:]))
    best = fit(table_of(np.array(params), np.array(tokens), np.array(bits)))
    return TaskChain(best, fit_accuracy_law(np.concatenate(x), np.concatenate(y), chance))


@pytest.mark.parametrize(("task", "chance", "bits", "accuracy"), LADDER)
def test_ladder_predicts_the_13b_model_as_its_authors_do(task, chance, bits, accuracy):
    chain = ladder_chain(task, chance)
    assert float(chain.loss_fit.loss(TARGET_PARAMS, TARGET_TOKENS)) == pytest.approx(bits, abs=2e-4)
    assert chain.accuracy(TARGET_PARAMS, TARGET_TOKENS) == pytest.approx(accuracy, abs=5e-4)
    assert ("E" in chain.loss_fit.at_bound) == (task == "csqa_val")


# -- learning-rate schedules --------------------------------------------------------------------------------------

#: From the authors' logs: L0, A, alpha, B, C, beta, gamma; then mean R2, MAE and worst relative error of six test runs.
MULTI_POWER = [
    (25, (3.0404540607184405, 0.524686039368193, 0.5078685704877554, 363.7875162170278, 2.0656081241337327,
          0.5827901296148124, 0.6414225733502996), (0.9988, 0.00376, 0.00409)),
    (100, (2.6514477024161742, 0.6011515230827974, 0.4529581100522778, 437.94642760340304, 2.132456121480403,
           0.5978519925072291, 0.6552364418199805), (0.9983, 0.00435, 0.00583)),
    (400, (2.374744659170942, 0.6542121550244083, 0.42878731201783993, 523.4246437117536, 2.0246273548931515,
           0.5935049336845727, 0.6347245666876161), (0.9978, 0.00484, 0.00995)),
]  # fmt: skip
SCHEDULES = {
    "constant_72000": RateSchedule("constant", 3e-4, 72000, 2160),
    "cosine_72000": RateSchedule("cosine", 3e-4, 72000, 2160, 3e-5),
    "wsd_20000_24000": RateSchedule("wsd", 3e-4, 24000, 2160, 3e-5, 20000),
    "wsdld_20000_24000": RateSchedule("wsd-linear", 3e-4, 24000, 2160, 3e-5, 20000),
    "wsdcon_3": RateSchedule("step", 3e-4, 16000, 2160, 3e-5, 8000),
    "wsdcon_18": RateSchedule("step", 3e-4, 16000, 2160, 1.8e-4, 8000),
}


@pytest.mark.parametrize(("size", "constants", "wanted"), MULTI_POWER)
def test_multi_power_law_on_six_held_out_schedules(size, constants, wanted):
    folder = found(f"multipowerlaw/loss_curve_repo/csv_{size}")
    law = MultiPowerLaw(*constants)
    scores = []
    for name, schedule in SCHEDULES.items():
        frame = pd.read_csv(folder / f"{name}.csv")
        steps, truth = frame["step"].to_numpy(), frame["loss"].to_numpy()
        assert schedule.rates_S[steps] == pytest.approx(frame["lr"].to_numpy(), rel=1e-9)
        error = law.loss(schedule.rates_S, steps) - truth
        r_squared = 1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum()
        scores.append((r_squared, np.abs(error).mean(), np.abs(error / truth).max()))
    assert np.mean(scores, axis=0) == pytest.approx(wanted, abs=6e-6, rel=6e-5)


# -- published constants, speed of agreement ----------------------------------------------------------------------


def test_weights_of_a_bootstrap_start_at_the_fit():
    best = fit(chinchilla_points(5))
    found = refitted(best, np.ones((1, len(best.table.loss_R))))
    assert found.usable_B.all()
    assert found.theta_BT[0] == pytest.approx(best.theta_T, rel=1e-6)


def test_four_starts_find_the_same_optimum_as_sixteen():
    table = chinchilla_points(5)
    few = fitted(LAWS["chinchilla"], table, Objective(), np.ones(len(table.loss_R)), 4)
    assert few is not None
    assert few.value == pytest.approx(fit(table).value, rel=1e-9)
