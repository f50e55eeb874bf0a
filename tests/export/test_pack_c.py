"""Tests of mpnas/export/c: the C reader gives what the NumPy executor gives, and refuses what is no file."""

import shutil
import struct
import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from lowered_nets import calibrated, random_assignment
from mlperf_tiny import Importer
from packed_graphs import HOSTILE, assert_same, foreign_entries, gated, hostile, resealed, wide
from random_graphs import random_graph

import mpnas.export
from mpnas.cost import WeightBytes, exact_cost
from mpnas.data.cifar10 import decode
from mpnas.errors import PackError
from mpnas.export.container import LENGTH
from mpnas.export.integer import every_tensor
from mpnas.export.lower import lower
from mpnas.export.pack import pack
from mpnas.export.storage import storage_of
from mpnas.export.unpack import unpack
from mpnas.models import DigitsCNN, ResNet8
from mpnas.space import Rule

SOURCES = sorted((Path(mpnas.export.__file__).parent / "c").glob("*.c"))
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")
HARD = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def compiled(folder, *flags):
    program = folder / "mpnas_run"
    subprocess.run(["gcc", *FLAGS, *flags, *map(str, SOURCES), "-lm", "-o", str(program)], check=True)
    return program


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The program as users compile it."""
    return compiled(tmp_path_factory.mktemp("c"))


def ran(program, path, data, x=b"", *words):
    path.write_bytes(data)
    return subprocess.run([str(program), str(path), *words], input=x, capture_output=True, timeout=300)


def assert_agrees(program, path, graph, data, x):
    """What every operation gives is what it gives in NumPy, bit for bit; the outputs, `(len(x), ...)`."""
    result = ran(program, path, data, x.tobytes(), "all")
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.decode().splitlines()]
    assert len(lines) == len(graph.ops) * len(x)
    values = every_tensor(graph, x)
    for k, op in enumerate(graph.ops):
        expected = values[op.output].reshape(len(x), -1)
        given = np.array(lines[k::len(graph.ops)]).astype(expected.dtype)
        np.testing.assert_array_equal(given, expected, op.name)
    return values[graph.output]


def test_c_computes_what_numpy_computes_on_random_graphs(program, tmp_path):
    outputs, count = set(), 0
    for seed in range(120):
        graph = random_graph(seed)
        if any(0 in tensor.shape for tensor in graph.tensors.values()):
            continue
        x = np.random.default_rng(seed).normal(size=(3, *graph.tensors[graph.input].shape)) * 2
        outputs |= {row.tobytes() for row in assert_agrees(
            program, tmp_path / "net", graph, pack(graph).data, x.astype(np.float32)
        )}
        count += 1
    assert count > 110 and len(outputs) > 120


@pytest.mark.parametrize("seed", range(3))
def test_c_looks_up_and_multiplies_numbers_of_30_bits(program, tmp_path, seed):
    graph, x = gated(seed), wide(100)
    outputs = assert_agrees(program, tmp_path / "net", graph, pack(graph).data, x)
    assert len(np.unique(outputs)) > 1000


def test_c_reads_a_file_of_version_1(program, tmp_path):
    graph, x = random_graph(3, smooth=False), np.random.default_rng(3).normal(size=(2, 400))
    data = bytearray(pack(graph).data)
    struct.pack_into("<I", data, 8, 1)
    shape = graph.tensors[graph.input].shape
    x = x[:, :int(np.prod(shape))].reshape(2, *shape).astype(np.float32)
    assert_agrees(program, tmp_path / "net", graph, resealed(bytes(data)), x)


@pytest.mark.parametrize("name", [*HOSTILE, "foreign_entries"])
def test_c_refuses_a_table_or_a_product_that_cannot_be(program, tmp_path, name):
    data = foreign_entries() if name == "foreign_entries" else hostile(name)
    result = ran(program, tmp_path / "net", data, wide(1).tobytes())
    assert result.returncode == 2 and "damaged" in result.stderr.decode()


LOW = Rule(match="*", weights=(0, 1, 2, 3, 4, 8), activations=(2, 4, 8), granularity="channel")
HIGH = Rule(match="*", weights=(0, 4, 5, 7, 8), activations=(8,), granularity="channel")


@pytest.mark.parametrize("make, rule, shape, inputs", [
    (DigitsCNN, LOW, (8, 8, 1), 200),
    pytest.param(ResNet8, HIGH, (32, 32, 3), 12, marks=pytest.mark.slow),
], ids=["digits_cnn", "resnet8"])
def test_c_runs_a_lowered_network_as_long_as_its_cost(program, tmp_path, make, rule, shape, inputs):
    draw = np.random.default_rng(4)
    x = draw.normal(size=(inputs, *shape)).astype(np.float32)
    net, parts = calibrated(make(rngs=nnx.Rngs(0)), jnp.asarray(x[:16]), rule)
    assignment = random_assignment(net, 4)
    graph = lower(net, parts, assignment, x[:1])
    packed = pack(graph, storage_of(net.space, assignment))
    assert packed.weight_bits == 8 * exact_cost(WeightBytes(), net.space, assignment)
    outputs = assert_agrees(program, tmp_path / "net", graph, packed.data, x)
    assert len({row.tobytes() for row in outputs}) > inputs // 2
    assert_same(unpack(packed.data), graph)


def test_c_runs_the_resnet8_of_mlperf_tiny(program, tmp_path, data_folder):
    """A network that nobody here made, with TFLite's rounding, on real images."""
    graph = Importer(data_folder / "mlperf_tiny/resnet8.npz").graph()
    with np.load(data_folder / "cifar10.npz", allow_pickle=False) as archive:
        x = decode(archive["test_images_delta"][:, :20]).astype(np.float32)
    outputs = assert_agrees(program, tmp_path / "net", graph, pack(graph).data, x)
    assert len(set(outputs.argmax(axis=1))) > 5


