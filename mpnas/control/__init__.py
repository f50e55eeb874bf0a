"""Who produces gates: relaxations by gradient, proposers by question and answer, scorers by one look."""

from mpnas.control.base import (
    Arch,
    Measuring,
    Proposer,
    Relaxation,
    Scorer,
    mean_entropy,
    undecided_share,
)
from mpnas.control.bitplane import BitPlane
from mpnas.control.dbp import DBP
from mpnas.control.evolution import Evolution
from mpnas.control.gumbel import Gumbel
from mpnas.control.implied import Implied
from mpnas.control.importance import Importance
from mpnas.control.optuna import Optuna
from mpnas.control.random import Random, RandomSearch
from mpnas.control.schedule import Exponential, Ramp
from mpnas.control.sensitivity import Sensitivity
from mpnas.control.softmax import Softmax
from mpnas.control.uniform import Uniform
from mpnas.control.width import NCE

RELAXATIONS: dict[str, type] = {
    "gumbel": Gumbel,
    "dbp": DBP,
    "softmax": Softmax,
    "bitplane": BitPlane,
    "implied": Implied,
    "nce": NCE,
}
PROPOSERS: dict[str, type] = {
    "uniform": Uniform,
    "random": Random,
    "random_search": RandomSearch,
    "evolution": Evolution,
    "optuna": Optuna,
    "importance": Importance,
}
SCORERS: dict[str, type] = {"sensitivity": Sensitivity}
REFERENCES = ("uniform", "random")  # proposers that search nothing
SEARCHERS: dict[str, type] = {
    name: kind for name, kind in (RELAXATIONS | PROPOSERS | SCORERS).items() if name not in REFERENCES
}

__all__ = [
    "BitPlane",
    "DBP",
    "NCE",
    "PROPOSERS",
    "REFERENCES",
    "RELAXATIONS",
    "SCORERS",
    "SEARCHERS",
    "Arch",
    "Evolution",
    "Exponential",
    "Gumbel",
    "Implied",
    "Importance",
    "Measuring",
    "Optuna",
    "Proposer",
    "Ramp",
    "Random",
    "RandomSearch",
    "Relaxation",
    "Scorer",
    "Sensitivity",
    "Softmax",
    "Uniform",
    "mean_entropy",
    "undecided_share",
]
