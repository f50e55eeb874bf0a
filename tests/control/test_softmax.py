"""Tests of mpnas/control/softmax.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from control_choices import chain, choice

from mpnas.control import Arch, Exponential, Softmax
from mpnas.cost import COSTS, expected

CHOICES = {"a": choice("a", 2, (2, 4, 8))}
KEY = jax.random.key(0)


def state(logits, tau):
    return Arch({"a": jnp.asarray(logits, jnp.float32)}, {"tau": jnp.float32(tau)})


@pytest.mark.parametrize("tau, expected_row", [
    (1.0, [1 / 7, 2 / 7, 4 / 7]), (0.5, [1 / 21, 4 / 21, 16 / 21]), (1e6, [1 / 3, 1 / 3, 1 / 3]),
])
def test_rows_are_the_hand_computation(tau, expected_row):
    arch = state([np.log([1, 2, 4])] * 2, tau)
    np.testing.assert_allclose(Softmax().probabilities(arch, CHOICES)["a"], [expected_row] * 2, rtol=1e-5)


def test_network_and_costs_are_of_one_temperature_whatever_the_progress():
    arch = state([[0.3, 0.1, -2.0], [1.0, 2.0, 3.0]], 2.5)
    for progress in (0.0, 0.7):
        gates = Softmax().gates(arch, CHOICES, progress=progress, key=KEY)
        np.testing.assert_array_equal(gates["a"], Softmax().probabilities(arch, CHOICES)["a"])


def test_temperature_falls_by_the_papers_factor_each_epoch():
    epochs = 70
    softmax = Softmax(tau=Exponential(5.0, 5.0 * np.exp(-0.045 * epochs)))
    arch = softmax.init(CHOICES)
    assert float(arch.memory["tau"]) == 5.0
    taus = [
        float(softmax.event(arch, CHOICES, over_budget=False, progress=epoch / epochs).memory["tau"])
        for epoch in range(epochs + 1)
    ]
    np.testing.assert_allclose(np.divide(taus[1:], taus[:-1]), np.exp(-0.045), rtol=1e-4)
    assert taus[-1] == pytest.approx(Softmax().tau.end, rel=0.1)


def test_edmips_keeps_the_temperature_at_one():
    softmax = Softmax(tau=Exponential(1.0, 1.0), lean=0.0)
    arch = softmax.event(softmax.init(CHOICES), CHOICES, over_budget=True, progress=0.9)
    assert float(arch.memory["tau"]) == 1.0
    np.testing.assert_allclose(softmax.probabilities(arch, CHOICES)["a"], 1 / 3, rtol=1e-6)


def test_cold_gates_are_one_hot_in_floating_point():
    gates = Softmax().gates(state([[0.0, 1.0, 2.0], [1.0, 0.0, -1.0]], 1e-3), CHOICES, progress=1.0, key=KEY)
    np.testing.assert_array_equal(gates["a"], [[0, 0, 1], [1, 0, 0]])


def test_removing_channels_is_credited_in_the_layer_that_reads_them():
    space = chain()
    softmax = Softmax(lean=0.0)
    arch = softmax.init(space.choices)

    def macs(logits):
        gates = softmax.probabilities(Arch(logits, arch.memory), space.choices)
        return expected([cost for cost in COSTS if cost.name == "macs"], space, gates)["macs"]

    slopes = jax.grad(macs)(arch.logits)
    # l0 has 3 inputs and is read by 5 outputs; one of four candidates is 0 bits at tau = 5, and with a
    # quarter of all channels gone, one channel of l0 counts 3 + 0.75 * 5 multiply-accumulates.
    slope_of_zero_bits = -(3 + 0.75 * 5) * 0.25 * 0.75 / 5
    np.testing.assert_allclose(slopes["l0/kernel"][:, 0], slope_of_zero_bits, rtol=1e-5)
