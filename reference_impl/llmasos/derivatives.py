"""Gradients of the pages of the architectures, by the pages themselves.

A `Node` stands where an array stands: arithmetic on it computes what NumPy computes and notes, for every operand, how a
change of the result goes back to it. Nothing of an architecture is written twice, and every honest order of computation
has the gradient that its own forward pass gives.

    weights = {name: Node(array) for name, array in …}
    result = f(weights)                  # any code of `ops`, `orders` and `architectures`
    pull_back(result)                    # then weights[name].gradient holds ∂result/∂weights[name]

Maxima are taken off before exponentials so that nothing overflows; what is taken off cancels, so `np.max` gives a
constant here. All else that the pages do is in the two tables below; what is not, raises TypeError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from llmasos.ops import Array

Back = Callable[[Array], Array]
"""The gradient of a result -> the gradient of one operand."""


class Node(NDArrayOperatorsMixin):
    """An array that remembers where it came from.

    Attributes:
        value: the array. gradient: ∂result/∂value after `pull_back`, of the value's shape; None before, or if the
            result does not depend on it.
    """

    __slots__ = ("gradient", "origins", "value")
    __array_priority__: ClassVar[float] = 1000.0

    def __init__(self, value: Array, origins: Sequence[tuple[Node, Back]] = ()) -> None:
        self.value, self.origins, self.gradient = value, origins, None

    gradient: Array | None

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc.__name__ not in _UFUNCS:
            return NotImplemented
        values = [_value(item) for item in inputs]
        result = ufunc(*values)
        backs = _UFUNCS[ufunc.__name__](result, *values)
        return Node(
            result,
            [
                (item, _shaped(back, item.value.shape))
                for item, back in zip(inputs, backs, strict=True)
                if isinstance(item, Node)
            ],
        )

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function.__name__ not in _FUNCTIONS:
            return NotImplemented
        return _FUNCTIONS[function.__name__](*args, **options)

    # What changes an array in place makes another node: the old one is still needed on the way back.

    def __iadd__(self, other: Any) -> Any:
        return self + other

    def __itruediv__(self, other: Any) -> Any:
        return self / other

    def __getitem__(self, key: Any) -> Node:
        def back(gradient: Array) -> Array:
            spread = np.zeros_like(self.value)
            np.add.at(spread, key, gradient)  # an id that comes twice gets both
            return spread

        return Node(self.value[key], [(self, back)])

    def sum(self, axis: int, keepdims: bool = False) -> Node:
        def back(gradient: Array) -> Array:
            return np.broadcast_to(gradient if keepdims else np.expand_dims(gradient, axis), self.shape)

        return Node(self.value.sum(axis=axis, keepdims=keepdims), [(self, back)])

    def copy(self) -> Node:
        return Node(self.value.copy(), [(self, lambda gradient: gradient)])

    def reshape(self, *shape: int) -> Node:
        return Node(self.value.reshape(*shape), [(self, lambda gradient: gradient.reshape(self.value.shape))])

    def swapaxes(self, one: int, other: int) -> Node:
        return Node(self.value.swapaxes(one, other), [(self, lambda gradient: gradient.swapaxes(one, other))])

    @property
    def T(self) -> Node:  # noqa: N802 (the name is NumPy's)
        return Node(self.value.T, [(self, lambda gradient: gradient.T)])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def real(self) -> Node:
        return self


def pull_back(result: Node) -> None:
    """Fill in the gradient of a scalar with respect to all that it was made of."""
    result.gradient = np.ones_like(result.value)
    for node in reversed(_in_order(result)):
        assert node.gradient is not None
        for origin, back in node.origins:
            share = back(node.gradient)
            origin.gradient = share if origin.gradient is None else origin.gradient + share


def _in_order(result: Node) -> list[Node]:
    """All nodes behind a result, operands before what was made of them; without recursion, which would be too deep."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(result, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((origin, False) for origin, _ in node.origins)
    return order


def _value(item: Any) -> Any:
    return item.value if isinstance(item, Node) else item


def _shaped(back: Back, shape: tuple[int, ...]) -> Back:
    """Sum a gradient over the axes along which its operand was repeated."""

    def summed(gradient: Array) -> Array:
        share = back(gradient)
        share = share.sum(axis=tuple(range(share.ndim - len(shape)))) if share.ndim > len(shape) else share
        repeated = tuple(i for i, n in enumerate(shape) if n == 1 and share.shape[i] != 1)
        return share.sum(axis=repeated, keepdims=True) if repeated else share

    return summed


