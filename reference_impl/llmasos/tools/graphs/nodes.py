"""A graph in the making, and values in it that compute like arrays.

    g = Graph(weights, dtype="float32", opset=17)
    x = g.weight("token_embedding").rows(g.integers("input_ids", "batch", "length"))
    g.output("logits", x @ x.transposed(0, 2, 1), "batch", "length", "length")

Every node that a value makes exists since the first opset that the standard allows; where an operator changed its form
since then, the form of the graph's opset is taken. Numbers beside values become constants of the graph's dtype, rounded
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from llmasos.errors import InvalidFormat, Unsupported
from llmasos.ops import Array

try:
    import onnx
    from onnx import helper
except ImportError:
    raise Unsupported("onnx is not installed", "export", "pip install 'llmasos[onnx]'") from None

DTYPES: Mapping[str, int] = {"float64": onnx.TensorProto.DOUBLE, "float32": onnx.TensorProto.FLOAT}
Size: TypeAlias = str | int
"""A size that is known when the graph is built, or the name of one that is known when it runs."""


class Graph:
    """Nodes, inputs, outputs and initialisers, in the order in which they were asked for.

    Args:
        weights: name -> array; those that are used become initialisers of the same name.
        dtype: of weights and arithmetic. opset: of the default domain.

    Attributes:
        nodes, inputs, outputs: as ONNX has them. initialisers: name -> array.
    """

    def __init__(self, weights: Mapping[str, Array], *, dtype: str, opset: int) -> None:
        self._weights, self.dtype, self.opset = weights, np.dtype(dtype), opset
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initialisers: dict[str, Array] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}

    def weight(self, name: str) -> Value:
        """A tensor of the bundle.

        Raises:
            InvalidFormat: it is too large for the dtype.
        """
        if name not in self.initialisers:
            with np.errstate(over="ignore"):
                cast = np.ascontiguousarray(self._weights[name], dtype=self.dtype)
            if not np.all(np.isfinite(cast)):
                raise InvalidFormat("holds NaN or infinity", f"{name} as {self.dtype}", "export as float64")
            self.initialisers[name] = cast
        return Value(self, name)

    def table(self, name: str, array: Array) -> Value:
        """An array that the formulas need beside the weights, rounded once to the dtype."""
        self.initialisers[name] = np.ascontiguousarray(array, dtype=self.dtype)
        return Value(self, name)

    def constant(self, value: Any, dtype: Any = None) -> Value:
        """A small array or number; equal ones are one."""
        array = np.asarray(value, dtype=self.dtype if dtype is None else dtype)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self.initialisers[name] = array
            self._constants[key] = Value(self, name)
        return self._constants[key]

    def whole_numbers(self, *values: int) -> Value:
        """Shapes, axes and places: [n] int64."""
        return self.constant(values, np.int64)

    def make(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        """One node with one output."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [each.name for each in inputs], [name], name=name, **attributes))
        return Value(self, name)

    def integers(self, name: str, *sizes: Size) -> Value:
        """An input of ids, types or masks."""
        return self._input(name, onnx.TensorProto.INT64, sizes)

    def floats(self, name: str, *sizes: Size) -> Value:
        """An input in the graph's dtype."""
        return self._input(name, DTYPES[self.dtype.name], sizes)

    def _input(self, name: str, kind: int, sizes: tuple[Size, ...]) -> Value:
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(sizes)))
        return Value(self, name)

    def output(self, name: str, value: Value, *sizes: Size) -> None:
        """Give a value out under a name."""
        self.nodes.append(helper.make_node("Identity", [value.name], [name], name=name))
        self.outputs.append(helper.make_tensor_value_info(name, DTYPES[self.dtype.name], list(sizes)))

    def joined(self, axis: int, *parts: Value) -> Value:
        """Parts one behind the other along an axis."""
        return self.make("Concat", *parts, axis=axis)

    def chosen(self, condition: Value, yes: Value | float, no: Value | float) -> Value:
        """`yes` where the condition holds, `no` elsewhere."""
        return self.make("Where", condition, self._value(yes), self._value(no))

    def count(self, end: Value) -> Value:
        """0 … end-1; a number [1] -> [end]."""
        return self.make("Range", self.constant(0, np.int64), end.squeezed(0), self.constant(1, np.int64))

    def _value(self, value: Value | float) -> Value:
        return value if isinstance(value, Value) else self.constant(value)


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """What a node gives out, an input, or an initialiser."""

    graph: Graph
    name: str

    def _with(self, operator: str, other: Value | float) -> Value:
        return self.graph.make(operator, self, self.graph._value(other))

    def __add__(self, other: Value | float) -> Value:
        return self._with("Add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self._with("Sub", other)

    def __mul__(self, other: Value | float) -> Value:
        return self._with("Mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self._with("Div", other)

    def __matmul__(self, other: Value) -> Value:
        return self._with("MatMul", other)

    def __le__(self, other: Value) -> Value:
        return self._with("LessOrEqual", other)

    def __lt__(self, other: Value) -> Value:
        return self._with("Less", other)

    def __and__(self, other: Value) -> Value:
        return self._with("And", other)

    def at_least(self, low: Value) -> Value:
        """The larger of both."""
        return self._with("Max", low)

    def apply(self, operator: str, **attributes: Any) -> Value:
        """An operator of one input: Exp, Tanh, Sqrt …"""
        return self.graph.make(operator, self, **attributes)

    def rows(self, ids: Value) -> Value:
        """Rows of a matrix; [V, D] at [B, T] -> [B, T, D]."""
        return self.graph.make("Gather", self, ids, axis=0)

    def transposed(self, *order: int) -> Value:
        return self.apply("Transpose", perm=list(order))

    def reshaped(self, *sizes: int) -> Value:
        """0 keeps a size. The sizes that are not known while the graph is built stand in front and are kept."""
        return self.graph.make("Reshape", self, self.graph.whole_numbers(*sizes))

    def unsqueezed(self, *axes: int) -> Value:
        return self.graph.make("Unsqueeze", self, self.graph.whole_numbers(*axes))

    def squeezed(self, *axes: int) -> Value:
        return self.graph.make("Squeeze", self, self.graph.whole_numbers(*axes))

    def size(self, axis: int) -> Value:
        """One size as a number [1]."""
        return self.graph.make("Gather", self.apply("Shape"), self.graph.whole_numbers(axis), axis=0)

    def from_to(self, start: Value, end: Value, axis: int) -> Value:
        """A slice along an axis."""
        return self.graph.make("Slice", self, start, end, self.graph.whole_numbers(axis))

    def mean(self) -> Value:
        """Mean of the last axis, which stays with size 1."""
        if self.graph.opset < 18:  # then the axes became an input
            return self.apply("ReduceMean", axes=[-1], keepdims=1)
        return self.graph.make("ReduceMean", self, self.graph.whole_numbers(-1), keepdims=1)

    def as_booleans(self) -> Value:
        return self.apply("Cast", to=onnx.TensorProto.BOOL)

    def halves(self, size: int) -> tuple[Value, Value]:
        """The last axis, cut in two of `size` each."""
        zero, middle, end = (self.graph.whole_numbers(at) for at in (0, size, 2 * size))
        return self.from_to(zero, middle, -1), self.from_to(middle, end, -1)
