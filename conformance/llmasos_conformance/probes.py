"""The probe models: small bundles that the suite writes itself, each built so that one kind of fault becomes loud.

    numbers     plain tied small-embedding hot-attention hot-ffn near-constant asymmetric long wide overflow ids-only
    ties        uniform uniform-bytes twins
    automata    script script-eos bos textless context-8

A probe depends on its name and the run's seed alone. Weights come from random words that are a function of a key and a
counter, are shaped in exact integer and correctly rounded arithmetic, and have at most 8 significant bits, so that
they are the same on every machine and exact in bfloat16, float32 and float64: a candidate that loads them makes no
error yet. All probes have the GPT-3 layout that a Hugging Face GPT-2 can load too.

In an automaton the codes are rows of a Hadamard matrix: orthogonal, of mean 0, entries ±1. Layer norm leaves such a row
as it is but for a factor, attention and feed-forward add nothing, and a head row that is the sum of codes answers
exactly those codes. What follows is known without computing, with a margin that no rounding reaches.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos_conformance.canonical import digest_of, sha256
from llmasos_conformance.errors import HarnessError, SuiteError
from llmasos_conformance.layout import files_of, silent, with_defaults
from llmasos_conformance.protocol import Array

MARGIN = 64.0
"""Logit of an automaton's answer; all others have 0. At temperature 2 another is drawn once in 10¹¹ tokens."""

_NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)


class Disturbed(HarnessError):
    """Something lies where the library was about to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A bundle on disk and what is known of it.

    Attributes:
        name: of the probe; "bundle-" and part of the digest for one that a question made itself.
        path: directory. Its name says nothing but the digest.
        digest: sha256 hex over file names and bytes, see `canonical.digest_of`.
        config: `parameters` of model.json with the standard's defaults; empty if model.json has none.
        facts: what the construction guarantees, as plain data; see the probe's docstring.
    """

    name: str
    path: Path
    digest: str
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a probe is made of; a question may take it apart and write it back altered.

    Attributes:
        document: model.json. weights: name -> float32 array. facts: as in Probe.
    """

    document: dict[str, Any]
    weights: dict[str, Array]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Hyper-parameters of a probe: V vocabulary, D width, L layers, H heads, F hidden width."""

    V: int = 263
    D: int = 64
    L: int = 2
    H: int = 4
    F: int = 256
    context: int = 64
    tied: bool = False
    epsilon: float = 1e-5
    bos: int | None = None
    eos: tuple[int, ...] = ()

    def document(self) -> dict[str, Any]:
        """model.json with every parameter written out; its name tells a candidate nothing."""
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
            },
        }


