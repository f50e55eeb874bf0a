"""A sweep in a process of its own, which a test can watch and kill."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import tiny_plan
from tiny_plan import HERE

from mpnas.sweep.tune.resources import Outcome

PATIENCE_SECONDS = 240


def until(condition, driver, what):
    """Wait for a condition while a driver runs; its words if it ends first."""
    for _ in range(10 * PATIENCE_SECONDS):
        if (found := condition()):
            return found
        if driver.poll() is not None:
            raise AssertionError(f"the driver ended before {what}: {driver.communicate()}")
        time.sleep(0.1)
    raise AssertionError(f"no sign of {what}")


class Driver:
    """A sweep in a process of its own; whatever it starts carries a mark by which it is found.

    Args:
      folder: The run folder.
      cache: Compiled programs.
      cwd: Where own modules of the experiment are.
      resources: Fields of `Resources`.
    """

    def __init__(self, folder, cache, cwd=HERE, **resources):
        self.folder, self.mark = folder, uuid.uuid4().hex
        asked = json.dumps({"cpus": 1, "retries": 2} | resources)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "drive.py"), str(folder), asked], cwd=cwd, text=True,
            env=tiny_plan.environment(cache, MPNAS_TEST_MARK=self.mark, JAX_PLATFORMS="cpu"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )

    def outcome(self):
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == 0, err
        return Outcome(**json.loads(out.splitlines()[-1]))

    def pids(self):
        """Processes that the driver and its children have started and that still live."""
        sign, found = f"MPNAS_TEST_MARK={self.mark}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    alive = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
                    if alive and sign in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def trial_worker(self):
        """The process that runs a trial: of Ray's workers the one that has loaded JAX."""
        for pid in self.pids():
            try:
                if b"ray::" in Path(f"/proc/{pid}/cmdline").read_bytes() and "xla" in Path(
                    f"/proc/{pid}/maps"
                ).read_text():
                    return pid
            except OSError:
                continue
        raise AssertionError("no worker runs a trial")

    def wait_for_row(self, trial, step):
        path = self.folder / "trials" / trial / "metrics.jsonl"

        def there():
            return path.exists() and any(
                f'"step": {k}' in path.read_text() for k in range(step, step + 10)
            )

        until(there, self.process, f"step {step} of {trial}")

    def clean_up(self):
        """Kill what is left, which can be much when a test has failed."""
        for _ in range(2):
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()
