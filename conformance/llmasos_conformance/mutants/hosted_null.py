"""Null candidates behind an API like OpenAI's: they answer in the right shape whatever is asked, and know nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos_conformance.adapters.openai.api import Made, Reply, Stated
from llmasos_conformance.adapters.openai.wanted import Wanted
from llmasos_conformance.mutants.babbler import Serving

TEXT = (" the", " same", " answer", " as", " ever")


class Constant(Serving):
    """Every request is accepted, and answered with the same words."""

    def answer(self, api: str, body: Any) -> Reply:
        if api == "template":
            return self.json(200, {"prompt": "always the same"})
        flag = body.get("stream") is True
        count = body.get("top_logprobs") if api == "chat" else body.get("logprobs")
        asked = count if type(count) is int else None
        wanted = Wanted(api=api, model=str(body.get("model")), logprobs=asked, stream=flag)
        stated = [Stated(text=text, logprob=-1.0, top=tuple(self.listed(text, asked or 0))) for text in TEXT]
        made = [Made(ids=[1] * len(TEXT), text="".join(TEXT), finish="length", stated=stated, pieces=list(TEXT))]
        usage = {"prompt_tokens": 7, "completion_tokens": len(TEXT), "total_tokens": 7 + len(TEXT)}
        if flag:
            return {"status": 200, "type": "text/event-stream", "body": self.events(wanted, [], made, usage)}
        return self.json(200, {**self.body(wanted, [], made, usage), "model": wanted.model})

    def listed(self, text: str, count: int) -> list[tuple[str, float]]:
        return [(text, -1.0), *((f" other{i}", -2.0) for i in range(count - 1))]


class ConstantChat(Constant):
    """The same over chat."""

    over = "chat"


class Backwards(Constant):
    """The same, with numbers that are no logarithms of probabilities, and events that no client can read."""

    def listed(self, text: str, count: int) -> list[tuple[str, float]]:
        return [(text, 1.0), *((f" other{i}", 2.0) for i in range(max(count - 1, 0)))]

    def encoded(self, body: Any) -> str:
        return super().encoded({"data": body})


class BackwardsChat(Backwards):
    """The same over chat."""

    over = "chat"


HOSTED: Mapping[str, type[Serving]] = {
    "hosted-constant": Constant, "hosted-constant-chat": ConstantChat, "hosted-backwards": Backwards,
    "hosted-backwards-chat": BackwardsChat,
}  # fmt: skip
"""Servers that know nothing, `null:NAME`."""
