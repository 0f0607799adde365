"""Mutants that are plainly wrong: in the forward pass, in state between calls, and in everything around generation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import Opened, refuse
from llmasos_conformance.mutants.runtime import PAD, Cache, Request, Row, Runtime, Slot
from llmasos_conformance.protocol import Array, Generation, Refusal

# The forward pass.


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


# Padding and batches.


@mutant("positions-from-pad", "huggingface/transformers#3021", "BAT-2")
class PositionsFromPad(Runtime):
    """Positions are counted from the pad on the left, not from the first real token."""

    def positions(self, cache: Cache, T: int) -> Array:
        columns = np.minimum(np.arange(cache.filled - T, cache.filled), self.config.C - 1)
        return np.broadcast_to(columns, (cache.real.shape[0], T))


@mutant("pads-visible", "TransformerLensOrg/TransformerLens#1005", "BAT-2")
class PadsVisible(Runtime):
    """A batch of unequal rows is run without a padding mask."""

    def visible(self, cache: Cache, T: int) -> Array:
        S = cache.filled
        return np.broadcast_to(np.arange(S) <= np.arange(S - T, S)[:, None], (cache.real.shape[0], T, S))


@mutant("pads-visible-at-decode", "ml-explore/mlx-lm#1906", "BAT-4")
class PadsVisibleAtDecode(Runtime):
    """The padding mask is honoured for prompts and dropped at each new token."""

    def visible(self, cache: Cache, T: int) -> Array:
        seen = super().visible(cache, T)
        return seen if T > 1 else np.ones_like(seen)


@mutant("one-position-vector", "unslothai/unsloth#4078", "BAT-2")
class OnePositionVector(Runtime):
    """The positions of the first row are used for all rows."""

    def positions(self, cache: Cache, T: int) -> Array:
        every = super().positions(cache, T)
        return np.broadcast_to(every[:1], every.shape)


@mutant("batch-sorted-not-restored", "vllm-project/vllm#394", "BAT-3")
class BatchSortedNotRestored(Runtime):
    """Rows are sorted by length for the batch, and answers come back in that order."""

    def generate_batch(self, batch: Any, max_length: int = 100, **options: Any) -> list[Generation]:
        return super().generate_batch(sorted(batch, key=len), max_length, **options)

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        return super().run(sorted(rows, key=len))


@mutant("batch-ends-with-first", "vllm-project/vllm#11898", "BAT-4")
class BatchEndsWithFirst(Runtime):
    """The whole batch ends when its first row does."""

    over = False

    def take_step(self, row: Row, logits: Array, allowed: Array | None) -> Iterator[str]:
        yield from super().take_step(row, logits, allowed)
        self.over = self.over or bool(row.reason)

    def generate(self, rows: list[Row], allowed: Array | None) -> Iterator[tuple[int, str]]:
        self.over = False
        yield from super().generate(rows, allowed)
        if self.over and len(rows) > 1:
            shortest = min(len(row.ids) for row in rows)
            for row in rows:
                row.ids = row.ids[:shortest]


# State between calls.


@mutant("ids-wrap-in-table", "NVIDIA/TensorRT-LLM#1173", "NUM-5")
class IdsWrapInTable(Runtime):
    """Ids are kept in one byte, so that those from 256 on read the embeddings of others."""

    def embed(self, ids: Array, positions: Array) -> Array:
        return super().embed(ids % 256, positions)


@mutant("models-share-weights", "ollama/ollama#17475", "STATE-3")
class ModelsShareWeights(Runtime):
    """Weights are kept per shape, so that a second model of the same shapes gets those of the first."""

    kept: ClassVar[dict[Any, Mapping[str, Array]]] = {}

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.weights = self.kept.setdefault(self.config, self.weights)


class StaleSlot(Slot):
    """A slot whose buffer still counts one column of its last owner."""

    def begin(self, ids: Sequence[int]) -> Slot:
        used = self.cache.keys.any() and len(ids) < self.runtime.config.C
        if used:
            self.cache.filled, self.cache.real[:, 0] = 1, True
        return super().begin(ids)


@mutant("slot-not-cleared", "sgl-project/sglang#24717", "CACHE-6")
class SlotNotCleared(Runtime):
    """A session that gets a used buffer sees one key of the session before it."""

    def open(self, ids: Sequence[int]) -> Slot:
        return StaleSlot(self, self.take(1, self.config.C)).begin(ids)

    def positions(self, cache: Cache, T: int) -> Array:
        return np.minimum(super().positions(cache, T), self.config.C - 1)


class SharedSlot(Slot):
    """A slot whose fork has the same buffer."""

    def copy(self) -> Cache:
        shared, held = Cache.__new__(Cache), self.cache
        shared.keys, shared.values, shared.real, shared.filled = held.keys, held.values, held.real, held.filled
        return shared


@mutant("fork-shares-cache", "vllm-project/vllm#51890", "CACHE-3")
class ForkSharesCache(Runtime):
    """A fork writes into the cache of the session that it came from."""

    def open(self, ids: Sequence[int]) -> Slot:
        return SharedSlot(self, self.take(1, self.config.C)).begin(ids)


class RaggedSlot(Slot):
    """A slot that takes what fits before it refuses."""

    def extend(self, ids: Sequence[int]) -> Array:
        room = self.runtime.config.C - self.cache.filled
        if len(ids) > room > 0:
            super().extend(ids[:room])
        return super().extend(ids)


@mutant("refused-ids-stay", "NVIDIA/TensorRT-LLM#13592", "CACHE-5")
class RefusedIdsStay(Runtime):
    """Ids that do not fit the context are refused after the cache has taken the first of them."""

    def open(self, ids: Sequence[int]) -> Slot:
        return RaggedSlot(self, self.take(1, self.config.C)).begin(ids)


class ShortSlot(Slot):
    """A slot with one column too few."""

    def extend(self, ids: Sequence[int]) -> Array:
        if self.cache.filled and self.cache.filled + len(ids) >= self.runtime.config.C:
            raise refuse("the cache is full", "context_overflow")
        return super().extend(ids)


@mutant("cache-one-short", "Blaizzy/mlx-vlm#669", "CACHE-4")
class CacheOneShort(Runtime):
    """The last position of the context cannot be reached through a cache."""

    def open(self, ids: Sequence[int]) -> Slot:
        return ShortSlot(self, self.take(1, self.config.C)).begin(ids)


@mutant("extend-forgets-last", "vllm-project/vllm#39833", "CACHE-1")
class ExtendForgetsLast(Runtime):
    """When several ids extend a cache, they do not see the id before them."""

    def visible(self, cache: Cache, T: int) -> Array:
        seen = super().visible(cache, T)
        if 1 < T < cache.filled:
            seen[:, :, cache.filled - T - 1] = False
        return seen


@mutant("extend-aligned-left", "pytorch/pytorch#103082", "CACHE-1")
class ExtendAlignedLeft(Runtime):
    """With more keys than queries the causal mask is aligned top-left, so that a new token sees the oldest keys."""

    def visible(self, cache: Cache, T: int) -> Array:
        S = cache.filled
        return (np.arange(S) <= np.arange(T)[:, None]) & cache.real[:, None, :S]


@mutant("prefix-cache-coarse", "sgl-project/sglang-omni#258", "STATE-5")
class PrefixCacheCoarse(Runtime):
    """The cache of an earlier prompt is reused for every prompt that begins with the same two ids."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.seen: dict[tuple[int, ...], list[int]] = {}

    def begin(self, prompt: list[int], request: Request) -> Row:
        held = self.seen.setdefault(tuple(prompt[:2]), prompt)
        reused = min(len(held), len(prompt)) - 1
        return super().begin([*held[:reused], *prompt[reused:]], request)


