"""Tests of mpnas/cli/pareto/export.py."""

import csv
import sys

import optuna
import pytest
from front_maker import made


@pytest.fixture
def front(written):
    return written(made(), "run")


def test_csv_has_a_row_per_point_and_reference(mpnas, front, tmp_path):
    result = mpnas("pareto", "export", front, "--format", "csv", "--out", tmp_path / "a.csv")
    assert (result.exit_code, result.stdout) == (0, "7 rows.\nWritten: a.csv\n")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)][:4] == ["p000", "p001", "p002", "r000"]


def test_a_study_can_be_loaded_by_the_name_that_was_said(mpnas, front, tmp_path):
    result = mpnas("pareto", "export", front, "--format", "optuna", "--out", tmp_path / "a.log")
    assert (result.exit_code, result.stdout) == (0, "Study 'made-by-hand', 3 trials.\nWritten: a.log\n")
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "a.log"))
    study = optuna.load_study(study_name="made-by-hand", storage=optuna.storages.JournalStorage(backend))
    assert {trial.user_attrs["id"] for trial in study.best_trials} == {"p000", "p002"}


def test_a_file_that_is_there_is_kept_unless_asked(refused, mpnas, front, tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    arguments = ["pareto", "export", front, "--format", "csv", "--out", tmp_path / "a.csv"]
    assert "exists. Choose another name" in refused(*arguments)
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert mpnas(*arguments, "--overwrite").exit_code == 0


def test_a_missing_package_is_a_sentence(refused, front, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = refused("pareto", "export", front, "--format", "optuna", "--out", tmp_path / "a.db")
    assert "pip install 'mpnas[optuna]'" in said


def test_another_ending_is_a_sentence(refused, front, tmp_path):
    said = refused("pareto", "export", front, "--format", "optuna", "--out", tmp_path / "a.txt")
    assert "End it with .db for SQLite" in said


def test_a_format_that_is_not_known_is_refused(mpnas, front, tmp_path):
    assert mpnas("pareto", "export", front, "--format", "xlsx", "--out", tmp_path / "a").exit_code == 2
