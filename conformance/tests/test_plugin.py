"""The pytest seam, as a vendor meets it: a repository of his own, and pytest started in it."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from llmasos_conformance import suite

ROOTS = [Path(find_spec(name).origin).parents[1] for name in ("llmasos", "llmasos_conformance")]

LEDGER = """
chapter: text
title: {en: Text, zh: 文本}
requirements:
  - {id: TXT-1, level: MUST, en: The ids of a text are its bytes., zh: 编号即字节。, source: "demo, section 1"}
  - {id: TXT-2, level: SHOULD, en: The same in other words., zh: 同上。, source: "demo, section 2"}
"""
DEMO = """
suite: demo
title: {en: Demo, zh: 演示}
cases:
  - id: demo.bytes
    requirement: TXT-1
    check: demo.bytes
    examples: 3
    effect: {en: Text is garbled., zh: 文本会乱码。}
  - {id: demo.dotted.again, requirement: TXT-2, check: demo.bytes, examples: 20}
"""
MORE = """
suite: more
title: {en: More, zh: 更多}
cases:
  - {id: more.score, requirement: TXT-1, check: demo.score}
  - {id: more.outside-the-profile, requirement: TXT-1, check: demo.bytes}
  - {id: more.judge-breaks, requirement: TXT-1, check: demo.broken}
"""
CHECKS = '''
"""Loaded with -p: three checks that need no reference."""
from llmasos_conformance import checks
from llmasos_conformance.verdict import failed, passed

checks.FAMILIES = ()


def question(given, draw, candidate):
    text = "".join(chr(97 + k) for k in draw.integers(draw.integer(1, 12), 0, 25))
    return {"text": text, "ids": candidate.model("plain").tokenize(text)}


def judge(given, asked, reference):
    due = list(asked["text"].encode())
    if asked["ids"] == due:
        return passed(length=len(due))
    return failed("ids differ", expected=due, got=asked["ids"], length=len(due))


def broken(given, asked, reference):
    raise ZeroDivisionError("oops")


checks.check("demo.bytes", question, judge, needs=("tokenize",))
checks.check("demo.score", question, judge, needs=("score",))
checks.check("demo.broken", question, broken, needs=("tokenize",))
'''
RAISES = '        raise ValueError("no such text")'
ADAPTER = '''
import warnings


class Model:
    def __init__(self, wrong):
        self.wrong = wrong

    def generate_text(self, prompt, max_length=100, temperature=1.0, **options):
        raise NotImplementedError

    def tokenize(self, text):
        return [0] if self.wrong(text) else list(text.encode())

    def detokenize(self, ids):
        return bytes(ids).decode()


class Mine:
    """Right."""

    def describe(self):
        return {"name": "mine", "version": "1", "capabilities": ["load_model", "tokenize"]}

    def load_model(self, path):
        return Model(self.wrong)

    def wrong(self, text):
        return False


class Wrong(Mine):
    def wrong(self, text):
        return "b" in text[2:]


class Rare(Mine):
    def wrong(self, text):
        return text == "a"


class Noisy(Mine):
    def wrong(self, text):
        warnings.warn("deprecated in the vendor's own code", DeprecationWarning)


class Always(Mine):
    def wrong(self, text):
        return True


class Stale(Mine):
    asked = 0

    def wrong(self, text):
        Stale.asked += 1
        return Stale.asked > 3


class Raising(Mine):
    def wrong(self, text):
        raise ValueError("no such text")


class Refusing(Mine):
    def wrong(self, text):
        from llmasos_conformance.protocol import Refusal

        raise Refusal("unsupported", "Texts are not for this engine")


class Hanging(Mine):
    def load_model(self, path):
        import time

        time.sleep(60)


class Dying(Mine):
    def wrong(self, text):
        import os

        os._exit(3)


class Mute(Mine):
    def describe(self):
        raise OSError("nothing to say")


class Offering(Mine):
    def describe(self):
        return {**super().describe(), "capabilities": ["load_model", "tokenize", "session"]}


class Boasting(Mine):
    def describe(self):
        return {**super().describe(), "capabilities": ["tokenise"]}


class Unmade(Mine):
    def __init__(self):
        raise OSError("no licence file")
'''
PROFILE_CASES = ("demo.bytes", "demo.dotted.again", "more.score")
PROFILE_IDS = ["llmasos:demo::demo.bytes", "llmasos:demo::demo.dotted.again", "llmasos:more::more.score"]


@dataclass
class Ran:
    code: int
    out: str

    @property
    def ids(self) -> list[str]:
        """What --collect-only -q printed."""
        return [line for line in self.out.splitlines() if "::" in line and " " not in line]

    @property
    def states(self) -> dict[str, str]:
        """What -v printed, serial or under xdist."""
        serial = re.findall(r"^(\S+::\S+) (PASSED|FAILED|ERROR|NOT DECLARED)", self.out, re.MULTILINE)
        spread = re.findall(r"^\[gw\d\].* (PASSED|FAILED|ERROR|NOT DECLARED) (\S+::\S+)", self.out, re.MULTILINE)
        return {**dict(serial), **{name: state for state, name in spread}}


@dataclass
class Vendor:
    """A vendor's repository, with the demo suites installed somewhere else."""

    root: Path
    suites: Path

    def pytest(self, *arguments: str, cwd: str = ".", plugins=("fakechecks",), suites=True, **env: str) -> Ran:
        """Run pytest; xdist and our plugin are loaded by name, so it does not matter what is installed."""
        named = [word for name in ("xdist.plugin", "llmasos_conformance.plugin", *plugins) for word in ("-p", name)]
        where = [f"--llmasos-suites={self.suites}"] if suites else []
        path = os.pathsep.join(map(str, [*ROOTS, self.root, *filter(None, [os.environ.get("PYTHONPATH")])]))
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *named, *where, *arguments],
            cwd=self.root / cwd,
            env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", **env},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ran(run.returncode, run.stdout + run.stderr)

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")


