"""A candidate as the checks see it, and the three links it can hang on.

    Candidate ── typed calls, the same for reference and candidate
       └─ Link ── Live:    asks a Connection, keeps what was asked and answered
                  Replay:  answers from stored evidence; refuses a question that the evidence does not hold
                  Direct:  asks a Connection and keeps nothing (the reference)

A question is therefore a function of (given, draw, candidate) alone. Replayed with the same draw it must ask exactly
the recorded calls; that is how a stranger sees that the stored inputs are the ones the seed demands.

Models and sessions appear in the log under names of ours (a bundle's digest; s1, s2, …), never under a candidate's
handles or a machine's paths, so that evidence is the same on every machine.
"""

from __future__ import annotations

import binascii
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from llmasos_conformance.errors import (
    CandidateFault,
    Died,
    HarnessError,
    Lost,
    Malformed,
    ProtocolBroken,
    Raised,
    TimedOut,
)
from llmasos_conformance.protocol import Array, Description, Encoding, Generation, Refusal

if TYPE_CHECKING:
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe

T = TypeVar("T")
Params = Mapping[str, Any]
Answer = Mapping[str, Any]

FAULTS: Mapping[str, type[CandidateFault]] = {
    kind.kind: kind for kind in (Raised, Malformed, Died, TimedOut, ProtocolBroken, Lost)
}


class Connection(Protocol):
    """One method for every call of the contract.

    `call` returns the validated answer (see `wire`), or raises `Refusal` or a `CandidateFault`.
    """

    description: Description

    def call(self, method: str, params: Params) -> Answer: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call as evidence keeps it: either a result, or the code of a refusal, or the kind of a fault."""

    method: str
    params: Params
    result: Answer | None = None
    refusal: str = ""
    fault: str = ""


class Link(Protocol):
    def ask(self, method: str, params: Params, *, path: str = "", random: bool = False) -> Answer: ...


class EvidenceMismatch(HarnessError):
    """Stored evidence does not hold the call that the case, its seed and its suite demand."""


class Direct:
    """Asks and forgets. Handles are kept per bundle, so that a bundle is loaded once.

    Args:
        connection: whom to ask.
        most: models that are kept; the one that was loaded or asked longest ago is let go of, and loaded again when it
            is asked. A candidate under test keeps all.

    Attributes:
        calls, seconds: how often was asked, and how long answers took, the way there and back included.
    """

    def __init__(self, connection: Connection, most: float = float("inf")) -> None:
        self.connection, self.most = connection, most
        self.calls, self.seconds = 0, 0.0
        self._models: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        self._sessions: dict[str, str] = {}
        self._samples: list[Answer] = []
        self._opened = 0

    def begin(self) -> None:
        """Forget sessions; names start again at s1. Called before each example."""
        for handle in self._sessions.values():
            try:
                self._call("close", {"session": handle})
            except (Refusal, CandidateFault):
                continue  # closing is a courtesy; what it breaks shows in the next answer
        for name in [name for name in self._models if name.startswith("t")]:
            try:
                self._call("unload_model", {"model": self._models.pop(name)})
            except (Refusal, CandidateFault):
                continue
        self._sessions.clear()
        self._samples.clear()
        self._opened = 0

    def ask(self, method: str, params: Params, *, path: str = "", random: bool = False) -> Answer:
        if method == "load_model":
            return self._load(str(params["bundle"]), path)
        actual = dict(params)
        if "model" in params:
            actual["model"] = self._held(params["model"])
        if "session" in params:
            actual["session"] = self._sessions[params["session"]]
        answer = self._call(method, actual)
        if "session" in answer:
            self._opened += 1
            name = f"s{self._opened}"
            self._sessions[name] = answer["session"]
            answer = {**answer, "session": name}
        if method == "train_step":
            name = f"t{1 + sum(each.startswith('t') for each in self._models)}"
            self._models[name] = answer["model"]
            answer = {**answer, "model": name}
        if method == "close":
            self._sessions.pop(params["session"], None)
        return self._first_equal(answer) if random else answer

    def _call(self, method: str, params: Params) -> Answer:
        started = time.perf_counter()
        try:
            return self.connection.call(method, params)
        finally:
            self.calls, self.seconds = self.calls + 1, self.seconds + time.perf_counter() - started

    def _first_equal(self, answer: Answer) -> Answer:
        """A random answer as the number of the first equal one of this example."""
        if answer not in self._samples:
            self._samples.append(answer)
        return {"sample": self._samples.index(answer)}

    def _load(self, bundle: str, path: str) -> Answer:
        if bundle not in self._models:
            self._models[bundle] = str(self._call("load_model", {"path": path})["model"])
            self._paths[bundle] = path
            if len(self._models) > self.most:
                oldest = next(name for name in self._models if name in self._paths)
                self._call("unload_model", {"model": self._models.pop(oldest)})
        return {}

    def _held(self, name: str) -> str:
        """Handle of a model that was loaded, whether or not it was let go of since."""
        if name not in self._models:
            self._load(name, self._paths[name])
        self._models[name] = handle = self._models.pop(name)  # asked last
        return handle

    def forget(self) -> None:
        """Drop every handle, because the process behind them is gone."""
        self._models.clear()
        self._sessions.clear()


class Live(Direct):
    """Asks, and keeps every exchange since the last `begin`."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.log: list[Exchange] = []

    def begin(self) -> None:
        super().begin()
        self.log = []

    def ask(self, method: str, params: Params, *, path: str = "", random: bool = False) -> Answer:
        try:
            answer = super().ask(method, params, path=path, random=random)
        except Refusal as refusal:
            self.log.append(Exchange(method, params, refusal=refusal.code))
            raise
        except CandidateFault as fault:
            self.log.append(Exchange(method, params, fault=fault.kind))
            raise
        self.log.append(Exchange(method, params, result=answer))
        return answer


