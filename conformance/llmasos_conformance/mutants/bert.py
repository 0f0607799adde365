"""Mutants of the runtime for BERT that are plainly wrong: in the forward pass, masks, fills, batches and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.bert_runtime import BertLoader, BertRuntime
from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import Config, Opened, seeded
from llmasos_conformance.mutants.loading import FreshSeed, Partial
from llmasos_conformance.mutants.runtime import PAD
from llmasos_conformance.protocol import Array, Encoding, Generation


def left_padded(rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """Rows of ids as one left-padded tensor; ids and real, both [B, T]."""
    T = max(len(row) for row in rows)
    ids = np.array([[PAD] * (T - len(row)) + list(row) for row in rows])
    return ids, np.array([[False] * (T - len(row)) + [True] * len(row) for row in rows])


# Embeddings.


@mutant("bert-types-ignored", "allenai/allennlp#5129", "BERT-3")
class TypesIgnored(BertRuntime):
    """Token types are taken and not used: every token has type 0."""

    def embedded(self, ids: Array, positions: Array, types: Array) -> Array:
        return super().embedded(ids, positions, np.zeros_like(types))


@mutant("bert-types-after-norm", "harvardnlp/annotated-transformer#13", "BERT-3")
class TypesAfterNorm(BertRuntime):
    """The type embedding is added behind the norm instead of before it."""

    def embedded(self, ids: Array, positions: Array, types: Array) -> Array:
        token, position = self.weights["token_embedding"][ids], self.weights["position_embedding"][positions]
        return self.layer_norm(token + position, "embedding_norm") + self.weights["type_embedding"][types]


@mutant("bert-types-left-out", "huggingface/optimum#2062", "BERT-17")
class TypesLeftOut(BertRuntime):
    """Where no types are given no type embedding is added, instead of that of type 0."""

    bare = False

    def untyped(self, row: Sequence[int]) -> list[int]:
        self.bare = True
        return super().untyped(row)

    def embedded(self, ids: Array, positions: Array, types: Array) -> Array:
        if not self.bare:
            return super().embedded(ids, positions, types)
        self.bare = False
        token, position = self.weights["token_embedding"][ids], self.weights["position_embedding"][positions]
        return self.layer_norm(token + position, "embedding_norm")


@mutant("bert-types-default-one", "huggingface/optimum#1758", "BERT-17")
class TypesDefaultOne(BertRuntime):
    """Where no types are given every token has type 1."""

    def untyped(self, row: Sequence[int]) -> list[int]:
        return [min(1, self.config.types - 1)] * len(row)


@mutant("bert-types-shifted-by-padding", "vllm-project/vllm#58138", "BAT-2")
class TypesShiftedByPadding(BertRuntime):
    """Types are padded on the other side than ids, so that in a ragged batch they belong to other tokens."""

    def read(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        T = max(map(len, rows))
        return super().read(rows, [[0] * (T - len(row)) + list(row) for row in types])


@mutant("bert-type-of-the-sentence", "SKTBrain/KoBERT#59", "BERT-24")
class TypeOfTheSentence(BertRuntime):
    """A sentence has one type, that of its first token, until a token of type 1 or more comes."""

    def typed(self, row: Sequence[int], kinds: Any) -> list[int]:
        return sorted(super().typed(row, kinds))


@mutant("bert-types-unchecked", "SKTBrain/KoBERT#59", "BERT-18")
class TypesUnchecked(BertRuntime):
    """A type beyond the last is read as the last, and a list that is too short is filled up."""

    def typed(self, row: Sequence[int], kinds: Any) -> list[int]:
        whole = [*kinds, *[0] * len(row)][: len(row)]
        return [min(max(int(kind), 0), self.config.types - 1) for kind in whole]


@mutant("bert-one-type-for-all", "huggingface/transformers#2506", "BERT-18")
class OneTypeForAll(BertRuntime):
    """Types of one row are used for all rows of a batch, and more than one list is not asked for."""

    def asked(self, batch: Any, types: Any) -> tuple[list[list[int]], list[list[int]]]:
        if types is not None and len(types) < len(batch):
            types = [[types[0][i % len(types[0])] for i in range(len(row))] for row in batch]
        return super().asked(batch, types)


@mutant("bert-positions-from-two", "huggingface/transformers#5285", "BERT-4")
class PositionsFromTwo(BertRuntime):
    """Positions are counted from 2, as RoBERTa does."""

    def counted(self, real: Array) -> Array:
        return np.asarray(np.minimum(super().counted(real) + 2, self.config.C - 1))


@mutant("bert-positions-skip-pads", "huggingface/transformers#1761", "BERT-4")
class PositionsSkipPads(BertRuntime):
    """Positions are made of the ids: equal neighbours share one, because a repeated id is taken for a pad."""

    def read(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        self.rows = [list(row) for row in rows]
        return super().read(rows, types)

    def counted(self, real: Array) -> Array:
        counted = super().counted(real)
        for b, row in enumerate(self.rows):
            fresh = np.cumsum([i > 0 and token != row[i - 1] for i, token in enumerate(row)])
            counted[b, : len(row)] = fresh
        return counted


@mutant("bert-positions-from-pad", "huggingface/transformers#3021", "BAT-2")
class PositionsFromPad(BertRuntime):
    """Pads stand on the left, and positions are counted from the first of them."""

    def pad_right(self, rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        return left_padded(rows)

    def counted(self, real: Array) -> Array:
        return np.repeat(np.arange(real.shape[1])[None], len(real), axis=0)

    def first(self, x: Array, real: Array) -> Array:
        return np.asarray(x[np.arange(len(x)), np.argmax(real, axis=1)][:, None])


@mutant("bert-pooler-takes-pad", "huggingface/sentence-transformers#3208", "BERT-19")
class PoolerTakesPad(BertRuntime):
    """Pads stand on the left, and the first column is pooled, a pad or not."""

    def pad_right(self, rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        return left_padded(rows)


@mutant("bert-embedding-norm-twice", "pytorch/pytorch#24930", "BERT-3")
class EmbeddingNormTwice(BertRuntime):
    """The norm behind the embeddings is applied twice."""

    def embedded(self, ids: Array, positions: Array, types: Array) -> Array:
        return self.layer_norm(super().embedded(ids, positions, types), "embedding_norm")


# Layers.


@mutant("bert-causal", "sgl-project/sglang#35434", "BERT-1")
class Causal(BertRuntime):
    """The decoder's mask stays on: a position does not see those behind it."""

    def seen(self, real: Array) -> Array:
        return super().seen(real) & np.tril(np.ones((real.shape[1],) * 2, bool))


