"""Multilayer perceptron: the smallest network on which a search can be followed by hand."""

import itertools
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float


class MLP(nnx.Module):
    """Linear layers `dense0`, `dense1`, ... with ReLU between them.

    Attributes:
      features: Width of every layer, the input's first and the number of classes last.
    """

    def __init__(self, features: Sequence[int] = (64, 64, 32, 10), *, rngs: nnx.Rngs) -> None:
        """Draw the weights.

        Args:
          features: At least two widths, each >= 1; the first is the size of one flattened input.
          rngs: Source of the initial weights (stream `params`).

        Raises:
          ValueError: fewer than two widths, or one below 1.
        """
        self.features = tuple(features)
        if len(self.features) < 2 or min(self.features) < 1:
            raise ValueError(
                f"MLP needs at least an input and an output width, each >= 1, got {self.features}."
            )
        # Named attributes rather than a list: a path such as `dense0/kernel` has no integer keys,
        # which sort and serialise differently from strings.
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise(self.features)):
            setattr(self, f"dense{index}", nnx.Linear(fan_in, fan_out, rngs=rngs))

    def __call__(self, x: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        """Logits of `x`, whose axes after the first are flattened.

        Raises:
          ValueError: one input does not flatten to `features[0]` numbers.
        """
        x = x.reshape((x.shape[0], -1))
        if x.shape[1] != self.features[0]:
            raise ValueError(
                f"This MLP takes {self.features[0]} numbers per example, got {x.shape[1]}. "
                f"Build it with features=({x.shape[1]}, ...)."
            )
        last = len(self.features) - 2
        for index in range(last):
            x = jax.nn.relu(getattr(self, f"dense{index}")(x))
        return getattr(self, f"dense{last}")(x)
