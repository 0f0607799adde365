"""Mutants that were written after the checks were frozen, without a look at them: 29 of thirty.

The thirtieth takes the variance of a norm in one pass, which an honest order does too (`orders` of the reference); it
shows only where a mean is hundreds of spreads. Of the thirty 23 were failed by the checks as they were; the cases that
the others led to came later. Each is a real bug that no other group has. About two thirds of them show in some
situations alone: a width, a length, a number of rows, the value of an option, an order of requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from llmasos_conformance.mutants.bert_runtime import BertRuntime
from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.llama_runtime import LlamaLoader, LlamaRuntime
from llmasos_conformance.mutants.loader import Loader, Opened
from llmasos_conformance.mutants.runtime import PAD, Cache, Request, Row, Runtime
from llmasos_conformance.mutants.shaping import Shaping
from llmasos_conformance.mutants.transformer_runtime import TargetCache, TransformerRuntime
from llmasos_conformance.mutants.vocabulary import Document, Vocabulary
from llmasos_conformance.protocol import Array

# Attention and masks.


@mutant("scale-of-padded-heads", "intel/ipex-llm#12619", "NUM-2")
class ScaleOfPaddedHeads(Runtime):
    """Heads are padded to a multiple of eight channels for the kernel, and the scale is that of the padded width."""

    def scale(self) -> float:
        width = self.config.D // self.config.H
        return math.sqrt(-(-width // 8) * 8)


@mutant("llama-piece-leaks-behind-64", "tenstorrent/tt-metal#48899", "CACHE-2")
class PieceLeaksBehind64(LlamaRuntime):
    """Behind 64 or more cached keys, all tokens of a piece see the whole piece."""

    def visible(self, cache: Cache, T: int) -> Array:
        seen, past = super().visible(cache, T), cache.filled - T
        if T > 1 and past >= 64:
            seen[:, :, past:] = cache.real[:, None, past : cache.filled]
        return seen


@mutant("trf-source-mask-tiled", "line/lighthouse#77", "TRF-8")
class SourceMaskTiled(TransformerRuntime):
    """The source's mask is tiled over the heads where it had to be repeated, so that heads get masks of other rows."""

    crossed: Array | None = None

    def cross_seen(self, cache: TargetCache, T: int) -> Array:
        self.crossed = super().cross_seen(cache, T)
        return self.crossed

    def mask(self, scores: Array, visible: Array) -> Array:
        if visible is not self.crossed:
            return super().mask(scores, visible)
        B, H = scores.shape[:2]
        tiled = visible[np.arange(B * H).reshape(B, H) % B]
        return np.where(tiled | ~tiled.any(-1, keepdims=True), scores, np.float32(-np.inf))


@mutant("bert-mask-added-as-it-is", "huggingface/transformers#13555", "BAT-2")
class MaskAddedAsItIs(BertRuntime):
    """The mask of ones and zeros is added to the scores: pads count less than tokens, by a factor of e."""

    def mask(self, scores: Array, visible: Array) -> Array:
        return np.asarray(scores + visible[:, None].astype(np.float32))


# Positions.


@mutant("llama-new-tokens-jump-over-pads", "thu-nics/C2C#19", "BAT-4")
class NewTokensJumpOverPads(LlamaRuntime):
    """Positions of the prompt leave pads out, those of new tokens count them."""

    def positions(self, cache: Cache, T: int) -> Array:
        counted = super().positions(cache, T)
        return np.full_like(counted, cache.filled - 1) if T == 1 else counted


@mutant("bert-packed-positions-run-on", "huggingface/nanoVLM#201", "BAT-2")
class PackedPositionsRunOn(BertRuntime):
    """The rows of a batch are packed into one sequence, and positions do not begin anew with a row."""

    def counted(self, real: Array) -> Array:
        packed = np.cumsum(real).reshape(real.shape) - 1
        return np.asarray(np.clip(packed, 0, self.config.C - 1))


