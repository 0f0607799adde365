"""The same adapter in this process, in one of its own and behind HTTP: same answers, same faults; and processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from llmasos_conformance import wire
from llmasos_conformance.adapters import connect
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.errors import AddressError, Died, Malformed, ProtocolBroken, Raised, TimedOut
from llmasos_conformance.protocol import PROTOCOL_VERSION, Generation, Refusal

ADAPTER = '''
import os, subprocess, sys, time
import numpy as np
from llmasos_conformance.protocol import Generation, Refusal

print("printed while importing")
os.write(1, b"written to descriptor 1 while importing\\n")

class Session:
    def __init__(self, seen):
        self.seen = list(seen)
        self.logits = np.full((len(seen), 4), float(sum(self.seen)), dtype=np.float32)
    def extend(self, ids):
        self.seen += ids
        self.logits = np.full((len(ids), 4), float(sum(self.seen)), dtype=np.float32)
        return self.logits
    def fork(self):
        return Session(self.seen)
    def close(self):
        self.seen = None

class Model:
    """Answers as the text or the first id says."""
    def tokenize(self, text):
        return [int(np.int64(b)) for b in text.encode()]
    def detokenize(self, ids):
        return bytes(ids).decode(errors="replace")
    def generate_text(self, prompt, max_length=100, temperature=1.0, **options):
        if prompt == "print":
            print("noise"); os.write(1, b"noise\\n"); subprocess.run([sys.executable, "-c", "print('noise')"])
        if prompt == "raise":
            raise ValueError("bad luck \\ud800")
        if prompt == "refuse":
            raise Refusal("context_overflow", "too long")
        if prompt == "refuse oddly":
            raise Refusal("because", "no")
        if prompt == "exit":
            sys.exit(3)
        if prompt == "hang":
            time.sleep(60)
        if prompt == "slow":
            time.sleep(0.6)
        if prompt == "die":
            print("last words", file=sys.stderr, flush=True); os._exit(7)
        if prompt == "crash":
            os.kill(os.getpid(), 11)
        if prompt == "shout":
            sys.stderr.write("x" * 1_000_000)
        if prompt == "plain":
            return "text"
        if prompt == "surrogate":
            return Generation(finish_reason="stop", text="\\ud800")
        if prompt == "reason":
            return {"finish_reason": "because", "text": ""}
        if prompt == "read stdin":
            return {"finish_reason": "stop", "text": "read " + repr(sys.stdin.read())}
        if prompt == "huge":
            return {"finish_reason": "stop", "text": "x" * (16 * 2**20 + 1)}
        if prompt == "cwd":
            return {"finish_reason": "stop", "text": os.getcwd() + " " + repr(sorted(os.environ))}
        return Generation(finish_reason="length", text=prompt + "!", ids=(33,), prompt_tokens=1, completion_tokens=1)
    def forward(self, batch):
        what = batch[0][0]
        if what == 1:
            return [np.full((len(row), 4), np.nan) for row in batch]
        if what == 2:
            return [np.zeros((len(row) + 1, 4)) for row in batch]
        if what == 3:
            return [np.zeros((len(row), 4), dtype=np.int64) for row in batch]
        if what == 4:
            return [np.zeros((len(row), 2**23), dtype=np.float64) for row in batch]
        if what == 5:
            return np.zeros((len(batch), len(batch[0]), 4), dtype=np.float16)
        return [np.arange(len(row) * 4, dtype=np.float32).reshape(-1, 4) for row in batch]
    def stream_text(self, prompt, max_length=100, temperature=1.0):
        yield prompt
        if prompt == "raise":
            raise KeyError("midway")
        if prompt == "number":
            yield 5
        if prompt == "endless":
            while True:
                yield "x"
        if prompt == "short":
            return
        yield Generation(finish_reason="stop", text=prompt)
        if prompt == "more":
            yield "more"
    def open(self, ids):
        return object() if ids == [0] else Session(ids)

class Adapter:
    def describe(self):
        return {"name": "faulty", "version": "1", "runtime": {"python": sys.version.split()[0]},
                "capabilities": ["load_model", "tokenize", "forward", "stream", "session", "score"]}
    def load_model(self, path):
        if path == "absent":
            raise Refusal("not_found", "nothing there")
        return Model()
'''


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    path = tmp_path_factory.mktemp("vendor") / "faulty.py"
    path.write_text(ADAPTER, encoding="utf-8")
    return f"{path}:Adapter"


WAYS = ["in process", "over stdio", "over stdio, lines", "over HTTP", "over HTTP, lines"]


@pytest.fixture(scope="module", params=WAYS)
def linked(request, faulty, serve):
    way, _, lines = request.param.partition(",")
    address = serve(faulty) if way == "over HTTP" else faulty
    connection = connect(address, out_of_process=way == "over stdio", timeout_s=20, frames=not lines)
    if way != "in process":
        assert connection.framed == (not lines)
    yield connection
    connection.close()


@pytest.fixture
def alone(faulty):
    """A process of its own per test, for faults that end it."""
    connection = connect(faulty, out_of_process=True, timeout_s=0.5)
    yield connection
    connection.close()


def model(connection):
    return connection.call("load_model", {"path": "somewhere"})["model"]


def generate(connection, prompt, **options):
    return connection.call("generate_text", {"model": model(connection), "prompt": prompt, **options})


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ── the same on every way ──────────────────────────────────────────────────────────────────────────────────────────


def test_answers_are_native_values(linked):
    held = model(linked)
    assert linked.description.name == "faulty"
    assert linked.call("tokenize", {"model": held, "text": "é"}) == {"ids": [195, 169]}
    assert linked.call("detokenize", {"model": held, "ids": [104, 105]}) == {"text": "hi"}
    assert generate(linked, "hi") == {
        "finish_reason": "length", "text": "hi!", "ids": [33], "prompt_tokens": 1, "completion_tokens": 1,
    }  # fmt: skip
    rows = linked.call("forward", {"model": held, "ids": [[0, 9], [9]]})["logits"]
    assert [row.dtype.name for row in rows] == ["float32", "float32"]
    np.testing.assert_array_equal(rows[0], np.arange(8).reshape(2, 4))


def test_one_array_may_stand_for_all_rows(linked):
    rows = linked.call("forward", {"model": model(linked), "ids": [[5, 0, 0], [5, 0, 0]]})["logits"]
    assert [(row.shape, row.dtype.name) for row in rows] == [((3, 4), "float16")] * 2


def test_nan_travels_to_the_judge(linked):
    assert np.isnan(linked.call("forward", {"model": model(linked), "ids": [[1]]})["logits"][0]).all()


def test_sessions_extend_fork_and_close(linked):
    first = linked.call("open", {"model": model(linked), "ids": [1, 2]})
    fork = linked.call("fork", {"session": first["session"]})["session"]
    assert linked.call("extend", {"session": first["session"], "ids": [10]})["logits"][0, 0] == 13
    assert linked.call("extend", {"session": fork, "ids": [20]})["logits"][0, 0] == 23
    assert linked.call("close", {"session": fork}) == {}
    with pytest.raises(Refusal) as caught:
        linked.call("extend", {"session": fork, "ids": [20]})
    assert caught.value.code == "invalid_argument"


def test_what_an_adapter_prints_does_not_break_the_protocol(linked):
    assert generate(linked, "print")["text"] == "print!"


def test_a_stream_is_its_pieces_and_its_generation(linked):
    answer = linked.call("stream_text", {"model": model(linked), "prompt": "ab"})
    assert answer == {"deltas": ["ab"], "generation": {"finish_reason": "stop", "text": "ab"}}


@pytest.mark.parametrize(
    ("method", "question", "kind", "message"),
    [
        ("generate_text", {"prompt": "raise"}, Raised, "ValueError: bad luck"),
        ("generate_text", {"prompt": "refuse oddly"}, Malformed, "refused with code 'because'"),
        ("generate_text", {"prompt": "plain"}, Malformed, "generation is a plain text, a Generation was due"),
        ("generate_text", {"prompt": "surrogate"}, Malformed, "generation.text has a lone surrogate at 0"),
        (
            "generate_text",
            {"prompt": "reason"},
            Malformed,
            "finish_reason is str 'because', 'stop' or 'length' was due",
        ),
        ("generate_text", {"prompt": "huge"}, Malformed, "text has 16777217 characters, 0 to 16777216 are allowed"),
        ("forward", {"ids": [[2, 0]]}, Malformed, "logits[0] has shape [3, 4], [2, V] was due"),
        ("forward", {"ids": [[3]]}, Malformed, "logits[0]: logits must be floating point, found dtype int64"),
        ("forward", {"ids": [[4]]}, Malformed, "logits[0] needs 67108864 bytes, 46137344 are allowed"),
        ("stream_text", {"prompt": "raise"}, Raised, "KeyError: 'midway'"),
        ("stream_text", {"prompt": "number"}, Malformed, "deltas[1] is int 5, a text was due"),
        ("stream_text", {"prompt": "endless"}, Malformed, "more than 1048576 deltas"),
        ("stream_text", {"prompt": "short"}, Malformed, "ended after 1 deltas without a Generation"),
        ("stream_text", {"prompt": "more"}, Malformed, "goes on after its Generation"),
        ("open", {"ids": [0]}, Malformed, "open() returned object, which has no 'logits'"),
        ("score", {"ids": [1]}, Malformed, "declared score, but the model (Model) has no method score"),
    ],
)
def test_a_fault_is_the_same_on_every_way(linked, method, question, kind, message):
    with pytest.raises(kind) as caught:
        linked.call(method, {"model": model(linked), **question})
    assert message in caught.value.message
    assert linked.call("detokenize", {"model": model(linked), "ids": [104]}) == {"text": "h"}  # it lives on


def test_a_trace_comes_along_with_what_was_raised(linked):
    with pytest.raises(Raised) as caught:
        generate(linked, "raise")
    assert "in generate_text" in caught.value.detail


def test_a_typed_refusal_keeps_code_and_message(linked):
    with pytest.raises(Refusal) as caught:
        generate(linked, "refuse")
    assert (caught.value.code, caught.value.message) == ("context_overflow", "too long")
    with pytest.raises(Refusal) as caught:
        linked.call("load_model", {"path": "absent"})
    assert caught.value.code == "not_found"


def test_a_method_that_was_never_declared_is_refused(linked):
    with pytest.raises(Refusal) as caught:
        linked.call("generate_batch", {"model": model(linked), "ids": [[1]]})
    assert caught.value.code == "unsupported"


def test_a_malformed_question_is_a_value_error(linked):
    with pytest.raises(ValueError, match="forward: "):
        linked.call("forward", {"model": "m1", "ids": "abc"})


def test_leaving_the_interpreter_is_dying(faulty):
    for apart in (False, True):
        connection = connect(faulty, out_of_process=apart)
        with pytest.raises(Died):
            generate(connection, "exit")
        connection.close()


def test_a_late_answer_is_no_answer(faulty):
    for apart in (False, True):
        connection = connect(faulty, out_of_process=apart, timeout_s=0.3)
        held = model(connection)
        with pytest.raises(TimedOut, match=r"0\.3 s"):
            connection.call("generate_text", {"model": held, "prompt": "slow"})
        connection.close()


def test_keyboard_interrupt_is_nobodys_fault():
    class Interrupted:
        def describe(self):
            return {"name": "x", "version": "1"}

        def load_model(self, path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InProcess(Interrupted()).call("load_model", {"path": "x"})


# ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_process_that_dies_says_how_and_shows_its_last_words(alone):
    with pytest.raises(Died, match="generate_text: its process ended with status 7") as caught:
        generate(alone, "die")
    assert "last words" in caught.value.detail
    with pytest.raises(Died, match="gone since an earlier call"):
        generate(alone, "hi")
    alone.restart()
    assert generate(alone, "hi")["text"] == "hi!"


def test_a_process_that_crashes_names_its_signal(alone):
    with pytest.raises(Died, match="SIGSEGV"):
        generate(alone, "crash")


def test_a_process_that_hangs_is_ended(alone):
    pid, started = alone.pid, time.monotonic()
    with pytest.raises(TimedOut, match=r"generate_text: no answer within 0\.5 s"):
        generate(alone, "hang")
    assert time.monotonic() - started < 5
    assert not running(pid)


def test_a_process_that_talks_without_end_does_not_block(alone):
    assert generate(alone, "shout")["text"] == "shout!"


def test_a_hosted_adapter_finds_its_standard_input_empty(alone):
    assert generate(alone, "read stdin")["text"] == "read ''"


def test_closing_ends_the_process_and_leaves_no_zombie(faulty):
    connection = connect(faulty, out_of_process=True)
    pid = connection.pid
    started = time.monotonic()
    connection.close()
    connection.close()
    assert time.monotonic() - started < 1.5
    assert not Path(f"/proc/{pid}").exists()


def test_environment_and_working_directory_are_the_ones_given(faulty, tmp_path):
    connection = connect(faulty, out_of_process=True, cwd=tmp_path, env={"LLMASOS_X": "1"})
    text = generate(connection, "cwd")["text"]
    connection.close()
    assert text.startswith(f"{tmp_path} ")
    assert "LLMASOS_X" in text
    assert "HOME" not in text


def test_the_reference_answers_alike_on_both_ways(tmp_path):
    document = (
        '{"name":"t","version":"1.0","architecture":"GPT-3","parameters":'
        '{"vocab_size":260,"embedding_dim":8,"num_layers":1,"context_length":16,"eos_token_ids":[259]}}'
    )
    (tmp_path / "model.json").write_text(document, encoding="utf-8")
    answers = []
    for apart in (False, True):
        connection = connect("reference:float32/split-k", out_of_process=apart)
        held = connection.call("load_model", {"path": str(tmp_path)})["model"]
        logits = connection.call("forward", {"model": held, "ids": [[1, 2], [3]]})["logits"]
        options = {"max_length": 5, "temperature": 0.7, "seed": 4, "logprobs": 2}
        generation = connection.call("generate_ids", {"model": held, "ids": [1], **options})
        answers.append(([row.tobytes() for row in logits], generation, connection.description))
        connection.close()
    assert answers[0] == answers[1]


# ── programs in any language ────────────────────────────────────────────────────────────────────────────────────────

PROGRAM = """
import json, os, subprocess, sys, time
def answer(number, result=None, **more):
    line = {"jsonrpc": "2.0", "id": number, **({"result": result} if result is not None else {}), **more}
    sys.stdout.write(json.dumps(line) + "\\n"); sys.stdout.flush()
