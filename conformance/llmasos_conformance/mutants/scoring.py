"""BLEU and ROUGE of the mutants' runtime, right as they stand, each step a method that a mutant may override.

Written apart from the reference: texts are cut character by character from a table of Unicode categories instead of by
patterns, counts are dictionaries of one order at a time, subsequences come from the plain table of lengths.

    Scores        sums of logarithms, F1 from precision and recall
    OtherScores   the same numbers in another order: products and roots, F1 from counts, running means
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmasos_conformance.mutants.loader import refuse
from llmasos_conformance.protocol import ROUGE

Tokens = Sequence[str]
Parts = dict[str, float]

WHITE_SPACE = frozenset(
    map(chr, [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000])
)
NO_SPACES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x312F), (0x31A0, 0x31BF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFD),
)  # fmt: skip
ONE_BY_ONE = (
    (0x2010, 0x2BFF), (0x2E80, 0x303F), (0x3100, 0x312F), (0x31A0, 0x31EF), (0x3200, 0x9FFF), (0xF900, 0xFAFF),
    (0xFE10, 0xFE1F), (0xFE30, 0xFE4F), (0xFF00, 0xFFEF), (0x20000, 0x3FFFD),
)  # fmt: skip
SMOOTHING: Mapping[str, float | None] = {"none": None, "floor": 0.1, "add-k": 1.0, "exp": None}


def inside(character: str, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether a character lies in one of the ranges, both ends included."""
    return any(low <= ord(character) <= high for low, high in ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked options of BLEU."""

    tokenize: str = "none"
    max_order: int = 4
    smoothing: str = "none"
    smoothing_value: float | None = None
    effective_order: bool = False
    fold_case: bool = False


@dataclass(slots=True)
class Statistics:
    """What BLEU counts: matches and n-grams by order, and both lengths."""

    matches: list[int]
    totals: list[int]
    lengths: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, other: Statistics) -> None:
        for mine, theirs in ((self.matches, other.matches), (self.totals, other.totals), (self.lengths, other.lengths)):
            mine[:] = [a + b for a, b in zip(mine, theirs, strict=True)]


class Scores:
    """BLEU and ROUGE of lists of segments."""

    # Segments.

    def check(self, hypotheses: Sequence[Any], references: Sequence[Any]) -> None:
        """Refuse what cannot be compared segment by segment."""
        if not hypotheses or len(hypotheses) != len(references):
            raise refuse("hypotheses and lists of references must be as many, and some", "invalid_argument")
        if not all(references):
            raise refuse("a segment without reference", "invalid_argument")

    def reference(self, tokens: Tokens) -> Tokens:
        """A reference must hold something."""
        if not tokens:
            raise refuse("a reference without a token", "invalid_argument")
        return tokens

    # Texts.

    def split(self, text: str) -> list[str]:
        """What stands between white space."""
        spaced = "".join(" " if c in WHITE_SPACE else c for c in text)
        return [piece for piece in spaced.split(" ") if piece]

    def seen(self, text: str) -> list[str]:
        """All characters but white space."""
        return [c for c in text if c not in WHITE_SPACE]

    def words(self, text: str, *, rest: bool = True) -> list[str]:
        """Words in any script; `rest` keeps every other character, too."""
        text = "".join(" " if c == "\u200b" else c for c in text if c == "\u200b" or not self.hidden(c))
        found: list[str] = []
        last = ""  # kind of the last token while it may still grow
        for c in unicodedata.normalize("NFC", text):
            kind = self.kind(c)
            if kind == "mark" and last:
                found[-1] += c
            elif kind in ("run", "mark"):
                if last == "run":
                    found[-1] += c
                else:
                    found.append(c)
                last = "run"
            elif kind in ("alone", "symbol"):
                found.append(c)
                last = kind
            else:
                if rest and kind == "other":
                    found.append(c)
                last = ""
        return found

    def hidden(self, c: str) -> bool:
        return unicodedata.category(c) == "Cf" or inside(c, ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF)))

    def kind(self, c: str) -> str:
        """What a character is in a text of words."""
        category = unicodedata.category(c)
        if category[0] == "M":
            return "mark"
        if category[0] in "LN":
            return "alone" if category != "Nd" and inside(c, NO_SPACES) else "run"
        return "symbol" if category == "So" else "white" if c in WHITE_SPACE else "other"

    def chinese(self, text: str) -> list[str]:
        """Chinese characters and marks one by one, the rest as for Western languages."""
        found: list[str] = []
        grows = False
        for i, c in enumerate(text):
            before, behind = text[i - 1 : i], text[i + 1 : i + 2]
            digits = ("0" <= before <= "9" if before else False), ("0" <= behind <= "9" if behind else False)
            if c in WHITE_SPACE:
                grows = False
                continue
            own = inside(c, ONE_BY_ONE)
            if c in ".,":
                own = not all(digits)
            elif c == "-":
                own = digits[0]
            elif "!" <= c <= "~" and not c.isalnum() and c != "'":
                own = True
            if grows and not own:
                found[-1] += c
            else:
                found.append(c)
            grows = not own
        return found

    def cut(self, text: str, how: str) -> list[str]:
        """A text as tokens of BLEU."""
        return {"none": self.split, "word": self.words, "char": self.seen, "zh": self.chinese}[how](text)

    def fold(self, text: str) -> str:
        """A text without its case."""
        return text.casefold()

    def content(self, text: str) -> list[str]:
        """A line as tokens of ROUGE."""
        hidden = "".join(c for c in text if c == "\u200b" or not self.hidden(c))
        return self.words(self.fold(unicodedata.normalize("NFC", hidden)), rest=False)

    def lines(self, text: str) -> list[str]:
        """A text as sentences."""
        return text.split("\n")

    # BLEU.

    def options(self, given: Mapping[str, Any]) -> Options:
        for name in given:
            if name not in Options.__slots__:
                raise refuse(f"unknown option {name!r:.60}", "unknown_parameter")
        options = Options(**given)
        value = options.smoothing_value
        sound = (
            options.tokenize in ("none", "word", "char", "zh")
            and options.smoothing in SMOOTHING
            and type(options.max_order) is int
            and 1 <= options.max_order <= 16
            and type(options.effective_order) is bool
            and type(options.fold_case) is bool
        )
        if not sound or (value is not None and not self.value_fits(options.smoothing, value)):
            raise refuse("an option out of range", "invalid_argument")
        return options

    def value_fits(self, smoothing: str, value: Any) -> bool:
        number = type(value) in (int, float) and 0 < value < math.inf
        return number and (smoothing == "add-k" or (smoothing == "floor" and value <= 1))

    def tokens(self, segment: Any, options: Options) -> list[str]:
        if isinstance(segment, str):
            return self.cut(self.fold(segment) if options.fold_case else segment, options.tokenize)
        if options.tokenize != "none":
            raise refuse("tokens where a text is due", "invalid_argument")
        return [self.fold(token) if options.fold_case else token for token in segment]

    def grams(self, tokens: Tokens, n: int) -> dict[tuple[str, ...], int]:
        """Counts of the n-grams of one order."""
        counts: dict[tuple[str, ...], int] = {}
        for i in range(len(tokens) - n + 1):
            gram = tuple(tokens[i : i + n])
            counts[gram] = counts.get(gram, 0) + 1
        return counts

    def clip(self, count: int, held: Sequence[int]) -> int:
        """How many of an n-gram's occurrences count; `held` says how often each reference holds it."""
        return min(count, max(held))

    def matches(self, hypothesis: Tokens, references: Sequence[Tokens], n: int) -> int:
        held = [self.grams(reference, n) for reference in references]
        mine = self.grams(hypothesis, n)
        return sum(self.clip(count, [counts.get(gram, 0) for counts in held]) for gram, count in mine.items())

    def reference_length(self, c: int, lengths: Sequence[int]) -> int:
        """The closest, the shorter of two."""
        return sorted(lengths, key=lambda length: (abs(length - c), length))[0]

    def statistics(self, hypothesis: Tokens, references: Sequence[Tokens], most: int) -> Statistics:
        orders = range(1, most + 1)
        c = len(hypothesis)
        return Statistics(
            [self.matches(hypothesis, references, n) for n in orders],
            [self.total(hypothesis, n) for n in orders],
            [c, self.reference_length(c, [len(reference) for reference in references])],
        )

    def total(self, hypothesis: Tokens, n: int) -> int:
        return max(len(hypothesis) - n + 1, 0)

    def brevity(self, c: int, r: int) -> float:
        if c == 0:
            return 0.0
        return min(1.0, math.exp(1 - r / c))

    def precisions(self, counted: Statistics, options: Options) -> list[float]:
        """Smoothed precisions of the orders that count."""
        value = SMOOTHING[options.smoothing] if options.smoothing_value is None else options.smoothing_value
        found, missed = [], 0
        for n, (m, t) in enumerate(zip(counted.matches, counted.totals, strict=True), 1):
            if t == 0:
                found += [] if options.effective_order else [0.0]
                continue
            missed += m == 0
            found.append(self.precision(n, m, t, options.smoothing, value or 0.0, missed))
        return found

    def precision(self, n: int, m: int, t: int, smoothing: str, value: float, missed: int) -> float:
        """One order's; `missed` counts the orders without a match up to this one."""
        if smoothing == "add-k" and n > 1:
            return (m + value) / (t + value)
        if m == 0 and smoothing == "floor":
            return value / t
        if m == 0 and smoothing == "exp":
            return 0.5**missed / t
        return m / t

    def combined(self, penalty: float, precisions: Sequence[float]) -> float:
        """Penalty times the geometric mean."""
        if min(precisions) <= 0 or penalty == 0:
            return 0.0
        return math.exp(math.log(penalty) + sum(map(math.log, precisions)) / len(precisions))

    def corpus(self, rows: Sequence[Statistics], options: Options) -> float:
        """One score of all segments."""
        whole = Statistics([0] * options.max_order, [0] * options.max_order)
        for row in rows:
            whole.add(row)
        return self.score(whole, options)

    def score(self, counted: Statistics, options: Options) -> float:
        if counted.matches[0] == 0:
            return 0.0
        return self.combined(self.brevity(*counted.lengths), self.precisions(counted, options))

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        checked = self.options(options)
        self.check(hypotheses, references)
        rows = []
        for hypothesis, several in zip(hypotheses, references, strict=True):
            held = [self.reference(self.tokens(reference, checked)) for reference in several]
            rows.append(self.statistics(self.tokens(hypothesis, checked), held, checked.max_order))
        return self.corpus(rows, checked)

    # ROUGE.

    def sentences(self, text: Any) -> list[list[str]]:
        if not isinstance(text, str):
            raise refuse("tokens where a text is due", "invalid_argument")
        return [self.content(line) for line in self.lines(text)]

    def parts(self, m: int, h: int, r: int) -> Parts:
        """Precision, recall and F1 of m shared ones among h and r."""
        if m == 0:
            return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
        precision, recall = m / h, m / r
        return {"precision": precision, "recall": recall, "f1": self.f1(precision, recall)}

    def f1(self, precision: float, recall: float) -> float:
        return 2 * precision * recall / (precision + recall)

    def overlap(self, hypothesis: Tokens, reference: Tokens, n: int) -> Parts:
        """ROUGE-N."""
        mine, theirs = self.grams(hypothesis, n), self.grams(reference, n)
        m = sum(min(count, theirs.get(gram, 0)) for gram, count in mine.items())
        return self.parts(m, sum(mine.values()), sum(theirs.values()))

    def table(self, reference: Tokens, hypothesis: Tokens) -> list[list[int]]:
        """Lengths of longest common subsequences of all beginnings."""
        lengths = [[0] * (len(hypothesis) + 1) for _ in range(len(reference) + 1)]
        for i, x in enumerate(reference, 1):
            for j, y in enumerate(hypothesis, 1):
                lengths[i][j] = lengths[i - 1][j - 1] + 1 if x == y else max(lengths[i - 1][j], lengths[i][j - 1])
        return lengths

    def subsequence(self, reference: Tokens, hypothesis: Tokens) -> set[int]:
        """Positions in the reference, found from the ends; the reference's last token goes before the hypothesis's."""
        lengths, places = self.table(reference, hypothesis), set()
        i, j = len(reference), len(hypothesis)
        while lengths[i][j]:
            if reference[i - 1] == hypothesis[j - 1]:
                i, j = i - 1, j - 1
                places.add(i)
            elif lengths[i - 1][j] == lengths[i][j]:
                i -= 1
            else:
                j -= 1
        return places

    def longest(self, hypothesis: Tokens, reference: Tokens) -> Parts:
        """ROUGE-L."""
        m = self.table(reference, hypothesis)[-1][-1]
        return self.parts(m, len(hypothesis), len(reference))

    def union(self, sentence: Tokens, hypothesis: Sequence[Tokens]) -> set[int]:
        """Positions of a reference sentence that lie on a subsequence with any sentence of the hypothesis."""
        return {i for other in hypothesis for i in self.subsequence(sentence, other)}

    def summed(self, hypothesis: Sequence[Tokens], reference: Sequence[Tokens]) -> Parts:
        """ROUGE-Lsum."""
        left = self.grams([token for sentence in hypothesis for token in sentence], 1)
        h, r, m = sum(left.values()), sum(map(len, reference)), 0
        for sentence in reference:
            for i in sorted(self.union(sentence, hypothesis)):
                if self.spend(left, (sentence[i],)):
                    m += 1
        return self.parts(m, h, r)

    def spend(self, left: dict[tuple[str, ...], int], token: tuple[str, ...]) -> bool:
        """Whether the hypothesis still has a token that is not spent, which then is."""
        left[token] = left.get(token, 0) - 1
        return left[token] >= 0

    def kinds(self, hypothesis: Sequence[Tokens], reference: Sequence[Tokens]) -> dict[str, Parts]:
        mine, theirs = ([token for sentence in text for token in sentence] for text in (hypothesis, reference))
        self.reference(theirs)
        return {
            "rouge1": self.overlap(mine, theirs, 1),
            "rouge2": self.overlap(mine, theirs, 2),
            "rougeL": self.longest(mine, theirs),
            "rougeLsum": self.summed(hypothesis, reference),
        }

    def best(self, scores: Sequence[Parts]) -> Parts:
        """Of several references the largest F1, the first of equals within rounding."""
        top = max(score["f1"] for score in scores)
        return next(score for score in scores if score["f1"] >= top * (1 - 1e-12))

    def mean(self, scores: Sequence[Parts]) -> Parts:
        return {part: sum(score[part] for score in scores) / len(scores) for part in scores[0]}

    def rouge(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> dict[str, Any]:
        if options:
            raise refuse(f"unknown option {min(options)!r:.60}", "unknown_parameter")
        self.check(hypotheses, references)
        segments = []
        for hypothesis, several in zip(hypotheses, references, strict=True):
            mine = self.sentences(hypothesis)
            scores = [self.kinds(mine, self.sentences(reference)) for reference in several]
            segments.append({name: self.best([score[name] for score in scores]) for name in ROUGE})
        return {"mean": {name: self.mean([segment[name] for segment in segments]) for name in ROUGE},
                "segments": segments}  # fmt: skip


class OtherScores(Scores):
    """The same numbers by other formulas: roots of products, F1 from counts, running means."""

    def combined(self, penalty: float, precisions: Sequence[float]) -> float:
        return float(penalty * math.prod(precisions) ** (1 / len(precisions)))

    def brevity(self, c: int, r: int) -> float:
        return 0.0 if c == 0 else 1.0 if c > r else math.e / math.exp(r / c)

    def parts(self, m: int, h: int, r: int) -> Parts:
        made = super().parts(m, h, r)
        return {**made, "f1": m / ((h + r) / 2)} if m else made

    def mean(self, scores: Sequence[Parts]) -> Parts:
        running = dict.fromkeys(scores[0], 0.0)
        for count, score in enumerate(scores, 1):
            running = {part: value + (score[part] - value) / count for part, value in running.items()}
        return running
