"""Tests of mpnas/quant/scale/moving.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import PerChannel, PerTensor
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.moving import MovingAverage
from mpnas.quant.scale.octav import Octav
from mpnas.quant.scale.percentile import Percentile

FMT = IntFormat(4, signed=False, symmetric=False)


def test_the_first_sample_starts_the_averages_without_bias():
    params, stats = MovingAverage().init(jnp.array([[-1.0, 2.0], [3.0, 4.0]]), FMT, PerChannel())
    assert params == {}
    assert stats["low"].tolist() == [-1, 2] and stats["high"].tolist() == [3, 4]


def test_each_sample_moves_the_averages_by_one_minus_decay():
    estimator = MovingAverage(decay=0.75)
    _, stats = estimator.init(jnp.array([-4.0, 8.0]), FMT, PerTensor())
    stats = estimator.observe(jnp.array([0.0, 16.0]), stats, FMT, PerTensor())
    assert stats["low"].tolist() == [-3] and stats["high"].tolist() == [10]


def test_the_range_ignores_the_tensor_at_hand():
    stats = {"low": jnp.array([-1.0]), "high": jnp.array([2.0])}
    found = MovingAverage().range(jnp.array([1e6]), {}, stats, FMT, PerTensor())
    np.testing.assert_allclose(found.scale, [0.2], rtol=1e-6)
    assert found.zero_point.tolist() == [5]


def test_it_averages_the_ends_that_it_is_given():
    signed = IntFormat(4)
    estimator = MovingAverage(decay=0.5, of=Percentile(75.0))
    _, stats = estimator.init(jnp.array([-1.0, 2.0, 3.0, 9.0]), signed, PerTensor())
    assert stats["low"].tolist() == [-1] and stats["high"].tolist() == [3]
    stats = estimator.observe(jnp.array([-5.0, 0.0, 1.0, 1.0]), stats, signed, PerTensor())
    assert stats["low"].tolist() == [-1] and stats["high"].tolist() == [2]


def test_averaged_octav_clips_average_its_scales():
    signed, estimator = IntFormat(4), MovingAverage(decay=0.5, of=Octav())
    first, second = jnp.arange(-9.0, 10.0), jnp.arange(-40.0, 41.0)
    _, stats = estimator.init(first, signed, PerTensor())
    stats = estimator.observe(second, stats, signed, PerTensor())
    alone = [Octav().range(x, {}, {}, signed, PerTensor()).scale for x in (first, second)]
    found = estimator.range(first, {}, stats, signed, PerTensor()).scale
    np.testing.assert_allclose(found, (alone[0] + alone[1]) / 2, rtol=1e-6)


def test_formats_that_its_ends_cannot_serve_are_refused():
    with pytest.raises(ConfigError, match="Octav finds a scale without a zero point"):
        Quantizer(format=FMT, scale=MovingAverage(of=Octav()))


def test_missing_statistics_are_asked_for():
    with pytest.raises(ValueError, match="needs the statistics 'low' and 'high'"):
        MovingAverage().range(jnp.ones(2), {}, {}, FMT, PerTensor())


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_that_does_not_average_is_refused(decay):
    with pytest.raises(ConfigError, match=f"0 <= decay < 1, got {decay}"):
        MovingAverage(decay=decay)
