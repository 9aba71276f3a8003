"""The per-item metrics: what one item says, computed from the log-likelihoods of its choices.

One pass over the choices of an item gives every number here; nothing is evaluated again. Notation of the formulas:
``l_i`` is the log-likelihood of choice i in nats (summed over its tokens), ``g`` a true choice, ``w`` a wrong one,
``p_i = exp(l_i / u_i)`` its probability with the unit ``u_i`` that the metric's name ends in: nothing (1),
``_per_char``, ``_per_byte`` or ``_per_token``. Lengths never count the leading delimiter, as in lm-eval.

Ties. lm-eval takes the first of several equal best choices, so a constant model scores the share of items whose truth
comes first: up to 1.0. The twins named ``..._ties_half`` give an item whose truth is among m equal best choices 1/m,
the expected score when the tie is broken at random: one half for two, and a constant model scores exactly chance.
Equal means equal as floating-point numbers.

Several right choices count as lm-eval counts them, any of them: the item is answered where one of them is the best, and
none is a wrong one. Where one value is asked of them it is that of the best (``max_g``), but probabilities of the truth
are sums and ``gold_minus_mean_wrong`` compares means. An item whose label is no choice is answered wrongly, as in
lm-eval, and NaN where a metric is about the truth itself.

An item is NaN where a length that the metric needs is unknown or zero (accuracies rank an empty choice last, as lm-eval
does), or where it has no wrong choice to compare with.

Shape suffixes: I items, C choices (padded: ``there_IC`` tells which are real).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm import ItemMetric
from e2lm.arrays import Values
from e2lm.item_metric import ItemChoices

PerItem = Callable[[ItemChoices], Values]

LM_EVAL = "lm-eval 0.4.13, ConfigurableTask.process_results"
DATADECIDE = "DataDecide (Magnusson et al. 2025, arXiv 2504.11393), section 2.3"
FINETASKS = "FineTasks (Kydlicek et al. 2024)"
MORAI = "E2LM 2025, first place (morai, mmlu_early_training)"
NOOR = "E2LM 2025, second place (Noor, margin per item)"
SIGNAL_AND_NOISE = "Signal and Noise (Heineman et al. 2025, arXiv 2508.13144), section 5.3"

#: Name ending -> what the log-likelihood is divided by.
UNITS = {"": "choice", "_per_char": "character", "_per_byte": "UTF-8 byte", "_per_token": "token"}


def lengths_IC(choices: ItemChoices, unit: str) -> Values:
    """What log-likelihoods are divided by: 1, or lengths with NaN where padded or unknown. ``unit``: key of UNITS."""
    if unit == "":
        return np.ones_like(choices.loglik_IC)
    counts_IC = {"_per_char": choices.chars_IC, "_per_byte": choices.bytes_IC, "_per_token": choices.tokens_IC}[unit]
    return np.where(counts_IC >= 0, counts_IC, np.nan).astype(np.float64)


def scaled_loglik_IC(choices: ItemChoices, unit: str) -> Values:
    """``l_i / u_i`` in nats per unit; NaN where padded or where the length is unknown or zero."""
    lengths = lengths_IC(choices, unit)
    known_IC = choices.there_IC & (lengths > 0)
    return np.asarray(np.where(known_IC, choices.loglik_IC, np.nan) / np.where(known_IC, lengths, 1.0))


def _ranked_IC(choices: ItemChoices, unit: str) -> Values:
    """``l_i / u_i`` by which the best choice is told: an empty one is the last, as in lm-eval, padding never one."""
    scaled_IC = scaled_loglik_IC(choices, unit)
    # Dividing by zero gives -inf, and of a log-likelihood of 0 a NaN, which numpy's argmax takes for the highest.
    is_first_IC = choices.there_IC & (lengths_IC(choices, unit) == 0) & (choices.loglik_IC == 0)
    return np.asarray(np.where(is_first_IC, np.inf, np.where(np.isnan(scaled_IC), -np.inf, scaled_IC)))


def _undefined_I(choices: ItemChoices, unit: str, least: int) -> NDArray[np.bool_]:
    """Items where some real choice has no known length, or one below ``least``."""
    lengths = lengths_IC(choices, unit)
    return np.asarray((choices.there_IC & ~(lengths >= least)).any(axis=1))


def _per_item(formula: Callable[[ItemChoices, str], Values], unit: str, least: int = 1) -> PerItem:
    def per_item(choices: ItemChoices) -> Values:
        if not len(choices):
            return np.zeros(0)
        return np.asarray(np.where(_undefined_I(choices, unit, least), np.nan, formula(choices, unit)))

    return per_item


def accuracy_I(choices: ItemChoices, unit: str) -> Values:
    """1 where the first choice with the highest ``l_i / u_i`` is true, else 0 (lm-eval's acc, acc_norm, acc_bytes)."""
    best_I = _ranked_IC(choices, unit).argmax(axis=1)
    return np.asarray(choices.gold_IC[np.arange(len(choices)), best_I], dtype=np.float64)


def accuracy_ties_half_I(choices: ItemChoices, unit: str) -> Values:
    """1/m where the truth is among the m choices that share the highest ``l_i / u_i``, else 0; k/m for k truths."""
    ranked_IC = _ranked_IC(choices, unit)
    best_IC = (ranked_IC == ranked_IC.max(axis=1, keepdims=True)) & choices.there_IC
    return np.asarray((best_IC & choices.gold_IC).sum(axis=1) / np.maximum(best_IC.sum(axis=1), 1))


def _of_all_golds(choices: ItemChoices, values_IC: Values) -> Values:
    """The sum over the true choices, NaN where there is none."""
    sums_I = np.where(choices.gold_IC, values_IC, 0.0).sum(axis=1)
    return np.asarray(np.where(choices.gold_IC.any(axis=1), sums_I, np.nan))


def correct_prob_I(choices: ItemChoices, unit: str) -> Values:
    """``sum_g p_g``, of one truth in [0, 1]."""
    return _of_all_golds(choices, np.exp(scaled_loglik_IC(choices, unit)))


def total_prob_I(choices: ItemChoices, unit: str) -> Values:
    """``sum_i p_i``: how much the model expects any of the choices, true or not."""
    return np.asarray(np.nansum(np.exp(scaled_loglik_IC(choices, unit)), axis=1))


def norm_correct_prob_I(choices: ItemChoices, unit: str) -> Values:
    """``sum_g p_g / sum_i p_i``, in [0, 1]; computed as a softmax, so tiny probabilities do not underflow."""
    scaled_IC = scaled_loglik_IC(choices, unit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        highest_I1 = np.nanmax(scaled_IC, axis=1, keepdims=True)
        relative_IC = np.exp(scaled_IC - highest_I1)
    return np.asarray(_of_all_golds(choices, relative_IC) / np.nansum(relative_IC, axis=1))


def prob_margin_I(choices: ItemChoices, unit: str) -> Values:
    """``max_g p_g - max_w p_w``, in [-1, 1]; DataDecide's ``margin``."""
    prob_IC = np.exp(scaled_loglik_IC(choices, unit))
    return choices.of_gold(prob_IC) - _best(choices.without_gold(prob_IC))


def margin_I(choices: ItemChoices, unit: str) -> Values:
    """``max_g l_g / u_g - max_w l_w / u_w`` in nats per unit: above 0 where the item is answered correctly."""
    scaled_IC = scaled_loglik_IC(choices, unit)
    return choices.of_gold(scaled_IC) - _best(choices.without_gold(scaled_IC))


def gold_minus_mean_wrong_I(choices: ItemChoices, unit: str) -> Values:
    """``mean_g l_g / u_g - mean_w l_w / u_w`` in nats per unit: what shifts all choices alike cancels."""
    scaled_IC = scaled_loglik_IC(choices, unit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an item without a wrong choice is NaN, not a warning
        right_I = _of_all_golds(choices, scaled_IC) / choices.gold_IC.sum(axis=1)
        return np.asarray(right_I - np.nanmean(choices.without_gold(scaled_IC), axis=1))


def gold_loglik_I(choices: ItemChoices, unit: str) -> Values:
    """``max_g l_g / u_g`` in nats per unit."""
    return choices.of_gold(scaled_loglik_IC(choices, unit))


def bits_per_byte_I(choices: ItemChoices) -> Values:
    """``-max_g l_g / (ln 2 * bytes_g)``: bits that one byte of the true choice costs; lower is better.

    >>> import numpy as np
    >>> one = np.array([[1]])
    >>> coin = ItemChoices(np.log([[0.5]]), one == 1, one, one, one, np.array([0]))
    >>> bits_per_byte_I(coin)
    array([1.])
    """
    if not len(choices):
        return np.zeros(0)
    return np.asarray(-choices.of_gold(scaled_loglik_IC(choices, "_per_byte")) / np.log(2.0))


def _best(wrong_IC: Values) -> Values:
    """The highest of the wrong choices, NaN where there is none."""
    none_I = np.isnan(wrong_IC).all(axis=1)
    return np.asarray(np.where(none_I, np.nan, np.where(np.isnan(wrong_IC), -np.inf, wrong_IC).max(axis=1)))


def _uniform_chance(choices_I: Values | NDArray[np.int64]) -> Values:
    return 1.0 / np.asarray(choices_I, dtype=np.float64)


def _zero_chance(choices_I: Values | NDArray[np.int64]) -> Values:
    return np.zeros(len(choices_I))


def _accuracies() -> list[ItemMetric]:
    named = {
        "acc": ("", "the summed log-likelihood", LM_EVAL),
        "acc_norm": ("_per_char", "log-likelihood per character", LM_EVAL),
        "acc_bytes": ("_per_byte", "log-likelihood per UTF-8 byte", LM_EVAL),
        "acc_tokens": ("_per_token", "log-likelihood per token", FINETASKS),
    }
    metrics = []
    for name, (unit, ranking, source) in named.items():
        metrics.append(
            ItemMetric(
                name,
                f"Share of items whose truth has the highest {ranking}; of equal ones the first counts.",
                _per_item(accuracy_I, unit, least=0),
                source=source,
                chance=_uniform_chance,
                any_golds=True,
            )
        )
        metrics.append(
            ItemMetric(
                f"{name}_ties_half",
                f"Like {name}, but a truth among m equal best counts 1/m (half of two): constant models get chance.",
                _per_item(accuracy_ties_half_I, unit, least=0),
                source=source,
                chance=_uniform_chance,
                any_golds=True,
            )
        )
    return metrics


def _in_every_unit(
    name: str,
    description: str,
    formula: Callable[[ItemChoices, str], Values],
    source: str,
    *,
    measure: str = "probability",
    min_choices: int = 2,
    chance: Callable[[NDArray[Any]], Values] | None = None,
) -> list[ItemMetric]:
    return [
        ItemMetric(
            f"{name}{ending}",
            f"{description}, log-likelihoods per {unit}.",
            _per_item(formula, ending),
            unit=measure if measure == "probability" else f"{measure}/{unit}",
            min_choices=min_choices,
            source=source,
            chance=chance,
            any_golds=True,
        )
        for ending, unit in UNITS.items()
    ]


def item_metrics() -> list[ItemMetric]:
    """Every built-in per-item metric, in a fixed order.

    >>> [metric.name for metric in item_metrics()][:4]
    ['acc', 'acc_ties_half', 'acc_norm', 'acc_norm_ties_half']
    """
    return [
        *_accuracies(),
        *_in_every_unit("correct_prob", "Probability of the truth", correct_prob_I, DATADECIDE, min_choices=1),
        *_in_every_unit(
            "norm_correct_prob",
            "Probability of the truth among the choices",
            norm_correct_prob_I,
            DATADECIDE,
            chance=_uniform_chance,
        ),
        *_in_every_unit("total_prob", "Summed probability of all choices", total_prob_I, DATADECIDE, min_choices=1),
        *_in_every_unit(
            "prob_margin", "Probability of the truth minus that of the best wrong choice", prob_margin_I, DATADECIDE
        ),
        *_in_every_unit("margin", "Truth minus the best wrong choice", margin_I, NOOR, measure="nats"),
        *_in_every_unit(
            "gold_minus_mean_wrong",
            "Truth minus the mean of the wrong choices",
            gold_minus_mean_wrong_I,
            MORAI,
            measure="nats",
            chance=_zero_chance,
        ),
        *_in_every_unit(
            "gold_loglik", "Log-likelihood of the truth", gold_loglik_I, LM_EVAL, measure="nats", min_choices=1
        ),
        ItemMetric(
            "bits_per_byte",
            "Bits that one byte of the truth costs.",
            bits_per_byte_I,
            higher_is_better=False,
            min_choices=1,
            unit="bits/byte",
            source=SIGNAL_AND_NOISE,
            any_golds=True,
        ),
    ]
