"""Tests of mpnas/cli/twin.py."""

from pathlib import Path

import pytest

from mpnas.cli.twin import PLACE, run_place
from mpnas.errors import ConfigError, RunFolderError
from mpnas.sweep.hold import held


@pytest.mark.parametrize("text, place", [
    ("runs/a", Path("runs/a")), ("/abs", Path("/abs")), ("s3://bucket/a", "s3://bucket/a"),
    ("file:///mnt/a", "file:///mnt/a"),
])
def test_uri_stays_as_it_is_and_anything_else_is_a_path(text, place):
    assert PLACE.convert(text, None, None) == place


def test_folder_has_no_twin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_place(Path("there"), "digits") == (tmp_path / "there", None)
    assert run_place(None, "digits") == (tmp_path / "runs" / "digits", None)


def test_uri_has_a_twin_under_runs_with_what_is_there_already(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there" / "a").mkdir(parents=True)
    (tmp_path / "there" / "a" / "plan.json").write_text("{}")
    uri = f"file://{tmp_path}/there/a"
    folder, twin = run_place(uri, "digits")
    assert folder.parent == tmp_path / "runs" and folder.name.startswith("a-")
    assert (folder / "plan.json").read_text() == "{}"
    said = capsys.readouterr().out
    assert f"The run lives at {uri}; its twin here is runs/{folder.name}; 1 files have come" in said
    assert twin is not None and twin.send() == 0


def test_twin_of_a_living_run_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "plan.json").write_text("{}")
    uri = f"file://{tmp_path}/there"
    folder, _ = run_place(uri, "digits")
    (folder / "plan.json").write_text("newer")
    with held(folder), pytest.raises(RunFolderError, match="is held by a living run"):
        run_place(uri, "digits")
    run_place(uri, "digits", fetch=False)
    assert (folder / "plan.json").read_text() == "newer"


def test_place_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="no place that fsspec knows"):
        run_place("nowhere://a", "digits")
