"""The table of losses that all of this package works on; a loss that is not above 0 is refused here, by its row.

Shape suffix: R rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN, Law
from e2lm_scaling.laws.objective import Array

#: Nobody trains on fewer tokens or so few parameters; smaller medians are counts of millions or billions.
FEWEST_TOKENS = 1e4
FEWEST_PARAMS = 1e4
#: Tokens per parameter outside of these come from two different units: the public record is about 1e5.
TOKENS_PER_PARAM = (1e-3, 1e7)
#: A uniform guess over 256,000 words costs ln 256e3 nats per token; a median above is no loss of trained models.
LARGEST_LOSS = 12.5
#: Standard deviation of ln(D/N) around its line in ln C below which N and D move together.
LEAST_SPLIT_SPREAD = 0.2


def table_of(params_R: Array, tokens_R: Array, loss_R: Array, series: tuple[str, ...] | None = None) -> LossTable:
    """A :class:`LossTable` from plain arrays; every row is its own series unless named."""
    names = tuple(f"run-{row}" for row in range(len(loss_R))) if series is None else series
    return LossTable(
        np.asarray(params_R, dtype=np.float64),
        np.asarray(tokens_R, dtype=np.float64),
        np.asarray(loss_R, dtype=np.float64),
        names,
    )


def flops_of(table: LossTable) -> Array:
    """Training FLOPs of every row, 6 N D."""
    flops_R: Array = FLOPS_PER_PARAMETER_TOKEN * table.params_R * table.tokens_R
    return flops_R


def subset(table: LossTable, mask_R: NDArray[np.bool_]) -> LossTable:
    """The rows where ``mask_R`` is true."""
    index = np.flatnonzero(mask_R)
    return LossTable(
        table.params_R[index], table.tokens_R[index], table.loss_R[index], tuple(table.series_R[i] for i in index)
    )


def without_largest_losses(table: LossTable, count: int) -> LossTable:
    """The table without rows whose loss is among the ``count`` largest (as ``loss < sorted[-count]``)."""
    if count <= 0:
        return table
    if count >= len(table.loss_R):
        raise UserError(f"--drop-largest-loss {count}: the table has only {len(table.loss_R)} rows; drop fewer")
    return subset(table, table.loss_R < np.sort(table.loss_R)[-count])


def checked(table: LossTable, source: str = "table") -> LossTable:
    """The table itself; a :class:`UserError` names the first row that cannot be right."""
    if not len(table.loss_R):
        raise UserError(f"{source}: no rows; give one row per trained model or checkpoint")
    for name, values_R in (("N", table.params_R), ("D", table.tokens_R), ("L", table.loss_R)):
        bad = np.flatnonzero(~(np.isfinite(values_R) & (values_R > 0)))
        if len(bad):
            raise UserError(
                f"{source}: {name} is {values_R[bad[0]]:g} in row {bad[0] + 1} (and {len(bad) - 1} more rows); "
                f"{name} must be a finite number above 0; remove or correct these rows"
            )
    _check_units(table, source)
    return table


def _check_units(table: LossTable, source: str) -> None:
    if float(np.median(table.tokens_R)) < FEWEST_TOKENS:
        raise UserError(
            f"{source}: D has median {np.median(table.tokens_R):g} tokens; that looks like billions or millions of "
            "tokens; give D in tokens (2e9, not 2)"
        )
    if float(np.median(table.params_R)) < FEWEST_PARAMS:
        raise UserError(
            f"{source}: N has median {np.median(table.params_R):g} parameters; that looks like billions or millions of "
            "parameters; give N in parameters (1.5e9, not 1.5)"
        )
    ratio = float(np.median(table.tokens_R / table.params_R))
    if not TOKENS_PER_PARAM[0] <= ratio <= TOKENS_PER_PARAM[1]:
        guilty, unit = ("D", "tokens") if ratio < 1 else ("N", "parameters")
        raise UserError(
            f"{source}: D/N has median {ratio:.3g} tokens per parameter; {guilty} looks like millions or billions of "
            f"{unit}; give N in parameters and D in tokens"
        )
    if float(np.median(table.loss_R)) > LARGEST_LOSS:
        raise UserError(
            f"{source}: L has median {np.median(table.loss_R):g}; a uniform guess over 256,000 words costs "
            f"{LARGEST_LOSS:g} nats per token; is it a perplexity (give its logarithm) or an accuracy in percent?"
        )


def check_identifiable(table: LossTable, law: Law, source: str = "table") -> None:
    """Raise a :class:`UserError` where the table cannot identify ``law``."""
    rows = len(table.loss_R)
    if rows < law.free:
        raise UserError(
            f"{source}: {rows} rows cannot identify the {law.free} parameters of law {law.name!r}; "
            f"give at least {law.free + 1} rows or a law with fewer parameters"
        )
    words = {"n": ("N", table.params_R), "d": ("D", table.tokens_R), "c": ("C", flops_of(table))}
    for letter in law.axis:
        name, values_R = words[letter]
        distinct = len(np.unique(np.round(np.log(values_R), 3)))
        if distinct < law.needs:
            raise UserError(
                f"{source}: {name} has {distinct} distinct value{'s' if distinct != 1 else ''}, so law {law.name!r} is "
                f"not identifiable (it needs {law.needs}); add runs of other {name}, or use a law without {name}"
            )


def is_identifiable(table: LossTable, law: Law) -> bool:
    """Whether the table can identify ``law``."""
    try:
        check_identifiable(table, law)
    except UserError:
        return False
    return True


def split_spread(table: LossTable) -> float:
    """How far N goes its own way at fixed compute: standard deviation of ln(D/N) around its line in ln C.

    >>> n = np.geomspace(1e7, 1e9, 5)
    >>> round(split_spread(table_of(n, 20 * n, 3 + 0 * n)), 6)
    0.0
    """
    ratio_R, log_flops_R = np.log(table.tokens_R / table.params_R), np.log(flops_of(table))
    if len(ratio_R) < 3 or np.ptp(log_flops_R) < LEAST_SPLIT_SPREAD:
        return float(np.std(ratio_R))
    centred_R = log_flops_R - log_flops_R.mean()
    return float(np.std(ratio_R - np.polyval(np.polyfit(centred_R, ratio_R, 1), centred_R)))


def check_split(table: LossTable, source: str = "table") -> None:
    """Raise a :class:`UserError` where N and D move together, so that no law can tell how to split compute."""
    spread = split_spread(table)
    if spread >= LEAST_SPLIT_SPREAD:
        return
    largest = int(np.argmax(flops_of(table)))
    params, tokens = float(table.params_R[largest]) / 2, float(table.tokens_R[largest]) / 2
    low, high = params / 3, params * 3
    raise UserError(
        f"{source}: at equal compute D/N varies by {np.expm1(spread):.0%} only, so the runs do not tell how to split a "
        "budget into parameters and tokens; the forecast along this line stands (predict fit --at); what would settle "
        f"it: two more runs, N={low:.2g} on D={3 * tokens:.2g} and N={high:.2g} on D={tokens / 3:.2g}"
    )
