"""Tests of mpnas/supernet/operand_planes.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant import LearnedStep, MinMax, PerChannel, PerTensor, Quantizer, Subgroup, format_of
from mpnas.space import Choice
from mpnas.supernet.operand import mixture
from mpnas.supernet.operand_planes import BitPlanes

SHARP = jnp.float32(200.0)


def choice_of(
    bits=(2, 4, 8), granularity=PerTensor(), scale=PerTensor(), shape=(5, 6), estimator=LearnedStep()
):
    candidates = tuple(Quantizer(format=format_of(b), granularity=scale, scale=estimator) for b in bits)
    return Choice("w", "weight", ("w",), candidates, granularity, shape)


def kernel(shape=(5, 6), seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def mixed(choice, gates, ranges, shape=(5, 6)):
    return np.asarray(BitPlanes().mixed(choice, gates, jnp.zeros(shape), ranges, {}))


def logits(shape, planes, seed=1):
    """Plane logits of +-1, as they end."""
    draw = np.random.default_rng(seed)
    signs = draw.choice([-1.0, 1.0], size=(2, *shape, planes)).astype(np.float32)
    return {"positive": jnp.asarray(signs[0]), "negative": jnp.asarray(signs[1])}


def gates_of(*opened):
    return {"planes": jnp.asarray(opened, jnp.float32), "sharpness": SHARP}


@pytest.mark.parametrize("opened", [[1] * 7, [0, 0, 0, 0, 1, 1, 1], [0, 1, 0, 0, 0, 1, 0]])
def test_sharp_planes_are_exactly_the_fixed_point_number(opened):
    # The acceptance test of the method: sharpness 200, logits +-1, a span of 1.27 in steps of 0.01.
    ranges = logits((5, 6), 7) | {"span": jnp.array([1.27])}
    codes = sum(
        2**k * opened[k] * ((np.asarray(ranges["positive"]) > 0).astype(int)[..., k]
                            - (np.asarray(ranges["negative"]) > 0)[..., k])
        for k in range(7)
    )
    step = np.float32(1.27) * np.float32(1 / 127)
    found = mixed(choice_of(), gates_of(opened), ranges)
    np.testing.assert_array_equal(found, step * codes.astype(np.float32))
    assert np.any(codes)


@pytest.mark.parametrize("planes", [1, 3, 7])
def test_there_are_no_more_levels_per_sign_than_open_planes_can_count(planes):
    ranges = logits((50, 60), 7) | {"span": jnp.array([1.0])}
    found = mixed(choice_of(), gates_of([0] * (7 - planes) + [1] * planes), ranges, (50, 60))
    for sign in (1, -1):
        assert 2 ** (planes - 1) < len(np.unique(found[sign * found >= 0])) <= 2**planes


def test_first_kernel_is_the_binary_expansion_of_the_kernel():
    choice, w = choice_of(scale=PerChannel(-1)), kernel()
    ranges, stats = BitPlanes().adopted(choice, w, {}, {})
    np.testing.assert_array_equal(ranges["span"], np.abs(w).max(axis=0))
    assert stats == {}
    step = np.abs(w).max(axis=0) / 127
    found = mixed(choice, gates_of([1] * 7), ranges)
    assert np.all(np.abs(found - w) <= 0.5001 * step)
    np.testing.assert_allclose(found, np.round(w / step) * step, rtol=1e-5)


def test_soft_start_of_the_source_is_the_kernel_made_smaller():
    choice, w = choice_of(), kernel()
    soft = BitPlanes(present=1.0, absent=0.0)
    ranges, _ = soft.adopted(choice, w, {}, {})
    gates = {"planes": jnp.full((1, 7), 0.5), "sharpness": jnp.float32(1.0)}
    found = np.asarray(soft.mixed(choice, gates, w, ranges, {}))
    step = np.abs(w).max() / 127
    # sigmoid(1) - sigmoid(0) = 0.231, and gates of 1/2.
    np.testing.assert_allclose(found, 0.5 * 0.2310586 * np.round(w / step) * step, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("granularity, rows", [(PerChannel(-1), 6), (Subgroup(4, -1), 2)])
def test_each_decision_opens_the_planes_of_its_own_channels(granularity, rows):
    choice, w = choice_of(granularity=granularity), kernel()
    ranges, _ = BitPlanes().adopted(choice, w, {}, {})
    opened = np.ones((rows, 7), np.float32)
    opened[0] = 0
    found = mixed(choice, gates_of(*opened), ranges)
    closed = granularity.index(6) == 0
    assert not np.any(found[:, closed]) and np.all(np.any(found[:, ~closed], axis=0))


def test_slopes_are_exact_without_any_surrogate():
    choice, w = choice_of(shape=(3, 2)), kernel((3, 2))
    ranges, _ = BitPlanes(present=0.4, absent=-0.3).adopted(choice, w, {}, {})
    direction = {name: jnp.asarray(np.random.default_rng(3).normal(size=v.shape), jnp.float32)
                 for name, v in ranges.items()}
    gates = {"planes": jnp.full((1, 7), 0.7), "sharpness": jnp.float32(2.0)}

    def loss(ranges):
        return jnp.sum(jnp.sin(BitPlanes().mixed(choice, gates, jnp.zeros((3, 2)), ranges, {})))

    def moved(amount):
        return float(loss(jax.tree.map(lambda v, d: v + amount * d, ranges, direction)))

    slope = sum(jax.tree.leaves(jax.tree.map(lambda s, d: jnp.sum(s * d), jax.grad(loss)(ranges), direction)))
    assert float(slope) == pytest.approx((moved(1e-2) - moved(-1e-2)) / 2e-2, rel=1e-2)


def settled(choice, ranges, gates, pick, shape=(5, 6)):
    picked = jnp.asarray(np.eye(len(choice.bits), dtype=np.float32)[pick])
    return BitPlanes().settled(choice, picked, gates, jnp.zeros(shape), ranges, {})


@pytest.mark.parametrize("opened, pick", [
    ([1] * 7, 2), ([0, 0, 0, 0, 1, 1, 1], 1), ([1, 1, 1, 0, 0, 0, 0], 1), ([0, 0, 1, 0, 0, 0, 0], 0),
    ([0, 0, 0, 0, 1, 0, 1], 1), ([0, 0, 0, 0, 1, 1, 1], 2),
])
def test_planes_that_fit_into_the_picked_width_are_settled_in_every_bit(opened, pick):
    choice = choice_of(granularity=PerChannel(-1), scale=PerChannel(-1))
    ranges = logits((5, 6), 7) | {"span": jnp.linspace(0.3, 2.1, 6)}
    gates = gates_of(*[opened] * 6)
    hard = mixed(choice, gates, ranges)
    found, params, stats = settled(choice, ranges, gates, [pick] * 6)
    np.testing.assert_array_equal(found, hard)
    one_hot = jnp.asarray(np.eye(3, dtype=np.float32)[[pick] * 6])
    quantized = jax.jit(lambda k, p: mixture(choice, one_hot, k, p, stats))(found, params)
    np.testing.assert_array_equal(quantized, hard)
    assert np.any(hard)


def test_width_that_is_too_narrow_gets_the_power_of_two_that_fits_best():
    choice = choice_of(granularity=PerChannel(-1), scale=PerChannel(-1))
    ranges = logits((5, 6), 7, seed=5) | {"span": jnp.ones(6)}
    found, params, _ = settled(choice, ranges, gates_of(*[[1] * 7] * 6), [1] * 6)
    step = np.float32(1 / 127)
    for channel in range(6):
        def error(s, w=np.asarray(found)[:, channel]):
            return np.sum((np.clip(np.round(w / s), -8, 7) * s - w) ** 2)

        best = min((step * 2**j for j in range(8)), key=error)
        assert float(params["4/step"][channel]) == pytest.approx(best, rel=1e-6)


def test_scale_shared_by_channels_fits_those_that_use_the_width():
    # Channel 0 is settled to 8 bits, channel 1, with only its highest plane, to 2 bits.
    choice = choice_of((2, 8), PerChannel(-1), PerTensor(), (50, 2))
    ranges = logits((50, 2), 7) | {"span": jnp.ones(1)}
    gates = gates_of([1] * 7, [0] * 6 + [1])
    found, params, _ = settled(choice, ranges, gates, [1, 0], (50, 2))
    np.testing.assert_allclose(params["2/step"], [64 / 127], rtol=1e-6)
    one_hot = jnp.eye(2)[jnp.array([1, 0])]
    quantized = mixture(choice, one_hot, found, params, {})
    np.testing.assert_array_equal(quantized, mixed(choice, gates, ranges, (50, 2)))


def test_a_site_that_stays_keeps_its_highest_plane_though_all_are_closed():
    ranges = logits((5, 6), 7) | {"span": jnp.ones(1)}
    found, _, _ = settled(choice_of(), ranges, gates_of([0] * 7), [0])
    np.testing.assert_array_equal(found, mixed(choice_of(), gates_of([0] * 6 + [1]), ranges))
    assert np.any(found)


def test_scale_that_is_not_learned_keeps_its_own_rule():
    choice = choice_of(estimator=MinMax())
    ranges = logits((5, 6), 7) | {"span": jnp.ones(1)}
    _, params, stats = settled(choice, ranges, gates_of([1] * 7), [2])
    assert params == {} and stats == {}
