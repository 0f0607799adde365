"""The Transformer: what a target depends on, its cache, its scores, and what is generated from a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, cycle, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance.candidate import LoadedModel, LoadedSession, Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.beside import EVENTS, OR_NOT, ROW, Row, answered, draw_row, same_row, true_row
from llmasos_conformance.checks.bundles import DOCUMENT, document
from llmasos_conformance.checks.greedy import Law, agrees, names
from llmasos_conformance.checks.rows import (
    STEPS,
    claims_at_least,
    counted,
    draw_other,
    new_ids,
    same_choice,
    told,
    unlike_greedy,
)
from llmasos_conformance.numerics import worst
from llmasos_conformance.protocol import Array, Generation
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

NEEDS = ("load_model", "forward")
UNSIZED: Mapping[str, Any] = {**ROW, "length": {**ROW["length"], "default": [2, 8]}}
"""Data of a case whose lengths are the context's."""

# ── the target ──────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_target_causal(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A target position's logits ignore every later target token. (TRF-2)

    Varies: length and content of target and source, and where the target is changed.
    Compares: the candidate with itself before and after the change.
    Bound: honest error of the claimed dtype, √2 times.
    """
    row = draw_row(given, draw, candidate)
    V = candidate.probes.get(given["probe"]).config["vocab_size"]
    at = draw.integer(1, len(row.ids) - 1)
    changed = replace(row, ids=row.ids[:at] + [draw_other(draw, token, V) for token in row.ids[at:]])
    model = candidate.model(given["probe"])
    return {"row": row, "at": at, "logits": [answered(model, [each])[0] for each in (row, changed)]}


def judge_target_causal(given: Given, asked: Asked, reference: Reference) -> Finding:
    at, (before, after) = asked["at"], asked["logits"]
    when = f"target token {at} and what follows it changed"
    return same_row(reference, given["probe"], asked["row"], after[:at], before[:at], when=when)


check("target-causal", ask_target_causal, judge_target_causal, needs=NEEDS, given=ROW)

# ── sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────

PIECES = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "default": [],
    "description": "numbers of ids given at a time, over and over until none is left; empty draws 1 to 5 each time",
}


def _cut(total: int, sizes: Sequence[int], draw: Draw) -> list[int]:
    taken: list[int] = []
    endless = cycle(sizes) if sizes else iter(lambda: draw.integer(1, 5), 0)
    while sum(taken) < total:
        taken.append(min(next(endless), total - sum(taken)))
    return taken


def ask_target_pieces(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A target given in pieces, each behind the cache of those before, has the logits of the whole target. (TRF-15)

    Varies: length and content of target and source, and where the target is cut unless the case says so.
    Compares: the logits of all pieces, put together, with the float64 reference of the whole.
    Bound: honest error of the claimed dtype.
    """
    row = draw_row(given, draw, candidate)
    sizes = _cut(len(row.ids), given["pieces"], draw)
    edges = [0, *accumulate(sizes)]
    session = candidate.model(given["probe"]).open(row.ids[: edges[1]], **row.beside)
    logits = [session.logits, *(session.extend(row.ids[low:high]) for low, high in pairwise(edges[1:]))]
    session.close()
    return {"row": row, "sizes": sizes, "logits": np.concatenate(logits)}


def judge_target_pieces(given: Given, asked: Asked, reference: Reference) -> Finding:
    when = f"{asked['row'].shown}, in pieces of {asked['sizes']!s:.80}"
    return true_row(reference, given["probe"], asked["row"], asked["logits"], when=when)


check(
    "target-pieces",
    ask_target_pieces,
    judge_target_pieces,
    needs=("load_model", "session"),
    given={**ROW, "pieces": PIECES},
)


