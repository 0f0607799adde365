"""How good texts and models are: perplexity, BLEU, ROUGE. All of it is computed in float64 from exact counts.

    perplexity(model, text)          of a causal model on a text, on ids, or on a corpus of either
    from_logprobs(logprobs)          the same from log-probabilities that are there already
    bleu(hypotheses, references)     of a corpus; of one sentence when the corpus has one
    rouge(hypotheses, references)    ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum of each segment, and their means

Statistics are kept apart from the numbers made of them, and add up: `Perplexity`, `Bleu` and `Rouge` of two halves of a
corpus are added to that of the whole, where an average of averages would be wrong.

What is refused, as InvalidArgument: no segment, unlike numbers of hypotheses and references, a segment without a
reference, a reference without a token. A hypothesis without a token is an answer, and a bad one: it scores 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral, Real
from typing import Any, Protocol, TypeVar

import numpy as np

from llmasos import generation
from llmasos.config import ModelConfig
from llmasos.errors import ContextOverflow, InvalidArgument, Unsupported, shown
from llmasos.tokenizer import check_text
from llmasos.words import TOKENISERS, content

Text = str | Sequence[str]
"""A text, or its tokens."""

Token = TypeVar("Token")

CAUSAL = ("GPT-3", "Llama")
"""Architectures that give each token a probability from those before it alone."""


class Causal(Protocol):
    """What perplexity needs of a model; `llmasos.Model` has it."""

    @property
    def config(self) -> ModelConfig: ...
    def tokenize(self, text: str) -> list[int]: ...
    def score(self, ids: Sequence[int]) -> list[float | None]: ...


# ── perplexity ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """What a model's surprise at a text amounts to. Two of them add up to that of both texts.

    Attributes:
        bits: -Σ log₂ p of the scored tokens; infinite if one of them had probability 0.
        tokens: N, the number of scored tokens.
    """

    bits: float
    tokens: int

    @property
    def value(self) -> float:
        """2^(bits / N), at least 1; infinite where bits are, or where float64 ends."""
        try:
            return math.exp2(self.bits / self.tokens)
        except OverflowError:
            return math.inf

    def __add__(self, other: Perplexity) -> Perplexity:
        return Perplexity(bits=self.bits + other.bits, tokens=self.tokens + other.tokens)


def perplexity(model: Causal, text_or_ids: str | Sequence[Any], *, stride: int | None = None) -> Perplexity:
    """How many tokens a model hesitates between, on average, at each token of a text.

    Computes 2^(-(1/N) Σ log₂ p(wᵢ | w₁ … wᵢ₋₁)) over the N scored tokens.

    The first token is scored behind BOS if the model has one, and not at all if not. BOS itself is never scored, and
    ids that begin with it get no second. A text that does not fit the context goes through the model in windows; see
    `windows`.

    Args:
        model: a causal one.
        text_or_ids: a text, its ids, or a list of texts or of lists of ids, which are a corpus: its tokens count alike,
            whatever text they belong to.
        stride: from one window to the next, 1 to context_length - 1; None takes half the context.

    Returns:
        The sums; `.value` is the perplexity.

    Raises:
        InvalidArgument: nothing to score, an id outside the vocabulary, a text that is not Unicode, a stride out of
            range.
        ContextOverflow: more than one token for a context of 1.
        Unsupported: the architecture is not causal, or a text is given and the model has no tokenizer.

    Source:
        LLMasOS document 4.2; LLMasOS standard, PPL-1 to PPL-14.
    """
    if model.config.architecture not in CAUSAL:
        hint = f"perplexity is of causal models: {', '.join(CAUSAL)}"
        raise Unsupported(f"{model.config.architecture} gives no probability to a text token by token", "model", hint)
    documents, where = _documents(text_or_ids)
    total = Perplexity(bits=0.0, tokens=0)
    for i, document in enumerate(documents):
        place = where.format(i)
        ids = model.tokenize(document) if isinstance(document, str) else _ids(model.config, document, place)
        scored = [p for p in logprobs(model, ids, stride=stride) if p is not None]
        if not scored:
            hint = "give a token to score: one behind BOS, or two without"
            raise InvalidArgument("holds nothing to score", place, hint)
        total += from_logprobs(scored)
    return total


def _documents(given: str | Sequence[Any]) -> tuple[Sequence[Any], str]:
    """The texts of an argument, and how errors name the i-th."""
    if isinstance(given, str):
        return [given], "text"
    if not isinstance(given, Sequence | np.ndarray):
        raise InvalidArgument(f"expected a text, ids, or a list of them, found {type(given).__name__}", "text_or_ids")
    if len(given) and all(isinstance(item, str | Sequence | np.ndarray) for item in given):
        return given, "corpus[{}]"
    return [given], "ids"


def _ids(config: ModelConfig, ids: Sequence[int], where: str) -> list[int]:
    try:
        return generation.check_ids(config, ids)
    except InvalidArgument as error:
        raise InvalidArgument(error.what, error.where.replace("ids", where, 1), error.hint) from None


def logprobs(model: Causal, ids: Sequence[int], *, stride: int | None = None) -> list[float | None]:
    """Natural-log probability of each id given those before it, as perplexity takes it: windows, BOS.

    Args:
        model, stride: as in `perplexity`. ids: T of them, checked.

    Returns:
        [T]; None for an id that is not scored: the first without BOS, a BOS at the beginning.

    Raises:
        InvalidArgument: a stride out of range. ContextOverflow: more than one token for a context of 1.

    Source:
        LLMasOS standard, PPL-3 to PPL-8.
    """
    C, bos = model.config.context_length, model.config.bos_token_id
    step = _stride(stride, C)
    led = [*([] if bos is None or list(ids[:1]) == [bos] else [bos]), *ids]
    found: list[float | None] = [None] * min(len(led), 1)
    for begin, end, first in windows(len(led), C, step):
        found += model.score(led[begin:end])[first - begin :]
    return found[len(led) - len(ids) :]


def _stride(stride: int | None, C: int) -> int:
    if stride is None:
        return max(C // 2, 1)
    if not isinstance(stride, Integral) or isinstance(stride, bool) or not 1 <= stride <= max(C - 1, 1):
        raise InvalidArgument(f"expected an integer, found {shown(stride)}", "stride", f"1 to {max(C - 1, 1)}")
    return int(stride)


def windows(length: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Where windows over a sequence lie: begin, end, and the first position that is scored in it.

    A window begins at each multiple of the stride, holds at most `context` positions, and is the last one when it
    reaches the end. A position is scored in the first window that holds it, so that none is scored twice or left out,
    and in every window but the first it has at least context - stride positions before it. Behind what a position is
    scored does not depend on what follows it.

    Args:
        length: of the sequence, BOS included. context: at least 1. stride: 1 to context - 1.

    Raises:
        ContextOverflow: a context of 1 holds no token together with one before it.

    Source:
        LLMasOS standard, PPL-7. Windows that begin at multiples of the stride are those of transformers' guide to
        perplexity, which drops the first position of a window when the stride equals the context.
    """
    if length < 2:
        return
    if context < 2:
        raise ContextOverflow("a context of 1 has no room for a token and one before it", "ids", "use a longer context")
    begin, first = 0, 1
    while first < length:
        end = min(begin + context, length)
        yield begin, end, first
        begin, first = begin + stride, end


