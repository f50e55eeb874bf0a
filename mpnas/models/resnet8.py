"""ResNet-8 of MLPerf Tiny: the image classification reference, with its published weights.

Source: Banbury et al., NeurIPS 2021, https://arxiv.org/abs/2106.07597, table 1; the network is
`resnet_v1_eembc` of github.com/mlcommons/tiny. It takes RGB in 0..255 without any scaling.
"""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mpnas.models.residual import HE_NORMAL, ResidualBlock

# Keras' defaults: the published weights and statistics were trained with this epsilon.
MOMENTUM = 0.99
EPSILON = 1e-3
# Where Keras numbered its layers, we name them; the order of its numbers is the order of creation.
KERAS_LAYERS = {
    "stem": "conv2d",
    "stem_bn": "batch_normalization",
    "block1.conv1": "conv2d_1",
    "block1.bn1": "batch_normalization_1",
    "block1.conv2": "conv2d_2",
    "block1.bn2": "batch_normalization_2",
    "block2.conv1": "conv2d_3",
    "block2.bn1": "batch_normalization_3",
    "block2.conv2": "conv2d_4",
    "block2.bn2": "batch_normalization_4",
    "block2.shortcut": "conv2d_5",
    "block3.conv1": "conv2d_6",
    "block3.bn1": "batch_normalization_5",
    "block3.conv2": "conv2d_7",
    "block3.bn2": "batch_normalization_6",
    "block3.shortcut": "conv2d_8",
    "dense": "dense",
}
KERAS_VARIABLES = {
    "scale": "gamma",
    "bias": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}


class ResNet8(nnx.Module):
    """A stem of 16 channels, three blocks of 16, 32 and 64, a global mean, a linear head `dense`.

    12.5 million multiply-accumulates per image; 78,666 numbers with the running statistics.
    """

    def __init__(self, classes: int = 10, *, rngs: nnx.Rngs) -> None:
        """Draw the weights.

        Args:
          classes: Number of logits, >= 1.
          rngs: Source of the initial weights (stream `params`).
        """

        def block(in_channels: int, out_channels: int, stride: int) -> ResidualBlock:
            return ResidualBlock(
                in_channels, out_channels, stride=stride, use_bias=True,
                momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs,
            )

        self.stem = nnx.Conv(3, 16, (3, 3), kernel_init=HE_NORMAL, rngs=rngs)
        self.stem_bn = nnx.BatchNorm(16, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs)
        self.block1 = block(16, 16, 1)
        self.block2 = block(16, 32, 2)
        self.block3 = block(32, 64, 2)
        self.dense = nnx.Linear(64, classes, kernel_init=HE_NORMAL, rngs=rngs)

    def __call__(self, x: Float[Array, "batch 32 32 3"]) -> Float[Array, "batch classes"]:
        """Logits of RGB images with pixels in [0, 255]."""
        x = jax.nn.relu(self.stem_bn(self.stem(x)))
        x = self.block3(self.block2(self.block1(x)))
        return self.dense(jnp.mean(x, axis=(1, 2)))


def load_mlperf_tiny(model: ResNet8, path: str | Path) -> ResNet8:
    """Fill `model` with MLPerf Tiny's float weights: 87.19 % of the CIFAR-10 test images are right.

    Args:
      model: Network of 10 classes; changed in place, all of it or nothing.
      path: `resnet8.npz`, whose arrays are named `resnet8_keras/<layer>/<variable>`.

    Returns:
      The same `model`. Call `model.eval()` to use the running statistics that were loaded.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an array is absent, or not of the shape that the network has there.
    """
    with np.load(path, allow_pickle=False) as archive:
        filled = [
            (variable, _array(archive, path, name, variable.shape))
            for name, variable in _keras_names(model)
        ]
    for variable, values in filled:
        variable[...] = jnp.asarray(values)
    return model


def _keras_names(model: ResNet8) -> Iterator[tuple[str, nnx.Variable]]:
    """Every parameter and running statistic of `model` with its name in the archive."""
    for path, layer in nnx.iter_modules(model):
        keras_layer = KERAS_LAYERS.get(".".join(str(part) for part in path))
        if keras_layer is None:
            continue
        is_norm = isinstance(layer, nnx.BatchNorm)
        for ours in KERAS_VARIABLES if is_norm else ("kernel", "bias"):
            keras_variable = KERAS_VARIABLES[ours] if is_norm else ours
            yield f"resnet8_keras/{keras_layer}/{keras_variable}", getattr(layer, ours)


def _array(
    archive: np.lib.npyio.NpzFile, path: str | Path, name: str, shape: tuple[int, ...]
) -> np.ndarray:
    if name not in archive:
        raise ValueError(
            f"{path} has no array '{name}'. Pass MLPerf Tiny's resnet8.npz with the float weights."
        )
    values = archive[name]
    if values.shape != shape:
        raise ValueError(
            f"'{name}' in {path} has shape {values.shape}, but the network needs {shape}. "
            "Build it as ResNet8(classes=10)."
        )
    return values
