"""Does the suite ever fail what is right? Every honest variant and framework, over many seeds.

    python bench/false_failures.py [--seeds 100] [--first 1] [--lean] [--cases GLOB …] [--also ADDRESS …] [--jobs 2]
                                   [--out FILE] [--summary | --publish DIRECTORY]

A seed makes fresh probes and fresh inputs for every case. Each honest variant (another order of summation, fused or
online softmax, chunks, caches, half precision that says so) and each framework is asked the cases of numbers and
properties, and must fail none, leave none undecided, and use at most half of every bound. One line of JSON per seed
goes to --out as it comes; seeds that stand there are not run again, as long as the suites and the code that judges and
computes are the same: what commands and pages say does not matter. With --lean a seed asks one example of each case,
so that it takes a quarter of the time: a hundred seeds are then a hundred draws of each case. --summary prints what the
file holds and stops; --publish writes it beside the pages that tell of it, and into them: lean and whole runs each to
their place.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from llmasos_conformance import adapters, checks, suite
from llmasos_conformance.canonical import sha256
from llmasos_conformance.killmatrix import HONEST_SHARE
from llmasos_conformance.mutants import table

PROPERTIES = (
    "numerics.*", "attention.*", "state.*", "greedy.*", "banded.*", "beams.*", "llama.*", "bert.*", "transformer.*",
    "bundle.*", "inside.*",
)  # fmt: skip
"""Suites whose verdicts rest on numbers that a candidate computed."""

PAGES = {"false-failures.md": "en", "false-failures.zh.md": "zh"}


class Kept(NamedTuple):
    """Where the data of an experiment are published, and between which lines a page holds what they say."""

    data: str
    begin: str
    end: str


LEAN = Kept("false-failures.ndjson", "<!-- tables -->\n", "<!-- end -->")
WHOLE = Kept("false-failures-core.ndjson", "<!-- core -->\n", "<!-- end of core -->")
"""One example of each case, and all of them."""

BINS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, HONEST_SHARE)


def of_seed(rows: Iterable[table.Row]) -> dict[str, Any]:
    """One seed's results as JSON: what failed, what stayed open, and the largest share of a bound per candidate."""
    named = [(row.name if row.kind == "framework" else f"{row.kind}:{row.name}", row) for row in rows if row.asked]
    return {
        "failed": {name: sorted(row.failed) for name, row in named if row.failed},
        "undecided": {name: dict(row.undecided) for name, row in named if row.undecided},
        "shares": {name: [round(row.share, 4), row.at] for name, row in named},
    }


_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "seeds": "{seeds} seeds of {of}, {candidates} right candidates ({variants} honest variants; {frameworks}), "
        "{runs} runs: **{failed} failures, {undecided} cases undecided.** The largest share of a bound in a run is "
        "{median:.2f} in the median and {largest:.2f} at most; {allowed:.1f} is allowed.",
        "head": "| largest share of a bound | runs |",
        "bin": "| {low:.2f} to {high:.2f} | {runs} |",
        "worst": "The largest: {all}.",
        "each": "{share:.2f}, `{case}` by {name}, seed {seed}",
        "comma": ", ", "semicolon": "; ",
    },
    "zh": {
        "seeds": "{of} 个种子中的 {seeds} 个，{candidates} 个正确的候选（{variants} 个诚实变体；{frameworks}），"
        "共 {runs} 次运行：**失败 {failed} 个，未决 {undecided} 个。**每次运行中所用界的最大份额，"
        "中位数为 {median:.2f}，最大为 {largest:.2f}；允许 {allowed:.1f}。",
        "head": "| 所用界的最大份额 | 运行次数 |",
        "bin": "| {low:.2f} 至 {high:.2f} | {runs} |",
        "worst": "最大者：{all}。",
        "each": "{share:.2f}，{name} 的 `{case}`，种子 {seed}",
        "comma": "、", "semicolon": "；",
    },
}  # fmt: skip
"""What `figures` says, by language."""


def figures(lines: Sequence[Mapping[str, Any]], of: int, lang: str = "en") -> str:
    """What many seeds amount to, as Markdown.

    Args:
        of: how many seeds are wanted.
    """
    words = _WORDS[lang]
    runs = [(share, case, name, line["seed"]) for line in lines for name, (share, case) in line["shares"].items()]
    shares, names = [run[0] for run in runs], sorted({run[2] for run in runs})
    frameworks = [name for name in names if ":" not in name]
    last = max(HONEST_SHARE, *shares)
    counts = [
        (low, high, sum(low <= share < high or share == high == last for share in shares))
        for low, high in itertools.pairwise(sorted({0.0, *BINS, last}))
    ]
    said = words["seeds"].format(
        seeds=len(lines), of=of, candidates=len(names), variants=len(names) - len(frameworks),
        frameworks=words["comma"].join(frameworks), runs=len(runs),
        failed=sum(len(cases) for line in lines for cases in line["failed"].values()),
        undecided=sum(len(cases) for line in lines for cases in line["undecided"].values()),
        median=statistics.median(shares), largest=max(shares), allowed=HONEST_SHARE,
    )  # fmt: skip
    worst = [
        words["each"].format(share=share, case=case, name=name, seed=seed)
        for share, case, name, seed in sorted(runs, reverse=True)[:5]
    ]
    wrong = [
        f"seed {line['seed']}, {name}: {', '.join(cases)}"
        for line in lines
        for kind in ("failed", "undecided")
        for name, cases in line[kind].items()
    ]
    return "\n".join([
        said, "", words["head"], "|---|--:|",
        *(words["bin"].format(low=low, high=high, runs=count) for low, high, count in counts if count),
        "", words["worst"].format(all=words["semicolon"].join(worst)), *wrong, "",
    ])  # fmt: skip


