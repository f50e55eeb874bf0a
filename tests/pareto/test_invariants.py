"""Tests of mpnas/pareto/invariants.py."""

import copy
import hashlib

import pytest
from front_maker import SITES, TIES, RUN, made, recompute, record, records
from hypothesis import given, settings
from random_fronts import fronts

from mpnas.errors import SearchSpaceError
from mpnas.pareto.document import dumps, load, save
from mpnas.pareto.invariants import violations

WIDTH = {"granularity": "group", "channels": 6}
SHA_ABC = hashlib.sha256(b"abc").hexdigest()


def runs(*pairs):
    return {"granularity": "channel", "rle": list(pairs)}


def broken(change, front=None, **arguments):
    """The names of the invariants that are broken after a change."""
    front = made() if front is None else front
    assert violations(front, **arguments) == []
    change(front)
    return {sentence.split(":")[0] for sentence in violations(front, **arguments)}


def test_a_built_front_breaks_none():
    assert violations(made(), recompute=recompute) == []


def test_an_empty_front_breaks_none():
    assert violations(made([]), recompute=recompute) == []


@settings(deadline=None, max_examples=60)
@given(fronts())
def test_every_front_of_random_records_is_sound_and_comes_back_byte_for_byte(tmp_path_factory, front):
    folder = tmp_path_factory.mktemp("front")
    save(front, folder / "front.json")
    again = load(folder / "front.json")
    assert violations(again, recompute=recompute) == []
    assert dumps(again) == (folder / "front.json").read_bytes()


def test_violations_change_nothing():
    front = made()
    violations(front, recompute=recompute)
    assert front == made()


@pytest.mark.parametrize(
    "change",
    [
        lambda front: front.pop("objectives"),
        lambda front: front["points"][0]["costs"].clear(),
        lambda front: front["points"][0]["assignment"]["head/kernel"].update(bits=99),
        lambda front: front["cost_models"][0]["counts"].pop("bias"),
        lambda front: front["objectives"][2].update(cost_model="latency/1"),
        lambda front: front["objectives"][1].update(on_front=True),
        lambda front: front["groups"][0]["members"].append("block/conv3/kernel"),
        lambda front: front["run"]["dataset"].update(select_part="test"),
    ],
    ids=["objectives", "costs", "bits", "counts", "cost_model", "test_part", "member", "split"],
)
def test_i1_schema_and_names(change):
    assert broken(change) == {"I1"}


@pytest.mark.parametrize(
    "change",
    [
        lambda front: front["points"][1].update(nondominated=True),
        lambda front: front["points"][0].update(nondominated=False),
        lambda front: front["references"][0].update(nondominated=True),
        lambda front: front["points"][0].update(feasible=False),
        lambda front: front["points"][0]["limits"].update(weight_bytes=599),
        lambda front: front["hypervolume"].update(value=1.0),
        lambda front: front["hypervolume"]["reference_point"].update(weight_bytes=5000),
        lambda front: front.pop("hypervolume"),
    ],
    ids=["beaten", "unbeaten", "reference", "feasible", "limit", "volume", "corner", "no_volume"],
)
def test_i2_front_is_recomputed(change):
    assert broken(change) == {"I2"}


@pytest.mark.parametrize(
    "change",
    [
        lambda front: front["points"][0]["costs"].update(bops=1),
        lambda front: front["points"][0]["costs"].pop("bops"),
        lambda front: front["references"][1]["costs"].update(peak_act_bytes=1),
        lambda front: front["points"][0]["assignment"]["head/kernel"].update(bits=4),
    ],
    ids=["changed", "missing", "extra", "assignment"],
)
def test_i3_costs_follow_from_the_assignment(change):
    assert broken(change, recompute=recompute) == {"I3"}


def test_i3_names_a_cost_that_cannot_be_recomputed():
    def refuse(assignment):
        raise SearchSpaceError("no such site.")

    sentences = violations(made(), recompute=refuse)
    assert len(sentences) == 6  # 3 points and 3 references; the float network chose nothing
    assert "I3: the costs of p000 cannot be recomputed: no such site." in sentences


