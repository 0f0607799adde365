"""Sampling with the noise of the standard: each id is the one that logits, options and seed give.

The models are probes, or made here as those of `sampling` are. Ids are judged behind those that the candidate chose
itself, so that one choice that leaves two ids right does not end the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmasos_conformance import gumbel
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.bundles import speaker
from llmasos_conformance.checks.rows import LENGTH, PROBE, STEPS, counted, draw_ids, new_ids, told
from llmasos_conformance.checks.sampling import LAW, letters_of, model_of
from llmasos_conformance.inputs import pick
from llmasos_conformance.numerics import worst
from llmasos_conformance.reference import NOTHING
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

LARGEST_SEED = 2**53 - 1
"""Of the seeds that every implementation takes (API-13)."""

NEEDS = ("load_model", "gumbel", "seed")
OPTIONS = {"type": "object", "description": "temperature, filters, bias and penalties, as sent", "default": {}}
SEEDS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
    "description": "seeds to sample with; one is drawn if left out",
}
ENDS = {"type": "string", "minLength": 1, "description": "letters whose ids end the sequence; none if left out"}
ARCHITECTURE = {
    "enum": ["GPT-3", "Llama", "Transformer"],
    "default": "GPT-3",
    "description": "of a model that is made of a law; the case needs it",
}
GENERATED: Mapping[str, Any] = {"length": LENGTH, "steps": STEPS, "options": OPTIONS, "architecture": ARCHITECTURE}
OPTIONAL: Mapping[str, Any] = {"probe": PROBE, "law": LAW, "ends": ENDS, "seeds": SEEDS}


def _model(given: Given, library: Library) -> Probe:
    """The model of a case in one of the libraries."""
    if "probe" in given:
        return library.get(given["probe"])
    ends = _ends(given)
    return speaker(library, {**model_of(given), **({"eos": ends} if ends else {})})


def _ends(given: Given) -> list[int]:
    """Ids that end a sequence; no probe that is asked here has any."""
    return [ord(letter) for letter in given.get("ends", "")]


def _start(given: Given, probe: Probe) -> int | None:
    """The id that targets begin with; None of a decoder."""
    if "probe" in given:
        return probe.config.get("decoder_start_token_id")
    return ord(letters_of(given)[0][0]) if given["architecture"] == "Transformer" else None


def _prompt(given: Given, draw: Draw, candidate: Candidate) -> list[int]:
    """Ids for the model of a case: any of a probe, letters of a law."""
    if "probe" in given:
        return draw_ids(draw, candidate, given["probe"], given["length"])
    low, high = given["length"]
    return [ord(pick(draw, letters_of(given)[0])) for _ in range(draw.integer(low, high))]


def _seeds(given: Given, draw: Draw) -> list[int]:
    drawn = draw.integer(0, LARGEST_SEED)
    return list(given.get("seeds", [drawn]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence that was sampled.

    Attributes:
        prompt: ids that were given; of a Transformer its source. seed: that was sent. ids: that came.
    """

    prompt: Sequence[int]
    seed: int
    ids: Sequence[int]


def unlike_drawn(given: Given, reference: Reference, row: Row, *, label: str = "ids") -> Finding:
    """Whether each id is one that a right sampler may take behind what came before it; see `gumbel`.

    Returns:
        A finding with figure `lag`, the part that was used of what errors explain.
    """
    probe, ids = _model(given, reference.probes), row.ids
    start = _start(given, probe)
    fed, beside = ([*row.prompt], NOTHING) if start is None else ([start], {"source": list(row.prompt)})
    V = reference.logits(probe, fed, beside).shape[-1]
    for i, token in enumerate(ids):
        if not 0 <= token < V:
            return failed(f"{label}[{i}] is {token}, ids end at {V - 1}", expected=f"0 … {V - 1}", got=token)
    if not ids:
        return passed()
    whole = [*fed, *ids[:-1]]
    truth, honest = reference.logits(probe, whole, beside), reference.honest_logits(probe, whole, beside)
    made = gumbel.steps(truth, honest, reference.claims.dtype, given["options"], row.seed, fed, ids)
    most = 0.0
    for i, (token, step) in enumerate(zip(ids, made, strict=True)):
        if not step.right[token]:
            return _wrong(label, i, token, step, reference.claims.dtype)
        most = max(most, step.lag(token))
    return passed(lag=most)


def _wrong(label: str, i: int, token: int, step: gumbel.Step, dtype: str) -> Finding:
    due = step.due
    if not step.possibly[token]:
        message = f"{label}[{i}] is {token}, which the options rule out; {due} was due"
        return failed(message, expected=due, got=token)
    gap, explained = step.scores[due] - step.scores[token], step.errors[due] + step.errors[token]
    message = (
        f"{label}[{i}] is {token}, {due} was due: its score, logit over temperature and noise, is larger by {gap:.3g}, "
        f"and honest {dtype} error reaches {explained:.3g}"
    )
    return failed(message, expected=due, got=token)


