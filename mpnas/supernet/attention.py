"""Attention with its two products in sight: the same numbers as `nnx.dot_product_attention`.

`nnx.MultiHeadAttention` calls whatever stands in its `attention_fn`. For a trace that is a function
whose name tells the module; for a supernet a module that quantises all four operands.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.attention import dot_product_attention_weights
from flax.nnx.nn.dtypes import promote_dtype
from jaxtyping import Array, Float

Operand = Callable[[Array], Array]


def attention(
    query: Float[Array, "... q heads depth"],
    key: Float[Array, "... k heads depth"],
    value: Float[Array, "... k heads width"],
    *,
    operands: Mapping[str, Operand],
    **options: Any,
) -> Float[Array, "... q heads width"]:
    """`softmax(query key^T / sqrt(depth)) value` per head.

    Args:
      query, key, value: As `nnx.dot_product_attention` takes them, with equally many heads.
      operands: `query`, `key`, `weights` and `value` -> what happens to it before its product.
      options: Mask, bias, dropout and types, as of `dot_product_attention_weights`.
    """
    query, key, value = promote_dtype((query, key, value), dtype=options.get("dtype"))
    weights = dot_product_attention_weights(operands["query"](query), operands["key"](key), **options)
    return jnp.einsum(
        "...hqk,...khd->...qhd", operands["weights"](weights), operands["value"](value),
        precision=options.get("precision"),
    )


class MixedAttention(nnx.Module):
    """Stands in the `attention_fn` of an `nnx.MultiHeadAttention`, with quantised operands.

    Attributes:
      operands: `query`, `key`, `weights`, `value` -> a `MixedProduct` for what enters there, or nothing.
    """

    def __init__(self) -> None:
        self.operands: Any = nnx.Dict()

    def __call__(self, query: Array, key: Array, value: Array, **options: Any) -> Array:
        entering = {name: product.entering for name, product in self.operands.items()}
        plain = dict.fromkeys(("query", "key", "weights", "value"), _unchanged)
        return attention(query, key, value, operands=plain | entering, **options)


def readable(module: Any) -> bool:
    """Whether an attention's products can be attached to: its function is Flax's own, its heads equal."""
    return (
        isinstance(module, nnx.MultiHeadAttention)
        and module.attention_fn is nnx.dot_product_attention
        and module.num_heads == module.num_kv_heads
    )


def named(name: str) -> Callable[..., Array]:
    """The plain attention as a called program of this name."""
    plain = dict.fromkeys(("query", "key", "weights", "value"), _unchanged)

    def call(query: Array, key: Array, value: Array, **options: Any) -> Array:
        arrays = {k: v for k, v in options.items() if isinstance(v, jax.Array)}
        rest = {k: v for k, v in options.items() if k not in arrays}

        def run(query: Array, key: Array, value: Array, arrays: dict[str, Array]) -> Array:
            return attention(query, key, value, operands=plain, **arrays, **rest)

        run.__name__ = name
        return jax.jit(run)(query, key, value, arrays)

    return call


def _unchanged(x: Array) -> Array:
    return x
