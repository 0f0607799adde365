"""A slice of the self-test: honest variants pass, mutants fail what they were built to break, and the table says so."""

import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmasos_conformance import engine, killmatrix, knownbugs
from llmasos_conformance.adapters import connect
from llmasos_conformance.candidate import Exchange
from llmasos_conformance.errors import AddressError, SuiteError
from llmasos_conformance.mutants import table
from llmasos_conformance.mutants.catalogue import GROUPS, mutants
from llmasos_conformance.mutants.variants import HONEST, HOSTED, HOSTED_NULL, NULL, OWN_CHANCE

SLICE = (
    "epsilon-too-small",
    "softmax-temperature",
    "mask-minus-thirty",
    "matmul-bf16x3",
    "cache-half-at-decode",
    "positions-from-pad",
    "fork-shares-cache",
    "prefix-cache-coarse",
    "limit-plus-one",
    "stop-leaks-in-stream",
    "top-k-plus-one",
    "law-flattened",
    "seed-zero-is-none",
    "closed-fork-frees-parent",
    "long-stop-ignored",
    "context-at-least-48",
    "logprobs-processed",
    "truncated-weights-padded",
    "links-followed",
    "bleu-tie-first",
    "bleu-one-best-reference",
    "rouge-lsum-other-path",
    "rouge-f1-of-means",
    "perplexity-last-window-moved",
    "perplexity-bos-beyond-context",
    "merges-from-the-left",
    "word-piece-keeps-the-beginning",
    "controls-found-in-the-vocabulary",
    "byte-tokens-streamed-alone",
    "last-of-an-id-wins",
    "honest-at-first",
    "honest-with-known-models",
    "draft-residual-forgotten",
)
"""One mutant of each kind of fault."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return table.Workshop(tmp_path_factory.mktemp("mutants"))


def of(workshop, *requirements):
    return [case for case in workshop.cases if case.requirement in requirements]


def test_every_mutant_names_a_thread_a_bug_and_a_requirement_of_the_ledger(workshop):
    for name, made in mutants().items():
        assert made.group in GROUPS
        assert re.fullmatch(r"[\w.-]+/[\w.-]+#[1-9][0-9]*", made.source), name
        assert made.bug.endswith("."), name
        assert made.requirement in workshop.suite.requirements, name


def test_no_two_honest_computations_are_the_same_one(workshop):
    assert workshop.alike() == []


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_variant_fails_nothing_and_stays_within_half_of_every_bound(workshop, name):
    numeric = [case for case in workshop.cases if case.requirement.startswith(("NUM", "ATT", "NRM", "ACT", "POS"))]
    row = workshop.row("honest", name, numeric)
    assert numeric
    assert row.trouble == ""


def test_honest_variants_draw_with_the_standard_s_noise_or_otherwise_and_some_do_each(workshop):
    """Whoever has chance of his own is asked everything but the noise: filters, laws, seeds."""
    speaking = [name for name in HONEST if not name.startswith("bert")]
    own = {name for name in speaking if "gumbel" not in workshop.candidate(f"honest:{name}").description.offers}
    assert own == set(OWN_CHANCE) < set(speaking)
    neutral = [case for case in workshop.cases if case.id.startswith(("api.neutral", "api.top-k", "sampling.filters"))]
    for name in ("halved", "plain"):
        assert len(neutral) > 5
        assert workshop.row("honest", name, neutral).trouble == ""


@pytest.mark.parametrize("name", SLICE)
def test_a_mutant_fails_the_requirement_that_it_breaks(workshop, name):
    row = workshop.row("mutant", name, of(workshop, mutants()[name].requirement))
    assert row.trouble == ""


def test_a_null_candidate_that_opens_anything_fails_the_format(workshop):
    assert workshop.row("null", "accept-all", of(workshop, "FMT-6", "FMT-12")).failed


def row(kind="mutant", **given):
    return killmatrix.Row(**{"kind": kind, "name": "x", "expected": "A-1" if kind == "mutant" else "", **given})


@pytest.mark.parametrize(
    ("made", "trouble"),
    [
        (row(failed={"a.b": "A-1", "c.d": "B-2"}), ""),
        (row(failed={"c.d": "B-2"}), "does not fail A-1"),
        (row(), "survives"),
        (row(failed={"a.b": "A-1"}, undecided={"c.d": "error: oops"}), "undecided: c.d"),
        (row("null"), "survives"),
        (row("null", failed={"c.d": "B-2"}), ""),
        (row("honest"), ""),
        (row("honest", share=0.51, at="a.b"), "uses 0.51 of a bound in a.b"),
        (row("honest", failed={"a.b": "A-1"}), "what is right fails a.b"),
    ],
)
def test_what_is_not_as_it_must_be_is_named(made, trouble):
    assert made.trouble == trouble


def matrix(*rows, claim=""):
    columns = {
        name: killmatrix.Column(requirement=requirement, level="MUST", interface="text")
        for name, requirement in {"a.b": "A-1", "c.d": "A-0", "e": "A-9"}.items()
    }
    return killmatrix.KillMatrix(terms={"claim": claim}, columns=columns, rows=rows)


def test_the_table_is_right_only_without_trouble_unfailed_cases_and_twins():
    good = row(failed={"a.b": "A-1"}, size=math.inf)
    assert table.Table(matrix=matrix(good), unfailed=[]).ok
    assert table.Table(matrix=matrix(good)).ok
    assert not table.Table(matrix=matrix(good, row()), unfailed=[]).ok
    assert not table.Table(matrix=matrix(good), unfailed=["a.b"]).ok
    assert not table.Table(matrix=matrix(good), unfailed=[], alike=[("one", "other")]).ok


def test_a_mutant_that_survives_a_lower_claim_is_no_trouble():
    assert table.Table(matrix=matrix(row(), claim="bfloat16")).ok
    assert not table.Table(matrix=matrix(row("honest", failed={"a.b": "A-1"}), claim="bfloat16")).ok


def test_the_rendering_shows_the_expected_requirement_first_and_cases_that_nobody_fails():
    made = row(failed={"c.d": "A-0", "a.b": "A-1"}, size=math.inf)
    shown = table.render(table.Table(matrix=matrix(made), unfailed=["e"]))
    assert "A-1, A-0" in shown
    assert "  e (A-9)" in shown


def test_the_columns_of_the_rendering_stand_below_their_heads_whatever_the_names():
    made = [row(name="n" * length, failed={"a.b": "A-1"}) for length in (1, 60)]
    head, _, *lines = table.render(table.Table(matrix=matrix(*made))).splitlines()
    assert [line.index("A-1") for line in lines[:2]] == [head.index("failed, the expected first")] * 2


def test_what_a_case_takes_is_counted_in_ids_and_bytes():
    def taken(method, params, result=None):
        return table.tokens(Exchange(method, params, result=result))

    assert taken("forward", {"model": "m", "ids": [[1, 2], [3]]}, {"logits": []}) == 3
    assert taken("generate_text", {"prompt": "aé"}, {"text": "xy", "completion_tokens": 2}) == 5
    assert taken("generate_ids", {"ids": [1]}, {"ids": [4, 5, 6]}) == 4
    assert taken("generate_batch", {"ids": [[1], [2]]}, {"generations": [{"ids": [1, 2]}, {"ids": [3]}]}) == 5
    assert taken("generate_text", {"prompt": "a"}, {"sample": 3}) == 1
    assert taken("generate_text", {"prompt": 7}) == 0


def test_the_reference_is_asked_to_see_what_cases_take(tmp_path):
    made = table.run(["mutant:epsilon-doubled"], ["numerics.plain", "beams.*"], 1, measured=True).matrix
    plain = made.columns["numerics.plain"]
    assert (plain.requirement, plain.level, plain.interface) == ("NUM-1", "MUST", "logits")
    assert plain.tokens > 100
    assert plain.seconds > 0
    assert list(made.rows[0].asked) == ["numerics.plain"]


def test_entrants_are_chosen_by_glob_of_name_or_address():
    assert table.entrants(["honest:*"]) == [("honest", name) for name in (*HONEST, *HOSTED)]
    assert table.entrants(["constant", "epsilon-doubled"]) == [("null", "constant"), ("mutant", "epsilon-doubled")]
    assert len(table.entrants()) == len(HONEST) + len(HOSTED) + len(NULL) + len(HOSTED_NULL) + len(mutants())


def test_a_name_that_does_not_exist_is_answered_with_one_that_does():
    with pytest.raises(AddressError, match="epsilon-too-small"):
        connect("mutant:epsilon-to-small")


def test_no_candidate_at_all_is_a_wrong_command_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        table.main(["--only", "nobody"])
    assert "no candidate matches nobody" in capsys.readouterr().err


def test_asked_its_own_requirement_alone_a_mutant_fails_nothing_else(tmp_path):
    own = table.Workshop(tmp_path, ["numerics.*", "attention.*", "norm.*"], own=True)
    for name in ("epsilon-doubled", "causal-leak"):
        row = own.row("mutant", name)
        assert row.trouble == ""
        assert list(row.failed.values()) == [row.expected]


def test_asked_its_own_requirement_alone_a_mutant_is_asked_first_what_failed_it_before(tmp_path):
    known = next(row for row in knownbugs.known().mutants if row.name == "layers-left-over")
    (killer,) = (case for case, broken in known.failed.items() if broken == known.expected)
    own = table.Workshop(tmp_path, ["numerics.*"], own=True)
    assert own.row("mutant", "layers-left-over").asked == (killer,)


def test_a_text_far_longer_than_was_asked_for_is_failed_and_not_left_open(tmp_path):
    row = table.Workshop(tmp_path, ["gumbel.steps.text"]).row("null", "constant")
    assert row.undecided == {}
    assert list(row.failed) == ["gumbel.steps.text"]


def test_what_is_known_to_be_right_is_held_to_what_an_honest_variant_is_held_to(tmp_path):
    workshop = table.Workshop(tmp_path, ["numerics.plain", "metrics.bleu.paper"], seed="another")
    row = workshop.row("framework", "honest:sequential")
    assert (row.kind, row.failed, row.trouble, row.at) == ("framework", {}, "", "numerics.plain")
    assert 0 < row.share <= killmatrix.HONEST_SHARE
    wrong = workshop.row("framework", "mutant:epsilon-doubled")
    assert wrong.trouble == "what is right fails numerics.plain"


def test_a_candidate_is_judged_by_the_dtype_that_it_claims(tmp_path):
    workshop = table.Workshop(tmp_path, ["export.form"])
    assert workshop.row("framework", "reference").trouble == ""
    assert workshop.row("framework", "reference:float32/plain").trouble == ""


def test_another_seed_draws_something_else(tmp_path):
    shares = [
        table.Workshop(tmp_path / seed, ["numerics.plain"], seed=seed).row("honest", "sequential").share
        for seed in ("one", "other")
    ]
    assert shares[0] != shares[1]


def test_edges_are_drawn_as_often_as_said_and_everything_else_as_in_any_run():
    every = table.Edges("", "seed", "case", 0, 1.0).integers(200, 0, 300)
    assert set(every) <= {0, 300, *table.TELLING}
    pinned = [set(table.Edges("", "seed", "case", i, 1.0).integers(50, 0, 300)) for i in range(40)]
    assert 2 <= sum(len(values) == 1 for values in pinned) <= 22  # three of ten, and chance
    none = table.Edges("", "seed", "case", 0, 0.0).integers(200, 0, 10**6)
    assert len(set(none)) > 190


def test_a_bench_without_edges_draws_what_a_certified_run_draws(tmp_path):
    workshop = table.Workshop(tmp_path, ["numerics.plain"])
    (case,) = workshop.cases
    candidate = workshop.candidate("honest:sequential")
    parts = (workshop.suite, workshop.checks, candidate, workshop.reference, "seed")
    plain, other, edges = table.EdgeBench(*parts), engine.Bench(*parts), table.EdgeBench(*parts, edges=0.9)
    drawn = [bench.draw(case, 1).integers(9, 0, 999) for bench in (plain, other, edges)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("biased", "numerics.overflow"),
        ("bert-biased", "bert.overflow"),
        ("trf-biased", "transformer.overflow"),
    ],
)
def test_who_adds_onto_a_large_bias_is_right(tmp_path, name, case):
    """Keys whose bias is 2000 are rounded at its size once for each term, which is honest: seeds where it cost most."""
    for seed in ("2", "3", "5"):
        row = table.Workshop(tmp_path / seed, [case], seed=seed).row("honest", name)
        assert (row.asked, row.failed) == ((case,), {})
        assert row.share < killmatrix.HONEST_SHARE


def test_a_share_of_edges_beyond_one_is_a_wrong_command_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        table.main(["--edges", "7"])
    assert "--edges 7 is not a share between 0 and 1" in capsys.readouterr().err


def test_rows_of_a_run_that_was_ended_are_taken_from_its_journal(tmp_path):
    journal, asked = tmp_path / "rows.ndjson", []
    only, cases = ["honest:sequential", "mutant:epsilon-*"], ["numerics.plain", "norm.*"]

    def run():
        asked.clear()
        return table.run(only, cases, 1, lambda done, total, row: asked.append(row.name), resume=journal)

    whole = run()
    assert len(asked) == len(whole.rows) > 2
    first, *rows = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([first, *rows[:2], rows[2][:10]]))  # ended while it wrote the third
    again = run()
    assert asked == [row.name for row in whole.rows[2:]]
    assert again.matrix == whole.matrix
    run()
    assert asked == []


def test_an_infinite_size_survives_the_journal():
    made = row(failed={"a.b": "A-1"}, size=math.inf)
    assert killmatrix.Row.from_json(json.loads(json.dumps(made.as_json(), allow_nan=False))) == made


def test_a_journal_of_something_else_is_not_gone_on_with(tmp_path, capsys):
    journal = tmp_path / "rows.ndjson"
    table.run(["honest:sequential"], ["numerics.plain"], 1, seed="one", resume=journal)
    with pytest.raises(SuiteError, match="a journal of something else: seed"):
        table.run(["honest:sequential"], ["numerics.plain"], 1, seed="other", resume=journal)
    (tmp_path / "text").write_text("hello\n")
    command = ["--only", "honest:sequential", "--cases", "numerics.plain", "--jobs", "1"]
    assert table.main([*command, "--resume", str(tmp_path / "text")]) == 2
    assert "no journal" in capsys.readouterr().err
    assert (tmp_path / "text").read_text() == "hello\n"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc, to see who is alive")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    script = (
        "from llmasos_conformance.mutants import table\n"
        "if __name__ == '__main__':\n"
        "    table.main(['--only', 'honest:*', '--jobs', '2'])\n"
    )
    (tmp_path / "run.py").write_text(script)
    running = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], stderr=subprocess.DEVNULL)
    workers = []
    while len(workers) < 2 and running.poll() is None:
        time.sleep(0.2)
        workers = [pid for pid in children(running.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    time.sleep(3)  # until they are at work and watch
    running.kill()
    running.wait()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert workers
    assert not any(alive(pid) for pid in workers)


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_who_knows_the_public_models_is_honest_with_them_and_with_no_others(tmp_path):
    addresses = {"0": True, "another": False}
    for seed, honest in addresses.items():
        workshop = table.Workshop(tmp_path / seed, ["numerics.plain"], seed=seed)
        row = workshop.row("mutant", "honest-with-known-models")
        assert (not row.failed) == honest


def test_a_lean_row_asks_its_own_requirement_in_full_and_little_of_the_others(tmp_path):
    cases = ["numerics.plain", "numerics.small-embedding", "numerics.near-constant", "sampling.top-k"]
    full, lean = (table.Workshop(tmp_path / name, cases, lean=name == "lean") for name in ("full", "lean"))
    asked = {}
    for name, workshop in (("full", full), ("lean", lean)):
        workshop.row(
            "mutant", "epsilon-doubled", told=lambda case, *_, name=name: asked.setdefault(name, []).append(case)
        )
    examples = {name: {case.id: case.examples for case in seen} for name, seen in asked.items()}
    assert examples["full"]["numerics.plain"] > 1
    assert "sampling.top-k" in examples["full"]
    own = {name: examples["full"][name] for name in ("numerics.small-embedding", "numerics.near-constant")}
    assert examples["lean"] == {"numerics.plain": 1, **own}
