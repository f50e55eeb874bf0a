"""Tests of mpnas/sweep/store.py."""

import os

import pytest

from mpnas.errors import FrontFileError
from mpnas.sweep.store import SEAL, Carrier, Folder

STEP = "trials/a/checkpoint/step_00000005"
RESULT, METRICS = "trials/a/result.json", "trials/a/metrics.jsonl"


class Noted(Folder):
    """A folder that notes what is done to it, in order."""

    def __init__(self, root):
        super().__init__(root)
        self.done = []

    def write(self, name, content):
        self.done.append(name)
        super().write(name, content)

    def write_step(self, name, files):
        self.done.append(name)
        Folder(self.root).write_step(name, files)

    def remove(self, name):
        self.done.append(f"-{name}")
        super().remove(name)


def names(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.fixture
def source(tmp_path):
    here = Folder(tmp_path / "source")
    here.write(RESULT, b"{}")
    here.write(METRICS, b"row\n")
    here.write("front.json", b"{}")
    here.write("plan.json", b"{}")
    here.write_step(STEP, {SEAL: b"", "state/d/1": b"payload"})
    return here


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    return Noted(tmp_path / "target")


def test_files_come_in_an_order_in_which_nothing_speaks_of_what_is_not_there(source, target):
    assert Carrier(source, target).carry() == 6
    assert target.done == ["plan.json", STEP, METRICS, RESULT, "front.json"]
    assert {name: target.read(name) for name in names(target.root)} == {
        "plan.json": b"{}", f"{STEP}/{SEAL}": b"", f"{STEP}/state/d/1": b"payload", METRICS: b"row\n",
        RESULT: b"{}", "front.json": b"{}",
    }


def test_only_what_has_changed_is_carried_again(source, target):
    carrier = Carrier(source, target)
    carrier.carry()
    target.done.clear()
    assert carrier.carry() == 0
    source.write(METRICS, b"row\nrow\n")
    assert carrier.carry() == 1
    assert target.done == [METRICS] and target.read(METRICS) == b"row\nrow\n"


def test_a_change_that_keeps_length_and_time_is_seen(source, target):
    carrier = Carrier(source, target)
    carrier.carry()
    before = os.stat(source.root / METRICS)
    source.write(METRICS, b"wor\n")
    os.utime(source.root / METRICS, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert carrier.carry() == 1


def test_step_that_is_gone_is_deleted_after_the_new_one_has_come(source, target):
    carrier = Carrier(source, target)
    carrier.carry()
    target.done.clear()
    source.remove(STEP)
    source.write_step(STEP.replace("5", "9"), {SEAL: b""})
    carrier.carry()
    assert target.done == [STEP.replace("5", "9"), f"-{STEP}"]
    assert f"{STEP}/{SEAL}" not in names(target.root)


def test_file_that_is_gone_is_deleted(source, target):
    carrier = Carrier(source, target)
    carrier.carry()
    source.remove(RESULT)
    carrier.carry()
    assert RESULT not in names(target.root)


def test_step_without_its_seal_does_not_count(source, target):
    (source.root / STEP / SEAL).unlink()
    Carrier(source, target).carry()
    assert not [name for name in names(target.root) if name.startswith(STEP)]


def test_what_is_being_written_is_left_alone(source, target):
    unfinished = f"{STEP.replace('5', '9')}.orbax-checkpoint-tmp"
    source.write(f"{unfinished}/{SEAL}", b"")
    (source.root / ".lock").touch()
    (source.root / "trials/a/.result.json.1.tmp").touch()
    Carrier(source, target).carry()
    assert len(names(target.root)) == 6


def test_only_the_folders_asked_for_are_carried(source, target):
    source.write("trials/b/result.json", b"{}")
    source.write("trials/a/attempts/1", b"")
    Carrier(source, target, ("trials/a",), without=("trials/a/attempts/",)).carry()
    assert names(target.root) == [f"{STEP}/{SEAL}", f"{STEP}/state/d/1", METRICS, RESULT]


def test_file_that_goes_while_it_is_carried_is_left_out(source, target, monkeypatch):
    def gone(name):
        raise FileNotFoundError(name)

    monkeypatch.setattr(source, "read", gone)
    assert Carrier(source, target).carry() == 0


def test_what_the_target_is_known_to_hold_is_not_carried_and_the_old_is(source, target):
    carrier = Carrier(source, target)
    carrier.suppose([RESULT, METRICS, "trials/gone/config.json"], old=(METRICS,))
    carrier.carry()
    assert RESULT not in target.done and METRICS in target.done
    assert "-trials/gone/config.json" in target.done


@pytest.mark.parametrize("name", ["../stranger", "/etc/stranger", "trials/../../stranger"])
@pytest.mark.parametrize("act", ["read", "write", "write_step", "remove", "stamps"])
def test_no_name_leaves_the_folder(source, name, act):
    more = {"write": (b"",), "write_step": ({"x": b""},)}.get(act, ())
    with pytest.raises(FrontFileError, match="leaves the run folder"):
        getattr(source, act)(name, *more)


def test_part_of_a_step_does_not_leave_it_and_nothing_is_left_behind(source):
    with pytest.raises(FrontFileError, match="leaves the run folder"):
        source.write_step(STEP.replace("5", "9"), {SEAL: b"", "../../stranger": b""})
    assert len(names(source.root)) == 6
