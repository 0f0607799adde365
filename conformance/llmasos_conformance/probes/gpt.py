"""Probes of the architecture GPT-3, in the layout that a Hugging Face GPT-2 can load too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos_conformance.layout import silent
from llmasos_conformance.probes.draft import (
    ALPHABET,
    FAR,
    Draft,
    bare,
    calling,
    codes,
    compass,
    far_ids_first,
    uneven_inputs,
    uneven_results,
    unheard,
)
from llmasos_conformance.probes.making import MARGIN, Maker, Parts, every_digit, probe, significant
from llmasos_conformance.protocol import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Hyper-parameters of a probe: V vocabulary, D width, L layers, H heads, F hidden width.

    band: keys that every second layer sees; None for all.
    """

    V: int = 263
    D: int = 64
    L: int = 2
    H: int = 4
    F: int = 256
    context: int = 64
    tied: bool = False
    epsilon: float = 1e-5
    band: int | None = None
    bos: int | None = None
    eos: tuple[int, ...] = ()

    def document(self) -> dict[str, Any]:
        """model.json with every parameter written out; its name tells a candidate nothing.

        But for the band: a dense model's document may be one of a candidate that knows no bands.
        """
        bands = {} if self.band is None else {"local_attention_window": self.band}
        return {
            "name": "probe",
            "version": "1.0",
            "architecture": "GPT-3",
            "parameters": {
                "vocab_size": self.V,
                "embedding_dim": self.D,
                "num_layers": self.L,
                "num_heads": self.H,
                "feed_forward_dim": self.F,
                "context_length": self.context,
                "layer_norm_epsilon": self.epsilon,
                "activation": "gelu_tanh",
                "tie_embeddings": self.tied,
                "bos_token_id": self.bos,
                "eos_token_ids": list(self.eos),
                **bands,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """Spreads of a random model, each relative to what keeps activations near 1.

    token, position: of the embeddings. scores: of W_q and W_k. block: of what attention and feed-forward add to the
    residual. logits: standard deviation of the logits.
    """

    token: float = 0.7
    position: float = 0.5
    scores: float = 1.2
    block: float = 1.0
    logits: float = 2.5


def _draft(make: Maker, sizes: Sizes, gains: Gains) -> Draft:
    """Random tensors of the spreads asked for."""
    draft = Draft(make, sizes.D)
    draft.table("token_embedding", sizes.V, gains.token)
    draft.table("position_embedding", sizes.context, gains.position)
    for layer in (f"layers.{i}" for i in range(sizes.L)):
        draft.norm(f"{layer}.attention_norm")
        draft.attention(f"{layer}.attention", gains.scores, gains.block)
        draft.norm(f"{layer}.feed_forward_norm")
        draft.feed_forward(f"{layer}.feed_forward", sizes.F, gains.block)
    draft.norm("final_norm")
    if not sizes.tied:
        draft.table("head.weight", sizes.V, gains.logits / math.sqrt(sizes.D))
    return draft


def model(make: Maker, sizes: Sizes, gains: Gains | None = None, **facts: Any) -> Parts:
    return Parts(document=sizes.document(), weights=_draft(make, sizes, gains or Gains()).weights(), facts=facts)


# --- numbers ---------------------------------------------------------------------------------------------------------


@probe("plain")
def _plain(make: Maker) -> Parts:
    """Everything gross: a random model with logits of standard deviation about 2.5."""
    return model(make, Sizes())


@probe("full")
def _full(make: Maker) -> Parts:
    """Weights with all the digits of float32: rounding them to fewer shows."""
    return every_digit(make, _plain(make))


@probe("unheard")
def _unheard(make: Maker) -> Parts:
    """Weights that are kept as integers with a scale, however they were rounded; see `draft.unheard`."""
    sizes = Sizes(D=128, F=256)
    parts = model(make, sizes)
    unheard(parts.weights, sizes.H)
    return parts


@probe("uneven")
def _uneven(make: Maker) -> Parts:
    """Activations of eight bits: channels in front of a map differ by 2^16; see `draft.uneven_inputs`."""
    parts = model(make, Sizes(D=128, F=256))
    uneven_inputs(make, parts.weights)
    return parts


@probe("uneven-keys")
def _uneven_keys(make: Maker) -> Parts:
    """Caches that are kept in eight bits, and hidden units: see `draft.uneven_results`."""
    sizes = Sizes(D=128, F=256, context=192)
    parts = model(make, sizes)
    uneven_results(make, parts.weights, sizes.H)
    return parts


@probe("far")
def _far(make: Maker) -> Parts:
    """Activations and caches of float8: the same as both, and channels differ by 2^48."""
    sizes = Sizes(D=128, F=256)
    parts = model(make, sizes)
    uneven_inputs(make, parts.weights, FAR)
    uneven_results(make, parts.weights, sizes.H, FAR)
    return parts


@probe("compass")
def _compass(make: Maker) -> Parts:
    """Precision, where text alone is shown: each character tells the signs of six faint sums; see `draft.compass`.

    Every tensor has all the digits of float32, so that weights of fewer digits show as well.
    """
    sizes = Sizes(V=256)
    weights = compass(_draft(make, sizes, Gains()), make, sizes, "final_norm")
    return Parts(document=sizes.document(), weights=weights, facts={"alphabet": ALPHABET}).asking(24)


@probe("bare")
def _bare(make: Maker) -> Parts:
    """Arithmetic of fewer digits behind a head that has them: logits are what the head reads; see `draft.bare`."""
    parts = model(make, Sizes())
    bare(parts.weights)
    return parts


@probe("tied")
def _tied(make: Maker) -> Parts:
    """A tie that is lost or ignored: the head is the token embedding, and the positions weigh as much as the tokens."""
    return model(make, Sizes(tied=True), Gains(token=2.5 / math.sqrt(64), position=0.3))


@probe("small-embedding")
def _small_embedding(make: Maker) -> Parts:
    """The epsilon and kind of the first norm: its input has a variance near 1e-4 and a mean as large as its spread."""
    parts = model(make, Sizes(), Gains(token=0.007, position=0.005))
    shift = 0.01 * make.unit("shift", 263, 1)  # without a mean, a norm that does not subtract it would hardly differ
    parts.weights["token_embedding"] = significant(parts.weights["token_embedding"] + shift)
    return parts


@probe("hot-attention")
def _hot_attention(make: Maker) -> Parts:
    """The scale of scores, masks that are not quite -inf, clamps: scores reach 50 and attention is nearly one-hot.

    Hotter scores in fewer heads would let a single near-tie of two keys make the whole honest error of a short row;
    then four honest orders may all be lucky, and a fifth is failed for nothing.
    """
    return model(make, Sizes(H=8), Gains(scores=3.0))


@probe("hot-ffn")
def _hot_ffn(make: Maker) -> Parts:
    """The form of GELU, a missing bias: the inputs of GELU are spread evenly over [-6, 6] and a little around it."""
    parts = model(make, Sizes())
    spread = np.linspace(-6.0, 6.0, 256)
    for i in range(2):
        parts.weights[f"layers.{i}.feed_forward.up.bias"] = significant(spread[make.permutation(f"spread{i}", 256)])
    return parts


@probe("two-gelus")
def _two_gelus(make: Maker) -> Parts:
    """The form of GELU, where text alone is shown: every character comes in two, and the form decides which.

    Sixteen units of the last block have one input, at which the two forms differ most. They alone write to channel 0,
    and channel 1 stays as empty as that is without them; the bias puts 0 half-way between the forms. The head gives the
    two characters of a pair one row, but for the sign of the difference of these channels.
    """
    parts, units, gain, at = model(make, Sizes(V=256)), 16, 8.0, -2.6875
    weights, own = parts.weights, [0, 1]
    for name in weights:
        if name.endswith(("_embedding", ".output.weight", ".down.weight")):
            weights[name][:, own] = 0
        if name.endswith((".output.bias", ".down.bias")):
            weights[name][own] = 0
    last = "layers.1.feed_forward"
    weights[f"{last}.up.weight"][:, :units], weights[f"{last}.up.bias"][:units] = 0, at
    weights[f"{last}.down.weight"][:units], weights[f"{last}.down.weight"][:units, 0] = 0, gain
    exact = at * (1 + math.erf(at / math.sqrt(2))) / 2
    approximate = at * (1 + math.tanh(math.sqrt(2 / math.pi) * (at + 0.044715 * at**3))) / 2
    weights[f"{last}.down.bias"][:1] = significant(np.array([-units * gain * (exact + approximate) / 2]))
    for name in ("final_norm.weight", "final_norm.bias"):
        weights[name][1] = weights[name][0]
    head = weights["head.weight"]
    pairs = head[ALPHABET[::2]]
    head[:] = 0
    for i, sign in enumerate((1, -1)):
        head[ALPHABET[i::2]] = pairs
        head[np.ix_(ALPHABET[i::2], own)] = 4 * sign, -4 * sign
    return parts


@probe("near-constant")
def _near_constant(make: Maker) -> Parts:
    """Epsilon in every norm: each norm's input is a constant and a little more, of variance near the epsilon of 2e-5.

    The positions hold the constant, tokens and blocks the rest. Every eighth token adds nothing: the first norm's input
    is then constant and its variance exactly 0. The constant is only about three times the spread, because a variance
    from one pass is honest too, and its cancellation would drown what the probe is for.
    """
    sizes = Sizes(epsilon=2e-5)
    parts = model(make, sizes, Gains(token=0.004, block=0.004))
    level = significant(0.012 + 0.003 * make.unit("level", sizes.context, 1))
    parts.weights["position_embedding"] = np.repeat(level, sizes.D, axis=1)
    parts.weights["token_embedding"][::8] = 0
    return parts


@probe("asymmetric")
def _asymmetric(make: Maker) -> Parts:
    """Reshapes and paddings that assume round numbers: prime vocabulary, odd widths, three heads, epsilon 1e-4."""
    return model(make, Sizes(V=269, D=60, L=3, H=3, F=101, context=48, epsilon=1e-4))


@probe("long")
def _long(make: Maker) -> Parts:
    """Positions and block boundaries: 272 positions, past 16, 64, 128 and 256."""
    return model(make, Sizes(D=32, L=1, H=2, F=128, context=272))


@probe("very-long")
def _very_long(make: Maker) -> Parts:
    """Buffers and rings of 512 and 1024 positions: 1056 of them."""
    return model(make, Sizes(D=32, L=1, H=2, F=128, context=1056))


@probe("deep")
def _deep(make: Maker) -> Parts:
    """Layers that are never run: thirteen of them, which no number of stages divides, with one head each."""
    return model(make, Sizes(D=32, L=13, H=1, F=64))


@probe("many-ids")
def _many_ids(make: Maker) -> Parts:
    """Ids in too few bits: 80021 of them, and generation chooses those beyond 16 bits; see `draft.far_ids_first`."""
    parts = model(make, Sizes(V=80021, D=16, L=1, H=2, F=32, context=32))
    far_ids_first(parts.weights["head.weight"])
    return parts


@probe("wide")
def _wide(make: Maker) -> Parts:
    """Kernels that run only on aligned widths: two heads of 64, widths and vocabulary powers of two."""
    return model(make, Sizes(V=512, D=128, L=2, H=2, F=512))


@probe("loud-units")
def _loud_units(make: Maker) -> Parts:
    """Activations that overflow on the way: inputs of the hidden units of some dozens, either sign."""
    parts = _plain(make)
    for name, tensor in parts.weights.items():
        if ".feed_forward.up." in name:
            tensor *= 16
        elif name.endswith(".feed_forward.down.weight"):
            tensor /= 16
    return parts.asking(24)


@probe("overflow")
def _overflow(make: Maker) -> Parts:
    """Exponentials without their maximum, half precision: scores reach 1e4 and logits 200, all finite in float32.

    The scores of a query are large together, through the bias of the keys, and differ by little, for the reason
    given at `hot-attention`.
    """
    parts = model(make, Sizes(H=8), Gains(logits=60.0))
    for i in range(2):
        parts.weights[f"layers.{i}.attention.key.bias"] = significant(2000.0 * make.unit(f"offset{i}", 64))
    return parts.asking(24)


@probe("calling")
def _calling(make: Maker) -> Parts:
    """Masks that are numbers: what must not be seen has a score 600 above the others; see `draft.calling`."""
    sizes = Sizes()
    parts = model(make, sizes)
    calling(parts.weights, "layers.0.attention", ["token_embedding", "position_embedding"], sizes.H)
    return parts


@probe("sunk")
def _sunk(make: Maker) -> Parts:
    """What is added to all logits alike changes no law: here every logit is near -1000, and none is near 0.

    Exponentials without their maximum vanish, and a column that stands for no id, left at 0, is above all others. The
    final norm gives 1 in channel 0, whatever its input, and the head takes that 1024 times from every id. It is channel
    0, because whoever adds terms in their order then rounds most often among large numbers, and is in the baseline.
    """
    parts = model(make, Sizes())
    parts.weights["final_norm.weight"][0], parts.weights["final_norm.bias"][0] = 0, 1
    parts.weights["head.weight"][:, 0] = -1024
    return parts.asking(24)


@probe("ids-only")
def _ids_only(make: Maker) -> Parts:
    """A model without text: 61 ids are too few for bytes."""
    return model(make, Sizes(V=61, D=32, L=1, H=2, F=64, context=32))


@probe("tiny")
def _tiny(make: Maker) -> Parts:
    """So few ids that every continuation can be tried: five, of which the last ends a sequence."""
    return model(
        make,
        Sizes(V=5, D=32, L=1, H=2, F=64, context=16, eos=(4,)),
        Gains(position=0.1, scores=1.5, block=2.0, logits=1.2),
    )


# --- learning --------------------------------------------------------------------------------------------------------


@probe("learning-tied")
def _learning_tied(make: Maker) -> Parts:
    """Gradients of a tied embedding: both of its uses weigh alike. Small, because every gradient travels."""
    return model(make, Sizes(V=53, D=24, L=2, H=3, F=40, context=16, tied=True), Gains(token=0.5, position=0.5))


@probe("learning-few")
def _learning_few(make: Maker) -> Parts:
    """Gradients of tokens that come several times: there are seven of them, in rows that are longer."""
    return model(make, Sizes(V=7, D=24, L=1, H=2, F=40, context=16))


# --- ties ------------------------------------------------------------------------------------------------------------


@probe("uniform")
def _uniform(make: Maker) -> Parts:
    """Ties: every logit is exactly 0, so that greedy choice is the lowest id and sampling is even."""
    return _zero_head(make, 263)


@probe("uniform-bytes")
def _uniform_bytes(make: Maker) -> Parts:
    """Seeded sampling: all 256 ids are bytes and equally likely."""
    return _zero_head(make, 256)


def _zero_head(make: Maker, V: int) -> Parts:
    parts = model(make, Sizes(V=V, D=32, L=1, H=2, F=64))
    parts.weights["head.weight"][:] = 0
    return parts


@probe("twins")
def _twins(make: Maker) -> Parts:
    """Ties among contenders: ids 2k and 2k+1 have equal logits, bit for bit, in any order of computation.

    A head row has one entry that is not 0, so that its product is one rounded multiplication however sums are split.
    Ids from 256 on have logit 0 and never win.
    """
    V, D = 264, 64
    parts = model(make, Sizes(V=V))
    entries = significant(2.0 + 0.25 * make.unit("entries", V // 2))
    head = np.zeros((V, D), dtype=np.float32)
    for pair in range(128):
        sign = 1 if pair < D else -1
        head[2 * pair : 2 * pair + 2, pair % D] = sign * entries[pair]
    parts.weights["head.weight"] = head
    return parts


# --- automata --------------------------------------------------------------------------------------------------------

_LEAD = "(start) "
_TEXT = "ab abc abcd é 中 😀 stop now; stopped, sto, non-stop. naïve 文字 ab abcd 😀! abcabcabd end."
"""What `script` says: words inside words for stop strings, and characters of one, two, three and four bytes."""


def _automaton(sizes: Sizes, head: npt.NDArray[np.float64]) -> dict[str, Array]:
    """A model that adds nothing to its embeddings: norms neutral, blocks zero. Embeddings are left zero.

    Args:
        head: [V, D] sums of codes, scaled so that an answer has the logit it shall have.
    """
    weights = silent(sizes.document()["parameters"])
    weights["head.weight"] = significant(head)
    return weights


def _script(make: Maker, sizes: Sizes, emits: Sequence[int], loud: Mapping[int, int] | None = None) -> Parts:
    """A model that emits emits[p] after position p, whatever the tokens are.

    Args:
        emits: one id per position of the context.
        loud: position -> id that has half as much again there.
    """
    code = codes(make, sizes.context, sizes.D)
    head = np.zeros((sizes.V, sizes.D))
    for position, token in enumerate(emits):
        head[token] += code[position]
    for position, token in (loud or {}).items():
        head[token] += 1.5 * code[position]
    weights = _automaton(sizes, head * (MARGIN / sizes.D))
    weights["position_embedding"] = code.astype(np.float32)
    return Parts(document=sizes.document(), weights=weights, facts={"emits": list(emits)})


@probe("script")
def _script_probe(make: Maker) -> Parts:
    """Text, streaming and stop strings: a known text comes out, whatever goes in. It never ends by itself.

    Facts:
        emits: id after position p; a prompt of n ids is answered by emits[n-1], emits[n], …
        text_from: 8, where `text` begins, so that a prompt of 9 ids gets it whole.
        text: decoding of emits[8:], which holds characters of one to four bytes.
    """
    spoken = (_LEAD + _TEXT).encode()
    sizes = Sizes(D=128, L=1, H=2, F=16, context=len(spoken))
    parts = _script(make, sizes, spoken)
    return Parts(
        document=parts.document,
        weights=parts.weights,
        facts={**parts.facts, "text_from": len(_LEAD), "text": _TEXT},
    )


@probe("script-eos")
def _script_eos(make: Maker) -> Parts:
    """End of sequence: two end ids, 256 and 257, of which the second comes first.

    Facts:
        emits: as in `script`.
        eos_at: position after which 257 comes. first_eos_at: a later one after which 256 comes.
    """
    eos_at, first_eos_at = 20, 36
    emits = list(b"One, two; three: four. And this is beyond the end of it."[:48])
    emits[eos_at], emits[first_eos_at] = 257, 256
    parts = _script(make, Sizes(D=64, L=1, H=2, F=16, context=48, eos=(256, 257)), emits)
    parts.facts.update(eos_at=eos_at, first_eos_at=first_eos_at)
    return parts


@probe("textless")
def _textless(make: Maker) -> Parts:
    """Ids without text: at some positions the largest logit is of one, and the byte next to it must come instead.

    256 ends a sequence and never comes, 258 begins one, 260 and 262 mean nothing.

    Facts:
        emits: id after position p when text is generated.
        raw: position -> id without text that has the largest logit there; what generation on ids emits.
    """
    raw = {10: 260, 15: 258, 21: 262, 22: 260}
    text = b"silent ids leave no gap, no mark and no length in this text"[:48]
    parts = _script(make, Sizes(D=64, L=1, H=2, F=16, context=48, bos=258, eos=(256,)), text, raw)
    parts.facts["raw"] = raw
    return parts


@probe("context-8")
def _context_8(make: Maker) -> Parts:
    """Limits: a script of eight positions.

    Facts:
        emits: as in `script`.
    """
    return _script(make, Sizes(D=64, L=1, H=2, F=16, context=8), b"limited!")


@probe("bos")
def _bos(make: Maker) -> Parts:
    """The empty prompt: generation starts from 258, and each id decides the next.

    36 letters and digits follow one another in a circle; 258 leads to its first, and so does every other id.

    Facts:
        successor: id -> next id. from_bos: the ids that follow 258, for a whole context.
    """
    sizes = Sizes(D=64, L=1, H=2, F=16, bos=258)
    alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789"
    circle = [alphabet[i] for i in make.permutation("circle", len(alphabet))]
    successor = [circle[0]] * sizes.V
    for token, following in zip(circle, [*circle[1:], circle[0]], strict=True):
        successor[token] = following
    *each, last = codes(make, len(circle) + 1, sizes.D)
    code_of = dict(zip(circle, each, strict=True))
    embedding = np.array([code_of.get(token, last) for token in range(sizes.V)])
    head = np.zeros((sizes.V, sizes.D))
    for token, code in code_of.items():
        head[successor[token]] += code
    head[circle[0]] += last
    weights = _automaton(sizes, head * (MARGIN / sizes.D))
    weights["token_embedding"] = embedding.astype(np.float32)
    from_bos = [circle[i % len(circle)] for i in range(sizes.context)]
    return Parts(document=sizes.document(), weights=weights, facts={"successor": successor, "from_bos": from_bos})
