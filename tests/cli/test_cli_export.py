"""Tests of mpnas/cli/export.py, mpnas/sweep/exported.py, formats.py and recorded.py."""

import json
import os

import numpy as np
import pytest
import tiny_run

from mpnas.errors import FrontFileError, RunFolderError
from mpnas.export.integer import execute
from mpnas.export.unpack import unpack
from mpnas.pareto import Record, load, save, violations
from mpnas.pareto.artifacts import digest
from mpnas.sweep import exported, formats
from mpnas.sweep.collect import front_of
from mpnas.sweep.hold import held
from mpnas.sweep.outputs import simulated
from mpnas.sweep.point import rebuilt_point
from mpnas.sweep.recorded import record_export
from mpnas.train import one_hot_gates


def exports(run):
    return load(run / "front.json")["points"][0]["artifacts"].get("exports", [])


def record(run):
    trial = load(run / "front.json")["points"][0]["trial"]
    return json.loads((run / "trials" / trial / "result.json").read_text())


def nothing_new(run):
    """That a run holds no export and no leftovers of one."""
    assert not (run / "exports").exists() and '"exports"' not in (run / "front.json").read_text()
    assert not [path for path in run.rglob("*.tmp*") if path.name.startswith(".")]


def test_a_point_becomes_a_packed_file_as_long_as_the_front_says(mpnas, own_run, tmp_path):
    front = load(own_run / "front.json")
    result = mpnas("export", own_run, "--point", "p000", "--format", "packed", "--out", "p000.mpnas")
    assert result.exit_code == 0, result.output
    data = (tmp_path / "p000.mpnas").read_bytes()
    bits = int(8 * front["points"][0]["costs"]["weight_bytes"])
    assert int.from_bytes(data[48:56], "little") == bits
    assert f"{bits:,}" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"p000.mpnas", "own_run"}
    # A file outside of the run is a copy of the one that is recorded.
    (path,) = (own_run / "exports").iterdir()
    assert path.name == f"{front['points'][0]['trial']}.mpnas" and path.read_bytes() == data
    assert f"Written: p000.mpnas, own_run/exports/{path.name}" in result.stdout


def test_digest_parity_and_counted_costs_go_into_record_and_front(mpnas, own_run):
    before = load(own_run / "front.json")
    result = mpnas("export", own_run / "front.json", "--point", "p000", "--inputs", "100")
    assert result.exit_code == 0, result.output
    (entry,) = exports(own_run)
    path = own_run / entry["path"]
    assert (entry["sha256"], entry["file_bytes"]) == (digest(path), path.stat().st_size)
    assert entry["weight_bytes"] == before["points"][0]["costs"]["weight_bytes"]
    assert entry["bops"] == before["points"][0]["costs"]["bops"]
    assert (entry["options"], entry["float_ops"]) == ({"rounding": "single_round"}, [])
    # Simulation sums in float32: a code on the edge may fall to the other side.
    parity = entry["parity"]
    assert parity["n"] == 100 and parity["mismatch_rate"] <= 0.01 and abs(parity["metric_diff"]) <= 0.01
    assert record(own_run)["artifacts"]["exports"] == [entry]
    after = load(own_run / "front.json")
    assert violations(after, root=own_run) == []
    after["points"][0]["artifacts"].pop("exports")
    assert after == before


def test_a_front_that_is_written_again_from_its_trials_still_has_the_exports(mpnas, own_run):
    assert mpnas("export", own_run, "--point", "p000", "--format", "csv").exit_code == 0
    assert mpnas("export", own_run, "--point", "r001", "--format", "qwix").exit_code == 0
    before = load(own_run / "front.json")
    assert front_of(own_run) | {"created_utc": ""} == before | {"created_utc": ""}


def test_other_formats_stay_and_the_same_is_replaced_byte_for_byte(mpnas, own_run):
    for arguments in (["csv"], ["qwix"], ["csv"], ["qwix", "--out", own_run / "exports" / "rules.json"]):
        result = mpnas("export", own_run, "--point", "p000", "--format", *arguments)
        assert result.exit_code == 0, result.output
    formats_of = [one["format"] for one in exports(own_run)]
    assert sorted(formats_of) == ["csv", "qwix", "qwix"]
    before = (own_run / "front.json").read_bytes()
    assert mpnas("export", own_run, "--point", "p000", "--format", "csv").exit_code == 0
    assert (own_run / "front.json").read_bytes() == before