@mutant("bert-window", "ml-explore/mlx-lm#390", "BERT-1")
class Window(BertRuntime):
    """A position sees 64 others on either side and no more."""

    def seen(self, real: Array) -> Array:
        place = np.arange(real.shape[1])
        return np.asarray(super().seen(real) & (np.abs(place - place[:, None]) <= 64))


@mutant("bert-next-token", "abetlen/llama-cpp-python#1983", "BERT-2")
class NextToken(BertRuntime):
    """Logits are handed out one position late, as those of a decoder are meant."""

    def run_typed(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> list[Array]:
        return [np.roll(logits, 1, axis=0) for logits in super().run_typed(rows, types)]


@mutant("bert-pre-norm", "tensorflow/models#9789", "BERT-5")
class PreNorm(BertRuntime):
    """The norm of a block stands before it instead of behind the sum."""

    def layer(self, x: Array, name: str, visible: Array) -> Array:
        normed = self.layer_norm(x, f"{name}.attention_norm")
        x = self.residual(x, self.attended(normed, f"{name}.attention", visible))
        return self.residual(x, self.fed(self.layer_norm(x, f"{name}.feed_forward_norm"), f"{name}.feed_forward"))


@mutant("bert-final-norm", "pytorch/pytorch#50086", "BERT-5")
class FinalNorm(BertRuntime):
    """A further norm, without weights of its own, follows the last layer."""

    def read(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        x, real = super().read(rows, types)
        return self.normalise(x), real


@mutant("bert-norms-exchanged", "Lightning-AI/litgpt#1031", "BERT-5")
class NormsExchanged(BertRuntime):
    """The two norms of a layer are exchanged."""

    def layer_norm(self, x: Array, name: str) -> Array:
        ends = {"attention_norm": "feed_forward_norm", "feed_forward_norm": "attention_norm"}
        head, _, end = name.rpartition(".")
        return super().layer_norm(x, f"{head}.{ends[end]}" if end in ends else name)


@mutant("bert-variance-unbiased", "srush/llama2.rs#21", "NRM-2")
class VarianceUnbiased(BertRuntime):
    """The variance is divided by D - 1."""

    def normalise(self, x: Array) -> Array:
        variance = x.var(-1, ddof=1, keepdims=True) + np.float32(self.epsilon())
        return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(variance))


@mutant("bert-scale-by-width", "microsoft/onnxruntime#14363", "ATT-1")
class ScaleByWidth(BertRuntime):
    """Scores are divided by sqrt(D) instead of the root of the head width."""

    def scale(self) -> float:
        return float(np.sqrt(self.config.D))


@mutant("bert-heads-interleaved", "jmaczan/tiny-vllm#4", "ATT-6")
class HeadsInterleaved(BertRuntime):
    """Channels go to heads in turn instead of in blocks."""

    def heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], -1, self.config.H).transpose(0, 3, 1, 2)


