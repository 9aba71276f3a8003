"""Published fits of N-and-D laws as named, cited objects: each keeps its constants together.

Shape suffix: T family parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2lm.errors import UserError, nearest_names
from e2lm_scaling.laws.kaplan import LOSS_OF_PARAMS_AND_TOKENS, SOURCE
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN, LAWS, Law
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.laws.optimum import Optimum, optimum
from e2lm_scaling.laws.power_sum import NO_FLOOR


@dataclass(frozen=True, slots=True)
class PublishedFit:
    """One fit as printed; N in ``params_unit``, D in tokens, L in nats per token."""

    name: str
    law: Law
    theta_T: tuple[float, ...]
    source: str
    params_unit: str = "parameters, all"

    def loss(self, params: float, tokens: float) -> float:
        """The loss at N and D."""
        return float(np.exp(self.law.log_loss(self.theta_1T, np.array([params]), np.array([tokens]))[0, 0]))

    @property
    def theta_1T(self) -> Array:
        """The parameters as the family takes them, shape (1, T)."""
        return np.array([self.theta_T])

    def optimum(self, flops: float) -> Optimum:
        """The compute-optimal model."""
        return optimum(self.theta_1T, flops)


def _chinchilla(name: str, constants: tuple[float, float, float, float, float], source: str) -> PublishedFit:
    """``constants``: A, B, E, alpha, beta."""
    a, b, floor, alpha, beta = constants
    theta_T = (float(np.log(a)), float(np.log(b)), float(np.log(floor)), alpha, beta, 1.0)
    return PublishedFit(name, LAWS["chinchilla"], theta_T, source)


def _kaplan_joint() -> PublishedFit:
    """L(N, D) of Kaplan et al., eq. 1.5: the family holds (alpha_N/alpha_D) ln N_c as its a, and alpha_D as its k."""
    joint = LOSS_OF_PARAMS_AND_TOKENS
    inner = joint.params_exponent / joint.tokens_exponent
    theta_T = (
        inner * float(np.log(joint.params_scale)), float(np.log(joint.tokens_scale)), NO_FLOOR, inner, 1.0,
        joint.tokens_exponent,
    )  # fmt: skip
    return PublishedFit("kaplan", LAWS["kaplan"], theta_T, f"{SOURCE}, eq. 1.5", "parameters without embeddings")


#: L = E + (a M^eta + b M^-eta) C^-eta with M = D/N, on RedPajama, loss on C4: a in N, b in (C/6)-units, 2 eta, E.
GADRE_CONSTANTS = (166.21, 366.69, 0.27285, 1.83665)


def _over_training() -> PublishedFit:
    """Over-training, Gadre et al. eq. 4: in N and D it is ``chinchilla-tied`` with alpha = 2 eta."""
    a, b, alpha, floor = GADRE_CONSTANTS
    factor = b * FLOPS_PER_PARAMETER_TOKEN ** (-alpha / 2)
    theta_T = (float(np.log(a)), float(np.log(factor)), float(np.log(floor)), alpha, alpha, 1.0)
    source = "Gadre et al. 2024 (arXiv 2403.08540), eq. 4, RedPajama, loss on C4: up to 640 tokens per parameter"
    return PublishedFit("gadre", LAWS["chinchilla-tied"], theta_T, source)


HOFFMANN_SOURCE = "Hoffmann et al. 2022 (arXiv 2203.15556), approach 3"
BESIROGLU_SOURCE = "Besiroglu et al. 2024 (arXiv 2404.10102)"

PUBLISHED_FITS: dict[str, PublishedFit] = {
    fit.name: fit
    for fit in (
        _chinchilla("hoffmann-rounded", (406.4, 410.7, 1.69, 0.34, 0.28), HOFFMANN_SOURCE + ", as printed"),
        PublishedFit(
            "hoffmann", LAWS["chinchilla"], (6.0073404, 6.0179186, 0.5267228, 0.33917084, 0.2849083, 1.0),
            HOFFMANN_SOURCE + ", from the TeX source",
        ),
        # The printed constants are the optimum of log-L1 (a Huber likelihood with a jointly fitted, tiny scale) ...
        _chinchilla("besiroglu", (482.01, 2085.43, 1.8172, 0.3478, 0.3658), BESIROGLU_SOURCE + ", as printed"),
        # ... and these of the objective that the paper states, Huber with delta 1e-3, on its 240 points.
        _chinchilla(
            "besiroglu-huber", (477.83, 2143.42, 1.81722, 0.34731, 0.36717),
            BESIROGLU_SOURCE + ", refitted to convergence",
        ),
        _kaplan_joint(),
        _over_training(),
    )
}  # fmt: skip


def published_fit(name: str) -> PublishedFit:
    """The published fit called ``name``; :class:`UserError` for any other."""
    if name not in PUBLISHED_FITS:
        raise UserError(f"published fit {name!r} is unknown. {nearest_names(name, PUBLISHED_FITS)}")
    return PUBLISHED_FITS[name]


#: Total parameters of a model with N non-embedding ones: N + 47491 N^(1/3) (Pearce & Song 2024, arXiv 2406.12907).
EMBEDDING_FACTOR = 47491.0


def total_params(params_non_embedding: Array) -> Array:
    """Parameters with embeddings, for models shaped as in Hoffmann et al.

    >>> f"{float(total_params(np.array(1e9))):.3e}"
    '1.047e+09'
    """
    result: Array = params_non_embedding + EMBEDDING_FACTOR * np.cbrt(params_non_embedding)
    return result


def non_embedding_exponent(fit: PublishedFit, low: float = 768.0, high: float = 1.5e9) -> float:
    """Exponent of N* in compute that Kaplan's counting finds in runs which follow ``fit``.

    Non-embedding N and C = 6 N D with that N, over Kaplan's range of sizes, budgets evenly spaced in ln C (Pearce &
    Song 2024, arXiv 2406.12907): why Kaplan found 0.73 where Hoffmann found 0.50.
    """
    sizes = np.geomspace(low, high, 400)
    total = total_params(sizes)
    theta_T = np.array(fit.theta_T)
    a, b, alpha, beta = np.exp(theta_T[0]), np.exp(theta_T[1]), theta_T[3], theta_T[4]
    # Minimise over N at fixed 6 N D: d/dN (A/N_T^alpha) = -(beta B / D^beta)/N gives D for each N that is optimal.
    slope = 1.0 + EMBEDDING_FACTOR / 3.0 * sizes ** (-2.0 / 3.0)
    tokens = (beta * b * total ** (alpha + 1) / (alpha * a * slope * sizes)) ** (1 / beta)
    log_flops = np.log(6.0 * sizes * tokens)
    budgets = np.linspace(log_flops[0], log_flops[-1], len(sizes))
    return float(np.polyfit(budgets, np.interp(budgets, log_flops, np.log(sizes)), 1)[0])
