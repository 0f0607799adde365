"""Generation as a caller sees it: limits, ends, counts, options and seeds, on models whose answer is known.

Most cases are vectors: a model that says something, a request, and the answer that is due, all written down in the
case. The rest asks for what several answers must have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos_conformance.candidate import LoadedModel, Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.bundles import MODEL, continued, speaker
from llmasos_conformance.inputs import pick
from llmasos_conformance.protocol import REFUSAL_CODES, Generation
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

OPTIONS = {"type": "object", "description": "max_length, temperature and other options, as sent"}
PROMPT = {"type": "string", "description": "text of the prompt"}
IDS = {"type": "array", "items": {"type": "integer"}, "description": "ids of the prompt; then ids are asked for"}
DUE = {
    "type": "object",
    "description": "what must come; a count or ids that the candidate does not report are not judged",
    "properties": {
        "text": {"type": "string", "description": "the continuation"},
        "ids": {"type": "array", "items": {"type": "integer"}, "description": "the new ids"},
        "finish_reason": {"enum": ["stop", "length"], "description": "as reported"},
        "prompt_tokens": {"type": "integer", "description": "ids that the model was given"},
        "completion_tokens": {"type": "integer", "description": "new ids"},
    },
    "required": ["finish_reason"],
    "additionalProperties": False,
}
CALL = {
    "type": "object",
    "properties": {"prompt": PROMPT, "ids": IDS, "options": OPTIONS, "due": DUE},
    "required": ["due"],
    "additionalProperties": False,
}
CALLS = {"type": "array", "minItems": 1, "items": CALL, "description": "requests to one model, in this order"}

Request = Mapping[str, Any]


def request(model: LoadedModel, call: Request) -> Generation:
    """Ask for text, or for ids where the call gives ids."""
    options = call.get("options", {})
    if "ids" in call:
        return model.generate_ids(call["ids"], **options)
    return model.generate_text(call["prompt"], **options)


def shown(call: Request) -> str:
    """A request as a message shows it."""
    first = f"ids={call['ids']!r:.80}" if "ids" in call else f"prompt={call['prompt']!r:.80}"
    return ", ".join([first, *(f"{name}={value!r:.60}" for name, value in call.get("options", {}).items())])


def differs(due: Mapping[str, Any], got: Generation | Refused, where: str) -> Finding | None:
    """What is wrong with an answer; None if nothing is."""
    if isinstance(got, Refused):
        return failed(f"{where}: refused with {got.code}, an answer was due", expected="an answer", got=got.code)
    for name, expected in due.items():
        found = getattr(got, name)
        if name in ("text", "finish_reason"):
            right = found == expected
        else:
            right = found is None or (list(found) == expected if name == "ids" else found == expected)
        if not right:
            message = f"{where}: {name} is {found!r:.200}, {expected!r:.200} was due"
            return failed(message, expected=repr(expected), got=repr(found))
    return None


def first_wrong(given: Given, answers: Sequence[Generation | Refused]) -> Finding:
    """The finding of a case with `calls`."""
    for i, (call, got) in enumerate(zip(given["calls"], answers, strict=True)):
        wrong = differs(call["due"], got, f"calls[{i}] ({shown(call)})")
        if wrong is not None:
            return wrong
    return passed()


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_answers(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The answer to a request is the one that the model was made for.

    Varies: nothing; model, requests and answers stand in the case.
    Compares: text, finish reason, and counts and ids where the candidate reports them, with what is due.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    return {"answers": [request(model, call) for call in given["calls"]]}


def judge_answers(given: Given, asked: Asked, reference: Reference) -> Finding:
    return first_wrong(given, asked["answers"])


check("answers", ask_answers, judge_answers, needs=("load_model",), given={"model": MODEL, "calls": CALLS})


def ask_batch_answers(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Each row of a batch is answered by its own ids, whatever stands beside it.

    Varies: nothing; model, rows, options and answers stand in the case.
    Compares: ids and finish reason of each row with what is due.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    return {"answers": model.generate_batch([row["ids"] for row in given["rows"]], **given["options"])}


def judge_batch_answers(given: Given, asked: Asked, reference: Reference) -> Finding:
    for i, (row, got) in enumerate(zip(given["rows"], asked["answers"], strict=True)):
        wrong = differs(
            row["due"], got, f"row {i} of a batch ({shown({'ids': row['ids'], 'options': given['options']})})"
        )
        if wrong is not None:
            return wrong
    return passed()


check(
    "batch-answers",
    ask_batch_answers,
    judge_batch_answers,
    needs=("load_model", "batch"),
    given={
        "model": MODEL,
        "options": OPTIONS,
        "rows": {
            "type": "array",
            "minItems": 2,
            "description": "rows of one batch",
            "items": {
                "type": "object",
                "properties": {"ids": IDS, "due": DUE},
                "required": ["ids", "due"],
                "additionalProperties": False,
            },
        },
    },
)


def ask_refuses(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A wrong request is refused with the code of its requirement, and a right one after it is answered. (and ERR-1)

    Varies: nothing; model, requests, code and the right request stand in the case.
    Compares: the refusal's code with the one due; the answer to the right request after each refusal with what is due.
    Bound: none, they are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, given["model"]))
    tried = []
    for call in given["requests"]:
        refusal = refusal_of(request, model, call)
        tried.append((refusal, refusal_of(request, model, given["then"])))
    return {"tried": tried}


def judge_refuses(given: Given, asked: Asked, reference: Reference) -> Finding:
    code, then = given["code"], given["then"]
    for i, (call, (got, after)) in enumerate(zip(given["requests"], asked["tried"], strict=True)):
        where = f"requests[{i}] ({shown(call)})"
        if not isinstance(got, Refused):
            answer = f"an answer ({got.finish_reason}, {got.text!r:.60})"
            return failed(f"{where}: {answer}, refusal with {code} was due", expected=code, got=answer)
        if got.code != code:
            return failed(f"{where}: refused with {got.code}, {code} was due", expected=code, got=got.code)
        wrong = differs(then["due"], after, f"after the refusal of {where}, then ({shown(then)})")
        if wrong is not None:
            return wrong
    return passed()


check(
    "refuses-request",
    ask_refuses,
    judge_refuses,
    needs=("load_model",),
    given={
        "model": MODEL,
        "requests": {
            "type": "array",
            "minItems": 1,
            "description": "wrong requests, each asked on its own",
            "items": {
                "type": "object",
                "properties": {"prompt": PROMPT, "ids": IDS, "options": OPTIONS},
                "additionalProperties": False,
            },
        },
        "code": {"enum": list(REFUSAL_CODES), "description": "code of the refusal"},
        "then": {**CALL, "description": "a right request, asked after each wrong one"},
    },
)

# ── context ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def ask_context(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The context that a document names is the one that holds: what is shorter refuses, what is longer goes on.

    Varies: nothing; the contexts stand in the case. Models are loaded one after the other and all asked afterwards.
    Compares: the code of the refusal where the prompt is longer, else the text up to the end of the context.
    Bound: none, they are equal or they are not.
    """
    after, prompt = given["prompt"], "x" * given["prompt"]
    speaking = given.get("model", {"says": [ALPHABET], "after": after})
    models = [candidate.model(speaker(candidate.probes, {**speaking, "context": n})) for n in given["contexts"]]
    options = {"max_length": len(ALPHABET), "temperature": 0}
    return {"answers": [refusal_of(model.generate_text, prompt, **options) for model in models]}


