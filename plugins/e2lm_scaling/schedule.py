"""Learning-rate schedules as arrays: the rate of every step, warm-up included.

Shape suffix: S steps, from 0 to the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2lm.errors import UserError, nearest_names
from e2lm_scaling.objective import Array

KINDS = ("constant", "cosine", "linear", "wsd", "wsd-linear", "step")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule by name: ``peak`` and ``final`` rates, ``warmup`` steps, ``steps`` in all.

    The warm-up is linear, from 0 at step 0 to the peak at step ``warmup`` - 1 (as in the runs of arXiv 2503.12811).

    ``decay_from`` is the step where ``wsd`` (exponential), ``wsd-linear`` and ``step`` (at once) leave the peak.
    """

    kind: str
    peak: float
    steps: int
    warmup: int = 0
    final: float = 0.0
    decay_from: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"schedule {self.kind!r} is unknown. {nearest_names(self.kind, KINDS)}")
        if not (self.peak > 0 and self.steps > self.warmup >= 0 and 0 <= self.final <= self.peak):
            raise UserError(
                f"schedule {self.kind}: peak {self.peak:g}, final {self.final:g}, warmup {self.warmup}, steps "
                f"{self.steps}: the peak must be above 0, final between 0 and peak, warmup below steps"
            )
        if self.kind == "wsd" and self.final == 0.0:
            raise UserError("schedule wsd decays exponentially, so final must be above 0; use wsd-linear for 0")

    @property
    def rates_S(self) -> Array:
        """The learning rate at steps 0 to ``steps``.

        >>> Schedule("linear", 1.0, 4, warmup=2).rates_S.tolist()
        [0.0, 1.0, 1.0, 0.5, 0.0]
        """
        step_S = np.arange(self.steps + 1, dtype=np.float64)
        rising_S = self.peak * step_S / max(self.warmup - 1, 1)
        result: Array = np.where(step_S < self.warmup, rising_S, self._after_warmup(step_S))
        return result

    def _after_warmup(self, step_S: Array) -> Array:
        drop = self.final - self.peak
        whole_S = np.clip((step_S - self.warmup) / (self.steps - self.warmup), 0.0, 1.0)
        late_S = np.clip((step_S - self.decay_from) / max(self.steps - self.decay_from, 1), 0.0, 1.0)
        if self.kind == "cosine":
            return self.final - drop * 0.5 * (1.0 + np.cos(np.pi * whole_S))
        if self.kind == "linear":
            return self.peak + drop * whole_S
        if self.kind == "wsd":
            return self.peak * (self.final / self.peak) ** late_S
        if self.kind == "wsd-linear":
            return self.peak + drop * late_S
        if self.kind == "step":
            return np.where(step_S < self.decay_from, self.peak, self.final)
        return np.full_like(step_S, self.peak)


def schedule_of(text: str) -> Schedule:
    """The schedule written as ``kind:peak=3e-4,final=3e-5,warmup=2000,steps=72000,decay_from=60000``.

    >>> schedule_of("cosine:peak=3e-4,steps=100").kind
    'cosine'
    """
    kind, _, rest = text.partition(":")
    fields: dict[str, float] = {}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        if name not in ("peak", "final", "warmup", "steps", "decay_from") or not equals:
            raise UserError(
                f"--schedule {text!r}: {part!r} is not understood; write kind:peak=...,steps=...[,final=...,warmup=...,"
                "decay_from=...]"
            )
        try:
            fields[name] = float(value)
        except ValueError as error:
            raise UserError(f"--schedule {text!r}: {name} is {value!r}; a number is expected") from error
    if "peak" not in fields or "steps" not in fields:
        raise UserError(f"--schedule {text!r}: peak and steps are needed, as in cosine:peak=3e-4,steps=72000")
    whole = {name: int(fields[name]) for name in ("steps", "warmup", "decay_from") if name in fields}
    return Schedule(kind, peak=fields["peak"], final=fields.get("final", 0.0), **whole)
