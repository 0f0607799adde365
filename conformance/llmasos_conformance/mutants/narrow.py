"""Servers that claim float32, compute with fewer digits, and show nothing but text.

Each has `load_model` alone, so that a case that asks for logits, scores or ids cannot be put to it. Written in NumPy
and without a look at `fingerprints`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from llmasos_conformance.mutants.catalogue import Mutant, record
from llmasos_conformance.mutants.llama_runtime import as_llama
from llmasos_conformance.mutants.loader import Opened
from llmasos_conformance.mutants.runtime import Cache, Runtime, Serving
from llmasos_conformance.mutants.small import half
from llmasos_conformance.mutants.transformer_runtime import TransformerRuntime
from llmasos_conformance.protocol import CAPABILITIES, Array


class Unseen(Runtime):
    """The runtime, of which nobody sees more than text."""

    withholds: ClassVar[frozenset[str]] = frozenset(CAPABILITIES) - {"load_model"}

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.weights = {name: self.kept(name, array) for name, array in self.weights.items()}

    def kept(self, name: str, array: Array) -> Array:
        """A tensor as the server keeps it."""
        return array


def unseen(name: str, source: str, architecture: str = "GPT-3") -> Callable[[type[Unseen]], type[Unseen]]:
    """Record a server of an architecture; its docstring is the bug."""

    def note(kind: type[Unseen]) -> type[Unseen]:
        def made() -> type[Runtime]:
            if architecture == "Llama":
                return as_llama(kind)
            if architecture == "Transformer":
                return type(f"Transformer{kind.__name__}", (kind, TransformerRuntime), {"__doc__": kind.__doc__})
            return kind

        record(
            Mutant(
                name=name, group="narrow", source=source, requirement="NUM-10",
                bug=" ".join((kind.__doc__ or "").split()), adapter=lambda: Serving(made(), f"mutant:{name}"),
                asked=frozenset({"NUM-10"}),
            )
        )  # fmt: skip
        return kind

    return note


def as_float16(x: Array) -> Array:
    """x as float16 keeps it, in float32."""
    return np.asarray(x.astype(np.float16).astype(np.float32))


# ── arithmetic ──────────────────────────────────────────────────────────────────────────────────────────────────────


@unseen("text-tf32-transformer", "ml-explore/mlx#3860", "Transformer")
@unseen("text-tf32-llama", "ml-explore/mlx#3860", "Llama")
@unseen("text-tf32", "ml-explore/mlx#3860")
class ProductsInTF32(Unseen):
    """Both factors of every product have ten digits behind the first, as TF32 keeps them; sums are float32."""

    def eleven(self, x: Array) -> Array:
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        return np.asarray(((bits + np.uint32(1 << 12)) & np.uint32(0xFFFF_E000)).view(np.float32))

    def matmul(self, a: Array, b: Array) -> Array:
        return super().matmul(self.eleven(a), self.eleven(b))


@unseen("text-bfloat16-products", "jax-ml/jax#7010")
class ProductsInBfloat16(Unseen):
    """Both factors of every product are rounded to bfloat16; sums are float32."""

    def matmul(self, a: Array, b: Array) -> Array:
        return super().matmul(half(a), half(b))


class _Rounded(Unseen):
    """Weights, products, norms and sums of the residual are rounded to a dtype of half precision."""

    def rounded(self, x: Array) -> Array:
        raise NotImplementedError

    def kept(self, name: str, array: Array) -> Array:
        return self.rounded(array)

    def matmul(self, a: Array, b: Array) -> Array:
        return self.rounded(super().matmul(a, b))

    def normalise(self, x: Array) -> Array:
        return self.rounded(super().normalise(x))

    def residual(self, x: Array, branch: Array) -> Array:
        return self.rounded(super().residual(x, branch))


@unseen("text-float16", "vllm-project/vllm#9729")
class InFloat16(_Rounded):
    """The whole model is float16."""

    def rounded(self, x: Array) -> Array:
        return as_float16(x)


@unseen("text-bfloat16-transformer", "deepspeedai/DeepSpeed#2576", "Transformer")
@unseen("text-bfloat16-llama", "deepspeedai/DeepSpeed#2576", "Llama")
@unseen("text-bfloat16", "deepspeedai/DeepSpeed#2576")
class InBfloat16(_Rounded):
    """The whole model is bfloat16."""

    def rounded(self, x: Array) -> Array:
        return half(x)


@unseen("text-head-bfloat16", "sgl-project/sglang#33627")
class HeadInBfloat16(Unseen):
    """Everything is float32 but for the logits, which the head gives out in bfloat16."""

    def head(self, x: Array) -> Array:
        return half(super().head(x))


@unseen("text-attention-float16", "predibase/lorax#624")
class AttentionInFloat16(Unseen):
    """The kernel of the attention takes float16 and gives float16, in a model that is float32 otherwise."""

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        return as_float16(super().attend(as_float16(query), as_float16(keys), as_float16(values), visible))


class _Cached(Unseen):
    """Keys and values are kept with fewer digits."""

    def cached(self, x: Array) -> Array:
        raise NotImplementedError

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        super().store(cache, layer, self.cached(keys), self.cached(values))


@unseen("text-cache-float16", "abetlen/llama-cpp-python#384")
class CacheInFloat16(_Cached):
    """Keys and values are kept in float16."""

    def cached(self, x: Array) -> Array:
        return as_float16(x)


@unseen("text-cache-float8", "huggingface/text-generation-inference#2028")
class CacheInFloat8(_Cached):
    """Keys and values are kept in float8 e4m3 without a scale."""

    def cached(self, x: Array) -> Array:
        return np.asarray(x.astype(ml_dtypes.float8_e4m3fn).astype(np.float32))


# ── weights ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@unseen("text-weights-float16", "CarperAI/trlx#535")
class WeightsInFloat16(Unseen):
    """Weights are loaded as float16 and computed with in float32."""

    def kept(self, name: str, array: Array) -> Array:
        return as_float16(array)


@unseen("text-weights-bfloat16-transformer", "google-research/tabfm#23", "Transformer")
@unseen("text-weights-bfloat16-llama", "google-research/tabfm#23", "Llama")
@unseen("text-weights-bfloat16", "google-research/tabfm#23")
class WeightsInBfloat16(Unseen):
    """Weights are cast to bfloat16 once they are loaded, and computed with in float32."""

    def kept(self, name: str, array: Array) -> Array:
        return half(array)


class _Quantised(Unseen):
    """Matrices of the blocks are kept with fewer digits; embeddings, head, norms and biases as they are."""

    def packed(self, w: Array) -> Array:
        """A matrix [D_in, D_out] as it comes out of its packed form."""
        raise NotImplementedError

    def kept(self, name: str, array: Array) -> Array:
        return np.asarray(self.packed(array), np.float32) if "layers." in name and array.ndim == 2 else array


def steps(w: Array, levels: int, axis: int | None) -> Array:
    """w in so many steps to either side of zero, which are as large as the largest along an axis needs."""
    step: Any = np.abs(w).max(axis=axis, keepdims=True) / levels
    return np.asarray(np.rint(w / np.where(step == 0, 1, step)) * step)


def blocks(w: Array, length: int, levels: int) -> Array:
    """The same for runs of so many inputs of each output."""
    return np.concatenate([steps(w[low : low + length], levels, 0) for low in range(0, len(w), length)])


@unseen("text-int8-tensor", "InfiniTensor/InfiniLM#553")
class Int8OfATensor(_Quantised):
    """Every matrix of the blocks is int8 with one step."""

    def packed(self, w: Array) -> Array:
        return steps(w, 127, None)


@unseen("text-int8-channel-transformer", "InfiniTensor/InfiniLM#553", "Transformer")
@unseen("text-int8-channel-llama", "InfiniTensor/InfiniLM#553", "Llama")
@unseen("text-int8-channel", "InfiniTensor/InfiniLM#553")
class Int8OfAChannel(_Quantised):
    """Every output's weights are int8 with a step of their own."""

    def packed(self, w: Array) -> Array:
        return steps(w, 127, 0)


@unseen("text-int8-32", "InfiniTensor/InfiniLM#553")
class Int8Of32(_Quantised):
    """Weights are int8 in blocks of 32."""

    def packed(self, w: Array) -> Array:
        return blocks(w, 32, 127)


@unseen("text-float8", "InfiniTensor/InfiniLM#553")
class Float8(_Quantised):
    """Weights are float8 e4m3 as they are."""

    def packed(self, w: Array) -> Array:
        return np.asarray(w.astype(ml_dtypes.float8_e4m3fn))


@unseen("text-int4-32", "InfiniTensor/InfiniLM#553")
class Int4Of32(_Quantised):
    """Weights are four-bit in blocks of 32."""

    def packed(self, w: Array) -> Array:
        return blocks(w, 32, 7)
