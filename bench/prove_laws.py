"""What each frozen design of a law test is worth: its tail under the null, its power, and how many tokens it takes.

    python bench/prove_laws.py [--runs 2000] [--cases GLOB …] [--jobs 2] [--json]

For every case of the check `drawn-from`, on the same code that judges candidates:

    tail        chance that a right sampler is refused, by importance sampling: runs are drawn from the mixture of the
                alternatives, and each refused one counts 1/E, its likelihood under the null. No weight is above α, so
                the estimate is exact to a few hundredths with a thousand runs. It must be at most α.
    plain       the same by plain simulation of the null at α = 10⁻², where it can be seen: it must be at most 10⁻².
    power       for each alternative, the share of its runs that are refused; none may be accepted but β of them.
    tokens      median and largest number until a right sampler is accepted, and the share left open.
    optimum     mean evidence at the verdict, in parts of what any test with these error rates takes at least (Wald
                1945), which is tokens in parts of the least tokens where all tokens tell alike: of a right sampler the
                least of Σ ln p/q over the alternatives q, in parts of ln(1/β); of a wrong one Σ ln q/p in parts of
                ln(1/α), the worst of them. An alternative that gives what p never does has none. Each with its
                standard error over the runs.

The exit code is 1 if a design does not do what its case says.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np

from llmasos_conformance import laws, suite
from llmasos_conformance.checks import sampling
from llmasos_conformance.laws import Decision, Float64
from llmasos_conformance.mutants.table import end_with_parent

POWER = 0.999
"""Share of an alternative's runs that must be refused."""
OPEN = 1e-3
"""Share of a right sampler's runs that may be left open."""


PIECE = 8
"""Calls that are drawn at a time; a run ends with the piece in which it is decided."""


def watched(
    given: Mapping[str, Any], other: Mapping[str, Any] | None, alpha: float, generator: np.random.Generator
) -> tuple[laws.Verdict, Float64]:
    """One run to its verdict, and the [J, n] ratios of the tokens that were drawn for it."""
    ratios, calls = np.zeros((len(sampling.settings(given)[1]), 0)), -(-given["most"] // sampling.CALL)
    for done in range(0, calls, PIECE):
        more = drawn(given, other, min(PIECE, calls - done), generator)
        ratios = np.concatenate([ratios, more], axis=1)[:, : given["most"]]
        verdict = laws.decide(ratios, alpha, given["beta"])
        if verdict.decision is not Decision.UNDECIDED:
            break
    return verdict, ratios


def drawn(
    given: Mapping[str, Any], other: Mapping[str, Any] | None, count: int, generator: np.random.Generator
) -> Float64:
    """[J, n] ratios of the tokens of so many calls, drawn from a case's law or from one of the others."""
    _, rows = sampling.letters_of(given)
    options = sampling.settings(given)[0]
    table, back = None, laws.looks_back(options)
    if not back and (other is None or "penalty" not in other):
        table = laws.table_of(rows, options) if other is None else laws.alternative(rows, options, other)
        mass = np.cumsum(table, axis=1)
        mass /= mass[:, -1:]
    texts = []
    for _ in range(count):
        prompt = [int(token) for token in generator.integers(len(rows), size=4)]
        uniform, tokens = generator.random(sampling.CALL), []
        if back:
            tokens = looking_back(rows, options, other or {}, prompt, uniform)
        elif table is None:
            assert other is not None
            for u in uniform:
                sums = np.cumsum(laws.penalised_law(rows, options, other["penalty"], [*prompt, *tokens]))
                tokens.append(int(np.searchsorted(sums, u * sums[-1], side="right")))
        elif np.array_equal(table, np.broadcast_to(table[0], table.shape)):
            tokens = np.searchsorted(mass[0], uniform, side="right").tolist()
        else:
            state = prompt[-1]
            for u in uniform:
                state = int(mass[state].searchsorted(u, side="right"))
                tokens.append(state)
        texts.append((prompt, tokens))
    return sampling.ratios(given, texts)


def looking_back(
    rows: Float64, options: Mapping[str, Any], other: Mapping[str, Any], prompt: list[int], uniform: Float64
) -> list[int]:
    """Tokens of a text whose law looks back on all of it."""
    options, reading = {**options, **other.get("options", {})}, other.get("reading", "")
    given, chosen = np.bincount(prompt, minlength=len(rows)).astype(float), np.zeros((1, len(rows)))
    tokens: list[int] = []
    for u in uniform:
        sums = np.cumsum(laws.behind_all(rows, options, [[*prompt, *tokens][-1]], given, chosen, reading)[0])
        tokens.append(int(np.searchsorted(sums, u * sums[-1], side="right")))
        chosen[0, tokens[-1]] += 1
    return tokens


def prove(case: suite.Case, runs: int, generator: np.random.Generator) -> dict[str, Any]:
    """All figures of one case."""
    given = case.given
    alpha, beta = given["alpha"], given["beta"]

    spent: dict[int | None, list[Float64]] = {}

    def run(other: Mapping[str, Any] | None, alpha: float = alpha) -> laws.Verdict:
        verdict, ratios = watched(given, other, alpha, generator)
        which = None if other is None else list(sampling.settings(given)[1]).index(other)
        if which is not None or alpha == given["alpha"]:
            with np.errstate(invalid="ignore"):  # what both laws exclude in turn has no sum, and is left out below
                spent.setdefault(which, []).append(np.sum(ratios[:, : verdict.at], axis=1))
        return verdict

    null = [run(None) for _ in range(runs)]
    plain = [run(None, 1e-2) for _ in range(runs)]
    under = [[run(other) for _ in range(runs)] for other in sampling.settings(given)[1]]
    # Of the mixture: each alternative as often as its weight, which is the same for all. E holds the price of rounding.
    weights = [
        math.exp(-one.evidence - laws.BLUR * one.at) if one.decision is Decision.REFUSED else 0.0
        for row in under
        for one in row
    ]
    tail = float(np.mean(weights))
    wrong = [one.at for row in under for one in row]
    figures: dict[str, Any] = {
        "case": case.id,
        "alpha": alpha,
        "tail": tail,
        "tailRelativeError": float(np.std(weights) / math.sqrt(len(weights)) / tail) if tail else 0.0,
        "plainAt1e-2": share(plain, Decision.REFUSED),
        "power": {sampling.named(given["others"][j]): share(row, Decision.REFUSED) for j, row in enumerate(under)},
        "accepted": max(share(row, Decision.ACCEPTED) for row in under),
        "tokensOfARightOne": {"median": int(np.median([one.at for one in null])), "most": max(one.at for one in null)},
        "tokensOfAWrongOne": {"median": int(np.median(wrong)), "most": max(wrong)},
        "optimum": optimum(spent, alpha, beta),
        "open": share(null, Decision.UNDECIDED),
        "refused": share(null, Decision.REFUSED),
    }
    figures["ok"] = (
        tail <= alpha
        and figures["plainAt1e-2"] <= 1e-2 + 3 * math.sqrt(1e-2 / runs)
        and min(figures["power"].values()) >= POWER
        and not figures["accepted"]
        and figures["open"] <= OPEN
        and not figures["refused"]
    )
    return figures


def optimum(spent: Mapping[int | None, list[Float64]], alpha: float, beta: float) -> dict[str, float | None]:
    """Mean evidence at the verdict as multiples of the least that any test takes; None where it is infinite.

    Tokens of one law all tell the same on average, and evidence is then tokens times that. Where a penalty looks back
    they tell more and more, or less and less; evidence is still what no test with these error rates can do without.

    Args:
        spent: law drawn from (None for p) -> per run the sums [J] of ln q_j/p up to the verdict.

    Returns:
        Of a right sampler and of the worst wrong one; "rightError" and "wrongError" are the standard errors.
    """
    away = [-column for column in np.array(spent[None]).T if np.all(np.isfinite(column))]
    # A right sampler is measured by the alternative nearest to it, wrong ones by the worst of those that have a bound.
    right = min((_share(each, -math.log(beta)) for each in away), default=(None, None))
    parts = [np.array([each[j] for each in runs]) for j, runs in spent.items() if j is not None]
    wrong = max((_share(each, -math.log(alpha)) for each in parts if np.all(np.isfinite(each))), default=(None, None))
    return {"right": right[0], "rightError": right[1], "wrong": wrong[0], "wrongError": wrong[1]}


def _share(evidence: Float64, least: float) -> tuple[float, float]:
    """Mean of [n] sums in parts of the least that any test takes, and its standard error."""
    error = float(np.std(evidence)) / math.sqrt(len(evidence))
    return round(float(np.mean(evidence)) / least, 2), round(error / least, 3)


def share(found: list[laws.Verdict], decision: Decision) -> float:
    return sum(one.decision is decision for one in found) / len(found)


def proven(cases: Sequence[suite.Case], runs: int, seed: int, jobs: int) -> Iterator[dict[str, Any]]:
    """Figures of the cases, in their order. Each case draws from the seed anew, so that they are the same however many
    are at work."""
    ask = partial(_prove, runs=runs, seed=seed)
    if jobs < 2:
        yield from map(ask, cases)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), end_with_parent) as pool:
        yield from pool.map(ask, cases)


