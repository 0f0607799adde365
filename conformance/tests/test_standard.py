"""The standard as pages: whole, true to the ledger, in both languages, and never over anything that is not ours.

Pages are well-formed XML, so they are read here with a parser that forgives nothing.
"""

from __future__ import annotations

import functools
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, join, normpath

import pytest

from llmasos_conformance import cli, standard, suite
from llmasos_conformance.checks import registry
from llmasos_conformance.coverage import Line, Run, Standing, Table, table
from llmasos_conformance.errors import ReportError, SuiteError
from llmasos_conformance.pages import frame, markup
from llmasos_conformance.pages.place import MANIFEST
from llmasos_conformance.pages.words import LEVELS
from llmasos_conformance.protocol import CAPABILITIES
from llmasos_conformance.standard import pages, words
from llmasos_conformance.suite import Case, Erratum, Requirement, Suite, Withdrawal

LOADED = suite.load()
UNTESTABLE = next(each for each in LOADED.requirements.values() if each.untestable)
DOCTYPE = "<!DOCTYPE html>\n"
Pages = Mapping[str, str]


@pytest.fixture(scope="module")
def shipped() -> Pages:
    return standard.render(LOADED)


@functools.cache
def tree(text: str) -> ET.Element:
    assert text.startswith(DOCTYPE)
    return ET.fromstring(text.removeprefix(DOCTYPE))


def said(element: ET.Element | None) -> str:
    """The text of an element, as a reader sees it."""
    assert element is not None
    return re.sub(r"\s+", " ", "".join(element.itertext())).strip()


def found(page: ET.Element, **wanted: str) -> list[ET.Element]:
    """Elements with these attributes; `class_` is one of several classes."""

    def fits(element: ET.Element) -> bool:
        return all(
            value in element.get("class", "").split() if key == "class_" else element.get(key) == value
            for key, value in wanted.items()
        )

    return [element for element in page.iter() if fits(element)]


def section(page: str, name: str) -> ET.Element:
    (element,) = found(tree(page), id=name)
    return element