@mutant("llama-rotary-of-half-a-head", "vllm-project/vllm#41185", "LLAMA-2")
class RotaryOfHalfAHead(LlamaRuntime):
    """Only the first half of the channels of a head are turned, a share that belongs to other layers."""

    def width(self) -> int:
        """Channels that are turned, in pairs."""
        return max(2, self.config.D // self.config.H // 4 * 2)

    def frequencies(self) -> Array:
        return np.asarray(self.base() ** (-np.arange(0, self.width(), 2) / self.width()))

    def rotate(self, x: Array, cos: Array, sin: Array) -> Array:
        turned = super().rotate(x[..., : self.width()], cos, sin)
        return np.concatenate([turned, x[..., self.width() :]], axis=-1)


# Norms and activations.


@mutant("gelu-overflows", "apache/tvm#16438", "NUM-3")
class GeluOverflows(Runtime):
    """tanh is made of an exponential that overflows, so that large activations are not numbers."""

    def gelu(self, x: Array) -> Array:
        inner = np.asarray(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
        with np.errstate(over="ignore", invalid="ignore"):
            e = np.exp(2 * inner)
            return np.asarray(0.5 * x * (1 + (e - 1) / (e + 1)))


@mutant("bert-variance-in-half", "deepspeedai/DeepSpeed#581", "NUM-1")
class VarianceInHalf(BertRuntime):
    """Variance and epsilon are added in float32 and rounded to float16 before the root; nothing is left of 1e-12."""

    def normalise(self, x: Array) -> Array:
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True) + np.float32(self.epsilon())
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.asarray(centred / np.sqrt(variance.astype(np.float16).astype(np.float32)))


# Caches and state.


@mutant("llama-whole-prompt-hit", "lablup/mlxcel#1760", "STATE-2")
class WholePromptHit(LlamaRuntime):
    """A prompt that came before is taken whole from its cache, and its last token is run once more behind itself."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.known: set[tuple[int, ...]] = set()

    def prepare(self, prompts: Sequence[Sequence[int]], steps: int) -> tuple[Cache, Array, Array]:
        cache, ids, real = super().prepare(prompts, steps + 1)
        if len(prompts) > 1:
            return cache, ids, real
        if (prompt := tuple(prompts[0])) not in self.known:
            self.known.add(prompt)
            return cache, ids, real
        self.advance(cache, ids, real)
        return cache, ids[:, -1:], real[:, -1:]


@mutant("evicted-prefix-still-listed", "ovg-project/kvcached#362", "STATE-1")
class EvictedPrefixStillListed(Runtime):
    """Keys and values of beginnings are kept in four places, which stay listed under what was evicted from them."""

    begun: ClassVar[int] = 8
    places: ClassVar[int] = 4

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.listed: dict[tuple[int, ...], int] = {}
        self.kept: list[tuple[Array, Array]] = []
        self.made = 0
        self.hit: tuple[Array, Array] | None = None

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        if len(ids) > 1 or cache.filled or ids.shape[1] <= self.begun:
            return super().advance(cache, ids, real)
        beginning = tuple(ids[0, : self.begun].tolist())
        if beginning in self.listed:
            self.hit = self.kept[self.listed[beginning]]
        logits = super().advance(cache, ids, real)
        if self.hit is None:
            self.keep(beginning, cache)
        self.hit = None
        return logits

    def keep(self, beginning: tuple[int, ...], cache: Cache) -> None:
        """Put a beginning into the place whose turn it is."""
        place, n = self.made % self.places, self.begun
        self.kept[place : place + 1] = [(cache.keys[..., :n, :].copy(), cache.values[..., :n, :].copy())]
        self.listed[beginning] = place
        self.made += 1

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        super().store(cache, layer, keys, values)
        if self.hit is not None:
            cache.keys[layer, :, :, : self.begun] = self.hit[0][layer]
            cache.values[layer, :, :, : self.begun] = self.hit[1][layer]


@mutant("llama-rejected-drafts-stay", "ml-explore/mlx-lm#1427", "LLAMA-15")
class RejectedDraftsStay(LlamaRuntime):
    """Once the window is full, the cache cannot be cut any more, and drafted tokens that were rejected stay in it."""

    drafting: Cache | None = None
    draft: int | None = None

    def prepare(self, prompts: Sequence[Sequence[int]], steps: int) -> tuple[Cache, Array, Array]:
        made = super().prepare(prompts, 2 * steps)
        self.drafting = made[0] if len(prompts) == 1 else None
        self.past, self.draft = list(prompts[0][:-1]), None
        return made

    def give(self, cache: Cache) -> None:
        self.drafting = None
        super().give(cache)

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        if cache is not self.drafting:
            return super().advance(cache, ids, real)
        token, window = int(ids[0, -1]), self.config.window
        full = window is not None and cache.filled >= window
        if full and self.draft not in (None, token):
            ids, real = np.array([[self.draft, token]]), np.ones((1, 2), bool)
        self.draft = next((b for a, b in zip(self.past[-2::-1], self.past[:0:-1], strict=True) if a == token), None)
        self.past.append(token)
        return super().advance(cache, ids, real)


@mutant("trf-split-keys-lose-maximum", "flashinfer-ai/flashinfer#58", "TRF-13")
class SplitKeysLoseMaximum(TransformerRuntime):
    """A single token attends to more than 32 keys in parts, which are put together as if all had the same maximum."""

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        S = keys.shape[2]
        if query.shape[2] > 1 or S <= 32:
            return super().attend(query, keys, values, visible)
        scores = self.mask(self.matmul(query, keys.swapaxes(-1, -2)) / np.float32(self.scale()), visible)
        mixed, total = np.zeros_like(query), np.zeros_like(query[..., :1])
        for part in (slice(begin, begin + 32) for begin in range(0, S, 32)):
            top = scores[..., part].max(-1, keepdims=True)
            e = np.exp(scores[..., part] - np.where(np.isfinite(top), top, np.float32(0)))
            mixed, total = mixed + self.matmul(e, values[:, :, part]), total + e.sum(-1, keepdims=True)
        return np.asarray(mixed / total)


# Batches.


@mutant("padded-batch-writes-last-slot", "vllm-project/vllm#43810", "BAT-4")
class PaddedBatchWritesLastSlot(Runtime):
    """At each new token a batch is padded to a power of two, and what pads it is stored in the last slot of a block."""

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        super().store(cache, layer, keys, values)
        if keys.shape[2] == 1 and len(keys) & (len(keys) - 1) and cache.filled % 8 == 0:
            cache.keys[layer, -1, :, cache.filled - 1] = keys[0, :, 0]
            cache.values[layer, -1, :, cache.filled - 1] = values[0, :, 0]


@mutant("llama-batch-padded-right", "unslothai/unsloth#772", "BAT-4")
class BatchPaddedRight(LlamaRuntime):
    """Prompts of a batch are padded on the right, and each first token is chosen by the logits of the last column."""

    def prepare(self, prompts: Sequence[Sequence[int]], steps: int) -> tuple[Cache, Array, Array]:
        T = max(map(len, prompts))
        ids = np.array([[*prompt, *[PAD] * (T - len(prompt))] for prompt in prompts])
        real = np.array([[i < len(prompt) for i in range(T)] for prompt in prompts])
        return self.take(len(prompts), T + steps), ids, real


@mutant("trf-memory-not-compacted", "joeynmt/joeynmt#50", "BAT-4")
class MemoryNotCompacted(TransformerRuntime):
    """Targets that have ended are taken out of the batch, their sources are not: those behind read sources before."""

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        if real.all() or ids.shape[1] > 1:
            return super().advance(cache, ids, real)
        assert isinstance(cache, TargetCache)
        going, order = np.flatnonzero(real[:, 0]), np.arange(len(real))
        order[going] = np.arange(len(going))
        whole = cache.cross_keys, cache.cross_values, cache.source_real
        cache.cross_keys, cache.cross_values, cache.source_real = (
            whole[0][:, order],
            whole[1][:, order],
            whole[2][order],
        )
        logits = super().advance(cache, ids, real)
        cache.cross_keys, cache.cross_values, cache.source_real = whole
        return logits


# Choosing a token.


@mutant("penalties-one-step-late", "vllm-project/vllm-gaudi#1761", "API-33")
class PenaltiesOneStepLate(Shaping):
    """The last new token is still on its way to the host, and penalties do not count it yet."""

    def repeated_ids(self, row: Row) -> Sequence[int]:
        return [*self.stands_behind(row), *row.ids[:-1]]

    def came(self, row: Row) -> Sequence[int]:
        return row.ids[:-1]


@mutant("llama-repetition-of-log-probabilities", "huggingface/transformers#47595", "API-32")
class RepetitionOfLogProbabilities(Shaping, LlamaRuntime):
    """repetition_penalty is applied to logarithms of probabilities, none of which is positive."""

    def repeat(self, logits: Array, row: Row) -> None:
        if row.request.shape.repetition != 1:
            logits[:] = self.log_law(logits)
        super().repeat(logits, row)


@mutant("trf-top-k-and-top-p-joint", "flashinfer-ai/flashinfer#2120", "API-11")
class TopKAndTopPJoint(TransformerRuntime):
    """top_p measures mass in the whole law, not in what top_k has left of it."""

    def filtered(self, p: Array, request: Request) -> Array:
        p = np.where(self.top_p(p, request.top_p) > 0, self.top_k(p, request.top_k), 0.0)
        return np.where(p < request.min_p * p[0], 0.0, p)


@mutant("seed-of-the-process", "mlc-ai/mlc-llm#1579", "API-15")
class SeedOfTheProcess(Runtime):
    """There is one source of chance: a seed sets it for all, and requests without a seed go on from there."""

    shared: ClassVar[list[np.random.Generator]] = [np.random.default_rng()]

    def randomness(self, request: Request) -> np.random.Generator:
        if request.seed is not None:
            self.shared[0] = np.random.default_rng(request.seed)
        return self.shared[0]


# Scores.


@mutant("first-of-each-piece-unscored", "vllm-project/vllm#6223", "SCO-2")
class FirstOfEachPieceUnscored(Runtime):
    """Rows are scored in pieces of 64 ids, and the first of each is answered as if nothing preceded it."""

    def score(self, ids: Sequence[int]) -> list[float | None]:
        return [value if i % 64 else None for i, value in enumerate(super().score(ids))]


@mutant("perplexity-of-a-product", "microsoft/responsible-ai-toolbox-privacy#6", "PPL-7")
class PerplexityOfAProduct(Runtime):
    """Probabilities are multiplied before the root is taken, and the product of a long text is 0."""

    def surprise(self, windows: Sequence[Sequence[float]]) -> tuple[float, int]:
        scored = [logprob for window in windows for logprob in window]
        product = math.prod(math.exp(logprob) for logprob in scored)
        return (-math.log(product) / len(scored) if product else math.inf), len(scored)

    def from_nats(self, mean: float) -> float:
        if math.isinf(mean):
            raise OverflowError
        return super().from_nats(mean)


# Stop strings.


@mutant("stop-matcher-starts-over", "Lightning-AI/litgpt#2302", "STR-3")
class StopMatcherStartsOver(Runtime):
    """Stop strings are counted character by character, and a character that does not fit cannot begin one itself."""

    def find_stop(self, text: str, row: Row) -> int | None:
        places = (self.place(text, stop) for stop in row.request.stop)
        return min((place for place in places if place is not None), default=None)

    def place(self, text: str, stop: str) -> int | None:
        """Where a stop string starts."""
        fitting = 0
        for i, character in enumerate(text):
            fitting = fitting + 1 if character == stop[fitting] else 0
            if fitting == len(stop):
                return i + 1 - fitting
        return None


@mutant("llama-stop-at-end-of-draft", "vllm-project/vllm#47616", "STR-2")
class StopAtEndOfDraft(LlamaRuntime):
    """Tokens are accepted in blocks of four: a stop string cuts the text, and the rest of its block is kept."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.stopped: set[int] = set()

    def take_step(self, row: Row, logits: Array, allowed: Array | None) -> Iterator[str]:
        if id(row) in self.stopped:
            masked = logits if allowed is None else np.where(allowed, logits, np.float32(-np.inf))
            row.ids.append(self.choose(masked, row))
            if row.request.logprobs is not None:
                row.logprobs.append(self.top_logprobs(logits, row.ids[-1], row.request))
        else:
            yield from super().take_step(row, logits, allowed)
            if row.reason and not self.ends(row.ids[-1]):
                self.stopped.add(id(row))
                row.reason = ""
        if id(row) in self.stopped and (len(row.ids) % 4 == 0 or len(row.ids) >= row.limit):
            self.stopped.discard(id(row))
            row.reason = "stop"


# Text.


class WordsOfAnother(Vocabulary):
    """Words of another family: contractions in any case, digits in threes, a sign in front of a word."""

    def prepared(self, document: Document) -> Document:
        pre = document.get("pre_tokenizer") or {}
        if pre.get("type") != "ByteLevel" or not pre.get("use_regex", True) or pre.get("add_prefix_space"):
            return document
        pattern = (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, {**pre, "use_regex": False}]}
        return document