for line in sys.stdin:
    asked = json.loads(line)
    number, method, params = asked["id"], asked["method"], asked["params"]
    if method == "describe":
        answer(number, DESCRIPTION)
    elif method == "load_model":
        answer(number, {"model": "m"})
    elif params.get("prompt", params.get("text")) == "stray":
        print("loading weights ...", flush=True); answer(number, {"ids": []})
    elif params["text"] == "wrong id":
        answer(number + 1, {"ids": []})
    elif params["text"] == "twice":
        answer(number, {"ids": []}); answer(number, {"ids": []})
    elif params["text"] == "nan":
        sys.stdout.write('{"jsonrpc":"2.0","id":%d,"result":{"ids":[NaN]}}\\n' % number); sys.stdout.flush()
    elif params["text"] == "neither":
        answer(number)
    elif params["text"] == "half":
        sys.stdout.write('{"jsonrpc":"2.0",'); sys.stdout.flush(); sys.exit(0)
    elif params["text"] == "endless":
        while True: sys.stdout.write("x" * 65536)
    elif params["text"] == "error":
        answer(number, error={"code": -32601, "message": "no such method"})
    elif params["text"] == "odd error":
        answer(number, error="no")
    elif params["text"] == "refuse":
        answer(number, error={"code": -32000, "message": "no", "data": {"refusal": "unsupported"}})
    elif params["text"] == "raised":
        answer(number, error={"code": -32000, "message": "no", "data": {"raised": "TypeError"}})
    elif params["text"] == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        answer(number, {"ids": [child.pid]})
    elif params["text"] == "stay":
        answer(number, {"ids": []})
        import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: time.sleep(1)
    else:
        answer(number, {"ids": list(params["text"].encode())})
