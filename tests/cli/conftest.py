"""A command line to call, in a folder of its own, and the tiny run that tests share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_run
from click.testing import CliRunner

from mpnas.cli import main


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Each test starts in an empty folder, and leaves the environment as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPNAS_NO_COMPILE_CACHE", "1")
    monkeypatch.setenv("NPROC", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.delenv("MPNAS_DATA", raising=False)
    return tmp_path


@pytest.fixture
def mpnas():
    """Calls the command line in this process."""

    def call(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def refused(mpnas):
    """Calls the command line, expects one sentence on stderr and exit code 2; returns the sentence."""

    def call(*arguments):
        result = mpnas(*arguments)
        assert result.exit_code == 2, result.output
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("mpnas: "), result.stderr
        return lines[0]

    return call


@pytest.fixture
def tiny_toml(tmp_path):
    return tiny_run.written(tmp_path)


@pytest.fixture(scope="session")
def shared_run():
    """The finished tiny run; not to be changed."""
    yield tiny_run.finished()
    shutil.rmtree(tiny_run.finished().parent, ignore_errors=True)
    tiny_run.finished.cache_clear()


@pytest.fixture
def own_run(shared_run, tmp_path):
    """A copy of the finished tiny run, to be changed."""
    return Path(shutil.copytree(shared_run, tmp_path / "own_run"))


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """Starts the command line as a process of its own; returns the Popen."""
    cache = tmp_path_factory.mktemp("cache")

    def start(*arguments, cwd):
        environment = os.environ | {"MPNAS_CACHE": str(cache), "JAX_PLATFORMS": "cpu"}
        environment.pop("MPNAS_NO_COMPILE_CACHE", None)
        return subprocess.Popen(
            [sys.executable, "-P", "-c", "from mpnas.cli import main; main()", *map(str, arguments)],
            cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    return start