class WithoutBias(BertRuntime):
    """Some biases are left out."""

    parts: ClassVar[tuple[str, ...]] = ()

    def linear(self, x: Array, name: str) -> Array:
        if name.endswith(self.parts):
            return self.matmul(x, self.weights[f"{name}.weight"])
        return super().linear(x, name)


@mutant("bert-attention-biases-missing", "srush/llama2.rs#21", "ATT-4")
class AttentionBiasesMissing(WithoutBias):
    """Queries, values and the output of attention have no bias."""

    parts = ("attention.query", "attention.value", "attention.output")


@mutant("bert-feed-forward-bias-missing", "srush/llama2.rs#21", "ACT-2")
class FeedForwardBiasMissing(WithoutBias):
    """The second map of the feed-forward has no bias."""

    parts = ("feed_forward.down",)


@mutant("bert-gelu-tanh", "Blaizzy/mlx-embeddings#81", "BERT-8")
class GeluTanh(BertRuntime):
    """The tanh form of GELU stands where the model has the exact one."""

    def exact_gelu(self, x: Array) -> Array:
        return self.gelu(x)


@mutant("bert-heads-wired", "huggingface/transformers#43429", "FMT-16")
class HeadsWired(BertRuntime):
    """There are two heads where the width lets it be, whatever the document says."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        if self.config.D % 2 == 0:
            self.config = replace(self.config, H=2)


@mutant("bert-activation-wired", "huggingface/transformers#17", "FMT-16")
class ActivationWired(BertRuntime):
    """The activation is the exact GELU, whatever the document says."""

    def activate(self, x: Array) -> Array:
        return self.exact_gelu(x)


@mutant("bert-queries-clipped", "vllm-project/vllm#35523", "ATT-6")
class QueriesClipped(BertRuntime):
    """Queries are clipped at ±16, a bound of another model."""

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        return super().attend(np.clip(query, -16, 16), keys, values, visible)


@mutant("bert-hidden-units-of-a-kernel", "microsoft/onnxruntime#13050", "ACT-3")
class HiddenUnitsOfAKernel(BertRuntime):
    """The last unit of the feed-forward is computed without activation."""

    def fed(self, x: Array, name: str) -> Array:
        hidden = self.linear(x, f"{name}.up")
        active = self.activate(hidden)
        active[..., -1] = hidden[..., -1]
        return self.linear(active, f"{name}.down")


# The head.


@mutant("bert-transform-missing", "huggingface/transformers#12215", "BERT-6")
class TransformMissing(BertRuntime):
    """The head multiplies the hidden states with its rows, without transform and norm."""

    def transformed(self, x: Array) -> Array:
        return x


@mutant("bert-transform-norm-missing", "huggingface/transformers#12215", "BERT-6")
class TransformNormMissing(BertRuntime):
    """The head's transform lacks its norm."""

    def transformed(self, x: Array) -> Array:
        return self.activate(self.linear(x, "head.transform"))


