"""Artefacts of a point: the files that it names, held against their hashes, inside one folder.

A front may come from a stranger, so a path in it is a claim: it is relative, has no step upwards,
and after all links still lies under the run folder. Otherwise nothing is opened.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mpnas.errors import FrontFileError


def inside(root: Path, text: str) -> Path:
    """The file that a relative path names under `root`.

    Raises:
      FrontFileError: The path is absolute, climbs with "..", or a link leads out of `root`.
    """
    if escapes(text):
        raise FrontFileError(_leaves(text))
    try:
        found = (root / text).resolve()
        within = found.is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # links in a loop; a null byte
        raise FrontFileError(f"path {text!r} cannot be followed: {error}.") from error
    if not within:
        raise FrontFileError(f"path {text!r} leaves the run folder through a link.")
    return found


def _leaves(text: str) -> str:
    return f"path {text!r} leaves the run folder; paths are relative, without '..'."


def escapes(text: str) -> bool:
    """Whether a path, read as POSIX or as Windows, could name something outside its folder.

    >>> escapes("trials/a/model.npz"), escapes("../front.json"), escapes("C:\\\\x")
    (False, True, True)
    """
    windows, posix = PureWindowsPath(text), PurePosixPath(text)
    return bool(posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts)


def relocated(front: Mapping[str, Any], place: str | None) -> dict[str, Any]:
    """A front whose artefacts are named from another folder.

    Args:
      front: A document; not changed.
      place: Its run folder as a relative POSIX path from the new folder, "." for the same one; None
        if the run does not lie below the new folder: then nothing there can be named, and the
        artefacts are left out.
    """
    moved = dict(front)
    for part in ("points", "references"):
        moved[part] = [{**row, "artifacts": _moved(row["artifacts"], place)} for row in front[part]]
    return moved


def _moved(artifacts: Mapping[str, Any], place: str | None) -> dict[str, Any]:
    if place is None:
        return {}
    found = dict(artifacts)
    if "checkpoint" in found:
        found["checkpoint"] = _below(place, found["checkpoint"])
    if "exports" in found:
        found["exports"] = [{**one, "path": _below(place, one["path"])} for one in found["exports"]]
    return found


def _below(place: str, text: str) -> str:
    return text if place == "." else f"{place}/{text}"


def digest(path: Path) -> str:
    """SHA-256, in hex, of a file, or of a folder's sorted listing "<sha256>  <path>" a line.

    Raises:
      OSError: Something in it cannot be read.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(
        (item.relative_to(path).as_posix(), item) for item in path.rglob("*")
        if item.is_file() and not item.is_symlink()
    )
    listing = "".join(f"{digest(item)}  {name}\n" for name, item in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def wrong_files(artifacts: Mapping[str, Any], root: Path | None) -> Iterator[str]:
    """Sentences on artefacts whose path, hash or length is not what is on disk.

    Args:
      artifacts: checkpoint, sha256, exports; each optional.
      root: The run folder; None checks the paths alone.
    """
    exports = artifacts.get("exports", [])
    claims = [(e["path"], e.get("sha256"), e.get("file_bytes")) for e in exports]
    if "checkpoint" in artifacts:
        claims.append((artifacts["checkpoint"], artifacts.get("sha256"), None))
    for text, sha256, length in claims:
        if root is None:
            if escapes(text):
                yield _leaves(text)
        elif wrong := _wrong_file(root, text, sha256, length):
            yield wrong


def _wrong_file(root: Path, text: str, sha256: str | None, length: int | None) -> str | None:
    try:
        path = inside(root, text)
        if not (path.is_file() or path.is_dir()):
            return f"{text!r} is missing from the run folder."
        if sha256 is not None and (found := digest(path)) != sha256:
            return f"{text!r} has sha256 {found}, the front says {sha256}."
        if length is not None and path.stat().st_size != length:
            return f"{text!r} has {path.stat().st_size} bytes, the front says {length}."
    except FrontFileError as error:
        return str(error)
    except OSError as error:
        return f"{text!r} cannot be read: {error.strerror}."
    return None


def wrong_sizes(
    artifacts: Mapping[str, Any], costs: Mapping[str, float], name: str
) -> Iterator[str]:
    """Sentences on exports that list a cost under `name` which is not the point's cost."""
    for export in artifacts.get("exports", []):
        if name in export and export[name] != costs.get(name):
            yield (
                f"export {export['path']!r} has {name} {export[name]}, "
                f"the point's cost is {costs.get(name)}."
            )
