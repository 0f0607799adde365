"""Every line of docs/faults.yaml is done, over each transport that it names, and ends as it is written there."""

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from llmasos_conformance import errors, mishaps, wire
from llmasos_conformance.adapters import connect, hosted, pipes, stdio, web
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.candidate import FAULTS
from llmasos_conformance.canonical import schema
from llmasos_conformance.errors import AddressError, Lost, SuiteError, TimedOut
from llmasos_conformance.protocol import Refusal

DOCS = Path(__file__).parents[2] / "docs"
PARTS = mishaps.read((DOCS / "faults.yaml").read_bytes(), "faults.yaml")
EVERY = [each for part in PARTS for each in part.mishaps]
LIVES = ("answer", "refusal", "malformed", "raised")
"""Outcomes behind which the channel stays open."""
PLENTY_S, SLACK_S = 30.0, 3.0
TOKEN = "a-token-of-the-tests"

# What a peer says and does, the same over both transports; a process gets this text as its program.
PEER = r'''
import json, os, select, signal, sys, time

def right(number, method, frames):
    """The right answer to a question, as an object."""
    tensor = {"dtype": "F32", "shape": [2, 4], "data": "A" * 43 + "="}
    result = {
        "describe": {"protocol": "0.1-draft", "name": "peer", "version": "1",
                     "capabilities": ["tokenize", "forward", "load_model"], **({"frames": True} if frames else {})},
        "tokenize": {"ids": [97]}, "forward": {"logits": [tensor]}, "load_model": {"model": "m"},
    }[method]
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result})

def spelled(text, number, method, frames):
    """A text with its placeholders filled, as bytes."""
    for name, value in {
        "<ok>": right(number, method, frames), "<id>": str(number), "<next>": str(number + 1), "<bom>": "\ufeff",
        "<tensor>": '{"dtype":"F32","shape":[2,4],"frame":0}', "<nested>": '{"a":' + "[" * 100000,
        "<zeros>": ",".join("0" * 70000), "<token>": "a-token-of-the-tests",
    }.items():
        text = text.replace(name, value)
    return b"\xff".join(part.encode() for part in text.split("<ff>"))

def act(peer, steps, number, method, frames):
    """Do the steps, one after another; `peer` knows how."""
    for position, step in enumerate(steps):
        (verb, what), = step.items()
        if verb == "say": peer.say(spelled(what, number, method, frames))
        elif verb == "line": peer.line(spelled(what, number, method, frames))
        elif verb == "framed":
            fill = bytes.fromhex(what.get("fill", "00"))
            peer.framed(spelled(what["line"], number, method, frames) + b"\n" + fill * what["bytes"])
        elif verb == "repeat":
            (peer.err if what.get("err") else peer.say)(what["text"].encode() * what["times"])
        elif verb == "drip":
            for byte in what.encode():
                peer.say(bytes([byte])); peer.wait(0.05)
        elif verb == "http": peer.http(what, number, method, frames)
        elif verb == "wait": peer.done(); peer.wait(what)
        else: getattr(peer, verb)(what)
        peer.done()
'''

PROCESS = r"""
class Process:
    def __init__(self, flag): self.flag = flag
    def say(self, data):
        while data: data = data[os.write(1, data):]
    def line(self, data): self.say(data + b"\n")
    framed = say
    def err(self, data):
        data = data if isinstance(data, bytes) else data.encode()
        while data: data = data[os.write(2, data):]
    def wait(self, seconds): time.sleep(seconds)
    def exit(self, status): os._exit(status)
    def kill(self, name): os.kill(os.getpid(), getattr(signal, name))
    def shut(self, which): os.close({"in": 0, "out": 1}[which])
    def leave(self, seconds):
        if not os.fork(): time.sleep(seconds); os._exit(0)
    def done(self): open(self.flag + ".done", "w").close()

def main(flag, steps, when, frames, unread):
    peer, fresh, described = Process(flag), not os.path.exists(flag), False
    def now():
        open(flag, "w").close()
        act(peer, steps, number, method, frames)
    while True:
        number, method = 2, "tokenize"
        skip = unread and fresh and described
        if skip:
            select.select([0], [], [])
            fresh = False; now()
        line = sys.stdin.buffer.readline()
        if not line: return
        if skip: continue
        asked = json.loads(line)
        number, method = asked["id"], asked["method"]
        described = True
        if fresh and {"start": method == "describe", "call": method != "describe"}.get(when, False):
            fresh = False; now()
            continue
        peer.line(right(number, method, frames).encode())
        if fresh and when == "between" and method != "describe":
            fresh = False; now()

main(sys.argv[1], *json.load(open(sys.argv[2], encoding="utf-8")))
"""
COMMON = dict[str, object]()
exec(PEER, COMMON)
right, spelled, act = COMMON["right"], COMMON["spelled"], COMMON["act"]


