"""Documents, weights and calls of BERT and of the Transformer: which are taken, what they do, which are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance.candidate import LoadedModel, Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.beside import (
    ROW,
    Row,
    answered,
    draw_row,
    drawn_row,
    encoded,
    same_row,
    true_encoding,
    true_row,
)
from llmasos_conformance.checks.bundles import (
    DOCUMENT,
    DOCUMENTS,
    Edits,
    all_refused,
    architecture,
    config,
    document,
    outcome,
    pack,
    tensors,
)
from llmasos_conformance.checks.rows import LENGTH
from llmasos_conformance.numerics import worst
from llmasos_conformance.protocol import REFUSAL_CODES, Array
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

# ── documents ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _bundle(library: Library, edits: Edits, *, weights: bool, quiet: bool = False) -> Probe:
    """An edited small document, with or without weights beside it."""
    made = tensors(config(edits), quiet=quiet, architecture=architecture(edits)) if weights else None
    return library.write(document(edits), None if made is None else pack(made))


def _small_row(draw: Draw, edits: Edits, types: str) -> Row:
    """3 … 12 ids and what stands beside them, within the context of a small model."""
    sizes = config(edits)
    longest = min(12, sizes["context_length"])
    return drawn_row(draw, sizes, (3, longest), (3, longest), types)


def ask_documents_run(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A document that the format allows loads, and the model runs.

    Varies: the ids; the documents stand in the case, as edits of one small valid document. None has weights beside it.
    Compares: the outcome of loading; the logits' shape, and that they are finite.
    Bound: none.
    """
    outcomes = []
    for edits in given["documents"]:
        model = refusal_of(candidate.model, candidate.probes.write(document(edits), None))
        row = _small_row(draw, edits, "left-out")
        outcomes.append((row, model if isinstance(model, Refused) else refusal_of(answered, model, [row])))
    return {"outcomes": outcomes}


def judge_documents_run(given: Given, asked: Asked, reference: Reference) -> Finding:
    for edits, (row, got) in zip(given["documents"], asked["outcomes"], strict=True):
        where = f"document {edits['name']!r}"
        if isinstance(got, Refused):
            return failed(f"{where}: refused with {got.code}; it is valid", expected="loaded", got=got.code)
        due = [len(row.ids), config(edits)["vocab_size"]]
        if list(got[0].shape) != due:
            return failed(f"{where}: logits {list(got[0].shape)}, {due} were due", expected=due, got=got[0].shape)
        if not np.all(np.isfinite(got[0])):
            return failed(f"{where}: logits are not all finite")
    return passed()


check(
    "documents-run",
    ask_documents_run,
    judge_documents_run,
    needs=("load_model", "forward"),
    given={"documents": DOCUMENTS},
)


