"""Mutants whose fault is small, or shows only on some inputs.

On an ordinary random model each of them stays within a hundred honest float32 errors; several make no error at all
there. They are the reason for the other probes and for a bound that is derived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import ml_dtypes
import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.runtime import Cache, Runtime
from llmasos_conformance.protocol import Array


def half(x: Array) -> Array:
    """x as bfloat16 keeps it, in float32."""
    return np.asarray(x.astype(ml_dtypes.bfloat16).astype(np.float32))


def sixteen_bits(x: Array) -> Array:
    """x as the sum of two bfloat16 values: 16 significant bits."""
    return half(x) + half(x - half(x))


@mutant("epsilon-too-small", "keras-team/keras-hub#642", "NRM-1")
class EpsilonTooSmall(Runtime):
    """The layer norm's epsilon is 1e-6 where the model says 1e-5."""

    def epsilon(self) -> float:
        return self.config.epsilon / 10


@mutant("epsilon-doubled", "huggingface/candle#271", "NRM-1")
class EpsilonDoubled(Runtime):
    """The layer norm's epsilon is 2e-5 where the model says 1e-5."""

    def epsilon(self) -> float:
        return self.config.epsilon * 2


@mutant("epsilon-outside-root", "pytorch/pytorch#108072", "NRM-1")
class EpsilonOutsideRoot(Runtime):
    """Epsilon is added to the standard deviation instead of the variance."""

    def normalise(self, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        return np.asarray(
            centred / (np.sqrt((centred * centred).mean(-1, keepdims=True)) + np.float32(self.config.epsilon))
        )


@mutant("rsqrt-two-steps", "google/gemma_pytorch#67", "NUM-1")
class RsqrtTwoSteps(Runtime):
    """1/sqrt is a table value improved by two Newton steps, as fast kernels do, which leaves an error of 5e-6."""

    def normalise(self, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True) + np.float32(self.epsilon())
        y = (np.int32(0x5F3759DF) - (variance.view(np.int32) >> 1)).view(np.float32)
        for _ in range(2):
            y = y * (np.float32(1.5) - np.float32(0.5) * variance * y * y)
        return np.asarray(centred * y)


@mutant("gelu-table", "huggingface/transformers#29402", "NUM-1")
class GeluTable(Runtime):
    """tanh is read from a table with steps of 1/64 and interpolated, an error of 2e-5."""

    def gelu(self, x: Array) -> Array:
        z = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        knots = np.arange(-640, 641) / 64
        return np.asarray(0.5 * x * (1 + np.interp(z, knots, np.tanh(knots)).astype(np.float32)))


@mutant("gelu-short-constant", "huggingface/transformers#29402", "ACT-1")
class GeluShortConstant(Runtime):
    """sqrt(2/π) is written with three digits."""

    def gelu(self, x: Array) -> Array:
        return np.asarray(0.5 * x * (1 + np.tanh(0.798 * (x + 0.044715 * x * x * x))))


@mutant("gelu-cut-tails", "Lightning-AI/litgpt#1031", "ACT-1")
class GeluCutTails(Runtime):
    """The activation is 0 below -4 and x above 4."""

    def gelu(self, x: Array) -> Array:
        return np.where(np.abs(x) > 4, np.maximum(x, np.float32(0)), super().gelu(x))


@mutant("softmax-temperature", "InternLM/lmdeploy#2842", "ATT-1")
class SoftmaxTemperature(Runtime):
    """The attention's softmax runs at temperature 1.0001."""

    def scale(self) -> float:
        return super().scale() * 1.0001


@mutant("softmax-drops-small", "vllm-project/vllm#49716", "NUM-2")
class SoftmaxDropsSmall(Runtime):
    """Attention weights below 1e-4 are skipped as if they were nothing."""

    def softmax(self, scores: Array) -> Array:
        p = super().softmax(scores)
        return np.where(p < 1e-4, np.float32(0), p)


@mutant("softmax-damped", "pytorch/pytorch#103749", "NUM-1")
class SoftmaxDamped(Runtime):
    """The softmax's sum gets 1e-5 added, against a division by zero in masked rows."""

    def softmax(self, scores: Array) -> Array:
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(e / (e.sum(-1, keepdims=True) + np.float32(1e-5)))


@mutant("softmax-unshifted", "google-deepmind/simply#42", "ATT-2")
class SoftmaxUnshifted(Runtime):
    """The softmax does not subtract the maximum; harmless until a score passes 88."""

    def softmax(self, scores: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            e = np.exp(scores)
            return np.asarray(e / e.sum(-1, keepdims=True))


@mutant("scores-clamped", "InternLM/lmdeploy#2842", "ATT-2")
class ScoresClamped(Runtime):
    """Scores are clamped at ±30, as some kernels do against overflow."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return super().mask(np.clip(scores, -30, 30), visible)


@mutant("mask-minus-thirty", "pytorch/pytorch#103749", "ATT-3")
class MaskMinusThirty(Runtime):
    """What must not be seen gets a score of -30: nothing on an ordinary model, a leak where scores are large."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return np.where(visible[:, None], scores, np.float32(-30))


@mutant("mask-additive", "microsoft/onnxruntime#14363", "ATT-3")
class MaskAdditive(Runtime):
    """What must not be seen has 40 subtracted from its score; a score that is larger than the others by more shows."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return scores - np.where(visible[:, None], np.float32(0), np.float32(40))


@mutant("mask-subtracts-hundred", "microsoft/onnxruntime#14363", "ATT-3")
class MaskSubtractsHundred(Runtime):
    """What must not be seen has 100 subtracted from its score: enough for every score that a random model has."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return scores - np.where(visible[:, None], np.float32(0), np.float32(100))


@mutant("padding-subtracts-hundred", "microsoft/onnxruntime#14363", "BAT-2")
class PaddingSubtractsHundred(Runtime):
    """Padding has 100 subtracted from its score; what lies ahead is excluded."""

    def visible(self, cache: Cache, T: int) -> Array:
        self.padded = ~cache.real[:, None, None, : cache.filled]
        S = cache.filled
        return np.broadcast_to(np.arange(S) <= np.arange(S - T, S)[:, None], (len(cache.real), T, S))

    def mask(self, scores: Array, visible: Array) -> Array:
        return super().mask(scores, visible) - np.where(self.padded, np.float32(100), np.float32(0))


@mutant("matmul-bf16x3", "google/gemma_pytorch#67", "NUM-1")
class MatmulBf16x3(Runtime):
    """float32 products are emulated with three products of bfloat16 halves."""

    def matmul(self, a: Array, b: Array) -> Array:
        high_a, high_b = half(a), half(b)
        low_a, low_b = half(a - high_a), half(b - high_b)
        return np.asarray(high_a @ high_b + high_a @ low_b + low_a @ high_b)


@mutant("activations-16-bit", "vllm-project/vllm#3653", "NUM-1")
class Activations16Bit(Runtime):
    """The residual stream is kept in 16 significant bits."""

    def residual(self, x: Array, branch: Array) -> Array:
        return sixteen_bits(x + branch)


@mutant("residual-shrinks", "Lightning-AI/litgpt#1031", "NUM-1")
class ResidualShrinks(Runtime):
    """The residual stream is multiplied by 1 - 1e-5 at every step."""

    def residual(self, x: Array, branch: Array) -> Array:
        return x * np.float32(1 - 1e-5) + branch


@mutant("cache-16-bit", "vllm-project/vllm#49716", "NUM-1")
class Cache16Bit(Runtime):
    """Keys and values are cached in 16 significant bits."""

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        super().store(cache, layer, sixteen_bits(keys), sixteen_bits(values))


@mutant("cache-half-at-decode", "InfiniTensor/InfiniLM#553", "CACHE-1")
class CacheHalfAtDecode(Runtime):
    """Keys and values of single new tokens are cached as float16; prompts are not."""

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        if keys.shape[2] == 1:
            keys, values = keys.astype(np.float16).astype(np.float32), values.astype(np.float16).astype(np.float32)
        super().store(cache, layer, keys, values)


@mutant("logits-four-decimals", "abetlen/llama-cpp-python#349", "NUM-4")
class LogitsFourDecimals(Runtime):
    """Logits are rounded to four decimals on their way out."""

    def head(self, x: Array) -> Array:
        return np.round(super().head(x), 4)


@mutant("logits-clamped", "InternLM/lmdeploy#2842", "NUM-3")
class LogitsClamped(Runtime):
    """Logits are clamped at ±50."""

    def head(self, x: Array) -> Array:
        return np.clip(super().head(x), -50, 50)


@mutant("last-row-of-positions", "ollama/ollama#17889", "POS-2")
class LastRowOfPositions(Runtime):
    """The last position of the context uses the embedding of the one before."""

    def embed(self, ids: Array, positions: Array) -> Array:
        return super().embed(ids, np.minimum(positions, self.config.C - 2))


@mutant("large-batch-half", "NVIDIA/TensorRT-LLM#1999", "BAT-1")
class LargeBatchHalf(Runtime):
    """From three rows on a kernel is chosen that keeps keys and values as float16."""

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        if keys.shape[0] >= 3:
            keys, values = keys.astype(np.float16).astype(np.float32), values.astype(np.float16).astype(np.float32)
        super().store(cache, layer, keys, values)


@mutant("block-boundary-at-decode", "tanishqkumar/ssd#23", "CACHE-2")
class BlockBoundaryAtDecode(Runtime):
    """With a cache of more than one block of eight, a single new token does not see the first key of its block."""

    def visible(self, cache: Cache, T: int) -> Array:
        seen, first = super().visible(cache, T), (cache.filled - 1) // 8 * 8
        if T == 1 and 0 < first < cache.filled - 1:
            seen[:, :, first] = False
        return seen


@mutant("width-tail-dropped", "microsoft/onnxruntime#13050", "NUM-2")
class WidthTailDropped(Runtime):
    """The feed-forward kernel works in groups of four channels and forgets the rest of an odd width."""

    def gelu(self, x: Array) -> Array:
        return np.where(np.arange(x.shape[-1]) < x.shape[-1] // 4 * 4, super().gelu(x), np.float32(0))


@mutant("vocabulary-tail", "huggingface/transformers#3108", "NUM-2")
class VocabularyTail(Runtime):
    """The head runs in tiles of four ids; a last tile of one id repeats the one before it."""

    def head(self, x: Array) -> Array:
        logits = super().head(x)
        if logits.shape[-1] % 4 == 1:
            logits[..., -1] = logits[..., -2]
        return logits


@mutant("attention-weights-fixed-point", "google/gemma_pytorch#67", "NUM-1")
class AttentionWeightsFixedPoint(Runtime):
    """Attention weights are kept as multiples of 2⁻¹⁶."""

    def softmax(self, scores: Array) -> Array:
        return np.asarray(np.round(super().softmax(scores) * np.float32(65536)) / np.float32(65536))


@mutant("long-cache-forgets-first", "Blaizzy/mlx-vlm#669", "ATT-7")
class LongCacheForgetsFirst(Runtime):
    """From the 33rd key on the oldest is overwritten, as in a ring that is one too small."""

    def visible(self, cache: Cache, T: int) -> Array:
        S = cache.filled
        return super().visible(cache, T) & (np.arange(S) > np.arange(S - T, S)[:, None] - 32)


@mutant("keys-beyond-512-lost", "Nehanth/swarmllm#31", "ATT-7")
class KeysBeyond512Lost(Runtime):
    """There is room for 512 keys, and from the next on the oldest is overwritten."""

    def visible(self, cache: Cache, T: int) -> Array:
        S = cache.filled
        return super().visible(cache, T) & (np.arange(S) > np.arange(S - T, S)[:, None] - 512)


@mutant("cache-full-at-200", "Nehanth/swarmllm#31", "GEN-1")
class CacheFullAt200(Runtime):
    """There is room for 200 positions, and each new token behind them takes the place of the last."""

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        if ids.shape[1] == 1 and cache.filled >= 200:
            cache.filled -= 1
        return super().advance(cache, ids, real)


def shared_out(layers: int, stages: int) -> list[int]:
    """Layers that equal stages run, from the first on; those left over are run by none."""
    return list(range(layers // stages * stages if layers >= stages else layers))


@mutant("layers-left-over", "NVIDIA/Megatron-LM#1304", "NUM-2")
class LayersLeftOver(Runtime):
    """Four stages have as many layers each, and what is left over is run by none."""

    def depth(self) -> Sequence[int]:
        return shared_out(self.config.N, 4)


@mutant("layers-between-stages", "ml-explore/mlx-lm#1688", "NUM-2")
class LayersBetweenStages(Runtime):
    """The last of five stages counts its layers from the end, the others theirs from the beginning."""

    def depth(self) -> Sequence[int]:
        N, each = self.config.N, self.config.N // 5
        return [n for n in range(N) if n < 4 * each or n >= N - each] if each else range(N)


@mutant("ids-of-16-bits", "huggingface/transformers#2825", "NUM-5")
class IdsOf16Bits(Runtime):
    """Ids are kept in 16 bits, so that those from 65536 on are read as others."""

    def embed(self, ids: Array, positions: Array) -> Array:
        return super().embed(ids.astype(np.uint16), positions)


@mutant("ids-in-half-precision", "huggingface/accelerate#1405", "NUM-5")
class IdsInHalfPrecision(Runtime):
    """Ids pass through float16, which holds them one by one up to 2048."""

    def embed(self, ids: Array, positions: Array) -> Array:
        with np.errstate(over="ignore"):
            halves = ids.astype(np.float16).astype(np.float32)
        return super().embed(np.minimum(halves, self.config.V - 1).astype(np.int64), positions)


@mutant("choice-among-65536", "huggingface/swift-transformers#384", "GEN-1")
class ChoiceAmong65536(Runtime):
    """The largest logit is looked for among the first 65536."""

    def greedy(self, logits: Array) -> int:
        return super().greedy(logits[: 2**16])


@mutant("last-position-half", "EricLBuehler/mistral.rs#2094", "NUM-1")
class LastPositionHalf(Runtime):
    """The last position runs through another kernel, whose feed-forward input is float16."""

    def feed_forward(self, x: Array, layer: int) -> Array:
        last = x[:, -1:].astype(np.float16).astype(np.float32)
        return super().feed_forward(np.concatenate([x[:, :-1], last], axis=1), layer)


@mutant("head-input-16-bit", "huggingface/transformers#29402", "NUM-1")
class HeadInput16Bit(Runtime):
    """The head's input is rounded to 16 significant bits."""

    def head(self, x: Array) -> Array:
        return super().head(sixteen_bits(x))
