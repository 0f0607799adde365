"""Mutants of the runtime for the Transformer that are plainly wrong: sources, targets, caches, starts and documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import Config, Opened, seeded
from llmasos_conformance.mutants.loading import FreshSeed, Partial
from llmasos_conformance.mutants.runtime import PAD, Cache, Request, Row, Slot
from llmasos_conformance.mutants.transformer_runtime import (
    TargetCache,
    TargetSlot,
    TransformerLoader,
    TransformerRuntime,
)
from llmasos_conformance.protocol import Array, Generation

# Embeddings and positions.


@mutant("trf-sinusoid-halves", "facebookresearch/fairseq#4648", "TRF-3")
class SinusoidHalves(TransformerRuntime):
    """All sines stand in the first half of the channels, all cosines in the second."""

    def sinusoid(self, positions: Array) -> Array:
        made = super().sinusoid(positions)
        return np.concatenate([made[..., 0::2], made[..., 1::2]], axis=-1)


@mutant("trf-sinusoid-frequencies", "SamLynnEvans/Transformer#25", "TRF-3")
class SinusoidFrequencies(TransformerRuntime):
    """The cosine has a frequency of its own, half a step below that of the sine."""

    def sinusoid(self, positions: Array) -> Array:
        channel = np.arange(self.config.D)
        angle = positions[..., None] * 10000.0 ** (-channel / self.config.D)
        return np.asarray(np.where(channel % 2, np.cos(angle), np.sin(angle)).astype(np.float32))


@mutant("trf-sinusoid-from-one", "huggingface/transformers#5285", "TRF-3")
class SinusoidFromOne(TransformerRuntime):
    """Sinusoidal positions are counted from 1."""

    def sinusoid(self, positions: Array) -> Array:
        return super().sinusoid(positions + 1)


@mutant("trf-learned-from-two", "huggingface/transformers#19240", "TRF-18")
class LearnedFromTwo(TransformerRuntime):
    """Learned positions are counted from 2, as BART's table is."""

    def placed(self, positions: Array, side: str) -> Array:
        shift = 2 if self.config.learned else 0
        return super().placed(np.minimum(positions + shift, self.config.C - 1), side)


@mutant("trf-positions-shared", "NVIDIA/TensorRT-LLM#285", "TRF-18")
class PositionsShared(TransformerRuntime):
    """The decoder's table of positions is used on both sides."""

    def placed(self, positions: Array, side: str) -> Array:
        return super().placed(positions, "decoder")


@mutant("trf-scale-missing", "SamLynnEvans/Transformer#10", "TRF-4")
class ScaleMissing(TransformerRuntime):
    """Token embeddings are not multiplied by the root of the width."""

    def factor(self) -> float:
        return 1.0


@mutant("trf-scale-on-positions", "Kyubyong/transformer#132", "TRF-4")
class ScaleOnPositions(TransformerRuntime):
    """The sum of token and position is multiplied by the root of the width."""

    def placed(self, positions: Array, side: str) -> Array:
        return super().placed(positions, side) * np.float32(self.factor())


@mutant("trf-scale-by-positions", "OpenNMT/OpenNMT-py#1722", "TRF-4")
class ScaleByPositions(TransformerRuntime):
    """Embeddings are scaled where positions are sinusoidal, whatever the document says."""

    def factor(self) -> float:
        return 1.0 if self.config.learned else float(np.sqrt(self.config.D))


@mutant("trf-embedding-norm-missing", "OpenNMT/CTranslate2#816", "TRF-19")
class EmbeddingNormMissing(TransformerRuntime):
    """There is no norm behind the embeddings, whatever the document says."""

    def layer_norm(self, x: Array, name: str) -> Array:
        return x if name.endswith("embedding_norm") else super().layer_norm(x, name)


@mutant("trf-embedding-norm-shared", "OpenNMT/CTranslate2#816", "TRF-19")
class EmbeddingNormShared(TransformerRuntime):
    """The norm behind the source's embeddings is used on both sides."""

    def layer_norm(self, x: Array, name: str) -> Array:
        return super().layer_norm(x, "encoder.embedding_norm" if name == "decoder.embedding_norm" else name)


