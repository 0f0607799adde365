"""Pages about reports: true to what was verified, closed to what a report would like to do, and readable by all.

One run of a faulty candidate with hostile names stands for reports as certify writes them; outcomes made up here stand
for everything that a run rarely shows.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from posixpath import dirname, join, normpath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llmasos_conformance import (
    board,
    cli,
    evidence,
    installed,
    isolation,
    numerics,
    policy,
    report,
    signing,
    suite,
    verify,
)
from llmasos_conformance.board import drawing, series, views, words
from llmasos_conformance.canonical import encode
from llmasos_conformance.checks import sampling
from llmasos_conformance.errors import HarnessError, ReportError
from llmasos_conformance.pages import frame, place
from llmasos_conformance.pages.markup import Html
from llmasos_conformance.reading import SHOWN, Read, Standing
from llmasos_conformance.verdict import Outcome, State
from llmasos_conformance.verify import Reason

LOADED = suite.load()
DOCTYPE = "<!DOCTYPE html>\n"
NOW = datetime.now(UTC) + timedelta(hours=1)
"""When reports are verified; the one that is made here says when it was."""
HOSTILE = "<script>alert('x')</script>\"&amp; </style> مرحبا"
CASES = [
    "numerics.small-embedding", "numerics.plain", "attention.order", "sampling.top-k-then-top-p", "sampling.top-k",
    "sampling.presence", "numerics.silent-positions", "inside.hidden.plain", "inside.attention.weights",
    "api.temperature.zero-ties",
]  # fmt: skip
ADAPTER = f"""
from dataclasses import replace
from llmasos_conformance.mutants.runtime import Runtime, Serving

class Faulty(Runtime):
    def epsilon(self):
        return 3e-6
    def top_p(self, p, mass):
        return super().top_p(p, min(mass * 1.1, 1.0))

def candidate():
    return Serving(Faulty, {HOSTILE!r})
