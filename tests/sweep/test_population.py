"""Tests of mpnas/sweep/population.py."""

import json
import shutil

import numpy as np
import pytest
import tiny_plan
from tiny_plan import STEPS, final_arrays, rows, run_folder, told

from mpnas.data import Dataset
from mpnas.errors import ConfigError, RunFolderError
from mpnas.pareto import Record
from mpnas.sweep.attempt import Fenced
from mpnas.sweep.plan import load_plan
from mpnas.sweep.population import groups_of, run_population
from mpnas.sweep.trial import run_trial

FLOATS = ("float-s0", "float-s1")
SEARCHED = tuple(f"gumbel-weight_bytes={budget}-s{seed}" for budget in (0.5, 0.6) for seed in (0, 1))
BASELINES = (
    "uniform8-s0", "uniform8-s1",
    *(f"random-weight_bytes={budget}-s{seed}" for budget in (0.5, 0.6) for seed in (0, 1)),
)
# Without Adam, which steps by rounding errors where a gradient is 0 but for them.
SGD = {"name": "sgd", "lr": 1e-2}
CHANGES = {
    "population": "together", "seeds": [0, 1], "budgets": [{"weight_bytes": 0.5}, {"weight_bytes": 0.6}],
    "recipe__search__weights": {**SGD, "share": [0.0, 0.8]},
    "recipe__search__ranges": {**SGD, "lr": 1e-3, "share": [0.0, 0.8]},
    "recipe__retrain__weights": SGD, "recipe__retrain__ranges": {**SGD, "lr": 1e-3},
}


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """A run folder whose float networks are done."""
    folder = run_folder(tmp_path_factory.mktemp("floats") / "run", **CHANGES)
    for trial in FLOATS:
        run_trial(folder, trial)
    return folder


def copied(folder, target, **changes):
    """A run folder with the float networks of another."""
    run_folder(target, **(CHANGES | changes))
    for trial in FLOATS:
        shutil.copytree(folder / "trials" / trial, target / "trials" / trial)
    return target


@pytest.fixture(scope="module")
def together(tmp_path_factory, floats):
    """A run folder whose populations have been run, undisturbed; to be copied, not changed."""
    folder = copied(floats, tmp_path_factory.mktemp("together") / "run")
    for group in (SEARCHED, BASELINES):
        run_population(folder, group)
    return folder


@pytest.fixture(scope="module")
def apart(tmp_path_factory, floats):
    """The same trials, each run alone."""
    folder = copied(floats, tmp_path_factory.mktemp("apart") / "run")
    for trial in (*SEARCHED, *BASELINES):
        run_trial(folder, trial)
    return folder


def record_of(folder, trial):
    return Record.from_json(json.loads((folder / "trials" / trial / "result.json").read_text()))


def files(home):
    """Names of a trial's files and folders, those inside of a checkpoint's arrays left out."""
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if "state" not in path.parts)


@pytest.mark.parametrize("trial", [*SEARCHED, *BASELINES])
def test_member_writes_what_it_would_write_alone(together, apart, trial):
    homes = [folder / "trials" / trial for folder in (together, apart)]
    assert files(homes[0]) == files(homes[1])
    one, other = (json.loads((home / "config.json").read_text()) for home in homes)
    assert one == other
    mine, alone = record_of(together, trial), record_of(apart, trial)
    assert (mine.status, mine.stage, mine.kind, mine.steps) == ("done", "retrained", alone.kind, alone.steps)
    assert mine.limits == alone.limits and mine.budget == alone.budget
    for name in ("accuracy", "test_accuracy"):
        assert mine.metrics[name] == pytest.approx(alone.metrics[name], abs=0.02)
    assert mine.costs["weight_bytes"] == pytest.approx(alone.costs["weight_bytes"], rel=0.02)
    assert mine.to_json().keys() == alone.to_json().keys() and mine.gap.keys() == alone.gap.keys()


