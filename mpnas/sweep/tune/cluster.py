"""A Ray cluster that runs already: whether it may be used, what it misses, and whether its head still lives.

Whoever reaches a cluster's ports runs code there, so one without a token is refused.
"""

import contextlib
import importlib.metadata
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mpnas.errors import ConfigError

PROBE = Path(__file__).with_name("probe.py")
PROBE_SECONDS = 15.0
KNOCK_SECONDS = 3.0
LOST_SECONDS = 20.0  # without an answer of the head; Ray itself ends the process after 60 s, without a word
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pydantic")
WORD = "Start its nodes with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH set; see scripts/README.md."


def check_token(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables to add, so that Ray uses the token of the environment.

    Raises:
      ConfigError: there is no token, or it is switched off.
    """
    mode = environment.get("RAY_AUTH_MODE", "token")
    if mode != "token":
        raise ConfigError(f"RAY_AUTH_MODE is '{mode}', but a cluster needs a token. {WORD}")
    if not environment.get("RAY_AUTH_TOKEN"):
        default = os.path.expanduser("~/.ray/auth_token")
        path = Path(environment.get("RAY_AUTH_TOKEN_PATH", default))
        if not path.is_file():
            raise ConfigError(
                f"a cluster needs a token: neither RAY_AUTH_TOKEN is set, nor is there a file {path}. {WORD}"
            )
        if path.stat().st_mode & 0o077:
            logging.getLogger(__name__).warning(
                "other users can read the token in %s, and run code on the cluster with it. chmod 600 it.",
                path,
            )
    return {"RAY_AUTH_MODE": "token"}


def find_head(address: str) -> str:
    """`HOST:PORT` of the head of a cluster that takes this token and refuses whoever has none.

    Args:
      address: `HOST:PORT`, or `auto` for RAY_ADDRESS or the cluster that this machine is part of.

    Raises:
      ConfigError: nobody answers there, the token is another, or none is needed.
    """
    found, answer = _ask(address, "address") if address == "auto" else (address, "open")
    host, _, port = found.rpartition(":")
    if answer.startswith("silent") or not (host and port.isdecimal()):
        words = answer.partition(": ")[2] or "not HOST:PORT"
        raise ConfigError(
            f"no Ray cluster is found at --address {address}: {words}. "
            "Give HOST:PORT of a head that runs; it is printed by ray start --head."
        )
    if not knock(host, int(port)):
        raise ConfigError(f"nobody answers at {found}. Is the cluster up, and the port open to this machine?")
    if (answer := _ask(found)[1]) == "refused":
        raise ConfigError(f"the cluster at {found} has another token than this environment. {WORD}")
    if answer != "open":
        raise ConfigError(f"what answers at {found} is no head of a Ray cluster of this version ({answer}).")
    stranger = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": os.devnull}
    if _ask(found, environment=stranger)[1] == "open":
        raise ConfigError(
            f"the cluster at {found} asks nobody for a token: whoever reaches it runs code on it. {WORD}"
        )
    return found


def _ask(address: str, *more: str, environment: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Address and answer of the head: open, refused, or silent with the reason."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(PROBE), address, *more], env=os.environ | dict(environment or {}),
            capture_output=True, text=True, timeout=PROBE_SECONDS, check=True,
        )
        document = json.loads(done.stdout.splitlines()[-1])
        return str(document["address"]), str(document["answer"])
    except subprocess.TimeoutExpired:
        return address, f"silent: no answer within {PROBE_SECONDS:.0f} s"
    except (subprocess.CalledProcessError, ValueError, IndexError):
        return address, "silent: Ray cannot be asked"


def knock(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host.strip("[]"), port), KNOCK_SECONDS).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def watched(head: str, lost: Callable[[str], None] | None, patience: float = LOST_SECONDS) -> Iterator[None]:
    """Call `lost` with a sentence when the head has not answered for `patience` seconds.

    The call comes from another thread: the main one hangs inside of Ray, which no exception reaches.
    """
    over = threading.Event()
    host, _, port = head.rpartition(":")

    def watch() -> None:
        answered = time.monotonic()
        while not over.wait(1.0):
            if knock(host, int(port)):
                answered = time.monotonic()
            elif time.monotonic() - answered > patience and lost is not None and not over.is_set():
                lost(f"the head of the cluster, {head}, has not answered for {patience:.0f} s")
                return

    thread = threading.Thread(target=watch, name="mpnas-head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def refuse_nodes(versions: Mapping[str, Mapping[str, str | None]]) -> None:
    """Raise a ConfigError for a node that lacks a library; tell of versions that differ from this machine's.

    Args:
      versions: Node -> library -> version; None where it is not installed.
    """
    here = installed()
    for node, found in sorted(versions.items()):
        if missing := [name for name, version in found.items() if version is None]:
            raise ConfigError(
                f"node {node} of the cluster lacks {', '.join(missing)}. Install what mpnas needs there: "
                "its own code is sent along, the libraries are not."
            )
        if other := [f"{k} {v} there, {here[k]} here" for k, v in found.items() if v != here[k]]:
            logging.getLogger(__name__).warning(
                "node %s has other versions (%s): its results may differ in their last bits.",
                node, "; ".join(other),
            )


def installed() -> dict[str, str | None]:
    """Library -> version of this process; None where it is missing."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
