"""What an API like OpenAI's answered, read: a body or a stream as texts, counts and stated probabilities.

Only what a check needs is demanded here, so that one slip of a server does not fail all checks; `hosted` holds the
shape against what the API says. Logprobs are read in either of the API's two forms, whichever endpoint they came from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

JSON, EVENTS = "application/json", "text/event-stream"
DONE = "[DONE]"
REPLACEMENT = "\ufffd"
Answer = Mapping[str, Any]
"""status, type and body, as they came."""


class Broken(Exception):
    """An answer that is none of the API's.

    Attributes:
        message: what it lacks.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unstated(Broken):
    """Logprobs were asked for and accepted, and none came."""

    def __init__(self) -> None:
        super().__init__("logprobs were asked for and accepted, and none came")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is stated of one token.

    Attributes:
        text: as shown; "" where it is not. raw: its bytes, where they are stated.
        logprob: None where no number says it.
        top: texts and logprobs of the likeliest tokens at its place, in the order in which they came; entries without
            a number are left out.
    """

    text: str
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()
    raw: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One continuation. `tokens` is None where nothing is stated of them; `pieces` are those of a stream."""

    text: str
    finish: str
    tokens: tuple[Token, ...] | None = None
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts of tokens."""

    prompt: int
    completion: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. `choices` by index from 0 on; `usage` is None where none came; `parts` are the JSON objects."""

    choices: tuple[Choice, ...]
    usage: Usage | None
    parts: tuple[Mapping[str, Any], ...]


def accepted(answer: Answer) -> bool:
    """Whether a request was taken."""
    return 200 <= int(answer["status"]) < 300


def refused(answer: Answer) -> bool:
    """Whether a request was turned down as the asker's mistake."""
    return 400 <= int(answer["status"]) < 500


def read(api: str, answer: Answer, *, stream: bool = False) -> Reply:
    """An answer to a valid request.

    Args:
        api: "completions" or "chat". stream: events were asked for.

    Raises:
        Broken: it was refused, or is no answer of the API.
    """
    if not accepted(answer):
        said = complaint(answer) or answer["body"][:80]
        raise Broken(f"a valid request was refused: {answer['status']}: {said:.200}")
    if not stream:
        part = _object(_loaded(answer["body"], "the body"), "the body")
        return _assembled(api, [part], "message")
    if answer["type"] != EVENTS:
        raise Broken(f"a stream was asked for, and {answer['type']!r:.60} came")
    return _assembled(api, chunks(answer["body"])[0], "delta")


def complaint(answer: Answer) -> str:
    """The message of an error, in any of the forms that servers have; "" if there is none."""
    try:
        body = json.loads(answer["body"])
    except (ValueError, RecursionError):
        return ""
    while isinstance(body, Mapping):
        body = next((body[name] for name in ("error", "message", "detail", "msg") if body.get(name)), "")
    if isinstance(body, list) and body:
        body = body[0].get("msg", "") if isinstance(body[0], Mapping) else body[0]
    return body if isinstance(body, str) else ""


