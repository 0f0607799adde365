"""History: an answer does not depend on requests before it, nor on other models that are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from llmasos_conformance.candidate import LoadedModel, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import (
    LENGTH,
    PROBE,
    STEPS,
    against_itself,
    against_truth,
    claims_at_least,
    counted,
    draw_ids,
    new_ids,
    same_choice,
    unlike_greedy,
    vocabulary,
)
from llmasos_conformance.inputs import pick
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

# ── history ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Event = Callable[["Draw", "Candidate", LoadedModel, str], None]


def _longest(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    context = int(candidate.probes.get(probe).config["context_length"])
    model.forward([draw_ids(draw, candidate, probe, (context, context))])


def _refused(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    context = int(candidate.probes.get(probe).config["context_length"])
    refusal_of(model.forward, [draw_ids(draw, candidate, probe, (context + 1, context + 1))])
    refusal_of(model.forward, [[0, vocabulary(candidate, probe)]])


def _batched(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    model.forward([draw_ids(draw, candidate, probe, length) for length in ((9, 12), (1, 1), (3, 5))])


def _generated(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    model.generate_ids(draw_ids(draw, candidate, probe, (4, 12)), max_length=12, temperature=0)


def _sampled(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    prompt, seed = draw_ids(draw, candidate, probe, (4, 12)), candidate.drawn_seed(draw)
    model.generate_ids(prompt, max_length=12, temperature=1.5, **seed)


def _scored(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    model.score(draw_ids(draw, candidate, probe, (4, 12)))


def _session(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    session = model.open(draw_ids(draw, candidate, probe, (4, 12)))
    session.extend(draw_ids(draw, candidate, probe, (1, 4)))


def _many(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    """More prompts than are kept, each longer than two of the blocks in which they are kept."""
    for _ in range(12):
        row = draw_ids(draw, candidate, probe, (33, 48))
        model.forward([row])
        model.generate_ids(row, max_length=2, temperature=0)


def _other_model(draw: Draw, candidate: Candidate, model: LoadedModel, probe: str) -> None:
    other = "llama-asymmetric" if probe.startswith("llama-") else "asymmetric"
    candidate.model(other).forward([draw_ids(draw, candidate, other, (4, 24))])


EVENTS: Mapping[str, Event] = {
    "longest": _longest,
    "refused": _refused,
    "batch": _batched,
    "generated": _generated,
    "sampled": _sampled,
    "scored": _scored,
    "session": _session,
    "other-model": _other_model,
    "many": _many,
}
"""What may come between two equal requests. Their own answers are not judged here."""

BETWEEN = {"enum": list(EVENTS), "description": "what comes between the two equal requests"}


def ask_same_logits(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same request has the same logits, whatever came between. (STATE-1)

    Varies: content and length of the row, and content of what comes between.
    Compares: the candidate with itself before and after.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    before = model.forward([ids])[0]
    EVENTS[given["between"]](draw, candidate, model, given["probe"])
    return {"ids": ids, "before": before, "after": model.forward([ids])[0]}


def judge_same_logits(given: Given, asked: Asked, reference: Reference) -> Finding:
    when = f"after and before: {given['between'].replace('-', ' ')}"
    return against_itself(
        reference, given["probe"], asked["ids"], asked["after"], asked["before"], when=when, bitwise=True
    )


HISTORY = {"probe": PROBE, "length": LENGTH, "between": BETWEEN}

check("same-logits-again", ask_same_logits, judge_same_logits, needs=("load_model", "forward"), given=HISTORY)


def ask_same_ids(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same request has the same greedy ids, whatever came between. (STATE-1)

    Varies: content and length of the prompt, and content of what comes between.
    Compares: the candidate with itself before and after.
    Bound: none if D1 is claimed, else the margin of honest error.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    before = model.generate_ids(prompt, max_length=given["steps"], temperature=0)
    EVENTS[given["between"]](draw, candidate, model, given["probe"])
    after = model.generate_ids(prompt, max_length=given["steps"], temperature=0)
    return {"prompt": prompt, "before": new_ids(before), "after": new_ids(after)}


def judge_same_ids(given: Given, asked: Asked, reference: Reference) -> Finding:
    prompt, before, after = asked["prompt"], asked["before"], asked["after"]
    when = f"after and before: {given['between'].replace('-', ' ')}"
    exact = claims_at_least(reference, "D1")
    return worst(
        [
            counted(before, given["steps"]),
            unlike_greedy(reference, given["probe"], prompt, after),
            same_choice(reference, given["probe"], prompt, after, before, when=when, exact=exact),
        ]
    )


check(
    "same-ids-again",
    ask_same_ids,
    judge_same_ids,
    needs=("load_model", "generate_ids"),
    given={**HISTORY, "steps": STEPS},
)


def ask_equal_lengths(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row is answered for its ids and not for its length, its beginning or its end. (STATE-1)

    Varies: content and common length of two rows; the second is asked between two requests for the first. They may
        begin alike, but for the last one to four ids, or end alike, but for the first of them.
    Compares: the first row, the second and the first again, each with the float64 reference of its own ids.
    Bound: honest error of the claimed dtype.
    """
    one = draw_ids(draw, candidate, given["probe"], given["length"])
    own = len(one) if given["alike"] == "nothing" else draw.integer(1, 4)
    fresh = draw_ids(draw, candidate, given["probe"], (own, own))
    other = [*fresh, *one[own:]] if given["alike"] == "end" else [*one[: len(one) - own], *fresh]
    at = 0 if given["alike"] == "end" else -1
    other[at] = (other[at] + (one == other)) % vocabulary(candidate, given["probe"])
    model, rows = candidate.model(given["probe"]), [one, other, one]
    return {"rows": rows, "logits": [model.forward([row])[0] for row in rows]}


