"""Mutants of ONNX whose fault is small, or shows only on some inputs.

On a row that is neither padded nor cut, of an ordinary model, each of them stays within a hundred honest float32
errors; most make none there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llmasos_conformance.graphs import making
from llmasos_conformance.graphs.proto import FLOAT, Model, tensor
from llmasos_conformance.mutants.onnx import Feed, faulty
from llmasos_conformance.protocol import Array


def _past(feed: Feed) -> int:
    """Columns of the past in a feed."""
    return next((value.shape[2] for name, value in feed.items() if name.startswith("past_key_values.")), 0)


@faulty("onnx-cache-half", "InfiniTensor/InfiniLM#553", "ONNX-4")
def cache_half() -> Mapping[str, Any]:
    """Keys and values are kept in float16 between two calls."""

    def keep(kept: Feed) -> Feed:
        return {
            name: value.astype(np.float16).astype(value.dtype) if value.ndim == 4 else value
            for name, value in kept.items()
        }

    return {"keep": keep}


@faulty("onnx-epsilon-default", "microsoft/onnxruntime#3768", "ONNX-1")
def epsilon_default() -> Mapping[str, Any]:
    """A fused norm has an epsilon of its own, 1e-12, whatever the graph says."""

    def tamper(model: Model) -> Model:
        nodes = tuple(
            replace(node, attributes={**node.attributes, "epsilon": 1e-12})
            if node.operator == "LayerNormalization"
            else node
            for node in model.nodes
        )
        return replace(model, nodes=nodes)

    return {"tamper": tamper}


@faulty("onnx-mask-ten-thousand", "microsoft/onnxruntime#12843", "ONNX-1")
def mask_ten_thousand() -> Mapping[str, Any]:
    """A fused attention gives what must not be seen a score of -10000."""
    return {"tamper": _filled(-10000.0)}


def _filled(least: float) -> Callable[[Model], Model]:
    """Another number in place of the smallest one."""

    def change(model: Model) -> Model:
        smallest = np.float32(np.finfo(np.float32).min)
        tensors = tuple(
            tensor(each.name, np.float32(least))
            if each.dtype == FLOAT and not each.dims and each.array() == smallest
            else each
            for each in model.tensors
        )
        return replace(model, tensors=tensors)

    return change


@faulty("onnx-mask-behind-past", "microsoft/onnxruntime#27885", "ONNX-4")
def mask_behind_past() -> Mapping[str, Any]:
    """Once there is a past, the mask is read from a wrong offset and all columns of the past pass for real."""

    def feed(given: Feed, inputs: list[str]) -> Feed:
        mask = given["attention_mask"].copy()
        mask[:, : _past(given)] = 1
        return {**given, "attention_mask": mask}

    return {"feed": feed}


@faulty("onnx-length-at-export", "pytorch/pytorch#43795", "ONNX-2")
def length_at_export() -> Mapping[str, Any]:
    """The mask was made for 128 columns: beyond them, the first ones are not seen any more."""

    def feed(given: Feed, inputs: list[str]) -> Feed:
        mask = given["attention_mask"].copy()
        mask[:, :-128] = 0
        return {**given, "attention_mask": mask}

    return {"feed": feed}


@faulty("onnx-eight-rows", "NVIDIA/TensorRT-LLM#2072", "ONNX-2")
def eight_rows() -> Mapping[str, Any]:
    """Buffers hold eight rows, and those beyond get the rows of the beginning."""

    def feed(given: Feed, inputs: list[str]) -> Feed:
        return {
            name: value[np.arange(len(value)) % 8] if name in ("input_ids", "attention_mask") else value
            for name, value in given.items()
        }

    return {"feed": feed}


@faulty("onnx-source-mask-lost", "huggingface/optimum-executorch#230", "ONNX-3")
def source_mask_lost() -> Mapping[str, Any]:
    """The decoder is not told which columns of the source are padding."""

    def feed(given: Feed, inputs: list[str]) -> Feed:
        if "decoder_input_ids" not in inputs:
            return given
        return {**given, "attention_mask": np.ones_like(given["attention_mask"])}

    return {"feed": feed}


@faulty("export-mask-ten-thousand", "microsoft/onnxruntime#12843", "ONNX-17")
def export_mask_ten_thousand() -> Mapping[str, Any]:
    """What must not be seen gets a score of -10000, which scores of that size come up to."""

    class Shallow(making.Exporter):
        def masked(self, scores: str, visible: str) -> str:
            return self.node("Where", self.node("Unsqueeze", visible, self.whole_numbers(1)), scores, -10000.0)

    return {"exporter": Shallow}


@faulty("export-mask-infinite", "microsoft/onnxscript#2561", "ONNX-18")
def export_mask_infinite() -> Mapping[str, Any]:
    """What must not be seen gets minus infinity: a column of padding becomes NaN, which the next layer spreads."""

    class Infinite(making.Exporter):
        def masked(self, scores: str, visible: str) -> str:
            return self.node("Where", self.node("Unsqueeze", visible, self.whole_numbers(1)), scores, -math.inf)

    return {"exporter": Infinite}


@faulty("export-epsilon-lost", "microsoft/onnxruntime#2639", "ONNX-17")
def export_epsilon_lost() -> Mapping[str, Any]:
    """The operator for the norm is written without its epsilon, and readers take the default of 1e-5."""

    class Default(making.Exporter):
        def epsilon(self, name: str) -> float:
            return 1e-5

    return {"exporter": Default}


@faulty("export-constants-half", "pytorch/pytorch#158658", "ONNX-17")
def export_constants_half() -> Mapping[str, Any]:
    """Numbers in formulas are rounded to float16 on their way into the graph."""

    class Rounded(making.Exporter):
        def constant(self, value: float | Array) -> str:
            if not isinstance(value, np.ndarray) and abs(value) < 6e4:
                value = float(np.float16(value))
            return super().constant(value)

    return {"exporter": Rounded}


@faulty("export-weights-half", "vllm-project/vllm#3653", "ONNX-17")
def export_weights_half() -> Mapping[str, Any]:
    """Weights pass through float16 on their way, and are stored as float32 again."""

    class Half(making.Exporter):
        def weight(self, name: str) -> str:
            made = super().weight(name)
            self.tensors[name] = self.tensors[name].astype(np.float16).astype(self.dtype)
            return made

    return {"exporter": Half}


@faulty("export-window-too-wide", "huggingface/transformers#26792", "ONNX-17")
def export_window_too_wide() -> Mapping[str, Any]:
    """A window is one key wider than the document says."""

    class Wide(making.Exporter):
        def visible(self, ids: str, mask: str, window: int | None) -> str:
            return super().visible(ids, mask, None if window is None else window + 1)

    return {"exporter": Wide}


@faulty("export-window-in-columns", "huggingface/transformers#32522", "ONNX-18")
def export_window_in_columns() -> Mapping[str, Any]:
    """A window counts columns of padding."""

    class Columns(making.Exporter):
        def visible(self, ids: str, mask: str, window: int | None) -> str:
            seen = super().visible(ids, mask, None)
            if window is None:
                return seen
            ones = self.node("Add", self.node("Mul", mask, np.array(0, np.int64)), np.array(1, np.int64))
            return self.node("And", seen, super().visible(ids, ones, window))

    return {"exporter": Columns}


@faulty("export-past-frozen", "wenet-e2e/wenet#1651", "ONNX-19")
def export_past_frozen() -> Mapping[str, Any]:
    """The offset of the past was traced as the 0 that it was: positions begin anew in each call."""

    class Frozen(making.Exporter):
        def last(self, x: str, count: str, axis: int) -> str:
            if axis == 0:  # of columns; axis 1 holds positions
                return super().last(x, count, axis)
            return self.node("Slice", x, self.whole_numbers(0), count, self.whole_numbers(axis))

    return {"exporter": Frozen}


@faulty("export-positions-by-column", "huggingface/optimum#1381", "ONNX-18")
def export_positions_by_column() -> Mapping[str, Any]:
    """Positions are columns, as if no row had padding in front."""

    class Counted(making.Exporter):
        def counted(self, mask: str) -> str:
            return super().counted(
                self.node("Add", self.node("Mul", mask, np.array(0, np.int64)), np.array(1, np.int64))
            )

    return {"exporter": Counted}


@faulty("export-source-mask-lost", "huggingface/optimum-executorch#230", "ONNX-18")
def export_source_mask_lost() -> Mapping[str, Any]:
    """The encoder is exported without the mask of its source."""

    class Maskless(making.Exporter):
        def real(self, mask: str) -> str:
            if mask == "attention_mask" and self.architecture == "Transformer":
                mask = self.node("Add", self.node("Mul", mask, np.array(0, np.int64)), np.array(1, np.int64))
            return super().real(mask)

    return {"exporter": Maskless}
