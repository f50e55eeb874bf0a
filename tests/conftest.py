"""What all tests share: compiled programs are given back before a process has too many of them."""

import gc
from pathlib import Path

import jax
import pytest

MAPS = Path("/proc/self/maps")
MANY = 20_000  # of the 65,530 memory mappings that Linux lets a process have; past them compiling crashes


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drop what JAX has compiled where it has become much: every program holds some ten mappings for good."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY:
        jax.clear_caches()
        gc.collect()
