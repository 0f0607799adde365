"""A hosted model behind an API like OpenAI's: what it answers, where it stops, what it counts, and how it streams.

The model is nobody's here. Every check rests on relations among the server's own answers: a shorter text is the
beginning of a longer one, a stream says what no stream says, a stop string is a piece of what was said before.

A server may claim D0: then nothing is repeated, and checks that compare two answers do not apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmasos_conformance.checks import Asked, Given, check, replies
from llmasos_conformance.checks.replies import REPLACEMENT, Answer, Broken, Choice, Reply
from llmasos_conformance.checks.requests import (
    API,
    FOREIGN,
    NEVER,
    PROMPT,
    TIES,
    TOKENS,
    WORDS,
    alike,
    certain,
    claims_at_least,
    finish,
    greedy,
    head,
    judge,
    neutral,
    open_case,
    request,
    said,
    stating,
    unrepeatable,
    words,
)
from llmasos_conformance.inputs import pick
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw

# ── what is accepted ────────────────────────────────────────────────────────────────────────────────────────────────


def ask_accepted(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What a server accepts, it is held to: a parameter that is taken belongs to a capability that is declared.

    Varies: nothing.
    Compares: what is accepted with what is declared. A parameter that the API does not have counts where a wrong value
        of it is refused, since many servers accept any name.
    Bound: none, it is declared or it is not.
    """
    api, plain = given["api"], request(given["api"], "One, two, three,", max_tokens=1)
    hosted = candidate.hosted
    own = {name: hosted.ask(api, {**plain, **extra}) for name, extra in given["own"].items()}
    further = {
        name: [hosted.ask(api, {**plain, **extra}) for extra in (each["right"], each["wrong"])]
        for name, each in given["further"].items()
    }
    return {"declared": sorted(candidate.description.capabilities), "own": own, "further": further}


@judge
def judge_accepted(given: Given, asked: Asked) -> Finding:
    taken = [name for name, answer in asked["own"].items() if replies.accepted(answer)]
    taken += [
        name for name, (right, wrong) in asked["further"].items()
        if replies.accepted(right) and not replies.accepted(wrong)
    ]  # fmt: skip
    hidden = sorted(set(taken) - set(asked["declared"]))
    if hidden:
        message = f"{', '.join(hidden)} is accepted and not declared; what is accepted is asked about in full"
        return failed(message, expected="declared, or refused", got="accepted")
    return passed()


PARAMETERS = {
    "type": "object", "additionalProperties": {"type": "object"},
    "description": "capability -> parameters of the API that belong to it",
}  # fmt: skip
FURTHER = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {
            "right": {"type": "object", "description": "parameters that are right"},
            "wrong": {"type": "object", "description": "the same with a wrong value"},
        },
        "required": ["right", "wrong"],
        "additionalProperties": False,
    },
    "description": "capability -> parameters that the API does not have",
}
check(
    "hosted-accepted", ask_accepted, judge_accepted, needs=(), given={"api": API, "own": PARAMETERS, "further": FURTHER}
)


