"""What all trials of a plan share in one process: data, structures, compiled steps."""

import dataclasses
import functools
import json
from pathlib import Path

from mpnas.cost import Cost
from mpnas.data import Dataset
from mpnas.supernet import Supernet, attach
from mpnas.sweep.config import Experiment, read_experiment, rules_of
from mpnas.sweep.costs import check_costs, costs_of
from mpnas.sweep.named import data_of, model_of, refuse_outputs
from mpnas.sweep.plan import Plan


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """What all trials of a plan share in one process: data, structures, compiled steps.

    Attributes:
      experiment: What is run.
      data: Its data.
      plain: The float network without choices, with the weights of seed 0.
      net: The attached network.
      costs: What is counted, and can be limited.
    """

    experiment: Experiment
    data: Dataset
    plain: Supernet
    net: Supernet
    costs: tuple[Cost, ...]


def bench_of(plan: Plan) -> Bench:
    """The bench of a plan, made once per process.

    Raises:
      MpnasError: the model, the data or the space is not what it should be.
    """
    return _bench(plan.digest, json.dumps(plan.table, sort_keys=True), plan.data_dir)


@functools.lru_cache(maxsize=2)
def _bench(digest: str, table: str, data_dir: str | None) -> Bench:
    experiment = read_experiment(json.loads(table), "the plan")
    data = data_of(experiment, Path(data_dir) if data_dir else None)
    model = model_of(experiment, 0)
    net = attach(model, data.example(), rules_of(experiment), input_low=data.input_low)
    plain = attach(model, data.example(), [])
    refuse_outputs(plain, data)
    costs = costs_of(experiment)
    check_costs(costs, net.space)
    return Bench(experiment, data, plain, net, costs)
