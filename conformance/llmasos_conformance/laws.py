"""Whether tokens were drawn from a known law: a sequential test with both of its error rates declared.

A case knows the law p of the next token exactly, because the suite made the model, and names the laws q_j that real
samplers have drawn from instead: another temperature, a filter in the wrong place, a token that sticks. Two wealths
are followed over the tokens x_1, x_2, …:

    against p     E_n = e^(-nε) · mean over j of  Π q_j(x_i) / p(x_i)
    against q_j   A_n = e^(-nε) ·                 Π p(x_i) / q_j(x_i)

    refused       as soon as E_n ≥ 1/α: under p this ever happens with probability α at most
    accepted      as soon as A_n ≥ 1/β for every j: under q_j this ever happens with probability β at most
    undecided     if neither has happened in the most tokens that a case asks for

Both statements are Ville's inequality: under the law in its denominator each wealth is a nonnegative supermartingale
that begins at 1, so that its largest value over all time reaches 1/α with probability α at most (Ville 1939; Ramdas et
al., arXiv 2210.01948, 2021). They hold for every n at once, for laws that depend on the tokens before, and without any
approximation; a wrong sampler that follows none of the q_j is refused or not, and no claim is made about it.

The factor e^(-nε) pays for rounding: where every log-probability of the sampler may be off by ε (BLUR), Π p̂/p is below
e^(nε), and so the bound holds for it too.

How many tokens are needed is no theorem: `bench/prove_laws.py` computes it for every case, with the exact tail of the
null by importance sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

BUDGET = 1e-9
"""Largest sum of α over the cases of a profile: a right sampler fails one certified run in 10⁹, whatever it does in
others."""

BLUR = 1e-4
"""ε: what a log-probability of a right sampler may be off by. The final norm of a law probe divides by √(1 + 10⁻⁵), and
so moves ln p by 5·10⁻⁶ of itself, 3.5·10⁻⁵ for one of 7; its logits, at most 100, are sums of up to 64 exact products
in float32, off by 10⁻⁵ or so, and a temperature of 1/2 doubles both. No law is asked at a lower one."""


class Decision(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a test has come to.

    Attributes:
        at: tokens that it took. evidence: ln E at that place, infinite after a token that the law never gives.
        nearest: index of the alternative with the largest wealth against p at that place.
    """

    decision: Decision
    at: int
    evidence: float
    nearest: int


def decide(ratios: Float64, alpha: float, beta: float, blur: float | Float64 = BLUR) -> Verdict:
    """The sequential test of the module's docstring.

    Args:
        ratios: [J, n] ln q_j(x_i) - ln p(x_i); +inf where p is 0, -inf where q_j alone is.
        alpha, beta: error rates, of refusing p and of accepting a q_j. blur: ε of every token, or [n] of each.
    """
    paid = np.cumsum(np.broadcast_to(blur, ratios.shape[1:]))
    impossible = np.flatnonzero(np.any(np.isposinf(ratios), axis=0))
    if impossible.size:
        found = decide(
            ratios[:, : impossible[0]], alpha, beta, np.broadcast_to(blur, ratios.shape[1:])[: impossible[0]]
        )
        if found.decision is not Decision.UNDECIDED:
            return found
        nearest = int(np.argmax(ratios[:, impossible[0]]))
        return Verdict(Decision.REFUSED, int(impossible[0]) + 1, math.inf, nearest)
    n = ratios.shape[1]
    if n == 0:
        return Verdict(Decision.UNDECIDED, 0, 0.0, 0)
    walk = np.cumsum(ratios, axis=1)
    against = _log_mean_exp(walk) - paid  # [n]
    accepted = np.all(-walk - paid >= -math.log(beta), axis=0)
    refused = against >= -math.log(alpha)
    ends = np.flatnonzero(refused | accepted)
    last = int(ends[0]) if ends.size else n - 1
    decision = Decision.UNDECIDED
    if ends.size:
        decision = Decision.REFUSED if refused[last] else Decision.ACCEPTED
    return Verdict(decision, last + 1, float(against[last]), int(np.argmax(walk[:, last])))


