"""Documents: which load, which are refused with which code, and what the values in them do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.bundles import (
    CODE,
    DOCUMENTS,
    Edits,
    all_refused,
    config,
    document,
    few_ids,
    held,
    outcome,
    pack,
)
from llmasos_conformance.protocol import Array
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference


def ask_rejects_document(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A document that the format forbids is refused with the code of its requirement.

    Varies: nothing; the documents stand in the case, as edits of one small valid document. None has weights beside it.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    outcomes = []
    for edits in given["documents"]:
        bundle = candidate.probes.write(document(edits), None)
        outcomes.append(outcome(candidate, bundle))
    return {"outcomes": outcomes}


def judge_rejects_document(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"document {edits['name']!r} {_edited(edits)}" for edits in given["documents"]]
    return all_refused(names, asked["outcomes"], given["code"])


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
        outcomes.append(outcome(candidate, candidate.probes.write(document(edits), None)))
    return {"foreign": foreign, "outcomes": outcomes}


def judge_foreign_architectures(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"architecture {name!r}, which the candidate does not declare" for name in asked["foreign"]]
    return all_refused(names, asked["outcomes"], "unsupported_architecture")


check(
    "foreign-architectures",
    ask_foreign_architectures,
    judge_foreign_architectures,
    needs=("load_model",),
    given={"architectures": {"type": "array", "items": {"type": "string"}, "description": "names to try"}},
)


def _bundle(library: Library, edits: Edits, *, weights: bool, quiet: bool = False) -> Probe:
    """An edited small document, with or without weights beside it."""
    return library.write(document(edits), pack(held(edits, quiet=quiet)) if weights else None)


def ask_same_model(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Documents that say the same are the same model.

    Varies: the ids; how the document is written.
    Compares: logits of the first document with those of each other one; with weights beside them, also the first with
        the truth.
    Bound: honest error of the claimed dtype, √2 times that between two answers of the candidate.
    """
    first = given["documents"][0]
    ids = few_ids(draw, config(first))
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
    ids = few_ids(draw, config(given["documents"][0]))
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
