import pytest
import tiny_plan
from driver import Driver

from mpnas.sweep.trial import run_trial


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run folder in which every trial has been run, undisturbed; to be copied, not changed."""
    folder = tiny_plan.run_folder(tmp_path_factory.mktemp("finished") / "run")
    for trial in (tiny_plan.FLOAT, tiny_plan.UNIFORM, tiny_plan.SEARCH, tiny_plan.RANDOM):
        run_trial(folder, trial)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Compiled programs of the processes that tests start."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(cache):
    """Starts drivers of sweeps, and kills what is left of them at the end."""
    started = []

    def starting(folder, **options):
        started.append(Driver(folder, cache, **options))
        return started[-1]

    yield starting
    for driver in started:
        driver.clean_up()
