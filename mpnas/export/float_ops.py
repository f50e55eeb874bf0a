"""Float operations: what an assignment leaves in float, by name, so that nobody claims integers only."""

from mpnas.quant.format import FLOAT_BITS
from mpnas.space import Assignment, Space


def float_ops(space: Space, assignment: Assignment) -> tuple[str, ...]:
    """Paths of layers and products that do not run on integers, in program order, each with the reason.

    A layer without bits, or with 32 of them, for its weights or for its input; a layer in a loop, as in a
    recurrent network; a table that is looked up; a product of two activations, as in an attention. Other
    operations without an integer form (a softmax) are named when the network is lowered.
    """
    found = []
    for layer in space.work.layers:
        sites = {"weights": space.weight_site.get(layer.path), "input": space.act_site.get(layer.path)}
        in_float = [
            what for what, site in sites.items() if site is None or FLOAT_BITS in assignment.bits[site]
        ]
        if layer.kind == "lookup":
            found.append(f"{layer.path} (a table that is looked up)")
        elif layer.looped:
            found.append(f"{layer.path} (in a loop)")
        elif in_float:
            found.append(f"{layer.path} ({' and '.join(in_float)} in float)")
    return (*found, *(f"{product.path} (a product of activations)" for product in space.work.products))
