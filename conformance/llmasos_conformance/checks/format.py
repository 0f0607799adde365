"""Bundles: what loads, what is refused with which code, what a document's values do, and what loading must not do."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.api import differs
from llmasos_conformance.checks.bundles import (
    DOCUMENT,
    File,
    config,
    document,
    pack,
    speaker,
    stored,
    tensors,
)
from llmasos_conformance.inputs import sequence
from llmasos_conformance.protocol import REFUSAL_CODES, Array
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

DOCUMENTS = {"type": "array", "minItems": 1, "items": DOCUMENT, "description": "documents, each on its own"}
CODE = {"enum": list(REFUSAL_CODES), "description": "code of the refusal"}

Edits = Mapping[str, Any]


def _load(candidate: Candidate, bundle: Probe) -> str:
    """ "loaded", or the code of the refusal."""
    got = refusal_of(candidate.model, bundle)
    return got.code if isinstance(got, Refused) else "loaded"


def _within(probe: Probe, name: str) -> Probe:
    """A place inside a bundle's directory, known in evidence as the bundle's digest and this name."""
    return replace(probe, path=probe.path / name, digest=f"{probe.digest}/{name}")


def _refused(outcomes: Sequence[tuple[str, str]], code: str) -> Finding:
    """Judge (what, outcome) pairs that must all be refusals with one code."""
    for what, got in outcomes:
        if got != code:
            found = "it loaded" if got == "loaded" else f"refused with {got}"
            return failed(f"{what}: {found}, refusal with {code} was due", expected=code, got=got)
    return passed()


# ── documents ───────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_rejects_document(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A document that the format forbids is refused with the code of its requirement.

    Varies: nothing; the documents stand in the case, as edits of one small valid document. None has weights beside it.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    outcomes = []
    for edits in given["documents"]:
        bundle = candidate.probes.write(document(edits), None)
        outcomes.append(_load(candidate, bundle))
    return {"outcomes": outcomes}


def judge_rejects_document(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"document {edits['name']!r} {_edited(edits)}" for edits in given["documents"]]
    return _refused(list(zip(names, asked["outcomes"], strict=True)), given["code"])


def _edited(edits: Edits) -> str:
    return json.dumps({key: value for key, value in edits.items() if key != "name"}, ensure_ascii=False)[:200]


check(
    "rejects-document",
    ask_rejects_document,
    judge_rejects_document,
    needs=("load_model",),
    given={"documents": DOCUMENTS, "code": CODE},
)


def ask_accepts_document(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A document that the format allows loads, and the model runs.

    Varies: nothing; the documents stand in the case, as edits of one small valid document. None has weights beside it.
    Compares: the outcome of loading, and the counts of a short generation with its limit.
    Bound: none.
    """
    outcomes = []
    for edits in given["documents"]:
        model = refusal_of(candidate.model, candidate.probes.write(document(edits), None))
        if not isinstance(model, Refused):
            model = refusal_of(model.generate_text, "a", max_length=2, temperature=0)
        outcomes.append(model)
    return {"outcomes": outcomes}


def judge_accepts_document(given: Given, asked: Asked, reference: Reference) -> Finding:
    for edits, got in zip(given["documents"], asked["outcomes"], strict=True):
        where = f"document {edits['name']!r} {_edited(edits)}"
        if isinstance(got, Refused):
            return failed(f"{where}: refused with {got.code}; it is valid", expected="loaded", got=got.code)
        if got.completion_tokens is not None and got.completion_tokens > 2:
            return failed(
                f"{where}: {got.completion_tokens} tokens came, 2 at most were due", got=got.completion_tokens
            )
    return passed()


check(
    "accepts-document",
    ask_accepts_document,
    judge_accepts_document,
    needs=("load_model",),
    given={"documents": DOCUMENTS},
)


