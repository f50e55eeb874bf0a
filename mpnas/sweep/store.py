"""Where the files of a run lie, behind five operations; and what carries changes between two such places.

A reader of the target never takes half of anything: a file is there whole or not at all, a step of a
checkpoint counts with its last file, and `result.json` comes after everything that it speaks of.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from mpnas.pareto.artifacts import inside

STEP = re.compile(r"(.*/checkpoint/step_\d+)/(.+)")
SEAL = "_CHECKPOINT_METADATA"  # the file of a step without which it does not count
FIRST, LAST = "plan.json", ("result.json", "front.json")


class Store(Protocol):
    """Files under relative names with `/`."""

    def stamps(self, below: str) -> dict[str, str]:
        """Name -> a text that changes with the content, of every file below a folder ("": of all)."""

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
          FileNotFoundError: it is not there, or no longer.
        """

    def write(self, name: str, content: bytes) -> None:
        """Make a file, or replace it, at once."""

    def write_step(self, name: str, files: Mapping[str, bytes]) -> None:
        """Make a folder with these files so that it counts when all are there."""

    def remove(self, name: str) -> None:
        """Delete a file or a folder, if it is there; a step ceases to count first of all."""


class Folder:
    """A store that is a folder of this machine.

    Args:
      root: The folder; nothing outside it is ever touched.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def stamps(self, below: str) -> dict[str, str]:
        """Size and time of every file; what is being written is left out."""
        found = {}
        # Top down: a result that is seen here was there before its checkpoints are looked at.
        for place, folders, files in os.walk(inside(self.root, below)):
            folders[:] = [name for name in folders if not passing(name)]
            for name in files:
                path = Path(place, name)
                if not name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        status = path.stat()
                        found[path.relative_to(self.root.resolve()).as_posix()] = (
                            f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
                        )
        return found

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return inside(self.root, name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write beside it, and move it into place."""
        path = inside(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            _written(temporary, content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def write_step(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write the folder two levels up, where nobody takes it for a step, and move it into place."""
        path = inside(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
        try:
            for part, content in files.items():
                file = inside(temporary, part)
                file.parent.mkdir(parents=True, exist_ok=True)
                _written(file, content)
            self.remove(name)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Move a folder out of sight before it is taken apart."""
        path = inside(self.root, name)
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        temporary = path.parent.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
        os.replace(path, temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def _written(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def passing(name: str) -> bool:
    """Whether a folder of this name is one in the making."""
    return name.startswith(".") or "orbax-checkpoint-tmp" in name


class Carrier:
    """Carries what is new, changed or gone from one store to another, again and again.

    Args:
      source: Where files come from.
      target: Where they go.
      below: Folders that are carried; ("",) for everything.
      without: Beginnings of names that are left alone.
    """

    def __init__(
        self, source: Store, target: Store, below: Iterable[str] = ("",), without: tuple[str, ...] = ()
    ) -> None:
        self.source, self.target, self.below, self.without = source, target, tuple(below), without
        self._carried: dict[str, str] = {}

    def suppose(self, there: Collection[str], old: tuple[str, ...] = ()) -> None:
        """Take what is `there` in the target for equal to the source, but for `old` beginnings of names."""
        found = self._found()
        self._carried = {
            name: "" if name.startswith(old or ("\0",)) else found.get(name, "")
            for name in there if not name.startswith(self.without or ("\0",))
        }

    def carry(self) -> int:
        """Bring the target up to date; the number of files that were written."""
        found = self._found()
        new = {name for name, stamp in found.items() if self._carried.get(name) != stamp}
        steps = {match[1] for name in new if (match := STEP.fullmatch(name))}
        plain = [name for name in new if not STEP.fullmatch(name)]
        count = 0
        for name in plain:
            if name == FIRST:
                count += self._file(name, found)
        for step in sorted(steps):
            count += self._step(step, found)
        self._forget(found)
        for name in sorted(plain, key=lambda name: (name.endswith(LAST), name.endswith(LAST[1]), name)):
            if name != FIRST:
                count += self._file(name, found)
        return count

    def _found(self) -> dict[str, str]:
        """Stamps of the source, without steps that do not count."""
        found: dict[str, str] = {}
        for folder in self.below:
            found |= self.source.stamps(folder)
        sealed = {name.removesuffix(f"/{SEAL}") for name in found if name.endswith(f"/{SEAL}")}
        return {
            name: stamp for name, stamp in found.items()
            if not name.startswith(self.without or ("\0",))
            and ((match := STEP.fullmatch(name)) is None or match[1] in sealed)
        }

    def _file(self, name: str, found: Mapping[str, str]) -> int:
        try:
            self.target.write(name, self.source.read(name))
        except FileNotFoundError:
            return 0  # gone in the meantime
        self._carried[name] = found[name]
        return 1

    def _step(self, step: str, found: Mapping[str, str]) -> int:
        names = [name for name in found if name.startswith(f"{step}/")]
        try:
            files = {name.removeprefix(f"{step}/"): self.source.read(name) for name in names}
        except FileNotFoundError:
            return 0  # a newer step has taken its place
        self.target.write_step(step, files)
        self._carried |= {name: found[name] for name in names}
        return len(names)

    def _forget(self, found: Mapping[str, str]) -> None:
        """Delete from the target what the source no longer has."""
        gone = self._carried.keys() - found.keys()
        for step in sorted({match[1] for name in gone if (match := STEP.fullmatch(name))}):
            if f"{step}/{SEAL}" not in found:
                self.target.remove(step)
        for name in sorted(gone):
            if not STEP.fullmatch(name):
                self.target.remove(name)
            del self._carried[name]