class Replay:
    """Answers from evidence, in the recorded order.

    Raises:
        EvidenceMismatch: the question asked is not the one recorded, or the record is exhausted or has a rest.
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._rest: Iterator[Exchange] = iter(exchanges)

    def ask(self, method: str, params: Params, *, path: str = "", random: bool = False) -> Answer:
        exchange = next(self._rest, None)
        if exchange is None or exchange.method != method or _spelling(exchange.params) != _spelling(params):
            held = "nothing more" if exchange is None else f"{exchange.method} {dict(exchange.params)}"
            raise EvidenceMismatch(f"the case asks {method} {dict(params)!s:.200}; the evidence holds {held:.200}")
        if exchange.refusal:
            raise Refusal(exchange.refusal)
        if exchange.fault:
            raise FAULTS[exchange.fault]("as recorded")
        assert exchange.result is not None
        return exchange.result

    def finish(self) -> None:
        """Complain if the evidence holds calls that the case never asks."""
        rest = next(self._rest, None)
        if rest is not None:
            raise EvidenceMismatch(f"the evidence holds a call that the case does not ask: {rest.method}")


@dataclass(frozen=True, slots=True)
class Refused:
    """A typed refusal as a value, where a question wants to look at it."""

    code: str


class LoadedModel:
    """One bundle on one candidate. Methods mirror `protocol`; answers are typed and already validated."""

    def __init__(self, link: Link, bundle: str) -> None:
        self._link, self._bundle = link, bundle

    def _ask(self, method: str, **params: Any) -> Answer:
        return self._link.ask(method, {"model": self._bundle, **params})

    def tokenize(self, text: str, **options: Any) -> list[int]:
        return list(self._ask("tokenize", text=text, **options)["ids"])

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._ask("detokenize", ids=list(ids))["text"])

    def forward(self, batch: Sequence[Sequence[int]], **beside: Sequence[Sequence[int]]) -> list[Array]:
        """Logits [T, V] of every row; `sources` or `types` beside them where the architecture takes them."""
        return list(
            self._ask("forward", ids=_rows(batch), **{name: _rows(rows) for name, rows in beside.items()})["logits"]
        )

    def encode(self, batch: Sequence[Sequence[int]], **beside: Sequence[Sequence[int]]) -> list[Encoding]:
        answer = self._ask("encode", ids=_rows(batch), **{name: _rows(rows) for name, rows in beside.items()})
        return [Encoding(hidden=h, pooled=p) for h, p in zip(answer["hidden"], answer["pooled"], strict=True)]

    def hidden_states(self, ids: Sequence[int], **beside: Sequence[int]) -> list[Array]:
        """[T, D] before the first block and behind each."""
        return list(self._ask("hidden_states", ids=list(ids), **_each(beside))["hidden"])

    def attention(self, ids: Sequence[int], **beside: Sequence[int]) -> list[Array]:
        """[H, T, T] of each layer."""
        return list(self._ask("attention", ids=list(ids), **_each(beside))["attention"])

    def cross_attention(self, ids: Sequence[int], source: Sequence[int]) -> list[Array]:
        """[H, T, S] of each layer."""
        return list(self._ask("cross_attention", ids=list(ids), source=list(source))["attention"])

    def gradients(
        self, batch: Sequence[Sequence[int]], **beside: Sequence[Sequence[int]]
    ) -> tuple[float, dict[str, Array]]:
        """Loss, and its gradient by every tensor."""
        answer = self._ask("gradients", ids=_rows(batch), **{name: _rows(rows) for name, rows in beside.items()})
        return float(answer["loss"]), dict(answer["gradients"])

    def train_step(
        self, batch: Sequence[Sequence[int]], learning_rate: Any, **beside: Sequence[Sequence[int]]
    ) -> tuple[float, LoadedModel]:
        """Loss before the step, and the model after it."""
        rows = {name: _rows(rows) for name, rows in beside.items()}
        answer = self._ask("train_step", ids=_rows(batch), learning_rate=learning_rate, **rows)
        return float(answer["loss"]), LoadedModel(self._link, answer["model"])

    def export(self, **options: Any) -> dict[str, bytes]:
        """Files by name."""
        return {name: binascii.a2b_base64(data) for name, data in self._ask("export", **options)["files"].items()}

    def fill_mask(self, ids: Sequence[int], **options: Any) -> list[dict[int, float | None]]:
        return list(self._ask("fill_mask", ids=list(ids), **options)["fills"])

    def score(self, ids: Sequence[int], **beside: Sequence[int]) -> list[float | None]:
        return list(self._ask("score", ids=list(ids), **_each(beside))["logprobs"])

    def generate_text(self, prompt: str, **options: Any) -> Generation:
        return _generation(self._ask("generate_text", prompt=prompt, **options))

    def generate_ids(self, ids: Sequence[int], **options: Any) -> Generation:
        return _generation(self._ask("generate_ids", ids=list(ids), **options))

    def sample_text(self, prompt: str, **options: Any) -> int:
        """Generate without a seed. Returns the number of the first equal result of this example, 0 for a first one.

        What the standard wants random differs from run to run, but evidence must not: only which results are equal is
        kept.
        """
        answer = self._link.ask("generate_text", {"model": self._bundle, "prompt": prompt, **options}, random=True)
        return int(answer["sample"])

    def generate_batch(self, batch: Sequence[Sequence[int]], **options: Any) -> list[Generation]:
        answer = self._ask("generate_batch", ids=[list(row) for row in batch], **options)
        return [_generation(row) for row in answer["generations"]]

    def stream_text(self, prompt: str, **options: Any) -> tuple[list[str], Generation]:
        """The pieces in the order they came, and the generation that closed the stream."""
        answer = self._ask("stream_text", prompt=prompt, **options)
        return list(answer["deltas"]), _generation(answer["generation"])

    def open(self, ids: Sequence[int], **beside: Sequence[int]) -> LoadedSession:
        answer = self._ask("open", ids=list(ids), **_each(beside))
        return LoadedSession(self._link, answer["session"], answer["logits"])

    def perplexity(self, ids: Sequence[int], **options: Any) -> tuple[float | None, int]:
        """The perplexity, None for an infinite one, and the number of scored tokens."""
        answer = self._ask("perplexity", ids=list(ids), **options)
        return answer["perplexity"], answer["tokens"]


class LoadedSession:
    """An open cache on a candidate. `logits` [t, V] belong to the ids last given."""

    def __init__(self, link: Link, name: str, logits: Array) -> None:
        self._link, self._name, self.logits = link, name, logits

    def extend(self, ids: Sequence[int]) -> Array:
        self.logits = self._link.ask("extend", {"session": self._name, "ids": list(ids)})["logits"]
        return self.logits

    def fork(self) -> LoadedSession:
        return LoadedSession(self._link, self._link.ask("fork", {"session": self._name})["session"], self.logits)

    def close(self) -> None:
        self._link.ask("close", {"session": self._name})


class HostedModel:
    """The one model that a candidate serves by its own choice. What came is kept as it came; judges read it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def ask(self, api: str, request: Params) -> Answer:
        """Status, type and body of what a request was answered with.

        Args:
            api: "completions" or "chat". request: the body without the model's name.
        """
        return self._link.ask(api, {"request": dict(request)})

    def together(self, api: str, requests: Sequence[Params]) -> list[Answer]:
        """The same for several requests at once."""
        asked = [{"over": api, "request": dict(request)} for request in requests]
        return list(self._link.ask("together", {"requests": asked})["answers"])

    def template(self, messages: Sequence[Params]) -> Answer:
        """What messages become before the model reads them, as the server shows it."""
        return self._link.ask("template", {"request": {"messages": [dict(each) for each in messages]}})


