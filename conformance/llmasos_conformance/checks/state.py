"""What an answer must not depend on: company in a batch, pieces of a cache, other sessions, models and requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, cycle, pairwise
from typing import TYPE_CHECKING

import numpy as np

from llmasos_conformance.candidate import LoadedModel, LoadedSession, Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import (
    LENGTH,
    PROBE,
    STEPS,
    against_itself,
    against_truth,
    claims_at_least,
    counted,
    draw_ids,
    same_choice,
    unlike_greedy,
    vocabulary,
)
from llmasos_conformance.inputs import pick, shuffled
from llmasos_conformance.numerics import worst
from llmasos_conformance.protocol import Array, Generation
from llmasos_conformance.verdict import Finding, failed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

ROWS = {"type": "integer", "minimum": 1, "description": "rows of the batch"}
ODD = {
    "anyOf": [{"type": "null"}, LENGTH],
    "default": None,
    "description": "smallest and largest number of ids of one row, at a drawn place; null if it is like the others",
}


def draw_batch(given: Given, draw: Draw, candidate: Candidate) -> list[list[int]]:
    """Rows of a batch: all of one range of lengths, except one if the case has `odd`."""
    rows = [draw_ids(draw, candidate, given["probe"], given["length"]) for _ in range(given["rows"])]
    if given["odd"] is not None:
        rows[draw.integer(0, len(rows) - 1)] = draw_ids(draw, candidate, given["probe"], given["odd"])
    return rows


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_batch_alone(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row's logits do not depend on its company. (BAT-1, BAT-2)

    Varies: content and lengths of the rows. Looked at are the first row, one in the middle and the last.
    Compares: the candidate with itself, the row in the batch and alone.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    rows = draw_batch(given, draw, candidate)
    model = candidate.model(given["probe"])
    together = model.forward(rows)
    places = sorted({0, len(rows) // 2, len(rows) - 1})
    alone = [model.forward([rows[place]])[0] for place in places]
    return {"rows": rows, "places": places, "together": [together[place] for place in places], "alone": alone}


def judge_batch_alone(given: Given, asked: Asked, reference: Reference) -> Finding:
    rows, lengths = asked["rows"], [len(row) for row in asked["rows"]]
    when = f"in a batch of lengths {lengths}, and alone"
    seen = zip(asked["places"], asked["together"], asked["alone"], strict=True)
    return worst(
        [
            against_itself(reference, given["probe"], rows[i], got, due, row=i, when=when, bitwise=True)
            for i, got, due in seen
        ]
    )


BATCH = {"probe": PROBE, "rows": ROWS, "length": LENGTH, "odd": ODD}

check("batch-alone", ask_batch_alone, judge_batch_alone, needs=("load_model", "forward"), given=BATCH)


def ask_batch_order(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Rows come back in the order in which they went, and their order changes nothing. (BAT-3)

    Varies: content, lengths and order of the rows.
    Compares: the candidate with itself on the batch and on the same rows in another order.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    rows = draw_batch(given, draw, candidate)
    order = shuffled(draw, range(len(rows)))
    model = candidate.model(given["probe"])
    return {
        "rows": rows,
        "order": order,
        "first": model.forward(rows),
        "second": model.forward([rows[i] for i in order]),
    }


def judge_batch_order(given: Given, asked: Asked, reference: Reference) -> Finding:
    order = asked["order"]
    when = f"rows in the order {order}, and in the order 0 … {len(order) - 1}"
    findings = [
        against_itself(
            reference, given["probe"], asked["rows"][i], got, asked["first"][i], row=place, when=when, bitwise=True
        )
        for place, (i, got) in enumerate(zip(order, asked["second"], strict=True))
    ]
    return worst(findings)


check("batch-order", ask_batch_order, judge_batch_order, needs=("load_model", "forward"), given=BATCH)


def ask_batch_generates(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row of a batch is continued as it is alone. (BAT-4)

    Varies: content and lengths of the rows.
    Compares: greedy ids of each row in the batch with those of the row alone, and with the reference.
    Bound: the margin of honest error; none if D2 is claimed.
    """
    rows = draw_batch(given, draw, candidate)
    if given["repeated"]:
        rows = [*rows, rows[0]]
    model, steps = candidate.model(given["probe"]), given["steps"]
    together = model.generate_batch(rows, max_length=steps, temperature=0)
    alone = [model.generate_ids(row, max_length=steps, temperature=0) for row in rows]
    return {"rows": rows, "together": [_ids(g) for g in together], "alone": [_ids(g) for g in alone]}


