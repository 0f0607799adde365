"""`llmasos smoke`: which step sees what is wrong, what it advises, and that it is no verdict."""

import json
import sys
import textwrap

import pytest

from llmasos_conformance import installed, seating, smoke
from llmasos_conformance.adapters.openai.http import Server
from llmasos_conformance.canonical import telling
from llmasos_conformance.mutants.babbler import Babbler, Serving
from llmasos_conformance.protocol import CAPABILITIES, OF_SERVERS, Description
from llmasos_conformance.smoke import calls

REFERENCE = "from llmasos_conformance.adapters.reference import ReferenceAdapter\n"


@pytest.fixture
def smoked(tmp_path):
    """Smokes an adapter: text of a file in which `Mine` is one. Returns what was tried."""

    def run(text, **options):
        (tmp_path / "mine.py").write_text(REFERENCE + textwrap.dedent(text))
        return smoke.run(f"{tmp_path / 'mine.py'}:Mine", **options)

    return run


def bad(tried):
    return [(step.name, step.text) for step in tried.steps if step.state == "bad"]


# ── what is right ──


def test_every_capability_is_called_or_shows_where_something_is_loaded():
    apart = {"load_model", "window", "onnx"}
    assert {*calls.CALLS, *calls.OF_ADAPTER, *apart, *OF_SERVERS} == {*CAPABILITIES}
    assert {*calls.SERVED} < OF_SERVERS


def test_the_reference_is_wired_right_in_everything_that_it_declares():
    told = []
    tried = smoke.run("reference", tell=told.append)
    assert bad(tried) == []
    assert {step.state for step in tried.steps} == {"ok"}
    assert (tuple(told), tried.exit_code) == (tried.steps, 0)
    names = [step.name for step in tried.steps]
    assert names[:3] == ["address", "start", "describe"]
    assert names.count("load_model") == names.count("unload_model") == 4
    assert names[-1] == "end"
    assert {*tried.description.capabilities} <= {*names}


def test_a_server_is_left_running(serve):
    tried = smoke.run(serve("llmasos_conformance.adapters.reference:ReferenceAdapter"))
    assert tried.exit_code == 0
    assert tried.steps[-1].text == "the connection is closed; the server is left running"


@pytest.mark.parametrize("variant", ["honest:plain", "honest:online", "honest:llama-plain", "reference:bfloat16/plain"])
def test_what_is_right_is_found_right(variant):
    assert bad(smoke.run(variant)) == []


def test_it_says_that_it_is_no_verdict_and_what_comes_next(llmasos):
    code, out, _ = llmasos("smoke", "honest:plain")
    assert code == 0
    assert "This is no verdict" in out
    assert f"next: {installed.pytest_command()} --adapter=honest:plain --llmasos-profile=core/gpt/logits\n" in out


def test_numbers_that_are_wrong_are_not_its_business():
    assert bad(smoke.run("mutant:epsilon-doubled")) == []


# ── what is wrong ──


def test_an_address_that_leads_nowhere_is_the_first_step(llmasos):
    code, out, _ = llmasos("smoke", "referense", "--json")
    said = json.loads(out)
    assert (code, said["exitCode"], said["ok"]) == (4, 4, False)
    assert [(step["name"], step["state"]) for step in said["steps"]] == [("address", "bad")]
    assert "reference" in said["steps"][0]["try"]


WAIT = "import sys; sys.stdin.read()"
ANSWER = '{"jsonrpc":"2.0","id":1,"result":{}}'
STARTS = {
    f"print('loading weights', flush=True); {WAIT}": ("not a line of the protocol", seating.QUIET),
    "import sys; sys.exit('no licence')": ("no licence", "by hand: echo"),
    f"print({ANSWER!r}, flush=True); {WAIT}": ("lacks", "describe"),
}


@pytest.mark.parametrize("program", STARTS)
def test_a_program_that_does_not_come_up_is_the_second_step(program, tmp_path):
    (tmp_path / "program.py").write_text(program)
    tried = smoke.run(f"cmd:{sys.executable} program.py", directory=tmp_path)
    said, advice = STARTS[program]
    assert [(step.name, step.state) for step in tried.steps] == [("address", "ok"), ("start", "bad")]
    assert said in tried.steps[1].text
    assert advice in tried.steps[1].hint
    assert (tried.exit_code, tried.description) == (4, None)