def requirement(name: str = "WRD-1", **changes: object) -> Requirement:
    made = Requirement(
        id=name,
        level="MUST",
        chapter="words",
        sentence={"en": "A word.", "zh": "一个词。"},
        source={"en": "here"},
        where="x:1",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def case(name: str = "words.one", **changes: object) -> Case:
    made = Case(
        id=name, requirement="WRD-1", check="round-trip", given={"texts": ["a"]}, examples=2,
        needs=frozenset({"tokenize"}), effect={"en": "Bad.", "zh": "坏。"}, where="y:1",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def small(*requirements: Requirement, cases: tuple[Case, ...] = (), gone: tuple[Case, ...] = ()) -> Suite:
    return Suite(
        digest="d" * 64, version="0.1.0", requirements={each.id: each for each in requirements},
        cases={each.id: each for each in cases}, profiles={}, withdrawn={each.id: each for each in gone},
        chapters={"words": {"en": "Words", "zh": "词"}},
    )  # fmt: skip


# ── pages are whole ──


def test_every_page_is_well_formed_and_needs_nothing_from_elsewhere(shipped: Pages) -> None:
    for text in shipped.values():
        page = tree(text)
        assert page.tag == "html"
        tags = {element.tag for element in page.iter()}
        assert not tags & {"script", "link", "img", "iframe", "object", "form"}
        style = page.find("head/style")
        assert style is not None
        assert "url(" not in (style.text or "")
        assert "@import" not in (style.text or "")
        (policy,) = found(page, **{"http-equiv": "Content-Security-Policy"})
        assert policy.get("content") == frame.policy(style.text or "")
        assert not [element for element in page.iter() if "style" in element.attrib]
        assert not [key for element in page.iter() for key in element.attrib if key.startswith("on") or key == "src"]


def test_html_readers_see_the_same_elements_as_xml_readers(shipped: Pages) -> None:
    class Count(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: Counter[str] = Counter()

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.tags[tag] += 1

    for text in shipped.values():
        reader = Count()
        reader.feed(text)
        assert reader.tags == Counter(element.tag for element in tree(text).iter())


def links(name: str, page: ET.Element) -> Iterator[tuple[str, str]]:
    """File and fragment that each link of a page leads to."""
    for element in page.iter("a"):
        path, _, fragment = element.attrib["href"].partition("#")
        yield (normpath(join(dirname(name), path)) if path else name), fragment


def test_every_link_leads_somewhere_and_every_id_stands_once(shipped: Pages) -> None:
    trees = {name: tree(text) for name, text in shipped.items()}
    ids = {name: [element.get("id") for element in page.iter() if element.get("id")] for name, page in trees.items()}
    for name, page in trees.items():
        assert len(ids[name]) == len(set(ids[name]))
        for target, fragment in links(name, page):
            assert target in trees, f"{name} leads to {target}"
            assert not fragment or fragment in ids[target], f"{name} leads to {target}#{fragment}"


def test_every_page_can_be_reached_from_the_first(shipped: Pages) -> None:
    seen, left = set(), ["index.html"]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += [target for target, _ in links(name, tree(shipped[name]))]
    assert seen == shipped.keys()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_requirement_stands_on_exactly_one_page_in_its_own_words(lang: str, shipped: Pages) -> None:
    places: dict[str, list[str]] = {}
    for name, text in shipped.items():
        for element in found(tree(text), class_="requirement") if name.startswith(f"{lang}/") else ():
            places.setdefault(str(element.get("id")), []).append(name)
            each = LOADED.requirements[str(element.get("id"))]
            assert said(element.find("p[@class='sentence']")) == re.sub(r"\s+", " ", each.sentence[lang])
            assert each.level in said(element.find("h2"))
            source = each.source.get(lang, each.source["en"])
            assert re.sub(r"\s+", " ", source) in said(element.find("p[@class='source']"))
    assert places == {each.id: [f"{lang}/{each.chapter}.html"] for each in LOADED.requirements.values()}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_case_stands_on_one_page_and_its_requirement_leads_there(lang: str, shipped: Pages) -> None:
    places = {
        str(element.get("id")): name
        for name, text in shipped.items()
        for element in (found(tree(text), class_="case") if name.startswith(f"{lang}/") else ())
    }
    assert places.keys() == LOADED.cases.keys()
    for each in LOADED.requirements.values():
        page = tree(shipped[f"{lang}/{each.chapter}.html"])
        listed = found(page, class_="cases")
        here = [element for element in listed if element in [*section_of(page, each.id).iter()]]
        names = [said(link) for element in here for link in element.iter("a")]
        assert names == [made.id for made in LOADED.cases.values() if made.requirement == each.id]
        assert bool(names) != bool(each.untestable)


def section_of(page: ET.Element, name: str) -> ET.Element:
    (element,) = found(page, id=name)
    return element


def test_a_case_says_what_it_asks_needs_and_is_given_and_what_its_failure_does(shipped: Pages) -> None:
    for lang, effect in (("en", "en"), ("zh", "zh")):
        made = LOADED.cases["api.seed.zero"]
        text = said(section(shipped[f"{lang}/api.cases.html"], made.id))
        for part in (made.effect[effect], "load_model", "seed", '{"seed": 0, "ids": false}', "core/gpt/text"):
            assert (part in text) == (part != "core/gpt/text"), part  # which does not list it
        assert "The same model, request and seed give the same result" in text
        assert "pytest --adapter=ADDRESS llmasos:api::api.seed.zero" in text


def test_a_check_says_what_varies_what_is_compared_and_what_it_takes(shipped: Pages) -> None:
    text = said(section(shipped["en/checks.html"], "causal"))
    for part in (
        "A position's logits ignore every later token.", "Varies", "Compares", "Bound", "honest error", "probe",
        "every id from a drawn position on, or the last id alone", "attention.causal.future-token",
    ):  # fmt: skip
        assert part in text
    used = {each.check for each in LOADED.cases.values()}
    assert {str(element.get("id")) for element in found(tree(shipped["zh/checks.html"]), class_="check")} == used


def test_an_untestable_requirement_says_so_and_why(shipped: Pages) -> None:
    untestable = [each for each in LOADED.requirements.values() if each.untestable]
    assert untestable
    for lang in ("en", "zh"):
        listed = said(section(shipped[f"{lang}/index.html"], "untestable"))
        for each in untestable:
            why = each.untestable.get(lang, each.untestable["en"])
            element = section(shipped[f"{lang}/{each.chapter}.html"], each.id)
            assert why in said(element.find("p[@class='untestable']"))
            assert each.id in listed
            assert why in listed
    tested = section(shipped["en/api.html"], "API-1")
    assert tested.find("p[@class='untestable']") is None


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_index_counts_what_is_there(lang: str, shipped: Pages) -> None:
    (contents,) = found(tree(shipped[f"{lang}/index.html"]), class_="numbers")
    rows = [[said(cell) for cell in row] for row in contents.findall("tbody/tr")]
    assert len(rows) == len(LOADED.chapters)
    for name, row in zip(pages.chapters(LOADED), rows, strict=True):
        here = [each for each in LOADED.requirements.values() if each.chapter == name]
        levels = [sum(each.level == level for each in here) for level in ("MUST", "SHOULD", "MAY")]
        cases = sum(LOADED.requirements[made.requirement].chapter == name for made in LOADED.cases.values())
        numbers = [*levels, sum(bool(each.untestable) for each in here), cases]
        assert row[0].startswith(LOADED.chapters[name][lang])
        assert row[1:] == [str(number) if number else "–" for number in numbers]
    last = [said(cell) for cell in contents.findall("tfoot/tr/*")]
    assert str(len(LOADED.requirements)) in last[0]
    assert last[-1] == str(len(LOADED.cases))


def test_the_same_suites_give_the_same_bytes(shipped: Pages) -> None:
    assert standard.render(suite.load()) == shipped


# ── languages ──


def test_every_place_leads_to_the_same_place_in_the_other_language(shipped: Pages) -> None:
    for here, there, tag in (("en", "zh", "zh-Hans"), ("zh", "en", "en")):
        for each in LOADED.requirements.values():
            (link,) = found(section(shipped[f"{here}/{each.chapter}.html"], each.id), class_="place")
            assert (link.get("href"), link.get("hreflang")) == (f"../{there}/{each.chapter}.html#{each.id}", tag)
        for name in (name for name in shipped if name.startswith(f"{here}/")):
            (link,) = found(tree(shipped[name]), class_="language")
            assert link.get("href") == f"../{there}/{name.partition('/')[2]}"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_one_language_alone_leads_to_no_other(lang: str) -> None:
    made = standard.render(LOADED, [lang])
    assert all(name == "index.html" or name.startswith(f"{lang}/") for name in made)
    for text in made.values():
        assert not found(tree(text), class_="language") + found(tree(text), class_="place")


def test_every_text_and_word_is_there_in_both_languages() -> None:
    assert words.TEXTS["en"].keys() == words.TEXTS["zh"].keys()
    assert LEVELS["en"].keys() == LEVELS["zh"].keys() == {"MUST", "SHOULD", "MAY"}
    used = set(
        re.findall(r"(?:texts|TEXTS\[\w+\])\[['\"](.+?)['\"]\]", Path(pages.__file__).read_text(encoding="utf-8"))
    )
    assert used - {"en"} == words.TEXTS["en"].keys()


def test_what_is_not_translated_is_marked_as_english() -> None:
    both = {"en": "there", "zh": "那里"}
    made = standard.render(small(requirement(), requirement("WRD-2", source=both), cases=(case(),)))["zh/words.html"]
    shown = [section(made, name).find("p[@class='source']/span") for name in ("WRD-1", "WRD-2")]
    assert [(said(each), each is not None and each.get("lang")) for each in shown] == [("here", "en"), ("那里", None)]


def test_the_glossary_has_the_words_of_the_readme_with_their_meaning(shipped: Pages) -> None:
    readme = (Path(__file__).parents[2] / "suites" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (\w[\w ]*) \| (.+) \|$", readme.partition("## Words")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert len(rows) > 10
    for word, meaning in rows[1:]:
        assert words.WORDS[word][0] == meaning
    glossary = said(section(shipped["en/index.html"], "words"))
    assert all(word in glossary for word in words.WORDS)


def test_every_capability_is_shown_in_the_language_of_the_page() -> None:
    assert CAPABILITIES.keys() == words.CAPABILITIES_ZH.keys()
    made = standard.render(small(requirement(), cases=(case(),)))
    for lang, meant in (("en", CAPABILITIES), ("zh", words.CAPABILITIES_ZH)):
        listed = section_of(tree(made[f"{lang}/index.html"]), "capabilities")
        told = dict(zip(map(said, listed.iter("dt")), map(said, listed.iter("dd")), strict=True))
        assert {name: told[name] for name in meant} == meant


# ── chapters come and go ──


def test_a_new_chapter_has_its_pages_without_a_change_here() -> None:
    made = standard.render(small(requirement(), cases=(case(),)))
    assert {"en/words.html", "zh/words.html", "en/words.cases.html", "zh/words.cases.html"} <= made.keys()
    assert "Words" in said(section(made["en/index.html"], "contents"))


def test_chapters_stand_in_the_order_in_which_one_reads_and_others_follow_by_name() -> None:
    names = {name: {"en": name, "zh": name} for name in ("zoology", "state", "botany", "format")}
    assert pages.chapters(replace(LOADED, chapters=names)) == ["format", "state", "botany", "zoology"]


@pytest.mark.parametrize("name", ["index", "checks"])
def test_a_chapter_cannot_take_the_page_of_another_thing(name: str) -> None:
    with pytest.raises(SuiteError, match=f"cannot be called '{name}'"):
        standard.render(replace(LOADED, chapters={name: {"en": "x", "zh": "y"}}))


# ── texts stay texts ──

HOSTILE = "</p><script>alert(1)</script> & \"quoted\" 'single' <b>bold</b> &amp; ]]> <!-- x"


def test_whatever_a_ledger_or_suite_says_stays_a_text() -> None:
    bad = {"en": HOSTILE, "zh": HOSTILE}
    loaded = replace(
        small(
            requirement(sentence=bad, source=bad, errata=(Erratum(since="0.1.0", was=bad, why=bad),)),
            requirement("WRD-2", untestable=bad),
            requirement("WRD-3", withdrawn=Withdrawal(since="0.1.0", why=bad)),
            cases=(case(given={HOSTILE: [HOSTILE, "</code></pre>"]}, effect=bad),),
            gone=(case("words.old", withdrawn=Withdrawal(since="0.1.0", why=bad), check=HOSTILE),),
        ),
        chapters={"words": bad},
        version=HOSTILE,
    )
    made = standard.render(loaded)
    for text in made.values():
        page = tree(text)
        assert not {"script", "b "} & {element.tag for element in page.iter()}
        assert not [element for element in page.iter("b") if said(element) == "bold"]
    element = section(made["en/words.html"], "WRD-1")
    assert said(element.find("p[@class='sentence']")) == HOSTILE
    assert HOSTILE in said(element.find("p[@class='source']"))
    data = section(made["en/words.cases.html"], "words.one").find("dl/dd/pre/code")
    assert json.loads("".join(data.itertext() if data is not None else ())) == {HOSTILE: [HOSTILE, "</code></pre>"]}


def test_markup_escapes_texts_and_attributes_and_leaves_markup_alone() -> None:
    inner = markup.el("b", "<")
    assert inner == "<b>&lt;</b>"
    made = markup.el("a", "x < ", inner, [None, "&"], href='"><i', data_x=True, title=None, hidden=False)
    assert made == '<a href="&quot;&gt;&lt;i" data-x="data-x">x &lt; <b>&lt;</b>&amp;</a>'
    assert markup.el("meta", charset="utf-8") == '<meta charset="utf-8"/>'
    assert markup.el("p", "a\u202eb\x00c\ud800") == "<p>a\ufffdb\ufffdc\ufffd</p>"
    assert markup.join(["<", inner], " & ") == "&lt; &amp; <b>&lt;</b>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("max_length 0 and top_p=1", "<code>max_length</code> 0 and <code>top_p=1</code>"),
        ("以invalid_argument拒绝", "以<code>invalid_argument</code>拒绝"),
        ("of model.json alone", "of <code>model.json</code> alone"),
        ("see WRD-1.", 'see <a href="#WRD-1">WRD-1</a>.'),
        ("GPT-3, UTF-8 and WRD-12", "GPT-3, UTF-8 and WRD-12"),
        ("vllm-project/vllm 11898, some/bug_tracker", "vllm-project/vllm 11898, some/bug_tracker"),
        ("ggml-org/llama.cpp", "ggml-org/llama.cpp"),
        ("a < b_c", "a &lt; <code>b_c</code>"),
    ],
)  # fmt: skip
def test_names_in_a_sentence_are_code_and_its_own_ids_are_links(text: str, shown: str) -> None:
    assert markup.sentence(text, lambda name: "#WRD-1" if name == "WRD-1" else None) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None, True]}, '{"a": [1, null, true]}'),
        ("a\u202eb\u00a0c\u200d\ufeff \u3000", '"a\\u202eb\\u00a0c\\u200d\\ufeff \\u3000"'),
        ("\U0001fffe", '"\\ud83f\\udffe"'),
        ("中文 é", '"中文 é"'),
        ({"k": {}, "l": []}, '{"k": {}, "l": []}'),
    ],
)
def test_data_is_json_in_which_every_character_can_be_seen(value: object, text: str) -> None:
    assert markup.data(value) == text
    assert json.loads(text) == value


