"""Inside views: hidden states, attention, gradients and a step of training are the numbers that they claim to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import LENGTH, PROBE, draw_ids, told, vocabulary
from llmasos_conformance.inputs import sequence
from llmasos_conformance.protocol import Array
from llmasos_conformance.verdict import TWO_WAYS, Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

# ── what is asked about ─────────────────────────────────────────────────────────────────────────────────────────────


def beside(draw: Draw, candidate: Candidate, probe: str, ids: Sequence[int]) -> dict[str, list[int]]:
    """What an architecture takes beside a row: a source, token types, or nothing."""
    document = candidate.probes.parts(probe).document
    if document["architecture"] == "Transformer":
        return {"source": sequence(draw, (3, 12), vocabulary(candidate, probe))}
    if document["architecture"] == "BERT":
        return {"types": draw.integers(len(ids), 0, document["parameters"].get("type_vocab_size", 2) - 1)}
    return {}


def taught(draw: Draw, candidate: Candidate, given: Given) -> tuple[list[list[int]], dict[str, Any]]:
    """Rows to learn from, of lengths that differ, with labels for BERT and sources for a Transformer."""
    probe = given["probe"]
    rows = [draw_ids(draw, candidate, probe, length) for length in given["lengths"]]
    document = candidate.probes.parts(probe).document
    V = vocabulary(candidate, probe)
    more: dict[str, Any] = {}
    if document["architecture"] == "Transformer":
        more["sources"] = [sequence(draw, (3, 9), V) for _ in rows]
    if document["architecture"] == "BERT":
        more["types"] = [draw.integers(len(row), 0, document["parameters"]["type_vocab_size"] - 1) for row in rows]
    if document["architecture"] == "BERT" or given.get("labels") == "some":
        # About half of the positions are scored, the first always, with ids of their own.
        more["labels"] = [
            [draw.integer(0, V - 1) if t == 0 or draw.integer(0, 1) else -1 for t in range(len(row))] for row in rows
        ]
    return rows, more


LENGTHS = {"type": "array", "minItems": 1, "items": LENGTH, "description": "smallest and largest number of ids per row"}

# ── hidden states ───────────────────────────────────────────────────────────────────────────────────────────────────


def ask_hidden(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Hidden states are the reference's: before the first block, behind each, the last with the final norm. (INS-1)

    Varies: length and content of the row, its source or types.
    Compares: the number of states and every number in them with the float64 reference.
    Bound: honest error of the claimed dtype, over all states, each in units of its own spread: the first of them comes
        of so few operations that its own honest error would be an accident.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    more = beside(draw, candidate, given["probe"], ids)
    return {"ids": ids, "beside": more, "hidden": candidate.model(given["probe"]).hidden_states(ids, **more)}


def judge_hidden(given: Given, asked: Asked, reference: Reference) -> Finding:
    truth, honest = reference.look(given["probe"], "hidden_states", asked["ids"], **asked["beside"])
    got = asked["hidden"]
    if len(got) != len(truth):
        return failed(f"hidden: {len(got)} came, {len(truth)} were due", expected=len(truth), got=len(got))
    for i, (state, due) in enumerate(zip(got, truth, strict=True)):
        if state.shape != due.shape:
            message = f"hidden[{i}] has shape {list(state.shape)}, {list(due.shape)} was due"
            return failed(message, expected=list(due.shape), got=list(state.shape))
    spreads = [float(np.std(due)) or 1.0 for due in truth]
    finding = numerics.judge_logits(
        "hidden", _stacked(got, spreads), _stacked(truth, spreads), [_stacked(order, spreads) for order in honest],
        reference.claims.dtype,
    )  # fmt: skip
    T = len(asked["ids"])
    return told(finding, f"{len(truth)} states of {T} positions, one behind the other, each in units of its spread")


def _stacked(states: Sequence[Array], spreads: Sequence[float]) -> Array:
    """States one behind the other, each in units of its spread; [(N + 1) · T, D]."""
    return np.concatenate([state / state.dtype.type(spread) for state, spread in zip(states, spreads, strict=True)])


def shares_hidden(given: Given, asked: Asked, reference: Reference) -> Array | None:
    """[N + 1, T] how much of its bound each position of each state uses; None where shapes differ."""
    truth, honest = reference.look(given["probe"], "hidden_states", asked["ids"], **asked["beside"])
    if [state.shape for state in asked["hidden"]] != [due.shape for due in truth]:
        return None
    spreads = [float(np.std(due)) or 1.0 for due in truth]
    shares = numerics.by_position(
        _stacked(asked["hidden"], spreads), _stacked(truth, spreads), [_stacked(order, spreads) for order in honest],
        reference.claims.dtype,
    )  # fmt: skip
    return None if shares is None else shares.reshape(len(truth), -1)


def _each(label: str, got: Sequence[Array], truth: Sequence[Array], honest: Sequence[Any], dtype: str) -> Finding:
    """Whether every array of a list is the reference's."""
    if len(got) != len(truth):
        return failed(f"{label}: {len(got)} came, {len(truth)} were due", expected=len(truth), got=len(got))
    return numerics.worst(
        [
            numerics.judge_logits(f"{label}[{i}]", array, due, [order[i] for order in honest], dtype)
            for i, (array, due) in enumerate(zip(got, truth, strict=True))
        ]
    )


