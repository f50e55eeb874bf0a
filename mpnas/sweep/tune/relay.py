"""The relay: the run folder of the driver, for workers that do not see it.

An actor on the driver's machine reads and writes the folder; a trial elsewhere runs in a scratch folder,
of which a thread carries over what has changed, once a second and at the end. Attempts are claimed at
the relay, so a trial that was started again elsewhere fences the one that was cut off.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpnas.pareto.artifacts import inside
from mpnas.sweep.attempt import claim, newest
from mpnas.sweep.needs import Needs
from mpnas.sweep.plan import load_plan
from mpnas.sweep.store import Carrier, Folder

EVERY_SECONDS = 1.0
ANSWER_SECONDS = 120.0
SCRATCH = f"mpnas-scratch-{os.getuid()}-"


class Relay(Folder):
    """What the actor does.

    Args:
      root: The run folder.
      needs: What trials read.
    """

    def __init__(self, root: str, needs: Needs) -> None:
        super().__init__(root)
        self._needs = needs

    def needs(self) -> Needs:
        """What trials read."""
        return self._needs

    def piece(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a file that trials read; of no other file."""
        if name not in {file.name for file in self._needs.files}:
            raise FileNotFoundError(name)
        with open(Path(str(self._needs.folder)) / name, "rb") as file:
            file.seek(offset)
            return file.read(length)

    def claim(self, trial: str) -> int:
        """Register an attempt at a trial; its number."""
        return claim(inside(self.root, f"trials/{trial}/attempts"))

    def newest(self, trial: str) -> int:
        """Number of the newest attempt at a trial."""
        return newest(inside(self.root, f"trials/{trial}/attempts"))


class Away:
    """The relay as a worker calls it: a store, whatever machine it is on.

    Args:
      actor: Handle of the actor.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of the relay answers."""
        import ray
        from ray.exceptions import RayTaskError

        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=ANSWER_SECONDS)
        except RayTaskError as error:
            raise error.cause from None  # as the method itself raised it

    def stamps(self, below: str) -> dict[str, str]:
        """As of any store."""
        return self.ask("stamps", below)

    def read(self, name: str) -> bytes:
        """As of any store."""
        return self.ask("read", name)

    def write(self, name: str, content: bytes) -> None:
        """As of any store."""
        self.ask("write", name, content)

    def write_step(self, name: str, files: Mapping[str, bytes]) -> None:
        """As of any store."""
        self.ask("write_step", name, dict(files))

    def remove(self, name: str) -> None:
        """As of any store."""
        self.ask("remove", name)


@contextlib.contextmanager
def relayed(away: Away, trials: Sequence[str], scores: str) -> Iterator[Path]:
    """A scratch folder with what trials need; what they write there goes to the relay.

    Args:
      away: The relay.
      trials: Their ids: one, or the members of a population.
      scores: Name of the folder of scores, which trials share.
    """
    with scratch() as folder:
        here = Folder(folder)
        here.write("plan.json", away.read("plan.json"))
        with contextlib.suppress(FileNotFoundError):  # where no budgets are proposed
            here.write("proposed.json", away.read("proposed.json"))
        plan = load_plan(folder)
        needed = {plan.trial(trial).needs for trial in trials} - {None}
        Carrier(away, here, [scores, *(f"trials/{trial}" for trial in sorted(map(str, needed)))]).carry()
        members = [_Member(away, here, folder, trial) for trial in trials]
        sender = _Sender(members, _shared(away, here, scores))
        over = threading.Event()
        thread = threading.Thread(target=sender.run, args=(over,), name="mpnas-relay", daemon=True)
        thread.start()
        try:
            yield folder
        finally:
            over.set()
            thread.join()
            sender.send()


def _shared(away: Away, here: Folder, name: str) -> Carrier:
    """Carries a folder that trials share; what is there already is not sent."""
    carrier = Carrier(here, away, (name,))
    carrier.suppose(list(away.stamps(name)))
    return carrier


class _Member:
    """One trial in a scratch folder: claimed at the relay, fetched from there, and carried back.

    Args:
      away: The relay.
      here: The scratch folder as a store.
      folder: The same as a path.
      trial: The trial's id.
    """

    def __init__(self, away: Away, here: Folder, folder: Path, trial: str) -> None:
        home = f"trials/{trial}"
        self._away, self._trial = away, trial
        self._attempt = away.ask("claim", trial)
        Carrier(away, here, [home], without=(f"{home}/attempts/",)).carry()
        self._attempts = folder / home / "attempts"
        self._attempts.mkdir(parents=True, exist_ok=True)
        (self._attempts / str(self._attempt - 1)).touch()  # the trial's own claim is the next
        self._out = Carrier(here, away, (home,), without=(f"{home}/attempts/",))
        self._out.suppose(list(away.stamps(home)))

    def send(self) -> None:
        """Look for a newer attempt, which the trial is told of by a file; else send what has changed."""
        number = self._away.ask("newest", self._trial)
        if number > self._attempt:
            (self._attempts / str(number)).touch()
        else:
            self._out.carry()


class _Sender:
    """Carries a scratch folder over, again and again."""

    def __init__(self, members: Sequence[_Member], shared: Carrier) -> None:
        self._members, self._shared = members, shared

    def run(self, over: threading.Event) -> None:
        """Send now and then; what fails is tried at the next time, or told by the last one."""
        while not over.wait(EVERY_SECONDS):
            with contextlib.suppress(Exception):
                self.send()

    def send(self) -> None:
        """Send what has changed."""
        self._shared.carry()
        for member in self._members:
            member.send()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A private folder that ends with the context; those of processes that were killed are cleared away."""
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError), open(left / ".lock") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
    # Locked before it has its name: between the two another process would take it for a leftover.
    with open(folder / ".lock.new", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.rename(folder / ".lock.new", folder / ".lock")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