def ask_documents_alike(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Documents that say the same are the same model.

    Varies: the ids and what stands beside them; how the document is written.
    Compares: logits of the first document with those of each other one; with weights beside them, also the first with
        the truth.
    Bound: honest error of the claimed dtype, √2 times that between two answers of the candidate.
    """
    row = _small_row(draw, given["documents"][0], "any")
    bundles = [_bundle(candidate.probes, edits, weights=given["weights"]) for edits in given["documents"]]
    return {"row": row, "logits": [answered(candidate.model(bundle), [row])[0] for bundle in bundles]}


def judge_documents_alike(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, *others = asked["logits"]
    row, edits = asked["row"], given["documents"][0]
    bundle = _bundle(reference.probes, edits, weights=given["weights"])
    findings = []
    if given["weights"]:
        findings.append(true_row(reference, bundle, row, first, when=f"document {edits['name']!r}"))
    elif not np.all(np.isfinite(first)):
        return failed(f"logits of document {edits['name']!r}, which has no weights, are not all finite")
    for other, logits in zip(given["documents"][1:], others, strict=True):
        when = f"document {other['name']!r}, and document {edits['name']!r}"
        findings.append(same_row(reference, bundle, row, logits, first, when=when))
    return worst(findings)


check(
    "documents-alike",
    ask_documents_alike,
    judge_documents_alike,
    needs=("load_model", "forward"),
    given={
        "documents": {**DOCUMENTS, "minItems": 2},
        "weights": {"type": "boolean", "default": True, "description": "whether model.safetensors lies beside them"},
    },
)


def ask_documents_followed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Each value of a parameter makes the model that it must make.

    Varies: the ids and what stands beside them; the parameter's value, over weights that are otherwise the same.
    Compares: the candidate's logits with the truth, for each value.
    Bound: honest error of the claimed dtype. The values are so far apart that one model's logits are no other's.
    """
    bundles = [_bundle(candidate.probes, edits, weights=True, quiet=given["quiet"]) for edits in given["documents"]]
    row = _small_row(draw, given["documents"][0], "any")
    return {"row": row, "logits": [answered(candidate.model(bundle), [row])[0] for bundle in bundles]}


def judge_documents_followed(given: Given, asked: Asked, reference: Reference) -> Finding:
    row, findings, truths = asked["row"], [], list[Array]()
    for edits, logits in zip(given["documents"], asked["logits"], strict=True):
        bundle = _bundle(reference.probes, edits, weights=True, quiet=given["quiet"])
        truths.append(reference.logits(bundle, row.ids, row.beside))
        findings.append(true_row(reference, bundle, row, logits, when=f"document {edits['name']!r}"))
    if any(np.array_equal(a, b) for i, a in enumerate(truths) for b in truths[:i]):
        raise ValueError("the case's documents make one model, so they show nothing")
    return worst(findings)


check(
    "documents-followed",
    ask_documents_followed,
    judge_documents_followed,
    needs=("load_model", "forward"),
    given={
        "documents": {**DOCUMENTS, "minItems": 2},
        "quiet": {"type": "boolean", "default": False, "description": "embeddings 1/64 as large"},
    },
)


def ask_documents_encoded(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Each document of an encoder makes the encodings that it must make.

    Varies: the ids and their types; the documents stand in the case, as edits of one small valid document.
    Compares: the hidden states of each document's model with the truth of that document; without weights, which no
        document then fixes, their shape, and that they are finite.
    Bound: honest error of the claimed dtype.
    """
    row, got = _small_row(draw, given["documents"][0], "any"), []
    for edits in given["documents"]:
        bundle = _bundle(candidate.probes, edits, weights=given["weights"], quiet=given["quiet"])
        model = refusal_of(candidate.model, bundle)
        got.append(model if isinstance(model, Refused) else encoded(model, [row])[0])
    return {"row": row, "encodings": got}


def judge_documents_encoded(given: Given, asked: Asked, reference: Reference) -> Finding:
    row, findings = asked["row"], []
    for edits, got in zip(given["documents"], asked["encodings"], strict=True):
        where = f"document {edits['name']!r}"
        if isinstance(got, Refused):
            return failed(f"{where}: refused with {got.code}; it is valid", expected="loaded", got=got.code)
        due = [len(row.ids), config(edits)["embedding_dim"]]
        if list(got.hidden.shape) != due:
            return failed(
                f"{where}: hidden {list(got.hidden.shape)}, {due} were due", expected=due, got=got.hidden.shape
            )
        if not np.all(np.isfinite(got.hidden)):
            return failed(f"{where}: hidden states are not all finite")
        if given["weights"]:
            bundle = _bundle(reference.probes, edits, weights=True, quiet=given["quiet"])
            findings.append(true_encoding(reference, bundle, row, got, when=where))
    return worst(findings) if findings else passed()


check(
    "documents-encoded",
    ask_documents_encoded,
    judge_documents_encoded,
    needs=("load_model", "encode"),
    given={
        "documents": DOCUMENTS,
        "weights": {"type": "boolean", "default": True, "description": "whether model.safetensors lies beside them"},
        "quiet": {"type": "boolean", "default": False, "description": "embeddings 1/64 as large"},
    },
)

FAULT = {
    "type": "object",
    "properties": {
        "tensor": {"type": "string", "description": "name of the tensor"},
        "fault": {
            "enum": ["missing", "added", "transposed", "one row fewer", "one row more"],
            "description": "what is wrong with it; an added one has the shape of the token embedding",
        },
    },
    "required": ["tensor", "fault"],
    "additionalProperties": False,
}


def ask_misfits(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Weights that do not fit their document are refused with invalid_format.

    Varies: nothing; the case names the faults, each put alone into weights that fit.
    Compares: the refusal's code with the one due; that the weights without a fault load.
    Bound: none, they are equal or they are not.
    """
    edits = given["document"]
    made = tensors(config(edits), architecture=architecture(edits))
    packed = [pack(made), *(pack(_spoilt(made, fault["tensor"], fault["fault"])) for fault in given["faults"])]
    return {"outcomes": [outcome(candidate, candidate.probes.write(document(edits), raw)) for raw in packed]}


def _spoilt(made: Mapping[str, Array], name: str, fault: str) -> dict[str, Array]:
    weights = dict(made)
    if fault == "added":
        return {**weights, name: weights["token_embedding"]}
    array = weights.pop(name)
    if fault == "missing":
        return weights
    changed = {"transposed": array.T, "one row fewer": array[:-1], "one row more": np.concatenate([array, array[:1]])}
    return {**weights, name: changed[fault]}


def judge_misfits(given: Given, asked: Asked, reference: Reference) -> Finding:
    fits, *others = asked["outcomes"]
    if fits != "loaded":
        return failed(f"weights that fit their document: refused with {fits}", expected="loaded", got=fits)
    names = [f"weights with {fault['tensor']} {fault['fault']}" for fault in given["faults"]]
    return all_refused(names, others, "invalid_format")


check(
    "weights-misfit",
    ask_misfits,
    judge_misfits,
    needs=("load_model",),
    given={"document": DOCUMENT, "faults": {"type": "array", "minItems": 1, "items": FAULT, "description": "faults"}},
)

# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────

_LIST = {
    "anyOf": [
        {"type": "array", "items": {"type": "integer"}},
        {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "times": {"type": "integer", "minimum": 0}},
            "required": ["id", "times"],
            "additionalProperties": False,
        },
    ],
    "description": "integers, or one integer several times",
}
_LISTS = {"type": "array", "items": _LIST, "description": "a list per row"}
METHODS: Mapping[str, str] = {
    "forward": "rows", "encode": "rows", "generate_batch": "rows", "score": "ids", "open": "ids",
    "generate_ids": "ids", "fill_mask": "ids", "generate_text": "prompt", "stream_text": "prompt",
}  # fmt: skip
"""Method -> member of a call that holds its first argument."""
CALL = {
    "type": "object",
    "properties": {
        "method": {"enum": sorted(METHODS), "description": "the method asked; the case needs its capability"},
        "rows": _LISTS,
        "ids": _LIST,
        "prompt": {"type": "string", "description": "text"},
        "source": _LIST,
        "sources": _LISTS,
        "types": {"anyOf": [_LIST, _LISTS], "description": "token types, of a row or of each row"},
        "options": {"type": "object", "description": "other options, as sent"},
    },
    "required": ["method"],
    "additionalProperties": False,
}


def _written(value: Any) -> Any:
    """A list of a call as it is sent."""
    if isinstance(value, Mapping):
        return [value["id"]] * value["times"]
    if isinstance(value, list) and any(not isinstance(item, int) for item in value):
        return [_written(item) for item in value]
    return value


def called(model: LoadedModel, call: Mapping[str, Any]) -> Any:
    """Make the call that stands in a case."""
    first = METHODS[call["method"]]
    beside = {name: _written(call[name]) for name in ("source", "sources", "types") if name in call}
    return getattr(model, call["method"])(_written(call[first]), **beside, **call.get("options", {}))


def ask_calls_refused(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A wrong call is refused with the code of its requirement, and a right one after it is answered. (and ERR-1)

    Varies: content and length of the right row; the wrong calls stand in the case.
    Compares: each refusal's code with the one due; logits of the right row, asked after
        all of them, with the float64 reference.
    Bound: none for codes; honest error of the claimed dtype for the logits.
    """
    row, model = draw_row(given, draw, candidate), candidate.model(given["probe"])
    tried = [refusal_of(called, model, call) for call in given["calls"]]
    codes = [got.code if isinstance(got, Refused) else "" for got in tried]
    return {"row": row, "codes": codes, "after": answered(model, [row])[0]}


def judge_calls_refused(given: Given, asked: Asked, reference: Reference) -> Finding:
    wrong = _unlike(given, asked["codes"])
    return wrong or true_row(
        reference, given["probe"], asked["row"], asked["after"], when="a right row after the refusals"
    )


def _unlike(given: Given, codes: Sequence[str]) -> Finding | None:
    """The first call that was not refused as it must be."""
    due = given["code"]
    for call, code in zip(given["calls"], codes, strict=True):
        if code != due:
            came = f"refused with {code}" if code else "answered"
            rest = {name: value for name, value in call.items() if name != "method"}
            message = f"{call['method']} with {json.dumps(rest)!s:.160}: {came}, refusal with {due} was due"
            return failed(message, expected=due, got=code or "an answer")
    return None


REFUSALS: Mapping[str, Any] = {
    **ROW,
    "length": {**LENGTH, "default": [3, 8]},
    "calls": {"type": "array", "minItems": 1, "items": CALL, "description": "wrong calls, each on its own"},
    "code": {"enum": list(REFUSAL_CODES), "description": "code of each refusal"},
}

check("calls-refused", ask_calls_refused, judge_calls_refused, needs=("load_model", "forward"), given=REFUSALS)


def ask_encoder_refuses(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A wrong call to an encoder is refused with the code of its requirement, and a right row after it is encoded.

    Varies: content and length of the right row; the wrong calls stand in the case.
    Compares: each refusal's code with the one due; hidden states of the right row, asked after all of them, with the
        float64 reference.
    Bound: none for codes; honest error of the claimed dtype for the hidden states.
    """
    row, model = draw_row(given, draw, candidate), candidate.model(given["probe"])
    tried = [refusal_of(called, model, call) for call in given["calls"]]
    codes = [got.code if isinstance(got, Refused) else "" for got in tried]
    return {"row": row, "codes": codes, "after": encoded(model, [row])[0]}


def judge_encoder_refuses(given: Given, asked: Asked, reference: Reference) -> Finding:
    wrong = _unlike(given, asked["codes"])
    return wrong or true_encoding(
        reference, given["probe"], asked["row"], asked["after"], when="a right row after the refusals"
    )


check("encoder-refuses", ask_encoder_refuses, judge_encoder_refuses, needs=("load_model", "encode"), given=REFUSALS)
