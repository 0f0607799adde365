"""docs/protocol.md and docs/wire.md: what stands there in examples and tables is what the harness and the host do."""

import io
import re
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from llmasos_conformance import capabilities, wire
from llmasos_conformance.adapters import serving, web
from llmasos_conformance.adapters.address import Target
from llmasos_conformance.adapters.answering import Desk
from llmasos_conformance.adapters.host import serve as serve_stdio
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.candidate import FAULTS
from llmasos_conformance.protocol import CAPABILITIES, DTYPES, PROTOCOL_VERSION, REFUSAL_CODES, Generation, Refusal

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["protocol.md", "protocol.zh.md", "wire.md", "wire.zh.md"]


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name):
    """Contents of the fenced blocks of a page."""
    return re.findall(r"^```\w*\n(.*?)^```$", page(name), re.DOTALL | re.MULTILINE)


class Model:
    """The candidate of the examples: four ids, always the same logits."""

    def tokenize(self, text):
        return [byte % 4 for byte in text.encode()]

    def detokenize(self, ids):
        raise Refusal("unsupported", "ids have no text")

    def forward(self, batch):
        return [np.tile(np.arange(4, dtype=np.float32), (len(row), 1)) for row in batch]

    def generate_text(self, prompt, max_length=100, temperature=1.0, **options):
        if options:
            raise Refusal("unknown_parameter", f"no option {min(options)}")
        return Generation(finish_reason="length", text="!" * max_length, completion_tokens=max_length)

    def stream_text(self, prompt, max_length=100, temperature=1.0):
        yield from "!" * max_length
        yield self.generate_text(prompt, max_length)


class Constant:
    def describe(self):
        offered = ["load_model", "tokenize", "forward", "stream"]
        return {"name": "constant", "version": "1.0", "capabilities": offered, "claims": {"dtype": "float32"}}

    def load_model(self, path):
        if path != "/bundles/a":
            raise Refusal("not_found", "no bundle there")
        return Model()


def desk():
    return Desk(lambda: InProcess(Constant(), timeout_s=float("inf")))


def exchanges(block):
    """Questions and answers of a transcript, and the frames behind each answer, as bytes."""
    found = []
    for line in block.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "→":
            found.append([rest.encode() + b"\n", b"", []])
        elif mark == "←":
            found[-1][1] = rest.encode() + b"\n"
        elif mark == "⇠":
            found[-1][2].append(bytes.fromhex(rest))
    return found


TRANSCRIPTS = [(name, number) for name in PAGES for number, block in enumerate(blocks(name)) if block.startswith("→ ")]


@pytest.mark.parametrize(("name", "number"), TRANSCRIPTS)
def test_a_transcript_is_what_harness_and_host_say(name, number):
    asked = exchanges(blocks(name)[number])
    host = desk()
    for question, answer, frames in asked:
        said = wire.parse_line(question)
        framed = said.get("frames", False)
        line = wire.request_line(said["id"], said["method"], said["params"], frames=framed)
        assert line == question
        assert [bytes(part) for part in host.answer(question)] == [answer, *frames]
    output = io.BytesIO()
    assert serve_stdio(io.BytesIO(b"".join(each[0] for each in asked)), output, lambda: InProcess(Constant())) == 0
    assert output.getvalue() == b"".join(b"".join([each[1], *each[2]]) for each in asked)


@pytest.mark.parametrize("name", ["protocol", "wire"])
def test_both_languages_have_the_same_examples(name):
    english, chinese = blocks(f"{name}.md"), blocks(f"{name}.zh.md")
    assert [block for block in english if "→" in block or "HTTP/1.1" in block] == [
        block for block in chinese if "→" in block or "HTTP/1.1" in block
    ]
    assert any(block.startswith("→") for block in english)