@mutant("prefix-block-without-what-is-before", "openvinotoolkit/openvino.genai#3722", "STATE-6")
class PrefixBlockWithoutWhatIsBefore(Runtime):
    """A kept block of sixteen ids is found by these and their place, and what stood before it comes with it."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.seen: dict[tuple[int, ...], list[int]] = {}

    def begin(self, prompt: list[int], request: Request) -> Row:
        if len(prompt) > 32:
            held = self.seen.setdefault(tuple(prompt[16:32]), prompt[:16])
            prompt = [*held, *prompt[16:]]
        return super().begin(prompt, request)


@mutant("answer-cached-by-beginning", "EricLBuehler/mistral.rs#126", "STATE-1")
class AnswerCachedByBeginning(Runtime):
    """Answers of single rows are cached under their length and their first sixteen ids."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.seen: dict[tuple[int, ...], Array] = {}

    def key(self, row: Sequence[int]) -> tuple[int, ...]:
        return (len(row), *row[:16])

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        fresh = super().run(rows)
        alone = len(rows) == 1 and len(rows[0]) > 16
        return [self.seen.setdefault(self.key(rows[0]), fresh[0])] if alone else fresh


@mutant("answer-cached-by-end", "tenstorrent/vllm#415", "STATE-1")
class AnswerCachedByEnd(AnswerCachedByBeginning):
    """Answers of single rows are cached under their length and their last sixteen ids."""

    def key(self, row: Sequence[int]) -> tuple[int, ...]:
        return (len(row), *row[-16:])


@mutant("answer-cached-by-length", "tenstorrent/vllm#415", "STATE-1")
class AnswerCachedByLength(Runtime):
    """Answers of single rows are cached under the length of the row alone."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.seen: dict[int, Array] = {}

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        fresh = super().run(rows)
        return [self.seen.setdefault(len(rows[0]), fresh[0])] if len(rows) == 1 else fresh


@mutant("history-leaks", "vllm-project/vllm#39833", "STATE-1")
class HistoryLeaks(Runtime):
    """A request that follows another one of the same length has its first id replaced by the other's last."""

    last: tuple[int, int] = (0, 0)

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        leaked = [[self.last[1], *row[1:]] if len(row) == self.last[0] else row for row in rows]
        self.last = (len(rows[-1]), rows[-1][-1])
        return super().run(leaked)


@mutant("second-request-warm", "ovg-project/kvcached#446", "STATE-2")
class SecondRequestWarm(Runtime):
    """From the third identical request on a warm path answers, which has the first position wrong."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.counts: dict[tuple[int, ...], int] = {}

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        answers = super().run(rows)
        key = tuple(rows[0])
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] > 2:
            answers[0][0] *= np.float32(0.99)
        return answers


@mutant("refused-request-stays", "ollama/ollama#17475", "ERR-1")
class RefusedRequestStays(Runtime):
    """After a refused row, the next answer has the refused row's traces in it."""

    dirty = False

    def row(self, ids: Any) -> list[int]:
        try:
            return super().row(ids)
        except Exception:
            self.dirty = True
            raise

    def head(self, x: Array) -> Array:
        logits, dirty = super().head(x), self.dirty
        self.dirty = False
        return logits[..., ::-1] if dirty else logits


class CountedSlot(Slot):
    """A slot whose fork, when closed, hands its parent's buffer on as well."""

    parent: Slot | None = None

    def fork(self) -> Slot:
        twin = CountedSlot(self.runtime, self.copy())
        twin.logits, twin.parent = self.logits, self
        return twin

    def close(self) -> None:
        super().close()
        if self.parent is not None:
            self.runtime.give(self.parent.cache.reset())


