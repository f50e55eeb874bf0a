"""Tests of mpnas/supernet/reform.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_nets import concat_net, depthwise_net, images, residual_net, rows, run, twice_net

from mpnas.control import BitPlane, Implied, Softmax
from mpnas.errors import ConfigError
from mpnas.space import Rule
from mpnas.supernet import adopted, attach, reformed, settled
from mpnas.supernet.operand import Alternatives
from mpnas.supernet.operand_implied import ImpliedBits
from mpnas.supernet.operand_planes import BitPlanes

BITS = {"weights": (0, 2, 4, 8), "activations": (4, 8)}
RULES = {
    "layer": Rule(match="*", weights=(2, 4, 8), activations=(4, 8)),
    "channel": Rule(match="*", granularity="channel", **BITS),
    "subgroups_and_observed_inputs": Rule(match="*", granularity=4, activation_range="moving", **BITS),
    "largest_weight": Rule(match="*", granularity="channel", scale="layer", weight_range="minmax", **BITS),
}
NETS = {"residual": (residual_net, images), "depthwise": (depthwise_net, images), "twice": (twice_net, rows),
        "concat": (concat_net, images)}
CONTROLLERS = {"planes": BitPlane(), "implied": Implied()}
EVERY_OPERAND = pytest.mark.parametrize("operand", CONTROLLERS)


@functools.cache
def calibrated(name, rule):
    build, inputs = NETS[name]
    net = attach(build(), inputs(), [RULES[rule]])
    return net, net.calibrated(net.parts, inputs()), inputs()


def start_gates(net, operand):
    controller = CONTROLLERS[operand]
    arch = controller.init(net.space.choices)
    arch = controller.event(arch, net.space.choices, over_budget=False, progress=1.0)
    return controller.gates(arch, net.space.choices, progress=1.0, key=None)


def one_hot(net, assignment):
    return {site: jnp.asarray(g, jnp.float32) for site, g in net.space.one_hot(assignment).items()}


def test_alternatives_are_the_network_itself():
    net, parts, _ = calibrated("residual", "channel")
    assert reformed(net, "alternatives") is net
    assert adopted(net, net, parts) is parts
    gates = Softmax().gates(Softmax().init(net.space.choices), net.space.choices, progress=0.0, key=None)
    assert settled(net, net, parts, gates, net.space.uniform(4)) is parts


@EVERY_OPERAND
def test_reformed_network_has_the_same_space_and_is_made_once(operand):
    net, _, _ = calibrated("residual", "channel")
    assert reformed(net, operand).space is net.space
    assert reformed(net, operand) is reformed(net, operand)


def test_each_site_has_the_operand_that_it_allows():
    net = attach(residual_net(), images(), [RULES["channel"], Rule(match="head", weights=(8,))])
    planes, implied = (reformed(net, operand).operands for operand in ("planes", "implied"))
    assert planes["first/kernel"] == BitPlanes() and implied["first/kernel"] == ImpliedBits()
    assert planes["first/input"] == Alternatives() and implied["first/input"] == ImpliedBits()
    for operands in (planes, implied):
        assert operands["head/kernel"] == operands["stem/channels"] == Alternatives()


def test_misspelt_operand_names_the_nearest():
    net, _, _ = calibrated("residual", "channel")
    with pytest.raises(ConfigError, match="no operand 'plane'; nearest: .*'planes'"):
        reformed(net, "plane")


@EVERY_OPERAND
def test_search_starts_near_the_network_that_was_calibrated(operand):
    net, parts, x = calibrated("residual", "layer")
    searched = reformed(net, operand)
    output, _ = run(searched, adopted(net, searched, parts), start_gates(net, operand), x)
    float_output, _ = run(net, parts, one_hot(net, net.space.uniform(8)), x)
    spread = float(jnp.std(float_output))
    np.testing.assert_allclose(output, float_output, atol=0.1 * spread + 0.02)


@EVERY_OPERAND
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rule", RULES)
def test_settled_parts_fit_the_usual_network(operand, name, rule):
    net, parts, _ = calibrated(name, rule)
    searched = reformed(net, operand)
    point = net.space.uniform(4)
    found = settled(net, searched, adopted(net, searched, parts), start_gates(net, operand), point)
    assert jax.tree.structure(found) == jax.tree.structure(net.parts)
    for new, old in zip(jax.tree.leaves(found), jax.tree.leaves(net.parts), strict=True):
        assert new.shape == old.shape and new.dtype == old.dtype
        if jnp.issubdtype(new.dtype, jnp.floating):
            assert np.all(np.isfinite(new))


@pytest.mark.parametrize("name, rule", [("residual", "layer"), ("depthwise", "channel"), ("twice", "layer"),
                                        ("residual", "subgroups_and_observed_inputs")])
def test_hard_planes_are_the_usual_network_under_their_assignment(name, rule):
    net, parts, x = calibrated(name, rule)
    searched = reformed(net, "planes")
    parts = adopted(net, searched, parts)
    gates, draw = start_gates(net, "planes"), np.random.default_rng(0)
    indices = net.space.indices(net.space.uniform(8))
    for site, operand in searched.operands.items():
        choice = net.space.choices[site]
        if isinstance(operand, BitPlanes):
            # The upper planes of as many bits as each decision draws; 0 bits closes all of them.
            indices[site] = draw.integers(0, len(choice.bits), choice.decisions)
            indices[site][0] = max(indices[site][0], 1)
            bits = np.asarray(choice.bits)[indices[site]][:, None]
            gates[site]["planes"] = jnp.asarray(np.arange(7) >= 8 - bits, jnp.float32) * (bits > 0)
        else:
            gates[site] = jnp.asarray(np.eye(len(choice.bits))[indices[site]], jnp.float32)
    assignment = net.space.from_indices(indices)
    searching, _ = run(searched, parts, gates, x)
    usual, _ = run(net, settled(net, searched, parts, gates, assignment), one_hot(net, assignment), x)
    np.testing.assert_allclose(usual, searching, rtol=1e-6, atol=1e-6)
    assert np.std(searching) > 1e-3


def test_implied_bits_are_the_usual_network_under_their_assignment():
    net, parts, x = calibrated("residual", "layer")
    searched = reformed(net, "implied")
    parts = adopted(net, searched, parts)
    gates = start_gates(net, "implied")
    draw = np.random.default_rng(0)
    picked = net.space.indices(net.space.uniform(8))
    for site, operand in searched.operands.items():
        if isinstance(operand, ImpliedBits) and net.space.choices[site].kind == "weight":
            picked[site] = draw.integers(0, 3, 1)
            levels = 2.0 ** (np.asarray((2, 4, 8))[picked[site]] - 1)
            gates[site] = {"step": jnp.asarray(0.75 / (levels - 1) * (levels > 2) + 0.75 * (levels == 2)),
                           "top": jnp.asarray([0.75])}
            gates[site]["step"] = jnp.exp2(jnp.ceil(jnp.log2(gates[site]["step"])))
    assignment = net.space.from_indices(picked)
    np.testing.assert_array_equal(
        [np.argmax(searched.operands[s].shares(net.space.choices[s], gates[s])) for s in picked],
        [picked[s][0] for s in picked],
    )
    searching, _ = run(searched, parts, gates, x)
    found = settled(net, searched, parts, gates, assignment)
    usual, _ = run(net, found, one_hot(net, assignment), x)
    # Inputs are clipped at 255 steps, as they were at the end of the range: nothing reaches farther.
    np.testing.assert_allclose(usual, searching, atol=1e-4)
    assert np.std(searching) > 1e-3


@EVERY_OPERAND
def test_training_leaves_what_is_not_searched_in_its_place(operand):
    net, parts, x = calibrated("residual", "subgroups_and_observed_inputs")
    searched = reformed(net, operand)
    gates = start_gates(net, operand)
    before = adopted(net, searched, parts)
    _, stats = run(searched, before, gates, x + 1.0, True)
    assert jax.tree.structure(stats) == jax.tree.structure(before.stats)
    changed = [bool(np.any(one != two)) for one, two in
               zip(jax.tree.leaves(stats), jax.tree.leaves(before.stats), strict=True)]
    assert any(changed)