def from_logprobs(logprobs: Iterable[float | None]) -> Perplexity:
    """Perplexity from natural-log probabilities.

    Computes 2^(-(1/N) Σ log₂ p) with log₂ p = ln p / ln 2 over the N entries that are not None.

    Args:
        logprobs: one per token, at most 0; -inf for probability 0; None for a token that is not scored.

    Raises:
        InvalidArgument: NaN, a number above 0, or nothing to score.

    Source:
        LLMasOS document 4.2.
    """
    scored: list[float] = []
    for i, logprob in enumerate(logprobs):
        if logprob is None:
            continue
        number = _real(logprob)
        if not number <= 0:  # NaN fails every comparison
            hint = "natural logarithms of probabilities are numbers up to 0; -inf stands for probability 0"
            raise InvalidArgument(f"expected a log-probability, found {shown(logprob)}", f"logprobs[{i}]", hint)
        scored.append(number)
    if not scored:
        raise InvalidArgument("nothing to score", "logprobs", "give at least one that is not None")
    return Perplexity(bits=-math.fsum(scored) / math.log(2), tokens=len(scored))


def _real(value: object) -> float:
    """A real number as float64; NaN for anything else."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return -math.inf if value < 0 else math.inf


# ── segments ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _segments(
    hypotheses: Sequence[Any], references: Sequence[Any], tokens: Callable[[Any, str], list[Token]]
) -> Iterator[tuple[list[Token], list[list[Token]]]]:
    """Each hypothesis and its references as tokens.

    Args:
        hypotheses: S. references: S lists, each of at least one.
        tokens: what is compared, from a text and its name in errors; empty if nothing.

    Raises:
        InvalidArgument: naming hypothesis or reference by its indices.
    """
    for name, given in (("hypotheses", hypotheses), ("references", references)):
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise InvalidArgument(f"expected a list, found {type(given).__name__}", name, "give a list of segments")
    if len(hypotheses) != len(references):
        what = f"{len(hypotheses)} hypotheses and {len(references)} lists of references"
        raise InvalidArgument(what, "references", "give one list of references for each hypothesis")
    if not hypotheses:
        raise InvalidArgument("no segments", "hypotheses", "give at least one")
    for i, (hypothesis, several) in enumerate(zip(hypotheses, references, strict=True)):
        place = f"references[{i}]"
        if isinstance(several, str) or not isinstance(several, Sequence):
            raise InvalidArgument(f"expected a list of references, found {shown(several)}", place, "wrap it in a list")
        if not several:
            raise InvalidArgument("no reference", place, "give at least one, or leave the segment out")
        rows = [tokens(reference, f"{place}[{j}]") for j, reference in enumerate(several)]
        empty = next((j for j, row in enumerate(rows) if not row), None)
        if empty is not None:
            hint = "nothing can be compared with it; leave it out"
            raise InvalidArgument(f"no token in {shown(several[empty])}", f"{place}[{empty}]", hint)
        yield tokens(hypothesis, f"hypotheses[{i}]"), rows


def _ngrams(tokens: Sequence[Token], most: int) -> Counter[tuple[Token, ...]]:
    """How often each n-gram occurs, for all orders up to `most`; the length of a key is its order."""
    tails = [tokens[i:] for i in range(most)]
    return Counter(chain.from_iterable([zip(*tails[:n], strict=False) for n in range(1, most + 1)]))


def _matches(
    hypothesis: Mapping[tuple[Token, ...], int], references: Sequence[Mapping[tuple[Token, ...], int]], most: int
) -> list[int]:
    """Per order, how many n-grams of the hypothesis stand in a reference.

    Each counts at most as often as in the reference that holds it most often: Σ min(count, max over references).
    """
    due = references[0]
    for counts in references[1:]:  # the largest counts, of n-grams that the hypothesis has
        more = counts.get
        due = {gram: max(due.get(gram, 0), more(gram, 0)) for gram in hypothesis}
    found, bound = [0] * most, due.get
    for gram, count in hypothesis.items():
        if limit := bound(gram):
            found[len(gram) - 1] += count if count < limit else limit
    return found


# ── BLEU ────────────────────────────────────────────────────────────────────────────────────────────────────────────

SMOOTHING: Mapping[str, float | None] = {"none": None, "floor": 0.1, "add-k": 1.0, "exp": None}
"""Ways to treat n-gram orders without a match, with the value that each takes by default."""

MAX_ORDER = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Bleu:
    """Counts of a corpus, and the score that follows from them. Two of them with equal options add up.

    Letters: m_n matches and t_n n-grams of order n, c and r lengths, M orders.

    Attributes:
        matches: m_1 … m_M, n-grams of the hypotheses, each counted at most as often as in one reference.
        totals: t_1 … t_M, n-grams of the hypotheses.
        hypothesis_length: c. reference_length: r, the sum of the closest reference lengths.
        smoothing, smoothing_value, effective_order: as in `bleu`.
    """

    matches: tuple[int, ...]
    totals: tuple[int, ...]
    hypothesis_length: int
    reference_length: int
    smoothing: str = "none"
    smoothing_value: float | None = None
    effective_order: bool = False

    @property
    def precisions(self) -> tuple[float, ...]:
        """p_1 … p_M, smoothed; see `bleu`. 0 for an order of which the hypotheses have no n-gram."""
        found, without = [], 0
        for n, (m, t) in enumerate(zip(self.matches, self.totals, strict=True), 1):
            p = m / t if t else 0.0
            if t and self.smoothing == "add-k" and n > 1:
                assert self.smoothing_value is not None
                p = (m + self.smoothing_value) / (t + self.smoothing_value)
            elif t and m == 0 and self.smoothing == "floor":
                assert self.smoothing_value is not None
                p = self.smoothing_value / t
            elif t and m == 0 and self.smoothing == "exp":
                without += 1
                p = 1 / (2**without * t)
            found.append(p)
        return tuple(found)

    @property
    def brevity_penalty(self) -> float:
        """1 for c >= r, else exp(1 - r/c); 0 for hypotheses without a token."""
        c, r = self.hypothesis_length, self.reference_length
        return 1.0 if c >= r else math.exp(1 - r / c) if c else 0.0

    @property
    def score(self) -> float:
        """0 … 1; see `bleu`."""
        if self.matches[0] == 0:
            return 0.0  # whatever the smoothing: texts that share no token share nothing
        orders = sum(t > 0 for t in self.totals) if self.effective_order else len(self.totals)
        precisions = self.precisions[:orders]
        if 0.0 in precisions:
            return 0.0
        return self.brevity_penalty * math.exp(math.fsum(map(math.log, precisions)) / orders)

    def __add__(self, other: Bleu) -> Bleu:
        mine, theirs = (
            (each.smoothing, each.smoothing_value, each.effective_order, len(each.totals)) for each in (self, other)
        )
        if mine != theirs:
            raise InvalidArgument(f"options {mine} and {theirs} differ", "bleu", "add counts of equal options")
        return Bleu(
            matches=tuple(a + b for a, b in zip(self.matches, other.matches, strict=True)),
            totals=tuple(a + b for a, b in zip(self.totals, other.totals, strict=True)),
            hypothesis_length=self.hypothesis_length + other.hypothesis_length,
            reference_length=self.reference_length + other.reference_length,
            smoothing=self.smoothing,
            smoothing_value=self.smoothing_value,
            effective_order=self.effective_order,
        )


def bleu(
    hypotheses: Sequence[Text],
    references: Sequence[Sequence[Text]],
    *,
    tokenize: str = "none",
    max_order: int = 4,
    smoothing: str = "none",
    smoothing_value: float | None = None,
    effective_order: bool = False,
    fold_case: bool = False,
) -> Bleu:
    """How much of a translation stands in reference translations: n-gram precision with a penalty for brevity.

    Computes BP · exp((1/M) Σ ln p_n) over the orders n = 1 … M, with p_n = m_n / t_n and BP = exp(1 - r/c) for c < r,
    else 1. m_n and t_n are sums over all segments: n-grams of the hypothesis, in m_n each counted at most as often as
    it occurs in that reference of the segment that holds it most often. c is the number of tokens of the hypotheses, r
    that of the references, each segment's closest in length to its hypothesis, the shorter one of two equally close.

    Where a p_n is 0 the score is 0. Smoothing replaces such precisions, but never lifts the score of hypotheses that
    share no token with their references:

        floor   p_n = v / t_n where m_n = 0
        add-k   p_n = (m_n + v) / (t_n + v) for n > 1
        exp     p_n = 1 / (2^j t_n) for the j-th n with m_n = 0

    An order of which the hypotheses have no n-gram (t_n = 0) has precision 0 in all of these. With `effective_order`
    such orders do not count, and M is the longest that occurs.

    Args:
        hypotheses: S texts, or lists of tokens. references: S lists of at least one text or list of tokens.
        tokenize: a name of `words.TOKENISERS`; lists of tokens are taken as they are and go with "none" alone.
        max_order: M, 1 to 16.
        smoothing: "none", "floor", "add-k" or "exp".
        smoothing_value: v; None takes 0.1 for "floor" (up to 1 is allowed) and 1 for "add-k".
        effective_order: leave out orders that the hypotheses have no n-gram of.
        fold_case: compare without regard to case (full case folding).

    Returns:
        The counts; `.score` is the score, from 0 to 1.

    Raises:
        InvalidArgument: see the module; an option out of range; tokens where texts are due.

    Source:
        LLMasOS document 3.3; Papineni et al., ACL 2002. Smoothing: Chen and Cherry, WMT 2014, methods 1 to 3.
        LLMasOS standard, BLEU-1 to BLEU-21.
    """
    _choice(tokenize, "tokenize", TOKENISERS)
    _choice(smoothing, "smoothing", SMOOTHING)
    for name, flag in (("effective_order", effective_order), ("fold_case", fold_case)):
        if not isinstance(flag, bool):
            raise InvalidArgument(f"expected a boolean, found {shown(flag)}", name)
    if not isinstance(max_order, Integral) or isinstance(max_order, bool) or not 1 <= max_order <= MAX_ORDER:
        raise InvalidArgument(f"expected an integer, found {shown(max_order)}", "max_order", f"1 to {MAX_ORDER}")
    M, value = int(max_order), _smoothing_value(smoothing, smoothing_value)
    matches, totals, c, r = [0] * M, [0] * M, 0, 0
    for hypothesis, several in _segments(hypotheses, references, _tokeniser(tokenize, fold_case)):
        length = len(hypothesis)
        c += length
        r += min((abs(len(reference) - length), len(reference)) for reference in several)[1]
        found = _matches(_ngrams(hypothesis, M), [_ngrams(reference, M) for reference in several], M)
        for n in range(M):
            matches[n] += found[n]
            totals[n] += max(length - n, 0)
    return Bleu(
        matches=tuple(matches), totals=tuple(totals), hypothesis_length=c, reference_length=r, smoothing=smoothing,
        smoothing_value=value, effective_order=effective_order,
    )  # fmt: skip


def _choice(value: object, where: str, known: Iterable[str]) -> None:
    if not isinstance(value, str) or value not in known:
        raise InvalidArgument(f"{shown(value)} is not known", where, f"one of {', '.join(known)}")


def _smoothing_value(smoothing: str, value: object) -> float | None:
    default = SMOOTHING[smoothing]
    if value is None:
        return default
    if default is None:
        raise InvalidArgument(f"smoothing {smoothing!r} takes no value", "smoothing_value", "leave it out")
    most = 1.0 if smoothing == "floor" else math.inf
    number = _real(value)
    if not 0 < number <= most or math.isinf(number):
        due = "a number above 0 and up to 1" if smoothing == "floor" else "a finite number above 0"
        raise InvalidArgument(f"expected {due}, found {shown(value)}", "smoothing_value")
    return number


def _tokeniser(tokenize: str, fold_case: bool) -> Callable[[Text, str], list[str]]:
    """A text or a list of tokens, and its name in errors -> its tokens."""
    cut = TOKENISERS[tokenize]

    def tokens(given: Text, where: str) -> list[str]:
        if isinstance(given, str):
            text = check_text(given, where)
            return cut(text.casefold() if fold_case else text)
        if not isinstance(given, Sequence):
            raise InvalidArgument(f"expected a text or a list of tokens, found {shown(given)}", where)
        if tokenize != "none":
            hint = "give a text, or tokenize 'none'"
            raise InvalidArgument(f"a list of tokens, and tokenize is {tokenize!r}", where, hint)
        checked = [check_text(token, f"{where}[{k}]") for k, token in enumerate(given)]
        return [token.casefold() for token in checked] if fold_case else checked

    return tokens


# ── ROUGE ───────────────────────────────────────────────────────────────────────────────────────────────────────────

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@dataclass(frozen=True, slots=True, kw_only=True)
class RougeScore:
    """Overlap of two texts, each number from 0 to 1.

    Attributes:
        precision: share of the hypothesis that stands in the reference.
        recall: share of the reference that stands in the hypothesis.
        f1: harmonic mean of both.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rouge:
    """ROUGE of a corpus. Two of them add up to that of both.

    Attributes:
        segments: per segment, name of ROUGE -> score.
    """

    segments: Sequence[Mapping[str, RougeScore]]

    @property
    def mean(self) -> dict[str, RougeScore]:
        """Name of ROUGE -> arithmetic means over the segments, of each number by itself."""
        return {name: _mean([scores[name] for scores in self.segments]) for name in ROUGE}

    def __add__(self, other: Rouge) -> Rouge:
        return Rouge(segments=[*self.segments, *other.segments])


