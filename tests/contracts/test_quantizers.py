"""Tests of mpnas/quant: what every quantizer promises, whatever its format, scale and sharing.

A new format, estimator or granularity is one new row in `MEMBERS`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.errors import ConfigError
from mpnas.quant import (
    MSE,
    PACT,
    DoReFa,
    Entropy,
    FloatFormat,
    IntFormat,
    LearnedRange,
    LearnedStep,
    MinMax,
    MovingAverage,
    Octav,
    Percentile,
    PerChannel,
    PerTensor,
    Pruned,
    Quantizer,
    Subgroup,
    decode,
    fake_quantize,
)

ROWS = [
    (Pruned(), PerTensor(), MinMax()),
    (FloatFormat(), PerChannel(), MinMax()),
    (IntFormat(1), PerTensor(), MinMax()),
    (IntFormat(1), PerChannel(), LearnedStep()),
    (IntFormat(1, signed=False), PerTensor(), MinMax()),
    (IntFormat(1, symmetric=False), PerChannel(), MinMax()),
    (IntFormat(2), PerTensor(), MinMax()),
    (IntFormat(2), Subgroup(4), MinMax()),
    (IntFormat(2), PerChannel(axis=1), LearnedStep()),
    (IntFormat(3), Subgroup(3), LearnedStep()),
    (IntFormat(3, signed=False), PerTensor(), MovingAverage()),
    (IntFormat(4), PerTensor(), MinMax()),
    (IntFormat(4), PerChannel(), MinMax()),
    (IntFormat(4), PerTensor(), LearnedStep(batched=True)),
    (IntFormat(4, symmetric=False), Subgroup(5), MinMax()),
    (IntFormat(4, signed=False, symmetric=False), PerTensor(), MovingAverage(decay=0.5)),
    (IntFormat(5), PerChannel(axis=0), MinMax()),
    (IntFormat(6), Subgroup(2, axis=0), MovingAverage()),
    (IntFormat(7, signed=False), PerTensor(), LearnedStep(batched=True)),
    (IntFormat(8), PerTensor(), MinMax()),
    (IntFormat(8), PerChannel(), MinMax()),
    (IntFormat(8), PerChannel(), LearnedStep()),
    (IntFormat(8, signed=False, symmetric=False), PerTensor(), MinMax()),
    (IntFormat(8, symmetric=False), PerChannel(), MovingAverage()),
    (IntFormat(16), PerTensor(), MinMax()),
    (IntFormat(16), Subgroup(7), LearnedStep()),
    (IntFormat(16, signed=False, symmetric=False), PerChannel(), MinMax()),
    (IntFormat(3, midrise=True), PerChannel(), MinMax()),
    (IntFormat(4, midrise=True), Subgroup(4), LearnedStep()),
    (IntFormat(4), PerChannel(), Percentile(90.0)),
    (IntFormat(8, symmetric=False), Subgroup(4), Percentile(99.0)),
    (IntFormat(8, signed=False), PerTensor(), MovingAverage(of=Percentile())),
    (IntFormat(1), PerChannel(), MSE(20)),
    (IntFormat(3), PerChannel(), MSE(30)),
    (IntFormat(4, signed=False, symmetric=False), PerTensor(), MSE(20)),
    (IntFormat(4), PerTensor(), MovingAverage(of=MSE(20))),
    (IntFormat(1), PerTensor(), Octav()),
    (IntFormat(4), PerChannel(), Octav()),
    (IntFormat(8, signed=False), Subgroup(4), Octav()),
    (IntFormat(16), PerTensor(), Octav()),
    (IntFormat(4, signed=False), PerTensor(), MovingAverage(of=Octav())),
    (IntFormat(1), PerTensor(), PACT()),
    (IntFormat(4, signed=False), PerTensor(), PACT()),
    (IntFormat(8), PerChannel(), PACT()),
    (IntFormat(1), PerChannel(), DoReFa()),
    (IntFormat(2, midrise=True), PerTensor(), DoReFa()),
    (IntFormat(4, midrise=True), Subgroup(4), DoReFa()),
    (IntFormat(16, midrise=True), PerChannel(), DoReFa()),
    (IntFormat(1), PerTensor(), Entropy()),
    (IntFormat(3, midrise=True), PerChannel(), Entropy()),
    (IntFormat(4), Subgroup(4), Entropy()),
    (IntFormat(8, midrise=True), PerTensor(), Entropy()),
    (IntFormat(1), PerTensor(), LearnedRange()),
    (IntFormat(4), PerChannel(), LearnedRange()),
    (IntFormat(8, signed=False), PerTensor(), LearnedRange(batched=True)),
    (IntFormat(16), Subgroup(3), LearnedRange()),
]
MEMBERS = [
    pytest.param(Quantizer(format=fmt, granularity=granularity, scale=scale),
                 id=f"{fmt}-{granularity}-{scale}")
    for fmt, granularity, scale in ROWS
]
INTEGER_MEMBERS = [m for m in MEMBERS if isinstance(m.values[0].format, IntFormat)]
EVERY_MEMBER = pytest.mark.parametrize("quantizer", MEMBERS)
EVERY_INTEGER_MEMBER = pytest.mark.parametrize("quantizer", INTEGER_MEMBERS)
SHAPE = (6, 5, 10)


def sample(seed, spread=1.0):
    """Normal values with one dead channel, exact zeros and ties on simple grids."""
    x = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32) * np.float32(spread)
    x[..., 3] = 0.0
    x[0] = np.round(x[0] * 4) / 4
    return jnp.asarray(x)


def bits_of(x):
    """Float32 values as raw words: tells -0.0 from 0.0."""
    return np.asarray(x).view(np.uint32)


def ready(quantizer, x):
    """Parameters and statistics after a first sample and one more, like a step into training."""
    params, stats = quantizer.init(x)
    return params, quantizer.observe(x * 0.7, stats)


def frozen(quantizer, x, params, stats):
    """The quantizer with the range found for `x` held fixed, as a function of values alone."""
    found = quantizer.range(x, params, stats)
    scale = quantizer.granularity.expand(found.scale, x.shape)
    shift = found.zero_point
    shift = None if shift is None else quantizer.granularity.expand(shift, x.shape)
    return scale, shift, lambda v: fake_quantize(
        v, scale, shift, quantizer.format, quantizer.gradient
    )


@EVERY_MEMBER
def test_decoded_codes_are_the_quantized_values_in_every_bit(quantizer):
    in_one_program = jax.jit(
        lambda v, p, s: (decode(quantizer.to_codes(v, p, s)), quantizer.quantize(v, p, s))
    )
    codes, quantize = jax.jit(quantizer.to_codes), jax.jit(quantizer.quantize)
    for seed, spread in enumerate([1.0, 1e-3, 37.0]):
        x = sample(seed, spread)
        params, stats = ready(quantizer, x)
        expected = bits_of(quantizer.quantize(x, params, stats))
        stored = quantizer.to_codes(x, params, stats)
        compiled = codes(x, params, stats)
        for found in (
            decode(stored),
            jax.jit(decode)(compiled),
            quantize(x, params, stats),
            *in_one_program(x, params, stats),
        ):
            np.testing.assert_array_equal(bits_of(found), expected)
        np.testing.assert_array_equal(compiled.codes, stored.codes)
    # Learned and observed ranges are now constants that the compiler may fold.
    folded = jax.jit(lambda v: quantizer.quantize(v, params, stats))
    np.testing.assert_array_equal(bits_of(folded(x)), expected)


@EVERY_MEMBER
def test_shape_and_dtype_are_kept(quantizer):
    x = sample(0)
    params, stats = ready(quantizer, x)
    found, stored = quantizer.quantize(x, params, stats), quantizer.to_codes(x, params, stats)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    assert (stored.codes.shape, stored.codes.dtype) == (x.shape, quantizer.format.code_dtype)
    assert stored.scale.shape == (quantizer.granularity.groups(x.shape),)
    assert (stored.zero_point is not None) == quantizer.format.has_zero_point


@EVERY_MEMBER
def test_gradients_are_finite(quantizer):
    x = sample(1)
    params, stats = ready(quantizer, x)

    def loss(v, p):
        return (quantizer.quantize(v, p, stats) ** 2).sum()

    for leaf in jax.tree.leaves(jax.grad(loss, argnums=(0, 1))(x, params)):
        assert jnp.isfinite(leaf).all()


@EVERY_MEMBER
def test_a_group_has_at_most_two_to_the_bits_distinct_values(quantizer):
    x = sample(2)
    params, stats = ready(quantizer, x)
    found = np.asarray(quantizer.quantize(x, params, stats))
    groups = quantizer.granularity.groups(x.shape)
    member = np.broadcast_to(quantizer.granularity.expand(jnp.arange(groups), x.shape), x.shape)
    for group in range(groups):
        assert len(np.unique(found[member == group])) <= 2.0**quantizer.bits


@EVERY_INTEGER_MEMBER
def test_codes_lie_between_qmin_and_qmax(quantizer):
    x = sample(3)
    params, stats = ready(quantizer, x)
    for values in (x, x * 100):
        codes = np.asarray(quantizer.to_codes(values, params, stats).codes, int)
        assert quantizer.format.qmin <= codes.min() and codes.max() <= quantizer.format.qmax


@EVERY_INTEGER_MEMBER
def test_error_is_at_most_half_a_step_where_nothing_is_clipped(quantizer):
    fmt, x = quantizer.format, sample(4)
    params, stats = ready(quantizer, x)
    scale, shift, _ = frozen(quantizer, x, params, stats)
    shift = 0.0 if shift is None else shift
    shaped = quantizer.shape(x, params)
    inside = (shaped >= scale * (fmt.qmin + fmt.offset - shift)) & (
        shaped <= scale * (fmt.qmax + fmt.offset - shift)
    )
    error = jnp.abs(quantizer.quantize(x, params, stats) - shaped)
    assert inside.any()
    assert (error <= scale / 2 + 1e-6 * jnp.abs(shaped))[inside].all()


@EVERY_INTEGER_MEMBER
def test_settled_a_value_keeps_its_bits_whatever_becomes_of_the_others(quantizer):
    x = sample(6)
    params, stats = ready(quantizer, x)
    if quantizer.format.has_zero_point:
        with pytest.raises(ConfigError, match="without a zero point"):
            quantizer.settled(x, params, stats)
        return
    settled, stored = quantizer.settled(x, params, stats)
    changed = settled.quantize(x.at[::2].multiply(0.3), stored)
    np.testing.assert_array_equal(bits_of(changed)[1::2], bits_of(quantizer.quantize(x, params, stats))[1::2])


@EVERY_INTEGER_MEMBER
def test_quantizing_again_at_the_same_range_changes_no_bit(quantizer):
    # At the same range: an estimator that reads x finds another range for quantized values, for
    # example once a nudged zero point has clipped the extreme by part of a step.
    x = sample(5)
    params, stats = ready(quantizer, x)
    _, _, apply = frozen(quantizer, x, params, stats)
    once = apply(x)
    np.testing.assert_array_equal(bits_of(apply(once)), bits_of(once))


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), Subgroup(4)], ids=str)
@pytest.mark.parametrize(
    "signed, symmetric", [(True, True), (True, False), (False, False)],
    ids=["symmetric", "asymmetric", "unsigned_asymmetric"],
)
def test_more_bits_never_have_a_larger_max_error_under_min_max(granularity, signed, symmetric):
    # On values dense in their range, where the largest error is the half step; on a few values a
    # coarse grid may happen to hit them all.
    x = jnp.linspace(-1.0, 1.3, 8000).reshape(800, 10)
    errors = [
        float(jnp.abs(Quantizer(format=IntFormat(bits, signed, symmetric),
                                granularity=granularity).quantize(x) - x).max())
        for bits in (1, 2, 3, 4, 5, 6)
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), Subgroup(4)], ids=str)
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
def test_more_bits_never_have_a_wider_step_under_min_max(granularity, symmetric):
    x = sample(6)
    scales = [
        np.asarray(Quantizer(format=IntFormat(bits, symmetric=symmetric),
                             granularity=granularity).range(x).scale)
        for bits in (1, 2, 3, 4, 5, 6, 7, 8, 16)
    ]
    assert (np.diff(scales, axis=0) <= 0).all()
