"""Probes of the encoder-decoder Transformer.

Those with sinusoidal positions are in the layout that Hugging Face's Marian can load too, those with learned positions
and a norm behind the embeddings in that of its BART.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos_conformance.layout import silent
from llmasos_conformance.probes.draft import (
    ALPHABET,
    FAR,
    Draft,
    calling,
    codes,
    compass,
    constant_inputs,
    far_ids_first,
    projection,
    uneven_results,
    unheard,
)
from llmasos_conformance.probes.making import MARGIN, Maker, Parts, every_digit, probe, significant


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Hyper-parameters of a probe: V vocabulary, D width, N and M layers of encoder and decoder, H heads, F hidden."""

    V: int = 263
    D: int = 64
    N: int = 2
    M: int = 2
    H: int = 4
    F: int = 256
    context: int = 64
    tied: bool = True
    epsilon: float = 1e-5
    activation: str = "relu"
    positions: str = "sinusoidal"
    scaled: bool = True
    norm: bool = False
    start: int = 5
    bos: int | None = None
    eos: tuple[int, ...] = ()

    def document(self) -> dict[str, Any]:
        """model.json with every parameter written out; its name tells a candidate nothing."""
        return {
            "name": "probe",
            "version": "1.0",
            "architecture": "Transformer",
            "parameters": {
                "vocab_size": self.V,
                "embedding_dim": self.D,
                "num_layers": self.N,
                "num_decoder_layers": self.M,
                "num_heads": self.H,
                "feed_forward_dim": self.F,
                "context_length": self.context,
                "layer_norm_epsilon": self.epsilon,
                "activation": self.activation,
                "positions": self.positions,
                "scale_embeddings": self.scaled,
                "embedding_norm": self.norm,
                "tie_embeddings": self.tied,
                "decoder_start_token_id": self.start,
                "bos_token_id": self.bos,
                "eos_token_ids": list(self.eos),
            },
        }


LEARNED = Sizes(positions="learned", scaled=False, norm=True, activation="gelu")
"""The second family: positions with a table, a norm behind the embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gains:
    """Spreads of a random model.

    token: of the embedded token, sqrt(D) included where the model scales it; in a tied model the head decides.
    position: of learned positions. scores: of queries and keys. block: of what self-attention and feed-forward add.
    cross: the same of cross-attention; its scores are `cross_scores`. logits: standard deviation of the logits.
    level: scale of everything behind the embeddings.
    """

    token: float = 1.0
    position: float = 0.8
    scores: float = 1.2
    block: float = 1.0
    cross: float = 1.0
    cross_scores: float = 1.2
    logits: float = 2.5
    level: float = 1.0


def _draft(make: Maker, sizes: Sizes, gains: _Gains) -> Draft:
    V, D, level = sizes.V, sizes.D, gains.level
    draft = Draft(make, D, level)
    stored = gains.token * level / (math.sqrt(D) if sizes.scaled else 1.0)
    if sizes.tied:
        stored = gains.logits / math.sqrt(D)
    embedded = stored * (math.sqrt(D) if sizes.scaled else 1.0)
    draft.table("token_embedding", V, stored)
    # What the first block reads: a normed row, or tokens with sines and cosines, whose mean square is a half.
    first = level if sizes.norm else math.sqrt(embedded**2 + 0.5)
    for side, layers in (("encoder", sizes.N), ("decoder", sizes.M)):
        if sizes.positions == "learned":
            draft.table(f"{side}.position_embedding", sizes.context, gains.position * embedded)
        if sizes.norm:
            draft.norm(f"{side}.embedding_norm")
        for i, layer in enumerate(f"{side}.layers.{i}" for i in range(layers)):
            draft.attention(f"{layer}.attention", gains.scores, gains.block, sees=level if i else first)
            draft.norm(f"{layer}.attention_norm")
            if side == "decoder":
                draft.attention(f"{layer}.cross_attention", gains.cross_scores, gains.cross)
                draft.norm(f"{layer}.cross_attention_norm")
            draft.feed_forward(f"{layer}.feed_forward", sizes.F, gains.block)
            draft.norm(f"{layer}.feed_forward_norm")
    if level != 1.0:
        draft.norm(f"decoder.layers.{sizes.M - 1}.feed_forward_norm", level=1.0)
    if not sizes.tied:
        draft.table("head.weight", V, gains.logits / math.sqrt(D))
    return draft


def _model(make: Maker, sizes: Sizes, gains: _Gains | None = None) -> Parts:
    return Parts(document=sizes.document(), weights=_draft(make, sizes, gains or _Gains()).weights())


# --- numbers ---------------------------------------------------------------------------------------------------------


@probe("trf-plain")
def _plain(make: Maker) -> Parts:
    """Everything gross: a random model as first published, one embedding for source, target and head."""
    return _model(make, Sizes())


@probe("trf-full")
def _full(make: Maker) -> Parts:
    """Weights with all the digits of float32: rounding them to fewer shows."""
    return every_digit(make, _plain(make))


@probe("trf-unheard")
def _unheard(make: Maker) -> Parts:
    """Weights that are kept as integers with a scale, however they were rounded; see `draft.unheard`."""
    sizes = replace(LEARNED, D=128, tied=False)
    parts = _model(make, sizes)
    unheard(parts.weights, sizes.H)
    return parts


@probe("trf-uneven")
def _uneven(make: Maker) -> Parts:
    """Activations, keys and values of eight bits; see `draft.constant_inputs` and `draft.uneven_results`."""
    sizes = replace(LEARNED, D=128, tied=False)
    parts = _model(make, sizes)
    uneven_results(make, parts.weights, sizes.H)
    constant_inputs(parts.weights)
    return parts


@probe("trf-far")
def _far(make: Maker) -> Parts:
    """Keys and values of float8: the same, and their channels differ by 2^48."""
    sizes = replace(LEARNED, D=128, tied=False)
    parts = _model(make, sizes)
    uneven_results(make, parts.weights, sizes.H, FAR)
    constant_inputs(parts.weights)
    return parts


@probe("trf-compass")
def _compass(make: Maker) -> Parts:
    """Precision, where text alone is shown: each character tells the signs of six faint sums; see `draft.compass`.

    Norms stand behind the blocks here, and those of the decoder are neutral but for the last, so that what is faint
    stays so. The encoder is an ordinary one.
    """
    sizes = replace(LEARNED, V=256, tied=False)
    draft, final = _draft(make, sizes, _Gains(position=0.5)), f"decoder.layers.{sizes.M - 1}.feed_forward_norm"
    for name in [name for name in draft.raw if name.startswith("decoder.") and "norm." in name]:
        if not name.startswith(final):
            draft.raw[name] = np.full(sizes.D, float(name.endswith(".weight")))
    return Parts(
        document=sizes.document(), weights=compass(draft, make, sizes, final), facts={"alphabet": ALPHABET}
    ).asking(24)


@probe("trf-ends")
def _ends(make: Maker) -> Parts:
    """Rows of a batch that end one after the other: every third id ends, and the source decides what is written."""
    return _model(make, Sizes(eos=tuple(range(2, 263, 3))), _Gains(cross=3.0, cross_scores=2.2))


@probe("trf-untied")
def _untied(make: Maker) -> Parts:
    """A head that is taken from the embedding although the model has one of its own."""
    return _model(make, Sizes(tied=False))


@probe("trf-learned")
def _learned(make: Maker) -> Parts:
    """The other family: learned positions of one side taken for the other's, a norm behind the embeddings left out."""
    return _model(make, LEARNED)