def _prove(case: suite.Case, runs: int, seed: int) -> dict[str, Any]:
    return prove(case, runs, np.random.default_rng(seed))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=2000, help="of the null, and of each alternative")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="GLOB", help="of their ids")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    asked = [
        case
        for case in suite.load().cases.values()
        if case.check == "drawn-from" and any(fnmatchcase(case.id, glob) for glob in options.cases)
    ]
    if not asked:
        parser.error(f"no law is asked by a case like {' '.join(options.cases)}")
    made = []
    for figures in proven(asked, options.runs, options.seed, options.jobs):
        made.append(figures)
        if not options.json:
            print(line(figures), flush=True)
    if options.json:
        print(json.dumps(made, indent=1))
    return 0 if all(figures["ok"] for figures in made) else 1


def line(figures: dict[str, Any]) -> str:
    """One case for a person."""
    name, weakest = min(figures["power"].items(), key=lambda pair: pair[1])
    right, wrong = figures["tokensOfARightOne"], figures["tokensOfAWrongOne"]
    parts = [
        f"α {figures['alpha']:.0e}: tail {figures['tail']:.1e} ± {figures['tailRelativeError']:.0%}, "
        f"at 1e-2 {figures['plainAt1e-2']:.4f}",
        f"power {weakest:.4f} ({name})",
        f"right {right['median']} tokens, {right['most']} at most, open {figures['open']:.4f}",
        f"wrong {wrong['median']}, {wrong['most']} at most",
        f"of the optimum: right {_erring(figures['optimum'], 'right')}, wrong {_erring(figures['optimum'], 'wrong')}",
    ]
    return f"{figures['case']:28} {'; '.join(parts)}{'' if figures['ok'] else '   NOT OK'}"


def _erring(optimum: Mapping[str, float | None], which: str) -> str:
    return "–" if optimum[which] is None else f"{optimum[which]} ± {optimum[f'{which}Error']}"


if __name__ == "__main__":
    sys.exit(main())
