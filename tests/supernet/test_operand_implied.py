"""Tests of mpnas/supernet/operand_implied.py."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant import (
    Clipped,
    IntFormat,
    LearnedStep,
    MinMax,
    MovingAverage,
    PerChannel,
    PerTensor,
    Quantizer,
    format_of,
)
from mpnas.space import Choice
from mpnas.supernet.operand import initial_ranges, mixture
from mpnas.supernet.operand_implied import ImpliedBits


def weights(bits=(2, 4, 8), granularity=PerChannel(-1), scale=PerChannel(-1), estimator=LearnedStep()):
    candidates = tuple(Quantizer(format=format_of(b), granularity=scale, scale=estimator) for b in bits)
    return Choice("w", "weight", ("w",), candidates, granularity, (50, 3))


def inputs(signed=False, estimator=LearnedStep(batched=True)):
    candidates = tuple(Quantizer(format=IntFormat(b, signed), scale=estimator) for b in (4, 8))
    return Choice("x", "act", ("w",), candidates, PerTensor(), (1,))


def gates_of(step, top):
    return {"step": jnp.asarray(step, jnp.float32), "top": jnp.asarray(top, jnp.float32)}


def kernel():
    return jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)), jnp.float32)


@pytest.mark.parametrize("signed, expected", [(True, [-1.5, -0.5, 0.0, 1.0, 1.5]),
                                              (False, [0.0, 0.0, 0.0, 1.0, 1.5])])
def test_values_are_clipped_to_the_range_and_rounded_to_steps(signed, expected):
    # Step 0.25 and range 0.8 of a unit of 2: steps of 0.5, and an end that rounds to 3 of them.
    x = jnp.array([[-9.0, -0.6, 0.2, 1.1, 9.0]])
    found = ImpliedBits().mixed(inputs(signed), gates_of([0.25], [0.8]), x, {"unit": jnp.array([2.0])}, {})
    np.testing.assert_allclose(found, [expected])


def test_slopes_are_those_of_the_source():
    x, choice = jnp.array([[0.6, 9.0, -9.0, 0.1]]), inputs(signed=True)

    def total(step, top, x):
        plain = ImpliedBits(act_gradient=Clipped())  # what the derivatives of step and range are of
        mixed = plain.mixed(choice, gates_of(step, top), x, {"unit": jnp.ones(1)}, {})
        return mixed @ jnp.arange(1.0, 5)

    by_step, by_top, by_x = jax.jacobian(lambda *a: total(*a)[0], argnums=(0, 1, 2))(
        jnp.array([0.5]), jnp.array([1.2]), x
    )
    # Inside R(v) - v; at the ends R(v) - v of the end's v = 2.4; a step of 1 per clipped value, signed.
    by_hand = 1 * (1 - 1.2) + 2 * (2 - 2.4) - 3 * (2 - 2.4) + 4 * (0 - 0.2)
    np.testing.assert_allclose(by_step, [by_hand], rtol=1e-4)
    np.testing.assert_allclose(by_top, [2 - 3], rtol=1e-5)
    np.testing.assert_allclose(by_x, [[1, 0, 0, 4]], rtol=1e-5)


def test_unit_is_a_power_of_two_that_is_not_trained():
    choice, w = weights(), kernel() * jnp.array([0.01, 1.0, 30.0])
    ranges, stats = initial_ranges(choice, w)
    ((name, unit),) = ImpliedBits().adopted(choice, w, ranges, stats)[0].items()
    assert name == "unit" and unit.shape == (3,)
    np.testing.assert_array_equal(np.log2(unit), np.round(np.log2(unit)))
    # The finest grid reaches as far as that of the widest candidate, but no more than twice as far.
    ratio = np.asarray(unit) * 2.0**-7 / np.asarray(ranges["8/step"])
    assert np.all((ratio >= 1) & (ratio < 2))
    gates = ImpliedBits().start(choice)
    slope = jax.grad(lambda u: ImpliedBits().mixed(choice, gates, w, {"unit": u}, {}).sum())(unit)
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("estimator", [LearnedStep(batched=True), MovingAverage()])
def test_unit_of_activations_comes_from_their_calibrated_range(estimator):
    choice, x = inputs(estimator=estimator), jnp.linspace(0, 5.9, 100)[:, None]
    found, _ = ImpliedBits().adopted(choice, None, *initial_ranges(choice, x))
    scale = choice.candidates[-1].range(x, *choice.candidates[-1].init(x)).scale
    assert float(found["unit"][0]) == 2.0 ** (np.ceil(np.log2(scale[0])) + 8)


def test_one_unit_serves_all_scales_of_a_decision():
    choice, w = weights(granularity=PerTensor()), kernel() * jnp.array([0.01, 1.0, 30.0])
    ranges, stats = initial_ranges(choice, w)
    unit = ImpliedBits().adopted(choice, w, ranges, stats)[0]["unit"]
    assert unit.shape == (1,)
    assert float(unit[0]) == 2.0 ** (np.ceil(np.log2(ranges["8/step"].max())) + 7)


@pytest.mark.parametrize("step, top, bits", [
    (2.0**-7, 127 / 128, 8), (0.125, 0.8, 4), (0.25, 0.3, 2), (0.125, 0.875, 4), (0.125, 0.5, 4),
])
@pytest.mark.parametrize("granularity", [PerChannel(-1), PerTensor()])
def test_kernel_is_settled_in_every_bit_at_the_implied_width(step, top, bits, granularity):
    choice, rows = weights(granularity=granularity), 3 if granularity == PerChannel(-1) else 1
    gates, ranges = gates_of([step] * rows, [top] * rows), {"unit": jnp.array([0.5, 1, 4])[:rows]}
    searched = ImpliedBits().mixed(choice, gates, kernel(), ranges, {})
    picked = jnp.asarray(np.eye(3, dtype=np.float32)[[choice.bits.index(bits)] * rows])
    found, params, stats = ImpliedBits().settled(choice, picked, gates, kernel(), ranges, {})
    np.testing.assert_array_equal(mixture(choice, picked, found, params, stats), searched)
    assert np.any(searched)


def test_other_widths_of_kernels_get_the_power_of_two_that_fits_best():
    choice, gates, w = weights(), gates_of([0.125] * 3, [0.8] * 3), np.clip(kernel(), -0.8, 0.8)
    for pick, bits in enumerate(choice.bits):
        picked = jnp.tile(jnp.eye(3)[pick], (3, 1))
        _, params, _ = ImpliedBits().settled(choice, picked, gates, kernel(), {"unit": jnp.ones(3)}, {})
        np.testing.assert_array_equal(params["4/step"], 0.125)
        for channel in range(3) if bits != 4 else ():
            def error(s, w=np.asarray(w)[:, channel], top=2 ** (bits - 1)):
                return np.sum((np.clip(np.round(w / s), -top, top - 1) * s - w) ** 2)

            best = min((2.0**j for j in range(-12, 4)), key=error)
            assert float(params[f"{bits}/step"][channel]) == best


def test_other_widths_of_activations_get_the_smallest_power_of_two_that_covers_the_range():
    choice, gates = inputs(), gates_of([2.0**-6], [0.8])
    _, params, _ = ImpliedBits().settled(choice, jnp.eye(2)[:1], gates, None, {"unit": jnp.ones(1)}, {})
    # 51 steps are implied, which are 6 bits: 15 steps of 1/16 cover 0.8, as 255 of 1/256 do.
    np.testing.assert_array_equal(params["4/step"], 2.0**-4)
    np.testing.assert_array_equal(params["8/step"], 2.0**-8)


def test_observed_ranges_of_activations_are_settled_to_the_ends_of_the_range():
    choice, gates = inputs(estimator=MovingAverage()), gates_of([0.25], [0.75])
    ranges = {"unit": jnp.array([4.0])}
    kept, params, stats = ImpliedBits().settled(choice, jnp.eye(2)[:1], gates, None, ranges, {})
    assert kept is None and params == {}
    assert {name: float(value[0]) for name, value in stats.items()} == {
        "4/low": 0.0, "4/high": 3.0, "8/low": 0.0, "8/high": 3.0,
    }


def test_scale_of_the_largest_weight_is_left_to_its_rule():
    choice, gates = weights(estimator=MinMax()), gates_of([0.125] * 3, [0.8] * 3)
    kept, params, _ = ImpliedBits().settled(choice, jnp.eye(3), gates, kernel(), {"unit": jnp.ones(3)}, {})
    assert params == {} and float(jnp.abs(kept).max()) == pytest.approx(0.8)


def test_kernels_feel_ewgs_and_activations_the_inverse_tanh():
    # 0.3 lies 0.2 steps of 0.25 above its code; g = 1 and delta = 5e-3.
    pulls = {"weight": 0.2, "act": 0.5 * np.arctanh(1.9 * 0.2) / np.arctanh(0.95)}
    for choice in (weights(granularity=PerTensor()), inputs(True)):
        by_x = jax.grad(
            lambda x: ImpliedBits().mixed(
                choice, gates_of([0.25], [1.0]), x, {"unit": jnp.ones(1)}, {}).sum()
        )(jnp.array([[0.3]]))
        np.testing.assert_allclose(by_x, 1 + 5e-3 * pulls[choice.kind], rtol=1e-5)
