"""Tests of mpnas/pareto/compare.py."""

import itertools

import numpy as np
import pytest
from front_maker import COST_MODELS, OBJECTIVES, RUN, made, record
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import FrontFileError
from mpnas.pareto.compare import Stretch, compare, epsilon, stretches


def front(*points, floats=((0.9, 1000),), **changes):
    """A front of searches (accuracy, bytes) and float networks, of one seed."""
    rows = [
        record(f"{kind}{n}", kind, accuracy, costs={"weight_bytes": cost, "bops": 1})
        for kind, some in (("search", points), ("float", floats)) for n, (accuracy, cost) in enumerate(some)
    ]
    return made(rows, **changes)


A = front((0.5, 100), (0.8, 400))
B = front((0.6, 200), (0.7, 400))


def test_hypervolumes_are_counted_up_to_one_reference_point():
    found = compare(A, front((0.6, 200), (0.7, 400), floats=[(0.9, 800), (0.8, 1200)]))
    assert found.reference_point == {"accuracy": 0.0, "weight_bytes": 1200}
    assert found.rule.startswith("costs of the dearest float network of both")
    # A: 300 bytes at 0.5 and 800 at 0.8; B: 200 at 0.6 and 800 at 0.7. Best of both 0.8 and 100 bytes.
    assert found.hypervolume == pytest.approx((790, 680))
    assert found.share == pytest.approx((790 / 880, 680 / 880))


def test_without_float_networks_the_dearest_network_sets_the_reference_point():
    found = compare(front((0.5, 100), floats=()), front((0.6, 200), floats=()))
    assert found.reference_point["weight_bytes"] == 200 and "dearest network" in found.rule
    assert found.hypervolume == pytest.approx((50, 0))


def test_epsilon_is_told_both_ways_on_normalised_objectives():
    # Accuracy spans 0.5 to 0.8, bytes 100 to 400. A's (0.5, 100) lacks 1/3 of the first for B's (0.6, 200);
    # B's points lack 1/3 of the second to be as cheap as 100 and 1/3 of the first to be as good as 0.8.
    assert compare(A, B).epsilon == pytest.approx((1 / 3, 1 / 3))
    assert compare(A, front((0.4, 200), (0.7, 400))).epsilon[0] <= 0


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5)


@given(POINTS, POINTS)
def test_epsilon_is_the_least_shift_that_matches_every_point(one, other):
    def matches(shift):
        moved = [(x + shift, y + shift) for x, y in one]
        return all(any(x >= p and y >= q for x, y in moved) for p, q in other)

    found = epsilon(np.array(one, float), np.array(other, float))
    assert matches(found) and not matches(found - 0.5)  # shifts of whole numbers are all there are


def test_epsilon_of_a_hand_count():
    # (1, 2) reaches (2, 1) by 1 and (0, 2.5) by 0.5.
    assert epsilon(np.array([[1.0, 2.0]]), np.array([[2.0, 1.0], [0.0, 2.5]])) == 1


def test_along_the_cost_each_stretch_says_who_reaches_more():
    assert stretches(A, B) == [
        Stretch(start=100, end=200, better="A", only=True, gap=None),
        Stretch(start=200, end=400, better="B", only=False, gap=pytest.approx(0.1)),
        Stretch(start=400, end=None, better="A", only=False, gap=pytest.approx(0.1)),
    ]


def test_a_metric_where_less_is_better_is_read_downwards():
    loss = [OBJECTIVES[0] | {"name": "loss", "direction": "min"}, OBJECTIVES[2]]

    def of_loss(value):
        return made([record("a", metrics={"loss": value}, costs={"weight_bytes": 7})], objectives=loss)

    assert [part.better for part in stretches(of_loss(1.0), of_loss(2.0))] == ["A"]
    assert compare(of_loss(1.0), of_loss(2.0)).reference_point["loss"] == 2.0


GRID = st.lists(st.tuples(st.integers(0, 4).map(lambda x: x / 4), st.integers(1, 6)), max_size=5)


@settings(deadline=None, max_examples=50)
@given(GRID, GRID)
def test_stretches_agree_with_looking_at_every_cost(one, other):
    found = stretches(front(*one), front(*other))
    for cost in range(1, 8):
        best = [max((a for a, c in points if c <= cost), default=-1) for points in (one, other)]
        within = [part for part in found if part.start <= cost and (part.end is None or cost < part.end)]
        if max(best) < 0:
            assert within == []
        else:
            [part] = within
            assert part.better == ("equal" if best[0] == best[1] else "A" if best[0] > best[1] else "B")
            assert part.only == (min(best) < 0)
    for left, right in itertools.pairwise(found):
        assert left.end == right.start and (left.better, left.only) != (right.better, right.only)


