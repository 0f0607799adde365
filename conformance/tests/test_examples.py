"""The adapters in other languages under examples/: conformant as they lie there, and their wire as the pages say.

Skipped where node, or a C++ compiler with CMake, is not there. Nothing is fetched.
"""

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from llmasos_conformance import wire
from llmasos_conformance.adapters import connect
from llmasos_conformance.errors import Raised
from llmasos_conformance.protocol import PROTOCOL_VERSION, Refusal

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = {"node": ("node",), "cpp": ("cmake", "c++")}

FAULTY = {
    "node": """
import { Refusal, serve, tensor } from "LIBRARY";
class Model {
  forward({ ids }) { return { logits: ids.map((row) => tensor(Float32Array.of(1, 2, 3), [1, 3])) }; }
  generate_text({ prompt }) {
    if (prompt === "raise") throw new TypeError("inner \\ud800");
    if (prompt === "throw") throw 7;
    if (prompt === "refuse") throw new Refusal("context_overflow", "too long");
    if (prompt === "print") { console.log("noise"); process.stdout.write("more noise\\n"); }
    return { finish_reason: "length", text: prompt.repeat(3) };
  }
  open({ ids }) { return { session: new Session(ids), logits: tensor(new Float64Array(2), [1, 2]) }; }
}
class Session {
  constructor(ids) { this.ids = ids; }
  extend({ ids }) { return { logits: tensor(new Float64Array(2 * ids.length), [ids.length, 2]) }; }
  fork() { return { session: new Session(this.ids) }; }
}
serve({
  describe: () => ({ name: "faulty", version: "1", capabilities: ["load_model", "forward", "session"] }),
  load_model: ({ path }) => ({ model: new Model() }),
});
""",
    "cpp": """
#include "LIBRARY"
#include <cstdio>
#include <iostream>
using namespace llmasos;
struct Session : Object {
    Session() {
        methods["extend"] = [](const Json& params) {
            const auto n = std::int64_t(ids(params.at("ids")).size());
            return object({{"logits", tensor(std::vector<double>(std::size_t(2 * n)), {n, 2})}});
        };
        methods["fork"] = [](const Json&) { return object({{"session", std::make_shared<Session>()}}); };
    }
};
struct Model : Object {
    Model() {
        methods["forward"] = [](const Json& params) {
            List rows;
            for (std::size_t i = 0; i < params.at("ids").as<List>()->size(); ++i) {
                rows.push_back(tensor(std::vector<float>{1, 2, 3}, {1, 3}));
            }
            return object({{"logits", rows}});
        };
        methods["generate_text"] = [](const Json& params) {
            const std::string& prompt = *params.at("prompt").as<std::string>();
            if (prompt == "raise") throw std::range_error("inner \\xff");
            if (prompt == "throw") throw 7;
            if (prompt == "refuse") throw Refusal("context_overflow", "too long");
            if (prompt == "print") {
                std::puts("noise");
                std::cout << "more noise\\n";
            }
            return object({{"finish_reason", "length"}, {"text", prompt + prompt + prompt}});
        };
        methods["open"] = [](const Json&) {
            const Json logits = tensor(std::vector<double>(2), {1, 2});
            return object({{"session", std::make_shared<Session>()}, {"logits", logits}});
        };
    }
};
int main() {
    const auto describe = [] {
        const List capabilities{"load_model", "forward", "session"};
        return object({{"name", "faulty"}, {"version", "1"}, {"capabilities", capabilities}});
    };
    serve(describe, [](const std::string&) { return std::make_shared<Model>(); });
}
""",
}
"""An adapter that does as its prompt says, over the library of the example."""


def needing(language):
    for program in PROGRAMS[language]:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if language == "node":
        version = subprocess.check_output(["node", "--version"], text=True)
        if int(version.removeprefix("v").partition(".")[0]) < 20:
            pytest.skip(f"node is {version.strip()}, and 20 is needed")


@pytest.fixture(scope="session", params=PROGRAMS)
def language(request):
    needing(request.param)
    return request.param


def built_node(place, source):
    (place / "faulty.mjs").write_text(source.replace("LIBRARY", (EXAMPLES / "node" / "llmasos.mjs").as_uri()))
    return ["node", str(place / "faulty.mjs")]