@mutant("closed-fork-frees-parent", "sgl-project/sglang#24717", "CACHE-7")
class ClosedForkFreesParent(Runtime):
    """Closing a fork frees the cache of the session that it came from."""

    def open(self, ids: Sequence[int]) -> Slot:
        return CountedSlot(self, self.take(1, self.config.C)).begin(ids)


@mutant("batch-above-32", "NVIDIA/TensorRT-LLM#1999", "BAT-1")
class BatchAbove32(Runtime):
    """From the 33rd row of a batch on, the first id is lost."""

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        return super().run([row if b < 32 else [PAD, *row[1:]] for b, row in enumerate(rows)])


@mutant("batch-of-sixteen", "NVIDIA/TensorRT-LLM#2072", "BAT-1")
class BatchOfSixteen(Runtime):
    """In a batch that fills its sixteen places exactly, the last row loses its first id."""

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        full = len(rows) == 16
        return super().run([*rows[:-1], [PAD, *rows[-1][1:]]] if full else rows)


class ChargedSlot(Slot):
    """A slot that counts its place as taken, and frees it when it is closed after nothing was refused."""

    spoiled = False

    def begin(self, ids: Sequence[int]) -> Slot:
        assert isinstance(self.runtime, SlotsNeverFreed)
        if self.runtime.taken == SlotsNeverFreed.places:
            raise refuse("no free slot", "unsupported")
        self.runtime.taken += 1
        return super().begin(ids)

    def extend(self, ids: Sequence[int]) -> Array:
        try:
            return super().extend(ids)
        except Refusal:
            self.spoiled = True
            raise

    def close(self) -> None:
        assert isinstance(self.runtime, SlotsNeverFreed)
        if not self.closed and not self.spoiled:
            self.runtime.taken -= 1
        super().close()


@mutant("slots-never-freed", "ggml-org/llama.cpp#24496", "CACHE-6")
class SlotsNeverFreed(Runtime):
    """The place of a session in which something was refused is never freed; there are sixteen."""

    places: ClassVar[int] = 16
    taken = 0

    def open(self, ids: Sequence[int]) -> Slot:
        return ChargedSlot(self, self.take(1, self.config.C)).begin(ids)


@mutant("scored-row-stays", "vllm-project/vllm#39833", "STATE-1")
class ScoredRowStays(Runtime):
    """The request behind a score has its first id replaced by the last one of the scored row."""

    last: int | None = None

    def score(self, ids: Sequence[int]) -> list[float | None]:
        self.last, scores = None, super().score(ids)
        self.last = int(ids[-1])
        return scores

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        if self.last is not None:
            ids, self.last = np.concatenate([np.full_like(ids[:, :1], self.last), ids[:, 1:]], axis=1), None
        return super().advance(cache, ids, real)


@mutant("scores-of-the-uncached-tail", "NVIDIA/Model-Optimizer#1577", "STATE-5")
class ScoresOfTheUncachedTail(Runtime):
    """A score of a row whose beginning was continued before holds entries for what is behind that beginning alone."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.seen: list[int] = []

    def begin(self, prompt: list[int], request: Request) -> Row:
        self.seen = prompt
        return super().begin(prompt, request)

    def score(self, ids: Sequence[int]) -> list[float | None]:
        whole, held = super().score(ids), len(self.seen)
        return [None, *whole[held:]] if 1 < held < len(ids) and list(ids[:held]) == self.seen else whole


@mutant("scores-read-from-a-warm-prefix", "vllm-project/vllm#3914", "STATE-5")
class ScoresReadFromAWarmPrefix(Runtime):
    """The second score of rows that begin with the same sixteen ids has that beginning one position late."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.seen: set[tuple[int, ...]] = set()

    def score(self, ids: Sequence[int]) -> list[float | None]:
        whole, key = super().score(ids), tuple(ids[:16])
        warm = len(key) == 16 and key in self.seen
        self.seen.add(key)
        return [None, whole[1], *whole[1:15], *whole[16:]] if warm else whole


@mutant("context-at-least-48", "huggingface/transformers#585", "FMT-16")
class ContextAtLeast48(Runtime):
    """A context below 48 is taken for one of 48, the last position standing for those that lack."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        lacking = max(0, 48 - self.config.C)
        table = np.pad(self.weights["position_embedding"], ((0, lacking), (0, 0)), mode="edge")
        self.weights = {**self.weights, "position_embedding": table}
        self.config = replace(self.config, C=self.config.C + lacking)


# Limits, counts and reasons.


@mutant("limit-at-256", "ggml-org/llama.cpp#7198", "API-28")
class LimitAt256(Runtime):
    """No generation has more than 256 tokens."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(256, super().limit(prompt, request))


@mutant("batch-ends-at-32", "vllm-project/vllm#11898", "BAT-4")
class BatchEndsAt32(Runtime):
    """No row of a batch gets more than 32 tokens."""

    def generate_batch(self, batch: Any, max_length: int = 100, **options: Any) -> list[Generation]:
        return super().generate_batch(batch, min(max_length, 32) if len(batch) > 1 else max_length, **options)


@mutant("limit-counts-prompt", "vllm-project/vllm#28172", "API-1")
class LimitCountsPrompt(Runtime):
    """max_length counts the prompt's tokens too."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return max(0, min(request.max_length, self.config.C) - len(prompt))


@mutant("limit-plus-one", "EricLBuehler/mistral.rs#1539", "API-1")
class LimitPlusOne(Runtime):
    """One token more than max_length is generated."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(request.max_length + 1, self.config.C - len(prompt))


