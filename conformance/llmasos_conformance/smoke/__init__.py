"""Whether a candidate is wired at all: started, described, loaded, every declared capability called once, ended.

    address  start  describe     where it leads, whether it comes up, what it says of itself
    load_model …                 one bundle of each architecture that it declares
    forward …                    one call of each capability that it declares; the answer has the shape that is due
    completions, chat            one request each, and one as a stream, where a model is served and none is loaded
    refusal                      a request that has to be refused is refused, with a code
    unload_model  end            it lets go of the bundle, and ends when its input does

It takes seconds. It is no verdict: whether the answers are right is what the cases ask, and one call of each kind says
nothing of the next.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from llmasos_conformance import adapters, seating
from llmasos_conformance.adapters.address import Target
from llmasos_conformance.adapters.remote import Channel
from llmasos_conformance.adapters.stdio import GRACE_S, LOG_TO_STDERR, Process
from llmasos_conformance.candidate import Answer, Connection
from llmasos_conformance.canonical import clean, telling
from llmasos_conformance.errors import (
    ENDING,
    CandidateFault,
    Died,
    HarnessError,
    Lost,
    Malformed,
    ProtocolBroken,
    Raised,
    TimedOut,
)
from llmasos_conformance.graphs import making
from llmasos_conformance.graphs.contract import WRITTEN
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import ARCHITECTURES, CAPABILITIES, Description, Refusal
from llmasos_conformance.smoke import calls
from llmasos_conformance.smoke.calls import CALLS, GENERATES, OF_ADAPTER, SERVED, Odd, Subject
from llmasos_conformance.verdict import EXIT_ADAPTER

PROBES: Mapping[str, str] = {
    "GPT-3": "plain", "Llama": "llama-plain", "BERT": "bert-plain", "Transformer": "trf-plain",
}  # fmt: skip
WINDOWED: Mapping[str, str] = {"GPT-3": "banded", "Llama": "llama-window"}
"""Bundles whose attention has windows, by architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried.

    Attributes:
        name: of it. state: "ok"; "warn" for what may be meant; "bad" for what has to be mended; "left" for what was
            not tried, because of what came before.
        text: what was seen. hint: what to do unless it is ok. seconds: it took.
        broken: nobody can be asked any more, or nobody could from the start.
    """

    name: str
    state: str
    text: str
    hint: str = ""
    seconds: float = 0.0
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """All steps, and what the candidate said of itself; None if it did not."""

    steps: tuple[Step, ...]
    description: Description | None

    @property
    def exit_code(self) -> int:
        """0 if nothing is bad, 4 if the candidate could not be reached or asked to the end, else 1."""
        bad = [step for step in self.steps if step.state == "bad"]
        return EXIT_ADAPTER if any(step.broken for step in bad) else int(bool(bad))


# ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────────────


def run(
    address: str, *, directory: Path = Path(), timeout_s: float = 30.0, tell: Callable[[Step], None] = lambda step: None
) -> Tried:
    """Try an adapter. What goes wrong is told and not raised.

    Args:
        address: see `adapters`. directory: where relative addresses start. timeout_s: per call.
        tell: gets every step as soon as it is over.
    """
    steps: list[Step] = []
    said: list[Description] = []
    for step in _steps(address, directory, timeout_s, said):
        steps.append(step)
        tell(step)
    return Tried(steps=tuple(steps), description=said[0] if said else None)


def _steps(address: str, directory: Path, timeout_s: float, said: list[Description]) -> Iterator[Step]:
    """The steps in their order; `said` gets the candidate's description."""
    channels: list[Channel] = []

    def watch(channel: Channel) -> Channel:
        channels.append(channel)
        return channel

    name, started = "address", time.monotonic()
    try:
        target = adapters.check_address(address, directory)
        yield Step(name=name, state="ok", text=_leads(target))
        name, started = "start", time.monotonic()
        connection = seating.opened(address, directory=directory, timeout_s=timeout_s, watch=watch)
    except HarnessError as error:
        yield Step(name=name, state="bad", text=error.what, hint=seating.remedy(error) or START, broken=True)
        return
    took = time.monotonic() - started
    said.append(connection.description)
    yield Step(name=name, state="ok", text=f"described itself after {took:.2f} s", seconds=took)
    try:
        yield from _described(connection.description)
        with tempfile.TemporaryDirectory(prefix="llmasos-") as temporary:
            library = Library(Path(temporary).resolve() / "bundles", "0")
            yield from _Asker(connection, library, timeout_s).steps()
    finally:
        connection.close()
    yield _ended(channels[-1] if channels else None)


START = "start it by hand and send it a describe request; `llmasos try ADDRESS` shows what was asked"


def _leads(target: Target) -> str:
    """Where an address leads, for people."""
    if target.host:
        return f"a server, {target.scheme}://{target.host}:{target.port}{target.path}"
    return f"a program, {' '.join(target.command)}" if target.command else f"an object of Python, {target.canonical}"