@probe("trf-positions")
def _positions(make: Maker) -> Parts:
    """Sinusoids in another layout, off by one or scaled along: they weigh twice as much as the tokens."""
    return _model(make, Sizes(tied=False), _Gains(token=0.35))


@probe("trf-unscaled")
def _unscaled(make: Maker) -> Parts:
    """A factor sqrt(D) wired into code: this model does not scale its embeddings."""
    return _model(make, Sizes(tied=False, scaled=False))


@probe("trf-cross")
def _cross(make: Maker) -> Parts:
    """Whatever is wrong between source and target: cross-attention is sharp and adds three times what is there."""
    return _model(make, Sizes(), _Gains(cross=3.0, cross_scores=2.2))


@probe("trf-deep-encoder")
def _deep_encoder(make: Maker) -> Parts:
    """The depth of one stack taken for the other's: three layers read, one writes."""
    return _model(make, Sizes(N=3, M=1))


@probe("trf-deep-decoder")
def _deep_decoder(make: Maker) -> Parts:
    """The depth of one stack taken for the other's: one layer reads, three write."""
    return _model(make, Sizes(N=1, M=3))


@probe("trf-hot-attention")
def _hot_attention(make: Maker) -> Parts:
    """The scale of scores, masks that are not quite -inf, clamps: all attention is nearly one-hot."""
    return _model(make, Sizes(H=8), _Gains(scores=2.6, cross_scores=2.6))


@probe("trf-hot-ffn")
def _hot_ffn(make: Maker) -> Parts:
    """Another activation, a missing bias: its inputs are spread evenly over [-6, 6] and a little around it."""
    draft = _draft(make, LEARNED, _Gains())
    for side, layers in (("encoder", LEARNED.N), ("decoder", LEARNED.M)):
        for i in range(layers):
            draft.evenly(f"{side}.layers.{i}.feed_forward.up", -6.0, 6.0)
    return Parts(document=LEARNED.document(), weights=draft.weights())


