"""Tests of mpnas/cli/export.py and mpnas/sweep/exported.py."""

import json

import numpy as np
import pytest

from mpnas.export.integer import execute
from mpnas.export.unpack import unpack
from mpnas.sweep import exported
from mpnas.sweep.point import rebuilt_point
from mpnas.train import one_hot_gates


def test_a_point_becomes_a_packed_file_as_long_as_the_front_says(mpnas, shared_run, tmp_path):
    front = json.loads((shared_run / "front.json").read_text())
    result = mpnas("export", shared_run, "--point", "p000", "--format", "packed", "--out", "p000.mpnas")
    assert result.exit_code == 0, result.output
    assert "Written: p000.mpnas" in result.stdout
    data = (tmp_path / "p000.mpnas").read_bytes()
    bits = int(8 * front["points"][0]["costs"]["weight_bytes"])
    assert int.from_bytes(data[48:56], "little") == bits
    assert f"{bits:,}" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["p000.mpnas"]


def test_the_file_computes_what_the_network_computes(mpnas, shared_run, tmp_path):
    mpnas("export", shared_run / "front.json", "--point", "p000", "--out", "net")
    graph = unpack((tmp_path / "net").read_bytes())
    front = json.loads((shared_run / "front.json").read_text())
    found = rebuilt_point(shared_run, front, "p000")
    x = next(found.bench.data.batches_of("test", 200))[0]
    gates = one_hot_gates(found.net, found.assignment)
    simulated = np.asarray(found.net.apply(found.parts, gates, x, train=False)[0])
    executed = execute(graph, np.asarray(x))
    # Simulation sums in float32: a code on the edge may fall to the other side.
    assert np.mean(executed.argmax(axis=1) == simulated.argmax(axis=1)) > 0.99
    assert len(np.unique(executed, axis=0)) > 100


def test_a_file_that_is_there_is_kept_unless_told(mpnas, refused, shared_run, tmp_path):
    (tmp_path / "net").write_text("mine")
    sentence = refused("export", shared_run, "--point", "p000", "--out", "net")
    assert "exists" in sentence and (tmp_path / "net").read_text() == "mine"
    assert mpnas("export", shared_run, "--point", "p000", "--out", "net", "--overwrite").exit_code == 0
    assert (tmp_path / "net").read_bytes().startswith(b"MPNASPAK")


def test_points_that_cannot_be_exported_are_told(refused, shared_run, tmp_path):
    front = json.loads((shared_run / "front.json").read_text())
    floats = [one["id"] for one in front["references"] if not one["assignment"]]
    sentence = refused("export", shared_run, "--point", "p999", "--out", "n")
    assert "no point 'p999'; it has points p000" in sentence
    sentence = refused("export", shared_run, "--point", floats[0], "--out", "n")
    assert "is the float network" in sentence
    assert not (tmp_path / "n").exists()


def test_a_length_that_is_not_the_cost_is_not_written(mpnas, shared_run, tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "exact_cost", lambda *_: 1.0)
    result = mpnas("export", shared_run, "--point", "p000", "--out", "n")
    assert result.exit_code == 2 and "the cost weight_bytes says 8" in result.stderr
    assert not (tmp_path / "n").exists()


def test_an_unknown_format_is_told(mpnas, shared_run):
    result = mpnas("export", shared_run, "--point", "p000", "--format", "zip", "--out", "n")
    assert result.exit_code == 2 and "packed" in result.stderr


@pytest.mark.parametrize("kind", ["onnx", "stablehlo"])
def test_a_file_that_can_be_run_here_answers_as_the_network(mpnas, shared_run, tmp_path, kind):
    pytest.importorskip(kind if kind == "onnx" else "jax")
    result = mpnas("export", shared_run, "--point", "p000", "--format", kind, "--out", "net")
    assert result.exit_code == 0, result.output
    assert "against the network, 360 test inputs: 0.00 % other answers" in " ".join(result.stdout.split())
    assert (tmp_path / "net").stat().st_size > 1000


@pytest.mark.parametrize(("kind", "words"), [("csv", "dense0"), ("qwix", "dense0")])
def test_bits_are_written_for_those_who_only_want_them(mpnas, shared_run, tmp_path, kind, words):
    result = mpnas("export", shared_run, "--point", "p000", "--format", kind, "--out", "bits")
    assert result.exit_code == 0, result.output
    assert words in (tmp_path / "bits").read_text() and "against the network" not in result.stdout


def test_sizes_of_a_packed_file_are_all_of_it(shared_run, tmp_path):
    front = json.loads((shared_run / "front.json").read_text())
    written = exported.packed(exported.shipped_point(shared_run, front, "p000"), tmp_path / "net")
    assert sum(written.sizes.values()) == 8 * (tmp_path / "net").stat().st_size