def _described(said: Description) -> Iterator[Step]:
    who = f"{clean(said.name)} {clean(said.version)}, claims {said.claims.dtype} and {said.claims.determinism}"
    yield Step(name="describe", state="ok", text=f"{who}; {', '.join(sorted(said.offers)) or 'declares nothing'}")
    unknown = [clean(name) for name in said.architectures if name not in ARCHITECTURES]
    if unknown:
        known = ", ".join(ARCHITECTURES)
        yield Step(
            name="describe", state="warn", text=f"no case asks about {', '.join(unknown)}", hint=f"known are {known}"
        )


class _Asker:
    """Asks, and makes a step of what comes."""

    def __init__(self, connection: Connection, library: Library, timeout_s: float) -> None:
        self.connection, self.library, self.timeout_s = connection, library, timeout_s
        self.said = connection.description
        self.loaded: dict[str, Subject] = {}
        self.broken = ""

    def steps(self) -> Iterator[Step]:
        known = [name for name in ARCHITECTURES if name in self.said.architectures]
        if self._serves:
            yield from self._served()
            return
        if self._scores:
            yield Step(name="load_model", state="ok", text="is not declared; scores of texts need no model")
        elif "load_model" not in self.said.capabilities:
            hint = "declare load_model: a bundle is what every case is asked on, but for scores of texts"
            yield Step(name="load_model", state="bad", text="is not declared", hint=hint)
        elif not known:
            yield Step(name="load_model", state="bad", text="no architecture is declared that the format has",
                       hint=f"declare one of {', '.join(ARCHITECTURES)}")  # fmt: skip
        else:
            for architecture in known:
                yield self._load(architecture)
            if {*known} & {*GENERATES}:
                yield self._text()
            for capability in [name for name in CALLS if name in self.said.capabilities]:
                yield self._capability(capability)
            if "window" in self.said.capabilities:
                yield self._other("window", WINDOWED, lambda probe: self.library.get(probe).path)
            if "onnx" in self.said.capabilities:
                yield self._other("onnx", PROBES, self._graph)
        for capability in [name for name in OF_ADAPTER if name in self.said.capabilities]:
            yield self._try(capability, partial(OF_ADAPTER[capability], self._ask))
        yield self._refusal()
        for subject in self.loaded.values():
            yield self._try("unload_model", partial(self._unloaded, subject))

    def _ask(self, method: str, params: Mapping[str, Any]) -> Answer:
        return self.connection.call(method, params)

    def _load(self, architecture: str) -> Step:
        def load() -> str:
            probe = self.library.get(PROBES[architecture])
            handle = self._ask("load_model", {"path": str(probe.path)})["model"]
            self.loaded[architecture] = Subject(architecture=architecture, config=probe.config, handle=handle)
            return f"a small {architecture}: {probe.config['num_layers']} layers, {probe.config['vocab_size']} ids"

        return self._try("load_model", load)

    def _capability(self, capability: str) -> Step:
        call = CALLS[capability]
        subject = next((self.loaded[name] for name in call.architectures if name in self.loaded), None)
        if subject is not None:
            return self._try(capability, lambda: call.ask(self._ask, subject, **call.options))
        if {*call.architectures} & {*self.said.architectures}:
            return Step(name=capability, state="left", text="no bundle was loaded for it")
        due = " or ".join(call.architectures)
        return Step(name=capability, state="warn", text=f"declared, and has no meaning but for {due}",
                    hint=f"declare {due}, or take {capability} out of describe()")  # fmt: skip

    def _text(self) -> Step:
        """What nobody declares, because everybody who generates has it."""
        subject = next((self.loaded[name] for name in GENERATES if name in self.loaded), None)
        if subject is None:
            return Step(name="generate_text", state="left", text="no bundle was loaded for it")
        return self._try("generate_text", lambda: calls.generate_text(self._ask, subject))

    def _other(self, capability: str, probes: Mapping[str, str], path: Callable[[str], Path]) -> Step:
        """A capability that shows where another bundle is loaded."""
        architecture = next((name for name in probes if name in self.loaded), None)
        if architecture is None:
            return Step(name=capability, state="left", text="no bundle was loaded for it")
        plain = self.loaded[architecture]

        def tried() -> str:
            handle = self._ask("load_model", {"path": str(path(probes[architecture]))})["model"]
            config = self.library.get(probes[architecture]).config
            told = (
                calls.forward(self._ask, replace(plain, handle=handle, config=config)) if self._forwards else "loaded"
            )
            self._ask("unload_model", {"model": handle})
            return told

        return self._try(capability, tried)

    @property
    def _forwards(self) -> bool:
        return "forward" in self.said.capabilities

    def _graph(self, probe: str) -> Path:
        """A bundle whose weights are in model.onnx alone."""
        parts, config = self.library.parts(probe), self.library.get(probe).config
        architecture, dtype = str(parts.document["architecture"]), WRITTEN[self.said.claims.dtype]
        files = making.files(architecture, config, parts.weights, dtype=dtype)
        return self.library.write(parts.document, None, files=files).path

    @property
    def _scores(self) -> list[str]:
        """What it declares that needs no model, where it declares nothing else."""
        return [name for name in OF_ADAPTER if {name} <= self.said.capabilities <= {*OF_ADAPTER}]

    @property
    def _serves(self) -> list[str]:
        """APIs over which it serves a model of its own, where it loads none."""
        return (
            [] if "load_model" in self.said.capabilities else [api for api in SERVED if api in self.said.capabilities]
        )

    def _served(self) -> Iterator[Step]:
        """One request over each API, one as a stream, and one that has to be refused."""
        for api in self._serves:
            yield self._try(api, partial(calls.served, self._ask, api))
            if "stream" in self.said.capabilities:
                yield self._try("stream", partial(calls.served, self._ask, api, stream=True))
            yield self._turned_away(api)

    def _turned_away(self, api: str) -> Step:
        """A request that lacks what is to be continued. Whoever answers it as something else is still wired."""
        step = self._try(
            "refusal", partial(calls.turned_away, self._ask, api), "`llmasos explain HOST-8` says what is due"
        )
        return step if step.state != "bad" or step.broken else replace(step, state="warn")

    def _refusal(self) -> Step:
        """A bundle that is not there, or an option that there is not: everybody has to say so, and nobody may die of
        it."""
        if self._scores:
            params = {"hypotheses": ["a"], "references": [["a"]], "nonsense": 1}
            return self._refused(self._scores[0], params, "an option that there is not", "unknown_parameter")
        params = {"path": str(self.library.root / "nothing-here")}
        return self._refused("load_model", params, "a bundle that is not there", "not_found")

    def _refused(self, method: str, params: Mapping[str, Any], what: str, due: str) -> Step:
        def refused() -> str:
            try:
                self._ask(method, params)
            except Refusal as refusal:
                calls.must(refusal.code == due, f"{what} was refused as {refusal.code}")
                return f"{what}: {due}"
            raise Odd(f"{what} was taken")

        return self._try("refusal", refused, f'refuse it with {due}: error -32000, data {{"refusal": "{due}"}}')

    def _unloaded(self, subject: Subject) -> str:
        self._ask("unload_model", {"model": subject.handle})
        return subject.architecture

    def _try(self, name: str, action: Callable[[], str], hint: str = "") -> Step:
        if self.broken:
            return Step(name=name, state="left", text=self.broken)
        started = time.monotonic()
        try:
            return Step(name=name, state="ok", text=action(), seconds=time.monotonic() - started)
        except Odd as odd:
            text, broken = str(odd), False
            hint = hint or f"see what travels: `llmasos try`; what is due of {name}: {PAGE}"
        except Refusal as refusal:
            text, broken = f"a valid request was refused: {refusal.code}: {clean(refusal.message)}", False
            hint = _answered(name)
        except CandidateFault as fault:
            broken = fault.kind in ENDING
            self.broken = f"it could not be asked any more after {name}" if broken else ""
            text = "\n".join([clean(fault.message), *_tail(fault.detail)])
            hint = _REMEDIES[type(fault)].format(name=name, timeout=self.timeout_s)
        return Step(name=name, state="bad", text=text, hint=hint, seconds=time.monotonic() - started, broken=broken)


