"""Who produces gates, and when: relaxations by gradient, proposers by question and answer."""

from mpnas.control.base import Arch, Proposer, Relaxation, mean_entropy, undecided_share
from mpnas.control.bitplane import BitPlane
from mpnas.control.dbp import DBP
from mpnas.control.gumbel import Gumbel
from mpnas.control.implied import Implied
from mpnas.control.random import Random
from mpnas.control.schedule import Exponential, Ramp
from mpnas.control.softmax import Softmax
from mpnas.control.uniform import Uniform
from mpnas.control.width import NCE

RELAXATIONS: dict[str, type] = {
    "gumbel": Gumbel, "dbp": DBP, "softmax": Softmax, "bitplane": BitPlane, "implied": Implied,
    "nce": NCE,
}
PROPOSERS: dict[str, type] = {"uniform": Uniform, "random": Random}

__all__ = [
    "BitPlane",
    "DBP",
    "NCE",
    "PROPOSERS",
    "RELAXATIONS",
    "Arch",
    "Exponential",
    "Gumbel",
    "Implied",
    "Proposer",
    "Ramp",
    "Random",
    "Relaxation",
    "Softmax",
    "Uniform",
    "mean_entropy",
    "undecided_share",
]
