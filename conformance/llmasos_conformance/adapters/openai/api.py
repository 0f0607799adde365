"""Requests to replies, without HTTP.

    wanted ─ prompt ids ─┬─ generate, once for each of n ── choices ─┬─ one body
                         └─ echo, what the prompt itself is worth    └─ events of a stream

A reply is kept whole before it is sent: this is a server to be read and to be tried, not one to be fast.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmasos_conformance.adapters.kit.choosing import likeliest, log_law
from llmasos_conformance.adapters.openai.model import Model
from llmasos_conformance.adapters.openai.wanted import Refused, Wanted, judged
from llmasos_conformance.protocol import Array

JSON, EVENTS = "application/json", "text/event-stream"
REPLACEMENT = "\ufffd"

Reply = dict[str, Any]
"""status, type and body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What is said of one token.

    Attributes:
        text: of it, empty where a character is not whole yet. logprob: None for the first of a prompt.
        top: texts and logprobs of the likeliest at its place, likeliest first.
    """

    text: str
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()


@dataclass(slots=True, kw_only=True)
class Made:
    """One continuation.

    Attributes:
        ids: chosen, an end-of-sequence id included. text: as it is given back. finish: "stop" or "length".
        stated: of each id that has text; None if nothing is to be stated.
        pieces: of the text, one for each id, as a stream gives them out.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    finish: str = ""
    stated: list[Stated] | None = None
    pieces: list[str] = field(default_factory=list)