@pytest.mark.parametrize("trial", [*SEARCHED, *BASELINES])
def test_rows_of_a_member_are_near_those_of_a_trial_alone(together, apart, trial):
    mine, alone = rows(together, trial), rows(apart, trial)
    assert [row.keys() for row in mine] == [row.keys() for row in alone]
    assert [(row["stage"], row["step"]) for row in mine] == [(row["stage"], row["step"]) for row in alone]
    np.testing.assert_allclose([row["loss"] for row in mine], [row["loss"] for row in alone], rtol=1e-3)


def test_members_are_not_all_the_same(together):
    assert len({json.dumps(rows(together, trial)) for trial in SEARCHED}) == 4
    assert len({json.dumps(rows(together, trial)) for trial in BASELINES}) == 6


class Stopped(Exception):
    pass


def stop_at(trial, step):
    def report(told_of, row):
        if told_of == trial and row["step"] == step:
            raise Stopped

    return report


def assert_same_end(folder, together, trials):
    for trial in trials:
        assert told(record_of(folder, trial)) == told(record_of(together, trial))
        assert rows(folder, trial) == rows(together, trial)
        assert final_arrays(folder, trial) == final_arrays(together, trial)


# Checkpoints come at 5, 10 and 12 of each stage, each member's behind its report: where the second
# member stops, the first one has saved the step, and the others have not.
@pytest.mark.parametrize("member, step, goes_on_after", [
    (1, 5, 0), (0, 8, 5), (1, 10, 5), (3, STEPS, 10), (2, STEPS + 5, STEPS), (0, STEPS + 7, STEPS + 5),
    (1, 2 * STEPS, STEPS + 10),
])
def test_population_stopped_anywhere_ends_as_if_it_had_not_been(
    tmp_path, floats, together, member, step, goes_on_after
):
    folder = copied(floats, tmp_path / "run")
    with pytest.raises(Stopped):
        run_population(folder, SEARCHED, report=stop_at(SEARCHED[member], step))
    first = {}
    ends = run_population(folder, SEARCHED, report=lambda trial, row: first.setdefault(trial, row["step"]))
    assert first == dict.fromkeys(SEARCHED, goes_on_after + 1)
    assert [end.status for end in ends.values()] == ["done"] * 4
    assert_same_end(folder, together, SEARCHED)


def test_baselines_that_are_stopped_end_as_if_they_had_not_been(tmp_path, floats, together):
    folder = copied(floats, tmp_path / "run")
    with pytest.raises(Stopped):
        run_population(folder, BASELINES, report=stop_at(BASELINES[2], STEPS + 10))
    run_population(folder, BASELINES)
    assert_same_end(folder, together, BASELINES)


def test_damaged_checkpoint_of_one_member_takes_all_back_to_an_older_one(tmp_path, floats, together):
    folder = copied(floats, tmp_path / "run")
    with pytest.raises(Stopped):
        run_population(folder, SEARCHED, report=stop_at(SEARCHED[0], STEPS))
    shutil.rmtree(folder / "trials" / SEARCHED[2] / "checkpoint" / "step_00000010" / "state")
    steps = []
    run_population(folder, SEARCHED, report=lambda trial, row: steps.append(row["step"]))
    assert steps[0] == 6
    assert_same_end(folder, together, SEARCHED)


def test_finished_members_are_left_alone_and_change_nothing_for_the_others(tmp_path, floats, together):
    folder = copied(floats, tmp_path / "run")
    for trial in SEARCHED[:2]:
        shutil.copytree(together / "trials" / trial, folder / "trials" / trial)
    before = {trial: files(folder / "trials" / trial) for trial in SEARCHED[:2]}
    stamps = [(folder / "trials" / trial / "result.json").stat().st_mtime_ns for trial in SEARCHED[:2]]
    heard = set()
    ends = run_population(folder, SEARCHED, report=lambda trial, row: heard.add(trial))
    assert heard == set(SEARCHED[2:]) and list(ends) == list(SEARCHED)
    assert {trial: files(folder / "trials" / trial) for trial in SEARCHED[:2]} == before
    assert [(folder / "trials" / t / "result.json").stat().st_mtime_ns for t in SEARCHED[:2]] == stamps
    assert_same_end(folder, together, SEARCHED)


