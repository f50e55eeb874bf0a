"""The digits, with faults at a step of certain seeds, as long as a file says so.

`faults.json` in the current folder: seed -> fault. A batch knows its seed and step from the randomness
that it is given, so a trial of another seed in the same process is not touched.
"""

import dataclasses
import json
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np

from mpnas.data import DATASETS

STEP = 20
FAULTS = Path("faults.json").absolute()


def strike(x, rng):
    *_, seed, step = rng.bit_generator.seed_seq.entropy
    fault = json.loads(FAULTS.read_text()).get(str(seed)) if FAULTS.exists() and step == STEP else None
    if fault == "raise":
        raise ValueError("a hole in the data")
    if fault == "nan":
        return np.full_like(x, np.nan)
    if fault == "memory":
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, hard))
        try:
            np.ones(8 << 30, np.uint8)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hang once" and not (marker := FAULTS.with_name("hung")).exists():
        marker.touch()
        time.sleep(3600)
    return x


def batches():
    return dataclasses.replace(DATASETS["digits"](None), name="faulty", augment=strike)
