"""Known failures: what a file may say, and what an entry is worth on a day."""

from datetime import date, timedelta

import jsonschema
import pytest

from llmasos_conformance import knownfailures
from llmasos_conformance.canonical import schema
from llmasos_conformance.knownfailures import AGAINST, REMEDIES, KnownFailuresError, Standing

GOOD = """
format: 1
failures:
- case: a.one
  reason: the kernel has a constant, acme/engine#7
  symptom: over the row
  most: 300
  expires: '2027-03-01'
- case: a.two
  reason: not begun yet, acme/engine#8
  symptom: no such text
  expires: '2027-03-01'
"""
LAST = date(2027, 3, 1)
KNOWN = {"a.one", "a.two", "a.three"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "known.yaml"

    def write(text):
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path, known=KNOWN, withdrawn=()):
    with pytest.raises(KnownFailuresError) as caught:
        knownfailures.read(path, known, withdrawn)
    return caught.value.render()


def test_a_file_is_read_with_the_line_of_every_entry(file):
    found = knownfailures.read(file(GOOD), KNOWN)
    assert list(found) == ["a.one", "a.two"]
    assert found["a.one"].where.endswith("known.yaml:4")
    assert (found["a.one"].most, found["a.two"].most) == (300.0, float("inf"))
    assert found["a.two"].expires == LAST


def test_the_published_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema("known-failures"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("case: a.one", "case: a.twoo", "known.yaml:4 failures[0].case: there is no case a.twoo; did you mean a.two"),
        ("case: a.two", "case: a.one", "known.yaml:9 failures[1].case: a.one stands twice, first at "),
        ("'2027-03-01'", "2027-03-01", "is a date to some readers"),
        ("'2027-03-01'", "'2027-02-30'", "known.yaml:8 failures[0].expires: 2027-02-30 is in no calendar"),
        ("'2027-03-01'", "'tomorrow'", "does not match"),
        ("the kernel has a constant, acme/engine#7", "''", "expected at least 10 characters, found 0"),
        ("symptom: over the row", "symptom: ''", "expected at least 4 characters"),
        ("  symptom: over the row\n", "", "'symptom' is missing"),
        ("  most: 300\n", "  most: 0\n", "expected more than 0"),
        ("  most: 300\n", "  mots: 300\n", "there is no such key; did you mean most?"),
        ("format: 1", "format: 2", "expected 1, found 2"),
        ("failures:", "fehler:", "'failures' is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(file, old, new, said):
    assert old in GOOD
    assert said in refusal(file(GOOD.replace(old, new, 1)))


def test_several_problems_are_told_together(file):
    told = refusal(file(GOOD.replace("a.one", "a.four").replace("a.two", "a.five")))
    assert "2 problems in the known failures" in told
    assert "a.four" in told
    assert "a.five" in told


def test_a_withdrawn_case_is_no_known_failure(file):
    assert "a.one was withdrawn and is asked no more" in refusal(file(GOOD), KNOWN, {"a.one"})


def test_a_file_that_is_not_there_or_no_yaml_is_refused(file, tmp_path):
    assert "cannot read the known failures" in refusal(tmp_path / "none.yaml")
    assert "not YAML" in refusal(file("format: ["))
    assert "the file is empty" in refusal(file(""))


def test_an_empty_list_is_a_file(file):
    assert knownfailures.read(file("format: 1\nfailures: []\n"), KNOWN) == {}


FAILED = ("fail", "logits[3] is 1, 2 was due: 16x the error over the row, bound 6x")


@pytest.mark.parametrize(
    ("state", "message", "figures", "today", "due"),
    [
        (*FAILED, {"ratio": "1.60e+01"}, LAST, Standing.EXPECTED),
        (*FAILED, {}, LAST, Standing.EXPECTED),
        (*FAILED, {"ratio": 16.0}, LAST + timedelta(days=1), Standing.EXPIRED),
        ("fail", "raised: OSError: no such file", {}, LAST, Standing.CHANGED),
        (*FAILED, {"ratio": 301.0}, LAST, Standing.CHANGED),
        (*FAILED, {"ratio": 16.0, "peak": "nan"}, LAST, Standing.CHANGED),
        (*FAILED, {"ratio": 16.0, "tokens": 1e9}, LAST, Standing.EXPECTED),
        ("pass", "", {"ratio": 1.0}, LAST, Standing.STALE),
        ("pass", "", {}, LAST + timedelta(days=1), Standing.STALE),
        ("error", "timeout", {}, LAST, Standing.UNJUDGED),
        ("inconclusive", "", {}, LAST, Standing.UNJUDGED),
        ("not_declared", "", {}, LAST, Standing.NOT_ASKED),
        ("not_applicable", "", {}, LAST, Standing.NOT_ASKED),
        ("not_run", "", {}, LAST, Standing.NOT_ASKED),
        ("", "", {}, LAST + timedelta(days=1), Standing.NOT_ASKED),
    ],
)
def test_an_entry_excuses_the_failure_that_is_known_until_its_day_and_nothing_else(
    file, state, message, figures, today, due
):
    entry = knownfailures.read(file(GOOD), KNOWN)["a.one"]
    assert knownfailures.standing(entry, state, message, figures, today) is due


def test_without_a_largest_error_figures_do_not_matter(file):
    entry = knownfailures.read(file(GOOD), KNOWN)["a.two"]
    figures = {"ratio": float("nan"), "peak": float("inf")}
    assert knownfailures.standing(entry, "fail", "no such text", figures, LAST) is Standing.EXPECTED


def test_every_standing_has_a_sentence_in_both_languages(file):
    entry = knownfailures.read(file(GOOD), KNOWN)["a.one"]
    assert set(REMEDIES) == set(Standing)
    assert set(Standing) - {Standing.EXPECTED, Standing.NOT_ASKED} == AGAINST
    for standing in Standing:
        english, chinese = (knownfailures.sentence(entry, standing, lang) for lang in ("en", "zh"))
        assert english != chinese
    assert "'over the row' and no error above 300" in knownfailures.sentence(entry, Standing.CHANGED)
    assert "误差不超过 300" in knownfailures.sentence(entry, Standing.CHANGED, "zh")
