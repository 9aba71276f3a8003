import numpy as np
import pytest

from e2lm_signal.curves import axis_K, curve_of_values, trapezoid_weights_K


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
