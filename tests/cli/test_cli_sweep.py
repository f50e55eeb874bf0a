"""Tests of mpnas/cli/sweep.py, mpnas/cli/resume.py and mpnas/cli/finish.py."""

import json
import os
import signal
import time

import pytest

from mpnas.cli import finish
from mpnas.cli.options import processors
from mpnas.pareto import load, violations
from mpnas.sweep.early import reason_of
from mpnas.sweep.hold import held, holder_of
from mpnas.sweep.plan import load_plan, propose
from mpnas.sweep.trial import run_trial
from mpnas.sweep.tune.resources import Outcome


@pytest.fixture
def driven(monkeypatch):
    """Puts another driver in the place of Ray."""

    def drive(driver):
        monkeypatch.setattr(finish, "run_pending", driver)

    return drive


def in_this_process(folder, resources):
    for trial in load_plan(folder).trials:
        run_trial(folder, trial.id)
    return Outcome()


def test_a_finished_run_is_not_run_again_and_its_front_is_written_anew(mpnas, tiny_toml, own_run):
    results = {path: path.read_bytes() for path in own_run.rglob("result.json")}
    (own_run / "front.json").unlink()
    result = mpnas("sweep", tiny_toml, "--out", own_run)
    assert result.exit_code == 0, result.output
    assert "3 trials: 1 float, 1 uniform, 1 search; 3 of 3 are done already." in result.stdout
    for words in ("Budgets", "Front of tiny", "References", "Against uniform 8-bit", "front.png", "report"):
        assert words in result.stdout
    assert violations(load(own_run / "front.json"), root=own_run) == []
    assert (own_run / "front.png").read_bytes()[:4] == (own_run / "bits.png").read_bytes()[:4] == b"\x89PNG"
    assert {path: path.read_bytes() for path in own_run.rglob("result.json")} == results


def test_a_resume_finishes_what_has_no_result(mpnas, own_run, driven):
    before = (own_run / "front.json").read_bytes()
    (own_run / "trials" / "uniform8-s0" / "result.json").unlink()
    (own_run / "front.json").unlink()
    driven(in_this_process)
    result = mpnas("resume", own_run)
    assert result.exit_code == 0, result.output
    assert "2 of 3 are done already" in result.stdout
    assert "[3/3] uniform8-s0 done: accuracy" in result.stderr
    again, first = load(own_run / "front.json"), json.loads(before)
    metrics = [[reference["metrics"] for reference in front["references"]] for front in (first, again)]
    assert metrics[0] == metrics[1]


def test_a_failed_trial_ends_with_code_3_and_its_reason(mpnas, own_run):
    path = own_run / "trials" / "gumbel-weight_bytes=0.5-s0" / "result.json"
    record = json.loads(path.read_text())
    lost = {"status": "failed", "reason": "the loss went away.", "stage": "searched"}
    nothing = {"metrics": {}, "costs": {}, "assignment": {}, "artifacts": {}}
    path.write_text(json.dumps(record | lost | nothing))
    result = mpnas("resume", own_run)
    assert result.exit_code == 3, result.output
    assert "Rejected" in result.stdout and "the loss went away." in result.stdout
    assert "1 of 3 trials failed" in result.stderr


def test_a_search_that_was_stopped_early_is_rejected_but_no_failure(mpnas, own_run):
    path = own_run / "trials" / "gumbel-weight_bytes=0.5-s0" / "result.json"
    stopped = {"status": "failed", "reason": reason_of(3, 12, 0.25, 3), "stage": "searched"}
    nothing = {"metrics": {}, "costs": {}, "assignment": {}, "artifacts": {}}
    path.write_text(json.dumps(json.loads(path.read_text()) | stopped | nothing))
    result = mpnas("resume", own_run)
    assert result.exit_code == 0, result.output
    assert "Rejected" in result.stdout and "stopped early by ASHA at step 3 of 12" in result.stdout


EXPLORE = "explore={ budgets = { weight_bytes = [0.5, 0.9] }, trials = 2 }"


def test_proposals_of_a_sweep_are_counted_shown_and_in_the_front(mpnas, tiny_toml, tmp_path, driven):
    def driver(folder, resources):
        propose(folder, load_plan(folder), {"weight_bytes": 0.75})
        return in_this_process(folder, resources)

    driven(driver)
    run = tmp_path / "run"
    result = mpnas("sweep", tiny_toml, "--out", run, "--set", EXPLORE, "--set", "budgets=[]")
    assert result.exit_code == 0, result.output
    assert "2 trials: 1 float, 1 uniform, and 2 under budgets to be proposed; none" in result.stdout
    assert "for 4 trials" in result.stdout
    assert "[3/3] gumbel-weight_bytes=0.75-s0 done: accuracy" in result.stderr
    front = load(run / "front.json")
    assert [point["budget"] for point in front["points"]] == [{"weight_bytes": 0.75}]
    assert violations(front, root=run) == []
    # Called again, it knows them; an interrupt counts them.
    driven(lambda folder, resources: Outcome(interrupted=True))
    result = mpnas("sweep", tiny_toml, "--out", run, "--set", EXPLORE, "--set", "budgets=[]")
    assert "3 trials: 1 float, 1 uniform, 1 search, and 1 under budgets to be proposed; 3 of 3 are done" in (
        result.stdout
    )
    assert "3 of 3 trials are done, 1 budget is still to be proposed" in result.stderr


