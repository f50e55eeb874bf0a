"""Quantized tensor: integer codes with the scales, zero points and format that give them meaning.

The law of this floor: `decode(quantizer.to_codes(x))` is `quantizer.quantize(x)` for float32, in
every bit. What a network computed in simulation is what the exported codes mean.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, eq. (1).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from mpnas.quant.format import Format, IntFormat, Pruned
from mpnas.quant.granularity import Granularity


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QTensor:
    """A tensor as it is stored; a pytree of its arrays.

    Attributes:
      codes: One code per element, of `format.code_dtype`; the values themselves for FloatFormat.
      scale: Width of one step per group, > 0; 1 where the format has no steps.
      zero_point: Whole number, as float, per group; None for formats without one.
      format: How codes are read.
      granularity: Which elements share a scale.
    """

    codes: Num[Array, "*shape"]
    scale: Float[Array, "groups"]
    zero_point: Float[Array, "groups"] | None
    format: Format = dataclasses.field(metadata={"static": True})
    granularity: Granularity = dataclasses.field(metadata={"static": True})


def decode(q: QTensor) -> Float[Array, "*shape"]:
    """The real values that the codes stand for, as float32, in the shape of `q.codes`.

    Returns:
      `scale * (code - zero_point + offset)`; the codes themselves for FloatFormat; 0 for Pruned.
    """
    if isinstance(q.format, Pruned):
        return jnp.zeros(q.codes.shape, jnp.float32)
    if not isinstance(q.format, IntFormat):
        return q.codes
    # Levels are whole or half numbers below 2^17, exact in float32: the product is the only
    # operation that rounds, here as in fake_quantize.
    level = q.codes.astype(jnp.float32)
    if q.zero_point is not None:
        level = level - q.granularity.expand(q.zero_point, q.codes.shape)
    return q.granularity.expand(q.scale, q.codes.shape) * (level + q.format.offset)