FREEZE = """
import fakechecks, sys
from pathlib import Path
from types import SimpleNamespace
from llmasos_conformance import suite

listed = sys.argv[2:]
suite.freeze("core/gpt/logits", requires=["tokenize", "score"], match=listed, directory=Path(sys.argv[1]))
suite.freeze("quick", requires=["tokenize"], match=listed, directory=Path(sys.argv[1]))
suite.freeze("other", requires=["tokenize"], match=["more.outside-the-profile"], directory=Path(sys.argv[1]))
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The demo suites with frozen profiles; made in a process of its own, because its checks are not everybody's."""
    root = tmp_path_factory.mktemp("suites")
    (root / "requirements").mkdir()
    for name, text in (("requirements/text", LEDGER), ("demo", DEMO), ("more", MORE)):
        (root / f"{name}.yaml").write_text(text, encoding="utf-8")
    there = tmp_path_factory.mktemp("checks")
    (there / "fakechecks.py").write_text(CHECKS)
    path = os.pathsep.join(map(str, [*ROOTS, there]))
    command = [sys.executable, "-c", FREEZE, str(root), *PROFILE_CASES]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=60)
    return root


@pytest.fixture
def vendor(tmp_path, installed):
    suites = tmp_path / "lib" / "site-packages" / "package" / "suites"
    shutil.copytree(installed, suites)
    made = Vendor(tmp_path / "vendor", suites)
    made.write("pyproject.toml", '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n')
    made.write("tests/test_own.py", "def test_own():\n    pass\n")
    made.write("adapter.py", ADAPTER)
    made.write("fakechecks.py", CHECKS)
    return made


MINE, WRONG = "--adapter=./adapter.py:Mine", "--adapter=./adapter.py:Wrong"
BARE = ("-p", "no:cacheprovider")


# Without an adapter


def without_seconds(text: str) -> str:
    return re.sub(r"in \d+\.\d+s", "", text)


def test_without_an_adapter_pytest_prints_the_same_bytes_as_without_the_plugin(vendor):
    with_us = vendor.pytest("--co", *BARE, plugins=(), suites=False)
    without_us = vendor.pytest("--co", *BARE, "-p", "no:llmasos_conformance.plugin", plugins=(), suites=False)
    assert without_seconds(with_us.out) == without_seconds(without_us.out)
    assert "test_own" in with_us.out


def test_without_an_adapter_nothing_heavy_is_imported(vendor):
    heavy = ["numpy", "yaml", "hypothesis", "torch", "jsonschema", "llmasos_conformance.engine"]
    vendor.write("tests/test_own.py", f"import sys\ndef test_own():\n    assert not {{*{heavy}}} & {{*sys.modules}}\n")
    assert vendor.pytest(plugins=(), suites=False).code == 0


def test_a_suite_without_an_adapter_is_a_usage_error(vendor):
    ran = vendor.pytest("llmasos:demo")
    assert ran.code == 4
    assert "--llmasos-adapter=ADDRESS" in ran.out


# What runs


def test_bare_pytest_collects_the_profile_and_not_the_vendors_tests(vendor):
    ran = vendor.pytest(MINE, "--collect-only", "-q")
    assert ran.ids == PROFILE_IDS
    assert "self-test" not in ran.out.partition("tests collected")[2]


def test_the_same_cases_have_the_same_states_serially_and_under_xdist(vendor):
    serial, spread = vendor.pytest(WRONG, "-v", *BARE), vendor.pytest(WRONG, "-v", "-n2", *BARE)
    assert list(serial.states) == PROFILE_IDS
    assert serial.states == spread.states
    assert serial.states["llmasos:more::more.score"] == "NOT DECLARED"
    assert (serial.code, spread.code) == (1, 1)
    assert "verdict:" in spread.out
    assert re.findall("^verdict.*", serial.out, re.MULTILINE) == re.findall("^verdict.*", spread.out, re.MULTILINE)


@pytest.mark.parametrize("spread", [(), ("-n2",)])
def test_a_capability_that_is_declared_and_not_asked_by_the_profile_is_told(vendor, spread):
    ran = vendor.pytest("--adapter=./adapter.py:Offering", *spread, *BARE)
    told = re.findall("^declared, not asked by this profile: .*", ran.out, re.MULTILINE)
    assert told == ["declared, not asked by this profile: GPT-3, load_model, session (no profile asks them)"]
    everything = vendor.pytest("--adapter=./adapter.py:Offering", "--llmasos-profile=all", *spread, *BARE)
    assert "declared, not asked" not in everything.out


def test_suites_and_the_vendors_tests_mix_in_one_run_also_under_xdist(vendor):
    expected = {"tests/test_own.py::test_own", "llmasos:demo::demo.bytes", "llmasos:demo::demo.dotted.again"}
    assert set(vendor.pytest(MINE, "tests", "llmasos:demo", "-v").states) == expected
    assert set(vendor.pytest(MINE, "llmasos:demo", "tests", "-v", "-n2").states) == expected


def test_a_printed_id_can_be_pasted_even_outside_the_profile_and_from_another_folder(vendor):
    wanted = "llmasos:more::more.outside-the-profile"
    assert list(vendor.pytest(MINE, wanted, "-v").states) == [wanted]
    assert list(vendor.pytest(MINE, "llmasos:more.outside-the-profile", "-v").states) == [wanted]
    below = vendor.pytest("--adapter=../adapter.py:Mine", f"../{wanted}", "-v", cwd="tests")
    assert list(below.states) == [f"../{wanted}"]


def test_selection_works_as_everywhere_in_pytest(vendor):
    def chosen(*arguments: str) -> list[str]:
        return vendor.pytest(MINE, "--collect-only", "-q", *arguments).ids

    assert chosen("-k", "again") == PROFILE_IDS[1:2]
    assert chosen("-k", "TXT-2") == PROFILE_IDS[1:2]
    assert chosen("-m", "must and text") == [PROFILE_IDS[0], PROFILE_IDS[2]]
    assert chosen("-m", "should", "--strict-markers") == PROFILE_IDS[1:2]
    assert chosen("--deselect", "llmasos:demo") == PROFILE_IDS[2:]
    assert chosen("--llmasos-profile=all", "llmasos:more") == [
        "llmasos:more::more.score", "llmasos:more::more.outside-the-profile", "llmasos:more::more.judge-breaks",
    ]  # fmt: skip


