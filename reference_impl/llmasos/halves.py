"""The pages of the architectures in float16 and bfloat16, every operation rounded.

A `Half` stands where an array stands, as the nodes of `derivatives` do. What NumPy is asked to do with it is done in
float32 and rounded once to the dtype: products, sums, exponentials, each on its own. A sum of many terms, alone or in a
matrix product, adds up in float32 and is rounded at its end, because matrix units and the kernels of main libraries do
so; where an order adds partial results, these are rounded. Python's own numbers (a root, an epsilon) are exact.

    weights = {name: Half(array, "bfloat16") for name, array in …}
    result = f(weights)                  # any code of `ops`, `orders` and `architectures`
    np.asarray(result)                   # an array of the dtype

float32 has more than twice the digits of either dtype, so that its results of +, -, ·, / and √, rounded again, are the
exact results rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from llmasos import ops
from llmasos.ops import Array
from llmasos.orders import LANES, Arithmetic
from llmasos.weights import check_finite

KINDS: Mapping[str, Any] = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
"""Dtypes of half precision by name."""


class Half(NDArrayOperatorsMixin):
    """An array of one of KINDS, held as the float32 numbers that it is equal to.

    Attributes:
        value: float32, each number one that the dtype has. dtype: of KINDS.
    """

    __slots__ = ("dtype", "value")
    __array_priority__: ClassVar[float] = 1000.0

    def __init__(self, array: npt.ArrayLike, dtype: Any) -> None:
        self.dtype = KINDS[dtype] if isinstance(dtype, str) else dtype
        with np.errstate(over="ignore"):  # too large a number is infinite, as it is in the dtype
            self.value: Array = np.asarray(array).astype(self.dtype).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.value.astype(self.dtype if dtype is None else dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        # What changes an array in place makes another one, which takes its name.
        asked = {name: value for name, value in options.items() if name != "out"}
        return self._of(getattr(ufunc, method), inputs, asked)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return self._of(function, args, options)

    def _of(self, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        named = {name: np.float32 if name == "dtype" else self._operand(each) for name, each in options.items()}
        return self._rounded(function(*map(self._operand, args), **named))

    def _operand(self, item: Any) -> Any:
        if isinstance(item, Half):
            return item.value
        if isinstance(item, list | tuple):
            return type(item)(self._operand(each) for each in item)
        if isinstance(item, np.ndarray) and item.dtype.kind in "fV":  # V: how NumPy files dtypes that are not its own
            return Half(item, self.dtype).value
        return item

    def _rounded(self, made: Any) -> Any:
        return Half(made, self.dtype) if getattr(made, "dtype", None) == np.float32 else made

    def __getitem__(self, key: Any) -> Half:
        return Half(self.value[key], self.dtype)

    def sum(self, axis: int, keepdims: bool = False) -> Half:
        return Half(self.value.sum(axis=axis, keepdims=keepdims), self.dtype)

    def copy(self) -> Half:
        return Half(self.value, self.dtype)

    def reshape(self, *shape: int) -> Half:
        return Half(self.value.reshape(*shape), self.dtype)

    def swapaxes(self, one: int, other: int) -> Half:
        return Half(self.value.swapaxes(one, other), self.dtype)

    @property
    def T(self) -> Half:  # noqa: N802 (the name is NumPy's)
        return Half(self.value.T, self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def real(self) -> Half:
        return self


def rounded_once(function: Callable[..., Array]) -> Callable[..., Any]:
    """An operation of several steps as a fused kernel computes it: all of it in float32, only its result rounded."""

    def fused(*operands: Any) -> Half:
        dtype = next(each.dtype for each in operands if isinstance(each, Half))
        return Half(function(*(each.value if isinstance(each, Half) else each for each in operands)), dtype)

    return fused


def arithmetic(order: Arithmetic) -> Arithmetic:
    """An order of computation as it is honest in half precision.

    Positions are computed in float64 and rounded once: a frequency in bfloat16 is wrong in its third digit, and the
    angle of position 300 by a whole turn, so that main libraries compute positions in float32 whatever the dtype of the
    model. The running softmax is that of fused kernels, which keep its sums in float32, as they do those of norms.
    Partial sums of a matrix product may be rounded before they are added up; those of a norm nobody rounds, and with
    lanes that did, one position came to three and a half times the error that it has otherwise.
    """
    order = replace(order, angles=ops.rotary_angles, sinusoids=ops.sinusoidal_positions)
    if order.name in {each.name for each in LANES}:
        order = replace(order, layer_norm=ops.layer_norm, rms_norm=ops.rms_norm)
    return fused(order) if order.name == "online" else order


def fused(order: Arithmetic) -> Arithmetic:
    """An order whose norms and attention are rounded once."""
    once: dict[str, Any] = {
        part: rounded_once(getattr(order, part)) for part in ("layer_norm", "rms_norm", "attention")
    }
    return replace(order, **once)


def loaded(stored: Mapping[str, Array], dtype: str) -> dict[str, Half]:
    """Weights rounded to the dtype.

    Raises:
        InvalidFormat: an element is too large for it.
    """
    made = {name: Half(array, dtype) for name, array in stored.items()}
    for name, half in made.items():
        check_finite(half.value, f"{name} as {dtype}")
    return made
