"""Small residual network for 8x8 grey images: a search on it takes seconds on one core."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mpnas.models.residual import HE_NORMAL, ResidualBlock

# An epoch of the digits has about 17 steps: with Flax's 0.99 the running statistics would still
# hold a third of their initial values after six epochs.
MOMENTUM = 0.9
EPSILON = 1e-5


class DigitsCNN(nnx.Module):
    """A stem, a block at 8x8, a block that halves the image to 4x4, and a linear head `dense`."""

    def __init__(self, classes: int = 10, width: int = 16, *, rngs: nnx.Rngs) -> None:
        """Draw the weights.

        Args:
          classes: Number of logits, >= 1.
          width: Channels at 8x8, >= 1; there are twice as many at 4x4.
          rngs: Source of the initial weights (stream `params`).
        """

        def block(in_channels: int, out_channels: int, stride: int) -> ResidualBlock:
            return ResidualBlock(
                in_channels, out_channels, stride=stride, use_bias=False,
                momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs,
            )

        self.stem = nnx.Conv(1, width, (3, 3), use_bias=False, kernel_init=HE_NORMAL, rngs=rngs)
        self.stem_bn = nnx.BatchNorm(width, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs)
        self.block1 = block(width, width, 1)
        self.block2 = block(width, 2 * width, 2)
        self.dense = nnx.Linear(2 * width, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "batch 8 8 1"]) -> Float[Array, "batch classes"]:
        """Logits of grey images with pixels in [0, 1]."""
        x = jax.nn.relu(self.stem_bn(self.stem(x)))
        x = self.block2(self.block1(x))
        return self.dense(jnp.mean(x, axis=(1, 2)))
