"""Interchange: a bundle's model.onnx is run as its weights would be, refused if it is wrong, and exported so that it is
right.

Files that candidates run are written by the suite (`graphs.making`), in the dtype that the candidate claims, without
model.safetensors beside them: the graph is then the only place where the numbers can come from. Files that candidates
write are judged by computing them here (`graphs.running`).
"""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.canonical import sha256
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.bundles import (
    CODE,
    PLAIN,
    all_refused,
    config,
    document,
    few_ids,
    outcome,
    pack,
    tensors,
)
from llmasos_conformance.checks.numerics import FACTOR, louder
from llmasos_conformance.checks.rows import LENGTH, PROBE, STEPS, counted, draw_ids, new_ids, told, unlike_greedy
from llmasos_conformance.graphs import contract, making, running, spoiled
from llmasos_conformance.graphs.asking import Asker, Row
from llmasos_conformance.graphs.contract import DATA, FILE, WRITTEN
from llmasos_conformance.graphs.proto import Model
from llmasos_conformance.inputs import sequence, shuffled
from llmasos_conformance.layout import safetensors_bytes, with_defaults
from llmasos_conformance.protocol import Array, Refusal
from llmasos_conformance.verdict import Finding, State, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate, LoadedModel
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

LENGTHS = {"type": "array", "minItems": 1, "items": LENGTH, "description": "smallest and largest number of ids per row"}
FORM: Mapping[str, Any] = {
    "opset": {"type": "integer", "default": making.OPSET, "description": "operator set of the file"},
    "cached": {"type": "boolean", "default": False, "description": "keys and values go in and out"},
    "external": {"type": "boolean", "default": False, "description": "large tensors lie in a file beside it"},
    "factor": {**FACTOR, "minProperties": 0, "default": {}},
}
CACHED: Mapping[str, Any] = {"opset": making.OPSET, "cached": True, "external": False, "factor": {}}
PIECES = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "description": "numbers of ids after which the row is cut",
}


def written(candidate: Candidate) -> str:
    """The dtype of the files that this candidate runs and writes."""
    return WRITTEN[candidate.description.claims.dtype]


# ── what is asked about ─────────────────────────────────────────────────────────────────────────────────────────────


def subject(probes: Library, given: Given) -> tuple[str, dict[str, Any], Mapping[str, Array]]:
    """Architecture, parameters with defaults, and weights of the case's probe, some of them multiplied."""
    parts = probes.parts(given["probe"])
    architecture = str(parts.document["architecture"])
    weights = louder(parts.weights, given["probe"], given["factor"])
    return architecture, with_defaults(parts.document["parameters"], architecture), weights


def weighed(probes: Library, given: Given) -> Probe:
    """The same as a bundle whose weights are in model.safetensors."""
    if not given["factor"]:
        return probes.get(given["probe"])
    return probes.write(probes.parts(given["probe"]).document, subject(probes, given)[2])


def interchanged(candidate: Candidate, given: Given) -> LoadedModel:
    """A probe whose weights are in model.onnx alone."""
    architecture, sizes, weights = subject(candidate.probes, given)
    files = making.files(
        architecture, sizes, weights, dtype=written(candidate), opset=given["opset"],
        cached=given["cached"], external=given["external"],
    )  # fmt: skip
    made = candidate.probes.parts(given["probe"]).document
    return candidate.model(candidate.probes.write(made, None, files=files))


def draw_rows(given: Given, draw: Draw, candidate: Candidate) -> list[Row]:
    """Rows for a probe, with what the architecture takes beside them."""
    architecture, sizes, _ = subject(candidate.probes, given)
    rows = []
    for length in given["lengths"]:
        ids = draw_ids(draw, candidate, given["probe"], length)
        source = sequence(draw, (1, 12), sizes["vocab_size"]) if architecture == "Transformer" else []
        types = draw.integers(len(ids), 0, sizes["type_vocab_size"] - 1) if architecture == "BERT" else []
        rows.append(Row(ids=ids, source=source, types=types))
    return rows


