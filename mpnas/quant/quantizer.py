"""Quantizer: a number format, who shares a scale, where the scale comes from, how gradients pass.

A value x is stored as the integer `round(x / scale) + zero_point`, clipped to the format, and read
back as a multiple of the scale. Values are rounded before the zero point is added, half to even,
as in ONNX QuantizeLinear; a large zero point then costs no precision.

`quantize` gives the same bits compiled or not, for the ranges of `mpnas.quant.scale`. A scale that
is a bare quotient a / b in the same compiled program breaks this: XLA makes x / (a / b) x * b / a.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, eq. (1);
Esser et al., ICLR 2020, https://arxiv.org/abs/1902.08153, eq. (1) to (3).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.quant.format import Format, IntFormat, Pruned
from mpnas.quant.gradient import RoundFn, StraightThrough
from mpnas.quant.granularity import Granularity, PerTensor
from mpnas.quant.qtensor import QTensor
from mpnas.quant.scale.base import Params, Range, ScaleEstimator, Stats
from mpnas.quant.scale.minmax import MinMax

# A value this close to a bound, relative to the bound, counts as inside. MinMax puts each group's
# extreme on the bound up to rounding, about 2e-7: the last bit must not decide its gradient.
BOUND_SLACK = 1e-6


def fake_quantize(
    x: Float[Array, "*shape"],
    scale: Float[Array, "..."],
    zero_point: Float[Array, "..."] | None,
    fmt: IntFormat,
    gradient: RoundFn = StraightThrough(),
) -> Float[Array, "*shape"]:
    """The value nearest to `x` that `fmt` can store at this scale, kept as a float.

    Args:
      x: Finite values to quantize; the result has the same shape and dtype.
      scale: Width of one integer step, in the units of `x`; > 0. Same rank as `x`, size 1 along
        every axis whose entries share a scale.
      zero_point: Whole numbers shaped like `scale`; None stands for 0.
      fmt: Integer format to clip to.
      gradient: Rounding with its surrogate derivative.

    Returns:
      `scale * (code - zero_point + offset)`, never -0.0; within `scale / 2` of `x` if unclipped.
      With straight-through rounding its derivative by `scale` is LSQ's eq. (3), where a value on
      the bound counts as inside.

    Raises:
      ValueError: `scale` and `x` differ in rank.

    >>> fake_quantize(jnp.array([0.24, -9.0]), jnp.array([0.5]), None, IntFormat(bits=4))
    Array([ 0., -4.], dtype=float32)
    """
    level = _rounded(x, scale, zero_point, fmt, gradient) + fmt.offset
    return (scale * level).astype(x.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantizer:
    """How one tensor is quantized; frozen, hence static under `jit` and a candidate of a choice.

    Attributes:
      format: Which values exist.
      granularity: Which elements share a scale.
      scale: Where the scale comes from; unused by formats without steps.
      gradient: Rounding with its surrogate derivative.

    Raises:
      ConfigError: `scale` cannot serve `format`.

    >>> Quantizer(format=IntFormat(4)).quantize(jnp.array([0.2, 0.34, 0.7]))
    Array([0.2, 0.3, 0.7], dtype=float32)
    """

    format: Format
    granularity: Granularity = PerTensor()
    scale: ScaleEstimator = MinMax()
    gradient: RoundFn = StraightThrough()

    def __post_init__(self) -> None:
        if isinstance(self.format, IntFormat):
            self.scale.check(self.format)

    @property
    def bits(self) -> int:
        """Bits of one element: 0 if pruned, 32 if float."""
        return self.format.bits

    def init(self, x: Float[Array, "..."]) -> tuple[Params, Stats]:
        """What to train and what to keep of the scale, from a sample of the tensor.

        Returns:
          Parameters and statistics, each name -> `(groups,)` float32; both may be empty.
        """
        if not isinstance(self.format, IntFormat):
            return {}, {}
        return self.scale.init(x, self.format, self.granularity)

    def observe(self, x: Float[Array, "..."], stats: Stats) -> Stats:
        """The statistics after seeing one more tensor."""
        if not isinstance(self.format, IntFormat):
            return stats
        return self.scale.observe(x, stats, self.format, self.granularity)

    def range(
        self, x: Float[Array, "..."], params: Params | None = None, stats: Stats | None = None
    ) -> Range:
        """Scale and zero point per group of `x`; scale 1 for formats without steps."""
        if not isinstance(self.format, IntFormat):
            return Range(jnp.ones(self.granularity.groups(x.shape), jnp.float32), None)
        return self.scale.range(x, params or {}, stats or {}, self.format, self.granularity)

    def quantize(
        self, x: Float[Array, "*shape"], params: Params | None = None, stats: Stats | None = None
    ) -> Float[Array, "*shape"]:
        """`x` snapped to the format and kept as a float, same shape and dtype.

        Args:
          x: Values to quantize; finite.
          params: Trained quantities from `init`; may be left out if `init` gave none.
          stats: Observed quantities from `init` and `observe`; likewise.

        Raises:
          ValueError: The scale needs parameters or statistics that are missing.
        """
        if isinstance(self.format, Pruned):
            return jnp.zeros_like(x)
        if not isinstance(self.format, IntFormat):
            return x
        scale, zero_point = self._expanded(self.range(x, params, stats), x.shape)
        return fake_quantize(x, scale, zero_point, self.format, self.gradient)

    def to_codes(
        self, x: Float[Array, "*shape"], params: Params | None = None, stats: Stats | None = None
    ) -> QTensor:
        """What is stored for `x`; `decode` of it equals `quantize(x)` in every bit for float32.

        Args and errors are those of `quantize`.
        """
        found = self.range(x, params, stats)
        if isinstance(self.format, Pruned):
            codes = jnp.zeros(x.shape, self.format.code_dtype)
        elif not isinstance(self.format, IntFormat):
            codes = x.astype(self.format.code_dtype)
        else:
            scale, zero_point = self._expanded(found, x.shape)
            codes = _rounded(x, scale, zero_point, self.format, self.gradient)
            codes = codes if zero_point is None else codes + zero_point
            codes = codes.astype(self.format.code_dtype)
        return QTensor(codes, found.scale, found.zero_point, self.format, self.granularity)

    def _expanded(self, found: Range, shape: tuple[int, ...]) -> tuple[Array, Array | None]:
        """Scale and zero point as they broadcast against `shape`."""
        scale = self.granularity.expand(found.scale, shape)
        if found.zero_point is None:
            return scale, None
        return scale, self.granularity.expand(found.zero_point, shape)


def _rounded(
    x: Array, scale: Array, zero_point: Array | None, fmt: IntFormat, gradient: RoundFn
) -> Array:
    """`code - zero_point` as float32: x / scale, clipped, less the offset, rounded.

    Clip first: rounding first would put the whole last bin on the bound, and the derivative by
    the scale would no longer be LSQ's.
    """
    if scale.ndim != x.ndim:
        raise ValueError(
            f"scale needs the rank of x, got scale {scale.shape} for x {x.shape}. "
            "Use Granularity.expand(scale, x.shape) to build it."
        )
    shift = jnp.float32(0.0) if zero_point is None else zero_point
    bounded = _clip(
        x.astype(jnp.float32) / scale,
        fmt.qmin + fmt.offset - shift,
        fmt.qmax + fmt.offset - shift,
    )
    return _without_negative_zero(gradient(bounded - fmt.offset))


@jax.custom_jvp
def _clip(x: Array, low: Array, high: Array) -> Array:
    """`x` between `low` and `high`; derivative 1 inside and on the bounds, 0 outside."""
    return jnp.clip(x, low, high)


def _clip_derivative(
    tangent: Array, result: Array, x: Array, low: Array, high: Array
) -> Array:
    beyond = jnp.abs(x - result)
    return jnp.where(beyond <= BOUND_SLACK * jnp.abs(result), tangent, 0.0)


_clip.defjvps(_clip_derivative, None, None)


@jax.custom_jvp
def _without_negative_zero(x: Array) -> Array:
    """`x` with +0.0 for -0.0, as integer codes have only one zero; derivative 1."""
    return jnp.where(x == 0, 0.0, x)


_without_negative_zero.defjvps(lambda tangent, result, x: tangent)
