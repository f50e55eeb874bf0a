"""mpnas: fronts of accuracy against cost for Flax networks in low, mixed precision.

The story in a few names: `attach` choices to a network, `search` an assignment within a budget,
`retrain` it, `discretize` it to a smaller network, gather a `front`. The names are imported when they
are first used: reading a front file must not import JAX.
"""

import importlib
from typing import Any

_HOMES = {
    "Assignment": "mpnas.space",
    "BitPlane": "mpnas.control",
    "Budget": "mpnas.cost",
    "DBP": "mpnas.control",
    "Dataset": "mpnas.data",
    "Evolution": "mpnas.control",
    "Gumbel": "mpnas.control",
    "Implied": "mpnas.control",
    "Importance": "mpnas.control",
    "NCE": "mpnas.control",
    "Optimizer": "mpnas.train",
    "Phase": "mpnas.train",
    "Random": "mpnas.control",
    "Rule": "mpnas.space",
    "Sensitivity": "mpnas.control",
    "Softmax": "mpnas.control",
    "Teacher": "mpnas.train",
    "Uniform": "mpnas.control",
    "accuracy": "mpnas.train",
    "attach": "mpnas.supernet",
    "calibrate": "mpnas.train",
    "discretize": "mpnas.supernet",
    "find": "mpnas.train",
    "fit": "mpnas.train",
    "front": "mpnas.sweep.collect",
    "load_own": "mpnas.data",
    "measure": "mpnas.cost",
    "record": "mpnas.sweep.collect",
    "reference": "mpnas.sweep.collect",
    "retrain": "mpnas.train",
    "save": "mpnas.pareto",
    "search": "mpnas.train",
    "teacher": "mpnas.train",
    "trace": "mpnas.supernet",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mpnas' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
