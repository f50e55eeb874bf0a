"""Tests of mpnas/pareto/study.py."""

import sys

import optuna
import pytest
from front_maker import HALF, OBJECTIVES, RUN, made, record, records

from mpnas.errors import ConfigError, FrontFileError
from mpnas.pareto.study import params_of, save_study

# A tie of two points, which both stay on the front, and a seed more.
ROWS = [*records(), record("twin", accuracy=0.88, seed=7), record("lost", accuracy=0.1, assignment=HALF)]
FRONT = made(ROWS)


def read_back(path, name):
    if path.suffix == ".db":
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    else:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    study = optuna.load_study(study_name=name, storage=storage)
    trials, best = study.trials, study.best_trials
    if path.suffix == ".db":
        storage.remove_session()
        storage.engine.dispose()
    return study, trials, best


@pytest.fixture(autouse=True)
def quiet():
    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(shown)


@pytest.mark.parametrize("name", ["front.db", "front.log"])
def test_the_best_trials_of_the_study_are_the_front(tmp_path, name):
    study, trials, best = read_back(tmp_path / name, save_study(FRONT, tmp_path / name))
    assert [trial.user_attrs["id"] for trial in trials] == [point["id"] for point in FRONT["points"]]
    on_front = {point["trial"] for point in FRONT["points"] if point["nondominated"]}
    assert {trial.user_attrs["trial"] for trial in best} == on_front == {"s0", "twin", "s1"}
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert trials[0].values == [0.88, 600.0]


def test_params_are_what_a_plot_can_lay_along_an_axis(tmp_path):
    _, trials, _ = read_back(tmp_path / "a.db", save_study(FRONT, tmp_path / "a.db"))
    # s0: 5 bits of 400 weights, 2.5 of 800 and 8 of 100; activations of 8 bits.
    assert trials[0].params == {
        "controller": "gumbel", "seed": 0, "limit weight_bytes": 650.0,
        "mean weight bits": pytest.approx((400 * 5 + 800 * 2.5 + 100 * 8) / 1300),
        "mean activation bits": 8.0,
    }
    assert trials[0].user_attrs["bits"]["block/conv1/kernel"] == "8x2 4x1 0x1"
    assert trials[0].user_attrs["metrics"]["test_accuracy"]["mean"] == 0.87


def test_the_study_tells_the_run_and_its_references(tmp_path):
    study, _, _ = read_back(tmp_path / "a.log", save_study(FRONT, tmp_path / "a.log"))
    assert study.user_attrs["run"]["id"] == "made-by-hand"
    assert [r["label"] for r in study.user_attrs["references"]][0] == "float"
    assert study.metric_names == ["accuracy", "weight_bytes"]


def test_three_objectives_and_a_loss_make_a_study_too(tmp_path):
    loss, bops = OBJECTIVES[0] | {"name": "loss", "direction": "min"}, OBJECTIVES[3] | {"on_front": True}
    axes = [loss, OBJECTIVES[2], bops]
    rows = [
        record(str(n), metrics={"loss": n % 3}, costs={"weight_bytes": n % 4, "bops": 9 - n})
        for n in range(9)
    ]
    front = made(rows, objectives=axes)
    _, _, best = read_back(tmp_path / "a.log", save_study(front, tmp_path / "a.log"))
    expected = {point["id"] for point in front["points"] if point["nondominated"]}
    assert 0 < len(expected) < 9 and {trial.user_attrs["id"] for trial in best} == expected


@pytest.mark.parametrize("front", [made([]), made([record("a", budget={}, limits={})])], ids=["empty", "one"])
def test_small_fronts_make_a_study(tmp_path, front):
    _, trials, _ = read_back(tmp_path / "a.log", save_study(front, tmp_path / "a.log"))
    assert len(trials) == len(front["points"])


def test_a_path_with_signs_of_an_url_is_a_path(tmp_path):
    (tmp_path / "what?%20#").mkdir()
    save_study(FRONT, tmp_path / "what?%20#" / "a?b.db")
    assert (tmp_path / "what?%20#" / "a?b.db").read_bytes().startswith(b"SQLite format 3")
    assert [path.name for path in (tmp_path / "what?%20#").iterdir()] == ["a?b.db"]


def test_writing_again_replaces_the_study(tmp_path):
    for front in (FRONT, made([])):
        name = save_study(front, tmp_path / "a.db")
    assert read_back(tmp_path / "a.db", name)[1] == []


def test_a_long_name_of_a_run_is_cut(tmp_path):
    front = made([], run=RUN | {"id": "x" * 1024})
    assert save_study(front, tmp_path / "a.log") == "x" * 200


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'mpnas\[optuna\]'"):
        save_study(FRONT, tmp_path / "a.db")


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a.csv is no storage of Optuna"):
        save_study(FRONT, tmp_path / "a.csv")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FrontFileError, match="absent"):
        save_study(FRONT, tmp_path / "absent" / "a.log")


def test_a_float_network_has_no_mean_bits():
    assert params_of(FRONT["references"][0], FRONT["run"]["sites"]) == {"controller": "float", "seed": 0}
