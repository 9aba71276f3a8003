"""What becomes of verdicts: written down, shown, told to plugins and people, and whether the watch ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from e2lm.plugin_manager import plugin_manager
from e2lm.verdict import RunVerdict
from e2lm_adapters.watch.finished import Look
from e2lm_adapters.watch.judging import RuleJudge
from e2lm_adapters.watch.notify import Notifier
from e2lm_adapters.watch.verdicts import append_verdicts, read_verdicts


@dataclass
class VerdictDesk:
    """``new`` are the verdicts of this command; ``stops`` those that ask for a stop, found now or before."""

    judged: RuleJudge
    notifier: Notifier
    ends_on_stop: bool = False
    once: bool = False
    new: list[RunVerdict] = field(default_factory=list)

    @property
    def stops(self) -> list[RunVerdict]:
        """Stops in force: of a rule that is asked for now, whenever it was found."""
        texts = {rule.text for rule in self.judged.rules if rule.state == "stop"}
        return [one for one in read_verdicts(self.judged.out) if one.state == "stop" and one.rule in texts]

    def judge(self, looks: Sequence[Look]) -> bool:
        """Judge all rules; whether a standing watch ends now."""
        if not self.judged.rules:
            return False
        new = append_verdicts(self.judged.out, self.judged.verdicts(looks))
        self.new += new
        for one in new:
            print(one, file=sys.stderr, flush=True)
            plugin_manager().notify("e2lm_on_verdict", verdict=one)
        told = read_verdicts(self.judged.out)
        for _ in range(3 if self.once else 1):
            self.notifier.tell(told, patient=not self.once)
        return self.ends_on_stop and bool(self.stops)