@settings(deadline=None, max_examples=30)
@given(GRID, GRID)
def test_exchanging_the_fronts_exchanges_every_answer(one, other):
    left, right = compare(front(*one), front(*other), 10), compare(front(*other), front(*one), 10)
    assert left.hypervolume == right.hypervolume[::-1]
    assert left.epsilon == (right.epsilon and right.epsilon[::-1])
    turned = {"A": "B", "B": "A", "equal": "equal"}
    assert [turned[part.better] for part in left.stretches] == [part.better for part in right.stretches]


def test_a_front_against_itself_is_equal_everywhere():
    found = compare(A, A)
    assert found.epsilon == (0, 0) and found.hypervolume[0] == found.hypervolume[1]
    assert [part.better for part in found.stretches] == ["equal"]


def test_fronts_without_points_have_no_epsilon():
    found = compare(front(), front(floats=()))
    assert (found.epsilon, found.stretches, found.hypervolume, found.share) == (None, [], (0, 0), None)
    assert compare(made([]), made([])).reference_point == {"accuracy": 0, "weight_bytes": 0}


def test_what_makes_the_comparison_uneven_is_noted():
    run = RUN | {"model": RUN["model"] | {"name": "wide"}}
    other = made([record("a", seed=1), record("b", seed=2)], run=run)
    notes = compare(A, other).notes
    assert "A is of 'block', B of 'wide'" in notes[0] and "A has 1 seeds and B has 2" in notes[1]


def test_more_objectives_than_two_are_all_in_the_volume():
    axes = [o | {"on_front": o["name"] != "test_accuracy"} for o in OBJECTIVES]
    one = made([record("a", accuracy=0.5, costs={"weight_bytes": 1, "bops": 2}),
                record("f", "float", 0.9, {}, costs={"weight_bytes": 4, "bops": 4})], objectives=axes)
    found = compare(one, one)
    assert found.hypervolume[0] == pytest.approx(0.5 * 3 * 2) and "all 3 objectives" in found.notes[0]


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"objectives": [o | {"on_front": o["name"] in ("accuracy", "bops")} for o in OBJECTIVES]},
         "different objectives: accuracy, weight_bytes against accuracy, bops"),
        ({"objectives": [OBJECTIVES[0] | {"unit": "%"}, *OBJECTIVES[1:]]}, "units, directions or"),
        ({"cost_models": [COST_MODELS[0] | {"params": {"x": 1}}, COST_MODELS[1]]}, "count weight_bytes"),
        ({"run": RUN | {"dataset": RUN["dataset"] | {"name": "mnist"}}}, "name is 'none' against 'mnist'"),
        ({"run": RUN | {"dataset": RUN["dataset"] | {"select_part": "half"}}}, "select_part is 'select'"),
    ],
    ids=["axes", "unit", "model", "data", "part"],
)
def test_what_cannot_be_compared_is_refused(changes, says):
    with pytest.raises(FrontFileError, match=says):
        compare(A, front(**changes))


def test_data_of_one_name_and_other_examples_are_refused():
    one, other = (front(run=RUN | {"dataset": RUN["dataset"] | {"sha256": digit * 64}}) for digit in "12")
    assert compare(one, one).notes == compare(A, A).notes
    with pytest.raises(FrontFileError, match="called 'none', but hold other examples .SHA-256 1{12}"):
        compare(one, other)
    compare(one, A)  # a front that says nothing of its examples


def test_numbers_too_large_to_multiply_are_refused():
    # Eleven costs of 1e30 make a volume of 1e330, which no float holds.
    axes = [OBJECTIVES[0]] + [OBJECTIVES[2] | {"name": f"c{n}"} for n in range(11)]
    rows = [record("a", costs={f"c{n}": 0 for n in range(11)}),
            record("b", costs={f"c{n}": 0 for n in range(11)}),
            record("u", "uniform", costs={f"c{n}": 1e30 for n in range(11)})]
    huge = made(rows, objectives=axes)
    with pytest.raises(FrontFileError, match="too large"):
        compare(huge, huge)
