"""Bundles that questions make themselves, byte for byte the same on every machine, and what comes of loading one.

No checks live here.

    document(edits)      model.json as bytes: a small valid document with edits that may break it
    tensors(config)      weights that a configuration needs; every value is exact even in bfloat16
    packed, pack         model.safetensors in parts that can be broken on purpose, and as bytes
    outcome, all_refused what comes of loading a bundle, and whether each of several is refused as it must be
    speaker(model)       a model that is made to say something: the answer to a request is known before it is asked
    spoken(model, ids)   what that answer is
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import vocabularies
from llmasos_conformance.inputs import sequence
from llmasos_conformance.layout import TensorFile, shapes, silent, with_defaults
from llmasos_conformance.probes import MARGIN, opposites, sylvester, transformer
from llmasos_conformance.protocol import REFUSAL_CODES, Array
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe

# ── documents ───────────────────────────────────────────────────────────────────────────────────────────────────────

SMALL: Mapping[str, str] = {
    "name": '"small"',
    "version": '"1.0"',
    "architecture": '"GPT-3"',
    "parameters.vocab_size": "260",
    "parameters.embedding_dim": "8",
    "parameters.num_layers": "1",
    "parameters.num_heads": "2",
    "parameters.feed_forward_dim": "16",
    "parameters.context_length": "16",
}
"""The small document: path of each member -> its value as JSON text."""

DOCUMENT = {
    "type": "object",
    "description": "the small document (see suites/README.md) with edits",
    "properties": {
        "name": {"type": "string", "description": "for the message of a failure"},
        "put": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "path of a member -> its value as JSON text, which may be wrong on purpose",
        },
        "drop": {"type": "array", "items": {"type": "string"}, "description": "members left out"},
        "splice": {"type": "object", "description": "at: an ASCII text of the file; hex: bytes that replace it"},
        "before": {"type": "string", "description": "bytes before the document, hex"},
        "after": {"type": "string", "description": "text after the document"},
        "reversed": {"type": "boolean", "description": "members in reverse order"},
        "spaced": {"type": "boolean", "description": "white space of every kind between all tokens"},
        "encoding": {"type": "string", "description": "other than utf-8"},
    },
    "required": ["name"],
    "additionalProperties": False,
}
"""JSON Schema of an edited document in a case's data."""

DOCUMENTS = {"type": "array", "minItems": 1, "items": DOCUMENT, "description": "documents, each on its own"}
CODE = {"enum": list(REFUSAL_CODES), "description": "code of the refusal"}

PLAIN: Mapping[str, Any] = {"name": "small"}
"""The small document as it is."""

Edits = Mapping[str, Any]


def members(edits: Edits) -> dict[str, str]:
    """The small document's members after `put` and `drop`, still by path and as JSON text."""
    made = {**SMALL, **edits.get("put", {})}
    for path in edits.get("drop", ()):
        made = {key: value for key, value in made.items() if key != path and not key.startswith(path + ".")}
    return made


def document(edits: Edits) -> bytes:
    """model.json with edits, as bytes."""
    space = " \n\t\r" if edits.get("spaced") else ""
    order = list(members(edits).items())
    if edits.get("reversed"):
        order.reverse()

    def written(pairs: Sequence[tuple[str, str]]) -> str:
        inner = f"{space},{space}".join(f"{json.dumps(key)}{space}:{space}{value}" for key, value in pairs)
        return f"{{{space}{inner}{space}}}"

    nested = [(path.partition(".")[2], value) for path, value in order if path.startswith("parameters.")]
    top: list[tuple[str, str]] = []
    for path, value in order:
        head = path.partition(".")[0]
        if path == head:
            top.append((head, value))
        elif all(head != key for key, _ in top):
            top.append((head, written(nested)))
    raw = (space + written(top) + edits.get("after", "") + space).encode(edits.get("encoding", "utf-8"))
    if "splice" in edits:
        raw = raw.replace(edits["splice"]["at"].encode(), bytes.fromhex(edits["splice"]["hex"]))
    before = bytes.fromhex(edits.get("before", ""))
    return before + bytes(raw)


def architecture(edits: Edits) -> str:
    """What an edited document names."""
    return str(json.loads(members(edits)["architecture"]))


def config(edits: Edits) -> dict[str, Any]:
    """Parameters of an edited document that is still valid, with the standard's defaults."""
    given = {path.partition(".")[2]: json.loads(v) for path, v in members(edits).items() if path.startswith("param")}
    return with_defaults(given, architecture(edits))


