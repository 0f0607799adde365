"""`llmasos try`: one case, the conversation as it travelled, and how to read what came of it."""

import json
import re
import sys

import ml_dtypes
import numpy as np
import pytest

from llmasos_conformance import installed, onecase, overheard, seating, suite, wire
from llmasos_conformance.cli import beginning
from llmasos_conformance.errors import HarnessError, Malformed
from llmasos_conformance.overheard import Overheard, Tap, Turn, shortened
from llmasos_conformance.protocol import Description, Refusal

SUITE = suite.load()


# ── a case ──


@pytest.mark.parametrize("in_process", [False, True])
def test_a_case_that_passes_shows_what_travelled(in_process):
    tried = onecase.run("honest:plain", in_process=in_process, suite=SUITE)
    assert (tried.case.id, tried.exit_code) == ("numerics.plain", 0)
    assert tried.example == tried.case.examples - 1
    assert [turn.method for turn in tried.opening] == ["describe", "load_model"]
    assert {turn.method for turn in tried.turns} == {"forward"}
    told = tried.told("en")
    assert told.startswith("pass numerics.plain; in honest errors: ")
    assert "ratio" in told
    assert tried.told("zh").startswith("通过 numerics.plain")


def test_in_this_process_the_same_messages_are_shown_as_on_the_wire():
    here, there = (onecase.run("honest:plain", in_process=each, suite=SUITE) for each in (True, False))
    asked = [[turn.question["method"] for turn in tried.turns] for tried in (here, there)]
    ids = [[turn.question["params"]["ids"] for turn in tried.turns] for tried in (here, there)]
    shapes = [[turn.answer["result"]["logits"][0]["shape"] for turn in tried.turns] for tried in (here, there)]
    assert asked[0] == asked[1]
    assert ids[0] == ids[1]
    assert shapes[0] == shapes[1]
    assert here.turns[0].answer["result"]["logits"][0]["data"].startswith("‹")
    assert "frame" in there.turns[0].answer["result"]["logits"][0]


def test_a_server_is_overheard_as_a_process_is(serve):
    tried = onecase.run(serve("llmasos_conformance.adapters.reference:ReferenceAdapter"), suite=SUITE)
    assert (tried.exit_code, {turn.method for turn in tried.turns}) == (0, {"forward"})
    assert tried.opening[0].method == "describe"


def test_a_case_that_fails_shows_the_example_that_decides_and_how_to_read_it(llmasos):
    code, out, _ = llmasos("try", "mutant:epsilon-doubled", "numerics.small-embedding")
    assert code == 1
    assert re.search(r"^  → .*\"method\":\"forward\"", out, re.MULTILINE)
    assert re.search(r"^  ← .*\"shape\":\[\d+,263\]", out, re.MULTILINE)
    assert re.search(r"^  ⇠ frame 0 of \d+ bytes: ‹\S+ \S+ \S+ \S+ … \d+ more›$", out, re.MULTILINE)
    for part in ("example 1 of ", "fail numerics.small-embedding", "requirement: ", "known bugs that also fail it: "):
        assert part in out
    again = "pytest --adapter=mutant:epsilon-doubled llmasos:numerics::numerics.small-embedding --llmasos-seed=0"
    assert f"next: {again}" in out
    assert "llmasos explain numerics.small-embedding" in out


def test_a_case_that_passed_leads_on_to_a_whole_profile(llmasos):
    code, out, _ = llmasos("try", "honest:plain", "--lang", "zh")
    assert code == 0
    assert f"next: {installed.pytest_command()} --adapter=honest:plain --llmasos-profile=core/gpt/logits" in out
    assert "通过" in out


def test_the_json_form_holds_conversation_and_outcome(llmasos):
    code, out, err = llmasos("try", "honest:plain", "api.temperature.zero", "--json", "--seed", "s")
    said = json.loads(out)
    assert (code, err, said["outcome"], said["case"], said["exitCode"]) == (0, "", "pass", "api.temperature.zero", 0)
    assert [turn["question"]["method"] for turn in said["opening"]] == ["describe"]
    assert [turn["question"]["method"] for turn in said["turns"]][:2] == ["load_model", "generate_text"]
    assert said["again"].endswith("--llmasos-seed=s")


@pytest.mark.parametrize(
    ("address", "case"),
    [("reference:llama", None), ("null:refuses", None)],
)
def test_an_address_that_is_none_exits_4(llmasos, address, case):
    code, _, err = llmasos("try", address, *([case] if case else []))
    assert code == 4
    assert "error:" in err