def shown(options: Mapping[str, Any], seed: int) -> str:
    """Options and seed as a message shows them."""
    return ", ".join([*(f"{name} {value}" for name, value in options.items()), f"seed {seed}"])


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_gumbel(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Sampled ids are those that logits, options and seed give. (GUM-1, GUM-2)

    Varies: content and length of the prompt, and the seed where the case names none.
    Compares: each id with the scores of the float64 reference behind the prompt and the ids before it.
    Bound: honest error of the claimed dtype in the logits, and of float32 behind them; see `gumbel`.
    """
    model = candidate.model(_model(given, candidate.probes))
    calls = []
    for seed in _seeds(given, draw):
        prompt = _prompt(given, draw, candidate)
        made = model.generate_ids(prompt, max_length=given["steps"], seed=seed, **given["options"])
        calls.append({"prompt": prompt, "seed": seed, "ids": new_ids(made)})
    return {"calls": calls}


def judge_gumbel(given: Given, asked: Asked, reference: Reference) -> Finding:
    return worst([_judged(given, reference, Row(**call)) for call in asked["calls"]])


def _judged(given: Given, reference: Reference, row: Row, label: str = "ids") -> Finding:
    """One row of ids: as many as are due, and each of them due."""
    found = unlike_drawn(given, reference, row, label=label)
    enough = counted(row.ids, given["steps"], label, _ends(given))
    return told(worst([found, enough]), shown(given["options"], row.seed))


check(
    "gumbel", ask_gumbel, judge_gumbel, needs=(*NEEDS, "generate_ids"), given=GENERATED, optional=OPTIONAL
)  # fmt: skip


def ask_gumbel_batch(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Each row of a sampled batch is what the row is alone with this seed. (GUM-4)

    Varies: number, content and length of the rows, of which the last is the first again; the seed where none is named.
    Compares: each id with the scores of the float64 reference behind its own row.
    Bound: honest error of the claimed dtype in the logits, and of float32 behind them; see `gumbel`.
    """
    model = candidate.model(_model(given, candidate.probes))
    low, high = given["rows"]
    calls = []
    for seed in _seeds(given, draw):
        prompts = [_prompt(given, draw, candidate) for _ in range(draw.integer(low, high) - 1)]
        prompts.append(prompts[0])
        made = model.generate_batch(prompts, max_length=given["steps"], seed=seed, **given["options"])
        calls.append({"prompts": prompts, "seed": seed, "made": made})
    return {"calls": calls}


def judge_gumbel_batch(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings = []
    for call in asked["calls"]:
        if len(call["made"]) != len(call["prompts"]):
            due, came = len(call["prompts"]), len(call["made"])
            return failed(f"{came} rows came, {due} were due", expected=due, got=came)
        for i, (prompt, made) in enumerate(zip(call["prompts"], call["made"], strict=True)):
            row = Row(prompt=prompt, seed=call["seed"], ids=new_ids(made))
            findings.append(_judged(given, reference, row, f"row {i}: ids"))
    return worst(findings)


ROWS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 2},
    "minItems": 2,
    "maxItems": 2,
    "description": "smallest and largest number of rows",
}

check(
    "gumbel-batch",
    ask_gumbel_batch,
    judge_gumbel_batch,
    needs=(*NEEDS, "batch"),
    given={**GENERATED, "rows": ROWS},
    optional=OPTIONAL,
)

# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_gumbel_text(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A sampled text is the one that logits, options and seed give, in one piece or streamed. (GUM-2, GUM-4)

    Varies: content and length of the prompt, made of the letters that the model says; the seed where none is named.
    Compares: each letter with the scores of the float64 reference behind the prompt and the letters before it.
    Bound: honest error of the claimed dtype in the logits, and of float32 behind them; see `gumbel`.
    """
    model = candidate.model(_model(given, candidate.probes))
    options = {**given["options"], **({"stop": given["stop"]} if "stop" in given else {})}
    calls = []
    for seed in _seeds(given, draw):
        prompt = bytes(_prompt(given, draw, candidate)).decode()
        if given["streamed"]:
            pieces, made = model.stream_text(prompt, max_length=given["steps"], seed=seed, **options)
            text = "".join(pieces)
        else:
            made = model.generate_text(prompt, max_length=given["steps"], seed=seed, **options)
            text = str(made.text)
        calls.append({"prompt": prompt, "seed": seed, "text": text, "reason": made.finish_reason})
    return {"calls": calls}


def judge_gumbel_text(given: Given, asked: Asked, reference: Reference) -> Finding:
    findings = []
    for call in asked["calls"]:
        stop = given.get("stop", "") if call["reason"] == "stop" else ""
        ids = list(f"{call['text']}{stop}".encode())  # a stop string was sampled, though it is not shown
        judged = ids[: given["steps"]]  # what is more than was asked for may be more than the context holds
        row = Row(prompt=list(call["prompt"].encode()), seed=call["seed"], ids=judged)
        found = unlike_drawn(given, reference, row, label="bytes")
        enough = counted(ids, len(ids) if stop else given["steps"], "bytes")
        findings.append(told(worst([found, enough]), shown(given["options"], row.seed)))
    return worst(findings)


check(
    "gumbel-text",
    ask_gumbel_text,
    judge_gumbel_text,
    needs=NEEDS,
    given={
        **GENERATED,
        "streamed": {"type": "boolean", "default": False, "description": "the text is asked for in pieces"},
    },
    optional={
        **{name: value for name, value in OPTIONAL.items() if name not in ("probe", "ends")},
        "stop": {"type": "string", "minLength": 1, "description": "a stop string"},
    },
)
