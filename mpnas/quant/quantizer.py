"""Quantizer: a number format, who shares a scale, where the scale comes from, how gradients pass.

`quantize` gives the same bits compiled or not, for the ranges of `mpnas.quant.scale`. A scale that
is a bare quotient a / b in the same compiled program breaks this: XLA makes x / (a / b) x * b / a.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, eq. (1);
Esser et al., ICLR 2020, https://arxiv.org/abs/1902.08153, eq. (1) to (3).
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.quant.fake_quantize import fake_quantize, levels
from mpnas.quant.format import Format, IntFormat, Pruned
from mpnas.quant.gradient import Clipped, Gradient
from mpnas.quant.granularity import Granularity, PerTensor
from mpnas.quant.qtensor import QTensor
from mpnas.quant.scale.base import Params, Range, ScaleEstimator, Stats
from mpnas.quant.scale.minmax import MinMax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantizer:
    """How one tensor is quantized; frozen, hence static under `jit` and a candidate of a choice.

    Attributes:
      format: Which values exist.
      granularity: Which elements share a scale.
      scale: Where the scale comes from; unused by formats without steps.
      gradient: Rounding and clipping with their surrogate derivatives.

    Raises:
      ConfigError: `scale` cannot serve `format`.

    >>> Quantizer(format=IntFormat(4)).quantize(jnp.array([0.2, 0.34, 0.7]))
    Array([0.2, 0.3, 0.7], dtype=float32)
    """

    format: Format
    granularity: Granularity = PerTensor()
    scale: ScaleEstimator = MinMax()
    gradient: Gradient = Clipped()

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

    def shape(
        self, x: Float[Array, "*shape"], params: Params | None = None
    ) -> Float[Array, "*shape"]:
        """The values that are put on the grid in the place of `x`; `x` for most scales.

        The distance of `quantize(x)` to these values is the error of quantizing.
        """
        if not isinstance(self.format, IntFormat):
            return x
        return self.scale.shape(x, params or {}, self.format, self.granularity, self.gradient)

    def settled(
        self, x: Float[Array, "..."], params: Params | None = None, stats: Stats | None = None
    ) -> tuple["Quantizer", Params]:
        """A quantizer, and its parameters, that does to any part of `x` what this one does to `x`.

        Raises:
          ConfigError: The format has a zero point that the scale reads off `x`.
        """
        if not isinstance(self.format, IntFormat):
            return self, {}
        scale, stored = self.scale.settled(x, params or {}, stats or {}, self.format, self.granularity)
        return dataclasses.replace(self, scale=scale), stored

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
        shaped = self.shape(x, params)
        return fake_quantize(shaped, scale, zero_point, self.format, self.gradient).astype(x.dtype)

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
            codes = levels(self.shape(x, params), scale, zero_point, self.format, self.gradient)
            codes = codes if zero_point is None else codes + zero_point
            codes = codes.astype(self.format.code_dtype)
        return QTensor(codes, found.scale, found.zero_point, self.format, self.granularity)

    def _expanded(self, found: Range, shape: tuple[int, ...]) -> tuple[Array, Array | None]:
        """Scale and zero point as they broadcast against `shape`."""
        scale = self.granularity.expand(found.scale, shape)
        if found.zero_point is None:
            return scale, None
        return scale, self.granularity.expand(found.zero_point, shape)