# ── weights ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def tensors(config: Mapping[str, Any], *, quiet: bool = False, architecture: str = "GPT-3") -> dict[str, Array]:
    """Weights of the needed shapes: name -> float32 array.

    Each value is a signed byte of SHAKE-256(name) divided by 128, norm weights lie around 1, and queries are divided by
    the power of two that tames their scores: without it these have a spread of 20 and more, and an honest computation
    that meets two equal ones errs many times as much as the others. So the same name and shape give the same values in
    every configuration, and no dtype of the format loses any of them.

    Args:
        quiet: embeddings are 1/64 as large, so that the epsilon of the norms weighs as much as the variance.
    """
    made = {name: _pattern(name, shape) for name, shape in shapes(config, architecture).items()}
    for name in made:
        if name.endswith("norm.weight"):
            made[name] = 1 + made[name]
        if name.endswith(("query.weight", "query.bias")):
            made[name] = made[name] / _tame(made[name].shape[-1])
    if quiet:
        for name in made:
            if name.endswith("embedding"):
                made[name] = made[name] / 64
    return made


def _tame(D: int) -> np.float32:
    """The first power of two from D on: scores of entries that are even in [-1, 1) then have a spread of √K / 3."""
    return np.float32(2 ** math.ceil(math.log2(D)))


def held(edits: Edits, *, quiet: bool = False) -> dict[str, Array]:
    """Weights of an edited document that is still valid."""
    return tensors(config(edits), quiet=quiet, architecture=architecture(edits))


def _pattern(name: str, shape: tuple[int, ...]) -> Array:
    """Multiples of 1/128 in [-1, 1)."""
    raw = hashlib.shake_256(name.encode()).digest(int(np.prod(shape)))
    made: Array = (np.frombuffer(raw, dtype=np.int8).astype(np.float32) / np.float32(128)).reshape(shape)
    return made


