import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.item_metric import ItemChoices
from e2lm.plugin_manager import PluginManager
from e2lm_signal.item_metrics import item_metrics

METRICS = {metric.name: metric for metric in item_metrics()}


def make_choices(loglik, gold, texts=None, tokens=None):
    """Items from ragged lists; lengths from the texts where given."""
    width = max(len(row) for row in loglik)
    shape = (len(loglik), width)
    loglik_IC, there_IC = np.full(shape, np.nan), np.zeros(shape, bool)
    bytes_IC, chars_IC, tokens_IC = (np.full(shape, -1) for _ in range(3))
    for item, row in enumerate(loglik):
        for choice, value in enumerate(row):
            loglik_IC[item, choice], there_IC[item, choice] = value, True
            if texts is not None:
                chars_IC[item, choice] = len(texts[item][choice])
                bytes_IC[item, choice] = len(texts[item][choice].encode())
            if tokens is not None:
                tokens_IC[item, choice] = tokens[item][choice]
    return ItemChoices(loglik_IC, there_IC, bytes_IC, chars_IC, tokens_IC, np.asarray(gold, np.int64))


def value(name, choices):
    return METRICS[name].per_item(choices)


items = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from([-9.0, -6.0, -4.0, -2.5, -2.0]), st.text("aé猫", min_size=1, max_size=4)),
                 min_size=2, max_size=5),
        st.integers(0, 1),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@given(items)
def test_accuracies_equal_those_of_lm_eval_with_the_first_of_equal_choices(drawn):
    loglik = [[value for value, _ in row] for row, _ in drawn]
    texts = [[text for _, text in row] for row, _ in drawn]
    gold = [index for _, index in drawn]
    choices = make_choices(loglik, gold, texts)
    for item, row in enumerate(loglik):
        lls = np.array(row)
        chars = np.array([float(len(text)) for text in texts[item]])
        byte = np.array([float(len(text.encode("utf-8"))) for text in texts[item]])
        assert value("acc", choices)[item] == (np.argmax(lls) == gold[item])
        assert value("acc_norm", choices)[item] == (np.argmax(lls / chars) == gold[item])
        assert value("acc_bytes", choices)[item] == (np.argmax(lls / byte) == gold[item])


def test_accuracies_equal_those_of_lm_eval_itself(tmp_path):
    from lm_eval.api.task import ConfigurableTask  # type: ignore[import-untyped]

    rng = np.random.default_rng(0)
    words = ["yes", "no", "perhaps", "naïve", "猫猫", "a longer answer"]
    docs = [
        {"q": f"q{i}", "choices": [str(word) for word in rng.permutation(words)[:4]], "gold": int(rng.integers(4))}
        for i in range(40)
    ]
    data = tmp_path / "docs.jsonl"
    data.write_text("\n".join(json.dumps(doc) for doc in docs), encoding="utf-8")
    task = ConfigurableTask(
        config={
            "task": "made", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{q}}",
            "doc_to_choice": "{{choices}}", "doc_to_target": "{{gold}}",
            "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
        }
    )  # fmt: skip
    loglik = rng.choice([-8.0, -6.0, -4.0, -3.0, -2.0], size=(40, 4))
    reported = [
        task.process_results(doc, [(float(ll), False) for ll in row]) for doc, row in zip(docs, loglik, strict=True)
    ]
    choices = make_choices(loglik.tolist(), [doc["gold"] for doc in docs], [doc["choices"] for doc in docs])
    for name in ("acc", "acc_norm", "acc_bytes"):
        assert value(name, choices).tolist() == [row[name] for row in reported]


LOGLIKS = (-9.0, -6.0, -4.0, -2.5, -2.0)