DESCRIBED = """
class Mine:
    def describe(self):
        return {"name": "mine", "version": "1", %s}
    def load_model(self, path):
        from llmasos_conformance.protocol import Refusal
        raise Refusal("not_found")
"""


def test_nothing_can_be_asked_of_who_loads_nothing(smoked):
    tried = smoked(DESCRIBED % '"capabilities": ["forward"]')
    assert bad(tried) == [("load_model", "is not declared")]
    assert tried.exit_code == 1


SCORER = """
class Mine(ReferenceAdapter):
    def describe(self):
        from dataclasses import replace
        return replace(super().describe(), capabilities=frozenset(["bleu", "rouge"]), architectures=())
"""


def test_scores_of_texts_need_no_bundle(smoked):
    tried = smoked(SCORER)
    assert {step.state for step in tried.steps} == {"ok"}
    told = {step.name: step.text for step in tried.steps}
    assert told["refusal"] == "an option that there is not: unknown_parameter"
    assert "rouge1 1" in told["rouge"]
    tried = smoked(f"{SCORER}    def bleu(self, *a, **o): return 1.0\n")
    assert bad(tried) == [("refusal", "an option that there is not was taken")]


def test_an_architecture_that_nobody_knows_is_told(smoked):
    tried = smoked(DESCRIBED % '"capabilities": ["load_model"], "architectures": ["RWKV"]')
    assert ("load_model", "no architecture is declared that the format has") in bad(tried)
    assert any(step.state == "warn" and "RWKV" in step.text for step in tried.steps)


def test_a_valid_bundle_that_is_refused_leaves_what_needs_it(smoked):
    tried = smoked(DESCRIBED % '"capabilities": ["load_model", "forward", "window", "onnx"]')
    assert bad(tried) == [("load_model", "a valid request was refused: not_found: not_found")]
    left = [step.name for step in tried.steps if step.state == "left"]
    assert left == ["generate_text", "forward", "window", "onnx"]
    (hint,) = (step.hint for step in tried.steps if step.state == "bad")
    assert "do not declare" not in hint
    assert "`architectures` in describe()" in hint


def test_what_nobody_declares_is_not_advised_to_be_left_undeclared(smoked):
    tried = smoked("""
    from llmasos_conformance.protocol import Refusal
    class Mine(ReferenceAdapter):
        def load_model(self, path):
            model = super().load_model(path)
            def refuse(*a, **o):
                raise Refusal("unsupported")
            model.generate_text = refuse
            return model
    """)
    hints = {step.name: step.hint for step in tried.steps if step.state == "bad"}
    assert hints["stop"] == "answer it, or do not declare stop"
    assert hints["generate_text"] == "answer it: nobody declares it, because everybody has it"


def test_a_capability_of_another_architecture_is_a_warning(smoked):
    tried = smoked("""
    class Mine(ReferenceAdapter):
        def describe(self):
            from dataclasses import replace
            return replace(super().describe(), architectures=("GPT-3",))
    """)
    assert bad(tried) == []
    warned = {step.name: step.hint for step in tried.steps if step.state == "warn"}
    assert warned.keys() == {"encode", "fill_mask"}
    assert warned["encode"] == "declare BERT, or take encode out of describe()"


WRONG = {
    "forward": ("return [row[:, :-1] for row in super().forward(batch, **beside)]", "the vocabulary has 263 ids"),
    "forward ": ("return [row * float('nan') for row in super().forward(batch, **beside)]", "not finite"),
    "forward  ": ("return [row[:1] for row in super().forward(batch, **beside)]", "was due"),
    "forward   ": ("raise KeyError('position_embedding')", "KeyError: 'position_embedding'"),
    "forward    ": ("import sys; sys.exit(3)", "sys.exit(3)"),
}

MODEL = """
class Mine(ReferenceAdapter):
    def load_model(self, path):
        model = super().load_model(path)
        kind = type(model)

        class Model(kind):
            {method}

        model.__class__ = Model
        return model
"""


