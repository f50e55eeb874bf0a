"""Tests of mpnas/sweep/tune/."""

import dataclasses
import os
import signal
import types

import pytest
import tiny_plan
from tiny_plan import FLOAT, RANDOM, SEARCH, UNIFORM, run_folder

from mpnas.errors import ConfigError
from mpnas.sweep.attempt import Fenced
from mpnas.sweep.plan import load_plan
from mpnas.sweep.tune import drive, fit, session
from mpnas.sweep.tune.drive import run_pending
from mpnas.sweep.tune.resources import Outcome, Resources
from mpnas.sweep.tune.session import worker_environment
from mpnas.sweep.tune.waves import waves_of
from mpnas.sweep.tune.worker import on_worker as run_on_worker


# Without Ray --------------------------------------------------------------------------------------


def test_finished_run_needs_no_ray(finished, monkeypatch):
    monkeypatch.setattr(session, "start_local", None)
    assert run_pending(finished, Resources(cpus=1)) == Outcome()


@pytest.fixture
def without_ray(monkeypatch):
    """Runs of `fit` that are noted down instead of made, in an environment that is given back."""
    waves = []
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(session, "start_local", lambda *_: None)
    monkeypatch.setattr("ray.shutdown", lambda: None)

    def fit(action=lambda wave: None):
        def instead(folder, plan, wave, resources, private):
            waves.append([trial.id for trial in wave.trials])
            assert oct(private.stat().st_mode & 0o777) == "0o700"
            return action(wave)

        monkeypatch.setattr(drive, "fit", instead)
        return waves

    return fit


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]


def test_float_networks_come_before_the_rest_and_what_is_done_is_left_out(tmp_path, without_ray):
    folder = run_folder(tmp_path / "run")
    waves = without_ray()
    assert run_pending(folder, Resources(cpus=1)) == Outcome()
    assert waves == [[FLOAT], [UNIFORM, SEARCH, tiny_plan.RANDOM]]
    waves.clear()
    for trial in (FLOAT, SEARCH):
        (folder / "trials" / trial).mkdir(parents=True)
        (folder / "trials" / trial / "result.json").write_text("{}")
    run_pending(folder, Resources(cpus=1))
    assert waves == [[UNIFORM, tiny_plan.RANDOM]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_ends_after_this_wave_and_handlers_are_given_back(tmp_path, without_ray, number):
    before = handlers()
    waves = without_ray(lambda wave: signal.raise_signal(number))
    assert run_pending(run_folder(tmp_path / "run"), Resources(cpus=1)) == Outcome(interrupted=True)
    assert waves == [[FLOAT]]
    assert handlers() == before


def test_second_signal_ends_at_once(tmp_path, without_ray):
    def twice(wave):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    before = handlers()
    without_ray(twice)
    assert run_pending(run_folder(tmp_path / "run"), Resources(cpus=1)) == Outcome(interrupted=True)
    assert handlers() == before


def test_a_signal_does_not_cut_the_shutdown_of_ray_short(tmp_path, without_ray, monkeypatch):
    without_ray()
    monkeypatch.setattr("ray.shutdown", lambda: signal.raise_signal(signal.SIGINT))
    before = handlers()
    assert run_pending(run_folder(tmp_path / "run"), Resources(cpus=1)) == Outcome()
    assert handlers() == before


def test_error_of_the_controller_is_handed_on_in_words(tmp_path, without_ray):
    waves = without_ray(lambda wave: "RuntimeError: no controller")
    outcome = run_pending(run_folder(tmp_path / "run"), Resources(cpus=1))
    assert outcome == Outcome(error="RuntimeError: no controller")
    assert waves == [[FLOAT]]


def test_a_ray_that_does_not_start_fails_the_sweep_in_words(tmp_path, monkeypatch):
    def timed_out(*_, **__):
        raise Exception("The current node timed out during startup. \n Perhaps it is overloaded.")

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("ray.init", timed_out)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    before = handlers()
    outcome = run_pending(run_folder(tmp_path / "run"), Resources(cpus=1))
    assert outcome.error.startswith("Ray did not start: The current node timed out during startup. Perhaps")
    assert not outcome.interrupted and handlers() == before


def test_worker_is_pinned_to_the_threads_of_the_plan(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    found = worker_environment(3)
    path = f"{os.getcwd()}{os.pathsep}/somewhere"
    assert found == {"JAX_PLATFORMS": "cpu", "NPROC": "3", "PYTHONPATH": path}


@pytest.fixture
def on_worker(tmp_path, monkeypatch):
    """`on_worker` in this process, with a trial that does as it is told; returns the trial's folder."""
    monkeypatch.setattr("ray.tune.report", lambda row: None)
    monkeypatch.setenv("MPNAS_NO_COMPILE_CACHE", "1")

    def run(action):
        def instead(folder, trials, report, alive):
            return {trial: action() for trial in trials}

        monkeypatch.setattr("mpnas.sweep.population.run_population", instead)
        run_on_worker({"folder": str(tmp_path), "trials": (FLOAT,), "hang_after": 60.0})

    return run, tmp_path / "trials" / FLOAT


def raising(error):
    def action():
        raise error

    return action


def test_a_worker_is_told_of_its_own_trials_and_of_no_others(tmp_path):
    # Tune copies a config for every trial: with all groups in each, 1,000 trials take 100 times those of 100.
    folder = run_folder(tmp_path / "run")
    (_, rest) = waves_of(folder, plan := load_plan(folder))
    listed, chosen = fit.chosen(folder, plan, rest, "cpu")
    assert listed == {"trials": {"grid_search": [(UNIFORM,), (SEARCH,), (RANDOM,)]}}
    assert chosen == {}


def test_a_trial_on_a_cluster_is_given_as_many_processors_as_threads(tmp_path, monkeypatch):
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": True, "Resources": {"GPU": 1.0}},
             {"Alive": False, "Resources": {"CPU": 64.0}}]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    plan = load_plan(run_folder(tmp_path / "run"))
    asked = [
        fit.resources_of(
            dataclasses.replace(plan, threads=threads), Resources(cpus=2, address=address), backend
        )
        for threads, address, backend in
        [(1, "auto", "cpu"), (3, "auto", "cpu"), (8, "auto", "gpu"), (8, None, "cpu"), (8, None, "gpu")]
    ]
    assert asked == [{"cpu": 1}, {"cpu": 3}, {"cpu": 4, "gpu": 1}, {"cpu": 1}, {"cpu": 1, "gpu": 1}]


def test_a_population_is_one_trial_of_tune(tmp_path):
    folder = run_folder(tmp_path / "run", population="together")
    (_, rest) = waves_of(folder, plan := load_plan(folder))
    listed, _ = fit.chosen(folder, plan, rest, "cpu")
    assert listed == {"trials": {"grid_search": [(UNIFORM, RANDOM), (SEARCH,)]}}


def test_members_that_ended_well_are_not_told_the_words_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("ray.tune.report", lambda row: None)
    monkeypatch.setenv("MPNAS_NO_COMPILE_CACHE", "1")
    ends = {"a": object(), "b": ConfigError("b has no data."), "c": Fenced("c is another's.")}
    monkeypatch.setattr("mpnas.sweep.population.run_population", lambda folder, trials, report, alive: ends)
    run_on_worker({"folder": str(tmp_path), "trials": tuple("abc"), "hang_after": 60.0})
    found = {path.parent.name: path.read_text() for path in tmp_path.glob("trials/*/error.txt")}
    assert found == {"b": "b has no data.\n"}


def test_error_for_a_person_is_left_in_the_folder_and_not_tried_again(on_worker):
    run, home = on_worker
    run(lambda: ConfigError("the data are missing."))
    assert (home / "error.txt").read_text() == "the data are missing.\n"
    assert not (home / "traceback.txt").exists()


def test_defect_is_left_with_its_traceback_and_tried_again(on_worker):
    run, home = on_worker
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError("by zero")))
    assert (home / "error.txt").read_text() == "ZeroDivisionError: by zero\n"
    assert "Traceback" in (home / "traceback.txt").read_text()