def test_long_data_is_broken_into_lines_that_know_how_far_in_they_stand() -> None:
    value = {"key": [{"name": "x" * 50, "more": "y" * 50}, 1], "other": "z" * 200}
    text = markup.data(value)
    assert json.loads(text) == value
    assert text.splitlines()[1:3] == ['  "key": [', "    {"]
    listing = ET.fromstring(markup.listing(value))
    spans = [*listing.iter("span")]
    assert [span.get("class") for span in spans[:3]] == [None, "in2", "in4"]
    assert json.loads("".join(span.text or "" for span in spans)) == value
    for given in (made.given for made in LOADED.cases.values()):
        assert json.loads(markup.data(given)) == json.loads(json.dumps(given))


# ── withdrawn and reworded ──


def test_what_is_withdrawn_or_reworded_says_since_when_why_and_what_stands_instead() -> None:
    why = {"en": "It was wrong.", "zh": "它是错的。"}
    loaded = small(
        requirement(errata=(Erratum(since="0.2.0", was={"en": "The word.", "zh": "词。"}, why=why),)),
        requirement("WRD-2", withdrawn=Withdrawal(since="0.3.0", why=why, instead=("WRD-1",))),
        cases=(case(),),
        gone=(case("words.old", check="gone", withdrawn=Withdrawal(since="0.4.0", why=why, instead=("words.one",))),),
    )
    made = standard.render(loaded)
    erratum = said(section(made["en/words.html"], "WRD-1").find("p[@class='erratum']"))
    assert erratum == "Reworded in 0.2.0: It was wrong. It read: The word."
    gone = section(made["zh/words.html"], "WRD-2")
    assert said(gone.find("p[@class='withdrawn']")) == "已于 0.3.0 撤回：它是错的。替代：WRD-1"
    assert "gone" in gone.get("class", "")
    old = section(made["en/words.cases.html"], "words.old")
    assert said(old.find("p[@class='withdrawn']")) == "Withdrawn in 0.4.0: It was wrong. Instead: words.one"
    assert "pytest" not in said(old)
    assert "words.old" not in said(section(made["en/words.html"], "WRD-1"))
    listed = said(section(made["en/index.html"], "changed"))
    assert all(name in listed for name in ("WRD-1", "WRD-2", "words.old"))
    (contents,) = found(tree(made["en/index.html"]), class_="numbers")
    assert [said(cell) for cell in contents.findall("tbody/tr/*")][1:] == ["1", "–", "–", "–", "1"]


