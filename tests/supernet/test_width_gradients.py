"""Gradients of widths and of removed channels, against finite differences on tiny networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_nets import concat_net, dense_residual_net, depthwise_net, images, rows, run
from tie_nets import lstm_net, steps

from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.supernet.trace import module_at

FLOAT_WIDTHS = Rule(match="*", weights=(0, 32), granularity="channel", widths=(0.5, 1))
NETS = {
    "residual": (dense_residual_net, rows),
    "depthwise": (depthwise_net, images),
    "concat": (concat_net, images),
    "lstm": (lstm_net, steps),
}


def float32(gates):
    return {site: jnp.asarray(gate, jnp.float32) for site, gate in gates.items()}


def attached(name, rule=FLOAT_WIDTHS):
    build, inputs = NETS[name]
    return attach(build(), inputs(), [rule]), inputs()


def loss_of(net, x):
    return lambda parts, gates: jnp.sum(run(net, parts, gates, x)[0] ** 2)


def soft_gates(space, seed=0):
    draw = np.random.default_rng(seed)
    return float32({
        site: draw.dirichlet(np.full(len(c.bits), 5.0), c.decisions) for site, c in space.choices.items()
    })


@pytest.mark.parametrize("name", NETS)
def test_the_gradient_of_every_gate_is_the_finite_difference(name):
    net, x = attached(name)
    gates, loss = soft_gates(net.space), jax.jit(loss_of(net, x))
    slopes = jax.grad(loss, argnums=1)(net.parts, gates)
    draw = np.random.default_rng(1)
    for site in [*net.space.width_site.values(), *net.space.remover.values()]:
        way = jnp.asarray(draw.normal(size=gates[site].shape), jnp.float32)
        step = 1e-2
        up, down = (loss(net.parts, gates | {site: gates[site] + s * way}) for s in (step, -step))
        expected = float(jnp.sum(slopes[site] * way))
        assert float(up - down) / (2 * step) == pytest.approx(expected, rel=2e-2, abs=2e-3), site
        assert np.any(slopes[site] != 0), site


@pytest.mark.parametrize("name", NETS)
def test_a_width_masks_the_channels_beyond_it_in_every_layer_that_reads_its_group(name):
    net, _ = attached(name)
    gates = soft_gates(net.space)
    for group, site in net.space.width_site.items():
        narrow = net.space.choices[site].bits[0]
        none = {g: np.zeros(size, bool) for g, size in net.space.work.group_sizes.items()}
        within = none | {group: np.arange(none[group].size) < narrow}
        whole = none | {group: np.ones_like(none[group])}
        assert net.space.work.groups[group].consumers
        for reader in net.space.work.groups[group].consumers:
            def mask(gate):
                module = net.module(net.parts, gates | {site: gate})
                return module_at(module, net.slots[reader]).in_alive[...]

            slope = np.asarray(jax.jacrev(mask)(gates[site]))[:, 0]
            lanes = net.space.work.layer[reader].reads
            np.testing.assert_array_equal(slope[:, 0] != 0, lanes.along(within))
            np.testing.assert_array_equal(slope[:, 1] != 0, lanes.along(whole))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("bits, width", [(0, 1), (32, 0)], ids=["by_bits", "by_width"])
def test_removed_channels_have_no_gradient_in_any_weight_that_meets_them(name, bits, width):
    net, x = attached(name)
    space = net.space
    point = space.indices(space.uniform(None))
    for group, site in space.remover.items():
        if bits == 0:
            point[site][-1] = 0
    for site in space.width_site.values():
        point[site][:] = width
    alive = space.existing(point)
    assert all(not exists[-1] for exists in alive.values())
    gates = float32(space.one_hot(space.from_indices(point)))
    slopes = net.kernels(jax.grad(loss_of(net, x))(net.parts, gates).params)
    whole = {name: np.ones(size, bool) for name, size in space.work.group_sizes.items()} | alive
    for layer in space.work.layers:
        slope = np.asarray(slopes[layer.kernel])
        if layer.reads is not None:
            read = np.moveaxis(slope, layer.in_axis, 0)
            assert not np.any(read[~layer.reads.along(whole)]), f"{layer.path} reads what is gone"
        if layer.kind == "dense":
            written = np.moveaxis(slope, layer.out_axis, 0)
            assert not np.any(written[~layer.writes.along(whole)]), f"{layer.path} writes what is gone"
        assert np.any(slope)
