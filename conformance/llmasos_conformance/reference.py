"""The reference as judges see it: float64 truth, and honest computations in the dtype that the candidate claims.

Both stand behind the adapter protocol (`reference`, `reference:float32/split-k`, …), with no private path. Answers are
remembered by bundle, ids and what stands beside them, because many cases ask the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmasos_conformance.candidate import Candidate, Connection, Direct, LoadedModel
from llmasos_conformance.protocol import Array, Claims, Encoding

if TYPE_CHECKING:
    from llmasos_conformance.probes import Library, Probe

Beside = Mapping[str, Sequence[int]]
"""What a row has beside its ids: `source`, ids that an encoder-decoder reads; `types`, a token type per id."""

NOTHING: Beside = {}

PLURAL: Mapping[str, str] = {"source": "sources", "types": "types"}
"""Name of what stands beside a row -> name of the list that a batch of rows has."""

HONEST_ORDERS = ("plain", "sequential", "split-k", "online")
"""Orders of computation whose largest error is the honest error (LLMasOS specification, NUM-1)."""


@dataclass(slots=True)
class Reference:
    """Truth and honest baselines for one run.

    Attributes:
        claims: what the candidate claims; `claims.dtype` chooses the honest baselines.
        truth: the float64 reference.
        honest: the reference in the claimed dtype, one per order of HONEST_ORDERS.
        probes: the probe models of this run; the reference's own copies.
    """

    claims: Claims
    truth: Candidate
    honest: Mapping[str, Candidate]
    probes: Library = field(repr=False)
    _memory: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def model(self, probe: str | Probe) -> LoadedModel:
        """The float64 reference with a probe loaded."""
        return self.truth.model(probe)

    def logits(self, probe: str | Probe, ids: Sequence[int], beside: Beside = NOTHING) -> Array:
        """True logits [T, V], float64."""
        found: Array = self._remember("forward", "truth", self.truth, probe, ids, beside)
        return found

    def honest_logits(self, probe: str | Probe, ids: Sequence[int], beside: Beside = NOTHING) -> list[Array]:
        """Logits [T, V] in the claimed dtype, one per honest order."""
        return [self._remember("forward", order, each, probe, ids, beside) for order, each in self.honest.items()]

    def encoding(self, probe: str | Probe, ids: Sequence[int], beside: Beside = NOTHING) -> Encoding:
        """True hidden states and pooled output of an encoder, float64."""
        found: Encoding = self._remember("encode", "truth", self.truth, probe, ids, beside)
        return found

    def honest_encodings(self, probe: str | Probe, ids: Sequence[int], beside: Beside = NOTHING) -> list[Encoding]:
        """The same in the claimed dtype, one per honest order."""
        return [self._remember("encode", order, each, probe, ids, beside) for order, each in self.honest.items()]

    def _remember(
        self, method: str, order: str, candidate: Candidate, probe: str | Probe, ids: Sequence[int], beside: Beside
    ) -> Any:
        digest = (self.probes.get(probe) if isinstance(probe, str) else probe).digest
        around = tuple((name, tuple(row)) for name, row in sorted(beside.items()))
        key = (method, order, digest, tuple(ids), around)
        if key not in self._memory:
            rows = {PLURAL[name]: [list(row)] for name, row in beside.items()}
            self._memory[key] = getattr(candidate.model(probe), method)([list(ids)], **rows)[0]
        return self._memory[key]


def connect(claims: Claims, probes: Library, open_address: Any) -> Reference:
    """Build the reference of a run.

    Args:
        claims: of the candidate.
        probes: the reference's own library.
        open_address: address -> Connection, like `adapters.connect`; handed in, because this room imports no adapter.
    """

    def seat(address: str) -> Candidate:
        connection: Connection = open_address(address)
        return Candidate(Direct(connection), connection.description, probes)

    honest = {order: seat(f"reference:{claims.dtype}/{order}") for order in HONEST_ORDERS}
    return Reference(claims, seat("reference"), honest, probes)
