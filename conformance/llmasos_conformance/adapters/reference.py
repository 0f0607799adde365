"""The reference behind the adapter protocol, like any other candidate. The only room that imports `llmasos`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, TypeVar

import numpy as np

import llmasos
from llmasos.architectures import RUNNABLE
from llmasos.config import applied_defaults
from llmasos.orders import ORDERS
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import CAPABILITIES, ROUGE_PARTS, Array, Claims, Description, Generation, Refusal

T = TypeVar("T")
BLEU_OPTIONS = ("tokenize", "max_order", "smoothing", "smoothing_value", "effective_order", "fold_case")
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
        )

    def load_model(self, path: str) -> ReferenceModel:
        return ReferenceModel(_refusing(llmasos.load_model, path, dtype=self.dtype, order=self.order))

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        return _refusing(llmasos.bleu, hypotheses, references, **_known(options, BLEU_OPTIONS)).score

    def rouge(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> dict[str, Any]:
        found = _refusing(llmasos.rouge, hypotheses, references, **_known(options, ()))
        return {"mean": _parts(found.mean), "segments": [_parts(scores) for scores in found.segments]}


@dataclass(frozen=True, slots=True)
class Described:
    """A valid bundle, for people and for programs.

    Attributes:
        document: model.json as written. defaults: what it leaves out, as the format fills it in.
        runs: whether this version runs its architecture, and does not only read it. lines: all of it in words.
    """

    document: Mapping[str, Any]
    defaults: Mapping[str, Any]
    runs: bool
    lines: Sequence[str]


def describe_bundle(path: str | PathLike[str]) -> Described:
    """Read a bundle or a model.json, whether or not this version runs it; no model is made.

    Raises:
        Refusal: the format forbids it.
    """
    bundle = _refusing(llmasos.read_bundle, path)
    return Described(
        document=dict(bundle.document),
        defaults={name: getattr(bundle.config, name) for name in applied_defaults(bundle.document)},
        runs=bundle.config.architecture in RUNNABLE,
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

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        return _refusing(self._model.forward, batch)

    def score(self, ids: Sequence[int]) -> list[float | None]:
        return _refusing(self._model.score, ids)

    def perplexity(self, ids: Sequence[int], **options: Any) -> dict[str, Any]:
        found = _refusing(llmasos.perplexity, self._model, ids, **_known(options, ("stride",)))
        return {"perplexity": found.value if math.isfinite(found.value) else None, "tokens": found.tokens}

    def open(self, ids: Sequence[int]) -> ReferenceSession:
        return ReferenceSession(_refusing(self._model.open_session, ids))


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


def _known(options: Mapping[str, Any], known: Sequence[str]) -> Mapping[str, Any]:
    """Options of a metric; in Python an unknown one would be a TypeError, in the contract it is a refusal."""
    for name in options:
        if name not in known:
            raise Refusal("unknown_parameter", f"unknown option {name!r:.60}; known: {', '.join(known) or 'none'}")
    return options


def _parts(scores: Mapping[str, llmasos.RougeScore]) -> dict[str, dict[str, float]]:
    return {name: {part: getattr(score, part) for part in ROUGE_PARTS} for name, score in scores.items()}


def _generation(generation: llmasos.Generation) -> Generation:
    return Generation(**{field.name: getattr(generation, field.name) for field in fields(Generation)})
