"""Tests of mpnas/data/cifar10.py.

Most run on a CIFAR-10 of 120 random images, written in both layouts as their publishers do.
"""

import dataclasses
import shutil

import numpy as np
import pytest

from mpnas.data import cifar10
from mpnas.data.cache import sha256_of
from mpnas.data.dataset import PART_NAMES
from mpnas.errors import DataError

PER_FILE = 20


def encode(images):
    """The inverse of the decoder: (rows, 32, 32, 3) to differences, all modulo 256."""
    red, green, blue = images.transpose(3, 0, 1, 2)
    planes = np.stack([red - green, green, blue - green])
    planes = np.diff(planes, axis=3, prepend=np.zeros_like(planes[..., :1]))
    return np.diff(planes, axis=2, prepend=np.zeros_like(planes[:, :, :1]))


def write_binary(folder, source, images, labels):
    folder.mkdir(exist_ok=True)
    rows = [
        bytes([label]) + image.transpose(2, 0, 1).tobytes()
        for image, label in zip(images, labels, strict=True)
    ]
    for number, name in enumerate(source.files):
        (folder / name).write_bytes(b"".join(rows[number * PER_FILE : (number + 1) * PER_FILE]))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with `npz/` and `binary/`, and the loader made to expect these images."""
    rng = np.random.default_rng(0)
    arrays = {}
    for source in (cifar10.TRAIN, cifar10.TEST):
        count = PER_FILE * len(source.files)
        images = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        expected = dataclasses.replace(
            source, rows_per_file=PER_FILE,
            images_sha256=sha256_of(images), labels_sha256=sha256_of(labels),
        )
        monkeypatch.setattr(cifar10, source.part.upper(), expected)
        write_binary(tmp_path / "binary", source, images, labels)
        arrays[f"{source.part}_images_delta"] = encode(images)
        arrays[f"{source.part}_labels"] = labels
        arrays[source.part] = images
    (tmp_path / "npz").mkdir()
    np.savez(tmp_path / "npz/cifar10.npz", **arrays)
    monkeypatch.setattr(cifar10, "SELECT_ROWS", 20)
    monkeypatch.setenv("MPNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MPNAS_DATA", raising=False)
    return tmp_path


def assert_same(first, second):
    for part in PART_NAMES:
        for one, other in zip(getattr(first, part), getattr(second, part), strict=True):
            np.testing.assert_array_equal(one, other)


def test_both_layouts_give_equal_arrays(small):
    assert_same(cifar10.load(small / "npz"), cifar10.load(small / "binary"))


def test_binary_files_are_found_in_their_official_folder(small):
    shutil.copytree(small / "binary", small / "up/cifar-10-batches-bin")
    assert_same(cifar10.load(small / "up"), cifar10.load(small / "binary"))


def test_images_are_those_that_were_written_with_their_labels(small):
    data = cifar10.load(small / "npz")
    with np.load(small / "npz/cifar10.npz") as archive:
        np.testing.assert_array_equal(data.test[0], archive["test"])
        np.testing.assert_array_equal(data.test[1], archive["test_labels"])
        images, labels = archive["train"], archive["train_labels"]
    of_image = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    seen = [
        (image.tobytes(), label)
        for part in (data.train, data.select)
        for image, label in zip(*part, strict=True)
    ]
    assert all(of_image[image] == label for image, label in seen)
    assert {image for image, _ in seen} == set(of_image)
    assert len(seen) == len(of_image)
    assert np.bincount(data.select[1]).tolist() == [2] * 10


def test_second_load_reads_the_cache(small, monkeypatch):
    first = cifar10.load(small / "npz")
    monkeypatch.delattr(cifar10, "decode")
    assert_same(first, cifar10.load(small / "npz"))


def test_folder_comes_from_the_environment(small, monkeypatch):
    monkeypatch.setenv("MPNAS_DATA", str(small / "binary"))
    assert cifar10.load().rows("test") == PER_FILE


def test_no_folder_says_both_ways_to_give_one(small):
    with pytest.raises(DataError, match="with --data-dir .*, or set the .* variable MPNAS_DATA"):
        cifar10.load()


def test_missing_folder_is_named(small):
    with pytest.raises(DataError, match="nowhere does not exist"):
        cifar10.load(small / "nowhere")


def test_folder_without_cifar_names_both_layouts(small):
    (small / "empty").mkdir()
    with pytest.raises(DataError, match=r"Put 'cifar10.npz' or .*\(data_batch_1.bin, ...\)"):
        cifar10.load(small / "empty")


def test_missing_binary_file_is_named(small):
    (small / "binary/data_batch_4.bin").unlink()
    with pytest.raises(DataError, match="data_batch_4.bin is missing"):
        cifar10.load(small / "binary")


def test_truncated_binary_file_says_its_sizes(small):
    path = small / "binary/data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="data_batch_2.bin is inc.* expected 61460 .* got 61455"):
        cifar10.load(small / "binary")


@pytest.mark.parametrize("place, what", [(0, "labels"), (1, "pixels")])
def test_altered_binary_file_says_both_checksums(small, place, what):
    path = small / "binary/test_batch.bin"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"test_batch.bin\): {what} .* expected SHA-256 .*, got "):
        cifar10.load(small / "binary")


@pytest.mark.parametrize("keep", [0, 1000, -10], ids=["empty", "start", "nearly_all"])
def test_truncated_npz_says_its_sizes(small, keep):
    path = small / "npz/cifar10.npz"
    content = path.read_bytes()[:keep]
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"cifar10.npz cannot be read .* 104050578 bytes, got {len(content)}\."
    ):
        cifar10.load(small / "npz")


def rewrite(path, **changes):
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays |= changes
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})


def test_altered_npz_says_both_checksums_and_is_not_cached(small):
    path = small / "npz/cifar10.npz"
    with np.load(path) as archive:
        delta = archive["test_images_delta"]
    delta[0, 0, 0, 0] += 1
    rewrite(path, test_images_delta=delta)
    with pytest.raises(DataError, match="'test_images_delta', decoded differ .* expected SHA-256"):
        cifar10.load(small / "npz")
    assert not (small / "cache/cifar10_test.npy").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_labels": None}, "no array 'train_labels'"),
        ({"train_labels": np.zeros(3, np.uint8)}, "'train_labels' differ .* SHA-256"),
        ({"train_images_delta": np.zeros((2, 2), np.uint8)}, r"got uint8 \(2, 2\)"),
    ],
)
def test_other_archive_is_refused(small, changes, message):
    rewrite(small / "npz/cifar10.npz", **changes)
    with pytest.raises(DataError, match=message):
        cifar10.load(small / "npz")


def test_real_images_have_their_published_counts_and_means(data_folder, tmp_path, monkeypatch):
    if not (data_folder / "cifar10.npz").is_file():
        pytest.skip("needs cifar10.npz")
    monkeypatch.setenv("MPNAS_CACHE", str(tmp_path))
    data = cifar10.load(data_folder)
    counts = [np.bincount(getattr(data, part)[1]).tolist() for part in PART_NAMES]
    assert counts == [[4500] * 10, [500] * 10, [1000] * 10]
    sums = sum(part[0].sum(axis=(0, 1, 2), dtype=np.int64) for part in (data.train, data.select))
    means = sums / (50_000 * 1024 * 255)
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=1e-4)
    assert data.input_shape == (32, 32, 3)
    shutil.rmtree(tmp_path)