def _log_mean_exp(walk: Float64) -> Float64:
    """ln of the mean of exp over the first axis; infinities stay what they are."""
    top = np.max(walk, axis=0)
    flat = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(over="ignore", divide="ignore"):
        made: Float64 = np.log(np.mean(np.exp(walk - flat), axis=0)) + flat
    return made


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def law_of(p: Float64, options: Mapping[str, Any]) -> Float64:
    """The law of a sampler with options: bias, temperature, top-k, top-p and min-p, each on what the last one left.

    Args:
        p: [K] law of the model, its softmax; ids in order. options: logit_bias (place -> number), temperature above 0,
            top_k, top_p, min_p.

    Source:
        Requirements API-7 to API-12, API-29.
    """
    return _filtered(_heated(_biased(p, options), options), options)


def _biased(p: Float64, options: Mapping[str, Any]) -> Float64:
    factors = np.ones_like(p)
    for place, number in options.get("logit_bias", {}).items():
        factors[place] = math.exp(number)
    return _whole(p * factors)


def _filtered(p: Float64, options: Mapping[str, Any]) -> Float64:
    return _min_p(_top_p(_top_k(p, options), options), options)


def _heated(p: Float64, options: Mapping[str, Any]) -> Float64:
    return _whole((p / p.max()) ** (1 / options.get("temperature", 1.0)))


def _top_k(p: Float64, options: Mapping[str, Any], more: int = 0) -> Float64:
    k = options.get("top_k") or 0
    return _first(p, max(k + more, 1)) if k else p


def _top_p(p: Float64, options: Mapping[str, Any], more: int = 0) -> Float64:
    mass = options.get("top_p", 1.0)
    if mass >= 1:
        return p
    before = np.cumsum(np.sort(p)[::-1]) - np.sort(p)[::-1]
    return _first(p, max(int(np.sum(before < mass)) + more, 1))


def _min_p(p: Float64, options: Mapping[str, Any], *, of_largest: bool = True) -> Float64:
    least = options.get("min_p", 0.0) * (p.max() if of_largest else 1.0)
    return _whole(np.where((p >= least) | (p == p.max()), p, 0.0))


def _first(p: Float64, count: int) -> Float64:
    """The likeliest `count` alone, ties to the lowest id."""
    kept = np.zeros_like(p)
    chosen = np.argsort(-p, kind="stable")[:count]
    kept[chosen] = p[chosen]
    return _whole(kept)


def _whole(p: Float64) -> Float64:
    made: Float64 = p / p.sum()
    return made


Rule = Callable[[Float64, Mapping[str, Any]], Float64]

RULES: Mapping[str, Rule] = {
    "model's own": lambda p, o: p,
    "temperature squared": lambda p, o: law_of(p, {**o, "temperature": o["temperature"] ** 2}),
    "temperature inverted": lambda p, o: law_of(p, {**o, "temperature": 1 / o["temperature"]}),
    "filters before temperature": lambda p, o: _heated(law_of(p, {**o, "temperature": 1.0}), o),
    "bias behind temperature": lambda p, o: _filtered(_biased(_heated(p, o), o), o),
    "bias behind the filters": lambda p, o: _biased(_filtered(_heated(p, o), o), o),
    "half of the time the likeliest": lambda p, o: 0.5 * law_of(p, o) + 0.5 * _first(p, 1),
    "one more of the top k": lambda p, o: _min_p(_top_p(_top_k(_heated(p, o), o, 1), o), o),
    "one less of the top k": lambda p, o: _min_p(_top_p(_top_k(_heated(p, o), o, -1), o), o),
    "top-p without the one that crosses": lambda p, o: _min_p(_top_p(_top_k(_heated(p, o), o), o, -1), o),
    "top-p with one beyond it": lambda p, o: _min_p(_top_p(_top_k(_heated(p, o), o), o, 1), o),
    "top-p before top-k": lambda p, o: _min_p(_top_k(_top_p(_heated(p, o), o), o), o),
    "top-p of the whole mass behind top-k": lambda p, o: _min_p(_not_renormalised(p, o), o),
    "min-p of the whole mass": lambda p, o: _min_p(_top_p(_top_k(_heated(p, o), o), o), o, of_largest=False),
    "not renormalised into the likeliest": lambda p, o: _rest_to_likeliest(p, o),
}
"""Laws that samplers have drawn from instead of the one asked for, or would by a like slip, by what they do."""


