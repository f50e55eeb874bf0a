"""Measurements of speed and of searches: every comparison in one process, medians and ratios.

    python scripts/benchmark.py search-step [--batch 128] [--repeats 15] [--json FILE]
    python scripts/benchmark.py regret [--seeds 10] [--only gumbel dbp] [--rebuild] [--json FILE]
    python scripts/benchmark.py population [--model resnet8] [--members 1 4 16] [--json FILE]
    python scripts/benchmark.py sweep [--trials 100 1000] [--json FILE]
    python scripts/benchmark.py overhead [--repeats 3] [--json FILE]
    python scripts/benchmark.py deploy RUN --point p003 [--images 10000] [--json FILE]

`search-step` times a plain float training step of ResNet-8 and search steps over the same network:
bits per layer, bits per channel, bits per channel with searched activations; and the peak memory that
the compiler plans for each. Other processes on the machine disturb absolute times; quote the ratios.
`regret` compares what every controller finds with the best of all assignments of a small space (see
`regret.py`), and ends with 1 where one that must find it does not. `population` times search steps of
many members in one program and one after another (see `population.py`). `sweep` runs sweeps of many trials
that do nothing, `overhead` tells what a sweep adds to the work of its trials (see `sweep_scale.py`).
`deploy` holds the files of a point against its network on real images, and times them in onnxruntime (see
`deploy.py`).
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import population
import regret
import sweep_scale
from flax import nnx

from mpnas.control import Gumbel
from mpnas.cost import COSTS, Budget
from mpnas.models import ResNet8
from mpnas.space import Rule
from mpnas.supernet import Supernet, attach
from mpnas.train import Optimizer, Phase, start
from mpnas.train.step import StepSpec, compiled_step, limited

try:
    import deploy
except ImportError:  # the extra `onnx` is not installed
    deploy = None

VARIANTS: dict[str, list[Rule]] = {
    "float": [],
    "weights per layer": [Rule(match="*", weights=(2, 4, 8), granularity="layer")],
    "weights per channel": [Rule(match="*", weights=(2, 4, 8), granularity="channel")],
    "weights per channel, 0 bits too": [Rule(match="*", weights=(0, 2, 4, 8), granularity="channel")],
    "weights per channel + activations": [
        Rule(match="*", weights=(2, 4, 8), granularity="channel", activations=(4, 8))
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    step = commands.add_parser("search-step", help="float and search steps of ResNet-8")
    step.add_argument("--batch", type=int, default=128)
    step.add_argument("--repeats", type=int, default=15)
    step.add_argument("--json", type=Path)
    step.set_defaults(run=search_step)
    regret.add(commands)
    population.add(commands)
    sweep_scale.add(commands)
    if deploy is not None:
        deploy.add(commands)
    arguments = parser.parse_args()
    sys.exit(arguments.run(arguments))


def search_step(arguments: argparse.Namespace) -> None:
    """Median seconds of each variant's step, in turn, and what the compiler says of its memory."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (arguments.batch, 32, 32, 3)).astype(np.float32)
    y = rng.integers(0, 10, arguments.batch).astype(np.int32)
    runs = {name: _prepared(rules, x, y) for name, rules in VARIANTS.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.repeats):
        for name, (advance, _) in runs.items():
            begin = time.perf_counter()
            advance()
            times[name].append(time.perf_counter() - begin)
    base = statistics.median(times["float"])
    rows = []
    print(f"ResNet-8, batch {arguments.batch}, {arguments.repeats} interleaved repeats, "
          f"{platform.machine()}, {jax.device_count()} x {jax.default_backend()}, jax {jax.__version__}")
    print(f"{'step':36} {'median ms':>10} {'ratio':>7} {'peak MB':>9}")
    for name, (_, peak) in runs.items():
        median = statistics.median(times[name])
        rows.append({"step": name, "median_ms": 1e3 * median, "ratio": median / base, "peak_mb": peak / 1e6})
        print(f"{name:36} {1e3 * median:10.1f} {median / base:7.2f} {peak / 1e6:9.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def _prepared(rules: list[Rule], x: Any, y: Any) -> tuple[Callable[[], None], int]:
    """A function that does one step, already compiled, and the peak bytes of the compiled program."""
    model = ResNet8(rngs=nnx.Rngs(0))
    net = attach(model, x, rules, input_low=0.0)
    controller = Gumbel() if rules else None
    phase = _phase(bool(rules))
    limits = Budget({"weight_bytes": 0.4}).absolute(net.space, COSTS) if rules else {}
    spec = StepSpec(
        net=net, optimizers=tuple(phase.optimizers.items()), controller=controller,
        costs=limited(COSTS, limits),
    )
    state = start(net.parts, _arch(controller, net), phase, 0)
    terms = ("progress", "distill", "temperature", "bins", "smoothing", "penalty")
    knobs = dict(zip(terms, map(np.float32, (0.5, 0.0, 1.0, 0.0, 0.0, 1.0)), strict=True))
    knobs |= {f"rate/{name}": np.float32(1e-3) for name in phase.optimizers}
    rest = (x, y, knobs, {}, {name: np.float32(limit) for name, limit in limits.items()}, None)
    step = compiled_step(spec)
    memory = step.lower(state, *rest).compile().memory_analysis()  # type: ignore[attr-defined]
    holder = [state]

    def advance() -> None:
        holder[0], metrics = step(holder[0], *rest)
        jax.block_until_ready(metrics)

    advance()
    return advance, memory.temp_size_in_bytes + memory.argument_size_in_bytes


def _phase(searching: bool) -> Phase:
    trained = Optimizer(lr=1e-3)
    if searching:
        return Phase(steps=1, weights=trained, ranges=trained, arch=trained)
    return Phase(steps=1, weights=trained)


def _arch(controller: Gumbel | None, net: Supernet) -> Any:
    return None if controller is None else controller.init(net.space.choices)


if __name__ == "__main__":
    main()