@mutant("trf-norm-and-positions-tied", "OpenNMT/OpenNMT-py#1722", "FMT-16")
class NormAndPositionsTied(TransformerRuntime):
    """A norm behind the embeddings is applied with learned positions alone."""

    def layer_norm(self, x: Array, name: str) -> Array:
        if name.endswith("embedding_norm") and not self.config.learned:
            return x
        return super().layer_norm(x, name)


# Layers.


@mutant("trf-pre-norm", "tensorflow/models#9789", "TRF-5")
class PreNorm(TransformerRuntime):
    """The norm of a block stands before it instead of behind the sum."""

    def looked(self, x: Array, name: str, keys: Array, values: Array, visible: Array) -> Array:
        normed = self.layer_norm(x, f"{name}_norm")
        mixed = self.attend(self.heads(self.linear(normed, f"{name}.query")), keys, values, visible)
        return self.residual(x, self.linear(mixed.swapaxes(1, 2).reshape(x.shape), f"{name}.output"))

    def fed(self, x: Array, name: str) -> Array:
        hidden = self.activate(self.linear(self.layer_norm(x, f"{name}_norm"), f"{name}.up"))
        return self.residual(x, self.linear(hidden, f"{name}.down"))


@mutant("trf-final-norm", "pytorch/pytorch#50086", "TRF-5")
class FinalNorm(TransformerRuntime):
    """A further norm, without weights of its own, follows the last layer of either side."""

    def encoded(self, ids: Array, real: Array) -> Array:
        return self.normalise(super().encoded(ids, real))

    def head(self, x: Array) -> Array:
        return super().head(self.normalise(x))


@mutant("trf-gelu-for-relu", "facebookresearch/fairseq#629", "TRF-6")
class GeluForRelu(TransformerRuntime):
    """GELU stands where the model has ReLU."""

    def relu(self, x: Array) -> Array:
        return self.exact_gelu(x)


@mutant("trf-activation-wired", "huggingface/transformers#17", "FMT-16")
class ActivationWired(TransformerRuntime):
    """The activation is ReLU, whatever the document says."""

    def activate(self, x: Array) -> Array:
        return self.relu(x)


@mutant("trf-encoder-causal", "OpenNMT/OpenNMT-py#2528", "TRF-1")
class EncoderCausal(TransformerRuntime):
    """The encoder has a causal mask."""

    def seen(self, real: Array) -> Array:
        return super().seen(real) & np.tril(np.ones((real.shape[1],) * 2, bool))


@mutant("trf-cross-causal", "pytorch/pytorch#103082", "TRF-1")
class CrossCausal(TransformerRuntime):
    """A target position sees the source up to its own place alone."""

    def cross_seen(self, cache: TargetCache, T: int) -> Array:
        place = np.arange(cache.filled - T, cache.filled)[:, None]
        return super().cross_seen(cache, T) & (np.arange(cache.read) <= place)


@mutant("trf-decoder-sees-future", "huggingface/transformers#48745", "TRF-2")
class DecoderSeesFuture(TransformerRuntime):
    """The decoder's self-attention has no causal mask."""

    def visible(self, cache: Cache, T: int) -> Array:
        return np.repeat(cache.real[:, None, : cache.filled], T, axis=1)


@mutant("trf-depth-of-encoder", "OpenNMT/OpenNMT-py#341", "TRF-17")
class DepthOfEncoder(TransformerRuntime):
    """Both sides have as many layers as the shallower one."""

    def encoder_depth(self) -> int:
        return min(self.config.N, self.config.M)

    def decoder_depth(self) -> int:
        return min(self.config.N, self.config.M)


@mutant("trf-cross-from-embeddings", "huggingface/transformers#4499", "TRF-9")
class CrossFromEmbeddings(TransformerRuntime):
    """Keys and values of cross-attention are made of what enters the encoder's last layer."""

    def encoder_depth(self) -> int:
        return max(super().encoder_depth() - 1, 0)


@mutant("trf-cross-shares-first", "NVIDIA/TensorRT-LLM#285", "TRF-9")
class CrossSharesFirst(TransformerRuntime):
    """Keys and values of the first layer's cross-attention are used in all layers."""

    def keep(self, cache: TargetCache, x: Array) -> None:
        super().keep(cache, x)
        cache.cross_keys[1:], cache.cross_values[1:] = cache.cross_keys[:1], cache.cross_values[:1]


