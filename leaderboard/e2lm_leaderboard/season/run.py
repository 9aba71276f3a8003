"""Takes every waiting submission through check, sandbox, evaluation and scoring; killed at any point, it goes on there.

Nothing of a submission is trusted: it is checked again from the stored bytes, and every number comes from the
log-likelihoods that the organiser's models gave. What an entry causes refuses that entry, and the next has its turn;
what the organiser causes pauses the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ItemMetric, Judge, SignalScore
from e2lm.errors import E2LMError, MachineError, one_line, system_error
from e2lm.plugin_manager import plugin_manager
from e2lm.samples import Samples
from e2lm_leaderboard.bundle.bundle import Finding, Findings
from e2lm_leaderboard.bundle.check import CheckReport, check_archive
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.bundle.task_file import SUBMISSION_FILE, Submission, function_place
from e2lm_leaderboard.sandbox.check import sandbox_verdict
from e2lm_leaderboard.sandbox.items import code_items
from e2lm_leaderboard.sandbox.metric import MetricCode, metric_values
from e2lm_leaderboard.sandbox.sandbox import SandboxError, SandboxLimits
from e2lm_leaderboard.season.alignment import (
    alignment_result,
    corpus_sequences,
    share_found,
)
from e2lm_leaderboard.season.curves import SampleMetric, cut, item_curves
from e2lm_leaderboard.season.doctor import require_usable
from e2lm_leaderboard.season.evaluation import OrganiserError, evaluate, evaluated_samples, run_facts, write_tasks
from e2lm_leaderboard.season.house import HOUSE
from e2lm_leaderboard.season.lease import LEASE_S, held, is_gone, new_worker
from e2lm_leaderboard.season.null_control import (
    NullCurves,
    ValuesByTruth,
    null_results,
    values_by_truth,
    with_truth,
)
from e2lm_leaderboard.season.removal import removal_results
from e2lm_leaderboard.season.scores import details, submission_results
from e2lm_leaderboard.season.season import SALT_KEY, Season, is_public, utc_now
from e2lm_leaderboard.season.similarity import MOST_HITS, fingerprints, flat, shares
from e2lm_leaderboard.store.store import Entry, LeaseLostError, Result, Store
from e2lm_leaderboard.store.tables import OUT, WAITING, State

WORK_FOLDER = "work"
#: All that an entrant is told of a copy.
SIMILAR = "too much of it in submissions of others; this one counts as a try"
#: Notes begin so where the organiser let an entry pass that is like another.
ACCEPTED = "accepted"
#: Findings that a refusal tells in full.
TOLD_FINDINGS = 5

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SeasonRun:
    """One pass over the queue of the season in ``folder``."""

    folder: Path
    season: Season
    store: Store
    tell: Tell = print
    now: Callable[[], datetime] = utc_now

    def run(self) -> int:
        """Work through what nobody else has in hand; how many submissions came out of it."""
        require_usable(self.season, self.folder, bool(self.store.entries(*WAITING)))
        worker, done = new_worker(), 0
        while (entry := self.store.claim(worker, self.now(), LEASE_S, is_gone)) is not None:
            with held(self.store, entry, worker, self.now):
                told = self._one(entry, worker)
            self.tell(f"{entry.name} ({entry.id[:12]}) of {entry.team}: {told}")
            done += 1
        return done

    def _one(self, entry: Entry, worker: str) -> str:
        try:
            return self._taken_through(entry, worker)
        except LeaseLostError as error:
            return one_line(error)
        except (OrganiserError, MachineError) as error:
            raise type(error)(f"{entry.name} ({entry.id[:12]}) of {entry.team} waits: {error}") from error
        except SandboxError as error:
            return self._refuse_for(entry, worker, f"its code could not be run: {one_line(error)}")
        except E2LMError as error:
            return self._refuse_for(entry, worker, f"it could not be evaluated: {one_line(error)}")
        except OSError as error:
            raise system_error(error) from error
        except Exception as error:  # one entry never stops the queue; the organiser may run it again
            what = f"it could not be scored: {type(error).__name__}: {one_line(error)[:200]}"
            return self._refuse_for(entry, worker, what)

    def _refuse_for(self, entry: Entry, worker: str, reason: str) -> str:
        self.store.move(entry.id, State.REFUSED, self.now(), reason, worker=worker)
        return f"refused: {reason}"

    def _taken_through(self, entry: Entry, worker: str) -> str:
        self.store.move(entry.id, State.CHECKING, self.now(), worker=worker)
        report = check_archive(self.store.archive(entry.id), self.season.rules)
        findings = list(report.findings)
        items: list[tuple[TaskItem, ...]] = []
        if not findings:
            items, findings = self._items(report)
        remarks = ""
        if not findings:
            similar, findings = self._similarity(entry, items)
            remarks = "; ".join(one for one in (report.remark, similar) if one)
        if findings or report.submission is None:
            return self._refuse(entry, worker, findings)
        self.store.move(entry.id, State.RUNNING, self.now(), remarks=remarks, worker=worker)
        self._score(entry, worker, report, items, remarks)
        return "scored"

    def _refuse(self, entry: Entry, worker: str, findings: Sequence[Finding]) -> str:
        told = [finding.sentence for finding in findings[:TOLD_FINDINGS]]
        if len(findings) > TOLD_FINDINGS:
            told.append(f"and {len(findings) - TOLD_FINDINGS} more: e2lm leaderboard check tells them all")
        counted = int(any(finding.check == "similarity" for finding in findings))
        reason = " | ".join(told) or "refused"
        self.store.move(entry.id, State.REFUSED, self.now(), reason, worker=worker, counted=counted)
        return f"refused: {told[0] if told else ''}"

    def _items(self, report: CheckReport) -> tuple[list[tuple[TaskItem, ...]], list[Finding]]:
        findings = Findings()
        items = []
        assert report.submission is not None
        if report.submission.metric_function is not None and (reason := sandbox_verdict().reason) is not None:
            fix = "name an installed metric, or ask the organiser"
            expected = "a sandbox that passes its self-test"
            findings.add("sandbox", SUBMISSION_FILE, "metric_function", reason, expected, fix)
        for task in report.tasks:
            if task.items is not None:
                items.append(task.items)
                continue
            verdict = sandbox_verdict()
            if verdict.reason is not None:
                fix = "enter without code, or ask the organiser"
                findings.add("sandbox", task.file, "", verdict.reason, "a sandbox that passes its self-test", fix)
                break
            language = report.submission.language
            items.append(code_items(task, report.bundle, self.season.rules, language, SandboxLimits(), findings))
        return items, findings.listed()

    def _similarity(self, entry: Entry, items: Sequence[Sequence[TaskItem]]) -> tuple[str, list[Finding]]:
        """Overlap with earlier submissions of other teams refuses; overlap with declared corpora is remarked.

        The organiser is told of whom and how much, in notes of the entry, the entrant neither; and it costs a try.
        """
        findings, remarks, own = Findings(), [], flat(items)
        corpus = corpus_sequences(self.season.corpora)
        if corpus and (share := share_found(own, corpus)) > 0:
            remarks.append(f"{share:.0%} of the items stand in the declared corpora")
        for key in self.store.without_fingerprints(entry.number):  # others may be at work on it, or an earlier e2lm was
            earlier = check_archive(self.store.archive(key), self.season.rules)
            tasks = () if earlier.findings else earlier.tasks  # what is going to be refused is nobody's original
            self.store.keep_fingerprints(key, fingerprints(flat([task.items or () for task in tasks])))
        prints = fingerprints(own)
        hits = self.store.found_fingerprints(list({value for _, value in prints}), MOST_HITS)
        found = shares(prints, hits, len(own))
        self.store.keep_fingerprints(entry.id, prints)
        most = self.season.rules.max_similarity
        known = [one for one in self.store.entries() if one.team != entry.team and one.state not in OUT]
        roles = {name: role for name, (role, _) in self.store.teams().items()}
        known = [one for one in known if HOUSE not in (roles.get(one.team), roles.get(entry.team))]
        others = {one.id: one for one in known if one.id in found}
        told = [
            f"{found[key]:.0%} of its items stand in {one.name} ({key[:12]}) of {one.team}"
            for key, one in others.items()
        ]
        is_copy = any(found[one.id] > most and one.number < entry.number for one in others.values())
        if told and not self.store.notes(entry.id).startswith(ACCEPTED):
            self.store.note(entry.id, "; ".join(told), self.now())
            if is_copy:
                findings.add("similarity", "", "", SIMILAR, "items of your own", "ask the organiser, who knows more")
        return "; ".join(remarks), findings.listed()

    def _score(
        self, entry: Entry, worker: str, report: CheckReport, items: Sequence[Sequence[TaskItem]], remarks: str
    ) -> None:
        submission = report.submission
        assert submission is not None
        work = self.folder / WORK_FOLDER / entry.id[:16]
        tasks = [(task.task, own) for task, own in zip(report.tasks, items, strict=True)]
        names = write_tasks(work / "tasks", entry.id, tasks)
        installed = self._installed(submission)
        evaluate(self.season, names, work / "tasks", work / "evaluation")
        samples = evaluated_samples(work / "evaluation", names)
        values, by_truth = _of_bundle(report, samples) if installed is None else _of_installed(installed)
        curves = item_curves(samples, values, run_facts(work / "evaluation"))
        public = [self._public(own) for own in items]
        null = NullCurves.of(curves, samples, by_truth, dict(zip(names, items, strict=True)))
        results: list[Result] = []
        for split in ("public", "private"):
            chosen = self._cut(split, dict(zip(names, public, strict=True)))
            results += self._split_results(split, null, chosen)
            results += self._alignment(split, items, public)
        shown = [self._cut("public", dict(zip(names, public, strict=True)))(curve) for curve in curves]
        told = details(
            [task.task.task for task in report.tasks],
            names,
            shown,
            items,
            public,
            samples,
            remarks,
            self.season.roles,
            "bubblewrap" if submission.tier == "code" else "no code was run",
        )
        about = {name: getattr(submission, name) for name in ("description", "metric", "language", "license", "tier")}
        told["about"] = {**about, "sources": list(submission.sources)}
        self.store.record(entry.id, results, told, self.now(), worker)

    def _cut(self, split: str, public_of: Mapping[str, NDArray[np.bool_]]) -> Callable[[Curve], Curve]:
        """Cuts a curve to the items and checkpoints of a split."""
        until = self.season.public_tokens if split == "public" else None
        return lambda curve: cut(curve, public_of[curve.task] == (split == "public"), until)

    def _split_results(self, split: str, null: NullCurves, chosen: Callable[[Curve], Curve]) -> list[Result]:
        """Every score, and the part of the one that ranks which lies above its null."""
        scores, seed, roles = self._scores(), self.season.seed, self.season.roles
        own = submission_results(split, [chosen(curve) for curve in null.curves.values()], scores, seed, roles=roles)
        own += null_results(split, null, chosen, scores[0], seed, roles)
        return own + removal_results(split, null, chosen, scores[0], roles)

    def _alignment(
        self, split: str, items: Sequence[Sequence[TaskItem]], public: Sequence[NDArray[np.bool_]]
    ) -> list[Result]:
        """What the season's judge says of the items of a split."""
        if self.season.judge is None:
            return []
        judge: Judge = plugin_manager().find("e2lm_register_judges", Judge, self.season.judge, "judge")
        wanted = [
            item
            for own, mask in zip(items, public, strict=True)
            for item, is_shown in zip(own, mask.tolist(), strict=True)
            if is_shown == (split == "public")
        ]
        return [alignment_result(split, wanted, judge)]

    def _public(self, items: Sequence[TaskItem]) -> NDArray[np.bool_]:
        salt = self.store.setting(SALT_KEY)
        if not salt:
            raise OrganiserError(f"the database has no {SALT_KEY}: which items are public cannot be told; restore it")
        return np.array([is_public(item.item_id, salt, self.season.public_share) for item in items], dtype=np.bool_)

    def _scores(self) -> list[SignalScore]:
        find = plugin_manager().find
        return [find("e2lm_register_signal_scores", SignalScore, name, "score") for name in self.season.all_scores]

    @staticmethod
    def _installed(submission: Submission) -> ItemMetric | None:
        """The metric that the submission names; None where it brings one of its own."""
        manager, name = plugin_manager(), submission.metric
        is_installed = name in manager.registered("e2lm_register_metrics", ItemMetric)
        if submission.metric_function is not None:
            if is_installed:
                raise E2LMError(f"submission.yaml: metric {name!r} is an installed one; give yours another name")
            return None
        if not is_installed:
            raise E2LMError(f"submission.yaml: metric {name!r} is not installed at the organiser's")
        found: ItemMetric = manager.find("e2lm_register_metrics", ItemMetric, name, "metric")
        return found


