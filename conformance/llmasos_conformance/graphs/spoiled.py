"""model.onnx in other words, which a reader must take, and model.onnx that it must refuse. No model is made here.

    VARIANTS   the same graph, presented differently
    FAULTS     the graph wrong in one way

Each takes a sound model and gives the files of the bundle, name -> bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmasos_conformance.graphs.contract import DATA, FILE
from llmasos_conformance.graphs.making import LARGE, apart
from llmasos_conformance.graphs.proto import (
    BFLOAT16,
    DOUBLE,
    DTYPES,
    FLOAT,
    FLOAT16,
    INT32,
    Model,
    Node,
    Outside,
    Subgraph,
    Tensor,
    Value,
    content,
    decode,
    encode,
    number,
    tensor,
)

Files = dict[str, bytes]
Spoil = Callable[[Model], Files]


def _alone(change: Callable[[Model], Model]) -> Spoil:
    """A change of the model that leaves one file."""
    return lambda model: {FILE: encode(change(model))}


def _bytes(change: Callable[[bytes], bytes]) -> Spoil:
    """A change of the file's bytes."""
    return lambda model: {FILE: change(encode(model))}


# ── the same in other words ─────────────────────────────────────────────────────────────────────────────────────────


def _listed(model: Model) -> Model:
    """Initialisers among the inputs, as old versions of the format wanted it."""
    values = (Value(name=each.name, dtype=each.dtype, sizes=each.dims) for each in model.tensors)
    return replace(model, inputs=(*model.inputs, *values))


def _two_files(model: Model) -> Files:
    """Large tensors in a file of another name, behind bytes that belong to nobody, the last without its length.

    A length that is left out reaches to the end of the file, as the onnx package reads it, so no other may lack it.
    """
    data, tensors = bytearray(128), []
    large = [each for each in model.tensors if each.raw is not None and len(each.raw) >= LARGE]
    for each in model.tensors:
        if each.raw is None or len(each.raw) < LARGE:
            tensors.append(each)
            continue
        length = None if each is large[-1] else each.size
        place = Outside(location="folder/weights.bin", offset=len(data), length=length)
        tensors.append(Tensor(name=each.name, dtype=each.dtype, dims=each.dims, raw=None, outside=place))
        data += each.raw
    return {FILE: encode(replace(model, tensors=tuple(tensors))), "folder/weights.bin": bytes(data)}


def _constants(model: Model) -> Model:
    """Initialisers as nodes."""
    nodes = tuple(
        Node(operator="Constant", inputs=(), outputs=(each.name,), attributes={"value": each}) for each in model.tensors
    )
    return replace(model, tensors=(), nodes=(*nodes, *model.nodes))


VARIANTS: Mapping[str, Spoil] = {
    "as it is": _alone(lambda model: model),
    "inputs and outputs in reverse order": _alone(
        lambda model: replace(model, inputs=model.inputs[::-1], outputs=model.outputs[::-1])
    ),
    "values in fields of their type": lambda model: {FILE: encode(model, typed=True)},
    "fields that nobody knows": _bytes(lambda raw: number(1900, 7) + raw + content(2000, b"\xff" * 9)),
    "initialisers among the inputs": _alone(_listed),
    "initialisers as nodes": _alone(_constants),
    "metadata of others": _alone(lambda model: replace(model, notes={"author": "somebody", **model.notes, "": "x"})),
    "domain written out": _alone(lambda model: replace(model, opsets={"ai.onnx": model.opsets[""]})),
    "tensors in a file beside": lambda model: apart(model, FILE),
    "tensors in a folder": _two_files,
}
"""Ways to say the same."""

# ── inputs, outputs and metadata ────────────────────────────────────────────────────────────────────────────────────


def _renamed(old: str, new: str) -> Callable[[Model], Model]:
    """An input or output by another name, everywhere."""

    def change(model: Model) -> Model:
        values = [
            tuple(replace(value, name=new if value.name == old else value.name) for value in given)
            for given in (model.inputs, model.outputs)
        ]
        return replace(_inside(model, old, new), inputs=values[0], outputs=values[1])

    return change


def _inside(model: Model, old: str, new: str) -> Model:
    """A value by another name in all nodes, so that a node can be put between it and the outside."""

    def names(given: Sequence[str]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in given)

    nodes = tuple(replace(node, inputs=names(node.inputs), outputs=names(node.outputs)) for node in model.nodes)
    return replace(model, nodes=nodes)