def judge_context(given: Given, asked: Asked, reference: Reference) -> Finding:
    held = given["prompt"]
    for context, got in zip(given["contexts"], asked["answers"], strict=True):
        where = f"context_length {context}, {held} tokens of prompt"
        if context >= held:
            speaking = {**given.get("model", {"says": [ALPHABET], "after": held}), "context": context}
            text = bytes(continued(speaking, b"x" * held, len(ALPHABET))).decode()
            due = {"text": text, "finish_reason": "length"}
            wrong = differs(due, got, where)
            if wrong is not None:
                return wrong
        elif not isinstance(got, Refused) or got.code != "context_overflow":
            came = got.code if isinstance(got, Refused) else f"an answer, {got.text!r:.60}"
            message = f"{where}: {came} came, refusal with context_overflow was due"
            return failed(message, expected="context_overflow", got=came)
    return passed()


check(
    "context-followed",
    ask_context,
    judge_context,
    needs=("load_model",),
    given={
        "contexts": {
            "type": "array",
            "minItems": 2,
            "items": {"type": "integer", "minimum": 2},
            "description": "context_length of each model",
        },
        "prompt": {"type": "integer", "minimum": 1, "description": "tokens of the prompt"},
    },
    optional={"model": {**MODEL, "description": "that goes on behind a row of x; left out: one of GPT-3"}},
)