def test_a_range_that_begins_below_what_can_be_reached_is_refused(mpnas, tiny_toml, tmp_path):
    wide = EXPLORE.replace("0.5,", "0.001,")
    result = mpnas("sweep", tiny_toml, "--out", tmp_path / "run", "--dry-run", "--set", wide)
    assert result.exit_code == 2 and "impossible" in result.stdout
    assert "cannot be met" in result.stderr


def test_exploring_without_optuna_is_refused(refused, tiny_toml, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    sentence = refused("sweep", tiny_toml, "--out", tmp_path / "run", "--set", EXPLORE)
    assert "needs the package optuna" in sentence and not (tmp_path / "run").exists()


def test_an_interrupted_sweep_ends_with_130_and_says_how_to_go_on(mpnas, own_run, driven):
    driven(lambda folder, resources: Outcome(interrupted=True))
    result = mpnas("resume", own_run)
    assert result.exit_code == 130
    assert "Go on with: mpnas resume own_run" in result.stderr


def test_a_sweep_that_fails_itself_ends_with_code_4(mpnas, own_run, driven):
    driven(lambda folder, resources: Outcome(error="RuntimeError: the controller died"))
    result = mpnas("resume", own_run)
    assert result.exit_code == 4
    assert "the sweep itself failed: RuntimeError: the controller died." in result.stderr
    assert "3 of 3 trials are done" in result.stderr


def test_a_picture_that_cannot_be_written_is_a_sentence(refused, own_run):
    (own_run / "front.png").mkdir(exist_ok=True)
    assert "front.png" in refused("resume", own_run)


def test_the_number_of_trials_at_once_is_handed_on(mpnas, own_run, driven):
    asked = []
    driven(lambda folder, resources: asked.append(resources.cpus) or Outcome())
    mpnas("resume", own_run, "--cpus", "3")
    mpnas("resume", own_run)
    assert asked == [3, processors()]


@pytest.mark.parametrize(
    "options, threads",
    [((), processors()), (("--threads", "3"), 3), (("--set", "seeds=[0,1]", "--cpus", "2"), 1)],
    ids=["one_at_a_time", "asked", "two_at_a_time"],
)
def test_a_trial_has_one_thread_unless_it_runs_alone(mpnas, tiny_toml, tmp_path, driven, options, threads):
    driven(lambda folder, resources: Outcome(interrupted=True))
    more = () if "--cpus" in options else ("--cpus", "1")
    mpnas("sweep", tiny_toml, "--out", tmp_path / "run", *options, *more)
    assert load_plan(tmp_path / "run").threads == threads


def test_a_data_folder_is_kept_absolute(mpnas, tiny_toml, tmp_path, driven):
    driven(lambda folder, resources: Outcome(interrupted=True))
    mpnas("sweep", tiny_toml, "--data-dir", "data")
    assert load_plan(tmp_path / "runs" / "tiny").data_dir == str(tmp_path / "data")


@pytest.mark.slow
def test_a_sweep_through_ray_that_is_interrupted_is_finished_by_a_resume(program, tiny_toml, tmp_path):
    run = tmp_path / "runs" / "tiny"
    changes = ("recipe.float.steps=400", "checkpoint_every=50", "references.uniform=[]")
    options = [word for change in changes for word in ("--set", change)]
    sweep = program("sweep", "tiny.toml", "--cpus", "1", *options, cwd=tmp_path)
    began = time.monotonic()
    while not (run / "trials" / "float-s0" / "metrics.jsonl").exists():
        assert sweep.poll() is None and time.monotonic() - began < 300, sweep.communicate()
        time.sleep(0.05)
    sweep.send_signal(signal.SIGINT)
    _, told = sweep.communicate(timeout=300)
    assert sweep.returncode == 130, told
    assert "mpnas: interrupted;" in told and "mpnas resume runs/tiny" in told and "Traceback" not in told
    assert not (run / "front.json").exists()
    resume = program("resume", "runs/tiny", cwd=tmp_path)
    printed, told = resume.communicate(timeout=300)
    assert resume.returncode == 0, told
    assert "Front of tiny" in printed and "[2/2]" in told
    assert "Warning" not in told and "Traceback" not in told
    assert violations(load(run / "front.json"), root=run) == []


# Before the run -----------------------------------------------------------------------------------


def test_a_dry_run_prints_the_plan_and_an_estimate_and_starts_nothing(mpnas, tiny_toml, tmp_path, driven):
    driven(None)
    result = mpnas("sweep", tiny_toml, "--out", tmp_path / "run", "--dry-run", "--cpus", "2")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "run").exists()
    for words in ("| float-s0 ", "6 search, 6 retrain", "starts from", "for 3 trials, 2 at a time",
                  "seconds per step", "MB of checkpoints", "Nothing was started."):
        assert words in result.stdout


