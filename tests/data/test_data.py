"""Tests of mpnas/data/__init__.py."""

import subprocess
import sys
from pathlib import Path

from mpnas.data import DATASETS, Dataset


def test_every_loader_takes_a_folder_or_none():
    assert isinstance(DATASETS["digits"](None), Dataset)
    assert set(DATASETS) == {"digits", "cifar10"}


def test_importing_the_data_floor_loads_no_heavy_library():
    program = "import sys, mpnas.data; print(sorted({'jax', 'flax', 'sklearn'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True
    )
    assert loaded.stdout.strip() == "[]"
