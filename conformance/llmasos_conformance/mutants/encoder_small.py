"""Mutants of the runtimes for BERT and the Transformer whose fault is small, or shows only on some inputs.

On the plain probe of its architecture each of them stays within a hundred honest float32 errors; several make no error
at all there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from llmasos_conformance.mutants.bert_runtime import BertRuntime
from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.encoders import EncoderRuntime
from llmasos_conformance.mutants.runtime import Cache
from llmasos_conformance.mutants.small import half, shared_out, sixteen_bits
from llmasos_conformance.mutants.transformer_runtime import TransformerRuntime
from llmasos_conformance.protocol import Array

# Norms.


@mutant("bert-epsilon-1e-5", "nomic-ai/gpt4all#1946", "NRM-1")
class BertEpsilon(BertRuntime):
    """Every norm has epsilon 1e-5 where the model says 1e-12."""

    def epsilon(self) -> float:
        return 1e-5


@mutant("bert-epsilon-in-blocks", "keras-team/keras-hub#642", "NRM-1")
class BertEpsilonInBlocks(BertRuntime):
    """The norm behind the embeddings has the model's epsilon, those of the layers 1e-5."""

    inside = False

    def layer_norm(self, x: Array, name: str) -> Array:
        self.inside = name.startswith("layers.")
        return super().layer_norm(x, name)

    def epsilon(self) -> float:
        return 1e-5 if self.inside else super().epsilon()


@mutant("bert-epsilon-wired", "huggingface/transformers#585", "FMT-16")
class BertEpsilonWired(BertRuntime):
    """The epsilon is 1e-12, whatever the model says; right for every published BERT."""

    def epsilon(self) -> float:
        return 1e-12


@mutant("trf-epsilon-wired", "huggingface/transformers#585", "NRM-1")
class TransformerEpsilonWired(TransformerRuntime):
    """The epsilon is the library's default of 1e-5, whatever the model says."""

    def epsilon(self) -> float:
        return 1e-5


@mutant("trf-epsilon-1e-6", "huggingface/candle#271", "NRM-1")
class TransformerEpsilon(TransformerRuntime):
    """Every norm has epsilon 1e-6 where the model says 1e-5."""

    def epsilon(self) -> float:
        return self.config.epsilon / 10


class PrunedBlock(EncoderRuntime):
    """A block that adds nothing counts as pruned, and its norm goes with it."""

    pruned = False

    def residual(self, x: Array, branch: Array) -> Array:
        self.pruned = not branch.any()
        return x + branch

    def layer_norm(self, x: Array, name: str) -> Array:
        pruned, self.pruned = self.pruned, False
        return x if pruned else super().layer_norm(x, name)


@mutant("bert-pruned-block-without-norm", "pyf98/DPHuBERT#3", "BERT-5")
class BertPrunedBlock(PrunedBlock, BertRuntime):
    """A block that adds nothing is taken for pruned, and the norm behind it is left out too."""


@mutant("trf-pruned-block-without-norm", "pyf98/DPHuBERT#3", "TRF-5")
class TransformerPrunedBlock(PrunedBlock, TransformerRuntime):
    """In a Transformer, a block that adds nothing is taken for pruned, and the norm behind it is left out too."""


class SilentMap(EncoderRuntime):
    """A map whose matrix is all zeros counts as pruned, and its bias goes with it."""

    def linear(self, x: Array, name: str) -> Array:
        y = super().linear(x, name)
        return y if self.weights[f"{name}.weight"].any() else np.zeros_like(y)


@mutant("bert-silent-map-without-bias", "huggingface/transformers#27044", "BERT-6")
class BertSilentMap(SilentMap, BertRuntime):
    """A map whose matrix is all zeros is taken for pruned, and its bias is left out too."""


@mutant("trf-silent-map-without-bias", "huggingface/transformers#27044", "TRF-9")
class TransformerSilentMap(SilentMap, TransformerRuntime):
    """In a Transformer, a map whose matrix is all zeros is taken for pruned, and its bias is left out too."""


# Activations.


