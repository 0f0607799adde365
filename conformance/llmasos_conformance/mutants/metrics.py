"""Mutants of metrics: BLEU, ROUGE and perplexity with one documented bug each.

Many are small: on the texts of the suite their scores are off by less than 0.02, or right but for texts of one kind.
"""

from __future__ import annotations

import inspect
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmasos_conformance.mutants.catalogue import Mutant, mutant, record
from llmasos_conformance.mutants.llama_runtime import LlamaRuntime
from llmasos_conformance.mutants.runtime import Runtime, Serving
from llmasos_conformance.mutants.scoring import Options, Parts, Scores, Statistics, Tokens


def scored(name: str, source: str, requirement: str) -> Callable[[type[Scores]], type[Scores]]:
    """Record a Scores subclass; the model beside it is right."""

    def note(kind: type[Scores]) -> type[Scores]:
        runtime = type(kind.__name__, (Runtime,), {"scores": kind})
        record(
            Mutant(
                name=name,
                group="metrics",
                source=source,
                requirement=requirement,
                bug=" ".join((inspect.getdoc(kind) or "").split()),
                adapter=lambda: Serving(runtime, f"mutant:{name}"),
            )
        )
        return kind

    return note


# BLEU.


@scored("bleu-brevity-inverted", "promptfoo/promptfoo#9717", "BLEU-3")
class BrevityInverted(Scores):
    """The brevity penalty is exp(1 - c/r), which rewards brevity."""

    def brevity(self, c: int, r: int) -> float:
        return 1.0 if c >= r else math.exp(1 - c / r)


@scored("bleu-brevity-of-difference", "nltk/nltk#922", "BLEU-4")
class BrevityOfDifference(Scores):
    """r is how far the closest reference is in length, not how long it is."""

    def reference_length(self, c: int, lengths: Sequence[int]) -> int:
        return min(abs(length - c) for length in lengths)


@scored("bleu-shortest-reference", "meta-pytorch/torcheval#195", "BLEU-4")
class ShortestReference(Scores):
    """r is the length of the shortest reference."""

    def reference_length(self, c: int, lengths: Sequence[int]) -> int:
        return min(lengths)


@scored("bleu-tie-first", "Lightning-AI/torchmetrics#3504", "BLEU-4")
class TieFirst(Scores):
    """Of two references equally close in length the one that is listed first counts."""

    def reference_length(self, c: int, lengths: Sequence[int]) -> int:
        return min(lengths, key=lambda length: abs(length - c))


@scored("bleu-empty-reference-closest", "moses-smt/mosesdecoder#185", "BLEU-20")
class EmptyReferenceClosest(Scores):
    """An empty reference is taken like any other."""

    def reference(self, tokens: Tokens) -> Tokens:
        return tokens


@scored("bleu-one-best-reference", "promptfoo/promptfoo#9846", "BLEU-2")
class OneBestReference(Scores):
    """Matches are those with the one reference that has most of them, order by order."""

    def matches(self, hypothesis: Tokens, references: Sequence[Tokens], n: int) -> int:
        return max(super(OneBestReference, self).matches(hypothesis, [reference], n) for reference in references)


@scored("bleu-unclipped", "promptfoo/promptfoo#9846", "BLEU-2")
class Unclipped(Scores):
    """An n-gram that stands in a reference matches as often as the hypothesis repeats it."""

    def clip(self, count: int, held: Sequence[int]) -> int:
        return count if max(held) else 0


@scored("bleu-first-reference", "neulab/xnmt#377", "BLEU-2")
class FirstReference(Scores):
    """All references but the first are ignored."""

    def statistics(self, hypothesis: Tokens, references: Sequence[Tokens], most: int) -> Statistics:
        return super().statistics(hypothesis, references[:1], most)


@scored("bleu-mean-of-references", "facebookresearch/vizseq#17", "BLEU-2")
class MeanOfReferences(Scores):
    """The score is the mean of the scores with each reference alone."""

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        whole = super().bleu(hypotheses, references, **options)
        most = max(map(len, references))
        columns = [[several[min(k, len(several) - 1) :][:1] for several in references] for k in range(most)]
        alone = [super(MeanOfReferences, self).bleu(hypotheses, column, **options) for column in columns]
        return whole if most == 1 else sum(alone) / most