def test_fenced_attempt_leaves_no_words_in_a_folder_that_is_not_its_own(on_worker):
    run, home = on_worker
    run(lambda: Fenced("a newer attempt has started."))
    assert not home.exists()


TRACE = (  # as Tune keeps it, of two attempts
    "Failure # 1 (occurred at 2026-12-01_13-56-16)\nKeyError: 'x'\n"
    "Failure # 2 (occurred at 2026-12-01_13-56-17)\n\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=7)\n"
    '  File "place.py", line 24, in on_node\n    with placed(folder):\n         ^^^^^^^^\n'
    "mpnas.errors.DataError: 'x.npz' has arrived with another SHA-256.\n"
)


@pytest.mark.parametrize("text, raised", [
    (None, None), ("", None),
    ("Failure # 1 (occurred at 2026-12-01_13-56-16)\nThe actor died unexpectedly before finishing.\n", None),
    (TRACE, "DataError: 'x.npz' has arrived with another SHA-256."),
])
def test_what_a_worker_raised_is_told_apart_from_its_death(tmp_path, text, raised):
    from mpnas.sweep.tune.listener import Listener  # imports Ray

    trial = types.SimpleNamespace(config={"trials": [FLOAT]}, get_error=lambda: text)
    Listener(tmp_path, 1).on_trial_error(0, [], trial)
    words = (tmp_path / "trials" / FLOAT / "error.txt").read_text()
    if raised is None:
        assert words.startswith("its worker died 2 times without a word, as happens when the system ends")
    else:
        assert words == f"it could not begin on its worker, 2 times: {raised}\n"
