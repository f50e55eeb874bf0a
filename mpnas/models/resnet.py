"""Residual networks: ResNet-18 for ImageNet or for small images, and ResNet-20 for CIFAR.

Source: He et al., CVPR 2016, https://arxiv.org/abs/1512.03385: ResNet-18 is table 1, ResNet-20 is
section 4.2 with n = 3. Shortcuts that change the shape are normalised 1x1 convolutions (option B).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mpnas.models.residual import HE_NORMAL, ResidualBlock

MOMENTUM = 0.9
EPSILON = 1e-5


class ResNet(nnx.Module):
    """A stem, stacks of blocks `block<stack>_<number>`, a global mean, a linear head `dense`.

    The first block of every stack but the first halves the image; each stack has twice the channels of
    the one before.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        width: int,
        classes: int,
        *,
        small_images: bool,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights.

        Args:
          blocks: Number of blocks of every stack, each >= 1.
          width: Channels of the stem and of the first stack, >= 1.
          classes: Number of logits, >= 1.
          small_images: Whether the stem is a 3x3 convolution that keeps the image (CIFAR), or a 7x7 one
            of stride 2 and a 3x3 maximum of stride 2 (ImageNet).
          rngs: Source of the initial weights (stream `params`).
        """
        self.small_images = small_images
        size, stride = ((3, 3), 1) if small_images else ((7, 7), 2)
        self.stem = nnx.Conv(
            3, width, size, strides=stride, use_bias=False, kernel_init=HE_NORMAL, rngs=rngs
        )
        self.stem_bn = nnx.BatchNorm(width, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs)
        self.names = tuple(f"block{s + 1}_{b + 1}" for s, count in enumerate(blocks) for b in range(count))
        channels = width
        for name in self.names:
            stack, number = (int(part) for part in name.removeprefix("block").split("_"))
            out = width * 2 ** (stack - 1)
            block = ResidualBlock(
                channels, out, stride=2 if stack > 1 and number == 1 else 1, use_bias=False,
                normalise_shortcut=True, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs,
            )
            setattr(self, name, block)
            channels = out
        self.dense = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch classes"]:
        """Logits of RGB images of any size and scale."""
        x = jax.nn.relu(self.stem_bn(self.stem(x)))
        if not self.small_images:
            x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for name in self.names:
            x = getattr(self, name)(x)
        return self.dense(jnp.mean(x, axis=(1, 2)))


def resnet18(
    classes: int = 1000, width: int = 64, small_images: bool = False, *, rngs: nnx.Rngs
) -> ResNet:
    """ResNet-18: four stacks of two blocks; 11,689,512 parameters and 1.814 GMACs at 224x224.

    Args:
      classes: Number of logits, >= 1.
      width: Channels of the first stack, >= 1; 64 is the published network.
      small_images: Whether the stem keeps the image, as is usual for CIFAR.
      rngs: Source of the initial weights (stream `params`).
    """
    return ResNet((2, 2, 2, 2), width, classes, small_images=small_images, rngs=rngs)


def resnet20(classes: int = 10, width: int = 16, *, rngs: nnx.Rngs) -> ResNet:
    """ResNet-20 of CIFAR: three stacks of three blocks; 272,474 parameters and 40.8 MMACs at 32x32.

    Args:
      classes: Number of logits, >= 1.
      width: Channels of the first stack, >= 1; 16 is the published network.
      rngs: Source of the initial weights (stream `params`).
    """
    return ResNet((3, 3, 3), width, classes, small_images=True, rngs=rngs)