@mutant("bert-transform-activation-missing", "huggingface/transformers#12215", "BERT-6")
class TransformActivationMissing(BertRuntime):
    """The head's transform lacks its activation."""

    def transformed(self, x: Array) -> Array:
        return self.layer_norm(self.linear(x, "head.transform"), "head.norm")


@mutant("bert-head-gelu-tanh", "CyberZHG/keras-bert#129", "BERT-8")
class HeadGeluTanh(BertRuntime):
    """The head's activation is the tanh form, the layers' the exact one."""

    def transformed(self, x: Array) -> Array:
        return self.layer_norm(self.gelu(self.linear(x, "head.transform")), "head.norm")


@mutant("bert-head-bias-missing", "OpenNMT/CTranslate2#833", "BERT-7")
class HeadBiasMissing(BertRuntime):
    """The head's bias is not added."""

    def head(self, x: Array) -> Array:
        return super().head(x) - self.weights["head.bias"]


@mutant("bert-head-bias-twice", "huggingface/transformers#2957", "BERT-7")
class HeadBiasTwice(BertRuntime):
    """The head's bias is added twice."""

    def head(self, x: Array) -> Array:
        return super().head(x) + self.weights["head.bias"]


@mutant("bert-logits-float16", "vllm-project/vllm#3653", "NUM-4")
class LogitsFloat16(BertRuntime):
    """Logits are float16 on their way out."""

    def head(self, x: Array) -> Array:
        return super().head(x).astype(np.float16).astype(np.float32)


