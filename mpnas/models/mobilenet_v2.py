"""MobileNetV2: inverted residuals, whose narrow ends are added and whose wide middle is depthwise.

Source: Sandler et al., CVPR 2018, https://arxiv.org/abs/1801.04381, table 2 and fig. 3d.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mpnas.models.residual import HE_NORMAL

MOMENTUM = 0.9
EPSILON = 1e-5
# Table 2: expansion t, channels c, blocks n, stride s of the first of them.
STACKS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, LAST = 32, 1280


class InvertedResidual(nnx.Module):
    """`project(relu6(depthwise(relu6(expand(x)))))`, each normalised, plus `x` where the shape stays."""

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, *, stride: int, rngs: nnx.Rngs
    ) -> None:
        """Draw the weights.

        Args:
          in_channels: Channels of the input.
          out_channels: Channels of the output.
          expansion: Channels of the middle per channel of the input; 1 leaves `expand` out.
          stride: Step of `depthwise` in pixels.
          rngs: Source of the initial weights (stream `params`).
        """
        middle = in_channels * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and in_channels == out_channels
        if self.expands:
            self.expand = _convolution(in_channels, middle, (1, 1), rngs=rngs)
            self.expand_bn = _normalisation(middle, rngs)
        self.depthwise = _convolution(middle, middle, (3, 3), stride=stride, groups=middle, rngs=rngs)
        self.depthwise_bn = _normalisation(middle, rngs)
        self.project = _convolution(middle, out_channels, (1, 1), rngs=rngs)
        self.project_bn = _normalisation(out_channels, rngs)

    def __call__(
        self, x: Float[Array, "batch height width in_channels"]
    ) -> Float[Array, "batch out_height out_width out_channels"]:
        """Activations after the addition, of any sign; sizes are divided by `stride`, rounded up."""
        y = jax.nn.relu6(self.expand_bn(self.expand(x))) if self.expands else x
        y = jax.nn.relu6(self.depthwise_bn(self.depthwise(y)))
        y = self.project_bn(self.project(y))
        return x + y if self.adds else y


class MobileNetV2(nnx.Module):
    """A stem, 17 blocks `block1` to `block17`, a 1x1 convolution `last`, a global mean, a head `dense`.

    3,504,872 parameters and 0.301 GMACs at width 1 and 224x224.
    """

    def __init__(
        self, classes: int = 1000, width: float = 1.0, small_images: bool = False, *, rngs: nnx.Rngs
    ) -> None:
        """Draw the weights.

        Args:
          classes: Number of logits, >= 1.
          width: Share of the published channels, > 0; rounded to multiples of 8.
          small_images: Whether the stem and the second stack keep the image, as is usual for CIFAR.
          rngs: Source of the initial weights (stream `params`).
        """
        channels = _rounded(STEM * width)
        self.stem = _convolution(3, channels, (3, 3), stride=1 if small_images else 2, rngs=rngs)
        self.stem_bn = _normalisation(channels, rngs)
        self.blocks = 0
        for stack, (expansion, published, count, stride) in enumerate(STACKS):
            if small_images and stack == 1:
                stride = 1
            for number in range(count):
                out = _rounded(published * width)
                block = InvertedResidual(
                    channels, out, expansion, stride=stride if number == 0 else 1, rngs=rngs
                )
                self.blocks += 1
                setattr(self, f"block{self.blocks}", block)
                channels = out
        # The last one stays as wide as published in narrower networks (section 4.1 of the paper).
        last = _rounded(LAST * max(1.0, width))
        self.last = _convolution(channels, last, (1, 1), rngs=rngs)
        self.last_bn = _normalisation(last, rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.dense = nnx.Linear(last, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch classes"]:
        """Logits of RGB images of any size and scale."""
        x = jax.nn.relu6(self.stem_bn(self.stem(x)))
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"block{number}")(x)
        x = jax.nn.relu6(self.last_bn(self.last(x)))
        return self.dense(self.drop(jnp.mean(x, axis=(1, 2))))


def _convolution(
    in_channels: int, out_channels: int, size: tuple[int, int], *, stride: int = 1, groups: int = 1,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    return nnx.Conv(
        in_channels, out_channels, size, strides=stride, feature_group_count=groups, use_bias=False,
        kernel_init=HE_NORMAL, rngs=rngs,
    )


def _normalisation(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at least 0.9 of what was asked, as its authors do."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
