"""Mutants of the runtime for Llama: rotary positions, norms, the gated feed-forward, shared heads, windows, documents.

At the end stand faults of the other groups, mixed into this runtime: batches, caches, loading and generation are the
same code, but the cases that ask Llama about them are not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants import answering, choosing, computing, keeping, loading, small
from llmasos_conformance.mutants.catalogue import mutant, record, recorded
from llmasos_conformance.mutants.llama_runtime import LlamaLoader, LlamaRuntime, as_llama
from llmasos_conformance.mutants.loader import Config
from llmasos_conformance.mutants.runtime import Cache, Serving
from llmasos_conformance.mutants.small import half, sixteen_bits
from llmasos_conformance.protocol import Array

# Rotary positions.


@mutant("rotary-interleaved", "jmaczan/tiny-vllm#4", "LLAMA-2")
class RotaryInterleaved(LlamaRuntime):
    """Channel 2i is paired with channel 2i + 1."""

    def rotate(self, x: Array, cos: Array, sin: Array) -> Array:
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)


@mutant("rotary-backwards", "trymirai/lalamo#268", "LLAMA-2")
class RotaryBackwards(LlamaRuntime):
    """The sine has the other sign, so that everything turns the other way."""

    def rotate(self, x: Array, cos: Array, sin: Array) -> Array:
        return super().rotate(x, cos, -sin)


@mutant("rotary-before-split", "srush/llama2.rs#21", "LLAMA-2")
class RotaryBeforeSplit(LlamaRuntime):
    """Queries and keys are turned before they are cut into heads, as if there were one."""

    def whole(self, x: Array, positions: Array) -> Array:
        joined = x.swapaxes(1, 2).reshape(x.shape[0], 1, x.shape[2], -1)
        width = joined.shape[-1]
        angle = positions[:, None, :, None] * self.base() ** (-np.arange(0, width, 2) / width)
        turned = super().rotate(joined, np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32))
        return turned.reshape(x.shape[0], x.shape[2], x.shape[1], -1).swapaxes(1, 2)

    def turned(self, query: Array, key: Array, positions: Array) -> tuple[Array, Array]:
        return self.whole(query, positions), self.whole(key, positions)


@mutant("rotary-on-values", "huggingface/candle#1935", "LLAMA-1")
class RotaryOnValues(LlamaRuntime):
    """Values are turned like keys."""

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        positions = self.positions(cache, values.shape[2])
        super().store(cache, layer, keys, self.rotate(values, *self.turn(positions)))


@mutant("rotary-queries-only", "hpcaitech/ColossalAI#6429", "LLAMA-1")
class RotaryQueriesOnly(LlamaRuntime):
    """Keys are not turned."""

    def turned(self, query: Array, key: Array, positions: Array) -> tuple[Array, Array]:
        return super().turned(query, key, positions)[0], key


@mutant("rotary-theta-ignored", "meta-pytorch/torchtune#1341", "LLAMA-3")
class RotaryThetaIgnored(LlamaRuntime):
    """The base is 10000 whatever the document says."""

    def base(self) -> float:
        return 10000.0


@mutant("rotary-exponent-shifted", "bkitano/llama-from-scratch#8", "LLAMA-3")
class RotaryExponentShifted(LlamaRuntime):
    """The exponent of pair i is -2(i - 1)/K."""

    def frequencies(self) -> Array:
        K = self.config.D // self.config.H
        return np.asarray(self.base() ** (-(np.arange(0, K, 2) - 2) / K))


@mutant("rotary-scaled-when-long", "ml-explore/mlx-swift-examples#152", "LLAMA-3")
class RotaryScaledWhenLong(LlamaRuntime):
    """From 192 positions on the base grows with the length; shorter texts are right."""

    def turned(self, query: Array, key: Array, positions: Array) -> tuple[Array, Array]:
        longest = int(positions.max()) + 1
        self.grown = self.config.theta * max(1.0, longest / 192)
        return super().turned(query, key, positions)

    def base(self) -> float:
        return self.grown


@mutant("rotary-angles-bfloat16", "EleutherAI/gpt-neox#1003", "LLAMA-4")
class RotaryAnglesBFloat16(LlamaRuntime):
    """Frequencies are kept as bfloat16."""

    def frequencies(self) -> Array:
        return half(super().frequencies().astype(np.float32)).astype(np.float64)


@mutant("rotary-positions-bfloat16", "huggingface/candle#3520", "LLAMA-4")
class RotaryPositionsBFloat16(LlamaRuntime):
    """Positions are kept as bfloat16, which cannot tell those beyond 256 apart; shorter texts are right."""

    def turn(self, positions: Array) -> tuple[Array, Array]:
        return super().turn(half(positions.astype(np.float32)))


@mutant("rotary-table-float16", "huggingface/transformers#25681", "LLAMA-4")
class RotaryTableFloat16(LlamaRuntime):
    """The table of cosines and sines is kept as float16."""

    def turn(self, positions: Array) -> tuple[Array, Array]:
        cos, sin = super().turn(positions)
        return cos.astype(np.float16).astype(np.float32), sin.astype(np.float16).astype(np.float32)


@mutant("rotary-restarts-behind-cache", "Blaizzy/mlx-vlm#1983", "LLAMA-5")
class RotaryRestartsBehindCache(LlamaRuntime):
    """Behind a cache, positions begin at 0 again."""

    def positions(self, cache: Cache, T: int) -> Array:
        every = super().positions(cache, T)
        return np.broadcast_to(np.arange(T), every.shape) if cache.filled > T else every


@mutant("rotary-piece-stands-still", "jundot/omlx#2363", "LLAMA-5")
class RotaryPieceStandsStill(LlamaRuntime):
    """All tokens of a piece behind a cache have the position of its first."""

    def positions(self, cache: Cache, T: int) -> Array:
        every = super().positions(cache, T)
        return np.broadcast_to(every[:, :1], every.shape) if cache.filled > T else every


@mutant("rotary-upper-layers-ahead", "fla-org/flash-linear-attention#766", "LLAMA-5")
class RotaryUpperLayersAhead(LlamaRuntime):
    """Behind a cache, positions are one too large in all layers but the first."""

    ahead = False

    def self_attention(self, x: Array, layer: int, cache: Cache, visible: Array) -> Array:
        self.ahead = layer > 0 and x.shape[1] < cache.filled
        return super().self_attention(x, layer, cache, visible)

    def turned(self, query: Array, key: Array, positions: Array) -> tuple[Array, Array]:
        return super().turned(query, key, positions + self.ahead)


@mutant("rotary-cached-keys-turned-again", "ggml-org/llama.cpp#3272", "LLAMA-5")
class RotaryCachedKeysTurnedAgain(LlamaRuntime):
    """Keys that come from a cache are turned once more, by the number of new tokens."""

    def keys_of(self, cache: Cache, layer: int) -> Array:
        held = super().keys_of(cache, layer)
        old = cache.filled - self.fed
        if not old:
            return held
        again = self.rotate(held[:, :, :old], *self.turn(np.full((held.shape[0], old), self.fed)))
        return np.concatenate([again, held[:, :, old:]], axis=2)

    def self_attention(self, x: Array, layer: int, cache: Cache, visible: Array) -> Array:
        self.fed = x.shape[1]
        return super().self_attention(x, layer, cache, visible)


@mutant("rotary-last-position-repeats", "ollama/ollama#17889", "POS-2")
class RotaryLastPositionRepeats(LlamaRuntime):
    """The last position of the context has the angle of the one before."""

    def turn(self, positions: Array) -> tuple[Array, Array]:
        return super().turn(np.minimum(positions, self.config.C - 2))


# Norms.


@mutant("rms-mean-taken-off", "srush/llama2.rs#21", "LLAMA-6")
class RmsMeanTakenOff(LlamaRuntime):
    """Layer norm stands where the model has a root-mean-square norm."""

    def normalise(self, x: Array) -> Array:
        return super().normalise(np.asarray(x - x.mean(-1, keepdims=True)))


@mutant("rms-weight-plus-one", "utensils/mold#1078", "LLAMA-6")
class RmsWeightPlusOne(LlamaRuntime):
    """The weight of a norm is taken for the part above one."""

    def layer_norm(self, x: Array, name: str) -> Array:
        return np.asarray(self.normalise(x) * (1 + self.weights[f"{name}.weight"]))


@mutant("rms-epsilon-too-small", "apache/tvm#15856", "LLAMA-7")
class RmsEpsilonTooSmall(LlamaRuntime):
    """The epsilon of the norms is 1e-6 where the model says 1e-5."""

    def epsilon(self) -> float:
        return self.config.epsilon / 10


@mutant("rms-epsilon-outside-root", "tile-ai/tilelang#1243", "LLAMA-7")
class RmsEpsilonOutsideRoot(LlamaRuntime):
    """Epsilon is added to the root of the mean square."""

    def normalise(self, x: Array) -> Array:
        return np.asarray(x / (np.sqrt((x * x).mean(-1, keepdims=True)) + np.float32(self.config.epsilon)))


@mutant("rms-without-epsilon", "tenstorrent/tt-metal#55347", "LLAMA-7")
class RmsWithoutEpsilon(LlamaRuntime):
    """Epsilon is dropped, so that a position of zeros is divided by zero."""

    def normalise(self, x: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True)))


@mutant("rms-floor-of-half", "pytorch/pytorch#192017", "LLAMA-7")
class RmsFloorOfHalf(LlamaRuntime):
    """What the root is taken of is at least float16's smallest normal number, 2⁻¹⁴."""

    def normalise(self, x: Array) -> Array:
        square = np.mean(x * x, axis=-1, keepdims=True) + np.float32(self.epsilon())
        return np.asarray(x / np.sqrt(np.maximum(square, np.float32(2**-14))))


