"""Tests of mpnas/sweep/plan.py."""

import json
import re

import pytest
import tiny_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_plan import plan, table

from mpnas.errors import ConfigError, RunFolderError
from mpnas.sweep.config import experiment_of, read_experiment
from mpnas.sweep.folder import outline_of, write_json
from mpnas.sweep.plan import TrialSpec, load_plan, plan_of, propose, save_plan

SAFE = re.compile(r"[A-Za-z0-9_.=+-]+")


def test_trials_are_float_then_uniform_then_searched_and_random():
    assert [trial.id for trial in plan().trials] == [
        tiny_plan.FLOAT, tiny_plan.UNIFORM, tiny_plan.SEARCH, tiny_plan.RANDOM
    ]


def test_every_trial_of_a_seed_needs_its_float_network():
    found = plan(seeds=[3, 5], float_seeds=[5, 7])
    floats = [trial.id for trial in found.trials if trial.kind == "float"]
    assert floats == ["float-s3", "float-s5", "float-s7"]
    assert {trial.needs for trial in found.trials} == {None, "float-s3", "float-s5"}
    assert all(trial.needs == f"float-s{trial.seed}" for trial in found.trials if trial.kind != "float")


def test_counts_of_the_bundled_digits():
    experiment, plain = experiment_of("digits")
    trials = plan_of(plain, experiment).trials
    kinds = [trial.kind for trial in trials]
    # Two controllers, four budgets, two seeds; three uniform widths; one more float network.
    counts = {kind: kinds.count(kind) for kind in ("float", "uniform", "search", "random")}
    assert counts == {"float": 3, "uniform": 6, "search": 16, "random": 8}


def test_same_experiment_has_the_same_trials_and_digest():
    one, other = plan(), plan()
    assert one.trials == other.trials
    assert one.digest == other.digest


def test_settings_of_one_controller_are_numbered():
    specs = [{"name": "gumbel", "hard": True}, "dbp", "gumbel"]
    searches = [trial for trial in plan(controllers=specs).trials if trial.kind == "search"]
    assert [trial.id.split("-")[0] for trial in searches] == ["gumbel1", "dbp", "gumbel2"]
    assert [trial.controller for trial in searches] == [0, 1, 2]


@pytest.mark.parametrize("changes", [
    {"name": "other"}, {"model": "mlp"}, {"seeds": [1]}, {"checkpoint_every": 6},
    {"recipe__search__arch__lr": 0.2}, {"budgets": [{"weight_bytes": 0.6}]},
    {"space": {"rules": [{"match": "*", "weights": [2, 4]}]}}, {"references__random": False},
    {"recipe__float__smoothing": 0.1}, {"float_seeds": []},
])
def test_digest_changes_with_any_key(changes):
    assert plan(**changes).digest != plan().digest


def test_digest_changes_with_the_threads_and_not_with_the_place_of_the_data():
    plain = table()
    experiment = read_experiment(plain, "x")
    digests = [
        plan_of(plain, experiment, threads=threads, data_dir=place).digest
        for threads, place in [(1, None), (2, None), (1, "/data")]
    ]
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_digest_does_not_depend_on_the_order_of_keys():
    plain = table()
    turned = dict(reversed(list(plain.items())))
    experiment = read_experiment(plain, "x")
    assert plan_of(turned, experiment).digest == plan_of(plain, experiment).digest


amounts = st.one_of(
    st.floats(min_value=1e-12, max_value=1e12), st.text(min_size=1, max_size=12),
    st.sampled_from(["20 kB", "../../etc", "a/b", "..", "1e-3", "1e3", "２０kB", "\x00"]),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(amounts, min_size=1, max_size=4, unique_by=lambda v: (type(v), v)))
def test_ids_are_unique_and_safe_as_names_of_folders(limits):
    try:
        trials = plan(budgets=[{"weight_bytes": limit} for limit in limits]).trials
    except ConfigError as error:
        assert "twice" in str(error)
        assert any(isinstance(limit, str) for limit in limits), "different numbers never collide"
        return
    ids = [trial.id for trial in trials]
    assert len(set(ids)) == len(ids)
    for name in ids:
        assert SAFE.fullmatch(name), name
        assert ".." not in name
        assert not name.startswith((".", "-"))


def test_nearly_equal_budgets_have_ids_of_their_own():
    budgets = [{"weight_bytes": limit} for limit in (0.1234567, 0.1234568, 1e-3, 1e3)]
    ids = [trial.id for trial in plan(budgets=budgets).trials if trial.kind == "search"]
    assert ids == [
        "gumbel-weight_bytes=0.1234567-s0", "gumbel-weight_bytes=0.1234568-s0",
        "gumbel-weight_bytes=0.001-s0", "gumbel-weight_bytes=1000-s0",
    ]


def test_budget_of_several_costs_is_in_the_order_of_their_names():
    ids = [trial.id for trial in plan(budgets=[{"weight_bytes": "20 kB", "bops": 0.1}]).trials]
    assert "gumbel-bops=0.1-weight_bytes=20kB-s0" in ids


