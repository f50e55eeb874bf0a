"""Plain Flax networks, called `model(x) -> logits`; proof that any nnx model can be searched.

Nothing here knows of mpnas. Batch normalisation follows `model.train()` and `model.eval()`.
"""

from collections.abc import Callable

from flax import nnx

from mpnas.models.digits_cnn import DigitsCNN
from mpnas.models.mlp import MLP
from mpnas.models.resnet8 import ResNet8, load_mlperf_tiny

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "mlp": MLP,
    "digits_cnn": DigitsCNN,
    "resnet8": ResNet8,
}
"""Name in files and on the command line -> builder, which takes `rngs` and keyword options."""

__all__ = ["MODELS", "MLP", "DigitsCNN", "ResNet8", "load_mlperf_tiny"]