def publish(lines: Sequence[Mapping[str, Any]], of: int, directory: Path, kept: Kept = LEAN) -> None:
    """Write the lines as data of a directory, and what they amount to into both pages beside it.

    Raises:
        ValueError: a page has no place for it; then nothing is written.
    """
    pages = {directory / name: lang for name, lang in PAGES.items()}
    texts = {path: path.read_text(encoding="utf-8") for path in pages}
    for path, text in texts.items():
        if kept.begin not in text or kept.end not in text.partition(kept.begin)[2]:
            due = f"{kept.begin.strip()} and {kept.end}"
            raise ValueError(f"{path}: lines {due} are due, between which the figures stand")
    data = "".join(json.dumps(line, sort_keys=True) + "\n" for line in sorted(lines, key=lambda line: line["seed"]))
    (directory / kept.data).write_text(data, encoding="utf-8")
    for path, lang in pages.items():
        before, _, rest = texts[path].partition(kept.begin)
        said = figures(lines, of, lang) + kept.end
        path.write_text(before + kept.begin + said + rest.partition(kept.end)[2], encoding="utf-8")


def code_digest(addresses: Iterable[str]) -> str:
    """Over the sources that are imported once all is at hand that judges, is judged, or is the truth."""
    checks.registry()
    for address in addresses:
        adapters.connect(address)
    files = {
        name: Path(module.__file__ or "").read_bytes()
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] in ("llmasos", "llmasos_conformance") and getattr(module, "__file__", None)
    }
    return sha256(b"".join(name.encode() + b"\0" + sha256(content).encode() for name, content in files.items()))


def read(path: Path, terms: Mapping[str, object]) -> list[dict[str, Any]]:
    """Lines of a file of an earlier run; those of other suites, code or cases are left out, and said to be."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    same = [line for line in lines if all(line.get(name) == value for name, value in terms.items())]
    if len(same) < len(lines):
        left = f"left out are {len(lines) - len(same)} lines of other suites, code or cases"
        print(f"{path}: {left}; another --out keeps them apart", file=sys.stderr)
    return same


def ask(seed: int, terms: Mapping[str, object], options: argparse.Namespace) -> dict[str, Any]:
    """The line of one seed."""
    started = time.monotonic()
    made = table.run(options.only, options.cases, 1, lean=options.lean, seed=str(seed), also=options.also)
    return {**terms, "seed": seed, **of_seed(made.rows), "seconds": round(time.monotonic() - started)}


def ran(seeds: Sequence[int], terms: Mapping[str, object], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Lines as they come. A seed is one worker's: what the reference answers is then worked out once for all who are
    asked, and nobody waits for the last of them."""
    if options.jobs < 2:
        yield from (ask(seed, terms, options) for seed in seeds)
        return
    # Spawned, because torch, which transformers loads, does not survive a fork.
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), table.end_with_parent) as pool:
        try:
            for done in as_completed([pool.submit(ask, seed, terms, options) for seed in seeds]):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def main() -> int:
    """Exit status 0 if nothing right failed, nothing stayed open and no share is above half."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--lean", action="store_true", help="one example of each case")
    parser.add_argument("--cases", nargs="+", default=list(PROPERTIES), metavar="GLOB", help="case ids or profiles")
    parser.add_argument("--only", nargs="+", default=["honest:*"], metavar="GLOB", help="honest variants")
    parser.add_argument("--also", nargs="*", default=["reference", "transformers", "onnxruntime"], metavar="ADDRESS")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, each 8 GB")
    parser.add_argument("--out", type=Path, default=Path("false-failures.ndjson"), help="a line per seed")
    parser.add_argument("--summary", action="store_true", help="print what --out holds, run nothing")
    parser.add_argument("--publish", type=Path, metavar="DIRECTORY", help="write what --out holds there, run nothing")
    options = parser.parse_args()
    terms = {
        "suite": suite.load().digest, "code": code_digest(options.also), "lean": options.lean, "cases": options.cases
    }  # fmt: skip
    lines = read(options.out, terms)
    if not options.summary and not options.publish:
        done = {line["seed"] for line in lines}
        todo = [seed for seed in range(options.first, options.first + options.seeds) if seed not in done]
        for line in ran(todo, terms, options):
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, sort_keys=True) + "\n")
            lines.append(line)
            shares = [share for share, _ in line["shares"].values()]
            print(
                f"seed {line['seed']}: {len(line['failed'])} failed, {len(line['undecided'])} open, "
                f"largest share {max(shares):.2f}, {line['seconds']} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    if not lines:
        print(f"{options.out} holds no seed of these suites and this code", file=sys.stderr)
        return 2
    if options.publish:
        publish(lines, options.seeds, options.publish, LEAN if options.lean else WHOLE)
    print(figures(lines, options.seeds))
    right = not any(line["failed"] or line["undecided"] for line in lines)
    return 0 if right and max(share for line in lines for share, _ in line["shares"].values()) <= HONEST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