@pytest.mark.parametrize("case", WRONG)
def test_an_answer_that_is_none_is_told_at_its_capability(case, smoked):
    body, said = WRONG[case]
    tried = smoked(MODEL.format(method=f"def forward(self, batch, **beside):\n                {body}"))
    names = [name for name, _ in bad(tried)]
    assert "forward" in names
    text = dict(bad(tried))["forward"]
    assert said in text
    died = "sys.exit" in body
    assert tried.exit_code == (4 if died else 1)
    after = [step for step in tried.steps if step.name == "unload_model"]
    assert {step.state for step in after} == ({"left"} if died else {"ok"})
    if died:
        assert tried.steps[-1].text == "it had ended before"


METHODS = {
    "tokenize": ("def tokenize(self, text, **o): return [1, 2, 3]", "the bundle has no tokenizer.json"),
    "tokenize ": ("def detokenize(self, ids): return 'abd'", "came back as 'abd'"),
    "generate_ids": ("def generate_ids(self, ids, *a, **o): return dict(finish_reason='stop', ids=[263])", "263"),
    "generate_ids ": ("def generate_ids(self, ids, *a, **o): return dict(finish_reason='stop', ids=[1] * 9)", "9 new"),
    "logprobs": ("def generate_ids(self, ids, *a, **o): return dict(finish_reason='stop', ids=[1])", "none came"),
    "stream": ("def stream_text(self, *a, **o): yield 'a'; yield dict(finish_reason='stop', text='b')", "make 'a'"),
    "score": ("def score(self, ids, **o): return [-1.0] * len(ids)", "null was due"),
    "hidden_states": ("def hidden_states(self, *a, **o): return super().hidden_states(*a, **o)[1:]", "came"),
    "attention": ("def attention(self, *a, **o): return [x[:1] for x in super().attention(*a, **o)]", "heads"),
    "encode": (
        "def encode(self, *a, **o):\n"
        "                from dataclasses import replace\n"
        "                return [replace(e, pooled=e.pooled[:-1]) for e in super().encode(*a, **o)]",
        "the width is 64",
    ),
    "fill_mask": ("def fill_mask(self, ids, count=5, **o): return [{1: -1.0}]", "3 for one mask were due"),
    "export": ("def export(self, **o): return {'graph.onnx': b'x'}", "model.onnx was due"),
    "perplexity": ("def perplexity(self, ids, **o): return dict(perplexity=0.5, tokens=3)", "perplexity is 0.5"),
    "gradients": ("def gradients(self, *a, **o): return 1.0", "a pair of loss and gradients was due"),
}


@pytest.mark.parametrize("case", METHODS)
def test_every_call_has_an_answer_that_it_does_not_take(case, smoked):
    method, said = METHODS[case]
    tried = smoked(MODEL.format(method=method))
    texts = [text for name, text in bad(tried) if name == case.strip()]
    assert texts, bad(tried)
    assert said in texts[0]
    assert tried.exit_code == 1


ADAPTER = {
    "bleu": ("def bleu(self, *a, **o): return 7.0", "a number from 0 to 1"),
    "rouge": ("def rouge(self, *a, **o): return {}", "lacks"),
    "refusal": (
        "def load_model(self, path):\n"
        "        from llmasos_conformance.protocol import Refusal\n"
        "        from pathlib import Path\n"
        "        if not Path(path).exists(): raise Refusal('invalid_format')\n"
        "        return super().load_model(path)",
        "was refused as invalid_format",
    ),
    "refusal ": (
        "def load_model(self, path):\n"
        "        from pathlib import Path\n"
        "        return super().load_model(path) if Path(path).exists() else self",
        "a bundle that is not there was taken",
    ),
    "refusal  ": (
        "def load_model(self, path):\n        open(path + '/model.json')\n        return super().load_model(path)",
        "FileNotFoundError",
    ),
}


@pytest.mark.parametrize("case", ADAPTER)
def test_what_the_adapter_itself_answers_is_looked_at_too(case, smoked):
    method, said = ADAPTER[case]
    tried = smoked(f"class Mine(ReferenceAdapter):\n    {method}\n")
    assert [name for name, _ in bad(tried)] == [case.strip()]
    assert said in bad(tried)[0][1]


