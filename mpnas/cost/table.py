"""Latency and energy of a processor whose throughput is listed per pair of widths.

A table says how many multiply-accumulates a cycle does for each pair of activation and weight bits. A
layer takes `MACs * 1 / T(b_a, b_w)` cycles, averaged over its channels where each has a width of its
own; elementwise work, and moving data, are not in the table and not in the numbers.

Source: Risso et al., IGSC 2022, https://arxiv.org/abs/2206.08852, cost models of MPIC.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from mpnas.cost.base import NO_OVERHEAD, priced_macs, priced_products
from mpnas.errors import ConfigError, UnpricedError, nearest
from mpnas.space import Space, Usage

TABLES = "tables"
Missing = Literal["refuse", "interpolate"]
COUNTS = {**NO_OVERHEAD, "elementwise": False, "activation_products": True, "data_movement": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    """Multiply-accumulates per cycle, by the widths of both operands.

    Attributes:
      name: Ends the names of the costs that use it.
      act_bits, weight_bits: Widths of the rows and of the columns, ascending.
      macs_per_cycle: `(act widths, weight widths)`; > 0, and never higher for more bits.
      hertz: Cycles per second; > 0.
      watt: Mean power; > 0.
      source: Where the numbers are from.

    Raises:
      ConfigError: a table of another shape, or a number out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    act_bits: tuple[int, ...]
    weight_bits: tuple[int, ...]
    macs_per_cycle: tuple[tuple[float, ...], ...]
    hertz: float
    watt: float
    source: str = ""

    def __post_init__(self) -> None:
        rows, columns = len(self.act_bits), len(self.weight_bits)
        if not self.name.isidentifier():
            raise ConfigError(f"a table needs a name of letters, digits and _, got '{self.name}'.")
        for widths in (self.act_bits, self.weight_bits):
            ascending = bool(widths) and list(widths) == sorted(set(widths))
            if not (ascending and 1 <= widths[0] <= widths[-1] <= 32):
                raise ConfigError(
                    f"table '{self.name}' needs widths from 1 to 32 in ascending order, got {list(widths)}."
                )
        if len(self.macs_per_cycle) != rows or any(len(row) != columns for row in self.macs_per_cycle):
            raise ConfigError(
                f"table '{self.name}' needs macs_per_cycle of {rows} rows (activations) and {columns} "
                f"columns (weights), got rows of {[len(row) for row in self.macs_per_cycle]}."
            )
        rates = np.array(self.macs_per_cycle, np.float64)
        if not (np.isfinite(rates).all() and (rates > 0).all()):
            raise ConfigError(f"table '{self.name}' needs macs_per_cycle > 0 and finite.")
        if (np.diff(rates, axis=0) > 0).any() or (np.diff(rates, axis=1) > 0).any():
            raise ConfigError(
                f"table '{self.name}' does more macs_per_cycle with more bits somewhere. Give the wider pair "
                "the rate of the narrower one, or leave its width out."
            )
        if not (0 < self.hertz < np.inf and 0 < self.watt < np.inf):
            raise ConfigError(
                f"table '{self.name}' needs hertz > 0 and watt > 0, got {self.hertz}, {self.watt}."
            )

    def cycles(self, acts: Any, weights: Any, place: str, missing: Missing) -> np.ndarray:
        """Cycles per multiply-accumulate for widths that broadcast; `place` is named in errors.

        Between listed widths the cycles are bilinear in both bits; there is no extrapolation.

        Raises:
          UnpricedError: a pair that is not in the table, or, to interpolate, not between its widths.
        """
        acts, weights = np.broadcast_arrays(acts, weights)
        for pair in zip(acts.ravel(), weights.ravel(), strict=True):
            for bits, listed in zip(pair, (self.act_bits, self.weight_bits), strict=True):
                inside = listed[0] <= bits <= listed[-1]
                if not (inside and (missing == "interpolate" or bits in listed)):
                    raise UnpricedError(self._refusal(pair, place, between=inside))
        below, rise = _between(self.act_bits, acts)
        left, along = _between(self.weight_bits, weights)
        above, right = np.ceil(below + rise).astype(int), np.ceil(left + along).astype(int)
        cost = 1 / np.array(self.macs_per_cycle, np.float64)
        # low + share * (high - low): never falls with the share, also in its last bit.
        low = cost[below, left] + along * (cost[below, right] - cost[below, left])
        high = cost[above, left] + along * (cost[above, right] - cost[above, left])
        return low + rise * (high - low)

    def _refusal(self, pair: Sequence[float], place: str, *, between: bool) -> str:
        way_out = ', or set missing = "interpolate"' if between else ""
        return (
            f"table '{self.name}' has no throughput for {pair[0]:g}-bit activations times {pair[1]:g}-bit "
            f"weights at '{place}'; it has activations of {_listed(self.act_bits)} and weights of "
            f"{_listed(self.weight_bits)} bits. Offer widths of the table there{way_out}."
        )


