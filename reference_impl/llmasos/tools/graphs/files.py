"""A graph as the bytes of a file, with its large tensors inside or in a second file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import helper, numpy_helper

from llmasos.ops import Array
from llmasos.tools.graphs.nodes import DTYPES, Graph

SMALL = 1024
"""Bytes below which a tensor stays in the graph's own file; shapes and constants do, which checkers want to read."""
ALIGNMENT = 4096
"""Places of tensors in the second file are multiples of it, so that a reader can map them into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file, and the second one if there is one.

    Attributes:
        model: bytes of the file. data: bytes of the second; None if all tensors are in the first.
    """

    model: bytes
    data: bytes | None


def write(graph: Graph, notes: Mapping[str, str], data_name: str | None = None) -> Written:
    """The bytes of a graph.

    Args:
        notes: metadata, in this order.
        data_name: name of the second file, which lies in the directory of the first; None for one file.
    """
    data = bytearray()
    tensors = [
        _inside(name, array) if data_name is None or array.nbytes < SMALL else _outside(name, array, data, data_name)
        for name, array in graph.initialisers.items()
    ]
    opset = helper.make_opsetid("", graph.opset)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "llmasos", graph.inputs, graph.outputs, tensors),
        producer_name="llmasos",
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
    )
    for key, value in notes.items():
        model.metadata_props.add(key=key, value=value)
    raw = model.SerializeToString(deterministic=True)
    return Written(model=raw, data=None if data_name is None else bytes(data))


def _inside(name: str, array: Array) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def _outside(name: str, array: Array, data: bytearray, data_name: str) -> onnx.TensorProto:
    """A tensor whose bytes are appended to `data`."""
    data += b"\0" * (-len(data) % ALIGNMENT)
    tensor = onnx.TensorProto(name=name, data_type=DTYPES[array.dtype.name], dims=array.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", data_name), ("offset", len(data)), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    data += array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return tensor
