"""Tests of mpnas/quant/scale/pact.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.gradient import MagnitudeAware
from mpnas.quant.granularity import PerChannel, PerTensor
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.base import SCALE_FLOOR
from mpnas.quant.scale.pact import PACT

UNSIGNED = Quantizer(format=IntFormat(2, signed=False), scale=PACT())
SIGNED = Quantizer(format=IntFormat(3), scale=PACT())


def slopes(quantizer, x, upstream, alpha):
    _, back = jax.vjp(lambda v, a: quantizer.quantize(v, {"alpha": a}), jnp.array(x), jnp.array([alpha]))
    return back(jnp.array(upstream))


def test_values_are_those_of_eq_2():
    # alpha 3 in 2 bits: steps of 1 from 0 to 3.
    found = UNSIGNED.quantize(jnp.array([-1.0, 0.4, 0.6, 2.6, 9.0]), {"alpha": jnp.array([3.0])})
    np.testing.assert_allclose(found, [0, 0, 1, 3, 3], rtol=1e-6)


def test_alpha_gets_the_gradients_of_what_it_clips_and_nothing_else():
    by_x, by_alpha = slopes(UNSIGNED, [-1.0, 0.4, 2.6, 4.0, 9.0], [0.1, 0.2, 0.3, 0.5, 0.7], 3.0)
    np.testing.assert_allclose(by_alpha, [0.5 + 0.7], rtol=1e-6)
    np.testing.assert_allclose(by_x, [0, 0.2, 0.3, 0, 0], rtol=1e-6)


def test_the_signed_form_clips_both_sides():
    x, upstream = [-9.0, -3.0, -1.4, 2.0, 5.0], [0.1, 0.2, 0.3, 0.5, 0.7]
    np.testing.assert_allclose(
        SIGNED.quantize(jnp.array(x), {"alpha": jnp.array([3.0])}), [-3, -3, -1, 2, 3], rtol=1e-6
    )
    by_x, by_alpha = slopes(SIGNED, x, upstream, 3.0)
    np.testing.assert_allclose(by_alpha, [0.7 - 0.1], rtol=1e-6)
    np.testing.assert_allclose(by_x, [0, 0.2, 0.3, 0.5, 0], rtol=1e-6)


def test_each_group_has_its_own_alpha():
    quantizer = Quantizer(format=IntFormat(2, signed=False), granularity=PerChannel(), scale=PACT())
    total = jax.grad(lambda a: quantizer.quantize(jnp.full((5, 2), 4.0), {"alpha": a}).sum())
    np.testing.assert_allclose(total(jnp.array([3.0, 6.0])), [5, 0], rtol=1e-6)


@pytest.mark.parametrize("sample, fmt, alpha", [
    ([2.0] * 1999 + [20.0], IntFormat(4, False), 6.0),
    ([2.0] * 1999 + [-20.0], IntFormat(4), 6.0),
    ([200.0] * 1999 + [255.0], IntFormat(4, False), 200.0),
    ([0.0, 2.5], IntFormat(4, False), 2.5),
    ([-3.0, 2.5], IntFormat(4, False), 2.5),
    ([-3.0, 2.5], IntFormat(4), 3.0),
    ([0.0, 0.0], IntFormat(4), SCALE_FLOOR),
])
def test_alpha_starts_at_six_if_some_values_are_beyond_and_few(sample, fmt, alpha):
    params, stats = PACT().init(jnp.array(sample), fmt, PerTensor())
    np.testing.assert_allclose(params["alpha"], [alpha])
    assert stats == {}


def test_a_clip_that_training_made_negative_counts_by_its_size():
    found = SIGNED.quantize(jnp.array([9.0]), {"alpha": jnp.array([-3.0])})
    np.testing.assert_allclose(found, [3], rtol=1e-6)


def test_clipped_values_may_get_another_gradient_and_alpha_keeps_its_own():
    quantizer = Quantizer(format=IntFormat(3), scale=PACT(), gradient=MagnitudeAware())
    by_x, by_alpha = slopes(quantizer, [6.0, 1.0, -4.0], [1.0, 1.0, 1.0], 3.0)
    np.testing.assert_allclose(by_x, [0.5, 1, 0.75], rtol=1e-6)
    np.testing.assert_allclose(by_alpha, [0], atol=1e-6)


def test_asymmetric_formats_are_refused_with_the_way_out():
    with pytest.raises(ConfigError, match="PACT learns a clip without a zero point.*MovingAverage"):
        Quantizer(format=IntFormat(4, False, False), scale=PACT())


def test_missing_alpha_is_asked_for():
    with pytest.raises(ValueError, match="PACT needs the parameter 'alpha', got \\['step'\\]"):
        SIGNED.quantize(jnp.ones(3), {"step": jnp.ones(1)})
