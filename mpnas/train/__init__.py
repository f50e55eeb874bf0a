"""Training: phases and recipes, jitted steps, search, retraining and checkpoints."""

from mpnas.train.checkpoint import Checkpoints
from mpnas.train.evaluate import accuracy, examiner, module_accuracy, module_outputs, one_hot_gates
from mpnas.train.find import find, length_of, method_of, solve
from mpnas.train.loop import Answers, Hooks, Progress, Quantized, Teacher, run_phase
from mpnas.train.model import is_model, streams
from mpnas.train.phase import Optimizer, Phase
from mpnas.train.population import Member, Mode, Population, mode_of, run_members
from mpnas.train.propose import decided_gap, propose
from mpnas.train.recipes import PLAIN, RECIPES, UNTAUGHT, Recipe, recipe_named
from mpnas.train.scores import scores_of
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
    search_members,
    start_search,
    teacher,
    with_float_parts,
)
from mpnas.train.state import TrainState, start
from mpnas.train.statistics import reestimated

__all__ = [
    "FLOAT_PHASE",
    "PLAIN",
    "RECIPES",
    "RETRAIN_PHASE",
    "SEARCH_PHASE",
    "UNTAUGHT",
    "Answers",
    "Checkpoints",
    "Found",
    "Hooks",
    "Member",
    "Mode",
    "Optimizer",
    "Phase",
    "Population",
    "Progress",
    "Quantized",
    "Recipe",
    "Teacher",
    "TrainState",
    "accuracy",
    "calibrate",
    "conclude",
    "decided_gap",
    "describe_gap",
    "examiner",
    "find",
    "fit",
    "is_model",
    "length_of",
    "method_of",
    "mode_of",
    "module_accuracy",
    "module_outputs",
    "one_hot_gates",
    "propose",
    "recipe_named",
    "reestimated",
    "retrain",
    "run_members",
    "run_phase",
    "scores_of",
    "search",
    "search_members",
    "solve",
    "start",
    "start_search",
    "streams",
    "teacher",
    "with_float_parts",
]
