"""Takes a bundle into the queue: enough is looked at here to name it and to refuse what is no bundle at all.

The whole check runs later, in the organiser's own process: a submission must cost the server milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from e2lm_leaderboard.bundle.bundle import Finding, Findings, archive_bundle
from e2lm_leaderboard.bundle.check import submission_of
from e2lm_leaderboard.season.season import SeasonRules
from e2lm_leaderboard.store.store import ALWAYS, Admission, Entry, Incoming, Store


@dataclass(frozen=True, slots=True)
class Intake:
    """The entry, or why there is none."""

    entry: Entry | None
    is_new: bool
    findings: tuple[Finding, ...]


def read_incoming(rules: SeasonRules, archive: bytes, team: str) -> Incoming | tuple[Finding, ...]:
    """What the archive brings, or why it is none that could be queued."""
    findings = Findings()
    bundle = archive_bundle(archive, rules.limits, findings)
    submission = submission_of(bundle, rules, findings) if not len(findings) else None
    if submission is None or len(findings):
        return tuple(findings.listed())
    return Incoming(bundle.content_id, archive, submission.name, submission.title, team)


def take_in(
    store: Store, rules: SeasonRules, archive: bytes, team: str, now: datetime, admission: Admission = ALWAYS
) -> Intake:
    """Queue the archive for ``team``; the same content again gives the entry that is there."""
    incoming = read_incoming(rules, archive, team)
    if not isinstance(incoming, Incoming):
        return Intake(None, False, incoming)
    entry, is_new = store.submit(incoming, rules.submissions_per_day, now, admission)
    return Intake(entry, is_new, ())
