"""Where a loss is going: fans of forecasts by whichever registered predictor follows single runs.

Shape suffix: K checkpoints of one run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from e2lm.errors import E2LMError, one_line
from e2lm.plugin_manager import plugin_manager
from e2lm.scaling_predictor import Forecast, ScalingPredictor, UnfinishedRun
from e2lm.signal_score import Curve

#: How far ahead, in lengths of the run so far.
AHEAD = (1.25, 2.0)
#: Fewer checkpoints than this say nothing of where a run goes.
LEAST_POINTS = 5


def fans_of(rows: pd.DataFrame, higher_is_better: bool) -> dict[str, Any]:
    """By run of one task x metric: name of the predictor and its forecasts ahead, or ``why`` there is none.

    ``x`` is in lengths of the run so far: 1.5 is half as far again.
    """
    if higher_is_better or (rows["value"] <= 0).any():
        return {}
    manager = plugin_manager()
    every = manager.all("e2lm_register_scaling_predictors", ScalingPredictor, "scaling predictor")
    able = sorted((one for one in every if "curve" in one.capabilities), key=lambda one: one.is_baseline)
    return {str(run): _fan(_curve(str(run), own), able) for run, own in rows.groupby("series")}


def _curve(run: str, rows: pd.DataFrame) -> Curve:
    own = rows[rows["step"] > 0].sort_values("step").drop_duplicates("step", keep="last")
    numbers = {name: own[name].to_numpy(dtype=np.float64) for name in ("step", "tokens", "value", "stderr", "n")}
    return Curve(
        run,
        str(rows["task"].iloc[0]),
        str(rows["metric"].iloc[0]),
        numbers["step"].astype(np.int64),
        numbers["tokens"],
        numbers["value"],
        numbers["stderr"],
        numbers["n"].astype(np.int64),
        higher_is_better=False,
    )


def _fan(curve: Curve, able: list[ScalingPredictor]) -> dict[str, Any]:
    if len(curve.steps_K) < LEAST_POINTS:
        return {"why": f"{len(curve.steps_K)} checkpoints after step 0, {LEAST_POINTS} are needed"}
    whys = []
    for predictor in able:
        try:
            found = [(ahead, _at(predictor, curve, ahead)) for ahead in AHEAD]
        except (E2LMError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            whys.append(f"{predictor.name}: {one_line(error)}")
            continue
        if all(one.has_interval for _, one in found):
            points = [{"x": ahead, "v": one.value, "l": one.low, "h": one.high} for ahead, one in found]
            return {"name": predictor.name, "points": points}
        whys.append(f"{predictor.name}: {next(one.reason for _, one in found if not one.has_interval)}")
    return {"why": "; ".join(whys) or "no plugin forecasts the end of a run"}


def _at(predictor: ScalingPredictor, curve: Curve, ahead: float) -> Forecast:
    run = UnfinishedRun(curve, 1.0)
    run = UnfinishedRun(curve, float(run.at_K[-1]) * ahead)
    return predictor.at_end(run, np.random.default_rng(0))