@mutant("zero-means-no-limit", "vllm-project/vllm#28172", "API-2")
class ZeroMeansNoLimit(Runtime):
    """max_length 0 is taken for "no limit"."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(request.max_length or 100, self.config.C - len(prompt))


@mutant("default-limit-doubled", "tenstorrent/tt-inference-server#4570", "API-4")
class DefaultLimitDoubled(Runtime):
    """Without max_length 200 tokens are generated."""

    def generate_text(self, prompt: str, max_length: int = 200, temperature: float = 1.0, **options: Any) -> Generation:
        return super().generate_text(prompt, max_length, temperature, **options)


@mutant("usage-off-by-one", "lmstudio-ai/lmstudio-bug-tracker#2335", "API-24")
class UsageOffByOne(Runtime):
    """completion_tokens is one too small."""

    def finished(self, row: Row) -> Generation:
        return replace(super().finished(row), completion_tokens=max(0, len(row.ids) - 1))


@mutant("reason-always-stop", "ggml-org/llama.cpp#7198", "API-20")
class ReasonAlwaysStop(Runtime):
    """The finish reason is never "length"."""

    def reason(self, row: Row) -> str:
        return "stop"


@mutant("reason-always-length", "modelscope/ms-swift#5025", "API-20")
class ReasonAlwaysLength(Runtime):
    """The finish reason is never "stop"."""

    def reason(self, row: Row) -> str:
        return "length"


@mutant("reason-by-count", "PaddlePaddle/FastDeploy#4543", "API-23")
class ReasonByCount(Runtime):
    """The finish reason is "length" whenever the limit was reached, also when the text ended there."""

    def reason(self, row: Row) -> str:
        return "length" if len(row.ids) >= row.limit else super().reason(row)


@mutant("context-slides", "ollama/ollama#4967", "API-18")
class ContextSlides(Runtime):
    """At the end of the context generation goes on, the last position standing for all that follow."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return request.max_length


@mutant("prompt-cut", "ollama/ollama#17427", "API-17")
class PromptCut(Runtime):
    """An over-long prompt silently loses its front."""

    def prompt(self, ids: Any) -> list[int]:
        return super().prompt(list(ids)[-self.config.C :])


@mutant("overflow-cut", "NVIDIA/Model-Optimizer#1577", "ERR-6")
class OverflowCut(Runtime):
    """Rows longer than the context are cut before their logits are computed."""

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        return super().forward([list(row)[-self.config.C :] for row in batch])


@mutant("empty-prompt-crashes", "vllm-project/vllm#7746", "API-19")
class EmptyPromptCrashes(Runtime):
    """An empty prompt ends in an IndexError."""

    def prompt(self, ids: Any) -> list[int]:
        if not ids:
            raise IndexError("list index out of range")
        return super().prompt(ids)


@mutant("bos-always-added", "EleutherAI/lm-evaluation-harness#3333", "API-19")
class BosAlwaysAdded(Runtime):
    """A model with a beginning-of-sequence token gets it before every prompt."""

    def prompt(self, ids: Any) -> list[int]:
        row = super().prompt(ids)
        bos = self.config.bos
        return row if bos is None or row == [bos] or len(row) == self.config.C else [bos, *row]


@mutant("bos-zero-is-none", "EleutherAI/lm-evaluation-harness#1586", "API-19")
class BosZeroIsNone(Runtime):
    """A beginning-of-sequence token with id 0 is taken for none."""

    def prompt(self, ids: Any) -> list[int]:
        return super().prompt(ids) if self.config.bos else self.row(ids)


@mutant("prompt-echoed", "meta-llama/llama#869", "API-3")
class PromptEchoed(Runtime):
    """The text begins with the prompt."""

    def finished(self, row: Row) -> Generation:
        made = super().finished(row)
        return replace(made, text=self.decode(row.prompt) + row.text) if self.has_text else made


# End of sequence.


@mutant("first-end-only", "oobabooga/textgen#5885", "API-21")
class FirstEndOnly(Runtime):
    """Only the first of several end ids ends a generation."""

    def ends(self, chosen: int) -> bool:
        return chosen in self.config.eos[:1]


@mutant("end-ignored", "huggingface/transformers#31362", "API-21")
class EndIgnored(Runtime):
    """End ids end nothing."""

    def ends(self, chosen: int) -> bool:
        return False


@mutant("end-in-text", "huggingface/tokenizers#1543", "API-22")
class EndInText(Runtime):
    """The text of an end id is part of the answer."""

    def row_text(self, row: Row) -> str:
        return self.decode(row.ids)


# Text, stop strings and streams.


@mutant("stop-per-token", "mzau/mlx-knife#68", "STR-3")
class StopPerToken(Runtime):
    """A stop string is found only within the text of one token."""

    def find_stop(self, text: str, row: Row) -> int | None:
        last = self.decode(row.ids[-1:])
        return len(text) - len(last) if any(s in last for s in row.request.stop) else None


@mutant("stop-in-text", "LostRuins/koboldcpp#1031", "STR-1")
class StopInText(Runtime):
    """The stop string stays at the end of the text."""

    def find_stop(self, text: str, row: Row) -> int | None:
        ends = (text.find(s) + len(s) for s in row.request.stop if s in text)
        return min(ends, default=None)


@mutant("stop-in-listed-order", "huggingface/smolagents#2780", "STR-2")
class StopInListedOrder(Runtime):
    """Of several stop strings the one listed first decides, also if another starts earlier."""

    def find_stop(self, text: str, row: Row) -> int | None:
        return next((text.find(s) for s in row.request.stop if s in text), None)


