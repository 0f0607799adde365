"""Seeds and samplers of a hosted model: whether it draws by the probabilities that it states itself.

`stated-drawn` is an exact test of the tokens that came against the law that the very answer states for them. Of a law
only the likeliest tokens are known. A temperature changes their probabilities among each other in a way that the rest
has no part in, so a draw is judged by the law among the listed ones, given that it is one of them; of the rest no law
is asked. Listed are one less than were asked for, because servers put the chosen token into the list in different ways.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llmasos_conformance import laws
from llmasos_conformance.checks import Asked, Given, check, replies
from llmasos_conformance.checks.replies import Answer, Broken, Token
from llmasos_conformance.checks.requests import (
    API,
    TOKENS,
    alike,
    greedy,
    judge,
    neutral,
    open_case,
    request,
    states,
    unrepeatable,
    words,
)
from llmasos_conformance.checks.stated import LISTED, MOST, OPTIONS, ambiguous, dtype_of, slack, stated
from llmasos_conformance.laws import Decision
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw

Float64 = npt.NDArray[np.float64]

# ── seeds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_seeds(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """One seed gives one text.

    Varies: the prompt, and the seed.
    Compares: texts of one seed with each other.
    Bound: none, they are equal or they are not.
    """
    if excused := unrepeatable(candidate):
        return excused
    api = given["api"]
    asked = request(
        api, words(draw, 5), max_tokens=given["tokens"], temperature=given["temperature"],
        seed=draw.integer(0, 2**31 - 1),
    )  # fmt: skip
    return {"answers": [candidate.hosted.ask(api, asked) for _ in range(2)]}


@judge
def judge_seeds(given: Given, asked: Asked) -> Finding:
    one, other = (replies.read(given["api"], answer).choices[0].text for answer in asked["answers"])
    return alike("one seed gave two texts", other, one)


TEMPERATURE = {"type": "number", "exclusiveMinimum": 0, "maximum": 2, "description": "of all requests"}
check(
    "stated-seeds", ask_seeds, judge_seeds, needs=("seed",),
    given={"api": API, "tokens": TOKENS, "temperature": TEMPERATURE},
)  # fmt: skip


def ask_unlike(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Different seeds, or different choices of one seed, give different texts.

    Varies: prompts and seeds.
    Compares: texts with each other. That they agree is as likely as the stated logprobs of their tokens say: the
        product over the prompts has to reach 1/`alpha` before it counts as a failure.
    Bound: `alpha` of the case, by the probabilities that are stated.
    """
    api, calls = given["api"], []
    extra = {"temperature": 1, **states(api, 1), **neutral(candidate, api)}
    for _ in range(given["prompts"]):
        asked = request(api, words(draw, 5), max_tokens=given["tokens"], **extra)
        seeds = [draw.integer(0, 2**31 - 1) for _ in range(2)]
        if given["of"] == "seeds":
            answers = [candidate.hosted.ask(api, {**asked, "seed": seed}) for seed in seeds]
        else:
            more = {"seed": seeds[0]} if "seed" in candidate.description.capabilities else {}
            answers = [candidate.hosted.ask(api, {**asked, **more, "n": 2})]
        calls.append(answers)
        if _is_decided(given, calls):
            break
    return {"calls": calls}


def _is_decided(given: Given, calls: Sequence[Sequence[Answer]]) -> bool:
    try:
        return _unlikely(given, calls)[0] != 0
    except Broken:
        return True


def _unlikely(given: Given, calls: Sequence[Sequence[Answer]]) -> tuple[int, float]:
    """1 once tokens differ, -1 once that they agree is too unlikely, 2 where there are no two, else 0; and by how many
    nats it is.

    Given the first, another draw gives the same tokens with the product of their probabilities. Tokens whose text does
    not tell them apart are left out of it, which makes the chance larger and the test milder.
    """
    nats = 0.0
    for answers in calls:
        choices = [choice for answer in answers for choice in replies.read(given["api"], answer).choices]
        told = [[token.text for token in stated(choice)] for choice in choices]
        if len(told) < 2:
            return 2, nats
        if any(other != told[0] for other in told):
            return 1, nats
        nats -= sum(min(token.logprob or 0.0, 0.0) for token in stated(choices[0]) if not ambiguous(token.text))
    return (-1 if nats >= -math.log(given["alpha"]) else 0), nats


