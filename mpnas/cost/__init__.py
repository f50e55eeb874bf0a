"""What a network costs: differentiable in the gates, exact on an assignment, repaired to a budget."""

from mpnas.cost.base import Cost, exact_cost, soft_cost
from mpnas.cost.bops import Bops
from mpnas.cost.budget import (
    Budget,
    achievable,
    expected,
    floor_assignment,
    measure,
    penalty,
    refuse_impossible,
    satisfied,
)
from mpnas.cost.macs import Macs
from mpnas.cost.memory import PeakActBytes, WeightBytes
from mpnas.cost.repair import repair
from mpnas.cost.spend import spend

COSTS: tuple[Cost, ...] = (WeightBytes(), Macs(), Bops(), PeakActBytes())

__all__ = [
    "COSTS",
    "Bops",
    "Budget",
    "Cost",
    "Macs",
    "PeakActBytes",
    "WeightBytes",
    "achievable",
    "exact_cost",
    "expected",
    "floor_assignment",
    "measure",
    "penalty",
    "refuse_impossible",
    "repair",
    "satisfied",
    "soft_cost",
    "spend",
]