@mutant("stop-is-a-pattern", "huggingface/text-generation-inference#155", "STR-4")
class StopIsAPattern(Runtime):
    """Stop strings are taken for regular expressions."""

    def find_stop(self, text: str, row: Row) -> int | None:
        import re

        starts = []
        for string in row.request.stop:
            try:
                match = re.search(string, text)
            except re.error:
                match = None
            if match is not None and match[0]:
                starts.append(match.start())
        return min(starts, default=None)


@mutant("one-stop-string", "NVIDIA/TensorRT-LLM#829", "STR-5")
class OneStopString(Runtime):
    """Only the first stop string is used."""

    def find_stop(self, text: str, row: Row) -> int | None:
        return next((text.find(s) for s in row.request.stop[:1] if s in text), None)


@mutant("stop-seen-in-prompt", "meta-llama/llama#869", "STR-7")
class StopSeenInPrompt(Runtime):
    """Stop strings are looked for in prompt and continuation together."""

    def find_stop(self, text: str, row: Row) -> int | None:
        prompt = self.decode(row.prompt)
        start = min(((prompt + text).find(s) for s in row.request.stop if s in prompt + text), default=None)
        return None if start is None else max(0, start - len(prompt))


@mutant("long-stop-ignored", "mzau/mlx-knife#68", "STR-12")
class LongStopIgnored(Runtime):
    """Stop strings of more than 32 characters are ignored."""

    def stops(self, value: Any) -> tuple[str, ...]:
        return tuple(s for s in super().stops(value) if len(s) <= 32)


@mutant("long-stop-leaks-in-stream", "vllm-project/vllm#3574", "STR-9")
class LongStopLeaksInStream(Runtime):
    """A stream holds back at most 16 characters, also for a longer stop string."""

    def held(self, text: str, stop: Sequence[str]) -> int:
        return min(16, super().held(text, stop))


@mutant("empty-stop-accepted", "vllm-project/vllm#4589", "STR-6")
class EmptyStopAccepted(Runtime):
    """An empty stop string is dropped without a word."""

    def stops(self, value: Any) -> tuple[str, ...]:
        strings = [value] if isinstance(value, str) else value
        return super().stops([s for s in strings if s != ""])


@mutant("stop-leaks-in-stream", "vllm-project/vllm#3574", "STR-9")
class StopLeaksInStream(Runtime):
    """A stream gives out text that turns out to be the beginning of a stop string."""

    def held(self, text: str, stop: Sequence[str]) -> int:
        return 0


@mutant("held-text-dropped", "LostRuins/koboldcpp#1031", "STR-8")
class HeldTextDropped(Runtime):
    """Text held back as a possible stop string is lost when the text ends without one."""

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        pieces = [piece for _, piece in self.generate([row], self.text_ids())]
        lost = self.held(row.text, row.request.stop)
        yield from pieces[:-1] if lost else pieces
        yield self.finished(row)


@mutant("stream-decodes-tokens-alone", "exo-explore/exo#1691", "STR-9")
class StreamDecodesTokensAlone(Runtime):
    """A stream decodes each token alone, so that a character of several bytes becomes several U+FFFD."""

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        for _ in self.generate([row], self.text_ids()):
            pass
        yield from (piece for piece in (self.decode([i]) for i in row.ids) if piece)
        yield self.finished(row)


@mutant("text-decodes-tokens-alone", "antonellof/ferrox#124", "TOK-5")
class TextDecodesTokensAlone(Runtime):
    """Text is joined from tokens that were decoded alone."""

    def row_text(self, row: Row) -> str:
        return "".join(self.decode([i]) for i in row.ids if i not in self.config.eos)


@mutant("broken-bytes-dropped", "nobodywho-ooo/nobodywho#101", "TOK-5")
class BrokenBytesDropped(Runtime):
    """Bytes that are no UTF-8 vanish instead of becoming U+FFFD."""

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < 256).decode(errors="ignore")


@mutant("stream-in-one-piece", "raullenchai/Rapid-MLX#209", "STR-11")
class StreamInOnePiece(Runtime):
    """A stream is one piece at the end."""

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        text = "".join(piece for _, piece in self.generate([row], self.text_ids()))
        yield from [text] if text else []
        yield self.finished(row)


@mutant("stream-ends-without-reason", "vllm-project/vllm#11898", "STR-10")
class StreamEndsWithoutReason(Runtime):
    """The generation that closes a stream always says "length"."""

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        for item in super().stream_text(prompt, max_length, temperature, **options):
            yield replace(item, finish_reason="length") if isinstance(item, Generation) else item

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        *_, last = super().stream_text(prompt, max_length, temperature, **options)
        assert isinstance(last, Generation)
        return last


@mutant("tokenizer-strips", "rasbt/LLMs-from-scratch#1064", "TOK-1")
class TokenizerStrips(Runtime):
    """White space around a text is lost."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(text.strip(), special)


@mutant("tokenizer-ends-at-nul", "google/sentencepiece#185", "TOK-6")
class TokenizerEndsAtNul(Runtime):
    """A text ends at its first U+0000."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(text.split("\0")[0], special)


@mutant("tokenizer-adds-space", "ggml-org/llama.cpp#3287", "TOK-2")
class TokenizerAddsSpace(Runtime):
    """A space is put before every text."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(" " + text, special)


@mutant("tokenizer-normalises", "huggingface/transformers#48912", "TOK-1")
class TokenizerNormalises(Runtime):
    """Other spaces of Unicode become ordinary ones."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode("".join(" " if c.isspace() and ord(c) > 127 else c for c in text), special)


@mutant("escapes-read", "ggml-org/llama.cpp#7384", "TOK-46")
class EscapesRead(Runtime):
    """A backslash and an n in a text are read as the end of a line."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(text.replace("\\n", "\n"), special)


@mutant("specials-in-text", "ollama/ollama#17262", "TOK-4")
class SpecialsInText(Runtime):
    """The literal of a special token in a text is always that token."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(text, True)