def test_budget_without_a_limit_has_a_name():
    assert "gumbel-unlimited-s0" in [trial.id for trial in plan(budgets=[{}]).trials]


@pytest.mark.parametrize("changes, twin", [
    ({"budgets": [{"weight_bytes": 0.5}, {"weight_bytes": 0.5}]}, "gumbel-weight_bytes=0.5-s0"),
    ({"budgets": [{"weight_bytes": "20 kB"}, {"weight_bytes": "20kB"}]}, "gumbel-weight_bytes=20kB-s0"),
    ({"references__uniform": [4, 4]}, "uniform4-s0"),
])
def test_trial_that_is_asked_for_twice_is_refused(changes, twin):
    with pytest.raises(ConfigError, match=f"asks for trial '{twin}' twice"):
        plan(**changes)


# plan.json ----------------------------------------------------------------------------------------


def test_saved_plan_is_read_back(tmp_path):
    folder = tmp_path / "deep" / "run"
    plain = table()
    saved = plan_of(plain, read_experiment(plain, "x"), threads=3, data_dir="/data")
    save_plan(saved, folder)
    found = load_plan(folder)
    assert found == saved
    assert found.digest == saved.digest
    assert [path.name for path in folder.iterdir()] == ["plan.json"]


def test_same_plan_is_accepted_and_not_written_again(tmp_path):
    save_plan(plan(), tmp_path)
    before = (tmp_path / "plan.json").stat().st_mtime_ns
    (tmp_path / "trials").mkdir()
    save_plan(plan(), tmp_path)
    assert (tmp_path / "plan.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("changes, words", [
    ({"recipe__search__steps": 13}, r"differs in recipe.search.steps \(12 there, 13 now\)"),
    ({"seeds": [0, 1]}, r"differs in seeds.1 \(None there, 1 now\)"),
    ({"float_seeds": []}, r"differs in float_seeds \(None there, \[\] now\)"),
    (
        {"name": "other", "data": "other", "checkpoint_every": 1, "model": "mlp"},
        r"differs in checkpoint_every .* and \d more keys",
    ),
])
def test_another_plan_is_refused_with_the_key_and_both_values(tmp_path, changes, words):
    save_plan(plan(), tmp_path)
    with pytest.raises(RunFolderError, match=f"holds the run of another plan; it {words}"):
        save_plan(plan(**changes), tmp_path)
    assert load_plan(tmp_path) == plan()


def test_another_number_of_threads_is_another_plan(tmp_path):
    save_plan(plan(), tmp_path)
    plain = table()
    with pytest.raises(RunFolderError, match=r"differs in threads \(1 there, 2 now\)"):
        save_plan(plan_of(plain, read_experiment(plain, "x"), threads=2), tmp_path)