def test_member_with_only_its_last_checkpoint_left_writes_the_same_record(tmp_path, together):
    folder = tmp_path / "run"
    shutil.copytree(together, folder)
    for trial in SEARCHED[1:]:
        (folder / "trials" / trial / "result.json").unlink()
    run_population(folder, SEARCHED)
    assert_same_end(folder, together, SEARCHED)


def test_damaged_result_is_told_of_its_member_alone(tmp_path, together):
    folder = tmp_path / "run"
    shutil.copytree(together, folder)
    (folder / "trials" / SEARCHED[1] / "result.json").write_text("{")
    (folder / "trials" / SEARCHED[2] / "result.json").unlink()
    ends = run_population(folder, SEARCHED)
    assert "result.json is damaged" in str(ends[SEARCHED[1]])
    assert_same_end(folder, together, [SEARCHED[0], *SEARCHED[2:]])


def test_member_that_a_newer_attempt_took_over_ends_alone(tmp_path, floats, together):
    folder, lost = copied(floats, tmp_path / "run"), SEARCHED[1]
    home = folder / "trials" / lost

    def taken_over(trial, row):
        if trial == SEARCHED[0] and row["step"] == 7:
            (home / "attempts" / "2").touch()

    ends = run_population(folder, SEARCHED, report=taken_over)
    assert isinstance(ends[lost], Fenced)
    assert not (home / "result.json").exists() and len(rows(folder, lost)) == 6
    assert_same_end(folder, together, [trial for trial in SEARCHED if trial != lost])
    # It goes on from its own checkpoint, its lane and all others as they were.
    run_population(folder, SEARCHED)
    assert_same_end(folder, together, SEARCHED)


def test_budget_that_cannot_be_met_fails_its_member_alone(tmp_path, floats, together):
    folder = copied(floats, tmp_path / "run", budgets=[{"weight_bytes": 0.5}, {"weight_bytes": "9 b"}])
    (group,) = (g for g in groups_of(load_plan(folder), SEARCHED[:1], backend="cpu") if len(g) == 4)
    ends = run_population(folder, group)
    failed = [trial for trial, end in ends.items() if end.status == "failed"]
    assert failed == ["gumbel-weight_bytes=9b-s0", "gumbel-weight_bytes=9b-s1"]
    for trial in failed:
        assert "budget weight_bytes = 9 byte cannot be met" in record_of(folder, trial).reason
    assert_same_end(folder, together, SEARCHED[:2])


def test_loss_that_is_not_finite_is_recorded_at_once_and_the_others_go_on(
    tmp_path, floats, together, monkeypatch
):
    folder, real = copied(floats, tmp_path / "run"), Dataset.batch

    def broken(self, part, seed, step, size, subset=(0.0, 1.0)):
        x, y = real(self, part, seed, step, size, subset)
        return (np.full_like(x, np.nan) if seed == 1 and step == 6 else x), y

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(Dataset, "batch", broken)
        run_population(folder, SEARCHED, report=stop_at(SEARCHED[0], 11))
    for trial in SEARCHED[1::2]:
        record = record_of(folder, trial)
        assert (record.status, record.steps) == ("failed", {"search": 7})
        assert "the loss of stage 'search' is not finite at step 7" in record.reason
    run_population(folder, SEARCHED)
    assert_same_end(folder, together, SEARCHED[::2])


def test_trials_whose_float_network_is_missing_say_so_and_the_others_run(tmp_path, floats):
    folder = copied(floats, tmp_path / "run")
    shutil.rmtree(folder / "trials" / FLOATS[1])
    ends = run_population(folder, BASELINES[:2])
    assert ends[BASELINES[0]].status == "done"
    assert isinstance(ends[BASELINES[1]], RunFolderError)
    assert f"'{BASELINES[1]}' starts from '{FLOATS[1]}', which has no result" in str(ends[BASELINES[1]])


@pytest.mark.parametrize("population", ["apart", "auto"])
def test_members_run_apart_on_a_cpu_are_trials_alone_bit_for_bit(tmp_path, floats, apart, population):
    folder = copied(floats, tmp_path / "run", population=population)
    heard = []
    ends = run_population(folder, SEARCHED[:2], report=lambda trial, row: heard.append(trial))
    assert list(dict.fromkeys(heard)) == list(SEARCHED[:2])
    for trial in SEARCHED[:2]:
        assert told(ends[trial]) == told(record_of(apart, trial))
        assert final_arrays(folder, trial) == final_arrays(apart, trial)