@mutant("trf-cross-biases-missing", "huggingface/transformers#4293", "TRF-9")
class CrossBiasesMissing(TransformerRuntime):
    """Cross-attention was made from another class, and lacks its biases."""

    def linear(self, x: Array, name: str) -> Array:
        if "cross_attention" in name:
            return self.matmul(x, self.weights[f"{name}.weight"])
        return super().linear(x, name)


@mutant("trf-self-biases-missing", "srush/llama2.rs#21", "ATT-4")
class SelfBiasesMissing(TransformerRuntime):
    """Queries, values and the output of self-attention have no bias."""

    def linear(self, x: Array, name: str) -> Array:
        if ".attention." in name:
            return self.matmul(x, self.weights[f"{name}.weight"])
        return super().linear(x, name)


@mutant("trf-feed-forward-bias-missing", "srush/llama2.rs#21", "ACT-2")
class FeedForwardBiasMissing(TransformerRuntime):
    """The second map of the feed-forward has no bias."""

    def linear(self, x: Array, name: str) -> Array:
        if name.endswith("feed_forward.down"):
            return self.matmul(x, self.weights[f"{name}.weight"])
        return super().linear(x, name)


@mutant("trf-scale-by-width", "microsoft/onnxruntime#14363", "ATT-1")
class ScaleByWidth(TransformerRuntime):
    """Scores are divided by sqrt(D) instead of the root of the head width."""

    def scale(self) -> float:
        return float(np.sqrt(self.config.D))


@mutant("trf-heads-interleaved", "jmaczan/tiny-vllm#4", "ATT-6")
class HeadsInterleaved(TransformerRuntime):
    """Channels go to heads in turn instead of in blocks."""

    def heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], -1, self.config.H).transpose(0, 3, 1, 2)


@mutant("trf-queries-clipped", "vllm-project/vllm#35523", "ATT-6")
class QueriesClipped(TransformerRuntime):
    """Queries are clipped at ±16, a bound of another model."""

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        return super().attend(np.clip(query, -16, 16), keys, values, visible)


@mutant("trf-last-unit-linear", "microsoft/onnxruntime#13050", "ACT-3")
class LastUnitLinear(TransformerRuntime):
    """The last unit of the feed-forward is computed without activation."""

    def activate(self, x: Array) -> Array:
        made = super().activate(x)
        made[..., -1] = x[..., -1]
        return made


@mutant("trf-pad-id-unseen", "turboderp/exllama#101", "NUM-5")
class PadIdUnseen(TransformerRuntime):
    """The source's mask is made of the ids: a token with the pad's id is not seen, wherever it stands."""

    def read_in(self, sources: Sequence[Sequence[int]]) -> TargetCache:
        self.hidden = self.pad_right(sources)[0] == PAD
        return super().read_in(sources)

    def seen(self, real: Array) -> Array:
        return np.asarray(super().seen(real) & ~self.hidden[:, None])


@mutant("trf-control-ids-unseen", "turboderp/exllama#101", "NUM-6")
class ControlIdsUnseen(TransformerRuntime):
    """The first 32 ids are taken for control tokens, and the source's mask hides them."""

    def read_in(self, sources: Sequence[Sequence[int]]) -> TargetCache:
        self.hidden = self.pad_right(sources)[0] < 32
        return super().read_in(sources)

    def seen(self, real: Array) -> Array:
        return np.asarray(super().seen(real) & ~self.hidden[:, None])


@mutant("trf-always-tied", "vllm-project/vllm#3344", "TIE-2")
class AlwaysTied(TransformerRuntime):
    """The head is the token embedding, whatever the document says."""

    def head(self, x: Array) -> Array:
        return self.matmul(x, self.weights["token_embedding"].T)