@mutant("bert-erf-drifts", "tensorflow/mlir-hlo#62", "BERT-8")
class BertErfDrifts(BertRuntime):
    """The error function is a fraction that is not clamped, and leaves 1 beyond 4.5, where models rarely are."""

    def erf(self, x: Array) -> Array:
        beyond = np.maximum(np.abs(x) - np.float32(4.5), np.float32(0))
        return np.asarray(super().erf(x) + np.sign(x) * np.float32(1e-3) * beyond, dtype=x.dtype)


@mutant("bert-erf-three-terms", "tenstorrent/tt-metal#1262", "BERT-8")
class BertErfThreeTerms(BertRuntime):
    """The error function is a polynomial of three terms times an exponential, wrong by up to 2.5e-5."""

    def erf(self, x: Array) -> Array:
        t = 1 / (1 + np.float32(0.47047) * np.abs(x))
        series = t * (np.float32(0.3480242) + t * (np.float32(-0.0958798) + t * np.float32(0.7478556)))
        return np.asarray(np.sign(x) * (1 - series * np.exp(-x * x)), dtype=x.dtype)


@mutant("bert-gelu-cut-tails", "Lightning-AI/litgpt#1031", "BERT-8")
class BertGeluCutTails(BertRuntime):
    """The activation is 0 below -4 and x above 4."""

    def exact_gelu(self, x: Array) -> Array:
        return np.where(np.abs(x) > 4, np.maximum(x, np.float32(0)), super().exact_gelu(x))


@mutant("trf-gelu-is-tanh", "Blaizzy/mlx-embeddings#81", "TRF-6")
class TransformerGeluIsTanh(TransformerRuntime):
    """A document's gelu is computed as gelu_tanh; models with relu do not notice."""

    def exact_gelu(self, x: Array) -> Array:
        return self.gelu(x)


# Embeddings and the head.


@mutant("bert-first-token-of-another-type", "huggingface/transformers#2603", "BERT-17")
class BertFirstTokenOfAnotherType(BertRuntime):
    """Where no types are given and a model has more than two, its first token has the last one, as in XLNet."""

    def untyped(self, row: Sequence[int]) -> list[int]:
        return [self.config.types - 1 if self.config.types > 2 else 0, *super().untyped(row)[1:]]


@mutant("trf-faint-rows-are-padding", "mirage-project/mirage#755", "TRF-7")
class TransformerFaintRows(TransformerRuntime):
    """Rows of a tied head that are shorter than 1.5 are taken for padding of the vocabulary."""

    def head(self, x: Array) -> Array:
        padding = self.config.tied & (np.linalg.norm(self.weights["token_embedding"], axis=-1) < 1.5)
        return np.where(padding, np.float32(-1e4), super().head(x))


# Attention and masks.


@mutant("bert-mask-minus-twenty", "joeynmt/joeynmt#151", "BAT-2")
class BertMaskMinusTwenty(BertRuntime):
    """Pads have 20 subtracted from their score, which excludes them nearly."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return scores - np.where(visible[:, None], np.float32(0), np.float32(20))


@mutant("bert-mask-subtracts-hundred", "microsoft/onnxruntime#14363", "BAT-2")
class BertMaskSubtractsHundred(BertRuntime):
    """Padding has 100 subtracted from its score: enough for every score that a random model has."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return scores - np.where(visible[:, None], np.float32(0), np.float32(100))


@mutant("trf-mask-subtracts-hundred", "microsoft/onnxruntime#14363", "TRF-8")
class TrfMaskSubtractsHundred(TransformerRuntime):
    """What must not be seen has 100 subtracted from its score: enough for every score that a random model has."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return scores - np.where(visible[:, None], np.float32(0), np.float32(100))


@mutant("trf-mask-minus-thirty", "pytorch/pytorch#103749", "TRF-8")
class TransformerMaskMinusThirty(TransformerRuntime):
    """Pads and the future get a score of -30: nothing on an ordinary model, a leak where scores are large."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return np.where(visible[:, None], scores, np.float32(-30))