def test_where_nothing_was_withdrawn_no_page_speaks_of_it(shipped: Pages) -> None:
    assert found(tree(shipped["en/index.html"]), id="changed") == []


# ── outcomes beside the cases ──


def run(outcomes: Mapping[str, str], message: str = "") -> Run:
    made = {
        name: {"id": name, "requirement": "WRD-1", "outcome": outcome, "message": message}
        for name, outcome in outcomes.items()
    }
    content = {
        "predicate": {
            "candidate": {"name": "acme <b>", "version": "1"},
            "suite": {"profile": "quick"},
            "verdict": "conformant",
        }
    }
    return Run(
        path=Path("r"), content=content, report_id="e" * 64, signed=False, checked=("suite",), unchecked=("integrity",),
        notes=("made <elsewhere>",), outcomes=made,
    )  # fmt: skip


def test_outcomes_of_runs_stand_beside_the_cases_that_emitted_them() -> None:
    loaded = small(
        requirement(), requirement("WRD-2"), requirement("WRD-3", untestable={"en": "no"}),
        cases=(case(), case("words.two"), case("words.three", requirement="WRD-2")),
    )  # fmt: skip
    runs = [run({"words.one": "pass"}), run({"words.one": "fail", "words.two": "not_declared"}, "a < b")]
    made = standard.render(loaded, table=table(loaded, runs))
    page = tree(made["en/words.html"])
    marks = {
        said(item.find("a")): [str(mark.get("aria-label")) for mark in found(item, role="img")]
        for item in page.iter("li")
        if item.find("span") is not None
    }
    assert marks == {
        "words.one": ["Run 1: pass", "Run 2: fail"],
        "words.two": ["Run 1: not listed", "Run 2: not declared"],
    }
    standings = {
        str(element.get("id")): [said(each) for each in found(element, class_="standing")]
        for element in found(page, class_="requirement")
    }
    assert standings == {"WRD-1": ["failed"], "WRD-2": ["not listed"], "WRD-3": ["untestable"]}
    text = said(section(made["en/words.cases.html"], "words.one"))
    assert "Run 1: pass" in text
    assert "Run 2: fail a < b" in text
    index = tree(made["zh/index.html"])
    for part in ("acme <b> 1", "结论符合", "made <elsewhere>", "无人签名", "未通过 1", "不可测试 1"):
        assert part in said(section_of(index, "runs"))
    (contents,) = found(index, class_="numbers")
    assert said(contents.findall("tbody/tr/td")[-1]) == "1 / 3"