@pytest.mark.parametrize(
    "change",
    [
        lambda assignment: assignment.update({"block/conv1/kernel": runs([8, 4], [0, 1])}),
        lambda assignment: assignment.update({"block/conv1/kernel": runs([8, 2], [0, 1])}),
        lambda assignment: assignment.pop("head/kernel"),
        lambda assignment: assignment.update(other={"granularity": "layer", "bits": 8}),
        lambda assignment: assignment.update({"head/kernel": WIDTH}),
        lambda assignment: assignment.clear(),
    ],
    ids=["too_many", "too_few", "site_missing", "unknown_site", "kind", "empty"],
)
@pytest.mark.parametrize("part", ["points", "references"])
def test_i4_decisions_are_counted(change, part):
    # The tie of the two kernels may break with them.
    assert broken(lambda front: change(front[part][1]["assignment"])) - {"I5"} == {"I4"}


def tied(conv1, conv2):
    front = made()
    assignment = front["points"][0]["assignment"]
    assignment["block/conv1/kernel"] = runs(*conv1)
    assignment["block/conv2/kernel"] = runs(*conv2)
    return {sentence.split(":")[0] for sentence in violations(front)}


@pytest.mark.parametrize(
    "conv1, conv2, sound",
    [
        ([[8, 2], [4, 1], [0, 1]], [[2, 3], [0, 1]], True),
        ([[8, 4]], [[2, 2], [4, 2]], True),
        ([[8, 3], [0, 1]], [[0, 1], [8, 3]], False),
        ([[8, 3], [0, 1]], [[8, 4]], False),
        ([[0, 4]], [[8, 4]], False),
    ],
    ids=["same_zeros", "no_zeros", "permuted", "one_side", "all_of_one"],
)
def test_i5_tied_kernels_leave_out_the_same_channels_and_keep_their_own_bits(conv1, conv2, sound):
    assert tied(conv1, conv2) == (set() if sound else {"I5"})


def test_i5_a_whole_layer_left_out_matches_channels_that_are_all_zero():
    front = made()
    assignment = front["points"][0]["assignment"]
    assignment["block/conv1/kernel"] = {"granularity": "layer", "bits": 0}
    assignment["block/conv2/kernel"] = {"granularity": "channel", "rle": [[0, 4]]}
    assert violations(front) == []


def test_i5_activations_of_one_tensor_have_one_width():
    def change(front):
        front["points"][0]["assignment"]["block/conv2/input"]["bits"] = 4

    assert broken(change) == {"I5"}


def test_i5_tied_widths_agree():
    sites = SITES | {
        name: {"kind": "width", "decisions": 1, "parameters": 0, "macs": 0} for name in ("w1", "w2")
    }
    ties = TIES + [{"id": "wide", "members": ["w1", "w2"], "why": "added at block/add"}]
    wide = {"granularity": "group", "channels": 6}
    one = record("a")
    one.assignment.update(w1=wide, w2=copy.deepcopy(wide))

    def change(front):
        front["points"][0]["assignment"]["w2"]["channels"] = 4

    assert broken(change, made([one], run=RUN | {"sites": sites}, ties=ties)) == {"I5"}


def three_seeds(front, **changes):
    # Distances from the mean are 0.01, 0 and 0.01: the sample deviation is 0.01.
    values = {"mean": 0.88, "std": 0.01, "n": 3, "values": [0.87, 0.88, 0.89]}
    front["points"][0]["metrics"]["accuracy"] = values | changes
    return front


def test_i6_statistics_of_several_values_are_sound():
    assert violations(three_seeds(made())) == []


@pytest.mark.parametrize(
    "changes",
    [{"std": 0.02}, {"std": None}, {"n": 2}, {"mean": 0.8800001}, {"values": [0.88] * 3}],
    ids=["std", "no_std", "n", "mean", "values"],
)
def test_i6_statistics_are_those_of_the_values(changes):
    names = {sentence.split(":")[0] for sentence in violations(three_seeds(made(), **changes))}
    # The mean moves the hypervolume, too.
    assert names - {"I2"} == {"I6"}


def swap(rows):
    rows[0], rows[1] = rows[1], rows[0]