@mutant("bert-tie-lost", "huggingface/transformers#43429", "TIE-1")
class TieLost(BertRuntime):
    """A tied head is not tied when it is loaded, and stays as it was initialised."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.stray = seeded(0, "head.weight", (self.config.V, self.config.D))

    def head(self, x: Array) -> Array:
        if not self.config.tied:
            return super().head(x)
        return self.matmul(self.transformed(x), self.stray.T) + self.weights["head.bias"]


@mutant("bert-always-tied", "vllm-project/vllm#3344", "TIE-2")
class AlwaysTied(BertRuntime):
    """The head is the token embedding, whatever the document says."""

    def head(self, x: Array) -> Array:
        return self.matmul(self.transformed(x), self.weights["token_embedding"].T) + self.weights["head.bias"]


# Pooling and encodings.


@mutant("bert-pooler-takes-last", "zihangdai/xlnet#73", "BERT-9")
class PoolerTakesLast(BertRuntime):
    """The last column is pooled instead of the first, a pad or not."""

    def first(self, x: Array, real: Array) -> Array:
        return x[:, -1:]


@mutant("bert-pooler-takes-mean", "kpe/bert-for-tf2#82", "BERT-9")
class PoolerTakesMean(BertRuntime):
    """The mean of all columns is pooled, pads included."""

    def first(self, x: Array, real: Array) -> Array:
        return np.asarray(x.mean(1, keepdims=True))


@mutant("bert-pooler-tanh-missing", "bojone/SimCSE#11", "BERT-9")
class PoolerTanhMissing(BertRuntime):
    """The pooled output lacks its tanh."""

    def pool_rows(self, x: Array, real: Array) -> Array:
        return self.linear(self.first(x, real), "pooler")[:, 0]


@mutant("bert-pooled-is-first", "google-research/bert#1067", "BERT-9")
class PooledIsFirst(BertRuntime):
    """The pooled output is the hidden state of the first position itself."""

    def pool_rows(self, x: Array, real: Array) -> Array:
        return self.first(x, real)[:, 0]


@mutant("bert-layer-before-last", "huggingface/transformers#4084", "BERT-10")
class LayerBeforeLast(BertRuntime):
    """Encodings are the hidden states in front of the last layer."""

    before: Array

    def layer(self, x: Array, name: str, visible: Array) -> Array:
        self.before = x
        return super().layer(x, name, visible)

    def encode(self, batch: Any, types: Any = None) -> list[Encoding]:  # type: ignore[override]
        made = super().encode(batch, types)
        return [
            Encoding(hidden=self.before[b, : len(row.hidden)].copy(), pooled=row.pooled) for b, row in enumerate(made)
        ]


@mutant("bert-pads-pooled", "huggingface/candle#1798", "BERT-19")
class PadsPooled(BertRuntime):
    """Encoding has a path of its own, whose mask does not know pads."""

    encoding = False

    def encode(self, batch: Any, types: Any = None) -> list[Encoding]:  # type: ignore[override]
        self.encoding = True
        try:
            return super().encode(batch, types)
        finally:
            self.encoding = False

    def seen(self, real: Array) -> Array:
        return super().seen(np.ones_like(real) if self.encoding else real)


# Fills.


@mutant("bert-masks-in-turn", "huggingface/transformers#3609", "BERT-12")
class MasksInTurn(BertRuntime):
    """Masks are filled from left to right, each with what was put behind those before it."""

    def fills(
        self, row: Sequence[int], kinds: Sequence[int], places: Sequence[int], count: int
    ) -> list[dict[int, float]]:
        going, made = list(row), []
        for place in places:
            made.append(self.likeliest(self.run_typed([going], [kinds])[0][place], count))
            going[place] = next(iter(made[-1]))
        return made


@mutant("bert-fills-reversed", "huggingface/transformers#17394", "BERT-11")
class FillsReversed(BertRuntime):
    """Fills come from the last mask to the first."""

    def fills(
        self, row: Sequence[int], kinds: Sequence[int], places: Sequence[int], count: int
    ) -> list[dict[int, float]]:
        return super().fills(row, kinds, places, count)[::-1]


@mutant("bert-first-mask-alone", "huggingface/transformers#4306", "BERT-11")
class FirstMaskAlone(BertRuntime):
    """Only the first mask is filled."""

    def fills(
        self, row: Sequence[int], kinds: Sequence[int], places: Sequence[int], count: int
    ) -> list[dict[int, float]]:
        return super().fills(row, kinds, places[:1], count)


@mutant("bert-fills-without-types", "huggingface/optimum#1758", "BERT-12")
class FillsWithoutTypes(BertRuntime):
    """Masks are filled as if all types were 0."""

    def fills(
        self, row: Sequence[int], kinds: Sequence[int], places: Sequence[int], count: int
    ) -> list[dict[int, float]]:
        return super().fills(row, [0] * len(row), places, count)


@mutant("bert-fills-among-themselves", "mlc-ai/mlc-llm#3142", "BERT-13")
class FillsAmongThemselves(BertRuntime):
    """Log-probabilities are normalised among the ids that are reported."""

    def likeliest(self, logits: Array, count: int) -> dict[int, float]:
        made = super().likeliest(logits, count)
        return dict(zip(made, self.log_law(np.array(list(made.values()))).tolist(), strict=True))


@mutant("bert-fills-base-two", "abetlen/llama-cpp-python#349", "BERT-13")
class FillsBaseTwo(BertRuntime):
    """Log-probabilities are to the base of two."""

    def log_law(self, logits: Array) -> Array:
        return np.asarray(super().log_law(logits) / np.log(2))


@mutant("bert-fills-without-mask-id", "huggingface/transformers#6239", "BERT-13")
class FillsWithoutMaskId(BertRuntime):
    """The mask's own id is never reported, and one id fewer comes where it is likely."""

    def likeliest(self, logits: Array, count: int) -> dict[int, float]:
        made = super().likeliest(logits, count)
        return {token: value for token, value in made.items() if token != self.config.mask}


@mutant("bert-ties-to-the-highest", "ohdearquant/lattice#280", "BERT-13")
class TiesToTheHighest(BertRuntime):
    """Of equally likely ids the highest come first."""

    def order(self, law: Array) -> Array:
        return np.asarray(len(law) - 1 - np.argsort(-law[::-1], kind="stable"))


@mutant("bert-one-by-default", "EricFillion/happy-transformer#251", "BERT-13")
class OneByDefault(BertRuntime):
    """One id is reported where the request does not say."""

    def fill_mask(self, ids: Any, count: Any = 1, types: Any = None) -> list[dict[int, float]]:
        return super().fill_mask(ids, count, types)


