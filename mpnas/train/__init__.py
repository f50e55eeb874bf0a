"""Training: phases and recipes, jitted steps, search, retraining and checkpoints."""

from mpnas.train.checkpoint import Checkpoints
from mpnas.train.evaluate import accuracy, module_accuracy, module_outputs, one_hot_gates
from mpnas.train.loop import Hooks, Progress, Teacher, run_phase
from mpnas.train.model import is_model, streams
from mpnas.train.phase import Optimizer, Phase
from mpnas.train.search import (
    FLOAT_PHASE,
    RETRAIN_PHASE,
    SEARCH_PHASE,
    Found,
    calibrate,
    conclude,
    describe_gap,
    fit,
    retrain,
    search,
    start_search,
    teacher,
    with_float_parts,
)
from mpnas.train.state import TrainState, start

__all__ = [
    "FLOAT_PHASE",
    "RETRAIN_PHASE",
    "SEARCH_PHASE",
    "Checkpoints",
    "Found",
    "Hooks",
    "Optimizer",
    "Phase",
    "Progress",
    "Teacher",
    "TrainState",
    "accuracy",
    "calibrate",
    "conclude",
    "describe_gap",
    "fit",
    "is_model",
    "module_accuracy",
    "module_outputs",
    "one_hot_gates",
    "retrain",
    "run_phase",
    "search",
    "start",
    "start_search",
    "streams",
    "teacher",
    "with_float_parts",
]