def test_a_requirement_without_a_judged_case_is_never_shown_as_tested() -> None:
    loaded = small(requirement(), requirement("WRD-2", untestable={"en": "no"}), cases=(case(),))
    for outcomes in ({}, {"words.one": "not_declared"}, {"words.one": "not_run"}, {"words.one": "error"}):
        made = standard.render(loaded, table=table(loaded, [run(outcomes)] if outcomes else []))
        page = made["en/words.html"]
        assert not found(tree(page), class_="passed") + found(tree(page), class_="failed")


def test_without_runs_nothing_is_said_about_outcomes(shipped: Pages) -> None:
    for name in ("en/index.html", "en/api.html", "en/api.cases.html"):
        page = tree(shipped[name])
        assert not found(page, class_="standing") + found(page, class_="mark")
        assert not found(page, id="runs")


def test_every_standing_has_a_word_and_a_style() -> None:
    style = frame.style()
    for standing in Standing:
        line = Line(requirement=requirement(), standing=standing, cases={}, elsewhere=())
        made = Table(runs=(), lines={"WRD-1": line}, unknown=())
        page = standard.render(small(requirement(), cases=(case(),)), ["en"], made)["en/words.html"]
        assert found(tree(page), class_=standing.replace("_", "-"))
    for name in ("passed", "failed", "undecided", "not-exercised"):
        assert f".standing.{name}" in style