def test_trials_of_two_kinds_are_no_population(floats):
    with pytest.raises(RunFolderError, match="are no population. Ask mpnas.sweep.population.groups_of"):
        run_population(floats, [SEARCHED[0], BASELINES[0]])


def everything(plan):
    return [trial.id for trial in plan.trials]


def test_groups_by_hand():
    plan = tiny_plan.plan(**CHANGES, controllers=["gumbel", "dbp", "sensitivity"])
    dbp = tuple(trial.replace("gumbel", "dbp") for trial in SEARCHED)
    alone = [(trial.replace("gumbel", "sensitivity"),) for trial in SEARCHED]
    groups = groups_of(plan, everything(plan))
    assert groups[:3] == [("float-s0",), ("float-s1",), BASELINES]
    assert sorted(groups[3:]) == sorted([SEARCHED, dbp, *alone])


def test_limits_on_other_costs_are_another_population():
    plan = tiny_plan.plan(**(CHANGES | {"budgets": [{"weight_bytes": 0.5}, {"bops": 0.5}]}))
    groups = [group for group in groups_of(plan, everything(plan)) if group[0].startswith("gumbel")]
    assert groups == [
        ("gumbel-weight_bytes=0.5-s0", "gumbel-weight_bytes=0.5-s1"),
        ("gumbel-bops=0.5-s0", "gumbel-bops=0.5-s1"),
    ]


def test_groups_are_cut_to_size_and_given_whole_while_one_is_pending():
    plan = tiny_plan.plan(**CHANGES, population_size=3)
    assert groups_of(plan, [SEARCHED[1], SEARCHED[3]]) == [SEARCHED[:3], SEARCHED[3:]]
    assert groups_of(plan, [SEARCHED[3]]) == [SEARCHED[3:]]
    assert groups_of(plan, []) == []


@pytest.mark.parametrize("population, backend, size", [
    ("auto", "cpu", 1), ("auto", "gpu", 4), ("apart", "gpu", 1), ("together", "cpu", 4),
])
def test_populations_are_formed_where_they_run_together(population, backend, size):
    plan = tiny_plan.plan(**(CHANGES | {"population": population}))
    assert {len(group) for group in groups_of(plan, SEARCHED, backend=backend)} == {size}


@pytest.mark.parametrize("wrong, words", [
    ({"population": "togther"}, "together"), ({"population_size": 0}, "population_size must be >= 1, got 0"),
])
def test_population_keys_are_checked(wrong, words):
    with pytest.raises(ConfigError, match=words):
        tiny_plan.plan(**wrong)


def test_members_end_with_batch_norms_measured_again(tmp_path):
    changes = {
        "model": {"name": "digits_cnn", "width": 4}, "seeds": [0, 1], "population": "together",
        "recipe__float__steps": 2, "recipe__retrain__steps": 0, "references__random": False,
    }
    trials = ("uniform8-s0", "uniform8-s1")
    floats = run_folder(tmp_path / "floats", **changes)
    for trial in FLOATS:
        run_trial(floats, trial)
    ends = {}
    for name, batches, together in (("kept", 0, True), ("together", 3, True), ("alone", 3, False)):
        folder = run_folder(tmp_path / name, **changes, recipe__retrain__bn_batches=batches)
        for trial in FLOATS:
            shutil.copytree(floats / "trials" / trial, folder / "trials" / trial)
        for trial in trials if not together else ():
            run_trial(folder, trial)
        if together:
            run_population(folder, trials)
        ends[name] = {trial: final_arrays(folder, trial) for trial in trials}
    for trial in trials:
        changed = {n for n, array in ends["kept"][trial].items() if array != ends["together"][trial][n]}
        assert changed and all("'mean'" in name or "'var'" in name for name in changed)
    assert ends["together"] == ends["alone"]
    assert ends["alone"][trials[0]] != ends["alone"][trials[1]]