"""


def tree(text: str) -> ET.Element:
    assert text.startswith(DOCTYPE)
    return ET.fromstring(text.removeprefix(DOCTYPE))


def said(element: ET.Element | None) -> str:
    assert element is not None
    return re.sub(r"\s+", " ", "".join(element.itertext())).strip()


def by_id(page_: ET.Element, name: str) -> ET.Element:
    (element,) = [each for each in page_.iter() if each.get("id") == name]
    return element


def of_class(page_: ET.Element, name: str) -> list[ET.Element]:
    return [each for each in page_.iter() if name in each.get("class", "").split()]


# ── one run ──


def certified(adapter: str, out: Path, root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`llmasos certify` as a user runs it."""
    command = [
        sys.executable, "-m", "llmasos_conformance.cli", "certify", "--adapter", adapter, "--out", str(out),
        "--seed", "7", "--suites", str(root / "suites"), "--key", str(root / "keys" / "key.pem"), "--json", *more,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(isolation.roots()), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A directory of reports: one of a faulty candidate, signed by a key that the trust file names."""
    root = tmp_path_factory.mktemp("pages")
    shutil.copytree(installed.suites(), root / "suites")
    suite.freeze("tiny", directory=root / "suites", requires=["load_model", "forward"], match=CASES)
    policy.keygen(root / "keys", owner="acme", now=NOW - timedelta(days=30))
    (root / "adapter.py").write_text(ADAPTER, encoding="utf-8")
    address = f"{root / 'adapter.py'}:candidate"
    done = certified(address, root / "reports" / "a" / "one", root, "--profile", "tiny")
    assert done.returncode == 1, done.stderr
    loaded = suite.load(root / "suites")
    own = verify.Installed.here(root / "suites")
    return SimpleNamespace(
        root=root, report=root / "reports" / "a" / "one", loaded=loaded, own=own,
        trust_file=root / "keys" / "trust.json",
        trust=policy.read_trust(root / "keys" / "trust.json"),
    )  # fmt: skip


@pytest.fixture
def by(world: Any) -> board.Verifier:
    return board.Verifier(own=world.own, loaded=world.loaded, now=NOW, trust=world.trust)


@pytest.fixture(scope="module")
def looked(world: Any) -> tuple[Read, views.View]:
    by = board.Verifier(own=world.own, loaded=world.loaded, now=NOW, trust=world.trust)
    found, shown = board.look(world.report, "one", by)
    assert shown is not None
    return found, shown


@pytest.fixture(scope="module")
def released(world: Any) -> Any:
    """A report about a model of one's own, and the model."""
    model = world.root / "model"
    words_ = ["new", str(model), "--architecture", "GPT-3", "--vocab-size", "260", "--width", "16", "--layers", "1"]
    assert cli.run([*words_, "--seed", "7"]) == 0
    out = world.root / "released"
    done = certified("reference:float32/split-k", out, world.root, "--bundle", str(model), "--profile", "bundle/gpt")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(report=out, model=model)


# ── outcomes that are made up ──


def outcome(case: str = "numerics.plain", state: State = State.PASS, **more: Any) -> Outcome:
    requirement = LOADED.cases[case].requirement if case in LOADED.cases else more.pop("requirement", "NUM-1")
    return Outcome(case=case, requirement=requirement, level=more.pop("level", "MUST"), state=state, **more)


def reading(*outcomes: Outcome, name: str = "acme", version: str = "1", dtype: str = "float32", **more: Any) -> Read:
    """A report as if it had been verified."""
    planned = [
        {"id": each.case, "requirement": each.requirement, "level": each.level, "needs": [], "digest": "0" * 64}
        for each in outcomes
    ]
    profile = {"profile": "tiny", "version": "1", "requires": [], "cases": planned}
    candidate = {
        "name": name, "version": version, "capabilities": [], "claims": {"dtype": dtype, "determinism": "D0"},
        "emulated": more.pop("emulated", {}), "runtime": {"torch": "2"}, "architectures": ["GPT-3"],
    }  # fmt: skip
    facts = report.Facts(
        candidate=candidate, adapter="d" * 64, bundle=more.pop("bundle", None),
        suite={"name": "llmasos", "version": "1", "digest": more.pop("suite", LOADED.digest), "profile": "tiny",
               "profileDigest": "f" * 64},
        reference={"name": "llmasos", "version": "1", "digest": "b" * 64},
        harness={"name": "h", "version": "1", "digest": "c" * 64, "dependencies": {}},
        run={"id": "0" * 32, "startedAt": "2026-11-23T09:00:00Z", "finishedAt": "2026-11-23T09:01:00Z", "seed": "7",
             "mode": "certified", "isolation": ["its own process"]},
        environment={"os": "linux", "arch": "x", "python": "3", "threads": "1"},
    )  # fmt: skip
    content = json.loads(report.statement(facts, profile, outcomes, "e" * 64))
    defaults = {
        "standing": Standing.VERIFIED,
        "report_id": "1" * 64,
        "signer": ("acme", "vendor"),
        "checked": ("integrity",),
    }
    return Read(path=Path("x"), name="x", content=content, **{**defaults, **more})


def rendered(read: Read, lang: str = "en", seen: series.Seen | None = None, unseen: str = "unseen suite") -> str:
    return board.one(read, views.view(read, LOADED, seen, unseen), lang, LOADED.digest)


@pytest.fixture(scope="module", params=["en", "zh"])
def every_page(request: pytest.FixtureRequest, looked: tuple[Read, views.View]) -> Mapping[str, str]:
    """All kinds of pages in one language."""
    found, shown = looked
    lang = request.param
    refused = Read(
        path=Path("y"), name="<b>y</b>", standing=Standing.REFUSED, reasons=(Reason("E_SIGNATURE", "<i>no</i>"),)
    )
    made = board.Made(pages={}, shown={"r-one.html": shown}, refused=[refused])
    pages = board._pages(made.shown, made.refused, LOADED, ["en", "zh"])
    return {
        "alone": board.one(found, shown, lang, LOADED.digest),
        "refused": board.one(refused, None, lang, LOADED.digest),
        "board": pages[f"{lang}/index.html"],
        "of the board": pages[f"{lang}/r-one.html"],
        "cover": pages["index.html"],
    }


# ── pages are closed ──


def test_a_page_has_no_script_and_a_policy_that_lets_nothing_else_act(every_page: Mapping[str, str]) -> None:
    for text in every_page.values():
        root = tree(text)
        tags = {element.tag for element in root.iter()}
        assert not tags & {
            "script",
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "form",
            "input",
            "base",
            "use",
            "image",
        }
        attributes = {key for element in root.iter() for key in element.attrib}
        assert not {
            key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset", "xlink:href")
        }
        for link in root.iter("a"):
            assert re.fullmatch(r"(\.\./)?[a-z0-9./-]*(#[A-Za-z0-9._-]+)?", link.attrib["href"])
        style = root.find("head/style")
        assert style is not None
        assert style.text is not None
        assert not re.search(r"url\(|@import|@font-face", style.text)
        metas = list(root.iterfind("head/meta"))
        (policy_,) = [meta for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
        assert policy_.get("content") == frame.policy(style.text)
        assert str(policy_.get("content")).startswith("default-src 'none'; style-src 'sha256-")
        assert metas.index(policy_) == 1  # only the encoding before it


def test_names_and_messages_of_a_report_are_text_and_nothing_else(every_page: Mapping[str, str]) -> None:
    for name in ("alone", "board", "of the board"):
        assert "<script>alert" not in every_page[name]
        root = tree(every_page[name])
        assert any("<script>alert('x')</script>" in "".join(each.itertext()) for each in root.iter("bdi"))
    assert "<b>y</b>" in said(by_id(tree(every_page["board"]), "not-verified"))
    assert "<i>no</i>" in said(tree(every_page["refused"]))


@pytest.mark.parametrize(
    "text", ["a\u202eb", "a\u2066b\u2069", "a\u200bb", "a\x00b", "a\ud800b", "\ufeffa", "Z" + "\u0301" * 60]
)
def test_what_deceives_the_eye_does_not_reach_a_page(text: str) -> None:
    read = replace(reading(outcome(state=State.FAIL, message="m")), name=text)
    read.content["predicate"]["candidate"]["name"] = text  # type: ignore[index]
    read.content["predicate"]["checks"][0]["message"] = text  # type: ignore[index]
    made = rendered(read)
    tree(made)
    assert text not in made
    assert "\ufffd" in made


def test_a_very_long_word_is_broken_where_the_line_ends() -> None:
    made = rendered(reading(outcome(state=State.FAIL, message="x" * 480), name="y" * 120))
    assert "y" * 120 in made
    assert "bdi { overflow-wrap: anywhere; }" in board.sheet()


def test_what_a_refused_report_says_is_not_shown(by: board.Verifier, world: Any, tmp_path: Path) -> None:
    shutil.copytree(world.report, tmp_path / "r")
    envelope = tmp_path / "r" / report.ENVELOPE_NAME
    changed = json.loads(envelope.read_bytes())
    payload = changed["payload"]
    changed["payload"] = payload[:400] + ("A" if payload[400] != "A" else "B") + payload[401:]
    envelope.write_text(json.dumps(changed), encoding="utf-8")
    found, shown = board.look(tmp_path / "r", "r", by)
    assert (found.standing, shown, found.content) == (Standing.REFUSED, None, None)
    text = board.one(found, shown, "en", LOADED.digest)
    assert "alert" not in text
    assert "E_SIGNATURE" in text
    assert "tiny" not in said(tree(text).find("body"))


# ── pages are readable by all ──


def test_a_page_has_a_language_landmarks_and_headings_in_order(every_page: Mapping[str, str]) -> None:
    for name, text in every_page.items():
        root = tree(text)
        assert root.get("lang") in ("en", "zh-Hans")
        title = root.find("head/title")
        assert said(title)
        assert len(list(root.iter("main"))) == 1
        levels = [int(each.tag[1]) for each in root.iter() if re.fullmatch("h[1-6]", each.tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), name
        if name != "cover":
            assert len(list(root.iter("header"))) == len(list(root.iter("nav"))) == 1
            first = next(root.iter("a"))
            assert (first.get("class"), first.get("href")) == ("skip", "#text")
        for each in (*root.iter("section"), *root.iter("nav")):
            labelled = each.get("aria-labelledby")
            assert each.get("aria-label") or labelled is None or said(by_id(root, labelled))


def test_a_table_has_a_caption_and_heads_with_a_scope(every_page: Mapping[str, str]) -> None:
    tables = [each for text in every_page.values() for each in tree(text).iter("table")]
    assert len(tables) > 10
    for each in tables:
        assert said(each.find("caption"))
        assert {head.get("scope") for head in each.iterfind("thead/tr/th")} == {"col"}
        width = len(each.findall("thead/tr/th"))
        for row in each.iterfind("tbody/tr"):
            assert [cell.get("scope") for cell in row.findall("th")] == ["row"]
            assert len(list(row)) == width


def test_a_plot_has_a_title_a_description_and_its_numbers_in_a_table(every_page: Mapping[str, str]) -> None:
    root = tree(every_page["alone"])
    plots = list(root.iter("svg"))
    assert len(plots) > 3
    for plot in plots:
        assert plot.get("role") == "img"
        assert said(by_id(root, str(plot.get("aria-labelledby"))))
        assert said(by_id(root, str(plot.get("aria-describedby"))))
    for figure in root.iter("figure"):
        assert said(figure.find("figcaption"))
        assert figure.find("details") is None or list(figure.find("details").iter("table"))  # type: ignore[union-attr]


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(every_page: Mapping[str, str]) -> None:
    for text in every_page.values():
        root = tree(text)
        for each in of_class(root, "wide") + of_class(root, "plot"):
            assert each.get("tabindex") == "0"
            assert each.get("aria-label")


def test_every_id_stands_once_and_every_link_leads_somewhere(every_page: Mapping[str, str]) -> None:
    for text in every_page.values():
        root = tree(text)
        ids = [each.get("id") for each in root.iter() if each.get("id")]
        assert len(ids) == len(set(ids))
        for link in root.iter("a"):
            path, _, fragment = link.attrib["href"].partition("#")
            assert path or fragment in ids


def test_every_colour_of_text_stands_out_from_every_ground_by_day_and_by_night() -> None:
    sheet = board.sheet()
    for block in (sheet, sheet[sheet.index("prefers-color-scheme: dark") :]):
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block[: block.index("}") + 1]))
        for ground in ("paper", "panel"):
            for ink in ("ink", "soft", "link", "good", "bad", "open"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """Contrast of two colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_known_for_black_on_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_an_outcome_is_told_by_a_word_and_not_by_colour_alone(every_page: Mapping[str, str]) -> None:
    for element in of_class(tree(every_page["alone"]), "state"):
        assert len(said(element).split()) >= 2
    for cell in of_class(tree(every_page["board"]), "cell"):
        (hidden,) = [each for each in cell if each.get("class") == "unseen"]
        assert len(said(hidden)) > 4


def test_every_text_is_there_in_both_languages() -> None:
    assert words.TEXTS["en"].keys() == words.TEXTS["zh"].keys()
    for name, text in words.TEXTS["en"].items():
        other = words.TEXTS["zh"][name]
        assert text.count("{}") == other.count("{}"), name
    assert words.STANDINGS["en"].keys() == words.STANDINGS["zh"].keys() == {*Standing}
    assert words.MARKS.keys() == {*State}


def test_no_text_is_there_that_no_page_says() -> None:
    source = "".join(
        file.read_text(encoding="utf-8") for file in Path(board.__file__).parent.glob("*.py") if file.stem != "words"
    )
    computed = {"along position", "along layer", "position", "layer"}  # of a curve
    for name in words.TEXTS["en"]:
        assert f'"{name}"' in source or f"'{name}'" in source or name in computed, name


# ── pages are true ──


def test_the_page_of_a_run_says_the_verdict_first_and_all_that_was_not_right(
    looked: tuple[Read, views.View], world: Any
) -> None:
    found, shown = looked
    assert found.standing is Standing.VERIFIED
    root = tree(board.one(found, shown, "en", LOADED.digest))
    first = next(each for each in root.iter("section"))
    assert first.get("id") == "verdict"
    assert "non-conformant" in said(first)
    assert "verified, signer trusted" in said(first)
    assert "acme (vendor)" in said(first)
    wrong = [made for made in found.predicate["checks"] if made["outcome"] == "fail"]
    assert {"numerics.small-embedding", "sampling.top-k-then-top-p"} <= {made["id"] for made in wrong}
    for made in wrong:
        block = said(by_id(root, f"fail.{made['id']}"))
        for part in ("message", "expected", "got"):
            assert re.sub(r"\s+", " ", made.get(part, "")) in block
        node = world.loaded.cases[made["id"]].node_id
        assert f"pytest --adapter=ADDRESS {node} --llmasos-seed=7" in block
        assert world.loaded.cases[made["id"]].effect["en"] in block
    assert "Known bugs that also fail it" in said(by_id(root, "failures"))
    assert "NRM-1" in said(by_id(root, "causes"))


def test_every_case_stands_under_its_requirement_and_chapter_with_its_outcome(looked: tuple[Read, views.View]) -> None:
    found, shown = looked
    stand = {
        (case, str(state)) for chapter in shown.chapters for line in chapter.lines
        for state, cases in line.cases.items() for case, _ in cases
    }  # fmt: skip
    assert stand == {(made["id"], made["outcome"]) for made in found.predicate["checks"]}
    text = said(by_id(tree(board.one(found, shown, "zh", LOADED.digest)), "requirements"))
    for made in found.predicate["checks"]:
        assert made["id"] in text
        assert LOADED.requirements[made["requirement"]].sentence["zh"].split()[0] in text


def test_a_curve_is_what_the_judge_measured(looked: tuple[Read, views.View]) -> None:
    found, shown = looked
    assert shown.seen is not None
    figures = {made["id"]: made["figures"] for made in found.predicate["checks"]}
    along = {(each.case, each.along) for each in shown.seen.curves}
    assert {
        ("numerics.small-embedding", "position"),
        ("inside.hidden.plain", "layer"),
        ("inside.hidden.plain", "position"),
    } <= along
    for each in shown.seen.curves:
        most = max(share for share in each.shares if share is not None)
        due = float(figures[each.case]["position"]) / numerics.KAPPA_POSITION["float32"]
        assert most == pytest.approx(due, rel=0.01), each.case
    (small,) = [each for each in shown.seen.curves if each.case == "numerics.small-embedding"]
    assert small.failed
    assert max(share for share in small.shares if share is not None) > 1


def test_a_histogram_is_what_came_and_what_the_law_gives(looked: tuple[Read, views.View]) -> None:
    _, shown = looked
    assert shown.seen is not None
    (failed,) = [each for each in shown.seen.histograms if each.failed]
    assert failed.case == "sampling.top-k-then-top-p"
    impossible = [
        letter for letter, came, due in zip(failed.letters, failed.came, failed.due, strict=True) if came and not due
    ]
    assert impossible
    for each in shown.seen.histograms:
        assert sum(each.came) == pytest.approx(sum(each.due))
        if not each.failed:  # five standard deviations of a binomial, whatever the letter
            for came, due in zip(each.came, each.due, strict=True):
                assert abs(came - due) <= 5 * max(due, 1) ** 0.5


def test_failing_cases_are_drawn_first_and_then_those_nearest_to_their_bound() -> None:
    made = [
        outcome(case.id, State.FAIL if number % 7 == 6 else State.PASS, evidence="a" * 64,
                figures={"ratio": 6.0 * number, "position": 0.0, "peak": 0.0})
        for number, case in enumerate(each for each in LOADED.cases.values() if each.check == "agrees-with-reference")
    ]  # fmt: skip
    read = reading(*made)
    names = series.chosen(read.predicate["checks"], LOADED, series.CURVES, read)
    failed = [each.case for each in made if each.state is State.FAIL]
    assert names[: len(failed)] == failed[::-1]
    assert len(names) == len(made)


def test_rows_of_unequal_length_have_the_largest_at_each_place() -> None:
    rows = [np.array([1.0, 5.0]), np.array([2.0, 1.0, np.nan]), np.array([0.5])]
    assert series.envelope(rows) == [2.0, 5.0, None]


def test_shares_are_none_where_no_numbers_came() -> None:
    truth = np.arange(6.0).reshape(2, 3)
    honest = [truth.astype(np.float32)]
    assert numerics.by_position(np.full((2, 3), np.nan), truth, honest, "float32") is None
    assert numerics.by_position(truth[:1], truth, honest, "float32") is None
    assert numerics.by_position(truth, truth, honest, "float32").tolist() == [0.0, 0.0]  # type: ignore[union-attr]


def test_a_tally_with_penalties_is_due_by_the_law_behind_the_whole_text() -> None:
    given = {"law": {"a": 0.5, "b": 0.5}, "options": {"presence_penalty": 2.0}, "others": [], "architecture": "GPT-3"}
    found = sampling.tally(given, [("ab", "ab")])
    assert found is not None
    # Before the first token nothing has come; behind "a" its logit is lower by 2.
    behind = 0.5 * np.exp(-2) / (0.5 * np.exp(-2) + 0.5)
    assert found.due == pytest.approx([0.5 + behind, 0.5 + 1 - behind])
    assert found.came.tolist() == [1, 1]
    assert sampling.tally(given, [("ab", "ac")]) is None


def test_the_grade_is_the_largest_share_among_cases_of_numbers() -> None:
    def graded(*figures: tuple[float, float, float]) -> float | None:
        made = [outcome(figures=dict(zip(("ratio", "position", "peak"), each, strict=True))) for each in figures]
        return views.grade([report.entry(each) for each in made], "float32")

    assert graded((3.0, 1.0, 1.0), (1.0, 6.0, 1.0), (1.0, 1.0, 3.0)) == pytest.approx(0.75)
    assert graded() is None
    assert np.isnan(graded((1.0, 1.0, 1.0), (float("nan"), 1.0, 1.0)) or 0.0)
    other = outcome("attention.order", figures={"ratio": 60.0, "position": 1.0, "peak": 1.0})
    assert views.grade([report.entry(other)], "float32") is None
    assert report.share(report.entry(outcome(figures={"peak": 1.0})), "float32") is None


@pytest.mark.parametrize("state", [State.ERROR, State.INCONCLUSIVE, State.NOT_RUN])
def test_what_could_not_be_judged_is_told_among_what_is_not_right(state: State) -> None:
    fault = {"fault": "timeout"} if state is State.ERROR else {}
    text = said(by_id(tree(rendered(reading(outcome(state=state, message="why", **fault)))), "failures"))
    assert "numerics.plain" in text
    assert "why" in text


def test_a_good_report_says_that_nothing_was_wrong() -> None:
    root = tree(rendered(reading(outcome())))
    assert "every case that was asked was answered rightly" in said(by_id(root, "failures"))
    assert "✓ conformant" in said(by_id(root, "verdict"))


def test_a_report_of_another_suite_shows_ids_and_says_that_nothing_is_drawn() -> None:
    strange = outcome("old.case", State.FAIL, requirement="OLD-1", figures={"ratio": 1.0, "position": 1.0, "peak": 1.0})
    read = reading(strange, suite="9" * 64)
    root = tree(rendered(read))
    assert "old.case" in said(by_id(root, "fail.old.case"))
    assert "pytest" not in said(by_id(root, "fail.old.case"))
    assert "not of this suite" in said(by_id(root, "requirements"))
    assert "another suite" in said(by_id(root, "numbers"))


def test_a_report_about_a_model_names_it_and_its_command_asks_for_it() -> None:
    bundle = {"name": "<mine>", "architecture": "Llama", "digest": "7" * 64, "files": {"model.json": "8" * 64}}
    root = tree(rendered(reading(outcome(state=State.FAIL, message="m"), bundle=bundle), unseen="unseen bundle"))
    assert "<mine> (Llama)" in said(by_id(root, "verdict"))
    assert "--llmasos-bundle=DIR" in said(by_id(root, "failures"))
    assert "8" * 64 in said(by_id(root, "evidence"))


def test_a_report_about_a_model_is_drawn_with_the_model_and_not_without(by: board.Verifier, released: Any) -> None:
    found, shown = board.look(released.report, "r", by, bundle=released.model)
    assert shown is not None
    assert shown.seen is not None
    (curve,) = shown.seen.curves
    (made,) = [each for each in found.predicate["checks"] if each["id"] == curve.case]
    most = max(share for share in curve.shares if share is not None)
    assert most == pytest.approx(float(made["figures"]["position"]) / numerics.KAPPA_POSITION["float32"], rel=0.01)
    _, without = board.look(released.report, "r", by)
    assert without is not None
    assert (without.seen, without.unseen) == (None, "unseen bundle")
    assert "--bundle DIR" in said(by_id(tree(board.one(found, without, "en", LOADED.digest)), "numbers"))


def test_what_the_adapter_adds_is_marked() -> None:
    made = outcome("api.temperature.zero-ties", emulated=("generate_text",))
    root = tree(rendered(reading(made, emulated={"generate_text": "a <loop>"})))
    assert "api.temperature.zero-ties*" in said(by_id(root, "requirements"))
    assert "1 used behaviour that the adapter adds" in said(by_id(root, "verdict"))
    assert "a <loop>" in said(by_id(root, "evidence"))


@pytest.mark.parametrize("state", [State.PASS, State.FAIL])
def test_a_page_with_a_thousand_cases_stays_below_half_a_megabyte(state: State) -> None:
    cases = list(LOADED.cases.values())[:1000]
    long = "<&>" * 160
    more = {"message": long, "expected": long, "got": long} if state is State.FAIL else {}
    made = [outcome(case.id, state, figures={"ratio": 1.0, "position": 1.0, "peak": 1.0}, **more) for case in cases]
    text = rendered(reading(*made))
    assert len(cases) >= 900
    assert len(text.encode()) < 500_000
    root = tree(text)
    for case in cases:
        assert case.id in said(by_id(root, f"fail.{case.id}")) if state is State.FAIL else case.id in text


def test_the_same_report_gives_the_same_bytes(looked: tuple[Read, views.View], world: Any, by: board.Verifier) -> None:
    found, shown = looked
    again = board.look(world.report, "one", by)
    assert board.one(found, shown, "zh", LOADED.digest) == board.one(*again, "zh", LOADED.digest)


# ── what is believed ──


def test_without_a_trust_file_the_signature_checks_and_the_signer_is_unknown(world: Any, by: board.Verifier) -> None:
    found, shown = board.look(world.report, "one", replace(by, trust=None))
    assert found.standing is Standing.SIGNER_UNKNOWN
    assert found.standing in SHOWN
    text = said(by_id(tree(board.one(found, shown, "en", LOADED.digest)), "verdict"))
    assert "signature checks, signer unknown" in text
    assert "acme (vendor)" not in text


def test_a_run_that_nobody_signed_is_shown_as_that_and_listed_as_not_verified(
    world: Any, by: board.Verifier, tmp_path: Path, llmasos: Any
) -> None:
    shutil.copytree(world.report, tmp_path / "r" / "one")
    envelope = tmp_path / "r" / "one" / report.ENVELOPE_NAME
    payload = signing.open_envelope(envelope.read_bytes()).payload
    (tmp_path / "r" / "one" / report.STATEMENT_NAME).write_bytes(payload)
    envelope.unlink()
    found, shown = board.look(tmp_path / "r" / "one", "one", by)
    assert found.standing is Standing.UNSIGNED
    root = tree(board.one(found, shown, "en", LOADED.digest))
    assert "not verified: nobody signed it" in said(by_id(root, "verdict"))
    assert "nobody signed this run" in said(by_id(root, "numbers"))
    made = board.board(tmp_path / "r", by)
    assert (len(made.shown), [each.name for each in made.refused]) == (0, ["one"])
    assert HOSTILE not in said(tree(made.pages["en/index.html"]))
    assert llmasos("show", tmp_path / "r" / "one", "--suites", world.root / "suites")[0] == 1


def test_a_key_that_may_not_speak_about_it_is_a_policy_that_is_not_met(world: Any, by: board.Verifier) -> None:
    narrow = replace(world.trust, keys=tuple(replace(key, profiles=frozenset({"other"})) for key in world.trust.keys))
    found, shown = board.look(world.report, "one", replace(by, trust=narrow))
    assert found.standing is Standing.POLICY
    assert "E_SCOPE" in said(by_id(tree(board.one(found, shown, "en", LOADED.digest)), "verdict"))


def test_judged_again_is_said(world: Any, by: board.Verifier) -> None:
    found, _ = board.look(world.report, "one", replace(by, rejudge=True))
    assert found.checked == verify.RUNGS


def test_answers_to_questions_that_this_seed_never_asks_refuse_a_report(
    world: Any, by: board.Verifier, tmp_path: Path
) -> None:
    """Evidence and statement fit each other and are signed; only the conversation is not the one of this seed."""
    shutil.copytree(world.report, tmp_path / "r")
    found, _ = board.look(world.report, "one", by)
    assert found.content is not None
    content = json.loads(json.dumps(found.content))
    content["predicate"]["run"]["seed"] = "8"
    key = signing.read_key(world.root / "keys" / "key.pem")
    (tmp_path / "r" / report.ENVELOPE_NAME).write_bytes(signing.sign(encode(content), key))
    forged, shown = board.look(tmp_path / "r", "r", by)
    assert (forged.standing, shown) == (Standing.REFUSED, None)
    assert forged.reasons[-1].code == "E_CONVERSATION"


def test_evidence_that_was_changed_refuses_a_report(world: Any, by: board.Verifier, tmp_path: Path) -> None:
    shutil.copytree(world.report, tmp_path / "r")
    (tmp_path / "r" / evidence.FILE_NAME).write_bytes(b"no")
    found, _ = board.look(tmp_path / "r", "r", by)
    assert found.standing is Standing.REFUSED
    assert found.reasons[-1].code.startswith("E_EVIDENCE")


def test_how_long_answers_took_stands_on_the_page_and_in_the_row_of_the_board(
    world: Any, by: board.Verifier, looked: tuple[Read, views.View]
) -> None:
    found, shown = looked
    asked = found.predicate["run"]["asked"]
    assert f"asked {asked['calls']} times, {asked['seconds']} s until" in board.one(found, shown, "en", "x")
    made = board.board(world.root / "reports", by, ["zh"]).pages["zh/index.html"]
    assert f"<td>{asked['seconds']} 秒</td>" in made


def test_a_report_whose_evidence_was_left_behind_is_shown_and_says_what_was_not_checked(
    world: Any, by: board.Verifier, tmp_path: Path
) -> None:
    shutil.copytree(world.report, tmp_path / "r")
    (tmp_path / "r" / evidence.FILE_NAME).unlink()
    found, shown = board.look(tmp_path / "r", "r", by)
    assert (found.standing, found.checked) == (Standing.NO_EVIDENCE, ("integrity", "signer", "suite"))
    assert shown is not None
    written = board.one(found, shown, "en", by.loaded.digest)
    assert "evidence not here to check" in written
    assert "Not drawn: the evidence does not lie beside the report." in written
    again, nothing = board.look(tmp_path / "r", "r", replace(by, rejudge=True))
    assert (again.standing, nothing) == (Standing.REFUSED, None)


# ── the board ──


@pytest.fixture
def many(world: Any, tmp_path: Path) -> Path:
    """A directory with one report twice, a broken one and an unsigned one."""
    root = tmp_path / "reports"
    shutil.copytree(world.report, root / "a" / "one")
    shutil.copytree(world.report, root / "A-one")
    shutil.copytree(world.report, root / "<b>broken")
    (root / "<b>broken" / report.ENVELOPE_NAME).write_text("{}", encoding="utf-8")
    shutil.copytree(world.report, root / "unsigned")
    (root / "unsigned" / report.ENVELOPE_NAME).unlink()
    (root / "unsigned" / report.STATEMENT_NAME).write_text("{}", encoding="utf-8")
    (root / "empty").mkdir()
    return root


def links(name: str, root: ET.Element) -> Iterator[tuple[str, str]]:
    for element in root.iter("a"):
        path, _, fragment = element.attrib["href"].partition("#")
        yield (normpath(join(dirname(name), path)) if path else name), fragment


def test_a_board_shows_what_verified_and_says_why_the_rest_did_not(many: Path, by: board.Verifier) -> None:
    made = board.board(many, by)
    assert [(each.read.name, each.read.copies) for each in made.shown.values()] == [("A-one", ("a/one",))]
    assert sorted(made.pages) == sorted(
        ["index.html", *(f"{lang}/{name}" for lang in ("en", "zh") for name in ("index.html", *made.shown))]
    )
    assert list(made.shown) == ["r-a-one.html"]
    assert {each.name: each.standing for each in made.refused} == {
        "<b>broken": Standing.REFUSED, "unsigned": Standing.REFUSED
    }  # fmt: skip
    root = tree(made.pages["en/index.html"])
    for each in ("E_ENVELOPE", "<b>broken", "unsigned"):
        assert each in said(by_id(root, "not-verified"))
    assert "3 reports. verified, signer trusted: 1; not verified: 2." in said(root)
    assert "float32" in said(by_id(root, "runs"))
    assert "--llmasos-seed=7" in said(by_id(root, "failures"))
    trees = {name: tree(text) for name, text in made.pages.items()}
    ids = {name: {each.get("id") for each in each_tree.iter()} for name, each_tree in trees.items()}
    for name, each_tree in trees.items():
        for target, fragment in links(name, each_tree):
            assert target in trees
            assert not fragment or fragment in ids[target], (name, target, fragment)


def named(view: views.View, name: str, **more: Any) -> views.View:
    return replace(view, read=replace(view.read, name=name, **more))


def test_rows_of_one_candidate_are_told_apart_by_their_directories(looked: tuple[Read, views.View]) -> None:
    files = {f"{n}.html": named(looked[1], name) for n, name in enumerate(("A-one", "a/one", "float16</one"))}
    root = tree(board._pages(files, [], LOADED, ["en"])["en/index.html"])
    for table in ("runs", "matrix"):
        heads = [said(each.find("./small")) for each in by_id(root, table).iterfind(".//tbody/tr/th")]
        assert [each.split()[:-1] for each in heads] == [[], ["a"], ["float16<"]]


def test_pages_of_reports_whose_names_are_alike_have_names_of_their_own(looked: tuple[Read, views.View]) -> None:
    names = board._files([named(looked[1], name) for name in ("A-one", "a/one", "é")])
    assert names == ["r-a-one.html", "r-a-one-2.html", "r-report.html"]


def test_the_same_report_twice_is_one_row_that_says_where_the_copies_lie(
    many: Path, by: board.Verifier, world: Any
) -> None:
    """The place with the evidence stands for it; a copy beside which the evidence is broken is a row of its own."""
    (many / "A-one" / evidence.FILE_NAME).unlink()
    for name in ("forged", "forged too"):
        shutil.copytree(world.report, many / name)
        (many / name / evidence.FILE_NAME).write_bytes(b"no")
    made = board.board(many, by)
    (row,) = made.shown.values()
    assert (row.read.name, row.read.standing, row.read.copies) == ("a/one", Standing.VERIFIED, ("A-one",))
    assert [(each.name, each.copies) for each in made.refused] == [
        ("<b>broken", ()), ("forged", ("forged too",)), ("unsigned", ())
    ]  # fmt: skip
    untrusted = board.board(many, replace(by, trust=None))
    assert [each.read.name for each in untrusted.shown.values()] == ["a/one"]
    assert "evidence" in next(iter(untrusted.shown.values())).read.checked
    for lang, also in (("en", "also in"), ("zh", "另见于")):
        root = tree(made.pages[f"{lang}/index.html"])
        assert f"{also} A-one" in said(by_id(root, "runs"))
        assert f"{also} forged too" in said(by_id(root, "not-verified"))
        assert "A-one" not in said(by_id(root, "matrix"))


def test_what_another_key_has_signed_is_no_copy(world: Any, by: board.Verifier, tmp_path: Path) -> None:
    """Whatever the directories are called: a row keeps its own signer, and the unknown one is not hidden."""
    policy.keygen(tmp_path / "keys", owner="mallory", now=NOW)
    for name in ("0-mallory", "own", "z-mallory"):
        shutil.copytree(world.report, tmp_path / "many" / name)
        if name != "own":
            file = tmp_path / "many" / name / report.ENVELOPE_NAME
            payload = signing.open_envelope(file.read_bytes()).payload
            file.write_bytes(signing.sign(payload, signing.read_key(tmp_path / "keys" / "key.pem")))
            shutil.copyfile(tmp_path / "keys" / "key.pub.pem", file.with_name(report.SIGNER_NAME))
    made = board.board(tmp_path / "many", by)
    rows = {each.read.name: (each.read.standing, each.read.signed_by, each.read.copies) for each in made.shown.values()}
    assert rows == {
        "own": (Standing.VERIFIED, "acme (vendor)", ()), "0-mallory": (Standing.SIGNER_UNKNOWN, "", ("z-mallory",))
    }  # fmt: skip


def test_copies_beyond_three_are_counted(looked: tuple[Read, views.View]) -> None:
    shown = named(looked[1], "a", copies=("b", "<c>", "d", "e", "f"))
    pages = board._pages({"r.html": shown}, [], LOADED, ["en", "zh"])
    assert "also in b, <c>, d and 2 more" in said(by_id(tree(pages["en/index.html"]), "runs"))
    assert "另见于 b、<c>、d 及另外 2 处" in said(by_id(tree(pages["zh/index.html"]), "runs"))


def test_a_cell_counts_what_passed_of_what_was_judged(looked: tuple[Read, views.View]) -> None:
    _, shown = looked
    pages = board._pages({"r.html": shown}, [], LOADED, ["en"])
    root = tree(pages["en/index.html"])
    head = [said(each) for each in by_id(root, "matrix").iterfind(".//thead/tr/th")]
    cells = [said(each) for each in by_id(root, "matrix").iterfind(".//tbody/tr/*")]
    found = dict(zip(head, cells, strict=True))
    for chapter in shown.chapters:
        judged = sum(chapter.counts.get(state, 0) for state in (State.PASS, State.FAIL))
        text = found[chapter.title["en"]]
        passed = chapter.counts.get(State.PASS, 0)
        assert f"{passed} of {judged} passed" in text if judged else "nothing judged" in text


def test_a_board_of_nothing_verified_says_so(tmp_path: Path, by: board.Verifier) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / report.ENVELOPE_NAME).write_text("{}", encoding="utf-8")
    made = board.board(tmp_path, by)
    assert not made.shown
    assert "No report below this directory could be verified" in said(tree(made.pages["en/index.html"]))


def test_a_directory_without_reports_is_refused(tmp_path: Path, by: board.Verifier) -> None:
    with pytest.raises(ReportError, match="no report below"):
        board.board(tmp_path, by)
    with pytest.raises(HarnessError, match="no directory"):
        board.board(tmp_path / "none", by)


# ── plots ──


def test_what_is_no_number_stands_at_the_end_of_the_axis() -> None:
    axis = drawing.Powers([0.5, 40.0], 0.0, 100.0)
    assert axis(float("nan")) == axis(float("inf")) == axis(1e9) == 100.0
    assert axis(0.0) == 0.0
    assert 0.0 < axis(0.5) < axis(1.0) < axis(40.0) < 100.0
    assert drawing.Powers([], 0.0, 1.0)(1.0) == pytest.approx(0.5)


@pytest.mark.parametrize(("number", "text"), [(0, "1"), (-2, "0.01"), (3, "1000"), (6, "10⁶"), (-4, "10⁻⁴")])
def test_powers_of_ten_are_written_as_one_reads_them(number: int, text: str) -> None:
    assert drawing.power(number) == text


@functools.cache
def _plots() -> Mapping[str, Callable[[], str]]:
    return {
        "curve": lambda: drawing.curve("n", "t", "d", [None, 0.5, 2.0, float("inf")], "b", "a"),
        "strips": lambda: drawing.strips("n", "t", "d", [("<chapter>", [0.5, float("nan")]), ("章", [])], "b", "a"),
        "bars": lambda: drawing.bars("n", "t", "d", "ab", [0, 0], [0.0, 0.0]),
    }


@pytest.mark.parametrize("kind", ["curve", "strips", "bars"])
def test_a_plot_of_odd_numbers_is_a_plot(kind: str) -> None:
    made = ET.fromstring(_plots()[kind]())
    for path in made.iter("path"):
        assert re.fullmatch(r"[MLlmhvazA-Z0-9. -]+", path.attrib["d"])
        assert "nan" not in path.attrib["d"]


# ── commands ──


@pytest.fixture
def llmasos(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr("llmasos_conformance.cli.showing.now", lambda: NOW)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_show_writes_one_page_and_says_what_to_do_next(world: Any, llmasos: Any, tmp_path: Path) -> None:
    out, about = tmp_path / "deep" / "p.html", ("--suites", world.root / "suites", "--trust", world.trust_file)
    code, text, _ = llmasos("show", world.report, "--html", "--out", out, "--lang", "zh", *about)
    assert code == 0
    assert text.strip().splitlines()[-1] == f"next: open {out} in a browser"
    assert tree(out.read_text(encoding="utf-8")).get("lang") == "zh-Hans"
    assert llmasos("show", world.report, "--html", "--out", out, *about)[0] == 0  # its own page is replaced
    assert tree(out.read_text(encoding="utf-8")).get("lang") == "en"
    out.write_text("mine", encoding="utf-8")
    code, _, err = llmasos("show", world.report, "--html", "--out", out, *about)
    assert (code, out.read_text(encoding="utf-8")) == (2, "mine")
    assert "did not make" in err


def test_show_without_a_page_prints_what_matters(world: Any, llmasos: Any) -> None:
    code, text, _ = llmasos("show", world.report, "--suites", world.root / "suites")
    assert code == 0
    for part in ("non_conformant", "numerics.small-embedding", "NRM-1", "signer unknown", "--html"):
        assert part in text
    code, _, err = llmasos("show", world.report, "--out", "x.html")
    assert code == 2
    assert "--html" in err


def test_show_tells_programs_the_same(world: Any, llmasos: Any, tmp_path: Path) -> None:
    out = tmp_path / "p.html"
    code, text, _ = llmasos("show", world.report, "--html", "--out", out, "--json", "--suites", world.root / "suites")
    told = json.loads(text)
    assert (code, told["exitCode"], told["standing"], told["out"]) == (0, 0, "signer_unknown", str(out))
    assert told["report"]["verdict"] == "non_conformant"
    assert "numerics.small-embedding" in told["report"]["notRight"]


def test_show_of_a_report_that_does_not_verify_ends_with_one(world: Any, llmasos: Any, tmp_path: Path) -> None:
    shutil.copytree(world.report, tmp_path / "r")
    (tmp_path / "r" / evidence.FILE_NAME).write_bytes(b"no")
    code, text, _ = llmasos("show", tmp_path / "r", "--html", "--suites", world.root / "suites")
    assert code == 1
    assert "E_EVIDENCE_FORMAT" in text
    written = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "E_EVIDENCE_FORMAT" in written
    assert llmasos("show", tmp_path / "none", "--html")[0] == 2


def test_the_board_is_written_whole_and_told_to_programs(many: Path, world: Any, llmasos: Any, tmp_path: Path) -> None:
    out, about = tmp_path / "out", ("--suites", world.root / "suites", "--trust", world.trust_file)
    code, text, _ = llmasos("board", many, "--out", out, "--json", *about)
    told = json.loads(text)
    assert (code, told["exitCode"]) == (1, 1)
    assert [each["standing"] for each in told["reports"]] == ["verified", "refused", "refused"]
    assert [each["copies"] for each in told["reports"]] == [["a/one"], [], []]
    manifest = json.loads((out / place.MANIFEST).read_text(encoding="utf-8"))
    assert manifest["generator"] == "llmasos board"
    assert {*told["files"]} == {*manifest["files"], place.MANIFEST}
    (out / "en" / "index.html").write_text("mine", encoding="utf-8")
    code, _, err = llmasos("board", many, "--out", out, *about)
    assert code == 2
    assert "has been changed" in err


def test_the_board_says_where_copies_lie(many: Path, world: Any, llmasos: Any, tmp_path: Path) -> None:
    for name in ("b", "c\nd", "e"):
        shutil.copytree(world.report, many / name)
    _, text, _ = llmasos("board", many, "--out", tmp_path / "out", "--suites", world.root / "suites")
    assert text.splitlines()[0].endswith("; also in a/one, b, c / d and 1 more")


@pytest.mark.skipif(sys.platform == "darwin", reason="no such name can be given there")
def test_names_that_are_no_utf_8_are_told_with_a_sign_in_their_place(world: Any, llmasos: Any, tmp_path: Path) -> None:
    """On a stream as strict as every UTF-8 locale has it, and in bytes that every reader takes."""
    about = ("--suites", world.root / "suites", "--unverified")
    name = os.fsdecode(b"caf\xe9\xff")
    where, out = tmp_path / "reports" / name, tmp_path / os.fsdecode(b"o\xff")
    shutil.copytree(world.report, where)
    for words_ in (
        ("board", where.parent, "--out", out), ("board", where.parent, "--out", out, "--json"), ("show", where),
        ("show", where, "--json"), ("show", where, "--html"), ("show", where, "--format", "markdown", about[-1]),
        ("show", where, "--format", "markdown", about[-1], "--out", tmp_path / "x.md"),
    ):  # fmt: skip
        code, text, err = llmasos(*words_, *about[:2])
        assert code == 0, err
        text.encode()
        assert "--json" not in words_ or "caf\ufffd\ufffd" in text
        assert "--json" not in words_ or json.loads(text)["exitCode"] == 0
    for page_ in (*out.rglob("*.html"), where.with_name(name + ".html"), tmp_path / "x.md"):
        assert "llmasos" in page_.read_text(encoding="utf-8").lower()


def test_a_board_of_signers_that_nobody_trusts_ends_with_one_and_counts_them_apart(
    world: Any, llmasos: Any, tmp_path: Path
) -> None:
    shutil.copytree(world.report, tmp_path / "reports" / "\x1b[31mone\ntwo: verified")
    assert llmasos("keygen", "--out", tmp_path / "keys")[0] == 0
    about = ("board", tmp_path / "reports", "--out", tmp_path / "out", "--suites", world.root / "suites")
    code, out, _ = llmasos(*about, "--trust", tmp_path / "keys" / "trust.json")
    assert code == 1
    assert "\x1b[31m" not in out
    assert not any(line.startswith("two: verified") for line in out.splitlines())
    root = tree((tmp_path / "out" / "en" / "index.html").read_text(encoding="utf-8"))
    assert "Conformance board1 report. signature checks, signer unknown: 1." in said(root)
    assert llmasos(*about)[0] == 0  # who names no trust file asked for no signer


def test_the_board_does_not_replace_pages_of_another_command(tmp_path: Path) -> None:
    place.write(tmp_path / "out", {"a.html": "x"}, {}, "llmasos standard")
    with pytest.raises(ReportError, match="did not make"):
        place.write(tmp_path / "out", {"a.html": "y"}, {}, board.BOARD)


def test_a_page_is_not_written_through_a_link_or_where_a_file_is_in_the_way(tmp_path: Path) -> None:
    target = tmp_path / "target.html"
    place.write_one(target, frame.document("en", "t", "", Html("<body/>"), generator=board.SHOW), board.SHOW)
    (tmp_path / "link.html").symlink_to(target)
    with pytest.raises(ReportError, match="did not make"):
        place.write_one(tmp_path / "link.html", "x", board.SHOW)
    with pytest.raises(ReportError, match="cannot write"):
        place.write_one(target / "p.html", "x", board.SHOW)
    with pytest.raises(ReportError, match="did not make"):
        place.write_one(tmp_path, "x", board.SHOW)
