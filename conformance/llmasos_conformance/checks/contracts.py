"""Refusals: what a method must not answer, the code that it must refuse with, and that nothing is left behind.

Requests are refused by the candidate, never by the harness: every id, row and option here travels as it stands. What
the wire cannot carry (text where ids are due, NaN and infinity) is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos_conformance.candidate import LoadedModel, Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.bundles import MODEL as SPEAKER
from llmasos_conformance.checks.bundles import continued, speaker, spoken
from llmasos_conformance.checks.rows import new_ids
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

Answer = Sequence[Any]
"""Numbers, or a text as its only entry, so that two answers can be compared without tolerance."""

CONTEXT = 16
MODEL: Mapping[str, Any] = {"says": ["and so on it goes"], "after": 1, "context": CONTEXT}
"""After p tokens it says what its text holds from character p-1 on, whatever they are."""
SPEAKING: Mapping[str, Any] = {"model": {**SPEAKER, "description": "that is asked; left out: one of GPT-3"}}


def _speaking(given: Given) -> Mapping[str, Any]:
    made: Mapping[str, Any] = given.get("model", MODEL)
    return made


def _leaders(logits: Any) -> list[int]:
    """The likeliest id at each position; a speaker's leads by so much that no rounding moves it."""
    return [int(row.argmax()) for row in logits]


METHODS: Mapping[str, Callable[[LoadedModel, list[int]], Answer]] = {
    "forward": lambda model, ids: _leaders(model.forward([ids])[0]),
    "forward_batch": lambda model, ids: [
        token for row in model.forward([[97, 98], ids, [97]]) for token in _leaders(row)
    ],
    "score": lambda model, ids: [value is None for value in model.score(ids)],
    "generate_ids": lambda model, ids: new_ids(model.generate_ids(ids, max_length=4, temperature=0)),
    "generate_batch": lambda model, ids: [
        token for row in model.generate_batch([[97, 98], ids], max_length=4, temperature=0) for token in new_ids(row)
    ],
    "detokenize": lambda model, ids: [model.detokenize(ids)],
    "open": lambda model, ids: _leaders(model.open(ids).logits),
}
"""Methods that take ids, each with its answer in comparable form."""

METHOD = {"enum": sorted(METHODS), "description": "the method asked; the case needs its capability"}
GOOD = [97, 98, 99]


CALLS: Mapping[str, tuple[str, str]] = {
    "forward": ("forward([{}])", "the likeliest ids by position are"),
    "forward_batch": ("forward([[97, 98], {}, [97]])", "the likeliest ids by position, row after row, are"),
    "score": ("score({})", "whether each log-probability is null:"),
    "generate_ids": ("generate_ids({})", "the new ids are"),
    "generate_batch": ("generate_batch([[97, 98], {}])", "the new ids, row after row, are"),
    "detokenize": ("detokenize({})", "the text is"),
    "open": ("open({})", "the likeliest ids by position are"),
}
"""How a message writes each call, in the contract's own words, and what the numbers of its answer are."""


def _call(method: str, ids: Sequence[int]) -> str:
    return CALLS[method][0].format(f"{list(ids)!s:.120}")


def _unlike_due(method: str, got: Any, due: Answer, when: str) -> Finding | None:
    """A failure unless the answer is what the speaker must say; `when` names call and situation."""
    if isinstance(got, Refused):
        return failed(f"{when}: refused with {got.code}, an answer was due", expected=due, got=got.code)
    if list(got) != due:
        message = f"{when}: {CALLS[method][1]} {list(got)!s:.80}, {due!s:.80} was due"
        return failed(message, expected=due, got=got)
    return None


def _due(method: str, ids: Sequence[int], model: Mapping[str, Any]) -> Answer:
    """What the speaker must answer."""
    if method in ("forward", "open"):
        return spoken(model, ids)
    if method == "forward_batch":
        return [token for row in ([97, 98], ids, [97]) for token in spoken(model, row)]
    if method == "score":
        return [i == 0 for i in range(len(ids))]
    if method == "detokenize":
        return [bytes(ids).decode()]
    rows = ([97, 98], ids) if method == "generate_batch" else (ids,)
    return [token for row in rows for token in continued(model, row, 4)]