def test_a_case_that_there_is_not_is_refused_before_anything_starts(llmasos):
    code, _, err = llmasos("try", "cmd:no-such-program", "numerics.plane")
    assert code == 2
    assert "did you mean numerics.plain" in err


def test_what_is_a_case_and_no_address_is_taken_for_a_case(llmasos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llmasos.toml").write_text('[profiles.default]\nadapter = "honest:plain"\n')
    for name in ("api.temperature.zero", "llmasos:api::api.temperature.zero"):
        code, out, _ = llmasos("try", name)
        assert code == 0
        assert "pass api.temperature.zero" in out
        assert f"next: {installed.pytest_command()} --adapter=@default" in out


def test_what_comes_next_is_the_profile_of_the_table_or_one_with_the_case_in_it(llmasos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llmasos.toml").write_text('[profiles.a]\nadapter = "honest:plain"\nprofile = "quick"\n')
    assert "--adapter=@a\n" in llmasos("try", "@a", "api.temperature.zero")[1]
    assert "--adapter=reference --llmasos-profile=core/bert/logits\n" in llmasos("try", "reference", "bert.plain")[1]


def test_what_is_not_declared_is_not_asked_and_says_so(llmasos):
    code, out, _ = llmasos("try", "honest:plain", "llama.numbers.plain")
    assert code == 3
    assert "not declared: Llama" in out


def described(*capabilities, architectures=("GPT-3",)):
    return Description(
        name="x", version="1", architectures=architectures, capabilities=frozenset({"load_model", *capabilities})
    )


@pytest.mark.parametrize(
    ("said", "case"),
    [
        (described("forward"), "numerics.plain"),
        (described("forward", architectures=("Llama",)), "llama.numbers.plain"),
        (described("forward", architectures=("BERT",)), "bert.plain"),
        (described("forward", architectures=("Transformer",)), "transformer.plain"),
        (described(), "api.max-length.counts-new-tokens"),
    ],
)
def test_the_case_for_who_named_none_is_one_that_can_be_asked(said, case):
    assert seating.chosen(SUITE, None, said).id == case


def test_where_no_case_can_be_asked_that_is_said():
    with pytest.raises(HarnessError, match="no case can be asked of a candidate that declares nothing"):
        seating.chosen(SUITE, None, Description(name="x", version="1", architectures=()))


RUDE = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["id"] > 1:
        print("\\x1b[31mdebug", flush=True)
    said = {"protocol": "0.1-draft", "name": "rude", "version": "1", "capabilities": ["load_model", "forward"],
            "architectures": ["GPT-3"], "claims": {}, "emulated": {}, "runtime": {}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": said}), flush=True)
"""


def test_what_came_in_the_place_of_an_answer_is_shown_and_steers_no_terminal(tmp_path, llmasos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rude.py").write_text(RUDE)
    code, out, _ = llmasos("try", f"cmd:{sys.executable} rude.py")
    assert code == 4
    assert "✗ not a line of the protocol" in out
    assert "log to stderr" in out
    assert "\x1b" not in out


CRASHING = """
from llmasos_conformance.adapters.reference import ReferenceAdapter


class Mine(ReferenceAdapter):
    def load_model(self, path):
        raise KeyError("position_embedding")
"""


@pytest.mark.parametrize("how", [[], ["--in-process"]])
def test_an_exception_is_shown_with_the_end_of_its_trace(llmasos, tmp_path, how):
    (tmp_path / "mine.py").write_text(CRASHING)
    code, out, _ = llmasos("try", f"{tmp_path / 'mine.py'}:Mine", *how)
    assert code == 1
    assert "fail numerics.plain [0]: raised: KeyError: 'position_embedding'" in out
    assert 'raise KeyError("position_embedding")' in out


def test_a_long_conversation_is_cut_in_its_middle_unless_all_is_wanted(llmasos, monkeypatch):
    monkeypatch.setattr(beginning, "SHOWN", 2)
    words = ("try", "honest:plain", "api.context.prompt-too-long")
    short, whole = llmasos(*words)[1], llmasos(*words, "--all")[1]
    (left,) = re.findall(r"^  … (\d+) more; --all shows them$", short, re.MULTILINE)
    assert short.count("→") + int(left) == whole.count("→")
    assert "--all" not in whole


# ── what is overheard ──


class Channel:
    """Answers with what it was given."""

    pid = None

    def __init__(self, answer=None, frames=(), fault=None):
        self.answer, self.frames, self.fault, self.ended = answer, frames, fault, None

    def exchange(self, line, limit_s, *, frames):
        if self.fault:
            raise self.fault
        return wire.Message(b"", self.answer, self.frames)

    def end(self, grace_s):
        self.ended = grace_s
        return "last words"


QUESTION = b'{"jsonrpc":"2.0","id":1,"method":"forward","params":{"model":"m1","ids":[[1,2]]}}\n'


def test_a_tap_hands_everything_on_and_keeps_a_copy_that_stays():
    heard, answer = [], {"result": {"logits": [{"dtype": "F32", "shape": [1, 2], "frame": 0}]}, "frames": [8]}
    frame = memoryview(np.array([1.5, -2], "<f4").tobytes())
    channel = Channel(answer, [frame])
    tap = Tap(channel, heard)
    message = tap.exchange(QUESTION, 1.0, frames=True)
    assert message.answer is answer
    wire.put_frames(answer["result"], message.frames)  # as the connection does
    (turn,) = heard
    assert turn.answer["result"]["logits"] == [{"dtype": "F32", "shape": [1, 2], "frame": 0}]
    assert turn.lines[0] == "→ " + QUESTION.decode().strip()
    assert turn.lines[2] == "⇠ frame 0 of 8 bytes: ‹1.5 -2›"
    assert tap.end(2.0) == "last words"
    assert channel.ended == 2.0


def test_a_frame_that_is_none_is_told_and_not_judged():
    heard = []
    answer = {"result": {"logits": [{"dtype": "F32", "shape": [9], "frame": 0}]}}
    Tap(Channel(answer, [memoryview(b"1234")] * 20), heard).exchange(QUESTION, 1.0, frames=True)
    assert heard[0].frames[0] == "frame 0 of 4 bytes, which its tensor does not need"
    assert heard[0].frames[1] == "frame 1 of 4 bytes"
    assert heard[0].frames[-1] == f"‹{20 - overheard.ITEMS} more frames›"


def test_a_fault_is_kept_and_raised():
    heard = []
    with pytest.raises(Malformed):
        Tap(Channel(fault=Malformed("a\x1bb")), heard).exchange(QUESTION, 1.0, frames=False)
    assert (heard[0].answer, heard[0].fault) == (None, "a\x1bb")
    assert heard[0].lines[-1] == "✗ a\ufffdb"


class Connection:
    description = described("forward")

    def __init__(self, answer):
        self.answer, self.closed = answer, False

    def call(self, method, params):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self):
        self.closed = True


def test_calls_in_this_process_are_kept_as_the_messages_that_they_would_be():
    heard = []
    connection = Connection({"logits": [np.array([[0.5, 1]], ml_dtypes.bfloat16)]})
    listener = Overheard(connection, heard)
    assert listener.call("forward", {"model": "m1", "ids": [[1]]}) is connection.answer
    listener.restart()  # there is nothing to restart
    listener.close()
    assert connection.closed
    assert [turn.question["id"] for turn in heard] == [1, 2]
    assert heard[0].answer["result"]["name"] == "x"
    assert heard[1].answer["result"]["logits"] == [{"dtype": "BF16", "shape": [1, 2], "data": "‹0.5 1›"}]


def test_refusals_and_faults_in_this_process_are_kept_and_raised():
    heard = []
    with pytest.raises(Refusal):
        Overheard(Connection(Refusal("not_found", "no")), heard).call("load_model", {"path": "x"})
    assert heard[1].answer["error"] == {"code": -32000, "message": "no", "data": {"refusal": "not_found"}}
    heard.clear()
    with pytest.raises(Malformed):
        Overheard(Connection(Malformed("odd")), heard).call("load_model", {"path": "x"})
    assert (heard[1].answer, heard[1].fault) == (None, "malformed: odd")


def test_long_values_are_short_and_short_ones_as_they_are():
    message = {"a": 1, "ids": [1, 2], "text": "x", "none": None, "frame": 0}
    assert shortened(message) == message
    assert shortened([*range(20)]) == [*range(16), "‹4 more›"]
    assert shortened("x" * 200) == "x" * 160 + "‹40 more characters›"
    assert shortened({str(i): i for i in range(20)}) == {"0": 0, "1": 1, "2": 2, "‹17 more›": "…"}
    tensor = wire.encode(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert shortened(tensor) == {"dtype": "F32", "shape": [2, 3], "data": "‹0 1 2 3 … 2 more›"}
    assert shortened({**tensor, "data": "!"}) == {**tensor, "data": "!"}
    assert shortened({**tensor, "data": 7})["data"] == "7"


def test_a_turn_is_ascii_but_for_our_own_marks():
    turn = Turn(method="x", question={"a": "\x9b‹é›…"}, answer=None)
    assert turn.lines == ['→ {"a":"\\u009b‹\\u00e9›…"}']
