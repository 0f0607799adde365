"""What the harness itself costs, as ratios against pytest and Hypothesis, measured in one run.

    fixed case      a case through the plugin / a parametrised pytest test that asks the same        target <= 1.0
    with its YAML   the same, reading and checking the case's entry of the suite included            shown, no target
    drawn example   one certified example in the engine / one example of a bare Hypothesis test      target <= 1.3
    explored        one example of Hypothesis through our draws / the same bare example              shown, no target

The candidate answers instantly and the judge compares two lists, so nothing but the harness is left. The cost of a
case is the slope between a run of 1 and a run of many, so start-up is out of it. CPU time, the two sides in turn,
medians.

    python bench/harness_cost.py [rounds]
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

MANY, EXAMPLES, LENGTH = 1000, 500, 8
TEXT = "abc"


class InstantModel:
    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Any:
        raise NotImplementedError("this candidate only tokenises")

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def detokenize(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode()


class Instant:
    """A candidate that costs nothing."""

    def describe(self) -> Mapping[str, Any]:
        return {"name": "instant", "version": "1", "capabilities": ["load_model", "tokenize"]}

    def load_model(self, path: str) -> InstantModel:
        return InstantModel()


PEER = f"""
import pytest
from harness_cost import Instant

MODEL = Instant().load_model("")

@pytest.mark.parametrize("n", range(COUNT))
def test_case(n):
    assert MODEL.tokenize({TEXT!r}) == {list(TEXT.encode())}
