"""Fronts of accuracy against cost: records in, one checked and canonical file out."""

from mpnas.pareto.document import dumps, load, save
from mpnas.pareto.dominance import nondominated
from mpnas.pareto.front import build
from mpnas.pareto.invariants import violations
from mpnas.pareto.record import Record
from mpnas.pareto.selection import pick

__all__ = ["Record", "build", "dumps", "load", "nondominated", "pick", "save", "violations"]