def _without_mask(model: Model) -> Model:
    """No attention mask goes in: all columns are taken for real."""
    nodes = (
        Node(operator="Shape", inputs=("input_ids",), outputs=("mask.shape",)),
        Node(
            operator="ConstantOfShape",
            inputs=("mask.shape",),
            outputs=("attention_mask",),
            attributes={"value": tensor("", np.array([1], np.int64))},
        ),
    )
    inputs = tuple(value for value in model.inputs if value.name != "attention_mask")
    return replace(model, inputs=inputs, nodes=(*nodes, *model.nodes))


def _one_more(model: Model) -> Model:
    """An input that nothing needs, and that a caller does not know."""
    return replace(model, inputs=(*model.inputs, replace(model.inputs[0], name="position_ids")))


def _typed(name: str, dtype: int) -> Callable[[Model], Model]:
    """An input of another element type, and a Cast behind it."""

    def change(model: Model) -> Model:
        value = next(value for value in model.inputs if value.name == name)
        renamed = _inside(model, name, f"{name}.wide")
        nodes = (
            Node(operator="Cast", inputs=(name,), outputs=(f"{name}.wide",), attributes={"to": value.dtype}),
            *renamed.nodes,
        )
        inputs = tuple(replace(value, dtype=dtype) if each.name == name else each for each in model.inputs)
        return replace(renamed, nodes=nodes, inputs=inputs)

    return change


def _wide_logits(model: Model) -> Model:
    """Logits as float64, in a file that says float32, or the other way round."""
    last = next(value for value in model.outputs if value.name == "logits")
    dtype = FLOAT if last.dtype == DOUBLE else DOUBLE
    renamed = _inside(model, "logits", "logits.first")
    node = Node(operator="Cast", inputs=("logits.first",), outputs=("logits",), attributes={"to": dtype})
    outputs = tuple(replace(last, dtype=dtype) if value.name == "logits" else value for value in model.outputs)
    return replace(renamed, nodes=(*renamed.nodes, node), outputs=outputs)


def _fixed(axis: int, size: int) -> Callable[[Model], Model]:
    """A size of the ids stated as a number that it need not have."""

    def change(model: Model) -> Model:
        def value(each: Any) -> Any:
            if each.name != "input_ids" or each.sizes is None:
                return each
            return replace(each, sizes=tuple(size if i == axis else old for i, old in enumerate(each.sizes)))

        return replace(model, inputs=tuple(map(value, model.inputs)))

    return change


def _parameter(name: str, value: Any) -> Callable[[Model], Model]:
    """A parameter in the metadata that is not the document's; None takes it away."""

    def change(model: Model) -> Model:
        held = json.loads(model.notes["llmasos.parameters"])
        held.pop(name, None) if value is None else held.update({name: value})
        return model.with_notes(parameters=json.dumps(held))

    return change


# ── precision ───────────────────────────────────────────────────────────────────────────────────────────────────────


def quantised(model: Model, least: int = 0) -> Model:
    """Matrices as 8-bit integers with a scale per column, and a node behind each that multiplies them out.

    Args:
        least: how many of the matrices stay as they are.
    """
    tensors: list[Tensor] = []
    nodes: list[Node] = []
    skipped = 0
    for each in model.tensors:
        if each.dtype not in (FLOAT, DOUBLE) or len(each.dims) != 2 or skipped < least:
            skipped += each.dtype in (FLOAT, DOUBLE) and len(each.dims) == 2
            tensors.append(each)
            continue
        array = each.array()
        scale = np.maximum(np.abs(array).max(axis=0), np.finfo(np.float32).tiny) / 127
        rounded = np.rint(array / scale).astype(np.int8)
        tensors += [tensor(f"{each.name}.int8", rounded), tensor(f"{each.name}.scale", scale.astype(np.float32))]
        small = f"{each.name}.rounded" if each.dtype == DOUBLE else each.name
        nodes.append(
            Node(
                operator="DequantizeLinear",
                inputs=(f"{each.name}.int8", f"{each.name}.scale"),
                outputs=(small,),
                attributes={"axis": 1},
            )
        )
        if each.dtype == DOUBLE:
            nodes.append(Node(operator="Cast", inputs=(small,), outputs=(each.name,), attributes={"to": DOUBLE}))
    return replace(model, tensors=tuple(tensors), nodes=(*nodes, *model.nodes))