def test_who_declares_what_no_method_answers_is_told_so(smoked):
    tried = smoked("""
    class Mine(ReferenceAdapter):
        def load_model(self, path):
            model = super().load_model(path)
            return type("Bare", (), {"generate_text": lambda self, *a, **o: model.generate_text(*a, **o)})()
    """)
    assert "declared forward, but the model (Bare) has no method forward" in dict(bad(tried))["forward"]


def test_a_call_that_hangs_ends_what_comes_behind_it(smoked):
    body = "import time; time.sleep(60)"
    tried = smoked(MODEL.format(method=f"def forward(self, batch, **beside):\n                {body}"), timeout_s=1.0)
    assert bad(tried) == [("forward", "forward: no answer within 1.0 s")]
    assert tried.exit_code == 4
    assert {step.state for step in tried.steps[tried.steps.index(tried.steps[-1]) - 4 : -1]} == {"left"}
    assert "--timeout" in next(step.hint for step in tried.steps if step.state == "bad")


RUDE = """
import json, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    said = {"protocol": "0.1-draft", "name": "rude", "version": "1", "capabilities": [], "architectures": [],
            "claims": {}, "emulated": {}, "runtime": {}}
    answer = {"result": said} if asked["method"] == "describe" else {
        "error": {"code": -32000, "message": "no", "data": {"refusal": "not_found"}}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
%s
"""


@pytest.mark.parametrize(
    ("end", "said", "state"),
    [("time.sleep(30)", "and was killed", "warn"), ("sys.exit(3)", "status 3", "warn"), ("", "by itself", "ok")],
)
def test_how_a_program_ends_is_the_last_step(tmp_path, end, said, state):
    (tmp_path / "rude.py").write_text(RUDE % end)
    last = smoke.run(f"cmd:{sys.executable} rude.py", directory=tmp_path).steps[-1]
    assert (last.name, last.state) == ("end", state)
    assert said in last.text
    assert bool(last.hint) == (state == "warn")


def test_a_stray_line_behind_an_answer_is_found_at_the_next_call(tmp_path):
    (tmp_path / "rude.py").write_text(
        RUDE.replace("flush=True)", 'flush=True); print("debug", flush=True); time.sleep(0.1)') % ""
    )
    tried = smoke.run(f"cmd:{sys.executable} rude.py", directory=tmp_path)
    step = next(step for step in tried.steps if step.name == "refusal")
    assert (step.state, step.broken) == ("bad", True)
    assert "log to stderr" in step.hint
    assert tried.exit_code == 4


# ── where nothing is named ──