# ── options ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_filter(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A filter keeps exactly the tokens that it must keep.

    Varies: the prompt, and the seed where one is declared; else the candidate's own randomness.
    Compares: the characters that come in `count` tokens with those that may come.
    Bound: none for a character that must not come. Each that may come has probability q >= 0.15 after filtering, so
    that one of at most five is missing by chance with probability below 5 · 0.85^count: 2e-17 for 240.
    """
    model = candidate.model(speaker(candidate.probes, {"law": given["law"], "context": given["count"] + 8}))
    prompt = "".join(pick(draw, "abcdefgh") for _ in range(4))
    options = {"max_length": given["count"], **given["options"]}
    return {"answer": model.generate_text(prompt, **options, **candidate.drawn_seed(draw))}


def judge_filter(given: Given, asked: Asked, reference: Reference) -> Finding:
    text, kept = asked["answer"].text, given["kept"]
    if len(text) != given["count"]:
        return failed(f"{len(text)} characters came, {given['count']} were due", expected=given["count"], got=len(text))
    strangers = sorted(set(text) - set(kept))
    if strangers:
        place = min(text.index(character) for character in strangers)
        message = f"token {place} is {text[place]!r}, which {given['options']} removes; {kept!r} may come"
        return failed(message, expected=kept, got="".join(sorted(set(text))))
    missing = sorted(set(kept) - set(text))
    if missing:
        message = f"{missing[0]!r} did not come in {len(text)} tokens, though {given['options']} keeps {kept!r}"
        return failed(message, expected=kept, got="".join(sorted(set(text))))
    return passed()


check(
    "filter",
    ask_filter,
    judge_filter,
    needs=("load_model",),
    given={
        "law": MODEL["properties"]["law"],  # type: ignore[index]
        "options": OPTIONS,
        "kept": {"type": "string", "description": "the characters that may come, and that all come"},
        "count": {"type": "integer", "minimum": 1, "default": 240, "description": "tokens generated"},
    },
)

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
EVEN = {"law": dict.fromkeys(LETTERS, 1 / 64), "context": 64}
"""Sixty-four letters, equally likely: 32 tokens carry 192 bits, so that equal texts are no accident."""
UNEVEN = {"law": dict(zip("abcdefgh", [0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05], strict=True)), "context": 128}
"""Eight letters of different weight, so that another temperature is another law."""
LENGTH = 32


def _seed(draw: Draw) -> int:
    return draw.integer(0, 2**32 - 1)


def _prompt(draw: Draw) -> str:
    return "".join(pick(draw, LETTERS) for _ in range(draw.integer(1, 6)))


def _unequal(a: Generation, b: Generation, what: str) -> Finding | None:
    """A finding if two generations are not the same result."""
    for name in ("text", "ids", "finish_reason"):
        one, other = getattr(a, name), getattr(b, name)
        if one != other:
            place = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), "the end")
            message = f"{what}: {name} differs from {place} on"
            return failed(message, expected=repr(one), got=repr(other))
    return None


def ask_neutral(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Options at their neutral values change nothing.

    Varies: prompt, seed, and whether the model's law is even unless the case says that it is.
    Compares: the seeded result without the options with the same request and each of them.
    Bound: none, text and ids are equal or they are not.
    """
    law = EVEN if given["even"] else pick(draw, (EVEN, UNEVEN))
    model = candidate.model(speaker(candidate.probes, law))
    prompt, fixed = _prompt(draw), {"max_length": LENGTH, "temperature": given["temperature"], "seed": _seed(draw)}
    plain = model.generate_text(prompt, **fixed)
    return {"plain": plain, "with": [model.generate_text(prompt, **fixed, **options) for options in given["options"]]}