def narrowed(dtype: int) -> Callable[[Model], Model]:
    """Matrices stored in a narrower type, and a Cast behind each."""

    def change(model: Model) -> Model:
        tensors, nodes = [], []
        for each in model.tensors:
            if each.dtype not in (FLOAT, DOUBLE) or len(each.dims) != 2:
                tensors.append(each)
                continue
            tensors.append(tensor(f"{each.name}.narrow", each.array().astype(DTYPES[dtype])))
            to = {"to": each.dtype}
            nodes.append(Node(operator="Cast", inputs=(f"{each.name}.narrow",), outputs=(each.name,), attributes=to))
        return replace(model, tensors=tuple(tensors), nodes=(*nodes, *model.nodes))

    return change


def _narrow_step(model: Model) -> Model:
    """Logits rounded to float16 on their way out."""
    dtype = next(value for value in model.outputs if value.name == "logits").dtype
    renamed = _inside(model, "logits", "logits.first")
    nodes = (
        Node(operator="Cast", inputs=("logits.first",), outputs=("logits.half",), attributes={"to": FLOAT16}),
        Node(operator="Cast", inputs=("logits.half",), outputs=("logits",), attributes={"to": dtype}),
    )
    return replace(renamed, nodes=(*renamed.nodes, *nodes))


# ── operators ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _behind(operator: str, domain: str = "", **attributes: Any) -> Callable[[Model], Model]:
    """A node of another kind behind the logits."""

    def change(model: Model) -> Model:
        renamed = _inside(model, "logits", "logits.first")
        node = Node(
            operator=operator, inputs=("logits.first",), outputs=("logits",), attributes=attributes, domain=domain
        )
        opsets = {**model.opsets, domain: model.opsets.get(domain, 1)}
        return replace(renamed, nodes=(*renamed.nodes, node), opsets=opsets)

    return change


def _opset(version: int) -> Spoil:
    return _alone(lambda model: replace(model, opsets={"": version}))


# ── places and sizes ────────────────────────────────────────────────────────────────────────────────────────────────


def _outside(change: Callable[[Outside, Tensor], Outside], cut: int = 0) -> Spoil:
    """Large tensors outside, the last of them said to lie elsewhere; the file shorter by `cut` bytes."""

    def spoil(model: Model) -> Files:
        made = apart(model, FILE)
        told = decode(made[FILE])
        last = max(i for i, each in enumerate(told.tensors) if each.outside is not None)
        each = told.tensors[last]
        assert each.outside is not None
        tensors = list(told.tensors)
        tensors[last] = replace(each, outside=change(each.outside, each))
        data = made[FILE + DATA]
        return {FILE: encode(replace(told, tensors=tuple(tensors))), FILE + DATA: data[: len(data) - cut]}

    return spoil


def elsewhere(model: Model, location: str) -> Files:
    """Large tensors in a file of any name, which is not among the files of the bundle."""
    made = apart(model, FILE)
    told = decode(made[FILE])
    tensors = tuple(
        each if each.outside is None else replace(each, outside=replace(each.outside, location=location))
        for each in told.tensors
    )
    return {FILE: encode(replace(told, tensors=tensors)), FILE + DATA: made[FILE + DATA]}


def _misplaced(key: str, wrong: Callable[[str], str]) -> Spoil:
    """An entry of a tensor's place that is no number, as long as the one that was there."""

    def spoil(model: Model) -> Files:
        made = apart(model, FILE)
        place = next(each.outside for each in decode(made[FILE]).tensors if each.outside is not None)
        value = str(getattr(place, key))
        entry, other = (content(1, key) + content(2, text) for text in (value, wrong(value)))
        assert entry in made[FILE]
        assert len(entry) == len(other), "the lengths around it must stay right"
        return {FILE: made[FILE].replace(entry, other, 1), FILE + DATA: made[FILE + DATA]}

    return spoil


def _dims(*sizes: int) -> Callable[[Model], Model]:
    """The sizes of the token embedding as they are not."""

    def change(model: Model) -> Model:
        tensors = tuple(replace(each, dims=sizes) if each.name == "token_embedding" else each for each in model.tensors)
        return replace(model, tensors=tensors)

    return change


def _unnoted(name: str) -> Spoil:
    return _alone(lambda model: model.with_notes(**{name: None}))


