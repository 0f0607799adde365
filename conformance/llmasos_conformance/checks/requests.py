"""Requests to a hosted model, and what its answers are held against: the words that all checks of it share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos_conformance.checks import Asked, Given, replies
from llmasos_conformance.checks.replies import REPLACEMENT, Answer, Broken, Choice, Unstated
from llmasos_conformance.inputs import shuffled
from llmasos_conformance.protocol import DETERMINISM
from llmasos_conformance.verdict import Finding, State, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

_LISTED = (
    "anchor apple arrow autumn barrel basket beacon bottle branch bridge bronze butter candle canyon carpet castle "
    "cherry circle clover coffee copper corner cotton desert dragon engine falcon feather fiddle forest garden ginger "
    "glacier hammer harbor hazel island jacket jungle kettle ladder lantern lemon library marble meadow mirror "
    "mountain needle ocean olive orange orchard palace paper pepper pillow planet pocket prairie quarry ribbon river "
    "saddle scarlet shadow silver spider spring statue summer sunset temple thunder timber tunnel valley velvet "
    "village violet walnut whistle willow winter wisdom yellow"
)
WORDS = tuple(_LISTED.split())
"""What prompts are drawn from: words of which every tokenizer makes at least one token."""

FOREIGN = (
    "Übergrößenträger, naïve café, façade: ",
    "人工智能的历史可以追溯到古代，",
    "Быть или не быть, вот в чём вопрос: ",
    "नमस्ते दुनिया, यह एक परीक्षा है: ",
    "🙂🙃 emoji: 👩‍🚀 🇪🇺 ✓ → ",
)
"""Prompts behind which a model may well say characters of several bytes."""

API = {"enum": ["completions", "chat"], "description": "which endpoint is asked"}
TOKENS = {"type": "integer", "minimum": 1, "description": "tokens to ask for"}
PROMPT = {"enum": ["words", "foreign"], "default": "words", "description": "words, or characters of several bytes"}
NEVER = "\u2042\u2042"
"""What no prompt leads to, for stop strings that must not come."""


# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def words(draw: Draw, count: int) -> str:
    """Different words, as a list that asks to be continued."""
    return ", ".join(shuffled(draw, WORDS)[:count]) + ","


def request(api: str, text: str, **options: Any) -> dict[str, Any]:
    """The body of a request about a text."""
    if api == "chat":
        return {"messages": [{"role": "user", "content": text}], **options}
    return {"prompt": text, **options}


def greedy(api: str, text: str, tokens: int, **options: Any) -> dict[str, Any]:
    return request(api, text, max_tokens=tokens, temperature=0, **options)


def stating(candidate: Candidate, api: str, count: int = 0) -> dict[str, Any]:
    """Options that have logprobs stated, where they are offered."""
    if "logprobs" not in candidate.description.capabilities:
        return {}
    return states(api, count)


def states(api: str, count: int) -> dict[str, Any]:
    return {"logprobs": True, "top_logprobs": count} if api == "chat" else {"logprobs": count}


OFF: Mapping[str, Sequence[float]] = {
    "top_p": (1,), "top_k": (0, -1), "min_p": (0,), "repetition_penalty": (1,), "repeat_penalty": (1,),
}  # fmt: skip
"""What servers have defaults of their own for, and the values that switch it off: the first that a server takes."""


def neutral(candidate: Candidate, api: str) -> dict[str, Any]:
    """Options that leave a server's own defaults out of its answers, as far as it takes them.

    It is asked which it takes. A name that it does not know does no harm, and who refuses one has no such default.
    """
    plain, made = request(api, "One, two, three,", max_tokens=1), dict[str, Any]()
    for name, values in OFF.items():
        for value in values:
            if replies.accepted(candidate.hosted.ask(api, {**plain, name: value})):
                made[name] = value
                break
    return made


def said(api: str, answer: Answer, *, stream: bool = False) -> str:
    """The text of an answer, for what is asked next; empty where there is none to read."""
    try:
        return replies.read(api, answer, stream=stream).choices[0].text
    except Broken:
        return ""


def claims_at_least(candidate: Candidate, level: str) -> bool:
    """Whether the candidate claims this level of determinism or a higher one."""
    return DETERMINISM.index(candidate.description.claims.determinism) >= DETERMINISM.index(level)


def unrepeatable(candidate: Candidate) -> Asked:
    """What a question returns at once where two answers need not agree."""
    return {} if claims_at_least(candidate, "D1") else {"excused": "D0 is claimed: no two answers have to agree"}


# ── judges ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Judged = Callable[[Given, Asked], Finding]


def judge(judged: Judged) -> Callable[[Given, Asked, Reference], Finding]:
    """A judge of answers, which needs no reference: what cannot be read fails, what was not asked does not apply, and
    where stated logprobs are what is judged by, their absence leaves it open: HOST-25 is about that."""

    @functools.wraps(judged)
    def judging(given: Given, asked: Asked, reference: Reference) -> Finding:
        if "excused" in asked:
            return Finding(state=State.NOT_APPLICABLE, message=asked["excused"])
        try:
            return judged(given, asked)
        except Unstated as unstated:
            return open_case(f"{unstated.message}: nothing to judge by")
        except Broken as broken:
            return failed(broken.message)

    return judging


def open_case(message: str) -> Finding:
    """A finding that cannot tell."""
    return Finding(state=State.INCONCLUSIVE, message=message)


def certain(text: str) -> str:
    """A text without what a further token may change."""
    return text.rstrip(REPLACEMENT)


def alike(what: str, got: str, due: str) -> Finding:
    """Two texts that have to be one."""
    if got == due:
        return passed()
    at = next((i for i, (a, b) in enumerate(zip(got, due, strict=False)) if a != b), min(len(got), len(due)))
    came, lacks = got[at : at + 30], due[at : at + 30]
    told = f"{came!r} at character {at}, {lacks!r} was due"
    if not lacks:
        told = f"it goes on with {came!r} at character {at}, where it was to end"
    if not came:
        told = f"it ends at character {at}, where {lacks!r} was due"
    return failed(f"{what}: {told}", expected=due[:200], got=got[:200])


LATEST = 10**11
"""A time in seconds that lies in the year 5138; one in milliseconds is later."""


def head(part: Mapping[str, Any], kind: str) -> Finding:
    """The members before the choices."""
    for name, fits, due in (
        ("id", isinstance(part.get("id"), str) and part["id"], "a text"),
        ("object", part.get("object") == kind, repr(kind)),
        ("created", type(part.get("created")) is int and 0 <= part["created"] < LATEST, "seconds, an integer"),
        ("model", isinstance(part.get("model"), str) and part["model"], "a text"),
    ):
        if not fits:
            return failed(f"{name} is {part.get(name)!r:.60}, {due} was due", expected=due, got=part.get(name))
    return passed()


def finish(choices: Sequence[Choice]) -> Finding:
    wrong = [choice.finish for choice in choices if choice.finish not in ("stop", "length")]
    return failed(f"finish_reason is {wrong[0]!r:.40}, 'stop' or 'length' was due") if wrong else passed()


TIES: Mapping[str, float] = {"float64": 1e-3, "float32": 1e-3, "float16": 2.0**-4, "bfloat16": 2.0**-1}
"""How far apart two stated logprobs may be where rounding decides between them, by claimed dtype: 256 roundings, that
is, logits of 32 of which each is off by four roundings in either of two computations. Float32 has 65 times that."""