def judge_batch_generates(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, steps = given["probe"], given["steps"]
    lengths = [len(row) for row in asked["rows"]]
    exact = claims_at_least(reference, "D2")
    ends = reference.probes.get(probe).config["eos_token_ids"]
    findings = []
    for i, (row, got, due) in enumerate(zip(asked["rows"], asked["together"], asked["alone"], strict=True)):
        label = f"generations[{i}].ids"
        findings.append(counted(got, steps, label, ends))
        findings.append(unlike_greedy(reference, probe, row, got, label=label))
        when = f"in a batch of lengths {lengths}, and alone"
        findings.append(same_choice(reference, probe, row, got, due, label=label, when=when, exact=exact))
    return worst(findings)


def _ids(generation: Generation) -> list[int]:
    return list(generation.ids or ())


REPEATED = {"type": "boolean", "default": False, "description": "the first row stands in the batch a second time"}

check(
    "batch-generates-alone",
    ask_batch_generates,
    judge_batch_generates,
    needs=("load_model", "generate_ids", "batch"),
    given={**BATCH, "steps": STEPS, "repeated": REPEATED},
)

# ── caches ──────────────────────────────────────────────────────────────────────────────────────────────────────────

PIECES = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "default": [],
    "description": "numbers of ids given at a time, over and over until none is left; empty draws 1 to 5 each time",
}


def feed(model: LoadedModel, ids: Sequence[int], sizes: Sequence[int]) -> Array:
    """Logits [T, V] of ids given in pieces."""
    edges = [0, *accumulate(sizes)]
    session = model.open(ids[: edges[1]])
    logits = [session.logits, *(session.extend(ids[low:high]) for low, high in pairwise(edges[1:]))]
    session.close()
    return np.concatenate(logits)


def _pieces(total: int, sizes: Sequence[int], draw: Draw) -> list[int]:
    taken: list[int] = []
    endless = cycle(sizes) if sizes else iter(lambda: draw.integer(1, 5), 0)
    while sum(taken) < total:
        taken.append(min(next(endless), total - sum(taken)))
    return taken


