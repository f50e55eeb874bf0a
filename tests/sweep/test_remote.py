"""Tests of mpnas/sweep/remote.py."""

import json
import shutil
import sys
import time
import uuid

import fsspec
import pytest
import tiny_plan
from tiny_plan import FLOAT, SEARCH, UNIFORM

from mpnas.errors import ConfigError, RunFolderError
from mpnas.pareto.artifacts import digest
from mpnas.sweep.remote import Remote, Twin
from mpnas.sweep.store import SEAL, Carrier, Folder
from mpnas.sweep.trial import run_trial

STEP = "trials/a/checkpoint/step_00000005"


@pytest.fixture(params=["file", "memory"])
def uri(request, tmp_path):
    return f"file://{tmp_path}/there/run" if request.param == "file" else f"memory://{uuid.uuid4().hex}/run"


def content(store):
    return {name: store.read(name) for name in store.stamps("")}


def test_files_and_steps_are_written_read_listed_and_deleted(uri):
    remote = Remote(uri)
    assert remote.stamps("") == {} and remote.stamps("trials/a") == {}
    remote.write("plan.json", b"{}")
    remote.write_step(STEP, {SEAL: b"", "state/d/1": b"payload"})
    assert content(remote) == {"plan.json": b"{}", f"{STEP}/{SEAL}": b"", f"{STEP}/state/d/1": b"payload"}
    assert set(remote.stamps("trials/a")) == {f"{STEP}/{SEAL}", f"{STEP}/state/d/1"}
    remote.write("plan.json", b"[]")
    assert remote.read("plan.json") == b"[]"
    remote.remove(STEP)
    remote.remove("nothing")
    assert content(remote) == {"plan.json": b"[]"}
    with pytest.raises(FileNotFoundError):
        remote.read("nothing")


def test_step_counts_with_its_last_file_and_ceases_with_the_first(uri, monkeypatch):
    remote, seen = Remote(uri), []
    write, rm = remote.write, remote._fs.rm
    monkeypatch.setattr(remote, "write", lambda name, data: (seen.append(name), write(name, data)))
    remote.write_step(STEP, {SEAL: b"", "state/d/1": b"payload", "z": b""})
    assert seen == [f"{STEP}/state/d/1", f"{STEP}/z", f"{STEP}/{SEAL}"]
    gone = []
    monkeypatch.setattr(remote._fs, "rm", lambda path, **how: (gone.append(path), rm(path, **how)))
    remote.remove(STEP)
    assert [path.rsplit("/", 1)[-1] for path in gone] == [SEAL, "step_00000005"]


def test_step_that_was_half_sent_leaves_nothing_in_the_whole_one(uri):
    remote = Remote(uri)
    remote.write(f"{STEP}/state/d/old", b"of a driver that died")
    remote.write_step(STEP, {SEAL: b"", "state/d/1": b"payload"})
    assert set(remote.stamps(STEP)) == {f"{STEP}/{SEAL}", f"{STEP}/state/d/1"}


def test_a_change_of_equal_length_is_seen(uri, tmp_path):
    remote = Remote(uri)
    remote.write("a", b"1")
    carrier = Carrier(remote, Folder(tmp_path))
    assert carrier.carry() == 1
    remote.write("a", b"2")
    assert carrier.carry() == 1 and (tmp_path / "a").read_bytes() == b"2"


@pytest.mark.parametrize("uri, words", [("nowhere://x/y", "no place that fsspec knows"),
                                        ("dropbox://x/y", "package is missing")])
def test_place_that_cannot_be_reached_is_told_in_a_sentence(uri, words):
    with pytest.raises(ConfigError, match=words):
        Remote(uri)


def test_pyarrow_brings_what_fsspec_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert Remote("s3://bucket/run")._path("plan.json") == "bucket/run/plan.json"


# A run and its twin -------------------------------------------------------------------------------


@pytest.fixture
def twin(uri, tmp_path, finished):
    """A finished run that lives at a URI, and its twin."""
    made = Twin(uri, tmp_path / "runs")
    made.fetch()
    shutil.copytree(finished, made.folder, dirs_exist_ok=True)
    made.send()
    return made


def test_run_comes_back_whole_on_another_machine(twin, uri, tmp_path, finished):
    other = Twin(uri, tmp_path / "elsewhere")
    other.fetch()
    assert content(Folder(other.folder)) == content(Folder(finished))
    for trial in (FLOAT, UNIFORM, SEARCH):
        record = json.loads((other.folder / "trials" / trial / "result.json").read_text())
        assert digest(other.folder / record["artifacts"]["checkpoint"]) == record["artifacts"]["sha256"]
    assert other.send() == 0, "nothing is new"