def test_a_file_of_another_point_under_the_same_path_is_no_longer_its(mpnas, own_run):
    path = own_run / "exports" / "bits.csv"
    path.parent.mkdir()
    assert mpnas("export", own_run, "--point", "p000", "--format", "csv", "--out", path).exit_code == 0
    result = mpnas("export", own_run, "--point", "r001", "--format", "csv", "--out", path, "--overwrite")
    assert result.exit_code == 0, result.output
    front = load(own_run / "front.json")
    assert exports(own_run) == [] and "exports" not in record(own_run)["artifacts"]
    assert front["references"][1]["artifacts"]["exports"][0]["path"] == "exports/bits.csv"
    assert violations(front, root=own_run) == []


def test_files_of_the_run_are_never_replaced(refused, own_run):
    before = (own_run / "front.json").read_bytes()
    for name in ("front.json", "plan.json"):
        sentence = refused("export", own_run, "--point", "p000", "--out", own_run / name, "--overwrite")
        assert "is a file of the run and no export" in sentence
    assert (own_run / "front.json").read_bytes() == before
    nothing_new(own_run)


def test_a_trial_whose_name_leads_out_of_the_run_is_refused(refused, own_run):
    evil = own_run.parent / "evil.csv"
    evil.write_text("mine")
    (own_run / "exports").mkdir()
    front = json.loads((own_run / "front.json").read_text())
    front["points"][0]["trial"] = "../../evil"
    (own_run / "front.json").write_text(json.dumps(front))
    assert "leaves the run folder" in refused(
        "export", own_run, "--point", "p000", "--format", "csv", "--overwrite"
    )
    assert evil.read_text() == "mine"


def test_a_linked_folder_of_exports_is_refused(refused, own_run):
    (own_run.parent / "elsewhere").mkdir()
    (own_run / "exports").symlink_to(own_run.parent / "elsewhere")
    assert "leaves the run folder through a link" in refused("export", own_run, "--point", "p000")
    assert list((own_run.parent / "elsewhere").iterdir()) == []


def test_a_checkpoint_that_was_changed_is_not_shipped(refused, own_run):
    (checkpoint,) = (own_run / "trials").glob("gumbel*/checkpoint")
    next(path for path in checkpoint.rglob("*") if path.is_file()).write_bytes(b"other")
    assert "is not the checkpoint that was recorded" in refused("export", own_run, "--point", "p000")
    nothing_new(own_run)


def test_an_export_that_cannot_be_recorded_leaves_the_earlier_one(mpnas, refused, own_run):
    assert mpnas("export", own_run, "--point", "p000").exit_code == 0
    (entry,), (file,) = exports(own_run), list((own_run / "exports").iterdir())
    (result,) = (own_run / "trials").glob("gumbel*/result.json")
    result.write_text("{")
    sentence = refused(
        "export", own_run, "--point", "p000", "--rounding", "dyadic_half_up", "--out", file, "--overwrite"
    )
    assert "cannot be read, so that the export of trial" in sentence
    assert exports(own_run) == [entry] and digest(file) == entry["sha256"]
    assert list((own_run / "exports").iterdir()) == [file]


def test_nothing_is_exported_from_a_living_run(refused, own_run):
    with held(own_run):
        sentence = refused("export", own_run, "--point", "p000", "--format", "csv", "--out", "bits.csv")
    assert "held by a living run" in sentence
    nothing_new(own_run)


def test_a_run_that_came_alive_meanwhile_keeps_its_front(own_run, monkeypatch):
    monkeypatch.setattr(exported, "holder_of", lambda _: None)
    front = load(own_run / "front.json")
    with held(own_run), pytest.raises(RunFolderError, match="held by a living run"):
        exported.export_point(own_run / "front.json", front, "p000", formats.Csv())
    nothing_new(own_run)


def test_a_run_that_cannot_be_written_to_is_exported_from_without_a_record(mpnas, own_run, monkeypatch):
    monkeypatch.setattr(os, "access", lambda _, mode, **__: mode != os.W_OK)
    result = mpnas("export", own_run, "--point", "p000", "--format", "csv", "--out", "bits.csv")
    assert result.exit_code == 0, result.output
    assert "Not recorded in the front: own_run cannot be written to." in result.stdout
    nothing_new(own_run)


def test_a_front_that_has_lost_the_trial_is_told(own_run):
    with pytest.raises(FrontFileError, match="no trial 'gone' any more"):
        record_export(own_run / "front.json", "gone", {"format": "csv", "path": "exports/bits.csv"})
    (own_run / "trials" / load(own_run / "front.json")["points"][0]["trial"] / "result.json").unlink()
    trial = load(own_run / "front.json")["points"][0]["trial"]
    with pytest.raises(RunFolderError, match="result.json cannot be read"):
        record_export(own_run / "front.json", trial, {"format": "csv", "path": "exports/bits.csv"})


