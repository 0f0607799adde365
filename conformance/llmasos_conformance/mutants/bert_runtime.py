"""The runtime of the mutants for BERT, right as it stands: an encoder that serves ragged batches in one padded tensor.

Arithmetic and requests are those of `runtime`; what an encoder is otherwise is here, again one method per step. Rows
are padded on the right with an ordinary token, so that only the mask and the counted positions keep pads out.

Letters as in `runtime`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NoReturn

import numpy as np

from llmasos_conformance.mutants.encoders import EncoderRuntime, affine, attention, feed_forward, normed
from llmasos_conformance.mutants.loader import PARAMETERS, Config, Loader, Opened, refuse
from llmasos_conformance.protocol import Array, Encoding

MOST_TYPES = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class BertConfig(Config):
    """What the runtime needs of a document of BERT.

    Attributes:
        types: number of token types. mask: id that is filled; None if there is none.
        activation: of the feed-forward and of the head.
    """

    types: int
    mask: int | None
    activation: str


class BertLoader(Loader):
    """The strict loader for BERT's documents."""

    architectures: ClassVar[tuple[str, ...]] = ("BERT",)
    parameter_keys: ClassVar[frozenset[str]] = PARAMETERS - {"local_attention_window"} | {
        "type_vocab_size",
        "mask_token_id",
    }
    activations: ClassVar[tuple[str, ...]] = ("gelu", "gelu_tanh", "relu")
    left_out: ClassVar[Mapping[str, Any]] = {"context_length": 512, "layer_norm_epsilon": 1e-12}
    """Defaults that are not those of GPT-3."""

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        assert isinstance(config, BertConfig)
        V, D = config.V, config.D
        due: dict[str, tuple[int, ...]] = {
            "token_embedding": (V, D),
            "position_embedding": (config.C, D),
            "type_embedding": (config.types, D),
            **normed("embedding_norm", D),
        }
        for name in (f"layers.{n}" for n in range(config.N)):
            due |= attention(f"{name}.attention", D) | feed_forward(f"{name}.feed_forward", D, config.F)
        due |= affine("pooler", D, D) | affine("head.transform", D, D) | normed("head.norm", D)
        return due | ({} if config.tied else {"head.weight": (V, D)}) | {"head.bias": (V,)}

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        activation = self.chosen(given.get("activation", self.activations[0]))
        common = {name: value for name, value in given.items() if name != "activation"}
        config = super().parameters({**self.left_out, **common}, seed, sha256)
        mask = given.get("mask_token_id")
        return BertConfig(
            **{field.name: getattr(config, field.name) for field in fields(config)},
            types=self.integer(given.get("type_vocab_size", 2), 1, MOST_TYPES),
            mask=None if mask is None else self.integer(mask, 0, config.V - 1),
            activation=activation,
        )

    def chosen(self, activation: Any) -> str:
        if activation not in self.activations:
            raise refuse(f"activation {activation!r:.40} is not offered")
        return str(activation)