@pytest.mark.parametrize("name", ["wire.md", "wire.zh.md"])
def test_the_request_over_http_is_the_one_that_is_sent_and_the_response_a_valid_one(name):
    request, response = (block for block in blocks(name) if "HTTP/1.1" in block)
    head, _, body = request.replace("\n", "\r\n").partition("\r\n\r\n")
    listener = socket.create_server(("127.0.0.1", 0))
    port, seen = listener.getsockname()[1], []

    def once():
        connection, _ = listener.accept()
        with connection:
            while not seen or not seen[-1].endswith(b"}\n"):
                seen.append(b"".join(seen[-1:]) + connection.recv(65536))
            top, _, line = response.partition("\n\n")
            connection.sendall(top.replace("\n", "\r\n").encode() + b"\r\n\r\n" + line.encode())

    thread = threading.Thread(target=once)
    thread.start()
    question = wire.parse_line(body.replace("\r\n", "\n").encode())
    line = wire.request_line(question["id"], question["method"], question["params"], frames=True)
    target = Target(address="x", scheme="http", host="127.0.0.1", port=port, path="/")
    channel = web._Connection(target, "")
    message = channel.exchange(line, 20, frames=True)
    channel.end(0)
    thread.join(10)
    listener.close()
    assert seen[-1].decode().replace("\r\n", "\n") == request.replace(":8000", f":{port}")
    assert wire.check_answer(question["method"], question["params"], message.answer["result"])
    assert head.startswith("POST / HTTP/1.1\r\n")


@pytest.mark.parametrize("name", ["protocol.md", "protocol.zh.md"])
def test_the_page_of_the_protocol_names_all_methods_capabilities_codes_and_dtypes(name):
    text = page(name)
    words = set(re.findall(r"`([a-z_0-9]+)`", text))
    assert set(wire.METHODS) <= words
    assert set(REFUSAL_CODES) <= words
    assert set(CAPABILITIES) <= words
    assert set(DTYPES) <= words
    assert PROTOCOL_VERSION in text
    for code in (wire.REFUSED, wire.INVALID_REQUEST, wire.NO_METHOD, wire.INVALID_PARAMS):
        assert f"{code}" in text
    for data in ("refusal", "raised", "malformed", "died", "address", "detail"):
        assert f'"{data}"' in text


@pytest.mark.parametrize("name", ["protocol.md", "protocol.zh.md"])
@pytest.mark.parametrize("method", wire.METHODS)
def test_the_table_of_methods_lists_the_params_that_are_required(name, method):
    (row,) = (line for line in page(name).splitlines() if line.startswith(f"| `{method}` |"))
    params = set(re.findall(r"\w+", row.split("|")[2]))
    assert {"ids" if role == "batch" else role for role in wire.PARAMS[method]} | set(
        wire.BESIDE.get(method, ())
    ) == params - {"options"}
    assert (method in wire.OPTIONAL) == ("options" in params)


@pytest.mark.parametrize("name", ["protocol.md", "protocol.zh.md"])
def test_the_table_of_methods_says_which_capability_each_belongs_to(name):
    rows = (line.split("|") for line in page(name).splitlines() if re.match(r"\| `[a-z_]+` \|", line))
    belongs = [(method.strip(" `"), capability.strip(" `")) for _, method, _, _, capability, _ in rows]
    said = {capability: [m for m, c in belongs if c == capability] for _, capability in belongs if capability}
    made = {each: [*capabilities.taken(each).methods] for each in CAPABILITIES}
    assert said == {each: methods for each, methods in made.items() if methods}


def test_a_capability_without_a_method_is_an_option_or_read_from_bundles():
    without = {each for each in CAPABILITIES if not capabilities.taken(each).methods}
    assert without == {*capabilities.OPTIONS, *capabilities.BUNDLES}
    with pytest.raises(KeyError):
        capabilities.taken("windows")


@pytest.mark.parametrize("name", ["wire.md", "wire.zh.md"])
def test_the_page_of_the_wire_has_the_limits_and_the_faults(name):
    text = page(name)
    for number in (wire.MAX_LINE, wire.MAX_TENSORS):
        assert f"{number // 2**20} MiB" in text
    assert str(wire.MAX_FRAMES) in text.replace(" ", "").replace(",", "")
    for kind in FAULTS:
        assert f"`{kind}`" in text
    for word in (wire.LINE_TYPE, wire.FRAMES_TYPE, "#token=", "401", "405", "411", "413", "415", "421"):
        assert word in text
    assert serving.USAGE == 2
