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
from mpnas.control.dbp import DBP
from mpnas.control.evolution import Evolution
from mpnas.control.gumbel import Gumbel
from mpnas.control.importance import Importance
from mpnas.control.optuna import Optuna
from mpnas.control.random import Random, RandomSearch
from mpnas.control.schedule import Exponential, Ramp
from mpnas.control.sensitivity import Sensitivity
from mpnas.control.uniform import Uniform

RELAXATIONS: dict[str, type] = {"gumbel": Gumbel, "dbp": DBP}
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
    "DBP",
    "PROPOSERS",
    "REFERENCES",
    "RELAXATIONS",
    "SCORERS",
    "SEARCHERS",
    "Arch",
    "Evolution",
    "Exponential",
    "Gumbel",
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
    "Uniform",
    "mean_entropy",
    "undecided_share",
]
