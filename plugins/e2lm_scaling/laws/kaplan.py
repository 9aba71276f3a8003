"""Kaplan et al. 2020 (arXiv 2001.08361): laws of N, D, C, (N, D), (N, S) and the critical batch size.

Each law is one object that holds its own constants: the paper fits several of them separately, and alpha_D = 0.095 of
L(D) must not meet the N_c and D_c of L(N, D). N counts non-embedding parameters, C is in PF-days, L in nats per token.
"""

from __future__ import annotations

from dataclasses import dataclass

#: One petaflop/s for a day, in FLOPs.
PF_DAY = 8.64e19
SOURCE = "Kaplan et al. 2020 (arXiv 2001.08361)"


@dataclass(frozen=True, slots=True)
class SinglePower:
    """L(x) = (scale / x)^exponent."""

    scale: float
    exponent: float
    unit: str
    equation: str

    def loss(self, x: float) -> float:
        """Nats per token at ``x`` in the law's own unit.

        >>> round(LOSS_OF_PARAMS.loss(1e9), 4)
        2.3756
        """
        return float((self.scale / x) ** self.exponent)


@dataclass(frozen=True, slots=True)
class JointPower:
    """L(N, D) = ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D (eq. 1.5), fitted on its own."""

    params_scale: float
    tokens_scale: float
    params_exponent: float
    tokens_exponent: float

    def loss(self, params: float, tokens: float) -> float:
        """Nats per token.

        >>> round(LOSS_OF_PARAMS_AND_TOKENS.loss(1e9, 22e9), 4)
        2.3693
        """
        inner = (self.params_scale / params) ** (self.params_exponent / self.tokens_exponent)
        return float((inner + self.tokens_scale / tokens) ** self.tokens_exponent)

    def tokens_against_overfitting(self, params: float) -> float:
        """Tokens that keep overfitting small: 5e3 N^0.74, whose exponent is the ratio of the two here (eq. 4.4)."""
        return float(5e3 * params ** (self.params_exponent / self.tokens_exponent))


@dataclass(frozen=True, slots=True)
class StepPower:
    """L(N, S_min) = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S (eq. 1.6), fitted on its own."""

    params_scale: float
    steps_scale: float
    params_exponent: float
    steps_exponent: float

    def loss(self, params: float, steps: float) -> float:
        """Nats per token after ``steps`` at a batch far above the critical one.

        >>> round(LOSS_OF_PARAMS_AND_STEPS.loss(1e9, 1e5), 4)
        2.4005
        """
        of_params = (self.params_scale / params) ** self.params_exponent
        return float(of_params + (self.steps_scale / steps) ** self.steps_exponent)


@dataclass(frozen=True, slots=True)
class CriticalBatch:
    """B_crit(L) = B* / L^(1/alpha_B) (eq. 1.4), in tokens."""

    scale: float
    exponent: float

    def tokens(self, loss: float) -> float:
        """The batch in tokens beyond which more of it saves few steps.

        >>> f"{CRITICAL_BATCH.tokens(3.0):.3g}"
        '1.12e+06'
        """
        return float(self.scale / loss ** (1 / self.exponent))

    def steps_at_large_batch(self, steps: float, batch_tokens: float, loss: float) -> float:
        """S_min = S / (1 + B_crit/B) (eq. 5.4)."""
        return steps / (1 + self.tokens(loss) / batch_tokens)

    def flops_at_small_batch(self, flops: float, batch_tokens: float, loss: float) -> float:
        """C_min = C / (1 + B/B_crit) (eq. 5.5)."""
        return flops / (1 + batch_tokens / self.tokens(loss))


@dataclass(frozen=True, slots=True)
class ComputeOptimal:
    """Compute-optimal training (eqs. 1.7 and 1.8): each quantity is coefficient x C_min^exponent, C in PF-days."""

    params: tuple[float, float]
    batch_tokens: tuple[float, float]
    steps: tuple[float, float]
    tokens: tuple[float, float]

    def params_at(self, pf_days: float) -> float:
        """Non-embedding parameters.

        >>> f"{COMPUTE_OPTIMAL.params_at(100):.3g}"
        '3.75e+10'
        """
        coefficient, exponent = self.params
        return float(coefficient * pf_days**exponent)


LOSS_OF_PARAMS = SinglePower(8.8e13, 0.076, "non-embedding parameters", "eq. 1.1")
LOSS_OF_TOKENS = SinglePower(5.4e13, 0.095, "tokens", "eq. 1.2")
LOSS_OF_COMPUTE = SinglePower(1.6e7, 0.057, "PF-days at fixed batch", "section 3")
LOSS_OF_MINIMAL_COMPUTE = SinglePower(3.1e8, 0.050, "PF-days at a small batch", "eq. 1.3")
LOSS_OF_PARAMS_AND_TOKENS = JointPower(6.4e13, 1.8e13, 0.076, 0.103)
LOSS_OF_PARAMS_AND_STEPS = StepPower(6.5e13, 2.1e3, 0.077, 0.76)
CRITICAL_BATCH = CriticalBatch(2.1e8, 0.21)
COMPUTE_OPTIMAL = ComputeOptimal((1.3e9, 0.73), (2.0e6, 0.24), (5.4e3, 0.03), (2e10, 0.27))
