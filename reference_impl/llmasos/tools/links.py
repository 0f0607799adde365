"""How Hugging Face names and lays out the weights that a bundle holds.

One table per family of checkpoints, read in both directions: into a bundle by `importer`, out of it by `witness`.

    family    architecture                                  lays out otherwise
    gpt2      GPT-3 without a window                        query, key and value side by side in one matrix
    llama     Llama, with a window if it is a mistral       matrices transposed
    bert      BERT                                          matrices transposed
    bart      Transformer, learned positions, embedding     matrices transposed; two rows in front of the positions that
              norm                                          no token uses
    marian    Transformer, sinusoidal positions             matrices transposed; channels in another order, see
                                                            `channel_order`

Letters as in `llmasos.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmasos.config import ModelConfig
from llmasos.errors import InvalidFormat
from llmasos.ops import Array

BEFORE = 2
"""Rows in front of BART's learned positions."""

PREFIX: Mapping[str, str] = {
    "gpt2": "transformer.",
    "llama": "model.",
    "bert": "bert.",
    "bart": "model.",
    "marian": "model.",
}
"""What stands in front of all names but those of the head, unless the model was saved without its head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One tensor of theirs.

    Attributes:
        ours: names of the tensors that lie in it, side by side along the last axis.
        theirs: names that it may have, without PREFIX; more than one where they keep copies.
        first: of several only the first that is there is used, and the others mean nothing.
        turned: they store the transpose.
        before: rows in front that hold nothing of ours.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    first: bool = False
    turned: bool = False
    before: int = 0

    def shape(self, expected: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The shape that theirs must have, when ours have the expected ones."""
        *rows, _ = expected[self.ours[0]]
        shape = (*rows, sum(expected[name][-1] for name in self.ours))
        if self.before:
            shape = (shape[0] + self.before, *shape[1:])
        return shape[::-1] if self.turned else shape

    def split(self, array: Array) -> dict[str, Array]:
        """Ours out of theirs, which has the right shape."""
        array = array.T if self.turned else array[self.before :]
        return dict(zip(self.ours, np.split(array, len(self.ours), axis=-1), strict=True))

    def join(self, weights: Mapping[str, Array]) -> Array:
        """Theirs out of ours."""
        array = np.concatenate([weights[name] for name in self.ours], axis=-1)
        if self.before:
            unused = np.zeros((self.before, *array.shape[1:]), dtype=array.dtype)
            array = np.concatenate([unused, array])
        return array.T if self.turned else array


def links(family: str, config: ModelConfig) -> list[Link]:
    """All tensors of a checkpoint of the family, for a configuration of the architecture."""
    return list(_FAMILIES[family](config))


def _one(ours: str, *theirs: str, turned: bool = False, before: int = 0) -> Link:
    return Link(ours=(ours,), theirs=theirs, turned=turned, before=before)


def _affine(ours: str, theirs: str, *, turned: bool) -> Iterator[Link]:
    """Weight and bias of a linear map (turned) or a norm."""
    yield _one(f"{ours}.weight", f"{theirs}.weight", turned=turned)
    yield _one(f"{ours}.bias", f"{theirs}.bias")


def _gpt2(config: ModelConfig) -> Iterator[Link]:
    yield _one("token_embedding", "wte.weight", *(["lm_head.weight"] if config.tie_embeddings else []))
    yield _one("position_embedding", "wpe.weight")
    for i in range(config.num_layers):
        ours, theirs = f"layers.{i}", f"h.{i}"
        yield from _affine(f"{ours}.attention_norm", f"{theirs}.ln_1", turned=False)
        for kind in ("weight", "bias"):
            parts = tuple(f"{ours}.attention.{part}.{kind}" for part in ("query", "key", "value"))
            yield Link(ours=parts, theirs=(f"{theirs}.attn.c_attn.{kind}",))
        yield from _affine(f"{ours}.attention.output", f"{theirs}.attn.c_proj", turned=False)
        yield from _affine(f"{ours}.feed_forward_norm", f"{theirs}.ln_2", turned=False)
        yield from _affine(f"{ours}.feed_forward.up", f"{theirs}.mlp.c_fc", turned=False)
        yield from _affine(f"{ours}.feed_forward.down", f"{theirs}.mlp.c_proj", turned=False)
    yield from _affine("final_norm", "ln_f", turned=False)
    if not config.tie_embeddings:
        yield _one("head.weight", "lm_head.weight")


def _llama(config: ModelConfig) -> Iterator[Link]:
    yield _one("token_embedding", "embed_tokens.weight", *(["lm_head.weight"] if config.tie_embeddings else []))
    for i in range(config.num_layers):
        ours, theirs = f"layers.{i}", f"layers.{i}"
        yield _one(f"{ours}.attention_norm.weight", f"{theirs}.input_layernorm.weight")
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
            yield _one(f"{ours}.attention.{part}.weight", f"{theirs}.self_attn.{letter}_proj.weight", turned=True)
        yield _one(f"{ours}.feed_forward_norm.weight", f"{theirs}.post_attention_layernorm.weight")
        for part in ("gate", "up", "down"):
            yield _one(f"{ours}.feed_forward.{part}.weight", f"{theirs}.mlp.{part}_proj.weight", turned=True)
    yield _one("final_norm.weight", "norm.weight")
    if not config.tie_embeddings:
        yield _one("head.weight", "lm_head.weight")


