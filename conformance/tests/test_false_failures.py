"""The experiment with right candidates: what is published of it follows from its data, and what fails is said."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("false_failures", ROOT / "bench" / "false_failures.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def published(kept):
    text = (ROOT / "reports" / kept.data).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def line(seed, shares, failed=None, undecided=None):
    return {"seed": seed, "shares": shares, "failed": failed or {}, "undecided": undecided or {}}


@pytest.mark.parametrize(("name", "seeds"), [("LEAN", 100), ("WHOLE", 3)])
def test_the_pages_hold_what_the_data_say(name, seeds, script):
    kept = getattr(script, name)
    for page, lang in script.PAGES.items():
        text = (ROOT / "reports" / page).read_text(encoding="utf-8")
        told = text.partition(kept.begin)[2].partition(kept.end)[0]
        assert told == script.figures(published(kept), seeds, lang)


@pytest.mark.parametrize(("name", "seeds"), [("LEAN", 100), ("WHOLE", 3)])
def test_the_data_are_of_one_suite_every_seed_once_and_all_candidates_in_each(name, seeds, script):
    lines = published(getattr(script, name))
    assert len({(each["suite"], each["lean"], *each.get("cases", ())) for each in lines}) == 1
    assert [each["seed"] for each in lines] == list(range(1, seeds + 1))
    assert len({frozenset(each["shares"]) for each in lines}) == 1


@pytest.mark.parametrize("name", ["LEAN", "WHOLE"])
def test_the_pages_name_the_code_of_every_seed(name, script):
    codes = {each["code"] for each in published(getattr(script, name))}
    for page in script.PAGES:
        text = (ROOT / "reports" / page).read_text(encoding="utf-8")
        assert {code for code in codes if f"`{code[:8]}`" not in text} == set()


@pytest.mark.parametrize("name", ["LEAN", "WHOLE"])
def test_nothing_right_has_failed_and_half_of_a_bound_is_left(name, script):
    lines = published(getattr(script, name))
    assert not any(each["failed"] or each["undecided"] for each in lines)
    assert max(share for each in lines for share, _ in each["shares"].values()) <= script.HONEST_SHARE


def test_what_failed_or_stayed_open_is_counted_and_named(script):
    lines = [
        line(1, {"honest:a": [0.1, "x.y"], "torch": [0.7, "x.z"]}, failed={"torch": ["x.z"]}),
        line(2, {"honest:a": [0.2, "x.y"], "torch": [0.1, "x.y"]}, undecided={"honest:a": {"x.y": "error: late"}}),
    ]
    told = script.figures(lines, 3)
    assert told.startswith("2 seeds of 3, 2 right candidates (1 honest variants; torch), 4 runs: **1 failures, 1 cases")
    assert "| 0.50 to 0.70 | 1 |" in told
    assert "seed 1, torch: x.z" in told
    assert "seed 2, honest:a: x.y" in told


def test_publishing_puts_the_seeds_in_order_and_leaves_the_rest_of_a_page(script, tmp_path):
    blocks = "".join(f"{kept.begin}old {kept.data}\n{kept.end}behind\n" for kept in (script.LEAN, script.WHOLE))
    for name in script.PAGES:
        (tmp_path / name).write_text(f"before\n{blocks}", encoding="utf-8")
    lines = [line(2, {"honest:a": [0.2, "x"]}), line(1, {"honest:a": [0.1, "x"]})]
    script.publish(lines, 2, tmp_path, script.WHOLE)
    page = (tmp_path / "false-failures.md").read_text(encoding="utf-8")
    before, _, whole = page.partition(script.WHOLE.begin)
    assert before == f"before\n{script.LEAN.begin}old {script.LEAN.data}\n{script.LEAN.end}behind\n"
    assert whole == f"{script.figures(lines, 2)}{script.WHOLE.end}behind\n"
    data = (tmp_path / script.WHOLE.data).read_text(encoding="utf-8").splitlines()
    assert [json.loads(each)["seed"] for each in data] == [1, 2]
    assert not (tmp_path / script.LEAN.data).exists()


def test_a_page_without_a_place_for_figures_is_named_and_nothing_is_written(script, tmp_path):
    for name in script.PAGES:
        (tmp_path / name).write_text("no place\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"false-failures\.md: lines <!-- tables --> and <!-- end --> are due"):
        script.publish([line(1, {"honest:a": [0.1, "x"]})], 1, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(script.PAGES)
    assert {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {"no place\n"}


def test_lines_of_other_code_are_left_out_and_counted(script, tmp_path, capsys):
    file = tmp_path / "lines.ndjson"
    file.write_text("".join(json.dumps({"seed": seed, "code": code}) + "\n" for seed, code in ((1, "a"), (2, "b"))))
    assert [each["seed"] for each in script.read(file, {"code": "b"})] == [2]
    told = f"{file}: left out are 1 lines of other suites, code or cases; another --out keeps them apart\n"
    assert capsys.readouterr().err == told
