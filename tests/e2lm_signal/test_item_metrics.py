import json

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