@probe("trf-small-variance")
def _small_variance(make: Maker) -> Parts:
    """An epsilon that is another than the model's: norms see inputs of variance near 2e-5, and the epsilon is 2e-5."""
    return _model(make, replace(LEARNED, tied=False, epsilon=2e-5), _Gains(level=0.004))


@probe("trf-asymmetric")
def _asymmetric(make: Maker) -> Parts:
    """Round numbers taken for granted: prime vocabulary, odd width, three heads, unequal stacks, epsilon 1e-4."""
    return _model(make, Sizes(V=269, D=63, N=3, M=2, H=3, F=101, context=48, tied=False, epsilon=1e-4, start=11))


@probe("trf-long")
def _long(make: Maker) -> Parts:
    """Far positions and block boundaries: 272 positions on either side, past 16, 64, 128 and 256."""
    return _model(make, Sizes(D=32, N=1, M=1, H=2, F=128, context=272, tied=False), _Gains(token=0.7))


@probe("trf-wide")
def _wide(make: Maker) -> Parts:
    """Kernels that run only on aligned widths: two heads of 64, widths and vocabulary powers of two."""
    return _model(make, Sizes(V=512, D=128, N=1, M=1, H=2, F=512))


@probe("trf-overflow")
def _overflow(make: Maker) -> Parts:
    """Exponentials without their maximum, masks that are numbers: scores reach 10⁴, all finite in float32.

    The scores of a query are large together, through the bias of the keys, and differ by little.
    """
    parts = _model(make, Sizes(H=8, N=1, M=1))
    for name in ("encoder.layers.0.attention", "decoder.layers.0.attention", "decoder.layers.0.cross_attention"):
        parts.weights[f"{name}.key.bias"] = significant(2000.0 * make.unit(f"{name}.offset", 64))
    return parts.asking(24)


@probe("trf-deep")
def _deep(make: Maker) -> Parts:
    """Layers that are never run: thirteen on either side, which no number of stages divides, with one head each.

    They add little: norms behind blocks that add as much as there is would leave all positions alike, and nothing of
    the first layers.
    """
    return _model(make, Sizes(D=32, N=13, M=13, H=1, F=64), _Gains(block=0.4, cross=0.4))


@probe("trf-many-ids")
def _many_ids(make: Maker) -> Parts:
    """Ids in too few bits: 80021 of them, and generation chooses those beyond 16 bits; see `draft.far_ids_first`."""
    parts = _model(make, Sizes(V=80021, D=16, N=1, M=1, H=2, F=32, context=32, tied=False))
    far_ids_first(parts.weights["head.weight"])
    return parts


@probe("trf-calling")
def _calling(make: Maker) -> Parts:
    """Masks that are numbers: padding of a source has a score 600 above the others; see `draft.calling`."""
    sizes = replace(LEARNED, tied=False)
    parts = _model(make, sizes)
    tables = ["token_embedding", "encoder.position_embedding"]
    calling(parts.weights, "encoder.layers.0.attention", tables, sizes.H)
    return parts


@probe("trf-tiny")
def _tiny(make: Maker) -> Parts:
    """So few ids that every target can be tried: five, of which the last ends a sequence."""
    sizes = Sizes(V=5, D=32, N=1, M=1, H=2, F=64, context=16, tied=False, start=1, eos=(4,))
    return _model(make, sizes, _Gains(cross=2.0, logits=1.2))


# --- ties ------------------------------------------------------------------------------------------------------------


@probe("trf-uniform")
def _uniform(make: Maker) -> Parts:
    """Ties: every logit is exactly 0, so that greedy choice is the lowest id."""
    parts = _model(make, Sizes(D=32, N=1, M=1, H=2, F=64, tied=False))
    parts.weights["head.weight"][:] = 0
    return parts


