"""The file of a front: canonical bytes out, plain data in.

Equal fronts are equal files: keys sorted, floats in their shortest exact form, rows of numbers on
one line, a newline at the end. Reading trusts nothing: bytes that are no front of this version
raise `FrontFileError` and do nothing else.
"""

import contextlib
import gc
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpnas.errors import FrontFileError
from mpnas.pareto.objectives import wrong_names
from mpnas.pareto.schema import SCHEMA_VERSION, check_plain, complaints, fits

# Inside a JSON string a newline is written as an escape, so a bracket before a real newline is
# always structure: this never rewrites text.
_NUMBER_ROW = re.compile(r"\[\n\s*(-?[0-9][^\[\]{}\"]*?)\n\s*\]")


def dumps(front: dict[str, Any]) -> bytes:
    """The canonical bytes of a front: UTF-8, the same for equal fronts.

    Raises:
      FrontFileError: A number is not finite, or a value is not plain JSON data.
    """
    if not fits(front):
        check_plain(front, "the front")
    text = json.dumps(front, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    rows = _NUMBER_ROW.sub(lambda row: "[" + re.sub(r"\s*\n\s*", " ", row[1]) + "]", text)
    return (rows + "\n").encode()


def save(front: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a front so that readers see the old file or the whole new one, never a part.

    Args:
      front: A document of `schema.json`.
      path: Where; its folder exists.

    Raises:
      FrontFileError: `load` would refuse the front, or the folder cannot be written to.
    """
    data = dumps(front)
    check_front(front, "the front to be saved")
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise FrontFileError(f"{target} cannot be written: {error.strerror}.") from error


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check a front.

    Args:
      path: A file that `save` wrote, or anything that claims to be one.

    Returns:
      The document; it satisfies `schema.json`, and its names refer to what exists. Whether its
      numbers agree with each other is for `mpnas.pareto.violations` to say.

    Raises:
      FrontFileError: The file cannot be read, is not JSON, is not an object, has another schema
        version, breaks the schema, or holds a number that is not finite.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise FrontFileError(f"{str(path)!r} cannot be read: {error}.") from error
    return parse(data, str(path))


def parse(data: bytes, name: str) -> dict[str, Any]:
    """The front in `data`; `name` says in errors where it came from. Otherwise as `load`."""
    try:
        with _uncollected():
            document = json.loads(
                data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_twins
            )
    except (ValueError, RecursionError) as error:
        raise FrontFileError(
            f"{name} is not the JSON of a front: {str(error)[:200]}. "
            "If its writing was cut short, build it again from the run folder."
        ) from error
    if not isinstance(document, dict):
        raise FrontFileError(f"{name} holds a {type(document).__name__}; a front is an object.")
    check_front(document, name)
    return document


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    # A million new objects and no garbage: the collector would look at all of them, again and again,
    # and take three quarters of the time.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _refuse_constant(word: str) -> float:
    raise ValueError(f"it holds {word}, and numbers here are finite")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twin = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"the key {twin[:80]!r} comes twice in one object")
    return found


def check_front(document: dict[str, Any], name: str) -> None:
    """Refuse data that is no front of this version; `name` begins the sentence.

    Raises:
      FrontFileError: Not plain data, another schema version, a breach of `schema.json`, or a name in
        the document that refers to nothing in it.
    """
    sound = fits(document)
    if not sound:
        check_plain(document, name)
    version = document.get("schema")
    if version != SCHEMA_VERSION:
        said = f"'{version[:80]}'" if isinstance(version, str) else "none"
        raise FrontFileError(
            f"{name} has schema version {said}, and this mpnas reads '{SCHEMA_VERSION}'. Read it "
            "with the mpnas that wrote it, or build the front again from the run folder."
        )
    if wrong := ([] if sound else complaints(document)) or list(wrong_names(document)):
        more = f" ({len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise FrontFileError(f"{name} does not follow {SCHEMA_VERSION}: {wrong[0]}{more}.")
