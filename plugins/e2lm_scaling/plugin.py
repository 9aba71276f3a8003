"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from e2lm.hookspecs import hookimpl

if TYPE_CHECKING:
    from e2lm.command import Command
    from e2lm.scaling_predictor import ScalingPredictor
    from e2lm.verb import Verb


@hookimpl
def e2lm_register_scaling_predictors() -> Iterable[ScalingPredictor]:
    """Laws, their average and baselines."""
    from e2lm_scaling.forecast.predictors import scaling_predictors

    return scaling_predictors()


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm predict``."""
    from e2lm_scaling.cli.command import PREDICT_COMMAND

    return [PREDICT_COMMAND]


@hookimpl
def e2lm_register_verbs() -> Iterable[Verb]:
    """What ``e2lm.NAME(...)`` does from Python."""
    from e2lm_scaling.verbs import verbs

    return verbs()
