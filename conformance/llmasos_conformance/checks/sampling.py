"""Samplers: tokens come as if drawn from the law that the model and the options give, and one apart from the other.

The models are made here: letters that come with known probabilities, the same behind every token or other ones behind
each. What comes is judged by `laws`, with the error rates that stand in the case. A text that came before, word for
word, is no new sample and is left out: whether calls repeat each other is asked by the requirements on seeds.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import laws
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.api import LETTERS
from llmasos_conformance.checks.bundles import speaker
from llmasos_conformance.inputs import pick
from llmasos_conformance.laws import Decision, Float64
from llmasos_conformance.verdict import Finding, State, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

CALL = 240
"""Tokens of one call."""
NAMED: Mapping[str, Mapping[str, float]] = {
    "even-16": dict.fromkeys(LETTERS[:16], 1 / 16),
    "half-64": {letter: 1 / 2 if letter == "A" else 1 / 126 for letter in LETTERS},
}
"""Laws too long to be written out. One half, and the rest evenly, moves most with the temperature."""

_SHARE = {"type": "number", "exclusiveMinimum": -1, "maximum": 1}
LAW = {
    "description": "letter -> its probability; letter -> the same behind it; or a name",
    "anyOf": [
        {"enum": list(NAMED)},
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "number"}},
        {
            "type": "object",
            "minProperties": 2,
            "additionalProperties": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    ],
}
OPTIONS = {"type": "object", "description": "temperature, filters, bias and penalties, as sent", "default": {}}
OTHERS = {
    "type": "array",
    "minItems": 1,
    "description": "laws that must be told apart from the one due, each by one of these",
    "items": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            "options": {"type": "object", "description": "other options"},
            "rule": {"enum": list(laws.RULES), "description": "another rule"},
            "repeats": {**_SHARE, "description": "part of the draws in which the token before comes again"},
            "mixed": {**_SHARE, "description": "part of the draws in which the token before is forgotten"},
            "reading": {"enum": [name for name in laws.READINGS if name], "description": "of the penalties"},
            "penalty": {
                "type": "number",
                "exclusiveMinimum": 0,
                "description": "on what came among the last 64 tokens",
            },
        },
        "additionalProperties": False,
    },
}
RATE = {"type": "number", "exclusiveMinimum": 0, "maximum": 0.01}


def letters_of(given: Given) -> tuple[str, Float64]:
    """Letters of a case, and [K, K] the model's law behind each."""
    law: Mapping[str, Any] = NAMED[given["law"]] if isinstance(given["law"], str) else given["law"]
    letters = "".join(law)
    rows = [law[letter] if isinstance(law[letter], Mapping) else law for letter in letters]
    table = np.array([[float(row.get(letter, 0.0)) for letter in letters] for row in rows])
    return letters, table / table.sum(axis=1, keepdims=True)


def model_of(given: Given) -> dict[str, Any]:
    """The model of a case, as `bundles.speaker` takes it."""
    letters, table = letters_of(given)
    context: dict[str, Any] = {"context": CALL + 8}
    if given["architecture"] != "GPT-3":
        context["architecture"] = given["architecture"]
    if given["architecture"] == "Transformer":  # its targets begin behind the first letter, whatever the source says
        context["start"] = ord(letters[0])
    even = isinstance(given["law"], str) or not any(isinstance(value, Mapping) for value in given["law"].values())
    if even and given["architecture"] != "Transformer":
        return {"law": dict(zip(letters, table[0], strict=True)), **context}
    links = [
        [one, other, float(table[i, j])]
        for i, one in enumerate(letters)
        for j, other in enumerate(letters)
        if table[i, j] > 0
    ]
    return {"chain": links, **context}