@mutant("bert-scores-clamped", "InternLM/lmdeploy#2842", "ATT-2")
class BertScoresClamped(BertRuntime):
    """Scores are clamped at ±20, as some kernels do against overflow."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return super().mask(np.clip(scores, -20, 20), visible)


@mutant("trf-softmax-unshifted", "google-deepmind/simply#42", "ATT-2")
class TransformerSoftmaxUnshifted(TransformerRuntime):
    """The softmax does not subtract the maximum; harmless until a score passes 88."""

    def softmax(self, scores: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            e = np.exp(scores)
            return np.asarray(e / e.sum(-1, keepdims=True))


@mutant("bert-softmax-drops-small", "vllm-project/vllm#49716", "BERT-1")
class BertSoftmaxDropsSmall(BertRuntime):
    """Attention weights below 1e-5 are skipped as if they were nothing, so that what is far away counts less."""

    def softmax(self, scores: Array) -> Array:
        p = super().softmax(scores)
        return np.where(p < 1e-5, np.float32(0), p)


@mutant("trf-cross-beyond-32", "Blaizzy/mlx-vlm#669", "TRF-1")
class CrossBeyond32(TransformerRuntime):
    """Cross-attention sees the last 32 positions of the source alone."""

    def cross_seen(self, cache: Any, T: int) -> Array:
        return np.asarray(super().cross_seen(cache, T) & (np.arange(cache.read) >= cache.read - 32))


# Positions.


@mutant("bert-last-position", "ollama/ollama#17889", "BERT-4")
class BertLastPosition(BertRuntime):
    """The last position of the context uses the embedding of the one before."""

    def counted(self, real: Array) -> Array:
        return np.minimum(super().counted(real), self.config.C - 2)


@mutant("trf-table-of-256", "Blaizzy/mlx-vlm#669", "TRF-3")
class TableOf256(TransformerRuntime):
    """The table of sinusoids ends after 256 positions, and the last of them stands for all others."""

    def sinusoid(self, positions: Array) -> Array:
        return super().sinusoid(np.minimum(positions, 255))


@mutant("trf-angles-half", "google/gemma_pytorch#67", "TRF-3")
class AnglesHalf(TransformerRuntime):
    """Positions enter the sinusoids as bfloat16, which is exact up to 256 and off by one beyond."""

    def sinusoid(self, positions: Array) -> Array:
        return super().sinusoid(positions.astype(ml_dtypes.bfloat16).astype(np.float64))


@mutant("trf-scale-half", "huggingface/transformers#29402", "TRF-4")
class ScaleHalf(TransformerRuntime):
    """The root of the width is rounded to bfloat16; exact where the width is a square."""

    def factor(self) -> float:
        return float(np.float32(super().factor()).astype(ml_dtypes.bfloat16))


# Precision and kernels.


@mutant("bert-residual-16-bit", "vllm-project/vllm#3653", "NUM-1")
class BertResidual16Bit(BertRuntime):
    """The residual stream is kept in 16 significant bits."""

    def residual(self, x: Array, branch: Array) -> Array:
        return sixteen_bits(x + branch)


@mutant("trf-matmul-bf16x3", "google/gemma_pytorch#67", "NUM-1")
class TransformerMatmulBf16x3(TransformerRuntime):
    """float32 products are emulated with three products of bfloat16 halves."""

    def matmul(self, a: Array, b: Array) -> Array:
        high_a, high_b = half(a), half(b)
        low_a, low_b = half(a - high_a), half(b - high_b)
        return np.asarray(high_a @ high_b + high_a @ low_b + low_a @ high_b)


@mutant("trf-logits-four-decimals", "abetlen/llama-cpp-python#349", "NUM-1")
class TransformerLogitsFourDecimals(TransformerRuntime):
    """Logits are rounded to four decimals on their way out."""

    def head(self, x: Array) -> Array:
        return np.round(super().head(x), 4)


@mutant("bert-pooler-half", "microsoft/onnxruntime#13050", "BERT-9")
class BertPoolerHalf(BertRuntime):
    """What goes into tanh is a float16; the head is not touched."""

    def pool_rows(self, x: Array, real: Array) -> Array:
        entering = self.linear(self.first(x, real), "pooler").astype(np.float16)
        return np.asarray(np.tanh(entering.astype(np.float32))[:, 0])


@mutant("bert-large-batch-half", "NVIDIA/TensorRT-LLM#1999", "BAT-1")
class BertLargeBatchHalf(BertRuntime):
    """From four rows on a kernel is chosen that keeps keys and values as float16."""

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        if len(keys) >= 4:
            keys, values = keys.astype(np.float16).astype(np.float32), values.astype(np.float16).astype(np.float32)
        return super().attend(query, keys, values, visible)


@mutant("trf-seventeen-rows", "NVIDIA/TensorRT-LLM#1999", "BAT-2")
class SeventeenRows(TransformerRuntime):
    """With more than sixteen rows the logits of the last ones are not a number."""

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        logits = super().run_pairs(rows, sources)
        return [row if i < 16 else row * np.float32(np.nan) for i, row in enumerate(logits)]


@mutant("trf-cache-half-at-decode", "InfiniTensor/InfiniLM#553", "TRF-15")
class CacheHalfAtDecode(TransformerRuntime):
    """Keys and values of single new target tokens are cached as float16; those of several are not."""

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        if keys.shape[2] == 1:
            keys, values = keys.astype(np.float16).astype(np.float32), values.astype(np.float16).astype(np.float32)
        super().store(cache, layer, keys, values)


@mutant("bert-width-tail-dropped", "microsoft/onnxruntime#13050", "NUM-2")
class BertWidthTailDropped(BertRuntime):
    """The feed-forward kernel works in groups of four channels and forgets the rest of an odd width."""

    def activate(self, x: Array) -> Array:
        return np.where(np.arange(x.shape[-1]) < x.shape[-1] // 4 * 4, super().activate(x), np.float32(0))


@mutant("bert-layers-left-over", "NVIDIA/Megatron-LM#1304", "NUM-2")
class BertLayersLeftOver(BertRuntime):
    """Four stages have as many layers each, and what is left over is run by none."""

    def depth(self) -> Sequence[int]:
        return shared_out(self.config.N, 4)


@mutant("bert-ids-of-16-bits", "huggingface/transformers#2825", "NUM-5")
class BertIdsOf16Bits(BertRuntime):
    """Ids are kept in 16 bits, so that those from 65536 on are read as others."""

    def embedded(self, ids: Array, positions: Array, types: Array) -> Array:
        return super().embedded(ids.astype(np.uint16), positions, types)


@mutant("trf-encoder-layers-left-over", "NVIDIA/Megatron-LM#1304", "NUM-2")
class EncoderLayersLeftOver(TransformerRuntime):
    """Four stages have as many layers of the encoder each, and what is left over is run by none."""

    def encoder_depth(self) -> int:
        return len(shared_out(self.config.N, 4))


@mutant("trf-decoder-layers-left-over", "NVIDIA/Megatron-LM#1304", "NUM-2")
class DecoderLayersLeftOver(TransformerRuntime):
    """Four stages have as many layers of the decoder each, and what is left over is run by none."""

    def decoder_depth(self) -> int:
        return len(shared_out(self.config.M, 4))


@mutant("trf-ids-of-16-bits", "huggingface/transformers#2825", "NUM-5")
class TrfIdsOf16Bits(TransformerRuntime):
    """Ids are kept in 16 bits, so that those from 65536 on are read as others."""

    def embedded(self, ids: Array, positions: Array, side: str) -> Array:
        return super().embedded(ids.astype(np.uint16), positions, side)


@mutant("trf-sinusoid-odd-width", "tensorflow/text#1122", "TRF-3")
class SinusoidOddWidth(TransformerRuntime):
    """Of an odd width the last channel gets no sinusoid."""

    def sinusoid(self, positions: Array) -> Array:
        made = super().sinusoid(positions)
        if self.config.D % 2:
            made[..., -1] = 0
        return made


@mutant("trf-scale-in-float16", "huggingface/transformers#37109", "TRF-4")
class ScaleInFloat16(TransformerRuntime):
    """The root of the width is a float16."""

    def factor(self) -> float:
        return float(np.float16(math.sqrt(self.config.D))) if self.config.scaled else 1.0
