"""The reference behind the adapter protocol, like any other candidate. The only room that imports `llmasos`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, TypeVar

import numpy as np

import llmasos
from llmasos.config import applied_defaults
from llmasos.orders import ORDERS
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import (
    ARCHITECTURES,
    CAPABILITIES,
    Array,
    Claims,
    Description,
    Encoding,
    Generation,
    Refusal,
)

T = TypeVar("T")
DTYPES = ("float64", "float32")


class ReferenceAdapter:
    """The reference in a dtype and an order of computation.

    Args:
        argument: "" is float64 in plain order; "float32", "float32/split-k" and so on choose others.

    Raises:
        AddressError: no such dtype or order.
    """

    def __init__(self, argument: str = "") -> None:
        dtype, _, order = argument.partition("/")
        self.dtype, self.order = dtype or "float64", order or "plain"
        if self.dtype not in DTYPES or self.order not in ORDERS:
            known = f"reference:DTYPE/ORDER with {', '.join(DTYPES)} and {', '.join(ORDERS)}"
            raise AddressError(f"no such variant: {argument!r:.60}", where=f"reference:{argument}", hint=known)

    def describe(self) -> Description:
        return Description(
            name="llmasos",
            version=llmasos.__version__,
            capabilities=frozenset(CAPABILITIES),
            # Ids do not depend on company or cache, because each row is computed alone; sums over a cache run in
            # another order than without one, so logits agree only within rounding: D2, not D3.
            claims=Claims(dtype=self.dtype, determinism="D2"),
            runtime={"numpy": np.__version__},
            architectures=ARCHITECTURES,
        )

    def load_model(self, path: str) -> ReferenceModel:
        return ReferenceModel(_refusing(llmasos.load_model, path, dtype=self.dtype, order=self.order))


@dataclass(frozen=True, slots=True)
class Described:
    """A valid bundle, for people and for programs.

    Attributes:
        document: model.json as written. defaults: what it leaves out, as the format fills it in.
        lines: all of it in words.
    """

    document: Mapping[str, Any]
    defaults: Mapping[str, Any]
    lines: Sequence[str]


def describe_bundle(path: str | PathLike[str]) -> Described:
    """Read a bundle or a model.json; no model is made.

    Raises:
        Refusal: the format forbids it.
    """
    bundle = _refusing(llmasos.read_bundle, path)
    return Described(
        document=dict(bundle.document),
        defaults={name: getattr(bundle.config, name) for name in applied_defaults(bundle.document)},
        lines=bundle.describe().splitlines(),
    )


class ReferenceModel:
    """`llmasos.Model` under the protocol's names."""

    def __init__(self, model: llmasos.Model) -> None:
        self._model = model

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        return _generation(_refusing(self._model.generate, prompt, max_length, temperature, **options))

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        return _generation(_refusing(self._model.generate_ids, ids, max_length, temperature, **options))

    def generate_batch(
        self, batch: Sequence[Sequence[int]], max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        return [self.generate_ids(row, max_length, temperature, **options) for row in batch]

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        for piece in _refusing(self._model.stream_text, prompt, max_length, temperature, **options):
            yield piece if isinstance(piece, str) else _generation(piece)

    def tokenize(self, text: str, **options: Any) -> list[int]:
        return _refusing(self._model.tokenize, text, **options)

    def detokenize(self, ids: Sequence[int]) -> str:
        return _refusing(self._model.detokenize, ids)

    def forward(self, batch: Sequence[Sequence[int]], **beside: Any) -> list[Array]:
        return _refusing(self._model.forward, batch, **beside)

    def encode(self, batch: Sequence[Sequence[int]], **beside: Any) -> list[Encoding]:
        made = _refusing(self._model.encode, batch, **beside)
        return [Encoding(hidden=row.hidden, pooled=row.pooled) for row in made]

    def hidden_states(self, ids: Sequence[int], **beside: Any) -> list[Array]:
        return _refusing(self._model.hidden_states, ids, **beside)

    def attention(self, ids: Sequence[int], **beside: Any) -> list[Array]:
        return _refusing(self._model.attention, ids, **beside)

    def cross_attention(self, ids: Sequence[int], **beside: Any) -> list[Array]:
        return _refusing(self._model.cross_attention, ids, **beside)

    def gradients(self, batch: Sequence[Sequence[int]], **beside: Any) -> tuple[float, dict[str, Array]]:
        return _refusing(self._model.gradients, batch, **beside)

    def train_step(
        self, batch: Sequence[Sequence[int]], learning_rate: Any, **beside: Any
    ) -> tuple[float, ReferenceModel]:
        loss, model = _refusing(self._model.trained, batch, learning_rate, **beside)
        return loss, ReferenceModel(model)

    def fill_mask(self, ids: Sequence[int], **options: Any) -> list[dict[int, float]]:
        return _refusing(self._model.fill_mask, ids, **options)

    def score(self, ids: Sequence[int], **beside: Any) -> list[float | None]:
        return _refusing(self._model.score, ids, **beside)

    def open(self, ids: Sequence[int], **beside: Any) -> ReferenceSession:
        return ReferenceSession(_refusing(self._model.open_session, ids, **beside))


class ReferenceSession:
    """`llmasos.Session` under the protocol's names."""

    def __init__(self, session: llmasos.Session) -> None:
        self._session = session

    @property
    def logits(self) -> Array:
        return self._session.logits

    def extend(self, ids: Sequence[int]) -> Array:
        return _refusing(self._session.extend, ids)

    def fork(self) -> ReferenceSession:
        return ReferenceSession(_refusing(self._session.fork))

    def close(self) -> None:
        self._session.close()


def _refusing(call: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call the reference; its errors carry the protocol's codes."""
    try:
        return call(*args, **options)
    except llmasos.LLMasOSError as error:
        raise Refusal(error.code, str(error)) from error


def _generation(generation: llmasos.Generation) -> Generation:
    return Generation(**{field.name: getattr(generation, field.name) for field in fields(Generation)})
