"""What compute costs: from money or GPU hours to FLOPs."""

from __future__ import annotations

from dataclasses import dataclass

from e2lm.errors import UserError

#: Dense bf16 peak of an H100 SXM in FLOP/s (NVIDIA data sheet), and the share that good training code reaches.
DEFAULT_PEAK_FLOPS = 989e12
DEFAULT_UTILISATION = 0.4
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class HardwarePrice:
    """FLOP/s that a GPU delivers (peak x utilisation) and what one GPU hour costs."""

    peak_flops: float = DEFAULT_PEAK_FLOPS
    utilisation: float = DEFAULT_UTILISATION
    price_per_gpu_hour: float | None = None

    def __post_init__(self) -> None:
        if not (self.peak_flops > 0 and 0 < self.utilisation <= 1):
            raise UserError(
                f"peak {self.peak_flops:g} FLOP/s and utilisation {self.utilisation:g}: the peak must be above 0 and "
                "the utilisation a share in 0..1"
            )

    @property
    def flops_per_gpu_hour(self) -> float:
        """FLOPs that one GPU does in an hour of training."""
        return self.peak_flops * self.utilisation * SECONDS_PER_HOUR

    def flops(self, gpu_hours: float | None, money: float | None) -> float:
        """FLOPs of a budget in GPU hours or money; :class:`UserError` if money comes without a price.

        >>> f"{HardwarePrice().flops(1000, None):.3g}"
        '1.42e+21'
        """
        if gpu_hours is not None:
            return gpu_hours * self.flops_per_gpu_hour
        if money is None or not self.price_per_gpu_hour:
            raise UserError("--money needs --price-per-gpu-hour")
        return money / self.price_per_gpu_hour * self.flops_per_gpu_hour
