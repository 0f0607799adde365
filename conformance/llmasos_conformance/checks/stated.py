"""What a hosted model states of its tokens.

The model is nobody's here, so nothing says what its probabilities should be. But they have to be probabilities, and the
same ones wherever the same place is asked about.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llmasos_conformance.checks import Asked, Given, check, replies
from llmasos_conformance.checks.replies import REPLACEMENT, Answer, Broken, Choice, Reply, Token, Unstated
from llmasos_conformance.checks.requests import (
    API,
    TIES,
    TOKENS,
    alike,
    certain,
    claims_at_least,
    greedy,
    judge,
    neutral,
    open_case,
    request,
    said,
    states,
    words,
)
from llmasos_conformance.numerics import UNIT_ROUNDOFF, worst
from llmasos_conformance.verdict import Finding, State, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw

Float64 = npt.NDArray[np.float64]

MOST = 5
"""Of the likeliest tokens as many as are asked for: no server offers fewer, and the API's completions no more."""
LISTED = MOST - 1
FLAT = 2.0**-12
"""What a stated logprob may be off by, beside the rounding of its dtype: a softmax in float32 over logits up to 2⁹, and
three decimals."""


def slack(dtype: str, logprob: float) -> float:
    """What a logprob may be off by where it is computed in float32 and written in the claimed dtype."""
    return FLAT + UNIT_ROUNDOFF[dtype] * abs(logprob)


def dtype_of(candidate: Candidate) -> str:
    return candidate.description.claims.dtype


def stated(choice: Choice) -> tuple[Token, ...]:
    """The tokens of a choice that was asked for them."""
    if choice.tokens is None:
        raise Unstated
    return choice.tokens


def ambiguous(text: str) -> bool:
    """Whether a token's text may stand for more than one token: a part of a character, or nothing."""
    return not text or REPLACEMENT in text or text.startswith("bytes:")


# ── form ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_form(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Logprobs have the form of the API: for each token its own, and as many of the likeliest as were asked for.

    Varies: the prompt; temperature 0 and 1.
    Compares: the members of each token with the API's description, and their number.
    Bound: none.
    """
    asked = request(given["api"], words(draw, 5), max_tokens=given["tokens"], **states(given["api"], given["count"]))
    return {"answers": [candidate.hosted.ask(given["api"], {**asked, "temperature": each}) for each in (0, 1)]}


@judge
def judge_form(given: Given, asked: Asked) -> Finding:
    return worst([_formed(given, replies.read(given["api"], answer)) for answer in asked["answers"]])


def _formed(given: Given, reply: Reply) -> Finding:
    """The form of one answer's logprobs."""
    tokens, text = reply.choices[0].tokens, reply.choices[0].text
    if not tokens and not text:  # it ended at once
        return passed()
    if tokens is None:
        return failed(Unstated().message)
    raw = reply.parts[0]["choices"][0]["logprobs"]
    findings = [_form(given["api"], raw)]
    if not tokens:
        findings.append(failed("no token is stated of a text that has some"))
    for i, token in enumerate(tokens):
        if token.logprob is None:
            findings.append(failed(f"token {i} has no logprob"))
        distinct = {text for text, _ in token.top}
        short = len(token.top) < given["count"] and not any(map(ambiguous, (*distinct, token.text)))
        if short or len(token.top) > given["count"] + 1:
            message = f"token {i} has {len(token.top)} of the likeliest, {given['count']} were asked for"
            findings.append(failed(message, expected=given["count"], got=len(token.top)))
    return worst(findings)


def _form(api: str, raw: Any) -> Finding:
    """Whether logprobs have the members of this endpoint."""
    names = ("content",) if api == "chat" else ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    lacking = [name for name in names if not isinstance(raw.get(name), list)]
    if lacking:
        return failed(f"logprobs lack {', '.join(lacking)}", expected=", ".join(names), got=", ".join(raw))
    if api == "completions" and len({len(raw[name]) for name in names}) != 1:
        return failed("the lists of logprobs have different lengths")
    if api == "completions" and None in raw["tokens"]:
        return failed("a token of logprobs has no text")
    if api == "chat":
        lists = [entry.get("top_logprobs", []) for entry in raw["content"]]
        if not all(isinstance(each, list) for each in lists):
            return failed("top_logprobs of an entry of logprobs is no list")
        entries = [*raw["content"], *(entry for each in lists for entry in each)]
        if any(entry.get("token") is None for entry in entries):
            return failed("an entry of logprobs has no token")
        if any("bytes" not in entry for entry in entries):
            return failed("an entry of logprobs has no bytes, which may be null")
    return passed()


