"""Text: to ids and back, cut at stop strings, and in pieces.

What a lone surrogate does is not asked: UTF-8, and with it the wire and the stored evidence, cannot carry one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.api import CALLS, differs, shown
from llmasos_conformance.checks.bundles import MODEL, speaker
from llmasos_conformance.inputs import pick
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

BLOCKS: Sequence[tuple[int, int]] = (
    (0x61, 0x7A),  # letters, the simplest
    (0x00, 0x7F),  # with controls, NUL among them
    (0x80, 0x7FF),  # two bytes: Latin, combining marks, Greek, Cyrillic, Hebrew, Arabic
    (0x800, 0xD7FF),  # three bytes: Indic, Thai, Jamo, punctuation, kana, CJK, Hangul
    (0xE000, 0xFFFF),  # private use, presentation forms, U+FEFF, U+FFFD, noncharacters
    (0x1F000, 0x1FAFF),  # emoji
    (0x10000, 0x10FFFF),  # everything else that has four bytes
    (0x2000, 0x206F),  # spaces, joiners, direction marks
    (0x300, 0x36F),  # combining marks
)
"""Ranges of Unicode scalar values from which texts are drawn; no surrogates."""

SPEAKER: Mapping[str, Any] = {"says": ["ok"], "after": 1}
TEXTS = {"type": "array", "items": {"type": "string"}, "default": [], "description": "texts beside the drawn one"}


def any_text(draw: Draw) -> str:
    """Up to 24 characters, a few of each block in a row."""
    parts = []
    for _ in range(draw.integer(0, 6)):
        low, high = pick(draw, BLOCKS)
        parts += draw.integers(draw.integer(1, 4), low, high)
    return "".join(map(chr, parts))


def long_text(draw: Draw, length: int) -> str:
    """So many characters, drawn ones over and over; a prime number of characters does not fall on pages and blocks."""
    some = (any_text(draw) + "".join(map(chr, draw.integers(61, 0x20, 0x2FFF))))[:61]
    return (some * (length // len(some) + 1))[:length]


def points(text: str) -> str:
    """A text as a message shows it: quoted, and its first code points."""
    return f"{text!r:.80} ({' '.join(f'U+{ord(c):04X}' for c in text[:12])}{' …' if len(text) > 12 else ''})"


def _first_difference(a: Sequence[Any], b: Sequence[Any]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


# ── to ids and back ─────────────────────────────────────────────────────────────────────────────────────────────────


def ask_round_trip(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A text comes back from its ids as it was.

    Varies: the text, over all Unicode scalar values and the texts of the case.
    Compares: the text with the detokenized ids, and every id with the vocabulary.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    texts = [*given["texts"], any_text(draw)]
    if given.get("long"):
        texts.append(long_text(draw, given["long"]))
    ids = [model.tokenize(text) for text in texts]
    return {"texts": texts, "ids": ids, "back": [model.detokenize(row) for row in ids]}


def judge_round_trip(given: Given, asked: Asked, reference: Reference) -> Finding:
    size = given["model"].get("vocabulary", 260)
    for text, ids, back in zip(asked["texts"], asked["ids"], asked["back"], strict=True):
        strange = [token for token in ids if not 0 <= token < size]
        if strange:
            return failed(f"text {points(text)}: id {strange[0]} is not below {size}", got=ids)
        if back != text:
            place = _first_difference(text, back)
            message = f"text {points(text)} came back as {points(back)}, different from character {place} on"
            return failed(message, expected=repr(text), got=repr(back))
    return passed()


check(
    "round-trip",
    ask_round_trip,
    judge_round_trip,
    needs=("load_model", "tokenize"),
    given={"model": {**MODEL, "default": SPEAKER}, "texts": TEXTS},
    optional={"long": {"type": "integer", "minimum": 1, "description": "characters of one more text"}},
)


def ask_byte_ids(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Without tokenizer.json the ids of a text are its UTF-8 bytes.

    Varies: the text, over all Unicode scalar values and the texts of the case.
    Compares: ids with bytes.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    texts = [*given["texts"], any_text(draw)]
    return {"texts": texts, "ids": [model.tokenize(text) for text in texts]}


def judge_byte_ids(given: Given, asked: Asked, reference: Reference) -> Finding:
    for text, ids in zip(asked["texts"], asked["ids"], strict=True):
        due = list(text.encode())
        if ids != due:
            place = _first_difference(ids, due)
            message = f"text {points(text)}: ids differ from the bytes of its UTF-8 from ids[{place}] on"
            return failed(message, expected=due, got=ids)
    return passed()


check(
    "byte-ids",
    ask_byte_ids,
    judge_byte_ids,
    needs=("load_model", "tokenize"),
    given={"model": {**MODEL, "default": SPEAKER}, "texts": TEXTS},
)


def ask_literals(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The literal of a special token in a text is text, unless special tokens are allowed.

    Varies: the text around the literal.
    Compares: ids of the text with the special ids, and the text with what comes back.
    Bound: none, they are equal or they are not.
    """
    model, literal = candidate.model(speaker(candidate.probes, given["model"])), given["literal"]
    before, after = any_text(draw), any_text(draw)
    texts = [literal, before + literal + after, f" {literal}{literal}", literal[:-1]]
    ids = [model.tokenize(text) for text in texts]
    return {"texts": texts, "ids": ids, "back": [model.detokenize(row) for row in ids]}


