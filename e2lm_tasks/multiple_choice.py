"""The base class of multiple-choice tasks that report every registered item metric inside lm-eval.

lm-eval 0.4.13 ignores unknown names in ``metric_list`` for multiple choice, so the metrics come from
``process_results``. Use it from a YAML::

    class: !function e2lm_tasks.multiple_choice.MultipleChoice

Shape suffixes: I items (here one), C choices.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from lm_eval.api import task
from lm_eval.api.registry import get_aggregation

from e2lm import ItemMetric
from e2lm.errors import NotFiniteError
from e2lm.item_metric import ItemChoices, MetricFailedError
from e2lm.plugin_manager import plugin_manager
from e2lm.results.lm_eval_items import LiveTask
from e2lm_tasks.local_task import LocalTask

log = logging.getLogger("e2lm")

#: Computed by lm-eval itself, whose values are kept under these names.
LM_EVAL_METRICS = ("acc", "acc_norm", "acc_bytes")

#: Choices whose token counts lm-eval does not hand to ``process_results``.
UNKNOWN_LENGTH = -1


#: What such a task is in lm-eval 0.5, which has a class for every kind of request; before, there was one for all.
THEIR_KIND: tuple[type, ...] = (task.MultipleChoiceTask,) if task.ConfigurableTask is task.Task else ()


class MultipleChoice(LocalTask, *THEIR_KIND):  # type: ignore[misc]
    """A task of ``output_type: multiple_choice`` with continuous metrics beside accuracy.

    Every ``ItemMetric`` of the installed plugins appears with aggregation mean, its standard error and its arrow. A
    metric that needs more choices than an item has is left out for that item. All are NaN for an item with a
    log-likelihood that is not finite. One that raises is NaN for that item, and named once in a warning, so that one
    broken plugin does not cost an evaluation. Metrics that need the number of tokens of each choice are left out:
    lm-eval does not hand it over (``e2lm eval`` reports them). So are all of them in lm-eval 0.5, which scores in
    another way: a line says so once.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        registered: list[ItemMetric] = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")
        self._item_metrics = [metric for metric in registered if not needs_token_counts(metric)]
        self._failed_metrics: set[str] = set()
        #: Off where somebody computes item metrics afterwards, for all items at once, as ``e2lm eval`` does.
        self.reports_item_metrics = hasattr(self, "_metric_fn_list")
        if not self.reports_item_metrics:
            _say_once("this release of lm-eval takes no metrics from tasks: `e2lm eval` reports those of items")
            return
        for metric in self._item_metrics:
            if metric.name in LM_EVAL_METRICS:
                self._metric_fn_list.setdefault(metric.name, None)
            self._aggregation_list.setdefault(metric.name, get_aggregation("mean"))
            self._higher_is_better.setdefault(metric.name, metric.higher_is_better)

    def process_results(self, doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
        """lm-eval's metrics of one item, then every registered one that it did not compute."""
        values: dict[str, Any] | None = super().process_results(doc, results)
        if values is None:
            return cast(dict[str, Any], None)  # lm-eval 0.5 then goes on by itself
        try:
            choices = self._item_choices(doc, results) if self.reports_item_metrics else None
        except NotFiniteError:  # left out of the mean it would be one of the other items
            allowed = (metric.name for metric in self._item_metrics if len(results) >= metric.min_choices)
            return {**dict.fromkeys(allowed, math.nan), **values}
        if choices is None:
            return values
        n_choices = choices.loglik_IC.shape[1]
        for metric in self._item_metrics:
            if metric.name not in values and n_choices >= metric.min_choices:
                value = self._value(metric, choices)
                # The mean is not over an item that has no right choice, or an empty one, where the metric is undefined.
                if not math.isnan(value) or choices.is_plain_I[0] or metric.name in self._failed_metrics:
                    values[metric.name] = value
        return values

    def _value(self, metric: ItemMetric, choices: ItemChoices) -> float:
        try:
            return float(metric.values(choices)[0])
        except MetricFailedError as error:
            if metric.name not in self._failed_metrics:
                self._failed_metrics.add(metric.name)
                warnings.warn(f"task {self.config.task!r}: {error}; it is NaN", stacklevel=2)
            return math.nan

    def _item_choices(self, doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> ItemChoices | None:
        """The choices of one item; None where nobody knows which of them are right."""
        texts: list[str] = list(self.doc_to_choice(doc))
        golds = LiveTask(self).golds({"doc": doc})
        if golds is None:
            return None
        # Where choices stand in the prompt (lm-eval's multiple inputs), what is scored is one and the same target.
        scored = [str(self.doc_to_target(doc))] * len(texts) if self.multiple_input else texts
        # lm-eval appends unconditional log-likelihoods for acc_mutual_info after those of the choices.
        return item_choices([loglik for loglik, _ in results[: len(texts)]], scored, *golds)


@cache
def _say_once(line: str) -> None:
    log.warning(line)


def needs_token_counts(metric: ItemMetric) -> bool:
    """Whether ``metric`` is undefined (NaN) for choices of unknown token count that are all right otherwise.

    >>> needs_token_counts(ItemMetric("loglik", "Log-likelihood.", lambda choices: choices.gold_loglik_I))
    False
    """
    count = max(metric.min_choices, 2)
    probe = item_choices([-1.0 - place for place in range(count)], ["a" * (place + 1) for place in range(count)], 0)
    try:
        return bool(np.isnan(metric.per_item(probe)[0]))
    except Exception:  # a metric that fails is named when it does so on an item
        return False


def item_choices(logliks: Sequence[float], texts: Sequence[str], *golds: int) -> ItemChoices:
    """One item, whose right choices are ``golds``, as the arrays that item metrics take: shape (1, C).

    >>> choices = item_choices([-1.0, -2.5], ["a", "bé"], 0)
    >>> choices.chars_IC.tolist(), choices.bytes_IC.tolist(), choices.gold_loglik_I.tolist()
    ([[1, 2]], [[1, 3]], [-1.0])
    """
    count = len(texts)
    return ItemChoices(
        loglik_IC=np.array([logliks], dtype=np.float64),
        there_IC=np.ones((1, count), dtype=np.bool_),
        bytes_IC=np.array([[len(text.encode("utf-8")) for text in texts]], dtype=np.int64),
        chars_IC=np.array([[len(text) for text in texts]], dtype=np.int64),
        tokens_IC=np.full((1, count), UNKNOWN_LENGTH, dtype=np.int64),
        gold_I=np.array([min(golds, default=-1)], dtype=np.int64),
        gold_IC=np.isin(np.arange(count), golds)[None, :],
    )
