"""tokenizer.json: ids of texts, texts of ids, and files that must be refused.

What is due is said by hand in the case, with tokens by their names, or by `witnesses`, which knows no library. Texts
are drawn from pieces of the vocabulary and from what lies beside it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check, vocabularies
from llmasos_conformance.checks.bundles import MODEL, PLAIN, document, ids_of, outcome, speaker
from llmasos_conformance.checks.text import judge_detokenized, points
from llmasos_conformance.checks.vocabularies import MARK
from llmasos_conformance.checks.witnesses import Witness
from llmasos_conformance.inputs import pick
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate, LoadedModel
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

BESIDE = (
    " ", "  ", "   ", "\n", "\t", "\n\n  ", "\u00a0", "\u3000", "'s", "'ll", "'S", "don't", "they're", "q", "z", "quiz",
    "qz", "é", "É", "e\u0301", "ñ", "Ü", "ß", "Σ", "ς", "İ", "й", "中", "文本", "😀", "\U0001f468\u200d\U0001f469",
    "1234", "½", "!", "?!", "...", "«", "—", "_", "$", "\0", "\u200b", "\ufeff", "\ufffd", "abc", "aaaa", "The",
    "TOKENS", "unwanted", "untoken", "tokenizing", "byteswords", "naïve", "it'te", "text",
)  # fmt: skip
"""What texts are drawn from besides pieces: signs whose category all versions of Unicode agree on, and words."""


def _witness(given: Given) -> Witness:
    return _made(json.dumps(given["model"]["tokenizer"], sort_keys=True))


@functools.lru_cache(maxsize=64)
def _made(choice: str) -> Witness:
    return Witness(vocabularies.document(json.loads(choice)))


def _pieces(witness: Witness) -> Sequence[str]:
    """Texts of single tokens, as far as they are whole characters."""
    texts = [witness.decode([token]).replace(MARK, " ").removeprefix("##") for token in sorted(witness.names)]
    return list(dict.fromkeys(text for text in texts if text and "\ufffd" not in text))


def _overlapping(draw: Draw, pieces: Sequence[str]) -> str:
    """Two pieces of which the second begins with the last letter of the first: where one ends is to be decided."""
    longer = [piece for piece in pieces if len(piece) > 1 and piece.isalpha()]
    first = pick(draw, longer)
    behind = [piece for piece in longer if piece[0] == first[-1]]
    return first + pick(draw, behind)[1:] if behind else first


def _text(draw: Draw, given: Given, *, literals: bool = False) -> str:
    """Up to nine pieces, overlapping pieces and things beside them in a row."""
    witness = _witness(given)
    pieces = _pieces(witness)
    names = [witness.names[token] for token in sorted(witness.special)]
    parts = []
    for _ in range(draw.integer(0, 9)):
        kind = draw.integer(0, 3)
        if kind == 0:
            parts.append(pick(draw, pieces))
        elif kind == 1:
            parts.append(_overlapping(draw, pieces))
        else:
            parts.append(pick(draw, names if literals and kind == 2 else BESIDE))
    return "".join(parts)


def _shown(witness: Witness, ids: Sequence[int]) -> str:
    """Ids as a message shows them: by name."""
    return " ".join(repr(witness.names.get(token, token)) for token in ids[:24]) + (" …" if len(ids) > 24 else "")


def _same_ids(witness: Witness, where: str, got: Sequence[int], due: Sequence[int]) -> Finding | None:
    """What is wrong with ids; None if nothing is."""
    if list(got) == list(due):
        return None
    place = next((i for i, (a, b) in enumerate(zip(got, due, strict=False)) if a != b), min(len(got), len(due)))
    message = (
        f"{where}: tokens {_shown(witness, got)} came, {_shown(witness, due)} were due, different from [{place}] on"
    )
    return failed(message, expected=list(due), got=list(got))


# ── text to ids ─────────────────────────────────────────────────────────────────────────────────────────────────────

TOKENS = {"type": "array", "items": {"type": ["string", "integer"]}, "description": "tokens by name, or ids"}


def ask_tokens(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A text has the tokens that were worked out by hand.

    Varies: nothing; texts and tokens stand in the case.
    Compares: ids with those of the named tokens.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    return {"ids": [model.tokenize(row["text"], **_option(row)) for row in given["rows"]]}


def _option(row: Mapping[str, Any]) -> dict[str, bool]:
    """The option is sent where it is wanted, and nowhere else: not every candidate has it."""
    return {"allow_special": True} if row["special"] else {}


def judge_tokens(given: Given, asked: Asked, reference: Reference) -> Finding:
    witness = _witness(given)
    for row, ids in zip(given["rows"], asked["ids"], strict=True):
        how = ", special tokens allowed" if row["special"] else ""
        wrong = _same_ids(witness, f"text {points(row['text'])}{how}", ids, ids_of(row["tokens"], witness.ids))
        if wrong is not None:
            return wrong
    return passed()


check(
    "tokens",
    ask_tokens,
    judge_tokens,
    needs=("load_model", "tokenize"),
    given={
        "model": {**MODEL, "required": ["tokenizer"]},
        "rows": {
            "type": "array",
            "minItems": 1,
            "description": "texts and the tokens that are due",
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "as given"},
                    "tokens": {**TOKENS, "description": "as due, by name"},
                    "special": {
                        "type": "boolean",
                        "default": False,
                        "description": "whether special tokens are allowed",
                    },
                },
                "required": ["text", "tokens"],
                "additionalProperties": False,
            },
        },
    },
)


def ask_drawn_tokens(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A text has the tokens that the definition of its algorithm gives it.

    Varies: the text, over pieces of the vocabulary and what lies beside them, with literals of special tokens if the
        case says so.
    Compares: ids with those of the suite's own encoder, which follows the definition and no library.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    texts = [_text(draw, given, literals=given["literals"]) for _ in range(4)]
    option = {"allow_special": True} if given["allow"] else {}
    return {"texts": texts, "ids": [model.tokenize(text, **option) for text in texts]}


def judge_drawn_tokens(given: Given, asked: Asked, reference: Reference) -> Finding:
    witness = _witness(given)
    for text, ids in zip(asked["texts"], asked["ids"], strict=True):
        due = witness.encode(text, allow_special=given["allow"])
        wrong = _same_ids(witness, f"text {points(text)}", ids, due)
        if wrong is not None:
            return wrong
    return passed()


check(
    "drawn-tokens",
    ask_drawn_tokens,
    judge_drawn_tokens,
    needs=("load_model", "tokenize"),
    given={
        "model": {**MODEL, "required": ["tokenizer"]},
        "literals": {"type": "boolean", "default": False, "description": "whether texts hold names of special tokens"},
        "allow": {"type": "boolean", "default": False, "description": "whether they are the tokens then"},
    },
)

# ── there and back ──────────────────────────────────────────────────────────────────────────────────────────────────

SURROGATES = range(0xD800, 0xE000)
CHUNK = 0x1000
STRIDE = 64


def ask_every_character(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Every character comes back from its ids.

    All of Unicode's first plane is asked in texts of 4096 characters. Of the other planes, in which characters have
    four bytes, one of each 64 neighbours is asked: all values of the first three bytes, and over the runs everything.

    Varies: which of each 64 neighbours.
    Compares: each text with the detokenized ids.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    kept = [c for c in range(0x10000) if c not in SURROGATES and chr(c) not in given["without"]]
    texts = ["".join(map(chr, kept[i : i + CHUNK])) for i in range(0, len(kept), CHUNK)]
    for plane in range(0x10000, 0x110000, 0x40000):
        rows = range(plane, plane + 0x40000, CHUNK)
        texts.append("".join(_sparse(row, draw.integer(0, STRIDE - 1)) for row in rows))
    return {"texts": texts, "back": [model.detokenize(model.tokenize(text)) for text in texts]}


def _sparse(first: int, offset: int) -> str:
    """One of each STRIDE characters of a row."""
    return "".join(map(chr, range(first + offset, first + CHUNK, STRIDE)))


def judge_every_character(given: Given, asked: Asked, reference: Reference) -> Finding:
    for text, back in zip(asked["texts"], asked["back"], strict=True):
        if back == text:
            continue
        place = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back)))
        lost = f"U+{ord(text[place]):04X}" if place < len(text) else "nothing"
        came = f"{points(back[place : place + 4])}" if place < len(back) else "nothing"
        message = f"of U+{ord(text[0]):04X} … U+{ord(text[-1]):04X}, {lost} came back as {came}"
        return failed(message, expected=lost, got=came)
    return passed()


check(
    "every-character",
    ask_every_character,
    judge_every_character,
    needs=("load_model", "tokenize"),
    given={
        "model": {**MODEL, "default": {"says": ["ok"], "after": 1}},
        "without": {"type": "string", "default": "", "description": "characters that the file uses as marks"},
    },
)


def ask_same_again(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The text of a text's ids has the same ids, and the same text again.

    Varies: the text, as for drawn-tokens.
    Compares: ids of the text with ids of what came back from them, and the two texts that came back; for texts without
        unknown tokens, and, with Metaspace, without a space in front.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    texts = [*given["texts"], *(_text(draw, given) for _ in range(4))]
    rows = []
    for text in texts:
        ids = model.tokenize(text)
        back = model.detokenize(ids)
        again = model.tokenize(back)
        rows.append({"text": text, "ids": ids, "back": back, "again": again, "twice": model.detokenize(again)})
    return {"rows": rows}


def judge_same_again(given: Given, asked: Asked, reference: Reference) -> Finding:
    witness = _witness(given)
    for row in asked["rows"]:
        if witness.special & set(row["ids"]) or (witness.marks_begin and row["text"][:1] in (" ", MARK)):
            continue
        where = f"text {points(row['text'])} came back as {points(row['back'])}"
        wrong = _same_ids(witness, f"{where}, whose ids", row["again"], row["ids"])
        if wrong is not None:
            return wrong
        if row["twice"] != row["back"]:
            return failed(f"{where} and then as {points(row['twice'])}", expected=row["back"], got=row["twice"])
    return passed()


check(
    "same-again",
    ask_same_again,
    judge_same_again,
    needs=("load_model", "tokenize"),
    given={
        "model": {**MODEL, "required": ["tokenizer"]},
        "texts": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "texts beside the drawn"},
    },
)

# ── ids to text ─────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_spelled(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Tokens come back as the text that was worked out by hand.

    Varies: nothing; tokens and texts stand in the case.
    Compares: the detokenized ids with the text due.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    names = _witness(given).ids
    return {"texts": [model.detokenize(ids_of(row["tokens"], names)) for row in given["rows"]]}


check(
    "spelled",
    ask_spelled,
    judge_detokenized,
    needs=("load_model", "tokenize"),
    given={
        "model": {**MODEL, "required": ["tokenizer"]},
        "rows": {
            "type": "array",
            "minItems": 1,
            "description": "tokens and the text that is due",
            "items": {
                "type": "object",
                "properties": {"tokens": TOKENS, "text": {"type": "string", "description": "as due"}},
                "required": ["tokens", "text"],
                "additionalProperties": False,
            },
        },
    },
)


def _some_ids(draw: Draw, witness: Witness, *, text_only: bool) -> list[int]:
    """Up to twelve ids, among them runs of byte tokens that are characters or parts of them."""
    ids: list[int] = []
    known = sorted(witness.names.keys() - (witness.special if text_only else set()))
    marked = [token for token in known if witness.names[token].startswith((MARK, "##", "Ġ"))]
    while len(ids) < 12 and draw.integer(0, 7):
        if draw.integer(0, 2) == 0:
            ids.append(pick(draw, marked))
        elif witness.byte_ids and draw.integer(0, 2) == 0:
            raw = pick(draw, ("é", "中", "😀", "\u0301", "a")).encode()
            ids += [witness.byte_ids[byte] for byte in raw[draw.integer(0, 1) : draw.integer(1, 4)]]
        else:
            ids.append(pick(draw, known))
    return ids


def ask_drawn_text(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Ids have the text that the definition of the decoder gives them, whole characters or not.

    Varies: the ids: tokens of every kind, special ones too, and bytes of characters with some missing.
    Compares: the detokenized ids with the text of the suite's own decoder.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    rows = [_some_ids(draw, _witness(given), text_only=False) for _ in range(6)]
    return {"rows": rows, "texts": [model.detokenize(row) for row in rows]}


def judge_drawn_text(given: Given, asked: Asked, reference: Reference) -> Finding:
    witness = _witness(given)
    for row, text in zip(asked["rows"], asked["texts"], strict=True):
        due = witness.decode(row)
        if text != due:
            message = f"tokens {_shown(witness, row)} gave {points(text)}, {points(due)} was due"
            return failed(message, expected=repr(due), got=repr(text))
    return passed()


check(
    "drawn-text",
    ask_drawn_text,
    judge_drawn_text,
    needs=("load_model", "tokenize"),
    given={"model": {**MODEL, "required": ["tokenizer"]}},
)


def ask_drawn_stream(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A stream of any tokens gives out the text of all of them, and never what is not in it.

    Varies: the tokens that the model says, among them parts of characters.
    Compares: after each piece, what is out with the beginning of the text due; the closing generation and the same
        request without streaming with the text due.
    Bound: none, they are equal or they are not.
    """
    says = _some_ids(draw, _witness(given), text_only=True) or [_witness(given).ids["a"]]
    model = candidate.model(speaker(candidate.probes, {**given["model"], "says": says, "after": 1}))
    options = {"max_length": len(says), "temperature": 0}
    deltas, closing = model.stream_text("a", **options)
    return {"says": says, "deltas": deltas, "closing": closing, "plain": model.generate_text("a", **options)}


