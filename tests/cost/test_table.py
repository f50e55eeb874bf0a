"""Tests of mpnas/cost/table.py."""

import dataclasses

import numpy as np
import pytest
from cost_spaces import chain, space_of

from mpnas.cost import Cycles, Energy, Latency, Throughput, exact_cost, soft_cost
from mpnas.cost.table import bundled_table
from mpnas.errors import ConfigError, UnpricedError
from mpnas.space import Rule

CHANNELS = Rule(match="*", weights=(0, 2, 4, 8), activations=(2, 4, 8), granularity="channel")
ODD = Rule(match="*", weights=(3, 6, 8), activations=(3, 6, 8))


def integer_chain():
    """The chain without its product of activations, which is in float."""
    return dataclasses.replace(chain(), products=())


def assigned(rule, **bits):
    space = space_of(integer_chain, rule)
    chosen = space.uniform(8).bits | {site.replace("_", "/"): tuple(widths) for site, widths in bits.items()}
    return space, dataclasses.replace(space.uniform(8), bits=chosen)


def test_cycles_of_a_layer_are_the_mean_of_its_channels():
    space, mixed = assigned(CHANNELS, a_kernel=(2, 4, 8, 8), a_input=(8,), b_kernel=(2, 2, 4), b_input=(4,))
    of_a = 1800 * (1 / 2.5 + 1 / 2.3 + 1 / 2.1 + 1 / 2.1) / 4
    of_b = 12 * (2 / 3.9 + 1 / 3.5) / 3
    assert exact_cost(Cycles(), space, mixed) == pytest.approx(of_a + of_b, rel=1e-12)


def test_removed_channel_takes_no_cycles_here_and_none_in_its_reader():
    space, pruned = assigned(CHANNELS, a_kernel=(0, 0, 0, 2), a_input=(2,), b_kernel=(8, 8, 8), b_input=(8,))
    assert exact_cost(Cycles(), space, pruned) == pytest.approx(450 / 6.5 + 3 / 2.1, rel=1e-12)


def test_seconds_and_joule_are_cycles_at_250_mhz_and_5_4_mw():
    space, uniform = assigned(CHANNELS)
    cycles = 1812 / 2.1
    assert exact_cost(Latency(), space, uniform) == pytest.approx(cycles / 250e6, rel=1e-12)
    assert exact_cost(Energy(), space, uniform) == pytest.approx(cycles / 250e6 * 5.3825e-3, rel=1e-12)
    assert [cost().name for cost in (Cycles, Latency, Energy)] == [
        "cycles_mpic", "latency_mpic", "energy_mpic"
    ]


def test_soft_gates_cost_the_mean_over_all_pairs():
    space = space_of(integer_chain, CHANNELS)
    gates = space.one_hot(space.uniform(8))
    gates["b/kernel"] = np.tile([0.5, 0.25, 0.25], (3, 1))  # its channels must stay
    gates["b/input"] = np.array([[0.5, 0.5, 0]])
    rates = 1 / np.array([[6.5, 4.0, 2.2], [3.9, 3.5, 2.1]])
    expected = 1800 / 2.1 + 12 * np.array([0.5, 0.5]) @ rates @ np.array([0.5, 0.25, 0.25])
    assert float(soft_cost(Cycles(), space, gates)) == pytest.approx(expected, rel=1e-12)


def test_pair_that_is_not_listed_is_refused_with_what_is():
    space, uniform = assigned(ODD)
    with pytest.raises(UnpricedError) as refused:
        exact_cost(Latency(), space, uniform)
    assert str(refused.value) == (
        "table 'mpic' has no throughput for 3-bit activations times 3-bit weights at 'a'; it has activations "
        "of 2, 4, 8 and weights of 2, 4, 8 bits. Offer widths of the table there, or set missing = "
        '"interpolate".'
    )


