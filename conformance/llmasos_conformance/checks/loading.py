"""Loading: weights that do not fit, places that hold no bundle, and what loading must not do."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos_conformance import numerics
from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.api import differs
from llmasos_conformance.checks.bundles import (
    CODE,
    DOCUMENT,
    DOCUMENTS,
    MODEL,
    PLAIN,
    Edits,
    all_refused,
    config,
    continued,
    document,
    few_ids,
    held,
    outcome,
    pack,
    speaker,
    tokenizer_json,
)
from llmasos_conformance.checks.faults import FAULTS
from llmasos_conformance.checks.format import judge_rejects_document
from llmasos_conformance.inputs import shuffled
from llmasos_conformance.protocol import Array
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

OF: Mapping[str, Any] = {"document": {**DOCUMENT, "description": "of which the weights are; left out: the small one"}}
"""The document of a case, for architectures other than that of the small one."""


def _of(given: Given) -> Edits:
    made: Edits = given.get("document", PLAIN)
    return made


# ── weights ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_rejects_weights(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Weights that the format forbids are refused with invalid_format.

    Varies: nothing; the case names the faults, each put alone into the sound weights of the small document.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    of = _of(given)
    bundles = [candidate.probes.write(document(of), FAULTS[fault](of)) for fault in given["faults"]]
    return {"outcomes": [outcome(candidate, bundle) for bundle in bundles]}


def judge_rejects_weights(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"model.safetensors with fault {fault!r}" for fault in given["faults"]]
    return all_refused(names, asked["outcomes"], "invalid_format")


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
            "description": "names of faults, see FAULTS in checks/faults.py",
        }
    },
    optional=OF,
)


CUT = ("model.json", "model.safetensors", "tokenizer.json")


def _whole(file: str, of: Edits) -> bytes:
    """A sound file of a small bundle."""
    if file == "model.json":
        return document(of)
    return pack(held(of)) if file == "model.safetensors" else tokenizer_json({})


def _cut(library: Library, file: str, of: Edits, at: int) -> Probe:
    """The small bundle with one file that ends before its byte number `at`."""
    part = _whole(file, of)[:at]
    if file == "tokenizer.json":
        return library.write(document(of), None, tokenizer=part)
    if file == "model.json":
        return library.write(part, pack(held(of)))
    return library.write(document(of), part)


def ask_refuses_cut(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A file that ends too early is refused with invalid_format, wherever it ends.

    Varies: where it ends, over all its bytes, unless the case tries every place.
    Compares: the refusal's code with the one due; that the whole file loads.
    Bound: none, they are equal or they are not.
    """
    file, of = given["file"], _of(given)
    length = len(_whole(file, of))
    count = given["places"]
    places = sorted({draw.integer(0, length - 1) for _ in range(count)}) if count else list(range(length))
    return {
        "places": places,
        "outcomes": [outcome(candidate, _cut(candidate.probes, file, of, at)) for at in places],
        "whole": outcome(candidate, _cut(candidate.probes, file, of, length)),
    }


def judge_refuses_cut(given: Given, asked: Asked, reference: Reference) -> Finding:
    file = given["file"]
    if asked["whole"] != "loaded":
        return failed(f"the whole {file} was refused with {asked['whole']}", expected="loaded", got=asked["whole"])
    length = len(_whole(file, _of(given)))
    names = [f"{file} of which {at} of {length} bytes are left" for at in asked["places"]]
    return all_refused(names, asked["outcomes"], "invalid_format")


check(
    "refuses-cut",
    ask_refuses_cut,
    judge_refuses_cut,
    needs=("load_model",),
    given={
        "file": {"enum": list(CUT), "description": "which file of the bundle ends too early"},
        "places": {"type": "integer", "minimum": 0, "description": "how many places are drawn; 0 tries every one"},
    },
    optional=OF,
)


