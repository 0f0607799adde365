"""What a graph computes, in NumPy, one operation after the other in the dtypes that the file says.

An ordinary computation, like that of any runtime: a judge that holds its result against the honest error of the file's
dtype judges the file and nothing else. Operators that main exporters use for models of this standard are here; a graph
that needs another is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from llmasos_conformance.graphs.proto import DTYPES, Model, Node, Tensor
from llmasos_conformance.protocol import Array


class Unknown(Exception):
    """The graph uses an operator, or a form of it, that is not here."""


class Fails(Exception):
    """The graph cannot be computed: a name without a value, or sizes that do not fit."""


Run = Callable[["Call"], Any]


class Call:
    """One node with its inputs.

    Attributes:
        x: arrays, None where an input is left out. opset: of the graph.
    """

    def __init__(self, node: Node, x: Sequence[Any], opset: int) -> None:
        self.node, self.opset = node, opset
        self.x: list[Any] = list(x)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.node.attributes.get(name, default)

    def axes(self, at: int, name: str = "axes") -> tuple[int, ...] | None:
        """Axes, which newer operator sets take as an input and older ones as an attribute."""
        if len(self.x) > at and self.x[at] is not None:
            return tuple(int(axis) for axis in np.atleast_1d(np.asarray(self.x[at])))
        given = self.get(name)
        return None if given is None else tuple(int(axis) for axis in given)

    def whole(self, at: int) -> list[int]:
        """An input as integers."""
        return [int(value) for value in np.atleast_1d(np.asarray(self.x[at]))]


def run(
    model: Model,
    feeds: Mapping[str, Array],
    array: Callable[[Tensor], Array] = Tensor.array,
    change: Callable[[str, Any], Any] | None = None,
) -> dict[str, Array]:
    """Compute a graph.

    Args:
        feeds: input -> array. array: values of a tensor, for those that lie outside.
        change: told of each result, name and value; what it returns takes its place.

    Returns:
        output -> array.

    Raises:
        Unknown, Fails: see there.
    """
    values: dict[str, Any] = {each.name: array(each) for each in model.tensors}
    values.update(feeds)
    values[""] = None
    with np.errstate(all="ignore"):
        for node in model.nodes:
            made = _computed(node, values, model.opsets.get("", 0))
            for name, result in zip(node.outputs, made, strict=False):
                values[name] = result if change is None else change(name, result)
    try:
        return {value.name: values[value.name] for value in model.outputs}
    except KeyError as error:
        raise Fails(f"no node makes the output {error}") from None


def _computed(node: Node, values: Mapping[str, Any], opset: int) -> Sequence[Any]:
    if node.domain or node.operator not in OPERATORS:
        raise Unknown(f"{node.domain}.{node.operator}" if node.domain else node.operator)
    try:
        inputs = [values[name] for name in node.inputs]
    except KeyError as error:
        raise Fails(f"{node.operator} takes {error}, which nothing has made") from None
    try:
        made = OPERATORS[node.operator](Call(node, inputs, opset))
    except (ValueError, IndexError, TypeError, OverflowError, MemoryError, KeyError, AttributeError) as error:
        shapes = [None if x is None else list(np.shape(x)) for x in inputs]
        raise Fails(f"{node.operator} of shapes {shapes} cannot be computed: {error!s:.120}") from None
    return made if isinstance(made, list | tuple) else [made]


# ── operators ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _binary(function: Callable[[Any, Any], Any]) -> Run:
    return lambda call: function(call.x[0], call.x[1])


def _unary(function: Callable[[Any], Any]) -> Run:
    def operator(call: Call) -> Any:
        x = np.asarray(call.x[0])
        return np.asarray(function(x)).astype(x.dtype, copy=False)

    return operator


def _divide(call: Call) -> Any:
    a, b = np.asarray(call.x[0]), np.asarray(call.x[1])
    if a.dtype.kind in "iu":  # ONNX cuts towards zero, NumPy rounds down
        return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    return a / b


def _power(call: Call) -> Any:
    x = np.asarray(call.x[0])
    return np.power(x, np.asarray(call.x[1])).astype(x.dtype)


def _many(function: Callable[[Any, Any], Any]) -> Run:
    def operator(call: Call) -> Any:
        result = call.x[0]
        for other in call.x[1:]:
            result = function(result, other)
        return result

    return operator


def _erf(x: Array) -> Array:
    from scipy import special

    return np.asarray(special.erf(x))


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _gelu(call: Call) -> Any:
    x = np.asarray(call.x[0])
    if call.get("approximate", b"none") == b"tanh":
        made = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    else:
        made = 0.5 * x * (1 + _erf(x * math.sqrt(0.5)))
    return made.astype(x.dtype)


def _softmax(call: Call) -> Any:
    axis, x = int(call.get("axis", -1)), np.asarray(call.x[0])
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def _log_softmax(call: Call) -> Any:
    axis, x = int(call.get("axis", -1)), np.asarray(call.x[0])
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def _reduce(function: Callable[..., Any], since: int) -> Run:
    """A reduction; `since` is the operator set in which its axes became an input."""

    def operator(call: Call) -> Any:
        x, axes = np.asarray(call.x[0]), call.axes(1)
        if axes is None and call.get("noop_with_empty_axes", 0) and call.opset >= since:
            return x
        return np.asarray(function(x, axis=axes, keepdims=bool(call.get("keepdims", 1)))).astype(x.dtype)

    return operator


def _layer_norm(call: Call) -> Any:
    x = np.asarray(call.x[0])
    axes = tuple(range(int(call.get("axis", -1)) % x.ndim, x.ndim))
    stage = x if x.dtype.itemsize >= 4 and call.get("stash_type", 1) == 11 else x.astype(np.float32)
    centred = stage - np.mean(stage, axis=axes, keepdims=True)
    variance = np.mean(centred * centred, axis=axes, keepdims=True)
    normed = (centred / np.sqrt(variance + stage.dtype.type(call.get("epsilon", 1e-5)))).astype(x.dtype)
    scaled = normed * call.x[1]
    return scaled if len(call.x) < 3 or call.x[2] is None else scaled + call.x[2]


def _gemm(call: Call) -> Any:
    a, b = np.asarray(call.x[0]), np.asarray(call.x[1])
    a, b = (a.T if call.get("transA", 0) else a), (b.T if call.get("transB", 0) else b)
    made = (a @ b) * a.dtype.type(call.get("alpha", 1.0))
    if len(call.x) > 2 and call.x[2] is not None:
        made = made + np.asarray(call.x[2]) * a.dtype.type(call.get("beta", 1.0))
    return made


def _cast(call: Call) -> Any:
    if call.get("to") not in DTYPES:
        raise Unknown(f"Cast to element type {call.get('to')}")
    return np.asarray(call.x[0]).astype(DTYPES[call.get("to")])


def _constant(call: Call) -> Any:
    for name, kind in (("value_int", np.int64), ("value_float", np.float32)):
        if name in call.node.attributes:
            return np.array(call.get(name), kind)
    for name, kind in (("value_ints", np.int64), ("value_floats", np.float32)):
        if name in call.node.attributes:
            return np.array(call.get(name), kind)
    value = call.get("value")
    if not isinstance(value, Tensor):
        raise Unknown("Constant without a tensor")
    return value.array()


def _constant_of_shape(call: Call) -> Any:
    value = call.get("value")
    fill = value.array().reshape(-1)[0] if isinstance(value, Tensor) else np.float32(0)
    return np.full(call.whole(0), fill)


def _reshape(call: Call) -> Any:
    x, sizes = np.asarray(call.x[0]), call.whole(1)
    if not call.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def _unsqueeze(call: Call) -> Any:
    x, axes = np.asarray(call.x[0]), call.axes(1) or ()
    return np.expand_dims(x, tuple(axis % (x.ndim + len(axes)) for axis in axes))


def _squeeze(call: Call) -> Any:
    return np.squeeze(np.asarray(call.x[0]), axis=call.axes(1))


def _flatten(call: Call) -> Any:
    x, axis = np.asarray(call.x[0]), int(call.get("axis", 1))
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _slice(call: Call) -> Any:
    x, starts, ends = np.asarray(call.x[0]), call.whole(1), call.whole(2)
    axes = call.whole(3) if len(call.x) > 3 and call.x[3] is not None else list(range(len(starts)))
    steps = call.whole(4) if len(call.x) > 4 and call.x[4] is not None else [1] * len(starts)
    place = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        stop: int | None = end
        if step < 0 and end < -x.shape[axis]:
            stop = None  # beyond the first, going backwards
        place[axis] = slice(start, stop, step)
    return x[tuple(place)]


def _split(call: Call) -> Any:
    x, axis = np.asarray(call.x[0]), int(call.get("axis", 0))
    if len(call.x) > 1 and call.x[1] is not None:
        sizes = call.whole(1)
    else:
        count = int(call.get("num_outputs", len(call.node.outputs)))
        size = -(-x.shape[axis] // count)
        sizes = [min(size, x.shape[axis] - size * i) for i in range(count)]
    if sum(sizes) != x.shape[axis]:
        raise ValueError(f"{sizes} do not add up to {x.shape[axis]}")
    return list(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def _checked_places(places: Array, size: int) -> Array:
    """Indices, of which negative ones count from the end. One outside is an error, as it is in a runtime."""
    if places.size and (places.min() < -size or places.max() >= size):
        raise IndexError(f"index {int(places.max())} of {size}")
    return np.where(places < 0, places + size, places)


def _gather(call: Call) -> Any:
    x, axis = np.asarray(call.x[0]), int(call.get("axis", 0))
    return np.take(x, _checked_places(np.asarray(call.x[1]), x.shape[axis]), axis=axis)


def _gather_elements(call: Call) -> Any:
    x, axis = np.asarray(call.x[0]), int(call.get("axis", 0))
    return np.take_along_axis(x, _checked_places(np.asarray(call.x[1]), x.shape[axis]), axis=axis)


def _gather_nd(call: Call) -> Any:
    x, places, batch = np.asarray(call.x[0]), np.asarray(call.x[1]), int(call.get("batch_dims", 0))
    lead = x.shape[:batch]
    flat = x.reshape(-1, *x.shape[batch:])
    picked = places.reshape(len(flat) if batch else 1, -1, places.shape[-1])
    if not batch:
        flat = x[None]
    rows = [np.stack([one[tuple(place)] for place in many]) for one, many in zip(flat, picked, strict=True)]
    return np.stack(rows).reshape(*lead, *places.shape[batch:-1], *x.shape[batch + places.shape[-1] :])


def _concat(call: Call) -> Any:
    return np.concatenate([np.asarray(x) for x in call.x], axis=int(call.get("axis", 0)))


def _transpose(call: Call) -> Any:
    return np.transpose(np.asarray(call.x[0]), call.get("perm"))


def _expand(call: Call) -> Any:
    x, sizes = np.asarray(call.x[0]), call.whole(1)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(sizes)))


def _tile(call: Call) -> Any:
    return np.tile(np.asarray(call.x[0]), call.whole(1))


def _shape(call: Call) -> Any:
    sizes = np.array(np.shape(call.x[0]), np.int64)
    return sizes[call.get("start", 0) : call.get("end")]


def _range(call: Call) -> Any:
    start, limit, step = (np.asarray(x).reshape(()) for x in call.x)
    count: Any = np.arange
    return count(start, limit, step, dtype=start.dtype)


def _cumulated(call: Call) -> Any:
    x, axis = np.asarray(call.x[0]), int(np.asarray(call.x[1]).reshape(()))
    turned = np.flip(x, axis) if call.get("reverse", 0) else x
    summed = np.cumsum(turned, axis=axis, dtype=x.dtype)
    if call.get("exclusive", 0):
        summed = summed - turned
    return np.flip(summed, axis) if call.get("reverse", 0) else summed


def _largest(call: Call, function: Callable[..., Any] = np.argmax) -> Any:
    x, axis = np.asarray(call.x[0]), int(call.get("axis", 0))
    if call.get("select_last_index", 0):
        raise Unknown("ArgMax with select_last_index")
    made = np.asarray(function(x, axis=axis)).astype(np.int64)
    return np.expand_dims(made, axis) if call.get("keepdims", 1) else made


def _trilu(call: Call) -> Any:
    k = int(np.asarray(call.x[1]).reshape(())) if len(call.x) > 1 and call.x[1] is not None else 0
    return (np.triu if call.get("upper", 1) else np.tril)(np.asarray(call.x[0]), k)


def _clip(call: Call) -> Any:
    low, high = (call.x[i] if len(call.x) > i else None for i in (1, 2))
    x = np.asarray(call.x[0])
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _scatter_nd(call: Call) -> Any:
    x, places, updates = (np.asarray(each) for each in call.x)
    if call.get("reduction", b"none") != b"none":
        raise Unknown("ScatterND with a reduction")
    made = x.copy()
    made[tuple(np.moveaxis(places, -1, 0))] = updates
    return made


def _dequantised(call: Call) -> Any:
    x, scale = np.asarray(call.x[0]), np.asarray(call.x[1])
    zero = np.asarray(call.x[2]) if len(call.x) > 2 and call.x[2] is not None else np.zeros((), x.dtype)
    if call.get("block_size", 0):
        raise Unknown("DequantizeLinear in blocks")
    if scale.ndim == 1:
        axis = int(call.get("axis", 1)) % x.ndim
        sizes = [1] * x.ndim
        sizes[axis] = -1
        scale = scale.reshape(sizes)
        zero = zero.reshape(sizes) if zero.ndim else zero
    return ((x.astype(np.int32) - zero.astype(np.int32)).astype(scale.dtype) * scale).astype(scale.dtype)


def _is_inf(call: Call) -> Any:
    return np.isinf(np.asarray(call.x[0]))


OPERATORS: Mapping[str, Run] = {
    "Abs": _unary(np.abs), "Add": _binary(np.add), "And": _binary(np.logical_and), "ArgMax": _largest,
    "ArgMin": lambda call: _largest(call, np.argmin), "Cast": _cast, "Ceil": _unary(np.ceil), "Clip": _clip,
    "Concat": _concat, "Constant": _constant, "ConstantOfShape": _constant_of_shape, "Cos": _unary(np.cos),
    "CumSum": _cumulated, "DequantizeLinear": _dequantised, "Div": _divide, "Dropout": lambda call: call.x[0],
    "Equal": _binary(np.equal), "Erf": _unary(_erf), "Exp": _unary(np.exp), "Expand": _expand, "Flatten": _flatten,
    "Floor": _unary(np.floor), "Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd,
    "Gelu": _gelu, "Gemm": _gemm, "Greater": _binary(np.greater), "GreaterOrEqual": _binary(np.greater_equal),
    "Identity": lambda call: call.x[0], "IsInf": _is_inf, "IsNaN": lambda call: np.isnan(np.asarray(call.x[0])),
    "LayerNormalization": _layer_norm, "Less": _binary(np.less), "LessOrEqual": _binary(np.less_equal),
    "Log": _unary(np.log), "LogSoftmax": _log_softmax, "MatMul": _binary(np.matmul), "Max": _many(np.maximum),
    "Min": _many(np.minimum), "Mod": _binary(np.mod), "Mul": _binary(np.multiply), "Neg": _unary(np.negative),
    "Not": lambda call: np.logical_not(call.x[0]), "Or": _binary(np.logical_or), "Pow": _power, "Range": _range,
    "Reciprocal": _unary(lambda x: 1 / x), "ReduceMax": _reduce(np.max, 18), "ReduceMean": _reduce(np.mean, 18),
    "ReduceMin": _reduce(np.min, 18), "ReduceSum": _reduce(np.sum, 13), "Relu": _unary(lambda x: np.maximum(x, 0)),
    "Reshape": _reshape, "ScatterND": _scatter_nd, "Shape": _shape, "Sigmoid": _unary(_sigmoid),
    "Sign": _unary(np.sign), "Sin": _unary(np.sin), "Size": lambda call: np.array(np.size(call.x[0]), np.int64),
    "Slice": _slice, "Softmax": _softmax, "Softplus": _unary(lambda x: np.logaddexp(0, x)), "Split": _split,
    "Sqrt": _unary(np.sqrt), "Squeeze": _squeeze, "Sub": _binary(np.subtract), "Sum": _many(np.add),
    "Tanh": _unary(np.tanh), "Tile": _tile, "Transpose": _transpose, "Trilu": _trilu, "Unsqueeze": _unsqueeze,
    "Where": lambda call: np.where(call.x[0], call.x[1], call.x[2]), "Xor": _binary(np.logical_xor),
}  # fmt: skip
"""Operators by name."""