@mutant("norm-held-within-six", "ROCm/TransformerEngine#249", "LLAMA-8")
class NormHeldWithinSix(LlamaRuntime):
    """What leaves a norm is clamped at ±6, the range of a narrower type, which ordinary weights rarely reach."""

    def layer_norm(self, x: Array, name: str) -> Array:
        return np.clip(super().layer_norm(x, name), np.float32(-6), np.float32(6))


@mutant("rms-rounded-early", "google/gemma_pytorch#67", "NUM-1")
class RmsRoundedEarly(LlamaRuntime):
    """What is normalised is rounded to 16 significant bits before the weight is applied."""

    def normalise(self, x: Array) -> Array:
        return sixteen_bits(super().normalise(x))


@mutant("final-norm-unweighted", "linkedin/Liger-Kernel#74", "LLAMA-8")
class FinalNormUnweighted(LlamaRuntime):
    """The weight of the norm behind the last block is left out."""

    def final(self, x: Array) -> Array:
        return self.normalise(x)


@mutant("norms-of-a-layer-shared", "Lightning-AI/litgpt#1031", "LLAMA-8")
class NormsOfALayerShared(LlamaRuntime):
    """The feed-forward's norm has the weight of the attention's."""

    def layer_norm(self, x: Array, name: str) -> Array:
        return super().layer_norm(x, name.replace("feed_forward_norm", "attention_norm"))