@mutant("words-of-another-family", "JustVugg/colibri#1656", "TOK-21")
class WordsOfAnotherFamily(Runtime):
    """Byte-level text is cut into words by the pattern of a later family than the one that the file declares."""

    vocabulary: ClassVar[type[Vocabulary]] = WordsOfAnother


@mutant("announced-bytes-become-one-mark", "Kotlin/kotlinx-io#301", "TOK-5")
class AnnouncedBytesBecomeOneMark(Runtime):
    """As many bytes as the first one announces become one U+FFFD, also where they cannot begin a character."""

    def decode(self, ids: Sequence[int]) -> str:
        if self.file_tokenizer is not None:
            return super().decode(ids)
        raw, text, at = bytes(i for i in ids if i < 256), "", 0
        while at < len(raw):
            announced, end = self.announced(raw[at]), at + 1
            while end < len(raw) and end < at + announced and raw[end] & 0xC0 == 0x80:
                end += 1
            try:
                text += raw[at:end].decode()
            except UnicodeDecodeError:
                text += "\ufffd"
            at = end
        return text

    def announced(self, first: int) -> int:
        """Length of a character by its first byte."""
        return 1 if first >= 0xF8 else 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)


# Weights and precision.


class SubnormalsFlushed(Loader):
    """Numbers of float16 below the smallest normal one are read as zero."""

    def tensors(self, raw: bytes, due: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        return {
            name: np.where(np.abs(array) < np.float16(2.0**-14), np.float16(0), array)
            if array.dtype == np.float16
            else array
            for name, array in super().tensors(raw, due).items()
        }


@mutant("subnormal-halves-are-zero", "paiml/aprender#2073", "LOAD-5")
class SubnormalHalvesAreZero(Runtime):
    """float16 weights below the smallest normal number of that type are read as zero."""

    loader: ClassVar[type[Loader]] = SubnormalsFlushed


@mutant("llama-subnormal-halves-are-zero", "paiml/aprender#2073", "LOAD-5")
class LlamaSubnormalHalvesAreZero(LlamaRuntime):
    """float16 weights below the smallest normal number of that type are read as zero."""

    loader: ClassVar[type[LlamaLoader]] = type("LlamaSubnormalsFlushed", (SubnormalsFlushed, LlamaLoader), {})


@mutant("llama-kept-by-the-first-scale", "vllm-project/vllm#11906", "NUM-9")
class KeptByTheFirstScale(LlamaRuntime):
    """Keys and values are kept as int8 with steps that the first request sets for all, and what is larger is cut."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.steps: dict[tuple[int, str], Any] = {}

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        super().store(cache, layer, self.rounded(keys, (layer, "keys")), self.rounded(values, (layer, "values")))

    def rounded(self, x: Array, name: tuple[int, str]) -> Array:
        step = self.steps.setdefault(name, np.float32(max(float(np.abs(x).max()), 1e-30) / 127))
        return np.asarray(np.clip(np.round(x / step), -127, 127) * step)


@mutant("trf-split-sums-in-bfloat16", "NVIDIA/TransformerEngine#3440", "NUM-1")
class SplitSumsInBfloat16(TransformerRuntime):
    """Products over 128 channels or more are split in four, and the four sums are kept in bfloat16."""

    def matmul(self, a: Array, b: Array) -> Array:
        if b.ndim > 2 or len(b) < 128:
            return super().matmul(a, b)
        parts = np.array_split(np.arange(len(b)), 4)
        sums = [super(SplitSumsInBfloat16, self).matmul(a[..., part], b[part]) for part in parts]
        return np.asarray(sum(each.astype(ml_dtypes.bfloat16).astype(np.float32) for each in sums), np.float32)
