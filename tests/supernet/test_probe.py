"""Tests of mpnas/supernet/probe.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_nets import EVERYTHING, Net, conv, images, linear, mean, residual_net, rows, two_layers
from tie_nets import lstm_net, steps, transformer_net

from mpnas.space import Rule, build_space
from mpnas.supernet import attach, trace
from mpnas.supernet.probe import fixed_groups


def held(model, example):
    return fixed_groups(model, example, build_space(trace(model, example), [EVERYTHING]))


@pytest.mark.parametrize("between, words", [
    (lambda x: x.reshape(-1, 4, 4).reshape(-1, 16), "reshape"),
    (lambda x: x.reshape(-1, 16), "reshape"),
    (lambda x: x + jnp.zeros(16), "for broadcasting"),
    (lambda x: jnp.maximum(x, jnp.zeros((1, 16))), "for broadcasting"),
    (lambda x: jnp.broadcast_to(x, (x.shape[0], 16)), "for broadcasting"),
], ids=["heads", "flat", "constant", "constant_row", "broadcast"])
def test_a_number_in_the_source_holds_the_channels_with_the_words_of_the_failure(between, words):
    found = held(two_layers(between, width=16), rows())
    assert list(found) == ["first/channels"]
    group = found["first/channels"]
    assert group.frozen.startswith("the program names their number (") and words in group.frozen
    assert group.producers == ("first",), "nothing else is changed"


@pytest.mark.parametrize("between", [
    lambda x: x.reshape(x.shape[0], -1),
    lambda x: x.reshape(x.shape[0], 2, -1).reshape(x.shape),
    lambda x: x.reshape(x.shape[0], 2, x.shape[1] // 2).swapaxes(1, 2).swapaxes(1, 2).reshape(x.shape),
    lambda x: x + jnp.zeros(x.shape[1]),
    lambda x: x + jnp.zeros_like(x),
    lambda x: x * jnp.ones(()),
    lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 3, x.shape[1])).mean(axis=1),
], ids=["flat", "minus_one", "halves", "constant", "like", "scalar", "broadcast"])
def test_what_is_derived_from_a_shape_is_not_held(between):
    assert held(two_layers(between, width=16), rows()) == {}


def test_one_group_of_many_is_held_alone():
    def call(net, x):
        x = jax.nn.relu(net.a(x))
        return net.d(jax.nn.relu(net.c(jax.nn.relu(net.b(x)).reshape(-1, 6))))

    net = Net(call, a=linear(4, 5), b=linear(5, 6), c=linear(6, 7), d=linear(7, 2))
    assert list(held(net, rows())) == ["b/channels"]


def test_a_program_that_needs_at_least_so_many_is_found_where_one_less_fails():
    def call(net, x):
        y = net.a(x)
        if y.shape[-1] < 6:
            raise RuntimeError("too narrow for its purpose")
        return net.d(jax.nn.relu(y))

    found = held(Net(call, a=linear(4, 6), d=linear(6, 2)), rows())
    assert found["a/channels"].frozen == "the program names their number (too narrow for its purpose)"


def test_outputs_that_change_their_shape_hold_their_channels():
    class Shape(nnx.Module):
        def __init__(self):
            self.a, self.d = linear(4, 6), linear(6, 2)

        def __call__(self, x):
            y = self.a(x)
            return self.d(y), jnp.zeros(y.shape)

    found = held(Shape(), rows())
    assert found["a/channels"].frozen == "the program names their number (its outputs change their shape)"


def test_a_cell_with_a_carry_of_its_own_size_is_free():
    assert held(lstm_net(), steps()) == {}
    net = lstm_net()
    net.call = lambda net, x: net.head(net.cell((jnp.zeros((x.shape[0], 5)),) * 2, x[:, 0])[0][1])
    assert list(held(net, steps())) == ["cell/ii/channels"]


def test_attention_whose_values_must_be_as_wide_as_its_keys_holds_them():
    found = held(transformer_net(), steps())
    assert list(found) == ["block/attention/value/channels"]
    assert "value shape should be" in found["block/attention/value/channels"].frozen


def test_a_single_channel_is_not_probed():
    net = two_layers(lambda x: x.reshape(-1, 1), width=1)
    assert held(net, rows()) == {}


def test_nothing_that_can_go_is_nothing_to_probe():
    model = two_layers(lambda x: x.reshape(-1, 16), width=16)
    space = build_space(trace(model, rows()), [Rule(match="*", weights=(4, 8))])
    assert fixed_groups(model, rows(), space) == {}


def test_the_model_and_its_mode_stay_as_they_are():
    model = residual_net()
    model.train()
    before = jax.tree.map(np.array, nnx.state(model))
    assert held(model, images()) == {}
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, nnx.state(model)))
    assert model.bn.use_running_average is False


def test_what_is_held_is_told_in_the_notes_of_the_space():
    def build():
        return Net(lambda net, x: net.d(mean(net.a(x)).reshape(-1, 6)), a=conv(3, 6), d=linear(6, 2))

    rule = Rule(match="*", weights=(0, 4, 8), granularity="channel")
    net = attach(build(), images(), [rule])
    assert net.space.choices["a/kernel"].bits == (4, 8) and net.space.remover == {}
    (note,) = [note for note in net.space.notes if "at a," in note]
    assert note.startswith("0 bits is not offered at a, whose channels must stay: the program names their")