def rouge(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Rouge:
    """How much of reference summaries stands in a summary.

    With m what both texts share, h and r what the hypothesis and the reference have: precision m/h, recall m/r,
    F1 2m/(h + r); each is 0 where m is.

        rouge1, rouge2  m n-grams of order 1 and 2, each counted at most as often as in either text
        rougeL          m the length of a longest common subsequence of all tokens
        rougeLsum       sentences end at line feeds; a token of a reference sentence is shared if it lies on the longest
                        common subsequence with any sentence of the hypothesis, and each token is shared at most as
                        often as the hypothesis holds it; see `union_lcs`

    Of several references the one with the largest F1 counts, the first of equals, for each kind of ROUGE by itself.
    Tokens are words in any script without regard to case, punctuation left out; nothing is stemmed. See `words`.

    Args:
        hypotheses: S texts. references: S lists of at least one text.

    Raises:
        InvalidArgument: see the module.

    Source:
        LLMasOS document 3.3; Lin, ACL workshop 2004. LLMasOS standard, ROUGE-1 to ROUGE-11.
    """
    segments = []
    for hypothesis, several in _segments(hypotheses, references, _sentences):
        scores = [_rouge(hypothesis, reference) for reference in several]
        segments.append({name: max((score[name] for score in scores), key=lambda one: one.f1) for name in ROUGE})
    return Rouge(segments=segments)


def _sentences(text: object, where: str) -> list[list[str]]:
    """Tokens of each line; lines without tokens are left out."""
    return [tokens for line in check_text(text, where).split("\n") if (tokens := content(line))]


def _rouge(hypothesis: Sequence[list[str]], reference: Sequence[list[str]]) -> dict[str, RougeScore]:
    """All kinds of ROUGE of sentences against sentences."""
    mine, theirs = list(chain.from_iterable(hypothesis)), list(chain.from_iterable(reference))
    h, r = len(mine), len(theirs)
    if len(hypothesis) == len(reference) == 1:
        whole = union = lcs_length(theirs, mine)
    else:
        whole, union = lcs_length(theirs, mine), union_lcs(reference, hypothesis)
    unigrams, bigrams = _matches(_ngrams(mine, 2), [_ngrams(theirs, 2)], 2)
    return {
        "rouge1": _f1(unigrams, h, r),
        "rouge2": _f1(bigrams, h - 1, r - 1),
        "rougeL": _f1(whole, h, r),
        "rougeLsum": _f1(union, h, r),
    }


def _f1(m: int, h: int, r: int) -> RougeScore:
    if m == 0:
        return RougeScore(precision=0.0, recall=0.0, f1=0.0)
    # One rounded division each, so that equal fractions are equal floats and the first of equal references is found.
    return RougeScore(precision=m / h, recall=m / r, f1=2 * m / (h + r))


def _mean(scores: Sequence[RougeScore]) -> RougeScore:
    precision, recall, f1 = (
        math.fsum(getattr(score, part) for score in scores) / len(scores) for part in ("precision", "recall", "f1")
    )
    return RougeScore(precision=precision, recall=recall, f1=f1)


def _rows(a: Sequence[Token], b: Sequence[Token]) -> Iterator[int]:
    """Rows of the table L[j][i], length of a longest common subsequence of b[:j] and a[:i], one per j from 1.

    A row is an integer whose bit i is 0 where L[j][i + 1] = L[j][i] + 1: with M the positions in a of b's next token,
    V' = (V + (V & M)) | (V & ~M). A whole row costs a few operations on one integer.

    Source:
        Hyyrö, Bit-parallel LCS-length computation revisited, 2004.
    """
    places: dict[Token, int] = {}
    for i, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << i
    everything = (1 << len(a)) - 1
    row = everything
    for token in b:
        matching = row & places.get(token, 0)
        row = (row + matching | row - matching) & everything
        yield row


def lcs_length(a: Sequence[Token], b: Sequence[Token]) -> int:
    """Length of a longest common subsequence: the zero bits of the last row."""
    row = (1 << len(a)) - 1
    for row in _rows(a, b):  # noqa: B007 -- the last one is wanted
        pass
    return len(a) - row.bit_count()


def lcs_positions(reference: Sequence[Token], hypothesis: Sequence[Token]) -> list[int]:
    """Positions in the reference of a longest common subsequence.

    Where there are several, one is found from the ends: last tokens that are equal are taken; else the reference's last
    token is dropped if the rest has as long a common subsequence, else the hypothesis's.

    Args:
        reference: r tokens. hypothesis: h tokens.

    Returns:
        Positions from 0, from the last to the first.

    Source:
        LLMasOS standard, ROUGE-3; the same choice as in rouge-score.
    """
    rows = list(_rows(reference, hypothesis))
    i, j, found = len(reference), len(hypothesis), []
    while i and j:
        if reference[i - 1] == hypothesis[j - 1]:
            found.append(i - 1)
            i, j = i - 1, j - 1
        elif rows[j - 1] >> (i - 1) & 1:  # L[j][i] = L[j][i - 1]
            i -= 1
        else:
            j -= 1
    return found


def union_lcs(reference: Sequence[Sequence[Token]], hypothesis: Sequence[Sequence[Token]]) -> int:
    """Tokens that sentences share, ROUGE-Lsum's m.

    Of each reference sentence those tokens count that lie on the longest common subsequence (`lcs_positions`) with at
    least one sentence of the hypothesis, and over all sentences each distinct token at most as often as the hypothesis
    holds it.

    Args:
        reference, hypothesis: sentences as lists of tokens.

    Source:
        Lin, ACL workshop 2004, section 3.2. The paper does not bound the counts; its own program does.
    """
    shared: Counter[Token] = Counter()
    for sentence in reference:
        positions = {i for other in hypothesis for i in lcs_positions(sentence, other)}
        shared.update(sentence[i] for i in positions)
    return (shared & Counter(chain.from_iterable(hypothesis))).total()
