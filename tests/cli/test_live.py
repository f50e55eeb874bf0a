"""Tests of mpnas/cli/live.py."""

import io

import pytest
from rich.console import Console

from mpnas.cli.live import SweepLines, TrialLines, finished_text, overall_text, sweep_screen
from mpnas.sweep.watch import Overall, Pace, Status


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def run(*states, steps=10):
    """Statuses of trials t0, t1, ... in these states."""
    done = {"done": steps, "failed": steps, "running": steps // 2, "waiting": 0}
    return tuple(Status(f"t{k}", state, step=done[state], steps=steps) for k, state in enumerate(states))


def test_a_trial_that_finishes_is_told_once(clock):
    lines = []
    show = SweepLines(lines.append, clock)
    show(run("running", "waiting"))
    done = (Status("t0", "done", accuracy=0.936, exact=1234.0, seconds=75.0), run("waiting", "running")[1])
    show(done)
    show(done)
    assert lines == ["[1/2] t0 done: accuracy 93.60 %, 1,234 weight bytes, 1 min 15 s"]


def test_a_trial_that_fails_is_told_with_its_reason(clock):
    lines = []
    show = SweepLines(lines.append, clock)
    show(run("running"))
    show((Status("t0", "failed", reason="the loss is\nnot finite."),))
    assert lines == ["[1/1] t0 failed: the loss is not finite."]


def test_a_search_that_was_stopped_early_is_not_called_a_failure():
    status = Status("t0", "failed", reason="stopped early by ASHA at step 6 of 24.")
    assert finished_text(status) == "t0 stopped early by ASHA at step 6 of 24."


def test_what_an_earlier_run_has_finished_is_no_news(clock):
    lines = []
    show = SweepLines(lines.append, clock)
    show(run("done", "waiting"))
    show(run("done", "done"))
    assert len(lines) == 1 and lines[0].startswith("[2/2] t1")


def test_a_line_of_progress_comes_at_most_every_fifteen_seconds(clock):
    lines = []
    show = SweepLines(lines.append, clock)
    for second in range(46):
        clock.now = float(second)
        show(run("running", "waiting"))
    assert lines == ["0 of 2 trials done, 1 running, 25 % of all steps"] * 3


def test_the_front_is_told_though_trials_finish_all_the_time(clock):
    lines = []
    show = SweepLines(lines.append, clock)
    waiting = tuple(Status(f"t{k}", "waiting", steps=1) for k in range(9))
    for k in range(9):
        clock.now = 5.0 * k
        done = tuple(Status(f"t{n}", "done", accuracy=0.5, exact=100.0, kind="search") for n in range(k))
        show(done + waiting[k:])
    told = [line for line in lines if not line.startswith("[")]
    assert len(told) == 2 and all(line.endswith("front: 1 point, 100 bytes at 50.0 %") for line in told)


def test_the_time_left_follows_from_the_pace(clock):
    pace = Pace(clock)
    pace.overall(run("waiting", "waiting"))
    clock.now = 20.0
    overall = pace.overall(run("done", "waiting"))  # 10 of 20 steps in 20 seconds
    assert overall.seconds_left == 20.0
    assert overall_text(overall) == "1 of 2 trials done, starting workers, 50 % of all steps, about 20 s left"


def printed(screen):
    console = Console(file=io.StringIO(), width=120)
    console.print(screen)
    return console.file.getvalue()


def test_the_screen_shows_every_trial_where_there_is_room():
    text = printed(sweep_screen(run("done", "running", "waiting"), Overall(3, 1, 0, 1, 0.5, 9.0), 30))
    assert all(f"t{k} " in text for k in range(3)) and "more" not in text
    assert "1 of 3 trials done, 1 running, 50 % of all steps, about 9 s left" in text


def test_the_screen_names_the_cost_that_it_tells():
    for cost, words in (("weight_bytes", "[bytes]"), ("bops", "[bops]")):
        statuses = (Status("t0", "running", step=1, steps=2, cost=cost),)
        assert printed(sweep_screen(statuses, Overall(1, 0, 0, 1, 0.5, None), 30)).count(words) == 2


def test_the_screen_keeps_what_runs_and_fails_where_room_is_short():
    states = ["done"] * 20 + ["failed", "running"] + ["waiting"] * 20
    text = printed(sweep_screen(run(*states), Overall(42, 21, 1, 1, 0.5, None), 12))
    assert "t20 " in text and "t21 " in text  # the failed one, the running one
    assert "t19 " in text and "t18 " in text and "t0 " not in text  # the latest that are done
    assert "... and 38 more" in text
    assert len(text.splitlines()) <= 12


def row(step, steps=100, **more):
    return {"stage": "search", "stage_step": step, "stage_steps": steps, "loss": 0.5, "train_accuracy": 0.9,
            "seconds": float(step), **more}


def test_a_stage_is_told_at_its_end_and_now_and_then(clock):
    lines = []
    show = TrialLines(lines.append, clock)
    for step in range(4, 101, 4):
        clock.now = step / 5
        show(row(step))
    assert lines == [
        "search 76/100: loss 0.500, train accuracy 90.0 %, 24 s left",
        "search 100/100: loss 0.500, train accuracy 90.0 %",
    ]


def test_a_search_tells_its_expected_and_its_exact_cost(clock):
    lines = []
    costs = {"expected_costs": {"weight_bytes": 1234.4}, "discrete_costs": {"weight_bytes": 1300.0}}
    TrialLines(lines.append, clock)(row(100, **costs))
    assert lines == [
        "search 100/100: loss 0.500, train accuracy 90.0 %, weight bytes 1,234 expected, 1,300 exact"
    ]