def judge_equal_lengths(given: Given, asked: Asked, reference: Reference) -> Finding:
    return worst(
        [
            against_truth(reference, given["probe"], ids, got, when=f"call {i} of three with {len(ids)} ids")
            for i, (ids, got) in enumerate(zip(asked["rows"], asked["logits"], strict=True))
        ]
    )


check(
    "equal-lengths",
    ask_equal_lengths,
    judge_equal_lengths,
    needs=("load_model", "forward"),
    given={
        "probe": PROBE,
        "length": LENGTH,
        "alike": {
            "enum": ["nothing", "beginning", "end"],
            "default": "nothing",
            "description": "what the two rows have in common",
        },
    },
)

TIMES = {"type": "integer", "minimum": 2, "description": "how often the request is made"}


def ask_repeated_logits(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Equal requests in a row have equal logits. (STATE-2)

    Varies: content and length of the row.
    Compares: the candidate with its own first answer.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    return {"ids": ids, "logits": [model.forward([ids])[0] for _ in range(given["times"])]}


def judge_repeated_logits(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, *others = asked["logits"]
    return worst(
        [
            against_itself(
                reference, given["probe"], asked["ids"], got, first, when=f"call {i}, and call 0", bitwise=True
            )
            for i, got in enumerate(others, start=1)
        ]
    )


check(
    "repeated-logits",
    ask_repeated_logits,
    judge_repeated_logits,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "length": LENGTH, "times": TIMES},
)


def ask_repeated_ids(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Equal requests in a row have equal greedy ids. (STATE-2)

    Varies: content and length of the prompt.
    Compares: the candidate with its own first answer.
    Bound: none if D1 is claimed, else the margin of honest error.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model = candidate.model(given["probe"])
    asked = [model.generate_ids(prompt, max_length=given["steps"], temperature=0) for _ in range(given["times"])]
    return {"prompt": prompt, "ids": [new_ids(generation) for generation in asked]}


def judge_repeated_ids(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, *others = asked["ids"]
    prompt, exact = asked["prompt"], claims_at_least(reference, "D1")
    findings = [counted(first, given["steps"])]
    for i, got in enumerate(others, start=1):
        when = f"call {i}, and call 0"
        findings.append(same_choice(reference, given["probe"], prompt, got, first, when=when, exact=exact))
    return worst(findings)


check(
    "repeated-ids",
    ask_repeated_ids,
    judge_repeated_ids,
    needs=("load_model", "generate_ids"),
    given={"probe": PROBE, "length": LENGTH, "steps": STEPS, "times": TIMES},
)


def ask_shared_beginning(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Prompts that begin alike are answered each for itself, also when one has just been answered. (STATE-5)

    Varies: content of the common beginning and of two ends.
    Compares: greedy ids of both prompts in turn, each twice, and of the beginning alone, with the reference.
    Bound: the margin of honest error.
    """
    probe = given["probe"]
    stem = draw_ids(draw, candidate, probe, given["length"])
    one, other = (draw_ids(draw, candidate, probe, (1, 4)) for _ in range(2))
    other[-1] = (other[-1] + (one == other)) % vocabulary(candidate, probe)
    prompts = [[*stem, *one], [*stem, *other], stem, [*stem, *one], [*stem, *other]]
    model = candidate.model(probe)
    asked = [model.generate_ids(prompt, max_length=given["steps"], temperature=0) for prompt in prompts]
    return {"prompts": prompts, "ids": [new_ids(generation) for generation in asked]}


def ask_shared_end(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Prompts that end alike, at the same places, are answered each for what stands before. (STATE-6)

    Varies: content of the common end, and of two beginnings of one length.
    Compares: greedy ids of both prompts in turn, each twice, with the reference.
    Bound: the margin of honest error.
    """
    probe = given["probe"]
    one = draw_ids(draw, candidate, probe, (1, 4))
    other = draw_ids(draw, candidate, probe, (len(one), len(one)))
    other[0] = (other[0] + (one == other)) % vocabulary(candidate, probe)
    end = draw_ids(draw, candidate, probe, given["length"])
    prompts = [[*one, *end], [*other, *end]] * 2
    model = candidate.model(probe)
    asked = [model.generate_ids(prompt, max_length=given["steps"], temperature=0) for prompt in prompts]
    return {"prompts": prompts, "ids": [new_ids(generation) for generation in asked]}


def judge_shared(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings = []
    for i, (prompt, ids) in enumerate(zip(asked["prompts"], asked["ids"], strict=True)):
        label = f"call {i}, {len(prompt)} ids: ids"
        findings.append(counted(ids, given["steps"], label))
        findings.append(unlike_greedy(reference, given["probe"], prompt, ids, label=label))
    return worst(findings)


for name, ask in (("shared-beginning", ask_shared_beginning), ("shared-end", ask_shared_end)):
    check(
        name,
        ask,
        judge_shared,
        needs=("load_model", "generate_ids"),
        given={"probe": PROBE, "length": LENGTH, "steps": STEPS},
    )

# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def rolled(probes: Library, probe: str) -> Probe:
    """A bundle like a probe in name and shapes, in which id i means what id i-1 means in the probe."""
    parts = probes.parts(probe)
    parts.weights["token_embedding"] = np.roll(parts.weights["token_embedding"], 1, axis=0)
    return probes.write(parts.document, parts.weights)


def renamed(probes: Library, probe: str) -> Probe:
    """The same model under another name, so that it is loaded a second time."""
    parts = probes.parts(probe)
    return probes.write({**parts.document, "name": "again"}, parts.weights)


def ask_models(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Two models that are loaded at the same time do not mix. (STATE-3)

    Varies: content and length of the rows, and which model is asked first. The models differ in their embedding alone.
    Compares: both models, asked the same in turn, with the float64 reference of each.
    Bound: honest error of the claimed dtype.
    """
    probe = given["probe"]
    models = {"one": candidate.model(probe), "other": candidate.model(rolled(candidate.probes, probe))}
    order = pick(draw, (("one", "other"), ("other", "one")))
    turns = []
    for _ in range(2):
        ids = draw_ids(draw, candidate, probe, given["length"])
        turns += [(name, ids, models[name].forward([ids])[0]) for name in order]
    return {"turns": turns}


def judge_models(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, findings = given["probe"], []
    for i, (name, ids, got) in enumerate(asked["turns"]):
        V = reference.probes.get(probe).config["vocab_size"]
        meant = ids if name == "one" else [(token - 1) % V for token in ids]
        findings.append(against_truth(reference, probe, meant, got, when=f"call {i}, to the {name} of two models"))
    return worst(findings)


check(
    "models-apart", ask_models, judge_models, needs=("load_model", "forward"), given={"probe": PROBE, "length": LENGTH}
)


def ask_loads(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same weights loaded twice are the same model. (STATE-4)

    Varies: content and length of the row.
    Compares: the candidate with itself, on the first and on the second load.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    first = candidate.model(given["probe"]).forward([ids])[0]
    second = candidate.model(renamed(candidate.probes, given["probe"])).forward([ids])[0]
    return {"ids": ids, "first": first, "second": second}


def judge_loads(given: Given, asked: Asked, reference: Reference) -> Finding:
    return against_itself(
        reference,
        given["probe"],
        asked["ids"],
        asked["second"],
        asked["first"],
        when="of the second load, and of the first",
        bitwise=True,
    )


check("loads-alike", ask_loads, judge_loads, needs=("load_model", "forward"), given={"probe": PROBE, "length": LENGTH})
