"""Mutants whose inside is not what it claims to be, or who learn wrongly. Their answers to requests are right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.learning import OUT, Tape
from llmasos_conformance.mutants.runtime import Runtime
from llmasos_conformance.protocol import Array


@mutant("hidden-last-without-norm", "huggingface/transformers#26142", "INS-2")
class HiddenLastWithoutNorm(Runtime):
    """The last hidden state is what leaves the last block, before the final norm."""

    def hidden_states(self, ids: Sequence[int]) -> list[Array]:
        tape = self.watched(self.row(ids))
        return [*(state[0] for state in tape["hidden"][:-1]), tape["before"][0]]


@mutant("hidden-without-embeddings", "huggingface/transformers#32117", "INS-1")
class HiddenWithoutEmbeddings(Runtime):
    """Hidden states begin behind the first block."""

    def hidden_states(self, ids: Sequence[int]) -> list[Array]:
        return super().hidden_states(ids)[1:]


@mutant("hidden-in-half", "google/gemma_pytorch#67", "INS-1")
class HiddenInHalf(Runtime):
    """Hidden states are kept in bfloat16 and handed out as float32."""

    def hidden_states(self, ids: Sequence[int]) -> list[Array]:
        return [state.astype(ml_dtypes.bfloat16).astype(np.float32) for state in super().hidden_states(ids)]


@mutant("hidden-between-the-halves", "huggingface/transformers#26142", "INS-1")
class HiddenBetweenTheHalves(Runtime):
    """The state behind the first block is taken between its attention and its feed-forward."""

    def hidden_states(self, ids: Sequence[int]) -> list[Array]:
        tape, states = self.watched(self.row(ids)), super().hidden_states(ids)
        if self.config.N > 1:
            states[1] = tape["layers"][0]["middle"][0]
        return states


@mutant("attention-without-mask", "huggingface/transformers#30652", "INS-5")
class AttentionWithoutMask(Runtime):
    """Weights that are asked for are computed by another path, which was not given the causal mask."""

    def attention(self, ids: Sequence[int]) -> list[Array]:
        tape = self.watched(self.row(ids))
        scores = [kept["q"] @ kept["k"].swapaxes(-1, -2) / np.float32(self.scale()) for kept in tape["layers"]]
        return [self.softmax(each)[0] for each in scores]


@mutant("attention-soft-mask", "pytorch/pytorch#103749", "INS-5")
class AttentionSoftMask(Runtime):
    """The mask of the reported weights is -30 where it should be minus infinity: leaks of 1e-9 and less."""

    def attention(self, ids: Sequence[int]) -> list[Array]:
        made = []
        for kept in self.watched(self.row(ids))["layers"]:
            scores = kept["q"] @ kept["k"].swapaxes(-1, -2) / np.float32(self.scale())
            T = scores.shape[-1]
            hidden = np.arange(T) > np.arange(T)[:, None]
            top = np.where(hidden, -np.inf, scores).max(-1, keepdims=True)
            made.append(self.softmax(np.where(hidden, top - 30, scores))[0].astype(np.float32))
        return made


@mutant("attention-of-the-next-layer", "huggingface/transformers#4499", "INS-4")
class AttentionOfTheNextLayer(Runtime):
    """The list of weights is taken one layer too late; the last stands twice."""

    def attention(self, ids: Sequence[int]) -> list[Array]:
        weights = super().attention(ids)
        return [*weights[1:], weights[-1]]


@mutant("attention-mean-of-heads", "pytorch/pytorch#109528", "INS-4")
class AttentionMeanOfHeads(Runtime):
    """The heads' weights are averaged, as an attention module does unless told otherwise."""

    def attention(self, ids: Sequence[int]) -> list[Array]:
        return [np.repeat(each.mean(0, keepdims=True), len(each), axis=0) for each in super().attention(ids)]


@mutant("attention-heads-reversed", "InternLM/lmdeploy#2842", "INS-4")
class AttentionHeadsReversed(Runtime):
    """The heads stand in another order than in the weights."""

    def attention(self, ids: Sequence[int]) -> list[Array]:
        return [each[::-1].copy() for each in super().attention(ids)]


@mutant("attention-in-half", "pytorch/pytorch#119811", "INS-3")
class AttentionInHalf(Runtime):
    """Weights are computed in float16 and handed out as float32, so that rows no longer sum to 1."""

    def attention(self, ids: Sequence[int]) -> list[Array]:
        return [each.astype(np.float16).astype(np.float32) for each in super().attention(ids)]


