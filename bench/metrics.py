"""What BLEU and ROUGE of 10,000 segments cost, against sacrebleu and rouge-score in the same run; target ratio <= 1.

Texts are drawn: words by a Zipf law, hypotheses are copies of their references with a quarter of the words changed, the
same for Chinese characters. Both sides get texts and take their tokens themselves. In each round each side runs once,
in turn; what is printed is the median of either side and of the ratios.

    python bench/metrics.py [rounds] [segments]
"""

from __future__ import annotations

import gc
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rouge_score
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

import llmasos

KINDS = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
Texts = Sequence[str]


def changed(words: Sequence[str], vocabulary: Sequence[str], draw: random.Random) -> list[str]:
    """A copy with a quarter of the words left out or replaced."""
    made: list[str] = []
    for word in words:
        chance = draw.random()
        made += [] if chance < 0.1 else [draw.choice(vocabulary)] if chance < 0.25 else [word]
    return made or [words[0]]


def corpus(segments: int, between: str, vocabulary: Sequence[str], seed: int) -> tuple[list[str], list[list[str]]]:
    """Hypotheses, and two references of each."""
    draw = random.Random(seed)
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    hypotheses, references = [], []
    for _ in range(segments):
        words = draw.choices(vocabulary, weights, k=draw.randint(8, 40))
        hypotheses.append(between.join(changed(words, vocabulary, draw)))
        references.append([between.join(words), between.join(changed(words, vocabulary, draw))])
    return hypotheses, references


def in_lines(text: str) -> str:
    """A text with a line feed behind every ninth word."""
    words = text.split(" ")
    return "\n".join(" ".join(words[i : i + 9]) for i in range(0, len(words), 9))


def sacre(hypotheses: Texts, references: Sequence[Texts], tokenize: str) -> Callable[[], float]:
    columns = [list(column) for column in zip(*references, strict=True)]

    def run() -> float:
        metric = BLEU(tokenize=tokenize, smooth_method="none", force=True)
        return float(metric.corpus_score(hypotheses, columns).score) / 100

    return run


def google(hypotheses: Texts, references: Sequence[Texts]) -> Callable[[], float]:
    scorer = RougeScorer(KINDS)

    def run() -> float:
        scores = [scorer.score_multi(several, one) for one, several in zip(hypotheses, references, strict=True)]
        return statistics.fmean(score["rougeLsum"].fmeasure for score in scores)

    return run


def timed(call: Callable[[], float]) -> tuple[float, float]:
    gc.collect()
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else [])
        if line.startswith("model name")
    ]
    processor = f"{len(names)} x {names[0]}" if names else platform.processor() or platform.machine()
    libraries = f"sacrebleu {sacrebleu.__version__}, rouge-score {getattr(rouge_score, '__version__', '0.1.2')}"
    return f"{processor}, {platform.system()}, CPython {platform.python_version()}, NumPy {np.__version__}, {libraries}"


def main(rounds: int, segments: int) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(5000)]
    marked = [word + draw.choice(["", "", "", ".", ",", "!"]) for word in vocabulary]
    han = [chr(0x4E00 + draw.randrange(3000)) for _ in range(2000)] + ["，", "。", "、", "3", "."]
    plain, latin = corpus(segments, " ", vocabulary, 1), corpus(segments, " ", marked, 2)
    one = plain[0], [several[:1] for several in plain[1]]
    chinese = corpus(segments, "", han, 3)
    lines = [in_lines(text) for text in plain[0]], [[in_lines(text) for text in several] for several in one[1]]
    # Tokens differ in the fourth row, because sacrebleu has no tokenisation of words in any script; 13a is the nearest.
    rows: list[tuple[str, Callable[[], float], Callable[[], float], bool]] = [
        ("bleu none, one reference", lambda: llmasos.bleu(*one).score, sacre(*one, "none"), True),
        ("bleu none, two references", lambda: llmasos.bleu(*plain).score, sacre(*plain, "none"), True),
        ("bleu char, Chinese", lambda: llmasos.bleu(*chinese, tokenize="char").score, sacre(*chinese, "char"), True),
        ("bleu word / 13a, Latin", lambda: llmasos.bleu(*latin, tokenize="word").score, sacre(*latin, "13a"), False),
        ("bleu zh, Chinese", lambda: llmasos.bleu(*chinese, tokenize="zh").score, sacre(*chinese, "zh"), False),
        ("rouge, all kinds, one line", lambda: llmasos.rouge(*one).mean["rougeLsum"].f1, google(*one), True),
        ("rouge, all kinds, lines", lambda: llmasos.rouge(*lines).mean["rougeLsum"].f1, google(*lines), True),
    ]  # fmt: skip
    print(f"{segments} segments, {rounds} rounds; {machine()}")
    print(f"{'what':28} {'ours':>8} {'peer':>8} {'ratio':>6}")
    for name, ours, peer, same in rows:
        spent: list[tuple[float, float]] = []
        for _ in range(rounds):
            (mine, score), (theirs, due) = timed(ours), timed(peer)
            if same and abs(score - due) > 1e-9:
                raise SystemExit(f"{name}: {score} here, {due} there; a benchmark of unlike things says nothing")
            spent.append((mine, theirs))
        mine, theirs = (statistics.median(pair[side] for pair in spent) for side in (0, 1))
        ratio = statistics.median(mine / theirs for mine, theirs in spent)
        print(f"{name:28} {mine:7.3f}s {theirs:7.3f}s {ratio:6.2f}")


if __name__ == "__main__":
    main(*(int(word) for word in [*sys.argv[1:], *["7", "10000"][len(sys.argv) - 1 :]]))
