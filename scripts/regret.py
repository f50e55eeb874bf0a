"""Regret: how far every controller's assignment is from the best one, where every assignment is known.

`experiments/regret` has a network of four layers on the digits whose space has 16,875 assignments. One
set of weights serves all of them: they are trained under a new random assignment at each step. With these
weights frozen every assignment was measured once (`table.npz`, with the weights) by its loss, as
accuracies tie. Every controller then searches under one budget with the same frozen weights, and sees
the same rows that the table was measured on, those of the training part: on the 360 rows of the selection
part good assignments differ by less than the error of the sample, and what is compared is the search.

    regret = (its loss - smallest loss within the budget) / (largest - smallest loss of the table).

Beside it stands random search with as many evaluations: assignments asked about; where gradients are
taken, the rows that were seen, a backward pass counting as two forward passes, over the rows of one
evaluation.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpnas.control import SEARCHERS, Arch, Gumbel, Measuring, RandomSearch
from mpnas.control.ladder import Key, key_of
from mpnas.cost import COSTS, Budget, expected, satisfied
from mpnas.data import Dataset
from mpnas.errors import MpnasError
from mpnas.space import Assignment, Space
from mpnas.supernet import Parts, Supernet, attach
from mpnas.sweep.config import Experiment, controller_of, experiment_of, rules_of
from mpnas.sweep.named import data_of, model_of
from mpnas.train import Optimizer, Phase, calibrate, examiner, find, length_of, method_of, run_phase, start
from mpnas.train.checkpoint import arrays_of, filled
from mpnas.train.objective import cross_entropy
from mpnas.train.step import limited

HOME = Path(__file__).resolve().parents[1] / "experiments" / "regret"
SHARED_PHASE = Phase(
    steps=3000, batch=128, weights=Optimizer(name="adamw", lr=3e-3, weight_decay=1e-2, warmup=0.05),
    ranges=Optimizer(lr=1e-3),
)
STRICT = ("gumbel", "dbp", "bitplane", "sensitivity")  # held to the bar
BAR, ALLOWED = 0.01, 1  # of the table's range; seeds of each controller that may be above
TOGETHER = 125  # assignments in one call of the compiled program
CHECKED = 20  # entries of the table that are measured again


@dataclasses.dataclass(frozen=True)
class Bench:
    """A network, its shared weights, and the loss of every assignment."""

    experiment: Experiment
    data: Dataset
    net: Supernet
    parts: Parts
    losses: Mapping[Key, float]


def add(commands: Any) -> None:
    """The command `regret` of the benchmarks."""
    parser = commands.add_parser("regret", help="distance of every controller from the best assignment")
    parser.add_argument("--seeds", type=int, help="how many of the experiment's seeds")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these controllers instead of all")
    parser.add_argument("--rebuild", action="store_true", help="train the weights and measure the table anew")
    parser.add_argument("--json", type=Path)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search with every controller and seed, print the table; 1 if a strict one is above the bar."""
    began = time.time()
    bench = _bench(arguments.rebuild)
    (asked,) = bench.experiment.budgets
    limits = Budget(asked).absolute(bench.net.space, COSTS)
    costs = _costs(bench.net.space, limits)
    within = [loss for key, loss in bench.losses.items() if satisfied(costs[key], limits)]
    span = max(bench.losses.values()) - min(bench.losses.values())
    seeds = bench.experiment.seeds[: arguments.seeds]
    print(f"{len(bench.losses):,} assignments, {len(within):,} within {asked}; losses from "
          f"{min(bench.losses.values()):.4f} to {max(bench.losses.values()):.4f}, the best within "
          f"{min(within):.4f}; {len(seeds)} seeds\n", flush=True)
    print(f"{'controller':14} {'kind':10} {'evaluations':>11} {'median %':>9} {'worst %':>8} {'> 1 %':>6}"
          f" | {'random: median %':>16} {'worst %':>8} {'> 1 %':>6} {'seconds':>8}")
    regret = functools.partial(_regret, min(within), span)
    rows = []
    for name, controller in _controllers(bench.experiment).items():
        if arguments.only and name not in arguments.only:
            continue
        start_time = time.time()
        found = [regret(_searched(bench, controller, seed)) for seed in seeds]
        seconds = (time.time() - start_time) / len(seeds)
        count = _evaluations(bench, controller)
        draws = [regret(_random_best(bench, costs, limits, count, seed)) for seed in seeds]
        rows.append({
            "controller": name, "kind": method_of(controller), "evaluations": count, "regret": found,
            "random_regret": draws, "seconds": seconds,
        })
        print(f"{name:14} {method_of(controller):10} {count:11} {_numbers(found)} | {'':7} {_numbers(draws)}"
              f" {seconds:8.1f}", flush=True)
    late = [r["controller"] for r in rows if r["controller"] in STRICT and _above(r["regret"]) > ALLOWED]
    verdict = f"Above the bar: {', '.join(late)}." if late else "All that must be are within the bar."
    print(f"\n{time.time() - began:.0f} s. {verdict}")
    if arguments.json:
        document = {
            "command": "python scripts/benchmark.py regret", "assignments": len(bench.losses),
            "within_budget": len(within), "budget": dict(asked), "best_loss": min(within), "range": span,
            "jax": jax.__version__, "machine": platform.machine(), "rows": rows,
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(bool(late))


def every(space: Space) -> Iterator[Assignment]:
    """All assignments of a space whose sites have one decision each, in the order of the table."""
    for picks in itertools.product(*(range(len(c.bits)) for c in space.choices.values())):
        yield space.from_indices({s: [k] for s, k in zip(space.choices, picks, strict=True)})


# Searching ----------------------------------------------------------------------------------------


def _controllers(experiment: Experiment) -> dict[str, Any]:
    """Every controller that searches, with the experiment's options where it has some."""
    chosen = dict(controller_of(spec) for spec in experiment.controllers)
    made = {}
    for name in SEARCHERS:
        try:
            made[name] = chosen[name] if name in chosen else controller_of(name)[1]
        except MpnasError as error:
            print(f"{name} is left out: {error}")
    return made


def _searched(bench: Bench, controller: Any, seed: int) -> float:
    """The table's loss of what a controller finds with frozen weights."""
    found = find(
        bench.net, bench.data, controller=controller, budget=Budget(bench.experiment.budgets[0]),
        parts=bench.parts, phase=_phase(bench, controller), seed=seed,
    )
    return bench.losses[key_of(found.assignment)]


def _phase(bench: Bench, controller: Any = None) -> Phase:
    """The search's phase, weights and ranges frozen; only planes, which stand for weights, are trained."""
    assert bench.experiment.recipe.search is not None
    planes = Optimizer(lr=1e-2) if getattr(controller, "operand", "") == "planes" else None
    return dataclasses.replace(bench.experiment.recipe.search, weights=None, ranges=planes, augment=False)


def _random_best(bench: Bench, costs: Any, limits: Any, count: int, seed: int) -> float:
    """The smallest loss among as many random assignments within the budget, answered by the table."""
    search, space = RandomSearch(), bench.net.space
    rng = np.random.default_rng([1, seed])
    drawn = search.ask(search.init(space), space, rng, count, lambda a: costs[key_of(a)], limits)
    return min(bench.losses[key_of(assignment)] for assignment in drawn)


def _evaluations(bench: Bench, controller: Any) -> int:
    """How many evaluations of an assignment a search is worth."""
    rows, phase = bench.data.rows("select"), _phase(bench)
    if method_of(controller) == "relaxation":
        return round(3 * phase.steps * phase.batch / rows)
    if method_of(controller) == "scorer" and isinstance(controller, Measuring):
        return round(3 * controller.batches * controller.batch / rows)
    return length_of(controller, None)


def _regret(best: float, span: float, loss: float) -> float:
    return (loss - best) / span


def _above(regrets: Any) -> int:
    return sum(regret > BAR for regret in regrets)


def _numbers(regrets: list[float]) -> str:
    return f"{100 * np.median(regrets):9.3f} {100 * max(regrets):8.3f} {_above(regrets):6}"


# The table ----------------------------------------------------------------------------------------


def _bench(rebuild: bool) -> Bench:
    experiment, _ = experiment_of(str(HOME / "config.toml"))
    data = data_of(experiment, None)
    data = dataclasses.replace(data, select=data.train)
    net = attach(model_of(experiment, 0), data.example(), rules_of(experiment), input_low=data.input_low)
    path = HOME / "table.npz"
    if rebuild:
        parts = _shared(net, data)
        np.savez_compressed(path, losses=_losses(net, parts, data), **arrays_of(parts))
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    losses = arrays.pop("losses").astype(float)
    bench = Bench(experiment, data, net, filled(net.parts, arrays, path),
                  {key_of(a): float(loss) for a, loss in zip(every(net.space), losses, strict=True)})
    _check(bench)
    return bench


def _every_gates(space: Space) -> dict[str, Any]:
    """Site -> `(assignments, 1, candidates)` gates of all assignments, in the order of the table."""
    picks = np.array(list(itertools.product(*(range(len(c.bits)) for c in space.choices.values()))))
    return {
        site: np.eye(len(choice.bits), dtype=np.float32)[picks[:, [k]]]
        for k, (site, choice) in enumerate(space.choices.items())
    }


def _losses(net: Supernet, parts: Parts, data: Dataset) -> np.ndarray:
    """Mean loss of every assignment, in nats, `(assignments,)` float32."""
    (x, y, _), = data.batches_of("train", data.rows("train"))

    def loss(gates: Any) -> Any:
        return cross_entropy(net.apply(parts, gates, x, train=False)[0], y, 0.0)

    gates, many = _every_gates(net.space), jax.jit(jax.vmap(loss))
    count = len(next(iter(gates.values())))
    blocks = [slice(start, start + TOGETHER) for start in range(0, count, TOGETHER)]
    return np.concatenate([np.asarray(many({s: g[b] for s, g in gates.items()})) for b in blocks])


def _costs(space: Space, limits: Mapping[str, float]) -> dict[Key, dict[str, float]]:
    """Every limited cost of every assignment; whole numbers of bits below 2^24 are exact in float32."""
    counted = limited(COSTS, limits)
    found = jax.jit(jax.vmap(lambda gates: expected(counted, space, gates)))(_every_gates(space))
    columns = {name: np.asarray(values, float).tolist() for name, values in found.items()}
    return {key_of(a): {n: values[k] for n, values in columns.items()} for k, a in enumerate(every(space))}


def _check(bench: Bench) -> None:
    """Raise unless the table is that of the weights beside it: some entries are measured again."""
    examine = examiner(bench.net, bench.parts, bench.data, "select")
    for key in np.random.default_rng(0).choice(len(bench.losses), CHECKED, replace=False):
        assignment = next(itertools.islice(every(bench.net.space), int(key), None))
        found, said = examine(assignment)["loss"], bench.losses[key_of(assignment)]
        if abs(found - said) > 1e-3 * (1 + said):
            raise SystemExit(f"table.npz says {said:.5f} for assignment {key}, it is {found:.5f}: --rebuild.")


@dataclasses.dataclass(frozen=True)
class _Anything(Gumbel):
    """Another random assignment at every step, whatever the logits: trains weights that serve all."""

    def gates(self, arch: Arch, choices: Any, *, progress: Any, key: Any) -> dict[str, Any]:
        return {
            site: jax.nn.one_hot(
                jax.random.randint(jax.random.fold_in(key, number), (choice.decisions,), 0, len(choice.bits)),
                len(choice.bits), dtype=jnp.float32,
            )
            for number, (site, choice) in enumerate(sorted(choices.items()))
        }


def _shared(net: Supernet, data: Dataset) -> Parts:
    """Weights and ranges trained under random assignments."""
    parts, controller = calibrate(net, net.parts, data), _Anything()
    state = start(parts, controller.init(net.space.choices), SHARED_PHASE, 0)
    return run_phase("shared", net, state, data, SHARED_PHASE, seed=0, controller=controller).parts
