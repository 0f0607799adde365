"""The server with an API like OpenAI's that is ours, and the adapter that asks one: they understand each other, and
what is served is what the reference computes."""

import http.client
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from llmasos_conformance import cli, installed, suite
from llmasos_conformance.adapters import check_address, connect
from llmasos_conformance.adapters.hosted import FURTHER, OWN, Endpoint, found_by_asking, templated
from llmasos_conformance.adapters.openai.api import Api
from llmasos_conformance.adapters.openai.http import Server, main
from llmasos_conformance.adapters.openai.model import BundleModel
from llmasos_conformance.adapters.openai.wanted import NAMES, Refused, judged
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import CAPABILITIES, Refusal

PROMPT = "A requirement is "
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return Library(tmp_path_factory.mktemp("bundles"), "openai")


@pytest.fixture(scope="module")
def api(library):
    return Api(BundleModel(connect("reference"), str(library.get("trained").path)), "a/model")


@pytest.fixture(scope="module")
def server(api):
    made = Server(api)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def reference(library):
    connection = connect("reference")
    model = connection.call("load_model", {"path": str(library.get("trained").path)})["model"]
    return lambda method, **params: connection.call(method, {"model": model, **params})


def asked(api, path, **body):
    reply = api.answer(path, {"model": "a/model", **body})
    assert reply["status"] == 200, reply["body"]
    return json.loads(reply["body"])


def over_http(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.url).port, timeout=30)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    return response.status, json.loads(raw)


def events(reply):
    assert reply["type"] == "text/event-stream"
    parts = reply["body"].split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


# ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_greedy_completion_is_the_references_own(api, reference):
    got = asked(api, "completions", prompt=PROMPT, max_tokens=12, temperature=0)
    due = reference("generate_text", prompt=PROMPT, max_length=12, temperature=0)
    assert got["choices"][0]["text"] == due["text"]
    assert got["choices"][0]["finish_reason"] == "length"
    assert got["usage"] == {"prompt_tokens": len(PROMPT), "completion_tokens": 12, "total_tokens": len(PROMPT) + 12}


def test_stated_logprobs_and_echo_are_the_references_scores(api, reference):
    got = asked(api, "completions", prompt=PROMPT, max_tokens=6, temperature=0, logprobs=3, echo=True)["choices"][0]
    stated = got["logprobs"]
    due = reference("score", ids=list(got["text"].encode()))["logprobs"]
    assert got["text"].startswith(PROMPT)
    assert "".join(stated["tokens"]) == got["text"]
    assert stated["token_logprobs"][0] is None
    assert stated["token_logprobs"][1:] == pytest.approx(due[1:])
    assert stated["text_offset"] == list(range(len(got["text"])))
    assert all(len(top) == 3 for top in stated["top_logprobs"][1:])


def test_a_stream_says_the_same_piece_by_piece(api):
    body = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "logprobs": 2}
    whole = asked(api, "completions", **body)
    reply = api.answer("completions", {"model": "a/model", **body, "stream": True,
                                       "stream_options": {"include_usage": True}})  # fmt: skip
    chunks = events(reply)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == whole["choices"][0]["text"]
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-1]["choices"] == []
    tokens = [token for chunk in chunks[:-1] for token in (chunk["choices"][0]["logprobs"] or {"tokens": []})["tokens"]]
    assert tokens == whole["choices"][0]["logprobs"]["tokens"]


def test_a_chat_is_the_completion_of_its_template(api):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A bundle is"}]
    template = asked(api, "template", messages=messages)["prompt"]
    assert template == "system: Be brief.\nuser: A bundle is\nassistant:"
    chat = asked(api, "chat", messages=messages, max_tokens=8, temperature=0)
    due = asked(api, "completions", prompt=template, max_tokens=8, temperature=0)
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": due["choices"][0]["text"]}
    assert chat["usage"] == due["usage"]


def test_a_prompt_may_be_ids(api):
    by_ids = asked(api, "completions", prompt=list(PROMPT.encode()), max_tokens=4, temperature=0)
    assert by_ids["choices"] == asked(api, "completions", prompt=PROMPT, max_tokens=4, temperature=0)["choices"]