def test_last_failed_repeats_what_failed_and_x_stops_there(vendor):
    first = vendor.pytest(WRONG, "-v", "-x")
    failed = [name for name, state in first.states.items() if state == "FAILED"]
    assert len(failed) == 1
    assert len(first.states) < 3
    assert list(vendor.pytest(WRONG, "-v", "--lf").states)[: len(failed)] == failed


def test_nothing_selected_is_exit_code_5(vendor):
    assert vendor.pytest(MINE, "-k", "nothing-like-it").code == 5


def test_directories_on_the_way_to_the_suites_are_never_listed(vendor):
    bomb = "raise SystemExit('collected')"
    for place in (vendor.suites.parents[1] / "other", vendor.suites.parent, vendor.root / ".venv"):
        place.mkdir(exist_ok=True)
        (place / "test_bomb.py").write_text(bomb)
        (place / "conftest.py").write_text(bomb)
    assert vendor.pytest(MINE, "--co", "-q").ids == PROFILE_IDS
    assert len(vendor.pytest(MINE, "--co", "-q", "tests", "llmasos:").ids) == 4


def test_suites_inside_the_vendors_own_tree_are_reached_the_same_way(vendor):
    inside = vendor.root / ".venv" / "lib" / "suites"
    inside.parent.mkdir(parents=True)
    vendor.suites.rename(inside)
    (inside.parent / "test_bomb.py").write_text("raise SystemExit('collected')")
    vendor.suites = inside
    assert vendor.pytest(MINE, "--co", "-q").ids == PROFILE_IDS
    assert len(vendor.pytest(MINE, "--co", "-q", "tests", "llmasos:").ids) == 4


# What it says


@pytest.fixture
def wrong(vendor):
    return vendor.pytest("--adapter=./adapter.py:Wrong", "--llmasos-profile=all", "--llmasos-seed=tuesday", *BARE)


def test_the_header_says_what_is_tested_against_what_and_that_it_certifies_nothing(wrong):
    assert "llmasos: adapter ./adapter.py:Wrong (from --adapter), in process" in wrong.out
    assert re.search(r"llmasos: suite \S+ [0-9a-f]{12}, profile all, seed tuesday", wrong.out)
    assert "llmasos: self-test, not a certificate" in wrong.out


def test_a_failure_reads_from_verdict_to_place(vendor, wrong):
    text = wrong.out.partition("demo.dotted.again (TXT-2)")[2]
    lines = [line.strip() for line in text.splitlines()[1:]]
    order = [
        r"fail: ids differ \(TXT-2\)",
        "TXT-2 SHOULD",
        "example",
        "expected",
        "got",
        "figures",
        "minimal       tokenize text='aab'",
        "reproduce",
        r".*demo\.yaml:\d+$",
    ]
    places = [next(i for i, line in enumerate(lines) if re.match(start, line)) for start in order]
    assert places == sorted(places)
    assert "FAILED llmasos:demo::demo.dotted.again" in wrong.out
    assert re.search(r"example +number \d+ of 20 failed; all that is said here is of the minimal one below", wrong.out)
    assert re.search(r"expected +\[97, 97, 98\]$", wrong.out, re.MULTILINE)
    assert re.search(r"figures +length 3$", wrong.out, re.MULTILINE)
    assert "drawn:" not in wrong.out


def test_the_place_below_a_failure_opens_from_where_pytest_was_started_wherever_the_suites_are(vendor, wrong):
    places = re.findall(r"^(\S*demo\.yaml):(\d+)$", wrong.out, re.MULTILINE)
    lines = [(vendor.root / path).read_text(encoding="utf-8").splitlines()[int(line) - 1] for path, line in places]
    assert [re.search(r"id: ([\w.]+)", line)[1] for line in lines] == ["demo.bytes", "demo.dotted.again"]


def test_what_was_drawn_is_shown_to_who_asks_twice_for_more(vendor):
    assert "drawn: 3 of 1..12; [0, 0, 1] of 0..25" in vendor.pytest(WRONG, "-vv", *BARE).out


def test_the_reproduce_line_reproduces(vendor, wrong):
    line = re.search(r"reproduce +pytest (.*demo\.dotted\.again)$", wrong.out, re.MULTILINE)
    assert line
    again = vendor.pytest(*line[1].split(), "-v", *BARE, suites=False)
    assert again.states == {"llmasos:demo::demo.dotted.again": "FAILED"}
    assert "--llmasos-seed=tuesday" in line[1]


KNOWN = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid.endswith("demo.dotted.again"):
            item.add_marker(pytest.mark.xfail({condition}strict=True, reason="acme/engine#7"))
"""
COUNTING = """
class Counting(Wrong):
    def wrong(self, text):
        with open("calls", "a") as stream:
            stream.write(".")
        return super().wrong(text)
"""


@pytest.mark.parametrize(
    ("condition", "options", "smaller"),
    [
        ("", (), False),
        ("condition=False, ", (), True),
        ("", ("--runxfail",), True),
    ],
)
def test_a_known_failure_is_reported_and_never_made_smaller_again(vendor, condition, options, smaller):
    vendor.write("conftest.py", KNOWN.replace("{condition}", condition))
    vendor.write("adapter.py", ADAPTER + COUNTING)
    ran = vendor.pytest("--adapter=./adapter.py:Counting", "llmasos:demo::demo.dotted.again", *options, "-rx", *BARE)
    assert "failing: TXT-2 (SHOULD) in demo.dotted.again" in ran.out
    calls = len((vendor.root / "calls").read_text())
    assert (calls > 20) == smaller, calls  # 20 examples of the case at most, then those that make it smaller
    assert ran.code == (1 if smaller else 0)
    assert ("acme/engine#7" in ran.out) == (not smaller)


def test_a_known_failure_that_passes_fails_the_run(vendor):
    vendor.write("conftest.py", KNOWN.replace("{condition}", ""))
    ran = vendor.pytest(MINE, "llmasos:demo::demo.dotted.again", *BARE)
    assert ran.code == 1
    assert "XPASS(strict)" in ran.out


ENTRY = """
format: 1
failures:
- case: demo.dotted.again
  reason: the first byte is lost, acme/engine#7
  symptom: {symptom}
  expires: '{expires}'