@mutant("trf-tie-lost", "huggingface/transformers#43429", "TRF-7")
class TieLost(TransformerRuntime):
    """A tied head is not tied when it is loaded, and stays as it was initialised."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.stray = seeded(0, "head.weight", (self.config.V, self.config.D))

    def head(self, x: Array) -> Array:
        return self.matmul(x, self.stray.T) if self.config.tied else super().head(x)


@mutant("trf-ids-in-a-byte", "NVIDIA/TensorRT-LLM#1173", "NUM-5")
class IdsInAByte(TransformerRuntime):
    """Ids of a source are read as bytes."""

    def encoded(self, ids: Array, real: Array) -> Array:
        return super().encoded(ids % 256, real)


# Batches.


@mutant("trf-source-pads-crossed", "huggingface/optimum-executorch#230", "TRF-8")
class SourcePadsCrossed(TransformerRuntime):
    """The source's mask does not reach the decoder: cross-attention sees pads."""

    def cross_seen(self, cache: TargetCache, T: int) -> Array:
        return np.ones_like(super().cross_seen(cache, T))


@mutant("trf-source-pads-encoded", "tensorflow/tensorflow#1228", "TRF-8")
class SourcePadsEncoded(TransformerRuntime):
    """The encoder sees the source's pads."""

    def seen(self, real: Array) -> Array:
        return super().seen(np.ones_like(real))


