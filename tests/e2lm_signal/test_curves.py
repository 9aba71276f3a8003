import numpy as np
import pytest

from e2lm.scores import ScoreRow, Scores
from e2lm_signal.curves import axis_K, curve_groups, curve_of_values, trapezoid_weights_K
from e2lm_signal.item_metrics import item_metrics


@pytest.mark.parametrize("tokens", [[0.0, 0.0, 0.0], [1.0, 3.0, 2.0], [1.0, 1.0, 2.0]])
def test_checkpoints_whose_tokens_do_not_rise_lie_at_their_index(tokens):
    curve = curve_of_values([0.1, 0.2, 0.3], tokens_K=np.array(tokens))
    assert axis_K(curve, "tokens").tolist() == axis_K(curve, "log-tokens").tolist() == [0.0, 0.5, 1.0]


def test_a_single_checkpoint_lies_at_the_end():
    assert axis_K(curve_of_values([0.1], steps_K=np.array([0])), "tokens").tolist() == [1.0]


def test_the_log_axis_is_the_logarithm_of_one_and_a_hundred_times_the_share():
    curve = curve_of_values([0.1, 0.2, 0.3], tokens_K=np.array([0.0, 1e9, 4e9]))
    assert axis_K(curve, "tokens").tolist() == [0.0, 0.25, 1.0]
    assert axis_K(curve, "log-tokens") == pytest.approx([0.0, np.log(26) / np.log(101), 1.0])


def test_a_checkpoint_stands_for_half_the_way_to_each_neighbour():
    assert trapezoid_weights_K(np.array([0.0, 0.2, 1.0])) == pytest.approx([0.1, 0.5, 0.4])


@pytest.mark.parametrize(
    ("task", "metric", "chance"),
    [
        ("arc_easy", "acc", 0.25),
        ("arc:easy", "acc_norm", 0.25),
        ("hellaswag (shots=5)", "acc_norm,none", 0.25),
        ("mmlu_pro", "acc", 0.1),
        ("mmlu_anatomy", "acc", 0.25),
        ("hendrycksTest-anatomy", "acc", 0.25),
        ("winogrande", "acc", 0.5),
        ("mmlu_generative", "acc", 0.0),
        ("lambada_openai", "acc", None),
        ("arc_easy", "bits_per_byte", None),
        ("my_own_task", "acc", None),
    ],
)
def test_what_guessing_gets_is_known_of_well_known_tasks(task, metric, chance):
    table = Scores.from_rows([ScoreRow("run", step, task, metric, 0.3) for step in (1, 2)])
    [[curve]] = curve_groups(table, item_metrics())
    assert curve.chance == chance
    [[told]] = curve_groups(table, item_metrics(), {"*": 0.4})
    assert told.chance == 0.4
