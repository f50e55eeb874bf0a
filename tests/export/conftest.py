"""The folder of the real data, if there is one."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder():
    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("MPNAS_DATA", root / "../shared/data"))
    if not folder.is_dir():
        pytest.skip("needs a data folder: set MPNAS_DATA")
    return folder
