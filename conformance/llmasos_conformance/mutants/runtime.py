"""A small serving runtime in NumPy float32, right as it stands, from which the mutants differ in one place each.

It is written apart from the reference, and in the way of real servers rather than of a textbook, because that is where
real bugs live: the rows of a batch share one left-padded tensor with a mask and position ids; caches are preallocated
buffers that are handed from one request to the next without being cleared; sessions are slots; text is streamed with
held-back bytes and stop strings.

Every step is a method of its own, so that a mutant is a subclass that overrides one of them.

Letters: B batch, T query positions, S key positions (pads included), D model width, H heads, G key-value heads, K head
width, F hidden width, V vocabulary, N layers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.learning import Learning
from llmasos_conformance.mutants.loader import Config, Loader, Opened, refuse
from llmasos_conformance.mutants.scoring import Scores
from llmasos_conformance.mutants.vocabulary import Vocabulary
from llmasos_conformance.protocol import CAPABILITIES, OF_SERVERS, Array, Claims, Description, Generation, Refusal

OPTIONS = frozenset({"seed", "top_k", "top_p", "min_p", "stop", "logprobs", "allow_special"})
PAD = 0
"""The id that fills the left of shorter rows. It is an ordinary token: only the mask keeps it out."""


NOT_OFFERED = frozenset(
    {
        "gumbel", "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty", "beams", "encode",
        "fill_mask", "onnx", "export", "window",
    }
)  # fmt: skip
"""Capabilities of runtimes of other kinds."""


class Cache:
    """Keys and values of B rows, in buffers that outlive the request.

    Attributes:
        keys, values: [N, B, G, S, K]; columns from `filled` on hold whatever an earlier request left there.
        real: [B, S], False where a row is padded.
        filled: columns in use.
        history: the ids of each row, pads left out.
    """

    def __init__(self, config: Config, rows: int, columns: int) -> None:
        shape = (config.N, rows, config.G, columns, config.D // config.H)
        self.keys, self.values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.real = np.zeros((rows, columns), bool)
        self.filled = 0

    def reset(self) -> Cache:
        """For the next request. What lies beyond `filled` is never read, so nothing is cleared."""
        self.filled = 0
        return self

    def ordered(self, rows: Sequence[int]) -> Cache:
        """A cache of its own whose rows are those rows of this one."""
        made = copy.copy(self)
        made.keys, made.values, made.real = self.keys[:, rows], self.values[:, rows], self.real[rows]
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What changes logits before one is chosen; see `shaping`.

    Attributes:
        bias: id -> number added to its logit.
        repetition, frequency, presence: penalties.
    """

    bias: Mapping[int, float] = field(default_factory=dict)
    repetition: float = 1.0
    frequency: float = 0.0
    presence: float = 0.0


@dataclass(slots=True, kw_only=True)
class Request:
    """A checked request."""

    max_length: int
    temperature: float
    seed: int | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    allow_special: bool = False
    shape: Shape = Shape()


@dataclass(slots=True)
class Row:
    """One generation in progress."""

    prompt: list[int]
    request: Request
    limit: int
    random: np.random.Generator
    ids: list[int] = field(default_factory=list)
    logprobs: list[Mapping[int, float]] = field(default_factory=list)
    text: str = ""
    emitted: str = ""
    reason: str = ""


