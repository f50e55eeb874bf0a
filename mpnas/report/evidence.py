"""Evidence: what a run folder tells beside its front; read without trust, and without jax.

Ids of trials come from a front, and a front may come from a stranger: nothing outside the run folder is
opened. What is damaged or missing is left out, for a report then has a figure less, not an error.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpnas.errors import FrontFileError
from mpnas.pareto.artifacts import inside

LARGEST = 2**26  # bytes of one file; longer ones are not of this program
_UTC = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z")
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the trials of a run left behind, as far as a report shows it.

    Attributes:
      history: Trial -> rows of its `metrics.jsonl`, in the order of writing.
      ended: Trial -> when it was over, as "2026-01-31T12:00:00Z", of records that say so.
      scores: One mapping per measurement: site -> `(decisions, columns)` float64 >= 0, how much worse
        the network gets as a decision leaves its highest candidate.
    """

    history: Mapping[str, Sequence[Row]] = dataclasses.field(default_factory=dict)
    ended: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scores: Sequence[Mapping[str, np.ndarray]] = ()


def evidence_of(folder: Path, front: Mapping[str, Any]) -> Evidence:
    """The evidence beside a front.

    Args:
      folder: The folder of the front; that of a bare front.json gives no evidence.
      front: A document that `mpnas.pareto.load` or `build` returned.
    """
    trials = [row["trial"] for part in ("points", "references", "rejected") for row in front[part]]
    history = {trial: rows for trial in trials if (rows := _rows(folder, f"trials/{trial}/metrics.jsonl"))}
    ended = {trial: when for trial in trials if (when := _ended(folder, f"trials/{trial}/result.json"))}
    names = sorted(path.name for path in (folder / "scores").glob("*.npz"))
    found = (_scores(folder, f"scores/{name}") for name in names)
    return Evidence(history, ended, tuple(scores for scores in found if scores))


def _rows(folder: Path, name: str) -> list[Row]:
    return list(_objects(_bytes(folder, name).splitlines()))


def _ended(folder: Path, name: str) -> str | None:
    for record in _objects([_bytes(folder, name)]):
        when = record.get("ended_utc")
        if isinstance(when, str) and _UTC.fullmatch(when):
            return when
    return None


def _objects(texts: Sequence[bytes]) -> Iterator[Row]:
    for text in texts:
        try:
            value = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError):
            continue  # the last line of a trial that was killed is cut short
        if isinstance(value, dict):
            yield value


def _bytes(folder: Path, name: str) -> bytes:
    try:
        path = inside(folder, name)
        return path.read_bytes() if path.is_file() and path.stat().st_size <= LARGEST else b""
    except (OSError, ValueError, FrontFileError):
        return b""


def _scores(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The scores of a file that `mpnas.train.scores` wrote; none of a damaged one."""
    try:
        path = inside(folder, name)
        if path.stat().st_size > LARGEST:
            return {}
        with np.load(path, allow_pickle=False) as file:
            sites = [str(site) for site in file["sites"]]
            found = {site: np.asarray(file[f"{k:05d}"], np.float64) for k, site in enumerate(sites)}
    except Exception:  # noqa: BLE001 - numpy and zipfile raise many kinds
        return {}
    sound = all(v.ndim == 2 and v.size and np.isfinite(v).all() and (v >= 0).all() for v in found.values())
    return found if sound else {}