def chunks(body: str) -> tuple[list[Mapping[str, Any]], bool]:
    """The objects of a stream, and whether it was closed by [DONE].

    Raises:
        Broken: an event is no JSON object, something stands behind [DONE], or the stream ends in an error.
    """
    made: list[Mapping[str, Any]] = []
    done = False
    for event in body.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        if not lines:
            continue  # a comment, which keeps the connection alive
        data = "\n".join(lines)
        if done:
            raise Broken(f"the stream goes on behind {DONE}, with {data!r:.60}")
        if data.strip() == DONE:
            done = True
            continue
        part = _object(_loaded(data, "an event"), "an event")
        if part.get("error"):
            raise Broken(f"the stream ends in an error: {part['error']!s:.120}")
        made.append(part)
    return made, done


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _loaded(text: str, what: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Broken(f"{what} is no JSON ({error!s:.80}): {text!r:.80}") from None


def _no_number(name: str) -> NoReturn:
    raise Broken(f"{name} stands in a body, which JSON has not")


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Broken(f"{what} is no object: {value!r:.80}")
    return value


def _assembled(api: str, parts: Sequence[Mapping[str, Any]], member: str) -> Reply:
    """Choices out of one body, or of many chunks."""
    texts: dict[int, list[str]] = {}
    tokens: dict[int, list[Token]] = {}
    finish: dict[int, str] = {}
    usage = None
    for part in parts:
        if part.get("usage") is not None:
            usage = _usage(part["usage"])
        if not isinstance(part.get("choices"), list):
            raise Broken(f"choices is {part.get('choices')!r:.60}, a list was due")
        for choice in part["choices"]:
            index = _object(choice, "a choice").get("index", 0)
            if type(index) is not int or index < 0:
                raise Broken(f"index is {index!r:.40}, a number from 0 was due")
            if index in finish:
                raise Broken(f"choice {index} goes on behind its finish_reason")
            texts.setdefault(index, []).append(_text(api, choice, member))
            if choice.get("logprobs") is not None:
                tokens.setdefault(index, []).extend(_tokens(choice["logprobs"]))
            if choice.get("finish_reason") is not None:
                finish[index] = str(choice["finish_reason"])
    if sorted(texts) != list(range(len(texts))) or not texts:
        raise Broken(f"choices have the indices {sorted(texts)!s:.60}, 0 and the following were due")
    if lacking := [index for index in texts if index not in finish]:
        raise Broken(f"choice {lacking[0]} has no finish_reason")
    choices = [
        Choice(
            text="".join(pieces), finish=finish[index], pieces=tuple(pieces),
            tokens=tuple(tokens[index]) if index in tokens else None,
        )
        for index, pieces in sorted(texts.items())
    ]  # fmt: skip
    return Reply(choices=tuple(choices), usage=usage, parts=tuple(parts))


def _text(api: str, choice: Mapping[str, Any], member: str) -> str:
    """What a choice adds to its text."""
    if api == "completions":
        value = choice.get("text")
    else:
        said = _object(choice.get(member), member)
        value = said.get("content")
        if value is None and (member == "delta" or "content" in said):
            return ""  # a message may have null where it says nothing
    if not isinstance(value, str):
        name = "text" if api == "completions" else f"{member}.content"
        raise Broken(f"{name} is {value!r:.40}, a text was due")
    return value


def _usage(value: Any) -> Usage:
    said = _object(value, "usage")
    prompt, completion, total = (_count(said, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    return Usage(prompt=prompt, completion=completion, total=total)


def _count(usage: Mapping[str, Any], name: str) -> int:
    count = usage.get(name)
    if type(count) is not int or count < 0:
        raise Broken(f"usage.{name} is {count!r:.40}, a count was due")
    return count


def _tokens(logprobs: Any) -> list[Token]:
    """Tokens in either form of the API."""
    value = _object(logprobs, "logprobs")
    if "content" in value or "tokens" not in value:
        content = value.get("content")
        if content is None:
            return []
        if not isinstance(content, list):
            raise Broken(f"logprobs.content is {content!r:.60}, a list was due")
        return [_entry(each) for each in content]
    tokens, numbers, tops = value["tokens"], value.get("token_logprobs"), value.get("top_logprobs")
    if not isinstance(tokens, list) or not isinstance(numbers, list) or len(tokens) != len(numbers):
        raise Broken("tokens and token_logprobs are no lists of one length")
    if tops is not None and (not isinstance(tops, list) or len(tops) != len(tokens)):
        raise Broken(f"top_logprobs is no list of {len(tokens)} entries")
    return [
        Token(text=_shown(text), logprob=_number(number), top=_mapped(tops[i] if tops else None))
        for i, (text, number) in enumerate(zip(tokens, numbers, strict=True))
    ]


def _mapped(top: Any) -> tuple[tuple[str, float], ...]:
    if top is None:
        return ()
    if isinstance(top, list):  # the other form's entries
        return tuple((each.text, each.logprob) for each in map(_entry, top) if each.logprob is not None)
    pairs = [(_shown(text), _number(number)) for text, number in _object(top, "an entry of top_logprobs").items()]
    return tuple((text, number) for text, number in pairs if number is not None)


def _entry(value: Any) -> Token:
    """A token of a chat's logprobs."""
    entry = _object(value, "an entry of logprobs")
    return Token(
        text=_shown(entry.get("token")), logprob=_number(entry.get("logprob")),
        top=_mapped(entry.get("top_logprobs") or []), raw=_bytes(entry.get("bytes")),
    )  # fmt: skip


def _bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 256 for item in value):
        raise Broken(f"bytes is {value!r:.60}, a list of bytes was due")
    return bytes(value)


def _shown(value: Any) -> str:
    """The text of a token; "" where none is shown, which is for one check to say and not for all."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Broken(f"a token is {value!r:.40}, a text was due")
    return value


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Broken(f"a logprob is {value!r:.40}, a number was due")
    return float(value)