def test_the_file_computes_what_the_network_computes(mpnas, own_run, tmp_path):
    mpnas("export", own_run / "front.json", "--point", "p000", "--out", "net")
    graph = unpack((tmp_path / "net").read_bytes())
    found = rebuilt_point(own_run, load(own_run / "front.json"), "p000")
    x = np.asarray(next(found.bench.data.batches_of("test", 200))[0])
    expected = simulated(found.net, found.parts, one_hot_gates(found.net, found.assignment))(x)
    run = execute(graph, x)
    # Simulation sums in float32: a code on the edge may fall to the other side.
    assert np.mean(run.argmax(axis=1) == expected.argmax(axis=1)) > 0.99
    assert len(np.unique(run, axis=0)) > 100


def test_a_file_that_is_there_is_kept_unless_told(mpnas, refused, own_run, tmp_path):
    (tmp_path / "net").write_text("mine")
    sentence = refused("export", own_run, "--point", "p000", "--out", "net")
    assert "exists" in sentence and (tmp_path / "net").read_text() == "mine"
    assert mpnas("export", own_run, "--point", "p000", "--out", "net", "--overwrite").exit_code == 0
    assert (tmp_path / "net").read_bytes().startswith(b"MPNASPAK")


def test_points_that_cannot_be_exported_are_told(refused, own_run, tmp_path):
    floats = [one["id"] for one in load(own_run / "front.json")["references"] if not one["assignment"]]
    sentence = refused("export", own_run, "--point", "p999", "--out", "n")
    assert "no point 'p999'; it has points p000" in sentence
    sentence = refused("export", own_run, "--point", floats[0], "--out", "n")
    assert "is the float network" in sentence
    assert not (tmp_path / "n").exists()
    nothing_new(own_run)


def test_an_assignment_or_a_checkpoint_of_another_network_is_told(refused, own_run):
    front = load(own_run / "front.json")
    point, other = front["points"][0], front["references"][0]
    site = next(name for name in point["assignment"] if name.endswith("kernel"))
    point["assignment"][site] = {"granularity": "channel", "rle": [[4, 1], [8, 1]]}
    save(front, own_run / "front.json")
    assert site in refused("export", own_run, "--point", "p000", "--format", "csv")
    point["assignment"] = front["references"][1]["assignment"]
    point["artifacts"] = other["artifacts"]
    save(front, own_run / "front.json")
    assert "does not fit: leaf" in refused("export", own_run, "--point", "p000", "--format", "csv")
    nothing_new(own_run)


def test_a_length_that_is_not_the_cost_is_not_written(mpnas, own_run, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "exact_cost", lambda *_: 1.0)
    result = mpnas("export", own_run, "--point", "p000", "--out", "n")
    assert result.exit_code == 2 and "the cost weight_bytes says 1" in result.stderr
    assert not (tmp_path / "n").exists()
    nothing_new(own_run)


def test_an_unknown_format_is_told(mpnas, shared_run):
    result = mpnas("export", shared_run, "--point", "p000", "--format", "zip", "--out", "n")
    assert result.exit_code == 2 and "packed" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["csv", "--inputs", "5"], "nothing runs the format csv"),
        (["csv", "--rounding", "shift"], "--rounding is an option of packed and onnx; the format csv has no"),
        (["packed", "--vnni"], "--vnni is an option of onnx"),
        (["stablehlo", "--storage", "int8"], "--storage is an option of onnx"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_option_that_a_format_does_not_have_is_refused(refused, own_run, arguments, words):
    assert words in refused("export", own_run, "--point", "p000", "--format", *arguments)
    nothing_new(own_run)


def test_inputs_are_a_number_or_all(mpnas, own_run):
    result = mpnas("export", own_run, "--point", "p000", "--inputs", "0")
    assert result.exit_code == 2 and "neither a number of inputs above 0 nor 'all'" in result.stderr
    result = mpnas("export", own_run, "--point", "p000", "--inputs", "all", "--rounding", "double_round")
    assert result.exit_code == 0, result.output
    (entry,) = exports(own_run)
    assert entry["parity"]["n"] == 360 and entry["path"].endswith("-double_round.mpnas")
    assert entry["options"] == {"rounding": "double_round"}


@pytest.mark.parametrize("arguments", [["onnx"], ["onnx", "--storage", "packed", "--vnni"], ["stablehlo"]],
                         ids=" ".join)
def test_a_file_that_can_be_run_here_answers_as_the_network(mpnas, own_run, tmp_path, arguments):
    pytest.importorskip(arguments[0] if arguments[0] == "onnx" else "jax")
    result = mpnas("export", own_run, "--point", "p000", "--format", *arguments, "--out", "net")
    assert result.exit_code == 0, result.output
    assert "against the network, 360 test inputs: 0.00 % other answers" in " ".join(result.stdout.split())
    assert (tmp_path / "net").stat().st_size > 1000
    (entry,) = exports(own_run)
    assert entry["parity"]["mismatch_rate"] == 0 and entry["format"] == arguments[0]
    if "--vnni" in arguments:
        assert entry["path"].endswith("-packed-vnni.onnx")
    assert violations(load(own_run / "front.json"), root=own_run) == []


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [("csv", "bits", "dense0"), ("qwix", "bits.json", '"module_path": "dense0"'),
     ("qwix", "bits.py", "qwix.QuantizationRule(module_path='dense0'")],
)
def test_bits_are_written_for_those_who_only_want_them(mpnas, own_run, tmp_path, kind, name, words):
    result = mpnas("export", own_run, "--point", "p000", "--format", kind, "--out", name)
    assert result.exit_code == 0, result.output
    assert words in (tmp_path / name).read_text() and "against the network" not in result.stdout
    assert "parity" not in exports(own_run)[0]