class BertRuntime(EncoderRuntime):
    """A loaded BERT bundle, and everything that is served from it."""

    loader: ClassVar[type[Loader]] = BertLoader
    architecture: ClassVar[str] = "BERT"
    offers: ClassVar[frozenset[str]] = frozenset({"encode", "fill_mask"})
    # It declares generation, scores and sessions as well, so that refusing them is asked of it.
    withholds: ClassVar[frozenset[str]] = frozenset(
        {"tokenize", "hidden_states", "attention", "gradients", "train_step"}
    )

    config: BertConfig

    def __init__(self, opened: Opened) -> None:
        assert isinstance(opened.config, BertConfig)
        super().__init__(opened)
        self.config = opened.config

    # The model.

    def embedded(self, ids: Array, positions: Array, types: Array) -> Array:
        """Token, position and type, and the norm behind their sum; all [B, T] -> [B, T, D]."""
        token, position = self.weights["token_embedding"][ids], self.weights["position_embedding"][positions]
        return self.layer_norm(token + position + self.weights["type_embedding"][types], "embedding_norm")

    def attended(self, x: Array, name: str, visible: Array) -> Array:
        """The attention of a layer; [B, T, D] -> [B, T, D]."""
        query, keys, values = (self.heads(self.linear(x, f"{name}.{part}")) for part in ("query", "key", "value"))
        mixed = self.attend(query, keys, values, visible)
        return self.linear(mixed.swapaxes(1, 2).reshape(x.shape), f"{name}.output")

    def fed(self, x: Array, name: str) -> Array:
        """The feed-forward of a layer; [B, T, D] -> [B, T, D]."""
        return self.linear(self.activate(self.linear(x, f"{name}.up")), f"{name}.down")

    def layer(self, x: Array, name: str, visible: Array) -> Array:
        """One layer, a norm behind each block; [B, T, D] -> [B, T, D]."""
        mixed = self.attended(x, f"{name}.attention", visible)
        x = self.layer_norm(self.residual(x, mixed), f"{name}.attention_norm")
        return self.layer_norm(self.residual(x, self.fed(x, f"{name}.feed_forward")), f"{name}.feed_forward_norm")

    def read(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        """What leaves the last layer for all rows in one tensor, and which of it is real; [B, T, D], [B, T]."""
        ids, real = self.pad_right(rows)
        x, visible = self.embedded(ids, self.counted(real), self.pad_right(types)[0]), self.seen(real)
        for n in self.depth():
            x = self.layer(x, f"layers.{n}", visible)
        return x, real

    def transformed(self, x: Array) -> Array:
        """What the head multiplies with its rows; [..., D] -> [..., D]."""
        return self.layer_norm(self.activate(self.linear(x, "head.transform")), "head.norm")

    def head(self, x: Array) -> Array:
        """[..., D] -> logits [..., V]."""
        rows = self.weights["token_embedding" if self.config.tied else "head.weight"]
        return self.matmul(self.transformed(x), rows.T) + self.weights["head.bias"]

    def pool_rows(self, x: Array, real: Array) -> Array:
        """One vector per row, from its first position; [B, T, D] -> [B, D]."""
        return np.asarray(np.tanh(self.linear(self.first(x, real), "pooler"))[:, 0])

    def first(self, x: Array, real: Array) -> Array:
        """[B, T, D] -> [B, 1, D]."""
        return x[:, :1]

    # Requests.

    def asked(self, batch: Any, types: Any) -> tuple[list[list[int]], list[list[int]]]:
        """The rows of a call, and their types."""
        rows = [self.row(ids) for ids in batch]
        if types is None:
            return rows, [self.untyped(row) for row in rows]
        if isinstance(types, str | bytes) or len(types) != len(rows):
            raise refuse("types must be a list per row", "invalid_argument")
        return rows, [self.typed(row, kinds) for row, kinds in zip(rows, types, strict=True)]

    def untyped(self, row: Sequence[int]) -> list[int]:
        """Types of a row that came without."""
        return [0] * len(row)

    def typed(self, row: Sequence[int], kinds: Any) -> list[int]:
        """Types of a row, one for each id."""
        if isinstance(kinds, str | bytes) or not isinstance(kinds, Sequence | np.ndarray) or len(kinds) != len(row):
            raise refuse("one type per id is needed", "invalid_argument")
        return [self.integer(kind, 0, self.config.types - 1) for kind in kinds]

    # The contract.

    def forward(self, batch: Any, types: Any = None, sources: Any = None) -> list[Array]:
        self.sourceless(sources)
        return self.run_typed(*self.asked(batch, types))

    def sourceless(self, sources: Any) -> None:
        if sources is not None:
            raise refuse("an encoder has no source", "invalid_argument")

    def run_typed(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> list[Array]:
        """Logits [T, V] of each row."""
        if not rows:
            return []
        x, real = self.read(rows, types)
        logits = self.head(x)
        return [logits[b][real[b]].copy() for b in range(len(rows))]

    def encode(self, batch: Any, types: Any = None) -> list[Encoding]:  # type: ignore[override]
        rows, kinds = self.asked(batch, types)
        if not rows:
            return []
        x, real = self.read(rows, kinds)
        pooled = self.pool_rows(x, real)
        return [Encoding(hidden=x[b][real[b]].copy(), pooled=pooled[b].copy()) for b in range(len(rows))]

    def fill_mask(self, ids: Any, count: Any = 5, types: Any = None) -> list[dict[int, float]]:
        mask = self.mask_id()
        (row,), (kinds,) = self.asked([ids], None if types is None else [types])
        places = [place for place, token in enumerate(row) if token == mask]
        if not places:
            return self.nothing_to_fill()
        return self.fills(row, kinds, places, self.integer(count, 1, self.config.V))

    def mask_id(self) -> int:
        if self.config.mask is None:
            raise refuse("the model has no mask", "unsupported")
        return self.config.mask

    def nothing_to_fill(self) -> list[dict[int, float]]:
        raise refuse("no mask among the ids", "invalid_argument")

    def fills(
        self, row: Sequence[int], kinds: Sequence[int], places: Sequence[int], count: int
    ) -> list[dict[int, float]]:
        """The likeliest ids of each mask, in one pass over the row as it came."""
        logits = self.run_typed([row], [kinds])[0]
        return [self.likeliest(logits[place], count) for place in places]

    def likeliest(self, logits: Array, count: int) -> dict[int, float]:
        law = self.log_law(logits)
        return {int(token): float(law[token]) for token in self.order(law)[:count]}

    def order(self, law: Array) -> Array:
        """Ids from the likeliest to the least likely, equal ones from the lowest."""
        return np.argsort(-law, kind="stable")

    def no_text(self) -> NoReturn:
        raise refuse("an encoder does not generate", "unsupported")

    def generate_ids(self, *args: Any, **options: Any) -> Any:
        self.no_text()

    def generate_batch(self, *args: Any, **options: Any) -> Any:
        self.no_text()

    def stream_text(self, *args: Any, **options: Any) -> Any:
        self.no_text()

    def score(self, *args: Any, **beside: Any) -> Any:
        self.no_text()

    def open(self, *args: Any, **beside: Any) -> Any:
        self.no_text()
