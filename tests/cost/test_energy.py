"""Tests of mpnas/cost/energy.py."""

import dataclasses

import pytest
from cost_spaces import chain, residual, space_of

from mpnas.cost import Energy45nm, exact_cost
from mpnas.cost.energy import add_picojoule, multiply_picojoule
from mpnas.errors import ConfigError
from mpnas.space import Rule


def picojoule(cost, space, assignment):
    return exact_cost(cost, space, assignment) * 1e12


def test_laws_meet_what_was_measured():
    assert multiply_picojoule(8 * 8) == pytest.approx(0.2)
    assert multiply_picojoule(32 * 32) == pytest.approx(3.1)
    assert add_picojoule(8) == pytest.approx(0.03) and add_picojoule(32) == pytest.approx(0.1)
    assert multiply_picojoule(16) < multiply_picojoule(32) < 0.2


def test_operations_weights_and_activations_add_up():
    space = space_of(chain)
    operations = 1812 * (0.2 + 0.1) + 7 * (3.7 + 0.9)
    dram, sram = 640 / 32, 5 / 32  # per bit
    weights, activations = (72 + 12) * 8, 2 * (50 + 4) * 8
    uniform = space.uniform(8)
    assert picojoule(Energy45nm(), space, uniform) == pytest.approx(
        operations + dram * weights + sram * activations
    )
    swapped = Energy45nm(weights="sram", activations="dram")
    assert picojoule(swapped, space, uniform) == pytest.approx(
        operations + sram * weights + dram * activations
    )


def test_fewer_bits_save_at_their_place():
    space = space_of(chain)
    indices = space.indices(space.uniform(8))
    indices["b/kernel"][:] = [0, 0, 2]  # 2, 2 and 8 bits
    indices["b/input"][:] = 0  # 4 bits
    saved = picojoule(Energy45nm(), space, space.uniform(8)) - picojoule(
        Energy45nm(), space, space.from_indices(indices)
    )
    multiplied = 12 * 0.2 - 8 * multiply_picojoule(8) - 4 * multiply_picojoule(32)
    assert saved == pytest.approx(multiplied + 20 * 8 * 6 + 5 / 32 * 2 * 4 * 4)


def test_narrower_accumulator_saves_in_every_addition():
    space = space_of(residual)
    wide, narrow = (picojoule(Energy45nm(accumulator_bits=b), space, space.uniform(8)) for b in (32, 8))
    assert wide - narrow == pytest.approx(space.work.macs * 0.07)


def test_one_float_operand_makes_the_operation_float():
    space = space_of(chain, Rule(match="a", weights=(4,)), Rule(match="b", activations=(8,)))
    bits = 72 * 4 + 12 * 32
    moved = 20 * bits + 5 / 32 * 2 * (50 * 32 + 4 * 8)
    assert picojoule(Energy45nm(), space, space.uniform(8)) == pytest.approx(1819 * 4.6 + moved)


def test_tensor_with_two_readers_is_written_once():
    space = space_of(twins)
    # 36 numbers, written once and read twice, and the image.
    moved = picojoule(Energy45nm(), space, space.uniform(8))
    operations = sum(one.macs for one in space.work.layers) * 0.3
    weights = 20 * 8 * sum(one.parameters for one in space.work.layers)
    assert moved - operations - weights == pytest.approx(5 / 32 * 8 * (2 * 18 + 3 * 36 + 2 * 54))


def twins():
    """The residual network whose head reads what `inner` reads."""
    made = residual()
    layers = [dataclasses.replace(one, tensor="h") if one.path == "head" else one for one in made.layers]
    return dataclasses.replace(made, layers=tuple(layers))


def test_levels_and_accumulators_are_checked():
    with pytest.raises(ConfigError, match="weights are in no memory 'dran'; nearest: 'dram'"):
        Energy45nm(weights="dran")
    with pytest.raises(ConfigError, match="accumulator_bits from 8 to 32, got 64"):
        Energy45nm(accumulator_bits=64)


def test_counts_list_each_part():
    counts = Energy45nm().counts
    assert counts["multiplications"] and counts["additions"] and counts["weight_reads"]
    assert counts["activation_reads"] and counts["activation_writes"] and not counts["control"]
