"""A process that runs trials: its compilation cache, set before the first program is compiled."""

import hashlib
import os
import platform
from pathlib import Path

import jax
import jaxlib

from mpnas.data.cache import cache_folder


def compile_cache_folder() -> Path:
    """The user's cache of compiled programs, for this version of jax and this processor.

    Compiled programs of another processor or version may be refused, or crash: each has its own folder.
    """
    cpu = platform.machine()
    try:
        flags = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")]
        cpu += flags[0] if flags else ""
    except OSError:
        cpu += platform.processor()
    digest = hashlib.sha256(cpu.encode()).hexdigest()[:12]
    return cache_folder() / f"compiled-{jax.__version__}-{jaxlib.__version__}-{digest}"


def prepare() -> None:
    """Use the compilation cache, unless MPNAS_NO_COMPILE_CACHE is set or the folder cannot be made."""
    if os.environ.get("MPNAS_NO_COMPILE_CACHE"):
        return
    folder = compile_cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)  # what is in it is run; one that was there may be open to others
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
