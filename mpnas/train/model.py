"""What building a model needs and gives: random streams in, an nnx module out."""

from typing import Any

from flax import nnx


def streams(seed: int) -> nnx.Rngs:
    """The random streams from which a model draws its first weights."""
    return nnx.Rngs(seed)


def is_model(value: Any) -> bool:
    """Whether a builder returned something that can be attached to."""
    return isinstance(value, nnx.Module)