# The feed-forward.


@mutant("gate-and-up-swapped", "ml-explore/mlx-lm#767", "LLAMA-9")
class GateAndUpSwapped(LlamaRuntime):
    """The map that is activated is the other one."""

    def linear(self, x: Array, name: str) -> Array:
        names = {"gate": "up", "up": "gate"}
        head, _, part = name.rpartition(".")
        return super().linear(x, f"{head}.{names.get(part, part)}")


@mutant("product-activated", "Nijikadesu/breakdown-minimind#3", "LLAMA-9")
class ProductActivated(LlamaRuntime):
    """The product of gate and up is activated instead of the gate."""

    def feed_forward(self, x: Array, layer: int) -> Array:
        name = f"layers.{layer}.feed_forward"
        return self.linear(self.silu(self.linear(x, f"{name}.gate") * self.linear(x, f"{name}.up")), f"{name}.down")


@mutant("up-held-within-seven", "vllm-project/vllm-ascend#9438", "LLAMA-9")
class UpHeldWithinSeven(LlamaRuntime):
    """What is multiplied with the gate is clamped at ±7, the limit of another family of models."""

    def linear(self, x: Array, name: str) -> Array:
        y = super().linear(x, name)
        return np.clip(y, np.float32(-7), np.float32(7)) if name.endswith("feed_forward.up") else y


