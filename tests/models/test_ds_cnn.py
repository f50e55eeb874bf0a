"""Tests of mpnas/models/ds_cnn.py."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from published import counts

from mpnas.models import DSCNN


def test_size_and_macs_are_the_hand_counts_of_mlperf_tinys_network():
    # Keras' summary of the reference counts 24,908 numbers, statistics included.
    parameters, statistics, macs, work = counts(DSCNN, (49, 10, 1))
    stem, depthwise, pointwise, head = 40 * 64 + 64, 9 * 64 + 64, 64 * 64 + 64, 64 * 12 + 12
    scales_and_shifts = 9 * 2 * 64
    assert parameters + statistics == 24_908
    assert parameters == stem + 4 * (depthwise + pointwise) + head + scales_and_shifts
    assert work.parameters == stem + 4 * (depthwise + pointwise) + head == 22_604, "all of them fold"
    pixels = 25 * 5
    assert macs == pixels * (40 * 64 + 4 * (9 * 64 + 64 * 64)) + 64 * 12 == 2_656_768


def test_dropout_acts_in_training_only(flax_mode):
    model = DSCNN(classes=3, width=4, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 49, 10, 1)), jnp.float32)
    model.eval()
    once, again = model(x), model(x)
    np.testing.assert_array_equal(once, again)
    model.train()
    assert np.any(model(x) != model(x)), "batch statistics alone would repeat"
    assert once.shape == (2, 3)