class Runtime(Learning):
    """A loaded bundle, and everything that is served from it.

    Args:
        opened: what the loader let through.
    """

    loader: ClassVar[type[Loader]] = Loader
    vocabulary: ClassVar[type[Vocabulary]] = Vocabulary
    slots: ClassVar[int] = 2
    """Buffers kept for reuse."""
    scores: ClassVar[type[Scores]] = Scores
    """Metrics of texts, which the adapter offers beside the model."""
    offers: ClassVar[frozenset[str]] = frozenset(CAPABILITIES) - NOT_OFFERED - OF_SERVERS
    """Capabilities that this class adds to those of its bases."""
    withholds: ClassVar[frozenset[str]] = frozenset()
    """Capabilities of its bases that this class and what is made of it do not have."""
    architecture: ClassVar[str] = "GPT-3"

    def __init__(self, opened: Opened) -> None:
        self.config, self.weights = opened.config, opened.weights
        self.file_tokenizer = self.open_tokenizer(opened.tokenizer)
        self.pool: list[Cache] = []

    @classmethod
    def served(cls, opened: Opened, capabilities: Collection[str]) -> None:
        """Refuse a document that asks for what is not offered."""
        if opened.config.band is not None and "window" not in capabilities:
            raise refuse("layers with bands are not offered", "unsupported")

    # Arithmetic: one operation each, in float32.

    def matmul(self, a: Array, b: Array) -> Array:
        """[..., T, K] x [..., K, M] -> [..., T, M]."""
        return a @ b

    def linear(self, x: Array, name: str) -> Array:
        """x · W + b of the named map; [B, T, D_in] -> [B, T, D_out]."""
        return self.matmul(x, self.weights[f"{name}.weight"]) + self.weights[f"{name}.bias"]

    def layer_norm(self, x: Array, name: str) -> Array:
        """(x - μ) / sqrt(σ² + ε) · weight + bias over the last axis; [B, T, D] -> [B, T, D]."""
        return self.normalise(x) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def normalise(self, x: Array) -> Array:
        """(x - μ) / sqrt(σ² + ε) over the last axis."""
        centred = x - np.mean(x, axis=-1, keepdims=True)
        return np.asarray(
            centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + np.float32(self.epsilon()))
        )

    def epsilon(self) -> float:
        return self.config.epsilon

    def gelu(self, x: Array) -> Array:
        """x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³)))."""
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))))

    def softmax(self, scores: Array) -> Array:
        """exp(s - max s) / Σ exp(s - max s) over the last axis."""
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))

    def scale(self) -> float:
        """What the scores are divided by."""
        return math.sqrt(self.config.D // self.config.H)

    # The model.

    def embed(self, ids: Array, positions: Array) -> Array:
        """Token and position embeddings; [B, T], [B, T] -> [B, T, D]."""
        return self.weights["token_embedding"][ids] + self.weights["position_embedding"][positions]

    def positions(self, cache: Cache, T: int) -> Array:
        """Position of each of the last T columns, counted from the first real one of its row; [B, T]."""
        counted = np.cumsum(cache.real[:, : cache.filled], axis=1) - 1
        # Pads get some valid position; nobody sees them.
        return np.asarray(np.clip(counted[:, -T:], 0, self.config.C - 1))

    def visible(self, cache: Cache, T: int) -> Array:
        """Which of the S columns each of the last T may see: real ones up to itself; [B, T, S]."""
        S = cache.filled
        causal = np.arange(S) <= np.arange(S - T, S)[:, None]
        return causal & cache.real[:, None, :S]

    def reach(self, layer: int) -> int | None:
        """How many keys a query of a layer sees, its own included; None for all."""
        return self.config.band if layer % 2 else None

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        """What is visible, but for what is out of the layer's reach; [B, T, S] -> [B, T, S]."""
        width, S = self.reach(layer), cache.filled
        return visible if width is None else visible & (np.arange(S) > np.arange(S - T, S)[:, None] - width)

    def mask(self, scores: Array, visible: Array) -> Array:
        """Scores with -inf where nothing is visible. A pad's own row sees all, so that it stays finite."""
        blind = ~visible.any(-1, keepdims=True)
        return np.where((visible | blind)[:, None], scores, np.float32(-np.inf))

    def store(self, cache: Cache, layer: int, keys: Array, values: Array) -> None:
        """Put the keys and values [B, H, T, K] of the last T columns into the cache."""
        begin = cache.filled - keys.shape[2]
        cache.keys[layer, :, :, begin : cache.filled] = keys
        cache.values[layer, :, :, begin : cache.filled] = values

    def heads(self, x: Array) -> Array:
        """[B, T, D] -> [B, H, T, K]."""
        return x.reshape(*x.shape[:2], self.config.H, -1).swapaxes(1, 2)

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        """softmax(q kᵀ / scale + mask) v; [B, H, T, K], two [B, H, S, K], [B, T, S] -> [B, H, T, K]."""
        scores = self.matmul(query, keys.swapaxes(-1, -2)) / np.float32(self.scale())
        return self.matmul(self.softmax(self.mask(scores, visible)), values)

    def self_attention(self, x: Array, layer: int, cache: Cache, visible: Array) -> Array:
        """The attention of one layer on its normed input; [B, T, D] -> [B, T, D]."""
        query, keys, values = (
            self.heads(self.linear(x, f"layers.{layer}.attention.{part}")) for part in ("query", "key", "value")
        )
        self.store(cache, layer, keys, values)
        S = cache.filled
        mixed = self.attend(query, cache.keys[layer, :, :, :S], cache.values[layer, :, :, :S], visible)
        return self.linear(mixed.swapaxes(1, 2).reshape(x.shape), f"layers.{layer}.attention.output")

    def feed_forward(self, x: Array, layer: int) -> Array:
        """The feed-forward of one layer on its normed input; [B, T, D] -> [B, T, D]."""
        hidden = self.gelu(self.linear(x, f"layers.{layer}.feed_forward.up"))
        return self.linear(hidden, f"layers.{layer}.feed_forward.down")

    def residual(self, x: Array, branch: Array) -> Array:
        return x + branch

    def depth(self) -> Sequence[int]:
        """The layers that are run, in their order."""
        return range(self.config.N)

    def final(self, x: Array) -> Array:
        return self.layer_norm(x, "final_norm")

    def head(self, x: Array) -> Array:
        """[B, T, D] -> logits [B, T, V]."""
        return self.matmul(x, self.weights["token_embedding" if self.config.tied else "head.weight"].T)

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        """Run T more columns of B rows behind a cache.

        Args:
            cache: of these rows; grows by T columns.
            ids, real: [B, T]; pads are not real.

        Returns:
            logits [B, T, V]; those of pads mean nothing.
        """
        T = ids.shape[1]
        cache.real[:, cache.filled : cache.filled + T] = real
        cache.filled += T
        x, visible = self.embed(ids, self.positions(cache, T)), self.visible(cache, T)
        for layer in self.depth():
            name = f"layers.{layer}"
            normed, seen = self.layer_norm(x, f"{name}.attention_norm"), self.near(visible, cache, T, layer)
            x = self.residual(x, self.self_attention(normed, layer, cache, seen))
            x = self.residual(x, self.feed_forward(self.layer_norm(x, f"{name}.feed_forward_norm"), layer))
        return self.head(self.final(x))

    # Batches and caches.

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        """Rows of ids as one left-padded tensor; ids and real, both [B, T]."""
        T = max(len(row) for row in rows)
        ids = np.array([[PAD] * (T - len(row)) + list(row) for row in rows])
        return ids, np.array([[False] * (T - len(row)) + [True] * len(row) for row in rows])

    def take(self, rows: int, columns: int) -> Cache:
        """A cache of a free buffer that is large enough, or a new one."""
        for cache in self.pool:
            if cache.real.shape[0] == rows and cache.real.shape[1] >= columns:
                self.pool.remove(cache)
                return cache.reset()
        return Cache(self.config, rows, columns)

    def give(self, cache: Cache) -> None:
        """Put a buffer back for the next request, which gets it before all others."""
        self.pool = [cache, *self.pool][: self.slots]

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        """Logits [T, V] of each row, all rows in one tensor."""
        ids, real = self.pad(rows)
        cache = self.take(len(rows), ids.shape[1])
        logits = self.advance(cache, ids, real)
        self.give(cache)
        return [logits[b, ids.shape[1] - len(row) :].copy() for b, row in enumerate(rows)]

    # Requests.

    def integer(self, value: Any, low: int, high: float = math.inf) -> int:
        if type(value) is int and low <= value <= high:  # a million of them come with the texts of all characters
            return value
        if not isinstance(value, Integral) or isinstance(value, bool) or not low <= int(value) <= high:
            raise refuse(f"{value!r:.40} is not an integer from {low} to {high}", "invalid_argument")
        return int(value)

    def number(self, value: Any, low: float, high: float = math.inf) -> float:
        if not isinstance(value, Real) or isinstance(value, bool):
            raise refuse(f"{value!r:.40} is not a number", "invalid_argument")
        try:
            number = float(value)
        except OverflowError:  # of an integer
            number = math.inf
        if not (low <= number <= high and math.isfinite(number)):
            raise refuse(f"{value!r:.40} is not a number from {low} to {high}", "invalid_argument")
        return number

    def row(self, ids: Any) -> list[int]:
        """Ids of the vocabulary, at least one, at most as many as the context holds."""
        if isinstance(ids, str | bytes) or not isinstance(ids, Sequence | np.ndarray):
            raise refuse("ids must be a list", "invalid_argument")
        row = [self.integer(i, 0, self.config.V - 1) for i in ids]
        if not row:
            raise refuse("no ids", "invalid_argument")
        if len(row) > self.config.C:
            raise refuse(f"{len(row)} ids, the context holds {self.config.C}", "context_overflow")
        return row

    def prompt(self, ids: Any) -> list[int]:
        """The ids that a generation starts from."""
        if isinstance(ids, Sequence) and not ids and self.config.bos is not None:
            return [self.config.bos]
        return self.row(ids)

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        """The options of a call, each judged."""
        unknown = set(options) - OPTIONS
        if unknown:
            raise refuse(f"unknown option {min(unknown)}", "unknown_parameter")
        seed, logprobs = options.get("seed"), options.get("logprobs")
        top_p, special = self.number(options.get("top_p", 1.0), 0, 1), options.get("allow_special", False)
        if top_p == 0 or not isinstance(special, bool):
            raise refuse("top_p must be above 0, allow_special a boolean", "invalid_argument")
        return Request(
            max_length=self.integer(max_length, 0),
            temperature=self.temperature(temperature),
            seed=None if seed is None else self.integer(seed, 0, 2**64 - 1),
            top_k=self.integer(options.get("top_k", 0), 0),
            top_p=top_p,
            min_p=self.number(options.get("min_p", 0.0), 0, 1),
            stop=self.stops(options.get("stop", ())),
            logprobs=None if logprobs is None else self.integer(logprobs, 0, self.config.V),
            allow_special=special,
        )

    def temperature(self, value: Any) -> float:
        return self.number(value, 0)

    def stops(self, value: Any) -> tuple[str, ...]:
        strings = (value,) if isinstance(value, str) else value
        if not isinstance(strings, list | tuple) or not all(isinstance(s, str) and s for s in strings):
            raise refuse("stop must be texts that are not empty", "invalid_argument")
        return tuple(strings)

    # Text.

    def open_tokenizer(self, raw: bytes | None) -> Vocabulary | None:
        """What tokenizer.json says; None for bytes."""
        return None if raw is None else self.vocabulary(self.loader().parse(raw), self.config.V)

    @property
    def has_text(self) -> bool:
        return self.file_tokenizer is not None or self.config.V >= 256

    def encode(self, text: str, special: bool = False) -> list[int]:
        if self.file_tokenizer is None:
            return list(text.encode())
        return self.file_tokenizer.encode(text, special)

    def decode(self, ids: Sequence[int]) -> str:
        if self.file_tokenizer is None:
            return bytes(i for i in ids if i < 256).decode(errors="replace")
        return self.file_tokenizer.decode(ids)

    def text_ids(self) -> Array:
        """[V] True for ids that a text may go on with, end ids included."""
        allowed = np.zeros(self.config.V, bool)
        if self.file_tokenizer is None:
            allowed[:256] = True
        else:
            allowed[sorted(self.file_tokenizer.names.keys() - self.file_tokenizer.special)] = True
        if self.config.bos is not None:
            allowed[self.config.bos] = False
        allowed[list(self.config.eos)] = True
        return allowed

    def tokenize(self, text: str, allow_special: bool = False) -> list[int]:
        if not self.has_text:
            raise refuse("no tokenizer", "unsupported")
        try:
            text.encode()
        except (UnicodeEncodeError, AttributeError):
            raise refuse("not a text of Unicode scalar values", "invalid_argument") from None
        return self.encode(text, allow_special)

    def detokenize(self, ids: Sequence[int]) -> str:
        if not self.has_text:
            raise refuse("no tokenizer", "unsupported")
        return self.decode([self.integer(i, 0, self.config.V - 1) for i in ids])

    # Choosing a token.

    def law(self, logits: Array, request: Request) -> Array:
        """Probabilities [V] in float64: temperature, top-k, top-p, min-p, in this order."""
        z = logits.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # logits that are not finite end in an error below
            p = np.exp((z - z.max()) / request.temperature)
        p /= p.sum()
        order = np.argsort(-p, kind="stable")
        p[order] = self.filtered(p[order], request)
        return np.asarray(p / p.sum())

    def filtered(self, p: Array, request: Request) -> Array:
        """The three filters on probabilities sorted from the likeliest; what falls out is 0."""
        p = self.top_k(p, request.top_k)
        p = self.top_p(p / p.sum(), request.top_p)
        return np.where(p < request.min_p * p[0], 0.0, p)

    def top_k(self, p: Array, k: int) -> Array:
        return np.where(np.arange(len(p)) < k, p, 0.0) if k else p

    def top_p(self, p: Array, mass: float) -> Array:
        """The smallest prefix that reaches the mass, the crossing token included."""
        return p if mass == 1 else np.where(np.cumsum(p) - p < mass, p, 0.0)

    def greedy(self, logits: Array) -> int:
        """The largest logit; of equals, the lowest id."""
        return int(np.argmax(logits))

    def choose(self, logits: Array, row: Row) -> int:
        if row.request.temperature == 0:
            return self.greedy(logits)
        return int(row.random.choice(len(logits), p=self.law(logits, row.request)))

    def randomness(self, request: Request) -> np.random.Generator:
        """A generator of the seed, or of fresh entropy."""
        return np.random.default_rng(request.seed)

    def log_law(self, logits: Array) -> Array:
        """Raw natural-log probabilities over the last axis, float64."""
        z = logits.astype(np.float64)
        z -= z.max(-1, keepdims=True)
        return np.asarray(z - np.log(np.exp(z).sum(-1, keepdims=True)))

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        law = self.log_law(logits)
        likeliest = np.argsort(-law, kind="stable")[: request.logprobs]
        return {int(i): float(law[i]) for i in (*likeliest, chosen)}

    # Generation.

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        """Most new tokens of a row."""
        return min(request.max_length, self.config.C - len(prompt))

    def begin(self, prompt: list[int], request: Request) -> Row:
        return Row(prompt, request, self.limit(prompt, request), self.randomness(request))

    def prepare(self, prompts: Sequence[Sequence[int]], steps: int) -> tuple[Cache, Array, Array]:
        """A cache with room for so many steps, and what it is fed first: ids and real, [B, T]."""
        ids, real = self.pad(prompts)
        return self.take(len(prompts), ids.shape[1] + steps), ids, real

    def generate(self, rows: list[Row], allowed: Array | None) -> Iterator[tuple[int, str]]:
        """Generate all rows in one batch; yields (row, piece of its text) as text becomes certain."""
        steps = max(row.limit for row in rows)
        if steps <= 0:
            return
        cache, ids, real = self.prepare([row.prompt for row in rows], steps)
        for _ in range(steps):
            logits = self.advance(cache, ids, real)[:, -1]
            going = [not row.reason and len(row.ids) < row.limit for row in rows]
            for b, row in enumerate(rows):
                if going[b]:
                    yield from ((b, piece) for piece in self.take_step(row, logits[b], allowed))
            if all(row.reason or len(row.ids) >= row.limit for row in rows):
                break
            real = np.array([[g] for g in going])
            ids = np.array([[row.ids[-1] if row.ids else PAD] for row in rows])
        self.give(cache)

    def take_step(self, row: Row, logits: Array, allowed: Array | None) -> Iterator[str]:
        """Choose one token for a row, and yield the text that it makes certain."""
        masked = logits if allowed is None else np.where(allowed, logits, np.float32(-np.inf))
        chosen = self.choose(masked, row)
        row.ids.append(chosen)
        if row.request.logprobs is not None:
            row.logprobs.append(self.top_logprobs(logits, chosen, row.request))
        if self.ends(chosen):
            row.reason = "stop"
        if self.has_text:
            yield from self.piece(row)

    def stands_behind(self, row: Row) -> Sequence[int]:
        """What the new ids of a row stand behind."""
        return row.prompt

    def ends(self, chosen: int) -> bool:
        return chosen in self.config.eos

    def row_text(self, row: Row) -> str:
        """The text of the new ids; end ids have none."""
        return self.decode([i for i in row.ids if i not in self.config.eos])

    def piece(self, row: Row) -> Iterator[str]:
        """Update a row's text, stop it at a stop string, and yield what later ids cannot change any more."""
        last = bool(row.reason) or len(row.ids) >= row.limit
        text = self.row_text(row)
        if not last and (text.endswith("\ufffd") or self.rewrites):
            text = "" if self.rewrites else text[:-1]
        cut = self.find_stop(text, row)
        if cut is not None:
            row.reason, text, last = "stop", text[:cut], True
        row.text = text
        certain = text if last else text[: len(text) - self.held(text, row.request.stop)]
        if len(certain) > len(row.emitted):
            yield certain[len(row.emitted) :]
            row.emitted = certain

    @property
    def rewrites(self) -> bool:
        """Whether the tokenizer's decoder may change earlier text when ids follow; then nothing can be streamed."""
        return self.file_tokenizer is not None and self.file_tokenizer.rewrites

    def find_stop(self, text: str, row: Row) -> int | None:
        """Where the earliest stop string starts."""
        return min((text.find(s) for s in row.request.stop if s in text), default=None)

    def held(self, text: str, stop: Sequence[str]) -> int:
        """Length of the longest end of the text that may become a stop string."""
        ends = (n for s in stop for n in range(min(len(s) - 1, len(text)), 0, -1) if text.endswith(s[:n]))
        return max(ends, default=0)

    def reason(self, row: Row) -> str:
        return row.reason or "length"

    def finished(self, row: Row) -> Generation:
        """A row as it is answered."""
        return Generation(
            finish_reason=self.reason(row),
            text=row.text if self.has_text else None,
            ids=row.ids,
            prompt_tokens=len(row.prompt),
            completion_tokens=len(row.ids),
            logprobs=None if row.request.logprobs is None else row.logprobs,
        )

    # Perplexity.

    def stride(self, options: Mapping[str, Any]) -> int:
        """From one window to the next."""
        unknown = set(options) - {"stride"}
        if unknown:
            raise refuse(f"unknown option {min(unknown)}", "unknown_parameter")
        return self.integer(options.get("stride", self.usual_stride()), 1, max(self.config.C - 1, 1))

    def usual_stride(self) -> int:
        return max(self.config.C // 2, 1)

    def led(self, ids: list[int]) -> list[int]:
        """Ids behind BOS, if there is one and it is not there yet."""
        bos = self.config.bos
        return ids if bos is None or ids[:1] == [bos] else [bos, *ids]

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        """Begin and end of each window, and how many of its last positions are scored."""
        done = 1
        for begin in range(0, length, stride):
            end = min(begin + self.config.C, length)
            if end > done:
                yield begin, end, end - done
                done = end

    def window_scores(self, row: Sequence[int], count: int) -> list[float]:
        """Log-probabilities of the last so many ids of a window."""
        law = self.log_law(self.run([row])[0])
        return [float(law[t - 1, row[t]]) for t in range(len(row) - count, len(row))]

    def surprise(self, windows: Sequence[Sequence[float]]) -> tuple[float, int]:
        """Mean nats and the number of scored ids, of the log-probabilities of all windows."""
        scored = [logprob for window in windows for logprob in window]
        return -sum(scored) / len(scored), len(scored)

    def from_nats(self, mean: float) -> float:
        """2 to the mean bits."""
        return float(2.0 ** (mean / math.log(2)))

    def perplexity(self, ids: Any, **options: Any) -> dict[str, Any]:
        stride = self.stride(options)
        row = self.led([self.integer(i, 0, self.config.V - 1) for i in ids])
        if len(row) < 2:
            raise refuse("nothing to score", "invalid_argument")
        if self.config.C < 2:
            raise refuse("a context of one", "context_overflow")
        windows = [self.window_scores(row[begin:end], n) for begin, end, n in self.windows(len(row), stride)]
        mean, tokens = self.surprise(windows)
        try:
            return {"perplexity": self.from_nats(mean), "tokens": tokens}
        except OverflowError:
            return {"perplexity": None, "tokens": tokens}

    # The contract.

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        return self.run([self.row(ids) for ids in batch])

    def score(self, ids: Sequence[int]) -> list[float | None]:
        row = self.row(ids)
        law = self.log_law(self.run([row])[0])
        return [None, *(float(law[t, i]) for t, i in enumerate(row[1:]))]

    def open(self, ids: Sequence[int]) -> Slot:
        return Slot(self, self.take(1, self.config.C)).begin(ids)

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        row = self.begin(self.prompt(ids), self.request(max_length, temperature, options))
        for _ in self.generate([row], None):
            pass  # the pieces are of no use where ids are asked for
        return self.finished(row)

    def generate_batch(self, batch: Any, max_length: int = 100, **options: Any) -> list[Generation]:
        request = self.request(max_length, options.pop("temperature", 0.0), options)
        rows = [self.begin(self.prompt(ids), request) for ids in batch]
        for _ in self.generate(rows, None):
            pass
        return [self.finished(row) for row in rows]

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        request = self.request(max_length, temperature, options)
        row = self.begin(self.prompt(self.tokenize(prompt, request.allow_special)), request)
        return self.streamed(row)

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        yield from (piece for _, piece in self.generate([row], self.text_ids()))
        yield self.finished(row)

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        *_, last = self.stream_text(prompt, max_length, temperature, **options)
        assert isinstance(last, Generation)
        return last


class Slot:
    """A session: one row in a buffer of its own.

    Attributes:
        logits: [t, V] of the ids last given.
    """

    logits: Array

    def __init__(self, runtime: Runtime, cache: Cache) -> None:
        self.runtime, self.cache, self.closed = runtime, cache, False

    def begin(self, ids: Sequence[int]) -> Slot:
        self.extend(ids)
        return self

    def extend(self, ids: Sequence[int]) -> Array:
        if self.closed:
            raise refuse("the session is closed", "invalid_argument")
        row = self.runtime.row(ids)
        if self.cache.filled + len(row) > self.runtime.config.C:
            raise refuse("more ids than the context holds", "context_overflow")
        self.logits = self.runtime.advance(self.cache, np.array([row]), np.ones((1, len(row)), bool))[0]
        return self.logits

    def fork(self) -> Slot:
        if self.closed:
            raise refuse("the session is closed", "invalid_argument")
        twin = Slot(self.runtime, self.copy())
        twin.logits = self.logits
        return twin

    def copy(self) -> Cache:
        """The same contents in another buffer."""
        held, made = self.cache, self.runtime.take(1, self.runtime.config.C)
        made.keys[..., : held.filled, :] = held.keys[..., : held.filled, :]
        made.values[..., : held.filled, :] = held.values[..., : held.filled, :]
        made.real[:, : held.filled] = held.real[:, : held.filled]
        made.filled = held.filled
        return made

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.runtime.give(self.cache)


class Serving:
    """The adapter of a runtime class.

    Args:
        runtime: the class. name: of the candidate, as reported.
    """

    def __init__(self, runtime: type[Runtime], name: str) -> None:
        self.runtime, self.name = runtime, name

    def describe(self) -> Description:
        added = (vars(kind).get("offers", frozenset()) for kind in self.runtime.__mro__)
        withheld = (vars(kind).get("withholds", frozenset()) for kind in self.runtime.__mro__)
        return Description(
            name=self.name,
            version="1",
            capabilities=frozenset[str]().union(*added).difference(*withheld),
            claims=Claims(dtype="float32", determinism="D1"),
            runtime={"numpy": np.__version__},
            architectures=(self.runtime.architecture,),
        )

    def load_model(self, path: str) -> Runtime:
        opened = self.runtime.loader().open(path)
        self.runtime.served(opened, self.describe().capabilities)
        return self.runtime(opened)

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        return self.runtime.scores().bleu(hypotheses, references, **options)

    def rouge(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> dict[str, Any]:
        return self.runtime.scores().rouge(hypotheses, references, **options)


__all__ = ["OPTIONS", "PAD", "Cache", "Refusal", "Request", "Row", "Runtime", "Serving", "Slot"]