def ask_foreign_architectures(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """An architecture that the candidate does not declare is refused with unsupported_architecture.

    Varies: nothing; the case names architectures, and those that the candidate declares are left out.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    foreign = [name for name in given["architectures"] if name not in candidate.description.architectures]
    outcomes = []
    for name in foreign:
        edits = {"put": {"architecture": json.dumps(name)}}
        outcomes.append(_load(candidate, candidate.probes.write(document(edits), None)))
    return {"foreign": foreign, "outcomes": outcomes}


def judge_foreign_architectures(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"architecture {name!r}, which the candidate does not declare" for name in asked["foreign"]]
    return _refused(list(zip(names, asked["outcomes"], strict=True)), "unsupported_architecture")


check(
    "foreign-architectures",
    ask_foreign_architectures,
    judge_foreign_architectures,
    needs=("load_model",),
    given={"architectures": {"type": "array", "items": {"type": "string"}, "description": "names to try"}},
)


def _bundle(library: Library, edits: Edits, *, weights: bool, quiet: bool = False) -> Probe:
    """An edited small document, with or without weights beside it."""
    held = pack(tensors(config(edits), quiet=quiet)) if weights else None
    return library.write(document(edits), held)


def _ids(draw: Draw, sizes: Mapping[str, Any]) -> list[int]:
    """2 … 12 ids, within the context."""
    return sequence(draw, (2, min(12, sizes["context_length"])), sizes["vocab_size"])


def ask_same_model(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Documents that say the same are the same model.

    Varies: the ids; how the document is written.
    Compares: logits of the first document with those of each other one; with weights beside them, also the first with
        the truth.
    Bound: honest error of the claimed dtype, √2 times that between two answers of the candidate.
    """
    first = given["documents"][0]
    ids = _ids(draw, config(first))
    bundles = [_bundle(candidate.probes, edits, weights=given["weights"]) for edits in given["documents"]]
    return {"ids": ids, "logits": [candidate.model(bundle).forward([ids])[0] for bundle in bundles]}


def judge_same_model(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, *others = asked["logits"]
    edits, dtype = given["documents"][0], reference.claims.dtype
    bundle = _bundle(reference.probes, edits, weights=given["weights"])
    truth, honest = reference.logits(bundle, asked["ids"]), reference.honest_logits(bundle, asked["ids"])
    findings = []
    if given["weights"]:
        findings.append(numerics.judge_logits(f"logits of document {edits['name']!r}", first, truth, honest, dtype))
    elif not np.all(np.isfinite(first)):
        return failed(f"logits of document {edits['name']!r}, which has no weights, are not all finite")
    for other, logits in zip(given["documents"][1:], others, strict=True):
        label = f"logits of document {other['name']!r}, the other way {edits['name']!r},"
        findings.append(numerics.judge_same(label, logits, first, truth, honest, dtype))
    return numerics.worst(findings)


check(
    "same-model",
    ask_same_model,
    judge_same_model,
    needs=("load_model", "forward"),
    given={
        "documents": {**DOCUMENTS, "minItems": 2},
        "weights": {"type": "boolean", "default": True, "description": "whether model.safetensors lies beside them"},
    },
)


def ask_follows_parameters(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Each value of a parameter makes the model that it must make.

    Varies: the ids; the parameter's value, over weights that are otherwise the same.
    Compares: the candidate's logits with the truth, for each value.
    Bound: honest error of the claimed dtype. The values are so far apart that one model's logits are no other's.
    """
    bundles = [_bundle(candidate.probes, edits, weights=True, quiet=given["quiet"]) for edits in given["documents"]]
    ids = _ids(draw, config(given["documents"][0]))
    return {"ids": ids, "logits": [candidate.model(bundle).forward([ids])[0] for bundle in bundles]}


def judge_follows_parameters(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings, truths = [], list[Array]()
    for edits, logits in zip(given["documents"], asked["logits"], strict=True):
        bundle = _bundle(reference.probes, edits, weights=True, quiet=given["quiet"])
        truths.append(reference.logits(bundle, asked["ids"]))
        honest, label = reference.honest_logits(bundle, asked["ids"]), f"logits with {edits['name']!r}"
        findings.append(numerics.judge_logits(label, logits, truths[-1], honest, reference.claims.dtype))
    if any(np.array_equal(a, b) for i, a in enumerate(truths) for b in truths[:i]):
        raise ValueError("the case's documents make one model, so they show nothing")
    return numerics.worst(findings)


check(
    "follows-parameters",
    ask_follows_parameters,
    judge_follows_parameters,
    needs=("load_model", "forward"),
    given={
        "documents": {**DOCUMENTS, "minItems": 2},
        "quiet": {"type": "boolean", "default": False, "description": "embeddings 1/64 as large"},
    },
)

# ── weights ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PLAIN: Edits = {"name": "small"}


def _file(change: Callable[[dict[str, Array]], Any] | None = None) -> File:
    """The small document's weights, changed before they are put into a file."""
    weights = tensors(config(PLAIN))
    if change is not None:
        change(weights)
    return File(weights)


def _with(name: str, make: Callable[[Array], Array]) -> bytes:
    return _file(lambda weights: weights.update({name: make(weights[name])})).bytes()


def _without(name: str) -> bytes:
    return _file(lambda weights: weights.pop(name)).bytes()


def _stored_as(name: str, dtype: str, raw: Callable[[Array], bytes]) -> bytes:
    """One tensor under another dtype, its bytes as that dtype needs them."""
    weights, file = tensors(config(PLAIN)), File({})
    for key, array in weights.items():
        if key == name:
            file.add(key, list(array.shape), raw(array), dtype)
        else:
            file.add(key, list(array.shape), stored(array, "F32"))
    return file.bytes()


def _entry(name: str, **members: Any) -> bytes:
    """The header's entry of one tensor, with members replaced."""
    file = _file()
    file.header[name].update(members)
    return file.bytes()


def _shifted(at: int, by: int, *, longer: bool = False) -> bytes:
    """Bytes put in (by > 0) or taken out before tensor number `at`, all later ranges moved along.

    Args:
        longer: the tensor before them claims the bytes that were put in.
    """
    file = _file()
    entries = list(file.header.values())
    place = entries[at]["data_offsets"][0]
    for entry in entries[at:]:
        entry["data_offsets"] = [offset + by for offset in entry["data_offsets"]]
    if longer:
        entries[at - 1]["data_offsets"][1] += by
    file.data = file.data[: place + min(by, 0)] + bytes(max(by, 0)) + file.data[place:]
    return file.bytes()


def _cut(count: int) -> bytes:
    return _file().bytes()[:count]


def _text(change: Callable[[str], str]) -> bytes:
    file = _file()
    return file.bytes(text=change(file.text()))


def _poked(name: str, value: float) -> bytes:
    def poke(array: Array) -> Array:
        changed = array.copy()
        changed[(-1,) * changed.ndim] = value
        return changed

    return _with(name, poke)


_NORM, _QUERY, _UP = "final_norm.weight", "layers.0.attention.query.weight", "layers.0.feed_forward.up.weight"

FAULTS: Mapping[str, Callable[[], bytes]] = {
    "missing norm": lambda: _without(_NORM),
    "missing bias": lambda: _without("layers.0.feed_forward.down.bias"),
    "missing position embedding": lambda: _without("position_embedding"),
    "no tensors": lambda: File({}).bytes(),
    "additional tensor": lambda: _file(lambda w: w.update({"layers.1.norm": w[_NORM]})).bytes(),
    "head beside tied embeddings": lambda: _file(lambda w: w.update({"head.weight": w["token_embedding"]})).bytes(),
    "transposed": lambda: _with(_UP, np.transpose),
    "one row fewer": lambda: _with("token_embedding", lambda array: array[:-1]),
    "one position more": lambda: _with("position_embedding", lambda array: np.concatenate([array, array[:1]])),
    "additional axis": lambda: _with(_NORM, lambda array: array[None]),
    "scalar": lambda: _with(_NORM, lambda array: array[0]),
    "wider query": lambda: _with(_QUERY, lambda array: np.repeat(array, 2, axis=1)),
    "I32": lambda: _stored_as(_NORM, "I32", lambda array: stored(array, "F32")),
    "I8": lambda: _stored_as(_QUERY, "I8", lambda array: bytes(array.size)),
    "F8_E4M3": lambda: _stored_as(_QUERY, "F8_E4M3", lambda array: bytes(array.size)),
    "BOOL": lambda: _stored_as(_NORM, "BOOL", lambda array: b"\1" * array.size),
    "unknown dtype": lambda: _entry(_NORM, dtype="f32"),
    "empty file": lambda: b"",
    "seven bytes": lambda: _cut(7),
    "header cut": lambda: _cut(100),
    "no data": lambda: _file().bytes()[: -len(_file().data)],
    "last byte missing": lambda: _file().bytes()[:-1],
    "one byte more": lambda: _file().bytes() + b"\0",
    "header as long as the file": lambda: _file().bytes(length=len(_file().bytes())),
    "header of 2^60 bytes": lambda: _file().bytes(length=2**60),
    "header of 2^63 bytes": lambda: _file().bytes(length=2**63),
    "header of 2^64-1 bytes": lambda: _file().bytes(length=2**64 - 1),
    "header of 0 bytes": lambda: _file().bytes(length=0),
    "header is a list": lambda: _text(lambda text: "[]"),
    "header is no JSON": lambda: _text(lambda text: text.replace("{", "(", 1)),
    "trailing comma": lambda: _text(lambda text: text.rstrip()[:-1] + ",}"),
    "tensor named twice": lambda: _text(lambda text: text.replace("{", '{"final_norm.bias":{"dtype":"F32",'
                                                                '"shape":[0],"data_offsets":[0,0]},', 1)),
    "overlap": lambda: _shifted(3, -4),
    "hole": lambda: _shifted(3, 4),
    "hole at the beginning": lambda: _shifted(0, 4),
    "range too long": lambda: _shifted(3, 4, longer=True),
    "reversed range": lambda: _entry(_NORM, data_offsets=[32, 0]),
    "range beyond the file": lambda: _entry(_NORM, data_offsets=[2**40, 2**40 + 32]),
    "negative range": lambda: _entry(_NORM, data_offsets=[-32, 0]),
    "same range twice": lambda: _entry(_NORM, data_offsets=_file().header["final_norm.bias"]["data_offsets"]),
    "shape of 2^62 by 8": lambda: _entry(_NORM, shape=[2**62, 8]),
    "shape of 2^32 by 2^32": lambda: _entry(_NORM, shape=[2**32, 2**32, 8]),
    "negative shape": lambda: _entry(_NORM, shape=[-8]),
    "NaN": lambda: _poked(_UP, math.nan),
    "infinity": lambda: _poked("token_embedding", math.inf),
    "minus infinity in a norm": lambda: _poked(_NORM, -math.inf),
    "NaN stored as F16": lambda: _stored_as("position_embedding", "F16", lambda array: b"\x00\x7e" * array.size),
}  # fmt: skip
"""Ways in which the small document's weights can be wrong."""


def ask_rejects_weights(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Weights that the format forbids are refused with invalid_format.

    Varies: nothing; the case names the faults, each put alone into the sound weights of the small document.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    made = document(PLAIN)
    return {"outcomes": [_load(candidate, candidate.probes.write(made, FAULTS[fault]())) for fault in given["faults"]]}


def judge_rejects_weights(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"model.safetensors with fault {fault!r}" for fault in given["faults"]]
    return _refused(list(zip(names, asked["outcomes"], strict=True)), "invalid_format")


check(
    "rejects-weights",
    ask_rejects_weights,
    judge_rejects_weights,
    needs=("load_model",),
    given={
        "faults": {
            "type": "array",
            "minItems": 1,
            "items": {"enum": list(FAULTS)},
            "description": "names of faults, see FAULTS in checks/format.py",
        }
    },
)


def ask_shape_contradictions(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A size in the document that the weights contradict is refused with invalid_format.

    Varies: nothing; sound weights of the small document stand beside each edited document.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    held = pack(tensors(config(PLAIN)))
    return {
        "outcomes": [_load(candidate, candidate.probes.write(document(edits), held)) for edits in given["documents"]]
    }


check(
    "rejects-contradiction",
    ask_shape_contradictions,
    judge_rejects_document,
    needs=("load_model",),
    given={"documents": DOCUMENTS, "code": CODE},
)


def ask_stored_dtypes(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Weights mean the same numbers in every dtype in which they are stored.

    Varies: the ids; the dtype of storage. Every weight is exact in all of them.
    Compares: logits of each bundle with the truth of the first.
    Bound: honest error of the claimed dtype.
    """
    sizes = config(PLAIN)
    ids, weights = _ids(draw, sizes), tensors(sizes)
    bundles = [candidate.probes.write(document(PLAIN), pack(weights, dtype)) for dtype in given["dtypes"]]
    return {"ids": ids, "logits": [candidate.model(bundle).forward([ids])[0] for bundle in bundles]}


def judge_stored_dtypes(given: Given, asked: Asked, reference: Reference) -> Finding:
    bundle = reference.probes.write(document(PLAIN), pack(tensors(config(PLAIN)), "F32"))
    truth, honest = reference.logits(bundle, asked["ids"]), reference.honest_logits(bundle, asked["ids"])
    return numerics.worst(
        [
            numerics.judge_logits(f"logits of weights stored as {dtype}", logits, truth, honest, reference.claims.dtype)
            for dtype, logits in zip(given["dtypes"], asked["logits"], strict=True)
        ]
    )


check(
    "stored-dtypes",
    ask_stored_dtypes,
    judge_stored_dtypes,
    needs=("load_model", "forward"),
    given={
        "dtypes": {
            "type": "array",
            "minItems": 1,
            "items": {"enum": ["F64", "F32", "F16", "BF16"]},
            "description": "dtypes of storage",
        }
    },
)


def ask_digest(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A stated digest of the weights is compared with them.

    Varies: nothing.
    Compares: the outcomes of loading with the right digest, with that of other weights, and without weights.
    Bound: none, they are equal or they are not.
    """
    held = pack(tensors(config(PLAIN)))
    right, wrong = (hashlib.sha256(raw).hexdigest() for raw in (held, held[:-1]))
    outcomes = []
    for digest, weights in ((right, held), (wrong, held), (right, None)):
        edits = {"put": {"weights": json.dumps({"sha256": digest})}}
        outcomes.append(_load(candidate, candidate.probes.write(document(edits), weights)))
    return {"outcomes": outcomes}


def judge_digest(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = (
        "weights with the digest that the document states",
        "weights with another digest",
        "a digest of no weights",
    )
    for name, due, got in zip(names, ("loaded", "invalid_format", "invalid_format"), asked["outcomes"], strict=True):
        if got != due:
            return failed(f"{name}: {got}, {due} was due", expected=due, got=got)
    return passed()


check("weights-digest", ask_digest, judge_digest, needs=("load_model",))

# ── places ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SPEAKER: Mapping[str, Any] = {"says": ["still here"], "after": 2}
GREEDY: Mapping[str, Any] = {"max_length": 10, "temperature": 0}
SAID = {"text": "still here", "finish_reason": "length"}


def ask_not_found(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A path without a bundle is refused with not_found.

    Varies: nothing.
    Compares: the codes for a path at which there is nothing and for a directory without model.json.
    Bound: none, they are equal or they are not.
    """
    probe = candidate.probes.write(document(PLAIN), None)
    empty = _within(probe, "empty")
    empty.path.mkdir(exist_ok=True)
    places = (_within(probe, "absent"), _within(probe, "absent/model.json"), empty)
    return {"outcomes": [_load(candidate, place) for place in places]}


def judge_not_found(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = ("a path with nothing there", "a model.json that is not there", "a directory without model.json")
    return _refused(list(zip(names, asked["outcomes"], strict=True)), "not_found")


check("not-found", ask_not_found, judge_not_found, needs=("load_model",))


def ask_path_to_document(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A bundle loads by its directory and by its model.json alike.

    Varies: nothing.
    Compares: a greedy generation of both with what the model says.
    Bound: none, they are equal or they are not.
    """
    probe = speaker(candidate.probes, SPEAKER)
    places = (probe, _within(probe, "model.json"))
    return {"answers": [candidate.model(place).generate_text("ab", **GREEDY) for place in places]}


def judge_path_to_document(given: Given, asked: Asked, reference: Reference) -> Finding:
    for name, got in zip(("its directory", "its model.json"), asked["answers"], strict=True):
        wrong = differs(SAID, got, f"a bundle loaded by {name}")
        if wrong is not None:
            return wrong
    return passed()


check("path-to-document", ask_path_to_document, judge_path_to_document, needs=("load_model",))


def ask_links(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A bundle with a link that leads out of its directory is refused with invalid_format.

    Varies: nothing; each file of the case is in turn a link to a sound file one directory above.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    held = {"model.json": document(PLAIN), "model.safetensors": pack(tensors(config(PLAIN)))}
    outer = candidate.probes.write(held["model.json"], held["model.safetensors"])
    outcomes = []
    for file in given["files"]:
        inner = _within(outer, f"linked-{file.partition('.')[2]}")
        shutil.rmtree(inner.path, ignore_errors=True)
        inner.path.mkdir()
        for name, content in held.items():
            if name == file:
                (inner.path / name).symlink_to(Path("..") / name)
            else:
                (inner.path / name).write_bytes(content)
        outcomes.append(_load(candidate, inner))
    return {"outcomes": outcomes}


def judge_links(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"a bundle whose {file} is a link out of its directory" for file in given["files"]]
    return _refused(list(zip(names, asked["outcomes"], strict=True)), "invalid_format")


check(
    "refuses-links",
    ask_links,
    judge_links,
    needs=("load_model",),
    given={
        "files": {
            "type": "array",
            "minItems": 1,
            "items": {"enum": ["model.json", "model.safetensors"]},
            "description": "files that are links, each on its own",
        }
    },
)

BAIT = (
    "pytorch_model.bin", "model.bin", "model.pt", "model.pth", "model.pkl", "weights.pkl", "tokenizer.pkl",
    "model.safetensors.pkl",
)  # fmt: skip
"""Names under which loaders look for pickled objects."""
PROGRAMS = ("modeling.py", "model.py", "tokenizer.py", "__init__.py", "setup.py")


class _Payload:
    """Unpickled, copies a directory."""

    def __init__(self, source: Path, target: Path) -> None:
        self.arguments = (str(source), str(target))

    def __reduce__(self) -> tuple[Any, ...]:
        return shutil.copytree, self.arguments


def ask_canary(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Loading executes nothing that lies in the bundle.

    Pickles and program text stand beside the bundle's files. Each of them, if it were executed, would make a second
    bundle in a place where there is none; so the candidate's own answer about that place shows what happened, and the
    evidence holds it.

    Varies: nothing.
    Compares: the generation with what the model says; the outcome of loading that place with not_found.
    Bound: none, they are equal or they are not.
    """
    if given["weights"]:
        probe = speaker(candidate.probes, SPEAKER)
    else:
        probe = candidate.probes.write(document(PLAIN), None)
    canary, inner = _within(probe, "canary"), _within(probe, "bait")
    for place in (canary.path, inner.path):
        shutil.rmtree(place, ignore_errors=True)
    inner.path.mkdir()
    for name in ("model.json", "model.safetensors"):
        if (probe.path / name).is_file():
            shutil.copyfile(probe.path / name, inner.path / name)
    _lay_bait(inner.path, canary.path)
    answer = candidate.model(inner).generate_text("ab", **GREEDY)
    return {"answer": answer, "canary": _load(candidate, canary)}


def _lay_bait(place: Path, target: Path) -> None:
    """Write files that copy a bundle to `target` when they are executed. They name this machine's paths, so they are
    no part of the bundle's digest."""
    source = place.with_name("source")
    source.mkdir(exist_ok=True)
    (source / "model.json").write_bytes(document(PLAIN))
    for name in BAIT:
        (place / name).write_bytes(pickle.dumps(_Payload(source, target), protocol=2))
    for name in PROGRAMS:
        (place / name).write_text(f"import shutil\nshutil.copytree({str(source)!r}, {str(target)!r})\n")
    auto_map = {"AutoModel": "modeling.Model", "AutoModelForCausalLM": "modeling.Model"}
    (place / "config.json").write_text(json.dumps({"model_type": "canary", "auto_map": auto_map}))


def judge_canary(given: Given, asked: Asked, reference: Reference) -> Finding:
    if asked["canary"] != "not_found":
        message = f"after loading a bundle with pickles and programs beside it, one of them has run: {asked['canary']}"
        return failed(message, expected="not_found", got=asked["canary"])
    if given["weights"]:
        return differs(SAID, asked["answer"], "a bundle with pickles and programs beside it") or passed()
    return passed()


check(
    "executes-nothing",
    ask_canary,
    judge_canary,
    needs=("load_model",),
    given={"weights": {"type": "boolean", "description": "whether model.safetensors is there"}},
)


def ask_serves_on(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A refused bundle leaves loaded models as they were, and the next valid bundle loads.

    Varies: the text that a new model says.
    Compares: generations of a model loaded before, and of one loaded after each refusal, with what they say.
    Bound: none, they are equal or they are not.
    """
    model, probes = candidate.model(speaker(candidate.probes, SPEAKER)), candidate.probes
    outcomes = []
    for fault in given["faults"]:
        refused = _load(candidate, probes.write(document(PLAIN), FAULTS[fault]()))
        says = "".join(chr(97 + letter) for letter in draw.integers(10, 0, 25))
        fresh = refusal_of(candidate.model, speaker(probes, {**SPEAKER, "says": [says]}))
        answer = fresh if isinstance(fresh, Refused) else fresh.generate_text("ab", **GREEDY)
        outcomes.append((refused, model.generate_text("ab", **GREEDY), says, answer))
    return {"outcomes": outcomes}


def judge_serves_on(given: Given, asked: Asked, reference: Reference) -> Finding:
    for fault, (refused, old, says, new) in zip(given["faults"], asked["outcomes"], strict=True):
        where = f"after weights with fault {fault!r}"
        if refused != "invalid_format":
            return failed(f"weights with fault {fault!r}: {refused}", expected="invalid_format", got=refused)
        wrong = differs(SAID, old, f"{where}, the model loaded before")
        wrong = wrong or differs({**SAID, "text": says}, new, f"{where}, a model loaded next")
        if wrong is not None:
            return wrong
    return passed()


check(
    "serves-on",
    ask_serves_on,
    judge_serves_on,
    needs=("load_model",),
    given={"faults": {"type": "array", "minItems": 1, "items": {"enum": list(FAULTS)}, "description": "of weights"}},
)