class Server:
    """A server that does a fault once, and is right before and after it."""

    armed = False
    """Whether the fault may come now, where it is not for the start."""

    def __init__(self, mishap, kind):
        self.kind = kind
        self.mishap, self.fresh, self.acted, self.over = mishap, True, threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.paths, self.heads = set(), []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.kind(self, connection).run, daemon=True).start()

    def stop(self):
        self.over.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Conversation:
    """One connection of a server."""

    def __init__(self, server, connection):
        self.server, self.connection, self.rest = server, connection, connection.makefile("rb")

    def run(self):
        try:
            while self.one():
                pass
        except (OSError, ValueError):
            pass  # the harness hung up, or a step did
        finally:
            self.close("connection")

    def one(self):
        first = self.rest.readline()
        if not first:
            return False
        head = [first.decode()]
        while (line := self.rest.readline().decode()) not in ("\r\n", ""):
            head.append(line)
        self.server.paths.add(first.split()[1].decode())
        self.server.heads.append("".join(head))
        length = next(int(line.split(":")[1]) for line in head if line.startswith("Content-Length"))
        plan, server = self.server.mishap, self.server
        if plan.ask == "long" and server.fresh and length > 10_000:
            server.fresh = False
            act(self, plan.does, 2, "tokenize", plan.frames)
        asked = json.loads(self.rest.read(length))
        number, method = asked["id"], asked["method"]
        if server.fresh and {"start": method == "describe", "call": method != "describe"}.get(plan.when, False):
            server.fresh = False
            act(self, plan.does, number, method, plan.frames)
        else:
            self.line(right(number, method, plan.frames).encode())
            if server.fresh and plan.when == "between" and method != "describe":
                server.fresh = False
                act(self, plan.does, number, method, plan.frames)
        return True

    def say(self, data):
        self.connection.sendall(data)

    def line(self, data):
        self.send(data, [f"Content-Type: {wire.LINE_TYPE}"])

    def framed(self, data):
        self.send(data, [f"Content-Type: {wire.FRAMES_TYPE}"])

    def send(self, body, headers, status="200 OK", length=None):
        due = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status}", *headers, *([] if due == "" else [f"Content-Length: {due}"])]
        self.say("\r\n".join([*lines, "", ""]).encode() + body)

    def http(self, what, number, method, frames):
        headers = list(what.get("headers", ()))
        kind = what.get("type", wire.LINE_TYPE)
        if kind and not any(header.startswith("Content-Type") for header in headers):
            headers.append(f"Content-Type: {kind}")
        body = spelled(what.get("body", "<ok>"), number, method, frames)
        length = what.get("length", len(body) + what.get("longer", 0))
        if "chunks" in what:
            size = -(-len(body) // what["chunks"])
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            body = body[: len(body) - what.get("cut", 0)]
            headers.append("Transfer-Encoding: chunked")
            length = ""
        self.send(body, headers, what.get("status", "200 OK"), length)

    def endless(self, text):
        while not self.server.over.is_set():
            self.say(text.encode())

    def wait(self, seconds):
        self.server.over.wait(seconds)

    def close(self, which):
        if which == "listener":
            self.server.stop()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.rest.close()
        self.connection.close()

    def reset(self, _):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rest.close()
        self.connection.close()

    def done(self):
        self.server.acted.set()


REPLY = json.dumps(
    {
        "id": "1", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": "a", "finish_reason": "length", "logprobs": None}],
    }
)  # fmt: skip


class Chat(Conversation):
    """One connection of a server with an API like OpenAI's, which accepts whatever it is asked."""

    def one(self):
        first = self.rest.readline()
        if not first:
            return False
        head = [first.decode()]
        while (line := self.rest.readline().decode()) not in ("\r\n", ""):
            head.append(line)
        self.server.paths.add(first.split()[1].decode())
        self.server.heads.append("".join(head))
        self.rest.read(next(int(line.split(":")[1]) for line in head if line.startswith("Content-Length")))
        plan, server, armed = self.server.mishap, self.server, self.server.armed
        if server.fresh and (plan.when == "start" or (armed and plan.when == "call")):
            server.fresh = False
            self.act()
            return True
        self.http({}, 0, "", False)
        if server.fresh and armed and plan.when == "between":
            server.fresh = False
            self.act()
        return True

    def act(self):
        steps = json.dumps(self.server.mishap.does).replace("<reply>", REPLY.replace('"', '\\"'))
        act(self, json.loads(steps), 2, "tokenize", False)

    def http(self, what, number, method, frames):
        super().http({"body": REPLY, **what}, 2, "tokenize", frames)


class Peer:
    """A peer of either kind, and how to connect it."""

    def __init__(self, mishap, over, place):
        self.mishap, self.over, self.place, self.server = mishap, over, place, None

    def connect(self, limit):
        """A connection; describing itself may take `limit` seconds where the fault is there."""
        starting = limit if self.mishap.when == "start" else PLENTY_S
        if self.over in ("http", "openai"):
            self.server = Server(self.mishap, Chat if self.over == "openai" else Conversation)
            if self.mishap.when == "start" and self.mishap.does[0] == {"close": "listener"}:
                self.server.stop()
            address = f"{self.server.url}#token=TOKEN_OF_TEST"
            if self.over == "openai":
                address = f"openai:{address}&model=m"
            made = connect(address, timeout_s=limit, start_timeout_s=starting)
            self.server.armed = True
            return made
        (self.place / "peer.py").write_text(PEER + PROCESS, encoding="utf-8")
        plan = [self.mishap.does, self.mishap.when, self.mishap.frames, self.mishap.ask == "long"]
        (self.place / "plan.json").write_text(json.dumps(plan))
        command = (
            f"cmd:{sys.executable} -I -S {self.place / 'peer.py'} {self.place / 'flag'} {self.place / 'plan.json'}"
        )
        return connect(command, timeout_s=limit, start_timeout_s=starting)

    def wait_for_the_fault(self, pid):
        deadline = time.monotonic() + PLENTY_S
        while time.monotonic() < deadline:
            acted = self.server.acted.is_set() if self.server else (self.place / "flag.done").exists()
            if acted or (pid is not None and not alive(pid)):
                time.sleep(0.02)  # what was sent last is still on its way
                return
            time.sleep(0.005)
        raise AssertionError("the peer did not do its steps")

    def stop(self):
        if self.server:
            self.server.stop()


@pytest.fixture
def peer(tmp_path, monkeypatch):
    made = []

    def make(mishap, over):
        made.append(Peer(mishap, over, tmp_path))
        return made[-1]

    monkeypatch.setattr(wire, "MAX_LINE", 2**20)
    monkeypatch.setattr(web, "RETURN_S", 0.2)
    monkeypatch.setattr(web, "PAUSE_S", 0.05)
    monkeypatch.setattr(hosted, "RETURN_S", 0.2)
    monkeypatch.setattr(hosted, "PAUSE_S", 0.05)
    monkeypatch.setenv("TOKEN_OF_TEST", TOKEN)
    yield make
    for each in made:
        each.stop()


def alive(group):
    """Whether any process of a group runs."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(number) == group and state != "Z":
            return True
    return False


def lasts(group):
    """Whether any process of a group goes on: one that was killed takes its moment to be gone."""
    deadline = time.monotonic() + SLACK_S
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.005)
    return alive(group)


def question(ask, place):
    if ask == "forward":
        return "forward", {"model": "m", "ids": [[1, 2]]}
    if ask == "load":
        (place / "model.json").write_text("{}")
        return "load_model", {"path": str(place)}
    return "tokenize", {"model": "m", "text": "a" * (8_000_000 if ask == "long" else 1)}


def ordinary(connection):
    return connection.call("tokenize", {"model": "m", "text": "a"}) == {"ids": [97]}


def met(outcome, action):
    """The text of what an action ends in, which has to be the outcome."""
    kind = {"address": AddressError, "refusal": Refusal, **FAULTS}.get(outcome)
    if kind is None:
        return str(action())
    with pytest.raises(kind) as caught:
        action()
    assert type(caught.value).__name__ in (kind.__name__, "_Unloadable")
    return "\n".join([str(caught.value), getattr(caught.value, "detail", "")])


CASES = [
    pytest.param(each, over, kind, id=f"{over}{'' if kind is None else '-threads'}:{each.id}")
    for each in EVERY
    if each.over not in ("python", "openai")
    for over in (("stdio", "http") if each.over == "both" else (each.over,))
    for kind in ((None, pipes.Threaded) if over == "stdio" else (None,))
]
"""Over pipes also as systems without `poll` have them."""


@pytest.mark.parametrize(("mishap", "over", "kind"), CASES)
def test_a_fault_has_the_outcome_that_is_written(mishap, over, kind, peer, tmp_path, monkeypatch):
    if kind is not None:
        monkeypatch.setattr(pipes, "open_pipes", kind)
    other, limit = peer(mishap, over), mishap.limit or PLENTY_S
    if mishap.ask == "long":
        monkeypatch.setattr(wire, "MAX_LINE", 64 * 2**20)
    started = time.monotonic()
    if mishap.outcome == "address":
        said = met("address", lambda: other.connect(limit))
        assert any(text in said for text in mishap.told), said
        assert time.monotonic() - started < limit + SLACK_S
        assert TOKEN not in said
        return
    with other.connect(limit) as connection:
        pid = connection.pid
        if mishap.when == "between":
            assert ordinary(connection)
            other.wait_for_the_fault(pid)
        started = time.monotonic()
        said = met(mishap.outcome, lambda: connection.call(*question(mishap.ask, tmp_path)))
        assert time.monotonic() - started < limit + SLACK_S
        if mishap.next:
            other.wait_for_the_fault(pid)
            said = met(mishap.next, lambda: ordinary(connection))
        assert any(text in said for text in mishap.told), said
        assert TOKEN not in said
        closed = mishap.next or mishap.outcome not in LIVES
        assert not (closed and pid is not None and lasts(pid))
        connection._timeout = PLENTY_S  # the short limit was for the fault alone
        if closed and mishap.id != "server.blind":
            kind = type(connection._gone)
            with pytest.raises(kind, match="is gone since an earlier call"):
                ordinary(connection)
        if mishap.gone:
            with pytest.raises(AddressError):
                connection.restart()
            return
        if closed:
            connection.restart()
        assert ordinary(connection)
    if other.server:
        assert other.server.paths == {"/"}
        assert all(f"Authorization: Bearer {TOKEN}\r\n" in head for head in other.server.heads)


def completed(connection):
    return connection.call("completions", {"request": {"prompt": "a", "max_tokens": 1}})


@pytest.mark.parametrize("mishap", [each for each in EVERY if each.over == "openai"], ids=lambda each: each.id)
def test_a_fault_of_a_hosted_model_has_the_outcome_that_is_written(mishap, peer):
    other, limit = peer(mishap, "openai"), mishap.limit or PLENTY_S
    started = time.monotonic()
    if mishap.outcome == "address":
        said = met("address", lambda: other.connect(limit))
        assert any(text in said for text in mishap.told), said
        assert time.monotonic() - started < limit + SLACK_S
        assert TOKEN not in said
        return
    with other.connect(limit) as connection:
        if mishap.when == "between":
            assert completed(connection)["body"] == REPLY
            other.wait_for_the_fault(None)
        started = time.monotonic()
        said = met(mishap.outcome, lambda: completed(connection))
        assert time.monotonic() - started < limit + SLACK_S
        assert any(text in said for text in mishap.told), said
        assert TOKEN not in said
        connection._timeout = PLENTY_S
        if mishap.gone:
            with pytest.raises(AddressError):
                connection.restart()
            return
        if mishap.outcome not in LIVES:
            connection.restart()
        assert completed(connection)["body"] == REPLY
    assert other.server.paths <= {"/v1/completions", "/apply-template", "/tokenize"}
    assert all(f"Authorization: Bearer {TOKEN}\r\n" in head for head in other.server.heads)


@pytest.mark.parametrize(("name", "told"), [("api.closes", "closed without an answer"), ("api.resets", "was lost")])
def test_a_hosted_model_that_hangs_up_on_a_new_connection_too_is_lost(name, told, peer, monkeypatch):
    def again(chat, act=Chat.act):
        chat.server.fresh = True
        act(chat)

    other = peer(next(each for each in EVERY if each.id == name), "openai")
    with other.connect(PLENTY_S) as connection:
        monkeypatch.setattr(Chat, "act", again)
        with pytest.raises(Lost, match=told):
            completed(connection)


def test_a_hosted_model_that_is_busy_with_what_was_given_up_is_waited_for(peer, monkeypatch):
    other = peer(next(each for each in EVERY if each.id == "api.silent"), "openai")
    with other.connect(0.3) as connection:
        with pytest.raises(TimedOut):
            completed(connection)
        other.server.fresh = True  # the next question is not answered in time either
        monkeypatch.setattr(hosted, "RETURN_S", 0.0)
        connection.restart()
        assert completed(connection)["body"] == REPLY
        other.server.fresh = True
        monkeypatch.setattr(hosted, "BUSY_S", 0.0)
        with pytest.raises(AddressError, match="no answer within"):
            connection.restart()


@pytest.mark.parametrize("mishap", [each for each in EVERY if each.over == "python"], ids=lambda each: each.id)
def test_a_fault_in_this_process_has_the_outcome_that_is_written(mishap):
    class Model:
        spent = False

        def tokenize(self, text):
            if not self.spent:
                self.spent = True
                ((verb, what),) = mishap.does[0].items()
                if verb == "return":
                    return what
                if verb == "wait":
                    time.sleep(what)
                else:
                    raise {"ValueError": ValueError, "SystemExit": SystemExit, "Refusal": Refusal}[what]("unsupported")
            return [97]

    class Adapter:
        def describe(self):
            return {"name": "x", "version": "1", "capabilities": ["tokenize"]}

        def load_model(self, path):
            return Model()

    connection = InProcess(Adapter(), timeout_s=mishap.limit or PLENTY_S)
    held = connection.call("load_model", {"path": "x"})["model"]
    said = met(mishap.outcome, lambda: connection.call("tokenize", {"model": held, "text": "a"}))
    assert any(text in said for text in mishap.told), said
    assert connection.call("tokenize", {"model": held, "text": "a"}) == {"ids": [97]}


# ── the list and its pages ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "language"), [("faults.md", "en"), ("faults.zh.md", "zh")])
def test_the_pages_are_made_from_the_list(name, language):
    assert (DOCS / name).read_text(encoding="utf-8") == mishaps.page(PARTS, language)


def test_the_states_on_the_page_are_those_that_the_engine_gives():
    page = mishaps._PAGE["en"]
    unanswered = {kind.kind for kind in errors.UNANSWERED}
    assert {kind for kind in FAULTS if page[kind] == "error"} == unanswered
    assert {kind for kind in FAULTS if page[kind] == "fail"} == FAULTS.keys() - unanswered
    assert AddressError.exit_code == 4
    assert {each.outcome for each in EVERY} == {*FAULTS, "address", "refusal", "answer"}


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema("fault"))


ENTRY = "  - {id: a.b, en: It ends, zh: 结束, do: [{exit: 1}], outcome: died, told: x}\n"
HEAD = "parts:\n- title: {en: Some, zh: 若干}\n  over: stdio\n  when: call\n  faults:\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + ENTRY + ENTRY, "a.b stands twice"),
        (HEAD + ENTRY.replace("died", "gone"), "list.yaml:6"),
        (HEAD + ENTRY.replace(", zh: 结束", ""), "zh"),
    ],
)
def test_a_malformed_list_is_refused(text, told, tmp_path, capsys):
    with pytest.raises(SuiteError, match=told):
        mishaps.read(text.encode(), "list.yaml")
    (tmp_path / "list.yaml").write_text(text, encoding="utf-8")
    assert mishaps.main([str(tmp_path / "list.yaml")]) == 1
    assert told in capsys.readouterr().err
    assert mishaps.main([str(tmp_path / "absent.yaml")]) == 1


def test_the_command_prints_the_page(capsys):
    assert mishaps.main([str(DOCS / "faults.yaml"), "--language", "zh"]) == 0
    assert capsys.readouterr().out == mishaps.page(PARTS, "zh")


# ── other systems ──


@pytest.fixture(params=[pipes.Polled, pipes.Threaded], ids=["polled", "threads"])
def kind(request, monkeypatch):
    monkeypatch.setattr(pipes, "open_pipes", request.param)
    return request.param


def test_megabytes_go_both_ways_over_either_kind_of_pipes(kind, tmp_path):
    (tmp_path / "echo.py").write_text(ECHOING)
    with connect(f"cmd:{sys.executable} -I {tmp_path / 'echo.py'}", directory=tmp_path) as other:
        text = "é" * 2**20
        assert other.call("detokenize", {"model": "m", "ids": [1] * 2**19}) == {"text": text}
        for _ in range(3):
            assert other.call("detokenize", {"model": "m", "ids": [1]}) == {"text": text}


ECHOING = """
import json, sys
DESCRIBED = {"protocol": "0.1-draft", "name": "echo", "version": "1", "capabilities": ["load_model", "tokenize"]}
for line in sys.stdin:
    asked = json.loads(line)
    result = DESCRIBED if asked["method"] == "describe" else {"text": "\\u00e9" * 2**20}
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode() + b"\\n")
    sys.stdout.buffer.flush()
