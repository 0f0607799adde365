"""Choices and their probabilities: generation on ids follows the logits, and so do scores and log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.beside import behind
from llmasos_conformance.checks.rows import (
    LENGTH,
    PROBE,
    PROMPTS,
    STEPS,
    claims_at_least,
    counted,
    draw_ids,
    draw_other,
    new_ids,
    same_choice,
    text_of,
    told,
    unlike_greedy,
    vocabulary,
)
from llmasos_conformance.numerics import worst
from llmasos_conformance.reference import NOTHING, Beside
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

NEVER = 50.0
"""A token whose logit, divided by the temperature, lies this far below the largest is drawn once in e⁵⁰ = 5·10²¹."""


def ask_greedy(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """With temperature 0 each id has the largest logit of the forward pass, the lowest id among equals. (GEN-1, API-6)

    Varies: content and length of the prompt.
    Compares: each id with the reference's logits behind the prompt and the ids before it.
    Bound: the margin of honest error; none between ids whose logits are equal by construction.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    return {"prompt": prompt, "ids": new_ids(model.generate_ids(prompt, max_length=given["steps"], temperature=0))}


def judge_greedy(given: Given, asked: Asked, reference: Reference) -> Finding:
    prompt, ids = asked["prompt"], asked["ids"]
    ends = reference.probes.get(given["probe"]).config["eos_token_ids"]
    return worst([unlike_greedy(reference, given["probe"], prompt, ids), counted(ids, given["steps"], ends=ends)])


GREEDY = {"probe": PROBE, "length": LENGTH, "steps": STEPS}

check("greedy", ask_greedy, judge_greedy, needs=("load_model", "generate_ids"), given=GREEDY)