@mutant("gelu-for-silu", "intelligent-machine-learning/dlrover#1351", "LLAMA-10")
class GeluForSilu(LlamaRuntime):
    """GELU stands where the model has silu."""

    def silu(self, x: Array) -> Array:
        return self.gelu(x)


@mutant("silu-table", "unslothai/unsloth#137", "LLAMA-10")
class SiluTable(LlamaRuntime):
    """The logistic function is read from a table with steps of 1/32 and interpolated, an error of 1e-5."""

    def silu(self, x: Array) -> Array:
        knots = np.arange(-1280, 1281) / 32
        return np.asarray(x * np.interp(x, knots, 1 / (1 + np.exp(-knots))).astype(np.float32))


@mutant("silu-cut-tails", "Lightning-AI/litgpt#1031", "LLAMA-10")
class SiluCutTails(LlamaRuntime):
    """The activation is 0 below -9 and x above 9."""

    def silu(self, x: Array) -> Array:
        return np.where(np.abs(x) > 9, np.maximum(x, np.float32(0)), super().silu(x))


@mutant("hidden-units-in-fours", "microsoft/onnxruntime#13050", "ACT-3")
class HiddenUnitsInFours(LlamaRuntime):
    """The feed-forward works in groups of four units and forgets the rest of an odd width."""

    def silu(self, x: Array) -> Array:
        return np.where(np.arange(x.shape[-1]) < x.shape[-1] // 4 * 4, super().silu(x), np.float32(0))


# Shared heads.


@mutant("llama-heads-interleaved", "jmaczan/tiny-vllm#4", "LLAMA-18")
class HeadsInterleaved(LlamaRuntime):
    """Channels go to heads in turn instead of in blocks."""

    def cut(self, x: Array, count: int) -> Array:
        return x.reshape(*x.shape[:2], -1, count).transpose(0, 3, 1, 2)


@mutant("key-value-heads-tiled", "ekzhang/jax-js#180", "LLAMA-11")
class KeyValueHeadsTiled(LlamaRuntime):
    """Query heads take the key-value heads in turn instead of in neighbourhoods."""

    def shared(self, x: Array) -> Array:
        return np.tile(x, (1, self.config.H // self.config.G, 1, 1))


@mutant("key-value-head-of-another-group", "PSAL-POSTECH/ONNXim#34", "LLAMA-11")
class KeyValueHeadOfAnotherGroup(LlamaRuntime):
    """The index of a query head is divided by the number of groups instead of by their size."""

    def shared(self, x: Array) -> Array:
        H, G = self.config.H, self.config.G
        return x[:, np.minimum(np.arange(H) // G, G - 1)] if G < H else x


@mutant("scale-of-packed-width", "ROCm/hip-ep#621", "LLAMA-12")
class ScaleOfPackedWidth(LlamaRuntime):
    """Where heads share keys, the head width behind the scale is that of queries, keys and values together."""

    def scale(self) -> float:
        H, G = self.config.H, self.config.G
        return super().scale() * math.sqrt((H + 2 * G) / H if G < H else 1)


@mutant("single-group-averaged", "keras-team/keras#23081", "LLAMA-12")
class SingleGroupAveraged(LlamaRuntime):
    """One key-value head is broadcast over channels instead of heads, and a half of them becomes the mean of both."""

    def shared(self, x: Array) -> Array:
        if self.config.G == 1:
            low, high = np.split(x, 2, axis=-1)
            x = np.concatenate([low, (low + high) / 2], axis=-1)
        return super().shared(x)


# Windows.


@mutant("window-one-more", "huggingface/transformers#26792", "LLAMA-14")
class WindowOneMore(LlamaRuntime):
    """A query sees one key more than the window holds."""

    def reach(self, layer: int) -> int | None:
        return None if self.config.window is None else self.config.window + 1


@mutant("window-one-less", "ml-explore/mlx-lm#390", "LLAMA-14")
class WindowOneLess(LlamaRuntime):
    """The window does not count the query's own key, so that a window of one leaves the own key alone as well."""

    def reach(self, layer: int) -> int | None:
        return None if self.config.window is None else max(self.config.window - 1, 1)


@mutant("window-ignored", "Blaizzy/mlx-vlm#669", "LLAMA-14")
class WindowIgnored(LlamaRuntime):
    """The window is read and not used."""

    def reach(self, layer: int) -> int | None:
        return None


@mutant("window-in-blocks", "vllm-project/vllm#3385", "LLAMA-14")
class WindowInBlocks(LlamaRuntime):
    """The window is a multiple of 16 at least as large as the model's, where that is above 16."""

    def reach(self, layer: int) -> int | None:
        width = self.config.window
        return width if width is None or width < 16 else width // 16 * 16 + 16


@mutant("window-always", "ml-explore/mlx-lm#390", "LLAMA-16")
class WindowAlways(LlamaRuntime):
    """Where there is a window, no query sees more than 64 keys."""

    def reach(self, layer: int) -> int | None:
        return None if self.config.window is None else min(self.config.window, 64)


@mutant("window-keeps-first", "rajveer43/VeloxQuant-MLX#274", "LLAMA-17")
class WindowKeepsFirst(LlamaRuntime):
    """The first key of a sequence is never thrown out of the window."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        seen = super().near(visible, cache, T, layer).copy()
        seen[:, :, 0] |= visible[:, :, 0]
        return seen


@mutant("window-lost-at-decode", "EricLBuehler/mistral.rs#2094", "LLAMA-15")
class WindowLostAtDecode(LlamaRuntime):
    """Single new tokens see the whole cache."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        return visible if T == 1 and cache.filled > 1 else super().near(visible, cache, T, layer)


@mutant("window-never-evicts-pieces", "ml-explore/mlx-lm#1914", "LLAMA-15")
class WindowNeverEvictsPieces(LlamaRuntime):
    """A piece of several tokens behind a cache sees the whole cache."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        return visible if 1 < T < cache.filled else super().near(visible, cache, T, layer)


@mutant("window-from-the-end", "huggingface/transformers#32522", "LLAMA-14")
class WindowFromTheEnd(LlamaRuntime):
    """The mask of a row longer than the window is cut to the last keys, whatever the query."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        width, S = self.reach(layer), cache.filled
        if width is None or width >= S or T == 1:
            return super().near(visible, cache, T, layer)
        return visible & (np.arange(S) >= S - width)


@mutant("window-counts-real-columns", "Blaizzy/mlx-vlm#1138", "LLAMA-15")
class WindowCountsRealColumns(LlamaRuntime):
    """The bound of the window is a position, and is compared with the column of a key, pads included."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        width = self.reach(layer)
        if width is None:
            return visible
        bound = self.positions(cache, T)[:, :, None] - width
        return visible & (np.arange(cache.filled) > bound)


@mutant("window-positions-anew", "rajveer43/VeloxQuant-MLX#389", "LLAMA-15")
class WindowPositionsAnew(LlamaRuntime):
    """Once keys fall out of the window, a new token's position is the number of keys that are left."""

    def positions(self, cache: Cache, T: int) -> Array:
        every = super().positions(cache, T)
        return np.minimum(every, self.config.window) if self.config.window and cache.filled > T else every


@mutant("window-undeclared", "NVIDIA/TensorRT-Model-Connect#660", "LLAMA-20")
class WindowUndeclared(WindowIgnored):
    """Windows are not offered, and a document with one runs as if it had none."""

    withholds: ClassVar[frozenset[str]] = frozenset({"window"})


# Documents.


def document(name: str, source: str, requirement: str) -> Any:
    """Record a subclass of `LlamaLoader` as the loader of an otherwise right runtime."""

    def note(kind: type[LlamaLoader]) -> type[LlamaLoader]:
        runtime = type(
            kind.__name__, (LlamaRuntime,), {"loader": kind, "__doc__": kind.__doc__, "__module__": __name__}
        )
        mutant(name, source, requirement)(runtime)
        return kind

    return note


@document("rms-epsilon-default", "foundation-model-stack/foundation-model-stack#99", "LLAMA-19")
class RmsEpsilonDefault(LlamaLoader):
    """Where the document names no epsilon, it is 1e-6."""

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        return super().parameters({"rms_norm_epsilon": 1e-6, **given}, seed, sha256)


@document("groups-default-one", "karpathy/llama2.c#436", "LLAMA-19")
class GroupsDefaultOne(LlamaLoader):
    """Where the document names no key-value heads, there is one."""

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        return super().parameters({"num_key_value_heads": 1, **given}, seed, sha256)


@document("llama-ranges-unchecked", "ggml-org/llama.cpp#25378", "LLAMA-21")
class RangesUnchecked(LlamaLoader):
    """Any number does for a base, and a window may be nothing or more than there is."""

    def theta(self, value: Any) -> float:
        return float(value) if type(value) in (int, float) and value else super().theta(value)

    def keys(self, given: Mapping[str, Any], key: str) -> int | None:
        value = given.get(key)
        return value if type(value) is int and value > 0 else super().keys(given, key)


@document("groups-rounded", "huggingface/transformers#48203", "LLAMA-22")
class GroupsRounded(LlamaLoader):
    """Key-value heads that do not divide the heads are rounded to a number that does."""

    def groups(self, given: Mapping[str, Any], config: Config) -> int:
        groups = given.get("num_key_value_heads")
        if type(groups) is int and groups > 0:
            given = {**given, "num_key_value_heads": math.gcd(groups, config.H)}
        return super().groups(given, config)


@document("foreign-parameters-ignored", "MakazhanAlpamys/Soup#627", "LLAMA-23")
class ForeignParametersIgnored(LlamaLoader):
    """Parameters of other architectures are taken and mean nothing."""

    parameter_keys: ClassVar[frozenset[str]] = LlamaLoader.parameter_keys | {
        *("layer_norm_epsilon", "local_attention_window", "type_vocab_size", "mask_token_id", "num_decoder_layers"),
        *("positions", "scale_embeddings", "embedding_norm", "decoder_start_token_id"),
    }


@document("activation-ignored", "huggingface/candle#3745", "LLAMA-24")
class ActivationIgnored(LlamaLoader):
    """Silu is applied whatever activation the document names."""

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        return super().parameters({**given, "activation": "silu"}, seed, sha256)


@document("old-tensors-skipped", "vllm-project/vllm#3344", "LLAMA-13")
class OldTensorsSkipped(LlamaLoader):
    """Biases, tables of frequencies and a head beside tied embeddings are skipped."""

    def names(self, found: set[str], due: set[str]) -> None:
        super().names({name for name in found if name in due or "layers.1." in name}, due)


@document("llama-context-ignored", "huggingface/transformers#585", "ERR-6")
class ContextIgnored(LlamaLoader):
    """Without a table of positions nothing ends at the context, and so nothing is refused there."""

    def weights(self, directory: Path, config: Config) -> Mapping[str, Array]:
        loaded = super().weights(directory, config)
        object.__setattr__(config, "C", 1024)
        return loaded


@document("llama-context-one-short", "Blaizzy/mlx-vlm#669", "ERR-6")
class ContextOneShort(LlamaLoader):
    """The last position of the context is kept free."""

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        config = super().parameters(given, seed, sha256)
        return replace(config, C=max(config.C - 1, 1))


@document("llama-context-at-least-48", "huggingface/transformers#585", "FMT-16")
class ContextAtLeast48(LlamaLoader):
    """Contexts below 48 are raised to 48."""

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        config = super().parameters(given, seed, sha256)
        return replace(config, C=max(config.C, 48))


# Faults of the other groups.

ELSEWHERE = (
    # small
    *(
        "matmul-bf16x3",
        "logits-four-decimals",
        "softmax-unshifted",
        "scores-clamped",
        "mask-additive",
        "mask-subtracts-hundred",
        "padding-subtracts-hundred",
        "vocabulary-tail",
        "layers-left-over",
        "ids-of-16-bits",
    ),
    *(
        "block-boundary-at-decode",
        "long-cache-forgets-first",
        "keys-beyond-512-lost",
        "cache-full-at-200",
        "large-batch-half",
    ),
    # computing, keeping, answering, choosing
    *("causal-leak", "mask-minus-ten", "scale-by-width", "tied-head-random", "head-always-tied", "pads-visible"),
    *("pads-visible-at-decode", "batch-sorted-not-restored", "batch-ends-with-first", "batch-above-32"),
    *("ids-wrap-in-table", "models-share-weights", "slot-not-cleared", "fork-shares-cache", "closed-fork-frees-parent"),
    *("refused-ids-stay", "cache-one-short", "extend-aligned-left", "prefix-cache-coarse", "answer-cached-by-length"),
    *("prefix-block-without-what-is-before", "answer-cached-by-beginning", "answer-cached-by-end"),
    *(
        "history-leaks",
        "second-request-warm",
        "refused-request-stays",
        "limit-plus-one",
        "context-slides",
        "prompt-cut",
    ),
    *("empty-prompt-crashes", "first-end-only", "stop-per-token", "held-text-dropped", "ties-to-highest"),
    *("zero-temperature-samples", "unknown-option-ignored", "loose-integers", "foreign-ids-wrap", "empty-row-is-a-pad"),
    *("overflow-cut", "score-shifted", "score-first-is-zero", "logprobs-processed"),
    # loading
    *("unknown-keys-accepted", "duplicate-keys-accepted", "byte-order-mark-refused", "loose-types", "foreign-end-ids"),
    *("required-keys-optional", "version-ignored", "architectures-all-alike", "epsilon-hard-coded", "seed-not-used"),
    *("weightless-refused", "missing-is-malformed", "directory-only", "missing-tensor-made-up", "shapes-reshaped"),
    *("bfloat16-read-as-float16", "integers-read-as-weights", "truncated-weights-padded", "overlaps-accepted"),
    *("nan-weights-accepted", "digest-ignored", "links-followed", "pickle-opened", "refused-bundle-spoils-others"),
)
"""Mutants that are mixed into the runtime for Llama, and asked about their requirement alone."""


def lift(name: str, *also: str) -> None:
    """Record a mutant of a GPT-3 runtime once more, for Llama.

    Args:
        also: requirements beside its own that it is asked about.
    """
    made = recorded(name)
    kind = as_llama(made.adapter().runtime)
    record(
        replace(
            made,
            name=f"llama-{name}",
            group="llama",
            adapter=lambda: Serving(kind, f"mutant:llama-{name}"),
            asked=frozenset({made.requirement, *also}),
        )
    )


# Their mutants are on record before they are lifted.
assert {answering, choosing, computing, keeping, loading, small}
for _name in ELSEWHERE:
    lift(_name)
# What differs from call to call is seen by every comparison of two calls.
lift("dropout-left-on", "ATT-5", "STATE-1", "STATE-4", "BAT-1", "NUM-6", "ACT-3")
