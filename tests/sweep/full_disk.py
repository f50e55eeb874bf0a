"""Runs a trial on a disk that fills up, then on a larger one to its end; in its own mount namespace."""

import subprocess
import sys
from pathlib import Path

from mpnas.sweep.trial import run_trial
from mpnas.sweep.worker import prepare

disk, source, trial, small = sys.argv[1:]


def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)


prepare()
mount("size=200m")
folder = Path(disk) / "run"
subprocess.run(["cp", "-r", source, str(folder)], check=True)
used = int(subprocess.run(["du", "-sk", disk], check=True, capture_output=True, text=True).stdout.split()[0])
mount(f"remount,size={used + int(small)}k")
try:
    run_trial(folder, trial)
    print("the disk was large enough")
except Exception as error:  # noqa: BLE001 - whatever a library says of a full disk
    print(f"{type(error).__name__}: {str(error).splitlines()[0]}")
steps = sorted(path.name for path in (folder / "trials" / trial / "checkpoint").glob("step_????????"))
print(f"kept {steps}, result {(folder / 'trials' / trial / 'result.json').exists()}")
mount("remount,size=200m")
run_trial(folder, trial)
subprocess.run(["cp", "-r", str(folder), source + "-after"], check=True)
