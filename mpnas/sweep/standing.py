"""How a run stands: the front of the searches that are done so far, and how much it beats.

From statuses alone, so that a running sweep can be watched; the front that counts is built from the whole
records when the run is over.
"""

import dataclasses
from collections.abc import Sequence

from mpnas.pareto.dominance import nondominated
from mpnas.pareto.hypervolume import hypervolume
from mpnas.sweep.watch import COST, Status

AXES = ["min", "max"]


@dataclasses.dataclass(frozen=True)
class Standing:
    """The front at one moment.

    Attributes:
      front: `(cost, accuracy)` of each point, cheapest first; accuracy on the selection part.
      hypervolume: Share, in [0, 1], of the box between nothing at the cost of the float network and
        everything for nothing; None while no float network is done.
      cost: Name of the cost.
    """

    front: tuple[tuple[float, float], ...]
    hypervolume: float | None
    cost: str = COST

    def text(self) -> str:
        """The standing on one line; empty without a point."""
        if not self.front:
            return ""
        (low, worst), (high, best) = self.front[0], self.front[-1]
        points = f"{len(self.front)} point{'s' if len(self.front) > 1 else ''}"
        unit = "bytes" if self.cost == COST else self.cost.replace("_", " ")
        span = f"{low:,.0f} to {high:,.0f} {unit} at {100 * worst:.1f} to {100 * best:.1f} %"
        if len(self.front) == 1:
            span = f"{low:,.0f} {unit} at {100 * best:.1f} %"
        volume = "" if self.hypervolume is None else f", hypervolume {100 * self.hypervolume:.2f} %"
        return f"front: {points}, {span}{volume}"


def standing_of(statuses: Sequence[Status]) -> Standing:
    """The standing of a run.

    Args:
      statuses: Of all its trials.
    """
    done = [
        (s.kind, float(s.exact), float(s.accuracy))
        for s in statuses if s.state == "done" and s.exact is not None and s.accuracy is not None
    ]
    spots = [(cost, accuracy) for kind, cost, accuracy in done if kind == "search"]
    floats = [cost for kind, cost, _ in done if kind == "float"]
    kept = [spot for spot, on in zip(spots, nondominated(spots, AXES), strict=True) if on] if spots else []
    volume = None
    if floats and max(floats) > 0:
        corner = [max(floats), 0.0]
        volume = hypervolume(spots, AXES, corner) / corner[0]
    return Standing(tuple(sorted(set(kept))), volume, statuses[0].cost if statuses else COST)