# ── element by element, and matrix products ─────────────────────────────────────────────────────────────────────────


def _multiply(_: Any, a: Any, b: Any) -> tuple[Back, Back]:
    return lambda g: g * b, lambda g: g * a


def _divide(y: Any, a: Any, b: Any) -> tuple[Back, Back]:
    return lambda g: g / b, lambda g: -g * y / b


def _matmul(_: Any, a: Any, b: Any) -> tuple[Back, Back]:
    return lambda g: g @ b.swapaxes(-1, -2), lambda g: a.swapaxes(-1, -2) @ g


def _maximum(_: Any, a: Any, b: Any) -> tuple[Back, Back]:
    return lambda g: np.where(a > b, g, 0), lambda g: np.where(a > b, 0, g)


def _erf(_: Any, x: Any) -> tuple[Back]:
    slope = 2 / math.sqrt(math.pi)
    return (lambda g: g * (slope * np.exp(-x * x)),)


_UFUNCS: Mapping[str, Callable[..., tuple[Back, ...]]] = {
    "add": lambda y, a, b: (lambda g: g, lambda g: g),
    "subtract": lambda y, a, b: (lambda g: g, lambda g: -g),
    "multiply": _multiply,
    "divide": _divide,
    "negative": lambda y, x: (lambda g: -g,),
    "matmul": _matmul,
    "maximum": _maximum,
    "exp": lambda y, x: (lambda g: g * y,),
    "log": lambda y, x: (lambda g: g / x,),
    "sqrt": lambda y, x: (lambda g: g / (2 * y),),
    "tanh": lambda y, x: (lambda g: g * (1 - y * y),),
    "erf": _erf,
}
"""ufunc -> (result, operands) -> how a gradient goes back to each operand."""

# ── functions of arrays ─────────────────────────────────────────────────────────────────────────────────────────────


def _cumsum(x: Node, axis: int, dtype: Any) -> Node:
    def back(gradient: Array) -> Array:
        return np.flip(np.cumsum(np.flip(gradient, axis), axis=axis, dtype=dtype), axis)

    return Node(np.cumsum(x.value, axis=axis, dtype=dtype), [(x, back)])


def _where(condition: Array, x: Any, y: Any) -> Node:
    made = np.where(condition, _value(x), _value(y))
    sides = ((x, lambda g: np.where(condition, g, 0)), (y, lambda g: np.where(condition, 0, g)))
    return Node(made, [(side, _shaped(back, side.shape)) for side, back in sides if isinstance(side, Node)])


def _concatenate(parts: Sequence[Any], axis: int = 0) -> Node:
    edges = np.cumsum([part.shape[axis] for part in parts])[:-1]

    def back(i: int) -> Back:
        return lambda gradient: np.split(gradient, edges, axis=axis)[i]

    whole = np.concatenate([_value(part) for part in parts], axis=axis)
    return Node(whole, [(part, back(i)) for i, part in enumerate(parts) if isinstance(part, Node)])


def _repeat(x: Node, count: int, axis: int) -> Node:
    def back(gradient: Array) -> Array:
        shape = (*x.shape[: axis + 1], count, *x.shape[axis + 1 :])
        summed: Array = gradient.reshape(shape).sum(axis=axis + 1)
        return summed

    return Node(np.repeat(x.value, count, axis=axis), [(x, back)])


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "cumsum": _cumsum,
    "max": lambda x, axis, keepdims: np.max(x.value, axis=axis, keepdims=keepdims),
    "where": _where,
    "concatenate": _concatenate,
    "repeat": _repeat,
    "zeros_like": lambda x: np.zeros_like(x.value),
    "iscomplexobj": lambda x: False,
}
"""Functions of NumPy that the pages call on arrays, by name."""


def gradients_of(loss: Node, weights: Mapping[str, Node]) -> dict[str, Array]:
    """∂loss/∂weight for every weight, zeros where the loss does not depend on it."""
    pull_back(loss)
    return {
        name: np.zeros_like(node.value) if node.gradient is None else np.asarray(node.gradient, dtype=node.dtype)
        for name, node in weights.items()
    }


def as_nodes(weights: Mapping[str, Array]) -> dict[str, Node]:
    """Weights to compute gradients for."""
    return {name: Node(array) for name, array in weights.items()}


def total(terms: Iterable[Any]) -> Any:
    """The sum of scalars, one after the other."""
    first, *others = terms
    for term in others:
        first = first + term
    return first
