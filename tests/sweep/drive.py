"""Drives a sweep as the command line does, in a process that a test can kill; prints how it ended."""

import dataclasses
import json
import sys
from pathlib import Path

from mpnas.sweep.tune.drive import run_pending
from mpnas.sweep.tune.resources import Resources

print(json.dumps(dataclasses.asdict(run_pending(Path(sys.argv[1]), Resources(**json.loads(sys.argv[2]))))))