COUNT = {"type": "integer", "minimum": 1, "maximum": MOST, "description": "of the likeliest tokens"}
check(
    "stated-form", ask_form, judge_form, needs=("logprobs",),
    given={"api": API, "tokens": TOKENS, "count": COUNT},
)  # fmt: skip


def ask_text(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The tokens that are stated, joined, are the text.

    Varies: the prompt, of words and of characters of several bytes.
    Compares: joined texts and joined bytes of the tokens with the text, as far as it is whole characters.
    Bound: none, they are equal or they are not.
    """
    api, prompts = given["api"], (words(draw, 5), *given["prompts"])
    extra = states(api, 1)
    return {"answers": [candidate.hosted.ask(api, greedy(api, each, given["tokens"], **extra)) for each in prompts]}


@judge
def judge_text(given: Given, asked: Asked) -> Finding:
    findings = []
    for answer in asked["answers"]:
        choice = replies.read(given["api"], answer).choices[0]
        tokens = stated(choice)
        joined = [_joined_bytes(tokens), _joined_texts(tokens)]
        for text, whole in filter(None, joined):
            due, got = certain(choice.text).lstrip(" "), certain(text).lstrip(" ")
            if choice.finish == "stop" or not whole:  # by a token that is no part of the text, or with a part left out
                due, got = (due, got[: len(due)]) if whole else (due[: len(got)], got)
            findings.append(alike("the joined tokens are another text", got, due))
    return worst(findings)


def _joined_bytes(tokens: Sequence[Token]) -> tuple[str, bool] | None:
    if not tokens or any(token.raw is None for token in tokens):
        return None
    return b"".join(token.raw or b"" for token in tokens).decode(errors="replace"), True


def _joined_texts(tokens: Sequence[Token]) -> tuple[str, bool]:
    """Texts up to the first that stands for a part of a character, and whether that is all of them."""
    for i, token in enumerate(tokens):
        if REPLACEMENT in token.text or token.text.startswith("bytes:"):
            return "".join(each.text for each in tokens[:i]), False
    return "".join(each.text for each in tokens), True


check(
    "stated-text", ask_text, judge_text, needs=("logprobs",),
    given={
        "api": API, "tokens": TOKENS,
        "prompts": {"type": "array", "items": {"type": "string"}, "description": "further prompts"},
    },
)  # fmt: skip


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_law(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What is stated are logarithms of probabilities: none above 0, all together no more than certain.

    Varies: prompts; temperature 0 and 1.
    Compares: stated logprobs with each other: their sum, the chosen token with the list, and at temperature 0 with the
        likeliest.
    Bound: roundings of the claimed dtype; see `slack`.
    """
    api = given["api"]
    extra = {**neutral(candidate, api), **states(api, MOST)}
    asked = [
        {**request(api, words(draw, 5), max_tokens=given["tokens"], **extra), "temperature": temperature}
        for temperature in (0, 1)
    ]
    return {"answers": [candidate.hosted.ask(api, each) for each in asked], "dtype": dtype_of(candidate)}


@judge
def judge_law(given: Given, asked: Asked) -> Finding:
    findings = []
    for temperature, answer in zip((0, 1), asked["answers"], strict=True):
        for i, token in enumerate(stated(replies.read(given["api"], answer).choices[0])):
            findings.append(_lawful(i, token, asked["dtype"], greedy=temperature == 0))
    return worst(findings) if findings else open_case("no token was stated")


def _lawful(i: int, token: Token, dtype: str, *, greedy: bool) -> Finding:
    """What is wrong with one token's logprobs."""
    if token.logprob is None:
        return failed(f"token {i} has no logprob")
    pairs = [(token.text, token.logprob), *token.top]
    for text, logprob in pairs:
        if logprob > slack(dtype, logprob):
            return failed(f"the logprob of {text!r:.30} at token {i} is {logprob:.6g}, above 0", got=logprob)
    numbers = [logprob for _, logprob in token.top]
    own = [logprob for text, logprob in token.top if text == token.text]
    error = 2 * slack(dtype, token.logprob)
    merged = ambiguous(token.text) or len(token.top) < MOST  # several tokens may stand there as one text
    if merged:
        pairs = pairs[1:]
    elif own and min(abs(logprob - token.logprob) for logprob in own) > error:
        message = f"{token.text!r:.30} at token {i} has the logprobs {token.logprob:.6g} and {own[0]:.6g}"
        return failed(message, expected=token.logprob, got=own[0])
    elif numbers and not own and token.logprob > min(numbers) + error:
        message = f"{token.text!r:.30} at token {i} is likelier than one of the likeliest, and not among them"
        return failed(message, expected=f"at most {min(numbers):.6g}", got=token.logprob)
    mass = sum(math.exp(logprob - slack(dtype, logprob)) for _, logprob in _distinct(pairs))
    if mass > 1:
        return failed(f"the probabilities at token {i} add up to {mass:.6g} and more", expected="at most 1", got=mass)
    if twice := _twice(token.top):
        return failed(f"{twice!r:.30} stands twice among the likeliest at token {i}")
    if greedy and numbers and token.logprob < max(numbers) - error:
        message = f"temperature 0 chose {token.text!r:.30} at token {i}, which is not the likeliest"
        return failed(message, expected=max(numbers), got=token.logprob)
    return passed()


def _distinct(pairs: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Each token once, as far as texts and numbers tell them apart."""
    return list(dict.fromkeys(pairs)) if any(ambiguous(text) for text, _ in pairs) else list(dict(pairs).items())


def _twice(top: Sequence[tuple[str, float]]) -> str:
    """A token that stands twice: two tokens may have one text, but hardly one text and one probability."""
    seen = [pair for pair in top if not ambiguous(pair[0])]
    return next((pair[0] for pair in seen if seen.count(pair) > 1), "")


check("stated-law", ask_law, judge_law, needs=("logprobs",), given={"api": API, "tokens": TOKENS})


@judge
def judge_order(given: Given, asked: Asked) -> Finding:
    """Whether the likeliest come likeliest first, where nothing but the model chose among them."""
    for i, token in enumerate(stated(replies.read(given["api"], asked["answers"][0]).choices[0])):
        numbers = [logprob for _, logprob in token.top]
        for one, other in itertools.pairwise(numbers):
            if other > one + 2 * slack(asked["dtype"], one):
                return failed(f"the likeliest at token {i} are not in order: {one:.6g} before {other:.6g}")
    return passed()


check("stated-order", ask_law, judge_order, needs=("logprobs",), given={"api": API, "tokens": TOKENS})


def ask_raw(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What is stated is the model's own law, whatever temperature and top_p make of it.

    Varies: prompts, which end with a word or within one, until `VOTES` places count.
    Compares: what is stated with an option and without it, where all tokens before are the same: the first place, and
        those behind it as far as texts agree. For a temperature that is the difference of two logprobs, for top_p the
        largest one. It is held to whichever is nearer, the model's own or the one that the option makes. Places count
        where the two are farther apart than `APART` and than four times what the same request, asked twice, differs by.
    Bound: none, a number is nearer to one of two that are `APART`.
    """
    api, calls = given["api"], list[list[Answer]]()
    while len(calls) < given["prompts"]:
        prompt = words(draw, 5)
        if len(calls) % 2:
            prompt = prompt[: draw.integer(len(prompt) // 2, len(prompt) - 1)]
        asked = request(api, prompt, max_tokens=given["tokens"], temperature=1, **states(api, MOST))
        plain = asked if given["tokens"] == 1 else {**asked, "temperature": 0}
        calls.append([candidate.hosted.ask(api, each) for each in (plain, plain, {**asked, **given["options"]})])
        try:
            if len(_votes(given, calls)) >= VOTES:
                break
        except Broken:
            break
    return {"calls": calls, "repeats": claims_at_least(candidate, "D1")}


def _votes(given: Given, calls: Sequence[Sequence[Answer]]) -> list[bool]:
    """Of each place that counts, whether what is stated with the option is nearer to what the option makes."""
    seen = []
    for answers in calls:
        for tokens in zip(*(stated(replies.read(given["api"], each).choices[0]) for each in answers), strict=False):
            if (numbers := _numbers(tokens, given["options"])) is not None:
                seen.append(numbers)
            texts = {token.text for token in tokens}
            if len(texts) > 1 or any(map(ambiguous, texts)):
                break
    noise = max((abs(again - own) for own, again, _, _ in seen), default=0.0)
    return [
        abs(got - made) < abs(got - own)
        for own, _, made, got in seen
        if abs(own - made) >= max(APART, 4 * noise)
    ]  # fmt: skip


@judge
def judge_raw(given: Given, asked: Asked) -> Finding:
    told = ", ".join(f"{name} {value}" for name, value in given["options"].items())
    votes = _votes(given, asked["calls"])
    if not votes:
        message = f"nowhere is the model's own law far enough from another to say whether {told} changes it"
        return open_case(message) if asked["repeats"] else Finding(state=State.NOT_APPLICABLE, message=message)
    if sum(votes) * 2 > len(votes):
        message = f"{told} changes the logprobs that are stated, at {sum(votes)} of {len(votes)} places"
        return failed(message, expected="the model's own", got=f"those behind {told}")
    return passed()


VOTES = 6
"""Places that are enough to tell the model's own law from another."""
APART = 0.5
"""How far a processed number has to lie from the model's own, in nats, for the nearer of the two to mean something:
half of it is as much as half precision may be off by twice."""


def _numbers(tokens: Sequence[Token], options: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Of one place a number that is the model's own, the same asked again, what an option makes of it, and what was
    stated with the option; None where the tokens have too little in common."""
    laws_of = [dict(token.top) for token in tokens]
    common = [text for text in laws_of[0] if all(text in law for law in laws_of) and not ambiguous(text)]
    if not common:
        return None
    one = max(common, key=lambda text: laws_of[0][text])
    if "temperature" in options:
        other = min(common, key=lambda text: laws_of[0][text])
        own, again, got = (law[one] - law[other] for law in laws_of)
        return own, again, own / options["temperature"], got
    own, again, got = (law[one] for law in laws_of)
    kept = _kept(sorted(map(math.exp, laws_of[0].values()), reverse=True), options["top_p"])
    return own, again, own - math.log(kept), got


def _kept(masses: Sequence[float], top_p: float) -> float:
    """Mass of the smallest set of likeliest tokens that reaches top_p, as far as they are known."""
    kept = 0.0
    for mass in masses:
        kept += mass
        if kept >= top_p:
            break
    return min(kept, 1.0)


OPTIONS = {
    "type": "object",
    "properties": {
        "temperature": {"type": "number", "minimum": 0.25, "maximum": 2},
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    },
    "minProperties": 1, "maxProperties": 1,
    "additionalProperties": False,
    "description": "one option that may be set",
}  # fmt: skip
check(
    "stated-raw", ask_raw, judge_raw, needs=("logprobs",),
    given={
        "api": API, "options": OPTIONS,
        "tokens": {**TOKENS, "default": 1, "description": "the first alone, or more along the likeliest text"},
        "prompts": {"type": "integer", "minimum": 1, "description": "that are tried, each with the option and without"},
    },
)  # fmt: skip


# ── echo ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_echo(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """An echo puts the prompt in front of the text, to the letter.

    Varies: the prompt, of words and of characters of several bytes.
    Compares: the text with the prompt and the text of the same request without an echo.
    Bound: none, they are equal or they are not.
    """
    prompts = (words(draw, 5), *given["prompts"])
    asked = [greedy("completions", each, 2, echo=True) for each in prompts]
    return {"prompts": prompts, "answers": [candidate.hosted.ask("completions", each) for each in asked]}


@judge
def judge_echo(given: Given, asked: Asked) -> Finding:
    findings = []
    for prompt, answer in zip(asked["prompts"], asked["answers"], strict=True):
        text = replies.read("completions", answer).choices[0].text
        findings.append(alike("the echo is not the prompt", text[: len(prompt)], prompt))
    return worst(findings)


PROMPTS = {"type": "array", "items": {"type": "string"}, "description": "further prompts"}
check("stated-echo", ask_echo, judge_echo, needs=("completions", "echo"), given={"prompts": PROMPTS})


def ask_scored(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Of a prompt that is echoed each token has its logprob, its own; the first one may have none.

    Varies: the prompt, and what the model says behind it; several, until one's text is cut into the same tokens where
        it is a prompt.
    Compares: logprobs of a text as it was generated with those of the same text as a prompt. Each is held to its own
        place or to one beside it, whichever is nearer, and that is to be near.
    Bound: none between places, one is nearer; a nat on average for how near.
    """
    extra = states("completions", 1)
    pairs: list[tuple[Answer, Answer]] = []
    while len(pairs) < given["prompts"] and not (pairs and _is_comparable(*pairs[-1])):
        prompt = words(draw, 5).rstrip(",")  # many tokenizers put a mark and the blank behind it together
        made = candidate.hosted.ask("completions", greedy("completions", prompt, given["tokens"], **extra))
        asked = greedy("completions", prompt + said("completions", made), 1, echo=True, **extra)
        pairs.append((made, candidate.hosted.ask("completions", asked)))
    return {"pairs": pairs, "dtype": dtype_of(candidate)}


def _is_comparable(made: Answer, scored: Answer) -> bool:
    """Whether there is enough to compare, or something that cannot be read and is judged."""
    try:
        texts = [stated(replies.read("completions", answer).choices[0]) for answer in (scored, made)]
    except Broken:
        return True
    return _matched(*texts)[1] >= LEAST


@judge
def judge_scored(given: Given, asked: Asked) -> Finding:
    findings = [_scored(made, scored, asked["dtype"]) for made, scored in asked["pairs"]]
    if (bad := worst(findings)).state is not State.PASS:
        return bad
    made, scored = asked["pairs"][-1]
    return findings[-1] if _is_comparable(made, scored) else open_case("no text is cut alike where it is a prompt")


def _scored(of_text: Answer, of_prompt: Answer, dtype: str) -> Finding:
    made, reply = (replies.read("completions", each) for each in (of_text, of_prompt))
    new, tokens = stated(made.choices[0]), reply.choices[0].tokens
    if tokens is None:
        raise Broken("logprobs come without an echo, and with it none")
    if reply.usage is not None and not 0 <= len(tokens) - reply.usage.prompt <= 1:
        message = f"{len(tokens)} tokens are stated of a prompt of {reply.usage.prompt} and one more"
        return failed(message, expected=reply.usage.prompt + 1, got=len(tokens))
    numbers = [token.logprob for token in tokens]
    for i, number in enumerate(numbers):
        if (number is None and i) or (number is not None and number > slack(dtype, number)):
            return failed(f"token {i} of the echo has the logprob {number}", got=number)
    return _at_home(tokens, new)


LEAST = 3
"""Tokens that have to be cut alike in text and prompt, or the two are not compared."""


STRAY = 2 * TIES["bfloat16"]
"""How far a token's logprob in an echo may be, on average and in nats, from that of the same token as it was generated:
twice what decides between tokens in the coarsest dtype that can be claimed. Numbers of another law are ten away."""


def _matched(tokens: Sequence[Token], new: Sequence[Token]) -> tuple[int, int]:
    """Where in an echo the generated tokens stand, and how many of them are cut alike there."""
    best = (0, 0)
    for start in range(1, len(tokens)):
        length = 0
        while length < min(len(new), len(tokens) - start) and tokens[start + length].text == new[length].text:
            length += 1
        best = max(best, (length, start))
    return best[1], best[0]


def _at_home(tokens: Sequence[Token], new: Sequence[Token]) -> Finding:
    """Whether the numbers of an echo fit their own places better than the places before or behind."""
    start, length = _matched(tokens, new)
    if length < LEAST:
        return passed()  # the text is cut into other tokens where it is a prompt; another is asked for
    distances = []
    for shift in (0, -1, 1):
        places = [(i, start + i + shift) for i in range(length) if start + i + shift < len(tokens)]
        pairs = [(new[i].logprob, tokens[place].logprob) for i, place in places]
        told = [abs(own - there) for own, there in pairs if own is not None and there is not None]
        distances.append(sum(told) / len(told) if told else math.inf)
    here, before, behind = distances
    if min(before, behind) < here:
        message = "logprobs of an echo fit the tokens beside their own better"
        return failed(message, expected=f"{min(before, behind):.3g} or less", got=f"{here:.3g}")
    if here > STRAY:
        message = f"logprobs of an echo are {here:.3g} nats away from those of the same tokens as they were generated"
        return failed(message, expected=f"{STRAY:g} or less", got=f"{here:.3g}")
    return passed(distance=here)


check(
    "stated-scored", ask_scored, judge_scored, needs=("completions", "echo", "logprobs"),
    given={
        "tokens": TOKENS,
        "prompts": {"type": "integer", "minimum": 1, "description": "that are tried for a text cut alike as a prompt"},
    },
)  # fmt: skip
