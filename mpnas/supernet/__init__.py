"""From a person's network to one that can be searched, and back to one that is smaller."""

from mpnas.supernet.attach import Parts, Supernet, attach
from mpnas.supernet.discretize import discretize
from mpnas.supernet.mixed import Gate, MixedProduct, RangeParam, RangeStat
from mpnas.supernet.reform import adopted, reformed, settled
from mpnas.supernet.trace import trace

__all__ = [
    "Gate",
    "MixedProduct",
    "Parts",
    "RangeParam",
    "RangeStat",
    "Supernet",
    "adopted",
    "attach",
    "discretize",
    "reformed",
    "settled",
    "trace",
]
