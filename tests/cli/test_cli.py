"""Tests of mpnas/cli/__init__.py and mpnas/cli/exits.py."""

import errno
import subprocess
import sys

import click
import pytest

from mpnas.cli import VERBS, main
from mpnas.errors import BudgetError


def modules_after(code):
    """Which of jax, ray and matplotlib a fresh process has imported after running `code`."""
    code += "; print(sorted({'jax', 'ray', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1]


def test_the_help_lists_every_verb_and_every_exit_code(mpnas):
    text = mpnas("--help").output
    for word in [*VERBS, "Exit codes", "130", "Examples"]:
        assert word in text


@pytest.mark.parametrize("verb", [*VERBS, "pareto show", "pareto pick", "pareto validate"])
def test_the_help_of_a_verb_has_a_purpose_and_an_example(mpnas, verb):
    result = mpnas(*verb.split(), "--help")
    assert result.exit_code == 0
    if verb != "pareto":
        assert "Example" in result.output and f"mpnas {verb}" in result.output
    assert len(result.output.split("\n\n")[1].strip()) > 20  # the sentence after the usage


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["pareto", "--help"], ["pareto", "show", "FRONT"], ["pareto", "validate", "FRONT"],
     ["pareto", "pick", "FRONT", "--max-drop", "100%"], ["status", "RUN"], ["clean", "RUN"], ["swep"]],
    ids=" ".join,
)
def test_reading_needs_neither_jax_nor_ray(shared_run, arguments):
    paths = {"FRONT": str(shared_run / "front.json"), "RUN": str(shared_run)}
    words = [paths.get(word, word) for word in arguments]
    code = f"from mpnas.cli import main; main({words!r}, standalone_mode=False)"
    if "swep" in words:
        code = f"from mpnas.cli import main; print(main.get_command(None, {words[0]!r}))"
    assert modules_after(code) == "[]"


def test_the_short_help_of_the_group_has_the_verbs_of_its_modules():
    assert all(isinstance(main.get_command(None, verb), click.Command) for verb in VERBS)


def test_an_unknown_verb_names_the_nearest(mpnas):
    result = mpnas("swep")
    assert result.exit_code == 2
    assert "no such command 'swep'; nearest: 'sweep'" in result.stderr


def raising(monkeypatch, error):
    """Makes `mpnas eval` raise."""

    def callback(**_):
        raise error

    monkeypatch.setattr(main.get_command(None, "eval"), "callback", callback)


def test_an_error_of_several_lines_becomes_one(refused, monkeypatch):
    raising(monkeypatch, BudgetError("the budget\ncannot be met.  Raise it."))
    assert refused("eval", "x") == "mpnas: the budget cannot be met. Raise it."


def test_a_full_disk_is_a_sentence(refused, monkeypatch):
    raising(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "runs/x/front.png"))
    assert refused("eval", "x").startswith("mpnas: runs/x/front.png: No space left on device. Check")


def test_ctrl_c_ends_with_130(mpnas, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    result = mpnas("eval", "x")
    assert result.exit_code == 130
    assert result.stderr == "mpnas: interrupted.\n"


def test_a_defect_keeps_its_traceback(mpnas, monkeypatch):
    raising(monkeypatch, ZeroDivisionError("a defect"))
    assert isinstance(mpnas("eval", "x").exception, ZeroDivisionError)


def test_the_version_is_told(mpnas):
    assert "version" in mpnas("--version").output
