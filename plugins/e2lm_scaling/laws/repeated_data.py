"""Loss when tokens are repeated: Muennighoff et al. 2023 (arXiv 2305.16264).

L = E + A / N'^alpha + B / D'^beta with effective N' = U_N + U_N R_N* (1 - exp(-R_N / R_N*)) and the same for D',
where U is the number of unique tokens, R_D = D/U - 1 repetitions, U_N = min(N, N_opt(U)) and R_N = N/U_N - 1.
Shape suffix: R rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from e2lm_scaling.laws.objective import Array, Objective

#: Starts for the two half-lives, ln spaced: the valley is flat and has local optima.
STARTS = tuple((d, n) for d in (3.0, 10.0, 30.0, 100.0) for n in (0.5, 2.0, 6.0, 20.0))


@dataclass(frozen=True, slots=True)
class RepeatedDataLaw:
    """The law with all its constants; ``tokens_decay`` and ``params_decay`` are R_D* and R_N*."""

    log_a: float
    log_b: float
    log_floor: float
    exponent: float
    tokens_decay: float
    params_decay: float

    def optimal_params(self, unique_tokens: Array) -> Array:
        """N_opt(U): the model that D = U tokens are compute-optimal for."""
        ratio = np.exp((self.log_a - self.log_b) / self.exponent)
        result: Array = ratio * unique_tokens
        return result

    def loss(self, params_R: Array, tokens_R: Array, unique_R: Array) -> Array:
        """Nats per token for N parameters trained on D tokens of which U are unique.

        >>> one = MUENNIGHOFF.loss(np.array([6.34e9]), np.array([242e9]), np.array([25e9]))
        >>> round(float(one[0]), 8)
        2.22564409
        """
        unique_R = np.minimum(unique_R, tokens_R)
        effective_tokens_R = _effective(unique_R, tokens_R / unique_R - 1.0, self.tokens_decay)
        base_R = np.minimum(params_R, self.optimal_params(unique_R))
        effective_params_R = _effective(base_R, params_R / base_R - 1.0, self.params_decay)
        result: Array = (
            np.exp(self.log_floor)
            + np.exp(self.log_a) / effective_params_R**self.exponent
            + np.exp(self.log_b) / effective_tokens_R**self.exponent
        )
        return result

    def effective_tokens(self, tokens_R: Array, unique_R: Array) -> Array:
        """How many unique tokens the repeated ones are worth."""
        unique_R = np.minimum(unique_R, tokens_R)
        return _effective(unique_R, tokens_R / unique_R - 1.0, self.tokens_decay)


def _effective(base_R: Array, repetitions_R: Array, decay: float) -> Array:
    result: Array = base_R * (1.0 + decay * (1.0 - np.exp(-repetitions_R / decay)))
    return result


#: The published constants.
MUENNIGHOFF = RepeatedDataLaw(6.255414, 7.3049974, 0.6254804, 0.3526596, 15.387756, 5.309743)


def refit_decays(
    law: RepeatedDataLaw, params_R: Array, tokens_R: Array, unique_R: Array, loss_R: Array
) -> tuple[RepeatedDataLaw, float]:
    """The law with R_D* and R_N* fitted, all else kept, and the objective there (Huber, delta 1e-3, sum).

    The valley is flat: compare objectives and predictions, never the two numbers.
    """
    objective = Objective()
    log_loss_R = np.log(loss_R)

    def value(log_decays: Array) -> float:
        tried = replace(law, tokens_decay=float(np.exp(log_decays[0])), params_decay=float(np.exp(log_decays[1])))
        residual_R = np.log(tried.loss(params_R, tokens_R, unique_R)) - log_loss_R
        return 1e3 * float(objective.value(residual_R).sum())  # the plain sum is below every default tolerance

    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000}
    ends = [minimize(value, np.log(start), method="Nelder-Mead", options=options) for start in STARTS]
    best = min(ends, key=lambda end: float(end.fun))
    fitted = replace(law, tokens_decay=float(np.exp(best.x[0])), params_decay=float(np.exp(best.x[1])))
    return fitted, float(best.fun) / 1e3