def stored(array: Array, dtype: str) -> bytes:
    """An array's little-endian bytes in a dtype of the format; bfloat16 is the upper half of float32."""
    if dtype == "BF16":
        halves = np.ascontiguousarray(array, dtype="<f4").view("<u2").reshape(-1, 2)
        return np.ascontiguousarray(halves[:, 1]).tobytes()
    return np.ascontiguousarray(array, dtype={"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def packed(weights: Mapping[str, Array], dtype: str = "F32") -> TensorFile:
    """A model.safetensors in its parts, all tensors stored in one dtype."""
    file = TensorFile()
    for name, array in weights.items():
        file.add(name, list(array.shape), stored(array, dtype), dtype)
    return file


def pack(weights: Mapping[str, Array], dtype: str = "F32") -> bytes:
    """A valid model.safetensors."""
    return packed(weights, dtype).bytes()


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome(candidate: Candidate, bundle: Probe) -> str:
    """ "loaded", or the code of the refusal."""
    got = refusal_of(candidate.model, bundle)
    return got.code if isinstance(got, Refused) else "loaded"


def all_refused(names: Sequence[str], outcomes: Sequence[str], code: str) -> Finding:
    """Whether each outcome of loading is a refusal with one code.

    Args:
        names: of what was loaded, for the message.
    """
    for name, got in zip(names, outcomes, strict=True):
        if got != code:
            found = "it loaded" if got == "loaded" else f"refused with {got}"
            return failed(f"{name}: {found}, refusal with {code} was due", expected=code, got=got)
    return passed()


def few_ids(draw: Draw, sizes: Mapping[str, Any]) -> list[int]:
    """4 … 12 ids, within the context of a small model: a band two keys wide leaves shorter rows as they are."""
    return sequence(draw, (4, min(12, sizes["context_length"])), sizes["vocab_size"])


# ── models that say something ───────────────────────────────────────────────────────────────────────────────────────

_ITEMS = {"type": "array", "items": {"type": ["string", "integer"]}}

MODEL = {
    "type": "object",
    "description": "a model whose answer is known (see suites/README.md)",
    "properties": {
        "says": {**_ITEMS, "description": "what it says, text or ids, whatever the tokens before; then full stops"},
        "after": {"type": "integer", "minimum": 1, "description": "number of prompt tokens after which it says that"},
        "follows": {
            "type": "array",
            "items": {**_ITEMS, "minItems": 2, "maxItems": 2},
            "description": "pairs of tokens: after the one comes the other",
        },
        "law": {
            "type": "object",
            "additionalProperties": {"type": "number"},
            "description": "character -> its probability, the same at every position",
        },
        "logits": {
            "type": "array",
            "items": {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 2, "maxItems": 2},
            "description": "tokens and their logits, the same at every position; all others have -100",
        },
        "chain": {
            "type": "array",
            "items": {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 3, "maxItems": 3},
            "description": "a token, one that may come after it, and with which probability",
        },
        "architecture": {
            "enum": ["GPT-3", "Llama", "Transformer"],
            "description": "default GPT-3; a Llama cannot have `says`, a Transformer no `law`",
        },
        "louder": {
            "type": "integer",
            "description": "an id whose logit is half as large again as that of what it says",
        },
        "echoes": {**_ITEMS, "description": "tokens that a Transformer writes as it reads them, place by place"},
        "start": {"type": "integer", "description": "decoder_start_token_id; left to the standard if not said"},
        "eos": {"type": "array", "items": {"type": "integer"}, "description": "eos_token_ids"},
        "bos": {"type": "integer", "description": "bos_token_id"},
        "context": {"type": "integer", "minimum": 2, "description": "context_length, default 48"},
        "vocabulary": {"type": "integer", "minimum": 1, "description": "vocab_size, default 260"},
        "pieces": {
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "description": "text -> id from 256: a tokenizer.json whose first 256 ids are bytes, and these pieces",
        },
        "special": {
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "description": "literal -> id of special tokens of tokenizer.json",
        },
        "tokenizer": vocabularies.TOKENIZER,
    },
    "additionalProperties": False,
}
"""JSON Schema of a speaking model in a case's data."""


def ids_of(items: Sequence[str | int], names: Mapping[str, int] | None = None) -> list[int]:
    """Texts as their bytes, ids as they are.

    Args:
        names: of the tokens of a tokenizer.json of the suite; then a text is the name of one token.
    """
    if names is not None:
        return [names[item] if isinstance(item, str) else item for item in items]
    return [token for item in items for token in (item.encode() if isinstance(item, str) else [item])]


def speaker(library: Library, model: Mapping[str, Any]) -> Probe:
    """A bundle that says what `model` demands.

    Attention and feed-forward are zero; what remains is embedding, final norm and head. Embeddings are codes,
    orthogonal, of mean 0 and variance 1: rows of a Hadamard matrix, or `opposites`. The norm leaves such a row as it is
    but for a factor, and a head row that is a sum of codes answers exactly those.

        says      each position has a code, so that the position alone decides
        follows   each left-hand token has a code, so that the last token alone decides; others say id 0
        law       every position has the same code, and one column of the head holds ln p
        logits    the same, and the column holds the logits
        chain     each left-hand token has a code, which the head answers with ln p of the tokens behind it

    A Llama has no positions in its embeddings, so that no code can stand at one: there `says` is not offered. What a
    Transformer says is said of its target positions and tokens; see `probes.transformer`.

    With `tokenizer` the vocabulary is that file's if `vocabulary` is left out, and a model that is not told what to say
    says full stops.
    """
    if model.get("architecture") == "Transformer":
        if "tokenizer" in model:
            raise ValueError("a Transformer speaks bytes; use `pieces`")
        if "logits" in model:
            raise ValueError("a Transformer has no `logits`; use `chain`")
        return translator(library, model)
    made_of = model.get("tokenizer")
    names = None if made_of is None else vocabularies.ids_by_name(vocabularies.document(made_of))
    stop, size = (ord("."), 260) if names is None else (names.get(".", 0), max(names.values()) + 1)
    V, context, llama = model.get("vocabulary", size), model.get("context", 48), model.get("architecture") == "Llama"
    if names is not None and not model.keys() & {"follows", "law", "logits", "chain"}:
        model = {"says": [], **model}
    links = [*model.get("follows", ()), *model.get("chain", ())]
    known = list(dict.fromkeys(ids_of([link[0]], names)[0] for link in links))
    count = context if "says" in model else max(31, len(known))
    # The constant row has a mean. Probabilities are small beside what is never said, so theirs are kept apart.
    codes = (opposites(max(16, len(known))) if "chain" in model else sylvester(count + 1)[1:]).astype(np.float32)
    D = codes.shape[1]
    parameters = {
        "vocab_size": V, "embedding_dim": D, "num_layers": 1, "num_heads": 1, "feed_forward_dim": 4,
        "context_length": context, "tie_embeddings": False, "bos_token_id": model.get("bos"),
        "eos_token_ids": model.get("eos", []),
    }  # fmt: skip
    architecture = model.get("architecture", "GPT-3")
    weights = silent(with_defaults(parameters, architecture), architecture)
    head = weights["head.weight"]
    if "says" in model:
        if llama:
            raise ValueError("a Llama cannot say something at a position; use `follows`")
        script = [stop] * (model.get("after", 1) - 1) + ids_of(model["says"], names)
        weights["position_embedding"] = codes[:context]
        for position in range(context):
            head[script[position] if position < len(script) else stop] += codes[position] * (MARGIN / D)
            if "louder" in model:
                head[model["louder"]] += codes[position] * (1.5 * MARGIN / D)
    elif "follows" in model:
        for code, (before, then) in zip(codes, (ids_of(pair, names) for pair in model["follows"]), strict=False):
            weights["token_embedding"][before] = code
            head[then] += code * (MARGIN / D)
    elif "chain" in model:
        head[:] = -100 * codes[: len(known)].sum(0) / D
        for before, then, mass in model["chain"]:
            code, token = codes[known.index(ids_of([before])[0])], ids_of([then])[0]
            weights["token_embedding"][ids_of([before])] = code
            head[token] += code * (np.float32(100 + np.log(mass)) / D)
    else:
        weights["token_embedding" if llama else "position_embedding"][:] = codes[0]
        head[:, 0] = -100
        for token, logit in _levels(model, names):
            head[token, 0] = np.float32(logit)
    made = {"name": "speaker", "version": "1.0", "architecture": architecture, "parameters": parameters}
    tokenizer = tokenizer_json(model) if "pieces" in model or "special" in model else None
    if made_of is not None:
        tokenizer = vocabularies.raw(made_of)
    return library.write(json.dumps(made).encode(), pack(weights), tokenizer=tokenizer)


def _levels(model: Mapping[str, Any], names: Mapping[str, int] | None) -> list[tuple[int, float]]:
    """Ids and their logits, of a speaker with `logits` or with `law`."""
    if "logits" in model:
        return [(ids_of([token], names)[0], logit) for token, logit in model["logits"]]
    return [(ord(character), np.log(mass)) for character, mass in model["law"].items()]


def translator(library: Library, model: Mapping[str, Any]) -> Probe:
    """A Transformer that says, follows, chains or echoes what `model` demands; sizes as for the other speakers."""
    V, context = model.get("vocabulary", 260), model.get("context", 48)
    chain = [(*ids_of([before, then]), mass) for before, then, mass in model.get("chain", ())]
    counts = {
        "says": context, "follows": len(model.get("follows", ())), "chain": len({before for before, _, _ in chain}),
        "echoes": context + len(_echoed(model)),
    }  # fmt: skip
    count = counts[next(kind for kind in counts if kind in model)]
    # The first row has a mean.
    rows = opposites(max(16, count))[:count] if "chain" in model else sylvester(count + 1)[1 : count + 1]
    sizes = replace(
        transformer.AUTOMATON, V=V, D=rows.shape[1], context=context, bos=model.get("bos"),
        eos=tuple(model.get("eos", ())), start=model.get("start", 0),
    )  # fmt: skip
    if "says" in model:
        script = (ids_of(model["says"]) + [ord(".")] * context)[:context]
        parts = transformer.says(rows, sizes, script, model.get("louder"))
    elif "follows" in model:
        parts = transformer.follows(
            rows, sizes, dict(zip(*map(ids_of, zip(*model["follows"], strict=True)), strict=True))
        )
    elif "chain" in model:
        parts = transformer.chained(rows, sizes, chain)
    else:
        parts = transformer.echoes(rows, sizes, _echoed(model))
    if "start" not in model:
        del parts.document["parameters"]["decoder_start_token_id"]
    tokenizer = tokenizer_json(model) if "pieces" in model or "special" in model else None
    return library.write(parts.document, parts.weights, tokenizer=tokenizer)


def _echoed(model: Mapping[str, Any]) -> list[int]:
    """Ids that a model echoes, each once."""
    return list(dict.fromkeys(ids_of(model.get("echoes", ()))))


def spoken(model: Mapping[str, Any], ids: Sequence[int]) -> list[int]:
    """The likeliest id behind each of some ids, of a speaker that says or follows."""
    if "follows" in model:
        then = {ids_of(pair)[0]: ids_of(pair)[1] for pair in model["follows"]}
        return [then.get(token, 0) for token in ids]
    script = [ord(".")] * (model.get("after", 1) - 1) + ids_of(model["says"])
    return [script[i] if i < len(script) else ord(".") for i in range(len(ids))]


def continued(model: Mapping[str, Any], ids: Sequence[int], count: int) -> list[int]:
    """The ids that such a speaker puts behind some ids: `count`, or as many as its context has room for."""
    row = list(ids)
    for _ in range(min(count, model.get("context", 48) - len(ids))):
        row.append(spoken(model, row)[-1])
    return row[len(ids) :]


def tokenizer_json(model: Mapping[str, Any]) -> bytes:
    """A byte-level tokenizer.json without merges: text becomes bytes, and ids from 256 have text of their own."""
    pieces = {vocabularies.spelled(text): token for text, token in model.get("pieces", {}).items()}
    added = [vocabularies.added_token(token, text) for text, token in model.get("special", {}).items()]
    return json.dumps(vocabularies.byte_level(pieces, [], added, words=False)).encode()