@judge
def judge_unlike(given: Given, asked: Asked) -> Finding:
    decided, nats = _unlikely(given, asked["calls"])
    what = "two seeds" if given["of"] == "seeds" else "two choices"
    if decided < 0:
        message = f"{what} gave one text each time, which is less likely than e^-{nats:.1f} by what is stated of it"
        return failed(message, expected="different texts", got="the same text")
    if decided == 2:
        return open_case("one choice came of n 2, and there is nothing to compare")
    if not decided:
        return open_case(f"{what} gave one text each time, and by what is stated of it that is e^-{nats:.1f}")
    return passed()


RATE = {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}
ALPHA = {**RATE, "description": "chance of refusing a right server, at most"}
check(
    "stated-unlike", ask_unlike, judge_unlike, needs=("logprobs",),
    given={
        "api": API, "tokens": TOKENS, "alpha": ALPHA,
        "of": {"enum": ["seeds", "choices"], "description": "what is to differ"},
        "prompts": {"type": "integer", "minimum": 1, "description": "that are tried until something is certain"},
    },
)  # fmt: skip


def ask_warm(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A temperature is heard: some text is not the likeliest one.

    Varies: prompts and seeds.
    Compares: sampled texts with the greedy one. The model is unknown; that its tokens other than the likeliest have a
        probability of `least` on average, at this temperature, is what a model is taken to have at the least.
    Bound: `alpha` of the case.
    """
    if excused := unrepeatable(candidate):
        return excused
    api, calls = given["api"], []
    off = neutral(candidate, api)
    for _ in range(given["prompts"]):
        prompt = words(draw, 5)
        cold = candidate.hosted.ask(api, {**greedy(api, prompt, given["tokens"]), **off})
        asked = request(api, prompt, max_tokens=given["tokens"], temperature=given["temperature"], **off)
        warm = candidate.hosted.ask(api, {**asked, **candidate.drawn_seed(draw)})
        calls.append([cold, warm])
        try:
            count = _cold(given, calls)
        except Broken:
            break
        if count is None or count * given["least"] >= -math.log(given["alpha"]):
            break
    return {"calls": calls}


def _cold(given: Given, calls: Sequence[Sequence[Answer]]) -> int | None:
    """How many tokens were all the likeliest one; None once some text is another than the greedy one."""
    count = 0
    for pair in calls:
        cold, warm = (replies.read(given["api"], answer) for answer in pair)
        if cold.choices[0].text != warm.choices[0].text:
            return None
        count += warm.usage.completion if warm.usage is not None else 0
    return count


@judge
def judge_warm(given: Given, asked: Asked) -> Finding:
    count = _cold(given, asked["calls"])
    if count is None:
        return passed()
    if count * given["least"] >= -math.log(given["alpha"]):
        message = f"{count} tokens at temperature {given['temperature']:g} were all the likeliest one"
        return failed(message, expected="a sampled text", got="the greedy text")
    return open_case(f"{count} tokens at temperature {given['temperature']:g} were all the likeliest one")


check(
    "stated-warm", ask_warm, judge_warm, needs=(),
    given={
        "api": API, "tokens": TOKENS, "temperature": TEMPERATURE, "alpha": ALPHA,
        "least": {**RATE, "description": "mean probability of all tokens but the likeliest"},
        "prompts": {"type": "integer", "minimum": 1, "description": "that are tried until some text differs"},
    },
)  # fmt: skip


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────────────

Told = tuple[list[float], float]
"""Of one token ln q_j - ln p for each of the others, and ε, what rounding may add to these on average."""


def ask_drawn(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Tokens come by the law that is stated for them, as temperature and top_p change it.

    Varies: prompts, and seeds where they are declared.
    Compares: the law with others that samplers have drawn from, token by token, until it is refused, or all of the
        others are, or `most` tokens have come.
    Bound: a sampler that draws from what it states is refused with probability `alpha` at most; one that draws from one
        of the others is accepted with probability `beta` at most. Both exactly; see `laws`.
    """
    api, dtype = given["api"], dtype_of(candidate)
    calls: list[Answer] = []
    columns: list[Told] = []
    options = {} if given["bare"] else {"temperature": 1, **neutral(candidate, api), **given["options"]}
    while len(calls) * given["tokens"] < given["most"]:
        asked = request(
            api, words(draw, 5), max_tokens=given["tokens"], **options, **states(api, MOST),
            **candidate.drawn_seed(draw),
        )  # fmt: skip
        calls.append(candidate.hosted.ask(api, asked))
        try:
            columns += told(given, calls[-1], dtype)
        except Broken:
            break
        if tried(given, columns).decision is not Decision.UNDECIDED:
            break
    return {"calls": calls, "dtype": dtype}


def told(given: Given, answer: Answer, dtype: str) -> list[Told]:
    """What the tokens of an answer say; see `ratios`."""
    tokens = stated(replies.read(given["api"], answer).choices[0])
    return [column for token in tokens if (column := ratios(given, token, dtype)) is not None]


def tried(given: Given, columns: Sequence[Told]) -> laws.Verdict:
    """The test of all tokens that came."""
    made = np.array([column for column, _ in columns], dtype=np.float64).reshape(-1, len(given["others"])).T
    return laws.decide(made, given["alpha"], given["beta"], np.array([blur for _, blur in columns], dtype=np.float64))


def ratios(given: Given, token: Token, dtype: str) -> Told | None:
    """What one token says for each of the others; None where its place says nothing.

    Where each stated logprob may be off by δ_x, the mean of q/p under the law that tokens really come by is Σ q_x e^δ_x
    at most, over what the same errors make of the sum of p. So ε is the mean of δ under q, the largest of all others,
    and under p.

    Whether a place says something is decided by its law alone, never by what was drawn from it.
    """
    pairs = sorted(token.top, key=lambda pair: -pair[1])[:LISTED]
    names = [text for text, _ in pairs]
    if len(token.top) < MOST or any(map(ambiguous, names)) or len(set(names)) < len(names):
        return None
    logs = np.array([logprob for _, logprob in pairs])
    due = _among(logs, given["options"])
    off = np.array([slack(dtype, logprob) for logprob in logs])
    if due is None or ("top_p" in given["options"] and not _is_clear(logs, due, off)):
        return None
    others = [_other(logs, given["options"], other) for other in given["others"]]
    at = names.index(token.text) if token.text in names else None
    if at is not None and abs(pairs[at][1] - (token.logprob or 0.0)) > 2 * slack(dtype, pairs[at][1]):
        return [0.0 for _ in given["others"]], 0.0  # another token of that text, which is not listed
    if at is None:  # whether one is listed is no part of the bet, so that it costs nothing
        return [_outside(given["options"], other) for other in given["others"]], 0.0
    off /= min(1.0, given["options"].get("temperature", 1.0))
    blur = float(max(math.log(float(_whole(q) @ np.exp(off))) for q in others) + due @ off)
    with np.errstate(divide="ignore"):
        return [float(np.log(q[at]) - np.log(due[at])) if due[at] > 0 else math.inf for q in others], blur


EDGE = 0.02
"""How far the mass of the likeliest has to stay away from top_p, or rounding may decide which tokens are kept."""


def _among(logs: Float64, options: Mapping[str, Any]) -> Float64 | None:
    """[k] the law that is due among the listed tokens, given that one of them comes; None where it is not known."""
    p = np.exp(logs)
    if "top_p" in options:
        before = np.concatenate([[0.0], np.cumsum(p)])
        if before[-1] < options["top_p"] + EDGE or np.min(np.abs(before[1:] - options["top_p"])) < EDGE:
            return None
        p = np.where(before[:-1] < options["top_p"], p, 0.0)
    return _whole(p ** (1 / options.get("temperature", 1.0)))


def _is_clear(logs: Float64, due: Float64, off: Float64) -> bool:
    """Whether top_p keeps the same tokens whichever of those that are nearly as likely comes first."""
    kept = int(np.count_nonzero(due))
    return kept < len(logs) and bool(logs[kept - 1] - logs[kept] > off[kept - 1] + off[kept])


def _other(logs: Float64, options: Mapping[str, Any], other: str | Mapping[str, Any]) -> Float64:
    """[k] what an alternative gives the listed tokens, beside a due law that adds up to 1 over them.

    An alternative that gives tokens beyond them gives these less.
    """
    p, due = np.exp(logs), _among(logs, options)
    assert due is not None
    likeliest = (np.arange(len(p)) == np.argmax(p)).astype(float)
    made: Float64 = p
    if isinstance(other, Mapping):
        made = _whole(p ** (1 / other["temperature"]))
    elif other == "always the likeliest":
        made = likeliest
    elif other == "half of the time the likeliest":
        made = 0.5 * likeliest + 0.5 * due
    if other != "without the one that crosses":
        return made
    kept = int(np.count_nonzero(due))
    return _whole(np.where(np.arange(len(p)) < max(kept - 1, 1), p, 0.0))


def _outside(options: Mapping[str, Any], other: str | Mapping[str, Any]) -> float:
    """The same of a token that is not listed: none where top_p keeps it out, and else no news but to who never gives
    one."""
    if "top_p" in options:
        return math.inf
    return -math.inf if other == "always the likeliest" else 0.0


def _whole(p: Float64) -> Float64:
    made: Float64 = p / p.sum()
    return made


@judge
def judge_drawn(given: Given, asked: Asked) -> Finding:
    columns = [column for answer in asked["calls"] for column in told(given, answer, asked["dtype"])]
    found = tried(given, columns)
    figures = {"tokens": float(found.at)}
    if found.decision is Decision.ACCEPTED:
        return passed(**figures)
    other = given["others"][found.nearest]
    named = other if isinstance(other, str) else ", ".join(f"{name} {value:g}" for name, value in other.items())
    if found.decision is Decision.REFUSED:
        message = (
            f"tokens do not come by the law that is stated for them, with {json.dumps(given['options'])}: after "
            f"{found.at} of them {named} fits better by a factor of e^{found.evidence:.1f}"
        )
        return failed(message, expected="the stated law", got=named, **figures)
    return Finding(
        state=open_case("").state, figures=figures,
        message=f"{found.at} tokens leave open whether they come by the stated law or by {named}",
    )  # fmt: skip


OTHERS = {
    "type": "array",
    "items": {
        "anyOf": [
            {
                "enum": [
                    "always the likeliest",
                    "half of the time the likeliest",
                    "all tokens",
                    "without the one that crosses",
                ]
            },
            {
                "type": "object",
                "properties": {"temperature": {"type": "number", "exclusiveMinimum": 0}},
                "required": ["temperature"],
                "additionalProperties": False,
            },
        ]
    },
    "minItems": 1,
    "description": "what samplers have drawn from instead",
}
check(
    "stated-drawn", ask_drawn, judge_drawn, needs=("logprobs",),
    given={
        "api": API, "tokens": TOKENS, "others": OTHERS, "alpha": ALPHA,
        "options": {**OPTIONS, "minProperties": 0, "maxProperties": 2, "description": "temperature and top_p"},
        "bare": {"type": "boolean", "default": False, "description": "no option is given, and defaults apply"},
        "beta": {**RATE, "description": "chance of accepting one that draws from one of the others, at most"},
        "most": {"type": "integer", "minimum": 16, "description": "tokens after which the case stays open"},
    },
)  # fmt: skip


def ask_narrow(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A filter that leaves one token leaves the likeliest.

    Varies: prompts, and seeds where they are declared.
    Compares: texts at temperature 1 with the greedy ones.
    Bound: none, they are equal or they are not.
    """
    if excused := unrepeatable(candidate):
        return excused
    api, calls = given["api"], []
    for _ in range(given["prompts"]):
        prompt = words(draw, 5)
        asked = request(
            api, prompt, max_tokens=given["tokens"], temperature=1, **given["filter"], **candidate.drawn_seed(draw)
        )
        calls.append([candidate.hosted.ask(api, each) for each in (greedy(api, prompt, given["tokens"]), asked)])
    return {"calls": calls}


@judge
def judge_narrow(given: Given, asked: Asked) -> Finding:
    told = ", ".join(f"{name} {value:g}" for name, value in given["filter"].items())
    findings = []
    for pair in asked["calls"]:
        cold, narrow = (replies.read(given["api"], answer).choices[0].text for answer in pair)
        findings.append(alike(f"{told} leaves more than the likeliest token", narrow, cold))
    return worst(findings)


check(
    "stated-narrow", ask_narrow, judge_narrow, needs=(),
    given={
        "api": API, "tokens": TOKENS,
        "filter": {
            "type": "object",
            "properties": {"top_p": {"type": "number"}, "top_k": {"type": "integer"}, "min_p": {"type": "number"}},
            "minProperties": 1,
            "additionalProperties": False,
            "description": "that leaves one token",
        },
        "prompts": {"type": "integer", "minimum": 1, "description": "each a greedy and a sampled text"},
    },
)  # fmt: skip


def ask_penalty(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A penalty is subtracted from the logits of tokens that came: at temperature 0 the choice shows it.

    Varies: prompts, until one place each tells it from no penalty and from one that counts otherwise.
    Compares: each chosen token with the one that is likeliest by the stated logprobs, less the penalty for each listed
        token that has come. Whether a prompt counts is left open, as the API leaves it.
    Bound: roundings of the claimed dtype; see `slack`.
    """
    api, dtype = given["api"], dtype_of(candidate)
    calls: list[tuple[str, Answer]] = []
    extra = {**neutral(candidate, api), **given["penalty"], **states(api, MOST)}
    while len(calls) < given["prompts"]:
        prompt = words(draw, 5)
        asked = greedy(api, prompt, given["tokens"], **extra)
        calls.append((prompt, candidate.hosted.ask(api, asked)))
        try:
            wrong, told = _penalised(given, calls, dtype)
        except Broken:
            break
        if wrong or all(told):
            break
    return {"calls": calls, "dtype": dtype}


def _penalised(given: Given, calls: Sequence[tuple[str, Answer]], dtype: str) -> tuple[list[Finding], list[int]]:
    """Choices that the penalty forbids; and how many places tell it from no penalty, and from one that counts a token
    once instead of each time, or each time instead of once."""
    due = [given["penalty"].get(f"{name}_penalty", 0.0) for name in ("frequency", "presence")]
    others = ([0.0, 0.0], due[::-1])
    wrong, told = list[Finding](), [0] * len(others)
    for prompt, answer in calls:
        came: dict[str, int] = {}
        for i, token in enumerate(stated(replies.read(given["api"], answer).choices[0])):
            clear = {text: logprob for text, logprob in token.top if not ambiguous(text)}
            if len(clear) == MOST and token.logprob is not None and not ambiguous(token.text):
                best = _leader(clear, came, due)
                leads = clear[best] - _cost(best, came, due)
                own = token.logprob - _cost(token.text, came, due)
                settled = best.strip() not in prompt
                for j, other in enumerate(others):
                    told[j] += settled and _leader(clear, came, other) != best
                if settled and own < leads - 4 * slack(dtype, min(own, leads)):
                    message = f"{token.text!r:.30} came at token {i}, where {best!r:.30} leads behind the penalty"
                    wrong.append(failed(message, expected=best, got=token.text))
            came[token.text] = came.get(token.text, 0) + 1
    return wrong, told


def _cost(text: str, came: Mapping[str, int], penalty: Sequence[float]) -> float:
    """What is subtracted of a token, by frequency and presence penalty."""
    return penalty[0] * came.get(text, 0) + penalty[1] * (text in came)


def _leader(logs: Mapping[str, float], came: Mapping[str, int], penalty: Sequence[float]) -> str:
    return max(logs, key=lambda text: logs[text] - _cost(text, came, penalty))


@judge
def judge_penalty(given: Given, asked: Asked) -> Finding:
    wrong, told = _penalised(given, asked["calls"], asked["dtype"])
    if wrong:
        return wrong[0]
    if not told[0]:
        return open_case("no token came again that a penalty would have kept away")
    if not told[1]:
        return open_case("no token came so often that it matters how often it is counted")
    return passed()


check(
    "stated-penalty", ask_penalty, judge_penalty, needs=("logprobs",),
    given={
        "api": API, "tokens": TOKENS,
        "penalty": {
            "type": "object",
            "properties": {"frequency_penalty": {"type": "number"}, "presence_penalty": {"type": "number"}},
            "minProperties": 1,
            "additionalProperties": False,
            "description": "that is asked for",
        },
        "prompts": {"type": "integer", "minimum": 1, "description": "that are tried until the penalty shows"},
    },
)  # fmt: skip