@probe("trf-twins")
def _twins(make: Maker) -> Parts:
    """Ties among contenders: ids 2k and 2k+1 have equal logits, bit for bit, in any order of computation.

    A head row has one entry that is not 0, so that its product is one rounded multiplication however sums are split.
    Ids from 256 on have logit 0 and never win.
    """
    V, D = 264, 64
    parts = _model(make, Sizes(V=V, tied=False), _Gains(cross=2.0))
    entries = significant(2.0 + 0.25 * make.unit("entries", V // 2))
    head = np.zeros((V, D), dtype=np.float32)
    for pair in range(128):
        sign = 1 if pair < D else -1
        head[2 * pair : 2 * pair + 2, pair % D] = sign * entries[pair]
    parts.weights["head.weight"] = head
    return parts


# --- automata --------------------------------------------------------------------------------------------------------

AUTOMATON = Sizes(N=1, M=1, H=1, F=4, context=48, tied=False, positions="learned", scaled=False, norm=True)
"""Sizes of the models whose answer is known; D is the width of the codes."""

Codes = npt.NDArray[np.float64]
"""[n, D] orthogonal rows of ±1 and mean 0."""


def says(rows: Codes, sizes: Sizes, emits: Sequence[int], loud: int | None = None) -> Parts:
    """A model that writes emits[t] at target position t, whatever it reads; leads by MARGIN.

    Args:
        rows: a code for each position of the context.
        loud: an id whose logit is half as large again, at every position.
    """
    weights = silent(sizes.document()["parameters"], "Transformer")
    weights["decoder.position_embedding"] = rows.astype(np.float32)
    head = np.zeros((sizes.V, sizes.D))
    for row, token in zip(rows, emits, strict=True):
        head[token] += row
        if loud is not None:
            head[loud] += 1.5 * row
    weights["head.weight"] = significant(head * (MARGIN / sizes.D))
    return Parts(document=sizes.document(), weights=weights, facts={"emits": list(emits)})


def follows(rows: Codes, sizes: Sizes, successor: Mapping[int, int]) -> Parts:
    """A model that answers each target token with another, whatever it reads; unknown ones are answered with id 0.

    Args:
        rows: a code for each token that has a successor.
    """
    weights = silent(sizes.document()["parameters"], "Transformer")
    head = np.zeros((sizes.V, sizes.D))
    for row, (before, then) in zip(rows, successor.items(), strict=True):
        weights["token_embedding"][before] = row
        head[then] += row
    weights["head.weight"] = significant(head * (MARGIN / sizes.D))
    return Parts(document=sizes.document(), weights=weights, facts={"successor": dict(successor)})


def chained(rows: Codes, sizes: Sizes, links: Sequence[tuple[int, int, float]]) -> Parts:
    """A model that puts behind a target token others with known probabilities, whatever it reads.

    Args:
        rows: a code for each token that begins a link. links: a token, one behind it, and its probability.
    """
    weights = silent(sizes.document()["parameters"], "Transformer")
    codes = dict(zip(dict.fromkeys(before for before, _, _ in links), rows, strict=True))
    head = np.tile(-100 * sum(codes.values()), (sizes.V, 1))  # [V, D]
    for before, then, mass in links:
        weights["token_embedding"][before] = codes[before]
        head[then] += codes[before] * float(np.float32(100 + np.log(mass)))
    weights["head.weight"] = (head / sizes.D).astype(np.float32)
    return Parts(document=sizes.document(), weights=weights)


def echoes(rows: Codes, sizes: Sizes, alphabet: Sequence[int]) -> Parts:
    """A model that writes at target position t what stands at source position t, for ids of an alphabet.

    A query keeps the position alone and sixteen times of it, a key the position, a value the token: the target looks at
    its own place in the source and nowhere else, and what it takes from there drowns what it was. Behind the end of the
    source nothing is promised.

    Args:
        rows: a code for each position of the context, then one for each id of the alphabet.
    """
    places, tokens = rows[: sizes.context], rows[sizes.context :]
    weights = silent(sizes.document()["parameters"], "Transformer")
    for side in ("encoder", "decoder"):
        weights[f"{side}.position_embedding"] = places.astype(np.float32)
    head = np.zeros((sizes.V, sizes.D))
    for row, token in zip(tokens, alphabet, strict=True):
        weights["token_embedding"][token] = row
        head[token] += row
    cross = "decoder.layers.0.cross_attention"
    weights[f"{cross}.query.weight"] = significant(16 * projection(places))
    weights[f"{cross}.key.weight"] = significant(projection(places))
    weights[f"{cross}.value.weight"] = significant(projection(tokens))
    weights[f"{cross}.output.weight"] = (16 * np.eye(sizes.D)).astype(np.float32)
    weights["head.weight"] = significant(head * (MARGIN / sizes.D))
    return Parts(document=sizes.document(), weights=weights, facts={"alphabet": list(alphabet)})


@probe("trf-echo")
def _echo(make: Maker) -> Parts:
    """What becomes of the source on its way: cut, shifted, turned around, mixed with another one.

    Facts:
        alphabet: ids that are echoed, the end-of-sequence id 256 among them.
    """
    alphabet = [*(int(token) for token in make.permutation("alphabet", 256)[:60]), 256]
    sizes = replace(AUTOMATON, D=128, V=260, start=257, eos=(256,))
    return echoes(codes(make, sizes.context + len(alphabet), sizes.D), sizes, alphabet)


@probe("trf-script")
def _script(make: Maker) -> Parts:
    """Where the target starts and how far it goes: each position writes a known id, and the source says nothing.

    Facts:
        emits: id that target position t writes.
    """
    emits = [int(token) for token in make.permutation("emits", 250)[:48]]
    sizes = replace(AUTOMATON, D=64, V=260, start=257)
    return says(codes(make, sizes.context, sizes.D), sizes, emits)


__all__ = ["AUTOMATON", "Sizes", "chained", "echoes", "follows", "says"]
