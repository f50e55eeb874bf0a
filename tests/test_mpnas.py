"""Tests of mpnas/__init__.py and mpnas/errors.py."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import mpnas
from mpnas import errors


@pytest.mark.parametrize("name", mpnas.__all__)
def test_every_name_of_the_package_is_there(name):
    assert getattr(mpnas, name) is not None


def test_every_example_in_a_docstring_is_true():
    names = [module.name for module in pkgutil.walk_packages(mpnas.__path__, "mpnas.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(found.attempted for found in results) >= 20
    assert not any(found.failed for found in results)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        mpnas.serch


def test_importing_the_package_and_its_reader_loads_neither_jax_nor_ray():
    code = "import sys, mpnas, mpnas.pareto; print([m for m in ('jax', 'ray', 'flax') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_error_is_an_mpnas_error():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) >= 9
    assert all(issubclass(kind, errors.MpnasError) for kind in kinds)


def test_error_of_a_loss_names_stage_and_step():
    error = errors.NonFiniteLossError("search", 17)
    assert "stage 'search'" in str(error) and "step 17" in str(error)
    assert (error.stage, error.step) == ("search", 17)


def test_nearest_prefers_the_closest_word_and_is_never_empty():
    assert errors.nearest("weigths", ["weights", "macs", "bops"]) == "'weights'"
    assert errors.nearest("zzzz", ["macs"]) == "'macs'"
