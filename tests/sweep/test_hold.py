"""Tests of mpnas/sweep/hold.py."""

import fcntl
import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from mpnas.errors import RunFolderError
from mpnas.sweep.hold import ask_to_stop, held, holder_of, refuse_held, wait_until_free


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path):
    with held(tmp_path), pytest.raises(RunFolderError, match="held by a living run"), held(tmp_path):
        pass


def test_a_folder_that_is_held_is_refused_to_others_beforehand(tmp_path):
    refuse_held(tmp_path)
    with held(tmp_path), pytest.raises(RunFolderError, match="held by a living run"):
        refuse_held(tmp_path)
    refuse_held(tmp_path)


def test_whoever_looks_at_a_run_does_not_keep_it_from_beginning(tmp_path):
    with open(tmp_path / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)  # as `holder_of` does, at the wrong moment
        threading.Timer(0.2, fcntl.flock, (handle, fcntl.LOCK_UN)).start()
        with held(tmp_path):
            assert holder_of(tmp_path).pid == os.getpid()


def test_a_folder_is_free_again_after_a_run(tmp_path):
    for _ in range(2):
        with held(tmp_path):
            assert holder_of(tmp_path) is not None
        assert holder_of(tmp_path) is None


def test_a_holder_says_who_it_is_and_since_when(tmp_path):
    before = time.time()
    with held(tmp_path):
        holder = holder_of(tmp_path)
    assert (holder.pid, holder.host) == (os.getpid(), platform.node())
    assert before <= holder.since <= time.time()


def test_nobody_holds_a_folder_without_a_lock(tmp_path):
    assert holder_of(tmp_path) is None
    assert holder_of(tmp_path / "missing") is None


@pytest.mark.parametrize("said", ["", "[]", '{"pid": "x", "host": 3, "since": true}'])
def test_a_holder_that_says_nonsense_still_holds(tmp_path, said):
    with held(tmp_path):
        (tmp_path / ".lock").write_text(said)
        holder = holder_of(tmp_path)
    assert (holder.pid, holder.host, holder.since) == (0, "", 0.0)


def test_whoever_holds_a_folder_is_interrupted_when_asked_to_stop(tmp_path):
    with pytest.raises(KeyboardInterrupt), held(tmp_path):
        ask_to_stop(tmp_path)
        threading.Event().wait(10)
    assert not (tmp_path / ".stop").exists()
    assert wait_until_free(tmp_path, 0)


def test_a_request_to_stop_at_once_is_two_interrupts(tmp_path):
    heard = []
    with held(tmp_path):
        ask_to_stop(tmp_path, at_once=True)
        for _ in range(2):
            try:
                threading.Event().wait(10)
            except KeyboardInterrupt:
                heard.append(True)
    assert heard == [True, True]


def test_a_request_for_an_earlier_run_is_forgotten(tmp_path):
    ask_to_stop(tmp_path)
    with held(tmp_path):
        time.sleep(0.7)  # longer than between two looks
    assert not (tmp_path / ".stop").exists()


def test_a_hold_ends_with_its_process(tmp_path):
    code = "import sys, pathlib, time\nfrom mpnas.sweep.hold import held\n" \
           "with held(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        assert holder_of(tmp_path).pid == process.pid
        assert not wait_until_free(tmp_path, 0.2)
        process.kill()
        process.wait()
        assert wait_until_free(tmp_path, 5)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