def ask_refuses_ids(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Wrong ids are refused with the code of the requirement, and right ones after them are answered. (and ERR-1)

    Varies: nothing; method, ids and code stand in the case. In a batch, a good row comes first.
    Compares: the refusal's code with the one due; the answer to right ids before all and after each with what the model
    must answer.
    Bound: none, they are equal or they are not.
    """
    model, ask = candidate.model(speaker(candidate.probes, _speaking(given))), METHODS[given["method"]]
    before = refusal_of(ask, model, GOOD)  # what is wrong without any refusal is not blamed on one
    tried = [(refusal_of(ask, model, list(ids)), refusal_of(ask, model, GOOD)) for ids in given["rows"]]
    return {"before": before, "tried": tried}


def judge_refuses_ids(given: Given, asked: Asked, reference: Reference) -> Finding:
    code, method = given["code"], given["method"]
    due, good = _due(method, GOOD, _speaking(given)), _call(method, GOOD)
    if wrong := _unlike_due(method, asked["before"], due, f"{good}, before anything wrong was asked"):
        return wrong
    for ids, (got, after) in zip(given["rows"], asked["tried"], strict=True):
        where = _call(method, ids)
        if not isinstance(got, Refused):
            message = f"{where}: answered ({CALLS[method][1]} {got!s:.80}), refusal with {code} was due"
            return failed(message, expected=code, got=got)
        if got.code != code:
            return failed(f"{where}: refused with {got.code}, {code} was due", expected=code, got=got.code)
        if wrong := _unlike_due(method, after, due, f"{good}, after {where} was refused"):
            return wrong
    return passed()


ROWS = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "array", "items": {"type": "integer"}},
    "description": "lists of ids, each asked on its own",
}

check(
    "refuses-ids",
    ask_refuses_ids,
    judge_refuses_ids,
    needs=("load_model",),
    given={
        "method": METHOD,
        "rows": ROWS,
        "code": {"enum": ["invalid_argument", "context_overflow"], "description": "code of the refusal"},
    },
    optional=SPEAKING,
)


def ask_takes_ids(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Ids at the edge of what is allowed are answered.

    Varies: nothing; method and ids stand in the case.
    Compares: the answer with what the model must answer.
    Bound: none, they are equal or they are not.
    """
    model, ask = candidate.model(speaker(candidate.probes, _speaking(given))), METHODS[given["method"]]
    return {"answers": [refusal_of(ask, model, list(ids)) for ids in given["rows"]]}


def judge_takes_ids(given: Given, asked: Asked, reference: Reference) -> Finding:
    for ids, got in zip(given["rows"], asked["answers"], strict=True):
        method = given["method"]
        due = _due(method, ids, _speaking(given))
        if wrong := _unlike_due(method, got, due, f"{_call(method, ids)} of {len(ids)} ids"):
            return wrong
    return passed()


check(
    "takes-ids",
    ask_takes_ids,
    judge_takes_ids,
    needs=("load_model",),
    given={"method": METHOD, "rows": ROWS},
    optional=SPEAKING,
)


def ask_refused_extend(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A refused step leaves a session where it was.

    Varies: where the wrong step comes.
    Compares: the likeliest ids of the steps before and after it with those of the model.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, _speaking(given)))
    before, after = draw.integer(1, 5), draw.integer(1, 5)
    session = model.open([97] * before)
    got = [refusal_of(session.extend, list(ids)) for ids in given["rows"]]
    refusals = [one.code if isinstance(one, Refused) else "answered" for one in got]
    return {"before": before, "after": after, "refusals": refusals, "then": _leaders(session.extend([98] * after))}


def judge_refused_extend(given: Given, asked: Asked, reference: Reference) -> Finding:
    code = given["code"]
    for ids, got in zip(given["rows"], asked["refusals"], strict=True):
        if got != code:
            message = f"extend by ids {ids!s:.120}: {got}, refusal with {code} was due"
            return failed(message, expected=code, got=got)
    before, after = asked["before"], asked["after"]
    due = spoken(_speaking(given), [97] * before + [98] * after)[before:]
    if asked["then"] != due:
        message = f"{asked['after']} ids after {asked['before']} and a refused step give {asked['then']}, {due} was due"
        return failed(message, expected=due, got=asked["then"])
    return passed()


check(
    "refused-extend",
    ask_refused_extend,
    judge_refused_extend,
    needs=("load_model", "session"),
    given={
        "rows": ROWS,
        "code": {"enum": ["invalid_argument", "context_overflow"], "description": "code of the refusal"},
    },
    optional=SPEAKING,
)


def ask_ids_only(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A model without a tokenizer refuses text and serves ids.

    Varies: nothing.
    Compares: the code of the refusal with unsupported; the ids that follow with those of the model.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, {**_speaking(given), "vocabulary": 200}))
    text = refusal_of(model.generate_text, "ab", max_length=4, temperature=0)
    return {"text": text, "ids": new_ids(model.generate_ids([97, 98], max_length=4, temperature=0))}


def judge_ids_only(given: Given, asked: Asked, reference: Reference) -> Finding:
    text, due = asked["text"], _due("generate_ids", [97, 98], _speaking(given))
    if not isinstance(text, Refused) or text.code != "unsupported":
        answer = text.code if isinstance(text, Refused) else repr(text.text)
        message = f"text was asked of a model of 200 ids without tokenizer.json: {answer}, refusal unsupported was due"
        return failed(message, expected="unsupported", got=answer)
    if asked["ids"] != due:
        return failed(f"ids [97, 98] were continued by {asked['ids']}, {due} was due", expected=due, got=asked["ids"])
    return passed()


check("ids-only", ask_ids_only, judge_ids_only, needs=("load_model", "generate_ids"), optional=SPEAKING)
