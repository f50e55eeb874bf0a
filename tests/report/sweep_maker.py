"""The front of a made-up sweep: two controllers, random and uniform bits, three seeds each."""

import zlib

from front_maker import RUN, made, record

LAYERS = ["stem", *(f"stack{i}/conv{j}" for i in (1, 2, 3, 10) for j in (1, 2)), "dense"]
WEIGHTS = [432, 2304, 2304, 4608, 9216, 18432, 36864, 36864, 36864, 640]
MACS = [442368, 2359296, 2359296, 1179648, 2359296, 1179648, 2359296, 2359296, 2359296, 640]
SITES = {
    f"{layer}/{part}": {
        "kind": kind,
        "decisions": 16 if kind == "weight" else 1,
        "parameters": weights if kind == "weight" else 0,
        "macs": macs,
        "index": index,
    }
    for index, (layer, weights, macs) in enumerate(zip(LAYERS, WEIGHTS, MACS, strict=True))
    for part, kind in (("kernel", "weight"), ("input", "activation"))
}
TRIED = RUN | {
    "id": "sweep",
    "seeds": [0, 1, 2],
    "model": {"name": "resnet8", "parameters": sum(WEIGHTS), "macs": sum(MACS)},
    "dataset": {"name": "cifar10", "select_part": "select", "report_part": "test"},
    "sites": SITES,
}


def assigned(bits, mixed=0):
    """All sites at `bits`, or `mixed` of 16 channels moved to half of them and one left out."""
    whole = {"granularity": "layer", "bits": bits}
    runs = [[bits, 15 - mixed], [max(bits // 2, 1), mixed], [0, 1]]
    parts = {"granularity": "channel", "rle": runs}
    return {name: parts if name.endswith("kernel") and mixed else whole for name in SITES}


def costs_of(assignment):
    """Weight bytes and bit operations, site by site."""
    mean = {}
    for name, decision in assignment.items():
        runs = decision.get("rle", [[decision.get("bits"), 16]])
        mean[name] = sum(bits * count for bits, count in runs) / 16
    kernels = [name for name in SITES if name.endswith("kernel")]
    return {
        "weight_bytes": sum(SITES[n]["parameters"] * mean[n] for n in kernels) // 8,
        "bops": sum(SITES[n]["macs"] * mean[n] * mean[n[:-6] + "input"] for n in kernels),
    }


def noise(trial):
    """A repeatable number within +-0.004 for a trial."""
    return (zlib.crc32(trial.encode()) % 801 - 400) / 1e5


def trial(kind, controller, accuracy, assignment, seed, **changes):
    """A record whose accuracy wobbles with its name, 1.2 points lower on the test part."""
    name = f"{controller or kind}-{changes.get('budget', '')}-{accuracy}-{seed}"
    select = accuracy + noise(name)
    metrics = {"accuracy": select, "test_accuracy": select - 0.012 + noise(name + "t") / 2}
    changes.setdefault("costs", costs_of(assignment) if assignment else {})
    return record(
        name, kind, assignment=assignment, seed=seed, controller=controller, metrics=metrics,
        **changes,
    )


def sweep(lead=0.03):
    """The front; `lead` is by how much the searches beat random assignments, as a fraction."""
    float_costs = {"weight_bytes": 4.0 * sum(WEIGHTS), "bops": 1024.0 * sum(MACS)}
    rows = [trial("float", None, 0.872, {}, 0, costs=float_costs, stage="reference")]
    for seed in range(3):
        for bits, accuracy in ((8, 0.870), (4, 0.835), (2, 0.65)):
            rows.append(trial("uniform", None, accuracy, assigned(bits), seed))
        for bits, mixed, random in ((8, 4, 0.835), (8, 12, 0.815), (4, 4, 0.79), (4, 13, 0.71)):
            assignment = assigned(bits, mixed)
            limit = costs_of(assignment)["weight_bytes"] + 100
            asked = {"budget": {"weight_bytes": limit}, "limits": {"weight_bytes": limit}}
            for controller, more in (("gumbel", lead), ("dbp", lead * 0.8)):
                rows.append(trial("search", controller, random + more, assignment, seed, **asked))
            rows.append(trial("random", None, random, assignment, seed, **asked))
    return made(rows, run=TRIED, ties=[])
