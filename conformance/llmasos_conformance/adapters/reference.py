"""The reference behind the adapter protocol, like any other candidate. The only room that imports `llmasos`."""

from __future__ import annotations

import importlib.util
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import llmasos
from llmasos.orders import ORDERS
from llmasos_conformance.errors import AddressError
from llmasos_conformance.graphs.contract import WRITTEN
from llmasos_conformance.protocol import (
    ARCHITECTURES,
    CAPABILITIES,
    DTYPES,
    HALF,
    NOT_IN_HALF,
    OF_SERVERS,
    ROUGE_PARTS,
    Array,
    Claims,
    Description,
    Encoding,
    Generation,
    Refusal,
)

T = TypeVar("T")
SPELLED = re.compile("0|[1-9][0-9]{0,18}")
"""How an id is written where it is the key of an object."""
BLEU_OPTIONS = ("tokenize", "max_order", "smoothing", "smoothing_value", "effective_order", "fold_case")


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
            capabilities=frozenset(CAPABILITIES)
            - OF_SERVERS
            - _absent()
            - (NOT_IN_HALF if self.dtype in HALF else set()),
            # Ids do not depend on company or cache, because each row is computed alone; sums over a cache run in
            # another order than without one, so logits agree only within rounding: D2, not D3.
            claims=Claims(dtype=self.dtype, determinism="D2"),
            runtime={"numpy": np.__version__},
            architectures=ARCHITECTURES,
        )

    def load_model(self, path: str) -> ReferenceModel:
        return ReferenceModel(_refusing(llmasos.load_model, path, dtype=self.dtype, order=self.order), path)

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        return _refusing(llmasos.bleu, hypotheses, references, **_known(options, BLEU_OPTIONS)).score

    def rouge(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> dict[str, Any]:
        found = _refusing(llmasos.rouge, hypotheses, references, **_known(options, ()))
        return {"mean": _parts(found.mean), "segments": [_parts(scores) for scores in found.segments]}


def _absent() -> frozenset[str]:
    """What the reference does not offer: it runs no graphs, and writes them only where onnx and onnxruntime are."""
    found = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
    return frozenset({"onnx"} if found else {"onnx", "export"})


def new_bundle(
    directory: str | PathLike[str], architecture: str, parameters: Mapping[str, Any], **options: Any
) -> Path:
    """Make a bundle from a few numbers and a seed; see `llmasos.new_bundle`.

    Raises:
        Refusal: the format forbids it, or something is there already.
    """
    return _refusing(llmasos.new_bundle, directory, architecture, parameters, **options)


def inspect_bundle(path: str | PathLike[str]) -> llmasos.Inspection:
    """Everything that is in a bundle, and everything that is wrong with it; see `llmasos.inspect`.

    Raises:
        Refusal: there is nothing to look at.
    """
    return _refusing(llmasos.inspect, path)


def agreement_rows() -> Iterator[dict[str, Any]]:
    """How well the reference agrees with its witnesses, row by row; see `llmasos.tools.agreement`.

    Raises:
        Refusal: torch or transformers is not installed.
    """
    from llmasos.tools import agreement  # needs torch, as the reference itself does not

    for row in _refusing(agreement.table):
        yield row.as_json()


def import_checkpoint(source: str | PathLike[str], out: str | PathLike[str], **options: Any) -> Mapping[str, Any]:
    """Turn a Hugging Face checkpoint into a bundle; arguments and result as `llmasos.tools.importer` has them.

    Raises:
        Refusal: the checkpoint does not fit, or the place is taken; nothing is written.
    """
    from llmasos.tools import importer

    return asdict(_refusing(importer.import_checkpoint, source, out, **options))


def export_bundle(path: str | PathLike[str], out: str | PathLike[str] | None, **options: Any) -> Any:
    """Write a bundle as ONNX; arguments and result as those of `llmasos.tools.export.export`.

    Raises:
        Refusal: see there.
    """

    def export() -> Any:
        from llmasos.tools.export import export as made  # who exports nothing needs no onnx

        return made(path, out, **options)

    return _refusing(export)


def count_bleu(hypothesis: Any, references: Any, **options: Any) -> llmasos.Bleu:
    """Counts of one segment, which add up to those of a corpus; see `llmasos.bleu`.

    Raises:
        Refusal: it cannot be scored.
    """
    return _refusing(llmasos.bleu, [hypothesis], [references], **options)


def score_rouge(hypothesis: Any, references: Any) -> llmasos.Rouge:
    """ROUGE of one segment; see `llmasos.rouge`.

    Raises:
        Refusal: it cannot be scored.
    """
    return _refusing(llmasos.rouge, [hypothesis], [references])


def rouge_of(segments: Sequence[llmasos.Rouge]) -> llmasos.Rouge:
    """ROUGE of a corpus from that of its segments."""
    return llmasos.Rouge(segments=[scores for one in segments for scores in one.segments])


class ReferenceModel:
    """`llmasos.Model` under the protocol's names."""

    def __init__(self, model: llmasos.Model, path: str = "") -> None:
        self._model, self._path = model, path

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        return _generation(_refusing(self._model.generate, prompt, max_length, temperature, **_by_id(options)))

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        return _generation(_refusing(self._model.generate_ids, ids, max_length, temperature, **_by_id(options)))

    def generate_batch(
        self, batch: Sequence[Sequence[int]], max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        return [self.generate_ids(row, max_length, temperature, **options) for row in batch]

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        for piece in _refusing(self._model.stream_text, prompt, max_length, temperature, **_by_id(options)):
            yield piece if isinstance(piece, str) else _generation(piece)

    def tokenize(self, text: str, **options: Any) -> list[int]:
        return _refusing(self._model.tokenize, text, **_known(options, ("allow_special",)))

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

    def export(self, **options: Any) -> dict[str, bytes]:
        """model.onnx and what it needs, in the model's dtype, and in float32 where that is half precision."""
        _known(options, ("opset", "cached", "external"))
        if not self._path:
            raise Refusal("unsupported", "a model that was trained here lies in no bundle")
        with tempfile.TemporaryDirectory(prefix="llmasos-export-") as place:
            out = Path(place) / "model.onnx"
            export_bundle(self._path, out, **{"dtype": WRITTEN[self._model.dtype], "cached": False, **options})
            return {path.name: path.read_bytes() for path in Path(place).iterdir()}

    def fill_mask(self, ids: Sequence[int], **options: Any) -> list[dict[int, float]]:
        return _refusing(self._model.fill_mask, ids, **_known(options, ("count", "types")))

    def score(self, ids: Sequence[int], **beside: Any) -> list[float | None]:
        return _refusing(self._model.score, ids, **beside)

    def open(self, ids: Sequence[int], **beside: Any) -> ReferenceSession:
        return ReferenceSession(_refusing(self._model.open_session, ids, **beside))

    @property
    def context(self) -> int:
        """Most tokens that the model sees at once."""
        return self._model.config.context_length

    def surprise(self, text_or_ids: Any, **options: Any) -> llmasos.Perplexity:
        """Bits and tokens of one text, which add up to those of a corpus; see `llmasos.perplexity`."""
        return _refusing(llmasos.perplexity, self._model, text_or_ids, **options)

    def perplexity(self, ids: Sequence[int], **options: Any) -> dict[str, Any]:
        found = _refusing(llmasos.perplexity, self._model, ids, **_known(options, ("stride",)))
        return {"perplexity": found.value if math.isfinite(found.value) else None, "tokens": found.tokens}


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
    """Options of a metric or a fill; in Python an unknown one would be a TypeError, in the contract it is a refusal."""
    for name in options:
        if name not in known:
            raise Refusal("unknown_parameter", f"unknown option {name!r:.60}; known: {', '.join(known) or 'none'}")
    return options


def _by_id(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a generation, the ids of `logit_bias` as numbers; what is no id stays for the reference to refuse."""
    bias = options.get("logit_bias")
    if not isinstance(bias, Mapping):
        return dict(options)
    return {**options, "logit_bias": {_id(token): number for token, number in bias.items()}}


def _id(token: Any) -> Any:
    """An id from its decimal spelling, of which there is one: "07" and "+7" are none."""
    return int(token) if isinstance(token, str) and SPELLED.fullmatch(token) else token


def _parts(scores: Mapping[str, llmasos.RougeScore]) -> dict[str, dict[str, float]]:
    return {name: {part: getattr(score, part) for part in ROUGE_PARTS} for name, score in scores.items()}


def _generation(generation: llmasos.Generation) -> Generation:
    return Generation(**{field.name: getattr(generation, field.name) for field in fields(Generation)})