def built_cpp(place, source):
    text = source.replace("LIBRARY", (EXAMPLES / "cpp" / "llmasos.hpp").as_posix())
    (place / "faulty.cpp").write_text(text, encoding="utf-8")
    command = ["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "faulty.cpp", "-o", "faulty"]
    subprocess.run(command, cwd=place, check=True, timeout=300)
    return [str(place / "faulty")]


BUILT = {"node": built_node, "cpp": built_cpp}


@pytest.fixture(scope="session")
def faulty(language, tmp_path_factory):
    """The command that starts the faulty adapter."""
    return BUILT[language](tmp_path_factory.mktemp(language), FAULTY[language])


def answers(command, *lines):
    """What a process answers to lines of bytes before its input ends: objects; and what it said to standard error."""
    run = subprocess.run(command, input=b"".join(line + b"\n" for line in lines), capture_output=True, timeout=30)
    assert run.returncode == 0, run.stderr.decode()
    return [json.loads(line) for line in run.stdout.splitlines()], run.stderr.decode()


def question(number, method, **params):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def error_to(command, line):
    """The error that answers a line between two questions, each of which is answered as if it had not come."""
    (before, answer, after), _ = answers(command, question(1, "describe"), line, question(3, "describe"))
    assert before["result"] == after["result"]
    assert answer.keys() == {"jsonrpc", "id", "error"}
    return answer["id"], answer["error"]


# ── conformant ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def address(language, tmp_path_factory):
    """The example, copied and prepared as its template says; a warning of a compiler is an error."""
    place, template = tmp_path_factory.mktemp(f"{language}-copy"), read(language)
    for name in template["files"]:
        shutil.copy(EXAMPLES / language / name, place)
    for command in template["prepare"]:
        strict = {**os.environ, "CXXFLAGS": "-Werror"}
        subprocess.run(command, shell=True, check=True, cwd=place, env=strict, capture_output=True, timeout=300)
    return template["address"], place


def read(language):
    return tomllib.loads((EXAMPLES / language / "template.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("profile", ["quick", "core/gpt/text"])
def test_an_example_is_conformant_as_it_is_copied(address, tmp_path, profile):
    command = [
        sys.executable,
        "-m",
        "llmasos_conformance.cli",
        "certify",
        "--adapter",
        address[0],
        "--profile",
        profile,
    ]
    run = subprocess.run([*command, "--out", str(tmp_path / "report"), "--json"], cwd=address[1], capture_output=True)
    said = json.loads(run.stdout)
    assert said["verdict"] == "conformant", said["notRight"]
    assert said["summary"]["pass"] > 30
    assert {each["outcome"] for each in said["notRight"]} <= {"not_declared"}


def test_weights_that_are_not_finite_are_refused_by_a_build_that_may_assume_that_there_are_none(tmp_path):
    needing("cpp")
    command = ["c++", "-std=c++17", "-O2", "-ffast-math", str(EXAMPLES / "cpp" / "adapter.cpp"), "-o", "adapter"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    asked = ["llmasos:loading::loading.values.not-finite", "llmasos:loading::loading.refused.serves-on"]
    command = [sys.executable, "-m", "pytest", "--adapter=cmd:./adapter", "-p", "no:cacheprovider", *asked]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert re.search(r"^=+ 2 passed in", run.stdout, re.MULTILINE), run.stdout


def test_a_template_names_every_file_that_it_needs_and_no_other(language):
    template = read(language)
    assert sorted(template) == ["address", "files", "gpt", "needs", "note", "passes", "prepare"]
    there = {path.name for path in (EXAMPLES / language).iterdir()}
    assert there - {*template["files"]} == {"README.md", "template.toml"}
    for need in template["needs"]:
        assert need["program"] in PROGRAMS[language]
        assert need["get"]


# ── the wire ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b"7", b'{"id":1}', b'{"method":"describe"}', b'{"id":"1","method":"describe"}', b"\xff",
     b'{"id":1,"method":"describe"} {}', b'\xef\xbb\xbf{"id":1,"method":"describe"}'],
    ids=repr,
)  # fmt: skip
def test_a_line_that_is_no_question_is_answered_without_an_id(faulty, line):
    number, error = error_to(faulty, line)
    assert number is None
    assert error["code"] == wire.INVALID_REQUEST


@pytest.mark.parametrize("method", ["describes", "", "toString", "__proto__"])
def test_a_method_that_is_not_of_the_protocol_does_not_exist(faulty, method):
    assert_error(error_to(faulty, question(2, method)), wire.NO_METHOD)


def assert_error(found, code):
    number, error = found
    assert number == 2
    assert error["code"] == code
    assert isinstance(error["message"], str)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("load_model", {}),
        ("load_model", {"path": 7}),
        ("load_model", {"path": "p", "more": 1}),
        ("describe", {"more": 1}),
        ("forward", {"model": "m"}),
        ("forward", {"model": "m", "ids": [1, 2]}),
        ("forward", {"model": "m", "ids": [[1.5]]}),
        ("forward", {"model": "m", "ids": [["1"]]}),
        ("forward", {"model": "m", "ids": [[1]], "sources": [1]}),
        ("forward", {"model": "m", "ids": [[1]], "temperature": 1}),
        ("generate_ids", {"model": "m", "ids": {}}),
        ("generate_text", {"model": "m", "prompt": ["a"]}),
        ("generate_text", {"model": None, "prompt": "a"}),
        ("extend", {"ids": [1]}),
    ],
    ids=str,
)
def test_params_of_another_structure_are_told(faulty, method, params):
    with pytest.raises(ValueError):
        wire.check_params(method, params)
    assert_error(error_to(faulty, question(2, method, **params)), wire.INVALID_PARAMS)