def placed(letters: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as `laws` takes them: the ids of a bias are places among the letters of a case."""
    if "logit_bias" not in options:
        return dict(options)
    bias = {letters.index(chr(int(token))): number for token, number in options["logit_bias"].items()}
    return {**options, "logit_bias": bias}


def settings(given: Given) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The options of a case and its others, as `laws` takes them."""
    letters = letters_of(given)[0]
    others = [
        {kind: placed(letters, value) if kind == "options" else value for kind, value in other.items()}
        for other in given["others"]
    ]
    return placed(letters, given["options"]), others


@functools.lru_cache(maxsize=32)
def _tables(asked: str) -> tuple[Float64, Float64, list[Float64]]:
    """The model's law behind each letter, the law that is due, and the others; the due one where there is no table."""
    given = json.loads(asked)
    _, rows = letters_of(given)
    options, others = settings(given)
    if laws.looks_back(options):
        return rows, rows, []
    due = laws.table_of(rows, options)
    return rows, due, [due if "penalty" in other else laws.alternative(rows, options, other) for other in others]


Text = tuple[Sequence[int], Sequence[int]]
"""Prompt and tokens, as places among the letters of a case."""


def ratios(given: Given, texts: Sequence[Text]) -> Float64:
    """[J, n] ln q_j - ln p of the tokens of all texts, one text behind the other."""
    rows, due, tables = _tables(json.dumps({name: given[name] for name in ("law", "options", "others")}))
    options, others = settings(given)
    if laws.looks_back(options):
        return np.concatenate([_behind(rows, options, others, text) for text in texts], axis=1)
    before = [x for prompt, tokens in texts for x in (*prompt[-1:], *tokens[:-1])]
    after = [x for _, tokens in texts for x in tokens]
    found = laws.ratios_of(due, tables, before, after)
    for j, other in enumerate(given["others"]):
        if "penalty" in other:
            parts = [laws.penalised(rows, options, other["penalty"], *text) for text in texts]
            found[j] = np.concatenate(parts) - np.log(due[before, after])
    return found


def _behind(rows: Float64, options: Mapping[str, Any], others: Sequence[Mapping[str, Any]], text: Text) -> Float64:
    """[J, n] the same where penalties look back on the whole text."""
    due = laws.behind_text(rows, options, *text)
    made = [
        laws.behind_text(rows, {**options, **other.get("options", {})}, *text, other.get("reading", ""))
        for other in others
    ]
    return np.stack(made) - due


def ask_drawn(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Tokens come as if drawn from the law that model and options give.

    Varies: prompts, and seeds where seeds are declared; else the candidate's own randomness.
    Compares: the law with others that samplers have drawn from, token by token, until it is refused, or all of the
        others are, or `most` tokens have come.
    Bound: a right sampler is refused with probability `alpha` at most; a sampler that draws from one of the others is
        accepted with probability `beta` at most. Both exactly; see `laws`.
    """
    letters = letters_of(given)[0]
    model = candidate.model(speaker(candidate.probes, model_of(given)))
    calls: list[tuple[str, str]] = []
    while len(calls) * CALL < given["most"]:
        prompt = "".join(pick(draw, letters) for _ in range(4))
        options = {"max_length": CALL, "temperature": 1.0, **given["options"], **candidate.drawn_seed(draw)}
        text = str(model.generate_text(prompt, **options).text)
        calls.append((letters[0] if given["architecture"] == "Transformer" else prompt, text))
        if _came_short(given, calls) or tried(given, calls).decision is not Decision.UNDECIDED:
            break
    return {"calls": calls}


def _came_short(given: Given, calls: Sequence[tuple[str, str]]) -> Finding | None:
    """What is wrong with the last text before any law is asked."""
    letters, text = letters_of(given)[0], calls[-1][1]
    strangers = sorted(set(text) - set(letters))
    if strangers:
        message = f"{strangers[0]!r} came, which the model never says"
        return failed(message, expected=letters, got="".join(strangers)[:20])
    if len(text) != CALL:
        return failed(f"{len(text)} characters came, {CALL} were due", expected=CALL, got=len(text))
    return None


def _fresh(given: Given, calls: Sequence[tuple[str, str]]) -> list[Text]:
    """Texts that had not come before, word for word."""
    place = {letter: i for i, letter in enumerate(letters_of(given)[0])}
    prompts = {text: prompt for prompt, text in reversed(calls)}  # the first call of each text
    return [
        ([place[x] for x in prompts[text]], [place[x] for x in text]) for text in dict.fromkeys(t for _, t in calls)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often each letter came, and how often the law that is due lets it come behind what came before it.

    Attributes:
        came: [K] counts. due: [K] expected counts, given each token's predecessors; both add up to the same.
    """

    letters: str
    came: Float64
    due: Float64


def tally(given: Given, calls: Sequence[tuple[str, str]]) -> Tally | None:
    """What came, beside what was due; None where a text holds what the model never says.

    It shows what a test decided, and decides nothing: the test looks at every token behind its predecessor.
    """
    letters, rows = letters_of(given)
    if set("".join(text for _, text in calls)) - set(letters):
        return None
    options, K, texts = settings(given)[0], len(letters), _fresh(given, calls)
    came, due = np.zeros(K), np.zeros(K)
    table = None if laws.looks_back(options) else laws.table_of(rows, options)
    for prompt, tokens in texts:
        came += np.bincount(tokens, minlength=K)
        before = [*prompt[-1:], *tokens[:-1]]
        if table is not None:
            due += table[before].sum(axis=0)
        else:
            due += laws.of_text(rows, options, prompt, tokens).sum(axis=0)
    return Tally(letters=letters, came=came, due=due)


def tried(given: Given, calls: Sequence[tuple[str, str]]) -> laws.Verdict:
    """The test of all that came; texts that came before are left out."""
    return laws.decide(ratios(given, _fresh(given, calls)), given["alpha"], given["beta"])


def judge_drawn(given: Given, asked: Asked, reference: Reference) -> Finding:
    calls = asked["calls"]
    if wrong := _came_short(given, calls):
        return wrong
    found = tried(given, calls)
    figures = {"tokens": float(found.at)}
    if found.decision is Decision.ACCEPTED:
        return passed(**figures)
    other = named(given["others"][found.nearest])
    if found.decision is Decision.REFUSED:
        law, often = given["options"] or "the model", f"{1 / given['alpha']:.0e}"
        message = (
            f"tokens do not come by the law of {law}: after {found.at} of them {other} fits better by a factor of "
            f"e^{found.evidence:.1f}; a right sampler is refused once in {often}"
        )
        return failed(message, expected="the law of model and options", got=other, **figures)
    message = f"{found.at} tokens leave open whether they come by the law that is due or by {other}"
    return Finding(state=State.INCONCLUSIVE, message=message, figures=figures)


def named(other: Mapping[str, Any]) -> str:
    """An alternative in words."""
    ((kind, value),) = other.items()
    if kind == "options":
        return ", ".join(f"{name} {setting}" for name, setting in value.items())
    if kind == "rule":
        return str(value)
    if kind == "repeats":
        return f"the token before {'coming again' if value > 0 else 'avoided'} in {abs(value):.0%} of the draws"
    if kind == "reading":
        return f"penalties of which {laws.READINGS[value]}"
    if kind == "penalty":
        return f"a penalty of {value:g} on what came before"
    return f"the token before forgotten in {value:.0%} of the draws"


check(
    "drawn-from",
    ask_drawn,
    judge_drawn,
    needs=("load_model",),
    given={
        "law": LAW,
        "architecture": {
            "enum": ["GPT-3", "Llama", "Transformer"],
            "default": "GPT-3",
            "description": "of the model; the case needs it",
        },
        "options": OPTIONS,
        "others": OTHERS,
        "alpha": {**RATE, "description": "chance of refusing a right sampler, at most"},
        "beta": {**RATE, "description": "chance of accepting one that draws from one of the others, at most"},
        "most": {"type": "integer", "minimum": 240, "description": "tokens after which the case stays open"},
    },
)
