"""Mutants that are plainly wrong in the forward pass."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import Opened
from llmasos_conformance.mutants.runtime import Cache, Runtime
from llmasos_conformance.protocol import Array


@mutant("gelu-erf", "huggingface/transformers#29402", "ACT-1")
class GeluErf(Runtime):
    """The exact GELU with erf stands where the model has the tanh form."""

    def gelu(self, x: Array) -> Array:
        return np.asarray(0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float32])(x / math.sqrt(2))))


@mutant("variance-unbiased", "srush/llama2.rs#21", "NRM-2")
class VarianceUnbiased(Runtime):
    """The variance is divided by D - 1."""

    def normalise(self, x: Array) -> Array:
        variance = x.var(-1, ddof=1, keepdims=True) + np.float32(self.epsilon())
        return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(variance))


@mutant("norm-without-mean", "linkedin/Liger-Kernel#74", "NRM-2")
class NormWithoutMean(Runtime):
    """Root-mean-square norm stands where the model has layer norm."""

    def normalise(self, x: Array) -> Array:
        return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.epsilon())))


@mutant("scale-by-width", "microsoft/onnxruntime#14363", "ATT-1")
class ScaleByWidth(Runtime):
    """Scores are divided by sqrt(D) instead of the root of the head width."""

    def scale(self) -> float:
        return math.sqrt(self.config.D)


@mutant("running-sum-not-rescaled", "Dao-AILab/flash-attention#2174", "ATT-2")
class RunningSumNotRescaled(Runtime):
    """Attention runs over eight keys at a time, and a new maximum does not rescale the sum of weights."""

    def softmax(self, scores: Array) -> Array:
        largest, total = np.full((*scores.shape[:-1], 1), -np.inf, np.float32), np.float32(0)
        for low in range(0, scores.shape[-1], 8):
            part = scores[..., low : low + 8]
            largest = np.maximum(largest, part.max(-1, keepdims=True))
            seen = np.where(np.isfinite(largest), largest, np.float32(0))  # a block of pads has no maximum
            total = total + np.exp(part - seen).sum(-1, keepdims=True)
        return np.asarray(np.exp(scores - largest) / total)


@mutant("causal-leak", "pytorch/pytorch#103082", "ATT-3")
class CausalLeak(Runtime):
    """Each position sees the one after it."""

    def visible(self, cache: Cache, T: int) -> Array:
        S = cache.filled
        return (np.arange(S) <= np.arange(S - T, S)[:, None] + 1) & cache.real[:, None, :S]


@mutant("mask-minus-ten", "TransformerLensOrg/TransformerLens#1005", "ATT-3")
class MaskMinusTen(Runtime):
    """What must not be seen gets a score of -10 instead of minus infinity."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return np.where(visible[:, None], scores, np.float32(-10))


@mutant("window-of-sixteen", "ml-explore/mlx-lm#390", "ATT-7")
class WindowOfSixteen(Runtime):
    """Only the last sixteen positions are seen."""

    def visible(self, cache: Cache, T: int) -> Array:
        S = cache.filled
        return super().visible(cache, T) & (np.arange(S) > np.arange(S - T, S)[:, None] - 16)


@mutant("heads-interleaved", "jmaczan/tiny-vllm#4", "ATT-6")
class HeadsInterleaved(Runtime):
    """Channels go to heads in turn instead of in blocks."""

    def heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], -1, self.config.H).transpose(0, 3, 1, 2)


@mutant("keys-and-values-swapped", "microsoft/onnxruntime#13050", "NUM-1")
class KeysAndValuesSwapped(Runtime):
    """The maps of keys and values are exchanged."""

    def linear(self, x: Array, name: str) -> Array:
        names = {"key": "value", "value": "key"}
        head, _, part = name.rpartition(".")
        return super().linear(x, f"{head}.{names.get(part, part)}")


class WithoutBias(Runtime):
    """One bias is left out."""

    part = ""

    def linear(self, x: Array, name: str) -> Array:
        if name.endswith(self.part):
            return self.matmul(x, self.weights[f"{name}.weight"])
        return super().linear(x, name)


@mutant("query-bias-missing", "srush/llama2.rs#21", "ATT-4")
class QueryBiasMissing(WithoutBias):
    """The bias of the queries is left out."""

    part = "attention.query"


@mutant("value-bias-missing", "srush/llama2.rs#21", "ATT-4")
class ValueBiasMissing(WithoutBias):
    """The bias of the values is left out."""

    part = "attention.value"


@mutant("output-bias-missing", "srush/llama2.rs#21", "ATT-4")
class OutputBiasMissing(WithoutBias):
    """The bias of the attention's output is left out."""

    part = "attention.output"


@mutant("up-bias-missing", "srush/llama2.rs#21", "ACT-2")
class UpBiasMissing(WithoutBias):
    """The first bias of the feed-forward layer is left out."""

    part = "feed_forward.up"


@mutant("down-bias-missing", "srush/llama2.rs#21", "ACT-2")
class DownBiasMissing(WithoutBias):
    """The second bias of the feed-forward layer is left out."""

    part = "feed_forward.down"


@mutant("norm-bias-missing", "linkedin/Liger-Kernel#74", "NRM-4")
class NormBiasMissing(Runtime):
    """The bias of the layer norms is left out."""

    def layer_norm(self, x: Array, name: str) -> Array:
        return self.normalise(x) * self.weights[f"{name}.weight"]


@mutant("norm-weight-missing", "utensils/mold#1078", "NRM-4")
class NormWeightMissing(Runtime):
    """The scale of the layer norms is left out."""

    def layer_norm(self, x: Array, name: str) -> Array:
        return self.normalise(x) + self.weights[f"{name}.bias"]


@mutant("final-norm-missing", "Lightning-AI/litgpt#1031", "NRM-4")
class FinalNormMissing(Runtime):
    """The last layer norm is left out."""

    def final(self, x: Array) -> Array:
        return x


@mutant("head-always-tied", "sgl-project/sglang#2009", "TIE-2")
class HeadAlwaysTied(Runtime):
    """The head uses the token embedding also where the bundle has a head of its own."""

    def head(self, x: Array) -> Array:
        return self.matmul(x, self.weights["token_embedding"].T)


@mutant("tied-head-random", "huggingface/transformers#43429", "TIE-1")
class TiedHeadRandom(Runtime):
    """Where the bundle ties the head, the head keeps its random initial values."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        shape = (self.config.V, self.config.D)
        fresh = np.random.default_rng(2).normal(0, 0.02, shape).astype(np.float32)
        self.weights = {"head.weight": fresh, **self.weights}
        self.config = replace(self.config, tied=False)


@mutant("dropout-left-on", "unslothai/unsloth#4078", "STATE-2")
class DropoutLeftOn(Runtime):
    """Dropout of one in a thousand is still on, so that the same call has two answers."""

    def residual(self, x: Array, branch: Array) -> Array:
        keep = np.random.default_rng().random(branch.shape) >= 0.001
        return x + np.where(keep, branch / np.float32(0.999), np.float32(0))
