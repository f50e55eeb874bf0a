"""Tests of mpnas/data/cache.py."""

import logging
from pathlib import Path

import numpy as np
import pytest

from mpnas.data.cache import cache_folder, cached, sha256_of

ARRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)


class Decoder:
    """Counts how often the array had to be decoded."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return ARRAY.copy()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MPNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(decoder):
    return cached("array.npy", sha256_of(ARRAY), decoder)


def test_checksum_is_that_of_the_bytes_in_c_order():
    # From the standard's own example: SHA-256 of the three bytes "abc" (FIPS 180-2, B.1).
    abc = np.frombuffer(b"abc", np.uint8)
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(abc) == expected
    assert sha256_of(ARRAY.T) == sha256_of(ARRAY.T.copy())


def test_second_load_does_not_decode(folder):
    decoder = Decoder()
    np.testing.assert_array_equal(load(decoder), ARRAY)
    np.testing.assert_array_equal(load(decoder), ARRAY)
    assert decoder.calls == 1
    assert [path.name for path in folder.iterdir()] == ["array.npy"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not an array"),
    ],
    ids=["truncated", "altered", "empty", "other_file"],
)
def test_damaged_file_is_decoded_again_and_mended(folder, damage):
    decoder = Decoder()
    load(decoder)
    damage(folder / "array.npy")
    np.testing.assert_array_equal(load(decoder), ARRAY)
    np.testing.assert_array_equal(load(decoder), ARRAY)
    assert decoder.calls == 2


def test_unwritable_cache_only_means_decoding_again(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("MPNAS_CACHE", str(tmp_path / "file"))
    decoder = Decoder()
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(load(decoder), ARRAY)
        np.testing.assert_array_equal(load(decoder), ARRAY)
    assert decoder.calls == 2
    assert "Point MPNAS_CACHE to a folder" in caplog.text


def test_full_disk_leaves_nothing_behind(folder, monkeypatch):
    def full(file, array, allow_pickle):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    np.testing.assert_array_equal(load(Decoder()), ARRAY)
    assert list(folder.iterdir()) == []


def test_folder_is_the_first_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MPNAS_CACHE", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/mpnas")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/mpnas")
    monkeypatch.setenv("MPNAS_CACHE", "/own")
    assert cache_folder() == Path("/own")
