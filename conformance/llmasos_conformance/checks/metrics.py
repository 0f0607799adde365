"""Metrics: BLEU and ROUGE are what their counts make of them, perplexity is what the model's logits make of it.

Scores of fixed texts stand in the cases as counts, from which the judge computes them; those of drawn texts come from
the reference. What rounding may cost is derived in `numerics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import LENGTH, PROBE, draw_ids, draw_other, told
from llmasos_conformance.inputs import pick, shuffled
from llmasos_conformance.protocol import REFUSAL_CODES, ROUGE, ROUGE_PARTS
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

SEGMENT = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "description": "a text, or its tokens",
}
HYPOTHESES = {"type": "array", "items": SEGMENT, "description": "one for each segment"}
REFERENCES = {
    "type": "array",
    "items": {"type": "array", "items": SEGMENT},
    "description": "one or more for each segment",
}
OPTIONS = {"type": "object", "default": {}, "description": "options of the metric, as sent"}
NAME = {"type": "string", "description": "for the message of a failure"}
RANGE = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "minItems": 2,
    "maxItems": 2,
    "description": "smallest and largest number",
}


def _object(properties: Mapping[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    """JSON Schema of a closed object."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": sorted(set(properties) - set(optional)),
        "additionalProperties": False,
    }


def _rows(properties: Mapping[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    description = "each asked on its own"
    return {"type": "array", "minItems": 1, "items": _object(properties, optional), "description": description}


# ── drawn texts ─────────────────────────────────────────────────────────────────────────────────────────────────────

CORPUS = {
    **_object(
        {
            "segments": RANGE,
            "length": {**RANGE, "description": "smallest and largest number of words before changes"},
            "references": RANGE,
            "alphabet": {"type": "integer", "minimum": 1, "maximum": 26, "description": "number of distinct words"},
            "lines": {"type": "boolean", "description": "whether texts have several lines"},
        },
        optional=("lines",),
    ),
    "description": "segments whose hypothesis and references are changed copies of one drawn text",
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""Words of one letter: no tokenisation cuts or joins them."""


def _changed(draw: Draw, words: Sequence[str], alphabet: int) -> list[str]:
    """A copy of a text of which about a third is left out, replaced or doubled; at least one word stays."""
    made: list[str] = []
    for word in words:
        change = draw.integer(0, 9)
        made += {1: [], 2: [LETTERS[draw.integer(0, alphabet - 1)]], 3: [word, word]}.get(change, [word])
    return made or [words[0]]


def _text(draw: Draw, words: Sequence[str], *, lines: bool) -> str:
    """Words of a text, a line feed behind about every fifth."""
    gaps = ["\n" if lines and draw.integer(0, 4) == 4 else " " for _ in words]
    return "".join(word + gap for word, gap in zip(words, gaps, strict=True)).rstrip()


def draw_corpus(draw: Draw, corpus: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Hypotheses and references."""
    hypotheses, references = [], []
    alphabet, lines = corpus["alphabet"], corpus.get("lines", False)
    for _ in range(draw.integer(*corpus["segments"])):
        words = [LETTERS[i] for i in draw.integers(draw.integer(*corpus["length"]), 0, alphabet - 1)]
        hypotheses.append(_text(draw, _changed(draw, words, alphabet), lines=lines))
        several = [_changed(draw, words, alphabet) for _ in range(draw.integer(*corpus["references"]))]
        references.append([_text(draw, reference, lines=lines) for reference in several])
    return hypotheses, references


# ── BLEU ────────────────────────────────────────────────────────────────────────────────────────────────────────────

DUE = _object(
    {
        "precisions": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "description": "for each order that counts, matches and n-grams, smoothed",
        },
        "lengths": {**RANGE, "description": "tokens of the hypotheses, and of the closest references"},
    }
)


def bleu_of(due: Mapping[str, Any]) -> float:
    """BP · (Π m/t)^(1/M) with BP = exp(1 - r/c) for c < r, else 1."""
    c, r = due["lengths"]
    precisions = [m / t if t else 0.0 for m, t in due["precisions"]]
    if 0.0 in precisions or c == 0:
        return 0.0
    penalty = 0.0 if c >= r else 1 - r / c
    return math.exp(penalty + math.fsum(map(math.log, precisions)) / len(precisions))


def judge_bleu(label: str, got: float, due: float, dtype: str, orders: int = 4) -> Finding:
    """A score of BLEU against the exact one."""
    if not 0 <= got <= 1 + numerics.UNIT_ROUNDOFF[dtype] * numerics.SLACK:
        return failed(f"{label} is {got:.9g}, a score is 0 … 1 and {due:.9g} was due", expected=f"{due:.9g}", got=got)
    roundings = 12 + (orders + 3) * abs(math.log(due)) if due else 0.0
    return numerics.judge_score(label, got, due, roundings, dtype)


def ask_bleu_vectors(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """BLEU of given texts is what their counts make of it. (BLEU-1)

    Varies: nothing; texts, options and counts stand in the case.
    Compares: each score with the one that the counts make.
    Bound: roundings of the claimed dtype; 0 is 0.
    """
    rows = given["rows"]
    return {"scores": [candidate.bleu(row["hypotheses"], row["references"], **row.get("options", {})) for row in rows]}


def judge_bleu_vectors(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings = []
    for row, got in zip(given["rows"], asked["scores"], strict=True):
        due = bleu_of(row["due"])
        finding = judge_bleu("BLEU", got, due, reference.claims.dtype, len(row["due"]["precisions"]))
        findings.append(told(finding, row["name"]))
    return numerics.worst(findings)


check(
    "bleu-vectors",
    ask_bleu_vectors,
    judge_bleu_vectors,
    needs=("bleu",),
    given={
        "rows": _rows(
            {"name": NAME, "hypotheses": HYPOTHESES, "references": REFERENCES, "options": OPTIONS, "due": DUE},
            optional=("options",),
        )
    },
)


def ask_bleu_drawn(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """BLEU of drawn texts is that of the reference.

    Varies: texts, how many there are, how many references each has.
    Compares: the score with that of the reference.
    Bound: roundings of the claimed dtype; 0 is 0.
    """
    hypotheses, references = draw_corpus(draw, given["corpus"])
    score = candidate.bleu(hypotheses, references, **given["options"])
    return {"hypotheses": hypotheses, "references": references, "score": score}


def judge_bleu_drawn(given: Given, asked: Asked, reference: Reference) -> Finding:
    options = given["options"]
    due = reference.truth.bleu(asked["hypotheses"], asked["references"], **options)
    finding = judge_bleu("BLEU", asked["score"], due, reference.claims.dtype, options.get("max_order", 4))
    return told(finding, f"{len(asked['hypotheses'])} segments, {asked['hypotheses'][0]!r:.60} …")


DRAWN = {"corpus": CORPUS, "options": OPTIONS}

check("bleu-drawn", ask_bleu_drawn, judge_bleu_drawn, needs=("bleu",), given=DRAWN)


def _another(draw: Draw, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str]]:
    """References with one more each, as long as the one whose length counts."""
    more = []
    for hypothesis, several in zip(hypotheses, references, strict=True):
        c = len(hypothesis.split())
        length = min((abs(len(one.split()) - c), len(one.split())) for one in several)[1]
        words = [*hypothesis.split(), *several[0].split()]
        more.append([*several, " ".join(pick(draw, words) for _ in range(length))])
    return more


def _changes(draw: Draw, change: str, hypotheses: list[str], references: list[list[str]]) -> tuple[Any, Any]:
    if change == "another reference":
        return hypotheses, _another(draw, hypotheses, references)
    if change == "order of references":
        return hypotheses, [several[::-1] for several in references]
    order = shuffled(draw, range(len(hypotheses)))
    if order == sorted(order):
        order.reverse()
    return [hypotheses[i] for i in order], [references[i] for i in order]


def ask_bleu_changed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """BLEU does not know the order of segments or references, and another reference of equal length never lowers it.

    Varies: texts, and what is changed of them.
    Compares: the candidate with itself.
    Bound: roundings of the claimed dtype.
    """
    hypotheses, references = draw_corpus(draw, given["corpus"])
    other = _changes(draw, given["change"], hypotheses, references)
    before = candidate.bleu(hypotheses, references, **given["options"])
    return {"before": before, "after": candidate.bleu(*other, **given["options"])}


def judge_bleu_changed(given: Given, asked: Asked, reference: Reference) -> Finding:
    before, after, change = asked["before"], asked["after"], given["change"]
    if change == "another reference" and after >= before:
        return passed()
    orders = given["options"].get("max_order", 4)
    finding = judge_bleu("BLEU", after, before, reference.claims.dtype, orders)
    return told(finding, f"after a change: {change}")


CHANGE = {
    "enum": ["order of segments", "order of references", "another reference"],
    "description": "what is changed between two calls",
}

check("bleu-changed", ask_bleu_changed, judge_bleu_changed, needs=("bleu",), given={**DRAWN, "change": CHANGE})

# ── ROUGE ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SHARES = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"enum": list(ROUGE)},
    "additionalProperties": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
    "description": "kind of ROUGE -> shared tokens, tokens of the hypothesis, tokens of the reference that counts",
}


def shares(m: int, h: int, r: int) -> dict[str, float]:
    """Precision m/h, recall m/r, F1 2m/(h + r); all 0 where nothing is shared."""
    if m == 0:
        return dict.fromkeys(ROUGE_PARTS, 0.0)
    return {"precision": m / h, "recall": m / r, "f1": 2 * m / (h + r)}


def _judge_parts(label: str, got: Mapping[str, float], due: Mapping[str, float], dtype: str, more: int) -> Finding:
    """Precision, recall and F1; `more` roundings beside the eight of one segment."""
    return numerics.worst(
        [numerics.judge_score(f"{label} {part}", got[part], due[part], 8 + more, dtype) for part in ROUGE_PARTS]
    )


def ask_rouge_vectors(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """ROUGE of given texts is what their counts make of it. (ROUGE-1)

    Varies: nothing; texts and counts stand in the case.
    Compares: precision, recall and F1 of each kind named, of the segment and of the corpus that it is.
    Bound: roundings of the claimed dtype; 0 is 0.
    """
    return {"scores": [candidate.rouge([row["hypothesis"]], [row["references"]]) for row in given["rows"]]}


def judge_rouge_vectors(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings, dtype = [], reference.claims.dtype
    for row, answer in zip(given["rows"], asked["scores"], strict=True):
        for kind, counts in row["due"].items():
            for scores, of in ((answer["segments"][0], ""), (answer["mean"], "mean ")):
                found = _judge_parts(f"{of}{kind}", scores[kind], shares(*counts), dtype, 1)
                findings.append(told(found, row["name"]))
    return numerics.worst(findings)


check(
    "rouge-vectors",
    ask_rouge_vectors,
    judge_rouge_vectors,
    needs=("rouge",),
    given={
        "rows": _rows(
            {
                "name": NAME,
                "hypothesis": {"type": "string", "description": "a text"},
                "references": {"type": "array", "items": {"type": "string"}, "description": "texts"},
                "due": SHARES,
            }
        )
    },
)


def ask_rouge_drawn(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """ROUGE of drawn texts is that of the reference, and that of the corpus is the mean of its segments.

    Varies: texts, their lines, how many there are, how many references each has.
    Compares: every number with that of the reference.
    Bound: roundings of the claimed dtype; 0 is 0.
    """
    hypotheses, references = draw_corpus(draw, given["corpus"])
    answer = candidate.rouge(hypotheses, references)
    return {"hypotheses": hypotheses, "references": references, "answer": answer}


def judge_rouge_drawn(given: Given, asked: Asked, reference: Reference) -> Finding:
    due, dtype = reference.truth.rouge(asked["hypotheses"], asked["references"]), reference.claims.dtype
    answer, S = asked["answer"], len(asked["hypotheses"])
    parts = given["judges"]
    findings = []
    if parts in ("segments", "all"):
        for i, (got, exact) in enumerate(zip(answer["segments"], due["segments"], strict=True)):
            when = f"{asked['hypotheses'][i]!r:.60} against {asked['references'][i]!s:.80}"
            findings += [told(_judge_parts(f"segments[{i}] {k}", got[k], exact[k], dtype, 0), when) for k in ROUGE]
    if parts in ("mean", "all"):
        findings += [_judge_parts(f"mean {k}", answer["mean"][k], due["mean"][k], dtype, S) for k in ROUGE]
    return numerics.worst(findings)


check(
    "rouge-drawn",
    ask_rouge_drawn,
    judge_rouge_drawn,
    needs=("rouge",),
    given={
        "corpus": CORPUS,
        "judges": {"enum": ["segments", "mean", "all"], "default": "all", "description": "what is compared"},
    },
)


def ask_rouge_swapped(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A text and its reference change places: precision and recall do, and F1 stays.

    Varies: texts and their lines.
    Compares: the candidate with itself, in the kinds named.
    Bound: roundings of the claimed dtype.
    """
    hypotheses, references = draw_corpus(draw, {**given["corpus"], "references": [1, 1]})
    others = [several[0] for several in references]
    there = candidate.rouge(hypotheses, references)
    return {"there": there, "back": candidate.rouge(others, [[text] for text in hypotheses])}


def judge_rouge_swapped(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings = []
    for i, (there, back) in enumerate(zip(asked["there"]["segments"], asked["back"]["segments"], strict=True)):
        for kind in given["kinds"]:
            due = {"precision": back[kind]["recall"], "recall": back[kind]["precision"], "f1": back[kind]["f1"]}
            # Both sides round.
            finding = _judge_parts(f"segments[{i}] {kind}", there[kind], due, reference.claims.dtype, 8)
            findings.append(told(finding, "and the other way round"))
    return numerics.worst(findings)


check(
    "rouge-swapped",
    ask_rouge_swapped,
    judge_rouge_swapped,
    needs=("rouge",),
    given={
        "corpus": CORPUS,
        "kinds": {
            "type": "array",
            "items": {"enum": list(ROUGE)},
            "minItems": 1,
            "description": "kinds of ROUGE; of rougeLsum the union depends on the direction",
        },
    },
)

# ── refusals of texts ───────────────────────────────────────────────────────────────────────────────────────────────

GOOD = (["a b c d"], [["a b c d"]])
CODE = {"enum": list(REFUSAL_CODES), "description": "code of the refusal"}

METRICS: Mapping[str, Callable[..., Any]] = {
    "bleu": lambda candidate, *texts, **options: candidate.bleu(*texts, **options),
    "rouge": lambda candidate, *texts, **options: candidate.rouge(*texts, **options)["mean"]["rouge1"]["f1"],
}


def ask_metric_refuses(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What cannot be scored is refused with the code of the requirement, and what can be is scored before and after.

    Varies: nothing; texts, options and code stand in the case.
    Compares: the refusal's code with the one due, and the score of a text with itself with 1.
    Bound: none for codes; roundings for the score.
    """
    ask = METRICS[given["method"]]
    tried = []
    for row in given["rows"]:
        got = refusal_of(ask, candidate, row["hypotheses"], row["references"], **row.get("options", {}))
        tried.append((got, refusal_of(ask, candidate, *GOOD)))
    return {"tried": tried}


def judge_metric_refuses(given: Given, asked: Asked, reference: Reference) -> Finding:
    method = given["method"]
    for row, (got, after) in zip(given["rows"], asked["tried"], strict=True):
        what = f"{method}({row['hypotheses']!s:.60}, {row['references']!s:.60}) {row.get('options') or ''}".strip()
        if wrong := _unlike_code(what, got, row["code"]):
            return wrong
        if isinstance(after, Refused):
            message = f"{method}{GOOD} after {what} was refused: refused with {after.code}, 1 was due"
            return failed(message, expected=1, got=after.code)
        finding = numerics.judge_score(
            f"{method}{GOOD} after {what} was refused", after, 1.0, 12, reference.claims.dtype
        )
        if not finding.ok:
            return finding
    return passed()


def _unlike_code(what: str, got: Any, code: str) -> Finding | None:
    """A failure unless something was refused with a code."""
    if not isinstance(got, Refused):
        return failed(f"{what}: answered {got!s:.60}, refusal with {code} was due", expected=code, got=got)
    if got.code != code:
        return failed(f"{what}: refused with {got.code}, {code} was due", expected=code, got=got.code)
    return None


check(
    "metric-refuses",
    ask_metric_refuses,
    judge_metric_refuses,
    needs=(),
    given={
        "method": {"enum": sorted(METRICS), "description": "the metric asked; the case needs its capability"},
        "rows": _rows(
            {"hypotheses": HYPOTHESES, "references": REFERENCES, "options": OPTIONS, "code": CODE},
            optional=("options",),
        ),
    },
)

# ── perplexity ──────────────────────────────────────────────────────────────────────────────────────────────────────

BOS = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}],
    "default": None,
    "description": "id that begins a text in the bundle; null leaves the probe's",
}
FACTOR = {
    "type": "object",
    "default": {},
    "additionalProperties": {"type": "number"},
    "description": "tensor -> power of two that it is multiplied by",
}


def bundle_of(probes: Library, given: Given) -> Probe:
    """The probe with the case's BOS and factors."""
    if given["bos"] is None and not given["factor"]:
        return probes.get(given["probe"])
    parts = probes.parts(given["probe"])
    if given["bos"] is not None:
        parts.document["parameters"]["bos_token_id"] = given["bos"]
    for name, by in given["factor"].items():
        parts.weights[name] = parts.weights[name] * np.float32(by)
    return probes.write(parts.document, parts.weights)


def led(config: Mapping[str, Any], ids: Sequence[int]) -> list[int]:
    """Ids behind BOS, if the model has one and they do not begin with it."""
    bos = config["bos_token_id"]
    return list(ids) if bos is None or list(ids[:1]) == [bos] else [bos, *ids]


def windows(length: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Begin, end and first scored position of each window: see PPL-7."""
    begin, first = 0, 1
    while first < length:
        end = min(begin + context, length)
        yield begin, end, first
        begin, first = begin + stride, end


def ask_perplexity(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Perplexity is 2 to the mean of the bits that the model's logits give each scored token. (PPL-1)

    Varies: content and length of the ids, for each length and stride of the case.
    Compares: the number of scored tokens, and the perplexity with that of the float64 reference's logits, window by
    window.
    Bound: honest error of the claimed dtype, of a log-probability.
    """
    bundle = bundle_of(candidate.probes, given)
    model, V = candidate.model(bundle), bundle.config["vocab_size"]
    asked = []
    for length in given["lengths"]:
        ids = draw_ids(draw, candidate, given["probe"], length)
        if ids == [bundle.config["bos_token_id"]]:  # BOS alone has nothing to score
            ids = [draw_other(draw, ids[0], V)]
        if given["ids"] == "emitted":  # what the probe says: the first id, and those that it answers to it
            ids = [*ids[:1], *candidate.probes.get(given["probe"]).facts["emits"]][: len(ids)]
        if given["ids"] == "led":
            ids = [bundle.config["bos_token_id"], *ids]
        for stride in given["strides"]:
            options = {} if stride is None else {"stride": stride}
            asked.append({"ids": ids, "stride": stride, "got": model.perplexity(ids, **options)})
    return {"asked": asked}


def judge_perplexity(given: Given, asked: Asked, reference: Reference) -> Finding:
    bundle, findings = bundle_of(reference.probes, given), []
    C = bundle.config["context_length"]
    for one in asked["asked"]:
        value, tokens = one["got"]
        row, stride = led(bundle.config, one["ids"]), one["stride"] or max(C // 2, 1)
        when = f"{len(one['ids'])} ids, context {C}, stride {one['stride'] or f'{stride} by default'}"
        if tokens != len(row) - 1:
            message = f"{tokens} tokens were scored, {len(row) - 1} were due ({when})"
            findings.append(failed(message, expected=len(row) - 1, got=tokens))
            continue
        truth, honest = _behind(reference, bundle, row, C, stride)
        finding = numerics.judge_perplexity("perplexity", value, truth, honest, row[1:], reference.claims.dtype)
        findings.append(told(finding, when))
    return numerics.worst(findings)


def _behind(reference: Reference, bundle: Probe, row: Sequence[int], C: int, stride: int) -> tuple[Any, list[Any]]:
    """Logits [N, V] behind which each id of a row but the first is scored: the truth, and the honest ones."""
    truth: list[Any] = []
    honest: list[list[Any]] = []
    for begin, end, first in windows(len(row), C, stride):
        scored = slice(first - 1 - begin, end - 1 - begin)
        truth.append(reference.logits(bundle, row[begin:end])[scored])
        honest.append([logits[scored] for logits in reference.honest_logits(bundle, row[begin:end])])
    return np.concatenate(truth), [np.concatenate(order) for order in zip(*honest, strict=True)]


PERPLEXITY = {
    "probe": PROBE,
    "bos": BOS,
    "factor": FACTOR,
    "lengths": {"type": "array", "minItems": 1, "items": LENGTH, "description": "per text, smallest and largest"},
    "strides": {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "default": [None],
        "description": "of the windows, each asked on its own; null leaves it to the default",
    },
    "ids": {
        "enum": ["any", "emitted", "led"],
        "default": "any",
        "description": "any ids, of a trained probe a part of its text; what the probe itself emits; "
        "any behind the BOS that the model has",
    },
}

check("perplexity", ask_perplexity, judge_perplexity, needs=("load_model", "perplexity"), given=PERPLEXITY)


def ask_perplexity_refuses(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What has no perplexity is refused with the code of the requirement, and what has one is answered after it.

    Varies: nothing; ids, options and code stand in the case.
    Compares: the refusal's code with the one due; the number of scored tokens that follow with the one due.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(bundle_of(candidate.probes, {**given, "factor": {}}))
    tried = []
    for row in given["rows"]:
        got = refusal_of(model.perplexity, row["ids"], **row.get("options", {}))
        tried.append((got, refusal_of(model.perplexity, [97, 98, 99])))
    return {"tried": tried}


def judge_perplexity_refuses(given: Given, asked: Asked, reference: Reference) -> Finding:
    due = 3 if bundle_of(reference.probes, {**given, "factor": {}}).config["bos_token_id"] is not None else 2
    for row, (got, after) in zip(given["rows"], asked["tried"], strict=True):
        what = f"perplexity({row['ids']!s:.60}) {row.get('options') or ''}".strip()
        if wrong := _unlike_code(what, got, row["code"]):
            return wrong
        if isinstance(after, Refused) or after[1] != due:
            came = after.code if isinstance(after, Refused) else f"{after[1]} scored tokens"
            message = f"perplexity([97, 98, 99]) after {what} was refused: {came}, {due} scored tokens were due"
            return failed(message, expected=due, got=came)
    return passed()


check(
    "perplexity-refuses",
    ask_perplexity_refuses,
    judge_perplexity_refuses,
    needs=("load_model", "perplexity"),
    given={
        "probe": PROBE,
        "bos": BOS,
        "rows": _rows(
            {
                "ids": {"type": "array", "items": {"type": "integer"}, "description": "asked as they stand"},
                "options": OPTIONS,
                "code": CODE,
            },
            optional=("options",),
        ),
    },
)