def test_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match="is not empty and holds no plan.json"):
        save_plan(plan(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written: Not a directory. Choose another --out"):
        save_plan(plan(), tmp_path / "file" / "run")


def damaged(folder, change):
    save_plan(plan(), folder)
    path = folder / "plan.json"
    document = json.loads(path.read_text())
    path.write_text(change(document))


@pytest.mark.parametrize("change, words", [
    (lambda d: json.dumps(d)[:100], "plan.json is not JSON: .* start it anew"),
    (lambda d: "", "plan.json is not JSON"),
    (lambda d: "[]", "has schema 'list', this version reads 'mpnas.plan/2'"),
    (lambda d: json.dumps(d | {"schema": "mpnas.plan/9"}), "has schema 'mpnas.plan/9'"),
    (lambda d: json.dumps({k: v for k, v in d.items() if k != "experiment"}), "is damaged: KeyError"),
    (lambda d: json.dumps({k: v for k, v in d.items() if k != "trials"}), "is damaged: KeyError"),
    (lambda d: json.dumps(d | {"threads": "many"}), "is damaged: ValueError"),
    (lambda d: json.dumps(d | {"threads": None}), "is damaged: TypeError"),
    (lambda d: json.dumps(d | {"threads": -1}), "is damaged: ValueError"),
    (lambda d: json.dumps(d | {"data_dir": 3}), "is damaged: ValueError"),
    (lambda d: "[" * 100_000, "plan.json is not JSON"),
    (lambda d: json.dumps(d | {"trials": d["trials"][:2]}), "lists other trials than its experiment has"),
], ids=["cut", "empty", "list", "version", "experiment", "no_trials", "threads", "null", "no_threads",
        "data_dir", "deep", "other_trials"])
def test_damaged_plan_is_a_sentence(tmp_path, change, words):
    damaged(tmp_path, change)
    with pytest.raises(RunFolderError, match=words):
        load_plan(tmp_path)


def test_bytes_that_are_no_text_are_a_sentence(tmp_path):
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RunFolderError, match="plan.json is not JSON"):
        load_plan(tmp_path)


def test_experiment_that_is_no_longer_valid_is_a_sentence(tmp_path):
    damaged(tmp_path, lambda d: json.dumps(d | {"experiment": d["experiment"] | {"seed": 3}}))
    with pytest.raises(ConfigError, match="plan.json: unknown key 'seed'; nearest: 'seeds'"):
        load_plan(tmp_path)


def test_folder_without_a_plan_is_no_run_folder(tmp_path):
    with pytest.raises(RunFolderError, match="is no run folder: it has no readable plan.json"):
        load_plan(tmp_path / "nowhere")


# Writing ------------------------------------------------------------------------------------------


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


# Proposals ----------------------------------------------------------------------------------------

EXPLORE = {"budgets": {"weight_bytes": [0.45, 0.8]}, "trials": 2}


@pytest.fixture
def proposed(tmp_path):
    """A run folder to which two budgets have been proposed."""
    folder = tiny_plan.run_folder(tmp_path / "run", explore=EXPLORE)
    plan = propose(folder, load_plan(folder), {"weight_bytes": 0.5625})
    propose(folder, plan, {"weight_bytes": 0.75})
    return folder


def test_proposals_are_searches_of_the_plan_in_the_order_they_came(proposed):
    found = load_plan(proposed)
    budgets = [{"weight_bytes": 0.5625}, {"weight_bytes": 0.75}]
    ids = ["gumbel-weight_bytes=0.5625-s0", "gumbel-weight_bytes=0.75-s0"]
    assert found.proposals == tuple(
        TrialSpec(name, "search", 0, 0, budget) for name, budget in zip(ids, budgets, strict=True)
    )
    assert found.trials == (*plan(explore=EXPLORE).trials, *found.proposals)
    assert found.trial(ids[0]).needs == tiny_plan.FLOAT
    assert (found.unproposed, plan(explore=EXPLORE).unproposed, plan().unproposed) == (0, 2, 0)
    assert [trial.id for trial in outline_of(proposed).trials] == [trial.id for trial in found.trials]


def test_a_plan_with_proposals_is_the_plan_that_it_was(proposed):
    assert load_plan(proposed).digest == plan(explore=EXPLORE).digest
    save_plan(plan(explore=EXPLORE), proposed)  # a sweep that is called again


def test_what_is_still_to_be_proposed_is_stood_in_for():
    stand_ins = plan(explore=EXPLORE).stand_ins()
    # The middle of 0.45 and 0.8 is sqrt(0.36).
    assert [trial.budget for trial in stand_ins] == [{"weight_bytes": 0.6}] * 2
    assert len({trial.id for trial in stand_ins}) == 2 and plan().stand_ins() == []


def test_a_budget_is_not_proposed_twice_nor_beside_a_listed_one(proposed):
    for budget in ({"weight_bytes": 0.75}, {"weight_bytes": 0.5}):
        with pytest.raises(ConfigError, match="twice"):
            propose(proposed, load_plan(proposed), budget)
    assert load_plan(proposed).proposed == 2


def _first(**changes):
    return lambda document: document | {"trials": [document["trials"][0] | changes]}


@pytest.mark.parametrize("damage", [
    lambda document: [], lambda document: document | {"schema": "mpnas.proposed/9"},
    lambda document: document | {"trials": 3}, lambda document: document | {"trials": ["x"]},
    lambda document: {k: v for k, v in document.items() if k != "trials"},
    lambda document: document | {"plan": "0" * 64},
    lambda document: {k: v for k, v in document.items() if k != "plan"},
    lambda document: document | {"trials": document["trials"] * 2},
    _first(id="../../elsewhere"), _first(id="gumbel-weight_bytes=0.6-s0"), _first(kind="float"),
    _first(stages={"search": 1}), _first(budget={"weight_bytes": 0.9}), _first(budget={"weight_bytes": "x"}),
    _first(budget={"bops": 0.5}), _first(budget=[]), _first(budget={"weight_bytes": float("nan")}),
])
def test_damaged_proposals_are_refused(proposed, damage):
    path = proposed / "proposed.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(RunFolderError, match="proposed.json is damaged.*mpnas resume"):
        load_plan(proposed)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\0"])
def test_proposals_that_are_no_json_are_refused(proposed, text):
    (proposed / "proposed.json").write_text(text)
    for read in (load_plan, outline_of):
        with pytest.raises(RunFolderError, match="proposed.json is damaged"):
            read(proposed)


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "", ".", ".."])
def test_no_proposal_leads_out_of_the_folder_of_whoever_only_looks(proposed, name):
    path = proposed / "proposed.json"
    path.write_text(json.dumps(_first(id=name)(json.loads(path.read_text()))))
    with pytest.raises(RunFolderError, match="proposed.json is damaged"):
        outline_of(proposed)


def test_proposals_to_a_plan_that_asks_for_none_are_refused(tmp_path, proposed):
    folder = tiny_plan.run_folder(tmp_path / "other")
    (folder / "proposed.json").write_text((proposed / "proposed.json").read_text())
    with pytest.raises(RunFolderError, match="belongs to another plan"):
        load_plan(folder)