@pytest.mark.parametrize("bits, cycles", [
    ((3, 8), (1 / 2.2 + 1 / 2.1) / 2),
    ((8, 3), (1 / 2.5 + 1 / 2.3) / 2),
    ((6, 6), (1 / 3.5 + 1 / 2.1 + 1 / 2.3 + 1 / 2.1) / 4),
    ((3, 6), (1 / 4.0 + 1 / 2.2 + 1 / 3.5 + 1 / 2.1) / 4),
    ((8, 8), 1 / 2.1),
])
def test_cycles_between_listed_widths_are_bilinear(bits, cycles):
    acts, weights = ((width,) for width in bits)
    space, mixed = assigned(ODD, a_input=acts, b_input=acts, a_kernel=weights, b_kernel=weights)
    assert exact_cost(Cycles(missing="interpolate"), space, mixed) == pytest.approx(1812 * cycles, rel=1e-12)


@pytest.mark.parametrize("rule, pair", [
    (Rule(match="*", weights=(2, 16), activations=(8,)), "8-bit activations times 16-bit weights at 'a'"),
    (Rule(match="b", weights=(8,), activations=(8,)), "32-bit activations times 32-bit weights at 'a'"),
])
def test_nothing_is_extrapolated(rule, pair):
    space = space_of(integer_chain, rule)
    with pytest.raises(UnpricedError, match=pair) as refused:
        exact_cost(Cycles(missing="interpolate"), space, space.uniform(8))
    assert "interpolate" not in str(refused.value)


def test_float_product_of_activations_is_refused_by_its_place():
    space = space_of(chain, CHANNELS)
    with pytest.raises(UnpricedError, match="32-bit activations times 32-bit weights at 'scores'"):
        exact_cost(Cycles(), space, space.uniform(8))


TABLE = {"name": "core", "act_bits": (4, 8), "weight_bits": (8,), "macs_per_cycle": ((2.0,), (1.0,)),
         "hertz": 1e6, "watt": 0.5}


def test_table_of_ones_own_prices_and_names():
    space = space_of(integer_chain, Rule(match="*", weights=(8,), activations=(4, 8)))
    latency = Latency(table=Throughput(**TABLE))
    assert latency.name == "latency_core"
    indices = space.indices(space.uniform(8))
    indices["a/input"][:] = 0
    assert exact_cost(latency, space, space.from_indices(indices)) == pytest.approx((900 + 12) / 1e6)


@pytest.mark.parametrize("change, words", [
    ({"name": "my core"}, "name of letters, digits and _, got 'my core'"),
    ({"act_bits": (8, 4)}, r"ascending order, got \[8, 4\]"),
    ({"weight_bits": (64,)}, r"from 1 to 32 in ascending order, got \[64\]"),
    ({"act_bits": ()}, "from 1 to 32"),
    ({"macs_per_cycle": ((2.0,),)}, r"2 rows \(activations\) and 1 columns \(weights\), got rows of \[1\]"),
    ({"macs_per_cycle": ((2.0,), (0.0,))}, "macs_per_cycle > 0"),
    ({"macs_per_cycle": ((2.0,), (float("nan"),))}, "macs_per_cycle > 0"),
    ({"macs_per_cycle": ((2.0,), (3.0,))}, "more macs_per_cycle with more bits"),
    ({"hertz": 0.0}, "hertz > 0 and watt > 0, got 0.0"),
    ({"watt": float("nan")}, "watt > 0, got 1000000.0, nan"),
])
def test_table_that_is_none_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        Throughput(**TABLE | change)


def test_unknown_table_and_policy_name_the_nearest():
    with pytest.raises(ConfigError, match="no throughput table 'mpik'; nearest: 'mpic'"):
        Latency(table="mpik")
    with pytest.raises(ConfigError, match="missing = 'interpolat'; nearest: 'interpolate'"):
        Cycles(missing="interpolat")


def test_bundled_table_is_that_of_the_paper():
    table = bundled_table("mpic")
    assert table.hertz == 250e6 and table.watt == pytest.approx((5.30 + 5.39 + 5.46 + 5.38) / 4 * 1e-3)
    assert "2206.08852" in table.source
