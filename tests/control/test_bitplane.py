"""Tests of mpnas/control/bitplane.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from control_choices import choice, mask

from mpnas.control import Arch, BitPlane, Exponential

CHOICES = {"a": choice("a", 2, (2, 4, 8)), "b": choice("b", 1, (8,)), "m": mask("m", 3)}


def state(logits, sharpness, choices=CHOICES):
    arch = BitPlane(lean=0.0).init(choices)
    return Arch(arch.logits | {"a": jnp.asarray(logits, jnp.float32)}, {"sharpness": jnp.float32(sharpness)})


def test_only_weights_with_two_widths_have_planes():
    gates = BitPlane().gates(BitPlane().init(CHOICES), CHOICES, progress=0.0, key=None)
    assert gates["a"]["planes"].shape == (2, 7) and gates["a"]["sharpness"].shape == ()
    assert gates["b"].shape == (1, 1) and gates["m"].shape == (3, 2)


def test_sharpness_grows_from_one_to_two_hundred_exponentially():
    planes, arch = BitPlane(), BitPlane().init(CHOICES)
    for progress in (0.0, 0.25, 0.5, 1.0):
        after = planes.event(arch, CHOICES, over_budget=False, progress=progress)
        assert float(after.memory["sharpness"]) == pytest.approx(200.0**progress, rel=1e-5)


def test_sharp_gates_are_exactly_open_or_closed_and_bits_are_the_planes_and_the_sign():
    arch = state([[-1, -1, -1, -1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]], 200.0)
    gates = BitPlane().gates(arch, CHOICES, progress=1.0, key=None)["a"]["planes"]
    np.testing.assert_array_equal(gates, [[0, 0, 0, 0, 1, 1, 1], [1] * 7])
    np.testing.assert_array_equal(BitPlane().probabilities(arch, CHOICES)["a"], [[0, 1, 0], [0, 0, 1]])


def test_slope_of_expected_bits_is_that_of_the_sum_of_the_gates():
    logits = np.random.default_rng(0).uniform(-0.2, 0.6, (2, 7)).astype(np.float32)

    def bits(a):
        rows = BitPlane().probabilities(state(a, 3.0), CHOICES)["a"]
        return (rows @ jnp.array([2.0, 4.0, 8.0])).sum()

    gate = 1 / (1 + np.exp(-3 * logits))
    assert float(bits(logits)) == pytest.approx(gate.sum() + 2, rel=1e-5)
    np.testing.assert_allclose(jax.grad(bits)(logits), 3 * gate * (1 - gate), rtol=1e-4)


def test_channel_whose_last_plane_closes_is_removed():
    choices = {"a": choice("a", 3, (0, 2, 4))}
    logits = jnp.array([[-1.0, -1, -1], [-1, -1, 1], [1, 1, 1]])
    arch = Arch({"a": logits}, {"sharpness": jnp.float32(200)})
    np.testing.assert_array_equal(BitPlane().probabilities(arch, choices)["a"], np.eye(3))


def test_source_starts_with_every_gate_at_a_half():
    even = BitPlane(sharpness=Exponential(1.0, 50.0), lean=0.0)
    arch = even.init(CHOICES)
    np.testing.assert_array_equal(even.gates(arch, CHOICES, progress=0.0, key=None)["a"]["planes"], 0.5)
    # 3.5 open planes and the sign are 4.5 bits.
    np.testing.assert_allclose(even.probabilities(arch, CHOICES)["a"], [[0, 0.875, 0.125]] * 2)
