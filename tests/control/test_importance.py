"""Tests of mpnas/control/importance.py."""

import numpy as np
import pytest
from control_choices import bit_sum, chain
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.control import Importance
from mpnas.errors import BudgetError, ConfigError

SPACE = chain()  # 0, 2, 4, 8 bits per channel of l0 and l1, 2, 4, 8 of l2; activations 4, 8
SITES = ("l0/kernel", "l1/kernel", "l2/kernel")
RNG = np.random.default_rng(0)
LOOSE = {"bits": 1e9}


def scores(seed=0):
    draw = np.random.default_rng(seed)
    return {s: draw.uniform(0, 10, (SPACE.choices[s].decisions, 1)) for s in SITES}


def ask(controller, memory, limit):
    return controller.ask(memory, SPACE, RNG, 1, bit_sum, {"bits": limit})


def searched(controller, limit, accuracy, found=None):
    """Every assignment on the way, and the memory at each of them."""
    memory, heard = controller.init(SPACE, scores() if found is None else found), []
    while asked := ask(controller, memory, limit):
        memory = controller.tell(memory, [(asked[0], {"accuracy": accuracy(asked[0]), "loss": 1.0})])
        heard.append((asked[0], memory))
        assert len(heard) < 1000
    return heard


def test_search_begins_with_everything_at_the_highest_width():
    controller = Importance(activation_bits=8)
    assert ask(controller, controller.init(SPACE, scores()), 60.0) == [SPACE.uniform(None)]


def test_filters_below_a_threshold_have_its_lower_width():
    controller = Importance(activation_bits=4)
    found = {s: np.array([[1.0], [3.0], [5.0], [7.0], [9.0], [9.5]])[: len(v)] for s, v in scores().items()}
    memory = controller.init(SPACE, found)
    assert memory.widths == (0, 2, 4, 8)
    assignment = controller._assignment(memory, (2.0, 5.0, 8.0))
    # A score on a threshold reaches it; where 0 bits is not offered the lowest width is.
    assert assignment.bits["l0/kernel"] == (0, 2, 4, 4, 8, 8)
    assert assignment.bits["l2/kernel"] == (2, 2)
    assert set(assignment.bits["l1/input"]) == {4}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 11), min_size=6, max_size=6))
def test_no_filter_gains_bits_as_thresholds_rise(values):
    controller, low, high = Importance(), sorted(values[:3]), sorted(values[3:])
    high = np.maximum(low, high)
    memory = controller.init(SPACE, scores(1))
    before, after = (controller._assignment(memory, v).bits for v in (low, high))
    assert all(np.all(np.array(after[s]) <= np.array(before[s])) for s in SITES)


def test_thresholds_never_fall_and_stay_in_order_until_the_budget_is_met():
    heard = searched(Importance(step=0.05), 50.0, lambda a: bit_sum(a)["bits"] / 200)
    values = np.array([memory.values for _, memory in heard])
    assert np.all(np.diff(values, axis=0) >= 0) and np.all(np.diff(values, axis=1) >= 0)
    costs = [bit_sum(assignment)["bits"] for assignment, _ in heard]
    assert np.all(np.diff(costs) < 0), "every step takes something away"
    assert costs[-1] <= 50.0 < costs[-2]


def test_turns_end_at_floors_that_fall_by_the_ratio():
    """Accuracy 0.8 at the start: the floors are 0.4, 0.32, 0.256, and go on falling in a second round."""
    accuracies = iter([0.8, 0.7, 0.39, 0.38, 0.30, 0.29, 0.20, 0.19] + [0.19] * 1000)
    heard = searched(Importance(step=0.02, activation_bits=4), 24.0, lambda a: next(accuracies))
    turns = [(memory.turn, memory.floor) for _, memory in heard[:8]]
    expected = [(0, 0.4), (0, 0.4), (1, 0.32), (1, 0.32), (2, 0.256), (2, 0.256), (0, 0.2048), (1, 0.16384)]
    assert [turn for turn, _ in turns] == [turn for turn, _ in expected]
    np.testing.assert_allclose([floor for _, floor in turns], [floor for _, floor in expected])


def test_next_threshold_has_its_turn_where_nothing_is_below_one_any_more():
    heard = searched(Importance(step=0.5, activation_bits=4), 24.0, lambda a: 1.0)
    assert bit_sum(heard[-1][0])["bits"] <= 24.0


def test_filter_that_matters_most_stays_in_every_group():
    heard = searched(Importance(activation_bits=4), 20.0, lambda a: 1.0)
    last = heard[-1][0]
    SPACE.check(last)
    for site in ("l0/kernel", "l1/kernel"):
        alive = np.flatnonzero(last.bits[site])
        np.testing.assert_array_equal(alive, [np.argmax(scores()[site])])


def test_network_without_any_path_comes_down_too():
    zeros = {s: np.zeros_like(v) for s, v in scores().items()}
    heard = searched(Importance(activation_bits=4), 20.0, lambda a: 1.0, zeros)
    assert bit_sum(heard[-1][0])["bits"] == 20.0


def test_width_of_activations_that_leaves_no_room_is_refused():
    controller = Importance(activation_bits=8)
    with pytest.raises(BudgetError, match="no assignment with activations of 8 bits meets bits <= 20; "
                                          "the cheapest has bits = 32"):
        ask(controller, controller.init(SPACE, scores()), 20.0)


def test_search_without_scores_says_how_to_get_them():
    with pytest.raises(ConfigError, match="needs class scores .*run it with mpnas.train.find"):
        Importance().init(SPACE)


@pytest.mark.parametrize("changes", [
    {"evaluations": 0}, {"first": 0.0}, {"first": float("nan")}, {"ratio": 1.0}, {"step": 0.0},
    {"step": 1.5}, {"activation_bits": 0}, {"batches": 0}, {"batch": 0},
])
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(ConfigError, match="Importance needs"):
        Importance(**changes)