"""


def entry(symptom="ids differ", expires="2999-01-01"):
    return ENTRY.format(symptom=symptom, expires=expires)


LISTED = "--llmasos-known-failures=known.yaml"
AGAIN = "llmasos:demo::demo.dotted.again"


@pytest.mark.parametrize("spread", [(), ("-n2",)])
def test_a_listed_failure_changes_the_exit_code_and_nothing_else(vendor, spread):
    vendor.write("known.yaml", entry())
    plain, listed = (vendor.pytest(WRONG, AGAIN, *more, *spread, *BARE) for more in ((), (LISTED,)))
    assert (plain.code, listed.code) == (1, 0)
    for said in ("failing: TXT-2 (SHOULD) in demo.dotted.again", "no verdict: 1 of 3 cases of core/gpt/logits ran"):
        assert said in plain.out
        assert said in listed.out
    assert "1 xfailed" in listed.out
    assert "known failures: 1 expected; they change the exit code, not the verdict" in listed.out


def test_the_verdict_of_a_whole_run_is_the_same_with_known_failures(vendor):
    vendor.write("known.yaml", entry().replace("demo.dotted.again", "demo.bytes"))
    ran = vendor.pytest("--adapter=./adapter.py:Always", LISTED, *BARE)
    assert "verdict: non_conformant (core/gpt/logits; 1 of 3 cases not declared)" in ran.out
    assert "known failures: 1 expected" in ran.out


@pytest.mark.parametrize(
    ("adapter", "file", "said"),
    [
        (MINE, entry(), "stale: demo.dotted.again (known.yaml:4) known to fail, and does not: take the entry out"),
        (WRONG, entry(expires="2026-01-01"), "known to fail until 2026-01-01, which is over"),
        (WRONG, entry("something else"), "fails otherwise than known, 'something else' was expected"),
        ("--adapter=./adapter.py:Raising", entry(), "changed: demo.dotted.again"),
    ],
)
def test_an_entry_that_is_stale_expired_or_of_another_symptom_fails_the_run(vendor, adapter, file, said):
    vendor.write("known.yaml", file)
    ran = vendor.pytest(adapter, LISTED, AGAIN, *BARE)
    assert ran.code == 1
    assert said in ran.out.replace(f"{vendor.root}/", "")
    assert "next: put " in ran.out


def test_a_stale_entry_fails_the_run_under_xdist_and_behind_a_mark_too(vendor):
    vendor.write("known.yaml", entry())
    vendor.write("conftest.py", KNOWN.replace("{condition}", "").replace("strict=True", "strict=False"))
    for spread in ((), ("-n2",)):
        ran = vendor.pytest(MINE, LISTED, AGAIN, *spread, *BARE)
        assert ran.code == 1
        assert "take the entry out" in ran.out


def test_an_entry_for_a_case_that_was_not_asked_says_so_and_fails_nothing(vendor):
    vendor.write("known.yaml", entry().replace("demo.dotted.again", "more.score"))
    ran = vendor.pytest(MINE, LISTED, *BARE)
    assert ran.code == 0
    assert "known failures: 1 not asked" in ran.out


def test_what_cannot_be_judged_is_no_known_failure(vendor):
    vendor.write("known.yaml", entry("ZeroDivisionError").replace("demo.dotted.again", "more.judge-breaks"))
    ran = vendor.pytest(MINE, LISTED, "llmasos:more::more.judge-breaks", *BARE)
    assert ran.code == 1
    assert "unjudged: more.judge-breaks" in ran.out


def test_a_known_failure_is_not_made_smaller_until_it_expires(vendor):
    vendor.write("adapter.py", ADAPTER + COUNTING)
    calls = []
    for day in ("2999-01-01", "2026-01-01"):
        vendor.write("known.yaml", entry(expires=day))
        vendor.pytest("--adapter=./adapter.py:Counting", LISTED, AGAIN, *BARE)
        calls.append(len((vendor.root / "calls").read_text()))
        (vendor.root / "calls").unlink()
    assert calls[0] <= 20 < calls[1]


def test_runxfail_lets_no_known_failure_count(vendor):
    vendor.write("known.yaml", entry())
    ran = vendor.pytest(WRONG, LISTED, "--runxfail", AGAIN, *BARE)
    assert ran.code == 1
    assert "none of them counts, because of --runxfail" in ran.out


def test_the_file_may_be_named_in_the_settings_relative_to_them(vendor):
    vendor.write("known.yaml", entry())
    vendor.write("pyproject.toml", '[tool.pytest.ini_options]\nllmasos_known_failures = "known.yaml"\n')
    below = vendor.pytest("--adapter=../adapter.py:Wrong", f"../{AGAIN}", *BARE, cwd="tests")
    assert below.code == 0, below.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (entry().replace("demo.dotted", "demo.dottet"), "there is no case demo.dottet.again; did you mean demo.dotted"),
        (entry().replace("format: 1", "format: one"), "known.yaml:2 format: expected 1"),
    ],
)
def test_a_malformed_file_of_known_failures_stops_the_run_before_it_starts(vendor, text, said):
    vendor.write("known.yaml", text)
    ran = vendor.pytest(MINE, LISTED, *BARE)
    assert ran.code == 4
    assert said in ran.out
    assert "cannot read the known failures" in vendor.pytest(MINE, "--llmasos-known-failures=none.yaml", *BARE).out


def test_the_command_that_repeats_a_run_names_the_known_failures(vendor):
    vendor.write("known.yaml", entry().replace("demo.dotted.again", "demo.bytes"))
    ran = vendor.pytest(MINE, LISTED, "-k", "again", *BARE)
    assert "--llmasos-known-failures=known.yaml" in ran.out.partition("next: judge the rest")[2]


def test_a_judge_that_breaks_could_not_be_judged_and_is_no_failure_of_the_candidate(wrong):
    assert "could not be judged: the harness failed: ZeroDivisionError: oops (TXT-1)" in wrong.out
    assert "ERROR at call of more.judge-breaks" in wrong.out
    assert re.search(r"^failing: TXT-2 \(SHOULD\) in demo.dotted.again$", wrong.out, re.MULTILINE)


def test_what_is_not_declared_keeps_its_name_and_a_green_run_without_it_is_incomplete(vendor):
    ran = vendor.pytest(MINE, *BARE)
    assert ran.code == 0
    assert "2 passed, 1 not declared" in ran.out
    assert "not declared, so nothing was asked: score; what it takes: llmasos explain score\n" in ran.out
    assert re.search(r"^verdict: incomplete \(core/gpt/logits; 1 of 3 cases not declared\)$", ran.out, re.MULTILINE)


def test_a_run_in_which_nothing_was_asked_is_not_green(vendor):
    ran = vendor.pytest(MINE, "-k", "score", *BARE)
    assert "1 not declared" in ran.out
    assert ran.code == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_part_of_the_profile_is_incomplete_and_says_how_much_did_not_run(vendor):
    ran = vendor.pytest(MINE, "-k", "again", *BARE)
    assert "no verdict: 1 of 3 cases of core/gpt/logits ran\n" in ran.out
    assert "next: judge the rest" in ran.out


def test_a_pasted_case_outside_the_profile_is_said_to_be_outside_and_is_reproduced_with_all(vendor):
    pasted = "llmasos:more::more.outside-the-profile"
    ran = vendor.pytest("--adapter=./adapter.py:Always", pasted, *BARE)
    assert "no verdict: 0 of 3 cases of core/gpt/logits ran; not in this profile: more.outside-the-profile" in ran.out
    assert f"--llmasos-profile=all --llmasos-suites={vendor.suites} {pasted}" in ran.out
    assert "--lf --adapter=./adapter.py:Always --llmasos-profile=all" in ran.out


def test_a_case_is_reproduced_in_the_profile_that_was_asked(vendor):
    ran = vendor.pytest("--adapter=./adapter.py:Always", "--llmasos-profile=other", *BARE)
    due = "pytest .*--llmasos-profile=other .*llmasos:more::more.outside-the-profile$"
    assert re.search(f"^  reproduce +{due}", ran.out, re.MULTILINE)
    assert "--llmasos-profile=all" not in ran.out


def test_what_raised_has_no_effect_of_the_case_but_its_own(vendor):
    raised, wrong = (vendor.pytest(f"--adapter=./adapter.py:{name}", *BARE).out for name in ("Raising", "Always"))
    assert "fail: raised: " in raised
    assert "Text is garbled." not in raised
    assert "Text is garbled." in wrong


def test_one_exception_behind_many_cases_has_one_trace_and_one_advice(vendor):
    ran = vendor.pytest("--adapter=./adapter.py:Raising", "--llmasos-profile=all", *BARE)
    place = f"{vendor.root / 'adapter.py'}:{ADAPTER.splitlines().index(RAISES) + 1}, in wrong"
    assert ran.out.count("Traceback (most recent call last)") == 1
    assert len(re.findall(r"^  as +demo\.bytes, where the trace is$", ran.out, re.MULTILINE)) == 3
    assert len(re.findall(rf"^  raised at +{re.escape(place)}$", ran.out, re.MULTILINE)) == 4
    end = ran.out.partition("not a certificate =")[2]
    assert f"\n4 cases failed by one exception: ValueError: no such text ({place}); mend this first\n" in end
    assert "failing:" not in end
    notes = [end.index(start) for start in ("not declared, so", "4 cases failed by", "verdict: ", "next: ")]
    assert notes == sorted(notes)  # where to begin stands where the eye is
    assert re.search(r"^next: mend what stopped 4 cases; repeat one: pytest .*llmasos:demo::demo\.bytes, or", end, re.M)


def test_one_refusal_behind_many_cases_is_told_whole_once(vendor):
    ran = vendor.pytest("--adapter=./adapter.py:Refusing", "--llmasos-profile=all", *BARE)
    assert len(re.findall(r"^  as +demo\.bytes, for the same reason$", ran.out, re.MULTILINE)) == 3
    assert re.search(r"^4 cases failed by one refusal", ran.out, re.MULTILINE)


FEW = "from llmasos_conformance.plugin import summary\nsummary.WHOLE = 1\n"


@pytest.mark.parametrize("spread", [(), ("-n2",)])
def test_behind_the_first_failures_the_others_are_told_in_brief_and_v_tells_them_whole(vendor, spread):
    vendor.write("few.py", FEW)
    words = (
        "--adapter=./adapter.py:Always",
        "--llmasos-profile=all",
        "-k",
        "bytes or again or outside",
        *BARE,
        *spread,
    )
    ran = vendor.pytest(*words, plugins=("fakechecks", "few"))
    blocks = re.findall(r"^(fail: (?:.*\n)(?:  .*\n)*)", ran.out, re.MULTILINE)
    assert sorted(block.count("\n") for block in blocks)[:2] == [3, 3]
    assert len(blocks) == 3
    for block in blocks:
        assert re.search(r"^  reproduce +pytest .*llmasos:\w+::", block, re.MULTILINE)
        assert re.search(r"^  minimal +tokenize text=", block, re.MULTILINE)
    assert ran.out.count("2 of the cases above are told in brief; -v tells all of them whole, and lists them\n") == 1
    for option in ("-v", "--tb=no"):
        assert "in brief" not in vendor.pytest(*words, option, plugins=("fakechecks", "few")).out


def test_what_is_told_in_brief_on_the_screen_stands_whole_in_the_file_of_junit(vendor):
    vendor.write("few.py", FEW)
    words = ("--adapter=./adapter.py:Always", "--llmasos-profile=all", "--junitxml=made.xml", *BARE)
    assert "told in brief" in vendor.pytest(*words, plugins=("fakechecks", "few")).out
    assert len(re.findall("^  got +", (vendor.root / "made.xml").read_text(), re.MULTILINE)) == 3


@pytest.mark.parametrize("spread", [(), ("-n2",)])
def test_what_is_told_in_brief_is_listed_once_more_only_where_somebody_asks_or_others_fail_too(vendor, spread):
    vendor.write("few.py", FEW)

    def listed(*words):
        ran = vendor.pytest("--adapter=./adapter.py:Always", *words, *BARE, *spread, plugins=("fakechecks", "few"))
        return len(re.findall("^FAILED ", ran.out, re.MULTILINE))

    assert listed("--llmasos-profile=all") == 0
    assert listed("--llmasos-profile=all", "-rf") == 3
    vendor.write("test_own.py", "def test_own():\n    assert False\n")
    assert listed("--llmasos-profile=all", "test_own.py", "llmasos:") == 4


LED = """
from llmasos_conformance import knownbugs
from llmasos_conformance.plugin import summary
knownbugs.fitting_bugs = lambda *known: ["Some bug. (a/b#1)"]
summary.led_away = lambda records: frozenset({"demo.bytes"})
"""


@pytest.mark.parametrize("spread", [(), ("-n2",)])
def test_known_bugs_are_not_told_of_cases_that_fail_because_others_do(vendor, spread):
    vendor.write("led.py", LED)
    words = ("--adapter=./adapter.py:Always", "--llmasos-profile=all", *BARE, *spread)
    blocks = re.split("^_{3,} ", vendor.pytest(*words, plugins=("fakechecks", "led")).out, flags=re.MULTILINE)[1:]
    told = {each.split()[0]: "failed by   Some bug. (a/b#1)" in each for each in blocks}
    assert told["more.outside-the-profile"]
    assert not told["demo.bytes"]
    whole = vendor.pytest(*words, "-v", plugins=("fakechecks", "led")).out
    assert whole.count("failed by   Some bug. (a/b#1)") == 1 + sum(told.values())


@pytest.mark.parametrize("spread", [(), ("-n2",)])
def test_how_long_was_looked_for_smaller_inputs_is_said_with_the_option_that_does_not(vendor, spread):
    vendor.write("few.py", "import time\nfrom llmasos_conformance import explore\nfind = explore.search\n"
                 "explore.search = lambda *a, **b: time.sleep(1.1) or find(*a, **b)\n")  # fmt: skip
    words = ("--adapter=./adapter.py:Always", "--llmasos-profile=all", *BARE, *spread)
    ran = vendor.pytest(*words, plugins=("fakechecks", "few"))
    assert re.search(
        r"^\d s.* went into smaller inputs that fail alike; after 20 s .*; --llmasos-smaller=0 does not look for them$",
        ran.out,
        re.M,
    )
    without = vendor.pytest(*words, "--llmasos-smaller=0", plugins=("fakechecks", "few"))
    assert "looked " not in without.out
    assert without.code == ran.code == 1
    assert "--llmasos-smaller=0" in re.search("^next: .*", without.out, re.MULTILINE)[0]


@pytest.mark.parametrize("spread", [(), ("-n2",)])
def test_wrong_answers_that_are_right_of_a_candidate_started_anew_are_told_as_such(vendor, spread):
    words = ("--llmasos-profile=all", "--llmasos-smaller=0", *BARE, *spread)
    ran = vendor.pytest("--adapter=./adapter.py:Stale", *words, "--llmasos-out-of-process", plugins=("fakechecks",))
    assert "(right when asked of a candidate started anew: what was asked before changes the answer)\n" in ran.out
    assert re.search(r"^\d wrong answers are right of a candidate started anew: .*; begin with ", ran.out, re.MULTILINE)
    here = vendor.pytest("--adapter=./adapter.py:Stale", *words, plugins=("fakechecks",))
    assert "started anew" not in here.out
    always = vendor.pytest("--adapter=./adapter.py:Always", *words, "--llmasos-out-of-process", plugins=("fakechecks",))
    assert "started anew" not in always.out


def test_a_known_failure_is_not_the_one_that_holds_the_trace(vendor):
    vendor.write("conftest.py", KNOWN.replace("{condition}", "").replace("demo.dotted.again", "demo.bytes"))
    ran = vendor.pytest("--adapter=./adapter.py:Raising", "--llmasos-profile=all", *BARE)
    assert len(re.findall(r"^  as +demo\.dotted\.again, where the trace is$", ran.out, re.MULTILINE)) == 2
    assert ran.out.count("Traceback (most recent call last)") == 1


def test_the_summary_is_behind_the_list_of_pytest_and_ends_with_the_next_step(wrong):
    lines = wrong.out.splitlines()
    listed = max(i for i, line in enumerate(lines) if line.startswith("FAILED "))
    table = next(i for i, line in enumerate(lines) if line.startswith("=") and "not a certificate" in line)
    assert listed < table
    assert lines[-2].startswith("next: ")
    assert re.fullmatch(r"=+ 2 failed, .* =+", lines[-1])  # pytest's own count


def test_a_candidate_that_never_answers_is_left_alone_after_three_time_outs(vendor):
    ran = vendor.pytest(
        "--adapter=./adapter.py:Hanging", "--llmasos-out-of-process", "--llmasos-timeout=0.3",
        "--llmasos-profile=all", "-k", "bytes or again or outside or breaks", *BARE,
    )  # fmt: skip
    assert len(re.findall("^could not be judged: the candidate did not answer 3 times", ran.out, re.M)) == 1
    assert len(re.findall("^could not be judged: load_model: ", ran.out, re.M)) == 3
    assert "no verdict: 4 of 5 cases of all ran" in ran.out
    assert "--llmasos-timeout=0.3" in ran.out
    assert len(re.findall("^  asked +load_model .*-> timeout$", ran.out, re.M)) == 3


def test_of_a_candidate_that_dies_the_questions_that_led_to_it_are_told(vendor):
    ran = vendor.pytest("--adapter=./adapter.py:Dying", "--llmasos-out-of-process", "llmasos:demo::demo.bytes", *BARE)
    assert re.search("^fail: died: tokenize: its process ended with status 3", ran.out, re.M)
    assert re.search("^  asked +tokenize text='.*' -> died$", ran.out, re.M)
    assert "minimal" not in ran.out


def test_all_that_is_required_passing_is_conformant_and_the_next_step_is_certify(vendor):
    ran = vendor.pytest(MINE, "--llmasos-profile=quick", *BARE)
    assert "verdict: conformant (quick; 1 of 3 cases not declared, as the profile allows)" in ran.out
    assert "next: llmasos certify --adapter ./adapter.py:Mine --profile quick --out report   # --key signs" in ran.out


TABLE = '[profiles.default]\nadapter = "./adapter.py:Mine"\nprofile = "{}"\n'


@pytest.mark.parametrize("spread", [(), ("-n2",)], ids=["serial", "xdist"])
def test_the_profile_of_the_table_is_asked_where_the_command_line_names_none(vendor, spread):
    vendor.write("llmasos.toml", TABLE.format("quick"))
    ran = vendor.pytest("--adapter=@default", *spread, *BARE)
    assert "verdict: conformant (quick; 1 of 3 cases not declared, as the profile allows)" in ran.out
    assert "llmasos: the profile is that of @default in this directory's settings" in ran.out
    ran = vendor.pytest("--adapter=@default", "--llmasos-profile=core/gpt/logits", *spread, *BARE)
    assert "verdict: incomplete (core/gpt/logits" in ran.out
    assert "the profile is that of" not in ran.out


def test_what_repeats_a_run_names_its_profile_where_the_table_names_another(vendor):
    vendor.write("llmasos.toml", TABLE.format("quick").replace(":Mine", ":Wrong"))
    again = re.compile("repeat the failures: (.*)")
    ran = vendor.pytest("--adapter=@default", "--llmasos-profile=core/gpt/logits", *BARE)
    assert "--llmasos-profile=core/gpt/logits" in again.search(ran.out)[1]
    ran = vendor.pytest("--adapter=@default", *BARE)
    assert "--llmasos-profile" not in again.search(ran.out)[1]


def test_a_table_without_a_profile_and_another_address_leave_the_profile_as_it_was(vendor):
    vendor.write("llmasos.toml", TABLE.format("quick").replace("profile =", "other ="))
    assert "(core/gpt/logits" in vendor.pytest("--adapter=@default", *BARE).out
    vendor.write("llmasos.toml", TABLE.format("quick"))
    assert "(core/gpt/logits" in vendor.pytest(MINE, *BARE).out


@pytest.mark.parametrize(
    ("written", "said"),
    [('profile = "quik"', "there is no profile 'quik'"), ("profile = 1", "is no text")],
)
def test_a_profile_of_the_table_that_there_is_not_is_told_with_file_and_key(vendor, written, said):
    vendor.write("llmasos.toml", TABLE.format("quick").replace('profile = "quick"', written))
    ran = vendor.pytest("--adapter=@default", *BARE)
    assert ran.code == 4
    assert said in ran.out
    assert "llmasos.toml: `profile` of [profiles.default]" in ran.out
    assert "try: quick" in ran.out or 'try: profile = "' in ran.out


def test_a_failing_must_is_non_conformant(vendor):
    ran = vendor.pytest(WRONG, "--llmasos-profile=quick", "--llmasos-seed=3", *BARE)
    assert ("verdict: non_conformant (quick; " in ran.out) == ("failing: TXT-1 (MUST)" in ran.out)
    ran = vendor.pytest("--adapter=./adapter.py:Rare", "--llmasos-profile=quick", "--llmasos-explore=20", *BARE)
    assert "verdict: non_conformant (quick; " in ran.out
    assert "found by exploring; the certified inputs passed" in ran.out


def test_a_vendors_warning_filters_change_no_outcome(vendor):
    assert "2 passed" in vendor.pytest("--adapter=./adapter.py:Noisy", "-W", "error", *BARE).out


def test_nothing_but_builtin_types_crosses_from_an_item_and_it_reaches_junit(vendor):
    vendor.pytest(MINE, "--junitxml=out.xml", "-o", "junit_family=xunit1", *BARE)
    recorded = re.findall(r'property name="llmasos" value="([^"]*)"', (vendor.root / "out.xml").read_text())
    states = [json.loads(text.replace("&quot;", '"'))["state"] for text in recorded]
    assert states == ["pass", "pass", "not_declared"]


def test_the_adapter_can_live_in_a_process_of_its_own(vendor):
    ran = vendor.pytest(MINE, "--llmasos-out-of-process", *BARE)
    assert "in a process of its own" in ran.out
    assert "2 passed" in ran.out


# Where the address comes from, and what is wrong with it


@pytest.mark.parametrize(
    ("arguments", "env", "ini", "source"),
    [
        (["--llmasos-adapter=./adapter.py:Mine"], {}, "", "--llmasos-adapter"),
        (["--adapter", "./adapter.py:Mine"], {}, "", "--adapter"),
        ([], {"PYTEST_ADDOPTS": MINE}, "", "--adapter in PYTEST_ADDOPTS"),
        ([], {}, f'addopts = "{MINE}"', "--adapter in pyproject.toml"),
        (["llmasos:"], {"LLMASOS_ADAPTER": "./adapter.py:Mine"}, "", "LLMASOS_ADAPTER"),
        (["llmasos:"], {}, 'llmasos_adapter = "./adapter.py:Mine"', "llmasos_adapter in pyproject.toml"),
    ],
)
def test_every_source_of_the_address_leads_to_the_suites_and_is_named(vendor, arguments, env, ini, source):
    with (vendor.root / "pyproject.toml").open("a") as file:
        file.write(ini + "\n")
    ran = vendor.pytest(*arguments, *BARE, **env)
    assert f"adapter ./adapter.py:Mine (from {source})" in ran.out
    assert "2 passed, 1 not declared" in ran.out


def test_an_address_in_the_ini_file_is_relative_to_it(vendor):
    vendor.write("pyproject.toml", f'[tool.pytest.ini_options]\naddopts = "{MINE}"\n')
    assert "2 passed" in vendor.pytest(*BARE, cwd="tests").out


def test_an_address_in_the_environment_alone_takes_nothing_over_and_says_so(vendor):
    ran = vendor.pytest("-v", LLMASOS_ADAPTER="./adapter.py:Mine")
    assert list(ran.states) == ["tests/test_own.py::test_own"]
    assert "is not tested in this run" in ran.out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--adapter=./adaptr.py:Mine"], "try: ./adapter.py:Mine"),
        (["--adapter=refrence"], "reference"),
        ([MINE, "llmasos:dem"], "did you mean llmasos:demo"),
        ([MINE, "llmasos:demo::demo.byte"], "did you mean llmasos:demo::demo.bytes"),
        ([MINE, "--llmasos-profile=quik"], "did you mean quick"),
        (["--adapter=./adapter.py:Min"], "Mine"),
        (["--adapter=./adapter.py:Unmade"], "no licence file"),
        (["--adapter=./adapter.py:Mute"], "nothing to say"),
        (["--adapter=./adapter.py:Boasting"], "tokenize"),
        ([MINE, "--llmasos-timeout=0"], "above 0"),
        ([MINE, "--llmasos-smaller=-1"], "0 for none"),
    ],
)
def test_what_leads_nowhere_is_exit_code_4_with_near_names_and_no_trace(vendor, arguments, hint):
    ran = vendor.pytest(*arguments)
    assert ran.code == 4
    assert hint in ran.out
    assert "INTERNALERROR" not in ran.out
    assert "_pytest" not in ran.out
    assert not re.search("verdict|judge the rest|self-test", ran.out.partition("not a certificate")[2])


def test_under_xdist_the_controller_imports_no_adapter_and_a_bad_one_is_no_crash(vendor):
    vendor.write("adapter.py", ADAPTER + "\nimport os\nopen(f'imported-{os.getpid()}', 'w').close()\n")
    ran = vendor.pytest("--adapter=./adapter.py:Unmade", "-n2", *BARE)
    assert ran.code == 1
    assert "could not be judged" in ran.out
    assert "no verdict: 0 of 3 cases of core/gpt/logits ran" in ran.out
    assert "INTERNALERROR" not in ran.out
    assert 1 <= len(list(vendor.root.glob("imported-*"))) <= 2


def test_help_and_version_survive_a_bad_address(vendor):
    assert vendor.pytest("--adapter=nowhere", "--version").code == 0
    ran = vendor.pytest("--adapter=nowhere", "--help")
    assert ran.code == 0
    assert "--llmasos-adapter" in ran.out
    assert not re.search(r"^\s*--adapter", vendor.pytest("--help").out, re.MULTILINE)


# Somebody else's --adapter

THEIRS = (
    'def pytest_addoption(parser):\n    parser.addoption("--adapter", default="none", choices=["none", "theirs"])\n'
)
OWN = 'def test_own(request):\n    assert request.config.getoption("--adapter") == "theirs"\n'


@pytest.mark.parametrize("owner", ["conftest.py", "tests/conftest.py", "theirplugin.py"])
def test_a_vendors_own_adapter_option_stays_his_and_ours_has_its_long_name(vendor, owner):
    vendor.write(owner, THEIRS)
    vendor.write("tests/test_own.py", OWN)
    plugins = ("fakechecks", "theirplugin") if owner == "theirplugin.py" else ("fakechecks",)
    theirs = vendor.pytest("--adapter=theirs", "-v", *BARE, plugins=plugins)
    assert theirs.states == {"tests/test_own.py::test_own": "PASSED"}
    assert "llmasos" not in theirs.out.replace("llmasos_conformance.plugin", "").partition("collected")[2]
    both = vendor.pytest(
        "--adapter=theirs", "--llmasos-adapter=./adapter.py:Mine", "tests", "llmasos:demo", "-v", *BARE, plugins=plugins
    )
    assert set(both.states.values()) == {"PASSED"}
    assert len(both.states) == 3


def test_a_vendors_own_adapter_option_works_under_xdist(vendor):
    vendor.write("conftest.py", THEIRS)
    vendor.write("tests/test_own.py", OWN)
    ran = vendor.pytest(
        "--adapter=theirs", "--llmasos-adapter=./adapter.py:Mine", "tests", "llmasos:demo", "-v", "-n2", *BARE
    )
    assert len(ran.states) == 3
    assert set(ran.states.values()) == {"PASSED"}


# The example that vendors copy, with the installed suites

EXAMPLE = Path(__file__).parents[2] / "examples" / "vendor-python"


@pytest.fixture
def example(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "vendor", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = Vendor(tmp_path / "vendor", Path())

    def run(*arguments: str) -> Ran:
        return made.pytest(*arguments, plugins=(), suites=False, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")

    return run


def test_the_examples_own_tests_run_alone_and_its_adapter_is_short(example):
    assert list(example("-v").states) == ["tests/test_own.py::test_arithmetic_still_works"]
    assert len((EXAMPLE / "adapter.py").read_text().splitlines()) <= 55


def test_the_examples_adapter_lists_the_cases_of_the_profile_without_being_imported(example):

    ids = example("--adapter=mine", "--collect-only", "-q").ids
    assert {name.partition("::")[2] for name in ids} == set(suite.load().profiles["core/gpt/logits"].cases)
    assert all(name.startswith("llmasos:") for name in ids)


def test_the_examples_adapter_passes_quick_serially_and_under_xdist(example):
    quick = "--llmasos-profile=quick"
    serial = example("--adapter=./adapter.py:Mine", quick, "-v")
    assert re.search(
        r"^verdict: conformant \(quick(; \d of 44 cases not declared, as the profile allows)?\)$", serial.out, re.M
    ), serial.out[-3000:]
    assert serial.code == 0
    spread = example("--adapter=@ci", quick, "-v", "-n2", "llmasos:attention")
    assert spread.states == {
        name: state for name, state in serial.states.items() if name.startswith("llmasos:attention")
    }
    assert spread.states