def test_trial_goes_on_elsewhere_from_what_was_sent(uri, tmp_path, finished, cache):
    first = Twin(uri, tmp_path / "runs")
    first.fetch()
    tiny_plan.run_folder(first.folder)
    tiny_plan.run_and_die(first.folder, FLOAT, "float", 7, cache)
    first.send()
    second = Twin(uri, tmp_path / "elsewhere")
    second.fetch()
    run_trial(second.folder, FLOAT)
    second.send()
    assert tiny_plan.final_arrays(second.folder, FLOAT) == tiny_plan.final_arrays(finished, FLOAT)
    first.fetch()
    assert content(Folder(first.folder)) == content(Folder(second.folder))


def test_driver_that_died_before_it_sent_loses_nothing(twin, uri, tmp_path):
    Remote(uri).remove(f"trials/{SEARCH}/result.json")
    Remote(uri).write(f"trials/{SEARCH}/metrics.jsonl", b"")
    (twin.folder / "front.json").write_text("{}")
    again = Twin(uri, tmp_path / "runs")
    whole = content(Folder(twin.folder))
    again.fetch()
    assert content(Folder(again.folder)) == whole
    again.send()
    assert content(Remote(uri)) == whole


def test_proposals_that_were_not_sent_are_kept(twin, uri, tmp_path):
    def proposals(*names):
        return json.dumps({"trials": [{"id": name} for name in names]}).encode()

    for here, there, kept in [("ab", "a", "ab"), ("a", "ab", "ab"), ("", "a", "a"), ("ac", "ab", "ab")]:
        Remote(uri).write("proposed.json", proposals(*there))
        (twin.folder / "proposed.json").write_bytes(proposals(*here))
        again = Twin(uri, tmp_path / "runs")
        again.fetch()
        assert (again.folder / "proposed.json").read_bytes() == proposals(*kept)
        again.send()
        assert Remote(uri).read("proposed.json") == proposals(*kept)


def test_what_lies_hidden_at_the_uri_is_left_alone(twin, uri, tmp_path):
    fs, root = Remote(uri)._fs, Remote(uri)._root
    fs.makedirs(f"{root}/.ipynb_checkpoints", exist_ok=True)
    fs.pipe_file(f"{root}/.ipynb_checkpoints/note.ipynb", b"mine")
    again = Twin(uri, tmp_path / "runs")
    again.fetch()
    again.send()
    assert fs.cat_file(f"{root}/.ipynb_checkpoints/note.ipynb") == b"mine"
    assert not (again.folder / ".ipynb_checkpoints").exists()


def test_a_place_that_holds_something_else_is_refused_before_any_of_it_is_read(uri, tmp_path, monkeypatch):
    Remote(uri).write("data/large.bin", b"x" * 100)
    monkeypatch.setattr(Remote, "read", None)
    with pytest.raises(RunFolderError, match="holds 1 files and no plan.json, so it is no run of mpnas"):
        Twin(uri, tmp_path / "runs").fetch()
    assert not (tmp_path / "runs").exists()


def test_run_that_went_on_elsewhere_wins_over_an_old_twin(twin, uri, tmp_path):
    other = Twin(uri, tmp_path / "elsewhere")
    other.fetch()
    home = other.folder / "trials" / SEARCH
    (home / "attempts" / "2").touch()
    (home / "metrics.jsonl").write_text("{}\n")
    other.send()
    again = Twin(uri, tmp_path / "runs")
    again.fetch()
    assert (again.folder / "trials" / SEARCH / "metrics.jsonl").read_text() == "{}\n"


def test_results_are_sent_while_the_run_goes_on_and_at_its_end(uri, tmp_path):
    twin = Twin(uri, tmp_path / "runs")
    twin.fetch()
    with twin.sending(every=0.05):
        (twin.folder / "plan.json").write_text("{}")
        for _ in range(200):
            if "plan.json" in Remote(uri).stamps(""):
                break
            time.sleep(0.05)
        assert "plan.json" in Remote(uri).stamps("")
        (twin.folder / "front.json").write_text("[]")
    assert Remote(uri).read("front.json") == b"[]"


def test_two_uris_of_one_last_word_have_two_twins(tmp_path):
    assert Twin("memory://a/run", tmp_path).folder != Twin("memory://b/run", tmp_path).folder


def test_place_that_fails_is_told_with_where_everything_is(tmp_path, monkeypatch):
    twin = Twin(f"memory://{uuid.uuid4().hex}/run", tmp_path)
    twin.fetch()
    (twin.folder / "plan.json").write_text("{}")

    def full(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "pipe_file", full)
    with pytest.raises(RunFolderError, match=f"no space.*whole in {twin.folder}.*mpnas resume memory://"):
        twin.send()