@dataclass(slots=True)
class Candidate:
    """What a question may talk to.

    Attributes:
        link: where answers come from.
        description: what the candidate declared.
        probes: the probe models of this run, by name.
    """

    link: Link
    description: Description
    probes: Library = field(repr=False)

    def model(self, probe: str | Probe) -> LoadedModel:
        """Load a probe by name, or a bundle that the question made itself.

        Raises:
            Refusal: the candidate does not take the bundle.
        """
        bundle = self.probes.get(probe) if isinstance(probe, str) else probe
        self.link.ask("load_model", {"bundle": bundle.digest}, path=str(bundle.path))
        return LoadedModel(self.link, bundle.digest)

    @property
    def hosted(self) -> HostedModel:
        """The model that nobody loads."""
        return HostedModel(self.link)

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        """Score of texts or lists of tokens, each against one or more."""
        answer = self.link.ask("bleu", {"hypotheses": hypotheses, "references": references, **options})
        return float(answer["score"])

    def rouge(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> Answer:
        """`mean` and `segments`, each by kind of ROUGE and by precision, recall and f1."""
        return self.link.ask("rouge", {"hypotheses": hypotheses, "references": references, **options})

    def drawn_seed(self, draw: Draw) -> dict[str, int]:
        """The option `seed` where the candidate declares it, so that two runs keep the same evidence; else nothing."""
        seed = draw.integer(0, 2**31 - 1)
        return {"seed": seed} if "seed" in self.description.capabilities else {}


def _each(beside: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    return {name: list(row) for name, row in beside.items()}


def _rows(batch: Sequence[Sequence[int]]) -> list[list[int]]:
    return [list(row) for row in batch]


def refusal_of(call: Any, *args: Any, **options: Any) -> Any:
    """The value of a call, or `Refused` with its code. Faults pass through: they are not answers."""
    try:
        return call(*args, **options)
    except Refusal as refusal:
        return Refused(refusal.code)


def _spelling(params: Params) -> str:
    """Parameters as JSON: Python calls False, 0 and -0.0 equal, and a candidate may well not."""
    return json.dumps(params, sort_keys=True, default=dict)


def _generation(answer: Answer) -> Generation:
    return Generation(
        finish_reason=answer["finish_reason"],
        text=answer.get("text"),
        ids=answer.get("ids"),
        prompt_tokens=answer.get("prompt_tokens"),
        completion_tokens=answer.get("completion_tokens"),
        logprobs=answer.get("logprobs"),
    )
