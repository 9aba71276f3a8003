"""Which series play which part in a competition: those that are scored, those to be beaten, and when early ends."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class SeriesRoles:
    """``control`` holds patterns of names of the series that others must beat, such as ones trained on web data.

    ``early_tokens`` is where early ends: a score that foretells looks at the checkpoints up to there, one that compares
    rankings at those after it. None leaves that to the score.
    """

    control: tuple[str, ...] = ()
    early_tokens: float | None = None

    def is_control(self, series: str) -> bool:
        """Whether the series of this name is one to be beaten.

        >>> SeriesRoles(("web*",)).is_control("web-500m"), SeriesRoles().is_control("web-500m")
        (True, False)
        """
        return any(fnmatchcase(series, pattern) for pattern in self.control)