# ── where pages are written ──


@pytest.fixture
def loaded() -> Suite:
    return small(requirement(), cases=(case(),))


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_pages_are_written_with_a_manifest_of_their_digests(loaded: Suite, tmp_path: Path) -> None:
    names = standard.write(tmp_path / "a" / "out", loaded)
    assert sorted(contents(tmp_path / "a" / "out")) == names
    manifest = json.loads((tmp_path / "a" / "out" / MANIFEST).read_text())
    assert {*manifest["files"], MANIFEST} == {*names}
    assert (manifest["generator"], manifest["suite"], manifest["languages"]) == (
        "llmasos standard",
        "d" * 64,
        ["en", "zh"],
    )
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_own_pages_are_replaced_as_a_whole(loaded: Suite, tmp_path: Path) -> None:
    standard.write(tmp_path / "out", loaded)
    standard.write(tmp_path / "out", replace(loaded, version="0.2.0"), ["zh"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", MANIFEST, "zh"]
    assert "0.2.0" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_directory_may_be_filled(loaded: Suite, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert standard.write(tmp_path / "out", loaded)


def foreign(out: Path) -> None:
    (out / "notes.txt").write_text("mine")


def edited(out: Path) -> None:
    with (out / "en" / "words.html").open("a") as file:
        file.write("<!-- mine -->")


def unlisted(out: Path) -> None:
    (out / MANIFEST).unlink()


def strange(out: Path) -> None:
    (out / MANIFEST).write_text('{"generator": "somebody", "files": {}}')


def room(out: Path) -> None:
    (out / "mine").mkdir()


def linked(out: Path) -> None:
    target = out.parent / "elsewhere"
    (out / "zh" / "words.html").rename(target)
    (out / "zh" / "words.html").symlink_to(target)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (foreign, "notes.txt lies there"),
        (edited, "en/words.html has been changed since it was made"),
        (unlisted, "there is something already that these pages did not make"),
        (strange, "there is something already that these pages did not make"),
        (room, "mine lies there"),
        (linked, "zh/words.html has been changed"),
    ],
)
def test_nothing_that_is_not_ours_is_overwritten(
    change: Callable[[Path], None], what: str, loaded: Suite, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    standard.write(out, loaded)
    change(out)
    before = contents(out)
    with pytest.raises(ReportError, match=what):
        standard.write(out, loaded)
    assert contents(out) == before


def test_a_directory_of_somebody_else_is_left_alone(loaded: Suite, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(ReportError, match="did not make"):
        standard.write(tmp_path, loaded)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_a_file_in_the_way_is_named(loaded: Suite, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ReportError, match="this is a file"):
        standard.write(tmp_path / "file", loaded)
    with pytest.raises(ReportError, match=r"file is no directory"):
        standard.write(tmp_path / "file" / "out", loaded)


def test_pages_that_cannot_be_put_in_place_leave_the_old_ones(
    loaded: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    standard.write(out, loaded)
    before, rename = contents(out), Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "made":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ReportError, match="No space left on device"):
        standard.write(out, replace(loaded, version="0.2.0"))
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# ── the command ──


def test_the_command_writes_the_pages_and_says_what_is_in_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["standard", "--out", str(tmp_path / "out"), "--lang", "en"]) == 0
    out = capsys.readouterr().out
    assert f"{len(LOADED.requirements)} requirements" in out
    assert "next: open " in out
    assert cli.run(["standard", "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["requirements"], told["cases"]) == (len(LOADED.requirements), len(LOADED.cases))
    assert sum(told["levels"].values()) == told["requirements"]
    assert told["chapters"] == pages.chapters(LOADED)
    assert sorted(contents(tmp_path / "out")) == told["files"]
    assert cli.run(["standard", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    for part in ("error: there is something already", f"where: {tmp_path}", "try: give a new directory"):
        assert part in err


@pytest.mark.parametrize(
    ("name", "lang", "parts"),
    [
        (
            UNTESTABLE.id,
            "en",
            [f"untestable: {UNTESTABLE.untestable['en']}", "cases: -", f"next: llmasos explain {UNTESTABLE.chapter}"],
        ),
        (UNTESTABLE.id.lower(), "zh", ["不可测试:", f"zh/{UNTESTABLE.chapter}.html#{UNTESTABLE.id}"]),
        ("API-1", "en", ["api.max-length.counts-new-tokens", "in the document: en/api.html#API-1"]),
        ("api.seed.zero", "zh", ["在文档中: zh/api.cases.html#api.seed.zero"]),
        ("attention", "en", ["attention: Attention and positions", "ATT-1 (MUST): Scores are", "en/attention.html"]),
        ("attention", "zh", ["注意力与位置", "POS-3 (MUST): 次序有意义"]),
    ],
)
def test_explain_says_where_something_stands_in_the_document(
    name: str, lang: str, parts: list[str], shipped: Pages, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["explain", name, "--lang", lang]) == 0
    out = capsys.readouterr().out
    for part in parts:
        assert part in out
    said_place = re.search(rf"{lang}/[a-z]\S+", out)
    assert said_place
    place, _, fragment = said_place[0].partition("#")
    assert place in shipped
    assert not fragment or found(tree(shipped[place]), id=fragment)


def test_explain_says_that_something_is_withdrawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Withdrawal(since="0.2.0", why={"en": "It was wrong.", "zh": "它是错的。"}, instead=("WRD-1",))
    why = {"en": "Plainer.", "zh": "更明白。"}
    made = small(
        requirement(errata=(Erratum(since="0.2.0", was=why, why=why),)), requirement("WRD-2", withdrawn=gone),
        cases=(case(),), gone=(case("words.old", check="gone", withdrawn=replace(gone, instead=())),),
    )  # fmt: skip
    monkeypatch.setattr(suite, "load", lambda directory=None: made)
    for name, part in (
        ("WRD-1", "  reworded in 0.2.0: Plainer."),
        ("WRD-2", "  withdrawn in 0.2.0: It was wrong.; instead: WRD-1"),
        ("words.old", "  withdrawn in 0.2.0: It was wrong.\n"),
        ("words", "WRD-2 (MUST, withdrawn): A word."),
    ):
        assert cli.run(["explain", name]) == 0
        assert part in capsys.readouterr().out
    told = {}
    for name in ("WRD-1", "WRD-2", "words.old", "words"):
        assert cli.run(["explain", name, "--json"]) == 0
        told[name] = json.loads(capsys.readouterr().out)
    assert told["WRD-1"]["errata"] == [{"since": "0.2.0", "was": "Plainer.", "why": "Plainer."}]
    assert told["WRD-1"]["withdrawn"] is None
    assert told["WRD-2"]["withdrawn"] == {"since": "0.2.0", "why": "It was wrong.", "instead": ["WRD-1"]}
    assert (told["words.old"]["withdrawn"]["instead"], told["words.old"]["run"]) == ([], "")
    assert [each["withdrawn"] for each in told["words"]["requirements"]] == [False, True]


def test_every_check_in_use_is_described_in_its_parts() -> None:
    for name in {made.check for made in LOADED.cases.values()}:
        told = pages._told(registry()[name])
        assert told.summary
        assert [part for part, _ in told.parts] == ["Varies", "Compares", "Bound"], name