# ── shape ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_shape(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """An answer has the members of the API, each of its type.

    Varies: prompts.
    Compares: two answers with the API's description; their ids differ.
    Bound: none.
    """
    asked = [greedy(given["api"], words(draw, 5), given["tokens"]) for _ in range(2)]
    return {"answers": [candidate.hosted.ask(given["api"], each) for each in asked]}


@judge
def judge_shape(given: Given, asked: Asked) -> Finding:
    api, findings = given["api"], []
    kind = "chat.completion" if api == "chat" else "text_completion"
    for answer in asked["answers"]:
        reply = replies.read(api, answer)
        if answer["type"] != replies.JSON:
            findings.append(failed(f"the content type is {answer['type']!r}, {replies.JSON} was due"))
        findings += [head(reply.parts[0], kind), finish(reply.choices)]
        if api == "chat" and (role := reply.parts[0]["choices"][0]["message"].get("role")) != "assistant":
            findings.append(failed(f"message.role is {role!r:.40}, 'assistant' was due"))
        if len(reply.choices) != 1:
            findings.append(failed(f"{len(reply.choices)} choices came, one was due"))
    ids = [replies.read(api, answer).parts[0].get("id") for answer in asked["answers"]]
    if ids[0] == ids[1]:
        findings.append(failed(f"two answers have the id {ids[0]!r:.60}"))
    return worst(findings)


check("hosted-shape", ask_shape, judge_shape, needs=(), given={"api": API, "tokens": TOKENS})


def ask_continues(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The text is the continuation alone, without the prompt.

    Varies: the prompt, of so many words that no single token says it.
    Compares: the beginning of the text with the prompt.
    Bound: none.
    """
    prompt = words(draw, 8)
    return {"prompt": prompt, "answer": candidate.hosted.ask(given["api"], greedy(given["api"], prompt, 1))}


@judge
def judge_continues(given: Given, asked: Asked) -> Finding:
    text = replies.read(given["api"], asked["answer"]).choices[0].text
    if asked["prompt"] in text:
        return failed(f"the prompt stands in the text: {text[:80]!r}", expected="one token", got=text[:200])
    return passed()


check("hosted-continues", ask_continues, judge_continues, needs=(), given={"api": API})


# ── how many tokens, and why it ends ────────────────────────────────────────────────────────────────────────────────


