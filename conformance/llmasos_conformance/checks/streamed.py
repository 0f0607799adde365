"""Streams of a hosted model: they say what is said without, in events of the right form, and count alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmasos_conformance.checks import Asked, Given, check, replies
from llmasos_conformance.checks.requests import (
    API,
    FOREIGN,
    PROMPT,
    TOKENS,
    alike,
    claims_at_least,
    finish,
    greedy,
    head,
    judge,
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

# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_stream(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A stream is events of the API, of one id, closed by one finish reason and by [DONE].

    Varies: the prompt.
    Compares: the events with the API's description.
    Bound: none.
    """
    api = given["api"]
    asked = greedy(api, words(draw, 5), given["tokens"], stream=True)
    return {"answer": candidate.hosted.ask(api, asked)}


@judge
def judge_stream(given: Given, asked: Asked) -> Finding:
    api = given["api"]
    reply = replies.read(api, asked["answer"], stream=True)
    kind = "chat.completion.chunk" if api == "chat" else "text_completion"
    findings = [*(head(part, kind) for part in reply.parts), finish(reply.choices)]
    ids = {part.get("id") for part in reply.parts}
    if len(ids) != 1:
        findings.append(failed(f"events of one stream have {len(ids)} ids"))
    if not replies.chunks(asked["answer"]["body"])[1]:
        findings.append(failed(f"the stream ends without {replies.DONE}"))
    if api == "chat":
        roles = [choice["delta"].get("role") for part in reply.parts for choice in part["choices"]]
        if roles[0] != "assistant" or set(roles) - {"assistant", None}:
            findings.append(failed(f"the roles are {roles[:3]!s:.60}, 'assistant' was due in the first delta"))
    return worst(findings)


check("hosted-stream", ask_stream, judge_stream, needs=("stream",), given={"api": API, "tokens": TOKENS})


def ask_streamed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A stream says what the same request says without streaming: text, finish reason, tokens that are stated.

    Varies: the prompt.
    Compares: the pieces, joined, with the text.
    Bound: none, they are equal or they are not.
    """
    if excused := unrepeatable(candidate):
        return excused
    api = given["api"]
    prompt = words(draw, 5) if given["prompt"] == "words" else pick(draw, FOREIGN)
    extra = stating(candidate, api) if given["stated"] else {}
    asked = greedy(api, prompt, given["tokens"], **extra)
    return {"answers": [candidate.hosted.ask(api, each) for each in (asked, {**asked, "stream": True})]}


@judge
def judge_streamed(given: Given, asked: Asked) -> Finding:
    whole = replies.read(given["api"], asked["answers"][0]).choices[0]
    stream = replies.read(given["api"], asked["answers"][1], stream=True).choices[0]
    findings = [alike("the joined pieces of the stream are another text", stream.text, whole.text)]
    if stream.finish != whole.finish:
        findings.append(failed(f"the stream ends with {stream.finish!r:.40}, the same request with {whole.finish!r}"))
    if given["stated"]:
        shown = [[token.text for token in each.tokens or ()] for each in (stream, whole)]
        if shown[0] != shown[1]:
            message = f"{len(shown[0])} tokens are stated in the stream, {len(shown[1])} without"
            findings.append(failed(message, expected=shown[1][:10], got=shown[0][:10]))
    return worst(findings)


check(
    "hosted-streamed", ask_streamed, judge_streamed, needs=("stream",),
    given={
        "api": API, "tokens": TOKENS,
        "prompt": PROMPT,
        "stated": {"type": "boolean", "default": False, "description": "with logprobs"},
    },
)  # fmt: skip


def ask_stream_usage(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A stream that was asked for usage ends with it, or the request is refused.

    Varies: the prompt.
    Compares: the counts with those of the same request without streaming.
    Bound: none, they are equal or they are not.
    """
    api, extra = given["api"], {"stream": True, "stream_options": {"include_usage": True}}
    asked = greedy(api, words(draw, 5), given["tokens"])
    answers = [candidate.hosted.ask(api, each) for each in (asked, {**asked, **extra})]
    return {"answers": answers, "repeats": claims_at_least(candidate, "D1")}


@judge
def judge_stream_usage(given: Given, asked: Asked) -> Finding:
    whole, answer = asked["answers"]
    if replies.refused(answer):
        return passed()
    counts = [replies.read(given["api"], whole).usage, replies.read(given["api"], answer, stream=True).usage]
    if counts[1] is None:
        return failed("include_usage is accepted, and no usage came in the stream")
    if counts[0] is not None and asked["repeats"] and counts[0] != counts[1]:
        return failed(f"the stream counts {counts[1]}, the same request {counts[0]}"[:300])
    return passed()


check("hosted-stream-usage", ask_stream_usage, judge_stream_usage, needs=("stream",),
      given={"api": API, "tokens": TOKENS})  # fmt: skip


@judge
def judge_stream_pieces(given: Given, asked: Asked) -> Finding:
    """Whether what is streamed comes in pieces at all."""
    choice = replies.read(given["api"], asked["answer"], stream=True).choices[0]
    pieces = [piece for piece in choice.pieces if piece]
    if len(pieces) < 2 and len(choice.text) > 8:
        return failed(f"a text of {len(choice.text)} characters came in one piece")
    return passed()


check("hosted-stream-pieces", ask_stream, judge_stream_pieces, needs=("stream",),
      given={"api": API, "tokens": TOKENS})  # fmt: skip
