"""Both ways in which Flax can see a module: today's graph mode and the planned tree mode."""

import pytest
from flax import nnx


@pytest.fixture(params=[True, False], ids=["graph", "tree"])
def flax_mode(request):
    with nnx.set_graph_mode(request.param), nnx.set_graph_updates(request.param):
        yield request.param
