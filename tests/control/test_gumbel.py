"""Tests of mpnas/control/gumbel.py."""

import jax
import jax.numpy as jnp
import numpy as np
from control_choices import choice

from mpnas.control import Arch, Exponential, Gumbel

CHOICES = {"a": choice("a", 200, (2, 4, 8)), "b": choice("b", 3, (4, 8))}
KEY = jax.random.key(0)


def test_gates_are_the_softmax_of_logits_and_gumbel_noise_over_tau():
    relaxation = Gumbel(tau=Exponential(2.0, 0.5))
    arch = relaxation.init(CHOICES)
    gates = relaxation.gates(arch, CHOICES, progress=0.5, key=KEY)
    noise = jax.random.gumbel(jax.random.fold_in(KEY, 1), (3, 2))
    unscaled = np.exp(np.asarray((arch.logits["b"] + noise) / 1.0, np.float64))
    np.testing.assert_allclose(gates["b"], unscaled / unscaled.sum(axis=1, keepdims=True), rtol=1e-5)


def test_gates_sharpen_as_the_temperature_falls():
    relaxation = Gumbel(tau=Exponential(5.0, 0.05))
    arch = relaxation.init(CHOICES)
    largest = [
        np.asarray(relaxation.gates(arch, CHOICES, progress=p, key=KEY)["a"].max(axis=1))
        for p in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    for warmer, colder in zip(largest, largest[1:]):
        assert np.all(colder >= warmer - 1e-6) and colder.mean() > warmer.mean()


def test_hard_gates_are_the_largest_of_the_soft_ones_with_their_gradient():
    arch = Gumbel().init(CHOICES)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(200, 3)), jnp.float32)

    def loss(logits, relaxation):
        return (relaxation.gates(Arch(logits, {}), CHOICES, progress=0.3, key=KEY)["a"] * weights).sum()

    soft = Gumbel().gates(arch, CHOICES, progress=0.3, key=KEY)["a"]
    hard = Gumbel(hard=True).gates(arch, CHOICES, progress=0.3, key=KEY)["a"]
    np.testing.assert_array_equal(hard, np.eye(3)[np.argmax(soft, axis=1)])
    slopes = [jax.grad(loss)(arch.logits, Gumbel(hard=h))["a"] for h in (False, True)]
    np.testing.assert_array_equal(*slopes)
    assert np.all(np.any(np.asarray(slopes[1]) != 0, axis=1))


def test_probabilities_are_the_softmax_of_the_logits_at_any_temperature():
    arch = Gumbel(lean=np.log(4.0)).init({"b": choice("b", 1, (4, 8))})
    # Logits log(4) / 2 and log(4): weights 2 and 4.
    for tau in (Exponential(9.0, 1.0), Exponential(0.1, 0.1)):
        p = Gumbel(tau=tau).probabilities(arch, {"b": choice("b", 1, (4, 8))})["b"]
        np.testing.assert_allclose(p, [[1 / 3, 2 / 3]], rtol=1e-6)


def test_no_event_changes_the_state_and_nothing_is_regularised():
    arch = Gumbel().init(CHOICES)
    assert Gumbel().event(arch, CHOICES, over_budget=True, progress=0.5) is arch

    def never():
        raise AssertionError("distortions are expensive and were not needed")

    assert Gumbel().regularizer(arch, CHOICES, never) == 0
