"""A small front made by hand: two tied convolutions, a head, and trials whose costs are counted.

Three kernels of 4 x 100, 4 x 200 and 1 x 100 weights. Bytes are sum(weights * bits) / 8, bit
operations sum(macs * weight bits * activation bits), with 8 bits at the input of the head.
"""

import copy

from mpnas.pareto import Record, build

SITES = {
    "block/conv1/kernel": {"kind": "weight", "decisions": 4, "parameters": 400, "macs": 4000},
    "block/conv2/kernel": {"kind": "weight", "decisions": 4, "parameters": 800, "macs": 8000},
    "head/kernel": {"kind": "weight", "decisions": 1, "parameters": 100, "macs": 100},
    "block/conv1/input": {"kind": "activation", "decisions": 1, "parameters": 0, "macs": 4000},
    "block/conv2/input": {"kind": "activation", "decisions": 1, "parameters": 0, "macs": 8000},
}
TIES = [
    {
        "id": "add",
        "members": ["block/conv1/kernel", "block/conv2/kernel"],
        "why": "added at block/add",
    },
    {
        "id": "input",
        "members": ["block/conv1/input", "block/conv2/input"],
        "why": "both read block/input",
    },
]
COUNTS = {
    "scales": False, "zero_points": False, "bias": False, "assignment_index": False,
    "first_last_layers": True,
}
COST_MODELS = [{"id": "memory/1", "counts": COUNTS}, {"id": "bops/1", "counts": COUNTS}]
OBJECTIVES = [
    {"name": "accuracy", "direction": "max", "unit": "fraction", "kind": "metric",
     "on_front": True},
    {"name": "test_accuracy", "direction": "max", "unit": "fraction", "kind": "metric",
     "on_front": False},
    {"name": "weight_bytes", "direction": "min", "unit": "byte", "kind": "cost",
     "cost_model": "memory/1", "on_front": True},
    {"name": "bops", "direction": "min", "unit": "bitop", "kind": "cost",
     "cost_model": "bops/1", "on_front": False},
]
RUN = {
    "id": "made-by-hand",
    "config_sha256": "0" * 64,
    "seeds": [0],
    "model": {"name": "block", "parameters": 1300, "macs": 12100},
    "dataset": {"name": "none", "select_part": "select", "report_part": "test"},
    "sites": SITES,
}
CREATED = "2026-01-31T12:00:00Z"


def assign(conv1, conv2, head, inputs):
    """An assignment; an int is for the whole layer, a list of [bits, count] for channels."""
    values = dict(zip(SITES, (conv1, conv2, head, inputs, inputs), strict=True))
    return {
        site: {"granularity": "layer", "bits": value} if isinstance(value, int)
        else {"granularity": "channel", "rle": value}
        for site, value in values.items()
    }


def recompute(assignment):
    """Exact costs of an assignment, channel by channel."""
    mean = {}
    for site, decision in assignment.items():
        runs = decision.get("rle", [[decision.get("bits"), 1]])
        channels = [bits for bits, count in runs for _ in range(count)]
        mean[site] = sum(channels) / len(channels)
    weights = {site: mean[site] for site in mean if site.endswith("kernel")}
    inputs = {site: mean.get(site.replace("kernel", "input"), 8) for site in weights}
    return {
        "weight_bytes": sum(SITES[s]["parameters"] * weights[s] for s in weights) / 8,
        "bops": sum(SITES[s]["macs"] * weights[s] * inputs[s] for s in weights),
    }


MIXED = assign([[8, 2], [4, 1], [0, 1]], [[4, 2], [2, 1], [0, 1]], 8, 8)  # 250 + 250 + 100 bytes
HALF = assign(8, 4, 8, 8)  # 400 + 400 + 100 bytes
UNIFORM = {bits: assign(bits, bits, bits, bits) for bits in (2, 4, 8)}  # 325, 650, 1300 bytes


def record(trial, kind="search", accuracy=0.8, assignment=MIXED, **changes):
    """A finished trial with the costs of its assignment; `changes` replace any field."""
    fields = {
        "trial": trial,
        "kind": kind,
        "controller": "gumbel" if kind == "search" else None,
        "seed": 0,
        "budget": {},
        "limits": {},
        "status": "done",
        "stage": "retrained",
        "metrics": {"accuracy": accuracy, "test_accuracy": round(accuracy - 0.01, 6)},
        "assignment": copy.deepcopy(assignment),
    } | changes
    if "costs" not in changes:
        fields["costs"] = recompute(assignment) if assignment else {}
    return Record(**fields)


def records():
    """One float network, two uniform ones, a random one, and five searches."""
    half, most = {"weight_bytes": "50%"}, {"weight_bytes": "75%"}
    return [
        record("f", "float", 0.90, {}, stage="reference",
               costs={"weight_bytes": 5200.0, "bops": 12100.0 * 1024}),
        record("u8", "uniform", 0.89, UNIFORM[8]),
        record("u4", "uniform", 0.85, UNIFORM[4]),
        record("r0", "random", 0.80, MIXED, budget=half, limits={"weight_bytes": 650}),
        record("s0", accuracy=0.88, budget=half, limits={"weight_bytes": 650}),
        record("s1", accuracy=0.895, assignment=HALF, budget=most, limits={"weight_bytes": 975}),
        record("s2", accuracy=0.86, assignment=UNIFORM[4], budget=half,
               limits={"weight_bytes": 650}),
        record("s3", accuracy=0.899, assignment=HALF, budget=half, limits={"weight_bytes": 650}),
        record("s4", budget=half, limits={"weight_bytes": 650}, status="failed", stage="searched",
               reason="the loss of stage 'search' is not finite at step 12.", metrics={}, costs={}),
    ]


def made(rows=None, **changes):
    """The front of `records()`, or of other records or arguments."""
    arguments = {
        "run": RUN, "objectives": OBJECTIVES, "cost_models": COST_MODELS, "ties": TIES,
        "created_utc": CREATED,
    }
    return copy.deepcopy(build(records() if rows is None else rows, **(arguments | changes)))