@pytest.mark.parametrize("params", [b"[]", b"null", b'"p"'])
def test_params_that_are_no_object_are_told(faulty, params):
    line = b'{"jsonrpc":"2.0","id":2,"method":"load_model","params":%s}' % params
    assert_error(error_to(faulty, line), wire.INVALID_PARAMS)


def test_an_exception_is_told_with_its_name_and_the_next_question_is_answered(faulty):
    lines = [question(1, "load_model", path="p")]
    prompts = ("raise", "throw", "ab")
    lines += [question(n, "generate_text", model="m1", prompt=prompt) for n, prompt in enumerate(prompts, 2)]
    (_, failed, thrown, right), _ = answers(faulty, *lines)
    for error in (failed["error"], thrown["error"]):
        assert error["code"] == wire.REFUSED
        json.dumps(error, ensure_ascii=False).encode()  # no half of a character
    assert "inner" in failed["error"]["message"]
    assert failed["error"]["data"]["raised"] in ("TypeError", "std::range_error")
    assert "inner" in failed["error"]["data"]["detail"]
    assert isinstance(thrown["error"]["data"]["raised"], str)
    assert right["result"]["text"] == "ababab"


def test_a_refusal_has_its_code_also_for_handles_and_methods_that_are_not_there(faulty):
    asked = [
        ("generate_text", {"model": "m1", "prompt": "refuse"}, "context_overflow"),
        ("generate_text", {"model": "m2", "prompt": "a"}, "invalid_argument"),
        ("fork", {"session": "m1"}, "invalid_argument"),
        ("score", {"model": "m1", "ids": [1]}, "unsupported"),
        ("tokenize", {"model": "m1", "text": "a", "allow_special": True}, "unsupported"),
    ]
    lines = [question(n, method, **params) for n, (method, params, _) in enumerate(asked, 2)]
    (_, *found), _ = answers(faulty, question(1, "load_model", path="p"), *lines)
    assert [each["error"]["data"]["refusal"] for each in found] == [code for *_, code in asked]


def test_what_is_printed_goes_to_standard_error(faulty):
    lines = [question(1, "load_model", path="p"), question(2, "generate_text", model="m1", prompt="print")]
    found, said = answers(faulty, *lines)
    assert [each["id"] for each in found] == [1, 2]
    assert "noise" in said


def test_tensors_come_in_base64_and_in_frames_where_they_are_accepted(faulty):
    asked = {"jsonrpc": "2.0", "id": 2, "method": "forward", "params": {"model": "m1", "ids": [[1], [2]]}}
    lines = [question(1, "load_model", path="p"), json.dumps(asked).encode()]
    (_, plain), _ = answers(faulty, *lines)
    raw = struct.pack("<3f", 1, 2, 3)
    due = {"dtype": "F32", "shape": [1, 3], "data": base64.b64encode(raw).decode()}
    assert plain["result"]["logits"] == [due, due]
    lines[1] = json.dumps({**asked, "frames": True}).encode()
    run = subprocess.run(faulty, input=b"\n".join(lines) + b"\n", capture_output=True, timeout=30, check=True)
    _, line, behind = run.stdout.split(b"\n", 2)
    framed = json.loads(line)
    assert framed["frames"] == [12, 12]
    assert [each["frame"] for each in framed["result"]["logits"]] == [0, 1]
    assert behind == raw + raw