class Library:
    """The probes of one run, written to disk when first asked for.

    Args:
        root: directory for the bundles, and for nobody else; made if absent. Two libraries (the candidate's and the
            reference's) with the same seed hold the same bundles in different places.
        seed: of the run.
    """

    def __init__(self, root: Path, seed: str) -> None:
        self.root, self.seed = Path(root), seed
        self._made: dict[str, Probe] = {}
        self._written: dict[Path, dict[str, str]] = {}  # bundle -> file -> SHA-256

    def get(self, name: str) -> Probe:
        """A probe by name.

        Raises:
            SuiteError: there is none of that name.
        """
        if name not in self._made:
            parts = self.parts(name)
            files = files_of(parts.document, parts.weights)
            self._made[name] = self._store(name, files, parts.document, parts.facts)
        return self._made[name]

    def parts(self, name: str) -> Parts:
        """A fresh copy of what a probe is made of.

        Raises:
            SuiteError: there is none of that name.
        """
        if name not in _PROBES:
            raise SuiteError(f"no probe is called {name!r}", hint=f"one of {', '.join(NAMES)}")
        return _PROBES[name](_Maker(self.seed, name))

    def write(
        self,
        document: Mapping[str, Any] | bytes,
        weights: Mapping[str, Array] | bytes | None,
        *,
        tokenizer: str | bytes | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Probe:
        """Write a bundle that a question made itself, sound or not; arguments as in `layout.files_of`."""
        contents = files_of(document, weights, tokenizer, files)
        return self._store("", contents, document if isinstance(document, Mapping) else {}, {})

    def _store(
        self, name: str, files: Mapping[str, bytes], document: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> Probe:
        digest = digest_of(files)
        place = self.root / digest[:16]
        if place not in self._written:
            self._lay(place, files)
            self._written[place] = {file: sha256(content) for file, content in files.items()}
        return Probe(
            name=name or f"bundle-{digest[:8]}",
            path=place,
            digest=digest,
            config=with_defaults(document.get("parameters")),
            facts=facts,
        )

    def _lay(self, place: Path, files: Mapping[str, bytes]) -> None:
        """Write a bundle where nothing is yet. What others placed there is neither followed, opened nor replaced."""
        self.root.mkdir(parents=True, exist_ok=True)
        made: set[Path] = set()
        try:
            for target, content in ((place / file, content) for file, content in files.items()):
                for folder in [place, *reversed(target.relative_to(place).parents[:-1])]:
                    where = place / folder
                    if where not in made:
                        where.mkdir(mode=0o700)
                        made.add(where)
                number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_FOLLOWED, 0o600)
                with os.fdopen(number, "wb") as stream:
                    stream.write(content)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise Disturbed("somebody else wrote here while the run went on", where=place) from error

    def changed(self) -> list[Path]:
        """Files that this library wrote and that are no longer what it wrote. Opens nothing but regular files."""
        return [
            place / file
            for place, digests in self._written.items()
            for file, digest in digests.items()
            if _digest_at(place / file) != digest
        ]


def _digest_at(path: Path) -> str:
    """SHA-256 of a regular file; "" for anything else. Neither a link nor a pipe is waited for."""
    try:
        number = os.open(path, os.O_RDONLY | _NOT_FOLLOWED | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return ""
    with os.fdopen(number, "rb") as stream:
        return sha256(stream.read()) if stat.S_ISREG(os.fstat(number).st_mode) else ""


def significant(x: npt.NDArray[np.float64]) -> Array:
    """Round to 8 significant bits, halves away from zero; any shape -> same shape, float32.

    Computed on the bit pattern: add half of the last bit that stays, then clear the 45 below it. A carry runs into
    the exponent, as it must.
    """
    bits = np.ascontiguousarray(x, dtype=np.float64).view(np.uint64)
    kept = (bits + np.uint64(1 << 44)) & np.uint64(0xFFFF_E000_0000_0000)
    return kept.view(np.float64).astype(np.float32)


class _Maker:
    """Random tensors of one probe.

    Word n of a tensor's stream is SplitMix64's output for the state key + (n+1)·γ, where key is the first 8 bytes,
    big-endian, of SHA-256("llmasos-probe/v1" ‖ 0 ‖ seed ‖ 0 ‖ probe ‖ 0 ‖ tensor).
    """

    def __init__(self, seed: str, probe: str) -> None:
        self._prefix = f"llmasos-probe/v1\0{seed}\0{probe}\0"

    def words(self, tensor: str, count: int) -> npt.NDArray[np.uint64]:
        """[count] random words."""
        key = int.from_bytes(hashlib.sha256((self._prefix + tensor).encode()).digest()[:8], "big")
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def unit(self, tensor: str, *shape: int) -> npt.NDArray[np.float64]:
        """Bell-shaped numbers of mean 0 and variance 1, none beyond 3.47.

        The sum of a word's four 16-bit parts: an integer of variance 4·(2³²-1)/12. No library's logarithm or cosine
        takes part, so the values are the same everywhere.
        """
        words = self.words(tensor, math.prod(shape))
        low = np.uint64(0xFFFF)
        parts = [((words >> np.uint64(shift)) & low).astype(np.int64) for shift in (0, 16, 32, 48)]
        total = parts[0] + parts[1] + parts[2] + parts[3] - 2 * 0xFFFF
        numbers = total.astype(np.float64)
        numbers *= math.sqrt(3.0) / 65536
        return numbers.reshape(shape)

    def permutation(self, name: str, count: int) -> npt.NDArray[np.int64]:
        """A permutation of 0 … count-1: the order of as many random words."""
        return np.argsort(self.words(name, count), kind="stable").astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gains:
    """Spreads of a random model, each relative to what keeps activations near 1.

    token, position: of the embeddings. scores: of W_q and W_k. block: of what attention and feed-forward add to the
    residual. logits: standard deviation of the logits.
    """

    token: float = 0.7
    position: float = 0.5
    scores: float = 1.2
    block: float = 1.0
    logits: float = 2.5


def _random(make: _Maker, sizes: Sizes, gains: _Gains) -> dict[str, Array]:
    """Random weights, in which no bias is zero and no norm is neutral, so that leaving one out is seen."""
    V, D, F = sizes.V, sizes.D, sizes.F
    raw: dict[str, npt.NDArray[np.float64]] = {}

    def affine(name: str, rows: int, columns: int, spread: float, bias: float) -> None:
        raw[f"{name}.weight"] = make.unit(f"{name}.weight", rows, columns) * (spread / math.sqrt(rows))
        raw[f"{name}.bias"] = make.unit(f"{name}.bias", columns) * bias

    def norm(name: str) -> None:
        raw[f"{name}.weight"] = 1.0 + 0.2 * make.unit(f"{name}.weight", D)
        raw[f"{name}.bias"] = 0.2 * make.unit(f"{name}.bias", D)

    raw["token_embedding"] = make.unit("token_embedding", V, D) * gains.token
    raw["position_embedding"] = make.unit("position_embedding", sizes.context, D) * gains.position
    for layer in (f"layers.{i}" for i in range(sizes.L)):
        norm(f"{layer}.attention_norm")
        affine(f"{layer}.attention.query", D, D, gains.scores, 0.3 * gains.scores)
        affine(f"{layer}.attention.key", D, D, gains.scores, 0.3 * gains.scores)
        affine(f"{layer}.attention.value", D, D, 1.0, 0.3)
        affine(f"{layer}.attention.output", D, D, gains.block, 0.1 * gains.block)
        norm(f"{layer}.feed_forward_norm")
        affine(f"{layer}.feed_forward.up", D, F, 1.2, 0.5)
        affine(f"{layer}.feed_forward.down", F, D, gains.block, 0.1 * gains.block)
    norm("final_norm")
    if not sizes.tied:
        raw["head.weight"] = make.unit("head.weight", V, D) * (gains.logits / math.sqrt(D))
    return {name: significant(values) for name, values in raw.items()}


def _model(make: _Maker, sizes: Sizes, gains: _Gains | None = None, **facts: Any) -> Parts:
    return Parts(document=sizes.document(), weights=_random(make, sizes, gains or _Gains()), facts=facts)


_PROBES: dict[str, Callable[[_Maker], Parts]] = {}


def _probe(name: str) -> Callable[[Callable[[_Maker], Parts]], Callable[[_Maker], Parts]]:
    def register(function: Callable[[_Maker], Parts]) -> Callable[[_Maker], Parts]:
        _PROBES[name] = function
        return function

    return register


# --- numbers ---------------------------------------------------------------------------------------------------------


@_probe("plain")
def _plain(make: _Maker) -> Parts:
    """Everything gross: a random model with logits of standard deviation about 2.5."""
    return _model(make, Sizes())


@_probe("tied")
def _tied(make: _Maker) -> Parts:
    """A tie that is lost or ignored: the head is the token embedding, and the positions weigh as much as the tokens."""
    return _model(make, Sizes(tied=True), _Gains(token=2.5 / math.sqrt(64), position=0.3))


@_probe("small-embedding")
def _small_embedding(make: _Maker) -> Parts:
    """The epsilon and kind of the first norm: its input has a variance near 1e-4 and a mean as large as its spread."""
    parts = _model(make, Sizes(), _Gains(token=0.007, position=0.005))
    shift = 0.01 * make.unit("shift", 263, 1)  # without a mean, a norm that does not subtract it would hardly differ
    parts.weights["token_embedding"] = significant(parts.weights["token_embedding"] + shift)
    return parts


@_probe("hot-attention")
def _hot_attention(make: _Maker) -> Parts:
    """The scale of scores, masks that are not quite -inf, clamps: scores reach 50 and attention is nearly one-hot.

    Hotter scores in fewer heads would let a single near-tie of two keys make the whole honest error of a short row;
    then four honest orders may all be lucky, and a fifth is failed for nothing.
    """
    return _model(make, Sizes(H=8), _Gains(scores=3.0))


@_probe("hot-ffn")
def _hot_ffn(make: _Maker) -> Parts:
    """The form of GELU, a missing bias: the inputs of GELU are spread evenly over [-6, 6] and a little around it."""
    parts = _model(make, Sizes())
    spread = np.linspace(-6.0, 6.0, 256)
    for i in range(2):
        parts.weights[f"layers.{i}.feed_forward.up.bias"] = significant(spread[make.permutation(f"spread{i}", 256)])
    return parts


@_probe("near-constant")
def _near_constant(make: _Maker) -> Parts:
    """Epsilon in every norm: each norm's input is a constant and a little more, of variance near the epsilon of 2e-5.

    The positions hold the constant, tokens and blocks the rest. Every eighth token adds nothing: the first norm's input
    is then constant and its variance exactly 0. The constant is only about three times the spread, because a variance
    from one pass is honest too, and its cancellation would drown what the probe is for.
    """
    sizes = Sizes(epsilon=2e-5)
    parts = _model(make, sizes, _Gains(token=0.004, block=0.004))
    level = significant(0.012 + 0.003 * make.unit("level", sizes.context, 1))
    parts.weights["position_embedding"] = np.repeat(level, sizes.D, axis=1)
    parts.weights["token_embedding"][::8] = 0
    return parts


@_probe("asymmetric")
def _asymmetric(make: _Maker) -> Parts:
    """Reshapes and paddings that assume round numbers: prime vocabulary, odd widths, three heads, epsilon 1e-4."""
    return _model(make, Sizes(V=269, D=60, L=3, H=3, F=101, context=48, epsilon=1e-4))


@_probe("long")
def _long(make: _Maker) -> Parts:
    """Positions and block boundaries: 272 positions, past 16, 64, 128 and 256."""
    return _model(make, Sizes(D=32, L=1, H=2, F=128, context=272))


@_probe("wide")
def _wide(make: _Maker) -> Parts:
    """Kernels that run only on aligned widths: two heads of 64, widths and vocabulary powers of two."""
    return _model(make, Sizes(V=512, D=128, L=2, H=2, F=512))


@_probe("overflow")
def _overflow(make: _Maker) -> Parts:
    """Exponentials without their maximum, half precision: scores reach 1e4 and logits 200, all finite in float32.

    The scores of a query are large together, through the bias of the keys, and differ by little, for the reason
    given at `hot-attention`.
    """
    parts = _model(make, Sizes(H=8), _Gains(logits=60.0))
    for i in range(2):
        parts.weights[f"layers.{i}.attention.key.bias"] = significant(2000.0 * make.unit(f"offset{i}", 64))
    return parts


@_probe("ids-only")
def _ids_only(make: _Maker) -> Parts:
    """A model without text: 61 ids are too few for bytes."""
    return _model(make, Sizes(V=61, D=32, L=1, H=2, F=64, context=32))


# --- ties ------------------------------------------------------------------------------------------------------------


@_probe("uniform")
def _uniform(make: _Maker) -> Parts:
    """Ties: every logit is exactly 0, so that greedy choice is the lowest id and sampling is even."""
    return _zero_head(make, 263)


@_probe("uniform-bytes")
def _uniform_bytes(make: _Maker) -> Parts:
    """Seeded sampling: all 256 ids are bytes and equally likely."""
    return _zero_head(make, 256)


def _zero_head(make: _Maker, V: int) -> Parts:
    parts = _model(make, Sizes(V=V, D=32, L=1, H=2, F=64))
    parts.weights["head.weight"][:] = 0
    return parts


@_probe("twins")
def _twins(make: _Maker) -> Parts:
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

_LEAD = "(start) "
_TEXT = "ab abc abcd é 中 😀 stop now; stopped, sto, non-stop. naïve 文字 ab abcd 😀! abcabcabd end."
"""What `script` says: words inside words for stop strings, and characters of one, two, three and four bytes."""


def sylvester(count: int) -> npt.NDArray[np.float64]:
    """[D, D] Sylvester's Hadamard matrix of ±1, D the first power of two that is at least `count`."""
    matrix = np.ones((1, 1))
    while len(matrix) < count:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _codes(make: _Maker, count: int, D: int) -> npt.NDArray[np.float64]:
    """[count, D] orthogonal rows of ±1 and mean 0: rows of Sylvester's matrix but its first, shuffled both ways."""
    matrix = sylvester(D)
    rows = 1 + make.permutation("codes", D - 1)[:count]
    assert len(rows) == count, "D orthogonal codes of mean 0 are one more than there are"
    return matrix[rows][:, make.permutation("channels", D)]


def _automaton(sizes: Sizes, head: npt.NDArray[np.float64]) -> dict[str, Array]:
    """A model that adds nothing to its embeddings: norms neutral, blocks zero. Embeddings are left zero.

    Args:
        head: [V, D] sums of codes, scaled so that an answer has the logit it shall have.
    """
    weights = silent(sizes.document()["parameters"])
    weights["head.weight"] = significant(head)
    return weights


def _script(make: _Maker, sizes: Sizes, emits: Sequence[int], loud: Mapping[int, int] | None = None) -> Parts:
    """A model that emits emits[p] after position p, whatever the tokens are.

    Args:
        emits: one id per position of the context.
        loud: position -> id that has half as much again there.
    """
    codes = _codes(make, sizes.context, sizes.D)
    head = np.zeros((sizes.V, sizes.D))
    for position, token in enumerate(emits):
        head[token] += codes[position]
    for position, token in (loud or {}).items():
        head[token] += 1.5 * codes[position]
    weights = _automaton(sizes, head * (MARGIN / sizes.D))
    weights["position_embedding"] = codes.astype(np.float32)
    return Parts(document=sizes.document(), weights=weights, facts={"emits": list(emits)})


@_probe("script")
def _script_probe(make: _Maker) -> Parts:
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


@_probe("script-eos")
def _script_eos(make: _Maker) -> Parts:
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


@_probe("textless")
def _textless(make: _Maker) -> Parts:
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


@_probe("context-8")
def _context_8(make: _Maker) -> Parts:
    """Limits: a script of eight positions.

    Facts:
        emits: as in `script`.
    """
    return _script(make, Sizes(D=64, L=1, H=2, F=16, context=8), b"limited!")


@_probe("bos")
def _bos(make: _Maker) -> Parts:
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
    codes = _codes(make, len(circle) + 1, sizes.D)
    code_of = {token: codes[i] for i, token in enumerate(circle)}
    embedding = np.array([code_of.get(token, codes[-1]) for token in range(sizes.V)])
    head = np.zeros((sizes.V, sizes.D))
    for token, code in code_of.items():
        head[successor[token]] += code
    head[circle[0]] += codes[-1]
    weights = _automaton(sizes, head * (MARGIN / sizes.D))
    weights["token_embedding"] = embedding.astype(np.float32)
    from_bos = [circle[i % len(circle)] for i in range(sizes.context)]
    return Parts(document=sizes.document(), weights=weights, facts={"successor": successor, "from_bos": from_bos})


NAMES: tuple[str, ...] = tuple(_PROBES)
"""All probes."""