check(
    "hidden-states",
    ask_hidden,
    judge_hidden,
    needs=("load_model", "hidden_states"),
    given={"probe": PROBE, "length": LENGTH},
)


def ask_head(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The last hidden state maps to the logits through the head of the model file. (INS-2)

    Varies: length and content of the row, its source.
    Compares: the candidate's logits with its own last hidden state times the head, computed in float64.
    Bound: honest error of the claimed dtype.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    more = beside(draw, candidate, given["probe"], ids)
    model = candidate.model(given["probe"])
    hidden = model.hidden_states(ids, **more)
    logits = model.forward([ids], **{f"{name}s": [row] for name, row in more.items()})[0]
    return {"ids": ids, "beside": more, "last": hidden[-1] if hidden else None, "logits": logits}


def judge_head(given: Given, asked: Asked, reference: Reference) -> Finding:
    weights = reference.probes.parts(given["probe"]).weights
    head = weights.get("head.weight", weights["token_embedding"]).astype(np.float64)  # [V, D]
    last = asked["last"]
    if last is None or last.shape[-1] != head.shape[1]:
        return failed("there is no last hidden state of the model's width", expected=f"[T, {head.shape[1]}]")
    plural = {f"{name}s": [row] for name, row in asked["beside"].items()}
    truth, honest = reference.look(given["probe"], "forward", [asked["ids"]], **plural)
    mapped = last.astype(np.float64) @ head.T
    finding = numerics.judge_logits(
        "last hidden state times the head", mapped, truth[0], [order[0] for order in honest], reference.claims.dtype
    )
    return told(finding, "the candidate's own state, mapped in float64")


check(
    "last-hidden-state",
    ask_head,
    judge_head,
    needs=("load_model", "hidden_states", "forward"),
    given={"probe": PROBE, "length": LENGTH},
)

# ── attention ───────────────────────────────────────────────────────────────────────────────────────────────────────

WHICH = {"enum": ["self", "cross"], "default": "self", "description": "attention to the row itself, or to its source"}


def ask_attention(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Attention weights of each layer and head. (INS-4)

    Varies: length and content of the row, its source or types.
    Compares: sums of rows with 1, entries with 0 and 1, masked entries with 0, every entry with the reference.
    Bound: for sums the rounding of S terms; exactly 0 where masked; honest error of the claimed dtype for the rest.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    more = beside(draw, candidate, given["probe"], ids)
    model = candidate.model(given["probe"])
    if given["attention"] == "cross":
        return {"ids": ids, "beside": more, "weights": model.cross_attention(ids, more["source"])}
    return {"ids": ids, "beside": more, "weights": model.attention(ids, **more)}


def _truth_of_attention(given: Given, asked: Asked, reference: Reference) -> tuple[list[Array], list[list[Array]]]:
    method = "cross_attention" if given["attention"] == "cross" else "attention"
    truth, honest = reference.look(given["probe"], method, asked["ids"], **asked["beside"])
    return list(truth), [list(order) for order in honest]


def judge_sums(given: Given, asked: Asked, reference: Reference) -> Finding:
    truth, _ = _truth_of_attention(given, asked, reference)
    unit = numerics.UNIT_ROUNDOFF[reference.claims.dtype]
    if finding := _shapes(asked["weights"], truth):
        return finding
    most = 0.0
    for i, weights in enumerate(asked["weights"]):
        exact = weights.astype(np.float64)
        if not np.all(np.isfinite(exact)) or exact.min() < 0 or exact.max() > 1 + unit:
            where = [int(n) for n in np.argwhere(~((exact >= 0) & (exact <= 1 + unit)))[0]]
            return failed(f"attention[{i}]{where} is {exact[tuple(where)]:.9g}, a number of [0, 1] was due")
        off = np.abs(exact.sum(-1) - 1)  # [H, T]
        # Each weight is an exponential divided by a rounded sum of S of them: S additions and a division.
        bound = (exact.shape[-1] + 2) * unit
        worst = float(off.max())
        most = max(most, worst / bound)
        if worst > bound:
            head, row = (int(n) for n in np.unravel_index(int(off.argmax()), off.shape))
            message = f"attention[{i}], head {head}, row {row} sums to 1 {exact.sum(-1)[head, row] - 1:+.3g}"
            return failed(f"{message}; bound {bound:.3g} = (S + 2) roundings", expected="1", got=f"{1 + worst:.9g}")
    return passed(sums=most)


def judge_masked(given: Given, asked: Asked, reference: Reference) -> Finding:
    truth, _ = _truth_of_attention(given, asked, reference)
    if finding := _shapes(asked["weights"], truth):
        return finding
    for i, (weights, due) in enumerate(zip(asked["weights"], truth, strict=True)):
        leaks = np.argwhere((due == 0) & (weights != 0))
        if len(leaks):
            where = [int(n) for n in leaks[0]]
            value = float(weights[tuple(where)])
            return failed(
                f"attention[{i}]{where} is {value:.3g}, and that key is masked", expected=0, got=f"{value:.3g}"
            )
    return passed()


def judge_attention(given: Given, asked: Asked, reference: Reference) -> Finding:
    truth, honest = _truth_of_attention(given, asked, reference)
    if finding := _shapes(asked["weights"], truth):
        return finding
    flat = [[_flat(array) for array in order] for order in honest]
    got, due = [_flat(array) for array in asked["weights"]], [_flat(array) for array in truth]
    return _each("attention", got, due, flat, reference.claims.dtype)


def shares_attention(given: Given, asked: Asked, reference: Reference) -> list[Array | None] | None:
    """Per layer [H, T], how much of its bound each row of weights uses; None where shapes differ."""
    truth, honest = _truth_of_attention(given, asked, reference)
    if _shapes(asked["weights"], truth):
        return None
    made = []
    for i, (weights, due) in enumerate(zip(asked["weights"], truth, strict=True)):
        orders = [_flat(order[i]) for order in honest]
        shares = numerics.by_position(_flat(weights), _flat(due), orders, reference.claims.dtype)
        made.append(None if shares is None else shares.reshape(weights.shape[:2]))
    return made


def _flat(weights: Array) -> Array:
    """[H, T, S] -> [H·T, S]."""
    return weights.reshape(-1, weights.shape[-1])


def _shapes(got: Sequence[Array], truth: Sequence[Array]) -> Finding | None:
    shapes, due = [list(array.shape) for array in got], [list(array.shape) for array in truth]
    if shapes == due:
        return None
    return failed(f"attention has shapes {shapes!s:.120}, {due!s:.120} were due", expected=due, got=shapes)


for name, judge in (
    ("attention-sums", judge_sums),
    ("attention-masked", judge_masked),
    ("attention-weights", judge_attention),
):
    check(
        name,
        ask_attention,
        judge,
        needs=("load_model", "attention"),
        given={"probe": PROBE, "length": LENGTH, "attention": WHICH},
    )


def ask_undisturbed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Looking inside changes nothing: logits before, and after hidden states and attention were asked for. (INS-7)

    Varies: length and content of the row.
    Compares: the candidate's logits after the looks with its logits before, and with the reference.
    Bound: honest error of the claimed dtype, √2 times.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    before = model.forward([ids])[0]
    model.hidden_states(ids)
    model.attention(ids)
    return {"ids": ids, "before": before, "after": model.forward([ids])[0]}


def judge_undisturbed(given: Given, asked: Asked, reference: Reference) -> Finding:
    truth, honest = (
        reference.logits(given["probe"], asked["ids"]),
        reference.honest_logits(given["probe"], asked["ids"]),
    )
    dtype = reference.claims.dtype
    return numerics.worst(
        [
            numerics.judge_logits("logits", asked["before"], truth, honest, dtype),
            told(numerics.judge_same("logits", asked["after"], asked["before"], truth, honest, dtype), "after looking"),
        ]
    )


check(
    "undisturbed",
    ask_undisturbed,
    judge_undisturbed,
    needs=("load_model", "forward", "hidden_states", "attention"),
    given={"probe": PROBE, "length": LENGTH},
)

# ── gradients ───────────────────────────────────────────────────────────────────────────────────────────────────────

LABELS = {
    "enum": ["next", "some"],
    "default": "next",
    "description": "every next id is scored, or about half of the positions with labels of their own",
}


def ask_gradients(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The loss is the mean of -ln p over scored positions, and each tensor has its gradient. (INS-9)

    Varies: length and content of the rows, their labels, sources and types.
    Compares: the loss, and the gradient by every tensor, with the float64 reference.
    Bound: honest error of the claimed dtype, that of the tensor which errs most for its size.
    """
    rows, more = taught(draw, candidate, given)
    loss, gradients = candidate.model(given["probe"]).gradients(rows, **more)
    return {"rows": rows, "beside": more, "loss": loss, "gradients": gradients}


def judge_loss(given: Given, asked: Asked, reference: Reference) -> Finding:
    (truth, _), honest = reference.look(given["probe"], "gradients", asked["rows"], **asked["beside"])
    return _same_loss(asked["loss"], truth, [loss for loss, _ in honest], reference.claims.dtype)


def _same_loss(got: float, truth: float, honest: Sequence[float], dtype: str, *, root: float = 1.0) -> Finding:
    """One number has no spread: it is held to the largest honest error, of which one rounding of it is the least."""
    cost = max(numerics.UNIT_ROUNDOFF[dtype] * max(1.0, abs(truth)), *(abs(loss - truth) for loss in honest)) * root
    peak = abs(got - truth) / cost
    if peak <= numerics.KAPPA_MAX[dtype]:
        return passed(peak=peak)
    bound = f"{peak:.3g}x the honest {dtype} error, bound {numerics.KAPPA_MAX[dtype]:g}x"
    return failed(
        f"loss is {got:.9g}, {truth:.9g} was due: {bound}", expected=f"{truth:.9g}", got=f"{got:.9g}", peak=peak
    )


def judge_gradients(given: Given, asked: Asked, reference: Reference) -> Finding:
    (_, truth), honest = reference.look(given["probe"], "gradients", asked["rows"], **asked["beside"])
    return _same_gradients(asked["gradients"], truth, [each for _, each in honest], reference.claims.dtype)


def _same_gradients(
    got: Mapping[str, Array],
    truth: Mapping[str, Array],
    honest: Sequence[Mapping[str, Array]],
    dtype: str,
    other: Mapping[str, Array] | None = None,
) -> Finding:
    """Whether gradients have the reference's names, shapes and numbers, or those of another answer of the candidate."""
    if got.keys() != truth.keys():
        missing, unknown = sorted(truth.keys() - got.keys()), sorted(got.keys() - truth.keys())
        named = f"lacks {missing[0]}" if missing else f"has {unknown[0]:.80}, which is no tensor of the bundle"
        return failed(f"gradient {named}", expected=len(truth), got=len(got))
    for name, due in truth.items():
        if got[name].shape != due.shape:
            message = f"gradient of {name} has shape {list(got[name].shape)}, {list(due.shape)} was due"
            return failed(message, expected=list(due.shape), got=list(got[name].shape))
    return numerics.judge_tensors("gradient", got, truth, honest, dtype, other)


GRADIENTS = {"probe": PROBE, "lengths": LENGTHS, "labels": LABELS}
check("loss", ask_gradients, judge_loss, needs=("load_model", "gradients"), given=GRADIENTS)
check("gradients", ask_gradients, judge_gradients, needs=("load_model", "gradients"), given=GRADIENTS)


def ask_accumulated(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A batch is its rows, each weighted by its scored positions: neither padding nor company counts. (INS-11)

    Varies: lengths and content of the rows, their labels, sources and types.
    Compares: loss and gradients of the batch with those of its rows asked one by one, put together here.
    Bound: honest error of the claimed dtype, √2 times.
    """
    rows, more = taught(draw, candidate, given)
    model = candidate.model(given["probe"])
    single = [
        model.gradients([row], **{name: [values[i]] for name, values in more.items()}) for i, row in enumerate(rows)
    ]
    return {"rows": rows, "beside": more, "whole": model.gradients(rows, **more), "single": single}


def judge_accumulated(given: Given, asked: Asked, reference: Reference) -> Finding:
    rows, labels = asked["rows"], asked["beside"].get("labels")
    counts = [len(row) - 1 if labels is None else sum(label >= 0 for label in labels[i]) for i, row in enumerate(rows)]
    (loss, truth), honest = reference.look(given["probe"], "gradients", rows, **asked["beside"])
    dtype, names = reference.claims.dtype, asked["whole"][1].keys()
    for _, gradients in asked["single"]:
        if gradients.keys() != names or any(gradients[name].shape != asked["whole"][1][name].shape for name in names):
            return failed("rows asked one by one have other tensors than the batch", expected=len(names))
    mixed_loss = sum(n * part[0] for n, part in zip(counts, asked["single"], strict=True)) / sum(counts)
    mixed = {
        name: sum(n * part[1][name].astype(np.float64) for n, part in zip(counts, asked["single"], strict=True))
        / sum(counts)
        for name in names
    }
    shift = asked["whole"][0] - mixed_loss + loss  # the distance between the two, seen from the truth
    same = _same_loss(shift, loss, [each for each, _ in honest], dtype, root=2.0**0.5)
    when = f"rows of {', '.join(map(str, counts))} scored positions together, and one by one"
    if not same.ok:
        message = f"loss is {asked['whole'][0]:.9g}, {mixed_loss:.9g} {TWO_WAYS}"
        return told(failed(message, expected=f"{mixed_loss:.9g}", got=f"{asked['whole'][0]:.9g}"), when)
    baseline = [each for _, each in honest]
    return told(_same_gradients(asked["whole"][1], truth, baseline, dtype, other=mixed), when)


check("accumulated", ask_accumulated, judge_accumulated, needs=("load_model", "gradients"), given=GRADIENTS)

# ── a step of training ──────────────────────────────────────────────────────────────────────────────────────────────

RATE = {
    "type": "number",
    "exclusiveMinimum": 0,
    "description": "learning rate; a power of two, so that it rounds nothing",
}


def ask_step(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """One step of gradient descent: each weight less its gradient times the learning rate, in another model. (INS-12)

    Varies: lengths and content of the rows.
    Compares: logits after the step with the reference on a bundle of the weights less the candidate's own gradients;
        the loss with the reference; logits of the model that was trained from, before and after.
    Bound: honest error of the claimed dtype; √2 times that between two answers of the candidate.
    """
    rows, more = taught(draw, candidate, given)
    model = candidate.model(given["probe"])
    beside = {name: [values[0]] for name, values in more.items() if name != "labels"}
    before = model.forward([rows[0]], **beside)[0]
    loss, gradients = model.gradients(rows, **more)
    reported, after = model.train_step(rows, given["rate"], **more)
    return {
        "rows": rows, "beside": more, "loss": loss, "gradients": gradients, "reported": reported, "before": before,
        "after": after.forward([rows[0]], **beside)[0], "old": model.forward([rows[0]], **beside)[0],
    }  # fmt: skip


def judge_step(given: Given, asked: Asked, reference: Reference) -> Finding:
    parts, dtype = reference.probes.parts(given["probe"]), reference.claims.dtype
    stepped = {}
    for name, weight in parts.weights.items():
        gradient = asked["gradients"].get(name)
        if gradient is None or gradient.shape != weight.shape or not np.all(np.isfinite(gradient)):
            return failed(f"there is no gradient of {name} to step along", expected=list(weight.shape))
        kind = np.dtype(dtype).type
        stepped[name] = weight.astype(dtype) - kind(given["rate"]) * gradient.astype(dtype)
    bundle = reference.probes.write(parts.document, stepped)
    row = asked["rows"][0]
    beside = {name: [values[0]] for name, values in asked["beside"].items() if name != "labels"}
    truth, honest = reference.look(bundle, "forward", [row], **beside)
    (loss, _), losses = reference.look(given["probe"], "gradients", asked["rows"], **asked["beside"])
    findings = [
        told(
            numerics.judge_logits("logits", asked["after"], truth[0], [order[0] for order in honest], dtype),
            f"after a step of {given['rate']:g}",
        ),
        told(_same_loss(asked["reported"], loss, [each for each, _ in losses], dtype), "of train_step"),
    ]
    return numerics.worst(findings)


def judge_kept(given: Given, asked: Asked, reference: Reference) -> Finding:
    row = asked["rows"][0]
    beside = {name: [values[0]] for name, values in asked["beside"].items() if name != "labels"}
    truth, honest = reference.look(given["probe"], "forward", [row], **beside)
    dtype, orders = reference.claims.dtype, [order[0] for order in honest]
    same = numerics.judge_same("logits", asked["old"], asked["before"], truth[0], orders, dtype)
    return told(same, "of the model that was trained from, before and after")


STEP = {"probe": PROBE, "lengths": LENGTHS, "rate": RATE}
NEEDS = ("load_model", "forward", "gradients", "train_step")
check("training-step", ask_step, judge_step, needs=NEEDS, given=STEP)
check("trained-from", ask_step, judge_kept, needs=NEEDS, given=STEP)

# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────

CALL = {
    "type": "object",
    "properties": {
        "batch": {"type": "array", "description": "rows of ids"},
        "labels": {"type": "array", "description": "per row, an id or -1 per position"},
        "rate": {"description": "learning rate, which may be wrong on purpose; without it gradients are asked for"},
    },
    "required": ["batch"],
    "additionalProperties": False,
}


def ask_unlearnable(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What cannot be learnt from is refused, typed, and the model answers as before. (INS-15)

    Varies: nothing; the calls stand in the case.
    Compares: the refusal's code with the one due; a valid call afterwards is answered.
    Bound: none.
    """
    model = candidate.model(given["probe"])
    codes = []
    for call in given["calls"]:
        more = {"labels": call["labels"]} if "labels" in call else {}
        got = (
            refusal_of(model.train_step, call["batch"], call["rate"], **more)
            if "rate" in call
            else refusal_of(model.gradients, call["batch"], **more)
        )
        codes.append(got.code if isinstance(got, Refused) else "answered")
    rows, more = taught(draw, candidate, {"probe": given["probe"], "lengths": [[3, 5]]})
    return {"codes": codes, "rows": rows, "beside": more, "loss": model.gradients(rows, **more)[0]}


def judge_unlearnable(given: Given, asked: Asked, reference: Reference) -> Finding:
    for call, code in zip(given["calls"], asked["codes"], strict=True):
        if code != given["code"]:
            message = f"{call!s:.120} was {code if code == 'answered' else 'refused with ' + code}"
            return failed(f"{message}, refusal with {given['code']} was due", expected=given["code"], got=code)
    return told(judge_loss(given, asked, reference), "after the refusals")


check(
    "unlearnable",
    ask_unlearnable,
    judge_unlearnable,
    needs=("load_model", "gradients"),
    given={
        "probe": PROBE,
        "calls": {"type": "array", "minItems": 1, "items": CALL, "description": "calls, each on its own"},
        "code": {"enum": ["invalid_argument", "context_overflow"], "description": "of the refusal"},
    },
)