def judge_drawn_stream(given: Given, asked: Asked, reference: Reference) -> Finding:
    witness = _witness(given)
    due, out = witness.decode(asked["says"]), ""
    where = f"tokens {_shown(witness, asked['says'])}"
    for i, delta in enumerate(asked["deltas"]):
        out += delta
        if not due.startswith(out):
            message = f"{where}: after deltas[{i}] {points(out)} is out, and the text due is {points(due)}"
            return failed(message, expected=repr(due), got=repr(out))
    whole = {"the pieces join to": out, "the stream closes with": asked["closing"].text}
    for what, text in {**whole, "without streaming came": asked["plain"].text}.items():
        if text != due:
            message = f"{where}: {what} {points(text or '')}, {points(due)} was due"
            return failed(message, expected=repr(due), got=repr(text))
    return passed()


check(
    "drawn-stream",
    ask_drawn_stream,
    judge_drawn_stream,
    needs=("load_model", "tokenize", "stream"),
    given={"model": {**MODEL, "required": ["tokenizer"]}},
)


def ask_counted(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """prompt_tokens is the number of ids that tokenize gives, and completion_tokens that of the new ids.

    Varies: the prompt, and how many tokens are generated.
    Compares: the counts with those numbers, where the candidate reports counts.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    rows = []
    for _ in range(3):
        prompt, count = _text(draw, given)[:20] + "a", draw.integer(1, 4)
        made = model.generate_text(prompt, max_length=count, temperature=0)
        rows.append({"prompt": prompt, "ids": model.tokenize(prompt), "count": count, "made": made})
    return {"rows": rows}


def judge_counted(given: Given, asked: Asked, reference: Reference) -> Finding:
    for row in asked["rows"]:
        made, where = row["made"], f"prompt {points(row['prompt'])}, {row['count']} new tokens"
        due = {"prompt_tokens": len(row["ids"]), "completion_tokens": row["count"]}
        for name, number in due.items():
            got = getattr(made, name)
            if got is not None and got != number:
                return failed(f"{where}: {name} is {got}, {number} was due", expected=number, got=got)
    return passed()


check(
    "counted",
    ask_counted,
    judge_counted,
    needs=("load_model", "tokenize"),
    given={"model": {**MODEL, "required": ["tokenizer"]}},
)

# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SIZE = 400
"""vocab_size of the bundles with broken files; all files of the suite fit."""
FAULT = {
    "type": "object",
    "description": "a file of the suite with one fault",
    "properties": {
        "name": {"type": "string", "description": "for the message of a failure"},
        "kind": {"enum": list(vocabularies.KINDS), "description": "which file"},
        "put": {"type": "object", "description": "path of a member -> its value"},
        "drop": {"type": "array", "items": {"type": "string"}, "description": "paths of members left out"},
        "size": {"type": "integer", "description": "vocab_size of the model, instead of 400"},
        "splice": {"type": "object", "description": "at: a text of the file; with: the text that replaces it"},
        "cut": {"type": "integer", "description": "bytes left out at the end"},
        "nest": {"type": "integer", "description": "a list this deep stands where truncation is null"},
        "encoding": {"type": "string", "description": "other than utf-8"},
    },
    "required": ["name", "kind"],
    "additionalProperties": False,
}


def faulty(fault: Mapping[str, Any]) -> bytes:
    """A broken file."""
    text = vocabularies.raw(fault).decode()
    if "splice" in fault:
        at = fault["splice"]["at"]
        if at not in text:
            raise ValueError(f"the file of the suite does not hold {at!r}")
        text = text.replace(at, fault["splice"]["with"], 1)
    if "nest" in fault:
        text = text.replace('"truncation": null', '"truncation": ' + "[" * fault["nest"] + "]" * fault["nest"], 1)
    raw = text.encode(fault.get("encoding", "utf-8"))
    return raw[: len(raw) - fault.get("cut", 0)]


def ask_refuses_tokenizer(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A tokenizer.json that does not decide is refused with invalid_format, and the next sound one is opened.

    Varies: nothing; the faults stand in the case, each alone in a sound file.
    Compares: the refusal's code with the one due; ids of a text, under a sound file of each kind in the case, with
        those due.
    Bound: none, they are equal or they are not.
    """
    outcomes = []
    for fault in given["faults"]:
        edits = {**PLAIN, "put": {"parameters.vocab_size": str(fault.get("size", SIZE))}}
        outcomes.append(outcome(candidate, candidate.probes.write(document(edits), None, tokenizer=faulty(fault))))
    kinds = list(dict.fromkeys(fault["kind"] for fault in given["faults"]))
    sound = [_sound(candidate, kind) for kind in kinds]
    return {"outcomes": outcomes, "sound": dict(zip(kinds, sound, strict=True))}


def _sound(candidate: Candidate, kind: str) -> Any:
    """Ids of a text under a file without a fault, or the code of a refusal."""
    edits = {**PLAIN, "put": {"parameters.vocab_size": str(SIZE)}}
    bundle = candidate.probes.write(document(edits), None, tokenizer=vocabularies.raw({"kind": kind}))
    model: LoadedModel | Refused = refusal_of(candidate.model, bundle)
    return model.code if isinstance(model, Refused) else model.tokenize(SOUND_TEXT)


SOUND_TEXT = "the tokens"


def judge_refuses_tokenizer(given: Given, asked: Asked, reference: Reference) -> Finding:
    for fault, got in zip(given["faults"], asked["outcomes"], strict=True):
        if got != "invalid_format":
            found = "it loaded" if got == "loaded" else f"refused with {got}"
            message = f"{fault['kind']} with {fault['name']}: {found}, refusal with invalid_format was due"
            return failed(message, expected="invalid_format", got=got)
    for kind, ids in asked["sound"].items():
        witness = _witness({"model": {"tokenizer": {"kind": kind}}})
        if isinstance(ids, str):
            return failed(f"a sound file ({kind}) was refused with {ids}", expected="loaded", got=ids)
        wrong = _same_ids(witness, f"a sound file ({kind}), text {SOUND_TEXT!r}", ids, witness.encode(SOUND_TEXT))
        if wrong is not None:
            return wrong
    return passed()


check(
    "refuses-tokenizer",
    ask_refuses_tokenizer,
    judge_refuses_tokenizer,
    needs=("load_model", "tokenize"),
    given={"faults": {"type": "array", "minItems": 1, "items": FAULT, "description": "broken files, each on its own"}},
)
