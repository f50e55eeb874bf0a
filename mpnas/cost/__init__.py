"""What a network costs: differentiable in the gates, exact on an assignment, repaired to a budget."""

from typing import Any

from mpnas.cost.base import Cost, exact_cost, soft_cost
from mpnas.cost.bops import Bops, BopsBaskin
from mpnas.cost.budget import (
    Budget,
    achievable,
    expected,
    floor_assignment,
    measure,
    measure_priced,
    refuse_impossible,
    satisfied,
)
from mpnas.cost.energy import Energy45nm
from mpnas.cost.macs import Macs
from mpnas.cost.memory import PeakActBytes, WeightBytes
from mpnas.cost.penalty import (
    PENALTIES,
    PID,
    AugmentedLagrangian,
    BandedLog,
    Linear,
    LogHinge,
    Penalty,
    SignedGap,
    SquaredHinge,
    penalty_of,
)
from mpnas.cost.repair import repair
from mpnas.cost.roofline import Roofline
from mpnas.cost.spend import spend
from mpnas.cost.table import Cycles, Energy, Latency, Throughput

COSTS: tuple[Cost, ...] = (WeightBytes(), Macs(), Bops(), PeakActBytes())
"""The costs of every experiment."""

KNOWN_COSTS: dict[str, type[Any]] = {
    "bops_baskin": BopsBaskin,
    "cycles_mpic": Cycles,
    "latency_mpic": Latency,
    "energy_mpic": Energy,
    "energy_45nm": Energy45nm,
    "roofline": Roofline,
}
"""The costs that an experiment may add by name."""

__all__ = [
    "COSTS",
    "KNOWN_COSTS",
    "PENALTIES",
    "PID",
    "AugmentedLagrangian",
    "BandedLog",
    "Bops",
    "BopsBaskin",
    "Budget",
    "Cost",
    "Cycles",
    "Energy",
    "Energy45nm",
    "Latency",
    "Linear",
    "LogHinge",
    "Macs",
    "PeakActBytes",
    "Penalty",
    "Roofline",
    "SignedGap",
    "SquaredHinge",
    "Throughput",
    "WeightBytes",
    "achievable",
    "exact_cost",
    "expected",
    "floor_assignment",
    "measure",
    "measure_priced",
    "penalty_of",
    "refuse_impossible",
    "repair",
    "satisfied",
    "soft_cost",
    "spend",
]
