"""DS-CNN of MLPerf Tiny: the keyword spotting reference, a stem and four depthwise separable blocks.

Source: Zhang et al., 2017, https://arxiv.org/abs/1711.07128, section 3.5, in the small size that
Banbury et al., NeurIPS 2021, https://arxiv.org/abs/2106.07597, table 1 take for keyword spotting; the
network is `ds_cnn` of github.com/mlcommons/tiny.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mpnas.models.residual import HE_NORMAL

# Keras' defaults, as in the ResNet-8 of the same benchmark.
MOMENTUM = 0.99
EPSILON = 1e-3
BLOCKS = 4


class SeparableBlock(nnx.Module):
    """`relu(bn(pointwise(relu(bn(depthwise(x))))))`: 3x3 per channel, then 1x1 over all channels."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        """Draw the weights.

        Args:
          channels: Channels of the input and of the output.
          rngs: Source of the initial weights (stream `params`).
        """
        self.depthwise = nnx.Conv(
            channels, channels, (3, 3), feature_group_count=channels, kernel_init=HE_NORMAL, rngs=rngs
        )
        self.depthwise_bn = _normalisation(channels, rngs)
        self.pointwise = nnx.Conv(channels, channels, (1, 1), kernel_init=HE_NORMAL, rngs=rngs)
        self.pointwise_bn = _normalisation(channels, rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        """Activations of the same size, >= 0."""
        x = jax.nn.relu(self.depthwise_bn(self.depthwise(x)))
        return jax.nn.relu(self.pointwise_bn(self.pointwise(x)))


class DSCNN(nnx.Module):
    """A 10x4 stem of stride 2, blocks `block1` to `block4`, a global mean, a linear head `dense`.

    2,656,768 multiply-accumulates per clip; 24,908 numbers with the running statistics, of which 22,604
    are left when the normalisations are folded into the convolutions.
    """

    def __init__(self, classes: int = 12, width: int = 64, *, rngs: nnx.Rngs) -> None:
        """Draw the weights.

        Args:
          classes: Number of logits, >= 1.
          width: Channels of every convolution, >= 1; 64 is the published network.
          rngs: Source of the initial weights (stream `params`) and of dropout (stream `dropout`).
        """
        self.stem = nnx.Conv(1, width, (10, 4), strides=2, kernel_init=HE_NORMAL, rngs=rngs)
        self.stem_bn = _normalisation(width, rngs)
        self.stem_drop = nnx.Dropout(0.2, rngs=rngs)
        for number in range(1, BLOCKS + 1):
            setattr(self, f"block{number}", SeparableBlock(width, rngs=rngs))
        self.drop = nnx.Dropout(0.4, rngs=rngs)
        self.dense = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "batch 49 10 1"]) -> Float[Array, "batch classes"]:
        """Logits of one second of sound: 49 frames of 10 cepstral coefficients."""
        x = self.stem_drop(jax.nn.relu(self.stem_bn(self.stem(x))))
        for number in range(1, BLOCKS + 1):
            x = getattr(self, f"block{number}")(x)
        return self.dense(jnp.mean(self.drop(x), axis=(1, 2)))


def _normalisation(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs)
