"""How sweeps scale: many trials that do nothing, and what a sweep adds to the work of its trials.

    python scripts/benchmark.py sweep [--trials 100 1000] [--cpus 2] [--json FILE]
    python scripts/benchmark.py overhead [--repeats 3] [--cpus 2] [--steps 1.0] [--json FILE]

`sweep`: sweeps of a network of two layers whose phases have no steps, so that all that is left is what mpnas
and Ray do for a trial: placing it, its data and structure, repair, evaluation, checkpoint, record. Measured
are the time per trial, the memory of the driver on the way, the size of the run folder, and how long
`pareto show` takes on the result.

`overhead`: the same eight trials of the digits (two float networks, six searches) bare, one after another in
one process, and as a sweep, in turn; the compilation cache is warmed first. The ratio is of core-seconds:
those that the sweep had, over those of the bare trials. A trial starts when Ray hands it to a worker, and its
first step is over when the rows of its metrics say so; told is the slowest trial of each kind: the first one
of a new worker (a float network), the first search of a worker, which traces its program and reads it from
the cache, and a search in a worker that has done one. `--steps 0.05` has a twentieth of the steps, to see
that it works.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SWEEPS = (100, 1000)
# What a sweep may cost, at most: core-seconds against bare trials, seconds from placing to the first step.
ALLOWED = {"ratio_of_core_seconds": 1.1, "first_step_new_worker": 3.0, "first_step_reused_worker": 0.5}
TABLE: dict[str, Any] = {
    "name": "nothing",
    "model": {"name": "mlp", "features": [64, 8, 10]},
    "data": "digits",
    "space": {"rules": [{"match": "*", "weights": [2, 8], "activations": [8], "granularity": "channel"}]},
    "controllers": ["gumbel"],
    "references": {"uniform": [], "random": False},
    "recipe": {
        "float": {"steps": 0, "weights": {"lr": 1e-3}},
        "search": {"steps": 0, "weights": {"lr": 1e-3}, "arch": {"lr": 0.1}},
        "retrain": {"steps": 0, "weights": {"lr": 1e-3}},
    },
}


def add(commands: Any) -> None:
    """The sub-commands of `benchmark.py`."""
    parser = commands.add_parser("sweep", help="sweeps of many trials that do nothing")
    parser.add_argument("--trials", type=int, nargs="+", default=SWEEPS)
    parser.set_defaults(run=run_scale)
    other = commands.add_parser("overhead", help="what a sweep adds to the work of its trials")
    other.add_argument("--repeats", type=int, default=3)
    other.add_argument("--steps", type=float, default=1.0, help="share of the steps of the digits")
    other.set_defaults(run=run_overhead)
    for one in (parser, other):
        one.add_argument("--cpus", type=int, default=2)
        one.add_argument("--json", type=Path)


def run_scale(arguments: argparse.Namespace) -> int:
    """Measure, print, and end with 1 where growth is not linear or memory not flat."""
    rows = [scale(trials, arguments.cpus) for trials in arguments.trials]
    first, last = rows[0], rows[-1]
    growth = last["seconds_per_trial"] / first["seconds_per_trial"]
    size = last["folder_mb"] / last["trials"] / (first["folder_mb"] / first["trials"])
    flat = last["driver_mb_end"] / last["driver_mb_early"]
    more = last["driver_mb_end"] / first["driver_mb_end"]
    print(f"{last['trials']} against {first['trials']} trials: time per trial {growth:.2f}x, "
          f"run folder per trial {size:.2f}x, driver memory {more:.2f}x; "
          f"at its end against after a tenth of its trials {flat:.2f}x")
    _keep(arguments, "sweep", {"rows": rows, "time_growth": growth, "folder_growth": size,
                               "memory_growth": more, "memory_end_to_early": flat})
    return int(max(growth, size, flat, more) > 1.2)


def run_overhead(arguments: argparse.Namespace) -> int:
    """Measure, print, and end with 1 where a sweep costs more than it is allowed to."""
    rows = overhead(arguments.cpus, arguments.repeats, arguments.steps)
    median = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    print("median: " + _line(median))
    _keep(arguments, "overhead", {"rows": rows, "median": median, "steps": arguments.steps})
    return int(any(median[name] > most for name, most in ALLOWED.items()))


def _keep(arguments: argparse.Namespace, command: str, found: dict[str, Any]) -> None:
    if arguments.json is not None:
        about = {"command": f"python scripts/benchmark.py {command}", "cpus": arguments.cpus,
                 "machine": platform.machine(), "python": platform.python_version()}
        arguments.json.write_text(json.dumps(about | found, indent=1) + "\n")


def _line(row: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value:,.6g}" for name, value in row.items())


def scale(trials: int, cpus: int) -> dict[str, Any]:
    """One sweep of trials that do nothing; what it took."""
    from mpnas.sweep.config import read_experiment
    from mpnas.sweep.plan import plan_of, save_plan

    root = Path(tempfile.mkdtemp(prefix="mpnas-scale-"))
    try:
        table = TABLE | {
            "budgets": [{"weight_bytes": round(0.45 + 0.5 * k / trials, 6)} for k in range(trials - 1)],
            "seeds": [0],
        }
        save_plan(plan_of(table, read_experiment(table, "the benchmark")), root / "run")
        memory = _driven(root / "run", cpus, trials)
        early, end = next(sample for sample in memory if sample[2] >= trials / 10), memory[-1]
        seconds = end[0] - early[0]  # the first tenth starts the workers and compiles
        records = [json.loads(path.read_text()) for path in (root / "run").glob("trials/*/result.json")]
        if [record["status"] for record in records] != ["done"] * trials:
            raise SystemExit(f"a trial failed: {next(r['reason'] for r in records if r['reason'])}")
        began = time.perf_counter()
        shown = subprocess.run(
            [sys.executable, "-c", "from mpnas.cli import main; main()", "pareto", "show", str(root / "run")],
            check=True, capture_output=True, text=True,
        )
        show_seconds = time.perf_counter() - began
        row = {
            "trials": trials, "seconds": round(seconds, 1),
            "seconds_per_trial": round(seconds / max(end[2] - early[2], 1), 3),
            "driver_mb_early": round(early[1], 1), "driver_mb_end": round(end[1], 1),
            "folder_mb": round(_size(root / "run") / 1e6, 2),
            "pareto_show_seconds": round(show_seconds, 2),
            "pareto_show_lines": len(shown.stdout.splitlines()),
        }
        print(_line(row), flush=True)
        return row
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _driven(folder: Path, cpus: int, trials: int) -> list[tuple[float, float, int]]:
    """Seconds, megabytes of the driver, and trials done, once a second from the first result to the last."""
    code = (
        "import sys; from pathlib import Path; from mpnas.sweep.tune.drive import run_pending\n"
        "from mpnas.sweep.tune.resources import Resources; from mpnas.sweep.collect import front_of\n"
        "from mpnas.pareto import save\n"
        "folder = Path(sys.argv[1]); print(run_pending(folder, Resources(cpus=int(sys.argv[2]))))\n"
        "save(front_of(folder), folder / 'front.json')\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, str(folder), str(cpus)], cwd=folder.parent)
    samples: list[tuple[float, float, int]] = []
    while driver.poll() is None:
        done = len(list(folder.glob("trials/*/result.json")))
        megabytes = _resident_mb(driver.pid)
        if done and megabytes and (not samples or samples[-1][2] < trials):
            samples.append((time.monotonic(), megabytes, done))
        time.sleep(1.0)
    if driver.returncode or not samples or samples[-1][2] < trials:
        raise SystemExit(f"the sweep ended with {driver.returncode}; {samples[-1:]} of {trials} trials")
    return samples


def _resident_mb(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    lines = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return next((int(line.split()[1]) / 1024 for line in lines), None)


def _size(folder: Path) -> int:
    files = (os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(file).st_size for file in files)


# Overhead -----------------------------------------------------------------------------------------


def overhead(cpus: int, repeats: int, share: float) -> list[dict[str, float]]:
    """Eight trials of the digits bare and as a sweep, in turn; and what precedes the first step of each."""
    from mpnas.sweep.config import experiment_of, read_experiment
    from mpnas.sweep.plan import plan_of, save_plan

    _, table = experiment_of("digits")
    table |= {
        "controllers": ["gumbel"], "seeds": [0, 1], "float_seeds": [],
        "budgets": [{"weight_bytes": share_of_8_bit} for share_of_8_bit in (0.07, 0.14, 0.25)],
        "references": {"uniform": [], "random": False},
    }
    for stage in ("float", "search", "retrain"):
        phase = table["recipe"][stage]
        phase["steps"] = max(round(share * phase["steps"]), 20)
    plan = plan_of(table, read_experiment(table, "digits"))
    assert len(plan.trials) == 8
    root = Path(tempfile.mkdtemp(prefix="mpnas-overhead-"))
    try:
        names = [f"{kind}{number}" for number in range(repeats) for kind in ("bare", "sweep")]
        for name in ("warm", *names):
            save_plan(plan, root / name)
        _bare_seconds(root / "warm")
        rows = []
        for number in range(repeats):
            bare = _bare_seconds(root / f"bare{number}")
            wall, starts = _timed_sweep(root / f"sweep{number}", cpus)
            inside = sum(
                json.loads(path.read_text())["seconds"]["total"]
                for path in root.glob(f"sweep{number}/trials/*/result.json")
            )
            rows.append({
                "bare_seconds": bare, "seconds_inside_trials": inside, "sweep_seconds": wall,
                "ratio_of_core_seconds": wall * cpus / bare, "ratio_of_wall_to_sum": wall / bare,
                "first_step_new_worker": max(starts[:cpus]),
                "first_step_new_program": max(starts[cpus:2 * cpus]),
                "first_step_reused_worker": max(starts[2 * cpus:]),
            })
            print(_line(rows[-1]), flush=True)
        return rows
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _bare_seconds(folder: Path) -> float:
    """Seconds of all trials of a plan, one after another in a process of their own."""
    code = (
        "import sys, time; from pathlib import Path; from mpnas.sweep.worker import prepare; prepare()\n"
        "from mpnas.sweep.plan import load_plan; from mpnas.sweep.trial import run_trial, bench_of\n"
        "folder = Path(sys.argv[1]); plan = load_plan(folder); bench_of(plan)\n"
        "for trial in plan.trials:\n"
        "    began = time.perf_counter(); run_trial(folder, trial.id)\n"
        "    print(time.perf_counter() - began, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True,
        env=os.environ | {"NPROC": "1"},
    )
    return sum(map(float, done.stdout.split()))


def _timed_sweep(folder: Path, cpus: int) -> tuple[float, list[float]]:
    """Wall seconds of a sweep; per trial, as they started, those from its placing to its first step."""
    from mpnas.sweep.tune import drive
    from mpnas.sweep.tune.resources import Resources

    placed: dict[str, float] = {}
    first: dict[str, float] = {}
    over = threading.Event()

    real_fit = drive.fit

    def timed_fit(*arguments: Any, **options: Any) -> Any:
        from mpnas.sweep.tune import listener  # Ray must not be imported before its session is prepared

        class Timed(listener.Listener):
            def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
                for name in trial.config["trials"]:
                    placed.setdefault(name, time.time())

        listener.Listener = Timed  # type: ignore[misc]
        return real_fit(*arguments, **options)

    def watch() -> None:
        seen: dict[str, float] = {}
        while not over.wait(0.02):
            for path in folder.glob("trials/*/metrics.jsonl"):
                lines = path.read_text().splitlines(keepends=True)
                rows = [json.loads(line) for line in lines if line.endswith("\n")]
                if rows:
                    seen.setdefault(path.parent.name, time.time())
                if len(rows) > 1 and path.parent.name not in first:
                    # The first row is of some steps: back to the end of the first of them.
                    steps = rows[1]["step"] - rows[0]["step"]
                    pace = (rows[1]["seconds"] - rows[0]["seconds"]) / steps
                    first[path.parent.name] = seen[path.parent.name] - pace * (rows[0]["step"] - 1)

    drive.fit = timed_fit
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    began = time.perf_counter()
    outcome = drive.run_pending(folder, Resources(cpus=cpus))
    wall = time.perf_counter() - began
    over.set()
    thread.join()
    if outcome.error or outcome.interrupted:
        raise SystemExit(f"the sweep ended with {outcome}")
    return wall, [first[name] - placed[name] for name in sorted(placed, key=lambda name: placed[name])]