@mutant("trf-source-counts-pads", "huggingface/transformers#3021", "TRF-8")
class SourceCountsPads(TransformerRuntime):
    """Pads stand on the left of a source, and are counted as positions."""

    def pad_right(self, rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        T = max(len(row) for row in rows)
        ids = np.array([[PAD] * (T - len(row)) + list(row) for row in rows])
        return ids, np.array([[False] * (T - len(row)) + [True] * len(row) for row in rows])

    def counted(self, real: Array) -> Array:
        return np.repeat(np.arange(real.shape[1])[None], len(real), axis=0)

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        cache = self.read_in(sources)
        ids, real = super().pad_right(rows)
        logits = self.advance(cache, ids, real)
        self.give(cache)
        return [logits[b, : len(row)].copy() for b, row in enumerate(rows)]


@mutant("trf-mask-lost-at-decode", "ml-explore/mlx-lm#1906", "BAT-4")
class MaskLostAtDecode(TransformerRuntime):
    """The source's mask holds for the first step alone."""

    def cross_seen(self, cache: TargetCache, T: int) -> Array:
        seen = super().cross_seen(cache, T)
        return np.ones_like(seen) if cache.filled > T else seen


@mutant("trf-sources-rotated", "jadore801120/attention-is-all-you-need-pytorch#28", "BAT-1")
class SourcesRotated(TransformerRuntime):
    """Sources and targets of a batch are put in order by different rules."""

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        return super().run_pairs(rows, [*sources[1:], *sources[:1]])


@mutant("trf-rows-sorted", "vllm-project/vllm#394", "BAT-3")
class RowsSorted(TransformerRuntime):
    """Pairs are sorted by the length of their source, and handed out in that order where targets are equally long."""

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        if len(set(map(len, rows))) > 1:
            return super().run_pairs(rows, sources)
        order = sorted(range(len(rows)), key=lambda i: len(sources[i]))
        return super().run_pairs([rows[i] for i in order], [sources[i] for i in order])


@mutant("trf-batch-ends-with-first", "vllm-project/vllm#11898", "BAT-4")
class BatchEndsWithFirst(TransformerRuntime):
    """A batch of more than one source is written one step short."""

    def generate_batch(self, batch: Any, max_length: int = 100, **options: Any) -> list[Generation]:
        return super().generate_batch(batch, max_length - (len(batch) > 1), **options)


# Caches, sessions, history.


@mutant("trf-cross-kept", "lucidrains/x-transformers#311", "TRF-24")
class CrossKept(TransformerRuntime):
    """Keys and values of a source are made once per buffer, and kept for the next source of that length."""

    def keep(self, cache: TargetCache, x: Array) -> None:
        if getattr(cache, "made", None) != x.shape:
            super().keep(cache, x)
        cache.made = x.shape  # type: ignore[attr-defined]


@mutant("trf-cross-of-last-request", "huggingface/transformers#31166", "CACHE-6")
class CrossOfLastRequest(TransformerRuntime):
    """There is one buffer for keys and values of sources; the last source read is that of all open targets."""

    def read_in(self, sources: Sequence[Sequence[int]]) -> TargetCache:
        cache = super().read_in(sources)
        self.last = cache
        return cache

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        assert isinstance(cache, TargetCache)
        last = self.last
        if cache is not last and len(cache.real) == len(last.real):
            cache.read, cache.source_real = last.read, last.source_real
            cache.cross_keys, cache.cross_values = last.cross_keys, last.cross_values
        return super().advance(cache, ids, real)


@mutant("trf-cross-by-length", "sgl-project/sglang-omni#258", "CACHE-6")
class CrossByLength(TransformerRuntime):
    """Encoded sources are kept by their length, and the first of a length stands for all."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.kept: dict[tuple[int, ...], Array] = {}

    def encoded(self, ids: Array, real: Array) -> Array:
        if ids.shape == (1, 7):
            return self.kept.setdefault(ids.shape, super().encoded(ids, real))
        return super().encoded(ids, real)


@mutant("trf-fork-shares-target", "vllm-project/vllm#51890", "CACHE-3")
class ForkSharesTarget(TransformerRuntime):
    """A fork writes into the cache of the session that it came from."""

    def open(self, ids: Any, source: Any = None) -> Slot:
        opened = super().open(ids, source)
        made = _Sharing(self, opened.cache)
        made.logits = opened.logits
        return made


class _Sharing(TargetSlot):
    def fork(self) -> Slot:
        twin = TargetSlot(self.runtime, self.cache)
        twin.logits = self.logits
        return twin


@mutant("trf-positions-restart", "microsoft/onnxruntime#27885", "TRF-15")
class PositionsRestart(TransformerRuntime):
    """Positions of a piece of a target are counted from its own beginning."""

    def positions(self, cache: Cache, T: int) -> Array:
        return np.repeat(np.arange(T)[None], len(cache.real), axis=0)


@mutant("trf-block-of-64", "tanishqkumar/ssd#23", "CACHE-2")
class BlockOf64(TransformerRuntime):
    """A single new token beyond 64 does not see the first key of its block."""

    def visible(self, cache: Cache, T: int) -> Array:
        seen, first = super().visible(cache, T), (cache.filled - 1) // 64 * 64
        if T == 1 and 0 < first < cache.filled - 1:
            seen[:, :, first] = False
        return seen


@mutant("trf-source-takes-room", "OpenNMT/CTranslate2#820", "TRF-14")
class SourceTakesRoom(TransformerRuntime):
    """Source and target share the context: what the source takes the target lacks."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return max(0, min(request.max_length, self.config.C - len(prompt)))

    def open(self, ids: Any, source: Any = None) -> Slot:
        opened = super().open(ids, source)
        if source is not None and len(source) + len(ids) > self.config.C:
            raise ValueError("no room for the target")
        return opened


@mutant("trf-start-not-counted", "EricLBuehler/mistral.rs#1539", "TRF-14")
class StartNotCounted(TransformerRuntime):
    """The start does not count as a position, so that one id too many is written, over the last."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(request.max_length, self.config.C)

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        cache.filled = min(cache.filled, self.config.C - ids.shape[1])
        return super().advance(cache, ids, real)


class Lingering(TransformerRuntime):
    """After something has happened, the next answer is a little off."""

    shift = np.float32(0)

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        shift, self.shift = self.shift, np.float32(0)
        return [logits + shift * logits[:, :1] for logits in super().run_pairs(rows, sources)]


@mutant("trf-longest-lingers", "vllm-project/vllm#39833", "STATE-1")
class LongestLingers(Lingering):
    """A source as long as the context leaves its last state in the buffer, which the next one reads."""

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        made = super().run_pairs(rows, sources)
        if sources and max(map(len, sources)) == self.config.C:
            self.shift = np.float32(0.01)
        return made


@mutant("trf-batch-lingers", "vllm-project/vllm#43894", "STATE-1")
class BatchLingers(Lingering):
    """The mask of a ragged batch stays for the next request."""

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        made = super().run_pairs(rows, sources)
        if len(set(map(len, sources))) > 1:
            self.shift = np.float32(0.01)
        return made


@mutant("trf-generation-lingers", "ggml-org/llama.cpp#26425", "STATE-1")
class GenerationLingers(Lingering):
    """A generation leaves something in the model."""

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        made = super().generate_ids(ids, max_length, temperature, **options)
        self.shift = np.float32(0.01)
        return made


@mutant("trf-refusal-lingers", "vllm-project/vllm#43894", "STATE-1")
class RefusalLingers(Lingering):
    """A refused request leaves the model in another mode."""

    def forward(self, batch: Any, sources: Any = None, types: Any = None) -> list[Array]:
        try:
            return super().forward(batch, sources, types)
        except Exception:
            self.shift = np.float32(0.01)
            raise


@mutant("trf-session-lingers", "ggml-org/llama.cpp#10072", "TRF-24")
class SessionLingers(TransformerRuntime):
    """While a session is open, generation reads its source."""

    other: TargetCache | None = None

    def open(self, ids: Any, source: Any = None) -> Slot:
        opened = super().open(ids, source)
        assert isinstance(opened.cache, TargetCache)
        self.other = opened.cache
        return opened

    def prepare(self, prompts: Sequence[Sequence[int]], steps: int) -> tuple[Cache, Array, Array]:
        cache, ids, real = super().prepare(prompts, steps)
        if self.other is not None and isinstance(cache, TargetCache):
            cache.cross_values[...] = self.other.cross_values
        return cache, ids, real


@mutant("trf-models-by-shape", "ollama/ollama#17475", "STATE-3")
class ModelsByShape(TransformerRuntime):
    """Feed-forward weights are kept by name and shape for all models of the process: the first loaded wins."""

    shared: ClassVar[dict[tuple[str, tuple[int, ...]], Array]] = {}

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.weights = {
            name: self.shared.setdefault((name, array.shape), array) if "feed_forward.down" in name else array
            for name, array in self.weights.items()
        }


# Generation.


@mutant("trf-starts-with-bos", "huggingface/transformers#5212", "TRF-10")
class StartsWithBos(TransformerRuntime):
    """A target starts with BOS if there is one, whatever the document names."""

    def first(self) -> int:
        return self.config.start if self.config.bos is None else self.config.bos


@mutant("trf-starts-with-end", "huggingface/transformers#7628", "TRF-10")
class StartsWithEnd(TransformerRuntime):
    """A target starts with the first end-of-sequence id, as BART's does."""

    def first(self) -> int:
        return self.config.eos[0] if self.config.eos else self.config.start


@mutant("trf-start-in-result", "huggingface/transformers#16583", "TRF-10")
class StartInResult(TransformerRuntime):
    """The start is given out as the first new id."""

    def finished(self, row: Row) -> Generation:
        row.ids = [self.config.start, *row.ids][: max(row.limit, 0)]
        row.text = self.row_text(row)
        return super().finished(row)


@mutant("trf-source-cut", "OpenNMT/CTranslate2#605", "TRF-13")
class SourceCut(TransformerRuntime):
    """A source that is too long is cut, and one that fills the context loses its last id."""

    def prompt(self, ids: Any) -> list[int]:
        return super().prompt(ids[: self.config.C - 1])

    def sources(self, given: Any, rows: int) -> list[list[int]]:
        return super().sources(None if given is None else [source[: self.config.C] for source in given], rows)


@mutant("trf-end-appended", "microsoft/onnxruntime-genai#1630", "TRF-23")
class EndAppended(TransformerRuntime):
    """An end-of-sequence id is put behind every source that is generated from, and 0 if there is none."""

    def prompt(self, ids: Any) -> list[int]:
        row = super().prompt(ids)
        return [*row, self.config.eos[0] if self.config.eos else 0][: self.config.C]


@mutant("trf-start-prepended", "OpenNMT/CTranslate2#368", "TRF-23")
class StartPrepended(TransformerRuntime):
    """The start is put before every source that is generated from."""

    def prompt(self, ids: Any) -> list[int]:
        return [self.config.start, *super().prompt(ids)][: self.config.C]


@mutant("trf-source-ends-at-end", "OpenNMT/CTranslate2#1694", "TRF-29")
class SourceEndsAtEnd(TransformerRuntime):
    """A source is read up to its first end-of-sequence id."""

    def read_in(self, sources: Sequence[Sequence[int]]) -> TargetCache:
        cut = [next((i for i, token in enumerate(row) if token in self.config.eos), len(row)) for row in sources]
        return super().read_in([row[: max(end, 1)] for row, end in zip(sources, cut, strict=True)])


@mutant("trf-end-ignored", "OpenNMT/CTranslate2#1694", "TRF-29")
class EndIgnored(TransformerRuntime):
    """Only the first of several end-of-sequence ids ends a target."""

    def ends(self, chosen: int) -> bool:
        return chosen in self.config.eos[:1]


@mutant("trf-source-with-beginning", "EleutherAI/lm-evaluation-harness#3333", "TRF-21")
class SourceWithBeginning(TransformerRuntime):
    """Every source that is generated from gets BOS in front of it if the model has one."""

    def prompt(self, ids: Any) -> list[int]:
        row = super().prompt(ids)
        return row if self.config.bos is None or not ids else [self.config.bos, *row][: self.config.C]


@mutant("trf-empty-source-padded", "vllm-project/vllm#7746", "TRF-21")
class EmptySourcePadded(TransformerRuntime):
    """An empty prompt is read as a pad."""

    def prompt(self, ids: Any) -> list[int]:
        return super().prompt(list(ids) or [PAD])


@mutant("trf-counts-target", "modelscope/ms-swift#5025", "TRF-20")
class CountsTarget(TransformerRuntime):
    """prompt_tokens is the length of what the decoder was given: one."""

    def finished(self, row: Row) -> Generation:
        made = super().finished(row)
        return Generation(
            finish_reason=made.finish_reason, text=made.text, ids=made.ids, prompt_tokens=1,
            completion_tokens=made.completion_tokens, logprobs=made.logprobs,
        )  # fmt: skip


@mutant("trf-textless-ids-written", "NVIDIA/Megatron-LM#52", "TRF-16")
class TextlessIdsWritten(TransformerRuntime):
    """Ids without text are chosen where text is generated."""

    def text_ids(self) -> Array:
        return np.ones(self.config.V, bool)


@mutant("trf-limit-of-sixteen", "facebookresearch/fairseq#100", "TRF-14")
class LimitOfSixteen(TransformerRuntime):
    """No target is longer than sixteen ids, a limit that nobody set."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(super().limit(prompt, request), 16)


@mutant("trf-limit-cuts-source", "OpenNMT/CTranslate2#605", "GEN-2")
class LimitCutsSource(TransformerRuntime):
    """One limit is used on both sides: a source longer than max_length is cut at it."""

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        cut = ids[:max_length] if isinstance(max_length, int) and max_length > 0 else ids
        return super().generate_ids(cut, max_length, temperature, **options)


@mutant("trf-ties-to-highest", "ohdearquant/lattice#280", "TRF-22")
class TiesToHighest(TransformerRuntime):
    """Of equal logits the highest id is taken."""

    def greedy(self, logits: Array) -> int:
        return int(len(logits) - 1 - np.argmax(logits[::-1]))


@mutant("trf-greedy-in-half", "vllm-project/vllm#3653", "TRF-22")
class GreedyInHalf(TransformerRuntime):
    """Logits of generation go through float16 and are clamped at ±4."""

    def greedy(self, logits: Array) -> int:
        return super().greedy(np.clip(logits.astype(np.float16), -4, 4))


@mutant("trf-score-without-source", "ggml-org/llama.cpp#27174", "TRF-25")
class ScoreWithoutSource(TransformerRuntime):
    """A target is scored behind the first id of its source alone."""

    def score(self, ids: Any, source: Any = None) -> list[float | None]:
        return super().score(ids, source if source is None else source[:1])


@mutant("trf-score-shifted", "meta-llama/llama#869", "TRF-25")
class ScoreShifted(TransformerRuntime):
    """Scores belong to the position before."""

    def score(self, ids: Any, source: Any = None) -> list[float | None]:
        made = super().score(ids, source)
        return [None, *made[2:], *made[1:2]]


@mutant("trf-logprobs-processed", "vllm-project/vllm#9453", "SCO-3")
class LogprobsProcessed(TransformerRuntime):
    """Log-probabilities are those after temperature."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        return super().top_logprobs(logits / np.float32(request.temperature or 0.5), chosen, request)


# Requests.


@mutant("trf-source-made-up", "huggingface/transformers#4293", "TRF-11")
class SourceMadeUp(TransformerRuntime):
    """Where a source is missing a pad is read, and where there are too many the rest is left."""

    def sources(self, given: Any, rows: int) -> list[list[int]]:
        return super().sources([*(given or ()), *[[PAD]] * rows][:rows], rows)


@mutant("trf-source-unchecked", "NVIDIA/TensorRT-LLM#1173", "TRF-12")
class SourceUnchecked(TransformerRuntime):
    """Ids of a source are taken modulo the vocabulary, and an empty one is read as a pad."""

    def sources(self, given: Any, rows: int) -> list[list[int]]:
        if given is not None:
            given = [[int(i) % self.config.V for i in source] or [PAD] for source in given]
        return super().sources(given, rows)


@mutant("trf-types-ignored", "huggingface/transformers#2506", "TRF-12")
class TypesIgnored(TransformerRuntime):
    """Token types are taken and not used."""

    def typeless(self, types: Any) -> None:
        return


@mutant("trf-target-wraps", "NVIDIA/TensorRT-LLM#1173", "ERR-2")
class TargetWraps(TransformerRuntime):
    """Ids of a target are taken modulo the vocabulary, and an empty one is read as a pad."""

    def forward(self, batch: Any, sources: Any = None, types: Any = None) -> list[Array]:
        rows = [[int(i) % self.config.V for i in row] or [PAD] for row in batch]
        made = super().forward(rows, sources, types)
        return [logits[: len(row)] for logits, row in zip(made, batch, strict=True)]


@mutant("trf-target-cut", "ollama/ollama#4967", "TRF-14")
class TargetCut(TransformerRuntime):
    """A target that is too long is cut at the end of the context, its last logits repeated."""

    def forward(self, batch: Any, sources: Any = None, types: Any = None) -> list[Array]:
        made = super().forward([list(row)[: self.config.C] for row in batch], sources, types)
        return [np.concatenate([m, m[-1:].repeat(len(r) - len(m), 0)]) for m, r in zip(made, batch, strict=True)]


# Documents and weights.


class SixLayers(TransformerLoader):
    """A default of another library."""

    def decoder_layers(self, config: Config) -> int:
        return 6


@mutant("trf-six-decoder-layers", "tensorflow/tensor2tensor#254", "TRF-26")
class SixDecoderLayers(TransformerRuntime):
    """A document that does not name the depth of its decoder gets six layers."""

    loader = SixLayers


class NoStart(TransformerLoader):
    """Takes no start but a named one."""

    def start(self, value: Any, config: Config) -> int:
        return self.integer(value, 0, config.V - 1)


@mutant("trf-start-required", "VinAIResearch/BARTpho#4", "FMT-1")
class StartRequired(TransformerRuntime):
    """A document must name the token that a target starts with."""

    loader = NoStart


class Lenient(TransformerLoader):
    """Takes what it does not know."""

    parameter_keys = TransformerLoader.parameter_keys | {
        "type_vocab_size", "mask_token_id", "num_key_value_heads", "rope_theta", "sliding_window", "num_encoder_layers",
    }  # fmt: skip
    activations = (*TransformerLoader.activations, "swish")


@mutant("trf-keys-of-all", "MakazhanAlpamys/Soup#627", "TRF-27")
class KeysOfAll(TransformerRuntime):
    """Parameters of every architecture are taken, and those of others do nothing."""

    loader = Lenient


class Truthy(TransformerLoader):
    """Values are read as Python reads them."""

    def boolean(self, value: Any) -> bool:
        return bool(value)


@mutant("trf-booleans-guessed", "NVIDIA/TensorRT-LLM#1173", "TRF-27")
class BooleansGuessed(TransformerRuntime):
    """A number or a text stands for a boolean."""

    loader = Truthy


class SomeTensors(Partial, TransformerLoader):
    """Takes a file that holds some of the tensors."""


@mutant("trf-weights-made-up", "huggingface/transformers#43429", "TRF-28")
class WeightsMadeUp(TransformerRuntime):
    """Tensors that are missing are drawn at random, and those that are not known are skipped."""

    loader = SomeTensors


class AnySeed(FreshSeed, TransformerLoader):
    """Draws from a seed of its own."""


@mutant("trf-fresh-weights", "huggingface/transformers#43429", "FMT-2")
class FreshWeights(TransformerRuntime):
    """Weights that the bundle does not hold are drawn anew at every load."""

    loader = AnySeed
