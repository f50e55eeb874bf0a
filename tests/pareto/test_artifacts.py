"""Tests of mpnas/pareto/artifacts.py."""

import hashlib

import pytest
from front_maker import made, records

from mpnas.errors import FrontFileError
from mpnas.pareto.artifacts import digest, escapes, inside, relocated, wrong_files

CLIMBING = ["../x", "a/../../x", "a\\..\\x", "/etc/passwd", "\\x", "C:\\x", "C:x", "//host/x", ".."]


@pytest.mark.parametrize("text", CLIMBING)
def test_a_path_that_could_leave_is_refused_on_every_system(tmp_path, text):
    assert escapes(text)
    with pytest.raises(FrontFileError, match="leaves the run folder"):
        inside(tmp_path, text)


@pytest.mark.parametrize("text", ["a", "trials/a/model.npz", "a..b", "..a", "./a", "a b"])
def test_a_path_that_stays_is_taken(tmp_path, text):
    assert inside(tmp_path, text) == (tmp_path / text).resolve()


def test_a_path_with_a_null_byte_is_refused(tmp_path):
    with pytest.raises(FrontFileError, match="cannot be followed"):
        inside(tmp_path, "a\0b")


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(FrontFileError, match="through a link"):
        inside(tmp_path / "run", "link")


def test_links_in_a_circle_are_a_sentence(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert len(list(wrong_files({"checkpoint": "a"}, tmp_path))) == 1


def test_digest_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert digest(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_digest_of_a_folder_is_that_of_its_listing(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_bytes(b"2")
    (tmp_path / "one").write_bytes(b"1")
    lines = [(b"2", "b/two"), (b"1", "one")]
    listing = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for data, name in lines)
    assert digest(tmp_path) == hashlib.sha256(listing.encode()).hexdigest()


def test_a_missing_file_is_named(tmp_path):
    assert list(wrong_files({"checkpoint": "ckpt"}, tmp_path)) == [
        "'ckpt' is missing from the run folder."
    ]


@pytest.mark.parametrize(
    "place, checkpoint, exported",
    [("runs/a", "runs/a/m", "runs/a/p.bin"), (".", "m", "p.bin")],
    ids=["below", "same"],
)
def test_artefacts_are_named_from_the_folder_of_another_file(place, checkpoint, exported):
    rows = records()
    rows[4].artifacts.update(checkpoint="m", exports=[{"format": "packed", "path": "p.bin"}])
    front = made(rows)
    artifacts = relocated(front, place)["points"][0]["artifacts"]
    assert artifacts == {"checkpoint": checkpoint, "exports": [{"format": "packed", "path": exported}]}
    assert front["points"][0]["artifacts"]["checkpoint"] == "m"


def test_what_lies_elsewhere_is_not_named_at_all():
    rows = records()
    rows[4].artifacts.update(checkpoint="m")
    assert relocated(made(rows), None)["points"][0]["artifacts"] == {}