"""


def test_threads_of_pipes_end_with_the_channel(monkeypatch, tmp_path):
    monkeypatch.setattr(pipes, "open_pipes", pipes.Threaded)
    (tmp_path / "echo.py").write_text(ECHOING)
    before = set(threading.enumerate())
    other = connect(f"cmd:{sys.executable} -I {tmp_path / 'echo.py'}", directory=tmp_path)
    other.call("detokenize", {"model": "m", "ids": [1]})
    other.close()
    deadline = time.monotonic() + PLENTY_S
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


def test_without_waitid_an_end_is_noticed_and_what_was_left_behind_is_ended(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "waitid")
    left = tmp_path / "left"
    (tmp_path / "brief.py").write_text(
        ECHOING.replace("import json, sys", "import json, os, subprocess, sys").replace(
            "    asked = json.loads(line)",
            "    asked = json.loads(line)\n"
            "    if asked['method'] != 'describe':\n"
            "        sleep = [sys.executable, '-I', '-c', 'import time; time.sleep(600)']\n"
            "        child = subprocess.Popen(sleep, stdout=subprocess.DEVNULL)\n"
            f"        open({str(left)!r}, 'w').write(str(child.pid))\n"
            "        os._exit(3)",
        )
    )
    other = connect(f"cmd:{sys.executable} -I {tmp_path / 'brief.py'}", directory=tmp_path)
    with pytest.raises(errors.Died, match="ended with status 3"):
        other.call("detokenize", {"model": "m", "ids": [1]})
    deadline = time.monotonic() + PLENTY_S
    while running(int(left.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(int(left.read_text()))


def running(pid):
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_on_windows_the_tree_of_a_child_is_ended_by_the_tool_of_the_system(monkeypatch):
    ran = []
    monkeypatch.setattr(stdio.subprocess, "run", lambda command, **_: ran.append(command))
    child = SimpleNamespace(pid=7, kill=lambda: ran.append("kill"))
    stdio._end_tree(child)
    assert ran == [["taskkill", "/F", "/T", "/PID", "7"], "kill"]