def _listed(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths))


def _between(listed: Sequence[int], bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the listed width at or below each, and the share of the way to the next one."""
    known = np.array(listed, np.float64)
    below = np.searchsorted(known, bits, side="right") - 1
    after = np.minimum(below + 1, len(known) - 1)
    gap = known[after] - known[below]
    return below, np.where(gap > 0, (bits - known[below]) / np.where(gap > 0, gap, 1), 0.0)


@functools.cache
def bundled_table(name: str) -> Throughput:
    """The table of this name that comes with the package.

    Raises:
      ConfigError: there is none.
    """
    folder = importlib.resources.files("mpnas.cost") / TABLES
    known = [entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".json")]
    if name not in known:
        raise ConfigError(f"there is no throughput table '{name}'; nearest: {nearest(name, known)}.")
    found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    rates = tuple(tuple(row) for row in found.pop("macs_per_cycle"))
    acts, weights = tuple(found.pop("act_bits")), tuple(found.pop("weight_bits"))
    return Throughput(act_bits=acts, weight_bits=weights, macs_per_cycle=rates, **found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tabulated:
    """What the costs of a table share.

    Attributes:
      table: Name of a bundled table, or a table.
      missing: What happens to a pair of widths that the table lacks: `refuse`, or `interpolate` between
        its widths.

    Raises:
      ConfigError: no such table or policy.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    table: str | Throughput = "mpic"
    missing: Missing = "refuse"
    combine: ClassVar[Literal["sum", "max"]] = "sum"

    def __post_init__(self) -> None:
        if self.missing not in get_args(Missing):
            raise ConfigError(
                f"a table has no policy missing = '{self.missing}'; nearest: "
                f"{nearest(self.missing, get_args(Missing))}."
            )
        assert self.throughput  # that a name is known, before anything is counted

    @property
    def throughput(self) -> Throughput:
        """The table itself."""
        return self.table if isinstance(self.table, Throughput) else bundled_table(self.table)

    @property
    def counts(self) -> Mapping[str, bool]:
        return COUNTS

    def cycle_rows(self, space: Space, use: Usage) -> list[Any]:
        """Cycles of each product of activations, and of each layer."""
        price = functools.partial(self.throughput.cycles, missing=self.missing)
        rows = priced_products(space, use, price)
        return rows + [priced_macs(space, use, layer, price) for layer in space.work.layers]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cycles(_Tabulated):
    """Cycles per sample: `sum_layers MACs * mean_channels 1 / T(b_a, b_w)`."""

    unit: ClassVar[str] = "cycle"

    @property
    def name(self) -> str:
        return f"cycles_{self.throughput.name}"

    def rows(self, space: Space, use: Usage) -> list[Any]:
        return self.cycle_rows(space, use)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency(_Tabulated):
    """Seconds per sample: cycles over the clock of the table."""

    unit: ClassVar[str] = "second"

    @property
    def name(self) -> str:
        return f"latency_{self.throughput.name}"

    def rows(self, space: Space, use: Usage) -> list[Any]:
        return [row / self.throughput.hertz for row in self.cycle_rows(space, use)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Energy(_Tabulated):
    """Joule per sample: seconds times the mean power of the table."""

    unit: ClassVar[str] = "joule"

    @property
    def name(self) -> str:
        return f"energy_{self.throughput.name}"

    def rows(self, space: Space, use: Usage) -> list[Any]:
        per_cycle = self.throughput.watt / self.throughput.hertz
        return [row * per_cycle for row in self.cycle_rows(space, use)]
