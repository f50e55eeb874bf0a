"""Tests of mpnas/sweep/folder.py."""

import json
import subprocess
import sys

import pytest
import tiny_plan
from tiny_plan import FLOAT, RANDOM, SEARCH, STEPS, UNIFORM

from mpnas.errors import RunFolderError
from mpnas.sweep.folder import Listed, has_result, number_in, outline_of, plan_document, read_json, write_json


def test_an_outline_says_which_trials_there_are_and_how_long_they_take(tmp_path):
    outline = outline_of(tiny_plan.run_folder(tmp_path / "run"))
    assert outline.name == "tiny"
    asked = {"weight_bytes": 0.5}
    assert outline.trials == (
        Listed(FLOAT, "float", {"float": STEPS}, {}),
        Listed(UNIFORM, "uniform", {"retrain": STEPS}, {}),
        Listed(SEARCH, "search", {"search": STEPS, "retrain": STEPS}, asked),
        Listed(RANDOM, "random", {"retrain": STEPS}, asked),
    )
    assert [trial.steps for trial in outline.trials] == [STEPS, STEPS, 2 * STEPS, STEPS]
    assert list(outline.trials[2].stages) == ["search", "retrain"]  # as they run, not by the alphabet


def test_an_experiment_with_weights_trains_no_float_network(tmp_path):
    folder = tiny_plan.run_folder(tmp_path / "run", weights="float.npz")
    assert outline_of(folder).trials[0].stages == {}


@pytest.mark.parametrize("change", [
    {"trials": 3}, {"trials": [{"id": "a"}]}, {"experiment": []}, {"experiment": {}},
    {"trials": [{"id": "a", "kind": "float", "budget": {}, "stages": {"float": "many"}}]},
    {"trials": [{"id": "a", "kind": "float", "budget": {}, "stages": {"float": -1}}]},
    {"trials": [{"id": "a", "kind": "float", "budget": 3, "stages": {}}]},
    *({"trials": [{"id": name, "kind": "float", "budget": {}, "stages": {}}]}
      for name in ("../x", "/etc", "a/b", "", ".", "..", "a\\..\\b", "a\0", "\ud800", "a\nb", 3)),
])
def test_a_damaged_plan_is_refused_and_no_name_leads_out_of_the_folder(tmp_path, change):
    folder = tiny_plan.run_folder(tmp_path / "run")
    document = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(document | change))
    with pytest.raises(RunFolderError, match="plan.json is damaged"):
        outline_of(folder)


def test_a_folder_without_a_plan_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="has no readable plan.json"):
        plan_document(tmp_path)


def test_a_trial_is_over_when_it_has_a_result(tmp_path):
    (tmp_path / "trials" / FLOAT).mkdir(parents=True)
    assert not has_result(tmp_path, FLOAT)
    write_json(tmp_path / "trials" / FLOAT / "result.json", {})
    assert has_result(tmp_path, FLOAT)


@pytest.mark.parametrize("text", ["", "[1]", "{", "3", "[" * 100_000])
def test_what_is_no_object_is_read_as_nothing(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "missing.json") is None


@pytest.mark.parametrize(("table", "found"), [
    ({"a": {"b": 2}}, 2.0), ({"a": {"b": True}}, None), ({"a": {"b": "2"}}, None), ({"a": 3}, None),
    ({}, None), ({"a": {"b": float("nan")}}, None), ([], None),
])
def test_numbers_of_strangers_are_finite_numbers_or_nothing(table, found):
    assert number_in(table, "a", "b") == found


def test_looking_at_a_run_loads_neither_jax_nor_ray():
    code = "import sys, mpnas.sweep.folder, mpnas.sweep.hold, mpnas.sweep.watch, mpnas.sweep.attempt\n" \
           "print([m for m in ('jax', 'ray', 'flax') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