def beside(rows: Sequence[Row]) -> dict[str, list[list[int]]]:
    """What stands beside rows, under the names of the protocol."""
    made: dict[str, list[list[int]]] = {}
    if any(row.source for row in rows):
        made["sources"] = [list(row.source) for row in rows]
    if any(row.types for row in rows):
        made["types"] = [list(row.types) for row in rows]
    return made


def right(reference: Reference, probe: Any, row: Row, got: Array, when: str) -> Finding:
    """Whether logits of a row are those of the probe's weights."""
    truth, honest = reference.look(probe, "forward", [list(row.ids)], **beside([row]))
    finding = numerics.judge_logits("logits", got, truth[0], [each[0] for each in honest], reference.claims.dtype)
    return told(finding, when)


# ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_agrees(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A bundle's model.onnx computes what the weights do that it was made of.

    Varies: length and content of the rows, and their number.
    Compares: every logit with the float64 reference, which runs the weights.
    Bound: honest error of the claimed dtype.
    """
    rows, model = draw_rows(given, draw, candidate), interchanged(candidate, given)
    if given["together"]:
        return {"rows": rows, "logits": model.forward([list(row.ids) for row in rows], **beside(rows))}
    return {"rows": rows, "logits": [model.forward([list(row.ids)], **beside([row]))[0] for row in rows]}


def judge_agrees(given: Given, asked: Asked, reference: Reference) -> Finding:
    together = f"one of {len(asked['rows'])} rows" if given["together"] else "alone"
    return numerics.worst(
        [
            right(
                reference,
                weighed(reference.probes, given),
                row,
                got,
                f"{given['probe']}, {len(row.ids)} ids, {together}",
            )
            for row, got in zip(asked["rows"], asked["logits"], strict=True)
        ]
    )


check(
    "onnx-agrees",
    ask_agrees,
    judge_agrees,
    needs=("load_model", "forward", "onnx"),
    given={
        "probe": PROBE,
        "lengths": LENGTHS,
        **FORM,
        "together": {"type": "boolean", "default": False, "description": "all rows in one call"},
    },
)


def ask_pieces(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row that is fed in pieces behind the graph's keys and values has the logits of the whole.

    Varies: the ids.
    Compares: the logits of all pieces with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    (row,) = draw_rows({**given, **CACHED, "lengths": [given["length"]]}, draw, candidate)
    model = interchanged(candidate, {**given, **CACHED})
    cuts = [0, *(cut for cut in given["pieces"] if cut < len(row.ids)), len(row.ids)]
    parts = [list(row.ids[start:end]) for start, end in itertools.pairwise(cuts)]
    session = model.open(parts[0], **({"source": list(row.source)} if row.source else {}))
    logits = [session.logits, *(session.extend(part) for part in parts[1:])]
    session.close()
    return {"row": row, "logits": np.concatenate(logits)}


def judge_pieces(given: Given, asked: Asked, reference: Reference) -> Finding:
    when = f"{given['probe']}, {len(asked['row'].ids)} ids in pieces"
    return right(reference, given["probe"], asked["row"], asked["logits"], when)


check(
    "onnx-pieces",
    ask_pieces,
    judge_pieces,
    needs=("load_model", "forward", "session", "onnx"),
    given={"probe": PROBE, "length": LENGTH, "pieces": PIECES},
)


def ask_greedy(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Prompts of different lengths are continued together behind the graph's keys and values.

    Varies: number, length and content of the prompts.
    Compares: each id with the greedy choice of the reference for that prompt alone.
    Bound: none but where two logits are closer than honest error.
    """
    rows = [draw_ids(draw, candidate, given["probe"], length) for length in given["lengths"]]
    model = interchanged(candidate, {**given, **CACHED})
    made = model.generate_batch(rows, max_length=given["steps"])
    return {"rows": rows, "ids": [new_ids(each) for each in made]}


