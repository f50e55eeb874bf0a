"""Tests of mpnas/supernet/groups.py, through `trace`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_nets import Net, concat_net, conv, depthwise_net, flat_net, images, linear, residual_net, rows
from tie_nets import lstm_net, split_heads_net, squeeze_excite_net, steps, transformer_net

from mpnas.space import Lanes
from mpnas.supernet import trace


def partly_tied(first):
    """`r` writes 6 channels: 2 are added to those of `p`, 4 to those of `q`; `r` comes first or last."""

    def call(net, x):
        if first:
            r = net.r(x)
            both = jnp.concatenate([net.p(x), net.q(x)], axis=-1)
        else:
            both = jnp.concatenate([net.p(x), net.q(x)], axis=-1)
            r = net.r(x)
        return net.head(jax.nn.relu(both + r))

    return Net(call, p=linear(4, 2), q=linear(4, 4), r=linear(4, 6), head=linear(6, 2))


def test_a_layer_that_is_tied_to_two_others_writes_two_groups():
    work = trace(partly_tied(first=False), rows())
    assert work.groups["p/channels"].producers == ("p", "r") and work.groups["p/channels"].size == 2
    assert work.groups["q/channels"].producers == ("q", "r") and work.groups["q/channels"].size == 4
    assert "r/channels" not in work.groups
    expected = Lanes((("p/channels", (0, 1)), ("q/channels", (0, 1, 2, 3))))
    assert work.layer["r"].writes == work.layer["head"].reads == expected


def test_further_groups_of_one_layer_are_numbered():
    work = trace(partly_tied(first=True), rows())
    assert list(work.groups) == ["input/channels", "r/channels", "r/channels@2", "head/channels"]
    assert work.groups["r/channels"].producers == ("r", "p")
    assert work.groups["r/channels@2"].producers == ("r", "q")
    assert work.layer["q"].writes == Lanes.of("r/channels@2", 4)


def test_the_names_of_a_wider_network_are_the_same():
    def wide(net):
        net.p, net.q, net.r, net.head = linear(4, 5), linear(4, 7), linear(4, 12), linear(12, 2)
        return net

    narrow, wider = trace(partly_tied(first=True), rows()), trace(wide(partly_tied(first=True)), rows())
    assert {g.name: g.producers for g in narrow.groups.values()} == {
        g.name: g.producers for g in wider.groups.values()
    }


def test_channels_that_may_go_and_channels_that_must_stay_are_two_groups():
    def call(net, x):
        y = net.a(x)
        return net.head(jnp.concatenate([y, net.b(x)], axis=-1) + net.c(x)), y

    net = Net(call, a=linear(4, 2), b=linear(4, 3), c=linear(4, 5), head=linear(5, 2))
    work = trace(net, rows())
    assert work.groups["a/channels"].frozen == "they are the model's output"
    assert work.groups["b/channels"].frozen is None
    assert work.layer["c"].writes == Lanes((("a/channels", (0, 1)), ("b/channels", (0, 1, 2))))


def test_what_nobody_writes_is_called_after_its_reader():
    net = Net(lambda net, x: net.head(x.reshape(x.shape[0], -1)), head=linear(108, 2))
    group = trace(net, images()).groups["head/input_channels"]
    assert (group.size, group.producers, group.consumers) == (108, (), ("head",))
    assert group.frozen.startswith("flattened or split by a reshape")


def test_the_reasons_of_a_group_are_those_of_its_own_channels():
    # `p` and `r` are tied by an addition, `q` and `r` by a multiplication.
    def call(net, x):
        p, q, r = net.p(x), net.q(x), net.r(x)
        left, right = r[:, None].reshape(-1, 2, 3).swapaxes(0, 1)
        return net.head(jax.nn.relu(left + p)) + net.head(jax.nn.relu(right * q))

    net = Net(call, p=linear(4, 3), q=linear(4, 3), r=linear(4, 6), head=linear(3, 2))
    (group,) = [g for g in trace(net, rows()).groups.values() if len(g.producers) > 1]
    words = [reason.split(" in ")[0] for reason in group.reasons]
    assert group.producers == ("p", "q", "r")
    assert set(words) == {"split into equal parts by a reshape", "added", "multiplied"}


NETS = {
    "residual": (residual_net, images), "depthwise": (depthwise_net, images), "flat": (flat_net, images),
    "concat": (concat_net, images), "gate": (squeeze_excite_net, images), "lstm": (lstm_net, steps),
    "transformer": (transformer_net, steps), "heads": (split_heads_net, lambda: steps(width=5)),
    "partly_tied": (lambda: partly_tied(first=True), rows),
}


@pytest.mark.parametrize("name", NETS)
def test_every_entry_of_every_axis_is_one_channel_of_a_group_of_that_size(name):
    build, inputs = NETS[name]
    work = trace(build(), inputs())
    for lanes in work.axes.values():
        for group, channels in lanes.runs:
            assert set(channels) <= set(range(work.groups[group].size))
    for layer in work.layers:
        assert layer.writes == work.axes[layer.kernel, layer.out_axis]
        assert layer.reads is None or layer.reads == work.axes[layer.kernel, layer.in_axis]
        assert layer.writes.size == layer.out_channels
        assert all(layer.path in work.groups[group].producers for group in layer.writes.groups)
    written = {group for layer in work.layers for group in layer.writes.groups}
    for group in work.groups.values():
        assert (group.name in written) == bool(group.producers)
        covered = np.zeros(group.size, bool)
        for lanes in work.axes.values():
            for name, channels in lanes.runs:
                if name == group.name:
                    covered[list(channels)] = True
        assert covered.all()


def test_groups_do_not_depend_on_the_batch():
    assert trace(residual_net(), images(batch=1)).groups == trace(residual_net(), images(batch=5)).groups


def test_a_bias_alone_has_the_channels_of_its_layer():
    net = Net(lambda net, x: net.d(jax.nn.relu(net.a(x)).mean((1, 2))), a=conv(3, 4), d=linear(4, 2))
    assert trace(net, images()).axes["a/bias", 0] == Lanes.of("a/channels", 4)
