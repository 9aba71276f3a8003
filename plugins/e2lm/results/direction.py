"""Which way a metric is better: as the user says, as its source says, as registered, as its family is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from e2lm.errors import UserError, nearest_names
from e2lm.item_metric import ItemMetric

#: Task and metric (without its filter) -> whether more is better.
ToldDirections = Mapping[tuple[str, str], bool]

#: Words of a name that decide, the last of them in the name: ``loss_acc`` is an accuracy, ``accuracy_loss`` a loss.
_LOWER = (
    "loss losses nll ppl perplexity bpb bpc bits brier wer cer ter error errors err mse rmse mae ece bias "
    "stereotype toxicity toxic hallucination hallucinations invalid entropy logloss deviance regret "
    "refusal"
)
_HIGHER = (
    "acc accuracy match em f1 bleu chrf rouge rouge1 rouge2 rougel meteor mcc auc auroc precision recall "
    "prob probability loglik margin correct pass win reward pearson spearman kendall snr parseable "
    "success"
)
_LOWER_WORDS, _HIGHER_WORDS = frozenset(_LOWER.split()), frozenset(_HIGHER.split())
#: Metrics of lm-eval 0.4.13's tasks with ``higher_is_better: false`` whose names do not tell.
_LOWER_NAMES = frozenset(
    {"likelihood_diff", "pct_male_preferred", "pct_female_preferred", "difference_male_female", "gold_loss"}
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+[0-9]*|[0-9]+")


def direction_of_name(metric: str) -> bool | None:
    """Whether more is better of a metric that is called so; None where the name does not tell.

    Names are those of lm-eval's own registry and tasks, of trainers and of other harnesses.

    >>> [direction_of_name(name) for name in ("eval_loss", "CrossEntropyLoss", "bits_per_byte_corr", "wer", "c4/ppl")]
    [False, False, False, False, False]
    >>> direction_of_name("exact_match"), direction_of_name("mystery")
    (True, None)
    """
    name = metric.partition(",")[0]
    if name in _LOWER_NAMES:
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    for word in reversed(words):
        if word in _LOWER_WORDS:
            return False
        if word in _HIGHER_WORDS:
            return True
    return None


@dataclass(frozen=True, slots=True)
class Directions:
    """``lower`` and ``higher`` are names or patterns that the user gave, ``told`` is what the files say."""

    told: ToldDirections = field(default_factory=dict)
    metrics: Sequence[ItemMetric] = ()
    lower: Sequence[str] = ()
    higher: Sequence[str] = ()

    def known(self, task: str, metric: str) -> bool | None:
        """Whether more of ``metric`` is better in ``task``; None where nobody says so."""
        name = metric.partition(",")[0]
        for patterns, verdict in ((self.lower, False), (self.higher, True)):
            if any(fnmatchcase(one, pattern) for pattern in patterns for one in (metric, name)):
                return verdict
        told = self.told.get((task, metric), self.told.get((task, name)))
        if told is not None:
            return told
        for one in self.metrics:
            if one.name == name:
                return one.higher_is_better
        return direction_of_name(metric)

    def is_higher_better(self, task: str, metric: str) -> bool:
        """As :meth:`known`, and yes where nobody says so."""
        return self.known(task, metric) is not False

    def checked(self, present: Iterable[str]) -> Directions:
        """These; a :class:`UserError` where a name given by the user fits none of the metrics ``present``, or two."""
        names = {name for metric in present for name in (metric, metric.partition(",")[0])}
        for option, patterns in (("--lower", self.lower), ("--higher", self.higher)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise UserError(f"{option}: no metric {pattern!r} in the scores. {nearest_names(pattern, names)}")
        for name in sorted(names):
            if all(any(fnmatchcase(name, one) for one in patterns) for patterns in (self.lower, self.higher)):
                raise UserError(f"--lower and --higher both name metric {name!r}; leave out one")
        return self