@pytest.mark.parametrize("stop", ["e", ["zzz", "s "], [" i"]])
def test_a_stop_string_ends_text_and_stream_before_it(api, stop):
    body = {"prompt": PROMPT, "max_tokens": 40, "temperature": 0}
    whole = asked(api, "completions", **body)["choices"][0]["text"]
    cut = min(whole.find(each) for each in ([stop] if isinstance(stop, str) else stop) if each in whole)
    got = asked(api, "completions", **body, stop=stop)["choices"][0]
    assert (got["text"], got["finish_reason"]) == (whole[:cut], "stop")
    chunks = events(api.answer("completions", {"model": "a/model", **body, "stop": stop, "stream": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole[:cut]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_seed_fixes_the_chance_and_its_choices_differ(api):
    body = {"prompt": PROMPT, "max_tokens": 16, "temperature": 1.5, "seed": 3, "n": 3}
    texts = [[each["text"] for each in asked(api, "completions", **body)["choices"]] for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 3
    assert texts[0] != [each["text"] for each in asked(api, "completions", **{**body, "seed": 4})["choices"]]


def test_filters_and_penalties_follow_the_models_law(api):
    z = np.log(np.array([0.4, 0.3, 0.2, 0.1]))

    def law(**options):
        return api.law(z, judged("completions", {"model": "m", "prompt": "a", **options}))

    assert law() == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert law(temperature=0.5) == pytest.approx(np.array([16, 9, 4, 1]) / 30)
    assert law(top_k=2) == pytest.approx([4 / 7, 3 / 7, 0, 0])
    assert law(top_p=0.6) == pytest.approx([4 / 7, 3 / 7, 0, 0])
    assert law(top_p=0.0) == pytest.approx([1, 0, 0, 0])
    assert law(min_p=0.6) == pytest.approx([4 / 7, 3 / 7, 0, 0])
    wanted = judged("completions", {"model": "m", "prompt": "a", "frequency_penalty": 0.5, "presence_penalty": 1})
    assert api.penalised(np.zeros(3), wanted, [1, 1, 2]).tolist() == [0, -2, -1.5]


def test_no_tokens_may_be_asked_for(api):
    got = asked(api, "completions", prompt=PROMPT, max_tokens=0)
    assert got["choices"][0]["text"] == ""
    assert got["choices"][0]["finish_reason"] == "length"


def test_a_chat_without_a_limit_goes_to_the_end_of_the_context(api):
    got = asked(api, "chat", messages=[{"role": "user", "content": "a"}], temperature=0)
    assert got["usage"]["total_tokens"] == api.model.context


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("completions", [], 400, "no object"),
        ("completions", {"prompt": "a"}, 400, "model is None"),
        ("completions", {"model": "b", "prompt": "a"}, 404, "there is no model 'b'"),
        ("completions", {"model": "a/model"}, 400, "prompt is None"),
        ("completions", {"model": "a/model", "prompt": ""}, 400, "not empty"),
        ("completions", {"model": "a/model", "prompt": "\ud800"}, 400, "valid Unicode"),
        ("completions", {"model": "a/model", "prompt": [1, 999]}, 400, "outside the vocabulary"),
        ("completions", {"model": "a/model", "prompt": "a", "tempo": 1}, 400, "unknown parameter 'tempo'"),
        ("completions", {"model": "a/model", "prompt": "a", "temperature": "hot"}, 400, "a number from 0 to 2"),
        ("completions", {"model": "a/model", "prompt": "a", "temperature": -1}, 400, "a number from 0 to 2"),
        ("completions", {"model": "a/model", "prompt": "a", "max_tokens": True}, 400, "an integer from 0"),
        ("completions", {"model": "a/model", "prompt": "a", "n": 99}, 400, "an integer from 1 to 16"),
        ("completions", {"model": "a/model", "prompt": "a", "stream": "yes"}, 400, "true or false"),
        ("completions", {"model": "a/model", "prompt": "a", "stop": [""]}, 400, "texts that are not empty"),
        ("completions", {"model": "a/model", "prompt": "a", "stop": 5}, 400, "a text, or a list"),
        ("completions", {"model": "a/model", "prompt": "a", "stream_options": {"x": 1}}, 400, "include_usage"),
        ("completions", {"model": "a/model", "prompt": "a " * 64}, 400, "the prompt has 128 tokens, the context 128"),
        ("chat", {"model": "a/model"}, 400, "a list of messages"),
        ("chat", {"model": "a/model", "messages": [{"role": "cook", "content": "a"}]}, 400, "role, one of system"),
        ("chat", {"model": "a/model", "messages": [{"role": "user"}]}, 400, "messages[0].content is None"),
        ("chat", {"model": "a/model", "messages": [{"role": "user", "content": "a"}], "top_logprobs": 2}, 400,
         "needs logprobs"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_with_a_reason(api, path, body, status, told):
    reply = api.answer(path, body)
    assert reply["status"] == status
    assert told in json.loads(reply["body"])["error"]["message"]


def test_every_parameter_that_is_known_is_judged():
    right = {"completions": {"prompt": "a"}, "chat": {"messages": [{"role": "user", "content": "a"}]}}
    for path, names in NAMES.items():
        for name in names - {"user"}:
            told = {"max_completion_tokens": "max_tokens", "top_logprobs": "logprobs"}.get(name, name)
            with pytest.raises(Refused, match=told):
                judged(path, {"model": "m", **right[path], name: {"wrong": 1}})


def test_a_model_that_does_not_continue_texts_is_not_served(library):
    with pytest.raises(Refusal, match="no decoder"):
        BundleModel(connect("reference"), str(library.get("bert-plain").path))
    with pytest.raises(Refusal, match="no bundle in"):
        BundleModel(connect("reference"), "/nonexistent")


# ── the adapter ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_server_can_do_is_found_by_asking(server):
    with connect(f"openai:{server.url}#model=a/model") as candidate:
        assert candidate.description.capabilities == {
            "completions", "stop", "stream", "seed", "top_p", "logprobs", "echo", "choices", "frequency_penalty",
            "presence_penalty", "top_k", "min_p", "concurrent", "template",
        }  # fmt: skip
        assert candidate.description.claims.dtype == "bfloat16"
        assert candidate.description.runtime["server"] == "llmasos"
        assert "logprobs" in candidate.description.runtime["found by asking"]
    address = f"openai:{server.url}#model=a%2Fmodel&api=chat&offers=tokenize&dtype=float32&determinism=D0"
    with connect(address) as candidate:
        assert candidate.description.capabilities == {
            "chat", "stop", "stream", "seed", "top_p", "logprobs", "choices", "frequency_penalty", "presence_penalty",
            "top_k", "min_p", "concurrent", "template", "tokenize",
        }  # fmt: skip
        assert candidate.description.runtime["declared for it"] == "tokenize"
        assert (candidate.description.claims.dtype, candidate.description.claims.determinism) == ("float32", "D0")


def test_a_name_that_any_server_would_ignore_counts_where_a_wrong_value_is_refused():
    def ask(refused, api, request):
        return {"status": 400 if refused(request) else 200, "type": "", "body": ""}

    ignores = found_by_asking("completions", lambda api, request: ask(lambda r: False, api, request))
    knows = found_by_asking("completions", lambda api, r: ask(lambda r: r.get("top_k") == "five", api, r))
    none = found_by_asking("chat", lambda api, request: ask(lambda r: True, api, request))
    assert "top_k" not in ignores
    assert {"seed", "echo"} <= ignores
    assert "top_k" in knows
    assert "min_p" not in knows
    assert none == frozenset()


def test_requests_at_once_are_answered_in_their_order(server):
    with connect(f"openai:{server.url}#model=a/model") as candidate:
        requests = [
            {"over": "completions", "request": {"prompt": f"{PROMPT}{i}", "max_tokens": 4, "temperature": 0}}
            for i in range(6)
        ]
        together = candidate.call("together", {"requests": requests})["answers"]
        alone = [candidate.call("completions", {"request": each["request"]}) for each in requests]
        texts = [[json.loads(each["body"])["choices"][0]["text"] for each in replies] for replies in (together, alone)]
        assert texts[0] == texts[1]


def test_a_hosted_model_is_asked_nothing_else(server):
    with connect(f"openai:{server.url}#model=a/model") as candidate:
        with pytest.raises(ValueError, match="a hosted model is asked completions"):
            candidate.call("load_model", {"path": "x"})
        assert candidate.call("describe", {})["name"] == "a/model"
        candidate.restart()


def test_a_template_is_shown_as_text_or_as_ids():
    assert templated('{"prompt": "user: a"}') == "user: a"
    assert templated('{"count": 2, "tokens": [1, 2]}') == [1, 2]
    for body in ("", "[]", "{}", '{"prompt": ""}', '{"tokens": ["a"]}', '{"tokens": []}'):
        assert templated(body) is None


def test_a_descriptor_names_a_hosted_model_in_one_form():
    one = check_address("openai:http://127.0.0.1:8000/v1/#model=m&region=eu-1&weights=" + "0" * 64)
    assert one.descriptor() == {
        "api": "openai/completions", "url": "http://127.0.0.1:8000/v1", "model": "m", "region": "eu-1",
        "weights": "0" * 64,
    }  # fmt: skip
    assert check_address("openai:https://[::1]#model=m&api=chat").descriptor() == {
        "api": "openai/chat", "url": "https://[::1]:443/v1", "model": "m",
    }  # fmt: skip
    assert check_address("http://127.0.0.1:8000").descriptor() is None
    assert set(check_address("openai:http://h#model=m&offers=stop+seed").endpoint.offers) <= set(CAPABILITIES)


@pytest.mark.parametrize("page", ["hosted.md", "hosted.zh.md"])
def test_the_page_names_every_option_and_capability_and_its_commands_are_there(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    options = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert {*options} == {*Endpoint.__dataclass_fields__, "token"}
    found = {name for api in OWN.values() for name in api} | {*FURTHER, "template"}
    assert {*re.findall(r"`(\w+)`", text)} >= found
    for address in re.findall(r"'(openai:[^']+)'", text):
        assert check_address(address).endpoint.api == "chat"
    for name in ("completions", "chat"):
        requires = re.search(rf"^\| `hosted/{name}` \| (.*?) \|", text, re.MULTILINE)[1]
        profile = installed.frozen_profile(installed.suites(), f"hosted/{name}")
        assert {*re.findall(r"`(\w+)`", requires)} == {*profile["requires"]}
    words = {*re.findall(r"llmasos (\w+)", text)}
    assert words == {"smoke", "certify", "verify", "try", "keygen", "explain", "list"}
    assert words <= {*cli.cli.commands}
    loaded = suite.load()
    assert {*re.findall(r"hosted\.(?:chat|completions)\.[\w.-]+\w", text)} <= {*loaded.cases}
    assert {*re.findall(r"HOST-\d+", text)} <= {*loaded.requirements}
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (DOCS / link).exists(), link


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bundle_is_served_by_one_command(library):
    command = [
        sys.executable, "-m", "llmasos_conformance.adapters.host", "reference", "--openai", "0",
        "--bundle", str(library.get("plain").path), "--name", "served",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline()
            address = line.removeprefix("serving at ").strip()
            with connect(address) as candidate:
                assert candidate.description.name == "served"
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("place", "bundle", "told"),
    [
        ("x", "b", "[HOST:]PORT is due"),
        ("0.0.0.0:0", "b", "for this machine alone"),
        ("0", "", "--bundle DIR is due"),
        ("0", "/nonexistent", "no bundle in /nonexistent"),
    ],
)
def test_a_wrong_command_says_what_is_due(place, bundle, told, capsys):
    assert main(lambda: connect("reference"), place, bundle, "m") == 2
    assert told in capsys.readouterr().err


def test_what_is_no_request_has_its_own_status(server):
    assert over_http(server, "GET", "/v1/models")[1]["data"][0]["id"] == "a/model"
    assert over_http(server, "GET", "/elsewhere")[0] == 404
    assert over_http(server, "POST", "/elsewhere", b"{}")[0] == 404
    assert over_http(server, "POST", "/v1/completions", b"{")[0] == 400
    assert over_http(server, "POST", "/v1/completions", b"", {"Content-Length": "999999999"})[0] == 413


def test_an_exception_of_the_model_is_an_error_of_the_server(capsys):
    class Broken(Api):
        def answer(self, api, body):
            raise KeyError("inner")

    server = Server(Broken(None, "m"))
    try:
        status, body = over_http(server, "POST", "/v1/completions", b"{}")
        assert (status, body["error"]["type"]) == (500, "server_error")
        assert "KeyError" in capsys.readouterr().err
    finally:
        server.stop()
