"""Words of a rule: what stands in a file for a granularity, a scale estimator or a gradient."""

from mpnas.quant import (
    EWGS,
    MSE,
    PACT,
    Clipped,
    DoReFa,
    Entropy,
    Gradient,
    InverseTanh,
    LearnedRange,
    LearnedStep,
    MagnitudeAware,
    MinMax,
    MovingAverage,
    Octav,
    Percentile,
    ScaleEstimator,
    StraightThrough,
)

WEIGHT_RANGES: dict[str, ScaleEstimator] = {
    "learned": LearnedStep(),
    "minmax": MinMax(),
    "percentile": Percentile(),
    "mse": MSE(),
    "octav": Octav(),
    "dorefa": DoReFa(),
    "entropy": Entropy(),
    "pow2": LearnedRange(),
}
# What is read off a batch is averaged: the range of activations is a constant on the device.
ACT_RANGES: dict[str, ScaleEstimator] = {
    "learned": LearnedStep(batched=True),
    "moving": MovingAverage(),
    "percentile": MovingAverage(of=Percentile()),
    "mse": MovingAverage(of=MSE()),
    "octav": MovingAverage(of=Octav()),
    "pact": PACT(),
    "pow2": LearnedRange(batched=True),
}
GRADIENTS: dict[str, Gradient] = {
    "clipped": Clipped(),
    "ste": StraightThrough(),
    "ewgs": EWGS(),
    "atanh": InverseTanh(),
    "mad": MagnitudeAware(),
}
# Words that exist for the other operand only, and why.
WRONG_OPERAND = {
    ("weight_range", "moving"): "averages over batches, and weights have none: minmax reads them off",
    ("weight_range", "pact"): "learns the clip of what a layer reads; for weights learned and pow2 do",
    ("activation_range", "minmax"): "would depend on the batch at hand; moving averages over batches",
    ("activation_range", "entropy"): "fits what lies on both sides of zero; moving or octav fit activations",
    ("activation_range", "dorefa"): "squashes weights; what a layer reads may be clipped by pact",
}
WORDS: dict[str, tuple[str, ...]] = {
    "granularity": ("layer", "channel"),
    "scale": ("layer", "channel"),
    "width_mix": ("mask", "interpolate"),
    "weight_range": tuple(WEIGHT_RANGES),
    "activation_range": tuple(ACT_RANGES),
    "weight_gradient": tuple(GRADIENTS),
    "activation_gradient": tuple(GRADIENTS),
}


def refusal(key: str, word: str) -> str:
    """Why `word` cannot stand at `key` of a rule, and what can."""
    number = " or a number of channels" if key in ("granularity", "scale") else ""
    why = f", which {WRONG_OPERAND[key, word]}" if (key, word) in WRONG_OPERAND else ""
    return f"{key} = '{word}'{why}; allowed are {', '.join(map(repr, WORDS[key]))}{number}."