def test_a_description_speaks_this_protocol_and_offers_frames(faulty):
    (described,), _ = answers(faulty, question(1, "describe"))
    assert described["result"]["protocol"] == PROTOCOL_VERSION
    assert described["result"]["frames"] is True
    assert wire.check_answer("describe", {}, described["result"])["name"] == "faulty"


def test_the_end_of_the_input_ends_the_process_even_in_the_middle_of_a_line(faulty):
    run = subprocess.run(faulty, input=question(1, "describe") + b"\n" + b'{"jsonrpc"', capture_output=True, timeout=30)
    assert run.returncode == 0
    assert len(run.stdout.splitlines()) == 1


def test_who_reads_slowly_is_waited_for(faulty):
    """An answer of 30 MB, and more questions than fit a pipe, while nobody reads; then all of it, in order."""
    prompt = "x" * 10_000_000
    lines = [question(1, "load_model", path="p"), question(2, "generate_text", model="m1", prompt=prompt)]
    lines += [question(n, "describe") for n in range(3, 2000)]
    process = subprocess.Popen(faulty, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        threading.Thread(target=feed, args=(process, lines), daemon=True).start()
        found = [json.loads(process.stdout.readline()) for _ in lines]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert [each["id"] for each in found] == list(range(1, 2000))
    assert found[1]["result"]["text"] == prompt * 3


def test_what_was_answered_is_not_lost_where_the_input_ends_before_anybody_reads(faulty):
    """Somewhat more than fits a pipe, in small answers: at the end some of it waits in the process."""
    one = subprocess.run(faulty, input=question(1, "describe") + b"\n", capture_output=True, timeout=30).stdout
    lines = [question(n, "describe") for n in range(1000, 1000 + (2**16 + 2**13) // (len(one) + 3))]
    process = subprocess.Popen(faulty, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        feed(process, lines)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        found = [json.loads(line) for line in process.stdout]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert [each["id"] for each in found] == [json.loads(line)["id"] for line in lines]


def feed(process, lines):
    with process.stdin:
        process.stdin.write(b"\n".join(lines) + b"\n")


def test_sessions_and_models_are_kept_until_they_are_closed(faulty):
    with_handles = [
        question(1, "load_model", path="p"),
        question(2, "open", model="m1", ids=[1]),
        question(3, "fork", session="s2"),
        question(4, "close", session="s2"),
        question(5, "extend", session="s2", ids=[1]),
        question(6, "extend", session="s3", ids=[1, 2]),
        question(7, "unload_model", model="m1"),
        question(8, "forward", model="m1", ids=[]),
    ]
    found, _ = answers(faulty, *with_handles)
    assert found[1]["result"]["session"] == "s2"
    assert found[2]["result"] == {"session": "s3"}
    assert found[3]["result"] == {}
    assert found[4]["error"]["data"] == {"refusal": "invalid_argument"}
    assert found[5]["result"]["logits"]["shape"] == [2, 2]
    assert found[6]["result"] == {}
    assert found[7]["error"]["data"] == {"refusal": "invalid_argument"}


def test_the_harness_understands_all_of_it(faulty):
    connection = connect("cmd:" + shlex.join(faulty))
    try:
        model = connection.call("load_model", {"path": "p"})["model"]
        assert connection.call("forward", {"model": model, "ids": [[7]]})["logits"][0].tolist() == [[1, 2, 3]]
        with pytest.raises(Raised, match="inner"):
            connection.call("generate_text", {"model": model, "prompt": "raise"})
        with pytest.raises(Refusal) as caught:
            connection.call("generate_text", {"model": model, "prompt": "refuse"})
        assert caught.value.code == "context_overflow"
        with pytest.raises(Refusal) as caught:
            connection.call("score", {"model": model, "ids": [1]})
        assert caught.value.code == "unsupported"
    finally:
        connection.close()