def _not_renormalised(p: Float64, options: Mapping[str, Any]) -> Float64:
    """Top-p counts masses as they were before top-k took some away."""
    heated = _heated(p, options)
    kept = _top_k(heated, options) > 0
    order = np.argsort(-heated, kind="stable")
    before = np.cumsum(heated[order]) - heated[order]
    chosen = np.zeros_like(kept)
    chosen[order] = before < options.get("top_p", 1.0)
    return _whole(np.where(kept & chosen, heated, 0.0))


def _rest_to_likeliest(p: Float64, options: Mapping[str, Any]) -> Float64:
    """What the filters remove falls to the likeliest, because a sum below 1 is drawn from."""
    kept = law_of(p, options) > 0
    made = np.where(kept, _heated(p, options), 0.0)
    made[np.argmax(p)] += 1 - made.sum()
    return made


# ── tables over the token before ────────────────────────────────────────────────────────────────────────────────────


def table_of(rows: Float64, options: Mapping[str, Any]) -> Float64:
    """[K, K] law behind each token. `rows` is [K, K], row i the model's law behind token i."""
    return np.stack([law_of(row, options) for row in rows])


def alternative(rows: Float64, options: Mapping[str, Any], other: Mapping[str, Any]) -> Float64:
    """[K, K] an alternative as a case names it, by one of these; for `penalty` see `penalised`.

    Args:
        other: `options` in place of the case's; a `rule`; `repeats`, the part of all draws in which the token before
            comes again (negative: by which it is avoided); `mixed`, the part in which it is forgotten.
    """
    if "options" in other:
        return table_of(rows, {**options, **other["options"]})
    if "rule" in other:
        return np.stack([RULES[other["rule"]](row, options) for row in rows])
    if "repeats" in other:
        s, table = float(other["repeats"]), table_of(rows, options)
        if s >= 0:
            return (1 - s) * table + s * np.eye(len(rows))
        damped = table * (1 + s * np.eye(len(rows)))
        made: Float64 = damped / damped.sum(axis=1, keepdims=True)
        return made
    if "mixed" in other:  # the law without a memory: each row is the mean of all
        table, s = table_of(rows, options), float(other["mixed"])
        return (1 - s) * table + s * np.broadcast_to(table.mean(axis=0), table.shape)
    raise ValueError(f"no alternative: {other}")


LAST = 64
"""Tokens that a penalty looks back on, as llama.cpp and Ollama do where nobody says how many."""


def penalised_law(rows: Float64, options: Mapping[str, Any], penalty: float, behind: Sequence[int]) -> Float64:
    """[K] law behind some tokens, where what came among the last 64 is penalised: its logit, ln p, is below 0 and is
    multiplied by the penalty before any option applies."""
    powers = np.ones(rows.shape[-1])
    powers[list(set(behind[-LAST:]))] = penalty
    return law_of(_whole(rows[behind[-1]] ** powers), options)


def penalised(
    rows: Float64, options: Mapping[str, Any], penalty: float, prompt: Sequence[int], tokens: Sequence[int]
) -> Float64:
    """[n] ln q of a text's tokens, each drawn from the `penalised_law` behind those before it."""
    whole = [*prompt, *tokens]
    ends = range(len(prompt), len(whole))
    with np.errstate(divide="ignore"):
        return np.log([penalised_law(rows, options, penalty, whole[:end])[whole[end]] for end in ends])


