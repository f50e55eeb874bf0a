"""Tests of README.md: what it shows is run as it is written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mpnas.pareto import load, violations

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MPNAS = str(Path(sys.executable).with_name("mpnas"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with every file that the README shows, and nothing else."""
    home = tmp_path_factory.mktemp("readme")
    for name, text in re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL):
        (home / name).write_text(text, encoding="utf-8")
    return home


def run(folder, *command):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=400,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_readme_shows_a_config_of_about_twenty_lines_and_a_script_of_about_thirty(folder):
    count = {f.name: sum(1 for line in f.read_text().splitlines() if line.strip()) for f in folder.iterdir()}
    assert set(count) == {"my_net.py", "my_net.toml", "script.py"}
    assert count["my_net.toml"] <= 25
    assert count["script.py"] <= 30


def test_the_model_of_the_readme_knows_nothing_of_mpnas(folder):
    assert "mpnas" not in (folder / "my_net.py").read_text()


@pytest.mark.slow
def test_commands_of_the_readme_plan_and_sweep_a_network_of_ones_own(folder):
    assert "conv1" in run(folder, MPNAS, "plan", "my_net.toml")
    run(folder, MPNAS, "sweep", "my_net.toml")
    front = load(folder / "runs/my_net/front.json")
    assert violations(front, root=folder / "runs/my_net") == []
    assert len(front["points"]) == 2
    assert all(point["costs"]["weight_bytes"] <= point["limits"]["weight_bytes"] for point in front["points"])
    picked = run(folder, MPNAS, "pareto", "pick", "runs/my_net", "--max", "weight_bytes=2kB")
    assert "p0" in picked
    assert "test inputs" in run(folder, MPNAS, "export", "runs/my_net", "--point", "p000")
    assert violations(load(folder / "runs/my_net/front.json"), root=folder / "runs/my_net") == []


@pytest.mark.slow
def test_script_of_the_readme_searches_within_a_persons_own_program(folder):
    out = run(folder, sys.executable, "script.py")
    front = json.loads((folder / "front.json").read_text())
    assert len(front["points"]) == 2
    assert violations(load(folder / "front.json")) == []
    assert "p001" in out
