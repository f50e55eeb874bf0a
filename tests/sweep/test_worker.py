"""Tests of mpnas/sweep/worker.py."""

import jax
import pytest

from mpnas.sweep.worker import compile_cache_folder, prepare

OPTIONS = (
    "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    """A cache folder of the test's own; what jax is told is taken back."""
    monkeypatch.setenv("MPNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MPNAS_NO_COMPILE_CACHE", raising=False)
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_a_private_folder_of_this_version(tmp_path):
    prepare()
    folder = compile_cache_folder()
    assert folder.parent == tmp_path / "cache"
    assert jax.__version__ in folder.name
    assert folder.stat().st_mode & 0o777 == 0o700
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_cache_can_be_switched_off(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("MPNAS_NO_COMPILE_CACHE", "1")
    prepare()
    assert jax.config.jax_compilation_cache_dir == before
    assert not compile_cache_folder().exists()


def test_folder_that_cannot_be_made_only_means_no_cache(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    (tmp_path / "cache").write_text("in the way")
    prepare()
    assert jax.config.jax_compilation_cache_dir == before


def test_another_processor_has_another_folder(monkeypatch):
    here = compile_cache_folder()
    monkeypatch.setattr("platform.machine", lambda: "another")
    assert compile_cache_folder() != here