"""


def write_suite(root: Path, count: int) -> Path:
    """A suite of so many fixed cases, and its ledger."""
    (root / "requirements").mkdir(parents=True)
    (root / "profiles").mkdir()
    (root / "requirements" / "bench.yaml").write_text(
        'chapter: bench\ntitle: {en: "Bench", zh: "Bench"}\nrequirements:\n'
        '- {id: BEN-1, level: MUST, en: "A text is its bytes.", zh: "A text is its bytes.", source: "bench"}\n'
    )
    cases = "".join(f"- {{id: bench.case-{n}, requirement: BEN-1, check: bench.fixed}}\n" for n in range(count))
    (root / "bench.yaml").write_text(f'suite: bench\ntitle: {{en: "Bench", zh: "Bench"}}\ncases:\n{cases}')
    return root


def register_checks() -> None:
    from llmasos_conformance import checks
    from llmasos_conformance.verdict import Finding, failed, passed

    def ask_fixed(given: Any, draw: Any, candidate: Any) -> dict[str, Any]:
        return {"ids": candidate.model("plain").tokenize(TEXT)}

    def judge_fixed(given: Any, asked: Any, reference: Any) -> Finding:
        return passed() if asked["ids"] == list(TEXT.encode()) else failed("ids differ")

    def ask_drawn(given: Any, draw: Any, candidate: Any) -> dict[str, Any]:
        ids = draw.integers(LENGTH, 97, 122)
        return {"due": ids, "ids": candidate.model("plain").tokenize(bytes(ids).decode())}

    def judge_drawn(given: Any, asked: Any, reference: Any) -> Finding:
        return passed() if asked["ids"] == asked["due"] else failed("ids differ")

    checks.check("bench.fixed", ask_fixed, judge_fixed, needs=("tokenize",))
    checks.check("bench.drawn", ask_drawn, judge_drawn, needs=("tokenize",))


def run_pytest(arguments: Sequence[str]) -> float:
    """CPU seconds of one pytest run in this process; everything must pass."""
    import pytest

    from llmasos_conformance import plugin

    shown = io.StringIO()
    start = time.process_time()
    with contextlib.redirect_stdout(shown):
        code = pytest.main([*arguments, "-q", "-p", "no:cacheprovider"], plugins=[plugin])
    spent = time.process_time() - start
    if code != 0:
        raise SystemExit(f"pytest ended with {code}:\n{shown.getvalue()[-2000:]}")
    return spent


def load(root: Path) -> float:
    """CPU seconds of reading a suite; the runs that follow find it read."""
    from llmasos_conformance import checks, suite
    from llmasos_conformance.plugin import request

    start = time.process_time()
    suite.load(root, checks.registry())  # with checks that are given nothing is remembered
    spent = time.process_time() - start
    request.load(root)
    return spent


def slope(small: Sequence[float], large: Sequence[float]) -> float:
    return (statistics.median(large) - statistics.median(small)) / (MANY - 1)


def fixed(root: Path, rounds: int) -> tuple[float, float, float]:
    """CPU seconds per case: ours, loading it, and a bare parametrised test."""
    here = str(Path(__file__).resolve())
    suites: dict[int, Path] = {}
    for count in (1, MANY):
        suites[count] = write_suite((root / f"suite{count}").resolve(), count)
        (root / f"test_peer_{count}.py").write_text(PEER.replace("COUNT", str(count)))
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds + 1):  # the first round imports everything and is dropped
        for count, suite in suites.items():
            mine = [f"--llmasos-adapter={here}:Instant", "--llmasos-profile=all", f"--llmasos-suites={suite}"]
            times.setdefault(("load", count), []).append(load(suite))
            times.setdefault(("ours", count), []).append(run_pytest([f"--rootdir={root}", *mine]))
            bare = [f"--rootdir={root}", str(root / f"test_peer_{count}.py")]
            times.setdefault(("peer", count), []).append(run_pytest(bare))
    ours, loading, peer = (slope(times[name, 1][1:], times[name, MANY][1:]) for name in ("ours", "load", "peer"))
    return ours, loading, peer


def drawn(root: Path, rounds: int) -> tuple[float, float, float]:
    """CPU seconds per example: certified in the engine, bare Hypothesis, and Hypothesis through our draws."""
    import hypothesis
    from hypothesis import strategies as st

    from llmasos_conformance import adapters, checks, engine, explore, reference
    from llmasos_conformance.candidate import Candidate, Live
    from llmasos_conformance.probes import Library
    from llmasos_conformance.suite import Case, Requirement, Suite

    requirement = Requirement(id="BEN-1", level="MUST", chapter="bench", sentence={"en": "", "zh": ""}, source="")
    case = Case(
        id="bench.drawn",
        requirement="BEN-1",
        check="bench.drawn",
        given={},
        examples=EXAMPLES,
        needs=frozenset({"tokenize"}),
        effect={},
        where="bench.yaml:1",
    )
    suite = Suite(digest="0", version="0", requirements={"BEN-1": requirement}, cases={case.id: case}, profiles={})
    connection = adapters.connect(f"{Path(__file__).resolve()}:Instant")
    candidate = Candidate(Live(connection), connection.description, Library(root / "probes", "0"))
    truth = reference.connect(connection.description.claims, Library(root / "own", "0"), adapters.connect)
    bench = engine.Bench(suite, checks.registry(), candidate, truth, "0")
    model = Instant().load_model("")

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.lists(st.integers(97, 122), min_size=LENGTH, max_size=LENGTH))
    def bare(ids: list[int]) -> None:
        assert model.tokenize(bytes(ids).decode()) == ids

    def certified() -> None:
        assert engine.run_case(bench, case).outcome.ok

    def explored() -> None:
        assert explore.search(bench, case, EXAMPLES, explore.BAD)[0] is None

    medians = interleaved([certified, bare, explored], rounds)
    return medians[0] / EXAMPLES, medians[1] / EXAMPLES, medians[2] / EXAMPLES


def interleaved(actions: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Median CPU seconds of each action, one of each in turn; the first round is dropped."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds + 1):
        for action, kept in zip(actions, times, strict=True):
            start = time.process_time()
            action()
            kept.append(time.process_time() - start)
    return [statistics.median(kept[1:]) for kept in times]


def main(rounds: int) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # both sides: pytest, our plugin, nothing else
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    register_checks()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ours, loading, peer = fixed(root, rounds)
        certified, bare, explored = drawn(root, rounds)
    for name, mine, other, cost in (
        ("fixed case", ours, "pytest", peer),
        ("with its YAML", ours + loading, "pytest", peer),
        ("drawn example", certified, "Hypothesis", bare),
        ("explored", explored, "Hypothesis", bare),
    ):
        print(f"{name:<14} {mine * 1e6:6.0f} us   {other:<10} {cost * 1e6:6.0f} us   ratio {mine / cost:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
