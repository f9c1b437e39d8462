"""Encoders for other programs: one graph of tensor operations for batches of any size, compiled, as a torch program or an ONNX file."""

from geoembed.export.compiled import CompiledEncoder, compiled
from geoembed.export.examples import example_batch
from geoembed.export.flat import FlatEncoder, flat_inputs
from geoembed.export.onnx_file import OPSET, to_onnx
from geoembed.export.program import exported

__all__ = ["OPSET", "CompiledEncoder", "FlatEncoder", "compiled", "example_batch", "exported", "flat_inputs", "to_onnx"]