@scored("bleu-mean-of-sentences", "NVIDIA-NeMo/Skills#1408", "BLEU-5")
class MeanOfSentences(Scores):
    """The corpus score is the mean of the sentence scores."""

    def corpus(self, rows: Sequence[Statistics], options: Options) -> float:
        return sum(self.score(row, options) for row in rows) / len(rows)


@scored("bleu-first-segment", "vibrantlabsai/ragas#2888", "BLEU-5")
class FirstSegment(Scores):
    """All segments but the first are lost, because references are listed the other way round."""

    def corpus(self, rows: Sequence[Statistics], options: Options) -> float:
        return super().corpus(rows[:1], options)


@scored("bleu-last-lengths", "open-mmlab/mmeval#66", "BLEU-5")
class LastLengths(Scores):
    """Lengths are those of the last segment, because they are set where they should be added."""

    def corpus(self, rows: Sequence[Statistics], options: Options) -> float:
        whole = Statistics([0] * options.max_order, [0] * options.max_order)
        for row in rows:
            whole.add(row)
        return self.score(Statistics(whole.matches, whole.totals, rows[-1].lengths), options)


@scored("bleu-smoothed-silently", "mjpost/sacrebleu#64", "BLEU-6")
class SmoothedSilently(Scores):
    """Without any smoothing asked for, orders without a match get the precision of exponential smoothing."""

    def precision(self, n: int, m: int, t: int, smoothing: str, value: float, missed: int) -> float:
        return super().precision(n, m, t, "exp" if smoothing == "none" else smoothing, value, missed)


@scored("bleu-empty-orders-left-out", "nltk/nltk#789", "BLEU-6")
class EmptyOrdersLeftOut(Scores):
    """Orders without a match are left out of the mean."""

    def precisions(self, counted: Statistics, options: Options) -> list[float]:
        return [p for p in super().precisions(counted, options) if p] or [0.0]


@scored("bleu-short-is-perfect", "ondrejklejch/MT-ComparEval#25", "BLEU-6")
class ShortIsPerfect(Scores):
    """An order of which there is no n-gram has precision 1."""

    def precisions(self, counted: Statistics, options: Options) -> list[float]:
        totals = [t or 1 for t in counted.totals]
        matches = [m if t else 1 for m, t in zip(counted.matches, counted.totals, strict=True)]
        return super().precisions(Statistics(matches, totals), options)


@scored("bleu-tiny-for-zero", "nltk/nltk#2217", "BLEU-6")
class TinyForZero(Scores):
    """An order without a match has the smallest positive number for its precision."""

    def combined(self, penalty: float, precisions: Sequence[float]) -> float:
        return super().combined(penalty, [p or 2.0**-1022 for p in precisions])


@scored("bleu-unigrams-smoothed", "tensorflow/nmt#488", "BLEU-8")
class UnigramsSmoothed(Scores):
    """Add-k smoothing adds to unigrams, too."""

    def precision(self, n: int, m: int, t: int, smoothing: str, value: float, missed: int) -> float:
        return super().precision(n + 1, m, t, smoothing, value, missed)


@scored("bleu-disjoint-smoothed", "mjpost/sacrebleu#141", "BLEU-10")
class DisjointSmoothed(Scores):
    """Smoothing lifts texts that have nothing in common."""

    def score(self, counted: Statistics, options: Options) -> float:
        if options.smoothing == "none":
            return super().score(counted, options)
        return self.combined(self.brevity(*counted.lengths), self.precisions(counted, options))


@scored("bleu-add-k-to-nothing", "mjpost/sacrebleu#23", "BLEU-8")
class AddKToNothing(Scores):
    """Add-k smoothing gives an order without an n-gram precision v/v."""

    def precisions(self, counted: Statistics, options: Options) -> list[float]:
        found = super().precisions(counted, replace(options, effective_order=False))
        if options.smoothing != "add-k":
            return super().precisions(counted, options)
        return [p if t else 1.0 for p, t in zip(found, counted.totals, strict=True)]


@scored("bleu-exp-by-order", "nltk/nltk#2341", "BLEU-9")
class ExpByOrder(Scores):
    """Exponential smoothing halves by the order instead of by the number of orders without a match."""

    def precision(self, n: int, m: int, t: int, smoothing: str, value: float, missed: int) -> float:
        return super().precision(n, m, t, smoothing, value, n - 1)