def _bert(config: ModelConfig) -> Iterator[Link]:
    tied = ["cls.predictions.decoder.weight"] if config.tie_embeddings else []
    yield _one("token_embedding", "embeddings.word_embeddings.weight", *tied)
    yield _one("position_embedding", "embeddings.position_embeddings.weight")
    yield _one("type_embedding", "embeddings.token_type_embeddings.weight")
    yield from _affine("embedding_norm", "embeddings.LayerNorm", turned=False)
    for i in range(config.num_layers):
        ours, theirs = f"layers.{i}", f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            yield from _affine(f"{ours}.attention.{part}", f"{theirs}.attention.self.{part}", turned=True)
        yield from _affine(f"{ours}.attention.output", f"{theirs}.attention.output.dense", turned=True)
        yield from _affine(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm", turned=False)
        yield from _affine(f"{ours}.feed_forward.up", f"{theirs}.intermediate.dense", turned=True)
        yield from _affine(f"{ours}.feed_forward.down", f"{theirs}.output.dense", turned=True)
        yield from _affine(f"{ours}.feed_forward_norm", f"{theirs}.output.LayerNorm", turned=False)
    yield from _affine("pooler", "pooler.dense", turned=True)
    yield from _affine("head.transform", "cls.predictions.transform.dense", turned=True)
    yield from _affine("head.norm", "cls.predictions.transform.LayerNorm", turned=False)
    if not config.tie_embeddings:
        yield _one("head.weight", "cls.predictions.decoder.weight")
    # Both are one when the embeddings are tied; when not, the first is the one that is added.
    biases = ("cls.predictions.decoder.bias", "cls.predictions.bias")
    yield Link(ours=("head.bias",), theirs=biases, first=not config.tie_embeddings)


def _encoder_decoder(config: ModelConfig) -> Iterator[Link]:
    """What BART and Marian have in common."""
    tied = ["lm_head.weight"] if config.tie_embeddings else []
    copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", *tied)
    yield _one("token_embedding", "shared.weight", *copies)
    for side, count in (("encoder", config.num_layers), ("decoder", config.num_decoder_layers)):
        for i in range(count):
            layer = f"{side}.layers.{i}"
            kinds = [("attention", "self_attn"), ("cross_attention", "encoder_attn")]
            for ours, theirs in kinds if side == "decoder" else kinds[:1]:
                for part in ("query", "key", "value"):
                    yield from _affine(f"{layer}.{ours}.{part}", f"{layer}.{theirs}.{part[0]}_proj", turned=True)
                yield from _affine(f"{layer}.{ours}.output", f"{layer}.{theirs}.out_proj", turned=True)
                yield from _affine(f"{layer}.{ours}_norm", f"{layer}.{theirs}_layer_norm", turned=False)
            yield from _affine(f"{layer}.feed_forward.up", f"{layer}.fc1", turned=True)
            yield from _affine(f"{layer}.feed_forward.down", f"{layer}.fc2", turned=True)
            yield from _affine(f"{layer}.feed_forward_norm", f"{layer}.final_layer_norm", turned=False)
    if not config.tie_embeddings:
        yield _one("head.weight", "lm_head.weight")


def _bart(config: ModelConfig) -> Iterator[Link]:
    for side in ("encoder", "decoder"):
        yield _one(f"{side}.position_embedding", f"{side}.embed_positions.weight", before=BEFORE)
        yield from _affine(f"{side}.embedding_norm", f"{side}.layernorm_embedding", turned=False)
    yield from _encoder_decoder(config)


_FAMILIES: Mapping[str, Callable[[ModelConfig], Iterator[Link]]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "bert": _bert,
    "bart": _bart,
    "marian": _encoder_decoder,
}


# ── Marian's channels ───────────────────────────────────────────────────────────────────────────────────────────────


def channel_order(D: int) -> npt.NDArray[np.int64]:
    """Where our channels stand in a Marian checkpoint: ours[c] is theirs[order[c]].

    Marian puts all sines of its positions in front and all cosines behind; the format alternates them. Positions are
    added to embeddings, so with its channels in our order throughout, the model is the same function.
    """
    sines = (D + 1) // 2
    order = np.empty(D, dtype=np.int64)
    order[0::2], order[1::2] = np.arange(sines), np.arange(sines, D)
    return order


def width_axis(name: str) -> int | None:
    """The axis of one of our tensors along which the channels between the blocks lie; None if along none.

    Raises:
        InvalidFormat: no tensor of a Transformer.
    """
    part = name.rsplit(".", 2)[-2:]
    if name in ("token_embedding", "head.weight") or part[-1] == "position_embedding":
        return 1
    if part[0].endswith("norm"):
        return 0
    into = {"query": True, "key": True, "value": True, "up": True, "output": False, "down": False}.get(part[0])
    if into is None:
        raise InvalidFormat(f"{name!r} has no place in a Transformer", name)
    if into:
        return 0 if part[-1] == "weight" else None
    return 1 if part[-1] == "weight" else 0


def reordered(weights: Mapping[str, Array], order: npt.NDArray[np.int64]) -> dict[str, Array]:
    """All tensors with the channels between the blocks taken in another order."""
    return {
        name: array if (axis := width_axis(name)) is None else np.take(array, order, axis)
        for name, array in weights.items()
    }


def half_split_sinusoids(positions: int, D: int) -> Array:
    """Marian's position table in float64; [positions, D], sines in front and cosines behind."""
    angle = np.arange(positions)[:, None] / np.power(10000, np.arange(0, D, 2) / D)  # [positions, (D + 1) / 2]
    return np.concatenate([np.sin(angle), np.cos(angle)[:, : D // 2]], axis=-1)
