"""ONNX: an integer graph with QuantizeLinear and DequantizeLinear, for runtimes of quantised networks.

Each code tensor is one tensor of bytes; narrower codes are clipped there, on the bytes, to their own
grid. Sums are float32. A contraction is one of

- `DequantizeLinear -> Conv -> QuantizeLinear`, which onnxruntime fuses into one integer convolution.
  That rounds the bias to whole steps of the accumulator, so it is done only where no code can tell;
- a `Conv` of whole numbers in float32, exact where no sum can reach 2^24, its sum scaled with the bias as
  it is. The kernel is stored in bytes. onnxruntime runs it several times as fast as the next;
- `ConvInteger` where sums can be larger, and the same after it;
- with `storage="packed"`, a `Conv` of reals that come from kernels of 2, 4, 8 and 16 bits.

A product of sums is a `Mul`, a table the same straight lines between the same entries, in float32.

What differs from the integer executor: a float32 sum holds 24 bits and is not rounded to its own step
(lowering makes sums finer than that), and ties go to even whatever the kind of rounding.

Activations are unsigned bytes always (a signed code is moved by 128), and so are kernels beyond 7 bits
unless `vnni` is asked for, see `mpnas.export.folded`. Layout: channels first inside, channels last at
both ends, as in the network.

Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html.
"""

from mpnas.export.onnx_qdq.file import SLACK, Storage, input_shape, onnx_model, run_onnx, write_onnx

__all__ = ["SLACK", "Storage", "input_shape", "onnx_model", "run_onnx", "write_onnx"]
