"""What a local sweep must not do: talk to anybody, load code from data, write outside its folder."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_plan
from tiny_plan import FLOAT, HERE, SEARCH, UNIFORM, run_folder

import mpnas
from mpnas.errors import FrontFileError, MpnasError, RunFolderError
from mpnas.pareto.artifacts import inside
from mpnas.sweep.config import read_experiment
from mpnas.sweep.folder import has_result, outline_of
from mpnas.sweep.plan import load_plan, plan_of
from mpnas.sweep.trial import bench_of

PROBE = """
import urllib.request
for url in ("http://169.254.169.254/latest", "http://metadata.google.internal/x"):
    try:
        urllib.request.urlopen(url, timeout=2)
    except OSError:
        pass
"""


def namespaces():
    """Whether this user may have a network of its own."""
    return subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0


def trapped(cache, *words):
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, str(HERE / "net_trap.py"), *map(str, words)], cwd=HERE,
        env=tiny_plan.environment(cache, JAX_PLATFORMS="cpu"), capture_output=True, text=True, check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not namespaces(), reason="needs a network namespace")
def test_a_local_sweep_asks_no_metadata_service_and_no_name_server(tmp_path, cache):
    probe = tmp_path / "probe.py"
    probe.write_text(PROBE)
    assert {"metadata", "name"} <= set(trapped(cache, probe)["caught"]), "the trap catches what it should"
    folder = run_folder(tmp_path / "run", references={"uniform": [8], "random": False})
    found = trapped(cache, "drive.py", folder, '{"cpus": 1}')
    assert found["code"] == 0, found["err"]
    assert all(has_result(folder, trial) for trial in (FLOAT, UNIFORM, SEARCH))
    assert found["caught"] == []


def sources():
    root = Path(mpnas.__file__).parent
    return {path.relative_to(root).as_posix(): ast.parse(path.read_text()) for path in root.rglob("*.py")}


def called(tree):
    """Dotted names of everything that a module calls or imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.name for alias in node.names)
            yield getattr(node, "module", None) or ""


def test_nothing_reads_a_pickle_or_evaluates_text():
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "eval", "exec",
                 "yaml.load", "builtins.eval", "os.system", "subprocess"}
    found = {(file, name) for file, tree in sources().items() for name in called(tree) if name in forbidden}
    # This interpreter, to ask a cluster whether it answers: Ray's own client cannot be given up on.
    assert found == {("sweep/tune/cluster.py", "subprocess")}


def test_every_array_file_is_opened_without_pickles():
    loads = [
        (file, node) for file, tree in sources().items() for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"np.load", "numpy.load"}
    ]
    assert loads, "some files of arrays are read"
    for file, node in loads:
        said = {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert said.get("allow_pickle") == "False", f"{file}: {ast.unparse(node)}"


@pytest.mark.parametrize("text", ["../x", "/etc/passwd", "a/../../x", "..", "C:\\x", "\\\\host\\share"])
def test_no_name_in_a_record_leads_out_of_the_run_folder(tmp_path, text):
    with pytest.raises(FrontFileError, match="leaves the run folder"):
        inside(tmp_path, text)
    folder = run_folder(tmp_path / "run")
    document = json.loads((folder / "plan.json").read_text())
    document["trials"][0]["id"] = text
    (folder / "plan.json").write_text(json.dumps(document))
    for read in (outline_of, load_plan):
        with pytest.raises(RunFolderError):
            read(folder)


@pytest.mark.parametrize("name", ["../up", "a/b", "/abs", "..", "x\\..\\y", "\u202e", "a b;rm -rf"])
def test_no_controller_or_budget_makes_a_folder_elsewhere(name):
    table = tiny_plan.table(budgets=[{"weight_bytes": f"{name} kB"}])
    try:
        trials = plan_of(table, read_experiment(table, "x")).trials
    except MpnasError:
        return
    for trial in trials:
        assert "/" not in trial.id and "\\" not in trial.id and trial.id.isascii()
        assert trial.id not in {".", ".."}


@pytest.mark.parametrize("text", [
    "__import__('os').system('touch pwned')", "os:system", "os:abort", "builtins:eval", "os.path:exists",
    "my_net.build", "lambda: 1", ":x",
])
def test_a_config_names_callables_and_is_never_evaluated(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    for key in ("model", "data"):
        table = tiny_plan.table(**{key: text})
        plan = plan_of(table, read_experiment(table, "x"))
        with pytest.raises(MpnasError):
            bench_of(plan)
    assert list(tmp_path.iterdir()) == []
