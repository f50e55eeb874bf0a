"""Tests of mpnas/export through mpnas/sweep/formats.py: what every exporter promises, on one small network.

A new exporter is one new row in `MEMBERS`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lowered_nets import POWERS, calibrated, dense_residual_net, random_assignment, rows

from mpnas.errors import MpnasError, UnsupportedOperationError
from mpnas.export.integer import execute
from mpnas.export.parity import parity_of
from mpnas.export.stablehlo import read_stablehlo
from mpnas.export.unpack import unpack
from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.sweep.formats import FORMATS, Csv, Onnx, Packed, Qwix, Shipped, StableHlo
from mpnas.sweep.outputs import executed, simulated
from mpnas.train import one_hot_gates

ROWS = 200
TINY = 1e-5  # of outputs that spread over a unit


@dataclasses.dataclass(frozen=True)
class Member:
    """An exporter and what it declares.

    Attributes:
      format: What writes.
      read: File -> function from inputs to outputs; None where nothing here can run it.
      apart: Largest difference of an output, with steps that are powers of two: simulation is exact then.
      mismatch: Largest share of other answers.
      floats: Whether it holds parts in float.
    """

    format: Any
    read: Callable[[Path], Any] | None = None
    apart: float = 0.0
    mismatch: float = 0.0
    floats: bool = False


def packed(path):
    return executed(unpack(path.read_bytes()))


def interpreted(path):
    graph = unpack(path.read_bytes())
    return lambda x: execute(graph, x)


def onnx(path):
    from mpnas.export.onnx_qdq import run_onnx

    return lambda x: run_onnx(path, x)


MEMBERS = {
    "packed": Member(Packed(), packed),
    "packed_interpreted": Member(Packed(), interpreted),
    # Rounds otherwise than simulation, which ties to even; steps that are powers of two have many ties.
    "packed_double_round": Member(Packed(rounding="double_round"), packed, apart=4.0, mismatch=0.1),
    "onnx": Member(Onnx(), onnx, apart=TINY),
    "onnx_vnni": Member(Onnx(vnni=True), onnx, apart=TINY),
    "onnx_packed": Member(Onnx(storage="packed"), onnx, apart=TINY),
    "stablehlo": Member(StableHlo(), read_stablehlo, apart=TINY, floats=True),
    "csv": Member(Csv(), floats=True),
    "qwix": Member(Qwix(), floats=True),
}
FORMATTED = list(FORMATS)  # one row of each: lowering takes most of the time
RUN = [name for name, member in MEMBERS.items() if member.read]


@pytest.fixture(scope="module")
def network():
    """A residual network with a random assignment, unsorted per channel, some channels left out."""
    x = rows(16)
    net, parts = calibrated(dense_residual_net(), x, POWERS)
    return Shipped(net, parts, random_assignment(net, 1), x)


@pytest.fixture(scope="module")
def expected(network):
    """Answers of the fake-quantised network: not constant, where a lost order of channels would hide."""
    run = simulated(network.net, network.parts, one_hot_gates(network.net, network.assignment))
    found = run(rows(ROWS))
    assert np.std(found) > 0.1 and len(np.unique(found.argmax(axis=1))) > 1
    return found


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """Member -> its file, written once."""
    made = {}

    def write(member):
        if member not in made:
            made[member] = tmp_path_factory.mktemp(member) / "net"
            MEMBERS[member].format.write(network, made[member])
            assert list(made[member].parent.iterdir()) == [made[member]]
        return made[member]

    return write


def test_every_format_has_a_row():
    assert {name: MEMBERS[name].format.name for name in FORMATTED} == {name: name for name in FORMATTED}


@pytest.mark.parametrize("member", FORMATTED)
def test_it_writes_one_file_and_the_same_bytes_again(member, files, network, tmp_path):
    data = files(member).read_bytes()
    assert data
    assert str(Path(__file__).parents[2]).encode() not in data, "a folder of the machine that wrote it"
    MEMBERS[member].format.write(network, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data


@pytest.mark.parametrize("member", RUN)
def test_it_computes_what_the_network_computes_within_what_it_declares(member, files, expected):
    found = parity_of(expected, MEMBERS[member].read(files(member))(rows(ROWS)))
    assert found.max_abs_diff <= MEMBERS[member].apart
    assert found.mismatch_rate <= MEMBERS[member].mismatch


@pytest.mark.parametrize("member", RUN)
def test_a_file_cut_short_is_an_error_in_words(member, files, tmp_path):
    data = files(member).read_bytes()
    for part in (0.0, 0.3, 0.95):
        (tmp_path / "cut").write_bytes(data[: int(part * len(data))])
        with pytest.raises(MpnasError, match=r"\w+ \w+ .*\."):
            MEMBERS[member].read(tmp_path / "cut")(rows(2))


@pytest.mark.parametrize("member", FORMATTED)
def test_what_it_cannot_hold_is_named_and_leaves_nothing_behind(member, tmp_path):
    rules = [Rule(match="*", weights=(4,), activations=(8,)), Rule(match="inner", weights=(), activations=())]
    net = attach(dense_residual_net(), rows(2), rules)
    one = Shipped(net, net.parts, net.space.uniform(4), rows(2))
    assert one.float_ops == ("inner (weights and input in float)",)
    if MEMBERS[member].floats:
        MEMBERS[member].format.write(one, tmp_path / "net")
        assert (tmp_path / "net").stat().st_size > 0
        return
    with pytest.raises(UnsupportedOperationError, match="inner"):
        MEMBERS[member].format.write(one, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
