"""Population: what a search step of many members costs in one program, against one after another.

A member is a search over bits per channel and of activations, of the digits' network or of ResNet-8, with
seed, limit and batch of its own. `together` is the vmapped step that a population runs, `apart` the step
of a single run called for each member, `looped` the same stack through `lax.map`, for comparison. Steps
alone are timed, in turn in one process; batches are drawn before.

    python scripts/benchmark.py population [--model resnet8] [--members 1 4 16] [--batch 64] [--repeats 15]
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from mpnas.control import Gumbel
from mpnas.cost import COSTS, Budget
from mpnas.models import DigitsCNN, ResNet8
from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.train import Optimizer, Phase, mode_of, start_search
from mpnas.train.population import compiled_members, stacked
from mpnas.train.step import compiled_step, limited, step_of
from mpnas.train.updates import knobs_of, updates_of

MODELS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "digits": (DigitsCNN, (8, 8, 1)), "resnet8": (ResNet8, (32, 32, 3)),
}
RULES = [Rule(match="*", weights=(2, 4, 8), granularity="channel", activations=(4, 8))]
PHASE = Phase(steps=1000, weights=Optimizer(), ranges=Optimizer(), arch=Optimizer())


def add(commands: Any) -> None:
    """The command `population` of the benchmarks."""
    parser = commands.add_parser("population", help="search steps of many members, together and apart")
    parser.add_argument("--model", choices=MODELS, default="digits")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["apart", "together"])
    parser.add_argument("--json", type=Path)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the median milliseconds of a step of one member, and the ratio to running apart."""
    backend = jax.default_backend()
    print(f"{arguments.model}, batch {arguments.batch}, on {jax.devices()[0].device_kind} ({backend}); "
          f"auto runs {mode_of('auto', backend)} here\n")
    print(f"{'members':>7} {'way':10} {'ms per member':>13} {'to apart':>9} {'compiled in s':>14}")
    rows = []
    for count in arguments.members:
        found = _measured(arguments, count)
        base = found.get("apart", next(iter(found.values())))["ms_per_member"]
        for way, row in found.items():
            rows.append({"members": count, "way": way, **row, "ratio": row["ms_per_member"] / base})
            print(f"{count:7} {way:10} {row['ms_per_member']:13.2f} {rows[-1]['ratio']:9.2f} "
                  f"{row['compile_seconds']:14.1f}", flush=True)
    if arguments.json:
        document = {
            "command": "python scripts/benchmark.py population", "model": arguments.model,
            "batch": arguments.batch, "backend": backend, "device": jax.devices()[0].device_kind,
            "jax": jax.__version__, "machine": platform.machine(), "rows": rows,
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _measured(arguments: argparse.Namespace, count: int) -> dict[str, dict[str, float]]:
    """Way -> its numbers, from steps in turn."""
    advance, compiling = {}, {}
    for way in arguments.ways:
        spec, members, knobs = _members(arguments, count)
        begin = time.perf_counter()
        advance[way] = WAYS[way](spec, members, knobs)
        advance[way]()
        compiling[way] = time.perf_counter() - begin
    times: dict[str, list[float]] = {way: [] for way in advance}
    for _ in range(arguments.repeats):
        for way, step in advance.items():
            begin = time.perf_counter()
            step()
            times[way].append(time.perf_counter() - begin)
    return {
        way: {"ms_per_member": 1e3 * statistics.median(seconds) / count, "compile_seconds": compiling[way]}
        for way, seconds in times.items()
    }


def _members(arguments: argparse.Namespace, count: int) -> tuple[Any, list[Any], dict[str, Any]]:
    """What is compiled, the arguments of each member, and the knobs that they share."""
    make, shape = MODELS[arguments.model]
    rng = np.random.default_rng(0)
    x = rng.random((count, arguments.batch, *shape), np.float32)
    y = rng.integers(0, 10, (count, arguments.batch)).astype(np.int32)
    net = attach(make(rngs=nnx.Rngs(0)), x[0], RULES, input_low=0.0)
    members = []
    for number in range(count):
        limits = Budget({"weight_bytes": 0.3 + 0.5 * number / count}).absolute(net.space, COSTS)
        state = start_search(net, net.parts, Gumbel(), PHASE, number, limits)
        traced = {name: np.float32(limit) for name, limit in limits.items()}
        members.append((state, *jax.device_put((x[number], y[number], traced))))
    (update,) = updates_of(net, PHASE, Gumbel(), limited(COSTS, limits), None)
    return update.spec, members, knobs_of(PHASE, 500)


def _apart(spec: Any, members: list[Any], knobs: Any) -> Callable[[], None]:
    """One call for each member, as `run_phase` makes it."""
    step, states = compiled_step(spec), [state for state, *_ in members]

    def advance() -> None:
        told = []
        for k, (_, x, y, limits) in enumerate(members):
            states[k], metrics = step(states[k], x, y, knobs, {}, limits, None, None)
            told.append(metrics)
        jax.block_until_ready(told)

    return advance


def _together(spec: Any, members: list[Any], knobs: Any) -> Callable[[], None]:
    """One call of the vmapped step."""
    return _of_a_stack(compiled_members(spec, False), members, knobs)


def _looped(spec: Any, members: list[Any], knobs: Any) -> Callable[[], None]:
    """One call of a program that loops over the members."""
    step = step_of(spec)

    def looped(state: Any, x: Any, y: Any, knobs: Any, gates: Any, limits: Any, *rest: Any) -> Any:
        return jax.lax.map(
            lambda own: step(own[0], own[1], own[2], knobs, gates, own[3], *rest), (state, x, y, limits)
        )

    return _of_a_stack(jax.jit(looped, donate_argnums=0), members, knobs)


def _of_a_stack(step: Any, members: list[Any], knobs: Any) -> Callable[[], None]:
    state, x, y, limits = stacked(members)
    holder = [state]

    def advance() -> None:
        holder[0], metrics = step(holder[0], x, y, knobs, {}, limits, None, None)
        jax.block_until_ready(metrics)

    return advance


WAYS: dict[str, Callable[[Any, list[Any], Any], Callable[[], None]]] = {
    "apart": _apart, "together": _together, "looped": _looped,
}
