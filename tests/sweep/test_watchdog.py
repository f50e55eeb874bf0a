"""Tests of mpnas/sweep/tune/watchdog.py."""

import threading
import time

from mpnas.sweep.tune.watchdog import EXIT_CODE, Watchdog


def watched(seconds):
    said, ended = [], threading.Event()

    def end(code):
        said.append(code)
        ended.set()

    return Watchdog(seconds, said.append, end), said, ended


def test_a_trial_that_makes_no_progress_is_told_and_ended():
    dog, said, ended = watched(0.2)
    with dog:
        dog.beat("step 7 (search)")
        assert ended.wait(10)
    assert said == [
        "no progress for 0.2 s after step 7 (search); its worker was ended. Give slow steps more time with "
        "--hang-after.", EXIT_CODE,
    ]


def test_a_trial_that_goes_on_is_left_alone():
    dog, said, _ = watched(0.5)
    with dog:
        for step in range(8):
            time.sleep(0.1)
            dog.beat(f"step {step}")
    assert said == []


def test_nobody_watches_after_the_end():
    dog, said, _ = watched(0.1)
    with dog:
        pass
    time.sleep(0.3)
    assert said == [] and not any(t.name == "mpnas-watchdog" for t in threading.enumerate())