def ask_limits(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """max_tokens is the largest number of new tokens, and a text that it cuts ends with length.

    Varies: the prompt; behind some the model says characters of several bytes, within which a limit may lie.
    Compares: what limits give with what is counted, with the tokens that are stated, and with the longest text, of
        which each shorter one is the beginning.
    Bound: none, they are equal or they are not.
    """
    api, prompt = given["api"], words(draw, 5) if given["prompt"] == "words" else pick(draw, FOREIGN)
    extra = stating(candidate, api)
    answers = [candidate.hosted.ask(api, greedy(api, prompt, limit, **extra)) for limit in given["limits"]]
    return {"answers": answers, "repeats": claims_at_least(candidate, "D1")}


@judge
def judge_limits(given: Given, asked: Asked) -> Finding:
    read = [replies.read(given["api"], answer) for answer in asked["answers"]]
    findings = [_within(limit, reply) for limit, reply in zip(given["limits"], read, strict=True)]
    if asked["repeats"]:
        whole = read[-1].choices[0].text
        for limit, reply in zip(given["limits"][:-1], read[:-1], strict=True):
            begun = certain(reply.choices[0].text)
            what = f"with max_tokens {limit} the text is not the beginning of a longer one"
            findings.append(alike(what, begun, whole[: len(begun)]))
    return worst(findings)


def _within(limit: int, reply: Reply) -> Finding:
    choice, usage = reply.choices[0], reply.usage
    if usage is not None and usage.completion > limit:
        return failed(f"{usage.completion} tokens came with max_tokens {limit}", expected=limit, got=usage.completion)
    if choice.tokens is not None and len(choice.tokens) > limit:
        return failed(
            f"{len(choice.tokens)} tokens are stated with max_tokens {limit}", expected=limit, got=len(choice.tokens)
        )
    return passed()


LIMITS = {
    "type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2,
    "description": "values of max_tokens, the largest one last",
}  # fmt: skip
LIMITED = {"api": API, "limits": LIMITS, "prompt": PROMPT}
check("hosted-limits", ask_limits, judge_limits, needs=(), given=LIMITED)


@judge
def judge_ending(given: Given, asked: Asked) -> Finding:
    """Why each text ended, by the count of its tokens."""
    read = [replies.read(given["api"], answer) for answer in asked["answers"]]
    longest = read[-1].usage
    findings = []
    for limit, reply in zip(given["limits"], read, strict=True):
        finish, usage = reply.choices[0].finish, reply.usage
        if usage is None or longest is None:
            raise Broken("the answer has no usage")
        if usage.completion < limit and finish == "length":
            findings.append(failed(f"{usage.completion} of {limit} tokens came, and finish_reason is 'length'"))
        if asked["repeats"] and longest.completion > limit and finish != "length":
            findings.append(failed(f"max_tokens {limit} cut the text, and finish_reason is {finish!r:.40}"))
    return worst(findings) if findings else passed()


check("hosted-ending", ask_limits, judge_ending, needs=(), given=LIMITED)


def ask_none(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """max_tokens 0 gives nothing, or is refused.

    Varies: the prompt.
    Compares: status, text and finish reason with those that are due.
    Bound: none.
    """
    return {"answer": candidate.hosted.ask(given["api"], greedy(given["api"], words(draw, 5), 0))}


@judge
def judge_none(given: Given, asked: Asked) -> Finding:
    if replies.refused(asked["answer"]):
        return passed()
    reply = replies.read(given["api"], asked["answer"])
    choice = reply.choices[0]
    if choice.text or (reply.usage is not None and reply.usage.completion):
        return failed(f"max_tokens 0 gave {choice.text[:60]!r}", expected="nothing", got=choice.text[:200])
    if choice.finish != "length":
        return failed(f"max_tokens 0 ended with {choice.finish!r:.40}", expected="length", got=choice.finish)
    return passed()


check("hosted-none", ask_none, judge_none, needs=(), given={"api": API})


def ask_repeats(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """With temperature 0 the same request gives the same text again, whatever the seed.

    Varies: the prompt, and seeds where they are declared.
    Compares: texts and finish reasons of equal requests.
    Bound: none, they are equal or they are not.
    """
    if excused := unrepeatable(candidate):
        return excused
    api, prompt = given["api"], words(draw, 5)
    asked = greedy(api, prompt, given["tokens"])
    seeded = {**asked, **candidate.drawn_seed(draw)}
    return {"answers": [candidate.hosted.ask(api, each) for each in (asked, asked, seeded)]}


@judge
def judge_repeats(given: Given, asked: Asked) -> Finding:
    first, *others = [replies.read(given["api"], answer).choices[0] for answer in asked["answers"]]
    findings = [alike("the same request gave another text", other.text, first.text) for other in others]
    return worst(findings)


check("hosted-repeats", ask_repeats, judge_repeats, needs=(), given={"api": API, "tokens": TOKENS})


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


def ask_wrong(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A wrong request is refused as the asker's mistake, with a reason; the server goes on.

    Varies: the prompt.
    Compares: status and body of each wrong request with what an error of the API is.
    Bound: none.
    """
    api = given["api"]
    asked = request(api, words(draw, 5), max_tokens=1)
    answers = []
    for wrong in given["wrong"]:
        body = {**asked, **wrong.get("put", {})}
        answers.append(candidate.hosted.ask(api, {n: v for n, v in body.items() if n not in wrong.get("drop", ())}))
    return {"answers": answers, "after": candidate.hosted.ask(api, asked)}


def _named(wrong: Mapping[str, Any]) -> str:
    put = ", ".join(f"{name} {value!r:.40}" for name, value in wrong.get("put", {}).items())
    return put or f"no {', '.join(wrong.get('drop', ()))}"


@judge
def judge_wrong(given: Given, asked: Asked) -> Finding:
    findings = []
    for wrong, answer in zip(given["wrong"], asked["answers"], strict=True):
        what = f"a request with {_named(wrong)}"
        if not replies.refused(answer):
            findings.append(failed(f"{what} was answered with status {answer['status']}", expected="4xx"))
        elif not replies.complaint(answer):
            findings.append(failed(f"{what} was refused without a reason that can be read: {answer['body']!r:.80}"))
    replies.read(given["api"], asked["after"])
    return worst(findings) if findings else passed()


WRONG = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "put": {"type": "object", "description": "parameters with wrong values"},
            "drop": {"type": "array", "items": {"type": "string"}, "description": "parameters that are left out"},
        },
        "additionalProperties": False,
    },
    "minItems": 1,
    "description": "what is wrong about each request",
}
check("hosted-wrong", ask_wrong, judge_wrong, needs=(), given={"api": API, "wrong": WRONG})


@judge
def judge_form(given: Given, asked: Asked) -> Finding:
    """Whether errors have the form that clients of the API read."""
    for wrong, answer in zip(given["wrong"], asked["answers"], strict=True):
        if not replies.refused(answer):
            return failed(f"a request with {_named(wrong)} was answered with status {answer['status']}")
        try:
            error = replies._loaded(answer["body"], "the body").get("error")
            message = error.get("message")
        except (AttributeError, Broken):
            message = None
        if not isinstance(message, str) or not message:
            got = answer["body"][:200]
            return failed(f"an error is {got[:80]!r}, error.message was due", expected="error.message", got=got)
    return passed()


check("hosted-error-form", ask_wrong, judge_form, needs=(), given={"api": API, "wrong": WRONG})


def ask_stranger(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A model that the server does not have is refused, or at least not impersonated.

    Varies: the name.
    Compares: the name under which it is answered with the one that was asked for.
    Bound: none, they are equal or they are not.
    """
    name = f"no-such-model-{draw.integer(10**6, 10**7 - 1)}"
    asked = request(given["api"], "One, two, three,", max_tokens=1, model=name)
    return {"name": name, "answer": candidate.hosted.ask(given["api"], asked)}


@judge
def judge_stranger(given: Given, asked: Asked) -> Finding:
    if replies.refused(asked["answer"]):
        return passed()
    named = replies.read(given["api"], asked["answer"]).parts[0].get("model")
    if named == asked["name"]:
        return failed(f"a model answers as {named!r}, which nobody has", expected="4xx, or its own name", got=named)
    return passed()


check("hosted-stranger", ask_stranger, judge_stranger, needs=(), given={"api": API})


def ask_too_long(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A prompt of more tokens than the context is refused, and never cut in silence.

    Varies: the words.
    Compares: what came with the number of words, of which no tokenizer makes half as many tokens. Prompts become longer
        until one is refused or cut, so that no server reads much more than its context; one that has read the longest
        has not cut it.
    Bound: none, a prompt counts as cut where usage names fewer tokens than half of its words.
    """
    line = " ".join(pick(draw, WORDS) for _ in range(64)) + " "
    answers = list[Answer]()
    for count in given["words"]:
        answers.append(candidate.hosted.ask(given["api"], greedy(given["api"], line * (count // 64), 1)))
        if not _was_read(given["api"], answers[-1], count):
            break
    return {"answers": answers}


def _was_read(api: str, answer: Answer, count: int) -> bool:
    """Whether a prompt of so many words was read to its end, by the tokens that are counted."""
    try:
        usage = replies.read(api, answer).usage
    except Broken:
        return False
    return usage is not None and usage.prompt >= count // 2


@judge
def judge_too_long(given: Given, asked: Asked) -> Finding:
    count, answer = given["words"][len(asked["answers"]) - 1], asked["answers"][-1]
    if replies.refused(answer) or _was_read(given["api"], answer, count):
        return passed()
    reply = replies.read(given["api"], answer)
    if reply.usage is None:
        raise Broken("the answer has no usage")
    message = f"of a prompt of {count} words {reply.usage.prompt} tokens were read, and the rest was cut"
    return failed(message, expected="4xx", got=answer["status"])


check(
    "hosted-too-long", ask_too_long, judge_too_long, needs=(),
    given={
        "api": API,
        "words": {
            "type": "array", "items": {"type": "integer", "minimum": 64}, "minItems": 1,
            "description": "of the prompts, each more than the one before",
        },
    },
)  # fmt: skip


# ── stop strings ────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_stop(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A stop string ends the text before it, wherever the borders of tokens are.

    Varies: prompts until one leads to a text; where in it the stop string begins, and how long it is.
    Compares: the text with the one without stop strings, cut before the first place where one of them stands.
    Bound: none, they are equal or they are not.
    """
    if excused := unrepeatable(candidate):
        return excused
    api = given["api"]
    for _ in range(given["prompts"]):
        prompt = words(draw, 5)
        whole = candidate.hosted.ask(api, greedy(api, prompt, given["tokens"]))
        stops = _stops(draw, certain(said(api, whole)), prompt, given["kind"])
        if stops:
            stop = stops[0] if given["kind"] == "text" else stops
            asked = greedy(api, prompt, given["tokens"], stop=stop)
            if given["stream"]:
                asked["stream"] = True
            return {"whole": whole, "stops": stops, "answer": candidate.hosted.ask(api, asked)}
    return {"whole": whole, "stops": []}


def _stops(draw: Draw, text: str, prompt: str, kind: str) -> list[str]:
    """Stop strings out of a text; none where the text is too short for them."""
    if len(text) < 8 or REPLACEMENT in text:
        return []
    if kind == "prompt":
        strangers = [word for word in prompt.split(", ") if word not in text]
        return strangers[:1]
    at = draw.integer(2, len(text) - 4)
    piece = text[at : at + draw.integer(1, min(12, len(text) - at - 1))]
    if kind == "wide":
        piece = text[2 : 2 + draw.integer(4, 12)] if len(text) < 24 else text[at // 2 : at // 2 + draw.integer(8, 12)]
    if kind == "long":
        piece = text[2 : 2 + max(4, len(text) - 4)]
    if kind == "four":
        return [NEVER + str(i) for i in range(3)] + [piece]
    if kind == "close":  # many a token holds several of them, and the first of these stands last in the list
        return [*dict.fromkeys(reversed(text[at : at + 4]))]
    if kind == "two":  # the second stands first in the text
        return [text[len(text) // 2 : len(text) // 2 + 2], text[2:4]]
    return [piece]


@judge
def judge_stop(given: Given, asked: Asked) -> Finding:
    if not asked["stops"]:
        return open_case("no prompt led to a text that is long enough for a stop string")
    whole = replies.read(given["api"], asked["whole"]).choices[0]
    choice = replies.read(given["api"], asked["answer"], stream=given["stream"]).choices[0]
    places = [at for at in (whole.text.find(stop) for stop in asked["stops"]) if at >= 0]
    due = whole.text[: min(places)] if places else whole.text
    findings = [alike(f"with stop {asked['stops']!r:.80}", choice.text, due)]
    reason = "stop" if places else whole.finish
    if choice.finish != reason:
        findings.append(failed(f"finish_reason is {choice.finish!r:.40}, {reason!r} was due"))
    return worst(findings)


check(
    "hosted-stop", ask_stop, judge_stop, needs=("stop",),
    given={
        "api": API, "tokens": TOKENS,
        "kind": {
            "enum": ["text", "list", "wide", "four", "two", "close", "long", "prompt"],
            "description": "one as a text or in a list; one of so many characters that a token ends in it; behind "
            "three that never come; two of which the second comes first; four characters that stand side by side, the "
            "last one first; one as long as the text; one that stands in the prompt alone",
        },
        "prompts": {"type": "integer", "minimum": 1, "description": "that are tried for a text of some length"},
        "stream": {"type": "boolean", "default": False, "description": "asked for as a stream"},
    },
)  # fmt: skip


def ask_stop_absent(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """No text holds a stop string, also where no answer is repeated.

    Varies: the prompt.
    Compares: texts with the stop strings of their request, which are frequent letters.
    Bound: none, they stand there or they do not.
    """
    api = given["api"]
    asked = [
        request(api, words(draw, 5), max_tokens=given["tokens"], temperature=temperature, stop=given["stop"])
        for temperature in (0, 1)
    ]
    return {"answers": [candidate.hosted.ask(api, each) for each in asked]}


@judge
def judge_stop_absent(given: Given, asked: Asked) -> Finding:
    for answer in asked["answers"]:
        text = replies.read(given["api"], answer).choices[0].text
        for stop in given["stop"]:
            if stop in text:
                return failed(f"the stop string {stop!r} stands in {text[:80]!r}", got=text[:200])
    return passed()


check(
    "hosted-stop-absent", ask_stop_absent, judge_stop_absent, needs=("stop",),
    given={
        "api": API, "tokens": TOKENS,
        "stop": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "stop strings"},
    },
)  # fmt: skip


# ── counts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_usage(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Counts add up, and agree with the limit, with the tokens that are stated and with each other.

    Varies: the prompt.
    Compares: counts of a request, of the same with half of the tokens, and of one whose prompt is twice as long.
    Bound: none.
    """
    api, prompt = given["api"], words(draw, 5)
    extra = stating(candidate, api)
    asked = [
        greedy(api, prompt, given["tokens"], **extra),
        greedy(api, prompt, given["tokens"] // 2, **extra),
        greedy(api, f"{prompt} {words(draw, 5)}", given["tokens"], **extra),
    ]
    return {"answers": [candidate.hosted.ask(api, each) for each in asked]}


@judge
def judge_usage(given: Given, asked: Asked) -> Finding:
    read = [replies.read(given["api"], answer) for answer in asked["answers"]]
    limits = (given["tokens"], given["tokens"] // 2, given["tokens"])
    findings = [_counted(reply, limit) for reply, limit in zip(read, limits, strict=True)]
    usages = [reply.usage for reply in read if reply.usage is not None]
    if len(usages) == 3:
        if usages[0].prompt != usages[1].prompt:
            message = f"one prompt has {usages[0].prompt} and {usages[1].prompt} tokens"
            findings.append(failed(message, expected=usages[0].prompt, got=usages[1].prompt))
        if usages[2].prompt < usages[0].prompt + 5:
            message = f"a prompt of five words more has {usages[2].prompt} tokens, the shorter {usages[0].prompt}"
            findings.append(failed(message, expected=f"at least {usages[0].prompt + 5}", got=usages[2].prompt))
    return worst(findings)


def _counted(reply: Reply, limit: int) -> Finding:
    """The counts of one answer."""
    usage, choice = reply.usage, reply.choices[0]
    if usage is None:
        return failed("the answer has no usage")
    if usage.total != usage.prompt + usage.completion:
        return failed(f"{usage.prompt} and {usage.completion} tokens are {usage.total} in all")
    if choice.finish == "length" and usage.completion != limit:
        message = f"{usage.completion} tokens are counted where max_tokens {limit} ended the text"
        return failed(message, expected=limit, got=usage.completion)
    if usage.completion > limit:
        return failed(f"{usage.completion} tokens are counted with max_tokens {limit}")
    if choice.tokens is not None:
        ended = choice.finish == "stop"  # by a token that need not be stated
        shown = len(choice.tokens)
        if not shown <= usage.completion <= shown + ended:
            return failed(f"{usage.completion} tokens are counted, {shown} are stated", expected=shown)
    return passed()


check("hosted-usage", ask_usage, judge_usage, needs=(), given={"api": API, "tokens": TOKENS})


def ask_choices(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """n gives n continuations, counted together.

    Varies: the prompt.
    Compares: number and places of the choices with n, and their tokens with usage.
    Bound: none, they are equal or they are not.
    """
    api, prompt = given["api"], words(draw, 5)
    asked = request(api, prompt, max_tokens=given["tokens"], temperature=1, n=given["n"], **candidate.drawn_seed(draw))
    single = request(api, prompt, max_tokens=1, temperature=1)
    return {"answer": candidate.hosted.ask(api, asked), "single": candidate.hosted.ask(api, single)}


@judge
def judge_choices(given: Given, asked: Asked) -> Finding:
    reply, single = (replies.read(given["api"], asked[name]) for name in ("answer", "single"))
    if len(reply.choices) != given["n"]:
        message = f"{len(reply.choices)} choices came of n {given['n']}"
        return failed(message, expected=given["n"], got=len(reply.choices))
    if reply.usage is None or single.usage is None:
        raise Broken("the answer has no usage")
    full = sum(given["tokens"] for choice in reply.choices if choice.finish == "length")
    ended = sum(1 for choice in reply.choices if choice.finish != "length")
    if not full <= reply.usage.completion <= full + ended * given["tokens"]:
        message = f"{reply.usage.completion} tokens are counted, {full} of them by the choices that max_tokens ended"
        return failed(message, expected=f"{full} or more", got=reply.usage.completion)
    if reply.usage.prompt != single.usage.prompt:
        message = f"the prompt has {reply.usage.prompt} tokens with n {given['n']}, {single.usage.prompt} without"
        return failed(message, expected=single.usage.prompt, got=reply.usage.prompt)
    return passed()


check(
    "hosted-choices", ask_choices, judge_choices, needs=("choices",),
    given={"api": API, "tokens": TOKENS, "n": {"type": "integer", "minimum": 2, "description": "continuations"}},
)  # fmt: skip


# ── independence ────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_apart(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """An answer does not depend on what was asked before it.

    Varies: prompts; what is asked between: another prompt, one that begins alike, a refused request, a sampled one, a
        stream.
    Compares: the text of one request before and after each of these.
    Bound: none, they are equal or they are not.
    """
    if excused := unrepeatable(candidate):
        return excused
    api, hosted, tokens = given["api"], candidate.hosted, given["tokens"]
    first, other = words(draw, 5), words(draw, 5)
    asked = greedy(api, first, tokens)
    between = [
        greedy(api, other, tokens),
        greedy(api, f"{first} {other}", tokens),
        {**asked, "temperature": "hot"},
        request(api, first, max_tokens=tokens, temperature=1),
        *([{**greedy(api, other, tokens), "stream": True}] if "stream" in candidate.description.capabilities else []),
    ]
    answers = [hosted.ask(api, asked)]
    for each in between:
        hosted.ask(api, each)
        answers.append(hosted.ask(api, asked))
    return {"answers": answers}


@judge
def judge_apart(given: Given, asked: Asked) -> Finding:
    first, *others = [replies.read(given["api"], answer).choices[0].text for answer in asked["answers"]]
    return worst([alike(f"after request {i} the text is another", text, first) for i, text in enumerate(others)])


check("hosted-apart", ask_apart, judge_apart, needs=(), given={"api": API, "tokens": TOKENS})


def ask_together(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """An answer does not depend on what is asked beside it.

    Varies: prompts.
    Compares: texts of requests made at once with those made alone. Who claims D2 is held to every character; who
        claims D1 may differ from where two tokens tie by the logprobs that are stated, and nowhere else.
    Bound: none if D2 is claimed; else a tie is a difference that roundings of the claimed dtype make.
    """
    if excused := unrepeatable(candidate):
        return excused
    exact = claims_at_least(candidate, "D2")
    if not exact and "logprobs" not in candidate.description.capabilities:
        return {"excused": "D1 is claimed, and no logprobs say where rounding may decide"}
    api = given["api"]
    extra = {**neutral(candidate, api), **stating(candidate, api, 5)}
    asked = [greedy(api, words(draw, 4), given["tokens"], **extra) for _ in range(given["requests"])]
    alone = [candidate.hosted.ask(api, each) for each in asked]
    together = candidate.hosted.together(api, asked)
    tie = 0.0 if exact else TIES[candidate.description.claims.dtype]
    return {"alone": alone, "together": together, "tie": tie}


@judge
def judge_together(given: Given, asked: Asked) -> Finding:
    findings = []
    for i, (alone, beside) in enumerate(zip(asked["alone"], asked["together"], strict=True)):
        due, got = (replies.read(given["api"], answer).choices[0] for answer in (alone, beside))
        if got.text != due.text and not _tied(due, got, asked["tie"]):
            findings.append(alike(f"request {i} of {given['requests']} at once gave another text", got.text, due.text))
    return worst(findings) if findings else passed()


def _tied(due: Choice, got: Choice, tie: float) -> bool:
    """Whether two texts part where two tokens tie."""
    for one, other in zip(due.tokens or (), got.tokens or (), strict=False):
        if one.text != other.text:
            stated = dict(one.top)
            other_logprob = stated.get(other.text)
            return other_logprob is not None and one.logprob is not None and one.logprob - other_logprob <= tie
    return False


check(
    "hosted-together", ask_together, judge_together, needs=("concurrent",),
    given={"api": API, "tokens": TOKENS, "requests": {"type": "integer", "minimum": 2, "description": "at once"}},
)  # fmt: skip


# ── chat ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_template(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A chat is the completion of what its messages become: roles, template and generation prompt.

    Varies: the words of the messages.
    Compares: text and count of a chat with those of the completion of the template that the server shows.
    Bound: none, they are equal or they are not.
    """
    if excused := unrepeatable(candidate):
        return excused
    messages = [{"role": role, "content": words(draw, 1)} for role in given["roles"]]
    shown = candidate.hosted.template(messages)
    prompt = _prompt_of(shown)
    chat = {"messages": messages, "max_tokens": given["tokens"], "temperature": 0}
    completion = {"prompt": prompt, "max_tokens": given["tokens"], "temperature": 0}
    return {
        "shown": shown,
        "chat": candidate.hosted.ask("chat", chat),
        "completion": candidate.hosted.ask("completions", completion) if prompt else {},
        "contents": [message["content"] for message in messages],
    }


def _prompt_of(shown: Answer) -> Any:
    """The prompt, text or ids, that a shown template gives; None where it gives none."""
    try:
        body = replies._loaded(shown["body"], "the template")
    except Broken:
        return None
    return (body.get("prompt") or body.get("tokens")) if isinstance(body, Mapping) else None


@judge
def judge_template(given: Given, asked: Asked) -> Finding:
    prompt = _prompt_of(asked["shown"])
    if not replies.accepted(asked["shown"]) or not prompt:
        return failed(f"no template is shown: {asked['shown']['status']} {asked['shown']['body']!r:.80}")
    if isinstance(prompt, str):
        at = 0
        for content in asked["contents"]:
            at = prompt.find(content, at)
            if at < 0:
                return failed(f"the template lacks {content!r:.40}, or has it out of order", got=prompt[:200])
    chat, completion = replies.read("chat", asked["chat"]), replies.read("completions", asked["completion"])
    findings = [alike("the chat is not the completion of its template", chat.choices[0].text,
                      completion.choices[0].text)]  # fmt: skip
    if chat.usage and completion.usage and chat.usage.prompt != completion.usage.prompt:
        message = f"a chat of {chat.usage.prompt} tokens has a template of {completion.usage.prompt}"
        findings.append(failed(message, expected=completion.usage.prompt, got=chat.usage.prompt))
    return worst(findings)


check(
    "hosted-template", ask_template, judge_template, needs=("chat", "template"),
    given={
        "tokens": TOKENS,
        "roles": {
            "type": "array", "items": {"enum": ["system", "user", "assistant"]}, "minItems": 1,
            "description": "of the messages",
        },
    },
)  # fmt: skip