PENALTIES = {"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
"""Options that look back, and what they are where nothing is said."""

READINGS = {
    "": "as the standard has them",
    "prompt left out": "the factor does not count the prompt",
    "prompt counted": "what is subtracted counts the prompt",
    "each time that it came": "the factor, and what is to count once, apply for each time that a token came",
    "once however often": "what is to count each time counts once",
    "divided": "logits below 0 are divided by the factor",
    "twice": "the factor and what is subtracted apply twice",
    "behind temperature": "logits are divided by the temperature before anything is subtracted",
}
"""How penalties have been read."""


def looks_back(options: Mapping[str, Any]) -> bool:
    """Whether a token's law depends on more than the token before it."""
    return any(options.get(name, neutral) != neutral for name, neutral in PENALTIES.items())


def behind_all(
    rows: Float64, options: Mapping[str, Any], before: Sequence[int], given: Float64, chosen: Float64, reading: str = ""
) -> Float64:
    """[n, K] laws of n tokens with penalties and temperature, each behind all tokens before it.

    The logits are ln p, which are not above 0, so that the factor multiplies.

    Args:
        rows: [K, K], row i the model's law behind token i; all above 0.
        options: the penalties, temperature; no filters.
        before: [n] the token before each. given: [K] how often each token stands in the prompt.
        chosen: [n, K] how often each has come since.

    Source:
        Requirements API-32 to API-35.
    """
    r, f, p = (float(options.get(name, neutral)) for name, neutral in PENALTIES.items())
    temperature = float(options.get("temperature", 1.0))
    if options.keys() - PENALTIES.keys() - {"temperature"}:
        raise ValueError(f"penalties are not worked out beside {sorted(options)}")
    seen = chosen if reading == "prompt left out" else chosen + given
    came = chosen + given if reading == "prompt counted" else chosen
    powers = seen if reading == "each time that it came" else np.sign(seen)
    again = 2.0 if reading == "twice" else -1.0 if reading == "divided" else 1.0
    z = np.log(rows[list(before)]) * r ** (again * powers)
    often = np.sign(came) if reading == "once however often" else came
    once = came if reading == "each time that it came" else np.sign(came)
    scale = temperature if reading == "behind temperature" else 2.0 if reading == "twice" else 1.0
    z = (z - scale * (f * often + p * once)) / temperature
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    made: Float64 = e / e.sum(axis=-1, keepdims=True)
    return made


def of_text(
    rows: Float64, options: Mapping[str, Any], prompt: Sequence[int], tokens: Sequence[int], reading: str = ""
) -> Float64:
    """[n, K] laws behind which the tokens of a text came, by `behind_all`."""
    K, n = len(rows), len(tokens)
    came = np.zeros((n + 1, K))
    came[np.arange(1, n + 1), list(tokens)] = 1
    given = np.bincount(list(prompt), minlength=K).astype(float)
    return behind_all(rows, options, [prompt[-1], *tokens[:-1]], given, np.cumsum(came, axis=0)[:n], reading)


def behind_text(
    rows: Float64, options: Mapping[str, Any], prompt: Sequence[int], tokens: Sequence[int], reading: str = ""
) -> Float64:
    """[n] ln q of a text's tokens by `behind_all`."""
    found = of_text(rows, options, prompt, tokens, reading)
    with np.errstate(divide="ignore"):  # a reading may leave nothing of what came often
        return np.log(found[np.arange(len(tokens)), list(tokens)])


def ratios_of(p: Float64, others: Sequence[Float64], before: Sequence[int], tokens: Sequence[int]) -> Float64:
    """[J, n] ln q_j - ln p of tokens, each behind the one before it.

    Args:
        p, others: [K, K] tables. before, tokens: [n] of 0 … K-1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        due = np.log(p[before, tokens])
        found = np.stack([np.log(q[before, tokens]) - due for q in others])
    # What the law never gives points to the others that do, and refuses the law where none does, too.
    never = ~np.isfinite(due)
    possible = np.stack([q[before, tokens] > 0 for q in others])
    found[:, never] = np.where(possible | ~possible.any(axis=0), np.inf, -np.inf)[:, never]
    return found
