"""Beams for the runtime of the mutants: the beams of a request are the rows of one batch, whose cache is put in order.

A step looks at the (1 + E)n likeliest extensions of n beams, E being the number of ids that end a sequence or 1, by
Σ ln p, ties to the earlier beam and then to the lower id. An extension that ends is finished if it is among the first
n, and dropped if not; the first n others go on. The end comes
with the limit, or as soon as no beam can still reach the n-th of the finished ones. Of all, the best by
Σ ln p / L^penalty is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.loader import refuse
from llmasos_conformance.mutants.runtime import Cache, Request, Row, Runtime
from llmasos_conformance.protocol import Array, Generation

MAX_BEAMS = 1024


@dataclass(slots=True, kw_only=True)
class BeamRequest(Request):
    """A checked request with beams."""

    beams: int = 1
    length_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Beam:
    """A continuation and Σ ln p of its ids; `row` is the row of the batch that it extends."""

    ids: tuple[int, ...]
    total: float
    row: int = 0


class Beams(Runtime):
    """A runtime with beams; mixed into those of all architectures that generate."""

    offers: ClassVar[frozenset[str]] = frozenset({"beams"})

    # Requests.

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        rest = {name: value for name, value in options.items() if name not in ("beams", "length_penalty")}
        checked = super().request(max_length, temperature, rest)
        beams = self.beam_count(options.get("beams", 1))
        penalty = self.number(options.get("length_penalty", 1.0), 0)
        if beams > 1:
            self.beam_company(checked)
        return BeamRequest(
            max_length=checked.max_length, temperature=checked.temperature, seed=checked.seed, top_k=checked.top_k,
            top_p=checked.top_p, min_p=checked.min_p, stop=checked.stop, logprobs=checked.logprobs,
            allow_special=checked.allow_special, shape=checked.shape, beams=beams, length_penalty=penalty,
        )  # fmt: skip

    def beam_count(self, value: Any) -> int:
        return self.integer(value, 1, MAX_BEAMS)

    def beam_company(self, request: Request) -> None:
        """Refuse what beams do not go with."""
        if request.temperature > 0 or request.stop or request.logprobs is not None:
            raise refuse("beams follow likelihood alone", "invalid_argument")

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        request = self.request(max_length, temperature, options)
        if not isinstance(request, BeamRequest) or request.beams == 1:
            return super().generate_ids(ids, max_length, temperature, **options)
        return self.beam_answer(self.begin(self.prompt(ids), request), request, None)

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        request = row.request
        if not isinstance(request, BeamRequest) or request.beams == 1:
            yield from super().streamed(row)
            return
        made = self.beam_answer(row, request, self.text_ids())
        if made.text:
            yield made.text
        yield made

    # The search.

    def beam_answer(self, row: Row, request: BeamRequest, allowed: Array | None) -> Generation:
        """A row with the ids of its best beam, as it is answered."""
        row.ids = list(self.beam_search(row, request, allowed))
        row.reason = "stop" if row.ids and self.ends(row.ids[-1]) else ""
        row.text = self.row_text(row) if self.has_text else ""
        return self.finished(row)

    def beam_search(self, row: Row, request: BeamRequest, allowed: Array | None) -> tuple[int, ...]:
        """Ids of the best beam."""
        n, penalty, prompt = request.beams, request.length_penalty, len(row.prompt)
        cache, fed, _ = self.prepare([row.prompt], max(row.limit, 1))
        beams, finished = [Beam((), 0.0)], list[Beam]()
        for _ in range(row.limit):
            logits = self.advance(cache, fed, np.ones(fed.shape, bool))[:, -1]
            best = self.beam_extensions(beams, self.beam_laws(logits, allowed), self.beam_width(n))
            finished += self.beam_ending(best, n)
            finished = sorted(finished, key=lambda beam: -self.beam_score(beam, penalty, prompt))[:n]
            beams = [beam for beam in best if not self.beam_over(beam)][:n]
            if not beams or self.beam_settled(beams, finished, request, row):
                beams = []
                break
            cache = self.beam_cache(cache, [beam.row for beam in beams])
            fed = np.array([[beam.ids[-1]] for beam in beams])
        return self.beam_winner(finished, beams, penalty, prompt).ids

    def beam_width(self, n: int) -> int:
        """How many extensions a step looks at."""
        return (1 + max(1, len(self.config.eos))) * n

    def beam_laws(self, logits: Array, allowed: Array | None) -> Array:
        """ln p of every id behind every beam, over what may be chosen; [n, V] float64."""
        masked = logits if allowed is None else np.where(allowed, logits, np.float32(-np.inf))
        with np.errstate(divide="ignore"):
            return self.log_law(masked)

    def beam_extensions(self, beams: Sequence[Beam], laws: Array, count: int) -> list[Beam]:
        """The likeliest extensions by one id, likeliest first."""
        totals = np.array([[beam.total] for beam in beams]) + laws
        places = np.argsort(-totals, axis=None, kind="stable")[:count]
        found = [(int(place) // laws.shape[1], int(place) % laws.shape[1]) for place in places]
        return [
            Beam((*beams[i].ids, token), float(totals[i, token]), i)
            for i, token in found
            if totals[i, token] > -math.inf
        ]

    def beam_over(self, beam: Beam) -> bool:
        """Whether a beam has ended."""
        return self.ends(beam.ids[-1])

    def beam_ending(self, best: Sequence[Beam], n: int) -> list[Beam]:
        """The extensions that end, of those among the first n."""
        return [beam for beam in best[:n] if self.beam_over(beam)]

    def beam_score(self, beam: Beam, penalty: float, prompt: int) -> float:
        """Σ ln p / L^penalty of a beam; `prompt` is the length of what it continues."""
        return float(beam.total / len(beam.ids) ** penalty) if beam.ids else 0.0

    def beam_settled(self, beams: Sequence[Beam], finished: Sequence[Beam], request: BeamRequest, row: Row) -> bool:
        """Whether no beam can still reach the worst of n finished ones."""
        if len(finished) < request.beams:
            return False
        reach = max(beam.total for beam in beams) / row.limit**request.length_penalty
        return bool(self.beam_score(finished[-1], request.length_penalty, len(row.prompt)) >= reach)

    def beam_cache(self, cache: Cache, rows: Sequence[int]) -> Cache:
        """A cache whose rows are those rows of another."""
        return cache.ordered(rows)

    def beam_winner(self, finished: Sequence[Beam], beams: Sequence[Beam], penalty: float, prompt: int) -> Beam:
        """The best of the finished beams and of those that the limit cut."""
        every = [*finished, *beams] or [Beam((), 0.0)]
        return max(every, key=lambda beam: self.beam_score(beam, penalty, prompt))
