"""Mutants that are plainly wrong in what they keep: rows of a batch, caches, sessions, and state between calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import Opened, refuse
from llmasos_conformance.mutants.runtime import PAD, Cache, Request, Row, Runtime, Slot
from llmasos_conformance.protocol import Array, Generation, Refusal

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


@mutant("extend-sees-ahead", "mlx-node/mlx-node#24", "CACHE-1")
class ExtendSeesAhead(Runtime):
    """When several ids extend a cache, each of them sees those behind it."""

    def visible(self, cache: Cache, T: int) -> Array:
        seen = super().visible(cache, T)
        return np.broadcast_to(cache.real[:, None, : cache.filled], seen.shape) if 1 < T < cache.filled else seen


@mutant("positions-restart-behind-cache", "Blaizzy/mlx-vlm#1983", "CACHE-1")
class PositionsRestartBehindCache(Runtime):
    """Behind a cache, positions begin at 0 again."""

    def positions(self, cache: Cache, T: int) -> Array:
        every = super().positions(cache, T)
        return np.broadcast_to(np.arange(T), every.shape) if cache.filled > T else every


@mutant("step-position-late", "microsoft/onnxruntime-genai#2354", "GEN-1")
class StepPositionLate(Runtime):
    """Behind a cache, each token has the position behind its own."""

    def positions(self, cache: Cache, T: int) -> Array:
        every = super().positions(cache, T)
        return np.minimum(every + 1, self.config.C - 1) if cache.filled > T else every


@mutant("step-position-early", "google/gemma.cpp#665", "GEN-1")
class StepPositionEarly(Runtime):
    """Behind a cache, each token has the position before its own, so that one is used twice."""

    def positions(self, cache: Cache, T: int) -> Array:
        every = super().positions(cache, T)
        return np.asarray(every - 1) if cache.filled > T else every


@mutant("offset-grows-by-prompt", "skyzh/tiny-llm#46", "GEN-1")
class OffsetGrowsByPrompt(Runtime):
    """From the second step of a generation on, positions are too large by the prompt's length less one."""

    width = 0

    def prepare(self, prompts: Sequence[Sequence[int]], steps: int) -> tuple[Cache, Array, Array]:
        cache, ids, real = super().prepare(prompts, steps)
        self.width = ids.shape[1]
        return cache, ids, real

    def positions(self, cache: Cache, T: int) -> Array:
        every = super().positions(cache, T)
        if T > 1 or cache.filled <= self.width + 1:
            return every
        return np.asarray(np.minimum(every + self.width - 1, self.config.C - 1))

    def open(self, ids: Sequence[int]) -> Slot:
        self.width = self.config.C  # a session has no steps
        return super().open(ids)


@mutant("prompt-unmasked-with-cache", "Mikyx-1/TinyLLM#17", "GEN-1")
class PromptUnmaskedWithCache(Runtime):
    """The causal mask is left out where there is a cache, so that a generation's prompt sees what follows."""

    generating = False

    def prepare(self, prompts: Sequence[Sequence[int]], steps: int) -> tuple[Cache, Array, Array]:
        self.generating = True
        return super().prepare(prompts, steps)

    def visible(self, cache: Cache, T: int) -> Array:
        seen, begins = super().visible(cache, T), self.generating
        self.generating = False
        return np.broadcast_to(cache.real[:, None, : cache.filled], seen.shape) if begins else seen


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
