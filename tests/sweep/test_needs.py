"""Tests of mpnas/sweep/needs.py."""

import dataclasses
import hashlib

import pytest
import tiny_plan

from mpnas.data.cifar10 import NPZ_NAME
from mpnas.errors import DataError
from mpnas.sweep.needs import File, Needs, data_folder, needs_of

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MPNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MPNAS_DATA", str(tmp_path / "elsewhere"))
    place = tmp_path / "data"
    place.mkdir()
    (place / NPZ_NAME).write_bytes(CONTENT)
    (place / "other.bin").write_bytes(b"not asked for")
    return place


def needs(named, folder):
    return Needs(named, str(folder), (File(NPZ_NAME, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),))


class Sender:
    def __init__(self, content=CONTENT):
        self.content, self.calls = content, []

    def __call__(self, name, offset, length):
        self.calls.append((name, offset, length))
        return self.content[offset : offset + length]


def test_data_by_name_are_the_files_that_its_loader_reads(folder):
    plan = tiny_plan.plan(data="cifar10")
    assert needs_of(dataclasses.replace(plan, data_dir=str(folder))) == needs(str(folder), folder)
    assert needs_of(tiny_plan.plan()).files == (), "the digits need none"


def test_official_files_and_weights_are_found(folder):
    (folder / NPZ_NAME).unlink()
    binary = folder / "cifar-10-batches-bin"
    binary.mkdir()
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (binary / name).write_bytes(b"x")
    plan = tiny_plan.plan(data="cifar10", weights="other.bin")
    found = needs_of(dataclasses.replace(plan, data_dir=str(folder)))
    names = ["cifar-10-batches-bin/data_batch_1.bin", "cifar-10-batches-bin/test_batch.bin", "other.bin"]
    assert [file.name for file in found.files] == names


def test_data_are_taken_where_they_are(folder, tmp_path, monkeypatch):
    send = Sender()
    assert data_folder(needs(str(folder), folder), send) == folder
    monkeypatch.setenv("MPNAS_DATA", str(folder))
    assert data_folder(needs("/not/here", folder), send) == folder
    assert data_folder(Needs(None, None, ()), send) is None
    assert not send.calls


def test_other_data_of_the_same_name_and_length_are_not_taken(folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / NPZ_NAME).write_bytes(CONTENT[::-1])
    monkeypatch.setenv("MPNAS_DATA", str(other))
    place = data_folder(needs("/not/here", folder), Sender())
    assert place.is_relative_to(tmp_path / "cache") and (place / NPZ_NAME).read_bytes() == CONTENT


def test_data_that_lie_in_no_file_are_sent(folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    (other / NPZ_NAME).mkdir(parents=True)
    monkeypatch.setenv("MPNAS_DATA", str(other))
    assert data_folder(needs("/not/here", folder), Sender()).is_relative_to(tmp_path / "cache")


def test_data_are_sent_once_in_pieces(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mpnas.sweep.needs.PIECE", 1000)
    send = Sender()
    place = data_folder(needs("/not/here", folder), send)
    assert place.is_relative_to(tmp_path / "cache") and (place / NPZ_NAME).read_bytes() == CONTENT
    assert send.calls == [(NPZ_NAME, 0, 1000), (NPZ_NAME, 1000, 1000), (NPZ_NAME, 2000, 560)]
    assert data_folder(needs("/not/here", folder), send) == place
    assert len(send.calls) == 3, "the second trial finds them"


def test_data_that_have_changed_on_the_way_are_refused_and_not_kept(folder):
    with pytest.raises(DataError, match="has changed since the sweep began"):
        data_folder(needs(None, folder), Sender(CONTENT[::-1]))
    send = Sender()
    assert (data_folder(needs(None, folder), send) / NPZ_NAME).read_bytes() == CONTENT
    assert send.calls
