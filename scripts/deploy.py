"""Deploy: what the files of one point compute on real images, and how fast, against the network itself.

    python scripts/benchmark.py deploy RUN --point p003 [--images 10000] [--json FILE]

Each file is held against the discretised network on the first images of the test part: accuracy, share of
inputs with another answer, largest difference of an output. The C reader is held against the executor, bit
for bit, on fewer images. Then onnxruntime runs each ONNX file, and the same network in float32 (its
quantised kernels, no rounding of activations), with one thread, in turn in one process.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

import mpnas.export
from mpnas.cost import WeightBytes, exact_cost
from mpnas.export.compiled import compiled
from mpnas.export.graph import IntegerGraph
from mpnas.export.integer import execute
from mpnas.export.lower import lower
from mpnas.export.onnx_qdq import onnx_model, write_onnx
from mpnas.export.pack import pack
from mpnas.export.parity import parity_of
from mpnas.export.storage import storage_of
from mpnas.export.unpack import unpack
from mpnas.pareto.document import load
from mpnas.sweep.point import Rebuilt, rebuilt_point
from mpnas.train import one_hot_gates

Run = Callable[[np.ndarray], np.ndarray]
ONNX_FILES: Mapping[str, dict[str, Any]] = {
    "onnx int8": {}, "onnx int8, vnni": {"vnni": True}, "onnx int8, all fused": {"slack": 0.5},
    "onnx packed": {"storage": "packed"},
}
PROMISED = ("packed", "onnx int8", "onnx int8, vnni", "onnx packed")
MOST_OTHERS = 1e-3  # share of inputs with another answer than the network's
BATCH = 500


def add(commands: Any) -> None:
    """The command `deploy` of the benchmarks."""
    parser = commands.add_parser("deploy", help="files of a point: agreement, size and speed")
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder with a front.json")
    parser.add_argument("--point", required=True, metavar="ID")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--c-images", type=int, default=200)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="batch sizes of the timings")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print both tables; 1 if the C reader differs from the executor, or a file has other answers."""
    run_folder = arguments.folder.resolve()
    found = rebuilt_point(run_folder, load(run_folder / "front.json"), arguments.point)
    data = found.bench.data
    graph = lower(found.net, found.parts, found.assignment, data.example())
    x, y, valid = next(data.batches_of("test", min(arguments.images, data.rows("test"))))
    x, y = np.asarray(x)[:valid], np.asarray(y)[:valid]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = _written(found, graph, folder)
        agreement = _agreement(found, files, x, y)
        same = _c_agrees(files["packed"], folder, x[: arguments.c_images])
        speed = _speeds(found, graph, files, x, arguments.batches, arguments.repeats)
    if arguments.json:
        document = {
            "command": f"python scripts/benchmark.py deploy RUN --point {arguments.point}",
            "point": found.point["label"], "images": len(x), "c_images": arguments.c_images,
            "c_equals_executor": same, "files": agreement, "speed": speed,
            "machine": platform.machine(), "onnxruntime": onnxruntime.__version__,
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    told = [row for row in agreement if row["file"] in PROMISED]
    return int(same is False or any(row["mismatch_rate"] > MOST_OTHERS for row in told))


def _written(found: Rebuilt, graph: IntegerGraph, folder: Path) -> dict[str, Path]:
    """Every file of the point."""
    files = {"packed": folder / "net.mpnas"}
    files["packed"].write_bytes(pack(graph, storage_of(found.net.space, found.assignment)).data)
    for k, (name, options) in enumerate(ONNX_FILES.items()):
        files[name] = folder / f"net{k}.onnx"
        write_onnx(graph, files[name], **options)
    return files


# Agreement --------------------------------------------------------------------------------------


def _agreement(
    found: Rebuilt, files: Mapping[str, Path], x: np.ndarray, y: np.ndarray
) -> list[dict[str, Any]]:
    gates = one_hot_gates(found.net, found.assignment)
    expected = _in_batches(
        lambda part: found.net.apply(found.parts, gates, jnp.asarray(part), train=False)[0], x
    )
    runs: dict[str, Run] = {"packed": compiled(unpack(files["packed"].read_bytes()))}
    runs |= {name: _session_run(files[name].read_bytes(), threads=2) for name in ONNX_FILES}
    weights = exact_cost(WeightBytes(), found.net.space, found.assignment)
    print(f"{found.point['label']}, {len(x):,} images, {weights:,g} bytes of weights as counted; "
          f"the network: {100 * np.mean(expected.argmax(-1) == y):.2f} %\n")
    print(f"{'file':22} {'bytes':>9} {'accuracy':>9} {'other answers':>14} {'other outputs':>14} "
          f"{'largest':>9}")
    rows = []
    for name, executed in runs.items():
        outputs = _in_batches(executed, x)
        parity = parity_of(expected, outputs, y)
        row = {
            "file": name, "bytes": files[name].stat().st_size,
            "accuracy": float(np.mean(outputs.argmax(-1) == y)), **parity.to_json(),
            "differing_outputs": float(np.mean(~_near(expected, outputs))),
        }
        rows.append(row)
        print(f"{name:22} {row['bytes']:9,} {100 * row['accuracy']:8.2f}% "
              f"{100 * parity.mismatch_rate:13.3f}% {100 * row['differing_outputs']:13.2f}% "
              f"{parity.max_abs_diff:9.3g}", flush=True)
    return rows


def _near(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Inputs whose outputs are those of the network up to the rounding of float32."""
    return np.abs(found - expected).max(axis=1) <= 1e-5 * np.abs(expected).max()


def _in_batches(run: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(run(x[at: at + BATCH])) for at in range(0, len(x), BATCH)])


def _c_agrees(packed: Path, folder: Path, x: np.ndarray) -> bool | None:
    """Whether the C reader prints the executor's outputs, every bit; None without a compiler."""
    if shutil.which("gcc") is None or not len(x):
        return None
    sources = sorted((Path(mpnas.export.__file__).parent / "c").glob("*.c"))
    flags = ["-std=c99", "-O2", "-Wall", "-Werror"]
    subprocess.run(["gcc", *flags, *map(str, sources), "-lm", "-o", str(folder / "run")], check=True)
    begin = time.perf_counter()
    printed = subprocess.run(
        [str(folder / "run"), str(packed)], input=x.tobytes(), capture_output=True, check=True
    ).stdout
    seconds = time.perf_counter() - begin
    found = np.array([line.split() for line in printed.decode().splitlines()]).astype(np.float32)
    same = bool(np.array_equal(found, execute(unpack(packed.read_bytes()), x)))
    print(f"\nC reader, {len(x)} images: {'equal to' if same else 'DIFFERENT from'} the NumPy executor in "
          f"every bit ({1e3 * seconds / len(x):.1f} ms an image, -O2)")
    return same


# Speed ------------------------------------------------------------------------------------------


def _speeds(
    found: Rebuilt, graph: IntegerGraph, files: Mapping[str, Path], x: np.ndarray, batches: list[int],
    repeats: int,
) -> list[dict[str, Any]]:
    uniform = _uniform(found)
    models = {"float, all channels": _in_float(uniform).SerializeToString()}
    for name, options in ONNX_FILES.items():
        models[f"{name}, uniform 8 bits"] = onnx_model(uniform, **options).SerializeToString()
    models["float, its channels"] = _in_float(graph).SerializeToString()
    models |= {name: files[name].read_bytes() for name in ONNX_FILES}
    runs = {name: _session_run(model, threads=1) for name, model in models.items()}
    rows = []
    for batch in batches:
        part = np.ascontiguousarray(x[:batch])
        times: dict[str, list[float]] = {name: [] for name in runs}
        for repeat in range(repeats + 3):
            for name, executed in runs.items():
                begin = time.perf_counter()
                executed(part)
                if repeat >= 3:
                    times[name].append(time.perf_counter() - begin)
        base = statistics.median(times["float, all channels"])
        print(f"\nonnxruntime {onnxruntime.__version__}, one thread, batch {batch}, {repeats} interleaved "
              f"repeats\n{'model':34} {'ms':>8} {'ratio':>6}")
        for name, seconds in times.items():
            median = statistics.median(seconds)
            rows.append({"model": name, "batch": batch, "median_ms": 1e3 * median, "ratio": median / base})
            print(f"{name:34} {1e3 * median:8.3f} {median / base:6.2f}")
    return rows


def _uniform(found: Rebuilt) -> IntegerGraph:
    """The network with 8 bits everywhere and all of its channels, as it was trained for the point."""
    return lower(found.net, found.parts, found.net.space.uniform(8), found.bench.data.example())


def _session_run(model: bytes, *, threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return lambda x: session.run(None, {source.name: x})[0]


def _in_float(graph: IntegerGraph) -> onnx.ModelProto:
    """The network in float32: kernels as they are quantised, activations clipped but not rounded."""
    model = onnx_model(graph, storage="packed")
    held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    grids: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, values: Any) -> str:
        held[name] = np.asarray(values, np.float32)
        return name

    def clip(node: onnx.NodeProto, low: Any, high: Any) -> None:
        scale, zero = grids[node.output[0]]
        ends = [constant(f"{node.output[0]}/{word}", (float(end) - float(zero)) * float(scale))
                for word, end in (("least", low), ("most", high))]
        nodes.append(helper.make_node("Clip", [node.input[0], *ends], list(node.output)))

    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (held[name] for name in node.input[1:])
            grids[node.output[0]] = scale, zero
            clip(node, np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max)
        elif node.op_type == "Clip" and node.input[0] in grids:
            grids[node.output[0]] = grids[node.input[0]]
            clip(node, held[node.input[1]], held[node.input[2]])
        elif node.op_type == "DequantizeLinear" and node.input[0] in held:
            codes, scale, zero = (held[name].astype(np.float32) for name in node.input)
            column = (-1, *[1] * (codes.ndim - 1)) if scale.size > 1 else ()
            constant(node.output[0], (codes - zero.reshape(column)) * scale.reshape(column))
        elif node.op_type == "DequantizeLinear":
            nodes.append(helper.make_node("Identity", [node.input[0]], list(node.output)))
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(held[name], name) for name in sorted(used & held.keys())]
    made = helper.make_graph(nodes, "float", model.graph.input, model.graph.output, constants)
    made = helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(made)
    return made