@mutant("textless-ids-chosen", "Blaizzy/mlx-vlm#1917", "API-25")
class TextlessIdsChosen(Runtime):
    """Ids without text may be chosen where text is generated."""

    def text_ids(self) -> Array:
        return np.ones(self.config.V, bool)


# Choosing.


@mutant("ties-to-highest", "ohdearquant/lattice#280", "API-6")
class TiesToHighest(Runtime):
    """Of equal logits the highest id is taken."""

    def greedy(self, logits: Array) -> int:
        return len(logits) - 1 - int(np.argmax(logits[::-1]))


@mutant("zero-temperature-samples", "mlc-ai/mlc-llm#3142", "API-6")
class ZeroTemperatureSamples(Runtime):
    """Temperature 0 is replaced by a small one."""

    def temperature(self, value: Any) -> float:
        return super().temperature(value) or 0.3


@mutant("always-greedy", "vllm-project/tpu-inference#1386", "API-15")
class AlwaysGreedy(Runtime):
    """The temperature is ignored and the likeliest id taken."""

    def choose(self, logits: Array, row: Row) -> int:
        return self.greedy(logits)


@mutant("small-temperature-overflows", "InternLM/lmdeploy#1985", "GEN-5")
class SmallTemperatureOverflows(Runtime):
    """Logits are divided by the temperature before their maximum is taken off, in float16."""

    def law(self, logits: Array, request: Request) -> Array:
        with np.errstate(over="ignore"):
            scaled = (logits / np.float32(request.temperature)).astype(np.float16)
        return super().law(scaled.astype(np.float32), replace(request, temperature=1.0))


@mutant("greedy-in-bfloat16", "vllm-project/vllm#3653", "GEN-1")
class GreedyInBFloat16(Runtime):
    """The largest logit is looked for after rounding to bfloat16."""

    def greedy(self, logits: Array) -> int:
        import ml_dtypes

        return super().greedy(logits.astype(ml_dtypes.bfloat16).astype(np.float32))


@mutant("top-k-one-is-off", "kingoflolz/mesh-transformer-jax#164", "GEN-4")
class TopKOneIsOff(Runtime):
    """top_k 1 is taken for "no filter"."""

    def top_k(self, p: Array, k: int) -> Array:
        return p if k <= 1 else super().top_k(p, k)


@mutant("seed-ignored", "ggml-org/llama.cpp#7381", "API-13")
class SeedIgnored(Runtime):
    """The seed is accepted and not used."""

    def randomness(self, request: Request) -> np.random.Generator:
        return np.random.default_rng()


@mutant("seed-zero-is-none", "paiml/aprender#2102", "API-13")
class SeedZeroIsNone(Runtime):
    """Seed 0 is taken for no seed."""

    def randomness(self, request: Request) -> np.random.Generator:
        return np.random.default_rng(request.seed or None)


@mutant("seed-ignored-for-ids", "ggml-org/llama.cpp#7381", "API-13")
class SeedIgnoredForIds(Runtime):
    """Generation from ids accepts a seed and does not use it."""

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        self.request(max_length, temperature, options)
        return super().generate_ids(ids, max_length, temperature, **{**options, "seed": None})


@mutant("seed-constant-for-ids", "vllm-project/vllm#11898", "API-14")
class SeedConstantForIds(Runtime):
    """Generation from ids has one result for all seeds."""

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        self.request(max_length, temperature, options)
        seed = None if options.get("seed") is None else 7
        return super().generate_ids(ids, max_length, temperature, **{**options, "seed": seed})


@mutant("seed-ignored-in-stream", "ggml-org/llama.cpp#7381", "STR-8")
class SeedIgnoredInStream(Runtime):
    """A stream accepts a seed and does not use it."""

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        self.request(max_length, temperature, options)
        yield from super().stream_text(prompt, max_length, temperature, **{**options, "seed": None})

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        *_, last = super().stream_text(prompt, max_length, temperature, **options)
        assert isinstance(last, Generation)
        return last


@mutant("seed-constant", "ggml-org/llama.cpp#7381", "API-14")
class SeedConstant(Runtime):
    """All seeds are the same seed."""

    def randomness(self, request: Request) -> np.random.Generator:
        return np.random.default_rng(None if request.seed is None else 7)


@mutant("unseeded-calls-equal", "vllm-project/vllm#11898", "API-15")
class UnseededCallsEqual(Runtime):
    """Without a seed every call uses the same one."""

    def randomness(self, request: Request) -> np.random.Generator:
        return np.random.default_rng(request.seed or 0)


@mutant("top-k-plus-one", "kingoflolz/mesh-transformer-jax#164", "API-9")
class TopKPlusOne(Runtime):
    """top_k keeps one token too many."""

    def top_k(self, p: Array, k: int) -> Array:
        return super().top_k(p, k + 1 if k else 0)


