"""Plain Flax networks, called `model(x) -> logits`; proof that any nnx model can be searched.

Nothing here knows of mpnas. Batch normalisation follows `model.train()` and `model.eval()`.
"""

from collections.abc import Callable

from flax import nnx

from mpnas.models.digits_cnn import DigitsCNN
from mpnas.models.ds_cnn import DSCNN
from mpnas.models.mlp import MLP
from mpnas.models.mobilenet_v2 import MobileNetV2
from mpnas.models.resnet import ResNet, resnet18, resnet20
from mpnas.models.resnet8 import ResNet8, load_mlperf_tiny
from mpnas.models.transformer import VisionTransformer

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "mlp": MLP,
    "digits_cnn": DigitsCNN,
    "resnet8": ResNet8,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "mobilenet_v2": MobileNetV2,
    "ds_cnn": DSCNN,
    "vit": VisionTransformer,
}
"""Name in files and on the command line -> builder, which takes `rngs` and keyword options."""

__all__ = [
    "MODELS",
    "DSCNN",
    "DigitsCNN",
    "MLP",
    "MobileNetV2",
    "ResNet",
    "ResNet8",
    "VisionTransformer",
    "load_mlperf_tiny",
    "resnet18",
    "resnet20",
]
