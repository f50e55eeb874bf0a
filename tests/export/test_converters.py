"""Tests of mpnas/export/converters.py."""

import csv
import io
import json
import re

import pytest

from mpnas.errors import SearchSpaceError
from mpnas.export.converters import csv_of_bits, qwix_rules, write_csv, write_qwix


def site(kind, layers, decisions=1, index=0, **about):
    given = {"kind": kind, "layers": layers, "decisions": decisions, "parameters": 40, "macs": 400,
             "granularity": "layer", "index": index}
    return given | about


SITES = {
    "head/kernel": site("weight", ["head"], index=5),
    "stem/kernel": site("weight", ["stem"], 4, index=0),
    "stem/input": site("activation", ["stem"], index=1),
    "blocks/0/conv/kernel": site("weight", ["blocks/0/conv"], index=2),
    "head/input": site("activation", ["head", "blocks/0/conv"], index=3),
    "scores/query": site("activation", ["attention/scores/query"], index=4),
}
LAYER = {"granularity": "layer"}
ASSIGNMENT = {
    "head/kernel": {**LAYER, "bits": 1},
    "stem/kernel": {"granularity": "channel", "rle": [[2, 1], [0, 1], [4, 2]]},
    "stem/input": {**LAYER, "bits": 8},
    "blocks/0/conv/kernel": {**LAYER, "bits": 16},
    "head/input": {**LAYER, "bits": 3},
    "scores/query": {**LAYER, "bits": 4},
}


def rows_of(text):
    heading, *rows = list(csv.reader(io.StringIO(text)))
    return {row[0]: dict(zip(heading, row, strict=True)) for row in rows}


def test_a_row_counts_the_decisions_at_each_width_in_the_order_of_the_network():
    rows = rows_of(csv_of_bits(SITES, ASSIGNMENT))
    assert list(rows) == ["stem/kernel", "stem/input", "blocks/0/conv/kernel", "head/input", "scores/query",
                          "head/kernel"]
    stem = rows["stem/kernel"]
    assert stem["bits"] == "2x1 0x1 4x2" and stem["mean_bits"] == "2.5"
    assert [stem[f"at {bits} bits"] for bits in (0, 1, 2, 3, 4, 8, 16)] == ["1", "0", "1", "0", "2", "0", "0"]
    assert rows["head/input"]["at 3 bits"] == "1" and rows["head/input"]["bits"] == "3"


def test_a_width_has_channels_and_no_bits():
    sites = {"stem/width": site("width", ["stem"])}
    rows = rows_of(csv_of_bits(sites, {"stem/width": {"granularity": "group", "channels": 24}}))
    assert rows["stem/width"]["bits"] == "24 channels" and rows["stem/width"]["mean_bits"] == ""


def test_a_name_that_a_spreadsheet_would_compute_is_text(tmp_path):
    name = "=HYPERLINK(1)/kernel"
    write_csv({name: site("weight", ["x"])}, {name: {**LAYER, "bits": 4}}, tmp_path / "bits.csv")
    assert list(rows_of((tmp_path / "bits.csv").read_text())) == ["'=HYPERLINK(1)/kernel"]


def test_rules_have_the_widest_type_of_each_layer():
    rules = {rule["module_path"]: rule for rule in qwix_rules(SITES, ASSIGNMENT).rules}
    assert rules == {
        "head": {"module_path": "head", "weight_qtype": "int2", "act_qtype": "int3"},
        "stem": {"module_path": "stem", "weight_qtype": "int4", "act_qtype": "int8"},
        "blocks/0/conv": {"module_path": "blocks/0/conv", "weight_qtype": None, "act_qtype": "int3"},
    }


def test_what_rules_cannot_say_is_said_in_notes():
    notes = "\n".join(qwix_rules(SITES, ASSIGNMENT).notes)
    for words in ("'head/kernel' has 1 bit", "channels of 2 and 4 bits", "'stem/kernel' leaves channels out",
                  "has 16 bits", "'attention/scores/query' has activations but no weights"):
        assert words in notes
    assert len(notes.splitlines()) == 5


def test_a_path_in_a_rule_matches_itself_and_nothing_else():
    sites = {"a.b[0]/kernel": site("weight", ["a.b[0]"])}
    (rule,) = qwix_rules(sites, {"a.b[0]/kernel": {**LAYER, "bits": 4}}).rules
    assert re.fullmatch(rule["module_path"], "a.b[0]")
    assert not re.fullmatch(rule["module_path"], "axb0")


def test_rules_are_written_as_json_or_as_python(tmp_path):
    made = write_qwix(SITES, ASSIGNMENT, tmp_path / "rules.json")
    document = json.loads((tmp_path / "rules.json").read_text())
    assert document["rules"] == list(made.rules) and document["notes"] == list(made.notes)
    write_qwix(SITES, ASSIGNMENT, tmp_path / "rules.py")
    text = (tmp_path / "rules.py").read_text()
    # A stand-in for qwix, which is not installed: it collects what the rules are called with.
    collected = {}
    exec(text.replace("import qwix", "class qwix:\n    QuantizationRule = dict\n"), collected)
    assert collected["RULES"] == list(made.rules)


def test_a_name_cannot_smuggle_code_into_the_python_rules(tmp_path):
    name = "x'\nimport os\n'''"
    sites = {f"{name}/kernel": site("weight", [name])}
    assignment = {f"{name}/kernel": {"granularity": "channel", "rle": [[1, 1], [4, 1]]}}
    write_qwix(sites, assignment, tmp_path / "r.py")
    text = (tmp_path / "r.py").read_text()
    assert not any(line.startswith("import os") for line in text.splitlines())
    compile(text, "r.py", "exec")


@pytest.mark.parametrize("make", [csv_of_bits, qwix_rules])
def test_an_assignment_of_another_network_is_refused(make):
    with pytest.raises(SearchSpaceError, match="'haed/kernel', which is no site.*'head/kernel'"):
        make(SITES, {"haed/kernel": {**LAYER, "bits": 4}})