def ask_shape_contradictions(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A size in the document that the weights contradict is refused with invalid_format.

    Varies: nothing; sound weights of the small document stand beside each edited document.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    sound = pack(held(_of(given)))
    return {
        "outcomes": [outcome(candidate, candidate.probes.write(document(edits), sound)) for edits in given["documents"]]
    }


check(
    "rejects-contradiction",
    ask_shape_contradictions,
    judge_rejects_document,
    needs=("load_model",),
    given={"documents": DOCUMENTS, "code": CODE},
    optional=OF,
)


def ask_stored_dtypes(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Weights mean the same numbers in every dtype in which they are stored.

    Varies: the ids; the dtype of storage. Every weight is exact in all of them.
    Compares: logits of each bundle with the truth of the first.
    Bound: honest error of the claimed dtype.
    """
    of = _of(given)
    ids, weights = few_ids(draw, config(of)), _stored(given)
    bundles = [candidate.probes.write(document(of), pack(weights, dtype)) for dtype in given["dtypes"]]
    return {"ids": ids, "logits": [candidate.model(bundle).forward([ids])[0] for bundle in bundles]}


FAINT = 2.0**-17
"""Weights are multiples of 1/128 below 1, and these parts of them numbers that float16 holds below its normal ones."""


def _stored(given: Given) -> dict[str, Array]:
    """Weights of a case; all embeddings are faint if it says so."""
    weights = held(_of(given))
    if not given["faint"]:
        return weights
    return {
        name: (tensor * FAINT).astype(tensor.dtype) if "embedding" in name else tensor
        for name, tensor in weights.items()
    }


def judge_stored_dtypes(given: Given, asked: Asked, reference: Reference) -> Finding:
    bundle = reference.probes.write(document(_of(given)), pack(_stored(given), "F32"))
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
        },
        "faint": {
            "type": "boolean",
            "default": False,
            "description": "embeddings are so small that float16 stores them without a leading bit",
        },
    },
    optional=OF,
)


def ask_digest(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A stated digest of the weights is compared with them.

    Varies: nothing.
    Compares: the outcomes of loading with the right digest, with that of other weights, and without weights.
    Bound: none, they are equal or they are not.
    """
    of = _of(given)
    sound = pack(held(of))
    right, wrong = (hashlib.sha256(raw).hexdigest() for raw in (sound, sound[:-1]))
    outcomes = []
    for digest, weights in ((right, sound), (wrong, sound), (right, None)):
        edits = {**of, "put": {**of.get("put", {}), "weights": json.dumps({"sha256": digest})}}
        outcomes.append(outcome(candidate, candidate.probes.write(document(edits), weights)))
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


check("weights-digest", ask_digest, judge_digest, needs=("load_model",), optional=OF)

# ── places ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SPEAKER: Mapping[str, Any] = {"says": ["still here"], "after": 2}
GREEDY: Mapping[str, Any] = {"max_length": 10, "temperature": 0}
ASKED = "ab"
SPEAKING: Mapping[str, Any] = {"model": {**MODEL, "description": "that is asked; left out: one of GPT-3"}}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _speaking(given: Given) -> Mapping[str, Any]:
    made: Mapping[str, Any] = given.get("model", SPEAKER)
    return made


def _said(model: Mapping[str, Any]) -> dict[str, str]:
    """What a model answers to ASKED."""
    return {"text": bytes(continued(model, ASKED.encode(), 10)).decode(), "finish_reason": "length"}


def _other(model: Mapping[str, Any], draw: Draw) -> dict[str, Any]:
    """A model of the same kind that says something else."""
    if "follows" in model:
        circle = shuffled(draw, LETTERS)
        return {**model, "follows": [[a, b] for a, b in zip(circle, [*circle[1:], circle[0]], strict=True)]}
    return {**model, "says": ["".join(chr(97 + letter) for letter in draw.integers(10, 0, 25))]}


def _within(probe: Probe, name: str) -> Probe:
    """A place inside a bundle's directory, known in evidence as the bundle's digest and this name."""
    return replace(probe, path=probe.path / name, digest=f"{probe.digest}/{name}")


def ask_not_found(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A path without a bundle is refused with not_found.

    Varies: nothing.
    Compares: the codes for a path at which there is nothing and for a directory without model.json.
    Bound: none, they are equal or they are not.
    """
    probe = candidate.probes.write(document(_of(given)), None)
    empty = _within(probe, "empty")
    empty.path.mkdir(exist_ok=True)
    places = (_within(probe, "absent"), _within(probe, "absent/model.json"), empty)
    return {"outcomes": [outcome(candidate, place) for place in places]}


def judge_not_found(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = ("a path with nothing there", "a model.json that is not there", "a directory without model.json")
    return all_refused(names, asked["outcomes"], "not_found")


check("not-found", ask_not_found, judge_not_found, needs=("load_model",), optional=OF)


def ask_path_to_document(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A bundle loads by its directory and by its model.json alike.

    Varies: nothing.
    Compares: a greedy generation of both with what the model says.
    Bound: none, they are equal or they are not.
    """
    probe = speaker(candidate.probes, _speaking(given))
    places = (probe, _within(probe, "model.json"))
    return {"answers": [candidate.model(place).generate_text(ASKED, **GREEDY) for place in places]}


def judge_path_to_document(given: Given, asked: Asked, reference: Reference) -> Finding:
    for name, got in zip(("its directory", "its model.json"), asked["answers"], strict=True):
        wrong = differs(_said(_speaking(given)), got, f"a bundle loaded by {name}")
        if wrong is not None:
            return wrong
    return passed()


check("path-to-document", ask_path_to_document, judge_path_to_document, needs=("load_model",), optional=SPEAKING)


def ask_links(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A bundle with a link that leads out of its directory is refused with invalid_format.

    Varies: nothing; each file of the case is in turn a link to a sound file one directory above.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    of = _of(given)
    files = {"model.json": document(of), "model.safetensors": pack(held(of))}
    outer = candidate.probes.write(files["model.json"], files["model.safetensors"])
    outcomes = []
    for file in given["files"]:
        inner = _within(outer, f"linked-{file.partition('.')[2]}")
        shutil.rmtree(inner.path, ignore_errors=True)
        inner.path.mkdir()
        for name, content in files.items():
            if name == file:
                (inner.path / name).symlink_to(Path("..") / name)
            else:
                (inner.path / name).write_bytes(content)
        outcomes.append(outcome(candidate, inner))
    return {"outcomes": outcomes}


def judge_links(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"a bundle whose {file} is a link out of its directory" for file in given["files"]]
    return all_refused(names, asked["outcomes"], "invalid_format")


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
    optional=OF,
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
        probe = speaker(candidate.probes, _speaking(given))
    else:
        probe = candidate.probes.write(document(_of(given)), None)
    canary, inner = _within(probe, "canary"), _within(probe, "bait")
    for place in (canary.path, inner.path):
        shutil.rmtree(place, ignore_errors=True)
    inner.path.mkdir()
    for name in ("model.json", "model.safetensors"):
        if (probe.path / name).is_file():
            shutil.copyfile(probe.path / name, inner.path / name)
    _lay_bait(inner.path, canary.path)
    answer = candidate.model(inner).generate_text(ASKED, **GREEDY)
    return {"answer": answer, "canary": outcome(candidate, canary)}


def _lay_bait(place: Path, target: Path) -> None:
    """Write files that copy a bundle to `target` when they are executed. They name this machine's paths, so they are
    no part of the bundle's digest."""
    source = place.with_name("source")
    source.mkdir(exist_ok=True)
    (source / "model.json").write_bytes((place / "model.json").read_bytes())
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
        due = _said(_speaking(given))
        return differs(due, asked["answer"], "a bundle with pickles and programs beside it") or passed()
    return passed()


check(
    "executes-nothing",
    ask_canary,
    judge_canary,
    needs=("load_model",),
    given={"weights": {"type": "boolean", "description": "whether model.safetensors is there"}},
    optional={**OF, **SPEAKING},
)


def ask_serves_on(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A refused bundle leaves loaded models as they were, and the next valid bundle loads.

    Varies: the text that a new model says.
    Compares: generations of a model loaded before, and of one loaded after each refusal, with what they say.
    Bound: none, they are equal or they are not.
    """
    probes, of, speaking = candidate.probes, _of(given), _speaking(given)
    model = candidate.model(speaker(probes, speaking))
    outcomes = []
    for fault in given["faults"]:
        refused = outcome(candidate, probes.write(document(of), FAULTS[fault](of)))
        other = _other(speaking, draw)
        fresh = refusal_of(candidate.model, speaker(probes, other))
        answer = fresh if isinstance(fresh, Refused) else fresh.generate_text(ASKED, **GREEDY)
        outcomes.append((refused, model.generate_text(ASKED, **GREEDY), _said(other), answer))
    return {"outcomes": outcomes}


def judge_serves_on(given: Given, asked: Asked, reference: Reference) -> Finding:
    said = _said(_speaking(given))
    for fault, (refused, old, other, new) in zip(given["faults"], asked["outcomes"], strict=True):
        where = f"after weights with fault {fault!r}"
        if refused != "invalid_format":
            return failed(f"weights with fault {fault!r}: {refused}", expected="invalid_format", got=refused)
        wrong = differs(said, old, f"{where}, the model loaded before")
        wrong = wrong or differs(other, new, f"{where}, a model loaded next")
        if wrong is not None:
            return wrong
    return passed()


check(
    "serves-on",
    ask_serves_on,
    judge_serves_on,
    needs=("load_model",),
    given={"faults": {"type": "array", "minItems": 1, "items": {"enum": list(FAULTS)}, "description": "of weights"}},
    optional={**OF, **SPEAKING},
)