def judge_literals(given: Given, asked: Asked, reference: Reference) -> Finding:
    special = set(given["model"].get("special", {}).values())
    for text, ids, back in zip(asked["texts"], asked["ids"], asked["back"], strict=True):
        taken = [i for i, token in enumerate(ids) if token in special]
        if taken:
            message = f"text {points(text)}: ids[{taken[0]}] is {ids[taken[0]]}, a special token; its literal is text"
            return failed(message, expected="no special id", got=ids)
        if back != text:
            return failed(f"text {points(text)} came back as {points(back)}", expected=repr(text), got=repr(back))
    return passed()


check(
    "special-literals",
    ask_literals,
    judge_literals,
    needs=("load_model", "tokenize"),
    given={"model": MODEL, "literal": {"type": "string", "minLength": 2, "description": "of a special token"}},
)


def ask_detokenized(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Ids come back as the text that is due, where they are no whole text too.

    Varies: nothing; ids and texts stand in the case.
    Compares: the detokenized ids with the text due.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    return {"texts": [model.detokenize(row["ids"]) for row in given["rows"]]}


def judge_detokenized(given: Given, asked: Asked, reference: Reference) -> Finding:
    """The text of each row, which names ids, or tokens of the case's vocabulary."""
    for i, (row, text) in enumerate(zip(given["rows"], asked["texts"], strict=True)):
        if text != row["text"]:
            those = f"tokens {row['tokens']}" if "tokens" in row else f"rows[{i}]: ids {row['ids']}"
            message = f"{those} gave {points(text)}, {points(row['text'])} was due"
            return failed(message, expected=repr(row["text"]), got=repr(text))
    return passed()


check(
    "detokenized",
    ask_detokenized,
    judge_detokenized,
    needs=("load_model", "tokenize"),
    given={
        "model": {**MODEL, "default": SPEAKER},
        "rows": {
            "type": "array",
            "minItems": 1,
            "description": "ids and the text that is due",
            "items": {
                "type": "object",
                "properties": {
                    "ids": {"type": "array", "items": {"type": "integer"}, "description": "as given"},
                    "text": {"type": "string", "description": "as due"},
                },
                "required": ["ids", "text"],
                "additionalProperties": False,
            },
        },
    },
)

# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_streams(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A stream gives out the text that is due, nothing else on the way, and ends like the same request without it.

    Varies: nothing; model, requests and answers stand in the case.
    Compares: after each piece, what is out with the beginning of the text due; the closing generation with what is due
        and with the same request without streaming.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    answers = []
    for call in given["calls"]:
        options = call.get("options", {})
        deltas, generation = model.stream_text(call["prompt"], **options)
        answers.append((deltas, generation, model.generate_text(call["prompt"], **options)))
    return {"answers": answers}


def judge_streams(given: Given, asked: Asked, reference: Reference) -> Finding:
    for i, (call, (deltas, closing, plain)) in enumerate(zip(given["calls"], asked["answers"], strict=True)):
        where, text, out = f"calls[{i}] ({shown(call)})", call["due"]["text"], ""
        for j, delta in enumerate(deltas):
            out += delta
            if not text.startswith(out):
                place = _first_difference(out, text)
                message = f"{where}: deltas[{j}] {delta!r} is not in the text due, from its character {place} on"
                return failed(message, expected=repr(text), got=repr(out))
        if out != text:
            message = f"{where}: the pieces end after {len(out)} of {len(text)} characters"
            return failed(message, expected=repr(text), got=repr(out))
        pieces = len([delta for delta in deltas if delta])
        if pieces < given["pieces"]:
            message = (
                f"{where}: the text came in {pieces} piece{'s' * (pieces != 1)}, {given['pieces']} or more were due"
            )
            return failed(message, expected=given["pieces"], got=pieces)
        wrong = differs(call["due"], closing, f"{where}, the end of the stream")
        if wrong is None:
            wrong = differs(call["due"], plain, f"{where}, without streaming")
        if wrong is not None:
            return wrong
        for name in ("prompt_tokens", "completion_tokens"):
            streamed, whole = getattr(closing, name), getattr(plain, name)
            if streamed is not None and whole is not None and streamed != whole:
                message = f"{where}: {name} is {streamed} at the end of the stream and {whole} without streaming"
                return failed(message, expected=whole, got=streamed)
    return passed()


check(
    "streams",
    ask_streams,
    judge_streams,
    needs=("load_model", "stream"),
    given={
        "model": MODEL,
        "calls": CALLS,
        "pieces": {"type": "integer", "default": 0, "description": "smallest number of pieces that are not empty"},
    },
)
