"""Tests of mpnas/sweep/tune/ship.py."""

import subprocess
import sys

import pytest
import tiny_plan

from mpnas.errors import ConfigError
from mpnas.sweep.plan import load_plan
from mpnas.sweep.tune import ship
from mpnas.sweep.tune.ship import pack


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """A person's folder: a module that needs a package beside it, and things that nobody asked for."""
    home = tmp_path / "home"
    (home / "own_pack_for_ship").mkdir(parents=True)
    (home / "own_net_for_ship.py").write_text(
        "from own_pack_for_ship.data import both\n\n\ndef batches():\n    return both()\n"
    )
    (home / "own_pack_for_ship" / "__init__.py").write_text("")
    (home / "own_pack_for_ship" / "data.py").write_text(
        "import importlib.resources\nimport numpy as np\n\n\ndef both():\n"
        "    n = int((importlib.resources.files('own_pack_for_ship') / 'rows.txt').read_text())\n"
        "    return np.zeros((n, 8, 8, 1), 'float32'), np.arange(n) % 3\n"
    )
    (home / "own_pack_for_ship" / "rows.txt").write_text("60")
    (home / "secret.txt").write_text("private")
    (home / "unused_for_ship.py").write_text("")
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    yield home
    for name in [name for name in sys.modules if name.startswith("own_") and "for_ship" in name]:
        del sys.modules[name]


def test_pack_runs_where_there_is_neither_checkout_nor_own_folder(tmp_path, own_code):
    plan = tiny_plan.plan(data="own_net_for_ship:batches")
    code = pack(tmp_path / "code", plan)
    assert not list(code.rglob("secret.txt")) and not list(code.rglob("unused_for_ship.py"))
    assert not list(code.rglob("__pycache__")) and not (code / "tests").exists()
    assert sum(path.stat().st_size for path in code.rglob("*") if path.is_file()) < 5e6
    tiny_plan.run_folder(tmp_path / "run", data="own_net_for_ship:batches")
    assert load_plan(tmp_path / "run").experiment.data == "own_net_for_ship:batches"
    script = (
        f"import sys; sys.path[:0] = [{str(code)!r}]; from pathlib import Path; import mpnas\n"
        "from mpnas.sweep.plan import load_plan; from mpnas.sweep.trial import bench_of\n"
        f"bench = bench_of(load_plan(Path({str(tmp_path / 'run')!r})))\n"
        f"print(mpnas.__file__.startswith({str(code)!r}), len(bench.data.train[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd="/", env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, check=False,
    )
    assert done.stdout.split() == ["True", "36"], done.stderr  # 60 rows, 20 % to each of two other parts


def test_weights_beside_the_config_go_along(tmp_path, own_code):
    (own_code / "nets").mkdir()
    (own_code / "nets" / "trained.npz").write_bytes(b"weights")
    code = pack(tmp_path / "code", tiny_plan.plan(weights="nets/trained.npz"))
    assert (code / "nets" / "trained.npz").read_bytes() == b"weights"


def test_what_is_too_large_for_code_is_refused(tmp_path, own_code, monkeypatch):
    monkeypatch.setattr(ship, "LARGEST_BYTES", 10**6)
    (own_code / "own_pack_for_ship" / "images.bin").write_bytes(bytes(1_200_000))
    with pytest.raises(ConfigError, match="images.bin has 1 MiB, too much to be sent like code"):
        pack(tmp_path / "code", tiny_plan.plan(data="own_net_for_ship:batches"))


def test_own_module_that_is_not_there_is_told(tmp_path, own_code):
    with pytest.raises(ConfigError, match="there is no module 'nobody_for_ship'"):
        pack(tmp_path / "code", tiny_plan.plan(data="nobody_for_ship:batches"))