def _of_installed(metric: ItemMetric) -> tuple[SampleMetric, ValuesByTruth]:
    """What an installed metric gives, and what it would give were another choice the true one."""
    found = SampleMetric.of_metric(metric)
    return found, values_by_truth(found.values)


def _of_bundle(report: CheckReport, samples: Sequence[Samples]) -> tuple[SampleMetric, ValuesByTruth]:
    """The same of the bundle's own metric, which runs in the sandbox."""
    assert report.submission is not None
    assert report.submission.metric_function is not None
    file, function = function_place(report.submission.metric_function)
    code = MetricCode(file, function, report.bundle.files[file])

    def asked(these: Sequence[Samples]) -> Callable[[Samples], NDArray[np.float64]]:
        found = metric_values(code, these)
        return lambda one: found[one.task, one.series, one.step]

    most = max((one.choices.there_IC.shape[1] for one in samples), default=0)
    columns = [
        asked([with_truth(one, place) for one in samples if place < one.choices.there_IC.shape[1]])
        for place in range(most)
    ]

    def by_truth(one: Samples) -> NDArray[np.float64]:
        there_IC = one.choices.there_IC
        return np.where(there_IC, np.stack([columns[place](one) for place in range(there_IC.shape[1])], axis=1), np.nan)

    return SampleMetric(report.submission.metric, asked(samples)), by_truth