def ask_pieces(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row given in pieces, each behind the cache of those before, has the logits of the whole row. (CACHE-1)

    Varies: length and content of the row, and where it is cut unless the case says so.
    Compares: the logits of all pieces, put together, with the float64 reference of the whole row.
    Bound: honest error of the claimed dtype.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    sizes = _pieces(len(ids), given["pieces"], draw)
    return {"ids": ids, "sizes": sizes, "logits": feed(candidate.model(given["probe"]), ids, sizes)}


def judge_pieces(given: Given, asked: Asked, reference: Reference) -> Finding:
    when = f"in pieces of {asked['sizes']!s:.80}"
    return against_truth(reference, given["probe"], asked["ids"], asked["logits"], when=when)


check(
    "cache-pieces",
    ask_pieces,
    judge_pieces,
    needs=("load_model", "session"),
    given={"probe": PROBE, "length": LENGTH, "pieces": PIECES},
)


def ask_every_split(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Wherever a row is cut in two, the second piece has the logits that it has in the whole row. (CACHE-1)

    Varies: length and content of the row; every cut is tried.
    Compares: both pieces, put together, with the float64 reference of the whole row.
    Bound: honest error of the claimed dtype.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    return {"ids": ids, "logits": [feed(model, ids, (cut, len(ids) - cut)) for cut in range(1, len(ids))]}


def judge_every_split(given: Given, asked: Asked, reference: Reference) -> Finding:
    return worst(
        [
            against_truth(reference, given["probe"], asked["ids"], got, when=f"cut after {cut} ids")
            for cut, got in enumerate(asked["logits"], start=1)
        ]
    )


check(
    "cache-every-split",
    ask_every_split,
    judge_every_split,
    needs=("load_model", "session"),
    given={"probe": PROBE, "length": LENGTH},
)

# ── sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_fork(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Two branches of a session go on apart. (CACHE-3)

    Varies: content and lengths of the stem and of both branches.
    Compares: each branch, extended in turn with the other, with the float64 reference of its own ids.
    Bound: honest error of the claimed dtype.
    """
    probe = given["probe"]
    stem = draw_ids(draw, candidate, probe, given["length"])
    left, right = ([draw_ids(draw, candidate, probe, (1, 3)) for _ in range(3)] for _ in range(2))
    old = candidate.model(probe).open(stem)
    new = old.fork()
    logits: dict[str, list[Array]] = {"old": [], "new": []}
    for mine, theirs in zip(left, right, strict=True):
        logits["old"].append(old.extend(mine))
        logits["new"].append(new.extend(theirs))
    old.close()
    last = draw_ids(draw, candidate, probe, (1, 3))
    logits["new"].append(new.extend(last))
    return {"stem": stem, "old": left, "new": [*right, last], "logits": logits}


def judge_fork(given: Given, asked: Asked, reference: Reference) -> Finding:
    stem, findings = asked["stem"], []
    for branch, other in (("old", "new"), ("new", "old")):
        ids = [*stem, *(token for piece in asked[branch] for token in piece)]
        got = np.concatenate(asked["logits"][branch])
        when = f"the {branch} branch of a fork after {len(stem)} ids, while the {other} one goes on"
        findings.append(_tail(reference, given["probe"], ids, got, when))
    return worst(findings)


def _tail(reference: Reference, probe: str, ids: Sequence[int], got: Array, when: str) -> Finding:
    """Whether logits are the reference's of the last positions of ids."""
    truth = reference.logits(probe, ids)
    # Judged as a whole row whose beginning is right, so that positions in the message are those of the row.
    beginning = truth[: len(truth) - len(got)]
    if got.shape[-1] != truth.shape[-1]:
        message = f"logits have {got.shape[-1]} columns, {truth.shape[-1]} were due ({when})"
        return failed(message, expected=truth.shape[-1], got=got.shape[-1])
    return against_truth(reference, probe, ids, np.concatenate([beginning, got]), when=when)


check("fork-apart", ask_fork, judge_fork, needs=("load_model", "session"), given={"probe": PROBE, "length": LENGTH})


def ask_sessions(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Sessions that are open at the same time do not see each other. (CACHE-6)

    Varies: content and lengths of the sessions, and in which order they go on; one is closed and another opened.
    Compares: each session with the float64 reference of its own ids.
    Bound: honest error of the claimed dtype.
    """
    probe = given["probe"]
    model = candidate.model(probe)
    ids: list[list[int]] = []
    logits: list[list[Array]] = []
    opened: list[LoadedSession] = []

    def start() -> None:
        ids.append(draw_ids(draw, candidate, probe, given["length"]))
        opened.append(model.open(ids[-1]))
        logits.append([opened[-1].logits])

    def go_on(number: int) -> None:
        piece = draw_ids(draw, candidate, probe, (1, 3))
        ids[number].extend(piece)
        logits[number].append(opened[number].extend(piece))

    for _ in range(3):
        start()
    for _ in range(4):
        go_on(draw.integer(0, 2))
    opened[0].close()
    start()
    for number in (1, 3, 2, 3, 1):
        go_on(number)
    return {"ids": ids, "logits": [np.concatenate(pieces) for pieces in logits]}


def judge_sessions(given: Given, asked: Asked, reference: Reference) -> Finding:
    total = len(asked["ids"])
    return worst(
        [
            against_truth(reference, given["probe"], ids, got, row=i, when=f"session {i} of {total}, in turn")
            for i, (ids, got) in enumerate(zip(asked["ids"], asked["logits"], strict=True))
        ]
    )


check(
    "sessions-apart",
    ask_sessions,
    judge_sessions,
    needs=("load_model", "session"),
    given={"probe": PROBE, "length": LENGTH},
)


def ask_session_full(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A session serves the last position of the context and refuses the one behind it, unharmed. (CACHE-4, CACHE-5)

    Varies: content of the row.
    Compares: the code of both refusals with context_overflow; all logits with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    context = int(candidate.probes.get(given["probe"]).config["context_length"])
    ids = draw_ids(draw, candidate, given["probe"], (context, context))
    extra = draw_ids(draw, candidate, given["probe"], (2, 2))
    session = candidate.model(given["probe"]).open(ids[:-1])
    logits = [session.logits]
    refusals = [refusal_of(session.extend, extra)]
    logits.append(session.extend(ids[-1:]))
    refusals.append(refusal_of(session.extend, extra[:1]))
    return {"ids": ids, "logits": np.concatenate(logits), "refusals": refusals}


def judge_session_full(given: Given, asked: Asked, reference: Reference) -> Finding:
    context = len(asked["ids"])
    for refusal, (held, more) in zip(asked["refusals"], ((context - 1, 2), (context, 1)), strict=True):
        came = refusal.code if isinstance(refusal, Refused) else "an answer"
        if came != "context_overflow":
            message = f"{came} came for {more} ids behind {held} in a context of {context}, context_overflow was due"
            return failed(message, expected="context_overflow", got=came)
    when = "the last position, after 2 ids too many were refused"
    return against_truth(reference, given["probe"], asked["ids"], asked["logits"], when=when)


check("session-full", ask_session_full, judge_session_full, needs=("load_model", "session"), given={"probe": PROBE})

# ── history ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Event = Callable[["Draw", "Candidate", LoadedModel, str], None]


def _longest(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    context = int(candidate.probes.get(probe).config["context_length"])
    model.forward([draw_ids(draw, candidate, probe, (context, context))])


def _refused(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    context = int(candidate.probes.get(probe).config["context_length"])
    refusal_of(model.forward, [draw_ids(draw, candidate, probe, (context + 1, context + 1))])
    refusal_of(model.forward, [[0, vocabulary(candidate, probe)]])


def _batched(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    model.forward([draw_ids(draw, candidate, probe, length) for length in ((9, 12), (1, 1), (3, 5))])


def _generated(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    model.generate_ids(draw_ids(draw, candidate, probe, (4, 12)), max_length=12, temperature=0)


def _sampled(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    prompt, seed = draw_ids(draw, candidate, probe, (4, 12)), candidate.drawn_seed(draw)
    model.generate_ids(prompt, max_length=12, temperature=1.5, **seed)


def _session(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    session = model.open(draw_ids(draw, candidate, probe, (4, 12)))
    session.extend(draw_ids(draw, candidate, probe, (1, 4)))


def _other_model(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    candidate.model("asymmetric").forward([draw_ids(draw, candidate, "asymmetric", (4, 24))])


EVENTS: Mapping[str, Event] = {
    "longest": _longest,
    "refused": _refused,
    "batch": _batched,
    "generated": _generated,
    "sampled": _sampled,
    "session": _session,
    "other-model": _other_model,
}
"""What may come between two equal requests. Their own answers are not judged here."""

BETWEEN = {"enum": list(EVENTS), "description": "what comes between the two equal requests"}


def ask_same_logits(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same request has the same logits, whatever came between. (STATE-1)

    Varies: content and length of the row, and content of what comes between.
    Compares: the candidate with itself before and after.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    before = model.forward([ids])[0]
    EVENTS[given["between"]](draw, candidate, model, given["probe"])
    return {"ids": ids, "before": before, "after": model.forward([ids])[0]}


def judge_same_logits(given: Given, asked: Asked, reference: Reference) -> Finding:
    when = f"after and before: {given['between'].replace('-', ' ')}"
    return against_itself(
        reference, given["probe"], asked["ids"], asked["after"], asked["before"], when=when, bitwise=True
    )


HISTORY = {"probe": PROBE, "length": LENGTH, "between": BETWEEN}

check("same-logits-again", ask_same_logits, judge_same_logits, needs=("load_model", "forward"), given=HISTORY)


def ask_same_ids(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same request has the same greedy ids, whatever came between. (STATE-1)

    Varies: content and length of the prompt, and content of what comes between.
    Compares: the candidate with itself before and after.
    Bound: none if D1 is claimed, else the margin of honest error.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    before = model.generate_ids(prompt, max_length=given["steps"], temperature=0)
    EVENTS[given["between"]](draw, candidate, model, given["probe"])
    after = model.generate_ids(prompt, max_length=given["steps"], temperature=0)
    return {"prompt": prompt, "before": _ids(before), "after": _ids(after)}


def judge_same_ids(given: Given, asked: Asked, reference: Reference) -> Finding:
    prompt, before, after = asked["prompt"], asked["before"], asked["after"]
    when = f"after and before: {given['between'].replace('-', ' ')}"
    exact = claims_at_least(reference, "D1")
    return worst(
        [
            counted(before, given["steps"]),
            unlike_greedy(reference, given["probe"], prompt, after),
            same_choice(reference, given["probe"], prompt, after, before, when=when, exact=exact),
        ]
    )


check(
    "same-ids-again",
    ask_same_ids,
    judge_same_ids,
    needs=("load_model", "generate_ids"),
    given={**HISTORY, "steps": STEPS},
)

TIMES = {"type": "integer", "minimum": 2, "description": "how often the request is made"}


def ask_repeated_logits(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Equal requests in a row have equal logits. (STATE-2)

    Varies: content and length of the row.
    Compares: the candidate with its own first answer.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    return {"ids": ids, "logits": [model.forward([ids])[0] for _ in range(given["times"])]}


def judge_repeated_logits(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, *others = asked["logits"]
    return worst(
        [
            against_itself(
                reference, given["probe"], asked["ids"], got, first, when=f"call {i}, and call 0", bitwise=True
            )
            for i, got in enumerate(others, start=1)
        ]
    )


check(
    "repeated-logits",
    ask_repeated_logits,
    judge_repeated_logits,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "length": LENGTH, "times": TIMES},
)


def ask_repeated_ids(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Equal requests in a row have equal greedy ids. (STATE-2)

    Varies: content and length of the prompt.
    Compares: the candidate with its own first answer.
    Bound: none if D1 is claimed, else the margin of honest error.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    asked = [model.generate_ids(prompt, max_length=given["steps"], temperature=0) for _ in range(given["times"])]
    return {"prompt": prompt, "ids": [_ids(generation) for generation in asked]}


def judge_repeated_ids(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, *others = asked["ids"]
    prompt, exact = asked["prompt"], claims_at_least(reference, "D1")
    findings = [counted(first, given["steps"])]
    for i, got in enumerate(others, start=1):
        when = f"call {i}, and call 0"
        findings.append(same_choice(reference, given["probe"], prompt, got, first, when=when, exact=exact))
    return worst(findings)


check(
    "repeated-ids",
    ask_repeated_ids,
    judge_repeated_ids,
    needs=("load_model", "generate_ids"),
    given={"probe": PROBE, "length": LENGTH, "steps": STEPS, "times": TIMES},
)


def ask_shared_beginning(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Prompts that begin alike are answered each for itself, also when one has just been answered. (STATE-5)

    Varies: content of the common beginning and of two ends.
    Compares: greedy ids of both prompts in turn, each twice, and of the beginning alone, with the reference.
    Bound: the margin of honest error.
    """
    probe = given["probe"]
    stem = draw_ids(draw, candidate, probe, given["length"])
    one, other = (draw_ids(draw, candidate, probe, (1, 4)) for _ in range(2))
    other[-1] = (other[-1] + (one == other)) % vocabulary(candidate, probe)
    prompts = [[*stem, *one], [*stem, *other], stem, [*stem, *one], [*stem, *other]]
    model = candidate.model(probe)
    asked = [model.generate_ids(prompt, max_length=given["steps"], temperature=0) for prompt in prompts]
    return {"prompts": prompts, "ids": [_ids(generation) for generation in asked]}


def judge_shared_beginning(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings = []
    for i, (prompt, ids) in enumerate(zip(asked["prompts"], asked["ids"], strict=True)):
        label = f"call {i}, {len(prompt)} ids: ids"
        findings.append(counted(ids, given["steps"], label))
        findings.append(unlike_greedy(reference, given["probe"], prompt, ids, label=label))
    return worst(findings)


check(
    "shared-beginning",
    ask_shared_beginning,
    judge_shared_beginning,
    needs=("load_model", "generate_ids"),
    given={"probe": PROBE, "length": LENGTH, "steps": STEPS},
)

# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def rolled(probes: Library, probe: str) -> Probe:
    """A bundle like a probe in name and shapes, in which id i means what id i-1 means in the probe."""
    parts = probes.parts(probe)
    parts.weights["token_embedding"] = np.roll(parts.weights["token_embedding"], 1, axis=0)
    return probes.write(parts.document, parts.weights)


def renamed(probes: Library, probe: str) -> Probe:
    """The same model under another name, so that it is loaded a second time."""
    parts = probes.parts(probe)
    return probes.write({**parts.document, "name": "again"}, parts.weights)


def ask_models(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Two models that are loaded at the same time do not mix. (STATE-3)

    Varies: content and length of the rows, and which model is asked first. The models differ in their embedding alone.
    Compares: both models, asked the same in turn, with the float64 reference of each.
    Bound: honest error of the claimed dtype.
    """
    probe = given["probe"]
    models = {"one": candidate.model(probe), "other": candidate.model(rolled(candidate.probes, probe))}
    order = pick(draw, (("one", "other"), ("other", "one")))
    turns = []
    for _ in range(2):
        ids = draw_ids(draw, candidate, probe, given["length"])
        turns += [(name, ids, models[name].forward([ids])[0]) for name in order]
    return {"turns": turns}


def judge_models(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, findings = given["probe"], []
    for i, (name, ids, got) in enumerate(asked["turns"]):
        V = reference.probes.get(probe).config["vocab_size"]
        meant = ids if name == "one" else [(token - 1) % V for token in ids]
        findings.append(against_truth(reference, probe, meant, got, when=f"call {i}, to the {name} of two models"))
    return worst(findings)


check(
    "models-apart", ask_models, judge_models, needs=("load_model", "forward"), given={"probe": PROBE, "length": LENGTH}
)


def ask_loads(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same weights loaded twice are the same model. (STATE-4)

    Varies: content and length of the row.
    Compares: the candidate with itself, on the first and on the second load.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    first = candidate.model(given["probe"]).forward([ids])[0]
    second = candidate.model(renamed(candidate.probes, given["probe"])).forward([ids])[0]
    return {"ids": ids, "first": first, "second": second}


def judge_loads(given: Given, asked: Asked, reference: Reference) -> Finding:
    return against_itself(
        reference,
        given["probe"],
        asked["ids"],
        asked["second"],
        asked["first"],
        when="of the second load, and of the first",
        bitwise=True,
    )


check("loads-alike", ask_loads, judge_loads, needs=("load_model", "forward"), given={"probe": PROBE, "length": LENGTH})