@scored("bleu-floor-by-length", "nltk/nltk#2083", "BLEU-7")
class FloorByLength(Scores):
    """Floor smoothing divides by one n-gram too many."""

    def precision(self, n: int, m: int, t: int, smoothing: str, value: float, missed: int) -> float:
        floored = m == 0 and smoothing == "floor"
        return super().precision(n, m, t + 1 if floored else t, smoothing, value, missed)


@scored("bleu-effective-order-by-match", "nltk/nltk#1545", "BLEU-11")
class EffectiveOrderByMatch(Scores):
    """The effective order leaves out orders that have n-grams and no match."""

    def precisions(self, counted: Statistics, options: Options) -> list[float]:
        found = super().precisions(counted, options)
        return [p for p in found if p] or [0.0] if options.effective_order else found


@scored("bleu-order-ignored", "obss/jury#58", "BLEU-12")
class OrderIgnored(Scores):
    """Whatever order is asked for, the score is that of order 4."""

    def options(self, given: Mapping[str, Any]) -> Options:
        return replace(super().options(given), max_order=4)


@scored("bleu-four-decimals", "huggingface/transformers#6704", "BLEU-1")
class FourDecimals(Scores):
    """Scores are rounded to four decimals."""

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        return round(super().bleu(hypotheses, references, **options), 4)


@scored("bleu-tokens-joined", "freesunshine0316/RaST-plus#3", "BLEU-13")
class TokensJoined(Scores):
    """Given tokens are joined to a text and cut at white space again."""

    def tokens(self, segment: Any, options: Options) -> list[str]:
        return super().tokens(segment if isinstance(segment, str) else " ".join(segment), options)


@scored("bleu-ascii-white-space", "redpen-cc/redpen#539", "BLEU-13")
class AsciiWhiteSpace(Scores):
    """Only white space of ASCII separates tokens."""

    def split(self, text: str) -> list[str]:
        return re.split(r"[ \t\n\r\f\v]+", text.strip(" \t\n\r\f\v")) if text.strip(" \t\n\r\f\v") else []


@scored("bleu-marks-cut-words", "bigscience-workshop/lm-evaluation-harness#157", "BLEU-14")
class MarksCutWords(Scores):
    """Combining marks end a word."""

    def kind(self, c: str) -> str:
        return "other" if unicodedata.category(c)[0] == "M" else super().kind(c)


@scored("bleu-not-normalised", "mjpost/sacrebleu#224", "BLEU-14")
class NotNormalised(Scores):
    """Composed and decomposed letters are different letters."""

    def words(self, text: str, *, rest: bool = True) -> list[str]:
        shown = "".join(" " if c == "\u200b" else c for c in text if c == "\u200b" or not self.hidden(c))
        # A character of private use keeps each letter from its mark until the text is cut.
        kept = (
            "\ue000".join(unicodedata.normalize("NFD", shown))
            if shown != unicodedata.normalize("NFC", shown)
            else shown
        )
        return [word for word in super().words(kept, rest=rest) if word != "\ue000"]


@scored("bleu-utf16-characters", "Talend/data-quality#424", "BLEU-15")
class Utf16Characters(Scores):
    """Characters beyond U+FFFF are two."""

    def seen(self, text: str) -> list[str]:
        return [half for c in super().seen(text) for half in ([f"high {ord(c) >> 10}", c] if ord(c) > 0xFFFF else [c])]


@scored("bleu-zh-number-with-mark", "dotnet/extensions#7765", "BLEU-16")
class ZhNumberWithMark(Scores):
    """Tokenisation zh leaves a full stop behind a number in it, whether or not a digit follows."""

    def chinese(self, text: str) -> list[str]:
        return super().chinese(re.sub(r"(?<=[0-9])[.,](?![0-9])", "_", text))


@scored("bleu-zh-beyond-16-bits", "mjpost/sacrebleu#298", "BLEU-16")
class ZhBeyond16Bits(Scores):
    """Tokenisation zh does not know Chinese characters beyond U+FFFF."""

    def chinese(self, text: str) -> list[str]:
        found: list[str] = []
        for token in super().chinese(text):
            if found and min(found[-1][-1], token) > "\uffff":
                found[-1] += token
            else:
                found.append(token)
        return found


@scored("bleu-lower-cased", "NVIDIA/DeepLearningExamples#1019", "BLEU-18")
class LowerCased(Scores):
    """Case never counts."""

    def tokens(self, segment: Any, options: Options) -> list[str]:
        return super().tokens(segment, replace(options, fold_case=True))