def judge_greedy(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings = []
    ends = reference.probes.get(given["probe"]).config["eos_token_ids"]
    for i, (prompt, ids) in enumerate(zip(asked["rows"], asked["ids"], strict=True)):
        findings.append(counted(ids, given["steps"], f"ids[{i}]", ends))
        findings.append(unlike_greedy(reference, given["probe"], prompt, ids, label=f"ids[{i}]"))
    return numerics.worst(findings)


check(
    "onnx-greedy",
    ask_greedy,
    judge_greedy,
    needs=("load_model", "forward", "batch", "onnx"),
    given={"probe": PROBE, "lengths": LENGTHS, "steps": STEPS},
)


def ask_heads(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Hidden states and pooled vectors of an encoder come out of the graph, whatever stands beside a row in its batch.

    Varies: number, length, content and token types of the rows.
    Compares: hidden states and pooled vector of each row with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    rows, model = draw_rows(given, draw, candidate), interchanged(candidate, given)
    return {"rows": rows, "encodings": model.encode([list(row.ids) for row in rows], **beside(rows))}


def judge_heads(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings = []
    for row, got in zip(asked["rows"], asked["encodings"], strict=True):
        truth, honest = reference.look(weighed(reference.probes, given), "encode", [list(row.ids)], **beside([row]))
        for name, value in (("hidden", got.hidden), ("pooled", got.pooled)):
            due, *units = (np.atleast_2d(getattr(each[0], name)) for each in (truth, *honest))
            finding = numerics.judge_logits(name, np.atleast_2d(value), due, units, reference.claims.dtype)
            findings.append(told(finding, f"{given['probe']}, {len(row.ids)} ids"))
    return numerics.worst(findings)


check(
    "onnx-heads",
    ask_heads,
    judge_heads,
    needs=("load_model", "encode", "onnx"),
    given={"probe": PROBE, "lengths": LENGTHS, **FORM},
)

# ── files that are to be taken, and files that are not ──────────────────────────────────────────────────────────────


@functools.cache
def sound(dtype: str) -> Model:
    """The small document's model.onnx."""
    sizes = config(PLAIN)
    return making.models("GPT-3", sizes, tensors(sizes), dtype=dtype)[FILE]


def ask_variants(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A file means what it says, in whichever of ONNX's ways it says it.

    Varies: the ids.
    Compares: logits of each variant with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    ids, logits = few_ids(draw, config(PLAIN)), []
    for name in given["variants"]:
        files = spoiled.VARIANTS[name](sound(written(candidate)))
        logits.append(candidate.model(candidate.probes.write(document(PLAIN), None, files=files)).forward([ids])[0])
    return {"ids": ids, "logits": logits}


def judge_variants(given: Given, asked: Asked, reference: Reference) -> Finding:
    bundle = reference.probes.write(document(PLAIN), pack(tensors(config(PLAIN))))
    row = Row(ids=asked["ids"])
    return numerics.worst(
        [
            right(reference, bundle, row, got, f"model.onnx, {name}")
            for name, got in zip(given["variants"], asked["logits"], strict=True)
        ]
    )


check(
    "onnx-variants",
    ask_variants,
    judge_variants,
    needs=("load_model", "forward", "onnx"),
    given={
        "variants": {
            "type": "array",
            "minItems": 1,
            "items": {"enum": list(spoiled.VARIANTS)},
            "description": "names of variants, see VARIANTS in graphs/spoiled.py",
        }
    },
)


def ask_refused(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A model.onnx that the standard forbids is refused.

    Varies: nothing; the case names the faults, each put alone into the sound file of the small document.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    model, probes = sound(written(candidate)), candidate.probes
    bundles = (probes.write(document(PLAIN), None, files=spoiled.FAULTS[fault](model)) for fault in given["faults"])
    return {"outcomes": [outcome(candidate, bundle) for bundle in bundles]}


def judge_refused(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [f"model.onnx with fault {fault!r}" for fault in given["faults"]]
    return all_refused(names, asked["outcomes"], given["code"])


FAULTS = {
    "type": "array",
    "minItems": 1,
    "items": {"enum": list(spoiled.FAULTS)},
    "description": "names of faults, see FAULTS in graphs/spoiled.py",
}
check(
    "onnx-refused",
    ask_refused,
    judge_refused,
    needs=("load_model", "onnx"),
    given={"faults": FAULTS, "code": CODE},
)


def ask_outside(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Tensors that are said to lie outside of the bundle are not read, even if the right bytes lie there.

    Varies: nothing; each way out of the case on its own.
    Compares: the refusal's code with the one due.
    Bound: none, they are equal or they are not.
    """
    model = sound(written(candidate))
    data = making.apart(model, FILE)[FILE + DATA]
    outer = candidate.probes.write(document(PLAIN), None, files={"weights.data": data})
    return {"outcomes": [outcome(candidate, _led_out(outer, way, model)) for way in given["ways"]]}


def _led_out(outer: Probe, way: str, model: Model) -> Probe:
    """A bundle within another one, whose tensors are said to lie in the outer one. It names this machine's paths, so it
    is no part of a digest."""
    name = f"led-out-{way.replace(' ', '-')}"
    inner = replace(outer, path=outer.path / name, digest=f"{outer.digest}/{name}")
    shutil.rmtree(inner.path, ignore_errors=True)
    inner.path.mkdir()
    (inner.path / "model.json").write_bytes(document(PLAIN))
    locations = {
        "parent folder": "../weights.data",
        "through a folder": "folder/../../weights.data",
        "absolute path": str((outer.path / "weights.data").absolute()),
        "link": "weights.data",
        "linked folder": "folder/weights.data",
    }
    if way == "link":
        (inner.path / "weights.data").symlink_to(Path("..") / "weights.data")
    elif way == "linked folder":
        (inner.path / "folder").symlink_to(Path(".."), target_is_directory=True)
    elif way == "through a folder":
        (inner.path / "folder").mkdir()
    for file, content in spoiled.elsewhere(model, locations[way]).items():
        if file == FILE:
            (inner.path / file).write_bytes(content)
    return inner


WAYS = ("parent folder", "through a folder", "absolute path", "link", "linked folder")


def judge_outside(given: Given, asked: Asked, reference: Reference) -> Finding:
    return all_refused([f"tensors outside: {way}" for way in given["ways"]], asked["outcomes"], "invalid_format")


check(
    "onnx-outside",
    ask_outside,
    judge_outside,
    needs=("load_model", "onnx"),
    given={"ways": {"type": "array", "minItems": 1, "items": {"enum": list(WAYS)}, "description": "ways out"}},
)


def ask_weights_beside(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A model.onnx that was made of other weights than those beside it is refused.

    Varies: nothing.
    Compares: the outcomes of loading with the weights that it was made of, with others, and with a damaged file.
    Bound: none, they are equal or they are not.
    """
    sizes, made = config(PLAIN), document(PLAIN)
    files = {FILE: making.files("GPT-3", sizes, tensors(sizes), dtype=written(candidate))[FILE]}
    held = safetensors_bytes(tensors(sizes))
    others = safetensors_bytes(tensors(sizes, quiet=True))
    bundles = (candidate.probes.write(made, weights, files=files) for weights in (held, others, held[:-1]))
    return {"outcomes": [outcome(candidate, bundle) for bundle in bundles]}


def judge_weights_beside(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = ("the weights that it was made of", "other weights", "a damaged model.safetensors")
    for name, due, got in zip(names, ("loaded", "invalid_format", "invalid_format"), asked["outcomes"], strict=True):
        if got != due:
            return failed(f"model.onnx beside {name}: {got}, {due} was due", expected=due, got=got)
    return passed()


check("onnx-weights-beside", ask_weights_beside, judge_weights_beside, needs=("load_model", "onnx"))


def ask_alone(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Weights that are in model.onnx alone run, or nothing does.

    Varies: the ids.
    Compares: the code of the refusal with the one due; of who runs ONNX, logits with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    ids, files = (
        few_ids(draw, config(PLAIN)),
        spoiled.VARIANTS["as it is"](sound(written(candidate))),
    )
    loaded = refusal_of(candidate.model, candidate.probes.write(document(PLAIN), None, files=files))
    asked = {"ids": ids, "runs": "onnx" in candidate.description.capabilities}
    if isinstance(loaded, Refused):
        return {**asked, "outcome": loaded.code}
    return {**asked, "outcome": "loaded", "logits": loaded.forward([ids])[0]}


def judge_alone(given: Given, asked: Asked, reference: Reference) -> Finding:
    due = "loaded" if asked["runs"] else "unsupported"
    if asked["outcome"] == "loaded":
        bundle = reference.probes.write(document(PLAIN), pack(tensors(config(PLAIN))))
        finding = right(reference, bundle, Row(ids=asked["ids"]), asked["logits"], "weights in model.onnx alone")
        if not finding.ok or asked["runs"]:
            return finding
    if asked["outcome"] != due:
        text = f"weights in model.onnx alone: {asked['outcome']}, {due} was due"
        return failed(text, expected=due, got=asked["outcome"])
    return passed()


check("onnx-alone", ask_alone, judge_alone, needs=("load_model", "forward"))


def ask_serves_on(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A refused model.onnx leaves the loaded models as they were, and the next valid one loads.

    Varies: the ids.
    Compares: after each refusal, logits of a model loaded before and of one loaded next with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    model, probes, ids = (
        sound(written(candidate)),
        candidate.probes,
        few_ids(draw, config(PLAIN)),
    )

    def loaded(variant: str) -> LoadedModel:
        return candidate.model(probes.write(document(PLAIN), None, files=spoiled.VARIANTS[variant](model)))

    first, outcomes, logits = loaded("as it is"), [], []
    for fault, variant in zip(given["faults"], list(spoiled.VARIANTS)[1:], strict=False):
        bundle = probes.write(document(PLAIN), None, files=spoiled.FAULTS[fault](model))
        outcomes.append(outcome(candidate, bundle))
        logits += [first.forward([ids])[0], loaded(variant).forward([ids])[0]]
    return {"ids": ids, "outcomes": outcomes, "logits": logits}


def judge_serves_on(given: Given, asked: Asked, reference: Reference) -> Finding:
    for fault, got in zip(given["faults"], asked["outcomes"], strict=True):
        if got == "loaded":
            return failed(f"model.onnx with fault {fault!r}: it loaded, a refusal was due", expected="refused", got=got)
    bundle = reference.probes.write(document(PLAIN), pack(tensors(config(PLAIN))))
    row = Row(ids=asked["ids"])
    return numerics.worst([right(reference, bundle, row, got, "after a refusal") for got in asked["logits"]])


check(
    "onnx-serves-on",
    ask_serves_on,
    judge_serves_on,
    needs=("load_model", "forward", "onnx"),
    given={"faults": {**FAULTS, "maxItems": len(spoiled.VARIANTS) - 1}},
)

# ── exporting ───────────────────────────────────────────────────────────────────────────────────────────────────────


def exported(given: Given, candidate: Candidate) -> dict[str, bytes]:
    """What the candidate makes of a probe."""
    options = {name: given[name] for name in ("opset", "cached", "external")}
    return candidate.model(weighed(candidate.probes, given)).export(**options)


def opened(given: Given, asked: Asked, reference: Reference) -> contract.Opened | Finding:
    """Exported files, if they are what the standard wants."""
    architecture, sizes, weights = subject(reference.probes, given)
    digest = sha256(safetensors_bytes(weights))
    try:
        found = contract.STRICT.opened(contract.Held(asked["files"]), architecture, sizes, digest)
    except Refusal as refusal:
        return failed(f"exported: {refusal.message}", expected="a file that may be run", got=refusal.code)
    if found is None:
        return failed(f"exported: no {FILE} among {sorted(asked['files'])}", expected=FILE)
    return found


def ask_exported(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """An exported file computes what the weights do, for any rows, padded in any way, in one call or in several.

    Varies: number, length and content of the rows, and the columns in which they stand.
    Compares: every logit of the file, computed in NumPy, with the float64 reference, which runs the weights.
    Bound: honest error of the claimed dtype.
    """
    rows = draw_rows(given, draw, candidate)
    widest = max(len(row.ids) for row in rows)
    widest_source = max(len(row.source) for row in rows)
    placed = [
        replace(
            row,
            columns=_columns(draw, given["side"], len(row.ids), widest),
            source_columns=_columns(draw, given["side"], len(row.source), widest_source) if row.source else None,
        )
        for row in rows
    ]
    return {"rows": placed, "files": exported(given, candidate)}


def _columns(draw: Draw, side: str, count: int, width: int) -> list[int]:
    """Columns in which a row stands: the first ones, the last ones, or some of a few more than are needed."""
    if side == "scattered":
        return sorted(shuffled(draw, range(width + 3))[:count])
    start = width - count if side == "left" else 0
    return list(range(start, start + count))


def judge_exported(given: Given, asked: Asked, reference: Reference) -> Finding:
    found = opened(given, asked, reference)
    if isinstance(found, Finding):
        return found
    rows = asked["rows"]
    try:
        answers = Asker(found).answers(rows, given["pieces"])
    except running.Unknown as error:
        return Finding(state=State.INCONCLUSIVE, message=f"the suite does not compute the operator {error}")
    except running.Fails as error:
        return failed(f"the exported file cannot be computed: {error}", expected="logits", got="none")
    cut = f", cut after {given['pieces']}" if given["pieces"] else ""
    batch = f"{given['probe']}, {[len(row.ids) for row in rows]} ids, padding {given['side']}{cut}"
    findings = [
        right(reference, weighed(reference.probes, given), row, answer["logits"], batch)
        for row, answer in zip(rows, answers, strict=True)
    ]
    if "pooler_output" in answers[0]:
        findings += [_pooled(reference, given, row, answer) for row, answer in zip(rows, answers, strict=True)]
    return numerics.worst(findings)


def _pooled(reference: Reference, given: Given, row: Row, answer: Mapping[str, Array]) -> Finding:
    truth, honest = reference.look(weighed(reference.probes, given), "encode", [list(row.ids)], **beside([row]))
    due, *units = (np.atleast_2d(each[0].pooled) for each in (truth, *honest))
    got = np.atleast_2d(answer["pooler_output"])
    return told(numerics.judge_logits("pooler_output", got, due, units, reference.claims.dtype), given["probe"])


check(
    "export-agrees",
    ask_exported,
    judge_exported,
    needs=("load_model", "export"),
    given={
        "probe": PROBE,
        "lengths": LENGTHS,
        **FORM,
        "side": {"enum": ["right", "left", "scattered"], "default": "right", "description": "where padding stands"},
        "pieces": {**PIECES, "default": [], "description": "columns after which the batch is cut"},
    },
)


def ask_export_form(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """An exported file has the names, types, sizes, metadata and operator set that the standard and the caller want.

    Varies: nothing.
    Compares: what the file says with what is due.
    Bound: none, they are equal or they are not.
    """
    return {"files": exported(given, candidate)}


def judge_export_form(given: Given, asked: Asked, reference: Reference) -> Finding:
    found = opened(given, asked, reference)
    if isinstance(found, Finding):
        return found
    due_dtype = WRITTEN[reference.claims.dtype]
    if found.dtype != due_dtype:
        return failed(f"exported as {found.dtype}, {due_dtype} was due", expected=due_dtype)
    form = {"cached": "cached", "decoder": "cached"}.get(found.form, "whole")
    due = "cached" if given["cached"] else "whole"
    if form != due:
        return failed(f"exported {form}, {due} was asked for", expected=due, got=form)
    for name, model in found.models.items():
        version = model.opsets[""]
        if version != given["opset"]:
            text = f"{name} needs operator set {version}, {given['opset']} was asked for"
            return failed(text, expected=given["opset"], got=version)
        outside = [each for each in contract.tensors(model) if each.outside is not None]
        if bool(outside) != given["external"]:
            text = f"{name} has {len(outside)} tensors outside, and external is {given['external']}"
            return failed(text, expected=given["external"], got=bool(outside))
    used = {
        each.outside.location for model in found.models.values() for each in contract.tensors(model) if each.outside
    }
    spare = sorted(asked["files"].keys() - found.models.keys() - used)
    if spare:
        return failed(f"exported: {spare[0]} belongs to nothing", expected="no such file", got=spare[0])
    return passed()


check("export-form", ask_export_form, judge_export_form, needs=("load_model", "export"), given={"probe": PROBE, **FORM})


def ask_export_twice(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same bundle and options give the same bytes.

    Varies: nothing.
    Compares: names and bytes of two exports.
    Bound: none, they are equal or they are not.
    """
    return {"files": [exported(given, candidate) for _ in range(2)]}


def judge_export_twice(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, second = asked["files"]
    if first.keys() != second.keys():
        return failed("two exports have files of other names", expected=sorted(first), got=sorted(second))
    for name, content in first.items():
        if content != second[name]:
            place = next((i for i, (a, b) in enumerate(zip(content, second[name], strict=False)) if a != b), -1)
            return failed(f"two exports of {name} differ, at byte {place} first", expected="equal bytes")
    return passed()


check(
    "export-repeats",
    ask_export_twice,
    judge_export_twice,
    needs=("load_model", "export"),
    given={"probe": PROBE, **FORM},
)


def ask_export_refused(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What cannot be exported is refused.

    Varies: nothing.
    Compares: the codes of refused options, and that for a bundle without weights, with those due; then an export that
        is right is made.
    Bound: none, they are equal or they are not.
    """
    sizes = config(PLAIN)
    whole = candidate.model(candidate.probes.write(document(PLAIN), pack(tensors(sizes))))
    bare = candidate.model(candidate.probes.write(document(PLAIN), None))
    answers = [refusal_of(whole.export, **options) for options in given["options"]]
    answers += [refusal_of(bare.export), refusal_of(whole.export)]
    return {"outcomes": [answer.code if isinstance(answer, Refused) else "exported" for answer in answers]}


def judge_export_refused(given: Given, asked: Asked, reference: Reference) -> Finding:
    names = [", ".join(f"{name}={value!r}" for name, value in options.items()) for options in given["options"]]
    dues = ["invalid_argument"] * len(names) + ["unsupported", "exported"]
    names += ["a bundle without weights", "a sound bundle, after the refusals"]
    for name, due, got in zip(names, dues, asked["outcomes"], strict=True):
        if got != due:
            return failed(f"export of {name}: {got}, {due} was due", expected=due, got=got)
    return passed()


check(
    "export-refused",
    ask_export_refused,
    judge_export_refused,
    needs=("load_model", "export"),
    given={
        "options": {
            "type": "array",
            "items": {"type": "object"},
            "description": "options of an export that are refused with invalid_argument, each on their own",
        }
    },
)


def judge_export_once(given: Given, asked: Asked, reference: Reference) -> Finding:
    found = opened(given, asked, reference)
    if isinstance(found, Finding):
        return found
    model, (_, sizes, _) = found.models[FILE], subject(reference.probes, given)
    V, D = sizes["vocab_size"], sizes["embedding_dim"]
    tables = [each.name for each in contract.tensors(model) if sorted(each.dims) == sorted((V, D))]
    if len(tables) != 1:
        text = f"{FILE} holds {len(tables)} tensors of {V} by {D}: {', '.join(tables)[:120]}; the head is the embedding"
        return failed(text, expected=1, got=len(tables))
    return passed()


def ask_export_once(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A head that is tied to the embedding is in the file once.

    Varies: nothing.
    Compares: the number of tensors that have the embedding's sizes, with one.
    Bound: none, they are equal or they are not.
    """
    return {"files": exported(given, candidate)}


check(
    "export-tied-once",
    ask_export_once,
    judge_export_once,
    needs=("load_model", "export"),
    given={"probe": PROBE, **FORM},
)
