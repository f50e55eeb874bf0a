"""Moving-average range: exponential averages of the ends of the tensors seen in training.

The range comes from the averages alone, so it is a constant at evaluation and on the device; a
value beyond it is clipped.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, section 3.1.
"""

import dataclasses

import jax
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import Params, Range, ScaleEstimator, Stats, covering_range
from mpnas.quant.scale.ends import Ends
from mpnas.quant.scale.learned import stored
from mpnas.quant.scale.minmax import MinMax


@dataclasses.dataclass(frozen=True)
class MovingAverage(ScaleEstimator):
    """Range from exponential moving averages of each group's two ends.

    The averages start at the first sample, so they carry no bias toward zero.

    Attributes:
      decay: Weight of the past in each update, in [0, 1); 0.99 remembers about 100 samples.
      of: What names the ends of one sample: its extremes, percentiles, or where clipping errs least.

    Raises:
      ConfigError: `decay` is outside [0, 1).
    """

    decay: float = 0.99
    of: Ends = MinMax()

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError(
                f"a moving average needs 0 <= decay < 1, got {self.decay}. "
                "0 keeps only the newest sample; 0.99 is usual."
            )

    def check(self, fmt: IntFormat) -> None:
        """Serves the formats that `of` serves."""
        self.of.check(fmt)

    def init(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Params, Stats]:
        """No parameters; the ends of `x` as the statistics `low` and `high`, `(groups,)`."""
        low, high = self.of.seen(x, fmt, granularity)
        return {}, {"low": low, "high": high}

    def observe(
        self, x: Float[Array, "..."], stats: Stats, fmt: IntFormat, granularity: Granularity
    ) -> Stats:
        """`decay * past + (1 - decay) * end` for `low` and `high`."""
        _, seen = self.init(x, fmt, granularity)
        return {
            name: self.decay * stats[name] + (1 - self.decay) * seen[name] for name in seen
        }

    def range(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> Range:
        """The finest range of `fmt` from the average `low` to the average `high`.

        Raises:
          ValueError: `stats` was not made by `init`.
        """
        if not {"low", "high"} <= stats.keys():
            raise ValueError(
                f"MovingAverage needs the statistics 'low' and 'high', got {sorted(stats)}. "
                "Make them from a sample with Quantizer.init and pass them as stats."
            )
        low, high = jax.lax.stop_gradient((stats["low"], stats["high"]))
        return covering_range(low, high, fmt)

    def settled(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> tuple[ScaleEstimator, Params]:
        """A stored step, the one of the averages."""
        return stored(self.range(x, params, stats, fmt, granularity), fmt)