def ask_target_fork(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Two branches of a target go on apart, and both keep their source. (CACHE-3)

    Varies: content and lengths of source, stem and both branches.
    Compares: each branch, extended in turn with the other, with the float64 reference of its own ids.
    Bound: honest error of the claimed dtype.
    """
    stem = draw_row(given, draw, candidate)
    old = candidate.model(given["probe"]).open(stem.ids, **stem.beside)
    new = old.fork()
    ids = {"old": list(stem.ids), "new": list(stem.ids)}
    logits: dict[str, list[Array]] = {name: [old.logits] for name in ids}
    for _ in range(3):
        for name, session in (("old", old), ("new", new)):
            piece = draw_row(given, draw, candidate, (2, 4)).ids[1:]
            ids[name] += piece
            logits[name].append(session.extend(piece))
    rows = {name: replace(stem, ids=whole) for name, whole in ids.items()}
    return {"rows": rows, "logits": {name: np.concatenate(pieces) for name, pieces in logits.items()}}


def judge_target_fork(given: Given, asked: Asked, reference: Reference) -> Finding:
    return worst(
        [
            true_row(reference, given["probe"], row, asked["logits"][name], when=f"the {name} branch of a fork")
            for name, row in asked["rows"].items()
        ]
    )


check("target-fork", ask_target_fork, judge_target_fork, needs=("load_model", "session"), given=ROW)


def ask_target_sessions(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Targets that are open at the same time each keep their own source. (CACHE-6)

    Varies: content and lengths of sources and targets, and in which order they go on; one is closed, another opened.
    Compares: each session with the float64 reference of its own source and ids.
    Bound: honest error of the claimed dtype.
    """
    model = candidate.model(given["probe"])
    rows: list[Row] = []
    logits: list[list[Array]] = []
    opened: list[LoadedSession] = []

    def start() -> None:
        rows.append(draw_row(given, draw, candidate))
        opened.append(model.open(rows[-1].ids, **rows[-1].beside))
        logits.append([opened[-1].logits])

    def go_on(number: int) -> None:
        piece = draw_row(given, draw, candidate, (2, 4)).ids[1:]
        rows[number].ids.extend(piece)
        logits[number].append(opened[number].extend(piece))

    for _ in range(3):
        start()
    for _ in range(4):
        go_on(draw.integer(0, 2))
    opened[0].close()
    start()
    for number in (1, 3, 2, 3):
        go_on(number)
    return {"rows": rows, "logits": [np.concatenate(pieces) for pieces in logits]}


def judge_target_sessions(given: Given, asked: Asked, reference: Reference) -> Finding:
    total = len(asked["rows"])
    return worst(
        [
            true_row(reference, given["probe"], row, got, place=i, when=f"session {i} of {total}, in turn")
            for i, (row, got) in enumerate(zip(asked["rows"], asked["logits"], strict=True))
        ]
    )


check("target-sessions", ask_target_sessions, judge_target_sessions, needs=("load_model", "session"), given=ROW)


def ask_target_full(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A target reaches the last position of the context behind a source as long, and is refused behind it, unharmed.

    Varies: content of source and target.
    Compares: the code of both refusals with context_overflow; all logits with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    context = int(candidate.probes.get(given["probe"]).config["context_length"])
    row = draw_row(given, draw, candidate, (context, context), (context, context))
    extra = draw_row(given, draw, candidate, (3, 3)).ids[1:]
    session = candidate.model(given["probe"]).open(row.ids[:-1], **row.beside)
    logits = [session.logits]
    refusals = [refusal_of(session.extend, extra)]
    logits.append(session.extend(row.ids[-1:]))
    refusals.append(refusal_of(session.extend, extra[:1]))
    codes = [got.code if isinstance(got, Refused) else "an answer" for got in refusals]
    return {"row": row, "codes": codes, "logits": np.concatenate(logits)}


def judge_target_full(given: Given, asked: Asked, reference: Reference) -> Finding:
    context = len(asked["row"].ids)
    for code, (held, more) in zip(asked["codes"], ((context - 1, 2), (context, 1)), strict=True):
        if code != "context_overflow":
            message = f"{code} came for {more} ids behind {held} in a context of {context}, context_overflow was due"
            return failed(message, expected="context_overflow", got=code)
    when = f"target and source of {context}, ids too many refused on the way"
    return true_row(reference, given["probe"], asked["row"], asked["logits"], when=when)


check("target-full", ask_target_full, judge_target_full, needs=("load_model", "session"), given=UNSIZED)

# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_target_score(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A score has one entry per target id: nothing for the first, then its log-probability given source and ids before.

    Varies: length and content of target and source.
    Compares: each entry with the logarithm of softmax of the float64 reference's logits.
    Bound: honest error of the claimed dtype.
    """
    row = draw_row(given, draw, candidate)
    return {"row": row, "score": candidate.model(given["probe"]).score(row.ids, **row.beside)}


def judge_target_score(given: Given, asked: Asked, reference: Reference) -> Finding:
    row, score = asked["row"], asked["score"]
    if len(score) != len(row.ids):
        due = len(row.ids)
        return failed(f"logprobs has {len(score)} entries, {due} were due", expected=due, got=len(score))
    if score[0] is not None:
        return failed(f"logprobs[0] is {score[0]:.9g}, null was due", expected="null", got=score[0])
    laws: list[Law] = [{token: value} for token, value in zip(row.ids[1:], score[1:], strict=True)]
    found = agrees(reference, given["probe"], row.ids, laws, "logprobs[1:]", 1, row.beside)
    return told(found, f"score of {row.shown} on {given['probe']}")


check("target-score", ask_target_score, judge_target_score, needs=("load_model", "score"), given=ROW)

# ── generation ──────────────────────────────────────────────────────────────────────────────────────────────────────

SOURCES: Mapping[str, Any] = {
    "probe": ROW["probe"],
    "source": {**ROW["length"], "description": "smallest and largest number of source ids"},
    "steps": STEPS,
}
"""Data of a case that generates from drawn sources."""


def draw_source(given: Given, draw: Draw, candidate: Candidate, source: Sequence[int] | None = None) -> list[int]:
    """Ids for a Transformer to read."""
    return draw_row({**given, "length": (1, 1), "types": "left-out"}, draw, candidate, None, source).beside["source"]


def _start(reference: Reference, probe: str) -> list[int]:
    return [int(reference.probes.get(probe).config["decoder_start_token_id"])]


def _written(reference: Reference, probe: str, source: Sequence[int], ids: Sequence[int], label: str) -> Finding:
    """Whether ids are the greedy target of a source."""
    beside = {"source": list(source)}
    return unlike_greedy(reference, probe, _start(reference, probe), ids, label=label, beside=beside)


def ask_translates(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """With temperature 0 each new id has the largest logit behind the source, the start id and the ids before it.

    Varies: length and content of the source.
    Compares: each id with the float64 reference's logits; the counts that come with them.
    Bound: the margin of honest error; none between ids whose logits are equal by construction.
    """
    source = draw_source(given, draw, candidate)
    made = candidate.model(given["probe"]).generate_ids(source, max_length=given["steps"], temperature=0)
    return {"source": source, "made": made}


def judge_translates(given: Given, asked: Asked, reference: Reference) -> Finding:
    source, made = asked["source"], asked["made"]
    ids = new_ids(made)
    ends = reference.probes.get(given["probe"]).config["eos_token_ids"]
    when = f"{given['probe']}, source of {len(source)}"
    return worst(
        [
            told(_written(reference, given["probe"], source, ids, "ids"), when),
            counted(ids, given["steps"], ends=ends),
            _counts(made, source, ids),
        ]
    )


def _counts(made: Generation, source: Sequence[int], ids: Sequence[int]) -> Finding:
    """Whether the counts that a generation reports are those of its source and of its ids."""
    for name, due in (("prompt_tokens", len(source)), ("completion_tokens", len(ids))):
        came = getattr(made, name)
        if came is not None and came != due:
            message = f"{name} is {came}, {due} was due for a source of {len(source)} and {len(ids)} new ids"
            return failed(message, expected=due, got=came)
    return passed()


check("translates", ask_translates, judge_translates, needs=("load_model", "generate_ids"), given=SOURCES)


def ask_translates_again(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A source is translated as before, whatever came between. (STATE-1)

    Varies: content and length of the source, of another one as long that is translated between, and of what comes then.
    Compares: both with the reference; the source's ids before and after with each other.
    Bound: the margin of honest error; between the two answers none if D1 is claimed.
    """
    source = draw_source(given, draw, candidate)
    other = draw_source(given, draw, candidate, (len(source), len(source)))
    V = candidate.probes.get(given["probe"]).config["vocab_size"]
    other[-1] = (other[-1] + (other == source)) % V
    model, options = candidate.model(given["probe"]), {"max_length": given["steps"], "temperature": 0}
    before = new_ids(model.generate_ids(source, **options))
    between = new_ids(model.generate_ids(other, **options))
    if given["between"] is not None:
        EVENTS[given["between"]]({**given, "length": (2, 8), "types": "left-out"}, draw, candidate, model)
    after = new_ids(model.generate_ids(source, **options))
    return {"sources": [source, other, source], "ids": [before, between, after]}


def judge_translates_again(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, sources, answers = given["probe"], asked["sources"], asked["ids"]
    findings = []
    for i, (source, ids) in enumerate(zip(sources, answers, strict=True)):
        findings.append(_written(reference, probe, source, ids, f"call {i} of three: ids"))
        findings.append(counted(ids, given["steps"], f"call {i} of three: ids"))
    exact, beside = claims_at_least(reference, "D1"), {"source": sources[0]}
    when = "the same source again, and before"
    start = _start(reference, probe)
    findings.append(same_choice(reference, probe, start, answers[2], answers[0], when=when, exact=exact, beside=beside))
    return worst(findings)


check(
    "translates-again",
    ask_translates_again,
    judge_translates_again,
    needs=("load_model", "generate_ids"),
    given={
        **SOURCES,
        "between": {
            "anyOf": [{"type": "null"}, {"enum": sorted(EVENTS)}],
            "default": None,
            "description": "what comes between beside the other source",
        },
    },
)


def ask_translates_batch(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A source of a batch is translated as it is alone. (BAT-4)

    Varies: content and lengths of the sources.
    Compares: greedy ids of each row in the batch with those of the row alone, and with the reference.
    Bound: the margin of honest error; between the two answers none if D2 is claimed.
    """
    sources = [draw_source(given, draw, candidate) for _ in range(given["rows"])]
    if given["odd"] is not None:
        sources[draw.integer(0, len(sources) - 1)] = draw_source(given, draw, candidate, given["odd"])
    model, options = candidate.model(given["probe"]), {"max_length": given["steps"], "temperature": 0}
    together = [new_ids(made) for made in model.generate_batch(sources, **options)]
    return {"sources": sources, "together": together, "alone": _alone(model, sources, options)}


def _alone(model: LoadedModel, sources: Sequence[list[int]], options: Mapping[str, Any]) -> list[list[int]]:
    return [new_ids(model.generate_ids(source, **options)) for source in sources]


def judge_translates_batch(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, lengths, findings = given["probe"], [len(source) for source in asked["sources"]], []
    exact, start = claims_at_least(reference, "D2"), _start(reference, given["probe"])
    ends = reference.probes.get(probe).config["eos_token_ids"]
    for i, (source, got, due) in enumerate(zip(asked["sources"], asked["together"], asked["alone"], strict=True)):
        label, when = f"generations[{i}].ids", f"sources of {lengths} in a batch, and alone"
        beside = {"source": source}
        findings.append(told(_written(reference, probe, source, got, label), f"sources of {lengths} in a batch"))
        findings.append(counted(got, given["steps"], label, ends))
        findings.append(
            same_choice(reference, probe, start, got, due, label=label, when=when, exact=exact, beside=beside)
        )
    return worst(findings)


check(
    "translates-batch",
    ask_translates_batch,
    judge_translates_batch,
    needs=("load_model", "generate_ids", "batch"),
    given={
        **SOURCES,
        "rows": {"type": "integer", "minimum": 2, "description": "sources of the batch"},
        "odd": {
            **OR_NOT,
            "description": "number of ids of one source, at a drawn place; null if it is like the others",
        },
    },
)

COUNT = {"type": "integer", "minimum": 0, "description": "how many of the likeliest ids are asked for"}


def ask_translates_logprobs(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Log-probabilities of generated ids are those of the unmodified logits behind source and target. (SCO-3, SCO-6)

    Varies: length and content of the source, and by a seed where one is declared, what is drawn.
    Compares: each entry with the logarithm of softmax of the float64 reference's logits; which ids it names with the
        likeliest ones.
    Bound: honest error of the claimed dtype; for the likeliest ids its margin.
    """
    source = draw_source(given, draw, candidate)
    options = {"temperature": given["temperature"], "logprobs": given["count"], **candidate.drawn_seed(draw)}
    made = candidate.model(given["probe"]).generate_ids(source, max_length=given["steps"], **options)
    return {"source": source, "ids": new_ids(made), "logprobs": made.logprobs}


def judge_translates_logprobs(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, ids, laws = given["probe"], asked["ids"], asked["logprobs"]
    if laws is None or len(laws) != len(ids) or len(ids) != given["steps"]:
        came = f"{len(ids)} ids and {0 if laws is None else len(laws)} entries of logprobs"
        return failed(f"{came} came, {given['steps']} of each were due", expected=given["steps"], got=came)
    whole, beside = [*_start(reference, probe), *ids], {"source": asked["source"]}
    named = names(reference, probe, whole, 1, laws, given["count"], beside)
    when = f"logprobs {given['count']}, temperature {given['temperature']}"
    return told(worst([named, agrees(reference, probe, whole, laws, "logprobs", 1, beside)]), when)


check(
    "translates-logprobs",
    ask_translates_logprobs,
    judge_translates_logprobs,
    needs=("load_model", "generate_ids", "logprobs"),
    given={
        **SOURCES,
        "count": COUNT,
        "temperature": {"type": "number", "minimum": 0, "description": "of the generation"},
    },
)


def ask_translates_prefix(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A larger limit continues the same target. (GEN-2)

    Varies: content and length of the source.
    Compares: the candidate with itself at every limit up to that of the case.
    Bound: the margin of honest error; none if D2 is claimed.
    """
    source, model = draw_source(given, draw, candidate), candidate.model(given["probe"])
    limits = range(given["steps"] + 1)
    made = [new_ids(model.generate_ids(source, max_length=limit, temperature=0)) for limit in limits]
    return {"source": source, "ids": made}


def judge_translates_prefix(given: Given, asked: Asked, reference: Reference) -> Finding:
    exact, start, beside = (
        claims_at_least(reference, "D2"),
        _start(reference, given["probe"]),
        {"source": asked["source"]},
    )
    *_, longest = asked["ids"]
    findings = []
    for limit, ids in enumerate(asked["ids"]):
        findings.append(counted(ids, limit, f"ids for max_length {limit}"))
        when = f"max_length {limit}, and {given['steps']}"
        findings.append(
            same_choice(reference, given["probe"], start, ids, longest[:limit], when=when, exact=exact, beside=beside)
        )
    return worst(findings)


check(
    "translates-prefix",
    ask_translates_prefix,
    judge_translates_prefix,
    needs=("load_model", "generate_ids"),
    given=SOURCES,
)


def ask_echo(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What stands in the source reaches the target place by place: nothing is added, left out or moved. (TRF-23)

    Varies: length and content of the source. The model writes at each position what stands there in the source.
    Compares: the new ids with those of the source, up to the end of the target's context.
    Bound: none, they are equal or they are not.
    """
    probe = candidate.probes.get(given["probe"])
    *letters, _ = probe.facts["alphabet"]
    source = [letters[i] for i in draw.integers(draw.integer(*given["source"]), 0, len(letters) - 1)]
    limit = min(len(source), int(probe.config["context_length"]) - 1)
    made = candidate.model(probe).generate_ids(source, max_length=limit, temperature=0)
    return {"source": source[:limit], "length": len(source), "ids": new_ids(made)}


def judge_echo(given: Given, asked: Asked, reference: Reference) -> Finding:
    ids, due = asked["ids"], asked["source"]
    if ids == due:
        return passed()
    at = next((i for i, (a, b) in enumerate(zip(ids, due, strict=False)) if a != b), min(len(ids), len(due)))
    came, wanted = (row[at] if at < len(row) else "nothing" for row in (ids, due))
    message = f"ids[{at}] is {came}, {wanted} was due: it stands there in a source of {asked['length']}"
    return failed(message, expected=wanted, got=came)


check(
    "translates-echo",
    ask_echo,
    judge_echo,
    needs=("load_model", "generate_ids"),
    given={"probe": ROW["probe"], "source": SOURCES["source"]},
)

# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_speaks_text(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A document without weights generates text from text, and no id without text is chosen. (TRF-16)

    Varies: nothing; document, prompt and options stand in the case.
    Compares: the number of tokens with the limit; ids, where they are reported, with those that have text; the
        text with the bytes of those ids.
    Bound: none, they hold or they do not.
    """
    model = candidate.model(candidate.probes.write(document(given["document"]), None))
    return {"made": model.generate_text(given["prompt"], **given["options"])}


def judge_speaks_text(given: Given, asked: Asked, reference: Reference) -> Finding:
    made, limit = asked["made"], given["options"].get("max_length", 100)
    count = made.completion_tokens if made.completion_tokens is not None else limit
    if count != limit or made.finish_reason != "length":
        came = f"{count} tokens, finish reason {made.finish_reason}"
        return failed(f"{came} came, {limit} and length were due", expected=limit, got=came)
    read = len(given["prompt"].encode())
    if made.prompt_tokens is not None and made.prompt_tokens != read:
        return failed(f"prompt_tokens is {made.prompt_tokens}, {read} was due", expected=read, got=made.prompt_tokens)
    if made.ids is None:
        return passed()
    textless = [token for token in made.ids if token >= 256]
    if textless:
        return failed(f"id {textless[0]}, which has no text, was chosen", expected="ids below 256", got=textless[0])
    due = bytes(made.ids).decode(errors="replace")
    return passed() if made.text == due else failed("the text is not that of its ids", expected=due, got=made.text)


check(
    "speaks-text",
    ask_speaks_text,
    judge_speaks_text,
    needs=("load_model",),
    given={
        "document": DOCUMENT,
        "prompt": {"type": "string", "description": "text of the prompt"},
        "options": {"type": "object", "default": {}, "description": "max_length and others, as sent"},
    },
)