def judge_neutral(given: Given, asked: Asked, reference: Reference) -> Finding:
    for options, got in zip(given["options"], asked["with"], strict=True):
        wrong = _unequal(asked["plain"], got, f"with {options}, which is neutral")
        if wrong is not None:
            return wrong
    return passed()


check(
    "neutral-options",
    ask_neutral,
    judge_neutral,
    needs=("load_model", "seed"),
    given={
        "options": {
            "type": "array",
            "minItems": 1,
            "items": OPTIONS,
            "description": "neutral options, each on its own",
        },
        "temperature": {"type": "number", "default": 1.0, "description": "of all requests"},
        "even": {"type": "boolean", "default": False, "description": "whether all letters are equally likely"},
    },
)


def ask_default_temperature(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Without temperature the result is that of temperature 1.

    Varies: prompt and seed; the model's law is uneven, so that temperature moves every token.
    Compares: two seeded results of 100 tokens.
    Bound: none, text and ids are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, UNEVEN))
    prompt, fixed = _prompt(draw), {"max_length": 100, "seed": _seed(draw)}
    return {
        "without": model.generate_text(prompt, **fixed),
        "with": model.generate_text(prompt, temperature=1.0, **fixed),
    }


def judge_default_temperature(given: Given, asked: Asked, reference: Reference) -> Finding:
    return _unequal(asked["with"], asked["without"], "without temperature, compared with temperature 1") or passed()


check("default-temperature", ask_default_temperature, judge_default_temperature, needs=("load_model", "seed"))

# ── seeds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


BY_IDS = {"type": "boolean", "default": False, "description": "ask for ids instead of text"}


def _seeded(model: LoadedModel, prompt: str, by_ids: bool, **options: Any) -> Generation:
    """A generation from a prompt of ASCII, or from its ids."""
    return model.generate_ids(list(prompt.encode()), **options) if by_ids else model.generate_text(prompt, **options)


def ask_same_seed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same model, request and seed give the same result, whatever was asked between.

    Varies: prompt, temperature, the law of the model, and the seed unless the case has one.
    Compares: three results of one request; before the second and third come an unseeded and another seeded request.
        One more result behind each request that the case puts between.
    Bound: none, text and ids are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, pick(draw, (EVEN, UNEVEN))))
    prompt, seed, temperature = _prompt(draw), _seed(draw), pick(draw, (1.0, 0.5, 2.0))
    if given["seed"] is not None:
        seed = given["seed"]

    def once() -> Generation:
        return _seeded(model, prompt, given["ids"], max_length=LENGTH, temperature=temperature, seed=seed)

    results = [once()]
    model.sample_text(prompt, max_length=LENGTH, temperature=temperature)
    results.append(once())
    model.generate_text(prompt, max_length=3, temperature=temperature, seed=seed + 1)
    results.append(once())
    for options in given.get("between", ()):
        _seeded(model, prompt, given["ids"], **{"max_length": 3, "temperature": temperature, "seed": seed, **options})
        results.append(once())
    return {"seed": seed, "results": results}


