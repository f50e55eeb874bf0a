"""Tests of mpnas/quant/scale/learned.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import PerChannel, PerTensor, Subgroup
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.base import SCALE_FLOOR
from mpnas.quant.scale.learned import LearnedStep


@pytest.mark.parametrize(
    "fmt, qmax", [(IntFormat(4), 7), (IntFormat(2), 1), (IntFormat(1), 1)]
)
def test_step_starts_at_twice_the_mean_magnitude_over_root_qmax(fmt, qmax):
    # 99 ones and one outlier: mean |x| is 100.99 in the first column, 50.99 in the second.
    x = jnp.ones((100, 2)).at[0].set(jnp.array([10_000.0, 5_000.0]))
    params, stats = LearnedStep().init(x, fmt, PerChannel())
    np.testing.assert_allclose(params["step"], 2 * np.array([100.99, 50.99]) / np.sqrt(qmax), rtol=1e-5)
    assert stats == {}


def test_step_starts_no_wider_than_it_takes_to_cover_the_sample():
    # -4 is 8 steps of 0.5 below zero, 3 is 6 above it; the formula would give 2 * 3.5 / sqrt(7).
    params, _ = LearnedStep().init(jnp.array([-4.0, 3.0]), IntFormat(4), PerTensor())
    np.testing.assert_allclose(params["step"], [0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "step, scale", [(0.5, 0.5), (-0.5, 0.5), (0.0, SCALE_FLOOR), (-1e-12, SCALE_FLOOR)]
)
def test_used_scale_is_positive_whatever_the_step(step, scale):
    params = {"step": jnp.array([step])}
    found = LearnedStep().range(jnp.ones(3), params, {}, IntFormat(4), PerTensor())
    np.testing.assert_allclose(found.scale, [scale], rtol=1e-6)
    assert found.zero_point is None


@pytest.mark.parametrize("step, slope", [(0.3, 1.0), (-0.3, -1.0), (0.0, 1.0)])
def test_step_keeps_its_gradient_even_at_zero(step, slope):
    def scale(value):
        params = {"step": value}
        return LearnedStep().range(jnp.ones(7), params, {}, IntFormat(4), PerTensor()).scale[0]

    gradient = jax.grad(scale)(jnp.array([step]))
    np.testing.assert_allclose(gradient, [slope / np.sqrt(7 * 7)], rtol=1e-6)


@pytest.mark.parametrize(
    "batched, granularity, elements",
    [
        (False, PerTensor(), [60]),
        (True, PerTensor(), [15]),
        (False, PerChannel(), [12] * 5),
        (True, PerChannel(), [3] * 5),
        (True, Subgroup(3), [9, 6]),
    ],
)
def test_gradient_is_divided_by_root_of_elements_times_qmax(batched, granularity, elements):
    x = jnp.ones((4, 3, 5))
    estimator = LearnedStep(batched=batched)

    def total(step):
        return estimator.range(x, {"step": step}, {}, IntFormat(4), granularity).scale.sum()

    gradient = jax.grad(total)(jnp.ones(len(elements)))
    np.testing.assert_allclose(gradient, 1 / np.sqrt(np.array(elements) * 7), rtol=1e-6)


@pytest.mark.parametrize(
    "x, expected", [(0.4, -0.4), (6.9, 0.1), (99.0, 7.0), (-99.0, -8.0)],
    ids=["inside", "last_bin", "clipped_high", "clipped_low"],
)
def test_gradient_of_the_parameter_is_lsq_eq_3_times_its_scale(x, expected):
    quantizer = Quantizer(format=IntFormat(4), scale=LearnedStep())
    slope = jax.grad(lambda step: quantizer.quantize(jnp.array([x]), {"step": step}).sum())
    np.testing.assert_allclose(slope(jnp.ones(1)), [expected / np.sqrt(7)], atol=1e-6)


def test_gradient_descent_on_the_step_lowers_the_error():
    x = jnp.asarray(np.random.default_rng(0).normal(size=400), jnp.float32)
    quantizer = Quantizer(format=IntFormat(3), scale=LearnedStep())

    def error(step):
        return jnp.mean((quantizer.quantize(x, {"step": step}) - x) ** 2)

    start = step = jnp.array([3.0])
    for _ in range(40):
        step = step - 20.0 * jax.grad(error)(step)
    assert error(step) < 0.2 * error(start)


def test_asymmetric_formats_are_refused_with_the_way_out():
    fmt = IntFormat(4, symmetric=False)
    with pytest.raises(ConfigError, match="without a zero point.*MovingAverage"):
        Quantizer(format=fmt, scale=LearnedStep())
    with pytest.raises(ConfigError, match="without a zero point"):
        LearnedStep().init(jnp.ones(3), fmt, PerTensor())


def test_missing_step_is_asked_for():
    with pytest.raises(ValueError, match="needs the parameter 'step', got \\[\\]"):
        Quantizer(format=IntFormat(4), scale=LearnedStep()).quantize(jnp.ones(3))