def test_a_dry_run_of_an_impossible_budget_shows_it_and_ends_with_2(mpnas, tiny_toml, tmp_path):
    result = mpnas("sweep", tiny_toml, "--out", tmp_path / "run", "--dry-run", "--budgets", "weight_bytes=1")
    assert result.exit_code in (0, 2)
    result = mpnas("sweep", tiny_toml, "--out", tmp_path / "run", "--dry-run", "--budgets", "weight_bytes=9B")
    assert result.exit_code == 2 and "impossible" in result.stdout
    assert not (tmp_path / "run").exists()


def test_budgets_seeds_and_controllers_of_the_command_line_make_the_plan(mpnas, tiny_toml, tmp_path, driven):
    driven(lambda folder, resources: Outcome(interrupted=True))
    mpnas("sweep", tiny_toml, "--out", tmp_path / "run", "--budgets", "weight_bytes=0.5,0.6", "--seeds", "2",
          "--controllers", "gumbel,dbp,random")
    ids = [trial.id for trial in load_plan(tmp_path / "run").trials]
    assert len(ids) == 2 + 2 * 2 * 3 and "dbp-weight_bytes=0.6-s1" in ids
    assert "random-weight_bytes=0.5-s0" in ids and not any("uniform" in name for name in ids)


def test_limits_of_the_machine_reach_the_driver(mpnas, own_run, driven):
    asked = []
    driven(lambda folder, resources: asked.append(resources) or Outcome())
    assert mpnas("resume", own_run, "--cpus", "3", "--retries", "0", "--hang-after", "60").exit_code == 0
    assert (asked[0].cpus, asked[0].retries, asked[0].hang_after) == (3, 0, 60.0)


# Resuming -----------------------------------------------------------------------------------------


def test_a_resume_tries_failed_trials_again_when_told(mpnas, own_run, driven):
    home = own_run / "trials" / "gumbel-weight_bytes=0.5-s0"
    record = json.loads((home / "result.json").read_text())
    lost = {"status": "failed", "reason": "the loss went away.", "stage": "searched"}
    nothing = {"metrics": {}, "costs": {}, "assignment": {}, "artifacts": {}}
    (home / "result.json").write_text(json.dumps(record | lost | nothing))
    driven(in_this_process)
    result = mpnas("resume", own_run, "--retry-failed")
    assert result.exit_code == 0, result.output
    assert "Trying again: gumbel-weight_bytes=0.5-s0." in result.stdout
    again = json.loads((home / "result.json").read_text())
    assert again["status"] == "done" and again["metrics"] == record["metrics"]
    assert json.loads((home / "damaged-result-1").read_text())["reason"] == "the loss went away."


@pytest.mark.parametrize("damage", [
    lambda text: text[: len(text) // 2],
    lambda text: "[]",
    lambda text: json.dumps(json.loads(text) | {"metrics": 3}),
    lambda text: json.dumps(json.loads(text) | {"trial": "other"}),
], ids=["cut", "no_object", "no_record", "of_another"])
def test_a_damaged_result_is_made_again_from_the_final_checkpoint_when_told(
    mpnas, own_run, driven, damage
):
    home = own_run / "trials" / "gumbel-weight_bytes=0.5-s0"
    text = (home / "result.json").read_text()
    (home / "result.json").write_text(damage(text))
    driven(in_this_process)
    result = mpnas("resume", own_run, "--retry-failed")
    assert result.exit_code == 0, result.output
    record, again = json.loads(text), json.loads((home / "result.json").read_text())
    assert {k: again[k] for k in ("metrics", "costs", "assignment")} == {
        k: record[k] for k in ("metrics", "costs", "assignment")
    }
    assert (home / "damaged-result-1").read_text() == damage(text)
    assert not list(home.glob("damaged-checkpoint-*"))


def test_a_resume_with_other_data_is_refused_and_says_so(refused, own_run):
    document = json.loads((own_run / "plan.json").read_text())
    document["made_from"] = document["made_from"] | {"data": "0" * 64}
    (own_run / "plan.json").write_text(json.dumps(document))
    assert "the data (digits) hold other examples" in refused("resume", own_run)


def test_a_second_sweep_on_a_living_run_is_refused(refused, tiny_toml, own_run):
    (own_run / "trials" / "uniform8-s0" / "result.json").unlink()
    with held(own_run):
        assert "is held by a living run" in refused("sweep", tiny_toml, "--out", own_run)


@pytest.mark.parametrize("verb", ["sweep", "resume"])
def test_a_run_is_held_before_its_time_is_estimated(mpnas, tiny_toml, own_run, monkeypatch, verb):
    (own_run / "trials" / "uniform8-s0" / "result.json").unlink()
    holders = []

    def foresee(found, folder, at_once):
        holders.append(holder_of(folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(f"mpnas.cli.{verb}.foresee", foresee)
    what = [own_run] if verb == "resume" else [tiny_toml, "--out", own_run]
    done = mpnas(verb, *what)
    assert done.exit_code == 130
    assert "interrupted before a trial began. Go on with: mpnas resume own_run" in done.stderr
    assert [holder.pid for holder in holders] == [os.getpid()] and holder_of(own_run) is None