def test_without_an_address_it_is_the_default_or_the_only_profile(llmasos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = llmasos("smoke")
    assert code == 4
    assert "llmasos init" in err
    (tmp_path / "llmasos.toml").write_text('[profiles.one]\nadapter = "honest:plain"\n')
    assert json.loads(llmasos("smoke", "--json")[1])["address"] == "@one"
    (tmp_path / "pyproject.toml").write_text('[tool.llmasos.profiles.two]\nadapter = "reference"\n')
    code, _, err = llmasos("smoke")
    assert code == 4
    assert "@two or @one" in err or "@one or @two" in err
    (tmp_path / "llmasos.toml").write_text('[profiles.default]\nadapter = "honest:plain"\n')
    assert json.loads(llmasos("smoke", "--json")[1])["address"] == "@default"
    (tmp_path / "llmasos.toml").write_text("[profiles")
    code, _, err = llmasos("smoke")
    assert code == 4
    assert "not valid TOML" in err


@pytest.mark.parametrize(
    ("architectures", "capabilities", "profile"),
    [
        (("GPT-3",), {"load_model", "forward", "generate_ids"}, "core/gpt/logits"),
        (("GPT-3",), {"load_model"}, "core/gpt/text"),
        (("Llama",), {"load_model", "forward", "generate_ids"}, "core/llama/logits"),
        (("BERT",), {"load_model", "encode", "fill_mask"}, "inference/bert/encodings"),
        ((), {"bleu", "rouge"}, "metrics/text"),
        ((), {"chat", "stop", "stream"}, "hosted/chat"),
        ((), {"completions", "stop", "stream"}, "hosted/completions"),
        ((), {"chat"}, "hosted/chat"),
        (("Llama",), {"load_model"}, "quick/llama"),
        (("BERT",), {"load_model"}, "quick/bert"),
        (("Llama", "GPT-3"), set(), "quick"),
        ((), set(), "quick"),
    ],
)
def test_the_first_profile_is_one_whose_requirements_are_declared(architectures, capabilities, profile):
    said = Description(name="x", version="1", architectures=architectures, capabilities=frozenset(capabilities))
    assert installed.profile_for(said.offers) == profile


# ── a model that somebody serves ──


@pytest.fixture
def served():
    """Starts servers with an API like OpenAI's: class of the API -> address over an API."""
    made = []

    def start(kind, api):
        made.append(Server(kind(Babbler(), "babbler")))
        return f"openai:{made[-1].url}#model=babbler&api={api}"

    yield start
    for server in made:
        server.stop()


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_model_that_is_served_is_asked_for_a_text_a_stream_and_a_refusal(served, api, llmasos):
    address = served(Serving, api)
    tried = smoke.run(address)
    assert [(step.name, step.state) for step in tried.steps[3:]] == [
        (api, "ok"), ("stream", "ok"), ("refusal", "ok"), ("end", "ok"),
    ]  # fmt: skip
    assert tried.steps[-1].text == "the connection is closed; the server is left running"
    for words in (("smoke", address), ("smoke", "--adapter", address), ("doctor", "--adapter", address)):
        code, out, _ = llmasos(*words)
        assert code == 0, out
        assert f"--llmasos-profile=hosted/{api}" in out
        assert "standard output" not in out
        assert "architectures" not in out


def test_a_case_is_tried_where_the_address_stands_behind_its_option_too(served, llmasos):
    code, out, _ = llmasos("try", "--adapter", served(Serving, "chat"), "hosted.chat.shape")
    assert code == 0, out
    assert out.splitlines()[0].startswith("hosted.chat.shape: ")


class Muddled(Serving):
    """It streams whatever it is asked, and an asker's mistake is its own."""

    def answer(self, path, body):
        if "messages" not in body:
            return {"status": 500, "type": "text/plain", "body": "Internal Server Error"}
        return {"status": 200, "type": "text/event-stream", "body": "data: {}\n\n"}


def test_a_served_model_whose_answers_are_none_is_told(served):
    tried = smoke.run(served(Muddled, "chat"))
    assert [name for name, _ in bad(tried)] == ["chat", "stream"]
    step = next(step for step in tried.steps if step.name == "refusal")
    assert (step.state, step.text) == ("warn", "a request without messages was answered with status 500")
    assert "explain HOST-8" in step.hint


def test_what_may_be_a_token_is_not_shown_again(llmasos):
    code, out, err = llmasos("smoke", "openai:http://127.0.0.1:9/v1#model=m&token=sk-0123456789")
    assert code == 4
    assert "does not name a variable" in out
    assert "sk-0123" not in out + err


# ── what a trace says ──

NODE = """file:///home/a/engine.mjs:86
  const = 3
        ^
SyntaxError: Unexpected token '='
    at compileSourceTextModule (node:internal/modules/esm/utils:346:16)
    at ModuleLoader.moduleStrategy (node:internal/modules/esm/translators:107:18)

Node.js v20.20.2
"""
CALLED = "TypeError: no data\n" + "".join(f"    at f{n} (file:///home/a/{n}.mjs:1:1)\n" for n in range(20))


def test_of_a_trace_the_cause_is_kept_at_whichever_end_it_stands():
    assert telling(NODE, 4)[0].startswith("file:///home/a/engine.mjs:86")
    assert telling(NODE, 4)[-1] == "SyntaxError: Unexpected token '='"
    assert [line.split("(")[0].strip() for line in telling(CALLED, 4)] == ["TypeError: no data", "at f0", "at f1"]
    python = "Traceback (most recent call last):\n" + "  File\n" * 20 + "ValueError: no"
    assert telling(python, 4)[-1] == "ValueError: no"
    assert telling("bell \a", 4) == ["bell \ufffd"]
    assert telling("", 4) == []