def swap_with_ids(rows):
    swap(rows)
    rows[0]["id"], rows[1]["id"] = rows[1]["id"], rows[0]["id"]


@pytest.mark.parametrize(
    "change",
    [
        lambda front: front["points"][1]["metrics"]["test_accuracy"].update(mean=float("nan")),
        lambda front: front["run"].update(config={"x": float("inf")}),
        lambda front: front["run"].update(config={2: "a", 10: "b"}),
        lambda front: swap(front["points"]),
        lambda front: swap_with_ids(front["points"]),
        lambda front: swap(front["references"]),
        lambda front: swap(front["rejected"]),
        lambda front: front["points"][0].update(id="p007"),
        lambda front: front["rejected"][0].update(trial="s0"),
    ],
    ids=["nan", "infinity", "keys", "swapped", "renamed", "references", "rejected", "id", "trial"],
)
def test_i7_no_nan_and_canonical_order(change):
    assert broken(change) == {"I7"}


def with_artifacts(**artifacts):
    rows = records()
    rows[4].artifacts.update(artifacts)
    return made(rows)


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "packed.bin").write_bytes(b"abc")
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        lambda front: front["points"][0]["artifacts"]["exports"][0].update(sha256="0" * 64),
        lambda front: front["points"][0]["artifacts"]["exports"][0].update(path="absent.bin"),
        lambda front: front["points"][0]["artifacts"]["exports"][0].update(path="../packed.bin"),
        lambda front: front["points"][0]["artifacts"]["exports"][0].update(file_bytes=4),
        lambda front: front["points"][0]["artifacts"].update(checkpoint="/etc"),
    ],
    ids=["hash", "absent", "climbs", "length", "absolute"],
)
def test_i8_artifacts_are_what_the_front_says(run_folder, change):
    export = {"format": "packed", "path": "packed.bin", "sha256": SHA_ABC, "file_bytes": 3}
    assert broken(change, with_artifacts(exports=[export]), root=run_folder) == {"I8"}


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a\\..\\..\\x"])
def test_i8_paths_stay_inside_even_when_no_file_is_read(path):
    front = with_artifacts(checkpoint=path)
    assert [sentence[:9] for sentence in violations(front)] == ["I8: p000:"]


def test_i9_an_export_has_the_promised_size():
    front = with_artifacts(exports=[{"format": "packed", "path": "p.bin", "weight_bytes": 600}])

    def change(front):
        front["points"][0]["artifacts"]["exports"][0]["weight_bytes"] = 601

    assert broken(change, front) == {"I9"}


def test_an_export_may_say_how_it_was_written_and_what_of_it_is_float():
    export = {
        "format": "onnx", "path": "p.onnx", "options": {"storage": "int8", "vnni": False},
        "float_ops": ["attention (a product of activations)"], "weight_bytes": 600,
        "parity": {"n": 10, "mismatch_rate": 0.1, "max_abs_diff": 0.5, "metric_diff": -0.1},
    }
    front = with_artifacts(exports=[export])
    assert violations(front) == []
    for change in ({"options": {"bits": 3}}, {"float_ops": [""]}, {"parity": {"n": 1.5}}):
        front["points"][0]["artifacts"]["exports"] = [export | change]
        assert [sentence[:2] for sentence in violations(front)] == ["I1"]


def test_i10_an_export_has_the_promised_bit_operations():
    # conv1 4000 * mean 5 bits * 8, conv2 8000 * 2.5 * 8, head 100 * 8 * 8
    export = {"format": "qonnx", "path": "p.onnx", "bops": 160000 + 160000 + 6400}
    front = with_artifacts(exports=[export])

    def change(front):
        front["points"][0]["artifacts"]["exports"][0]["bops"] += 1

    assert broken(change, front) == {"I10"}


def test_every_sentence_begins_with_its_invariant_and_ends():
    front = made()
    front["points"][0].update(nondominated=False, id="p9")
    front["points"][1]["metrics"]["accuracy"]["n"] = 5
    sentences = violations(front)
    assert len(sentences) >= 3
    assert all(s.startswith("I") and s.endswith(".") for s in sentences)
