"""The reference as judges see it: float64 truth, and honest computations in the dtype that the candidate claims.

Both stand behind the adapter protocol (`reference`, `reference:float32/split-k`, …), with no private path. Answers are
remembered by bundle, ids and what stands beside them, because many cases ask the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance.candidate import Candidate, Connection, Direct, LoadedModel
from llmasos_conformance.errors import CandidateFault, SuiteError
from llmasos_conformance.protocol import Array, Claims, Refusal

if TYPE_CHECKING:
    from llmasos_conformance.probes import Given, Library, Probe

Beside = Mapping[str, Sequence[int]]
"""What a row has beside its ids: `source`, ids that an encoder-decoder reads; `types`, a token type per id."""

NOTHING: Beside = {}

PLURAL: Mapping[str, str] = {"source": "sources", "types": "types"}
"""Name of what stands beside a row -> name of the list that a batch of rows has."""

_LANES = ("lanes-2", "lanes-3", "lanes-5", "lanes-7")

HONEST_ORDERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("float64", "float32"), ("plain", "sequential", "split-k", "online", *_LANES)),
    **dict.fromkeys(("float16", "bfloat16"), ("plain", "split-k", "online", *_LANES)),
}
"""Orders of computation whose largest error is the honest error of a dtype (LLMasOS specification, NUM-1).

Nobody adds up hundreds of terms in half precision one after the other: the sum would have three times the error."""


MODELS = 96
"""Models that each seat of the reference keeps; no case asks for more than a few of them at once. Who asks candidates
of every architecture and dtype has twenty seats, whose models took 4 GB when each kept 256."""
MEMORY = 768 * 2**20
"""Bytes of logits that are remembered, and as many entries of other answers as LOOKS: whoever asks a thousand
candidates does not grow without end. One example of every case of all architectures takes 632 MB, of GPT-3 alone 321;
with less than they take, candidates that are asked the same cases in the same order find nothing of what they need."""
LOOKS = 4096


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
    _memory: dict[tuple[Any, ...], Array] = field(default_factory=dict, repr=False)
    _looks: dict[tuple[Any, ...], list[Any]] = field(default_factory=dict, repr=False)
    _held: int = 0

    def model(self, probe: str | Probe) -> LoadedModel:
        """The float64 reference with a probe loaded."""
        return self.truth.model(probe)

    def logits(self, probe: str | Probe, ids: Sequence[int], beside: Beside = NOTHING) -> Array:
        """True logits [T, V], float64."""
        return self._remember("truth", self.truth, probe, ids, beside)

    def honest_logits(self, probe: str | Probe, ids: Sequence[int], beside: Beside = NOTHING) -> list[Array]:
        """Logits [T, V] in the claimed dtype, one per honest order."""
        return [self._remember(order, candidate, probe, ids, beside) for order, candidate in self.honest.items()]

    def look(self, probe: str | Probe, method: str, *args: Any, **beside: Any) -> tuple[Any, list[Any]]:
        """What another method of the model answers: the truth, and the answers in the claimed dtype, one per order.

        Args:
            method: of `LoadedModel`, for example "hidden_states". args, beside: its arguments.
        """
        digest = (self.probes.get(probe) if isinstance(probe, str) else probe).digest
        key = (method, digest, repr(args), repr(sorted(beside.items())))
        if key not in self._looks:
            seats = [self.truth, *self.honest.values()]
            self._looks[key] = [getattr(seat.model(probe), method)(*args, **beside) for seat in seats]
            if len(self._looks) > LOOKS:
                del self._looks[next(iter(self._looks))]
        truth, *honest = self._looks[key]
        return truth, honest

    def _remember(
        self, order: str, candidate: Candidate, probe: str | Probe, ids: Sequence[int], beside: Beside
    ) -> Array:
        digest = (self.probes.get(probe) if isinstance(probe, str) else probe).digest
        key = (order, digest, tuple(ids), tuple((name, tuple(row)) for name, row in sorted(beside.items())))
        known = self._memory.pop(key, None)
        if known is None:
            rows = {PLURAL[name]: [list(row)] for name, row in beside.items()}
            known = candidate.model(probe).forward([list(ids)], **rows)[0]
            self._held += known.nbytes
        self._memory[key] = known  # asked last
        while self._held > MEMORY and len(self._memory) > 1:
            self._held -= self._memory.pop(next(iter(self._memory))).nbytes
        return known


def check_bundle(reference: Reference, bundle: Given, other: Library) -> None:
    """Whether there is something to expect of a candidate with a bundle that somebody gave, before it is asked.

    Args:
        other: the candidate's library, which takes its copy now.

    Raises:
        SuiteError: the reference refuses the bundle, or cannot compute it in the dtype that is claimed; it has too
            few positions or too many ids; or there is no room for it.
    """
    dtype = reference.claims.dtype
    bundle.fits(dtype)
    other.get(bundle.probe)
    start = [bundle.config["decoder_start_token_id"]] if bundle.architecture == "Transformer" else []
    ids = [i * bundle.config["vocab_size"] // 16 for i in range(16)]
    beside = {"source": ids} if bundle.architecture == "Transformer" else NOTHING
    try:
        rows = [
            reference.logits(bundle.probe, [*start, *ids], beside),
            *reference.honest_logits(bundle.probe, [*start, *ids], beside),
        ]
    except (Refusal, CandidateFault) as fault:
        why = f"the reference cannot compute the bundle as {dtype}: {fault.message}"
        raise SuiteError(why, hint="llmasos inspect says what is in it") from fault
    if not all(np.all(np.isfinite(row)) for row in rows):
        raise SuiteError(
            f"the bundle does not fit {dtype}: its logits are not finite there",
            hint="claim a wider dtype, or scale the weights",
        )


def connect(claims: Claims, probes: Library, open_address: Any) -> Reference:
    """Build the reference of a run.

    Args:
        claims: of the candidate.
        probes: the reference's own library.
        open_address: address -> Connection, like `adapters.connect`; handed in, because this room imports no adapter.
    """

    def seat(address: str) -> Candidate:
        connection: Connection = open_address(address)
        return Candidate(Direct(connection, MODELS), connection.description, probes)

    honest = {order: seat(f"reference:{claims.dtype}/{order}") for order in HONEST_ORDERS[claims.dtype]}
    return Reference(claims, seat("reference"), honest, probes)
