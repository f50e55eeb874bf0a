import jax
import pytest
import tiny_train


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """These programs run for a moment; what costs is to compile them."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def data():
    return tiny_train.blobs()


@pytest.fixture(scope="session")
def net():
    return tiny_train.attached()


@pytest.fixture(scope="session")
def plain():
    return tiny_train.attached(rules=())
