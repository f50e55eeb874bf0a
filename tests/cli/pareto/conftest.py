"""Makes the hand-made front of tests/pareto importable here, and writes it into folders of its own."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "pareto"))


@pytest.fixture
def written(tmp_path):
    """Saves a front as the front.json of a new run folder; returns the folder."""
    from mpnas.pareto import save

    def write(front, name):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        save(front, folder / "front.json")
        return folder

    return write
