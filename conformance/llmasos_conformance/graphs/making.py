"""A bundle's weights as an ONNX graph, written apart from the reference's exporter, in other ways where there are any.

    model.onnx           whole: ids and masks go in, logits come out
                         cached: keys and values go in and out as well; of a Transformer this is the decoder
    model.encoder.onnx   of a Transformer with cache: the source goes in, its keys and values come out

Every step is a method of its own, so that an exporter that is wrong in one place is a subclass that overrides it.

Letters: B batch, T query columns, S key columns, D width, H heads, G key/value heads, K head width, F hidden width, V
vocabulary, N layers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmasos_conformance.canonical import sha256
from llmasos_conformance.graphs.contract import DATA, ENCODER_FILE, FILE, interface, parameters
from llmasos_conformance.graphs.proto import Model, Node, Outside, Tensor, encode, number_of, tensor
from llmasos_conformance.layout import safetensors_bytes
from llmasos_conformance.protocol import Array

OPSET = 17
IR: Mapping[int, int] = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
"""Version of the file format that belongs to an operator set."""
LARGE = 256
"""Bytes from which on a tensor is put outside, where tensors are."""


def files(
    architecture: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Array],
    *,
    dtype: str = "float32",
    opset: int = OPSET,
    cached: bool = False,
    external: bool = False,
) -> dict[str, bytes]:
    """The ONNX files of a bundle, name -> bytes.

    Args:
        config: `parameters` with defaults. weights: by name.
        external: large tensors go into a file of their own.
    """
    made = models(architecture, config, weights, dtype=dtype, opset=opset, cached=cached)
    if not external:
        return {name: encode(model) for name, model in made.items()}
    return {part: raw for name, model in made.items() for part, raw in apart(model, name).items()}


def models(
    architecture: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Array],
    *,
    dtype: str = "float32",
    opset: int = OPSET,
    cached: bool = False,
) -> dict[str, Model]:
    """The same as values, before they become bytes."""
    return {
        name: Exporter(architecture, config, weights, dtype=dtype, opset=opset).model(form)
        for name, form in forms(architecture, cached).items()
    }


def forms(architecture: str, cached: bool) -> dict[str, str]:
    """Name of each file -> form of its graph."""
    if cached and architecture == "Transformer":
        return {ENCODER_FILE: "encoder", FILE: "decoder"}
    return {FILE: "cached" if cached else "whole"}


def apart(model: Model, name: str) -> dict[str, bytes]:
    """A file whose large tensors lie in a second one; name -> bytes of both."""
    data, tensors = bytearray(), []
    for each in model.tensors:
        if each.raw is None or len(each.raw) < LARGE:
            tensors.append(each)
            continue
        place = Outside(location=name + DATA, offset=len(data), length=len(each.raw))
        tensors.append(Tensor(name=each.name, dtype=each.dtype, dims=each.dims, raw=None, outside=place))
        data += each.raw
    return {name: encode(_replaced(model, tensors)), name + DATA: bytes(data)}


def _replaced(model: Model, tensors: Sequence[Tensor]) -> Model:
    return Model(
        nodes=model.nodes, inputs=model.inputs, outputs=model.outputs, tensors=tuple(tensors), opsets=model.opsets,
        notes=model.notes, ir=model.ir,
    )  # fmt: skip


class Exporter:
    """One graph in the making.

    Args:
        config: `parameters` with defaults. weights: name -> array.
        digest: of the weights' file; None computes that of the file that the suite writes.
    """

    def __init__(
        self,
        architecture: str,
        config: Mapping[str, Any],
        weights: Mapping[str, Array],
        *,
        dtype: str = "float32",
        opset: int = OPSET,
        digest: str | None = None,
    ) -> None:
        self.architecture, self.config, self.weights, self.digest = architecture, config, weights, digest
        self.dtype, self.opset = dtype, opset
        self.nodes: list[Node] = []
        self.tensors: dict[str, Array] = {}
        self.results: dict[str, str] = {}
        self.H, self.D = int(config["num_heads"]), int(config["embedding_dim"])
        self.G, self.K = int(config.get("num_key_value_heads") or self.H), self.D // self.H

    def model(self, form: str, held: dict[str, Array] | None = None) -> Model:
        """The graph in one form: whole, cached, encoder or decoder.

        Args:
            held: gets the large tensors, by name, which then are said to lie outside. A runtime that is handed arrays
                needs no copy of them.
        """
        pages = {"GPT-3": self.gpt3, "Llama": self.llama, "BERT": self.bert, "Transformer": self.transformer}
        pages[self.architecture](form)
        inputs, outputs = interface(self.architecture, self.config, form, self.dtype)
        nodes = [*self.nodes, *(Node(operator="Identity", inputs=(v,), outputs=(k,)) for k, v in self.results.items())]
        return Model(
            nodes=tuple(nodes),
            inputs=inputs,
            outputs=outputs,
            tensors=tuple(self.put(name, array, held) for name, array in self.tensors.items()),
            opsets={"": self.opset},
            notes=self.notes(),
            ir=IR[self.opset],
        )

    def put(self, name: str, array: Array, held: dict[str, Array] | None) -> Tensor:
        """A tensor with its bytes, or with its place."""
        if held is None or array.nbytes < LARGE:
            return tensor(name, array)
        held[name] = array
        place = Outside(location="handed", length=array.nbytes)
        return Tensor(name=name, dtype=number_of(array.dtype), dims=array.shape, raw=None, outside=place)

    def notes(self) -> dict[str, str]:
        """Metadata of the file."""
        return {
            "llmasos.format": "1.0",
            "llmasos.architecture": self.architecture,
            "llmasos.dtype": self.dtype,
            "llmasos.parameters": json.dumps(parameters(self.architecture, self.config), sort_keys=True),
            "llmasos.weights_sha256": self.digest or sha256(safetensors_bytes(self.weights)),
        }

    # Nodes and tensors.

    def node(self, operator: str, *inputs: str | float | Array, **attributes: Any) -> str:
        """One operation; numbers become constants of the dtype, arrays constants of their own."""
        names = tuple(each if isinstance(each, str) else self.constant(each) for each in inputs)
        made = f"{operator.lower()}.{len(self.nodes)}"
        self.nodes.append(Node(operator=operator, inputs=names, outputs=(made,), attributes=attributes))
        return made

    def constant(self, value: float | Array) -> str:
        array = value if isinstance(value, np.ndarray) else np.asarray(value, self.dtype)
        name = f"number.{len(self.tensors)}"
        self.tensors[name] = array
        return name

    def whole_numbers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def weight(self, name: str) -> str:
        """A tensor of the bundle."""
        self.tensors[name] = np.asarray(self.weights[name]).astype(self.dtype, copy=False)
        return name

    # Rows.

    def size(self, x: str, axis: int) -> str:
        """One size of a value, [1]."""
        return self.node("Slice", self.node("Shape", x), self.whole_numbers(axis), self.whole_numbers(axis + 1))

    def counted(self, mask: str) -> str:
        """How many real columns stand before each; [B, S] -> [B, S], not below 0."""
        before = self.node("CumSum", mask, np.array(1, np.int64), exclusive=1)
        return self.node("Mul", before, mask)

    def last(self, x: str, count: str, axis: int) -> str:
        """The last `count` entries along an axis."""
        start = self.node("Neg", count)
        return self.node("Slice", x, start, self.whole_numbers(2**31 - 1), self.whole_numbers(axis))

    def positions(self, ids: str, mask: str) -> str:
        """Position of each of the ids; [B, T]."""
        return self.last(self.counted(mask), self.size(ids, 1), 1)

    def real(self, mask: str) -> str:
        """Columns that are no padding, as a condition on keys; [B, S] -> [B, 1, S]."""
        return self.node("Unsqueeze", self.node("Cast", mask, to=9), self.whole_numbers(1))

    def visible(self, ids: str, mask: str, window: int | None) -> str:
        """Which keys each query may see: real ones up to itself, the nearest `window`; [B, T, S]."""
        S = self.size(mask, 1)
        scalar = self.node("Squeeze", S)
        keys = self.node("Range", np.array(0, np.int64), scalar, np.array(1, np.int64))  # [S]
        queries = self.node("Unsqueeze", self.last(keys, self.size(ids, 1), 0), self.whole_numbers(1))  # [T, 1]
        seen = self.node("And", self.node("Not", self.node("Greater", keys, queries)), self.real(mask))
        if window is None:
            return seen
        of_keys = self.node("Unsqueeze", self.counted(mask), self.whole_numbers(1))
        of_queries = self.node("Unsqueeze", self.positions(ids, mask), self.whole_numbers(2))
        near = self.node("Greater", of_keys, self.node("Sub", of_queries, np.array(window, np.int64)))
        return self.node("And", seen, near)

    # Steps.

    def linear(self, x: str, name: str) -> str:
        return self.node("MatMul", x, self.weight(f"{name}.weight"))

    def affine(self, x: str, name: str) -> str:
        return self.node("Add", self.linear(x, name), self.weight(f"{name}.bias"))

    def mean(self, x: str) -> str:
        """Over the last axis, which stays."""
        if self.opset < 18:
            return self.node("ReduceMean", x, axes=(-1,), keepdims=1)
        return self.node("ReduceMean", x, self.whole_numbers(-1), keepdims=1)

    def epsilon(self, name: str) -> float:
        return float(self.config[name])

    def layer_norm(self, x: str, name: str) -> str:
        """(x - μ) / sqrt(σ² + ε) · weight + bias over the last axis."""
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        epsilon = self.epsilon("layer_norm_epsilon")
        if self.opset >= 17 and self.dtype == "float32":  # the operator computes μ and σ in float32
            return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon)
        centred = self.node("Sub", x, self.mean(x))
        variance = self.mean(self.node("Mul", centred, centred))
        deviation = self.node("Sqrt", self.node("Add", variance, epsilon))
        return self.node("Add", self.node("Mul", self.node("Div", centred, deviation), weight), bias)

    def rms_norm(self, x: str, name: str) -> str:
        """x / sqrt(mean(x²) + ε) · weight over the last axis."""
        square = self.mean(self.node("Mul", x, x))
        root = self.node("Sqrt", self.node("Add", square, self.epsilon("rms_norm_epsilon")))
        return self.node("Mul", self.node("Div", x, root), self.weight(f"{name}.weight"))

    def activation(self, x: str) -> str:
        """The feed-forward's activation, by its name in model.json."""
        steps = {"gelu": self.gelu, "gelu_tanh": self.gelu_tanh, "relu": self.relu, "silu": self.silu}
        return steps[self.config["activation"]](x)

    def gelu(self, x: str) -> str:
        """x/2 · (1 + erf(x / sqrt(2)))."""
        grown = self.node("Add", self.erf(self.node("Mul", x, math.sqrt(0.5))), 1.0)
        return self.node("Mul", self.node("Mul", x, 0.5), grown)

    def erf(self, x: str) -> str:
        """The operator, which onnxruntime has in float32 alone, or its integral.

        erf(x) = 2x/√π ∫₀¹ exp(-x²t²) dt by Gauss and Legendre's rule; beyond 6, erf is 1 in float64.
        """
        if self.dtype == "float32":
            return self.node("Erf", x)
        near = self.node("Min", self.node("Max", x, -6.0), 6.0)
        square = self.node("Unsqueeze", self.node("Mul", near, near), self.whole_numbers(-1))
        heights = self.node("Exp", self.node("Mul", square, -(POINTS**2)))  # [..., 32]
        area = self.node("Squeeze", self.node("MatMul", heights, WEIGHTS[:, None]), self.whole_numbers(-1))
        return self.node("Mul", self.node("Mul", near, 2 / math.sqrt(math.pi)), area)

    def gelu_tanh(self, x: str) -> str:
        """x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³)))."""
        cube = self.node("Mul", self.node("Mul", x, x), x)
        inner = self.node("Add", x, self.node("Mul", cube, 0.044715))
        bent = self.node("Tanh", self.node("Mul", inner, math.sqrt(2 / math.pi)))
        return self.node("Mul", self.node("Mul", x, 0.5), self.node("Add", bent, 1.0))

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def silu(self, x: str) -> str:
        """x / (1 + exp(-x))."""
        return self.node("Mul", x, self.node("Sigmoid", x))

    def heads(self, x: str, count: int) -> str:
        """[B, T, count·K] -> [B, count, T, K]."""
        cut = self.node("Reshape", x, self.whole_numbers(0, 0, count, self.K))
        return self.node("Transpose", cut, perm=(0, 2, 1, 3))

    def repeated(self, x: str) -> str:
        """Each key or value head for the H/G query heads that share it; [B, G, S, K] -> [B, H, S, K]."""
        if self.G == self.H:
            return x
        many = self.node("Unsqueeze", x, self.whole_numbers(2))
        many = self.node("Expand", many, self.whole_numbers(1, 1, self.H // self.G, 1, 1))
        return self.node("Reshape", many, self.whole_numbers(0, self.H, -1, self.K))

    def scale(self) -> float:
        """What scores are divided by."""
        return math.sqrt(self.K)

    def attend(self, query: str, keys: str, values: str, visible: str) -> str:
        """softmax(q kᵀ / scale + mask) v with heads side by side; -> [B, T, D].

        Args:
            query: [B, H, T, K]. keys, values: [B, G, S, K]. visible: [B, T or 1, S].
        """
        turned = self.node("Transpose", self.repeated(keys), perm=(0, 1, 3, 2))
        scores = self.node("Div", self.node("MatMul", query, turned), self.scale())
        weights = self.node("Softmax", self.masked(scores, visible), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, self.repeated(values)), perm=(0, 2, 1, 3))
        return self.node("Reshape", mixed, self.whole_numbers(0, 0, self.D))

    def masked(self, scores: str, visible: str) -> str:
        """Scores with the smallest number where nothing is visible; minus infinity would make NaN of a pad's row."""
        seen = self.node("Unsqueeze", visible, self.whole_numbers(1))
        return self.node("Where", seen, scores, float(np.finfo(self.dtype).min))

    def keep(self, layer: str, keys: str, values: str, past: bool) -> tuple[str, str]:
        """Keys and values behind those of the past, given out under the names that lead them to the next call."""
        both = []
        for part, new in (("key", keys), ("value", values)):
            name = f"{layer}.{part}"
            whole = self.node("Concat", f"past_key_values.{name}", new, axis=2) if past else new
            self.results[f"present.{name}"] = whole
            both.append(whole)
        return both[0], both[1]

    def head(self, x: str) -> str:
        """Logits; [B, T, D] -> [B, T, V]."""
        name = "token_embedding" if self.config["tie_embeddings"] else "head.weight"
        return self.node("MatMul", x, self.node("Transpose", self.weight(name), perm=(1, 0)))

    def rows(self, table: str, ids: str) -> str:
        return self.node("Gather", self.weight(table), ids, axis=0)

    # The architectures.

    def gpt3(self, form: str) -> None:
        ids, mask, cached = "input_ids", "attention_mask", form == "cached"
        window = self.config.get("local_attention_window")
        dense = self.visible(ids, mask, None)
        banded = dense if window is None else self.visible(ids, mask, window)
        x = self.node(
            "Add", self.rows("token_embedding", ids), self.rows("position_embedding", self.positions(ids, mask))
        )
        for i in range(self.config["num_layers"]):
            layer = f"layers.{i}"
            normed = self.layer_norm(x, f"{layer}.attention_norm")
            query, keys, values = (
                self.heads(self.affine(normed, f"{layer}.attention.{part}"), self.H)
                for part in ("query", "key", "value")
            )
            if cached:
                keys, values = self.keep(str(i), keys, values, True)
            mixed = self.attend(query, keys, values, banded if i % 2 else dense)
            x = self.node("Add", x, self.affine(mixed, f"{layer}.attention.output"))
            normed = self.layer_norm(x, f"{layer}.feed_forward_norm")
            hidden = self.activation(self.affine(normed, f"{layer}.feed_forward.up"))
            x = self.node("Add", x, self.affine(hidden, f"{layer}.feed_forward.down"))
        self.results["logits"] = self.head(self.layer_norm(x, "final_norm"))

    def llama(self, form: str) -> None:
        ids, mask, cached = "input_ids", "attention_mask", form == "cached"
        visible = self.visible(ids, mask, self.config.get("sliding_window"))
        turn = self.angles(self.positions(ids, mask))
        x = self.rows("token_embedding", ids)
        for i in range(self.config["num_layers"]):
            layer = f"layers.{i}"
            normed = self.rms_norm(x, f"{layer}.attention_norm")
            query = self.rotate(self.heads(self.linear(normed, f"{layer}.attention.query"), self.H), turn)
            keys = self.rotate(self.heads(self.linear(normed, f"{layer}.attention.key"), self.G), turn)
            values = self.heads(self.linear(normed, f"{layer}.attention.value"), self.G)
            if cached:
                keys, values = self.keep(str(i), keys, values, True)
            mixed = self.attend(query, keys, values, visible)
            x = self.node("Add", x, self.linear(mixed, f"{layer}.attention.output"))
            normed = self.rms_norm(x, f"{layer}.feed_forward_norm")
            gate = self.activation(self.linear(normed, f"{layer}.feed_forward.gate"))
            hidden = self.node("Mul", gate, self.linear(normed, f"{layer}.feed_forward.up"))
            x = self.node("Add", x, self.linear(hidden, f"{layer}.feed_forward.down"))
        self.results["logits"] = self.head(self.rms_norm(x, "final_norm"))

    def angles(self, positions: str) -> tuple[str, str]:
        """Cosines and sines by which positions turn pairs of channels; [B, 1, T, K/2] each.

        Computed while the graph runs, in float64 and rounded once.
        """
        frequency = self.config["rope_theta"] ** (-np.arange(0, self.K, 2) / self.K)  # [K/2]
        wide = self.node("Unsqueeze", self.node("Cast", positions, to=11), self.whole_numbers(1, 3))
        angle = self.node("Mul", wide, frequency)
        both = [
            self.node("Cast", self.node(name, angle), to=1 if self.dtype == "float32" else 11)
            for name in ("Cos", "Sin")
        ]
        return both[0], both[1]

    def rotate(self, x: str, turn: tuple[str, str]) -> str:
        """(a, b) of channels i and i + K/2 becomes (a cos - b sin, b cos + a sin)."""
        half, cos, sin = self.K // 2, *turn
        a = self.node("Slice", x, self.whole_numbers(0), self.whole_numbers(half), self.whole_numbers(3))
        b = self.node("Slice", x, self.whole_numbers(half), self.whole_numbers(self.K), self.whole_numbers(3))
        first = self.node("Sub", self.node("Mul", a, cos), self.node("Mul", b, sin))
        return self.node("Concat", first, self.node("Add", self.node("Mul", b, cos), self.node("Mul", a, sin)), axis=-1)

    def bert(self, form: str) -> None:
        ids, mask = "input_ids", "attention_mask"
        x = self.node("Add", self.rows("token_embedding", ids), self.rows("position_embedding", self.counted(mask)))
        x = self.layer_norm(self.node("Add", x, self.types()), "embedding_norm")
        for i in range(self.config["num_layers"]):
            x = self.block(x, x, f"layers.{i}.attention", self.real(mask))
            x = self.fed(x, f"layers.{i}")
        self.results["last_hidden_state"] = x
        place = self.node("ArgMax", self.node("Cast", mask, to=6), axis=1, keepdims=1)
        first = self.node("GatherND", x, place, batch_dims=1)  # [B, D]
        self.results["pooler_output"] = self.node("Tanh", self.affine(first, "pooler"))
        shown = self.layer_norm(self.activation(self.affine(x, "head.transform")), "head.norm")
        self.results["logits"] = self.node("Add", self.head(shown), self.weight("head.bias"))

    def types(self) -> str:
        """Embeddings of the token types; [B, T, D]."""
        return self.rows("type_embedding", "token_type_ids")

    def block(self, x: str, looked_at: str | tuple[str, str], name: str, visible: str) -> str:
        """An attention with the norm behind it. `looked_at`: what keys and values come from, or these themselves."""
        query = self.heads(self.affine(x, f"{name}.query"), self.H)
        keys, values = self.pair(looked_at, name) if isinstance(looked_at, str) else looked_at
        mixed = self.affine(self.attend(query, keys, values, visible), f"{name}.output")
        return self.layer_norm(self.node("Add", x, mixed), f"{name}_norm")

    def pair(self, x: str, name: str) -> tuple[str, str]:
        """Keys and values of an attention; [B, H, S, K] each."""
        keys, values = (self.heads(self.affine(x, f"{name}.{part}"), self.H) for part in ("key", "value"))
        return keys, values

    def fed(self, x: str, layer: str) -> str:
        """A feed-forward with the norm behind it."""
        hidden = self.activation(self.affine(x, f"{layer}.feed_forward.up"))
        return self.layer_norm(
            self.node("Add", x, self.affine(hidden, f"{layer}.feed_forward.down")), f"{layer}.feed_forward_norm"
        )

    def transformer(self, form: str) -> None:
        crosses: list[str | tuple[str, str]] = []
        layers = range(self.config["num_decoder_layers"])
        if form == "decoder":
            parts = [f"past_key_values.{i}.encoder" for i in layers]
            crosses = [(f"{part}.key", f"{part}.value") for part in parts]
        else:
            source = self.read()
            crosses = [source for _ in layers]
        if form == "encoder":
            for i in layers:
                keys, values = self.pair(str(crosses[i]), f"decoder.layers.{i}.cross_attention")
                self.keep(f"{i}.encoder", keys, values, False)
            return
        ids, mask = "decoder_input_ids", "decoder_attention_mask"
        visible, seen = self.visible(ids, mask, None), self.real("attention_mask")
        x = self.embedded(ids, self.positions(ids, mask), "decoder")
        for i in layers:
            layer = f"decoder.layers.{i}"
            held = self.pair(x, f"{layer}.attention")
            if form == "decoder":
                held = self.keep(f"{i}.decoder", *held, True)
            x = self.block(x, held, f"{layer}.attention", visible)
            x = self.block(x, crosses[i], f"{layer}.cross_attention", seen)
            x = self.fed(x, layer)
        self.results["logits"] = self.head(x)

    def read(self) -> str:
        """The encoder; [B, S, D]."""
        mask = "attention_mask"
        x = self.embedded("input_ids", self.counted(mask), "encoder")
        for layer in (f"encoder.layers.{i}" for i in range(self.config["num_layers"])):
            x = self.fed(self.block(x, x, f"{layer}.attention", self.real(mask)), layer)
        return x

    def embedded(self, ids: str, positions: str, side: str) -> str:
        """Tokens and positions, with the norm behind them if there is one."""
        x = self.rows("token_embedding", ids)
        if self.config["scale_embeddings"]:
            x = self.node("Mul", x, math.sqrt(self.D))
        if self.config["positions"] == "learned":
            x = self.node("Add", x, self.rows(f"{side}.position_embedding", positions))
        else:
            x = self.node("Add", x, self.node("Gather", self.sinusoids(), positions, axis=0))
        return self.layer_norm(x, f"{side}.embedding_norm") if self.config["embedding_norm"] else x

    def sinusoids(self) -> str:
        """sin(p / 10000^(2i/D)) at channel 2i, the cosine of the same at 2i + 1; a table for the whole context."""
        even = np.arange(0, self.D, 2)
        angle = np.arange(self.config["context_length"])[:, None] / 10000.0 ** (even / self.D)
        table = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(len(angle), -1)[:, : self.D]
        self.tensors["sinusoids"] = table.astype(self.dtype)
        return "sinusoids"


_HALF = np.array([
    0.9972638618494816, 0.9856115115452684, 0.9647622555875064, 0.9349060759377397, 0.8963211557660521,
    0.84936761373257, 0.7944837959679424, 0.7321821187402897, 0.6630442669302152, 0.5877157572407623,
    0.5068999089322294, 0.42135127613063533, 0.33186860228212767, 0.23928736225213706, 0.1444719615827965,
    0.04830766568773832,
])  # fmt: skip
_HEIGHT = np.array([
    0.007018610009470096, 0.01627439473090567, 0.02539206530926206, 0.03427386291302143, 0.04283589802222668,
    0.050998059262376175, 0.058684093478535544, 0.06582222277636185, 0.0723457941088485, 0.07819389578707031,
    0.08331192422694675, 0.08765209300440381, 0.09117387869576389, 0.09384439908080457, 0.09563872007927486,
    0.0965400885147278,
])  # fmt: skip
POINTS = np.concatenate([1 - _HALF, 1 + _HALF]) / 2
"""Abscissas of Gauss and Legendre's rule of 32 points on [0, 1]; the rule on [-1, 1] is symmetric."""
WEIGHTS = np.concatenate([_HEIGHT, _HEIGHT]) / 2
