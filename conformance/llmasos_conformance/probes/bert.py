"""Probes of the architecture BERT, in the layout that a Hugging Face BertForMaskedLM with a pooler can load too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmasos_conformance.layout import silent
from llmasos_conformance.probes.draft import FAR, Draft, bare, calling, codes, constant_inputs, uneven_results, unheard
from llmasos_conformance.probes.making import MARGIN, Maker, Parts, every_digit, probe, significant


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Hyper-parameters of a probe: V vocabulary, D width, L layers, H heads, F hidden width."""

    V: int = 263
    D: int = 64
    L: int = 2
    H: int = 4
    F: int = 256
    context: int = 64
    types: int = 2
    tied: bool = True
    epsilon: float = 1e-12
    mask: int | None = 3

    def document(self) -> dict[str, Any]:
        """model.json with every parameter written out; its name tells a candidate nothing."""
        return {
            "name": "probe",
            "version": "1.0",
            "architecture": "BERT",
            "parameters": {
                "vocab_size": self.V,
                "embedding_dim": self.D,
                "num_layers": self.L,
                "num_heads": self.H,
                "feed_forward_dim": self.F,
                "context_length": self.context,
                "type_vocab_size": self.types,
                "layer_norm_epsilon": self.epsilon,
                "activation": "gelu",
                "tie_embeddings": self.tied,
                "bos_token_id": None,
                "eos_token_ids": [],
                "mask_token_id": self.mask,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gains:
    """Spreads of a random model.

    position, kind: of position and type embeddings, relative to the token's. scores: of queries and keys. block: of
    what attention and feed-forward add. logits: standard deviation of the logits. pooled: of what goes into tanh.
    level: scale of everything between the embeddings and the head's norm.
    """

    position: float = 0.8
    kind: float = 0.6
    scores: float = 1.2
    block: float = 1.0
    logits: float = 2.5
    pooled: float = 0.8
    level: float = 1.0


def _draft(make: Maker, sizes: Sizes, gains: _Gains) -> Draft:
    """A random model. In a tied one the tokens' spread follows from that of the logits."""
    V, D, F, level = sizes.V, sizes.D, sizes.F, gains.level
    draft = Draft(make, D, level)
    token = gains.logits / math.sqrt(D) if sizes.tied else 0.7 * level
    draft.table("token_embedding", V, token)
    draft.table("position_embedding", sizes.context, gains.position * token)
    draft.table("type_embedding", sizes.types, gains.kind * token)
    draft.norm("embedding_norm")
    for layer in (f"layers.{i}" for i in range(sizes.L)):
        draft.attention(f"{layer}.attention", gains.scores, gains.block)
        draft.norm(f"{layer}.attention_norm")
        draft.feed_forward(f"{layer}.feed_forward", F, gains.block)
        draft.norm(f"{layer}.feed_forward_norm")
    draft.affine("pooler", D, D, gains.pooled / level, 0.3)
    draft.affine("head.transform", D, D, 1.2, 0.5 * level)
    draft.norm("head.norm", level=1.0)
    if not sizes.tied:
        draft.table("head.weight", V, gains.logits / math.sqrt(D))
    draft.vector("head.bias", V, 0.2 * gains.logits)
    return draft


def _model(make: Maker, sizes: Sizes, gains: _Gains | None = None) -> Parts:
    return Parts(document=sizes.document(), weights=_draft(make, sizes, gains or _Gains()).weights())


# --- numbers ---------------------------------------------------------------------------------------------------------


@probe("bert-plain")
def _plain(make: Maker) -> Parts:
    """Everything gross: a random model, its head tied, with logits of standard deviation about 2.5."""
    return _model(make, Sizes())


@probe("bert-full")
def _full(make: Maker) -> Parts:
    """Weights with all the digits of float32: rounding them to fewer shows."""
    return every_digit(make, _plain(make))


@probe("bert-unheard")
def _unheard(make: Maker) -> Parts:
    """Weights that are kept as integers with a scale, however they were rounded; see `draft.unheard`."""
    sizes = Sizes(D=128, F=256, tied=False)
    parts = _model(make, sizes)
    unheard(parts.weights, sizes.H)
    return parts


@probe("bert-uneven")
def _uneven(make: Maker) -> Parts:
    """Activations, keys and values of eight bits; see `draft.constant_inputs` and `draft.uneven_results`."""
    sizes = Sizes(D=128, F=256, tied=False)
    parts = _model(make, sizes)
    uneven_results(make, parts.weights, sizes.H)
    constant_inputs(parts.weights, but=f"layers.{sizes.L - 1}.feed_forward_norm")
    return parts


@probe("bert-far")
def _far(make: Maker) -> Parts:
    """Keys and values of float8: the same, and their channels differ by 2^48."""
    sizes = Sizes(D=128, F=256, tied=False)
    parts = _model(make, sizes)
    uneven_results(make, parts.weights, sizes.H, FAR)
    constant_inputs(parts.weights, but=f"layers.{sizes.L - 1}.feed_forward_norm")
    return parts


@probe("bert-bare")
def _bare(make: Maker) -> Parts:
    """Arithmetic of fewer digits behind a head that has them: logits are what the head reads; see `draft.bare`."""
    parts = _model(make, Sizes(tied=False))
    bare(parts.weights)
    return parts


@probe("bert-untied")
def _untied(make: Maker) -> Parts:
    """A head that is taken from the embedding although the model has one of its own."""
    return _model(make, Sizes(tied=False))


@probe("bert-types")
def _types(make: Maker) -> Parts:
    """Token types left out, added behind the norm, or shifted: four of them, twice as large as the tokens."""
    return _model(make, Sizes(types=4), _Gains(kind=2.0))


@probe("bert-small-variance")
def _small_variance(make: Maker) -> Parts:
    """An epsilon that is not 1e-12, in any norm: all norms see inputs of variance near 10⁻¹².

    The whole model computes at a level of 10⁻⁶; queries, keys, pooler and the head's norm bring it back to 1.
    """
    return _model(make, Sizes(tied=False), _Gains(level=1e-6))


@probe("bert-hot-attention")
def _hot_attention(make: Maker) -> Parts:
    """The scale of scores, masks that are not quite -inf, clamps: scores reach 50 and attention is nearly one-hot."""
    return _model(make, Sizes(H=8), _Gains(scores=3.0))


@probe("bert-hot-ffn")
def _hot_ffn(make: Maker) -> Parts:
    """The form of GELU, a missing bias: its inputs are spread evenly over [-6, 6] and a little around it."""
    sizes = Sizes()
    draft = _draft(make, sizes, _Gains())
    for i in range(sizes.L):
        draft.evenly(f"layers.{i}.feed_forward.up", -6.0, 6.0)
    return Parts(document=sizes.document(), weights=draft.weights())


@probe("bert-head")
def _head(make: Maker) -> Parts:
    """A part of the head left out: transform, activation, norm and bias each weigh as much as all before them."""
    sizes = Sizes()
    draft = _draft(make, sizes, _Gains())
    draft.evenly("head.transform", -4.0, 4.0)
    draft.norm("head.norm", level=1.0, spread=0.8)
    draft.vector("head.bias", sizes.V, 2.5)
    return Parts(document=sizes.document(), weights=draft.weights())


@probe("bert-pooler")
def _pooler(make: Maker) -> Parts:
    """A tanh or a bias left out of the pooled output, another position pooled: half of its inputs lie beyond ±1."""
    sizes = Sizes()
    draft = _draft(make, sizes, _Gains(pooled=1.2))
    draft.evenly("pooler", -1.5, 1.5)
    return Parts(document=sizes.document(), weights=draft.weights())


@probe("bert-asymmetric")
def _asymmetric(make: Maker) -> Parts:
    """Reshapes and paddings that assume round numbers, and an epsilon wired into code: it is 1e-4 here."""
    return _model(make, Sizes(V=269, D=60, L=3, H=3, F=101, context=48, types=3, tied=False, epsilon=1e-4, mask=7))


@probe("bert-long")
def _long(make: Maker) -> Parts:
    """Positions and block boundaries, and reach in both directions: 272 positions, past 16, 64, 128 and 256."""
    return _model(make, Sizes(D=32, L=1, H=2, F=128, context=272))


@probe("bert-wide")
def _wide(make: Maker) -> Parts:
    """Kernels that run only on aligned widths: two heads of 64, widths and vocabulary powers of two."""
    return _model(make, Sizes(V=512, D=128, L=2, H=2, F=512))


@probe("bert-overflow")
def _overflow(make: Maker) -> Parts:
    """Exponentials without their maximum, masks that are numbers: scores reach 10⁴, all finite in float32.

    The scores of a query are large together, through the bias of the keys, and differ by little.
    """
    parts = _model(make, Sizes(H=8))
    for i in range(2):
        parts.weights[f"layers.{i}.attention.key.bias"] = significant(2000.0 * make.unit(f"offset{i}", 64))
    return parts.asking(24)


@probe("bert-deep")
def _deep(make: Maker) -> Parts:
    """Layers that are never run: thirteen of them, which no number of stages divides, with one head each.

    They add little: norms behind blocks that add as much as there is would leave all positions alike, and nothing of
    the first layers.
    """
    return _model(make, Sizes(D=32, L=13, H=1, F=64), _Gains(block=0.4))


@probe("bert-many-ids")
def _many_ids(make: Maker) -> Parts:
    """Ids in too few bits: 80021 of them, of which one in five is beyond 16 bits."""
    return _model(make, Sizes(V=80021, D=16, L=1, H=2, F=32, context=32))


@probe("bert-calling")
def _calling(make: Maker) -> Parts:
    """Masks that are numbers: what must not be seen has a score 600 above the others; see `draft.calling`."""
    sizes = Sizes(tied=False)
    parts = _model(make, sizes)
    tables = ["token_embedding", "position_embedding", "type_embedding"]
    calling(parts.weights, "layers.0.attention", tables, sizes.H)
    return parts


# --- ties ------------------------------------------------------------------------------------------------------------


@probe("bert-uniform")
def _uniform(make: Maker) -> Parts:
    """Ties: every logit is exactly 0."""
    parts = _model(make, Sizes(D=32, L=1, H=2, F=64, tied=False))
    for name in ("head.weight", "head.bias"):
        parts.weights[name][:] = 0
    return parts


@probe("bert-twins")
def _twins(make: Maker) -> Parts:
    """Ties among contenders: ids 2k and 2k+1 have equal logits, bit for bit, in any order of computation.

    A head row has one entry that is not 0, so that its product is one rounded multiplication however sums are split.
    Ids from 256 on have logit 0 and never win.
    """
    V, D = 264, 64
    parts = _model(make, Sizes(V=V, tied=False))
    entries = significant(2.0 + 0.25 * make.unit("entries", V // 2))
    head = np.zeros((V, D), dtype=np.float32)
    for pair in range(128):
        sign = 1 if pair < D else -1
        head[2 * pair : 2 * pair + 2, pair % D] = sign * entries[pair]
    parts.weights["head.weight"] = head
    parts.weights["head.bias"] = np.zeros(V, np.float32)
    return parts


# --- automata --------------------------------------------------------------------------------------------------------


def script(make: Maker, sizes: Sizes, emits: Sequence[int]) -> Parts:
    """A model that puts emits[p] at position p, whatever the tokens are; leads by MARGIN.

    Positions are codes, and norms leave a code as it is. The head's transform takes eight times a code, of which GELU
    makes 8 and 0, and its norm the code again.
    """
    D = sizes.D
    rows = codes(make, sizes.context, D)
    weights = silent(sizes.document()["parameters"], "BERT")
    weights["position_embedding"] = rows.astype(np.float32)
    weights["head.transform.weight"] = (8 * np.eye(D)).astype(np.float32)
    head = np.zeros((sizes.V, D))
    for position, token in enumerate(emits):
        head[token] += rows[position]
    weights["head.weight"] = significant(head * (MARGIN / D))
    return Parts(document=sizes.document(), weights=weights, facts={"emits": list(emits)})


@probe("bert-script")
def _script(make: Maker) -> Parts:
    """Which place a fill belongs to: what stands at each position is known, and decided by the position alone.

    Facts:
        emits: id at position p.
    """
    emits = [int(token) for token in make.permutation("emits", 250)[:48]]
    return script(make, Sizes(D=64, L=1, H=2, F=16, context=48, tied=False, mask=258), emits)


def unmasked(parts: Parts) -> Parts:
    """The same model, whose document names no mask."""
    parameters = {**parts.document["parameters"], "mask_token_id": None}
    return Parts(document={**parts.document, "parameters": parameters}, weights=parts.weights, facts=parts.facts)


@probe("bert-maskless")
def _maskless(make: Maker) -> Parts:
    """A model without a mask: it has logits and encodings, and nothing to fill."""
    return unmasked(_model(make, Sizes(V=61, D=32, L=1, H=2, F=64, context=32)))
