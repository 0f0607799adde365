"""Caches and sessions: a row in pieces is the whole row, and sessions do not see each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, cycle, pairwise
from typing import TYPE_CHECKING

import numpy as np

from llmasos_conformance.candidate import LoadedModel, LoadedSession, Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import LENGTH, PROBE, against_truth, draw_ids
from llmasos_conformance.numerics import worst
from llmasos_conformance.protocol import Array
from llmasos_conformance.verdict import Finding, failed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

# ── pieces ──────────────────────────────────────────────────────────────────────────────────────────────────────────

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


def ask_fork_closed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A session goes on as it was when a fork of it is closed and another session is opened in its place. (CACHE-7)

    Varies: content and lengths of the stem, of the fork's ids, of the other session's and of what follows.
    Compares: the session after its forks were closed, the fork before, and the other session, each with the float64
        reference of its own ids.
    Bound: honest error of the claimed dtype.
    """
    probe = given["probe"]
    model = candidate.model(probe)
    stem, branch = draw_ids(draw, candidate, probe, given["length"]), draw_ids(draw, candidate, probe, (1, 3))
    other, more = draw_ids(draw, candidate, probe, given["length"]), draw_ids(draw, candidate, probe, (2, 4))
    old = model.open(stem)
    new = old.fork()
    forked = new.extend(branch)
    new.close()
    first = old.extend(more[:1])
    old.fork().close()
    opened = model.open(other)
    last = old.extend(more[1:])
    return {
        "stem": stem, "branch": branch, "other": other, "more": more,
        "logits": {"fork": forked, "old": np.concatenate([first, last]), "other": opened.logits},
    }  # fmt: skip


def judge_fork_closed(given: Given, asked: Asked, reference: Reference) -> Finding:
    stem, probe = asked["stem"], given["probe"]
    told = {
        "fork": ([*stem, *asked["branch"]], "the fork, before it is closed"),
        "old": ([*stem, *asked["more"]], f"behind {len(stem)} ids, a fork of the session closed"),
        "other": (asked["other"], "a session opened after a fork was closed"),
    }
    return worst([_tail(reference, probe, ids, asked["logits"][name], when) for name, (ids, when) in told.items()])


check(
    "fork-closed",
    ask_fork_closed,
    judge_fork_closed,
    needs=("load_model", "session"),
    given={"probe": PROBE, "length": LENGTH},
)


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


TURNS = {"type": "integer", "minimum": 8, "description": "sessions, one after another"}


def ask_in_turn(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A closed session leaves its place to the next one, however it was used, and however many there were. (CACHE-6)

    Of four sessions in a row one is only opened, one is extended, one is forked and both are closed, and one is asked
    for more than the context holds before it is closed; before each an id outside the vocabulary is refused.

    Varies: content and lengths of the sessions, the first ids of each fourth of which are looked at, and the last.
    Compares: what is looked at with the float64 reference of its own ids; the refusals with the codes due.
    Bound: honest error of the claimed dtype.
    """
    probe = given["probe"]
    sizes = candidate.probes.get(probe).config
    context, V = int(sizes["context_length"]), int(sizes["vocab_size"])
    model = candidate.model(probe)
    ids, logits, refusals = [], [], []
    for turn in range(given["sessions"]):
        row = draw_ids(draw, candidate, probe, given["length"])
        refusals.append((turn, "invalid_argument", refusal_of(model.open, [*row, V])))
        session = model.open(row)
        if turn % 4 == 0 or turn == given["sessions"] - 1:
            ids.append(row)
            logits.append(session.logits)
        if turn % 4 == 1:
            session.extend(draw_ids(draw, candidate, probe, (1, 3)))
        if turn % 4 == 2:
            twin = session.fork()
            twin.extend(draw_ids(draw, candidate, probe, (1, 3)))
            twin.close()
        if turn % 4 == 3:
            refusals.append((turn, "context_overflow", refusal_of(session.extend, [row[0]] * context)))
        session.close()
    refusals = [(turn, due, got.code if isinstance(got, Refused) else "an answer") for turn, due, got in refusals]
    return {"ids": ids, "logits": logits, "refusals": refusals}


def judge_in_turn(given: Given, asked: Asked, reference: Reference) -> Finding:
    for turn, due, came in asked["refusals"]:
        if came != due:
            message = f"{came} came at session {turn} of {given['sessions']}, refusal with {due} was due"
            return failed(message, expected=due, got=came)
    total = len(asked["ids"])
    return worst(
        [
            against_truth(reference, given["probe"], ids, got, when=f"sessions in turn, {i + 1} of {total} looked at")
            for i, (ids, got) in enumerate(zip(asked["ids"], asked["logits"], strict=True))
        ]
    )


check(
    "sessions-in-turn",
    ask_in_turn,
    judge_in_turn,
    needs=("load_model", "session"),
    given={"probe": PROBE, "length": LENGTH, "sessions": TURNS},
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
