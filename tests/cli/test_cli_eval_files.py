"""Tests of mpnas/cli/eval.py on files of networks, of mpnas/sweep/networks.py and checked.py."""

import json
import shutil
import struct
import zlib

import numpy as np
import pytest
from click.testing import CliRunner

from mpnas.cli import main
from mpnas.pareto import load, save
from mpnas.pareto.artifacts import digest
from mpnas.sweep.bench import bench_of
from mpnas.sweep.networks import agreement, answers, network_in
from mpnas.sweep.plan import load_plan


@pytest.fixture(scope="module")
def shipped(shared_run, tmp_path_factory):
    """A copy of the tiny run with its point exported, as a packed file and as StableHLO."""
    run = tmp_path_factory.mktemp("shipped") / "run"
    shutil.copytree(shared_run, run)
    for kind in ("packed", "stablehlo"):
        arguments = ["export", str(run), "--point", "p000", "--format", kind]
        assert CliRunner().invoke(main, arguments).exit_code == 0
    return run


@pytest.fixture
def packed(shipped, tmp_path):
    """The packed file under another name, in a folder that is no run."""
    (path,) = (shipped / "exports").glob("*.mpnas")
    (tmp_path / "net").write_bytes(path.read_bytes())
    return tmp_path / "net"


def rows(text):
    """First cell -> cells of the rows of the tables."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in reversed(lines) if len(cells) > 1}


def test_files_stand_beside_the_point_with_size_accuracy_and_agreement(mpnas, shipped, packed):
    point = load(shipped / "front.json")["points"][0]
    result = mpnas("eval", shipped, "--point", "p000", "net", shipped / "trials" / "float-s0")
    assert result.exit_code == 0, result.output
    found = rows(result.stdout)
    accuracy = f"{100 * point['metrics']['test_accuracy']['mean']:.2f} %"
    bits = f"{8 * point['costs']['weight_bytes']:,}"
    assert found["p000"] == ["point", "-", "-", accuracy, "", ""]
    assert found["net"][:5] == ["packed", f"{packed.stat().st_size:,}", bits, accuracy, "100.00 %"]
    assert found[str(shipped / "trials" / "float-s0")][0] == "checkpoint"
    assert "Same answers, each with each" in result.stdout


def test_files_alone_take_their_data_from_a_run_an_experiment_or_the_run_they_lie_in(
    mpnas, shipped, packed, tiny_toml
):
    lines = [mpnas("eval", "net", *more).stdout for more in (["--data", shipped], [tiny_toml])]
    lines.append(mpnas("eval", shipped / "trials" / "uniform8-s0" / "checkpoint", "net").stdout)
    assert rows(lines[0])["net"] == rows(lines[1])["net"]
    assert rows(lines[2])["net"][:4] == rows(lines[0])["net"][:4]
    selected = mpnas("eval", "net", "--data", shipped, "--part", "select").stdout
    assert "inputs of part 'select'" in selected


def test_a_checkpoint_computes_what_its_point_does(shared_run):
    bench = bench_of(load_plan(shared_run))
    front = load(shared_run / "front.json")
    for one in (front["points"][0], *front["references"]):
        network = network_in(shared_run / "trials" / one["trial"] / "checkpoint", bench)
        said = one["metrics"]["test_accuracy"]["mean"]
        assert answers(network, bench, "test").accuracy == pytest.approx(said)


def test_agreement_is_counted_by_answers_and_by_outputs(shared_run):
    bench = bench_of(load_plan(shared_run))
    one = answers(network_in(shared_run / "trials" / "float-s0", bench), bench, "test", 4)
    outputs = one.outputs.copy()
    outputs[0, (outputs[0].argmax() + 1) % 10] = outputs[0].max() + 2
    other = type(one)(one.network, 0.0, outputs)
    found = agreement(one, other)
    assert (found.n, found.mismatch_rate) == (4, 0.25)
    assert found.max_abs_diff == pytest.approx(np.abs(outputs - one.outputs).max())


def sealed(data, **changes):
    """A packed file with another header, its checksum right."""
    head = bytearray(data[:64])
    struct.pack_into("<I", head, 8, changes.get("version", 1))
    return bytes(head) + struct.pack("<II", zlib.crc32(head), 0) + data[72:]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:2000], "net: the packed file is truncated: it has 2000 bytes"),
        (lambda data: data[:5], "truncated: 5 of the 72 bytes of its header"),
        (lambda data: sealed(data, version=9), "version 9 of the format; this mpnas reads up to version 2"),
        (lambda data: data[:900] + b"\xff\xff" + data[902:], "graph section of the packed file is damaged"),
        (lambda data: data + b"more", "followed by foreign bytes"),
        (lambda data: b"", "net is no network that can be run here: it is empty"),
        (lambda data: b"PK\x03\x04" + data, "net is no network that can be run here: it starts with b'PK"),
        (lambda data: struct.pack("<I", 24) + data[:100], "net is no StableHLO file"),
    ],
    ids=["truncated", "header", "newer", "damaged", "longer", "empty", "foreign", "flatbuffer"],
)
def test_a_file_that_is_none_is_one_sentence(refused, shared_run, packed, change, words):
    packed.write_bytes(change(packed.read_bytes()))
    assert words in refused("eval", "net", "--data", shared_run)


@pytest.mark.parametrize("data", [b"\x08\x0ajunk", b"words"])
def test_what_is_no_onnx_file_is_one_sentence(refused, shared_run, tmp_path, data):
    pytest.importorskip("onnxruntime")
    (tmp_path / "net.onnx").write_bytes(data)
    sentence = refused("eval", "net.onnx", "--data", shared_run)
    assert "net.onnx is no ONNX file that onnxruntime can run" in sentence


def onnx_net(path, shape, outputs=10, names=("x",)):
    """A file of ONNX that sums over all but the last `outputs` numbers of its input."""
    from onnx import TensorProto, helper, save_model

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name in names]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])
    width = int(np.prod(shape))
    weights = np.eye(width, outputs, dtype=np.float32)
    nodes = [
        helper.make_node("Flatten", [names[0]], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    constant = helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel())
    graph = helper.make_graph(nodes, "net", ends, [out], [constant])
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_an_onnx_file_of_somebody_else_is_measured_or_told_why_not(mpnas, refused, shared_run, tmp_path):
    pytest.importorskip("onnxruntime")
    onnx_net(tmp_path / "fits", (8, 8, 1))
    result = mpnas("eval", "fits", "--data", shared_run)
    assert result.exit_code == 0 and rows(result.stdout)["fits"][0] == "onnx"
    onnx_net(tmp_path / "large", (32, 32, 3))
    sentence = refused("eval", "large", "--data", shared_run)
    assert "large takes inputs of 32x32x3, and the data have 8x8x1" in sentence
    onnx_net(tmp_path / "few", (8, 8, 1), outputs=3)
    assert "few cannot be measured on digits" in refused("eval", "few", "--data", shared_run)
    onnx_net(tmp_path / "more", (8, 8, 1), outputs=11)
    assert "more cannot be held against fits" in refused("eval", "fits", "more", "--data", shared_run)
    onnx_net(tmp_path / "two", (8, 8, 1), names=("x", "z"))
    assert "two takes x: tensor(float), z: tensor(float)" in refused("eval", "two", "--data", shared_run)


def test_a_checkpoint_of_another_network_or_of_a_training_in_progress_is_told(
    refused, own_run, tmp_path, tiny_toml
):
    wider = tiny_toml.with_name("wider.toml")
    model = 'model = { name = "mlp", features = [64, 9, 10] }'
    wider.write_text(tiny_toml.read_text().replace('model = "mlp"', model))
    sentence = refused("eval", own_run / "trials" / "float-s0", "--data", wider)
    assert "does not fit: leaf" in sentence
    steps = sorted((own_run / "trials" / "float-s0" / "checkpoint").glob("step_*"))
    for step in steps[1:]:
        step.rename(tmp_path / step.name)
    assert "in the midst of a training" in refused("eval", own_run / "trials" / "float-s0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net"], "on which data is net to be measured? Name a run or an experiment"),
        (["net", "RUN", "digits"], "are two places to take data from"),
        (["RUN", "--data", "RUN"], "are two places to take data from"),
        (["--data", "RUN", "gone.onnx"], "there is no file gone.onnx"),
        (["net", "gone"], "'gone' is neither a file nor a bundled experiment"),
        (["digits", "--point", "p000", "net"], "--point is of a run, and digits is none"),
        (["RUN", "--point", "p009", "net"], "no point 'p009'; it has points p000; references r000"),
        (["net", "RUN", "--set", "seeds=[1]"], "files are measured as the run was made"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_slips_are_one_sentence(refused, shared_run, tmp_path, arguments, words):
    (tmp_path / "net").write_bytes(b"MPNASPAK")
    assert words in refused("eval", *(shared_run if a == "RUN" else a for a in arguments))


def test_exports_of_a_point_are_run_again(mpnas, shipped):
    result = mpnas("eval", shipped, "--point", "p000")
    assert result.exit_code == 0, result.output
    assert "p000 agrees with its file." in result.stdout
    table = result.stdout[result.stdout.index("Its exports"):]
    assert table.count("as written") == 2 and table.count("360 test inputs: 0.00 % other answers") == 2


def test_exports_that_are_gone_changed_or_disagree_end_with_code_2(mpnas, shipped, tmp_path):
    front = load(shipped / "front.json")
    exports = front["points"][0]["artifacts"]["exports"]
    kept = {one["path"]: (shipped / one["path"]).read_bytes() for one in exports}
    try:
        (shipped / exports[0]["path"]).write_bytes(b"other")
        (shipped / exports[1]["path"]).unlink()
        result = mpnas("eval", shipped, "--point", "p000")
        assert result.exit_code == 2
        assert "has sha256" in result.stderr and "is missing from the run folder" in result.stderr
        for path, data in kept.items():
            (shipped / path).write_bytes(data)
        changed = json.loads(json.dumps(front))
        one, other = changed["points"][0]["artifacts"]["exports"]
        one["parity"]["mismatch_rate"] = 0.5
        (shipped / other["path"]).write_bytes(b"other")
        other |= {"sha256": digest(shipped / other["path"]), "file_bytes": 5}
        save(changed, shipped / "front.json")
        result = mpnas("eval", shipped, "--point", "p000")
        assert result.exit_code == 2
        assert "has mismatch_rate 0, the front says 0.5" in result.stderr and "cannot be run" in result.stderr
    finally:
        for path, data in kept.items():
            (shipped / path).write_bytes(data)
        save(front, shipped / "front.json")