@mutant("top-k-of-all-refused", "ml-explore/mlx-lm#1377", "API-9")
class TopKOfAllRefused(Runtime):
    """top_k has to be less than the number of ids."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        made = super().request(max_length, temperature, options)
        if made.top_k >= self.config.V:
            raise Refusal("invalid_argument", f"top_k {made.top_k} is not below {self.config.V}")
        return made


@mutant("top-k-beyond-all-fails", "TransformerLensOrg/TransformerLens#1347", "API-9")
class TopKBeyondAllFails(Runtime):
    """The place of the k-th likeliest id is looked up, and there is none."""

    def top_k(self, p: Array, k: int) -> Array:
        return np.where(p < p[k - 1], 0.0, p) if k else p


@mutant("top-p-plus-one", "BlinkDL/ChatRWKV#170", "API-8")
class TopPPlusOne(Runtime):
    """top_p keeps one token beyond the one that crosses."""

    def top_p(self, p: Array, mass: float) -> Array:
        kept = super().top_p(p, mass)
        width = np.count_nonzero(kept) + 1
        return np.where(np.arange(len(p)) < width, p, 0.0)


@mutant("top-p-drops-crossing", "Biohub/esm#360", "API-8")
class TopPDropsCrossing(Runtime):
    """top_p drops the token with which the mass is reached."""

    def top_p(self, p: Array, mass: float) -> Array:
        return p if mass == 1 else np.where((np.cumsum(p) <= mass) | (np.arange(len(p)) == 0), p, 0.0)


@mutant("min-p-ignored", "sgl-project/sglang#10617", "API-10")
class MinPIgnored(Runtime):
    """min_p is accepted and not used."""

    def filtered(self, p: Array, request: Request) -> Array:
        return super().filtered(p, replace(request, min_p=0.0))


class OtherTemperature(Runtime):
    """A law at another temperature than the one asked for."""

    def used(self, asked: float) -> float:
        raise NotImplementedError

    def law(self, logits: Array, request: Request) -> Array:
        return super().law(logits, replace(request, temperature=self.used(request.temperature)))


@mutant("temperature-ignored", "vllm-project/tpu-inference#1386", "API-27")
class TemperatureIgnored(OtherTemperature):
    """Every temperature above 0 is taken for 1."""

    def used(self, asked: float) -> float:
        return 1.0


@mutant("temperature-squared", "mlc-ai/mlc-llm#951", "API-27")
class TemperatureSquared(OtherTemperature):
    """Logits are divided by the temperature twice."""

    def used(self, asked: float) -> float:
        return asked * asked


@mutant("law-flattened", "ggml-org/llama.cpp#4091", "API-27")
class LawFlattened(OtherTemperature):
    """The law is flattened to its power of 0.8, whatever the temperature."""

    def used(self, asked: float) -> float:
        return asked / 0.8


@mutant("temperature-after-filters", "ggml-org/llama.cpp#4091", "API-11")
class TemperatureAfterFilters(Runtime):
    """The filters see the law at temperature 1; the temperature comes last."""

    def law(self, logits: Array, request: Request) -> Array:
        p = super().law(logits, replace(request, temperature=1.0)) ** (1 / request.temperature)
        return np.asarray(p / p.sum())


@mutant("filters-by-default", "vllm-project/tpu-inference#1386", "API-12")
class FiltersByDefault(Runtime):
    """Without top_k, top_p and min_p, filters of 40, 0.95 and 0.05 apply."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        return super().request(max_length, temperature, {"top_k": 40, "top_p": 0.95, "min_p": 0.05, **options})


@mutant("unknown-option-ignored", "esengine/DeepSeek-Reasonix#10245", "API-16")
class UnknownOptionIgnored(Runtime):
    """An option of an unknown name is ignored."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        known = ("seed", "top_k", "top_p", "min_p", "stop", "logprobs", "allow_special")
        return super().request(max_length, temperature, {key: options[key] for key in known if key in options})


@mutant("negative-temperature-accepted", "mlc-ai/mlc-llm#951", "API-7")
class NegativeTemperatureAccepted(Runtime):
    """A negative temperature is taken for 0."""

    def temperature(self, value: Any) -> float:
        return super().temperature(max(value, 0) if isinstance(value, int | float) else value)


@mutant("loose-integers", "NVIDIA/TensorRT-LLM#1173", "ERR-4")
class LooseIntegers(Runtime):
    """Booleans, fractions and numbers in quotes are rounded to integers."""

    def integer(self, value: Any, low: int, high: float = math.inf) -> int:
        try:
            return super().integer(int(value), low, high)
        except (TypeError, ValueError, OverflowError):
            raise refuse("not an integer", "invalid_argument") from None


@mutant("negative-limit-is-zero", "EricLBuehler/mistral.rs#1539", "ERR-5")
class NegativeLimitIsZero(Runtime):
    """A negative max_length is taken for 0."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        low = max_length if not isinstance(max_length, int) else max(max_length, 0)
        return super().request(low if not isinstance(max_length, bool) else max_length, temperature, options)


@mutant("foreign-ids-wrap", "huggingface/transformers#3108", "ERR-2")
class ForeignIdsWrap(Runtime):
    """Ids outside the vocabulary wrap around."""

    def row(self, ids: Any) -> list[int]:
        return super().row([i % self.config.V if type(i) is int else i for i in ids])


@mutant("foreign-ids-are-silent", "vllm-project/vllm#53029", "ERR-2")
class ForeignIdsAreSilent(Runtime):
    """Ids outside the vocabulary have no text instead of being refused."""

    def detokenize(self, ids: Sequence[int]) -> str:
        return super().detokenize([i for i in ids if 0 <= i < self.config.V])


@mutant("textless-ids-leave-marks", "ggml-org/llama.cpp#23840", "TOK-3")
class TextlessIdsLeaveMarks(Runtime):
    """An id without text becomes U+FFFD."""

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode([i if i < 256 else 255 for i in ids])


@mutant("empty-row-is-a-pad", "NVIDIA/TensorRT-LLM#2072", "ERR-3")
class EmptyRowIsAPad(Runtime):
    """An empty row is run as one pad."""

    def row(self, ids: Any) -> list[int]:
        return super().row(ids if len(ids) else [PAD])


