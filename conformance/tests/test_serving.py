"""Our own server: what it answers to whom, that it keeps to its machine, and that a run against it can be certified."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from llmasos_conformance import wire
from llmasos_conformance.adapters import connect, serving, web
from llmasos_conformance.adapters.address import Target
from llmasos_conformance.adapters.answering import Desk
from llmasos_conformance.adapters.connecting import HOST
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.errors import AddressError, Died, Lost, Raised, TimedOut
from llmasos_conformance.protocol import Refusal

ADAPTER = """
import os, sys, threading, time
class Model:
    def generate_text(self, prompt, **options):
        if prompt == "exit": sys.exit(3)
        if prompt == "die": os._exit(7)
        if prompt == "slow": time.sleep(1.0)
        if prompt == "raise": raise ValueError("half a pair \\ud800")
        return {"finish_reason": "stop", "text": threading.current_thread().name + prompt}
class Adapter:
    def describe(self): return {"name": "served", "version": "1", "capabilities": ["load_model"]}
    def load_model(self, path): return Model()
"""
TOKEN = "abcdefghijklmnop.-_~+/=="


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "served.py"
    path.write_text(ADAPTER, encoding="utf-8")
    return f"{path}:Adapter"


@pytest.fixture(scope="module")
def url(adapter, serve):
    return serve(adapter)


def place(url):
    return url.removeprefix("http://")


def post(url, body, method="POST", **headers):
    """Status, headers and body that a server answers with."""
    connection = http.client.HTTPConnection(place(url), timeout=20)
    try:
        given = {"Content-Type": "application/json", **{name.replace("_", "-"): v for name, v in headers.items()}}
        connection.request(method, "/", body, given)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


DESCRIBE = b'{"jsonrpc":"2.0","id":1,"method":"describe","params":{}}'


def generate(connection, prompt):
    model = connection.call("load_model", {"path": "x"})["model"]
    return connection.call("generate_text", {"model": model, "prompt": prompt})["text"]


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_answered_with_the_line_of_the_protocol(url):
    status, headers, body = post(url, DESCRIBE)
    assert (status, headers["Content-Type"], int(headers["Content-Length"])) == (200, "application/json", len(body))
    assert wire.parse_line(body)["result"]["frames"] is True


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"nonsense", wire.INVALID_REQUEST),
        (b'{"id":1}', wire.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"x"}', wire.NO_METHOD),
        (b'{"jsonrpc":"2.0","id":1,"method":"forward","params":{}}', wire.INVALID_PARAMS),
    ],
)
def test_errors_of_the_protocol_have_status_200(url, body, code):
    status, _, said = post(url, body)
    assert (status, json.loads(said)["error"]["code"]) == (200, code)


@pytest.mark.parametrize(
    ("status", "method", "headers"),
    [
        (405, "GET", {}),
        (501, "PUT", {}),
        (415, "POST", {"Content_Type": "text/plain"}),
        (411, "POST", {"Content_Length": "x"}),
        (413, "POST", {"Content_Length": str(wire.MAX_LINE + 1)}),
        (421, "POST", {"Host": "example.org"}),
        (421, "POST", {"Host": "[2001:db8::1]:80"}),
    ],
)
def test_what_is_no_question_is_refused_and_the_connection_closed(url, status, method, headers):
    found, said, _ = post(url, DESCRIBE, method, **headers)
    assert found == status
    assert said["Connection"] == "close"


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000"])
def test_this_machine_has_several_names(url, host):
    assert post(url, DESCRIBE, Host=host)[0] == 200


# ── the adapter ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_several_askers_share_one_adapter_in_its_first_thread(url):
    with connect(url) as one, connect(url) as other:
        texts = [generate(each, "a") for each in (one, other, one)]
    assert texts == ["MainThreada"] * 3


def test_who_asks_only_who_is_there_is_not_kept_waiting(url):
    with connect(url, timeout_s=0.3) as hanging:
        with pytest.raises(TimedOut):
            generate(hanging, "slow")
        started = time.monotonic()
        hanging.restart()
        assert time.monotonic() - started < 0.6


def test_a_question_that_nobody_waits_for_is_not_put():
    put = []

    class Counted:
        def call(self, method, params):
            put.append(method)
            time.sleep(0.3)
            return {"text": "a"}

    server = serving.Server(Desk(Counted), "127.0.0.1", 0)
    runner = threading.Thread(target=server.run)
    runner.start()
    body = b'{"jsonrpc":"2.0","id":1,"method":"detokenize","params":{}}'
    head = (
        f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    where = ("127.0.0.1", int(server.address.rpartition(":")[2]))
    askers = [socket.create_connection(where) for _ in range(2)]
    for asker in askers:
        asker.sendall(head.encode() + body)
        time.sleep(0.1)
    for asker in askers:
        asker.close()
    time.sleep(0.05)
    server.stop()
    runner.join(10)
    assert not runner.is_alive()
    assert put == ["detokenize"]


def test_an_exception_comes_with_a_message_that_can_travel(url):
    with connect(url) as connection, pytest.raises(Raised, match="half a pair \\?"):
        generate(connection, "raise")


def test_an_adapter_that_leaves_has_died_and_its_server_with_it(adapter, serve, monkeypatch):
    monkeypatch.setattr(web, "RETURN_S", 0.2)
    url = serve(adapter)
    with connect(url) as connection:
        with pytest.raises(Died, match=r"sys\.exit\(3\)"):
            generate(connection, "exit")
        assert serve.processes[url].wait(20) == 1
        with pytest.raises(AddressError, match="cannot be reached"):
            connection.restart()


def test_a_server_that_is_started_again_is_found_again(adapter, serve):
    url = serve(adapter)
    port = int(url.rpartition(":")[2])
    with connect(url) as connection:
        with pytest.raises(Lost, match="closed without an answer"):
            generate(connection, "die")
        threading.Timer(0.3, lambda: serve(adapter, port=port)).start()
        connection.restart()
        assert generate(connection, "a") == "MainThreada"


def test_a_bundle_that_the_server_refuses_is_its_own_affair_once_it_has_seen_one(tmp_path):
    class Adapter:
        def describe(self):
            return {"name": "x", "version": "1"}

        def load_model(self, path):
            if path.endswith("two"):
                raise Refusal("not_found")
            return object()

    server = serving.Server(Desk(lambda: InProcess(Adapter())), "127.0.0.1", 0)
    runner = threading.Thread(target=server.run)
    runner.start()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text("{}")
    with connect(server.address) as connection:
        with pytest.raises(Refusal):
            connection.call("load_model", {"path": str(tmp_path / "absent" / "two")})
        with pytest.raises(Lost, match="does not see"):
            connection.call("load_model", {"path": str(tmp_path / "two")})
        connection.restart()
        connection.call("load_model", {"path": str(tmp_path / "one")})
        with pytest.raises(Refusal):
            connection.call("load_model", {"path": str(tmp_path / "two")})
    server.stop()
    runner.join(10)


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_with_a_token_answers_who_shows_it(adapter, serve, monkeypatch):
    url = serve(adapter, "--token", "SERVED", env={**os.environ, "SERVED": TOKEN})
    monkeypatch.setenv("ASKER", TOKEN)
    with connect(f"{url}#token=ASKER") as connection:
        assert generate(connection, "a") == "MainThreada"
    with pytest.raises(AddressError, match="HTTP status 401 Unauthorized: name the variable"):
        connect(url)
    monkeypatch.setenv("ASKER", "another-token-than-due")
    with pytest.raises(AddressError, match="401") as caught:
        connect(f"{url}#token=ASKER")
    assert "another-token" not in str(caught.value)
    monkeypatch.setenv("ASKER", "short")
    with pytest.raises(AddressError, match="holds no token"):
        connect(f"{url}#token=ASKER")


@pytest.mark.parametrize("before", range(60, 130, 7))
def test_a_token_that_is_cut_where_a_message_ends_is_not_shown(before, monkeypatch):
    channel = web._Connection(Target(address="x", scheme="http", host="127.0.0.1", port=1, path="/"), TOKEN)
    said = channel._safe(wire.quoted(b"x" * before + TOKEN.encode() + b"y" * 99))
    assert TOKEN[:8] not in said
    assert "xxxxxxxxx" in said


def test_proxies_of_the_environment_are_not_asked(url, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with connect(url) as connection:
        assert connection.description.name == "served"


# ── TLS ──


def certificate(place):
    """A certificate for localhost, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (place / "certificate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (place / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return place / "certificate.pem", place / "key.pem"


def test_a_server_behind_tls_is_asked_if_its_certificate_is_trusted(tmp_path, monkeypatch):
    class Adapter:
        def describe(self):
            return {"name": "behind tls", "version": "1", "capabilities": ["load_model", "forward"]}

        def load_model(self, path):
            return self

        def forward(self, batch):
            return [np.full((len(row), 100_000), 0.5) for row in batch]

    monkeypatch.setattr(serving._Job, "awaited", lambda job: True)  # our server leaves TLS to others, so cannot peek
    trusted, key = certificate(tmp_path)
    server = serving.Server(Desk(lambda: InProcess(Adapter())), "127.0.0.1", 0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, key)
    server._listener.socket = context.wrap_socket(server._listener.socket, server_side=True)
    runner = threading.Thread(target=server.run)
    runner.start()
    url = server.address.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(AddressError, match=r"cannot be reached: .*CERTIFICATE_VERIFY_FAILED"):
        connect(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with connect(url) as connection:
        held = connection.call("load_model", {"path": "x"})["model"]
        for _ in range(2):
            rows = connection.call("forward", {"model": held, "ids": [[1, 2, 3]]})["logits"]
            assert connection.framed
            assert (rows[0] == 0.5).all()
    server.stop()
    runner.join(10)


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--http", "x"], 2, "[HOST:]PORT is due"),
        (["--http", "99999"], 2, "[HOST:]PORT is due"),
        (["--http", "0.0.0.0:0"], 2, "elsewhere than on this machine a --token is due"),
        (["--http", "0", "--token", "ABSENT_OF_TEST"], 2, "the variable is not set"),
        (["--http", "TAKEN"], 2, "in use"),
    ],
)
def test_a_server_that_cannot_be_says_why(adapter, arguments, status, said):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [port if word == "TAKEN" else word for word in arguments]
        done = subprocess.run([sys.executable, "-I", str(HOST), adapter, *words], capture_output=True, check=False)
    assert done.returncode == status
    assert said in done.stderr.decode()


def test_an_adapter_that_cannot_be_loaded_is_not_served(tmp_path):
    (tmp_path / "broken.py").write_text("import absent_of_test\n")
    command = [sys.executable, "-I", str(HOST), f"{tmp_path}/broken.py:Adapter", "--http", "0"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 4
    assert "No module named 'absent_of_test'" in done.stderr.decode()


def test_ctrl_c_ends_a_server(adapter, serve):
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is deaf to it
    try:
        url = serve(adapter)
    finally:
        signal.signal(signal.SIGINT, heard)
    serve.processes[url].send_signal(signal.SIGINT)
    assert serve.processes[url].wait(20) == 130
