"""Tests of mpnas/cost/budget.py."""

import math

import numpy as np
import pytest
from cost_spaces import chain, layer, random_assignment, residual, separable, space_of, work

from mpnas.cost import (
    COSTS,
    Budget,
    Cycles,
    Energy45nm,
    Roofline,
    achievable,
    expected,
    floor_assignment,
    measure,
    measure_priced,
    refuse_impossible,
    satisfied,
)
from mpnas.errors import BudgetError, ConfigError, UnpricedError
from mpnas.space import Rule, build_space


ROOFLINE = (Roofline(peak=1e9, bandwidth=1e3),)


def absolute(space=None, **limits):
    return Budget(limits).absolute(space or space_of(chain), COSTS)


@pytest.mark.parametrize(
    "asked, number",
    [
        (0.25, 0.25 * 172.5), (1, 172.5), (1.0, 172.5), ("0.25", 0.25 * 172.5), ("1", 172.5), (" .5 ", 86.25),
        (1.5, 1.5), (20000, 20000), ("20000", 20000), ("3e2", 300), ("2.5E+3", 2500),
        ("20 kB", 20000), ("20kb", 20000), ("1 B", 1), ("0.5 kB", 500), ("0.5k", 500), ("1.5 MB", 1.5e6),
        ("2 GB", 2e9), ("2 G", 2e9), ("1KiB", 1024), ("1 MiB", 2**20), ("0.5 GiB", 2**29),
    ],
)
def test_amount_is_a_share_of_the_8_bit_network_or_absolute(asked, number):
    assert absolute(weight_bytes=asked) == {"weight_bytes": number}


@pytest.mark.parametrize(
    "asked",
    ["", "kB", "much", "20 parsec", "-3", -3, 0, 0.0, "0 kB", "1.2.3", ".", "1e999", "nan", "inf", math.nan,
     math.inf, "20 kB!", "2 0", True, None],
)
def test_what_is_no_amount_is_refused_with_examples(asked):
    with pytest.raises(ConfigError, match=r"budget bops = .* is no amount\. Write a share .*'20 kB'"):
        absolute(bops=asked)


def test_unknown_cost_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'weight_byte'; nearest: 'weight_bytes'.*peak_act_bytes"):
        absolute(weight_byte=0.5)


@pytest.mark.parametrize(
    "asked, number", [("2 s", 2.0), ("5ms", 5e-3), ("3 US", 3e-6), ("4 ns", 4e-9)]
)
def test_time_has_units_of_its_own(asked, number):
    budget = Budget({"roofline": asked})
    assert budget.absolute(space_of(chain), ROOFLINE) == pytest.approx({"roofline": number}, rel=1e-12)


@pytest.mark.parametrize(
    "asked, number", [("2 J", 2.0), ("5mJ", 5e-3), ("3 uJ", 3e-6), ("4 nJ", 4e-9), ("7 pJ", 7e-12)]
)
def test_energy_has_units_of_its_own(asked, number):
    budget = Budget({"energy_45nm": asked})
    assert budget.absolute(space_of(chain), [Energy45nm()]) == pytest.approx({"energy_45nm": number})


@pytest.mark.parametrize("name, asked", [("bops", "5 ms"), ("weight_bytes", "3 uJ"), ("roofline", "3 uJ")])
def test_unit_of_something_else_is_refused(name, asked):
    with pytest.raises(ConfigError, match=f"budget {name} = '{asked}' is in .*, but the unit of {name}"):
        Budget({name: asked}).absolute(space_of(chain), (*COSTS, *ROOFLINE))


def test_cost_without_a_number_for_the_network_is_left_out_where_asked_to():
    space = space_of(chain)
    assignment = space.uniform(8)  # its product of activations is float, the core knows integers
    assert measure_priced([*COSTS, Cycles()], space, assignment) == measure(COSTS, space, assignment)
    with pytest.raises(UnpricedError):
        measure([*COSTS, Cycles()], space, assignment)


def test_row_of_several_terms_is_named_with_its_largest():
    budget = Budget({"roofline": "1 ns"})
    # Bytes of b: 3 weights of 2 bits, one input of 4 bits moved twice: (6 + 8) / 8; at 1 kB/s.
    with pytest.raises(BudgetError, match=r"set by .*'b' \(0\.00175\)"):
        refuse_impossible(budget, ROOFLINE, space_of(chain))


def test_share_of_a_space_without_8_bits_is_of_the_candidates_nearest_to_8():
    space = space_of(chain, Rule(match="*", weights=(2, 6), activations=(4, 16)))
    # 6 bits and, of 4 and 16, the nearer 4.
    assert absolute(space, bops=1.0) == {"bops": 1812 * 24 + 7 * 1024}


@pytest.mark.parametrize("net", [chain, residual, separable])
def test_no_assignment_is_outside_the_achievable_range(net):
    space = space_of(net)
    reach = achievable(COSTS, space)
    rng = np.random.default_rng(0)
    for most in (None, 2, 1):
        for _ in range(50):
            for name, value in measure(COSTS, space, random_assignment(space, rng, most=most)).items():
                assert reach[name][0] <= value <= reach[name][1]
    space.check(floor_assignment(space))


def test_floor_keeps_the_shortest_subgroup():
    parts = [
        layer("a", (4, 7), "input", "a/channels", macs=28, tensor="x"),
        layer("b", (7, 2), "a/channels", "b/channels", macs=14, tensor="y"),
    ]
    rule = Rule(match="*", weights=(0, 8), granularity=3)
    space = build_space(work(parts, (), (), frozen={"b/channels"}), [rule])
    assert floor_assignment(space).bits["a/kernel"] == (0, 0, 8)
    assert achievable(COSTS, space)["macs"] == (4 + 2, 28 + 14)


def test_impossible_budget_names_the_range_and_what_sets_the_floor():
    # One channel of a at 2 bits: 18 weights (4.5 bytes), scale, bias, four widths, its input: 19 in all.
    # b: 3 weights of 2 bits (0.75), 3 scales and biases, 3 widths, its input: 30.75. Loose: 20.
    with pytest.raises(BudgetError) as refused:
        refuse_impossible(Budget({"weight_bytes": "60 B"}), COSTS, space_of(chain))
    assert str(refused.value) == (
        "budget weight_bytes = 60 byte cannot be met: this space reaches from 69.75 to 172.5 byte. "
        "The floor is set by 'b' (30.75), what belongs to no layer (20), 'a' (19). "
        "Raise the budget, or offer lower bit-widths there."
    )


def test_impossible_peak_names_the_moment():
    with pytest.raises(BudgetError, match="set by the moment when image, a/output are alive"):
        refuse_impossible(Budget({"peak_act_bytes": 3}), COSTS, space_of(chain))


def test_possible_budgets_come_back_as_numbers():
    limits = refuse_impossible(Budget({"weight_bytes": "69.75 B", "macs": 1.0}), COSTS, space_of(chain))
    assert limits == {"weight_bytes": 69.75, "macs": 1819}


def test_expected_costs_of_one_hot_gates_are_the_measured_ones():
    space = space_of(residual)
    assignment = random_assignment(space, np.random.default_rng(3))
    soft = expected(COSTS, space, space.one_hot(assignment))
    assert {name: float(value) for name, value in soft.items()} == measure(COSTS, space, assignment)


def test_limits_are_met_when_they_are_reached_exactly():
    assert satisfied({"macs": 5.0, "bops": 9.0}, {"macs": 5.0})
    assert not satisfied({"macs": 5.0, "bops": 9.0}, {"macs": 5.0, "bops": 8.999})
    assert satisfied({}, {})
