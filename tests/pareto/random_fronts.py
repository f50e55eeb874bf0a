"""Random sound fronts for property tests: runs of the hand-made network with any trials."""

import hashlib

from front_maker import RUN, assign, made, record
from hypothesis import strategies as st

from mpnas.pareto.artifacts import relocated

ASSIGNMENTS = [
    assign([[8, 2], [4, 1], [0, 1]], [[4, 2], [2, 1], [0, 1]], 8, 8), assign(8, 4, 8, 8), assign(2, 2, 2, 2),
    assign(4, 4, 4, 4), assign([[2, 4]], 8, 4, 4), assign(0, [[0, 4]], 8, 8),
]
ACCURACY = st.integers(0, 8).map(lambda eighth: eighth / 8)  # few values, so that ties occur


@st.composite
def rows(draw):
    """Records of one run: floats, searches and baselines, some failed, some over their limits."""
    found = []
    for index in range(draw(st.integers(0, 7))):
        kind = draw(st.sampled_from(["search", "search", "search", "float", "uniform", "random"]))
        bytes_asked = draw(st.sampled_from([300, 650, 975]))
        changes = {"seed": draw(st.integers(0, 2))}
        if kind == "float":
            costs = {"weight_bytes": 5200, "bops": 10**7}
            changes |= {"stage": "reference", "assignment": {}, "costs": costs}
        else:
            changes |= {"assignment": draw(st.sampled_from(ASSIGNMENTS))}
        if kind in ("search", "random"):
            changes |= {"budget": {"weight_bytes": bytes_asked}, "limits": {"weight_bytes": bytes_asked}}
        if draw(st.integers(0, 5)) == 0:
            changes |= {"status": "failed", "reason": "it was killed.", "stage": "searched"}
        if draw(st.booleans()):
            changes |= {"artifacts": {"checkpoint": f"trials/t{index}/model", "sha256": "0" * 64}}
        found.append(record(f"t{index}", kind, draw(ACCURACY), **changes))
    return found


@st.composite
def fronts(draw, run_id="a"):
    """A sound front of a run; its id and trials may be those of other runs."""
    found = draw(rows())
    digest = hashlib.sha256(repr((run_id, found)).encode()).hexdigest()
    run = RUN | {"id": run_id, "config_sha256": digest, "seeds": [0, 1, 2]}
    if draw(st.booleans()):
        run |= {"config": {"seeds": [0], "recipe": {"steps": draw(st.sampled_from([1, 2]))}}}
    created = f"2026-01-{draw(st.integers(10, 31))}T12:00:00Z"
    return relocated(made(found, run=run, created_utc=created), f"runs/{digest[:6]}")
