"""Tests of mpnas/control/implied.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from control_choices import choice, mask

from mpnas.control import Arch, Implied
from mpnas.space.fractional import implied_bits

CHOICES = {"a": choice("a", 3, (2, 4, 8)), "m": mask("m", 2)}


def state(step, top, choices=CHOICES):
    leaves = {
        name: jnp.log2(jnp.asarray(value, jnp.float32)) for name, value in (("step", step), ("top", top))
    }
    return Arch(Implied().init(choices).logits | {"a": leaves}, {})


def bits(arch, choices=CHOICES):
    return Implied().probabilities(arch, choices)["a"] @ jnp.asarray(choices["a"].bits, jnp.float32)


def test_search_starts_at_the_finest_grid_of_the_widest_candidate():
    arch = Implied().init(CHOICES)
    gates = Implied().gates(arch, CHOICES, progress=0.0, key=None)
    np.testing.assert_array_equal(gates["a"]["step"], 2.0**-7)
    np.testing.assert_allclose(gates["a"]["top"], 127 / 128, rtol=1e-6)
    np.testing.assert_array_equal(Implied().probabilities(arch, CHOICES)["a"], [[0, 0, 1]] * 3)
    assert gates["m"].shape == (2, 2)


def test_steps_are_the_nearest_powers_of_two():
    gates = Implied().gates(state([0.3, 0.36, 0.5], [1.0] * 3), CHOICES, progress=0.0, key=None)
    # The geometric middle of 1/4 and 1/2 is 0.354.
    np.testing.assert_array_equal(gates["a"]["step"], [0.25, 0.5, 0.5])


@pytest.mark.parametrize("step, top, expected", [
    (0.25, 1.75, 4), (0.25, 2.0, 5), (0.25, 0.25, 2), (2.0**-7, 1.0, 8), (0.125, 0.8, 4),
])
def test_bits_are_those_of_the_steps_that_fit_into_the_range(step, top, expected):
    np.testing.assert_allclose(bits(state([step] * 3, [top] * 3)), expected, rtol=1e-6)


def test_bits_fall_with_the_step_and_rise_with_the_range_from_the_first_step_on():
    for arch in (Implied().init(CHOICES), state([0.1] * 3, [0.7] * 3)):
        slopes = jax.grad(lambda logits: bits(Arch(logits, {})).sum())(arch.logits)["a"]
        assert np.all(slopes["step"] < 0) and np.all(slopes["top"] > 0)


def test_slopes_are_clipped_to_the_step():
    step, top = 0.125, 0.8
    arch = state([step] * 3, [top] * 3)

    def loss(logits, weight):
        gates = Implied().gates(Arch(logits, {}), CHOICES, progress=0.0, key=None)["a"]
        return weight * (gates["step"] - gates["top"]).sum()

    steep = jax.grad(loss)(arch.logits, 1e6)["a"]
    # d log2(v) = dv / (v ln 2): a slope of d in the step, and of -d in the range.
    np.testing.assert_allclose(steep["step"], step * step * np.log(2), rtol=1e-5)
    np.testing.assert_allclose(steep["top"], -step * top * np.log(2), rtol=1e-5)
    gentle = jax.grad(loss)(arch.logits, 1e-3)["a"]
    np.testing.assert_allclose(gentle["top"], -1e-3 * top * np.log(2), rtol=1e-5)


def test_no_event_leaves_more_bits_than_the_widest_candidate_or_a_step_above_the_range():
    draw = np.random.default_rng(0)
    leaves = {name: jnp.asarray(draw.uniform(-30, 30, 5000), jnp.float32) for name in ("step", "top")}
    choices = {"a": choice("a", 5000, (2, 8))}
    arch = Implied().event(Arch({"a": leaves}, {}), choices, over_budget=False, progress=0.5)
    gates = Implied().gates(arch, choices, progress=0.5, key=None)["a"]
    levels = np.round(np.asarray(gates["top"] / gates["step"]))
    assert levels.min() >= 1 and levels.max() <= 127
    assert levels.max() > 100
    assert np.all(np.asarray(arch.logits["a"]["step"]) <= np.asarray(arch.logits["a"]["top"]) + 1e-5)
    assert np.all(np.isin(np.asarray(implied_bits(choices["a"], gates["step"], gates["top"])), range(2, 9)))


def test_event_leaves_what_is_within_bounds_alone():
    arch = state([0.1, 2.0**-7, 0.5], [0.7, 127 / 128, 0.5])
    after = Implied().event(arch, CHOICES, over_budget=True, progress=0.5)
    jax.tree.map(np.testing.assert_array_equal, after.logits, arch.logits)


def test_channels_are_never_removed_by_implied_bits():
    choices = {"a": choice("a", 3, (0, 2, 4))}
    rows = Implied().probabilities(state([0.5] * 3, [0.5] * 3, choices), choices)["a"]
    np.testing.assert_array_equal(rows, [[0, 1, 0]] * 3)