@mutant("bert-no-mask-no-fills", "huggingface/transformers#5389", "BERT-14")
class NoMaskNoFills(BertRuntime):
    """A row without a mask is answered with no fills."""

    def nothing_to_fill(self) -> list[dict[int, float]]:
        return []


@mutant("bert-mask-guessed", "huggingface/transformers#5389", "BERT-15")
class MaskGuessed(BertRuntime):
    """A model without a mask has id 3 or the last one filled."""

    def mask_id(self) -> int:
        return min(3, self.config.V - 1) if self.config.mask is None else self.config.mask


@mutant("bert-count-cut", "huggingface/transformers#6239", "BERT-25")
class CountCut(BertRuntime):
    """A count that is out of range is brought into it."""

    def integer(self, value: Any, low: int, high: float = np.inf) -> int:
        if low == 1 and isinstance(value, int):
            return int(min(max(value, low), high))
        return super().integer(value, low, high)


# Batches and state.


@mutant("bert-pads-attended", "huggingface/candle#1798", "BAT-2")
class PadsAttended(BertRuntime):
    """No mask: pads are attended to like tokens."""

    def seen(self, real: Array) -> Array:
        return super().seen(np.ones_like(real))


@mutant("bert-pad-id-masked", "turboderp/exllama#101", "NUM-5")
class PadIdMasked(BertRuntime):
    """The mask is made of the ids: a token with the pad's id is not seen, wherever it stands."""

    def read(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        self.hidden = self.pad_right(rows)[0] == PAD
        return super().read(rows, types)

    def seen(self, real: Array) -> Array:
        return np.asarray(super().seen(real) & ~self.hidden[:, None])


@mutant("bert-rows-sorted", "vllm-project/vllm#394", "BAT-3")
class RowsSorted(BertRuntime):
    """Rows are sorted by length for the batch and handed out in that order."""

    def run_typed(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> list[Array]:
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        return super().run_typed([rows[i] for i in order], [types[i] for i in order])


@mutant("bert-row-before-leaks", "turboderp/exllama#101", "BAT-1")
class RowBeforeLeaks(BertRuntime):
    """Positions of a row in a batch attend to the row before it as well."""

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        own = super().attend(query, keys, values, visible)
        if len(query) < 2:
            return own
        return own * np.float32(0.9) + np.float32(0.1) * super().attend(
            query, np.roll(keys, 1, 0), np.roll(values, 1, 0), np.roll(visible, 1, 0)
        )


@mutant("bert-answers-by-ids", "sgl-project/sglang-omni#258", "STATE-1")
class AnswersByIds(BertRuntime):
    """Answers are kept by their ids alone, so that other types get what was answered before."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.kept: dict[tuple[int, ...], Array] = {}

    def run_typed(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> list[Array]:
        if len(rows) != 1:
            return super().run_typed(rows, types)
        key = tuple(rows[0])
        if key not in self.kept:
            self.kept[key] = super().run_typed(rows, types)[0]
        return [self.kept[key]]


class Lingering(BertRuntime):
    """After something has happened, the next answer is a little off."""

    shift = np.float32(0)

    def head(self, x: Array) -> Array:
        shift, self.shift = self.shift, np.float32(0)
        return super().head(x) + shift * x[..., :1]


@mutant("bert-longest-lingers", "vllm-project/vllm#39833", "STATE-1")
class LongestLingers(Lingering):
    """A row as long as the context leaves its last state in the buffer, which the next one reads."""

    def run_typed(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> list[Array]:
        made = super().run_typed(rows, types)
        if rows and max(map(len, rows)) == self.config.C:
            self.shift = np.float32(0.01)
        return made


@mutant("bert-batch-lingers", "vllm-project/vllm#43894", "STATE-1")
class BatchLingers(Lingering):
    """The mask of a ragged batch stays for the next request."""

    def run_typed(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> list[Array]:
        made = super().run_typed(rows, types)
        if len(set(map(len, rows))) > 1:
            self.shift = np.float32(0.01)
        return made


@mutant("bert-encoding-lingers", "sgl-project/sglang#24717", "STATE-1")
class EncodingLingers(Lingering):
    """An encoding leaves the model in another mode."""

    def encode(self, batch: Any, types: Any = None) -> list[Encoding]:  # type: ignore[override]
        made = super().encode(batch, types)
        self.shift = np.float32(0.01)
        return made


@mutant("bert-fill-lingers", "ggml-org/llama.cpp#26425", "STATE-1")
class FillLingers(Lingering):
    """What was filled in changes the next answer."""

    def fill_mask(self, ids: Any, count: Any = 5, types: Any = None) -> list[dict[int, float]]:
        made = super().fill_mask(ids, count, types)
        self.shift = np.float32(0.01)
        return made


@mutant("bert-refusal-lingers", "vllm-project/vllm#43894", "STATE-1")
class RefusalLingers(Lingering):
    """A refused request leaves the model in another mode."""

    def forward(self, batch: Any, types: Any = None, sources: Any = None) -> list[Array]:
        try:
            return super().forward(batch, types, sources)
        except Exception:
            self.shift = np.float32(0.01)
            raise


@mutant("bert-encodings-linger", "vllm-project/vllm#43894", "STATE-1")
class EncodingsLinger(BertRuntime):
    """What is encoded behind a ragged batch, a row as long as the context or a refusal is a little off."""

    off = False

    def encode(self, batch: Any, types: Any = None) -> list[Encoding]:  # type: ignore[override]
        off, self.off = self.off, True
        made = super().encode(batch, types)
        lengths = {len(each.hidden) for each in made}
        self.off = len(lengths) > 1 or self.config.C in lengths
        return [Encoding(hidden=each.hidden + np.float32(0.01 * off), pooled=each.pooled) for each in made]


@mutant("bert-models-by-shape", "ollama/ollama#17475", "STATE-3")
class ModelsByShape(BertRuntime):
    """Feed-forward weights are kept by name and shape for all models of the process: the first loaded wins."""

    shared: ClassVar[dict[tuple[str, tuple[int, ...]], Array]] = {}

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.weights = {
            name: self.shared.setdefault((name, array.shape), array) if "feed_forward.down" in name else array
            for name, array in self.weights.items()
        }


# Requests.


@mutant("bert-generates", "huggingface/transformers#12704", "BERT-16")
class Generates(BertRuntime):
    """The encoder is run as a decoder: text, ids and scores come out of it."""

    def no_text(self) -> Any:
        return None

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        return Generation(finish_reason="length", text="a" * min(max_length, 3), completion_tokens=min(max_length, 3))

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        row = list(ids)
        for _ in range(max_length):
            row.append(int(np.argmax(self.run_typed([row], [[0] * len(row)])[0][-1])))
        return Generation(finish_reason="length", ids=row[len(ids) :])

    def score(self, ids: Any, **beside: Any) -> list[float | None]:
        law = self.log_law(self.forward([ids])[0])
        return [None, *(float(law[t, i]) for t, i in enumerate(ids[1:]))]


@mutant("bert-session-kept", "huggingface/transformers#12704", "BERT-16")
class SessionKept(BertRuntime):
    """A cache is opened as if the past of an encoder stayed as it is."""

    def open(self, *args: Any, **beside: Any) -> Any:
        return _Kept(self.forward([args[0]])[0])


class _Kept:
    def __init__(self, logits: Array) -> None:
        self.logits = logits

    def extend(self, ids: Sequence[int]) -> Array:
        return np.repeat(self.logits[-1:], len(ids), axis=0)

    def fork(self) -> _Kept:
        return self

    def close(self) -> None:
        return


@mutant("bert-source-ignored", "huggingface/transformers#2506", "BERT-23")
class SourceIgnored(BertRuntime):
    """A source is taken and not used."""

    def sourceless(self, sources: Any) -> None:
        return


@mutant("bert-ids-wrap-around", "NVIDIA/TensorRT-LLM#1173", "ERR-2")
class IdsWrapAround(BertRuntime):
    """Ids outside the vocabulary are taken modulo its size, in every call."""

    def row(self, ids: Any) -> list[int]:
        return super().row([int(i) % self.config.V for i in ids])


@mutant("bert-empty-row-padded", "Blaizzy/mlx-vlm#1946", "ERR-3")
class EmptyRowPadded(BertRuntime):
    """An empty row is read as a pad."""

    def row(self, ids: Any) -> list[int]:
        return super().row(ids or [PAD])

    def run_typed(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> list[Array]:
        return super().run_typed(
            rows, [[*kinds, *[0] * len(row)][: len(row)] for row, kinds in zip(rows, types, strict=True)]
        )


@mutant("bert-text-cut", "ollama/ollama#4967", "ERR-6")
class TextCut(BertRuntime):
    """A row that is too long is cut at the end of the context."""

    def row(self, ids: Any) -> list[int]:
        return super().row(list(ids)[: self.config.C])

    def forward(self, batch: Any, types: Any = None, sources: Any = None) -> list[Array]:
        made = super().forward(batch, types, sources)
        return [np.concatenate([m, m[-1:].repeat(len(r) - len(m), 0)]) for m, r in zip(made, batch, strict=True)]


# Documents and weights.


class EpsilonByHabit(BertLoader):
    """Defaults of another reader."""

    left_out: ClassVar[Mapping[str, Any]] = {"context_length": 512, "layer_norm_epsilon": 1e-5}


@mutant("bert-default-epsilon", "nntile/nntile#378", "BERT-20")
class DefaultEpsilon(BertRuntime):
    """A document that leaves the epsilon out gets 1e-5."""

    loader = EpsilonByHabit


class ContextByHabit(BertLoader):
    """Defaults of another reader."""

    left_out: ClassVar[Mapping[str, Any]] = {"context_length": 1024, "layer_norm_epsilon": 1e-12}


@mutant("bert-default-context", "nntile/nntile#378", "BERT-20")
class DefaultContext(BertRuntime):
    """A document that leaves the context out gets 1024 positions."""

    loader = ContextByHabit


class Lenient(BertLoader):
    """Takes what it does not know."""

    parameter_keys = BertLoader.parameter_keys | {
        "num_decoder_layers", "positions", "scale_embeddings", "embedding_norm", "decoder_start_token_id", "rope_theta",
        "local_attention_window", "rms_norm_epsilon",
    }  # fmt: skip
    activations = (*BertLoader.activations, "silu", "GELU", "gelu_new")


@mutant("bert-keys-of-all", "MakazhanAlpamys/Soup#627", "BERT-21")
class KeysOfAll(BertRuntime):
    """Parameters of every architecture are taken, and those of others do nothing."""

    loader = Lenient


class Halfway(BertLoader):
    """Numbers are read as Python reads them."""

    def integer(self, value: Any, low: int, high: int) -> int:
        return min(max(int(value or low), low), high)


@mutant("bert-numbers-guessed", "MakazhanAlpamys/Soup#627", "BERT-21")
class NumbersGuessed(BertRuntime):
    """Sizes and ids of a document are brought into range instead of refused."""

    loader = Halfway


class SomeTensors(Partial, BertLoader):
    """Takes a file that holds some of the tensors."""


@mutant("bert-weights-made-up", "huggingface/transformers#43429", "BERT-22")
class WeightsMadeUp(BertRuntime):
    """Tensors that are missing are drawn at random, and those that are not known are skipped."""

    loader = SomeTensors


class AnySeed(FreshSeed, BertLoader):
    """Draws from a seed of its own."""


@mutant("bert-fresh-weights", "huggingface/transformers#43429", "FMT-2")
class FreshWeights(BertRuntime):
    """Weights that the bundle does not hold are drawn anew at every load."""

    loader = AnySeed


class MoreKeysNeeded(BertLoader):
    """Asks for what the standard leaves to it."""

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        self.integer(given.get("num_heads"), 1, 2**16)
        return super().parameters(given, seed, sha256)


@mutant("bert-heads-required", "MakazhanAlpamys/Soup#627", "FMT-1")
class HeadsRequired(BertRuntime):
    """A document must name its number of heads."""

    loader = MoreKeysNeeded
