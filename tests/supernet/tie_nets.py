"""Networks whose ties are worked out by hand in `test_golden_ties`; plain nnx, with small sizes."""

import jax
import jax.numpy as jnp
from flax import nnx
from small_nets import RNGS, Net, conv, linear, mean, norm

from mpnas.models.mobilenet_v2 import InvertedResidual
from mpnas.models.transformer import EncoderBlock


def inverted_residual_call(net, x):
    x = jax.nn.relu6(net.stem_bn(net.stem(x)))
    return net.head(mean(net.block(x)))


def inverted_residual_net():
    """MobileNetV2's block on 4 channels with 8 in its middle, between a stem and a head."""
    return Net(
        inverted_residual_call, stem=conv(3, 4), stem_bn=norm(4),
        block=InvertedResidual(4, 4, 2, stride=1, rngs=RNGS), head=linear(4, 2),
    )


def unet_call(net, x):
    fine = jax.nn.relu(net.fine(x))
    coarse = jax.nn.relu(net.coarse(nnx.max_pool(fine, (2, 2), strides=(2, 2))))
    wide = jnp.repeat(jnp.repeat(coarse, 2, axis=1), 2, axis=2)
    joined = jnp.concatenate([fine, wide], axis=-1)
    return net.pixel(jax.nn.relu(net.merge(joined)))


def unet_net():
    """4 channels at full size and 6 at half size meet side by side; one number per pixel comes out."""
    return Net(unet_call, fine=conv(3, 4), coarse=conv(4, 6), merge=conv(10, 5), pixel=conv(5, 1, 1))


def squeeze_excite_call(net, x):
    x = jax.nn.relu(net.stem(x))
    y = net.bn(net.inner(x))
    gate = jax.nn.sigmoid(net.up(jax.nn.relu(net.down(mean(y)))))
    return net.head(mean(jax.nn.relu(x + y * gate[:, None, None, :])))


def squeeze_excite_net():
    """A residual branch of 6 channels whose gate has 3 inside."""
    return Net(
        squeeze_excite_call, stem=conv(3, 6), inner=conv(6, 6), bn=norm(6), down=linear(6, 3),
        up=linear(3, 6), head=linear(6, 2),
    )


def transformer_call(net, x):
    return net.head(net.block(net.embed(x))).mean(axis=1)


def transformer_net():
    """A pre-norm encoder block of 8 channels: two heads of 4, an MLP of 10."""
    return Net(
        transformer_call, embed=linear(3, 8), block=EncoderBlock(8, 2, 10, rngs=RNGS), head=linear(8, 2)
    )


def split_heads_call(net, x):
    def heads(y):
        return y.reshape(*y.shape[:2], 2, -1).swapaxes(1, 2)

    scores = jax.nn.softmax(heads(net.q(x)) @ heads(net.k(x)).swapaxes(2, 3))
    mixed = (scores @ heads(net.v(x))).swapaxes(1, 2)
    return net.out(mixed.reshape(*mixed.shape[:2], -1)).mean(axis=1)


def split_heads_net():
    """Attention out of plain linear layers, cut into two heads by reshapes: 4 for scores, 3 for values."""
    return Net(split_heads_call, q=linear(5, 8), k=linear(5, 8), v=linear(5, 6), out=linear(6, 2))


def stacked_call(net, x):
    left, right = net.left(x), net.right(x)
    return net.head(jnp.tile(jnp.stack([left, right], axis=1).max(axis=1), (1, 2)))


def stacked_net():
    """The larger of two layers' outputs, twice over."""
    return Net(stacked_call, left=linear(4, 5), right=linear(4, 5), head=linear(10, 2))


def glu_call(net, x):
    left, right = jnp.split(net.a(x), 2, axis=-1)
    return net.head(left * jax.nn.sigmoid(right))


def glu_net():
    """A gated linear unit: 6 channels and 6 gates for them come out of one layer."""
    return Net(glu_call, a=linear(4, 12), head=linear(6, 2))


def depth_to_space_call(net, x):
    y = net.a(x)
    batch, height, width, channels = y.shape
    y = y.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return net.head(mean(jax.nn.relu(net.b(y.reshape(batch, 2 * height, 2 * width, channels // 4)))))


def depth_to_space_net():
    """Every pixel's 8 channels become 2 channels of 2 x 2 pixels."""
    return Net(depth_to_space_call, a=conv(3, 8), b=conv(2, 4), head=linear(4, 2))


def space_to_depth_call(net, x):
    y = jax.nn.relu(net.a(x))
    batch, height, width, channels = y.shape
    y = y.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return net.head(mean(jax.nn.relu(net.b(y.reshape(batch, height // 2, width // 2, 4 * channels)))))


def space_to_depth_net():
    """2 x 2 pixels of 3 channels become one of 12."""
    return Net(space_to_depth_call, a=conv(3, 3), b=conv(12, 4), head=linear(4, 2))


def shuffle_call(net, x):
    y = net.a(x)
    y = y.reshape(*y.shape[:-1], 2, y.shape[-1] // 2).swapaxes(-1, -2).reshape(y.shape)
    return net.head(mean(jax.nn.relu(net.g(y))))


def shuffle_net():
    """ShuffleNet's shuffle: the channels of two groups alternate before the next grouped layer."""
    return Net(shuffle_call, a=conv(3, 8), g=conv(8, 6, feature_group_count=2), head=linear(6, 2))


def lstm_call(net, x):
    start = jnp.zeros((x.shape[0], net.cell.hidden_features))
    carry = start, start
    for step in range(x.shape[1]):
        carry, _ = net.cell(carry, x[:, step])
    return net.head(carry[1])


def lstm_net():
    """An LSTM cell of 5 units that is called once per step, without a scan."""
    return Net(lstm_call, cell=nnx.LSTMCell(3, 5, rngs=RNGS), head=linear(5, 2))


def shared_kernel_call(net, x):
    return net.head(jax.nn.relu(net.other(jax.nn.relu(net.inner(jax.nn.relu(net.first(x)))))))


def shared_kernel_net():
    """`inner` and `other` are two modules with one kernel."""
    net = Net(shared_kernel_call, first=linear(4, 6), inner=linear(6, 6), other=linear(6, 6),
              head=linear(6, 2))
    net.other.kernel = net.inner.kernel
    return net


def tied_embedding_call(net, tokens):
    return net.embed.attend(jax.nn.relu(net.inner(net.embed(tokens)))).mean(axis=1)


def tied_embedding_net():
    """The table of 7 tokens that looks them up also scores them."""
    return Net(tied_embedding_call, embed=nnx.Embed(7, 4, rngs=RNGS), inner=linear(4, 4))


def steps(batch=3, length=4, width=3, seed=7):
    """Sequences `(batch, length, width)`."""
    return jax.random.normal(jax.random.key(seed), (batch, length, width))
