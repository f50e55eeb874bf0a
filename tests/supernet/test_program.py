"""Tests of mpnas/supernet/program.py, through `trace`."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from small_nets import Net, conv, images, linear, rows, two_layers

from mpnas.errors import UnsupportedOperationError
from mpnas.supernet import trace


@pytest.mark.parametrize("between, signed", [
    (jax.nn.relu, False),
    (jax.nn.relu6, False),
    (jax.nn.sigmoid, False),
    (jax.nn.softmax, False),
    (jnp.abs, False),
    (lambda x: x, True),
    (jax.nn.gelu, True),
    (jax.nn.leaky_relu, True),
    (jnp.tanh, True),
    (lambda x: jnp.tanh(jax.nn.relu(x)), False),
    (lambda x: jax.nn.relu(x) - 1, True),
    (lambda x: jax.nn.relu(x) + 1, False),
    (lambda x: jax.nn.relu(x) + x, True),
    (lambda x: -jax.nn.relu(x), True),
    (lambda x: jax.lax.lgamma(jax.nn.relu(x)), True),
    (lambda x: jnp.clip(x, 0, 6), False),
    (lambda x: jnp.clip(jax.nn.relu(x), -1, 1), False),
    (lambda x: jnp.where(x > 0, x, 0.1 * x), True),
    (lambda x: jnp.pad(jax.nn.relu(x), ((0, 0), (0, 1)))[:, :6], False),
    (lambda x: jax.lax.cond(x.sum() > 0, jax.nn.relu, lambda x: x, x), True),
    (lambda x: jax.lax.cond(x.sum() > 0, jax.nn.relu, jnp.abs, x), False),
    (lambda x: jax.checkpoint(jax.nn.relu)(x), False),
    (lambda x: jnp.tile(jnp.stack([jax.nn.relu(x), jnp.abs(x)]).max(axis=0), (1, 1)), False),
    (lambda x: jnp.stack([jax.nn.relu(x), x]).sum(axis=0), True),
])
def test_the_sign_of_what_a_layer_reads(between, signed):
    assert trace(two_layers(between), rows()).layer["head"].signed is signed


@pytest.mark.parametrize("between, reason", [
    (lambda x: x[:, ::-1], "moved by rev"),
    (lambda x: jnp.sort(x, axis=1), "moved by sort"),
    (lambda x: jnp.cumsum(x, axis=1), "mixed by cumsum"),
    (lambda x: jnp.roll(x, 1, axis=1), "cut, padded or moved by slice"),
    (lambda x: jax.lax.pad(x, 0.0, [(0, 0, 0), (1, -1, 0)]), "moved by pad"),
    (lambda x: jax.nn.softmax(x, axis=1), "reduced over by reduce_max"),
    (lambda x: x / jnp.linalg.norm(x, axis=1, keepdims=True), "reduced over by reduce_sum"),
    (lambda x: x.at[:, 2:4].set(0.0), "not understood"),
    (lambda x: x[:, jnp.array([0, 2, 1, 3, 4, 5])], "read by operation 'gather', which is not understood"),
    (lambda x: x * jnp.arange(1.0, 7.0), "lined up with a constant array"),
    (lambda x: x * jnp.asarray([1.0, 2, 3, 4, 5, 6]), "lined up with a constant array"),
    (lambda x: jax.lax.top_k(x, 6)[0], "read by operation 'top_k', which is not understood"),
])
def test_channels_that_meet_or_move_must_stay(between, reason):
    work = trace(two_layers(between), rows())
    assert reason in work.groups["first/channels"].frozen


@pytest.mark.parametrize("between", [
    jax.nn.relu,
    jax.nn.gelu,
    lambda x: x.astype(jnp.bfloat16).astype(jnp.float32),
    lambda x: x[:, None, :].squeeze(1),
    lambda x: x.T.T,
    lambda x: jnp.cumsum(x, axis=0),
    lambda x: jax.lax.optimization_barrier((x, x))[1],
    lambda x: x[:, jnp.newaxis].mean(axis=1),
])
def test_channels_that_pass_one_by_one_can_go(between):
    work = trace(two_layers(between), rows())
    assert work.groups["first/channels"].frozen is None and work.notes == ()


def test_what_stands_in_a_called_program_has_the_place_of_its_call():
    # jnp.einsum and jax.image.resize are compiled programs of JAX's own.
    net = Net(lambda net, x: net.head(jnp.einsum("bi,bj->bi", net.first(x), x)), first=linear(4, 6),
              head=linear(6, 2))
    assert trace(net, rows()).products[0].path.startswith("<lambda> (test_program.py:")

    def call(net, x):
        small = jax.image.resize(net.first(x), (x.shape[0], 3, 3, 4), "nearest")
        return net.head(small.mean((1, 2)))

    work = trace(Net(call, first=conv(3, 4), head=linear(4, 2)), images())
    assert "'gather', which is not understood in call (test_prog" in work.groups["first/channels"].frozen


def test_what_is_not_understood_is_noted_with_its_place():
    (note,) = trace(two_layers(lambda x: jax.lax.top_k(x, 6)[0]), rows()).notes
    assert note.startswith("operation 'top_k' in ") and "(test_program.py:" in note


def test_parameters_that_meet_before_they_scale_channels_keep_them():
    net = two_layers(lambda x: x)
    net.gain = nnx.Param(jnp.ones(6))
    net.call = lambda net, x: net.head(net.first(x) * (net.gain[...] / net.gain[...].sum()))
    assert "reduced over by reduce_sum" in trace(net, rows()).groups["first/channels"].frozen


def attention(net, x):
    weights = jax.nn.softmax(net.q(x) @ net.k(x).swapaxes(1, 2))
    return net.o(weights @ net.v(x)).mean(axis=1)


def test_attention_by_hand():
    net = Net(attention, q=linear(4, 8), k=linear(4, 8), v=linear(4, 6), o=linear(6, 2))
    work = trace(net, jnp.zeros((3, 5, 4)))
    assert [product.macs for product in work.products] == [5 * 5 * 8, 5 * 5 * 6]
    assert work.macs == 5 * (2 * 32 + 24 + 12) + 200 + 150
    assert work.groups["q/channels"].producers == ("q", "k")
    assert work.groups["q/channels"].frozen.startswith("summed over by a product of activations in attention")
    assert work.groups["v/channels"].frozen is None
    assert any(note.endswith("a product of two activations, kept in float32.") for note in work.notes)
    assert work.products[0].path.startswith("attention (test_program.py:")


def test_a_kernel_that_is_computed_is_a_product_that_keeps_its_channels():
    net = two_layers(lambda x: x)
    net.w = nnx.Param(jnp.ones((6, 6)))
    net.call = lambda net, x: net.head(net.first(x) @ jnp.tanh(net.w[...]))
    work = trace(net, rows())
    assert [product.macs for product in work.products] == [36] and work.loose_parameters == 36
    assert work.groups["first/channels"].frozen.startswith("summed over by a product")
    assert any("something computed from parameters, kept in float32" in note for note in work.notes)


@pytest.mark.parametrize("shape, used_as, macs", [((6,), (6,), 6), ((2, 3, 6), (6, 6), 36)],
                         ids=["vector", "reshaped"])
def test_kernels_without_an_output_axis_of_their_own_are_products(shape, used_as, macs):
    def call(net, x):
        h = net.first(x)
        return net.head(h) + (h @ net.w[...].reshape(used_as)).mean()

    net = two_layers(lambda x: x)
    net.w, net.call = nnx.Param(jnp.ones(shape)), call
    assert [product.macs for product in trace(net, rows()).products] == [macs]


def test_a_transposed_convolution_does_not_count_its_zeros():
    net = Net(lambda net, x: net.d(net.t(x).mean((1, 2))),
              t=nnx.ConvTranspose(3, 4, (3, 3), strides=(2, 2), rngs=nnx.Rngs(0)), d=linear(4, 2))
    assert trace(net, images()).layer["t"].macs == 6 * 6 * 9 * 3 * 4


def test_channels_that_are_positions_of_a_convolution_must_stay():
    # Efficient channel attention: a convolution over the channels, each of which meets its neighbours.
    def call(net, x):
        x = jax.nn.relu(net.a(x))
        gate = net.over(x.mean((1, 2))[..., None])[..., 0]
        return net.d((x * jax.nn.sigmoid(gate)[:, None, None, :]).mean((1, 2)))

    net = Net(call, a=conv(3, 6), over=nnx.Conv(1, 1, (3,), rngs=nnx.Rngs(0)), d=linear(6, 2))
    frozen = trace(net, images()).groups["a/channels"].frozen
    assert frozen.startswith("positions of a convolution in call (test_program.py:")


def test_strides_and_padding_change_the_macs():
    net = Net(lambda net, x: net.d(net.b(net.a(x)).mean((1, 2))), a=conv(3, 4, padding="VALID"),
              b=conv(4, 5, strides=2), d=linear(5, 2))
    work = trace(net, images())
    assert work.layer["a"].macs == 4 * 4 * 9 * 3 * 4 and work.layer["b"].macs == 2 * 2 * 9 * 4 * 5


def recurrent(net, x):
    def turn(h, now):
        return jnp.tanh(net.a(now) + net.c(h)), None

    start = jnp.zeros((x.shape[0], 8))
    return net.d(jax.lax.scan(turn, start, x.swapaxes(0, 1))[0])


def test_a_recurrence_counts_every_turn():
    work = trace(Net(recurrent, a=linear(4, 8), c=linear(8, 8), d=linear(8, 2)), jnp.zeros((3, 5, 4)))
    assert work.macs == 5 * (32 + 64) + 16
    assert work.layer["c"].looped and work.layer["c"].signed and not work.layer["d"].looped


def test_what_a_loop_carries_can_turn_negative():
    net = two_layers(lambda x: x)
    net.inner = linear(6, 6)
    net.call = lambda net, x: net.head(
        jax.lax.fori_loop(0, 3, lambda turn, h: net.inner(h), jax.nn.relu(net.first(x)))
    )
    work = trace(net, rows())
    assert work.layer["inner"].signed and work.layer["inner"].macs == 3 * 36


def test_stacked_layers_under_scan_are_counted_but_not_searched():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.c = nnx.Linear(6, 6, rngs=rngs)

        def __call__(self, x):
            return jax.nn.relu(self.c(x))

    net = two_layers(lambda x: x)
    net.blocks = nnx.vmap(Block)(nnx.Rngs(0).split(3))
    run = nnx.scan(lambda h, block: block(h), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    net.call = lambda net, x: net.head(run(net.first(x), net.blocks))
    work = trace(net, rows())
    assert work.layer["blocks/c"].macs == 3 * 36 and not work.layer["blocks/c"].hookable
    assert work.parameters == 24 + 6 + 3 * (36 + 6) + 12 + 2


def test_all_branches_of_a_condition_are_counted():
    net = two_layers(lambda x: x)
    net.inner = linear(6, 6)
    net.call = lambda net, x: net.head(
        jax.lax.cond(x.sum() > 0, lambda h: h * 0, lambda h: net.inner(h), net.first(x))
    )
    work = trace(net, rows())
    assert [layer.path for layer in work.layers] == ["first", "inner", "head"]
    assert work.groups["first/channels"].producers == ("first", "inner")


def test_a_condition_with_a_constant_branch_still_depends_on_the_input():
    net = two_layers(lambda x: jax.lax.cond(x.sum() > 0, lambda h: jnp.ones_like(h), lambda h: h, x))
    assert [layer.path for layer in trace(net, rows()).layers] == ["first", "head"]


def test_a_loop_of_unknown_length_is_a_sentence_with_the_place():
    net = two_layers(lambda x: jax.lax.while_loop(lambda h: h.sum() < 9, lambda h: h + 1, x))
    with pytest.raises(UnsupportedOperationError, match=r"a while loop in .*\(test_program.*fixed length"):
        trace(net, rows())