def any_items(seed, count=60):
    """Items of every shape: choices of any length, empty ones too; one right choice, several, or a label of none."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        width = int(rng.integers(2, 6))
        texts = [
            str(rng.choice(["a", "né", "猫猫", "a longer answer", ""], p=[0.3, 0.25, 0.2, 0.2, 0.05]))
            for _ in range(width)
        ]
        gold = [
            int(rng.integers(width)),
            int(rng.integers(width, 9)),
            rng.permutation(width)[: rng.integers(1, width)].tolist(),
        ]
        made.append((rng.choice(LOGLIKS, width).tolist(), texts, gold[int(rng.choice(3, p=[0.5, 0.2, 0.3]))]))
    return made


def golds_of(label, width):
    return [one for one in (label if isinstance(label, list) else [label]) if one < width]


def choices_of(made):
    loglik, texts = [row for row, _, _ in made], [row for _, row, _ in made]
    golds = [golds_of(label, len(row)) for row, _, label in made]
    tokens = [[(len(text) + 1) // 2 for text in row] for row in texts]
    plain = make_choices(loglik, [0] * len(made), texts, tokens)
    gold_IC = np.array([[choice in own for choice in range(plain.there_IC.shape[1])] for own in golds])
    return replace(plain, gold_I=np.array([min(own, default=-1) for own in golds]), gold_IC=gold_IC)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # lm-eval's: it divides by the length of an empty choice
@pytest.mark.parametrize("seed", range(5))
def test_items_of_every_shape_are_counted_as_lm_eval_counts_them(seed, tmp_path):
    from lm_eval.api.task import ConfigurableTask

    made = any_items(seed)
    choices = choices_of(made)
    for several in (True, False):
        rows = [row for row, (_, _, label) in enumerate(made) if isinstance(label, list) == several]
        docs = [{"q": "q", "choices": made[row][1], "gold": made[row][2]} for row in rows]
        data = tmp_path / f"{several}.jsonl"
        first = {"q": "q", "choices": ["a", "b"], "gold": [0] if several else 0}  # lm-eval looks at it when it loads
        data.write_text("\n".join(json.dumps(doc) for doc in [first, *docs]), encoding="utf-8")
        task = ConfigurableTask(
            config={
                "task": f"made-{several}",
                "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
                "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{q}}",
                "doc_to_choice": "{{choices}}", "doc_to_target": "gold",
                "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
            }
        )  # fmt: skip
        reported = [
            task.process_results(doc, [(ll, False) for ll in made[row][0]]) for row, doc in zip(rows, docs, strict=True)
        ]
        for name in ("acc", "acc_norm", "acc_bytes"):
            assert value(name, choices)[rows].tolist() == [one[name] for one in reported]


def reckoned(name, logliks, texts, golds):
    """One item's metric by its definition, from plain lists; None where it has none."""
    if name == "bits_per_byte":
        sizes = [len(texts[gold].encode()) for gold in golds]
        costs = [-logliks[gold] / np.log(2) / own for gold, own in zip(golds, sizes, strict=True) if own]
        return min(costs) if costs and all(sizes) else None
    unit = next((ending for ending in ("_per_char", "_per_byte", "_per_token") if name.endswith(ending)), "")
    size = {"": lambda text: 1, "_per_char": len, "_per_byte": lambda text: len(text.encode()),
            "_per_token": lambda text: (len(text) + 1) // 2}[unit]  # fmt: skip
    kind, sizes = name.removesuffix(unit), [size(text) for text in texts]
    if 0 in sizes or (not golds and kind != "total_prob"):
        return None
    scaled = [loglik / own for loglik, own in zip(logliks, sizes, strict=True)]
    right = [scaled[gold] for gold in golds]
    wrong = [one for place, one in enumerate(scaled) if place not in golds]
    prob = [sum(np.exp(one) for one in part) for part in (right, scaled)]
    found = {
        "correct_prob": lambda: prob[0],
        "norm_correct_prob": lambda: prob[0] / prob[1],
        "total_prob": lambda: prob[1],
        "prob_margin": lambda: np.exp(max(right)) - np.exp(max(wrong)),
        "margin": lambda: max(right) - max(wrong),
        "gold_minus_mean_wrong": lambda: sum(right) / len(right) - sum(wrong) / len(wrong),
        "gold_loglik": lambda: max(right),
    }
    return found[kind]()


@pytest.mark.parametrize("name", [name for name in METRICS if not name.startswith("acc")])
def test_items_of_every_shape_have_the_value_of_the_definition(name):
    made = any_items(11)
    found = value(name, choices_of(made))
    for (logliks, texts, label), one in zip(made, found.tolist(), strict=True):
        wanted = reckoned(name, logliks, texts, golds_of(label, len(logliks)))
        assert (wanted is None and np.isnan(one)) or one == pytest.approx(wanted)
    assert 10 < np.isfinite(found).sum() < len(made) + (name == "total_prob")


def test_ties_among_several_right_choices_share_the_point():
    choices = make_choices([[-1.0, -1.0, -1.0, -2.0]] * 3, [0] * 3)
    gold_IC = np.array([[True, True, False, False], [False, False, True, True], [False] * 4])
    several = replace(choices, gold_I=np.array([0, 2, -1]), gold_IC=gold_IC)
    assert value("acc_ties_half", several) == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert value("acc", several).tolist() == [1.0, 0.0, 0.0]
    assert METRICS["acc"].guessed(several) == pytest.approx((2 / 4 + 2 / 4 + 0) / 3)


@pytest.mark.parametrize("name", [name for name in METRICS if name.endswith("ties_half")])
def test_a_constant_model_scores_chance_and_not_one(name):
    texts = [["aa"] * 4] * 10
    constant = make_choices([[-3.0] * 4] * 10, [0] * 10, texts, [[2] * 4] * 10)
    assert value(name, constant).mean() == 0.25
    assert value(name.removesuffix("_ties_half"), constant).mean() == 1.0


def test_a_two_way_tie_with_the_truth_counts_one_half():
    choices = make_choices([[-1.0, -1.0, -2.0], [-1.0, -2.0, -1.0], [-1.0, -2.0]], [0, 1, 0])
    assert value("acc_ties_half", choices).tolist() == [0.5, 0.0, 1.0]


def test_the_formulas_give_the_values_worked_out_by_hand():
    choices = make_choices([[np.log(0.5), np.log(0.25), np.log(0.125)]], [0], [["ab", "abcd", "é"]], [[1, 2, 1]])
    assert value("correct_prob", choices) == pytest.approx([0.5])
    assert value("norm_correct_prob", choices) == pytest.approx([0.5 / 0.875])
    assert value("total_prob", choices) == pytest.approx([0.875])
    assert value("prob_margin", choices) == pytest.approx([0.25])
    assert value("margin", choices) == pytest.approx([np.log(2.0)])
    assert value("gold_minus_mean_wrong", choices) == pytest.approx([np.log(0.5) - np.log(0.25 * 0.125) / 2])
    assert value("bits_per_byte", choices) == pytest.approx([0.5])
    assert value("correct_prob_per_char", choices) == pytest.approx([0.5**0.5])
    assert value("margin_per_char", choices) == pytest.approx([np.log(0.5) / 2 - np.log(0.25) / 4])
    assert value("margin_per_token", choices) == pytest.approx([np.log(0.5) - np.log(0.25) / 2])
    assert value("gold_loglik_per_byte", choices) == pytest.approx([np.log(0.5) / 2])


def test_probabilities_too_small_for_a_float_do_not_underflow_when_normalised():
    choices = make_choices([[-2000.0, -2000.0 - np.log(3.0)]], [0])
    assert value("norm_correct_prob", choices) == pytest.approx([0.75])


def test_an_unknown_length_makes_only_the_metrics_that_need_it_undefined():
    choices = make_choices([[-1.0, -2.0]], [0], [["a", "b"]])
    assert np.isnan(value("acc_tokens", choices)).all()
    assert np.isnan(value("margin_per_token", choices)).all()
    assert value("acc_norm", choices).tolist() == [1.0]


def test_an_item_with_one_choice_has_a_probability_but_no_margin():
    choices = make_choices([[-1.0], [-1.0, -2.0]], [0, 0])
    assert np.isnan(value("margin", choices)).tolist() == [True, False]
    assert np.isnan(value("gold_minus_mean_wrong", choices)).tolist() == [True, False]
    assert value("correct_prob", choices)[0] == pytest.approx(np.exp(-1.0))


@given(items, st.floats(-5.0, 5.0))
def test_a_shift_common_to_all_choices_leaves_contrasts_alone(drawn, shift):
    gold = [index for _, index in drawn]
    loglik = [[value for value, _ in row] for row, _ in drawn]
    plain = make_choices(loglik, gold)
    shifted = make_choices([[value + shift for value in row] for row in loglik], gold)
    for name in ("margin", "gold_minus_mean_wrong", "norm_correct_prob"):
        assert value(name, shifted) == pytest.approx(value(name, plain), abs=1e-9)


def test_no_items_give_no_values():
    empty = ItemChoices(*(np.zeros((0, 4), kind) for kind in (float, bool, int, int, int)), np.zeros(0, np.int64))
    for metric in METRICS.values():
        assert metric.per_item(empty).shape == (0,)


def test_chance_is_one_over_the_choices_for_accuracies_and_zero_for_the_contrast():
    chance = METRICS["acc"].chance
    contrast = METRICS["gold_minus_mean_wrong"].chance
    assert chance is not None
    assert contrast is not None
    assert chance(np.array([2, 4])).tolist() == [0.5, 0.25]
    assert contrast(np.array([2, 4])).tolist() == [0.0, 0.0]


def test_every_metric_is_registered_through_the_hook_and_names_its_source():
    from e2lm import ItemMetric
    from e2lm_signal import plugin

    manager = PluginManager()
    from e2lm.plugin_manager import PluginRecord

    manager.register(plugin, PluginRecord("signal", "e2lm", "0"))
    found = manager.all("e2lm_register_metrics", ItemMetric, "item metric")
    assert [metric.name for metric in found] == list(METRICS)
    assert all(metric.source for metric in found)
