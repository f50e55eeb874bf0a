"""Fake quantization: the value nearest to each real that an integer format can store, as a float.

A value x is stored as the integer `round(x / scale) + zero_point`, clipped to the format, and read
back as a multiple of the scale. Values are rounded before the zero point is added, half to even,
as in ONNX QuantizeLinear; a large zero point then costs no precision.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, eq. (1);
Esser et al., ICLR 2020, https://arxiv.org/abs/1902.08153, eq. (1) to (3).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.quant.format import IntFormat
from mpnas.quant.gradient import Clipped, Gradient


def fake_quantize(
    x: Float[Array, "*shape"],
    scale: Float[Array, "..."],
    zero_point: Float[Array, "..."] | None,
    fmt: IntFormat,
    gradient: Gradient = Clipped(),
) -> Float[Array, "*shape"]:
    """The value nearest to `x` that `fmt` can store at this scale, kept as a float.

    Args:
      x: Finite values to quantize; the result has the same shape and dtype.
      scale: Width of one integer step, in the units of `x`; > 0. Same rank as `x`, size 1 along
        every axis whose entries share a scale.
      zero_point: Whole numbers shaped like `scale`; None stands for 0.
      fmt: Integer format to clip to.
      gradient: Rounding and clipping with their surrogate derivatives.

    Returns:
      `scale * (code - zero_point + offset)`, never -0.0; within `scale / 2` of `x` if unclipped.
      With straight-through rounding its derivative by `scale` is LSQ's eq. (3), where a value on
      the bound counts as inside, whatever derivative by `x` the clip pretends.

    Raises:
      ValueError: `scale` and `x` differ in rank.

    >>> fake_quantize(jnp.array([0.24, -9.0]), jnp.array([0.5]), None, IntFormat(bits=4))
    Array([ 0., -4.], dtype=float32)
    """
    level = levels(x, scale, zero_point, fmt, gradient) + fmt.offset
    return (scale * level).astype(x.dtype)


def levels(
    x: Float[Array, "*shape"],
    scale: Float[Array, "..."],
    zero_point: Float[Array, "..."] | None,
    fmt: IntFormat,
    gradient: Gradient,
) -> Float[Array, "*shape"]:
    """`code - zero_point` as float32: x clipped, / scale, less the offset, rounded.

    Arguments and errors are those of `fake_quantize`.

    Clip first: rounding first would put the whole last bin on the bound, and the derivative by
    the scale would no longer be LSQ's. Clip values, not steps: then a surrogate derivative of the
    clip reaches the values and not the scale.
    """
    if scale.ndim != x.ndim:
        raise ValueError(
            f"scale needs the rank of x, got scale {scale.shape} for x {x.shape}. "
            "Use Granularity.expand(scale, x.shape) to build it."
        )
    shift = jnp.float32(0.0) if zero_point is None else zero_point
    bounded = gradient.clip(
        x.astype(jnp.float32),
        scale * (fmt.qmin + fmt.offset - shift),
        scale * (fmt.qmax + fmt.offset - shift),
    )
    return _without_negative_zero(gradient.round(bounded / scale - fmt.offset))


@jax.custom_jvp
def _without_negative_zero(x: Array) -> Array:
    """`x` with +0.0 for -0.0, as integer codes have only one zero; derivative 1."""
    return jnp.where(x == 0, 0.0, x)


_without_negative_zero.defjvps(lambda tangent, result, x: tangent)