def test_sizes_of_a_packed_file_are_all_of_it(shared_run, tmp_path):
    front = load(shared_run / "front.json")
    shipped = exported.shipped_point(rebuilt_point(shared_run, front, "p000"), front)
    written = formats.Packed().write(shipped, tmp_path / "net")
    assert sum(written.sizes.values()) == 8 * (tmp_path / "net").stat().st_size


def test_exports_stand_beside_the_front(mpnas, own_run):
    assert "Exports" not in mpnas("pareto", "show", own_run).stdout
    mpnas("export", own_run, "--point", "p000", "--format", "csv")
    shown = mpnas("pareto", "show", own_run).stdout
    assert "Exports" in shown and "exports/" in shown


def test_parts_that_stay_in_float_are_named(mpnas, refused, tmp_path):
    last = '}, { match = "@last", weights = [], activations = [] }]'
    toml = tiny_run.TOML.replace("}]\n\n[recipe.float]", f"{last}\n\n[recipe.float]")
    (tmp_path / "part.toml").write_text(toml)
    run = tiny_run.made(tmp_path / "part.toml", tmp_path / "run", kinds={"float", "uniform"})
    for kind in ("packed", "onnx"):
        sentence = refused("export", run, "--point", "r001", "--format", kind)
        assert "stay in float" in sentence and "(weights and input in float)" in sentence
    nothing_new(run)
    result = mpnas("export", run, "--point", "r001", "--format", "stablehlo", "--inputs", "20")
    assert result.exit_code == 0, result.output
    assert "(weights and input in float)." in result.stdout
    for kind in ("csv", "qwix"):
        assert mpnas("export", run, "--point", "r001", "--format", kind).exit_code == 0
    front = load(run / "front.json")
    for entry in front["references"][1]["artifacts"]["exports"]:
        (name,) = entry["float_ops"]
        assert name.endswith("(weights and input in float)")
    assert violations(front, root=run) == []


def test_weights_of_a_retraining_are_exported_into_its_record(mpnas, refused, own_run):
    before = (own_run / "front.json").read_bytes()
    export = ("export", own_run, "--point", "p000", "--weights", own_run / "retrained" / "p000" / "seed0")
    assert "is no retraining of the run" in refused(*export)
    assert mpnas("retrain", own_run, "--point", "p000").exit_code == 0
    result = mpnas(*export, "--out", "net")
    assert result.exit_code == 0, result.output
    assert "Written: net, own_run/retrained/p000/exports/seed0.mpnas" in result.stdout
    (row,) = json.loads((own_run / "retrained" / "p000" / "result.json").read_text())["records"]
    (entry,) = row["artifacts"]["exports"]
    assert entry["path"] == "retrained/p000/exports/seed0.mpnas" and entry["parity"]["mismatch_rate"] <= 0.01
    assert entry["sha256"] == digest(own_run / entry["path"])
    assert Record.from_json(row).artifacts["exports"] == [entry]
    assert (own_run / "front.json").read_bytes() == before
    # Another point has another assignment.
    sentence = refused("export", own_run, "--point", "r001", "--weights", export[-1], "--format", "csv")
    assert "was trained with another assignment than that of 'r001'" in sentence
    result = mpnas("eval", own_run / "retrained" / "p000" / "seed0", own_run / entry["path"])
    assert result.exit_code == 0 and "100.00 %" in result.stdout