FAULTS: Mapping[str, Spoil] = {
    "input_ids by another name": _alone(_renamed("input_ids", "ids")),
    "logits by another name": _alone(_renamed("logits", "output_0")),
    "no attention_mask": _alone(_without_mask),
    "one more input": _alone(_one_more),
    "input_ids as int32": _alone(_typed("input_ids", INT32)),
    "attention_mask as float": _alone(_typed("attention_mask", FLOAT)),
    "logits of another type": _alone(_wide_logits),
    "batch of 1": _alone(_fixed(0, 1)),
    "length of 8": _alone(_fixed(1, 8)),
    "another architecture": _alone(lambda model: model.with_notes(architecture="Llama")),
    "another vocabulary": _alone(_parameter("vocab_size", 261)),
    "another context": _alone(_parameter("context_length", 32)),
    "another number of heads": _alone(_parameter("num_heads", 4)),
    "another epsilon": _alone(_parameter("layer_norm_epsilon", 1e-6)),
    "another activation": _alone(_parameter("activation", "gelu")),
    "a window": _alone(_parameter("local_attention_window", 4)),
    "a parameter that is not there": _alone(_parameter("rope_theta", 10000.0)),
    "a parameter less": _alone(_parameter("num_layers", None)),
    "heads as a text": _alone(_parameter("num_heads", "2")),
    "parameters that are no JSON": _alone(lambda model: model.with_notes(parameters="{")),
    "format 2": _alone(lambda model: model.with_notes(format="2.0")),
    "dtype int8": _alone(lambda model: model.with_notes(dtype="int8")),
    "no metadata": _alone(lambda model: replace(model, notes={})),
    "no architecture": _unnoted("architecture"),
    "no dtype": _unnoted("dtype"),
    "no parameters": _unnoted("parameters"),
    "no digest": _unnoted("weights_sha256"),
    "opset 1": _opset(1),
    "opset 12": _opset(12),
    "opset 22": _opset(22),
    "opset 99": _opset(99),
    "operator of com.microsoft": _alone(_behind("Gelu", "com.microsoft")),
    "operator of nobody": _alone(_behind("Rescale", "org.example")),
    "unknown operator": _alone(_behind("FlashRescale")),
    "graph in a node": _alone(_behind("If", then_branch=Subgraph(), else_branch=Subgraph())),
    "operators of its own": _bytes(lambda raw: raw + content(25, content(1, "Own") + content(10, "org.example"))),
    "int8 matrices": _alone(quantised),
    "one int8 matrix": _alone(lambda model: quantised(model, 5)),
    "float16 matrices": _alone(narrowed(FLOAT16)),
    "bfloat16 matrices": _alone(narrowed(BFLOAT16)),
    "float16 logits": _alone(_narrow_step),
    "data not there": lambda model: {FILE: apart(model, FILE)[FILE]},
    "data cut": _outside(lambda place, each: place, cut=1),
    "offset beyond the data": _outside(lambda place, each: replace(place, offset=2**40)),
    "length too small": _outside(lambda place, each: replace(place, length=each.size - 4)),
    "length too large": _outside(lambda place, each: replace(place, length=each.size + 4)),
    "offset below 0": _misplaced("offset", lambda value: "-" + value[1:]),
    "length as a text": _misplaced("length", lambda value: "x" + value[1:]),
    "empty file": _bytes(lambda raw: b""),
    "a text": _bytes(lambda raw: b"model: onnx\n" * 9),
    "zeros": _bytes(lambda raw: bytes(4096)),
    "a JSON document": _bytes(lambda raw: b'{"ir_version": 8, "graph": {}}'),
    "cut in the middle": _bytes(lambda raw: raw[: len(raw) // 2]),
    "last byte missing": _bytes(lambda raw: raw[:-1]),
    "first byte missing": _bytes(lambda raw: raw[1:]),
    "2^62 bytes announced": _bytes(lambda raw: raw + b"\x3a" + b"\xff" * 8 + b"\x3f"),
    "2^62 by 8 announced": _alone(_dims(2**62, 8)),
    "2^40 rows announced": _alone(_dims(2**40, 8)),
    "rows below 0": _alone(_dims(-1, 8)),
    "one row more": _alone(_dims(261, 8)),
    "one row less": _alone(_dims(259, 8)),
}
"""Ways in which model.onnx of the small document can be wrong."""