@pytest.mark.parametrize("change, words", [
    (lambda data: b"\x89PNG\r\n\x1a\n" + data[8:], "no packed network"),
    (lambda data: data[:50], "truncated"),
    (lambda data: data[:-1], "truncated"),
    (lambda data: data[:8] + struct.pack("<I", 3) + data[12:], "newer version"),
    (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "damaged"),
    (lambda data: data[:LENGTH] + b"\xff" + data[LENGTH + 1:], "damaged"),
    (lambda data: resealed(data[:LENGTH] + b"\xff" + data[LENGTH + 1:]), "damaged"),
], ids=["foreign", "header_cut", "cut", "newer", "weights", "graph", "sealed"])
def test_a_file_that_is_none_is_told_in_a_sentence(program, tmp_path, change, words):
    data = change(pack(random_graph(3)).data)
    result = ran(program, tmp_path / "net", data)
    assert result.returncode == 2 and words in result.stderr.decode()
    with pytest.raises(PackError):
        unpack(data)


@pytest.mark.slow
def test_no_file_leads_the_reader_out_of_bounds(tmp_path):
    """500 files changed and sealed again, under the address and undefined-behaviour sanitizers."""
    try:
        program = compiled(tmp_path, *HARD)
    except subprocess.CalledProcessError:
        pytest.skip("gcc has no sanitizers here")
    draw, codes = np.random.default_rng(2), []
    for data in (*map(hostile, HOSTILE), foreign_entries()):
        assert ran(program, tmp_path / "net", data, wide(1).tobytes()).returncode == 2
    files = [pack(random_graph(seed)).data for seed in range(3, 13)]
    x = draw.normal(size=200).astype(np.float32).tobytes()
    for k in range(500):
        data = bytearray(files[k % len(files)])
        for place in draw.integers(LENGTH, len(data), draw.integers(1, 4)):
            data[place] ^= int(draw.integers(1, 256)) if draw.integers(2) else 1 << int(draw.integers(8))
        result = ran(program, tmp_path / "net", resealed(data), x)
        assert result.returncode in (0, 2), result.stderr.decode()
        codes.append(result.returncode)
    assert codes.count(0) > 50 and codes.count(2) > 50
