"""Tests of mpnas/report/commands.py."""

import shlex
import tomllib
from pathlib import Path

import pytest
from front_maker import RUN, made, record

from mpnas.report.commands import commands, portable, toml_text

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*/*.toml"))


def lines(front):
    return [command for _, command in commands(front)]


def test_the_best_point_can_be_picked_measured_and_trained_again():
    assert lines(made(run=RUN | {"config": {"name": "x"}})) == [
        "mpnas sweep experiment.toml",
        "mpnas plan experiment.toml",
        "mpnas pareto show runs/made-by-hand",
        "mpnas pareto validate runs/made-by-hand",
        "mpnas pareto pick runs/made-by-hand --max weight_bytes=900",
        "mpnas eval runs/made-by-hand --point p002",
        "mpnas export runs/made-by-hand --point p002",
        "mpnas retrain runs/made-by-hand --point p002",
        "mpnas report runs/made-by-hand",
    ]


def test_a_front_without_points_or_config_has_what_is_left():
    assert lines(made([])) == [
        f"mpnas {verb} runs/made-by-hand" for verb in ("pareto show", "pareto validate", "report")
    ]


@pytest.mark.parametrize("name", ["a; rm -rf ~", "$(x)", "it's", "a\u00a0b"])
def test_names_are_safe_to_paste_into_a_shell(name):
    for line in lines(made(run=RUN | {"id": name})):
        assert f"runs/{name}" in shlex.split(line)


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "-rf"])
def test_a_name_that_is_no_folder_is_not_made_one(name):
    assert lines(made([record("a")], run=RUN | {"id": name}))[0] == "mpnas pareto show RUN"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_an_experiment_comes_back_from_its_toml(path):
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert tomllib.loads(toml_text(table)) == table


def test_odd_keys_texts_and_lists_come_back_and_nothing_is_nothing():
    table = {
        "a b": 'say "x" \\ é', "none": None, "flags": [True, False], "rows": [{"x": 1.5, "y": None}, {}],
        "t": {"long": ["word" * 9] * 5, "": -3, "deep": {"k": {"m": [1, [2, 3]]}}, "gone": None}, "e": {},
    }
    assert tomllib.loads(toml_text(table)) == {
        "a b": 'say "x" \\ é', "flags": [True, False], "rows": [{"x": 1.5}, {}],
        "t": {"long": ["word" * 9] * 5, "": -3, "deep": {"k": {"m": [1, [2, 3]]}}}, "e": {},
    }


@pytest.mark.parametrize(
    "text, expected",
    [
        ("/home/a/w.npz", "w.npz"), ("C:\\Users\\a\\w.npz", "w.npz"), ("data/w.npz", "data/w.npz"),
        ("cannot write '/tmp/x/y.json': full", "cannot write 'y.json': full"),
        ("block/conv1 at 1/2", "block/conv1 at 1/2"), ("https://a.org/b/c", "https://a.org/b/c"),
    ],
)
def test_folders_of_a_machine_are_left_out(text, expected):
    assert portable(text) == expected