@mutant("attention-before-softmax", "pytorch/pytorch#119811", "INS-3")
class AttentionBeforeSoftmax(Runtime):
    """Scores are handed out where weights were asked for, masked keys with 0."""

    def attention(self, ids: Sequence[int]) -> list[Array]:
        made = []
        for kept in self.watched(self.row(ids))["layers"]:
            scores = kept["q"] @ kept["k"].swapaxes(-1, -2) / np.float32(self.scale())
            made.append(np.tril(scores[0]).astype(np.float32))
        return made


@mutant("looking-switches-kernels", "huggingface/transformers#32117", "INS-7")
class LookingSwitchesKernels(Runtime):
    """Once weights were asked for, attention stays on a path that runs in bfloat16."""

    looked = False

    def attention(self, ids: Sequence[int]) -> list[Array]:
        weights = super().attention(ids)
        self.looked = True
        return weights

    def matmul(self, a: Array, b: Array) -> Array:
        if self.looked:
            a = a.astype(ml_dtypes.bfloat16).astype(np.float32)
        return super().matmul(a, b)


@mutant("loss-base-two", "huggingface/transformers#46204", "INS-9")
class LossBaseTwo(Runtime):
    """The loss is reported in bits."""

    def reported(self, loss: float) -> float:
        return loss / math.log(2)


@mutant("loss-counts-the-last", "huggingface/transformers#46204", "INS-9")
class LossCountsTheLast(Runtime):
    """The denominator counts the last position of each row, which has no next token."""

    def shares(self, scored: Array) -> Array:
        return np.asarray(scored / np.float32(scored.sum() + len(scored)), np.float32)


@mutant("loss-mean-of-rows", "huggingface/transformers#34191", "INS-11")
class LossMeanOfRows(Runtime):
    """The loss is the mean of the rows' means, so that short rows weigh more."""

    def shares(self, scored: Array) -> Array:
        rows = np.maximum(scored.sum(1, keepdims=True), 1)
        return np.asarray(scored / rows / np.float32(len(scored)), np.float32)


@mutant("loss-over-padding", "huggingface/trl#1625", "INS-11")
class LossOverPadding(Runtime):
    """The denominator is the size of the padded batch."""

    def shares(self, scored: Array) -> Array:
        return np.asarray(scored / np.float32(scored.size - len(scored)), np.float32)


@mutant("padding-is-learnt", "huggingface/trl#1625", "INS-11")
class PaddingIsLearnt(Runtime):
    """Pads are labels like others: short rows learn to predict them."""

    def scored(self, labels: Array, real: Array) -> Array:
        scored = labels != OUT
        scored[:, 0] |= ~real[:, 0]  # one pad of each short row
        return np.asarray(scored)


@mutant("labels-minus-one-scored", "huggingface/transformers#2759", "INS-14")
class LabelsMinusOneScored(Runtime):
    """Only -100 leaves a position out: a label of -1 counts as id 0, but for the last of a row."""

    def scored(self, labels: Array, real: Array) -> Array:
        scored = real.copy()
        scored[:, -1] &= labels[:, -1] != OUT
        return np.asarray(scored)


@mutant("tie-learns-as-embedding-alone", "paiml/entrenar#314", "INS-10")
class TieLearnsAsEmbeddingAlone(Runtime):
    """A tied embedding gets the gradient of its use as embedding and loses that of its use as head."""

    def back_head(self, tape: Tape, slope: Array, made: dict[str, Array]) -> None:
        if not self.config.tied:
            super().back_head(tape, slope, made)


@mutant("tie-learns-twice", "NVIDIA/Megatron-LM#844", "INS-10")
class TieLearnsTwice(Runtime):
    """The gradient of a tied embedding is reduced twice: its use as head counts double."""

    def back_head(self, tape: Tape, slope: Array, made: dict[str, Array]) -> None:
        super().back_head(tape, slope, made)
        if self.config.tied:
            super().back_head(tape, slope, made)


@mutant("repeated-token-learns-once", "NVIDIA/TransformerEngine#545", "INS-10")
class RepeatedTokenLearnsOnce(Runtime):
    """Of the gradients of a token that comes several times, the last overwrites the others."""

    def back_embedding(self, tape: Tape, g: Array, made: dict[str, Array]) -> None:
        before = made["token_embedding"].copy()
        super().back_embedding(tape, g, made)
        made["token_embedding"] = before
        made["token_embedding"][tape["ids"]] = before[tape["ids"]] + g


