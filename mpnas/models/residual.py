"""Residual block: two 3x3 convolutions whose output is added to their input.

The basic block of He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, fig. 2 and eq. (1) and
(2). The projection (eq. 2) is not normalised in the ResNet-8 of MLPerf Tiny, and is in ResNet-18.
"""

import jax
from flax import nnx
from jaxtyping import Array, Float

HE_NORMAL = nnx.initializers.he_normal()


class ResidualBlock(nnx.Module):
    """`relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`.

    `shortcut` is a 1x1 convolution where the block changes the shape, with a bias or a normalisation
    `shortcut_bn`, and absent where it does not. Training or evaluation follows `model.train()` and
    `model.eval()`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        use_bias: bool,
        normalise_shortcut: bool = False,
        momentum: float,
        epsilon: float,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights.

        Args:
          in_channels: Channels of the input.
          out_channels: Channels of the output.
          stride: Step of `conv1` (and of the shortcut) in pixels.
          use_bias: Whether `conv1` and `conv2` add a bias before their normalisation.
          normalise_shortcut: Whether the shortcut has a normalisation in place of its bias.
          momentum: Share of the old running statistics kept per step, in [0, 1).
          epsilon: Added to the variance, in the squared units of the activations.
          rngs: Source of the initial weights (stream `params`).
        """

        def normalisation() -> nnx.BatchNorm:
            return nnx.BatchNorm(out_channels, momentum=momentum, epsilon=epsilon, rngs=rngs)

        self.conv1 = nnx.Conv(
            in_channels, out_channels, (3, 3), strides=stride, use_bias=use_bias,
            kernel_init=HE_NORMAL, rngs=rngs,
        )
        self.bn1 = normalisation()
        self.conv2 = nnx.Conv(
            out_channels, out_channels, (3, 3), use_bias=use_bias, kernel_init=HE_NORMAL, rngs=rngs
        )
        self.bn2 = normalisation()
        self.reshapes = stride != 1 or in_channels != out_channels
        self.normalises_shortcut = self.reshapes and normalise_shortcut
        if self.reshapes:
            self.shortcut = nnx.Conv(
                in_channels, out_channels, (1, 1), strides=stride,
                use_bias=not normalise_shortcut, kernel_init=HE_NORMAL, rngs=rngs,
            )
        if self.normalises_shortcut:
            self.shortcut_bn = normalisation()

    def __call__(
        self, x: Float[Array, "batch height width in_channels"]
    ) -> Float[Array, "batch out_height out_width out_channels"]:
        """Activations after the addition, >= 0; sizes are divided by `stride`, rounded up."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        x = self.shortcut(x) if self.reshapes else x
        x = self.shortcut_bn(x) if self.normalises_shortcut else x
        return jax.nn.relu(y + x)
