"""The runtime of the mutants for the Transformer, right as it stands: a source is read once, its target is written.

Arithmetic, requests and the loop of generation are those of `runtime`; what an encoder-decoder is otherwise is here,
again one method per step. Sources share one right-padded tensor with a mask, targets another; keys and values of the
sources lie in buffers as long as the context, which are handed from one request to the next without being cleared.

Letters as in `runtime`, and S source positions, M layers of the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.encoders import EncoderRuntime, attention, feed_forward, normed
from llmasos_conformance.mutants.loader import LARGEST, PARAMETERS, Config, Loader, Opened, refuse
from llmasos_conformance.mutants.runtime import Cache, Request, Row, Slot
from llmasos_conformance.protocol import Array

OWN = frozenset({"num_decoder_layers", "positions", "scale_embeddings", "embedding_norm", "decoder_start_token_id"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig(Config):
    """What the runtime needs of a document of a Transformer.

    Attributes:
        M: layers of the decoder. activation: of the feed-forward. learned: positions have tables.
        scaled: token embeddings times sqrt(D). norm: behind the embeddings. start: first token of a target.
    """

    M: int
    activation: str
    learned: bool
    scaled: bool
    norm: bool
    start: int


class TransformerLoader(Loader):
    """The strict loader for documents of a Transformer."""

    architectures: ClassVar[tuple[str, ...]] = ("Transformer",)
    parameter_keys: ClassVar[frozenset[str]] = PARAMETERS - {"local_attention_window"} | OWN
    activations: ClassVar[tuple[str, ...]] = ("relu", "gelu", "gelu_tanh", "silu")

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        assert isinstance(config, TransformerConfig)
        V, D = config.V, config.D
        due: dict[str, tuple[int, ...]] = {"token_embedding": (V, D)}
        for side, layers in (("encoder", config.N), ("decoder", config.M)):
            due |= {f"{side}.position_embedding": (config.C, D)} if config.learned else {}
            due |= normed(f"{side}.embedding_norm", D) if config.norm else {}
            for name in (f"{side}.layers.{n}" for n in range(layers)):
                due |= attention(f"{name}.attention", D) | feed_forward(f"{name}.feed_forward", D, config.F)
                due |= attention(f"{name}.cross_attention", D) if side == "decoder" else {}
        return due | ({} if config.tied else {"head.weight": (V, D)})

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        activation = given.get("activation", self.activations[0])
        positions = given.get("positions", "sinusoidal")
        if activation not in self.activations or positions not in ("sinusoidal", "learned"):
            raise refuse("activation or positions is none of those that there are")
        config = super().parameters({k: v for k, v in given.items() if k != "activation"}, seed, sha256)
        return TransformerConfig(
            **{field.name: getattr(config, field.name) for field in fields(config)},
            M=self.integer(given.get("num_decoder_layers", self.decoder_layers(config)), 1, LARGEST["num_layers"]),
            activation=str(activation),
            learned=positions == "learned",
            scaled=self.boolean(given.get("scale_embeddings", True)),
            norm=self.boolean(given.get("embedding_norm", False)),
            start=self.start(given.get("decoder_start_token_id"), config),
        )

    def boolean(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise refuse(f"{value!r:.40} is no boolean")
        return value

    def decoder_layers(self, config: Config) -> int:
        """M where the document leaves it out."""
        return config.N

    def start(self, value: Any, config: Config) -> int:
        """First token of a target; the beginning of sequences if not named, and 0 if there is none."""
        if value is not None:
            return self.integer(value, 0, config.V - 1)
        return 0 if config.bos is None else config.bos


class TargetCache(Cache):
    """Keys and values of B targets and of their sources.

    Attributes:
        cross_keys, cross_values: [M, B, H, C, K]; columns from `read` on hold whatever an earlier source left there.
        source_real: [B, C], False where a source is padded.
        read: columns in use.
    """

    def __init__(self, config: TransformerConfig, rows: int) -> None:
        shape = (config.M, rows, config.H, config.C, config.D // config.H)
        self.keys, self.values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.cross_keys, self.cross_values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.real, self.source_real = np.zeros((rows, config.C), bool), np.zeros((rows, config.C), bool)
        self.filled = self.read = 0

    def reset(self) -> TargetCache:
        self.filled = self.read = 0
        return self

    def ordered(self, rows: Sequence[int]) -> TargetCache:
        made = super().ordered(rows)
        assert isinstance(made, TargetCache)
        made.cross_keys, made.cross_values = self.cross_keys[:, rows], self.cross_values[:, rows]
        made.source_real = self.source_real[rows]
        return made


class TransformerRuntime(EncoderRuntime):
    """A loaded bundle of a Transformer, and everything that is served from it."""

    loader: ClassVar[type[Loader]] = TransformerLoader
    architecture: ClassVar[str] = "Transformer"
    withholds: ClassVar[frozenset[str]] = frozenset({"hidden_states", "attention", "gradients", "train_step"})

    config: TransformerConfig

    def __init__(self, opened: Opened) -> None:
        assert isinstance(opened.config, TransformerConfig)
        super().__init__(opened)
        self.config = opened.config

    # Arithmetic.

    def factor(self) -> float:
        """What token embeddings are multiplied by."""
        return math.sqrt(self.config.D) if self.config.scaled else 1.0

    def frequencies(self) -> Array:
        """10000^(-2i/D) of each pair of channels, float64; [(D + 1) / 2]."""
        return np.asarray(10000.0 ** (-np.arange(0, self.config.D, 2) / self.config.D))

    def sinusoid(self, positions: Array) -> Array:
        """Sine and cosine of each position and pair, in turn; [B, T] -> [B, T, D] float32."""
        angle = positions[..., None] * self.frequencies()
        pairs = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        return np.asarray(pairs.reshape(*positions.shape, -1)[..., : self.config.D].astype(np.float32))

    # Batches.

    def cross_seen(self, cache: TargetCache, T: int) -> Array:
        """Which source columns each of T target columns sees: all real ones; [B, T, S]."""
        return np.repeat(cache.source_real[:, None, : cache.read], T, axis=1)

    def take(self, rows: int, columns: int) -> TargetCache:
        """A cache of a free buffer, or a new one; all are as long as the context."""
        for cache in self.pool:
            if cache.real.shape[0] == rows:
                self.pool.remove(cache)
                return cache.reset()  # type: ignore[return-value]
        return TargetCache(self.config, rows)

    # The model.

    def embedded(self, ids: Array, positions: Array, side: str) -> Array:
        """Tokens and positions of a side, and the norm behind them if there is one; [B, T] -> [B, T, D]."""
        x = self.weights["token_embedding"][ids] * np.float32(self.factor()) + self.placed(positions, side)
        return self.layer_norm(x, f"{side}.embedding_norm") if self.config.norm else x

    def placed(self, positions: Array, side: str) -> Array:
        """What stands for the positions of a side; [B, T] -> [B, T, D]."""
        if self.config.learned:
            return np.asarray(self.weights[f"{side}.position_embedding"][positions])
        return self.sinusoid(positions)

    def looked(self, x: Array, name: str, keys: Array, values: Array, visible: Array) -> Array:
        """An attention of x over keys and values, with the norm behind it; [B, T, D] -> [B, T, D]."""
        mixed = self.attend(self.heads(self.linear(x, f"{name}.query")), keys, values, visible)
        out = self.linear(mixed.swapaxes(1, 2).reshape(x.shape), f"{name}.output")
        return self.layer_norm(self.residual(x, out), f"{name}_norm")

    def looked_at(self, x: Array, name: str) -> tuple[Array, Array]:
        """Keys and values of an attention; [B, S, D] -> two [B, H, S, K]."""
        return self.heads(self.linear(x, f"{name}.key")), self.heads(self.linear(x, f"{name}.value"))

    def fed(self, x: Array, name: str) -> Array:
        """The feed-forward of a layer with the norm behind it; [B, T, D] -> [B, T, D]."""
        hidden = self.activate(self.linear(x, f"{name}.up"))
        return self.layer_norm(self.residual(x, self.linear(hidden, f"{name}.down")), f"{name}_norm")

    def encoded(self, ids: Array, real: Array) -> Array:
        """What leaves the encoder; [B, S] -> [B, S, D]."""
        x, visible = self.embedded(ids, self.counted(real), "encoder"), self.seen(real)
        for name in (f"encoder.layers.{n}" for n in range(self.encoder_depth())):
            x = self.looked(x, f"{name}.attention", *self.looked_at(x, f"{name}.attention"), visible)
            x = self.fed(x, f"{name}.feed_forward")
        return x

    def encoder_depth(self) -> int:
        return self.config.N

    def decoder_depth(self) -> int:
        return self.config.M

    def read_in(self, sources: Sequence[Sequence[int]]) -> TargetCache:
        """Read sources into a cache, in front of their targets."""
        ids, real = self.pad_right(sources)
        cache = self.take(len(sources), self.config.C)
        cache.read = ids.shape[1]
        cache.source_real[:, : cache.read] = real
        self.keep(cache, self.encoded(ids, real))
        return cache

    def keep(self, cache: TargetCache, x: Array) -> None:
        """Put what the target needs of the encoded source into the cache."""
        for n in range(self.decoder_depth()):
            keys, values = self.looked_at(x, f"decoder.layers.{n}.cross_attention")
            cache.cross_keys[n, :, :, : cache.read], cache.cross_values[n, :, :, : cache.read] = keys, values

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        assert isinstance(cache, TargetCache)
        T, S = ids.shape[1], cache.read
        cache.real[:, cache.filled : cache.filled + T] = real
        cache.filled += T
        x, visible = self.embedded(ids, self.positions(cache, T), "decoder"), self.visible(cache, T)
        crossed = self.cross_seen(cache, T)
        for n in range(self.decoder_depth()):
            name = f"decoder.layers.{n}"
            self.store(cache, n, *self.looked_at(x, f"{name}.attention"))
            keys, values = cache.keys[n, :, :, : cache.filled], cache.values[n, :, :, : cache.filled]
            x = self.looked(x, f"{name}.attention", keys, values, visible)
            keys, values = cache.cross_keys[n, :, :, :S], cache.cross_values[n, :, :, :S]
            x = self.looked(x, f"{name}.cross_attention", keys, values, crossed)
            x = self.fed(x, f"{name}.feed_forward")
        return self.head(x)

    # Requests.

    def sources(self, given: Any, rows: int) -> list[list[int]]:
        """The sources of a call, one for each row."""
        if given is None or isinstance(given, str | bytes) or len(given) != rows:
            raise refuse("a source for each row is needed", "invalid_argument")
        return [self.row(source) for source in given]

    def typeless(self, types: Any) -> None:
        if types is not None:
            raise refuse("a Transformer has no token types", "invalid_argument")

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(request.max_length, self.config.C - 1)

    def prepare(self, prompts: Sequence[Sequence[int]], steps: int) -> tuple[Cache, Array, Array]:
        return self.read_in(prompts), np.full((len(prompts), 1), self.first()), np.ones((len(prompts), 1), bool)

    def stands_behind(self, row: Row) -> Sequence[int]:
        """What a target begins with; the prompt is its source."""
        return [self.first()]

    def first(self) -> int:
        """The id that a target starts with."""
        return self.config.start

    # The contract.

    def forward(self, batch: Any, sources: Any = None, types: Any = None) -> list[Array]:
        self.typeless(types)
        rows = [self.row(ids) for ids in batch]
        return self.run_pairs(rows, self.sources(sources, len(rows)))

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        """Logits [T, V] of each target behind its source, all in one tensor."""
        if not rows:
            return []
        cache = self.read_in(sources)
        logits = self.advance(cache, *self.pad_right(rows))
        self.give(cache)
        return [logits[b, : len(row)].copy() for b, row in enumerate(rows)]

    def score(self, ids: Any, source: Any = None) -> list[float | None]:
        row = self.row(ids)
        law = self.log_law(self.run_pairs([row], self.sources(None if source is None else [source], 1))[0])
        return [None, *(float(law[t, i]) for t, i in enumerate(row[1:]))]

    def open(self, ids: Any, source: Any = None) -> Slot:
        row, sources = self.row(ids), self.sources(None if source is None else [source], 1)
        return TargetSlot(self, self.read_in(sources)).begin(row)


class TargetSlot(Slot):
    """A session: one target behind its source."""

    def fork(self) -> Slot:
        twin = super().fork()
        made = TargetSlot(self.runtime, twin.cache)
        made.logits = twin.logits
        return made

    def copy(self) -> Cache:
        held, made = self.cache, super().copy()
        assert isinstance(held, TargetCache)
        assert isinstance(made, TargetCache)
        made.read = held.read
        made.source_real[:, : held.read] = held.source_real[:, : held.read]
        made.cross_keys[..., : held.read, :] = held.cross_keys[..., : held.read, :]
        made.cross_values[..., : held.read, :] = held.cross_values[..., : held.read, :]
        return made