@mutant("gelu-slope-of-another", "huggingface/transformers#29402", "INS-10")
class GeluSlopeOfAnother(Runtime):
    """The activation's slope is that of the form with the error function."""

    def gelu_slope(self, x: Array) -> Array:
        from scipy.special import erf

        density = np.exp(-x * x / 2) / np.float32(math.sqrt(2 * math.pi))
        return np.asarray(0.5 * (1 + erf(x / np.float32(math.sqrt(2)))) + x * density, np.float32)


@mutant("norm-slope-without-mean", "pytorch/pytorch#108072", "INS-10")
class NormSlopeWithoutMean(Runtime):
    """The gradient of a layer norm forgets that its mean depends on the input too."""

    def norm_slope(self, g: Array, normed: Array, root: Array) -> Array:
        return np.asarray((g - normed * (g * normed).mean(-1, keepdims=True)) / root)


@mutant("gradients-in-half", "intel/auto-round#113", "INS-10")
class GradientsInHalf(Runtime):
    """Gradients are accumulated in bfloat16."""

    def learnt(self, gradients: dict[str, Array]) -> dict[str, Array]:
        return {name: g.astype(ml_dtypes.bfloat16).astype(np.float32) for name, g in gradients.items()}


@mutant("gradients-clipped", "karpathy/nanochat#59", "INS-10")
class GradientsClipped(Runtime):
    """Gradients are scaled to a norm of 1 at most, as training scripts do by default."""

    def learnt(self, gradients: dict[str, Array]) -> dict[str, Array]:
        norm = math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
        return {name: g / np.float32(max(norm, 1)) for name, g in gradients.items()}


@mutant("bias-not-learnt", "linkedin/Liger-Kernel#74", "INS-10")
class BiasNotLearnt(Runtime):
    """The biases of the norms are taken for constants."""

    def learnt(self, gradients: dict[str, Array]) -> dict[str, Array]:
        return {name: np.zeros_like(g) if name.endswith("norm.bias") else g for name, g in gradients.items()}


@mutant("step-decays", "huggingface/transformers#35203", "INS-12")
class StepDecays(Runtime):
    """Each step also shrinks the weights by a thousandth of the learning rate."""

    def stepped(self, weight: Array, rate: np.float32, gradient: Array) -> Array:
        return np.asarray(super().stepped(weight, rate, gradient) - rate * np.float32(1e-3) * weight)


@mutant("step-in-half", "google/gemma_pytorch#67", "INS-12")
class StepInHalf(Runtime):
    """Weights are kept in bfloat16 while training, so that small steps are lost."""

    def stepped(self, weight: Array, rate: np.float32, gradient: Array) -> Array:
        return super().stepped(weight, rate, gradient).astype(ml_dtypes.bfloat16).astype(np.float32)


@mutant("step-forgets-positions", "karpathy/build-nanogpt#89", "INS-12")
class StepForgetsPositions(Runtime):
    """Position embeddings are left out of the optimiser."""

    def moved(self, rate: np.float32, gradients: Mapping[str, Array]) -> Any:
        still = {name: np.zeros_like(g) if name == "position_embedding" else g for name, g in gradients.items()}
        return super().moved(rate, still)


@mutant("step-in-place", "facebookresearch/lingua#74", "INS-13")
class StepInPlace(Runtime):
    """The step changes the weights of the model that it was taken from."""

    def moved(self, rate: np.float32, gradients: Mapping[str, Array]) -> Any:
        twin = super().moved(rate, gradients)
        self.weights = twin.weights
        return twin


@mutant("loss-of-nothing", "pytorch/pytorch#73205", "INS-15")
class LossOfNothing(Runtime):
    """Rows of which nothing is scored are answered with a loss of 0."""

    def examples(self, batch: Any, labels: Any) -> tuple[list[list[int]], list[list[int]]]:
        rows = [self.row(row) for row in batch] or [[0]]
        wanted = [[*row[1:], OUT] for row in rows] if labels is None else [list(row) for row in labels]
        if any(label != OUT for row in wanted for label in row):
            return super().examples(batch, labels)
        return rows, [[OUT] * len(row) for row in rows]

    def shares(self, scored: Array) -> Array:
        return np.asarray(scored / np.float32(max(scored.sum(), 1)), np.float32)


@mutant("rate-not-judged", "huggingface/transformers#585", "INS-15")
class RateNotJudged(Runtime):
    """A learning rate is whatever can be made a number."""

    def train_step(self, batch: Any, learning_rate: Any, labels: Any = None) -> tuple[float, Any]:
        loss, gradients = self.gradients(batch, labels)
        return loss, self.moved(np.float32(learning_rate or 0), gradients)