@mutant("bad-row-skipped", "NVIDIA/TensorRT-LLM#1999", "ERR-7")
class BadRowSkipped(Runtime):
    """A bad row of a batch is answered with one pad's logits instead of being refused."""

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        rows = [ids if all(type(i) is int and 0 <= i < self.config.V for i in ids) else [PAD] for ids in batch]
        return super().forward(rows if len(rows) > 1 else batch)


# Log-probabilities.


@mutant("logprobs-shifted", "abetlen/llama-cpp-python#1983", "SCO-4")
class LogprobsShifted(Runtime):
    """The value reported for a token is that of the token before it."""

    def finished(self, row: Row) -> Generation:
        made = super().finished(row)
        return made if made.logprobs is None else replace(made, logprobs=[*row.logprobs[:1], *row.logprobs[:-1]])


@mutant("logprobs-processed", "vllm-project/vllm#9453", "SCO-3")
class LogprobsProcessed(Runtime):
    """Log-probabilities are those after the temperature."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        return super().top_logprobs(logits / np.float32(request.temperature or 1), chosen, request)


@mutant("logprobs-greedy-is-zero", "mlc-ai/mlc-llm#3142", "SCO-3")
class LogprobsGreedyIsZero(Runtime):
    """At temperature 0 the chosen token has log-probability 0."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        made = super().top_logprobs(logits, chosen, request)
        return made if request.temperature else {**made, chosen: 0.0}


@mutant("score-of-vanished-exponentials", "InternLM/lmdeploy#1985", "SCO-5")
class ScoreOfVanishedExponentials(Runtime):
    """Scores take exponentials in float32 as they are; where all of them vanish, so does the score."""

    def log_law(self, logits: Array) -> Array:
        with np.errstate(under="ignore", over="ignore"):
            total = np.exp(logits.astype(np.float32)).sum(-1, keepdims=True)
        return np.where(total > 0, super().log_law(logits), -np.inf)


@mutant("vocabulary-padded-with-zeros", "Blaizzy/mlx-vlm#1917", "GEN-6")
class VocabularyPaddedWithZeros(Runtime):
    """Logits are padded to a multiple of 64 with zeros before a token is chosen, and so is what may be chosen."""

    def choose(self, logits: Array, row: Row) -> int:
        return super().choose(np.pad(logits, (0, -len(logits) % 64)), row)


@mutant("logprobs-without-maximum", "JustVugg/colibri#369", "SCO-3")
class LogprobsWithoutMaximum(Runtime):
    """Log-probabilities of generated ids take exponentials in float32 without the maximum; what overflows is 0."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        made = super().top_logprobs(logits, chosen, request)
        with np.errstate(over="ignore"):
            total = np.exp(logits.astype(np.float32)).sum()
        return made if np.isfinite(total) else dict.fromkeys(made, 0.0)


@mutant("filters-stay", "vllm-project/vllm#43894", "API-13")
class FiltersStay(Runtime):
    """A request without top-k gets the one of the request before it."""

    last: int = 0

    def law(self, logits: Array, request: Request) -> Array:
        return super().law(logits, replace(request, top_k=request.top_k or self.last))

    def finished(self, row: Row) -> Generation:
        self.last = row.request.top_k
        return super().finished(row)


@mutant("text-cut-at-65536", "michaelfeil/infinity#561", "TOK-1")
class TextCutAt65536(Runtime):
    """What stands behind the first 65536 characters of a text is dropped without a word."""

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        return super().encode(text[:65536], allow_special)


@mutant("logprobs-without-chosen", "abetlen/llama-cpp-python#453", "SCO-6")
class LogprobsWithoutChosen(Runtime):
    """Only the likeliest ids are reported; the chosen one is missing when it is none of them."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        made = super().top_logprobs(logits, chosen, request)
        return dict(list(made.items())[: request.logprobs])


@mutant("logprobs-base-two", "abetlen/llama-cpp-python#349", "SCO-2")
class LogprobsBaseTwo(Runtime):
    """Log-probabilities are to the base 2."""

    def log_law(self, logits: Array) -> Array:
        return super().log_law(logits) / math.log(2)


@mutant("score-shifted", "meta-llama/llama#869", "SCO-2")
class ScoreShifted(Runtime):
    """A score looks at the logits after the token instead of before it."""

    def score(self, ids: Sequence[int]) -> list[float | None]:
        row = self.row(ids)
        law = self.log_law(self.run([row])[0])
        return [None, *(float(law[t + 1, i]) for t, i in enumerate(row[1:]))]


@mutant("score-in-windows", "NVIDIA/Model-Optimizer#1577", "SCO-2")
class ScoreInWindows(Runtime):
    """Long texts are scored in windows of 192 ids, each of which forgets those before."""

    def score(self, ids: Sequence[int]) -> list[float | None]:
        row = self.row(ids)
        first, *others = [row[i : i + 192] for i in range(0, len(row), 192)]
        # Each later window begins with the last id of the one before, so that its own first id has something before it.
        return [*super().score(first), *(s for i, w in enumerate(others, 1) for s in self.window(row[i * 192 - 1], w))]

    def window(self, before: int, ids: Sequence[int]) -> list[float | None]:
        return super().score([before, *ids])[1:]


@mutant("score-first-is-zero", "vllm-project/vllm#5334", "SCO-1")
class ScoreFirstIsZero(Runtime):
    """The first token, which nothing precedes, is scored 0."""

    def score(self, ids: Sequence[int]) -> list[float | None]:
        return [0.0, *super().score(ids)[1:]]


@mutant("score-underflows", "InternLM/lmdeploy#1985", "SCO-5")
class ScoreUnderflows(Runtime):
    """The logarithm is taken of a rounded probability, so that an unlikely token has minus infinity."""

    def log_law(self, logits: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.softmax(logits.astype(np.float32))).astype(np.float64))
