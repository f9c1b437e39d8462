"""ONNX forms of torch operations that torch's own exporter lacks, or has in a form that squares the size or loses digits.

All are made of standard operators. Imported only where a file is written: it needs onnxscript.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18

Value = Any
"""A value of the graph that is being written."""

op: Any = opset18  # its type variables do not accept the values that it returns


def searchsorted(
    sorted_sequence: Value, self: Value, *, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Value = None
) -> Value:
    """How many entries of a sorted list of numbers ≥ 0 lie below each value: int64 [n], [m] -> [m], by counting, in n + m steps."""
    zero, one = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    size = op.Add(op.ReduceMax(op.Concat(sorted_sequence, self, zero, axis=0), keepdims=1), one)
    ones = op.Expand(one, op.Shape(sorted_sequence))
    count = op.ScatterElements(op.Expand(zero, size), sorted_sequence, ones, axis=0, reduction="add")
    return op.Gather(op.CumSum(count, op.Constant(value_int=0), exclusive=1), self, axis=0)


def segment_ids(repeats: Value, *, output_size: Value = None) -> Value:
    """Number of the run of each row: int64 [B] -> [N]; a one where each run ends, summed up. torch's own form takes N · B numbers."""
    zero, one, first = op.Constant(value_ints=[0]), op.Constant(value_ints=[1]), op.Constant(value_int=0)
    total = op.ReduceSum(repeats, zero, keepdims=1)
    ends = op.CumSum(repeats, first)
    marks = op.ScatterElements(op.Expand(zero, op.Add(total, one)), ends, op.Expand(one, op.Shape(ends)), axis=0, reduction="add")
    return op.Slice(op.CumSum(marks, first), zero, total, zero)


def stable_sort(self: Value, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Value:
    """Sorted values and their places; of equal ones the earlier comes first, which TopK promises."""
    axis = dim if dim >= 0 else len(self.shape) + dim
    return op.TopK(self, op.Shape(self, start=axis, end=axis + 1), axis=axis, largest=int(descending), sorted=1)


def hypot(self: Value, other: Value) -> Value:
    """√(x² + y²)."""
    return op.Sqrt(op.Add(op.Mul(self, self), op.Mul(other, other)))


def expm1(self: Value) -> Value:
    """eˣ − 1 by the quotient (u − 1) x / ln u with u = eˣ rounded, whose errors cancel (Kahan; Higham 2002, §1.14.1)."""
    one = op.CastLike(op.Constant(value_float=1.0), self)
    u = op.Exp(self)
    same = op.Equal(u, one)
    return op.Where(same, self, op.Div(op.Mul(op.Sub(u, one), self), op.Log(op.Where(same, op.Exp(one), u))))


def log1p(self: Value) -> Value:
    """ln(1 + x) by the quotient x ln u / (u − 1) with u = 1 + x rounded (Kahan; Higham 2002, problem 1.5)."""
    one = op.CastLike(op.Constant(value_float=1.0), self)
    u = op.Add(self, one)
    same = op.Equal(u, one)
    return op.Where(same, self, op.Div(op.Mul(op.Log(u), self), op.Where(same, one, op.Sub(u, one))))


def atan2(self: Value, other: Value) -> Value:
    """Angle of (x, y), sine given first, in the precision given: the arctangent in float32, which all run times have, and one step."""
    y, x = op.Cast(self, to=1), op.Cast(other, to=1)
    nothing, half = op.Constant(value_float=0.0), op.Constant(value_float=1.5707963267948966)
    pi = op.Constant(value_float=3.141592653589793)
    steep = op.Less(op.Abs(x), op.Abs(y))
    least, most = op.Where(steep, x, y), op.Where(steep, y, x)
    angle = op.Atan(op.Div(least, op.Where(op.Equal(most, nothing), op.Constant(value_float=1.0), most)))
    turned = op.Where(op.Less(y, nothing), op.Neg(pi), pi)
    flat = op.Add(angle, op.Where(op.Less(x, nothing), turned, nothing))
    guess = op.CastLike(op.Where(steep, op.Sub(op.Where(op.Less(y, nothing), op.Neg(half), half), angle), flat), self)
    sine, cosine = op.Sin(guess), op.Cos(guess)
    across = op.Sub(op.Mul(self, cosine), op.Mul(other, sine))
    along = op.Add(op.Mul(other, cosine), op.Mul(self, sine))
    none = op.CastLike(nothing, self)
    return op.Add(guess, op.Div(across, op.Where(op.Equal(along, none), op.CastLike(op.Constant(value_float=1.0), self), along)))


TABLE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.searchsorted.Tensor: searchsorted,
    torch.ops.aten.repeat_interleave.Tensor: segment_ids,
    torch.ops.aten.sort.stable: stable_sort,
    torch.ops.aten.hypot.default: hypot,
    torch.ops.prims.hypot.default: hypot,
    torch.ops.aten.expm1.default: expm1,
    torch.ops.aten.log1p.default: log1p,
    torch.ops.aten.atan2.default: atan2,
}
"""For ``torch.onnx.export``."""