def judge_same_seed(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, *others = asked["results"]
    between = ["", "", *(f" and another with {options!r:.80} between" for options in given.get("between", ()))]
    for i, (other, what) in enumerate(zip(others, between, strict=True), 1):
        wrong = _unequal(first, other, f"call {i} with seed {asked['seed']}{what}, compared with call 0")
        if wrong is not None:
            return wrong
    return passed()


check(
    "same-seed",
    ask_same_seed,
    judge_same_seed,
    needs=("load_model", "seed"),
    given={
        "seed": {"type": ["integer", "null"], "minimum": 0, "default": None, "description": "null draws one"},
        "ids": BY_IDS,
    },
    optional={
        "between": {
            "type": "array",
            "minItems": 1,
            "items": OPTIONS,
            "description": "options of further requests, each followed by the request once more",
        }
    },
)


def ask_different_seeds(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Different seeds give different results, neighbours and large ones too.

    Varies: prompt and the first seed.
    Compares: every pair of results of 32 tokens, each one of 64 equally likely letters.
    Bound: two of eight agree by chance with probability 28 · 64^-32, below 1e-56.
    """
    model = candidate.model(speaker(candidate.probes, EVEN))
    prompt, base = _prompt(draw), draw.integer(3, 2**31)
    seeds = [0, 1, 2, base, base + 1, base + 2**32, 2**52 + base, 2**53 - 1]
    options = {"max_length": LENGTH, "temperature": 1.0}
    made = [_seeded(model, prompt, given["ids"], seed=seed, **options) for seed in seeds]
    return {"seeds": seeds, "results": [each.ids if given["ids"] else each.text for each in made]}


def judge_different_seeds(given: Given, asked: Asked, reference: Reference) -> Finding:
    seen: list[Any] = []
    for seed, result in zip(asked["seeds"], asked["results"], strict=True):
        if result in seen:
            kind, first = "ids" if given["ids"] else "characters", asked["seeds"][seen.index(result)]
            message = f"seeds {first} and {seed} give the same {len(result)} {kind}"
            return failed(message, expected=f"different {kind}", got=repr(result))
        seen.append(result)
    return passed()


check(
    "different-seeds", ask_different_seeds, judge_different_seeds, needs=("load_model", "seed"), given={"ids": BY_IDS}
)


def ask_seeded_stream(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A sampled stream with a seed gives out the text of the same request without streaming.

    Varies: prompt, seed, temperature, and the law of the model.
    Compares: the joined pieces, and the generation that closes the stream, with the request without streaming.
    Bound: none, text and ids are equal or they are not.
    """
    model = candidate.model(speaker(candidate.probes, pick(draw, (EVEN, UNEVEN))))
    prompt, options = _prompt(draw), {"max_length": LENGTH, "temperature": pick(draw, (1.0, 0.5, 2.0))}
    options["seed"] = _seed(draw)
    deltas, closing = model.stream_text(prompt, **options)
    return {"deltas": deltas, "closing": closing, "plain": model.generate_text(prompt, **options)}


def judge_seeded_stream(given: Given, asked: Asked, reference: Reference) -> Finding:
    joined, plain = "".join(asked["deltas"]), asked["plain"]
    if joined != plain.text:
        message = "the pieces of a seeded stream, joined, are not the text of the same request without streaming"
        return failed(message, expected=repr(plain.text), got=repr(joined))
    return _unequal(plain, asked["closing"], "the end of a seeded stream, compared with no streaming") or passed()


check("seeded-stream", ask_seeded_stream, judge_seeded_stream, needs=("load_model", "stream", "seed"))


def ask_unseeded(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Without a seed, sampled calls are independent, also behind calls with one.

    Varies: the prompt, the candidate's own randomness, and a seed that comes before each call if the case has it so.
    Compares: every pair of three results of 32 tokens, each one of 64 equally likely letters.
    Bound: two of three agree by chance with probability 3 · 64^-32, below 1e-57.
    """
    model, prompt = candidate.model(speaker(candidate.probes, EVEN)), _prompt(draw)
    seed, samples = _seed(draw) if given["behind_seeded"] else None, list[int]()
    for _ in range(3):
        if seed is not None:
            model.generate_text(prompt, max_length=3, temperature=1.0, seed=seed)
        samples.append(model.sample_text(prompt, max_length=LENGTH, temperature=1.0))
    return {"samples": samples}


def judge_unseeded(given: Given, asked: Asked, reference: Reference) -> Finding:
    samples = asked["samples"]
    for i, sample in enumerate(samples):
        if sample in samples[:i]:
            message = f"calls {samples.index(sample)} and {i} without a seed give the same text"
            return failed(message, expected="different texts", got="equal ones")
    return passed()


check(
    "unseeded",
    ask_unseeded,
    judge_unseeded,
    needs=("load_model",),
    given={
        "behind_seeded": {
            "type": "boolean",
            "default": False,
            "description": "the same seeded call comes before each call; then the case needs seed",
        }
    },
)
