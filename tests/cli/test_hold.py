"""Tests of mpnas/cli/hold.py."""

import pytest

from mpnas.cli.hold import held
from mpnas.errors import RunFolderError


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path):
    with held(tmp_path), pytest.raises(RunFolderError, match="held by a living run"), held(tmp_path):
        pass


def test_a_folder_is_free_again_after_a_run(tmp_path):
    for _ in range(2):
        with held(tmp_path):
            pass
