"""Probes of the architecture Llama, in the layout that a Hugging Face Llama, or Mistral with a window, can load too.

Without biases and without positions in the embeddings, what the probes of GPT-3 say through those is said otherwise:
the inputs of the activation are spread by the scale of their units, large scores come from a constant channel and the
pair of channels that turns slowest, and in an automaton the last token alone decides what comes next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmasos_conformance.layout import silent
from llmasos_conformance.probes.draft import (
    ALPHABET,
    FAR,
    Draft,
    bare,
    calling,
    compass,
    far_ids_first,
    uneven_inputs,
    uneven_results,
    unheard,
)
from llmasos_conformance.probes.making import MARGIN, Maker, Parts, every_digit, probe, significant, sylvester

LLAMA = "Llama"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Hyper-parameters of a probe: V vocabulary, D width, L layers, H heads, G key-value heads, F hidden width."""

    V: int = 263
    D: int = 64
    L: int = 2
    H: int = 4
    G: int = 4
    F: int = 160
    context: int = 64
    tied: bool = False
    epsilon: float = 1e-5
    theta: float = 10000.0
    window: int | None = None
    bos: int | None = None
    eos: tuple[int, ...] = ()

    @property
    def K(self) -> int:  # noqa: N802, a letter of the standard
        """Head width."""
        return self.D // self.H

    def document(self) -> dict[str, Any]:
        """model.json with every parameter written out; its name tells a candidate nothing."""
        return {
            "name": "probe",
            "version": "1.0",
            "architecture": LLAMA,
            "parameters": {
                "vocab_size": self.V,
                "embedding_dim": self.D,
                "num_layers": self.L,
                "num_heads": self.H,
                "num_key_value_heads": self.G,
                "feed_forward_dim": self.F,
                "context_length": self.context,
                "rms_norm_epsilon": self.epsilon,
                "rope_theta": self.theta,
                "sliding_window": self.window,
                "activation": "silu",
                "tie_embeddings": self.tied,
                "bos_token_id": self.bos,
                "eos_token_ids": list(self.eos),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gains:
    """Spreads of a random model, each relative to what keeps activations near 1.

    token: of the embedding. scores: of W_q and W_k. block: of what attention and feed-forward add to the residual.
    logits: standard deviation of the logits.
    """

    token: float = 0.8
    scores: float = 1.3
    block: float = 1.0
    logits: float = 2.5


def _draft(make: Maker, sizes: Sizes, gains: _Gains) -> Draft:
    """Random tensors of the spreads asked for; no map has a bias."""
    D, F, narrow = sizes.D, sizes.F, sizes.G * sizes.K
    draft = Draft(make, D)
    draft.table("token_embedding", sizes.V, gains.token)
    for layer in (f"layers.{i}" for i in range(sizes.L)):
        draft.scale(f"{layer}.attention_norm")
        draft.linear(f"{layer}.attention.query", D, D, gains.scores)
        draft.linear(f"{layer}.attention.key", D, narrow, gains.scores)
        draft.linear(f"{layer}.attention.value", D, narrow, 1.0)
        draft.linear(f"{layer}.attention.output", D, D, gains.block)
        draft.scale(f"{layer}.feed_forward_norm")
        draft.linear(f"{layer}.feed_forward.gate", D, F, 1.5)
        draft.linear(f"{layer}.feed_forward.up", D, F, 1.2)
        draft.linear(f"{layer}.feed_forward.down", F, D, gains.block)
    draft.scale("final_norm")
    if not sizes.tied:
        draft.table("head.weight", sizes.V, gains.logits / math.sqrt(D))
    return draft


def _model(make: Maker, sizes: Sizes, gains: _Gains | None = None, **facts: Any) -> Parts:
    return Parts(document=sizes.document(), weights=_draft(make, sizes, gains or _Gains()).weights(), facts=facts)


# --- numbers ---------------------------------------------------------------------------------------------------------


@probe("llama-plain")
def _plain(make: Maker) -> Parts:
    """Everything gross: a random model with logits of standard deviation about 2.5. No heads share keys."""
    return _model(make, Sizes())


@probe("llama-full")
def _full(make: Maker) -> Parts:
    """Weights with all the digits of float32: rounding them to fewer shows."""
    return every_digit(make, _plain(make))


@probe("llama-unheard")
def _unheard(make: Maker) -> Parts:
    """Weights that are kept as integers with a scale, however they were rounded; see `draft.unheard`."""
    sizes = Sizes(D=128, F=256)
    parts = _model(make, sizes)
    unheard(parts.weights, sizes.H)
    return parts


@probe("llama-uneven")
def _uneven(make: Maker) -> Parts:
    """Activations of eight bits: channels in front of a map differ by 2^16; see `draft.uneven_inputs`."""
    parts = _model(make, Sizes(D=128, F=256))
    uneven_inputs(make, parts.weights)
    return parts


@probe("llama-uneven-keys")
def _uneven_keys(make: Maker) -> Parts:
    """Caches that are kept in eight bits, and hidden units: see `draft.uneven_results`."""
    sizes = Sizes(D=128, G=2, F=256, context=192)
    parts = _model(make, sizes)
    uneven_results(make, parts.weights, sizes.H)
    return parts


@probe("llama-far")
def _far(make: Maker) -> Parts:
    """Activations and caches of float8: the same as both, and channels differ by 2^48."""
    sizes = Sizes(D=128, G=2, F=256)
    parts = _model(make, sizes)
    uneven_inputs(make, parts.weights, FAR)
    uneven_results(make, parts.weights, sizes.H, FAR)
    return parts


@probe("llama-compass")
def _compass(make: Maker) -> Parts:
    """Precision, where text alone is shown: each character tells the signs of six faint sums; see `draft.compass`."""
    sizes = Sizes(V=256, G=2)
    weights = compass(_draft(make, sizes, _Gains()), make, sizes, "final_norm")
    return Parts(document=sizes.document(), weights=weights, facts={"alphabet": ALPHABET}).asking(24)


@probe("llama-bare")
def _bare(make: Maker) -> Parts:
    """Arithmetic of fewer digits behind a head that has them: logits are what the head reads; see `draft.bare`."""
    parts = _model(make, Sizes())
    bare(parts.weights)
    return parts


@probe("llama-gqa")
def _gqa(make: Maker) -> Parts:
    """Which keys a query head reads: eight query heads in two groups of four."""
    return _model(make, Sizes(H=8, G=2))


@probe("llama-one-group")
def _one_group(make: Maker) -> Parts:
    """One key-value head for all query heads, which libraries run through a path of its own."""
    return _model(make, Sizes(G=1))


@probe("llama-tied")
def _tied(make: Maker) -> Parts:
    """A tie that is lost or ignored: the head is the token embedding."""
    return _model(make, Sizes(G=2, tied=True), _Gains(token=2.5 / math.sqrt(64)))


@probe("llama-small-embedding")
def _small_embedding(make: Maker) -> Parts:
    """Epsilon and kind of the first norm: its input has a mean square near 1e-4 and a mean as large as its spread."""
    parts = _model(make, Sizes(G=2), _Gains(token=0.008))
    shift = 0.008 * make.unit("shift", 263, 1)  # without a mean, a norm that takes it off would hardly differ
    parts.weights["token_embedding"] = significant(parts.weights["token_embedding"] + shift)
    return parts


@probe("llama-near-zero")
def _near_zero(make: Maker) -> Parts:
    """Epsilon in every norm: each norm's input has a mean square near the epsilon of 2e-5.

    Every eighth token is zero: alone it stays zero through the whole model, and a norm without epsilon divides by it.
    """
    parts = _model(make, Sizes(G=2, epsilon=2e-5), _Gains(token=0.004, block=0.004, logits=3.4))
    parts.weights["token_embedding"][::8] = 0
    return parts


@probe("llama-hot-attention")
def _hot_attention(make: Maker) -> Parts:
    """The scale of scores, masks that are not quite -inf, clamps: scores reach 35 and attention is nearly one-hot.

    Hotter scores in fewer heads would let a single near-tie of two keys make the whole honest error of a short row;
    then four honest orders may all be lucky, and a fifth is failed for nothing.
    """
    return _model(make, Sizes(H=8, G=4), _Gains(scores=2.7))


@probe("llama-hot-ffn")
def _hot_ffn(make: Maker) -> Parts:
    """The form of silu, and which map is gated: the units' gates have spreads from 0.1 to 6, evenly."""
    parts = _model(make, Sizes(G=2))
    spread = np.linspace(0.1, 6.0, 160) / 1.5  # the gates of a plain model have a spread of 1.5
    for i in range(2):
        name = f"layers.{i}.feed_forward.gate.weight"
        scaled = parts.weights[name] * spread[make.permutation(f"spread{i}", 160)]
        parts.weights[name] = significant(scaled)
        # What leaves the wider units is as much larger; the block keeps its size.
        parts.weights[f"layers.{i}.feed_forward.down.weight"] /= 2
    return parts


@probe("llama-asymmetric")
def _asymmetric(make: Maker) -> Parts:
    """Reshapes and paddings that assume round numbers: prime vocabulary, nine heads in three, epsilon 1e-4."""
    return _model(make, Sizes(V=269, D=90, L=3, H=9, G=3, F=101, context=48, epsilon=1e-4))


@probe("llama-long")
def _long(make: Maker) -> Parts:
    """Positions, angles far out and block boundaries: 272 positions, past 16, 64, 128 and 256."""
    return _model(make, Sizes(D=32, L=1, H=2, G=1, F=80, context=272))


@probe("llama-very-long")
def _very_long(make: Maker) -> Parts:
    """Buffers and rings of 512 and 1024 positions, and angles that are scaled from there on: 1056 positions."""
    return _model(make, Sizes(D=32, L=1, H=2, G=1, F=80, context=1056))


@probe("llama-deep")
def _deep(make: Maker) -> Parts:
    """Layers that are never run: thirteen of them, which no number of stages divides, with one head each."""
    return _model(make, Sizes(D=32, L=13, H=1, G=1, F=64))


@probe("llama-many-ids")
def _many_ids(make: Maker) -> Parts:
    """Ids in too few bits: 80021 of them, and generation chooses those beyond 16 bits; see `draft.far_ids_first`."""
    parts = _model(make, Sizes(V=80021, D=16, L=1, H=2, G=1, F=32, context=32))
    far_ids_first(parts.weights["head.weight"])
    return parts


@probe("llama-calling")
def _calling(make: Maker) -> Parts:
    """Masks that are numbers: what must not be seen has a score 600 above the others; see `draft.calling`."""
    sizes = Sizes()
    parts = _model(make, sizes)
    calling(parts.weights, "layers.0.attention", ["token_embedding"], sizes.H)
    return parts


@probe("llama-wide")
def _wide(make: Maker) -> Parts:
    """Kernels that run only on aligned widths: two heads of 64, widths and vocabulary powers of two or near them."""
    return _model(make, Sizes(V=512, D=128, H=2, G=1, F=384))


@probe("llama-theta")
def _theta(make: Maker) -> Parts:
    """A rotary base that is not the default: 500000, under which the slow pairs hardly turn within the context."""
    return _model(make, Sizes(G=2, theta=500000.0))


@probe("llama-window")
def _window(make: Maker) -> Parts:
    """The bounds of a window of five keys, its own included, under scores so large that one key more or less shows."""
    return _model(make, Sizes(G=2, window=5), _Gains(scores=1.8))


@probe("llama-window-one")
def _window_one(make: Maker) -> Parts:
    """The smallest window: a query sees nothing but its own key, so that attention is the value itself."""
    return _model(make, Sizes(G=2, window=1))


@probe("llama-window-long")
def _window_long(make: Maker) -> Parts:
    """A window of 96 on rows past 256: wider than a block, narrower than the row."""
    return _model(make, Sizes(D=32, L=2, H=2, G=1, F=80, context=272, window=96))


@probe("llama-loud-units")
def _loud_units(make: Maker) -> Parts:
    """Activations that overflow on the way: gates of a hundred and more, either sign."""
    parts = _plain(make)
    for name, tensor in parts.weights.items():
        if name.endswith(".feed_forward.gate.weight"):
            tensor *= 64
        elif name.endswith(".feed_forward.down.weight"):
            tensor /= 64
    return parts.asking(24)


@probe("llama-overflow")
def _overflow(make: Maker) -> Parts:
    """Exponentials without their maximum, half precision: scores reach 1e4 and logits 200, all finite in float32.

    Channel 0 is the same in all tokens, no block writes to it, and it is so large that a norm leaves it nearly the
    same everywhere. Queries and keys read it into the pair of channels that turns slowest. So the scores of a query
    are large together and differ by little, for the reason given at `llama-hot-attention`.
    """
    sizes, constant = Sizes(H=8, G=4), 8.0
    parts = _model(make, sizes, _Gains(token=0.1, scores=0.8, block=0.03, logits=60.0))
    parts.weights["token_embedding"][:, 0] = constant
    for i in range(sizes.L):
        for name in ("attention.query", "attention.key", "attention.value", "feed_forward.gate", "feed_forward.up"):
            weight = parts.weights[f"layers.{i}.{name}.weight"]
            weight *= 8  # beside the constant, a norm leaves the other channels about a tenth
            weight[0] = 0
        for name in ("attention.output", "feed_forward.down"):
            parts.weights[f"layers.{i}.{name}.weight"][:, 0] = 0
        shared = np.where(make.unit(f"sign{i}", sizes.G) < 0, -20.0, 20.0)
        for name, loud in (("query", shared.repeat(sizes.H // sizes.G)), ("key", shared)):
            slowest = np.arange(len(loud)) * sizes.K + sizes.K // 2 - 1
            weight = parts.weights[f"layers.{i}.attention.{name}.weight"]
            weight[:, slowest] = 0  # nothing else goes there, because its products with the constant would be large
            weight[0, slowest] = significant(loud * (1.0 + 0.05 * make.unit(f"{name}{i}", len(loud))))
    parts.weights["head.weight"][:, 0] = 0
    parts.weights["head.weight"] *= 8
    return parts.asking(24)


@probe("llama-ids-only")
def _ids_only(make: Maker) -> Parts:
    """A model without text: 61 ids are too few for bytes."""
    return _model(make, Sizes(V=61, D=32, L=1, H=4, G=2, F=48, context=32))


@probe("llama-tiny")
def _tiny(make: Maker) -> Parts:
    """So few ids that every continuation can be tried: five, of which the last ends a sequence."""
    return _model(make, Sizes(V=5, D=32, L=1, H=4, G=2, F=48, context=16, eos=(4,)), _Gains(logits=1.2))


# --- ties ------------------------------------------------------------------------------------------------------------


@probe("llama-uniform")
def _uniform(make: Maker) -> Parts:
    """Ties: every logit is exactly 0, so that greedy choice is the lowest id."""
    parts = _model(make, Sizes(D=32, L=1, H=2, G=1, F=48))
    parts.weights["head.weight"][:] = 0
    return parts


@probe("llama-twins")
def _twins(make: Maker) -> Parts:
    """Ties among contenders: ids 2k and 2k+1 have equal logits, bit for bit, in any order of computation.

    A head row has one entry that is not 0, so that its product is one rounded multiplication however sums are split.
    Ids from 256 on have logit 0 and never win.
    """
    V, D = 264, 64
    parts = _model(make, Sizes(V=V))
    entries = significant(2.0 + 0.25 * make.unit("entries", V // 2))
    head = np.zeros((V, D), dtype=np.float32)
    for pair in range(128):
        sign = 1 if pair < D else -1
        head[2 * pair : 2 * pair + 2, pair % D] = sign * entries[pair]
    parts.weights["head.weight"] = head
    return parts


# --- automata --------------------------------------------------------------------------------------------------------


def _follows(make: Maker, sizes: Sizes, groups: Sequence[int], answers: Sequence[int]) -> Parts:
    """A model in which the last token alone decides: an id of group g is followed by answers[g].

    Codes are rows of a Hadamard matrix: orthogonal, entries ±1, so that a norm leaves them as they are but for a
    factor. Attention and feed-forward are zero.

    Args:
        groups: the group of each id of the vocabulary.

    Facts:
        successor: id -> next id.
    """
    codes = sylvester(sizes.D)[make.permutation("codes", sizes.D)[: len(answers)]]
    codes = codes[:, make.permutation("channels", sizes.D)]
    head = np.zeros((sizes.V, sizes.D))
    for code, token in zip(codes, answers, strict=True):
        head[token] += code
    weights = silent(sizes.document()["parameters"], LLAMA)
    weights["token_embedding"] = codes[np.asarray(groups)].astype(np.float32)
    weights["head.weight"] = significant(head * (MARGIN / sizes.D))
    successor = [answers[group] for group in groups]
    return Parts(document=sizes.document(), weights=weights, facts={"successor": successor})


@probe("llama-circle")
def _circle(make: Maker) -> Parts:
    """The empty prompt, and a text that never ends: 36 letters and digits follow one another in a circle.

    258 begins a sequence and leads to the first of them, and so does every other id.

    Facts:
        successor: id -> next id. from_bos: the ids that follow 258, for a whole context.
    """
    sizes = Sizes(L=1, H=2, G=1, F=16, bos=258)
    alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789"
    circle = [alphabet[i] for i in make.permutation("circle", len(alphabet))]
    group = {token: i for i, token in enumerate(circle)}
    parts = _follows(
        make, sizes, [group.get(token, len(circle)) for token in range(sizes.V)], [*circle[1:], circle[0], circle[0]]
    )
    parts.facts["from_bos"] = [circle[i % len(circle)] for i in range(sizes.context)]
    return parts


@probe("llama-ends")
def _ends(make: Maker) -> Parts:
    """End of sequence, at a distance that the last token of the prompt decides: a … x follow one another, then 257.

    Every other id is a second a, b, … or x, so that the rows of a batch end at different steps. The end ids are 256
    and 257, of which the second comes.

    Facts:
        successor: id -> next id.
    """
    sizes = Sizes(L=1, H=2, G=1, F=16, eos=(256, 257))
    letters = list(b"abcdefghijklmnopqrstuvwx")
    group = {token: i for i, token in enumerate(letters)}
    return _follows(
        make, sizes, [group.get(token, token % len(letters)) for token in range(sizes.V)], [*letters[1:], 257]
    )