def ask_greedy_text(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A text is continued with what has the largest logit at each step, byte by byte. (GEN-1)

    Varies: the prompt, a part of the probe's text that begins and ends with a whole character.
    Compares: the bytes of the text with the reference's logits behind the prompt and the bytes before each; of a text
        with U+FFFD, which may stand for several bytes, its beginning with the reference's own continuation.
    Bound: the margin of honest error.
    """
    low, high = given["length"]
    count = draw.integer(low, high)
    text = text_of(candidate, given["probe"])
    start = draw.integer(0, len(text) - count)
    prompt = text[start : start + count]
    model = candidate.model(given["probe"])
    made = model.generate_text(prompt, max_length=given["steps"], temperature=0)
    return {"prompt": prompt, "text": made.text}


def judge_greedy_text(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, steps, text = given["probe"], given["steps"], asked["text"]
    prompt = list(asked["prompt"].encode())
    if REPLACEMENT not in text:
        ids = list(text.encode())
        return worst([unlike_greedy(reference, probe, prompt, ids, label="bytes"), counted(ids, steps, "bytes")])
    return unlike_text(reference, probe, asked["prompt"], text, steps)


REPLACEMENT = "\ufffd"
"""In the place of bytes that are no text. Where a limit cuts a character, the text ends in one."""

CHARACTERS = {**LENGTH, "description": "smallest and largest number of characters of the prompt"}


def unlike_text(reference: Reference, probe: str, prompt: str, text: str, steps: int) -> Finding:
    """Whether a text is the reference's own continuation, as far as rounding does not decide it.

    Args:
        prompt: a text that stands for one id per byte. text: what came. steps: ids that were asked for.
    """
    model, dtype = reference.model(probe), reference.claims.dtype
    made = model.generate_text(prompt, max_length=steps, temperature=0)
    if text == made.text:
        return passed()
    row, due = behind(reference, probe, list(prompt.encode())), new_ids(made)
    ids, last = [*row.ids, *due[:-1]], slice(len(row.ids) - 1, None)
    truth = reference.logits(probe, ids, row.beside)[last]
    honest = [logits[last] for logits in reference.honest_logits(probe, ids, row.beside)]
    ends = reference.probes.get(probe).config["eos_token_ids"]
    written = np.array([id in ends or bool(model.detokenize([id])) for id in range(truth.shape[-1])])
    doubtful = numerics.first_doubtful(truth, honest, dtype, allowed=written)
    if doubtful is None:
        message = f"{prompt!r:.60} is continued with {text!r:.80}, {made.text!r:.80} was due"
        return failed(message, expected=made.text, got=text)
    certain = model.detokenize(due[:doubtful]).rstrip(REPLACEMENT)
    if text.startswith(certain):
        return passed()
    message = f"{prompt!r:.60} is continued with {text!r:.80}, the text was due to begin with {certain!r:.80}"
    return failed(message, expected=certain, got=text)


def ask_greedy_texts(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Whatever a model is loud about, its greedy text shows: many short prompts, each with a few ids. (GEN-1, TRF-22)

    Varies: content and length of the prompts, in characters of one byte; from the second half on each begins as an
        earlier one does, up to any place or all of it: what caches hold of that one is of use, or does harm.
    Compares: each text with the reference's continuation, of one whose end rounding decides the beginning.
    Bound: the margin of honest error. Two bytes that are no text look alike, hence so many prompts.
    """
    low, high = given["length"]
    lengths = [draw.integer(low, high) for _ in range(given["prompts"])]
    prompts = [bytes(draw.integers(length, *PRINTED)).decode() for length in lengths]
    for i in range(-(-len(prompts) // 2), len(prompts)):
        earlier = prompts[draw.integer(0, i - 1)]
        kept = draw.integer(1, len(earlier))
        prompts[i] = earlier[:kept] + prompts[i][kept:]
    model = candidate.model(given["probe"])
    options = {"max_length": given["steps"], "temperature": 0}
    return {"prompts": prompts, "texts": [model.generate_text(prompt, **options).text for prompt in prompts]}


def judge_greedy_texts(given: Given, asked: Asked, reference: Reference) -> Finding:
    pairs = zip(asked["prompts"], asked["texts"], strict=True)
    return worst([unlike_text(reference, given["probe"], *pair, given["steps"]) for pair in pairs])


PRINTED = (32, 126)
"""Bytes of the characters that prompts are made of."""

check(
    "greedy-texts",
    ask_greedy_texts,
    judge_greedy_texts,
    needs=("load_model",),
    given={"probe": PROBE, "prompts": PROMPTS, "length": CHARACTERS, "steps": STEPS},
)

check(
    "greedy-text",
    ask_greedy_text,
    judge_greedy_text,
    needs=("load_model",),
    given={"probe": PROBE, "length": CHARACTERS, "steps": STEPS},
)


def ask_prefix_monotone(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A greedy continuation of k tokens is the beginning of one of k+1. (GEN-2)

    Varies: content and length of the prompt; every k up to the largest is tried.
    Compares: the candidate with itself.
    Bound: the margin of honest error; none if D2 is claimed.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    limits = range(given["steps"] + 1)
    return {
        "prompt": prompt,
        "ids": [new_ids(model.generate_ids(prompt, max_length=limit, temperature=0)) for limit in limits],
    }


def judge_prefix_monotone(given: Given, asked: Asked, reference: Reference) -> Finding:
    prompt, exact = asked["prompt"], claims_at_least(reference, "D2")
    *_, longest = asked["ids"]
    findings = []
    for limit, ids in enumerate(asked["ids"]):
        findings.append(counted(ids, limit, f"ids for max_length {limit}"))
        when = f"max_length {limit}, and {given['steps']}"
        findings.append(same_choice(reference, given["probe"], prompt, ids, longest[:limit], when=when, exact=exact))
    return worst(findings)


check(
    "prefix-monotone",
    ask_prefix_monotone,
    judge_prefix_monotone,
    needs=("load_model", "generate_ids"),
    given=GREEDY,
)


def ask_continuation(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A prompt with the first k ids of its continuation is continued with the rest. (GEN-3)

    Varies: content and length of the prompt, and k.
    Compares: the candidate with itself.
    Bound: the margin of honest error; none if D2 is claimed.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model, steps = candidate.model(given["probe"]), given["steps"]
    whole = new_ids(model.generate_ids(prompt, max_length=steps, temperature=0))
    k = draw.integer(1, steps - 1)
    rest = new_ids(model.generate_ids([*prompt, *whole[:k]], max_length=steps - k, temperature=0))
    return {"prompt": prompt, "whole": whole, "k": k, "rest": rest}


def judge_continuation(given: Given, asked: Asked, reference: Reference) -> Finding:
    whole, k = asked["whole"], asked["k"]
    exact = claims_at_least(reference, "D2")
    begun = [*asked["prompt"], *whole[:k]]
    when = f"continued after {k} of {len(whole)} ids, and in one go"
    return worst(
        [
            counted(whole, given["steps"]),
            same_choice(reference, given["probe"], begun, asked["rest"], whole[k:], when=when, exact=exact),
        ]
    )


check("continuation", ask_continuation, judge_continuation, needs=("load_model", "generate_ids"), given=GREEDY)

OPTIONS = {"type": "object", "description": "temperature, filters and other options, as sent"}


def ask_as_greedy(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Options that leave one token to choose give the greedy continuation.

    Varies: content and length of the prompt.
    Compares: each id with the reference's logits behind the prompt and the ids before it.
    Bound: the margin of honest error, and a gap of NEVER temperatures where no filter is set.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    return {"prompt": prompt, "ids": new_ids(model.generate_ids(prompt, max_length=given["steps"], **given["options"]))}


def judge_as_greedy(given: Given, asked: Asked, reference: Reference) -> Finding:
    options, prompt, ids = given["options"], asked["prompt"], asked["ids"]
    # A filter that keeps one token leaves nothing to chance; a small temperature leaves little.
    slack = 0.0 if options.keys() - {"temperature"} else NEVER * options["temperature"]
    when = ", ".join(f"{name} {value}" for name, value in options.items())
    found = unlike_greedy(reference, given["probe"], prompt, ids, slack=slack)
    return worst([told(found, when), counted(ids, given["steps"])])


check(
    "as-greedy",
    ask_as_greedy,
    judge_as_greedy,
    needs=("load_model", "generate_ids"),
    given={**GREEDY, "options": OPTIONS},
)


def ask_seeds(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """With temperature 0 no seed changes the ids. (API-6)

    Varies: content and length of the prompt.
    Compares: the candidate with itself under several seeds and without one.
    Bound: none if D1 is claimed, else the margin of honest error.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    without = model.generate_ids(prompt, max_length=given["steps"], temperature=0)
    seeded = {
        seed: new_ids(model.generate_ids(prompt, max_length=given["steps"], temperature=0, seed=seed))
        for seed in given["seeds"]
    }
    return {"prompt": prompt, "without": new_ids(without), "seeded": seeded}


def judge_seeds(given: Given, asked: Asked, reference: Reference) -> Finding:
    prompt, without = asked["prompt"], asked["without"]
    exact = claims_at_least(reference, "D1")
    findings = [counted(without, given["steps"])]
    for seed, ids in asked["seeded"].items():
        when = f"with seed {seed}, and without one"
        findings.append(same_choice(reference, given["probe"], prompt, ids, without, when=when, exact=exact))
    return worst(findings)


SEEDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "description": "seeds to try"}

check(
    "seed-ignored",
    ask_seeds,
    judge_seeds,
    needs=("load_model", "generate_ids", "seed"),
    given={**GREEDY, "seeds": SEEDS},
)


def ask_closed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Sampled ids are ids of the vocabulary. (GEN-6)

    Varies: content and length of the prompt, and by a seed where one is declared, what is drawn.
    Compares: each id with the vocabulary's size.
    Bound: none.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model, seed = candidate.model(given["probe"]), candidate.drawn_seed(draw)
    drawn = model.generate_ids(prompt, max_length=given["steps"], temperature=given["temperature"], **seed)
    return {"ids": new_ids(drawn), "V": vocabulary(candidate, given["probe"])}


def judge_closed(given: Given, asked: Asked, reference: Reference) -> Finding:
    ids, V = asked["ids"], asked["V"]
    for i, token in enumerate(ids):
        if not 0 <= token < V:
            return failed(f"ids[{i}] is {token}, ids end at {V - 1}", expected=f"0 … {V - 1}", got=token)
    return counted(ids, given["steps"])


check(
    "closed-vocabulary",
    ask_closed,
    judge_closed,
    needs=("load_model", "generate_ids"),
    given={**GREEDY, "temperature": {"type": "number", "exclusiveMinimum": 0, "description": "of sampling"}},
)

# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Law = Mapping[int, float | None]


def agrees(
    reference: Reference,
    probe: str,
    ids: Sequence[int],
    laws: Sequence[Law],
    label: str,
    first: int,
    beside: Beside = NOTHING,
) -> Finding:
    """Whether log-probabilities are those of the reference, finite and not positive.

    Args:
        ids: what the laws look back on. laws: the one at index i belongs to the choice of ids[first + i].
        first: at least 1.

    The logarithm of a softmax is never positive, in any order of computation: the sum that divides holds the largest
    term itself. A row of one id has no choice to judge.
    """
    if not laws:
        return passed()
    for i, law in enumerate(laws):
        for token, value in law.items():
            if value is not None and value > 0:
                return failed(
                    f"{label}[{i}, {token}] is {value:.9g}, no more than 0 was due", expected="<= 0", got=value
                )
    before = ids[:-1]
    truth, honest = reference.logits(probe, before, beside), reference.honest_logits(probe, before, beside)
    low = first - 1
    due, baseline = truth[low : low + len(laws)], [computation[low : low + len(laws)] for computation in honest]
    return numerics.judge_logprobs(label, laws, due, baseline, reference.claims.dtype)


def ask_score(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A score has one entry per id: nothing for the first, then its log-probability given those before. (SCO-1, SCO-2)

    Varies: content and length of the row.
    Compares: each entry with the logarithm of softmax of the float64 reference's logits.
    Bound: honest error of the claimed dtype.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    return {"ids": ids, "score": candidate.model(given["probe"]).score(ids)}


def judge_score(given: Given, asked: Asked, reference: Reference) -> Finding:
    ids, score = asked["ids"], asked["score"]
    if len(score) != len(ids):
        return failed(f"logprobs has {len(score)} entries, {len(ids)} were due", expected=len(ids), got=len(score))
    if score[0] is not None:
        return failed(f"logprobs[0] is {score[0]:.9g}, null was due", expected="null", got=score[0])
    laws = [{token: value} for token, value in zip(ids[1:], score[1:], strict=True)]
    found = agrees(reference, given["probe"], ids, laws, "logprobs[1:]", 1)
    return told(found, f"score of {len(ids)} ids on {given['probe']}")


check("score", ask_score, judge_score, needs=("load_model", "score"), given={"probe": PROBE, "length": LENGTH})


def ask_scored_again(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A score is that of the whole row, also when its beginning has just been continued or scored. (STATE-5)

    Varies: content and length of the row, and where its beginning ends.
    Compares: the scores of a row whose beginning was continued, of the same row again, of its beginning, and of the
        row with another end, each with the float64 reference, from the first entry to the last.
    Bound: honest error of the claimed dtype.
    """
    probe = given["probe"]
    row = draw_ids(draw, candidate, probe, given["length"])
    end = draw.integer(2, len(row) - 1)
    other = [*row[:end], *(draw_other(draw, token, vocabulary(candidate, probe)) for token in row[end:])]
    model, rows = candidate.model(probe), [row, row, row[:end], other]
    model.generate_ids(row[:end], max_length=given["steps"], temperature=0)
    return {"end": end, "rows": rows, "scores": [model.score(ids) for ids in rows]}


def judge_scored_again(given: Given, asked: Asked, reference: Reference) -> Finding:
    end, rows = asked["end"], asked["rows"]
    situations = (f"its first {end} ids were continued", "scored before", "a longer row scored before",
                  f"its first {end} ids scored before")  # fmt: skip
    answers = zip(rows, asked["scores"], situations, strict=True)
    return worst([told(judge_score(given, {"ids": ids, "score": score}, reference), when)
                  for ids, score, when in answers])  # fmt: skip


check(
    "scored-again",
    ask_scored_again,
    judge_scored_again,
    needs=("load_model", "score", "generate_ids"),
    given={"probe": PROBE, "length": {**LENGTH, "items": {"type": "integer", "minimum": 3}}, "steps": STEPS},
)

COUNT = {"type": "integer", "minimum": 0, "description": "how many of the likeliest ids are asked for"}


def ask_logprobs(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Log-probabilities of generated ids are those of the unmodified logits, whatever the options. (SCO-3, SCO-6)

    Varies: content and length of the prompt, and by a seed where one is declared, what is drawn.
    Compares: each entry with the logarithm of softmax of the float64 reference's logits; which ids it names with the
        likeliest ones.
    Bound: honest error of the claimed dtype; for the likeliest ids its margin.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model, options = candidate.model(given["probe"]), {**given["options"], **candidate.drawn_seed(draw)}
    made = model.generate_ids(prompt, max_length=given["steps"], logprobs=given["count"], **options)
    return {"prompt": prompt, "ids": new_ids(made), "logprobs": made.logprobs}


def judge_logprobs(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, prompt, ids, laws = given["probe"], asked["prompt"], asked["ids"], asked["logprobs"]
    if laws is None:
        return failed("logprobs are missing", expected=f"{len(ids)} entries", got="none")
    if len(laws) != len(ids) or len(ids) != given["steps"]:
        found = f"{len(ids)} ids and {len(laws)} entries of logprobs"
        return failed(f"{found} came, {given['steps']} of each were due", expected=given["steps"], got=len(laws))
    whole = [*prompt, *ids]
    named = names(reference, probe, whole, len(prompt), laws, given["count"])
    when = ", ".join([f"logprobs {given['count']}", *(f"{name} {value}" for name, value in given["options"].items())])
    return told(worst([named, agrees(reference, probe, whole, laws, "logprobs", len(prompt))]), when)


def names(
    reference: Reference,
    probe: str,
    ids: Sequence[int],
    first: int,
    laws: Sequence[Law],
    count: int,
    beside: Beside = NOTHING,
) -> Finding:
    """Whether each law names the chosen id and the `count` likeliest."""
    before = ids[:-1]
    truth, honest = reference.logits(probe, before, beside), reference.honest_logits(probe, before, beside)
    margin = numerics.margin(truth, honest, reference.claims.dtype)
    V = truth.shape[-1]
    for i, law in enumerate(laws):
        chosen, logits = ids[first + i], truth[first - 1 + i]
        if chosen not in law:
            return failed(f"logprobs[{i}] lacks the chosen id {chosen}", expected=chosen, got=sorted(law))
        outside = [token for token in law if not 0 <= token < V]
        if outside:
            return failed(f"logprobs[{i}] names id {outside[0]}, ids end at {V - 1}", got=outside[0])
        if count == 0:
            extra = sorted(set(law) - {chosen})
            if extra:
                return failed(f"logprobs[{i}] names {extra}, only the chosen id was due", expected=chosen, got=extra)
            continue
        least = float(np.sort(logits)[-min(count, V)]) - margin
        likely = {token for token in law if logits[token] >= least}
        if len(likely) < min(count, V) or set(law) - likely - {chosen} or len(law) > count + 1:
            due = [int(token) for token in np.argsort(-logits, kind="stable")[:count]]
            message = f"logprobs[{i}] names {sorted(law)}; the {count} likeliest {sorted(due)} and {chosen} were due"
            return failed(message, expected=sorted({*due, chosen}), got=sorted(law))
    return passed()


check(
    "logprobs",
    ask_logprobs,
    judge_logprobs,
    needs=("load_model", "generate_ids", "logprobs"),
    given={**GREEDY, "count": COUNT, "options": OPTIONS},
)


def ask_scored(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Generation and score give the same ids the same log-probabilities. (SCO-4)

    Varies: content and length of the prompt, and by a seed where one is declared, what is drawn.
    Compares: the log-probabilities of a generation and the score of the same ids, each with the float64 reference.
    Bound: honest error of the claimed dtype; equal bits if D3 is claimed.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model, options = candidate.model(given["probe"]), {"temperature": given["temperature"], "logprobs": 1}
    made = model.generate_ids(prompt, max_length=given["steps"], **options, **candidate.drawn_seed(draw))
    ids = new_ids(made)
    return {"prompt": prompt, "ids": ids, "logprobs": made.logprobs, "score": model.score([*prompt, *ids])}


def judge_scored(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, prompt, ids, laws = given["probe"], asked["prompt"], asked["ids"], asked["logprobs"]
    if laws is None or len(laws) != len(ids) or len(ids) != given["steps"]:
        came = f"{len(ids)} ids and {0 if laws is None else len(laws)} entries of logprobs"
        return failed(f"{came} came, {given['steps']} of each were due", expected=given["steps"], got=came)
    score, whole = asked["score"], [*prompt, *ids]
    scored: list[Law] = [{token: value} for token, value in zip(ids, score[len(prompt) :], strict=True)]
    made: list[Law] = [{token: law.get(token)} for token, law in zip(ids, laws, strict=True)]
    findings = [
        told(agrees(reference, probe, whole, scored, "logprobs", len(prompt)), "score of generated ids"),
        told(agrees(reference, probe, whole, made, "logprobs", len(prompt)), "generation that is scored"),
    ]
    if claims_at_least(reference, "D3") and made != scored:
        findings.append(failed("score and generation differ in their bits, and D3 is claimed"))
    return worst(findings)


check(
    "logprobs-scored",
    ask_scored,
    judge_scored,
    needs=("load_model", "generate_ids", "logprobs", "score"),
    given={**GREEDY, "temperature": {"type": "number", "minimum": 0, "description": "of the generation"}},
)