PAGE = "docs/protocol.md, or python -m pydoc llmasos_conformance.protocol"
"""Where it is said what every method answers; the latter is at hand wherever this program is."""

_REMEDIES: Mapping[type[CandidateFault], str] = {
    Raised: "mend {name} where the trace says; `llmasos try` shows what was asked",
    Malformed: f"`llmasos try` shows what came; what is due of {{name}}: {PAGE}",
    Died: "its last words are above; start it by hand and ask it {name}",
    TimedOut: "let {name} answer within {timeout:g} s, or give it more with --timeout",
    ProtocolBroken: LOG_TO_STDERR + "; one line of JSON for each question, and nothing else",
    Lost: "look into the server's log, and whether it still runs",
}  # fmt: skip


def _answered(name: str) -> str:
    """What to do where a valid request was refused."""
    if name == "load_model":
        return (
            "load it, or take its architecture out of `architectures` in describe(). Loaders have lists of their own, "
            "as kit.read_bundle has in an adapter in Python"
        )
    if name in CAPABILITIES:
        return f"answer it, or do not declare {name}"
    return "answer it: nobody declares it, because everybody has it"


def _tail(detail: str, lines: int = 4) -> list[str]:
    return telling(detail, lines)


def _ended(channel: Channel | None) -> Step:
    """How it took the end of its input; None is a server that has none."""
    if not isinstance(channel, Process):
        return Step(name="end", state="ok", text="the connection is closed; the server is left running")
    status = channel.popen.returncode
    if channel.obeyed is None:
        return Step(name="end", state="left", text="it had ended before")
    if not channel.obeyed:
        return Step(name="end", state="warn", text=f"it went on {GRACE_S:g} s after its input ended, and was killed",
                    hint="end when standard input does, and let no thread outlive it")  # fmt: skip
    if status:
        return Step(name="end", state="warn", text=f"it ended with status {status}", hint="end with status 0")
    return Step(name="end", state="ok", text="it ended by itself, with status 0")
