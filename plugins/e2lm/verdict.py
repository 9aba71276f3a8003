"""A verdict: what a rule beside a live run found, as it stands in ``OUT/verdicts.jsonl``."""

from __future__ import annotations

from typing import Literal

from e2lm.noun import Noun


class RunVerdict(Noun):
    """``rule`` holds for ``series`` at ``step``: ``value`` went past ``threshold``; it asks for a stop or an alert.

    ``inputs_sha256`` is over the numbers that it was judged by.
    """

    schema_version: Literal[1] = 1
    time: str
    rule: str
    series: str
    step: int
    value: float | None
    threshold: float
    state: Literal["stop", "alert"]
    inputs_sha256: str

    @property
    def event(self) -> tuple[str, str, str, int]:
        """What is told once: a stop once for a run, an alert once for its step."""
        return self.rule, self.series, self.state, -1 if self.state == "stop" else self.step

    def __str__(self) -> str:
        """One line for people."""
        number = "" if self.value is None else f" ({self.value:.4g}; threshold {self.threshold:g})"
        return f"{self.state}: {self.series} step {self.step}: {self.rule}{number}"
