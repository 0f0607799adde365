"""Logits to law to ids: one at a time by chance or likelihood, or whole continuations by beam search."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmasos_conformance.adapters.kit.requests import Request
from llmasos_conformance.protocol import Array, Refusal


def log_law(logits: Array) -> Array:
    """Natural-log probabilities of unmodified logits, float64."""
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))


def shaped(logits: Array, request: Request, given: Sequence[int], chosen: Sequence[int]) -> Array:
    """Logits [V] with what the request does to them before temperature, float64; a copy.

    Args:
        given: ids that the model was fed before the first choice. chosen: those that were chosen since.
    """
    z = np.array(logits, dtype=np.float64)
    for token, number in request.logit_bias.items():
        z[token] += number
    for token in {*given, *chosen}:
        z[token] *= request.repetition_penalty if z[token] < 0 else 1 / request.repetition_penalty
    ids, times = np.unique(np.array(chosen, dtype=int), return_counts=True)
    z[ids] -= request.frequency_penalty * times + request.presence_penalty
    return z


def choose(logits: Array, request: Request, allowed: Array | None, noise: Array) -> int:
    """The next id: the largest logit with temperature 0, else the largest ln p + noise; ties to the lowest id.

    Args:
        logits: [V]. allowed: [V] True for ids that may be chosen; None allows all.
        noise: [V] as `gumbel.noise` has it; with temperature 0 of no use.

    Raises:
        Refusal: unsupported, when logits are not finite.
    """
    if request.temperature == 0:
        return int(_admissible(logits, allowed).argmax())
    with np.errstate(divide="ignore"):
        return int(np.argmax(np.log(law(logits, request, allowed)) + noise))


def law(logits: Array, request: Request, allowed: Array | None) -> Array:
    """Probabilities [V] behind temperature, top-k, top-p and min-p, in this order; 0 for what they remove.

    Args:
        logits: [V]. allowed: [V] True for ids that may be chosen; None allows all.

    Raises:
        Refusal: unsupported, when logits are not finite.
    """
    z = _admissible(logits, allowed)
    with np.errstate(over="ignore"):
        p = np.exp((z - z.max()) / request.temperature)
    ranked = np.argsort(-z, kind="stable")[: request.top_k or None]
    p = p[ranked] / p[ranked].sum()
    before = np.concatenate([[0.0], np.cumsum(p)[:-1]])  # mass of what is likelier
    p[(before >= request.top_p) & (request.top_p < 1)] = 0.0
    p[p < request.min_p * p[0]] = 0.0
    made = np.zeros_like(z)
    made[ranked] = p / p.sum()
    return made


def _admissible(logits: Array, allowed: Array | None) -> Array:
    """Logits [V] in float64, -inf where an id may not be chosen."""
    z = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(z).all():
        raise Refusal("unsupported", "logits are not finite")
    return z if allowed is None else np.where(allowed, z, -np.inf)


def top_logprobs(logits: Array, chosen: int, count: int) -> dict[int, float]:
    """Raw log-probabilities of the likeliest ids and of the chosen one."""
    law = log_law(logits)
    return {int(token): float(law[token]) for token in (*likeliest(law, count), chosen)}


def likeliest(law: Array, count: int) -> list[int]:
    """The `count` likeliest ids, likeliest first, ties to the lowest."""
    return [int(token) for token in np.argsort(-law, kind="stable")[:count]]


@dataclass(frozen=True, slots=True)
class _Path:
    """A continuation that is followed or put aside.

    Attributes:
        ids: what was chosen. total: sum of its log-probabilities.
        session: behind all ids but the last.
    """

    ids: tuple[int, ...]
    total: float
    session: Any

    def score(self, penalty: float) -> float:
        return _penalised(self.total, len(self.ids), penalty)


def _penalised(total: float, length: int, penalty: float) -> float:
    """total / length^penalty; a power beyond float64 leaves nothing of the total."""
    with np.errstate(over="ignore"):
        return float(total / np.float64(length) ** penalty)


def beam_search(
    session: Any, request: Request, limit: int, eos: Collection[int], allowed: Array | None = None
) -> list[int]:
    """Ids of the best continuation that beam search finds.

    n continuations are followed at most, at first the empty one. In every step their extensions by one id are ranked by
    Σ ln p, the first 2n of them count, ties to the earlier continuation and then to the lower id. Those of the first n
    that end are put aside; the first n that do not end are followed. After `limit` steps what is followed is put aside
    too. It is over sooner when n are put aside and none that is followed can still come before the last of them: a sum
    of logarithms never grows, so today's over the longest length is the best that it can reach. The winner has the
    largest Σ ln p / length^penalty, ties to the one put aside first.

    Args:
        session: behind the prompt; it is closed in the end, as are all that are made of it.
        allowed: [V] True for ids that may be chosen; None allows all.

    Raises:
        Refusal: unsupported, when logits are not finite.

    Source:
        LLMasOS API semantics, beams.
    """
    n, penalty = request.beams, request.length_penalty
    followed, aside = [_Path((), 0.0, session)], list[_Path]()
    for _ in range(limit):
        sessions = _advanced(followed)
        ranked = _extensions(followed, sessions, 2 * n, allowed)
        aside += [path for path in ranked[:n] if path.ids[-1] in eos]
        followed = [path for path in ranked if path.ids[-1] not in eos][:n]
        finished = sorted((path.score(penalty) for path in aside), reverse=True)[:n]
        hope = max((_penalised(path.total, limit, penalty) for path in followed), default=-np.inf)
        if len(finished) == n and finished[-1] >= hope:
            followed = []
        _close(sessions, [path.session for path in followed])
        if not followed:
            break
    _close([path.session for path in followed], [])
    return list(max([*aside, *followed], key=lambda path: path.score(penalty)).ids)


def _advanced(followed: list[_Path]) -> list[Any]:
    """A session behind the whole of each path. Siblings share the session of their parent, which is done with then."""
    if not followed[0].ids:
        return [followed[0].session]
    sessions = []
    for path in followed:
        sessions.append(path.session.fork())
        sessions[-1].extend(path.ids[-1:])
    _close([path.session for path in followed], [])
    return sessions


def _close(sessions: list[Any], kept: list[Any]) -> None:
    """Close each session once, but for those that are kept."""
    for session in {id(session): session for session in sessions}.values():
        if not any(session is other for other in kept):
            session.close()


def _extensions(followed: list[_Path], sessions: list[Any], count: int, allowed: Array | None) -> list[_Path]:
    """The likeliest continuations that are one id longer, likeliest first."""
    laws = [log_law(_admissible(session.logits[-1], allowed)) for session in sessions]
    totals = np.stack([path.total + law for path, law in zip(followed, laws, strict=True)])  # [paths, V]
    places = np.argsort(-totals, axis=None, kind="stable")[:count]
    best = [divmod(int(place), totals.shape[1]) for place in places]
    return [
        _Path((*followed[i].ids, token), float(totals[i, token]), sessions[i])
        for i, token in best
        if totals[i, token] > -np.inf
    ]