"""


@pytest.fixture
def program(tmp_path):
    """Starts a program that speaks the protocol by itself."""
    opened = []

    def start(description=None, timeout_s=5.0, source=PROGRAM, **options):
        due = {"protocol": PROTOCOL_VERSION, "name": "program", "version": "1", "capabilities": ["tokenize"]}
        path = tmp_path / "program.py"
        path.write_text(
            source.replace("DESCRIPTION", repr(due if description is None else description)), encoding="utf-8"
        )
        connection = connect(f"cmd:{sys.executable} {path}", timeout_s=timeout_s, **options)
        opened.append(connection)
        return connection

    yield start
    for connection in opened:
        connection.close()


def tokenize(connection, text):
    return connection.call("tokenize", {"model": "m", "text": text})["ids"]


def test_a_program_is_a_candidate(program):
    connection = program()
    assert connection.description.name == "program"
    assert tokenize(connection, "né") == [110, 195, 169]


def test_large_lines_go_both_ways(program):
    text = "é" * 300_000
    assert tokenize(program(), text) == list(text.encode())


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("stray", ProtocolBroken, ["'loading weights ...'", "log to stderr"]),
        ("wrong id", ProtocolBroken, ["an answer to id 3, asked was 2"]),
        ("nan", ProtocolBroken, ["NaN is not JSON"]),
        ("neither", ProtocolBroken, ["not an answer of JSON-RPC 2.0"]),
        ("half", Died, ["its process ended with status 0"]),
        ("error", Raised, ["JSON-RPC error -32601: no such method"]),
        ("odd error", Malformed, ["an error without integer code and text message: 'no'"]),
        ("raised", Raised, ["TypeError: no"]),
    ],
)
def test_a_program_that_misbehaves_is_named_for_what_it_did(program, text, kind, words):
    connection = program()
    with pytest.raises(kind) as caught:
        tokenize(connection, text)
    for word in words:
        assert word in caught.value.message
    if kind in (ProtocolBroken, Died):
        connection.restart()
    assert tokenize(connection, "a") == [97]


def test_a_program_refuses_with_a_code(program):
    with pytest.raises(Refusal) as caught:
        tokenize(program(), "refuse")
    assert caught.value.code == "unsupported"


def test_a_second_answer_breaks_the_next_question(program):
    connection = program()
    assert tokenize(connection, "twice") == []
    with pytest.raises(ProtocolBroken):
        tokenize(connection, "a")


def test_an_endless_line_is_cut_off(program, monkeypatch):
    monkeypatch.setattr(wire, "MAX_LINE", 2**20)
    with pytest.raises(ProtocolBroken, match="a line of more than 1048576 bytes"):
        tokenize(program(), "endless")


def test_what_a_program_started_ends_with_it(program):
    connection = program()
    (child,) = tokenize(connection, "child")
    assert running(child)
    connection.close()
    deadline = time.monotonic() + 5
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(child)


def test_a_program_that_does_not_leave_is_ended(program, monkeypatch):
    monkeypatch.setattr("llmasos_conformance.adapters.stdio.GRACE_S", 0.2)
    connection = program()
    tokenize(connection, "stay")
    pid, started = connection.pid, time.monotonic()
    connection.close()
    assert time.monotonic() - started < 2
    assert not running(pid)


def test_a_program_killed_between_two_calls_is_dead(program):
    connection = program()
    os.kill(connection.pid, signal.SIGKILL)
    with pytest.raises(Died, match="SIGKILL"):
        tokenize(connection, "a")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys; print('no key', file=sys.stderr); sys.exit(9)", ["ended with status 9", "no key"]),
        ("print('hello', flush=True); input()", ["'hello'", "log to stderr"]),
        ("import time; time.sleep(60)", ["did not describe itself within 0.5 s"]),
        (PROGRAM.replace("DESCRIPTION", "{'name': 'x', 'version': '1'}"), ["answer lacks 'protocol'"]),
        (PROGRAM.replace("DESCRIPTION", "{'protocol': '9', 'name': 'x', 'version': '1'}"), ["speaks protocol '9'"]),
    ],
)
def test_a_program_that_does_not_start_is_an_address_error(program, source, words):
    with pytest.raises(AddressError) as caught:
        program(source=source, start_timeout_s=0.5 if "sleep" in source else 10)
    assert caught.value.exit_code == 4
    for word in words:
        assert word in str(caught.value)


def test_a_candidate_that_changes_over_a_restart_is_an_address_error(tmp_path, program):
    source = PROGRAM.replace("DESCRIPTION", "dict(DESCRIPTION, version=str(os.getpid()))")
    connection = program(source=source)
    with pytest.raises(AddressError, match="describes itself differently"):
        connection.restart()


def test_a_hosted_adapter_that_cannot_be_loaded_says_why(tmp_path):
    (tmp_path / "broken.py").write_text("import nonsense_that_is_absent\n", encoding="utf-8")
    with pytest.raises(AddressError, match="No module named 'nonsense_that_is_absent'"):
        connect("./broken.py:Adapter", directory=tmp_path, out_of_process=True)


def test_the_host_runs_isolated(faulty, tmp_path):
    source = textwrap.dedent("""
        import sys
        class Adapter:
            def describe(self):
                return {"name": "flags", "version": f"{sys.flags.isolated} {'' in sys.path}"}
            def load_model(self, path): ...
    """)
    (tmp_path / "flags.py").write_text(source, encoding="utf-8")
    connection = connect("./flags.py:Adapter", directory=tmp_path, out_of_process=True)
    connection.close()
    assert connection.description.version == "1 False"


def test_the_host_answers_a_malformed_line_and_lives_on(faulty):
    from llmasos_conformance.adapters.connecting import HOST

    lines = (
        b'nonsense\n{"jsonrpc":"2.0","id":1,"method":"forward","params":{}}\n{"jsonrpc":"2.0","id":2,"method":"x"}\n'
    )
    done = subprocess.run([sys.executable, "-I", str(HOST), faulty], input=lines, capture_output=True, check=True)
    errors = [wire.parse_line(line)["error"] for line in done.stdout.splitlines(keepends=True)]
    assert [error["code"] for error in errors] == [wire.INVALID_REQUEST, wire.INVALID_PARAMS, wire.NO_METHOD]


def test_a_generation_of_the_protocol_is_taken_in_process():
    class Model:
        def generate_text(self, prompt, **options):
            return Generation(finish_reason="stop", text=prompt)

    class Adapter:
        def describe(self):
            return {"name": "x", "version": "1"}

        def load_model(self, path):
            return Model()

    connection = InProcess(Adapter())
    assert generate(connection, "a") == {"finish_reason": "stop", "text": "a"}
    assert connection.call("unload_model", {"model": "m1"}) == {}
    with pytest.raises(Refusal):
        connection.call("generate_text", {"model": "m1", "prompt": "a"})


@pytest.mark.parametrize(
    ("scheme", "said"), [("", "let describe() return"), ("cmd:", "see what it says by hand: echo")]
)
def test_who_ends_while_describing_is_told_what_to_mend_in_his_own_kind_of_adapter(scheme, said, tmp_path):
    (tmp_path / "ends.py").write_text(
        "import os\nclass Mine:\n    def load_model(self, path): ...\n    def describe(self): os._exit(3)\n"
        "if __name__ == '__main__': input(), os._exit(3)\n"
    )
    address = f"cmd:{sys.executable} ends.py" if scheme else "./ends.py:Mine"
    with pytest.raises(AddressError, match="ended with status 3") as caught:
        connect(address, out_of_process=True, directory=tmp_path)
    assert said in caught.value.hint
