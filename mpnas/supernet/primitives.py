"""What is known of each JAX primitive: which keep axes, which mix channels, which keep signs.

Tables and small pure functions for the reader in `program`; a primitive in no table is not understood,
and the reader then keeps every channel that it touches. Checked against jax 0.10.
"""

from collections.abc import Mapping, Sequence
from typing import Any


CALLS = {
    "jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "remat2", "checkpoint", "remat",
}
LAYOUT = {"convert_element_type", "copy", "copy_p", "sharding_constraint", "stop_gradient",
          "reduce_precision"}
VIEWS = LAYOUT | {"reshape", "transpose", "squeeze", "broadcast_in_dim", "expand_dims"}
CUMULATIVE = {"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"}
ELEMENTWISE = CUMULATIVE | {
    "add", "sub", "mul", "div", "max", "min", "pow", "rem", "atan2", "and", "or", "xor", "not", "eq", "ne",
    "lt", "le", "gt", "ge", "select_n", "add_any", "nextafter", "clamp", "sign", "floor", "ceil", "round",
    "exp", "exp2", "log", "log1p", "expm1", "tanh", "sin", "cos", "tan", "logistic", "sqrt", "rsqrt", "cbrt",
    "abs", "neg", "integer_pow", "square", "erf", "erf_inv", "erfc", "is_finite", "lgamma", "digamma",
    "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "shift_left",
    "shift_right_logical", "shift_right_arithmetic",
}
SLIDING = {"slice", "dynamic_slice", "dynamic_update_slice", "pad", "rev", "sort",
           "reduce_window_max", "reduce_window_min", "reduce_window_sum"}
NEVER_NEGATIVE = {"exp", "exp2", "logistic", "sqrt", "rsqrt", "abs", "square", "eq", "ne", "lt", "le", "gt",
                  "ge", "is_finite", "erfc", "cosh"}
KEEPS_SIGN = {"add", "mul", "div", "min", "add_any", "sqrt", "cbrt", "floor", "ceil", "round", "log1p",
              "tanh", "expm1", "pow", "integer_pow", "sign", "erf", "asinh", "sinh", "atan", "rem",
              "concatenate", "stack", "tile", "pad", "rev", "sort", "split", "slice", "reduce_window_max",
              "reduce_window_min", "reduce_window_sum", "reduce_sum", "reduce_max", "reduce_min",
              "reduce_prod"} | CUMULATIVE | LAYOUT

ENDLESS = (
    "a while loop{} has no length that is known before it runs, so its work cannot be counted. "
    "Use a loop of fixed length (jax.lax.scan, or fori_loop with constant bounds)."
)


def reduces(name: str, params: Mapping[str, Any]) -> bool:
    """Whether the primitive drops the dimensions in its parameter `axes`."""
    return "axes" in params and (name.startswith("reduce_") or name in {"argmax", "argmin"})


def understood(name: str, params: Mapping[str, Any]) -> bool:
    """Whether it is known what the primitive does to each axis."""
    tables = (ELEMENTWISE, VIEWS, SLIDING, {"concatenate", "iota", "split", "stack", "tile"})
    return reduces(name, params) or any(name in table for table in tables)


def result_nonnegative(name: str, params: Mapping[str, Any], signs: Sequence[bool]) -> bool:
    """Whether no result can be below 0, given for each operand whether it cannot be."""
    if name in NEVER_NEGATIVE:
        return True
    if name == "integer_pow" and params["y"] % 2 == 0:
        return True
    if name == "max":
        return any(signs)
    if name == "clamp":
        lowest, value, highest = signs
        return lowest or (value and highest)
    if name == "select_n":
        return all(signs[1:])
    if name == "dynamic_slice":  # the other operands are indices
        return signs[0]
    if name == "dynamic_update_slice":
        return signs[0] and signs[1]
    return name in KEEPS_SIGN and all(signs)


def mixed_dimensions(name: str, params: Mapping[str, Any]) -> set[int]:
    """Dimensions along which entries meet or move, although their number may stay the same."""
    if name in CUMULATIVE:
        return {params["axis"]}
    if name == "rev":
        return set(params["dimensions"])
    if name == "sort":
        return {params["dimension"]}
    if name == "pad":
        return {k for k, config in enumerate(params["padding_config"]) if tuple(config) != (0, 0, 0)}
    if name.startswith("reduce_window"):
        return {k for k, size in enumerate(params["window_dimensions"]) if size > 1}
    return set()
