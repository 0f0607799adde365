"""Honest servers of a hosted model: right in every way that the API leaves open."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from llmasos_conformance.adapters.kit.choosing import log_law
from llmasos_conformance.adapters.openai.api import Made, Reply, Stated
from llmasos_conformance.adapters.openai.wanted import Refused, Wanted
from llmasos_conformance.mutants.babbler import Babbler, Serving
from llmasos_conformance.protocol import Array


class Plain(Serving):
    """The server as it stands, over completions."""


class Chat(Serving):
    """The server as it stands, over chat."""

    over = "chat"


class InHandfuls(Serving):
    """Several tokens come in one event, between comments that keep the connection alive, with lines of another end."""

    def deltas(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> Iterator[dict[str, Any]]:
        every = list(super().deltas(wanted, prompt, made))
        if wanted.logprobs is not None or wanted.n > 1:
            yield from every
            return
        for start in range(0, len(every), 3):
            few = every[start : start + 3]
            yield {**few[-1], "text": "".join(delta["text"] for delta in few)}

    def events(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]) -> str:
        body = super().events(wanted, prompt, made, usage)
        return ": ping\r\n\r\n" + body.replace("\n\n", "\r\n\r\n: ping\r\n\r\n", 2).replace("data: ", "data:")


class Talkative(Serving):
    """Bodies have further members, null where others leave members out, a dated name of the model, and spaces."""

    over = "chat"

    def head(self, wanted: Wanted, *, chunk: bool = False) -> dict[str, Any]:
        more = {"system_fingerprint": "fp_1", "service_tier": None, "model": f"{self.name}-2026-11-01"}
        return {**super().head(wanted, chunk=chunk), **more}

    def choice(self, wanted: Wanted, prompt: Sequence[int], made: Made, index: int) -> dict[str, Any]:
        choice = super().choice(wanted, prompt, made, index)
        if wanted.api != "chat":
            return choice
        message = {**choice["message"], "content": made.text or None, "refusal": None, "tool_calls": []}
        return {**choice, "stop_reason": None, "message": message}

    def delta(
        self, wanted: Wanted, index: int, content: Any, logprobs: dict[str, Any] | None, finish: str | None
    ) -> dict[str, Any]:
        """Each delta has the role, and empty content is null."""
        if wanted.api == "chat":
            content = {"role": "assistant", "content": content.get("content") or None}
        return super().delta(wanted, index, content, logprobs, finish)

    def encoded(self, body: Any) -> str:
        return json.dumps(body, indent=None, separators=(", ", ": "))


class ChosenBeside(Serving):
    """The chosen token stands in the list of the likeliest too, so that there is one more of it; a list is null where
    none was asked for; parts of characters are written as bytes."""

    def stated(self, logits: Array, token: int, ids: Sequence[int], wanted: Wanted) -> Stated:
        made = super().stated(logits, token, ids, wanted)
        own = (made.text, made.logprob or 0.0)
        return made if own in made.top or not wanted.logprobs else Stated(
            text=made.text, logprob=made.logprob, top=(*made.top, own)
        )  # fmt: skip

    def shown(self, token: int, ids: Sequence[int]) -> str:
        model: Any = self.model
        assert isinstance(model, Babbler)
        try:
            return "</s>" if token in model.eos else model.raw([token]).decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in model.raw([token]))


class ChosenFirst(Serving):
    """The chosen token is the first of the likeliest, and the last of these gives way to it; bytes are those of the
    token, also of a part of a character."""

    over = "chat"

    def stated(self, logits: Array, token: int, ids: Sequence[int], wanted: Wanted) -> Stated:
        made = super().stated(logits, token, ids, wanted)
        own = (made.text, made.logprob or 0.0)
        rest = [pair for pair in made.top if pair != own]
        return Stated(text=made.text, logprob=made.logprob, top=(own, *rest)[: wanted.logprobs or 0])

    def shown(self, token: int, ids: Sequence[int]) -> str:
        model: Any = self.model
        return "</s>" if token in model.eos else model.raw([token]).decode("latin-1")

    def entry(self, stated: Stated) -> dict[str, Any]:
        def one(text: str, logprob: float | None) -> dict[str, Any]:
            raw = text.encode("latin-1")
            return {"token": raw.decode(errors="replace"), "logprob": logprob, "bytes": list(raw)}

        return {**one(stated.text, stated.logprob), "top_logprobs": [one(*each) for each in stated.top]}


class AnyName(Serving):
    """Any name of a model is taken, but the answer says whose it is; a refusal has another status and more members."""

    def judged(self, api: str, body: Any) -> Wanted:
        return super().judged(api, {**body, "model": self.name})

    def refusal(self, refused: Refused) -> Reply:
        return self.json(422, {"object": "error", "error": {"message": str(refused), "code": 422}})


class Frugal(Serving):
    """It samples, streams and stops, and refuses whatever else the API has."""

    over = "chat"
    shows = False
    refuses = frozenset(
        {"seed", "logprobs", "top_logprobs", "n", "echo", "top_p", "top_k", "min_p", "frequency_penalty",
         "presence_penalty", "stream_options"}
    )  # fmt: skip

    def judged(self, api: str, body: Any) -> Wanted:
        if api != "template" and (wrong := sorted(self.refuses & set(body))):
            raise Refused(400, f"{wrong[0]} is not supported", wrong[0], "unsupported_parameter")
        wanted = super().judged(api, body)
        if wanted.max_tokens == 0:
            raise Refused(400, "max_tokens has to be 1 at least", "max_tokens")
        return wanted


class Batched(Serving):
    """It claims D0: what is computed beside a request moves its logits, and so its greedy choices."""

    determinism = "D0"

    def logits(self, prompt: Sequence[int], ids: Sequence[int]) -> Array:
        z = super().logits(prompt, ids)
        return np.asarray(z + np.random.default_rng().normal(0.0, 0.3, z.shape))


class Tied(Serving):
    """It claims D1 and bfloat16: at once with others its logits are rounded, and near ties fall the other way."""

    determinism, dtype = "D1", "bfloat16"
    beside = False

    def logits(self, prompt: Sequence[int], ids: Sequence[int]) -> Array:
        z = super().logits(prompt, ids)
        return np.round(z * 8) / 8 if self.beside else z

    def together(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Reply]:
        self.beside = True
        try:
            return super().together(requests)
        finally:
            self.beside = False


class HalfWritten(Serving):
    """Logprobs are rounded to bfloat16, which is claimed."""

    over, dtype = "chat", "bfloat16"

    def stated_law(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        import ml_dtypes

        return log_law(logits).astype(ml_dtypes.bfloat16).astype(np.float64)


class FourDecimals(Serving):
    """Logprobs are written with four decimals, and minus infinity as null."""

    def stated(self, logits: Array, token: int, ids: Sequence[int], wanted: Wanted) -> Stated:
        made = super().stated(logits, token, ids, wanted)
        top = tuple((text, round(number, 4)) for text, number in made.top)
        return Stated(text=made.text, logprob=round(made.logprob or 0.0, 4), top=top)

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        """An end-of-sequence token is not counted."""
        counted = sum(len([token for token in each.ids if token not in self.model.eos]) for each in made)
        return {
            "prompt_tokens": len(prompt), "completion_tokens": counted, "total_tokens": len(prompt) + counted,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Repelled(Wanted):
    """A request with a penalty on what has come, which divides logits above 0 and multiplies those below."""

    repeat_penalty: float


class OwnDefaults(Serving):
    """It has defaults of its own where the API has none: a penalty on repetition, and the 40 likeliest tokens; 1 and -1
    switch them off. top_k 0 is refused."""

    def judged(self, api: str, body: Any) -> Wanted:
        if api == "template":
            return super().judged(api, body)
        given = dict(body)
        top_k, penalty = given.pop("top_k", 40), given.pop("repeat_penalty", 1.3)
        if type(top_k) is not int or (top_k < 1 and top_k != -1):
            raise Refused(400, "top_k has to be -1, or 1 at least", "top_k")
        if isinstance(penalty, bool) or not isinstance(penalty, int | float) or penalty <= 0:
            raise Refused(400, "repeat_penalty has to be above 0", "repeat_penalty")
        wanted = super().judged(api, given)
        held = {each.name: getattr(wanted, each.name) for each in fields(Wanted)}
        return Repelled(**{**held, "top_k": max(top_k, 0)}, repeat_penalty=float(penalty))

    def penalised(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        z = super().penalised(logits, wanted, ids)
        if isinstance(wanted, Repelled):
            came = np.unique(np.array(ids, dtype=int))
            z[came] = np.where(z[came] > 0, z[came] / wanted.repeat_penalty, z[came] * wanted.repeat_penalty)
        return z


HOSTED: Mapping[str, type[Serving]] = {
    "hosted-plain": Plain, "hosted-chat": Chat, "hosted-in-handfuls": InHandfuls, "hosted-talkative": Talkative,
    "hosted-chosen-beside": ChosenBeside, "hosted-chosen-first": ChosenFirst, "hosted-any-name": AnyName,
    "hosted-frugal": Frugal, "hosted-batched": Batched, "hosted-tied": Tied, "hosted-half-written": HalfWritten,
    "hosted-four-decimals": FourDecimals, "hosted-own-defaults": OwnDefaults,
}  # fmt: skip
"""Honest servers, `honest:NAME`."""