@scored("bleu-ascii-lowered", "moses-smt/mosesdecoder#209", "BLEU-18")
class AsciiLowered(Scores):
    """Only letters of ASCII are lowered where case shall not count."""

    def fold(self, text: str) -> str:
        return "".join(c.lower() if c.isascii() else c for c in text)


@scored("bleu-options-ignored", "huggingface/datasets#2674", "BLEU-19")
class OptionsIgnored(Scores):
    """Options that are not known are ignored."""

    def options(self, given: Mapping[str, Any]) -> Options:
        return super().options({name: value for name, value in given.items() if name in Options.__slots__})


@scored("bleu-zip-cuts", "truera/trulens#2748", "BLEU-20")
class ZipCuts(Scores):
    """Of unlike numbers of hypotheses and references the shorter one counts."""

    def check(self, hypotheses: Sequence[Any], references: Sequence[Any]) -> None:
        n = min(len(hypotheses), len(references))
        super().check(hypotheses[:n], references[:n])

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        n = min(len(hypotheses), len(references))
        return super().bleu(hypotheses[:n], references[:n], **options)

    def rouge(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> dict[str, Any]:
        n = min(len(hypotheses), len(references))
        return super().rouge(hypotheses[:n], references[:n], **options)


@scored("bleu-empty-left-out", "modelscope/ms-swift#9962", "BLEU-21")
class EmptyLeftOut(Scores):
    """Segments whose hypothesis is empty are left out."""

    def corpus(self, rows: Sequence[Statistics], options: Options) -> float:
        return super().corpus([row for row in rows if row.lengths[0]], options)


@scored("bleu-tokens-cut-again", "freesunshine0316/RaST-plus#3", "BLEU-17")
class TokensCutAgain(Scores):
    """Tokens with a tokenisation beside are joined and cut by it."""

    def tokens(self, segment: Any, options: Options) -> list[str]:
        joined = not isinstance(segment, str) and options.tokenize != "none"
        return super().tokens(" ".join(segment) if joined else segment, options)


# ROUGE.


@scored("rouge-ascii-only", "huggingface/evaluate#256", "ROUGE-4")
class AsciiOnly(Scores):
    """Only letters and digits of ASCII make words."""

    def content(self, text: str) -> list[str]:
        return re.findall("[a-z0-9]+", text.lower())


@scored("rouge-accents-deleted", "bigscience-workshop/lm-evaluation-harness#157", "ROUGE-4")
class AccentsDeleted(Scores):
    """Letters with accents fall out of words."""

    def content(self, text: str) -> list[str]:
        return super().content("".join(c for c in text if not unicodedata.decomposition(c)))


@scored("rouge-sentences-for-words", "huggingface/evaluate#256", "ROUGE-4")
class SentencesForWords(Scores):
    """Scripts without spaces are cut at spaces."""

    def kind(self, c: str) -> str:
        found = super().kind(c)
        return "run" if found == "alone" else found


@scored("rouge-stemmed", "pltrdy/files2rouge#37", "ROUGE-4")
class Stemmed(Scores):
    """English endings are taken off without being asked for."""

    def content(self, text: str) -> list[str]:
        return [re.sub(r"^([a-z]{3,}?)(?:n?ing|ed|s)$", r"\1", word) for word in super().content(text)]


@scored("rouge-case-counts", "promptfoo/promptfoo#9739", "ROUGE-5")
class CaseCounts(Scores):
    """Case counts."""

    def fold(self, text: str) -> str:
        return text


@scored("rouge-recall-for-f1", "facebookresearch/ParlAI#4729", "ROUGE-1")
class RecallForF1(Scores):
    """F1 is the recall."""

    def f1(self, precision: float, recall: float) -> float:
        return recall


@scored("rouge-recall-weighs", "pltrdy/rouge#38", "ROUGE-2")
class RecallWeighs(Scores):
    """The F of ROUGE-L has a β of 1.2."""

    def longest(self, hypothesis: Tokens, reference: Tokens) -> Parts:
        made = super().longest(hypothesis, reference)
        p, r, weight = made["precision"], made["recall"], 1.2**2
        return {**made, "f1": (1 + weight) * p * r / (r + weight * p)} if p else made


@scored("rouge-distinct-ngrams", "pltrdy/rouge#38", "ROUGE-1")
class DistinctNgrams(Scores):
    """Each distinct n-gram counts once."""

    def overlap(self, hypothesis: Tokens, reference: Tokens, n: int) -> Parts:
        mine, theirs = set(self.grams(hypothesis, n)), set(self.grams(reference, n))
        return self.parts(len(mine & theirs), len(mine), len(theirs))


@scored("rouge-denominators-swapped", "kenlimmj/rouge#12", "ROUGE-2")
class DenominatorsSwapped(Scores):
    """ROUGE-L has precision and recall in each other's places; F1 does not tell."""

    def longest(self, hypothesis: Tokens, reference: Tokens) -> Parts:
        made = super().longest(hypothesis, reference)
        return {**made, "precision": made["recall"], "recall": made["precision"]}


@scored("rouge-longest-run", "nltk/nltk#1993", "ROUGE-2")
class LongestRun(Scores):
    """ROUGE-L is the longest run of words, not the longest subsequence."""

    def longest(self, hypothesis: Tokens, reference: Tokens) -> Parts:
        best, lengths = 0, [0] * (len(hypothesis) + 1)
        for x in reference:
            lengths = [0, *(before + 1 if x == y else 0 for before, y in zip(lengths, hypothesis, strict=False))]
            best = max(best, *lengths)
        return self.parts(best, len(hypothesis), len(reference))


@scored("rouge-greedy-subsequence", "kavgan/ROUGE-2.0#22", "ROUGE-2")
class GreedySubsequence(Scores):
    """The common subsequence is found greedily: each word takes the next place where it fits."""

    def longest(self, hypothesis: Tokens, reference: Tokens) -> Parts:
        m, at = 0, 0
        for token in hypothesis:
            if token in reference[at:]:
                m, at = m + 1, list(reference).index(token, at) + 1
        return self.parts(m, len(hypothesis), len(reference))


@scored("rouge-lsum-unsplit", "lil-lab/newsroom#28", "ROUGE-3")
class LsumUnsplit(Scores):
    """ROUGE-Lsum takes the whole text for one sentence."""

    def summed(self, hypothesis: Sequence[Tokens], reference: Sequence[Tokens]) -> Parts:
        return self.longest(*([token for sentence in text for token in sentence] for text in (hypothesis, reference)))


@scored("rouge-lsum-unbounded", "diegoantognini/py-rouge#2", "ROUGE-3")
class LsumUnbounded(Scores):
    """ROUGE-Lsum counts a word of the hypothesis in every sentence of the reference that it fits."""

    def spend(self, left: dict[tuple[str, ...], int], token: tuple[str, ...]) -> bool:
        return left.get(token, 0) > 0


@scored("rouge-lsum-other-path", "kenlimmj/rouge#7", "ROUGE-3")
class LsumOtherPath(Scores):
    """Of several longest subsequences another one is found: the hypothesis's last token is dropped first."""

    def subsequence(self, reference: Tokens, hypothesis: Tokens) -> set[int]:
        lengths, places = self.table(reference, hypothesis), set()
        i, j = len(reference), len(hypothesis)
        while lengths[i][j]:
            if reference[i - 1] == hypothesis[j - 1]:
                i, j = i - 1, j - 1
                places.add(i)
            elif lengths[i][j - 1] == lengths[i][j]:
                j -= 1
            else:
                i -= 1
        return places


@scored("rouge-mean-of-references", "danieldeutsch/sacrerouge#32", "ROUGE-6")
class RougeMeanOfReferences(Scores):
    """Scores of several references are averaged."""

    def best(self, scores: Sequence[Parts]) -> Parts:
        return self.mean(scores)


@scored("rouge-f1-of-means", "pltrdy/files2rouge#51", "ROUGE-7")
class F1OfMeans(Scores):
    """The F1 of a corpus is made of its mean precision and recall."""

    def mean(self, scores: Sequence[Parts]) -> Parts:
        made = super().mean(scores)
        p, r = made["precision"], made["recall"]
        return {**made, "f1": self.f1(p, r) if p else 0.0}


@scored("rouge-empty-is-perfect", "tracel-ai/burn#4967", "ROUGE-8")
class EmptyIsPerfect(Scores):
    """Nothing among nothing is all of it."""

    def parts(self, m: int, h: int, r: int) -> Parts:
        return super().parts(m, h, r) if h else {"precision": 1.0, "recall": 1.0, "f1": 1.0}


@scored("rouge-options-ignored", "pltrdy/files2rouge#34", "ROUGE-11")
class RougeOptionsIgnored(Scores):
    """Options are taken and ignored."""

    def rouge(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> dict[str, Any]:
        return super().rouge(hypotheses, references)


# Perplexity.


@mutant("perplexity-two-to-the-nats", "huggingface/evaluate#242", "PPL-1")
class TwoToTheNats(Runtime):
    """2 is raised to the mean of natural logarithms."""

    def from_nats(self, mean: float) -> float:
        return float(2.0**mean)


@mutant("perplexity-mean-of-exponentials", "magenta/magenta#239", "PPL-1")
class MeanOfExponentials(Runtime):
    """Each token's loss is exponentiated before the mean is taken."""

    def surprise(self, windows: Sequence[Sequence[float]]) -> tuple[float, int]:
        scored_ = [logprob for window in windows for logprob in window]
        largest = max(-p for p in scored_)
        return largest + math.log(sum(math.exp(-p - largest) for p in scored_) / len(scored_)), len(scored_)


@mutant("perplexity-counts-dropped", "huggingface/transformers#46204", "PPL-2")
class CountsDropped(Runtime):
    """The sum is divided by the number of ids, the first of which has no loss."""

    def surprise(self, windows: Sequence[Sequence[float]]) -> tuple[float, int]:
        mean, count = super().surprise(windows)
        return mean * count / (count + 1), count + 1


@mutant("perplexity-full-length", "facebookresearch/lingua#46", "PPL-7")
class FullLength(Runtime):
    """Only the first window is scored, and its loss divided by the length of the whole text."""

    def perplexity(self, ids: Any, **options: Any) -> dict[str, Any]:
        self.due = max(len(self.led(list(ids))) - 1, 1)
        return super().perplexity(ids, **options)

    def surprise(self, windows: Sequence[Sequence[float]]) -> tuple[float, int]:
        return -sum(windows[0]) / self.due, self.due


@mutant("perplexity-context-scored-again", "ml-explore/mlx-lm#1902", "PPL-7")
class ContextScoredAgain(Runtime):
    """Every window is scored whole, so that tokens in two windows count twice."""

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        for begin, end, _ in super().windows(length, stride):
            yield begin, end, end - begin - 1


@mutant("perplexity-mean-of-windows", "huggingface/transformers#34191", "PPL-7")
class MeanOfWindows(Runtime):
    """The mean of the windows' means is taken, in which a short last window weighs as much as the others."""

    def surprise(self, windows: Sequence[Sequence[float]]) -> tuple[float, int]:
        means = [-sum(window) / len(window) for window in windows]
        return sum(means) / len(means), sum(map(len, windows))


@mutant("perplexity-window-first-lost", "huggingface/transformers#30975", "PPL-7")
class WindowFirstLost(Runtime):
    """The first new token of each window is left out, as if it had been scored in the one before."""

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        for begin, end, count in super().windows(length, stride):
            if count > 1 or not begin:
                yield begin, end, count - (1 if begin else 0)


@mutant("perplexity-first-window-short", "huggingface/transformers#18887", "PPL-7")
class FirstWindowShort(Runtime):
    """The first window is only a stride long, so that its last tokens get less context than there is."""

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        if length <= self.config.C:
            yield from super().windows(length, stride)
            return
        done = 1
        for end in range(stride + 1, length + stride, stride):
            end = min(end, length)
            if end > done:
                yield max(end - self.config.C, 0), end, end - done
                done = end


@mutant("perplexity-last-window-moved", "EleutherAI/lm-evaluation-harness#369", "PPL-7")
class LastWindowMoved(Runtime):
    """The last window is moved back so that it is full, which gives its tokens more context than the others'."""

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        for begin, end, count in super().windows(length, stride):
            yield max(end - self.config.C, 0) if end == length else begin, end, count


@mutant("perplexity-halves-of-chunks", "ggml-org/llama.cpp#2714", "PPL-7")
class HalvesOfChunks(Runtime):
    """Long texts are cut into chunks, of which the second halves are scored."""

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        C = self.config.C
        if length <= C:
            yield from super().windows(length, stride)
            return
        for begin in range(0, length - C + 1, C):
            yield begin, begin + C, C // 2


@mutant("perplexity-in-blocks", "huggingface/transformers#4415", "PPL-6")
class InBlocks(Runtime):
    """Texts are cut into blocks of half the context, which know nothing of each other."""

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        block = max(self.config.C // 2, 2)
        for begin in range(0, length, block):
            end = min(begin + block, length)
            if end - begin > 1:
                yield begin, end, end - begin - 1


@mutant("perplexity-bos-in-every-window", "huggingface/transformers#40524", "PPL-14")
class BosInEveryWindow(Runtime):
    """BOS stands before every window."""

    def window_scores(self, row: Sequence[int], count: int) -> list[float]:
        bos = self.config.bos
        if bos is None or row[0] == bos:
            return super().window_scores(row, count)
        return super().window_scores([bos, *row[1:]], count)


@mutant("perplexity-bos-beyond-context", "huggingface/transformers#40524", "PPL-14")
class BosBeyondContext(Runtime):
    """BOS takes no position of the window: windows lie as if it were not there."""

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        if self.config.bos is None or length <= self.config.C:
            yield from super().windows(length, stride)
            return
        done = 1
        for begin in range(0, length, stride):
            end = min(begin + self.config.C - (1 if begin else 0), length)
            if end > done:
                yield begin, end, end - done
                done = end


@mutant("perplexity-behind-another-id", "EleutherAI/lm-evaluation-harness#1586", "PPL-3")
class BehindAnotherId(Runtime):
    """The first token is conditioned on an id that ends texts, not on the one that begins them."""

    def led(self, ids: list[int]) -> list[int]:
        bos = self.config.bos
        return ids if bos is None or ids[:1] == [bos] else [bos - 1, *ids]


@mutant("perplexity-first-token-lost", "EleutherAI/lm-evaluation-harness#1588", "PPL-3")
class FirstTokenLost(Runtime):
    """BOS is not put before a text, and its first token is not scored."""

    def led(self, ids: list[int]) -> list[int]:
        return ids if len(ids) > 1 else super().led(ids)


@mutant("perplexity-bos-twice", "EleutherAI/lm-evaluation-harness#3333", "PPL-4")
class BosTwice(Runtime):
    """BOS is put before ids that begin with it."""

    def led(self, ids: list[int]) -> list[int]:
        return ids if self.config.bos is None else [self.config.bos, *ids]


@mutant("perplexity-first-token-scored", "EleutherAI/lm-evaluation-harness#1586", "PPL-5")
class FirstTokenScored(Runtime):
    """Without BOS the first token is scored behind id 0."""

    def led(self, ids: list[int]) -> list[int]:
        return super().led(ids) if self.config.bos is not None else [0, *ids]


@mutant("perplexity-floored", "EleutherAI/lm-evaluation-harness#350", "PPL-12")
class Floored(Runtime):
    """Probabilities below 1e-10 count as 1e-10."""

    def window_scores(self, row: Sequence[int], count: int) -> list[float]:
        return [max(logprob, math.log(1e-10)) for logprob in super().window_scores(row, count)]


@mutant("perplexity-largest-number", "tensorflow/tensor2tensor#1502", "PPL-12")
class LargestNumber(Runtime):
    """An overflow is answered with the largest number there is."""

    def from_nats(self, mean: float) -> float:
        return math.exp(min(mean, 709.78))


@mutant("perplexity-nothing-is-one", "huggingface/datasets#4108", "PPL-9")
class NothingIsOne(Runtime):
    """A text without anything to score has perplexity 1."""

    def perplexity(self, ids: Any, **options: Any) -> dict[str, Any]:
        if len(self.led(list(ids))) < 2:
            return {"perplexity": 1.0, "tokens": 0}
        return super().perplexity(ids, **options)


@mutant("perplexity-stride-clamped", "ohdearquant/lattice#30", "PPL-8")
class StrideClamped(Runtime):
    """A stride out of range is moved into it."""

    def stride(self, options: Mapping[str, Any]) -> int:
        given = options.get("stride")
        if isinstance(given, int):
            options = {**options, "stride": min(max(given, 1), max(self.config.C - 1, 1))}
        return super().stride(options)


@mutant("perplexity-options-ignored", "strongio/torch-kalman#26", "PPL-11")
class PerplexityOptionsIgnored(Runtime):
    """Options that are not known are ignored."""

    def stride(self, options: Mapping[str, Any]) -> int:
        return super().stride({name: value for name, value in options.items() if name == "stride"})


@mutant("perplexity-ids-clipped", "vllm-project/vllm#35937", "PPL-10")
class IdsClipped(Runtime):
    """Ids beyond the vocabulary are taken for its last, negative ones for its first."""

    def perplexity(self, ids: Any, **options: Any) -> dict[str, Any]:
        return super().perplexity([min(max(i, 0), self.config.V - 1) for i in ids], **options)


@mutant("perplexity-in-half", "vllm-project/vllm#3653", "PPL-1")
class InHalf(Runtime):
    """Log-probabilities are rounded to float16 before they are added up."""

    def window_scores(self, row: Sequence[int], count: int) -> list[float]:
        import numpy as np

        return [float(np.float16(logprob)) for logprob in super().window_scores(row, count)]


# Perplexity of a Llama.


@mutant("llama-perplexity-two-to-the-nats", "huggingface/evaluate#242", "PPL-1")
class LlamaTwoToTheNats(TwoToTheNats, LlamaRuntime):
    """2 is raised to the mean of natural logarithms, in a Llama."""


class ScoredApart(LlamaRuntime):
    """A runtime that knows when it scores a text."""

    scoring = False

    def window_scores(self, row: Sequence[int], count: int) -> list[float]:
        self.scoring = True
        try:
            return super().window_scores(row, count)
        finally:
            self.scoring = False


@mutant("llama-perplexity-default-base", "turboderp-org/exllamav2#68", "PPL-1")
class LlamaDefaultBase(ScoredApart):
    """What scores texts opens the model with the default rotary base."""

    def base(self) -> float:
        return 10000.0 if self.scoring else super().base()


@mutant("llama-perplexity-window-lost", "axolotl-ai-cloud/axolotl#732", "PPL-1")
class LlamaWindowLost(ScoredApart):
    """Losses are taken under a causal mask, whatever window the model has."""

    def reach(self, layer: int) -> int | None:
        return None if self.scoring else super().reach(layer)


@mutant("llama-perplexity-counts-dropped", "huggingface/transformers#46204", "PPL-2")
class LlamaCountsDropped(CountsDropped, LlamaRuntime):
    """The sum is divided by the number of ids of a Llama, the first of which has no loss."""


@mutant("llama-perplexity-first-token-lost", "EleutherAI/lm-evaluation-harness#1588", "PPL-3")
class LlamaFirstTokenLost(FirstTokenLost, LlamaRuntime):
    """BOS is not put before a text of a Llama, and its first token is not scored."""


@mutant("llama-perplexity-bos-twice", "EleutherAI/lm-evaluation-harness#3333", "PPL-4")
class LlamaBosTwice(BosTwice, LlamaRuntime):
    """BOS is put before ids that a tokenizer of Llama made, which begin with it."""


@mutant("llama-perplexity-first-token-scored", "EleutherAI/lm-evaluation-harness#1586", "PPL-5")
class LlamaFirstTokenScored(FirstTokenScored, LlamaRuntime):
    """The first token is scored behind an id that is taken for Llama's BOS where there is none."""


@mutant("llama-perplexity-in-blocks", "huggingface/transformers#4415", "PPL-6")
class LlamaInBlocks(InBlocks, LlamaRuntime):
    """Texts of a Llama are cut into blocks of half the context, which know nothing of each other."""


@mutant("llama-perplexity-beyond-context", "EleutherAI/lm-evaluation-harness#2467", "PPL-7")
class LlamaBeyondContext(LlamaRuntime):
    """A text of any length is scored in one pass: no table of positions ends."""

    def windows(self, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
        yield 0, length, length - 1


@mutant("llama-perplexity-bos-in-every-window", "huggingface/transformers#40524", "PPL-14")
class LlamaBosInEveryWindow(BosInEveryWindow, LlamaRuntime):
    """BOS stands before every window, because the model has never seen a text without it."""


@mutant("llama-perplexity-stride-clamped", "ohdearquant/lattice#30", "PPL-8")
class LlamaStrideClamped(StrideClamped, LlamaRuntime):
    """A stride out of range is moved into it, in a Llama."""


@mutant("llama-perplexity-nothing-is-one", "huggingface/datasets#4108", "PPL-9")
class LlamaNothingIsOne(NothingIsOne, LlamaRuntime):
    """A text without anything to score has perplexity 1, in a Llama."""


@mutant("llama-perplexity-ids-clipped", "vllm-project/vllm#35937", "PPL-10")
class LlamaIdsClipped(IdsClipped, LlamaRuntime):
    """Ids beyond the vocabulary of a Llama are taken for its last, negative ones for its first."""