class Api:
    """Answers for one model.

    Args:
        model: that is served. name: of it in requests.
    """

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name = model, name

    def answer(self, api: str, body: Any) -> Reply:
        """The reply to a request.

        Args:
            api: "completions", "chat" or "template". body: parsed JSON.
        """
        try:
            if api == "template":
                return self.json(200, {"prompt": self.templated(self.judged("chat", {"model": self.name, **body}))})
            wanted = self.judged(api, body)
            return self.served(wanted)
        except Refused as refused:
            return self.refusal(refused)

    def judged(self, api: str, body: Any) -> Wanted:
        """The request as what it asks for; Refused if it is not served."""
        wanted = judged(api, body)
        if wanted.model != self.name:
            raise Refused(404, f"there is no model {wanted.model!r:.80}", "model", "model_not_found")
        return wanted

    def served(self, wanted: Wanted) -> Reply:
        prompt = self.prompt_ids(wanted)
        if len(prompt) >= self.model.context and (wanted.max_tokens != 0 or len(prompt) > self.model.context):
            what = f"the prompt has {len(prompt)} tokens, the context {self.model.context}"
            raise Refused(400, what, "prompt" if wanted.api == "completions" else "messages", "context_length_exceeded")
        made = [self.generate(wanted, prompt, index) for index in range(wanted.n)]
        usage = self.usage(wanted, prompt, made)
        if wanted.stream:
            return {"status": 200, "type": EVENTS, "body": self.events(wanted, prompt, made, usage)}
        return self.json(200, self.body(wanted, prompt, made, usage))

    # ── from a request to ids and back ──

    def prompt_ids(self, wanted: Wanted) -> list[int]:
        if isinstance(wanted.prompt, tuple):
            if any(token >= len(self.model.allowed) for token in wanted.prompt):
                raise Refused(400, "the prompt has an id outside the vocabulary", "prompt", "invalid_value")
            return list(wanted.prompt)
        return self.model.encode(self.templated(wanted) if wanted.api == "chat" else wanted.prompt)

    def templated(self, wanted: Wanted) -> str:
        return self.model.template(wanted.messages)

    def text_so_far(self, ids: Sequence[int]) -> str:
        """Text of ids that further ids cannot change."""
        return self.model.decode(ids).rstrip(REPLACEMENT)

    # ── a continuation ──

    def generate(self, wanted: Wanted, prompt: Sequence[int], index: int) -> Made:
        """Choose ids until one ends the text, or the limit does."""
        random = self.random(wanted, index)
        made = Made(stated=None if wanted.logprobs is None else [])
        given = ""
        for _ in range(self.limit(wanted, prompt)):
            logits = self.logits(prompt, made.ids)
            token = self.choose(logits, wanted, made.ids, random)
            if made.stated is not None and token not in self.model.eos:
                made.stated.append(self.stated(logits, token, made.ids, wanted))
            made.ids.append(token)
            if token in self.model.eos:
                made.finish = "stop"
                break
            text = self.text_so_far(made.ids)
            end = self.stop_in(text, wanted.stop)
            if end is not None:
                made.text, made.finish = text[:end], "stop"
                made.pieces.append(made.text[len(given) :])
                return made
            held = self.held_back(text, wanted.stop)
            made.pieces.append(text[len(given) : max(len(given), len(text) - held)])
            given += made.pieces[-1]
        made.text = self.whole_text(made.ids)
        made.finish = made.finish or self.finish_at_limit()
        if len(made.pieces) < len(made.ids):
            made.pieces.append("")
        if made.pieces:
            made.pieces[-1] += made.text[len(given) :]
        return made

    def limit(self, wanted: Wanted, prompt: Sequence[int]) -> int:
        """How many ids may come."""
        room = self.model.context - len(prompt)
        return room if wanted.max_tokens is None else min(wanted.max_tokens, room)

    def finish_at_limit(self) -> str:
        return "length"

    def random(self, wanted: Wanted, index: int) -> np.random.Generator:
        """Chance of a continuation: of the seed and its number, or fresh."""
        if wanted.seed is None:
            return np.random.default_rng()
        return np.random.default_rng([wanted.seed % 2**64, index])

    def logits(self, prompt: Sequence[int], ids: Sequence[int]) -> Array:
        return self.model.logits([*prompt, *ids])

    def choose(self, logits: Array, wanted: Wanted, ids: Sequence[int], random: np.random.Generator) -> int:
        """The next id: the likeliest at temperature 0, else one by chance."""
        z = np.where(self.model.allowed, self.penalised(logits, wanted, ids), -np.inf)
        if wanted.temperature == 0:
            return int(z.argmax())
        p = self.law(z, wanted)
        return int(random.choice(len(p), p=p))

    def penalised(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        """Logits less what is subtracted of ids that have come."""
        z = np.array(logits, dtype=np.float64)
        came, often = np.unique(np.array(ids, dtype=int), return_counts=True)
        z[came] -= wanted.frequency_penalty * often + wanted.presence_penalty
        return z

    def law(self, z: Array, wanted: Wanted) -> Array:
        """[V] probabilities behind temperature, top-k, top-p and min-p, in this order."""
        ranked = np.argsort(-z, kind="stable")[: wanted.top_k or None]
        p = np.exp((z[ranked] - z.max()) / wanted.temperature)
        p /= p.sum()
        before = np.concatenate([[0.0], np.cumsum(p)[:-1]])
        if wanted.top_p < 1:
            p[1:][before[1:] >= wanted.top_p] = 0.0
        p[p < wanted.min_p * p[0]] = 0.0
        law = np.zeros_like(z)
        law[ranked] = p / p.sum()
        return law

    def stop_in(self, text: str, stops: Sequence[str]) -> int | None:
        """Where the first stop string of a text begins; None if there is none."""
        places = [at for at in (text.find(stop) for stop in stops) if at >= 0]
        return min(places, default=None)

    def held_back(self, text: str, stops: Sequence[str]) -> int:
        """Characters at the end of a text that may be the beginning of a stop string."""
        ends = (size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size]))
        return max(ends, default=0)

    def whole_text(self, ids: Sequence[int]) -> str:
        return self.model.decode([token for token in ids if token not in self.model.eos])

    # ── what is stated of tokens ──

    def stated(self, logits: Array, token: int, ids: Sequence[int], wanted: Wanted) -> Stated:
        """The chosen token and the likeliest, with logarithms of the model's own probabilities."""
        law = self.stated_law(logits, wanted, ids)
        top = likeliest(law, wanted.logprobs or 0)
        return Stated(
            text=self.shown(token, ids), logprob=float(law[token]),
            top=tuple((self.shown(other, ids), float(law[other])) for other in top),
        )  # fmt: skip

    def stated_law(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        return log_law(logits)

    def shown(self, token: int, ids: Sequence[int]) -> str:
        """What a token adds to the text behind ids."""
        before = self.text_so_far(ids)
        if token in self.model.eos:
            return "</s>"
        return self.text_so_far([*ids, token])[len(before) :]

    def echoed(self, wanted: Wanted, prompt: Sequence[int]) -> list[Stated]:
        """What is stated of the prompt's own tokens; of the first nothing is known."""
        rows = self.model.all_logits(prompt)
        first = Stated(text=self.shown(prompt[0], []), logprob=None)
        return [first, *(self.stated(rows[i - 1], prompt[i], prompt[:i], wanted) for i in range(1, len(prompt)))]

    # ── counts ──

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        counted = sum(len(each.ids) for each in made)
        return {
            "prompt_tokens": len(prompt), "completion_tokens": counted, "total_tokens": len(prompt) + counted,
        }  # fmt: skip

    # ── bodies ──

    def json(self, status: int, body: Any) -> Reply:
        return {"status": status, "type": JSON, "body": self.encoded(body)}

    def encoded(self, body: Any) -> str:
        return json.dumps(body, ensure_ascii=False, allow_nan=False)

    def refusal(self, refused: Refused) -> Reply:
        error = {
            "message": str(refused), "type": "invalid_request_error", "param": refused.parameter or None,
            "code": refused.code or None,
        }  # fmt: skip
        return self.json(refused.status, {"error": error})

    def head(self, wanted: Wanted, *, chunk: bool = False) -> dict[str, Any]:
        """What stands before the choices."""
        kind = "text_completion"
        if wanted.api == "chat":
            kind = "chat.completion.chunk" if chunk else "chat.completion"
        letters = "chatcmpl-" if wanted.api == "chat" else "cmpl-"
        return {"id": letters + secrets.token_hex(12), "object": kind, "created": int(time.time()), "model": self.name}

    def body(
        self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]
    ) -> dict[str, Any]:
        """The whole answer."""
        choices = [self.choice(wanted, prompt, each, index) for index, each in enumerate(made)]
        return {**self.head(wanted), "choices": choices, "usage": usage}

    def choice(self, wanted: Wanted, prompt: Sequence[int], made: Made, index: int) -> dict[str, Any]:
        stated = self.with_echo(wanted, prompt, made.stated)
        closing = {"index": index, "logprobs": self.logprobs(wanted, stated), "finish_reason": made.finish}
        if wanted.api == "chat":
            return {**closing, "message": {"role": "assistant", "content": made.text}}
        return {**closing, "text": self.prompt_text(wanted, prompt) + made.text}

    def with_echo(
        self, wanted: Wanted, prompt: Sequence[int], stated: Sequence[Stated] | None
    ) -> Sequence[Stated] | None:
        if stated is None or not wanted.echo:
            return stated
        return [*self.echoed(wanted, prompt), *stated]

    def prompt_text(self, wanted: Wanted, prompt: Sequence[int]) -> str:
        """What an echo puts before the text."""
        if not wanted.echo:
            return ""
        return wanted.prompt if isinstance(wanted.prompt, str) else self.model.decode(prompt)

    def logprobs(self, wanted: Wanted, stated: Sequence[Stated] | None, before: int = 0) -> dict[str, Any] | None:
        """In the form of the API; `before` counts the characters in front of the first."""
        if stated is None:
            return None
        if wanted.api == "chat":
            return {"content": [self.entry(each) for each in stated]}
        # Of two tokens with one text the likelier stays.
        tops = [None if each.logprob is None else dict(reversed(each.top)) for each in stated]
        lengths = itertools.accumulate((len(each.text) for each in stated), initial=before)
        return {
            "tokens": [each.text for each in stated],
            "token_logprobs": [each.logprob for each in stated],
            "top_logprobs": tops if wanted.logprobs else None,
            "text_offset": list(lengths)[: len(stated)],
        }  # fmt: skip

    def entry(self, stated: Stated) -> dict[str, Any]:
        """Of one token of a chat."""

        def one(text: str, logprob: float | None) -> dict[str, Any]:
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        return {**one(stated.text, stated.logprob), "top_logprobs": [one(*each) for each in stated.top]}

    # ── streams ──

    def events(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]) -> str:
        """The events of a stream, as they are sent."""
        head = self.head(wanted, chunk=True)
        chunks = [{**head, "choices": [choice]} for choice in self.deltas(wanted, prompt, made)]
        if wanted.usage:
            chunks = [{**chunk, "usage": None} for chunk in chunks]
            chunks.append({**head, "choices": [], "usage": usage})
        return "".join(f"data: {self.encoded(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"

    def deltas(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> Iterator[dict[str, Any]]:
        """The choices of a stream, piece by piece, each closed by its finish reason."""
        for index, each in enumerate(made):
            before = 0
            if wanted.api == "chat":
                yield self.delta(wanted, index, {"role": "assistant", "content": ""}, None, None)
            elif wanted.echo:
                text = self.prompt_text(wanted, prompt)
                echoed = None if each.stated is None else self.echoed(wanted, prompt)
                yield self.delta(wanted, index, text, self.logprobs(wanted, echoed), None)
                before = len(text)
            for number, piece in enumerate(each.pieces):
                stated = None if each.stated is None else each.stated[number : number + 1]
                content = {"content": piece} if wanted.api == "chat" else piece
                yield self.delta(wanted, index, content, self.logprobs(wanted, stated, before), None)
                before += sum(len(one.text) for one in stated or ())
            yield self.delta(wanted, index, {} if wanted.api == "chat" else "", None, each.finish)

    def delta(
        self, wanted: Wanted, index: int, content: Any, logprobs: dict[str, Any] | None, finish: str | None
    ) -> dict[str, Any]:
        name = "delta" if wanted.api == "chat" else "text"
        return {"index": index, name: content, "logprobs": logprobs, "finish_reason": finish}
